//! One agent for one `state_dir`: a lock that ends with the process, and a random id that every entry of this start carries.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rand_core::{OsRng, RngCore};

/// The lock file in `state_dir`.
const LOCK: &str = "lock";

/// How long the lock is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// This start of the agent. The lock is held for as long as this lives.
#[derive(Debug)]
pub struct Instance {
    id: String,
    _lock: File,
}

/// Why the agent may not start.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Another process has it.
    #[error("{} is in use by another agent{}", path.display(), pid.map_or(String::new(), |pid| format!(" (process {pid})")))]
    Locked {
        /// `state_dir`.
        path: PathBuf,
        /// The other one, where it could be read.
        pid: Option<u32>,
    },
    /// The file system's.
    #[error("cannot lock {}", path.display())]
    Io {
        /// `state_dir`.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Instance {
    /// Takes `state_dir`, which must exist.
    ///
    /// # Errors
    /// [`InstanceError::Locked`] while another process has it.
    pub fn take(state_dir: &Path) -> Result<Self, InstanceError> {
        let failed = |source| InstanceError::Io { path: state_dir.to_owned(), source };
        let path = state_dir.join(LOCK);
        let mut lock = open(&path).map_err(failed)?;
        let start = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // Somebody may only look at it, and a command that a dead agent just started outlasts it by a moment.
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => std::thread::sleep(PATIENCE / 25),
                Err(TryLockError::WouldBlock) => {
                    return Err(InstanceError::Locked { path: state_dir.to_owned(), pid: written(&path) });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        // For people and messages only: the lock is the lock, also on a disk without room.
        if let Err(error) = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())) {
            tracing::warn!(path = %path.display(), %error, "the process id cannot be written");
        }
        let mut id = [0; 8];
        OsRng.fill_bytes(&mut id);
        Ok(Self { id: hex::encode(id), _lock: lock })
    }

    /// Whether an agent holds `state_dir` now, and its process id where it could be written.
    pub fn holder(state_dir: &Path) -> Option<Option<u32>> {
        let path = state_dir.join(LOCK);
        let lock = File::open(&path).ok()?;
        matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| written(&path))
    }

    /// The random id.
    pub fn id(&self) -> &str {
        &self.id
    }
}

fn written(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok())
}

#[allow(clippy::disallowed_methods)]
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_second_agent_is_refused_by_name_and_the_next_one_has_another_id() {
        let dir = tempfile::tempdir().unwrap();
        let first = Instance::take(dir.path()).unwrap();
        let Err(InstanceError::Locked { pid, .. }) = Instance::take(dir.path()) else { panic!("two agents") };
        assert_eq!(pid, Some(std::process::id()));
        assert_eq!(Instance::holder(dir.path()), Some(Some(std::process::id())));
        let id = first.id().to_owned();
        drop(first);
        assert_eq!(Instance::holder(dir.path()), None);
        assert_ne!(Instance::take(dir.path()).unwrap().id(), id);
    }
}
