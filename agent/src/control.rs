//! How a command reaches the daemon that has the same `state_dir`: a Unix socket there, for its owner alone, one JSON line asked, and
//! JSON lines answered until the connection ends. It decides nothing; each ask goes to the daemon's loop.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use signing::{
    layout::Job,
    statement::{Counts, Known, Outcome},
    time::Utc,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedReadHalf},
    sync::mpsc,
};

use crate::room::Room;

/// The socket's name in `state_dir`.
pub const SOCKET: &str = "control.sock";

/// The longest ask.
const LONGEST: u64 = 16 * 1024 * 1024;

/// How long a peer may take to ask.
const ASKING: Duration = Duration::from_secs(10);

/// What may be asked of a running daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Run jobs by hand, now: those named (a job, or a collector for all its jobs), else all.
    Collect {
        /// Names of jobs or collectors.
        only: Vec<String>,
    },
    /// Put an empty plan in force.
    Pause {
        /// Why, for the plan.
        reason: String,
    },
    /// Put the schedules in force again.
    Resume,
    /// Log the populations of a period.
    Freeze {
        /// The document, as JSON.
        document: String,
    },
    /// Log what a person signed.
    Approve {
        /// The document, as it was signed.
        document: String,
    },
    /// How it is.
    Status,
}

/// A line of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// A run ended.
    Ran(Line),
    /// All that was asked is done; so many entries were logged meanwhile, and so many wait in the spool.
    Done {
        /// In the log.
        logged: u64,
        /// Not in it yet, and why.
        waiting: Option<String>,
    },
    /// Not done, and why.
    Refused(String),
    /// How the daemon is.
    Status(Box<Status>),
}

/// A run for a person: one line of `collect`'s table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Which job.
    pub job: Job,
    /// How it ended; `None` when nothing could be kept.
    pub outcome: Option<Outcome>,
    /// Records of all kinds.
    pub records: u64,
    /// Sums over all checks.
    pub totals: Counts,
    /// Why not collected, or what is proved absent.
    pub note: String,
}

/// How an agent is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The running daemon; `None` when none runs.
    pub pid: Option<u32>,
    /// The log.
    pub origin: String,
    /// Why no schedule is in force, when it was paused.
    pub paused: Option<String>,
    /// Why the daemon waits with everything.
    pub held: Option<String>,
    /// Runs and documents that are not in the log yet.
    pub spooled: u64,
    /// When the oldest of them was sealed.
    #[serde(default)]
    pub oldest: Option<Utc>,
    /// Why they are not, when the last try failed.
    pub trouble: Option<String>,
    /// Set while the archive does not answer, or fails.
    #[serde(default)]
    pub away: Option<Away>,
    /// The room for what waits.
    #[serde(default)]
    pub room: Room,
    /// The newest checkpoint known.
    pub checkpoint: Option<Known>,
    /// The newest sealing.
    pub last_sealed: Option<Utc>,
    /// The timestamp authorities, each with what it anchored last.
    #[serde(default)]
    pub anchors: Vec<Anchor>,
    /// The witnesses, each with what it signed last.
    #[serde(default)]
    pub witnesses: Vec<Witness>,
    /// Jobs that run now, with their slots.
    pub running: Vec<Running>,
    /// The next slots.
    pub next: Vec<Next>,
    /// The newest receipts of this daemon, the last one last.
    pub last: Vec<Ended>,
}

/// An archive that is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Away {
    /// Since when; `None` where no daemon has watched.
    pub since: Option<Utc>,
    /// What it answered last.
    pub why: String,
}

/// A timestamp authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Its address.
    pub authority: String,
    /// How many leaves the checkpoint has that it anchored last; `None`: it has anchored none.
    pub size: Option<u64>,
    /// When that was, by the token.
    pub at: Option<Utc>,
    /// How many seconds its clock was ahead of the agent's then (less than 0: behind), where that was more than a minute.
    pub apart_seconds: Option<i64>,
    /// Why the last try failed; `None` where it did not.
    pub error: Option<String>,
}

/// A witness.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// Its name.
    pub name: String,
    /// How many leaves the checkpoint has that it signed last; `None`: none that this daemon knows of.
    pub size: Option<u64>,
    /// When that was, by its clock.
    pub at: Option<Utc>,
    /// Why the last try failed; `None` where it did not.
    pub error: Option<String>,
}

/// A run that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// Which job.
    pub job: Job,
    /// For which slot.
    pub slot: Option<Utc>,
}

/// A slot to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Next {
    /// Which job.
    pub job: Job,
    /// When.
    pub slot: Utc,
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// When.
    pub at: Utc,
    /// For which slot.
    pub slot: Option<Utc>,
    /// How.
    pub line: Line,
}

/// An ask as the daemon gets it. Dropping `answers` ends the connection.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub ask: Ask,
    /// Where the lines go.
    pub answers: mpsc::UnboundedSender<Answer>,
}

