//! The log: C2SP tlog-tiles with entry bundles, hashed as RFC 6962 says, under C2SP tlog-checkpoint notes.
//!
//! Appending is arithmetic on the tree's right edge and writes nothing: [`Edge::append`] names the objects, the caller stores them.
//! Reading goes by a checkpoint that the caller has fixed; what lies beyond it is not looked at.

use std::io;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{digest::Digest, keys::SignError, store::Reader};

mod checkpoint;
pub mod cosignature;
mod offline;
mod proof;
mod read;
mod vkey;
pub mod witness;

pub use checkpoint::{Checkpoint, MAX_CHECKPOINT, from_vkey, vkey};
pub use offline::{MAX_PROOF, OfflineProof, OfflineProofError};
pub use proof::{check_consistency, check_inclusion, consistency, growth, inclusion};
pub use read::{entries, entry_bundle, entry_bundle_name, tile, tile_name};
pub use vkey::VkeyError;

/// The longest leaf: entry bundles carry 16-bit lengths.
pub const MAX_LEAF: usize = 65_535;

/// The most leaves of a log. Beyond it no arithmetic here has been shown to hold.
pub const MAX_SIZE: u64 = 1 << 40;

/// Hashes in a full tile, leaves in a full entry bundle.
pub const TILE_WIDTH: u64 = 256;

/// RFC 6962's root of the tree without leaves: SHA-256 of nothing.
pub const EMPTY_ROOT: Digest = Digest([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

/// What is wrong with a log, or with a request to it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The archive refused or failed.
    #[error("{name} could not be read")]
    Read {
        /// The object.
        name: String,
        /// What the archive answered.
        source: io::Error,
    },
    /// A tree of the checkpoint's size has this object, and it is not there, neither partial nor full.
    #[error("{name} is not in the archive, but a tree of this size has it")]
    Missing {
        /// The object.
        name: String,
    },
    /// An object that cannot be what its name says.
    #[error("{name} is damaged: {what}")]
    Damaged {
        /// The object.
        name: String,
        /// In words.
        what: String,
    },
    /// Tiles that do not hash to the root at hand.
    #[error("the tiles of the tree of size {size} hash to {found}, not to {expected}")]
    Root {
        /// Leaves.
        size: u64,
        /// As the checkpoint says.
        expected: Digest,
        /// As computed.
        found: Digest,
    },
    /// Tiles that contradict each other or the checkpoint.
    #[error("the tiles of the tree of size {size} do not hash to the checkpoint's root {root}")]
    Tiles {
        /// Leaves.
        size: u64,
        /// As the checkpoint says.
        root: Digest,
    },
    /// One of two checkpoints is not of this log's past: the log was rewritten, or there are two.
    #[error(
        "the tree of size {new_size} with root {new_root} does not continue the tree of size {old_size} with root {old_root}"
    )]
    Inconsistent {
        /// Leaves of the older.
        old_size: u64,
        /// Its root.
        old_root: Digest,
        /// Leaves of the newer.
        new_size: u64,
        /// Its root.
        new_root: Digest,
    },
    /// A proof that proves nothing.
    #[error("the proof does not show that leaf {index} is in the tree of size {size}")]
    NotIncluded {
        /// Counted from 0.
        index: u64,
        /// Leaves.
        size: u64,
    },
    /// A leaf or a range that the tree does not have.
    #[error("leaf {index} was asked for, but the tree has {size} leaves")]
    Range {
        /// Counted from 0.
        index: u64,
        /// Leaves.
        size: u64,
    },
    /// More leaves than [`MAX_SIZE`].
    #[error("a tree of {0} leaves is larger than this format allows ({MAX_SIZE})")]
    TooLarge(u64),
    /// A leaf longer than [`MAX_LEAF`].
    #[error("a leaf of {0} bytes is longer than an entry bundle can carry ({MAX_LEAF})")]
    LeafTooLong(usize),
    /// A right edge, read from a cache, that contradicts itself.
    #[error("the cached edge of the tree is damaged: {0}")]
    Edge(&'static str),
    /// A checkpoint that is no checkpoint of this format.
    #[error("the checkpoint is malformed: {0}")]
    Checkpoint(&'static str),
    /// A checkpoint of another log.
    #[error("the checkpoint is of the log {found:?}, not of {wanted:?}")]
    Origin {
        /// The log asked for.
        wanted: String,
        /// The log that it names.
        found: String,
    },
    /// A checkpoint without a signature by any key at hand.
    #[error("the checkpoint carries no signature by a key that may sign checkpoints of {0:?}")]
    NoKnownSignature(String),
    /// A checkpoint with a signature line of a known key that is not that key's.
    #[error("the checkpoint's signature is not by {0}: it was altered, or forged")]
    Signature(String),
    /// The checkpoint was not signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl LogError {
    /// The name of the object that is to blame, where it is one.
    pub fn object(&self) -> Option<&str> {
        match self {
            Self::Read { name, .. } | Self::Missing { name } | Self::Damaged { name, .. } => Some(name),
            Self::Checkpoint(_) | Self::Origin { .. } | Self::NoKnownSignature(_) | Self::Signature(_) => {
                Some(crate::layout::CHECKPOINT)
            }
            _ => None,
        }
    }
}

/// RFC 6962's hash of a leaf.
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(leaf).finalize().into())
}

