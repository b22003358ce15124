//! The contract between the agent and a collector.
//!
//! A run has two halves. [`Collector::collect`] asks and keeps what it was answered, as exchanges. [`Collector::derive`] makes records
//! from the kept exchanges alone, so that an auditor derives them again, offline, to the same bytes.

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::recorder::Recorder;

/// A boxed future, so that collectors of every kind fit into one list.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The agent's clock, as an argument.
pub type Now = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// What a collector is, before it runs.
#[derive(Debug, Clone)]
pub struct Spec {
    /// `host/accounts`: with the source's name it makes the job.
    pub id: String,
    /// Raised whenever the same exchanges would give other records, or other exchanges are made.
    pub version: u32,
    /// One line for a person.
    pub title: String,
    /// The kind of source: `host`.
    pub source: String,
    /// The crontab schedule that fits what the source retains.
    pub schedule: String,
    /// How long a run may take with all its attempts.
    pub deadline: Duration,
    /// Files, commands and rights, as `evidenced collectors` lists them.
    pub needs: Vec<Need>,
    /// The kinds of records, each a file `records/<kind>.jsonl` of the bundle.
    pub kinds: Vec<String>,
    /// The checks on these records: a YAML list, in the form that `controls` reads.
    pub checks: String,
    /// Other jobs' bundles, for a derived job; else empty.
    pub inputs: Vec<Input>,
    /// How the events that a run reads are bounded in time; `None` for a state.
    pub window: Option<WindowSpec>,
}

/// How far back a run reads events. It reads from `overlap` before the end of the newest window that was read whole, and never from
/// before what the source retains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSpec {
    /// What is read again, since events may arrive or change after they happened.
    pub overlap: Duration,
    /// How long the source keeps events.
    pub retained: Duration,
}

/// The half-open interval `[from, to)` of events that a run reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The first instant in it.
    pub from: DateTime<Utc>,
    /// The first instant after it.
    pub to: DateTime<Utc>,
}

/// Something that a collector needs.
#[derive(Debug, Clone, Serialize)]
pub struct Need {
    /// Which kind of thing.
    pub kind: NeedKind,
    /// A path, a command or a right.
    pub what: String,
    /// What becomes unknown without it.
    pub why: String,
    /// In which kinds of a source's cells it is needed (`accounts`); none: wherever the source is read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<String>,
}

/// The kinds of [`Need`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NeedKind {
    /// A file to read.
    File,
    /// A program to run.
    Command,
    /// A right to have.
    Right,
    /// A permission that the source grants: an IAM action such as `backup:ListBackupJobs`.
    Action,
}

/// Another job's records, read from its sealed bundle.
#[derive(Debug, Clone)]
pub struct Input {
    /// The name that the derived collector uses for it.
    pub name: String,
    /// The collector of the job; the source is the derived job's own.
    pub collector: String,
    /// The kind of records taken.
    pub kind: String,
    /// Which of the job's bundles.
    pub pick: Pick,
    /// An older bundle is stale, which is unknown.
    pub max_age: Duration,
}

/// Which bundle of a job serves as an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// The newest.
    Newest,
    /// The newest that ended on an earlier UTC day than the newest one.
    DayBefore,
}

/// An input as the agent found it.
#[derive(Debug, Clone)]
pub struct InputBundle {
    /// [`Input::name`].
    pub name: String,
    /// The bundle, or why there is none (none logged, too old, failed).
    pub found: Result<FoundBundle, String>,
}

/// A logged bundle.
#[derive(Debug, Clone)]
pub struct FoundBundle {
    /// Its archive name.
    pub bundle: String,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// When its run ended.
    pub ended_at: DateTime<Utc>,
    /// Its outcome: `collected` or `partial`.
    pub outcome: String,
    /// `records/<kind>.jsonl`, as sealed.
    pub records: Vec<u8>,
    /// The population of that kind, as sealed in its `run.json`.
    pub population: Population,
}

/// What a collector works with during a run.
pub struct Context<'a> {
    /// Where exchanges are kept.
    pub recorder: &'a mut Recorder,
    /// The agent's clock.
    pub now: Now,
    /// A derived job's inputs; else empty.
    pub inputs: Vec<InputBundle>,
    /// The events to read; `None` where [`Spec::window`] is. The agent has kept it already, as the first exchange ([`crate::window`]).
    pub window: Option<Window>,
}

/// A reading that ended early. What was kept before it stays.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Keeping an exchange failed: the agent's disk, not the source.
    #[error("an exchange could not be kept")]
    Keep(#[from] io::Error),
    /// The source could not be read; asking again may help.
    #[error("{0}")]
    Source(String),
}

