#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{fs, sync::atomic::Ordering};

use collectors::contract::WindowSpec;
use serde_json::Value;
use signing::statement::Outcome;

use super::{
    fake::{Act, Fake},
    *,
};
use crate::clock::SimClock;

struct Bench {
    dir: TempDir,
    env: Env,
}

fn bench(place: Place) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let clock = SimClock::new("2026-11-22T04:00:00Z".parse().unwrap());
    let env = Env { work: dir.path().to_owned(), clock: Arc::new(clock), place, hanging: Hanging::default() };
    Bench { dir, env }
}

fn task(fake: &Arc<Fake>) -> Task {
    Task {
        job: "test/thing@here".parse().unwrap(),
        slot: None,
        plan: Digest::of(b"plan"),
        late: false,
        source: SourceFacts { name: "here".into(), kind: "test".into(), identity: Value::Null },
        collector: fake.clone(),
        checks: Arc::new(Checks::new(&fake.spec().checks, Value::Null).unwrap()),
        deadline: Duration::from_secs(60),
        attempts: 3,
        inputs: Vec::new(),
        window: None,
    }
}

async fn ran(bench: &Bench, script: impl IntoIterator<Item = Act>) -> (Ran, Arc<Fake>) {
    let fake = Fake::new("test/thing", "@daily", script);
    let ran = execute(&bench.env, task(&fake), &CancellationToken::new()).await.unwrap();
    (ran, fake)
}

fn errors(ran: &Ran) -> Vec<Option<&str>> {
    ran.facts.attempts.iter().map(|attempt| attempt.error.as_deref()).collect()
}

fn counts(ran: &Ran) -> (u64, u64, u64) {
    let counts = ran.checks["is-ok"];
    (counts.pass, counts.fail, counts.unknown)
}

#[tokio::test(start_paused = true)]
async fn a_whole_reading_is_collected_and_its_directory_is_a_bundle() {
    let bench = bench(Place::Shared);
    let (ran, _) = ran(&bench, [Act::Good]).await;
    assert_eq!((ran.facts.outcome, ran.facts.reason.as_str(), counts(&ran)), (Outcome::Collected, "", (1, 0, 0)));
    assert_eq!(errors(&ran), [None]);
    let mut zip = io::Cursor::new(Vec::new());
    signing::bundle::write(&ran.dir, &mut zip).unwrap();
    let mut bundle = signing::bundle::Bundle::open(zip, 1 << 20).unwrap();
    let facts: RunFacts = serde_json::from_slice(&bundle.file(RUN_FACTS).unwrap()).unwrap();
    assert_eq!(facts, ran.facts);
    let checks = signing::bundle::ChecksDocument::from_bytes(&bundle.file(CHECKS).unwrap()).unwrap();
    assert_eq!(checks.checks, task(&Fake::new("test/thing", "@daily", [])).collector.spec().checks);
    assert!(!bundle.file("records/thing.jsonl").unwrap().is_empty());
    assert!(bundle.file("results.json").is_ok() && bundle.file("log.txt").is_ok());
    drop(ran);
    assert_eq!(fs::read_dir(bench.dir.path()).unwrap().count(), 0, "a run leaves no directory behind");
}

