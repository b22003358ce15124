//! The only module that writes what must outlast a crash. It never leaves a half-written object under its final name, never
//! replaces an object but by [`Disk::replace`], and never returns success before the bytes and the directory entry are synced.
//!
//! Every operation is made of [`Step`]s, and an observer ([`Watch`]) may fail any of them, before or after it took effect, or kill
//! the process: so tests prove what this module's callers promise.
#![allow(clippy::disallowed_methods)]

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rand_core::RngCore;
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

/// What the names of unfinished files and directories begin with.
pub const TEMPORARY: &str = ".tmp-";

/// One primitive change of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A file is created and filled.
    Write,
    /// A file's bytes are synced.
    SyncFile,
    /// A file or a directory takes its final name.
    Rename,
    /// A directory's entries are synced.
    SyncDir,
    /// A directory is made.
    MakeDir,
    /// A file, or a whole directory under a temporary name, is removed.
    Remove,
}

/// What becomes of a step.
#[derive(Debug)]
pub enum Verdict {
    /// It is done.
    Go,
    /// It is not done, and fails.
    Fail(io::Error),
    /// It is done, and fails all the same: failed but persisted.
    FailAfter(io::Error),
}

/// Sees every step of a [`Disk`], and decides.
pub trait Watch: Send + Sync {
    /// Before a step on `path`.
    fn before(&self, _step: Step, _path: &Path) -> Verdict {
        Verdict::Go
    }

    /// After a step that took effect.
    fn after(&self, _step: Step, _path: &Path) {}
}

/// What a create-only write found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// Nothing: it is there now.
    New,
    /// The same bytes: they are durable now.
    Same,
    /// Other bytes, which stay as they are.
    Other,
}

/// Whether an error, or what caused it, is a disk without room: then the same is right once there is some.
pub fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let found = error.downcast_ref::<io::Error>();
        if found.is_some_and(|e| matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)) {
            return true;
        }
        // What an io::Error wraps is not its source.
        let inner = found.and_then(|e| e.get_ref()).map(|inner| inner as &(dyn std::error::Error + 'static));
        next = inner.or_else(|| error.source());
    }
    false
}

/// The file system, written durably.
#[derive(Clone, Default)]
pub struct Disk {
    watch: Option<Arc<dyn Watch>>,
    scratch: Option<PathBuf>,
    /// Directories whose entry in their parent was synced by this process.
    known: Arc<Mutex<HashSet<PathBuf>>>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("scratch", &self.scratch).finish_non_exhaustive()
    }
}

impl Disk {
    /// The real one.
    pub fn new() -> Self {
        Self::default()
    }

    /// One whose steps `watch` sees and decides.
    pub fn watched(watch: Arc<dyn Watch>) -> Self {
        Self { watch: Some(watch), ..Self::default() }
    }

    /// The same, with temporary files in `directory` (of the same file system) instead of beside their final names, so that
    /// [`Disk::sweep`] of that one directory finds them all.
    #[must_use]
    pub fn with_temporaries_in(&self, directory: &Path) -> Self {
        Self { scratch: Some(directory.to_owned()), ..self.clone() }
    }

    fn step<T>(&self, step: Step, path: &Path, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some(watch) = &self.watch else { return act() };
        match watch.before(step, path) {
            Verdict::Go => {
                let done = act()?;
                watch.after(step, path);
                Ok(done)
            }
            Verdict::Fail(error) => Err(error),
            Verdict::FailAfter(error) => {
                act()?;
                watch.after(step, path);
                Err(error)
            }
        }
    }

    /// A path for an unfinished file or directory that will become `path`, or stand beside it.
    pub fn temporary(&self, path: &Path) -> PathBuf {
        let name = format!("{TEMPORARY}{:016x}", rand_core::OsRng.next_u64());
        match &self.scratch {
            Some(scratch) => scratch.join(name),
            None => path.with_file_name(name),
        }
    }

    /// Writes `bytes` under a name that nobody else has. Its directory must exist.
    ///
    /// MUST be durable once it returns: also [`Created::Same`] is synced again, since an earlier try may have failed after it took
    /// effect.
    ///
    /// # Errors
    /// The file system's; then nothing new is under the name, or the whole object is, and trying again settles which.
    pub fn create_new(&self, path: &Path, bytes: &[u8]) -> io::Result<Created> {
        self.create_with_mode(path, bytes, 0o666)
    }

