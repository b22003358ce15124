//! The pass over the log from which the parts of a report are made: every run once, in the log's order, with what the listeners need of
//! its bundle. A bundle that nobody needs is not opened; results that are those of the job's run before are not read again.
//!
//! # Memory
//! Bundles are read somewhat ahead by all cores; of each job the newest results are held. Long files of records lie on disk.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    sync::Arc,
};

use controls::Results;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use signing::{
    bundle::{RUN_FACTS, RunFacts},
    digest::Digest,
    layout::Job,
    statement::{Body, Receipt, Statement},
    time::Utc,
    verify::Finding,
};

use crate::ledger::{Entry, Ledger, LedgerError, Opened, Unusable};

/// The place of the results in a bundle.
const RESULTS: &str = "results.json";
/// Files of records up to this length are held in memory.
const IN_MEMORY: u64 = 4 * 1024 * 1024;

/// A pass that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The archive.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What a listener writes.
    #[error("what was read could not be written down")]
    Write(#[from] io::Error),
}

/// What a listener needs of a run's bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// `results.json`.
    pub results: bool,
    /// `run.json`.
    pub facts: bool,
    /// Records.
    pub records: Kinds,
}

/// Which kinds of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kinds {
    /// None.
    #[default]
    None,
    /// These, as far as the bundle has them.
    These(BTreeSet<String>),
    /// Every kind that the bundle has.
    All,
}

impl Needs {
    /// What both need.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let records = match (self.records, other.records) {
            (Kinds::None, one) | (one, Kinds::None) => one,
            (Kinds::All, _) | (_, Kinds::All) => Kinds::All,
            (Kinds::These(mut one), Kinds::These(other)) => {
                one.extend(other);
                Kinds::These(one)
            }
        };
        Self { results: self.results || other.results, facts: self.facts || other.facts, records }
    }
}

/// A part of a report that is made of the runs, in the log's order.
pub trait Listener {
    /// What it needs of the run's bundle. It is asked somewhat ahead of the runs that it was given.
    fn needs(&self, run: &RunHead<'_>) -> Needs;

    /// The next run.
    ///
    /// # Errors
    /// [`PassError`] ends the pass.
    fn run(&mut self, run: &RunRead) -> Result<(), PassError>;

    /// The next entry that is no run: a document, or missed slots.
    ///
    /// # Errors
    /// [`PassError`] ends the pass.
    fn other(&mut self, _ledger: &Ledger<'_>, _entry: &Entry<'_>) -> Result<(), PassError> {
        Ok(())
    }
}

/// Lets a listener hear only the runs before an instant.
pub struct Until<'a> {
    /// The instant.
    pub until: Utc,
    /// Who listens.
    pub listener: &'a mut dyn Listener,
}

impl std::fmt::Debug for Until<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Until").field("until", &self.until).finish_non_exhaustive()
    }
}

impl Listener for Until<'_> {
    fn needs(&self, run: &RunHead<'_>) -> Needs {
        if run.at < self.until { self.listener.needs(run) } else { Needs::default() }
    }

    fn run(&mut self, run: &RunRead) -> Result<(), PassError> {
        if run.at < self.until { self.listener.run(run) } else { Ok(()) }
    }

    fn other(&mut self, ledger: &Ledger<'_>, entry: &Entry<'_>) -> Result<(), PassError> {
        self.listener.other(ledger, entry)
    }
}

/// A run before its bundle is opened.
#[derive(Debug, Clone, Copy)]
pub struct RunHead<'a> {
    /// Its entry.
    pub index: u64,
    /// Its instant: the slot, or of a run by hand its start.
    pub at: Utc,
    /// What its receipt says.
    pub receipt: &'a Receipt,
}

/// A run as it was read.
#[derive(Debug)]
pub struct RunRead {
    /// Its entry.
    pub index: u64,
    /// The digest of the entry's bytes.
    pub leaf: Digest,
    /// What the entry says.
    pub statement: Statement,
    /// Its instant: the slot, or of a run by hand its start.
    pub at: Utc,
    /// Why it is no evidence, where a finding names it. Nothing of its bundle is given then.
    pub refused: Option<String>,
    /// What its checks found. Else why that is not known: the entry is refused, the bundle is gone or damaged; or nobody asked.
    pub results: Result<Arc<Results>, String>,
    /// `run.json`, or why not.
    pub facts: Result<RunFacts, String>,
    /// The records that were asked for, by kind, or why not.
    pub records: Result<BTreeMap<String, Lines>, String>,
}

impl RunRead {
    /// What its receipt says.
    pub fn receipt(&self) -> &Receipt {
        receipt(&self.statement)
    }

