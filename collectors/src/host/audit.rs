//! `host/audit-logging`: whether this host records what happens on it: the kernel's audit rules and auditd, journald and rsyslog, how
//! they keep it and where they send it. It never reads a log, and a daemon that is configured but not seen running is not logging.

mod rsyslog;

use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    access::{Command, Host},
    kept::{self, Kept, Listing, Reading, record},
    scrub,
};
use crate::{
    contract::{
        Answer, BoxFuture, CollectError, Collector, Context, Evidence, Need, NeedKind, Population, Records, Spec,
    },
    recorder::Draft,
    redact::Redact,
};

const STATUS: [&str; 2] = ["auditctl", "-s"];
const RULES: [&str; 2] = ["auditctl", "-l"];
const AUDITD: &str = "/etc/audit/auditd.conf";
const AU_REMOTE: &str = "/etc/audit/plugins.d/au-remote.conf";
const AUDISP_REMOTE: &str = "/etc/audit/audisp-remote.conf";
/// The first that is there is the one that journald reads.
const JOURNALD: [&str; 4] = [
    "/etc/systemd/journald.conf",
    "/run/systemd/journald.conf",
    "/usr/local/lib/systemd/journald.conf",
    "/usr/lib/systemd/journald.conf",
];
/// In the order in which journald lets later ones win.
const JOURNALD_DROP_INS: [&str; 4] = [
    "/usr/lib/systemd/journald.conf.d",
    "/usr/local/lib/systemd/journald.conf.d",
    "/run/systemd/journald.conf.d",
    "/etc/systemd/journald.conf.d",
];
const UPLOAD: &str = "systemd-journal-upload.service";
const JOURNAL_UPLOAD: &str = "/etc/systemd/journal-upload.conf";
const JOURNAL: &str = "/var/log/journal";
const RSYSLOG: &str = "/etc/rsyslog.conf";
const RSYSLOG_DROP_INS: &str = "/etc/rsyslog.d";
/// The kernel keeps 15 bytes of a process's name.
const NAMES: [(&str, &str); 3] = [("auditd", "auditd"), ("journald", "systemd-journal"), ("rsyslog", "rsyslogd")];
/// Programs that send logs elsewhere; where to is in configurations that this collector does not read.
const SHIPPERS: [&str; 12] = [
    "syslog-ng",
    "fluent-bit",
    "fluentd",
    "td-agent",
    "vector",
    "filebeat",
    "auditbeat",
    "promtail",
    "alloy",
    "otelcol",
    "splunkd",
    "amazon-cloudwat",
];
const MOST_DROP_INS: usize = 100;
/// The process has ended (errno(3)).
const ESRCH: i32 = 3;

const CHECKS: &str = r#"
- id: host-logging-persistent
  item: audit_logging_enabled
  population: log_state
  pass: .running_persistent
  says: "no log service that keeps what it logs over a restart runs on this host"
  unknown: "whether a log service that keeps what it logs over a restart runs on this host is not known: the gaps of the run say what was not read"
# $parameters.auditd_required: true where a host without auditd is a deviation.
- id: auditd-recording
  item: audit_logging_enabled
  population: 'log_service | .service == "auditd"'
  exempt: 'if .installed == false then $parameters.auditd_required // false | not else false end'
  pass: 'if .running == false or .enabled == 0 or .rules == 0 then false elif .running == null or .enabled == null or .rules == null then null else true end'
  says: "auditd does not record: running {running}, enabled {enabled}, {rules} rules"
  unknown: "whether auditd records is not known: running {running}, enabled {enabled}, {rules} rules, where ? was not read"
- id: logs-leave-host
  item: audit_log_integrity
  population: log_state
  pass: 'if (.forwards_to // []) != [] then true elif .forwards_to == null or .shippers == null or .shippers != [] then null else false end'
  says: "no log of this host is sent elsewhere: whoever controls the host can remove it"
  unknown: "whether logs of this host are sent elsewhere is not known: configured targets {forwards_to}, log shippers that run and whose targets are not read {shippers}"
- id: log-retention
  item: audit_log_retention
  population: 'log_service | .installed != false and .running != false'
  exempt: '(.forwards_to // []) != []'
  pass: 'if .keeps_all == true then true elif .days_at_most == null then null elif .days_at_most < ($parameters.log_retention_days // 365) then false else null end'
  says: "{service} keeps its logs {days_at_most} days at most"
  unknown: "how long {service} keeps its logs is not known: what it keeps hangs on how much it writes, or its configuration was not read"
"#;

/// Audit and log daemons.
pub struct Audit {
    host: Host,
    spec: Spec,
}

