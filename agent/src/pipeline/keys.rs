//! `keys.json` on its way into the log, at the start and while the agent runs. What was made for a key comes before the revision in which
//! another follows that key; what is made for the new key comes after.

use std::{
    io::Write,
    sync::{Arc, PoisonError},
};

use signing::{
    digest::Digest,
    errors::chain,
    keys::{KeySet, MAX_KEYS, Use},
    layout,
    log::Checkpoint,
    seal::Seal,
    statement::Statement,
    time::{Utc, rfc3339},
};

use super::{
    Core, Inner, PipelineError,
    append::Log,
    entry,
    spool::{DOCUMENT, SEAL, Spooled},
};
use crate::{
    blocking::blocking,
    keystore::{self, Keys},
};

impl Inner {
    /// Spools the `keys.json` in use, unless it is on its way, or the archive has it: a document is uploaded just before its leaf is
    /// appended, and a seal without a leaf is adopted at the start. (An empty log has no leaf, whatever the archive has.)
    pub(super) async fn spool_keys(self: &Arc<Self>, log: &mut Log) -> Result<(), PipelineError> {
        let core = &self.core;
        let keys = core.keys.now();
        let digest = Digest::of(&keys.document);
        let name = layout::document("keys", digest);
        let (spooled, empty, sealed) = {
            let state = self.state();
            (state.subjects.contains(&name), state.known.is_none(), state.last_sealed)
        };
        if spooled {
            return Ok(());
        }
        if !empty && core.archive.digest(&name).await? == Some(digest) {
            log.keys = Some(digest);
            return Ok(());
        }
        if !empty {
            self.check_revision(&keys, sealed).await?;
        }
        let inner = self.clone();
        blocking(move || inner.spool_revision(&keys)).await
    }

    /// A `keys.json` that the log does not have must be of a later revision than every one that it has, and follow the newest: else
    /// verifiers would find one revision with two contents, or a key that was exchanged, for ever.
    async fn check_revision(&self, keys: &Keys, sealed: Option<Utc>) -> Result<(), PipelineError> {
        let core = &self.core;
        let trust = keys.set.root.fingerprint();
        let mut newest: Option<(String, KeySet)> = None;
        for name in core.archive.list("document/keys/").await? {
            let Some(bytes) = core.archive.read(&name, MAX_KEYS).await? else { continue };
            // What the root did not sign is no revision; `verify` names it.
            let Ok(logged) = KeySet::open(&bytes, &trust) else { continue };
            if newest.as_ref().is_none_or(|(_, set)| set.revision < logged.revision) {
                newest = Some((name, logged));
            }
        }
        let Some((name, before)) = newest else { return Ok(()) };
        if before.revision >= keys.set.revision {
            return Err(PipelineError::Refused(format!(
                "keys.json is not the one that the log has, and it is of revision {}, while {name} in {} is of revision {} already. Put \
                 that file back as keys.json, or have the root's custodian sign a later revision. Nothing was logged",
                keys.set.revision,
                core.archive.place(),
                before.revision
            )));
        }
        check_succession(&keys.set, &before, sealed)
    }

    /// The entry of a keys document, as the last one that knows the keys before it.
    fn spool_revision(&self, keys: &Arc<Keys>) -> Result<(), PipelineError> {
        let digest = Digest::of(&keys.document);
        let name = layout::document("keys", digest);
        let staged = self.spool.stage()?;
        let failed = self.spool.failed("write a document into");
        self.spool
            .disk
            .stage(&staged.join(DOCUMENT), |file| file.write_all(&keys.document))
            .map_err(failed)
            .inspect_err(|_| self.spool.disk.discard(&staged))?;
        let one_at_a_time = self.spooling.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = self.state().plan.as_ref().map(|(digest, _)| *digest);
        let reason = format!("revision {}", keys.set.revision);
        let published = self.publish_in(&one_at_a_time, &staged, None, None, || {
            Ok((entry::document(self.entry_by(keys, plan, self.now_by(keys)), "keys", reason, digest), None))
        });
        // Also where only the sync of its directory failed.
        if self.state().subjects.contains(&name) {
            self.core.keys.change((**keys).clone());
        }
        published.map(|_| ())
    }

