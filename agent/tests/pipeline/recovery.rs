//! What is lost, exchanged or claimed by somebody else.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use evidenced::{
    archive::{Archive, ArchiveError, DirArchive},
    clock::Clock,
    durable::{Disk, Step, Verdict, Watch},
    pipeline::{Options, Pipeline, PipelineError, PlanBasis, Spooled},
};
use signing::{
    digest::Digest,
    keys::{PublicKey, SignError, Signer},
    layout,
    plan::Plan,
    time::Utc,
};

use crate::support::{self, EVERY_FIVE_MINUTES, ORIGIN, Place, epoch, job, run};

fn minutes(n: i64) -> Utc {
    epoch() + TimeDelta::minutes(n)
}

async fn open(place: &Place, instance: &str) -> Pipeline {
    place.open(&Disk::new(), instance).await.unwrap()
}

/// A place whose log covers the first five minutes.
async fn begun(dir: &Path) -> Place {
    let place = Place::new(dir);
    let pipeline = open(&place, "one").await;
    support::scenario(&place, &pipeline, minutes(5), &mut |_| {}).await.unwrap();
    place
}

fn refusal(error: anyhow::Error) -> PipelineError {
    error.downcast::<PipelineError>().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_agent_on_the_archive_is_refused_even_with_a_state_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let _first = open(&place, "one").await;
    let second = DirArchive::open(&dir.path().join("archive"), ORIGIN, &Disk::new()).unwrap_err();
    assert!(matches!(&second, ArchiveError::InUse { path, .. } if *path == place.archive()), "{second}");
}

/// A disk on which no append can be decided: bundles and seals are uploaded, and that is all.
struct NoAppends;

impl Watch for NoAppends {
    fn before(&self, step: Step, path: &Path) -> Verdict {
        match step == Step::Rename && path.parent().is_some_and(|parent| parent.ends_with("append")) {
            true => Verdict::Fail(io::ErrorKind::TimedOut.into()),
            false => Verdict::Go,
        }
    }
}

/// Uploads the runs of these slots, and loses the agent with its whole state before they are in the log.
async fn uploaded_and_lost(place: &Place, slots: &[Utc]) -> Vec<Digest> {
    let pipeline = place.open(&Disk::watched(Arc::new(NoAppends)), "lost").await.unwrap();
    let (plan, _) = pipeline.plan().unwrap();
    let mut leaves = Vec::new();
    for slot in slots {
        place.at(*slot);
        run(place, &pipeline, EVERY_FIVE_MINUTES, plan, *slot, &mut |leaf| leaves.push(leaf)).await.unwrap();
    }
    pipeline.drain().await.unwrap_err();
    drop(pipeline);
    fs::remove_dir_all(place.state_dir()).unwrap();
    leaves
}

#[tokio::test(start_paused = true)]
async fn a_lost_spool_is_made_good_by_adopting_seals_that_have_no_leaf() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    let leaves = uploaded_and_lost(&place, &[minutes(10), minutes(15)]).await;

    let pipeline = open(&place, "two").await;
    assert_eq!(pipeline.coverage(|c| c.last_covered(&job(EVERY_FIVE_MINUTES))), Some(minutes(15)));
    support::scenario(&place, &pipeline, minutes(15), &mut |_| {}).await.unwrap();
    let logged = support::check(&place, minutes(15));
    let found: Vec<_> = logged.into_iter().filter(|leaf| leaves.contains(leaf)).collect();
    assert_eq!(found, leaves, "adopted once, in slot order");
}

#[tokio::test(start_paused = true)]
async fn a_spool_lost_before_the_first_append_is_adopted_with_keys_and_plan() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let pipeline = place.open(&Disk::watched(Arc::new(NoAppends)), "lost").await.unwrap();
    let plan = pipeline.spool_plan(|basis| support::make_plan(&basis)).await.unwrap();
    run(&place, &pipeline, EVERY_FIVE_MINUTES, plan, epoch(), &mut |_| {}).await.unwrap();
    pipeline.drain().await.unwrap_err();
    drop(pipeline);
    fs::remove_dir_all(place.state_dir()).unwrap();

    let pipeline = open(&place, "two").await;
    assert_eq!(pipeline.plan().unwrap().0, plan);
    assert_eq!(support::nothing_held(pipeline.drain().await.unwrap()), 3);
    support::check(&place, epoch() - TimeDelta::seconds(1));
}

