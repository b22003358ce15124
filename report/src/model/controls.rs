//! Controls and the criteria that they map to.

use ::controls::{Category, Frequency, HipaaKind, Requirement, Strength};
use serde::Serialize;
use signing::{digest::Digest, layout::Job, slots::SlotCounts, time::Utc};

/// A control over the period.
#[derive(Debug, Clone, Serialize)]
pub struct ControlReport {
    /// Its id.
    pub id: String,
    /// As it is at the end of the period.
    pub title: String,
    /// Who answers for it.
    pub owner: String,
    /// What the organisation promises.
    pub statement: String,
    /// How often it must operate, at the end of the period.
    pub frequency: Frequency,
    /// Evidence items behind it, by id.
    pub items: Vec<String>,
    /// What it maps to.
    pub links: Vec<Link>,
    /// Occurrences over all parts.
    pub counts: OccurrenceCounts,
    /// The slots of its jobs by outcome: how it was looked at.
    pub slots: SlotCounts,
    /// Stretches of the period in which text, frequency, scope, checks and parameters were the same.
    pub parts: Vec<Part>,
    /// Every occurrence, by job and time; of events, the first 10,000. `occurrences.csv` has all.
    pub occurrences: Vec<Occurrence>,
    /// Occurrences beyond those that are listed; they are in `counts`.
    pub more_occurrences: u64,
    /// In the view of an instant: of each job in scope the last complete observation at or before it. Empty in that of a period.
    pub observations: Vec<Observation>,
    /// How many deviations of [`super::Report::deviations`] are its.
    pub deviations: u64,
    /// Of those, the ones that had not ended when the period did, or at `as_of`.
    pub open_deviations: u64,
    /// The last run in which every check behind it was answered, at or before `as_of`; of a period, before its end.
    pub last_complete: Option<Utc>,
    /// What its numbers come to, in words: never more than they show.
    pub says: String,
}

/// Occurrences by state. `required` is the sum of `operated`, `deviation` and `not_observed`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OccurrenceCounts {
    /// Those that had to be.
    pub required: u64,
    /// Observed, and nothing failed.
    pub operated: u64,
    /// A failure was seen, whatever other runs say; for what is dated by records: it did not come, or it failed.
    pub deviation: u64,
    /// No run shows it completely.
    pub not_observed: u64,
    /// Observed completely, and there was nothing to test: the control had no occasion to operate. Not required.
    pub no_occasion: u64,
    /// Their time is not over. Not required yet.
    pub open: u64,
}

impl OccurrenceCounts {
    /// Whether any occurrence was observed with something to test. Without one a control is not evidenced, and zeroes beside it say nothing.
    pub fn is_evidenced(&self) -> bool {
        self.operated + self.deviation > 0
    }
}

/// The state of an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OccurrenceState {
    /// See [`OccurrenceCounts::operated`].
    Operated,
    /// See [`OccurrenceCounts::deviation`].
    Deviation,
    /// See [`OccurrenceCounts::not_observed`].
    NotObserved,
    /// See [`OccurrenceCounts::no_occasion`].
    NoOccasion,
    /// See [`OccurrenceCounts::open`].
    Open,
}

/// One time that a control had to operate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Occurrence {
    /// Where it was looked for; `None`: no job read it, so that it is not observed.
    pub job: Option<Job>,
    /// `[from, to)`: within it the control had to operate once. For an event: its own instant, twice.
    pub from: Utc,
    /// The first instant after it.
    pub to: Utc,
    /// What was found.
    pub state: OccurrenceState,
    /// Its place in [`ControlReport::parts`].
    pub part: usize,
    /// Runs that looked, whole or not.
    pub runs: u32,
    /// The log's entry that shows the state: the first run that failed, else the first complete one.
    pub entry: Option<u64>,
    /// The record that it is dated by; `None` where runs are what shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Why it is not observed or deviates; where it operated by a record, what of its time was not read, else empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Occurrence {
    /// Its job's name, or `no job`.
    pub fn job_name(&self) -> &str {
        self.job.as_ref().map_or("no job", Job::as_str)
    }
}

