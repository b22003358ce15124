//! The read side of the archive: for derived jobs logged bundles of other jobs, each proved by its seal and its digest before it is used; for
//! jobs that read events how far they were read. Nothing here writes, and nothing that is still in the spool is seen.

use std::io::{Read, Seek, SeekFrom, Write};

use chrono::TimeDelta;
use collectors::contract::{FoundBundle, Input, InputBundle, Pick, Population};
use signing::{
    bundle::{Bundle, MAX_UNPACKED, RUN_FACTS, RunFacts},
    digest::Digest,
    keys::{KeySet, Use},
    layout::{self, Job},
    log::{TILE_WIDTH, entries},
    seal::{MAX_SEAL, Seal},
    statement::{Body, Outcome, Receipt, Statement, Window},
    time::{Utc, rfc3339},
};

use crate::archive::SharedReader;

/// The most bytes of one kind's records that a derived job is given.
const MAX_RECORDS: u64 = 256 * 1024 * 1024;
/// By how much the clock may have been wrong when a receipt was sealed, and it is found all the same.
const CLOCK_MARGIN: TimeDelta = TimeDelta::days(2);

/// The log of one origin up to a checkpoint that the agent itself published.
#[derive(Clone)]
pub struct Ledger {
    reader: SharedReader,
    keys: KeySet,
    size: u64,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("origin", &self.keys.origin).field("size", &self.size).finish_non_exhaustive()
    }
}

/// A receipt with the leaf that carries it.
struct Found {
    leaf: Vec<u8>,
    statement: Statement,
    receipt: Receipt,
}

impl Ledger {
    /// The first `size` leaves.
    pub fn new(reader: SharedReader, keys: KeySet, size: u64) -> Self {
        Self { reader, keys, size }
    }

    /// Finds the inputs of a derived job on `source`. Each is a bundle, or the reason why there is none: never an error, since a missing
    /// input is unknown and not the end of the run. It blocks on the archive.
    pub fn inputs(&self, inputs: &[Input], source: &str, now: Utc) -> Vec<InputBundle> {
        let find = |input: &Input| InputBundle { name: input.name.clone(), found: self.find(input, source, now) };
        inputs.iter().map(find).collect()
    }

    fn find(&self, input: &Input, source: &str, now: Utc) -> Result<FoundBundle, String> {
        let job = Job::new(&input.collector, source).map_err(|e| e.to_string())?;
        let max_age = TimeDelta::from_std(input.max_age).unwrap_or(TimeDelta::MAX);
        let oldest = now.checked_sub_signed(max_age).unwrap_or(Utc::MIN_UTC);
        let Some(found) = self.pick(&job, input.pick, oldest)? else {
            let what = match input.pick {
                Pick::Newest => "no usable bundle",
                Pick::DayBefore => "no usable bundle of an earlier day than the newest one's",
            };
            return Err(format!("{what} of {job} that ended at {} or later is in the log", rfc3339(oldest)));
        };
        if found.receipt.ended_at < oldest {
            return Err(format!(
                "the bundle of {job} in the log ended at {}; one older than {} is stale",
                rfc3339(found.receipt.ended_at),
                rfc3339(oldest)
            ));
        }
        self.check_seal(&found)?;
        self.open(&found, &input.kind)
    }

    /// The window of the newest run of the job that read events, whole or not; `None` where the log has no such run. It blocks on the
    /// archive.
    ///
    /// # Errors
    /// Why it cannot be known: a log that cannot be read, a receipt that the agent did not seal.
    pub fn window(&self, job: &Job) -> Result<Option<Window>, String> {
        let Some(found) = self.search(job, Utc::MIN_UTC, &mut |receipt| receipt.window.is_some())? else {
            return Ok(None);
        };
        self.check_seal(&found)?;
        Ok(found.receipt.window)
    }

    fn pick(&self, job: &Job, pick: Pick, oldest: Utc) -> Result<Option<Found>, String> {
        let give_up = oldest.checked_sub_signed(CLOCK_MARGIN).unwrap_or(Utc::MIN_UTC);
        let mut newest_day = None;
        self.search(job, give_up, &mut |receipt| {
            let day = receipt.ended_at.date_naive();
            receipt.outcome != Outcome::Failed
                && match pick {
                    Pick::Newest => true,
                    Pick::DayBefore => day < *newest_day.get_or_insert(day),
                }
        })
    }

