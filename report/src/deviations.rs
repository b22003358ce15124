//! Deviations: a record that fails a check, from the first run that saw it fail to the first later run that saw it not fail. Runs are taken
//! in the order of the log. What a run did not show ends nothing: a list that was cut, a row that is unknown, a run that failed.
//!
//! # Memory
//! What is open, what was open within the period, and for each check the records of which the newest run could not tell.

use std::collections::{BTreeMap, BTreeSet};

use controls::{CheckResult, PopulationState, Results};
use signing::{digest::Digest, layout::Job, time::Utc};

use crate::model::{Deviation, Ended};

/// A run whose results are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// `<collector>@<source>`.
    pub job: &'a Job,
    /// Its slot; of a run by hand its start.
    pub at: Utc,
    /// Its entry in the log.
    pub entry: u64,
    /// The digest of that entry.
    pub leaf: Digest,
}

/// Of some records of a run, by id, those that are among its records of a kind. It is asked only where an end has two readings.
pub type Present<'a, E> = dyn FnMut(&str, &BTreeSet<String>) -> Result<BTreeSet<String>, E> + 'a;

/// The deviations of a log, as its runs are gone through.
#[derive(Debug)]
pub struct Deviations {
    from: Utc,
    until: Utc,
    checks: BTreeMap<(Job, String), Watched>,
    ended: Vec<Deviation>,
}

/// What is known of a check on a job.
#[derive(Debug, Default)]
struct Watched {
    /// By the record's id.
    open: BTreeMap<String, Deviation>,
    /// The newest run whose list was whole: what is neither open nor unsure did not fail then.
    whole: Option<Utc>,
    /// Records that are unlike the others of that run: unknown in it, or seen since. When each was last seen not to fail.
    unsure: BTreeMap<String, Option<Utc>>,
}

impl Deviations {
    /// Of a period `[from, until)`: runs at or after `until` are passed over, and what ended before `from` is forgotten.
    pub fn new(from: Utc, until: Utc) -> Self {
        Self { from, until, checks: BTreeMap::new(), ended: Vec::new() }
    }

    /// Takes the next run of the log. `controls` gives the ids of the controls that a check supports by what is in force at the run.
    /// Given back are the deviations that it began, as check and record, with the run before that saw the record not fail, or not there.
    ///
    /// # Errors
    /// Those of `present`.
    pub fn run<E>(
        &mut self,
        run: Run<'_>,
        results: &Results,
        controls: &mut dyn FnMut(&CheckResult) -> Vec<String>,
        present: &mut Present<'_, E>,
    ) -> Result<Vec<Begun>, E> {
        let mut begun = Vec::new();
        if run.at >= self.until {
            return Ok(begun);
        }
        for check in &results.checks {
            let watched = self.checks.entry((run.job.clone(), check.id.clone())).or_default();
            watched.failing(run, check, controls, &mut begun);
            for ended in watched.ending(run, results, check, present)? {
                if ended.ended.as_ref().is_some_and(|end| end.at >= self.from) {
                    self.ended.push(ended);
                }
            }
            watched.remember(run.at, check);
        }
        Ok(begun)
    }

    /// How many are open now.
    pub fn open(&self) -> usize {
        self.checks.values().map(|watched| watched.open.len()).sum()
    }

    /// Every deviation that was open at some time within the period, in the order of first sight.
    pub fn finish(self) -> Vec<Deviation> {
        let open = self.checks.into_values().flat_map(|watched| watched.open.into_values());
        let mut all: Vec<Deviation> = self.ended.into_iter().chain(open).collect();
        all.sort_by(|a, b| {
            let key = |d: &Deviation| (d.first_seen, d.first_entry);
            key(a).cmp(&key(b)).then_with(|| (&a.check, &a.record).cmp(&(&b.check, &b.record)))
        });
        all
    }
}

/// The beginning of a deviation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The check's id.
    pub check: String,
    /// The kind of records.
    pub kind: String,
    /// The record's id.
    pub record: String,
    /// What the check says of it.
    pub says: String,
    /// As [`Deviation::not_before`].
    pub not_before: Option<Utc>,
}

