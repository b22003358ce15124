//! The spine: spool → seal → upload → append → settle. Each step takes the value that the step before made, no module imports a later
//! one, and nothing but the last step deletes. First try, retry and restart are the same loop over what is in the spool; there is no
//! database: the log in the archive is the state, and `state_dir` keeps the spool and a cache.
//!
//! What goes wrong, and what becomes of it:
//! - A write, the store or the key service fails: the entry stays in the spool, [`Pipeline::drain`] reports it, the next one tries again.
//! - The archive holds other bytes under an entry's name (alarm): the entry is *held* in the spool, with the later ones of its job, which
//!   must come after it, and the later plans, whose watermarks would speak for it. Everything else goes on. Each drain names it.
//! - A slot has a receipt already: the bundle is moved to `state_dir/quarantine`, loudly, and never logged.
//! - Another agent appended to the log, or the archive is older than what this agent published: nothing more is appended, since it would
//!   fork the log. Spooling goes on.

mod append;
mod entry;
mod recover;
mod seal;
mod spool;
mod upload;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::TimeDelta;
use signing::{
    bundle::{self, BundleError, RunFacts},
    digest::Digest,
    keys::{KeyRefusal, SignError},
    layout::Job,
    log::LogError,
    plan::Plan,
    slots::Coverage,
    statement::{Body as Said, Counts, Entry, Known, Missed, Statement, StatementError},
    time::Utc,
};
use tokio::sync::watch;

use crate::{
    archive::{Archive, ArchiveError},
    clock::Clock,
    durable::Disk,
    keystore::Keys,
    ledger::Ledger,
};
use append::{Log, MAX_BATCH, Whose};
use spool::{BUNDLE, DOCUMENT, PAYLOAD, Spool};

/// What a pipeline works with.
#[derive(Clone)]
pub struct Options {
    /// Holds the spool, the quarantine and the cache. One process at a time uses it, which its opener sees to.
    pub state_dir: PathBuf,
    /// Where sealed objects go.
    pub archive: Arc<dyn Archive>,
    /// The log.
    pub origin: String,
    /// What it signs with.
    pub keys: Keys,
    /// Tells when something is sealed.
    pub clock: Arc<dyn Clock>,
    /// How `state_dir` is written.
    pub disk: Disk,
    /// This start's random id.
    pub instance: String,
}

use Options as Core;

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("state_dir", &self.state_dir)
            .field("archive", &self.archive.place())
            .field("origin", &self.origin)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// Why the pipeline could not do what it was asked for. What had been spooled before is where it was.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The agent's own disk. After a failed `spool_…` the work is still the caller's: call again once there is room; if the entry was
    /// spooled all the same, that answers [`Spooled::Already`].
    #[error("cannot {action} {}; check the room and the rights there", path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The archive's answer.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The log in the archive cannot be read or continued.
    #[error("{place}: the log cannot be read; run `evidenced verify` to see what is damaged")]
    Log {
        /// The archive.
        place: String,
        /// What is wrong.
        source: LogError,
    },
    /// The new checkpoint cannot be made.
    #[error("cannot grow the log")]
    Grow(#[from] LogError),
    /// The work directory is no bundle.
    #[error("the run's work directory cannot be a bundle")]
    Bundle(#[from] BundleError),
    /// The statement cannot be written.
    #[error("cannot make the statement")]
    Statement(#[from] StatementError),
    /// The key service is away or refuses.
    #[error("cannot sign; what is spooled waits and is signed once the key answers")]
    Sign(#[from] SignError),
    /// The key may not be used.
    #[error("{entry} cannot be signed; it waits until `keys.json` allows it (evidence is not lost)")]
    Key {
        /// What was to be signed.
        entry: String,
        /// Why.
        source: KeyRefusal,
    },
    /// The entry names a key that this agent does not have.
    #[error(
        "{entry} names the key {key_id}, which this agent does not hold: start it once with that key to log what waits"
    )]
    KeyGone {
        /// The entry.
        entry: String,
        /// Its key.
        key_id: String,
    },
    /// A damaged entry of the spool.
    #[error("the spool's entry {entry} is damaged")]
    Entry {
        /// The entry.
        entry: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An object of the archive is not what the log says.
    #[error("{place}: {name}: {detail}; put it back from a copy, and run `evidenced verify`")]
    Damaged {
        /// The archive.
        place: String,
        /// The object.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// Somebody else appends to this log.
    #[error(
        "{place}: a second agent appends to this log: {detail}. This one appends no more, and keeps what it has in the spool. Stop one of \
         them, then start the other again"
    )]
    SecondAgent {
        /// The archive.
        place: String,
        /// What it did.
        detail: String,
    },
    /// The archive is older than, or another than, what this agent has published.
    #[error(
        "{place}: {detail}. Going on would fork the log, which every auditor with a later checkpoint would see. Put back the newest copy of \
         the archive; if there is none, start a new origin"
    )]
    Older {
        /// The archive.
        place: String,
        /// How it is known.
        detail: String,
    },
    /// The pipeline has stopped appending.
    #[error("nothing more is appended until a restart: {0}")]
    Stopped(String),
    /// A request that does not fit the pipeline's state.
    #[error("{0}")]
    Refused(String),
}

