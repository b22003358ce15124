//! What verification says: findings with stable codes, limits, and the failure to verify. A finding never says who did it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Mutex,
};

use serde::{Serialize, Serializer};

use super::lock;

/// The most findings that a verdict lists; the rest is counted by code.
pub const MAX_FINDINGS: usize = 10_000;

/// Verification that could not be done: neither intact nor not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {reason}")]
pub struct CannotVerify {
    /// The object's name in the archive, or what else was asked for.
    pub object: String,
    /// What was tried, what was answered, and what to do.
    pub reason: String,
}

impl CannotVerify {
    pub(crate) fn new(object: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { object: object.into(), reason: reason.into() }
    }

    /// A read that failed: not an absence.
    pub(crate) fn read(object: &str, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::PermissionDenied => "; run as a user who may read the whole archive",
            _ => "",
        };
        Self::new(object, format!("reading it failed: {error}{hint}"))
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $means:literal;)*) => {
        /// A finding's stable code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its spelling: `BUNDLE-DIGEST`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The code that is spelled so.
            pub fn named(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.as_str() == text)
            }

            /// What it means for who relies on the archive.
            pub fn means(self) -> &'static str {
                match self { $(Self::$name => $means,)* }
            }
        }
    };
}

codes! {
    /// The checkpoint is no signed note of a tree.
    CheckpointMalformed = "CHECKPOINT-MALFORMED", "Without a readable checkpoint nothing says which entries the log has; nothing else was checked.";
    /// The checkpoint's signature is not by a checkpoint key of the trusted owner.
    CheckpointSignature = "CHECKPOINT-SIGNATURE", "The size and root of the log are not vouched for: entries may have been removed, added or replaced.";
    /// Something is for another origin.
    Origin = "ORIGIN", "This object belongs to another log, or was renamed.";
    /// The recomputed root differs from the checkpoint's.
    LogRoot = "LOG-ROOT", "The entries are not those that the checkpoint was signed over.";
    /// Something signed knew of a longer log.
    LogRolledBack = "LOG-ROLLED-BACK", "The log was longer once: its newest entries were taken away and an older checkpoint put back.";
    /// Something signed knew of another log.
    LogForked = "LOG-FORKED", "Two histories of this log were signed: entries were replaced, or a second log was kept.";
    /// A leaf names a checkpoint that could not yet exist.
    LogOrder = "LOG-ORDER", "The entry stands where it cannot have been logged.";
    /// An entry bundle is gone.
    EntriesMissing = "ENTRIES-MISSING", "These entries are in the log, but what they say is lost.";
    /// An entry bundle was altered.
    EntriesBytes = "ENTRIES-BYTES", "What the log keeps of these entries was changed after it was logged.";
    /// A tile is gone.
    TileMissing = "TILE-MISSING", "Proofs of single entries cannot be made from this archive; the entries themselves were checked without it.";
    /// A tile was altered.
    TileBytes = "TILE-BYTES", "Proofs made from this tile are wrong; the entries themselves were checked without it.";
    /// A package has no proof of inclusion.
    ProofMissing = "PROOF-MISSING", "Nothing in the package shows that the entry is in the log.";
    /// A proof of inclusion cannot be read.
    ProofMalformed = "PROOF-MALFORMED", "This proof shows nothing.";
    /// A proof of inclusion does not hold.
    ProofInclusion = "PROOF-INCLUSION", "The entry is not shown to be in the log, or stands elsewhere in it.";
    /// A sample's file, or its population's, is not there or cannot be read.
    SampleMalformed = "SAMPLE-MALFORMED", "What was drawn, or from what, cannot be told.";
    /// A sample was drawn from another population than the one that it names, or that the log froze.
    SamplePopulation = "SAMPLE-POPULATION", "The sample was not drawn from the population that was fixed before.";
    /// A sample's items are not those that its seed draws.
    SampleDraw = "SAMPLE-DRAW", "Items were exchanged, added or left out: this is not what the seed draws.";
    /// An item's evidence is not what its population names.
    SampleItem = "SAMPLE-ITEM", "The evidence is not that of the item.";
    /// A leaf is no statement of this format.
    LeafMalformed = "LEAF-MALFORMED", "The entry says nothing that can be relied on.";
    /// A leaf is in the log twice, or two leaves name one object.
    LeafTwice = "LEAF-TWICE", "The same evidence is counted twice.";
    /// A leaf's subject is not what its content says.
    LeafSubject = "LEAF-SUBJECT", "The entry and the object that it names do not belong together.";
    /// A receipt contradicts itself.
    LeafContent = "LEAF-CONTENT", "The entry contradicts itself.";
    /// A seal is gone.
    SealMissing = "SEAL-MISSING", "Nobody's signature vouches for this entry.";
    /// A seal cannot be read.
    SealMalformed = "SEAL-MALFORMED", "The signature over this entry was damaged or replaced.";
    /// A seal is over other bytes.
    SealPayload = "SEAL-PAYLOAD", "What was signed is not what was logged.";
    /// A seal's signature does not verify.
    SealSignature = "SEAL-SIGNATURE", "The entry was not signed by the key that it names.";
    /// A seal's key is not accepted.
    SealKey = "SEAL-KEY", "The key that signed this was not entitled to.";
    /// A seal's key is compromised, and no trusted time shows that it was sealed before.
    KeyCompromised = "KEY-COMPROMISED", "Somebody else may have made this entry: no trusted time shows that it is older than the compromise.";
    /// An entry's own time is not within what trusted time allows.
    SealTime = "SEAL-TIME", "The entry was back-dated or dated ahead: it was sealed at another time than it says.";
    /// A token in a seal does not verify.
    SealToken = "SEAL-TOKEN", "The timestamp in this seal does not prove the time that it states.";
    /// An anchor that an entry, or another anchor, rests on is gone.
    AnchorMissing = "ANCHOR-MISSING", "What showed from outside by when the log had these entries was taken away.";
    /// An anchor was altered.
    AnchorBytes = "ANCHOR-BYTES", "What pins the log from outside was changed after it was stored; it proves nothing now.";
    /// An anchored checkpoint is no checkpoint of this size.
    AnchorMalformed = "ANCHOR-MALFORMED", "It pins nothing.";
    /// An anchored checkpoint is neither of this log's past nor signed by its owner.
    AnchorCheckpoint = "ANCHOR-CHECKPOINT", "Somebody put a checkpoint there that is not this log's.";
    /// A token over a checkpoint does not verify.
    AnchorToken = "ANCHOR-TOKEN", "This timestamp does not prove the time that it states.";
    /// A witness's signature does not verify.
    AnchorCosignature = "ANCHOR-COSIGNATURE", "The witness that this names did not sign this checkpoint.";
    /// Too few witnesses signed.
    WitnessQuorum = "WITNESS-QUORUM", "Too few of the witnesses that you rely on have seen this log: another one may have been shown to them.";
    /// No keys document of the log could be used.
    KeysNone = "KEYS-NONE", "No signature could be checked.";
    /// A keys document is not by the trusted root.
    KeysRoot = "KEYS-ROOT", "Keys were put forward that the trusted owner did not sign.";
    /// A keys document does not follow the one before.
    KeysRevision = "KEYS-REVISION", "An older statement about the keys was logged again.";
    /// A keys document takes back what the one before it said, or replaces a key without that key's signature.
    KeysSuccession = "KEYS-SUCCESSION", "Keys were exchanged without the signature of the key before, or made to disappear.";
    /// A bundle is gone.
    BundleMissing = "BUNDLE-MISSING", "The receipt is genuine, the evidence behind it is lost within its time of retention.";
    /// A bundle was altered.
    BundleDigest = "BUNDLE-DIGEST", "The evidence was changed after it was sealed.";
    /// A document is gone.
    DocumentMissing = "DOCUMENT-MISSING", "What was planned or who may sign cannot be read any more.";
    /// A document was altered.
    DocumentDigest = "DOCUMENT-DIGEST", "The document was changed after it was sealed.";
    /// A document is not of its kind's format.
    DocumentMalformed = "DOCUMENT-MALFORMED", "The document was sealed so, but cannot be understood.";
    /// What a person signed does not verify.
    ApprovalSignature = "APPROVAL-SIGNATURE", "Somebody other than the approver whom it names made this, or changed it: it counts for nothing.";
    /// What a person signed is by no key that may.
    ApprovalKey = "APPROVAL-KEY", "Nobody whom the owner had named as approver signed this: it counts for nothing.";
    /// An entry names a plan that does not precede it.
    PlanUnknown = "PLAN-UNKNOWN", "The entry rests on a plan that was not logged before it: what was expected cannot be told.";
    /// A plan does not follow the one before.
    PlanChain = "PLAN-CHAIN", "A plan between two others was left out.";
    /// A plan was sealed before what precedes it.
    PlanOrder = "PLAN-ORDER", "A plan was back-dated, or took force over slots that were already receipted.";
    /// A plan claims receipts that do not precede it.
    PlanWatermark = "PLAN-WATERMARK", "The agent took slots for receipted that are not.";
    /// A plan's schedule cannot be followed.
    PlanSchedule = "PLAN-SCHEDULE", "What the plan promised cannot be computed.";
    /// A slot has no receipt.
    SlotMissing = "SLOT-MISSING", "The plan promised a look at this time, and nothing tells what became of it.";
    /// A slot has two receipts.
    SlotDouble = "SLOT-DOUBLE", "One look was told twice; the first counts.";
    /// Receipts of a job are not in slot order.
    SlotOrder = "SLOT-ORDER", "Receipts were logged in an order that the agent never makes.";
    /// A receipt is for no slot of its plan.
    SlotUnknown = "SLOT-UNKNOWN", "The plan in force names no such look.";
    /// A receipt names another plan than its slot was due under.
    SlotPlan = "SLOT-PLAN", "The receipt rests on a plan that was not in force.";
    /// A missed receipt counts other slots than its plan names.
    SlotCount = "SLOT-COUNT", "The receipt and the plan disagree on how many looks were missed.";
    /// An append's decision is not what was logged.
    AppendBytes = "APPEND-BYTES", "A leftover of the agent's work was changed; no evidence rests on it.";
    /// An object that nothing in the log explains.
    UnknownObject = "UNKNOWN-OBJECT", "Somebody put this there, or the entry that explains it was taken away.";
    /// A later version or a delete marker covers the original.
    ObjectCovered = "OBJECT-COVERED", "Somebody wrote over this object or deleted it; the store kept the original, which was read in its place.";
    /// A bundle's ZIP is not of the strict form.
    DeepZip = "DEEP-ZIP", "The bundle holds more, or other things, than a reader sees.";
    /// A bundle's SHA256SUMS do not agree.
    DeepSums = "DEEP-SUMS", "Files of the bundle are not those that its receipt names.";
    /// A bundle's run.json and its receipt do not agree.
    DeepRun = "DEEP-RUN", "The receipt tells of another run than the bundle.";
    /// A bundle's results and its receipt do not agree.
    DeepResults = "DEEP-RESULTS", "The receipt's numbers are not those of the bundle.";
    /// A bundle's exchanges do not agree with its bodies.
    DeepExchange = "DEEP-EXCHANGE", "What the bundle keeps is not what it says was received.";
    /// A bundle's records do not follow from its exchanges.
    DeepRecords = "DEEP-RECORDS", "The records are not what the received answers say.";
    /// A derived job's input was not logged before it.
    DeepInput = "DEEP-INPUT", "The records rest on evidence that was not in the log.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// One thing that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// The object's name below the origin.
    pub object: String,
    /// The entry that it concerns, from 0.
    pub index: Option<u64>,
    /// What was found, and what should be.
    pub says: String,
    /// [`Code::means`].
    pub meaning: &'static str,
}

