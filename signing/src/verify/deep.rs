//! Inside a bundle: its ZIP, its files, and that they, its receipt and its exchanges tell the same. Deriving records again is the
//! caller's, who knows the collectors.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tempfile::SpooledTempFile;

use super::{
    expected::Expected,
    findings::{CannotVerify, Code, Findings, Limit},
    lock,
    order::PlanFacts,
    since::Since,
};
use crate::{
    bundle::{
        Bundle, BundleError, CHECKS, Contents, MAX_RUN_FACTS, MAX_UNPACKED, Population, RUN_FACTS, RUN_FACTS_FORMAT,
        RunFacts, SUMS,
    },
    digest::Digest,
    errors::chain,
    statement::{Outcome, Receipt, Statement},
    store::Reader,
};

/// Bundles up to this size are opened in memory, larger ones from a temporary file.
const IN_MEMORY: usize = 8 * 1024 * 1024;

/// The most bytes of one line of `exchanges.jsonl`.
const MAX_LINE: u64 = 16 * 1024 * 1024;

/// What deriving a bundle's records again came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Derived {
    /// The same bytes, and the same results as far as they can be computed.
    Same,
    /// Other bytes, by file, with what differs.
    Other(Vec<(String, String)>),
    /// By a collector, or a version of one, that this program does not have: nothing was shown either way.
    Unknown(String),
}

/// Derives a bundle's records from its exchanges again.
pub trait Rederive: Sync {
    /// Derives and compares.
    ///
    /// # Errors
    /// The reading of the bundle, when it says nothing of the bundle.
    fn rederive(
        &self,
        bundle: &mut Bundle<SpooledTempFile>,
        facts: &RunFacts,
        receipt: &Receipt,
    ) -> Result<Derived, String>;
}

/// Opens bundles and counts.
pub(crate) struct Deep<'a> {
    rederive: &'a dyn Rederive,
    opened: AtomicU64,
    rederived: AtomicU64,
    unknown: Mutex<BTreeMap<String, u64>>,
}

/// What a bundle is opened beside.
pub(crate) struct Around<'a> {
    pub reader: &'a dyn Reader,
    pub findings: &'a Findings,
    pub plans: &'a HashMap<Digest, PlanFacts>,
    /// `None` where only one entry is known: then nothing is said of the inputs of derived jobs.
    pub expected: Option<&'a Expected>,
    pub since: Option<&'a Since<'a>>,
}

/// The members of a line of `exchanges.jsonl` that concern the bundle's files. What the others mean is the collector's.
#[derive(Deserialize)]
struct Line {
    number: u64,
    body: Option<String>,
    bytes: u64,
    sha256: Option<Digest>,
}

/// What is wrong, with its code and the file in the bundle.
type Wrong = (Code, String);

impl<'a> Deep<'a> {
    pub fn new(rederive: &'a dyn Rederive) -> Self {
        Self { rederive, opened: AtomicU64::new(0), rederived: AtomicU64::new(0), unknown: Mutex::new(BTreeMap::new()) }
    }

    /// Bundles opened, bundles derived again, and what that leaves unproved.
    pub fn counts(&self) -> (u64, u64, Vec<Limit>) {
        let limits = lock(&self.unknown)
            .iter()
            .map(|(what, count)| Limit {
                code: "DEEP-UNKNOWN-COLLECTOR",
                says: format!("the records of {count} bundles were not derived again: {what}"),
            })
            .collect();
        (self.opened.load(Relaxed), self.rederived.load(Relaxed), limits)
    }

