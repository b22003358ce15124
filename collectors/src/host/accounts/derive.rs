//! Records of accounts, from the kept files. It never fills a gap: what was refused, cut or not understood makes the answers
//! that hang on it `null`, with the reason beside them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::{
    files::{self, Account, Groups, PasswdLine, Shadow},
    logins,
    rules::sudo_rules,
    sudoers::{Rule, Sudoers, Who},
};
use crate::{
    contract::{Evidence, Population, Record, Records},
    host::kept::{Kept, Lines, Reading, Text},
};

/// Groups whose members can become root, or read what only root may.
const PRIVILEGED_GROUPS: [&str; 12] =
    ["root", "sudo", "wheel", "admin", "docker", "podman", "lxd", "incus-admin", "libvirt", "disk", "shadow", "kmem"];

/// Shells that end a session at once, in the directories where the system keeps them.
const NO_LOGIN: [&str; 7] = ["nologin", "false", "true", "null", "sync", "shutdown", "halt"];
const SHELL_DIRECTORIES: [&str; 5] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/dev"];

/// Sources of names whose accounts are in the files read here.
const LOCAL_SOURCES: [&str; 3] = ["files", "compat", "systemd"];

/// Where systemd looks for user records (userdb) and homes.
pub(super) const USERDB: [&str; 5] =
    ["/etc/userdb", "/run/userdb", "/usr/local/lib/userdb", "/usr/lib/userdb", "/var/lib/systemd/home"];

/// What tells last logins; each prints UTC.
pub(super) const LOGINS: [&[&str]; 3] = [&["lastlog2"], &["lastlog"], &["last", "-F", "-w"]];

/// What can make the privileged question unknown, and the group and sudo facts that answer it.
struct Rights {
    groups: Option<Groups>,
    sudoers: Sudoers,
    /// Each with its record's id.
    rules: Vec<(String, Rule)>,
    unknown: Vec<String>,
}

/// See [`crate::contract::Collector::derive`].
pub(super) fn derive(evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
    let kept = Kept::read(evidence)?;
    let nss = match kept.lines("/etc/nsswitch.conf")? {
        Lines::Full(text) => Ok(text.text),
        Lines::Missing => Ok(String::new()),
        Lines::Part(_, why) | Lines::Unknown(why) => Err(why),
    };
    let mut unknown = Vec::new();
    let (sudoers, rules) = sudo_rules(&kept, &nss, out, &mut unknown)?;
    let said_already = unknown.len();
    let groups = match kept.lines("/etc/group")? {
        Lines::Full(text) => {
            let groups = files::groups(&text.text);
            unknown.extend(groups.problems.iter().cloned());
            Some(groups)
        }
        Lines::Missing => {
            unknown.push("/etc/group: is not there".into());
            None
        }
        Lines::Part(_, why) | Lines::Unknown(why) => {
            unknown.push(why);
            None
        }
    };
    match nss {
        // Memberships come from `initgroups` where that is set (nsswitch.conf(5)).
        Ok(ref text) => unknown.extend(["group", "initgroups"].into_iter().filter_map(|name| foreign(text, name))),
        Err(ref why) => unknown.push(why.clone()),
    }
    for path in ["/etc/doas.conf"] {
        match kept.lines(path)? {
            Lines::Missing => {}
            Lines::Full(text)
                if text.text.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#')) => {}
            Lines::Full(_) | Lines::Part(..) => unknown.push(format!("{path}: is there and is not interpreted")),
            Lines::Unknown(why) => unknown.push(why),
        }
    }
    for why in &unknown[said_already..] {
        out.gap(why.clone());
    }
    accounts(&kept, &nss, &Rights { groups, sudoers, rules, unknown }, out)
}

/// Why names of a database come from elsewhere too.
pub(super) fn foreign(nss: &str, database: &str) -> Option<String> {
    let sources = files::nss_sources(nss, database);
    let others: Vec<&str> = sources.iter().map(String::as_str).filter(|name| !LOCAL_SOURCES.contains(name)).collect();
    (!others.is_empty())
        .then(|| format!("/etc/nsswitch.conf: {database} comes from {} too, which is not read here", others.join(", ")))
}

