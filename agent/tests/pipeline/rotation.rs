//! Keys are followed by others while evidence is on its way: what was made for the old key is sealed by it and logged before, and the archive is
//! intact before, during and after; whatever is cut short, wherever.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use chrono::TimeDelta;
use evidenced::{
    clock::Clock as _,
    durable::Disk,
    keystore::{self, Change, Paths},
    pipeline::{Pipeline, PipelineError},
};
use signing::{
    keys::{Draft, KeySet, Use},
    layout,
    store::{Dir, Reader},
    time::Utc,
    verify::{self, Verdict},
};

use crate::{
    double::Memory,
    faults::FailFrom,
    support::{self, Place, epoch, run},
};

fn minutes(n: i64) -> Utc {
    epoch() + TimeDelta::minutes(n)
}

fn paths(place: &Place) -> Paths {
    Paths::in_dir(&place.dir.join("keys"))
}

fn both() -> Change {
    Change { rotate: vec![Use::Receipts, Use::Checkpoints], overlap: TimeDelta::days(30), ..Change::default() }
}

fn revision(place: &Place) -> u64 {
    KeySet::open_untrusted(&fs::read(paths(place).keys).unwrap()).unwrap().revision
}

/// Draws up a revision, has the root sign it, and puts it in use.
fn revise(place: &Place, disk: &Disk, change: &Change) -> anyhow::Result<()> {
    let paths = paths(place);
    let draft = keystore::draft(disk, &paths, change, place.clock.now())?;
    let root = keystore::read_key(&place.dir.join("keys/root.pem"))?;
    keystore::install(disk, &paths, &draft.sign(&root)?, place.clock.now())?;
    Ok(())
}

/// Runs every slot up to `end`; nothing is drained.
async fn collect(place: &Place, pipeline: &Pipeline, end: Utc) -> anyhow::Result<()> {
    if pipeline.plan().is_none() {
        pipeline.spool_plan(|basis| support::make_plan(&basis)).await?;
    }
    place.at(end);
    let due: Vec<_> = pipeline.coverage(|coverage| coverage.due(end).collect());
    for (job, plan, slot) in due {
        run(place, pipeline, job.as_str(), plan, slot, &mut |_| {}).await?;
    }
    Ok(())
}

fn judge(place: &Place) -> Verdict {
    let set = KeySet::open_untrusted(&fs::read(paths(place).keys).unwrap()).unwrap();
    verify::verify(&Dir::new(place.archive()), &verify::Options::trusting(set.root.fingerprint()), &|_| {}).unwrap()
}

fn intact(place: &Place) -> Verdict {
    let verdict = judge(place);
    assert!(verdict.intact, "{:#?}", verdict.findings);
    verdict
}

/// How many lines the published checkpoint is signed by.
fn lines(place: &Place) -> usize {
    let checkpoint = Dir::new(place.archive()).read(layout::CHECKPOINT, 65_536).unwrap().unwrap();
    String::from_utf8(checkpoint).unwrap().lines().filter(|line| line.starts_with('\u{2014}')).count()
}

#[tokio::test(start_paused = true)]
async fn a_running_agent_takes_new_keys_and_the_archive_is_intact_before_during_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let pipeline = place.open(&Disk::new(), "one").await.unwrap();
    collect(&place, &pipeline, minutes(5)).await.unwrap();
    support::nothing_held(pipeline.drain().await.unwrap());
    intact(&place);
    assert_eq!(lines(&place), 1);

    // Two runs wait for the old key while the new one comes.
    collect(&place, &pipeline, minutes(15)).await.unwrap();
    revise(&place, &Disk::new(), &both()).unwrap();
    assert_eq!(intact(&place).numbers.keys, 1);
    support::nothing_held(pipeline.drain().await.unwrap());
    let during = intact(&place);
    assert_eq!(during.numbers.keys, 2);
    assert!(during.limits.iter().all(|limit| limit.code != "KEY-LOST"));
    assert_eq!(lines(&place), 2, "the first checkpoint over the revision is signed by both");

    support::scenario(&place, &pipeline, minutes(30), &mut |_| {}).await.unwrap();
    assert_eq!(lines(&place), 1);
    support::check(&place, minutes(30));
    let new = keystore::open(&paths(&place)).unwrap();
    assert_eq!(intact(&place).checkpoint.signed_by, Some(new.checkpoints.public().fingerprint()));

    // And again, with a start between.
    drop(pipeline);
    revise(&place, &Disk::new(), &both()).unwrap();
    let pipeline = place.open(&Disk::new(), "two").await.unwrap();
    support::scenario(&place, &pipeline, minutes(40), &mut |_| {}).await.unwrap();
    support::check(&place, minutes(40));
    assert_eq!(intact(&place).numbers.keys, 3);
}

