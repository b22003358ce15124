//! Waivers, responses and decisions as an approver and an operator make them, with the verdicts after: on one machine, on two, through a
//! running daemon, and under a timestamp authority.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{fs, process::Command};

use serde_json::Value;
use tests::{
    program::{Place, text, until},
    tsa::Served,
};

const WAIVE: [&str; 7] = ["waive", "--control", "AC-01", "--all-records", "--reason", "a key is on its way", "--until"];

/// A day 200 days away: a waiver's longest is a year and a day.
fn soon() -> String {
    (chrono::Utc::now() + chrono::TimeDelta::days(200)).format("%Y-%m-%d").to_string()
}

fn waive(more: &[&str]) -> Vec<String> {
    let words = WAIVE.iter().copied().map(str::to_owned).chain([soon()]);
    words.chain(more.iter().map(|word| (*word).to_owned())).collect()
}

/// A place with an archive whose owner named Ada, whose key is in `approver/ada.pem`.
fn place() -> Place {
    let place = Place::new();
    place.expect(0, ["collect", "host/time-sync"]);
    name_ada(&place);
    place
}

fn name_ada(place: &Place) {
    fs::create_dir(place.path().join("approver")).unwrap();
    let said = place.expect(0, ["keys", "approver", "Ada Lovelace", "--key", "approver/ada.pem"]);
    assert!(said.contains("approvals of Ada Lovelace"), "{said}");
}

fn verdict(place: &Place, code: i32, more: &[&str]) -> Value {
    let root = place.root();
    let all = ["verify", "./evidence", "--trust", &root, "--json"].into_iter().chain(more.iter().copied());
    serde_json::from_str(&place.expect(code, all)).unwrap()
}

/// Kind and signer of each document that people sign.
fn signed(verdict: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("nobody").to_owned();
    let people = ["waiver", "response", "decision"];
    let all = verdict["documents"].as_array().unwrap().iter();
    let of_people = all.filter(|document| people.contains(&document["kind"].as_str().unwrap()));
    of_people.map(|document| (text(&document["kind"]), text(&document["signer"]))).collect()
}

fn ada(kinds: &[&str]) -> Vec<(String, String)> {
    kinds.iter().map(|kind| ((*kind).to_owned(), "Ada Lovelace".to_owned())).collect()
}

fn refused<S: AsRef<std::ffi::OsStr>>(place: &Place, arguments: impl IntoIterator<Item = S>, why: &str) {
    let output = place.run(arguments);
    assert_ne!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains(why), "{why}: {}", text(&output.stderr));
}

#[test]
fn an_approvers_words_enter_the_log_once_and_the_agents_own_never_do() {
    let place = place();
    let key = ["--key", "approver/ada.pem"];
    let said = place.expect(0, waive(&key));
    assert!(
        said.starts_with("Logged: W-") && said.contains("waiver by Ada Lovelace: control AC-01, all records"),
        "{said}"
    );
    place.expect(0, ["respond", "--deviation", "D-0123456789ab", "--text", "a contractor", key[0], key[1]]);
    let decide = ["decide", "164.312(a)(2)(iv)", "--decision", "implemented", "--reason", "as written", key[0], key[1]];
    place.expect(0, decide);
    let judged = verdict(&place, 0, &[]);
    assert_eq!(signed(&judged), ada(&["waiver", "response", "decision"]));

    // Signed on a machine without the agent, and logged once however often it is given.
    let away = Place::new();
    fs::copy(place.path().join("approver/ada.pem"), away.path().join("ada.pem")).unwrap();
    fs::copy(place.path().join("evidence.keys/keys.json"), away.path().join("keys.json")).unwrap();
    away.expect(0, waive(&["--key", "ada.pem", "--keys", "keys.json", "-o", "waiver.json"]));
    assert!(!away.path().join("evidence").exists());
    let file = away.path().join("waiver.json");
    let submit = ["waive", "--submit", file.to_str().unwrap()];
    assert!(place.expect(0, submit).starts_with("Logged: W-"));
    assert!(place.expect(0, submit).starts_with("In the log already: W-"));
    assert_eq!(signed(&verdict(&place, 0, &[])).len(), 4);
    let shown = place.expect(0, ["show", file.to_str().unwrap()]);
    assert!(shown.contains("Ada Lovelace, by the key SHA256:") && shown.contains("control AC-01"), "{shown}");

    // Refused before anything is logged.
    refused(&place, ["respond", "--submit", file.to_str().unwrap()], "is a waiver, not a response");
    refused(&place, waive(&["--key", "evidence.keys/receipts.pem"]), "no approver's");
    refused(&place, ["keys", "approver", "Eve", "--key", "evidence.keys/eve.pem"], "never the agent's");
    refused(
        &place,
        ["decide", "164.312(d)", "--decision", "implemented", "--reason", "r", key[0], key[1]],
        "is required",
    );
    let long =
        ["waive", "--control", "AC-01", "--all-records", "--reason", "r", "--until", "2099-01-01", key[0], key[1]];
    refused(&place, long, "--longer-than-a-year");
    let past =
        ["waive", "--control", "AC-01", "--all-records", "--reason", "r", "--until", "2020-01-01", key[0], key[1]];
    refused(&place, past, "until");
    let altered = fs::read_to_string(&file).unwrap().replace("\"sig\":\"", "\"sig\":\"AAAA");
    fs::write(away.path().join("altered.json"), altered).unwrap();
    assert_ne!(
        place.run(["waive", "--submit", away.path().join("altered.json").to_str().unwrap()]).status.code(),
        Some(0)
    );
    let other = Place::new();
    other.expect(0, ["collect", "host/time-sync"]);
    refused(&other, submit, "SHA256:");
    assert_eq!(signed(&verdict(&place, 0, &[])).len(), 4, "nothing that was refused was logged");

    // Of a revoked approver no trusted time shows here that anything was signed before.
    let keys: Value = serde_json::from_str(&place.expect(0, ["keys", "list", "--json"])).unwrap();
    let id =
        keys["keys"].as_array().unwrap().iter().find(|key| key["name"] == "Ada Lovelace").unwrap()["key_id"].clone();
    place.expect(0, ["keys", "revoke", id.as_str().unwrap(), "--since", "2020-01-01T00:00:00Z"]);
    refused(&place, waive(&key), "compromised");
    let doubted = verdict(&place, 1, &["--keys", "evidence.keys/keys.json"]);
    assert_eq!(doubted["findings_by_code"], serde_json::json!({"KEY-COMPROMISED": 4}));
}

