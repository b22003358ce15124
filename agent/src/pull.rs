//! A copy of an archive, or of a part of it, that verifies offline: what the log of one checkpoint explains, and nothing else.
//!
//! The checkpoint is read first and fixed. What the log of that size names is copied under its own name, by several threads; the checkpoint
//! comes last, so that a copy that was broken off is no archive yet, and the same call goes on with it. Nothing is checked on the way:
//! `verify` does that, of the copy.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Write as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
};

use signing::{
    layout::{self, CHECKPOINT, origin_directory},
    log::{self, Checkpoint, LogError, MAX_CHECKPOINT, TILE_WIDTH, entries, entry_bundle_name, tile_name},
    statement::{Body, Statement},
    store::{Dir, Reader},
    verify::Part,
};

use crate::{
    durable::{Created, Disk},
    lock,
};

/// The most names that are listed of those that are not there.
const LISTED: usize = 20;

/// Names that wait to be copied, at most.
const WAITING: usize = 1_000;

/// Why a copy could not be made. What was copied stays, and the same call goes on with it.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The archive has no checkpoint.
    #[error("{CHECKPOINT} is not there: without it nothing says what the log holds. Is this an archive's origin?")]
    NoCheckpoint,
    /// The archive refused or failed.
    #[error("{name} could not be read")]
    Read {
        /// The object.
        name: String,
        /// What the archive answered.
        source: io::Error,
    },
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The copy could not be written.
    #[error("{} could not be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The file system's answer.
        source: io::Error,
    },
    /// The directory is written by somebody else.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory's copy has what the archive has not: the archive was rolled back, or is another.
    #[error(
        "{} holds a copy of {had} entries, and the archive's {has} do not continue it: the archive was rolled back, or rewritten. Nothing \
         was copied; keep that copy, and copy into an empty directory to compare", path.display()
    )]
    Older {
        /// The copy's directory.
        path: PathBuf,
        /// The copy's entries.
        had: u64,
        /// The archive's entries.
        has: u64,
    },
    /// The directory holds another log.
    #[error("{} holds other bytes than the archive: it is no copy of this log. Copy into an empty directory", path.display())]
    Other {
        /// The file.
        path: PathBuf,
    },
}

/// What was copied.
#[derive(Debug)]
pub struct Pulled {
    /// The log.
    pub origin: String,
    /// Its entries.
    pub size: u64,
    /// The directory of its copy.
    pub directory: PathBuf,
    /// Objects that were copied now.
    pub copied: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that an earlier call had copied.
    pub already: u64,
    /// Objects that the log names and the archive does not have, all of them counted, the first listed.
    pub missing: (u64, BTreeSet<String>),
}

struct Copier<'a> {
    reader: &'a dyn Reader,
    disk: Disk,
    directory: PathBuf,
    copied: AtomicU64,
    bytes: AtomicU64,
    already: AtomicU64,
    missing: Mutex<(u64, BTreeSet<String>)>,
    failure: Mutex<Option<PullError>>,
}

/// Copies into `into/<origin>`, by so many threads. `progress` is told how many entries of how many were looked at.
///
/// # Errors
/// What ended it.
pub fn pull(
    reader: &dyn Reader,
    into: &Path,
    part: Option<Part>,
    threads: usize,
    progress: &dyn Fn(u64, u64),
) -> Result<Pulled, PullError> {
    let seen = reader
        .read(CHECKPOINT, MAX_CHECKPOINT)
        .map_err(|source| PullError::Read { name: CHECKPOINT.to_owned(), source })?
        .ok_or(PullError::NoCheckpoint)?;
    let checkpoint = Checkpoint::parse_unverified(&seen)?;
    let directory = into.join(origin_directory(&checkpoint.origin));
    let failed = |source| PullError::Write { path: directory.clone(), source };
    Disk::new().make_dirs(&directory).map_err(failed)?;
    let _lock = lock::directory(&directory).map_err(|why| match why {
        lock::Unlocked::Held(_) => PullError::InUse { path: directory.clone() },
        lock::Unlocked::Io(source) => failed(source),
    })?;
    continues(reader, &directory, &checkpoint)?;
    let disk = Disk::new().with_temporaries_in(&directory);
    disk.sweep(&directory).map_err(failed)?;

    let copier = Copier {
        reader,
        disk,
        directory: directory.clone(),
        copied: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        already: AtomicU64::new(0),
        missing: Mutex::default(),
        failure: Mutex::default(),
    };
    copier.all(&checkpoint, part, threads, progress)?;
    if let Some(failure) = copier.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(failure);
    }
    let path = directory.join(CHECKPOINT);
    copier.disk.replace(&path, &seen).map_err(|source| PullError::Write { path, source })?;
    Ok(Pulled {
        origin: checkpoint.origin,
        size: checkpoint.size,
        directory,
        copied: copier.copied.into_inner(),
        bytes: copier.bytes.into_inner(),
        already: copier.already.into_inner(),
        missing: copier.missing.into_inner().unwrap_or_else(PoisonError::into_inner),
    })
}

