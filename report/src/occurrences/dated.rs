//! Occurrences that are dated by records: backups, restore tests, reviews, events. Each record counts where its own date says, as its latest
//! state was; that something did not come is said only of a time that was read whole.

use std::{
    collections::{BTreeMap, HashMap},
    io,
};

use chrono::{NaiveDate, TimeDelta};
use controls::{DatedBy, PopulationState, Results, ScopedCheck};
use serde_json::{Map, Value};
use signing::{
    digest::Digest,
    layout::Job,
    slots::Windows,
    time::{Utc, rfc3339},
};

use super::units::Unit;
use crate::{
    days::gaps,
    model::OccurrenceState,
    pass::{Lines, RunRead},
};

/// What the checks behind a control say of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// One fails.
    Fail,
    /// None fails, and one cannot tell.
    Unknown,
    /// All that ask of it pass.
    Pass,
    /// It is exempt.
    Exempt,
    /// None asks of it.
    Outside,
}

/// A record with a date within the period.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its own date.
    pub at: Utc,
    /// As its latest state was.
    pub fate: Fate,
    /// The first entry that shows that.
    pub entry: u64,
    /// Why it fails or is unknown.
    pub reason: Box<str>,
}

/// A record whose date cannot be read, and when it may have been.
#[derive(Debug, Clone)]
struct Undated {
    from: Utc,
    to: Utc,
    seen: Utc,
    entry: u64,
}

/// The records of a control in a job.
#[derive(Debug, Default)]
pub struct Dated {
    records: HashMap<Box<str>, Kept>,
    undated: BTreeMap<String, Undated>,
    windows: Windows,
    events: bool,
    /// For each unit, the first run after its time that read the whole list.
    whole: Vec<Option<(u64, PopulationState)>>,
    ever: bool,
    last: Option<(Digest, Digest)>,
}

/// The row of each record in each check.
type Rows = HashMap<String, HashMap<String, (Fate, String)>>;

fn rows(results: &Results, kind: &str, checks: &[&ScopedCheck]) -> Rows {
    let asked = results.checks.iter().filter(|c| c.population.kind == kind && checks.iter().any(|s| s.id == c.id));
    let of = |check: &controls::CheckResult| {
        let plain = |fate: Fate| move |id: String| (id, (fate, String::new()));
        let told = |fate: Fate| move |row: controls::Row| row.id.map(|id| (id, (fate, row.reason)));
        let rows = &check.rows;
        let mut all: HashMap<String, (Fate, String)> = rows.pass().map(plain(Fate::Pass)).collect();
        all.extend(rows.exempt().map(plain(Fate::Exempt)));
        all.extend(rows.fail().filter_map(told(Fate::Fail)));
        all.extend(rows.unknown().filter_map(told(Fate::Unknown)));
        all
    };
    asked.map(|check| (check.id.clone(), of(check))).collect()
}

/// What the checks that ask of the kind say of a record.
fn fate(id: &str, rows: &Rows, checks: &[&ScopedCheck]) -> (Fate, String) {
    let said = |check: &&ScopedCheck| match rows.get(&check.id) {
        None => (Fate::Unknown, format!("{}: the run did not ask it", check.id)),
        Some(rows) => match rows.get(id) {
            None => (Fate::Outside, String::new()),
            Some((fate, reason)) => (*fate, format!("{}: {reason}", check.id)),
        },
    };
    let least = checks.iter().map(said).min_by_key(|(fate, _)| *fate);
    least.unwrap_or((Fate::Unknown, "no check asks of it".to_owned()))
}

/// The date in a record: an instant or a day.
fn date(record: &Map<String, Value>, field: &str) -> Option<Utc> {
    let mut path = field.split('.');
    let mut value = record.get(path.next()?)?;
    for part in path {
        value = value.get(part)?;
    }
    let text = value.as_str()?;
    let instant = chrono::DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc());
    instant.or_else(|| Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc()))
}

