//! The account files: what is removed from them before they are kept, and how the kept text is read. No function here ever returns, keeps
//! or compares a password hash.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};

use crate::redact::Redact;

/// Removes from passwd and shadow lines everything that could be a password hash, leaving its state.
pub(super) fn passwd_redact() -> Redact {
    Redact::nothing().line("passwd-password", "/etc/passwd field 2", password_field).line(
        "password-hash",
        "/etc/passwd, anywhere",
        without_hashes,
    )
}

/// As [`passwd_redact`], for group.
pub(super) fn group_redact() -> Redact {
    Redact::nothing().line("group-password", "/etc/group field 2", password_field).line(
        "password-hash",
        "/etc/group, anywhere",
        without_hashes,
    )
}

/// Keeps of a shadow line only the name, the password's state and the numbers.
pub(super) fn shadow_redact() -> Redact {
    Redact::nothing().line("shadow-password-hash", "/etc/shadow field 2", shadow_line)
}

/// For other files beside them, which hold no hash unless somebody put one there.
pub(super) fn hash_redact(place: &str) -> Redact {
    Redact::nothing().line("password-hash", format!("{place}, anywhere"), without_hashes)
}

/// The state of a password field: `locked`, `empty`, `set=<scheme>` (a colon would end the field) or `unusable`.
fn password_state(field: &[u8]) -> String {
    match field {
        [] => "empty".into(),
        [b'!' | b'*', ..] => "locked".into(),
        [b'$', rest @ ..] => {
            let scheme = rest.split(|byte| *byte == b'$').next().unwrap_or_default();
            let plain = (1..=12).contains(&scheme.len())
                && rest.len() > scheme.len()
                && scheme.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-');
            let scheme = if plain { String::from_utf8_lossy(scheme).into_owned() } else { "unknown".into() };
            format!("set={scheme}")
        }
        [b'_', ..] if field.len() == 20 => "set=bsdi".into(),
        _ if field.len() == 13 => "set=des".into(),
        _ => "unusable".into(),
    }
}

/// Field 2 of a passwd or group line, unless it is the `x` that points to the shadow file.
fn password_field(line: &[u8]) -> Option<Vec<u8>> {
    let mut fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    // A comment is left alone unless it is a line that was commented out.
    if fields.len() < 2 || fields[1] == b"x" || (line.starts_with(b"#") && fields.len() < 4) {
        return None;
    }
    let state = password_state(fields[1]);
    fields[1] = state.as_bytes();
    Some(fields.join(&b':'))
}

fn shadow_line(line: &[u8]) -> Option<Vec<u8>> {
    if line.is_empty() {
        return None;
    }
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    if fields.len() < 2 {
        return Some(b"removed".to_vec());
    }
    let removed = b"removed".as_slice();
    let state = password_state(fields[1]);
    let mut kept = vec![if is_name(fields[0]) { fields[0] } else { removed }, state.as_bytes()];
    for field in fields.iter().skip(2).take(7) {
        let number = field.len() <= 12 && field.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
        kept.push(if number { field } else { removed });
    }
    Some(kept.join(&b':'))
}

fn is_name(field: &[u8]) -> bool {
    let inner = field.strip_suffix(b"$").unwrap_or(field);
    (1..=64).contains(&inner.len())
        && inner.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-+@".contains(byte) || *byte >= 0x80)
}

/// A line without anything that looks like a crypt(5) hash: `$id$` and 16 or more characters of its alphabet.
fn without_hashes(line: &[u8]) -> Option<Vec<u8>> {
    let mut kept: Option<Vec<u8>> = None;
    let mut at = 0;
    while at < line.len() {
        match hash_length(&line[at..]) {
            Some(length) => {
                kept.get_or_insert_with(|| line[..at].to_vec()).extend_from_slice(b"<hash removed>");
                at += length;
            }
            None => {
                if let Some(kept) = &mut kept {
                    kept.push(line[at]);
                }
                at += 1;
            }
        }
    }
    kept
}

fn hash_length(text: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(b"$")?;
    let scheme = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
    let rest = rest[scheme..].strip_prefix(b"$")?;
    let run = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"./$=,+-".contains(byte)).count();
    ((1..=12).contains(&scheme) && run >= 16).then_some(scheme + 2 + run)
}

/// A line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PasswdLine {
    Account(Account),
    /// `+…` or `-…`: more accounts come from elsewhere.
    Elsewhere(String),
    /// Not understood: the line's number, its first field and why.
    Malformed {
        line: usize,
        name: String,
        why: String,
    },
}

/// An account as `/etc/passwd` has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Account {
    pub line: usize,
    pub name: String,
    /// `x`, or the state of a password that is in `/etc/passwd` itself.
    pub password: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub shell: String,
}

