//! What the log explains: every name, and every bundle's digest, with the entry that tells it. By 128 bits of a digest, 24 bytes each.
//!
//! # Memory
//! The newest are held, at most [`HELD`]; the others lie in a temporary file by day, as names do in the archive, and are read back a
//! day at a time, of which the last [`DAYS`] are held. So memory grows with the objects of a day, not with those of the log.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Mutex,
};

use super::{findings::CannotVerify, lock, scratch::Scratch};
use crate::digest::Digest;

/// Records that wait to be written.
const HELD: usize = 32_768;

/// Days that were read back and are held.
const DAYS: usize = 4;

/// Bytes of a record: half a digest, and the entry.
const RECORD: usize = 24;

type Half = [u8; 16];

/// The first half of a digest: nobody finds two names, or two bundles, that share it.
pub(crate) fn half(digest: Digest) -> Half {
    *digest.0.first_chunk().expect("a digest has 32 bytes")
}

/// The names that the log explains, for every thread.
pub(crate) struct Expected(Mutex<Shelves>);

struct Shelves {
    most: usize,
    /// By shelf; a name has one shelf, and so has a digest.
    held: BTreeSet<(u32, Half, u64)>,
    scratch: Scratch,
    /// Where the records of a shelf lie, in sorted pieces: place and number.
    pieces: HashMap<u32, Vec<(u64, usize)>>,
    /// Shelves that were read back, the newest first.
    back: VecDeque<(u32, Vec<(Half, u64)>)>,
}

impl Default for Expected {
    fn default() -> Self {
        Self::holding(HELD)
    }
}

impl Expected {
    fn holding(most: usize) -> Self {
        Self(Mutex::new(Shelves {
            most,
            held: BTreeSet::new(),
            scratch: Scratch::default(),
            pieces: HashMap::new(),
            back: VecDeque::new(),
        }))
    }

    /// The entry that names an object.
    pub fn index(&self, name: &str) -> Result<Option<u64>, CannotVerify> {
        lock(&self.0).find(day(name), half(Digest::of(name.as_bytes())))
    }

    /// The first entry that names a bundle with this digest.
    pub fn bundle(&self, digest: Digest) -> Result<Option<u64>, CannotVerify> {
        lock(&self.0).find(of_digest(digest), half(digest))
    }

    /// Adds a name; the entry that named it before, if one did.
    pub fn add(&self, name: &str, index: u64) -> Result<Option<u64>, CannotVerify> {
        let (shelf, half) = (day(name), half(Digest::of(name.as_bytes())));
        let mut shelves = lock(&self.0);
        let before = shelves.find(shelf, half)?;
        if before.is_none() {
            shelves.put(shelf, half, index)?;
        }
        Ok(before)
    }

    /// Adds a bundle's digest.
    pub fn add_bundle(&self, digest: Digest, index: u64) -> Result<(), CannotVerify> {
        lock(&self.0).put(of_digest(digest), half(digest), index)
    }

    /// The entries whose bundle has the digest of an earlier one's, each with the first that has it.
    pub fn same_bundles(&self) -> Result<BTreeMap<u64, u64>, CannotVerify> {
        let (mut same, mut shelves) = (BTreeMap::new(), lock(&self.0));
        for byte in 0..=u8::MAX {
            let shelf = DIGESTS | u32::from(byte);
            let mut all = shelves.read(shelf)?;
            let held = shelves.held.range((shelf, [0; 16], 0)..=(shelf, [u8::MAX; 16], u64::MAX));
            all.extend(held.map(|(_, half, index)| (*half, *index)));
            all.sort_unstable();
            for group in all.chunk_by(|a, b| a.0 == b.0) {
                same.extend(group[1..].iter().map(|(_, index)| (*index, group[0].1)));
            }
        }
        Ok(same)
    }
}

impl Shelves {
    fn put(&mut self, shelf: u32, half: Half, index: u64) -> Result<(), CannotVerify> {
        self.held.insert((shelf, half, index));
        if self.held.len() < self.most {
            return Ok(());
        }
        let held: Vec<_> = std::mem::take(&mut self.held).into_iter().collect();
        let bytes: Vec<u8> =
            held.iter().flat_map(|(_, half, index)| half.iter().copied().chain(index.to_be_bytes())).collect();
        let mut at = self.scratch.add(&bytes)?;
        for piece in held.chunk_by(|a, b| a.0 == b.0) {
            self.pieces.entry(piece[0].0).or_default().push((at, piece.len()));
            at += (piece.len() * RECORD) as u64;
        }
        self.back.clear();
        Ok(())
    }

