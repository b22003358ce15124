//! A key set on its way to its root's signature. It travels as the DSSE envelope that `keys.json` will be, without that signature, so
//! that a custodian signs with this program or with any other that speaks Ed25519.

use std::collections::BTreeSet;

use super::{KeySet, KeysError, PAYLOAD_TYPE, Signer};
use crate::seal::{Envelope, Signed, pae};

/// The most signatures of one `keys.json`.
const MAX_SIGNATURES: usize = 64;

/// A key set with the signatures that it has so far.
#[derive(Debug, Clone)]
pub struct Draft {
    set: KeySet,
    payload: Vec<u8>,
    signatures: Vec<Signed>,
    signed: bool,
}

impl Draft {
    /// Draws up a set, signed by those of its keys that another follows from now on.
    ///
    /// # Errors
    /// An inconsistent set, a signer that is no key of it, and a signer's own failures.
    pub fn new(set: &KeySet, consents: &[&dyn Signer]) -> Result<Self, KeysError> {
        set.check()?;
        let payload = serde_json::to_vec(set)?;
        let message = pae(PAYLOAD_TYPE, &payload);
        let mut signatures = Vec::new();
        for key in consents {
            signatures.push((key.public().fingerprint(), key.sign(&message)?));
        }
        Self::verified(payload, signatures)
    }

