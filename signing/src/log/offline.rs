//! Proofs of inclusion as text that stands by itself: C2SP tlog-proof (`c2sp.org/tlog-proof@v1`).

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Checkpoint, LogError, MAX_CHECKPOINT, MAX_SIZE, check_inclusion, inclusion, leaf_hash};
use crate::{digest::Digest, store::Reader};

/// The first line.
const FORMAT: &str = "c2sp.org/tlog-proof@v1";

/// The most bytes of a proof that are read.
pub const MAX_PROOF: u64 = MAX_CHECKPOINT + 4096;

/// That an entry is in the log, with the checkpoint that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineProof {
    /// The entry, from 0.
    pub index: u64,
    /// RFC 6962, 2.1.1: from the leaf's sibling up to the root's child.
    pub hashes: Vec<Digest>,
    /// The signed note, with every signature line that it came with.
    pub checkpoint: Vec<u8>,
}

/// Text that is no proof of this format.
#[derive(Debug, thiserror::Error)]
pub enum OfflineProofError {
    /// In words.
    #[error("it is no C2SP tlog-proof: {0}")]
    Malformed(&'static str),
    /// What is embedded is no checkpoint.
    #[error("the checkpoint in it cannot be read")]
    Checkpoint(#[source] LogError),
}

impl OfflineProof {
    /// Makes the proof from an archive's tiles; `checkpoint` is the note, as it was published.
    ///
    /// # Errors
    /// Those of [`inclusion`], and a note that is malformed.
    pub fn make(reader: &dyn Reader, index: u64, checkpoint: &[u8]) -> Result<Self, LogError> {
        let head = Checkpoint::parse_unverified(checkpoint)?;
        Ok(Self { index, hashes: inclusion(reader, index, &head)?, checkpoint: checkpoint.to_vec() })
    }

    /// The file, which is named `….tlog-proof`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("{FORMAT}\nindex {}\n", self.index);
        for hash in &self.hashes {
            out.push_str(&STANDARD.encode(hash.0));
            out.push('\n');
        }
        out.push('\n');
        let mut out = out.into_bytes();
        out.extend_from_slice(&self.checkpoint);
        out
    }

    /// Reads a proof and what its checkpoint says; nothing is verified. Extra data, which nothing would sign, is refused.
    ///
    /// # Errors
    /// Anything but the one spelling of this format.
    pub fn from_bytes(bytes: &[u8]) -> Result<(Self, Checkpoint), OfflineProofError> {
        let malformed = OfflineProofError::Malformed;
        if bytes.len() as u64 > MAX_PROOF {
            return Err(malformed("it is too long"));
        }
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").ok_or(malformed("it has no empty line"))?;
        let (head, checkpoint) = (&bytes[..end], &bytes[end + 2..]);
        let head = std::str::from_utf8(head).map_err(|_| malformed("it is not ASCII"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FORMAT) {
            return Err(malformed("its first line is not the format's"));
        }
        let index = match lines.next().and_then(|line| line.strip_prefix("index ")) {
            Some(digits) => digits.parse().ok().filter(|index: &u64| index.to_string() == digits && *index < MAX_SIZE),
            None => return Err(malformed("its second line is not the index")),
        };
        let index = index.ok_or(malformed("its index is no number of an entry"))?;
        let hash = |line: &str| <[u8; 32]>::try_from(STANDARD.decode(line).ok()?).ok().map(Digest);
        let hashes = lines.map(hash).collect::<Option<Vec<_>>>().ok_or(malformed("a hash in it is none"))?;
        let parsed = Checkpoint::parse_unverified(checkpoint).map_err(OfflineProofError::Checkpoint)?;
        Ok((Self { index, hashes, checkpoint: checkpoint.to_vec() }, parsed))
    }

    /// Whether `leaf` is the entry `index` of the tree of `checkpoint`, which is the one that [`OfflineProof::from_bytes`] gave.
    ///
    /// # Errors
    /// A proof that does not show it.
    pub fn check(&self, leaf: &[u8], checkpoint: &Checkpoint) -> Result<(), LogError> {
        check_inclusion(&self.hashes, self.index, leaf_hash(leaf), checkpoint)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::Dir;

    fn vectors() -> (Dir, OfflineProof, Vec<u8>) {
        let dir = Dir::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/vectors/archive"));
        let checkpoint = dir.read("checkpoint", MAX_CHECKPOINT).unwrap().unwrap();
        let proof = OfflineProof::make(&dir, 2, &checkpoint).unwrap();
        let leaf = super::super::entry_bundle(&dir, 0, 4).unwrap().remove(2);
        (dir, proof, leaf)
    }

    #[test]
    fn a_proof_comes_back_and_shows_its_own_leaf_only() {
        let (dir, proof, leaf) = vectors();
        let bytes = proof.to_bytes();
        assert!(bytes.starts_with(b"c2sp.org/tlog-proof@v1\nindex 2\n"));
        let (read, checkpoint) = OfflineProof::from_bytes(&bytes).unwrap();
        assert_eq!(read, proof);
        assert_eq!((checkpoint.size, proof.hashes.len()), (4, 2));
        read.check(&leaf, &checkpoint).unwrap();
        assert!(read.check(b"other", &checkpoint).is_err());
        assert!(OfflineProof { index: 3, ..read.clone() }.check(&leaf, &checkpoint).is_err());
        assert!(read.check(&leaf, &Checkpoint { size: 5, ..checkpoint }).is_err());
        assert!(matches!(OfflineProof::make(&dir, 4, &proof.checkpoint), Err(LogError::Range { .. })));
    }

    #[test]
    fn only_the_one_spelling_is_read() {
        let (_, proof, _) = vectors();
        let text = String::from_utf8(proof.to_bytes()).unwrap();
        for (from, to) in [
            ("@v1", "@v2"),
            ("index 2", "index 02"),
            ("index 2", "index +2"),
            ("index 2", "index 18446744073709551615"),
            ("index 2\n", ""),
            ("index 2\n", "extra YQ==\nindex 2\n"),
            ("index 2\n", "index 2\nAAAA\n"),
            ("=\n\n", "=\n"),
            ("\n\n", "\n\n\n"),
            ("\n", "\r\n"),
        ] {
            let altered = text.replacen(from, to, 1);
            assert_ne!(altered, text, "{from:?}");
            assert!(OfflineProof::from_bytes(altered.as_bytes()).is_err(), "{altered}");
        }
        assert!(OfflineProof::from_bytes(b"").is_err());
        assert!(OfflineProof::from_bytes(&vec![b'a'; MAX_PROOF as usize + 1]).is_err());
    }
}