    fn find(&mut self, shelf: u32, half: Half) -> Result<Option<u64>, CannotVerify> {
        if self.pieces.contains_key(&shelf) {
            match self.back.iter().position(|(held, _)| *held == shelf) {
                Some(0) => {}
                Some(at) => self.back.swap(0, at),
                None => {
                    let read = self.read(shelf)?;
                    self.back.truncate(DAYS - 1);
                    self.back.push_front((shelf, read));
                }
            }
            let records = &self.back[0].1;
            let at = records.partition_point(|(other, _)| *other < half);
            if let Some((_, index)) = records.get(at).filter(|(other, _)| *other == half) {
                return Ok(Some(*index));
            }
        }
        Ok(self.held.range((shelf, half, 0)..=(shelf, half, u64::MAX)).next().map(|(_, _, index)| *index))
    }

    /// What was written of a shelf, sorted.
    fn read(&mut self, shelf: u32) -> Result<Vec<(Half, u64)>, CannotVerify> {
        let pieces = self.pieces.get(&shelf).map_or(&[][..], Vec::as_slice);
        let mut records = Vec::with_capacity(pieces.iter().map(|(_, count)| count).sum());
        let mut bytes = Vec::new();
        for (at, count) in pieces {
            bytes.resize(count * RECORD, 0);
            self.scratch.read(*at, &mut bytes)?;
            records.extend(bytes.as_chunks::<RECORD>().0.iter().map(record));
        }
        records.sort_unstable();
        Ok(records)
    }
}

fn record(bytes: &[u8; RECORD]) -> (Half, u64) {
    let (half, index) = bytes.split_first_chunk().expect("a record is longer than half a digest");
    (*half, u64::from_be_bytes(*index.first_chunk().expect("and the entry follows")))
}

/// The shelves of digests begin here, one for each first byte.
const DIGESTS: u32 = 0xffff_ff00;

fn of_digest(digest: Digest) -> u32 {
    DIGESTS | u32::from(digest.0[0])
}

/// The shelf of a name: its day as it is written in it, or 0.
fn day(name: &str) -> u32 {
    let mut parts = name.split('/').skip(1).map(|part| part.parse::<u32>().ok().filter(|number| *number < 10_000));
    let mut part = || parts.next().flatten();
    match (part(), part(), part()) {
        (Some(year), Some(month), Some(day)) => year * 10_000 + month * 100 + day,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(n: u64) -> String {
        match n % 5 {
            0 => format!("document/waiver/{n}.json"),
            1 => format!("whatever/{n}"),
            _ => format!("bundle/2026/11/{:02}/{n}.zip", n % 7 + 1),
        }
    }

    #[test]
    fn a_name_is_explained_by_its_first_entry_wherever_its_record_lies() {
        for most in [1, 3, 64, 10_000] {
            let expected = Expected::holding(most);
            for n in 0..400 {
                assert_eq!(expected.add(&name(n), n).unwrap(), None, "{n}, holding {most}");
            }
            for n in (0..400).rev() {
                assert_eq!(expected.add(&name(n), 1_000).unwrap(), Some(n), "holding {most}");
                assert_eq!(expected.index(&name(n)).unwrap(), Some(n), "holding {most}");
            }
            assert_eq!(expected.index(&name(400)).unwrap(), None);
        }
    }

    #[test]
    fn a_digest_that_comes_again_is_told_with_the_first_entry_that_has_it() {
        for most in [1, 3, 64, 10_000] {
            let expected = Expected::holding(most);
            let digest = |n: u64| Digest::of(&n.to_be_bytes());
            for n in 0..400 {
                expected.add_bundle(digest(if n % 100 == 99 { n % 3 } else { n }), n).unwrap();
            }
            let wanted = [(99, 0), (199, 1), (299, 2), (399, 0)];
            assert_eq!(expected.same_bundles().unwrap(), BTreeMap::from(wanted), "holding {most}");
            assert_eq!(expected.bundle(digest(2)).unwrap(), Some(2));
            assert_eq!(expected.bundle(digest(99)).unwrap(), None);
        }
    }
}
