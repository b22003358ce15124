//! The Merkle tree (RFC 6962) as the entries give it: every node from height 8 up, in 64 bytes for each 256 leaves, so that each tile
//! and the root at each earlier size can be told without keeping the leaves.

use crate::{
    digest::Digest,
    log::{EMPTY_ROOT, node_hash},
};

/// Leaves in a full tile or entry bundle.
pub(crate) const WIDTH: u64 = 256;

/// The tree so far.
#[derive(Default)]
pub(crate) struct Tree {
    /// `nodes[h]` are the nodes of height `8 + h`, from the left.
    nodes: Vec<Nodes>,
    /// The leaf hashes after the last full block.
    tail: Vec<Digest>,
    /// The first leaf of which not even the hash is known.
    lost: Option<u64>,
}

/// The nodes of one height.
#[derive(Default)]
struct Nodes {
    /// How many on the left are not kept.
    skipped: usize,
    kept: Vec<Digest>,
}

impl Nodes {
    fn len(&self) -> usize {
        self.skipped + self.kept.len()
    }

    fn get(&self, index: usize) -> Option<Digest> {
        self.kept.get(index.checked_sub(self.skipped)?).copied()
    }
}

/// The hash of leaf hashes of one block or a part of it.
pub(crate) fn block_root(hashes: &[Digest]) -> Option<Digest> {
    // Perfect subtrees as a binary number, then folded from the right.
    let mut stack: Vec<(u32, Digest)> = Vec::new();
    for hash in hashes {
        let mut node = (0, *hash);
        while let Some((height, left)) = stack.last().copied()
            && height == node.0
        {
            stack.pop();
            node = (height + 1, node_hash(left, node.1));
        }
        stack.push(node);
    }
    let (_, mut root) = stack.pop()?;
    while let Some((_, left)) = stack.pop() {
        root = node_hash(left, root);
    }
    Some(root)
}

/// The hashes in a tile's bytes; `None` when they are no whole number of hashes.
pub(crate) fn hashes(bytes: &[u8]) -> Option<Vec<Digest>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.iter().map(|h| Digest(*h)).collect())
}

