//! The ledger: an archive read back after it was verified, under the same checkpoint. What a finding names is not given as evidence, and
//! what is read again is checked again, so that what was verified is what is used.
//!
//! # Memory
//! One tile of the log's entries is held at a time, and as many small bundles as there are threads; a larger one is kept on disk.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read, Seek, SeekFrom, Write},
    ops::ControlFlow,
};

use rayon::prelude::*;
use signing::{
    bundle::{Bundle, BundleError, MAX_UNPACKED},
    digest::Digest,
    log::{LogError, RootHasher, TILE_WIDTH, entries},
    statement::Statement,
    store::Reader,
    time::Utc,
    verify::{Code, Finding, Verdict},
};

/// Bundles up to this length are read into memory.
const IN_MEMORY: u64 = 4 * 1024 * 1024;
/// The most bytes of a document.
const MAX_DOCUMENT: u64 = 64 * 1024 * 1024;

/// A verified archive.
pub struct Ledger<'a> {
    reader: &'a dyn Reader,
    verdict: &'a Verdict,
    size: u64,
    root: Digest,
    refused: BTreeMap<u64, &'a Finding>,
}

impl std::fmt::Debug for Ledger<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("origin", &self.verdict.origin).field("size", &self.size).finish_non_exhaustive()
    }
}

/// An entry of the log that no finding names.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// Its place, from 0.
    pub index: u64,
    /// What it says.
    pub statement: Statement,
    /// The digest of its bytes, which names its seal.
    pub leaf: Digest,
}

/// An entry of the log, with the finding that names it, where one does: then it is no evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'a> {
    /// What stands in the log.
    pub logged: Logged,
    /// What is wrong with it.
    pub refused: Option<&'a Finding>,
}

/// An archive of which nothing can be reported.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Verification could not tell what the log is.
    #[error("the log has no head that verified: {0}")]
    NoHead(String),
    /// The log's tiles.
    #[error("the log could not be read")]
    Log(#[from] LogError),
    /// Since verification, or by what answers differently each time.
    #[error("the archive changed while it was read: {0}")]
    Changed(String),
    /// More findings than are kept, so that it is not known which entries they name.
    #[error("verification has {0} findings, of which not all are listed: there is nothing left to rely on")]
    TooManyFindings(u64),
    /// An object that could not be read.
    #[error("{name} could not be read")]
    Read {
        /// Its name below the origin.
        name: String,
        /// What the system answered.
        source: std::io::Error,
    },
}

/// A bundle, or a document, that cannot be used although its entry is in order: gone after its retention, or damaged.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is not there.
    #[error("{0} is not in the archive")]
    Gone(String),
    /// Its bytes are not those that were logged.
    #[error("{name} was changed after it was sealed: its SHA-256 is {found}")]
    Altered {
        /// Its name.
        name: String,
        /// What it is.
        found: Digest,
    },
    /// It is longer than a document can be.
    #[error("{0} is longer than a document can be")]
    TooLong(String),
    /// It is no bundle.
    #[error("{name} cannot be opened")]
    Bundle {
        /// Its name.
        name: String,
        /// Why.
        source: BundleError,
    },
}

/// A bundle whose bytes are those that were logged.
pub type Opened = Bundle<Box<dyn Source>>;

/// Where a bundle is read from.
pub trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

impl<'a> Ledger<'a> {
    /// The archive as it was verified.
    ///
    /// # Errors
    /// A log without a verified head, and more findings than are listed.
    pub fn new(reader: &'a dyn Reader, verdict: &'a Verdict) -> Result<Self, LedgerError> {
        let head = &verdict.checkpoint;
        let root = match (head.root, head.root_agrees, &head.signed_by) {
            (Some(root), Some(true), Some(_)) => root,
            _ => return Err(LedgerError::NoHead(verdict.statement.clone())),
        };
        if verdict.findings_total > verdict.findings.len() as u64 {
            return Err(LedgerError::TooManyFindings(verdict.findings_total));
        }
        let mut refused = BTreeMap::new();
        for finding in &verdict.findings {
            // A slot without a receipt is found at the plan that names it: nothing is wrong with the plan.
            if let Some(index) = finding.index.filter(|_| finding.code != Code::SlotMissing) {
                refused.entry(index).or_insert(finding);
            }
        }
        Ok(Self { reader, verdict, size: head.size, root, refused })
    }

