//! A new machine with an empty disk and the same keys: what it asks of the archive does not grow with the log.

use std::sync::atomic::Ordering::SeqCst;

use chrono::TimeDelta;
use evidenced::{durable::Disk, pipeline::PipelineError};
use signing::layout;

use crate::{
    long,
    support::{self, Place, epoch},
};

/// What a cold start asked for, with a log of so many older leaves.
async fn asked(before: u64, notes: usize, since_midnight: i64) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let store = long::log(&place, before, 3, notes).await;
    place.at(epoch() + TimeDelta::days(3) + TimeDelta::minutes(since_midnight));
    let pipeline = place.open_in(store.clone(), &Disk::new(), "two").await.unwrap();
    let asked = store.reads.load(SeqCst);
    assert!(pipeline.checkpoint().unwrap().size > before);
    assert_eq!(pipeline.pending(), 0, "nothing is adopted that the log has");
    assert_eq!(pipeline.coverage(|coverage| coverage.due(epoch() + TimeDelta::days(3)).count()), 0);
    // It goes on with the log.
    long::miss(&place, &pipeline, epoch() + TimeDelta::days(4)).await;
    assert_eq!(support::nothing_held(pipeline.drain().await.unwrap()), 3);
    asked
}

#[tokio::test(start_paused = true)]
async fn a_new_machine_asks_a_log_of_a_million_leaves_for_no_more_than_one_of_a_thousand() {
    let (short, long) = (asked(1_000, 20, 1).await, asked(1_000_000, 20, 1).await);
    assert!(short <= 25 && long <= short + 4, "{short} of a thousand, {long} of a million");
}

#[tokio::test(start_paused = true)]
async fn seals_of_a_busy_day_are_known_by_the_log_and_not_asked_for_one_by_one() {
    let asked = asked(1_000, 300, 1).await;
    assert!(asked <= 30, "{asked} for days of 300 seals");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_off_for_years_lists_seals_by_month() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let store = long::log(&place, 1_000, 3, 5).await;
    place.clock.jump(TimeDelta::days(3 * 365));
    place.open_in(store.clone(), &Disk::new(), "two").await.unwrap();
    let asked = store.reads.load(SeqCst);
    assert!(asked <= 70, "{asked}");
}

#[tokio::test(start_paused = true)]
async fn where_decisions_stay_an_older_checkpoint_is_seen_without_listing_them() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let store = long::log(&place, 1_000, 2, 5).await;
    store.keeps.store(true, SeqCst);
    let older = store.objects()[layout::CHECKPOINT].clone();
    let pipeline = place.open_in(store.clone(), &Disk::new(), "two").await.unwrap();
    for n in 0..3_u8 {
        pipeline.spool_document("note", "a test", vec![n]).await.unwrap();
        support::nothing_held(pipeline.drain().await.unwrap());
    }
    drop(pipeline);
    store.objects().insert(layout::CHECKPOINT.to_owned(), older);
    std::fs::remove_dir_all(place.state_dir()).unwrap();
    let opened = place.open_in(store.clone(), &Disk::new(), "three").await;
    let refused: PipelineError = opened.unwrap_err().downcast().unwrap();
    assert!(matches!(refused, PipelineError::Older { .. }), "{refused}");
}
