//! A small time stamping authority: a root, an intermediate certificate, a signer. Whatever it says can be made wrong, one thing at a time.

use std::sync::LazyLock;

use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use rand_core::OsRng;
use rsa::{Pkcs1v15Sign, Pss, RsaPrivateKey, pkcs1::EncodeRsaPublicKey as _, traits::SignatureScheme as _};
use sha1::Digest as _;
use signing::timestamp::{Hash, Roots};

use crate::asn1::*;

pub const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";
pub const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";

/// The message of most tests, and the time of its tokens.
pub const MESSAGE: &[u8] = b"example.org/agent\n7\n";
pub const TIME: &str = "20261122040000Z";

/// A private key. The elliptic ones come from fixed seeds; nobody may trust them.
#[derive(Clone)]
pub enum Key {
    P256(Box<p256::ecdsa::SigningKey>),
    P384(Box<p384::ecdsa::SigningKey>),
    Rsa(Box<RsaPrivateKey>),
}

/// How a key signs.
#[derive(Clone, Copy, PartialEq)]
pub enum Spelling {
    /// `sha256WithRSAEncryption` and the like, `ecdsa-with-SHA256` and the like.
    WithHash,
    /// `rsaEncryption`, as many tokens have it.
    RsaAlone,
    Pss,
}

pub fn p256(seed: u8) -> Key {
    Key::P256(Box::new(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap()))
}

pub fn p384(seed: u8) -> Key {
    Key::P384(Box::new(p384::ecdsa::SigningKey::from_slice(&[seed; 48]).unwrap()))
}

/// One key for all tests of a run: making it takes a while.
pub fn rsa() -> Key {
    static KEY: LazyLock<Key> = LazyLock::new(|| rsa_of(2048));
    KEY.clone()
}

pub fn rsa_of(bits: usize) -> Key {
    Key::Rsa(Box::new(RsaPrivateKey::new(&mut OsRng, bits).unwrap()))
}

pub fn sha(hash: Hash) -> Vec<u8> {
    let last = match hash {
        Hash::Sha256 => 1,
        Hash::Sha384 => 2,
        Hash::Sha512 => 3,
    };
    oid(&format!("2.16.840.1.101.3.4.2.{last}"))
}

impl Key {
    fn spki(&self) -> Vec<u8> {
        let (algorithm, key) = match self {
            Self::P256(key) => {
                let algorithm = seq(&[&oid("1.2.840.10045.2.1"), &oid("1.2.840.10045.3.1.7")]);
                (algorithm, key.verifying_key().to_encoded_point(false).as_bytes().to_vec())
            }
            Self::P384(key) => {
                let algorithm = seq(&[&oid("1.2.840.10045.2.1"), &oid("1.3.132.0.34")]);
                (algorithm, key.verifying_key().to_encoded_point(false).as_bytes().to_vec())
            }
            Self::Rsa(key) => {
                let algorithm = seq(&[&oid("1.2.840.113549.1.1.1"), &null()]);
                (algorithm, key.to_public_key().to_pkcs1_der().unwrap().into_vec())
            }
        };
        seq(&[&algorithm, &bits(&key)])
    }

    pub fn algorithm(&self, hash: Hash, spelling: Spelling) -> Vec<u8> {
        let step = match hash {
            Hash::Sha256 => 0,
            Hash::Sha384 => 1,
            Hash::Sha512 => 2,
        };
        match (self, spelling) {
            (Self::Rsa(_), Spelling::WithHash) => seq(&[&oid(&format!("1.2.840.113549.1.1.{}", 11 + step)), &null()]),
            (Self::Rsa(_), Spelling::RsaAlone) => seq(&[&oid("1.2.840.113549.1.1.1"), &null()]),
            (Self::Rsa(_), Spelling::Pss) => {
                let hash_algorithm = seq(&[&sha(hash), &null()]);
                let mask = seq(&[&oid("1.2.840.113549.1.1.8"), &hash_algorithm]);
                let salt = int(&[32 + 16 * step]);
                let parameters = seq(&[&context(0, &[&hash_algorithm]), &context(1, &[&mask]), &context(2, &[&salt])]);
                seq(&[&oid("1.2.840.113549.1.1.10"), &parameters])
            }
            (Self::P256(_) | Self::P384(_), _) => seq(&[&oid(&format!("1.2.840.10045.4.3.{}", 2 + step))]),
        }
    }

