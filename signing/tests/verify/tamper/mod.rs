//! The tamper suite: what is done to a sound archive, by whom, and what `verify` says of it. Each row is one case; the tables in
//! docs/AUDITORS.md are made from the rows.

mod anchors;
mod attacks;
mod history;
mod objects;
mod zips;

use std::collections::BTreeSet;

use signing::verify::{CannotVerify, Options, Verdict, Witnesses};

use super::sound::*;

/// An archive after a change, and the object that a finding must name.
pub struct Made {
    pub memory: Memory,
    pub object: String,
}

/// What must be said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Said {
    /// Exactly these codes, the first of them of the object.
    Finds(&'static [&'static str]),
    /// Nothing is found: this limit says that it cannot be.
    Limit(&'static str),
    /// The format allows it: nothing rests on the object.
    Allowed,
    /// The question is left open, and the object named.
    Cannot,
}

/// What was said: the codes, that of the object first; or the limit that was asked for.
pub fn said(verdict: &Result<Verdict, CannotVerify>, object: &str, wanted: Said) -> String {
    match verdict {
        Err(cannot) if [object, "the kept checkpoint kept"].contains(&cannot.object.as_str()) => "exit 2".to_owned(),
        Err(cannot) => format!("exit 2 for {}", cannot.object),
        Ok(verdict) if verdict.intact => match wanted {
            Said::Limit(code) if verdict.limits.iter().any(|limit| limit.code == code) => format!("limit `{code}`"),
            Said::Allowed => spelled(wanted),
            _ => format!("INTACT with {:?}", verdict.limits.iter().map(|limit| limit.code).collect::<Vec<_>>()),
        },
        Ok(verdict) => {
            let all: BTreeSet<&str> = verdict.findings.iter().map(|finding| finding.code.as_str()).collect();
            let about = [object, "checkpoint"];
            let here = verdict.findings.iter().filter(|finding| about.contains(&finding.object.as_str()));
            let here: BTreeSet<&str> = here.map(|finding| finding.code.as_str()).collect();
            let first = match wanted {
                Said::Finds([first, ..]) if here.contains(first) => Some(*first),
                _ => here.first().copied(),
            };
            let Some(first) = first else {
                let objects: BTreeSet<_> = verdict.findings.iter().map(|f| (f.code.as_str(), &f.object)).collect();
                return format!("nothing of {object}, but {objects:?}");
            };
            let others = all.into_iter().filter(|code| *code != first);
            std::iter::once(first).chain(others).map(|code| format!("`{code}`")).collect::<Vec<_>>().join(" ")
        }
    }
}

/// What must be said, as a table has it.
pub fn spelled(wanted: Said) -> String {
    match wanted {
        Said::Finds(codes) => codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(" "),
        Said::Limit(code) => format!("limit `{code}`"),
        Said::Allowed => "may be".to_owned(),
        Said::Cannot => "exit 2".to_owned(),
    }
}

/// A case, what it must give, and what it gave.
pub struct Row {
    pub case: String,
    pub wanted: String,
    pub found: String,
}

/// Panics with the table where a row is not as it must be.
pub fn all_as_wanted(rows: &[Row]) {
    let wrong = rows.iter().filter(|row| row.wanted != row.found).count();
    let table: String = rows
        .iter()
        .map(|row| {
            let mark = if row.wanted == row.found { ' ' } else { '!' };
            format!("{mark} {}\n      wanted {}\n      found  {}\n", row.case, row.wanted, row.found)
        })
        .collect();
    assert_eq!(wrong, 0, "{wrong} of {} cases\n{table}", rows.len());
}

/// Panics with the table where the one in docs/AUDITORS.md is another.
pub fn as_documented(table: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/AUDITORS.md");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(table), "docs/AUDITORS.md needs this table:\n\n{table}");
}

/// What an auditor has beside the archive and the root key's fingerprint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Means {
    Nothing,
    /// The checkpoint over the whole of the sound archive.
    KeptCheckpoint,
    /// The roots of the authority whose tokens the sound archive has.
    TrustedTime,
    /// The key of the witness that signed the sound archive's checkpoints.
    Witness,
}

impl Means {
    pub const ALL: [Self; 4] = [Self::Nothing, Self::KeptCheckpoint, Self::TrustedTime, Self::Witness];

    pub fn options(self) -> Options<'static> {
        let mut options = trusting();
        match self {
            Self::Nothing => {}
            Self::KeptCheckpoint => options.kept = vec![history::kept()],
            Self::TrustedTime => options.timestamp_roots = history::tsa().roots(),
            Self::Witness => options.witnesses = Witnesses { keys: vec![history::witness()], needed: None },
        }
        options
    }
}

pub fn trusting() -> Options<'static> {
    Options { threads: Some(1), ..Options::trusting(trust()) }
}