#[tokio::test(start_paused = true)]
async fn keys_change_while_the_archive_is_away_and_what_waits_is_logged_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = (Place::new(dir.path()), Memory::default());
    let pipeline = place.open_in(store.clone(), &Disk::new(), "one").await.unwrap();
    support::scenario(&place, &pipeline, minutes(5), &mut |_| {}).await.unwrap();
    store.away.store(true, Ordering::SeqCst);
    collect(&place, &pipeline, minutes(10)).await.unwrap();
    revise(&place, &Disk::new(), &both()).unwrap();
    assert!(pipeline.drain().await.unwrap_err().is_away());
    collect(&place, &pipeline, minutes(20)).await.unwrap();
    // Also a start of the agent meanwhile.
    drop(pipeline);
    let pipeline = place.open_in(store.clone(), &Disk::new(), "two").await.unwrap();
    collect(&place, &pipeline, minutes(25)).await.unwrap();
    store.away.store(false, Ordering::SeqCst);
    support::scenario(&place, &pipeline, minutes(30), &mut |_| {}).await.unwrap();
    store.dump(&place.archive());
    support::check(&place, minutes(30));
    assert_eq!(intact(&place).numbers.keys, 2);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_cut_short_at_any_write_is_finished_by_doing_it_again() {
    let mut from = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        let pipeline = place.open(&Disk::new(), "one").await.unwrap();
        collect(&place, &pipeline, minutes(5)).await.unwrap();
        pipeline.drain().await.unwrap();
        collect(&place, &pipeline, minutes(10)).await.unwrap();
        drop(pipeline);
        // From the n-th write on nothing reaches the disk: as if the machine had died there.
        let seen = AtomicUsize::new(0);
        let watch = FailFrom { from, count: usize::MAX / 2, persisted: from % 2 == 1, room_only: false, seen };
        let disk = Disk::watched(Arc::new(watch));
        let died = async {
            revise(&place, &disk, &both())?;
            let pipeline = place.open(&disk, "two").await?;
            collect(&place, &pipeline, minutes(15)).await?;
            pipeline.drain().await?;
            anyhow::Ok(())
        };
        let done = died.await.is_ok();
        if revision(&place) == 1 {
            revise(&place, &Disk::new(), &both()).unwrap();
        }
        let pipeline = place.open(&Disk::new(), "three").await.unwrap();
        support::scenario(&place, &pipeline, minutes(20), &mut |_| {}).await.unwrap();
        support::check(&place, minutes(20));
        assert_eq!((intact(&place).numbers.keys, revision(&place)), (2, 2), "cut short at {from}");
        if done {
            break;
        }
        from += 3;
    }
    assert!(from > 60, "only {from} writes");
}

#[tokio::test(start_paused = true)]
async fn a_lost_key_is_followed_and_what_it_had_not_sealed_is_kept_apart_and_missed() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let pipeline = place.open(&Disk::new(), "one").await.unwrap();
    support::scenario(&place, &pipeline, minutes(5), &mut |_| {}).await.unwrap();
    collect(&place, &pipeline, minutes(10)).await.unwrap();
    drop(pipeline);
    fs::remove_file(place.dir.join("keys/receipts.pem")).unwrap();

    // Nobody says that it is lost yet: it might come back, and nothing is given up.
    let receipts = Change { rotate: vec![Use::Receipts], ..both() };
    let refused = revise(&place, &Disk::new(), &receipts).unwrap_err().to_string();
    assert!(refused.contains("--lost"), "{refused}");
    revise(&place, &Disk::new(), &Change { lost: true, ..receipts }).unwrap();

    let pipeline = place.open(&Disk::new(), "two").await.unwrap();
    assert_eq!(support::listed(&place.state_dir().join("quarantine")).len(), 2);
    support::scenario(&place, &pipeline, minutes(20), &mut |_| {}).await.unwrap();
    support::check(&place, minutes(20));
    let verdict = intact(&place);
    assert!(verdict.limits.iter().any(|limit| limit.code == "KEY-LOST"), "{:?}", verdict.limits);
}

