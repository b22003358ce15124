//! The agent at work: it starts runs when their slots come or somebody asks, writes what was missed, keeps the plan in force, and has
//! everything sealed and logged. `run` keeps it going until a signal; `collect` until one ask is done.
//!
//! It is one loop over events, and it ends only when told to: no collector, source or store can end it. It never makes keys, and never
//! decides whether a slot is due: that is [`crate::scheduler`].

mod hand;
mod held;
mod marker;
mod one;
mod plans;
mod status;
mod stop;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use chrono::TimeDelta;
use controls::ControlSet;
use signing::{
    digest::Digest,
    errors::chain,
    layout::Job,
    statement::{Cause, Missed},
    time::{Utc, rfc3339},
};
use tokio::{
    sync::{mpsc, watch},
    task::{Id, JoinError, JoinHandle, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    control::{Anchor, Asked, Ended, Witness},
    durable::Disk,
    jobs::Jobs,
    pipeline::{Drained, Pipeline, PipelineError, jitter},
    room::{self, Level, Room, Said},
    run::{Env, Hanging, Place},
    scheduler::{ClockWatch, Decision, Scheduler, Start},
};
use hand::Hand;
use marker::Markers;
use one::{Ending, Outcome};
pub use plans::{PAUSED, PlanTerms, pause};
pub use stop::Exit;
use stop::Stopping;

/// How often a held clock is looked at, and complained of.
const HELD: Duration = Duration::from_secs(60);

/// The clock is looked at no less often.
const LOOK: TimeDelta = TimeDelta::hours(1);

/// What the agent's own disk refused is tried again after this.
const AGAIN: Duration = Duration::from_secs(30);

/// What could not be logged is tried again after `append_every`, then after twice as long, and so on up to this.
const DRAIN_AGAIN_AT_MOST: Duration = Duration::from_secs(60);

/// Receipts that a status shows.
const SHOWN: usize = 10;

/// What the daemon is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Markers, work directories and the control socket.
    pub state_dir: PathBuf,
    /// Runs at the same time.
    pub parallel: usize,
    /// What is spooled enters the log after this at the latest.
    pub append_every: Duration,
    /// No run starts while the spool is larger.
    pub max_spool_bytes: Option<u64>,
    /// How long a stop waits for runs to end by themselves.
    pub stop_within: Duration,
    /// How long a run may take from its end into the log; the plan says so.
    pub settle: Duration,
    /// For how many days the archive keeps everything; the plan says so.
    pub retention_days: Option<u32>,
    /// Whether the clock is to be believed at this start although it is more than a day ahead of the archive.
    pub accept_clock: bool,
    /// Where collectors run.
    pub place: Place,
}

/// Whether it keeps schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Until told to stop.
    Daemon,
    /// Until all asks are done.
    Once,
}

/// The agent at work.
pub struct Daemon {
    settings: Settings,
    jobs: Arc<Jobs>,
    pipeline: Arc<Pipeline>,
    clock: Arc<dyn Clock>,
    markers: Markers,
    env: Env,
    mode: Mode,

    room_said: Said,
    watch: ClockWatch,
    started: Instant,
    /// When it was last complained of the clock.
    clock_said: Option<Instant>,
    held: watch::Sender<Option<String>>,
    /// From when on the clock is not believed.
    held_since: Option<Utc>,
    /// What a status says of the timestamp authorities.
    anchors: Option<watch::Receiver<Vec<Anchor>>>,
    /// … and of the witnesses.
    witnesses: Option<watch::Receiver<Vec<Witness>>>,
    /// Made when the clock may be believed and the plan is in force.
    scheduler: Option<Scheduler>,
    /// What is promised, until it is known to be in the log or on its way there.
    controls: Option<ControlSet>,
    /// When it is tried again.
    controls_at: Option<Instant>,
    paused: Option<String>,
    restate_at: Option<Utc>,
    /// The past that the scheduler follows: [`Pipeline::generation`].
    generation: u64,
    /// The archive told another one: what is due is found out again, once nothing runs.
    follows_again: bool,
    /// Decided, and not in the spool yet: the disk refused.
    unspooled: VecDeque<(Digest, Missed)>,

    runs: JoinSet<Ending>,
    running: BTreeMap<Id, Start>,
    blocked: (mpsc::UnboundedSender<Job>, mpsc::UnboundedReceiver<Job>),
    give_up: CancellationToken,
    stopping: Option<Stopping>,