/// Whether the archive continues the copy that is there: a copy that knows more is worth more than what would replace it.
fn continues(reader: &dyn Reader, directory: &Path, now: &Checkpoint) -> Result<(), PullError> {
    let kept = Dir::new(directory)
        .read(CHECKPOINT, MAX_CHECKPOINT)
        .map_err(|source| PullError::Write { path: directory.join(CHECKPOINT), source })?;
    let Some(kept) = kept else { return Ok(()) };
    let kept = Checkpoint::parse_unverified(&kept)?;
    let older = || PullError::Older { path: directory.to_owned(), had: kept.size, has: now.size };
    match kept.size {
        0 => Ok(()),
        had if had > now.size || (had == now.size && kept.root != now.root) => Err(older()),
        had if had == now.size => Ok(()),
        _ => match log::consistency(reader, &kept, now) {
            Err(LogError::Inconsistent { .. }) => Err(older()),
            other => Ok(other.map(|_| ())?),
        },
    }
}

/// What may stand for an object, the first that is there: a tile that grew full may have lost its partial form.
type Names = Vec<String>;

impl Copier<'_> {
    fn all(
        &self,
        checkpoint: &Checkpoint,
        part: Option<Part>,
        threads: usize,
        progress: &dyn Fn(u64, u64),
    ) -> Result<(), PullError> {
        std::thread::scope(|scope| {
            let (names, next) = mpsc::sync_channel::<Names>(WAITING);
            let next = Arc::new(Mutex::new(next));
            for _ in 0..threads.max(1) {
                let next = next.clone();
                scope.spawn(move || self.work(&next));
            }
            drop(next);
            // It fails where nobody takes names any more.
            let mut give = |wanted: Names| match names.send(wanted) {
                Ok(()) if !self.has_failed() => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            };
            if tiles(checkpoint.size, &mut give).is_break() {
                return Ok(());
            }
            // Earlier checkpoints rest on narrower forms of the last tiles.
            let anchors = ("anchor/".to_owned(), None);
            for (prefix, widest) in unfilled(checkpoint.size).into_iter().chain([anchors]) {
                let mut listed = Vec::new();
                let read = self.reader.list(&prefix, &mut |name| {
                    let width = name.rsplit('/').next().and_then(|width| width.parse::<u64>().ok());
                    if widest.is_none_or(|widest| width.is_some_and(|width| width <= widest)) {
                        listed.push(name.to_owned());
                    }
                });
                read.map_err(|source| PullError::Read { name: prefix, source })?;
                if listed.into_iter().try_for_each(|name| give(vec![name])).is_break() {
                    return Ok(());
                }
            }
            entries(self.reader, 0, checkpoint.size, &mut |index, leaf| {
                if index.is_multiple_of(TILE_WIDTH) {
                    progress(index, checkpoint.size);
                }
                match Statement::from_bytes(leaf) {
                    Ok(statement) if part.is_none_or(|part| part.has(&statement)) => {
                        named(&statement, leaf).into_iter().try_for_each(|name| give(vec![name]))
                    }
                    // What is no statement names nothing; `verify` says that.
                    _ => ControlFlow::Continue(()),
                }
            })?;
            progress(checkpoint.size, checkpoint.size);
            Ok(())
        })
    }

    /// Copies what is asked for until there is no more.
    fn work(&self, next: &Mutex<mpsc::Receiver<Names>>) {
        loop {
            let wanted = next.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(wanted) = wanted else { return };
            // After a failure the rest is taken and left, so that nobody waits to have it taken.
            if !self.has_failed()
                && let Err(failure) = self.first_of(&wanted)
            {
                self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
            }
        }
    }

    fn has_failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn first_of(&self, wanted: &Names) -> Result<(), PullError> {
        for name in wanted {
            if self.copy(name)? {
                return Ok(());
            }
        }
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.0 += 1;
        if missing.1.len() < LISTED {
            missing.1.extend(wanted.first().cloned());
        }
        Ok(())
    }

    /// Whether there is such an object; then it is copied.
    fn copy(&self, name: &str) -> Result<bool, PullError> {
        let plain = |part: &str| !part.is_empty() && !part.starts_with('.');
        if !name.split('/').all(plain) || name.contains(['\\', ':', '\0']) {
            // No archive has it, and no copy.
            return Ok(false);
        }
        let path = self.directory.join(name);
        // What has its final name is whole; whether it is what the archive has, `verify` tells.
        if path.exists() {
            self.already.fetch_add(1, Relaxed);
            return Ok(true);
        }
        let read = |source| PullError::Read { name: name.to_owned(), source };
        let Some(mut object) = self.reader.open(name).map_err(read)? else { return Ok(false) };
        let write = |source| PullError::Write { path: path.clone(), source };
        // Beside it, and in one rename there: a copy that broke off leaves nothing under the name.
        let mut unread = None;
        let staged = self.disk.temporary(&path);
        let length = self.disk.stage(&staged, |file| copy(&mut *object, file, &mut unread));
        let length = match (unread, length) {
            (Some(source), _) => {
                self.disk.discard(&staged);
                return Err(read(source));
            }
            (None, length) => length.map_err(write)?,
        };
        self.disk.make_dirs(path.parent().unwrap_or(&self.directory)).map_err(write)?;
        let created = self.disk.create_new_from(&path, &staged);
        self.disk.discard(&staged);
        match created.map_err(write)? {
            Created::New | Created::Same => {}
            Created::Other => return Err(PullError::Other { path }),
        }
        self.copied.fetch_add(1, Relaxed);
        self.bytes.fetch_add(length, Relaxed);
        Ok(true)
    }
}

