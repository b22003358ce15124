//! What `host/backups-restic` derives, and a run against real repositories where restic is installed.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]
use std::{fs, path::Path};

use super::*;
use crate::{
    recorder::{Recorder, WorkEvidence},
    testing::{FakeEvidence, MemoryRecords, system_now},
};

const SNAPSHOTS: &str = include_str!("../fixtures/restic/snapshots.out");

fn run(evidence: &dyn Evidence) -> MemoryRecords {
    let mut out = MemoryRecords::default();
    Restic::new(Host::new("/", None), Vec::new()).derive(evidence, &mut out).unwrap();
    out
}

fn configured(evidence: FakeEvidence, name: &str) -> FakeEvidence {
    let request = json!({"name": name, "repository": "s3:https://s3.example/b", "location": "s3", "this_host": "db1"});
    evidence.add(CONFIGURATION, request, Answer::Ok, "", None, Vec::new())
}

fn one() -> FakeEvidence {
    configured(FakeEvidence::new(), "db").command(&["restic", "version"], 0, "restic 0.14.0\n")
}

const LIST: [&str; 2] = ["restic", "snapshots"];
const CHECK: [&str; 2] = ["restic", "check"];

fn repository(evidence: &FakeEvidence) -> Value {
    run(evidence).get("restic_repository", "db")
}

#[test]
fn snapshots_and_the_newest_of_each_set_are_records() {
    let out = run(&one().command(&LIST, 0, SNAPSHOTS).command(&CHECK, 0, include_str!("../fixtures/restic/check.out")));
    assert_eq!(out.of("snapshot").len(), 2);
    assert_eq!(out.populations["snapshot"], Population::Whole);
    let set = &out.of("backup_set")[0];
    assert_eq!((&set["host"], &set["as_of"]), (&json!("db1"), &json!("2026-11-22T05:33:04.759601965Z")));
    assert!(set["newest_age_hours"].is_null(), "the snapshot is later than the fake's clock");
    let repository = out.get("restic_repository", "db");
    assert_eq!(
        (&repository["consistent"], &repository["encrypted"], &repository["snapshot_count"]),
        (&json!(true), &json!(true), &json!(2))
    );
    let old = SNAPSHOTS.replace("2026-11-22T05", "2026-11-20T05");
    assert_eq!(run(&one().command(&LIST, 0, old)).of("backup_set")[0]["newest_age_hours"], json!(46.4));
}

#[test]
fn each_host_of_one_repository_has_its_own_age() {
    let snapshot = |id: &str, host: &str, time: &str| json!({"time": time, "id": id, "hostname": host, "paths": ["/"]});
    let list = json!([
        snapshot("a", "db1", "2026-11-22T03:00:00Z"),
        snapshot("b", "web1", "2026-10-01T00:00:00Z"),
        snapshot("c", "db1", "2026-10-01T00:00:00Z"),
    ]);
    let out = run(&one().command(&LIST, 0, list.to_string()));
    let age = |host: &str| {
        let set = out.of("backup_set").iter().find(|set| set["host"] == host).unwrap();
        set["newest_age_hours"].as_f64().unwrap()
    };
    assert!(age("db1") < 2.0 && age("web1") > 1000.0);
    let repository = out.get("restic_repository", "db");
    assert_eq!((&repository["hosts"], &repository["this_host"]), (&json!(["db1", "web1"]), &json!("db1")));
}

#[test]
fn a_server_on_this_host_is_not_off_it() {
    for (address, kind) in [
        ("rest:http://localhost:8000/", "local"),
        ("rest:https://u:p@127.0.0.1/r", "local"),
        ("s3:http://[::1]:9000/b", "local"),
        ("sftp:backup@localhost:/srv", "local"),
        ("rclone:disk:r", "unknown"),
        ("sftp:backup@nas:/srv", "sftp"),
        ("s3:s3.amazonaws.com/b", "s3"),
        ("sftp://u@nas:22//srv", "sftp"),
        ("/srv/r", "local"),
    ] {
        assert_eq!(location(address), kind, "{address}");
    }
}

#[test]
fn a_snapshot_that_cannot_be_loaded_cuts_the_list_though_restic_exits_with_0() {
    let evidence = one()
        .command(&LIST, 0, include_str!("../fixtures/restic/snap-trunc.out"))
        .stderr(include_str!("../fixtures/restic/snap-trunc.err"));
    let out = run(&evidence);
    assert!(matches!(&out.populations["snapshot"], Population::Cut(why) if why.contains("could not load snapshot")));
    assert_eq!(out.of("snapshot").len(), 1);
}

#[test]
fn an_empty_repository_has_no_snapshot_and_an_unopened_one_an_unknown_number() {
    for empty in ["[]", "null"] {
        assert_eq!(repository(&one().command(&LIST, 0, empty))["snapshot_count"], json!(0));
    }
    let evidence = one().command(&LIST, 12, "").stderr(include_str!("../fixtures/restic/wrong.err"));
    let row = repository(&evidence);
    assert!(row["snapshot_count"].is_null() && row["encrypted"].is_null() && row["consistent"].is_null());
    assert!(row["why"].as_str().unwrap().contains("wrong password"));
    assert!(matches!(run(&evidence).populations["snapshot"], Population::Unread(_)));
}

