//! Every parser of the format against bytes that nobody meant for it: noise, and the format's vectors with a little changed.
#![allow(missing_docs, clippy::unwrap_used)]

mod targets;

use proptest::{prelude::*, sample::Index};
use targets::{TARGETS, Target};

/// What is done to good bytes.
#[derive(Debug, Clone)]
enum Edit {
    Flip(Index, u8),
    Cut(Index, Index),
    Insert(Index, Vec<u8>),
    /// The same bytes twice.
    Repeat(Index, Index),
    /// Bytes of another seed.
    Splice(Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    // What JSON, notes and numbers turn on.
    let pieces = proptest::sample::select(vec![
        "null",
        "-1",
        "1e999",
        "18446744073709551615",
        "\\u0000",
        "\\ud800",
        "\"",
        ",",
        ":",
        "{",
        "}",
        "[",
        "]",
        "\n",
        "\u{2014} ",
        " ",
        "=",
        "+",
        "/",
        "../",
        "Z",
        "\u{0}",
    ]);
    prop_oneof![
        3 => (at(), 1..=255u8).prop_map(|(at, bits)| Edit::Flip(at, bits)),
        2 => (at(), at()).prop_map(|(a, b)| Edit::Cut(a, b)),
        2 => (at(), pieces).prop_map(|(at, piece)| Edit::Insert(at, piece.as_bytes().to_vec())),
        1 => (at(), proptest::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        1 => (at(), at()).prop_map(|(a, b)| Edit::Repeat(a, b)),
        1 => (at(), at()).prop_map(|(a, b)| Edit::Splice(a, b)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit, other: &[u8]) {
    let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
    let range = |a: &Index, b: &Index, bytes: &[u8]| {
        let (a, b) = (place(a, bytes), place(b, bytes));
        a.min(b)..a.max(b).min(a.min(b) + 64)
    };
    match edit {
        Edit::Flip(at, bits) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        Edit::Flip(..) => {}
        Edit::Cut(a, b) => {
            bytes.drain(range(a, b, bytes));
        }
        Edit::Insert(at, piece) => {
            let at = place(at, bytes);
            bytes.splice(at..at, piece.iter().copied());
        }
        Edit::Repeat(a, b) => {
            let range = range(a, b, bytes);
            let again = bytes[range.clone()].to_vec();
            bytes.splice(range.end..range.end, again);
        }
        Edit::Splice(a, b) => {
            let piece = &other[range(a, b, other)];
            let at = place(a, bytes);
            bytes.splice(at..at, piece.iter().copied());
        }
    }
}

/// The same noise and the same edits for every parser.
fn never_breaks_a_promise(target: &Target, cases: u32) {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    for seed in &seeds {
        (target.check)(seed);
    }
    let config = || ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config(), |(noise in proptest::collection::vec(any::<u8>(), 0..300))| (target.check)(&noise));
    let edits = proptest::collection::vec(edit(), 1..4);
    proptest!(config(), |(seed in any::<Index>(), other in any::<Index>(), edits in edits)| {
        let mut bytes = seeds[seed.index(seeds.len())].clone();
        for edit in &edits {
            apply(&mut bytes, edit, &seeds[other.index(seeds.len())]);
        }
        (target.check)(&bytes);
    });
}

macro_rules! each {
    ($($test:ident = $name:literal, $cases:literal;)*) => {
        $(#[test]
        fn $test() {
            let target = TARGETS.iter().find(|target| target.name == $name).unwrap();
            never_breaks_a_promise(target, $cases);
        })*

        #[test]
        fn every_parser_is_tried() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

each! {
    an_append_is_decided_by_its_own_bytes = "append", 256;
    what_a_person_signed_is_read_as_it_was_signed = "approval", 256;
    an_archive_with_any_object_replaced_is_not_intact = "archive", 128;
    a_bundle_is_what_every_zip_reader_sees = "bundle", 256;
    a_checkpoint_has_one_spelling = "checkpoint", 512;
    a_checks_document_comes_back_the_same = "checks", 256;
    a_cosignature_is_its_lines = "cosignature", 256;
    an_entry_bundle_is_its_leaves = "entries", 256;
    a_key_has_one_spelling = "key", 256;
    a_key_set_comes_back_the_same = "keys", 128;
    a_name_has_one_spelling = "names", 512;
    a_plan_gives_its_slots_in_order_however_odd_it_is = "plan", 256;
    roots_that_are_read_can_be_used = "roots", 128;
    a_proof_in_a_file_has_one_spelling = "proof", 256;
    the_facts_of_a_run_come_back_the_same = "run", 256;
    a_seal_comes_back_the_same = "seal", 256;
    a_statement_comes_back_the_same = "statement", 512;
    no_object_more_is_taken_for_evidence = "stray", 96;
    a_tile_is_its_hashes = "tile", 256;
    an_altered_token_says_nothing_else = "token", 512;
    a_submission_to_a_witness_has_one_spelling = "witness", 256;
}
