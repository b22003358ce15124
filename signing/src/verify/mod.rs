//! Verification of an archive: offline, from bytes and one root fingerprint, without a clock, a network or a runtime.
//!
//! The checkpoint is read first and fixed; everything else is judged against it. Nothing that is unreadable is passed over: it is an
//! error, never an absence. What is wrong is a finding, what is not proved a limit, and the verdict tells both. It never says who did
//! it, and nothing about the controls.

mod anchors;
mod append;
mod deep;
mod documents;
mod entry;
mod findings;
mod kept;
mod keyring;
mod names;
mod objects;
mod order;
mod past;
mod populations;
mod report;
mod sample;
mod sealed;
mod since;
mod source;
mod strays;
mod times;
mod tree;
mod view;
mod walk;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
};

pub use anchors::{Authority, WitnessedHead};
pub use deep::{Derived, Rederive};
pub use documents::LoggedDocument;
pub use entry::{EntryVerdict, entry};
pub use findings::{CannotVerify, Code, Finding, Limit, MAX_FINDINGS};
pub use kept::{Compared, Kept};
pub use report::{FORMAT, Head, Numbers, Section, Verdict, bytes, span};
pub use sample::{FORMAT_SAMPLE, SampleVerdict, is_sample, sample};
pub use strays::{Counted, Pending};
pub use times::{Bounded, Off, TrustedTime, Widest};

use crate::{
    errors::chain,
    keys::{KeySet, Use},
    layout::{self, CHECKPOINT},
    log::{Checkpoint, LogError, MAX_CHECKPOINT, cosignature::WitnessKey},
    statement::{Body, Statement},
    store::{Hold, Reader},
    time::{Utc, rfc3339},
    timestamp::{Roots, Verifier},
};
use findings::Findings;
use order::Order;
use since::Since;
use source::{Fetched, fetch};

/// What to verify against, and how.
pub struct Options<'a> {
    /// The owner's root key by fingerprint, from outside the archive.
    pub trust: String,
    /// The log that it must be; `None` takes what the checkpoint says, which the keys must then confirm.
    pub origin: Option<String>,
    /// The name of the directory that holds the origin, where it was found by its name.
    pub directory: Option<String>,
    /// Up to when slots and retention are judged; `None`: the sealing of the newest entry.
    pub as_of: Option<Utc>,
    /// Opens each bundle and derives its records again.
    pub deep: Option<&'a dyn Rederive>,
    /// How many threads; `None`: one for each core.
    pub threads: Option<usize>,
    /// A newer `keys.json` from outside the archive.
    pub keys: Option<Vec<u8>>,
    /// What seals and bundles are looked for; `None`: all.
    pub part: Option<Part>,
    /// Whose timestamps are believed.
    pub timestamp_roots: Roots,
    /// Whose cosignatures are believed, and how many of them a checkpoint needs.
    pub witnesses: Witnesses,
    /// Looks at nothing but what was logged after this checkpoint, which the auditor kept: the log's past is proved to be that of the
    /// checkpoint from tiles. Where it is not, everything is read, and the verdict says why.
    pub since: Option<Kept>,
    /// More checkpoints that were kept outside of the archive, to be compared with the log.
    pub kept: Vec<Kept>,
}

/// The witnesses that an auditor relies on.
#[derive(Debug, Clone, Default)]
pub struct Witnesses {
    /// Each by its key.
    pub keys: Vec<WitnessKey>,
    /// How many of them must have signed a checkpoint; `None`: all.
    pub needed: Option<usize>,
}

impl Witnesses {
    fn needed(&self) -> usize {
        self.needed.unwrap_or(self.keys.len())
    }
}

/// A part of an archive by time: runs by their slot, those by hand by their start, and every document. The log is always read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The first instant.
    pub from: Utc,
    /// The first instant after it.
    pub to: Utc,
}

