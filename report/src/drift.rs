//! Drift: the records of a job's successive runs compared, by kind and id. A record is added or removed only between lists that are whole:
//! one that was cut proves no removal, and what it lacks is not new when it is seen again. A run that was not read whole turns no field to
//! null. What one run left open is compared with the run before it. Runs that read events are not compared: each has other events.
//!
//! # Memory
//! Two half digests for each record of a job's newest whole list. Old values come from the earlier bundle, which is opened again.

mod baseline;
mod fields;
mod rules;

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead as _, BufReader},
    sync::Arc,
};

use signing::{
    bundle::{Population, RunFacts},
    layout::Job,
    statement::{Outcome, Statement},
    store::Reader,
    time::Utc,
};

use self::baseline::Baseline;
use crate::{
    deviations::Begun,
    ledger::{Ledger, LedgerError, bundle},
    model::{DriftEvent, DriftKind, Notable},
    pass::{Lines, PassError},
};

/// The rule that names a record which a check failed although it had not before.
pub const CHECK_FAILS: &str = "check-fails";

/// Where the records of an earlier run are read again.
pub trait Earlier {
    /// The records of a kind of a run's bundle, one by one, as lines of JSON.
    ///
    /// # Errors
    /// What cannot be read, although it was when the run was gone through.
    fn lines(&self, source: &Source, kind: &str, each: &mut dyn FnMut(&[u8])) -> Result<(), PassError>;
}

/// A run that records were read in.
#[derive(Debug)]
pub struct Source {
    /// Its instant.
    pub at: Utc,
    /// Its entry in the log.
    pub entry: u64,
    /// What the entry says.
    pub statement: Statement,
    /// The collector's version.
    pub version: u32,
}

/// A run with its records.
#[derive(Debug, Clone, Copy)]
pub struct Read<'a> {
    /// `<collector>@<source>`.
    pub job: &'a Job,
    /// Which run.
    pub source: &'a Arc<Source>,
    /// `run.json`.
    pub facts: &'a RunFacts,
    /// Its records, by kind.
    pub records: &'a BTreeMap<String, Lines>,
}

/// Compares runs as they come.
#[derive(Debug, Default)]
pub struct Drift {
    jobs: HashMap<Job, BTreeMap<String, Baseline>>,
    everything: bool,
}

impl Drift {
    /// Nothing was seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Drift::new`], of all kinds: those too whose records come and go in the ordinary course, or compare readings themselves.
    pub fn of_everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Takes the next run of the log, with the deviations that it began ([`crate::deviations::Deviations::run`]), and gives every event,
    /// kind by kind, to `each`.
    ///
    /// # Errors
    /// Records that cannot be read; those of `each`.
    pub fn run(
        &mut self,
        run: Read<'_>,
        begun: &[Begun],
        earlier: &dyn Earlier,
        each: &mut dyn FnMut(DriftEvent) -> Result<(), PassError>,
    ) -> Result<(), PassError> {
        if run.facts.window.is_some() {
            return Ok(());
        }
        let everything = self.everything;
        let kinds = self.jobs.entry(run.job.clone()).or_default();
        for (kind, population) in &run.facts.populations {
            let collector = run.job.collector();
            let shape = rules::shape(collector, kind);
            let whole = match population {
                Population::Whole | Population::Absent(_) => true,
                Population::Cut(_) => false,
                Population::Unread(_) => continue,
            };
            let baseline = kinds.entry(kind.clone()).or_default();
            let mut fails = Fails::new(begun, kind);
            let there = baseline.has(fails.records());
            let mut put = |mut event: DriftEvent| {
                if event.change != DriftKind::Added {
                    fails.name(&mut event);
                }
                if event.notable.is_some() || !shape.turnover || everything { each(event) } else { Ok(()) }
            };
            let list = baseline::List {
                job: run.job,
                kind,
                shape,
                source: run.source,
                whole,
                complete: run.facts.outcome == Outcome::Collected,
                lines: run.records.get(kind),
            };
            if shape.compared || everything {
                baseline.compare(&list, earlier, &mut put)?;
            }
            fails.rest(&there).map(|begun| event_of(run, begun)).try_for_each(&mut *each)?;
        }
        Ok(())
    }
}