#[tokio::test(start_paused = true)]
async fn an_error_then_a_success_is_collected_with_both_attempts_listed() {
    let (ran, _) = ran(&bench(Place::Shared), [Act::Error, Act::Good]).await;
    assert_eq!(errors(&ran), [Some("the source is away"), None]);
    assert_eq!((ran.facts.outcome, ran.facts.reason.as_str()), (Outcome::Collected, ""));
    assert!(ran.facts.attempts[1].started_at > ran.facts.attempts[0].ended_at, "it waits between attempts");
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_panics_each_time_is_a_failed_run_that_says_so() {
    let (ran, fake) = ran(&bench(Place::Shared), [Act::Panic]).await;
    assert_eq!(fake.runs.load(Ordering::SeqCst), 3);
    assert_eq!(ran.facts.outcome, Outcome::Failed);
    assert!(ran.facts.reason.starts_with("the collector panicked: a bug in the collector"), "{}", ran.facts.reason);
    assert_eq!(counts(&ran), (0, 0, 1), "what was not read is unknown");
}

#[tokio::test(start_paused = true)]
async fn half_a_reading_is_partial_and_its_rest_is_unknown() {
    let (ran, _) = ran(&bench(Place::Shared), [Act::Half]).await;
    assert_eq!((ran.facts.outcome, ran.facts.reason.as_str()), (Outcome::Partial, "its end was not seen"));
    assert_eq!(counts(&ran), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn of_several_attempts_the_one_that_read_most_is_kept() {
    let (ran, _) = ran(&bench(Place::Shared), [Act::HalfThenError, Act::Error, Act::Panic]).await;
    assert_eq!((ran.facts.outcome, ran.facts.attempts.len()), (Outcome::Partial, 3));
    assert!(ran.facts.reason.contains("the source went away"), "{}", ran.facts.reason);
    assert!(ran.facts.reason.contains("attempt 1 of 3 read most and is kept"), "{}", ran.facts.reason);
    assert_eq!(ran.facts.records["thing"], 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_after_everything_was_read_is_not_collected() {
    let bench = bench(Place::Shared);
    let (ran, _) = ran(&bench, [Act::HalfThenError]).await;
    assert_eq!(ran.facts.outcome, Outcome::Partial);
    assert_eq!(ran.facts.attempts.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_asked_again() {
    let (ran, fake) = ran(&bench(Place::Shared), [Act::Denied]).await;
    assert_eq!((ran.facts.outcome, fake.runs.load(Ordering::SeqCst)), (Outcome::Failed, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_proved_absent_is_collected_and_not_applicable() {
    let (ran, _) = ran(&bench(Place::Shared), [Act::Absent]).await;
    assert_eq!((ran.facts.outcome, ran.note.as_str()), (Outcome::Collected, "not applicable: there is no thing"));
    assert_eq!(ran.checks["is-ok"].not_applicable, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_collector_ends_at_the_deadline_and_what_it_read_stays() {
    let begin = Instant::now();
    let (ran, _) = ran(&bench(Place::Shared), [Act::Hang]).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(60));
    assert_eq!((ran.facts.outcome, counts(&ran)), (Outcome::Partial, (1, 0, 1)));
    assert_eq!(errors(&ran), [Some("the deadline of 60 s came before the collector was done")]);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_one_for_all_attempts() {
    let begin = Instant::now();
    let (ran, _) = ran(&bench(Place::Shared), [Act::Error, Act::HangEmpty]).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(60));
    assert_eq!((ran.facts.outcome, ran.facts.attempts.len()), (Outcome::Failed, 2));
}

/// In real time: a thread that blocks cannot be simulated.
#[tokio::test]
async fn a_collector_that_blocks_its_thread_is_abandoned_and_what_it_writes_later_is_not_sealed() {
    let bench = bench(Place::Own);
    let fake = Fake::new("test/thing", "@daily", [Act::Block]);
    let task = Task { deadline: Duration::from_millis(200), ..task(&fake) };
    let ran = execute(&bench.env, task, &CancellationToken::new()).await.unwrap();
    assert!(ran.facts.reason.contains("its thread was abandoned"), "{}", ran.facts.reason);
    let sealed = fs::read(ran.dir.join("exchanges.jsonl")).unwrap();
    let abandoned = ran.dir.parent().unwrap().join("attempt-1/exchanges.jsonl");
    fake.release();
    while fs::read(&abandoned).unwrap().len() <= sealed.len() {
        tokio::task::yield_now().await;
    }
    assert_eq!(fs::read(ran.dir.join("exchanges.jsonl")).unwrap(), sealed);
    assert_eq!((ran.facts.outcome, counts(&ran)), (Outcome::Partial, (1, 0, 1)));
}

/// In real time, as above.
#[tokio::test]
async fn a_collector_that_blocks_each_time_does_not_take_thread_after_thread() {
    let bench = bench(Place::Own);
    let fake = Fake::new("test/thing", "@daily", [Act::Block]);
    let task = Task { deadline: Duration::from_millis(200), ..task(&fake) };
    let run = async || execute(&bench.env, task.clone(), &CancellationToken::new()).await.unwrap();
    tokio::join!(run(), run(), run());
    let refused = run().await;
    assert_eq!((refused.facts.outcome, fake.runs.load(Ordering::SeqCst)), (Outcome::Failed, 3));
    assert!(refused.facts.reason.contains("3 earlier runs of the collector hang"), "{}", refused.facts.reason);
    fake.release();
    while run().await.facts.outcome == Outcome::Failed {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_panic_on_a_thread_of_its_own_is_a_value_too() {
    let bench = bench(Place::Own);
    let fake = Fake::new("test/thing", "@daily", [Act::Panic]);
    let ran = execute(&bench.env, Task { attempts: 1, ..task(&fake) }, &CancellationToken::new()).await.unwrap();
    assert_eq!(errors(&ran), [Some("the collector panicked: a bug in the collector")]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_deriving_keeps_the_exchanges_and_makes_everything_unknown() {
    let bench = bench(Place::Shared);
    let (ran, _) = ran(&bench, [Act::Poison]).await;
    assert_eq!((ran.facts.outcome, counts(&ran)), (Outcome::Failed, (0, 0, 1)));
    assert!(ran.facts.reason.contains("a bug in deriving"), "{}", ran.facts.reason);
    assert_eq!(fs::read_to_string(ran.dir.join("exchanges/00000001-read-file.txt")).unwrap(), "poison");
    assert_eq!(fs::read(ran.dir.join("records/thing.jsonl")).unwrap(), b"");
}

#[tokio::test(start_paused = true)]
async fn a_stop_seals_what_was_read_and_tells_when_that_is_nothing() {
    for (act, empty) in [(Act::Hang, false), (Act::HangEmpty, true)] {
        let bench = bench(Place::Shared);
        let stop = CancellationToken::new();
        let fake = Fake::new("test/thing", "@daily", [act]);
        let (env, task, token) = (bench.env.clone(), task(&fake), stop.clone());
        let running = tokio::spawn(async move { execute(&env, task, &token).await });
        tokio::time::sleep(Duration::from_secs(5)).await;
        stop.cancel();
        let ran = running.await.unwrap().unwrap();
        assert_eq!(ran.stopped_empty, empty);
        assert!(ran.facts.reason.starts_with("stopped: "), "{}", ran.facts.reason);
    }
}

fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

/// A run of events, with what earlier runs had read.
async fn of_events(bench: &Bench, script: impl IntoIterator<Item = Act>, previous: Option<&str>) -> Ran {
    let spec = WindowSpec { overlap: days(1), retained: days(30) };
    let fake = Fake::new("test/thing", "@daily", script).with_window(spec);
    let window = Decided::new(spec, bench.env.clock.now(), Ok(previous.map(|at| at.parse().unwrap())));
    let task = Task { window: Some(window), ..task(&fake) };
    execute(&bench.env, task, &CancellationToken::new()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_window_is_the_first_exchange_of_each_attempt_and_is_sealed_with_what_was_read_of_it() {
    for (script, whole) in [
        (vec![Act::Good], true),
        (vec![Act::Error, Act::Good], true),
        (vec![Act::Absent], true),
        (vec![Act::Half], false),
        (vec![Act::HalfThenError], false),
        (vec![Act::Denied], false),
        (vec![Act::Poison], false),
        (vec![Act::Panic], false),
    ] {
        let bench = bench(Place::Shared);
        let says = format!("{script:?}");
        let ran = of_events(&bench, script, Some("2026-11-21T04:00:00Z")).await;
        let window = ran.facts.window.unwrap();
        assert_eq!((window.whole, window.previous), (whole, Some("2026-11-21T04:00:00Z".parse().unwrap())), "{says}");
        assert_eq!(ran.facts.gaps, Vec::<String>::new(), "{says}");
        let first = fs::read_to_string(ran.dir.join("exchanges.jsonl")).unwrap();
        let first: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
        let request = serde_json::json!({"from": window.from, "to": window.to, "previous": window.previous});
        assert_eq!((&first["operation"], &first["request"]), (&"window".into(), &request), "{says}");
    }
}

#[tokio::test(start_paused = true)]
async fn lost_events_make_a_whole_window_partial_and_half_a_window_no_better() {
    let bench = bench(Place::Shared);
    let lost = "no run read every event from 2026-10-01T00:00:00Z to ";
    let ran = of_events(&bench, [Act::Good], Some("2026-10-01T00:00:00Z")).await;
    assert_eq!((ran.facts.outcome, ran.facts.window.unwrap().whole), (Outcome::Partial, true));
    assert!(ran.facts.gaps.len() == 1 && ran.facts.gaps[0].starts_with(lost), "{:?}", ran.facts.gaps);
    assert_eq!(ran.facts.reason, ran.facts.gaps[0]);
    assert_eq!(ran.facts.attempts.len(), 1, "asking again brings nothing back");
    let ran = of_events(&bench, [Act::Half], Some("2026-10-01T00:00:00Z")).await;
    assert_eq!((ran.facts.outcome, ran.facts.window.unwrap().whole), (Outcome::Partial, false));
    let ran = of_events(&bench, [Act::Denied], Some("2026-10-01T00:00:00Z")).await;
    assert_eq!((ran.facts.outcome, ran.facts.window.unwrap().whole), (Outcome::Failed, false));
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_cannot_be_kept_is_a_failed_run_that_says_why() {
    let bench = bench(Place::Shared);
    let (ran, fake) = ran(&bench, [Act::Good]).await;
    let ran = unfit(ran, &task(&fake), "too many files").await.unwrap();
    assert_eq!((ran.facts.outcome, ran.facts.reason.as_str()), (Outcome::Failed, "too many files"));
    assert_eq!(fs::read(ran.dir.join("exchanges.jsonl")).unwrap(), b"");
    signing::bundle::write(&ran.dir, &mut io::Cursor::new(Vec::new())).unwrap();
}
