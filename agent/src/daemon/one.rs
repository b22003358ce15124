//! One run, from its marker to its receipt in the spool. It ends with a value, whatever happens on the way.

use std::{sync::Arc, time::Duration};

use collectors::{contract::InputBundle, window::Decided};
use signing::{digest::Digest, errors::chain, layout::Job, statement::Counts, time::rfc3339};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::marker::{Marker, Markers};
use crate::{
    control::Line,
    jobs::JobSetup,
    pipeline::{Pipeline, PipelineError, Spooled},
    run::{self, Env, Ran, Task},
    scheduler::Start,
};

/// The spool is asked again after this, while it has no room.
const AGAIN: Duration = Duration::from_secs(30);

/// A run by hand is not kept waiting for room: so often it is tried, and then it is lost, which somebody sees.
const TRIES_BY_HAND: u32 = 2;

/// What one run works with.
pub struct One {
    pub env: Env,
    pub setup: JobSetup,
    pub start: Start,
    pub plan: Digest,
    pub pipeline: Arc<Pipeline>,
    pub markers: Markers,
    pub held: watch::Receiver<Option<String>>,
    pub give_up: CancellationToken,
    pub blocked: mpsc::UnboundedSender<Job>,
}

/// How it ended.
pub struct Ending {
    pub outcome: Outcome,
    pub line: Line,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its receipt is in the spool.
    Spooled,
    /// The agent stops, and nothing of it was kept: its marker tells the next start.
    Stopped,
    /// Nothing was read: it may be tried again.
    NotStarted,
}

impl Ending {
    pub fn not_started(job: &Job, why: &str) -> Self {
        let line = Line { job: job.clone(), outcome: None, records: 0, totals: Counts::default(), note: why.into() };
        Self { outcome: Outcome::NotStarted, line }
    }
}

impl One {
    pub async fn run(mut self) -> Ending {
        let job = self.start.job.clone();
        let slot = self.start.slot.map(|(slot, _)| slot);
        if let Some(slot) = slot
            && let Err(error) =
                self.markers.set(Marker { job: job.clone(), slot, started_at: self.env.clock.now() }).await
        {
            tracing::error!(%job, %error, "a run cannot be started: its marker cannot be written to state_dir/running");
            return Ending::not_started(&job, &format!("state_dir cannot be written: {error}"));
        }
        let window = self.window().await;
        let task = Task {
            job: job.clone(),
            slot,
            plan: self.plan,
            late: self.start.late,
            source: self.setup.source.clone(),
            collector: self.setup.collector.clone(),
            checks: self.setup.checks.clone(),
            deadline: self.setup.settings.deadline,
            // Somebody waits for a run by hand.
            attempts: self.setup.settings.attempts.min(if slot.is_none() { 2 } else { u32::MAX }),
            inputs: self.inputs().await,
            window,
        };
        let ran = match run::execute(&self.env, task.clone(), &self.give_up).await {
            Ok(ran) => ran,
            Err(error) => {
                tracing::error!(%job, "a run left nothing: {}", chain(&error));
                return Ending::not_started(&job, &chain(&error));
            }
        };
        let line = line(&ran);
        tracing::info!(
            %job, slot = slot.map(rfc3339), outcome = word(ran.facts.outcome), records = line.records, pass = line.totals.pass,
            fail = line.totals.fail, unknown = line.totals.unknown, note = line.note, "run ended"
        );
        if ran.stopped_empty && slot.is_some() {
            return Ending { outcome: Outcome::Stopped, line };
        }
        let ending = self.spool(ran, task, line).await;
        if ending.outcome == Outcome::Spooled
            && slot.is_some()
            && let Err(error) = self.markers.clear(&job).await
        {
            tracing::warn!(%job, %error, "the marker of a run cannot be removed; the next start passes it over");
        }
        ending
    }

    async fn inputs(&self) -> Vec<InputBundle> {
        let spec = self.setup.collector.spec();
        if spec.inputs.is_empty() {
            return Vec::new();
        }
        let (ledger, inputs) = (self.pipeline.ledger(), spec.inputs.clone());
        let (source, now) = (self.setup.source.name.clone(), self.env.clock.now());
        let found = tokio::task::spawn_blocking(move || ledger.inputs(&inputs, &source, now)).await;
        found.unwrap_or_else(|error| {
            let none = |input: &collectors::contract::Input| InputBundle {
                name: input.name.clone(),
                found: Err(format!("the log could not be searched: {error}")),
            };
            spec.inputs.iter().map(none).collect()
        })
    }