impl Part {
    /// Whether the entry's seal and bundle belong to it.
    pub fn has(&self, statement: &Statement) -> bool {
        let (first, last) = match &statement.body {
            Body::Receipt(receipt) => {
                let at = receipt.slot.unwrap_or(receipt.started_at);
                (at, at)
            }
            Body::Missed(missed) => (missed.first, missed.last),
            Body::Document(_) => return true,
        };
        first < self.to && last >= self.from
    }
}

impl Options<'_> {
    /// Verification under a root key, with the defaults.
    pub fn trusting(trust: impl Into<String>) -> Self {
        Self {
            trust: trust.into(),
            origin: None,
            directory: None,
            as_of: None,
            deep: None,
            threads: None,
            keys: None,
            part: None,
            timestamp_roots: Roots::public(),
            witnesses: Witnesses::default(),
            since: None,
            kept: Vec::new(),
        }
    }
}

/// How far verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Entries, or objects.
    pub done: u64,
    /// Of how many; 0 where that is not known.
    pub total: u64,
}

/// What verification does, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading timestamps and cosignatures.
    Anchors,
    /// Reading the log.
    Log,
    /// Checking seals, bundles and documents.
    Objects,
    /// Looking for what the log does not explain.
    Listing,
}

/// Verifies an archive.
///
/// # Errors
/// [`CannotVerify`] for what leaves the question open: an object that cannot be read, no checkpoint, keys that are not under the trusted
/// root, entries of a kind that this program does not know. Never for what is wrong: that is a finding of the verdict.
pub fn verify(
    reader: &dyn Reader,
    options: &Options<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Verdict, CannotVerify> {
    let threads = options.threads.unwrap_or(0);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| CannotVerify::new("this program", format!("its threads cannot be started: {e}")))?;
    pool.install(|| run(reader, options, progress))
}

