//! `keys.json`: the keys of an origin under its owner's root key, and which of them may sign what, when.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use super::{Draft, PublicKey, SignError, Signer};
use crate::{
    seal::SealError,
    time::{Utc, rfc3339},
};

/// The payload type of `keys.json`.
pub const PAYLOAD_TYPE: &str = "application/vnd.evidenced.keys+json";

/// The value of [`KeySet::format`].
pub const FORMAT: &str = "evidenced-keys/1";

/// The most bytes of a `keys.json` that are read.
pub const MAX_KEYS: u64 = 1024 * 1024;

/// The most characters of an approver's name.
pub const MAX_NAME: usize = 100;

/// Whether it can be an approver's name: 1 to [`MAX_NAME`] characters, none of them for control, no space at its ends.
pub fn is_name(name: &str) -> bool {
    let length = name.chars().count();
    (1..=MAX_NAME).contains(&length) && name.trim() == name && !name.chars().any(char::is_control)
}

/// What a key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// Leaves of the log.
    Receipts,
    /// Checkpoints.
    Checkpoints,
    /// Waivers, responses and decisions: a person's key, never the agent's.
    Approvals,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Receipts => "receipts",
            Self::Checkpoints => "checkpoints",
            Self::Approvals => "approvals",
        })
    }
}

/// The keys of an origin: the payload of `keys.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySet {
    /// `evidenced-keys/1`.
    pub format: String,
    /// The log that they are for.
    pub origin: String,
    /// 1, 2, 3 …: a higher one replaces a lower one.
    pub revision: u64,
    /// The owner's root key, which signs this set and nothing else.
    pub root: PublicKey,
    /// Every key that ever signed for this origin.
    pub keys: Vec<KeyEntry>,
    /// By the clock of whoever drew it up.
    pub made_at: Utc,
    /// The ids of the keys in it that signed it beside the root: a key's consent to being followed by another. They are the envelope's,
    /// not the payload's.
    #[serde(skip)]
    pub consents: BTreeSet<String>,
}

/// One key of an origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// The OpenSSH fingerprint of `spki`.
    pub key_id: String,
    /// The key.
    pub spki: PublicKey,
    /// What it may sign.
    #[serde(rename = "use")]
    pub use_: Use,
    /// Of an approver's key the person's name; other keys have none, and leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it may.
    pub valid: Validity,
    /// From when on somebody else may have had it.
    pub compromised_since: Option<Utc>,
    /// The id of the key that followed it.
    pub superseded_by: Option<String>,
    /// It could not sign the revision that says by which key it is followed. Left out where it is false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// `[from, until)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validity {
    /// The first instant.
    pub from: Utc,
    /// The first instant after it; `None` without an end.
    pub until: Option<Utc>,
}

/// A `keys.json` that cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Not a DSSE envelope with one signature.
    #[error("keys.json is malformed")]
    Envelope(#[from] SealError),
    /// Not a key set.
    #[error("the key set in keys.json is malformed")]
    Json(#[from] serde_json::Error),
    /// A key set that says two things, or not enough.
    #[error("the key set in keys.json is inconsistent: {0}")]
    Inconsistent(String),
    /// Signed by another root than the auditor's.
    #[error(
        "keys.json is under the root key {found}, but {trusted} is trusted: this is another owner's archive, or the fingerprint is wrong"
    )]
    TrustMismatch {
        /// What the caller trusts.
        trusted: String,
        /// What the file carries.
        found: String,
    },
    /// Altered after signing, or never signed by the root that it names.
    #[error("the signature over keys.json is not by its root key {0}")]
    Signature(String),
    /// A signature beside the root's that is by no key of the set, or does not verify.
    #[error("keys.json carries a signature by {0} that is none of a key in it")]
    Consent(String),
    /// The root did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Why a revision cannot follow the one before it in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is no later one.
    #[error("it is revision {this}, after revision {before}")]
    Revision {
        /// Its own.
        this: u64,
        /// The one before it.
        before: u64,
    },
    /// What signed once must stay known.
    #[error("it does not name the key {0} any more")]
    Gone(String),
    /// A key's use, name, beginning and successor stay as they were said.
    #[error("it says of the key {0} another use, name, beginning or successor than before")]
    Changed(String),
    /// Another key takes its place, and it had no say in that.
    #[error("the key {0} is superseded in it, but did not sign it, and is not said to be lost")]
    NoConsent(String),
}

