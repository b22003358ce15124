//! Decides which runs start now, which slots will never run and why, and when to look again.
//!
//! Pure: an instant is always an argument, and nothing here starts a run, writes a file or waits. What it decides is a value that
//! the daemon carries out. A slot leaves the scheduler once, as a start or as missed; it is never handed out again, whatever the
//! clock does.

mod lane;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use signing::{
    digest::Digest,
    layout::Job,
    plan::{Plan, PlannedJob},
    statement::{Cause, Missed},
    time::{Utc, rfc3339},
};

use lane::{Due, Feed, Lane};
pub use watch::{ClockWatch, Look};

/// How far from its slot a run may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// After this the slot is missed.
    pub start_within: TimeDelta,
    /// After this the run is late.
    pub grace: TimeDelta,
    /// Runs start up to this long after their slots.
    pub spread: TimeDelta,
}

impl From<&PlannedJob> for Terms {
    fn from(job: &PlannedJob) -> Self {
        let seconds = |n: u32| TimeDelta::seconds(i64::from(n));
        Self {
            start_within: seconds(job.start_within_seconds),
            grace: seconds(job.grace_seconds),
            spread: seconds(job.spread_seconds.min(job.start_within_seconds)),
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Start a run; the job is running until [`Scheduler::ended`] or [`Scheduler::put_back`].
    Start(Start),
    /// Write a `missed` receipt under this plan.
    Missed {
        /// The plan that the slots were due under.
        plan: Digest,
        /// What to write.
        missed: Missed,
    },
}

/// A run to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Which job.
    pub job: Job,
    /// For which slot, and the plan that it is due under; `None` for a run asked for by hand.
    pub slot: Option<(Utc, Digest)>,
    /// Whether it starts after the slot's grace.
    pub late: bool,
}

/// Every job's slots, from the oldest that is not yet covered to those to come.
#[derive(Debug)]
pub struct Scheduler {
    parallel: usize,
    no_room: Option<String>,
    up_since: Utc,
    jumps: Vec<(Utc, Utc)>,
    holds: Vec<(Utc, Utc)>,
    runnable: BTreeSet<Job>,
    lanes: BTreeMap<Job, Lane>,
}

impl Scheduler {
    /// A scheduler that lets `parallel` runs go on at once, for an agent that is up since `up_since` and can run the jobs `runnable`.
    pub fn new(parallel: usize, up_since: Utc, runnable: impl IntoIterator<Item = Job>) -> Self {
        Self {
            parallel: parallel.max(1),
            no_room: None,
            up_since,
            jumps: Vec::new(),
            holds: Vec::new(),
            runnable: runnable.into_iter().collect(),
            lanes: BTreeMap::new(),
        }
    }

    /// Adds a slot that was due before this start and has no receipt yet; of one job, oldest first, and before [`Scheduler::adopt`].
    pub fn restore(&mut self, job: &Job, plan: Digest, slot: Utc, terms: Terms) {
        let lane = self.lanes.entry(job.clone()).or_default();
        if lane.reached.is_none_or(|reached| reached < slot) {
            lane.reached = Some(slot);
            lane.due.push_back(Due { slot, plan, terms });
        }
    }

    /// Says that every slot of the job up to this one has left the scheduler: it has a receipt, or its run is in the spool.
    pub fn covered(&mut self, job: &Job, slot: Utc) {
        let lane = self.lanes.entry(job.clone()).or_default();
        lane.reached = lane.reached.max(Some(slot));
        lane.due.retain(|due| due.slot > slot);
    }

    /// Says that the agent died while it ran this slot.
    pub fn crashed(&mut self, job: &Job, slot: Utc) {
        self.lanes.entry(job.clone()).or_default().crashed = Some(slot);
    }

