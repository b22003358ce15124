//! Making a package: what is taken from the archive, and how it is found.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
};

use super::{ABOUT, About, FORMAT, LEAF, README, proof, sample, subject};
use crate::{
    digest::Digest,
    layout::{self, Anchor, CHECKPOINT, parse_anchor},
    log::{Checkpoint, LogError, MAX_CHECKPOINT, OfflineProof, TILE_WIDTH, entry_bundle},
    statement::{Statement, StatementError},
    store::Reader,
};

/// Takes an object of the package: its name, and its bytes in a stream.
pub type Put<'a> = dyn FnMut(&str, &mut dyn Read) -> io::Result<()> + 'a;

/// The most bytes of an anchor's object.
const MAX_ANCHOR: u64 = 1024 * 1024;

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The log.
    pub origin: String,
    /// The bundle or document that the entry is about.
    pub subject: String,
    /// The size of the newest checkpoint that it is proved in.
    pub size: u64,
    /// The sizes of the anchored checkpoints that it is proved in.
    pub anchored: Vec<u64>,
    /// What would show more and is not there, in words.
    pub left_out: Vec<String>,
}

/// An entry of which no package can be made.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The log does not give the proof.
    #[error("the log does not prove the entry; `verify` tells more")]
    Log(#[from] LogError),
    /// The entry's leaf cannot be read.
    #[error("entry {0} cannot be read")]
    Leaf(u64, #[source] StatementError),
    /// The entry names an object that is not its own.
    #[error("entry {0} names the object {1:?}, which is not what it is about; `verify` tells more")]
    Subject(u64, String),
    /// An object that the proof needs.
    #[error("{0} is not in the archive")]
    Missing(String),
    /// The archive refused or failed.
    #[error("{0} could not be read")]
    Read(String, #[source] io::Error),
    /// The package could not be written.
    #[error("{0} could not be put into the package")]
    Put(String, #[source] io::Error),
}

pub(super) struct Making<'a, 'p> {
    reader: &'a dyn Reader,
    put: &'a mut Put<'p>,
    made: Made,
    /// Of a package of several entries: which one is being made, and what is there already.
    several: Option<u64>,
    done: BTreeSet<String>,
}

/// Makes the package of entry `index`: gives each of its objects once. The objects are copied as they are; verifying is the reader's.
///
/// # Errors
/// An entry that the log does not have or does not prove, objects that are missing, and failures to read or write.
pub fn make<'p>(reader: &dyn Reader, index: u64, put: &mut Put<'p>) -> Result<Made, PackageError> {
    let (mut making, note) = Making::new(reader, put)?;
    let about = About { format: FORMAT.to_owned(), origin: making.made.origin.clone(), index };
    let about = serde_json::to_vec(&about).expect("strings and numbers are always JSON");
    making.bytes(ABOUT, &about)?;
    making.entry(index, &note)?;
    let readme = readme(&making.made.origin, index, &making.made.subject);
    making.bytes(README, readme.as_bytes())?;
    Ok(making.made)
}

/// The checkpoint of an archive, as it is now.
fn head(reader: &dyn Reader) -> Result<(Vec<u8>, Checkpoint), PackageError> {
    let missing = || PackageError::Missing(CHECKPOINT.to_owned());
    let note = read(reader, CHECKPOINT, MAX_CHECKPOINT)?.ok_or_else(missing)?;
    let head = Checkpoint::parse_unverified(&note)?;
    Ok((note, head))
}

impl<'a, 'p> Making<'a, 'p> {
    pub(super) fn new(reader: &'a dyn Reader, put: &'a mut Put<'p>) -> Result<(Self, Vec<u8>), PackageError> {
        let (note, Checkpoint { origin, size, .. }) = head(reader)?;
        let made = Made { origin, subject: String::new(), size, anchored: Vec::new(), left_out: Vec::new() };
        Ok((Self { reader, put, made, several: None, done: BTreeSet::new() }, note))
    }

    /// Puts one of several entries.
    pub(super) fn one_of(&mut self, index: u64, note: &[u8]) -> Result<(), PackageError> {
        self.several = Some(index);
        self.entry(index, note)
    }

    pub(super) fn made(self) -> Made {
        self.made
    }

    fn leaf_name(&self) -> String {
        self.several.map_or_else(|| LEAF.to_owned(), sample::leaf)
    }

    fn proof_name(&self, size: u64) -> String {
        self.several.map_or_else(|| proof(size), |index| sample::proof(index, size))
    }

    /// Puts an entry with what proves it.
    fn entry(&mut self, index: u64, note: &[u8]) -> Result<(), PackageError> {
        let size = self.made.size;
        if index >= size {
            return Err(LogError::Range { index, size }.into());
        }
        let first = index - index % TILE_WIDTH;
        let mut leaves = entry_bundle(self.reader, index / TILE_WIDTH, TILE_WIDTH.min(size - first))?;
        let leaf = leaves.swap_remove((index - first) as usize);
        let statement = Statement::from_bytes(&leaf).map_err(|e| PackageError::Leaf(index, e))?;
        let named = &statement.subject[0].name;
        let subject = subject(&statement)
            .filter(|own| own == named)
            .ok_or_else(|| PackageError::Subject(index, named.clone()))?;
        self.bytes(&self.leaf_name(), &leaf)?;
        self.prove(index, &leaf, note)?;
        self.object(&layout::seal(statement.entry.sealed_at, Statement::leaf_digest(&leaf)))?;
        self.object(&subject)?;
        let mut documents = Vec::new();
        list(self.reader, "document/keys/", &mut |name| documents.push(name.to_owned()))?;
        if let Some(plan) = statement.entry.plan {
            documents.push(layout::document("plan", plan));
        }
        for name in documents {
            self.object(&name)?;
        }
        self.anchors(index, &leaf, &statement)?;
        self.made.subject = subject;
        Ok(())
    }
}

impl Making<'_, '_> {
    pub(super) fn bytes(&mut self, name: &str, mut bytes: &[u8]) -> Result<(), PackageError> {
        (self.put)(name, &mut bytes).map_err(|e| PackageError::Put(name.to_owned(), e))
    }

    /// Copies an object of the archive.
    fn object(&mut self, name: &str) -> Result<(), PackageError> {
        if !self.done.insert(name.to_owned()) {
            return Ok(());
        }
        let object = self.reader.open(name).map_err(|e| PackageError::Read(name.to_owned(), e))?;
        let mut object = object.ok_or_else(|| PackageError::Missing(name.to_owned()))?;
        (self.put)(name, &mut object).map_err(|e| PackageError::Put(name.to_owned(), e))
    }

    /// Proves the leaf in a checkpoint.
    fn prove(&mut self, index: u64, leaf: &[u8], note: &[u8]) -> Result<u64, PackageError> {
        let proof_of = OfflineProof::make(self.reader, index, note)?;
        let head = Checkpoint::parse_unverified(note)?;
        proof_of.check(leaf, &head)?;
        self.bytes(&self.proof_name(head.size), &proof_of.to_bytes())?;
        Ok(head.size)
    }

    /// The anchors that bound the entry's time: the one that it names itself, and the first of each kind that covers it.
    fn anchors(&mut self, index: u64, leaf: &[u8], statement: &Statement) -> Result<(), PackageError> {
        let mut sizes: BTreeMap<u64, Vec<(Digest, Anchor)>> = BTreeMap::new();
        list(self.reader, "anchor/", &mut |name| {
            if let Some((size, digest, kind)) = parse_anchor(name) {
                sizes.entry(size).or_default().push((digest, kind));
            }
        })?;
        let has = |objects: &[(Digest, Anchor)], wanted| objects.iter().any(|(_, kind)| *kind == wanted);
        let mut wanted: Vec<u64> = Vec::new();
        if let Some(known) = statement.entry.anchor {
            let token = (known.token, Anchor::Token);
            match sizes.get(&known.size) {
                Some(objects) if objects.contains(&token) => wanted.push(known.size),
                _ => {
                    let name = layout::anchor(known.size, known.token, Anchor::Token);
                    self.made.left_out.push(format!("{name}, which the entry names, is not in the archive"));
                }
            }
        }
        let mut covering = Vec::new();
        for kind in [Anchor::Token, Anchor::Cosignature] {
            let first = sizes
                .range(index + 1..)
                .find(|(_, objects)| has(objects, kind) && has(objects, Anchor::Checkpoint))
                .map(|(size, _)| *size);
            covering.extend(first);
            if kind == Anchor::Token && first.is_none() {
                self.made.left_out.push("no timestamped checkpoint covers the entry yet".to_owned());
            }
        }
        wanted.extend(&covering);
        wanted.sort_unstable();
        wanted.dedup();
        for size in wanted {
            let mut proved = !covering.contains(&size) || size == self.made.size;
            for (digest, kind) in &sizes[&size] {
                let name = layout::anchor(size, *digest, *kind);
                let bytes = read(self.reader, &name, MAX_ANCHOR)?.ok_or_else(|| PackageError::Missing(name.clone()))?;
                if self.done.insert(name.clone()) {
                    self.bytes(&name, &bytes)?;
                }
                if *kind == Anchor::Checkpoint && !proved {
                    self.prove(index, leaf, &bytes)?;
                    proved = true;
                }
            }
            if covering.contains(&size) {
                self.made.anchored.push(size);
            }
        }
        Ok(())
    }
}

fn read(reader: &dyn Reader, name: &str, limit: u64) -> Result<Option<Vec<u8>>, PackageError> {
    reader.read(name, limit).map_err(|e| PackageError::Read(name.to_owned(), e))
}

fn list(reader: &dyn Reader, prefix: &str, each: &mut dyn FnMut(&str)) -> Result<(), PackageError> {
    let mut names = Vec::new();
    reader
        .list(prefix, &mut |name| names.push(name.to_owned()))
        .map_err(|e| PackageError::Read(prefix.to_owned(), e))?;
    names.sort_unstable();
    names.iter().for_each(|name| each(name));
    Ok(())
}

fn readme(origin: &str, index: u64, subject: &str) -> String {
    format!(
        "Entry {index} of the log {origin}, with what proves it.\n\
         \n\
         {subject}\n\
         \x20   what the entry is about\n\
         {LEAF}\n\
         \x20   the entry: an in-toto statement, byte for byte the leaf of the log\n\
         seal/\n\
         \x20   the signature over it: a Sigstore bundle\n\
         proof/\n\
         \x20   that it is in the log: C2SP tlog-proof, with the signed checkpoint\n\
         document/keys/\n\
         \x20   which keys may sign, signed by the owner's root key\n\
         document/plan/\n\
         \x20   the plan that was in force\n\
         anchor/\n\
         \x20   RFC 3161 timestamps and witnesses' signatures over checkpoints, where there are some\n\
         \n\
         evidenced verify THIS_FILE --trust SHA256:...\n\
         evidenced-verify THIS_FILE --trust SHA256:...\n\
         \x20   check all of it; the fingerprint of the owner's root key comes to you by another way.\n\
         \x20   One entry does not show that every slot has its receipt: for that, verify the archive.\n"
    )
}
