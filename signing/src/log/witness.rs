//! The rules of a witness: C2SP tlog-witness (v1.0.0), "add-checkpoint", without its network, clock and files.
//!
//! A witness remembers, for each log, the newest checkpoint that it signed. It signs a checkpoint of that size with the same root, or a
//! larger one with the proof that it continues the remembered one, and nothing else, ever.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use signed_note::Note;

use super::{
    Checkpoint, EMPTY_ROOT, LogError, MAX_CHECKPOINT, check_consistency,
    checkpoint::{from_vkey, lines_by},
    cosignature::{Cosignature, CosignatureError, WitnessKey, with_lines},
    vkey::VkeyError,
};
use crate::{
    digest::Digest,
    keys::{PublicKey, Signer},
    statement::Known,
    time::Utc,
};

/// The most hashes of a consistency proof.
pub const MAX_PROOF: usize = 63;

/// The most bytes of a checkpoint that is to be signed: with the witness's signature it is still one that is read.
const MAX_UNSIGNED: u64 = MAX_CHECKPOINT - 4096;

/// The most bytes of an add-checkpoint body: an old size, a proof and a checkpoint.
pub const MAX_SUBMISSION: u64 = 32 + MAX_PROOF as u64 * 45 + MAX_UNSIGNED;

/// The media type of a conflict's body, which is the size of the witness's tree and a line feed.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// A log that a witness knows: its origin and the keys that may sign its checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The origin, by which it is told from others.
    pub origin: String,
    /// One or more: several around a rotation.
    pub keys: Vec<PublicKey>,
}

impl Log {
    /// The logs of verifier keys. Keys of one name are of one log.
    ///
    /// # Errors
    /// The text that is no log's verifier key, and why.
    pub fn from_vkeys(vkeys: &[impl AsRef<str>]) -> Result<Vec<Self>, (String, VkeyError)> {
        let mut logs: Vec<Self> = Vec::new();
        for text in vkeys {
            let (origin, key) = from_vkey(text.as_ref()).map_err(|error| (text.as_ref().to_owned(), error))?;
            match logs.iter_mut().find(|log| log.origin == origin) {
                Some(log) if log.keys.contains(&key) => {}
                Some(log) => log.keys.push(key),
                None => logs.push(Self { origin, keys: vec![key] }),
            }
        }
        Ok(logs)
    }
}

/// The body of an add-checkpoint request.
#[derive(Debug)]
pub struct Submission {
    /// The size of the tree that the client takes for the witness's newest.
    pub old_size: u64,
    /// From that tree to the checkpoint's (RFC 6962, 2.1.2).
    pub proof: Vec<Digest>,
    checkpoint: Checkpoint,
    note: Note,
}

impl Submission {
    /// A request for a cosignature on a published checkpoint.
    ///
    /// # Errors
    /// Bytes that are no checkpoint.
    pub fn new(old_size: u64, proof: Vec<Digest>, note: &[u8]) -> Result<Self, LogError> {
        let (checkpoint, note) = Checkpoint::parse_extended(note)?;
        Ok(Self { old_size, proof, checkpoint, note })
    }

