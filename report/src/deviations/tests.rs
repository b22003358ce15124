#![allow(clippy::unwrap_used)]
use std::convert::Infallible;

use chrono::TimeDelta;
use serde_json::{Value, json};
use signing::time::from_unix;

use super::*;

/// A log of one job's runs, an hour apart.
struct Log {
    job: Job,
    hour: i64,
    deviations: Deviations,
    begun: Vec<Begun>,
    /// Records of the run that no check lists.
    beside: Vec<&'static str>,
    controls: Vec<String>,
}

fn hour(at: i64) -> Utc {
    from_unix(1_782_864_000).unwrap() + TimeDelta::hours(at)
}

fn log() -> Log {
    of(hour(0), hour(10_000))
}

fn of(from: Utc, until: Utc) -> Log {
    Log {
        job: "aws/iam-users@prod".parse().unwrap(),
        hour: 0,
        deviations: Deviations::new(from, until),
        begun: Vec::new(),
        beside: Vec::new(),
        controls: vec!["AC-01".into()],
    }
}

/// `state`, then lists of ids: pass, exempt, fail, unknown.
fn check(id: &str, filter: Option<&str>, state: &str, rows: [&[&str]; 4]) -> Value {
    let [pass, exempt, fail, unknown] = rows;
    let reasoned = |ids: &[&str], says: &str| ids.iter().map(|id| json!({"id": id, "reason": says})).collect::<Value>();
    let mut unknown = reasoned(unknown, "not known");
    if state == "cut" || state == "unread" {
        unknown.as_array_mut().unwrap().push(json!({"id": null, "reason": "refused"}));
    }
    let absent = u64::from(state == "absent");
    let mut population = json!({"kind": "user", "state": state, "size": pass.len() + exempt.len() + fail.len()});
    if let Some(filter) = filter {
        population["filter"] = json!(filter);
    }
    json!({"id": id, "item": "mfa_user_enrolled", "title": "t", "criteria": {"soc2": {}, "hipaa": {}},
        "definition": {"pass": ".mfa", "says": "no factor", "parameters": {}}, "population": population, "outcome": "unknown",
        "pass": pass.len(), "fail": fail.len(), "unknown": unknown.as_array().unwrap().len(), "not_applicable": absent, "exempt": exempt.len(),
        "rows": {"pass": pass, "exempt": exempt, "fail": reasoned(fail, "no factor"), "unknown": unknown}})
}

impl Log {
    fn run_with(&mut self, checks: &[Value]) {
        let results = json!({"format": "evidenced-results/1", "checks": checks});
        let results = Results::from_bytes(results.to_string().as_bytes()).unwrap();
        let entry = self.hour as u64;
        let run = Run { job: &self.job, at: hour(self.hour), entry, leaf: Digest::of(&entry.to_be_bytes()) };
        let controls = self.controls.clone();
        let beside = self.beside.clone();
        let begun = self.deviations.run::<Infallible>(run, &results, &mut |_| controls.clone(), &mut |kind, ids| {
            assert_eq!(kind, "user");
            Ok(ids.iter().filter(|id| beside.contains(&id.as_str())).cloned().collect())
        });
        self.begun.extend(begun.unwrap());
        self.hour += 1;
    }

    /// A run of one check without a filter: state, pass, exempt, fail, unknown.
    fn run(&mut self, state: &str, rows: [&[&str]; 4]) {
        self.run_with(&[check("mfa", None, state, rows)]);
    }

    fn passes(&mut self) {
        self.run("whole", [&["ann"], &[], &[], &[]]);
    }

    fn fails(&mut self) {
        self.run("whole", [&[], &[], &["ann"], &[]]);
    }

    fn all(self) -> Vec<Deviation> {
        self.deviations.finish()
    }

