//! Keeps exchanges in a run's work directory and reads them back. It never decides what an answer means, and its writes are plain:
//! what makes a run durable comes later, when the whole directory becomes a bundle.

#![allow(clippy::disallowed_methods, reason = "a work directory is made durable as a whole, later")]

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use chrono::{DateTime, SubsecRound, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    contract::{Answer, Evidence, Exchange, Redaction, Tried},
    seen::Seen,
};

/// The index of exchanges in a work directory and in a bundle.
pub const EXCHANGES: &str = "exchanges.jsonl";

/// What the collector had to say, beside the exchanges.
pub const LOG: &str = "log.txt";

/// Keeps one run's exchanges, in order.
pub struct Recorder {
    work: PathBuf,
    next: u64,
    lines: File,
    log: File,
    noted: Seen,
}

/// An exchange before it has a number and a body.
#[derive(Debug, Clone)]
pub struct Draft {
    /// [`Exchange::operation`].
    pub operation: String,
    /// [`Exchange::request`].
    pub request: Value,
    /// [`Exchange::caller`].
    pub caller: String,
    /// [`Exchange::started_at`].
    pub started_at: DateTime<Utc>,
    /// [`Exchange::ended_at`].
    pub ended_at: DateTime<Utc>,
    /// [`Exchange::answer`].
    pub answer: Answer,
    /// [`Exchange::detail`].
    pub detail: String,
    /// [`Exchange::exit_code`].
    pub exit_code: Option<i32>,
    /// [`Exchange::stderr`].
    pub stderr: String,
    /// [`Exchange::status`].
    pub status: Option<u16>,
    /// [`Exchange::code`].
    pub code: Option<String>,
    /// [`Exchange::tried`].
    pub tried: Vec<Tried>,
    /// [`Exchange::request_id`].
    pub request_id: Option<String>,
    /// [`Exchange::page`].
    pub page: Option<u64>,
    /// [`Exchange::end`].
    pub end: Option<String>,
    /// [`Exchange::redactions`].
    pub redactions: Vec<Redaction>,
}

impl Draft {
    /// A request that nothing answered yet: failed, until shown otherwise.
    pub fn new(operation: &str, request: Value, caller: &str, started_at: DateTime<Utc>) -> Self {
        Self {
            operation: operation.into(),
            request,
            caller: caller.into(),
            started_at,
            ended_at: started_at,
            answer: Answer::Failed,
            detail: String::new(),
            exit_code: None,
            stderr: String::new(),
            status: None,
            code: None,
            tried: Vec::new(),
            request_id: None,
            page: None,
            end: None,
            redactions: Vec::new(),
        }
    }
}

/// The body of the next exchange, written piece by piece and hashed on the way. Dropped before [`Recorder::finish`], it leaves
/// nothing behind.
pub struct Body {
    name: String,
    path: PathBuf,
    file: Option<BufWriter<File>>,
    hash: Sha256,
    bytes: u64,
    operation: String,
}

