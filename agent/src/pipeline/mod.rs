//! The spine: spool → seal → upload → append → settle. Each step takes the value that the step before made, no module imports a later
//! one, and nothing but the last step deletes. First try, retry and restart are the same loop over what is in the spool; there is no
//! database: the log in the archive is the state, and `state_dir` keeps the spool and a cache.
//!
//! What goes wrong, and what becomes of it:
//! - A write, the store or the key service fails: the entry stays in the spool, [`Pipeline::drain`] reports it, the next one tries again.
//! - The archive is away at the start: what is due is read from a copy of the log's newest part, and spooled. The first drain that finds the
//!   archive goes by what that says: what the copy did not know is in the log, and what was made in ignorance of it in quarantine.
//! - The archive holds other bytes under an entry's name (alarm): the entry is *held* in the spool, with the later ones of its job, which
//!   must come after it, and the later plans, whose watermarks would speak for it. Everything else goes on. Each drain names it.
//! - A slot has a receipt already: the bundle is moved to `state_dir/quarantine`, loudly, and never logged.
//! - A key is followed by another (`keys`): what was made for the old one is sealed by it, and logged before the revision that says so; what
//!   can no longer be sealed, or would be refused if it were, is moved to `state_dir/quarantine`, loudly, and its slots are missed.
//! - Another agent appended to the log, or the archive is older than what this agent published: nothing more is appended, since it would
//!   fork the log. Spooling goes on.

mod again;
mod append;
mod approval;
mod cache;
mod drain;
mod entry;
mod error;
mod history;
mod intake;
mod keys;
mod orphans;
mod promise;
mod recover;
mod seal;
mod spool;
mod state;
mod upload;

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use signing::{
    bundle::RunFacts,
    digest::Digest,
    errors::chain,
    layout::Job,
    plan::Plan,
    slots::Coverage,
    statement::{Anchored, Counts, Known, Missed, Statement, Window},
    time::Utc,
};
use tokio::sync::watch;

use crate::{archive::Archive, blocking::blocking, clock::Clock, durable::Disk, keystore::SharedKeys, ledger::Ledger};
pub(crate) use again::jitter;
use append::Log;
pub use approval::says_something;
pub use error::PipelineError;
use spool::Spool;
use state::State;

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
    pub keys: SharedKeys,
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
    /// Set while the archive is away.
    pub away: Option<Away>,
}

/// An archive that does not answer, or fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    /// When that was first seen, in a row.
    pub since: Utc,
    /// What it answered last, with all causes.
    pub why: String,
}

/// The log as it was published last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its leaves.
    pub size: u64,
    /// The checkpoint's bytes (C2SP tlog-checkpoint).
    pub bytes: Arc<[u8]>,
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

/// The way of evidence into the log, for one origin. A clone is another handle.
#[derive(Clone)]
pub struct Pipeline(Arc<Inner>);

struct Inner {
    core: Core,
    spool: Spool,
    /// Held while an entry is made, so that sequence, slots and plans agree.
    spooling: Mutex<()>,
    state: Mutex<State>,
    /// `None`: the archive has been away since the start.
    log: tokio::sync::Mutex<Option<Log>>,
    status: watch::Sender<Status>,
    /// `None`: nothing was published yet, or the archive has been away since the start.
    published: watch::Sender<Option<Published>>,
    /// The newest set of controls, once it was looked for.
    promised: tokio::sync::Mutex<Option<promise::Newest>>,
    promised_anew: AtomicBool,
    /// The newest token, which entries name.
    anchor: Mutex<Option<Anchored>>,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pipeline").field(&self.0.core).finish()
    }
}

