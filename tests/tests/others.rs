//! Verifiers that others wrote accept what the program makes, and refuse it changed.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tests::{
    program::{Place, files, text},
    tools,
};

fn seals(origin: &Path) -> Vec<PathBuf> {
    let found = files(&origin.join("seal"));
    assert!(found.len() > 5, "a first run seals its keys, its plan and every job: {found:?}");
    found
}

/// The public key of `usage` as PEM, and its id, as an auditor gets them: from the program's own list.
fn key(place: &Place, usage: &str) -> (String, PathBuf) {
    let list: serde_json::Value = serde_json::from_str(&place.expect(0, ["keys", "list", "--json"])).unwrap();
    let key = list["keys"].as_array().unwrap().iter().find(|key| key["use"] == usage).unwrap();
    let pem = place.path().join(format!("{usage}.pub.pem"));
    let body = key["spki"].as_str().unwrap();
    fs::write(&pem, format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")).unwrap();
    (key["key_id"].as_str().unwrap().to_owned(), pem)
}

fn collected() -> Place {
    let place = Place::new();
    place.expect(0, ["collect"]);
    place
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn node(place: &Place, seals: &[PathBuf]) -> Output {
    let home = tools::verifiers();
    let (id, pem) = key(place, "receipts");
    Command::new(home.join("bin/node"))
        .arg(tools::scripts().join("seals.mjs"))
        .arg(home)
        .arg(id)
        .arg(pem)
        .args(seals)
        .output()
        .unwrap()
}

fn python(place: &Place, seals: &[PathBuf]) -> Output {
    let (id, pem) = key(place, "receipts");
    Command::new(tools::verifiers().join("bin/python"))
        .arg(tools::scripts().join("seals.py"))
        .arg(id)
        .arg(pem)
        .args(seals)
        .output()
        .unwrap()
}

fn log(place: &Place) -> Output {
    let list: serde_json::Value = serde_json::from_str(&place.expect(0, ["keys", "list", "--json"])).unwrap();
    Command::new(tools::verifiers().join("bin/python"))
        .arg(tools::scripts().join("log.py"))
        .arg(place.origin())
        .arg(list["vkeys"][0].as_str().unwrap())
        .output()
        .unwrap()
}

#[test]
fn sigstore_verify_of_npm_accepts_every_seal_and_refuses_a_changed_one() {
    let place = collected();
    let seals = seals(&place.origin());
    let output = node(&place, &seals);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(text(&output.stdout).lines().filter(|line| line.starts_with("ok ")).count(), seals.len());

    let changed = forge(&place, &seals[0]);
    let output = node(&place, std::slice::from_ref(&changed));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn securesystemslib_of_pypi_accepts_every_seal_and_refuses_a_changed_one() {
    let place = collected();
    let seals = seals(&place.origin());
    let output = python(&place, &seals);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(text(&output.stdout).lines().filter(|line| line.starts_with("ok ")).count(), seals.len());

    let changed = forge(&place, &seals[0]);
    let output = python(&place, std::slice::from_ref(&changed));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn aics_tlog_of_pypi_audits_the_log_and_refuses_a_changed_leaf() {
    let place = collected();
    let output = log(&place);
    assert!(output.status.success(), "{}", said(&output));
    assert!(text(&output.stdout).starts_with("ok "), "{}", said(&output));

    for path in files(&place.origin().join("tile/entries")) {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let output = log(&place);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

/// The seal with another payload under the same signature.
fn forge(place: &Place, seal: &Path) -> PathBuf {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(seal).unwrap()).unwrap();
    let payload = STANDARD.decode(json["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
    let other = text(&payload).replacen("evidenced:", "evidenceD:", 1);
    assert_ne!(other.as_bytes(), payload);
    json["dsseEnvelope"]["payload"] = STANDARD.encode(other).into();
    let path = place.path().join("forged.sigstore.json");
    fs::write(&path, json.to_string()).unwrap();
    path
}
