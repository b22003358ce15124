//! A log's tiles, believed only as far as they lead to the root of its checkpoint: single nodes, the root at an earlier size, and old
//! entries, without reading the log.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::{
    findings::{CannotVerify, Code, Findings},
    lock,
    names::{Part, TileName},
    order::Leaf,
    tree::{WIDTH, block_root},
    walk::{Entries, read_tile},
};
use crate::{
    digest::Digest,
    log::{Checkpoint, EMPTY_ROOT, leaf_hash, node_hash},
    statement::Statement,
    store::Reader,
};

type Hashes = Arc<[Digest]>;

/// The tree of one checkpoint.
pub(crate) struct Past<'a> {
    reader: &'a dyn Reader,
    size: u64,
    /// By level, the tile that is not full: none of a level that ends with a full one.
    edge: Vec<Hashes>,
    /// Full tiles, by level and index, once they have been compared with what stands above them.
    tiles: Mutex<HashMap<(u8, u64), Option<Hashes>>>,
}

impl<'a> Past<'a> {
    /// Reads the tree's right edge; `None` where it does not lead to the root, which is for a full reading to explain.
    pub fn open(reader: &'a dyn Reader, checkpoint: &Checkpoint) -> Result<Option<Self>, CannotVerify> {
        let mut edge: Vec<Hashes> = Vec::new();
        for level in 0.. {
            let count = level_size(checkpoint.size, level);
            if count == 0 {
                break;
            }
            let width = (count % WIDTH) as u16;
            let hashes = match width {
                0 => Vec::new(),
                _ => match read_tile(reader, TileName { part: Part::Level(level), index: count / WIDTH, width })? {
                    (_, Some(hashes), _) => hashes,
                    (_, None, _) => return Ok(None),
                },
            };
            edge.push(hashes.into());
        }
        let past = Self { reader, size: checkpoint.size, edge, tiles: Mutex::default() };
        // Every subtree that this root is made of lies in the edge.
        let leads = past.root_at(checkpoint.size)? == Some(checkpoint.root);
        Ok(leads.then_some(past))
    }

    /// The entries of the checkpoint.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root at an earlier size, or at this one; `None` where tiles are missing or wrong.
    pub fn root_at(&self, size: u64) -> Result<Option<Digest>, CannotVerify> {
        if size > self.size {
            return Ok(None);
        }
        let mut root = None;
        for height in 0..u64::BITS - size.leading_zeros() {
            if size >> height & 1 == 1 {
                let Some(left) = self.node(height, (size >> height) - 1)? else { return Ok(None) };
                root = Some(root.map_or(left, |right| node_hash(left, right)));
            }
        }
        Ok(Some(root.unwrap_or(EMPTY_ROOT)))
    }

    /// The hash of the `index`th subtree of 2^`height` leaves.
    pub fn node(&self, height: u32, index: u64) -> Result<Option<Digest>, CannotVerify> {
        let (level, within) = ((height / 8) as u8, height % 8);
        let (from, count) = (index << within, 1 << within);
        let tile = self.tile(level, from / WIDTH)?;
        let at = (from % WIDTH) as usize;
        Ok(tile.and_then(|tile| block_root(tile.get(at..at + count)?)))
    }

    /// The hashes of one level in `[from, to)`, which lie in one tile.
    pub fn hashes(&self, level: u8, from: u64, to: u64) -> Result<Option<Vec<Digest>>, CannotVerify> {
        let tile = self.tile(level, from / WIDTH)?;
        let (at, count) = ((from % WIDTH) as usize, (to - from) as usize);
        Ok(tile.and_then(|tile| Some(tile.get(at..at + count)?.to_vec())))
    }

    fn tile(&self, level: u8, index: u64) -> Result<Option<Hashes>, CannotVerify> {
        let full = level_size(self.size, level) / WIDTH;
        if index >= full {
            return Ok(self.edge.get(usize::from(level)).filter(|_| index == full).cloned());
        }
        if let Some(known) = lock(&self.tiles).get(&(level, index)) {
            return Ok(known.clone());
        }
        let above = self.tile(level + 1, index / WIDTH)?;
        let above = above.and_then(|above| above.get((index % WIDTH) as usize).copied());
        let (_, read, _) = read_tile(self.reader, TileName::full(Part::Level(level), index))?;
        let tile: Option<Hashes> =
            read.filter(|hashes| above.is_some() && block_root(hashes) == above).map(Hashes::from);
        lock(&self.tiles).insert((level, index), tile.clone());
        Ok(tile)
    }

    /// The first `count` entries of a bundle, each only where it is the one that was logged; others are a finding.
    pub fn entries(&self, block: u64, count: u64, findings: &Findings) -> Result<Vec<Option<Leaf>>, CannotVerify> {
        let first = block * WIDTH;
        let entries = Entries::read(self.reader, block, (self.size - first).min(WIDTH))?;
        let hashes: Vec<Digest> = entries.leaves().map(leaf_hash).collect();
        let whole = hashes.len() as u64 == WIDTH && block_root(&hashes) == self.node(8, block)?;
        let tile = if whole { None } else { self.tile(0, block)? };
        let logged = |at: usize| whole || tile.as_ref().is_some_and(|tile| tile.get(at) == hashes.get(at));
        let mut found: Vec<Option<Leaf>> = Vec::new();
        for (at, bytes) in entries.leaves().take(count as usize).enumerate() {
            let leaf = Leaf { digest: Statement::leaf_digest(bytes), statement: Statement::from_bytes(bytes) };
            found.push(logged(at).then_some(leaf));
        }
        found.resize_with(count as usize, || None);
        if let Some(lost) = found.iter().position(Option::is_none) {
            let says = format!("entry {} cannot be shown to be the one whose hash the tree holds", first + lost as u64);
            let (code, says) = entries.fault.unwrap_or((Code::EntriesBytes, says));
            findings.add(code, entries.name, Some(first + lost as u64), says);
        }
        Ok(found)
    }
}

/// How many hashes a level of a tree of that size has.
fn level_size(size: u64, level: u8) -> u64 {
    size.checked_shr(8 * u32::from(level)).unwrap_or(0)
}