/// A job's reader.
pub trait Collector: Send + Sync + 'static {
    /// What it is and needs.
    fn spec(&self) -> &Spec;

    /// Asks the source and keeps every exchange. A refused or failed request is an exchange, not an error; an error is for what
    /// stops the run.
    ///
    /// # Cancel safety
    /// Dropping the future at any await keeps the exchanges that were recorded; child processes are killed.
    fn collect<'a>(&'a self, context: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>>;

    /// Makes records from exchanges, and from nothing else: no clock, no environment, no file. The same exchanges give the same
    /// bytes for ever.
    ///
    /// # Errors
    /// When the exchanges cannot be read back. What is in an answer is never an error here: it makes a population
    /// [`Population::Unread`] or [`Population::Cut`].
    fn derive(&self, evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()>;
}

/// One source with the collectors that read it.
pub struct Source {
    /// The name in `<collector>@<name>`.
    pub name: String,
    /// `host`.
    pub kind: String,
    /// What the source says of itself (host name, operating system …), for `run.json`.
    pub identity: Value,
    /// Its collectors.
    pub collectors: Vec<Arc<dyn Collector>>,
    /// Why none of them may run here (inside a container without a mounted host root); `None` when they may.
    pub not_run: Option<String>,
}

/// One line of `exchanges.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// 1, 2, 3 …
    pub number: u64,
    /// `read-file`, `list-directory`, `run-command`, `input`; later API operations.
    pub operation: String,
    /// What was asked: path, argument vector, parameters.
    pub request: Value,
    /// As whom: `uid 0 (root)`.
    pub caller: String,
    /// When it was asked.
    pub started_at: DateTime<Utc>,
    /// When the answer ended.
    pub ended_at: DateTime<Utc>,
    /// How it was answered.
    pub answer: Answer,
    /// In words: `exit status 1`, `permission denied (os error 13)`.
    pub detail: String,
    /// A command's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// A command's standard error, at most 8 KiB of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr: String,
    /// The HTTP status of the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The error by the source's own name: `AccessDenied`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Answers to the same request before the last one: what was tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    /// The source's own id for the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The page's number, from 1, where the answer is one page of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u64>,
    /// What shows that the answer, or the list, ended here: `end of file`, `exit`, `no next token`. `None`: its end was not seen.
    pub end: Option<String>,
    /// The kept bytes' place in the bundle; `None` where there was nothing to keep.
    pub body: Option<String>,
    /// The length of the kept bytes.
    pub bytes: u64,
    /// SHA-256 of the kept bytes, in hex; never of what was removed.
    pub sha256: Option<String>,
    /// What was removed before keeping.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redactions: Vec<Redaction>,
}

/// An answer after which the request was made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// When the answer, or the failure, came.
    pub ended_at: DateTime<Utc>,
    /// Its HTTP status; `None`: there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// In words: `ThrottlingException: Rate exceeded`, `connection refused`.
    pub detail: String,
    /// The source's own id for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Answered in full.
    Ok,
    /// Refused: no right to read.
    Denied,
    /// The thing asked for (file, program) is not there.
    Missing,
    /// Answered with an error.
    Failed,
    /// No full answer within the time allowed.
    TimedOut,
    /// Longer than is kept, or ended before its end.
    CutShort,
}

/// A named removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redaction {
    /// The rule's name: `shadow-password-hash`.
    pub rule: String,
    /// Where: `/etc/shadow field 2`.
    pub place: String,
    /// How often.
    pub count: u64,
}

/// Kept exchanges, read back.
pub trait Evidence: Sync {
    /// All of them, in order.
    ///
    /// # Errors
    /// Each line's own.
    fn exchanges(&self) -> Box<dyn Iterator<Item = io::Result<Exchange>> + '_>;

    /// The kept bytes of one; empty where there are none.
    ///
    /// # Errors
    /// The store's.
    fn body(&self, exchange: &Exchange) -> io::Result<Vec<u8>>;
}

/// One normalised row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Stable from run to run, unique in its kind.
    pub id: String,
    /// The source's own time for it; `None` where the source gives none.
    pub as_of: Option<DateTime<Utc>>,
    /// The exchange that it comes from.
    pub exchange: u64,
    /// The rest, beside the three above at the top level of the row; `null` is unknown.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// Whether the list of a kind's records is the whole list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum Population {
    /// Its end was seen.
    Whole,
    /// Some rows were read; there may be more. Why.
    Cut(String),
    /// It could not be read. Why.
    Unread(String),
    /// Proved not to exist: every check on it is not applicable. What proves it.
    Absent(String),
}

/// Where [`Collector::derive`] puts what it finds.
pub trait Records: Send {
    /// Adds a record of a declared kind.
    ///
    /// # Errors
    /// The store's.
    fn record(&mut self, kind: &str, record: Record) -> io::Result<()>;

    /// Says of a declared kind whether its list is whole. A kind of which nothing is said is unread.
    fn population(&mut self, kind: &str, population: Population);

    /// Says what was not read although the lists may be whole (a refused `/etc/shadow`): the run is partial, with this reason.
    fn gap(&mut self, reason: String);
}