    /// Puts a plan in force, from its sealing: earlier slots keep the plan that they were due under.
    pub fn adopt(&mut self, digest: Digest, plan: &Plan) {
        for lane in self.lanes.values_mut() {
            lane.pull(plan.sealed_at, false);
            lane.feed = None;
        }
        for planned in &plan.jobs {
            let Some(schedule) = &planned.schedule else { continue };
            let lane = self.lanes.entry(planned.job.clone()).or_default();
            lane.feed = Some(Feed {
                plan: digest,
                schedule: schedule.clone(),
                zone: plan.zones.get(&schedule.zone).cloned().unwrap_or_default(),
                terms: Terms::from(planned),
                from: plan.sealed_at,
                next: None,
            });
        }
    }

    /// Says that the clock went from one instant to the other at once while the agent was up.
    pub fn jumped(&mut self, from: Utc, to: Utc) {
        self.jumps.push((from, to));
    }

    /// Says that the clock was not believed from one instant to the other while the agent was up: nothing could start.
    pub fn held(&mut self, from: Utc, to: Utc) {
        self.holds.push((from, to));
    }

    /// Says why there is no room for what runs read, if so: then none starts, and slots that pass are `blocked`.
    pub fn no_room(&mut self, why: Option<String>) {
        self.no_room = why;
    }

    /// Asks for a run of the job by hand; asked twice before it starts, it runs once.
    pub fn request(&mut self, job: &Job) {
        self.lanes.entry(job.clone()).or_default().by_hand = true;
    }

    /// What is to be done at `now`: slots that can no longer start become missed, then runs start while there is room, the longest
    /// waiting first. Missed slots of a running job wait for its end, since receipts of a job are in slot order.
    pub fn decide(&mut self, now: Utc) -> Vec<Decision> {
        let mut out = Vec::new();
        let mut ready = Vec::new();
        for (job, lane) in &mut self.lanes {
            lane.pull(now, true);
            if lane.running.is_some() {
                continue;
            }
            let runnable = self.runnable.contains(job);
            let view = View {
                up_since: self.up_since,
                jumps: &self.jumps,
                holds: &self.holds,
                runnable,
                no_room: self.no_room.as_deref(),
            };
            expire(job, lane, now, &view, &mut out);
            if lane.by_hand && runnable {
                ready.push((Utc::MIN_UTC, job.clone()));
            } else if runnable
                && let Some(at) = lane.start_at(job)
                && at <= now
            {
                ready.push((at, job.clone()));
            }
        }
        ready.sort();
        let room = if self.no_room.is_some() { 0 } else { self.parallel.saturating_sub(self.running()) };
        for (_, job) in ready.into_iter().take(room) {
            let Some(lane) = self.lanes.get_mut(&job) else { continue };
            out.push(Decision::Start(lane.start(job, now)));
        }
        out
    }

    /// The job's run ended, and what it left is in the spool.
    pub fn ended(&mut self, job: &Job, now: Utc) {
        if let Some(lane) = self.lanes.get_mut(job)
            && let Some(running) = lane.running.take()
        {
            lane.busy = Some((running.since, now));
            lane.blocked = running.blocked;
        }
    }

    /// The run could not be started, or left nothing: its slot is tried again from `not_before` on, while it may still start.
    pub fn put_back(&mut self, job: &Job, not_before: Utc) {
        if let Some(lane) = self.lanes.get_mut(job)
            && let Some(running) = lane.running.take()
        {
            match running.due {
                Some(due) => lane.due.push_front(due),
                None => lane.by_hand = true,
            }
            lane.not_before = Some(not_before);
            lane.blocked = true;
        }
    }

    /// The job's run ended and waits for room in the spool: slots that pass meanwhile are `blocked`, not `overrun`.
    pub fn blocked(&mut self, job: &Job) {
        if let Some(running) = self.lanes.get_mut(job).and_then(|lane| lane.running.as_mut()) {
            running.blocked = true;
        }
    }

    /// When to decide again, if nothing ends and nobody asks before.
    pub fn wake(&self, now: Utc) -> Option<Utc> {
        let full = self.no_room.is_some() || self.running() >= self.parallel;
        self.lanes
            .iter()
            .filter(|(_, lane)| lane.running.is_none())
            .filter_map(|(job, lane)| {
                let Some(head) = lane.due.front() else { return lane.next() };
                let gone = head.slot + head.terms.start_within + TimeDelta::milliseconds(1);
                match lane.start_at(job) {
                    Some(at) if self.runnable.contains(job) && !(full && at <= now) => Some(at.min(gone)),
                    _ => Some(gone),
                }
            })
            .min()
    }

