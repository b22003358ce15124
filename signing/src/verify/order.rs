//! What the log's order says: each leaf after those that it rests on, keys and plans before their use, slots covered, times that can be.
//!
//! Leaves come in one at a time, in log order; nothing of them is kept in memory but the recent ones' times and names.

use std::collections::{BTreeMap, HashMap, HashSet, hash_map::Entry as Slot};

use super::{
    anchors::Anchors,
    expected::Expected,
    findings::{CannotVerify, Code, Findings},
    keyring::Keyring,
    names::Part,
    newest::Newest,
    since::Rest,
    source::{self, Fetched},
    times::Lowers,
};
use crate::{
    digest::Digest,
    errors::chain,
    keys::{KeySet, KeysError, MAX_KEYS},
    layout::{self, Anchor, Job},
    plan::{self, Plan},
    population,
    promise::{self, MAX_CONTROLS, Promise},
    slots::{Coverage, Events, Windows},
    statement::{Body, Counts, Document, Entry, Missed, Outcome, Receipt, Statement, StatementError},
    store::Reader,
    time::{Utc, rfc3339},
};

/// The most bytes of a plan that are read.
pub(crate) const MAX_PLAN: u64 = 64 * 1024 * 1024;

/// How far back a sealing time may lie before one that it must follow: clocks are stepped by seconds, and that says nothing.
const CLOCK_TOLERANCE_SECONDS: i64 = 120;

/// Entries sealed, by the agent's clock, before entries that they knew: the clock was set back, or the times are not true.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SetBack {
    pub entries: u64,
    /// The first one, and by how much.
    pub first: u64,
    pub most_seconds: i64,
}

/// A leaf as read from the log.
pub(crate) struct Leaf {
    /// [`Statement::leaf_digest`].
    pub digest: Digest,
    pub statement: Result<Statement, StatementError>,
}

/// What is kept of a plan.
pub(crate) struct PlanFacts {
    /// Each job's version and checks.
    pub jobs: BTreeMap<Job, (u32, Digest)>,
    pub retention_days: Option<u32>,
}

impl PlanFacts {
    pub fn of(plan: &Plan) -> Self {
        Self {
            jobs: plan.jobs.iter().map(|job| (job.job.clone(), (job.version, job.checks))).collect(),
            retention_days: plan.retention_days,
        }
    }
}

/// What the leaves told, counted.
#[derive(Debug, Default, Clone)]
pub(crate) struct Told {
    pub receipts: u64,
    pub missed: u64,
    pub plans: u64,
    pub keys: u64,
    pub populations: u64,
    pub controls: u64,
    pub other_documents: u64,
    pub malformed: u64,
}

/// The state after the leaves so far.
pub(crate) struct Order<'a> {
    pub reader: &'a dyn Reader,
    pub findings: &'a Findings,
    pub origin: &'a str,
    size: u64,
    trust: &'a str,
    pub keyring: Keyring,
    /// A keys document, unaltered, that is under another root than the trusted one.
    pub other_root: Option<(String, KeysError)>,
    pub plans: HashMap<Digest, PlanFacts>,
    any_plan: bool,
    pub coverage: Coverage,
    /// Of the jobs that read events.
    windows: BTreeMap<Job, Windows>,
    pub expected: Expected,
    /// From the first entry on that came.
    newest: Newest,
    /// Where the log is not read from its start: what is known of the entries before.
    pub rest: Rest,
    pub newest_entry: Option<Utc>,
    /// The first leaf of a kind that this program does not know.
    pub unknown: Option<(u64, String)>,
    pub told: Told,
    pub set_back: Option<SetBack>,
    pub anchors: Anchors,
    /// Not before when entries can have been sealed, by what they knew.
    lowers: Lowers,
    /// Tokens that are not there, so that each is said once.
    pub missing_tokens: HashSet<Digest>,
    /// The widths of partial tiles that a published checkpoint rests on, in the tile
    /// that is not full yet, each with the first entry that names such a checkpoint.
    pub partial: BTreeMap<(Part, u16), u64>,
}

