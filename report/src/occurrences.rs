//! Occurrences: the times that each control had to operate, in each job of its scope, and what the runs or the records show of them.
//!
//! Results are never evaluated again: what counts is what each run's own `results.json` says of the checks that stood behind the control
//! where the unit of time began.

mod answers;
mod dated;
pub mod units;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use controls::{DatedBy, Frequency, Outcome, ScopedCheck};
use signing::{layout::Job, time::Utc};

pub use self::answers::{Answers, Verdict};
use self::{
    dated::{Dated, Fate, Look, State},
    units::Unit,
};
use crate::{
    days::Told,
    in_force::{InForce, Scope, controls_within, scope},
    model::{Observation, ObservedCheck, Occurrence, OccurrenceCounts, OccurrenceState, Part},
    parts::parts,
    pass::{Kinds, Listener, Needs, PassError, RunHead, RunRead},
};

/// The most occurrences by event that are listed for a control.
pub const MOST_LISTED: usize = 10_000;

/// What is in force for a control by one of the sets.
#[derive(Debug, Clone)]
struct Terms {
    frequency: Frequency,
    dated_by: Option<DatedBy>,
    scope: Scope,
}

impl Terms {
    /// The checks of a job, if it is in scope.
    fn checks(&self, job: &Job) -> Option<&[ScopedCheck]> {
        let place = self.scope.binary_search_by(|(other, _)| other.cmp(job)).ok()?;
        Some(&self.scope[place].1)
    }

    /// What dates its occurrences in a job with these checks; `None`: the runs.
    fn dated(&self, checks: &[ScopedCheck]) -> Option<&DatedBy> {
        self.dated_by.as_ref().filter(|by| checks.iter().any(|check| check.kind == by.kind))
    }

    /// Whether each event counts by itself.
    fn by_event(&self) -> bool {
        matches!(self.frequency, Frequency::PerEvent | Frequency::AsNeeded)
    }
}

/// What runs showed of a unit in a job.
#[derive(Debug, Clone, Default)]
struct Seen {
    runs: u32,
    failed: Option<(u64, String)>,
    passed: Option<u64>,
    nothing: Option<u64>,
    /// The first run that could be read, else the first one that could not.
    unknown: Option<(u64, String, bool)>,
}

impl Seen {
    fn add(&mut self, index: u64, answers: &Answers<'_>, checks: &[ScopedCheck]) {
        self.runs += 1;
        match answers.verdict(checks) {
            Verdict::Fail => {
                self.failed.get_or_insert_with(|| (index, answers.reason(checks)));
            }
            Verdict::Pass => {
                self.passed.get_or_insert(index);
            }
            Verdict::Nothing => {
                self.nothing.get_or_insert(index);
            }
            Verdict::Unknown => {
                if self.unknown.as_ref().is_none_or(|(_, _, read)| !read && answers.read()) {
                    self.unknown = Some((index, answers.reason(checks), answers.read()));
                }
            }
        }
    }

    fn state(&self, open: bool, no_run: impl FnOnce() -> String) -> State {
        let (state, entry, reason) = match self {
            Self { failed: Some((entry, reason)), .. } => (OccurrenceState::Deviation, Some(*entry), reason.clone()),
            _ if open => (OccurrenceState::Open, None, String::new()),
            Self { passed: Some(entry), .. } => (OccurrenceState::Operated, Some(*entry), String::new()),
            Self { nothing: Some(entry), .. } => (OccurrenceState::NoOccasion, Some(*entry), String::new()),
            Self { unknown: Some((entry, reason, _)), .. } => {
                (OccurrenceState::NotObserved, Some(*entry), reason.clone())
            }
            _ => (OccurrenceState::NotObserved, None, no_run()),
        };
        State { state, entry, record: None, reason }
    }
}

#[derive(Debug)]
struct Tracked {
    id: String,
    /// By the place of the set in [`InForce::puts`]; `None` where it is no control.
    terms: Vec<Option<Arc<Terms>>>,
    units: Vec<Unit>,
    /// By unit, and by place in the scope in force at its start.
    seen: Vec<Vec<Seen>>,
    dated: BTreeMap<Job, Dated>,
    last_complete: Option<Utc>,
}

