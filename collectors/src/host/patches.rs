//! `host/patches`: pending updates as the package manager knows them, how old that knowledge is, when something was last upgraded, and
//! whether a restart is due. It never refreshes package lists and never installs: lists that are old or missing make the pending
//! updates unknown, not none. Which update is a security update is the archive's word: an update that supersedes a security update
//! comes from another archive and is then not marked.

use std::{collections::BTreeSet, io, time::Duration};

use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::{Value, json};

use super::{
    access::{Command, Host},
    kept::{Entry, Kept, Listing, Reading, record},
    scrub,
};
use crate::{
    contract::{BoxFuture, CollectError, Collector, Context, Evidence, Need, NeedKind, Population, Records, Spec},
    redact::Redact,
};

const OS_RELEASE: &str = "/etc/os-release";
const APT: [&str; 5] = ["apt-get", "-s", "-o", "Debug::NoLocking=1", "dist-upgrade"];
const APT_LISTS: &str = "/var/lib/apt/lists";
const APT_HISTORY: &str = "/var/log/apt/history.log";
const APT_LOGS: &str = "/var/log/apt";
const DPKG_LOGS: [&str; 2] = ["/var/log/dpkg.log", "/var/log/dpkg.log.1"];
const REBOOT: &str = "/run/reboot-required";
/// On Debian and its kin only a hook here writes [`REBOOT`]; without one, its absence says nothing.
const REBOOT_HOOKS: &str = "/etc/kernel/postinst.d";
const DNF: [&str; 6] = ["dnf", "-q", "-C", "updateinfo", "list", "--security"];
const DNF_CACHES: [&str; 2] = ["/var/cache/dnf", "/var/cache/libdnf5"];
const APK: [&str; 4] = ["apk", "version", "-l", "<"];
const APK_CACHE: &str = "/var/cache/apk";
/// Lists older than this cannot show what is missing, so the list of pending updates is cut.
const LISTS_STALE_HOURS: f64 = 48.0;

const CHECKS: &str = r#"
- id: package-lists-fresh
  item: patch_compliance
  population: patch_state
  pass: 'if .lists_age_hours == null then null else .lists_age_hours <= 24 * ($parameters.package_lists_max_age_days // 2) end'
  says: "the package lists are {lists_age_hours} hours old (of {lists_as_of}): what was published since is not known here"
  unknown: "how old the package lists are is not known: there are none, or they carry no time"
- id: security-archive-configured
  item: patch_compliance
  population: patch_state
  pass: .security_source
  says: "no package list of a security archive is on this host, so that security updates do not reach it"
  unknown: "whether a security archive is configured is not known: {distribution} does not tell by its package lists, or they were not read"
- id: no-pending-security-updates
  item: patch_compliance
  population: patch_state
  pass: 'if .pending_security_count == null then null elif .pending_security_count > 0 then false elif .lists_age_hours == null or .lists_age_hours > 24 * ($parameters.package_lists_max_age_days // 2) then null else true end'
  says: "{pending_security_count} security updates are pending, as of {lists_as_of}; last upgrade: {last_patch}"
  unknown: "whether security updates are pending is not known (package lists of {lists_as_of}, {lists_age_hours} hours old): they are missing or too old, or the answer does not tell security updates from others"
- id: security-update-installed
  item: patch_compliance
  population: 'pending_update | .security != false'
  pass: 'if .security == null then null else .security | not end'
  says: "the security update of {package} from {installed} to {candidate} is not installed"
  unknown: "whether the update of {package} to {candidate} is a security update is not known: it is held back, or its archive does not say"
- id: no-restart-due
  item: patch_compliance
  population: patch_state
  pass: 'if .reboot_required == null then null else .reboot_required | not end'
  says: "a restart is due: updates are installed but not all in use"
  unknown: "whether a restart is due is not known: no hook of the package manager records it here (on Debian, unattended-upgrades does)"
"#;

/// Pending updates and the last upgrade.
pub struct Patches {
    host: Host,
    spec: Spec,
}

