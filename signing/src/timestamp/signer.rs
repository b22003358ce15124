//! The certificate that signed a token: which it is, that the token binds itself to it, and what it may be used for.

use std::sync::{PoisonError, RwLock};

use der::{Decode as _, Tag, TagNumber, Tagged as _};
use rustls_pki_types::CertificateDer;
use sha1::Digest as _;
use webpki::EndEntityCert;
use x509_cert::{
    Certificate,
    ext::pkix::{ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier},
    name::Name,
};

use super::{
    TokenError,
    algorithms::{Hash, Key},
    der::{Algorithm, Element, Elements, context, only},
    errors::plain,
    paths::Path,
    token::{Attributes, SignerId, Token},
};

const TIME_STAMPING: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

/// Paths of one signer are few: it has one or two, for different times.
const MAX_PATHS: usize = 16;

/// A signer with what was found out about it.
#[derive(Debug)]
pub(super) struct Signer {
    pub der: CertificateDer<'static>,
    pub key: Key,
    /// CN of the subject, or the whole of it.
    pub name: String,
    /// The other certificates that the token brought.
    pub others: Vec<CertificateDer<'static>>,
    paths: RwLock<Vec<Path>>,
}

impl Signer {
    /// The signer of a token among its certificates and `extra` ones: it is the one that the token names, and its signing-certificate
    /// attributes say so.
    pub(super) fn find(token: &Token<'_>, extra: &[CertificateDer<'static>]) -> Result<Self, TokenError> {
        let sent = token.certificates()?;
        let mut refusal = TokenError::SignerAbsent;
        for der in sent.iter().copied().chain(extra.iter().map(AsRef::as_ref)) {
            let certificate = CertificateDer::from(der);
            let parsed = match EndEntityCert::try_from(&certificate) {
                Ok(parsed) => parsed,
                Err(error) => {
                    if bound(&token.attributes, None, der).is_ok() {
                        refusal = TokenError::SignerCertificate(error.to_string());
                    }
                    continue;
                }
            };
            if !is_named(&parsed, der, &token.signer) {
                continue;
            }
            match bound(&token.attributes, Some(&parsed), der) {
                Ok(()) => {
                    let key = usable(&parsed, der)?;
                    let others = sent.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
                    let der = CertificateDer::from(der.to_vec());
                    return Ok(Self { key, name: subject(&der), der, others, paths: RwLock::default() });
                }
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    /// The path that is valid at that second, from those known.
    pub(super) fn known_path(&self, second: u64) -> Option<Path> {
        let paths = self.paths.read().unwrap_or_else(PoisonError::into_inner);
        paths.iter().find(|path| path.valid.contains(&second)).cloned()
    }

    /// Keeps a path for later tokens.
    pub(super) fn keep_path(&self, path: &Path) {
        let mut paths = self.paths.write().unwrap_or_else(PoisonError::into_inner);
        if paths.len() < MAX_PATHS {
            paths.push(path.clone());
        }
    }
}

pub(super) fn parse(der: &[u8]) -> Result<Certificate, der::Error> {
    Certificate::from_der(der)
}

/// CN of a certificate's subject, or the whole of it.
pub(super) fn subject(der: &[u8]) -> String {
    parse(der).map_or_else(|_| "unreadable".to_owned(), |certificate| name(&certificate.tbs_certificate.subject))
}

fn name(subject: &Name) -> String {
    const COMMON_NAME: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("2.5.4.3");
    let common = subject.0.iter().flat_map(|part| part.0.iter()).find(|value| value.oid == COMMON_NAME);
    let text = match common {
        Some(value) if value.value.tag() == Tag::BmpString => {
            let units: Vec<u16> =
                value.value.value().chunks(2).map(|pair| pair.iter().fold(0, |n, b| n << 8 | u16::from(*b))).collect();
            String::from_utf16_lossy(&units)
        }
        Some(value) => String::from_utf8_lossy(value.value.value()).into_owned(),
        None => subject.to_string(),
    };
    plain(&text)
}

fn is_named(parsed: &EndEntityCert<'_>, der: &[u8], signer: &SignerId<'_>) -> bool {
    match signer {
        SignerId::Issued { issuer, serial, .. } => parsed.issuer() == *issuer && parsed.serial() == *serial,
        SignerId::KeyId { id, .. } => parse(der).is_ok_and(|certificate| {
            matches!(certificate.tbs_certificate.get::<SubjectKeyIdentifier>(), Ok(Some((_, found))) if found.0.as_bytes() == *id)
        }),
    }
}

/// RFC 3161, 2.4.1, with RFC 5035 and RFC 5816: at least one signing-certificate attribute, and the first certificate of each is the
/// signer's. One that could not be parsed is compared by its hash alone.
fn bound(attributes: &Attributes<'_>, parsed: Option<&EndEntityCert<'_>>, der: &[u8]) -> Result<(), TokenError> {
    if attributes.certificate.is_none() && attributes.certificate_v2.is_none() {
        return Err(TokenError::SigningCertificate("no attribute names it"));
    }
    if let Some(value) = attributes.certificate {
        let mut first = first_id(value)?;
        let hash = first.need(Tag::OctetString)?.value;
        matches_signer(hash == sha1::Sha1::digest(der).as_slice(), first, parsed)?;
    }
    if let Some(value) = attributes.certificate_v2 {
        let mut first = first_id(value)?;
        let algorithm = if first.next_is(Tag::Sequence) {
            Hash::named(&Algorithm::read(&mut first, PART)?)
                .ok_or(TokenError::Algorithm { part: "signing certificate" })?
        } else {
            Hash::Sha256
        };
        let hash = first.need(Tag::OctetString)?.value;
        matches_signer(hash == algorithm.of(der), first, parsed)?;
    }
    Ok(())
}

const PART: &str = "the signing certificate";

/// The first ESSCertID of `SEQUENCE { certs SEQUENCE OF ESSCertID, policies … OPTIONAL }`.
fn first_id(value: &[u8]) -> Result<Elements<'_>, TokenError> {
    let mut members = Elements::new(only(value, Tag::Sequence, PART)?.value, PART)?;
    let mut list = members.sequence(PART)?;
    members.optional(Tag::Sequence)?;
    members.end()?;
    list.sequence(PART)
}

/// `rest` is what follows the hash: issuerSerial, which may be left out.
fn matches_signer(hash: bool, mut rest: Elements<'_>, parsed: Option<&EndEntityCert<'_>>) -> Result<(), TokenError> {
    if !hash {
        return Err(TokenError::SigningCertificate("the attribute names another one, by its hash"));
    }
    if let Some(issuer_serial) = rest.optional(Tag::Sequence)? {
        let mut members = Elements::new(issuer_serial.value, PART)?;
        let mut names = members.sequence(PART)?;
        let named: Element<'_> = names.need(context(TagNumber::N4))?;
        let serial = members.need(Tag::Integer)?.value;
        names.end()?;
        members.end()?;
        let issuer = only(named.value, Tag::Sequence, PART)?.value;
        if parsed.is_some_and(|parsed| issuer != parsed.issuer() || serial != parsed.serial()) {
            return Err(TokenError::SigningCertificate(
                "the attribute names another one, by its issuer and serial number",
            ));
        }
    }
    rest.end()
}

/// RFC 3161, 2.3: extended key usage is critical and names timeStamping alone; a key usage allows signatures only (RFC 5280, 4.2.1.12).
fn usable(parsed: &EndEntityCert<'_>, der: &[u8]) -> Result<Key, TokenError> {
    let unreadable = |e: der::Error| TokenError::Malformed { part: "the signer's certificate", detail: e.to_string() };
    let certificate = parse(der).map_err(unreadable)?.tbs_certificate;
    let (critical, usage) = certificate
        .get::<ExtendedKeyUsage>()
        .map_err(unreadable)?
        .ok_or(TokenError::Purpose("it has no extended key usage"))?;
    match usage.0[..] {
        [TIME_STAMPING] if critical => {}
        [TIME_STAMPING] => return Err(TokenError::Purpose("its extended key usage is not critical")),
        _ if usage.0.contains(&TIME_STAMPING) => return Err(TokenError::Purpose("it has other purposes too")),
        _ => return Err(TokenError::Purpose("its purpose is another")),
    }
    if let Some((_, KeyUsage(bits))) = certificate.get::<KeyUsage>().map_err(unreadable)? {
        let signing = KeyUsages::DigitalSignature | KeyUsages::NonRepudiation;
        if bits.is_disjoint(signing) || !(bits - signing).is_empty() {
            return Err(TokenError::Purpose("its key usage is not that of signatures alone"));
        }
    }
    Key::from_spki(&parsed.subject_public_key_info()).ok_or(TokenError::Algorithm { part: "key" })
}
