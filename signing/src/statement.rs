//! The leaves of the log: in-toto Statement v1, one predicate type for each kind, at most [`MAX_PAYLOAD`] bytes.
//!
//! A statement's bytes are made once, by [`Statement::to_bytes`], signed as they are and logged as they are; nothing here is ever
//! serialised again to be compared.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;

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
    /// The newest checkpoint that the agent knew: everything under it was sealed before.
    pub checkpoint: Option<Known>,
    /// The newest token over a checkpoint that the agent had: its signature could not be known before its time, so that the entry was
    /// sealed after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Anchored>,
    /// The running agent's random id: another one at each start.
    pub instance: String,
}

/// A stored token over a checkpoint: `anchor/<size>/<token>.tsr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchored {
    /// The size of the checkpoint's tree.
    pub size: u64,
    /// The SHA-256 of the response's bytes (RFC 3161, TimeStampResp).
    pub token: Digest,
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
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_map_without_doubles")]
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
    /// Whether every event in it was read.
    pub whole: bool,
    /// The end of the newest window that an earlier run of the job read whole; `None`: the agent knew of none. Before `from`, it tells of
    /// events that the source no longer keeps and no run read.
    pub previous: Option<Utc>,
}

impl Window {
    /// The end of the newest window that was read whole, this one included.
    pub fn read_to(&self) -> Option<Utc> {
        if self.whole { Some(self.to) } else { self.previous }
    }
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

/// The name of a receipt's second subject: the list of digests inside its bundle.
pub const SUMS: &str = "SHA256SUMS";

/// Bytes that are no statement of this format, or a statement that may not be written.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Longer than [`MAX_PAYLOAD`].
    #[error("the statement has {0} bytes; at most {MAX_PAYLOAD} can be signed")]
    TooLong(usize),
    /// Written by a newer agent, or for something else: it can be neither believed nor refused here.
    #[error("this verifier does not know the predicate type {0:?}; a newer one may")]
    UnknownPredicate(String),
    /// `_type` is something else.
    #[error("the statement's _type is {0:?}, not {STATEMENT_TYPE:?}")]
    Type(String),
    /// The subjects are not those of the predicate type.
    #[error("a statement of type {predicate} has {wanted}, but this one names {found:?}")]
    Subjects {
        /// Its predicate type.
        predicate: &'static str,
        /// What it should name.
        wanted: &'static str,
        /// What it names.
        found: Vec<String>,
    },
    /// Not JSON, or with members missing, doubled or unknown.
    #[error("the statement is malformed")]
    Malformed(#[from] serde_json::Error),
}

impl Statement {
    /// Compact JSON, members in the order of the structs: the bytes that are signed and logged.
    ///
    /// # Errors
    /// Subjects that do not fit the kind, and more than [`MAX_PAYLOAD`] bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StatementError> {
        check_subjects(self.body.predicate_type(), &self.subject)?;
        let entry = &self.entry;
        let predicate = match &self.body {
            Body::Receipt(receipt) => Predicate::Receipt { entry, receipt },
            Body::Missed(missed) => Predicate::Missed { entry, missed },
            Body::Document(document) => Predicate::Document { entry, document },
        };
        let bytes = serde_json::to_vec(&Written {
            type_: STATEMENT_TYPE,
            subject: &self.subject,
            predicate_type: self.body.predicate_type(),
            predicate,
        })?;
        if bytes.len() > MAX_PAYLOAD {
            return Err(StatementError::TooLong(bytes.len()));
        }
        Ok(bytes)
    }

    /// Parses a leaf. Members that are unknown or doubled, another `_type` and other subjects than the kind's are refused.
    ///
    /// # Errors
    /// [`StatementError::UnknownPredicate`] for a kind of a later version, apart from what is malformed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StatementError> {
        if bytes.len() > MAX_PAYLOAD {
            return Err(StatementError::TooLong(bytes.len()));
        }
        let read: Read<'_> = serde_json::from_slice(bytes)?;
        if read.type_ != STATEMENT_TYPE {
            return Err(StatementError::Type(read.type_));
        }
        let predicate = read.predicate.get();
        let (entry, body) = match read.predicate_type.as_str() {
            RECEIPT_V1 => {
                let p: ReceiptPredicate = serde_json::from_str(predicate)?;
                (p.entry, Body::Receipt(p.receipt))
            }
            MISSED_V1 => {
                let p: MissedPredicate = serde_json::from_str(predicate)?;
                (p.entry, Body::Missed(p.missed))
            }
            DOCUMENT_V1 => {
                let p: DocumentPredicate = serde_json::from_str(predicate)?;
                (p.entry, Body::Document(p.document))
            }
            _ => return Err(StatementError::UnknownPredicate(read.predicate_type)),
        };
        check_subjects(body.predicate_type(), &read.subject)?;
        Ok(Self { subject: read.subject, entry, body })
    }

    /// The SHA-256 of the payload's bytes: it names the seal. (The Merkle leaf hash is another one.)
    pub fn leaf_digest(bytes: &[u8]) -> Digest {
        Digest::of(bytes)
    }
}

impl Body {
    /// The predicate type URI of the kind.
    pub fn predicate_type(&self) -> &'static str {
        match self {
            Self::Receipt(_) => RECEIPT_V1,
            Self::Missed(_) => MISSED_V1,
            Self::Document(_) => DOCUMENT_V1,
        }
    }
}

fn check_subjects(predicate: &'static str, subjects: &[Subject]) -> Result<(), StatementError> {
    let (fits, wanted) = match predicate {
        RECEIPT_V1 => (
            matches!(subjects, [bundle, sums] if bundle.name != SUMS && sums.name == SUMS),
            "two subjects, the bundle and its SHA256SUMS",
        ),
        MISSED_V1 => (subjects.len() == 1, "one subject, the plan"),
        _ => (subjects.len() == 1, "one subject, the document"),
    };
    if fits {
        return Ok(());
    }
    let found = subjects.iter().map(|s| s.name.clone()).collect();
    Err(StatementError::Subjects { predicate, wanted, found })
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "_type")]
    type_: &'static str,
    subject: &'a [Subject],
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: Predicate<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Predicate<'a> {
    Receipt { entry: &'a Entry, receipt: &'a Receipt },
    Missed { entry: &'a Entry, missed: &'a Missed },
    Document { entry: &'a Entry, document: &'a Document },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<'a> {
    #[serde(rename = "_type")]
    type_: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    #[serde(borrow)]
    predicate: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptPredicate {
    entry: Entry,
    receipt: Receipt,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MissedPredicate {
    entry: Entry,
    missed: Missed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentPredicate {
    entry: Entry,
    document: Document,
}

/// A map of which no key comes twice: serde's own takes the last one, so that two readers could see different counts.
pub(crate) fn map_without_doubles<'de, D, V>(d: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    struct Visitor<V>(PhantomData<V>);
    impl<'de, V: Deserialize<'de>> de::Visitor<'de> for Visitor<V> {
        type Value = BTreeMap<String, V>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: de::MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry::<String, V>()? {
                if map.contains_key(&key) {
                    return Err(de::Error::custom(format!("the member {key:?} comes twice")));
                }
                map.insert(key, value);
            }
            Ok(map)
        }
    }
    d.deserialize_map(Visitor(PhantomData))
}

fn some_map_without_doubles<'de, D, V>(d: D) -> Result<Option<BTreeMap<String, V>>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    map_without_doubles(d).map(Some)
}

#[cfg(test)]
mod tests;
