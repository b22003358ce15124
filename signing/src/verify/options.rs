//! What an auditor gives a verification, and what it tells while it goes on.

use super::{Kept, Rederive};
use crate::{
    log::cosignature::WitnessKey,
    statement::{Body, Statement},
    time::Utc,
    timestamp::Roots,
};

/// What to verify against, and how.
pub struct Options<'a> {
    /// The owner's root key by fingerprint, from outside the archive.
    pub trust: String,
    /// The log that it must be; `None` takes what the checkpoint says, which the keys must then confirm.
    pub origin: Option<String>,
    /// The name of the directory that holds the origin, where it was found by its name.
    pub directory: Option<String>,
    /// Up to when slots and retention are judged; `None`: the sealing of the newest entry.
    pub as_of: Option<Utc>,
    /// Opens each bundle and derives its records again.
    pub deep: Option<&'a dyn Rederive>,
    /// How many threads; `None`: one for each core.
    pub threads: Option<usize>,
    /// A newer `keys.json` from outside the archive.
    pub keys: Option<Vec<u8>>,
    /// What seals and bundles are looked for; `None`: all.
    pub part: Option<Part>,
    /// Whose timestamps are believed.
    pub timestamp_roots: Roots,
    /// Whose cosignatures are believed, and how many of them a checkpoint needs.
    pub witnesses: Witnesses,
    /// Looks at nothing but what was logged after this checkpoint, which the auditor kept: the log's past is proved to be that of the
    /// checkpoint from tiles. Where it is not, everything is read, and the verdict says why.
    pub since: Option<Kept>,
    /// More checkpoints that were kept outside of the archive, to be compared with the log.
    pub kept: Vec<Kept>,
}

/// The witnesses that an auditor relies on.
#[derive(Debug, Clone, Default)]
pub struct Witnesses {
    /// Each by its key.
    pub keys: Vec<WitnessKey>,
    /// How many of them must have signed a checkpoint; `None`: all.
    pub needed: Option<usize>,
}

impl Witnesses {
    pub(super) fn needed(&self) -> usize {
        self.needed.unwrap_or(self.keys.len())
    }
}

/// A part of an archive by time: runs by their slot, those by hand by their start, and every document. The log is always read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The first instant.
    pub from: Utc,
    /// The first instant after it.
    pub to: Utc,
}

impl Part {
    /// Whether the entry's seal and bundle belong to it.
    pub fn has(&self, statement: &Statement) -> bool {
        let (first, last) = match &statement.body {
            Body::Receipt(receipt) => {
                let at = receipt.slot.unwrap_or(receipt.started_at);
                (at, at)
            }
            Body::Missed(missed) => (missed.first, missed.last),
            Body::Document(_) => return true,
        };
        first < self.to && last >= self.from
    }
}

impl Options<'_> {
    /// Verification under a root key, with the defaults.
    pub fn trusting(trust: impl Into<String>) -> Self {
        Self {
            trust: trust.into(),
            origin: None,
            directory: None,
            as_of: None,
            deep: None,
            threads: None,
            keys: None,
            part: None,
            timestamp_roots: Roots::public(),
            witnesses: Witnesses::default(),
            since: None,
            kept: Vec::new(),
        }
    }
}

/// How far verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Entries, or objects.
    pub done: u64,
    /// Of how many; 0 where that is not known.
    pub total: u64,
}

/// What verification does, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading timestamps and cosignatures.
    Anchors,
    /// Reading the log.
    Log,
    /// Checking seals, bundles and documents.
    Objects,
    /// Looking for what the log does not explain.
    Listing,
}
