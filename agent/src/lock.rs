//! Directories that one process at a time may use: an exclusive lock (flock(2)) on the directory itself, so that there is no lock file
//! to be left behind or taken for an object. It ends with the process, however that ends.

use std::{
    fs::{File, TryLockError},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
    time::{Duration, Instant},
};

/// How long a lock is waited for: a process that was just forked to run a command holds its parent's locks until it has become that
/// command, so that they outlast a dead agent by a moment.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why a directory could not be locked.
#[derive(Debug)]
pub enum Unlocked {
    /// Somebody else holds it: that process, where the system tells.
    Held(Option<u32>),
    /// The file system's answer.
    Io(io::Error),
}

/// Locks a directory for as long as the file that it returns is open. It may block for half a second.
///
/// # Errors
/// Why not.
pub fn directory(path: &Path) -> Result<File, Unlocked> {
    let file = File::open(path).map_err(Unlocked::Io)?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => std::thread::sleep(PATIENCE / 25),
            Err(TryLockError::WouldBlock) => return Err(Unlocked::Held(holder(&file))),
            Err(TryLockError::Error(e)) => return Err(Unlocked::Io(e)),
        }
    }
}

/// Who holds the lock on a file, as far as `/proc/locks` (proc_locks(5)) tells.
fn holder(file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino();
    let device = rustix::fs::fstat(file.as_fd()).ok()?.st_dev;
    let wanted = format!("{:02x}:{:02x}:{inode}", rustix::fs::major(device), rustix::fs::minor(device));
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            [_, "FLOCK", _, _, pid, id, ..] if id == wanted => pid.parse().ok().filter(|p| *p != 0),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_directory_is_locked_once_and_again_when_it_was_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let held = directory(dir.path()).unwrap();
        let Unlocked::Held(pid) = directory(dir.path()).unwrap_err() else { panic!("not held") };
        assert!(pid.is_none_or(|pid| pid == std::process::id()), "another process named: {pid:?}");
        drop(held);
        directory(dir.path()).unwrap();
    }

    #[test]
    fn what_is_not_there_is_not_held_by_anybody() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(directory(&dir.path().join("x")).unwrap_err(), Unlocked::Io(_)));
    }
}
