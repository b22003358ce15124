//! Slots: which instants a schedule names, and which of them the log's receipts cover. Both are computed here and nowhere else, by
//! the agent and by the verifier, from what a plan says: no crontab text is parsed here, no time zone data and no clock is read.

mod back;
mod changes;
mod coverage;
mod daily;
mod report;
mod timetable;
mod track;
mod windows;

pub use back::ReadBack;
pub use coverage::{Coverage, SlotFinding};
pub use daily::{Daily, JobDays};
pub use report::{Change, CoverageReport, JobCoverage, PlanChange, SlotCounts, Uncovered};
pub use windows::{Events, Range, Windows};

use crate::{
    plan::{Offset, Plan, Schedule},
    time::Utc,
};
use timetable::{Timetable, ceil_second, instant};

/// The slots of a schedule, ascending, each once; made by [`Schedule::slots`].
#[derive(Debug, Clone)]
pub struct Slots {
    table: Timetable,
    next: i64,
    to: i64,
}

impl Schedule {
    /// The instants in `[from, to)` at which the schedule runs, given the UTC offsets of its zone: found one at a time, without
    /// walking the time between them. Values out of range name nothing, and transitions out of order are passed over.
    pub fn slots(&self, zone: &[Offset], from: Utc, to: Utc) -> Slots {
        Slots { table: Timetable::new(self, zone), next: ceil_second(from), to: ceil_second(to) }
    }
}

impl Iterator for Slots {
    type Item = Utc;

    fn next(&mut self) -> Option<Utc> {
        let found = self.table.next(self.next, self.to)?;
        self.next = found + 1;
        Some(instant(found))
    }

    /// Counts by days, so that centuries take no time.
    fn count(self) -> usize {
        usize::try_from(self.table.count(self.next, self.to)).unwrap_or(usize::MAX)
    }
}

impl Plan {
    /// The instant from which on the log must be read so that every slot still without a receipt is known: the lowest of the jobs'
    /// watermarks. Seed a [`Coverage`] with the newest plan that was sealed no later than this.
    pub fn read_back_from(&self) -> Utc {
        self.jobs.iter().filter_map(|job| job.watermark).fold(self.sealed_at, Utc::min)
    }
}