impl Audit {
    /// Of this host.
    pub fn new(host: Host) -> Self {
        let need = |kind, what: &str, why: &str| Need { kind, what: what.into(), why: why.into(), cells: Vec::new() };
        let spec = Spec {
            id: "host/audit-logging".into(),
            version: 1,
            title: "Audit and log daemons".into(),
            source: "host".into(),
            schedule: "15 * * * *".into(),
            deadline: Duration::from_secs(180),
            needs: vec![
                need(NeedKind::Command, "auditctl -s, auditctl -l", "whether the kernel's audit is on, and its rules"),
                need(NeedKind::File, "/proc/*/comm", "which log daemons run"),
                need(NeedKind::File, AUDITD, "how auditd keeps its log"),
                need(NeedKind::File, "/etc/systemd/journald.conf with drop-ins", "whether the journal is kept"),
                need(
                    NeedKind::File,
                    "/etc/rsyslog.conf, /etc/rsyslog.d/*.conf",
                    "what rsyslog keeps and where it sends it",
                ),
                need(NeedKind::Right, "root", "auditctl and /etc/audit answer to nobody else"),
            ],
            kinds: vec!["log_service".into(), "log_state".into()],
            checks: CHECKS.into(),
            inputs: Vec::new(),
            window: None,
        };
        Self { host, spec }
    }
}

impl Collector for Audit {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn collect<'a>(&'a self, context: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(async move {
            let host = &self.host;
            let plain = Redact::nothing();
            let command =
                |argv: &[&str]| Command::new(argv.iter().copied()).timeout(Duration::from_secs(20)).limit(4 << 20);
            processes(host, context).await?;
            host.run(context, command(&STATUS)).await?;
            host.run(context, command(&RULES)).await?;
            for path in [AUDITD, AU_REMOTE, AUDISP_REMOTE] {
                host.read_file(context, path, &plain).await?;
            }
            for path in JOURNALD {
                host.read_file(context, path, &plain).await?;
            }
            host.read_file(context, JOURNAL_UPLOAD, &scrub::url_credentials(Redact::nothing(), JOURNAL_UPLOAD)).await?;
            host.read_file(context, RSYSLOG, &rsyslog::redaction(RSYSLOG)).await?;
            for directory in JOURNALD_DROP_INS.into_iter().chain([RSYSLOG_DROP_INS]) {
                let listed = host.list_directory(context, directory).await?;
                for name in drop_ins(&context.recorder.body(&listed)?) {
                    let path = format!("{directory}/{name}");
                    let redact =
                        if directory == RSYSLOG_DROP_INS { rsyslog::redaction(&path) } else { Redact::nothing() };
                    host.read_file(context, &path, &redact).await?;
                }
            }
            host.list_directory(context, JOURNAL).await?;
            Ok(())
        })
    }

    fn derive(&self, evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
        derive(&Kept::read(evidence)?, out)
    }
}

/// A row of the kept list of processes.
#[derive(Debug, Serialize, Deserialize)]
struct Process {
    pid: u32,
    name: String,
    /// Its systemd unit, for names that the kernel cuts to the same: systemd-journald and systemd-journal-upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
}

/// Keeps the names of all processes as one exchange: operation `list-processes`. Names only: arguments may hold secrets.
async fn processes(host: &Host, context: &mut Context<'_>) -> Result<(), CollectError> {
    let root: PathBuf = host.root().join("proc");
    let mut draft = Draft::new("list-processes", json!({"path": "/proc"}), host.caller(), (context.now)());
    let listed = tokio::time::timeout(host.read_timeout, tokio::task::spawn_blocking(move || names(&root))).await;
    let mut body = None;
    match listed {
        Err(_) => {
            draft.answer = Answer::TimedOut;
            draft.detail = format!("no end within {} s", host.read_timeout.as_secs());
        }
        Ok(Err(error)) => draft.detail = format!("the reading thread broke off: {error}"),
        Ok(Ok(Err(error))) => {
            draft.answer = match error.kind() {
                io::ErrorKind::PermissionDenied => Answer::Denied,
                io::ErrorKind::NotFound => Answer::Missing,
                _ => Answer::Failed,
            };
            draft.detail = error.to_string();
        }
        Ok(Ok(Ok(list))) => {
            draft.answer = Answer::Ok;
            draft.detail = format!("{} processes", list.len());
            draft.end = Some("end of directory".into());
            body = Some(serde_json::to_vec(&list).map_err(io::Error::from)?);
        }
    }
    draft.ended_at = (context.now)();
    context.recorder.record(draft, "json", body.as_deref())?;
    Ok(())
}

