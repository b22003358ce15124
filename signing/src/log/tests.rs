#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
    ops::ControlFlow,
};

use proptest::prelude::*;
use tlog_tiles::{Hash, HashReader};

use super::*;
use crate::keys::{FileKey, Signer};

/// An archive in memory.
#[derive(Default, Clone, PartialEq, Debug)]
struct Memory(BTreeMap<String, Vec<u8>>);

impl Reader for Memory {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send + '_>>> {
        Ok(self.0.get(name).map(|b| Box::new(Cursor::new(b)) as Box<dyn Read + Send>))
    }
    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        self.0.keys().filter(|k| k.starts_with(prefix)).for_each(|k| each(k));
        Ok(())
    }
}

impl Memory {
    fn append(&mut self, edge: &mut Edge, leaves: &[Vec<u8>]) {
        edge.append(leaves, &mut |name, bytes| {
            let before = self.0.insert(name.clone(), bytes.clone());
            assert!(before.is_none_or(|b| b == bytes), "{name} was written with other bytes");
        })
        .unwrap();
    }
}

fn leaves(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("leaf {i}").into_bytes()).collect()
}

fn tree(count: u64) -> (Memory, Edge) {
    let (mut memory, mut edge) = (Memory::default(), Edge::empty());
    memory.append(&mut edge, &leaves(count));
    (memory, edge)
}

fn checkpoint(edge: &Edge) -> Checkpoint {
    Checkpoint { origin: "example.org/log".into(), size: edge.size(), root: edge.root() }
}

/// tlog_tiles' own store of hashes.
#[derive(Default)]
struct Reference(Vec<Hash>);

impl HashReader for Reference {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|i| self.0[*i as usize]).collect())
    }
}

impl Reference {
    fn of(leaves: &[Vec<u8>]) -> Self {
        let mut reference = Self::default();
        for (n, leaf) in leaves.iter().enumerate() {
            let hashes = tlog_tiles::stored_hashes(n as u64, leaf, &reference).unwrap();
            reference.0.extend(hashes);
        }
        reference
    }
}

#[test]
fn names_are_those_of_the_specification() {
    assert_eq!(tile_name(0, 1_234_067, 256), "tile/0/x001/x234/067");
    assert_eq!(tile_name(3, 0, 8), "tile/3/000.p/8");
    assert_eq!(entry_bundle_name(273, 112), "tile/entries/273.p/112");
    // The example of tlog-tiles: a tree of 70,000.
    let mut names = Vec::new();
    let mut edge = Edge::empty();
    edge.append(&leaves(70_000), &mut |name, _| names.push(name)).unwrap();
    for (name, wanted) in
        [("tile/0/000", true), ("tile/0/272", true), ("tile/0/273.p/112", true), ("tile/0/273", false)]
    {
        assert_eq!(names.iter().any(|n| n == name), wanted, "{name}");
    }
    for name in ["tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1", "tile/entries/000", "tile/entries/273.p/112"] {
        assert!(names.iter().any(|n| n == name), "{name}");
    }
    assert_eq!(names.len(), 274 + 2 + 1 + 274);
}

#[test]
fn roots_are_those_of_tlog_tiles_at_every_size() {
    let leaves = leaves(600);
    let reference = Reference::of(&leaves);
    let (mut edge, mut hasher) = (Edge::empty(), RootHasher::new());
    assert_eq!(edge.root(), EMPTY_ROOT);
    for (n, leaf) in leaves.iter().enumerate() {
        edge.append(std::slice::from_ref(leaf), &mut |_, _| {}).unwrap();
        hasher.push(leaf);
        let wanted = Digest(tlog_tiles::tree_hash(n as u64 + 1, &reference).unwrap().0);
        assert_eq!(edge.root(), wanted);
        assert_eq!(hasher.root(), wanted);
        assert_eq!(hasher.size(), edge.size());
    }
}

