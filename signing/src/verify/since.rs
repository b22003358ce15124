//! Only what is new since a checkpoint that the auditor kept: the log's past is proved to be the kept one from tiles alone, and of it is
//! read what new entries rest on: the keys, the plan before which no slot is open, and what the log names from then on.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use chrono::{NaiveTime, TimeDelta};

use super::{
    findings::{CannotVerify, Code, Findings, Limit},
    order::{Leaf, MAX_PLAN, Order},
    past::Past,
    source::{Fetched, fetch},
    tree::{Tree, WIDTH},
    walk::Start,
};
use crate::{
    digest::Digest,
    keys::{KeySet, MAX_KEYS},
    layout::{self, Job},
    log::Checkpoint,
    plan::Plan,
    slots::ReadBack,
    statement::{Body, Statement},
    store::Reader,
    time::{Utc, rfc3339},
};

/// How far a clock may have been off: names of a day are read back so much further, and the custodian's clock may be so much ahead.
const TOLERANCE: TimeDelta = TimeDelta::days(1);

/// What is known of the entries before those that are looked at. The default is that of a log that is read from its start.
#[derive(Default)]
pub(crate) struct Rest {
    /// The first entry that was read back in full.
    pub first: u64,
    /// The first entry that is looked at.
    pub from: u64,
    /// The entry of the plan from which on slots are known.
    pub resume: Option<u64>,
    /// When it was sealed.
    known_from: Option<Utc>,
    /// The plan before the oldest one that was read.
    pub older: Option<Digest>,
    /// What the plans told of open slots.
    told: ReadBack,
}

