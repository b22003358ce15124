//! The ordinary way.

use chrono::TimeDelta;
use evidenced::{durable::Disk, pipeline::Spooled};

use crate::support::{self, EVERY_FIVE_MINUTES, Place, counts, epoch, facts, run};

#[tokio::test(start_paused = true)]
async fn keys_come_first_then_the_plan_then_receipts_in_slot_order() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let pipeline = place.open(&Disk::new(), "one").await.unwrap();
    let end = epoch() + TimeDelta::minutes(30);
    support::scenario(&place, &pipeline, end, &mut |_| {}).await.unwrap();
    // keys, plan, 7 runs (04:00 is a slot of the plan sealed then), one missed for 4 slots, restated plan
    assert_eq!(support::check(&place, end).len(), 11);
    assert_eq!(pipeline.checkpoint().unwrap().size, 11);
    assert_eq!(pipeline.status().borrow().checkpoint, pipeline.checkpoint());
    assert_eq!(nothing_to_do(&pipeline).await, 0);
}

async fn nothing_to_do(pipeline: &evidenced::pipeline::Pipeline) -> u64 {
    support::nothing_held(pipeline.drain().await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_second_receipt_for_a_slot_is_quarantined_and_not_logged() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let pipeline = place.open(&Disk::new(), "one").await.unwrap();
    let end = epoch() + TimeDelta::minutes(10);
    support::scenario(&place, &pipeline, end, &mut |_| {}).await.unwrap();
    let before = pipeline.checkpoint().unwrap();
    let (plan, _) = pipeline.plan().unwrap();
    let again = run(&place, &pipeline, EVERY_FIVE_MINUTES, plan, end, &mut |_| {}).await.unwrap();
    let Spooled::Quarantined(kept) = again else { panic!("{again:?}") };
    assert_eq!(support::listed(&kept), ["bundle.zip", "payload.json", "reason.txt"]);
    assert_eq!(nothing_to_do(&pipeline).await, 0);
    assert_eq!(pipeline.checkpoint().unwrap(), before);
    support::check(&place, end);
}

#[tokio::test(start_paused = true)]
async fn a_run_asked_for_by_hand_fills_no_slot_and_is_logged_once() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let pipeline = place.open(&Disk::new(), "one").await.unwrap();
    let plan = pipeline.spool_plan(|basis| support::make_plan(&basis)).await.unwrap();
    let facts = facts(EVERY_FIVE_MINUTES, None, plan);
    let work = place.work(&facts);
    assert!(matches!(pipeline.spool_run(&work, &facts, &counts()).await.unwrap(), Spooled::New(_)));
    assert_eq!(pipeline.spool_run(&work, &facts, &counts()).await.unwrap(), Spooled::Already);
    assert_eq!(support::nothing_held(pipeline.drain().await.unwrap()), 3);
    assert_eq!(support::check(&place, epoch() - TimeDelta::seconds(1)).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_grows_past_many_tiles_keeps_only_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let pipeline = place.open(&Disk::new(), "one").await.unwrap();
    for round in 0..3 {
        for n in 0..100 {
            pipeline.spool_document("note", "a test", format!("{round}/{n}").into_bytes()).await.unwrap();
        }
        support::nothing_held(pipeline.drain().await.unwrap());
    }
    drop(pipeline);
    let pipeline = place.open(&Disk::new(), "two").await.unwrap();
    assert_eq!(pipeline.checkpoint().unwrap().size, 301);
    assert_eq!(support::check(&place, epoch()).len(), 301);
    assert_eq!(support::listed(&place.archive().join("tile/entries/000.p")), Vec::<String>::new());
    assert_eq!(support::listed(&place.archive().join("append")), Vec::<String>::new());
}
