//! What the agent remembers of its log while the archive is away: the right edge, and a copy of the newest part, from which plans and
//! slots are read back as from the archive. It is trusted for nothing but what to collect meanwhile: whatever is appended is checked
//! against the archive's checkpoint first.
//!
//! ```text
//! cache/edge.json                  the edge, with the unfinished entry bundle; the windows that jobs of events read last
//! cache/log/tile/entries/000       full entry bundles, under the names that they have in the archive
//! cache/log/document/plan/….json   the plans that those leaves name
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Cursor, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use signing::{
    digest::Digest,
    layout::Job,
    log::Edge,
    statement::Window,
    store::{Dir, Reader},
};

use super::{PipelineError, history::History};
use crate::{archive::SharedReader, durable::Disk};

const FORMAT: &str = "evidenced-edge/1";

/// What is kept of names that begin so; the rest the edge has.
const KEPT: [&str; 2] = ["tile/entries/", "document/plan/"];

/// The most bytes of one copy: a log whose newest part is longer is not copied.
const MOST: u64 = 256 << 20;

/// `state_dir/cache/edge.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cached {
    format: String,
    origin: String,
    pub(super) edge: Edge,
    /// The newest `keys.json` that is known to be in the log.
    #[serde(default)]
    pub(super) keys: Option<Digest>,
    /// The newest window in the log of each job that reads events, as far as this agent logged it.
    #[serde(default)]
    pub(super) windows: BTreeMap<Job, Window>,
}

impl Cached {
    pub(super) fn new(origin: &str, edge: Edge, keys: Option<Digest>, windows: BTreeMap<Job, Window>) -> Self {
        Self { format: FORMAT.to_owned(), origin: origin.to_owned(), edge, keys, windows }
    }

    /// What an earlier run of the agent kept; `None` where there is nothing that can be used.
    pub(super) fn read(state_dir: &Path, origin: &str) -> Option<Self> {
        let path = path(state_dir);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => {
                tracing::warn!(path = %path.display(), error = %e, "cannot read the cached edge; reading the archive's tiles");
                return None;
            }
        };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(cached) if cached.format == FORMAT && cached.origin == origin => Some(cached),
            Ok(_) => None,
            Err(e) => {
                tracing::warn!(path = %path.display(), error = %e, "the cached edge is damaged; reading the archive's tiles");
                None
            }
        }
    }

    /// The newest part of the log as the cache has it; an object that it lacks is [`PipelineError::Log`] or `Damaged`.
    pub(super) fn history(&self, state_dir: &Path) -> Result<History, PipelineError> {
        let place = format!("the cache in {}", state_dir.display());
        History::read(Arc::new(Copy::new(state_dir, &self.edge)), place, self.edge.size())
    }

    /// Keeps it, and `objects` of the log; with `prune` nothing older than the newest part.
    ///
    /// MUST be durable when it returns: what is settled after it is not known to be logged in any other way while the archive is away.
    pub(super) fn keep(
        &self,
        disk: &Disk,
        state_dir: &Path,
        objects: &BTreeMap<String, Vec<u8>>,
        prune: bool,
    ) -> io::Result<()> {
        let log = log_dir(state_dir);
        let kept = objects.iter().filter(|(name, _)| is_kept(name)).map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        if kept > MOST {
            // Of a log without plans for schedules, which is read back as a whole: without the archive nothing is collected.
            forget(disk, state_dir);
            disk.make_private_dirs(&state_dir.join("cache"))?;
            return disk.replace(&path(state_dir), &serde_json::to_vec(self)?);
        }
        for (name, bytes) in objects.iter().filter(|(name, _)| is_kept(name)) {
            let path = log.join(name);
            if fs::read(&path).is_ok_and(|found| found == *bytes) {
                continue;
            }
            disk.make_private_dirs(path.parent().unwrap_or(&log))?;
            disk.replace(&path, bytes)?;
        }
        let path = path(state_dir);
        disk.make_private_dirs(path.parent().unwrap_or(&path))?;
        disk.replace(&path, &serde_json::to_vec(self)?)?;
        if prune {
            self.prune(disk, state_dir)?;
        }
        Ok(())
    }

    fn prune(&self, disk: &Disk, state_dir: &Path) -> io::Result<()> {
        let copy = Recorder::new(Arc::new(Copy::new(state_dir, &self.edge)));
        let place = format!("the cache in {}", state_dir.display());
        History::read(copy.clone(), place, self.edge.size()).map_err(io::Error::other)?;
        let needed: BTreeSet<_> = copy.seen().into_keys().collect();
        let log = log_dir(state_dir);
        let mut old = Vec::new();
        Dir::new(&log).list("", &mut |name| old.extend((!needed.contains(name)).then(|| log.join(name))))?;
        old.iter().try_for_each(|path| disk.remove_file(path))
    }
}

/// Forgets the copy of the log, which cannot be kept up to date: what it has not, could be run again while the archive is away.
pub(super) fn forget(disk: &Disk, state_dir: &Path) {
    if let Err(error) = disk.remove_dir_all(&log_dir(state_dir)) {
        tracing::warn!(%error, "an old copy of the log in state_dir/cache could not be removed");
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("cache").join("edge.json")
}

fn log_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("cache").join("log")
}

/// An entry bundle that is full, or a plan.
fn is_kept(name: &str) -> bool {
    KEPT.iter().any(|kept| name.starts_with(kept)) && !name.contains(".p/")
}

/// The copy, read as the archive is.
struct Copy {
    log: Dir,
    unfinished: Option<(String, Vec<u8>)>,
}

impl Copy {
    fn new(state_dir: &Path, edge: &Edge) -> Self {
        let unfinished = edge.unfinished().map(|(name, bytes)| (name, bytes.to_vec()));
        Self { log: Dir::new(log_dir(state_dir)), unfinished }
    }
}

impl Reader for Copy {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send + '_>>> {
        match &self.unfinished {
            Some((unfinished, bytes)) if unfinished == name => Ok(Some(Box::new(Cursor::new(bytes.as_slice())))),
            _ => self.log.open(name),
        }
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        self.log.list(prefix, each)
    }
}

/// Keeps what is read through it.
pub(super) struct Recorder {
    reader: SharedReader,
    seen: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Recorder {
    pub(super) fn new(reader: SharedReader) -> Arc<Self> {
        Arc::new(Self { reader, seen: Mutex::default() })
    }

    /// What was read, by name.
    pub(super) fn seen(&self) -> BTreeMap<String, Vec<u8>> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reader for Recorder {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send + '_>>> {
        self.reader.open(name)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        self.reader.list(prefix, each)
    }

    fn read(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let read = self.reader.read(name, limit)?;
        if let Some(bytes) = &read {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert(name.to_owned(), bytes.clone());
        }
        Ok(read)
    }
}
