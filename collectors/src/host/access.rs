//! Reads files and directories of a host and runs its programs; each call keeps exactly one exchange. It never changes the host, never
//! follows a link out of the configured root, never waits without end, and never turns a failed reading into an empty one.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use chrono::{DateTime, Utc};
use rustix::process::{Pid, Signal};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc,
};

use super::below::{self, Piece};
use crate::{
    contract::{Answer, CollectError, Context, Exchange},
    recorder::{Body, Draft},
    redact::{Redact, Redactor},
};

/// Of a command's standard error, this much is kept.
const STDERR_BYTES: usize = 8 << 10;

/// Where programs are looked for: the system's own places, then those of the administrator. As root only what nobody but root can
/// change is run, wherever it lies: see [`below::changeable`].
const SEARCH: [&str; 6] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

/// Where the programs that were run find others: the system's own places alone.
const SYSTEM: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What [`host_exec_failed`] writes before its error, so that no program's own exit code is taken for a refused chroot.
const HOST_EXEC: &str = "evidenced host-exec: ";
const HOST_EXEC_DENIED: i32 = 125;
const HOST_EXEC_FAILED: i32 = 126;

/// A host: this machine, or the root file system of one that is mounted into the agent's container.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
    helper: Option<PathBuf>,
    caller: String,
    /// How long reading a file or a directory may take.
    pub read_timeout: Duration,
    /// Of a file, this much is kept, in bytes.
    pub file_limit: u64,
}

/// A program to run, with what bounds it.
#[derive(Debug, Clone)]
pub struct Command {
    argv: Vec<String>,
    env: Vec<(String, OsString)>,
    timeout: Duration,
    limit: u64,
    redact: Redact,
    accept: Vec<i32>,
    extension: &'static str,
}

impl Command {
    /// A program by name (looked for in the system's directories) or absolute path, and its arguments, none of them secret. 60 seconds,
    /// 64 MiB, exit code 0, unless said otherwise.
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(argv: I) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            timeout: Duration::from_secs(60),
            limit: 64 << 20,
            redact: Redact::nothing(),
            accept: vec![0],
            extension: "txt",
        }
    }

    /// After this time it is killed, with its children: [`Answer::TimedOut`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// After this many bytes of output it is killed: [`Answer::CutShort`].
    pub fn limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// What is removed from its output, and from its standard error, before either is kept.
    pub fn redact(mut self, redact: Redact) -> Self {
        self.redact = redact;
        self
    }

    /// Adds an environment variable. The exchange keeps its name, never its value.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The exit codes with which this program answers in full; with any other the answer is [`Answer::Failed`], its output kept.
    pub fn accept(mut self, codes: &[i32]) -> Self {
        self.accept = codes.to_vec();
        self
    }

    /// The kept output is JSON: the body's name says so.
    pub fn json(mut self) -> Self {
        self.extension = "json";
        self
    }
}