    /// Its job.
    pub fn job(&self) -> &Job {
        &self.receipt().job
    }

    /// Its bundle: name and digest.
    pub fn bundle(&self) -> (&str, Digest) {
        let subject = &self.statement.subject[0];
        (&subject.name, subject.digest.sha256)
    }
}

fn receipt(statement: &Statement) -> &Receipt {
    match &statement.body {
        Body::Receipt(receipt) => receipt,
        Body::Missed(_) | Body::Document(_) => unreachable!("only receipts are read as runs"),
    }
}

/// The instant of a run: its slot; of a run by hand its start.
pub fn instant(receipt: &Receipt) -> Utc {
    receipt.slot.unwrap_or(receipt.started_at)
}

/// A file of records (JSON Lines).
#[derive(Debug)]
pub struct Lines {
    held: Held,
    digest: Digest,
}

#[derive(Debug)]
enum Held {
    Memory(Vec<u8>),
    Disk(File),
}

impl Lines {
    /// The digest of its bytes: the same records have the same.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its bytes, from their start.
    ///
    /// # Errors
    /// The disk's.
    pub fn bytes(&self) -> io::Result<Box<dyn BufRead + '_>> {
        Ok(match &self.held {
            Held::Memory(bytes) => Box::new(bytes.as_slice()),
            Held::Disk(file) => {
                let mut file = file;
                file.seek(SeekFrom::Start(0))?;
                Box::new(BufReader::new(file))
            }
        })
    }

    /// Every record, in order; one that is no JSON object is an error.
    ///
    /// # Errors
    /// The disk's.
    pub fn rows(&self) -> io::Result<impl Iterator<Item = io::Result<Map<String, Value>>> + '_> {
        let each = |line: io::Result<String>| serde_json::from_str(&line?).map_err(io::Error::from);
        Ok(self.bytes()?.lines().map(each))
    }

    fn read(mut from: impl Read, length: u64) -> io::Result<Self> {
        if length <= IN_MEMORY {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes)?;
            return Ok(Self { digest: Digest::of(&bytes), held: Held::Memory(bytes) });
        }
        let (mut file, mut hasher, mut block) = (tempfile::tempfile()?, Sha256::new(), vec![0; 64 * 1024]);
        loop {
            match from.read(&mut block)? {
                0 => return Ok(Self { digest: Digest(hasher.finalize().into()), held: Held::Disk(file) }),
                n => {
                    hasher.update(&block[..n]);
                    file.write_all(&block[..n])?;
                }
            }
        }
    }
}

/// What a worker is told to read, and what it read.
struct Asked {
    needs: Needs,
    /// The results are those of the job's run before.
    same: bool,
}

struct Opening {
    same: bool,
    results: Result<Arc<Results>, String>,
    facts: Result<RunFacts, String>,
    records: Result<BTreeMap<String, Lines>, String>,
}

const NOT_ASKED: &str = "it was not asked for";

impl Opening {
    fn nothing(why: &str) -> Self {
        Self { same: false, results: Err(why.to_owned()), facts: Err(why.to_owned()), records: Err(why.to_owned()) }
    }
}

/// Reads the log once, for all listeners: runs whose instant lies before `until`, and every other entry.
///
/// # Errors
/// A log that cannot be read or changed meanwhile; a bundle that could not be asked for (one that is gone or damaged is said in its run);
/// what a listener fails with.
pub fn pass(ledger: &Ledger<'_>, until: Utc, listeners: &mut [&mut dyn Listener]) -> Result<(), PassError> {
    let mut ahead: HashMap<Job, Digest> = HashMap::new();
    let mut known: HashMap<Job, (Digest, Arc<Results>)> = HashMap::new();
    // Both closures look at the listeners, one after the other.
    let listeners = std::cell::RefCell::new(listeners);
    ledger.read_all(
        |entry| {
            let receipt = wanted(entry, until)?;
            let head = RunHead { index: entry.logged.index, at: instant(receipt), receipt };
            let listeners = listeners.borrow();
            let needs = listeners.iter().map(|listener| listener.needs(&head)).fold(Needs::default(), Needs::and);
            if entry.refused.is_some() {
                return Some(Asked { needs: Needs::default(), same: false });
            }
            let same = needs.results && ahead.get(&receipt.job) == Some(&receipt.results);
            if needs.results && !same {
                ahead.insert(receipt.job.clone(), receipt.results);
            }
            Some(Asked { needs, same })
        },
        |ledger, entry, asked: Option<Asked>| asked.map(|asked| open(ledger, entry, &asked)).transpose(),
        |entry, opening| {
            let mut listeners = listeners.borrow_mut();
            let Some(mut opening) = opening else {
                if matches!(entry.logged.statement.body, Body::Receipt(_)) {
                    return Ok(());
                }
                return listeners.iter_mut().try_for_each(|listener| listener.other(ledger, &entry));
            };
            let receipt = receipt(&entry.logged.statement);
            if opening.same {
                opening.results = match known.get(&receipt.job) {
                    Some((digest, results)) if *digest == receipt.results => Ok(results.clone()),
                    // The run before had no usable bundle.
                    _ => {
                        open(
                            ledger,
                            &entry,
                            &Asked { needs: Needs { results: true, ..Needs::default() }, same: false },
                        )?
                        .results
                    }
                };
            }
            if let Ok(results) = &opening.results {
                known.insert(receipt.job.clone(), (receipt.results, results.clone()));
            }
            let run = RunRead {
                index: entry.logged.index,
                leaf: entry.logged.leaf,
                at: instant(receipt),
                refused: entry.refused.map(why),
                results: opening.results,
                facts: opening.facts,
                records: opening.records,
                statement: entry.logged.statement,
            };
            listeners.iter_mut().try_for_each(|listener| listener.run(&run))
        },
    )
}

