//! The signatures that a token and its certificates may bear: RSA PKCS#1 v1.5 and PSS (RFC 8017) from 2,048 to 8,192 bits, ECDSA on
//! P-256 and P-384 (FIPS 186-5), each with SHA-256, SHA-384 or SHA-512. All of it in Rust, so that the verifier builds anywhere.

use std::fmt;

use der::asn1::ObjectIdentifier;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::{BigUint, Pkcs1v15Sign, Pss, RsaPublicKey, pkcs1, traits::PublicKeyParts};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use x509_cert::{der::Decode, spki::SubjectPublicKeyInfoRef};

use super::der::Algorithm;

const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const CURVE_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const CURVE_P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// A digest of the SHA-2 family (FIPS 180-4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// The digest of `message`: 32, 48 or 64 bytes.
    pub fn of(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha384 => Sha384::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
        }
    }

    /// The hash that the identifier names (RFC 5754, 2), or none of ours.
    pub(super) fn named(algorithm: &Algorithm<'_>) -> Option<Self> {
        const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
        const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
        const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
        match algorithm.oid {
            _ if !algorithm.bare => None,
            SHA256 => Some(Self::Sha256),
            SHA384 => Some(Self::Sha384),
            SHA512 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// A DigestInfo up to the digest (RFC 8017, 9.2, note 1).
    fn digest_info(self) -> [u8; 19] {
        let (name, length) = match self {
            Self::Sha256 => (1, 32),
            Self::Sha384 => (2, 48),
            Self::Sha512 => (3, 64),
        };
        [
            0x30,
            17 + length,
            0x30,
            0x0d,
            0x06,
            0x09,
            0x60,
            0x86,
            0x48,
            0x01,
            0x65,
            0x03,
            0x04,
            0x02,
            name,
            0x05,
            0x00,
            0x04,
            length,
        ]
    }
}

/// How a signature is made of a digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scheme {
    Pkcs1,
    Pss,
    Ecdsa,
}

/// The scheme and hash of a SignerInfo's signatureAlgorithm, where `digest` is its digestAlgorithm: `rsaEncryption` alone names none of
/// its own (RFC 3370, 3.2). `None` for all others.
pub(super) fn signature_scheme(algorithm: &Algorithm<'_>, digest: Hash) -> Option<(Scheme, Hash)> {
    const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
    const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
    const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
    match algorithm.oid {
        RSA_ENCRYPTION if algorithm.bare => return Some((Scheme::Pkcs1, digest)),
        RSA_SHA256 if algorithm.bare => return Some((Scheme::Pkcs1, Hash::Sha256)),
        RSA_SHA384 if algorithm.bare => return Some((Scheme::Pkcs1, Hash::Sha384)),
        RSA_SHA512 if algorithm.bare => return Some((Scheme::Pkcs1, Hash::Sha512)),
        _ => {}
    }
    KNOWN.iter().find(|known| known.signature.as_ref() == algorithm.value).map(|known| (known.scheme, known.hash))
}

