//! Cosignatures of witnesses: C2SP tlog-cosignature (v1.0.1), version 1 with Ed25519.
//!
//! A cosignature says that at its time the checkpoint was the largest consistent one that the witness had seen of that log ("Ed25519
//! signed message"). The time is the witness's clock.

use signed_note::{Note, Signature};

use super::{
    Checkpoint, LogError, MAX_CHECKPOINT,
    vkey::{self, VkeyError},
};
use crate::{
    keys::{PublicKey, SignError, Signer},
    time::{Utc, from_unix},
};

/// The signature type of a cosignature (C2SP signed-note, "Signature types").
const COSIGNATURE: u8 = 4;

/// The most lines that are read of a witness's answer: a note's verifier accepts at least 16 (C2SP signed-note, "Format").
pub const MAX_LINES: usize = 100;

/// What is wrong with cosignatures.
#[derive(Debug, thiserror::Error)]
pub enum CosignatureError {
    /// Not signature lines.
    #[error("the cosignature is malformed: {0}")]
    Malformed(&'static str),
    /// A line under a known key's name and id that is not that key's over this checkpoint.
    #[error("the cosignature is not by {0} over this checkpoint: it was altered, or forged, or is over another one")]
    Signature(String),
    /// No line is by a known key.
    #[error("there is no cosignature by a known witness")]
    Unknown,
    /// Nothing was signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// A witness: the name and the key by which its cosignatures are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    key: PublicKey,
}

impl WitnessKey {
    /// A witness by its name, which should be an URL without scheme ("Format").
    ///
    /// # Errors
    /// A name that no note can carry: empty, or with white space, control characters or `+` in it.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, VkeyError> {
        Self::from_vkey(&vkey::write(name, COSIGNATURE, &key))
    }

    /// Reads `<name>+<key id>+<base64>` with signature type 0x04.
    ///
    /// # Errors
    /// Any other text, such as a log's verifier key.
    pub fn from_vkey(text: &str) -> Result<Self, VkeyError> {
        let (name, key) = vkey::read(text, COSIGNATURE, "a witness's cosignatures")?;
        Ok(Self { name, key })
    }

    /// The witness as text that [`WitnessKey::from_vkey`] and other tools read.
    pub fn vkey(&self) -> String {
        vkey::write(&self.name, COSIGNATURE, &self.key)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The key id in its lines: the start of SHA-256 over name, line feed, 0x04 and key ("Format").
    pub fn id(&self) -> u32 {
        signed_note::key_id(&self.name, &vkey::typed(COSIGNATURE, &self.key))
    }
}

/// A witness's signature over a checkpoint's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// The witness's name.
    pub witness: String,
    /// Its key id.
    pub id: u32,
    /// The witness's clock, in whole seconds.
    pub at: Utc,
    /// Ed25519.
    pub signature: [u8; 64],
}

impl Cosignature {
    /// Signs a checkpoint's text, extension lines and all, which the caller has checked: only consistent growth may be signed.
    /// `key` must be the witness's; the time is cut to the second.
    ///
    /// # Errors
    /// The signer's; a time before 1970.
    pub fn sign(witness: &WitnessKey, key: &dyn Signer, text: &[u8], at: Utc) -> Result<Self, CosignatureError> {
        let seconds =
            u64::try_from(at.timestamp()).map_err(|_| CosignatureError::Malformed("its time is before 1970"))?;
        let at = time(seconds)?;
        let signature = key.sign(&message(seconds, text))?;
        if !witness.key.verify_strict(&message(seconds, text), &signature) {
            return Err(CosignatureError::Signature(witness.name.clone()));
        }
        Ok(Self { witness: witness.name.clone(), id: witness.id(), at, signature })
    }

    /// The signature line of a note, with its line feed.
    pub fn to_line(&self) -> String {
        let signature = [&(self.at.timestamp() as u64).to_be_bytes()[..], &self.signature].concat();
        let line = Signature::new(self.witness.clone(), self.id, signature).expect("a witness's name was checked");
        String::from_utf8(line.to_bytes()).expect("a signature line is text")
    }
}

