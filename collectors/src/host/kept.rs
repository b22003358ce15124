//! Kept exchanges by what was asked, for deriving. It never takes a refused, cut or unreadable answer for an empty one: whoever wants
//! text gets text, a proof that the thing is not there, or the reason why neither is known.

use std::io;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use crate::contract::{Answer, Evidence, Exchange, Record};

/// A run's exchanges.
pub(super) struct Kept<'a> {
    evidence: &'a dyn Evidence,
    exchanges: Vec<Exchange>,
}

/// What a question was answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reading {
    /// In full.
    Text(Text),
    /// The file or program is not there; in words.
    Missing(String),
    /// Not known, and why.
    Unknown(String),
}

/// A full answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text {
    pub(super) exchange: u64,
    pub(super) at: DateTime<Utc>,
    pub(super) text: String,
    pub(super) stderr: String,
    pub(super) exit_code: i32,
}

/// What is known of a file of lines, where half of a list still helps.
pub(super) enum Lines {
    /// All of it.
    Full(Text),
    /// Its first lines, and why not all.
    Part(Text, String),
    /// It is not there.
    Missing,
    /// Not known, and why.
    Unknown(String),
}

/// An entry of a listed directory.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Entry {
    pub(super) name: String,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) modified_at: Option<DateTime<Utc>>,
}

/// A listed directory.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Listing {
    /// All of its entries.
    Entries(u64, Vec<Entry>),
    /// It is not there.
    Missing(String),
    /// Not known, and why.
    Unknown(String),
}

impl<'a> Kept<'a> {
    /// Reads the index of exchanges.
    pub(super) fn read(evidence: &'a dyn Evidence) -> io::Result<Self> {
        Ok(Self { evidence, exchanges: evidence.exchanges().collect::<io::Result<_>>()? })
    }

    /// The newest exchange of this operation and request.
    pub(super) fn find(&self, operation: &str, member: &str, value: &Value) -> Option<&Exchange> {
        self.exchanges.iter().rev().find(|e| e.operation == operation && e.request.get(member) == Some(value))
    }

    /// A program's exchange, by its arguments.
    pub(super) fn run(&self, argv: &[&str]) -> Option<&Exchange> {
        self.find("run-command", "argv", &Value::from(argv))
    }

    /// A file's text.
    pub(super) fn file(&self, path: &str) -> io::Result<Reading> {
        self.reading(self.find("read-file", "path", &Value::from(path)), path)
    }

    /// A file's lines. What is not UTF-8 in it is replaced: a comment in another encoding must not hide an account.
    pub(super) fn lines(&self, path: &str) -> io::Result<Lines> {
        let Some(exchange) = self.find("read-file", "path", &Value::from(path)) else {
            return Ok(Lines::Unknown(format!("{path}: was not asked")));
        };
        let body = String::from_utf8_lossy(&self.evidence.body(exchange)?).into_owned();
        let text = |text: String| Text {
            exchange: exchange.number,
            at: exchange.ended_at,
            text,
            stderr: String::new(),
            exit_code: 0,
        };
        Ok(match exchange.answer {
            Answer::Ok if exchange.end.is_some() => Lines::Full(text(body)),
            Answer::Ok => Lines::Unknown(format!("{path}: its end was not seen")),
            Answer::Missing => Lines::Missing,
            _ if exchange.body.is_some() => {
                // The last line may be half.
                let whole = body.rfind('\n').map_or("", |at| &body[..=at]);
                Lines::Part(text(whole.into()), why_not(exchange, path))
            }
            _ => Lines::Unknown(why_not(exchange, path)),
        })
    }

    /// The names of regular files and links in a directory; `None`: it is not there.
    pub(super) fn names(&self, path: &str) -> io::Result<Result<Option<Vec<String>>, String>> {
        Ok(match self.directory(path)? {
            Listing::Entries(_, entries) => {
                Ok(Some(entries.into_iter().filter(Entry::is_file).map(|e| e.name).collect()))
            }
            Listing::Missing(_) => Ok(None),
            Listing::Unknown(why) => Err(why),
        })
    }

    /// A program's output.
    pub(super) fn command(&self, argv: &[&str]) -> io::Result<Reading> {
        self.reading(self.run(argv), &argv.join(" "))
    }

    /// A directory's entries.
    pub(super) fn directory(&self, path: &str) -> io::Result<Listing> {
        Ok(match self.reading(self.find("list-directory", "path", &Value::from(path)), path)? {
            Reading::Missing(why) => Listing::Missing(why),
            Reading::Unknown(why) => Listing::Unknown(why),
            Reading::Text(text) => match serde_json::from_str(&text.text) {
                Ok(entries) => Listing::Entries(text.exchange, entries),
                Err(error) => Listing::Unknown(format!("{path}: the kept list cannot be read: {error}")),
            },
        })
    }

