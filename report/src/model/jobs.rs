//! Jobs, day by day, and what changed of the plan.

use chrono::NaiveDate;
use serde::Serialize;
use signing::{
    layout::Job,
    slots::{Range, SlotCounts, Uncovered},
    time::Utc,
};

/// A job over the period.
#[derive(Debug, Clone, Serialize)]
pub struct JobReport {
    /// `<collector>@<source>`.
    pub job: Job,
    /// Its slots within the period.
    pub slots: SlotCounts,
    /// Runs asked for by hand within the period.
    pub by_hand: u64,
    /// Every day of the period, in order.
    pub days: Vec<DayCounts>,
    /// Slots without a receipt, in ranges.
    pub uncovered: Vec<Uncovered>,
    /// Of a job that reads events: what no run read whole within the period. `None` for one that reads a state.
    pub window_gaps: Option<Vec<Range>>,
    /// The controls that it supports, by id.
    pub controls: Vec<String>,
}

/// A job's day: slots by what became of them, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DayCounts {
    /// The day.
    pub day: NaiveDate,
    /// Read whole.
    pub collected: u32,
    /// Read in part.
    pub partial: u32,
    /// Nothing usable was read.
    pub failed: u32,
    /// Recorded as missed.
    pub missed: u32,
    /// No receipt at all.
    pub uncovered: u32,
    /// Not judged yet.
    pub open: u32,
    /// Runs in which a check failed.
    pub failing: u32,
}

/// A change within the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeEntry {
    /// From when on.
    pub at: Utc,
    /// The log's entry that brought it.
    pub entry: u64,
    /// Of what.
    pub kind: ChangeKind,
    /// The control, job or parameter.
    pub subject: String,
    /// What changed, in words.
    pub says: String,
    /// Why, as the operator wrote it; empty: no reason was given.
    pub reason: String,
    /// Whether it lowers what is looked at, how often, or how strictly; `None` where that cannot be told.
    pub lowers: Option<bool>,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A job's schedule, or a pause.
    Plan,
    /// A job or source came into scope or left it.
    Scope,
    /// A control's text, owner, frequency or links.
    Control,
    /// A collector's version or a check's text.
    Check,
    /// A parameter's value.
    Parameter,
    /// A criterion's treatment, the frameworks, the period.
    Framework,
}
