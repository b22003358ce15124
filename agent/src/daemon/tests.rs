//! The daemon over simulated time, with a real pipeline and archive, judged by the verifier.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::panic)]

use std::{fs, path::Path, sync::atomic::Ordering};

use collectors::contract::{BoxFuture, Input, Pick};
use serde_json::json;
use signing::{
    slots::JobCoverage,
    store::Dir,
    verify::{self, Verdict},
};
use tempfile::TempDir;
use tokio::time::sleep;

use super::*;
use crate::{
    archive::{Archive, ArchiveError, DirArchive, Later},
    clock::SimClock,
    config::{JobSettings, Wish},
    control::{Answer, Ask, Line, Status},
    instance::Instance,
    keystore,
    pipeline::Options,
    run::fake::{Act, Fake, source},
};

mod away;
mod promise;
mod windows;

const ORIGIN: &str = "test/daemon";

struct World {
    dir: TempDir,
    clock: Arc<SimClock>,
    fakes: Vec<Arc<Fake>>,
    append_every: Duration,
    accept_clock: bool,
    max_spool_bytes: Option<u64>,
}

/// An agent at work, and the ends that a test holds.
struct Agent {
    task: JoinHandle<Exit>,
    asked: mpsc::Sender<Asked>,
    signals: mpsc::Sender<()>,
    pipeline: Arc<Pipeline>,
    _instance: Instance,
}

fn at(text: &str) -> Utc {
    text.parse().unwrap()
}

fn hours(n: i64) -> TimeDelta {
    TimeDelta::hours(n)
}

impl World {
    fn new(start: &str, fakes: &[Arc<Fake>]) -> Self {
        let shared = Path::new("/dev/shm");
        let dir = if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() }.unwrap();
        let clock = Arc::new(SimClock::new(at(start)));
        let append_every = Duration::from_secs(60);
        let world =
            Self { dir, clock, fakes: fakes.to_vec(), append_every, accept_clock: false, max_spool_bytes: None };
        keystore::make(&Disk::new(), &world.path("keys"), ORIGIN, at("2020-01-01T00:00:00Z")).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keys(&self) -> keystore::Keys {
        keystore::open(&keystore::Paths::in_dir(&self.path("keys"))).unwrap()
    }

    fn jobs(&self) -> Jobs {
        Jobs::new(vec![source("here", &self.fakes)], &json!({}), |_, spec| {
            Wish::Run(JobSettings {
                schedule: spec.schedule.clone(),
                zone: "Europe/Berlin".into(),
                start_within: Duration::from_secs(1800),
                deadline: spec.deadline,
                grace: Duration::from_secs(300),
                spread: Duration::ZERO,
                attempts: 3,
            })
        })
        .unwrap()
    }

    async fn daemon(&self) -> (Daemon, Arc<Pipeline>, Instance) {
        let disk = Disk::new();
        let state_dir = self.path("state");
        disk.make_private_dirs(&state_dir).unwrap();
        let instance = Instance::take(&state_dir).unwrap();
        let options = Options {
            state_dir: state_dir.clone(),
            archive: Arc::new(self.archive(&disk)),
            origin: ORIGIN.into(),
            keys: self.keys().into(),
            clock: self.clock.clone(),
            disk: disk.clone(),
            instance: instance.id().into(),
        };
        let pipeline = Arc::new(Pipeline::open(options).await.unwrap());
        let settings = Settings {
            state_dir,
            parallel: 4,
            append_every: self.append_every,
            max_spool_bytes: self.max_spool_bytes,
            stop_within: Duration::from_secs(10),
            settle: Duration::from_secs(600),
            retention_days: None,
            accept_clock: self.accept_clock,
            place: Place::Shared,
        };
        let daemon = Daemon::new(settings, self.jobs(), pipeline.clone(), self.clock.clone(), disk).unwrap();
        (daemon, pipeline, instance)
    }

