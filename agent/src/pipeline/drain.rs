//! The loop over the spool: seal, upload, append, settle, in order. First try, retry and restart are this loop.

use std::{collections::BTreeSet, sync::Arc};

use signing::{
    digest::Digest,
    errors::chain,
    layout::Job,
    statement::{Body as Said, Statement},
};

use super::{
    Drained, Held, Inner, PipelineError,
    append::{Log, MAX_BATCH, Whose},
    seal,
    state::job_of,
    upload,
};
use crate::{archive::ArchiveError, blocking::blocking};

impl Inner {
    pub(super) async fn drain(self: &Arc<Self>) -> Result<Drained, PipelineError> {
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
                    | PipelineError::Damaged { .. }
                    | PipelineError::Entry { .. }),
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
