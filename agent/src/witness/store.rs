//! A witness's memory: for each log the newest checkpoint that it signed, in a directory of its own. It never signs what it could forget.
//!
//! Nothing is remembered but in files, and every signature follows a write: a checkpoint is read back, judged, signed, written durably,
//! and only then is the signature given away. So a crash, or a write that failed but persisted, costs at most a signature that nobody
//! got: the client asks again, and gets one for the tree that is there.
//!
//! ```text
//! witness                              the witness's verifier key
//! log/<sha256 of origin>/checkpoint    the newest checkpoint with the log's signature and the witness's
//! log/<sha256 of origin>/refused/<sha256>.checkpoint
//!                                      what the log signed and the witness did not, since it does not continue that
//! ```

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use signing::{
    digest::Digest,
    errors::chain,
    keys::{FileKey, Signer},
    log::{
        Checkpoint, MAX_CHECKPOINT, VkeyError,
        cosignature::{self, Cosignature, CosignatureError, NotWitnessed, WitnessKey},
        witness::{Log, Refusal, Submission},
    },
    time::{Utc, rfc3339},
};

use crate::{
    durable::{Created, Disk},
    keystore::{self, KeystoreError},
    lock::{self, Unlocked},
};

/// The file that names the witness.
const NAME: &str = "witness";

/// The most refused checkpoints that are kept of one log; later ones are only told of.
const MAX_REFUSED: usize = 100;

/// What keeps a witness from its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system's.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// `read`, `write` …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No state.
    #[error(
        "{} is no state of a witness: `evidenced witness init` makes one. Where it was lost, its key must not sign again: make another \
         witness, with a key of its own", _0.display()
    )]
    None(PathBuf),
    /// A key without its memory.
    #[error(
        "{} is there, but {} holds no state: a key that has signed never begins anew without its memory. Put the state back as it was last, \
         or name a new key file", key.display(), state.display()
    )]
    KeyWithoutState {
        /// The key file.
        key: PathBuf,
        /// The state directory.
        state: PathBuf,
    },
    /// Memory without its key.
    #[error("{} remembers what the witness {name} signed, but its key is not in {}: put it back", state.display(), key.display())]
    StateWithoutKey {
        /// The key file.
        key: PathBuf,
        /// The state directory.
        state: PathBuf,
        /// The witness's name.
        name: String,
    },
    /// Another witness's.
    #[error("{} is the state of {found}, not of {wanted}", path.display())]
    Other {
        /// The state directory.
        path: PathBuf,
        /// The verifier key in it.
        found: String,
        /// The one that it should be.
        wanted: String,
    },
    /// A name that no note can carry.
    #[error("{name:?} is no name for a witness")]
    Name {
        /// The name.
        name: String,
        /// Why.
        source: VkeyError,
    },
    /// A witness that would be its own log.
    #[error("the log {0:?} signs with this witness's key: a witness has a key of its own")]
    SameKey(String),
    /// State that is not as it was written.
    #[error(
        "{} is damaged: it is not what this witness wrote ({why}). It signs nothing before the file is put back as it was last: an older \
         one would let it sign a second history", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In words.
        why: String,
    },
    /// Two of one witness.
    #[error("{} is in use by another process{}", path.display(), pid.map_or(String::new(), |pid| format!(" ({pid})")))]
    Busy {
        /// The state directory.
        path: PathBuf,
        /// The holder, where the system tells.
        pid: Option<u32>,
    },
    /// The key file.
    #[error(transparent)]
    Key(#[from] KeystoreError),
}