fn names(root: &std::path::Path) -> io::Result<Vec<Process>> {
    let mut list = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let name = match std::fs::read(root.join(format!("{pid}/comm"))) {
            Ok(name) => String::from_utf8_lossy(&name).trim_end().to_string(),
            // A process that ended meanwhile is none.
            Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH) => continue,
            Err(error) => return Err(io::Error::new(error.kind(), format!("/proc/{pid}/comm: {error}"))),
        };
        let unit = name.starts_with("systemd-journal").then(|| unit_of(root, pid)).flatten();
        list.push(Process { pid, name, unit });
    }
    list.sort_by_key(|process| process.pid);
    Ok(list)
}

/// The unit that a process belongs to, by its control group.
fn unit_of(root: &std::path::Path, pid: u32) -> Option<String> {
    let groups = std::fs::read_to_string(root.join(format!("{pid}/cgroup"))).ok()?;
    let unit = groups.lines().last()?.rsplit('/').next()?;
    unit.ends_with(".service").then(|| unit.to_string())
}

/// The names of a kept directory list's configuration files, in order.
fn drop_ins(body: &[u8]) -> Vec<String> {
    let mut names: Vec<String> = kept::names(body).into_iter().filter(|name| name.ends_with(".conf")).collect();
    names.sort();
    names.truncate(MOST_DROP_INS);
    names
}

/// Which processes run.
struct Running {
    exchange: u64,
    names: Vec<String>,
    units: Vec<String>,
}

impl Running {
    /// `None` when the list is not of all processes.
    fn read(kept: &Kept<'_>) -> io::Result<Result<Self, String>> {
        let exchange = kept.find("list-processes", "path", &json!("/proc"));
        Ok(match kept.reading(exchange, "the list of processes")? {
            Reading::Missing(why) | Reading::Unknown(why) => Err(why),
            Reading::Text(text) => match serde_json::from_str::<Vec<Process>>(&text.text) {
                // Without process 1 it is another namespace's list, or /proc hides other users' processes.
                Ok(list) if list.iter().any(|process| process.pid == 1) => {
                    let units = list.iter().filter_map(|process| process.unit.clone()).collect();
                    // What uploads the journal is not what writes it.
                    let others = list.into_iter().filter(|process| process.unit.as_deref() != Some(UPLOAD));
                    Ok(Self { exchange: text.exchange, names: others.map(|process| process.name).collect(), units })
                }
                Ok(_) => {
                    Err("the list of processes does not show process 1, so not every process: run as root, and in a container \
                         mount the host's /proc below its root"
                        .into())
                }
                Err(error) => Err(format!("the list of processes cannot be read: {error}")),
            },
        })
    }
}

#[derive(Default)]
struct Service {
    exchange: u64,
    installed: Option<bool>,
    persistent: Option<bool>,
    forwards_to: Option<Vec<String>>,
    keeps_all: Option<bool>,
    days_at_most: Option<f64>,
    more: BTreeMap<&'static str, Value>,
}

fn derive(kept: &Kept<'_>, out: &mut dyn Records) -> io::Result<()> {
    let running = Running::read(kept)?;
    let mut gaps = Vec::new();
    if let Err(why) = &running {
        gaps.push(format!("{why}: which log daemons run is not known"));
    }
    let services = [
        ("auditd", auditd(kept, &mut gaps)?),
        ("journald", journald(kept, running.as_ref().ok(), &mut gaps)?),
        ("rsyslog", rsyslog::rsyslog(kept, &mut gaps)?),
    ];
    let (mut persistent, mut forwards) = (Vec::new(), Vec::new());
    for ((service, mut found), (_, process)) in services.into_iter().zip(NAMES) {
        let runs = running.as_ref().ok().map(|running| running.names.iter().any(|name| name == process));
        if runs == Some(true) {
            found.installed = Some(true);
        }
        if found.installed == Some(false) && runs != Some(false) {
            found.installed = None;
        }
        persistent.push(match (runs, found.persistent) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        });
        forwards.push(match (runs, found.forwards_to.clone()) {
            // What does not run sends nothing, and of what may not run it is not known.
            (Some(false), _) => Some(Vec::new()),
            (None, Some(targets)) if !targets.is_empty() => None,
            (_, targets) => targets,
        });
        let mut fields = json!({
            "service": service, "installed": found.installed, "running": runs, "persistent": found.persistent,
            "forwards_to": found.forwards_to, "keeps_all": found.keeps_all, "days_at_most": found.days_at_most,
            "enabled": null, "rules": null,
        });
        for (name, value) in found.more {
            fields[name] = value;
        }
        let exchange =
            if found.exchange > 0 { found.exchange } else { running.as_ref().map_or(1, |running| running.exchange) };
        out.record("log_service", record(service, None, exchange, fields))?;
    }
    let any = if persistent.contains(&Some(true)) {
        Some(true)
    } else if persistent.contains(&None) {
        None
    } else {
        Some(false)
    };
    let known: Vec<String> = forwards.iter().flatten().flatten().cloned().collect();
    let all_known = forwards.iter().all(Option::is_some);
    let shippers = running.as_ref().ok().map(|running| {
        SHIPPERS.iter().filter(|shipper| running.names.iter().any(|name| name == *shipper)).collect::<Vec<_>>()
    });
    let fields = json!({
        "running_persistent": any,
        "forwards_to": (all_known || !known.is_empty()).then_some(known),
        "shippers": shippers,
    });
    let exchange = running.as_ref().map_or(1, |running| running.exchange);
    out.record("log_state", record("host", None, exchange, fields))?;
    out.population("log_service", Population::Whole);
    out.population("log_state", Population::Whole);
    gaps.into_iter().for_each(|gap| out.gap(gap));
    Ok(())
}

