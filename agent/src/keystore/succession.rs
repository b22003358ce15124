//! Revisions of `keys.json`: a key is followed by another, or told to be compromised. A revision is drawn up here, signed by the keys that
//! are followed, and then by the root, here or elsewhere; it comes into use by replacing `keys.json`, once and whole.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use chrono::TimeDelta;
use signing::{
    keys::{Draft, KeyEntry, KeySet, PublicKey, Signer, Use, is_name},
    time::{Utc, millis, rfc3339},
};

use super::{Keys, KeystoreError, Paths, Place, entry, hold, make_key, open, place, read_set};
use crate::durable::Disk;

/// What a revision changes.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The uses whose keys are followed by new ones.
    pub rotate: Vec<Use>,
    /// The keys that are followed cannot sign that.
    pub lost: bool,
    /// For how long at most the keys that are followed still seal what the agent collects meanwhile.
    pub overlap: TimeDelta,
    /// A key, and since when somebody else may have it.
    pub compromised: Option<(String, Utc)>,
    /// A person's name, and the key with which that person approves from now on.
    pub approver: Option<(String, PublicKey)>,
}

/// Draws up the next revision. New keys are made in files beside those that they follow, or are those that the configuration names in a
/// key service. A key in use that is compromised is followed by a new one.
///
/// # Errors
/// A key that is not known, or not at hand to sign; the disk's.
pub fn draft(disk: &Disk, paths: &Paths, change: &Change, now: Utc) -> Result<Draft, KeystoreError> {
    let impossible = |what: String| Err(KeystoreError::Impossible(what));
    let dir = paths.keys.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
    let _lock = hold(dir)?;
    let (mut set, _) = read_set(&paths.keys)?;
    let now = millis(now);
    set.revision += 1;
    set.made_at = now;
    set.consents = BTreeSet::new();
    let mut rotate = change.rotate.clone();
    if let Some((key_id, since)) = &change.compromised {
        let Some(key) = set.keys.iter_mut().find(|key| key.key_id == *key_id) else {
            return impossible(format!(
                "{key_id} is no key in {}; `evidenced keys list` shows them",
                paths.keys.display()
            ));
        };
        key.compromised_since = Some(millis(*since));
        // A person's key is followed by none: another one is named for the same person.
        if key.use_ != Use::Approvals && key.superseded_by.is_none() && !rotate.contains(&key.use_) {
            rotate.push(key.use_);
        }
    }
    if let Some((name, spki)) = &change.approver {
        if !is_name(name) {
            return impossible(format!("{name:?} is no name: it is 1 to 100 characters of plain text"));
        }
        if set.root == *spki || set.entry(&spki.fingerprint()).is_some() {
            return impossible(format!(
                "{spki} is in {} already: an approver has a key of their own",
                paths.keys.display()
            ));
        }
        set.keys.push(KeyEntry { name: Some(name.clone()), ..entry(*spki, Use::Approvals, now) });
    }
    let mut consents: Vec<Arc<dyn Signer>> = Vec::new();
    for use_ in rotate {
        let Some(old) = set.in_use(use_).map(|key| key.key_id.clone()) else {
            return impossible(format!("{} has not exactly one key in use for {use_}", paths.keys.display()));
        };
        let Some(place) = paths.of(use_) else {
            return impossible(format!("keys for {use_} are people's: no key follows one by itself"));
        };
        let new = match place {
            Place::File(path) => *make_key(disk, &place::successor(path, set.revision))?.public(),
            // The operator has made it there, and the configuration names it.
            service => service.ask_public()?,
        };
        if !change.lost {
            consents.push(signer(paths, &set, (use_, place), &old)?);
        }
        let next = new.fingerprint();
        if set.entry(&next).is_some() {
            return impossible(format!("{place} holds {next}, which {} has already", paths.keys.display()));
        }
        for key in set.keys.iter_mut().filter(|key| key.key_id == old) {
            key.superseded_by = Some(next.clone());
            key.lost = change.lost;
            key.valid.until =
                Some(key.valid.until.map_or(now + change.overlap, |until| until.min(now + change.overlap)));
        }
        set.keys.push(entry(new, use_, now));
    }
    let consents: Vec<&dyn Signer> = consents.iter().map(|key| &**key).collect();
    let failed = |source| KeystoreError::Set { path: paths.keys.clone(), source };
    let draft = Draft::new(&set, &consents).map_err(failed)?;
    let path = paths.request();
    disk.replace(&path, &draft.to_bytes()).map_err(|source| KeystoreError::Io { action: "write", path, source })?;
    Ok(draft)
}

/// The signer with this id, in a use's place or among the earlier ones.
fn signer(
    paths: &Paths,
    set: &KeySet,
    (use_, own): (Use, &Place),
    key_id: &str,
) -> Result<Arc<dyn Signer>, KeystoreError> {
    for place in [own].into_iter().chain(&paths.earlier) {
        let found = place.open(set, use_)?.into_iter().find(|(_, key)| key.public().fingerprint() == key_id);
        if let Some((_, key)) = found {
            return Ok(key);
        }
    }
    Err(KeystoreError::Impossible(format!(
        "the key {key_id} is not in {own}, and must sign its own succession: put it back, or, if it is lost, say so with --lost"
    )))
}

/// Puts a `keys.json` that the root signed in the place of the one in use. One that cannot follow it, or whose keys are not here, is
/// refused, and changes nothing.
///
/// # Errors
/// Why it cannot be used; the disk's.
pub fn install(disk: &Disk, paths: &Paths, document: &[u8], now: Utc) -> Result<Keys, KeystoreError> {
    let dir = paths.keys.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
    let _lock = hold(dir)?;
    let set =
        KeySet::open_untrusted(document).map_err(|source| KeystoreError::Set { path: paths.request(), source })?;
    if super::exists(&paths.keys)? {
        let (before, bytes) = read_set(&paths.keys)?;
        if bytes == document {
            return open(paths);
        }
        if before.root != set.root || before.origin != set.origin {
            return Err(KeystoreError::Impossible(format!(
                "it is for {} under the root {}; {} is for {} under {}",
                set.origin,
                set.root,
                paths.keys.display(),
                before.origin,
                before.root
            )));
        }
        set.follows(&before).map_err(|source| KeystoreError::Unfit { path: paths.keys.clone(), source })?;
        if let Some((key_id, until)) = ended(&set, &before).find(|(_, until)| *until <= now) {
            return Err(KeystoreError::Impossible(format!(
                "it ends the key {key_id} at {}, which is past: what the agent sealed since would be refused. Draw the revision up again",
                rfc3339(until)
            )));
        }
    }
    // With everything that it needs, before it takes the place of what works.
    let beside = paths.request();
    disk.replace(&beside, document).map_err(|source| KeystoreError::Io {
        action: "write",
        path: beside.clone(),
        source,
    })?;
    open(&Paths { keys: beside, ..paths.clone() })?;
    disk.replace(&paths.keys, document).map_err(|source| KeystoreError::Io {
        action: "write",
        path: paths.keys.clone(),
        source,
    })?;
    open(paths)
}

/// The keys that a revision ends, which the one before it did not, with their ends.
pub(crate) fn ended<'a>(set: &'a KeySet, before: &'a KeySet) -> impl Iterator<Item = (&'a str, Utc)> {
    set.keys.iter().filter_map(|key| {
        let was = before.entry(&key.key_id)?;
        let until = key.valid.until.filter(|until| was.valid.until != Some(*until))?;
        (key.use_ != Use::Approvals && !key.lost && key.compromised_since.is_none()).then_some((&*key.key_id, until))
    })
}