impl Body {
    /// How many bytes were kept so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Write for Body {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let file = self.file.as_mut().ok_or_else(|| io::Error::other("the body is finished"))?;
        let written = file.write(piece)?;
        self.hash.update(&piece[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Recorder {
    /// Starts in an existing directory that holds no exchanges yet: a work directory serves one run.
    ///
    /// # Errors
    /// When the directory holds exchanges already, or cannot be written.
    pub fn new(work: &Path) -> io::Result<Self> {
        fs::create_dir_all(work.join("exchanges"))?;
        let create = |name| File::options().append(true).create_new(true).open(work.join(name));
        Ok(Self { work: work.into(), next: 1, lines: create(EXCHANGES)?, log: create(LOG)?, noted: Seen::default() })
    }

    /// The number of exchanges kept so far.
    pub fn kept(&self) -> u64 {
        self.next - 1
    }

    /// Opens the body of the next exchange; `extension` is `txt`, `json` …, without the dot.
    ///
    /// # Errors
    /// The disk's; a body that is still open.
    pub fn begin(&mut self, operation: &str, extension: &str) -> io::Result<Body> {
        let name = format!("exchanges/{:08}-{operation}.{extension}", self.next);
        let path = self.work.join(&name);
        let file = BufWriter::new(File::create_new(&path)?);
        Ok(Body { name, path, file: Some(file), hash: Sha256::new(), bytes: 0, operation: operation.into() })
    }

    /// Keeps an exchange, with the body that [`Recorder::begin`] opened for it; an empty body of anything but a full answer is not
    /// kept. Returns the exchange as it was written.
    ///
    /// # Errors
    /// The disk's; a body opened for another operation.
    pub fn finish(&mut self, draft: Draft, body: Option<Body>) -> io::Result<Exchange> {
        let mut exchange = Exchange {
            number: self.next,
            operation: draft.operation,
            request: draft.request,
            caller: draft.caller,
            started_at: draft.started_at.trunc_subsecs(3),
            ended_at: draft.ended_at.trunc_subsecs(3),
            answer: draft.answer,
            detail: draft.detail,
            exit_code: draft.exit_code,
            stderr: draft.stderr,
            status: draft.status,
            code: draft.code,
            tried: draft.tried,
            request_id: draft.request_id,
            page: draft.page,
            end: draft.end,
            body: None,
            bytes: 0,
            sha256: None,
            redactions: draft.redactions,
        };
        if let Some(mut body) = body
            && (body.bytes > 0 || exchange.answer == Answer::Ok)
        {
            if body.operation != exchange.operation {
                return Err(io::Error::other(format!("a body of {} kept for {}", body.operation, exchange.operation)));
            }
            body.flush()?;
            body.file.take().map(BufWriter::into_inner).transpose().map_err(|error| error.into_error())?;
            exchange.body = Some(body.name.clone());
            exchange.bytes = body.bytes;
            exchange.sha256 = Some(hex::encode(std::mem::take(&mut body.hash).finalize()));
        }
        let mut line = serde_json::to_vec(&exchange)?;
        line.push(b'\n');
        self.lines.write_all(&line)?;
        self.next += 1;
        Ok(exchange)
    }

    /// Keeps an exchange whose whole body is at hand, redacted already.
    ///
    /// # Errors
    /// The disk's.
    pub fn record(&mut self, draft: Draft, extension: &str, body: Option<&[u8]>) -> io::Result<Exchange> {
        let body = match body {
            None => None,
            Some(bytes) => {
                let mut body = self.begin(&draft.operation, extension)?;
                body.write_all(bytes)?;
                Some(body)
            }
        };
        self.finish(draft, body)
    }

    /// What was kept so far, read back while the run goes on.
    pub fn evidence(&self) -> WorkEvidence {
        WorkEvidence::new(&self.work)
    }

    /// Reads a kept body back, for a collector that asks on with what it was answered.
    ///
    /// # Errors
    /// The disk's.
    pub fn body(&self, exchange: &Exchange) -> io::Result<Vec<u8>> {
        read_body(&self.work, exchange)
    }

    /// Adds a line to the run's `log.txt`, for a person who wonders how it was read: which tool was chosen, what was passed over and
    /// why. Said once, however often it is told; records never follow from it.
    ///
    /// # Errors
    /// The disk's.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        let line = format!("{}\n", text.replace(['\n', '\r'], " "));
        if self.noted.insert(&line, ()).is_some() {
            return Ok(());
        }
        self.log.write_all(line.as_bytes())
    }
}

/// The exchanges of a work directory (or of an extracted bundle), read back.
pub struct WorkEvidence {
    work: PathBuf,
}

impl WorkEvidence {
    /// Over this directory; nothing is read yet.
    pub fn new(work: &Path) -> Self {
        Self { work: work.into() }
    }
}

impl Evidence for WorkEvidence {
    fn exchanges(&self) -> Box<dyn Iterator<Item = io::Result<Exchange>> + '_> {
        match File::open(self.work.join(EXCHANGES)) {
            Err(error) => Box::new(std::iter::once(Err(error))),
            Ok(file) => {
                Box::new(BufReader::new(file).lines().map(|line| serde_json::from_str(&line?).map_err(io::Error::from)))
            }
        }
    }

    fn body(&self, exchange: &Exchange) -> io::Result<Vec<u8>> {
        read_body(&self.work, exchange)
    }
}

fn read_body(work: &Path, exchange: &Exchange) -> io::Result<Vec<u8>> {
    let Some(name) = &exchange.body else { return Ok(Vec::new()) };
    let plain =
        name.strip_prefix("exchanges/").is_some_and(|file| !file.contains(['/', '\\']) && !file.starts_with('.'));
    if !plain {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{name:?} is no body's name")));
    }
    let bytes = fs::read(work.join(name))?;
    if Some(hex::encode(Sha256::digest(&bytes))) != exchange.sha256 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{name} is not what exchange {} kept", exchange.number),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn draft(answer: Answer) -> Draft {
        let at = DateTime::from_timestamp_nanos(1_795_000_000_123_456_789);
        Draft { answer, detail: "said".into(), ..Draft::new("read-file", json!({"path": "/x"}), "uid 0 (root)", at) }
    }

