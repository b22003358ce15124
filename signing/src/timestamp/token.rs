//! An authority's answer (RFC 3161, 2.4.2) and the CMS in it (RFC 5652, 5), taken apart. What was signed stays as the bytes that it came
//! as.

use der::{Encode as _, Header, Tag, TagNumber, asn1::ObjectIdentifier};

use super::{
    MAX_RESPONSE, TokenError,
    algorithms::{Hash, Scheme, signature_scheme},
    der::{Algorithm, Element, Elements, context, context_primitive, malformed, only},
    errors::plain,
};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");

/// More certificates than any authority sends.
const MAX_CERTIFICATES: usize = 16;
const MAX_ATTRIBUTES: usize = 64;

/// What a token consists of.
pub(super) struct Token<'a> {
    /// The DER of the TSTInfo.
    pub info: &'a [u8],
    /// The contents of the SET of certificates, as sent; empty where there is none.
    pub certificates: &'a [u8],
    pub signer: SignerId<'a>,
    pub hash: Hash,
    pub scheme: Scheme,
    pub attributes: Attributes<'a>,
    pub signature: &'a [u8],
}

/// SignerIdentifier (RFC 5652, 5.3).
#[derive(Clone, Copy)]
pub(super) enum SignerId<'a> {
    /// The contents of the issuer's Name and of the serial number's INTEGER.
    Issued { raw: &'a [u8], issuer: &'a [u8], serial: &'a [u8] },
    /// The subject key identifier.
    KeyId { raw: &'a [u8], id: &'a [u8] },
}

impl<'a> SignerId<'a> {
    pub(super) fn raw(&self) -> &'a [u8] {
        match self {
            Self::Issued { raw, .. } | Self::KeyId { raw, .. } => raw,
        }
    }
}

/// The signed attributes that matter.
pub(super) struct Attributes<'a> {
    /// What the signature is over: the DER of all signed attributes as a SET OF (RFC 5652, 5.4).
    pub signed: Vec<u8>,
    pub message_digest: &'a [u8],
    /// The value of signing-certificate (RFC 2634, 5.4), which goes by SHA-1.
    pub certificate: Option<&'a [u8]>,
    /// The value of signing-certificate-v2 (RFC 5035, 3).
    pub certificate_v2: Option<&'a [u8]>,
}

impl<'a> Token<'a> {
    /// Takes a whole TimeStampResp apart.
    pub(super) fn read(der: &'a [u8]) -> Result<Self, TokenError> {
        const PART: &str = "the answer";
        if der.len() > MAX_RESPONSE {
            return Err(TokenError::TooLarge(der.len()));
        }
        let mut answer = Elements::new(only(der, Tag::Sequence, PART)?.value, PART)?;
        granted(answer.need(Tag::Sequence)?)?;
        if answer.at_end() {
            return Err(TokenError::NoToken);
        }
        let mut content = answer.sequence("the token")?;
        answer.end()?;
        if content.oid()? != SIGNED_DATA {
            return Err(TokenError::Content);
        }
        let explicit = content.need(context(TagNumber::N0))?.value;
        content.end()?;
        Self::signed_data(only(explicit, Tag::Sequence, "the signed data")?.value)
    }

    fn signed_data(value: &'a [u8]) -> Result<Self, TokenError> {
        let mut members = Elements::new(value, "the signed data")?;
        members.small()?;
        // digestAlgorithms: only an announcement of those in SignerInfo
        members.need(Tag::Set)?;
        let info = encapsulated(&mut members)?;
        let certificates = members.optional(context(TagNumber::N0))?.map_or(&[][..], |set| set.value);
        members.optional(context(TagNumber::N1))?;
        let signers = members.need(Tag::Set)?;
        members.end()?;

        let mut signers = Elements::new(signers.value, "the signatures")?;
        let mut found = Vec::new();
        while !signers.at_end() && found.len() < 2 {
            found.push(signers.need(Tag::Sequence)?);
        }
        let [signer] = found[..] else { return Err(TokenError::Signers(found.len())) };
        Self::signer_info(info, certificates, signer.value)
    }

