//! Kept answers by what was asked, with a cut answer told from a full one. It never takes a refusal for an empty answer.

use std::io;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::contract::{Answer, Evidence, Exchange};

/// What there is to know of a question.
pub(super) enum Heard {
    Full(Text),
    /// Some of it, and why not all.
    Part(Text, String),
    Missing,
    Unknown(String),
}

pub(super) struct Text {
    pub exchange: u64,
    pub at: DateTime<Utc>,
    pub text: String,
}

pub(super) struct Kept<'a> {
    evidence: &'a dyn Evidence,
    exchanges: Vec<Exchange>,
}

impl<'a> Kept<'a> {
    /// Reads the index of exchanges.
    pub fn read(evidence: &'a dyn Evidence) -> io::Result<Self> {
        Ok(Self { evidence, exchanges: evidence.exchanges().collect::<io::Result<_>>()? })
    }

    /// The newest answer to a question: an operation and one member of its request.
    pub fn hear(&self, operation: &str, member: &str, what: &Value) -> io::Result<Heard> {
        let words = match what {
            Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            other => other.as_str().unwrap_or_default().to_string(),
        };
        let asked =
            |exchange: &&Exchange| exchange.operation == operation && exchange.request.get(member) == Some(what);
        let Some(exchange) = self.exchanges.iter().rev().find(asked) else {
            return Ok(Heard::Unknown(format!("{words}: was not asked")));
        };
        let mut why = format!("{words}: {}", exchange.detail);
        if let Some(said) = exchange.stderr.lines().map(str::trim).find(|line| !line.is_empty()) {
            why = format!("{why}: {said}");
        }
        if exchange.answer == Answer::Denied && !exchange.caller.starts_with("uid 0") {
            why.push_str("; run as root to know");
        }
        let text = || -> io::Result<Text> {
            let text = String::from_utf8_lossy(&self.evidence.body(exchange)?).into_owned();
            Ok(Text { exchange: exchange.number, at: exchange.ended_at, text })
        };
        Ok(match exchange.answer {
            Answer::Ok if exchange.end.is_some() => Heard::Full(text()?),
            Answer::Ok => Heard::Unknown(format!("{words}: its end was not seen")),
            Answer::Missing => Heard::Missing,
            _ if exchange.body.is_some() && operation == "read-file" => {
                let mut text = text()?;
                // The last line may be half.
                text.text.truncate(text.text.rfind('\n').map_or(0, |at| at + 1));
                Heard::Part(text, why)
            }
            _ => Heard::Unknown(why),
        })
    }

    /// A file's text.
    pub fn file(&self, path: &str) -> io::Result<Heard> {
        self.hear("read-file", "path", &json!(path))
    }

    /// The names of regular files and links in a directory; `None`: it is not there.
    pub fn names(&self, path: &str) -> io::Result<Result<Option<Vec<String>>, String>> {
        Ok(match self.hear("list-directory", "path", &json!(path))? {
            Heard::Missing => Ok(None),
            Heard::Part(_, why) | Heard::Unknown(why) => Err(why),
            Heard::Full(text) => super::file_names(text.text.as_bytes())
                .map(Some)
                .map_err(|error| format!("{path}: the kept list cannot be read: {error}")),
        })
    }
}
