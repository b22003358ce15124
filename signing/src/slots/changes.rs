//! What one plan says of its jobs, and how another one differs.

use std::{collections::BTreeMap, sync::Arc};

use super::{report::Change, timetable::Timetable};
use crate::{
    digest::Digest,
    layout::Job,
    plan::{Offset, Plan, PlannedJob, Schedule},
};

/// What a plan says of a scheduled job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) schedule: Arc<Schedule>,
    pub(super) zone: Arc<[Offset]>,
    /// Seconds from a slot until it is judged.
    pub(super) allowance: i64,
    version: u32,
    checks: Digest,
}

impl Terms {
    /// `None` without a schedule.
    pub(super) fn of(plan: &Plan, job: &PlannedJob) -> Option<Self> {
        let schedule = job.schedule.as_ref()?;
        let seconds = [job.start_within_seconds, job.deadline_seconds, plan.settle_seconds];
        Some(Self {
            schedule: Arc::new(schedule.clone()),
            zone: plan.zones.get(&schedule.zone).map_or_else(|| Arc::from([]), |zone| Arc::from(zone.as_slice())),
            allowance: seconds.into_iter().map(i64::from).sum(),
            version: job.version,
            checks: job.checks,
        })
    }

    /// Whether both name the same slots and judge them at the same time.
    pub(super) fn same_slots(&self, other: &Self) -> bool {
        self.allowance == other.allowance && self.zone == other.zone && same(&self.schedule, &other.schedule)
    }
}

/// Whether two schedules are the same but for their text.
fn same(a: &Schedule, b: &Schedule) -> bool {
    a == b || Schedule { text: b.text.clone(), ..a.clone() } == *b
}

fn words(schedule: &Schedule) -> String {
    format!("{} {}", schedule.text, schedule.zone)
}

/// How `after`, in force from the second `at`, differs from `before`, and whether that lowers what is looked at.
pub(super) fn changes(
    before: &BTreeMap<Job, Terms>,
    after: &BTreeMap<Job, Terms>,
    plan: &Plan,
    at: i64,
) -> Vec<(Change, bool)> {
    let mut list = Vec::new();
    for (job, old) in before {
        let Some(new) = after.get(job) else {
            let because = plan.not_run.iter().find(|n| n.job == *job).map(|n| n.reason.clone());
            list.push((Change::Removed { job: job.clone(), schedule: words(&old.schedule), because }, true));
            continue;
        };
        if !same(&old.schedule, &new.schedule) {
            let year =
                |terms: &Terms| Timetable::new(&terms.schedule, &terms.zone).count(at, at.saturating_add(366 * 86_400));
            list.push((
                Change::Schedule { job: job.clone(), before: words(&old.schedule), after: words(&new.schedule) },
                year(new) < year(old),
            ));
        }
        if old.allowance != new.allowance {
            let seconds = |terms: &Terms| terms.allowance.unsigned_abs();
            list.push((
                Change::Allowance { job: job.clone(), before_seconds: seconds(old), after_seconds: seconds(new) },
                old.allowance < new.allowance,
            ));
        }
        if (old.version, old.checks) != (new.version, new.checks) {
            list.push((Change::Checks { job: job.clone() }, false));
        }
    }
    for (job, new) in after.iter().filter(|(job, _)| !before.contains_key(job)) {
        list.push((Change::Added { job: job.clone(), schedule: words(&new.schedule) }, false));
    }
    let mut zones: BTreeMap<&str, (&[Offset], &[Offset])> = BTreeMap::new();
    for (job, old) in before {
        if let Some(new) = after.get(job).filter(|new| new.schedule.zone == old.schedule.zone && new.zone != old.zone) {
            zones.insert(&old.schedule.zone, (&old.zone, &new.zone));
        }
    }
    for (zone, (old, new)) in zones {
        if !agree(old, new, at) {
            list.push((Change::Zone { zone: zone.to_owned() }, false));
        }
    }
    list
}

/// Whether two lists of offsets say the same from `at` until the first of them ends: a later plan sees further.
fn agree(old: &[Offset], new: &[Offset], at: i64) -> bool {
    let second = |offset: &Offset| offset.from.map_or(i64::MIN, |from| from.timestamp());
    let end = [old, new].iter().map(|list| list.last().map_or(i64::MIN, second)).min().unwrap_or(i64::MIN);
    let said = |list: &[Offset]| -> (Option<i32>, Vec<(i64, i32)>) {
        let first = list.iter().rfind(|o| second(o) <= at).map(|o| o.seconds);
        (first, list.iter().map(|o| (second(o), o.seconds)).filter(|(from, _)| *from > at && *from <= end).collect())
    };
    said(old) == said(new)
}
