//! Keys: the owner's root key, the agent's two keys, and `keys.json`, which names them. Private keys are never printed, never logged, never
//! replaced, and never read from a file that others may read.
//!
//! A key lies in a file, or in a key service that never gives it away. Beside a key's file `receipts.pem` lie those that followed it, as
//! `receipts.2.pem` and so on, by the revision that names them first: `keys.json` says which of them is in use, so that a new key comes
//! into use by the one replacement of that file.

mod kms;
mod pkcs11;
mod place;
mod service;
mod shared;
mod succession;

use std::{
    collections::BTreeSet,
    fmt, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use signing::{
    keys::{
        Draft, FORMAT, FileKey, KeyEntry, KeyRefusal, KeySet, KeysError, PemError, PublicKey, Signer, Unfit, Use,
        Validity,
    },
    time::{Utc, millis},
};
use zeroize::Zeroizing;

pub(crate) use self::succession::ended;
pub use self::{
    kms::KmsConfig,
    pkcs11::Pkcs11Config,
    place::Place,
    shared::SharedKeys,
    succession::{Change, draft, install},
};
use crate::{
    durable::{Created, Disk},
    lock::{self, Unlocked},
};

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The key that signs leaves.
    pub receipts: Place,
    /// The key that signs checkpoints.
    pub checkpoint: Place,
    /// Keys that others follow, where they are not beside those: they seal what was made for them.
    pub earlier: Vec<Place>,
    /// `keys.json`, signed by the root key.
    pub keys: PathBuf,
}

impl Paths {
    /// The names that [`make`] gives them.
    pub fn in_dir(dir: &Path) -> Self {
        Self {
            receipts: Place::File(dir.join("receipts.pem")),
            checkpoint: Place::File(dir.join("checkpoint.pem")),
            earlier: Vec::new(),
            keys: dir.join("keys.json"),
        }
    }

    /// Where the keys for a use are; `None` for approvals: those are people's, and never here.
    pub fn of(&self, use_: Use) -> Option<&Place> {
        match use_ {
            Use::Receipts => Some(&self.receipts),
            Use::Checkpoints => Some(&self.checkpoint),
            Use::Approvals => None,
        }
    }

    /// Where a revision that the root has yet to sign is written.
    pub fn request(&self) -> PathBuf {
        self.keys.with_file_name("keys.request.json")
    }
}

/// What the agent signs with.
#[derive(Clone)]
pub struct Keys {
    /// Signs leaves.
    pub receipts: Arc<dyn Signer>,
    /// Signs checkpoints.
    pub checkpoints: Arc<dyn Signer>,
    /// Keys of the set that others follow, as far as they are at hand.
    pub earlier: Vec<Arc<dyn Signer>>,
    /// The opened `keys.json`.
    pub set: KeySet,
    /// `keys.json` as it is: the bytes of the keys document.
    pub document: Vec<u8>,
}

