//! The report against the simulation's own account: every figure, exactly.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use report::model::{DriftEvent, DriftKind, OccurrenceState, Report};
use signing::{layout::Job, time::Utc};

use crate::{
    account::{Account, Fate},
    kept::{Failing, State},
    promises,
    scenario::{DAY, Reads},
};

/// The most differences that are printed.
const MOST: usize = 40;

/// What differs, in words.
pub struct Differences<'a> {
    account: &'a Account<'a>,
    pub all: Vec<String>,
    pub compared: u64,
}

/// Holds the report against the account.
pub fn compare<'a>(report: &Report, drift: &[DriftEvent], account: &'a Account<'a>) -> Differences<'a> {
    let mut differences = Differences { account, all: Vec::new(), compared: 0 };
    differences.jobs(report);
    differences.controls(report);
    differences.deviations(report);
    differences.approvals(report);
    differences.trends(report);
    differences.drift(drift);
    differences.changes(report);
    differences
}

impl Differences<'_> {
    /// Fails with the first differences.
    pub fn none(&self) {
        let shown = self.all.iter().take(MOST).cloned().collect::<Vec<_>>().join("\n");
        assert!(self.all.is_empty(), "{} of {} figures differ:\n{shown}", self.all.len(), self.compared);
        println!("{} figures agree", self.compared);
    }

    fn same<T: PartialEq + Debug>(&mut self, what: impl FnOnce() -> String, report: T, account: T) {
        self.compared += 1;
        if report != account {
            self.all.push(format!("{}: the report says {report:?}, the account {account:?}", what()));
        }
    }

    /// Seconds since the period began.
    fn seconds(&self, at: Utc) -> i64 {
        (at - self.account.scenario.zero).num_seconds()
    }

    fn place(&self, job: &Job) -> usize {
        let name = |plan: &crate::scenario::JobPlan| plan.name() == job.as_str();
        self.account.scenario.jobs.iter().position(name).expect("the report has no other jobs")
    }

    fn jobs(&mut self, report: &Report) {
        let account = self.account;
        self.same(|| "jobs".into(), report.jobs.len(), account.scenario.jobs.len());
        for job in &report.jobs {
            let (at, name) = (self.place(&job.job), job.job.to_string());
            let (totals, late) = account.totals(at);
            let word = |word: &dyn Debug| format!("{word:?}").to_lowercase();
            let found = job.slots.outcomes.iter().map(|(outcome, count)| (word(outcome), *count));
            let missed = job.slots.missed.iter().map(|(cause, count)| (format!("missed {}", word(cause)), *count));
            let own = totals.iter().filter_map(|(fate, count)| match fate {
                Fate::Uncovered | Fate::Open => None,
                Fate::Missed(cause) => Some((format!("missed {cause}"), *count)),
                fate => Some((word(fate), *count)),
            });
            let of = |fate| totals.get(&fate).copied().unwrap_or_default();
            let (uncovered, open) = (of(Fate::Uncovered), of(Fate::Open));
            let judged = totals.values().sum::<u64>() - open;
            self.same(
                || format!("slots of {name}"),
                found.chain(missed).collect::<BTreeMap<_, _>>(),
                own.collect::<BTreeMap<_, _>>(),
            );
            let counts = (job.slots.judged, job.slots.late, job.slots.uncovered, job.slots.open);
            self.same(|| format!("judged, late, uncovered, open of {name}"), counts, (judged, late, uncovered, open));
            self.same(|| format!("runs by hand of {name}"), job.by_hand, account.by_hand(at));
            let days = account.days(at);
            self.same(|| format!("days of {name}"), job.days.len(), days.len());
            for (day, (_, own)) in job.days.iter().zip(days) {
                let slots = [day.collected, day.partial, day.failed, day.missed, day.uncovered, day.open];
                let found: Vec<u32> = slots.into_iter().chain([day.failing]).collect();
                self.same(|| format!("{name} on {}", day.day), found, own.to_vec());
            }
            let gaps = job
                .window_gaps
                .as_ref()
                .map(|gaps| gaps.iter().map(|gap| (self.seconds(gap.from), self.seconds(gap.to))).collect::<Vec<_>>());
            let reads = account.scenario.jobs[at].reads;
            let own = (reads == Reads::Events).then(|| account.gaps_of(at, 0, account.gaps_until()));
            self.same(|| format!("events that no run of {name} read"), gaps, own);
        }
    }

    fn controls(&mut self, report: &Report) {
        let account = self.account;
        let ids: Vec<String> =
            promises::all(&account.scenario.configs[0]).into_iter().map(|control| control.id).collect();
        let found: Vec<String> = report.controls.iter().map(|control| control.id.clone()).collect();
        self.same(|| "controls".into(), found, ids);
        for control in &report.controls {
            let mut own = account.occurrences(&control.id);
            let of = |state: State| own.values().filter(|one| **one == state).count() as u64;
            let [operated, deviation, not_observed] = [State::Operated, State::Deviation, State::NotObserved].map(of);
            let counts = [
                operated + deviation + not_observed,
                operated,
                deviation,
                not_observed,
                of(State::NoOccasion),
                of(State::Open),
            ];
            let c = &control.counts;
            let found = [c.required, c.operated, c.deviation, c.not_observed, c.no_occasion, c.open];
            let id = &control.id;
            self.same(
                || format!("{id}: required, operated, deviation, not observed, no occasion, open"),
                found,
                counts,
            );
            for one in &control.occurrences {
                let event = if one.from == one.to { one.record.clone().unwrap_or_default() } else { String::new() };
                let from = self.seconds(one.from) / 60;
                let state = own.remove(&(one.job.as_ref().map(Job::to_string).unwrap_or_default(), from, event));
                let found = match one.state {
                    OccurrenceState::Operated => State::Operated,
                    OccurrenceState::Deviation => State::Deviation,
                    OccurrenceState::NotObserved => State::NotObserved,
                    OccurrenceState::NoOccasion => State::NoOccasion,
                    OccurrenceState::Open => State::Open,
                };
                self.same(
                    || format!("{id} of {} from {} ({})", one.job_name(), one.from, one.reason),
                    Some(found),
                    state,
                );
            }
            self.same(|| format!("{id}: occurrences that the report lacks"), BTreeMap::new(), own);
            let its = account.failing().iter().filter(|one| account.supports(id, one)).count() as u64;
            self.same(|| format!("{id}: deviations"), control.deviations, its);
            let open = |one: &&Failing| one.ended.is_none() && account.supports(id, one);
            let open = account.failing().iter().filter(open).count() as u64;
            self.same(|| format!("{id}: open deviations"), control.open_deviations, open);
            let last = control.last_complete.map(|at| self.seconds(at));
            self.same(|| format!("{id}: the last complete run"), last, account.last_complete(id));
        }
    }

    fn deviations(&mut self, report: &Report) {
        let mut found: Vec<(String, String, Failing)> = Vec::new();
        for one in &report.deviations {
            let job = self.place(&one.job);
            let check = ["is-ok", "not-above", "done"].into_iter().find(|check| *check == one.check).unwrap_or("other");
            let failing = Failing {
                job,
                check,
                record: one.record.clone(),
                first: self.seconds(one.first_seen),
                last: self.seconds(one.last_seen),
                runs: one.runs,
                not_before: one.not_before.map(|at| self.seconds(at)),
                ended: one.ended.as_ref().map(|ended| (self.seconds(ended.at), ended.how)),
            };
            found.push((one.job.to_string(), one.id.clone(), failing));
        }
        found.sort_by(|a, b| a.2.cmp(&b.2));
        let own = self.account.failing();
        self.same(|| "deviations".into(), found.len(), own.len());
        let mut own: BTreeMap<_, Failing> =
            own.into_iter().map(|one| ((one.job, one.check, one.record.clone(), one.first), one)).collect();
        for (job, id, one) in found {
            let same = own.remove(&(one.job, one.check, one.record.clone(), one.first));
            self.same(|| format!("{id} of {job}"), Some(one), same);
        }
        for one in own.into_values() {
            self.same(|| "a deviation".into(), None, Some(one));
        }
    }

    /// What people signed, and which deviations it is printed beside.
    fn approvals(&mut self, report: &Report) {
        let account = self.account;
        self.same(|| "what people signed".into(), report.approvals.len(), account.scenario.said.len());
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for (said, one) in account.scenario.said.iter().zip(&report.approvals) {
            numbers.insert(&one.id, said.number);
            let found = (one.kind.as_str(), one.approver.as_str(), one.text.clone());
            let text = format!("as said {}", said.number);
            self.same(|| format!("{} by whom", one.id), found, (said.kind().as_str(), said.by, text));
            let found = (one.from.map(|at| self.seconds(at)), one.until.map(|at| self.seconds(at)));
            let own = (account.from[said.number], said.until.map(|until| until * 60));
            self.same(|| format!("{} applies from, until", one.id), found, own);
            let counts = one.void.is_empty();
            self.same(|| format!("{} counts ({})", one.id, one.void), counts, account.counts(said));
        }
        let own: BTreeMap<_, _> = account
            .failing()
            .into_iter()
            .map(|one| ((one.job, one.check.to_owned(), one.record.clone(), one.first), account.signed(&one)))
            .collect();
        for one in &report.deviations {
            let key = (self.place(&one.job), one.check.clone(), one.record.clone(), self.seconds(one.first_seen));
            let found: BTreeSet<_> =
                one.waivers.iter().chain(&one.responses).filter_map(|id| numbers.get(id.as_str()).copied()).collect();
            self.same(|| format!("what was signed about {}", one.id), Some(&found), own.get(&key));
        }
    }

    fn trends(&mut self, report: &Report) {
        for trend in &report.trends {
            let own = self.account.sizes(self.place(&trend.job), &trend.check);
            let day = |day: chrono::NaiveDate| (day - self.account.scenario.zero.date_naive()).num_days();
            let found: BTreeMap<i64, (u64, bool, u64)> =
                trend.points.iter().map(|point| (day(point.day), (point.size, point.whole, point.fail))).collect();
            let name = format!("population of {} in {}", trend.check, trend.job);
            self.same(|| format!("{name}: days"), found.len(), own.len());
            for (day, found) in found {
                self.same(|| format!("{name} on day {day}"), Some(found), own.get(&day).copied());
            }
        }
        let checks: usize =
            self.account.scenario.jobs.iter().map(|job| 1 + usize::from(job.reads == Reads::State)).sum();
        self.same(|| "populations".into(), report.trends.len(), checks);
    }

    /// Every event of every job that reads a state of things.
    fn drift(&mut self, events: &[DriftEvent]) {
        for job in 0..self.account.scenario.jobs.len() {
            let plan = &self.account.scenario.jobs[job];
            if plan.reads != Reads::State {
                continue;
            }
            // An event without a field tells of a check that fails what did not change: a deviation, and counted as one.
            let is_of_records = |event: &&DriftEvent| event.change != DriftKind::Changed || !event.fields.is_empty();
            let its = events.iter().filter(|event| event.job.as_str() == plan.name()).filter(is_of_records);
            let word = |kind: DriftKind| match kind {
                DriftKind::Added => "added",
                DriftKind::Removed => "removed",
                DriftKind::Changed => "changed",
            };
            let mut found: Vec<_> =
                its.map(|event| (self.seconds(event.at), event.record.clone(), word(event.change))).collect();
            found.sort();
            let own = self.account.drift(job);
            self.same(|| format!("drift of {}", plan.name()), found.len(), own.len());
            for one in own.iter().filter(|one| !found.contains(one)) {
                self.same(|| format!("drift of {}", plan.name()), None, Some(one));
            }
            for one in found.iter().filter(|one| !own.contains(one)) {
                self.same(|| format!("drift of {}", plan.name()), Some(one), None);
            }
        }
    }

    /// By minute, what changed, and whether it lowers something; how many of each.
    fn changes(&mut self, report: &Report) {
        let mut found: BTreeMap<_, usize> = BTreeMap::new();
        for change in &report.changes {
            let kind = format!("{:?}", change.kind).to_lowercase();
            *found.entry((self.seconds(change.at).div_euclid(60), kind, change.lowers)).or_default() += 1;
        }
        let mut own: BTreeMap<_, usize> = BTreeMap::new();
        for (at, kind, lowers) in self.account.changes() {
            if 0 <= at && at < self.account.scenario.days * DAY {
                *own.entry((at, kind.to_owned(), lowers)).or_default() += 1;
            }
        }
        let all: BTreeSet<_> = found.keys().chain(own.keys()).cloned().collect();
        for key in all {
            self.same(|| format!("changes {key:?}"), found.get(&key).copied(), own.get(&key).copied());
        }
    }
}