#[test]
fn every_failure_is_unknown_with_its_reason() {
    for (code, reason) in
        [(1, "exit status 1"), (10, "no repository there"), (11, "locked"), (12, "wrong password"), (99, "99")]
    {
        let row = repository(&one().command(&LIST, code, SNAPSHOTS));
        assert!(row["snapshot_count"].is_null() && row["why"].as_str().unwrap().contains(reason), "{row}");
    }
    let slow = one().no_command(&LIST, Answer::TimedOut, "no end within 600 s");
    assert!(repository(&slow)["why"].as_str().unwrap().contains("600 s"));
    for answer in ["", "{}", "[{}]", &SNAPSHOTS[..SNAPSHOTS.len() / 2], "\u{1}"] {
        let row = repository(&one().command(&LIST, 0, answer));
        assert!(row["snapshot_count"].is_null(), "{answer:?}");
    }
    let missing =
        configured(FakeEvidence::new(), "db").no_command(&["restic", "version"], Answer::Missing, "no program restic");
    assert!(repository(&missing)["why"].as_str().unwrap().contains("no program restic"));
    assert!(matches!(run(&FakeEvidence::new()).populations["restic_repository"], Population::Unread(_)));
}

#[test]
fn only_a_check_that_came_to_an_end_tells_of_errors() {
    let with = |code, text: &str, stderr: &str| {
        repository(&one().command(&LIST, 0, SNAPSHOTS).command(&CHECK, code, text).stderr(stderr))["consistent"].clone()
    };
    assert_eq!(with(1, "", include_str!("../fixtures/restic/check-broken.err")), json!(false));
    assert_eq!(with(0, "{\"message_type\":\"summary\",\"num_errors\":0}\n", ""), json!(true));
    assert_eq!(with(0, "{\"message_type\":\"summary\",\"num_errors\":2}\n", ""), json!(false));
    for (code, text, stderr) in
        [(0, "", ""), (1, "", "Fatal: connection refused"), (11, "", "repository contains errors")]
    {
        assert_eq!(with(code, text, stderr), Value::Null, "{code} {stderr}");
    }
}

#[test]
fn one_failing_repository_cuts_the_lists_and_leaves_the_others() {
    let evidence = configured(one().command(&LIST, 0, SNAPSHOTS), "files").command(&LIST, 12, "");
    let out = run(&evidence);
    assert_eq!(out.of("restic_repository").len(), 2);
    assert!(matches!(&out.populations["backup_set"], Population::Cut(why) if why.starts_with("files: ")));
    assert_eq!(out.get("restic_repository", "db")["reachable"], json!(true));
}

/// Runs the real program where there is one.
fn program() -> Option<String> {
    let named = std::env::var("RESTIC").ok();
    let known = ["/usr/bin/restic", "/usr/local/bin/restic"].map(String::from);
    let found = named.into_iter().chain(known).find(|path| Path::new(path).is_file());
    if found.is_none() {
        eprintln!("restic is not installed here: set RESTIC to its path to run this test");
    }
    found
}

fn restic(program: &str, repository: &Path, password: &Path, arguments: &[&str]) {
    let status = std::process::Command::new(program)
        .args(["--quiet", "--no-cache", "--repo", repository.to_str().unwrap()])
        .args(["--password-file", password.to_str().unwrap()])
        .args(arguments)
        .status();
    assert!(status.unwrap().success());
}

async fn collect(program: &str, repositories: Vec<ResticRepository>, work: &Path) -> MemoryRecords {
    let mut collector = Restic::new(Host::new("/", None), repositories);
    collector.program = program.into();
    let mut recorder = Recorder::new(work).unwrap();
    let mut context = Context { recorder: &mut recorder, now: system_now(), inputs: Vec::new(), window: None };
    collector.collect(&mut context).await.unwrap();
    run(&WorkEvidence::new(work))
}

fn configuration(name: &str, repository: impl Into<String>, password_file: &Path) -> ResticRepository {
    let (env, env_files) = (BTreeMap::new(), BTreeMap::new());
    ResticRepository {
        name: name.into(),
        repository: repository.into(),
        password_file: password_file.into(),
        env,
        env_files,
    }
}