impl Keys {
    /// The signer with this key id, if it is at hand.
    pub fn signer(&self, key_id: &str) -> Option<&Arc<dyn Signer>> {
        let all = [&self.receipts, &self.checkpoints].into_iter().chain(&self.earlier);
        all.into_iter().find(|key| key.public().fingerprint() == key_id)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("receipts", &self.receipts.public().fingerprint())
            .field("checkpoints", &self.checkpoints.public().fingerprint())
            .field("root", &self.set.root.fingerprint())
            .finish_non_exhaustive()
    }
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// The file system's.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// `read`, `write` …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read or replace it.
    #[error("{} has mode {mode:04o}: others may read or replace it; run `chmod {remedy} {}`", path.display(), path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What `chmod` should be given.
        remedy: &'static str,
    },
    /// Somebody else's file.
    #[error(
        "{} belongs to user {owner}, but the agent runs as user {user}: run it as the owner, or `chown {user} {}`",
        path.display(), path.display()
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The agent's user.
        user: u32,
    },
    /// Not a private key.
    #[error("{} is no key file", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PemError,
    },
    /// `keys.json` cannot be used.
    #[error("{} is no valid key set", path.display())]
    Set {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeysError,
    },
    /// A key that the set does not name for this use.
    #[error(
        "the key in {place} may not be used: {} does not allow it; have the root's custodian sign a revision of keys.json that names it, or \
         put back the key that belongs to it", keys.display()
    )]
    Refused {
        /// Where the key is.
        place: String,
        /// `keys.json`.
        keys: PathBuf,
        /// Why.
        source: KeyRefusal,
    },
    /// A key that another follows, and that other is not here.
    #[error(
        "the key {key_id} in {place} is followed by {next}, which is not there: put that key's file beside it, or name the key service that \
         holds it"
    )]
    Followed {
        /// Where the key is.
        place: String,
        /// The key.
        key_id: String,
        /// The key that follows it.
        next: String,
    },
    /// A key service that holds no such key, or one of another kind, or refuses.
    #[error("{place} cannot be used")]
    Service {
        /// The key service and its key.
        place: String,
        /// What it answered.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A revision that cannot follow the one in use.
    #[error("the new keys.json cannot follow the one in {}", path.display())]
    Unfit {
        /// `keys.json`.
        path: PathBuf,
        /// Why.
        source: Unfit,
    },
    /// A key that was to sign, or to be changed, and is not there, or not so.
    #[error("{0}")]
    Impossible(String),
    /// The directory is of another log.
    #[error(
        "{} holds the keys of origin {found:?}, not of {wanted:?}: use that origin, or another directory", path.display()
    )]
    Origin {
        /// The directory.
        path: PathBuf,
        /// What the file says.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// Some files are there, and those that would be needed to complete them are not.
    #[error("{} is missing, and cannot be made again: {remedy}", path.display())]
    Incomplete {
        /// What is missing.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// The directory's other user.
    #[error("another process is making keys in {}: wait for it, then try again", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
}

/// What [`make`] did.
#[derive(Debug)]
pub struct Made {
    /// The keys, opened.
    pub keys: Keys,
    /// Whether any file was new.
    pub new: bool,
}

/// The origin that a directory's keys are for; `None` where none is written yet.
///
/// # Errors
/// A file that cannot be read.
pub fn origin(dir: &Path) -> Result<Option<String>, KeystoreError> {
    let path = dir.join("origin");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeystoreError::Io { action: "read", path, source }),
    }
}

/// What [`make_with`] came to.
#[derive(Debug)]
pub enum Begun {
    /// `keys.json` is there.
    Ready(Box<Made>),
    /// The keys are there, and a request to the root's custodian is in this file.
    Asked(PathBuf, Box<Draft>),
}

/// Makes a root key, a receipts key, a checkpoint key and `keys.json` in `dir`, as far as they are missing, and opens them. Nothing that
/// is there is ever replaced; a call that was cut short is finished by the next one. The root key comes first and may be moved away
/// once `keys.json` is there.
///
/// # Errors
/// Files that cannot be written, that are unsafe, or that do not belong together; the message says what to do.
pub fn make(disk: &Disk, dir: &Path, origin: &str, now: Utc) -> Result<Made, KeystoreError> {
    match make_with(disk, dir, &Paths::in_dir(dir), origin, None, now)? {
        Begun::Ready(made) => Ok(*made),
        Begun::Asked(path, _) => Err(KeystoreError::Impossible(format!("{} waits for the root", path.display()))),
    }
}

