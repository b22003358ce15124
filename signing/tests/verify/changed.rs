//! One object of a sound archive changed by whoever can write to the store: each change is found, named, and called what it is.

use super::sound::*;

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Remove,
    Empty,
    Cut,
    Extend,
    /// A bit of the byte at this part of the length, in percent.
    Flip(usize),
}

const CHANGES: [Change; 10] = [
    Change::Remove,
    Change::Empty,
    Change::Cut,
    Change::Extend,
    Change::Flip(0),
    Change::Flip(20),
    Change::Flip(45),
    Change::Flip(70),
    Change::Flip(90),
    Change::Flip(100),
];

fn change(memory: &mut Memory, name: &str, change: Change) {
    let bytes = memory.objects.get_mut(name).unwrap();
    match change {
        Change::Remove => {
            memory.objects.remove(name);
        }
        Change::Empty => bytes.clear(),
        Change::Cut => {
            bytes.pop();
        }
        Change::Extend => bytes.push(b'X'),
        Change::Flip(part) => {
            let at = (bytes.len() - 1) * part / 100;
            bytes[at] ^= 1;
        }
    }
}

/// The middle object of those that begin so.
fn middle(memory: &Memory, prefix: &str) -> String {
    let names = memory.names(prefix);
    names[names.len() / 2].clone()
}

/// Every change to an object: the codes that may be said of it, `alone` where nothing else may be said at all.
fn each_change(name: &str, codes_of: impl Fn(Change) -> &'static [&'static str], alone: bool) {
    for kind in CHANGES {
        let mut memory = sound();
        change(&mut memory, name, kind);
        let verdict = memory.judge();
        let found = found(&verdict);
        let codes = codes_of(kind);
        let named = found.iter().any(|(code, object)| object == name && codes.contains(&code.as_str()));
        assert!(named, "{kind:?} of {name}: wanted one of {codes:?} for it, found {found:?}");
        if alone {
            assert_eq!(found.len(), 1, "{kind:?} of {name}: {found:?}");
        }
        assert!(!verdict.intact);
    }
}

#[test]
fn a_changed_bundle_is_named_and_nothing_else() {
    for bundle in [middle(&sound(), "bundle/"), middle(&sound(), "bundle/2026/11/05/manual-")] {
        each_change(
            &bundle,
            |kind| if kind == Change::Remove { &["BUNDLE-MISSING"] } else { &["BUNDLE-DIGEST"] },
            true,
        );
    }
}

#[test]
fn a_changed_seal_is_named_and_nothing_else() {
    let codes = |kind| -> &'static [&'static str] {
        match kind {
            Change::Remove => &["SEAL-MISSING"],
            Change::Flip(_) => &["SEAL-MALFORMED", "SEAL-PAYLOAD", "SEAL-SIGNATURE", "SEAL-KEY"],
            _ => &["SEAL-MALFORMED"],
        }
    };
    each_change(&middle(&sound(), "seal/"), codes, true);
}

#[test]
fn a_changed_tile_is_named_and_nothing_else() {
    for tile in ["tile/0/000", "tile/0/001.p/9", "tile/1/000.p/1"] {
        each_change(tile, |kind| if kind == Change::Remove { &["TILE-MISSING"] } else { &["TILE-BYTES"] }, true);
    }
}

#[test]
fn a_changed_entry_bundle_is_named() {
    for entries in ["tile/entries/000", "tile/entries/001.p/9"] {
        let codes = |kind| -> &'static [&'static str] {
            if kind == Change::Remove { &["ENTRIES-MISSING"] } else { &["ENTRIES-BYTES"] }
        };
        each_change(entries, codes, false);
    }
}

#[test]
fn of_a_changed_entry_the_place_in_the_log_is_told_and_the_tile_is_not_blamed() {
    let mut memory = sound();
    let bytes = memory.objects.get_mut("tile/entries/000").unwrap();
    let at = (0..100).fold(0, |at, _| at + 2 + usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]])));
    bytes[at + 300] ^= 1;
    let verdict = memory.judge();
    let finding = verdict.finding("tile/entries/000").unwrap();
    assert_eq!((finding.code.as_str(), finding.index), ("ENTRIES-BYTES", Some(100)));
    assert!(verdict.findings.iter().all(|f| !f.object.starts_with("tile/0") && f.object != "checkpoint"));
}

#[test]
fn changed_keys_are_named_and_no_signature_counts() {
    let name = middle(&sound(), "document/keys/");
    each_change(&name, |kind| if kind == Change::Remove { &["DOCUMENT-MISSING"] } else { &["DOCUMENT-DIGEST"] }, false);
    let mut memory = sound();
    change(&mut memory, &name, Change::Extend);
    let verdict = memory.judge();
    assert!(verdict.findings_by_code.keys().any(|code| code.as_str() == "KEYS-NONE"));
    assert_eq!(verdict.checkpoint.signed_by, None);
}

#[test]
fn a_changed_plan_is_named() {
    for name in sound().names("document/plan/") {
        each_change(
            &name,
            |kind| if kind == Change::Remove { &["DOCUMENT-MISSING"] } else { &["DOCUMENT-DIGEST"] },
            false,
        );
    }
}

