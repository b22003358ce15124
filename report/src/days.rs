//! Jobs by day: their slots by what became of them, runs by hand, days on which a check failed, and events that no run read.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Days as Count, NaiveDate};
use signing::{
    layout::Job,
    plan::Plan,
    slots::{Daily, JobDays, Range, SlotCounts, Windows},
    statement::{Body, Cause, Outcome, Window},
    time::Utc,
};

use crate::{
    ledger::{Entry, Ledger},
    model::{DayCounts, JobReport},
    pass::{Listener, Needs, PassError, RunHead, RunRead},
};

/// What the runs and plans of the period come to by job and day.
#[derive(Debug)]
pub struct Days {
    from: Utc,
    to: Utc,
    daily: Daily,
    by_hand: BTreeMap<Job, u64>,
    failing: BTreeMap<Job, BTreeMap<NaiveDate, u32>>,
    looked: BTreeMap<Job, BTreeSet<NaiveDate>>,
    windows: BTreeMap<Job, Windows>,
}

/// Every job's days, and what no run read of its events.
#[derive(Debug, Default)]
pub struct Told {
    from: Utc,
    to: Utc,
    slots: BTreeMap<Job, JobDays>,
    by_hand: BTreeMap<Job, u64>,
    failing: BTreeMap<Job, BTreeMap<NaiveDate, u32>>,
    looked: BTreeMap<Job, BTreeSet<NaiveDate>>,
    windows: BTreeMap<Job, Windows>,
}

impl Days {
    /// For the period `[from, to)`, both at the start of a UTC day.
    pub fn new(from: Utc, to: Utc) -> Self {
        Self {
            from,
            to,
            daily: Daily::new(from, to),
            by_hand: BTreeMap::new(),
            failing: BTreeMap::new(),
            looked: BTreeMap::new(),
            windows: BTreeMap::new(),
        }
    }

    /// Judges slots up to `as_of`, once the log has been read.
    pub fn finish(self, as_of: Utc) -> Told {
        Told {
            from: self.from,
            to: self.to,
            slots: self.daily.finish(as_of),
            by_hand: self.by_hand,
            failing: self.failing,
            looked: self.looked,
            windows: self.windows,
        }
    }
}

impl Listener for Days {
    fn needs(&self, _: &RunHead<'_>) -> Needs {
        Needs::default()
    }

    fn run(&mut self, run: &RunRead) -> Result<(), PassError> {
        let receipt = run.receipt();
        // The slot of a receipt that is no evidence counts as one without a receipt.
        if run.refused.is_some() {
            return Ok(());
        }
        if let (Some(slot), Some(plan)) = (receipt.slot, run.statement.entry.plan) {
            self.daily.receipt(run.index, plan, &receipt.job, slot, receipt.outcome, receipt.late);
        }
        if let Some(window) = &receipt.window {
            self.windows.entry(receipt.job.clone()).or_default().add(window);
        }
        if (self.from..self.to).contains(&run.at) {
            self.looked.entry(receipt.job.clone()).or_default().insert(run.at.date_naive());
            if receipt.slot.is_none() {
                *self.by_hand.entry(receipt.job.clone()).or_default() += 1;
            }
            if receipt.totals.fail > 0 {
                let days = self.failing.entry(receipt.job.clone()).or_default();
                *days.entry(run.at.date_naive()).or_default() += 1;
            }
        }
        Ok(())
    }

