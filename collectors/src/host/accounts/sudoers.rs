//! Reads sudoers(5) text: who may run what as whom. It never guesses: a line that it does not understand is a [`Problem`], and whatever
//! could hang on it is unknown.

use std::collections::BTreeMap;

/// Deeper than this, an alias is taken for a loop.
const ALIAS_DEPTH: usize = 16;

/// One line, continuations joined, comments removed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Line {
    /// `@include` or `#include`.
    Include(String),
    /// `@includedir` or `#includedir`.
    IncludeDirectory(String),
    Other {
        line: usize,
        text: String,
    },
}

/// A line that was not understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    pub file: String,
    pub line: usize,
    pub why: String,
}

/// A grant: the commands of one user specification that share users, hosts, run-as and tags.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub file: String,
    pub line: usize,
    pub who: Vec<String>,
    pub hosts: Vec<String>,
    pub runas_users: Vec<String>,
    pub runas_groups: Vec<String>,
    /// `None`: a `Defaults` line makes it depend on more than this line.
    pub nopasswd: Option<bool>,
    pub commands: Vec<String>,
}

/// All that a sudoers file and its includes say.
#[derive(Debug, Clone, Default)]
pub(super) struct Sudoers {
    pub rules: Vec<Rule>,
    pub problems: Vec<Problem>,
    aliases: BTreeMap<(Kind, String), Vec<String>>,
    no_authentication: bool,
    narrow_no_authentication: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    User,
    Runas,
    Host,
    Command,
}

/// An account, as far as user lists ask.
pub(super) struct Who<'a> {
    pub name: &'a str,
    pub uid: u32,
    /// `None`: not all of its groups are known.
    pub groups: Option<&'a [(String, u32)]>,
}

/// Splits a file into lines and directives, in order.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let mut found = Vec::new();
    let mut joined = String::new();
    let mut started = 0;
    for (index, raw) in text.lines().enumerate() {
        if joined.is_empty() {
            started = index + 1;
        }
        let raw = raw.strip_suffix('\r').unwrap_or(raw);
        if let Some(part) = raw.strip_suffix('\\')
            && !part.ends_with('\\')
        {
            let whole = format!("{joined}{part}");
            // A comment ends at its line, whatever stands at its end.
            if without_comment(&whole).len() == whole.len() {
                joined = whole + " ";
                continue;
            }
        }
        joined.push_str(raw);
        found.extend(directive(&std::mem::take(&mut joined), started));
    }
    if !joined.is_empty() {
        found.extend(directive(&joined, started));
    }
    found
}

fn directive(text: &str, line: usize) -> Option<Line> {
    let text = text.trim();
    let include = |word: &str| {
        let rest = text.strip_prefix(['@', '#'])?.strip_prefix(word)?;
        rest.starts_with([' ', '\t']).then(|| path(rest.trim()))
    };
    if let Some(path) = include("includedir") {
        return Some(Line::IncludeDirectory(path));
    }
    if let Some(path) = include("include") {
        return Some(Line::Include(path));
    }
    let text = without_comment(text).trim();
    (!text.is_empty()).then(|| Line::Other { line, text: text.into() })
}

/// An included path: in quotes, or up to a comment, with escaped spaces.
fn path(text: &str) -> String {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted.split('"').next().unwrap_or_default().into();
    }
    let mut found = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => found.extend(characters.next()),
            ' ' | '\t' => break,
            other => found.push(other),
        }
    }
    found
}

/// Cuts at `#`, except where it begins a numeric id: in a user list (before the `=`, or in an alias of users) or within run-as parentheses.
fn without_comment(text: &str) -> &str {
    let bytes = text.as_bytes();
    let names = ["User_Alias", "Runas_Alias"].iter().any(|word| text.trim_start().starts_with(word));
    let (mut quoted, mut escaped, mut parentheses, mut commands) = (false, false, 0_u32, false);
    for (at, byte) in text.bytes().enumerate() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match byte {
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'(' if !quoted => parentheses += 1,
            b')' if !quoted => parentheses = parentheses.saturating_sub(1),
            b'=' if !quoted && parentheses == 0 => commands = !names,
            b'#' if !quoted => {
                let number = bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
                if !number || (commands && parentheses == 0) {
                    return &text[..at];
                }
            }
            _ => {}
        }
    }
    text
}

/// Whether a name in an included directory is read: sudo leaves out those with a dot or a tilde at the end.
pub(super) fn is_read_from_directory(name: &str) -> bool {
    !name.contains('.') && !name.ends_with('~')
}

/// A path relative to the file that includes it. `None` where it depends on the host's name (`%h`).
pub(super) fn resolve(included: &str, by: &str) -> Option<String> {
    if included.contains("%h") {
        return None;
    }
    if included.starts_with('/') {
        return Some(included.trim_end_matches('/').into());
    }
    let directory = by.rsplit_once('/').map_or("", |(directory, _)| directory);
    Some(format!("{directory}/{}", included.trim_end_matches('/')))
}