    /// How many runs go on.
    pub fn running(&self) -> usize {
        self.lanes.values().filter(|lane| lane.running.is_some()).count()
    }

    /// The jobs that run, with their slots.
    pub fn running_jobs(&self) -> Vec<(Job, Option<Utc>)> {
        let running = |(job, lane): (&Job, &Lane)| {
            lane.running.as_ref().map(|running| (job.clone(), running.due.as_ref().map(|due| due.slot)))
        };
        self.lanes.iter().filter_map(running).collect()
    }

    /// Each job's next slot, or its oldest that has not started.
    pub fn next_slots(&self) -> Vec<(Job, Utc)> {
        let next = |(job, lane): (&Job, &Lane)| {
            lane.due.front().map(|due| due.slot).or_else(|| lane.next()).map(|slot| (job.clone(), slot))
        };
        self.lanes.iter().filter_map(next).collect()
    }
}

/// What decides the cause of a missed slot.
struct View<'a> {
    up_since: Utc,
    jumps: &'a [(Utc, Utc)],
    holds: &'a [(Utc, Utc)],
    runnable: bool,
    no_room: Option<&'a str>,
}

/// Takes the slots that can no longer start, and groups consecutive ones of one plan and cause.
fn expire(job: &Job, lane: &mut Lane, now: Utc, view: &View<'_>, out: &mut Vec<Decision>) {
    let mut group: Option<(Digest, Missed)> = None;
    while let Some(due) = lane.due.front()
        && due.slot + due.terms.start_within < now
    {
        let (slot, plan) = (due.slot, due.plan);
        let (cause, detail) = cause(lane, due, view);
        lane.due.pop_front();
        match &mut group {
            Some((same, missed)) if *same == plan && missed.cause == cause => {
                missed.last = slot;
                missed.count += 1;
            }
            _ => {
                let missed = Missed { job: job.clone(), first: slot, last: slot, count: 1, cause, detail };
                if let Some((plan, missed)) = group.replace((plan, missed)) {
                    out.push(Decision::Missed { plan, missed });
                }
            }
        }
    }
    if let Some((plan, missed)) = group {
        out.push(Decision::Missed { plan, missed });
    }
}

fn cause(lane: &Lane, due: &Due, view: &View<'_>) -> (Cause, String) {
    let gone = due.slot + due.terms.start_within;
    if lane.crashed == Some(due.slot) {
        return (Cause::Crashed, "the agent ended during this run, before anything of it was kept".into());
    }
    if gone < view.up_since {
        return (Cause::Down, format!("no agent was running; this one started at {}", rfc3339(view.up_since)));
    }
    if let Some((from, to)) = view.jumps.iter().find(|(from, to)| *from <= gone && gone <= *to) {
        return (Cause::Clock, format!("the clock went from {} to {} at once", rfc3339(*from), rfc3339(*to)));
    }
    if let Some((from, to)) = view.holds.iter().find(|(from, to)| *from <= gone && gone <= *to) {
        let detail = format!("the clock was not believed from {} to {}: nothing was run", rfc3339(*from), rfc3339(*to));
        return (Cause::Clock, detail);
    }
    if lane.blocked {
        return (Cause::Blocked, "a run could not be started, or could not be kept: no room in state_dir".into());
    }
    if let Some(why) = view.no_room {
        return (Cause::Blocked, format!("no room for what a run reads: {why}"));
    }
    if let Some((from, to)) = lane.busy
        && from <= gone
        && gone <= to
    {
        return (Cause::Overrun, format!("the run before went on from {} to {}", rfc3339(from), rfc3339(to)));
    }
    if !view.runnable {
        return (Cause::Blocked, "the job is no longer in the configuration".into());
    }
    (Cause::Blocked, "every place for parallel runs was taken".into())
}

#[cfg(test)]
mod tests;