    /// It cannot be opened while there is a file `away`.
    fn archive(&self, disk: &Disk) -> Later {
        let (dir, away, disk) = (self.path("archive"), self.path("away"), disk.clone());
        let open = move || {
            let opened = match away.exists() {
                false => DirArchive::open(&dir, ORIGIN, &disk).map(|archive| Arc::new(archive) as Arc<dyn Archive>),
                true => Err(ArchiveError::Io {
                    place: "archive".into(),
                    action: "find",
                    name: String::new(),
                    source: io::ErrorKind::NotFound.into(),
                }),
            };
            Box::pin(std::future::ready(opened)) as BoxFuture<'static, _>
        };
        Later::new("archive".into(), Box::new(open))
    }

    async fn start(&self) -> Agent {
        self.start_with(|_| {}).await
    }

    async fn start_with(&self, prepare: impl FnOnce(&mut Daemon)) -> Agent {
        let (mut daemon, pipeline, _instance) = self.daemon().await;
        prepare(&mut daemon);
        let (asked, asks) = mpsc::channel(4);
        let (signals, signalled) = mpsc::channel(4);
        let task = tokio::spawn(daemon.run(asks, signalled));
        Agent { task, asked, signals, pipeline, _instance }
    }

    /// Waits until the simulated clock shows the instant.
    async fn until(&self, instant: &str) {
        self.clock.sleep_until(at(instant)).await;
    }

    fn verify(&self) -> Verdict {
        let trust = self.keys().set.root.fingerprint();
        let archive = Dir::new(self.path("archive").join("test+daemon"));
        let options =
            verify::Options { threads: Some(1), as_of: Some(self.clock.now()), ..verify::Options::trusting(trust) };
        let verdict = verify::verify(&archive, &options, &|_| {}).unwrap();
        assert!(verdict.intact, "{:#?}", verdict.findings);
        verdict
    }

    /// What the verifier says of a job's slots.
    fn coverage(&self, job: &str) -> JobCoverage {
        let coverage = self.verify().coverage.unwrap();
        coverage.jobs.into_iter().find(|covered| covered.job.as_str() == job).unwrap()
    }
}

impl Agent {
    async fn stop(self) -> Exit {
        self.signals.send(()).await.unwrap();
        self.task.await.unwrap()
    }

    /// Dies without another word, as by kill -9: nothing of it runs on.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    async fn ask(&self, ask: Ask) -> Vec<Answer> {
        let (answers, mut lines) = mpsc::unbounded_channel();
        self.asked.send(Asked { ask, answers }).await.unwrap();
        let mut all = Vec::new();
        while let Some(answer) = lines.recv().await {
            all.push(answer);
        }
        all
    }

    async fn status(&self) -> Status {
        match self.ask(Ask::Status).await.pop() {
            Some(Answer::Status(status)) => *status,
            other => panic!("{other:?}"),
        }
    }
}