    /// Takes a new `keys.json`, if there is one: spools it, and makes everything for its keys from then on. Whether it did.
    pub(super) async fn take_keys(self: &Arc<Self>) -> Result<bool, PipelineError> {
        let inner = self.clone();
        blocking(move || {
            let current = inner.core.keys.now();
            let refused = |why: String| {
                let path = inner.core.keys.path().map(|path| path.display().to_string()).unwrap_or_default();
                Err(PipelineError::Refused(format!(
                    "{path} was changed, but is not taken: {why}. The keys before it stay in use"
                )))
            };
            let mut new = match inner.core.keys.look() {
                Ok(Some(new)) => new,
                Ok(None) => return Ok(false),
                Err(error) => return refused(chain(&error)),
            };
            if new.set.root != current.set.root || new.set.origin != current.set.origin {
                return refused("it is of another root key or origin".to_owned());
            }
            let sealed = inner.state().last_sealed;
            if let Err(error) = check_succession(&new.set, &current.set, sealed) {
                return refused(chain(&error));
            }
            // What this process holds seals what waits, wherever its file is by now.
            for key in [&current.receipts, &current.checkpoints].into_iter().chain(&current.earlier) {
                if new.signer(&key.public().fingerprint()).is_none() {
                    new.earlier.push(key.clone());
                }
            }
            let revision = new.set.revision;
            inner.spool_revision(&Arc::new(new))?;
            tracing::info!(revision, "a new keys.json is in use, and on its way into the log");
            Ok(true)
        })
        .await
    }
}

/// Whether a revision may follow the one before it, with something sealed at `sealed` by the keys before.
fn check_succession(set: &KeySet, before: &KeySet, sealed: Option<Utc>) -> Result<(), PipelineError> {
    set.follows(before).map_err(|unfit| {
        PipelineError::Refused(format!(
            "keys.json cannot follow revision {}: {unfit}. Have the root's custodian sign a revision that can; nothing was logged",
            before.revision
        ))
    })?;
    match keystore::ended(set, before).find(|(_, until)| sealed.is_some_and(|sealed| *until <= sealed)) {
        None => Ok(()),
        Some((key_id, until)) => Err(PipelineError::Refused(format!(
            "keys.json ends the key {key_id} at {}, but something was sealed after that already, and would be refused. Draw the revision up \
             again (`evidenced keys rotate`)",
            rfc3339(until)
        ))),
    }
}

/// Why an entry of the spool can no longer enter the log with its key; `None` where it can. `logged`: whether the `keys.json` in use is
/// before it in the log.
pub(super) fn stranded(keys: &Keys, entry: &Spooled, logged: bool) -> Option<String> {
    let id = &entry.statement.entry.key_id;
    let key = keys.set.entry(id)?;
    let seal = std::fs::read(entry.dir.join(SEAL)).ok();
    if let Some(since) = key.compromised_since {
        let timed = seal
            .as_deref()
            .and_then(|bytes| Seal::from_bytes(bytes).ok())
            .is_some_and(|seal| !seal.timestamps.is_empty());
        if !timed || entry.statement.entry.sealed_at >= since {
            let since = rfc3339(since);
            return Some(format!(
                "its key {id} is compromised since {since}, and no trusted time shows that it was sealed before"
            ));
        }
    }
    if key.superseded_by.is_some() && logged {
        return Some(format!("its key {id} was followed by another before it was logged"));
    }
    (key.lost && seal.is_none() && keys.signer(id).is_none())
        .then(|| format!("its key {id} was lost before it was sealed"))
}

/// Signs a checkpoint. Until the revision that names a new key is under it, it is signed by the key that signed the one before; by both where
/// it is the first that covers that revision; and then by the new one (FORMAT, section 6).
///
/// # Errors
/// The key may not be used then; the key's failures.
pub(super) fn sign(
    core: &Core,
    before: Option<&[u8]>,
    checkpoint: &Checkpoint,
    leaves: &[Vec<u8>],
    at: Utc,
) -> Result<Vec<u8>, PipelineError> {
    let keys = core.keys.now();
    let current = keys.checkpoints.public().fingerprint();
    let known: Vec<_> = keys.set.keys.iter().filter(|k| k.use_ == Use::Checkpoints).map(|k| k.spki).collect();
    let signer = before.and_then(|bytes| Checkpoint::open(bytes, &core.origin, &known).ok()).map(|(_, by)| by);
    let may = |id: &str| keys.set.key(id, Use::Checkpoints, at);
    let old = signer.filter(|by| *by != current && may(by).is_ok()).and_then(|by| keys.signer(&by));
    let document = layout::document("keys", Digest::of(&keys.document));
    let brings =
        leaves.iter().filter_map(|leaf| Statement::from_bytes(leaf).ok()).any(|s| s.subject[0].name == document);
    let refused = |source| PipelineError::Key { entry: layout::CHECKPOINT.to_owned(), source };
    Ok(match old {
        Some(old) if !brings => checkpoint.sign(&**old)?,
        old => {
            may(&current).map_err(refused)?;
            let signers: Vec<_> = [&keys.checkpoints].into_iter().chain(old).map(|key| &**key as _).collect();
            checkpoint.sign_with(&signers)?
        }
    })
}
