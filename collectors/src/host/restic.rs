//! `host/backups-restic`: the snapshots in the configured restic repositories, how old the newest of each set is, and what restic's
//! own check of the repository finds. It takes no lock, keeps no cache and writes nothing. A snapshot shows that a backup ended, not
//! that it read every file, and never that it can be restored.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    access::{Command, Host},
    config::ResticRepository,
    kept::{Kept, Reading, record, why_not},
    scrub,
};
use crate::{
    contract::{
        Answer, BoxFuture, CollectError, Collector, Context, Evidence, Exchange, Need, NeedKind, Population, Records,
        Redaction, Spec,
    },
    recorder::Draft,
    redact::Redact,
};

/// Where restic is looked for: the host's search path, then where an operator installs it.
const PROGRAMS: [&str; 2] = ["restic", "/usr/local/bin/restic"];
/// The operation that opens the exchanges of one repository.
const CONFIGURATION: &str = "configuration";
/// Of a credentials file, this much is read.
const SECRET_BYTES: u64 = 64 << 10;

const CHECKS: &str = r#"
- id: backup-recent
  item: backup_job_success
  population: backup_set
  exempt: '.host | IN(($parameters.retired_backup_hosts // [])[])'
  pass: 'if .newest_age_hours == null then null elif .newest_age_hours <= ($parameters.rpo_hours // 24) then true elif .list_whole then false else null end'
  says: "the newest backup of {host} {paths} in {repository} is {newest_age_hours} hours old"
- id: backup-exists
  item: backup_job_success
  population: restic_repository
  pass: 'if .snapshot_count == null then null else .snapshot_count > 0 end'
  says: "{repository} holds no snapshot"
- id: backup-repository-consistent
  item: backup_job_success
  population: restic_repository
  pass: .consistent
  says: "restic check finds errors in {repository}: {check_detail}"
- id: backup-encrypted
  item: backup_protected
  population: restic_repository
  pass: .encrypted
  says: "{repository} is not encrypted"
- id: backup-off-host
  item: backup_protected
  population: restic_repository
  pass: 'if .location == null or .location == "local" then null else true end'
  says: "{repository} lies on this host"
"#;

/// Backups in restic repositories.
pub struct Restic {
    host: Host,
    repositories: Vec<ResticRepository>,
    programs: Vec<String>,
    spec: Spec,
}

impl Restic {
    /// The repositories of this host; with none, it only derives.
    pub fn new(host: Host, repositories: Vec<ResticRepository>) -> Self {
        let need = |kind, what: &str, why: &str| Need { kind, what: what.into(), why: why.into() };
        // A check of a large repository is slow: an hour each.
        let deadline = Duration::from_secs(3600 * repositories.len().max(1) as u64);
        let spec = Spec {
            id: "host/backups-restic".into(),
            version: 1,
            title: "Backups in restic repositories".into(),
            source: "host".into(),
            schedule: "50 */6 * * *".into(),
            deadline,
            needs: vec![
                need(
                    NeedKind::Command,
                    "restic snapshots, restic check",
                    "every snapshot, and whether the repository is consistent",
                ),
                need(NeedKind::File, "the configured password_file and env_files", "access to the repositories"),
                need(
                    NeedKind::Right,
                    "to read the repositories",
                    "every snapshot: read-only credentials are enough (--no-lock)",
                ),
            ],
            kinds: vec!["backup_set".into(), "restic_repository".into(), "snapshot".into()],
            checks: CHECKS.into(),
            inputs: Vec::new(),
        };
        Self { host, repositories, programs: PROGRAMS.map(String::from).to_vec(), spec }
    }

