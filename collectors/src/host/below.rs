//! Blocking reads below a root directory, each on a thread of its own, so that a hanging file system holds up nobody: not the run,
//! and not the end of the program. It never opens anything but regular files and directories.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use chrono::SecondsFormat;
use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::access::instant;
use crate::contract::Answer;

/// More entries than this are not listed.
const DIRECTORY_ENTRIES: usize = 100_000;

/// A part of an answer, in the order in which the thread reads it.
pub(super) enum Piece {
    Bytes(Vec<u8>),
    /// The end was seen.
    End {
        detail: String,
    },
    /// There is no more, and the end was not seen.
    Broken {
        answer: Answer,
        detail: String,
    },
}

type Refusal = (Answer, String);

/// How an error of the system reads as an answer.
pub(super) fn refused(error: &io::Error) -> Refusal {
    let answer = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS | Errno::PERM) => Answer::Denied,
        Some(Errno::NOENT | Errno::NOTDIR) => Answer::Missing,
        _ => Answer::Failed,
    };
    (answer, error.to_string())
}

fn refused_errno(errno: Errno) -> Refusal {
    refused(&errno.into())
}

/// Runs `work` on a thread that nobody waits for at the end of the program.
pub(super) fn detached<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Option<T>> + Send {
    let (send, receive) = oneshot::channel();
    let started = std::thread::Builder::new().name(name.into()).spawn(move || {
        let _ = send.send(work());
    });
    async move {
        started.ok()?;
        receive.await.ok()
    }
}

fn stream(
    work: impl FnOnce(&mpsc::Sender<Piece>) -> Result<String, Refusal> + Send + 'static,
) -> mpsc::Receiver<Piece> {
    let (send, receive) = mpsc::channel(4);
    let reader = send.clone();
    let started = std::thread::Builder::new().name("host read".into()).spawn(move || {
        let last = match work(&reader) {
            Ok(detail) => Piece::End { detail },
            Err((answer, detail)) => Piece::Broken { answer, detail },
        };
        // A receiver that has gone no longer waits: its time was up.
        let _ = reader.blocking_send(last);
    });
    if let Err(error) = started {
        let _ =
            send.try_send(Piece::Broken { answer: Answer::Failed, detail: format!("no thread to read with: {error}") });
    }
    receive
}

/// Opens below the root: links are resolved inside it, absolute ones from it.
fn open(root: &Path, path: &str, flags: OFlags) -> Result<OwnedFd, Refusal> {
    let flags = flags | OFlags::CLOEXEC;
    if root == Path::new("/") {
        return rustix::fs::open(path, flags, Mode::empty()).map_err(refused_errno);
    }
    let base = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| (Answer::Failed, format!("the host root {}: {}", root.display(), io::Error::from(errno))))?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(base, path, flags, Mode::empty(), resolve).map_err(refused_errno)
}

fn absolute(path: &str) -> Result<(), Refusal> {
    if path.starts_with('/') { Ok(()) } else { Err((Answer::Failed, format!("{path} is no absolute path"))) }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn modified_at(stat: &Stat) -> Option<String> {
    instant(stat.st_mtime).map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// Reads a regular file to its end, or to `limit` bytes.
pub(super) fn read_file(root: &Path, path: &str, limit: u64) -> mpsc::Receiver<Piece> {
    let (root, path) = (root.to_path_buf(), path.to_string());
    stream(move |out| {
        absolute(&path)?;
        // Looked at before it is opened: opening a device can do something, and a pipe waits for its writer.
        let seen = open(&root, &path, OFlags::PATH)?;
        let regular = |stat: &Stat| match kind(stat) {
            FileType::RegularFile => Ok(()),
            other => Err((Answer::Failed, format!("not a regular file but {}", in_words(other)))),
        };
        regular(&rustix::fs::fstat(&seen).map_err(refused_errno)?)?;
        let file = open(&root, &path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stat = rustix::fs::fstat(&file).map_err(refused_errno)?;
        regular(&stat)?;
        let mut file = File::from(file);
        let mut left = limit;
        loop {
            let mut buffer = vec![0; 64 << 10];
            let read = match file.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(refused(&error)),
            };
            if read == 0 {
                let modified = modified_at(&stat).unwrap_or_else(|| "at an unknown time".into());
                let mode = stat.st_mode & 0o7777;
                return Ok(format!("modified {modified}, mode {mode:04o}, owner {}:{}", stat.st_uid, stat.st_gid));
            }
            let keep = (read as u64).min(left);
            left -= keep;
            buffer.truncate(keep as usize);
            if out.blocking_send(Piece::Bytes(buffer)).is_err() {
                return Err((Answer::TimedOut, "nobody waits any more".into()));
            }
            if keep < read as u64 {
                return Err((Answer::CutShort, format!("longer than {limit} bytes: the rest was not read")));
            }
        }
    })
}

/// Lists a directory as one JSON document.
pub(super) fn list_directory(root: &Path, path: &str) -> mpsc::Receiver<Piece> {
    let (root, path) = (root.to_path_buf(), path.to_string());
    stream(move |out| {
        absolute(&path)?;
        let directory = open(&root, &path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK)?;
        let mut rows = Vec::new();
        let mut cut = None;
        for entry in Dir::read_from(&directory).map_err(refused_errno)? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => {
                    cut = Some(refused_errno(errno));
                    break;
                }
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if rows.len() == DIRECTORY_ENTRIES {
                cut =
                    Some((Answer::CutShort, format!("more than {DIRECTORY_ENTRIES} entries: the rest was not listed")));
                break;
            }
            let shown = name.to_string_lossy().into_owned();
            let row = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => json!({
                    "name": shown,
                    "type": match kind(&stat) {
                        FileType::RegularFile => "file",
                        FileType::Directory => "directory",
                        FileType::Symlink => "link",
                        _ => "other",
                    },
                    "mode": format!("{:04o}", stat.st_mode & 0o7777),
                    "uid": stat.st_uid,
                    "gid": stat.st_gid,
                    "size": stat.st_size,
                    "modified_at": modified_at(&stat),
                }),
                // Removed since it was listed.
                Err(Errno::NOENT) => continue,
                Err(errno) => json!({"name": shown, "type": "other", "error": io::Error::from(errno).to_string()}),
            };
            rows.push((name.to_bytes().to_vec(), row));
        }
        rows.sort_by(|left, right| left.0.cmp(&right.0));
        let count = rows.len();
        let listed = serde_json::Value::Array(rows.into_iter().map(|(_, row)| row).collect()).to_string();
        let sent = out.blocking_send(Piece::Bytes(listed.into_bytes()));
        match cut {
            Some(refusal) => Err(refusal),
            None if sent.is_err() => Err((Answer::TimedOut, "nobody waits any more".into())),
            None => Ok(format!("{count} entries")),
        }
    })
}

