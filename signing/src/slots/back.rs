//! How far back a log must be read for its open slots to be known.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use crate::{digest::Digest, layout::Job, plan::Plan, time::Utc};

/// How far a plan without schedules is looked behind: an agent that ran so long after a pause has settled what was open before it.
const LOOK_BEHIND: TimeDelta = TimeDelta::days(7);

/// The search, from the newest plan backwards, for the newest plan that is no younger than any slot that may lack its receipt. A plan's
/// watermarks tell that of its own scheduled jobs. Of a job that it has no more (paused, removed) the plan before it tells; so a plan
/// is taken only once an older one with schedules has been looked at.
#[derive(Debug, Default)]
pub struct ReadBack {
    newest: Option<Utc>,
    needed: Option<Utc>,
    told: BTreeSet<Job>,
    candidate: Option<(u64, Digest, Utc)>,
}

impl ReadBack {
    /// Whether what was found need not be confirmed by a plan that was sealed then.
    pub fn is_old_enough(&self, sealed_at: Utc) -> bool {
        self.candidate.is_some() && self.newest.is_some_and(|newest| newest - sealed_at > LOOK_BEHIND)
    }

    /// Takes the next older plan, which entry `index` logs; whether the one that was found before is confirmed by it.
    pub fn look_at(&mut self, index: u64, digest: Digest, plan: &Plan) -> bool {
        self.newest.get_or_insert(plan.sealed_at);
        let mut needed = self.needed.unwrap_or(plan.sealed_at);
        let mut schedules = false;
        for job in plan.jobs.iter().filter(|job| job.schedule.is_some()) {
            schedules = true;
            if self.told.insert(job.job.clone()) {
                needed = needed.min(job.watermark.unwrap_or(plan.sealed_at));
            }
        }
        self.needed = Some(needed);
        if let Some((_, _, sealed_at)) = self.candidate.filter(|_| schedules) {
            if sealed_at <= needed {
                return true;
            }
            self.candidate = None;
        }
        if self.candidate.is_none() && plan.sealed_at <= needed {
            self.candidate = Some((index, digest, plan.sealed_at));
        }
        false
    }

    /// The plan to resume from, by its entry: what [`super::Coverage::resume`] takes. `None`: the log's start.
    pub fn found(&self) -> Option<(u64, Digest)> {
        self.candidate.map(|(index, digest, _)| (index, digest))
    }

    /// From when on slots may be open, as far as the plans tell.
    pub fn needed(&self) -> Option<Utc> {
        self.needed
    }

    /// Whether a plan told of the job: every slot of it before [`ReadBack::needed`] then has its receipt.
    pub fn told(&self, job: &Job) -> bool {
        self.told.contains(job)
    }
}
