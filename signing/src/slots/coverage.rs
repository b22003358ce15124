//! Which slots of the plans in force have a receipt. Fed with the log's plans and receipts in the order in which they stand there;
//! memory grows with jobs, changes of schedule and slots left uncovered, not with receipts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    changes::{Terms, changes},
    report::{Change, CoverageReport, JobCoverage, PlanChange, Uncovered},
    timetable::{Timetable, ceil_second, fault, instant},
    track::{Covered, Stint, Track},
};
use crate::{
    digest::Digest,
    layout::Job,
    plan::Plan,
    statement::{Missed, Outcome},
    time::{Utc, rfc3339},
};

/// Uncovered ranges listed for a job.
const MOST_RANGES: usize = 1_000;
/// Changes of plan listed.
const MOST_CHANGES: usize = 10_000;

/// Something about plans and slots that an auditor must know.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SlotFinding {
    /// Stable: `SLOT-MISSING`, `SLOT-DOUBLE`, `SLOT-ORDER`, `SLOT-UNKNOWN`, `SLOT-PLAN`, `SLOT-COUNT`, `PLAN-ORDER`, `PLAN-CHAIN`,
    /// `PLAN-WATERMARK` or `PLAN-SCHEDULE`.
    pub code: &'static str,
    /// The leaf: the receipt or plan at fault; for `SLOT-MISSING` the plan that names the slot.
    pub index: u64,
    /// The job, where one is concerned.
    pub job: Option<Job>,
    /// The slot, or the first of several.
    pub slot: Option<Utc>,
    /// What is the matter.
    pub sentence: String,
}

/// Plans against receipts.
#[derive(Debug, Default)]
pub struct Coverage {
    plans: Vec<InForce>,
    by_digest: HashMap<Digest, usize>,
    pub(super) tracks: BTreeMap<Job, Track>,
    /// What the newest plan says of its scheduled jobs.
    terms: BTreeMap<Job, Terms>,
    /// The same of the newest plan that had any, while nothing is scheduled.
    paused: Option<BTreeMap<Job, Terms>>,
    /// Where the past is not known but trusted, the second at which knowledge begins.
    trusted_before: Option<i64>,
    findings: Vec<SlotFinding>,
    changes: Vec<PlanChange>,
    more_changes: u64,
    first_scheduled: Option<Utc>,
    /// When the newest plan without schedules ended those before it.
    ended: Option<Utc>,
}

/// A plan, and the second from which on it is in force.
#[derive(Debug, Clone, Copy)]
pub(super) struct InForce {
    from: i64,
    /// Its own, or a later one of a plan before it.
    sealed_at: Utc,
    pub(super) digest: Digest,
    index: u64,
}

impl Coverage {
    /// For a log that is read from its first leaf.
    pub fn new() -> Self {
        Self::default()
    }

    /// For a log that is read from a plan on: its watermarks, and those of the plans after it, are believed, and receipts for slots
    /// before it are passed over. [`Plan::read_back_from`] tells which plan is old enough.
    pub fn resume(index: u64, digest: Digest, plan: &Plan) -> Self {
        let mut coverage = Self { trusted_before: Some(ceil_second(plan.sealed_at)), ..Self::default() };
        coverage.plan(index, digest, plan);
        coverage
    }

    /// The next plan of the log. It is in force from its sealing on.
    pub fn plan(&mut self, index: u64, digest: Digest, plan: &Plan) {
        let from = self.enter(index, digest, plan);
        let mut terms = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for job in &plan.jobs {
            if !seen.insert(&job.job) {
                let sentence = format!("the plan names {} twice; the first entry counts", job.job);
                self.find("PLAN-SCHEDULE", index, Some(&job.job), None, sentence);
                continue;
            }
            let Some(said) = Terms::of(plan, job) else { continue };
            if !self.terms.get(&job.job).is_some_and(|before| before.same_slots(&said)) {
                let zone = plan.zones.get(&said.schedule.zone).map(Vec::as_slice);
                if let Some(fault) = fault(&said.schedule, zone) {
                    let sentence = format!("the plan's schedule of {} cannot be followed: {fault}", job.job);
                    self.find("PLAN-SCHEDULE", index, Some(&job.job), None, sentence);
                }
            }
            terms.insert(job.job.clone(), said);
        }
        self.note_changes(index, digest, plan, from, &terms);
        self.put_in_force(from, &terms);
        self.terms = terms;
        self.check_watermarks(index, plan);
    }

