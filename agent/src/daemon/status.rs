//! What the daemon tells of itself when it is asked.

use super::Daemon;
use crate::{
    control::{Away, Next, Running, Status},
    room,
    scheduler::Scheduler,
};

impl Daemon {
    /// What it does, what waits, and what is in its way.
    pub(super) fn status(&self) -> Status {
        let status = self.pipeline.status().borrow().clone();
        let scheduler = self.scheduler.as_ref();
        let held = (status.held > 0).then(|| {
            format!(
                "{} entries are held in the spool and need a person: the daemon's log says why (ALARM)",
                status.held
            )
        });
        let running = scheduler.map(Scheduler::running_jobs).unwrap_or_default();
        let next = scheduler.map(Scheduler::next_slots).unwrap_or_default();
        Status {
            pid: Some(std::process::id()),
            origin: self.pipeline.options().origin.clone(),
            paused: self.paused.clone(),
            held: self.held.borrow().clone(),
            spooled: status.pending as u64,
            oldest: self.pipeline.oldest(),
            trouble: status.last_error.or(held),
            away: status.away.map(|away| Away { since: Some(away.since), why: away.why }),
            room: room::look(&self.settings.state_dir, self.pipeline.spool_bytes(), self.settings.max_spool_bytes),
            checkpoint: status.checkpoint,
            last_sealed: self.pipeline.last_sealed(),
            anchors: self.anchors.as_ref().map(|anchors| anchors.borrow().clone()).unwrap_or_default(),
            witnesses: self.witnesses.as_ref().map(|witnesses| witnesses.borrow().clone()).unwrap_or_default(),
            running: running.into_iter().map(|(job, slot)| Running { job, slot }).collect(),
            next: next.into_iter().map(|(job, slot)| Next { job, slot }).collect(),
            last: self.last.iter().cloned().collect(),
        }
    }
}
