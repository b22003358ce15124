//! The recipe of docs/FORMAT.md verifies one bundle with OpenSSL, jq and coreutils alone, and fails on a changed one.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{fs, path::Path};

use tests::{
    grow,
    program::Place,
    recipes::{Auditor, said},
};

fn collected() -> Place {
    let place = Place::new();
    place.expect(0, ["collect", "host/accounts"]);
    place
}

fn verified(place: &Place, seal: &Path, trust: &str) -> Result<(), String> {
    let output = Auditor::new(place.path(), &place.origin(), trust).with("SEAL", seal).follow("FORMAT.md", "");
    if output.status.success() { Ok(()) } else { Err(said(&output)) }
}

#[test]
fn openssl_jq_and_sha256sum_verify_one_bundle() {
    let place = collected();
    verified(&place, &grow::receipt(&place).0, &place.root()).unwrap();
}

#[test]
fn the_recipe_refuses_another_root_a_changed_bundle_and_a_changed_seal() {
    let place = collected();
    let (seal, bundle) = grow::receipt(&place);
    let other = place.root().replace("SHA256:", "SHA256:A");
    verified(&place, &seal, &other).expect_err("another root was accepted");

    let sound = fs::read(&bundle).unwrap();
    let mut changed = sound.clone();
    changed.push(b'X');
    fs::write(&bundle, changed).unwrap();
    verified(&place, &seal, &place.root()).expect_err("an appended byte was accepted");
    fs::write(&bundle, sound).unwrap();
    verified(&place, &seal, &place.root()).unwrap();

    let changed = fs::read_to_string(&seal).unwrap().replacen("\"payload\":\"eyJ", "\"payload\":\"eyI", 1);
    let forged = place.path().join("forged.json");
    fs::write(&forged, changed).unwrap();
    verified(&place, &forged, &place.root()).expect_err("a changed payload was accepted");
}
