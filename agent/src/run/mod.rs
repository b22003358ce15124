//! Executes one job once: attempts within a deadline, then records, results and the run's facts, in a work directory that is ready to
//! become a bundle. A collector that panics, hangs, fails or returns half makes a run like any other, with the reason.
//!
//! It never writes to the spool, never asks whether the job is due, and never drops a reading because it is a bad one.

mod attempt;
pub(crate) mod derive;
mod reading;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use collectors::{
    contract::{Collector, InputBundle},
    recorder::{EXCHANGES, LOG},
    window::Decided,
};
use signing::{
    bundle::{Agent, Attempt, CHECKS, CollectorFacts, Input, RUN_FACTS, RUN_FACTS_FORMAT, RunFacts, SourceFacts},
    digest::Digest,
    layout::Job,
    statement::{Counts, Outcome, Window},
    time::{Utc, millis},
};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use attempt::Ended;
pub use attempt::{Hanging, Place};
use reading::Reading;

use crate::{blocking::blocking, clock::Clock, jobs::Checks};

/// The agent's version, as bundles and plans name it.
pub const AGENT: &str = env!("CARGO_PKG_VERSION");

/// What every run needs.
#[derive(Clone)]
pub struct Env {
    /// Holds a directory for each run; for the agent's user alone.
    pub work: PathBuf,
    /// Instants in facts and exchanges.
    pub clock: Arc<dyn Clock>,
    /// Where collectors run.
    pub place: Place,
    /// What hangs there.
    pub hanging: Hanging,
}

/// One run to do.
#[derive(Clone)]
pub struct Task {
    /// Which job.
    pub job: Job,
    /// For which slot; `None` for a run by hand.
    pub slot: Option<Utc>,
    /// The plan that the receipt will name.
    pub plan: Digest,
    /// Whether it starts after the slot's grace.
    pub late: bool,
    /// The system that it reads.
    pub source: SourceFacts,
    /// Its reader.
    pub collector: Arc<dyn Collector>,
    /// The checks on its records.
    pub checks: Arc<Checks>,
    /// The most that all attempts may take together.
    pub deadline: Duration,
    /// At most so many attempts.
    pub attempts: u32,
    /// A derived job's inputs.
    pub inputs: Vec<InputBundle>,
    /// The events to read, for a job that reads events.
    pub window: Option<Decided>,
}

/// How the reason of a run begins that could not make records of what it read.
pub const NOT_DERIVED: &str = "records could not be derived";

/// How the reason of a run begins whose reading cannot be in a bundle.
pub const NOT_KEPT: &str = "what was read cannot be kept";

/// A run that ended. Its work directory goes with it.
pub struct Ran {
    /// The files of the bundle, all but `SHA256SUMS`.
    pub dir: PathBuf,
    /// `run.json`.
    pub facts: RunFacts,
    /// The counts of each check.
    pub checks: BTreeMap<String, Counts>,
    /// For a person: why not collected, or what is proved absent.
    pub note: String,
    /// Whether it was stopped before its end, with nothing usable read.
    pub stopped_empty: bool,
    work: TempDir,
}

/// A run that left nothing: the agent's own disk failed.
#[derive(Debug, thiserror::Error)]
#[error("{what} in {}", dir.display())]
pub struct RunError {
    what: &'static str,
    dir: PathBuf,
    source: io::Error,
}

/// Executes the task. When `stop` is cancelled, the attempt that goes on ends, and what it kept is the run.
///
/// # Errors
/// Only those of the work directory.
pub async fn execute(env: &Env, task: Task, stop: &CancellationToken) -> Result<Ran, RunError> {
    let failed = |what| {
        let dir = env.work.clone();
        move |source| RunError { what, dir, source }
    };
    let work = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&env.work)
        .map_err(failed("could not make a work directory"))?;
    let started_at = millis(env.clock.now());
    let end = Instant::now() + task.deadline;
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut best: Option<Kept> = None;
    loop {
        let number = attempts.len() as u32 + 1;
        let dir = work.path().join(format!("attempt-{number}"));
        make_dir(&dir).map_err(failed("could not make an attempt's directory"))?;
        let begun = millis(env.clock.now());
        let now: collectors::contract::Now = {
            let clock = env.clock.clone();
            Arc::new(move || clock.now())
        };
        let ended = attempt::attempt(env, &task, &dir, now, end, stop).await;
        let dir = match &ended {
            // It may go on writing where it was: what counts is what had been kept by now.
            Ended::Abandoned(_) => copy_kept(dir.clone(), work.path().join(format!("attempt-{number}-kept")))
                .await
                .map_err(failed("could not take over what a hanging collector had kept"))?,
            _ => dir,
        };
        let reading = reading::read(&dir, &task).await.map_err(failed("could not write records and results"))?;
        attempts.push(Attempt {
            started_at: begun,
            ended_at: begun.max(millis(env.clock.now())),
            error: ended.error(task.deadline),
        });
        let again = ended.may_help() || (reading.outcome() == Outcome::Failed && reading.transient);
        let kept = Kept { number, dir, reading, error: ended.error(task.deadline) };
        if best.as_ref().is_none_or(|best| kept.outcome() <= best.outcome()) {
            best = Some(kept);
        }
        let pause = Duration::from_secs(5_u64.saturating_pow(number - 1).min(60));
        let ends = ended.is_final() || !again || number >= task.attempts.max(1) || Instant::now() + pause >= end;
        if ends || stopped_during(pause, stop).await {
            break;
        }
    }
    let Some(best) = best else { unreachable!("the loop above keeps its first attempt") };
    seal_facts(&task, started_at, attempts, best, work).map_err(failed("could not write the run's facts"))
}

