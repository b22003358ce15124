//! Controls as the organisation promises them, and the document that puts them in force: signed evidence like a plan, so that a period is
//! judged by what was promised then, and never by what is promised later.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalogue::{Category, Strength, item};

/// The value of [`ControlSet::format`].
pub const FORMAT: &str = "evidenced-controls/1";

/// What is promised, of what, under which frameworks: in force from its sealing until its successor's. `document/controls/<sha256>.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlSet {
    /// `evidenced-controls/1`.
    pub format: String,
    /// The log that it is for.
    pub origin: String,
    /// The agent's version.
    pub agent: String,
    /// The SHA-256 of the document before, in hex; `None` for the first. So the same promise made again is another document.
    pub previous: Option<String>,
    /// Why it is other than the one before, as the operator wrote it; empty where nothing was written.
    pub reason: String,
    /// The observation period, first and last day (`2026-07-01`); `None` where none is set.
    pub period: Option<(String, String)>,
    /// What is reported on.
    pub frameworks: FrameworkSet,
    /// What the organisation set of `$parameters`.
    pub parameters: Map<String, Value>,
    /// The controls, by id.
    pub controls: Vec<Control>,
    /// Controls of the starter set that the organisation does not promise, with its reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub switched_off: Vec<SwitchedOff>,
    /// Criteria and citations that are not the organisation's own, by id.
    pub treatments: BTreeMap<String, TreatmentSet>,
    /// Complementary user entity controls.
    pub user_entity_controls: Vec<EntityControl>,
    /// What subservice organisations and vendors expect of the organisation.
    pub vendor_expectations: Vec<Expectation>,
    /// Every job that there is, and what is checked in it. A pause does not change it.
    pub scope: Vec<ScopedJob>,
}

/// What is reported on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FrameworkSet {
    /// Categories of the Trust Services Criteria; empty: not SOC 2. Security is always among them.
    pub soc2: Vec<Category>,
    /// The HIPAA Security Rule, and in which role; `None`: not asked for.
    pub hipaa: Option<Hipaa>,
}

/// `frameworks.hipaa`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hipaa {
    /// Whose duties.
    pub role: HipaaRole,
    /// Whether proposed rules, which are not in effect, are listed too, each marked.
    #[serde(default)]
    pub proposals: bool,
}

/// 45 CFR 160.103.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HipaaRole {
    /// A health plan, clearinghouse or provider.
    CoveredEntity,
    /// Somebody who handles its protected health information.
    BusinessAssociate,
}

/// What the organisation promises, how often, and what shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Unique: `AC-01`.
    pub id: String,
    /// One line for a person.
    pub title: String,
    /// The role that answers for it.
    #[serde(default)]
    pub owner: String,
    /// What is promised.
    pub statement: String,
    /// How often it must operate.
    pub frequency: Frequency,
    /// Evidence items behind it. Every check on one of them supports the control.
    #[serde(default)]
    pub items: Vec<String>,
    /// Checks behind it beside those of its items: `<collector>/<check>`, such as `aws/iam-users/mfa-enrolled`.
    #[serde(default)]
    pub checks: Vec<String>,
    /// Of what its items bring, only this: collectors (`aws/backup-jobs`) and checks (`aws/restore-jobs/restore-succeeded`); empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// Of what its items bring, not this: collectors and checks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// Sources that it is about, by name; empty: all.
    #[serde(default)]
    pub sources: Vec<String>,
    /// What it maps to, by SOC 2 criterion.
    #[serde(default)]
    pub soc2: BTreeMap<String, Strength>,
    /// And by HIPAA citation.
    #[serde(default)]
    pub hipaa: BTreeMap<String, Strength>,
    /// What dates its occurrences; none: the runs that looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dated_by: Option<DatedBy>,
}

/// A control of the starter set that is not promised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchedOff {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Why, as the organisation wrote it.
    pub reason: String,
}

/// How often a control must operate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frequency {
    /// By itself, all the time. A day, in UTC, is one occurrence.
    Automated,
    /// Each time that something happens: each event is an occurrence.
    PerEvent,
    /// Each day, in UTC.
    Daily,
    /// Each seven days from the period's first.
    Weekly,
    /// Each month from the period's first day.
    Monthly,
    /// Each three months.
    Quarterly,
    /// Each six months.
    SemiAnnual,
    /// Each twelve months.
    Annual,
    /// When it is needed: nothing is required, what is seen is listed.
    AsNeeded,
}

