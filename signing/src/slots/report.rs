//! What [`super::Coverage`] found, for a verdict and its JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    digest::Digest,
    layout::Job,
    statement::{Cause, Outcome},
    time::Utc,
};

/// Which slots are covered, up to an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoverageReport {
    /// The instant up to which it was judged.
    pub as_of: Utc,
    /// The first instant with a schedule in force; `None` where there never was one.
    pub first: Option<Utc>,
    /// The last instant with a schedule in force, at most `as_of`.
    pub last: Option<Utc>,
    /// Whether a schedule is in force at `as_of`.
    pub in_force: bool,
    /// Plans read.
    pub plans: u64,
    /// Over all jobs.
    pub total: SlotCounts,
    /// Runs asked for by hand, over all jobs; they fill no slot.
    pub by_hand: u64,
    /// Every job that a plan or a run by hand names, by name.
    pub jobs: Vec<JobCoverage>,
    /// Every change of plan that is more than a restatement, in order.
    pub changes: Vec<PlanChange>,
    /// Changes beyond the most that are listed.
    pub more_changes: u64,
}

/// One job's slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobCoverage {
    /// `<collector>@<source>`.
    pub job: Job,
    /// Its slots by state.
    pub counts: SlotCounts,
    /// Runs asked for by hand.
    pub by_hand: u64,
    /// The newest slot with a receipt.
    pub last_covered: Option<Utc>,
    /// Judged slots without a receipt, in ranges.
    pub uncovered: Vec<Uncovered>,
    /// Ranges beyond the most that are listed; their slots are in `counts`.
    pub more_uncovered: u64,
}

/// Slots by state. `judged` is the sum of `outcomes`, `missed` and `uncovered`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SlotCounts {
    /// Those with a receipt and those whose time for one is over.
    pub judged: u64,
    /// Run, by outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Of those run, the ones marked late.
    pub late: u64,
    /// Recorded as missed, by cause.
    pub missed: BTreeMap<Cause, u64>,
    /// Judged, and without any receipt.
    pub uncovered: u64,
    /// Due, not receipted yet, and still within their time.
    pub open: u64,
}

impl SlotCounts {
    /// Adds those of another job, or day.
    pub fn add(&mut self, other: &Self) {
        self.judged += other.judged;
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(*outcome).or_default() += count;
        }
        for (cause, count) in &other.missed {
            *self.missed.entry(*cause).or_default() += count;
        }
        self.late += other.late;
        self.uncovered += other.uncovered;
        self.open += other.open;
    }
}

/// Consecutive slots of a job without a receipt, under plans that say the same of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Uncovered {
    /// The first.
    pub first: Utc,
    /// The last.
    pub last: Utc,
    /// How many.
    pub count: u64,
    /// The plan in force at the first.
    pub plan: Digest,
}

/// A change of plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanChange {
    /// The new plan's place in the log.
    pub index: u64,
    /// The new plan.
    pub plan: Digest,
    /// From when on.
    pub at: Utc,
    /// The plan's own reason.
    pub reason: String,
    /// What changed.
    pub change: Change,
    /// Whether it lowers the frequency or the scope of what is looked at, or gives a slot more time before it is judged.
    pub lowers: bool,
}

/// What a plan changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Change {
    /// A job has a schedule that had none before.
    Added {
        /// The job.
        job: Job,
        /// Its schedule and zone.
        schedule: String,
    },
    /// A job's schedule is no longer in force.
    Removed {
        /// The job.
        job: Job,
        /// What it was.
        schedule: String,
        /// Why the plan says that it does not run, if it does.
        because: Option<String>,
    },
    /// A job runs at other instants.
    Schedule {
        /// The job.
        job: Job,
        /// What it was.
        before: String,
        /// What it is.
        after: String,
    },
    /// A slot of a job has another time to be run and logged in.
    Allowance {
        /// The job.
        job: Job,
        /// Seconds from a slot until it is judged, before.
        before_seconds: u64,
        /// And now.
        after_seconds: u64,
    },
    /// A job has another version of its collector or other checks.
    Checks {
        /// The job.
        job: Job,
    },
    /// A zone has other offsets than the plan before said.
    Zone {
        /// Its name.
        zone: String,
    },
    /// Nothing is scheduled any more.
    Paused {
        /// How many jobs were.
        jobs: u64,
    },
    /// Something is scheduled again.
    Resumed {
        /// How many jobs are.
        jobs: u64,
    },
}