impl Tree {
    /// A tree of so many full blocks, of which `hashes(level, from, to)` gives the hashes of a tile of level 1 or above; `None` where it
    /// has none. Kept is what further blocks are added to: the tiles that are not full, and the nodes over their hashes.
    pub fn resume<E>(
        blocks: u64,
        mut hashes: impl FnMut(u8, u64, u64) -> Result<Option<Vec<Digest>>, E>,
    ) -> Result<Option<Self>, E> {
        let mut nodes = Vec::new();
        for level in 1..8_u8 {
            let count = blocks >> (8 * (level - 1));
            if count == 0 {
                break;
            }
            let from = count / WIDTH * WIDTH;
            let mut kept = match count - from {
                0 => Vec::new(),
                _ => match hashes(level, from, count)? {
                    Some(hashes) => hashes,
                    None => return Ok(None),
                },
            };
            for height in 0..8 {
                // A tile that has just been filled has its root in the level above.
                if count >> height == 0 {
                    break;
                }
                let above = kept.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(*left, *right)).collect();
                nodes.push(Nodes { skipped: (from >> height) as usize, kept });
                kept = above;
            }
        }
        Ok(Some(Self { nodes, ..Self::default() }))
    }

    pub fn size(&self) -> u64 {
        self.blocks() * WIDTH + self.tail.len() as u64
    }

    fn blocks(&self) -> u64 {
        self.nodes.first().map_or(0, |nodes| nodes.len() as u64)
    }

    /// Adds the next full block by its root.
    pub fn push_full(&mut self, root: Digest) {
        let mut node = root;
        for height in 0.. {
            if self.nodes.len() == height {
                self.nodes.push(Nodes::default());
            }
            let level = &mut self.nodes[height];
            let left = level.kept.last().copied();
            level.kept.push(node);
            if level.len() % 2 == 1 {
                break;
            }
            node = node_hash(left.expect("the left of a pair is kept, since tiles are kept whole"), node);
        }
    }

    /// Adds the last, incomplete block.
    pub fn push_tail(&mut self, hashes: Vec<Digest>) {
        self.tail = hashes;
    }

    /// Adds a full block of which nothing is known: every root that covers it is unknown from here on.
    pub fn push_lost(&mut self) {
        self.lose();
        self.push_full(Digest([0; 32]));
    }

    /// The same for what comes after the last full block.
    pub fn lose(&mut self) {
        self.lost = self.lost.or(Some(self.size()));
    }

    /// The root at an earlier size, or the present one. `leaves` gives the leaf hashes of a full block that the size cuts.
    pub fn root_at(&self, size: u64, leaves: impl FnOnce(u64) -> Option<Vec<Digest>>) -> Option<Digest> {
        if size > self.size() || self.lost.is_some_and(|lost| size > lost) {
            return None;
        }
        if size == 0 {
            return Some(EMPTY_ROOT);
        }
        let (blocks, rest) = (size / WIDTH, (size % WIDTH) as usize);
        let mut root = match rest {
            0 => None,
            _ if blocks == self.blocks() => block_root(self.tail.get(..rest)?),
            _ => {
                let cut = leaves(blocks)?;
                // The caller's hashes count only when they are this block's.
                if block_root(&cut)? != self.nodes.first()?.get(blocks as usize)? {
                    return None;
                }
                block_root(cut.get(..rest)?)
            }
        };
        // The perfect subtrees over full blocks, from the right: one for each bit of their number.
        for height in 0..u64::BITS - blocks.leading_zeros() {
            if blocks >> height & 1 == 1 {
                let left = self.nodes.get(height as usize)?.get(((blocks >> height) - 1) as usize)?;
                root = Some(root.map_or(left, |right| node_hash(left, right)));
            }
        }
        root
    }

    /// How many hashes the tiles of a level hold together.
    pub fn level_size(&self, level: u8) -> u64 {
        self.size().checked_shr(8 * u32::from(level)).unwrap_or(0)
    }

    /// The bytes of a tile of level 1 or above; `None` when they are not known.
    pub fn tile(&self, level: u8, index: u64) -> Option<Vec<u8>> {
        let nodes = self.nodes.get(8 * (usize::from(level).checked_sub(1)?))?;
        let from = index.checked_mul(WIDTH)? as usize;
        let to = nodes.len().min(from + WIDTH as usize);
        let covered = (to as u64).checked_shl(8 * u32::from(level))?;
        if self.lost.is_some_and(|lost| lost < covered) {
            return None;
        }
        let kept = nodes.kept.get(from.checked_sub(nodes.skipped)?..to.checked_sub(nodes.skipped)?)?;
        Some(kept.iter().flat_map(|h| h.0).collect())
    }

    /// The leaf hashes of the last block, if it is this one and not full.
    pub fn tail(&self, block: u64) -> Option<&[Digest]> {
        (block == self.blocks()).then_some(self.tail.as_slice())
    }

    /// Node `index` of height 8: a full block's root.
    pub fn block(&self, index: u64) -> Option<Digest> {
        self.nodes.first()?.get(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(n: u64) -> Vec<Digest> {
        (0..n).map(|i| crate::log::leaf_hash(&i.to_be_bytes())).collect()
    }

    /// RFC 6962, 2.1, as written there.
    fn by_definition(leaves: &[Digest]) -> Digest {
        match leaves.len() {
            0 => EMPTY_ROOT,
            1 => leaves[0],
            n => {
                let k = n.next_power_of_two() / 2;
                node_hash(by_definition(&leaves[..k]), by_definition(&leaves[k..]))
            }
        }
    }

    #[test]
    fn the_root_at_every_size_is_that_of_the_rfc() {
        let all = leaves(1_500);
        let mut tree = Tree::default();
        for block in all.chunks(256) {
            if block.len() == 256 { tree.push_full(by_definition(block)) } else { tree.push_tail(block.to_vec()) }
        }
        assert_eq!(tree.size(), 1_500);
        for size in (0..=1_500).step_by(7).chain([255, 256, 257, 511, 512, 1_024, 1_280, 1_500]) {
            let root = tree.root_at(size as u64, |b| Some(all[b as usize * 256..(b as usize + 1) * 256].to_vec()));
            assert_eq!(root, Some(by_definition(&all[..size])), "at size {size}");
        }
    }

    #[test]
    fn a_tree_that_is_resumed_goes_on_as_the_whole_one() {
        let roots: Vec<Digest> = (0..70_000_u64).map(|i| crate::log::leaf_hash(&i.to_be_bytes())).collect();
        for resumed in [0, 1, 2, 255, 256, 257, 300, 511, 512, 65_535, 65_536, 65_600] {
            let (mut whole, more) = (Tree::default(), 300);
            roots[..resumed].iter().for_each(|root| whole.push_full(*root));
            let mut resume = Tree::resume(resumed as u64, |level, from, to| {
                let hashes = whole.tile(level, from / WIDTH).as_deref().and_then(hashes);
                Ok::<_, ()>(hashes.filter(|hashes| hashes.len() as u64 == to - from))
            });
            let Ok(Some(tree)) = &mut resume else { panic!("its tiles are there") };
            for root in &roots[resumed..resumed + more] {
                whole.push_full(*root);
                tree.push_full(*root);
                assert_eq!(tree.size(), whole.size());
                assert_eq!(
                    tree.root_at(tree.size(), |_| None),
                    whole.root_at(whole.size(), |_| None),
                    "from {resumed}"
                );
            }
            for level in 1..4 {
                let last = (whole.level_size(level).max(1) - 1) / WIDTH;
                assert_eq!(tree.tile(level, last), whole.tile(level, last), "from {resumed}, level {level}");
            }
        }
    }

    #[test]
    fn a_lost_block_makes_later_roots_unknown_and_earlier_ones_not() {
        let all = leaves(768);
        let mut tree = Tree::default();
        tree.push_full(by_definition(&all[..256]));
        tree.push_lost();
        tree.push_full(by_definition(&all[512..]));
        assert_eq!(tree.root_at(256, |_| None), Some(by_definition(&all[..256])));
        assert_eq!(tree.root_at(300, |_| None), None);
        assert_eq!(tree.root_at(768, |_| None), None);
        assert_eq!(tree.tile(1, 0), None);
    }
}