    /// One exchange's text; `what` names the question in reasons.
    pub(super) fn reading(&self, exchange: Option<&Exchange>, what: &str) -> io::Result<Reading> {
        let Some(exchange) = exchange else { return Ok(Reading::Unknown(format!("{what}: was not asked"))) };
        Ok(match exchange.answer {
            Answer::Missing => Reading::Missing(format!("{what}: {}", exchange.detail)),
            Answer::Ok if exchange.end.is_none() => Reading::Unknown(format!("{what}: its end was not seen")),
            Answer::Ok => match String::from_utf8(self.evidence.body(exchange)?) {
                Ok(text) if !text.contains('\0') => Reading::Text(Text {
                    exchange: exchange.number,
                    at: exchange.ended_at,
                    text,
                    stderr: exchange.stderr.clone(),
                    exit_code: exchange.exit_code.unwrap_or(0),
                }),
                _ => Reading::Unknown(format!("{what}: the answer is no text")),
            },
            _ => {
                let mut why = why_not(exchange, what);
                // Some programs say on standard output what went wrong.
                let body = self.evidence.body(exchange)?;
                let first = String::from_utf8_lossy(&body).lines().next().unwrap_or_default().trim().to_string();
                if exchange.exit_code.is_some() && exchange.stderr.trim().is_empty() && !first.is_empty() {
                    why.push_str(": ");
                    why.extend(first.chars().filter(|c| !c.is_control()).take(200));
                }
                Reading::Unknown(why)
            }
        })
    }
}

/// Why an exchange has no full answer, for a person.
pub(super) fn why_not(exchange: &Exchange, what: &str) -> String {
    let mut why = format!("{what}: {}", exchange.detail);
    let said = exchange.stderr.trim().lines().take(3).collect::<Vec<_>>().join("; ");
    if !said.is_empty() {
        why.push_str(": ");
        why.push_str(&said);
    }
    if exchange.answer == Answer::Denied && !exchange.caller.starts_with("uid 0") {
        why.push_str("; run as root to know");
    }
    why
}

impl Entry {
    /// A regular file, or a link, which may lead to one.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.kind.as_str(), "file" | "link")
    }
}

/// The entries of a directory as they were just kept; none where the list was not kept, which deriving then says.
pub(super) fn entries(body: &[u8]) -> Vec<Entry> {
    serde_json::from_slice(body).unwrap_or_default()
}

/// Their names.
pub(super) fn names(body: &[u8]) -> Vec<String> {
    entries(body).into_iter().map(|entry| entry.name).collect()
}

/// A record; `fields` is an object.
pub(super) fn record(id: impl Into<String>, as_of: Option<DateTime<Utc>>, exchange: u64, fields: Value) -> Record {
    let fields = match fields {
        Value::Object(fields) => fields,
        other => [("value".to_string(), other)].into_iter().collect(),
    };
    Record { id: id.into(), as_of, exchange, fields }
}

/// Whether `name` fits a shell pattern of `*` and `?`.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut pi, mut ni, mut star) = (0, 0, None);
    while ni < n.len() {
        if pi < p.len() && p[pi] == '*' {
            star = Some((pi, ni));
            pi += 1;
        } else if pi < p.len() && (p[pi] == '?' || p[pi] == n[ni]) {
            pi += 1;
            ni += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            pi = at + 1;
            ni = taken + 1;
        } else {
            return false;
        }
    }
    p[pi..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::FakeEvidence;

    #[test]
    fn only_a_full_answer_is_text() {
        let evidence = FakeEvidence::new()
            .file("/a", "x")
            .file("/binary", b"\xff\x00".to_vec())
            .no_file("/denied", Answer::Denied, "permission denied")
            .no_file("/missing", Answer::Missing, "no such file")
            .half_file("/half", "x");
        let kept = Kept::read(&evidence).unwrap();
        assert!(matches!(kept.file("/a").unwrap(), Reading::Text(text) if text.text == "x" && text.exchange == 1));
        assert!(matches!(kept.file("/missing").unwrap(), Reading::Missing(_)));
        for path in ["/binary", "/denied", "/half", "/never-asked"] {
            assert!(matches!(kept.file(path).unwrap(), Reading::Unknown(why) if why.contains(path)), "{path}");
        }
    }

    #[test]
    fn patterns_fit_as_in_a_shell() {
        assert!(fits("*.conf", "10-site.conf") && fits("a?c", "abc") && fits("*", "") && fits("a*b*c", "aXbYbZc"));
        assert!(!fits("*.conf", "x.conf.bak") && !fits("a?c", "ac") && !fits("", "x"));
    }
}
