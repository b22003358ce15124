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
  unknown: "how old the newest backup of {host} {paths} in {repository} is, is not known: a snapshot could not be loaded, or its time is still to come"
- id: backup-exists
  item: backup_job_success
  population: restic_repository
  pass: 'if .snapshot_count == null then null else .snapshot_count > 0 end'
  says: "{repository} holds no snapshot"
  unknown: "whether {repository} holds a snapshot is not known: {why}"
# $parameters.backup_host_names: the names under which this host is backed up, where it is not its own.
- id: backup-of-this-host
  item: backup_job_success
  population: restic_repository
  pass: '([.this_host | strings] + ($parameters.backup_host_names // [])) as $names | if .hosts == null or $names == [] then null elif .hosts - $names != .hosts then true elif .list_whole then false else null end'
  says: "{repository} holds no snapshot of this host ({this_host}), only of {hosts}"
  unknown: "whether {repository} holds a snapshot of this host ({this_host}) is not known: {why}"
- id: backup-repository-consistent
  item: backup_job_success
  population: restic_repository
  pass: .consistent
  says: "restic check finds errors in {repository}: {check_detail}"
  unknown: "whether {repository} is consistent is not known: {check_detail}"
- id: backup-encrypted
  item: backup_protected
  population: restic_repository
  pass: .encrypted
  says: "{repository} is not encrypted"
  unknown: "whether {repository} is encrypted is not known: it was not opened ({why})"
- id: backup-off-host
  item: backup_protected
  population: restic_repository
  pass: 'if .location | IN("s3", "sftp", "rest", "azure", "gs", "b2", "swift") then true else null end'
  says: "{repository} lies on this host"
  unknown: "whether {repository} ({location}) lies off this host is not known: its address does not tell"
"#;

/// Backups in restic repositories.
pub struct Restic {
    host: Host,
    repositories: Vec<ResticRepository>,
    program: String,
    spec: Spec,
}

impl Restic {
    /// The repositories of this host; with none, it only derives.
    pub fn new(host: Host, repositories: Vec<ResticRepository>) -> Self {
        let need = |kind, what: &str, why: &str| Need { kind, what: what.into(), why: why.into(), cells: Vec::new() };
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
            window: None,
        };
        Self { host, repositories, program: "restic".into(), spec }
    }

    async fn ask(&self, repository: &ResticRepository, context: &mut Context<'_>) -> Result<(), CollectError> {
        let now = (context.now)();
        let shown = scrub::without_userinfo(&repository.repository);
        let request = json!({
            "name": repository.name, "repository": shown, "location": location(&repository.repository), "this_host": self.host.name(),
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
        let program = &self.program;
        let asked = Command::new([program.as_str(), "version"]).timeout(Duration::from_secs(20));
        if self.host.run(context, asked).await?.answer == Answer::Missing {
            return Ok(());
        }
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

/// The kind of storage, by the scheme of `--repo`; `local` also for a server on this host, `unknown` for what rclone's own configuration
/// tells alone.
fn location(repository: &str) -> &'static str {
    let after = repository.rsplit_once('@').or_else(|| repository.rsplit_once("://"));
    let host = after.or_else(|| repository.split_once(':')).map_or(repository, |(_, host)| host);
    if ["localhost", "127.", "[::1]", "0.0.0.0"].iter().any(|own| host.trim_start_matches('/').starts_with(own)) {
        return "local";
    }
    if repository.starts_with("rclone:") {
        return "unknown";
    }
    let schemes = ["s3", "sftp", "rest", "azure", "gs", "b2", "swift"];
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
            "this_host": asked.configuration.request["this_host"],
            "hosts": found.is_ok().then(|| list.iter().map(|s| s.hostname.as_str()).collect::<BTreeSet<_>>()),
            "list_whole": whole,
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
            let mut sums = text.text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let sum = sums.find(|sum| sum["message_type"] == "summary").unwrap_or_default();
            let errors = sum["num_errors"].as_u64();
            let broken = sum["broken_packs"].as_array().is_some_and(|packs| !packs.is_empty());
            let consistent = match errors {
                Some(errors) => Some(errors == 0 && !broken),
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
mod tests;
