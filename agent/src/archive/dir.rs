//! An archive in a directory. It has no Object Lock: whoever may write to the directory can change it, and only `verify` tells.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use collectors::contract::BoxFuture;
use signing::{
    digest::Digest,
    layout::{CHECKPOINT, origin_directory},
    store::{Dir, Reader},
};

use super::{Archive, ArchiveError, Body, Created, SharedReader, removable};
use crate::{
    durable::{self, Disk},
    lock::{self, Unlocked},
};

/// The largest checkpoint that is read back.
const MAX_CHECKPOINT: u64 = 64 * 1024;

/// One origin's directory, held under an exclusive lock for as long as this lives.
#[derive(Clone)]
pub struct DirArchive(Arc<Inner>);

struct Inner {
    root: Dir,
    disk: Disk,
    checkpoint: Mutex<()>,
    held: Mutex<Held>,
}

struct Held {
    /// The directory itself, locked: no lock file that a reader would take for an object.
    lock: File,
    /// The checkpoint that was there when it was opened, or that was written since.
    checkpoint: Option<Vec<u8>>,
}

impl std::fmt::Debug for DirArchive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DirArchive").field(&self.0.root).finish()
    }
}

impl DirArchive {
    /// Opens `root/<origin>` for writing, makes it where it is missing, and removes what a dead writer left unfinished. It blocks on
    /// the file system.
    ///
    /// # Errors
    /// [`ArchiveError::InUse`] while another writer, of this process or of another, has it open.
    pub fn open(root: &Path, origin: &str, disk: &Disk) -> Result<Self, ArchiveError> {
        let path = root.join(origin_directory(origin));
        disk.make_dirs(&path).map_err(failed(&path, "make"))?;
        Self::hold(path, disk)
    }

    /// As [`DirArchive::open`], for a log that is known to exist: a directory that is missing is not made, since its file system may not
    /// be mounted, and an empty one in its place would fork the log.
    ///
    /// # Errors
    /// As [`DirArchive::open`], and [`ArchiveError::Io`] while it is missing.
    pub fn reopen(root: &Path, origin: &str, disk: &Disk) -> Result<Self, ArchiveError> {
        Self::hold(root.join(origin_directory(origin)), disk)
    }

    fn hold(path: PathBuf, disk: &Disk) -> Result<Self, ArchiveError> {
        let lock = lock(&path)?;
        let disk = disk.with_temporaries_in(&path);
        disk.sweep(&path).map_err(failed(&path, "sweep"))?;
        let root = Dir::new(path);
        let checkpoint =
            root.read(CHECKPOINT, MAX_CHECKPOINT).map_err(failed(root.root(), "read the checkpoint of"))?;
        let held = Mutex::new(Held { lock, checkpoint });
        Ok(Self(Arc::new(Inner { root, disk, checkpoint: Mutex::new(()), held })))
    }

    /// Where the objects lie.
    pub fn path(&self) -> &Path {
        self.0.root.root()
    }

    fn blocking<'a, T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, ArchiveError> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, ArchiveError>> {
        let inner = self.0.clone();
        let running = tokio::task::spawn_blocking(move || inner.check_there().and_then(|()| work(&inner)));
        Box::pin(async move {
            match running.await {
                Ok(result) => result,
                Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
                Err(e) => Err(ArchiveError::Io {
                    place: "archive".into(),
                    action: "finish with",
                    name: "the runtime is stopping".into(),
                    source: io::Error::other(e),
                }),
            }
        })
    }
}

