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
    dated::{Dated, Fate, Kept, Look, State},
    units::Unit,
};
use crate::{
    days::Told,
    in_force::{InForce, Scope, controls_within, left_out, scope},
    model::{Observation, ObservedCheck, Occurrence, OccurrenceCounts, OccurrenceState, Part},
    parts::parts,
    pass::{Kinds, Listener, Needs, PassError, RunHead, RunRead},
};

/// The most occurrences by event that are listed for a control.
pub const MOST_LISTED: usize = 10_000;

/// Takes every occurrence with its control's id, in the order of ids, then of jobs and times: of events a report lists the first alone.
pub type Each<'a> = dyn FnMut(&str, &Occurrence) -> Result<(), PassError> + 'a;

/// What is in force for a control by one of the sets.
#[derive(Debug, Clone)]
struct Terms {
    frequency: Frequency,
    dated_by: Option<DatedBy>,
    scope: Scope,
    /// Jobs that would be in scope and are switched off, with the reason.
    left_out: Vec<(Job, String)>,
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

    /// What a unit is in which no job was in scope; `None`: it is not known how often it had to operate.
    fn unread(&self, open: bool) -> Option<State> {
        if !self.scope.is_empty() || self.by_event() {
            return None;
        }
        if open {
            return Some(State::without(OccurrenceState::Open, ""));
        }
        let off = self.left_out.iter().map(|(job, why)| format!("{job} was switched off: {why}"));
        let off = off.collect::<Vec<_>>().join("; ");
        let reason = if off.is_empty() { "no job reads it".to_owned() } else { format!("no job reads it: {off}") };
        Some(State::without(OccurrenceState::NotObserved, &reason))
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
    /// The last run before the period's end in which every check behind it was answered.
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
                    let (scope, left_out) = (scope(control, &put.set), left_out(control, &put.set));
                    Some(Arc::new(Terms { frequency, dated_by, scope, left_out }))
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
    ///
    /// # Errors
    /// What `each` fails with.
    pub fn finish(self, told: &Told, known: Utc, each: &mut Each<'_>) -> Result<Vec<Counted>, PassError> {
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
            control.count(in_force, told, (from, to), (as_of, known), &mut counted, each)?;
            Ok(counted)
        };
        tracked.into_iter().map(count).collect()
    }
}

/// An occurrence before it has its part.
#[derive(Debug)]
struct Draft<'a> {
    job: Option<&'a Job>,
    from: Utc,
    to: Utc,
    runs: u32,
    state: State,
    /// It is of one event.
    event: bool,
}

