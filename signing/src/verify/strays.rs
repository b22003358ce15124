//! What the archive holds beside what the log explains: entries on their way, leftovers of the agent's work, and what is neither.
//!
//! It runs last, when every name that the log explains is known; what the agent added meanwhile is told apart by a newer checkpoint.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;

use super::{
    Progress, Stage, append,
    expected::half,
    findings::{CannotVerify, Code, Findings},
    names::{Part, TileName},
    order::Order,
    sealed::{Opened, open_seal},
    source::{Fetched, digest, fetch},
    tree::{WIDTH, hashes},
    walk::Roots,
};
use crate::{
    append::{Decision, MAX_APPEND},
    digest::Digest,
    errors::chain,
    layout::{self, CHECKPOINT},
    log::{Checkpoint, MAX_CHECKPOINT, MAX_LEAF, leaf_hash},
    seal::MAX_SEAL,
    statement::{Known, Statement},
    store::Reader,
    time::{compact, rfc3339},
    timestamp::Verifier,
};

/// The most names that a verdict lists as pending or as leftovers; the rest is counted.
const MAX_LISTED: usize = 1_000;

/// The most bytes of a tile or entry bundle.
const MAX_TILE: u64 = WIDTH * (MAX_LEAF as u64 + 2);

/// How a directory's unfinished writes begin.
const TEMPORARY: &str = ".tmp-";

/// An object whose entry is not in the log yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Pending {
    /// The object's name.
    pub object: String,
    /// What is known of it.
    pub says: String,
}

/// A list with a bound: the first names in order stay, all are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counted<T: Ord> {
    /// The first ones, by name.
    pub first: BTreeSet<T>,
    /// How many.
    pub total: u64,
}

impl<T: Ord> Default for Counted<T> {
    fn default() -> Self {
        Self { first: BTreeSet::new(), total: 0 }
    }
}

impl<T: Ord> Counted<T> {
    fn add(&mut self, item: T) {
        self.total += 1;
        self.first.insert(item);
        if self.first.len() > MAX_LISTED {
            self.first.pop_last();
        }
    }
}

/// What the listing gave.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    /// Everything whose entry is not in the log yet.
    pub pending: Counted<Pending>,
    /// Of those, seals that verify.
    pub sealed: u64,
    pub leftovers: Counted<String>,
    pub objects: u64,
}

/// What the search goes by.
pub(crate) struct Means<'a, 'b> {
    pub reader: &'a dyn Reader,
    pub findings: &'a Findings,
    pub order: &'a Order<'b>,
    pub verifier: &'a Verifier,
}

struct Search<'a, 'b, 'c> {
    roots: &'a mut Roots<'c>,
    reader: &'a dyn Reader,
    findings: &'a Findings,
    order: &'a Order<'b>,
    verifier: &'a Verifier,
    checkpoint: &'a Checkpoint,
    strays: Strays,
    /// Bundles and documents that a pending seal names.
    sealed: HashSet<[u8; 16]>,
    /// What pending seals knew of the log.
    known: Vec<(String, Known)>,
    /// Tiles and decisions beyond the checkpoint.
    beyond: Counted<String>,
    /// The leaves of an append that was decided, and not finished.
    unfinished: Option<Vec<Vec<u8>>>,
}

