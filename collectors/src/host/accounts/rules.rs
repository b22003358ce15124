//! Records of sudo rules: sudoers with its includes, followed through the kept files as sudo follows them.

use std::{collections::BTreeMap, io};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    derive::foreign,
    sudoers::{self, Line, Rule, Sudoers},
};
use crate::{
    contract::{Population, Record, Records},
    host::kept::{Kept, Lines},
};

/// Included files may include others this deep, as in sudo.
const INCLUDE_DEPTH: usize = 128;

/// Where sudo begins to read: the first that is there of sudo's own, and sudo-rs's.
pub(super) const SUDOERS: [&str; 3] = ["/etc/sudoers", "/usr/etc/sudoers", "/etc/sudoers-rs"];

/// Where sudo is told which plugins decide, and which file they read (sudo.conf(5)).
pub(super) const SUDO_CONF: &str = "/etc/sudo.conf";

/// Why sudo's rules may come from elsewhere than its own sudoers file.
fn other_rules(kept: &Kept<'_>) -> io::Result<Option<String>> {
    Ok(match kept.lines(SUDO_CONF)? {
        Lines::Missing => None,
        Lines::Unknown(why) | Lines::Part(_, why) => Some(why),
        Lines::Full(text) => text.text.lines().map(str::trim).find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let own = |path: &str| path.rsplit('/').next() == Some("sudoers.so");
            match words[..] {
                ["Plugin", _, path] if own(path) => None,
                ["Plugin", ..] => Some(format!("{SUDO_CONF}: \"{line}\" lets sudo take rules that are not read here")),
                _ => None,
            }
        }),
    })
}

/// Reads sudoers with its includes, as sudo does, and puts the rules.
pub(super) fn sudo_rules(
    kept: &Kept<'_>,
    nss: &Result<String, String>,
    out: &mut dyn Records,
    unknown: &mut Vec<String>,
) -> io::Result<(Sudoers, Vec<(String, Rule)>)> {
    let mut walk = Walk { kept, sudoers: Sudoers::default(), cut: Vec::new(), sources: BTreeMap::new() };
    let mut there = false;
    for path in SUDOERS {
        // sudo's own second place counts only where the first is not there.
        if there && path == "/usr/etc/sudoers" {
            continue;
        }
        there |= walk.file(path, 0, true)?;
    }
    match nss.as_ref().map(|text| foreign(text, "sudoers")) {
        Ok(None) => {}
        Ok(Some(why)) => walk.cut.push(why),
        Err(why) => walk.cut.push(why.clone()),
    }
    walk.cut.extend(other_rules(kept)?);
    let Walk { sudoers, mut cut, sources, .. } = walk;
    cut.extend(
        sudoers.problems.iter().map(|problem| format!("{} line {}: {}", problem.file, problem.line, problem.why)),
    );
    let mut ids: BTreeMap<String, u32> = BTreeMap::new();
    let mut rules = Vec::new();
    for rule in sudoers.effective() {
        let Some((exchange, at)) = sources.get(&rule.file) else { continue };
        let who = rule.who.join(", ");
        let runas = match (rule.runas_users.is_empty(), rule.runas_groups.is_empty()) {
            (true, true) => "root".to_string(),
            (_, true) => rule.runas_users.join(", "),
            _ => format!("{}:{}", rule.runas_users.join(", "), rule.runas_groups.join(", ")),
        };
        // By content, so that a line added above changes no other rule's id.
        let content = json!([rule.hosts, runas, rule.nopasswd, rule.commands]).to_string();
        let mut id = format!("{}: {who} {}", rule.file, &hex::encode(Sha256::digest(content))[..12]);
        let seen = ids.entry(id.clone()).or_default();
        *seen += 1;
        if *seen > 1 {
            id = format!("{id} #{seen}");
        }
        let fields = json!({
            "who": rule.who,
            "who_text": who,
            "hosts": rule.hosts,
            "runas": runas,
            "nopasswd": rule.nopasswd,
            "commands": rule.commands,
            "all_commands": sudoers.allows_everything(&rule),
            "gives_root": sudoers.gives_root(&rule),
            "file": rule.file,
            "line": rule.line,
        });
        let Value::Object(fields) = fields else { continue };
        out.record("sudo_rule", Record { id: id.clone(), as_of: Some(*at), exchange: *exchange, fields })?;
        rules.push((id, rule));
    }
    unknown.extend(cut.iter().cloned());
    out.population(
        "sudo_rule",
        match (there, cut.is_empty()) {
            (false, true) => Population::Absent("there is no sudoers file, and sudo runs nothing without one".into()),
            (true, true) => Population::Whole,
            (_, false) if rules.is_empty() => Population::Unread(cut.join("; ")),
            (_, false) => Population::Cut(cut.join("; ")),
        },
    );
    Ok((sudoers, rules))
}

struct Walk<'a> {
    kept: &'a Kept<'a>,
    sudoers: Sudoers,
    cut: Vec<String>,
    /// Of each file that was read: its exchange and when.
    sources: BTreeMap<String, (u64, DateTime<Utc>)>,
}

impl Walk<'_> {
    /// Whether the file is there, or could be.
    fn file(&mut self, path: &str, depth: usize, first: bool) -> io::Result<bool> {
        if depth > INCLUDE_DEPTH {
            self.cut.push(format!("{path}: included too deep"));
            return Ok(true);
        }
        let text = match self.kept.lines(path)? {
            Lines::Full(text) => text,
            Lines::Part(text, why) => {
                self.cut.push(why);
                text
            }
            Lines::Missing => return Ok(false),
            // Places that were not looked at because sudo does not either.
            Lines::Unknown(why) if first && why.ends_with("was not asked") && path != SUDOERS[0] => return Ok(false),
            Lines::Unknown(why) => {
                self.cut.push(why);
                return Ok(true);
            }
        };
        if self.sources.insert(path.into(), (text.exchange, text.at)).is_some() {
            self.cut.push(format!("{path}: included more than once"));
            return Ok(true);
        }
        for line in sudoers::lines(&text.text) {
            match line {
                Line::Other { line, text } => self.sudoers.line(path, line, &text),
                Line::Include(target) => match sudoers::resolve(&target, path) {
                    Some(target) => {
                        self.file(&target, depth + 1, false)?;
                    }
                    None => self.cut.push(format!("{path}: includes {target}, which depends on the host's name")),
                },
                Line::IncludeDirectory(target) => match sudoers::resolve(&target, path) {
                    Some(target) => self.directory(&target, depth)?,
                    None => self.cut.push(format!("{path}: includes {target}, which depends on the host's name")),
                },
            }
        }
        Ok(true)
    }

    fn directory(&mut self, path: &str, depth: usize) -> io::Result<()> {
        match self.kept.names(path)? {
            Ok(None) => {}
            Err(why) => self.cut.push(why),
            Ok(Some(names)) => {
                for name in names.iter().filter(|name| sudoers::is_read_from_directory(name)) {
                    self.file(&format!("{path}/{name}"), depth + 1, false)?;
                }
            }
        }
        Ok(())
    }
}