fn accounts(kept: &Kept<'_>, nss: &Result<String, String>, rights: &Rights, out: &mut dyn Records) -> io::Result<()> {
    let mut cut = Vec::new();
    let passwd = match kept.lines("/etc/passwd")? {
        Lines::Full(text) => text,
        Lines::Part(text, why) => {
            cut.push(why);
            text
        }
        Lines::Missing => {
            out.population("account", Population::Unread("/etc/passwd: is not there".into()));
            return Ok(());
        }
        Lines::Unknown(why) => {
            out.population("account", Population::Unread(why));
            return Ok(());
        }
    };
    match nss {
        Err(why) => cut.push(why.clone()),
        Ok(text) => {
            cut.extend(foreign(text, "passwd"));
            if files::nss_sources(text, "passwd").iter().any(|source| source == "systemd") {
                cut.extend(userdb(kept)?);
            }
        }
    }
    let shadow = shadow(kept, out)?;
    let human = human_range(kept, out)?;
    let logins = last_logins(kept, out)?;
    let lines = files::passwd(&passwd.text);
    if !lines.iter().any(|line| matches!(line, PasswdLine::Account(account) if account.uid == 0)) {
        // Every system has one; a file without it was emptied or replaced.
        cut.push("/etc/passwd: holds no account with uid 0, so it is not the whole list".into());
    }
    let mut names: BTreeMap<&str, u32> = BTreeMap::new();
    let mut uids: BTreeMap<u32, u32> = BTreeMap::new();
    let mut malformed = false;
    for line in &lines {
        match line {
            PasswdLine::Account(account) => {
                *names.entry(&account.name).or_default() += 1;
                *uids.entry(account.uid).or_default() += 1;
            }
            PasswdLine::Elsewhere(name) => cut.push(format!("/etc/passwd: {name} takes in accounts from elsewhere")),
            PasswdLine::Malformed { line, why, .. } => {
                malformed = true;
                out.gap(format!("/etc/passwd line {line}: {why}"));
            }
        }
    }
    let all: Vec<&Account> = lines
        .iter()
        .filter_map(|line| match line {
            PasswdLine::Account(account) => Some(account),
            _ => None,
        })
        .collect();
    let mut ids = BTreeSet::new();
    for line in &lines {
        let (number, name, fields) = match line {
            PasswdLine::Elsewhere(_) => continue,
            PasswdLine::Malformed { line, name, why } => (*line, name, unknown_account(name, why)),
            PasswdLine::Account(account) => {
                let standing = standing(account, rights, &all, RUN_AS_DEPTH);
                let mut fields = account_fields(account, &passwd, shadow.as_ref(), human, &logins, &standing);
                // A malformed line could be the one that shares.
                let shared = |count: u32| {
                    if count > 1 {
                        json!(true)
                    } else if malformed || !cut.is_empty() {
                        Value::Null
                    } else {
                        json!(false)
                    }
                };
                fields.insert("uid_shared".into(), shared(uids[&account.uid]));
                fields.insert("name_shared".into(), shared(names[account.name.as_str()]));
                (account.line, &account.name, fields)
            }
        };
        let mut id = if name.is_empty() { format!("line {number}") } else { name.clone() };
        if !ids.insert(id.clone()) {
            id = format!("{id} (line {number})");
            ids.insert(id.clone());
        }
        out.record("account", Record { id, as_of: Some(passwd.at), exchange: passwd.exchange, fields })?;
    }
    out.population("account", whole_unless(cut));
    Ok(())
}

fn whole_unless(cut: Vec<String>) -> Population {
    if cut.is_empty() { Population::Whole } else { Population::Cut(cut.join("; ")) }
}

/// Why systemd may know more accounts than `/etc/passwd`.
fn userdb(kept: &Kept<'_>) -> io::Result<Vec<String>> {
    let mut cut = Vec::new();
    for path in USERDB {
        match kept.names(path)? {
            Ok(None) => {}
            Ok(Some(names))
                if !names.iter().any(|name| [".user", ".identity"].iter().any(|end| name.ends_with(end))) => {}
            Ok(Some(_)) => cut.push(format!("{path}: holds accounts of systemd's, which are not read here")),
            Err(why) => cut.push(why),
        }
    }
    Ok(cut)
}

/// The entries, and whether a name that is not among them has none.
struct Shadows {
    entries: BTreeMap<String, Shadow>,
    complete: bool,
}

fn shadow(kept: &Kept<'_>, out: &mut dyn Records) -> io::Result<Option<Shadows>> {
    let (text, mut complete) = match kept.lines("/etc/shadow")? {
        Lines::Full(text) => (text, true),
        Lines::Part(text, why) => {
            out.gap(why);
            (text, false)
        }
        Lines::Missing => {
            out.gap("/etc/shadow: is not there, so the states of passwords are not known".into());
            return Ok(None);
        }
        Lines::Unknown(why) => {
            out.gap(why);
            return Ok(None);
        }
    };
    let (entries, problems) = files::shadow(&text.text);
    for problem in problems {
        complete = false;
        out.gap(problem);
    }
    Ok(Some(Shadows { entries, complete }))
}