    fn signer_info(info: &'a [u8], certificates: &'a [u8], value: &'a [u8]) -> Result<Self, TokenError> {
        const PART: &str = "the signature";
        let mut members = Elements::new(value, PART)?;
        members.small()?;
        let signer = signer_id(members.any()?)?;
        let digest = Algorithm::read(&mut members, "the digest algorithm")?;
        let attributes = members.optional(context(TagNumber::N0))?;
        let algorithm = Algorithm::read(&mut members, "the signature algorithm")?;
        let signature = members.need(Tag::OctetString)?.value;
        members.optional(context(TagNumber::N1))?;
        members.end()?;

        let digest = Hash::named(&digest).ok_or(TokenError::Algorithm { part: "digest" })?;
        let (scheme, hash) = signature_scheme(&algorithm, digest).ok_or(TokenError::Algorithm { part: "signature" })?;
        // RFC 8933, 3.1: one hash for the content and for the attributes
        if hash != digest {
            return Err(TokenError::Algorithm { part: "pair of digest and signature" });
        }
        let attributes = attributes.ok_or(TokenError::Attributes("there are none"))?;
        let attributes = Attributes::read(attributes.value)?;
        Ok(Self { info, certificates, signer, hash, scheme, attributes, signature })
    }

    /// The certificates as sent, in whatever order. Other choices of CertificateSet (RFC 5652, 10.2.3) are passed over.
    pub(super) fn certificates(&self) -> Result<Vec<&'a [u8]>, TokenError> {
        let mut set = Elements::new(self.certificates, "the certificates")?;
        let mut found = Vec::new();
        while !set.at_end() {
            let element = set.any()?;
            if element.tag == Tag::Sequence {
                found.push(element.raw);
            }
            if found.len() > MAX_CERTIFICATES {
                let detail = format!("more than {MAX_CERTIFICATES} certificates");
                return Err(TokenError::Malformed { part: "the certificates", detail });
            }
        }
        Ok(found)
    }
}

/// PKIStatusInfo (RFC 3161, 2.4.2): 0 is granted, 1 granted with modifications.
fn granted(status_info: Element<'_>) -> Result<(), TokenError> {
    const PART: &str = "the status";
    let mut members = Elements::new(status_info.value, PART)?;
    let status = members.small()?;
    let mut words = Vec::new();
    if let Some(texts) = members.optional(Tag::Sequence)? {
        let mut texts = Elements::new(texts.value, PART)?;
        while !texts.at_end() && words.len() < 8 {
            words.push(String::from_utf8_lossy(texts.need(Tag::Utf8String)?.value).into_owned());
        }
    }
    let failure = members.optional(Tag::BitString)?;
    members.end()?;
    if status <= 1 {
        return Ok(());
    }
    words.extend(failure.and_then(|bits| failure_name(bits.value)).map(str::to_owned));
    Err(TokenError::Refused { status, text: plain(&words.join("; ")) })
}

/// The first reason that PKIFailureInfo names.
fn failure_name(bits: &[u8]) -> Option<&'static str> {
    const NAMES: [(usize, &str); 8] = [
        (0, "badAlg"),
        (2, "badRequest"),
        (5, "badDataFormat"),
        (14, "timeNotAvailable"),
        (15, "unacceptedPolicy"),
        (16, "unacceptedExtension"),
        (17, "addInfoNotAvailable"),
        (25, "systemFailure"),
    ];
    // The first byte tells how many bits at the end are unused.
    let set = |n: usize| bits.get(1 + n / 8).is_some_and(|byte| byte & (0x80 >> (n % 8)) != 0);
    NAMES.iter().find(|(n, _)| set(*n)).map(|(_, name)| *name)
}

/// EncapsulatedContentInfo: the TSTInfo.
fn encapsulated<'a>(members: &mut Elements<'a>) -> Result<&'a [u8], TokenError> {
    const PART: &str = "the token's content";
    let mut inner = members.sequence(PART)?;
    if inner.oid()? != TST_INFO {
        return Err(TokenError::Content);
    }
    let explicit = inner.need(context(TagNumber::N0))?;
    inner.end()?;
    Ok(only(explicit.value, Tag::OctetString, PART)?.value)
}