/// The listener that counts occurrences over a period.
#[derive(Debug)]
pub struct Occurrences<'a> {
    in_force: &'a InForce,
    from: Utc,
    to: Utc,
    as_of: Utc,
    tracked: Vec<Tracked>,
    by_job: HashMap<Job, Vec<usize>>,
}

/// What a control's occurrences came to.
#[derive(Debug)]
pub struct Counted {
    /// The control's id.
    pub id: String,
    /// Its parts, with their counts.
    pub parts: Vec<Part>,
    /// By job and time; of events, the first 10,000.
    pub occurrences: Vec<Occurrence>,
    /// Beyond those.
    pub more: u64,
    /// Over all parts.
    pub counts: OccurrenceCounts,
    /// The last run in which every check behind it was answered.
    pub last_complete: Option<Utc>,
    /// Jobs whose events date its occurrences, each with whether every event counts by itself.
    pub by_events: Vec<(Job, bool)>,
    /// Records that could not be dated, in words.
    pub undated: Vec<String>,
}

impl<'a> Occurrences<'a> {
    /// For the period `[from, to)`, both at the start of a UTC day, judged up to `as_of`, at most `to`.
    pub fn new(in_force: &'a InForce, from: Utc, to: Utc, as_of: Utc) -> Self {
        let mut by_job: HashMap<Job, Vec<usize>> = HashMap::new();
        let mut tracked = Vec::new();
        for (place, id) in controls_within(in_force, from, to).into_keys().enumerate() {
            let terms: Vec<Option<Arc<Terms>>> = in_force
                .puts
                .iter()
                .map(|put| {
                    let control = put.set.controls.iter().find(|control| control.id == id)?;
                    let (frequency, dated_by) = (control.frequency, control.dated_by.clone());
                    Some(Arc::new(Terms { frequency, dated_by, scope: scope(control, &put.set) }))
                })
                .collect();
            for (job, _) in terms.iter().flatten().flat_map(|terms| &terms.scope) {
                let of = by_job.entry(job.clone()).or_default();
                if of.last() != Some(&place) {
                    of.push(place);
                }
            }
            let units = units::units(in_force, &id, from, to);
            let seen = units
                .iter()
                .map(|unit| vec![Seen::default(); terms[unit.put].as_ref().map_or(0, |terms| terms.scope.len())])
                .collect();
            tracked.push(Tracked { id, terms, units, seen, dated: BTreeMap::new(), last_complete: None });
        }
        Self { in_force, from, to, as_of, tracked, by_job }
    }

    /// Counts what was seen, once the log has been read. `known` is up to when the log tells what came: occurrences that are dated by
    /// records may still be seen to have come after the period.
    pub fn finish(self, told: &Told, known: Utc) -> Vec<Counted> {
        let Self { in_force, from, to, as_of, tracked, .. } = self;
        let count = |control: Tracked| {
            let mut counted = Counted {
                parts: parts(in_force, &control.id, from, to),
                occurrences: Vec::new(),
                more: 0,
                counts: OccurrenceCounts::default(),
                last_complete: control.last_complete,
                by_events: Vec::new(),
                undated: Vec::new(),
                id: control.id.clone(),
            };
            control.count(in_force, told, (from, to), (as_of, known), &mut counted);
            counted.occurrences.sort_by(|a, b| (&a.job, a.from, &a.record).cmp(&(&b.job, b.from, &b.record)));
            counted
        };
        tracked.into_iter().map(count).collect()
    }
}

