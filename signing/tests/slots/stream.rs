//! Whole logs: against an oracle that keeps everything, and at the size of a year.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Duration;
use proptest::prelude::*;
use signing::{
    digest::Digest,
    plan::{Plan, Schedule},
    slots::Coverage,
    statement::{Cause, Missed, Outcome},
    time::Utc,
};

use crate::{at, daily, digest, hourly, job, plan, utc};

const JOBS: [&str; 3] = ["a/x@1", "b/y@2", "c/z@3"];

/// The schedules that the random plans choose from; `None` where the job is not in the plan.
fn schedules() -> [Option<Schedule>; 4] {
    let every = (0..24).collect::<Vec<_>>();
    [None, Some(hourly()), Some(daily(&[0, 20, 40], &every)), Some(daily(&[30], &[1, 7, 8, 21]))]
}

/// Plans by minutes from the start, each with a schedule for each job.
fn timeline() -> impl Strategy<Value = Vec<(i64, [usize; 3])>> {
    let plan = (1i64..900, [0..4usize, 0..4usize, 0..4usize]);
    proptest::collection::vec(plan, 1..6).prop_map(|plans| {
        let mut at = 0;
        plans
            .into_iter()
            .map(|(wait, jobs)| {
                at += wait;
                (at, jobs)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is left out is missing, what is doubled or swapped is named, and nothing else is.
    #[test]
    fn whatever_is_left_out_doubled_or_swapped_is_found_exactly(
        timeline in timeline(),
        fates in proptest::collection::vec(0..12u8, 200),
        as_of_minutes in 0i64..6000,
    ) {
        let start = at("2026-11-22T00:00:30Z");
        let mut plans: Vec<Plan> = Vec::new();
        for (minute, jobs) in &timeline {
            let sealed_at = (start + Duration::minutes(*minute)).to_rfc3339();
            let jobs: Vec<_> = JOBS.iter().zip(jobs).filter(|(_, s)| **s > 0).map(|(j, s)| (*j, schedules()[*s].clone())).collect();
            let next = plan(&sealed_at, plans.last(), &jobs);
            plans.push(next);
        }
        let end = plans.last().unwrap().sealed_at + Duration::hours(20);
        // The oracle: every slot with its plan, minute by minute.
        let mut slots: BTreeMap<&str, Vec<(Utc, Digest)>> = BTreeMap::new();
        for (at, plan) in plans.iter().enumerate() {
            let until = plans.get(at + 1).map_or(end, |p| p.sealed_at);
            for planned in &plan.jobs {
                let name = JOBS.into_iter().find(|j| *j == planned.job.as_str()).unwrap();
                let schedule = planned.schedule.as_ref().unwrap();
                slots.entry(name).or_default().extend(schedule.slots(&utc(), plan.sealed_at, until).map(|t| (t, digest(plan))));
            }
        }
        let mut events: Vec<(Utc, &str, Utc, Digest)> = Vec::new();
        let (mut left_out, mut doubled, mut swapped) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut fate = fates.iter().cycle();
        for (name, list) in &slots {
            let mut previous: Option<Utc> = None;
            for (slot, plan) in list {
                match fate.next().unwrap() {
                    0 | 1 => { left_out.insert((*name, *slot)); previous = None; continue }
                    2 => { doubled.insert((*name, *slot)); events.push((*slot, name, *slot, *plan)); events.push((*slot, name, *slot, *plan)) }
                    // Logged at the previous receipt's time, just before it: that one is then out of order.
                    3 if previous.is_some() => {
                        let before = previous.unwrap();
                        let place = events.iter().position(|e| e.1 == *name && e.2 == before).unwrap();
                        if !doubled.contains(&(*name, before)) && !swapped.contains(&(*name, before)) {
                            let moved = events.remove(place);
                            events.push((*slot, name, *slot, *plan));
                            events.push((*slot, moved.1, moved.2, moved.3));
                            swapped.insert((*name, before));
                            previous = None;
                            continue;
                        }
                        events.push((*slot, name, *slot, *plan));
                    }
                    _ => events.push((*slot, name, *slot, *plan)),
                }
                previous = Some(*slot);
            }
        }
        events.sort_by_key(|e| e.0);
        let mut coverage = Coverage::new();
        let (mut index, mut events) = (0, events.into_iter().peekable());
        for (at, plan) in plans.iter().enumerate() {
            coverage.plan(index, digest(plan), plan);
            index += 1;
            let until = plans.get(at + 1).map_or(end, |p| p.sealed_at);
            while let Some((_, name, slot, named)) = events.next_if(|e| e.0 < until) {
                coverage.receipt(index, named, &job(name), slot, Outcome::Collected, false);
                index += 1;
            }
        }
        let found = |coverage: &mut Coverage| -> Vec<(&'static str, String, Utc)> {
            coverage.take_findings().into_iter().map(|f| (f.code, f.job.map_or(String::new(), |j| j.to_string()), f.slot.unwrap())).collect()
        };
        let of = |code: &str, all: &[(&'static str, String, Utc)]| -> BTreeSet<(String, Utc)> {
            all.iter().filter(|f| f.0 == code).map(|f| (f.1.clone(), f.2)).collect()
        };
        let own = |set: &BTreeSet<(&str, Utc)>| -> BTreeSet<(String, Utc)> { set.iter().map(|(n, t)| (n.to_string(), *t)).collect() };
        let before = found(&mut coverage);
        prop_assert_eq!(of("SLOT-DOUBLE", &before), own(&doubled));
        prop_assert_eq!(of("SLOT-ORDER", &before), own(&swapped));
        prop_assert_eq!(before.len(), doubled.len() + swapped.len(), "{:?}", before);

        let due: BTreeSet<(String, Utc)> = coverage.due(end - Duration::seconds(1)).map(|(j, _, t)| (j.to_string(), t)).collect();
        prop_assert_eq!(&due, &own(&left_out));
        for name in JOBS {
            let ranges: u64 = coverage.uncovered(&job(name), end).map(|u| u.count).sum();
            prop_assert_eq!(ranges as usize, left_out.iter().filter(|(n, _)| *n == name).count());
        }

        let as_of = (start + Duration::minutes(as_of_minutes)).min(end - Duration::seconds(1));
        let judged = |slot: Utc| slot + Duration::hours(1) <= as_of;
        let report = coverage.finish(as_of);
        prop_assert_eq!(report.total.uncovered as usize, left_out.iter().filter(|(_, t)| judged(*t)).count());
        prop_assert_eq!(report.total.open as usize, left_out.iter().filter(|(_, t)| !judged(*t) && *t <= as_of).count());
        let all: usize = slots.values().map(Vec::len).sum();
        prop_assert_eq!(report.total.outcomes.get(&Outcome::Collected).copied().unwrap_or(0) as usize, all - left_out.len());
        prop_assert_eq!(report.total.judged, report.total.uncovered + (all - left_out.len()) as u64);
    }
}

/// A leaf of a log that nobody honest wrote.
#[derive(Debug, Clone)]
enum Leaf {
    Plan { sealed: i64, chained: bool, jobs: [usize; 3], watermark: Option<i64> },
    Receipt { job: usize, slot: i64, plan: prop::sample::Index },
    Missed { job: usize, first: i64, length: i64, count: u64, plan: prop::sample::Index },
}

fn leaf() -> impl Strategy<Value = Leaf> {
    let minute = || 0i64..600;
    let index = any::<prop::sample::Index>;
    prop_oneof![
        1 => (minute(), any::<bool>(), [0..4usize, 0..4usize, 0..4usize], proptest::option::of(minute()))
            .prop_map(|(sealed, chained, jobs, watermark)| Leaf::Plan { sealed, chained, jobs, watermark }),
        4 => (0..3usize, minute(), index()).prop_map(|(job, slot, plan)| Leaf::Receipt { job, slot: slot / 10 * 10, plan }),
        2 => (0..3usize, minute(), -20..200i64, 0..20u64, index()).prop_map(|(job, first, length, count, plan)| {
            Leaf::Missed { job, first: first / 10 * 10, length: length / 10 * 10, count, plan }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a log holds, each slot is counted once, and what is due can be covered, each slot by one receipt.
    #[test]
    fn no_log_makes_coverage_count_a_slot_twice_or_lose_one(
        leaves in proptest::collection::vec(leaf(), 0..40),
        resumed in any::<bool>(),
    ) {
        let start = at("2026-11-22T00:00:00Z");
        let minute = |minute: i64| start + Duration::minutes(minute);
        let first = plan("2026-11-22T00:00:00Z", None, &[(JOBS[0], schedules()[2].clone()), (JOBS[1], schedules()[1].clone())]);
        let mut plans = vec![first];
        let mut coverage = if resumed { Coverage::resume(0, digest(&plans[0]), &plans[0]) } else { Coverage::new() };
        if !resumed {
            coverage.plan(0, digest(&plans[0]), &plans[0]);
        }
        let mut index = 1;
        for leaf in leaves {
            match leaf {
                Leaf::Plan { sealed, chained, jobs, watermark } => {
                    let jobs: Vec<_> = JOBS.iter().zip(jobs).filter(|(_, s)| *s > 0).map(|(j, s)| (*j, schedules()[s].clone())).collect();
                    let mut next = plan(&minute(sealed).to_rfc3339(), plans.last().filter(|_| chained), &jobs);
                    if let Some(job) = next.jobs.first_mut() {
                        job.watermark = watermark.map(minute);
                    }
                    coverage.plan(index, digest(&next), &next);
                    plans.push(next);
                }
                Leaf::Receipt { job: at, slot, plan } => {
                    coverage.receipt(index, digest(plan.get(&plans)), &job(JOBS[at]), minute(slot), Outcome::Partial, true);
                }
                Leaf::Missed { job: at, first, length, count, plan } => {
                    let (first, last) = (minute(first), minute(first + length));
                    let missed = Missed { job: job(JOBS[at]), first, last, count, cause: Cause::Down, detail: String::new() };
                    coverage.missed(index, digest(plan.get(&plans)), &missed);
                }
            }
            index += 1;
        }
        coverage.take_findings();
        let end = minute(1000);
        let due: Vec<_> = coverage.due(end).collect();
        prop_assert!(due.windows(2).all(|w| (&w[0].0, w[0].2) < (&w[1].0, w[1].2)), "{:?}", due);
        for name in JOBS.map(job) {
            let own: Vec<_> = due.iter().filter(|d| d.0 == name).collect();
            prop_assert_eq!(coverage.uncovered(&name, minute(1001)).map(|u| u.count).sum::<u64>() as usize, own.len());
            prop_assert_eq!(coverage.watermark(&name, end), own.first().map_or(end, |d| d.2.min(end)));
        }
        for (at, (job, plan, slot)) in due.iter().enumerate() {
            coverage.receipt(index, *plan, job, *slot, Outcome::Collected, false);
            index += 1;
            prop_assert_eq!(coverage.due(end).count(), due.len() - at - 1);
        }
        let findings = coverage.take_findings();
        prop_assert!(findings.iter().all(|f| f.code == "SLOT-ORDER"), "{:?}", findings);
        let total = coverage.finish(end).total;
        prop_assert_eq!(total.outcomes.get(&Outcome::Collected).copied().unwrap_or(0) as usize, due.len());
        prop_assert_eq!(total.judged, total.outcomes.values().chain(total.missed.values()).sum::<u64>());
        prop_assert_eq!((total.uncovered, total.open), (0, 0));
    }
}

#[test]
fn a_year_of_a_hundred_hourly_jobs_restated_daily_takes_seconds_and_no_memory_for_receipts() {
    let names: Vec<String> = (0..100).map(|n| format!("host/job-{n}@this")).collect();
    let jobs: Vec<(&str, Option<Schedule>)> = names.iter().map(|n| (n.as_str(), Some(hourly()))).collect();
    let parsed: Vec<_> = names.iter().map(|n| job(n)).collect();
    let mut coverage = Coverage::new();
    let (mut index, mut previous) = (0, None);
    let start = at("2026-01-01T00:00:00Z");
    let mut spent = std::time::Duration::ZERO;
    for day in 0..365 {
        let sealed_at = start + Duration::days(day);
        let today = plan(&sealed_at.to_rfc3339(), previous.as_ref(), &jobs);
        let named = digest(&today);
        let began = std::time::Instant::now();
        coverage.plan(index, named, &today);
        index += 1;
        for hour in 0..24 {
            for name in &parsed {
                coverage.receipt(index, named, name, sealed_at + Duration::hours(hour), Outcome::Collected, false);
                index += 1;
            }
        }
        spent += began.elapsed();
        previous = Some(today);
    }
    let report = coverage.finish(start + Duration::days(365) - Duration::seconds(1));
    assert_eq!(coverage.take_findings(), []);
    assert_eq!((report.total.judged, report.total.open, report.plans), (876_000, 0, 365));
    assert_eq!(report.changes, []);
    println!("{spent:?} for 876,000 receipts");
}
