//! Events: records by their own instant, each once, from every run that read some; what no window read whole is a gap.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use controls::Control;
use serde_json::Value;
use signing::{
    layout::Job,
    population::{Gap, Item},
    slots::Windows,
    statement::Outcome,
    time::Utc,
};

use super::{Found, PopulationError, Question, items::id};
use crate::{
    ledger::Ledger,
    pass::{Kinds, Listener, Needs, PassError, RunHead, RunRead, pass},
};

/// How many records without a readable date are named.
const NAMED: usize = 20;

pub(super) fn find(
    ledger: &Ledger<'_>,
    jobs: &BTreeSet<Job>,
    kind: &str,
    control: &Control,
    question: &Question,
) -> Result<Found, PopulationError> {
    let dated = control.dated_by.as_ref().filter(|dated| dated.kind == kind).ok_or_else(|| {
        PopulationError::Question(format!(
            "events of {} need the field that dates records of the kind {kind:?}: it has no such `dated_by`",
            control.id
        ))
    })?;
    let mut reading = Reading {
        jobs,
        kind,
        at: &dated.at,
        question,
        events: BTreeMap::new(),
        seen: BTreeMap::new(),
        undated: BTreeSet::new(),
    };
    // A run after the period may be the first that sees an event of it.
    pass(ledger, Utc::MAX_UTC, &mut [&mut reading])?;
    Ok(reading.finish())
}

struct Reading<'a> {
    jobs: &'a BTreeSet<Job>,
    kind: &'a str,
    at: &'a str,
    question: &'a Question,
    events: BTreeMap<(Job, String), Option<Item>>,
    seen: BTreeMap<Job, Seen>,
    undated: BTreeSet<(Job, String)>,
}

/// Which of a job's events were read.
#[derive(Default)]
struct Seen {
    windows: Windows,
    /// It reads windows; else each run lists what there is.
    by_window: bool,
    /// A whole list at or after the end of the period.
    listed_after: bool,
    why: String,
}

impl Listener for Reading<'_> {
    fn needs(&self, run: &RunHead<'_>) -> Needs {
        match self.jobs.contains(&run.receipt.job) {
            true => Needs { records: Kinds::These(BTreeSet::from([self.kind.to_owned()])), ..Needs::default() },
            false => Needs::default(),
        }
    }

    fn run(&mut self, run: &RunRead) -> Result<(), PassError> {
        if !self.jobs.contains(run.job()) {
            return Ok(());
        }
        let seen = self.seen.entry(run.job().clone()).or_default();
        let rows = match &run.records {
            Ok(records) => records.get(self.kind),
            Err(why) => {
                seen.why.clone_from(why);
                return Ok(());
            }
        };
        match run.receipt().window {
            Some(window) => {
                seen.by_window = true;
                seen.windows.add(&window);
                if !window.whole {
                    seen.why.clone_from(&run.receipt().reason);
                }
            }
            None if run.receipt().outcome == Outcome::Collected && run.at >= self.question.to => {
                seen.listed_after = true
            }
            None => {}
        }
        let Some(rows) = rows else { return Ok(()) };
        for row in rows.rows()? {
            let row = row?;
            let key = (run.job().clone(), id(&row));
            let Some(at) = date(&Value::Object(row), self.at) else {
                self.undated.insert(key);
                continue;
            };
            // The latest state counts, also where it moves the event out of the period.
            let within = (self.question.from..self.question.to).contains(&at);
            let item = within.then(|| Item {
                id: format!("{} {}", key.0, key.1),
                job: Some(key.0.clone()),
                from: at,
                to: at,
                state: "seen".to_owned(),
                entry: Some(run.index),
                bundle: Some(run.bundle().1),
            });
            self.undated.remove(&key);
            self.events.insert(key, item);
        }
        Ok(())
    }
}

impl Reading<'_> {
    fn finish(mut self) -> Found {
        let mut found = Found::default();
        let (from, to) = (self.question.from, self.question.to);
        for job in self.jobs {
            let seen = self.seen.remove(job).unwrap_or_default();
            let mut gap = |from: Utc, to: Utc, reason: &str| {
                if from < to {
                    found.gaps.push(Gap { job: Some(job.clone()), from, to, reason: reason.to_owned() });
                }
            };
            let why = |or: &str| if seen.why.is_empty() { or.to_owned() } else { seen.why.clone() };
            if seen.by_window {
                let Some(events) = seen.windows.events(job) else { continue };
                gap(from, events.from.min(to), "before the first window that was read");
                for range in &events.gaps {
                    gap(range.from.max(from), range.to.min(to), &why("no run read it whole"));
                }
                gap(events.to.max(from), to, "after the last window that was read");
            } else if !seen.listed_after {
                gap(from, to, &why("no run after the end of the period read the whole list"));
            }
        }
        let more = self.undated.len().saturating_sub(NAMED);
        for (job, record) in self.undated.iter().take(NAMED) {
            let reason = format!("the date of {record:?} cannot be read");
            found.gaps.push(Gap { job: Some(job.clone()), from, to, reason });
        }
        if more > 0 {
            found.says.push(format!("Of {more} more records the date cannot be read."));
        }
        found.items.extend(self.events.into_values().flatten());
        found
    }
}

/// An instant (RFC 3339) or a day in a field, with dots for fields inside it.
fn date(row: &Value, field: &str) -> Option<Utc> {
    let text = field.split('.').try_fold(row, |value, name| value.get(name))?.as_str()?;
    if let Ok(at) = chrono::DateTime::parse_from_rfc3339(text) {
        return Some(signing::time::millis(at.to_utc()));
    }
    Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc())
}
