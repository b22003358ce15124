//! What each leaf stands on: its seal, and the bundle or document that it names. On all cores, one object at a time on each.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use chrono::TimeDelta;
use rayon::prelude::*;

use super::{
    Part, Progress, Stage,
    anchors::Authorities,
    deep::{Around, Deep},
    documents::{self, LoggedDocument},
    findings::{CannotVerify, Code, Findings},
    keyring::Keyring,
    lock,
    order::{Order, altered},
    sealed::{Opened, open_seal},
    since::Since,
    source::{Fetched, digest, fetch},
    times::{Bounds, Growth, Times},
    tree::WIDTH,
    walk::{Entries, Walked},
};
use crate::{
    approval::{Kind, MAX_APPROVAL},
    digest::Digest,
    layout, population, promise,
    seal::MAX_SEAL,
    statement::{Body, Receipt, Statement},
    store::Reader,
    time::{Utc, rfc3339},
    timestamp::Verifier,
};

/// Counted while checking.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub seals: AtomicU64,
    pub bundles: AtomicU64,
    pub bundle_bytes: AtomicU64,
    pub expired: AtomicU64,
    pub documents: AtomicU64,
    pub outside: AtomicU64,
    pub seal_tokens: AtomicU64,
    pub untrusted_tokens: AtomicU64,
    authorities: Mutex<Authorities>,
}

impl Counted {
    /// Whose tokens in seals were believed.
    pub fn authorities(&self) -> Authorities {
        lock(&self.authorities).clone()
    }
}

/// What the checks need.
pub(crate) struct Objects<'a> {
    pub reader: &'a dyn Reader,
    pub findings: &'a Findings,
    pub order: &'a Order<'a>,
    pub verifier: &'a Verifier,
    pub growth: &'a Growth,
    pub times: Times,
    pub as_of: Utc,
    pub deep: Option<Deep<'a>>,
    /// Objects that a later version or a delete marker covers, and by what.
    pub covered: BTreeMap<String, String>,
    pub part: Option<Part>,
    pub since: Option<&'a Since<'a>>,
    /// [`super::expected::Expected::same_bundles`].
    pub same_bundles: BTreeMap<u64, u64>,
    pub counted: Counted,
    /// Documents beside plans and keys, as they come.
    pub documents: Mutex<Vec<LoggedDocument>>,
}

/// What the store says is covered.
pub(crate) fn covered(reader: &dyn Reader) -> BTreeMap<String, String> {
    let mut covered = BTreeMap::new();
    reader.covered(&mut |name, by| {
        covered.insert(name.to_owned(), by.to_owned());
    });
    covered
}

/// Checks the seal and the subject of every leaf that is what was logged.
pub(crate) fn check(
    objects: &Objects<'_>,
    walked: &Walked<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), CannotVerify> {
    let size = walked.order.len();
    let done = AtomicU64::new(0);
    walked.bundles.par_iter().enumerate().with_max_len(1).try_for_each(|(block, seen)| {
        let Some(seen) = seen else { return Ok(()) };
        let block = walked.from / WIDTH + block as u64;
        let first = block * WIDTH;
        let entries = Entries::read(objects.reader, block, (size - first).min(WIDTH))?;
        // The order and the slots were computed from the first reading: this one must be of the same leaves.
        if entries.digest() != Some(*seen) {
            return Err(CannotVerify::new(&entries.name, "it changed while it was verified; verify again"));
        }
        let leaves: Vec<&[u8]> = entries.leaves().collect();
        leaves.par_iter().enumerate().with_max_len(8).try_for_each(|(at, leaf)| {
            let index = first + at as u64;
            if index >= walked.from && !walked.altered.contains(&index) {
                objects.leaf(index, leaf)?;
            }
            progress(Progress { stage: Stage::Objects, done: done.fetch_add(1, Relaxed) + 1, total: size });
            Ok(())
        })
    })
}