    async fn ask(&self, repository: &ResticRepository, context: &mut Context<'_>) -> Result<(), CollectError> {
        let now = (context.now)();
        let shown = scrub::without_userinfo(&repository.repository);
        let request = json!({
            "name": repository.name, "repository": shown, "location": location(&repository.repository),
            "password_file": repository.password_file, "env_files": repository.env_files,
        });
        let mut draft = Draft::new(CONFIGURATION, request, self.host.caller(), now);
        let mut secrets = BTreeMap::new();
        let mut problem = None;
        for (name, path) in &repository.env_files {
            match secret(path) {
                Ok(value) => {
                    secrets.insert(name.clone(), value);
                }
                Err(error) => problem = Some((error.kind(), format!("{name} from {}: {error}", path.display()))),
            }
        }
        // For the redaction only: restic reads the file itself.
        let password = secret(&repository.password_file);
        if let Err(error) = &password {
            problem = Some((error.kind(), format!("password file {}: {error}", repository.password_file.display())));
        }
        if shown != repository.repository {
            let place = "configured repository, between :// and @".to_string();
            draft.redactions.push(Redaction { rule: "url-credentials".into(), place, count: 1 });
        }
        draft.ended_at = (context.now)();
        match &problem {
            None => {
                draft.answer = Answer::Ok;
                draft.end = Some("end of file".into());
            }
            Some((kind, detail)) => {
                draft.answer = if *kind == io::ErrorKind::PermissionDenied { Answer::Denied } else { Answer::Failed };
                draft.detail = detail.clone();
            }
        }
        context.recorder.record(draft, "json", None)?;
        if problem.is_some() {
            return Ok(());
        }
        let hidden: Vec<String> = secrets.values().cloned().chain(password.ok()).collect();
        let redact = redaction(hidden);
        let mut program = None;
        for name in &self.programs {
            let asked = Command::new([name.as_str(), "version"]).timeout(Duration::from_secs(20));
            if self.host.run(context, asked).await?.answer != Answer::Missing {
                program = Some(name);
                break;
            }
        }
        let Some(program) = program else { return Ok(()) };
        for (operation, timeout) in [("snapshots", 600), ("check", 2400)] {
            let mut argv = vec![program.clone(), "--json".into(), "--no-lock".into(), "--no-cache".into()];
            // An address with credentials goes where the exchange does not keep it.
            if shown == repository.repository {
                argv.extend(["--repo".into(), repository.repository.clone()]);
            }
            argv.extend(["--password-file".into(), repository.password_file.display().to_string(), operation.into()]);
            let mut command = Command::new(argv).timeout(Duration::from_secs(timeout)).redact(redact.clone()).json();
            if shown != repository.repository {
                command = command.env("RESTIC_REPOSITORY", &repository.repository);
            }
            for (name, value) in repository.env.iter().chain(&secrets) {
                command = command.env(name, value);
            }
            let answer = self.host.run(context, command).await?;
            // What cannot be opened cannot be checked.
            if answer.answer != Answer::Ok {
                break;
            }
        }
        Ok(())
    }
}

impl Collector for Restic {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn collect<'a>(&'a self, context: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(async move {
            for repository in &self.repositories {
                self.ask(repository, context).await?;
            }
            Ok(())
        })
    }

    fn derive(&self, evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
        derive(evidence, out)
    }
}

/// The text of a secret's file, without the line's end.
fn secret(path: &std::path::Path) -> io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    file.take(SECRET_BYTES).read_to_string(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_string())
}

fn redaction(secrets: Vec<String>) -> Redact {
    let redact = scrub::url_credentials(Redact::nothing(), "restic's output");
    redact.line("configured-secret", "restic's output, values of password_file and env_files", move |line| {
        let text = String::from_utf8_lossy(line);
        let out = secrets.iter().filter(|secret| secret.len() >= 4).fold(text.to_string(), |text, secret| {
            let quoted = Value::from(secret.as_str()).to_string();
            text.replace(secret.as_str(), "removed").replace(quoted.trim_matches('"'), "removed")
        });
        (out != text).then(|| out.into_bytes())
    })
}

/// The kind of storage, by the scheme of `--repo`.
fn location(repository: &str) -> &'static str {
    let schemes = ["s3", "sftp", "rest", "azure", "gs", "b2", "swift", "rclone"];
    schemes
        .into_iter()
        .find(|scheme| repository.split_once(':').is_some_and(|(start, _)| start == *scheme))
        .unwrap_or("local")
}

/// One repository's exchanges.
struct Asked {
    configuration: Exchange,
    commands: Vec<Exchange>,
}

impl Asked {
    fn text(&self, field: &str) -> String {
        self.configuration.request[field].as_str().unwrap_or_default().to_string()
    }

    fn command(&self, operation: &str) -> Option<&Exchange> {
        self.commands
            .iter()
            .rev()
            .find(|e| e.request["argv"].as_array().and_then(|argv| argv.last()) == Some(&json!(operation)))
    }
}

#[derive(Deserialize)]
struct Snapshot {
    time: DateTime<Utc>,
    id: String,
    hostname: String,
    #[serde(default)]
    username: Option<String>,
    paths: Vec<String>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    program_version: Option<String>,
}