/// Copies to the end; what could not be read is told apart from what could not be written.
fn copy(from: &mut dyn Read, to: &mut File, unread: &mut Option<io::Error>) -> io::Result<u64> {
    let (mut block, mut length) = (vec![0; 64 * 1024], 0);
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok(length),
            Ok(n) => {
                to.write_all(&block[..n])?;
                length += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                *unread = Some(e);
                return Ok(length);
            }
        }
    }
}

/// The objects that an entry names: its seal, and its bundle or document. (A second subject is a file of the bundle; the subject of a
/// missed receipt is its plan, which has an entry of its own.)
fn named(statement: &Statement, leaf: &[u8]) -> Vec<String> {
    let mut names = vec![layout::seal(statement.entry.sealed_at, Statement::leaf_digest(leaf))];
    if !matches!(statement.body, Body::Missed(_)) {
        names.extend(statement.subject.first().map(|subject| subject.name.clone()));
    }
    names
}

/// Where the forms lie of the tiles that a tree of a size has not filled, and the widest of them that it has.
fn unfilled(size: u64) -> Vec<(String, Option<u64>)> {
    let below = |full: String, hashes: u64| (format!("{full}.p/"), Some(hashes % TILE_WIDTH));
    let mut found = Vec::new();
    if !size.is_multiple_of(TILE_WIDTH) {
        found.push(below(entry_bundle_name(size / TILE_WIDTH, TILE_WIDTH), size));
    }
    let (mut at, mut hashes) = (0, size);
    while hashes > 0 {
        if !hashes.is_multiple_of(TILE_WIDTH) {
            found.push(below(tile_name(at, hashes / TILE_WIDTH, TILE_WIDTH), hashes));
        }
        (at, hashes) = (at + 1, hashes / TILE_WIDTH);
    }
    found
}

