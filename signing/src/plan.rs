//! The plan: which job runs when, as signed evidence. Instants come from it by [`crate::slots`], without cron or time zone data.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{digest::Digest, layout::Job, time::Utc};

/// A plan document, in force from its sealing until its successor's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// `evidenced-plan/1`.
    pub format: String,
    /// The log that it is for.
    pub origin: String,
    /// The agent's version.
    pub agent: String,
    /// The same instant as in its entry; never before the previous plan's.
    pub sealed_at: Utc,
    /// The plan before, by digest; `None` for the first.
    pub previous: Option<Digest>,
    /// Why it was made: `collect by hand`, `started`, `restated`, `configuration changed`, `paused: …`.
    pub reason: String,
    /// How long after start-within and deadline a slot may still be on its way into the log.
    pub settle_seconds: u32,
    /// For how many days bundles are kept; `None` without a limit.
    pub retention_days: Option<u32>,
    /// The UTC offsets of each zone that a schedule names.
    pub zones: BTreeMap<String, Vec<Offset>>,
    /// The jobs, by name; without a schedule where none is in force.
    pub jobs: Vec<PlannedJob>,
    /// Jobs that the configuration or the place switches off, with the reason.
    pub not_run: Vec<NotRun>,
}

/// The value of [`Plan::format`].
pub const FORMAT: &str = "evidenced-plan/1";

/// From `from` on (`None`: from always), local time is UTC plus `seconds`. The last one holds for ever after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offset {
    /// The transition's instant; `None` for the first of the list.
    pub from: Option<Utc>,
    /// East of Greenwich.
    pub seconds: i32,
}

/// One job of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedJob {
    /// `<collector>@<source>`.
    pub job: Job,
    /// The collector's version.
    pub version: u32,
    /// The digest of the `checks.json` that each of its bundles carries: the checks in force and their parameters.
    pub checks: Digest,
    /// `None`: by hand only.
    pub schedule: Option<Schedule>,
    /// A run may start until this long after its slot.
    pub start_within_seconds: u32,
    /// A run, with all attempts, ends this long after its start at the latest.
    pub deadline_seconds: u32,
    /// A start later than this after the slot is marked late.
    pub grace_seconds: u32,
    /// Runs start up to this long after their slots, so that they do not all start at once.
    pub spread_seconds: u32,
    /// Every slot before it has a receipt that precedes this plan in the log.
    pub watermark: Option<Utc>,
}

/// A job that does not run, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotRun {
    /// `<collector>@<source>`.
    pub job: Job,
    /// In words.
    pub reason: String,
}

/// A crontab schedule, expanded. A day matches when its month does, and its day of month and weekday do: both of them, or, with
/// `either_day`, one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// As the operator wrote it.
    pub text: String,
    /// A key of [`Plan::zones`].
    pub zone: String,
    /// 0 to 59.
    pub minutes: BTreeSet<u8>,
    /// 0 to 23.
    pub hours: BTreeSet<u8>,
    /// 1 to 31.
    pub days: BTreeSet<u8>,
    /// 1 to 12.
    pub months: BTreeSet<u8>,
    /// 0 (Sunday) to 6.
    pub weekdays: BTreeSet<u8>,
    /// Whether both day fields are restricted, so that either is enough.
    pub either_day: bool,
    /// Whether the hours are `*`: the schedule then follows elapsed time through a change of offset. Without it, a local time that
    /// is skipped runs at the first instant after the gap, and one that repeats runs the first time only.
    pub elapsed: bool,
}