    /// The events to read, where the job reads events. Not knowing what was read before is no reason not to read.
    async fn window(&self) -> Option<Decided> {
        let spec = self.setup.collector.spec().window?;
        let (job, now) = (&self.start.job, self.env.clock.now());
        let newest = match self.pipeline.window(job) {
            Some(window) => Ok(Some(window)),
            None => {
                let (ledger, job) = (self.pipeline.ledger(), job.clone());
                let found = tokio::task::spawn_blocking(move || ledger.window(&job)).await;
                found.unwrap_or_else(|error| Err(format!("the log could not be searched: {error}")))
            }
        };
        if let Err(why) = &newest {
            tracing::warn!(%job, "what earlier runs read is not known, so all that is kept is read: {why}");
        }
        Some(Decided::new(spec, now, newest.map(|window| window.and_then(|window| window.read_to()))))
    }

    /// Keeps at it until the spool has room: what was read is not read again in vain.
    async fn spool(&mut self, mut ran: Ran, task: Task, mut line: Line) -> Ending {
        let job = &self.start.job;
        let by_hand = self.start.slot.is_none();
        let mut tries = 0;
        loop {
            // What is sealed under a clock that may be wrong by years cannot be taken back.
            tokio::select! {
                _ = self.held.wait_for(Option::is_none) => {}
                () = self.give_up.cancelled() => {}
            }
            if self.held.borrow().is_some() {
                return Ending { outcome: Outcome::Stopped, line };
            }
            tries += 1;
            match self.pipeline.spool_run(&ran.dir, &ran.facts, &ran.checks).await {
                Ok(Spooled::New(_) | Spooled::Already) => return Ending { outcome: Outcome::Spooled, line },
                Ok(Spooled::Quarantined(path)) => {
                    line.note = format!("not logged: another receipt has its slot; kept in {}", path.display());
                    return Ending { outcome: Outcome::Spooled, line };
                }
                Err(error @ (PipelineError::Bundle(_) | PipelineError::Statement(_)))
                    if tries == 1 && !error.is_disk_full() =>
                {
                    // Trying again cannot help; that this reading cannot be kept is evidence too.
                    let why = format!("{}: {}", run::NOT_KEPT, chain(&error));
                    tracing::error!(%job, "{why}");
                    match run::unfit(ran, &task, &why).await {
                        Ok(instead) => ran = instead,
                        Err(error) => return Ending::not_started(job, &chain(&error)),
                    }
                    line = self::line(&ran);
                }
                Err(error) => {
                    let why = chain(&error);
                    tracing::error!(%job, "a run cannot be spooled, and is tried again: {why}");
                    let last = self.give_up.is_cancelled() || (by_hand && tries >= TRIES_BY_HAND);
                    if last {
                        line = Line { outcome: None, note: format!("not kept: {why}"), ..line };
                        let outcome = if by_hand { Outcome::NotStarted } else { Outcome::Stopped };
                        return Ending { outcome, line };
                    }
                    let _ = self.blocked.send(job.clone());
                    tokio::select! {
                        () = tokio::time::sleep(if by_hand { Duration::from_secs(1) } else { AGAIN }) => {}
                        () = self.give_up.cancelled() => {}
                    }
                }
            }
        }
    }
}

fn word(outcome: signing::statement::Outcome) -> &'static str {
    match outcome {
        signing::statement::Outcome::Collected => "collected",
        signing::statement::Outcome::Partial => "partial",
        signing::statement::Outcome::Failed => "failed",
    }
}

fn line(ran: &Ran) -> Line {
    let mut totals = Counts::default();
    ran.checks.values().for_each(|counts| totals += *counts);
    Line {
        job: ran.facts.job.clone(),
        outcome: Some(ran.facts.outcome),
        records: ran.facts.records.values().sum(),
        totals,
        note: ran.note.clone(),
    }
}