impl Finding {
    fn key(&self) -> (u64, &str, Code, &str) {
        // The checkpoint comes first, since everything rests on it; then the entries; then what belongs to none.
        let place = match self.index {
            Some(index) => index + 1,
            None if self.object == crate::layout::CHECKPOINT => 0,
            None => u64::MAX,
        };
        (place, &self.object, self.code, &self.says)
    }
}

impl PartialOrd for Finding {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Finding {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Findings as they come, from every thread: the first [`MAX_FINDINGS`] in order of entry and name are kept, all are counted.
#[derive(Default)]
pub(crate) struct Findings(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    first: BTreeSet<Finding>,
    by_code: BTreeMap<Code, u64>,
    total: u64,
}

impl Findings {
    pub fn add(&self, code: Code, object: impl Into<String>, index: Option<u64>, says: impl Into<String>) {
        let finding = Finding { code, object: object.into(), index, says: says.into(), meaning: code.means() };
        let mut kept = lock(&self.0);
        if kept.first.contains(&finding) {
            return;
        }
        kept.total += 1;
        *kept.by_code.entry(code).or_default() += 1;
        kept.first.insert(finding);
        if kept.first.len() > MAX_FINDINGS {
            kept.first.pop_last();
        }
    }

    /// Gives those of some codes to another.
    pub fn give(&self, to: &Self, which: impl Fn(Code) -> bool) {
        for finding in lock(&self.0).first.iter().filter(|finding| which(finding.code)) {
            to.add(finding.code, &finding.object, finding.index, &finding.says);
        }
    }

    pub fn any(&self) -> bool {
        lock(&self.0).total > 0
    }

    /// In order; how many of each code; how many.
    pub fn finish(self) -> (Vec<Finding>, BTreeMap<Code, u64>, u64) {
        let kept = self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        (kept.first.into_iter().collect(), kept.by_code, kept.total)
    }
}

/// Something that this verdict does not prove, with a stable code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// `TIME-UNTRUSTED`.
    pub code: &'static str,
    /// In words.
    pub says: String,
}