pub(super) fn passwd(text: &str) -> Vec<PasswdLine> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|(index, text)| {
            let line = index + 1;
            let fields: Vec<&str> = text.split(':').collect();
            let name = fields[0].to_string();
            if name.starts_with(['+', '-']) {
                return PasswdLine::Elsewhere(name);
            }
            let malformed = |why: &str| PasswdLine::Malformed { line, name: name.clone(), why: why.into() };
            let &[_, password, uid, gid, _, home, shell] = fields.as_slice() else {
                return malformed(&format!("{} fields instead of 7", fields.len()));
            };
            match (name.is_empty(), uid.parse(), gid.parse()) {
                (true, _, _) => malformed("no name"),
                (_, Err(_), _) => malformed("the uid is no number"),
                (_, _, Err(_)) => malformed("the gid is no number"),
                (false, Ok(uid), Ok(gid)) => PasswdLine::Account(Account {
                    line,
                    password: password.into(),
                    uid,
                    gid,
                    home: home.into(),
                    shell: shell.into(),
                    name,
                }),
            }
        })
        .collect()
}

/// The groups: by name their gid and members; and what was not understood.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub list: Vec<(String, u32, Vec<String>)>,
    pub problems: Vec<String>,
}

pub(super) fn groups(text: &str) -> Groups {
    let mut groups = Groups::default();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [name, ..] if name.starts_with(['+', '-']) => {
                groups.problems.push(format!("/etc/group line {}: more groups come from elsewhere", index + 1));
            }
            [name, _, gid, members] if !name.is_empty() && gid.parse::<u32>().is_ok() => {
                let members = members.split(',').map(str::trim).filter(|member| !member.is_empty()).map(String::from);
                groups.list.push((name.to_string(), gid.parse().unwrap_or_default(), members.collect()));
            }
            _ => groups.problems.push(format!("/etc/group line {} is malformed", index + 1)),
        }
    }
    groups
}

/// What the shadow file says of an account.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Shadow {
    pub password: String,
    pub last_change: Option<NaiveDate>,
    pub must_change: bool,
    pub expires: Option<NaiveDate>,
    /// A date that is no number, or beyond the calendar.
    pub unclear: bool,
}

/// By name; a name twice, or a line that is malformed, is a problem and not an entry.
pub(super) fn shadow(text: &str) -> (BTreeMap<String, Shadow>, Vec<String>) {
    let (mut entries, mut problems, mut doubled) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let fields: Vec<&str> = line.split(':').collect();
        if !(8..=9).contains(&fields.len()) || fields[0] == "removed" {
            problems.push(format!("/etc/shadow line {} is malformed", index + 1));
            continue;
        }
        let (last_change, expires) = (date(fields[2]), date(fields[7]));
        let entry = Shadow {
            password: fields[1].into(),
            must_change: fields[2] == "0",
            last_change: last_change.ok().flatten(),
            expires: expires.ok().flatten(),
            unclear: last_change.is_err() || expires.is_err(),
        };
        if entries.insert(fields[0].to_string(), entry).is_some() {
            problems.push(format!("/etc/shadow line {}: {} is there twice", index + 1, fields[0]));
            doubled.push(fields[0].to_string());
        }
    }
    // Programs differ in which of two lines they take.
    doubled.iter().for_each(|name| drop(entries.remove(name)));
    (entries, problems)
}

/// Days since 1970-01-01; empty and negative: never.
fn date(field: &str) -> Result<Option<NaiveDate>, ()> {
    if field.is_empty() || field.starts_with('-') {
        return Ok(None);
    }
    let days = field.parse().map_err(|_| ())?;
    NaiveDate::default().checked_add_days(Days::new(days)).map(Some).ok_or(())
}

/// The sources of one database in `nsswitch.conf`, `files` where nothing is said; conditions in brackets left out.
pub(super) fn nss_sources(text: &str, database: &str) -> Vec<String> {
    let line = text.lines().map(|line| line.split('#').next().unwrap_or_default()).find_map(|line| {
        let (name, sources) = line.split_once(':')?;
        (name.trim() == database).then_some(sources)
    });
    let Some(sources) = line else { return vec!["files".into()] };
    let mut inside = false;
    let mut found = Vec::new();
    for word in sources.replace('[', " [ ").replace(']', " ] ").split_whitespace() {
        match word {
            "[" => inside = true,
            "]" => inside = false,
            word if !inside => found.push(word.to_string()),
            _ => {}
        }
    }
    found
}