fn run(
    reader: &dyn Reader,
    options: &Options<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Verdict, CannotVerify> {
    let findings = Findings::default();
    let seen = match fetch(reader, CHECKPOINT, MAX_CHECKPOINT)? {
        Fetched::Bytes(bytes) => bytes,
        Fetched::Absent => {
            let reason =
                "it is not there: without it nothing says what the log holds. Is this an archive's origin directory?";
            return Err(CannotVerify::new(CHECKPOINT, reason));
        }
        Fetched::TooLong => {
            findings.add(Code::CheckpointMalformed, CHECKPOINT, None, "it is longer than a checkpoint can be");
            return Ok(headless(findings, options));
        }
    };
    let checkpoint = match Checkpoint::parse_unverified(&seen) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            findings.add(Code::CheckpointMalformed, CHECKPOINT, None, chain(&error));
            return Ok(headless(findings, options));
        }
    };
    origin(&checkpoint, options, &findings)?;
    let outside = match &options.keys {
        None => None,
        Some(bytes) => Some(given_keys(bytes, &options.trust, &checkpoint.origin)?),
    };

    for kept in &options.kept {
        kept.parse(&checkpoint.origin)?;
    }
    let (unsaid, mut since, mut start) = (Findings::default(), None, walk::Start::of_log());
    if let Some(kept) = &options.since
        && let Some((proved, tree)) = Since::prove(reader, &checkpoint, &kept.parse(&checkpoint.origin)?)?
    {
        (since, start.tree) = (Some(proved), tree);
    }
    let verifier = Verifier::new(options.timestamp_roots.clone());
    let means = anchors::Means {
        verifier: &verifier,
        witnesses: &options.witnesses.keys,
        from: since.as_ref().map_or(0, |since| since.from),
    };
    let anchors = anchors::read(reader, &findings, &checkpoint.origin, &means, progress)?;
    let origin = (checkpoint.origin.as_str(), checkpoint.size);
    let mut order = Order::new(reader, &findings, origin, &options.trust, outside, anchors);
    if let Some(since) = &mut since {
        since.read_back(&mut order, &unsaid, &findings)?;
    }
    if let Some(since) = &since {
        start = since.start(start.tree);
    }
    let mut walked = walk::walk(reader, &findings, &checkpoint, order, start, progress)?;
    if walked.root_agrees == Some(true)
        && let Some((index, kind)) = &walked.order.unknown
    {
        let reason = format!("its kind {kind:?} is not known to this version; verify with a newer one");
        return Err(CannotVerify::new(format!("entry {index}"), reason));
    }
    if let Some((index, kind)) = walked.order.unknown.take() {
        let says = format!("its kind {kind:?} is not known");
        findings.add(Code::LeafMalformed, format!("entry {index}"), Some(index), says);
    }
    if walked.order.keyring.is_empty() {
        no_keys(&walked.order, &findings)?;
    }
    let ahead = walked.order.anchors.disputed(reader, &findings, &checkpoint, &walked.order.keyring)?;
    let growth = walked.order.anchors.growth();
    let signed_by = signature(&seen, &checkpoint, &walked.order, &growth, &findings);
    let mut compared = Vec::new();
    for kept in options.since.iter().chain(&options.kept) {
        compared.push(kept.compare(&checkpoint, |size| walked.roots.at(size), &walked.order.keyring, &findings)?);
    }

    let (as_of, as_of_from) = match (options.as_of, growth.newest, walked.order.newest_entry) {
        (Some(given), _, _) => (given, "given"),
        // The later of the two: where authorities were away, the slots since then are judged all the same.
        (None, Some(trusted), newest) if newest.is_none_or(|newest| newest <= trusted) => (trusted, "trusted_time"),
        (None, _, newest) => (newest.unwrap_or_default(), "newest_entry"),
    };
    let objects = objects::Objects {
        reader,
        findings: &findings,
        order: &walked.order,
        verifier: &verifier,
        growth: &growth,
        times: times::Times::default(),
        as_of,
        deep: options.deep.map(deep::Deep::new),
        covered: objects::covered(reader),
        part: options.part,
        since: since.as_ref(),
        counted: objects::Counted::default(),
        documents: Mutex::default(),
    };
    objects::check(&objects, &walked, progress)?;
    let (opened, rederived, deep_limits) = objects.deep.as_ref().map(deep::Deep::counts).unwrap_or_default();
    objects.say_covered();
    let (counted, entries) = (objects.counted, objects.times.finish());
    let mut documents = objects.documents.into_inner().unwrap_or_else(PoisonError::into_inner);
    documents.sort_by_key(|document| document.index);
    let part = since.as_ref().map(|since| since.prefixes(walked.order.newest_entry));
    let strays = strays::Means { reader, findings: &findings, order: &walked.order, verifier: &verifier };
    let strays = strays::search(strays, &mut walked.roots, (&checkpoint, &seen), ahead, part, progress)?;
    let time = TrustedTime {
        authorities: walked.order.anchors.authorities(&counted.authorities()),
        checkpoint_tokens: walked.order.anchors.trusted_tokens,
        seal_tokens: counted.seal_tokens.load(Relaxed),
        untrusted_tokens: walked.order.anchors.untrusted.values().sum::<u64>() + counted.untrusted_tokens.load(Relaxed),
        newest: growth.newest,
        entries,
    };
    let witnessed = witnessed(options, &walked.order.anchors, checkpoint.size, &findings);

    let coverage = walked.order.coverage.finish(as_of);
    for found in walked.order.coverage.take_findings() {
        let code = Code::named(found.code).unwrap_or(Code::SlotPlan);
        let object = match (&found.job, found.slot) {
            (Some(job), Some(slot)) => format!("{job} {}", rfc3339(slot)),
            (Some(job), None) => job.to_string(),
            (None, _) => format!("entry {}", found.index),
        };
        findings.add(code, object, Some(found.index), found.sentence);
    }

    let told = walked.order.told.clone();
    let numbers = Numbers {
        entries: checkpoint.size,
        receipts: told.receipts,
        missed: told.missed,
        plans: told.plans,
        keys: told.keys,
        populations: told.populations,
        controls: told.controls,
        other_documents: told.other_documents,
        malformed: told.malformed,
        seals: counted.seals.load(Relaxed),
        bundles: counted.bundles.load(Relaxed),
        bundle_bytes: counted.bundle_bytes.load(Relaxed),
        expired: counted.expired.load(Relaxed),
        outside: counted.outside.load(Relaxed),
        objects: strays.objects,
        opened,
        rederived,
    };
    let hold = reader.hold();
    let tail = tail(checkpoint.size, witnessed.as_ref(), kept::pinned(&compared), options);
    let mut limits = limits(options, &hold, &numbers, &time, &tail);
    limits.extend(documents::unread(&documents));
    limits.extend(since.as_ref().map(Since::limit));
    if !walked.order.anchors.untrusted.is_empty() {
        limits.push(untrusted(&walked.order.anchors.untrusted));
    }
    if let Some(back) = &walked.order.set_back {
        let says = format!(
            "{} entries, the first of them {}, say that they were sealed up to {} before entries that they knew: the agent's clock \
             was set back, or these times are not true",
            back.entries,
            back.first,
            span(back.most_seconds)
        );
        limits.push(Limit { code: "CLOCK-SET-BACK", says });
    }
    limits.extend(lost(&walked.order.keyring));
    limits.extend(deep_limits);
    let newest = walked.order.newest_entry;
    let events = walked.order.events();
    let head = Head {
        size: checkpoint.size,
        root: Some(checkpoint.root),
        root_agrees: walked.root_agrees,
        key_valid_from: signed_by.as_deref().and_then(|key| walked.order.keyring.valid_from(key)),
        signed_by,
    };
    drop(walked);
    let since = since.map(|since| since.from);
    let (findings, findings_by_code, findings_total) = findings.finish();
    let sections = report::sections(&report::Facts {
        head: &head,
        origin: &checkpoint.origin,
        numbers: &numbers,
        findings: &findings_by_code,
        coverage: &coverage,
        events: &events,
        documents: &documents,
        given: options.as_of.is_some(),
        newest,
        pending: strays.pending.total,
        pending_sealed: strays.sealed,
        leftovers: strays.leftovers.total,
        deep: options.deep.is_some(),
        hold: &hold,
        time: &time,
        tail: &tail,
        as_of_from,
        since,
    });
    Ok(Verdict {
        format: FORMAT,
        intact: findings_total == 0,
        statement: report::statement(findings_total, limits.len(), options.part, since),
        origin: checkpoint.origin,
        trust: options.trust.clone(),
        as_of: Some(as_of),
        as_of_from,
        newest_entry_at: newest,
        checkpoint: head,
        sections,
        findings,
        findings_by_code,
        findings_total,
        limits,
        pending: strays.pending,
        pending_sealed: strays.sealed,
        leftovers: strays.leftovers,
        numbers,
        time,
        witnessed,
        coverage: Some(coverage),
        events,
        documents,
        since,
        kept: compared,
    })
}