/// The daemon's end: dropping it removes the socket.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Listens in `state_dir`, which the caller has locked, and passes each ask on.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(state_dir: &Path, asked: mpsc::Sender<Asked>) -> io::Result<Self> {
        let path = state_dir.join(SOCKET);
        // Made under another name, so that nobody connects before only the owner may.
        let fresh = state_dir.join(format!("{SOCKET}.new"));
        remove(&fresh)?;
        let directory = File::open(state_dir)?;
        let listener = UnixListener::bind(short(&directory, &fresh))?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
        rename(&fresh, &path)?;
        let accepting = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(serve(stream, asked.clone()))),
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the control socket was not taken");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        });
        Ok(Self { path, accepting })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = remove(&self.path);
    }
}

async fn serve(stream: UnixStream, asked: mpsc::Sender<Asked>) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(LONGEST));
    match tokio::time::timeout(ASKING, read.read_line(&mut line)).await {
        Ok(Ok(n)) if n > 0 => {}
        _ => return,
    }
    let (answers, mut lines) = mpsc::unbounded_channel();
    match serde_json::from_str::<Ask>(&line) {
        Ok(ask) => {
            if let Err(gone) = asked.send(Asked { ask, answers }).await {
                let _ = gone.0.answers.send(Answer::Refused("the daemon is stopping".into()));
            }
        }
        Err(error) => {
            let _ = answers.send(Answer::Refused(format!("not an ask of this version: {error}")));
            drop(answers);
        }
    }
    while let Some(answer) = lines.recv().await {
        let Ok(mut line) = serde_json::to_vec(&answer) else { return };
        line.push(b'\n');
        if write.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// A command's end of a connection.
#[derive(Debug)]
pub struct Answers(tokio::io::Lines<BufReader<OwnedReadHalf>>);

impl Answers {
    /// The next line; `None` when the daemon has said all.
    ///
    /// # Errors
    /// A broken connection; a line of another version.
    pub async fn next(&mut self) -> io::Result<Option<Answer>> {
        match self.0.next_line().await? {
            None => Ok(None),
            Some(line) => Ok(Some(serde_json::from_str(&line)?)),
        }
    }
}

/// Asks the daemon of `state_dir`; `None` when none listens there.
///
/// # Errors
/// A socket that is there and cannot be used: no right to, or a broken connection.
pub async fn ask(state_dir: &Path, ask: &Ask) -> io::Result<Option<Answers>> {
    let nobody = |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
    let directory = match File::open(state_dir) {
        Err(error) if nobody(&error) => return Ok(None),
        other => other?,
    };
    let stream = match UnixStream::connect(short(&directory, &state_dir.join(SOCKET))).await {
        Err(error) if nobody(&error) => return Ok(None),
        other => other?,
    };
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    write.write_all(&line).await?;
    // The daemon answers a peer that says no more; closing this half early would be taken for its end by nobody.
    write.forget();
    Ok(Some(Answers(BufReader::new(read).lines())))
}

/// A socket's address holds 107 bytes; through the open directory, every path is short enough.
fn short(directory: &File, path: &Path) -> PathBuf {
    match path.file_name() {
        Some(name) if path.as_os_str().len() > 100 => {
            Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name)
        }
        _ => path.to_owned(),
    }
}

/// The socket is no evidence: its name may go and come.
#[allow(clippy::disallowed_methods)]
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[allow(clippy::disallowed_methods)]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn an_ask_reaches_the_daemon_and_each_line_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let deep =
            dir.path().join("a-directory-with-a-name-that-is-far-too-long-for-the-address-of-a-socket".repeat(2));
        fs::create_dir(&deep).unwrap();
        let (send, mut asked) = mpsc::channel(1);
        let server = Server::listen(&deep, send).unwrap();
        let mode = fs::metadata(deep.join(SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let daemon = tokio::spawn(async move {
            let Asked { ask, answers } = asked.recv().await.unwrap();
            assert_eq!(ask, Ask::Pause { reason: "move".into() });
            answers.send(Answer::Refused("one".into())).unwrap();
            answers.send(Answer::Done { logged: 2, waiting: None }).unwrap();
        });
        let mut answers = ask(&deep, &Ask::Pause { reason: "move".into() }).await.unwrap().unwrap();
        assert_eq!(answers.next().await.unwrap(), Some(Answer::Refused("one".into())));
        assert_eq!(answers.next().await.unwrap(), Some(Answer::Done { logged: 2, waiting: None }));
        assert_eq!(answers.next().await.unwrap(), None);
        daemon.await.unwrap();
        drop(server);
        assert!(ask(&deep, &Ask::Status).await.unwrap().is_none(), "nobody listens any more");
    }

    #[tokio::test]
    async fn what_is_no_ask_is_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let (send, _asked) = mpsc::channel(1);
        let _server = Server::listen(dir.path(), send).unwrap();
        let mut stream = UnixStream::connect(dir.path().join(SOCKET)).await.unwrap();
        stream.write_all(b"{\"collect\":{\"only\":[],\"more\":1}}\n").await.unwrap();
        let mut line = String::new();
        stream.read_to_string(&mut line).await.unwrap();
        let Answer::Refused(why) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        assert!(why.contains("more"), "{why}");
    }

    #[tokio::test]
    async fn a_socket_that_a_dead_daemon_left_is_nobody() {
        let dir = tempfile::tempdir().unwrap();
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap());
        assert!(ask(dir.path(), &Ask::Status).await.unwrap().is_none());
        assert!(ask(&dir.path().join("nowhere"), &Ask::Status).await.unwrap().is_none());
    }
}
