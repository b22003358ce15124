#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};
use signing::time::Utc;

use crate::{
    Ledger,
    drift::CHECK_FAILS,
    model::{DriftEvent, DriftKind},
    pass::pass,
    sights::{Found, Sights},
    testing::{Archive, Memory, Run, at, hourly},
};
use signing::{bundle::Population, statement::Outcome, verify::Verdict};

const JOB: &str = "aws/iam-credential-report@prod";

fn slot(hour: u32) -> String {
    format!("2026-11-01T{hour:02}:00:00Z")
}

/// A run with users: id, and whether there is a second factor.
fn users(hour: u32, users: &[(&str, Value)]) -> Run {
    let row = |id: &str, mfa: &Value| {
        let mut row = json!({"id": id, "name": id, "mfa_active": mfa, "idle_days": hour, "exchange": hour});
        row["as_of"] = json!(slot(hour));
        row
    };
    let run = Run::slot(JOB, &slot(hour)).checks("[]");
    users.iter().fold(run, |run, (id, mfa)| run.record("user", row(id, mfa)))
}

fn cut(run: Run) -> Run {
    run.population("user", Population::Cut("refused".into()))
}

fn partial(mut run: Run) -> Run {
    run.outcome = Outcome::Partial;
    run
}

fn archive(runs: &[Run]) -> Archive {
    let mut archive = Archive::new("2026-11-01");
    let jobs = [JOB, "aws/inspector@x", "host/privileged-changes@this"].map(|job| (job, Some(hourly())));
    archive.at("2026-11-01T00:10:00Z").plan(&jobs, "started");
    for run in runs {
        archive.run(run);
    }
    archive
}

fn found(runs: &[Run], most: usize, from: Utc) -> (Found, Vec<DriftEvent>) {
    let (memory, verdict) = archive(runs).verified("");
    seen(&memory, &verdict, most, from)
}

fn seen(memory: &Memory, verdict: &Verdict, most: usize, from: Utc) -> (Found, Vec<DriftEvent>) {
    let ledger = Ledger::new(memory, verdict).unwrap();
    let mut all = Vec::new();
    let mut take = |event: &DriftEvent| {
        all.push(event.clone());
        Ok(())
    };
    let controls = |_: &_, _: &_, _: Utc| vec!["AC-01".to_owned()];
    let mut sights = Sights::new(&ledger, (from, at("2026-12-01")), most, &controls, &mut take);
    pass(&ledger, at("2026-12-01"), &mut [&mut sights]).unwrap();
    (sights.finish(), all)
}

/// Hour of the run and of the one before, record, change, fields, rule.
fn told(runs: &[Run]) -> Vec<String> {
    let (found, all) = found(runs, 100, at("2026-10-01"));
    assert_eq!(found.drift, all);
    lines(&all)
}

fn lines(all: &[DriftEvent]) -> Vec<String> {
    let hour = |at: Utc| at.format("%H").to_string();
    all.iter()
        .map(|event| {
            let fields: Vec<String> =
                event.fields.iter().map(|f| format!(" {} {}>{}", f.field, f.before, f.after)).collect();
            let rule = event.notable.as_ref().map_or(String::new(), |notable| format!(" !{}", notable.rule));
            let change = match event.change {
                DriftKind::Added => '+',
                DriftKind::Removed => '-',
                DriftKind::Changed => '~',
            };
            format!("{}/{} {change}{}{}{rule}", hour(event.since), hour(event.at), event.record, fields.concat())
        })
        .collect()
}

fn yes() -> Value {
    json!(true)
}

fn no() -> Value {
    json!(false)
}

#[test]
fn records_that_came_went_and_changed_are_told_against_the_run_before() {
    let runs = [
        users(1, &[("ann", yes()), ("bob", yes())]),
        users(2, &[("bob", yes()), ("ann", yes())]),
        users(3, &[("ann", no()), ("cy", yes())]),
        users(4, &[("ann", no()), ("cy", yes())]),
    ];
    assert_eq!(told(&runs), ["02/03 ~ann mfa_active true>false !mfa-lost", "02/03 +cy", "02/03 -bob"]);
}

#[test]
fn the_first_list_adds_nothing_and_a_proved_absence_removes_all() {
    let absent = Run::slot(JOB, &slot(2)).checks("[]").population("user", Population::Absent("none".into()));
    assert_eq!(told(&[users(1, &[("ann", yes())]), absent, users(3, &[("ann", yes())])]), ["01/02 -ann", "02/03 +ann"]);
}

