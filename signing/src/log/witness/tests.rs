#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::{
    keys::FileKey,
    log::{Edge, cosignature, leaf_hash, vkey},
};

const ORIGIN: &str = "example.org/log";

fn key(seed: u8) -> FileKey {
    FileKey::from_seed(&[seed; 32])
}

fn log() -> Log {
    Log { origin: ORIGIN.into(), keys: vec![*key(1).public()] }
}

fn leaves(size: u64, fork_from: u64) -> Vec<Vec<u8>> {
    (0..size).map(|n| format!("leaf {n}{}", if n < fork_from { "" } else { " forked" }).into_bytes()).collect()
}

/// The tree of that size; from leaf `fork_from` on it is another one.
fn tree(size: u64, fork_from: u64) -> Checkpoint {
    let mut edge = Edge::empty();
    edge.append(&leaves(size, fork_from), &mut |_, _| {}).unwrap();
    Checkpoint { origin: ORIGIN.into(), size, root: edge.root() }
}

/// RFC 6962, 2.1.2, word by word.
fn proof(old: u64, leaves: &[Vec<u8>]) -> Vec<Digest> {
    fn root(leaves: &[Vec<u8>]) -> Digest {
        match leaves {
            [leaf] => leaf_hash(leaf),
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                super::super::node_hash(root(left), root(right))
            }
        }
    }
    fn subproof(m: usize, leaves: &[Vec<u8>], whole: bool) -> Vec<Digest> {
        if m == leaves.len() {
            return if whole { Vec::new() } else { vec![root(leaves)] };
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(k);
        if m <= k {
            let mut proof = subproof(m, left, whole);
            proof.push(root(right));
            proof
        } else {
            let mut proof = subproof(m - k, right, false);
            proof.push(root(left));
            proof
        }
    }
    if old == 0 || old as usize == leaves.len() { Vec::new() } else { subproof(old as usize, leaves, true) }
}

fn submission(old: u64, size: u64) -> Submission {
    let note = tree(size, u64::MAX).sign(&key(1)).unwrap();
    Submission::new(old, proof(old, &leaves(size, u64::MAX)), &note).unwrap()
}

fn held(size: u64) -> Option<Known> {
    Some(tree(size, u64::MAX).known())
}

#[test]
fn consistent_growth_is_signed_and_the_same_tree_again() {
    for (old, new) in [(0, 1), (0, 7), (1, 2), (3, 7), (4, 8), (7, 7), (255, 257), (256, 1000)] {
        let held = if old == 0 { None } else { held(old) };
        let accepted = submission(old, new).judge(Some(&log()), held).unwrap();
        let witness_key = key(9);
        let witness = WitnessKey::new("w", *witness_key.public()).unwrap();
        let (line, note) = accepted.sign(&witness, &witness_key, "2026-11-22T04:00:00Z".parse().unwrap()).unwrap();
        let (checkpoint, by) = cosignature::verify_note(&note, &[witness]).unwrap();
        assert_eq!((&checkpoint, &by), (&tree(new, u64::MAX), &vec![line]));
        assert_eq!(Checkpoint::open(&note, ORIGIN, &log().keys).unwrap().0, checkpoint);
    }
}

#[test]
fn a_body_is_read_as_it_is_written() {
    let written = submission(3, 7).to_bytes();
    let read = Submission::parse(&written).unwrap();
    assert_eq!((read.old_size, read.proof.len(), read.checkpoint().size), (3, 4, 7));
    assert_eq!(read.to_bytes(), written);
    assert!(written.starts_with(b"old 3\n"));
}