/// Why the entry that a finding names shows nothing.
pub fn why(finding: &Finding) -> String {
    format!("verification refuses its entry: {} ({})", finding.says, finding.code)
}

/// The receipt of an entry that is a run before `until`.
fn wanted<'e>(entry: &'e Entry<'_>, until: Utc) -> Option<&'e Receipt> {
    match &entry.logged.statement.body {
        Body::Receipt(receipt) if instant(receipt) < until => Some(receipt),
        _ => None,
    }
}

/// Opens a run's bundle where something of it is to be read.
fn open(ledger: &Ledger<'_>, entry: &Entry<'_>, asked: &Asked) -> Result<Opening, PassError> {
    if let Some(finding) = entry.refused {
        return Ok(Opening::nothing(&why(finding)));
    }
    let results = asked.needs.results && !asked.same;
    if !results && !asked.needs.facts && asked.needs.records == Kinds::None {
        return Ok(Opening { same: asked.same, ..Opening::nothing(NOT_ASKED) });
    }
    let statement = &entry.logged.statement;
    let mut bundle = match ledger.bundle(statement)? {
        Ok(bundle) => bundle,
        Err(unusable) => return Ok(Opening { same: asked.same, ..Opening::nothing(&said(&unusable)) }),
    };
    let mut opening = Opening { same: asked.same, ..Opening::nothing(NOT_ASKED) };
    if results {
        opening.results = read_results(&mut bundle, receipt(statement).results).map(Arc::new);
    }
    if asked.needs.facts {
        opening.facts = bundle
            .file(RUN_FACTS)
            .map_err(|error| error.to_string())
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| format!("{RUN_FACTS}: {error}")));
    }
    if asked.needs.records != Kinds::None {
        opening.records = read_records(&mut bundle, &asked.needs.records);
    }
    Ok(opening)
}

fn said(unusable: &Unusable) -> String {
    match unusable {
        Unusable::Bundle { source, .. } => format!("{unusable}: {source}"),
        _ => unusable.to_string(),
    }
}

pub(crate) fn read_results(bundle: &mut Opened, logged: Digest) -> Result<Results, String> {
    let bytes = bundle.file(RESULTS).map_err(|error| error.to_string())?;
    if Digest::of(&bytes) != logged {
        return Err(format!("{RESULTS} is not the one that the receipt names"));
    }
    Results::from_bytes(&bytes).map_err(|error| format!("{RESULTS} cannot be read: {error}"))
}

pub(crate) fn read_records(bundle: &mut Opened, kinds: &Kinds) -> Result<BTreeMap<String, Lines>, String> {
    let names: Vec<(String, String)> = bundle
        .names()
        .filter_map(|name| Some((name.strip_prefix("records/")?.strip_suffix(".jsonl")?.to_owned(), name.to_owned())))
        .filter(|(kind, _)| matches!(kinds, Kinds::All) || matches!(kinds, Kinds::These(these) if these.contains(kind)))
        .collect();
    let mut records = BTreeMap::new();
    for (kind, name) in names {
        let length = bundle.length(&name).unwrap_or_default();
        let file = bundle.stream(&name).map_err(|error| error.to_string())?;
        let lines = Lines::read(file, length).map_err(|error| format!("{name}: {error}"))?;
        records.insert(kind, lines);
    }
    Ok(records)
}

#[cfg(test)]
mod tests;
