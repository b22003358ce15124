//! Inclusion and consistency proofs (RFC 6962, 2.1.1 and 2.1.2), made from tiles, and checked before they are given out.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
};

use tlog_tiles::{Hash, HashReader, Tile};

use super::{Checkpoint, EMPTY_ROOT, LogError, MAX_SIZE, TILE_WIDTH, tile};
use crate::{digest::Digest, store::Reader};

/// The proof that the leaf `index` is in the tree of the checkpoint.
///
/// # Errors
/// A leaf that the tree does not have; tiles that are missing, damaged, or not those of the checkpoint's root.
pub fn inclusion(reader: &dyn Reader, index: u64, checkpoint: &Checkpoint) -> Result<Vec<Digest>, LogError> {
    if checkpoint.size > MAX_SIZE {
        return Err(LogError::TooLarge(checkpoint.size));
    }
    if index >= checkpoint.size {
        return Err(LogError::Range { index, size: checkpoint.size });
    }
    let tiles = Tiles::new(reader, checkpoint.size);
    let made = tlog_tiles::prove_record(checkpoint.size, index, &tiles)
        .and_then(|proof| Ok((proof, tiles.hash(tlog_tiles::stored_hash_index(0, index))?)));
    let (proof, leaf) = tiles.finish(made, checkpoint)?;
    let proof = digests(proof);
    match check_inclusion(&proof, index, Digest(leaf.0), checkpoint) {
        Ok(()) => Ok(proof),
        Err(_) => Err(tiles_disagree(checkpoint)),
    }
}

/// Checks a proof that the leaf with that hash is leaf `index` of the checkpoint's tree.
///
/// # Errors
/// A proof that does not show it.
pub fn check_inclusion(proof: &[Digest], index: u64, leaf: Digest, checkpoint: &Checkpoint) -> Result<(), LogError> {
    let size = checkpoint.size;
    if size > MAX_SIZE {
        return Err(LogError::TooLarge(size));
    }
    tlog_tiles::check_record(&hashes(proof), size, Hash(checkpoint.root.0), index, Hash(leaf.0))
        .map_err(|_| LogError::NotIncluded { index, size })
}

/// The proof that the tree of `new` continues the tree of `old`; it has been checked when it returns.
///
/// # Errors
/// [`LogError::Inconsistent`] when it does not, or when the tiles that the proof needs were altered; tiles that are missing or not readable.
pub fn consistency(reader: &dyn Reader, old: &Checkpoint, new: &Checkpoint) -> Result<Vec<Digest>, LogError> {
    if old.size > new.size {
        return Err(inconsistent(old, new));
    }
    if new.size > MAX_SIZE {
        return Err(LogError::TooLarge(new.size));
    }
    let proof = if old.size == 0 || old.size == new.size {
        Vec::new()
    } else {
        let tiles = Tiles::new(reader, new.size);
        let made = tlog_tiles::prove_tree(new.size, old.size, &tiles);
        digests(tiles.finish(made, new)?)
    };
    check_consistency(&proof, old, new)?;
    Ok(proof)
}

/// The root that the log of `new` had at `old_size`, and the proof that `new` continues that tree. Both follow from the tiles, and have
/// been checked against `new` when they are returned.
///
/// # Errors
/// As [`consistency`]; an old size larger than the new one.
pub fn growth(reader: &dyn Reader, old_size: u64, new: &Checkpoint) -> Result<(Digest, Vec<Digest>), LogError> {
    if old_size > new.size {
        return Err(LogError::Range { index: old_size, size: new.size });
    }
    let root = if old_size == 0 {
        EMPTY_ROOT
    } else if old_size == new.size {
        new.root
    } else {
        let tiles = Tiles::new(reader, new.size);
        let made = tlog_tiles::tree_hash(old_size, &tiles);
        Digest(tiles.finish(made, new)?.0)
    };
    let old = Checkpoint { origin: new.origin.clone(), size: old_size, root };
    consistency(reader, &old, new).map(|proof| (root, proof))
}

/// Checks a proof that the tree of `new` continues the tree of `old`. Any tree continues the one without leaves.
///
/// # Errors
/// Checkpoints of two logs, and a proof that does not show it.
pub fn check_consistency(proof: &[Digest], old: &Checkpoint, new: &Checkpoint) -> Result<(), LogError> {
    if old.origin != new.origin {
        return Err(LogError::Origin { wanted: old.origin.clone(), found: new.origin.clone() });
    }
    if new.size > MAX_SIZE {
        return Err(LogError::TooLarge(new.size));
    }
    let holds = match old.size {
        0 => proof.is_empty() && old.root == EMPTY_ROOT && (new.size > 0 || new.root == EMPTY_ROOT),
        n => tlog_tiles::check_tree(&hashes(proof), new.size, Hash(new.root.0), n, Hash(old.root.0)).is_ok(),
    };
    if holds { Ok(()) } else { Err(inconsistent(old, new)) }
}

fn inconsistent(old: &Checkpoint, new: &Checkpoint) -> LogError {
    LogError::Inconsistent { old_size: old.size, old_root: old.root, new_size: new.size, new_root: new.root }
}

fn hashes(digests: &[Digest]) -> Vec<Hash> {
    digests.iter().map(|d| Hash(d.0)).collect()
}

/// A tree's hashes out of its tiles, each read once. Nothing is checked here: the callers check the proof that comes out.
///
/// (tlog_tiles' own `TileHashReader` is not used: it leaves tiles unchecked where two of the root's subtrees share one.)
struct Tiles<'a> {
    reader: &'a dyn Reader,
    size: u64,
    read: RefCell<HashMap<(u8, u64), Vec<u8>>>,
    /// The first failure: tlog_tiles' error type has no room for it.
    failed: RefCell<Option<LogError>>,
}

impl HashReader for Tiles<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        indexes.iter().map(|index| self.hash(*index)).collect()
    }
}

impl<'a> Tiles<'a> {
    fn new(reader: &'a dyn Reader, size: u64) -> Self {
        Self { reader, size, read: RefCell::default(), failed: RefCell::default() }
    }

    fn hash(&self, index: u64) -> Result<Hash, tlog_tiles::Error> {
        let place = Tile::from_index(8, index);
        let (level, n) = (place.level(), place.level_index());
        let mut read = self.read.borrow_mut();
        let data = match read.entry((level, n)) {
            Entry::Occupied(data) => data.into_mut(),
            Entry::Vacant(free) => {
                let width = TILE_WIDTH.min((self.size >> (8 * level)).saturating_sub(n * TILE_WIDTH));
                let hashes = tile(self.reader, level, n, width).map_err(|error| {
                    self.failed.borrow_mut().get_or_insert(error);
                    tlog_tiles::Error::InvalidTile
                })?;
                free.insert(hashes.iter().flat_map(|h| h.0).collect())
            }
        };
        place.hash_at_index(data, index)
    }

    /// What `made` says, in this crate's words.
    fn finish<T>(self, made: Result<T, tlog_tiles::Error>, checkpoint: &Checkpoint) -> Result<T, LogError> {
        match (made, self.failed.into_inner()) {
            (_, Some(error)) => Err(error),
            (made, None) => made.map_err(|_| tiles_disagree(checkpoint)),
        }
    }
}

fn tiles_disagree(checkpoint: &Checkpoint) -> LogError {
    LogError::Tiles { size: checkpoint.size, root: checkpoint.root }
}

fn digests(hashes: Vec<Hash>) -> Vec<Digest> {
    hashes.into_iter().map(|h| Digest(h.0)).collect()
}