impl Host {
    /// The host below `root` (`/` is the machine that the agent runs on). `helper` is this program, which runs other programs below
    /// another root by `host-exec` (see [`host_exec`]); without it, none run there.
    pub fn new(root: impl Into<PathBuf>, helper: Option<PathBuf>) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let name = std::fs::read_to_string("/etc/passwd").ok().and_then(|passwd| {
            let mut rows = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
            rows.find(|row| row.get(2) == Some(&uid.to_string().as_str())).map(|row| row[0].to_string())
        });
        Self {
            root: root.into(),
            helper,
            caller: name.map_or_else(|| format!("uid {uid}"), |name| format!("uid {uid} ({name})")),
            read_timeout: Duration::from_secs(20),
            file_limit: 16 << 20,
        }
    }

    /// As whom everything is asked: `uid 0 (root)`.
    pub fn caller(&self) -> &str {
        &self.caller
    }

    /// The host's name, as it has set it itself; `None` where it cannot be read.
    pub fn name(&self) -> Option<String> {
        if self.is_this() {
            return rustix::system::uname().nodename().to_str().ok().map(String::from);
        }
        below::read_small(&self.root, "/etc/hostname").map(|text| text.trim().to_string())
    }

    /// The root that paths are below; `/` for this machine.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether this is the machine that the agent runs on.
    pub fn is_this(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Reads a regular file to its end: operation `read-file`, request `{path}`. The body is the file, redacted.
    ///
    /// # Errors
    /// Only when the exchange cannot be kept.
    pub async fn read_file(
        &self,
        context: &mut Context<'_>,
        path: &str,
        redact: &Redact,
    ) -> Result<Exchange, CollectError> {
        let mut draft = self.draft("read-file", json!({"path": path}), context);
        let mut body = context.recorder.begin("read-file", extension_of(path))?;
        let pieces = below::read_file(&self.root, path, self.file_limit);
        self.receive(pieces, redact, &mut draft, &mut body, "end of file").await?;
        draft.ended_at = (context.now)();
        Ok(context.recorder.finish(draft, Some(body))?)
    }

    /// Lists a directory: operation `list-directory`, request `{path}`. The body is a JSON list sorted by name, each entry with
    /// `name`, `type` (`file`, `directory`, `link`, `other`), `mode`, `uid`, `gid`, `size` and `modified_at`.
    ///
    /// # Errors
    /// Only when the exchange cannot be kept.
    pub async fn list_directory(&self, context: &mut Context<'_>, path: &str) -> Result<Exchange, CollectError> {
        let mut draft = self.draft("list-directory", json!({"path": path}), context);
        let mut body = context.recorder.begin("list-directory", "json")?;
        let pieces = below::list_directory(&self.root, path);
        self.receive(pieces, &Redact::nothing(), &mut draft, &mut body, "end of directory").await?;
        draft.ended_at = (context.now)();
        Ok(context.recorder.finish(draft, Some(body))?)
    }

    /// Runs a program: operation `run-command`, request `{argv, env}` (names only). The body is its standard output, redacted. It gets
    /// `PATH`, `LC_ALL=C.UTF-8` and `TZ=UTC`, nothing on standard input, and a process group of its own, which dies with it.
    ///
    /// # Errors
    /// Only when the exchange cannot be kept.
    ///
    /// # Cancel safety
    /// Dropped, it kills the program and its children, and keeps nothing.
    pub async fn run(&self, context: &mut Context<'_>, command: Command) -> Result<Exchange, CollectError> {
        let names: Vec<&String> = command.env.iter().map(|(name, _)| name).collect();
        let request = json!({"argv": command.argv, "env": names});
        let mut draft = self.draft("run-command", request, context);
        let mut body = context.recorder.begin("run-command", command.extension)?;
        match self.find(command.argv.first().map_or("", String::as_str)).await {
            Ok(Found { program, passed_over }) => {
                for why in passed_over {
                    context.recorder.note(&format!("{}: passed over {why}", command.argv[0]))?;
                }
                context.recorder.note(&format!("{}: {} is run", command.argv[0], program.display()))?;
                self.execute(&command, program, &mut draft, &mut body).await?;
            }
            Err((answer, detail)) => {
                context.recorder.note(&format!("{}: not run: {detail}", command.argv.join(" ")))?;
                (draft.answer, draft.detail) = (answer, detail);
            }
        }
        draft.ended_at = (context.now)();
        Ok(context.recorder.finish(draft, Some(body))?)
    }

    fn draft(&self, operation: &str, mut request: serde_json::Value, context: &Context<'_>) -> Draft {
        if !self.is_this() {
            request["root"] = json!(self.root.to_string_lossy());
        }
        Draft::new(operation, request, &self.caller, (context.now)())
    }

    async fn receive(
        &self,
        mut pieces: mpsc::Receiver<Piece>,
        redact: &Redact,
        draft: &mut Draft,
        body: &mut Body,
        end: &str,
    ) -> io::Result<()> {
        let mut redactor = redact.begin();
        let deadline = tokio::time::Instant::now() + self.read_timeout;
        loop {
            match tokio::time::timeout_at(deadline, pieces.recv()).await {
                Err(_) => {
                    draft.answer = Answer::TimedOut;
                    draft.detail = format!("no end within {} s", self.read_timeout.as_secs_f32());
                    break;
                }
                Ok(Some(Piece::Bytes(bytes))) => redactor.push(&bytes, body)?,
                Ok(Some(Piece::End { detail })) => {
                    draft.answer = Answer::Ok;
                    draft.detail = detail;
                    draft.end = Some(end.into());
                    break;
                }
                Ok(Some(Piece::Broken { answer, detail })) => {
                    draft.answer = answer;
                    draft.detail = detail;
                    break;
                }
                Ok(None) => {
                    draft.detail = "the reading thread ended without a word".into();
                    break;
                }
            }
        }
        draft.redactions = redactor.finish(body)?;
        Ok(())
    }

    async fn execute(&self, command: &Command, program: PathBuf, draft: &mut Draft, body: &mut Body) -> io::Result<()> {
        let mut process = if self.is_this() {
            std::process::Command::new(program)
        } else if let Some(helper) = &self.helper {
            let mut process = std::process::Command::new(helper);
            process.arg("host-exec").arg(&self.root).arg("--").arg(program);
            process
        } else {
            draft.detail = format!("programs below {} are not run: no helper program is set", self.root.display());
            return Ok(());
        };
        process
            .args(&command.argv[1..])
            .env_clear()
            .env("PATH", SYSTEM.join(":"))
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut process = tokio::process::Command::from(process);
        let mut child = match process.kill_on_drop(true).spawn() {
            Ok(child) => child,
            Err(error) => {
                let (answer, detail) = below::refused(&error);
                // The program is there: what is missing is its interpreter, which proves nothing.
                draft.answer = if answer == Answer::Missing { Answer::Failed } else { answer };
                draft.detail = format!("it is there and could not be started: {detail}");
                return Ok(());
            }
        };
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(id as i32)));
        let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("a child process without its pipes"));
        };
        let mut redactor = command.redact.begin();
        let mut kept_stderr = Vec::new();
        let ended = tokio::time::timeout(command.timeout, async {
            let output = async { pump(&mut stdout, command.limit, &mut redactor, body).await };
            tokio::try_join!(output, async { drain(&mut stderr, &mut kept_stderr).await.map_err(Stop::Read) })?;
            child.wait().await.map_err(Stop::Read)
        })
        .await;
        match ended {
            Ok(Ok(status)) => {
                group.0 = None;
                draft.end = Some("exit".into());
                draft.exit_code = status.code();
                draft.detail = in_words(status);
                if status.code().is_some_and(|code| command.accept.contains(&code)) {
                    draft.answer = Answer::Ok;
                }
            }
            Ok(Err(Stop::Keep(error))) => return Err(error),
            Ok(Err(Stop::Read(error))) => draft.detail = format!("its output could not be read: {error}"),
            Ok(Err(Stop::TooLong)) => {
                draft.answer = Answer::CutShort;
                draft.detail = format!("longer than {} bytes: the rest was not read", command.limit);
            }
            Err(_) => {
                draft.answer = Answer::TimedOut;
                draft.detail = format!("no end within {} s: killed", command.timeout.as_secs_f32());
            }
        }
        drop(group);
        draft.redactions = redactor.finish(body)?;
        let (stderr, removed) = keep_stderr(&kept_stderr, &command.redact)?;
        draft.stderr = stderr;
        draft.redactions.extend(removed);
        if !self.is_this() && draft.stderr.starts_with(HOST_EXEC) {
            draft.answer = if draft.exit_code == Some(HOST_EXEC_DENIED) { Answer::Denied } else { Answer::Failed };
            draft.detail = std::mem::take(&mut draft.stderr).trim_end().into();
            draft.exit_code = None;
            draft.end = None;
        }
        Ok(())
    }

    /// The path of a program below the root. A directory that may not be searched, a file that may not be executed, and a program that
    /// others than root can change make "not found" a refusal.
    async fn find(&self, name: &str) -> Result<Found, (Answer, String)> {
        let candidates: Vec<PathBuf> = match name {
            "" => return Err((Answer::Failed, "no program named".into())),
            absolute if absolute.starts_with('/') => vec![absolute.into()],
            name => SEARCH.iter().map(|directory| Path::new(directory).join(name)).collect(),
        };
        let root = self.root.clone();
        let as_root = rustix::process::geteuid().is_root();
        let looked = below::detached("program search", move || {
            let (mut refusal, mut passed_over) = (None, Vec::new());
            for candidate in candidates {
                let shown = candidate.display();
                let refused = match below::is_program(&root, &candidate) {
                    Ok(true) if !as_root => return Ok(Found { program: candidate, passed_over }),
                    Ok(true) => match below::changeable(&root, &candidate) {
                        None => return Ok(Found { program: candidate, passed_over }),
                        Some(why) => (Answer::Failed, format!("{shown} is not run as root: {why}")),
                    },
                    Ok(false) => (Answer::Failed, format!("{shown} is no executable file")),
                    Err((Answer::Missing, _)) => continue,
                    Err(other) => other,
                };
                passed_over.push(refused.1.clone());
                refusal.get_or_insert(refused);
            }
            Err(refusal)
        });
        match tokio::time::timeout(self.read_timeout, looked).await {
            Err(_) => Err((Answer::TimedOut, format!("the search for the program {name} did not end"))),
            Ok(None) => Err((Answer::Failed, format!("the search for the program {name} broke off"))),
            Ok(Some(Ok(found))) => Ok(found),
            Ok(Some(Err(Some((answer, detail))))) => Err((answer, format!("looking for the program {name}: {detail}"))),
            Ok(Some(Err(None))) if name.starts_with('/') => Err((Answer::Missing, format!("no program {name}"))),
            Ok(Some(Err(None))) => {
                Err((Answer::Missing, format!("no program {name} among the system's or in /usr/local")))
            }
        }
    }
}

