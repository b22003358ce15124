//! What pins checkpoints from outside: RFC 3161 tokens over them, and witnesses' signatures. They are read before the log, since its
//! entries name tokens, and judged against it as the walk comes by. Nothing here believes a time that leads to no given root.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use rayon::prelude::*;
use serde::Serialize;

use super::{
    Progress, Stage,
    expected::half,
    findings::{CannotVerify, Code, Findings},
    keyring::Keyring,
    source::{Fetched, fetch},
    times::Growth,
    walk::Roots,
};
use crate::{
    digest::Digest,
    errors::chain,
    layout::{self, Anchor, parse_anchor},
    log::{
        Checkpoint, MAX_CHECKPOINT,
        cosignature::{self, Cosignature, CosignatureError, WitnessKey},
    },
    store::Reader,
    time::Utc,
    timestamp::{MAX_RESPONSE, Stamp, Verifier},
};

/// Where not every entry is looked at: anchored checkpoints before the first that is, whose tokens may bound it from below.
const BEFORE: usize = 8;

/// Directories of one checkpoint each that are read at a time.
const BATCH: usize = 512;

/// Authorities, or signers that lead to no given root, that are named.
const MAX_NAMED: usize = 32;

/// The tokens of one authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Authority {
    /// The name in its certificate.
    pub name: String,
    /// The SHA-256 of the root certificate that it leads to.
    pub root: Digest,
    /// The root's name.
    pub root_name: String,
    /// Tokens over checkpoints of this log.
    pub tokens: u64,
    /// The first time.
    pub first: Utc,
    /// The last one.
    pub last: Utc,
}

/// Authorities by their name and root.
#[derive(Debug, Clone, Default)]
pub(crate) struct Authorities(BTreeMap<(String, Digest), Authority>);

impl Authorities {
    /// Counts a trusted token.
    pub fn count(&mut self, stamp: &Stamp) {
        self.add(Authority {
            name: stamp.authority.clone(),
            root: stamp.root,
            root_name: stamp.root_name.clone(),
            tokens: 1,
            first: stamp.at,
            last: stamp.at,
        });
    }

    fn merge(&mut self, others: &Self) {
        others.0.values().for_each(|other| self.add(other.clone()));
    }

    fn add(&mut self, other: Authority) {
        let key = (other.name.clone(), other.root);
        if let Some(seen) = self.0.get_mut(&key) {
            seen.tokens += other.tokens;
            seen.first = seen.first.min(other.first);
            seen.last = seen.last.max(other.last);
        } else if self.0.len() < MAX_NAMED {
            self.0.insert(key, other);
        }
    }
}

/// A checkpoint that somebody outside has seen.
struct Pinned {
    size: u64,
    root: Digest,
    /// The digest of the object.
    digest: Digest,
    /// The bounds of the earliest trusted token over it: not earlier, not later.
    stamp: Option<(Utc, Utc)>,
    /// Which of the given witnesses signed it, and the latest of their times.
    witnesses: Witnessed,
    /// Whether the log has this root at this size; `None` until the walk has come there, or where entries are lost.
    agrees: Option<bool>,
}

#[derive(Clone, Default)]
struct Witnessed {
    by: BTreeSet<usize>,
    at: Option<Utc>,
}

/// A checkpoint that enough witnesses signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WitnessedHead {
    /// Its entries.
    pub size: u64,
    /// Who signed it.
    pub witnesses: Vec<String>,
    /// The latest of their times, by their clocks.
    pub at: Option<Utc>,
}

/// Everything that was found below `anchor/`.
#[derive(Default)]
pub(crate) struct Anchors {
    /// The size from which on anchors were read.
    pub first: u64,
    /// By size.
    pinned: Vec<Pinned>,
    /// How many of them have been judged.
    judged: usize,
    /// Every token that is in place, with its bound from below where it is trusted, in milliseconds of Unix time.
    tokens: HashMap<[u8; 16], Option<i64>>,
    /// Every object that was read here.
    names: HashSet<[u8; 16]>,
    authorities: Authorities,
    /// What tokens that lead to no given root say of their signer.
    pub untrusted: BTreeMap<String, u64>,
    /// Tokens over checkpoints that are trusted.
    pub trusted_tokens: u64,
    /// Signature lines by given witnesses.
    pub cosignatures: u64,
}