#[test]
fn a_list_that_was_cut_removes_nothing_and_what_it_lacked_is_not_new_after_it() {
    let both = [("ann", yes()), ("bob", yes())];
    let unread = Run::slot(JOB, &slot(3)).checks("[]").failed("down");
    assert_eq!(told(&[users(1, &both), cut(users(2, &both[..1])), unread, users(4, &both)]), [""; 0]);
    // What a cut list does show is told, once, and held against the last whole list.
    let runs = [
        users(1, &both),
        cut(users(2, &[("bob", no()), ("cy", yes())])),
        cut(users(3, &[("cy", yes()), ("bob", no())])),
        users(4, &[("bob", no()), ("cy", yes())]),
    ];
    assert_eq!(told(&runs), ["01/02 ~bob mfa_active true>false !mfa-lost", "01/02 +cy", "01/04 -ann"]);
}

#[test]
fn before_the_first_whole_list_nothing_is_new_but_changes_are_seen() {
    let runs = [
        cut(users(1, &[("ann", yes())])),
        cut(users(2, &[("ann", no()), ("bob", yes())])),
        users(3, &[("bob", yes()), ("cy", yes())]),
    ];
    assert_eq!(told(&runs), ["01/02 ~ann mfa_active true>false !mfa-lost", "02/03 -ann"]);
}

#[test]
fn what_a_partial_run_does_not_tell_is_no_change_and_hides_none() {
    let ann = |mfa: Value| [("ann", mfa)];
    let runs = |last: Value| {
        [
            users(1, &ann(yes())),
            partial(users(2, &ann(Value::Null))),
            partial(users(3, &ann(Value::Null))),
            users(4, &ann(last)),
        ]
    };
    assert_eq!(told(&runs(yes())), [""; 0]);
    assert_eq!(told(&runs(no())), ["01/04 ~ann mfa_active true>false !mfa-lost"]);
    // Beside a change that it does tell.
    let with = |hour, mfa: Value, keys: u64| {
        Run::slot(JOB, &slot(hour))
            .checks("[]")
            .record("user", json!({"id": "ann", "name": "ann", "mfa_active": mfa, "active_keys": keys}))
    };
    let runs = |last| [with(1, yes(), 0), partial(with(2, Value::Null, 1)), with(3, last, 1)];
    assert_eq!(told(&runs(yes())), ["01/02 ~ann active_keys 0>1"]);
    assert_eq!(told(&runs(no())), ["01/02 ~ann active_keys 0>1", "02/03 ~ann mfa_active true>false !mfa-lost"]);
}

#[test]
fn a_rule_sees_past_null_that_a_whole_run_answered() {
    let runs = [users(1, &[("ann", yes())]), users(2, &[("ann", Value::Null)]), users(3, &[("ann", no())])];
    assert_eq!(told(&runs), ["01/02 ~ann mfa_active true>null", "02/03 ~ann mfa_active null>false !mfa-lost"]);
}

#[test]
fn a_record_that_begins_to_fail_is_named_with_its_change_or_by_itself() {
    let run = |hour: u32, rows: &[(&str, bool, u32)]| {
        rows.iter().fold(Run::slot(JOB, &slot(hour)), |run, (id, ok, keys)| {
            run.record("user", json!({"id": id, "ok": ok, "idle_days": hour, "active_keys": keys}))
        })
    };
    let (found, _) = found(
        &[
            run(1, &[("ann", true, 1), ("bob", true, 1), ("old", false, 1)]),
            run(2, &[("ann", false, 2), ("bob", true, 1), ("old", false, 1), ("new", false, 1)]),
        ],
        100,
        at("2026-10-01"),
    );
    assert_eq!(found.drift.len(), 2, "{:?}", found.drift);
    let notable = found.drift[0].notable.as_ref().unwrap();
    assert_eq!((notable.rule.as_str(), notable.says.as_str()), (CHECK_FAILS, "is-ok: ann is not ok"));
    assert_eq!((found.drift[1].record.as_str(), &found.drift[1].notable), ("new", &None));
    assert_eq!(found.deviations.len(), 3);
    assert_eq!(found.deviations[0].controls, ["AC-01"]);
    // The same record but for what is volatile.
    let volatile = |hour, days: u32| {
        let checks = "[{id: used, item: dormant_accounts, population: user, pass: .idle_days < 90, says: idle}]";
        Run::slot(JOB, &slot(hour)).checks(checks).record("user", json!({"id": "ann", "idle_days": days}))
    };
    assert_eq!(
        told(&[volatile(1, 88), volatile(2, 89), volatile(3, 90), volatile(4, 91)]),
        ["02/03 ~ann !check-fails"]
    );
}