/// Where a program is.
struct Found {
    program: PathBuf,
    /// Other places, and why each was not taken.
    passed_over: Vec<String>,
}

/// Becomes a program of another root: changes the root, then replaces this process. For the hidden subcommand
/// `host-exec ROOT -- PROGRAM ARGUMENTS…`; returns only when it failed, and then [`host_exec_failed`] ends the process.
pub fn host_exec(root: &Path, argv: &[OsString]) -> io::Error {
    let Some((program, arguments)) = argv.split_first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no program named");
    };
    if let Err(error) = rustix::process::chroot(root).and_then(|()| rustix::process::chdir("/")) {
        return error.into();
    }
    std::process::Command::new(program).args(arguments).exec()
}

/// Says on standard error why [`host_exec`] failed, and returns the exit code that tells the agent so.
pub fn host_exec_failed(error: &io::Error) -> i32 {
    eprintln!("{HOST_EXEC}{error}");
    if error.kind() == io::ErrorKind::PermissionDenied { HOST_EXEC_DENIED } else { HOST_EXEC_FAILED }
}

/// Kills a process group when dropped, so that no child outlives a cut or cancelled run.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}

enum Stop {
    Keep(io::Error),
    Read(io::Error),
    TooLong,
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    limit: u64,
    redactor: &mut Redactor,
    body: &mut (dyn Write + Send),
) -> Result<(), Stop> {
    let (mut buffer, mut left) = (vec![0; 64 << 10], limit);
    loop {
        let read = from.read(&mut buffer).await.map_err(Stop::Read)?;
        if read == 0 {
            return Ok(());
        }
        let keep = (read as u64).min(left);
        redactor.push(&buffer[..keep as usize], body).map_err(Stop::Keep)?;
        left -= keep;
        if keep < read as u64 {
            return Err(Stop::TooLong);
        }
    }
}

async fn drain(from: &mut (impl AsyncRead + Unpin), kept: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = vec![0; 8 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let room = STDERR_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
}

fn keep_stderr(bytes: &[u8], redact: &Redact) -> io::Result<(String, Vec<crate::contract::Redaction>)> {
    let (mut out, mut redactor) = (Vec::new(), redact.begin());
    redactor.push(bytes, &mut out)?;
    let mut removed = redactor.finish(&mut out)?;
    for redaction in &mut removed {
        redaction.place = "standard error".into();
    }
    let mut text = String::from_utf8_lossy(&out).into_owned();
    text.truncate(text.floor_char_boundary(STDERR_BYTES));
    Ok((text, removed))
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended in an unknown way".into(),
    }
}

fn extension_of(path: &str) -> &'static str {
    if path.ends_with(".json") { "json" } else { "txt" }
}

/// An instant from a file's time stamp.
pub(super) fn instant(seconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds, 0)
}

#[cfg(test)]
mod tests;
