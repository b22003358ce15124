//! Deviations, drift, trends, and what people signed.

use chrono::NaiveDate;
use serde::Serialize;
use serde_json::Value;
use signing::{layout::Job, time::Utc};

/// A record that failed a check, from first to last sight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deviation {
    /// `D-` and 12 hex digits: the same in every report on this log.
    pub id: String,
    /// The controls that the check supports, by id.
    pub controls: Vec<String>,
    /// Where it was seen.
    pub job: Job,
    /// The check's id.
    pub check: String,
    /// The evidence item.
    pub item: String,
    /// The kind of records.
    pub kind: String,
    /// The record's id.
    pub record: String,
    /// What the check said of it last.
    pub says: String,
    /// The first run that saw it fail. It may lie before the period.
    pub first_seen: Utc,
    /// The last one.
    pub last_seen: Utc,
    /// Runs that saw it fail.
    pub runs: u64,
    /// The last run before the first sight that saw the record not fail, or not there; `None`: the first run found it so.
    pub not_before: Option<Utc>,
    /// How and when it ended; `None`: open.
    pub ended: Option<Ended>,
    /// The log's entry of the first sight.
    pub first_entry: u64,
    /// That of the last.
    pub last_entry: u64,
    /// Ids of the waivers that accepted it, in [`super::Report::approvals`].
    pub waivers: Vec<String>,
    /// Ids of management's responses to it.
    pub responses: Vec<String>,
}

/// The end of a deviation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// The first run that saw the record not fail.
    pub at: Utc,
    /// Its entry in the log.
    pub entry: u64,
    /// `passes`, `exempt`, `gone` (the list was read whole without it), or `not_in_population`.
    pub how: &'static str,
}

/// A record that is other than in the run before.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DriftEvent {
    /// The later run.
    pub at: Utc,
    /// The run before that it was compared with.
    pub since: Utc,
    /// Where.
    pub job: Job,
    /// The kind of records.
    pub kind: String,
    /// The record's id.
    pub record: String,
    /// What became of it.
    pub change: DriftKind,
    /// The fields that differ; of a record that came or went, none.
    pub fields: Vec<FieldChange>,
    /// What it means, where a rule says so.
    pub notable: Option<Notable>,
    /// The later run's entry in the log.
    pub entry: u64,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// It was not in the run before, whose list was whole.
    Added,
    /// It is no longer there, in a list that is whole.
    Removed,
    /// It is other than it was.
    Changed,
}

/// A field before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldChange {
    /// Its name, with dots for fields inside it.
    pub field: String,
    /// Null where it was not there.
    pub before: Value,
    /// Null where it is no longer there.
    pub after: Value,
}

/// A change that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notable {
    /// The rule: `new-administrator`, `mfa-lost`, `encryption-off`, `retention-shortened` …
    pub rule: String,
    /// In words.
    pub says: String,
}

/// The size of a population, day by day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trend {
    /// Where.
    pub job: Job,
    /// The check whose population it is.
    pub check: String,
    /// The kind of records.
    pub kind: String,
    /// Whether the population is one of privileged accounts.
    pub privileged: bool,
    /// Days with a run; a day without one is left out, never filled in.
    pub points: Vec<TrendPoint>,
}

/// A day's last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TrendPoint {
    /// The day, in UTC.
    pub day: NaiveDate,
    /// Rows of the population that were seen.
    pub size: u64,
    /// Whether the list was whole; if not, there may be more.
    pub whole: bool,
    /// Of the rows, those that failed.
    pub fail: u64,
}

/// What a person signed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Approval {
    /// `W-`, `R-` or `H-` and 12 hex digits of the document's digest.
    pub id: String,
    /// `waiver`, `response` or `decision`.
    pub kind: String,
    /// The approver's name, by the owner's keys.
    pub approver: String,
    /// The log's entry that holds it.
    pub entry: u64,
    /// The trusted time from which on it counts; `None`: it has none, and a waiver does not apply.
    pub from: Option<Utc>,
    /// When it expires; `None` for what does not.
    pub until: Option<Utc>,
    /// What it is about, in words: a control, a check, records, a deviation, a citation.
    pub subject: String,
    /// What was said.
    pub text: String,
    /// Why it does not count, where it does not; empty: it does.
    pub void: String,
    /// The document as it was signed.
    pub document: Value,
}
