//! The loop over the spool: seal, upload, append, settle, in order. First try, retry and restart are this loop.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use signing::{
    digest::Digest,
    errors::chain,
    layout::Job,
    statement::{Body as Said, Statement},
};
use tokio::task::{Id, JoinSet};

use super::{
    Drained, Held, Inner, PipelineError,
    append::{Log, MAX_BATCH, Whose},
    seal,
    spool::Spooled,
    state::job_of,
    upload,
};
use crate::{archive::ArchiveError, blocking::blocking};

impl Inner {
    pub(super) async fn drain(self: &Arc<Self>) -> Result<Drained, PipelineError> {
        let mut link = self.log.lock().await;
        let taken = match self.take_keys().await {
            // What waits for a key that is compromised, say, cannot be logged: as at a start.
            Ok(true) => {
                *link = None;
                Ok(())
            }
            other => other.map(|_| ()),
        };
        let log = match &mut *link {
            Some(log) => log,
            None => link.insert(self.clone().connect().await?),
        };
        if let Some(why) = &log.stopped {
            return Err(PipelineError::Stopped(why.clone()));
        }
        let before = log.edge.size();
        let mut held = Vec::new();
        let outcome = self.drain_into(log, &mut held).await;
        // Also after a failure: what is logged is settled, and known.
        let settled = self.settle(log).await;
        self.knows(log);
        outcome.and(settled).and(taken)?;
        Ok(Drained { logged: log.edge.size() - before, pending: 0, held })
    }