impl<'a> Order<'a> {
    pub fn new(
        reader: &'a dyn Reader,
        findings: &'a Findings,
        (origin, size): (&'a str, u64),
        trust: &'a str,
        outside: Option<KeySet>,
        anchors: Anchors,
    ) -> Self {
        Self {
            reader,
            findings,
            origin,
            size,
            trust,
            keyring: Keyring::with_outside(outside),
            other_root: None,
            plans: HashMap::new(),
            any_plan: false,
            coverage: Coverage::new(),
            windows: BTreeMap::new(),
            expected: Expected::default(),
            newest: Newest::default(),
            rest: Rest::default(),
            newest_entry: None,
            unknown: None,
            told: Told::default(),
            set_back: None,
            anchors,
            lowers: Lowers::default(),
            missing_tokens: HashSet::new(),
            partial: BTreeMap::new(),
        }
    }

    /// Takes the next leaf; `None` for one that is lost or was altered. `root_at` gives the log's root at an earlier size.
    pub fn leaf(
        &mut self,
        object: &str,
        index: u64,
        leaf: Option<&Leaf>,
        root_at: &mut dyn FnMut(u64) -> Option<Digest>,
    ) -> Result<(), CannotVerify> {
        let statement = match leaf.map(|leaf| (leaf, &leaf.statement)) {
            Some((leaf, Ok(statement))) => Some((leaf, statement)),
            Some((_, Err(StatementError::UnknownPredicate(kind)))) => {
                self.unknown.get_or_insert((index, kind.clone()));
                None
            }
            Some((_, Err(error))) => {
                self.told.malformed += 1;
                self.findings.add(Code::LeafMalformed, object, Some(index), chain(error));
                None
            }
            None => None,
        };
        self.newest.push(statement.map(|(_, s)| s.entry.sealed_at.timestamp_millis()))?;
        let Some((leaf, statement)) = statement else { return Ok(()) };
        self.newest_entry = self.newest_entry.max(Some(statement.entry.sealed_at));

        self.entry(object, index, &statement.entry, root_at)?;
        let seal = layout::seal(statement.entry.sealed_at, leaf.digest);
        if let Some(first) = self.expected.add(&seal, index)? {
            self.findings.add(Code::LeafTwice, object, Some(index), format!("it is the same leaf as entry {first}"));
            return Ok(());
        }
        match &statement.body {
            Body::Receipt(receipt) => self.receipt(object, index, statement, receipt)?,
            Body::Missed(missed) => self.missed(object, index, statement, missed)?,
            Body::Document(document) => self.document(object, index, statement, document, root_at)?,
        }
        Ok(())
    }

    /// What is common to all leaves.
    fn entry(
        &mut self,
        object: &str,
        index: u64,
        entry: &Entry,
        root_at: &mut dyn FnMut(u64) -> Option<Digest>,
    ) -> Result<(), CannotVerify> {
        let findings = self.findings;
        let finding = |code, says| findings.add(code, object, Some(index), says);
        if entry.origin != self.origin {
            finding(Code::Origin, format!("it is for the log {:?}, but stands in {:?}", entry.origin, self.origin));
        }
        if let Some(known) = entry.checkpoint {
            if known.size > self.size {
                finding(
                    Code::LogRolledBack,
                    format!("it knew of a checkpoint over {} entries; this log has {}", known.size, self.size),
                );
            } else if known.size > index {
                finding(
                    Code::LogOrder,
                    format!("it knew of a checkpoint over {} entries, but is entry {index} itself", known.size),
                );
            } else {
                // A root that cannot be computed is a finding already, of the entries that are lost.
                if let Some(root) = root_at(known.size).filter(|root| *root != known.root) {
                    finding(
                        Code::LogForked,
                        format!(
                            "it knew of a checkpoint over {} entries with root {}; this log's root at that size is {root}",
                            known.size, known.root
                        ),
                    );
                }
                self.time(index, entry, known.size)?;
                self.published(index, known.size);
            }
        }
        if let Some(anchored) = entry.anchor {
            if anchored.size > index {
                let says = format!(
                    "it knew of a token over a checkpoint of {} entries, but is entry {index} itself",
                    anchored.size
                );
                self.findings.add(Code::LogOrder, object, Some(index), says);
            }
            let read = anchored.size >= self.anchors.first;
            if read && self.anchors.token(anchored.token).is_none() && self.missing_tokens.insert(anchored.token) {
                let name = layout::anchor(anchored.size, anchored.token, Anchor::Token);
                let says = format!("entry {index} names this token, but it is not there");
                self.findings.add(Code::AnchorMissing, name, Some(index), says);
            }
        }
        if let Some(earliest) = self.earliest(index, entry) {
            self.lowers.add(index + 1, earliest.timestamp_millis());
        }
        Ok(())
    }

    /// Not before when an entry can have been sealed: the time of the token that it names, and of those that were known to what it knew.
    pub fn earliest(&self, index: u64, entry: &Entry) -> Option<Utc> {
        let named = entry.anchor.and_then(|anchored| self.anchors.token(anchored.token)).flatten();
        let known =
            entry.checkpoint.filter(|known| known.size <= index).and_then(|known| self.lowers.under(known.size));
        chrono::DateTime::from_timestamp_millis(named.max(known)?)
    }

    /// Whoever knows a checkpoint seals after every entry under it was sealed. Entries of parallel runs do not know each other, so
    /// their order says nothing. An honest clock that is set back looks the same, so that this is told, and is no finding.
    fn time(&mut self, index: u64, entry: &Entry, known: u64) -> Result<(), CannotVerify> {
        let Some(at) = known.checked_sub(1 + self.rest.first) else { return Ok(()) };
        let Some(before) = self.newest.get(at)? else { return Ok(()) };
        let back = before.saturating_sub(entry.sealed_at.timestamp_millis()) / 1000;
        if back > CLOCK_TOLERANCE_SECONDS {
            let so_far = self.set_back.get_or_insert(SetBack { entries: 0, first: index, most_seconds: 0 });
            so_far.entries += 1;
            so_far.most_seconds = so_far.most_seconds.max(back);
        }
        Ok(())
    }

    /// A checkpoint that an entry knew was published, with the partial tiles that it rests on; those may go only once they are full.
    fn published(&mut self, index: u64, known: u64) {
        for level in 0..8 {
            let (then, now) = (known >> (8 * level), self.size >> (8 * level));
            let width = (then % 256) as u16;
            if width > 0 && then / 256 == now / 256 && then < now {
                self.partial.entry((Part::Level(level), width)).or_insert(index);
                if level == 0 {
                    self.partial.entry((Part::Entries, width)).or_insert(index);
                }
            }
        }
    }

    /// The plan that an entry names, which must precede it.
    fn plan_of(&mut self, object: &str, index: u64, entry: &Entry) -> Result<(), CannotVerify> {
        let says = match entry.plan {
            Some(digest) if self.plans.contains_key(&digest) || self.older_plan(digest)? => return Ok(()),
            Some(digest) => {
                format!("it names the plan {digest}, which no earlier entry logs (or which cannot be read)")
            }
            None => "it names no plan".to_owned(),
        };
        self.findings.add(Code::PlanUnknown, object, Some(index), says);
        Ok(())
    }

    fn receipt(
        &mut self,
        object: &str,
        index: u64,
        statement: &Statement,
        receipt: &Receipt,
    ) -> Result<(), CannotVerify> {
        self.told.receipts += 1;
        let subject = &statement.subject[0];
        let name = match receipt.slot {
            Some(slot) => layout::bundle_of_slot(slot, &receipt.job, subject.digest.sha256),
            None => layout::bundle_by_hand(receipt.started_at, &receipt.job, subject.digest.sha256),
        };
        if subject.name != name {
            let says = format!("it names the bundle {:?}; by what it says, the name is {name:?}", subject.name);
            self.findings.add(Code::LeafSubject, object, Some(index), says);
        }
        if let Some(first) = self.expected.add(&subject.name, index)? {
            let says = format!("entry {first} names the same bundle");
            self.findings.add(Code::LeafTwice, &subject.name, Some(index), says);
        }
        self.expected.add_bundle(subject.digest.sha256, index)?;
        if let Some(checks) = &receipt.checks {
            let mut sum = Counts::default();
            checks.values().for_each(|counts| sum += *counts);
            if sum != receipt.totals {
                let says = "the totals are not the sum of its checks".to_owned();
                self.findings.add(Code::LeafContent, object, Some(index), says);
            }
        }
        if receipt.ended_at < receipt.started_at || receipt.attempts == 0 {
            let says = "the run ended before it began, or made no attempt".to_owned();
            self.findings.add(Code::LeafContent, object, Some(index), says);
        }
        match receipt.window {
            Some(window) if window.from >= window.to || (receipt.outcome == Outcome::Collected && !window.whole) => {
                let says = "its window ends before it begins, or was not read whole although the run is collected";
                self.findings.add(Code::LeafContent, object, Some(index), says);
            }
            Some(window) => self.windows.entry(receipt.job.clone()).or_default().add(&window),
            None => {}
        }
        self.plan_of(object, index, &statement.entry)?;
        match (receipt.slot, statement.entry.plan) {
            (Some(slot), Some(plan)) => {
                self.settled(index, &receipt.job, slot);
                self.coverage.receipt(index, plan, &receipt.job, slot, receipt.outcome, receipt.late);
            }
            (Some(_), None) => {}
            (None, _) => self.coverage.by_hand(&receipt.job),
        }
        Ok(())
    }

    fn missed(&mut self, object: &str, index: u64, statement: &Statement, missed: &Missed) -> Result<(), CannotVerify> {
        self.told.missed += 1;
        let subject = &statement.subject[0];
        self.plan_of(object, index, &statement.entry)?;
        let Some(plan) = statement.entry.plan else { return Ok(()) };
        let name = layout::document("plan", plan);
        if subject.name != name || subject.digest.sha256 != plan {
            let says = format!("its subject is {:?}; it should be its plan {name:?}", subject.name);
            self.findings.add(Code::LeafSubject, object, Some(index), says);
        }
        self.settled(index, &missed.job, missed.first);
        self.coverage.missed(index, plan, missed);
        Ok(())
    }

    fn document(
        &mut self,
        object: &str,
        index: u64,
        statement: &Statement,
        document: &Document,
        root_at: &mut dyn FnMut(u64) -> Option<Digest>,
    ) -> Result<(), CannotVerify> {
        let subject = &statement.subject[0];
        let digest = subject.digest.sha256;
        let name = layout::document(&document.kind, digest);
        if subject.name != name {
            let says = format!("it names the document {:?}; by what it says, the name is {name:?}", subject.name);
            self.findings.add(Code::LeafSubject, object, Some(index), says);
        }
        if let Some(first) = self.expected.add(&subject.name, index)? {
            let says = format!("entry {first} names the same document");
            self.findings.add(Code::LeafTwice, &subject.name, Some(index), says);
            return Ok(());
        }
        if !document.kind.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            let says = format!("{:?} is no kind of document", document.kind);
            self.findings.add(Code::LeafContent, object, Some(index), says);
            return Ok(());
        }
        if statement.entry.plan.is_some() || self.any_plan {
            self.plan_of(object, index, &statement.entry)?;
        }
        match document.kind.as_str() {
            "keys" => {
                self.told.keys += 1;
                if let Some(bytes) = self.read_document(&subject.name, index, digest, MAX_KEYS)? {
                    self.keys(&subject.name, index, &bytes);
                }
            }
            "plan" => {
                self.told.plans += 1;
                if let Some(bytes) = self.read_document(&subject.name, index, digest, MAX_PLAN)? {
                    self.plan(&subject.name, index, digest, &statement.entry, &bytes);
                }
            }
            population::KIND => self.population(&subject.name, (index, digest), root_at)?,
            promise::KIND => {
                self.told.controls += 1;
                if let Some(bytes) = self.read_document(&subject.name, index, digest, MAX_CONTROLS)? {
                    self.controls(&subject.name, index, &bytes);
                }
            }
            // Its digest is checked with the bundles'.
            _ => self.told.other_documents += 1,
        }
        Ok(())
    }