/// RFC 6962's hash of an inner node.
pub fn node_hash(left: Digest, right: Digest) -> Digest {
    Digest(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// RFC 6962's tree hash over hashes that are already those of nodes; at least one.
fn tree_hash(nodes: &[Digest]) -> Digest {
    match nodes {
        [] => EMPTY_ROOT,
        [node] => *node,
        _ => {
            let (left, right) = nodes.split_at(nodes.len().next_power_of_two() / 2);
            node_hash(tree_hash(left), tree_hash(right))
        }
    }
}

/// The root of a tree whose leaves come in a stream: a compact range, at most one hash for each level.
#[derive(Debug, Clone, Default)]
pub struct RootHasher {
    size: u64,
    /// Hashes of complete subtrees, largest first; their sizes are the set bits of `size`.
    peaks: Vec<Digest>,
}

impl RootHasher {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: &[u8]) {
        self.push_hash(leaf_hash(leaf));
    }

    /// Appends a leaf by its hash.
    pub fn push_hash(&mut self, hash: Digest) {
        let mut node = hash;
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("a peak for each set bit of the size");
            node = node_hash(left, node);
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root so far.
    pub fn root(&self) -> Digest {
        self.peaks.iter().rev().copied().reduce(|right, left| node_hash(left, right)).unwrap_or(EMPTY_ROOT)
    }
}

/// The right edge of a tree: the unfinished tile of each level and the unfinished entry bundle. It is all that an append needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Cached", try_from = "Cached")]
pub struct Edge {
    size: u64,
    /// For each level the hashes of the tile that is not full yet, 0 to 255 of them.
    tiles: Vec<Vec<Digest>>,
    /// The entry bundle that is not full yet.
    bundle: Vec<u8>,
}

impl Edge {
    /// The tree without leaves.
    pub fn empty() -> Self {
        Self { size: 0, tiles: Vec::new(), bundle: Vec::new() }
    }

    /// Leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// RFC 6962's root.
    pub fn root(&self) -> Digest {
        // The subtrees of a level are complete; what the lower levels hold is the shorter one to their right.
        let mut right: Option<Digest> = None;
        for level in &self.tiles {
            if level.is_empty() {
                continue;
            }
            let nodes: Vec<_> = level.iter().copied().chain(right).collect();
            right = Some(tree_hash(&nodes));
        }
        right.unwrap_or(EMPTY_ROOT)
    }

    /// The entry bundle that is not full yet, by its name; `None` where every one is full.
    pub fn unfinished(&self) -> Option<(String, &[u8])> {
        let width = self.size % TILE_WIDTH;
        (width > 0).then(|| (entry_bundle_name(self.size / TILE_WIDTH, width), self.bundle.as_slice()))
    }

    /// Reads the edge of the tree of that size from its tiles, and checks that it has that root and that the unfinished entry bundle
    /// holds the leaves of the unfinished tile.
    ///
    /// # Errors
    /// Objects that are missing, damaged or not readable; another root.
    pub fn read(reader: &dyn Reader, size: u64, root: Digest) -> Result<Self, LogError> {
        if size > MAX_SIZE {
            return Err(LogError::TooLarge(size));
        }
        let mut edge = Self { size, tiles: Vec::new(), bundle: Vec::new() };
        let mut nodes = size;
        while nodes > 0 {
            let (index, width) = (nodes / TILE_WIDTH, nodes % TILE_WIDTH);
            let level = edge.tiles.len() as u8;
            edge.tiles.push(if width == 0 { Vec::new() } else { tile(reader, level, index, width)? });
            nodes /= TILE_WIDTH;
        }
        let found = edge.root();
        if found != root {
            return Err(LogError::Root { size, expected: root, found });
        }
        if !size.is_multiple_of(TILE_WIDTH) {
            let (index, width) = (size / TILE_WIDTH, size % TILE_WIDTH);
            for (leaf, hash) in entry_bundle(reader, index, width)?.iter().zip(&edge.tiles[0]) {
                if leaf_hash(leaf) != *hash {
                    let what = "a leaf in it does not have the hash that the tile holds".to_owned();
                    return Err(LogError::Damaged { name: entry_bundle_name(index, width), what });
                }
                put_entry(&mut edge.bundle, leaf);
            }
        }
        Ok(edge)
    }

    /// Appends leaves and names every tile and entry bundle, full or partial, that the growth makes, each with its bytes.
    ///
    /// The same edge and leaves give the same objects in the same order. Only the final width of a partial one is made.
    ///
    /// # Errors
    /// A leaf longer than [`MAX_LEAF`] and a tree larger than [`MAX_SIZE`]; the edge is then as before and nothing was emitted.
    pub fn append(&mut self, leaves: &[Vec<u8>], emit: &mut dyn FnMut(String, Vec<u8>)) -> Result<(), LogError> {
        if let Some(leaf) = leaves.iter().find(|l| l.len() > MAX_LEAF) {
            return Err(LogError::LeafTooLong(leaf.len()));
        }
        let grown = self.size + leaves.len() as u64;
        if grown > MAX_SIZE {
            return Err(LogError::TooLarge(grown));
        }
        let old = self.size;
        for leaf in leaves {
            put_entry(&mut self.bundle, leaf);
            let index = self.size / TILE_WIDTH;
            self.size += 1;
            if self.size.is_multiple_of(TILE_WIDTH) {
                emit(entry_bundle_name(index, TILE_WIDTH), std::mem::take(&mut self.bundle));
            }
            self.push(leaf_hash(leaf), emit);
        }
        if self.size != old && !self.bundle.is_empty() {
            emit(entry_bundle_name(self.size / TILE_WIDTH, self.size % TILE_WIDTH), self.bundle.clone());
        }
        for (level, nodes) in self.tiles.iter().enumerate() {
            let (before, after) = (old >> (8 * level), self.size >> (8 * level));
            if before != after && !nodes.is_empty() {
                emit(tile_name(level as u8, after / TILE_WIDTH, after % TILE_WIDTH), concat(nodes));
            }
        }
        Ok(())
    }

    /// Adds a leaf's hash to level 0, and the hash of each tile that it fills to the level above.
    fn push(&mut self, leaf: Digest, emit: &mut dyn FnMut(String, Vec<u8>)) {
        let mut node = leaf;
        for level in 0.. {
            if level == self.tiles.len() {
                self.tiles.push(Vec::new());
            }
            self.tiles[level].push(node);
            if self.tiles[level].len() as u64 != TILE_WIDTH {
                return;
            }
            let full = std::mem::take(&mut self.tiles[level]);
            let index = (self.size >> (8 * (level + 1))) - 1;
            emit(tile_name(level as u8, index, TILE_WIDTH), concat(&full));
            node = tree_hash(&full);
        }
    }
}

/// Appends a leaf to an entry bundle: its length in two bytes, big-endian, and its bytes.
fn put_entry(bundle: &mut Vec<u8>, leaf: &[u8]) {
    bundle.extend_from_slice(&u16::try_from(leaf.len()).expect("checked against MAX_LEAF").to_be_bytes());
    bundle.extend_from_slice(leaf);
}

fn concat(nodes: &[Digest]) -> Vec<u8> {
    nodes.iter().flat_map(|n| n.0).collect()
}

/// An [`Edge`] in a cache file. What is read back is checked, since an append trusts it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cached {
    size: u64,
    tiles: Vec<Vec<Digest>>,
    bundle: String,
}

impl From<Edge> for Cached {
    fn from(edge: Edge) -> Self {
        Self { size: edge.size, tiles: edge.tiles, bundle: STANDARD.encode(edge.bundle) }
    }
}

impl TryFrom<Cached> for Edge {
    type Error = LogError;
    fn try_from(cached: Cached) -> Result<Self, LogError> {
        if cached.size > MAX_SIZE {
            return Err(LogError::TooLarge(cached.size));
        }
        let mut nodes = cached.size;
        for level in &cached.tiles {
            if nodes == 0 || level.len() as u64 != nodes % TILE_WIDTH {
                return Err(LogError::Edge("its tiles do not have the widths of its size"));
            }
            nodes /= TILE_WIDTH;
        }
        if nodes != 0 {
            return Err(LogError::Edge("it has too few levels for its size"));
        }
        let bundle = STANDARD.decode(&cached.bundle).map_err(|_| LogError::Edge("its entry bundle is not base64"))?;
        let leaves = read::split(&bundle).ok_or(LogError::Edge("its entry bundle is cut off"))?;
        let hashes: Vec<_> = leaves.into_iter().map(leaf_hash).collect();
        if hashes != *cached.tiles.first().map_or(&[][..], |t| t) {
            return Err(LogError::Edge("its entry bundle does not hold the leaves of its tile"));
        }
        Ok(Self { size: cached.size, tiles: cached.tiles, bundle })
    }
}

#[cfg(test)]
mod tests;