    async fn drain_into(self: &Arc<Self>, log: &mut Log, held: &mut Vec<Held>) -> Result<(), PipelineError> {
        log.finish(&self.core, Whose::Ours).await?;
        loop {
            self.settle(log).await?;
            self.knows(log);
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

    /// Seals and uploads the next entries; what is ready for the log, in order, and the first failure. What is held is passed over.
    ///
    /// A few uploads go on at once: those of one job in turn, and a document only between what comes before and after it. So whatever
    /// is cut short, the archive has no receipt of a job without the ones before it, nor one without its plan.
    async fn prepare(
        self: &Arc<Self>,
        log: &Log,
        held: &mut Vec<Held>,
    ) -> Result<(Vec<upload::Uploaded>, Option<PipelineError>), PipelineError> {
        let mut window = Window::default();
        for sequence in self.spool.pending() {
            if window.batch.len() + window.uploads.len() >= MAX_BATCH {
                break;
            }
            let entry = match self.spool.load(sequence) {
                Ok(entry) => entry,
                // What it was for is not known, so nothing may overtake it.
                Err(e) => {
                    window.fail(sequence, e);
                    break;
                }
            };
            if log.unsettled.contains(&entry.leaf) {
                continue;
            }
            window.make_room(&entry.statement, held).await;
            if window.failure.is_some() {
                break;
            }
            if window.behind.holds(&entry.statement) {
                continue;
            }
            let inner = self.clone();
            window.begin(entry, |entry| async move {
                let sealed = blocking({
                    let inner = inner.clone();
                    move || seal::seal_entry(&inner.core, &inner.spool, entry)
                });
                upload::upload(&inner.core, &inner.spool, sealed.await?).await
            });
        }
        while !window.uploads.is_empty() {
            window.next(held).await;
        }
        let before = window.failure.as_ref().map_or(u64::MAX, |(sequence, _)| *sequence);
        let batch = window.batch.into_iter().filter(|(sequence, _)| *sequence < before).map(|(_, uploaded)| uploaded);
        Ok((batch.collect(), window.failure.map(|(_, failure)| failure)))
    }

    /// Removes the spool's entries whose leaves are in the log.
    pub(super) async fn settle(self: &Arc<Self>, log: &mut Log) -> Result<(), PipelineError> {
        if log.unsettled.is_empty() {
            return Ok(());
        }
        let inner = self.clone();
        let mut unsettled = log.unsettled.clone();
        let (left, failure) = blocking(move || {
            let mut logged = Vec::new();
            for sequence in inner.spool.pending() {
                if unsettled.is_empty() {
                    break;
                }
                let entry = inner.spool.load(sequence)?;
                if unsettled.remove(&entry.leaf) {
                    logged.push(entry);
                }
            }
            let failure = inner.spool.settle(&logged).err();
            // What the spool does not have is gone from it.
            let (left, gone): (Vec<_>, Vec<_>) = logged.into_iter().partition(|entry| inner.spool.has(entry.sequence));
            gone.iter().for_each(|entry| inner.state().leave(&entry.statement));
            Ok::<_, PipelineError>((left.into_iter().map(|entry| entry.leaf).collect(), failure))
        })
        .await?;
        log.unsettled = left;
        failure.map_or(Ok(()), Err)
    }
}

/// Uploads that go on at the same time.
const UPLOADS: usize = 8;

/// The uploads that go on, and what came of the earlier ones.
#[derive(Default)]
struct Window {
    uploads: JoinSet<Result<upload::Uploaded, PipelineError>>,
    going: HashMap<Id, Going>,
    /// By sequence.
    batch: BTreeMap<u64, upload::Uploaded>,
    behind: Behind,
    /// The first in the spool's order: nothing behind it enters the log before it.
    failure: Option<(u64, PipelineError)>,
}

struct Going {
    sequence: u64,
    dir: PathBuf,
    statement: Statement,
}

impl Window {
    fn begin<F>(&mut self, entry: Spooled, upload: impl FnOnce(Spooled) -> F)
    where
        F: Future<Output = Result<upload::Uploaded, PipelineError>> + Send + 'static,
    {
        let going = Going { sequence: entry.sequence, dir: entry.dir.clone(), statement: entry.statement.clone() };
        let id = self.uploads.spawn(upload(entry)).id();
        self.going.insert(id, going);
    }

    /// Waits until an upload of this statement may begin.
    async fn make_room(&mut self, statement: &Statement, held: &mut Vec<Held>) {
        let job = job_of(statement);
        let waits = |going: &Going| job.is_none() || job_of(&going.statement).is_none_or(|other| Some(other) == job);
        while self.uploads.len() >= UPLOADS || self.going.values().any(waits) {
            self.next(held).await;
        }
    }

    /// Waits for the next upload to end.
    async fn next(&mut self, held: &mut Vec<Held>) {
        let Some(ended) = self.uploads.join_next_with_id().await else { return };
        let (id, uploaded) = match ended {
            Ok((id, uploaded)) => (id, uploaded),
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            // The runtime is going away, and this future with it.
            Err(_) => std::future::pending().await,
        };
        let Some(Going { sequence, dir, statement }) = self.going.remove(&id) else { return };
        match uploaded {
            Ok(uploaded) => drop(self.batch.insert(sequence, uploaded)),
            Err(
                e @ (PipelineError::Archive(ArchiveError::OtherBytes { .. } | ArchiveError::Refused { .. })
                | PipelineError::Damaged { .. }
                | PipelineError::Entry { .. }),
            ) => {
                tracing::error!(entry = %dir.display(), error = %e, "ALARM: an entry cannot be uploaded and is held in the spool");
                held.push(Held { entry: dir, job: job_of(&statement).cloned(), reason: chain(&e) });
                self.behind.hold(&statement);
            }
            Err(e) => self.fail(sequence, e),
        }
    }

    fn fail(&mut self, sequence: u64, error: PipelineError) {
        if self.failure.as_ref().is_none_or(|(first, _)| sequence < *first) {
            self.failure = Some((sequence, error));
        }
    }
}

/// What must not overtake a held entry.
#[derive(Debug, Default)]
struct Behind {
    jobs: BTreeSet<Job>,
    plans: BTreeSet<Digest>,
    /// A keys document: it would end the keys of what is held, and brings those of what comes behind it.
    keys: bool,
    any: bool,
}

impl Behind {
    fn hold(&mut self, statement: &Statement) {
        self.any = true;
        self.jobs.extend(job_of(statement).cloned());
        match &statement.body {
            Said::Document(document) if document.kind == "plan" => {
                self.plans.insert(statement.subject[0].digest.sha256);
            }
            Said::Document(document) => self.keys |= document.kind == "keys",
            _ => {}
        }
    }

    /// Whether the entry must wait; then so must what comes behind it.
    fn holds(&mut self, statement: &Statement) -> bool {
        let waits = self.any
            && (self.keys
                || job_of(statement).is_some_and(|job| self.jobs.contains(job))
                || matches!(&statement.body, Said::Document(document) if ["plan", "keys"].contains(&&*document.kind))
                || statement.entry.plan.is_some_and(|plan| self.plans.contains(&plan)));
        if waits {
            self.hold(statement);
        }
        waits
    }
}