/// Why a key is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// Not in the set.
    #[error("the key {0} is not in keys.json")]
    Unknown(String),
    /// In the set for something else.
    #[error("the key {key_id} is for {may}, not for {asked}")]
    WrongUse {
        /// Its id.
        key_id: String,
        /// What it may sign.
        may: Use,
        /// What it signed.
        asked: Use,
    },
    /// Used before its time.
    #[error("the key {key_id} is valid from {}, after {}", rfc3339(*.from), rfc3339(*.at))]
    NotYetValid {
        /// Its id.
        key_id: String,
        /// Its first instant.
        from: Utc,
        /// When it signed.
        at: Utc,
    },
    /// Used after its time.
    #[error("the key {key_id} was valid until {}, not at {}", rfc3339(*.until), rfc3339(*.at))]
    Expired {
        /// Its id.
        key_id: String,
        /// The first instant after its validity.
        until: Utc,
        /// When it signed.
        at: Utc,
    },
    /// Somebody else may have used it.
    #[error("the key {key_id} is compromised since {}, before {}", rfc3339(*.since), rfc3339(*.at))]
    Compromised {
        /// Its id.
        key_id: String,
        /// As the set says.
        since: Utc,
        /// When it signed.
        at: Utc,
    },
}

impl KeySet {
    /// Signs the set: the bytes of `keys.json`, a DSSE envelope.
    ///
    /// # Errors
    /// A signer that is not the set's root, an inconsistent set, and the signer's own failures.
    pub fn sign(&self, root: &dyn Signer) -> Result<Vec<u8>, KeysError> {
        Draft::new(self, &[])?.sign(root)
    }

    /// Reads and verifies `keys.json` under the root key whose fingerprint the caller trusts.
    ///
    /// # Errors
    /// Another root, a signature that is not the root's, and whatever is malformed.
    pub fn open(bytes: &[u8], trust: &str) -> Result<Self, KeysError> {
        let set = Self::open_untrusted(bytes);
        let found = match &set {
            Ok(set) => set.root.fingerprint(),
            Err(KeysError::Signature(root)) => root.clone(),
            Err(_) => return set,
        };
        match found == trust {
            true => set,
            false => Err(KeysError::TrustMismatch { trusted: trust.to_owned(), found }),
        }
    }

    /// The same under the root key that the file itself names: for showing what is there. It proves nothing about whose it is.
    ///
    /// # Errors
    /// As [`KeySet::open`], but for the trust.
    pub fn open_untrusted(bytes: &[u8]) -> Result<Self, KeysError> {
        let draft = Draft::from_bytes(bytes)?;
        match draft.is_signed() {
            true => Ok(draft.into_set()),
            false => Err(KeysError::Signature(draft.set().root.fingerprint())),
        }
    }