    /// Reads a body.
    ///
    /// # Errors
    /// Whatever is longer than [`MAX_SUBMISSION`] or of another shape.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let malformed = Refusal::Malformed;
        if body.len() as u64 > MAX_SUBMISSION {
            return Err(malformed("it is too long"));
        }
        let mut rest = std::str::from_utf8(body).map_err(|_| malformed("it is not UTF-8"))?;
        let mut line = || {
            let (line, after) = rest.split_once('\n')?;
            rest = after;
            Some(line)
        };
        let size = line().and_then(|line| line.strip_prefix("old "));
        let old_size = size.and_then(|size| size.parse::<u64>().ok().filter(|parsed| parsed.to_string() == size));
        let old_size = old_size.ok_or(malformed("its first line is not `old` and a size"))?;
        let mut proof = Vec::new();
        loop {
            let line = line().ok_or(malformed("no empty line ends its proof"))?;
            if line.is_empty() {
                break;
            }
            if proof.len() == MAX_PROOF {
                return Err(malformed("its proof has more than 63 lines"));
            }
            let hash = STANDARD.decode(line).ok().and_then(|hash| hash.try_into().ok());
            proof.push(Digest(hash.ok_or(malformed("a line of its proof is no hash in base64"))?));
        }
        if rest.len() as u64 > MAX_UNSIGNED {
            return Err(malformed("its checkpoint is too long"));
        }
        Self::new(old_size, proof, rest.as_bytes()).map_err(|error| match error {
            LogError::TooLarge(_) => malformed("its checkpoint's tree is larger than 2^40 leaves"),
            _ => malformed("what follows the empty line is no checkpoint"),
        })
    }

    /// The body.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = format!("old {}\n", self.old_size);
        for hash in &self.proof {
            body.push_str(&STANDARD.encode(hash.0));
            body.push('\n');
        }
        body.push('\n');
        [body.as_bytes(), &self.note.to_bytes()].concat()
    }

    /// The checkpoint that is to be signed; nothing of it is known to be true.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The checkpoint's bytes, with its signatures.
    pub fn note(&self) -> Vec<u8> {
        self.note.to_bytes()
    }

    /// Whether a witness signs: `log` is the log of that origin among those that it knows, `held` the newest checkpoint of it that the
    /// witness signed. The rules are those of "add-checkpoint", but for their order: a fork is a fork whatever old size it comes with.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, log: Option<&Log>, held: Option<Known>) -> Result<Accepted, Refusal> {
        let new = &self.checkpoint;
        let log = log.filter(|log| log.origin == new.origin).ok_or_else(|| Refusal::Unknown(new.origin.clone()))?;
        let lines = lines_by(&self.note, &log.origin, &log.keys).map_err(|_| Refusal::Unsigned(log.origin.clone()))?;
        if self.old_size > new.size {
            return Err(Refusal::Malformed("its old size is larger than its checkpoint's"));
        }
        let held = held.unwrap_or(Known { size: 0, root: EMPTY_ROOT });
        let asked = new.known();
        if asked.size == held.size && asked.root != held.root {
            return Err(Refusal::Fork { held, asked });
        }
        if self.old_size != held.size {
            return Err(Refusal::Behind { held: held.size });
        }
        let old = Checkpoint { origin: log.origin.clone(), size: held.size, root: held.root };
        let proof_is_due = 0 < held.size && held.size < new.size;
        if (!proof_is_due && !self.proof.is_empty()) || check_consistency(&self.proof, &old, new).is_err() {
            return Err(Refusal::Inconsistent { held, asked });
        }
        // Of others' lines nothing is known, and they would be kept.
        let note = Note::new(self.note.text(), &lines).map_err(|_| Refusal::Malformed("its checkpoint is no note"))?;
        Ok(Accepted { checkpoint: new.clone(), note })
    }
}

/// A checkpoint that a witness may sign, once it has it durably.
#[derive(Debug)]
pub struct Accepted {
    checkpoint: Checkpoint,
    note: Note,
}

impl Accepted {
    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The witness's signature, and the checkpoint with the log's signatures and this one, which the witness MUST keep durably before the
    /// signature leaves it.
    ///
    /// # Errors
    /// As [`Cosignature::sign`].
    pub fn sign(
        &self,
        witness: &WitnessKey,
        key: &dyn Signer,
        at: Utc,
    ) -> Result<(Cosignature, Vec<u8>), CosignatureError> {
        let cosignature = Cosignature::sign(witness, key, self.note.text(), at)?;
        let note = with_lines(&self.note, std::slice::from_ref(&cosignature));
        Ok((cosignature, note))
    }
}

/// Why a witness does not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not such a request.
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// A log that it was not told of.
    #[error("this witness does not know the log {0:?}")]
    Unknown(String),
    /// Nobody whom it knows signed the checkpoint.
    #[error("the checkpoint is not signed by a key that this witness knows for {0:?}")]
    Unsigned(String),
    /// The client's idea of the witness's newest tree is wrong.
    #[error("the newest tree that this witness signed has {held} leaves")]
    Behind {
        /// Leaves of the newest tree that the witness signed.
        held: u64,
    },
    /// Two trees of one size, both signed by the log: it shows different people different things.
    #[error(
        "FORK: the log signed two trees of {} leaves, one with root {}, which this witness signed, and now one with root {}", held.size,
        held.root, asked.root
    )]
    Fork {
        /// What the witness signed.
        held: Known,
        /// What it was asked to sign.
        asked: Known,
    },
    /// No proof that the new tree continues the old one.
    #[error(
        "the proof does not show that the tree of {} leaves with root {} continues the one of {} leaves with root {}", asked.size,
        asked.root, held.size, held.root
    )]
    Inconsistent {
        /// What the witness signed.
        held: Known,
        /// What it was asked to sign.
        asked: Known,
    },
}

impl Refusal {
    /// The status of the HTTP answer ("add-checkpoint").
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Unsigned(_) => 403,
            Self::Unknown(_) => 404,
            Self::Behind { .. } | Self::Fork { .. } => 409,
            Self::Inconsistent { .. } => 422,
        }
    }

    /// The size that a conflict's body says.
    pub fn held(&self) -> Option<u64> {
        match self {
            Self::Behind { held } => Some(*held),
            Self::Fork { held, .. } => Some(held.size),
            _ => None,
        }
    }

    /// Whether the refused checkpoint, signed by the log, may show that the log was rewritten, and is worth keeping.
    pub fn is_evidence(&self) -> bool {
        matches!(self, Self::Fork { .. } | Self::Inconsistent { .. })
    }
}

#[cfg(test)]
mod tests;