impl Patches {
    /// Of this host.
    pub fn new(host: Host) -> Self {
        let need = |kind, what: &str, why: &str| Need { kind, what: what.into(), why: why.into(), cells: Vec::new() };
        let spec = Spec {
            id: "host/patches".into(),
            version: 1,
            title: "Pending security updates, last upgrade, restart due".into(),
            source: "host".into(),
            schedule: "40 5 * * *".into(),
            deadline: Duration::from_secs(600),
            needs: vec![
                need(NeedKind::Command, "apt-get -s, dnf -C or apk version", "which updates are pending"),
                need(
                    NeedKind::File,
                    "/var/lib/apt/lists, /var/cache/dnf or /var/cache/apk",
                    "how old that knowledge is",
                ),
                need(
                    NeedKind::File,
                    "/var/log/apt/history.log or /var/log/dpkg.log",
                    "when something was last upgraded",
                ),
                need(NeedKind::File, REBOOT, "whether a restart is due"),
            ],
            kinds: vec!["patch_state".into(), "pending_update".into()],
            checks: CHECKS.into(),
            inputs: Vec::new(),
            window: None,
        };
        Self { host, spec }
    }
}

impl Collector for Patches {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn collect<'a>(&'a self, context: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(async move {
            let host = &self.host;
            let plain = Redact::nothing();
            let os = host.read_file(context, OS_RELEASE, &plain).await?;
            let os = String::from_utf8_lossy(&context.recorder.body(&os)?).into_owned();
            let command = |argv: &[&str]| {
                let redact = scrub::url_credentials(Redact::nothing(), "package manager output");
                Command::new(argv.iter().copied()).timeout(Duration::from_secs(180)).limit(16 << 20).redact(redact)
            };
            match Family::of(&os) {
                Some(Family::Debian) => {
                    host.list_directory(context, APT_LISTS).await?;
                    host.run(context, command(&APT)).await?;
                    host.list_directory(context, APT_LOGS).await?;
                    let redact = scrub::url_credentials(Redact::nothing(), APT_HISTORY);
                    host.read_file(context, APT_HISTORY, &redact).await?;
                    for log in DPKG_LOGS {
                        host.read_file(context, log, &plain).await?;
                    }
                    host.list_directory(context, REBOOT_HOOKS).await?;
                }
                Some(Family::RedHat) => {
                    for cache in DNF_CACHES {
                        host.list_directory(context, cache).await?;
                    }
                    host.run(context, command(&DNF)).await?;
                }
                Some(Family::Alpine) => {
                    host.list_directory(context, APK_CACHE).await?;
                    host.run(context, command(&APK)).await?;
                }
                None => return Ok(()),
            }
            host.read_file(context, REBOOT, &plain).await?;
            host.run(context, command(&["uname", "-r"])).await?;
            Ok(())
        })
    }

    fn derive(&self, evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
        derive(&Kept::read(evidence)?, out)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Family {
    Debian,
    RedHat,
    Alpine,
}

impl Family {
    fn of(os_release: &str) -> Option<Self> {
        let names =
            [field(os_release, "ID"), field(os_release, "ID_LIKE")].into_iter().flatten().collect::<Vec<_>>().join(" ");
        names.split_whitespace().find_map(|name| match name {
            "debian" | "ubuntu" => Some(Self::Debian),
            "rhel" | "fedora" | "centos" => Some(Self::RedHat),
            "alpine" => Some(Self::Alpine),
            _ => None,
        })
    }
}

fn field(os_release: &str, name: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim().trim_matches(['"', '\'']).to_string())
}

/// An update that the package manager would install, or holds back.
#[derive(Debug, PartialEq)]
struct Pending {
    package: String,
    installed: Option<String>,
    candidate: Option<String>,
    origin: Option<String>,
    security: Option<bool>,
    held: bool,
}

/// What the package manager knows.
struct Known {
    exchange: u64,
    at: DateTime<Utc>,
    pending: Vec<Pending>,
    cut: Option<String>,
}