#[test]
fn a_malformed_body_is_400() {
    let text = String::from_utf8(submission(3, 7).to_bytes()).unwrap();
    let hash = text.lines().nth(1).unwrap().to_owned();
    for (what, body) in [
        ("empty", String::new()),
        ("no old line", text.replacen("old 3\n", "", 1)),
        ("leading zero", text.replacen("old 3", "old 03", 1)),
        ("plus", text.replacen("old 3", "old +3", 1)),
        ("negative", text.replacen("old 3", "old -3", 1)),
        ("two spaces", text.replacen("old 3", "old  3", 1)),
        ("carriage return", text.replacen("old 3\n", "old 3\r\n", 1)),
        ("too large a size", text.replacen("old 3", "old 18446744073709551616", 1)),
        ("no empty line", text.replace("\n\n", "\n")),
        ("short hash", text.replacen(&hash, &hash[4..], 1)),
        ("hash not base64", text.replacen(&hash, &hash.replace('=', "*"), 1)),
        ("unpadded", text.replacen(&hash, hash.trim_end_matches('='), 1)),
        ("64 hashes", text.replacen(&hash, &vec![hash.clone(); 64].join("\n"), 1)),
        ("no signature", text.split("\n— ").next().unwrap().to_owned()),
        ("no last line feed", text.trim_end().to_owned()),
        ("a tree too large", text.replacen("\n7\n", "\n1099511627777\n", 1)),
        ("too long", format!("{text}{}", "— a AAAAAAAA\n".repeat(8000))),
    ] {
        let refused = Submission::parse(body.as_bytes()).unwrap_err();
        assert_eq!(refused.status(), 400, "{what}: {refused}");
    }
    let refused = Submission::new(8, Vec::new(), &submission(3, 7).note()).unwrap().judge(Some(&log()), held(8));
    assert_eq!(refused.unwrap_err().status(), 400);
}

#[test]
fn a_log_that_it_does_not_know_is_404() {
    assert_eq!(submission(3, 7).judge(None, held(3)).unwrap_err().status(), 404);
    let other = Log { origin: "example.org/other".into(), ..log() };
    assert_eq!(submission(3, 7).judge(Some(&other), held(3)).unwrap_err(), Refusal::Unknown(ORIGIN.into()));
}

#[test]
fn a_checkpoint_that_the_log_did_not_sign_is_403_before_anything_is_said_of_the_state() {
    let other = Log { keys: vec![*key(2).public()], ..log() };
    assert_eq!(submission(2, 7).judge(Some(&other), held(3)).unwrap_err(), Refusal::Unsigned(ORIGIN.into()));
    let altered = String::from_utf8(submission(3, 7).to_bytes()).unwrap().replacen("\n7\n", "\n8\n", 1);
    let refused = Submission::parse(altered.as_bytes()).unwrap().judge(Some(&log()), held(3)).unwrap_err();
    assert_eq!(refused.status(), 403);
}

#[test]
fn after_a_rotation_the_new_key_is_enough_and_so_is_the_old_one() {
    let both = Log { keys: vec![*key(2).public(), *key(1).public()], ..log() };
    submission(3, 7).judge(Some(&both), held(3)).unwrap();
    let note = tree(8, u64::MAX).sign(&key(2)).unwrap();
    let by_new = Submission::new(7, proof(7, &leaves(8, u64::MAX)), &note).unwrap();
    by_new.judge(Some(&both), held(7)).unwrap();
}

#[test]
fn another_old_size_than_the_witnesss_is_409_with_its_size() {
    for (old, holds) in [(0, held(3)), (2, held(3)), (3, None), (3, held(5)), (5, held(7)), (7, held(9)), (0, held(9))]
    {
        let size = holds.map_or(0, |known| known.size);
        let refused = submission(old, 7).judge(Some(&log()), holds).unwrap_err();
        assert_eq!((refused.status(), refused.held()), (409, Some(size)), "{old}: {refused}");
        assert!(!refused.is_evidence());
    }
}

#[test]
fn another_tree_of_the_same_size_is_a_fork_with_whatever_old_size_it_comes() {
    for old in [0, 3, 7] {
        let note = tree(7, 5).sign(&key(1)).unwrap();
        let forked = Submission::new(old, Vec::new(), &note).unwrap();
        let refused = forked.judge(Some(&log()), held(7)).unwrap_err();
        assert!(matches!(refused, Refusal::Fork { .. }), "{refused}");
        assert_eq!((refused.status(), refused.held(), refused.is_evidence()), (409, Some(7), true));
        assert!(refused.to_string().starts_with("FORK"));
    }
}

#[test]
fn growth_of_a_rewritten_log_is_422() {
    let note = tree(9, 5).sign(&key(1)).unwrap();
    for proof in [proof(7, &leaves(9, 5)), proof(7, &leaves(9, u64::MAX)), Vec::new()] {
        let refused = Submission::new(7, proof, &note).unwrap().judge(Some(&log()), held(7)).unwrap_err();
        assert_eq!((refused.status(), refused.is_evidence()), (422, true), "{refused}");
    }
}

