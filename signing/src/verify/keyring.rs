//! Which key may have signed which entry: the revisions of the owner's keys, by their place in the log.

use super::findings::{Code, Findings};
use crate::{
    keys::{KeyEntry, KeySet, PublicKey, Unfit, Use},
    time::{Utc, rfc3339},
};

/// The revisions that the log holds, and one from outside if it was given.
#[derive(Default)]
pub(crate) struct Keyring {
    logged: Vec<(u64, KeySet)>,
    outside: Option<KeySet>,
}

/// Why a key is refused for an entry.
pub(crate) struct Refusal {
    pub code: Code,
    pub says: String,
}

impl Keyring {
    pub fn with_outside(outside: Option<KeySet>) -> Self {
        Self { logged: Vec::new(), outside }
    }

    /// Adds a revision that entry `index` logs.
    pub fn add(&mut self, index: u64, object: &str, set: KeySet, findings: &Findings) {
        if let Some((before, last)) = self.logged.last() {
            match set.follows(last) {
                Ok(()) => {}
                Err(Unfit::Revision { this, before: last }) => {
                    let says = format!("it is revision {this}; entry {before} logged revision {last} already");
                    return findings.add(Code::KeysRevision, object, Some(index), says);
                }
                Err(unfit) => {
                    let says = format!("{unfit} (the revision before is logged by entry {before})");
                    findings.add(Code::KeysSuccession, object, Some(index), says);
                }
            }
        }
        self.logged.push((index, set));
    }

    /// Adds a revision that an entry before the newest ones logs.
    pub fn insert(&mut self, index: u64, object: &str, set: KeySet, findings: &Findings) {
        let at = self.logged.partition_point(|(logged, _)| *logged < index);
        let later = self.logged.split_off(at);
        self.add(index, object, set, findings);
        for (index, set) in later {
            self.add(index, object, set, findings);
        }
    }

    /// Whether there is no revision at all.
    pub fn is_empty(&self) -> bool {
        self.outside.is_none() && self.logged.is_empty()
    }

    /// The revision that holds now.
    pub fn newest(&self) -> Option<&KeySet> {
        let logged = self.logged.last().map(|(_, set)| set);
        [logged, self.outside.as_ref()].into_iter().flatten().max_by_key(|set| set.revision)
    }

    /// The key that entry `index` says it is sealed by at `at`, if it was entitled to.
    ///
    /// A key must have been logged before its first use: in an earlier entry, in this entry itself (the revision that brings it may be
    /// sealed by it), or in the first revision of all. What holds for it is what the newest revision says.
    pub fn receipts_key(&self, index: u64, key_id: &str, at: Utc, by: Option<Utc>) -> Result<PublicKey, Refusal> {
        let refuse = |code, says: String| Err(Refusal { code, says });
        let has = |set: &KeySet| set.keys.iter().any(|k| k.key_id == key_id);
        let first = self.logged.first().map(|(i, _)| *i);
        let known = self.logged.iter().find(|(_, set)| has(set));
        match known {
            Some((logged, _)) if *logged > index && Some(*logged) != first => {
                return refuse(
                    Code::SealKey,
                    format!("its key {key_id} is made known by entry {logged} only, which is later"),
                );
            }
            None if self.outside.as_ref().is_none_or(|set| !has(set)) => {
                return refuse(
                    Code::SealKey,
                    format!("its key {key_id} is in no keys document under the trusted root"),
                );
            }
            _ => {}
        }
        for (logged, set) in self.logged.iter().filter(|(logged, _)| *logged < index) {
            let next = set.keys.iter().find(|k| k.key_id == key_id).and_then(|k| k.superseded_by.as_ref());
            if let Some(next) = next {
                return refuse(
                    Code::SealKey,
                    format!("its key {key_id} was superseded by {next} in the keys that entry {logged} logs"),
                );
            }
        }
        self.current(key_id, Use::Receipts, at, by)
    }

    /// The approver's key by which a document of entry `index` is signed, if it was entitled to. It must have been logged before, and the
    /// document's time is its entry's, which the agent tells, and not what it says itself.
    pub fn approver(&self, index: u64, key_id: &str, at: Utc, by: Option<Utc>) -> Result<&KeyEntry, Refusal> {
        let refuse = |says: String| Err(Refusal { code: Code::ApprovalKey, says });
        let known = self.logged.iter().find(|(_, set)| set.entry(key_id).is_some());
        let newest = self.newest().and_then(|set| set.entry(key_id));
        let Some(key) = newest else {
            return refuse(format!("its key {key_id} is in no keys document under the trusted root"));
        };
        if let Some((logged, _)) = known.filter(|(logged, _)| *logged > index) {
            return refuse(format!("its key {key_id} is made known by entry {logged} only, which is later"));
        }
        for (logged, set) in self.logged.iter().filter(|(logged, _)| *logged < index) {
            if let Some(next) = set.entry(key_id).and_then(|key| key.superseded_by.as_ref()) {
                return refuse(format!(
                    "its key {key_id} was superseded by {next} in the keys that entry {logged} logs"
                ));
            }
        }
        match self.current(key_id, Use::Approvals, at, by) {
            Ok(_) => Ok(key),
            Err(Refusal { code: Code::SealKey, says }) => refuse(says),
            Err(refusal) => Err(refusal),
        }
    }

    /// The key as the newest revision has it, for this use at this time. `by` is the instant by which trusted time shows that it had
    /// signed: only that counts against a compromise, whatever the signer says.
    pub fn current(&self, key_id: &str, use_: Use, at: Utc, by: Option<Utc>) -> Result<PublicKey, Refusal> {
        let Some(newest) = self.newest() else {
            return Err(Refusal { code: Code::KeysNone, says: "no keys are known".to_owned() });
        };
        let since = newest.keys.iter().find(|k| k.key_id == key_id).and_then(|k| k.compromised_since);
        let mut at = at;
        if let Some(since) = since {
            let shown = match by {
                Some(by) if by < since => None,
                Some(by) => Some(format!("trusted time shows only that it had signed by {}", rfc3339(by))),
                None => Some("no trusted time shows when it signed".to_owned()),
            };
            if let Some(shown) = shown {
                let says = format!("the key {key_id} is compromised since {}; {shown}", rfc3339(since));
                return Err(Refusal { code: Code::KeyCompromised, says });
            }
            // It had signed before, whatever its own clock said.
            at = by.map_or(at, |by| by.min(at));
        }
        newest.key(key_id, use_, at).map_err(|refusal| Refusal { code: Code::SealKey, says: refusal.to_string() })
    }

    /// Every key that any revision names for checkpoints, the newest revision first.
    pub fn checkpoint_keys(&self) -> Vec<PublicKey> {
        let mut keys: Vec<PublicKey> = Vec::new();
        let sets = self.outside.iter().chain(self.logged.iter().rev().map(|(_, set)| set));
        for key in sets.flat_map(|set| &set.keys).filter(|k| k.use_ == Use::Checkpoints) {
            if !keys.contains(&key.spki) {
                keys.push(key.spki);
            }
        }
        keys
    }

    /// The keys that another follows without their own signature, since they were lost.
    pub fn lost(&self) -> Vec<&str> {
        let newest = self.newest().into_iter().flat_map(|set| &set.keys);
        newest.filter(|key| key.lost).map(|key| &*key.key_id).collect()
    }

    /// From when on a key is valid.
    pub fn valid_from(&self, key_id: &str) -> Option<Utc> {
        self.newest()?.keys.iter().find(|k| k.key_id == key_id).map(|k| k.valid.from)
    }
}