impl Pipeline {
    /// Opens it: finishes an append that was decided, settles what is logged, adopts seals that have no leaf, and, where the log does
    /// not have this `keys.json` yet, spools it as the first entry. While the archive is away it goes by what `state_dir` remembers:
    /// everything is spooled, and the first drain that finds the archive does the rest.
    ///
    /// # Errors
    /// An archive that somebody else signed, or that is older than what this agent knows; one that is away, where `state_dir`
    /// remembers nothing: then a caller tries again.
    pub async fn open(options: Options) -> Result<Self, PipelineError> {
        let spool = blocking({
            let (state_dir, disk) = (options.state_dir.clone(), options.disk.clone());
            move || Spool::open(&state_dir, disk)
        })
        .await?;
        let inner = Arc::new(Inner {
            spool,
            spooling: Mutex::new(()),
            state: Mutex::default(),
            log: tokio::sync::Mutex::new(None),
            status: watch::Sender::default(),
            published: watch::Sender::default(),
            promised: tokio::sync::Mutex::new(None),
            promised_anew: AtomicBool::new(false),
            anchor: Mutex::default(),
            core: options,
        });
        let away = match inner.clone().connect().await {
            Ok(mut log) => {
                inner.settle(&mut log).await?;
                inner.knows(&log);
                *inner.log.lock().await = Some(log);
                inner.state().generation = 0;
                None
            }
            Err(error) if error.is_away() => {
                let remembered = blocking({
                    let inner = inner.clone();
                    move || recover::without_archive(&inner)
                });
                match remembered.await {
                    Ok(state) => *inner.state() = state,
                    Err(why) => {
                        tracing::warn!("nothing can be collected without the archive: {why}");
                        return Err(error);
                    }
                }
                Some(Away { since: inner.core.clock.now(), why: chain(&error) })
            }
            Err(error) => return Err(error),
        };
        let (checkpoint, pending) = (inner.state().known, inner.spool.load_of().0);
        inner.status.send_modify(|status| {
            *status = Status {
                checkpoint,
                pending,
                last_error: away.as_ref().map(|away| away.why.clone()),
                away,
                ..Status::default()
            };
        });
        Ok(Self(inner))
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

    /// Spools what a person signed (`signing::approval`), once a verifier would believe it; `false` where the log or the spool has it.
    ///
    /// # Errors
    /// What is not signed by an approver of this log, or says nothing; an archive that is away; the disk's.
    pub async fn spool_approval(&self, bytes: Vec<u8>) -> Result<bool, PipelineError> {
        self.0.spool_approval(bytes).await
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
        let pending = self.0.spool.load_of().0;
        let known = self.0.state().known;
        self.0.status.send_modify(|status| {
            if status.checkpoint != known {
                status.logged_at = Some(self.0.core.clock.now());
            }
            status.checkpoint = known;
            status.pending = pending;
            status.held = drained.as_ref().map_or(status.held, |d| d.held.len());
            status.last_error = drained.as_ref().err().map(|error| chain(error));
            status.away = drained.as_ref().err().filter(|error| error.is_away()).map(|error| Away {
                since: status.away.as_ref().map_or_else(|| self.0.core.clock.now(), |away| away.since),
                why: chain(error),
            });
        });
        drained.map(|drained| Drained { pending, ..drained })
    }

    /// The newest checkpoint.
    pub fn checkpoint(&self) -> Option<Known> {
        self.0.state().known
    }

    /// The newest published checkpoint, now and whenever the log has grown.
    pub fn published(&self) -> watch::Receiver<Option<Published>> {
        self.0.published.subscribe()
    }

    /// From now on every entry names this token over a checkpoint of the log. The archive MUST hold it.
    pub fn name_anchor(&self, anchor: Anchored) {
        *self.0.anchor.lock().unwrap_or_else(PoisonError::into_inner) = Some(anchor);
    }

    /// The number of the first entry in the spool, from a number on, that is not sealed yet.
    pub async fn unsealed(&self, from: u64) -> Option<u64> {
        let inner = self.0.clone();
        blocking(move || inner.spool.unsealed(from)).await
    }

    /// The signature that the seal of an entry in the spool will hold.
    ///
    /// # Errors
    /// The disk's, also where the entry is gone; the key's, or its service's.
    pub async fn signature(&self, sequence: u64) -> Result<[u8; 64], PipelineError> {
        let inner = self.0.clone();
        blocking(move || seal::signature(&inner.core.keys.now(), &inner.spool.load(sequence)?)).await
    }

    /// Has the seal of an entry hold this token (a whole TimeStampResp over its signature), unless it is sealed already; whether it will.
    ///
    /// # Errors
    /// The disk's.
    pub async fn keep_token(&self, sequence: u64, token: Vec<u8>) -> Result<bool, PipelineError> {
        let inner = self.0.clone();
        blocking(move || inner.spool.keep_token(sequence, &token)).await
    }

    /// The newest plan, in the log or in the spool.
    pub fn plan(&self) -> Option<(Digest, Plan)> {
        self.0.state().plan.clone()
    }

    /// A plan that is in the newest part of the log, or in the spool, by its digest.
    pub fn plan_of(&self, digest: Digest) -> Option<Plan> {
        self.0.state().plans.iter().find(|(known, _)| *known == digest).map(|(_, plan)| plan.clone())
    }

    /// It grows when the archive, once it was back, told another past than `state_dir` remembered: plan and slots are then others.
    pub fn generation(&self) -> u64 {
        self.0.state().generation
    }

    /// Looks at the slots: which are due, which have a receipt in the log or in the spool.
    pub fn coverage<T>(&self, look: impl FnOnce(&Coverage) -> T) -> T {
        look(&self.0.state().coverage)
    }

    /// The newest instant at which anything was sealed, as far as the log was read: a clock before it was set back.
    pub fn last_sealed(&self) -> Option<Utc> {
        self.0.state().last_sealed
    }

    /// The window of the newest run of a job that is in the spool, or came through it since the start; for older ones ask the ledger.
    pub fn window(&self, job: &Job) -> Option<Window> {
        self.0.state().windows.get(job).copied()
    }

    /// How many entries are in the spool.
    pub fn pending(&self) -> usize {
        self.0.spool.load_of().0
    }

    /// When the oldest entry in the spool was sealed.
    pub fn oldest(&self) -> Option<Utc> {
        let first = *self.0.spool.pending().first()?;
        self.0.spool.load(first).ok().map(|entry| entry.statement.entry.sealed_at)
    }

    /// The bytes of all entries in the spool.
    pub fn spool_bytes(&self) -> u64 {
        self.0.spool.load_of().1
    }

    /// How it stands, now and after each drain.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.0.status.subscribe()
    }

