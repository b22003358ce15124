//! Whatever is changed in an archive, by whomever, `verify` sees and names.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tests::program::{Place, files, text};

fn sound() -> (Place, String) {
    let place = Place::new();
    place.expect(0, ["collect"]);
    place.expect(0, ["collect", "host/accounts"]);
    let root = place.root();
    place.expect(0, ["verify", "./evidence", "--trust", &root, "--deep"]);
    (place, root)
}

/// The exit code and everything that `verify` said.
fn verify(place: &Place, root: &str) -> (i32, String) {
    let output = place.run(["verify", "./evidence", "--trust", root]);
    (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
}

/// The object's name below its origin, as findings spell it.
fn name(place: &Place, path: &Path) -> String {
    path.strip_prefix(place.origin()).unwrap().to_str().unwrap().to_owned()
}

/// What is left of a verified archive's objects after `change`, for each of them in turn, is not intact, and the object is named.
fn every_object(change: impl Fn(&Path, &[u8])) {
    let (place, root) = sound();
    let all: Vec<PathBuf> = files(&place.origin());
    for path in &all {
        let object = name(&place, path);
        // A partial tile may be removed at any time once its successor is there; these are the newest ones, so they count.
        let bytes = fs::read(path).unwrap();
        change(path, &bytes);
        let (code, said) = verify(&place, &root);
        assert!(code == 1 || code == 2, "{object} was changed, and verify ended {code}:\n{said}");
        assert!(said.contains(&object), "{object} was changed, and verify does not name it:\n{said}");
        fs::write(path, &bytes).unwrap();
    }
    let (code, said) = verify(&place, &root);
    assert_eq!(code, 0, "with everything put back:\n{said}");
}

#[test]
fn a_removed_object_is_named() {
    every_object(|path, _| fs::remove_file(path).unwrap());
}

#[test]
fn a_flipped_bit_is_named() {
    every_object(|path, bytes| {
        let mut changed = bytes.to_vec();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(path, changed).unwrap();
    });
}

#[test]
fn a_truncated_object_is_named() {
    every_object(|path, bytes| fs::write(path, &bytes[..bytes.len() - 1]).unwrap());
}

#[test]
fn an_emptied_object_is_named() {
    every_object(|path, _| fs::write(path, b"").unwrap());
}

#[test]
fn an_extended_object_is_named() {
    every_object(|path, bytes| fs::write(path, [bytes, b"X"].concat()).unwrap());
}

#[test]
fn an_object_that_nobody_sealed_is_named() {
    let (place, root) = sound();
    for object in
        ["bundle/2026/01/01/extra.zip", "document/plan/extra.json", "notes.txt", "tile/7/000", "seal/2026/01/01/x.json"]
    {
        let path = place.origin().join(object);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"{}").unwrap();
        let (code, said) = verify(&place, &root);
        assert_eq!(code, 1, "{object}:\n{said}");
        assert!(said.contains(object), "{object}:\n{said}");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn two_bundles_that_change_places_are_named() {
    let (place, root) = sound();
    let bundles = files(&place.origin().join("bundle"));
    let spare = place.path().join("spare");
    fs::rename(&bundles[0], &spare).unwrap();
    fs::rename(&bundles[1], &bundles[0]).unwrap();
    fs::rename(&spare, &bundles[1]).unwrap();
    let (code, said) = verify(&place, &root);
    assert_eq!(code, 1, "{said}");
    for path in &bundles[..2] {
        assert!(said.contains(&name(&place, path)), "{said}");
    }
}

#[test]
fn an_older_log_put_back_under_newer_bundles_is_seen() {
    let (place, root) = sound();
    let origin = place.origin();
    let kept: Vec<(PathBuf, Vec<u8>)> = files(&origin.join("tile"))
        .into_iter()
        .chain([origin.join("checkpoint")])
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    place.expect(0, ["collect"]);
    fs::remove_dir_all(origin.join("tile")).unwrap();
    for (path, bytes) in kept {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let (code, said) = verify(&place, &root);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("LOG-ROLLED-BACK"), "{said}");
    // The agent does not go on from there either: that would fork the log.
    let output = place.run(["collect"]);
    assert_ne!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[test]
fn the_json_verdict_carries_the_code_the_object_and_the_meaning_of_each_finding() {
    let (place, root) = sound();
    let bundle = files(&place.origin().join("bundle")).remove(0);
    fs::write(&bundle, [fs::read(&bundle).unwrap().as_slice(), b"X"].concat()).unwrap();
    let verdict: Value =
        serde_json::from_str(&place.expect(1, ["verify", "./evidence", "--trust", &root, "--json"])).unwrap();
    let finding = &verdict["findings"][0];
    assert_eq!(finding["code"], "BUNDLE-DIGEST");
    assert_eq!(finding["object"], name(&place, &bundle).as_str());
    assert!(!finding["meaning"].as_str().unwrap().is_empty());
}