fn done() -> Exit {
    Exit::Done { late: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn a_simulated_year_has_exactly_one_receipt_for_each_slot() {
    let fakes = [
        Fake::new("test/daily", "30 2 * * *", [Act::Good]),
        Fake::new("test/half-daily", "0 */12 * * *", [Act::Good, Act::Half, Act::Good]),
        Fake::new("test/weekly", "15 4 * * sun", [Act::Good]),
        Fake::new("test/monthly", "@monthly", [Act::Absent]),
    ];
    let world = World { append_every: Duration::from_secs(6 * 3600), ..World::new("2026-01-01T00:00:30Z", &fakes) };
    let agent = world.start().await;
    world.until("2027-01-01T00:00:30Z").await;
    assert_eq!(agent.stop().await, done());
    let coverage = world.verify().coverage.unwrap();
    assert_eq!(coverage.plans, 366, "the plan is restated at each UTC midnight");
    assert_eq!(coverage.changes, []);
    let total = coverage.total;
    assert_eq!((total.uncovered, total.open, total.late), (0, 0, 0));
    assert!(total.missed.is_empty(), "{:?}", total.missed);
    // Both changes of Berlin's clock are in this year, and neither loses nor doubles a slot of 2:30. The hours of `*/12` are a list,
    // which follows the local clock.
    let judged: Vec<(&str, u64)> = coverage.jobs.iter().map(|job| (job.job.collector(), job.counts.judged)).collect();
    let expected = [("test/daily", 365), ("test/half-daily", 2 * 365), ("test/monthly", 12), ("test/weekly", 52)];
    assert_eq!(judged, expected);
    let runs: Vec<u64> = fakes.iter().map(|fake| u64::from(fake.runs.load(Ordering::SeqCst))).collect();
    assert_eq!(runs, [365, 2 * 365, 52, 12], "each slot ran once");
}

#[tokio::test(start_paused = true)]
async fn one_broken_collector_never_stops_the_others() {
    let fakes = [
        Fake::new("test/good", "*/10 * * * *", [Act::Good]),
        Fake::new("test/panics", "*/10 * * * *", [Act::Panic]),
        Fake::new("test/hangs", "*/10 * * * *", [Act::Hang]),
        Fake::new("test/poison", "*/10 * * * *", [Act::Poison]),
        Fake::new("test/flaky", "*/10 * * * *", [Act::Error, Act::Good]),
    ];
    let world = World::new("2026-06-01T00:00:30Z", &fakes);
    let agent = world.start().await;
    world.until("2026-06-01T02:05:00Z").await;
    assert_eq!(agent.stop().await, done());
    use signing::statement::Outcome as Run;
    for (job, outcome) in [
        ("test/good@here", Run::Collected),
        ("test/panics@here", Run::Failed),
        ("test/hangs@here", Run::Partial),
        ("test/poison@here", Run::Failed),
        ("test/flaky@here", Run::Collected),
    ] {
        let counts = world.coverage(job).counts;
        assert_eq!(counts.outcomes, [(outcome, 12)].into(), "{job}: {counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn slots_that_pass_during_a_run_are_missed_by_overrun() {
    let slow = Fake::new("test/slow", "*/10 * * * *", [Act::Slow(Duration::from_secs(3000)), Act::Good]);
    let world = World::new("2026-06-01T00:00:30Z", &[slow.with_deadline(Duration::from_secs(3600))]);
    let agent = world.start().await;
    world.until("2026-06-01T01:55:00Z").await;
    assert_eq!(agent.stop().await, done());
    let counts = world.coverage("test/slow@here").counts;
    // The run of 00:10 ends at 01:00: 00:20 and 00:30 could start until 00:50 and 01:00; the slot of 00:30 just can.
    assert_eq!(counts.missed, [(Cause::Overrun, 1)].into());
    assert_eq!((counts.judged, counts.uncovered), (11, 0));
}

#[tokio::test(start_paused = true)]
async fn hours_down_are_missed_as_down_and_a_kill_in_a_run_as_crashed() {
    let fake = Fake::new("test/hourly", "@hourly", [Act::Good, Act::Good, Act::Hang, Act::Good]);
    let world = World::new("2026-06-01T00:30:00Z", &[fake]);
    let agent = world.start().await;
    world.until("2026-06-01T03:00:20Z").await;
    agent.kill().await;
    world.until("2026-06-01T08:10:00Z").await;
    let agent = world.start().await;
    world.until("2026-06-01T09:30:00Z").await;
    assert_eq!(agent.stop().await, done());
    let counts = world.coverage("test/hourly@here").counts;
    assert_eq!(counts.missed, [(Cause::Down, 4), (Cause::Crashed, 1)].into());
    assert_eq!((counts.judged, counts.uncovered, counts.late), (9, 0, 1), "08:00 ran, late: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_the_agent_died_in_is_run_again_within_its_time() {
    let fake = Fake::new("test/hourly", "@hourly", [Act::Hang, Act::Good]);
    let world = World::new("2026-06-01T00:30:00Z", &[fake]);
    let agent = world.start().await;
    world.until("2026-06-01T01:00:20Z").await;
    agent.kill().await;
    world.until("2026-06-01T01:10:00Z").await;
    let agent = world.start().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(agent.stop().await, done());
    use signing::statement::Outcome as Run;
    assert_eq!(world.coverage("test/hourly@here").counts.outcomes, [(Run::Collected, 1)].into());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_hours_misses_what_it_passed_and_set_back_repeats_nothing() {
    let fake = Fake::new("test/hourly", "@hourly", [Act::Good]);
    let world = World::new("2026-06-01T00:30:00Z", std::slice::from_ref(&fake));
    let agent = world.start().await;
    world.until("2026-06-01T02:10:00Z").await;
    world.clock.jump(hours(5));
    sleep(Duration::from_secs(600)).await;
    assert_eq!(fake.runs.load(Ordering::SeqCst), 3, "01:00, 02:00, and 07:00 after the jump");
    world.clock.jump(hours(-5));
    // A pause and its end put two plans in force under the clock that was set back.
    agent.ask(Ask::Pause { reason: "clock".into() }).await;
    agent.ask(Ask::Resume).await;
    sleep(Duration::from_secs(4 * 3600)).await;
    assert_eq!(fake.runs.load(Ordering::SeqCst), 3, "what has a receipt is not run again");
    sleep(Duration::from_secs(4 * 3600)).await;
    assert_eq!(agent.stop().await, done());
    let counts = world.coverage("test/hourly@here").counts;
    assert_eq!(counts.missed, [(Cause::Clock, 4)].into(), "{counts:?}");
    assert_eq!((counts.judged, counts.uncovered), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn a_clock_years_ahead_is_held_until_a_second_clock_agrees() {
    let fake = Fake::new("test/hourly", "@hourly", [Act::Good]);
    let world = World::new("2026-06-01T00:30:00Z", std::slice::from_ref(&fake));
    let agent = world.start().await;
    world.until("2026-06-01T02:10:00Z").await;
    world.clock.set_synchronised(Some(false));
    world.clock.jump(TimeDelta::days(4000));
    sleep(Duration::from_secs(3 * 3600)).await;
    assert!(agent.status().await.held.unwrap().contains("--accept-clock"));
    assert!(matches!(agent.ask(Ask::Collect { only: vec![] }).await.as_slice(), [Answer::Refused(_)]));
    assert_eq!(fake.runs.load(Ordering::SeqCst), 2, "nothing runs");
    world.clock.jump(TimeDelta::days(-4000));
    sleep(Duration::from_secs(1800)).await;
    assert_eq!(agent.status().await.held, None);
    assert_eq!(agent.stop().await, done());
    let counts = world.coverage("test/hourly@here").counts;
    // 03:00, 04:00 and 05:00 passed while nothing was believed; 05:00 could still start.
    assert_eq!((counts.judged, counts.uncovered), (5, 0), "{counts:?}");
    assert_eq!(counts.missed, [(Cause::Clock, 2)].into());
}

#[tokio::test(start_paused = true)]
async fn a_start_years_later_is_held_unless_the_clock_is_accepted() {
    let fake = Fake::new("test/daily", "@daily", [Act::Good]);
    let world = World::new("2026-06-01T00:30:00Z", &[fake]);
    let agent = world.start().await;
    world.until("2026-06-03T00:30:00Z").await;
    assert_eq!(agent.stop().await, done());
    world.clock.set_synchronised(None);
    world.clock.jump(TimeDelta::days(365));
    let agent = world.start().await;
    sleep(Duration::from_secs(300)).await;
    assert!(agent.status().await.held.is_some());
    assert_eq!(agent.stop().await, done());
    let plans = |world: &World| fs::read_dir(world.path("archive/test+daemon/document/plan")).unwrap().count();
    let before = plans(&world);
    let world = World { accept_clock: true, ..world };
    let agent = world.start().await;
    sleep(Duration::from_secs(300)).await;
    assert_eq!(agent.status().await.held, None);
    assert_eq!(agent.stop().await, done());
    let counts = world.coverage("test/daily@here").counts;
    assert_eq!(counts.missed, [(Cause::Down, 365)].into());
    assert_eq!((before, plans(&world)), (3, 4), "none was written while the clock was held");
}

#[tokio::test(start_paused = true)]
async fn a_pause_puts_nothing_in_force_and_a_start_ends_it() {
    let fake = Fake::new("test/hourly", "@hourly", [Act::Good]);
    let world = World::new("2026-06-01T00:30:00Z", std::slice::from_ref(&fake));
    let agent = world.start().await;
    world.until("2026-06-01T02:30:00Z").await;
    let done_ = Answer::Done { logged: 1, waiting: None };
    assert_eq!(agent.ask(Ask::Pause { reason: "moving house".into() }).await, [done_]);
    world.until("2026-06-03T06:30:00Z").await;
    assert_eq!(fake.runs.load(Ordering::SeqCst), 2);
    assert_eq!(agent.status().await.paused.as_deref(), Some("moving house"));
    assert_eq!(agent.stop().await, done());
    let agent = world.start().await;
    world.until("2026-06-03T08:30:00Z").await;
    assert_eq!(agent.status().await.paused, None);
    assert_eq!(agent.stop().await, done());
    let counts = world.coverage("test/hourly@here").counts;
    assert_eq!((counts.judged, counts.uncovered, counts.missed.len()), (4, 0, 0));
    let coverage = world.verify().coverage.unwrap();
    let reasons: Vec<&str> = coverage.changes.iter().map(|change| change.reason.as_str()).collect();
    assert!(
        reasons.contains(&"paused: moving house") && reasons.contains(&"started, which ends the pause: moving house"),
        "{reasons:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_with_another_configuration_says_so_in_its_plan() {
    let mut world = World::new("2026-06-01T00:30:00Z", &[]);
    for (schedule, reason) in [
        ("@hourly", "started"),
        ("@hourly", "started"),
        ("*/30 * * * *", "started, configuration changed"),
        ("*/30 * * * *", "started"),
    ] {
        world.fakes = vec![Fake::new("test/hourly", schedule, [Act::Good])];
        let agent = world.start().await;
        sleep(Duration::from_secs(4000)).await;
        assert_eq!(agent.pipeline.plan().unwrap().1.reason, reason);
        assert_eq!(agent.stop().await, done());
    }
    assert_eq!(world.coverage("test/hourly@here").counts.uncovered, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_then_gives_up_a_hanging_run_and_seals_what_it_read() {
    let fakes = [
        Fake::new("test/hangs", "@hourly", [Act::Hang]),
        Fake::new("test/empty", "@hourly", [Act::HangEmpty, Act::Good]),
    ];
    let world = World::new("2026-06-01T00:30:00Z", &fakes);
    let agent = world.start().await;
    world.until("2026-06-01T01:00:05Z").await;
    let begin = Instant::now();
    assert_eq!(agent.stop().await, done());
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
    use signing::statement::Outcome as Run;
    assert_eq!(world.coverage("test/hangs@here").counts.outcomes, [(Run::Partial, 1)].into());
    assert_eq!(world.coverage("test/empty@here").counts.open, 1, "nothing of it was read");
    let agent = world.start().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(agent.stop().await, done());
    assert_eq!(world.coverage("test/empty@here").counts.outcomes, [(Run::Collected, 1)].into(), "so it was run again");
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_quits_at_once() {
    let world = World::new("2026-06-01T00:30:00Z", &[Fake::new("test/hangs", "@hourly", [Act::Hang])]);
    let agent = world.start().await;
    world.until("2026-06-01T01:00:05Z").await;
    let begin = Instant::now();
    agent.signals.send(()).await.unwrap();
    agent.signals.send(()).await.unwrap();
    assert_eq!(agent.task.await.unwrap(), Exit::Quit);
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_derived_job_by_hand_reads_the_bundles_of_the_same_ask() {
    let input = Input {
        name: "base".into(),
        collector: "test/base".into(),
        kind: "thing".into(),
        pick: Pick::Newest,
        max_age: Duration::from_secs(3600),
    };
    let base = Fake::new("test/base", "@daily", [Act::Good]);
    let derived = Fake::with_inputs("test/a-derived", "@daily", [Act::Good], vec![input]);
    let world = World::new("2026-06-01T00:30:00Z", &[derived, base]);
    let (daemon, pipeline, instance) = world.daemon().await;
    let (answers, mut lines) = mpsc::unbounded_channel();
    let (_signals, signalled) = mpsc::channel(1);
    let asked = Asked { ask: Ask::Collect { only: vec![] }, answers };
    assert_eq!(daemon.once(asked, signalled).await, done());
    drop((pipeline, instance));
    let mut all = Vec::new();
    while let Some(answer) = lines.recv().await {
        all.push(answer);
    }
    let [Answer::Ran(Line { job: first, .. }), Answer::Ran(second), Answer::Done { logged: 4, waiting: None }] =
        all.as_slice()
    else {
        panic!("{all:?}")
    };
    assert_eq!((first.as_str(), second.job.as_str()), ("test/base@here", "test/a-derived@here"));
    assert_eq!(second.totals.pass, 2, "the input was there");
    let coverage = world.verify().coverage.unwrap();
    assert_eq!((coverage.by_hand, coverage.total.judged, coverage.in_force), (2, 0, false));
}

#[tokio::test(start_paused = true)]
async fn collect_writes_a_plan_only_when_it_says_something_new_and_leaves_schedules_in_force() {
    let fake = Fake::new("test/hourly", "@hourly", [Act::Good]);
    let world = World::new("2026-06-01T00:30:00Z", &[fake]);
    let collect = async || {
        let (daemon, _pipeline, _instance) = world.daemon().await;
        let (answers, lines) = mpsc::unbounded_channel();
        let (_signals, signalled) = mpsc::channel(1);
        assert_eq!(daemon.once(Asked { ask: Ask::Collect { only: vec![] }, answers }, signalled).await, done());
        drop(lines);
    };
    collect().await;
    sleep(Duration::from_secs(5)).await;
    collect().await;
    assert_eq!(world.verify().coverage.unwrap().plans, 1);
    let agent = world.start().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(agent.stop().await, done());
    collect().await;
    let coverage = world.verify().coverage.unwrap();
    assert_eq!((coverage.plans, coverage.in_force, coverage.by_hand), (2, true, 3));
}

#[tokio::test(start_paused = true)]
async fn an_ask_beside_the_schedule_takes_no_slot() {
    let fake = Fake::new("test/hourly", "@hourly", [Act::Good]);
    let world = World::new("2026-06-01T00:30:00Z", &[fake]);
    let agent = world.start().await;
    let answers = agent.ask(Ask::Collect { only: vec!["test/hourly".into()] }).await;
    assert!(matches!(answers.as_slice(), [Answer::Ran(_), Answer::Done { waiting: None, .. }]), "{answers:?}");
    let answers = agent.ask(Ask::Collect { only: vec!["test/nothing".into()] }).await;
    let [Answer::Refused(why)] = answers.as_slice() else { panic!("{answers:?}") };
    assert!(why.contains("test/hourly@here"), "{why}");
    world.until("2026-06-01T01:05:00Z").await;
    assert_eq!(agent.stop().await, done());
    let coverage = world.coverage("test/hourly@here");
    assert_eq!((coverage.by_hand, coverage.counts.judged), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_spool_without_room_is_waited_for_and_what_was_read_is_not_read_again() {
    let fake = Fake::new("test/hourly", "@hourly", [Act::Good]);
    let world = World::new("2026-06-01T00:30:00Z", std::slice::from_ref(&fake));
    let agent = world.start().await;
    sleep(Duration::from_secs(120)).await;
    // A spool that is no directory takes nothing, whoever runs the test.
    let (spool, aside) = (world.path("state/spool"), world.path("state/aside"));
    fs::rename(&spool, &aside).unwrap();
    fs::write(&spool, b"").unwrap();
    world.until("2026-06-01T01:10:00Z").await;
    assert_eq!(fake.runs.load(Ordering::SeqCst), 1);
    fs::remove_file(&spool).unwrap();
    fs::rename(&aside, &spool).unwrap();
    world.until("2026-06-01T01:15:00Z").await;
    assert_eq!(agent.stop().await, done());
    use signing::statement::Outcome as Run;
    assert_eq!(world.coverage("test/hourly@here").counts.outcomes, [(Run::Collected, 1)].into());
    assert_eq!(fake.runs.load(Ordering::SeqCst), 1);
}
