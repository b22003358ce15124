//! rsyslog's configuration, in its old form and in the new: what it writes to disk and where it sends messages. It never takes a comment,
//! a template or a directive for an action.

use std::io;

use super::{RSYSLOG, RSYSLOG_DROP_INS, Service, leaves_host};
use crate::{
    host::{
        kept::{Kept, Listing, Reading},
        scrub,
    },
    redact::Redact,
};

/// Actions of rsyslog may hold a database's password or a log service's token.
pub(super) fn redaction(place: &str) -> Redact {
    let settings = &["pwd", "password", "passwd", "pass", "token", "secret", "apikey", "api_key", "accesskey"];
    let redact = scrub::url_credentials(Redact::nothing(), place);
    let redact = scrub::values_of(redact, "rsyslog-secret", place, settings);
    redact
        .line("rsyslog-database-action", format!("{place}, :ommysql: and :ompgsql: actions"), |line| {
            let text = String::from_utf8_lossy(line);
            let at = [":ommysql:", ":ompgsql:"].iter().find_map(|name| text.find(name).map(|at| at + name.len()))?;
            // host,database,user,password
            let after: Vec<&str> = text[at..].splitn(4, ',').collect();
            let [host, database, user, _] = after[..] else { return None };
            Some(format!("{}{host},{database},{user},removed", &text[..at]).into_bytes())
        })
        .line("rsyslog-token", format!("{place}, structured data before @"), |line| {
            let text = String::from_utf8_lossy(line);
            let (before, rest) = text.split_once('[')?;
            let (token, after) = rest.split_once('@')?;
            let like = token.len() >= 16 && token.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            like.then(|| format!("{before}[removed@{after}").into_bytes())
        })
}

/// What its configuration keeps and sends.
pub(super) fn rsyslog(kept: &Kept<'_>, gaps: &mut Vec<String>) -> io::Result<Service> {
    let mut service = Service::default();
    let (mut text, mut known) = (String::new(), true);
    match kept.file(RSYSLOG)? {
        Reading::Missing(_) => {
            service.installed = Some(false);
            service.forwards_to = Some(Vec::new());
            return Ok(service);
        }
        Reading::Unknown(why) => {
            gaps.push(why);
            known = false;
        }
        Reading::Text(main) => {
            service.installed = Some(true);
            service.exchange = main.exchange;
            text.push_str(&main.text);
        }
    }
    match kept.directory(RSYSLOG_DROP_INS)? {
        Listing::Missing(_) => {}
        Listing::Unknown(why) => {
            gaps.push(why);
            known = false;
        }
        Listing::Entries(_, entries) => {
            for entry in entries.into_iter().filter(|entry| entry.name.ends_with(".conf")) {
                match kept.file(&format!("{RSYSLOG_DROP_INS}/{}", entry.name))? {
                    Reading::Text(more) => {
                        text.push('\n');
                        text.push_str(&more.text);
                    }
                    Reading::Missing(_) => {}
                    Reading::Unknown(why) => {
                        gaps.push(why);
                        known = false;
                    }
                }
            }
        }
    }
    let text = without_comments(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let elsewhere = |line: &&&str| {
        let lower = line.to_ascii_lowercase();
        (lower.starts_with("$includeconfig") || lower.starts_with("include(")) && !line.contains(RSYSLOG_DROP_INS)
    };
    if let Some(line) = lines.iter().find(elsewhere) {
        gaps.push(format!("{RSYSLOG}: \"{line}\" was not followed"));
        known = false;
    }
    let targets = targets(&lines);
    service.forwards_to = (known || !targets.is_empty()).then_some(targets);
    let kept_on_disk = |file: &str| file.starts_with("/var/") && !file.starts_with("/var/run/");
    let writes = legacy_actions(&lines).iter().any(|action| kept_on_disk(action.trim_start_matches('-')))
        || modern_actions(&lines).iter().any(|action| {
            let is = |name: &str, found: &dyn Fn(&str) -> bool| value_in(action, name).is_some_and(|v| found(&v));
            is("type", &|kind| kind.eq_ignore_ascii_case("omfile")) && is("file", &kept_on_disk)
        });
    service.persistent = if writes { Some(true) } else { known.then_some(false) };
    Ok(service)
}

/// Without `#` and `/* */` comments.
fn without_comments(text: &str) -> String {
    let (mut out, mut quoted, mut before) = (String::with_capacity(text.len()), None, '\n');
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (quoted, c) {
            (None, '#') if before.is_whitespace() => while rest.next_if(|next| *next != '\n').is_some() {},
            // Not within a path: `/etc/rsyslog.d/*.conf`.
            (None, '/') if before.is_whitespace() && rest.peek() == Some(&'*') => {
                let mut star = false;
                rest.next();
                for next in rest.by_ref() {
                    if star && next == '/' {
                        break;
                    }
                    star = next == '*';
                }
            }
            _ => {
                quoted = match (quoted, c) {
                    (Some(open), c) if open == c => None,
                    (None, '"' | '\'') => Some(c),
                    // A quote that is not closed on its line is an apostrophe.
                    (_, '\n') => None,
                    (open, _) => open,
                };
                out.push(c);
            }
        }
        before = c;
    }
    out
}

