//! Populations that samples are drawn from: the list, its hash, and the document that freezes hashes in the log before anybody draws.
//! `docs/FORMAT.md`, section 12a.

mod draw;
mod sample;

pub use draw::{Allocation, BadSeed, Seed, allocate, draw, rank, stratified};
pub use sample::{Frozen, How, Interim, Procedure, Redrawn, Sample, SampleItem, Strata, Stratum, Why, redraw};

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{digest::Digest, layout::Job, time::Utc};

/// The kind of the documents.
pub const KIND: &str = "population";

/// The value of [`PopulationDocument::format`].
pub const FORMAT: &str = "evidenced-population/1";

/// The most bytes of a list.
pub const MAX_LIST: u64 = 1024 * 1024 * 1024;

/// The most bytes of a document.
pub const MAX_DOCUMENT: u64 = 64 * 1024 * 1024;

/// `document/population/<sha256>.json`: populations of a period as they were when it was frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PopulationDocument {
    /// `evidenced-population/1`.
    pub format: String,
    /// The log.
    pub origin: String,
    /// `[from, to)`.
    pub from: Utc,
    /// The first instant after it.
    pub to: Utc,
    /// What of the log they were read from.
    pub as_of: AsOf,
    /// By control, then by what they are of.
    pub populations: Vec<Population>,
}

/// What a population was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AsOf {
    /// Entries of the log.
    pub size: u64,
    /// RFC 6962 root of these.
    pub root: Digest,
    /// Up to when units of time were judged.
    pub at: Utc,
}

/// A control's population without its list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Population {
    /// The control, by id.
    pub control: String,
    /// What its items are.
    pub of: Of,
    /// The kind of records; `None` for occurrences that runs show.
    pub kind: Option<String>,
    /// Its items.
    pub count: u64,
    /// The SHA-256 of its list.
    pub sha256: Digest,
    /// What was not observed: where, when and why.
    pub not_observed: Vec<Gap>,
}

/// What the items of a population are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Times that a control had to operate.
    Occurrences,
    /// Records that were there at a date.
    Items,
    /// Records by their own instant.
    Events,
}

impl Of {
    /// Its spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Occurrences => "occurrences",
            Self::Items => "items",
            Self::Events => "events",
        }
    }
}

/// A stretch that was not observed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// Where; `None`: no job read it.
    pub job: Option<Job>,
    /// `[from, to)`.
    pub from: Utc,
    /// The first instant after it.
    pub to: Utc,
    /// Why; empty where that is not known.
    pub reason: String,
}

/// An item: one line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Unique in the list; the same in every list on this log.
    pub id: String,
    /// Where it was seen or looked for; `None`: no job read it.
    pub job: Option<Job>,
    /// Its unit of time, its own instant, or that of the run that listed it.
    pub from: Utc,
    /// The first instant after the unit; else the same instant.
    pub to: Utc,
    /// `operated`, `deviation` or `not_observed`; of records: `seen`.
    pub state: String,
    /// The log's entry that shows it; `None`: nothing does.
    pub entry: Option<u64>,
    /// The SHA-256 of that entry's bundle.
    pub bundle: Option<Digest>,
}

/// What stands for the name of a job where none read.
pub const NO_JOB: &str = "no job";

impl Item {
    /// Its job's name, or [`NO_JOB`].
    pub fn job_name(&self) -> &str {
        self.job.as_ref().map_or(NO_JOB, Job::as_str)
    }
}

impl Gap {
    /// Its job's name, or [`NO_JOB`].
    pub fn job_name(&self) -> &str {
        self.job.as_ref().map_or(NO_JOB, Job::as_str)
    }
}

/// A list with its lines as they are hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// By the bytes of their lines.
    pub items: Vec<Item>,
    /// Each item's line, without a line feed.
    pub lines: Vec<String>,
}

/// Bytes that are no list.
#[derive(Debug, thiserror::Error)]
pub enum BadList {
    /// A line is not an item, or not in its one spelling.
    #[error("line {0} is no item of a population in its one spelling")]
    Line(u64),
    /// Lines are not in order.
    #[error("line {0} is not after the one before it")]
    Order(u64),
    /// An id comes twice.
    #[error("the item {0:?} comes twice")]
    Twice(String),
}

impl List {
    /// The list of these items, sorted by the bytes of their lines.
    ///
    /// # Errors
    /// An id that comes twice.
    pub fn new(items: Vec<Item>) -> Result<Self, BadList> {
        let mut both: Vec<(String, Item)> = items.into_iter().map(|item| (line(&item), item)).collect();
        both.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let (lines, items) = both.into_iter().unzip();
        Self { items, lines }.unique()
    }

    /// Reads a list in its one spelling.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadList> {
        let (mut items, mut lines) = (Vec::new(), Vec::<String>::new());
        for (at, raw) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            let number = at as u64 + 1;
            let item: Item = serde_json::from_slice(raw).map_err(|_| BadList::Line(number))?;
            let own = line(&item);
            if raw.strip_suffix(b"\n") != Some(own.as_bytes()) {
                return Err(BadList::Line(number));
            }
            if lines.last().is_some_and(|before| *before >= own) {
                return Err(BadList::Order(number));
            }
            items.push(item);
            lines.push(own);
        }
        Self { items, lines }.unique()
    }

    fn unique(self) -> Result<Self, BadList> {
        let mut ids = BTreeSet::new();
        match self.items.iter().find(|item| !ids.insert(item.id.as_str())) {
            Some(twice) => Err(BadList::Twice(twice.id.clone())),
            None => Ok(self),
        }
    }

    /// JSON Lines: each line and a line feed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in &self.lines {
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        bytes
    }

    /// The population's hash.
    pub fn sha256(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }
}

/// Compact JSON, members in the struct's order.
fn line(item: &Item) -> String {
    serde_json::to_string(item).expect("strings and numbers are always JSON")
}

impl PopulationDocument {
    /// Compact JSON: the bytes that are logged.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers are always JSON")
    }

    /// Parses a document of this format.
    ///
    /// # Errors
    /// In words: another format, unknown or missing members, a period or a population that cannot be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let document: Self = serde_json::from_slice(bytes).map_err(|e| format!("it freezes no population: {e}"))?;
        if document.format != FORMAT {
            return Err(format!("its format is {:?}, not {FORMAT:?}", document.format));
        }
        if document.from >= document.to {
            return Err("its period ends before it begins".to_owned());
        }
        let key = |p: &Population| (p.control.clone(), p.of, p.kind.clone());
        if document.populations.windows(2).any(|pair| key(&pair[0]) >= key(&pair[1])) {
            return Err("its populations are not in order, or one comes twice".to_owned());
        }
        Ok(document)
    }

    /// The population of a control.
    pub fn find(&self, control: &str, of: Of, kind: Option<&str>) -> Option<&Population> {
        self.populations.iter().find(|p| p.control == control && p.of == of && p.kind.as_deref() == kind)
    }
}

#[cfg(test)]
mod tests;
