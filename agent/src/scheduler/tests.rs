#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use signing::plan::{Offset, Schedule};

use super::*;

fn at(text: &str) -> Utc {
    text.parse().unwrap()
}

fn job(name: &str) -> Job {
    format!("test/{name}@this").parse().unwrap()
}

fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

/// Every `step` minutes of the hour.
fn every(step: u8) -> Schedule {
    Schedule {
        text: format!("*/{step} * * * *"),
        zone: "UTC".into(),
        minutes: (0..60).filter(|m| m % step == 0).collect(),
        hours: (0..24).collect(),
        days: (1..=31).collect(),
        months: (1..=12).collect(),
        weekdays: (0..=6).collect(),
        either_day: false,
        elapsed: true,
    }
}

fn plan(sealed_at: &str, jobs: &[(&str, u8)]) -> Plan {
    let planned = |(name, step): &(&str, u8)| PlannedJob {
        job: job(name),
        version: 1,
        checks: digest(9),
        schedule: Some(every(*step)),
        start_within_seconds: 600,
        deadline_seconds: 300,
        grace_seconds: 60,
        spread_seconds: 0,
        watermark: None,
    };
    Plan {
        format: signing::plan::FORMAT.into(),
        origin: "test".into(),
        agent: "0".into(),
        sealed_at: at(sealed_at),
        previous: None,
        reason: "started".into(),
        settle_seconds: 60,
        retention_days: None,
        zones: [("UTC".to_owned(), vec![Offset { from: None, seconds: 0 }])].into(),
        jobs: jobs.iter().map(planned).collect(),
        not_run: Vec::new(),
    }
}

fn scheduler(parallel: usize, up_since: &str, jobs: &[&str]) -> Scheduler {
    Scheduler::new(parallel, at(up_since), jobs.iter().map(|name| job(name)))
}

fn starts(decisions: &[Decision]) -> Vec<(Job, Utc, bool)> {
    let start = |decision: &Decision| match decision {
        Decision::Start(start) => Some((start.job.clone(), start.slot.unwrap().0, start.late)),
        Decision::Missed { .. } => None,
    };
    decisions.iter().filter_map(start).collect()
}

fn missed(decisions: &[Decision]) -> Vec<(Utc, Utc, u64, Cause)> {
    let missed = |decision: &Decision| match decision {
        Decision::Missed { missed, .. } => Some((missed.first, missed.last, missed.count, missed.cause)),
        Decision::Start(_) => None,
    };
    decisions.iter().filter_map(missed).collect()
}

#[test]
fn a_slot_starts_at_its_instant_and_the_next_wake_is_the_next_slot() {
    let mut s = scheduler(4, "2026-01-01T00:00:30Z", &["a"]);
    s.adopt(digest(1), &plan("2026-01-01T00:00:30Z", &[("a", 15)]));
    assert_eq!(s.decide(at("2026-01-01T00:14:59.999Z")), []);
    assert_eq!(s.wake(at("2026-01-01T00:14:59.999Z")), Some(at("2026-01-01T00:15:00Z")));
    let now = at("2026-01-01T00:15:00Z");
    assert_eq!(starts(&s.decide(now)), [(job("a"), now, false)]);
    assert_eq!(s.decide(now), [], "it is running");
    assert_eq!(s.wake(now), None, "its end is what comes next");
    s.ended(&job("a"), at("2026-01-01T00:15:09Z"));
    assert_eq!(s.wake(at("2026-01-01T00:15:09Z")), Some(at("2026-01-01T00:30:00Z")));
}

#[test]
fn a_start_after_the_grace_is_late_and_one_after_start_within_is_missed() {
    for (now, late) in [("2026-01-01T00:01:00Z", false), ("2026-01-01T00:01:01Z", true), ("2026-01-01T00:10:00Z", true)]
    {
        let mut s = scheduler(4, "2026-01-01T00:00:00Z", &["a"]);
        s.adopt(digest(1), &plan("2026-01-01T00:00:00Z", &[("a", 30)]));
        assert_eq!(starts(&s.decide(at(now))), [(job("a"), at("2026-01-01T00:00:00Z"), late)], "{now}");
    }
    let mut s = scheduler(4, "2026-01-01T00:00:00Z", &["a"]);
    s.adopt(digest(1), &plan("2026-01-01T00:00:00Z", &[("a", 30)]));
    let slot = at("2026-01-01T00:00:00Z");
    assert_eq!(missed(&s.decide(at("2026-01-01T00:10:00.001Z"))), [(slot, slot, 1, Cause::Blocked)]);
}

