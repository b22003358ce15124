//! Checkpoints: C2SP tlog-checkpoint as a signed note whose key name is the origin.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use signed_note::{Note, NoteError, Signature, VerificationError, Verifier, Verifiers};

use super::{
    LogError, MAX_SIZE,
    vkey::{self, VkeyError},
};
use crate::{
    digest::Digest,
    keys::{PublicKey, Signer},
    statement::Known,
};

/// The most bytes of a checkpoint that are read.
pub const MAX_CHECKPOINT: u64 = 64 * 1024;

/// The signature type of Ed25519 in a signed note.
const ED25519: u8 = 1;

/// A tree's size and root, said of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// RFC 6962 root.
    pub root: Digest,
}

/// The verifier key of a log, in the spelling that other tools take: `<origin>+<hash>+<base64>`.
pub fn vkey(origin: &str, key: &PublicKey) -> String {
    vkey::write(origin, ED25519, key)
}

/// The log's origin and key that a verifier key names.
///
/// # Errors
/// Any other text, such as a witness's verifier key.
pub fn from_vkey(text: &str) -> Result<(String, PublicKey), VkeyError> {
    vkey::read(text, ED25519, "a log's checkpoints")
}

impl Checkpoint {
    /// The signed note.
    ///
    /// # Errors
    /// An origin that cannot be a key name (empty, with white space or `+`), and the signer's failures.
    pub fn sign(&self, key: &dyn Signer) -> Result<Vec<u8>, LogError> {
        self.sign_with(&[key])
    }

    /// The signed note with a line of each key: the first one is the one in use, another the one before it (FORMAT, section 6).
    ///
    /// # Errors
    /// As [`Checkpoint::sign`].
    pub fn sign_with(&self, keys: &[&dyn Signer]) -> Result<Vec<u8>, LogError> {
        if !signed_note::is_key_name_valid(&self.origin) {
            return Err(LogError::Checkpoint("its origin is empty or has white space or `+` in it"));
        }
        let text = self.text();
        let control = || LogError::Checkpoint("its origin has control characters in it");
        let mut lines = Vec::new();
        for key in keys {
            let signature = key.sign(text.as_bytes())?.to_vec();
            let id = signed_note::key_id(&self.origin, &typed(key.public()));
            lines.push(Signature::new(self.origin.clone(), id, signature).map_err(|_| control())?);
        }
        Ok(Note::new(text.as_bytes(), &lines).map_err(|_| control())?.to_bytes())
    }

    /// Reads a checkpoint of `origin` that one of `keys` signed, and names that key by fingerprint. Lines of other keys, such as
    /// witnesses', are left alone; a line of one of `keys` that does not verify is an error, whatever the others say.
    ///
    /// # Errors
    /// Another origin, no signature by one of the keys, a wrong one, and whatever is malformed.
    pub fn open(bytes: &[u8], origin: &str, keys: &[PublicKey]) -> Result<(Self, String), LogError> {
        let (checkpoint, note) = Self::parse(bytes)?;
        if checkpoint.origin != origin {
            return Err(LogError::Origin { wanted: origin.to_owned(), found: checkpoint.origin });
        }
        signed_by(&note, origin, keys).map(|by| (checkpoint, by))
    }

    /// Reads what a checkpoint says, whoever said it.
    ///
    /// # Errors
    /// Whatever is malformed.
    pub fn parse_unverified(bytes: &[u8]) -> Result<Self, LogError> {
        Self::parse(bytes).map(|(checkpoint, _)| checkpoint)
    }

    /// Size and root, as an entry carries them.
    pub fn known(&self) -> Known {
        Known { size: self.size, root: self.root }
    }

