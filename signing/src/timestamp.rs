//! Trusted time: RFC 3161 time-stamp tokens, asked for and verified at their own time.
//!
//! A [`Verifier`] is given [`Roots`] and says of a whole TimeStampResp whether it is a token over a message, and when that was
//! ([`Stamp`]). Nothing here knows what time it is now: a certificate that has expired since then was valid then, which is what counts.
//! Revocation is not looked at (nothing offline could tell), so tokens of two authorities show more than those of one.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

mod algorithms;
mod authorities;
mod der;
mod errors;
mod info;
mod paths;
mod request;
mod roots;
mod signer;
mod token;

pub use algorithms::Hash;
pub use authorities::{AUTHORITIES, Authority};
pub use errors::{RootsError, TokenError};
pub use info::Imprint;
pub use request::Request;
pub use roots::{Root, Roots};

use crate::{
    digest::Digest,
    time::{Utc, millis},
};
use info::Info;
use signer::Signer;
use token::Token;

/// The most bytes of an answer. Those of public authorities have 3 to 10 KiB.
pub const MAX_RESPONSE: usize = 64 * 1024;

/// Signers that are remembered. An archive has a few; one that was made to have many gains nothing by it.
const MAX_SIGNERS: usize = 256;

/// What a verified token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The authority's time (genTime), cut to a millisecond.
    pub at: Utc,
    /// The message existed no later than somewhere from here…
    pub earliest: Utc,
    /// …to here: the time less and with the accuracy that the token states, or one second where it states none; rounded outwards to
    /// milliseconds.
    pub latest: Utc,
    /// Who signed: CN of the signing certificate's subject.
    pub authority: String,
    /// SHA-256 of the root certificate that vouches for it.
    pub root: Digest,
    /// That root's name.
    pub root_name: String,
    /// The token's serial number, unique with its authority: hexadecimal digits of the INTEGER.
    pub serial: String,
}

/// An authority's answer to a request, verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// What the token says.
    pub stamp: Stamp,
    /// SHA-256 of the answer's bytes, by which the archive names it.
    pub digest: Digest,
}

/// Verifies tokens under given roots. One may serve many threads; it remembers signers and their paths, so that each further token of one
/// costs one signature check.
#[derive(Debug, Default)]
pub struct Verifier {
    roots: Roots,
    signers: RwLock<HashMap<Digest, Arc<Signer>>>,
}

impl Verifier {
    /// A verifier that trusts these roots.
    pub fn new(roots: Roots) -> Self {
        Self { roots, signers: RwLock::default() }
    }

    /// What is trusted.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Verifies the answer to `request`, as the agent must before it keeps one (RFC 3161, 2.2): all that [`Verifier::verify`] does, and
    /// the nonce.
    ///
    /// # Errors
    /// What is wrong with it, or that nothing given vouches for it.
    pub fn check_answer(&self, request: &Request, der: &[u8]) -> Result<Answer, TokenError> {
        let stamp = self.judge(der, |info| {
            let imprint = &info.imprint;
            if imprint.hash != Hash::Sha256 || imprint.digest != request.imprint.0 {
                return Err(TokenError::Imprint);
            }
            if info.nonce == Some(&request.nonce[..]) { Ok(()) } else { Err(TokenError::Nonce) }
        })?;
        Ok(Answer { stamp, digest: Digest::of(der) })
    }

    /// Verifies a TimeStampResp over `message`, at the token's own time.
    ///
    /// # Errors
    /// What is wrong with it, or that nothing given vouches for it.
    pub fn verify(&self, der: &[u8], message: &[u8]) -> Result<Stamp, TokenError> {
        self.judge(der, |info| if info.imprint.is_of(message) { Ok(()) } else { Err(TokenError::Imprint) })
    }

    fn judge(&self, der: &[u8], wanted: impl Fn(&Info<'_>) -> Result<(), TokenError>) -> Result<Stamp, TokenError> {
        let token = Token::read(der)?;
        let info = Info::read(token.info)?;
        wanted(&info)?;
        if token.attributes.message_digest != token.hash.of(token.info) {
            return Err(TokenError::MessageDigest);
        }
        let signer = self.signer(&token)?;
        if !signer.key.verify(token.scheme, token.hash, &token.attributes.signed, token.signature) {
            return Err(TokenError::Signature);
        }
        let out_of_range = || TokenError::Malformed { part: "TSTInfo", detail: "its time is out of range".to_owned() };
        let second = u64::try_from(info.time.timestamp()).map_err(|_| out_of_range())?;
        let path = match signer.known_path(second) {
            Some(path) => path,
            None => {
                let path = paths::find(&signer, &self.roots, info.time, second)?;
                signer.keep_path(&path);
                path
            }
        };
        let (earliest, latest) = info.bounds().ok_or_else(out_of_range)?;
        Ok(Stamp {
            at: millis(info.time),
            earliest,
            latest,
            authority: signer.name.clone(),
            root: path.root,
            root_name: path.root_name,
            serial: hex::encode(info.serial),
        })
    }

    /// The signer, found among the same certificates by the same names before, or now.
    fn signer(&self, token: &Token<'_>) -> Result<Arc<Signer>, TokenError> {
        let named = [token.certificates, token.signer.raw()];
        let bound = [token.attributes.certificate, token.attributes.certificate_v2].map(Option::unwrap_or_default);
        let mut key = Vec::new();
        for part in named.into_iter().chain(bound) {
            key.extend_from_slice(&(part.len() as u64).to_be_bytes());
            key.extend_from_slice(part);
        }
        let key = Digest::of(&key);
        if let Some(known) = self.signers.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(known));
        }
        let signer = Arc::new(Signer::find(token, &self.roots.others)?);
        let mut signers = self.signers.write().unwrap_or_else(PoisonError::into_inner);
        if signers.len() < MAX_SIGNERS {
            signers.insert(key, Arc::clone(&signer));
        }
        Ok(signer)
    }
}

/// What the token in a TimeStampResp is over, and when it says that it was made; nothing is verified. It tells which of several messages to
/// verify it against.
///
/// # Errors
/// Bytes that are no token.
pub fn peek(der: &[u8]) -> Result<(Imprint, Utc), TokenError> {
    let token = Token::read(der)?;
    let info = Info::read(token.info)?;
    Ok((info.imprint, millis(info.time)))
}
