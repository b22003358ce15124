//! Keys: Ed25519 (RFC 8032) by OpenSSH fingerprint, and the set of an origin's keys under its owner's root key.
//!
//! Private keys are read from and written to PEM text here, never to a file, and never printed.

use std::fmt;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use ed25519_dalek::{
    Signature, SigningKey, VerifyingKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes, spki::der::pem::LineEnding},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

use crate::digest::Digest;

mod draft;
mod set;

pub use draft::Draft;
pub use set::{
    FORMAT, KeyEntry, KeyRefusal, KeySet, KeysError, MAX_KEYS, MAX_NAME, PAYLOAD_TYPE, Unfit, Use, Validity, is_name,
};

/// DER of a SubjectPublicKeyInfo for Ed25519 (RFC 8410) up to the key's 32 bytes.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// An Ed25519 public key. In JSON it is the base64 of its SubjectPublicKeyInfo.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// Bytes that are no usable Ed25519 public key.
#[derive(Debug, thiserror::Error)]
#[error("not an Ed25519 public key: {0}")]
pub struct BadKey(&'static str);

impl PublicKey {
    /// The key of 32 bytes (RFC 8032, 5.1.5).
    ///
    /// # Errors
    /// Bytes that are no point, or spell one with a number that is not reduced (RFC 8032, 5.1.3), or one of small order, under which
    /// anything can be made to verify.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, BadKey> {
        let [low, middle @ .., high] = bytes;
        if *low >= 0xed && middle.iter().all(|byte| *byte == 0xff) && high & 0x7f == 0x7f {
            return Err(BadKey("the point is spelled with a number that is not reduced"));
        }
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| BadKey("the bytes are no point of the curve"))?;
        if key.is_weak() {
            return Err(BadKey("the point has small order"));
        }
        Ok(Self(key))
    }

    /// The key's 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Reads a SubjectPublicKeyInfo (RFC 8410), of which an Ed25519 key has one spelling.
    ///
    /// # Errors
    /// Any other bytes.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, BadKey> {
        let key = der.strip_prefix(&SPKI_PREFIX).and_then(|key| <&[u8; 32]>::try_from(key).ok());
        Self::from_bytes(key.ok_or(BadKey("the bytes are no SubjectPublicKeyInfo with Ed25519"))?)
    }

    /// The key's SubjectPublicKeyInfo.
    pub fn to_spki_der(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), &self.to_bytes()].concat()
    }

    /// The same in PEM, as `openssl pkeyutl -pubin` reads it.
    pub fn to_pem(&self) -> String {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(self.to_spki_der()))
    }

    /// Reads a SubjectPublicKeyInfo in PEM (RFC 7468), as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// Any other text.
    pub fn from_pem(text: &str) -> Result<Self, BadKey> {
        let lines: Vec<&str> = text.trim().lines().map(str::trim).collect();
        let ["-----BEGIN PUBLIC KEY-----", body @ .., "-----END PUBLIC KEY-----"] = lines.as_slice() else {
            return Err(BadKey("the text is no public key in PEM (`openssl pkey -pubout` writes one)"));
        };
        let der = STANDARD.decode(body.concat()).map_err(|_| BadKey("its base64 is damaged"))?;
        Self::from_spki_der(&der)
    }

    /// The OpenSSH fingerprint, `SHA256:` and 43 characters of base64: the key's id everywhere.
    pub fn fingerprint(&self) -> String {
        const NAME: &[u8] = b"ssh-ed25519";
        let mut wire = Vec::with_capacity(51);
        for part in [NAME, &self.to_bytes()] {
            wire.extend_from_slice(&(part.len() as u32).to_be_bytes());
            wire.extend_from_slice(part);
        }
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Digest::of(&wire).0))
    }

    /// Whether the signature is this key's over the message, by the strict rules (no small order, canonical encoding).
    #[must_use]
    pub fn verify_strict(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(self.to_spki_der()))
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let der = STANDARD.decode(String::deserialize(d)?).map_err(serde::de::Error::custom)?;
        Self::from_spki_der(&der).map_err(serde::de::Error::custom)
    }
}

/// Something that holds a private key and signs with it: a file's key here, elsewhere a key service.
pub trait Signer: Send + Sync {
    /// The public half.
    fn public(&self) -> &PublicKey;

    /// The Ed25519 signature over `message`.
    ///
    /// # Errors
    /// A key service that is away or refuses.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;
}