impl PipelineError {
    /// Whether it is the agent's disk that has no room.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Disk { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// What became of something that was to be spooled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spooled {
    /// It is in the spool, durably; its leaf has this digest.
    New(Digest),
    /// The spool holds it, or another receipt for the slot, already: nothing was added. So a call that failed can be made again.
    Already,
    /// The slot has another receipt, or no plan names it: the bundle was kept here, and is never logged.
    Quarantined(PathBuf),
}

/// What a drain did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Drained {
    /// Leaves that entered the log.
    pub logged: u64,
    /// Entries that are still in the spool.
    pub pending: usize,
    /// Those of them that need a person, and why.
    pub held: Vec<Held>,
}

/// An entry that cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its directory.
    pub entry: PathBuf,
    /// Its job; `None` for a document.
    pub job: Option<Job>,
    /// Why.
    pub reason: String,
}

/// How it stands, for a status page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The newest checkpoint.
    pub checkpoint: Option<Known>,
    /// Entries in the spool.
    pub pending: usize,
    /// Entries that need a person.
    pub held: usize,
    /// What the last drain failed with, with all its causes.
    pub last_error: Option<String>,
    /// When leaves last entered the log.
    pub logged_at: Option<Utc>,
}

/// What a new plan is made from.
#[derive(Debug)]
pub struct PlanBasis<'a> {
    /// The plan's instant of sealing: never before the previous plan's, and after every slot that has a receipt.
    pub sealed_at: Utc,
    /// The plan before.
    pub previous: Option<Digest>,
    /// Every receipt that comes before this plan in the log: [`Coverage::watermark`] says what the plan may say.
    pub coverage: &'a Coverage,
}

/// The way of evidence into the log, for one origin.
pub struct Pipeline(Arc<Inner>);

struct Inner {
    core: Core,
    spool: Spool,
    /// Held while an entry is made, so that sequence, slots and plans agree.
    spooling: Mutex<()>,
    state: Mutex<State>,
    log: tokio::sync::Mutex<Log>,
    status: watch::Sender<Status>,
}

/// What the log says, together with what is in the spool, in that order.
#[derive(Debug, Default)]
struct State {
    coverage: Coverage,
    /// Leaves and pending entries fed so far.
    next_index: u64,
    plan: Option<(Digest, Plan)>,
    last_sealed: Option<Utc>,
    /// The latest slot of any job that has a receipt.
    last_slot: Option<Utc>,
    known: Option<Known>,
    /// Subjects of pending receipts and documents.
    subjects: BTreeSet<String>,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pipeline").field(&self.0.core).finish()
    }
}

