//! What follows from an attempt's exchanges: records, populations and results, as files beside them. Reads nothing but the attempt's
//! directory and the checks.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use collectors::{
    contract::{Answer, Evidence, Population},
    recorder::{EXCHANGES, LOG, WorkEvidence},
    records::RecordFiles,
};
use controls::Evaluator;
use signing::statement::{Counts, Outcome};

use crate::durable;

use super::{
    NOT_DERIVED, Task,
    attempt::panic_text,
    derive::{Follows, counts, derive, judged},
};

/// Deriving and evaluating may take this long beyond the collecting.
const LIMIT: Duration = Duration::from_secs(600);

/// An attempt's records and results.
pub struct Reading {
    pub populations: BTreeMap<String, Population>,
    pub gaps: Vec<String>,
    pub records: BTreeMap<String, u64>,
    pub checks: BTreeMap<String, Counts>,
    /// Whether everything that was asked for was read, or proved absent. The gaps may still name events that no run can read any more.
    pub read_all: bool,
    /// Whether some request failed in a way that asking again may mend.
    pub transient: bool,
}

impl Reading {
    /// As far as the records tell.
    pub fn outcome(&self) -> Outcome {
        let states = || self.populations.values();
        if !states().any(|p| !matches!(p, Population::Unread(_))) {
            Outcome::Failed
        } else if !self.gaps.is_empty() || states().any(|p| matches!(p, Population::Unread(_) | Population::Cut(_))) {
            Outcome::Partial
        } else {
            Outcome::Collected
        }
    }

    /// Why it is not collected.
    pub fn reasons(&self) -> impl Iterator<Item = String> + '_ {
        let states = self.populations.values().filter_map(|population| match population {
            Population::Cut(why) | Population::Unread(why) => Some(why.clone()),
            Population::Whole | Population::Absent(_) => None,
        });
        states.chain(self.gaps.iter().cloned())
    }

    /// What is proved absent.
    pub fn absence(&self) -> String {
        let mut absent: Vec<&str> = Vec::new();
        for population in self.populations.values() {
            if let Population::Absent(why) = population
                && !absent.contains(&why.as_str())
            {
                absent.push(why);
            }
        }
        if absent.is_empty() { String::new() } else { format!("not applicable: {}", absent.join("; ")) }
    }
}

/// Derives and evaluates off the runtime. A panic, an error or an endless loop of the collector makes every kind unread; the
/// exchanges stay as they were kept.
pub async fn read(dir: &Path, task: &Task) -> io::Result<Reading> {
    complete(dir)?;
    let (collector, checks, at) = (task.collector.clone(), task.checks.clone(), dir.to_owned());
    let derive = tokio::task::spawn_blocking(move || derive(collector.as_ref(), &WorkEvidence::new(&at), &at, &checks));
    let why = match tokio::time::timeout(LIMIT, derive).await {
        Ok(Ok(Ok(follows))) => return keep(dir, follows),
        // The agent's disk says nothing about the source: the run is made again once there is room.
        Ok(Ok(Err(error))) if durable::is_full(&error) => return Err(error),
        Ok(Ok(Err(error))) => format!("{NOT_DERIVED}: {error}"),
        Ok(Err(error)) => format!("{NOT_DERIVED}: the collector panicked: {}", panic_text(error)),
        Err(_) => format!("{NOT_DERIVED} within {} s", LIMIT.as_secs()),
    };
    tracing::error!(job = %task.job, "{why}");
    nothing(dir, task, &why)
}

/// The reading of a run whose exchanges cannot be kept.
pub fn unread(dir: &Path, task: &Task, why: &str) -> io::Result<Reading> {
    complete(dir)?;
    nothing(dir, task, why)
}

/// The reading of an attempt whose records could not be derived: no records, every kind unread.
fn nothing(dir: &Path, task: &Task, why: &str) -> io::Result<Reading> {
    let kinds = &task.collector.spec().kinds;
    clear_records(dir)?;
    let mut files = RecordFiles::new(dir, kinds, |_, _| {})?;
    for kind in kinds {
        collectors::contract::Records::population(&mut files, kind, Population::Unread(why.to_owned()));
    }
    let derived = files.finish()?;
    let evaluator = Evaluator::new(task.checks.checks(), task.checks.parameters()).map_err(io::Error::other)?;
    let results = evaluator.finish(&judged(&derived.populations));
    keep(dir, Follows { derived, results, read_all: false, window: None })
}

fn keep(dir: &Path, follows: Follows) -> io::Result<Reading> {
    let Follows { derived, results, read_all, window: _ } = follows;
    super::write_with(&dir.join("results.json"), |out| results.write(out))?;
    Ok(Reading {
        checks: results.checks.iter().map(|check| (check.id.clone(), counts(check.counts()))).collect(),
        read_all,
        transient: transient(dir),
        populations: derived.populations,
        gaps: derived.gaps,
        records: derived.records,
    })
}

fn transient(dir: &Path) -> bool {
    let may_mend = |answer| matches!(answer, Answer::Failed | Answer::TimedOut | Answer::CutShort);
    WorkEvidence::new(dir).exchanges().any(|exchange| exchange.is_ok_and(|exchange| may_mend(exchange.answer)))
}

/// A collector that could not even start has no index and no log: both are there, and empty.
fn complete(dir: &Path) -> io::Result<()> {
    for name in [EXCHANGES, LOG] {
        fs::OpenOptions::new().append(true).create(true).open(dir.join(name))?;
    }
    Ok(())
}

#[allow(clippy::disallowed_methods)]
fn clear_records(dir: &Path) -> io::Result<()> {
    // A derivation that hangs may go on writing: into files that have no name any more.
    let records: PathBuf = dir.join("records");
    match fs::remove_dir_all(records) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
