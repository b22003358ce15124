//! What successive runs show of records: deviations, drift and trends, gathered in one pass.

use std::{collections::BTreeSet, sync::Arc};

use controls::CheckResult;
use signing::{layout::Job, time::Utc};

use crate::{
    deviations::{Deviations, Run},
    drift::{Drift, Held, Read, Source},
    ledger::{Ledger, LedgerError},
    model::{Deviation, DriftEvent, Trend},
    pass::{Kinds, Lines, Listener, Needs, PassError, RunHead, RunRead},
    trends::Trends,
};

/// The ids of the controls that a check of a job supports, by what is in force at an instant.
pub type Supported<'a> = dyn Fn(&Job, &CheckResult, Utc) -> Vec<String> + 'a;
/// Takes every event of drift within the period, in the order of the log.
pub type Events<'a> = dyn FnMut(&DriftEvent) -> Result<(), PassError> + 'a;

/// Listens to the runs of a log.
pub struct Sights<'a> {
    ledger: &'a Ledger<'a>,
    from: Utc,
    controls: &'a Supported<'a>,
    events: &'a mut Events<'a>,
    deviations: Deviations,
    drift: Drift,
    held: Held,
    trends: Trends,
}

impl std::fmt::Debug for Sights<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sights").field("from", &self.from).finish_non_exhaustive()
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Found {
    /// In the order of first sight.
    pub deviations: Vec<Deviation>,
    /// In the order of the log.
    pub drift: Vec<DriftEvent>,
    /// Events beyond those.
    pub more_drift: u64,
    /// By job and check.
    pub trends: Vec<Trend>,
}

impl<'a> Sights<'a> {
    /// Of a period `[from, until)`; runs before it tell what things were. At most `most` events of drift are held; `events` takes all.
    pub fn new(
        ledger: &'a Ledger<'a>,
        (from, until): (Utc, Utc),
        most: usize,
        controls: &'a Supported<'a>,
        events: &'a mut Events<'a>,
    ) -> Self {
        Self {
            ledger,
            from,
            controls,
            events,
            deviations: Deviations::new(from, until),
            drift: Drift::new(),
            held: Held::new(most),
            trends: Trends::new(from, until),
        }
    }

    /// After the pass.
    pub fn finish(self) -> Found {
        let (drift, more_drift) = self.held.finish();
        Found { deviations: self.deviations.finish(), drift, more_drift, trends: self.trends.finish() }
    }
}

impl Listener for Sights<'_> {
    fn needs(&self, _: &RunHead<'_>) -> Needs {
        Needs { results: true, facts: true, records: Kinds::All }
    }

    fn run(&mut self, run: &RunRead) -> Result<(), PassError> {
        let begun = match &run.results {
            Ok(results) => {
                self.trends.run(run.job(), run.at, results);
                let sight = Run { job: run.job(), at: run.at, entry: run.index, leaf: run.leaf };
                let mut controls = |check: &CheckResult| (self.controls)(run.job(), check, run.at);
                let mut there = |kind: &str, ids: &BTreeSet<String>| present(run, kind, ids);
                self.deviations.run(sight, results, &mut controls, &mut there)?
            }
            Err(_) => Vec::new(),
        };
        let (Ok(facts), Ok(records)) = (&run.facts, &run.records) else { return Ok(()) };
        let source = Arc::new(Source {
            at: run.at,
            entry: run.index,
            statement: run.statement.clone(),
            version: facts.collector.version,
        });
        let read = Read { job: run.job(), source: &source, facts, records };
        let (from, held, events) = (self.from, &mut self.held, &mut self.events);
        self.drift.run(read, &begun, self.ledger, &mut |event| {
            if event.at >= from {
                events(&event)?;
                held.push(event);
            }
            Ok(())
        })
    }
}

/// Those of some records that a run has of a kind.
fn present(run: &RunRead, kind: &str, ids: &BTreeSet<String>) -> Result<BTreeSet<String>, PassError> {
    let records = run.records.as_ref().map_err(|why| LedgerError::Changed(format!("entry {}: {why}", run.index)))?;
    let mut found = BTreeSet::new();
    for row in records.get(kind).map(Lines::rows).transpose()?.into_iter().flatten() {
        let row = row?;
        found.extend(row.get("id").and_then(|id| id.as_str()).filter(|id| ids.contains(*id)).map(str::to_owned));
    }
    Ok(found)
}