#[test]
fn a_changed_checkpoint_is_named() {
    for kind in CHANGES.into_iter().filter(|kind| *kind != Change::Remove) {
        let mut memory = sound();
        change(&mut memory, "checkpoint", kind);
        let verdict = memory.judge();
        let finding = verdict.finding("checkpoint").unwrap();
        let code = finding.code.as_str();
        assert!(["CHECKPOINT-MALFORMED", "CHECKPOINT-SIGNATURE"].contains(&code), "{kind:?}: {code}");
    }
}

#[test]
fn bytes_all_over_a_small_archive_count() {
    let memory = small(|_| {});
    for (name, bytes) in &memory.objects {
        for at in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
            let mut changed = memory.clone();
            changed.objects.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            let verdict = changed.judge();
            let first = verdict.findings.first().unwrap_or_else(|| panic!("byte {at} of {name} changed unseen"));
            assert!(verdict.finding(name).is_some(), "byte {at} of {name} was changed: {first:?}");
        }
    }
}

#[test]
fn objects_that_change_places_are_both_named() {
    for (prefix, code) in
        [("bundle/", "BUNDLE-DIGEST"), ("seal/", "SEAL-PAYLOAD"), ("document/plan/", "DOCUMENT-DIGEST")]
    {
        let mut memory = sound();
        let names = memory.names(prefix);
        let (a, b) = (&names[0], &names[1]);
        let (first, second) = (memory.objects[a].clone(), memory.objects[b].clone());
        memory.objects.insert(a.clone(), second);
        memory.objects.insert(b.clone(), first);
        let found = found(&memory.judge());
        for name in [a, b] {
            assert!(found.contains(&(code.to_owned(), name.clone())), "{name}: {found:?}");
        }
    }
}

#[test]
fn a_copy_under_another_name_is_named() {
    let memory = sound();
    let bundle = middle(&memory, "bundle/");
    let seal = middle(&memory, "seal/");
    let plan = middle(&memory, "document/plan/");
    let keys = middle(&memory, "document/keys/");
    for (original, copy) in [
        (&bundle, bundle.replace("host+accounts", "host+other").replace("host+sshd", "host+other")),
        (&bundle, format!("{bundle}.zip")),
        (&bundle, bundle.replace("bundle/2026/11/", "bundle/2026/12/")),
        (&seal, seal.replace("seal/2026/11/", "seal/2026/12/")),
        (&seal, seal.replace(".sigstore", "")),
        (&plan, plan.replace("/plan/", "/plans/")),
        (&keys, "keys.json".to_owned()),
        (&bundle, bundle.replace("bundle/", "bundles/")),
        (&"tile/0/000".to_owned(), "tile/00/000".to_owned()),
        (&"tile/0/000".to_owned(), "tile/0/x000/000".to_owned()),
        (&"checkpoint".to_owned(), "checkpoint.old".to_owned()),
    ] {
        let mut memory = memory.clone();
        memory.objects.insert(copy.clone(), memory.objects[original].clone());
        let found = found(&memory.judge());
        // A plan under another kind is a document of which the digest agrees: nothing vouches for it, and it is listed so.
        if copy.starts_with("document/") {
            let pending = memory.judge().pending;
            assert!(pending.first.iter().any(|p| p.object == copy), "{copy}: {pending:?}");
        } else {
            assert_eq!(found, [("UNKNOWN-OBJECT".to_owned(), copy.clone())].into());
        }
    }
}

#[test]
fn what_nobody_sealed_is_named() {
    for name in [
        "bundle/2026/11/01/extra.zip",
        "seal/2026/11/01/extra.sigstore.json",
        "document/plan/extra.json",
        "anchor/5/x.tsr",
        "notes.txt",
        "tile/notes",
        "append/x",
        "append/007",
        "checkpoint/x",
    ] {
        let mut memory = sound();
        memory.objects.insert(name.to_owned(), b"{}".to_vec());
        assert_eq!(found(&memory.judge()), [("UNKNOWN-OBJECT".to_owned(), name.to_owned())].into());
    }
    for name in ["tile/0/002", "tile/7/000", "tile/entries/001", "tile/entries/001.p/10", "append/300"] {
        let mut memory = sound();
        memory.objects.insert(name.to_owned(), b"{}".to_vec());
        assert_eq!(found(&memory.judge()), [("LOG-ROLLED-BACK".to_owned(), name.to_owned())].into());
    }
}

#[test]
fn partial_tiles_of_published_checkpoints_must_stay_until_they_are_full() {
    let memory = small(|_| {});
    assert!(memory.judge().intact);
    // The checkpoint over two entries was published, and the runs knew it.
    for name in ["tile/0/000.p/2", "tile/entries/000.p/2"] {
        let mut removed = memory.clone();
        removed.objects.remove(name).unwrap();
        assert_eq!(found(&removed.judge()), [("TILE-MISSING".to_owned(), name.to_owned())].into());
        let mut changed = memory.clone();
        changed.objects.get_mut(name).unwrap()[40] ^= 1;
        let code = if name.contains("entries") { "ENTRIES-BYTES" } else { "TILE-BYTES" };
        assert_eq!(found(&changed.judge()), [(code.to_owned(), name.to_owned())].into());
    }
}

#[test]
fn leftovers_of_a_directory_writer_are_listed_and_are_no_finding() {
    let mut memory = sound();
    memory.objects.insert("bundle/2026/11/01/.tmp-123".into(), b"half".to_vec());
    let verdict = memory.judge();
    assert!(verdict.intact);
    assert_eq!(verdict.leftovers.total, 1);
}