    hands: Vec<Hand>,
    draining: Option<JoinHandle<Result<Drained, PipelineError>>>,
    drain_at: Option<Instant>,
    drains: u64,
    /// Drains that failed since the last one that did not.
    failed_drains: u32,
    again_at: Option<Instant>,
    last: VecDeque<Ended>,
}

impl Daemon {
    /// For one `state_dir`, which the caller has locked, with everything in its spool recovered. It makes what it needs in there.
    ///
    /// # Errors
    /// A `state_dir` that cannot be written.
    pub fn new(
        settings: Settings,
        jobs: Jobs,
        pipeline: Arc<Pipeline>,
        clock: Arc<dyn Clock>,
        disk: Disk,
    ) -> io::Result<Self> {
        let work = settings.state_dir.join("work");
        disk.make_private_dirs(&work)?;
        // What a dead agent was working on; what mattered of it is in the spool.
        clear(&work)?;
        let markers = Markers::new(&settings.state_dir, disk)?;
        let env = Env { work, clock: clock.clone(), place: settings.place, hanging: Hanging::default() };
        let watch = ClockWatch::new(pipeline.last_sealed(), clock.now(), Duration::ZERO);
        Ok(Self {
            settings,
            jobs: Arc::new(jobs),
            clock,
            markers,
            env,
            mode: Mode::Daemon,
            room_said: Said::default(),
            watch,
            started: Instant::now(),
            clock_said: None,
            held: watch::Sender::new(None),
            held_since: None,
            anchors: None,
            witnesses: None,
            scheduler: None,
            controls: None,
            controls_at: None,
            paused: None,
            restate_at: None,
            generation: pipeline.generation(),
            follows_again: false,
            pipeline,
            unspooled: VecDeque::new(),
            runs: JoinSet::new(),
            running: BTreeMap::new(),
            blocked: mpsc::unbounded_channel(),
            give_up: CancellationToken::new(),
            stopping: None,
            hands: Vec::new(),
            draining: None,
            drain_at: None,
            drains: 0,
            failed_drains: 0,
            again_at: None,
            last: VecDeque::new(),
        })
    }

    /// Has this set of controls put in force, unless the newest one promises the same.
    pub fn promise(&mut self, controls: ControlSet) {
        self.controls = Some(controls);
    }

    /// Has a status say this of the timestamp authorities.
    pub fn show_anchors(&mut self, anchors: watch::Receiver<Vec<Anchor>>) {
        self.anchors = Some(anchors);
    }

    /// Has a status say this of the witnesses.
    pub fn show_witnesses(&mut self, witnesses: watch::Receiver<Vec<Witness>>) {
        self.witnesses = Some(witnesses);
    }

    /// Keeps the schedules until the first signal, then stops within its deadline; a second signal ends it at once. `asked` brings
    /// what the control socket is asked.
    pub async fn run(mut self, asked: mpsc::Receiver<Asked>, signals: mpsc::Receiver<()>) -> Exit {
        self.drain_at = Some(Instant::now());
        self.work(asked, signals).await
    }

    /// Does what is asked here, by hand and without a schedule, and ends.
    pub async fn once(mut self, asked: Asked, signals: mpsc::Receiver<()>) -> Exit {
        self.mode = Mode::Once;
        self.drain_at = Some(Instant::now());
        let (keep, none) = mpsc::channel(1);
        self.scheduler = Some(Scheduler::new(
            self.settings.parallel,
            self.clock.now(),
            self.jobs.iter().map(|setup| setup.job.clone()),
        ));
        self.warn_of_clock();
        self.ask(asked).await;
        let exit = self.work(none, signals).await;
        drop(keep);
        exit
    }

    async fn work(&mut self, mut asked: mpsc::Receiver<Asked>, mut signals: mpsc::Receiver<()>) -> Exit {
        loop {
            let wake = self.step().await;
            if self.is_done() {
                return self.finish(&mut signals).await;
            }
            let clock = self.clock.clone();
            let drain_at = self.drain_at.filter(|_| self.draining.is_none());
            let look = Instant::now() + if self.is_held() { HELD } else { AN_HOUR };
            tokio::select! {
                biased;
                signal = signals.recv() => match signal {
                    Some(()) if self.stopping.is_some() => return Exit::Quit,
                    Some(()) => self.stop(),
                    // Nobody can signal any more: as at a terminal that is gone.
                    None => return Exit::Quit,
                },
                Some(ended) = self.runs.join_next_with_id(), if !self.runs.is_empty() => self.ended(ended),
                Some(job) = self.blocked.1.recv() => {
                    if let Some(scheduler) = &mut self.scheduler {
                        scheduler.blocked(&job);
                    }
                }
                drained = finished(&mut self.draining) => self.drained(drained),
                Some(asked) = asked.recv(), if self.stopping.is_none() => self.ask(asked).await,
                () = at(drain_at) => {}
                () = at(self.again_at) => self.again_at = None,
                () = at(self.controls_at) => self.controls_at = None,
                () = at(self.stopping.as_ref().map(|stopping| stopping.deadline)) => self.give_up(),
                () = tokio::time::sleep_until(look) => {}
                () = clock.sleep_until(wake) => {}
            }
        }
    }