    pub fn read_document(
        &self,
        name: &str,
        index: u64,
        digest: Digest,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, CannotVerify> {
        let finding = |code, says| self.findings.add(code, name, Some(index), says);
        match source::fetch(self.reader, name, limit)? {
            Fetched::Absent => {
                finding(Code::DocumentMissing, format!("entry {index} of the log says that it is there"));
                Ok(None)
            }
            Fetched::TooLong => {
                finding(
                    Code::DocumentDigest,
                    format!("it is longer than {limit} bytes; entry {index} of the log says {digest}"),
                );
                Ok(None)
            }
            Fetched::Bytes(bytes) => {
                let found = Digest::of(&bytes);
                if found != digest {
                    finding(Code::DocumentDigest, altered(found, index, digest));
                    return Ok(None);
                }
                Ok(Some(bytes))
            }
        }
    }

    pub fn keys(&mut self, name: &str, index: u64, bytes: &[u8]) {
        let finding = |code, says| self.findings.add(code, name, Some(index), says);
        match KeySet::open(bytes, self.trust) {
            Ok(set) => {
                if set.origin != self.origin {
                    finding(Code::Origin, format!("the keys are for the log {:?}, not {:?}", set.origin, self.origin));
                }
                self.keyring.add(index, name, set, self.findings);
            }
            Err(error @ KeysError::TrustMismatch { .. }) => {
                // With no key of the trusted root at all this is another archive, or another fingerprint: not for us to judge.
                if !self.keyring.is_empty() {
                    finding(Code::KeysRoot, error.to_string());
                }
                self.other_root.get_or_insert((name.to_owned(), error));
            }
            Err(error @ KeysError::Signature(_)) => finding(Code::KeysRoot, error.to_string()),
            Err(error) => finding(Code::DocumentMalformed, chain(&error)),
        }
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        self.origin
    }

    /// A keys document under the trusted root, for this log.
    pub fn trusted(&self, bytes: &[u8]) -> Option<KeySet> {
        KeySet::open(bytes, self.trust).ok().filter(|set| set.origin == self.origin)
    }

    fn plan(&mut self, name: &str, index: u64, digest: Digest, entry: &Entry, bytes: &[u8]) {
        let finding = |code, says| self.findings.add(code, name, Some(index), says);
        let plan: Plan = match serde_json::from_slice::<Plan>(bytes) {
            Ok(plan) if plan.format == plan::FORMAT => plan,
            Ok(plan) => {
                return finding(
                    Code::DocumentMalformed,
                    format!("its format is {:?}, not {:?}", plan.format, plan::FORMAT),
                );
            }
            Err(error) => return finding(Code::DocumentMalformed, format!("it is no plan: {error}")),
        };
        if plan.origin != self.origin {
            finding(Code::Origin, format!("the plan is for the log {:?}, not {:?}", plan.origin, self.origin));
        }
        if plan.sealed_at != entry.sealed_at {
            let says = format!(
                "the plan says that it was sealed at {}, its entry says {}",
                rfc3339(plan.sealed_at),
                rfc3339(entry.sealed_at)
            );
            finding(Code::LeafContent, says);
        }
        self.hold_plan(digest, &plan);
        self.any_plan = true;
        if self.rest.resume == Some(index) {
            self.coverage = Coverage::resume(index, digest, &plan);
            self.rest.older = plan.previous;
        } else {
            self.coverage.plan(index, digest, &plan);
        }
    }

    fn controls(&self, name: &str, index: u64, bytes: &[u8]) {
        match Promise::from_bytes(bytes) {
            Ok(promise) if promise.origin != self.origin => {
                let says = format!("the controls are for the log {:?}, not {:?}", promise.origin, self.origin);
                self.findings.add(Code::Origin, name, Some(index), says);
            }
            Ok(_) => {}
            Err(error) => self.findings.add(Code::DocumentMalformed, name, Some(index), chain(&error)),
        }
    }

    pub fn hold_plan(&mut self, digest: Digest, plan: &Plan) {
        if let Slot::Vacant(vacant) = self.plans.entry(digest) {
            vacant.insert(PlanFacts::of(plan));
        }
    }

    /// Which events were read, by job.
    pub fn events(&self) -> Vec<Events> {
        self.windows.iter().filter_map(|(job, windows)| windows.events(job)).collect()
    }

    /// The log's leaves up to the last one that came, lost ones too.
    pub fn len(&self) -> u64 {
        self.rest.first + self.newest.len()
    }
}

/// The words for a digest that is not the log's.
pub(crate) fn altered(found: Digest, index: u64, digest: Digest) -> String {
    format!("SHA-256 is {found}; entry {index} of the log says {digest}: changed after it was sealed")
}