/// Why a checkpoint was not signed.
#[derive(Debug, thiserror::Error)]
pub enum NotSigned {
    /// By the rules.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The witness's clock shows an earlier time than its last signature.
    #[error(
        "this witness's clock shows {now}, but its last signature is of {last}: it signs again when its clock is right"
    )]
    Clock {
        /// The clock.
        now: String,
        /// The last signature.
        last: String,
    },
    /// The witness's own trouble.
    #[error(transparent)]
    State(#[from] StoreError),
    /// The same.
    #[error(transparent)]
    Sign(#[from] CosignatureError),
}

/// What [`init`] did.
#[derive(Debug)]
pub struct Made {
    /// The witness.
    pub witness: WitnessKey,
    /// Whether anything was new.
    pub new: bool,
}

/// Makes a witness: its state and its key file. What is there is never replaced, but for a state that has signed nothing and has no key:
/// such a call was cut short.
///
/// # Errors
/// Files that cannot be written or do not belong together.
pub fn init(disk: &Disk, state: &Path, key: &Path, name: &str) -> Result<Made, StoreError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Io { action, path, source }
    };
    disk.make_private_dirs(state).map_err(io("make", state))?;
    let _lock = take(state)?;
    disk.sweep(state).map_err(io("sweep", state))?;
    let found = read_name(state)?;
    let has_key = key.try_exists().map_err(io("look for", key))?;
    match (found, has_key) {
        (Some(found), true) => {
            let wanted = named(name, &keystore::read_key(key)?)?;
            if found != wanted {
                return Err(StoreError::Other { path: state.to_owned(), found: found.vkey(), wanted: wanted.vkey() });
            }
            return Ok(Made { witness: found, new: false });
        }
        (None, true) => return Err(StoreError::KeyWithoutState { key: key.to_owned(), state: state.to_owned() }),
        (Some(found), false) if state.join("log").exists() => {
            let (key, state) = (key.to_owned(), state.to_owned());
            return Err(StoreError::StateWithoutKey { key, state, name: found.name().to_owned() });
        }
        (_, false) => {}
    }
    let made = FileKey::generate();
    let witness = named(name, &made)?;
    let path = state.join(NAME);
    disk.replace(&path, format!("{}\n", witness.vkey()).as_bytes()).map_err(io("write", &path))?;
    match disk.create_new_private(key, made.to_pem().as_bytes()).map_err(io("write", key))? {
        Created::New | Created::Same => Ok(Made { witness, new: true }),
        Created::Other => Err(io("write", key)(io::ErrorKind::AlreadyExists.into())),
    }
}

fn named(name: &str, key: &FileKey) -> Result<WitnessKey, StoreError> {
    WitnessKey::new(name, *key.public()).map_err(|source| StoreError::Name { name: name.to_owned(), source })
}

fn take(state: &Path) -> Result<File, StoreError> {
    lock::directory(state).map_err(|error| match error {
        Unlocked::Held(pid) => StoreError::Busy { path: state.to_owned(), pid },
        Unlocked::Io(source) if source.kind() == io::ErrorKind::NotFound => StoreError::None(state.to_owned()),
        Unlocked::Io(source) => StoreError::Io { action: "lock", path: state.to_owned(), source },
    })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Io { action: "read", path: path.to_owned(), source }),
    }
}

fn damaged(path: &Path, why: impl ToString) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), why: why.to_string() }
}

fn read_name(state: &Path) -> Result<Option<WitnessKey>, StoreError> {
    let path = state.join(NAME);
    let Some(bytes) = read(&path)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|error| damaged(&path, error))?;
    WitnessKey::from_vkey(text.trim_end()).map(Some).map_err(|error| damaged(&path, error))
}

/// The newest checkpoint of a log that a witness signed, as it is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// When the witness signed it.
    pub at: Utc,
    /// The note, with the log's signature and the witness's.
    pub note: Vec<u8>,
    /// Checkpoints that the log signed and the witness refused, since they do not continue what it had signed.
    pub refused: Vec<PathBuf>,
}

/// What a state directory remembers, of every log; nothing is changed, and a running witness is not disturbed.
///
/// # Errors
/// What cannot be read, or is not what the witness wrote.
pub fn look(state: &Path) -> Result<(WitnessKey, Vec<Kept>), StoreError> {
    let witness = read_name(state)?.ok_or_else(|| StoreError::None(state.to_owned()))?;
    let logs = state.join("log");
    let mut kept = Vec::new();
    for name in names(&logs)? {
        let directory = logs.join(name);
        let Some(mut one) = read_kept(&directory, &witness)? else { continue };
        let refused = directory.join("refused");
        one.refused = names(&refused)?.into_iter().map(|name| refused.join(name)).collect();
        kept.push(one);
    }
    kept.sort_by(|a, b| a.checkpoint.origin.cmp(&b.checkpoint.origin));
    Ok((witness, kept))
}

/// The names in a directory, but for unfinished ones; none where it is not there.
fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    let io = |source| StoreError::Io { action: "list", path: directory.to_owned(), source };
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with(crate::durable::TEMPORARY) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The directory of a log.
fn directory(state: &Path, origin: &str) -> PathBuf {
    state.join("log").join(Digest::of(origin.as_bytes()).to_string())
}

fn read_kept(directory: &Path, witness: &WitnessKey) -> Result<Option<Kept>, StoreError> {
    let path = directory.join("checkpoint");
    let Some(note) = read(&path)? else { return Ok(None) };
    let (checkpoint, at) = open_kept(&note, witness).map_err(|error| damaged(&path, chain(&error)))?;
    if directory.file_name() != Some(Digest::of(checkpoint.origin.as_bytes()).to_string().as_ref()) {
        return Err(damaged(&path, "it is of another log"));
    }
    Ok(Some(Kept { checkpoint, at, note, refused: Vec::new() }))
}