impl Pipeline {
    /// Opens it: finishes an append that was decided, settles what is logged, adopts seals that have no leaf, and, where the log does
    /// not have this `keys.json` yet, spools it as the first entry. It needs the archive; a caller whose archive is away tries again.
    ///
    /// # Errors
    /// An archive that cannot be read, that somebody else signed, or that is older than what this agent knows.
    pub async fn open(options: Options) -> Result<Self, PipelineError> {
        let spool = blocking({
            let (state_dir, disk) = (options.state_dir.clone(), options.disk.clone());
            move || Spool::open(&state_dir, disk)
        })
        .await?;
        let (log, state, spool) = recover::recover(&options, spool).await?;
        let status = Status { checkpoint: log.known(), pending: spool.pending()?.len(), ..Status::default() };
        let inner = Inner {
            spool,
            spooling: Mutex::new(()),
            state: Mutex::new(state),
            log: tokio::sync::Mutex::new(log),
            status: watch::Sender::new(status),
            core: options,
        };
        let pipeline = Self(Arc::new(inner));
        pipeline.spool_keys().await?;
        Ok(pipeline)
    }

    /// Builds the bundle of a run from its work directory and spools it with its receipt. The directory holds every file of the bundle
    /// but `SHA256SUMS`, `run.json` with these `facts` among them; it is only read, and stays the caller's. `checks` are the counts of
    /// each check. The runs of a job are to be spooled in slot order.
    ///
    /// # Errors
    /// The disk's (then call again once there is room), and a work directory that is no bundle.
    ///
    /// # Cancel safety
    /// A dropped call may still finish; the next one for the slot then says [`Spooled::Already`].
    pub async fn spool_run(
        &self,
        work: &Path,
        facts: &RunFacts,
        checks: &BTreeMap<String, Counts>,
    ) -> Result<Spooled, PipelineError> {
        let (inner, work, facts, checks) = (self.0.clone(), work.to_owned(), facts.clone(), checks.clone());
        blocking(move || inner.spool_run(&work, &facts, &checks)).await
    }

    /// Spools the receipt of slots that no run fills. `plan` is the one that they were due under.
    ///
    /// # Errors
    /// The disk's.
    ///
    /// # Cancel safety
    /// As [`Pipeline::spool_run`].
    pub async fn spool_missed(&self, plan: Digest, missed: Missed) -> Result<Spooled, PipelineError> {
        let inner = self.0.clone();
        blocking(move || inner.spool_missed(plan, missed)).await
    }

    /// Makes a plan from what is known at its sealing, and spools it. Its `sealed_at` and `previous` are set here. `make` runs under the
    /// pipeline's lock and must not call it.
    ///
    /// # Errors
    /// The disk's.
    ///
    /// # Cancel safety
    /// A dropped call may still finish: see [`Pipeline::plan`].
    pub async fn spool_plan(
        &self,
        make: impl FnOnce(PlanBasis<'_>) -> Plan + Send + 'static,
    ) -> Result<Digest, PipelineError> {
        let inner = self.0.clone();
        blocking(move || inner.spool_plan(make)).await
    }

    /// Spools a document of another kind than `plan`.
    ///
    /// # Errors
    /// The disk's.
    pub async fn spool_document(&self, kind: &str, reason: &str, bytes: Vec<u8>) -> Result<Digest, PipelineError> {
        if kind == "plan" {
            return Err(PipelineError::Refused("a plan is spooled by spool_plan".to_owned()));
        }
        let (inner, kind, reason) = (self.0.clone(), kind.to_owned(), reason.to_owned());
        blocking(move || inner.spool_document(&kind, reason, &bytes)).await
    }

    /// Takes everything in the spool on its way: seals, uploads and appends it in order, and removes what is logged.
    ///
    /// # Errors
    /// The first failure that kept entries in the spool; what could be logged before it was.
    ///
    /// # Cancel safety
    /// It may be dropped anywhere; the next call goes on from there.
    pub async fn drain(&self) -> Result<Drained, PipelineError> {
        let drained = self.0.drain().await;
        let pending = self.0.spool.pending().map_or(0, |pending| pending.len());
        let known = self.0.state().known;
        self.0.status.send_modify(|status| {
            if status.checkpoint != known {
                status.logged_at = Some(self.0.core.clock.now());
            }
            status.checkpoint = known;
            status.pending = pending;
            status.held = drained.as_ref().map_or(status.held, |d| d.held.len());
            status.last_error = drained.as_ref().err().map(chain);
        });
        drained.map(|drained| Drained { pending, ..drained })
    }

    /// The newest checkpoint.
    pub fn checkpoint(&self) -> Option<Known> {
        self.0.state().known
    }

    /// The newest plan, in the log or in the spool.
    pub fn plan(&self) -> Option<(Digest, Plan)> {
        self.0.state().plan.clone()
    }

    /// Looks at the slots: which are due, which have a receipt in the log or in the spool.
    pub fn coverage<T>(&self, look: impl FnOnce(&Coverage) -> T) -> T {
        look(&self.0.state().coverage)
    }

    /// The newest instant at which anything was sealed, as far as the log was read: a clock before it was set back.
    pub fn last_sealed(&self) -> Option<Utc> {
        self.0.state().last_sealed
    }

    /// How many entries are in the spool.
    ///
    /// # Errors
    /// The disk's.
    pub fn pending(&self) -> Result<usize, PipelineError> {
        self.0.spool.pending().map(|pending| pending.len())
    }

    /// How it stands, now and after each drain.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.0.status.subscribe()
    }