    /// Reads a bundle once, for its digest and its contents; `None` when it is not there.
    pub fn bundle(
        &self,
        around: &Around<'_>,
        name: &str,
        index: u64,
        wanted: Digest,
        statement: &Statement,
        receipt: &Receipt,
    ) -> Result<Option<(Digest, u64)>, CannotVerify> {
        let failed = |e: std::io::Error| CannotVerify::read(name, &e);
        let Some(mut object) = around.reader.open(name).map_err(failed)? else { return Ok(None) };
        let mut copy = SpooledTempFile::new(IN_MEMORY);
        let mut hasher = Sha256::new();
        let (mut block, mut length) = (vec![0; 64 * 1024], 0);
        loop {
            let n = match object.read(&mut block) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(failed(e)),
            };
            hasher.update(&block[..n]);
            length += n as u64;
            copy.write_all(&block[..n])
                .map_err(|e| CannotVerify::new(name, format!("no room for a copy to open: {e}; set TMPDIR")))?;
        }
        let found = Digest(hasher.finalize().into());
        // What is in an altered bundle is no evidence of anything.
        if found == wanted {
            copy.seek(SeekFrom::Start(0)).map_err(failed)?;
            for (code, says) in self.contents(around, copy, name, index, statement, receipt)? {
                around.findings.add(code, name, Some(index), says);
            }
        }
        Ok(Some((found, length)))
    }

    fn contents(
        &self,
        around: &Around<'_>,
        copy: SpooledTempFile,
        name: &str,
        index: u64,
        statement: &Statement,
        receipt: &Receipt,
    ) -> Result<Vec<Wrong>, CannotVerify> {
        self.opened.fetch_add(1, Relaxed);
        let mut wrong = Vec::new();
        let mut bundle = match Bundle::open(copy, MAX_UNPACKED) {
            Ok(bundle) => bundle,
            Err(e) => return judge(name, e, Code::DeepZip).map(|w| vec![w]),
        };
        // Every file is read here, and but for those that say something not again.
        let contents = match bundle.contents() {
            Ok(contents) => contents,
            Err(e) => return judge(name, e, Code::DeepSums).map(|w| vec![w]),
        };
        let sums = contents.sums();
        if statement.subject.get(1).is_none_or(|subject| subject.digest.sha256 != sums) {
            wrong.push((Code::DeepSums, format!("its {SUMS} has the SHA-256 {sums}, which is not the receipt's")));
        }
        if let Err(e) = bundle.check_listed(&contents) {
            wrong.push(judge(name, e, Code::DeepSums)?);
        }
        match contents.digest("results.json") {
            None => wrong.push((Code::DeepResults, chain(&BundleError::Missing("results.json".to_owned())))),
            Some(results) if results != receipt.results => {
                let says = "its results.json has another SHA-256 than the receipt says".to_owned();
                wrong.push((Code::DeepResults, says));
            }
            Some(_) => {}
        }
        match exchanges(&mut bundle, &contents) {
            Ok(list) => wrong.extend(list.into_iter().map(|says| (Code::DeepExchange, says))),
            Err(e) => wrong.push(judge(name, e, Code::DeepExchange)?),
        }
        let facts = match facts(&mut bundle) {
            Ok(Ok(facts)) => facts,
            Ok(Err(says)) => {
                wrong.push((Code::DeepRun, says));
                return Ok(wrong);
            }
            Err(e) => {
                wrong.push(judge(name, e, Code::DeepRun)?);
                return Ok(wrong);
            }
        };
        wrong.extend(agree(&facts, statement, receipt).into_iter().map(|says| (Code::DeepRun, says)));
        let checks = planned(around, &facts, contents.digest(CHECKS));
        wrong.extend(checks.into_iter().map(|says| (Code::DeepRun, says)));
        match records(&mut bundle, &facts, receipt) {
            Ok(list) => wrong.extend(list.into_iter().map(|says| (Code::DeepRecords, says))),
            Err(e) => wrong.push(judge(name, e, Code::DeepRecords)?),
        }
        wrong.extend(inputs(around, &facts, index)?.into_iter().map(|says| (Code::DeepInput, says)));
        match self.rederive.rederive(&mut bundle, &facts, receipt) {
            Ok(Derived::Same) => {
                self.rederived.fetch_add(1, Relaxed);
            }
            Ok(Derived::Other(files)) => wrong.extend(files.into_iter().map(|(file, says)| {
                let code = if file == "results.json" { Code::DeepResults } else { Code::DeepRecords };
                (code, format!("{file}: {says}"))
            })),
            Ok(Derived::Unknown(what)) => *lock(&self.unknown).entry(what).or_default() += 1,
            Err(says) if wrong.is_empty() => {
                return Err(CannotVerify::new(name, format!("its records could not be derived again: {says}")));
            }
            // What is wrong with it was said already.
            Err(_) => {}
        }
        Ok(wrong)
    }
}

/// A bundle that cannot be believed is a finding; a disk that cannot be read is none.
fn judge(name: &str, error: BundleError, code: Code) -> Result<Wrong, CannotVerify> {
    match error {
        BundleError::Io { .. } => Err(CannotVerify::new(name, chain(&error))),
        error => Ok((code, chain(&error))),
    }
}

fn facts(bundle: &mut Bundle<SpooledTempFile>) -> Result<Result<RunFacts, String>, BundleError> {
    if bundle.length(RUN_FACTS).is_some_and(|length| length > MAX_RUN_FACTS) {
        return Ok(Err(format!("its {RUN_FACTS} is longer than {MAX_RUN_FACTS} bytes")));
    }
    let bytes = bundle.file(RUN_FACTS)?;
    Ok(match serde_json::from_slice::<RunFacts>(&bytes) {
        Ok(facts) if facts.format == RUN_FACTS_FORMAT => Ok(facts),
        Ok(facts) => Err(format!("its {RUN_FACTS} has the format {:?}, not {RUN_FACTS_FORMAT:?}", facts.format)),
        Err(e) => Err(format!("its {RUN_FACTS} is malformed: {e}")),
    })
}