    /// Chain and order; the second from which on the plan is in force.
    fn enter(&mut self, index: u64, digest: Digest, plan: &Plan) -> i64 {
        let before = self.plans.last().copied();
        let chained = match (before, plan.previous) {
            (Some(before), previous) => previous == Some(before.digest),
            (None, previous) => previous.is_none() || self.trusted_before.is_some(),
        };
        if !chained {
            let name = |digest: Option<Digest>| digest.map_or_else(|| "no plan".to_owned(), |d| format!("plan {d}"));
            let sentence = format!(
                "the plan says that {} came before it; in the log it is {}",
                name(plan.previous),
                name(before.map(|b| b.digest))
            );
            self.find("PLAN-CHAIN", index, None, None, sentence);
        }
        let mut sealed_at = plan.sealed_at;
        if let Some(before) = before.filter(|b| sealed_at < b.sealed_at) {
            let sentence = format!(
                "the plan was sealed at {}, before {}, the sealing of one that precedes it in the log; it counts from then on",
                rfc3339(sealed_at),
                rfc3339(before.sealed_at)
            );
            self.find("PLAN-ORDER", index, None, None, sentence);
            sealed_at = before.sealed_at;
        }
        let from = ceil_second(sealed_at);
        let ahead = self.tracks.iter().filter_map(|(job, track)| Some((track.last_covered?, job))).max();
        if let Some((slot, job)) = ahead.filter(|(slot, _)| *slot >= from).map(|(slot, job)| (slot, job.clone())) {
            let sentence = format!(
                "the plan takes force at {}, but the slot of {job} at {} already has a receipt under the plan before",
                rfc3339(plan.sealed_at),
                rfc3339(instant(slot))
            );
            self.find("PLAN-ORDER", index, Some(&job), Some(instant(slot)), sentence);
        }
        self.by_digest.entry(digest).or_insert(self.plans.len());
        self.plans.push(InForce { from, sealed_at, digest, index });
        from
    }

    fn note_changes(&mut self, index: u64, digest: Digest, plan: &Plan, from: i64, terms: &BTreeMap<Job, Terms>) {
        let mut list = Vec::new();
        if terms.is_empty() && !self.terms.is_empty() {
            list.push((Change::Paused { jobs: self.terms.len() as u64 }, true));
            self.ended = Some(plan.sealed_at);
            self.paused = Some(std::mem::take(&mut self.terms));
        } else if !terms.is_empty() {
            let paused = self.paused.take();
            if paused.is_some() {
                list.push((Change::Resumed { jobs: terms.len() as u64 }, false));
            }
            if self.plans.len() > 1 {
                list.extend(changes(paused.as_ref().unwrap_or(&self.terms), terms, plan, from));
            }
            self.first_scheduled.get_or_insert(plan.sealed_at);
            self.ended = None;
        }
        for (change, lowers) in list {
            if self.changes.len() < MOST_CHANGES {
                let (at, reason) = (plan.sealed_at, plan.reason.clone());
                self.changes.push(PlanChange { index, plan: digest, at, reason, change, lowers });
            } else {
                self.more_changes += 1;
            }
        }
    }

    fn put_in_force(&mut self, from: i64, terms: &BTreeMap<Job, Terms>) {
        for (job, track) in &mut self.tracks {
            if !terms.contains_key(job) {
                track.change(from, None);
            }
        }
        for (job, said) in terms {
            let track = self.tracks.entry(job.clone()).or_default();
            if track.open().is_some() && self.terms.get(job).is_some_and(|before| before.same_slots(said)) {
                continue;
            }
            let table = Timetable::new(&said.schedule, &said.zone).into();
            let (schedule, allowance) = (said.schedule.clone(), said.allowance);
            track.change(from, Some(Stint { from, until: i64::MAX, schedule, table, allowance }));
        }
    }

