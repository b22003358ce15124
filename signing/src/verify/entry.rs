//! One entry by itself, from a package: its seal, its key, what it is about, and that it is in the log of a signed checkpoint. What
//! one entry cannot show are limits.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::{
    Options,
    anchors::{self, Authorities},
    deep::{Around, Deep},
    documents,
    findings::{CannotVerify, Code, Finding, Findings, Limit},
    keyring::Keyring,
    order::{MAX_PLAN, PlanFacts, altered},
    report::{FORMAT_ENTRY, Section, bytes, contents, plural},
    sealed::{Opened, Tokens, open_seal},
    source::{Fetched, digest, fetch},
    times::{Bounded, Bounds, Growth, Times, TrustedTime},
};
use crate::{
    approval::{Kind, MAX_APPROVAL},
    digest::Digest,
    errors::chain,
    keys::{KeySet, KeysError, MAX_KEYS, Use},
    layout,
    log::{Checkpoint, LogError, MAX_LEAF, MAX_PROOF, OfflineProof},
    package::{self, ABOUT, About, LEAF, README, parse_proof},
    plan::{self, Plan},
    seal::MAX_SEAL,
    statement::{Body, Outcome, SUMS, Statement, StatementError},
    store::Reader,
    time::{Utc, rfc3339},
    timestamp::Verifier,
};

/// What was found of one entry.
#[derive(Debug, Clone, Serialize)]
pub struct EntryVerdict {
    /// `evidenced-entry-verdict/1`.
    pub format: &'static str,
    /// Whether there are no findings. It says nothing about the controls.
    pub intact: bool,
    /// The last line, in words.
    pub statement: String,
    /// The log.
    pub origin: String,
    /// The root key's fingerprint that was trusted.
    pub trust: String,
    /// The entry, from 0.
    pub index: u64,
    /// The bundle or document that it is about; `None` where the entry cannot be read.
    pub subject: Option<String>,
    /// When it was sealed, by the agent's clock.
    pub sealed_at: Option<Utc>,
    /// The sizes of the signed checkpoints that it is proved in.
    pub proved_in: Vec<u64>,
    /// Trusted time shows that it was sealed no earlier than this.
    pub not_before: Option<Utc>,
    /// And that it was there by then.
    pub not_after: Option<Utc>,
    /// What trusted time shows.
    pub time: TrustedTime,
    /// For people: what each part of the check came to.
    pub sections: Vec<Section>,
    /// In order of name.
    pub findings: Vec<Finding>,
    /// All findings by code.
    pub findings_by_code: BTreeMap<Code, u64>,
    /// All findings.
    pub findings_total: u64,
    /// What is not proved.
    pub limits: Vec<Limit>,
}

/// What the checks work on, and what they came to.
struct Entry<'a> {
    reader: &'a dyn Reader,
    options: &'a Options<'a>,
    findings: Findings,
    about: About,
    /// Objects that nothing has explained yet.
    names: BTreeSet<String>,
    sections: Vec<Section>,
    deep: Option<Deep<'a>>,
    bounds: Bounds,
}

/// Proofs by the size of their tree, each with what its checkpoint says.
type Proofs = BTreeMap<u64, (OfflineProof, Checkpoint)>;

/// What a seal is checked by.
struct Given<'a> {
    keyring: &'a Keyring,
    verifier: &'a Verifier,
    bounds: Bounds,
}

/// What trusted time says of the entry.
struct Timed {
    entries: Bounded,
    bounds: Bounds,
    tokens: Tokens,
}