/// The deviations on a kind that a run began.
struct Fails<'a>(Vec<(&'a Begun, bool)>);

impl<'a> Fails<'a> {
    fn new(begun: &'a [Begun], kind: &str) -> Self {
        Self(
            begun.iter().filter(|begun| begun.kind == kind && begun.not_before.is_some()).map(|b| (b, false)).collect(),
        )
    }

    fn records(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.0.iter().map(|(begun, _)| begun.record.as_str())
    }

    /// Says of an event's record that checks fail on it.
    fn name(&mut self, event: &mut DriftEvent) {
        for (begun, told) in self.0.iter_mut().filter(|(begun, _)| begun.record == event.record) {
            *told = true;
            match &mut event.notable {
                Some(notable) => {
                    notable.says += "; ";
                    notable.says += &fails(begun);
                }
                None => event.notable = Some(Notable { rule: CHECK_FAILS.to_owned(), says: fails(begun) }),
            }
        }
    }

    /// Those of records that were there before and are as they were.
    fn rest(self, there: &[bool]) -> impl Iterator<Item = &'a Begun> {
        self.0.into_iter().zip(there).filter(|((_, told), there)| !told && **there).map(|((begun, _), _)| begun)
    }
}

fn fails(begun: &Begun) -> String {
    format!("{}: {}", begun.check, begun.says)
}

/// A record that fails for time passing, or for another parameter.
fn event_of(run: Read<'_>, begun: &Begun) -> DriftEvent {
    DriftEvent {
        at: run.source.at,
        since: begun.not_before.unwrap_or(run.source.at),
        job: run.job.clone(),
        kind: begun.kind.clone(),
        record: begun.record.clone(),
        change: DriftKind::Changed,
        fields: Vec::new(),
        notable: Some(Notable { rule: CHECK_FAILS.to_owned(), says: fails(begun) }),
        entry: run.source.entry,
    }
}

impl Earlier for Ledger<'_> {
    fn lines(&self, source: &Source, kind: &str, each: &mut dyn FnMut(&[u8])) -> Result<(), PassError> {
        Archived(self.reader()).lines(source, kind, each)
    }
}

/// An archive's bundles, of which nothing is known but what their entries say.
pub(crate) struct Archived<'a>(pub(crate) &'a dyn Reader);

impl Earlier for Archived<'_> {
    fn lines(&self, source: &Source, kind: &str, each: &mut dyn FnMut(&[u8])) -> Result<(), PassError> {
        let name = &source.statement.subject[0].name;
        let changed = |why: &dyn std::fmt::Display| PassError::Ledger(LedgerError::Changed(format!("{name}: {why}")));
        let mut bundle = bundle(self.0, &source.statement)?.map_err(|unusable| changed(&unusable))?;
        let file = format!("records/{kind}.jsonl");
        if bundle.length(&file).is_none() {
            return Ok(());
        }
        let mut file = BufReader::new(bundle.stream(&file).map_err(|error| changed(&error))?);
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line).map_err(|error| changed(&error))? > 0 {
            each(&line);
            line.clear();
        }
        Ok(())
    }
}

/// The events that a report lists: notable ones before others, where they are more than it can hold.
#[derive(Debug)]
pub struct Held {
    most: usize,
    notable: Vec<DriftEvent>,
    others: Vec<DriftEvent>,
    all: u64,
}

impl Held {
    /// Of at most so many.
    pub fn new(most: usize) -> Self {
        Self { most, notable: Vec::new(), others: Vec::new(), all: 0 }
    }

    /// Takes the next event.
    pub fn push(&mut self, event: DriftEvent) {
        self.all += 1;
        let list = if event.notable.is_some() { &mut self.notable } else { &mut self.others };
        if list.len() < self.most {
            list.push(event);
        }
    }

    /// The events in the order of the log, and how many more there were.
    pub fn finish(mut self) -> (Vec<DriftEvent>, u64) {
        self.others.truncate(self.most - self.notable.len());
        let mut events = self.notable;
        events.append(&mut self.others);
        events.sort_by_key(|event| event.entry);
        let more = self.all - events.len() as u64;
        (events, more)
    }
}

#[cfg(test)]
mod tests;