/// The last complete observation of a control in a job, at or before an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// Where.
    pub job: Job,
    /// The newest run in which every check behind the control was answered; `None`: there is none.
    pub at: Option<Utc>,
    /// Seconds from it to the instant.
    pub age_seconds: Option<i64>,
    /// Its entry in the log.
    pub entry: Option<u64>,
    /// What each check behind the control found then.
    pub checks: Vec<ObservedCheck>,
    /// Runs after it that were not complete.
    pub incomplete_since: u64,
}

/// What a check found in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObservedCheck {
    /// The check's id.
    pub check: String,
    /// The check as a whole.
    pub outcome: ::controls::Outcome,
    /// Its rows by result.
    pub rows: ::controls::Counts,
}

/// A stretch of the period in which what was in force for a control did not change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `[from, to)`.
    pub from: Utc,
    /// The first instant after it.
    pub to: Utc,
    /// Why it begins; empty for the first.
    pub because: String,
    /// The controls document that was in force; `None`: none was, and the first one that came is used.
    pub document: Option<Digest>,
    /// What was promised.
    pub statement: String,
    /// How often.
    pub frequency: Frequency,
    /// The jobs in scope, each with the digest of its checks and parameters.
    pub scope: Vec<(Job, Digest)>,
    /// Jobs that would support it and were switched off, with the reason.
    pub left_out: Vec<(Job, String)>,
    /// Its occurrences.
    pub counts: OccurrenceCounts,
}

/// A link from a control to a criterion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// `soc2` or `hipaa`.
    pub framework: &'static str,
    /// `CC6.1` or `164.312(d)`.
    pub criterion: String,
    /// How strongly.
    pub strength: Strength,
}

/// A control that supports a criterion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkedControl {
    /// The control's id.
    pub control: String,
    /// How strongly.
    pub strength: Strength,
    /// Whether any occurrence of it was observed.
    pub evidenced: bool,
}

/// Whose a criterion is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Treatment {
    /// The organisation's own controls.
    Own,
    /// A subservice organisation's, which the report does not cover.
    CarvedOut {
        /// Which one.
        organisation: String,
        /// What is expected of it.
        expected: Vec<String>,
    },
    /// A subservice organisation's, whose controls are covered too.
    Inclusive {
        /// Which one.
        organisation: String,
    },
    /// It does not apply.
    NotApplicable {
        /// Why.
        reason: String,
    },
}

/// What a criterion has. It never says that the criterion is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CriterionState {
    /// Every control that supports it directly has evidence, and there is one.
    EvidenceMapped,
    /// Some evidence, but not of every direct control, or only by partial and indirect links.
    PartlyMapped,
    /// A subservice organisation's.
    CarvedOut,
    /// It does not apply, by the organisation's own word.
    NotApplicable,
    /// No control with evidence.
    NotCovered,
}

/// A SOC 2 criterion.
#[derive(Debug, Clone, Serialize)]
pub struct CriterionReport {
    /// `CC6.1`.
    pub id: String,
    /// The category.
    pub category: Category,
    /// `CC6 logical and physical access`.
    pub group: String,
    /// Our own words.
    pub paraphrase: String,
    /// Whose it is.
    pub treatment: Treatment,
    /// What it has.
    pub state: CriterionState,
    /// The controls that support it.
    pub controls: Vec<LinkedControl>,
}

/// A standard or specification of the HIPAA Security Rule.
#[derive(Debug, Clone, Serialize)]
pub struct HipaaReport {
    /// `164.312(d)`.
    pub citation: String,
    /// Standard or specification.
    pub kind: HipaaKind,
    /// Required or addressable.
    pub requirement: Requirement,
    /// The regulation's heading.
    pub title: String,
    /// Our own words.
    pub paraphrase: String,
    /// Whether it is a proposal that is not in effect.
    pub proposed: bool,
    /// From when on its text is in effect, where the catalogue says so.
    pub effective: Option<String>,
    /// The one role that it is about, `covered_entity` or `business_associate`; `None`: both.
    pub binds: Option<&'static str>,
    /// Whose it is.
    pub treatment: Treatment,
    /// What it has.
    pub state: CriterionState,
    /// For an addressable one, the signed decision in words, or `no decision recorded`; `None` for a required one.
    pub decision: Option<String>,
    /// The controls that support it.
    pub controls: Vec<LinkedControl>,
}