/// Nothing was signed.
#[derive(Debug, thiserror::Error)]
#[error("the key {key_id} did not sign")]
pub struct SignError {
    /// Its fingerprint.
    pub key_id: String,
    /// What the key service answered.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A private key in memory; wiped when dropped, and never printed.
pub struct FileKey {
    key: SigningKey,
    public: PublicKey,
}

/// Text that is no private key.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// Not what this program writes.
    #[error(
        "the text is no unencrypted Ed25519 private key in PKCS#8 PEM (`openssl genpkey -algorithm ed25519` makes one): {0}"
    )]
    Format(String),
}

impl FileKey {
    /// A new key from the system's randomness.
    pub fn generate() -> Self {
        Self::new(SigningKey::generate(&mut rand_core::OsRng))
    }

    /// The key of a known seed: for test vectors only, since whoever knows the seed has the key.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::new(SigningKey::from_bytes(seed))
    }

    /// Reads PKCS#8 (RFC 8410) in PEM.
    ///
    /// # Errors
    /// Any other text; the message holds nothing of it.
    pub fn from_pem(text: &str) -> Result<Self, PemError> {
        SigningKey::from_pkcs8_pem(text).map(Self::new).map_err(|e| PemError::Format(e.to_string()))
    }

    /// PKCS#8 version 1 in PEM, which OpenSSL of every age reads.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let mut pair = KeypairBytes { secret_key: self.key.to_bytes(), public_key: None };
        let pem = pair.to_pkcs8_pem(LineEnding::LF).expect("a key of fixed length has an encoding");
        pair.secret_key.zeroize();
        pem
    }

    fn new(key: SigningKey) -> Self {
        Self { public: PublicKey(key.verifying_key()), key }
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileKey({})", self.public.fingerprint())
    }
}

impl Signer for FileKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(ed25519_dalek::Signer::sign(&self.key, message).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_fingerprint_is_that_of_openssh() {
        // `ssh-keygen -lf` of the key of RFC 8032, 7.1, test 1.
        let key = PublicKey::from_bytes(
            &hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
                .unwrap()
                .try_into()
                .unwrap(),
        )
        .unwrap();
        assert_eq!(key.fingerprint(), "SHA256:bbXpuKG6zhzdmnxq256TlqzFBzRl2f6OOg722cYNbU8");
    }

    #[test]
    fn a_private_key_comes_back_from_its_pem_and_is_never_printed() {
        let key = FileKey::generate();
        let pem = key.to_pem();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        let back = FileKey::from_pem(&pem).unwrap();
        assert_eq!(back.public(), key.public());
        assert_eq!(back.sign(b"m").unwrap(), key.sign(b"m").unwrap());
        assert_eq!(format!("{key:?}"), format!("FileKey({})", key.public().fingerprint()));
        let error = FileKey::from_pem(&pem.replace('M', "N")).unwrap_err().to_string();
        assert!(!error.contains(pem.lines().nth(1).unwrap()), "{error}");
    }

    #[test]
    fn a_public_key_has_one_spelling() {
        let key = *FileKey::from_seed(&[9; 32]).public();
        let der = key.to_spki_der();
        assert_eq!(PublicKey::from_spki_der(&der).unwrap(), key);
        assert_eq!(PublicKey::from_pem(&key.to_pem()).unwrap(), key);
        assert!(PublicKey::from_pem(&FileKey::generate().to_pem()).is_err());
        assert!(PublicKey::from_spki_der(&[der.as_slice(), &[0]].concat()).is_err());
        for place in 0..SPKI_PREFIX.len() {
            let mut altered = der.clone();
            altered[place] ^= 1;
            assert!(PublicKey::from_spki_der(&altered).is_err());
        }
    }

    #[test]
    fn a_key_of_small_order_or_spelled_with_a_number_that_is_not_reduced_is_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert!(PublicKey::from_bytes(&identity).is_err());
        assert!(PublicKey::from_bytes(&[0; 32]).is_err());
        // Among 2^255 - 19 and the 18 numbers above it are y of points of the whole order.
        let mut taken_unreduced = 0;
        for low in 0xed..=0xff_u8 {
            let mut key = [0xff; 32];
            (key[0], key[31]) = (low, 0x7f);
            assert!(PublicKey::from_bytes(&key).is_err());
            taken_unreduced += u32::from(VerifyingKey::from_bytes(&key).is_ok_and(|key| !key.is_weak()));
        }
        assert!(taken_unreduced > 0);
    }

    #[test]
    fn a_signature_is_over_its_message_only() {
        let key = FileKey::from_seed(&[9; 32]);
        let signature = key.sign(b"message").unwrap();
        assert!(key.public().verify_strict(b"message", &signature));
        assert!(!key.public().verify_strict(b"Message", &signature));
        assert!(!FileKey::from_seed(&[8; 32]).public().verify_strict(b"message", &signature));
    }
}
