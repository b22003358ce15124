//! A seal: its signature by a key that was entitled to it, and the tokens over that signature.

use super::{findings::Code, keyring::Keyring};
use crate::{
    errors::chain,
    seal::Seal,
    time::Utc,
    timestamp::{Stamp, Verifier},
};

/// A seal whose signature verifies, as far as there are keys.
pub(crate) struct Opened {
    pub seal: Seal,
    pub tokens: Tokens,
}

/// The tokens in a seal.
#[derive(Default)]
pub(crate) struct Tokens {
    pub trusted: Vec<Stamp>,
    /// Of authorities that lead to no given root.
    pub untrusted: u64,
    /// What is wrong with the others.
    pub bad: Vec<String>,
}

impl Tokens {
    fn of(seal: &Seal, verifier: &Verifier) -> Self {
        let mut tokens = Self::default();
        for der in &seal.timestamps {
            match verifier.verify(der, &seal.signature) {
                Ok(stamp) => tokens.trusted.push(stamp),
                Err(error) if error.is_untrusted() => tokens.untrusted += 1,
                Err(error) => tokens.bad.push(chain(&error)),
            }
        }
        tokens
    }

    /// The instant by which the seal had been signed.
    pub fn by(&self) -> Option<Utc> {
        self.trusted.iter().map(|stamp| stamp.latest).min()
    }
}

/// Parses a seal and checks its signature by a key that was entitled to make entry `index` at `at`. `by` is when trusted time shows the
/// entry in the log.
pub(crate) fn open_seal(
    bytes: &[u8],
    keyring: &Keyring,
    verifier: &Verifier,
    (index, at, by): (u64, Utc, Option<Utc>),
) -> Result<Opened, (Code, String)> {
    let seal = Seal::from_bytes(bytes).map_err(|e| (Code::SealMalformed, chain(&e)))?;
    if seal.to_bytes() != bytes {
        return Err((Code::SealMalformed, "it is not spelled as the format spells a seal".to_owned()));
    }
    let tokens = Tokens::of(&seal, verifier);
    // That there are no keys at all is one finding, not one for each seal.
    if keyring.is_empty() {
        return Ok(Opened { seal, tokens });
    }
    let by = [by, tokens.by()].into_iter().flatten().min();
    let key = keyring.receipts_key(index, &seal.key_id, at, by).map_err(|refusal| (refusal.code, refusal.says))?;
    seal.verify(&key).map_err(|e| (Code::SealSignature, chain(&e)))?;
    Ok(Opened { seal, tokens })
}