/// Verifies the entry of a package ([`crate::package`]): offline, from its objects and one root fingerprint. Of the options, those that
/// concern slots, dates and threads say nothing here.
///
/// # Errors
/// [`CannotVerify`] for what leaves the question open: what is no package, objects that cannot be read, keys that are not under the
/// trusted root, an entry or a package of a kind that this program does not know.
pub fn entry(reader: &dyn Reader, options: &Options<'_>) -> Result<EntryVerdict, CannotVerify> {
    let about = about(reader)?;
    if let Some(wanted) = options.origin.as_ref().filter(|wanted| **wanted != about.origin) {
        let reason = format!("it is of the log {:?}, but {wanted:?} was asked for", about.origin);
        return Err(CannotVerify::new(ABOUT, reason));
    }
    let mut names = BTreeSet::new();
    let mut insert = |name: &str| {
        names.insert(name.to_owned());
    };
    reader.list("", &mut insert).map_err(|e| CannotVerify::read("the package", &e))?;
    for name in [ABOUT, README, SUMS] {
        names.remove(name);
    }
    let mut entry = Entry {
        reader,
        options,
        findings: Findings::default(),
        about,
        names,
        sections: Vec::new(),
        deep: options.deep.map(Deep::new),
        bounds: Bounds { earliest: None, latest: None },
    };
    let keyring = entry.keys()?;
    let index = entry.about.index;
    let leaf = match entry.take(LEAF, MAX_LEAF as u64)? {
        Some(leaf) => leaf,
        None => {
            entry.finding(Code::EntriesMissing, LEAF, "the package has no entry that can be read");
            return Ok(entry.finish(None, Vec::new(), (&keyring, TrustedTime::default(), Vec::new())));
        }
    };
    let statement = match Statement::from_bytes(&leaf) {
        Ok(statement) => Some(statement),
        Err(StatementError::UnknownPredicate(kind)) => {
            let reason = format!("its kind {kind:?} is not known to this version; verify with a newer one");
            return Err(CannotVerify::new(format!("entry {index}"), reason));
        }
        Err(error) => {
            entry.finding(Code::LeafMalformed, LEAF, chain(&error));
            None
        }
    };
    let sealed_at = statement.as_ref().map(|statement| statement.entry.sealed_at);
    let proofs = entry.proofs(&leaf)?;
    let verifier = Verifier::new(options.timestamp_roots.clone());
    let means = anchors::Means { verifier: &verifier, witnesses: &options.witnesses.keys, from: 0 };
    let mut anchors = anchors::read(reader, &entry.findings, &entry.about.origin, &means, &|_| {})?;
    anchors.compare(&proofs.iter().map(|(size, (_, head))| (*size, head.root)).collect());
    entry.names.retain(|name| !anchors.has(name));
    if let Some((_, newest)) = proofs.values().next_back() {
        anchors.disputed(reader, &entry.findings, newest, &keyring)?;
    }
    let growth = anchors.growth();
    let proved_in = entry.signed(&proofs, sealed_at, &keyring, &growth);
    let newest = proved_in.last().copied().unwrap_or(1);
    if let Some(head) = super::head::witnessed(options, &anchors, newest, &entry.findings) {
        let at = head.at.map_or(String::new(), |at| format!(" at {}", rfc3339(at)));
        let says = format!("{} signed a checkpoint over {} entries{at}", head.witnesses.join(", "), head.size);
        entry.section("witnesses", says);
    }
    let mut time = TrustedTime {
        checkpoint_tokens: anchors.trusted_tokens,
        untrusted_tokens: anchors.untrusted.values().sum(),
        newest: growth.newest,
        ..TrustedTime::default()
    };
    let mut in_seal = Authorities::default();
    if let Some(statement) = &statement {
        entry.consistent(statement);
        let named = statement.entry.anchor.and_then(|anchored| anchors.token(anchored.token)).flatten();
        let earliest = named.and_then(chrono::DateTime::from_timestamp_millis);
        let bounds = Bounds { earliest, latest: growth.entry_by(index) };
        let given = Given { keyring: &keyring, verifier: &verifier, bounds };
        let Timed { entries, bounds: own, tokens } = entry.seal(&leaf, statement, given)?;
        entry.bounds = own;
        tokens.trusted.iter().for_each(|stamp| in_seal.count(stamp));
        time.entries = entries;
        time.seal_tokens = tokens.trusted.len() as u64;
        time.untrusted_tokens += tokens.untrusted;
        let plans = entry.plan(statement)?;
        entry.subject(statement, &plans)?;
        entry.approval(statement, &keyring, bounds)?;
    }
    time.authorities = anchors.authorities(&in_seal);
    let mut limits = time.limits();
    if !anchors.untrusted.is_empty() {
        limits.push(super::limits::untrusted(&anchors.untrusted));
    }
    entry.section("time", time.says());
    Ok(entry.finish(statement.as_ref(), proved_in, (&keyring, time, limits)))
}