#[tokio::test(start_paused = true)]
async fn an_old_key_that_is_away_keeps_what_was_made_for_it_waiting_and_nothing_overtakes_it() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let pipeline = place.open(&Disk::new(), "one").await.unwrap();
    support::scenario(&place, &pipeline, minutes(5), &mut |_| {}).await.unwrap();
    collect(&place, &pipeline, minutes(10)).await.unwrap();
    drop(pipeline);
    revise(&place, &Disk::new(), &both()).unwrap();
    let (old, aside) = (place.dir.join("keys/receipts.pem"), place.dir.join("aside.pem"));
    fs::rename(&old, &aside).unwrap();
    let pipeline = place.open(&Disk::new(), "two").await.unwrap();
    collect(&place, &pipeline, minutes(15)).await.unwrap();
    let gone = pipeline.drain().await.unwrap_err();
    assert!(matches!(&gone, PipelineError::KeyGone { .. }), "{gone}");
    assert_eq!(intact(&place).numbers.keys, 1);
    drop(pipeline);
    fs::rename(&aside, &old).unwrap();
    let pipeline = place.open(&Disk::new(), "three").await.unwrap();
    support::scenario(&place, &pipeline, minutes(20), &mut |_| {}).await.unwrap();
    support::check(&place, minutes(20));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_logs_nothing_more_and_what_it_logged_is_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let pipeline = place.open(&Disk::new(), "one").await.unwrap();
    support::scenario(&place, &pipeline, minutes(5), &mut |_| {}).await.unwrap();
    let stolen = keystore::open(&paths(&place)).unwrap().receipts.public().fingerprint();
    collect(&place, &pipeline, minutes(10)).await.unwrap();
    let revoke =
        Change { compromised: Some((stolen.clone(), minutes(7))), overlap: TimeDelta::days(30), ..Change::default() };
    revise(&place, &Disk::new(), &revoke).unwrap();
    // What waits for it in the running agent is not logged any more.
    let logged = pipeline.checkpoint().unwrap().size;
    support::nothing_held(pipeline.drain().await.unwrap());
    assert_eq!(pipeline.checkpoint().unwrap().size, logged + 1);
    assert_eq!(support::listed(&place.state_dir().join("quarantine")).len(), 2);
    support::scenario(&place, &pipeline, minutes(20), &mut |_| {}).await.unwrap();
    let verdict = judge(&place);
    let doubted = verdict.findings.iter().filter(|finding| finding.code.as_str() == "KEY-COMPROMISED").count() as u64;
    assert_eq!((doubted, verdict.findings_total), (logged, logged), "{:#?}", verdict.findings);
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_cannot_follow_is_not_taken_and_the_old_keys_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let pipeline = place.open(&Disk::new(), "one").await.unwrap();
    support::scenario(&place, &pipeline, minutes(5), &mut |_| {}).await.unwrap();
    let keys = fs::read(paths(&place).keys).unwrap();
    let root = keystore::read_key(&place.dir.join("keys/root.pem")).unwrap();
    let draft = keystore::draft(&Disk::new(), &paths(&place), &both(), place.clock.now()).unwrap();

    // Without the old key's signature, with an end that is past, and by another root.
    let mut ended = draft.set().clone();
    ended.keys[0].valid.until = Some(epoch() + TimeDelta::seconds(1));
    let old: Vec<_> = ["receipts.pem", "checkpoint.pem"]
        .map(|name| keystore::read_key(&place.dir.join("keys").join(name)).unwrap())
        .into_iter()
        .collect();
    let signed_by = |set: &KeySet| Draft::new(set, &[&old[0], &old[1]]).unwrap().sign(&root).unwrap();
    for (bad, why) in [(draft.set().sign(&root).unwrap(), "did not sign it"), (signed_by(&ended), "sealed after that")]
    {
        let refused = keystore::install(&Disk::new(), &paths(&place), &bad, place.clock.now()).unwrap_err();
        assert_eq!(fs::read(paths(&place).keys).unwrap(), keys, "{refused}");
        // Put there by hand, the agent refuses it too, and goes on.
        fs::write(paths(&place).keys, &bad).unwrap();
        collect(&place, &pipeline, place.clock.now() + TimeDelta::minutes(5)).await.unwrap();
        let refused = signing::errors::chain(&pipeline.drain().await.unwrap_err());
        assert!(refused.contains(why), "{refused}");
        assert_eq!(pipeline.pending(), 0, "what the old keys seal is logged all the same");
        fs::write(paths(&place).keys, &keys).unwrap();
        intact(&place);
    }
    keystore::install(&Disk::new(), &paths(&place), &draft.sign(&root).unwrap(), place.clock.now()).unwrap();
    support::scenario(&place, &pipeline, minutes(30), &mut |_| {}).await.unwrap();
    support::check(&place, minutes(30));
}

#[test]
fn a_key_file_of_a_revision_to_come_changes_nothing_and_is_used_by_the_next_try() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    place.keys(&Disk::new()).unwrap();
    let before = keystore::open(&paths(&place)).unwrap();
    let first = keystore::draft(&Disk::new(), &paths(&place), &both(), epoch()).unwrap();
    let file = |name: &str| -> PathBuf { place.dir.join("keys").join(name) };
    assert!(file("receipts.2.pem").exists() && file("keys.request.json").exists());
    let meanwhile = keystore::open(&paths(&place)).unwrap();
    assert_eq!(meanwhile.receipts.public(), before.receipts.public());
    let again = keystore::draft(&Disk::new(), &paths(&place), &both(), epoch()).unwrap();
    assert_eq!(first.set().keys, again.set().keys);
    let root = keystore::read_key(&file("root.pem")).unwrap();
    let after = keystore::install(&Disk::new(), &paths(&place), &again.sign(&root).unwrap(), epoch()).unwrap();
    assert_ne!(after.receipts.public(), before.receipts.public());
    assert!(after.signer(&before.receipts.public().fingerprint()).is_some());
    assert_eq!(after.set.in_use(Use::Receipts).unwrap().spki, *after.receipts.public());
    // A loose mode of any of them is refused.
    let loose = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644);
    fs::set_permissions(file("receipts.pem"), loose).unwrap();
    assert!(keystore::open(&paths(&place)).unwrap_err().to_string().contains("0644"));
}
