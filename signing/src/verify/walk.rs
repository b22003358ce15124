//! The way through the log: entry bundles and tiles in order, the root from the entries, and who is wrong where they disagree.
//!
//! Bundles are read and parsed on all cores, a few at a time, and judged in log order. Of a full one, a digest and a tree node stay.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ops::Range,
};

use rayon::prelude::*;

use super::{
    Progress, Stage,
    findings::{CannotVerify, Code, Findings},
    names::{Part, TileName},
    order::{Leaf, Order},
    past::Past,
    source::{Fetched, fetch},
    tree::{Tree, WIDTH, block_root, hashes},
};
use crate::{
    digest::Digest,
    layout::CHECKPOINT,
    log::{Checkpoint, MAX_LEAF, leaf_hash},
    statement::Statement,
    store::Reader,
};

/// Entry bundles read at a time.
const BATCH: u64 = 16;

/// After so many bundles of which nothing is left, the rest is not looked for.
const GIVE_UP: u64 = 16;

/// The most bytes of an entry bundle.
const MAX_BUNDLE: u64 = WIDTH * (MAX_LEAF as u64 + 2);

/// Blocks whose leaf hashes are kept, for roots at sizes that cut them.
const RECENT: usize = 64;

/// An entry bundle as it lies in the archive.
pub(crate) struct Entries {
    /// The object that was read, or looked for.
    pub name: String,
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
    pub fault: Option<(Code, String)>,
}

impl Entries {
    /// Reads the first `count` entries of a bundle: from the one of this width or, where it has been removed, from the full one.
    pub fn read(reader: &dyn Reader, index: u64, count: u64) -> Result<Self, CannotVerify> {
        let exact = TileName { part: Part::Entries, index, width: count as u16 };
        let mut name = exact.to_string();
        let mut whole = count;
        let mut found = fetch(reader, &name, MAX_BUNDLE)?;
        if matches!(found, Fetched::Absent) && count < WIDTH {
            let full = TileName::full(Part::Entries, index).to_string();
            found = fetch(reader, &full, MAX_BUNDLE)?;
            if !matches!(found, Fetched::Absent) {
                (name, whole) = (full, WIDTH);
            }
        }
        let bytes = match found {
            Fetched::Bytes(bytes) => bytes,
            Fetched::Absent => {
                let (first, last) = (index * WIDTH, index * WIDTH + count - 1);
                let says = format!("the log has entries {first} to {last} here, but the object is not there");
                return Ok(Self {
                    name,
                    bytes: Vec::new(),
                    ranges: Vec::new(),
                    fault: Some((Code::EntriesMissing, says)),
                });
            }
            Fetched::TooLong => {
                let says = format!("it is longer than the {MAX_BUNDLE} bytes that {WIDTH} entries can have");
                return Ok(Self {
                    name,
                    bytes: Vec::new(),
                    ranges: Vec::new(),
                    fault: Some((Code::EntriesBytes, says)),
                });
            }
        };
        let (mut ranges, mut at) = (Vec::new(), 0);
        let mut fault = None;
        while (ranges.len() as u64) < whole {
            let Some(length) = bytes.get(at..at + 2) else { break };
            let from = at + 2;
            let to = from + usize::from(u16::from_be_bytes([length[0], length[1]]));
            if to > bytes.len() {
                break;
            }
            ranges.push(from..to);
            at = to;
        }
        if (ranges.len() as u64) < whole {
            let says = format!("it ends within entry {} of {whole}", ranges.len() + 1);
            fault = Some((Code::EntriesBytes, says));
        } else if at < bytes.len() {
            let says = format!("{} bytes follow its last entry", bytes.len() - at);
            fault = Some((Code::EntriesBytes, says));
        }
        ranges.truncate(count as usize);
        Ok(Self { name, bytes, ranges, fault })
    }

    pub fn leaves(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.ranges.iter().map(|range| &self.bytes[range.clone()])
    }

    /// The digest of what was taken from it; `None` where nothing was.
    pub fn digest(&self) -> Option<Digest> {
        self.ranges.last().map(|last| Digest::of(&self.bytes[..last.end]))
    }
}

/// A block of 256 leaves or, at the end, fewer: what the entries say and what the tile says.
struct Block {
    index: u64,
    count: u64,
    entries: Entries,
    leaves: Vec<Leaf>,
    hashes: Vec<Digest>,
    tile: String,
    /// What the tile holds, where it has the right length.
    tile_hashes: Option<Vec<Digest>>,
    tile_fault: Option<(Code, String)>,
}