/// Records whose own dates are the occurrences: backups, restore tests, reviews, events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatedBy {
    /// The kind of records.
    pub kind: String,
    /// The field that holds the instant or day (RFC 3339), with dots for fields inside it.
    pub at: String,
    /// How many days after the end of its time an occurrence may still be seen to have come; none: 0.
    #[serde(default)]
    pub within_days: u32,
}

/// Whose a criterion or citation is, where it is not the organisation's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "treatment")]
pub enum TreatmentSet {
    /// A subservice organisation's, which the report does not cover.
    CarvedOut {
        /// Which one.
        organisation: String,
        /// The controls that are expected of it.
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

/// A control that is expected of those who use the organisation's services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntityControl {
    /// Its id.
    pub id: String,
    /// In words.
    pub text: String,
}

/// What a vendor expects of the organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The vendor.
    pub vendor: String,
    /// What it expects.
    pub text: String,
    /// The controls that answer it, by id.
    #[serde(default)]
    pub controls: Vec<String>,
}

/// A job, and what is checked in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopedJob {
    /// `<collector>@<source>`.
    pub job: String,
    /// The source's kind: `aws`.
    pub kind: String,
    /// The collector's version.
    pub version: u32,
    /// The SHA-256 of its checks with their parameters, as plans name it.
    pub checks_sha256: String,
    /// Its checks.
    pub checks: Vec<ScopedCheck>,
    /// Why it does not run, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<String>,
}

/// A check of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopedCheck {
    /// Its id among the job's checks.
    pub id: String,
    /// The evidence item that it supports.
    pub item: String,
    /// The kind of records that it is asked of.
    pub kind: String,
}

impl ControlSet {
    /// The bytes of the document.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a set of controls is always JSON")
    }

    /// Reads a document.
    ///
    /// # Errors
    /// In words: bytes that are no set of controls, or one of another format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let set: Self = serde_json::from_slice(bytes).map_err(|error| format!("it is no set of controls: {error}"))?;
        match set.format == FORMAT {
            true => Ok(set),
            false => Err(format!("its format is {:?}, not {FORMAT:?}", set.format)),
        }
    }

    /// Whether the two promise the same, whichever version of the program wrote them and for whatever reason.
    pub fn promises_the_same(&self, other: &Self) -> bool {
        let bare = |set: &Self| Self { agent: String::new(), previous: None, reason: String::new(), ..set.clone() };
        bare(self) == bare(other)
    }

    /// A control by its id.
    pub fn control(&self, id: &str) -> Option<&Control> {
        self.controls.iter().find(|control| control.id == id)
    }
}

impl Control {
    /// Whether a check of a job on a source supports it. `job` is `<collector>@<source>`.
    pub fn is_supported_by(&self, job: &str, check: &ScopedCheck) -> bool {
        let (collector, source) = job.split_once('@').unwrap_or((job, ""));
        let is = |name: &str| {
            name == collector || name.rsplit_once('/').is_some_and(|(of, id)| of == collector && id == check.id)
        };
        let by_item = || {
            self.items.contains(&check.item)
                && (self.only.is_empty() || self.only.iter().any(|name| is(name)))
                && !self.except.iter().any(|name| is(name))
        };
        let by_name = || self.checks.iter().any(|name| name.rsplit_once('/') == Some((collector, check.id.as_str())));
        (self.sources.is_empty() || self.sources.iter().any(|name| name == source)) && (by_item() || by_name())
    }

    /// The jobs in scope that support it, whether they run or not.
    pub fn jobs<'a>(&'a self, scope: &'a [ScopedJob]) -> impl Iterator<Item = &'a ScopedJob> {
        scope.iter().filter(|job| job.checks.iter().any(|check| self.is_supported_by(&job.job, check)))
    }

    /// What it maps to by its items: of two links to one criterion the stronger one.
    pub fn derive_links(&mut self) {
        let add = |to: &mut BTreeMap<String, Strength>, from: &BTreeMap<String, Strength>| {
            for (id, strength) in from {
                let held = to.entry(id.clone()).or_insert(*strength);
                *held = (*held).min(*strength);
            }
        };
        for item in self.items.iter().filter_map(|id| item(id)) {
            add(&mut self.soc2, &item.tsc);
            add(&mut self.hipaa, &item.hipaa);
        }
    }
}

impl Frequency {
    /// As it is written, and for a person: `automated`, `per_event`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Automated => "automated",
            Self::PerEvent => "per_event",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Quarterly => "quarterly",
            Self::SemiAnnual => "semi_annual",
            Self::Annual => "annual",
            Self::AsNeeded => "as_needed",
        }
    }
}

impl HipaaRole {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CoveredEntity => "covered_entity",
            Self::BusinessAssociate => "business_associate",
        }
    }
}
