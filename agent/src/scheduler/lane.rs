//! One job's slots in order. It never hands out two runs at once, nor a slot twice.

use std::collections::VecDeque;

use chrono::TimeDelta;
use signing::{
    digest::Digest,
    layout::Job,
    plan::{Offset, Schedule},
    time::Utc,
};

use super::{Start, Terms};

/// A slot that was due and has not left yet.
#[derive(Debug, Clone)]
pub struct Due {
    pub slot: Utc,
    pub plan: Digest,
    pub terms: Terms,
}

/// The schedule in force.
#[derive(Debug)]
pub struct Feed {
    pub plan: Digest,
    pub schedule: Schedule,
    pub zone: Vec<Offset>,
    pub terms: Terms,
    /// The plan's sealing.
    pub from: Utc,
    /// The first slot that was not pulled yet, once known.
    pub next: Option<Utc>,
}

#[derive(Debug)]
pub struct Running {
    pub due: Option<Due>,
    pub since: Utc,
    pub blocked: bool,
}

#[derive(Debug, Default)]
pub struct Lane {
    pub due: VecDeque<Due>,
    pub feed: Option<Feed>,
    /// The newest slot that was ever due: earlier ones are never due again.
    pub reached: Option<Utc>,
    pub running: Option<Running>,
    /// The newest run's begin and end.
    pub busy: Option<(Utc, Utc)>,
    pub by_hand: bool,
    pub not_before: Option<Utc>,
    pub blocked: bool,
    pub crashed: Option<Utc>,
}

impl Lane {
    /// The first slot of the schedule in force that was not pulled.
    pub fn next(&self) -> Option<Utc> {
        let feed = self.feed.as_ref()?;
        if feed.next.is_some() {
            return feed.next;
        }
        let from = self.reached.map_or(feed.from, |reached| feed.from.max(reached + TimeDelta::milliseconds(1)));
        // 29 February of a leap year comes within nine years, also around 2100; a date that never comes has no slot.
        feed.schedule.slots(&feed.zone, from, from + TimeDelta::days(9 * 366)).next()
    }

    /// Moves slots up to `until` into `due`: all of them with `inclusive`, else those before it.
    pub fn pull(&mut self, until: Utc, inclusive: bool) {
        loop {
            let next = self.next();
            let Some(feed) = self.feed.as_mut() else { return };
            feed.next = next;
            match next {
                Some(slot) if slot < until || (inclusive && slot == until) => {
                    self.due.push_back(Due { slot, plan: feed.plan, terms: feed.terms });
                    self.reached = Some(slot);
                    feed.next = None;
                }
                _ => return,
            }
        }
    }

    /// When the oldest due slot starts.
    pub fn start_at(&self, job: &Job) -> Option<Utc> {
        let due = self.due.front()?;
        let at = due.slot + spread(job, due.terms.spread);
        Some(self.not_before.map_or(at, |not_before| at.max(not_before)))
    }

    /// Takes the run that is next: one asked for by hand before a slot.
    pub fn start(&mut self, job: Job, now: Utc) -> Start {
        let by_hand = std::mem::take(&mut self.by_hand);
        let due = if by_hand { None } else { self.due.pop_front() };
        let start = Start {
            job,
            slot: due.as_ref().map(|due| (due.slot, due.plan)),
            late: due.as_ref().is_some_and(|due| now > due.slot + due.terms.grace),
        };
        self.not_before = None;
        self.running = Some(Running { due, since: now, blocked: false });
        start
    }
}

/// The job's place in the spread: the same at each slot, so that its runs are equally far apart.
fn spread(job: &Job, spread: TimeDelta) -> TimeDelta {
    let millis = u64::try_from(spread.num_milliseconds()).unwrap_or(0);
    let Digest(bytes) = Digest::of(job.as_str().as_bytes());
    let (first, _) = bytes.split_at(8);
    let place = first.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte)) % (millis + 1);
    TimeDelta::milliseconds(i64::try_from(place).unwrap_or(0))
}