#[test]
fn events_of_windows_and_kinds_that_compare_themselves_are_not_compared() {
    let window = |hour, id: &str| {
        Run::slot(JOB, &slot(hour))
            .window("2026-11-01", "2026-11-02", true)
            .checks("[]")
            .record("user", json!({"id": id}))
    };
    assert_eq!(told(&[window(1, "a"), window(2, "b")]), [""; 0]);
    let job = |hour, id: &str| {
        Run::slot("host/privileged-changes@this", &slot(hour))
            .checks("[]")
            .record("privileged_change", json!({"id": id}))
    };
    assert_eq!(told(&[job(1, "a"), job(2, "b")]), [""; 0]);
    // Records that come and go in the ordinary course are told where a rule names them.
    let external = |hour, id: &str, public| {
        let row = json!({"id": id, "resource": id, "public": public});
        Run::slot("aws/inspector@x", &slot(hour)).checks("[]").record("scanned_resource", row)
    };
    assert_eq!(told(&[external(1, "a", false), external(2, "b", true)]), [""; 0]);
}

#[test]
fn a_run_that_a_finding_names_shows_no_change_and_ends_no_deviation() {
    let run =
        |hour, ok: bool| Run::slot(JOB, &slot(hour)).record("user", json!({"id": "ann", "ok": ok, "mfa_active": ok}));
    let mut archive = archive(&[run(1, false), run(2, true), run(3, false), run(4, true)]);
    let (mut memory, _) = archive.verified("");
    let refused = memory.bundle(&slot(2), JOB);
    memory.0.get_mut(&refused).unwrap().push(0);
    let verdict = memory.judge("");
    let (found, all) = seen(&memory, &verdict, 100, at("2026-10-01"));
    assert_eq!(lines(&all), ["03/04 ~ann mfa_active false>true ok false>true"]);
    let deviations: Vec<_> = found.deviations.iter().map(|d| (d.runs, d.ended.as_ref().map(|end| end.at))).collect();
    assert_eq!(deviations, [(2, Some(at(&slot(4))))]);
}

#[test]
fn a_run_by_hand_is_a_run_like_any_other() {
    let row = |ok: bool| json!({"id": "ann", "ok": ok, "mfa_active": ok});
    let mut archive = archive(&[Run::slot(JOB, &slot(1)).record("user", row(true))]);
    archive.at("2026-11-01T01:30:00Z").run(&Run::by_hand(JOB).record("user", row(false)));
    archive.run(&Run::slot(JOB, &slot(2)).record("user", row(true)));
    let (memory, verdict) = archive.verified("");
    let (found, all) = seen(&memory, &verdict, 100, at("2026-10-01"));
    let (by_hand, next) = (at("2026-11-01T01:30:00Z"), at(&slot(2)));
    assert_eq!(all.iter().map(|e| (e.since, e.at)).collect::<Vec<_>>(), [(at(&slot(1)), by_hand), (by_hand, next)]);
    let one = &found.deviations[0];
    assert_eq!((one.first_seen, one.not_before, one.ended.as_ref().unwrap().at), (by_hand, Some(at(&slot(1))), next));
}

#[test]
fn another_version_of_a_collector_tells_only_fields_that_both_have_and_nothing_where_it_names_records_otherwise() {
    let run = |hour, version, id: &str, rest: Value| {
        let mut row = json!({"id": id});
        row.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        Run { version, ..Run::slot(JOB, &slot(hour)).checks("[]").record("user", row) }
    };
    let old = |hour| run(hour, 1, "ann", json!({"mfa_active": true, "old": 1}));
    let new = |mfa: bool| json!({"mfa_active": mfa, "new": 1});
    assert_eq!(told(&[old(1), run(2, 2, "ann", new(true)), run(3, 2, "ann", new(true))]), [""; 0]);
    assert_eq!(told(&[old(1), run(2, 2, "ann", new(false))]), ["01/02 ~ann mfa_active true>false !mfa-lost"]);
    assert_eq!(told(&[old(1), run(2, 2, "arn:ann", new(false)), run(3, 2, "arn:ann", new(true))]).len(), 1);
}

#[test]
fn a_period_tells_what_changed_within_it_against_what_was_before_and_notable_ones_are_held_first() {
    let runs = [
        users(1, &[("ann", yes())]),
        users(2, &[("ann", yes()), ("bob", yes())]),
        users(3, &[("ann", yes()), ("cy", yes())]),
        users(4, &[("ann", no()), ("cy", yes())]),
    ];
    let (found, all) = found(&runs, 2, at("2026-11-01T03:00:00Z"));
    assert_eq!((all.len(), found.more_drift), (3, 1));
    let held: Vec<_> = found.drift.iter().map(|event| (event.record.as_str(), event.change)).collect();
    assert_eq!(held, [("cy", DriftKind::Added), ("ann", DriftKind::Changed)]);
    assert_eq!(found.trends.len(), 0);
}