impl Watched {
    /// Begins deviations, and goes on with those that are open.
    fn failing(
        &mut self,
        run: Run<'_>,
        check: &CheckResult,
        controls: &mut dyn FnMut(&CheckResult) -> Vec<String>,
        begun: &mut Vec<Begun>,
    ) {
        if check.fail == 0 {
            return;
        }
        let supported = controls(check);
        for row in check.rows.fail() {
            let Some(record) = row.id else { continue };
            let not_before = self.unsure.remove(&record).unwrap_or(self.whole);
            let deviation = self.open.entry(record).or_insert_with_key(|record| {
                begun.push(Begun {
                    check: check.id.clone(),
                    kind: check.population.kind.clone(),
                    record: record.clone(),
                    says: row.reason.clone(),
                    not_before,
                });
                Deviation {
                    id: id(run, &check.id, record),
                    controls: Vec::new(),
                    job: run.job.clone(),
                    check: check.id.clone(),
                    item: check.item.clone(),
                    kind: check.population.kind.clone(),
                    record: record.clone(),
                    says: String::new(),
                    first_seen: run.at,
                    last_seen: run.at,
                    runs: 0,
                    not_before,
                    ended: None,
                    first_entry: run.entry,
                    last_entry: run.entry,
                    waivers: Vec::new(),
                    responses: Vec::new(),
                }
            });
            deviation.says = row.reason;
            deviation.last_seen = run.at;
            deviation.last_entry = run.entry;
            deviation.runs += 1;
            for control in &supported {
                if let Err(place) = deviation.controls.binary_search(control) {
                    deviation.controls.insert(place, control.clone());
                }
            }
        }
    }

    /// Ends the open ones that the run shows not to fail.
    fn ending<E>(
        &mut self,
        run: Run<'_>,
        results: &Results,
        check: &CheckResult,
        present: &mut Present<'_, E>,
    ) -> Result<Vec<Deviation>, E> {
        let not_seen = self.open.values().filter(|deviation| deviation.last_entry != run.entry);
        let mut left: BTreeSet<String> = not_seen.map(|deviation| deviation.record.clone()).collect();
        let mut ends: Vec<(String, &'static str)> = Vec::new();
        if left.is_empty() {
            return Ok(Vec::new());
        }
        for (ids, how) in [
            (&mut check.rows.pass() as &mut dyn Iterator<Item = String>, "passes"),
            (&mut check.rows.exempt(), "exempt"),
        ] {
            ends.extend(ids.filter(|id| left.remove(id)).map(|id| (id, how)));
        }
        for row in check.rows.unknown() {
            if let Some(id) = &row.id {
                left.remove(id);
            }
        }
        if is_known(check) && !left.is_empty() {
            let kind = &check.population.kind;
            let mut there = listed(results, kind, &left);
            // Without a filter every record of the kind is asked about.
            if check.population.filter.is_some() && there.len() < left.len() {
                there.extend(present(kind, &left.difference(&there).cloned().collect())?);
            }
            let how = |id: &String| if there.contains(id) { "not_in_population" } else { "gone" };
            ends.extend(left.iter().map(|id| (id.clone(), how(id))));
        }
        let ended = ends.into_iter().filter_map(|(record, how)| {
            let mut deviation = self.open.remove(&record)?;
            deviation.ended = Some(Ended { at: run.at, entry: run.entry, how });
            // What it comes back from, where the run does not say so of every record.
            if !is_known(check) {
                self.unsure.insert(record, Some(run.at));
            }
            Some(deviation)
        });
        Ok(ended.collect())
    }

    /// Remembers of which records the run showed that they do not fail.
    fn remember(&mut self, at: Utc, check: &CheckResult) {
        if is_known(check) {
            let mut unsure = BTreeMap::new();
            for id in check.rows.unknown().filter_map(|row| row.id).filter(|id| !self.open.contains_key(id)) {
                let before = self.unsure.get(&id).copied().unwrap_or(self.whole);
                unsure.insert(id, before);
            }
            self.unsure = unsure;
            self.whole = Some(at);
        } else {
            self.unsure.extend(check.rows.pass().chain(check.rows.exempt()).map(|id| (id, Some(at))));
        }
    }
}

/// Whether the list is known to its end: what is not in it is not there.
fn is_known(check: &CheckResult) -> bool {
    matches!(check.population.state, PopulationState::Whole | PopulationState::Absent)
}

/// Those of some records that any check on the kind lists.
fn listed(results: &Results, kind: &str, wanted: &BTreeSet<String>) -> BTreeSet<String> {
    let on_kind = results.checks.iter().filter(|check| check.population.kind == kind);
    let ids = on_kind.flat_map(|check| {
        let known = check.rows.pass().chain(check.rows.exempt());
        known.chain(check.rows.fail().chain(check.rows.unknown()).filter_map(|row| row.id))
    });
    ids.filter(|id| wanted.contains(id)).collect()
}

/// `D-` and the first 12 hex digits of SHA-256 over job, check, record and the digest of the first entry, a line feed between them.
fn id(run: Run<'_>, check: &str, record: &str) -> String {
    let digest = Digest::of(format!("{}\n{check}\n{record}\n{}", run.job, run.leaf).as_bytes()).to_string();
    format!("D-{}", &digest[..12])
}

#[cfg(test)]
mod tests;