/// The same run without what was read, where that cannot be kept at all (too many files, a statement too long): it says why.
///
/// # Errors
/// Those of the work directory.
pub async fn unfit(ran: Ran, task: &Task, why: &str) -> Result<Ran, RunError> {
    let dir = ran.work.path().join("unfit");
    let failed = |source| RunError { what: "could not write a run without its reading", dir: dir.clone(), source };
    make_dir(&dir).map_err(failed)?;
    let reading = reading::unread(&dir, task, why).map_err(failed)?;
    let mut attempts = ran.facts.attempts.clone();
    if let Some(last) = attempts.last_mut() {
        last.error.get_or_insert_with(|| why.to_owned());
    }
    let kept = Kept { number: attempts.len() as u32, dir: dir.clone(), reading, error: None };
    seal_facts(task, ran.facts.started_at, attempts, kept, ran.work).map_err(failed)
}

/// The attempt that the bundle will show: the one that read most, and of equals the last.
struct Kept {
    number: u32,
    dir: PathBuf,
    reading: Reading,
    error: Option<String>,
}

impl Kept {
    fn outcome(&self) -> Outcome {
        match self.reading.outcome() {
            Outcome::Collected if self.error.is_some() => Outcome::Partial,
            outcome => outcome,
        }
    }

    /// The window as sealed: whole where all of it was read, whatever was lost before it.
    fn window(&self, task: &Task) -> Option<Window> {
        let Decided { window, previous, says: _ } = task.window.as_ref()?;
        let whole = self.reading.read_all && self.error.is_none();
        Some(Window { from: window.from, to: window.to, whole, previous: *previous })
    }

    fn reason(&self, attempts: usize) -> String {
        let mut parts: Vec<String> = Vec::new();
        let mut add = |part: String| {
            if !parts.contains(&part) {
                parts.push(part);
            }
        };
        self.error.clone().into_iter().for_each(&mut add);
        self.reading.reasons().for_each(&mut add);
        if self.number as usize != attempts {
            add(format!("attempt {} of {attempts} read most and is kept", self.number));
        }
        parts.join("; ")
    }
}

fn seal_facts(task: &Task, started_at: Utc, attempts: Vec<Attempt>, best: Kept, work: TempDir) -> io::Result<Ran> {
    let outcome = best.outcome();
    let reason = if outcome == Outcome::Collected { String::new() } else { best.reason(attempts.len()) };
    let ended_at = attempts.last().map_or(started_at, |last| last.ended_at.max(started_at));
    let stopped_empty =
        outcome == Outcome::Failed && attempts.last().is_some_and(|a| a.error.as_deref() == Some(attempt::STOPPED));
    let window = best.window(task);
    let Kept { dir, reading, .. } = best;
    let note = if outcome == Outcome::Collected { reading.absence() } else { reason.clone() };
    let spec = task.collector.spec();
    let facts = RunFacts {
        format: RUN_FACTS_FORMAT.into(),
        job: task.job.clone(),
        slot: task.slot,
        source: task.source.clone(),
        collector: CollectorFacts { id: spec.id.clone(), version: spec.version },
        agent: Agent { version: AGENT.into() },
        plan: task.plan,
        started_at,
        ended_at,
        attempts,
        outcome,
        reason: reason.clone(),
        late: task.late,
        populations: derive::sealed(&reading.populations),
        gaps: reading.gaps.clone(),
        records: reading.records.clone(),
        window,
        inputs: inputs(&task.inputs),
    };
    write(&dir.join(CHECKS), task.checks.document())?;
    write(&dir.join(RUN_FACTS), &serde_json::to_vec_pretty(&facts)?)?;
    Ok(Ran { dir, facts, checks: reading.checks, note, stopped_empty, work })
}

fn inputs(inputs: &[InputBundle]) -> Vec<Input> {
    let input = |input: &InputBundle| {
        let found = input.found.as_ref().ok();
        Input {
            name: input.name.clone(),
            bundle: found.map(|found| found.bundle.clone()),
            sha256: found.and_then(|found| found.sha256.parse().ok()),
        }
    };
    inputs.iter().map(input).collect()
}

/// Whether the run was stopped while it waited for its next attempt.
async fn stopped_during(pause: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(pause) => false,
    }
}

/// A work directory is scratch: it becomes durable as a whole, in the spool.
#[allow(clippy::disallowed_methods)]
fn make_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir)
}

#[allow(clippy::disallowed_methods)]
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes)
}

/// Writes a file piece by piece.
#[allow(clippy::disallowed_methods)]
fn write_with(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(fs::File::create(path)?);
    write(&mut out)?;
    out.flush()
}

/// Copies the exchanges whose line was written whole by now, and the log. Line by line: there may be many.
#[allow(clippy::disallowed_methods)]
async fn copy_kept(from: PathBuf, to: PathBuf) -> io::Result<PathBuf> {
    let copy = move || {
        fs::create_dir_all(to.join("exchanges"))?;
        let by_now = |name: &str| -> io::Result<Box<dyn Read>> {
            let file = match fs::File::open(from.join(name)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Box::new(io::empty())),
                file => file?,
            };
            let length = file.metadata()?.len();
            Ok(Box::new(file.take(length)))
        };
        let mut lines = BufReader::new(by_now(EXCHANGES)?);
        write_with(&to.join(EXCHANGES), |out| {
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
                let exchange: collectors::contract::Exchange = serde_json::from_slice(&line)?;
                if let Some(body) = exchange.body {
                    fs::copy(from.join(&body), to.join(&body))?;
                }
                out.write_all(&line)?;
                line.clear();
            }
            Ok(())
        })?;
        write_with(&to.join(LOG), |out| io::copy(&mut by_now(LOG)?, out).map(drop))?;
        Ok(to)
    };
    blocking(copy).await
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
