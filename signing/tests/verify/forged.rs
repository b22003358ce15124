//! Changes by somebody who holds keys, or older states of the archive: what was logged cannot be taken back unseen.

use chrono::TimeDelta;
use signing::{
    keys::{Draft, FileKey, KeySet, Signer, Use},
    log::Edge,
    statement::Outcome,
    verify::Options,
};

use super::sound::*;

fn codes(memory: &Memory) -> Vec<String> {
    let verdict = memory.judge();
    verdict.findings_by_code.keys().map(ToString::to_string).collect()
}

/// The small archive before its second append, and after it.
fn two_states() -> (Memory, Memory) {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path());
    writer.keys(&key_set(1));
    writer.plan(&[], "collect by hand");
    writer.append();
    writer.run(&job("host/accounts"), None);
    writer.append();
    let before = Memory::read(dir.path());
    writer.now += TimeDelta::minutes(1);
    writer.run(&job("host/accounts"), None);
    writer.append();
    writer.now += TimeDelta::minutes(1);
    writer.run(&job("host/sshd"), None);
    writer.append();
    (before, Memory::read(dir.path()))
}

#[test]
fn an_older_log_put_back_is_seen_by_what_newer_seals_knew() {
    let (before, mut after) = two_states();
    after.objects.retain(|name, _| !name.starts_with("tile/"));
    for (name, bytes) in &before.objects {
        if name.starts_with("tile/") || name == "checkpoint" {
            after.objects.insert(name.clone(), bytes.clone());
        }
    }
    let verdict = after.judge();
    assert_eq!(verdict.findings.len(), 1, "{:?}", verdict.findings);
    assert_eq!(verdict.findings[0].code.as_str(), "LOG-ROLLED-BACK");
    assert!(verdict.findings[0].says.contains("checkpoint over 4 entries; this log has 3"), "{:?}", verdict.findings);
    assert_eq!(verdict.pending_sealed, 2);
    let says = &verdict.sections.iter().find(|s| s.name == "pending").unwrap().says;
    assert!(says.contains("validly signed but not in the log: 2"), "{says}");
}

#[test]
fn an_older_checkpoint_put_back_is_seen_by_the_tiles_beyond_it() {
    let (before, mut after) = two_states();
    after.objects.insert("checkpoint".into(), before.objects["checkpoint"].clone());
    let found = found(&after.judge());
    assert!(found.contains(&("LOG-ROLLED-BACK".into(), "tile/entries/000.p/5".into())), "{found:?}");
}

#[test]
fn an_older_state_put_back_whole_is_intact_and_the_limit_says_what_that_leaves_open() {
    let (before, _) = two_states();
    let verdict = before.judge();
    assert!(verdict.intact);
    assert!(verdict.limits.iter().any(|limit| limit.code == "TAIL-UNPINNED"));
}

