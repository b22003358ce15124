//! The archive is away at the start: what is collected goes by the copy of the log's newest part, and what the archive says, once it is
//! back, counts. An old disk, an old archive, a lost cache: nothing is logged twice, and no log forks.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use chrono::TimeDelta;
use collectors::contract::{Input, Pick};
use evidenced::{
    durable::{Disk, Step, Verdict, Watch},
    pipeline::{Pipeline, PipelineError, Spooled},
};
use signing::{digest::Digest, layout::CHECKPOINT, statement::Window, time::Utc};

use crate::{
    double::Memory,
    faults::FailFrom,
    support::{self, EVERY_FIVE_MINUTES, EVERY_TEN_MINUTES, Place, counts, epoch, facts, job, run},
};

fn minutes(n: i64) -> Utc {
    epoch() + TimeDelta::minutes(n)
}

/// A place with an archive in memory whose log covers the first five minutes.
async fn begun(dir: &Path) -> (Place, Memory) {
    let (place, store) = (Place::new(dir), Memory::default());
    let pipeline = open(&place, &store, "one").await.unwrap();
    support::scenario(&place, &pipeline, minutes(5), &mut |_| {}).await.unwrap();
    (place, store)
}

async fn open(place: &Place, store: &Memory, instance: &str) -> Result<Pipeline, PipelineError> {
    place.open_in(store.clone(), &Disk::new(), instance).await.map_err(|error| error.downcast().unwrap())
}

fn away(store: &Memory, away: bool) {
    store.away.store(away, SeqCst);
}

/// Judges the archive by what it holds.
fn check(place: &Place, store: &Memory, end: Utc) -> Vec<Digest> {
    let _ = fs::remove_dir_all(place.archive());
    store.dump(&place.archive());
    support::check(place, end)
}

/// Runs every slot of the job up to `end` that has no receipt.
async fn run_due(place: &Place, pipeline: &Pipeline, end: Utc) -> Vec<Spooled> {
    place.at(end);
    let mut spooled = Vec::new();
    for (job, plan, slot) in pipeline.coverage(|coverage| coverage.due(end).collect::<Vec<_>>()) {
        spooled.push(run(place, pipeline, job.as_str(), plan, slot, &mut |_| {}).await.unwrap());
    }
    spooled
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() { copy(&entry.path(), &to) } else { drop(fs::copy(entry.path(), to)) }
    }
}

fn put_back(place: &Place, from: &Path) {
    fs::remove_dir_all(place.state_dir()).unwrap();
    copy(from, &place.state_dir());
}

#[tokio::test(start_paused = true)]
async fn with_the_archive_away_at_the_start_every_slot_is_collected_and_logged_once_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = begun(dir.path()).await;
    away(&store, true);
    // Two starts, so that the second finds runs and a plan in the spool that no log has.
    for (start, end) in [("two", minutes(15)), ("three", minutes(30))] {
        let pipeline = open(&place, &store, start).await.unwrap();
        let plan = pipeline.spool_plan(|basis| support::make_plan(&basis)).await.unwrap();
        assert_eq!(pipeline.plan_of(plan).unwrap().sealed_at, pipeline.plan().unwrap().1.sealed_at);
        let spooled = run_due(&place, &pipeline, end).await;
        assert!(spooled.iter().all(|spooled| matches!(spooled, Spooled::New(_))), "{spooled:?}");
        let failed = pipeline.drain().await.unwrap_err();
        assert!(failed.is_away() && failed.may_pass(), "{failed}");
        let status = pipeline.status().borrow().clone();
        assert!(status.away.as_ref().unwrap().why.contains("the store is away"), "{status:?}");
        assert_eq!((status.pending, status.checkpoint), (pipeline.pending(), pipeline.checkpoint()));
    }
    let pipeline = open(&place, &store, "four").await.unwrap();
    let since = pipeline.status().borrow().away.clone().unwrap().since;
    place.at(minutes(35));
    pipeline.drain().await.unwrap_err();
    assert_eq!(pipeline.status().borrow().away.clone().unwrap().since, since);
    away(&store, false);
    support::nothing_held(pipeline.drain().await.unwrap());
    assert_eq!((pipeline.generation(), pipeline.status().borrow().away.clone()), (0, None));
    support::scenario(&place, &pipeline, minutes(35), &mut |_| {}).await.unwrap();
    check(&place, &store, minutes(35));
}