/// The tiles of a tree of a size, and the bundles of its entries.
fn tiles(size: u64, give: &mut dyn FnMut(Names) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut level = |width: &dyn Fn(u64, u64) -> String, hashes: u64| {
        for index in 0..hashes.div_ceil(TILE_WIDTH) {
            let there = TILE_WIDTH.min(hashes - index * TILE_WIDTH);
            let mut names = vec![width(index, there)];
            if there < TILE_WIDTH {
                names.push(width(index, TILE_WIDTH));
            }
            give(names)?;
        }
        ControlFlow::Continue(())
    };
    level(&entry_bundle_name, size)?;
    let (mut at, mut hashes) = (0, size);
    while hashes > 0 {
        level(&|index, width| tile_name(at, index, width), hashes)?;
        (at, hashes) = (at + 1, hashes / TILE_WIDTH);
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use signing::verify::{Options, verify};

    use super::*;

    fn vectors() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors/archive")
    }

    fn quietly(reader: &dyn Reader, into: &Path) -> Result<Pulled, PullError> {
        pull(reader, into, None, 3, &|_, _| {})
    }

    fn findings(directory: &Path) -> Vec<String> {
        let vectors = std::fs::read(vectors().join("../vectors.json")).unwrap();
        let vectors: serde_json::Value = serde_json::from_slice(&vectors).unwrap();
        let options = Options::trusting(vectors["keys"]["root"]["fingerprint"].as_str().unwrap());
        let verdict = verify(&Dir::new(directory), &options, &|_| {}).unwrap();
        verdict.findings.iter().map(|finding| format!("{} {}", finding.code, finding.object)).collect()
    }

    /// Breaks off in the middle of one object, and has lost another.
    struct Breaking {
        dir: Dir,
        breaks: &'static str,
        lost: &'static str,
    }

    impl Reader for Breaking {
        fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send + '_>>> {
            if name.starts_with(self.lost) {
                return Ok(None);
            }
            let Some(object) = self.dir.open(name)? else { return Ok(None) };
            if !name.starts_with(self.breaks) {
                return Ok(Some(object));
            }
            struct Broken;
            impl Read for Broken {
                fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                    Err(io::ErrorKind::ConnectionReset.into())
                }
            }
            Ok(Some(Box::new(object.take(10).chain(Broken))))
        }

        fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
            self.dir.list(prefix, each)
        }
    }

    #[test]
    fn a_copy_that_broke_off_has_no_checkpoint_and_nothing_half_and_is_gone_on_with() {
        let into = tempfile::tempdir().unwrap();
        let reader = Breaking { dir: Dir::new(vectors()), breaks: "bundle/", lost: "-" };
        let failure = quietly(&reader, into.path()).unwrap_err();
        assert!(matches!(&failure, PullError::Read { name, .. } if name.starts_with("bundle/")), "{failure}");
        let origin = into.path().join("example.org+evidence");
        assert!(!origin.join(CHECKPOINT).exists());
        let mut names = Vec::new();
        Dir::new(&origin).list("", &mut |name| names.push(name.to_owned())).unwrap();
        assert!(names.iter().all(|name| !name.starts_with("bundle/") && !name.starts_with(".tmp-")), "{names:?}");

        let pulled = quietly(&Dir::new(vectors()), into.path()).unwrap();
        assert!(pulled.already > 0 && pulled.copied > 0, "{pulled:?}");
        assert_eq!((pulled.missing.0, findings(&origin)), (0, vec![]));
    }

    #[test]
    fn what_the_archive_has_lost_is_counted_and_the_rest_is_copied() {
        let into = tempfile::tempdir().unwrap();
        let reader = Breaking { dir: Dir::new(vectors()), breaks: "-", lost: "bundle/" };
        let pulled = quietly(&reader, into.path()).unwrap();
        assert_eq!(pulled.missing.0, 1, "{pulled:?}");
        let found = findings(&pulled.directory);
        assert!(found.len() == 1 && found[0].starts_with("BUNDLE-MISSING bundle/"), "{found:?}");
    }

    #[test]
    fn a_copy_that_knows_more_than_the_archive_is_never_replaced() {
        let into = tempfile::tempdir().unwrap();
        let origin = quietly(&Dir::new(vectors()), into.path()).unwrap().directory;
        let path = origin.join(CHECKPOINT);
        let kept = std::fs::read_to_string(&path).unwrap();
        // The archive's own checkpoint has four entries.
        let longer = kept.replacen("\n4\n", "\n5\n", 1);
        assert_ne!(longer, kept);
        std::fs::write(&path, &longer).unwrap();
        let failure = quietly(&Dir::new(vectors()), into.path()).unwrap_err();
        assert!(matches!(failure, PullError::Older { had: 5, has: 4, .. }), "{failure}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), longer);
    }

    #[test]
    fn an_archive_without_a_checkpoint_is_not_copied() {
        let (empty, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let failure = quietly(&Dir::new(empty.path()), into.path()).unwrap_err();
        assert!(matches!(failure, PullError::NoCheckpoint), "{failure}");
        assert_eq!(std::fs::read_dir(into.path()).unwrap().count(), 0);
    }
}
