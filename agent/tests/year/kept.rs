//! The account of controls, deviations and days, from the account of runs.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Months;
use controls::{Control, Frequency};

use crate::{
    account::{Account, Fate, Found, Run, Says},
    people::Said,
    promises,
    scenario::{Config, DAY, Minute, Reads},
    world::Thing,
};

/// What a time came to, in which a control had to operate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Operated,
    Deviation,
    NotObserved,
    NoOccasion,
    Open,
}

/// A record that failed, from first to last sight. Instants are seconds since the period began.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failing {
    pub job: usize,
    pub check: &'static str,
    pub record: String,
    pub first: i64,
    pub last: i64,
    pub runs: u64,
    pub not_before: Option<i64>,
    pub ended: Option<(i64, &'static str)>,
}

impl Account<'_> {
    /// All that is judged lies before this second.
    fn before(&self) -> i64 {
        let until = self.until();
        if until == self.scenario.days * DAY { until * 60 } else { until * 60 + crate::scenario::AFTER + 1 }
    }

    /// The runs of a job that count, in order.
    fn judged(&self, job: usize) -> impl DoubleEndedIterator<Item = &Run> {
        let before = self.before();
        self.runs[job].iter().filter(move |run| run.instant < before)
    }

    fn control(&self, config: &Config, id: &str) -> Control {
        promises::all(config).into_iter().find(|control| control.id == id).expect("every text has every control")
    }

    /// The checks of a job that support a control, where it is in scope.
    fn support(&self, config: &Config, control: &Control, job: usize) -> Vec<&'static str> {
        let plan = &self.scenario.jobs[job];
        let in_scope = config.jobs.get(&job).is_some_and(Result::is_ok)
            && (control.sources.is_empty() || control.sources.iter().any(|source| source == plan.source));
        if !in_scope {
            return Vec::new();
        }
        let names: &[&'static str] = if plan.reads == Reads::State { &["is-ok", "not-above"] } else { &["done"] };
        let supports = |at: usize, name: &str| {
            control.items.iter().any(|item| item == plan.items[at])
                || control.checks.contains(&format!("{}/{name}", plan.collector))
        };
        names.iter().enumerate().filter(|(at, name)| supports(*at, name)).map(|(_, name)| *name).collect()
    }

    /// The first boundary of a frequency after a minute; `None`: it has none.
    fn next(&self, frequency: Frequency, after: Minute) -> Option<Minute> {
        let months = match frequency {
            Frequency::Automated | Frequency::Daily => return Some((after.div_euclid(DAY) + 1) * DAY),
            Frequency::Weekly => return Some((after.div_euclid(7 * DAY) + 1) * 7 * DAY),
            Frequency::Monthly => 1,
            Frequency::Quarterly => 3,
            Frequency::SemiAnnual => 6,
            Frequency::Annual => 12,
            Frequency::PerEvent | Frequency::AsNeeded => return None,
        };
        let zero = self.scenario.zero;
        (1..).map(|n| self.scenario.minute(zero + Months::new(n * months))).find(|at| *at > after)
    }

    /// The times in which a control had to operate in a job, each with what was in force at its start.
    fn units(&self, id: &str, job: usize) -> Vec<(Minute, Minute, Control, Vec<&'static str>)> {
        let (mut units, mut at) = (Vec::new(), 0);
        while at < self.scenario.days * DAY {
            let config = self.promised(at);
            let control = self.control(config, id);
            let Some(next) = self.end(id, at) else { break };
            let checks = self.support(config, &control, job);
            if !checks.is_empty() {
                units.push((at, next, control, checks));
            }
            at = next;
        }
        units
    }

    /// Whether a control has a job in scope.
    fn is_read(&self, id: &str, at: Minute) -> bool {
        let config = self.promised(at);
        let control = self.control(config, id);
        (0..self.scenario.jobs.len()).any(|job| !self.support(config, &control, job).is_empty())
    }

    /// The end of a time that begins at a minute: without a job, at the latest the end of the day in which one comes.
    fn end(&self, id: &str, at: Minute) -> Option<Minute> {
        let next = self.next(self.control(self.promised(at), id).frequency, at)?;
        let read = |day: &Minute| self.is_read(id, *day);
        let comes = (at / DAY + 1..next / DAY).map(|day| day * DAY).find(read).filter(|_| !self.is_read(id, at));
        Some(comes.unwrap_or(next))
    }

    /// The times in which no job read a control that had to operate.
    fn unread(&self, id: &str) -> Vec<(Minute, Minute)> {
        let (mut unread, mut at) = (Vec::new(), 0);
        while at < self.scenario.days * DAY {
            let Some(to) = self.end(id, at) else { break };
            unread.extend((!self.is_read(id, at)).then_some((at, to)));
            at = to;
        }
        unread
    }

    /// Every occurrence of a control, by job and start.
    pub fn occurrences(&self, id: &str) -> BTreeMap<(String, Minute, String), State> {
        let mut all = BTreeMap::new();
        for (from, to) in self.unread(id) {
            let state = if self.is_over(to) { State::NotObserved } else { State::Open };
            all.insert((String::new(), from, String::new()), state);
        }
        for job in 0..self.scenario.jobs.len() {
            let name = self.scenario.jobs[job].name();
            for (from, to, control, checks) in self.units(id, job) {
                let state = match &control.dated_by {
                    None => self.observed(job, from, to, &checks),
                    Some(dated) => self.dated(job, from, to, Minute::from(dated.within_days) * DAY),
                };
                all.insert((name.clone(), from, String::new()), state);
            }
            for (id, at, state) in self.events(id, job) {
                all.insert((name.clone(), at, id), state);
            }
        }
        all
    }

    /// Whether a check that fails supports a control by what was promised when it was first seen.
    pub fn supports(&self, id: &str, failing: &Failing) -> bool {
        let config = self.promised(failing.first.div_euclid(60));
        self.support(config, &self.control(config, id), failing.job).contains(&failing.check)
    }

    /// Up to when windows are looked at, in seconds.
    pub fn gaps_until(&self) -> i64 {
        let end = self.as_of() * 60 + crate::scenario::AFTER;
        end.min(self.scenario.days * DAY * 60)
    }

    fn is_over(&self, to: Minute) -> bool {
        to <= self.until()
    }

    fn observed(&self, job: usize, from: Minute, to: Minute, checks: &[&str]) -> State {
        let within = |run: &&Run| from * 60 <= run.instant && run.instant < to * 60;
        let says: Vec<Says> = self.judged(job).filter(within).map(|run| says(run, checks)).collect();
        if says.contains(&Says::Fail) {
            State::Deviation
        } else if !self.is_over(to) {
            State::Open
        } else if says.contains(&Says::Pass) {
            State::Operated
        } else if says.contains(&Says::Nothing) {
            State::NoOccasion
        } else {
            State::NotObserved
        }
    }

    /// What was seen of everything that happened: when, and how it was seen last.
    fn seen(&self, job: usize) -> BTreeMap<&str, (Minute, Option<bool>)> {
        // Also what was seen after the period.
        let all = self.runs[job].iter().flat_map(|run| &run.happened);
        all.map(|(id, seen)| (id.as_str(), *seen)).collect()
    }

    fn dated(&self, job: usize, from: Minute, to: Minute, wait: Minute) -> State {
        let seen: Vec<Option<bool>> =
            self.seen(job).into_values().filter(|(at, _)| from <= *at && *at < to).map(|(_, ok)| ok).collect();
        if seen.contains(&Some(false)) {
            State::Deviation
        } else if to > self.scenario.days * DAY || to > self.as_of() {
            State::Open
        } else if seen.contains(&Some(true)) {
            State::Operated
        } else if to + wait > self.as_of() {
            State::Open
        } else if seen.is_empty() && self.fully_seen(job, from, to + wait) {
            State::Deviation
        } else {
            State::NotObserved
        }
    }

    fn fully_seen(&self, job: usize, from: Minute, to: Minute) -> bool {
        if self.scenario.jobs[job].reads == Reads::Dated {
            return self.runs[job].iter().any(|run| run.instant >= to * 60 && run.checks["done"].whole);
        }
        self.gaps_of(job, from * 60, to * 60).is_empty()
    }

    /// What no run read whole of `[from, to)`, in seconds.
    pub fn gaps_of(&self, job: usize, from: i64, to: i64) -> Vec<(i64, i64)> {
        let whole = |run: &Run| run.window.filter(|(.., whole)| *whole).map(|(from, to, _)| (from, to));
        let mut windows: Vec<(i64, i64)> = self.runs[job].iter().filter_map(whole).collect();
        windows.sort_unstable();
        let (mut gaps, mut at) = (Vec::new(), from);
        for (begin, end) in windows {
            if begin > at && at < to {
                gaps.push((at, begin.min(to)));
            }
            at = at.max(end);
        }
        if at < to {
            gaps.push((at, to));
        }
        gaps
    }

    /// Of a control on events: each one that was seen.
    fn events(&self, id: &str, job: usize) -> Vec<(String, Minute, State)> {
        let mut events = Vec::new();
        for (event, (at, ok)) in self.seen(job) {
            let config = self.promised(at);
            let control = self.control(config, id);
            let supported = !self.support(config, &control, job).is_empty();
            if control.frequency != Frequency::PerEvent || !supported || at < 0 || at >= self.scenario.days * DAY {
                continue;
            }
            let state = match ok {
                Some(true) => State::Operated,
                Some(false) => State::Deviation,
                None => State::NotObserved,
            };
            events.push((event.to_owned(), at, state));
        }
        events
    }

    /// Every record that failed a check, from first to last sight.
    pub fn failing(&self) -> Vec<Failing> {
        let mut all = Vec::new();
        for job in 0..self.scenario.jobs.len() {
            let checks: BTreeSet<&'static str> = self.judged(job).flat_map(|run| run.checks.keys().copied()).collect();
            for check in checks {
                self.failing_of(job, check, &mut all);
            }
        }
        all.sort();
        all
    }

    fn failing_of(&self, job: usize, check: &'static str, all: &mut Vec<Failing>) {
        let mut open: BTreeMap<String, Failing> = BTreeMap::new();
        let before: Vec<(i64, &Found)> = self.judged(job).map(|run| (run.instant, &run.checks[check])).collect();
        for (place, (instant, found)) in before.iter().enumerate() {
            let ended: Vec<(String, &'static str)> =
                open.keys().filter_map(|id| Some((id.clone(), ends(found, id)?))).collect();
            for (id, how) in ended {
                let mut failing = open.remove(&id).expect("it is open");
                failing.ended = Some((*instant, how));
                all.push(failing);
            }
            for id in &found.fail {
                let failing = open.entry(id.clone()).or_insert_with(|| Failing {
                    job,
                    check,
                    record: id.clone(),
                    first: *instant,
                    last: *instant,
                    runs: 0,
                    not_before: before[..place].iter().rev().find(|(_, f)| ends(f, id).is_some()).map(|(at, _)| *at),
                    ended: None,
                });
                failing.last = *instant;
                failing.runs += 1;
            }
        }
        all.extend(open.into_values());
    }

    /// The controls that a check which failed supports.
    pub fn supported(&self, failing: &Failing) -> Vec<String> {
        let ids = promises::all(&self.scenario.configs[0]).into_iter().map(|control| control.id);
        ids.filter(|id| self.supports(id, failing)).collect()
    }

    /// Whether what somebody signed counts at all.
    pub fn counts(&self, said: &Said) -> bool {
        let in_time = match (said.until, self.from[said.number]) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(until), Some(from)) => from < until * 60,
        };
        in_time && said.is_about_something()
    }

    /// What was signed about a failure: waivers that applied while it was open, and responses.
    pub fn signed(&self, failing: &Failing) -> BTreeSet<usize> {
        let controls = self.supported(failing);
        let applied = |said: &&Said| match (said.until, self.from[said.number]) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(until), Some(from)) => {
                from <= self.gaps_until()
                    && failing.ended.is_none_or(|(ended, _)| from < ended)
                    && failing.first < until * 60
            }
        };
        let about = |said: &&Said| said.is_about(self.scenario, failing.job, failing.check, &failing.record, &controls);
        let said = self.scenario.said.iter().filter(|said| self.counts(said));
        said.filter(applied).filter(about).map(|said| said.number).collect()
    }

    /// The second of the newest run in which every check behind a control was answered.
    pub fn last_complete(&self, id: &str) -> Option<i64> {
        let answered = |found: &Found| found.absent || (found.whole && found.unknown.is_empty());
        let complete = |job: usize, run: &Run| {
            let config = self.promised(run.instant.div_euclid(60));
            let checks = self.support(config, &self.control(config, id), job);
            !checks.is_empty() && checks.iter().all(|check| answered(&run.checks[check]))
        };
        let newest = |job| self.judged(job).filter(|run| complete(job, run)).map(|run| run.instant).max();
        (0..self.scenario.jobs.len()).filter_map(newest).max()
    }

    /// What became of the things of a job from run to run: when, which, and `added`, `removed` or `changed`.
    pub fn drift(&self, job: usize) -> Vec<(i64, String, &'static str)> {
        let mut all = Vec::new();
        let mut known: BTreeMap<&str, &Thing> = BTreeMap::new();
        let mut whole_before = false;
        for run in self.judged(job) {
            let found = &run.checks["is-ok"];
            let whole = found.whole || found.absent;
            for (id, thing) in &run.things {
                match known.insert(id, thing) {
                    None if whole_before => all.push((run.instant, id.clone(), "added")),
                    Some(before) if before != thing => all.push((run.instant, id.clone(), "changed")),
                    _ => {}
                }
            }
            if whole {
                let gone: Vec<&str> = known.keys().copied().filter(|id| !run.things.contains_key(*id)).collect();
                for id in gone {
                    known.remove(id);
                    all.push((run.instant, id.to_owned(), "removed"));
                }
                whole_before = true;
            }
        }
        all.sort();
        all
    }

    /// Slots and failing runs of a job, by day: collected, partial, failed, missed, without a receipt, open; failing.
    pub fn days(&self, job: usize) -> BTreeMap<i64, [u32; 7]> {
        let mut days: BTreeMap<i64, [u32; 7]> = (0..self.scenario.days).map(|day| (day, [0; 7])).collect();
        for (slot, fate) in self.slots[job].iter().filter(|(slot, _)| **slot * 60 < self.before()) {
            let Some(day) = days.get_mut(&slot.div_euclid(DAY)) else { continue };
            let place = match fate {
                Fate::Collected => 0,
                Fate::Partial => 1,
                Fate::Failed => 2,
                Fate::Missed(_) => 3,
                Fate::Uncovered => 4,
                Fate::Open => 5,
            };
            day[place] += 1;
        }
        for run in self.judged(job).filter(|run| run.checks.values().any(|found| !found.fail.is_empty())) {
            if let Some(day) = days.get_mut(&run.instant.div_euclid(DAY * 60)) {
                day[6] += 1;
            }
        }
        days
    }

    /// The slots of a job within the period, by outcome and cause, and how many were late.
    pub fn totals(&self, job: usize) -> (BTreeMap<Fate, u64>, u64) {
        let mut totals = BTreeMap::new();
        for (_, fate) in self.slots[job].iter().filter(|(slot, _)| **slot * 60 < self.before()) {
            *totals.entry(*fate).or_default() += 1;
        }
        (totals, self.judged(job).filter(|run| run.late).count() as u64)
    }

    /// Runs of a job by hand.
    pub fn by_hand(&self, job: usize) -> u64 {
        self.judged(job).filter(|run| run.by_hand).count() as u64
    }

    /// The size of a check's population at each day's last run: whether it is whole, and how many fail.
    pub fn sizes(&self, job: usize, check: &str) -> BTreeMap<i64, (u64, bool, u64)> {
        let size = |found: &Found| {
            let rows = found.pass.len() + found.fail.len() + found.unknown.len() + found.exempt.len();
            (rows as u64, found.whole || found.absent, found.fail.len() as u64)
        };
        self.judged(job).map(|run| (run.instant.div_euclid(DAY * 60), size(&run.checks[check]))).collect()
    }
}

/// How a run that found this ends what failed before; `None`: it does not.
fn ends(found: &Found, id: &str) -> Option<&'static str> {
    if found.pass.contains(id) {
        Some("passes")
    } else if found.exempt.contains(id) {
        Some("exempt")
    } else if found.fail.contains(id) || found.unknown.contains(id) || !(found.whole || found.absent) {
        None
    } else if found.there.contains(id) {
        Some("not_in_population")
    } else {
        Some("gone")
    }
}

fn says(run: &Run, checks: &[&str]) -> Says {
    let all: Vec<Says> = checks.iter().map(|check| run.checks[check].says()).collect();
    let first = [Says::Fail, Says::Unknown, Says::Pass].into_iter().find(|says| all.contains(says));
    first.unwrap_or(Says::Nothing)
}
