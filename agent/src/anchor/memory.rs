//! `state_dir/cache/anchors.json`: which checkpoint each authority anchored last, and the newest token. It saves requests after a start
//! and is trusted for nothing: the token is read back from the archive and verified before an entry names it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use signing::{digest::Digest, time::Utc};

use crate::{control, durable::Disk};

const FORMAT: &str = "evidenced-anchors/1";

/// What is remembered of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    format: String,
    origin: String,
    pub(super) newest: Option<Newest>,
    /// By address.
    pub(super) authorities: BTreeMap<String, Last>,
}

/// The newest token, and what it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Newest {
    pub(super) size: u64,
    pub(super) checkpoint: Digest,
    pub(super) token: Digest,
}

/// What an authority anchored last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Last {
    pub(super) size: u64,
    /// The token's time.
    pub(super) at: Utc,
    /// By the agent's clock.
    pub(super) asked_at: Utc,
}

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    disk: Disk,
    kept: Mutex<Kept>,
}

impl Memory {
    pub(super) fn open(state_dir: &Path, origin: &str, disk: &Disk) -> Self {
        let path = path(state_dir);
        let kept = read(&path, origin);
        Self { path, disk: disk.clone(), kept: Mutex::new(kept) }
    }

    pub(super) fn kept(&self) -> Kept {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes it, and keeps it; where the disk refuses, a start asks once more than it would need to.
    pub(super) fn change(&self, change: impl FnOnce(&mut Kept)) {
        // Held while it is written, so that the file is never older than an earlier call's.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut kept);
        let written = self
            .disk
            .make_private_dirs(self.path.parent().unwrap_or(&self.path))
            .and_then(|()| self.disk.replace(&self.path, &serde_json::to_vec(&*kept)?));
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "what was anchored could not be remembered");
        }
    }
}

/// What a `state_dir` remembers of the authorities of a log.
pub fn remembered(state_dir: &Path, origin: &str) -> Vec<control::Anchor> {
    let kept = read(&path(state_dir), origin);
    let anchor = |(authority, last): (String, Last)| control::Anchor {
        authority,
        size: Some(last.size),
        at: Some(last.at),
        apart_seconds: None,
        error: None,
    };
    kept.authorities.into_iter().map(anchor).collect()
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("cache").join("anchors.json")
}

fn read(path: &Path, origin: &str) -> Kept {
    let nothing = || Kept { format: FORMAT.into(), origin: origin.into(), newest: None, authorities: BTreeMap::new() };
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return nothing(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what was anchored cannot be read; the authorities are asked again");
            return nothing();
        }
    };
    match serde_json::from_slice::<Kept>(&bytes) {
        Ok(kept) if kept.format == FORMAT && kept.origin == origin => kept,
        Ok(_) => nothing(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what was anchored cannot be read; the authorities are asked again");
            nothing()
        }
    }
}