#[test]
fn slots_that_pass_during_a_run_are_overrun_and_written_after_it() {
    let mut s = scheduler(4, "2026-01-01T00:00:00Z", &["a"]);
    s.adopt(digest(1), &plan("2026-01-01T00:00:00Z", &[("a", 5)]));
    assert_eq!(starts(&s.decide(at("2026-01-01T00:00:00Z"))).len(), 1);
    let end = at("2026-01-01T00:27:00Z");
    assert_eq!(s.decide(end), [], "receipts of a job are in slot order");
    s.ended(&job("a"), end);
    let decisions = s.decide(end);
    let (first, last) = (at("2026-01-01T00:05:00Z"), at("2026-01-01T00:15:00Z"));
    assert_eq!(missed(&decisions), [(first, last, 3, Cause::Overrun)]);
    assert_eq!(starts(&decisions), [(job("a"), at("2026-01-01T00:20:00Z"), true)]);
}

#[test]
fn slots_that_passed_while_no_agent_ran_are_down_and_the_crashed_one_is_named() {
    let mut s = scheduler(4, "2026-01-01T02:00:00Z", &["a"]);
    let terms = Terms::from(&plan("2026-01-01T00:00:00Z", &[("a", 15)]).jobs[0]);
    let old = plan("2026-01-01T00:00:00Z", &[("a", 15)]);
    for slot in old.jobs[0].schedule.as_ref().unwrap().slots(
        &[Offset { from: None, seconds: 0 }],
        old.sealed_at,
        at("2026-01-01T02:00:00Z"),
    ) {
        s.restore(&job("a"), digest(1), slot, terms);
    }
    s.crashed(&job("a"), at("2026-01-01T00:30:00Z"));
    s.adopt(digest(2), &plan("2026-01-01T02:00:00Z", &[("a", 15)]));
    let now = at("2026-01-01T02:00:00Z");
    let decisions = s.decide(now);
    let slot = |text: &str| at(&format!("2026-01-01T{text}:00Z"));
    assert_eq!(
        missed(&decisions),
        [
            (slot("00:00"), slot("00:15"), 2, Cause::Down),
            (slot("00:30"), slot("00:30"), 1, Cause::Crashed),
            (slot("00:45"), slot("01:45"), 5, Cause::Down),
        ]
    );
    assert!(decisions.iter().all(|d| !matches!(d, Decision::Missed { plan, .. } if *plan != digest(1))));
    let Some(Decision::Start(start)) = decisions.last() else { panic!("{decisions:?}") };
    assert_eq!(start.slot, Some((now, digest(2))), "the slot at the new plan's sealing is the new plan's");
}

#[test]
fn a_crashed_slot_runs_again_within_start_within() {
    let mut s = scheduler(4, "2026-01-01T00:05:00Z", &["a"]);
    let terms = Terms::from(&plan("2026-01-01T00:00:00Z", &[("a", 30)]).jobs[0]);
    s.restore(&job("a"), digest(1), at("2026-01-01T00:00:00Z"), terms);
    s.crashed(&job("a"), at("2026-01-01T00:00:00Z"));
    assert_eq!(starts(&s.decide(at("2026-01-01T00:05:00Z"))), [(job("a"), at("2026-01-01T00:00:00Z"), true)]);
}

#[test]
fn a_slot_that_the_clock_jumped_over_is_missed_by_the_clock() {
    let mut s = scheduler(4, "2026-01-01T00:00:01Z", &["a"]);
    s.adopt(digest(1), &plan("2026-01-01T00:00:01Z", &[("a", 30)]));
    let (from, to) = (at("2026-01-01T00:10:00Z"), at("2026-01-01T02:05:00Z"));
    s.jumped(from, to);
    let decisions = s.decide(to);
    assert_eq!(missed(&decisions), [(at("2026-01-01T00:30:00Z"), at("2026-01-01T01:30:00Z"), 3, Cause::Clock)]);
    assert_eq!(starts(&decisions), [(job("a"), at("2026-01-01T02:00:00Z"), true)]);
}