    /// Whether this revision may follow an earlier one, `before`, in the log: every key of `before` is still in it, as it was, and one
    /// that is followed by another from now on signed this revision too, or is said to be lost (FORMAT, section 5).
    ///
    /// # Errors
    /// What does not fit.
    pub fn follows(&self, before: &Self) -> Result<(), Unfit> {
        if self.revision <= before.revision {
            return Err(Unfit::Revision { this: self.revision, before: before.revision });
        }
        let now: BTreeMap<&str, &KeyEntry> = self.keys.iter().map(|key| (&*key.key_id, key)).collect();
        for old in &before.keys {
            let Some(new) = now.get(&*old.key_id) else { return Err(Unfit::Gone(old.key_id.clone())) };
            if new.use_ != old.use_ || new.name != old.name || new.valid.from != old.valid.from {
                return Err(Unfit::Changed(old.key_id.clone()));
            }
            match (&old.superseded_by, &new.superseded_by) {
                (Some(old_next), next) if next.as_ref() != Some(old_next) || new.lost != old.lost => {
                    return Err(Unfit::Changed(old.key_id.clone()));
                }
                (None, Some(_)) if !new.lost && !self.consents.contains(&old.key_id) => {
                    return Err(Unfit::NoConsent(old.key_id.clone()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The key for this use that no other follows; `None` where there is none, or more than one.
    pub fn in_use(&self, use_: Use) -> Option<&KeyEntry> {
        let mut open = self.keys.iter().filter(|key| key.use_ == use_ && key.superseded_by.is_none());
        open.next().filter(|_| open.next().is_none())
    }

    /// The key with this id.
    pub fn entry(&self, key_id: &str) -> Option<&KeyEntry> {
        self.keys.iter().find(|key| key.key_id == key_id)
    }

    /// The key with this id, if it may be used so at that instant.
    ///
    /// # Errors
    /// Why it may not.
    pub fn key(&self, key_id: &str, use_: Use, at: Utc) -> Result<PublicKey, KeyRefusal> {
        let Some(entry) = self.keys.iter().find(|k| k.key_id == key_id) else {
            return Err(KeyRefusal::Unknown(key_id.to_owned()));
        };
        let key_id = entry.key_id.clone();
        if entry.use_ != use_ {
            return Err(KeyRefusal::WrongUse { key_id, may: entry.use_, asked: use_ });
        }
        if let Some(since) = entry.compromised_since.filter(|since| *since <= at) {
            return Err(KeyRefusal::Compromised { key_id, since, at });
        }
        if at < entry.valid.from {
            return Err(KeyRefusal::NotYetValid { key_id, from: entry.valid.from, at });
        }
        match entry.valid.until {
            Some(until) if until <= at => Err(KeyRefusal::Expired { key_id, until, at }),
            _ => Ok(entry.spki),
        }
    }

    pub(super) fn check(&self) -> Result<(), KeysError> {
        let wrong = |what: String| Err(KeysError::Inconsistent(what));
        if self.format != FORMAT {
            return wrong(format!("its format is {:?}, not {FORMAT:?}", self.format));
        }
        if self.origin.is_empty() || self.revision == 0 {
            return wrong("it needs an origin and a revision from 1 on".to_owned());
        }
        let mut ids = BTreeSet::from([self.root.fingerprint()]);
        for key in &self.keys {
            let id = key.spki.fingerprint();
            if id != key.key_id {
                return wrong(format!("the key named {} has the fingerprint {id}", key.key_id));
            }
            match (&key.name, key.use_) {
                (Some(name), Use::Approvals) if is_name(name) => {}
                (None, Use::Receipts | Use::Checkpoints) => {}
                (Some(_), Use::Approvals) => {
                    return wrong(format!(
                        "the key {id} has a name that is empty, over {MAX_NAME} characters, or no plain text"
                    ));
                }
                (None, Use::Approvals) => return wrong(format!("the key {id} is for approvals and names nobody")),
                (Some(_), _) => return wrong(format!("the key {id} has a name, but is for {}", key.use_)),
            }
            if key.valid.until.is_some_and(|until| until <= key.valid.from) {
                return wrong(format!("the key {id} is never valid"));
            }
            if !ids.insert(id) {
                return wrong(format!("the key {} comes twice, or is the root", key.key_id));
            }
        }
        for key in &self.keys {
            if let Some(next) = &key.superseded_by
                && (next == &key.key_id || !self.keys.iter().any(|k| &k.key_id == next && k.use_ == key.use_))
            {
                return wrong(format!("{} is superseded by {next}, which is no other key of the same use", key.key_id));
            }
            if key.lost && key.superseded_by.is_none() {
                return wrong(format!("{} is lost, but no key follows it", key.key_id));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        keys::FileKey,
        seal::{Envelope, pae},
    };

    fn at(text: &str) -> Utc {
        text.parse().unwrap()
    }

    fn entry(seed: u8, use_: Use) -> KeyEntry {
        let spki = *FileKey::from_seed(&[seed; 32]).public();
        KeyEntry {
            key_id: spki.fingerprint(),
            spki,
            use_,
            name: (use_ == Use::Approvals).then(|| "Ada Lovelace".to_owned()),
            valid: Validity { from: at("2026-01-01T00:00:00Z"), until: Some(at("2027-01-01T00:00:00Z")) },
            compromised_since: None,
            superseded_by: None,
            lost: false,
        }
    }

    fn set() -> (FileKey, KeySet) {
        let root = FileKey::from_seed(&[1; 32]);
        let set = KeySet {
            format: FORMAT.into(),
            origin: "o".into(),
            revision: 1,
            root: *root.public(),
            keys: vec![entry(2, Use::Receipts), entry(3, Use::Checkpoints)],
            made_at: at("2026-01-01T00:00:00Z"),
            consents: BTreeSet::new(),
        };
        (root, set)
    }

    #[test]
    fn a_key_set_opens_under_its_root_and_no_other() {
        let (root, set) = set();
        let bytes = set.sign(&root).unwrap();
        assert_eq!(KeySet::open(&bytes, &root.public().fingerprint()).unwrap(), set);
        assert_eq!(KeySet::open_untrusted(&bytes).unwrap(), set);
        let other = FileKey::from_seed(&[4; 32]);
        let trust = other.public().fingerprint();
        let error = KeySet::open(&bytes, &trust).unwrap_err();
        assert!(
            matches!(&error, KeysError::TrustMismatch { trusted, found } if *trusted == trust && *found == root.public().fingerprint())
        );
        assert!(error.to_string().contains(&trust) && error.to_string().contains(&root.public().fingerprint()));
        assert!(matches!(set.sign(&other), Err(KeysError::Inconsistent(_))));
    }

    #[test]
    fn a_key_set_that_names_the_root_but_is_signed_by_another_is_refused() {
        let (root, set) = set();
        let other = FileKey::from_seed(&[4; 32]);
        let payload = serde_json::to_vec(&set).unwrap();
        let signature = other.sign(&pae(PAYLOAD_TYPE, &payload)).unwrap();
        for named in [root.public(), other.public()] {
            let forged = Envelope::new(PAYLOAD_TYPE, &payload, &named.fingerprint(), &signature);
            let forged = serde_json::to_vec(&forged).unwrap();
            assert!(matches!(KeySet::open(&forged, &root.public().fingerprint()), Err(KeysError::Signature(_))));
        }
    }

    #[test]
    fn every_altered_byte_of_a_key_set_is_seen() {
        let (root, set) = set();
        let bytes = set.sign(&root).unwrap();
        for place in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[place] ^= 1;
            assert!(KeySet::open(&altered, &root.public().fingerprint()).is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_seal_is_no_key_set_and_a_key_set_no_seal() {
        let (root, set) = set();
        let payload = serde_json::to_vec(&set).unwrap();
        let signature = root.sign(&pae(crate::statement::PAYLOAD_TYPE, &payload)).unwrap();
        let envelope =
            Envelope::new(crate::statement::PAYLOAD_TYPE, &payload, &root.public().fingerprint(), &signature);
        assert!(KeySet::open_untrusted(&serde_json::to_vec(&envelope).unwrap()).is_err());
        let relabelled = Envelope::new(PAYLOAD_TYPE, &payload, &root.public().fingerprint(), &signature);
        assert!(matches!(
            KeySet::open_untrusted(&serde_json::to_vec(&relabelled).unwrap()),
            Err(KeysError::Signature(_))
        ));
    }

    #[test]
    fn inconsistent_key_sets_are_refused() {
        let (root, good) = set();
        let refused = |alter: &dyn Fn(&mut KeySet)| {
            let mut set = good.clone();
            alter(&mut set);
            assert!(matches!(set.sign(&root), Err(KeysError::Inconsistent(_))), "{set:?}");
        };
        refused(&|s| s.format = "evidenced-keys/2".into());
        refused(&|s| s.origin.clear());
        refused(&|s| s.revision = 0);
        refused(&|s| s.keys[0].key_id = s.keys[1].key_id.clone());
        refused(&|s| s.keys.push(s.keys[0].clone()));
        refused(&|s| s.keys.push(entry(1, Use::Receipts)));
        refused(&|s| s.keys[0].valid.until = Some(s.keys[0].valid.from));
        refused(&|s| s.keys[0].superseded_by = Some("SHA256:none".into()));
        refused(&|s| s.keys[0].superseded_by = Some(s.keys[1].key_id.clone()));
        refused(&|s| s.keys[0].superseded_by = Some(s.keys[0].key_id.clone()));
        refused(&|s| s.keys[0].lost = true);
        refused(&|s| s.keys[0].name = Some("Ada Lovelace".into()));
    }

    #[test]
    fn an_approver_has_a_name_of_plain_text_that_no_revision_changes() {
        let (root, mut set) = set();
        set.keys.push(entry(4, Use::Approvals));
        set.sign(&root).unwrap();
        let long = "n".repeat(MAX_NAME + 1);
        for name in [None, Some(""), Some(" Ada"), Some("Ada\n"), Some("A\u{1b}[2J"), Some(long.as_str())] {
            let mut other = set.clone();
            other.keys[2].name = name.map(str::to_owned);
            assert!(matches!(other.sign(&root), Err(KeysError::Inconsistent(_))), "{name:?}");
        }
        let mut next = KeySet { revision: 2, ..set.clone() };
        assert_eq!(next.follows(&set), Ok(()));
        next.keys[2].name = Some("Charles Babbage".into());
        assert_eq!(next.follows(&set), Err(Unfit::Changed(next.keys[2].key_id.clone())));
    }

    /// Revision 2 of the set: another receipts key follows the first.
    fn rotated() -> KeySet {
        let (_, mut set) = set();
        set.revision = 2;
        set.keys.push(entry(5, Use::Receipts));
        set.keys[0].superseded_by = Some(set.keys[2].key_id.clone());
        set
    }

    #[test]
    fn a_key_is_followed_by_another_with_its_own_signature_or_where_it_is_lost() {
        let (root, first) = set();
        let (old, other) = (FileKey::from_seed(&[2; 32]), FileKey::from_seed(&[3; 32]));
        let open = |set: &KeySet, consents: &[&dyn Signer]| {
            KeySet::open_untrusted(&Draft::new(set, consents).unwrap().sign(&root).unwrap()).unwrap()
        };
        let mut second = rotated();
        let id = second.keys[0].key_id.clone();
        assert_eq!(open(&second, &[]).follows(&first), Err(Unfit::NoConsent(id.clone())));
        assert_eq!(open(&second, &[&other]).follows(&first), Err(Unfit::NoConsent(id)));
        let agreed = open(&second, &[&old]);
        assert_eq!(agreed.follows(&first), Ok(()));
        assert_eq!(agreed.in_use(Use::Receipts).unwrap().key_id, second.keys[2].key_id);
        second.keys[0].lost = true;
        assert_eq!(open(&second, &[]).follows(&first), Ok(()));
        // Later revisions need not be signed by it again.
        let third = KeySet { revision: 3, ..rotated() };
        assert_eq!(open(&third, &[]).follows(&agreed), Ok(()));
    }

    #[test]
    fn what_a_revision_said_of_a_key_is_not_taken_back() {
        let (_, first) = set();
        let before = rotated();
        let refused = |alter: &dyn Fn(&mut KeySet), why: fn(String) -> Unfit, key: usize| {
            let mut next = KeySet { revision: 3, ..before.clone() };
            alter(&mut next);
            assert_eq!(next.follows(&before), Err(why(before.keys[key].key_id.clone())));
        };
        refused(&|s| drop(s.keys.remove(1)), Unfit::Gone, 1);
        refused(&|s| s.keys[0].superseded_by = None, Unfit::Changed, 0);
        refused(&|s| s.keys[0].lost = true, Unfit::Changed, 0);
        refused(&|s| s.keys[1].use_ = Use::Receipts, Unfit::Changed, 1);
        refused(&|s| s.keys[1].valid.from = at("2025-01-01T00:00:00Z"), Unfit::Changed, 1);
        assert_eq!(first.follows(&first), Err(Unfit::Revision { this: 1, before: 1 }));
        let mut ended = KeySet { revision: 3, ..before.clone() };
        ended.keys[0].compromised_since = Some(at("2026-05-01T00:00:00Z"));
        ended.keys[0].valid.until = Some(at("2026-06-01T00:00:00Z"));
        assert_eq!(ended.follows(&before), Ok(()));
    }

    #[test]
    fn a_key_is_given_for_its_use_and_time_only() {
        let (_, mut set) = set();
        let id = set.keys[0].key_id.clone();
        let inside = at("2026-06-01T00:00:00Z");
        assert_eq!(set.key(&id, Use::Receipts, inside).unwrap(), set.keys[0].spki);
        assert_eq!(set.key("SHA256:x", Use::Receipts, inside), Err(KeyRefusal::Unknown("SHA256:x".into())));
        assert!(matches!(set.key(&id, Use::Checkpoints, inside), Err(KeyRefusal::WrongUse { .. })));
        assert!(set.key(&id, Use::Receipts, set.keys[0].valid.from).is_ok());
        let before = at("2025-12-31T23:59:59Z");
        assert!(matches!(set.key(&id, Use::Receipts, before), Err(KeyRefusal::NotYetValid { .. })));
        let end = at("2027-01-01T00:00:00Z");
        assert!(matches!(set.key(&id, Use::Receipts, end), Err(KeyRefusal::Expired { .. })));
        set.keys[0].compromised_since = Some(inside);
        assert!(matches!(set.key(&id, Use::Receipts, inside), Err(KeyRefusal::Compromised { .. })));
        assert!(set.key(&id, Use::Receipts, at("2026-05-31T23:59:59Z")).is_ok());
    }
}