/// When the package manager's knowledge is from.
#[derive(Default)]
struct Lists {
    as_of: Option<DateTime<Utc>>,
    security_source: Option<bool>,
}

fn derive(kept: &Kept<'_>, out: &mut dyn Records) -> io::Result<()> {
    let unread = |out: &mut dyn Records, why: String| {
        out.population("patch_state", Population::Unread(why.clone()));
        out.population("pending_update", Population::Unread(why));
    };
    let os = match kept.file(OS_RELEASE)? {
        Reading::Text(text) => text,
        Reading::Missing(why) | Reading::Unknown(why) => {
            unread(out, format!("{why}: the distribution is not known"));
            return Ok(());
        }
    };
    let name = field(&os.text, "ID").unwrap_or_default();
    let Some(family) = Family::of(&os.text) else {
        unread(out, format!("{OS_RELEASE}: the distribution {name:?} is not one that this collector knows"));
        return Ok(());
    };
    let (lists, known) = match family {
        Family::Debian => (apt_lists(kept)?, apt(kept)?),
        Family::RedHat => (dnf_lists(kept)?, dnf(kept)?),
        Family::Alpine => (apk_lists(kept)?, apk(kept)?),
    };
    // Without lists the package manager knows of no update, and says "0 upgraded".
    let (known, unknown) = match (&lists, known) {
        (Err(why), _) => (None, Some(why.clone())),
        (Ok(_), Err(why)) => (None, Some(why)),
        (Ok(_), Ok(known)) => (Some(known), None),
    };
    let lists = lists.unwrap_or_default();
    let exchange = known.as_ref().map_or(os.exchange, |known| known.exchange);
    let at = known.as_ref().map_or(os.at, |known| known.at);
    let age = lists.as_of.map(|as_of| (at - as_of).num_minutes() as f64 / 60.0).filter(|hours| *hours >= 0.0);
    let counts = known.as_ref().filter(|known| known.cut.is_none());
    let security = counts.and_then(|known| {
        let sure = known.pending.iter().filter(|update| update.security == Some(true)).count();
        let unsure = known.pending.iter().any(|update| update.security.is_none());
        (sure > 0 || !unsure).then_some(sure)
    });
    let last = last_upgrade(kept)?;
    let kernel = match kept.command(&["uname", "-r"])? {
        Reading::Text(text) => Some(text.text.trim().to_string()),
        _ => None,
    };
    let fields = json!({
        "distribution": name,
        "version": field(&os.text, "VERSION_ID"),
        "kernel": kernel,
        "lists_as_of": lists.as_of,
        "lists_age_hours": age.map(|hours| (hours * 10.0).round() / 10.0),
        "security_source": lists.security_source,
        "pending_count": counts.map(|known| known.pending.len()),
        "pending_security_count": security,
        "last_patch": last.as_ref().map(|last| last.when.to_string()),
        "last_patch_from": last.as_ref().map(|last| last.log.clone()),
        "days_since_patch": last.as_ref().map(|last| (at.date_naive() - last.when.date()).num_days()),
        "rotated_logs": rotated(kept)?,
        "reboot_required": reboot(kept, family)?,
    });
    out.record("patch_state", record("host", lists.as_of, exchange, fields))?;
    out.population("patch_state", Population::Whole);
    if let Some(why) = unknown {
        out.population("pending_update", Population::Unread(why));
    }
    if let Some(known) = known {
        let mut ids = BTreeSet::new();
        for update in known.pending {
            let id = format!("{} {}", update.package, update.candidate.as_deref().unwrap_or("held back"));
            if !ids.insert(id.clone()) {
                continue;
            }
            let fields = json!({
                "package": update.package, "installed": update.installed, "candidate": update.candidate,
                "origin": update.origin, "security": update.security, "held_back": update.held,
            });
            out.record("pending_update", record(id, lists.as_of, known.exchange, fields))?;
        }
        let stale = match age {
            None => Some("it is not known how old the package lists are: newer updates may be missing".to_string()),
            Some(hours) if hours > LISTS_STALE_HOURS => {
                Some(format!("the package lists are {hours:.0} hours old: newer updates are not in them"))
            }
            Some(_) => None,
        };
        let cut = known.cut.or(stale);
        out.population("pending_update", cut.map_or(Population::Whole, Population::Cut));
    }
    Ok(())
}