    /// The log up to the newest checkpoint, read back.
    pub fn ledger(&self) -> Ledger {
        let size = self.checkpoint().map_or(0, |known| known.size);
        Ledger::new(self.0.core.archive.reader(), self.0.core.keys.now().set.clone(), size)
    }

    /// What it works with.
    pub fn options(&self) -> &Options {
        &self.0.core
    }
}

/// How many leaves the origin's log had when an agent with this `state_dir` last published it; `None` where it knows of none.
pub fn known_size(state_dir: &Path, origin: &str) -> Option<u64> {
    cache::Cached::read(state_dir, origin).map(|cached| cached.edge.size()).filter(|size| *size > 0)
}

/// What a spool holds that no agent has open.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The oldest one's sealing.
    pub oldest: Option<Utc>,
}

/// Looks into the spool of a `state_dir`, and changes nothing. What goes meanwhile counts nothing.
///
/// # Errors
/// The disk's.
pub fn waiting(state_dir: &Path) -> io::Result<Waiting> {
    let dir = state_dir.join("spool");
    let mut waiting = Waiting::default();
    let sequences = match spool::sequences(&dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(waiting),
        other => other?,
    };
    for sequence in sequences {
        let entry = dir.join(format!("{sequence:020}"));
        match spool::size(&entry) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            bytes => waiting.bytes += bytes?,
        }
        waiting.entries += 1;
        if waiting.oldest.is_none()
            && let Ok(payload) = std::fs::read(entry.join(spool::PAYLOAD))
        {
            waiting.oldest = Statement::from_bytes(&payload).ok().map(|statement| statement.entry.sealed_at);
        }
    }
    Ok(waiting)
}

impl Inner {
    /// Finds the archive, and brings what is known without it into agreement with it.
    async fn connect(self: Arc<Self>) -> Result<Log, PipelineError> {
        let mut log = recover::recover(&self).await?;
        self.spool_keys(&mut log).await?;
        Ok(log)
    }

    /// Takes note of the log as it was published last.
    fn knows(&self, log: &Log) {
        self.state().known = log.known();
        let size = log.edge.size();
        self.published.send_if_modified(|published| {
            let news = published.as_ref().map(|before| before.size) != log.checkpoint.as_ref().map(|_| size);
            if news {
                *published = log.checkpoint.as_ref().map(|bytes| Published { size, bytes: bytes.as_slice().into() });
            }
            news
        });
    }

    /// Never held while anything is awaited or written.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