fn about(reader: &dyn Reader) -> Result<About, CannotVerify> {
    let reason = match fetch(reader, ABOUT, 64 * 1024)? {
        Fetched::Bytes(bytes) => match serde_json::from_slice::<About>(&bytes) {
            Ok(about) if about.format == package::FORMAT => return Ok(about),
            Ok(about) => format!("its format {:?} is not known to this version; verify with a newer one", about.format),
            Err(error) => format!("it does not say what the package is about: {error}"),
        },
        Fetched::Absent => "it is not there: this is no package of one entry, as `evidenced prove` makes it".to_owned(),
        Fetched::TooLong => "it is too long".to_owned(),
    };
    Err(CannotVerify::new(ABOUT, reason))
}

impl Entry<'_> {
    fn finding(&self, code: Code, object: &str, says: impl Into<String>) {
        self.findings.add(code, object, Some(self.about.index), says);
    }

    fn section(&mut self, name: &'static str, says: String) {
        self.sections.push(Section { name, says });
    }

    /// Reads an object that has its place; `None` where it is not there or too long.
    fn take(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, CannotVerify> {
        self.names.remove(name);
        Ok(match fetch(self.reader, name, limit)? {
            Fetched::Bytes(bytes) => Some(bytes),
            Fetched::Absent | Fetched::TooLong => None,
        })
    }

    /// The revisions of the keys in the package, and the one that was given, of which the newest holds.
    fn keys(&mut self) -> Result<Keyring, CannotVerify> {
        let names: Vec<String> = self.names.iter().filter(|name| name.starts_with("document/keys/")).cloned().collect();
        let mut newest: Option<KeySet> = None;
        let mut other_root = None;
        for name in names {
            let Some(bytes) = self.take(&name, MAX_KEYS)? else {
                self.finding(Code::DocumentMalformed, &name, format!("it is longer than {MAX_KEYS} bytes"));
                continue;
            };
            if layout::document("keys", Digest::of(&bytes)) != name {
                self.finding(Code::DocumentDigest, &name, "its SHA-256 is not that of its name");
                continue;
            }
            match KeySet::open(&bytes, &self.options.trust) {
                Ok(set) if set.origin != self.about.origin => {
                    let says = format!("the keys are for the log {:?}, not {:?}", set.origin, self.about.origin);
                    self.finding(Code::Origin, &name, says);
                }
                Ok(set) => {
                    if newest.as_ref().is_none_or(|newest| set.revision > newest.revision) {
                        newest = Some(set);
                    }
                }
                Err(error @ KeysError::TrustMismatch { .. }) => {
                    other_root.get_or_insert((name, error));
                }
                Err(error @ KeysError::Signature(_)) => self.finding(Code::KeysRoot, &name, error.to_string()),
                Err(error) => self.finding(Code::DocumentMalformed, &name, chain(&error)),
            }
        }
        let given = match &self.options.keys {
            None => None,
            Some(bytes) => Some(super::head::given_keys(bytes, &self.options.trust, &self.about.origin)?),
        };
        let newest = [newest, given].into_iter().flatten().max_by_key(|set| set.revision);
        match (&newest, other_root) {
            (Some(_), Some((name, error))) => self.finding(Code::KeysRoot, &name, error.to_string()),
            (None, Some((name, error))) => return Err(CannotVerify::new(name, chain(&error))),
            (None, None) if !self.findings.any() => {
                let reason = "it has no keys under the trusted root; give some with --keys, or check the fingerprint";
                return Err(CannotVerify::new("the package", reason));
            }
            (None, None) => {
                let says =
                    "no keys in the package can be used (see the other findings), so that no signature was checked";
                self.finding(Code::KeysNone, ABOUT, says);
            }
            (Some(_), None) => {}
        }
        Ok(Keyring::with_outside(newest))
    }

    /// The proofs that show the leaf in a tree, by its size, each with what its checkpoint says, whoever signed it.
    fn proofs(&mut self, leaf: &[u8]) -> Result<Proofs, CannotVerify> {
        let sizes: BTreeSet<u64> = self.names.iter().filter_map(|name| parse_proof(name)).collect();
        if sizes.is_empty() {
            self.finding(Code::ProofMissing, "proof/", "the package has no proof that the entry is in the log");
        }
        let mut proofs = Proofs::new();
        for size in sizes {
            let name = package::proof(size);
            let Some(bytes) = self.take(&name, MAX_PROOF)? else {
                self.finding(Code::ProofMalformed, &name, format!("it is longer than {MAX_PROOF} bytes"));
                continue;
            };
            match self.proof(&bytes, size, leaf) {
                Ok(proof) => drop(proofs.insert(size, proof)),
                Err((code, says)) => self.finding(code, &name, says),
            }
        }
        Ok(proofs)
    }

    fn proof(&self, bytes: &[u8], size: u64, leaf: &[u8]) -> Result<(OfflineProof, Checkpoint), (Code, String)> {
        let (proof, head) = OfflineProof::from_bytes(bytes).map_err(|e| (Code::ProofMalformed, chain(&e)))?;
        if head.size != size {
            return Err((Code::ProofMalformed, format!("its checkpoint is over {} entries", head.size)));
        }
        if proof.index != self.about.index {
            let says = format!("it is for entry {}; the package is about entry {}", proof.index, self.about.index);
            return Err((Code::ProofInclusion, says));
        }
        proof.check(leaf, &head).map_err(|e| (Code::ProofInclusion, e.to_string()))?;
        Ok((proof, head))
    }

    /// The sizes of those checkpoints that are signed by a key that may.
    fn signed(&mut self, proofs: &Proofs, sealed_at: Option<Utc>, keyring: &Keyring, growth: &Growth) -> Vec<u64> {
        let (mut proved, mut signed_by) = (Vec::new(), BTreeSet::new());
        for (size, (proof, _)) in proofs {
            match self.signer(proof, sealed_at, keyring, growth.size_by(*size)) {
                Ok(by) => {
                    proved.push(*size);
                    signed_by.insert(by);
                }
                Err((code, says)) => self.finding(code, &package::proof(*size), says),
            }
        }
        let index = self.about.index;
        let says = match proved.last() {
            Some(size) => {
                let by: Vec<String> = signed_by.into_iter().collect();
                format!("{}, entry {index} of {size}; checkpoint signed by {}", self.about.origin, by.join(", "))
            }
            None => format!("{}, entry {index}; not shown to be in the log", self.about.origin),
        };
        self.section("origin", says);
        proved
    }

    /// The key that signed the checkpoint. `by` is when trusted time shows that it had.
    fn signer(
        &self,
        proof: &OfflineProof,
        sealed_at: Option<Utc>,
        keyring: &Keyring,
        by: Option<Utc>,
    ) -> Result<String, (Code, String)> {
        let key = match Checkpoint::open(&proof.checkpoint, &self.about.origin, &keyring.checkpoint_keys()) {
            Ok((_, key)) => key,
            Err(error @ LogError::Origin { .. }) => return Err((Code::Origin, error.to_string())),
            Err(error) => return Err((Code::CheckpointSignature, chain(&error))),
        };
        // It was signed after the entry; by a key that came later, no earlier than that key.
        let at = sealed_at.max(keyring.valid_from(&key)).unwrap_or_default();
        keyring.current(&key, Use::Checkpoints, at, by).map_err(|refusal| (refusal.code, refusal.says))?;
        Ok(key)
    }

    /// What the entry says of itself.
    fn consistent(&self, statement: &Statement) {
        let (entry, index) = (&statement.entry, self.about.index);
        if entry.origin != self.about.origin {
            let says = format!("it is for the log {:?}, not {:?}", entry.origin, self.about.origin);
            self.finding(Code::Origin, LEAF, says);
        }
        if let Some(known) = entry.checkpoint.filter(|known| known.size > index) {
            let says = format!("it knew of a checkpoint over {} entries, but is entry {index} itself", known.size);
            self.finding(Code::LogOrder, LEAF, says);
        }
    }

    /// Checks the seal, and gives the entry's bounds with what tokens in it add.
    fn seal(&mut self, leaf: &[u8], statement: &Statement, given: Given<'_>) -> Result<Timed, CannotVerify> {
        let Given { keyring, verifier, mut bounds } = given;
        let (entry, index) = (&statement.entry, self.about.index);
        let name = layout::seal(entry.sealed_at, Statement::leaf_digest(leaf));
        let mut tokens = Tokens::default();
        match self.take(&name, MAX_SEAL)? {
            None => self.finding(Code::SealMissing, &name, format!("the seal of entry {index} is not there")),
            Some(bytes) => match open_seal(&bytes, keyring, verifier, (index, entry.sealed_at, bounds.latest)) {
                Err((code, says)) => self.finding(code, &name, says),
                Ok(Opened { seal, .. }) if seal.payload != leaf => {
                    self.finding(Code::SealPayload, &name, format!("what it signs is not the leaf of entry {index}"));
                }
                Ok(Opened { seal, .. }) if seal.key_id != entry.key_id => {
                    let says = format!("it is by {}; entry {index} says {}", seal.key_id, entry.key_id);
                    self.finding(Code::SealKey, &name, says);
                }
                Ok(opened) => {
                    tokens = opened.tokens;
                    // Without keys it is in place, but nothing shows whose it is.
                    if !keyring.is_empty() {
                        let at = rfc3339(entry.sealed_at);
                        let says =
                            format!("{}; sealed by {}, at {at} by its clock", what(statement), opened.seal.key_id);
                        self.section("entry", says);
                    }
                }
            },
        }
        tokens.bad.iter().for_each(|says| self.finding(Code::SealToken, &name, says));
        bounds.latest = [bounds.latest, tokens.by()].into_iter().flatten().min();
        let times = Times::default();
        times.take(index, &name, entry.sealed_at, bounds, &self.findings);
        Ok(Timed { entries: times.finish(), bounds, tokens })
    }

    fn subject(&mut self, statement: &Statement, plans: &HashMap<Digest, PlanFacts>) -> Result<(), CannotVerify> {
        let (subject, index) = (&statement.subject[0], self.about.index);
        let own = package::subject(statement);
        let Some(name) = own.filter(|own| *own == subject.name) else {
            let says = format!("it names {:?}, which is not what it is about by what it says", subject.name);
            self.finding(Code::LeafSubject, LEAF, says);
            return Ok(());
        };
        let (missing, other) = match statement.body {
            Body::Receipt(_) => (Code::BundleMissing, Code::BundleDigest),
            _ => (Code::DocumentMissing, Code::DocumentDigest),
        };
        let wanted = subject.digest.sha256;
        self.names.remove(&name);
        let around = Around { reader: self.reader, findings: &self.findings, plans, expected: None, since: None };
        let found = match (&self.deep, &statement.body) {
            (Some(deep), Body::Receipt(receipt)) => deep.bundle(&around, &name, index, wanted, statement, receipt)?,
            _ => digest(self.reader, &name)?,
        };
        match found {
            None => {
                self.finding(missing, &name, format!("entry {index} is about it, and the package does not have it"))
            }
            Some((found, _)) if found != wanted => self.finding(other, &name, altered(found, index, wanted)),
            Some((_, length)) => self.section("subject", format!("{name}: {}, its digest agrees", bytes(length))),
        }
        Ok(())
    }

    /// Who signed the document that the entry names, where people sign such ones.
    fn approval(&mut self, statement: &Statement, keyring: &Keyring, bounds: Bounds) -> Result<(), CannotVerify> {
        let Body::Document(document) = &statement.body else { return Ok(()) };
        let Some(kind) = Kind::named(&document.kind) else { return Ok(()) };
        let name = layout::document(&document.kind, statement.subject[0].digest.sha256);
        // What is missing or altered has been said.
        let Fetched::Bytes(bytes) = fetch(self.reader, &name, MAX_APPROVAL)? else { return Ok(()) };
        if Digest::of(&bytes) != statement.subject[0].digest.sha256 {
            return Ok(());
        }
        let about = (self.about.index, statement.entry.sealed_at, bounds);
        match documents::signer(kind, &bytes, &self.about.origin, keyring, about) {
            Ok(Some(name)) => self.section("approval", format!("a {kind}, signed by {name}, whom the owner named")),
            Ok(None) => {}
            Err((code, says)) => self.finding(code, &name, says),
        }
        Ok(())
    }

    /// The plan that the entry names.
    fn plan(&mut self, statement: &Statement) -> Result<HashMap<Digest, PlanFacts>, CannotVerify> {
        let index = self.about.index;
        let mut plans = HashMap::new();
        let Some(wanted) = statement.entry.plan else {
            if !matches!(statement.body, Body::Document(_)) {
                self.finding(Code::PlanUnknown, LEAF, "it names no plan");
            }
            return Ok(plans);
        };
        let name = layout::document("plan", wanted);
        let Some(bytes) = self.take(&name, MAX_PLAN)? else {
            let says = format!("entry {index} names this plan, and the package does not have it");
            self.finding(Code::DocumentMissing, &name, says);
            return Ok(plans);
        };
        let found = Digest::of(&bytes);
        if found != wanted {
            self.finding(Code::DocumentDigest, &name, altered(found, index, wanted));
            return Ok(plans);
        }
        match serde_json::from_slice::<Plan>(&bytes) {
            Ok(plan) if plan.format != plan::FORMAT => {
                let says = format!("its format is {:?}, not {:?}", plan.format, plan::FORMAT);
                self.finding(Code::DocumentMalformed, &name, says);
            }
            Ok(plan) if plan.origin != self.about.origin => {
                let says = format!("the plan is for the log {:?}, not {:?}", plan.origin, self.about.origin);
                self.finding(Code::Origin, &name, says);
            }
            Ok(plan) => drop(plans.insert(wanted, PlanFacts::of(&plan))),
            Err(error) => self.finding(Code::DocumentMalformed, &name, format!("it is no plan: {error}")),
        }
        Ok(plans)
    }

    fn finish(
        mut self,
        statement: Option<&Statement>,
        proved_in: Vec<u64>,
        (keyring, time, mut limits): (&Keyring, TrustedTime, Vec<Limit>),
    ) -> EntryVerdict {
        for name in std::mem::take(&mut self.names) {
            let says = "a package of this entry has no such object";
            self.findings.add(Code::UnknownObject, name, None, says);
        }
        limits.extend(one_entry(keyring));
        limits.extend(super::limits::lost(keyring));
        if let Some(deep) = &self.deep {
            let (opened, rederived, deep_limits) = deep.counts();
            limits.extend(deep_limits);
            self.section("contents", contents(opened, rederived));
        }
        let (findings, findings_by_code, findings_total) = self.findings.finish();
        let statement_line = match (findings_total, limits.len() as u64) {
            (0, n) => format!("ENTRY INTACT, with {}. This says nothing about the controls.", plural(n, "limit")),
            (n, _) => format!("NOT INTACT: {}", plural(n, "finding")),
        };
        EntryVerdict {
            format: FORMAT_ENTRY,
            intact: findings_total == 0,
            statement: statement_line,
            origin: self.about.origin,
            trust: self.options.trust.clone(),
            index: self.about.index,
            subject: statement.map(|statement| statement.subject[0].name.clone()),
            sealed_at: statement.map(|statement| statement.entry.sealed_at),
            proved_in,
            not_before: self.bounds.earliest,
            not_after: self.bounds.latest,
            time,
            sections: self.sections,
            findings,
            findings_by_code,
            findings_total,
            limits,
        }
    }
}