fn open_kept(note: &[u8], witness: &WitnessKey) -> Result<(Checkpoint, Utc), NotWitnessed> {
    let (checkpoint, by) = cosignature::verify_note(note, std::slice::from_ref(witness))?;
    let at = by.first().map(|cosignature| cosignature.at).ok_or(CosignatureError::Unknown)?;
    Ok((checkpoint, at))
}

/// A witness at work: the sole user of its state.
pub struct Store {
    disk: Disk,
    state: PathBuf,
    witness: WitnessKey,
    key: FileKey,
    /// Each with its lock, which is held from the reading of what was signed to the end of the next writing.
    logs: Vec<(Log, Mutex<()>)>,
    _lock: File,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("state", &self.state).field("witness", &self.witness).finish_non_exhaustive()
    }
}

impl Store {
    /// Takes a state that [`init`] made, and reads all of it.
    ///
    /// # Errors
    /// A key that is not this state's, a log that signs with it, another process with this state, and state that cannot be read: without
    /// its whole memory a witness signs nothing.
    pub fn open(disk: &Disk, state: &Path, key: &Path, logs: Vec<Log>) -> Result<Self, StoreError> {
        let lock = take(state)?;
        let (witness, _) = look(state)?;
        let key = keystore::read_key(key)?;
        let wanted = named(witness.name(), &key)?;
        if wanted != witness {
            return Err(StoreError::Other { path: state.to_owned(), found: witness.vkey(), wanted: wanted.vkey() });
        }
        if let Some(log) = logs.iter().find(|log| log.keys.contains(key.public())) {
            return Err(StoreError::SameKey(log.origin.clone()));
        }
        let logs = logs.into_iter().map(|log| (log, Mutex::new(()))).collect();
        Ok(Self { disk: disk.clone(), state: state.to_owned(), witness, key, logs, _lock: lock })
    }

    /// Who it is.
    pub fn witness(&self) -> &WitnessKey {
        &self.witness
    }

    /// Judges an add-checkpoint body, and signs. It blocks.
    ///
    /// MUST have the checkpoint durably when it returns a signature.
    ///
    /// # Errors
    /// Why nothing was signed.
    pub fn add_checkpoint(&self, body: &[u8], now: Utc) -> Result<Cosignature, NotSigned> {
        let submission = Submission::parse(body)?;
        let asked = submission.checkpoint().clone();
        let Some((log, lock)) = self.logs.iter().find(|(log, _)| log.origin == asked.origin) else {
            return Err(submission.judge(None, None).err().unwrap_or(Refusal::Unknown(asked.origin)).into());
        };
        let _lock = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = directory(&self.state, &log.origin);
        let held = read_kept(&directory, &self.witness)?;
        let known = held.as_ref().map(|held| held.checkpoint.known());
        let accepted = submission.judge(Some(log), known).inspect_err(|refusal| {
            if refusal.is_evidence() {
                self.remember(&directory, &submission.note(), &log.origin, refusal);
            }
        })?;
        if let Some(held) = held
            && now.timestamp() < held.at.timestamp()
        {
            return Err(NotSigned::Clock { now: rfc3339(now), last: rfc3339(held.at) });
        }
        let (cosignature, note) = accepted.sign(&self.witness, &self.key, now)?;
        let path = directory.join("checkpoint");
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { action, path, source }
        };
        if note.len() as u64 > MAX_CHECKPOINT || open_kept(&note, &self.witness).is_err() {
            return Err(Refusal::Malformed("its checkpoint could not be read back").into());
        }
        self.disk.make_private_dirs(&directory).map_err(io("make", &directory))?;
        self.disk.replace(&path, &note).map_err(io("write", &path))?;
        tracing::info!(origin = log.origin, size = asked.size, root = %asked.root, "cosigned");
        Ok(cosignature)
    }

    /// Keeps what the log signed and this witness did not, and says so loudly. Not to keep it changes nothing of the refusal.
    fn remember(&self, directory: &Path, note: &[u8], origin: &str, refusal: &Refusal) {
        let refused = directory.join("refused");
        let path = refused.join(format!("{}.checkpoint", Digest::of(note)));
        let kept = || -> Result<(), StoreError> {
            if names(&refused)?.len() >= MAX_REFUSED {
                return Ok(());
            }
            let io = |source| StoreError::Io { action: "write", path: path.clone(), source };
            self.disk.make_private_dirs(&refused).map_err(io)?;
            self.disk.create_new(&path, note).map(|_| ()).map_err(io)
        };
        tracing::error!(origin, kept = %path.display(), "REFUSED: {refusal}");
        if let Err(error) = kept() {
            tracing::error!(origin, "the refused checkpoint could not be kept: {}", chain(&error));
        }
    }
}

#[cfg(test)]
mod tests;