/// The newest checkpoint that enough of the given witnesses signed; that there is none is a finding.
fn witnessed(
    options: &Options<'_>,
    anchors: &anchors::Anchors,
    size: u64,
    findings: &Findings,
) -> Option<WitnessedHead> {
    let Witnesses { keys, .. } = &options.witnesses;
    if keys.is_empty() {
        return None;
    }
    let needed = options.witnesses.needed();
    let found = anchors.witnessed(needed, keys);
    if found.is_none() && size > 0 {
        let says = match anchors.witnessed(1, keys) {
            None => format!(
                "{needed} of {} witnesses must have signed; none of them signed any checkpoint of this log",
                keys.len()
            ),
            Some(most) => format!(
                "{needed} of {} witnesses must have signed; the newest checkpoint that any of them signed is over {} entries, by {}",
                keys.len(),
                most.size,
                most.witnesses.join(", ")
            ),
        };
        findings.add(Code::WitnessQuorum, CHECKPOINT, None, says);
    }
    found
}

/// What pins the log's end, in words, and what that leaves open: nothing in an archive shows that there was no more.
fn tail(size: u64, witnessed: Option<&WitnessedHead>, pinned: Option<&Compared>, options: &Options<'_>) -> String {
    let kept = pinned.map(|Compared { name, size, .. }| {
        format!("the log's first {size} entries are those under the checkpoint kept in {name}")
    });
    let Some(head) = witnessed else {
        let why =
            if options.witnesses.keys.is_empty() { "no witness was asked for" } else { "too few witnesses signed" };
        return match kept {
            Some(kept) => format!("{kept}, and {why}: newer entries could have been taken away"),
            None => format!(
                "no checkpoint of yours was given and {why}: newer entries could have been taken away, or the log written anew"
            ),
        };
    };
    let at = head.at.map_or(String::new(), |at| format!(" at {}", rfc3339(at)));
    let by = format!("{} signed a checkpoint over {} entries{at}", head.witnesses.join(", "), head.size);
    let by = kept.map_or(by.clone(), |kept| format!("{kept}; {by}"));
    // An older state put back whole has the signatures of its own time.
    match head.size == size {
        true => {
            format!(
                "{by}, all that are here; whether a longer log was signed since the witnesses alone can tell: ask them"
            )
        }
        false => format!("{by}; entries after them could have been taken away or replaced"),
    }
}

