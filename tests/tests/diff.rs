//! `evidenced diff` on real runs: what came, went and changed between two of them, and what it does with evidence that was altered.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;

use serde_json::Value;
use tests::program::{Place, files, text};

/// A host whose files are below the place, with these accounts beside root, each with its groups.
fn host(place: &Place, accounts: &[(&str, &str)]) {
    let etc = place.path().join("host/etc");
    fs::create_dir_all(&etc).unwrap();
    let (mut passwd, mut shadow) =
        ("root:x:0:0:root:/root:/bin/sh\n".to_owned(), "root:*:19000:0:99999:7:::\n".to_owned());
    let mut sudo = Vec::new();
    for (place, (name, group)) in accounts.iter().enumerate() {
        passwd += &format!("{name}:x:{0}:{0}::/home/{name}:/bin/sh\n", 1001 + place);
        shadow += &format!("{name}:!:19000:0:99999:7:::\n");
        if *group == "sudo" {
            sudo.push(*name);
        }
    }
    fs::write(etc.join("passwd"), passwd).unwrap();
    fs::write(etc.join("shadow"), shadow).unwrap();
    fs::write(etc.join("group"), format!("root:x:0:\nsudo:x:27:{}\n", sudo.join(","))).unwrap();
    fs::write(etc.join("sudoers"), "root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n").unwrap();
    let root = place.path().join("host");
    let settings = format!("sources: [{{name: this, host: {{root: {}}}}}]\n", root.display());
    fs::write(place.path().join("evidenced.yaml"), settings).unwrap();
}

const JOB: &str = "host/accounts@this";

/// Reads the accounts, and tells the run's entry.
fn collect(place: &Place) -> u64 {
    place.expect(0, ["collect", "host/accounts"]);
    let shown: Value = serde_json::from_str(&place.expect(0, ["show", "./evidence", "--json"])).unwrap();
    shown["size"].as_u64().unwrap() - 1
}

fn fails<const N: usize>(place: &Place, arguments: [&str; N]) -> String {
    let output = place.run([&["diff", "./evidence"], &arguments[..]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn two_runs_of_a_job_are_compared_by_record_and_by_check() {
    let place = Place::new();
    host(&place, &[("alice", "users"), ("carol", "users")]);
    place.expect(0, ["keys", "init"]);
    let first = collect(&place);
    let said = fails(&place, [JOB]);
    assert!(said.contains("is the first run of host/accounts@this"), "{said}");
    let said = fails(&place, ["host/accounts@that"]);
    assert!(said.contains("it has runs of: host/accounts@this"), "{said}");

    host(&place, &[("alice", "sudo"), ("bob", "users")]);
    let second = collect(&place);
    let said = place.expect(0, ["diff", "./evidence", JOB]);
    assert!(said.contains("+ account bob\n") && said.contains("- account carol\n"), "{said}");
    assert!(said.contains("~ account alice\n") && said.contains("    privileged: false -> true\n"), "{said}");
    assert!(said.contains("    ! new-administrator: account alice is privileged"), "{said}");
    assert!(said.contains("1 added, 1 removed, 1 changed"), "{said}");
    assert!(said.contains("nothing else was verified"), "{said}");

    // The other way round, by their entries, as JSON.
    let (first, second) = (first.to_string(), second.to_string());
    let said = place.expect(0, ["diff", "./evidence", JOB, "--from", &second, "--to", &first, "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let changes: Vec<(&str, &str)> = said["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["record"].as_str().unwrap(), event["change"].as_str().unwrap()))
        .collect();
    assert_eq!(changes, [("alice", "changed"), ("carol", "added"), ("bob", "removed")]);
    let said = fails(&place, [JOB, "--from", "0"]);
    assert!(said.contains("0 is no run of host/accounts@this"), "{said}");
    let said = fails(&place, [JOB, "--from", "yesterday"]);
    assert!(said.contains("neither an entry's place in the log nor a slot"), "{said}");
}

#[test]
fn a_bundle_that_was_altered_is_compared_with_nothing() {
    let place = Place::new();
    host(&place, &[("alice", "users")]);
    place.expect(0, ["keys", "init"]);
    let root = place.root();
    collect(&place);
    collect(&place);
    let known = files(&place.origin().join("bundle"));
    let said = place.expect(0, ["diff", "./evidence", JOB, "--trust", &root]);
    assert!(said.contains("no difference was seen") && said.contains("ARCHIVE INTACT"), "{said}");

    host(&place, &[("alice", "users"), ("mallory", "sudo")]);
    collect(&place);
    let newest = files(&place.origin().join("bundle")).into_iter().find(|file| !known.contains(file)).unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    bytes[200] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let said = fails(&place, [JOB]);
    assert!(said.contains("was changed after it was sealed"), "{said}");
    // Verified, the altered one is no evidence: the two before it are the newest.
    let said = place.expect(1, ["diff", "./evidence", JOB, "--trust", &root]);
    assert!(said.contains("no difference was seen") && !said.contains("mallory"), "{said}");
}