/// A number of `login.defs`.
pub(super) fn login_def(text: &str, key: &str) -> Option<u32> {
    let mut found = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some(key) {
            found = words.next().and_then(|value| value.parse().ok());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn through(redact: &Redact, text: &str) -> (String, u64) {
        let (mut out, mut redactor) = (Vec::new(), redact.begin());
        redactor.push(text.as_bytes(), &mut out).unwrap();
        let count = redactor.finish(&mut out).unwrap().iter().map(|redaction| redaction.count).sum();
        (String::from_utf8(out).unwrap(), count)
    }

    #[test]
    fn of_a_shadow_line_only_name_state_and_numbers_are_kept() {
        let hash = "$y$j9T$abcdefghijklmnop$ABCDEFGHIJKLMNOP";
        for (line, kept) in [
            (format!("root:{hash}:20000:0:99999:7:::"), "root:set=y:20000:0:99999:7:::"),
            ("a:$6$rounds=5000$salt$hash:1:2:3:4:5:6:".into(), "a:set=6:1:2:3:4:5:6:"),
            ("a:!$6$salt$hash:::::::".into(), "a:locked:::::::"),
            ("a:!!:::::::".into(), "a:locked:::::::"),
            ("a:*:::::::".into(), "a:locked:::::::"),
            ("a::::::::".into(), "a:empty:::::::"),
            ("a:abJnggxhB/yWI:::::::".into(), "a:set=des:::::::"),
            ("a:secretword:::::::".into(), "a:unusable:::::::"),
            ("a:$$x:::::::".into(), "a:set=unknown:::::::"),
            ("a:$HashWithoutScheme:::::::".into(), "a:set=unknown:::::::"),
            (format!("{hash}:x:::::::"), "removed:unusable:::::::"),
            (format!("a:x:{hash}:{hash}:::::{hash}:{hash}:{hash}"), "a:unusable:removed:removed:::::removed"),
            (format!("# old: {hash}"), "removed:unusable"),
            (hash.into(), "removed"),
            (format!("a:{hash}"), "a:set=y"),
        ] {
            let (out, count) = through(&shadow_redact(), &line);
            assert_eq!((out.as_str(), count), (kept, 1), "{line}");
        }
    }

    #[test]
    fn a_hash_in_passwd_or_group_is_removed_wherever_it_stands() {
        let hash = "$6$saltsalt$ABCDEFGHIJKLMNOPQRSTUV./";
        let text = format!(
            "root:x:0:0:r:/root:/bin/sh\nold:{hash}:1:1::/:\nodd:x:2:2:was {hash} now not:/:\n#old:{hash}:1\nopen::3:3::/:\n"
        );
        let (out, count) = through(&passwd_redact(), &text);
        let expected = "root:x:0:0:r:/root:/bin/sh\nold:set=6:1:1::/:\nodd:x:2:2:was <hash removed> now not:/:\n\
                        #old:<hash removed>:1\nopen:empty:3:3::/:\n";
        assert_eq!((out.as_str(), count), (expected, 4));
        assert_eq!(through(&group_redact(), &format!("g:{hash}:1:a")).0, "g:set=6:1:a");
    }

    #[test]
    fn a_line_that_was_commented_out_loses_its_hash_too() {
        assert_eq!(
            through(&passwd_redact(), "#old:abJnggxhB/yWI:1:1::/:\n# note: none").0,
            "#old:set=des:1:1::/:\n# note: none"
        );
    }

    #[test]
    fn malformed_passwd_lines_are_kept_apart_and_never_dropped() {
        let text = "root:x:0:0::/root:/bin/sh\nshort:x:1\nbad:x:-1:0::/:/bin/sh\n:x:1:1::/:\n\n# comment\n+@admins::::::\nhuge:x:4294967296:1::/:\n";
        let lines = passwd(text);
        let malformed: Vec<_> = lines
            .iter()
            .filter_map(|line| match line {
                PasswdLine::Malformed { line, name, .. } => Some((*line, name.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(malformed, [(2, "short"), (3, "bad"), (4, ""), (8, "huge")]);
        assert!(lines.contains(&PasswdLine::Elsewhere("+@admins".into())));
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn shadow_dates_count_from_1970() {
        let (entries, problems) =
            shadow("a:locked:20000:0:99999:7::20454:\nb:empty:0:::::-1:\nc:removed\nb:locked:::::::\n");
        assert!(!entries.contains_key("b"), "neither line counts: not an empty password, and not a locked one");
        assert_eq!(entries["a"].last_change.unwrap().to_string(), "2024-10-04");
        assert_eq!(entries["a"].expires.unwrap().to_string(), "2026-01-01");
        assert_eq!(problems.len(), 2);
        assert!(shadow("a:set=y:99999999999:::::x:\n").0["a"].unclear);
    }

    #[test]
    fn sources_are_read_as_nss_does() {
        let text = "# passwd: ldap\npasswd: files [!NOTFOUND=return] sss # tail\ngroup:compat\n";
        assert_eq!(nss_sources(text, "passwd"), ["files", "sss"]);
        assert_eq!(nss_sources(text, "group"), ["compat"]);
        assert_eq!(nss_sources(text, "shadow"), ["files"]);
        assert_eq!(login_def("#UID_MIN 5\nUID_MIN\t 1000\nUID_MINX 3\n", "UID_MIN"), Some(1000));
    }
}