/// The age of APT's lists is the age of the security archive's statement (its `InRelease`, with the archive's own time): a list that
/// was fetched since but says nothing newer is no newer knowledge.
fn apt_lists(kept: &Kept<'_>) -> io::Result<Result<Lists, String>> {
    let entries = match kept.directory(APT_LISTS)? {
        Listing::Entries(_, entries) => entries,
        Listing::Missing(why) | Listing::Unknown(why) => return Ok(Err(why)),
    };
    let releases: Vec<&Entry> =
        entries.iter().filter(|e| e.name.ends_with("_InRelease") || e.name.ends_with("_Release")).collect();
    if releases.is_empty() {
        return Ok(Err(format!(
            "{APT_LISTS} holds no package lists (apt-get update was never run here): pending updates are not known"
        )));
    }
    let security: Vec<&Entry> = releases.iter().copied().filter(|e| of_security_archive(&e.name)).collect();
    let source = !security.is_empty();
    let times: Option<Vec<_>> =
        if source { security } else { releases }.iter().map(|entry| entry.modified_at).collect();
    let as_of = times.and_then(|times| times.into_iter().min());
    Ok(Ok(Lists { as_of, security_source: Some(source) }))
}

/// Whether a list is of the distribution's security archive, by the name that APT gives it (the address with `_` for `/`): another
/// archive may have the word in its name.
fn of_security_archive(list: &str) -> bool {
    let list = list.to_lowercase();
    let suite = list.rsplit_once("_dists_").map_or("", |(_, rest)| rest).trim_end_matches("_inrelease");
    let suite = suite.trim_end_matches("_release").split('_').next().unwrap_or_default();
    suite.ends_with("-security")
        || ["security.debian.org", "security.ubuntu.com", "debian-security_"].iter().any(|name| list.contains(name))
}

fn apt(kept: &Kept<'_>) -> io::Result<Result<Known, String>> {
    Ok(match kept.command(&APT)? {
        Reading::Missing(why) | Reading::Unknown(why) => Err(why),
        Reading::Text(text) => {
            let (pending, cut) = apt_pending(&text.text);
            Ok(Known { exchange: text.exchange, at: text.at, pending, cut })
        }
    })
}

/// The `Inst` lines of a simulated upgrade, and what it keeps back. Its summary line is the end of the list, and has to agree.
fn apt_pending(text: &str) -> (Vec<Pending>, Option<String>) {
    let mut pending = Vec::new();
    let (mut upgraded, mut keeping, mut bad) = (None, false, 0);
    for line in text.lines() {
        if line.contains("kept back") || line.contains("deferred due to phasing") {
            keeping = true;
            continue;
        }
        if keeping && line.starts_with("  ") {
            pending.extend(line.split_whitespace().map(|package| Pending {
                package: package.into(),
                installed: None,
                candidate: None,
                origin: None,
                security: None,
                held: true,
            }));
            continue;
        }
        keeping = false;
        if line.contains(" upgraded, ") && line.contains(" newly installed, ") {
            upgraded = line.split_whitespace().next().and_then(|number| number.parse::<usize>().ok());
        }
        let Some(rest) = line.strip_prefix("Inst ") else { continue };
        match inst(rest) {
            Some(Some(update)) => pending.push(update),
            Some(None) => {}
            None => bad += 1,
        }
    }
    let found = pending.iter().filter(|update| !update.held).count();
    let cut = match upgraded {
        None => Some("apt-get: the summary line that ends the answer is missing".to_string()),
        Some(_) if bad > 0 => Some(format!("apt-get: {bad} lines could not be read")),
        Some(count) if count != found => Some(format!("apt-get: {count} packages upgraded, but {found} listed")),
        Some(_) => None,
    };
    (pending, cut)
}