fn load(reader: &dyn Reader, index: u64, size: u64) -> Result<Block, CannotVerify> {
    let count = (size - index * WIDTH).min(WIDTH);
    let entries = Entries::read(reader, index, count)?;
    let leaf = |bytes: &[u8]| Leaf { digest: Statement::leaf_digest(bytes), statement: Statement::from_bytes(bytes) };
    let leaves = entries.leaves().map(leaf).collect();
    let hashes = entries.leaves().map(leaf_hash).collect();
    let (tile, tile_hashes, tile_fault) =
        read_tile(reader, TileName { part: Part::Level(0), index, width: count as u16 })?;
    Ok(Block { index, count, entries, leaves, hashes, tile, tile_hashes, tile_fault })
}

pub(crate) type TileRead = (String, Option<Vec<Digest>>, Option<(Code, String)>);

/// Reads the first hashes of a tile: from the one of this width or, where it has been removed, from the full one.
pub(crate) fn read_tile(reader: &dyn Reader, name: TileName) -> Result<TileRead, CannotVerify> {
    let (mut object, mut whole) = (name.to_string(), usize::from(name.width));
    let mut found = fetch(reader, &object, 32 * WIDTH)?;
    if matches!(found, Fetched::Absent) && u64::from(name.width) < WIDTH {
        let full = TileName { width: WIDTH as u16, ..name }.to_string();
        found = fetch(reader, &full, 32 * WIDTH)?;
        if !matches!(found, Fetched::Absent) {
            (object, whole) = (full, WIDTH as usize);
        }
    }
    Ok(match found {
        Fetched::Absent => {
            (object, None, Some((Code::TileMissing, "the tree has it, but the object is not there".to_owned())))
        }
        Fetched::TooLong => {
            let says = format!("it is longer than the {} bytes of a full tile", 32 * WIDTH);
            (object, None, Some((Code::TileBytes, says)))
        }
        Fetched::Bytes(bytes) if bytes.len() != 32 * whole => {
            let says = format!("it has {} bytes; {whole} hashes have {}", bytes.len(), 32 * whole);
            (object, None, Some((Code::TileBytes, says)))
        }
        Fetched::Bytes(bytes) => {
            let mut all = hashes(&bytes).unwrap_or_default();
            all.truncate(name.width.into());
            (object, Some(all), None)
        }
    })
}

/// The tree with the means to tell its root at earlier sizes.
pub(crate) struct Roots<'a> {
    reader: &'a dyn Reader,
    pub tree: Tree,
    /// Where only what is new is read: the tree before it, and the first entry of the first block that is read.
    past: Option<(&'a Past<'a>, u64)>,
    recent: VecDeque<(u64, Vec<Digest>)>,
    told: HashMap<u64, Option<Digest>>,
}

impl Roots<'_> {
    /// The root at a size; `None` where entries are lost.
    pub fn at(&mut self, size: u64) -> Option<Digest> {
        if let Some(told) = self.told.get(&size) {
            return *told;
        }
        let (reader, recent) = (self.reader, &self.recent);
        let root = match self.past {
            Some((past, first)) if size < first => past.root_at(size).ok().flatten(),
            _ => self.tree.root_at(size, |block| full_block(reader, recent, &self.tree, block)),
        };
        if self.told.len() > 4096 {
            self.told.clear();
        }
        // Within the tree so far the answer is final; beyond it, it is not an answer yet.
        if size <= self.tree.size() {
            self.told.insert(size, root);
        }
        root
    }

    /// The leaf hashes of a block, as the tree has them; `None` where they are lost.
    pub fn block(&self, block: u64) -> Option<Vec<Digest>> {
        match self.tree.tail(block) {
            Some(tail) => Some(tail.to_vec()),
            None => full_block(self.reader, &self.recent, &self.tree, block)
                .filter(|hashes| block_root(hashes) == self.tree.block(block)),
        }
    }
}

/// The leaf hashes of a full block: those kept, or read again. Both tile and entries were judged before; whichever still has the
/// block's root will do.
fn full_block(
    reader: &dyn Reader,
    recent: &VecDeque<(u64, Vec<Digest>)>,
    tree: &Tree,
    block: u64,
) -> Option<Vec<Digest>> {
    if let Some((_, hashes)) = recent.iter().find(|(index, _)| *index == block) {
        return Some(hashes.clone());
    }
    let tile = read_tile(reader, TileName::full(Part::Level(0), block)).ok().and_then(|(_, hashes, _)| hashes);
    if let Some(hashes) = tile.filter(|hashes| block_root(hashes) == tree.block(block)) {
        return Some(hashes);
    }
    Some(Entries::read(reader, block, WIDTH).ok()?.leaves().map(leaf_hash).collect())
}

/// What the walk leaves for the checks after it.
pub(crate) struct Walked<'a> {
    pub order: Order<'a>,
    pub roots: Roots<'a>,
    /// Entries that are not what was logged: nothing that they say is followed.
    pub altered: HashSet<u64>,
    /// For each entry bundle the digest of what was read, so that later reads are known to give the same.
    pub bundles: Vec<Option<Digest>>,
    /// The first entry that is looked at, and the block in which it lies, which is the first of `bundles`.
    pub from: u64,
    /// Whether the recomputed root is the checkpoint's; `None` where it cannot be computed.
    pub root_agrees: Option<bool>,
}