impl Order<'_> {
    /// Whether a plan is older than those read back: the chain of the plans, by digest, leads from these to it.
    pub fn older_plan(&mut self, digest: Digest) -> Result<bool, CannotVerify> {
        while let Some(next) = self.rest.older.take() {
            let Some(plan) = self.chained_plan(next)? else { return Ok(false) };
            self.rest.older = plan.previous;
            self.hold_plan(next, &plan);
            if next == digest {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn chained_plan(&self, digest: Digest) -> Result<Option<Plan>, CannotVerify> {
        let name = layout::document("plan", digest);
        let Fetched::Bytes(bytes) = fetch(self.reader, &name, MAX_PLAN)? else { return Ok(None) };
        Ok(Some(bytes).filter(|bytes| Digest::of(bytes) == digest).and_then(|b| serde_json::from_slice(&b).ok()))
    }

    /// A receipt for a slot that was settled before the entries that are looked at: it had one there.
    pub fn settled(&self, index: u64, job: &Job, slot: Utc) {
        let before = self.rest.known_from.is_some_and(|known_from| slot < known_from);
        if before && index >= self.rest.from && self.rest.told.told(job) {
            let says = "by the plans, every slot of the job before it has its receipt among the entries that were not read again";
            let object = format!("{job} {}", rfc3339(slot));
            self.findings.add(Code::SlotDouble, object, Some(index), says);
        }
    }

    /// Takes what an older leaf names, and nothing else.
    fn names(&mut self, index: u64, leaf: &Leaf) -> Result<(), CannotVerify> {
        let Ok(statement) = &leaf.statement else { return Ok(()) };
        self.expected.add(&layout::seal(statement.entry.sealed_at, leaf.digest), index)?;
        if !matches!(statement.body, Body::Missed(_)) {
            let subject = &statement.subject[0];
            self.expected.add(&subject.name, index)?;
            self.expected.add_bundle(subject.digest.sha256, index)?;
        }
        Ok(())
    }

    /// Takes the keys that an older leaf logs, if it does.
    fn older_keys(&mut self, index: u64, leaf: Option<&Leaf>) -> Result<(), CannotVerify> {
        let Some(statement) = leaf.and_then(|leaf| leaf.statement.as_ref().ok()).filter(|s| is(s, "keys")) else {
            return Ok(());
        };
        let subject = &statement.subject[0];
        self.expected.add(&subject.name, index)?;
        if let Some(bytes) = self.read_document(&subject.name, index, subject.digest.sha256, MAX_KEYS)? {
            self.keys(&subject.name, index, &bytes);
        }
        Ok(())
    }
}

/// What is read since a checkpoint.
pub(crate) struct Since<'a> {
    past: Past<'a>,
    /// The kept checkpoint's size: the first entry that is looked at.
    pub from: u64,
    /// The first entry whose names are known.
    pub back: u64,
    /// The first day that is listed.
    day: Option<chrono::NaiveDate>,
    /// Inputs of derived runs that lie further back.
    pub inputs: AtomicU64,
}

impl<'a> Since<'a> {
    /// The log's past up to the kept checkpoint, proved from tiles; `None` where they do not prove it, which is for a full reading to
    /// explain.
    pub fn prove(
        reader: &'a dyn Reader,
        log: &Checkpoint,
        kept: &Checkpoint,
    ) -> Result<Option<(Self, Tree)>, CannotVerify> {
        if kept.size == 0 || kept.size > log.size {
            return Ok(None);
        }
        let Some(past) = Past::open(reader, log)? else { return Ok(None) };
        if past.root_at(kept.size)? != Some(kept.root) {
            return Ok(None);
        }
        let tree = Tree::resume(kept.size / WIDTH, |level, from, to| past.hashes(level, from, to))?;
        let since = Self { past, from: kept.size, back: kept.size, day: None, inputs: AtomicU64::new(0) };
        Ok(tree.map(|tree| (since, tree)))
    }

    /// Where the walk begins.
    pub fn start(&'a self, tree: Tree) -> Start<'a> {
        Start { tree, past: Some(&self.past), from: self.from }
    }

    /// Reads back what new entries rest on. What it finds of keys, plans and entries that are lost goes to `findings`; what else is
    /// wrong with old entries was there to be found when they were new.
    pub fn read_back<'o>(
        &mut self,
        order: &mut Order<'o>,
        unsaid: &'o Findings,
        findings: &'o Findings,
    ) -> Result<(), CannotVerify> {
        order.findings = unsaid;
        let mut blocks = Blocks { past: &self.past, findings: unsaid, from: self.from, read: VecDeque::new() };
        let mut told = ReadBack::default();
        let base = blocks.plans(order, &mut told)?;
        let start = base.map_or(0, |(index, _)| index);
        // Every old entry that names an object of the listed days is known: back to the day before the newest entry's.
        let day = blocks.newest().map(|newest| newest.date_naive());
        if let Some(day) = day {
            blocks.until(day.and_time(NaiveTime::MIN).and_utc() - TOLERANCE)?;
        }
        self.day = day;
        self.back = blocks.first();
        if self.back > 0 {
            for (leaf, index) in self.past.entries(0, WIDTH.min(self.from), unsaid)?.iter().zip(0..) {
                order.older_keys(index, leaf.as_ref())?;
            }
        }
        let resume = base.map(|(at, _)| at);
        let known_from = blocks.leaves().find(|(at, _)| Some(*at) == resume).and_then(|(_, leaf)| sealed_at(leaf?));
        order.rest = Rest { first: start, from: self.from, resume, known_from, older: None, told };
        for (index, leaf) in blocks.leaves() {
            if index >= order.rest.first {
                order.leaf("", index, leaf, &mut |_| None)?;
            } else if let Some(leaf) = leaf {
                order.names(index, leaf)?;
                order.older_keys(index, Some(leaf))?;
            }
        }
        self.keys_between(order, unsaid)?;
        order.told = Default::default();
        (order.unknown, order.set_back) = (None, None);
        order.missing_tokens.clear();
        order.coverage.take_findings();
        order.findings = findings;
        unsaid.give(findings, |code| {
            matches!(
                code,
                Code::DocumentMissing
                    | Code::DocumentDigest
                    | Code::DocumentMalformed
                    | Code::EntriesMissing
                    | Code::EntriesBytes
            )
        });
        Ok(())
    }

    /// Finds the keys of the archive that neither a new entry nor one that was read back logs: those of older entries, each proved by
    /// its place. What no entry logs is left alone.
    fn keys_between(&self, order: &mut Order<'_>, unsaid: &Findings) -> Result<(), CannotVerify> {
        let reader = order.reader;
        let mut names = BTreeSet::new();
        let listed = reader.list("document/keys/", &mut |name| _ = names.insert(name.to_owned()));
        listed.map_err(|e| CannotVerify::new("document/keys/", format!("listing it failed: {e}")))?;
        let mut unnamed = BTreeSet::new();
        for name in names {
            if order.expected.index(&name)?.is_none() {
                unnamed.insert(name);
            }
        }
        let mut names = unnamed;
        if names.is_empty() {
            return Ok(());
        }
        for block in self.from / WIDTH..self.past.size().div_ceil(WIDTH) {
            let count = WIDTH.min(self.past.size() - block * WIDTH);
            let entries = self.past.entries(block, count, &Findings::default())?;
            for statement in entries.iter().flatten().filter_map(|leaf| leaf.statement.as_ref().ok()) {
                names.remove(&statement.subject[0].name);
            }
        }
        for name in names {
            let Fetched::Bytes(bytes) = fetch(reader, &name, MAX_KEYS)? else { continue };
            let digest = Digest::of(&bytes);
            let Some(set) = order.trusted(&bytes).filter(|_| layout::document("keys", digest) == name) else {
                continue;
            };
            if let Some(index) = self.locate(&set, digest)? {
                order.keyring.insert(index, &name, set, unsaid);
            }
        }
        Ok(())
    }

    /// The old entry that logs these keys. It is looked for from the day before they were made, forwards, and then before that.
    fn locate(&self, set: &KeySet, digest: Digest) -> Result<Option<u64>, CannotVerify> {
        let unsaid = Findings::default();
        let block = |block: u64| self.past.entries(block, WIDTH.min(self.from - block * WIDTH), &unsaid);
        let (mut low, mut high) = (0, self.from.div_ceil(WIDTH));
        let blocks = high;
        while low < high {
            let middle = low + (high - low) / 2;
            let newest = block(middle)?.iter().flatten().filter_map(sealed_at).max();
            if newest.is_some_and(|newest| newest < set.made_at - TOLERANCE) { low = middle + 1 } else { high = middle }
        }
        for at in (low..blocks).chain((0..low).rev()) {
            for (leaf, index) in block(at)?.iter().zip(at * WIDTH..) {
                let logs = |s: &Statement| is(s, "keys") && s.subject[0].digest.sha256 == digest;
                if leaf.as_ref().and_then(|leaf| leaf.statement.as_ref().ok()).is_some_and(logs) {
                    return Ok(Some(index));
                }
            }
        }
        Ok(None)
    }

    /// The prefixes under which objects of new entries can lie that no entry explains; seals first.
    pub fn prefixes(&self, newest: Option<Utc>) -> Vec<String> {
        let Some((first, newest)) = self.day.zip(newest) else { return Vec::new() };
        let last = newest.date_naive() + TimeDelta::days(1);
        let days: Vec<_> = first.iter_days().take_while(|day| *day <= last).collect();
        let below = |top: &str| -> Vec<String> {
            days.iter().map(|day| format!("{top}/{}/", layout::day(day.and_time(NaiveTime::MIN).and_utc()))).collect()
        };
        [below("seal"), below("bundle")].concat()
    }

    /// Whether a bundle lies further back than names are known: what a new run says of it is not looked up.
    pub fn is_older(&self, bundle: &str) -> bool {
        let day = self.day.map(|day| format!("bundle/{}/", layout::day(day.and_time(NaiveTime::MIN).and_utc())));
        let older = self.back > 0 && day.is_some_and(|day| bundle < day.as_str());
        if older {
            self.inputs.fetch_add(1, Relaxed);
        }
        older
    }

    /// What was not looked at.
    pub fn limit(&self) -> Limit {
        let mut says = format!(
            "of entries 0 to {} it is proved that they are those under the kept checkpoint, and no more: whether their seals, bundles \
             and documents are still in place was not looked at, nor whether a new entry repeats one before entry {}",
            self.from - 1,
            self.back
        );
        if let Some(day) = self.day {
            says += &format!(", nor what else lies in the archive but under the days from {day} on");
        }
        let inputs = self.inputs.load(Relaxed);
        if inputs > 0 {
            says += &format!("; {inputs} inputs of derived runs are older and were not looked up");
        }
        Limit { code: "SINCE", says }
    }
}

/// Old entries, read backwards a block at a time.
struct Blocks<'b, 'a> {
    past: &'b Past<'a>,
    findings: &'b Findings,
    from: u64,
    /// In the log's order.
    read: VecDeque<Vec<Option<Leaf>>>,
}

impl Blocks<'_, '_> {
    /// The first entry that was read.
    fn first(&self) -> u64 {
        self.from.div_ceil(WIDTH).saturating_sub(self.read.len() as u64) * WIDTH
    }

    fn back(&mut self) -> Result<&[Option<Leaf>], CannotVerify> {
        let block = self.first() / WIDTH - 1;
        let leaves = self.past.entries(block, WIDTH.min(self.from - block * WIDTH), self.findings)?;
        self.read.push_front(leaves);
        Ok(&self.read[0])
    }

    /// Reads back to the plan from which on every open slot is known.
    fn plans(&mut self, order: &Order<'_>, told: &mut ReadBack) -> Result<Option<(u64, Digest)>, CannotVerify> {
        while self.first() > 0 {
            self.back()?;
            let first = self.first();
            for (at, leaf) in self.read[0].iter().enumerate().rev() {
                let index = first + at as u64;
                let Some(statement) = leaf.as_ref().and_then(|leaf| leaf.statement.as_ref().ok()) else { continue };
                if !is(statement, "plan") {
                    continue;
                }
                if told.is_old_enough(statement.entry.sealed_at) {
                    return Ok(told.found());
                }
                let digest = statement.subject[0].digest.sha256;
                // One that is not there is said when it is read again in order.
                let Some(plan) = order.chained_plan(digest)? else { continue };
                if told.look_at(index, digest, &plan) {
                    return Ok(told.found());
                }
            }
        }
        Ok(told.found())
    }

    /// Reads back to a block whose entries were all sealed before then.
    fn until(&mut self, then: Utc) -> Result<(), CannotVerify> {
        let older =
            |leaves: &[Option<Leaf>]| leaves.iter().flatten().filter_map(sealed_at).max().is_some_and(|at| at < then);
        while self.first() > 0 && !older(&self.read[0]) {
            self.back()?;
        }
        Ok(())
    }

    fn newest(&self) -> Option<Utc> {
        self.read.iter().flatten().flatten().filter_map(sealed_at).max()
    }

    fn leaves(&self) -> impl Iterator<Item = (u64, Option<&Leaf>)> {
        (self.first()..).zip(self.read.iter().flatten().map(Option::as_ref))
    }
}

fn sealed_at(leaf: &Leaf) -> Option<Utc> {
    leaf.statement.as_ref().ok().map(|statement| statement.entry.sealed_at)
}

/// Whether an entry logs a document of this kind.
fn is(statement: &Statement, kind: &str) -> bool {
    matches!(&statement.body, Body::Document(document) if document.kind == kind)
}