/// Where `run.json` and the receipt say different things.
fn agree(facts: &RunFacts, statement: &Statement, receipt: &Receipt) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |what: &str, bundle: String, receipt: String| {
        if bundle != receipt {
            wrong.push(format!("{what}: {RUN_FACTS} says {bundle}, the receipt {receipt}"));
        }
    };
    compare("job", facts.job.to_string(), receipt.job.to_string());
    compare("slot", format!("{:?}", facts.slot), format!("{:?}", receipt.slot));
    compare("plan", format!("{:?}", Some(facts.plan)), format!("{:?}", statement.entry.plan));
    compare("started_at", facts.started_at.to_rfc3339(), receipt.started_at.to_rfc3339());
    compare("ended_at", facts.ended_at.to_rfc3339(), receipt.ended_at.to_rfc3339());
    compare("attempts", facts.attempts.len().to_string(), receipt.attempts.to_string());
    compare("late", facts.late.to_string(), receipt.late.to_string());
    compare("outcome", format!("{:?}", facts.outcome), format!("{:?}", receipt.outcome));
    compare("window", format!("{:?}", facts.window), format!("{:?}", receipt.window));
    compare("collector", facts.collector.id.clone(), receipt.job.collector().to_owned());
    compare("source", facts.source.name.clone(), receipt.job.source().to_owned());
    // No default pass: what was not read in full is not collected.
    let unread = |p: &Population| matches!(p, Population::Unread(_));
    let listed = facts.populations.values().all(|p| matches!(p, Population::Whole | Population::Absent(_)));
    if facts.outcome == Outcome::Collected && !(listed && facts.gaps.is_empty()) {
        wrong.push("outcome: collected, although not everything was read".to_owned());
    }
    match facts.window {
        Some(window) if window.whole && !listed => {
            wrong.push("window: read whole, although not everything was read".to_owned());
        }
        Some(window) if !window.whole && facts.outcome == Outcome::Collected => {
            wrong.push("outcome: collected, although its window was not read whole".to_owned());
        }
        _ => {}
    }
    if facts.outcome != Outcome::Failed && facts.populations.values().all(unread) {
        wrong.push(format!("outcome: {:?}, although nothing was read", facts.outcome));
    }
    // The receipt's reason is cut to what fits.
    if !facts.reason.starts_with(receipt.reason.trim_end_matches(['\u{2026}', '.'])) {
        wrong.push(format!("reason: {RUN_FACTS} says {:?}, the receipt {:?}", facts.reason, receipt.reason));
    }
    wrong
}

/// The run's collector and checks against the plan that its receipt names.
fn planned(around: &Around<'_>, facts: &RunFacts, checks: Option<Digest>) -> Vec<String> {
    // A plan that is not there is a finding of its own.
    let Some(plan) = around.plans.get(&facts.plan) else { return Vec::new() };
    let Some((version, planned)) = plan.jobs.get(&facts.job) else {
        return vec![format!("its plan has no job {}", facts.job)];
    };
    let mut wrong = Vec::new();
    if *version != facts.collector.version {
        wrong.push(format!("it is by version {} of its collector; the plan names {version}", facts.collector.version));
    }
    match checks {
        Some(checks) if checks == *planned => {}
        Some(checks) => wrong.push(format!("its {CHECKS} has the SHA-256 {checks}; the plan's checks have {planned}")),
        None => wrong.push(format!("it has no {CHECKS}")),
    }
    wrong
}