#[tokio::test(start_paused = true)]
async fn a_seal_whose_bundle_is_gone_is_not_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    uploaded_and_lost(&place, &[minutes(10)]).await;
    let day = place.archive().join("bundle/2026/11/22");
    let bundle = support::listed(&day).into_iter().find(|name| name.starts_with("20261122T041000Z-host+accounts"));
    fs::remove_file(day.join(bundle.unwrap())).unwrap();

    let pipeline = open(&place, "two").await;
    assert_eq!(pipeline.pending(), 0);
    let due: Vec<_> = pipeline.coverage(|c| c.due(minutes(10)).map(|(job, _, _)| job).collect());
    assert!(due.contains(&job(EVERY_FIVE_MINUTES)));
}

#[tokio::test(start_paused = true)]
async fn a_lost_state_dir_is_read_back_from_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    let before = support::check(&place, minutes(5));
    fs::remove_dir_all(place.state_dir()).unwrap();
    let pipeline = open(&place, "two").await;
    assert_eq!(pipeline.checkpoint().unwrap().size, before.len() as u64);
    assert_eq!(pipeline.coverage(|c| c.due(minutes(5)).count()), 0);
    support::scenario(&place, &pipeline, minutes(10), &mut |_| {}).await.unwrap();
    assert_eq!(support::check(&place, minutes(10))[..before.len()], before);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_cache_is_read_back_from_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    fs::write(place.state_dir().join("cache/edge.json"), b"{\"half\":").unwrap();
    let pipeline = open(&place, "two").await;
    support::scenario(&place, &pipeline, minutes(10), &mut |_| {}).await.unwrap();
    support::check(&place, minutes(10));
}