impl Sudoers {
    /// Takes one line of one file.
    pub fn line(&mut self, file: &str, line: usize, text: &str) {
        if let Err(why) = self.take(file, line, text) {
            self.problems.push(Problem { file: file.into(), line, why });
        }
    }

    fn take(&mut self, file: &str, line: usize, text: &str) -> Result<(), String> {
        let word = text.split([' ', '\t']).next().unwrap_or_default();
        if word.starts_with("Defaults") {
            self.defaults(word, text);
            return Ok(());
        }
        let kind = match word {
            "User_Alias" => Some(Kind::User),
            "Runas_Alias" => Some(Kind::Runas),
            "Host_Alias" => Some(Kind::Host),
            "Cmnd_Alias" | "Cmd_Alias" => Some(Kind::Command),
            _ => None,
        };
        match kind {
            Some(kind) => self.alias(kind, text[word.len()..].trim()),
            None => self.specification(file, line, text),
        }
    }

    /// `!authenticate` takes the password away, for everybody or for some; so does `exempt_group`.
    fn defaults(&mut self, word: &str, text: &str) {
        let settings = split(&text[word.len()..], ',');
        let off = settings.iter().any(|setting| setting.replace([' ', '\t'], "").ends_with("!authenticate"));
        if off && word == "Defaults" {
            self.no_authentication = true;
        } else if off || settings.iter().any(|setting| setting.contains("exempt_group")) {
            self.narrow_no_authentication = true;
        }
    }

    fn alias(&mut self, kind: Kind, text: &str) -> Result<(), String> {
        // An address of IPv6 has colons of its own.
        let mut parts: Vec<String> = Vec::new();
        for piece in split(text, ':') {
            match parts.last_mut() {
                Some(before) if kind == Kind::Host && cut(&piece, '=').is_none() => before.extend([":", &piece]),
                _ => parts.push(piece),
            }
        }
        for part in parts {
            let (name, list) = cut(&part, '=').ok_or("an alias without `=`")?;
            let name = name.trim();
            if !is_alias(name) {
                return Err(format!("{name:?} is no name of an alias"));
            }
            let list = items(&list).ok_or("an alias with an empty list")?;
            if self.aliases.insert((kind, name.into()), list).is_some() {
                return Err(format!("the alias {name} is defined twice"));
            }
        }
        Ok(())
    }

    fn specification(&mut self, file: &str, line: usize, text: &str) -> Result<(), String> {
        let mut who: Option<Vec<String>> = None;
        let mut rules = Vec::new();
        for part in privileges(text) {
            let (left, right) = cut(&part, '=').ok_or("no `=` after a host list")?;
            let mut words = words(&left);
            let hosts = words.pop().ok_or("no host list")?;
            if who.is_none() {
                let users = words.pop().ok_or("no user list")?;
                who = Some(items(&users).ok_or("an empty user list")?);
            }
            if !words.is_empty() {
                return Err("more than a user list and a host list before `=`".into());
            }
            let base = Rule {
                file: file.into(),
                line,
                who: who.clone().unwrap_or_default(),
                hosts: items(&hosts).ok_or("an empty host list")?,
                runas_users: Vec::new(),
                runas_groups: Vec::new(),
                nopasswd: Some(false),
                commands: Vec::new(),
            };
            rules.extend(commands(base, &right)?);
        }
        self.rules.extend(rules);
        Ok(())
    }