    pub fn sign(&self, hash: Hash, spelling: Spelling, message: &[u8]) -> Vec<u8> {
        let digest = hash.of(message);
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
                signature.to_der().as_bytes().to_vec()
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
                signature.to_der().as_bytes().to_vec()
            }
            Self::Rsa(key) if spelling == Spelling::Pss => {
                let padding = match hash {
                    Hash::Sha256 => Pss::new::<sha2::Sha256>(),
                    Hash::Sha384 => Pss::new::<sha2::Sha384>(),
                    Hash::Sha512 => Pss::new::<sha2::Sha512>(),
                };
                padding.sign(Some(&mut OsRng), key, &digest).unwrap()
            }
            Self::Rsa(key) => {
                // DigestInfo without its digest
                let info = seq(&[&seq(&[&sha(hash), &null()]), &octets(&digest)]);
                let prefix = info[..info.len() - digest.len()].into();
                key.sign(Pkcs1v15Sign { hash_len: Some(digest.len()), prefix }, &digest).unwrap()
            }
        }
    }
}

/// What a certificate says.
#[derive(Clone)]
pub struct Profile {
    pub subject: &'static str,
    pub issuer: &'static str,
    pub serial: u8,
    pub from: &'static str,
    pub until: &'static str,
    pub ca: bool,
    /// Whether critical, and which.
    pub purposes: Option<(bool, Vec<&'static str>)>,
    /// The first byte of KeyUsage's bits, and how many are unused.
    pub key_usage: Option<(u8, u8)>,
    pub key_id: Option<Vec<u8>>,
    pub extra: Vec<Vec<u8>>,
    pub hash: Hash,
    pub spelling: Spelling,
}

impl Profile {
    pub fn root() -> Self {
        Self {
            subject: "Root",
            issuer: "Root",
            serial: 1,
            ca: true,
            purposes: None,
            key_usage: Some((0x06, 1)),
            ..Self::signer()
        }
    }

    pub fn intermediate() -> Self {
        Self { subject: "Intermediate", serial: 2, ..Self::root() }
    }

    pub fn signer() -> Self {
        Self {
            subject: "Time Stamping Unit",
            issuer: "Intermediate",
            serial: 3,
            from: "20260101000000Z",
            until: "20271231235959Z",
            ca: false,
            purposes: Some((true, vec![TIME_STAMPING])),
            key_usage: Some((0x80, 7)),
            key_id: None,
            extra: Vec::new(),
            hash: Hash::Sha256,
            spelling: Spelling::WithHash,
        }
    }

    /// The certificate for `key`, signed by `issuer`.
    pub fn certificate(&self, key: &Key, issuer: &Key) -> Vec<u8> {
        let mut extensions = Vec::new();
        if self.ca {
            extensions.push(extension("2.5.29.19", true, &seq(&[&yes()])));
        }
        if let Some((bits, unused)) = self.key_usage {
            extensions.push(extension("2.5.29.15", true, &tlv(3, &[&[unused, bits]])));
        }
        if let Some((critical, purposes)) = &self.purposes {
            let purposes: Vec<u8> = purposes.iter().flat_map(|purpose| oid(purpose)).collect();
            extensions.push(extension("2.5.29.37", *critical, &seq(&[&purposes])));
        }
        if let Some(id) = &self.key_id {
            extensions.push(extension("2.5.29.14", false, &octets(id)));
        }
        extensions.extend(self.extra.iter().cloned());
        let algorithm = issuer.algorithm(self.hash, self.spelling);
        let body = seq(&[
            &context(0, &[&int(&[2])]),
            &int(&[self.serial]),
            &algorithm,
            &name(self.issuer),
            &seq(&[&generalized(self.from), &generalized(self.until)]),
            &name(self.subject),
            &key.spki(),
            &context(3, &[&seq(&[&extensions.concat()])]),
        ]);
        let signature = issuer.sign(self.hash, self.spelling, &body);
        seq(&[&body, &algorithm, &bits(&signature)])
    }
}

/// An authority.
pub struct Tsa {
    pub root: Vec<u8>,
    pub intermediate: Vec<u8>,
    pub signer: Vec<u8>,
    pub key: Key,
}

impl Tsa {
    pub fn new(key: Key) -> Self {
        Self::with(key, Profile::signer(), Profile::intermediate(), Profile::root())
    }

