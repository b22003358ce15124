//! A report as data, from which every form of it is written. In it stands nothing that the archive does not say: the same archive,
//! period and trust give the same bytes.

mod controls;
#[cfg(test)]
mod example;
mod findings;
mod jobs;

use serde::Serialize;
use signing::{
    digest::Digest,
    layout::Job,
    population::Population,
    time::Utc,
    verify::{Finding, Limit, Section},
};

pub use self::{
    controls::{
        ControlReport, CriterionReport, CriterionState, HipaaReport, Link, LinkedControl, Observation, ObservedCheck,
        Occurrence, OccurrenceCounts, OccurrenceState, Part, Treatment,
    },
    findings::{Approval, Deviation, DriftEvent, DriftKind, Ended, FieldChange, Notable, Trend, TrendPoint},
    jobs::{ChangeEntry, ChangeKind, DayCounts, JobReport},
};

#[cfg(test)]
pub(crate) use self::example::example;

/// The value of [`Report::format`].
pub const FORMAT: &str = "evidenced-report/1";

/// Everything that a report says.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `evidenced-report/1`.
    pub format: &'static str,
    /// The version of the program that made it.
    pub program: String,
    /// The log that it was read from.
    pub origin: String,
    /// What is looked at.
    pub view: View,
    /// Up to when it is judged.
    pub as_of: Utc,
    /// The frameworks that it maps to.
    pub frameworks: Frameworks,
    /// What a reader must know before anything else: who prepared it, and what it is not.
    pub notice: Vec<String>,
    /// What verification proved, and what it did not.
    pub integrity: Integrity,
    /// Every control, in the order of its id.
    pub controls: Vec<ControlReport>,
    /// SOC 2 criteria of the chosen categories, in the AICPA's order.
    pub criteria: Vec<CriterionReport>,
    /// The HIPAA Security Rule's standards and specifications, in its order; empty where HIPAA was not asked for.
    pub hipaa: Vec<HipaaReport>,
    /// Controls that the organisation expects of those who use its services.
    pub user_entity_controls: Vec<Named>,
    /// Controls that subservice organisations expect of the organisation, with the controls that answer them.
    pub vendor_expectations: Vec<VendorExpectation>,
    /// Every job, by name.
    pub jobs: Vec<JobReport>,
    /// Every deviation that was seen within the period, those that ended too, in order of first sight.
    pub deviations: Vec<Deviation>,
    /// What changed between successive runs.
    pub drift: Vec<DriftEvent>,
    /// Events of drift beyond the most that are listed; every one is in `drift.csv`.
    pub more_drift: u64,
    /// Sizes of populations, day by day.
    pub trends: Vec<Trend>,
    /// Every change of plan, scope, control, check or parameter within the period, with its reason.
    pub changes: Vec<ChangeEntry>,
    /// Waivers, management's responses and decisions about addressable specifications.
    pub approvals: Vec<Approval>,
    /// Populations that the log froze of the period or of a part of it.
    pub populations: Vec<FrozenPopulation>,
    /// What the evidence does not show.
    pub not_shown: Vec<String>,
    /// The entries that the report names by number, as [`crate::evidence::cited`] finds them.
    pub evidence: Vec<Evidence>,
}

/// An entry of the log that the report cites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Its number.
    pub entry: u64,
    /// The job; `None` for a document.
    pub job: Option<Job>,
    /// The archive's name of what it seals: a bundle or a document; of missed slots, their plan.
    pub name: String,
    /// The digest of that.
    pub sha256: Digest,
    /// The archive's name of its seal.
    pub seal: String,
    /// By the agent's clock.
    pub sealed_at: Utc,
}

/// A control's population as the log froze it first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FrozenPopulation {
    /// Its own period, which may be a part of the report's.
    pub from: Utc,
    /// The first instant after it.
    pub to: Utc,
    /// The control, what its items are, how many, their hash, and what of it was not observed.
    #[serde(flatten)]
    pub population: Population,
    /// Up to when it was judged; what came after that is not in it.
    pub judged_up_to: Utc,
    /// The entry of the document that froze it.
    pub entry: u64,
    /// Entries that froze it later with other contents. They do not count.
    pub otherwise: Vec<u64>,
    /// The latest instant at which the log got it, by a trusted timestamp; `None`: none proves it.
    pub not_after: Option<Utc>,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum View {
    /// `[from, to)`: whether controls operated over a period.
    Period {
        /// The first instant.
        from: Utc,
        /// The first instant after it.
        to: Utc,
    },
    /// The last complete observation at or before an instant, and its age. It says nothing of operating effectiveness.
    PointInTime {
        /// The instant.
        at: Utc,
    },
}

/// The frameworks of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Frameworks {
    /// Categories of the Trust Services Criteria; empty: SOC 2 is not asked for. Security is always among them.
    pub soc2: Vec<::controls::Category>,
    /// `covered_entity` or `business_associate`; `None`: HIPAA is not asked for.
    pub hipaa: Option<String>,
}

/// What verification proved before anything was reported.
#[derive(Debug, Clone, Serialize)]
pub struct Integrity {
    /// Whether verification found nothing wrong.
    pub intact: bool,
    /// Its last line.
    pub statement: String,
    /// The owner's root key that was trusted.
    pub trust: String,
    /// Entries of the log.
    pub entries: u64,
    /// The log's root as signed; `None` where it was not.
    pub root: Option<Digest>,
    /// In words, by topic: origin, receipts, time, coverage, tail.
    pub sections: Vec<SectionText>,
    /// What is wrong. Evidence that a finding names is not counted.
    pub findings: Vec<Finding>,
    /// What is not proved.
    pub limits: Vec<Limit>,
}

/// A part of the verdict in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SectionText {
    /// `origin`, `receipts`, `time` …
    pub name: String,
    /// In words.
    pub says: String,
}

impl From<&Section> for SectionText {
    fn from(section: &Section) -> Self {
        Self { name: section.name.to_owned(), says: section.says.clone() }
    }
}

/// Something that is only named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// In words.
    pub text: String,
}

/// A control that a vendor expects of the organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VendorExpectation {
    /// The vendor.
    pub vendor: String,
    /// What it expects.
    pub text: String,
    /// The organisation's controls that answer it, by id; none: not answered.
    pub controls: Vec<String>,
}