fn derive(evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
    let kept = Kept::read(evidence)?;
    let mut all: Vec<Asked> = Vec::new();
    for exchange in evidence.exchanges() {
        let exchange = exchange?;
        match (exchange.operation.as_str(), all.last_mut()) {
            (CONFIGURATION, _) => all.push(Asked { configuration: exchange, commands: Vec::new() }),
            ("run-command", Some(asked)) => asked.commands.push(exchange),
            _ => {}
        }
    }
    if all.is_empty() {
        for kind in ["backup_set", "restic_repository", "snapshot"] {
            out.population(kind, Population::Unread("no repository was asked about".into()));
        }
        return Ok(());
    }
    let (mut cut, mut read) = (Vec::new(), 0);
    let (mut names, mut snapshot_ids) = (BTreeSet::new(), BTreeSet::new());
    for asked in &all {
        let name = asked.text("name");
        if !names.insert(name.clone()) {
            continue;
        }
        let found = match snapshots(&kept, asked)? {
            Ok((exchange, snapshots, problem)) => {
                read += 1;
                cut.extend(problem.iter().map(|why| format!("{name}: {why}")));
                Ok((exchange, snapshots, problem))
            }
            Err(why) => {
                cut.push(format!("{name}: {why}"));
                Err(why)
            }
        };
        let (consistent, check_detail) = checked(&kept, asked)?;
        let whole = matches!(&found, Ok((_, _, None)));
        let list: &[Snapshot] = found.as_ref().map_or(&[], |(_, list, _)| list);
        let at = found.as_ref().map_or(asked.configuration.ended_at, |(exchange, _, _)| exchange.ended_at);
        let number = found.as_ref().map_or(asked.configuration.number, |(exchange, _, _)| exchange.number);
        // Of a cut list, only that there is a snapshot is sure.
        let count = (whole || !list.is_empty()).then_some(list.len());
        let fields = json!({
            "repository": name,
            "address": asked.text("repository"),
            "location": asked.configuration.request["location"],
            "reachable": found.is_ok(),
            // restic's format knows no repository without encryption: opened with a password, it is encrypted.
            "encrypted": found.is_ok().then_some(true),
            "snapshot_count": count,
            "newest": list.iter().map(|snapshot| snapshot.time).max(),
            "consistent": consistent,
            "check_detail": check_detail,
            "why": found.as_ref().err(),
        });
        out.record("restic_repository", record(name.clone(), None, number, fields))?;
        let mut sets: BTreeMap<(String, Vec<String>), DateTime<Utc>> = BTreeMap::new();
        for snapshot in list {
            let newest = sets.entry((snapshot.hostname.clone(), snapshot.paths.clone())).or_insert(snapshot.time);
            *newest = snapshot.time.max(*newest);
            let id = format!("{name}/{}", snapshot.id);
            if snapshot_ids.insert(id.clone()) {
                let fields = json!({
                    "repository": name, "host": snapshot.hostname, "user": snapshot.username, "paths": snapshot.paths,
                    "tags": snapshot.tags, "program_version": snapshot.program_version,
                });
                out.record("snapshot", record(id, Some(snapshot.time), number, fields))?;
            }
        }
        for ((host, paths), newest) in sets {
            let age = (at - newest).num_minutes() as f64 / 60.0;
            // A time to come is a wrong clock, and no age.
            let age = (age >= 0.0).then(|| (age * 10.0).round() / 10.0);
            // A snapshot that could not be loaded may be a newer one.
            let fields =
                json!({"repository": name, "host": host, "paths": paths, "newest_age_hours": age, "list_whole": whole});
            out.record("backup_set", record(format!("{name}/{}", json!([host, paths])), Some(newest), number, fields))?;
        }
    }
    let lists = match (read, cut.is_empty()) {
        (_, true) => Population::Whole,
        (0, false) => Population::Unread(cut.join("; ")),
        (_, false) => Population::Cut(cut.join("; ")),
    };
    out.population("snapshot", lists.clone());
    out.population("backup_set", lists);
    out.population("restic_repository", Population::Whole);
    cut.into_iter().for_each(|why| out.gap(why));
    Ok(())
}

type Found = (Exchange, Vec<Snapshot>, Option<String>);

/// The snapshots of one repository; `Some` reason where there may be more.
fn snapshots(kept: &Kept<'_>, asked: &Asked) -> io::Result<Result<Found, String>> {
    if asked.configuration.answer != Answer::Ok {
        return Ok(Err(why_not(&asked.configuration, "its credentials")));
    }
    let Some(exchange) = asked.command("snapshots") else {
        let version = asked.command("version");
        return Ok(Err(version.map_or("restic was not asked".into(), |version| why_not(version, "restic"))));
    };
    let text = match kept.reading(Some(exchange), "restic snapshots")? {
        Reading::Text(text) => text,
        Reading::Missing(why) | Reading::Unknown(why) => {
            let meaning = match exchange.exit_code {
                Some(10) => " (no repository there)",
                Some(11) => " (the repository is locked)",
                Some(12) => " (wrong password)",
                _ => "",
            };
            return Ok(Err(format!("{why}{meaning}")));
        }
    };
    // Without any snapshot, older versions print null.
    let list: Option<Vec<Snapshot>> = match serde_json::from_str(&text.text) {
        Ok(list) => list,
        Err(error) => return Ok(Err(format!("restic snapshots: the answer cannot be read: {error}"))),
    };
    // restic passes over a snapshot that it cannot load, says so on standard error, and exits with 0.
    let harmless = |line: &&str| line.starts_with("repository ") || line.trim().is_empty();
    let said: Vec<&str> = text.stderr.lines().filter(|line| !harmless(line)).take(3).collect();
    let problem = (!said.is_empty()).then(|| format!("restic snapshots said: {}", said.join("; ")));
    Ok(Ok((exchange.clone(), list.unwrap_or_default(), problem)))
}