    pub fn signed_by(signer: Profile) -> Self {
        Self::with(p256(3), signer, Profile::intermediate(), Profile::root())
    }

    pub fn with(key: Key, signer: Profile, intermediate: Profile, root: Profile) -> Self {
        let (root_key, intermediate_key) = (p256(1), p384(2));
        Self {
            root: root.certificate(&root_key, &root_key),
            intermediate: intermediate.certificate(&intermediate_key, &root_key),
            signer: signer.certificate(&key, &intermediate_key),
            key,
        }
    }

    pub fn roots(&self) -> Roots {
        roots(&[&self.root])
    }
}

pub fn roots(certificates: &[&[u8]]) -> Roots {
    Roots::from_pem(pem(certificates).as_bytes()).unwrap()
}

pub fn pem(certificates: &[&[u8]]) -> String {
    use base64::Engine as _;
    certificates
        .iter()
        .map(|der| {
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
            format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
        })
        .collect()
}

/// What an answer says. [`Make::new`] is right in everything.
pub struct Make {
    pub status: Vec<u8>,
    pub info: Info,
    pub content_type: &'static str,
    pub hash: Hash,
    pub spelling: Spelling,
    /// The certificates that the token brings, in this order.
    pub certificates: Vec<Vec<u8>>,
    pub signer_id: Vec<u8>,
    /// Encoded attributes, in this order; none leaves them out.
    pub attributes: Option<Vec<Vec<u8>>>,
    /// The order in which they are sent, if not that of DER.
    pub sent_unsorted: bool,
    pub unsigned: Vec<u8>,
    pub crls: Vec<u8>,
    pub signers: usize,
    pub key: Key,
    pub algorithm: Option<Vec<u8>>,
}

/// What a TSTInfo says.
#[derive(Clone)]
pub struct Info {
    pub version: u8,
    pub imprint_hash: Vec<u8>,
    pub imprint: Vec<u8>,
    pub serial: Vec<u8>,
    pub time: String,
    pub accuracy: Vec<u8>,
    pub nonce: Vec<u8>,
    pub tail: Vec<u8>,
}

impl Info {
    pub fn new() -> Self {
        Self {
            version: 1,
            imprint_hash: seq(&[&sha(Hash::Sha256), &null()]),
            imprint: Hash::Sha256.of(MESSAGE),
            serial: int(&[0x2a]),
            time: TIME.to_owned(),
            accuracy: seq(&[&int(&[1])]),
            nonce: Vec::new(),
            tail: Vec::new(),
        }
    }