impl Tracked {
    fn count(
        &self,
        in_force: &InForce,
        told: &Told,
        (from, to): (Utc, Utc),
        (as_of, known): (Utc, Utc),
        counted: &mut Counted,
    ) {
        let nothing = Dated::default();
        let dated = |job: &Job| self.dated.get(job).unwrap_or(&nothing);
        let sorted: BTreeMap<&Job, _> = self.dated.iter().map(|(job, dated)| (job, dated.sorted())).collect();
        for (place, unit) in self.units.iter().enumerate() {
            let Some(terms) = &self.terms[unit.put] else { continue };
            for ((job, checks), seen) in terms.scope.iter().zip(&self.seen[place]) {
                let state = match terms.dated(checks) {
                    Some(_) if terms.by_event() => continue,
                    None if terms.frequency == Frequency::AsNeeded => continue,
                    Some(by) => {
                        let all = sorted.get(job).map_or(&[][..], Vec::as_slice);
                        let start = all.partition_point(|(_, kept)| kept.at < unit.from);
                        let end = all.partition_point(|(_, kept)| kept.at < unit.to);
                        dated(job).unit(job, (place, unit), by, &all[start..end], known)
                    }
                    None => seen.state(unit.cut || unit.to > as_of, || no_run(in_force, told, job, unit)),
                };
                counted.add(job, (unit.from, unit.to), seen.runs, state, false);
            }
        }
        for (job, records) in &sorted {
            for (id, kept) in records {
                let Some(terms) = in_force.place(kept.at).and_then(|put| self.terms[put].as_ref()) else { continue };
                if !terms.by_event() || terms.checks(job).and_then(|checks| terms.dated(checks)).is_none() {
                    continue;
                }
                let state = match kept.fate {
                    Fate::Fail => OccurrenceState::Deviation,
                    Fate::Unknown => OccurrenceState::NotObserved,
                    Fate::Pass => OccurrenceState::Operated,
                    Fate::Exempt => OccurrenceState::NoOccasion,
                    Fate::Outside => continue,
                };
                let (entry, reason) = (Some(kept.entry), kept.reason.to_string());
                let state = State { state, entry, record: Some((*id).to_owned()), reason };
                counted.add(job, (kept.at, kept.at), 1, state, true);
            }
            for (id, seen, entry) in dated(job).undated(from, to) {
                let text = format!("{job}: the date of {id} cannot be read");
                let by_event =
                    in_force.place(seen).and_then(|put| self.terms[put].as_ref()).is_some_and(|t| t.by_event());
                if by_event {
                    let not_observed = State::without(OccurrenceState::NotObserved, "its date cannot be read");
                    let state = State { entry: Some(entry), record: Some(id.to_owned()), ..not_observed };
                    counted.add(job, (seen, seen), 1, state, true);
                }
                counted.undated.push(text);
            }
            let by_event = self.terms.iter().flatten().any(|terms| terms.by_event());
            counted.by_events.push(((*job).clone(), by_event));
        }
    }
}

impl Counted {
    fn add(&mut self, job: &Job, (from, to): (Utc, Utc), runs: u32, state: State, event: bool) {
        let part = self.parts.iter().rposition(|part| part.from <= from).unwrap_or_default();
        add(&mut self.counts, state.state);
        if let Some(part) = self.parts.get_mut(part) {
            add(&mut part.counts, state.state);
        }
        if event && self.occurrences.len() >= MOST_LISTED {
            self.more += 1;
            return;
        }
        let State { state, entry, record, reason } = state;
        self.occurrences.push(Occurrence { job: job.clone(), from, to, state, part, runs, entry, record, reason });
    }
}

/// Counts one more.
pub fn add(counts: &mut OccurrenceCounts, state: OccurrenceState) {
    let (of, required) = match state {
        OccurrenceState::Operated => (&mut counts.operated, true),
        OccurrenceState::Deviation => (&mut counts.deviation, true),
        OccurrenceState::NotObserved => (&mut counts.not_observed, true),
        OccurrenceState::NoOccasion => (&mut counts.no_occasion, false),
        OccurrenceState::Open => (&mut counts.open, false),
    };
    *of += 1;
    counts.required += u64::from(required);
}

/// Why there is no run.
fn no_run(in_force: &InForce, told: &Told, job: &Job, unit: &Unit) -> String {
    match in_force.pause(unit.from, unit.to) {
        Some(pause) => format!("no run, and none was planned: {}", pause.reason),
        None => told.no_run(job, unit.from, unit.to),
    }
}

