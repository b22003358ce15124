//! The README's first command, on the machine that runs the tests.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use serde_json::Value;
use tests::program::{Place, files, program, text};

#[test]
fn collect_without_configuration_seals_this_host_and_verify_finds_it_intact() {
    let place = Place::new();
    let said = place.expect(0, ["collect"]);
    for job in [
        "host/accounts@this",
        "host/disk-encryption@this",
        "host/patches@this",
        "host/sshd@this",
        "host/time-sync@this",
    ] {
        assert!(said.contains(job), "{job} is missing in:\n{said}");
    }
    let root = place.root();
    assert!(said.contains(&format!("evidenced verify ./evidence --trust {root}")), "{said}");

    let verdict = place.expect(0, ["verify", "./evidence", "--trust", &root, "--deep"]);
    assert!(verdict.contains("ARCHIVE INTACT"), "{verdict}");
    assert!(verdict.contains("TIME-UNTRUSTED") && verdict.contains("TAIL-UNPINNED"), "{verdict}");

    let json: Value =
        serde_json::from_str(&place.expect(0, ["verify", "./evidence", "--trust", &root, "--json"])).unwrap();
    assert_eq!(json["findings"], Value::Array(vec![]));
}

#[test]
fn collecting_again_appends_to_the_same_log_with_the_same_keys() {
    let place = Place::new();
    place.expect(0, ["collect"]);
    let root = place.root();
    let second = place.expect(0, ["collect"]);
    assert!(!second.contains("Keys made"), "{second}");
    assert_eq!(place.root(), root);
    place.expect(0, ["verify", "./evidence", "--trust", &root, "--deep"]);
}

#[test]
fn private_keys_are_readable_by_their_owner_alone_and_looser_ones_are_refused() {
    let place = Place::new();
    place.expect(0, ["collect"]);
    let keys = place.path().join("evidence.keys");
    assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
    for name in ["root.pem", "receipts.pem", "checkpoint.pem"] {
        assert_eq!(fs::metadata(keys.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    fs::set_permissions(keys.join("receipts.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = place.run(["collect"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("receipts.pem"), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("chmod 600"), "{}", text(&output.stderr));
}

#[test]
fn another_root_fingerprint_cannot_verify() {
    let place = Place::new();
    place.expect(0, ["collect"]);
    let output = place.run(["verify", "./evidence", "--trust", "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
}

#[test]
fn an_archive_that_is_not_there_or_empty_cannot_verify() {
    let place = Place::new();
    let trust = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    place.expect(2, ["verify", "./nothing", "--trust", trust]);
    fs::create_dir(place.path().join("empty")).unwrap();
    place.expect(2, ["verify", "./empty", "--trust", trust]);
}

#[test]
fn run_does_not_make_keys_and_says_what_does() {
    let place = Place::new();
    let output = place.run(["run"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("evidenced keys init"), "{}", text(&output.stderr));
    assert!(!place.path().join("evidence.keys").exists());
}

#[test]
fn no_password_hash_of_this_host_reaches_the_archive() {
    let Ok(shadow) = fs::read_to_string("/etc/shadow") else {
        eprintln!("SKIPPED: only root can read /etc/shadow, so there is nothing to look for");
        return;
    };
    let place = Place::new();
    place.expect(0, ["collect"]);
    let root = place.root();
    let deep = place.expect(0, ["verify", "./evidence", "--trust", &root, "--deep"]);
    assert!(deep.contains("ARCHIVE INTACT"));
    let out = place.path().join("unpacked");
    for bundle in files(&place.origin().join("bundle")) {
        fs::create_dir_all(&out).unwrap();
        assert!(
            Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&bundle).arg(&out).status().unwrap().success()
        );
    }
    let hashes: Vec<&str> =
        shadow.lines().filter_map(|line| line.split(':').nth(1)).filter(|field| field.starts_with('$')).collect();
    for path in files(&out) {
        let content = text(&fs::read(&path).unwrap());
        for hash in &hashes {
            assert!(!content.contains(hash), "a hash stands in {}", path.display());
        }
    }
}

#[test]
fn an_ordinary_user_gets_a_partial_run_with_what_root_would_know_left_unknown() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: the other tests run as an ordinary user already");
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // The user nobody need not be able to reach the build directory.
    let copy = place.path().join("evidenced");
    fs::copy(program(), &copy).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&copy)
        .args(["collect", "--json"])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let accounts = json["jobs"].as_array().unwrap().iter().find(|job| job["job"] == "host/accounts@this").unwrap();
    assert_eq!(accounts["outcome"], "partial");
    assert!(accounts["totals"]["unknown"].as_u64().unwrap() > 0, "{accounts}");
    assert!(accounts["note"].as_str().unwrap().contains("/etc/shadow"), "{accounts}");
}

#[test]
fn inside_a_container_without_a_host_root_nothing_runs_and_it_says_so() {
    let place = Place::new();
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(program())
        .arg("collect")
        .current_dir(place.path())
        .output()
        .unwrap();
    if text(&output.stderr).contains("unshare:") {
        eprintln!("SKIPPED: a PID namespace cannot be made here: {}", text(&output.stderr));
        return;
    }
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("container"), "{said}");
    assert!(said.contains("Nothing was collected") && !said.contains("JOB "), "{said}");
}