#[test]
fn a_tree_of_three_levels_has_the_root_of_its_leaves_and_comes_back_from_its_tiles() {
    let (memory, edge) = tree(65_536 + 300);
    let mut hasher = RootHasher::new();
    leaves(65_536 + 300).iter().for_each(|l| hasher.push(l));
    assert_eq!(edge.root(), hasher.root());
    assert_eq!(Edge::read(&memory, edge.size(), edge.root()).unwrap(), edge);
    let new = checkpoint(&edge);
    for index in [0, 255, 256, 65_535, 65_536, 65_835] {
        let proof = inclusion(&memory, index, &new).unwrap();
        check_inclusion(&proof, index, leaf_hash(format!("leaf {index}").as_bytes()), &new).unwrap();
    }
    let (_, small) = tree(65_536);
    consistency(&memory, &checkpoint(&small), &new).unwrap();
}

#[test]
fn an_append_of_nothing_makes_nothing() {
    let (_, mut edge) = tree(5);
    let before = edge.clone();
    edge.append(&[], &mut |name, _| panic!("{name}")).unwrap();
    assert_eq!(edge, before);
}

#[test]
fn a_leaf_too_long_and_a_tree_too_large_are_refused_before_anything_is_emitted() {
    let (_, mut edge) = tree(5);
    let before = edge.clone();
    let none = &mut |name: String, _: Vec<u8>| panic!("{name}");
    assert!(matches!(edge.append(&[vec![1], vec![0; MAX_LEAF + 1]], none), Err(LogError::LeafTooLong(_))));
    edge.append(&[vec![0; MAX_LEAF]], &mut |_, _| {}).unwrap();
    edge = before;
    edge.size = MAX_SIZE;
    assert!(matches!(edge.append(&[vec![1]], none), Err(LogError::TooLarge(_))));
    assert!(matches!(Edge::read(&Memory::default(), MAX_SIZE + 1, EMPTY_ROOT), Err(LogError::TooLarge(_))));
}