impl Archive for DirArchive {
    fn create<'a>(&'a self, name: &'a str, body: Body) -> BoxFuture<'a, Result<Created, ArchiveError>> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.create(&name, &body))
    }

    fn read<'a>(&'a self, name: &'a str, limit: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, ArchiveError>> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.root.read(&name, limit).map_err(inner.failed("read", &name)))
    }

    fn digest<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Digest>, ArchiveError>> {
        let name = name.to_owned();
        self.blocking(move |inner| {
            let found = inner
                .root
                .open(&name)
                .and_then(|file| file.map(|mut file| Digest::read(&mut file).map(|(digest, _)| digest)).transpose());
            found.map_err(inner.failed("read", &name))
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, ArchiveError>> {
        let prefix = prefix.to_owned();
        self.blocking(move |inner| {
            let mut names = Vec::new();
            inner.root.list(&prefix, &mut |name| names.push(name.to_owned())).map_err(inner.failed("list", &prefix))?;
            names.sort_unstable();
            Ok(names)
        })
    }

    fn replace_checkpoint<'a>(
        &'a self,
        old: Option<&'a [u8]>,
        new: &'a [u8],
    ) -> BoxFuture<'a, Result<(), ArchiveError>> {
        let (old, new) = (old.map(<[u8]>::to_vec), new.to_vec());
        self.blocking(move |inner| inner.replace_checkpoint(old.as_deref(), &new))
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ArchiveError>> {
        let name = name.to_owned();
        self.blocking(move |inner| {
            let path = inner.path("remove", &name)?;
            if !removable(&name) {
                return Err(ArchiveError::Refused { place: inner.place(), action: "remove", name });
            }
            inner.disk.remove_file(&path).map_err(inner.failed("remove", &name))
        })
    }

    fn reader(&self) -> SharedReader {
        Arc::new(self.0.root.clone())
    }

    fn place(&self) -> String {
        self.0.place()
    }
}

impl Inner {
    /// Whether the directory is still the one that is locked. It may go away and come back while the agent runs (unmounted, restored):
    /// the same log is locked again and gone on with; nothing is ever written where it is not.
    fn check_there(&self) -> Result<(), ArchiveError> {
        let path = self.root.root();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let there = fs::metadata(path).map_err(failed(path, "find"))?;
        if held.lock.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino())) {
            return Ok(());
        }
        let lock = lock(path)?;
        let checkpoint = self.root.read(CHECKPOINT, MAX_CHECKPOINT).map_err(failed(path, "read the checkpoint of"))?;
        if checkpoint != held.checkpoint {
            let other = "another directory is there now, and its checkpoint is not the one that this agent published last: put back the \
                         newest copy, or mount the right file system";
            return Err(failed(path, "go on in")(io::Error::other(other)));
        }
        tracing::warn!(
            place = self.place(),
            "the archive's directory was replaced by one that holds the same log; going on in it"
        );
        held.lock = lock;
        Ok(())
    }

    fn place(&self) -> String {
        place(self.root.root())
    }

    fn failed(&self, action: &'static str, name: &str) -> impl FnOnce(io::Error) -> ArchiveError {
        let (place, name) = (self.place(), name.to_owned());
        move |source| ArchiveError::Io { place, action, name, source }
    }

    /// The file of a name, which must be one that stays below the root and is no temporary's.
    fn path(&self, action: &'static str, name: &str) -> Result<PathBuf, ArchiveError> {
        let plain = |part: &str| !part.is_empty() && !part.starts_with('.');
        if !name.split('/').all(plain) || name.contains(['\\', ':', '\0']) {
            return Err(ArchiveError::Refused { place: self.place(), action, name: name.to_owned() });
        }
        Ok(self.root.root().join(name))
    }

    fn create(&self, name: &str, body: &Body) -> Result<Created, ArchiveError> {
        let path = self.path("create", name)?;
        let write = || {
            self.disk.make_dirs(path.parent().unwrap_or(self.root.root()))?;
            match body {
                Body::Bytes(bytes) => self.disk.create_new(&path, bytes),
                Body::File(source) => self.disk.create_new_from(&path, source),
            }
        };
        match write().map_err(self.failed("create", name))? {
            durable::Created::New => Ok(Created::New),
            durable::Created::Same => Ok(Created::Same),
            durable::Created::Other => {
                let digest = |path: &Path| Digest::read(&mut File::open(path)?).map(|(digest, _)| digest);
                let found = digest(&path).map_err(self.failed("read", name))?;
                let ours = match body {
                    Body::Bytes(bytes) => Digest::of(bytes),
                    Body::File(source) => digest(source).map_err(self.failed("read the source of", name))?,
                };
                Err(ArchiveError::OtherBytes { place: self.place(), name: name.to_owned(), found, ours })
            }
        }
    }

    fn replace_checkpoint(&self, old: Option<&[u8]>, new: &[u8]) -> Result<(), ArchiveError> {
        // Other processes are kept away by the lock on the directory, other threads by this one.
        let _guard = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.root.read(CHECKPOINT, MAX_CHECKPOINT).map_err(self.failed("read", CHECKPOINT))?;
        if found.as_deref() != old && found.as_deref() != Some(new) {
            return Err(ArchiveError::CheckpointMoved { place: self.place() });
        }
        // Also where the new bytes are there already: they may not be synced.
        let path = self.path("replace", CHECKPOINT)?;
        self.disk.replace(&path, new).map_err(self.failed("replace", CHECKPOINT))?;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).checkpoint = Some(new.to_vec());
        Ok(())
    }
}

