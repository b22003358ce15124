//! The spool: what is durable and not yet in the log. An entry is a directory `spool/<sequence>/`, published whole by one rename and
//! removed only once its leaf is in the log; nothing in it is ever rebuilt. The spool is trusted for durability only.
//!
//! ```text
//! spool/00000001000000000000/payload.json         the statement's bytes: signed and logged as they are
//!                            bundle.zip           a run's bundle, or
//!                            document.json        a document; neither for `missed`, nor for what the archive holds already
//!                            <sha256>.tsr         tokens over the signature to be, until it is sealed
//!                            seal.sigstore.json   once it is sealed
//! quarantine/<sequence>-<leaf>/                   the same, and reason.txt
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use signing::{digest::Digest, statement::Statement};

use super::PipelineError;
use crate::durable::{Disk, TEMPORARY};

/// The statement's bytes.
pub(super) const PAYLOAD: &str = "payload.json";
/// A run's bundle.
pub(super) const BUNDLE: &str = "bundle.zip";
/// A document's bytes.
pub(super) const DOCUMENT: &str = "document.json";
/// The seal.
pub(super) const SEAL: &str = "seal.sigstore.json";

/// How the name of a token ends, after the digest of its bytes.
const TOKEN: &str = ".tsr";

/// The first sequence number of an empty spool. There is room below it: what is adopted comes before what is spooled.
const FIRST: u64 = 1_000_000_000_000;

/// The directory.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    quarantine: PathBuf,
    pub(super) disk: Disk,
    /// An entry took its name, but syncing the directory failed.
    unsynced: AtomicBool,
    /// The entries that are there, with the bytes of each: this process alone makes and removes them.
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    bytes: BTreeMap<u64, u64>,
    total: u64,
}

impl Entries {
    /// `None`: it is gone.
    fn set(&mut self, sequence: u64, bytes: Option<u64>) {
        let before = match bytes {
            Some(bytes) => self.bytes.insert(sequence, bytes),
            None => self.bytes.remove(&sequence),
        };
        self.total = self.total - before.unwrap_or(0) + bytes.unwrap_or(0);
    }
}

/// A spooled entry: the pipeline's first value.
#[derive(Debug, Clone)]
pub(super) struct Spooled {
    pub(super) sequence: u64,
    pub(super) dir: PathBuf,
    pub(super) payload: Vec<u8>,
    pub(super) statement: Statement,
    pub(super) leaf: Digest,
}