/// A public key, ready to verify with.
#[derive(Clone)]
pub(super) enum Key {
    Rsa(RsaPublicKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
}

impl Key {
    /// The key of a SubjectPublicKeyInfo (RFC 5280, 4.1.2.7); `None` for kinds and sizes that are not verified here.
    pub(super) fn from_spki(der: &[u8]) -> Option<Self> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).ok()?;
        let bits = spki.subject_public_key.as_bytes()?;
        match spki.algorithm.oid {
            RSA_ENCRYPTION => Self::rsa(bits),
            EC_PUBLIC_KEY => match spki.algorithm.parameters_oid().ok()? {
                CURVE_P256 => Self::p256(bits),
                CURVE_P384 => Self::p384(bits),
                _ => None,
            },
            _ => None,
        }
    }

    fn rsa(bits: &[u8]) -> Option<Self> {
        let key = pkcs1::RsaPublicKey::try_from(bits).ok()?;
        let (n, e) =
            (BigUint::from_bytes_be(key.modulus.as_bytes()), BigUint::from_bytes_be(key.public_exponent.as_bytes()));
        let key = RsaPublicKey::new_with_max_size(n, e, *RSA_BITS.end()).ok()?;
        RSA_BITS.contains(&key.n().bits()).then_some(Self::Rsa(key))
    }

    fn p256(bits: &[u8]) -> Option<Self> {
        p256::ecdsa::VerifyingKey::from_sec1_bytes(bits).ok().map(Self::P256)
    }

    fn p384(bits: &[u8]) -> Option<Self> {
        p384::ecdsa::VerifyingKey::from_sec1_bytes(bits).ok().map(Self::P384)
    }

    /// Whether the signature is this key's over the message.
    #[must_use]
    pub(super) fn verify(&self, scheme: Scheme, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        let digest = hash.of(message);
        match (self, scheme) {
            (Self::Rsa(key), Scheme::Pkcs1) => {
                let scheme = Pkcs1v15Sign { hash_len: Some(digest.len()), prefix: Box::new(hash.digest_info()) };
                key.verify(scheme, &digest, signature).is_ok()
            }
            (Self::Rsa(key), Scheme::Pss) => {
                let scheme = match hash {
                    Hash::Sha256 => Pss::new::<Sha256>(),
                    Hash::Sha384 => Pss::new::<Sha384>(),
                    Hash::Sha512 => Pss::new::<Sha512>(),
                };
                key.verify(scheme, &digest, signature).is_ok()
            }
            (Self::P256(key), Scheme::Ecdsa) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            (Self::P384(key), Scheme::Ecdsa) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            (Self::Rsa(_), Scheme::Ecdsa) | (Self::P256(_) | Self::P384(_), Scheme::Pkcs1 | Scheme::Pss) => false,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa(_) => "Key(RSA)",
            Self::P256(_) => "Key(P-256)",
            Self::P384(_) => "Key(P-384)",
        })
    }
}

/// A signature algorithm with a kind of key, as paths of certificates name them.
pub(super) struct Known {
    key: AlgorithmIdentifier,
    read: fn(&[u8]) -> Option<Key>,
    signature: AlgorithmIdentifier,
    scheme: Scheme,
    hash: Hash,
}

const fn rsa(signature: AlgorithmIdentifier, scheme: Scheme, hash: Hash) -> Known {
    Known { key: alg_id::RSA_ENCRYPTION, read: Key::rsa, signature, scheme, hash }
}

const fn p256(signature: AlgorithmIdentifier, hash: Hash) -> Known {
    Known { key: alg_id::ECDSA_P256, read: Key::p256, signature, scheme: Scheme::Ecdsa, hash }
}

const fn p384(signature: AlgorithmIdentifier, hash: Hash) -> Known {
    Known { key: alg_id::ECDSA_P384, read: Key::p384, signature, scheme: Scheme::Ecdsa, hash }
}

static KNOWN: [Known; 12] = [
    rsa(alg_id::RSA_PKCS1_SHA256, Scheme::Pkcs1, Hash::Sha256),
    rsa(alg_id::RSA_PKCS1_SHA384, Scheme::Pkcs1, Hash::Sha384),
    rsa(alg_id::RSA_PKCS1_SHA512, Scheme::Pkcs1, Hash::Sha512),
    p256(alg_id::ECDSA_SHA256, Hash::Sha256),
    p256(alg_id::ECDSA_SHA384, Hash::Sha384),
    p256(alg_id::ECDSA_SHA512, Hash::Sha512),
    p384(alg_id::ECDSA_SHA256, Hash::Sha256),
    p384(alg_id::ECDSA_SHA384, Hash::Sha384),
    p384(alg_id::ECDSA_SHA512, Hash::Sha512),
    rsa(alg_id::RSA_PSS_SHA256, Scheme::Pss, Hash::Sha256),
    rsa(alg_id::RSA_PSS_SHA384, Scheme::Pss, Hash::Sha384),
    rsa(alg_id::RSA_PSS_SHA512, Scheme::Pss, Hash::Sha512),
];

/// What signatures of certificates may be.
pub(super) fn all() -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    KNOWN.iter().map(|known| known as &dyn SignatureVerificationAlgorithm).collect()
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Known({:?}, {:?})", self.scheme, self.hash)
    }
}

impl SignatureVerificationAlgorithm for Known {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = (self.read)(key).ok_or(InvalidSignature)?;
        if key.verify(self.scheme, self.hash, message, signature) { Ok(()) } else { Err(InvalidSignature) }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}