#[test]
fn the_full_tile_serves_where_the_partial_one_is_gone() {
    let (mut memory, small) = tree(10);
    let old = checkpoint(&small);
    let mut edge = small.clone();
    memory.append(&mut edge, &(10..300).map(|i| format!("leaf {i}").into_bytes()).collect::<Vec<_>>());
    assert!(memory.0.remove("tile/0/000.p/10").is_some());
    assert!(memory.0.remove("tile/entries/000.p/10").is_some());
    assert_eq!(Edge::read(&memory, 10, old.root).unwrap(), small);
    let proof = inclusion(&memory, 3, &old).unwrap();
    check_inclusion(&proof, 3, leaf_hash(b"leaf 3"), &old).unwrap();
    let mut seen = Vec::new();
    entries(&memory, 0, 10, &mut |i, l| {
        seen.push((i, l.to_vec()));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(seen.len(), 10);
    assert_eq!(seen[9], (9, b"leaf 9".to_vec()));
    memory.0.remove("tile/0/000");
    assert!(matches!(Edge::read(&memory, 10, old.root), Err(LogError::Missing { name }) if name == "tile/0/000.p/10"));
}

#[test]
fn entries_stream_from_any_index_and_stop_when_told() {
    let (memory, _) = tree(600);
    let mut seen = Vec::new();
    entries(&memory, 250, 600, &mut |i, l| {
        assert_eq!(l, format!("leaf {i}").as_bytes());
        seen.push(i);
        if i == 520 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!(seen, (250..=520).collect::<Vec<_>>());
    entries(&memory, 600, 600, &mut |_, _| panic!("there is none")).unwrap();
    assert!(matches!(
        entries(&memory, 0, 601, &mut |_, _| ControlFlow::Continue(())),
        Err(LogError::Missing { name }) if name == "tile/entries/002.p/89"
    ));
}

#[test]
fn every_altered_byte_of_every_object_is_seen() {
    let (memory, edge) = tree(260);
    let (new, old) = (checkpoint(&edge), checkpoint(&tree(256).1));
    // What a reader of the whole log does: leaves to the root, full tiles against the leaves, the edge from the tiles.
    let whole = |memory: &Memory| -> Result<(), LogError> {
        let (mut again, mut read, mut wrong) = (Edge::empty(), Vec::new(), None);
        entries(memory, 0, 260, &mut |_, leaf| {
            read.push(leaf.to_vec());
            ControlFlow::Continue(())
        })?;
        again.append(&read, &mut |name, bytes| {
            if memory.0[&name] != bytes {
                wrong = Some(name);
            }
        })?;
        if let Some(name) = wrong {
            return Err(LogError::Damaged { name, what: String::new() });
        }
        if again.root() != new.root {
            return Err(LogError::Tiles { size: 260, root: new.root });
        }
        Edge::read(memory, 260, new.root).map(|_| ())
    };
    whole(&memory).unwrap();
    consistency(&memory, &old, &new).unwrap();
    for (name, bytes) in &memory.0 {
        // The two long ones at every 29th byte, which meets each place in a hash and in a leaf.
        for place in (0..bytes.len()).step_by(if bytes.len() > 1000 { 29 } else { 1 }) {
            let mut altered = memory.clone();
            altered.0.get_mut(name).unwrap()[place] ^= 1;
            assert!(whole(&altered).is_err(), "{name}, byte {place}");
        }
        let mut cut = memory.clone();
        cut.0.get_mut(name).unwrap().pop();
        assert!(whole(&cut).is_err(), "{name} cut");
        let mut longer = memory.clone();
        longer.0.get_mut(name).unwrap().push(0);
        assert!(whole(&longer).is_err(), "{name} longer");
    }
}

#[test]
fn a_proof_from_an_altered_tile_is_refused() {
    let (memory, edge) = tree(600);
    let new = checkpoint(&edge);
    let old = checkpoint(&tree(599).1);
    for (name, place) in [("tile/0/000", 5), ("tile/0/000", 3 * 32), ("tile/0/002.p/88", 5), ("tile/1/000.p/2", 32 + 5)]
    {
        let mut altered = memory.clone();
        altered.0.get_mut(name).unwrap()[place] ^= 1;
        assert!(matches!(inclusion(&altered, 3, &new), Err(LogError::Tiles { .. })), "{name}");
    }
    let mut altered = memory.clone();
    altered.0.get_mut("tile/0/002.p/88").unwrap()[87 * 32] ^= 1;
    assert!(matches!(consistency(&altered, &old, &new), Err(LogError::Inconsistent { .. })));
}

#[test]
fn a_rewritten_log_does_not_continue_the_old_one() {
    let (_, small) = tree(100);
    let mut other = leaves(400);
    other[50] = b"rewritten".to_vec();
    let (mut memory, mut edge) = (Memory::default(), Edge::empty());
    memory.append(&mut edge, &other);
    let (old, new) = (checkpoint(&small), checkpoint(&edge));
    assert!(matches!(consistency(&memory, &old, &new), Err(LogError::Inconsistent { .. })));
    assert!(matches!(consistency(&memory, &new, &old), Err(LogError::Inconsistent { .. })));
    let forked = Checkpoint { size: new.size, ..old.clone() };
    assert!(matches!(consistency(&memory, &forked, &new), Err(LogError::Inconsistent { .. })));
    let elsewhere = Checkpoint { origin: "other".into(), ..new.clone() };
    assert!(matches!(consistency(&memory, &elsewhere, &new), Err(LogError::Origin { .. })));
}

#[test]
fn the_root_at_an_earlier_size_follows_from_the_tiles() {
    let (memory, edge) = tree(600);
    let new = checkpoint(&edge);
    for old in [0, 1, 5, 255, 256, 257, 511, 599, 600] {
        let (root, proof) = growth(&memory, old, &new).unwrap();
        assert_eq!(root, tree(old).1.root(), "{old}");
        check_consistency(&proof, &Checkpoint { size: old, root, ..new.clone() }, &new).unwrap();
    }
    assert!(matches!(growth(&memory, 601, &new).unwrap_err(), LogError::Range { .. }));
    let mut altered = memory;
    altered.0.get_mut("tile/0/002.p/88").unwrap()[0] ^= 1;
    for old in [513, 599] {
        growth(&altered, old, &new).unwrap_err();
    }
}

#[test]
fn any_log_continues_the_empty_one() {
    let (memory, edge) = tree(3);
    let empty = checkpoint(&Edge::empty());
    assert_eq!(consistency(&memory, &empty, &checkpoint(&edge)).unwrap(), []);
    assert!(consistency(&memory, &empty, &empty).is_ok());
    let false_empty = Checkpoint { root: edge.root(), ..empty };
    assert!(consistency(&memory, &false_empty, &checkpoint(&edge)).is_err());
    assert!(matches!(inclusion(&memory, 3, &checkpoint(&edge)), Err(LogError::Range { index: 3, size: 3 })));
}

#[test]
fn the_cached_edge_comes_back_and_an_altered_one_is_refused() {
    for size in [0, 1, 255, 256, 300, 65_536] {
        let (_, edge) = tree(size);
        let text = serde_json::to_string(&edge).unwrap();
        assert_eq!(serde_json::from_str::<Edge>(&text).unwrap(), edge, "{size}");
    }
    let (_, edge) = tree(300);
    let text = serde_json::to_string(&edge).unwrap();
    let altered = |from: &str, to: &str| {
        let other = text.replacen(from, to, 1);
        assert_ne!(other, text);
        assert!(serde_json::from_str::<Edge>(&other).is_err(), "{from}");
    };
    altered(r#""size":300"#, r#""size":301"#);
    altered(r#""size":300"#, r#""size":300000"#);
    altered(&edge.tiles[0][3].to_string(), &edge.tiles[0][4].to_string());
    altered(r#""bundle":"AAhsZWFm"#, r#""bundle":"AAhsZWFn"#);
}

fn signed() -> (FileKey, Checkpoint, Vec<u8>) {
    let key = FileKey::from_seed(&[5; 32]);
    let checkpoint = checkpoint(&tree(7).1);
    let bytes = checkpoint.sign(&key).unwrap();
    (key, checkpoint, bytes)
}

#[test]
fn a_checkpoint_opens_under_its_key_and_origin_only() {
    let (key, checkpoint, bytes) = signed();
    let other = *FileKey::from_seed(&[6; 32]).public();
    let opened = Checkpoint::open(&bytes, "example.org/log", &[other, *key.public()]).unwrap();
    assert_eq!(opened, (checkpoint.clone(), key.public().fingerprint()));
    assert_eq!(Checkpoint::parse_unverified(&bytes).unwrap(), checkpoint);
    assert!(matches!(Checkpoint::open(&bytes, "example.org/log", &[other]), Err(LogError::NoKnownSignature(_))));
    assert!(matches!(Checkpoint::open(&bytes, "other", &[*key.public()]), Err(LogError::Origin { .. })));
}

#[test]
fn signed_note_itself_verifies_a_checkpoint_under_our_verifier_key() {
    let (key, checkpoint, bytes) = signed();
    let vkey = vkey("example.org/log", key.public());
    let verifier = signed_note::StandardVerifier::new(&vkey).unwrap();
    let known = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    let note = signed_note::Note::from_bytes(&bytes).unwrap();
    assert_eq!(note.verify(&known).unwrap().0.len(), 1);
    assert_eq!(tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap().size(), checkpoint.size);
}

#[test]
fn a_checkpoint_whose_origin_can_be_no_key_name_is_refused_as_nobody_could_have_signed_it() {
    let (_, edge) = tree(3);
    let signed = String::from_utf8(checkpoint(&edge).sign(&FileKey::from_seed(&[3; 32])).unwrap()).unwrap();
    for origin in ["example.org /log", "example.org+log", "\u{2003}"] {
        let altered = signed.replacen("example.org/log", origin, 1);
        assert!(matches!(Checkpoint::parse_unverified(altered.as_bytes()), Err(LogError::Checkpoint(_))), "{origin:?}");
    }
}

#[test]
fn every_altered_byte_of_a_checkpoint_is_refused() {
    let (key, _, bytes) = signed();
    for place in 0..bytes.len() {
        for flip in [1, 0x20, 0x80] {
            let mut altered = bytes.clone();
            altered[place] ^= flip;
            assert!(Checkpoint::open(&altered, "example.org/log", &[*key.public()]).is_err(), "byte {place}");
        }
    }
}

#[test]
fn lines_of_others_are_left_alone_and_a_wrong_line_of_a_known_key_is_an_error() {
    let (key, checkpoint, bytes) = signed();
    let witness = FileKey::from_seed(&[6; 32]);
    let line = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().lines().last().unwrap().to_owned();
    let both = [bytes.as_slice(), line(&checkpoint.sign(&witness).unwrap()).as_bytes(), b"\n"].concat();
    assert!(Checkpoint::open(&both, "example.org/log", &[*key.public()]).is_ok());
    let elsewhere = Checkpoint { size: 6, ..checkpoint.clone() }.sign(&witness).unwrap();
    let wrong = [bytes.as_slice(), line(&elsewhere).as_bytes(), b"\n"].concat();
    assert!(matches!(
        Checkpoint::open(&wrong, "example.org/log", &[*key.public(), *witness.public()]),
        Err(LogError::Signature(by)) if by == witness.public().fingerprint()
    ));
}

#[test]
fn extension_lines_and_origins_that_are_no_key_name_are_refused() {
    let (key, checkpoint, bytes) = signed();
    let text = String::from_utf8(bytes).unwrap().replacen("\n\n", "\nextension\n\n", 1);
    assert!(matches!(Checkpoint::parse_unverified(text.as_bytes()), Err(LogError::Checkpoint(_))));
    for origin in ["", "a b", "a+b", "a\nb"] {
        let checkpoint = Checkpoint { origin: origin.into(), ..checkpoint.clone() };
        assert!(matches!(checkpoint.sign(&key), Err(LogError::Checkpoint(_))), "{origin:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn batches_make_the_same_tree_as_one_append(batches in proptest::collection::vec(0_u64..400, 1..6)) {
        let (mut memory, mut edge, mut at) = (Memory::default(), Edge::empty(), 0);
        for count in batches {
            let batch: Vec<_> = (at..at + count).map(|i| format!("leaf {i}").into_bytes()).collect();
            memory.append(&mut edge, &batch);
            at += count;
            prop_assert_eq!(&Edge::read(&memory, at, edge.root()).unwrap(), &edge);
        }
        let (once, whole) = tree(at);
        prop_assert_eq!(&whole, &edge);
        for (name, bytes) in &once.0 {
            prop_assert_eq!(memory.0.get(name), Some(bytes), "{}", name);
        }
    }

    #[test]
    fn the_tiles_are_those_that_tlog_tiles_names(old in 0_u64..1200, more in 0_u64..1200) {
        let (_, mut edge) = tree(old);
        let batch: Vec<_> = (old..old + more).map(|i| format!("leaf {i}").into_bytes()).collect();
        let mut names = Vec::new();
        edge.append(&batch, &mut |name, _| names.push(name)).unwrap();
        let mut wanted: Vec<_> = tlog_tiles::Tile::new_tiles(8, old, old + more)
            .iter()
            .flat_map(|t| {
                let name = t.path().replacen("tile/8/", "tile/", 1);
                let entries = (t.level() == 0).then(|| name.replacen("tile/0/", "tile/entries/", 1));
                [Some(name), entries].into_iter().flatten()
            })
            .collect();
        names.sort();
        wanted.sort();
        prop_assert_eq!(names, wanted);
    }

    #[test]
    fn proofs_are_those_of_tlog_tiles_and_check(size in 1_u64..900, a in 0_u64..900, b in 1_u64..900) {
        let (index, small) = (a % size, 1 + b % size);
        let (memory, edge) = tree(size);
        let reference = Reference::of(&leaves(size));
        let new = checkpoint(&edge);
        let proof = inclusion(&memory, index, &new).unwrap();
        let wanted = tlog_tiles::prove_record(size, index, &reference).unwrap();
        prop_assert_eq!(&proof, &wanted.iter().map(|h| Digest(h.0)).collect::<Vec<_>>());
        let leaf = leaf_hash(format!("leaf {index}").as_bytes());
        check_inclusion(&proof, index, leaf, &new).unwrap();
        prop_assert!(check_inclusion(&proof, index, leaf_hash(b"other"), &new).is_err());
        prop_assert!(check_inclusion(&proof, (index + 1) % (size + 1), leaf, &new).is_err());
        let old = checkpoint(&tree(small).1);
        let proof = consistency(&memory, &old, &new).unwrap();
        check_consistency(&proof, &old, &new).unwrap();
        for place in 0..proof.len() {
            let mut altered = proof.clone();
            altered[place].0[0] ^= 1;
            prop_assert!(check_consistency(&altered, &old, &new).is_err());
        }
        let other = Checkpoint { root: leaf, ..old.clone() };
        prop_assert!(size == 1 || check_consistency(&proof, &other, &new).is_err());
    }
}