    fn check_watermarks(&mut self, index: u64, plan: &Plan) {
        for job in &plan.jobs {
            let Some((track, mark)) = self.tracks.get_mut(&job.job).zip(job.watermark) else { continue };
            if self.trusted_before.is_some() {
                track.trust(ceil_second(mark));
            } else if let Some(slot) = track.first_uncovered(ceil_second(mark)).map(instant) {
                let sentence = format!(
                    "the plan says that every slot of {} before {} has a receipt; the one at {} has none before this entry",
                    job.job,
                    rfc3339(mark),
                    rfc3339(slot)
                );
                self.find("PLAN-WATERMARK", index, Some(&job.job), Some(slot), sentence);
            }
        }
    }

    /// The next receipt of the log, of a run that filled a slot under the plan that it names.
    pub fn receipt(&mut self, index: u64, plan: Digest, job: &Job, slot: Utc, outcome: Outcome, late: bool) {
        let Some(second) = self.slot_of_receipt(index, job, slot) else { return };
        self.check_plan(index, plan, job, second);
        let Some(covered) = self.cover(index, job, second, second) else { return };
        if let Some(track) = self.tracks.get_mut(job).filter(|_| covered > 0) {
            track.counts.judged += 1;
            *track.counts.outcomes.entry(outcome).or_default() += 1;
            track.counts.late += u64::from(late);
        }
    }

    /// The next receipt of the log, of a run asked for by hand: it fills no slot.
    pub fn by_hand(&mut self, job: &Job) {
        self.tracks.entry(job.clone()).or_default().by_hand += 1;
    }

    /// The next receipt of the log, for slots that were missed under the plan that it names.
    pub fn missed(&mut self, index: u64, plan: Digest, missed: &Missed) {
        let job = &missed.job;
        if missed.last < missed.first {
            let sentence = format!(
                "the missed slots of {job} end at {}, before they begin at {}; it covers none",
                rfc3339(missed.last),
                rfc3339(missed.first)
            );
            return self.find("SLOT-COUNT", index, Some(job), Some(missed.first), sentence);
        }
        let Some(last) = self.slot_of_receipt(index, job, missed.last) else { return };
        let known_from = self.trusted_before.unwrap_or(i64::MIN);
        let first = if ceil_second(missed.first) < known_from {
            known_from
        } else {
            let Some(first) = self.slot_of_receipt(index, job, missed.first) else { return };
            self.check_plan(index, plan, job, first);
            if self.in_force(first).map(|p| p.digest) != self.in_force(last).map(|p| p.digest) {
                let sentence = format!(
                    "the missed slots of {job} from {} to {} were due under more than one plan",
                    rfc3339(missed.first),
                    rfc3339(missed.last)
                );
                self.find("SLOT-PLAN", index, Some(job), Some(missed.first), sentence);
            }
            let count = self.tracks.get(job).map_or(0, |track| track.count(first, last + 1));
            if count != missed.count {
                let sentence = format!(
                    "the receipt says that {} slots of {job} were missed from {} to {}; the plan names {count}",
                    missed.count,
                    rfc3339(missed.first),
                    rfc3339(missed.last)
                );
                self.find("SLOT-COUNT", index, Some(job), Some(missed.first), sentence);
            }
            first
        };
        let Some(covered) = self.cover(index, job, first, last) else { return };
        if let Some(track) = self.tracks.get_mut(job).filter(|_| covered > 0) {
            track.counts.judged += covered;
            *track.counts.missed.entry(missed.cause).or_default() += covered;
        }
    }

    /// The slot that a receipt names, if the plans name it too; `None` also where the past is only trusted.
    fn slot_of_receipt(&mut self, index: u64, job: &Job, slot: Utc) -> Option<i64> {
        let second = ceil_second(slot);
        if self.trusted_before.is_some_and(|known_from| second < known_from) {
            return None;
        }
        let why = match self.tracks.get(job).map(|track| (track, track.stint(second))) {
            Some((track, Some(_))) if slot.timestamp_subsec_nanos() == 0 && track.is_slot(second) => {
                return Some(second);
            }
            Some((_, Some(stint))) => format!("`{} {}` does not name it", stint.schedule.text, stint.schedule.zone),
            Some((_, None)) => "the plan in force then has no schedule for the job".to_owned(),
            None => "no plan before this entry has a schedule for the job".to_owned(),
        };
        let slot_text = slot.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
        let sentence = format!("the receipt is for {job} at {slot_text}, which is no slot: {why}");
        self.find("SLOT-UNKNOWN", index, Some(job), Some(slot), sentence);
        None
    }