impl Objects<'_> {
    fn leaf(&self, index: u64, bytes: &[u8]) -> Result<(), CannotVerify> {
        // What cannot be parsed has been said in log order.
        let Ok(statement) = Statement::from_bytes(bytes) else { return Ok(()) };
        if let Some(first) = self.same_bundles.get(&index) {
            let name = &statement.subject[0].name;
            // A name that comes twice has been said.
            if self.order.expected.index(name)? == Some(index) {
                // A bundle tells its own run and slot: of two runs the bytes are never the same.
                let says = format!("it has the digest of the bundle that entry {first} names: one run is told twice");
                self.findings.add(Code::LeafTwice, name, Some(index), says);
            }
        }
        if self.part.is_some_and(|part| !part.has(&statement)) {
            self.counted.outside.fetch_add(1, Relaxed);
            return Ok(());
        }
        let bounds = self.seal(index, bytes, &statement)?;
        let subject = &statement.subject[0];
        let digest = subject.digest.sha256;
        match &statement.body {
            Body::Receipt(receipt) => {
                let name = match receipt.slot {
                    Some(slot) => layout::bundle_of_slot(slot, &receipt.job, digest),
                    None => layout::bundle_by_hand(receipt.started_at, &receipt.job, digest),
                };
                // A name that is not the format's own is a finding already, and never opened.
                if subject.name == name {
                    self.bundle(&name, index, digest, &statement, receipt)?;
                }
            }
            Body::Document(document) if !matches!(document.kind.as_str(), "keys" | "plan") => {
                let named = subject.name == layout::document(&document.kind, digest);
                if named && !document.kind.contains(['/', '.']) {
                    // Those of controls and populations were read in log order.
                    let signer = match document.kind.as_str() {
                        population::KIND | promise::KIND => None,
                        kind => self.document(kind, &subject.name, digest, (index, &statement, bounds))?,
                    };
                    lock(&self.documents).push(LoggedDocument {
                        kind: document.kind.clone(),
                        index,
                        name: subject.name.clone(),
                        digest,
                        sealed_at: statement.entry.sealed_at,
                        not_before: bounds.earliest,
                        not_after: bounds.latest,
                        signer,
                    });
                }
            }
            // Keys and plans were read in log order; a missed receipt's subject is its plan.
            Body::Document(_) | Body::Missed(_) => {}
        }
        Ok(())
    }

    /// A finding for each object that is covered, but bundles: of those that are past their retention a delete marker says nothing.
    pub fn say_covered(&self) {
        for (name, by) in self.covered.iter().filter(|(name, _)| !name.starts_with("bundle/")) {
            self.findings.add(Code::ObjectCovered, name, None, by);
        }
    }

    fn seal(&self, index: u64, leaf: &[u8], statement: &Statement) -> Result<Bounds, CannotVerify> {
        let entry = &statement.entry;
        let name = layout::seal(entry.sealed_at, Statement::leaf_digest(leaf));
        let mut bounds = Bounds { earliest: self.order.earliest(index, entry), latest: self.growth.entry_by(index) };
        let finding = |code, says: String| self.findings.add(code, &name, Some(index), says);
        match fetch(self.reader, &name, MAX_SEAL)? {
            Fetched::Absent => finding(Code::SealMissing, format!("the seal of entry {index} is not there")),
            Fetched::TooLong => finding(Code::SealMalformed, format!("it is longer than {MAX_SEAL} bytes")),
            Fetched::Bytes(bytes) => match self.open(&name, index, &bytes, entry.sealed_at, &mut bounds) {
                Err((code, says)) => finding(code, says),
                Ok(Opened { seal, .. }) if seal.payload != leaf => {
                    finding(Code::SealPayload, format!("what it signs is not the leaf of entry {index}"));
                }
                Ok(Opened { seal, .. }) if seal.key_id != entry.key_id => {
                    finding(Code::SealKey, format!("it is by {}; entry {index} says {}", seal.key_id, entry.key_id));
                }
                // Without keys it is in place, but nothing shows whose it is.
                Ok(_) if self.keyring().is_empty() => {}
                Ok(_) => {
                    self.counted.seals.fetch_add(1, Relaxed);
                }
            },
        }
        self.times.take(index, &name, entry.sealed_at, bounds, self.findings);
        Ok(bounds)
    }

    /// Opens a seal; tokens in it that are trusted bound the entry's time.
    fn open(
        &self,
        name: &str,
        index: u64,
        bytes: &[u8],
        at: Utc,
        bounds: &mut Bounds,
    ) -> Result<Opened, (Code, String)> {
        let opened = open_seal(bytes, self.keyring(), self.verifier, (index, at, bounds.latest))?;
        for says in &opened.tokens.bad {
            self.findings.add(Code::SealToken, name, Some(index), says);
        }
        self.counted.untrusted_tokens.fetch_add(opened.tokens.untrusted, Relaxed);
        if let Some(by) = opened.tokens.by() {
            self.counted.seal_tokens.fetch_add(opened.tokens.trusted.len() as u64, Relaxed);
            let mut authorities = lock(&self.counted.authorities);
            opened.tokens.trusted.iter().for_each(|stamp| authorities.count(stamp));
            bounds.latest = Some(bounds.latest.map_or(by, |latest| latest.min(by)));
        }
        Ok(opened)
    }

    fn around(&self) -> Around<'_> {
        let Order { plans, expected, .. } = self.order;
        Around { reader: self.reader, findings: self.findings, plans, expected: Some(expected), since: self.since }
    }

    fn keyring(&self) -> &Keyring {
        &self.order.keyring
    }

    fn bundle(
        &self,
        name: &str,
        index: u64,
        wanted: Digest,
        statement: &Statement,
        receipt: &Receipt,
    ) -> Result<(), CannotVerify> {
        if let Some(by) = self.covered.get(name)
            && self.kept_until(statement).is_none_or(|until| until > self.as_of)
        {
            self.findings.add(Code::ObjectCovered, name, Some(index), by);
        }
        let found = match &self.deep {
            Some(deep) => deep.bundle(&self.around(), name, index, wanted, statement, receipt)?,
            None => digest(self.reader, name)?,
        };
        match found {
            Some((found, length)) => {
                self.counted.bundles.fetch_add(1, Relaxed);
                self.counted.bundle_bytes.fetch_add(length, Relaxed);
                if found != wanted {
                    self.findings.add(Code::BundleDigest, name, Some(index), altered(found, index, wanted));
                }
            }
            None => match self.kept_until(statement) {
                Some(until) if until <= self.as_of => {
                    self.counted.expired.fetch_add(1, Relaxed);
                }
                until => {
                    let kept = match until {
                        Some(until) => format!("its plan keeps it until {}", rfc3339(until)),
                        None => "its plan keeps it without end".to_owned(),
                    };
                    let says = format!("entry {index} of the log says that it is there, and {kept}");
                    self.findings.add(Code::BundleMissing, name, Some(index), says);
                }
            },
        }
        Ok(())
    }

    /// The end of a bundle's retention by the plan that its receipt names; `None` without one, or where the plan is unknown.
    fn kept_until(&self, statement: &Statement) -> Option<Utc> {
        let days = self.order.plans.get(&statement.entry.plan?)?.retention_days?;
        statement.entry.sealed_at.checked_add_signed(TimeDelta::days(days.into()))
    }

    /// Who signed it, where people sign such documents.
    fn document(
        &self,
        kind: &str,
        name: &str,
        wanted: Digest,
        (index, statement, bounds): (u64, &Statement, Bounds),
    ) -> Result<Option<String>, CannotVerify> {
        let finding = |code, says: String| self.findings.add(code, name, Some(index), says);
        match digest(self.reader, name)? {
            None => finding(Code::DocumentMissing, format!("entry {index} of the log says that it is there")),
            Some((found, _)) if found != wanted => finding(Code::DocumentDigest, altered(found, index, wanted)),
            Some(_) => {
                self.counted.documents.fetch_add(1, Relaxed);
                if let Some(kind) = Kind::named(kind) {
                    let about = (index, statement.entry.sealed_at, bounds);
                    match self.signer(kind, name, wanted, about)? {
                        Ok(signer) => return Ok(signer),
                        Err((code, says)) => finding(code, says),
                    }
                }
            }
        }
        Ok(None)
    }

    fn signer(
        &self,
        kind: Kind,
        name: &str,
        wanted: Digest,
        about: (u64, Utc, Bounds),
    ) -> Result<Result<Option<String>, (Code, String)>, CannotVerify> {
        Ok(match fetch(self.reader, name, MAX_APPROVAL)? {
            Fetched::TooLong => Err((Code::DocumentMalformed, format!("it is longer than {MAX_APPROVAL} bytes"))),
            Fetched::Bytes(bytes) if Digest::of(&bytes) == wanted => {
                documents::signer(kind, &bytes, self.order.origin, self.keyring(), about)
            }
            Fetched::Absent | Fetched::Bytes(_) => {
                return Err(CannotVerify::new(name, "it changed while it was verified; verify again"));
            }
        })
    }
}