    /// Reads a draft, or a `keys.json`, and verifies every signature that it has.
    ///
    /// # Errors
    /// Whatever is malformed, a signature that is no key's of the set, and one that does not verify.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeysError> {
        let envelope: Envelope = serde_json::from_slice(bytes)?;
        let (payload, signatures) = envelope.open_all(PAYLOAD_TYPE)?;
        Self::verified(payload, signatures)
    }

    /// The set, with the keys that consented.
    pub fn set(&self) -> &KeySet {
        &self.set
    }

    pub(super) fn into_set(self) -> KeySet {
        self.set
    }

    /// Whether the root signed it.
    pub fn is_signed(&self) -> bool {
        self.signed
    }

    /// What the root is to sign: DSSE's pre-authentication encoding.
    pub fn message(&self) -> Vec<u8> {
        pae(PAYLOAD_TYPE, &self.payload)
    }

    /// The envelope: without the root's signature a request to the custodian, with it `keys.json`.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&Envelope::signed(PAYLOAD_TYPE, &self.payload, &self.signatures))
            .expect("strings and lists are always JSON")
    }

    /// Adds the root's signature: the bytes of `keys.json`.
    ///
    /// # Errors
    /// A signer that is not the set's root, and its own failures.
    pub fn sign(&self, root: &dyn Signer) -> Result<Vec<u8>, KeysError> {
        if root.public() != &self.set.root {
            let says = format!("its root is {}, the signer {}", self.set.root, root.public());
            return Err(KeysError::Inconsistent(says));
        }
        let mut signed = self.clone();
        signed.signatures.retain(|(id, _)| *id != root.public().fingerprint());
        signed.signatures.insert(0, (root.public().fingerprint(), root.sign(&self.message())?));
        Ok(signed.to_bytes())
    }

    fn verified(payload: Vec<u8>, signatures: Vec<Signed>) -> Result<Self, KeysError> {
        let mut set: KeySet = serde_json::from_slice(&payload)?;
        set.check()?;
        let root = set.root.fingerprint();
        if signatures.len() > MAX_SIGNATURES {
            return Err(KeysError::Inconsistent(format!("it has more than {MAX_SIGNATURES} signatures")));
        }
        let message = pae(PAYLOAD_TYPE, &payload);
        let mut consents = BTreeSet::new();
        let mut signed = false;
        for (place, (id, signature)) in signatures.iter().enumerate() {
            if *id == root && place == 0 {
                signed = set.root.verify_strict(&message, signature);
                match signed {
                    true => continue,
                    false => return Err(KeysError::Signature(root)),
                }
            }
            let verified = set.entry(id).is_some_and(|key| key.spki.verify_strict(&message, signature));
            if !verified || !consents.insert(id.clone()) {
                // Of a set that its root did not sign, that is what is wrong.
                return Err(if signed { KeysError::Consent(id.clone()) } else { KeysError::Signature(root) });
            }
        }
        set.consents = consents;
        Ok(Self { set, payload, signatures, signed })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::keys::{FORMAT, FileKey, KeyEntry, Use, Validity};

    fn set() -> (FileKey, FileKey, KeySet) {
        let (root, key) = (FileKey::from_seed(&[1; 32]), FileKey::from_seed(&[2; 32]));
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let entry = KeyEntry {
            key_id: key.public().fingerprint(),
            spki: *key.public(),
            use_: Use::Receipts,
            name: None,
            valid: Validity { from: now, until: None },
            compromised_since: None,
            superseded_by: None,
            lost: false,
        };
        let set = KeySet {
            format: FORMAT.into(),
            origin: "o".into(),
            revision: 1,
            root: *root.public(),
            keys: vec![entry],
            made_at: now,
            consents: BTreeSet::new(),
        };
        (root, key, set)
    }

    #[test]
    fn a_draft_is_no_key_set_until_its_root_has_signed() {
        let (root, key, set) = set();
        for consents in [&[][..], &[&key as &dyn Signer]] {
            let draft = Draft::new(&set, consents).unwrap();
            assert!(!draft.is_signed());
            assert!(matches!(KeySet::open_untrusted(&draft.to_bytes()), Err(KeysError::Signature(_))));
            let read = Draft::from_bytes(&draft.to_bytes()).unwrap();
            assert_eq!(read.set().consents.len(), consents.len());
            let signed = read.sign(&root).unwrap();
            assert_eq!(KeySet::open_untrusted(&signed).unwrap(), *read.set());
            assert_eq!(Draft::from_bytes(&signed).unwrap().sign(&root).unwrap(), signed, "signed twice is signed once");
            assert!(matches!(read.sign(&key), Err(KeysError::Inconsistent(_))));
        }
    }

    #[test]
    fn nothing_rides_along_with_a_key_set() {
        let (root, key, set) = set();
        let draft = Draft::new(&set, &[&key]).unwrap();
        let good = Draft::from_bytes(&draft.sign(&root).unwrap()).unwrap();
        let stranger = FileKey::from_seed(&[9; 32]);
        let foreign = (stranger.public().fingerprint(), stranger.sign(&good.message()).unwrap());
        let mut with_stranger = good.clone();
        with_stranger.signatures.push(foreign);
        assert!(matches!(KeySet::open_untrusted(&with_stranger.to_bytes()), Err(KeysError::Consent(_))));
        let mut doubled = good.clone();
        doubled.signatures.push(good.signatures[1].clone());
        assert!(matches!(KeySet::open_untrusted(&doubled.to_bytes()), Err(KeysError::Consent(_))));
        let mut forged = good.clone();
        forged.signatures[1].1[0] ^= 1;
        assert!(matches!(KeySet::open_untrusted(&forged.to_bytes()), Err(KeysError::Consent(_))));
        // The root's signature comes first: so the one recipe reads every keys.json.
        let mut turned = good.clone();
        turned.signatures.reverse();
        assert!(KeySet::open_untrusted(&turned.to_bytes()).is_err());
    }

    #[test]
    fn a_consent_is_to_one_revision_only() {
        let (root, key, set) = set();
        let first = Draft::new(&set, &[&key]).unwrap();
        let mut other = Draft::new(&KeySet { revision: 2, ..set }, &[]).unwrap();
        other.signatures = first.signatures;
        let moved = other.sign(&root).unwrap();
        assert!(matches!(KeySet::open_untrusted(&moved), Err(KeysError::Consent(_))));
    }
}
