//! `run.json`: the facts of a run, as the agent saw them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    digest::Digest,
    layout::Job,
    statement::{Outcome, Window, map_without_doubles},
    time::Utc,
};

/// The value of [`RunFacts::format`].
pub const RUN_FACTS_FORMAT: &str = "evidenced-run/1";

/// The file's name in a bundle.
pub const RUN_FACTS: &str = "run.json";

/// The most bytes of it that are read.
pub const MAX_RUN_FACTS: u64 = 16 * 1024 * 1024;

/// `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFacts {
    /// `evidenced-run/1`.
    pub format: String,
    /// `<collector>@<source>`.
    pub job: Job,
    /// The scheduled instant; `None` for a run asked for by hand.
    pub slot: Option<Utc>,
    /// Who was asked.
    pub source: SourceFacts,
    /// Who asked.
    pub collector: CollectorFacts,
    /// On behalf of whom.
    pub agent: Agent,
    /// The plan that the run was due under, by digest.
    pub plan: Digest,
    /// When the first attempt began.
    pub started_at: Utc,
    /// When the last attempt ended.
    pub ended_at: Utc,
    /// One or more. The bundle holds the exchanges of the one that read most; of equals, the last.
    pub attempts: Vec<Attempt>,
    /// As in the receipt.
    pub outcome: Outcome,
    /// Why not `collected`, in full; empty when collected.
    pub reason: String,
    /// Whether the first attempt began after the slot's grace.
    pub late: bool,
    /// Whether each kind's list is the whole list.
    #[serde(deserialize_with = "map_without_doubles")]
    pub populations: BTreeMap<String, Population>,
    /// What was not read although the lists may be whole.
    pub gaps: Vec<String>,
    /// How many records of each kind.
    #[serde(deserialize_with = "map_without_doubles")]
    pub records: BTreeMap<String, u64>,
    /// The events read, half open; `None` for a state.
    pub window: Option<Window>,
    /// Other jobs' bundles that a derived job read.
    pub inputs: Vec<Input>,
}

/// The system that answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFacts {
    /// The name in `<collector>@<name>`.
    pub name: String,
    /// `host`.
    pub kind: String,
    /// What it says of itself.
    pub identity: Value,
}

/// The collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectorFacts {
    /// `host/accounts`.
    pub id: String,
    /// Raised when the same exchanges would give other records.
    pub version: u32,
}

/// The program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Its version.
    pub version: String,
}

/// One try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// When it began.
    pub started_at: Utc,
    /// When it ended.
    pub ended_at: Utc,
    /// Why it was not the last, or failed; `None` when it ended well.
    pub error: Option<String>,
}

/// Whether the list of a kind's records is the whole list. The same JSON as the collectors' own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case", deny_unknown_fields)]
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

/// A bundle that was read by a derived job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The collector's name for it.
    pub name: String,
    /// Its archive name; `None` where there was none.
    pub bundle: Option<String>,
    /// Its digest.
    pub sha256: Option<Digest>,
}
