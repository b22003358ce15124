//! The recipe of docs/FORMAT.md verifies one bundle with OpenSSL, jq and coreutils alone, and fails on a changed one.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tests::{
    program::{Place, files, text, workspace},
    tools,
};

/// The block that begins with ```` ```sh recipe ````, as it stands in the document.
fn recipe() -> String {
    let document = fs::read_to_string(workspace().join("docs/FORMAT.md")).unwrap();
    let (_, rest) = document.split_once("```sh recipe\n").expect("docs/FORMAT.md has the recipe");
    rest.split_once("\n```").unwrap().0.to_owned()
}

fn follow(place: &Place, seal: &Path, trust: &str) -> Output {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    for (program, package) in [("jq", "jq"), ("openssl", "openssl"), ("unzip", "unzip")] {
        if let Some(found) = tools::debian(program, package) {
            path =
                std::env::join_paths(std::env::split_paths(&path).chain([found.parent().unwrap().to_owned()])).unwrap();
        }
    }
    Command::new("sh")
        .arg("-euc")
        .arg(recipe())
        .current_dir(tempfile::tempdir_in(place.path()).unwrap().keep())
        .env("PATH", path)
        .env("ARCHIVE", place.origin())
        .env("SEAL", seal)
        .env("TRUST", trust)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A receipt's seal, with the archive name of its bundle.
fn receipt(place: &Place) -> (PathBuf, String) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    for path in files(&place.origin().join("seal")) {
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let payload = STANDARD.decode(json["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
        let statement: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        if statement["predicateType"].as_str().unwrap().contains("receipt") {
            return (path, statement["subject"][0]["name"].as_str().unwrap().to_owned());
        }
    }
    panic!("no receipt was sealed");
}

#[test]
fn openssl_jq_and_sha256sum_verify_one_bundle() {
    let place = Place::new();
    place.expect(0, ["collect"]);
    let (seal, _) = receipt(&place);
    let output = follow(&place, &seal, &place.root());
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_recipe_refuses_another_root_a_changed_bundle_and_a_changed_seal() {
    let place = Place::new();
    place.expect(0, ["collect"]);
    let (seal, bundle) = receipt(&place);
    let other = place.root().replace("SHA256:", "SHA256:A");
    assert!(!follow(&place, &seal, &other).status.success(), "another root was accepted");

    let path = place.origin().join(bundle);
    let sound = fs::read(&path).unwrap();
    let mut changed = sound.clone();
    changed.push(b'X');
    fs::write(&path, changed).unwrap();
    assert!(!follow(&place, &seal, &place.root()).status.success(), "an appended byte was accepted");
    fs::write(&path, sound).unwrap();
    assert!(follow(&place, &seal, &place.root()).status.success(), "the restored bundle was refused");

    let changed = fs::read_to_string(&seal).unwrap().replacen("\"payload\":\"eyJ", "\"payload\":\"eyI", 1);
    let forged = place.path().join("forged.json");
    fs::write(&forged, changed).unwrap();
    assert!(!follow(&place, &forged, &place.root()).status.success(), "a changed payload was accepted");
}