    /// The same archive as its log was at an earlier size. Reading it fails where the log did not have this root then.
    ///
    /// # Errors
    /// A size that the log has not reached.
    pub fn earlier(&self, size: u64, root: Digest) -> Result<Self, LedgerError> {
        if size > self.size {
            let says = format!("it has {} entries, and its state at {size} was asked for", self.size);
            return Err(LedgerError::Changed(says));
        }
        Ok(Self { size, root, refused: self.refused.clone(), reader: self.reader, verdict: self.verdict })
    }

    /// The log's root at [`Ledger::size`].
    pub fn root(&self) -> Digest {
        self.root
    }

    /// The trusted time by which the log had a document, by its entry; `None`: nothing shows one.
    pub fn not_after(&self, entry: u64) -> Option<Utc> {
        self.verdict.documents.iter().find(|document| document.index == entry)?.not_after
    }

    /// What verification found.
    pub fn verdict(&self) -> &'a Verdict {
        self.verdict
    }

    /// The archive's objects.
    pub fn reader(&self) -> &'a dyn Reader {
        self.reader
    }

    /// Entries of the log.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Why an entry is not given as evidence.
    pub fn refused(&self, index: u64) -> Option<&'a Finding> {
        self.refused.get(&index).copied()
    }

    /// Every entry that no finding names, in order.
    ///
    /// # Errors
    /// A log that cannot be read, or is no longer the one that was verified; what `each` fails with.
    pub fn entries<E: From<LedgerError>>(&self, mut each: impl FnMut(Logged) -> Result<(), E>) -> Result<(), E> {
        self.tiles(|tile| tile.into_iter().filter(|e| e.refused.is_none()).try_for_each(|e| each(e.logged)))
    }

    /// Every entry that no finding names, in order, with what `read` makes of those that it is given: that is done by all cores, some ahead.
    ///
    /// # Errors
    /// As [`Ledger::entries`]; the first failure of `read` in the log's order.
    pub fn read<T: Send, E: From<LedgerError> + Send>(
        &self,
        read: impl Fn(&Self, &Logged) -> Result<T, E> + Sync,
        mut each: impl FnMut(Logged, T) -> Result<(), E>,
    ) -> Result<(), E>
    where
        Self: Sync,
    {
        self.read_all(
            |entry| entry.refused.is_none(),
            |ledger, entry, wanted| wanted.then(|| read(ledger, &entry.logged)).transpose(),
            |entry, made| made.map_or(Ok(()), |made| each(entry.logged, made)),
        )
    }

    /// Every entry that can be read, also those that a finding names: `prepare` is asked in order, somewhat ahead; `read` is done by all
    /// cores; `each` takes what was made, in order.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub fn read_all<P: Send, T: Send, E: From<LedgerError> + Send>(
        &self,
        mut prepare: impl FnMut(&Entry<'a>) -> P,
        read: impl Fn(&Self, &Entry<'a>, P) -> Result<T, E> + Sync,
        mut each: impl FnMut(Entry<'a>, T) -> Result<(), E>,
    ) -> Result<(), E>
    where
        Self: Sync,
    {
        self.tiles(|tile| {
            let mut tile = tile.into_iter();
            loop {
                let some: Vec<Entry<'a>> = tile.by_ref().take(8 * rayon::current_num_threads()).collect();
                if some.is_empty() {
                    return Ok(());
                }
                let prepared: Vec<P> = some.iter().map(&mut prepare).collect();
                let made: Vec<Result<T, E>> =
                    some.par_iter().zip(prepared).map(|(entry, prepared)| read(self, entry, prepared)).collect();
                for (entry, made) in some.into_iter().zip(made) {
                    each(entry, made?)?;
                }
            }
        })
    }

    fn tiles<E: From<LedgerError>>(&self, mut each: impl FnMut(Vec<Entry<'a>>) -> Result<(), E>) -> Result<(), E> {
        let mut hasher = RootHasher::new();
        let mut from = 0;
        while from < self.size {
            let to = self.size.min(from + TILE_WIDTH);
            let mut tile = Vec::with_capacity(TILE_WIDTH as usize);
            let mut malformed = None;
            let read = entries(self.reader, from, to, &mut |index, leaf| {
                hasher.push(leaf);
                let refused = self.refused(index);
                match Statement::from_bytes(leaf) {
                    Ok(statement) => {
                        let logged = Logged { index, statement, leaf: Statement::leaf_digest(leaf) };
                        tile.push(Entry { logged, refused });
                    }
                    Err(error) if refused.is_none() => malformed = Some(format!("entry {index}: {error}")),
                    Err(_) => {}
                }
                ControlFlow::Continue(())
            });
            read.map_err(LedgerError::Log)?;
            if let Some(what) = malformed {
                return Err(LedgerError::Changed(what).into());
            }
            each(tile)?;
            from = to;
        }
        match hasher.root() == self.root {
            true => Ok(()),
            false => {
                Err(LedgerError::Changed("its entries no longer hash to the root that was verified".into()).into())
            }
        }
    }

    /// The document that an entry names.
    ///
    /// # Errors
    /// [`LedgerError::Read`] for what could not be asked; what is gone or changed is the inner error.
    pub fn document(&self, statement: &Statement) -> Result<Result<Vec<u8>, Unusable>, LedgerError> {
        let subject = &statement.subject[0];
        self.named(&subject.name, subject.digest.sha256)
    }

    /// The document of this name and digest.
    ///
    /// # Errors
    /// As [`Ledger::document`].
    pub fn named(&self, name: &str, digest: Digest) -> Result<Result<Vec<u8>, Unusable>, LedgerError> {
        let read = |source| LedgerError::Read { name: name.to_owned(), source };
        let Some(object) = self.reader.open(name).map_err(read)? else {
            return Ok(Err(Unusable::Gone(name.to_owned())));
        };
        let mut bytes = Vec::new();
        object.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Ok(Err(Unusable::TooLong(name.to_owned())));
        }
        let found = Digest::of(&bytes);
        Ok(match found == digest {
            true => Ok(bytes),
            false => Err(Unusable::Altered { name: name.to_owned(), found }),
        })
    }

    /// The bundle of a receipt: [`bundle`].
    ///
    /// # Errors
    /// As [`Ledger::document`].
    pub fn bundle(&self, statement: &Statement) -> Result<Result<Opened, Unusable>, LedgerError> {
        bundle(self.reader, statement)
    }
}

/// The bundle of a receipt, from an archive of which nothing else need be known. It is read once, and what is checked is what is given.
///
/// # Errors
/// As [`Ledger::document`].
pub fn bundle(reader: &dyn Reader, statement: &Statement) -> Result<Result<Opened, Unusable>, LedgerError> {
    let subject = &statement.subject[0];
    let name = || subject.name.clone();
    let read = |source| LedgerError::Read { name: name(), source };
    let Some(mut object) = reader.open(&subject.name).map_err(read)? else {
        return Ok(Err(Unusable::Gone(name())));
    };
    let mut bytes = Vec::new();
    object.by_ref().take(IN_MEMORY).read_to_end(&mut bytes).map_err(read)?;
    let (found, source): (Digest, Box<dyn Source>) = if (bytes.len() as u64) < IN_MEMORY {
        (Digest::of(&bytes), Box::new(Cursor::new(bytes)))
    } else {
        let mut copy = tempfile::tempfile().map_err(read)?;
        copy.write_all(&bytes).map_err(read)?;
        drop(bytes);
        std::io::copy(&mut object, &mut copy).map_err(read)?;
        copy.seek(SeekFrom::Start(0)).map_err(read)?;
        let (found, _) = Digest::read(&mut copy).map_err(read)?;
        (found, Box::new(copy))
    };
    if found != subject.digest.sha256 {
        return Ok(Err(Unusable::Altered { name: name(), found }));
    }
    Ok(Bundle::open(source, MAX_UNPACKED).map_err(|source| Unusable::Bundle { name: name(), source }))
}