#[test]
fn what_the_configuration_does_not_have_is_named_when_it_is_signed_for() {
    let place = place();
    let key = ["--key", "approver/ada.pem"];
    let warned = |arguments: &[&str], named: &[&str]| {
        let all = arguments.iter().chain(&key);
        let output = place.run(all);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("Check what was signed: ")).collect();
        assert_eq!(lines.len(), named.len(), "{said}");
        assert!(named.iter().zip(lines).all(|(name, line)| line.contains(name)), "{said}");
    };
    let soon = soon();
    let waive = ["waive", "--all-records", "--reason", "r", "--until", &soon];
    let with = |more: &[&'static str]| waive.iter().copied().chain(more.iter().copied()).collect::<Vec<&str>>();
    warned(&with(&["--control", "AC-01", "--check", "host/accounts/unique-names-and-uids"]), &[]);
    warned(
        &with(&["--control", "AC-99", "--check", "host/accounts/x", "--job", "host/accounts@there"]),
        &["no control AC-99", "a check host/accounts/x", "no job host/accounts@there"],
    );
    warned(&["respond", "--control", "AC-99", "--text", "t"], &["no control AC-99"]);
}

#[test]
fn a_running_daemon_takes_an_approver_and_a_waiver_at_once() {
    let place = Place::new();
    place.expect(0, ["collect", "host/time-sync"]);
    let mut daemon = place.start("daemon", ["run"]);
    until("the daemon", || place.answers(&daemon));
    name_ada(&place);
    let words = waive(&["--key", "approver/ada.pem"]);
    assert!(place.expect(0, &words).starts_with("Logged: W-"));
    let file = place.path().join("waiver.json");
    place.expect(0, waive(&["--key", "approver/ada.pem", "-o", "waiver.json"]));
    let submit = ["waive", "--submit", file.to_str().unwrap()];
    assert!(place.expect(0, submit).starts_with("Logged: W-"));
    assert!(place.expect(0, submit).starts_with("In the log already: W-"));
    let killed = Command::new("kill").arg(daemon.id().to_string()).status().unwrap();
    assert!(killed.success() && daemon.wait().unwrap().success());
    assert_eq!(signed(&verdict(&place, 0, &[])), ada(&["waiver", "waiver"]));
}

#[test]
fn under_a_timestamp_authority_a_waiver_lies_between_trusted_times_and_outlives_its_approvers_key() {
    let tsa = Served::start();
    let place = Place::new();
    let yaml = format!(
        "signing:\n  timestamps:\n    authorities:\n    - {{url: '{}', every: 1s, ca: '{}'}}\n",
        tsa.url(),
        tsa.root().display()
    );
    fs::write(place.path().join("evidenced.yaml"), yaml).unwrap();
    place.expect(0, ["keys", "init"]);
    place.expect(0, ["collect", "host/time-sync"]);
    name_ada(&place);
    // The authority is asked no more often than `every`.
    let collected = chrono::Utc::now();
    until("the authority's interval", || chrono::Utc::now() > collected + chrono::TimeDelta::seconds(2));
    let said = place.expect(0, waive(&["--key", "approver/ada.pem"]));
    assert!(said.contains("applies from the trusted time"), "{said}");
    let root = tsa.root();
    let believe = ["--tsa-roots", root.to_str().unwrap()];
    let judged = verdict(&place, 0, &believe);
    assert_eq!(signed(&judged), ada(&["waiver"]));
    let documents = judged["documents"].as_array().unwrap();
    let waiver = documents.iter().find(|document| document["kind"] == "waiver").unwrap();
    assert!(waiver["not_before"].is_string() && waiver["not_after"].is_string(), "{waiver}");
    // Without the authority's root nothing dates it.
    let undated = verdict(&place, 0, &[]);
    let undated =
        undated["documents"].as_array().unwrap().iter().find(|document| document["kind"] == "waiver").unwrap().clone();
    assert!(undated["not_after"].is_null(), "{undated}");
    // A key that is stolen later takes nothing back that trusted time shows to be older.
    let keys: Value = serde_json::from_str(&place.expect(0, ["keys", "list", "--json"])).unwrap();
    let id =
        keys["keys"].as_array().unwrap().iter().find(|key| key["name"] == "Ada Lovelace").unwrap()["key_id"].clone();
    let after = waiver["not_after"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    until("the next second", || chrono::Utc::now() > after + chrono::TimeDelta::seconds(1));
    let since = (after + chrono::TimeDelta::seconds(1)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    place.expect(0, ["keys", "revoke", id.as_str().unwrap(), "--since", &since]);
    let outside = [believe[0], believe[1], "--keys", "evidence.keys/keys.json"];
    assert_eq!(signed(&verdict(&place, 0, &outside)), ada(&["waiver"]));
}