/// Lists the archive, or the parts of it that are asked for and the log's end. `seen` are the checkpoint's bytes as they were fixed,
/// `ahead` anchored checkpoints of a longer log.
pub(crate) fn search(
    Means { reader, findings, order, verifier }: Means<'_, '_>,
    roots: &mut Roots<'_>,
    (checkpoint, seen): (&Checkpoint, &[u8]),
    ahead: Vec<(String, u64)>,
    part: Option<Vec<String>>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Strays, CannotVerify> {
    let mut search = Search {
        roots,
        reader,
        findings,
        order,
        verifier,
        checkpoint,
        strays: Strays::default(),
        sealed: HashSet::new(),
        known: Vec::new(),
        beyond: Counted::default(),
        unfinished: None,
    };
    // Seals first, since a bundle's standing depends on them.
    match part {
        None => {
            search.list("seal/", progress)?;
            search.list("", progress)?;
        }
        Some(prefixes) => {
            for prefix in prefixes {
                search.list(&prefix, progress)?;
            }
            search.end(progress)?;
        }
    }
    search.beyond(seen)?;
    search.ahead(seen, ahead)?;
    search.partial_tiles()?;
    Ok(search.strays)
}

impl Search<'_, '_, '_> {
    fn list(&mut self, prefix: &str, progress: &(dyn Fn(Progress) + Sync)) -> Result<(), CannotVerify> {
        let reader = self.reader;
        let mut failed = None;
        let listed = reader.list(prefix, &mut |name| {
            if failed.is_some() || (prefix.is_empty() && name.starts_with("seal/")) {
                return;
            }
            self.strays.objects += 1;
            if self.strays.objects.is_multiple_of(64) {
                progress(Progress { stage: Stage::Listing, done: self.strays.objects, total: 0 });
            }
            failed = self.object(name).err();
        });
        let where_ = if prefix.is_empty() { "the archive" } else { prefix };
        listed.map_err(|e| CannotVerify::new(where_, format!("listing it failed: {e}")))?;
        failed.map_or(Ok(()), Err)
    }

    /// What an append under way, or a longer log that is no more, would have left at the log's end.
    fn end(&mut self, progress: &(dyn Fn(Progress) + Sync)) -> Result<(), CannotVerify> {
        let size = self.checkpoint.size;
        self.append(&layout::append(size))?;
        for part in [Part::Entries, Part::Level(0)] {
            let full = TileName::full(part, size / WIDTH).to_string();
            self.list(&format!("{full}.p/"), progress)?;
            if self.reader.open(&full).map_err(|e| CannotVerify::read(&full, &e))?.is_some() {
                self.object(&full)?;
            }
        }
        Ok(())
    }

    fn object(&mut self, name: &str) -> Result<(), CannotVerify> {
        let file = name.rsplit('/').next().unwrap_or(name);
        if file.starts_with(TEMPORARY) {
            self.strays.leftovers.add(name.to_owned());
            return Ok(());
        }
        match name.split_once('/').map_or(name, |(top, _)| top) {
            CHECKPOINT if name == CHECKPOINT => Ok(()),
            "seal" | "bundle" | "document" if self.order.expected.index(name)?.is_some() => Ok(()),
            "seal" => self.seal(name),
            "bundle" | "document" => self.subject(name),
            "tile" => self.tile(name),
            "append" => self.append(name),
            "anchor" if self.order.anchors.has(name) => Ok(()),
            "anchor" if layout::parse_anchor(name).is_some() => {
                let says = "it was stored while the archive was verified".to_owned();
                self.strays.pending.add(Pending { object: name.to_owned(), says });
                Ok(())
            }
            _ => {
                self.unknown(name, "the layout has no such object");
                Ok(())
            }
        }
    }

    fn unknown(&self, name: &str, says: impl Into<String>) {
        self.findings.add(Code::UnknownObject, name, None, says);
    }

    /// A seal without a leaf: pending when a leaf could be made of it now, else nobody's.
    fn seal(&mut self, name: &str) -> Result<(), CannotVerify> {
        let bytes = match fetch(self.reader, name, MAX_SEAL)? {
            Fetched::Bytes(bytes) => bytes,
            // Seals are never removed: one that is listed and not there has a name that cannot be asked for.
            Fetched::Absent => {
                self.unknown(name, "it was listed, but there is no object of this name");
                return Ok(());
            }
            Fetched::TooLong => {
                self.unknown(name, "no entry names it, and it is longer than a seal can be");
                return Ok(());
            }
        };
        let payload = match crate::seal::Seal::from_bytes(&bytes) {
            Ok(seal) => seal.payload,
            Err(e) => {
                self.unknown(name, format!("no entry names it, and it is no seal: {}", chain(&e)));
                return Ok(());
            }
        };
        let statement = match Statement::from_bytes(&payload) {
            Ok(statement) => statement,
            Err(e) => {
                self.unknown(name, format!("no entry names it, and what it signs is no entry: {}", chain(&e)));
                return Ok(());
            }
        };
        let entry = &statement.entry;
        let own = layout::seal(entry.sealed_at, Statement::leaf_digest(&payload));
        if own != name {
            self.unknown(name, format!("no entry names it; what it signs belongs into {own}"));
            return Ok(());
        }
        let place = (self.checkpoint.size, entry.sealed_at, None);
        match open_seal(&bytes, &self.order.keyring, self.verifier, place) {
            Err((code, says)) => {
                self.unknown(name, format!("no entry names it, and it does not verify ({code}): {says}"))
            }
            Ok(Opened { seal, .. }) if seal.key_id != entry.key_id => {
                self.unknown(name, format!("no entry names it; it is by {}, but says {}", seal.key_id, entry.key_id));
            }
            Ok(_) if entry.origin != self.checkpoint.origin => {
                self.findings.add(Code::Origin, name, None, format!("it is for the log {:?}", entry.origin));
            }
            Ok(_) => {
                for subject in &statement.subject {
                    self.sealed.insert(key(&subject.name));
                }
                if let Some(known) = entry.checkpoint {
                    self.known.push((name.to_owned(), known));
                }
                self.strays.sealed += 1;
                let says = format!("validly signed, sealed at {}, but not in the log", rfc3339(entry.sealed_at));
                self.strays.pending.add(Pending { object: name.to_owned(), says });
            }
        }
        Ok(())
    }

    /// A bundle or document without a leaf: uploaded before its seal, or before its entry was appended.
    fn subject(&mut self, name: &str) -> Result<(), CannotVerify> {
        let Some(wanted) = subject_digest(name) else {
            self.unknown(name, "no entry names it, and its name is not of the layout");
            return Ok(());
        };
        let Some((found, _)) = digest(self.reader, name)? else {
            self.unknown(name, "it was listed, but there is no object of this name");
            return Ok(());
        };
        if found != wanted {
            self.unknown(name, format!("no entry names it, and its SHA-256 is {found}, not what its name says"));
        } else if let Some(index) = self.order.expected.bundle(wanted)? {
            self.unknown(name, format!("it is a copy of the bundle that entry {index} names, under another name"));
        } else {
            let says = match self.sealed.contains(&key(name)) {
                true => "named by a valid seal that is not in the log",
                false => "no seal names it: nothing vouches for it",
            };
            self.strays.pending.add(Pending { object: name.to_owned(), says: says.to_owned() });
        }
        Ok(())
    }

    fn tile(&mut self, name: &str) -> Result<(), CannotVerify> {
        let Some(tile) = TileName::parse(name) else {
            self.unknown(name, "its name is that of no tile");
            return Ok(());
        };
        let size = match tile.part {
            Part::Entries => self.checkpoint.size,
            Part::Level(level) => self.checkpoint.size.checked_shr(8 * u32::from(level)).unwrap_or(0),
        };
        if tile.end() > size {
            self.beyond.add(name.to_owned());
        } else if tile.end() < size && u64::from(tile.width) < WIDTH {
            self.partial(name, tile)?;
        }
        Ok(())
    }

    /// A partial tile of a smaller tree: it must be the beginning of what the tree has there now.
    fn partial(&self, name: &str, tile: TileName) -> Result<(), CannotVerify> {
        let bytes = match fetch(self.reader, name, MAX_TILE)? {
            Fetched::Bytes(bytes) => Some(bytes),
            Fetched::TooLong => None,
            // It went once it was full.
            Fetched::Absent => return Ok(()),
        };
        let found = bytes.and_then(|bytes| match tile.part {
            Part::Level(_) => hashes(&bytes),
            Part::Entries => leaf_hashes(&bytes),
        });
        let wanted = match tile.part {
            Part::Entries | Part::Level(0) => self.roots.block(tile.index),
            Part::Level(level) => self.roots.tree.tile(level, tile.index).as_deref().and_then(hashes),
        };
        // Where entries are lost there is nothing to compare with; that they are is a finding already.
        let Some(wanted) = wanted.as_ref().and_then(|wanted| wanted.get(..tile.width.into())) else { return Ok(()) };
        if found.as_deref() != Some(wanted) {
            let code = if tile.part == Part::Entries { Code::EntriesBytes } else { Code::TileBytes };
            self.findings.add(code, name, None, "it is not the beginning of what the log has there");
        }
        self.pair(tile)
    }

    /// Hashes and entries of one width are written together, and go together once the tile is full: one alone shows that the other was
    /// taken away, also where no entry knew the checkpoint that rested on them.
    fn pair(&self, tile: TileName) -> Result<(), CannotVerify> {
        let part = match tile.part {
            Part::Entries => Part::Level(0),
            Part::Level(0) => Part::Entries,
            Part::Level(_) => return Ok(()),
        };
        if tile.index != self.checkpoint.size / WIDTH || self.order.partial.contains_key(&(part, tile.width)) {
            return Ok(());
        }
        for other in [TileName { part, ..tile }, TileName::full(part, tile.index)] {
            let other = other.to_string();
            if self.reader.open(&other).map_err(|e| CannotVerify::read(&other, &e))?.is_some() {
                return Ok(());
            }
        }
        let says = "its counterpart of the same width is there, and they may go only once the tile is full";
        self.findings.add(Code::TileMissing, TileName { part, ..tile }.to_string(), None, says);
        Ok(())
    }

    /// The decision of an append: covered ones may stay, and say what was logged; the newest may be of one that is not finished.
    fn append(&mut self, name: &str) -> Result<(), CannotVerify> {
        let old: Option<u64> = name.strip_prefix("append/").and_then(|n| n.parse().ok());
        let Some(old) = old.filter(|old| layout::append(*old) == name) else {
            self.unknown(name, "its name is that of no append");
            return Ok(());
        };
        let size = self.checkpoint.size;
        if old > size {
            self.beyond.add(name.to_owned());
            return Ok(());
        }
        let decision = match fetch(self.reader, name, MAX_APPEND)? {
            Fetched::Bytes(bytes) => {
                Decision::from_bytes(&bytes, old).map(|decision| decision.leaves).map_err(|e| e.to_string())
            }
            Fetched::TooLong => Err(format!("it is longer than {MAX_APPEND} bytes")),
            // Covered ones may go at any time.
            Fetched::Absent => return Ok(()),
        };
        let leaves = match decision {
            Ok(leaves) => leaves,
            Err(says) => {
                self.findings.add(Code::AppendBytes, name, None, says);
                return Ok(());
            }
        };
        if old == size {
            let says = format!("decides an append of {} entries that is not finished", leaves.len());
            self.strays.pending.add(Pending { object: name.to_owned(), says });
            self.unfinished = Some(leaves);
            return Ok(());
        }
        self.strays.leftovers.add(name.to_owned());
        let mut held: Option<(u64, Option<Vec<Digest>>)> = None;
        for (at, leaf) in leaves.iter().enumerate() {
            let index = old + at as u64;
            if held.as_ref().is_none_or(|(block, _)| *block != index / WIDTH) {
                held = Some((index / WIDTH, self.roots.block(index / WIDTH)));
            }
            let hashes = held.as_ref().and_then(|(_, hashes)| hashes.as_deref()).unwrap_or_default();
            // Where the tree's hashes are lost there is nothing to compare with; that they are is a finding already.
            let other = hashes.get((index % WIDTH) as usize).is_some_and(|hash| *hash != leaf_hash(leaf));
            if other || index >= size {
                let says = format!("the entry that it decided for place {index} is not the one that stands there");
                self.findings.add(Code::AppendBytes, name, None, says);
                break;
            }
        }
        Ok(())
    }

    /// What lies beyond the checkpoint: of an append that is under way, or of a longer log that is no more.
    fn beyond(&mut self, seen: &[u8]) -> Result<(), CannotVerify> {
        let size = self.now(seen)?;
        for (name, known) in std::mem::take(&mut self.known) {
            if known.size > size {
                let says = format!("it knew of a checkpoint over {} entries; this log has {size}", known.size);
                self.findings.add(Code::LogRolledBack, name, None, says);
            } else if let Some(root) = self.roots.at(known.size).filter(|root| *root != known.root) {
                let says = format!(
                    "it knew of a checkpoint over {} entries with root {}; this log's root at that size is {root}",
                    known.size, known.root
                );
                self.findings.add(Code::LogForked, name, None, says);
            }
        }
        if size > self.checkpoint.size {
            return Ok(());
        }
        if self.unfinished.is_none() && self.beyond.total > 0 {
            // The agent may have begun, or finished, an append while the archive was listed.
            self.append(&layout::append(size))?;
            if self.unfinished.is_none() && self.now(seen)? > size {
                return Ok(());
            }
        }
        let decided = match &self.unfinished {
            Some(leaves) => append::objects(self.reader, self.checkpoint, leaves)?,
            None => BTreeMap::new(),
        };
        let beyond = std::mem::take(&mut self.beyond);
        for name in beyond.first {
            match decided.get(&name) {
                Some(wanted) => {
                    if let Fetched::Bytes(bytes) = fetch(self.reader, &name, MAX_TILE)?
                        && bytes == *wanted
                    {
                        let says = "written by the append that is not finished".to_owned();
                        self.strays.pending.add(Pending { object: name, says });
                    } else {
                        let says = format!("it is not what append/{size} makes");
                        self.findings.add(Code::TileBytes, name, None, says);
                    }
                }
                None => {
                    let says =
                        format!("the checkpoint is over {size} entries, and no append was decided that makes it");
                    self.findings.add(Code::LogRolledBack, name, None, says);
                }
            }
        }
        Ok(())
    }

    /// Checkpoints of a longer log that the owner signed and somebody outside has seen: it grew meanwhile, or it was longer once.
    fn ahead(&mut self, seen: &[u8], ahead: Vec<(String, u64)>) -> Result<(), CannotVerify> {
        if ahead.is_empty() {
            return Ok(());
        }
        let now = self.now(seen)?;
        for (name, size) in ahead.into_iter().filter(|(_, size)| *size > now) {
            let says = format!("the owner's key signed it over {size} entries; this log has {now}");
            self.findings.add(Code::LogRolledBack, name, None, says);
        }
        Ok(())
    }

    /// The partial tiles that published checkpoints rest on.
    fn partial_tiles(&self) -> Result<(), CannotVerify> {
        for ((part, width), entry) in &self.order.partial {
            let size = match part {
                Part::Entries => self.checkpoint.size,
                Part::Level(level) => self.checkpoint.size >> (8 * level),
            };
            let name = TileName { part: *part, index: size / WIDTH, width: *width }.to_string();
            let there = |name: &str| match self.reader.open(name) {
                Ok(object) => Ok(object.is_some()),
                Err(e) => Err(CannotVerify::read(name, &e)),
            };
            // The agent may have filled the tile meanwhile.
            if !there(&name)? && !there(&TileName::full(*part, size / WIDTH).to_string())? {
                let says =
                    format!("a checkpoint that entry {entry} knew rests on it, and it may go only once it is full");
                self.findings.add(Code::TileMissing, name, None, says);
            }
        }
        Ok(())
    }

    /// The log's size now: the fixed one, or more if the agent has appended since.
    fn now(&self, seen: &[u8]) -> Result<u64, CannotVerify> {
        let fixed = self.checkpoint.size;
        let Fetched::Bytes(now) = fetch(self.reader, CHECKPOINT, MAX_CHECKPOINT)? else { return Ok(fixed) };
        if now == seen {
            return Ok(fixed);
        }
        let opened = Checkpoint::open(&now, &self.checkpoint.origin, &self.order.keyring.checkpoint_keys());
        Ok(opened.map_or(fixed, |(newer, _)| newer.size.max(fixed)))
    }
}

fn key(name: &str) -> [u8; 16] {
    half(Digest::of(name.as_bytes()))
}

/// The hashes of the entries in an entry bundle; `None` when it does not end where an entry does.
fn leaf_hashes(mut bytes: &[u8]) -> Option<Vec<Digest>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (leaf, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        found.push(leaf_hash(leaf));
        bytes = rest;
    }
    Some(found)
}

/// The digest in the name of a bundle or document, if the name is of the layout.
fn subject_digest(name: &str) -> Option<Digest> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        ["document", kind, file] if !kind.is_empty() => file.strip_suffix(".json")?.parse().ok(),
        ["bundle", year, month, day, file] => {
            let (run, digest) = file.strip_suffix(".zip")?.rsplit_once('-')?;
            let (at, job) = run.strip_prefix("manual-").unwrap_or(run).split_once('-')?;
            let instant = chrono::NaiveDateTime::parse_from_str(at, "%Y%m%dT%H%M%SZ").ok()?.and_utc();
            let same = compact(instant) == at && layout::day(instant) == format!("{year}/{month}/{day}");
            let job: Option<layout::Job> = job.replace('+', "/").parse().ok();
            if !same || job.is_none() {
                return None;
            }
            digest.parse().ok()
        }
        _ => None,
    }
}