/// Where the walk begins.
pub(crate) struct Start<'a> {
    /// The tree up to the first block that is read.
    pub tree: Tree,
    /// The tree before it.
    pub past: Option<&'a Past<'a>>,
    /// The first entry that is looked at.
    pub from: u64,
}

impl Start<'_> {
    /// From the first entry of the log.
    pub fn of_log() -> Self {
        Self { tree: Tree::default(), past: None, from: 0 }
    }
}

struct Walk<'a> {
    reader: &'a dyn Reader,
    findings: &'a Findings,
    checkpoint: &'a Checkpoint,
    /// Hashes of level 1, of the tile read last.
    level_1: Option<(u64, Option<Vec<Digest>>)>,
    walked: Walked<'a>,
}

/// Walks the log from `start` on.
pub(crate) fn walk<'a>(
    reader: &'a dyn Reader,
    findings: &'a Findings,
    checkpoint: &'a Checkpoint,
    order: Order<'a>,
    start: Start<'a>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Walked<'a>, CannotVerify> {
    let size = checkpoint.size;
    let first = start.from / WIDTH;
    let past = start.past.map(|past| (past, first * WIDTH));
    let roots = Roots { reader, tree: start.tree, past, recent: VecDeque::new(), told: HashMap::new() };
    let walked =
        Walked { order, roots, altered: HashSet::new(), bundles: Vec::new(), from: start.from, root_agrees: None };
    let mut walk = Walk { reader, findings, checkpoint, level_1: None, walked };
    let Walked { order, roots, .. } = &mut walk.walked;
    order.anchors.judge(start.from, roots);
    let blocks = size.div_ceil(WIDTH);
    let mut nothing_left = 0;
    let mut from = first;
    while from < blocks && nothing_left < GIVE_UP {
        let to = blocks.min(from + BATCH);
        let batch: Vec<_> = (from..to).into_par_iter().map(|index| load(reader, index, size)).collect();
        for block in batch {
            let block = block?;
            let done = block.index * WIDTH + block.count;
            let nothing = walk.take(block)?;
            nothing_left = if nothing { nothing_left + 1 } else { 0 };
            let Walked { order, roots, .. } = &mut walk.walked;
            order.anchors.judge(done, roots);
            progress(Progress { stage: Stage::Log, done, total: size });
        }
        from = to;
    }
    if from < blocks {
        let name = TileName { part: Part::Entries, index: from, width: WIDTH as u16 }.to_string();
        let says = format!(
            "nothing is left of the {GIVE_UP} bundles before it; up to entry {} nothing was looked for",
            size - 1
        );
        findings.add(Code::EntriesMissing, name, Some(from * WIDTH), says);
        walk.walked.roots.tree.lose();
    } else {
        walk.upper_tiles(first)?;
    }
    walk.root();
    Ok(walk.walked)
}