    /// The note's text: what the log, and its witnesses, sign. It ends with a line feed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    fn parse(bytes: &[u8]) -> Result<(Self, Note), LogError> {
        let (checkpoint, note) = Self::parse_extended(bytes)?;
        if checkpoint.text().as_bytes() != note.text() {
            return Err(LogError::Checkpoint("its text has more lines than this format"));
        }
        if !signed_note::is_key_name_valid(&checkpoint.origin) {
            return Err(LogError::Checkpoint("its origin is empty or has white space or `+` in it"));
        }
        Ok((checkpoint, note))
    }

    /// The same where extension lines may follow the root, as they may in other logs than ours (C2SP tlog-checkpoint, "Note text").
    pub(super) fn parse_extended(bytes: &[u8]) -> Result<(Self, Note), LogError> {
        if bytes.len() as u64 > MAX_CHECKPOINT {
            return Err(LogError::Checkpoint("it is too long"));
        }
        let note = Note::from_bytes(bytes).map_err(|_| LogError::Checkpoint("it is no signed note"))?;
        let parsed = tlog_tiles::Checkpoint::from_bytes(note.text())
            .map_err(|_| LogError::Checkpoint("its text is not an origin, a size and a root"))?;
        let checkpoint =
            Self { origin: parsed.origin().to_owned(), size: parsed.size(), root: Digest(parsed.hash().0) };
        if !note.text().starts_with(checkpoint.text().as_bytes()) {
            return Err(LogError::Checkpoint("its text has another spelling than this format"));
        }
        if checkpoint.size > MAX_SIZE {
            return Err(LogError::TooLarge(checkpoint.size));
        }
        Ok((checkpoint, note))
    }
}

/// The fingerprint of the first of `keys` that signed the note as `origin`.
fn signed_by(note: &Note, origin: &str, keys: &[PublicKey]) -> Result<String, LogError> {
    let lines = lines_by(note, origin, keys)?;
    let of = |line: &Signature| keys.iter().find(|key| signed_note::key_id(origin, &typed(key)) == line.id());
    let by = lines.first().and_then(of).map(PublicKey::fingerprint);
    by.ok_or_else(|| LogError::NoKnownSignature(origin.to_owned()))
}

/// The lines by which `keys` signed the note as `origin`, at least one.
pub(super) fn lines_by(note: &Note, origin: &str, keys: &[PublicKey]) -> Result<Vec<Signature>, LogError> {
    let known = Keys(keys.iter().map(|key| NoteKey { origin: origin.to_owned(), key: *key }).collect());
    match note.verify(&known) {
        Ok((verified, _)) => Ok(verified),
        Err(NoteError::UnverifiedNote) => Err(LogError::NoKnownSignature(origin.to_owned())),
        Err(NoteError::InvalidSignature { name, id }) => {
            let by = known.verifier(&name, id).map_or_else(|_| format!("{name}+{id:08x}"), |_| known.fingerprint(id));
            Err(LogError::Signature(by))
        }
        Err(_) => Err(LogError::Checkpoint("its signatures cannot be told apart")),
    }
}

/// A key as the note's key id hashes it.
fn typed(key: &PublicKey) -> Vec<u8> {
    vkey::typed(ED25519, key)
}

/// A key under the name of the log. It verifies strictly, which signed_note's own verifier does not.
struct NoteKey {
    origin: String,
    key: PublicKey,
}

impl Verifier for NoteKey {
    fn name(&self) -> &str {
        &self.origin
    }
    fn key_id(&self) -> u32 {
        signed_note::key_id(&self.origin, &typed(&self.key))
    }
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        signature.try_into().is_ok_and(|signature| self.key.verify_strict(message, signature))
    }
}

struct Keys(Vec<NoteKey>);

impl Keys {
    fn fingerprint(&self, id: u32) -> String {
        self.0.iter().find(|k| k.key_id() == id).map(|k| k.key.fingerprint()).unwrap_or_default()
    }
}

impl Verifiers for Keys {
    fn verifier(&self, name: &str, id: u32) -> Result<&dyn Verifier, VerificationError> {
        match self.0.iter().find(|k| k.origin == name && k.key_id() == id) {
            Some(key) => Ok(key),
            None => Err(VerificationError::UnknownKey { name: name.to_owned(), id }),
        }
    }
}