/// What a run is looked at for.
#[derive(Debug)]
pub struct Look<'a> {
    /// What dates.
    pub by: &'a DatedBy,
    /// The checks behind the control, of this job.
    pub checks: &'a [ScopedCheck],
    /// The control's units.
    pub units: &'a [Unit],
    /// `[from, to)`.
    pub period: (Utc, Utc),
}

impl Dated {
    /// Takes the records of a run.
    ///
    /// # Errors
    /// A file of records that cannot be read again.
    pub fn run(&mut self, run: &RunRead, look: &Look<'_>) -> io::Result<()> {
        self.events |= run.receipt().window.is_some();
        let (Ok(results), Ok(records)) = (&run.results, &run.records) else { return Ok(()) };
        let kind = look.by.kind.as_str();
        let checks: Vec<&ScopedCheck> = look.checks.iter().filter(|check| check.kind == kind).collect();
        let lines = records.get(kind);
        let digest = lines.map_or(Digest([0; 32]), Lines::digest);
        if self.last != Some((run.receipt().results, digest)) {
            if let Some(lines) = lines {
                self.records(run, lines, &rows(results, kind, &checks), &checks, look)?;
            }
            self.last = Some((run.receipt().results, digest));
        }
        if let Some(window) = &run.receipt().window {
            self.windows.add(window);
        }
        let states = results.checks.iter().filter(|c| checks.iter().any(|s| s.id == c.id)).map(|c| c.population.state);
        let state = states.fold(None, |worst: Option<PopulationState>, state| match (worst, state) {
            (None | Some(PopulationState::Whole), state) => Some(state),
            (Some(PopulationState::Absent), PopulationState::Whole) => Some(PopulationState::Absent),
            (Some(PopulationState::Absent), state) => Some(state),
            (worst, _) => worst,
        });
        if let Some(state @ (PopulationState::Whole | PopulationState::Absent)) = state {
            self.whole.resize(look.units.len(), None);
            for (unit, whole) in look.units.iter().zip(&mut self.whole) {
                if whole.is_none() && settled(unit, look.by) <= run.at {
                    *whole = Some((run.index, state));
                }
            }
        }
        Ok(())
    }

    fn records(
        &mut self,
        run: &RunRead,
        lines: &Lines,
        rows: &Rows,
        checks: &[&ScopedCheck],
        look: &Look<'_>,
    ) -> io::Result<()> {
        for record in lines.rows()? {
            let record = record?;
            let Some(id) = record.get("id").and_then(Value::as_str) else { continue };
            self.ever = true;
            let (fate, reason) = fate(id, rows, checks);
            let Some(at) = date(&record, &look.by.at) else {
                let (from, to) = match &run.receipt().window {
                    Some(window) => (window.from, window.to),
                    None => (Utc::MIN_UTC, run.at),
                };
                self.records.remove(id);
                self.undated.entry(id.to_owned()).or_insert(Undated { from, to, seen: run.at, entry: run.index });
                continue;
            };
            self.undated.remove(id);
            if fate == Fate::Outside || !(look.period.0..look.period.1).contains(&at) {
                self.records.remove(id);
                continue;
            }
            let reason = if matches!(fate, Fate::Fail | Fate::Unknown) { reason } else { String::new() };
            match self.records.get_mut(id) {
                Some(kept) if kept.fate == fate && kept.at == at => kept.reason = reason.into(),
                _ => {
                    let kept = Kept { at, fate, entry: run.index, reason: reason.into() };
                    self.records.insert(id.into(), kept);
                }
            }
        }
        Ok(())
    }

    /// Every record, by date and id.
    pub fn sorted(&self) -> Vec<(&str, &Kept)> {
        let mut all: Vec<(&str, &Kept)> = self.records.iter().map(|(id, kept)| (&**id, kept)).collect();
        all.sort_by(|one, other| (one.1.at, one.0).cmp(&(other.1.at, other.0)));
        all
    }

    /// Records without a date that were first seen within `[from, to)`: each with when, and by which entry.
    pub fn undated(&self, from: Utc, to: Utc) -> impl Iterator<Item = (&str, Utc, u64)> {
        let within = move |undated: &&Undated| (from..to).contains(&undated.seen);
        self.undated.iter().filter(move |(_, u)| within(u)).map(|(id, u)| (id.as_str(), u.seen, u.entry))
    }

