//! A log of years, made in a moment: leaves that nobody reads again, and after them the newest days of an agent at work.

use std::sync::atomic::Ordering::SeqCst;

use chrono::TimeDelta;
use evidenced::{durable::Disk, pipeline::Pipeline};
use signing::{
    layout::{self, CHECKPOINT},
    log::{Checkpoint, Edge, TILE_WIDTH, entries},
    statement::{Cause, Missed},
    time::Utc,
};

use crate::{
    double::Memory,
    support::{self, EVERY_FIVE_MINUTES, EVERY_TEN_MINUTES, ORIGIN, Place, epoch, job},
};

/// Seals what is due up to `end` as missed, and a plan.
pub async fn miss(place: &Place, pipeline: &Pipeline, end: Utc) {
    place.at(end);
    for name in [EVERY_FIVE_MINUTES, EVERY_TEN_MINUTES] {
        let until = end + TimeDelta::seconds(1);
        let ranges = pipeline.coverage(|coverage| coverage.uncovered(&job(name), until).collect::<Vec<_>>());
        for range in ranges {
            let missed = Missed {
                job: job(name),
                first: range.first,
                last: range.last,
                count: range.count,
                cause: Cause::Down,
                detail: String::new(),
            };
            pipeline.spool_missed(range.plan, missed).await.unwrap();
        }
    }
    pipeline.spool_plan(|basis| support::make_plan(&basis)).await.unwrap();
}

/// A log of more than `before` leaves, the last of them of `days` days with a plan and `notes` documents each; the clock stands at its end.
pub async fn log(place: &Place, before: u64, days: i64, notes: usize) -> Memory {
    let days_store = Memory::default();
    let pipeline = place.open_in(days_store.clone(), &Disk::new(), "one").await.unwrap();
    pipeline.spool_plan(|basis| support::make_plan(&basis)).await.unwrap();
    for day in 1..=days {
        for n in 0..notes {
            let note = format!("{day}/{n}").into_bytes();
            pipeline.spool_document("note", "a test", note).await.unwrap();
        }
        miss(place, &pipeline, epoch() + TimeDelta::days(day)).await;
        support::nothing_held(pipeline.drain().await.unwrap());
    }
    let size = pipeline.checkpoint().unwrap().size;
    drop(pipeline);
    std::fs::remove_dir_all(place.state_dir()).unwrap();

    let store = Memory::default();
    let mut edge = Edge::empty();
    let mut grow = |leaves: &[Vec<u8>]| {
        let mut objects = store.objects();
        edge.append(leaves, &mut |name, bytes| drop(objects.insert(name, bytes))).unwrap();
    };
    let mut at = 0_u64;
    while at < before {
        let leaves: Vec<_> = (at..(at + 100 * TILE_WIDTH).min(before)).map(|n| n.to_be_bytes().to_vec()).collect();
        grow(&leaves);
        at += leaves.len() as u64;
    }
    let mut leaves = Vec::new();
    entries(&*days_store, 0, size, &mut |_, leaf| {
        leaves.push(leaf.to_vec());
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    grow(&leaves);
    let kept = |name: &str| ["document/", "bundle/", "seal/"].iter().any(|kind| name.starts_with(kind));
    for (name, bytes) in days_store.objects().iter().filter(|(name, _)| kept(name)) {
        store.objects().insert(name.clone(), bytes.clone());
    }
    let keys = place.keys(&Disk::new()).unwrap();
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: edge.size(), root: edge.root() };
    store.objects().insert(CHECKPOINT.to_owned(), checkpoint.sign(&*keys.checkpoints).unwrap());
    assert_eq!(store.objects().get(&layout::append(edge.size())), None);
    store.reads.store(0, SeqCst);
    store
}