#[test]
fn a_clock_set_back_repeats_no_slot_even_under_a_new_plan() {
    let mut s = scheduler(4, "2026-01-01T00:00:00Z", &["a"]);
    s.adopt(digest(1), &plan("2026-01-01T00:00:00Z", &[("a", 30)]));
    let mut seen = Vec::new();
    for now in ["2026-01-01T00:00:00Z", "2026-01-01T00:30:00Z", "2025-12-31T22:00:00Z", "2026-01-01T00:00:00Z"] {
        seen.extend(starts(&s.decide(at(now))));
        s.ended(&job("a"), at(now));
    }
    s.adopt(digest(2), &plan("2026-01-01T00:00:00Z", &[("a", 30)]));
    for now in ["2026-01-01T00:00:00Z", "2026-01-01T00:30:00Z", "2026-01-01T01:00:00Z"] {
        seen.extend(starts(&s.decide(at(now))));
        s.ended(&job("a"), at(now));
    }
    let slots: Vec<Utc> = seen.iter().map(|(_, slot, _)| *slot).collect();
    assert_eq!(slots, ["2026-01-01T00:00:00Z", "2026-01-01T00:30:00Z", "2026-01-01T01:00:00Z"].map(at));
}

#[test]
fn the_longest_waiting_start_first_and_no_more_than_may() {
    let mut s = scheduler(2, "2026-01-01T00:00:00Z", &["a", "b", "c"]);
    s.adopt(digest(1), &plan("2026-01-01T00:00:01Z", &[("a", 10), ("b", 3), ("c", 5)]));
    let now = at("2026-01-01T00:10:00Z");
    let jobs: Vec<Job> = starts(&s.decide(now)).into_iter().map(|(job, ..)| job).collect();
    assert_eq!(jobs, [job("b"), job("c")]);
    assert!(s.wake(now).unwrap() > now, "a full house waits for an end");
    s.ended(&job("c"), now);
    let jobs: Vec<Job> = starts(&s.decide(now)).into_iter().map(|(job, ..)| job).collect();
    assert_eq!(jobs, [job("a")], "its slot of 00:10 and c's came together, and a is first by name");
}

#[test]
fn a_run_by_hand_takes_no_slot_and_never_runs_beside_another_of_its_job() {
    let mut s = scheduler(4, "2026-01-01T00:00:00Z", &["a"]);
    s.adopt(digest(1), &plan("2026-01-01T00:00:00Z", &[("a", 30)]));
    let now = at("2026-01-01T00:00:00Z");
    assert_eq!(starts(&s.decide(now)).len(), 1);
    s.request(&job("a"));
    s.request(&job("a"));
    assert_eq!(s.decide(now), []);
    s.ended(&job("a"), now);
    let by_hand = Decision::Start(Start { job: job("a"), slot: None, late: false });
    assert_eq!(s.decide(now), [by_hand]);
    s.ended(&job("a"), now);
    assert_eq!(s.decide(now), []);
}

#[test]
fn a_run_that_could_not_be_kept_is_tried_again_and_then_blocked() {
    let mut s = scheduler(4, "2026-01-01T00:00:00Z", &["a"]);
    s.adopt(digest(1), &plan("2026-01-01T00:00:00Z", &[("a", 30)]));
    let slot = at("2026-01-01T00:00:00Z");
    assert_eq!(starts(&s.decide(slot)).len(), 1);
    let again = at("2026-01-01T00:01:00Z");
    s.put_back(&job("a"), again);
    assert_eq!(s.decide(slot), []);
    assert_eq!(s.wake(slot), Some(again));
    assert_eq!(starts(&s.decide(again)), [(job("a"), slot, false)]);
    s.put_back(&job("a"), at("2026-01-01T01:00:00Z"));
    let late = s.wake(again).unwrap();
    assert_eq!(missed(&s.decide(late)), [(slot, slot, 1, Cause::Blocked)]);
}

#[test]
fn a_job_that_left_the_configuration_is_not_run_and_its_due_slot_is_missed() {
    let mut s = scheduler(4, "2026-01-01T00:05:00Z", &[]);
    let terms = Terms::from(&plan("2026-01-01T00:00:00Z", &[("a", 30)]).jobs[0]);
    let slot = at("2026-01-01T00:00:00Z");
    s.restore(&job("a"), digest(1), slot, terms);
    s.adopt(digest(2), &plan("2026-01-01T00:05:00Z", &[]));
    assert_eq!(s.decide(at("2026-01-01T00:05:00Z")), []);
    let wake = s.wake(at("2026-01-01T00:05:00Z")).unwrap();
    assert_eq!(missed(&s.decide(wake)), [(slot, slot, 1, Cause::Blocked)]);
}