    /// The same for a file that only its owner may read and write.
    ///
    /// # Errors
    /// As [`Disk::create_new`].
    pub fn create_new_private(&self, path: &Path, bytes: &[u8]) -> io::Result<Created> {
        self.create_with_mode(path, bytes, 0o600)
    }

    fn create_with_mode(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<Created> {
        self.create(path, mode, &mut || Ok(Box::new(bytes)))
    }

    /// Copies `source` to a name that nobody else has, as [`Disk::create_new`] does. The source is read to its end each time.
    ///
    /// # Errors
    /// As [`Disk::create_new`].
    pub fn create_new_from(&self, path: &Path, source: &Path) -> io::Result<Created> {
        self.create(path, 0o666, &mut || Ok(Box::new(File::open(source)?)))
    }

    fn create<'a>(
        &self,
        path: &Path,
        mode: u32,
        open: &mut dyn FnMut() -> io::Result<Box<dyn Read + 'a>>,
    ) -> io::Result<Created> {
        if path.symlink_metadata().is_ok() {
            return self.existing(path, &mut *open()?);
        }
        let temporary = self.temporary(path);
        let made = self
            .write_synced(&temporary, mode, |file| io::copy(&mut open()?, file).map(|_| ()))
            .and_then(|()| self.step(Step::Rename, path, || rename_new(&temporary, path)));
        match made {
            Ok(()) => self.sync_parent(path).map(|()| Created::New),
            Err(e) => {
                self.discard(&temporary);
                if e.kind() == ErrorKind::AlreadyExists { self.existing(path, &mut *open()?) } else { Err(e) }
            }
        }
    }

    fn existing(&self, path: &Path, wanted: &mut dyn Read) -> io::Result<Created> {
        let mut found = File::open(path)?;
        if !same(&mut found, wanted)? {
            return Ok(Created::Other);
        }
        self.step(Step::SyncFile, path, || found.sync_all())?;
        self.sync_parent(path)?;
        Ok(Created::Same)
    }