impl Listener for Occurrences<'_> {
    fn needs(&self, run: &RunHead<'_>) -> Needs {
        let Some(controls) = self.by_job.get(&run.receipt.job) else { return Needs::default() };
        let mut kinds = std::collections::BTreeSet::new();
        if run.at >= self.from {
            for terms in controls.iter().flat_map(|place| &self.tracked[*place].terms).flatten() {
                let by = terms.checks(&run.receipt.job).and_then(|checks| terms.dated(checks));
                kinds.extend(by.map(|by| by.kind.clone()));
            }
        }
        let records = if kinds.is_empty() { Kinds::None } else { Kinds::These(kinds) };
        Needs { results: true, facts: false, records }
    }

    fn run(&mut self, run: &RunRead) -> Result<(), PassError> {
        let job = run.job();
        let Some(controls) = self.by_job.get(job) else { return Ok(()) };
        let answers = Answers::new(run.results.as_deref().map_err(String::as_str));
        let put = self.in_force.place(run.at);
        for place in controls {
            let control = &mut self.tracked[*place];
            let now = put.and_then(|put| control.terms[put].as_ref());
            if run.at <= self.as_of
                && now.and_then(|terms| terms.checks(job)).is_some_and(|checks| answers.complete(checks))
            {
                control.last_complete = control.last_complete.max(Some(run.at));
            }
            let unit = control.units.partition_point(|unit| unit.from <= run.at).checked_sub(1);
            let unit = unit.filter(|place| run.at < control.units[*place].to);
            if let Some(unit) = unit
                && let Some(terms) = &control.terms[control.units[unit].put]
                && let Ok(place) = terms.scope.binary_search_by(|(other, _)| other.cmp(job))
            {
                let (checks, seen) = (&terms.scope[place].1, &mut control.seen[unit][place]);
                match terms.dated(checks) {
                    Some(_) => seen.runs += 1,
                    None => seen.add(run.index, &answers, checks),
                }
            }
            // A control may come to be dated by records, or cease to: what is in force as the run is made tells how it is read.
            let first = || control.terms.iter().flatten().find(|terms| terms.checks(job).is_some());
            let terms = now.filter(|terms| terms.checks(job).is_some()).or_else(first).cloned();
            if run.at >= self.from
                && let Some(terms) = terms
                && let Some(checks) = terms.checks(job)
                && let Some(by) = terms.dated(checks)
            {
                let look = Look { by, checks, units: &control.units, period: (self.from, self.to) };
                control.dated.entry(job.clone()).or_default().run(run, &look)?;
            }
        }
        Ok(())
    }
}

/// The listener for the view of an instant: of each control and job in scope the last complete observation.
#[derive(Debug)]
pub struct Observations {
    at: Utc,
    /// By control, and by place in its scope.
    of: Vec<(String, Scope, Vec<Observation>)>,
}

impl Observations {
    /// For what is in force at `at`.
    pub fn new(in_force: &InForce, at: Utc) -> Self {
        let put = in_force.at(at);
        let of =
            put.into_iter().flat_map(|put| put.set.controls.iter().map(|control| (control, scope(control, &put.set))));
        let none = |job: &Job| Observation {
            job: job.clone(),
            at: None,
            age_seconds: None,
            entry: None,
            checks: Vec::new(),
            incomplete_since: 0,
        };
        let of = of.map(|(control, scope)| {
            let empty = scope.iter().map(|(job, _)| none(job)).collect();
            (control.id.clone(), scope, empty)
        });
        Self { at, of: of.collect() }
    }

    /// What was seen, by control.
    pub fn finish(self) -> BTreeMap<String, Vec<Observation>> {
        self.of.into_iter().map(|(id, _, seen)| (id, seen)).collect()
    }
}

impl Listener for Observations {
    fn needs(&self, run: &RunHead<'_>) -> Needs {
        let wanted = run.at <= self.at
            && self.of.iter().any(|(_, scope, _)| scope.iter().any(|(job, _)| *job == run.receipt.job));
        Needs { results: wanted, ..Needs::default() }
    }

    fn run(&mut self, run: &RunRead) -> Result<(), PassError> {
        let answers = Answers::new(run.results.as_deref().map_err(String::as_str));
        if run.at > self.at {
            return Ok(());
        }
        for (_, scope, seen) in &mut self.of {
            let Ok(place) = scope.binary_search_by(|(job, _)| job.cmp(run.job())) else { continue };
            let (checks, seen) = (&scope[place].1, &mut seen[place]);
            if seen.at.is_some_and(|at| run.at < at) {
                continue;
            }
            if !answers.complete(checks) {
                seen.incomplete_since += 1;
                continue;
            }
            let found = checks.iter().map(|check| ObservedCheck {
                check: check.id.clone(),
                outcome: answers.of(check).map_or(Outcome::Unknown, |result| result.outcome),
                rows: answers.of(check).map(controls::CheckResult::counts).unwrap_or_default(),
            });
            *seen = Observation {
                job: run.job().clone(),
                at: Some(run.at),
                age_seconds: Some((self.at - run.at).num_seconds()),
                entry: Some(run.index),
                checks: found.collect(),
                incomplete_since: 0,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