#[tokio::test(start_paused = true)]
async fn without_a_cache_nothing_is_collected_until_the_archive_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = begun(dir.path()).await;
    fs::remove_dir_all(place.state_dir().join("cache")).unwrap();
    away(&store, true);
    let refused = open(&place, &store, "two").await.unwrap_err();
    assert!(refused.is_away(), "{refused}");
    away(&store, false);
    open(&place, &store, "two").await.unwrap();
    assert!(place.state_dir().join("cache/log").is_dir(), "kept again");
}

#[tokio::test(start_paused = true)]
async fn a_cache_with_a_hole_or_one_older_than_the_spool_is_not_gone_by() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = begun(dir.path()).await;
    copy(&place.state_dir(), &dir.path().join("older"));
    let pipeline = open(&place, &store, "two").await.unwrap();
    support::scenario(&place, &pipeline, minutes(10), &mut |_| {}).await.unwrap();
    run_due(&place, &pipeline, minutes(20)).await;
    drop(pipeline);
    away(&store, true);
    let cache = place.state_dir().join("cache");
    copy(&cache, &dir.path().join("whole"));

    let plans = cache.join("log/document/plan");
    for plan in support::listed(&plans) {
        fs::write(plans.join(plan), b"{}").unwrap();
    }
    assert!(open(&place, &store, "three").await.unwrap_err().is_away());

    fs::remove_dir_all(&cache).unwrap();
    copy(&dir.path().join("older/cache"), &cache);
    assert!(open(&place, &store, "three").await.unwrap_err().is_away());

    fs::remove_dir_all(&cache).unwrap();
    copy(&dir.path().join("whole"), &cache);
    let pipeline = open(&place, &store, "three").await.unwrap();
    away(&store, false);
    support::scenario(&place, &pipeline, minutes(20), &mut |_| {}).await.unwrap();
    check(&place, &store, minutes(20));
}

/// A disk on which nothing can be written below `cache`.
struct NoCache;

impl Watch for NoCache {
    fn before(&self, step: Step, path: &Path) -> Verdict {
        match step == Step::Write && path.components().any(|part| part.as_os_str() == "cache") {
            true => Verdict::Fail(std::io::ErrorKind::StorageFull.into()),
            false => Verdict::Go,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_missed_an_append_is_not_gone_by_until_it_is_whole_again() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = begun(dir.path()).await;
    let disk = Disk::watched(Arc::new(NoCache));
    let pipeline = place.open_in(store.clone(), &disk, "two").await.unwrap();
    support::scenario(&place, &pipeline, minutes(10), &mut |_| {}).await.unwrap();
    drop(pipeline);
    away(&store, true);
    assert!(open(&place, &store, "three").await.unwrap_err().is_away());
    away(&store, false);
    drop(open(&place, &store, "three").await.unwrap());
    away(&store, true);
    let pipeline = open(&place, &store, "four").await.unwrap();
    assert_eq!(pipeline.coverage(|coverage| coverage.due(minutes(10)).count()), 0);
}

#[tokio::test(start_paused = true)]
async fn an_old_disk_put_back_finds_its_entries_logged_and_logs_none_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = begun(dir.path()).await;
    let pipeline = open(&place, &store, "two").await.unwrap();
    run_due(&place, &pipeline, minutes(20)).await;
    assert_eq!(pipeline.pending(), 5);
    copy(&place.state_dir(), &dir.path().join("older"));
    support::scenario(&place, &pipeline, minutes(40), &mut |_| {}).await.unwrap();
    let before = pipeline.checkpoint().unwrap();
    drop(pipeline);
    put_back(&place, &dir.path().join("older"));

    let pipeline = open(&place, &store, "three").await.unwrap();
    assert_eq!((pipeline.checkpoint(), pipeline.pending()), (Some(before), 0));
    support::scenario(&place, &pipeline, minutes(45), &mut |_| {}).await.unwrap();
    check(&place, &store, minutes(45));
}

#[tokio::test(start_paused = true)]
async fn an_old_disk_put_back_while_the_archive_is_away_is_seen_when_it_is_back_and_forks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = begun(dir.path()).await;
    let pipeline = open(&place, &store, "two").await.unwrap();
    run_due(&place, &pipeline, minutes(20)).await;
    copy(&place.state_dir(), &dir.path().join("older"));
    support::scenario(&place, &pipeline, minutes(40), &mut |_| {}).await.unwrap();
    drop(pipeline);
    let logged = check(&place, &store, minutes(40));
    put_back(&place, &dir.path().join("older"));

