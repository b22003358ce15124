#![allow(clippy::unwrap_used)]
use signing::verify::Verdict;

use super::*;
use crate::{
    pass::pass,
    testing::{Archive, Memory, Run, at, daily_at, hourly, job, schedule},
};

const USERS: &str = "host/accounts@this";
const EVENTS: &str = "aws/backup-jobs@prod";

fn told(memory: &Memory, verdict: &Verdict, from: &str, to: &str) -> Told {
    let mut days = Days::new(at(from), at(to));
    let ledger = Ledger::new(memory, verdict).unwrap();
    pass(&ledger, Utc::MAX_UTC, &mut [&mut days]).unwrap();
    days.finish(verdict.as_of.unwrap())
}

/// Three days: an hourly job with an outage over midnight, a plan that changes, a pause, slots without a receipt, runs by hand.
fn eventful() -> Archive {
    let mut archive = Archive::new("2026-11-01");
    archive.at("2026-11-01T00:10:00Z").plan(&[(USERS, Some(hourly())), (EVENTS, Some(daily_at(6)))], "started");
    let hour = |day: u32, hour: u32| format!("2026-11-{day:02}T{hour:02}:00:00Z");
    for n in 1..20 {
        archive.run(&Run::slot(USERS, &hour(1, n)).user("alice", n != 5));
        if n == 6 {
            archive.run(&Run::slot(EVENTS, &hour(1, 6)).failed("refused"));
        }
    }
    archive.missed(USERS, &hour(1, 20), &hour(2, 3), 8, Cause::Down);
    archive.run(&Run::by_hand(USERS).user("alice", false));
    archive.run(&Run::slot(USERS, &hour(2, 5)).user("alice", true).population("user", cut()));
    archive.missed(EVENTS, &hour(2, 6), &hour(2, 6), 1, Cause::Overrun);
    archive.at("2026-11-02T12:30:00Z").plan(&[(USERS, Some(schedule(&[0, 30], 0..24)))], "twice as often");
    archive.at("2026-11-02T14:10:00Z").plan(&[(USERS, None)], "paused: moving");
    archive.at("2026-11-03T10:10:00Z").plan(&[(USERS, Some(hourly()))], "resumed");
    archive.run(&Run::slot(USERS, &hour(3, 11)).user("alice", true));
    archive
}

fn cut() -> signing::bundle::Population {
    signing::bundle::Population::Cut("denied".into())
}

#[test]
fn over_the_whole_log_the_totals_are_those_of_the_verdict() {
    let mut archive = eventful();
    for as_of in ["2026-11-03T11:05:00Z", "2026-11-03T20:00:00Z", "2026-11-04T00:00:00Z"] {
        let (memory, verdict) = archive.verified(as_of);
        let told = told(&memory, &verdict, "2026-10-01", "2026-12-01");
        for coverage in &verdict.coverage.as_ref().unwrap().jobs {
            assert_eq!(told.slots(&coverage.job), coverage.counts, "{} as of {as_of}", coverage.job);
            let report = told.report(&coverage.job, at(as_of), Vec::new());
            assert_eq!(report.uncovered, coverage.uncovered);
            assert_eq!(report.by_hand, coverage.by_hand);
            let sum = |of: fn(&DayCounts) -> u32| report.days.iter().map(|day| u64::from(of(day))).sum::<u64>();
            assert_eq!(sum(|day| day.uncovered), coverage.counts.uncovered);
            assert_eq!(sum(|day| day.open), coverage.counts.open);
            assert_eq!(sum(|day| day.missed), coverage.counts.missed.values().sum::<u64>());
        }
    }
}