/// Keys that were lost.
fn lost(keyring: &keyring::Keyring) -> impl Iterator<Item = Limit> {
    keyring.lost().into_iter().map(|key| Limit {
        code: "KEY-LOST",
        says: format!("the key {key} was lost: that another follows it rests on the root's word alone"),
    })
}

/// Tokens of authorities that were not given.
fn untrusted(signers: &BTreeMap<String, u64>) -> Limit {
    let list: Vec<_> = signers.iter().map(|(says, tokens)| format!("{tokens}: {says}")).collect();
    let says = format!("tokens that lead to none of the given roots prove no time to you: {}", list.join("; "));
    Limit { code: "TIME-AUTHORITY", says }
}

/// The keys that came from outside.
fn given_keys(bytes: &[u8], trust: &str, origin: &str) -> Result<KeySet, CannotVerify> {
    let cannot = |reason| CannotVerify::new("the keys file that was given", reason);
    let set = KeySet::open(bytes, trust).map_err(|e| cannot(chain(&e)))?;
    match set.origin == origin {
        true => Ok(set),
        false => Err(cannot(format!("it is for the log {:?}, not {origin:?}", set.origin))),
    }
}

/// The log's name by the caller, the directory and the checkpoint.
fn origin(checkpoint: &Checkpoint, options: &Options<'_>, findings: &Findings) -> Result<(), CannotVerify> {
    if let Some(wanted) = options.origin.as_ref().filter(|wanted| **wanted != checkpoint.origin) {
        let reason = format!("it is of the log {:?}, but {wanted:?} was asked for", checkpoint.origin);
        return Err(CannotVerify::new(CHECKPOINT, reason));
    }
    let own = layout::origin_directory(&checkpoint.origin);
    if let Some(directory) = options.directory.as_ref().filter(|directory| **directory != own) {
        let says = format!("it is of the log {:?}, whose directory is {own:?}, not {directory:?}", checkpoint.origin);
        findings.add(Code::Origin, CHECKPOINT, None, says);
    }
    Ok(())
}

/// No keys under the trusted root: another owner's archive, or keys that were altered.
fn no_keys(order: &Order<'_>, findings: &Findings) -> Result<(), CannotVerify> {
    if let Some((name, error)) = &order.other_root {
        return Err(CannotVerify::new(name, chain(error)));
    }
    if !findings.any() {
        let reason = "it logs no keys document under the trusted root; give one with --keys, or check the fingerprint";
        return Err(CannotVerify::new("the log", reason));
    }
    let says = "no keys document of the log can be used (see the other findings), so that no signature was checked";
    findings.add(Code::KeysNone, CHECKPOINT, None, says);
    Ok(())
}