/// `package [installed] (candidate origin, origin [architecture]) []`; without `[installed]` it is a new package: `Some(None)`.
fn inst(rest: &str) -> Option<Option<Pending>> {
    let (head, tail) = rest.split_once('(')?;
    let (inside, _) = tail.rsplit_once(')')?;
    let mut head = head.split_whitespace();
    let package = head.next()?.to_string();
    let Some(installed) = head.next() else { return Some(None) };
    let (candidate, origins) = inside.split_once(' ')?;
    let origins = origins.rsplit_once(" [").map_or(origins, |(origins, _)| origins);
    let security = origins.to_lowercase().contains("security");
    Some(Some(Pending {
        package,
        installed: Some(installed.trim_matches(['[', ']']).into()),
        candidate: Some(candidate.into()),
        origin: Some(origins.into()),
        security: Some(security),
        held: false,
    }))
}

fn dnf_lists(kept: &Kept<'_>) -> io::Result<Result<Lists, String>> {
    let mut whys = Vec::new();
    for cache in DNF_CACHES {
        match kept.directory(cache)? {
            Listing::Entries(_, entries) => {
                // Each repository has one; the oldest bounds what is known.
                let oldest = entries.iter().filter(|e| e.name.ends_with(".solv")).filter_map(|e| e.modified_at).min();
                if oldest.is_some() {
                    return Ok(Ok(Lists { as_of: oldest, security_source: None }));
                }
                whys.push(format!("{cache} holds no repository metadata"));
            }
            Listing::Missing(why) | Listing::Unknown(why) => whys.push(why),
        }
    }
    Ok(Err(format!("{}: pending updates are not known", whys.join("; "))))
}

/// `ADVISORY  Severity/Sec.  package-version`. dnf prints no line that ends the list; its exit does.
fn dnf(kept: &Kept<'_>) -> io::Result<Result<Known, String>> {
    let text = match kept.command(&DNF)? {
        Reading::Missing(why) | Reading::Unknown(why) => return Ok(Err(why)),
        Reading::Text(text) => text,
    };
    let (mut pending, mut bad) = (Vec::new(), 0);
    for line in text.text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["Name", "Type", ..] => {}
            [advisory, severity, package] if severity.to_lowercase().contains("sec") => {
                pending.push(dnf_update(advisory, package));
            }
            [advisory, kind, _severity, package, ..] if kind.eq_ignore_ascii_case("security") => {
                pending.push(dnf_update(advisory, package));
            }
            _ => bad += 1,
        }
    }
    let cut = if bad > 0 {
        Some(format!("dnf: {bad} lines could not be read"))
    } else if pending.is_empty() && !advisories(kept)? {
        // Without advisories dnf lists nothing, whatever is pending.
        Some(
            "dnf: no repository's metadata here holds advisories: which updates are security updates is not known"
                .into(),
        )
    } else {
        None
    };
    Ok(Ok(Known { exchange: text.exchange, at: text.at, pending, cut }))
}