    pub fn der(&self) -> Vec<u8> {
        seq(&[
            &int(&[self.version]),
            &oid("1.3.6.1.4.1.99999.1"),
            &seq(&[&self.imprint_hash, &octets(&self.imprint)]),
            &self.serial,
            &generalized(&self.time),
            &self.accuracy,
            &self.nonce,
            &self.tail,
        ])
    }
}

pub fn attribute(name: &str, value: &[u8]) -> Vec<u8> {
    seq(&[&oid(name), &set(&[value])])
}

pub fn content_type(of: &str) -> Vec<u8> {
    attribute("1.2.840.113549.1.9.3", &oid(of))
}

pub fn message_digest(digest: &[u8]) -> Vec<u8> {
    attribute("1.2.840.113549.1.9.4", &octets(digest))
}

/// signing-certificate: SHA-1 of the certificate.
pub fn certificate_v1(der: &[u8], more: &[u8]) -> Vec<u8> {
    let id = seq(&[&octets(sha1::Sha1::digest(der).as_slice()), more]);
    attribute("1.2.840.113549.1.9.16.2.12", &seq(&[&seq(&[&id])]))
}

/// signing-certificate-v2; SHA-256 is left out, as DER wants it.
pub fn certificate_v2(hash: Hash, der: &[u8], more: &[u8]) -> Vec<u8> {
    let algorithm = if hash == Hash::Sha256 { Vec::new() } else { seq(&[&sha(hash)]) };
    let id = seq(&[&algorithm, &octets(&hash.of(der)), more]);
    attribute("1.2.840.113549.1.9.16.2.47", &seq(&[&seq(&[&id])]))
}

pub fn issuer_serial(issuer: &str, serial: u8) -> Vec<u8> {
    seq(&[&seq(&[&context(4, &[&name(issuer)])]), &int(&[serial])])
}

impl Make {
    pub fn new(tsa: &Tsa) -> Self {
        let info = Info::new();
        Self {
            status: seq(&[&int(&[0])]),
            content_type: TST_INFO,
            hash: Hash::Sha256,
            spelling: Spelling::WithHash,
            certificates: vec![tsa.signer.clone(), tsa.intermediate.clone()],
            signer_id: seq(&[&name("Intermediate"), &int(&[3])]),
            attributes: Some(vec![
                content_type(TST_INFO),
                message_digest(&Hash::Sha256.of(&info.der())),
                certificate_v2(Hash::Sha256, &tsa.signer, &issuer_serial("Intermediate", 3)),
            ]),
            sent_unsorted: false,
            unsigned: Vec::new(),
            crls: Vec::new(),
            signers: 1,
            key: tsa.key.clone(),
            algorithm: None,
            info,
        }
    }

    /// Changes the TSTInfo, and the messageDigest with it.
    pub fn info(mut self, change: impl FnOnce(&mut Info)) -> Self {
        change(&mut self.info);
        let digest = message_digest(&self.hash.of(&self.info.der()));
        if let Some(attributes) = &mut self.attributes {
            attributes[1] = digest;
        }
        self
    }

    /// Changes anything else.
    pub fn but(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Signs by another hash or spelling.
    pub fn hash(self, hash: Hash, spelling: Spelling) -> Self {
        self.but(|make| (make.hash, make.spelling) = (hash, spelling)).info(|_| {})
    }

    pub fn attribute(self, n: usize, value: Vec<u8>) -> Self {
        self.but(|make| make.attributes.as_mut().unwrap()[n] = value)
    }

    pub fn build(&self) -> Vec<u8> {
        let info = self.info.der();
        let (sent, signed) = match &self.attributes {
            None => (Vec::new(), info.clone()),
            Some(attributes) => {
                let mut sorted = attributes.clone();
                sorted.sort();
                let contents = if self.sent_unsorted { attributes.concat() } else { sorted.concat() };
                (context(0, &[&contents]), set(&[&sorted.concat()]))
            }
        };
        let signature = self.key.sign(self.hash, self.spelling, &signed);
        let digest = seq(&[&sha(self.hash), &null()]);
        let algorithm = self.algorithm.clone().unwrap_or_else(|| self.key.algorithm(self.hash, self.spelling));
        let signer =
            seq(&[&int(&[1]), &self.signer_id, &digest, &sent, &algorithm, &octets(&signature), &self.unsigned]);
        let certificates = context(0, &[&self.certificates.concat()]);
        let signed_data = seq(&[
            &int(&[3]),
            &set(&[&digest]),
            &seq(&[&oid(self.content_type), &context(0, &[&octets(&info)])]),
            if self.certificates.is_empty() { &[] } else { &certificates },
            &self.crls,
            &set(&[&signer.repeat(self.signers)]),
        ]);
        seq(&[&self.status, &seq(&[&oid("1.2.840.113549.1.7.2"), &context(0, &[&signed_data])])])
    }
}