/// The same with keys in other places, which are then only asked for their public halves, and with a root key that is elsewhere: then a
/// request for its signature is written instead of `keys.json`.
///
/// # Errors
/// As [`make`]; a key service's.
pub fn make_with(
    disk: &Disk,
    dir: &Path,
    paths: &Paths,
    origin: &str,
    root: Option<PublicKey>,
    now: Utc,
) -> Result<Begun, KeystoreError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| KeystoreError::Io { action, path, source }
    };
    disk.make_private_dirs(dir).map_err(failed("make", dir))?;
    let _lock = hold(dir)?;
    check_access(dir, 0o022, "go-w")?;
    disk.sweep(dir).map_err(failed("sweep", dir))?;

    if let Some(found) = self::origin(dir)?
        && found != origin
    {
        return Err(KeystoreError::Origin { path: dir.to_owned(), found, wanted: origin.to_owned() });
    }
    if exists(&paths.keys)? {
        for path in [&paths.receipts, &paths.checkpoint].into_iter().filter_map(Place::file) {
            if place::family(path)?.is_empty() {
                let remedy = "keys.json names this key and no other; put the file back from a backup, or have the root's custodian sign a \
                              revision of keys.json with a new key";
                return Err(KeystoreError::Incomplete { path: path.clone(), remedy });
            }
        }
        let keys = open(paths)?;
        if keys.set.origin != origin {
            let found = keys.set.origin;
            return Err(KeystoreError::Origin { path: dir.to_owned(), found, wanted: origin.to_owned() });
        }
        write(disk, &dir.join("origin"), format!("{origin}\n").as_bytes())?;
        return Ok(Begun::Ready(Box::new(Made { keys, new: false })));
    }

    let root_path = dir.join("root.pem");
    let made = |place: &Place| place.file().map_or(Ok(false), |path| exists(path));
    if root.is_none() && !exists(&root_path)? && (made(&paths.receipts)? || made(&paths.checkpoint)?) {
        let remedy = "without it, or root.pem beside it to sign it again, these keys cannot be used; put keys.json back from a backup or \
                      from the archive (document/keys/), or put root.pem back and run this again";
        return Err(KeystoreError::Incomplete { path: paths.keys.clone(), remedy });
    }
    let own_root = match root {
        Some(_) => None,
        None => Some(make_key(disk, &root_path)?),
    };
    let root = root.or_else(|| own_root.as_ref().map(|key| *key.public())).expect("one of them is there");
    let public = |place: &Place| match place {
        Place::File(path) => make_key(disk, path).map(|key| *key.public()),
        service => service.ask_public(),
    };
    let receipts = public(&paths.receipts)?;
    let checkpoint = public(&paths.checkpoint)?;
    write(disk, &dir.join("origin"), format!("{origin}\n").as_bytes())?;
    let now = millis(now);
    let set = KeySet {
        format: FORMAT.to_owned(),
        origin: origin.to_owned(),
        revision: 1,
        root,
        keys: vec![entry(receipts, Use::Receipts, now), entry(checkpoint, Use::Checkpoints, now)],
        made_at: now,
        consents: BTreeSet::new(),
    };
    let failed_set = |source| KeystoreError::Set { path: paths.keys.clone(), source };
    let draft = Draft::new(&set, &[]).map_err(failed_set)?;
    let Some(root) = own_root else {
        let path = paths.request();
        disk.replace(&path, &draft.to_bytes()).map_err(failed("write", &path))?;
        return Ok(Begun::Asked(path, Box::new(draft)));
    };
    write(disk, &paths.keys, &draft.sign(&root).map_err(failed_set)?)?;
    Ok(Begun::Ready(Box::new(Made { keys: open(paths)?, new: true })))
}

/// A new key of the set, valid from now on.
fn entry(spki: PublicKey, use_: Use, from: Utc) -> KeyEntry {
    KeyEntry {
        key_id: spki.fingerprint(),
        spki,
        use_,
        name: None,
        valid: Validity { from, until: None },
        compromised_since: None,
        superseded_by: None,
        lost: false,
    }
}

/// Keeps others from changing the directory's keys until it is dropped.
fn hold(dir: &Path) -> Result<std::fs::File, KeystoreError> {
    match lock::directory(dir) {
        Ok(lock) => Ok(lock),
        Err(Unlocked::Held(_)) => Err(KeystoreError::Busy { path: dir.to_owned() }),
        Err(Unlocked::Io(source)) => Err(KeystoreError::Io { action: "lock", path: dir.to_owned(), source }),
    }
}