/// The key that signed the checkpoint, if one did that may.
fn signature(
    bytes: &[u8],
    checkpoint: &Checkpoint,
    order: &Order<'_>,
    growth: &times::Growth,
    findings: &Findings,
) -> Option<String> {
    let finding = |code, says: String| findings.add(code, CHECKPOINT, None, says);
    if order.keyring.is_empty() {
        return None;
    }
    if let Some(set) = order.keyring.newest().filter(|set| set.origin != checkpoint.origin) {
        finding(
            Code::Origin,
            format!("it is of the log {:?}; the owner's keys are for {:?}", checkpoint.origin, set.origin),
        );
    }
    let keys = order.keyring.checkpoint_keys();
    let by = match Checkpoint::open(bytes, &checkpoint.origin, &keys) {
        Ok((_, by)) => by,
        Err(error @ LogError::NoKnownSignature(_)) => {
            let known: Vec<String> = keys.iter().map(ToString::to_string).collect();
            let says = format!("{}; the owner's keys for checkpoints are: {}", chain(&error), known.join(", "));
            finding(Code::CheckpointSignature, says);
            return None;
        }
        Err(error) => {
            finding(Code::CheckpointSignature, chain(&error));
            return None;
        }
    };
    // It was signed after the newest entry under it.
    let at = order.newest_entry.unwrap_or_default();
    if let Err(refusal) = order.keyring.current(&by, Use::Checkpoints, at, growth.size_by(checkpoint.size)) {
        finding(refusal.code, refusal.says);
        return None;
    }
    let lines = bytes.split(|b| *b == b'\n').filter(|line| line.starts_with("\u{2014} ".as_bytes())).count();
    if lines > keys.len().max(1) || lines > 1 && keys.len() == 1 {
        finding(
            Code::CheckpointSignature,
            format!("it carries {lines} signatures, of which not all are by known keys"),
        );
    }
    Some(by)
}

/// What this verdict does not prove.
fn limits(options: &Options<'_>, hold: &Hold, numbers: &Numbers, time: &TrustedTime, tail: &str) -> Vec<Limit> {
    let mut limits = Vec::new();
    limits.extend(time.limits());
    limits.push(Limit { code: "TAIL-UNPINNED", says: tail.to_owned() });
    match hold {
        Hold::Nothing => {
            let says = "the store does not hold objects in place: what is gone was not hindered from going".to_owned();
            limits.push(Limit { code: "NO-OBJECT-LOCK", says });
        }
        Hold::Weak(says) => limits.push(Limit { code: "WEAK-OBJECT-LOCK", says: says.clone() }),
        Hold::Firm(_) => {}
    }
    if let Some(part) = options.part {
        let says = format!(
            "only what is of {} to {} was looked for: {} entries are outside, and whether their seals and bundles are in place was not asked",
            rfc3339(part.from),
            rfc3339(part.to),
            numbers.outside
        );
        limits.push(Limit { code: "PART", says });
    }
    limits
}

/// The verdict on an archive whose checkpoint cannot be read.
fn headless(findings: Findings, options: &Options<'_>) -> Verdict {
    let (findings, findings_by_code, findings_total) = findings.finish();
    let says = "the checkpoint cannot be read, so that nothing else could be checked".to_owned();
    Verdict {
        format: FORMAT,
        intact: false,
        statement: report::statement(findings_total, 0, None, None),
        origin: options.origin.clone().or_else(|| options.directory.clone()).unwrap_or_default(),
        trust: options.trust.clone(),
        as_of: options.as_of,
        as_of_from: "given",
        newest_entry_at: None,
        checkpoint: Head { size: 0, root: None, root_agrees: None, signed_by: None, key_valid_from: None },
        sections: vec![Section { name: "origin", says }],
        findings,
        findings_by_code,
        findings_total,
        limits: limits(
            options,
            &Hold::Nothing,
            &Numbers::default(),
            &TrustedTime::default(),
            &tail(0, None, None, options),
        ),
        pending: Counted::default(),
        pending_sealed: 0,
        leftovers: Counted::default(),
        numbers: Numbers::default(),
        time: TrustedTime::default(),
        witnessed: None,
        coverage: None,
        events: Vec::new(),
        documents: Vec::new(),
        since: None,
        kept: Vec::new(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked left whole values behind: each is written in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