impl Walk<'_> {
    /// Judges the next block; `true` when nothing of it is left.
    fn take(&mut self, block: Block) -> Result<bool, CannotVerify> {
        let full = block.count == WIDTH;
        let first = block.index * WIDTH;
        let by_entries = (block.hashes.len() as u64 == block.count).then_some(&block.hashes);
        let by_tile = block.tile_hashes.as_ref();
        let above = if full { self.above(block.index)? } else { None };

        // Where entries and tile disagree, what is above them tells who is wrong.
        let chosen = match (by_entries, by_tile) {
            (Some(entries), Some(tile)) if entries != tile && self.vouched(tile, full, above) => {
                if self.vouched(entries, full, above) { Some(entries) } else { Some(tile) }
            }
            (Some(entries), _) => Some(entries),
            (None, tile) => tile,
        };
        let (chosen, tile_right) = (chosen.cloned(), chosen.is_some() && chosen == by_tile);

        if let Some((code, says)) = &block.entries.fault {
            self.findings.add(*code, &block.entries.name, Some(first), says);
        }
        let differ: Vec<u64> = match &chosen {
            Some(chosen) => {
                (0..block.count).filter(|at| block.hashes.get(*at as usize) != chosen.get(*at as usize)).collect()
            }
            None => (block.hashes.len() as u64..block.count).collect(),
        };
        if block.entries.fault.is_none()
            && let Some(at) = differ.first()
        {
            let says = match differ.len() {
                1 => format!("entry {} is not the one whose hash the tree holds", first + at),
                n => format!("{n} entries from {} on are not those whose hashes the tree holds", first + at),
            };
            self.findings.add(Code::EntriesBytes, &block.entries.name, Some(first + at), says);
        }
        match (&block.tile_fault, &chosen) {
            (Some((code, says)), _) => self.findings.add(*code, &block.tile, Some(first), says),
            (None, Some(chosen)) if !tile_right => {
                let at = (0..).find(|at| by_tile.and_then(|t| t.get(*at)) != chosen.get(*at)).unwrap_or(0);
                let says = format!("hash {at} is not that of entry {}", first + at as u64);
                self.findings.add(Code::TileBytes, &block.tile, Some(first + at as u64), says);
            }
            _ => {}
        }

        let nothing = chosen.is_none() && above.is_none() && block.hashes.is_empty();
        self.grow(block.index, full, chosen, above);
        self.walked.bundles.push(block.entries.digest());
        let Walked { order, roots, altered, from, .. } = &mut self.walked;
        for at in from.saturating_sub(first)..block.count {
            let index = first + at;
            let lost = differ.binary_search(&at).is_ok();
            if lost {
                altered.insert(index);
            }
            let leaf = block.leaves.get(at as usize).filter(|_| !lost);
            order.leaf(&block.entries.name, index, leaf, &mut |size| roots.at(size))?;
        }
        Ok(nothing)
    }

    /// Adds the block to the tree.
    fn grow(&mut self, index: u64, full: bool, hashes: Option<Vec<Digest>>, above: Option<Digest>) {
        let roots = &mut self.walked.roots;
        match (hashes, full) {
            (Some(hashes), true) => {
                match block_root(&hashes) {
                    Some(root) => roots.tree.push_full(root),
                    None => roots.tree.push_lost(),
                }
                roots.recent.push_back((index, hashes));
                if roots.recent.len() > RECENT {
                    roots.recent.pop_front();
                }
            }
            (Some(hashes), false) => roots.tree.push_tail(hashes),
            (None, true) => match above {
                Some(root) => roots.tree.push_full(root),
                None => roots.tree.push_lost(),
            },
            (None, false) => roots.tree.lose(),
        }
    }

    /// Whether what stands above a block's hashes (the tile of level 1, or the checkpoint over the last block) agrees with them.
    fn vouched(&mut self, hashes: &[Digest], full: bool, above: Option<Digest>) -> bool {
        if full {
            return above.is_some() && block_root(hashes) == above;
        }
        let tree = &mut self.walked.roots.tree;
        tree.push_tail(hashes.to_vec());
        let root = tree.root_at(self.checkpoint.size, |_| None);
        tree.push_tail(Vec::new());
        root == Some(self.checkpoint.root)
    }

    /// What level 1 says of a full block.
    fn above(&mut self, block: u64) -> Result<Option<Digest>, CannotVerify> {
        let index = block / WIDTH;
        if self.level_1.as_ref().is_none_or(|(held, _)| *held != index) {
            let name = TileName::of_size(Part::Level(1), index, self.checkpoint.size / WIDTH);
            let (_, hashes, _) = read_tile(self.reader, name)?;
            self.level_1 = Some((index, hashes));
        }
        let hashes = self.level_1.as_ref().and_then(|(_, hashes)| hashes.as_ref());
        Ok(hashes.and_then(|hashes| hashes.get((block % WIDTH) as usize)).copied())
    }

    /// Compares the tiles above level 0 with the tree, from those on that block `first` is in.
    fn upper_tiles(&self, first: u64) -> Result<(), CannotVerify> {
        let tree = &self.walked.roots.tree;
        for level in 1..8 {
            let count = tree.level_size(level);
            let first = first.checked_shr(8 * u32::from(level - 1)).unwrap_or(0) / WIDTH;
            for index in first..count.div_ceil(WIDTH) {
                let name = TileName::of_size(Part::Level(level), index, count);
                let (object, found, fault) = read_tile(self.reader, name)?;
                if let Some((code, says)) = fault {
                    self.findings.add(code, object, None, says);
                } else if let Some(wanted) = tree.tile(level, index).as_deref().and_then(hashes)
                    && let Some(found) = found
                    && found != wanted
                {
                    let at = found.iter().zip(&wanted).position(|(a, b)| a != b).unwrap_or(0);
                    let says = format!("hash {at} is not that of the tile below it");
                    self.findings.add(Code::TileBytes, object, None, says);
                }
            }
        }
        Ok(())
    }

    fn root(&mut self) {
        let Checkpoint { size, root, .. } = self.checkpoint;
        let found = self.walked.roots.at(*size);
        self.walked.root_agrees = found.map(|found| found == *root);
        if let Some(found) = found.filter(|found| found != root) {
            let says = format!("it says that {size} entries have the root {root}; those in the archive have {found}");
            self.findings.add(Code::LogRoot, CHECKPOINT, None, says);
        }
    }
}