#[test]
fn with_a_full_spool_nothing_starts_and_what_passes_is_blocked() {
    let mut s = scheduler(4, "2026-01-01T00:00:00Z", &["a"]);
    s.adopt(digest(1), &plan("2026-01-01T00:00:00Z", &[("a", 30)]));
    let slot = at("2026-01-01T00:00:00Z");
    s.no_room(Some("the spool is full".into()));
    assert_eq!(s.decide(slot), []);
    let gone = s.wake(slot).unwrap();
    assert_eq!(missed(&s.decide(gone)), [(slot, slot, 1, Cause::Blocked)]);
    s.no_room(None);
    let next = s.wake(gone).unwrap();
    assert_eq!(starts(&s.decide(next)), [(job("a"), at("2026-01-01T00:30:00Z"), false)]);
}

#[test]
fn a_spread_moves_the_start_and_not_the_slot() {
    let mut spread = plan("2026-01-01T00:00:00Z", &[("a", 30)]);
    spread.jobs[0].spread_seconds = 300;
    let mut s = scheduler(4, "2026-01-01T00:00:00Z", &["a"]);
    s.adopt(digest(1), &spread);
    let slot = at("2026-01-01T00:00:00Z");
    assert_eq!(s.decide(slot), []);
    let wake = s.wake(slot).unwrap();
    assert!(wake > slot && wake <= slot + TimeDelta::seconds(300), "{wake}");
    assert_eq!(starts(&s.decide(wake))[0].1, slot);
}

mod clock {
    use std::time::Duration;

    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_day_ahead_of_the_archive_is_held_until_a_second_clock_agrees() {
        let known = at("2026-01-01T00:00:00Z");
        let mut watch = ClockWatch::new(Some(known), at("2030-01-01T00:00:00Z"), seconds(0));
        let now = at("2030-01-01T00:00:00Z");
        let held = |watch: &mut ClockWatch, elapsed| match watch.look(now, seconds(elapsed), false) {
            Look::Held { expected, .. } => expected,
            other => panic!("{other:?}"),
        };
        assert_eq!(held(&mut watch, 0), known);
        assert_eq!(held(&mut watch, 60), at("2026-01-01T00:01:00Z"));
        assert_eq!(
            watch.look(now, seconds(60), true),
            Look::Steady,
            "at a start, the agent was down, not the clock wrong"
        );
        assert_eq!(watch.look(now, seconds(60), false), Look::Steady, "what was agreed stays so");
    }

    #[test]
    fn a_clock_put_right_again_is_no_longer_held() {
        let mut watch = ClockWatch::new(None, at("2026-01-01T00:00:00Z"), seconds(0));
        assert!(matches!(watch.look(at("2027-01-01T00:00:00Z"), seconds(5), false), Look::Held { .. }));
        assert_eq!(watch.look(at("2026-01-01T00:00:10Z"), seconds(10), false), Look::Steady);
    }

    #[test]
    fn a_clock_that_was_wrong_at_the_start_hides_no_later_jump() {
        let known = at("2026-01-01T00:00:00Z");
        let mut watch = ClockWatch::new(Some(known), at("2030-01-01T00:00:00Z"), seconds(0));
        assert!(matches!(watch.look(at("2030-01-01T00:00:00Z"), seconds(0), false), Look::Held { .. }));
        assert_eq!(watch.look(at("2026-01-01T00:01:00Z"), seconds(60), false), Look::Steady);
        let (from, to) = (at("2026-01-01T00:02:00Z"), at("2026-01-01T03:02:00Z"));
        assert_eq!(watch.look(to, seconds(120), false), Look::Jumped { from, to });
    }

    #[test]
    fn a_jump_of_hours_is_told_from_waiting() {
        let mut watch = ClockWatch::new(None, at("2026-01-01T00:00:00Z"), seconds(0));
        assert_eq!(watch.look(at("2026-01-01T05:00:00Z"), seconds(5 * 3600), false), Look::Steady);
        let (from, to) = (at("2026-01-01T05:01:00Z"), at("2026-01-01T09:00:00Z"));
        assert_eq!(watch.look(to, seconds(5 * 3600 + 60), false), Look::Jumped { from, to });
        assert_eq!(watch.look(to, seconds(5 * 3600 + 60), false), Look::Steady);
    }

    #[test]
    fn a_clock_set_back_and_right_again_skipped_only_what_it_never_showed() {
        let mut watch = ClockWatch::new(None, at("2026-01-01T00:00:00Z"), seconds(0));
        assert_eq!(watch.look(at("2026-01-01T00:00:00Z"), seconds(0), true), Look::Steady);
        let expected = at("2026-01-01T00:01:00Z");
        assert_eq!(watch.look(at("2020-01-01T00:00:00Z"), seconds(60), true), Look::Behind { expected });
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:02:00Z"));
        assert_eq!(watch.look(to, seconds(120), false), Look::Jumped { from, to });
        assert_eq!(watch.look(at("2026-01-01T00:03:00Z"), seconds(180), false), Look::Steady);
    }