#[test]
fn each_day_has_its_own_slots_and_a_range_that_crosses_midnight_is_split() {
    let (memory, verdict) = eventful().verified("2026-11-04");
    let told = told(&memory, &verdict, "2026-11-01", "2026-11-04");
    let report = told.report(&job(USERS), at("2026-11-04"), Vec::new());
    let line = |d: &DayCounts| [d.collected, d.partial, d.failed, d.missed, d.uncovered, d.open, d.failing];
    // On the first day the slots of 01:00 to 23:00. On the second 00 to 14: four missed, 04 without a receipt, 05 in part, 06 to 12 and
    // 12:30, 13:00, 13:30, 14:00 without one. On the third 11 is there, 12 to 23 are not.
    let days: Vec<_> = report.days.iter().map(line).collect();
    assert_eq!(days, [[19, 0, 0, 4, 0, 0, 1], [0, 1, 0, 4, 12, 0, 1], [1, 0, 0, 0, 12, 0, 0]]);
    assert_eq!(report.by_hand, 1);
    let say = |from: &str, to: &str| told.no_run(&job(USERS), at(from), at(to));
    assert_eq!(
        say("2026-11-02", "2026-11-03"),
        "no run: 4 slots missed (no agent was running), 12 slots without a receipt that counts"
    );
    assert_eq!(say("2026-11-04", "2026-11-05"), "no run, and none was planned");
}

#[test]
fn a_period_takes_its_own_days_only() {
    let (memory, verdict) = eventful().verified("2026-11-04");
    let told = told(&memory, &verdict, "2026-11-02", "2026-11-03");
    let report = told.report(&job(USERS), at("2026-11-03"), Vec::new());
    assert_eq!((report.days.len(), report.slots.judged, report.slots.uncovered), (1, 17, 12));
    let ranges: Vec<_> = report.uncovered.iter().map(|range| range.count).collect();
    assert_eq!(ranges.iter().sum::<u64>(), 12);
    assert!(report.uncovered.iter().all(|range| range.first >= at("2026-11-02") && range.last < at("2026-11-03")));
}

#[test]
fn the_slot_of_a_refused_receipt_counts_as_one_without() {
    let (mut memory, _) = eventful().verified("2026-11-04");
    let bundle = memory.bundle("2026-11-03T11:00:00Z", USERS);
    memory.0.get_mut(&bundle).unwrap().push(0);
    let verdict = memory.judge("2026-11-04");
    let told = told(&memory, &verdict, "2026-11-03", "2026-11-04");
    assert_eq!((told.slots(&job(USERS)).judged, told.slots(&job(USERS)).uncovered), (13, 13));
}

#[test]
fn events_that_no_run_read_whole_are_gaps_to_the_periods_ends() {
    let mut archive = Archive::new("2026-11-01");
    archive.at("2026-11-01T00:10:00Z").plan(&[(EVENTS, None), (USERS, None)], "by hand");
    for (from, to, whole) in [
        ("2026-11-02T06:00:00Z", "2026-11-03T06:00:00Z", true),
        ("2026-11-03T05:00:00Z", "2026-11-04T06:00:00Z", false),
        ("2026-11-04T05:00:00Z", "2026-11-05T06:00:00Z", true),
    ] {
        archive.at(to).run(&Run::by_hand(EVENTS).window(from, to, whole));
    }
    archive.run(&Run::by_hand(USERS).user("alice", true));
    let (memory, verdict) = archive.verified("2026-11-07");
    let told = told(&memory, &verdict, "2026-11-02", "2026-11-06");
    let gaps = told.report(&job(EVENTS), at("2026-11-06"), Vec::new()).window_gaps.unwrap();
    let said: Vec<_> =
        gaps.iter().map(|gap| format!("{} {}", gap.from.format("%d %H"), gap.to.format("%d %H"))).collect();
    assert_eq!(said, ["02 00 02 06", "03 06 04 05", "05 06 06 00"]);
    assert_eq!(told.report(&job(USERS), at("2026-11-06"), Vec::new()).window_gaps, None);
    assert_eq!(told.gaps(&job(EVENTS), at("2026-11-02T07:00:00Z"), at("2026-11-03")).unwrap(), []);
}