/// Whether there is an executable regular file at `path`.
pub(super) fn is_program(root: &Path, path: &Path) -> Result<bool, Refusal> {
    let seen = open(root, &path.to_string_lossy(), OFlags::PATH)?;
    let stat = rustix::fs::fstat(&seen).map_err(refused_errno)?;
    Ok(kind(&stat) == FileType::RegularFile && stat.st_mode & 0o111 != 0)
}

/// Why others than root could change what is run under this name: the file that it leads to, or a directory on the way to it. A
/// directory with the sticky bit is no way, as long as what lies in it is root's.
pub(super) fn changeable(root: &Path, path: &Path) -> Option<String> {
    match change(root, path) {
        Ok(found) => found,
        Err((_, detail)) => Some(format!("who may change it is not known: {detail}")),
    }
}

fn change(root: &Path, path: &Path) -> Result<Option<String>, Refusal> {
    let program = open(root, &path.to_string_lossy(), OFlags::PATH)?;
    let resolved = rustix::fs::readlink(format!("/proc/self/fd/{}", program.as_raw_fd()), Vec::new());
    let resolved = resolved.map_err(refused_errno)?.to_string_lossy().into_owned();
    let top = std::fs::canonicalize(root).map_err(|error| refused(&error))?;
    // The directory of the name itself counts as well as what a link in it leads to.
    let resolved = Path::new("/").join(Path::new(&resolved).strip_prefix(&top).unwrap_or(Path::new(&resolved)));
    for place in path.ancestors().skip(1).chain(resolved.ancestors()) {
        let place = place.to_string_lossy();
        let stat = rustix::fs::fstat(open(root, &place, OFlags::PATH)?).map_err(refused_errno)?;
        let sticky = kind(&stat) == FileType::Directory && stat.st_mode & 0o1000 != 0;
        if stat.st_uid != 0 {
            return Ok(Some(format!("{place} belongs to uid {}, not to root", stat.st_uid)));
        }
        if stat.st_mode & 0o002 != 0 && !sticky {
            return Ok(Some(format!("everybody may write to {place}; take that right away")));
        }
        if stat.st_mode & 0o020 != 0 && stat.st_gid != 0 && !sticky {
            return Ok(Some(format!("group {} may write to {place}; take that right away", stat.st_gid)));
        }
    }
    Ok(None)
}

/// A short text file, for what is asked once at the start; `None` when it cannot be read.
pub(super) fn read_small(root: &Path, path: &str) -> Option<String> {
    let file = open(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok()?;
    let mut text = String::new();
    File::from(file).take(64 << 10).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Whether a directory can be opened as a host's root, and looks like one.
pub(super) fn looks_like_a_root(root: &Path) -> Result<(), String> {
    let etc = open(root, "/etc", OFlags::PATH | OFlags::DIRECTORY).map_err(|(_, detail)| format!("/etc: {detail}"))?;
    match rustix::fs::statat(etc, "passwd", AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(()),
        Err(errno) => Err(format!("/etc/passwd: {}", io::Error::from(errno))),
    }
}

/// The number of a namespace of this process, from `/proc/self/ns/<name>`.
pub(super) fn namespace_inode(name: &str) -> Option<u64> {
    rustix::fs::statat(CWD, format!("/proc/self/ns/{name}"), AtFlags::empty()).ok().map(|stat| stat.st_ino)
}

fn in_words(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Unknown => "of an unknown kind",
    }
}