/// An archive whose log is written anew over the same objects, by somebody with all keys but the root.
fn relogged(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Memory {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = write(dir.path());
    let reader = signing::store::Dir::new(dir.path());
    let mut leaves = Vec::new();
    signing::log::entries(&reader, 0, writer.edge.size(), &mut |_, leaf| {
        leaves.push(leaf.to_vec());
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    change(&mut leaves);
    std::fs::remove_dir_all(dir.path().join("tile")).unwrap();
    writer.edge = Edge::empty();
    writer.waiting = leaves;
    writer.append();
    Memory::read(dir.path())
}

#[test]
fn an_entry_left_out_of_a_log_written_anew_is_seen() {
    let codes = codes(&relogged(|leaves| {
        leaves.remove(20);
    }));
    for code in ["SLOT-MISSING", "LOG-FORKED"] {
        assert!(codes.contains(&code.to_owned()), "{code}: {codes:?}");
    }
}

#[test]
fn entries_in_another_order_are_seen() {
    let codes = codes(&relogged(|leaves| leaves.swap(30, 32)));
    for code in ["SLOT-ORDER", "LOG-FORKED"] {
        assert!(codes.contains(&code.to_owned()), "{code}: {codes:?}");
    }
}

#[test]
fn an_entry_logged_twice_is_seen() {
    let codes = codes(&relogged(|leaves| leaves.push(leaves[20].clone())));
    assert!(codes.contains(&"LEAF-TWICE".to_owned()), "{codes:?}");
}

#[test]
fn an_entry_replaced_by_another_validly_signed_one_is_seen() {
    let memory = {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = write(dir.path());
        let reader = signing::store::Dir::new(dir.path());
        let mut leaves = Vec::new();
        signing::log::entries(&reader, 0, writer.edge.size(), &mut |_, leaf| {
            leaves.push(leaf.to_vec());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        // The same slot, told anew, with all its objects.
        let slot = at("2026-11-01T10:00:00Z");
        writer.now = slot + TimeDelta::seconds(5);
        writer.known = None;
        writer.plan = Some(signing::statement::Statement::from_bytes(&leaves[20]).unwrap().entry.plan.unwrap());
        let told = writer.receipt(&job("host/accounts"), Some(slot), |_| {});
        writer.seal(&told);
        leaves[20] = writer.waiting.pop().unwrap();
        std::fs::remove_dir_all(dir.path().join("tile")).unwrap();
        writer.edge = Edge::empty();
        writer.waiting = leaves;
        writer.append();
        Memory::read(dir.path())
    };
    let verdict = memory.judge();
    assert!(verdict.findings.iter().any(|f| f.code.as_str() == "LOG-FORKED"), "{:?}", found(&verdict));
    assert_eq!(verdict.pending_sealed, 1, "the seal of the entry that was replaced is still there");
}

#[test]
fn the_older_part_of_a_log_cut_off_is_seen() {
    let codes = codes(&relogged(|leaves| {
        leaves.drain(2..60);
    }));
    for code in ["SLOT-MISSING", "LOG-FORKED"] {
        assert!(codes.contains(&code.to_owned()), "{code}: {codes:?}");
    }
}

#[test]
fn a_second_receipt_for_a_slot_is_seen() {
    let memory = small(|writer| {
        writer.plan(&["host/accounts"], "configuration changed");
        let slot = at("2026-11-01T01:00:00Z");
        for seconds in [1, 2] {
            writer.now = slot + TimeDelta::seconds(seconds);
            writer.run(&job("host/accounts"), Some(slot));
        }
    });
    assert_eq!(codes(&memory), ["SLOT-DOUBLE"]);
}

#[test]
fn a_slot_that_no_plan_names_is_seen() {
    let memory = small(|writer| {
        writer.now = at("2026-11-01T01:00:01Z");
        writer.run(&job("host/accounts"), Some(at("2026-11-01T01:00:00Z")));
    });
    assert_eq!(codes(&memory), ["SLOT-UNKNOWN"]);
}

#[test]
fn a_checkpoint_by_any_other_key_is_seen() {
    for key in [FileKey::from_seed(&[9; 32]), receipts_key(), root_key()] {
        let mut memory = small(|_| {});
        let checkpoint = signing::log::Checkpoint::parse_unverified(&memory.objects["checkpoint"]).unwrap();
        memory.objects.insert("checkpoint".into(), checkpoint.sign(&key).unwrap());
        assert_eq!(codes(&memory), ["CHECKPOINT-SIGNATURE"]);
    }
}

#[test]
fn a_second_signature_by_a_stranger_on_the_checkpoint_is_seen() {
    let mut memory = small(|_| {});
    let checkpoint = signing::log::Checkpoint::parse_unverified(&memory.objects["checkpoint"]).unwrap();
    let other = String::from_utf8(checkpoint.sign(&FileKey::from_seed(&[9; 32])).unwrap()).unwrap();
    let line = other.lines().last().unwrap();
    memory.objects.get_mut("checkpoint").unwrap().extend(format!("{line}\n").into_bytes());
    assert_eq!(codes(&memory), ["CHECKPOINT-SIGNATURE"]);
}

#[test]
fn an_entry_sealed_by_a_key_that_may_not_is_seen() {
    for key in [FileKey::from_seed(&[9; 32]), checkpoints_key(), root_key()] {
        let memory = small(|writer| {
            writer.sealer = key;
            writer.run(&job("host/sshd"), None);
        });
        assert_eq!(codes(&memory), ["SEAL-KEY"]);
    }
}

#[test]
fn an_entry_that_names_another_key_than_its_seals_is_seen() {
    let memory = small(|writer| {
        writer.key_id = Some(checkpoints_key().public().fingerprint());
        writer.run(&job("host/sshd"), None);
    });
    assert_eq!(codes(&memory), ["SEAL-KEY"]);
}

#[test]
fn an_entry_outside_its_keys_validity_is_seen() {
    let memory = small(|writer| {
        writer.now = at("2026-10-01T00:00:00Z");
        writer.run(&job("host/sshd"), None);
    });
    let verdict = memory.judge();
    assert_eq!(verdict.findings.len(), 1, "{:?}", verdict.findings);
    assert_eq!(verdict.findings[0].code.as_str(), "SEAL-KEY");
    // That the clock went back is told as well, and is no finding: honest clocks are set back too.
    assert!(verdict.limits.iter().any(|limit| limit.code == "CLOCK-SET-BACK"), "{:?}", verdict.limits);
}

/// Revision 2: `new_key()` follows the key that seals receipts.
fn rotated() -> KeySet {
    let mut set = key_set(2);
    set.keys[0].superseded_by = Some(new_key().public().fingerprint());
    set.keys.push(key_entry(&new_key(), Use::Receipts));
    set
}

fn new_key() -> FileKey {
    FileKey::from_seed(&[7; 32])
}

/// Logs it, with the signature of the key that is followed.
fn rotate(writer: &mut Writer) {
    let draft = Draft::new(&rotated(), &[&receipts_key()]).unwrap();
    writer.signed_keys(&draft.sign(&root_key()).unwrap());
}

#[test]
fn a_rotated_key_signs_from_its_revision_on_and_the_old_one_no_more() {
    let good = small(|writer| {
        rotate(writer);
        writer.sealer = new_key();
        writer.run(&job("host/sshd"), None);
    });
    assert_eq!(codes(&good), [""; 0]);
    let old = small(|writer| {
        rotate(writer);
        writer.run(&job("host/sshd"), None);
    });
    assert_eq!(codes(&old), ["SEAL-KEY"]);
    let early = small(|writer| {
        writer.sealer = new_key();
        writer.run(&job("host/sshd"), None);
        writer.sealer = receipts_key();
        rotate(writer);
    });
    assert_eq!(codes(&early), ["SEAL-KEY"]);
    // The revision that brings a key may be sealed by it.
    let by_the_new = small(|writer| {
        writer.sealer = new_key();
        rotate(writer);
    });
    assert_eq!(codes(&by_the_new), [""; 0]);
}

#[test]
fn a_key_is_not_replaced_without_its_signature() {
    let root_alone = small(|writer| writer.keys(&rotated()));
    assert_eq!(codes(&root_alone), ["KEYS-SUCCESSION"]);
    let by_another = small(|writer| {
        let draft = Draft::new(&rotated(), &[&checkpoints_key(), &new_key()]).unwrap();
        writer.signed_keys(&draft.sign(&root_key()).unwrap());
    });
    assert_eq!(codes(&by_another), ["KEYS-SUCCESSION"]);
}

#[test]
fn a_key_that_was_lost_is_replaced_by_the_root_alone_and_the_verdict_says_so() {
    let memory = small(|writer| {
        let mut set = rotated();
        set.keys[0].lost = true;
        writer.keys(&set);
        writer.sealer = new_key();
        writer.run(&job("host/sshd"), None);
    });
    let verdict = memory.judge();
    assert_eq!(verdict.findings, []);
    let limit = verdict.limits.iter().find(|limit| limit.code == "KEY-LOST").unwrap();
    assert!(limit.says.contains(&receipts_key().public().fingerprint()), "{}", limit.says);
}

#[test]
fn a_key_that_signed_is_not_made_to_disappear() {
    let memory = small(|writer| {
        let mut set = rotated();
        set.keys[0] = set.keys.remove(2);
        writer.keys(&set);
    });
    let codes = codes(&memory);
    assert!(codes.contains(&"KEYS-SUCCESSION".to_owned()) && codes.contains(&"SEAL-KEY".to_owned()), "{codes:?}");
}

#[test]
fn what_a_compromised_key_sealed_is_refused_since_no_time_is_trusted() {
    let mut set = key_set(2);
    set.keys[0].compromised_since = Some(at("2026-12-01T00:00:00Z"));
    let keys = set.sign(&root_key()).unwrap();
    let options = Options { keys: Some(keys), ..Options::trusting(trust()) };
    let verdict = small(|_| {}).judge_with(&options).unwrap();
    assert_eq!(verdict.findings_total, 4);
    assert!(verdict.findings.iter().all(|f| f.code.as_str() == "KEY-COMPROMISED"));
}

#[test]
fn keys_by_a_stranger_and_an_old_revision_logged_again_are_seen() {
    let stranger = FileKey::from_seed(&[9; 32]);
    let memory = small(|writer| {
        let mut set = key_set(5);
        set.root = *stranger.public();
        let bytes = set.sign(&stranger).unwrap();
        writer.document("keys", &bytes);
    });
    assert_eq!(codes(&memory), ["KEYS-ROOT"]);
    let memory = small(|writer| {
        let mut set = key_set(1);
        set.made_at += TimeDelta::days(1);
        writer.keys(&set);
    });
    assert_eq!(codes(&memory), ["KEYS-REVISION"]);
}

#[test]
fn an_entry_of_another_log_is_seen() {
    let memory = small(|writer| {
        let mut statement = writer.receipt(&job("host/sshd"), None, |_| {});
        statement.entry.origin = "example.org/other".into();
        writer.seal(&statement);
    });
    assert_eq!(codes(&memory), ["ORIGIN"]);
    let options = Options { directory: Some("example.org+other".into()), ..Options::trusting(trust()) };
    let verdict = small(|_| {}).judge_with(&options).unwrap();
    assert_eq!(found(&verdict), [("ORIGIN".to_owned(), "checkpoint".to_owned())].into());
}

#[test]
fn an_entry_that_names_another_bundle_than_its_run_is_seen() {
    let memory = small(|writer| {
        let mut statement = writer.receipt(&job("host/sshd"), None, |_| {});
        statement.subject[0].name = "../../etc/passwd".into();
        writer.seal(&statement);
    });
    let verdict = memory.judge();
    assert_eq!(verdict.findings[0].code.as_str(), "LEAF-SUBJECT");
    assert!(verdict.findings.iter().all(|f| f.object != "../../etc/passwd"), "it must not be opened");
}

#[test]
fn an_entry_that_knew_a_checkpoint_that_never_was_is_seen() {
    let memory = small(|writer| {
        let mut statement = writer.receipt(&job("host/sshd"), None, |_| {});
        statement.entry.checkpoint.as_mut().unwrap().root = signing::digest::Digest::of(b"another log");
        writer.seal(&statement);
    });
    assert_eq!(codes(&memory), ["LOG-FORKED"]);
    let memory = small(|writer| {
        let mut statement = writer.receipt(&job("host/sshd"), None, |_| {});
        statement.entry.checkpoint.as_mut().unwrap().size = 5;
        writer.seal(&statement);
    });
    assert_eq!(codes(&memory), ["LOG-ORDER"]);
}

#[test]
fn a_plan_left_out_of_the_chain_and_an_entry_without_a_plan_are_seen() {
    let memory = small(|writer| {
        writer.plan = Some(signing::digest::Digest::of(b"a plan that was never logged"));
        writer.plan(&[], "restated");
    });
    assert_eq!(codes(&memory), ["PLAN-UNKNOWN", "PLAN-CHAIN"]);
    let memory = small(|writer| {
        let mut statement = writer.receipt(&job("host/sshd"), None, |_| {});
        statement.entry.plan = None;
        writer.seal(&statement);
    });
    assert_eq!(codes(&memory), ["PLAN-UNKNOWN"]);
}

#[test]
fn totals_that_are_not_the_sum_of_their_checks_are_seen() {
    let memory = small(|writer| {
        let statement = writer.receipt(&job("host/sshd"), None, |receipt| {
            receipt.totals.pass = 5;
            receipt.checks = Some([("a".to_owned(), Default::default())].into());
        });
        writer.seal(&statement);
    });
    assert_eq!(codes(&memory), ["LEAF-CONTENT"]);
}

#[test]
fn seals_and_bundles_whose_entries_are_on_their_way_are_pending() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path());
    writer.keys(&key_set(1));
    writer.plan(&[], "collect by hand");
    writer.append();
    let statement = writer.run(&job("host/accounts"), None);
    writer.now += TimeDelta::minutes(1);
    let bare = writer.receipt(&job("host/sshd"), None, |receipt| receipt.outcome = Outcome::Partial);
    let verdict = Memory::read(dir.path()).judge();
    assert!(verdict.intact, "{:?}", verdict.findings);
    assert_eq!((verdict.pending.total, verdict.pending_sealed), (3, 1));
    let says = |name: &str| verdict.pending.first.iter().find(|p| p.object == name).unwrap().says.clone();
    assert!(says(&statement.subject[0].name).contains("valid seal"));
    assert!(says(&bare.subject[0].name).contains("nothing vouches for it"));
}

#[test]
fn an_append_that_is_not_finished_is_pending_and_one_that_lies_is_not() {
    let (before, after) = two_states();
    let leaf = {
        let mut leaf = Vec::new();
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in &after.objects {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        signing::log::entries(&signing::store::Dir::new(dir.path()), 3, 4, &mut |_, bytes| {
            leaf = bytes.to_vec();
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        leaf
    };
    let decision = |leaf: &[u8]| {
        use base64::Engine as _;
        let leaf = base64::engine::general_purpose::STANDARD.encode(leaf);
        format!("{{\"format\":\"evidenced-append/1\",\"instance\":\"i\",\"old_size\":3,\"leaves\":[\"{leaf}\"]}}")
    };
    let mut unfinished = before.clone();
    unfinished.objects.insert("append/3".into(), decision(&leaf).into_bytes());
    for name in ["tile/entries/000.p/4", "tile/0/000.p/4"] {
        unfinished.objects.insert(name.into(), after.objects[name].clone());
    }
    let verdict = unfinished.judge();
    assert!(verdict.intact, "{:?}", verdict.findings);
    assert_eq!(verdict.pending.total, 3);
    let mut changed = unfinished.clone();
    changed.objects.get_mut("tile/0/000.p/4").unwrap()[7] ^= 1;
    assert_eq!(found(&changed.judge()), [("TILE-BYTES".to_owned(), "tile/0/000.p/4".to_owned())].into());
    let mut covered = after.clone();
    covered.objects.insert("append/3".into(), decision(&leaf).into_bytes());
    assert!(covered.judge().intact);
    covered.objects.insert("append/3".into(), decision(b"something else").into_bytes());
    assert_eq!(found(&covered.judge()), [("APPEND-BYTES".to_owned(), "append/3".to_owned())].into());
}