/// The uids of people: shadow's own defaults where `login.defs` says nothing.
fn human_range(kept: &Kept<'_>, out: &mut dyn Records) -> io::Result<Option<(u32, u32)>> {
    Ok(match kept.lines("/etc/login.defs")? {
        Lines::Full(text) => {
            let value = |key, default| files::login_def(&text.text, key).unwrap_or(default);
            Some((value("UID_MIN", 1000), value("UID_MAX", 60_000)))
        }
        Lines::Missing => Some((1000, 60_000)),
        Lines::Part(_, why) | Lines::Unknown(why) => {
            out.gap(why);
            None
        }
    })
}

fn last_logins(kept: &Kept<'_>, out: &mut dyn Records) -> io::Result<BTreeMap<String, DateTime<Utc>>> {
    let mut found: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
    let mut answered = false;
    for argv in LOGINS {
        let read = match kept.command(argv)? {
            Reading::Text(text) if argv[0] == "last" => logins::last(&text.text),
            Reading::Text(text) => logins::lastlog(&text.text),
            Reading::Missing(_) => continue,
            Reading::Unknown(why) => {
                out.gap(why);
                continue;
            }
        };
        answered = true;
        for (name, at) in read {
            let newest = found.entry(name).or_insert(at);
            *newest = at.max(*newest);
        }
    }
    if !answered {
        out.gap("last logins: neither lastlog2 nor lastlog nor last answered".into());
    }
    Ok(found)
}

fn unknown_account(name: &str, why: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("name".into(), json!(name));
    for key in ACCOUNT_FIELDS {
        fields.insert(key.into(), Value::Null);
    }
    fields.insert("malformed".into(), json!(why));
    fields
}

/// Every field of an account beside its name, in order.
const ACCOUNT_FIELDS: [&str; 22] = [
    "uid",
    "gid",
    "shell",
    "login_shell",
    "home",
    "human",
    "password",
    "locked",
    "must_change",
    "last_change",
    "expires",
    "expired",
    "groups",
    "privileged",
    "privileged_by",
    "privileged_text",
    "privileged_unknown",
    "last_login",
    "idle_days",
    "malformed",
    "uid_shared",
    "name_shared",
];

fn account_fields(
    account: &Account,
    passwd: &Text,
    shadow: Option<&Shadows>,
    human: Option<(u32, u32)>,
    logins: &BTreeMap<String, DateTime<Utc>>,
    standing: &Standing,
) -> Map<String, Value> {
    let entry = shadow.and_then(|shadow| shadow.entries.get(&account.name));
    let password = match (account.password.as_str(), entry, shadow) {
        ("x", Some(entry), _) => Some(entry.password.clone()),
        ("x", None, Some(shadow)) if shadow.complete => Some("no entry".into()),
        ("x", ..) => None,
        (state, ..) => Some(state.into()),
    };
    let dates = entry.filter(|entry| !entry.unclear);
    // No entry, no expiry: proved only by a shadow file that was read whole.
    let no_expiry = dates.is_some() || shadow.is_some_and(|shadow| shadow.complete && entry.is_none());
    let expires = dates.and_then(|entry| entry.expires);
    let expired = no_expiry.then(|| expires.is_some_and(|date| date <= passwd.at.date_naive()));
    let last_login = logins.get(&account.name);
    let mut fields = Map::new();
    fields.insert("name".into(), json!(account.name));
    for key in ACCOUNT_FIELDS {
        let value = match key {
            "uid" => json!(account.uid),
            "gid" => json!(account.gid),
            "shell" => json!(account.shell),
            "login_shell" => json!(login_shell(&account.shell)),
            "home" => json!(account.home),
            "human" => json!(human.map(|(from, to)| (from..=to).contains(&account.uid))),
            "locked" => {
                json!(password.as_ref().map(|state| matches!(state.as_str(), "locked" | "no entry" | "unusable")))
            }
            "password" => json!(password.as_ref().map(|state| state.replace('=', ":"))),
            "must_change" => json!(dates.map(|entry| entry.must_change)),
            "last_change" => json!(dates.and_then(|entry| entry.last_change).map(|date| date.to_string())),
            "expires" => json!(expires.map(|date| date.to_string())),
            "expired" => json!(expired),
            "groups" => {
                json!(standing.groups.as_ref().map(|groups| groups.iter().map(|(name, _)| name).collect::<Vec<_>>()))
            }
            "privileged" => json!(standing.privileged()),
            "privileged_by" => json!(standing.by),
            "privileged_text" => json!(standing.by.join(", ")),
            "privileged_unknown" => match standing.privileged() {
                None => json!(standing.unknown.join("; ")),
                Some(_) => Value::Null,
            },
            "last_login" => json!(last_login.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true))),
            // A login to come is a wrong clock, and no recent login.
            "idle_days" => json!(last_login.map(|at| (passwd.at - *at).num_days()).filter(|days| *days >= 0)),
            _ => Value::Null,
        };
        fields.insert(key.into(), value);
    }
    fields
}