    /// Whether the receipt names the plan that its slot was due under.
    fn check_plan(&mut self, index: u64, plan: Digest, job: &Job, second: i64) {
        let Some(due) = self.in_force(second).filter(|due| due.digest != plan) else { return };
        let named = match self.by_digest.get(&plan).map(|at| self.plans[*at]) {
            Some(named) => format!("the plan at entry {}", named.index),
            None => format!("plan {plan}, which is not in the log before it"),
        };
        let slot = instant(second);
        let sentence = format!(
            "the receipt for {job} at {} names {named}; the slot was due under the plan at entry {}",
            rfc3339(slot),
            due.index
        );
        self.find("SLOT-PLAN", index, Some(job), Some(slot), sentence);
    }

    /// Covers the slots from `first` to `last`, both slots; how many had no receipt.
    fn cover(&mut self, index: u64, job: &Job, first: i64, last: i64) -> Option<u64> {
        let Covered { new, late_in_log, doubled } = self.tracks.get_mut(job)?.cover(first, last + 1);
        let slot = instant(first);
        if doubled > 0 {
            let which = if first == last {
                format!("the slot of {job} at {} has", rfc3339(slot))
            } else {
                format!("{doubled} slots of {job} from {} to {} have", rfc3339(slot), rfc3339(instant(last)))
            };
            let sentence = format!("{which} a receipt already; the first one counts");
            self.find("SLOT-DOUBLE", index, Some(job), Some(slot), sentence);
        }
        if late_in_log > 0 {
            let sentence = format!(
                "the receipt for {job} at {} comes after one for a later slot; receipts of a job stand in slot order",
                rfc3339(slot)
            );
            self.find("SLOT-ORDER", index, Some(job), Some(slot), sentence);
        }
        Some(new + late_in_log)
    }

    /// What was found since the last call, in log order; after [`Coverage::finish`] also the slots without a receipt.
    pub fn take_findings(&mut self) -> Vec<SlotFinding> {
        std::mem::take(&mut self.findings)
    }

    /// Judges every slot whose time for a receipt was over at `as_of`. To be called once, when the log has been read. Receipts that
    /// were fed count whatever their slot.
    pub fn finish(&mut self, as_of: Utc) -> CoverageReport {
        let last = match self.ended {
            _ if self.first_scheduled.is_none_or(|first| first > as_of) => None,
            Some(ended) => Some(ended.min(as_of)),
            None => Some(as_of),
        };
        let mut report = CoverageReport {
            as_of,
            first: self.first_scheduled.filter(|_| last.is_some()),
            last,
            in_force: last.is_some() && self.ended.is_none_or(|ended| ended > as_of),
            plans: self.plans.len() as u64,
            total: super::SlotCounts::default(),
            by_hand: 0,
            jobs: Vec::new(),
            changes: self.changes.clone(),
            more_changes: self.more_changes,
        };
        for (job, track) in &self.tracks {
            let (coverage, findings) = self.judge(job, track, as_of.timestamp());
            report.total.add(&coverage.counts);
            report.by_hand += coverage.by_hand;
            report.jobs.push(coverage);
            self.findings.extend(findings);
        }
        report
    }

