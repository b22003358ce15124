//! `evidenced doctor` as a user runs it: it says what is wrong and what to do, seals nothing and writes nothing.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{fs, process::Command};

use serde_json::Value;
use tests::program::{Place, files, text};

/// The doctor, with nothing of the caller's own AWS, and no instance to ask.
fn doctor(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command(["doctor"]);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.args(arguments).envs([
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ]);
    command
}

fn told(command: &mut Command) -> (Option<i32>, Vec<Value>) {
    let output = command.output().unwrap();
    let findings = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)));
    (output.status.code(), findings)
}

fn configured(yaml: &str) -> Place {
    let place = Place::new();
    fs::write(place.path().join("evidenced.yaml"), yaml).unwrap();
    place
}

#[test]
fn without_credentials_it_says_where_they_are_looked_for_and_writes_nothing() {
    let place =
        configured("sources: [{name: cloud, aws: {accounts: [111122223333], endpoint: 'http://127.0.0.1:1'}}]\n");
    let (code, findings) = told(&mut doctor(&place, &["--source", "cloud", "--json"]));
    assert_eq!((code, findings.len()), (Some(1), 1));
    let finding = &findings[0];
    assert_eq!((&finding["source"], &finding["about"]), (&"cloud".into(), &"credentials".into()));
    assert_eq!(finding["state"], "finding");
    assert!(finding["says"].as_str().unwrap().contains("Environment: environment variable not set"), "{finding}");
    assert!(finding["to_do"].as_str().unwrap().contains("AWS_PROFILE"), "{finding}");
    assert_eq!(files(place.path()), [place.path().join("evidenced.yaml")]);
}

#[test]
fn an_address_that_does_not_answer_is_a_finding_of_the_credentials() {
    let place = configured("sources: [{name: cloud, aws: {endpoint: 'http://127.0.0.1:1', retry: {attempts: 1}}}]\n");
    let mut command = doctor(&place, &["--source", "cloud", "--json"]);
    command.envs([("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "none")]);
    let (code, findings) = told(&mut command);
    assert_eq!(code, Some(1));
    let of = |about: &str| findings.iter().find(|finding| finding["about"] == about).unwrap();
    assert_eq!(of("credentials")["state"], "finding");
    assert!(of("credentials")["says"].as_str().unwrap().contains("Connection refused"), "{findings:?}");
    assert_eq!(of("clock")["state"], "unknown");
}

#[test]
fn the_agent_itself_and_the_host_are_looked_at_and_left_as_they_are() {
    let place = configured("sources: [{name: box, host: {root: /nowhere/at/all}}]\n");
    let output = doctor(&place, &[]).output().unwrap();
    let (code, out) = (output.status.code(), text(&output.stdout));
    assert_eq!(code, Some(1), "{out}{}", text(&output.stderr));
    for line in [
        "fine     configuration: evidenced.yaml is valid",
        "FINDING  keys: ",
        "fine     archive: ./evidence is not there yet",
        "FINDING  box: host: its jobs do not run: /nowhere/at/all",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    assert!(out.lines().any(|line| line.starts_with("         -> `evidenced keys init`")), "{out}");
    assert_eq!(files(place.path()), [place.path().join("evidenced.yaml")]);
}

#[test]
fn what_cannot_be_begun_exits_with_two() {
    let place = configured("sources: [{name: cloud, aws: {accounts: [12345678901]}}]\n");
    let output = doctor(&place, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("sources[0].aws.accounts[0]: 12345678901 is no account's id"), "{output:?}");
    let place = configured("");
    let output = doctor(&place, &["--source", "nothing"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("there is no source \"nothing\"; there are: this"), "{output:?}");
}