    /// The rules with what `Defaults` do to them; to be asked when every file was taken.
    pub fn effective(&self) -> impl Iterator<Item = Rule> + '_ {
        self.rules.iter().cloned().map(|mut rule| {
            if rule.nopasswd == Some(false) {
                rule.nopasswd = match (self.no_authentication, self.narrow_no_authentication) {
                    (true, _) => Some(true),
                    (false, true) => None,
                    (false, false) => Some(false),
                };
            }
            rule
        })
    }

    /// Whether a rule is for an account: the last item of the list that matches decides. `None`: not known.
    pub fn is_for(&self, rule: &Rule, who: &Who<'_>) -> Option<bool> {
        self.matches(Kind::User, &rule.who, 0, &|item| user_matches(item, who)).map(|found| found == Some(true))
    }

    /// Whether a rule runs something as root, on every host. `None`: not known.
    pub fn gives_root(&self, rule: &Rule) -> Option<bool> {
        let grants = rule.commands.iter().any(|command| !command.starts_with('!'));
        if !grants || (rule.runas_users.is_empty() && !rule.runas_groups.is_empty()) {
            return Some(false);
        }
        let everywhere = self.matches(Kind::Host, &rule.hosts, 0, &|item| match item {
            "ALL" => Some(true),
            _ => None,
        });
        let root = if rule.runas_users.is_empty() {
            Some(Some(true))
        } else {
            self.matches(Kind::Runas, &rule.runas_users, 0, &|item| match item {
                "ALL" | "root" | "#0" => Some(true),
                // Groups and netgroups that root may or may not be in.
                item if item.starts_with(['%', '+']) => None,
                _ => Some(false),
            })
        };
        match (root, everywhere) {
            (Some(Some(true)), Some(Some(true))) => Some(true),
            (Some(Some(true)) | None, _) => None,
            // All but root: still whoever else is privileged.
            (Some(Some(false)), _) if rule.runas_users.iter().any(|user| user == "ALL") => None,
            (Some(_), _) => Some(false),
        }
    }

    /// Whether a rule runs something as this account, on whichever host. `None`: not known.
    pub fn runs_as(&self, rule: &Rule, who: &Who<'_>) -> Option<bool> {
        if !rule.commands.iter().any(|command| !command.starts_with('!')) {
            return Some(false);
        }
        self.matches(Kind::Runas, &rule.runas_users, 0, &|item| user_matches(item, who))
            .map(|found| found == Some(true))
    }

    /// Whether a rule allows any command. `None`: not known.
    pub fn allows_everything(&self, rule: &Rule) -> Option<bool> {
        let all = self.matches(Kind::Command, &rule.commands, 0, &|item| Some(item == "ALL"));
        // Commands taken out again do not stop somebody who may run anything else.
        all.map(|found| found == Some(true) || (found == Some(false) && rule.commands.iter().any(|item| item == "ALL")))
    }

    /// The last matching item of a list: `Some(Some(true))` allowed, `Some(Some(false))` negated, `Some(None)` no item matches; `None`: not
    /// known.
    fn matches(
        &self,
        kind: Kind,
        list: &[String],
        depth: usize,
        item_matches: &dyn Fn(&str) -> Option<bool>,
    ) -> Option<Option<bool>> {
        if depth > ALIAS_DEPTH {
            return None;
        }
        let mut found = Some(None);
        for item in list {
            let plain = item.trim_start_matches('!');
            let negated = (item.len() - plain.len()) % 2 == 1;
            let matched = if plain != "ALL" && is_alias(plain) {
                match self.aliases.get(&(kind, plain.to_string())) {
                    // A user or a host may have a name in capitals; a command or an unknown alias may be anything.
                    None if kind == Kind::User => item_matches(plain).map(|yes| yes.then_some(true)),
                    None => None,
                    Some(list) => self.matches(kind, list, depth + 1, item_matches),
                }
            } else {
                item_matches(plain).map(|yes| yes.then_some(true))
            };
            match matched {
                None => found = None,
                Some(None) => {}
                Some(Some(yes)) => found = Some(Some(yes != negated)),
            }
        }
        found
    }
}

fn user_matches(item: &str, who: &Who<'_>) -> Option<bool> {
    let item = item.trim_matches('"');
    if item == "ALL" {
        return Some(true);
    }
    if let Some(group) = item.strip_prefix('%') {
        if group.starts_with(':') {
            return None;
        }
        let found = who.groups?.iter().any(|(name, gid)| match group.strip_prefix('#') {
            Some(number) => number.parse() == Ok(*gid),
            None => name == group,
        });
        return Some(found);
    }
    if item.starts_with('+') {
        return None;
    }
    Some(match item.strip_prefix('#') {
        Some(number) => number.parse() == Ok(who.uid),
        None => item.replace('\\', "") == who.name,
    })
}

/// Cmnd_Spec_List: run-as and tags hold for the commands that follow, too.
fn commands(base: Rule, text: &str) -> Result<Vec<Rule>, String> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut current = base;
    for part in split(text, ',') {
        let mut rest = part.trim();
        if let Some(inside) = rest.strip_prefix('(') {
            let (runas, after) = inside.split_once(')').ok_or("a run-as list without `)`")?;
            let (users, groups) = runas.split_once(':').unwrap_or((runas, ""));
            current.runas_users = items(users).unwrap_or_default();
            current.runas_groups = items(groups).unwrap_or_default();
            if current.runas_users.is_empty() && current.runas_groups.is_empty() {
                // `()`: as oneself only.
                current.runas_groups = vec!["(own)".into()];
            }
            rest = after.trim();
        }
        loop {
            if let Some(after) = after_option(rest) {
                rest = after;
            } else if let Some((tag, after)) = tag(rest) {
                match tag {
                    "NOPASSWD" => current.nopasswd = Some(true),
                    "PASSWD" => current.nopasswd = Some(false),
                    _ => {}
                }
                rest = after;
            } else {
                break;
            }
        }
        if rest.is_empty() {
            return Err("an empty command".into());
        }
        let command = rest.replace("! ", "!");
        if command.trim_start_matches('!').starts_with("ALL ") {
            return Err("ALL with arguments".into());
        }
        match rules.last_mut() {
            Some(last)
                if last.runas_users == current.runas_users
                    && last.runas_groups == current.runas_groups
                    && last.nopasswd == current.nopasswd =>
            {
                last.commands.push(command);
            }
            _ => rules.push(Rule { commands: vec![command], ..current.clone() }),
        }
    }
    Ok(rules)
}