impl Spooled {
    /// The bundle or document that is to be uploaded; `None` where there is none, or where the archive holds it already.
    pub(super) fn object(&self) -> io::Result<Option<PathBuf>> {
        for name in [BUNDLE, DOCUMENT] {
            let path = self.dir.join(name);
            if path.try_exists()? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

impl Spooled {
    /// Whether its bundle or document is what its statement says: a disk, or somebody, may have changed it.
    pub(super) fn check_object(&self) -> Result<(), PipelineError> {
        let failed = |source| PipelineError::Disk { action: "read an entry of", path: self.dir.clone(), source };
        let Some(path) = self.object().map_err(failed)? else { return Ok(()) };
        let expected = self.statement.subject[0].digest.sha256;
        let (found, _) = fs::File::open(&path).and_then(|mut file| Digest::read(&mut file)).map_err(failed)?;
        if found == expected {
            return Ok(());
        }
        let source = format!("its SHA-256 is {found}, but its receipt says {expected}: it was changed in the spool");
        Err(PipelineError::Entry { entry: path.display().to_string(), source: source.into() })
    }
}

impl Spool {
    /// Opens `state_dir/spool`, makes it where it is missing, and sweeps what was never published.
    pub(super) fn open(state_dir: &Path, disk: Disk) -> Result<Self, PipelineError> {
        let spool = Self {
            dir: state_dir.join("spool"),
            quarantine: state_dir.join("quarantine"),
            disk,
            unsynced: AtomicBool::new(true),
            entries: Mutex::default(),
        };
        spool.disk.make_private_dirs(&spool.dir).map_err(spool.failed("make"))?;
        spool.disk.sweep(&spool.dir).map_err(spool.failed("sweep"))?;
        spool.settle_names()?;
        for sequence in sequences(&spool.dir).map_err(spool.failed("list"))? {
            spool.note(sequence)?;
        }
        Ok(spool)
    }

    /// Never held while anything is read or written.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what is under a number now.
    pub(super) fn note(&self, sequence: u64) -> Result<(), PipelineError> {
        let bytes = match size(&self.dir(sequence)) {
            Ok(bytes) => Some(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(self.failed("look into an entry of")(e)),
        };
        self.entries().set(sequence, bytes);
        Ok(())
    }

    /// The number of an entry's directory.
    fn sequence(&self, dir: &Path) -> Option<u64> {
        (dir.parent() == Some(&*self.dir)).then(|| dir.file_name()?.to_str()?.parse().ok()).flatten()
    }

    /// How many entries there are, and the bytes of all their files.
    pub(super) fn load_of(&self) -> (usize, u64) {
        let entries = self.entries();
        (entries.bytes.len(), entries.total)
    }

    /// A new temporary directory, to be filled and given to [`Spool::publish`].
    pub(super) fn stage(&self) -> Result<PathBuf, PipelineError> {
        self.disk.stage_dir(&self.dir).map_err(self.failed("make an entry in"))
    }

    /// The sequence numbers of all entries, ascending.
    pub(super) fn pending(&self) -> Vec<u64> {
        self.entries().bytes.keys().copied().collect()
    }

    /// The number for an entry after all others.
    pub(super) fn next(&self) -> u64 {
        self.entries().bytes.last_key_value().map_or(FIRST, |(last, _)| last + 1).max(FIRST)
    }

    /// The number for an entry before all others.
    pub(super) fn before(&self) -> u64 {
        self.entries().bytes.first_key_value().map_or(FIRST, |(first, _)| first - 1)
    }

    /// Gives a staged directory its number.
    ///
    /// MUST be durable when it returns. After a failure the entry may be there all the same, whole; [`Spool::has`] tells.
    pub(super) fn publish(&self, staged: &Path, sequence: u64) -> Result<(), PipelineError> {
        let published = self.disk.publish_dir(staged, &self.dir(sequence));
        if published.is_err() {
            self.unsynced.store(true, Ordering::SeqCst);
        }
        let noted = self.note(sequence);
        published.map_err(self.failed("publish an entry in")).and(noted)
    }

    /// Whether an entry is under its name.
    pub(super) fn has(&self, sequence: u64) -> bool {
        self.dir(sequence).is_dir()
    }

    /// Makes sure that whatever has its name keeps it.
    pub(super) fn settle_names(&self) -> Result<(), PipelineError> {
        if self.unsynced.load(Ordering::SeqCst) {
            self.disk.sync_dir(&self.dir).map_err(self.failed("sync"))?;
            self.unsynced.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Reads an entry.
    pub(super) fn load(&self, sequence: u64) -> Result<Spooled, PipelineError> {
        let dir = self.dir(sequence);
        let payload = fs::read(dir.join(PAYLOAD)).map_err(self.failed("read an entry of"))?;
        let leaf = Statement::leaf_digest(&payload);
        let statement = Statement::from_bytes(&payload)
            .map_err(|source| PipelineError::Entry { entry: dir.display().to_string(), source: Box::new(source) })?;
        Ok(Spooled { sequence, dir, payload, statement, leaf })
    }

    /// The first entry from a number on that has no seal.
    pub(super) fn unsealed(&self, from: u64) -> Option<u64> {
        let waiting: Vec<u64> = self.entries().bytes.range(from..).map(|(sequence, _)| *sequence).collect();
        waiting.into_iter().find(|sequence| !self.dir(*sequence).join(SEAL).exists())
    }

    /// Keeps a token with an entry that is not sealed yet; `false` where it is, or is gone.
    pub(super) fn keep_token(&self, sequence: u64, token: &[u8]) -> Result<bool, PipelineError> {
        let dir = self.dir(sequence);
        if dir.join(SEAL).exists() {
            return Ok(false);
        }
        let kept = self.disk.create_new(&dir.join(format!("{}{TOKEN}", Digest::of(token))), token);
        self.note(sequence)?;
        match kept {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(self.failed("keep a token in")(e)),
        }
    }

    /// The tokens that are kept with an entry, whole, in the order of their names. One that cannot be read is passed over: it is worth less
    /// than the entry.
    pub(super) fn tokens(&self, entry: &Spooled) -> Vec<Vec<u8>> {
        let mut names: Vec<PathBuf> = match fs::read_dir(&entry.dir) {
            Ok(files) => files.filter_map(|file| file.ok().map(|file| file.path())).collect(),
            Err(_) => Vec::new(),
        };
        names.sort();
        let token = |path: PathBuf| {
            let digest: Digest = path.file_name()?.to_str()?.strip_suffix(TOKEN)?.parse().ok()?;
            fs::read(&path).ok().filter(|bytes| Digest::of(bytes) == digest)
        };
        names.into_iter().filter_map(token).collect()
    }

    /// Removes entries whose leaves are in the log: the only delete of evidence from the spool. After a failure some are gone; those
    /// that are left have [`Spool::has`].
    pub(super) fn settle(&self, entries: &[Spooled]) -> Result<(), PipelineError> {
        let dirs: Vec<_> = entries.iter().map(|entry| entry.dir.clone()).collect();
        let removed = self.disk.remove_dirs(&dirs).map_err(self.failed("remove a logged entry of"));
        entries.iter().try_for_each(|entry| self.note(entry.sequence))?;
        removed
    }

    /// Moves an entry, or a staged one, out of the way of all others, where a person finds it and nothing removes it.
    pub(super) fn quarantine(&self, dir: &Path, leaf: Digest, reason: &str) -> Result<PathBuf, PipelineError> {
        let failed = |source| PipelineError::Disk { action: "quarantine into", path: self.quarantine.clone(), source };
        self.disk.make_private_dirs(&self.quarantine).map_err(failed)?;
        self.disk.create_new(&dir.join("reason.txt"), format!("{reason}\n").as_bytes()).map_err(failed)?;
        for entry in fs::read_dir(dir).map_err(failed)? {
            fs::File::open(entry.map_err(failed)?.path()).and_then(|f| f.sync_all()).map_err(failed)?;
        }
        let quarantined = self.move_away(dir, leaf, reason);
        self.sequence(dir).map_or(Ok(()), |sequence| self.note(sequence))?;
        quarantined
    }

    fn move_away(&self, dir: &Path, leaf: Digest, reason: &str) -> Result<PathBuf, PipelineError> {
        let failed = |source| PipelineError::Disk { action: "quarantine into", path: self.quarantine.clone(), source };
        let leaf = leaf.to_string();
        for number in 1.. {
            let to = self.quarantine.join(format!("{}-{number}", &leaf[..16]));
            match self.disk.move_dir(dir, &to) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e)),
                Ok(()) => {
                    tracing::error!(quarantine = %to.display(), "ALARM: quarantined, not logged: {reason}");
                    return Ok(to);
                }
            }
        }
        unreachable!("some number is free")
    }

    pub(super) fn dir(&self, sequence: u64) -> PathBuf {
        self.dir.join(format!("{sequence:020}"))
    }

    pub(super) fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> PipelineError {
        let path = self.dir.clone();
        move |source| PipelineError::Disk { action, path: path.clone(), source }
    }
}

/// The numbers of the entries in a spool, ascending; what else lies there is left alone.
pub(super) fn sequences(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        match name.parse() {
            Ok(sequence) if name.len() == 20 => found.push(sequence),
            _ if name.starts_with(TEMPORARY) => {}
            _ => tracing::warn!(spool = %dir.display(), name = %name, "not an entry of the spool; left alone"),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The bytes of a directory's files.
pub(super) fn size(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for file in fs::read_dir(dir)? {
        bytes += file?.metadata()?.len();
    }
    Ok(bytes)
}