/// What `restic check` found: `None` when it did not come to an end.
fn checked(kept: &Kept<'_>, asked: &Asked) -> io::Result<(Option<bool>, Option<String>)> {
    let Some(exchange) = asked.command("check") else { return Ok((None, None)) };
    match kept.reading(Some(exchange), "restic check")? {
        Reading::Text(text) => {
            // Version 0.17 sums up in JSON, older ones in words.
            let sums = text.text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let errors = sums.filter(|sum| sum["message_type"] == "summary").find_map(|sum| sum["num_errors"].as_u64());
            let consistent = match errors {
                Some(errors) => Some(errors == 0),
                None => text.text.contains("no errors were found").then_some(true),
            };
            Ok((consistent, consistent.is_none().then(|| "restic check did not say what it found".into())))
        }
        Reading::Missing(why) => Ok((None, Some(why))),
        Reading::Unknown(_) => {
            let why = why_not(exchange, "restic check");
            let found = exchange.answer == Answer::Failed
                && exchange.exit_code == Some(1)
                && exchange.stderr.contains("repository contains errors");
            Ok((found.then_some(false), Some(why)))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::{fs, path::Path};

    use super::*;
    use crate::{
        recorder::{Recorder, WorkEvidence},
        testing::{FakeEvidence, MemoryRecords, system_now},
    };

    const SNAPSHOTS: &str = include_str!("fixtures/restic/snapshots.out");

    fn run(evidence: &dyn Evidence) -> MemoryRecords {
        let mut out = MemoryRecords::default();
        Restic::new(Host::new("/", None), Vec::new()).derive(evidence, &mut out).unwrap();
        out
    }

    fn configured(evidence: FakeEvidence, name: &str) -> FakeEvidence {
        let request = json!({"name": name, "repository": "s3:https://s3.example/b", "location": "s3"});
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
        let out =
            run(&one().command(&LIST, 0, SNAPSHOTS).command(&CHECK, 0, include_str!("fixtures/restic/check.out")));
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
    fn a_snapshot_that_cannot_be_loaded_cuts_the_list_though_restic_exits_with_0() {
        let evidence = one()
            .command(&LIST, 0, include_str!("fixtures/restic/snap-trunc.out"))
            .stderr(include_str!("fixtures/restic/snap-trunc.err"));
        let out = run(&evidence);
        assert!(
            matches!(&out.populations["snapshot"], Population::Cut(why) if why.contains("could not load snapshot"))
        );
        assert_eq!(out.of("snapshot").len(), 1);
    }

    #[test]
    fn an_empty_repository_has_no_snapshot_and_an_unopened_one_an_unknown_number() {
        for empty in ["[]", "null"] {
            assert_eq!(repository(&one().command(&LIST, 0, empty))["snapshot_count"], json!(0));
        }
        let evidence = one().command(&LIST, 12, "").stderr(include_str!("fixtures/restic/wrong.err"));
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
        let missing = configured(FakeEvidence::new(), "db").no_command(
            &["restic", "version"],
            Answer::Missing,
            "no program restic",
        );
        assert!(repository(&missing)["why"].as_str().unwrap().contains("no program restic"));
        assert!(matches!(run(&FakeEvidence::new()).populations["restic_repository"], Population::Unread(_)));
    }

    #[test]
    fn only_a_check_that_came_to_an_end_tells_of_errors() {
        let with = |code, text: &str, stderr: &str| {
            repository(&one().command(&LIST, 0, SNAPSHOTS).command(&CHECK, code, text).stderr(stderr))["consistent"]
                .clone()
        };
        assert_eq!(with(1, "", include_str!("fixtures/restic/check-broken.err")), json!(false));
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
        collector.programs = vec![program.into()];
        let mut recorder = Recorder::new(work).unwrap();
        let mut context = Context { recorder: &mut recorder, now: system_now(), inputs: Vec::new() };
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
}