#[tokio::test(start_paused = true)]
async fn an_archive_restored_from_an_older_copy_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    copy(&dir.path().join("archive"), &dir.path().join("older"));
    let pipeline = open(&place, "two").await;
    support::scenario(&place, &pipeline, minutes(10), &mut |_| {}).await.unwrap();
    drop(pipeline);
    fs::remove_dir_all(dir.path().join("archive")).unwrap();
    copy(&dir.path().join("older"), &dir.path().join("archive"));
    let refused = refusal(place.open(&Disk::new(), "three").await.unwrap_err());
    assert!(matches!(refused, PipelineError::Older { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_emptied_archive_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    fs::remove_dir_all(dir.path().join("archive")).unwrap();
    let refused = refusal(place.open(&Disk::new(), "two").await.unwrap_err());
    assert!(matches!(refused, PipelineError::Older { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_archive_exchanged_for_another_of_the_same_length_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    // The same keys, another history.
    let other = Place::new(&dir.path().join("other"));
    copy(&dir.path().join("keys"), &other.dir.join("keys"));
    other.clock.jump(TimeDelta::seconds(1));
    let pipeline = open(&other, "other").await;
    support::scenario(&other, &pipeline, minutes(5), &mut |_| {}).await.unwrap();
    let size = pipeline.checkpoint().unwrap().size;
    for n in size..support::check(&place, minutes(5)).len() as u64 {
        pipeline.spool_document("note", "to the same length", n.to_string().into_bytes()).await.unwrap();
        pipeline.drain().await.unwrap();
    }
    drop(pipeline);
    fs::remove_dir_all(dir.path().join("archive")).unwrap();
    fs::rename(other.dir.join("archive"), dir.path().join("archive")).unwrap();
    let refused = refusal(place.open(&Disk::new(), "two").await.unwrap_err());
    assert!(matches!(refused, PipelineError::Older { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_signed_by_somebody_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    let other = begun(&dir.path().join("other")).await;
    fs::copy(other.archive().join("checkpoint"), place.archive().join("checkpoint")).unwrap();
    let refused = refusal(place.open(&Disk::new(), "two").await.unwrap_err());
    assert!(matches!(refused, PipelineError::Log { .. }), "{refused}");
}

/// The decision of an append that another instance made.
fn decision(size: u64, leaves: &[Vec<u8>]) -> Vec<u8> {
    let leaves: Vec<_> = leaves.iter().map(|leaf| STANDARD.encode(leaf)).collect();
    serde_json::to_vec(&serde_json::json!({
        "format": "evidenced-append/1", "instance": "another", "old_size": size, "leaves": leaves,
    }))
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_append_by_another_instance_while_running_stops_this_one_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    let pipeline = open(&place, "two").await;
    let (plan, _) = pipeline.plan().unwrap();
    place.at(minutes(10));
    run(&place, &pipeline, EVERY_FIVE_MINUTES, plan, minutes(10), &mut |_| {}).await.unwrap();
    let size = pipeline.checkpoint().unwrap().size;
    let name = layout::append(size);
    fs::write(place.archive().join(&name), decision(size, &[b"x".to_vec()])).unwrap();
    let stopped = pipeline.drain().await.unwrap_err();
    assert!(matches!(stopped, PipelineError::SecondAgent { .. }), "{stopped}");
    // It stays stopped, whatever happens to the other one's decision, and goes on collecting.
    fs::remove_file(place.archive().join(&name)).unwrap();
    assert!(matches!(pipeline.drain().await.unwrap_err(), PipelineError::Stopped(_)));
    place.at(minutes(15));
    let spooled = run(&place, &pipeline, EVERY_FIVE_MINUTES, plan, minutes(15), &mut |_| {}).await.unwrap();
    assert!(matches!(spooled, Spooled::New(_)));
    drop(pipeline);
    let pipeline = open(&place, "three").await;
    support::scenario(&place, &pipeline, minutes(15), &mut |_| {}).await.unwrap();
    support::check(&place, minutes(15));
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_another_agent_moved_stops_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    let pipeline = open(&place, "two").await;
    let (plan, _) = pipeline.plan().unwrap();
    place.at(minutes(10));
    run(&place, &pipeline, EVERY_FIVE_MINUTES, plan, minutes(10), &mut |_| {}).await.unwrap();
    let checkpoint = place.archive().join("checkpoint");
    let mut bytes = fs::read(&checkpoint).unwrap();
    bytes.extend_from_slice("\u{2014} witness AAAAAAAA\n".as_bytes());
    fs::write(&checkpoint, bytes).unwrap();
    let stopped = pipeline.drain().await.unwrap_err();
    assert!(matches!(stopped, PipelineError::SecondAgent { .. }), "{stopped}");
}

#[tokio::test(start_paused = true)]
async fn only_what_the_receipts_key_sealed_enters_the_log_by_a_decision_found_in_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    let size = support::check(&place, minutes(5)).len() as u64;
    fs::create_dir_all(place.archive().join("append")).unwrap();
    fs::write(place.archive().join(layout::append(size)), decision(size, &[b"never sealed".to_vec()])).unwrap();
    let refused = refusal(place.open(&Disk::new(), "two").await.unwrap_err());
    assert!(matches!(&refused, PipelineError::Damaged { name, .. } if *name == layout::append(size)), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn other_bytes_under_a_bundles_name_hold_that_job_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    let pipeline = open(&place, "two").await;
    let (plan, _) = pipeline.plan().unwrap();
    place.at(minutes(10));
    run(&place, &pipeline, EVERY_FIVE_MINUTES, plan, minutes(10), &mut |_| {}).await.unwrap();
    // Somebody took the bundle's name: it is read from the entry, as an attacker could compute it.
    let spool = place.state_dir().join("spool");
    let entry = spool.join(&support::listed(&spool)[0]);
    let payload: serde_json::Value = serde_json::from_slice(&fs::read(entry.join("payload.json")).unwrap()).unwrap();
    let taken = place.archive().join(payload["subject"][0]["name"].as_str().unwrap());
    fs::write(&taken, b"other bytes").unwrap();
    pipeline.spool_document("note", "something else", b"{}".to_vec()).await.unwrap();
    let drained = pipeline.drain().await.unwrap();
    assert_eq!((drained.logged, drained.pending, drained.held.len()), (1, 1, 1));
    assert_eq!((drained.held[0].job.as_ref(), &drained.held[0].entry), (Some(&job(EVERY_FIVE_MINUTES)), &entry));
    assert!(drained.held[0].reason.contains("ALARM"), "{}", drained.held[0].reason);
    // A later receipt of the job must not overtake it; when the name is free again, both go, in order.
    place.at(minutes(15));
    run(&place, &pipeline, EVERY_FIVE_MINUTES, plan, minutes(15), &mut |_| {}).await.unwrap();
    assert_eq!(pipeline.drain().await.unwrap().logged, 0);
    fs::remove_file(taken).unwrap();
    support::scenario(&place, &pipeline, minutes(15), &mut |_| {}).await.unwrap();
    support::check(&place, minutes(15));
}

/// A key service that can be away.
struct Service {
    key: Arc<dyn Signer>,
    away: AtomicBool,
}

impl Signer for Service {
    fn public(&self) -> &PublicKey {
        self.key.public()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        if self.away.load(Ordering::SeqCst) {
            let source = "connection refused".into();
            return Err(SignError { key_id: self.public().fingerprint(), source });
        }
        self.key.sign(message)
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_key_service_is_away_entries_wait_unsealed_and_then_go() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let mut keys = place.keys(&Disk::new()).unwrap();
    let service = Arc::new(Service { key: keys.receipts.clone(), away: AtomicBool::new(true) });
    keys.receipts = service.clone();
    let archive: Arc<dyn Archive> =
        Arc::new(DirArchive::open(&dir.path().join("archive"), ORIGIN, &Disk::new()).unwrap());
    let options = Options {
        state_dir: place.state_dir(),
        archive,
        origin: ORIGIN.to_owned(),
        keys: keys.into(),
        clock: place.clock.clone(),
        disk: Disk::new(),
        instance: "one".to_owned(),
    };
    let pipeline = Pipeline::open(options).await.unwrap();
    let plan = pipeline.spool_plan(|basis| support::make_plan(&basis)).await.unwrap();
    run(&place, &pipeline, EVERY_FIVE_MINUTES, plan, epoch(), &mut |_| {}).await.unwrap();
    let waiting = pipeline.drain().await.unwrap_err();
    assert!(matches!(waiting, PipelineError::Sign(_)), "{waiting}");
    assert!(pipeline.status().borrow().last_error.as_ref().unwrap().contains("connection refused"));
    assert_eq!(pipeline.pending(), 3);
    service.away.store(false, Ordering::SeqCst);
    assert_eq!(support::nothing_held(pipeline.drain().await.unwrap()), 3);
    assert_eq!(pipeline.status().borrow().last_error, None);
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_repeats_no_slot_and_plans_stay_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    place.clock.jump(TimeDelta::hours(-5));
    let pipeline = open(&place, "two").await;
    assert!(pipeline.last_sealed().unwrap() > place.clock.now());
    let plan = pipeline.spool_plan(|basis| support::make_plan(&basis)).await.unwrap();
    let again = run(&place, &pipeline, EVERY_FIVE_MINUTES, plan, minutes(5), &mut |_| {}).await.unwrap();
    assert!(matches!(again, Spooled::Quarantined(_)), "{again:?}");
    support::nothing_held(pipeline.drain().await.unwrap());
    support::check(&place, minutes(5));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_spool_entry_is_quarantined_at_the_start_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    let pipeline = open(&place, "two").await;
    for n in 0..3 {
        pipeline.spool_document("note", "a test", format!("{n}").into_bytes()).await.unwrap();
    }
    drop(pipeline);
    let spool = place.state_dir().join("spool");
    fs::write(spool.join(&support::listed(&spool)[1]).join("payload.json"), b"{").unwrap();
    let pipeline = open(&place, "three").await;
    assert_eq!(support::nothing_held(pipeline.drain().await.unwrap()), 2);
    assert_eq!(support::listed(&place.state_dir().join("quarantine")).len(), 1);
    support::check(&place, minutes(5));
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_in_the_spool_is_held_then_quarantined_and_never_enters_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    let pipeline = open(&place, "two").await;
    for n in 0..3 {
        pipeline.spool_document("note", "a test", format!("{n}").into_bytes()).await.unwrap();
    }
    let spool = place.state_dir().join("spool");
    fs::write(spool.join(&support::listed(&spool)[1]).join("document.json"), b"altered").unwrap();
    let drained = pipeline.drain().await.unwrap();
    assert_eq!((drained.logged, drained.held.len()), (2, 1));
    assert!(drained.held[0].reason.contains("changed in the spool"), "{:?}", drained.held);
    drop(pipeline);

    let pipeline = open(&place, "three").await;
    assert_eq!(support::nothing_held(pipeline.drain().await.unwrap()), 0);
    assert_eq!(support::listed(&place.state_dir().join("quarantine")).len(), 1);
    support::check(&place, minutes(5));
}

#[tokio::test(start_paused = true)]
async fn a_year_of_plans_is_read_back_from_the_newest_watermarks_only() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let pipeline = open(&place, "one").await;
    pipeline.spool_plan(|basis| support::make_plan(&basis)).await.unwrap();
    let mut digests = Vec::new();
    for day in 1..6 {
        let end = epoch() + TimeDelta::days(day);
        place.at(end);
        for name in [EVERY_FIVE_MINUTES, support::EVERY_TEN_MINUTES] {
            let ranges: Vec<_> = pipeline
                .coverage(|coverage| coverage.uncovered(&job(name), end + TimeDelta::seconds(1)).collect::<Vec<_>>());
            for range in ranges {
                let missed = signing::statement::Missed {
                    job: job(name),
                    first: range.first,
                    last: range.last,
                    count: range.count,
                    cause: signing::statement::Cause::Down,
                    detail: String::new(),
                };
                pipeline.spool_missed(range.plan, missed).await.unwrap();
            }
        }
        digests.push(pipeline.spool_plan(|basis| support::make_plan(&basis)).await.unwrap());
        support::nothing_held(pipeline.drain().await.unwrap());
    }
    let covered = pipeline.coverage(|coverage| coverage.last_covered(&job(EVERY_FIVE_MINUTES)));
    drop(pipeline);
    // Nothing before the newest plan is needed: the older plans may even be gone.
    for digest in &digests[..digests.len() - 2] {
        fs::remove_file(place.archive().join(layout::document("plan", *digest))).unwrap();
    }
    fs::remove_dir_all(place.state_dir()).unwrap();
    let pipeline = open(&place, "two").await;
    let newest: Option<Digest> = pipeline.plan().map(|(digest, _)| digest);
    assert_eq!(newest, digests.last().copied());
    assert_eq!(pipeline.coverage(|coverage| coverage.due(covered.unwrap()).count()), 0);
    assert_eq!(pipeline.pending(), 0);
}

#[tokio::test(start_paused = true)]
async fn slots_left_open_by_a_pause_are_still_due_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let place = begun(dir.path()).await;
    let pipeline = open(&place, "two").await;
    // At 04:10 both jobs are due; before either is done, everything is paused, and the agent dies. Twice it says so again.
    place.at(minutes(10));
    place.clock.jump(TimeDelta::seconds(1));
    for _ in 0..3 {
        let make = |basis: PlanBasis<'_>| Plan {
            jobs: Vec::new(),
            reason: "paused: a test".into(),
            ..support::make_plan(&basis)
        };
        pipeline.spool_plan(make).await.unwrap();
        pipeline.drain().await.unwrap();
        place.clock.jump(TimeDelta::days(1));
    }
    let due: Vec<_> = pipeline.coverage(|coverage| coverage.due(minutes(10)).collect());
    assert_eq!(due.len(), 2);
    drop(pipeline);
    fs::remove_dir_all(place.state_dir()).unwrap();
    let pipeline = open(&place, "three").await;
    assert_eq!(pipeline.coverage(|coverage| coverage.due(minutes(10)).collect::<Vec<_>>()), due);
}