    /// What became of a unit; `records` are those dated in it. `known` is up to when it can be judged.
    pub fn unit(
        &self,
        job: &Job,
        (place, unit): (usize, &Unit),
        by: &DatedBy,
        records: &[(&str, &Kept)],
        known: Utc,
    ) -> State {
        let of = |fate: Fate| records.iter().find(|(_, kept)| kept.fate == fate);
        let from = |state, (id, kept): &(&str, &Kept)| State {
            state,
            entry: Some(kept.entry),
            record: Some((*id).to_owned()),
            reason: kept.reason.to_string(),
        };
        if let Some(failed) = of(Fate::Fail) {
            return from(OccurrenceState::Deviation, failed);
        }
        if unit.cut || known < unit.to {
            return State::without(OccurrenceState::Open, "");
        }
        let settled = settled(unit, by);
        if let Some(passed) = of(Fate::Pass) {
            let reason = self.unread(job, (place, unit), unit.to, by).filter(|_| self.events || settled <= known);
            return State { reason: reason.unwrap_or_default(), ..from(OccurrenceState::Operated, passed) };
        }
        if known < settled {
            return State::without(OccurrenceState::Open, "");
        }
        if let Some(unknown) = of(Fate::Unknown) {
            return from(OccurrenceState::NotObserved, unknown);
        }
        let undated = self.undated.iter().find(|(_, undated)| undated.from < unit.to && unit.from < undated.to);
        if let Some((id, undated)) = undated {
            let reason = format!("the date of {id} cannot be read ({}), and it may lie within", by.at);
            let not_observed = State::without(OccurrenceState::NotObserved, &reason);
            return State { entry: Some(undated.entry), record: Some(id.clone()), ..not_observed };
        }
        if let Some(reason) = self.unread(job, (place, unit), settled, by) {
            return State::without(OccurrenceState::NotObserved, &reason);
        }
        let shown = self.shown(place);
        let entry = shown.map(|(entry, _)| entry);
        match shown {
            Some((_, PopulationState::Absent)) if !self.ever => {
                State { entry, ..State::without(OccurrenceState::NoOccasion, "") }
            }
            _ => State {
                entry,
                ..State::without(OccurrenceState::Deviation, "it did not occur: no record is dated within")
            },
        }
    }
}

impl Dated {
    /// The first run after a unit's time that read the whole list.
    fn shown(&self, place: usize) -> Option<(u64, PopulationState)> {
        self.whole.get(place).copied().flatten()
    }

    /// What of a unit's time, of windows until an instant, no run read whole, in words.
    fn unread(&self, job: &Job, (place, unit): (usize, &Unit), until: Utc, by: &DatedBy) -> Option<String> {
        if !self.events {
            let settled = rfc3339(settled(unit, by));
            return self
                .shown(place)
                .is_none()
                .then(|| format!("no run from {settled} on read the whole list of {}", by.kind));
        }
        let gaps = gaps(&self.windows, job, unit.from, until);
        let first = gaps.first()?;
        let more = match gaps.len() - 1 {
            0 => String::new(),
            more => format!(", nor {more} further stretches of it"),
        };
        Some(format!("no run read whole what came from {} to {}{more}", rfc3339(first.from), rfc3339(first.to)))
    }
}

/// From when on it is known whether a unit's occurrence came.
fn settled(unit: &Unit, by: &DatedBy) -> Utc {
    unit.to + TimeDelta::days(i64::from(by.within_days))
}

/// What became of an occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// As in the report.
    pub state: OccurrenceState,
    /// The entry that shows it.
    pub entry: Option<u64>,
    /// The record that it is dated by.
    pub record: Option<String>,
    /// Why.
    pub reason: String,
}

impl State {
    /// One that no record shows.
    pub fn without(state: OccurrenceState, reason: &str) -> Self {
        Self { state, entry: None, record: None, reason: reason.to_owned() }
    }
}
