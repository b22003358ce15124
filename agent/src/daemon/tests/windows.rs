//! Jobs that read events: which events their runs read, over restarts, failures and long silences.

use std::ops::ControlFlow;

use collectors::contract::WindowSpec;
use signing::{
    layout::CHECKPOINT,
    log::{Checkpoint, MAX_CHECKPOINT, entries},
    statement::{Body, Outcome as Run, Receipt, Statement},
    store::Reader as _,
};

use super::*;

const EVENTS: WindowSpec =
    WindowSpec { overlap: Duration::from_secs(6 * 3600), retained: Duration::from_secs(10 * 86_400) };

/// Daily at midnight in Berlin, which is 22:00 in summer.
fn fake(script: impl IntoIterator<Item = Act>) -> Arc<Fake> {
    Fake::new("test/events", "@daily", script).with_window(EVENTS)
}

impl World {
    /// The receipts of all runs, in log order.
    fn receipts(&self) -> Vec<Receipt> {
        let archive = Dir::new(self.path("archive").join("test+daemon"));
        let checkpoint = archive.read(CHECKPOINT, MAX_CHECKPOINT).unwrap().unwrap();
        let size = Checkpoint::parse_unverified(&checkpoint).unwrap().size;
        let mut receipts = Vec::new();
        entries(&archive, 0, size, &mut |_, leaf| {
            if let Body::Receipt(receipt) = Statement::from_bytes(leaf).unwrap().body {
                receipts.push(receipt);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        receipts
    }

    /// Each run's outcome and window: from, to, whether it was read whole.
    fn windows(&self) -> Vec<(Run, String, String, bool)> {
        let told = |receipt: Receipt| {
            let window = receipt.window.unwrap();
            (receipt.outcome, rfc3339(window.from), rfc3339(window.to), window.whole)
        };
        self.receipts().into_iter().map(told).collect()
    }
}

fn told(outcome: Run, from: &str, to: &str, whole: bool) -> (Run, String, String, bool) {
    (outcome, format!("2026-{from}:00:00Z"), format!("2026-{to}:00:00Z"), whole)
}

#[tokio::test(start_paused = true)]
async fn each_window_begins_an_overlap_before_the_newest_that_was_read_whole_also_after_a_restart() {
    let world = World::new("2026-06-01T12:00:30Z", &[fake([Act::Good, Act::Half, Act::Denied, Act::Good])]);
    let agent = world.start().await;
    world.until("2026-06-04T12:00:00Z").await;
    assert_eq!(agent.stop().await, done());
    let agent = world.start().await;
    world.until("2026-06-05T12:00:00Z").await;
    assert_eq!(agent.stop().await, done());
    assert_eq!(
        world.windows(),
        [
            told(Run::Collected, "05-22T22", "06-01T22", true),
            told(Run::Partial, "06-01T16", "06-02T22", false),
            told(Run::Failed, "06-01T16", "06-03T22", false),
            // By another start, which knows it from the log.
            told(Run::Collected, "06-01T16", "06-04T22", true),
        ]
    );
    let events = world.verify().events;
    assert_eq!((events.len(), events[0].gaps.as_slice()), (1, [].as_slice()));
    assert_eq!(
        (rfc3339(events[0].from), rfc3339(events[0].to)),
        ("2026-05-22T22:00:00Z".into(), "2026-06-04T22:00:00Z".into())
    );
}

#[tokio::test(start_paused = true)]
async fn events_that_the_source_no_longer_keeps_make_one_run_partial_and_stay_a_gap() {
    let world = World::new("2026-06-01T12:00:30Z", &[fake([Act::Good])]);
    let agent = world.start().await;
    world.until("2026-06-02T12:00:00Z").await;
    assert_eq!(agent.stop().await, done());
    world.until("2026-06-20T12:00:00Z").await;
    let agent = world.start().await;
    world.until("2026-06-22T12:00:00Z").await;
    assert_eq!(agent.stop().await, done());
    assert_eq!(
        world.windows(),
        [
            told(Run::Collected, "05-22T22", "06-01T22", true),
            told(Run::Partial, "06-10T22", "06-20T22", true),
            told(Run::Collected, "06-20T16", "06-21T22", true),
        ]
    );
    let lost = &world.receipts()[1].reason;
    assert_eq!(
        lost,
        "no run read every event from 2026-06-01T22:00:00Z to 2026-06-10T22:00:00Z, and the source no longer keeps them"
    );
    let gaps = &world.verify().events[0].gaps;
    assert_eq!(gaps.len(), 1);
    assert_eq!(
        (rfc3339(gaps[0].from), rfc3339(gaps[0].to)),
        ("2026-06-01T22:00:00Z".into(), "2026-06-10T22:00:00Z".into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_never_read_whole_reads_all_that_is_kept_each_time_and_claims_no_loss() {
    let world = World::new("2026-06-01T12:00:30Z", &[fake([Act::Half])]);
    let agent = world.start().await;
    world.until("2026-06-14T12:00:00Z").await;
    assert_eq!(agent.stop().await, done());
    let receipts = world.receipts();
    assert_eq!(receipts.len(), 13);
    for receipt in receipts {
        let window = receipt.window.unwrap();
        assert_eq!((window.to - window.from, window.whole, window.previous), (TimeDelta::days(10), false, None));
        assert_eq!(receipt.reason, "its end was not seen");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_by_hand_reads_on_from_a_run_that_is_still_in_the_spool() {
    let world = World {
        append_every: Duration::from_secs(7 * 86_400),
        ..World::new("2026-06-01T12:00:30Z", &[fake([Act::Good])])
    };
    let agent = world.start().await;
    world.until("2026-06-01T23:00:00Z").await;
    assert_eq!(agent.pipeline.ledger().window(&"test/events@here".parse().unwrap()), Ok(None), "it is not logged yet");
    agent.ask(Ask::Collect { only: vec![] }).await;
    assert_eq!(agent.stop().await, done());
    let windows = world.windows();
    assert_eq!(windows[1], told(Run::Collected, "06-01T16", "06-01T23", true));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_the_agent_did_not_seal_is_not_believed() {
    let world = World::new("2026-06-01T12:00:30Z", &[fake([Act::Good])]);
    let agent = world.start().await;
    world.until("2026-06-02T12:00:00Z").await;
    let ledger = agent.pipeline.ledger();
    let job = "test/events@here".parse().unwrap();
    assert!(ledger.window(&job).unwrap().unwrap().whole);
    let seals = world.path("archive").join("test+daemon/seal/2026/06/01");
    for seal in fs::read_dir(&seals).unwrap() {
        fs::remove_file(seal.unwrap().path()).unwrap();
    }
    let why = ledger.window(&job).unwrap_err();
    assert!(why.contains("is gone from the archive"), "{why}");
    drop(agent.stop().await);
    // Not knowing is no reason not to read: all that is kept is read again.
    let agent = world.start().await;
    world.until("2026-06-03T12:00:00Z").await;
    assert_eq!(agent.stop().await, done());
    assert_eq!(world.windows()[1], told(Run::Collected, "05-23T22", "06-02T22", true));
}