/// Fails with what was tried on the directory itself.
fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> ArchiveError {
    let place = place(path);
    move |source| ArchiveError::Io { place, action, name: String::new(), source }
}

fn lock(path: &Path) -> Result<File, ArchiveError> {
    lock::directory(path).map_err(|error| match error {
        Unlocked::Held(pid) => ArchiveError::InUse { path: path.to_owned(), pid },
        Unlocked::Io(e) => failed(path, "open")(e),
    })
}

fn place(path: &Path) -> String {
    format!("directory {}", path.display())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use super::*;

    const ORIGIN: &str = "localhost/test";

    #[tokio::test]
    async fn the_same_bytes_are_a_success_and_other_bytes_an_alarm_that_names_both() {
        let dir = tempfile::tempdir().unwrap();
        let archive = DirArchive::open(dir.path(), ORIGIN, &Disk::new()).unwrap();
        let name = "document/plan/x.json";
        assert_eq!(archive.create(name, b"one".to_vec().into()).await.unwrap(), Created::New);
        assert_eq!(archive.create(name, b"one".to_vec().into()).await.unwrap(), Created::Same);
        let alarm = archive.create(name, b"two".to_vec().into()).await.unwrap_err();
        assert!(matches!(&alarm, ArchiveError::OtherBytes { name: n, found, ours, .. }
            if n == name && *found == Digest::of(b"one") && *ours == Digest::of(b"two")));
        assert_eq!(archive.read(name, 10).await.unwrap().unwrap(), b"one");
        assert_eq!(archive.digest(name).await.unwrap(), Some(Digest::of(b"one")));
        assert_eq!(archive.list("document/").await.unwrap(), [name]);
    }

    #[tokio::test]
    async fn a_second_writer_is_refused_with_the_directory_and_the_process_and_may_come_when_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirArchive::open(dir.path(), ORIGIN, &Disk::new()).unwrap();
        match DirArchive::open(dir.path(), ORIGIN, &Disk::new()).unwrap_err() {
            ArchiveError::InUse { path, pid } => {
                assert_eq!(path, first.path());
                assert!(pid.is_none_or(|p| p == std::process::id()), "another process named: {pid:?}");
            }
            other => panic!("{other}"),
        }
        DirArchive::open(dir.path(), "another/origin", &Disk::new()).unwrap();
        drop(first);
        DirArchive::open(dir.path(), ORIGIN, &Disk::new()).unwrap();
    }

    #[tokio::test]
    async fn a_checkpoint_that_moved_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let archive = DirArchive::open(dir.path(), ORIGIN, &Disk::new()).unwrap();
        archive.replace_checkpoint(None, b"1").await.unwrap();
        archive.replace_checkpoint(None, b"1").await.unwrap();
        archive.replace_checkpoint(Some(b"1"), b"2").await.unwrap();
        for stale in [None, Some(&b"1"[..])] {
            let refused = archive.replace_checkpoint(stale, b"3").await.unwrap_err();
            assert!(matches!(refused, ArchiveError::CheckpointMoved { .. }));
        }
        assert_eq!(archive.read(CHECKPOINT, 10).await.unwrap().unwrap(), b"2");
    }

    #[tokio::test]
    async fn only_appends_and_partial_tiles_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let archive = DirArchive::open(dir.path(), ORIGIN, &Disk::new()).unwrap();
        for name in ["append/5", "tile/0/000.p/5", "tile/entries/000.p/5"] {
            archive.create(name, b"x".to_vec().into()).await.unwrap();
            archive.remove(name).await.unwrap();
            archive.remove(name).await.unwrap();
            assert_eq!(archive.read(name, 10).await.unwrap(), None);
        }
        for name in ["tile/0/000", "checkpoint", "seal/x", "append/../checkpoint", "bundle/x.p/1"] {
            assert!(matches!(archive.remove(name).await.unwrap_err(), ArchiveError::Refused { .. }), "{name}");
        }
        for name in ["", "/x", "a//b", "../x", "a/.tmp-1", "c:\\x"] {
            assert!(matches!(
                archive.create(name, b"x".to_vec().into()).await.unwrap_err(),
                ArchiveError::Refused { .. }
            ));
        }
    }

    #[tokio::test]
    async fn what_a_dead_writer_left_unfinished_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let path = DirArchive::open(dir.path(), ORIGIN, &Disk::new()).unwrap().path().to_owned();
        fs::write(path.join(".tmp-1"), b"half").unwrap();
        let archive = DirArchive::open(dir.path(), ORIGIN, &Disk::new()).unwrap();
        assert_eq!(archive.list("").await.unwrap(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_directory_that_goes_away_is_not_made_again_and_is_gone_on_with_when_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let archive = DirArchive::open(dir.path(), ORIGIN, &Disk::new()).unwrap();
        archive.replace_checkpoint(None, b"1").await.unwrap();
        let (path, away) = (archive.path().to_owned(), dir.path().join("away"));
        fs::rename(&path, &away).unwrap();
        for refused in [
            archive.create("seal/x", b"x".to_vec().into()).await.map(|_| ()),
            archive.read(CHECKPOINT, 10).await.map(|_| ()),
            archive.list("").await.map(|_| ()),
        ] {
            assert!(matches!(refused, Err(ArchiveError::Io { .. })), "{refused:?}");
        }
        assert!(!path.exists());

        // Something else in its place, such as what lies below a mount point, is not written into.
        fs::create_dir(&path).unwrap();
        let refused = archive.create("seal/x", b"x".to_vec().into()).await.unwrap_err();
        assert!(matches!(refused, ArchiveError::Io { .. }), "{refused}");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        fs::remove_dir(&path).unwrap();

        // A copy of the same log is, and is locked like the first.
        fs::create_dir(&path).unwrap();
        fs::write(path.join(CHECKPOINT), b"1").unwrap();
        archive.create("seal/x", b"x".to_vec().into()).await.unwrap();
        archive.replace_checkpoint(Some(b"1"), b"2").await.unwrap();
        assert!(matches!(DirArchive::open(dir.path(), ORIGIN, &Disk::new()), Err(ArchiveError::InUse { .. })));
    }

    #[test]
    fn the_directory_of_a_log_that_is_known_is_never_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let refused = DirArchive::reopen(dir.path(), ORIGIN, &Disk::new()).unwrap_err();
        assert!(
            matches!(&refused, ArchiveError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound),
            "{refused}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_refused_read_is_not_taken_for_an_absence() {
        let dir = tempfile::tempdir().unwrap();
        let archive = DirArchive::open(dir.path(), ORIGIN, &Disk::new()).unwrap();
        archive.create("seal/x", b"x".to_vec().into()).await.unwrap();
        assert_eq!(archive.read("seal/y", 10).await.unwrap(), None);
        // A directory where an object should be is a failed read, as is an object longer than allowed.
        assert!(archive.read("seal", 10).await.is_err());
        assert!(archive.read("seal/x", 0).await.is_err());
    }
}