/// Each exchange's body, and that every file of the bundle is one that the format has. Line by line: there may be many.
fn exchanges(bundle: &mut Bundle<SpooledTempFile>, contents: &Contents) -> Result<Vec<String>, BundleError> {
    let mut wrong = Vec::new();
    let mut is_body = vec![false; contents.names().count()];
    let mut file = BufReader::new(bundle.stream("exchanges.jsonl")?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        read.map_err(|e| file.get_ref().fault(e))?;
        if line.is_empty() {
            break;
        }
        match serde_json::from_slice::<Line>(&line) {
            Ok(parsed) if line.ends_with(b"\n") => wrong.extend(exchange(number, &parsed, contents, &mut is_body)),
            Ok(_) => {
                wrong.push(format!("line {number} of exchanges.jsonl does not end, or is too long"));
                return Ok(wrong);
            }
            Err(e) => {
                wrong.push(format!("line {number} of exchanges.jsonl is malformed: {e}"));
                return Ok(wrong);
            }
        }
    }
    for (name, is_body) in contents.names().zip(is_body) {
        let known = matches!(name, SUMS | RUN_FACTS | "exchanges.jsonl" | CHECKS | "results.json" | "log.txt")
            || is_body
            || name.strip_prefix("records/").is_some_and(|kind| kind.ends_with(".jsonl") && !kind.contains('/'));
        if !known {
            wrong.push(format!("{name} belongs to no exchange and is no file of the format"));
        }
    }
    Ok(wrong)
}

/// One line, and the body that it names.
fn exchange(number: u64, line: &Line, contents: &Contents, is_body: &mut [bool]) -> Vec<String> {
    let mut wrong = Vec::new();
    if line.number != number {
        wrong.push(format!("exchange {} stands in line {number}", line.number));
    }
    let Some(body) = &line.body else {
        if line.bytes != 0 || line.sha256.is_some() {
            wrong.push(format!("exchange {} has no body, but {} bytes of one", line.number, line.bytes));
        }
        return wrong;
    };
    let place = contents.find(body);
    if !body.starts_with("exchanges/") || place.is_some_and(|place| is_body[place]) {
        wrong.push(format!("exchange {} names {body:?} as its body, which is another's or none", line.number));
        return wrong;
    }
    let Some(place) = place else {
        wrong.push(format!("exchange {}: its body {body} is not in the bundle", line.number));
        return wrong;
    };
    is_body[place] = true;
    let (found, length) = contents.at(place);
    if Some(found) != line.sha256 || length != line.bytes {
        wrong.push(format!(
            "exchange {}: its body {body} has {length} bytes with SHA-256 {found}, the line says {} and {}",
            line.number,
            line.bytes,
            line.sha256.map_or("none".to_owned(), |d| d.to_string())
        ));
    }
    wrong
}

/// The records' numbers in the files, in `run.json` and in the receipt.
fn records(
    bundle: &mut Bundle<SpooledTempFile>,
    facts: &RunFacts,
    receipt: &Receipt,
) -> Result<Vec<String>, BundleError> {
    let mut wrong = Vec::new();
    let kind = |name: &str| Some(name.strip_prefix("records/")?.strip_suffix(".jsonl")?.to_owned());
    let mut kinds: BTreeSet<String> = bundle.names().filter_map(kind).collect();
    kinds.extend(facts.records.keys().cloned());
    let mut all = 0;
    for kind in kinds {
        let name = format!("records/{kind}.jsonl");
        let lines = match bundle.length(&name) {
            Some(_) => lines(bundle, &name)?,
            None => 0,
        };
        let said = facts.records.get(&kind).copied().unwrap_or(0);
        if lines != said {
            wrong.push(format!("{name} has {lines} records, {RUN_FACTS} says {said}"));
        }
        all += lines;
    }
    if all != receipt.records {
        wrong.push(format!("it has {all} records, the receipt says {}", receipt.records));
    }
    Ok(wrong)
}

fn lines(bundle: &mut Bundle<SpooledTempFile>, name: &str) -> Result<u64, BundleError> {
    let mut file = bundle.stream(name)?;
    let (mut block, mut count) = (vec![0; 64 * 1024], 0);
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(count),
            Ok(n) => count += block[..n].iter().filter(|b| **b == b'\n').count() as u64,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(file.fault(e)),
        }
    }
}

/// Inputs that were not in the log before the run's own entry.
fn inputs(around: &Around<'_>, facts: &RunFacts, index: u64) -> Result<Vec<String>, CannotVerify> {
    let mut wrong = Vec::new();
    let Some(expected) = around.expected else { return Ok(wrong) };
    for input in &facts.inputs {
        let Some(bundle) = &input.bundle else { continue };
        match (expected.index(bundle)?, input.sha256) {
            (Some(logged), Some(digest)) if logged < index && bundle.ends_with(&format!("-{digest}.zip")) => {}
            (Some(logged), Some(_)) if logged >= index => {
                wrong.push(format!("its input {bundle} is logged by entry {logged}, after it"));
            }
            (Some(_), _) => wrong.push(format!("its input {bundle} has another digest than it says")),
            (None, _) if around.since.is_some_and(|since| since.is_older(bundle)) => {}
            (None, _) => wrong.push(format!("its input {bundle} is not in the log")),
        }
    }
    Ok(wrong)
}