/// What verification of anchors goes by.
pub(crate) struct Means<'a> {
    pub verifier: &'a Verifier,
    pub witnesses: &'a [WitnessKey],
    /// The first entry that is looked at.
    pub from: u64,
}

/// What one directory holds.
#[derive(Default)]
struct Directory {
    pinned: Vec<Pinned>,
    tokens: Vec<(Digest, Option<Stamp>)>,
    untrusted: Vec<String>,
    cosignatures: u64,
    names: Vec<[u8; 16]>,
}

/// Reads and verifies every anchor.
pub(crate) fn read(
    reader: &dyn Reader,
    findings: &Findings,
    origin: &str,
    means: &Means<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Anchors, CannotVerify> {
    let mut objects = Vec::new();
    reader
        .list("anchor/", &mut |name| objects.extend(parse_anchor(name)))
        .map_err(|e| CannotVerify::new("anchor/", format!("listing it failed: {e}")))?;
    // Checkpoints come before what is over them.
    objects.sort_unstable_by_key(|(size, digest, kind)| (*size, *kind, *digest));
    objects.dedup();
    let done = AtomicU64::new(0);
    let mut directories: Vec<&[(u64, Digest, Anchor)]> = objects.chunk_by(|a, b| a.0 == b.0).collect();
    let old = directories.partition_point(|objects| objects[0].0 < means.from).saturating_sub(BEFORE);
    directories.drain(..old);
    let first = if old > 0 { directories.first().map_or(means.from, |objects| objects[0].0) } else { 0 };
    let total = directories.iter().map(|objects| objects.len() as u64).sum();
    let mut anchors = Anchors { first, ..Anchors::default() };
    for batch in directories.chunks(BATCH) {
        let read: Vec<_> = batch
            .par_iter()
            .map(|objects| {
                let found = directory(reader, findings, origin, means, objects);
                let done = done.fetch_add(objects.len() as u64, Relaxed) + objects.len() as u64;
                progress(Progress { stage: Stage::Anchors, done, total });
                found
            })
            .collect();
        for found in read {
            anchors.add(found?);
        }
    }
    Ok(anchors)
}

/// Reads the anchors of one size.
fn directory(
    reader: &dyn Reader,
    findings: &Findings,
    origin: &str,
    means: &Means<'_>,
    objects: &[(u64, Digest, Anchor)],
) -> Result<Directory, CannotVerify> {
    let mut found = Directory::default();
    let mut notes: Vec<(Vec<u8>, Checkpoint)> = Vec::new();
    for (size, digest, kind) in objects {
        let name = layout::anchor(*size, *digest, *kind);
        found.names.push(half(Digest::of(name.as_bytes())));
        let finding = |code, says: String| findings.add(code, &name, None, says);
        let limit = match kind {
            Anchor::Checkpoint => MAX_CHECKPOINT,
            Anchor::Token => MAX_RESPONSE as u64,
            Anchor::Cosignature => MAX_CHECKPOINT,
        };
        let bytes = match fetch(reader, &name, limit)? {
            Fetched::Bytes(bytes) => bytes,
            Fetched::Absent => {
                finding(Code::AnchorMissing, "it was listed, but there is no object of this name".to_owned());
                continue;
            }
            Fetched::TooLong => {
                finding(Code::AnchorBytes, format!("it is longer than the {limit} bytes of such an object"));
                continue;
            }
        };
        let own = Digest::of(&bytes);
        if own != *digest {
            finding(Code::AnchorBytes, format!("its SHA-256 is {own}, not what its name says"));
            continue;
        }
        match kind {
            Anchor::Checkpoint => match Checkpoint::parse_unverified(&bytes) {
                Ok(note) if note.origin != origin => {
                    finding(Code::Origin, format!("it is of the log {:?}, not {origin:?}", note.origin));
                }
                Ok(note) if note.size != *size => {
                    finding(Code::AnchorMalformed, format!("it is over {} entries, not {size}", note.size));
                }
                Ok(note) => {
                    found.pinned.push(Pinned {
                        size: *size,
                        root: note.root,
                        digest: *digest,
                        stamp: None,
                        witnesses: Witnessed::default(),
                        agrees: None,
                    });
                    notes.push((bytes, note));
                }
                Err(error) => finding(Code::AnchorMalformed, chain(&error)),
            },
            Anchor::Token => match token(means.verifier, &bytes, &notes) {
                Token::Good(at, stamp) => {
                    let pinned = &mut found.pinned[at];
                    // Of several tokens over one checkpoint the one that bounds it most counts.
                    let latest = pinned.stamp.map_or(stamp.latest, |(_, latest)| latest.min(stamp.latest));
                    let earliest = pinned.stamp.map_or(stamp.earliest, |(earliest, _)| earliest.min(stamp.earliest));
                    pinned.stamp = Some((earliest, latest));
                    found.tokens.push((*digest, Some(stamp)));
                }
                Token::Untrusted(says) => {
                    found.tokens.push((*digest, None));
                    found.untrusted.push(says);
                }
                Token::Bad(says) => {
                    found.tokens.push((*digest, None));
                    finding(Code::AnchorToken, says);
                }
                Token::Alone => {
                    found.tokens.push((*digest, None));
                    finding(
                        Code::AnchorMissing,
                        "the checkpoint that this token should be over is not there".to_owned(),
                    );
                }
            },
            Anchor::Cosignature if notes.is_empty() => {
                finding(Code::AnchorMissing, "the checkpoint that this is over is not there".to_owned());
            }
            Anchor::Cosignature => {
                match cosignatures(&bytes, &notes, means.witnesses) {
                    Ok((at, by)) => {
                        let witnessed = &mut found.pinned[at].witnesses;
                        for line in by {
                            let known = |key: &WitnessKey| key.name() == line.witness && key.id() == line.id;
                            witnessed.by.extend(means.witnesses.iter().position(known));
                            witnessed.at = witnessed.at.max(Some(line.at));
                            found.cosignatures += 1;
                        }
                    }
                    // Of witnesses that the auditor does not rely on.
                    Err(CosignatureError::Unknown) => {}
                    Err(error) => finding(Code::AnchorCosignature, chain(&error)),
                }
            }
        }
    }
    Ok(found)
}

enum Token {
    /// Over the note at this place.
    Good(usize, Stamp),
    Untrusted(String),
    Bad(String),
    /// There is no checkpoint beside it.
    Alone,
}

fn token(verifier: &Verifier, der: &[u8], notes: &[(Vec<u8>, Checkpoint)]) -> Token {
    let mut said = Token::Alone;
    for (at, (note, _)) in notes.iter().enumerate() {
        match verifier.verify(der, note) {
            Ok(stamp) => return Token::Good(at, stamp),
            Err(error) if error.is_untrusted() => said = Token::Untrusted(chain(&error)),
            Err(error) if !matches!(said, Token::Untrusted(_)) => said = Token::Bad(chain(&error)),
            Err(_) => {}
        }
    }
    said
}

/// The cosignatures by given witnesses, and the place of the checkpoint that they are over: of several with the same text the first.
fn cosignatures(
    lines: &[u8],
    notes: &[(Vec<u8>, Checkpoint)],
    witnesses: &[WitnessKey],
) -> Result<(usize, Vec<Cosignature>), CosignatureError> {
    let mut said = CosignatureError::Unknown;
    for (at, (_, note)) in notes.iter().enumerate() {
        match cosignature::verify(lines, note.text().as_bytes(), witnesses) {
            Ok(by) => return Ok((at, by)),
            Err(CosignatureError::Unknown) => {}
            Err(error) => said = error,
        }
    }
    Err(said)
}

impl Anchors {
    fn add(&mut self, found: Directory) {
        self.pinned.extend(found.pinned);
        self.names.extend(found.names);
        self.cosignatures += found.cosignatures;
        for says in found.untrusted {
            if self.untrusted.len() < MAX_NAMED || self.untrusted.contains_key(&says) {
                *self.untrusted.entry(says).or_default() += 1;
            }
        }
        for (digest, stamp) in found.tokens {
            self.tokens.insert(half(digest), stamp.as_ref().map(|stamp| stamp.earliest.timestamp_millis()));
            if let Some(stamp) = stamp {
                self.trusted_tokens += 1;
                self.authorities.count(&stamp);
            }
        }
    }

    /// Whose tokens were believed, with those in seals.
    pub fn authorities(&self, in_seals: &Authorities) -> Vec<Authority> {
        let mut all = self.authorities.clone();
        all.merge(in_seals);
        all.0.into_values().collect()
    }

    /// Whether an object was read here.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(&half(Digest::of(name.as_bytes())))
    }

    /// The instant before which a stored token cannot have been known, in milliseconds of Unix time: `None` where there is no such
    /// token, `Some(None)` where it is not trusted.
    pub fn token(&self, token: Digest) -> Option<Option<i64>> {
        self.tokens.get(&half(token)).copied()
    }

    /// Compares every anchored checkpoint of at most `done` entries with the log.
    pub fn judge(&mut self, done: u64, roots: &mut Roots<'_>) {
        while let Some(pinned) = self.pinned.get_mut(self.judged).filter(|pinned| pinned.size <= done) {
            pinned.agrees = roots.at(pinned.size).map(|root| root == pinned.root);
            self.judged += 1;
        }
    }

    /// Compares every anchored checkpoint with roots that were proved otherwise, by size.
    pub fn compare(&mut self, roots: &BTreeMap<u64, Digest>) {
        for pinned in &mut self.pinned {
            pinned.agrees = roots.get(&pinned.size).map(|root| *root == pinned.root);
        }
    }

    /// A finding for each anchored checkpoint that is not of this log's past; the sizes of those that are of a longer log and signed
    /// by its owner.
    pub fn disputed(
        &self,
        reader: &dyn Reader,
        findings: &Findings,
        checkpoint: &Checkpoint,
        keyring: &Keyring,
    ) -> Result<Vec<(String, u64)>, CannotVerify> {
        let keys = keyring.checkpoint_keys();
        let mut ahead = Vec::new();
        for pinned in self.pinned.iter().filter(|pinned| pinned.agrees == Some(false) || pinned.size > checkpoint.size)
        {
            let name = layout::anchor(pinned.size, pinned.digest, Anchor::Checkpoint);
            let Fetched::Bytes(bytes) = fetch(reader, &name, MAX_CHECKPOINT)? else { continue };
            match Checkpoint::open(&bytes, &checkpoint.origin, &keys) {
                Err(_) if keys.is_empty() => {}
                Err(error) => findings.add(Code::AnchorCheckpoint, &name, None, chain(&error)),
                Ok(_) if pinned.size > checkpoint.size => ahead.push((name, pinned.size)),
                Ok((said, _)) => {
                    let says = format!(
                        "the owner's key signed the root {} over {} entries; this log has another one at that size",
                        said.root, said.size
                    );
                    findings.add(Code::LogForked, &name, None, says);
                }
            }
        }
        Ok(ahead)
    }

    /// The newest checkpoint of this log's past that at least `needed` of the witnesses signed.
    pub fn witnessed(&self, needed: usize, witnesses: &[WitnessKey]) -> Option<WitnessedHead> {
        let found = self.pinned.iter().rev().find(|pinned| {
            pinned.agrees == Some(true) && !pinned.witnesses.by.is_empty() && pinned.witnesses.by.len() >= needed
        })?;
        let names = found.witnesses.by.iter().filter_map(|at| witnesses.get(*at)).map(|key| key.name().to_owned());
        Some(WitnessedHead { size: found.size, witnesses: names.collect(), at: found.witnesses.at })
    }

    /// By when the log had how many entries.
    pub fn growth(&self) -> Growth {
        let mut uppers: Vec<(u64, Utc)> = Vec::new();
        let agreed = || self.pinned.iter().filter(|pinned| pinned.agrees == Some(true));
        for (size, (_, latest)) in agreed().filter_map(|pinned| Some((pinned.size, pinned.stamp?))).rev() {
            // A longer tree that was seen earlier bounds the shorter one too.
            let latest = uppers.last().map_or(latest, |(_, later)| latest.min(*later));
            uppers.push((size, latest));
        }
        uppers.reverse();
        Growth { uppers, newest: agreed().filter_map(|pinned| Some(pinned.stamp?.0)).max() }
    }
}
