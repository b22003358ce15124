//! Keys as an operator, a custodian and an auditor handle them: a ceremony with OpenSSL alone, rotation, loss and revocation, each with the
//! verdicts before and after.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tests::{
    program::{Place, program, text, workspace},
    tools,
};

const CONFIG: &str = "origin: evidence.acme.example/prod\nsigning:\n  receipts: {file: keys/receipts.pem}\n  \
                      checkpoints: {file: keys/checkpoint.pem}\n  keys: keys/keys.json\n";

/// The block that begins with ```` ```sh ceremony <part> ````, as it stands in the document.
fn ceremony(part: &str) -> String {
    let document = fs::read_to_string(workspace().join("docs/OPERATIONS.md")).unwrap();
    let (_, rest) =
        document.split_once(&format!("```sh ceremony {part}\n")).expect("docs/OPERATIONS.md has the ceremony");
    rest.split_once("\n```").unwrap().0.to_owned()
}

/// Follows it in a directory; what it printed.
fn follow(part: &str, directory: &Path) -> String {
    let mut path = vec![program().parent().unwrap().to_owned()];
    for (program, package) in [("jq", "jq"), ("openssl", "openssl")] {
        path.extend(tools::debian(program, package).map(|found| found.parent().unwrap().to_owned()));
    }
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let output = Command::new("sh")
        .arg("-euc")
        .arg(ceremony(part))
        .current_dir(directory)
        .env("PATH", std::env::join_paths(path).unwrap())
        .env_remove("EVIDENCED_CONFIG")
        .output()
        .unwrap();
    assert!(output.status.success(), "{part}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn verify(place: &Place, code: i32, more: &[&str]) -> String {
    let root = place.root();
    place.expect(code, ["verify", "./evidence", "--trust", &root].into_iter().chain(more.iter().copied()))
}

fn keys(place: &Place) -> Vec<Value> {
    let list: Value = serde_json::from_str(&place.expect(0, ["keys", "list", "--json"])).unwrap();
    list["keys"].as_array().unwrap().clone()
}

fn copy(from: &Path, to: PathBuf) {
    fs::copy(from, to).unwrap();
}

#[test]
fn a_root_key_that_never_touches_the_agents_machine_begins_a_log_with_openssl_alone() {
    let (agent, custodian) = (Place::new(), Place::new());
    fs::write(agent.path().join("evidenced.yaml"), CONFIG).unwrap();
    follow("custodian", custodian.path());
    copy(&custodian.path().join("root.pub.pem"), agent.path().join("root.pub.pem"));
    follow("agent", agent.path());
    // Without the root's signature nothing is collected.
    assert!(!agent.path().join("keys/keys.json").exists() && !agent.path().join("keys/root.pem").exists());
    assert_ne!(agent.run(["collect"]).status.code(), Some(0));
    copy(&agent.path().join("keys/keys.request.json"), custodian.path().join("keys.request.json"));
    let said = follow("sign", custodian.path());
    assert!(said.contains("evidence.acme.example/prod"), "{said}");
    copy(&custodian.path().join("keys.json"), agent.path().join("keys.json"));
    follow("install", agent.path());
    agent.expect(0, ["collect"]);
    assert_eq!(said.lines().last().unwrap(), agent.root());
    verify(&agent, 0, &[]);

    // A revision the same way; the program signs what OpenSSL signed before, and shows what changes.
    agent.expect(0, ["keys", "rotate"]);
    fs::copy(agent.path().join("keys/keys.request.json"), custodian.path().join("keys.request.json")).unwrap();
    let unseen =
        ["keys", "sign", "--root", "root.pem", "keys.request.json", "--previous", "keys.json", "--out", "two.json"];
    let refused = custodian.run(unseen);
    assert!(text(&refused.stderr).contains("--yes") && !custodian.path().join("two.json").exists());
    let said = custodian.expect(0, unseen.into_iter().chain(["--yes"]));
    assert_eq!(said.matches("New key").count(), 2, "{said}");
    assert_eq!(said.matches("signed by this key itself").count(), 2, "{said}");
    agent.expect(0, ["keys", "install", custodian.path().join("two.json").to_str().unwrap()]);
    agent.expect(0, ["collect"]);
    verify(&agent, 0, &["--deep"]);
    assert_eq!(keys(&agent).len(), 4);
    for file in ["root.pem", "two.json"] {
        assert!(!agent.path().join(file).exists() && !agent.path().join("keys").join(file).exists(), "{file}");
    }
}

#[test]
fn a_running_agent_takes_new_keys_and_what_an_auditor_needs_is_exported() {
    let place = Place::new();
    place.expect(0, ["collect"]);
    let mut daemon = place.start("daemon", ["run"]);
    tests::program::until("the daemon", || place.answers(&daemon));
    let said = place.expect(0, ["keys", "rotate"]);
    assert!(said.contains("revision 2"), "{said}");
    // Through the daemon: its process has the keys.
    place.expect(0, ["collect"]);
    place.expect(0, ["collect"]);
    let verdict: Value = serde_json::from_str(&verify(&place, 0, &["--json"])).unwrap();
    assert_eq!(verdict["numbers"]["keys"], 2, "{verdict}");
    let new = keys(&place)[3]["key_id"].as_str().unwrap().to_owned();
    assert_eq!(verdict["checkpoint"]["signed_by"], new.as_str());
    let killed = Command::new("kill").arg(daemon.id().to_string()).status().unwrap();
    assert!(killed.success() && daemon.wait().unwrap().success());
    let export = place.expect(0, ["keys", "export"]);
    assert!(export.contains(&place.root()) && export.contains(&new), "{export}");
    assert_eq!(export.matches("-----BEGIN PUBLIC KEY-----").count(), 5, "the root and four keys");
    assert!(!export.contains("PRIVATE"), "{export}");
    let document = export.lines().last().unwrap();
    fs::write(place.path().join("exported.json"), document).unwrap();
    place.expect(0, ["keys", "list", "--keys", "exported.json"]);
}

#[test]
fn a_revocation_from_outside_changes_the_verdict_and_says_why() {
    let place = Place::new();
    place.expect(0, ["collect"]);
    verify(&place, 0, &[]);
    // The archive as it is today, and tomorrow's keys.json from the custodian.
    let key = keys(&place)[0]["key_id"].as_str().unwrap().to_owned();
    let said = place.expect(0, ["keys", "revoke", &key, "--since", "2020-01-01T00:00:00Z"]);
    assert!(said.contains("compromised since 2020-01-01T00:00:00Z") && said.contains("New key"), "{said}");
    verify(&place, 0, &[]);
    let doubt = verify(&place, 1, &["--keys", "evidence.keys/keys.json"]);
    assert!(doubt.contains("KEY-COMPROMISED") && doubt.contains(&key), "{doubt}");
    // Unknown keys and times to come are refused, and change nothing.
    for arguments in [["SHA256:nobody", "2020-01-01T00:00:00Z"], [&*key, "2999-01-01T00:00:00Z"]] {
        let before = fs::read(place.path().join("evidence.keys/keys.json")).unwrap();
        assert_ne!(place.run(["keys", "revoke", arguments[0], "--since", arguments[1]]).status.code(), Some(0));
        assert_eq!(fs::read(place.path().join("evidence.keys/keys.json")).unwrap(), before);
    }
}

#[test]
fn a_lost_key_is_followed_where_it_is_said_to_be_lost_and_verdicts_say_so() {
    let place = Place::new();
    place.expect(0, ["collect"]);
    fs::remove_file(place.path().join("evidence.keys/receipts.pem")).unwrap();
    let refused = place.run(["keys", "rotate", "--use", "receipts"]);
    assert!(text(&refused.stderr).contains("--lost"), "{}", text(&refused.stderr));
    place.expect(0, ["keys", "rotate", "--use", "receipts", "--lost"]);
    place.expect(0, ["collect"]);
    let verdict = verify(&place, 0, &[]);
    assert!(verdict.contains("KEY-LOST"), "{verdict}");
}