/// `name = value` lines, names in lower case.
fn settings(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';', '[']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_string())).collect()
}

fn auditd(kept: &Kept<'_>, gaps: &mut Vec<String>) -> io::Result<Service> {
    let mut service = Service::default();
    let mut missing = 0;
    match kept.command(&STATUS)? {
        Reading::Text(text) => {
            let value = |name: &str| {
                let mut lines = text.text.lines().filter_map(|line| line.split_once(' '));
                lines.find(|(key, _)| *key == name).and_then(|(_, value)| value.trim().parse::<i64>().ok())
            };
            service.exchange = text.exchange;
            service.more.insert("enabled", json!(value("enabled")));
            service.more.insert("lost", json!(value("lost")));
            service.installed = Some(true);
            if value("enabled").is_none() {
                gaps.push("auditctl -s: the answer has no line \"enabled\"".into());
            }
        }
        Reading::Missing(_) => missing += 1,
        Reading::Unknown(why) => {
            gaps.push(why);
            // A program that answered with an error is there.
            service.installed = kept.run(&STATUS).is_some_and(|e| e.exit_code.is_some()).then_some(true);
        }
    }
    match kept.command(&RULES)? {
        Reading::Text(text) => {
            let lines: Vec<&str> = text.text.lines().filter(|line| !line.trim().is_empty()).collect();
            let rules = match lines[..] {
                ["No rules"] => Some(0),
                [_, ..] if lines.iter().all(|line| line.starts_with('-')) => Some(recording(&lines)),
                _ => None,
            };
            if rules.is_none() {
                gaps.push("auditctl -l: the answer is no list of rules".into());
            }
            service.more.insert("rules", json!(rules));
        }
        Reading::Missing(_) => {}
        Reading::Unknown(why) => gaps.push(why),
    }
    match kept.file(AUDITD)? {
        Reading::Text(text) => {
            let settings = settings(&text.text);
            let says =
                |name: &str, value: &str| settings.get(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
            service.installed = Some(true);
            service.persistent = Some(!says("write_logs", "no") && settings.contains_key("log_file"));
            service.keeps_all = Some(says("max_log_file_action", "keep_logs"));
            if service.exchange == 0 {
                service.exchange = text.exchange;
            }
            for name in ["max_log_file", "num_logs", "max_log_file_action"] {
                service.more.insert(name, json!(settings.get(name)));
            }
        }
        Reading::Missing(_) => missing += 1,
        Reading::Unknown(why) => gaps.push(why),
    }
    if missing == 2 && service.installed.is_none() {
        service.installed = Some(false);
        service.forwards_to = Some(Vec::new());
    }
    match kept.file(AU_REMOTE)? {
        Reading::Missing(_) => service.forwards_to = Some(Vec::new()),
        Reading::Text(text) if settings(&text.text).get("active").is_some_and(|active| active == "yes") => {
            match kept.file(AUDISP_REMOTE)? {
                Reading::Text(remote) => {
                    service.forwards_to = settings(&remote.text)
                        .get("remote_server")
                        .map(|s| vec![s.clone()].into_iter().filter(|server| leaves_host(server)).collect())
                }
                Reading::Missing(why) | Reading::Unknown(why) => gaps.push(why),
            }
        }
        Reading::Text(_) => service.forwards_to = Some(Vec::new()),
        Reading::Unknown(why) => gaps.push(why),
    }
    Ok(service)
}

/// How many rules record something. A rule that never audits any task leaves the others nothing to look at.
fn recording(rules: &[&str]) -> usize {
    let lists = |rule: &&str| {
        let list = rule.strip_prefix("-a ").or_else(|| rule.strip_prefix("-A ")).unwrap_or("-w");
        list.split_whitespace().next().unwrap_or_default().split(',').map(String::from).collect::<Vec<_>>()
    };
    let has = |rule: &&str, word: &str| lists(rule).iter().any(|item| item == word);
    if rules.iter().any(|rule| has(rule, "never") && has(rule, "task")) {
        return 0;
    }
    let silent = |rule: &&str| has(rule, "never") || has(rule, "exclude") || rule.starts_with("-D");
    rules.iter().filter(|rule| !silent(rule)).count()
}

fn journald(kept: &Kept<'_>, running: Option<&Running>, gaps: &mut Vec<String>) -> io::Result<Service> {
    let mut service = Service::default();
    let mut merged = BTreeMap::new();
    let (mut known, mut found) = (true, false);
    let mut files: Vec<String> = Vec::new();
    for path in JOURNALD {
        match kept.file(path)? {
            Reading::Missing(_) => {}
            Reading::Text(_) => {
                files.push(path.into());
                break;
            }
            Reading::Unknown(why) => {
                gaps.push(why);
                known = false;
                break;
            }
        }
    }
    // A drop-in of the same name in a later directory replaces the earlier one; all together are read by name.
    let mut by_name = BTreeMap::new();
    for directory in JOURNALD_DROP_INS {
        match kept.directory(directory)? {
            Listing::Entries(_, entries) => {
                let names = entries.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(".conf"));
                by_name.extend(names.map(|name| (name.clone(), format!("{directory}/{name}"))));
            }
            Listing::Missing(_) => {}
            Listing::Unknown(why) => {
                gaps.push(why);
                known = false;
            }
        }
    }
    files.extend(by_name.into_values());
    for path in files {
        match kept.file(&path)? {
            Reading::Text(text) => {
                found = true;
                service.exchange = text.exchange;
                merged.extend(settings(&text.text));
            }
            Reading::Missing(_) => {}
            Reading::Unknown(why) => {
                gaps.push(why);
                known = false;
            }
        }
    }
    service.installed = if found { Some(true) } else { known.then_some(false) };
    let storage = merged.get("storage").map_or("auto".into(), |storage| storage.to_ascii_lowercase());
    service.persistent = match (known, storage.as_str()) {
        (false, _) => None,
        (true, "persistent") => Some(true),
        (true, "volatile" | "none") => Some(false),
        (true, "auto") => match kept.directory(JOURNAL)? {
            Listing::Entries(..) => Some(true),
            Listing::Missing(_) => Some(false),
            Listing::Unknown(why) => {
                gaps.push(why);
                None
            }
        },
        (true, _) => None,
    };
    service.more.insert("storage", json!(known.then_some(storage)));
    service.days_at_most = merged.get("maxretentionsec").filter(|_| known).and_then(|span| days(span));
    service.forwards_to = match kept.file(JOURNAL_UPLOAD)? {
        Reading::Text(text) => match settings(&text.text).get("url").filter(|url| leaves_host(url)) {
            None => Some(Vec::new()),
            Some(url) => running.map(|running| {
                let uploads = running.units.iter().any(|unit| unit == UPLOAD);
                if uploads { vec![url.clone()] } else { Vec::new() }
            }),
        },
        Reading::Missing(_) => Some(Vec::new()),
        Reading::Unknown(why) => {
            gaps.push(why);
            None
        }
    };
    Ok(service)
}

/// A time span of systemd with one unit (`90day`, `1 year`, seconds), in days; 0 sets no limit.
fn days(span: &str) -> Option<f64> {
    let number: String = span.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let seconds = match span[number.len()..].trim() {
        "" | "s" | "sec" | "second" | "seconds" => 1.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        "M" | "month" | "months" => 2_629_800.0,
        "y" | "year" | "years" => 31_557_600.0,
        _ => return None,
    };
    let days = number.parse::<f64>().ok()? * seconds / 86_400.0;
    (days > 0.0 && days.is_finite()).then_some(days)
}

/// Whether a target is not this host by one of its own names for itself.
fn leaves_host(target: &str) -> bool {
    let host = target.split_once("://").map_or(target, |(_, rest)| rest);
    let host = host.trim_start_matches(['(', 'o', 'z', '9', ')']).trim_start_matches('[');
    let loopback = ["localhost", "127.", "::1", "ip6-localhost", "0.0.0.0"];
    !host.is_empty() && !loopback.iter().any(|own| target.starts_with(own) || host.starts_with(own))
}

#[cfg(test)]
mod tests;
