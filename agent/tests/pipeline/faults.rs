//! Every write × {failed, failed but persisted}, and a full disk.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use chrono::TimeDelta;
use evidenced::{
    durable::{Disk, Step, Verdict, Watch},
    pipeline::Pipeline,
};
use signing::digest::Digest;

use crate::support::{self, Place, epoch};

/// Fails `count` steps from the `from`-th on.
pub struct FailFrom {
    pub from: usize,
    pub count: usize,
    pub persisted: bool,
    /// Only steps that need room.
    pub room_only: bool,
    pub seen: AtomicUsize,
}

impl Watch for FailFrom {
    fn before(&self, step: Step, _: &Path) -> Verdict {
        if self.room_only && !matches!(step, Step::Write | Step::MakeDir) {
            return Verdict::Go;
        }
        let at = self.seen.fetch_add(1, Ordering::SeqCst);
        match (self.from..self.from + self.count).contains(&at) {
            true if self.persisted => Verdict::FailAfter(io::ErrorKind::StorageFull.into()),
            true => Verdict::Fail(io::ErrorKind::StorageFull.into()),
            false => Verdict::Go,
        }
    }
}

/// Does the scenario again and again, with the same pipeline where there is one, until it succeeds; how often it failed.
async fn until_done(place: &Place, disk: &Disk, acknowledged: &mut Vec<Digest>) -> usize {
    let end = epoch() + TimeDelta::minutes(5);
    let mut pipeline: Option<Pipeline> = None;
    for failures in 0..200 {
        let done = async {
            if pipeline.is_none() {
                pipeline = Some(place.open(disk, "one").await?);
            }
            support::scenario(place, pipeline.as_ref().unwrap(), end, &mut |leaf| acknowledged.push(leaf)).await
        };
        if done.await.is_ok() {
            return failures;
        }
    }
    panic!("it never succeeds");
}

async fn each_write(persisted: bool) {
    let mut at = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        let watch = Arc::new(FailFrom { from: at, count: 1, persisted, room_only: false, seen: AtomicUsize::new(0) });
        // Keys are made beforehand: their steps have a test of their own.
        place.keys(&Disk::new()).unwrap();
        let mut acknowledged = Vec::new();
        until_done(&place, &Disk::watched(watch.clone()), &mut acknowledged).await;
        // What could not even be discarded is swept by the next start.
        drop(place.open(&Disk::new(), "two").await.unwrap());
        let leaves = support::check(&place, epoch() + TimeDelta::minutes(5));
        for leaf in acknowledged {
            assert!(leaves.contains(&leaf), "acknowledged, then lost after a failure at step {at}");
        }
        if watch.seen.load(Ordering::SeqCst) <= at {
            break;
        }
        at += 1;
    }
    assert!(at > 150, "only {at} steps");
}

#[tokio::test(start_paused = true)]
async fn whatever_write_fails_everything_is_logged_once_when_tried_again() {
    each_write(false).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_write_fails_but_persists_everything_is_logged_once_when_tried_again() {
    each_write(true).await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_for_a_while_costs_nothing_that_was_spooled() {
    for from in (0..60).step_by(4) {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        let watch = FailFrom { from, count: 25, persisted: false, room_only: true, seen: AtomicUsize::new(0) };
        let mut acknowledged = Vec::new();
        let failures = until_done(&place, &Disk::watched(Arc::new(watch)), &mut acknowledged).await;
        assert!(failures > 0, "nothing failed from step {from} on");
        let leaves = support::check(&place, epoch() + TimeDelta::minutes(5));
        assert!(acknowledged.iter().all(|leaf| leaves.contains(leaf)), "lost after a full disk from step {from} on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_told_from_other_failures_and_leaves_nothing_half_spooled() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    drop(place.open(&Disk::new(), "one").await.unwrap());
    let watch =
        FailFrom { from: 0, count: usize::MAX / 2, persisted: false, room_only: true, seen: AtomicUsize::new(0) };
    let disk = Disk::watched(Arc::new(watch));
    let pipeline = place.open(&disk, "two").await.unwrap();
    let before = pipeline.pending();
    let failure = pipeline.spool_plan(|basis| support::make_plan(&basis)).await.unwrap_err();
    assert!(failure.is_disk_full(), "{failure}");
    assert_eq!(pipeline.pending(), before);
    assert_eq!(support::listed(&place.state_dir().join("spool")).len(), before);
}
