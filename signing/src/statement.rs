//! The leaves of the log: in-toto Statement v1, one predicate type for each kind, at most [`MAX_PAYLOAD`] bytes.
//!
//! A statement's bytes are made once, by [`Statement::to_bytes`], signed as they are and logged as they are; nothing here is ever
//! serialised again to be compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{digest::Digest, layout::Job, time::Utc};

/// The most bytes that a payload may have: AWS KMS signs at most 4,096 bytes of pre-authentication encoding.
pub const MAX_PAYLOAD: usize = 3_800;

/// DSSE's payload type for in-toto.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// in-toto Statement v1.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// A predicate type URI for each kind.
pub const RECEIPT_V1: &str = "urn:evidenced:receipt:v1";
/// See [`Missed`].
pub const MISSED_V1: &str = "urn:evidenced:missed:v1";
/// See [`Document`].
pub const DOCUMENT_V1: &str = "urn:evidenced:document:v1";

/// A parsed statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// One or two subjects. Receipt: the bundle by its archive name, then `SHA256SUMS` inside it. Document: the document by its
    /// archive name. Missed: its plan by its archive name.
    pub subject: Vec<Subject>,
    /// What is common to all leaves.
    pub entry: Entry,
    /// What is said.
    pub body: Body,
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// An archive name, or `SHA256SUMS`.
    pub name: String,
    /// Its digests.
    pub digest: DigestSet,
}

/// in-toto's DigestSet with the one algorithm used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestSet {
    /// SHA-256.
    pub sha256: Digest,
}

/// The member `entry` of every predicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The log that this leaf is for.
    pub origin: String,
    /// The key that signs it, as an OpenSSH fingerprint (`SHA256:…`).
    pub key_id: String,
    /// The plan that was in force (for a receipt: the one that the slot was due under). `None` only in keys and plan documents
    /// before the first plan.
    pub plan: Option<Digest>,
    /// By the agent's clock.
    pub sealed_at: Utc,
    /// The newest checkpoint that the agent knew: the lower bound of the sealing's time.
    pub checkpoint: Option<Known>,
    /// The running agent's random id: another one at each start.
    pub instance: String,
}

/// A checkpoint's size and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Leaves.
    pub size: u64,
    /// RFC 6962 root.
    pub root: Digest,
}

/// The predicate's other member, named for its kind: `receipt`, `missed` or `document`.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// A run with its bundle.
    Receipt(Receipt),
    /// Slots that no run will fill.
    Missed(Missed),
    /// A document of the archive.
    Document(Document),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything that the collector reads was read, or proved absent.
    Collected,
    /// Something was refused, cut short or not there to be read.
    Partial,
    /// Nothing usable was read.
    Failed,
}

/// What is said of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// `<collector>@<source>`.
    pub job: Job,
    /// The scheduled instant; `None` for a run asked for by hand.
    pub slot: Option<Utc>,
    /// When the first attempt began.
    pub started_at: Utc,
    /// When the last attempt ended.
    pub ended_at: Utc,
    /// One or more.
    pub attempts: u32,
    /// Whether the first attempt began after the slot's grace.
    pub late: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Why not `collected`, cut to what fits; empty when collected.
    pub reason: String,
    /// Records of all kinds.
    pub records: u64,
    /// Sums over all checks.
    pub totals: Counts,
    /// The digest of `results.json` in the bundle.
    pub results: Digest,
    /// The counts of each check, where all of them fit into the payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<BTreeMap<String, Counts>>,
    /// The events read, half open; `None` for a state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// `[from, to)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The first instant.
    pub from: Utc,
    /// The first instant after it.
    pub to: Utc,
}

/// The rows of a check by result.
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

/// Consecutive slots of one job under one plan that will not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missed {
    /// `<collector>@<source>`.
    pub job: Job,
    /// The first slot.
    pub first: Utc,
    /// The last slot; the first where there is one.
    pub last: Utc,
    /// How many.
    pub count: u64,
    /// Why.
    pub cause: Cause,
    /// In words.
    pub detail: String,
}

/// Why slots were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No agent was running.
    Down,
    /// The job's run before was still going.
    Overrun,
    /// The agent died during the run and nothing of it was spooled.
    Crashed,
    /// The clock moved past the slot while the agent was up (suspended machine, clock set forward).
    Clock,
    /// No room to spool, or no run could be started.
    Blocked,
}

/// A document of the archive: the subject names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// `plan` or `keys`; later kinds are added under the same predicate type.
    pub kind: String,
    /// Why it was written: `started`, `restated`, `paused: …`, `keys made`.
    pub reason: String,
}