    /// The log up to the newest checkpoint, read back.
    pub fn ledger(&self) -> Ledger {
        let size = self.checkpoint().map_or(0, |known| known.size);
        Ledger::new(self.0.core.archive.reader(), self.0.core.keys.set.clone(), size)
    }

    /// What it works with.
    pub fn options(&self) -> &Options {
        &self.0.core
    }

    /// A document is uploaded just before its leaf is appended, and a seal without a leaf is adopted at the start: so where the archive
    /// or the spool has it, it is or will be logged.
    async fn spool_keys(&self) -> Result<(), PipelineError> {
        let core = &self.0.core;
        let digest = Digest::of(&core.keys.document);
        let name = signing::layout::document("keys", digest);
        if self.0.state().subjects.contains(&name) || core.archive.digest(&name).await? == Some(digest) {
            return Ok(());
        }
        let reason = format!("revision {}", core.keys.set.revision);
        self.spool_document("keys", &reason, core.keys.document.clone()).await.map(|_| ())
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instant for a sealing: what the clock says, but never before the key was valid, since that could never be signed.
    fn now(&self) -> Utc {
        let id = self.core.keys.receipts.public().fingerprint();
        let valid = self.core.keys.set.keys.iter().find(|key| key.key_id == id).map(|key| key.valid.from);
        valid.map_or(self.core.clock.now(), |from| from.max(self.core.clock.now()))
    }

    fn entry(&self, plan: Option<Digest>, sealed_at: Utc) -> Entry {
        Entry {
            origin: self.core.origin.clone(),
            key_id: self.core.keys.receipts.public().fingerprint(),
            plan,
            sealed_at,
            checkpoint: self.state().known,
            instance: self.core.instance.clone(),
        }
    }

    fn spool_run(
        &self,
        work: &Path,
        facts: &RunFacts,
        checks: &BTreeMap<String, Counts>,
    ) -> Result<Spooled, PipelineError> {
        let failed = self.spool.failed("write a bundle into");
        let staged = self.spool.stage()?;
        let build = || -> Result<_, PipelineError> {
            let mut unfit = None;
            let written = self.spool.disk.stage(&staged.join(BUNDLE), |file| {
                let mut file = io::BufWriter::new(file);
                let written = bundle::write(work, &mut file).map_err(|e| match e {
                    BundleError::Io { source, .. } => source,
                    other => {
                        unfit = Some(other);
                        io::ErrorKind::InvalidInput.into()
                    }
                })?;
                file.flush().map(|()| written)
            });
            let written = match (written, unfit) {
                (_, Some(unfit)) => return Err(unfit.into()),
                (written, None) => written.map_err(&failed)?,
            };
            let digest = |path: &Path| Digest::read(&mut std::fs::File::open(path)?).map(|(digest, _)| digest);
            let bundle = digest(&staged.join(BUNDLE)).map_err(&failed)?;
            let results = work.join("results.json");
            let results = digest(&results).map_err(|source| PipelineError::Disk {
                action: "read",
                path: results.clone(),
                source,
            })?;
            Ok((bundle, written, results))
        };
        let (bundle, written, results) = build().inspect_err(|_| self.spool.disk.discard(&staged))?;
        self.publish(&staged, Some(facts.job.clone()), facts.slot, || {
            let entry = self.entry(Some(facts.plan), self.now());
            Ok((entry::receipt(entry, facts, bundle, &written, results, checks), None))
        })
    }

    fn spool_missed(&self, plan: Digest, missed: Missed) -> Result<Spooled, PipelineError> {
        let staged = self.spool.stage()?;
        self.publish(&staged, Some(missed.job.clone()), Some(missed.first), || {
            Ok((entry::missed(self.entry(Some(plan), self.now()), plan, missed), None))
        })
    }

    fn spool_document(&self, kind: &str, reason: String, bytes: &[u8]) -> Result<Digest, PipelineError> {
        let digest = Digest::of(bytes);
        let staged = self.spool.stage()?;
        let failed = self.spool.failed("write a document into");
        self.spool
            .disk
            .stage(&staged.join(DOCUMENT), |file| file.write_all(bytes))
            .map_err(failed)
            .inspect_err(|_| self.spool.disk.discard(&staged))?;
        self.publish(&staged, None, None, || {
            let plan = self.state().plan.as_ref().map(|(digest, _)| *digest);
            Ok((entry::document(self.entry(plan, self.now()), kind, reason, digest), None))
        })?;
        Ok(digest)
    }

    fn spool_plan(&self, make: impl FnOnce(PlanBasis<'_>) -> Plan) -> Result<Digest, PipelineError> {
        let staged = self.spool.stage()?;
        let failed = self.spool.failed("write a plan into");
        let mut made = None;
        self.publish(&staged, None, None, || {
            let (plan, previous) = {
                let state = self.state();
                let previous = state.plan.as_ref().map(|(digest, _)| *digest);
                let now = self.now();
                // A plan is in force from its sealing. With the clock set back it could name slots again that have a receipt under
                // the plan before; so it begins after them.
                let after = state.last_slot.map(|slot| slot + TimeDelta::milliseconds(1));
                let before = state.plan.as_ref().map(|(_, plan)| plan.sealed_at);
                let sealed_at = now.max(after.unwrap_or(now)).max(before.unwrap_or(now));
                let plan = make(PlanBasis { sealed_at, previous, coverage: &state.coverage });
                (Plan { sealed_at, previous, ..plan }, previous)
            };
            let bytes = serde_json::to_vec(&plan).expect("a plan is always JSON");
            self.spool.disk.stage(&staged.join(DOCUMENT), |file| file.write_all(&bytes)).map_err(failed)?;
            let digest = Digest::of(&bytes);
            made = Some(digest);
            let entry = self.entry(previous, plan.sealed_at);
            Ok((entry::document(entry, "plan", plan.reason.clone(), digest), Some(plan)))
        })?;
        Ok(made.expect("set by the closure that succeeded"))
    }

    /// Gives a staged directory its payload, its number, and its place in what is known. Without a slot nothing is quarantined.
    fn publish(
        &self,
        staged: &Path,
        job: Option<Job>,
        slot: Option<Utc>,
        make: impl FnOnce() -> Result<(Statement, Option<Plan>), PipelineError>,
    ) -> Result<Spooled, PipelineError> {
        let _one_at_a_time = self.spooling.lock().unwrap_or_else(PoisonError::into_inner);
        let prepared = (|| {
            self.spool.settle_names()?;
            let (statement, plan) = make()?;
            let (statement, payload) = entry::fit(statement)?;
            let failed = self.spool.failed("write a payload into");
            self.spool.disk.stage(&staged.join(PAYLOAD), |file| file.write_all(&payload)).map_err(failed)?;
            Ok::<_, PipelineError>((statement, payload, plan, self.spool.next()?))
        })();
        let (statement, payload, plan, sequence) = prepared.inspect_err(|_| self.spool.disk.discard(staged))?;
        let leaf = Statement::leaf_digest(&payload);
        {
            let state = self.state();
            if !matches!(statement.body, Said::Missed(_)) && state.subjects.contains(&statement.subject[0].name) {
                self.spool.disk.discard(staged);
                return Ok(Spooled::Already);
            }
            if let (Some(job), Some(slot)) = (&job, slot)
                && !is_due(&state.coverage, job, slot)
            {
                let covered = state.coverage.last_covered(job).is_some_and(|last| slot <= last);
                drop(state);
                if matches!(statement.body, Said::Missed(_)) && covered {
                    self.spool.disk.discard(staged);
                    return Ok(Spooled::Already);
                }
                let reason = format!("the slot of {job} at {slot} has a receipt already, or no plan names it");
                return self.spool.quarantine(staged, leaf, &reason).map(Spooled::Quarantined);
            }
        }
        let published = self.spool.publish(staged, sequence);
        if published.is_ok() || self.spool.has(sequence) {
            self.state().enter(&statement, plan);
        } else {
            self.spool.disk.discard(staged);
        }
        published?;
        let pending = self.spool.pending()?.len();
        self.status.send_modify(|status| status.pending = pending);
        Ok(Spooled::New(leaf))
    }

    async fn drain(self: &Arc<Self>) -> Result<Drained, PipelineError> {
        let mut log = self.log.lock().await;
        if let Some(why) = &log.stopped {
            return Err(PipelineError::Stopped(why.clone()));
        }
        let before = log.edge.size();
        let mut held = Vec::new();
        let outcome = self.drain_into(&mut log, &mut held).await;
        // Also after a failure: what is logged is settled, and known.
        let settled = self.settle(&mut log).await;
        self.state().known = log.known();
        outcome.and(settled)?;
        Ok(Drained { logged: log.edge.size() - before, pending: 0, held })
    }

    async fn drain_into(self: &Arc<Self>, log: &mut Log, held: &mut Vec<Held>) -> Result<(), PipelineError> {
        log.finish(&self.core, Whose::Ours).await?;
        loop {
            self.settle(log).await?;
            self.state().known = log.known();
            held.clear();
            let (batch, failure) = self.prepare(log, held).await?;
            if !batch.is_empty() {
                log.append(&self.core, &batch).await?;
            }
            match failure {
                Some(failure) => return Err(failure),
                None if batch.is_empty() => return Ok(()),
                None => {}
            }
        }
    }

    /// Seals and uploads the next entries, in order; stops at the first failure, and passes over what is held.
    async fn prepare(
        self: &Arc<Self>,
        log: &Log,
        held: &mut Vec<Held>,
    ) -> Result<(Vec<upload::Uploaded>, Option<PipelineError>), PipelineError> {
        let mut behind = Behind::default();
        let mut batch = Vec::new();
        for sequence in self.spool.pending()? {
            if batch.len() == MAX_BATCH {
                break;
            }
            let entry = match self.spool.load(sequence) {
                Ok(entry) => entry,
                Err(e @ PipelineError::Entry { .. }) => {
                    // What it was for is not known, so nothing may overtake it.
                    return Ok((batch, Some(e)));
                }
                Err(e) => return Ok((batch, Some(e))),
            };
            if log.unsettled.contains(&entry.leaf) || behind.holds(&entry.statement) {
                continue;
            }
            let (dir, statement) = (entry.dir.clone(), entry.statement.clone());
            let sealed = blocking({
                let inner = self.clone();
                move || seal::seal_entry(&inner.core, &inner.spool, entry)
            })
            .await;
            let uploaded = match sealed {
                Ok(sealed) => upload::upload(&self.core, &self.spool, sealed).await,
                Err(e) => Err(e),
            };
            match uploaded {
                Ok(uploaded) => batch.push(uploaded),
                Err(
                    e @ (PipelineError::Archive(ArchiveError::OtherBytes { .. } | ArchiveError::Refused { .. })
                    | PipelineError::Damaged { .. }),
                ) => {
                    tracing::error!(entry = %dir.display(), error = %e, "ALARM: an entry cannot be uploaded and is held in the spool");
                    held.push(Held { entry: dir, job: job_of(&statement).cloned(), reason: chain(&e) });
                    behind.hold(&statement);
                }
                Err(e) => return Ok((batch, Some(e))),
            }
        }
        Ok((batch, None))
    }

    /// Removes the spool's entries whose leaves are in the log.
    async fn settle(self: &Arc<Self>, log: &mut Log) -> Result<(), PipelineError> {
        if log.unsettled.is_empty() {
            return Ok(());
        }
        let inner = self.clone();
        let mut unsettled = log.unsettled.clone();
        let (unsettled, failure) = blocking(move || {
            let mut failure = None;
            let mut left = BTreeSet::new();
            for sequence in inner.spool.pending()? {
                if unsettled.is_empty() {
                    break;
                }
                let entry = inner.spool.load(sequence)?;
                if !unsettled.remove(&entry.leaf) {
                    continue;
                }
                match inner.spool.settle(&entry) {
                    Ok(()) => inner.state().leave(&entry.statement),
                    Err(e) => {
                        left.insert(entry.leaf);
                        failure = Some(e);
                    }
                }
            }
            // What the spool does not have is gone from it.
            Ok::<_, PipelineError>((left, failure))
        })
        .await?;
        log.unsettled = unsettled;
        failure.map_or(Ok(()), Err)
    }
}

impl State {
    /// Adds what comes next: a leaf of the log, or an entry of the spool.
    fn feed(&mut self, statement: &Statement, plan: Option<Plan>) {
        let index = self.next_index;
        self.next_index += 1;
        let entry = &statement.entry;
        self.last_sealed = self.last_sealed.max(Some(entry.sealed_at));
        let under = entry.plan.unwrap_or(Digest([0; 32]));
        match &statement.body {
            Said::Receipt(receipt) => match receipt.slot {
                Some(slot) => {
                    self.last_slot = self.last_slot.max(Some(slot));
                    self.coverage.receipt(index, under, &receipt.job, slot, receipt.outcome, receipt.late);
                }
                None => self.coverage.by_hand(&receipt.job),
            },
            Said::Missed(missed) => {
                self.last_slot = self.last_slot.max(Some(missed.last));
                self.coverage.missed(index, under, missed);
            }
            Said::Document(_) => {
                if let Some(plan) = plan {
                    let digest = statement.subject[0].digest.sha256;
                    self.coverage.plan(index, digest, &plan);
                    self.plan = Some((digest, plan));
                }
            }
        }
        for finding in self.coverage.take_findings() {
            tracing::error!(code = finding.code, index, "the log's slots: {}", finding.sentence);
        }
    }

    fn enter(&mut self, statement: &Statement, plan: Option<Plan>) {
        self.feed(statement, plan);
        if !matches!(statement.body, Said::Missed(_)) {
            self.subjects.insert(statement.subject[0].name.clone());
        }
    }

    fn leave(&mut self, statement: &Statement) {
        if !matches!(statement.body, Said::Missed(_)) {
            self.subjects.remove(&statement.subject[0].name);
        }
    }
}

/// What must not overtake a held entry.
#[derive(Debug, Default)]
struct Behind {
    jobs: BTreeSet<Job>,
    plans: BTreeSet<Digest>,
    any: bool,
}

impl Behind {
    fn hold(&mut self, statement: &Statement) {
        self.any = true;
        self.jobs.extend(job_of(statement).cloned());
        if let Said::Document(document) = &statement.body
            && document.kind == "plan"
        {
            self.plans.insert(statement.subject[0].digest.sha256);
        }
    }

    /// Whether the entry must wait; then so must what comes behind it.
    fn holds(&mut self, statement: &Statement) -> bool {
        let waits = self.any
            && (job_of(statement).is_some_and(|job| self.jobs.contains(job))
                || matches!(&statement.body, Said::Document(document) if document.kind == "plan")
                || statement.entry.plan.is_some_and(|plan| self.plans.contains(&plan)));
        if waits {
            self.hold(statement);
        }
        waits
    }
}

fn job_of(statement: &Statement) -> Option<&Job> {
    match &statement.body {
        Said::Receipt(receipt) => Some(&receipt.job),
        Said::Missed(missed) => Some(&missed.job),
        Said::Document(_) => None,
    }
}

/// Whether the plans name the slot and nothing covers it yet.
fn is_due(coverage: &Coverage, job: &Job, slot: Utc) -> bool {
    let end = slot + TimeDelta::seconds(1);
    coverage.uncovered(job, end).any(|range| range.last == slot)
}

/// An error with its causes, for a log line.
fn chain(error: &PipelineError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Runs what blocks away from the runtime's threads. Its panic is the caller's.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going away, and this future with it.
            Err(_) => std::future::pending().await,
        },
    }
}