/// Whether a shell lets in; `None` for a program of a usual name in an unusual place.
fn login_shell(shell: &str) -> Option<bool> {
    let (directory, name) = shell.rsplit_once('/').unwrap_or(("", shell));
    match (NO_LOGIN.contains(&name), SHELL_DIRECTORIES.contains(&directory)) {
        (false, _) => Some(true),
        (true, true) => Some(false),
        (true, false) => None,
    }
}

/// What an account may do, by which paths, and what is not known of it.
struct Standing {
    groups: Option<Vec<(String, u32)>>,
    by: Vec<String>,
    unknown: Vec<String>,
}

impl Standing {
    fn privileged(&self) -> Option<bool> {
        match (self.by.is_empty(), self.unknown.is_empty()) {
            (false, _) => Some(true),
            (true, true) => Some(false),
            (true, false) => None,
        }
    }
}

/// As whom sudo rules are followed from account to account; further on it is not known.
const RUN_AS_DEPTH: usize = 4;

fn standing(account: &Account, rights: &Rights, all: &[&Account], depth: usize) -> Standing {
    let groups = memberships(account, rights);
    let mut standing = Standing { groups, by: Vec::new(), unknown: rights.unknown.clone() };
    if account.uid == 0 {
        standing.by.push("uid 0".into());
    }
    let mut named: Vec<&str> = standing.groups.iter().flatten().map(|(name, _)| name.as_str()).collect();
    let zero = account.gid == 0 || standing.groups.iter().flatten().any(|(_, gid)| *gid == 0);
    if zero && !named.contains(&"root") {
        named.push("root");
    }
    let named: Vec<String> =
        named.into_iter().filter(|name| PRIVILEGED_GROUPS.contains(name)).map(|name| format!("group {name}")).collect();
    standing.by.extend(named);
    let who = Who { name: &account.name, uid: account.uid, groups: standing.groups.as_deref() };
    for (id, rule) in &rights.rules {
        match (rights.sudoers.is_for(rule, &who), rights.sudoers.gives_root(rule)) {
            (Some(true), Some(true)) => standing.by.push(format!("sudo rule {id}")),
            (Some(false), _) | (_, Some(false)) => {}
            _ => standing.unknown.push(format!("whether sudo rule {id} gives root to this account is not known")),
        }
    }
    let mut through = Vec::new();
    for (id, rule) in &rights.rules {
        let is_for = rights.sudoers.is_for(rule, &who);
        if is_for == Some(false) || rights.sudoers.gives_root(rule) != Some(false) {
            continue;
        }
        through.extend(run_as(id, rule, is_for, account, rights, all, depth));
    }
    for (sure, says) in through {
        if sure { standing.by.push(says) } else { standing.unknown.push(says) }
    }
    standing.by.dedup();
    standing
}

/// What a rule that does not give root gives all the same: what another privileged account or group may do. Each with whether it is sure.
fn run_as(
    id: &str,
    rule: &Rule,
    is_for: Option<bool>,
    account: &Account,
    rights: &Rights,
    all: &[&Account],
    depth: usize,
) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for group in &rule.runas_groups {
        if PRIVILEGED_GROUPS.contains(&group.as_str()) {
            found.push((is_for == Some(true), format!("sudo rule {id}, with group {group}")));
        }
    }
    for other in all.iter().filter(|other| other.name != account.name) {
        let groups = memberships(other, rights);
        let who = Who { name: &other.name, uid: other.uid, groups: groups.as_deref() };
        let runs_as = rights.sudoers.runs_as(rule, &who);
        if runs_as == Some(false) {
            continue;
        }
        if depth == 0 {
            found.push((false, format!("where sudo rule {id} leads, as {}, is not followed further", other.name)));
            continue;
        }
        match standing(other, rights, all, depth - 1).privileged() {
            Some(false) => {}
            Some(true) if is_for == Some(true) && runs_as == Some(true) => {
                found.push((true, format!("sudo rule {id}, as {}", other.name)));
            }
            _ => found
                .push((false, format!("whether sudo rule {id}, as {}, leads to privilege is not known", other.name))),
        }
    }
    found
}

fn memberships(account: &Account, rights: &Rights) -> Option<Vec<(String, u32)>> {
    rights.groups.as_ref().map(|groups| {
        let mut of: Vec<(String, u32)> = groups
            .list
            .iter()
            .filter(|(_, gid, members)| *gid == account.gid || members.contains(&account.name))
            .map(|(name, gid, _)| (name.clone(), *gid))
            .collect();
        of.sort();
        of.dedup();
        of
    })
}
