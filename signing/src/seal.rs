//! Seals: DSSE (v1) over a payload, in a Sigstore bundle v0.3 with a key hint. Nothing here reads a clock or chooses a key.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{keys::PublicKey, statement::PAYLOAD_TYPE};

/// The media type of a Sigstore bundle, version 0.3.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The most bytes of a seal that are read: a payload and 32 timestamps fit in.
pub const MAX_SEAL: u64 = 1024 * 1024;

/// The most timestamps in one seal; verifiers of others take no more.
pub const MAX_TIMESTAMPS: usize = 32;

/// DSSE's pre-authentication encoding: what is signed.
pub fn pae(payload_type: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

/// The seal of an in-toto payload, without timestamps. The same arguments give the same bytes.
pub fn seal(payload: &[u8], key_id: &str, signature: &[u8; 64]) -> Vec<u8> {
    Seal { payload: payload.to_vec(), key_id: key_id.to_owned(), signature: *signature, timestamps: Vec::new() }
        .to_bytes()
}

/// A parsed seal. Parsing verifies nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The statement's bytes, as signed.
    pub payload: Vec<u8>,
    /// The fingerprint of the key that is said to have signed.
    pub key_id: String,
    /// Ed25519.
    pub signature: [u8; 64],
    /// Whole RFC 3161 responses (DER) over the signature's bytes.
    pub timestamps: Vec<Vec<u8>>,
}

/// A seal that cannot be read, or does not verify.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Not JSON, or with members missing, doubled or unknown.
    #[error("the seal is malformed")]
    Json(#[from] serde_json::Error),
    /// A member with a value that the format does not allow.
    #[error("its member {member} is {found}; it must be {wanted}")]
    Member {
        /// Its path.
        member: &'static str,
        /// The value, shortened.
        found: String,
        /// What the format asks for.
        wanted: &'static str,
    },
    /// Made by another key than the one at hand.
    #[error("the seal names the key {named}, not {given}")]
    OtherKey {
        /// In the seal.
        named: String,
        /// The key to verify with.
        given: String,
    },
    /// Not signed by that key, or altered afterwards.
    #[error("the signature over the payload is not by {0}")]
    Signature(String),
}

impl Seal {
    /// Compact JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let timestamps: Vec<_> =
            self.timestamps.iter().map(|t| Timestamp { signed_timestamp: STANDARD.encode(t) }).collect();
        let json = Json {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: Material {
                public_key: Hint { hint: self.key_id.clone() },
                tlog_entries: Vec::new(),
                timestamp_verification_data: (!timestamps.is_empty())
                    .then_some(Timestamps { rfc3161_timestamps: timestamps }),
            },
            dsse_envelope: Envelope::new(PAYLOAD_TYPE, &self.payload, &self.key_id, &self.signature),
        };
        serde_json::to_vec(&json).expect("strings and lists are always JSON")
    }

    /// Parses a seal. Whatever this format does not name is refused, so that nothing rides along unseen.
    ///
    /// # Errors
    /// Anything but one signature, a hint that differs from its key id, other types, and base64 that is not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let json: Json = serde_json::from_slice(bytes)?;
        expect("mediaType", &json.media_type, MEDIA_TYPE)?;
        let material = json.verification_material;
        if !material.tlog_entries.is_empty() {
            return Err(member("verificationMaterial.tlogEntries", "not empty", "empty"));
        }
        let Opened { payload, key_id, signature } = json.dsse_envelope.open(PAYLOAD_TYPE)?;
        if material.public_key.hint != key_id {
            return Err(member(
                "verificationMaterial.publicKey.hint",
                &material.public_key.hint,
                "the signature's keyid",
            ));
        }
        let timestamps = match material.timestamp_verification_data {
            None => Vec::new(),
            Some(t) if t.rfc3161_timestamps.is_empty() || t.rfc3161_timestamps.len() > MAX_TIMESTAMPS => {
                let found = format!("{} timestamps", t.rfc3161_timestamps.len());
                return Err(member(
                    "verificationMaterial.timestampVerificationData",
                    &found,
                    "left out, or 1 to 32 timestamps",
                ));
            }
            Some(t) => t
                .rfc3161_timestamps
                .iter()
                .map(|t| decode("signedTimestamp", &t.signed_timestamp))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self { payload, key_id, signature, timestamps })
    }

    /// Checks the signature over the payload, by Ed25519's strict rules.
    ///
    /// # Errors
    /// A seal that names another key, and a signature that is not by `key`.
    pub fn verify(&self, key: &PublicKey) -> Result<(), SealError> {
        let given = key.fingerprint();
        if given != self.key_id {
            return Err(SealError::OtherKey { named: self.key_id.clone(), given });
        }
        match key.verify_strict(&pae(PAYLOAD_TYPE, &self.payload), &self.signature) {
            true => Ok(()),
            false => Err(SealError::Signature(given)),
        }
    }
}