impl Draft<'_> {
    fn key(&self) -> (Utc, &Option<String>) {
        (self.from, &self.state.record)
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
        each: &mut Each<'_>,
    ) -> Result<(), PassError> {
        let sorted: BTreeMap<&Job, Vec<(&str, &Kept)>> =
            self.dated.iter().map(|(job, dated)| (job, dated.sorted())).collect();
        let mut units = self.units(in_force, told, (as_of, known), &sorted);
        for job in sorted.keys() {
            units.entry(Some(*job)).or_default();
        }
        for (job, mut units) in units {
            let mut records = [].as_slice();
            if let Some((job, dated)) = job.and_then(|job| self.dated.get_key_value(job)) {
                records = &sorted[job];
                units.extend(self.undated(in_force, (job, dated), (from, to), &mut counted.undated));
                let by_event = self.terms.iter().flatten().any(|terms| terms.by_event());
                counted.by_events.push((job.clone(), by_event));
            }
            units.sort_by(|one, other| one.key().cmp(&other.key()));
            let mut units = units.into_iter().peekable();
            for (id, kept) in records {
                let Some(event) = job.and_then(|job| self.event(in_force, job, id, kept)) else { continue };
                while let Some(unit) = units.next_if(|unit| unit.key() <= event.key()) {
                    counted.add(unit, each)?;
                }
                counted.add(event, each)?;
            }
            units.try_for_each(|unit| counted.add(unit, each))?;
        }
        Ok(())
    }

    /// Units of time, by job.
    fn units<'a>(
        &'a self,
        in_force: &InForce,
        told: &Told,
        (as_of, known): (Utc, Utc),
        sorted: &BTreeMap<&Job, Vec<(&str, &Kept)>>,
    ) -> BTreeMap<Option<&'a Job>, Vec<Draft<'a>>> {
        let nothing = Dated::default();
        let mut units: BTreeMap<Option<&Job>, Vec<Draft<'_>>> = BTreeMap::new();
        for (place, unit) in self.units.iter().enumerate() {
            let Some(terms) = &self.terms[unit.put] else { continue };
            let (from, to) = (unit.from, unit.to);
            let open = unit.cut || to > as_of;
            if let Some(state) = terms.unread(open) {
                let draft = Draft { job: None, from, to, runs: 0, state, event: false };
                units.entry(None).or_default().push(draft);
            }
            for ((job, checks), seen) in terms.scope.iter().zip(&self.seen[place]) {
                let state = match terms.dated(checks) {
                    Some(_) if terms.by_event() => continue,
                    None if terms.frequency == Frequency::AsNeeded => continue,
                    Some(by) => {
                        let all = sorted.get(job).map_or(&[][..], Vec::as_slice);
                        let start = all.partition_point(|(_, kept)| kept.at < from);
                        let end = all.partition_point(|(_, kept)| kept.at < to);
                        let dated = self.dated.get(job).unwrap_or(&nothing);
                        dated.unit(job, (place, unit), by, &all[start..end], known)
                    }
                    None => seen.state(open, || no_run(in_force, told, job, unit)),
                };
                let draft = Draft { job: Some(job), from, to, runs: seen.runs, state, event: false };
                units.entry(Some(job)).or_default().push(draft);
            }
        }
        units
    }

    /// A record as an occurrence of its own, where what was in force at its date counts each.
    fn event<'a>(&self, in_force: &InForce, job: &'a Job, id: &str, kept: &Kept) -> Option<Draft<'a>> {
        let terms = self.terms[in_force.place(kept.at)?].as_ref()?;
        if !terms.by_event() || terms.checks(job).and_then(|checks| terms.dated(checks)).is_none() {
            return None;
        }
        let state = match kept.fate {
            Fate::Fail => OccurrenceState::Deviation,
            Fate::Unknown => OccurrenceState::NotObserved,
            Fate::Pass => OccurrenceState::Operated,
            Fate::Exempt => OccurrenceState::NoOccasion,
            Fate::Outside => return None,
        };
        let (entry, reason) = (Some(kept.entry), kept.reason.to_string());
        let state = State { state, entry, record: Some(id.to_owned()), reason };
        Some(Draft { job: Some(job), from: kept.at, to: kept.at, runs: 1, state, event: true })
    }

    /// Records of a job that cannot be dated, where each event counts; of all of them, words.
    fn undated<'a>(
        &self,
        in_force: &InForce,
        (job, dated): (&'a Job, &Dated),
        (from, to): (Utc, Utc),
        says: &mut Vec<String>,
    ) -> Vec<Draft<'a>> {
        let mut found = Vec::new();
        for (id, seen, entry) in dated.undated(from, to) {
            let by_event = in_force.place(seen).and_then(|put| self.terms[put].as_ref()).is_some_and(|t| t.by_event());
            if by_event {
                let not_observed = State::without(OccurrenceState::NotObserved, "its date cannot be read");
                let state = State { entry: Some(entry), record: Some(id.to_owned()), ..not_observed };
                found.push(Draft { job: Some(job), from: seen, to: seen, runs: 1, state, event: true });
            }
            says.push(format!("{job}: the date of {id} cannot be read"));
        }
        found
    }
}

impl Counted {
    fn add(&mut self, draft: Draft<'_>, each: &mut Each<'_>) -> Result<(), PassError> {
        let Draft { job, from, to, runs, state: State { state, entry, record, reason }, event } = draft;
        let part = self.parts.iter().rposition(|part| part.from <= from).unwrap_or_default();
        add(&mut self.counts, state);
        if let Some(part) = self.parts.get_mut(part) {
            add(&mut part.counts, state);
        }
        let occurrence = Occurrence { job: job.cloned(), from, to, state, part, runs, entry, record, reason };
        each(&self.id, &occurrence)?;
        if event && self.occurrences.len() >= MOST_LISTED {
            self.more += 1;
        } else {
            self.occurrences.push(occurrence);
        }
        Ok(())
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
            if run.at < self.to
                && run.at <= self.as_of
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