    away(&store, true);
    let pipeline = open(&place, &store, "three").await.unwrap();
    // By what the old disk knows a plan is made, and slots are run, that the log has had for long.
    let plan = pipeline.spool_plan(|basis| support::make_plan(&basis)).await.unwrap();
    let again = run_due(&place, &pipeline, minutes(45)).await;
    assert!(again.len() > 5, "{again:?}");
    let by_hand = facts(EVERY_FIVE_MINUTES, None, plan);
    pipeline.spool_run(&place.work(&by_hand), &by_hand, &counts()).await.unwrap();
    away(&store, false);
    support::nothing_held(pipeline.drain().await.unwrap());
    assert_eq!(pipeline.generation(), 1);
    assert_ne!(pipeline.plan().unwrap().0, plan);
    // What the log had is as it was; what was made upon the old past is kept, and not logged.
    assert_eq!(pipeline.checkpoint().unwrap().size, logged.len() as u64);
    assert_eq!(support::listed(&place.state_dir().join("quarantine")).len(), again.len() + 2);
    // A run that began before the archive was back ends after it.
    let late = facts(EVERY_TEN_MINUTES, None, plan);
    let late = pipeline.spool_run(&place.work(&late), &late, &counts()).await.unwrap();
    assert!(matches!(late, Spooled::Quarantined(_)), "{late:?}");
    support::scenario(&place, &pipeline, minutes(45), &mut |_| {}).await.unwrap();
    assert_eq!(check(&place, &store, minutes(45))[..logged.len()], logged);
}

#[tokio::test(start_paused = true)]
async fn an_older_archive_that_comes_back_is_refused_and_collection_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = begun(dir.path()).await;
    let older = store.objects().clone();
    let pipeline = open(&place, &store, "two").await.unwrap();
    support::scenario(&place, &pipeline, minutes(10), &mut |_| {}).await.unwrap();
    drop(pipeline);
    let newer = std::mem::replace(&mut *store.objects(), older.clone());
    away(&store, true);
    let pipeline = open(&place, &store, "three").await.unwrap();
    run_due(&place, &pipeline, minutes(15)).await;
    away(&store, false);
    for _ in 0..2 {
        let refused = pipeline.drain().await.unwrap_err();
        assert!(matches!(refused, PipelineError::Older { .. }), "{refused}");
    }
    assert_eq!(*store.objects(), older, "nothing was written");
    assert!(!run_due(&place, &pipeline, minutes(20)).await.is_empty());
    drop(pipeline);
    assert!(matches!(open(&place, &store, "four").await.unwrap_err(), PipelineError::Older { .. }));
    *store.objects() = newer;
    let pipeline = open(&place, &store, "five").await.unwrap();
    support::scenario(&place, &pipeline, minutes(20), &mut |_| {}).await.unwrap();
    check(&place, &store, minutes(20));
}

#[tokio::test(start_paused = true)]
async fn an_append_that_was_cut_short_before_an_outage_is_finished_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = begun(dir.path()).await;
    let pipeline = open(&place, &store, "two").await.unwrap();
    run_due(&place, &pipeline, minutes(10)).await;
    // The store goes away in the midst of the append: the decision is there, the checkpoint is not.
    store.slow.store(100, SeqCst);
    let decided = store.clone();
    let outage = tokio::spawn(async move {
        while !decided
            .created
            .lock()
            .unwrap()
            .iter()
            .any(|name| name.starts_with("append/") && decided.objects().contains_key(name))
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        decided.away.store(true, SeqCst);
    });
    pipeline.drain().await.unwrap_err();
    outage.await.unwrap();
    drop(pipeline);

    let pipeline = open(&place, &store, "three").await.unwrap();
    run_due(&place, &pipeline, minutes(20)).await;
    away(&store, false);
    support::scenario(&place, &pipeline, minutes(20), &mut |_| {}).await.unwrap();
    assert_eq!(pipeline.generation(), 0, "it told nothing that was not known");
    check(&place, &store, minutes(20));
}

