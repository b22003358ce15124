//! Slots by day: what [`Coverage`] counts over a whole log, within a window of it and day by day.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use super::{
    coverage::Coverage,
    report::{SlotCounts, Uncovered},
    timetable::{ceil_second, instant},
};
use crate::{
    digest::Digest,
    layout::Job,
    plan::Plan,
    statement::{Missed, Outcome},
    time::Utc,
};

const DAY: i64 = 86_400;

/// Plans against receipts, with the slots of `[from, to)` by day in UTC. Fed as [`Coverage`] is. Memory grows with jobs and days.
#[derive(Debug)]
pub struct Daily {
    coverage: Coverage,
    from: i64,
    to: i64,
    days: BTreeMap<Job, BTreeMap<i64, SlotCounts>>,
}

/// A job's slots within the window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobDays {
    /// Over all its days.
    pub total: SlotCounts,
    /// Days with a slot.
    pub days: BTreeMap<NaiveDate, SlotCounts>,
    /// Judged slots without a receipt, in ranges.
    pub uncovered: Vec<Uncovered>,
}

impl Daily {
    /// For a log that is read from its first leaf, and the slots of `[from, to)`.
    pub fn new(from: Utc, to: Utc) -> Self {
        Self { coverage: Coverage::new(), from: ceil_second(from), to: ceil_second(to), days: BTreeMap::new() }
    }

    /// As [`Coverage::plan`].
    pub fn plan(&mut self, index: u64, digest: Digest, plan: &Plan) {
        self.coverage.plan(index, digest, plan);
        self.coverage.take_findings();
    }

    /// As [`Coverage::receipt`].
    pub fn receipt(&mut self, index: u64, plan: Digest, job: &Job, slot: Utc, outcome: Outcome, late: bool) {
        let before = self.judged(job);
        self.coverage.receipt(index, plan, job, slot, outcome, late);
        self.coverage.take_findings();
        if self.judged(job) > before
            && let Some(day) = self.day(job, ceil_second(slot))
        {
            day.judged += 1;
            *day.outcomes.entry(outcome).or_default() += 1;
            day.late += u64::from(late);
        }
    }

    /// As [`Coverage::missed`].
    pub fn missed(&mut self, index: u64, plan: Digest, missed: &Missed) {
        let (job, end) = (&missed.job, ceil_second(missed.last).saturating_add(1));
        let mut from = ceil_second(missed.first);
        // Day by day, so that each day is told what is new of it.
        while from < end {
            let to = ((from.div_euclid(DAY) + 1) * DAY).min(end);
            let span = self.coverage.tracks.get(job).and_then(|track| {
                let parts = || track.parts(from, to);
                let first = track.next(from, to)?;
                let last = parts().filter_map(|(stint, from, to)| stint.table.last(from, to)).last()?;
                Some((first, last, track.count(first, last + 1)))
            });
            if let Some((first, last, count)) = span {
                let before = self.judged(job);
                let piece = Missed { first: instant(first), last: instant(last), count, ..missed.clone() };
                self.coverage.missed(index, plan, &piece);
                self.coverage.take_findings();
                let new = self.judged(job) - before;
                if new > 0
                    && let Some(day) = self.day(job, first)
                {
                    day.judged += new;
                    *day.missed.entry(missed.cause).or_default() += new;
                }
            }
            // Where a schedule names nothing for a long time, nothing is walked.
            let next = self.coverage.tracks.get(job).and_then(|track| track.next(to, end));
            from = next.unwrap_or(end);
        }
    }

    /// Judges every slot of the window whose time for a receipt was over at `as_of`. To be called once, when the log has been read.
    pub fn finish(mut self, as_of: Utc) -> BTreeMap<Job, JobDays> {
        let as_of = as_of.timestamp();
        let jobs: Vec<Job> = self.coverage.tracks.keys().cloned().collect();
        let mut all = BTreeMap::new();
        for job in jobs {
            let mut days = self.days.remove(&job).unwrap_or_default();
            let mut uncovered = Vec::new();
            let track = &self.coverage.tracks[&job];
            for (from, to) in track.uncovered(as_of.saturating_add(1)) {
                for (stint, from, to) in track.parts(from.max(self.from), to.min(self.to)) {
                    let judged_to = as_of.saturating_sub(stint.allowance).saturating_add(1).clamp(from, to);
                    let mut at = from;
                    while let Some(first) = stint.table.next(at, to) {
                        let midnight = (first.div_euclid(DAY) + 1) * DAY;
                        let split = judged_to.clamp(first, midnight);
                        let (lacking, open) =
                            (stint.table.count(first, split), stint.table.count(split, midnight.min(to)));
                        let day = days.entry(first.div_euclid(DAY)).or_default();
                        day.judged += lacking;
                        day.uncovered += lacking;
                        day.open += open;
                        at = midnight;
                    }
                    let span = stint.table.next(from, judged_to).zip(stint.table.last(from, judged_to));
                    if let Some((first, last)) = span {
                        let plan = self.coverage.in_force(first).map_or(Digest([0; 32]), |plan| plan.digest);
                        let count = stint.table.count(from, judged_to);
                        uncovered.push(Uncovered { first: instant(first), last: instant(last), count, plan });
                    }
                }
            }
            let mut told = JobDays { uncovered, ..JobDays::default() };
            for (day, counts) in days {
                told.total.add(&counts);
                told.days.insert(instant(day * DAY).date_naive(), counts);
            }
            all.insert(job, told);
        }
        all
    }

    fn judged(&self, job: &Job) -> u64 {
        self.coverage.tracks.get(job).map_or(0, |track| track.counts.judged)
    }

    /// The counts of the day of a second, if it lies in the window.
    fn day(&mut self, job: &Job, second: i64) -> Option<&mut SlotCounts> {
        let within = (self.from..self.to).contains(&second);
        within.then(|| self.days.entry(job.clone()).or_default().entry(second.div_euclid(DAY)).or_default())
    }
}
