//! Which plan is in force: at the start, once a day, when paused and resumed, and for a run by hand.

use std::collections::BTreeMap;

use chrono::{Days, TimeDelta};
use signing::{
    digest::Digest,
    errors::chain,
    layout::{self, Job},
    plan::Plan,
    time::Utc,
};
use tokio::time::Instant;

use super::{AGAIN, Daemon, Mode};
use crate::{
    jobs::{Jobs, PlanHead, same_promise},
    pipeline::{Pipeline, PipelineError, PlanBasis},
    scheduler::{Scheduler, Terms},
};

/// How the reason of a plan begins that was made by `pause`.
pub const PAUSED: &str = "paused: ";

/// The largest plan that is read back.
const MAX_PLAN: u64 = 64 * 1024 * 1024;

/// What a plan puts in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Every job on its schedule.
    Scheduled,
    /// Every job, none of them on a schedule.
    ByHand,
    /// Nothing.
    Empty,
}

impl Daemon {
    /// Puts the plan in force where that is due; `false` when the disk refused.
    pub(super) async fn keep_plan(&mut self, now: Utc) -> bool {
        let (kind, reason) = match (&self.scheduler, &self.paused) {
            (None, None) if self.follows_again => (Kind::Scheduled, "restated".to_owned()),
            (None, Some(why)) if self.follows_again => (Kind::Empty, format!("{PAUSED}{why}")),
            (None, _) => (Kind::Scheduled, self.reason_to_start(now)),
            (Some(_), _) if self.restate_at.is_some_and(|at| now < at) => return true,
            (Some(_), None) => (Kind::Scheduled, "restated".to_owned()),
            (Some(_), Some(why)) => (Kind::Empty, format!("{PAUSED}{why}")),
        };
        match self.put_in_force(kind, reason).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(
                    "the plan cannot be written, and nothing starts without it; trying again: {}",
                    chain(&error)
                );
                false
            }
        }
    }

    /// Puts the set of controls in force, after the plan whose checks it names. What is promised is no condition for collecting: while it
    /// cannot be written, the set before it holds.
    pub(super) async fn keep_controls(&mut self) {
        // Without the archive it is not known what the newest one promises.
        if self.controls_at.is_some() || self.pipeline.status().borrow().away.is_some() {
            return;
        }
        let Some(controls) = self.controls.clone() else { return };
        match self.pipeline.spool_controls(controls).await {
            Ok(new) => {
                self.controls = None;
                if new {
                    tracing::info!("a set of controls is in force");
                    self.drain_soon();
                }
            }
            Err(error) => {
                tracing::error!(
                    "the set of controls cannot be written; the one before it holds until it can: {}",
                    chain(&error)
                );
                self.controls_at = Some(Instant::now() + AGAIN);
            }
        }
    }

    /// Spools a plan and follows it.
    pub(super) async fn put_in_force(&mut self, kind: Kind, reason: String) -> Result<(), PipelineError> {
        let (jobs, origin) = (self.jobs.clone(), self.pipeline.options().origin.clone());
        let terms = (self.settings.settle, self.settings.retention_days);
        let make = move |basis: PlanBasis<'_>| make(&jobs, kind, &origin, &reason, terms, &basis);
        let digest = self.pipeline.spool_plan(make).await?;
        self.drain_soon();
        let now = self.clock.now();
        if let Some((newest, plan)) = self.pipeline.plan()
            && newest == digest
        {
            tracing::info!(reason = plan.reason, jobs = plan.jobs.len(), "a plan is in force");
            if self.scheduler.is_none() {
                self.scheduler = Some(self.recover(now, &plan).await);
                self.follows_again = false;
            }
            if let Some(scheduler) = &mut self.scheduler {
                scheduler.adopt(digest, &plan);
            }
            if self.mode == Mode::Once {
                return Ok(());
            }
            // UTC midnight, so that a start reads back one day at most; never twice for one midnight, whatever the clock does.
            let midnight = plan.sealed_at.date_naive() + Days::new(1);
            self.restate_at = Some(midnight.and_time(chrono::NaiveTime::MIN).and_utc());
        }
        Ok(())
    }

    /// What a start finds: slots that were due before it, those that have a receipt, and those that the agent died in.
    async fn recover(&self, now: Utc, plan: &Plan) -> Scheduler {
        let runnable: Vec<Job> = self.jobs.iter().map(|setup| setup.job.clone()).collect();
        let mut scheduler = Scheduler::new(self.settings.parallel, now, runnable);
        let upto = now.max(plan.sealed_at);
        let (due, covered) = self.pipeline.coverage(|coverage| {
            let due: Vec<(Job, Digest, Utc)> = coverage.due(upto).collect();
            let names = plan.jobs.iter().map(|planned| &planned.job).chain(due.iter().map(|(job, ..)| job));
            let last = |job: &Job| Some((job.clone(), coverage.last_covered(job)?));
            let covered: BTreeMap<Job, Utc> = names.filter_map(last).collect();
            (due, covered)
        });
        for (job, slot) in &covered {
            scheduler.covered(job, *slot);
        }
        let mut plans: BTreeMap<Digest, Option<Plan>> = BTreeMap::new();
        for (job, digest, slot) in &due {
            let reader = self.pipeline.options().archive.clone();
            if !plans.contains_key(digest)
                && let Some(plan) = self.pipeline.plan_of(*digest)
            {
                plans.insert(*digest, Some(plan));
            }
            if !plans.contains_key(digest) {
                let name = layout::document("plan", *digest);
                let read = reader.read(&name, MAX_PLAN).await;
                let read = read.ok().flatten().filter(|bytes| Digest::of(bytes) == *digest);
                plans.insert(*digest, read.and_then(|bytes| serde_json::from_slice(&bytes).ok()));
            }
            let under = plans.get(digest).and_then(Option::as_ref).unwrap_or(plan);
            let planned = under.jobs.iter().chain(&plan.jobs).find(|planned| planned.job == *job);
            // A plan that cannot be read any more gives the slot no time to start: it is missed.
            let terms = planned.map_or(
                Terms { start_within: TimeDelta::zero(), grace: TimeDelta::zero(), spread: TimeDelta::zero() },
                Terms::from,
            );
            scheduler.restore(job, *digest, *slot, terms);
        }
        for marker in self.markers.all().unwrap_or_default() {
            if due.iter().any(|(job, _, slot)| *job == marker.job && *slot == marker.slot) {
                tracing::warn!(job = %marker.job, slot = %marker.slot, "the agent ended during this run");
                scheduler.crashed(&marker.job, marker.slot);
            } else if let Err(error) = self.markers.clear(&marker.job).await {
                tracing::warn!(job = %marker.job, %error, "an old marker cannot be removed");
            }
        }
        scheduler
    }

    /// Why `run` writes a plan, as auditors read it.
    fn reason_to_start(&self, now: Utc) -> String {
        let Some((_, before)) = self.pipeline.plan() else { return "started".into() };
        if let Some(why) = before.reason.strip_prefix(PAUSED) {
            tracing::warn!(paused = why, "this start ends a pause: the schedules are in force again");
            return format!("started, which ends the pause: {why}");
        }
        if before.jobs.iter().all(|planned| planned.schedule.is_none()) {
            return "started".into();
        }
        let (origin, reason) = (self.pipeline.options().origin.clone(), "started");
        let head = PlanHead {
            origin: &origin,
            sealed_at: now,
            previous: None,
            reason,
            settle: self.settings.settle,
            retention_days: self.settings.retention_days,
            watermark: &|_| None,
        };
        let same = same_promise(&before, &self.jobs.plan(head, true));
        if same { "started".into() } else { "started, configuration changed".into() }
    }

    /// Sees to it that runs by hand have a plan to name. Schedules that a stopped daemon left in force stay, and so does a pause.
    pub(super) async fn plan_by_hand(&mut self) -> Result<bool, PipelineError> {
        if let Some((_, newest)) = self.pipeline.plan() {
            let scheduled = newest.jobs.iter().any(|planned| planned.schedule.is_some());
            let origin = self.pipeline.options().origin.clone();
            let head = PlanHead {
                origin: &origin,
                sealed_at: newest.sealed_at,
                previous: None,
                reason: "",
                settle: self.settings.settle,
                retention_days: self.settings.retention_days,
                watermark: &|_| None,
            };
            if scheduled || newest.reason.starts_with(PAUSED) || same_promise(&newest, &self.jobs.plan(head, false)) {
                return Ok(false);
            }
        }
        self.put_in_force(Kind::ByHand, "collect by hand".into()).await.map(|()| true)
    }
}

