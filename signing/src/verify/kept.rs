//! Checkpoints that somebody kept outside of the archive, against the log: whether each is of its past.

use serde::Serialize;

use super::{
    findings::{CannotVerify, Code, Findings},
    keyring::Keyring,
};
use crate::{
    digest::Digest,
    errors::chain,
    layout::CHECKPOINT,
    log::{Checkpoint, MAX_CHECKPOINT},
};

/// A checkpoint from outside the archive: a signed note (C2SP tlog-checkpoint), as it was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What messages call it: the file's name.
    pub name: String,
    /// The note.
    pub bytes: Vec<u8>,
}

/// A kept checkpoint, compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// [`Kept::name`].
    pub name: String,
    /// The entries that it is over.
    pub size: u64,
    /// Their root, as it was signed.
    pub root: Digest,
    /// Whether the log had this root at this size; `None` where entries are lost, so that it cannot be computed.
    pub agrees: Option<bool>,
}

impl Kept {
    /// What it says. Who said it is checked once the keys are known.
    pub(super) fn parse(&self, origin: &str) -> Result<Checkpoint, CannotVerify> {
        if self.bytes.len() as u64 > MAX_CHECKPOINT {
            return Err(self.cannot("it is longer than a checkpoint can be".to_owned()));
        }
        let kept = Checkpoint::parse_unverified(&self.bytes).map_err(|e| self.cannot(chain(&e)))?;
        if kept.origin != origin {
            return Err(self.cannot(format!("it is of the log {:?}, not of {origin:?}", kept.origin)));
        }
        Ok(kept)
    }

    fn cannot(&self, reason: String) -> CannotVerify {
        CannotVerify::new(format!("the kept checkpoint {}", self.name), reason)
    }

    /// Compares it with the log, whose root at its size is `root`.
    pub(super) fn compare(
        &self,
        log: &Checkpoint,
        root: impl FnOnce(u64) -> Option<Digest>,
        keyring: &Keyring,
        findings: &Findings,
    ) -> Result<Compared, CannotVerify> {
        let kept = self.parse(&log.origin)?;
        // Without keys nothing can be checked, which is a finding already.
        if !keyring.is_empty() {
            Checkpoint::open(&self.bytes, &log.origin, &keyring.checkpoint_keys())
                .map_err(|e| self.cannot(format!("{}: it pins nothing", chain(&e))))?;
        }
        let Checkpoint { size, root: signed, .. } = kept;
        let agrees = if size > log.size {
            let says = format!(
                "the checkpoint kept in {} is over {size} entries, signed; this log has {}: entries {} to {} were taken away since",
                self.name,
                log.size,
                log.size,
                size - 1
            );
            findings.add(Code::LogRolledBack, CHECKPOINT, None, says);
            Some(false)
        } else {
            let found = root(size);
            if let Some(found) = found.filter(|found| *found != signed) {
                let says = format!(
                    "the checkpoint kept in {} is over {size} entries with root {signed}, signed; the first {size} entries of this \
                     log have the root {found}: what was logged then was replaced since",
                    self.name
                );
                findings.add(Code::LogForked, CHECKPOINT, None, says);
            }
            found.map(|found| found == signed)
        };
        Ok(Compared { name: self.name.clone(), size, root: signed, agrees })
    }
}

/// The most entries that one of them pins.
pub(crate) fn pinned(compared: &[Compared]) -> Option<&Compared> {
    compared.iter().filter(|kept| kept.agrees == Some(true)).max_by_key(|kept| kept.size)
}