    fn one(self) -> Deviation {
        let mut all = self.all();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

fn end(deviation: &Deviation) -> Option<(&'static str, Utc)> {
    deviation.ended.as_ref().map(|ended| (ended.how, ended.at))
}

#[test]
fn failing_in_720_hourly_runs_is_one_deviation_that_stays_open() {
    let mut log = log();
    log.passes();
    (0..720).for_each(|_| log.fails());
    let found = log.one();
    assert_eq!((found.runs, found.first_seen, found.last_seen), (720, hour(1), hour(720)));
    assert_eq!((found.first_entry, found.last_entry, &found.ended), (1, 720, &None));
    assert_eq!((found.not_before, found.says.as_str()), (Some(hour(0)), "no factor"));
    assert_eq!(found.controls, ["AC-01"]);
}

#[test]
fn its_id_is_that_of_job_check_record_and_first_entry() {
    let mut log = log();
    log.fails();
    log.fails();
    let text = format!("aws/iam-users@prod\nmfa\nann\n{}", Digest::of(&0_u64.to_be_bytes()));
    assert_eq!(log.one().id, format!("D-{}", &Digest::of(text.as_bytes()).to_string()[..12]));
}

#[test]
fn it_ends_by_passing_by_exemption_and_by_going() {
    for (rows, state, how) in [
        ([&["ann"][..], &[], &[], &[]], "whole", Some("passes")),
        ([&["ann"], &[], &[], &[]], "cut", Some("passes")),
        ([&[], &["ann"], &[], &[]], "whole", Some("exempt")),
        ([&["bob"], &[], &[], &[]], "whole", Some("gone")),
        ([&[], &[], &[], &[]], "absent", Some("gone")),
        ([&["bob"], &[], &[], &[]], "cut", None),
        ([&[], &[], &[], &[]], "unread", None),
        ([&[], &[], &[], &["ann"]], "whole", None),
        ([&[], &[], &["ann"], &[]], "cut", None),
    ] {
        let mut log = log();
        log.fails();
        log.run(state, rows);
        assert_eq!(end(&log.one()), how.map(|how| (how, hour(1))), "{state} {rows:?}");
    }
}

#[test]
fn a_record_that_is_there_and_no_longer_asked_of_is_told_from_one_that_is_gone() {
    let filtered = |fail: &[&str]| check("mfa", Some(".active"), "whole", [&[], &[], fail, &[]]);
    let other = |pass: &[&str]| check("age", None, "whole", [pass, &[], &[], &[]]);
    let how = |checks: &[Value], beside: Vec<&'static str>| {
        let mut log = log();
        log.run_with(&[filtered(&["ann"]), other(&["ann"])]);
        log.beside = beside;
        log.run_with(checks);
        end(&log.one()).unwrap().0
    };
    assert_eq!(how(&[filtered(&[]), other(&["ann"])], vec![]), "not_in_population");
    assert_eq!(how(&[filtered(&[])], vec!["ann"]), "not_in_population");
    assert_eq!(how(&[filtered(&[]), other(&["bob"])], vec!["bob"]), "gone");
}

#[test]
fn what_was_not_seen_between_ends_nothing_and_counts_no_run() {
    let mut log = log();
    log.fails();
    log.run("whole", [&[], &[], &[], &["ann"]]);
    log.run("unread", [&[], &[], &[], &[]]);
    log.run("cut", [&["bob"], &[], &[], &[]]);
    // A run of the job without this check.
    log.run_with(&[]);
    log.fails();
    let found = log.one();
    assert_eq!((found.runs, found.last_seen, found.ended), (2, hour(5), None));
}

#[test]
fn failing_again_after_the_end_is_a_new_deviation() {
    let mut log = log();
    log.fails();
    log.passes();
    log.fails();
    assert_eq!(log.deviations.open(), 1);
    let all = log.all();
    assert_eq!(all.len(), 2);
    assert_eq!((end(&all[0]), end(&all[1])), (Some(("passes", hour(1))), None));
    assert_eq!(all[1].not_before, Some(hour(1)));
    assert_ne!(all[0].id, all[1].id);
}

#[test]
fn the_last_run_that_saw_the_record_not_fail_is_not_one_that_could_not_tell() {
    let unknown: [&[&str]; 4] = [&[], &[], &[], &["ann"]];
    let before = |runs: &[(&str, [&[&str]; 4])]| {
        let mut log = log();
        runs.iter().for_each(|(state, rows)| log.run(state, *rows));
        log.fails();
        let begun = log.begun.clone();
        let found = log.one();
        assert_eq!(begun[0].not_before, found.not_before);
        found.not_before
    };
    assert_eq!(before(&[]), None);
    assert_eq!(before(&[("unread", [&[]; 4])]), None);
    assert_eq!(before(&[("whole", unknown)]), None);
    assert_eq!(before(&[("whole", [&[]; 4])]), Some(hour(0)));
    assert_eq!(
        before(&[("whole", [&["ann"], &[], &[], &[]]), ("whole", unknown), ("unread", [&[]; 4])]),
        Some(hour(0))
    );
    assert_eq!(before(&[("whole", [&[]; 4]), ("cut", [&["ann"], &[], &[], &[]]), ("whole", unknown)]), Some(hour(1)));
    assert_eq!(before(&[("whole", [&[]; 4]), ("cut", [&["bob"], &[], &[], &[]])]), Some(hour(0)));
    assert_eq!(before(&[("cut", [&["ann"], &[], &[], &[]]), ("whole", [&["bob"], &[], &[], &[]])]), Some(hour(1)));
    // It had failed, and ended in a run that was cut.
    assert_eq!(before(&[("whole", [&[]; 4]), ("whole", unknown), ("whole", unknown)]), Some(hour(0)));
}

#[test]
fn an_end_in_a_run_that_was_cut_is_what_the_next_one_comes_after() {
    let mut log = log();
    log.fails();
    log.run("cut", [&["ann"], &[], &[], &[]]);
    log.run("whole", [&[], &[], &[], &["ann"]]);
    log.fails();
    assert_eq!(log.all()[1].not_before, Some(hour(1)));
}

#[test]
fn a_period_has_what_was_open_within_it_and_nothing_of_later_runs() {
    let mut log = of(hour(3), hour(6));
    let fail = |ids: &[&str]| check("mfa", None, "whole", [&[], &[], ids, &[]]);
    log.run_with(&[fail(&["before", "ends", "lasts"])]);
    log.run_with(&[fail(&["before", "ends", "lasts"])]);
    log.run_with(&[fail(&["ends", "lasts"])]);
    log.run_with(&[fail(&["lasts"])]);
    log.run_with(&[fail(&["lasts", "within"])]);
    log.run_with(&[fail(&["lasts"])]);
    log.run_with(&[fail(&["later"])]);
    let all = log.all();
    let names: Vec<(&str, Option<Utc>)> =
        all.iter().map(|d| (d.record.as_str(), d.ended.as_ref().map(|e| e.at))).collect();
    assert_eq!(names, [("ends", Some(hour(3))), ("lasts", None), ("within", Some(hour(5)))]);
    assert_eq!((all[1].first_seen, all[1].runs), (hour(0), 6));
}

#[test]
fn jobs_and_checks_are_apart_and_first_sight_orders_them() {
    let mut log = log();
    let fail = |id: &str, ids: &[&str]| check(id, None, "whole", [&[], &[], ids, &[]]);
    log.run_with(&[fail("b", &["x"]), fail("a", &["y", "x"])]);
    log.job = "aws/iam-users@test".parse().unwrap();
    log.run_with(&[fail("a", &["x"])]);
    log.run_with(&[fail("a", &[])]);
    let all = log.all();
    let list: Vec<_> =
        all.iter().map(|d| (d.job.source(), d.check.as_str(), d.record.as_str(), d.ended.is_some())).collect();
    assert_eq!(
        list,
        [("prod", "a", "x", false), ("prod", "a", "y", false), ("prod", "b", "x", false), ("test", "a", "x", true)]
    );
}

#[test]
fn a_check_by_another_name_ends_nothing_and_begins_its_own() {
    let mut log = log();
    log.fails();
    let renamed = |rows: [&[&str]; 4]| check("second-factor", None, "whole", rows);
    log.run_with(&[renamed([&[], &[], &["ann"], &[]])]);
    log.run_with(&[renamed([&["ann"], &[], &[], &[]])]);
    let all = log.all();
    let told: Vec<_> = all.iter().map(|d| (d.check.as_str(), d.runs, d.not_before, end(d))).collect();
    assert_eq!(told, [("mfa", 1, None, None), ("second-factor", 1, None, Some(("passes", hour(2))))]);
}

#[test]
fn what_was_open_when_its_job_was_removed_stays_open() {
    let mut log = log();
    log.fails();
    log.job = "aws/iam-users@test".parse().unwrap();
    (0..3).for_each(|_| log.passes());
    let found = log.one();
    assert_eq!((found.job.source(), found.last_seen, found.ended), ("prod", hour(0), None));
}

#[test]
fn controls_that_were_in_force_at_any_sight_are_its() {
    let mut log = log();
    log.controls.clear();
    log.fails();
    log.controls = vec!["B-1".into(), "A-1".into()];
    log.fails();
    log.controls = vec!["A-1".into()];
    log.fails();
    assert_eq!(log.one().controls, ["A-1", "B-1"]);
}