/// What a plan says beside its jobs: how long a run may take from its end into the log, and for how many days everything is kept.
pub type PlanTerms = (std::time::Duration, Option<u32>);

/// Puts an empty plan in force where no daemon runs, and logs it.
///
/// # Errors
/// The disk's, or the archive's: then it is in the spool, and the next start logs it.
pub async fn pause(pipeline: &Pipeline, jobs: &Jobs, reason: &str, terms: PlanTerms) -> Result<(), PipelineError> {
    let (jobs, origin) = (jobs.clone(), pipeline.options().origin.clone());
    let reason = format!("{PAUSED}{reason}");
    pipeline.spool_plan(move |basis| make(&jobs, Kind::Empty, &origin, &reason, terms, &basis)).await?;
    pipeline.drain().await.map(drop)
}

/// Makes the plan from what is known at its sealing.
pub(super) fn make(
    jobs: &Jobs,
    kind: Kind,
    origin: &str,
    reason: &str,
    (settle, retention_days): PlanTerms,
    basis: &PlanBasis<'_>,
) -> Plan {
    let sealed_at = basis.sealed_at;
    let head = PlanHead {
        origin,
        sealed_at,
        previous: basis.previous,
        reason,
        settle,
        retention_days,
        watermark: &|job| Some(basis.coverage.watermark(job, sealed_at)),
    };
    match kind {
        Kind::Scheduled => jobs.plan(head, true),
        Kind::ByHand => jobs.plan(head, false),
        Kind::Empty => head.empty(jobs.not_run().to_vec()),
    }
}