    fn other(&mut self, ledger: &Ledger<'_>, entry: &Entry<'_>) -> Result<(), PassError> {
        let statement = &entry.logged.statement;
        match &statement.body {
            Body::Missed(missed) if entry.refused.is_none() => {
                if let Some(plan) = statement.entry.plan {
                    self.daily.missed(entry.logged.index, plan, missed);
                }
            }
            // What a plan promised counts also where a finding names it: without it a gap would not be seen.
            Body::Document(document) if document.kind == "plan" => {
                let plan = ledger.document(statement)?.ok();
                if let Some(plan) = plan.and_then(|bytes| serde_json::from_slice::<Plan>(&bytes).ok()) {
                    self.daily.plan(entry.logged.index, statement.subject[0].digest.sha256, &plan);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Told {
    /// Every job that has slots, runs by hand or windows.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.slots.keys()
    }

    /// Whether a job has neither a slot nor a run within the period.
    pub fn is_empty(&self, job: &Job) -> bool {
        let slots = self.slots.get(job).is_none_or(|days| days.days.is_empty());
        slots && !self.looked.contains_key(job)
    }

    /// The slots of a job within the period.
    pub fn slots(&self, job: &Job) -> SlotCounts {
        self.slots.get(job).map(|days| days.total.clone()).unwrap_or_default()
    }

    /// The slots of a job on the days of `[from, to)`.
    pub fn within(&self, job: &Job, from: Utc, to: Utc) -> SlotCounts {
        let mut sum = SlotCounts::default();
        if let Some(days) = self.slots.get(job)
            && from < to
        {
            let last = (to - chrono::TimeDelta::nanoseconds(1)).date_naive();
            days.days.range(from.date_naive()..=last).for_each(|(_, day)| sum.add(day));
        }
        sum
    }

    /// The days before `as_of` without any run of a job, scheduled or by hand.
    pub fn without_run(&self, job: &Job, as_of: Utc) -> Vec<NaiveDate> {
        let end = self.to.min(as_of);
        let days =
            self.from.date_naive().iter_days().take_while(|day| day.and_time(chrono::NaiveTime::MIN).and_utc() < end);
        let looked = self.looked.get(job);
        days.filter(|day| looked.is_none_or(|looked| !looked.contains(day))).collect()
    }

    /// What no run of a job read whole within `[from, to)`; `None` for a job that reads no events.
    pub fn gaps(&self, job: &Job, from: Utc, to: Utc) -> Option<Vec<Range>> {
        self.windows.get(job).map(|windows| gaps(windows, job, from, to))
    }

    /// The report of a job, up to `as_of`.
    pub fn report(&self, job: &Job, as_of: Utc, controls: Vec<String>) -> JobReport {
        let slots = self.slots.get(job).cloned().unwrap_or_default();
        let failing = self.failing.get(job);
        let days = self.from.date_naive().iter_days().take_while(|day| *day < self.to.date_naive());
        let days = days.map(|day| {
            let counts = slots.days.get(&day).cloned().unwrap_or_default();
            let outcome = |of| small(counts.outcomes.get(&of).copied().unwrap_or_default());
            DayCounts {
                day,
                collected: outcome(Outcome::Collected),
                partial: outcome(Outcome::Partial),
                failed: outcome(Outcome::Failed),
                missed: small(counts.missed.values().sum()),
                uncovered: small(counts.uncovered),
                open: small(counts.open),
                failing: failing.and_then(|days| days.get(&day)).copied().unwrap_or_default(),
            }
        });
        JobReport {
            job: job.clone(),
            days: days.collect(),
            slots: slots.total,
            by_hand: self.by_hand.get(job).copied().unwrap_or_default(),
            uncovered: slots.uncovered,
            window_gaps: self.gaps(job, self.from, self.to.min(as_of)),
            controls,
        }
    }

    /// What the slots say of a time without any run.
    pub fn no_run(&self, job: &Job, from: Utc, to: Utc) -> String {
        let slots = self.within(job, from, to);
        let plural = |n: u64| if n == 1 { "1 slot".to_owned() } else { format!("{n} slots") };
        let mut parts: Vec<String> =
            slots.missed.iter().map(|(cause, count)| format!("{} missed ({})", plural(*count), word(*cause))).collect();
        if slots.uncovered > 0 {
            parts.push(format!("{} without a receipt that counts", plural(slots.uncovered)));
        }
        if slots.open > 0 {
            parts.push(format!("{} not judged yet", plural(slots.open)));
        }
        match parts.is_empty() {
            true => "no run, and none was planned".to_owned(),
            false => format!("no run: {}", parts.join(", ")),
        }
    }
}

fn small(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn word(cause: Cause) -> &'static str {
    match cause {
        Cause::Down => "no agent was running",
        Cause::Overrun => "the run before was still going",
        Cause::Crashed => "the agent died in it",
        Cause::Clock => "the clock moved past it",
        Cause::Blocked => "it could not be started",
    }
}

/// What of `[from, to)` no window covers whole.
pub fn gaps(windows: &Windows, job: &Job, from: Utc, to: Utc) -> Vec<Range> {
    if from >= to {
        return Vec::new();
    }
    // A window at each end that says nothing makes what lies outside of all windows a gap too.
    let mut all = windows.clone();
    let end = |from, to| Window { from, to, whole: false, previous: None };
    all.add(&end(from, to));
    let gaps = all.events(job).map(|events| events.gaps).unwrap_or_default();
    let clipped = gaps.into_iter().map(|gap| Range { from: gap.from.max(from), to: gap.to.min(to) });
    clipped.filter(|gap| gap.from < gap.to).collect()
}

/// The days of `[from, to]`, both counted, as instants: the first one, and the first one after the last.
pub fn bounds(from: NaiveDate, to: NaiveDate) -> Option<(Utc, Utc)> {
    let start = from.and_hms_opt(0, 0, 0)?.and_utc();
    let end = to.checked_add_days(Count::new(1))?.and_hms_opt(0, 0, 0)?.and_utc();
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests;
