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
mod expected;
mod findings;
mod head;
mod kept;
mod keyring;
mod limits;
mod names;
mod newest;
mod objects;
mod options;
mod order;
mod past;
mod populations;
mod report;
mod sample;
mod scratch;
mod sealed;
mod since;
mod source;
mod strays;
mod times;
mod tree;
mod view;
mod walk;

use std::sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed};

pub use anchors::{Authority, WitnessedHead};
pub use deep::{Derived, Rederive};
pub use documents::LoggedDocument;
pub use entry::{EntryVerdict, entry};
pub use findings::{CannotVerify, Code, Finding, Limit, MAX_FINDINGS};
pub use kept::{Compared, Kept};
pub use options::{Options, Part, Progress, Stage, Witnesses};
pub use report::{FORMAT, Head, Numbers, Section, Verdict, bytes, span};
pub use sample::{FORMAT_SAMPLE, SampleVerdict, is_sample, sample};
pub use strays::{Counted, Pending};
pub use times::{Bounded, Off, TrustedTime, Widest};

use crate::{
    errors::chain,
    layout::CHECKPOINT,
    log::{Checkpoint, MAX_CHECKPOINT},
    store::{Hold, Reader},
    time::rfc3339,
    timestamp::Verifier,
};
use findings::Findings;
use order::Order;
use since::Since;
use source::{Fetched, fetch};

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
    head::origin(&checkpoint, options, &findings)?;
    let outside = match &options.keys {
        None => None,
        Some(bytes) => Some(head::given_keys(bytes, &options.trust, &checkpoint.origin)?),
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
        head::no_keys(&walked.order, &findings)?;
    }
    let ahead = walked.order.anchors.disputed(reader, &findings, &checkpoint, &walked.order.keyring)?;
    let growth = walked.order.anchors.growth();
    let signed_by = head::signature(&seen, &checkpoint, &walked.order, &growth, &findings);
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
        same_bundles: walked.order.expected.same_bundles()?,
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
    let witnessed = head::witnessed(options, &walked.order.anchors, checkpoint.size, &findings);

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
    let tail = limits::tail(checkpoint.size, witnessed.as_ref(), kept::pinned(&compared), options);
    let mut limits = limits::limits(options, &hold, &numbers, &time, &tail);
    limits.extend(documents::unread(&documents));
    limits.extend(since.as_ref().map(Since::limit));
    if !walked.order.anchors.untrusted.is_empty() {
        limits.push(limits::untrusted(&walked.order.anchors.untrusted));
    }
    limits.extend(walked.order.set_back.as_ref().map(limits::set_back));
    limits.extend(limits::lost(&walked.order.keyring));
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
        limits: limits::limits(
            options,
            &Hold::Nothing,
            &Numbers::default(),
            &TrustedTime::default(),
            &limits::tail(0, None, None, options),
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