/// The entry in a few words.
fn what(statement: &Statement) -> String {
    match &statement.body {
        Body::Receipt(receipt) => {
            let outcome = match receipt.outcome {
                Outcome::Collected => "collected",
                Outcome::Partial => "partial",
                Outcome::Failed => "failed",
            };
            let slot = receipt.slot.map_or("by hand".to_owned(), |slot| format!("slot {}", rfc3339(slot)));
            format!("receipt of {}, {slot}: {outcome}", receipt.job)
        }
        Body::Missed(missed) => {
            let (first, last) = (rfc3339(missed.first), rfc3339(missed.last));
            format!("{} of {} missed, {first} to {last}", plural(missed.count, "slot"), missed.job)
        }
        Body::Document(document) => format!("document of the kind {}", document.kind),
    }
}

/// What one entry does not show.
fn one_entry(keyring: &Keyring) -> Vec<Limit> {
    let one = "this is one entry: whether every slot has its receipt, and whether other entries were taken away or changed, the archive \
               shows";
    let mut limits = vec![Limit { code: "ONE-ENTRY", says: one.to_owned() }];
    if let Some(newest) = keyring.newest() {
        let says = format!(
            "keys are those of revision {}, made at {}: what their owner said of them later, such as that one was stolen, is not known \
             here; --keys takes a newer revision",
            newest.revision,
            rfc3339(newest.made_at)
        );
        limits.push(Limit { code: "ONE-ENTRY-KEYS", says });
    }
    limits
}