    /// Does all that is to be done now; until when there is nothing more, if nothing happens.
    async fn step(&mut self) -> Utc {
        let now = self.clock.now();
        if self.draining.is_none() && self.drain_at.is_some_and(|at| at <= Instant::now()) {
            self.drain();
        }
        if self.stopping.is_some() || (self.mode == Mode::Daemon && !self.look(now)) {
            return now + LOOK;
        }
        if self.again_at.is_some() {
            // The disk, or the spool, has no room.
            return now + LOOK;
        }
        if self.mode == Mode::Daemon && !self.is_of_the_log() {
            return now + LOOK;
        }
        if self.mode == Mode::Daemon && !self.keep_plan(now).await {
            self.again_at = Some(Instant::now() + AGAIN);
            return now + LOOK;
        }
        if self.mode == Mode::Daemon {
            self.keep_controls().await;
        }
        self.hands_go_on();
        let room = self.look_at_room();
        let full = room.level == Level::Full;
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.no_room(room.why.filter(|_| full));
        }
        if !self.decide(now).await || full {
            self.again_at = Some(Instant::now() + AGAIN);
        }
        let wake = self.scheduler.as_ref().and_then(|scheduler| scheduler.wake(now));
        [wake, self.restate_at].into_iter().flatten().fold(now + LOOK, Utc::min)
    }

    /// Whether plan and slots are those of the log. Where the archive, once it was back, told another past than `state_dir` had
    /// remembered, runs that go on end first: what they read is quarantined if its slot has a receipt.
    fn is_of_the_log(&mut self) -> bool {
        let generation = self.pipeline.generation();
        if generation != self.generation {
            tracing::error!(
                "the archive holds a log that state_dir did not know: was an old copy of it put back, or does a second agent write \
                 here? What is due is taken from the log from now on"
            );
            self.generation = generation;
            self.follows_again = self.scheduler.is_some();
        }
        if self.follows_again && self.runs.is_empty() {
            self.unspooled.clear();
            self.scheduler = None;
        }
        !self.follows_again || self.scheduler.is_none()
    }

    /// The room for what waits; said where it is another than before.
    fn look_at_room(&mut self) -> Room {
        let room = room::look(&self.settings.state_dir, self.pipeline.spool_bytes(), self.settings.max_spool_bytes);
        self.room_said.say(&room);
        room
    }

    /// Starts runs and spools what is missed; `false` when the disk refused.
    async fn decide(&mut self, now: Utc) -> bool {
        let mut starts: Vec<Start> = Vec::new();
        loop {
            while let Some((plan, missed)) = self.unspooled.front().cloned() {
                if !self.miss(plan, missed).await {
                    for start in starts {
                        if let Some(scheduler) = &mut self.scheduler {
                            scheduler.put_back(&start.job, now);
                        }
                    }
                    return false;
                }
                self.unspooled.pop_front();
            }
            // Only now: a quick run must not have its receipt in the spool before those of the earlier slots of its job.
            starts.drain(..).for_each(|start| self.start(start));
            let decisions = self.scheduler.as_mut().map(|scheduler| scheduler.decide(now)).unwrap_or_default();
            if decisions.is_empty() {
                return true;
            }
            for decision in decisions {
                match decision {
                    Decision::Start(start) => starts.push(start),
                    Decision::Missed { plan, missed } => self.unspooled.push_back((plan, missed)),
                }
            }
        }
    }

    async fn miss(&mut self, plan: Digest, missed: Missed) -> bool {
        let (job, cause) = (missed.job.clone(), missed.cause);
        tracing::warn!(
            %job, first = %rfc3339(missed.first), last = %rfc3339(missed.last), count = missed.count, ?cause,
            "slots are missed: {}", missed.detail
        );
        match self.pipeline.spool_missed(plan, missed).await {
            Ok(_) => {
                if cause == Cause::Crashed
                    && let Err(error) = self.markers.clear(&job).await
                {
                    tracing::warn!(%job, %error, "the marker of a crashed run cannot be removed");
                }
                self.drain_soon();
                true
            }
            Err(error) => {
                tracing::error!("a missed slot cannot be recorded, and is tried again: {}", chain(&error));
                false
            }
        }
    }

    fn start(&mut self, start: Start) {
        let Some(setup) = self.jobs.get(&start.job).cloned() else { return };
        let plan = start.slot.map(|(_, plan)| plan).or_else(|| self.pipeline.plan().map(|(digest, _)| digest));
        let Some(plan) = plan else { return };
        let one = one::One {
            env: self.env.clone(),
            setup,
            start: start.clone(),
            plan,
            pipeline: self.pipeline.clone(),
            markers: self.markers.clone(),
            held: self.held.subscribe(),
            give_up: self.give_up.clone(),
            blocked: self.blocked.0.clone(),
        };
        let handle = self.runs.spawn(one.run());
        self.running.insert(handle.id(), start);
    }

    fn ended(&mut self, ended: Result<(Id, Ending), JoinError>) {
        let now = self.clock.now();
        let (id, ending) = match ended {
            Ok((id, ending)) => (id, Some(ending)),
            Err(error) => {
                tracing::error!(%error, "a run ended the wrong way; its slot is tried again");
                (error.id(), None)
            }
        };
        let Some(start) = self.running.remove(&id) else { return };
        let Some(scheduler) = &mut self.scheduler else { return };
        let slot = start.slot.map(|(slot, _)| slot);
        let ending = ending.unwrap_or_else(|| Ending::not_started(&start.job, "the agent itself failed in this run"));
        match ending.outcome {
            Outcome::NotStarted if slot.is_some() => {
                let again = now + TimeDelta::from_std(AGAIN).unwrap_or_default();
                scheduler.put_back(&start.job, again);
            }
            _ => scheduler.ended(&start.job, now),
        }
        if ending.outcome == Outcome::Spooled {
            if self.last.len() == SHOWN {
                self.last.pop_front();
            }
            self.last.push_back(Ended { at: now, slot, line: ending.line.clone() });
            self.drain_soon();
        }
        if slot.is_none() {
            self.hands.iter_mut().for_each(|hand| hand.ran(&ending.line));
        }
    }

    fn drain_soon(&mut self) {
        self.drain_at.get_or_insert(Instant::now() + self.settings.append_every);
    }

    fn drain(&mut self) {
        self.drain_at = None;
        self.drains += 1;
        let pipeline = self.pipeline.clone();
        self.draining = Some(tokio::spawn(async move { pipeline.drain().await }));
    }

    fn drained(&mut self, drained: Result<Result<Drained, PipelineError>, JoinError>) {
        let (logged, trouble) = match drained {
            Ok(Ok(drained)) => {
                if drained.logged > 0 {
                    tracing::info!(logged = drained.logged, pending = drained.pending, "entries are in the log");
                }
                let held: Vec<String> = drained.held.iter().map(|held| held.reason.clone()).collect();
                (drained.logged, (!held.is_empty()).then(|| held.join("; ")))
            }
            Ok(Err(error)) => (0, Some(chain(&error))),
            Err(error) => (0, Some(format!("the pipeline failed: {error}"))),
        };
        if let Some(trouble) = &trouble {
            let doubled = self.settings.append_every.saturating_mul(1 << self.failed_drains.min(16));
            let wait = jitter(doubled.min(self.settings.append_every.max(DRAIN_AGAIN_AT_MOST)));
            tracing::error!("not everything could be logged, and is tried again in {} s: {trouble}", wait.as_secs());
            self.failed_drains = self.failed_drains.saturating_add(1);
            self.drain_at = Some(Instant::now() + wait);
        } else {
            self.failed_drains = 0;
        }
        let number = self.drains;
        self.hands.iter_mut().for_each(|hand| hand.drained(number, logged, trouble.as_deref()));
    }
}

const AN_HOUR: Duration = Duration::from_secs(3600);

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    let Some(running) = task else { return std::future::pending().await };
    let done = running.await;
    *task = None;
    done
}

/// Work directories are scratch: nothing in them is evidence any more.
#[allow(clippy::disallowed_methods)]
fn clear(work: &std::path::Path) -> io::Result<()> {
    for entry in std::fs::read_dir(work)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?
        } else {
            std::fs::remove_file(entry.path())?
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
