//! The results of checks, as `results.json` in a bundle. They say what was found of each row; they never say that a criterion is met.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{catalogue::Strength, check::Join, rows::Rows};

/// The value of [`Results::format`].
pub(crate) const FORMAT: &str = "evidenced-results/1";

/// The longest reason that is kept, in characters: reasons carry text from records.
const REASON: usize = 400;

/// `results.json`: every check of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// `evidenced-results/1`.
    pub format: String,
    /// One for each check, in the order of the collector's list.
    pub checks: Vec<CheckResult>,
}

/// A check with what it found. The rows of its population are `pass + fail + exempt` and the rows among `unknown`; one more
/// `unknown`, of id null, stands for a list, or the rest of one, that was not read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckResult {
    /// Unique among the collector's checks.
    pub id: String,
    /// The evidence item in the catalogue.
    pub item: String,
    /// Its title.
    pub title: String,
    /// What the item supported when the check ran.
    pub criteria: Criteria,
    /// What was asked.
    pub definition: Definition,
    /// Of what.
    pub population: PopulationResult,
    /// The check as a whole.
    pub outcome: Outcome,
    /// Why it is `not_tested` or `not_applicable`; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Rows shown to pass.
    pub pass: u64,
    /// Rows shown not to pass.
    pub fail: u64,
    /// Rows not shown either way, and one for a list that was not read to its end.
    pub unknown: u64,
    /// 1 where the whole population is proved absent; else 0.
    pub not_applicable: u64,
    /// Rows that the check names as exempt.
    pub exempt: u64,
    /// The rows behind the numbers.
    pub rows: Rows,
}

impl CheckResult {
    /// The five numbers.
    pub fn counts(&self) -> Counts {
        Counts {
            pass: self.pass,
            fail: self.fail,
            unknown: self.unknown,
            not_applicable: self.not_applicable,
            exempt: self.exempt,
        }
    }
}

/// The check as a whole. The first that holds, in this order: absent and no row → `not_applicable`; a row failed → `fail`; anything
/// unknown → `unknown`; a row passed → `pass`; else nothing was tested, which is never a pass → `not_tested`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The population is whole, at least one row was tested, and every row that is not exempt passed.
    Pass,
    /// At least one row was shown to fail, whatever else is unknown.
    Fail,
    /// No row failed, and something is unknown.
    Unknown,
    /// The population is proved absent.
    NotApplicable,
    /// The population is whole and no row of it was there to be tested: it is empty, or all of it is exempt.
    NotTested,
}

/// The criteria that an evidence item supports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criteria {
    /// SOC 2, Trust Services Criteria.
    pub soc2: BTreeMap<String, Strength>,
    /// HIPAA Security Rule, 45 CFR Part 164.
    pub hipaa: BTreeMap<String, Strength>,
}

/// What a check asked, as its author wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// jq: whether a row is exempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exempt: Option<String>,
    /// jq: whether a row passes.
    pub pass: String,
    /// What is said of a failing row.
    pub says: String,
    /// What is said of a row that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// Kinds whose lists must be whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Rows of other kinds, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub join: BTreeMap<String, Join>,
    /// `$parameters` as it was: the check's and the item's defaults under what the organisation set.
    pub parameters: Map<String, Value>,
}

/// What a check was asked of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PopulationResult {
    /// The kind of records.
    pub kind: String,
    /// jq: which rows of the kind; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Whether the kind's list is whole.
    pub state: PopulationState,
    /// Why not whole, or what proves the absence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Rows of the population that were seen, exempt ones included.
    pub size: u64,
}

/// [`Population`] without its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PopulationState {
    /// Its end was seen.
    Whole,
    /// There may be more.
    Cut,
    /// It could not be read.
    Unread,
    /// Proved not to exist.
    Absent,
}

/// Whether the list of a kind's records is the whole list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum Population {
    /// Its end was seen.
    Whole,
    /// Some rows were read; there may be more. Why.
    Cut(String),
    /// It could not be read. Why.
    Unread(String),
    /// Proved not to exist. What proves it.
    Absent(String),
}

impl Population {
    /// The state alone.
    pub fn state(&self) -> PopulationState {
        match self {
            Self::Whole => PopulationState::Whole,
            Self::Cut(_) => PopulationState::Cut,
            Self::Unread(_) => PopulationState::Unread,
            Self::Absent(_) => PopulationState::Absent,
        }
    }

    /// The reason, where the state has one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Whole => None,
            Self::Cut(reason) | Self::Unread(reason) | Self::Absent(reason) => Some(reason),
        }
    }
}

/// The rows of a check, or of all checks, by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Shown to hold.
    pub pass: u64,
    /// Shown not to hold.
    pub fail: u64,
    /// Not shown either way.
    pub unknown: u64,
    /// Absence proved.
    pub not_applicable: u64,
    /// Named as exempt; counted here only.
    pub exempt: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.pass += other.pass;
        self.fail += other.fail;
        self.unknown += other.unknown;
        self.not_applicable += other.not_applicable;
        self.exempt += other.exempt;
    }
}

/// `results.json` that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// Not the JSON of this format, or a failure of what it is read from.
    #[error("results.json is not of the form that this version reads")]
    Malformed(#[from] serde_json::Error),
    /// Another format.
    #[error("results.json has the format {0:?}, and this version reads \"evidenced-results/1\"")]
    Format(String),
}

impl Results {
    /// Writes `results.json` row by row: compact JSON and a line feed. The same results give the same bytes.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// The bytes of `results.json`, where they are known to be few.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes).expect("strings, numbers and string keys: always JSON");
        bytes
    }

    /// Reads `results.json` back from its bytes.
    ///
    /// # Errors
    /// [`ResultsError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ResultsError> {
        Self::read(bytes)
    }

    /// Reads `results.json` back, strictly. `from` should have a buffer.
    ///
    /// # Errors
    /// [`ResultsError`].
    pub fn read(from: impl Read) -> Result<Self, ResultsError> {
        let results: Self = serde_json::from_reader(from)?;
        if results.format != FORMAT {
            return Err(ResultsError::Format(results.format));
        }
        Ok(results)
    }

    /// The sums over all checks.
    pub fn totals(&self) -> Counts {
        let mut totals = Counts::default();
        for check in &self.checks {
            totals += check.counts();
        }
        totals
    }
}

/// Cuts a reason to what is kept.
pub(crate) fn shorten(text: String) -> String {
    match text.char_indices().nth(REASON) {
        None => text,
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}
