//! The names of an origin's objects: `docs/FORMAT.md`, "Layout". No other module spells one.

use std::{fmt, str::FromStr};

use chrono::Datelike;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    digest::Digest,
    time::{Utc, compact},
};

/// The only object that is ever replaced.
pub const CHECKPOINT: &str = "checkpoint";

/// A job's name, `<collector>@<source>`, e.g. `host/accounts@this`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Job(String);

/// Text that is no job name.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not a job name: it is `<collector>@<source>` in letters, digits, `-`, `_`, `.` and `/`, at most 80 characters"
)]
pub struct BadJob(pub String);

impl Job {
    /// The job of `collector` on `source`.
    ///
    /// # Errors
    /// Names with characters outside the set, or too long.
    pub fn new(collector: &str, source: &str) -> Result<Self, BadJob> {
        format!("{collector}@{source}").parse()
    }

    /// The part before `@`.
    pub fn collector(&self) -> &str {
        self.0.split_once('@').map_or(&self.0, |(c, _)| c)
    }

    /// The part after `@`.
    pub fn source(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, s)| s)
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in a file name: `/` becomes `+`.
    pub fn file_name(&self) -> String {
        self.0.replace('/', "+")
    }
}

impl FromStr for Job {
    type Err = BadJob;
    fn from_str(text: &str) -> Result<Self, BadJob> {
        let part = |p: &str| {
            !p.is_empty()
                && p.split('/').all(|s| !s.is_empty() && !s.starts_with('.') && !s.ends_with('.'))
                && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
        };
        match text.split_once('@') {
            Some((collector, source)) if text.len() <= 80 && part(collector) && part(source) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(BadJob(text.to_owned())),
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Job {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Job {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The directory of an origin in an archive: `/` becomes `+`, so that one origin is one directory.
pub fn origin_directory(origin: &str) -> String {
    origin.replace('/', "+")
}

/// `append/<old size>`: the decision of an append.
pub fn append(old_size: u64) -> String {
    format!("append/{old_size}")
}

/// `document/<kind>/<sha256>.json`.
pub fn document(kind: &str, digest: Digest) -> String {
    format!("document/{kind}/{digest}.json")
}

/// `bundle/<yyyy>/<mm>/<dd>/<instant>-<job>-<sha256>.zip`. A scheduled run is filed under its slot's day.
pub fn bundle_of_slot(slot: Utc, job: &Job, digest: Digest) -> String {
    format!("bundle/{}/{}-{}-{digest}.zip", day(slot), compact(slot), job.file_name())
}

/// The same for a run asked for by hand, `manual-<start>`, filed under its start's day.
pub fn bundle_by_hand(start: Utc, job: &Job, digest: Digest) -> String {
    format!("bundle/{}/manual-{}-{}-{digest}.zip", day(start), compact(start), job.file_name())
}

/// `seal/<yyyy>/<mm>/<dd>/<sha256 of the leaf>.sigstore.json`, filed under the day of the sealing.
pub fn seal(sealed_at: Utc, leaf: Digest) -> String {
    format!("seal/{}/{leaf}.sigstore.json", day(sealed_at))
}

/// What pins a checkpoint from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Anchor {
    /// The checkpoint's own bytes, as they were published.
    Checkpoint,
    /// An RFC 3161 response over those bytes.
    Token,
    /// A witness's signature lines over its text.
    Cosignature,
}

impl Anchor {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Checkpoint, Self::Token, Self::Cosignature];

    /// How the names of its objects end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Token => "tsr",
            Self::Cosignature => "cosig",
        }
    }
}

/// `anchor/<tree size>/<sha256 of the object>.{checkpoint,tsr,cosig}`.
pub fn anchor(size: u64, digest: Digest, kind: Anchor) -> String {
    format!("anchor/{size}/{digest}.{}", kind.extension())
}

/// The size, digest and kind of an anchor's name; `None` for any other spelling.
pub fn parse_anchor(name: &str) -> Option<(u64, Digest, Anchor)> {
    let (size, file) = name.strip_prefix("anchor/")?.split_once('/')?;
    let (digest, extension) = file.split_once('.')?;
    let kind = Anchor::ALL.into_iter().find(|kind| kind.extension() == extension)?;
    let (size, digest) = (size.parse().ok()?, digest.parse().ok()?);
    (anchor(size, digest, kind) == name).then_some((size, digest, kind))
}

/// `2026/11/22`.
pub fn day(at: Utc) -> String {
    format!("{:04}/{:02}/{:02}", at.year(), at.month(), at.day())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_anchors_name_has_one_spelling() {
        for kind in Anchor::ALL {
            let name = anchor(7, Digest::of(b"x"), kind);
            assert_eq!(parse_anchor(&name), Some((7, Digest::of(b"x"), kind)));
            for altered in
                [name.replace("anchor/7", "anchor/07"), name.to_uppercase(), format!("{name}x"), name[1..].to_owned()]
            {
                assert_eq!(parse_anchor(&altered), None, "{altered}");
            }
        }
        assert_eq!(parse_anchor("anchor/7/ab.tsr"), None);
        assert_eq!(parse_anchor(&format!("anchor/+7/{}.tsr", Digest::of(b"x"))), None);
    }
}