    /// Goes through the job's receipts from the log's end to the first one that is wanted; or until everything was sealed before `give_up`.
    fn search(
        &self,
        job: &Job,
        give_up: Utc,
        is_wanted: &mut dyn FnMut(&Receipt) -> bool,
    ) -> Result<Option<Found>, String> {
        let mut end = self.size;
        while end > 0 {
            let start = (end - 1) / TILE_WIDTH * TILE_WIDTH;
            let mut receipts = Vec::new();
            let mut newest = Utc::MIN_UTC;
            let read = entries(&*self.reader, start, self.size, &mut |index, leaf| {
                if index >= end {
                    return std::ops::ControlFlow::Break(());
                }
                // A leaf of a kind that this agent does not know is no receipt of a job that it knows.
                if let Ok(statement) = Statement::from_bytes(leaf) {
                    newest = newest.max(statement.entry.sealed_at);
                    if let Body::Receipt(receipt) = &statement.body
                        && receipt.job == *job
                    {
                        let receipt = receipt.clone();
                        receipts.push(Found { leaf: leaf.to_vec(), statement, receipt });
                    }
                }
                std::ops::ControlFlow::Continue(())
            });
            read.map_err(|e| format!("the log could not be read back: {e}"))?;
            if let Some(found) = receipts.into_iter().rev().find(|found| is_wanted(&found.receipt)) {
                return Ok(Some(found));
            }
            if newest < give_up {
                return Ok(None);
            }
            end = start;
        }
        Ok(None)
    }

    /// The leaf was read from the archive, which is trusted for nothing: its seal says whether the agent made it.
    fn check_seal(&self, found: &Found) -> Result<(), String> {
        let entry = &found.statement.entry;
        let name = layout::seal(entry.sealed_at, Statement::leaf_digest(&found.leaf));
        let bytes = self.reader.read(&name, MAX_SEAL).map_err(|e| format!("{name} could not be read: {e}"))?;
        let seal = Seal::from_bytes(&bytes.ok_or_else(|| format!("{name} is gone from the archive"))?)
            .map_err(|e| format!("{name}: {e}"))?;
        let key = self.keys.key(&entry.key_id, Use::Receipts, entry.sealed_at).map_err(|e| format!("{name}: {e}"))?;
        seal.verify(&key).map_err(|e| format!("{name}: {e}"))?;
        if seal.payload != found.leaf || entry.origin != self.keys.origin {
            return Err(format!("{name} seals something else than the log's leaf"));
        }
        Ok(())
    }

    fn open(&self, found: &Found, kind: &str) -> Result<FoundBundle, String> {
        let subject = &found.statement.subject[0];
        let (name, wanted) = (&subject.name, subject.digest.sha256);
        let unread = |e: &dyn std::fmt::Display| format!("{name} could not be read: {e}");
        let mut object = self
            .reader
            .open(name)
            .map_err(|e| unread(&e))?
            .ok_or_else(|| format!("{name} is gone from the archive"))?;
        // Read once, into a file without a name, so that what is checked is what is used.
        let mut copy = tempfile::tempfile().map_err(|e| unread(&e))?;
        let mut block = vec![0; 64 * 1024];
        loop {
            match object.read(&mut block).map_err(|e| unread(&e))? {
                0 => break,
                n => copy.write_all(&block[..n]).map_err(|e| unread(&e))?,
            }
        }
        copy.seek(SeekFrom::Start(0)).map_err(|e| unread(&e))?;
        let (digest, _) = Digest::read(&mut copy).map_err(|e| unread(&e))?;
        if digest != wanted {
            return Err(format!("{name} was changed after it was sealed: its SHA-256 is {digest}"));
        }
        let mut bundle = Bundle::open(copy, MAX_UNPACKED).map_err(|e| unread(&e))?;
        let facts = bundle.file(RUN_FACTS).map_err(|e| unread(&e))?;
        let facts: RunFacts = serde_json::from_slice(&facts).map_err(|e| unread(&e))?;
        let population = match facts.populations.get(kind) {
            None => Population::Unread(format!("{name} says nothing of {kind}")),
            Some(signing::bundle::Population::Whole) => Population::Whole,
            Some(signing::bundle::Population::Cut(why)) => Population::Cut(why.clone()),
            Some(signing::bundle::Population::Unread(why)) => Population::Unread(why.clone()),
            Some(signing::bundle::Population::Absent(why)) => Population::Absent(why.clone()),
        };
        let file = format!("records/{kind}.jsonl");
        let records = match bundle.length(&file) {
            None => Vec::new(),
            Some(length) if length > MAX_RECORDS => {
                return Err(format!("{file} of {name} has {length} bytes; at most {MAX_RECORDS} are read"));
            }
            Some(_) => bundle.file(&file).map_err(|e| unread(&e))?,
        };
        let outcome = match found.receipt.outcome {
            Outcome::Collected => "collected",
            Outcome::Partial => "partial",
            Outcome::Failed => "failed",
        };
        Ok(FoundBundle {
            bundle: name.clone(),
            sha256: wanted.to_string(),
            ended_at: found.receipt.ended_at,
            outcome: outcome.to_owned(),
            records,
            population,
        })
    }
}