/// The cosignatures by `witnesses` among signature lines over a checkpoint's text; of several by one witness the earliest. Lines of
/// other keys are left alone.
///
/// # Errors
/// What is no sequence of 1 to [`MAX_LINES`] signature lines; a line of a known witness that does not verify; none of a known one.
pub fn verify(lines: &[u8], text: &[u8], witnesses: &[WitnessKey]) -> Result<Vec<Cosignature>, CosignatureError> {
    let malformed = CosignatureError::Malformed;
    if lines.len() as u64 > MAX_CHECKPOINT {
        return Err(malformed("it is too long"));
    }
    let lines = std::str::from_utf8(lines).map_err(|_| malformed("it is not UTF-8"))?;
    let lines = lines.strip_suffix('\n').ok_or(malformed("its last line does not end"))?;
    if lines.chars().any(|c| c < ' ' && c != '\n') {
        return Err(malformed("it has control characters in it"));
    }
    let mut found: Vec<Cosignature> = Vec::new();
    for (number, line) in lines.split('\n').enumerate() {
        if number == MAX_LINES {
            return Err(malformed("it has too many lines"));
        }
        let line =
            Signature::from_bytes(line.as_bytes()).map_err(|_| malformed("a line of it is no signature line"))?;
        let Some(witness) = witnesses.iter().find(|w| w.name == line.name() && w.id() == line.id()) else { continue };
        let cosignature = read(&line)?;
        if !witness.key.verify_strict(&message(cosignature.at.timestamp() as u64, text), &cosignature.signature) {
            return Err(CosignatureError::Signature(witness.name.clone()));
        }
        match found.iter_mut().find(|c| (&c.witness, c.id) == (&cosignature.witness, cosignature.id)) {
            Some(before) if before.at <= cosignature.at => {}
            Some(before) => *before = cosignature,
            None => found.push(cosignature),
        }
    }
    if found.is_empty() { Err(CosignatureError::Unknown) } else { Ok(found) }
}

/// The same for a whole note, such as `evidenced witness show` prints: its text as a checkpoint, whoever signed it and whatever extension
/// lines follow, and the cosignatures in it.
///
/// # Errors
/// As [`verify`]; a note that is no checkpoint.
pub fn verify_note(note: &[u8], witnesses: &[WitnessKey]) -> Result<(Checkpoint, Vec<Cosignature>), NotWitnessed> {
    let (checkpoint, parsed) = Checkpoint::parse_extended(note)?;
    let lines = note.get(parsed.text().len() + 1..).unwrap_or_default();
    Ok((checkpoint, verify(lines, parsed.text(), witnesses)?))
}

/// A note that is no cosigned checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum NotWitnessed {
    /// Not a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] LogError),
    /// Not cosigned.
    #[error(transparent)]
    Cosignature(#[from] CosignatureError),
}

/// The note of a text with these signature lines after it.
pub(super) fn with_lines(note: &Note, added: &[Cosignature]) -> Vec<u8> {
    let mut bytes = note.to_bytes();
    added.iter().for_each(|cosignature| bytes.extend_from_slice(cosignature.to_line().as_bytes()));
    bytes
}

fn message(seconds: u64, text: &[u8]) -> Vec<u8> {
    [format!("cosignature/v1\ntime {seconds}\n").as_bytes(), text].concat()
}

/// `timestamped_signature`: eight bytes of time, big-endian, and the signature ("Format").
fn read(line: &Signature) -> Result<Cosignature, CosignatureError> {
    let bytes: &[u8; 72] = line.signature().try_into().map_err(|_| {
        CosignatureError::Malformed("a known witness's line has another length than a time and an Ed25519 signature")
    })?;
    let (seconds, signature) = bytes.split_at(8);
    let at = time(u64::from_be_bytes(seconds.try_into().expect("eight bytes")))?;
    let signature = signature.try_into().expect("64 bytes");
    Ok(Cosignature { witness: line.name().to_owned(), id: line.id(), at, signature })
}

fn time(seconds: u64) -> Result<Utc, CosignatureError> {
    // No calendar goes as far as the specification's 2^63 - 1.
    let at = i64::try_from(seconds).ok().and_then(from_unix);
    at.ok_or(CosignatureError::Malformed("its time lies beyond any calendar"))
}

#[cfg(test)]
mod tests;