#[tokio::test]
async fn a_real_repository_is_read_without_a_trace_and_without_its_secrets() {
    let Some(program) = program() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (repository, password) = (directory.path().join("repository"), directory.path().join("password"));
    let (wrong, token) = (directory.path().join("wrong"), directory.path().join("token"));
    fs::write(&password, "planted-password\n").unwrap();
    fs::write(&wrong, "planted-wrong\n").unwrap();
    fs::write(&token, "planted-token").unwrap();
    fs::write(directory.path().join("file"), "data").unwrap();
    restic(&program, &repository, &password, &["init"]);
    restic(
        &program,
        &repository,
        &password,
        &["backup", "--host", "db1", directory.path().join("file").to_str().unwrap()],
    );
    let broken = directory.path().join("broken");
    let copied = std::process::Command::new("cp").arg("-r").arg(&repository).arg(&broken).status().unwrap();
    assert!(copied.success());
    let index = fs::read_dir(broken.join("snapshots")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&index).unwrap();
    fs::write(&index, "cut").unwrap();
    let files = || {
        let listed = std::process::Command::new("find").arg(&repository).output().unwrap().stdout;
        String::from_utf8(listed).unwrap()
    };
    let before = files();
    let mut good = configuration("good", repository.to_str().unwrap(), &password);
    good.env_files.insert("AWS_SECRET_ACCESS_KEY".into(), token.clone());
    let repositories = vec![
        good,
        configuration("wrong", repository.to_str().unwrap(), &wrong),
        configuration("none", directory.path().join("nothing").to_str().unwrap(), &password),
        configuration("broken", broken.to_str().unwrap(), &password),
        configuration("refused", "rest:http://user:planted-url@127.0.0.1:9/x", &password),
        configuration("unreadable", repository.to_str().unwrap(), &directory.path().join("no-such-file")),
    ];
    let work = tempfile::tempdir().unwrap();
    let out = collect(&program, repositories, work.path()).await;
    assert_eq!(files(), before, "nothing was written, no lock taken");
    let good = out.get("restic_repository", "good");
    assert_eq!(
        (&good["snapshot_count"], &good["consistent"], &good["encrypted"]),
        (&json!(1), &json!(true), &json!(true)),
        "{good}"
    );
    for name in ["wrong", "none", "refused", "unreadable"] {
        let row = out.get("restic_repository", name);
        assert!(row["snapshot_count"].is_null() && row["encrypted"].is_null() && row["why"].is_string(), "{row}");
    }
    assert!(out.get("restic_repository", "broken")["snapshot_count"].is_null());
    assert!(matches!(out.populations["backup_set"], Population::Cut(_)));
    let kept = std::process::Command::new("grep").args(["-r", "planted-"]).arg(work.path()).output().unwrap();
    assert_eq!(String::from_utf8(kept.stdout).unwrap(), "", "no planted secret is kept");
    let redacted = WorkEvidence::new(work.path()).exchanges().flat_map(|e| e.unwrap().redactions).count();
    assert!(redacted > 0, "and the removal is recorded");
}

#[test]
fn configured_secrets_are_removed_from_whatever_restic_says() {
    let redact = redaction(vec!["pla\"nted".into(), "abc".into()]);
    let (mut kept, mut redactor) = (Vec::new(), redact.begin());
    redactor.push(b"Fatal: pla\"nted {\"k\":\"pla\\\"nted\"} s3:https://u:p@h/b abc\n", &mut kept).unwrap();
    let rules: Vec<String> = redactor.finish(&mut kept).unwrap().into_iter().map(|r| r.rule).collect();
    assert_eq!(String::from_utf8(kept).unwrap(), "Fatal: removed {\"k\":\"removed\"} s3:https://removed@h/b abc\n");
    assert_eq!(rules, ["url-credentials", "configured-secret"]);
}

#[tokio::test]
async fn a_program_that_prints_its_secrets_does_not_get_them_into_the_evidence() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let (program, password, token) =
        (directory.path().join("restic"), directory.path().join("password"), directory.path().join("token"));
    fs::write(&password, "planted-password\n").unwrap();
    fs::write(&token, "planted-token\n").unwrap();
    let script = "#!/bin/sh\nfor a; do case $a in /*password) cat \"$a\" \"$a\" >&2;; esac; done\n\
                  echo \"[$TOKEN $RESTIC_REPOSITORY]\"\nexit 1\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut leaky = configuration("leaky", "rest:https://user:planted-url@host/x", &password);
    leaky.env_files.insert("TOKEN".into(), token);
    let work = tempfile::tempdir().unwrap();
    let out = collect(program.to_str().unwrap(), vec![leaky], work.path()).await;
    assert_eq!(out.get("restic_repository", "leaky")["address"], "rest:https://removed@host/x");
    let exchanges: Vec<Exchange> = WorkEvidence::new(work.path()).exchanges().map(Result::unwrap).collect();
    assert!(exchanges.iter().any(|exchange| exchange.stderr.contains("removed")), "the program did print them");
    let kept = std::process::Command::new("grep").args(["-r", "planted-"]).arg(work.path()).output().unwrap();
    assert_eq!(String::from_utf8(kept.stdout).unwrap(), "");
    let rules: BTreeSet<String> = exchanges.into_iter().flat_map(|e| e.redactions).map(|r| r.rule).collect();
    assert!(rules.contains("configured-secret") && rules.contains("url-credentials"), "{rules:?}");
}