/// Whether the metadata of any repository holds advisories.
fn advisories(kept: &Kept<'_>) -> io::Result<bool> {
    for cache in DNF_CACHES {
        if let Listing::Entries(_, entries) = kept.directory(cache)?
            && entries.iter().any(|entry| entry.name.ends_with("-updateinfo.solvx"))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn dnf_update(advisory: &str, package: &str) -> Pending {
    Pending {
        package: package.into(),
        installed: None,
        candidate: Some(advisory.into()),
        origin: None,
        security: Some(true),
        held: false,
    }
}

fn apk_lists(kept: &Kept<'_>) -> io::Result<Result<Lists, String>> {
    Ok(match kept.directory(APK_CACHE)? {
        Listing::Missing(why) | Listing::Unknown(why) => Err(why),
        Listing::Entries(_, entries) => {
            let indexes: Vec<&Entry> = entries.iter().filter(|e| e.name.starts_with("APKINDEX.")).collect();
            match indexes
                .iter()
                .map(|e| e.modified_at)
                .collect::<Option<Vec<_>>>()
                .and_then(|times| times.into_iter().min())
            {
                Some(oldest) => Ok(Lists { as_of: Some(oldest), security_source: None }),
                None => Err(format!("{APK_CACHE} holds no package index: pending updates are not known")),
            }
        }
    })
}

/// `package-version < candidate`. Alpine does not say which update is a security update.
fn apk(kept: &Kept<'_>) -> io::Result<Result<Known, String>> {
    let text = match kept.command(&APK)? {
        Reading::Missing(why) | Reading::Unknown(why) => return Ok(Err(why)),
        Reading::Text(text) => text,
    };
    let (mut pending, mut bad) = (Vec::new(), 0);
    for line in text.text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("Installed:")) {
        match line.split_once(" < ") {
            Some((installed, candidate)) => pending.push(Pending {
                package: installed.trim().into(),
                installed: Some(installed.trim().into()),
                candidate: Some(candidate.trim().into()),
                origin: None,
                security: None,
                held: false,
            }),
            None => bad += 1,
        }
    }
    let cut = if bad > 0 {
        Some(format!("apk: {bad} lines could not be read"))
    } else {
        let headed = text.text.starts_with("Installed:");
        (!headed).then(|| "apk: the heading that begins the list is missing".into())
    };
    Ok(Ok(Known { exchange: text.exchange, at: text.at, pending, cut }))
}

struct Last {
    when: NaiveDateTime,
    log: String,
}

/// The last time that a package was upgraded (not newly installed), by the host's own clock and zone.
fn last_upgrade(kept: &Kept<'_>) -> io::Result<Option<Last>> {
    let mut found: Option<Last> = None;
    let mut keep = |when: NaiveDateTime, log: &str| {
        if found.as_ref().is_none_or(|last| last.when < when) {
            found = Some(Last { when, log: log.into() });
        }
    };
    if let Reading::Text(text) = kept.file(APT_HISTORY)? {
        let mut start = None;
        for line in text.text.lines() {
            if let Some(when) = line.strip_prefix("Start-Date: ") {
                start = instant(when);
            } else if line.starts_with("Upgrade: ")
                && let Some(when) = start
            {
                keep(when, APT_HISTORY);
            }
        }
    }
    for log in DPKG_LOGS {
        if let Reading::Text(text) = kept.file(log)? {
            for line in text.text.lines() {
                let mut words = line.split(' ');
                if let (Some(day), Some(time), Some("upgrade")) = (words.next(), words.next(), words.next())
                    && let Some(when) = instant(&format!("{day} {time}"))
                {
                    keep(when, log);
                }
            }
        }
    }
    Ok(found)
}

fn instant(text: &str) -> Option<NaiveDateTime> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S").ok()
}

/// Logs that hold older upgrades and were not read, so that "never" is not read into a fresh log.
fn rotated(kept: &Kept<'_>) -> io::Result<Value> {
    Ok(match kept.directory(APT_LOGS)? {
        Listing::Entries(_, entries) => {
            let names = entries.into_iter().map(|e| e.name).filter(|name| name.starts_with("history.log."));
            json!(names.collect::<Vec<_>>())
        }
        _ => Value::Null,
    })
}

fn reboot(kept: &Kept<'_>, family: Family) -> io::Result<Option<bool>> {
    Ok(match kept.file(REBOOT)? {
        Reading::Text(_) => Some(true),
        Reading::Unknown(_) => None,
        Reading::Missing(_) if family == Family::Debian => match kept.directory(REBOOT_HOOKS)? {
            Listing::Entries(_, entries) => {
                let writes = |e: &Entry| ["unattended-upgrades", "update-notifier"].contains(&e.name.as_str());
                entries.iter().any(writes).then_some(false)
            }
            _ => None,
        },
        Reading::Missing(_) => None,
    })
}

#[cfg(test)]
mod tests;