/// The actions of lines in the old form (`selector action`): the last word, outside of parentheses. Directives (`$…`) have none.
fn legacy_actions<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let (mut depth, mut found) = (0_i64, Vec::new());
    for line in lines {
        let before = depth;
        let count = |c: char| line.matches(c).count() as i64;
        // `@@(o)host` opens and closes its own.
        depth = (depth + count('(') - count(')')).max(0);
        let words: Vec<&str> = line.split_whitespace().collect();
        if before == 0 && depth == 0 && !line.starts_with('$') && words.len() > 1 && !words[0].contains('(') {
            found.extend(words.last());
        }
    }
    found
}

/// What stands in the parentheses of each `action(…)`.
fn modern_actions(lines: &[&str]) -> Vec<String> {
    let joined = lines.join(" ");
    joined.split("action(").skip(1).map(|rest| rest.split(')').next().unwrap_or(rest).to_string()).collect()
}

/// `name="value"` of an action.
fn value_in(action: &str, name: &str) -> Option<String> {
    let at = action.to_ascii_lowercase().find(&format!("{name}=\""))? + name.len() + 2;
    action[at..].split('"').next().map(String::from)
}

/// Where rsyslog sends messages: `@host`, `@@host`, `:omrelp:host` and `action(type="omfwd" target="host")`. This host itself is no
/// such place.
pub(super) fn targets(lines: &[&str]) -> Vec<String> {
    let mut targets = Vec::new();
    for action in legacy_actions(lines) {
        let (scheme, target) = if let Some(target) = action.strip_prefix("@@") {
            ("tcp", target)
        } else if let Some(target) = action.strip_prefix('@') {
            ("udp", target)
        } else if let Some(target) = action.strip_prefix(":omrelp:") {
            ("relp", target)
        } else {
            continue;
        };
        let target = target.split(';').next().unwrap_or(target);
        if leaves_host(target) {
            targets.push(format!("{scheme}:{target}"));
        }
    }
    for action in modern_actions(lines) {
        let value = |name: &str| value_in(&action, name);
        let Some(kind) = value("type").map(|kind| kind.to_ascii_lowercase()) else { continue };
        if ["omfwd", "omrelp", "omelasticsearch", "omhttp", "omkafka", "omgssapi"].contains(&kind.as_str()) {
            let target = value("target").or_else(|| value("server")).or_else(|| value("broker"));
            // Without one, Elasticsearch is asked for on this host, and the others do not start.
            let Some(target) = target.filter(|target| leaves_host(target)) else { continue };
            targets.push(format!("{}:{target}", value("protocol").unwrap_or(kind)));
        }
    }
    targets.sort();
    targets.dedup();
    targets
}