    /// Replaces the bytes of `path`, or creates it: a reader sees the old or the new bytes, never a mixture.
    ///
    /// # Errors
    /// The file system's; then the old or the new bytes are there.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.temporary(path);
        let made = self
            .write_synced(&temporary, 0o666, |file| file.write_all(bytes))
            .and_then(|()| self.step(Step::Rename, path, || fs::rename(&temporary, path)));
        if let Err(e) = made {
            self.discard(&temporary);
            return Err(e);
        }
        self.sync_parent(path)
    }

    /// Fills a new file of a directory that is still temporary; [`Disk::publish_dir`] syncs it.
    ///
    /// # Errors
    /// The file system's, and `fill`'s.
    pub fn stage<T>(&self, path: &Path, fill: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
        self.step(Step::Write, path, || {
            let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
            fill(&mut file)
        })
    }

    /// Makes a temporary directory inside `parent`, for [`Disk::publish_dir`]; only the owner may enter.
    ///
    /// # Errors
    /// The file system's.
    pub fn stage_dir(&self, parent: &Path) -> io::Result<PathBuf> {
        let path = parent.join(format!("{TEMPORARY}{:016x}", rand_core::OsRng.next_u64()));
        self.step(Step::MakeDir, &path, || fs::DirBuilder::new().mode(0o700).create(&path))?;
        Ok(path)
    }

    /// Gives a staged directory (files only) its final name, at once and with everything in it; `path` must not exist.
    ///
    /// MUST be durable once it returns.
    ///
    /// # Errors
    /// The file system's. The directory may then have its final name or the temporary one, never both, never a part of it.
    pub fn publish_dir(&self, staged: &Path, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(staged)? {
            let file = entry?.path();
            self.step(Step::SyncFile, &file, || File::open(&file)?.sync_all())?;
        }
        self.sync_dir(staged)?;
        self.step(Step::Rename, path, || rename_new(staged, path))?;
        self.sync_parent(path)
    }

    /// Removes a file; one that is not there is a success.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        match self.step(Step::Remove, path, || fs::remove_file(path)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => self.sync_parent(path),
        }
    }

    /// Removes a directory with everything in it; one that is not there is a success. It first takes a temporary name, so that a
    /// part of it is never seen under its own.
    ///
    /// # Errors
    /// The file system's. The directory is then whole under its name, or gone from it.
    pub fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.remove_dirs(&[path.to_owned()])
    }

    /// The same for several of one parent, whose entries are synced once.
    ///
    /// # Errors
    /// The first of the file system's. Each directory is then whole under its name, or gone from it.
    pub fn remove_dirs(&self, paths: &[PathBuf]) -> io::Result<()> {
        let Some(first) = paths.first() else { return Ok(()) };
        let mut renamed = Vec::new();
        let mut failure = None;
        for path in paths {
            let temporary = path.with_file_name(format!("{TEMPORARY}{:016x}", rand_core::OsRng.next_u64()));
            match self.step(Step::Rename, path, || rename_new(path, &temporary)) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => {
                    failure = Some(e);
                    break;
                }
                Ok(()) => renamed.push(temporary),
            }
        }
        self.sync_parent(first)?;
        for temporary in renamed {
            let removed = self.step(Step::Remove, &temporary, || fs::remove_dir_all(&temporary));
            failure = failure.or(removed.err());
        }
        failure.map_or(Ok(()), Err)
    }

    /// Moves a directory to a name that is free, e.g. out of the spool; durable once it returns.
    ///
    /// # Errors
    /// The file system's, and `AlreadyExists`.
    pub fn move_dir(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Rename, to, || rename_new(from, to))?;
        self.sync_parent(to)?;
        self.sync_parent(from)
    }

    /// Makes a directory and its missing parents, each synced into its own parent.
    ///
    /// # Errors
    /// The file system's.
    pub fn make_dirs(&self, path: &Path) -> io::Result<()> {
        self.make_dirs_with(path, 0o777)
    }

    /// The same, where new directories are for their owner only.
    ///
    /// # Errors
    /// The file system's.
    pub fn make_private_dirs(&self, path: &Path) -> io::Result<()> {
        self.make_dirs_with(path, 0o700)
    }

    fn make_dirs_with(&self, path: &Path, mode: u32) -> io::Result<()> {
        if path.as_os_str().is_empty() || self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(path) {
            return Ok(());
        }
        let Some(parent) = path.parent() else { return Ok(()) };
        let found = path.is_dir();
        if !found {
            self.make_dirs_with(parent, mode)?;
            match self.step(Step::MakeDir, path, || fs::DirBuilder::new().mode(mode).create(path)) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
                other => other?,
            }
        }
        // A directory that is there may be one that a process made and did not live to sync. A parent that may not be read cannot
        // be of ours.
        match self.sync_parent(path) {
            Err(e) if found && e.kind() == ErrorKind::PermissionDenied => {}
            other => other?,
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
        Ok(())
    }

    /// Removes what dead processes left unfinished directly inside `directory`. Only its sole writer may do so.
    ///
    /// # Errors
    /// The file system's.
    pub fn sweep(&self, directory: &Path) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                continue;
            }
            let (path, is_dir) = (entry.path(), entry.file_type()?.is_dir());
            self.step(Step::Remove, &path, || if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) })?;
        }
        Ok(())
    }

    /// Removes a staged file or directory that will not be published. What cannot be removed now is swept later.
    pub fn discard(&self, temporary: &Path) {
        let _ = self.step(Step::Remove, temporary, || {
            if temporary.is_dir() { fs::remove_dir_all(temporary) } else { fs::remove_file(temporary) }
        });
    }

    /// Syncs a directory's entries.
    ///
    /// # Errors
    /// The file system's.
    pub fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.step(Step::SyncDir, directory, || File::open(directory)?.sync_all())
    }

    fn sync_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => self.sync_dir(Path::new(".")),
            Some(parent) => self.sync_dir(parent),
            None => Ok(()),
        }
    }

    fn write_synced(&self, path: &Path, mode: u32, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let file = self.step(Step::Write, path, || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
            fill(&mut file)?;
            Ok(file)
        })?;
        self.step(Step::SyncFile, path, || file.sync_all())
    }
}

/// Renames without replacing: by `renameat2`, or, where the file system has no such thing, by a link (a directory: after a look,
/// which is enough for the sole writer that we are).
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if from.is_dir() => {
            if to.symlink_metadata().is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        other => other.map_err(Into::into),
    }
}

fn same(one: &mut dyn Read, other: &mut dyn Read) -> io::Result<bool> {
    let (mut a, mut b) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let (n, m) = (fill(one, &mut a)?, fill(other, &mut b)?);
        if a[..n] != b[..m] {
            return Ok(false);
        }
        if n < a.len() {
            return Ok(true);
        }
    }
}

fn fill(reader: &mut dyn Read, block: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < block.len() {
        match reader.read(&mut block[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
