//! spool → seal: the signature, kept in the spool. Without the key, or with a key service away, the entry waits here; nothing else does.
//! Tokens over the signature that came by now are in the seal; it never waits for one, and none enters it later.

use std::fs;

use signing::{
    keys::Use,
    seal::{MAX_TIMESTAMPS, Seal, pae},
    statement::PAYLOAD_TYPE,
    timestamp,
};

use super::{
    Core, PipelineError,
    spool::{SEAL, Spool, Spooled},
};
use crate::{durable::Created, keystore::Keys};

/// An entry with its seal, whose bytes are frozen.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) entry: Spooled,
    pub(super) seal: Vec<u8>,
}

/// What the seal of an entry will hold; the same at each call.
pub(super) fn signature(keys: &Keys, entry: &Spooled) -> Result<[u8; 64], PipelineError> {
    let key_id = &entry.statement.entry.key_id;
    let Some(signer) = keys.signer(key_id) else {
        return Err(PipelineError::KeyGone { entry: entry.dir.display().to_string(), key_id: key_id.clone() });
    };
    Ok(signer.sign(&pae(PAYLOAD_TYPE, &entry.payload))?)
}

/// Signs an entry, unless it has been sealed before. The same entry always gives the same seal.
pub(super) fn seal_entry(core: &Core, spool: &Spool, entry: Spooled) -> Result<Sealed, PipelineError> {
    let said = &entry.statement.entry;
    let keys = core.keys.now();
    let key = keys
        .set
        .key(&said.key_id, Use::Receipts, said.sealed_at)
        .map_err(|source| PipelineError::Key { entry: entry.dir.display().to_string(), source })?;
    let path = entry.dir.join(SEAL);
    if path.try_exists().map_err(spool.failed("look into an entry of"))? {
        let bytes = fs::read(&path).map_err(spool.failed("read a seal of"))?;
        let damaged = |source: Box<dyn std::error::Error + Send + Sync>| PipelineError::Entry {
            entry: path.display().to_string(),
            source,
        };
        let found = Seal::from_bytes(&bytes).map_err(|e| damaged(Box::new(e)))?;
        if found.payload != entry.payload {
            return Err(damaged("it seals another payload than the entry's".into()));
        }
        found.verify(&key).map_err(|e| damaged(Box::new(e)))?;
        // A dead process may have written it without living to sync it.
        spool.disk.create_new(&path, &bytes).map_err(spool.failed("sync a seal of"))?;
        return Ok(Sealed { entry, seal: bytes });
    }
    let signature = signature(&keys, &entry)?;
    let is_over = |token: &Vec<u8>| timestamp::peek(token).is_ok_and(|(imprint, _)| imprint.is_of(&signature));
    let timestamps = spool.tokens(&entry).into_iter().filter(is_over).take(MAX_TIMESTAMPS).collect();
    let bytes = Seal { payload: entry.payload.clone(), key_id: said.key_id.clone(), signature, timestamps }.to_bytes();
    let made = spool.disk.create_new(&path, &bytes).map_err(spool.failed("write a seal into"));
    spool.note(entry.sequence)?;
    match made? {
        Created::New | Created::Same => Ok(Sealed { entry, seal: bytes }),
        Created::Other => {
            let source = "another seal appeared beside ours: a second process uses this state_dir".into();
            Err(PipelineError::Entry { entry: path.display().to_string(), source })
        }
    }
}