#[test]
fn a_proof_where_none_is_due_is_422() {
    for (old, size) in [(0, 7), (7, 7)] {
        let holds = if old == 0 { None } else { held(old) };
        let note = tree(size, u64::MAX).sign(&key(1)).unwrap();
        let refused = Submission::new(old, vec![EMPTY_ROOT], &note).unwrap().judge(Some(&log()), holds).unwrap_err();
        assert_eq!(refused.status(), 422);
    }
}

#[test]
fn extension_lines_of_other_logs_are_cosigned_with_the_text() {
    let text = format!("{}a line of the log's own\n", tree(7, u64::MAX).text());
    let signature = key(1).sign(text.as_bytes()).unwrap();
    let id = signed_note::key_id(ORIGIN, &[&[1][..], &key(1).public().to_bytes()].concat());
    let line = signed_note::Signature::new(ORIGIN.into(), id, signature.to_vec()).unwrap();
    let note = Note::new(text.as_bytes(), &[line]).unwrap().to_bytes();
    let accepted = Submission::new(0, Vec::new(), &note).unwrap().judge(Some(&log()), None).unwrap();
    let (witness_key, at) = (key(9), "2026-11-22T04:00:00Z".parse().unwrap());
    let witness = WitnessKey::new("w", *witness_key.public()).unwrap();
    let (cosignature, _) = accepted.sign(&witness, &witness_key, at).unwrap();
    assert_eq!(cosignature::verify(cosignature.to_line().as_bytes(), text.as_bytes(), &[witness]).unwrap().len(), 1);
}

#[test]
fn what_is_kept_has_the_logs_lines_and_the_witnesss_and_no_others() {
    let own = tree(7, u64::MAX).sign(&key(1)).unwrap();
    let strangers = "— stranger AAAAAAAA\n".repeat(99);
    let note = [own.as_slice(), strangers.as_bytes()].concat();
    let accepted = Submission::new(0, Vec::new(), &note).unwrap().judge(Some(&log()), None).unwrap();
    let witness_key = key(9);
    let witness = WitnessKey::new("w", *witness_key.public()).unwrap();
    let (line, kept) = accepted.sign(&witness, &witness_key, "2026-11-22T04:00:00Z".parse().unwrap()).unwrap();
    assert_eq!(kept, [own.as_slice(), line.to_line().as_bytes()].concat());
}

#[test]
fn verifier_keys_of_one_name_are_of_one_log() {
    let (a, b) = (vkey(ORIGIN, key(1).public()), vkey(ORIGIN, key(2).public()));
    let other = vkey("example.org/other", key(1).public());
    let logs = Log::from_vkeys(&[&a, &other, &b, &a]).unwrap();
    assert_eq!(
        logs.iter().map(|log| (log.origin.as_str(), log.keys.len())).collect::<Vec<_>>(),
        [(ORIGIN, 2), ("example.org/other", 1)]
    );
    let refused = Log::from_vkeys(&[a, "nonsense".into()]).unwrap_err();
    assert_eq!(refused.0, "nonsense");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_signed_continues_what_was_signed(sizes in prop::collection::vec((0..40_u64, 0..40_u64, 0..45_u64), 1..12)) {
        // A witness that is asked for anything in any order signs one history only.
        let mut remembered: Option<(Known, u64)> = None;
        for (old, size, fork) in sizes {
            let note = tree(size, fork).sign(&key(1)).unwrap();
            let asked = Submission::new(old, proof(old.min(size), &leaves(size, fork)), &note).unwrap();
            let Ok(accepted) = asked.judge(Some(&log()), remembered.map(|(known, _)| known)) else { continue };
            if let Some((known, before)) = remembered {
                prop_assert!(known.size <= size);
                prop_assert_eq!(tree(known.size, fork).root, tree(known.size, before).root);
            }
            remembered = Some((accepted.checkpoint().known(), fork));
        }
    }

    #[test]
    fn no_body_makes_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Submission::parse(&body);
        let text = String::from_utf8(submission(3, 7).to_bytes()).unwrap();
        let mut altered = text.into_bytes();
        for (n, byte) in body.iter().enumerate() {
            let length = altered.len();
            altered[(n * 37 + usize::from(*byte)) % length] ^= byte;
        }
        let _ = Submission::parse(&altered);
    }
}