#[tokio::test(start_paused = true)]
async fn a_job_of_events_reads_on_from_the_newest_logged_window_while_the_archive_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = begun(dir.path()).await;
    let pipeline = open(&place, &store, "two").await.unwrap();
    let (plan, _) = pipeline.plan().unwrap();
    let window = Window { from: epoch(), to: minutes(4), whole: true, previous: None };
    let mut facts = facts(EVERY_FIVE_MINUTES, None, plan);
    facts.window = Some(window);
    pipeline.spool_run(&place.work(&facts), &facts, &counts()).await.unwrap();
    support::nothing_held(pipeline.drain().await.unwrap());
    drop(pipeline);
    away(&store, true);
    let pipeline = open(&place, &store, "three").await.unwrap();
    assert_eq!(pipeline.window(&job(EVERY_FIVE_MINUTES)), Some(window));
    assert_eq!(pipeline.window(&job(EVERY_TEN_MINUTES)), None);
}

#[tokio::test(start_paused = true)]
async fn inputs_that_cannot_be_read_are_a_reason_and_no_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = begun(dir.path()).await;
    away(&store, true);
    let pipeline = open(&place, &store, "two").await.unwrap();
    let input = Input {
        name: "accounts".into(),
        collector: "host/accounts".into(),
        kind: "account".into(),
        pick: Pick::Newest,
        max_age: Duration::from_secs(86_400),
    };
    let why = pipeline.ledger().inputs(&[input], "this", minutes(6)).remove(0).found.unwrap_err();
    assert!(why.contains("could not be read"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn the_cache_holds_the_newest_part_of_a_log_and_not_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = begun(dir.path()).await;
    let pipeline = open(&place, &store, "two").await.unwrap();
    for day in 1..=5 {
        for n in 0..110 {
            let note = format!("{day}/{n}").into_bytes();
            pipeline.spool_document("note", "a test", note).await.unwrap();
        }
        support::scenario(&place, &pipeline, epoch() + TimeDelta::hours(day), &mut |_| {}).await.unwrap();
    }
    let log = place.state_dir().join("cache/log");
    let plans = support::listed(&log.join("document/plan")).len();
    assert!((2..=4).contains(&plans), "{plans} plans of 7");
    let bundles = support::listed(&log.join("tile/entries"));
    assert!(bundles.len() <= 2 && !bundles.contains(&"000".to_owned()), "{bundles:?} of 3");
    assert!(store.objects().contains_key(CHECKPOINT));
}

/// What an agent does through an outage, again and again until it succeeds.
async fn through_an_outage(place: &Place, store: &Memory, disk: &Disk, acknowledged: &mut Vec<Digest>) {
    let mut pipeline: Option<Pipeline> = None;
    for _ in 0..100 {
        let done = async {
            if pipeline.is_none() {
                pipeline = Some(place.open_in(store.clone(), disk, "two").await?);
            }
            let pipeline = pipeline.as_ref().unwrap();
            if store.away.load(SeqCst) {
                place.at(minutes(15));
                pipeline.spool_plan(|basis| support::make_plan(&basis)).await?;
                for (job, plan, slot) in pipeline.coverage(|coverage| coverage.due(minutes(15)).collect::<Vec<_>>()) {
                    run(place, pipeline, job.as_str(), plan, slot, &mut |leaf| acknowledged.push(leaf)).await?;
                }
                let failed = pipeline.drain().await.unwrap_err();
                anyhow::ensure!(failed.is_away(), failed);
                away(store, false);
            }
            support::scenario(place, pipeline, minutes(15), &mut |leaf| acknowledged.push(leaf)).await
        };
        if done.await.is_ok() {
            return;
        }
    }
    panic!("it never succeeds");
}

#[tokio::test(start_paused = true)]
async fn whatever_write_fails_in_an_outage_persisted_or_not_everything_is_logged_once_after_it() {
    for at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let (place, store) = begun(dir.path()).await;
        away(&store, true);
        let (persisted, seen) = (at % 2 == 1, Default::default());
        let watch = Arc::new(FailFrom { from: at / 2, count: 1, persisted, room_only: false, seen });
        let mut acknowledged = Vec::new();
        through_an_outage(&place, &store, &Disk::watched(watch.clone()), &mut acknowledged).await;
        drop(open(&place, &store, "three").await.unwrap());
        let leaves = check(&place, &store, minutes(15));
        for leaf in acknowledged {
            assert!(leaves.contains(&leaf), "acknowledged, then lost after a failure at step {}", at / 2);
        }
        if watch.seen.load(SeqCst) <= at / 2 {
            assert!(at / 2 > 50, "only {} steps", at / 2);
            return;
        }
    }
}