/// Opens the keys and checks that `keys.json` names them: for each use the one that no other follows. A key service that does not answer
/// is taken to hold the key that `keys.json` says is in use; every signature of it is checked.
///
/// # Errors
/// Unsafe, missing or foreign files, and keys that may not be used, with the remedy.
pub fn open(paths: &Paths) -> Result<Keys, KeystoreError> {
    let (set, document) = read_set(&paths.keys)?;
    let mut earlier: Vec<Arc<dyn Signer>> = Vec::new();
    let mut in_use = |use_: Use, place: &Place| -> Result<Arc<dyn Signer>, KeystoreError> {
        let (mut current, mut why) = (None, None);
        for (found, key) in place.open(&set, use_)? {
            let id = key.public().fingerprint();
            let place = found.clone();
            // When it is valid is judged at each sealing; here only whether it is the set's at all.
            match set.entry(&id) {
                Some(entry) if entry.use_ != use_ => {
                    let source = KeyRefusal::WrongUse { key_id: id, may: entry.use_, asked: use_ };
                    why.get_or_insert(KeystoreError::Refused { place, keys: paths.keys.clone(), source });
                }
                Some(KeyEntry { superseded_by: Some(next), .. }) => {
                    why.get_or_insert(KeystoreError::Followed { place, key_id: id, next: next.clone() });
                    earlier.push(key);
                }
                Some(_) if current.is_none() => current = Some(key),
                Some(_) => {}
                // A new key beside one in use is one whose revision the root has yet to sign.
                None => {
                    let source = KeyRefusal::Unknown(id);
                    why.get_or_insert(KeystoreError::Refused { place, keys: paths.keys.clone(), source });
                }
            }
        }
        current.ok_or_else(|| {
            why.unwrap_or_else(|| KeystoreError::Io {
                action: "read",
                path: place.file().cloned().unwrap_or_default(),
                source: io::ErrorKind::NotFound.into(),
            })
        })
    };
    let receipts = in_use(Use::Receipts, &paths.receipts)?;
    let checkpoints = in_use(Use::Checkpoints, &paths.checkpoint)?;
    for place in &paths.earlier {
        let found = place.open(&set, Use::Receipts)?;
        earlier.extend(
            found.into_iter().map(|(_, key)| key).filter(|key| set.entry(&key.public().fingerprint()).is_some()),
        );
    }
    Ok(Keys { receipts, checkpoints, earlier, set, document })
}

/// `keys.json`, opened, and its bytes.
///
/// # Errors
/// One that cannot be read, or is none.
pub fn read_set(path: &Path) -> Result<(KeySet, Vec<u8>), KeystoreError> {
    let document =
        std::fs::read(path).map_err(|source| KeystoreError::Io { action: "read", path: path.to_owned(), source })?;
    match KeySet::open_untrusted(&document) {
        Ok(set) => Ok((set, document)),
        Err(source) => Err(KeystoreError::Set { path: path.to_owned(), source }),
    }
}

fn exists(path: &Path) -> Result<bool, KeystoreError> {
    path.try_exists().map_err(|source| KeystoreError::Io { action: "look for", path: path.to_owned(), source })
}

fn write(disk: &Disk, path: &Path, bytes: &[u8]) -> Result<(), KeystoreError> {
    let failed = |source| KeystoreError::Io { action: "write", path: path.to_owned(), source };
    match disk.create_new(path, bytes).map_err(failed)? {
        Created::New | Created::Same => Ok(()),
        Created::Other => Err(failed(io::ErrorKind::AlreadyExists.into())),
    }
}

pub(crate) fn make_key(disk: &Disk, path: &Path) -> Result<FileKey, KeystoreError> {
    if !exists(path)? {
        let pem = FileKey::generate().to_pem();
        disk.create_new_private(path, pem.as_bytes()).map_err(|source| KeystoreError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        })?;
    }
    read_key(path)
}

/// Reads the private key in a file that is its owner's alone.
///
/// # Errors
/// A file that is unsafe, missing or no key.
pub fn read_key(path: &Path) -> Result<FileKey, KeystoreError> {
    check_access(path, 0o077, "600")?;
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|source| KeystoreError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    FileKey::from_pem(&text).map_err(|source| KeystoreError::Pem { path: path.to_owned(), source })
}

fn check_access(path: &Path, refused: u32, remedy: &'static str) -> Result<(), KeystoreError> {
    let meta = std::fs::metadata(path).map_err(|source| KeystoreError::Io {
        action: "look at",
        path: path.to_owned(),
        source,
    })?;
    let user = rustix::process::geteuid().as_raw();
    if meta.uid() != user {
        return Err(KeystoreError::Owner { path: path.to_owned(), owner: meta.uid(), user });
    }
    let mode = meta.permissions().mode() & 0o7777;
    if mode & refused != 0 {
        return Err(KeystoreError::Mode { path: path.to_owned(), mode, remedy });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
