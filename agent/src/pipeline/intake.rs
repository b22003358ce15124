//! The way into the spool: a run, a `missed`, a plan or a document becomes an entry. Nothing is decided here but the entry's place, and
//! whether its slot is free.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
    sync::{MutexGuard, PoisonError},
};

use chrono::TimeDelta;
use signing::{
    bundle::{self, BundleError, RunFacts},
    digest::Digest,
    layout::Job,
    plan::Plan,
    statement::{Body as Said, Counts, Entry, Missed, Statement},
    time::Utc,
};

use super::{
    Inner, PipelineError, PlanBasis, Spooled, entry,
    spool::{BUNDLE, DOCUMENT, PAYLOAD},
    state::is_due,
};
use crate::keystore::Keys;

impl Inner {
    fn now(&self) -> Utc {
        self.now_by(&self.core.keys.now())
    }

    /// The instant for a sealing: what the clock says, but never before the keys were valid, since that could never be signed.
    pub(super) fn now_by(&self, keys: &Keys) -> Utc {
        let used = [&keys.receipts, &keys.checkpoints].map(|key| key.public().fingerprint());
        let valid = keys.set.keys.iter().filter(|key| used.contains(&key.key_id)).map(|key| key.valid.from);
        valid.chain([self.core.clock.now()]).max().expect("the clock shows something")
    }

    fn entry(&self, plan: Option<Digest>, sealed_at: Utc) -> Entry {
        self.entry_by(&self.core.keys.now(), plan, sealed_at)
    }

    /// What every statement says, of one that these keys are to seal.
    pub(super) fn entry_by(&self, keys: &Keys, plan: Option<Digest>, sealed_at: Utc) -> Entry {
        let known = self.state().known;
        let anchor = *self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        Entry {
            origin: self.core.origin.clone(),
            key_id: keys.receipts.public().fingerprint(),
            plan,
            sealed_at,
            checkpoint: known,
            anchor: anchor.filter(|anchor| known.is_some_and(|known| anchor.size <= known.size)),
            instance: self.core.instance.clone(),
        }
    }

    pub(super) fn spool_run(
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

    pub(super) fn spool_missed(&self, plan: Digest, missed: Missed) -> Result<Spooled, PipelineError> {
        let staged = self.spool.stage()?;
        self.publish(&staged, Some(missed.job.clone()), Some(missed.first), || {
            Ok((entry::missed(self.entry(Some(plan), self.now()), plan, missed), None))
        })
    }

    pub(super) fn spool_document(&self, kind: &str, reason: String, bytes: &[u8]) -> Result<Digest, PipelineError> {
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

    pub(super) fn spool_plan(&self, make: impl FnOnce(PlanBasis<'_>) -> Plan) -> Result<Digest, PipelineError> {
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
        let one_at_a_time = self.spooling.lock().unwrap_or_else(PoisonError::into_inner);
        self.publish_in(&one_at_a_time, staged, job, slot, make)
    }

    /// The same for whoever has the lock.
    pub(super) fn publish_in(
        &self,
        _one_at_a_time: &MutexGuard<'_, ()>,
        staged: &Path,
        job: Option<Job>,
        slot: Option<Utc>,
        make: impl FnOnce() -> Result<(Statement, Option<Plan>), PipelineError>,
    ) -> Result<Spooled, PipelineError> {
        let prepared = (|| {
            self.spool.settle_names()?;
            let (statement, plan) = make()?;
            let (statement, payload) = entry::fit(statement)?;
            let failed = self.spool.failed("write a payload into");
            self.spool.disk.stage(&staged.join(PAYLOAD), |file| file.write_all(&payload)).map_err(failed)?;
            Ok::<_, PipelineError>((statement, payload, plan, self.spool.next()))
        })();
        let (statement, payload, plan, sequence) = prepared.inspect_err(|_| self.spool.disk.discard(staged))?;
        let leaf = Statement::leaf_digest(&payload);
        {
            let state = self.state();
            if !matches!(statement.body, Said::Missed(_)) && state.subjects.contains(&statement.subject[0].name) {
                self.spool.disk.discard(staged);
                return Ok(Spooled::Already);
            }
            let known = |under: Digest| state.plans.iter().any(|(digest, _)| *digest == under);
            if let Some(under) = statement.entry.plan.filter(|under| state.generation > 0 && !known(*under)) {
                drop(state);
                let reason = format!("it was made under the plan {under}, which is not logged");
                let kept = self.spool.quarantine(staged, leaf, &reason);
                return kept.map(Spooled::Quarantined).inspect_err(|_| self.spool.disk.discard(staged));
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
                let kept = self.spool.quarantine(staged, leaf, &reason);
                return kept.map(Spooled::Quarantined).inspect_err(|_| self.spool.disk.discard(staged));
            }
        }
        let published = self.spool.publish(staged, sequence);
        if published.is_ok() || self.spool.has(sequence) {
            self.state().enter(&statement, plan);
        } else {
            self.spool.disk.discard(staged);
        }
        published?;
        let (pending, _) = self.spool.load_of();
        self.status.send_modify(|status| status.pending = pending);
        Ok(Spooled::New(leaf))
    }
}
