//! Why an answer or a token is not taken.

use crate::{digest::Digest, time::Utc};

/// Why an answer or a token is not taken. All but [`TokenError::is_untrusted`] say that it is wrong; those that are untrusted are
/// consistent in themselves, and nothing given to the verifier vouches for them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// More bytes than [`super::MAX_RESPONSE`].
    #[error("the answer has {0} bytes; a token takes at most {max}", max = super::MAX_RESPONSE)]
    TooLarge(usize),
    /// Not the DER of what it must be, or bytes after it.
    #[error("{part} is malformed: {detail}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The authority gave no token (RFC 3161, 2.4.2).
    #[error("the authority refused with status {status}{}{text}", if text.is_empty() { "" } else { ": " })]
    Refused {
        /// PKIStatus: 2 to 5.
        status: u32,
        /// The authority's own words and the named reason, both where given; control characters removed, at most 300 characters.
        text: String,
    },
    /// Status granted, and no token.
    #[error("the answer has no token")]
    NoToken,
    /// Not CMS SignedData over a TSTInfo.
    #[error("the token's content is not a TSTInfo in signed data")]
    Content,
    /// RFC 3161, 2.4.2: exactly one.
    #[error("the token has {0} signatures, not one")]
    Signers(usize),
    /// Signed attributes absent, or one of them absent, repeated or not as it must be (RFC 5652, 5.3 and 11).
    #[error("the token's signed attributes: {0}")]
    Attributes(&'static str),
    /// The messageDigest attribute is that of other content.
    #[error("the token's content is not what was signed")]
    MessageDigest,
    /// No signing-certificate attribute, or it names another certificate (RFC 3161, 2.4.1; RFC 5035; RFC 5816).
    #[error("the token's signing certificate: {0}")]
    SigningCertificate(&'static str),
    /// A hash, signature algorithm or key that is not verified here.
    #[error(
        "the token's {part} is of a kind that is not accepted (SHA-256 to SHA-512, RSA of 2,048 to 8,192 bits, ECDSA on P-256 or P-384)"
    )]
    Algorithm {
        /// Which.
        part: &'static str,
    },
    /// The CMS signature does not verify.
    #[error("the token's signature does not verify under the certificate that it names")]
    Signature,
    /// The signer's certificate is neither in the token nor among those given.
    #[error("the signer's certificate is neither in the token nor among those given")]
    SignerAbsent,
    /// It is there, and breaks RFC 5280 or has a critical extension that is not known.
    #[error("the signer's certificate cannot be read: {0}")]
    SignerCertificate(String),
    /// RFC 3161, 2.3: extended key usage, critical, with timeStamping alone.
    #[error("the signer's certificate is not for time stamping alone: {0}")]
    Purpose(&'static str),
    /// The token is over something else.
    #[error("the token is over another message")]
    Imprint,
    /// The token answers another request, or has no nonce.
    #[error("the token does not carry the nonce of the request")]
    Nonce,
    /// TSTInfo has an extension that is critical and unknown (RFC 3161, 2.4.2).
    #[error("the token has a critical extension that is not known")]
    CriticalExtension,
    /// A certificate of the path was not yet valid, or no longer.
    #[error("at the token's time, {at}, a certificate of its path was not valid: {detail}", at = crate::time::rfc3339(*at))]
    NotValidThen {
        /// The token's time.
        at: Utc,
        /// Which limit was passed.
        detail: String,
    },
    /// No path to a given root.
    #[error("no path from the signer's certificate ({signer}) to a given root")]
    NoPath {
        /// The signer's name, as its certificate has it.
        signer: String,
    },
    /// A path that breaks RFC 5280.
    #[error("the path of the signer's certificate: {0}")]
    Path(String),
}

impl TokenError {
    /// Whether the token is only not vouched for by what was given: no path to a given root, or the signer's certificate missing. Such a
    /// token shows no time; it does not show that something was changed.
    #[must_use]
    pub fn is_untrusted(&self) -> bool {
        matches!(self, Self::NoPath { .. } | Self::SignerAbsent)
    }
}

/// Why bytes are no roots.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// No PEM, or PEM that is cut short.
    #[error("not PEM: {0}")]
    Pem(String),
    /// A certificate that cannot be read; `number` counts from 1.
    #[error("certificate {number} cannot be read: {detail}")]
    Certificate {
        /// Its place in the file.
        number: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// No certificate that issued itself.
    #[error("no root certificate among {0} certificates (a root is its own issuer)")]
    NoRoot(usize),
    /// A shipped root that is not what the table says.
    #[error("the root {0} is not in the shipped set")]
    Unknown(Digest),
}

/// Text of others for a person: control characters become spaces, and it is cut at 300 characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