fn signer_id(element: Element<'_>) -> Result<SignerId<'_>, TokenError> {
    const PART: &str = "the signer's identifier";
    match element.tag {
        Tag::Sequence => {
            let mut members = Elements::new(element.value, PART)?;
            let (issuer, serial) = (members.need(Tag::Sequence)?.value, members.need(Tag::Integer)?.value);
            members.end()?;
            Ok(SignerId::Issued { raw: element.raw, issuer, serial })
        }
        tag if tag == context_primitive(TagNumber::N0) => Ok(SignerId::KeyId { raw: element.raw, id: element.value }),
        tag => Err(malformed(PART, tag.unexpected_error(None))),
    }
}

impl<'a> Attributes<'a> {
    fn read(value: &'a [u8]) -> Result<Self, TokenError> {
        const PART: &str = "the signed attributes";
        let mut set = Elements::new(value, PART)?;
        let mut raw = Vec::new();
        let (mut content_type, mut message_digest, mut certificate, mut certificate_v2) = (None, None, None, None);
        while !set.at_end() {
            let element = set.need(Tag::Sequence)?;
            raw.push(element.raw);
            if raw.len() > MAX_ATTRIBUTES {
                return Err(TokenError::Attributes("there are more than 64"));
            }
            let mut attribute = Elements::new(element.value, PART)?;
            let place = match attribute.oid()? {
                CONTENT_TYPE => &mut content_type,
                MESSAGE_DIGEST => &mut message_digest,
                SIGNING_CERTIFICATE => &mut certificate,
                SIGNING_CERTIFICATE_V2 => &mut certificate_v2,
                _ => continue,
            };
            let mut values = Elements::new(attribute.need(Tag::Set)?.value, PART)?;
            attribute.end()?;
            let value = if values.at_end() { None } else { Some(values.any()?) };
            match value {
                Some(value) if values.at_end() && place.is_none() => *place = Some(value),
                _ => return Err(TokenError::Attributes("one of them does not have one value, or is there twice")),
            }
        }
        let content_type = content_type.ok_or(TokenError::Attributes("contentType is not among them"))?;
        if content_type.tag != Tag::ObjectIdentifier || content_type.value != TST_INFO.as_bytes() {
            return Err(TokenError::Attributes("contentType is not that of a TSTInfo"));
        }
        let message_digest = message_digest.ok_or(TokenError::Attributes("messageDigest is not among them"))?;
        if message_digest.tag != Tag::OctetString {
            return Err(TokenError::Attributes("messageDigest is no OCTET STRING"));
        }
        Ok(Self {
            signed: set_of(raw)?,
            message_digest: message_digest.value,
            certificate: certificate.map(|value| value.raw),
            certificate_v2: certificate_v2.map(|value| value.raw),
        })
    }
}

/// The DER of a SET OF with these members: in the order of their encodings (X.690, 11.6).
fn set_of(mut members: Vec<&[u8]>) -> Result<Vec<u8>, TokenError> {
    members.sort_unstable();
    let contents = members.concat();
    let part = "the signed attributes";
    let length = der::Length::try_from(contents.len()).map_err(|e| malformed(part, e))?;
    let mut der = Header::new(Tag::Set, length).and_then(|header| header.to_der()).map_err(|e| malformed(part, e))?;
    der.extend_from_slice(&contents);
    Ok(der)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_authoritys_words_without_control_characters() {
        let refusal =
            [&[0x30, 0x1a, 0x30, 0x18, 2, 1, 2, 0x30, 0x0d, 0x0c, 11][..], b"too\x1b[1mmany", &[3, 4, 0, 0, 2, 0]]
                .concat();
        let told = Token::read(&refusal).err().unwrap();
        assert_eq!(told, TokenError::Refused { status: 2, text: "too [1mmany; timeNotAvailable".to_owned() });
        assert_eq!(told.to_string(), "the authority refused with status 2: too [1mmany; timeNotAvailable");
        let bare = Token::read(&[0x30, 5, 0x30, 3, 2, 1, 5]).err().unwrap();
        assert_eq!(bare.to_string(), "the authority refused with status 5");
        assert_eq!(Token::read(&[0x30, 5, 0x30, 3, 2, 1, 0]).err(), Some(TokenError::NoToken));
    }

    #[test]
    fn attributes_are_put_into_der_order_before_they_are_hashed() {
        let (short, long, other) = (&[0x30, 1, 9][..], &[0x30, 2, 1, 1][..], &[0x30, 1, 8][..]);
        assert_eq!(set_of(vec![long, short, other]).unwrap(), [&[0x31, 10][..], other, short, long].concat());
    }
}