    #[test]
    fn what_was_kept_reads_back_the_same_in_order() {
        let work = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(work.path()).unwrap();
        let first = recorder.record(draft(Answer::Ok), "txt", Some(b"body")).unwrap();
        let second = recorder.record(draft(Answer::Missing), "txt", None).unwrap();
        let evidence = WorkEvidence::new(work.path());
        let back: Vec<Exchange> = evidence.exchanges().map(Result::unwrap).collect();
        assert_eq!(back, [first.clone(), second.clone()]);
        assert_eq!(evidence.body(&back[0]).unwrap(), b"body");
        assert_eq!(evidence.body(&back[1]).unwrap(), b"");
        assert_eq!(first.body.as_deref(), Some("exchanges/00000001-read-file.txt"));
        assert_eq!(first.started_at.timestamp_subsec_nanos(), 123_000_000);
        assert_eq!((second.number, second.body), (2, None));
    }

    #[test]
    fn an_empty_full_answer_is_kept_and_an_empty_refusal_leaves_no_file() {
        let work = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(work.path()).unwrap();
        assert!(recorder.record(draft(Answer::Ok), "txt", Some(b"")).unwrap().sha256.is_some());
        assert_eq!(recorder.record(draft(Answer::Denied), "txt", Some(b"")).unwrap().body, None);
        assert_eq!(fs::read_dir(work.path().join("exchanges")).unwrap().count(), 1);
    }

    #[test]
    fn a_dropped_body_leaves_no_file_and_takes_no_number() {
        let work = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(work.path()).unwrap();
        let mut body = recorder.begin("read-file", "txt").unwrap();
        body.write_all(b"half").unwrap();
        drop(body);
        assert_eq!(fs::read_dir(work.path().join("exchanges")).unwrap().count(), 0);
        assert_eq!(recorder.record(draft(Answer::Ok), "txt", Some(b"x")).unwrap().number, 1);
    }

    #[test]
    fn a_changed_body_is_refused_when_read_back() {
        let work = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(work.path()).unwrap();
        let exchange = recorder.record(draft(Answer::Ok), "txt", Some(b"body")).unwrap();
        fs::write(work.path().join(exchange.body.as_deref().unwrap()), b"b0dy").unwrap();
        assert_eq!(recorder.body(&exchange).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let escaping = Exchange { body: Some("exchanges/../exchanges.jsonl".into()), ..exchange };
        assert!(recorder.body(&escaping).unwrap_err().to_string().contains("no body's name"));
    }

    #[test]
    fn a_work_directory_serves_one_run() {
        let work = tempfile::tempdir().unwrap();
        Recorder::new(work.path()).unwrap();
        assert_eq!(Recorder::new(work.path()).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_note_is_one_line_and_said_once() {
        let work = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(work.path()).unwrap();
        recorder.note("two\nlines").unwrap();
        recorder.note("two\nlines").unwrap();
        assert_eq!(fs::read_to_string(work.path().join(LOG)).unwrap(), "two lines\n");
    }
}
