//! What a derived job is given: logged bundles, proved before use, or the reason why there is none.

use std::{fs, path::Path, time::Duration};

use chrono::TimeDelta;
use collectors::contract::{FoundBundle, Input, Pick, Population};
use evidenced::{durable::Disk, pipeline::Pipeline};
use signing::{digest::Digest, statement::Outcome, time::Utc};

use crate::support::{self, EVERY_FIVE_MINUTES, Place, counts, epoch, facts};

fn input(pick: Pick) -> Input {
    Input {
        name: "accounts".into(),
        collector: "host/accounts".into(),
        kind: "account".into(),
        pick,
        max_age: Duration::from_secs(3 * 86_400),
    }
}

fn find(pipeline: &Pipeline, pick: Pick, now: Utc) -> Result<FoundBundle, String> {
    let mut found = pipeline.ledger().inputs(&[input(pick)], "this", now);
    assert_eq!((found.len(), found[0].name.as_str()), (1, "accounts"));
    found.remove(0).found
}

/// A log with a run by hand at each of these instants.
async fn with_runs(dir: &Path, runs: &[(Utc, Outcome)]) -> (Place, Pipeline) {
    let place = Place::new(dir);
    let pipeline = place.open(&Disk::new(), "one").await.unwrap();
    let plan: Digest = pipeline.spool_plan(|basis| support::make_plan(&basis)).await.unwrap();
    for (at, outcome) in runs {
        place.at(*at);
        let mut facts = facts(EVERY_FIVE_MINUTES, None, plan);
        (facts.started_at, facts.ended_at, facts.outcome) = (*at, *at, *outcome);
        let spooled = pipeline.spool_run(&place.work(&facts), &facts, &counts()).await.unwrap();
        assert!(matches!(spooled, evidenced::pipeline::Spooled::New(_)), "{spooled:?}");
    }
    support::nothing_held(pipeline.drain().await.unwrap());
    (place, pipeline)
}

fn hours(n: i64) -> Utc {
    epoch() + TimeDelta::hours(n)
}

#[tokio::test(start_paused = true)]
async fn the_newest_usable_bundle_is_taken_and_for_yesterday_the_newest_of_an_earlier_day() {
    use Outcome::{Collected, Failed, Partial};
    let dir = tempfile::tempdir().unwrap();
    let runs = [(hours(0), Collected), (hours(1), Partial), (hours(24), Collected), (hours(25), Failed)];
    let (_place, pipeline) = with_runs(dir.path(), &runs).await;
    let newest = find(&pipeline, Pick::Newest, hours(26)).unwrap();
    assert_eq!((newest.ended_at, newest.outcome.as_str()), (hours(24), "collected"));
    assert_eq!(newest.population, Population::Whole);
    assert_eq!(newest.records, b"{\"id\":\"root\",\"slot\":None}\n");
    let before = find(&pipeline, Pick::DayBefore, hours(26)).unwrap();
    assert_eq!((before.ended_at, before.outcome.as_str()), (hours(1), "partial"));
}

#[tokio::test(start_paused = true)]
async fn an_old_or_missing_bundle_is_a_reason_and_no_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let (_place, pipeline) = with_runs(dir.path(), &[(hours(0), Outcome::Collected)]).await;
    find(&pipeline, Pick::Newest, hours(72)).unwrap();
    let stale = find(&pipeline, Pick::Newest, hours(73)).unwrap_err();
    assert!(stale.contains("stale"), "{stale}");
    let none = find(&pipeline, Pick::DayBefore, hours(1)).unwrap_err();
    assert!(none.contains("earlier day"), "{none}");
    let mut other = input(Pick::Newest);
    other.collector = "host/nothing".into();
    let none = pipeline.ledger().inputs(&[other], "this", hours(1)).remove(0).found.unwrap_err();
    assert!(none.contains("host/nothing@this"), "{none}");
}

#[tokio::test(start_paused = true)]
async fn an_altered_bundle_or_seal_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let (place, pipeline) = with_runs(dir.path(), &[(hours(0), Outcome::Collected)]).await;
    let found = find(&pipeline, Pick::Newest, hours(1)).unwrap();
    let bundle = place.archive().join(&found.bundle);
    let whole = fs::read(&bundle).unwrap();
    fs::write(&bundle, [&whole[..], b"X"].concat()).unwrap();
    let altered = find(&pipeline, Pick::Newest, hours(1)).unwrap_err();
    assert!(altered.contains("changed after it was sealed"), "{altered}");
    fs::remove_file(&bundle).unwrap();
    assert!(find(&pipeline, Pick::Newest, hours(1)).unwrap_err().contains("gone"));
    fs::write(&bundle, whole).unwrap();

    // Every seal of the day takes another's place, so that the receipt's is one that was signed over something else.
    let seals = place.archive().join("seal/2026/11/22");
    let names = support::listed(&seals);
    let bytes: Vec<_> = names.iter().map(|name| fs::read(seals.join(name)).unwrap()).collect();
    for (n, name) in names.iter().enumerate() {
        fs::write(seals.join(name), &bytes[(n + 1) % bytes.len()]).unwrap();
    }
    let altered = find(&pipeline, Pick::Newest, hours(1)).unwrap_err();
    assert!(altered.contains("seals something else"), "{altered}");
}