const TAGS: [&str; 16] = [
    "EXEC",
    "NOEXEC",
    "FOLLOW",
    "NOFOLLOW",
    "INTERCEPT",
    "NOINTERCEPT",
    "LOG_INPUT",
    "NOLOG_INPUT",
    "LOG_OUTPUT",
    "NOLOG_OUTPUT",
    "MAIL",
    "NOMAIL",
    "PASSWD",
    "NOPASSWD",
    "SETENV",
    "NOSETENV",
];

const OPTIONS: [&str; 10] =
    ["ROLE", "TYPE", "PRIVS", "LIMITPRIVS", "NOTBEFORE", "NOTAFTER", "TIMEOUT", "CWD", "CHROOT", "APPARMOR_PROFILE"];

fn tag(text: &str) -> Option<(&'static str, &str)> {
    let (word, rest) = text.split_once(':')?;
    TAGS.iter().find(|tag| **tag == word.trim()).map(|tag| (*tag, rest.trim_start()))
}

/// What follows an option such as `CWD=/tmp`, where there is one.
fn after_option(text: &str) -> Option<&str> {
    let (word, rest) = text.split_once('=')?;
    if !OPTIONS.contains(&word.trim()) {
        return None;
    }
    let rest = rest.trim_start();
    let after = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').map_or("", |(_, after)| after),
        None => rest.split_once([' ', '\t']).map_or("", |(_, after)| after),
    };
    Some(after.trim_start())
}

/// The parts of a user specification: at each `:` that ends no tag and no digest and is not within parentheses.
fn privileges(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for piece in split(text, ':') {
        let continues = parts.last().is_some_and(|before: &String| {
            let word =
                before.rsplit([' ', '\t', ',', '=', ')', '!', ':']).find(|word| !word.is_empty()).unwrap_or_default();
            // Before the `=` a colon belongs to a user: `%:group`.
            split(before, '=').len() == 1
                || TAGS.contains(&word)
                || ["sha224", "sha256", "sha384", "sha512"].contains(&word)
        });
        match parts.last_mut() {
            Some(before) if continues => {
                before.push(':');
                before.push_str(&piece);
            }
            _ => parts.push(piece),
        }
    }
    parts
}

/// Splits at a separator outside of quotes, parentheses and escapes.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped, mut parentheses) = (false, false, 0_u32);
    for character in text.chars() {
        let splits = character == separator && !quoted && !escaped && parentheses == 0;
        escaped = character == '\\' && !escaped;
        match character {
            '"' => quoted = !quoted,
            '(' if !quoted => parentheses += 1,
            ')' if !quoted => parentheses = parentheses.saturating_sub(1),
            _ => {}
        }
        if splits {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(character);
        }
    }
    parts
}

/// Cuts at the first separator outside of quotes, parentheses and escapes.
fn cut(text: &str, separator: char) -> Option<(String, String)> {
    let mut parts = split(text, separator);
    (parts.len() > 1).then(|| {
        let left = parts.remove(0);
        (left, parts.join(&separator.to_string()))
    })
}

/// A comma-separated list, each item trimmed and with its `!`s drawn close; `None` when an item is empty.
fn items(text: &str) -> Option<Vec<String>> {
    let list: Vec<String> = split(text, ',').iter().map(|item| item.trim().replace("! ", "!")).collect();
    (!list.iter().any(String::is_empty)).then_some(list)
}

/// Words, where blanks beside a comma or after `!` do not separate.
fn words(text: &str) -> Vec<String> {
    let close = split(text, ',').iter().map(|item| item.trim().to_string()).collect::<Vec<_>>().join(",");
    let mut words = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for character in close.chars() {
        let last = words.last().map_or("", String::as_str);
        let blank = matches!(character, ' ' | '\t') && !quoted && !escaped;
        escaped = character == '\\' && !escaped;
        if character == '"' {
            quoted = !quoted;
        }
        if blank && last.ends_with('!') {
            continue;
        }
        if blank {
            words.push(String::new());
        } else if let Some(last) = words.last_mut() {
            last.push(character);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_alias(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.chars().all(|other| other.is_ascii_uppercase() || other.is_ascii_digit() || other == '_')
}

#[cfg(test)]
mod tests;
