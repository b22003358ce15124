//! After an outage: a few uploads at once, each job's in order, over a store that is slow and fails now and then.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use chrono::TimeDelta;
use evidenced::{
    archive::Archive,
    durable::Disk,
    pipeline::{Drained, Pipeline, PipelineError},
};
use signing::{layout::CHECKPOINT, log::Checkpoint};

use crate::{
    double::Memory,
    support::{self, Place, counts, epoch, facts},
};

/// Spools runs by hand of so many jobs, in turn.
async fn spooled(place: &Place, pipeline: &Pipeline, runs: i64, jobs: i64) {
    let plan = pipeline.spool_plan(|basis| support::make_plan(&basis)).await.unwrap();
    for n in 0..runs {
        let mut facts = facts(support::EVERY_FIVE_MINUTES, None, plan);
        facts.job = format!("host/accounts@h{}", n % jobs).parse().unwrap();
        (facts.started_at, facts.ended_at) = (epoch() + TimeDelta::seconds(n), epoch() + TimeDelta::seconds(n));
        place.at(facts.ended_at);
        pipeline.spool_run(&place.work(&facts), &facts, &counts()).await.unwrap();
    }
}

async fn opened(place: &Place, store: &Memory, instance: &str) -> Pipeline {
    place.open_in(store.clone(), &Disk::new(), instance).await.unwrap()
}

fn names(store: &Memory, part: &str) -> Vec<String> {
    store.created.lock().unwrap().iter().filter(|name| name.contains(part)).cloned().collect()
}

#[tokio::test(start_paused = true)]
async fn a_few_uploads_go_on_at_once_and_those_of_a_job_in_the_order_of_their_sealing() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = (Place::new(dir.path()), Memory::default());
    let pipeline = opened(&place, &store, "one").await;
    spooled(&place, &pipeline, 60, 20).await;
    store.slow.store(1_000, SeqCst);
    let begun = tokio::time::Instant::now();
    assert_eq!(support::nothing_held(pipeline.drain().await.unwrap()), 62);
    let most = store.most.load(SeqCst);
    assert!((4..=8).contains(&most), "{most} writes went on at once");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?} for 120 writes of a second each", begun.elapsed());
    for n in 0..20 {
        let uploaded = names(&store, &format!("-host+accounts@h{n}-"));
        assert!(uploaded.len() == 3 && uploaded.is_sorted(), "{uploaded:?}");
    }
    // The plan, before anything that names it.
    let created = store.created.lock().unwrap().clone();
    let first = |part: &str| created.iter().position(|name| name.starts_with(part)).unwrap();
    assert!(first("document/plan/") < first("bundle/"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_now_and_then_takes_everything_in_one_drain() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = (Place::new(dir.path()), Memory::default());
    let pipeline = opened(&place, &store, "one").await;
    spooled(&place, &pipeline, 200, 7).await;
    store.fails_one_in.store(5, SeqCst);
    assert_eq!(support::nothing_held(pipeline.drain().await.unwrap()), 202);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_away_in_the_midst_gets_the_rest_when_it_is_back_and_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = (Place::new(dir.path()), Memory::default());
    let pipeline = opened(&place, &store, "one").await;
    spooled(&place, &pipeline, 100, 7).await;
    store.slow.store(100, SeqCst);
    let away = store.clone();
    let outage = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        away.away.store(true, SeqCst);
    });
    let error = pipeline.drain().await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    outage.await.unwrap();
    store.away.store(false, SeqCst);
    let Drained { pending, held, .. } = pipeline.drain().await.unwrap();
    assert_eq!((pending, held.len()), (0, 0));
    assert_eq!(pipeline.checkpoint().unwrap().size, 102);
}

#[tokio::test(start_paused = true)]
async fn what_is_collected_meanwhile_waits_for_no_upload() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = (Place::new(dir.path()), Memory::default());
    let pipeline = opened(&place, &store, "one").await;
    spooled(&place, &pipeline, 20, 5).await;
    store.slow.store(3_600_000, SeqCst);
    let draining = tokio::spawn({
        let pipeline = pipeline.clone();
        async move { pipeline.drain().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = tokio::time::Instant::now();
    pipeline.spool_document("note", "meanwhile", b"{}".to_vec()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(!draining.is_finished());
    draining.abort();
}

#[tokio::test(start_paused = true)]
async fn of_two_agents_on_a_store_without_a_lock_the_loser_stops_and_the_log_does_not_fork() {
    let (one_dir, two_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two, store) = (Place::new(one_dir.path()), Place::new(two_dir.path()), Memory::default());
    let first = opened(&one, &store, "one").await;
    spooled(&one, &first, 3, 1).await;
    first.drain().await.unwrap();
    // The second has the same keys, and finds the first one's log.
    std::fs::create_dir_all(two.dir.join("keys")).unwrap();
    for name in support::listed(&one.dir.join("keys")) {
        std::fs::copy(one.dir.join("keys").join(&name), two.dir.join("keys").join(&name)).unwrap();
    }
    two.at(epoch() + TimeDelta::hours(1));
    let second = opened(&two, &store, "two").await;
    for (pipeline, name) in [(&first, "of the first"), (&second, "of the second")] {
        pipeline.spool_document("note", name, name.as_bytes().to_vec()).await.unwrap();
    }
    let (one, two) = tokio::join!(first.drain(), second.drain());
    let (winner, loser) = match (&one, &two) {
        (Ok(_), Err(error)) => (&first, (&second, error)),
        (Err(error), Ok(_)) => (&second, (&first, error)),
        other => panic!("one of them wins: {other:?}"),
    };
    let (loser, error) = loser;
    assert!(matches!(error, PipelineError::SecondAgent { .. }), "{error}");
    assert!(error.to_string().contains("Stop one of them"), "{error}");
    assert!(matches!(loser.drain().await.unwrap_err(), PipelineError::Stopped(_)));
    assert_eq!(loser.pending(), 1, "its evidence stays in its spool");
    winner.spool_document("note", "again", b"again".to_vec()).await.unwrap();
    assert_eq!(support::nothing_held(winner.drain().await.unwrap()), 1);
    let published = store.read(CHECKPOINT, 65_536).await.unwrap().unwrap();
    let published = Checkpoint::parse_unverified(&published).unwrap();
    assert_eq!((published.size, Some(published.root)), (7, winner.checkpoint().map(|known| known.root)));
}