    fn judge(&self, job: &Job, track: &Track, as_of: i64) -> (JobCoverage, Vec<SlotFinding>) {
        let mut counts = track.counts.clone();
        let (mut uncovered, mut findings) = (Vec::new(), Vec::new());
        let (mut more, mut more_slots) = (0, 0);
        for (from, to) in track.uncovered(as_of.saturating_add(1)) {
            for (stint, from, to) in track.parts(from, to) {
                let judged_to = as_of.saturating_sub(stint.allowance).saturating_add(1).clamp(from, to);
                counts.open += stint.table.count(judged_to, to);
                let count = stint.table.count(from, judged_to);
                let Some((first, last)) = stint.table.next(from, judged_to).zip(stint.table.last(from, judged_to))
                else {
                    continue;
                };
                counts.uncovered += count;
                counts.judged += count;
                if uncovered.len() == MOST_RANGES {
                    more += 1;
                    more_slots += count;
                    continue;
                }
                let plan = self.in_force(first).unwrap_or(&self.plans[0]);
                let (first, last) = (instant(first), instant(last));
                uncovered.push(Uncovered { first, last, count, plan: plan.digest });
                let which = match count {
                    1 => format!("the slot of {job} at {} has", rfc3339(first)),
                    _ => format!("{count} slots of {job} from {} to {} have", rfc3339(first), rfc3339(last)),
                };
                findings.push(SlotFinding {
                    code: "SLOT-MISSING",
                    index: plan.index,
                    job: Some(job.clone()),
                    slot: Some(first),
                    sentence: format!("{which} no receipt, though the plan at entry {} names it", plan.index),
                });
            }
        }
        if let Some(newest) = self.plans.last().filter(|_| more > 0) {
            findings.push(SlotFinding {
                code: "SLOT-MISSING",
                index: newest.index,
                job: Some(job.clone()),
                slot: None,
                sentence: format!("{more_slots} further slots of {job}, in {more} ranges, have no receipt"),
            });
        }
        let coverage = JobCoverage {
            job: job.clone(),
            counts,
            by_hand: track.by_hand,
            last_covered: track.last_covered.map(instant),
            uncovered,
            more_uncovered: more,
        };
        (coverage, findings)
    }

    /// Every slot at or before `upto` that has no receipt yet, with the plan that it was due under; by job, ascending, found one at a
    /// time.
    pub fn due(&self, upto: Utc) -> impl Iterator<Item = (Job, Digest, Utc)> + '_ {
        let to = upto.timestamp().saturating_add(1);
        self.tracks.iter().flat_map(move |(job, track)| {
            track.uncovered(to).flat_map(move |(from, to)| {
                let first = track.next(from, to);
                std::iter::successors(first, move |slot| track.next(slot + 1, to))
                    .filter_map(move |slot| Some((job.clone(), self.in_force(slot)?.digest, instant(slot))))
            })
        })
    }

    /// The job's slots before `before` that have no receipt yet, in ranges of one plan each: what one `missed` receipt may cover.
    pub fn uncovered<'a>(&'a self, job: &Job, before: Utc) -> impl Iterator<Item = Uncovered> + 'a {
        let to = ceil_second(before);
        self.tracks.get(job).into_iter().flat_map(move |track| {
            track.uncovered(to).flat_map(move |(mut from, to)| {
                std::iter::from_fn(move || {
                    let first = track.next(from, to)?;
                    let at = self.plans.partition_point(|p| p.from <= first);
                    from = self.plans.get(at).map_or(to, |next| next.from.min(to));
                    let last =
                        track.parts(first, from).filter_map(|(stint, from, to)| stint.table.last(from, to)).last();
                    Some(Uncovered {
                        first: instant(first),
                        last: instant(last.unwrap_or(first)),
                        count: track.count(first, from),
                        plan: self.plans[at.checked_sub(1)?].digest,
                    })
                })
            })
        })
    }

    /// The job's newest slot with a receipt.
    pub fn last_covered(&self, job: &Job) -> Option<Utc> {
        self.tracks.get(job)?.last_covered.map(instant)
    }

    /// The watermark for a plan that is sealed at `sealed_at`: every slot of the job before it has a receipt in the log so far.
    pub fn watermark(&self, job: &Job, sealed_at: Utc) -> Utc {
        let first = self.tracks.get(job).and_then(|track| track.first_uncovered(ceil_second(sealed_at)));
        first.map_or(sealed_at, instant)
    }

    /// The plan in force at a second.
    pub(super) fn in_force(&self, second: i64) -> Option<&InForce> {
        let at = self.plans.partition_point(|plan| plan.from <= second).checked_sub(1)?;
        self.plans.get(at)
    }

    fn find(&mut self, code: &'static str, index: u64, job: Option<&Job>, slot: Option<Utc>, sentence: String) {
        self.findings.push(SlotFinding { code, index, job: job.cloned(), slot, sentence });
    }
}