/// A DSSE envelope.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

/// What an [`Envelope`] with one signature holds.
pub(crate) struct Opened {
    pub payload: Vec<u8>,
    pub key_id: String,
    pub signature: [u8; 64],
}

/// A signature with the id of the key that is said to have made it.
pub(crate) type Signed = (String, [u8; 64]);

impl Envelope {
    pub fn new(payload_type: &str, payload: &[u8], key_id: &str, signature: &[u8; 64]) -> Self {
        Self {
            payload: STANDARD.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: vec![Signature { sig: STANDARD.encode(signature), keyid: key_id.to_owned() }],
        }
    }

    /// An envelope with any number of signatures, each with its key id, in this order.
    pub fn signed(payload_type: &str, payload: &[u8], signatures: &[Signed]) -> Self {
        let signatures =
            signatures.iter().map(|(keyid, sig)| Signature { sig: STANDARD.encode(sig), keyid: keyid.clone() });
        Self {
            payload: STANDARD.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: signatures.collect(),
        }
    }

    /// As it says itself.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    pub fn open(self, payload_type: &str) -> Result<Opened, SealError> {
        let count = self.signatures.len();
        let (payload, signatures) = self.open_all(payload_type)?;
        let Ok([(key_id, signature)]) = <[Signed; 1]>::try_from(signatures) else {
            return Err(member("signatures", &format!("a list of {count}"), "a list of one"));
        };
        Ok(Opened { payload, key_id, signature })
    }

    /// The payload, and every signature with its key id. Nothing is verified.
    pub fn open_all(self, payload_type: &str) -> Result<(Vec<u8>, Vec<Signed>), SealError> {
        if self.payload_type != payload_type {
            return Err(member("payloadType", &self.payload_type, "the type of this format"));
        }
        let signature = |signature: Signature| {
            let bytes = decode("sig", &signature.sig)?;
            match <[u8; 64]>::try_from(bytes.as_slice()) {
                Ok(fixed) => Ok((signature.keyid, fixed)),
                Err(_) => Err(member("sig", &format!("{} bytes", bytes.len()), "64 bytes")),
            }
        };
        let signatures = self.signatures.into_iter().map(signature).collect::<Result<_, _>>()?;
        Ok((decode("payload", &self.payload)?, signatures))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    sig: String,
    keyid: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Json {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Material {
    public_key: Hint,
    tlog_entries: Vec<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp_verification_data: Option<Timestamps>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hint {
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Timestamps {
    #[serde(rename = "rfc3161Timestamps")]
    rfc3161_timestamps: Vec<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Timestamp {
    signed_timestamp: String,
}

fn expect(name: &'static str, found: &str, wanted: &'static str) -> Result<(), SealError> {
    if found == wanted { Ok(()) } else { Err(member(name, found, wanted)) }
}

fn member(member: &'static str, found: &str, wanted: &'static str) -> SealError {
    let mut found: String = found.chars().take(80).collect();
    found = format!("{found:?}");
    SealError::Member { member, found, wanted }
}

/// Standard base64 with padding; the engine refuses trailing bits, so that bytes have one spelling.
fn decode(name: &'static str, text: &str) -> Result<Vec<u8>, SealError> {
    STANDARD.decode(text).map_err(|_| member(name, text, "canonical standard base64"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::keys::{FileKey, Signer};

    fn sealed() -> (FileKey, Vec<u8>) {
        let key = FileKey::from_seed(&[7; 32]);
        let payload = br#"{"a":1}"#;
        let signature = key.sign(&pae(PAYLOAD_TYPE, payload)).unwrap();
        let bytes = seal(payload, &key.public().fingerprint(), &signature);
        (key, bytes)
    }

    #[test]
    fn the_encoding_is_that_of_the_dsse_specification() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    }

    #[test]
    fn a_seal_verifies_under_its_key_only() {
        let (key, bytes) = sealed();
        let seal = Seal::from_bytes(&bytes).unwrap();
        assert_eq!(seal.payload, br#"{"a":1}"#);
        seal.verify(key.public()).unwrap();
        let other = FileKey::from_seed(&[8; 32]);
        assert!(matches!(seal.verify(other.public()), Err(SealError::OtherKey { .. })));
        let forged = Seal { key_id: other.public().fingerprint(), ..seal };
        assert!(matches!(forged.verify(other.public()), Err(SealError::Signature(_))));
    }

    #[test]
    fn every_altered_byte_is_refused_or_fails_to_verify() {
        let (key, bytes) = sealed();
        for place in 0..bytes.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut altered = bytes.clone();
                altered[place] ^= flip;
                let accepted = Seal::from_bytes(&altered).is_ok_and(|s| s.verify(key.public()).is_ok());
                assert!(!accepted, "byte {place} ^ {flip:#x}: {}", String::from_utf8_lossy(&altered));
            }
        }
    }

    #[test]
    fn tokens_come_back_and_the_member_is_left_out_without_them() {
        let (_, bytes) = sealed();
        assert!(!String::from_utf8_lossy(&bytes).contains("timestampVerificationData"));
        let with = Seal { timestamps: vec![vec![1, 2, 3], vec![4]], ..Seal::from_bytes(&bytes).unwrap() };
        assert_eq!(Seal::from_bytes(&with.to_bytes()).unwrap(), with);
    }

    #[test]
    fn what_the_format_does_not_name_is_refused() {
        let (_, bytes) = sealed();
        let text = String::from_utf8(bytes).unwrap();
        let refuse = |from: &str, to: &str| {
            let altered = text.replacen(from, to, 1);
            assert_ne!(altered, text, "{from}");
            assert!(Seal::from_bytes(altered.as_bytes()).is_err(), "{altered}");
        };
        for (place, _) in text.match_indices('{') {
            let mut altered = text.clone();
            altered.insert_str(place + 1, r#""zz":0,"#);
            assert!(Seal::from_bytes(altered.as_bytes()).is_err(), "{altered}");
        }
        refuse("bundle.v0.3", "bundle.v0.2");
        refuse("in-toto+json", "other+json");
        refuse(r#""tlogEntries":[]"#, r#""tlogEntries":[{}]"#);
        refuse(r#","tlogEntries":[]"#, "");
        refuse(r#""hint":"SHA256:"#, r#""hint":"SHA257:"#);
        refuse(r#""signatures":["#, r#""signatures":[{"sig":"","keyid":""},"#);
        refuse(r#""tlogEntries":[]"#, r#""tlogEntries":[],"timestampVerificationData":{"rfc3161Timestamps":[]}"#);
        refuse("eyJhIjoxfQ==", "eyJhIjoxfR==");
        refuse("eyJhIjoxfQ==", "eyJhIjoxfQ");
    }
}