    #[test]
    fn a_jump_after_the_clock_was_set_back_begins_where_the_clock_was() {
        let mut watch = ClockWatch::new(None, at("2026-01-01T12:00:00Z"), seconds(0));
        let expected = at("2026-01-01T12:01:00Z");
        assert_eq!(watch.look(at("2026-01-01T09:01:00Z"), seconds(60), true), Look::Behind { expected });
        for hour in 1..=5 {
            watch.look(at("2026-01-01T09:01:00Z") + TimeDelta::hours(hour), seconds(60 + 3600 * hour as u64), true);
        }
        let (from, to) = (at("2026-01-01T14:02:00Z"), at("2026-01-01T15:02:00Z"));
        assert_eq!(watch.look(to, seconds(120 + 5 * 3600), true), Look::Jumped { from, to });
    }
}

#[derive(Debug, Clone)]
enum Event {
    Wait(i64),
    Jump(i64),
    End(u8),
    PutBack(u8),
    NewPlan,
    Request(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_i64..1_200).prop_map(Event::Wait),
        1 => (-20_000_i64..20_000).prop_map(Event::Jump),
        6 => (0_u8..3).prop_map(Event::End),
        1 => (0_u8..3).prop_map(Event::PutBack),
        1 => Just(Event::NewPlan),
        1 => (0_u8..3).prop_map(Event::Request),
    ]
}

proptest! {
    /// Whatever happens, each slot of each job leaves once, in order, none is left out, and no job runs twice at once.
    #[test]
    fn every_slot_leaves_exactly_once_in_order(events in prop::collection::vec(event(), 1..120)) {
        let names = ["a", "b", "c"];
        let planned = [("a", 1), ("b", 7), ("c", 20)];
        let mut s = scheduler(2, "2026-01-01T00:00:00Z", &names);
        let start = at("2026-01-01T00:00:00Z");
        let mut now = start;
        let mut sealed = start;
        s.adopt(digest(0), &plan("2026-01-01T00:00:00Z", &planned));
        let mut left: BTreeMap<Job, Vec<Utc>> = BTreeMap::new();
        let mut running: BTreeSet<Job> = BTreeSet::new();
        let mut slots: BTreeMap<Job, Utc> = BTreeMap::new();
        let zone = [Offset { from: None, seconds: 0 }];
        for (n, event) in events.into_iter().enumerate() {
            match event {
                Event::Wait(by) => now += TimeDelta::seconds(by),
                Event::Jump(by) => now += TimeDelta::seconds(by),
                Event::End(j) => { let j = job(names[j as usize]); s.ended(&j, now); running.remove(&j); slots.remove(&j); }
                Event::PutBack(j) => {
                    let j = job(names[j as usize]);
                    if running.remove(&j) && let Some(slot) = slots.remove(&j) {
                        prop_assert_eq!(left.get_mut(&j).and_then(Vec::pop), Some(slot));
                    }
                    s.put_back(&j, now);
                }
                Event::NewPlan => {
                    // As the daemon does: never before anything that was sealed.
                    sealed = sealed.max(now);
                    s.adopt(digest(n as u8), &plan(&sealed.to_rfc3339(), &planned));
                }
                Event::Request(j) => s.request(&job(names[j as usize])),
            }
            for decision in s.decide(now) {
                match decision {
                    Decision::Start(begin) => {
                        prop_assert!(running.insert(begin.job.clone()));
                        if let Some((slot, _)) = begin.slot {
                            prop_assert!(slot <= now);
                            slots.insert(begin.job.clone(), slot);
                            left.entry(begin.job).or_default().push(slot);
                        }
                    }
                    Decision::Missed { missed, .. } => {
                        let step = planned.iter().find(|(name, _)| job(name) == missed.job).unwrap().1;
                        let these: Vec<Utc> = every(step).slots(&zone, missed.first, missed.last + TimeDelta::milliseconds(1)).collect();
                        prop_assert_eq!(these.len() as u64, missed.count);
                        left.entry(missed.job).or_default().extend(these);
                    }
                }
            }
            prop_assert!(running.len() <= 2);
        }
        for (name, step) in planned {
            let left = left.remove(&job(name)).unwrap_or_default();
            let expected: Vec<Utc> = every(step).slots(&zone, start, start + TimeDelta::days(100)).take(left.len()).collect();
            prop_assert_eq!(left, expected);
        }
    }
}
