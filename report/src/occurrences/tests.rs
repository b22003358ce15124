#![allow(clippy::unwrap_used)]
use controls::{Control, ControlSet};
use serde_json::json;
use signing::{bundle::Population, statement::Cause};

use super::*;
use crate::{
    ledger::Ledger,
    model::{ControlReport, OccurrenceState as State, Report},
    period::{Asked, Question, report},
    testing::{Archive, Memory, Run, USERS, at, control, daily_at, dated_by, scoped, set},
};

const JOB: &str = "host/accounts@this";
const OTHER: &str = "host/accounts@that";
const BACKUPS: &str = "aws/backup-jobs@prod";

/// Whether a backup ended well; those that were called off are exempt.
const BACKUP: &str = "[{id: succeeded, item: backup_job_success, population: backup, exempt: .state == \"off\", pass: .ok, \
                      says: '{id} failed', unknown: 'how {id} ended is not known'}]";

fn users(frequency: Frequency) -> Control {
    control("C", frequency, "mfa_user_enrolled")
}

fn backups(frequency: Frequency, within_days: u32) -> Control {
    Control { dated_by: dated_by("backup", within_days), ..control("C", frequency, "backup_job_success") }
}

fn one(control: Control) -> ControlSet {
    set(&[control], vec![scoped(JOB, USERS)])
}

fn made(memory: &Memory, verdict: &signing::verify::Verdict, asked: Asked) -> Report {
    let ledger = Ledger::new(memory, verdict).unwrap();
    let question = Question { asked, frameworks: None, program: "0.1.0".into() };
    report(&ledger, &question, &mut ()).unwrap()
}

fn days(from: &str, to: &str) -> Asked {
    Asked::Period { from: from.parse().unwrap(), to: to.parse().unwrap(), as_of: None }
}

/// The control `C` over days of November 2026, as of the log's newest entry or a later instant.
fn over(archive: &mut Archive, from: &str, to: &str, as_of: &str) -> ControlReport {
    let (memory, verdict) = archive.verified(as_of);
    let report = made(&memory, &verdict, days(from, to));
    report.controls.into_iter().find(|control| control.id == "C").unwrap()
}

fn states(control: &ControlReport) -> Vec<State> {
    control.occurrences.iter().map(|occurrence| occurrence.state).collect()
}

fn counts(required: u64, operated: u64, deviation: u64, not_observed: u64, rest: (u64, u64)) -> OccurrenceCounts {
    OccurrenceCounts { required, operated, deviation, not_observed, no_occasion: rest.0, open: rest.1 }
}

/// An archive whose controls document and plan come before November 2026.
fn begun(set: &ControlSet) -> Archive {
    let mut archive = Archive::new("2026-10-31");
    archive.controls(set);
    archive.plan(&[(JOB, Some(daily_at(6)))], "started");
    archive.run(&Run::slot(JOB, "2026-10-31T06:00:00Z").user("alice", true));
    archive
}

fn slot(day: u32) -> String {
    format!("2026-11-{day:02}T06:00:00Z")
}

fn run(day: u32) -> Run {
    Run::slot(JOB, &slot(day))
}

#[test]
fn each_day_is_what_its_runs_show_and_unknown_is_never_operated() {
    let mut archive = begun(&one(users(Frequency::Daily)));
    archive.run(&run(1).user("alice", true));
    let failing = archive.run(&run(2).user("alice", false).user("bob", true));
    let cut = archive.run(&run(3).user("alice", true).population("user", Population::Cut("page 2 was refused".into())));
    archive.run(&run(4).failed("no answer"));
    archive.missed(JOB, &slot(5), &slot(5), 1, Cause::Down);
    archive.run(&run(7).population("user", Population::Absent("there are none".into())));
    archive.run(&run(8).record("user", json!({"id": "robot", "robot": true, "ok": false})));
    let control = over(&mut archive, "2026-11-01", "2026-11-10", "2026-11-10T01:00:00Z");
    let (no, yes) = (State::NotObserved, State::Operated);
    let nothing = State::NoOccasion;
    assert_eq!(states(&control), [yes, State::Deviation, no, no, no, no, nothing, nothing, no, State::Open]);
    assert_eq!(control.counts, counts(7, 1, 1, 5, (2, 1)));
    let told: Vec<_> = control.occurrences.iter().map(|one| (one.entry, one.reason.as_str())).collect();
    assert_eq!(told[1], (Some(failing), "is-ok: alice is not ok"));
    assert_eq!(told[2].0, Some(cut));
    assert!(told[2].1.contains("page 2 was refused") && told[3].1.contains("no answer"), "{told:?}");
    assert_eq!(told[4], (None, "no run: 1 slot missed (no agent was running)"));
    assert_eq!(told[5], (None, "no run: 1 slot without a receipt that counts"));
    assert_eq!(control.last_complete, Some(at(&slot(8))));
    assert_eq!(
        control.says,
        "7 occurrences required: 1 operated, 1 with a deviation, 5 not observed. 2 more had no occasion to operate. \
         1 is not over yet. 1 deviation of records, all ended."
    );
}

#[test]
fn one_complete_run_is_enough_and_one_failure_in_any_run_is_a_deviation() {
    let mut archive = begun(&one(users(Frequency::Weekly)));
    archive.run(&run(1).failed("no answer"));
    let first = archive.run(&run(2).user("alice", true));
    archive.run(&run(3).user("alice", true));
    archive.run(&run(8).user("alice", true));
    let failing = archive.run(&Run::by_hand(JOB).user("alice", false).user("bob", json!(null)));
    archive.run(&run(10).user("alice", true));
    let control = over(&mut archive, "2026-11-01", "2026-11-14", "2026-11-16");
    assert_eq!(states(&control), [State::Operated, State::Deviation]);
    let shown: Vec<_> = control.occurrences.iter().map(|one| (one.entry.unwrap(), one.runs)).collect();
    assert_eq!(shown, [(first, 3), (failing, 3)]);
}

#[test]
fn what_a_finding_names_and_what_is_gone_were_looked_at_and_not_observed() {
    let mut archive = begun(&one(users(Frequency::Daily)));
    archive.run(&run(1).user("alice", true));
    archive.run(&run(2).user("alice", true).user("bob", true));
    let (mut memory, verdict) = archive.verified("2026-11-03");
    let first = memory.bundle(&slot(1), JOB);
    memory.0.get_mut(&first).unwrap().push(0);
    let altered = memory.judge("2026-11-03");
    let second = memory.bundle(&slot(2), JOB);
    memory.0.remove(&second).unwrap();
    let report = made(&memory, &altered, days("2026-11-01", "2026-11-02"));
    assert_eq!(states(&report.controls[0]), [State::NotObserved, State::NotObserved]);
    let [one, two] = &report.controls[0].occurrences[..] else { panic!("two days") };
    assert!(one.reason.contains("BUNDLE-DIGEST") && two.reason.contains("is not in the archive"), "{one:?} {two:?}");
    assert_eq!((one.runs, two.runs), (1, 1));
    assert!(report.notice[0].starts_with("NOT INTACT: verification has 1 finding."), "{:?}", report.notice);
    assert!(verdict.intact && !report.integrity.intact);
}

#[test]
fn a_check_that_the_run_did_not_ask_is_unknown_and_results_are_not_evaluated_again() {
    let two = USERS.replace(']', ", {id: other, item: mfa_user_enrolled, population: user, pass: .fine, says: no}]");
    let mut archive = begun(&set(&[users(Frequency::Daily)], vec![scoped(JOB, &two)]));
    archive.run(&run(1).user("alice", true));
    archive.run(&run(2).checks(&two).record("user", json!({"id": "alice", "ok": true, "fine": true})));
    archive.run(&run(3).checks(&two).record("user", json!({"id": "alice", "ok": false})));
    let control = over(&mut archive, "2026-11-01", "2026-11-03", "2026-11-04");
    assert_eq!(states(&control), [State::NotObserved, State::Operated, State::Deviation]);
    assert_eq!(control.occurrences[0].reason, "other: the run did not ask it");
}

#[test]
fn a_change_splits_the_period_and_the_unit_in_which_it_falls_keeps_what_held_at_its_start() {
    let mut archive = begun(&one(users(Frequency::Weekly)));
    archive.run(&run(1).user("alice", true));
    let mut daily = one(Control { statement: "twice as strict".into(), ..users(Frequency::Daily) });
    daily.reason = "the auditor asked".into();
    let changed = archive.at("2026-11-10T12:00:00Z").controls(&daily);
    archive.missed(JOB, &slot(2), &slot(14), 13, Cause::Down);
    archive.run(&run(15).user("alice", true));
    archive.run(&run(16).user("alice", false));
    let (memory, verdict) = archive.verified("2026-11-17");
    assert_eq!(verdict.findings, []);
    let report = made(&memory, &verdict, days("2026-11-01", "2026-11-16"));
    let control = &report.controls[0];
    // Two weeks, then days from the boundary on.
    assert_eq!(states(control), [State::Operated, State::NotObserved, State::Operated, State::Deviation]);
    let parts: Vec<_> = control.parts.iter().map(|part| (part.counts, part.because.as_str())).collect();
    assert_eq!(
        parts,
        [
            (counts(2, 1, 0, 1, (0, 0)), ""),
            (counts(2, 1, 1, 0, (0, 0)), "what is promised was changed; daily instead of weekly (the auditor asked)")
        ]
    );
    assert_eq!((control.parts[0].to, control.parts[1].from), (at("2026-11-10T12:00:00Z"), at("2026-11-10T12:00:00Z")));
    let entries: Vec<_> =
        report.changes.iter().map(|c| (c.entry, c.says.as_str(), c.reason.as_str(), c.lowers)).collect();
    assert_eq!(
        entries,
        [
            (changed, "daily, before weekly", "the auditor asked", Some(false)),
            (changed, "what is promised is now: twice as strict Before: C is promised", "the auditor asked", None),
        ]
    );
    let places: Vec<_> = control.occurrences.iter().map(|one| one.part).collect();
    assert_eq!(places, [0, 0, 1, 1]);
}

#[test]
fn a_deviation_that_is_open_across_a_change_is_one_and_each_part_counts_its_own_days() {
    let mut archive = begun(&one(users(Frequency::Daily)));
    let mut other = one(Control { statement: "twice as strict".into(), ..users(Frequency::Daily) });
    other.scope[0].version = 2;
    archive.run(&run(1).user("alice", true));
    archive.run(&run(2).user("alice", false));
    archive.at("2026-11-02T12:00:00Z").controls(&other);
    for (day, ok) in [(3, false), (4, true)] {
        archive.run(&Run { version: 2, ..run(day).user("alice", ok) });
    }
    let (memory, verdict) = archive.verified("2026-11-05");
    let report = made(&memory, &verdict, days("2026-11-01", "2026-11-04"));
    let control = &report.controls[0];
    let parts: Vec<_> = control.parts.iter().map(|part| (part.counts, part.because.as_str())).collect();
    let because = format!("what is promised was changed; {JOB} has version 2 of its collector instead of 1");
    assert_eq!(parts, [(counts(2, 1, 1, 0, (0, 0)), ""), (counts(2, 1, 1, 0, (0, 0)), because.as_str())]);
    let deviations: Vec<_> = report.deviations.iter().map(|d| (d.first_seen, d.last_seen, d.runs)).collect();
    assert_eq!(deviations, [(at(&slot(2)), at(&slot(3)), 2)]);
    assert_eq!((control.deviations, control.open_deviations), (1, 0));
}

#[test]
fn a_job_has_its_first_unit_at_the_next_boundary_and_keeps_the_one_in_which_it_left() {
    let both = set(&[users(Frequency::Daily)], vec![scoped(JOB, USERS), scoped(OTHER, USERS)]);
    let mut off = one(users(Frequency::Daily));
    off.scope.push(controls::ScopedJob { off: Some("it is taken down".into()), ..scoped(OTHER, USERS) });
    let mut archive = begun(&one(users(Frequency::Daily)));
    archive.at("2026-11-02T12:00:00Z").controls(&both);
    archive.at("2026-11-04T12:00:00Z").controls(&off);
    for day in [1, 2, 3, 4, 5] {
        archive.run(&run(day).user("alice", true));
    }
    let control = over(&mut archive, "2026-11-01", "2026-11-05", "2026-11-06");
    let other: Vec<_> = control.occurrences.iter().filter(|one| one.job.as_ref().unwrap().source() == "that").collect();
    assert_eq!(other.iter().map(|one| one.from).collect::<Vec<_>>(), [at("2026-11-03"), at("2026-11-04")]);
    assert!(other.iter().all(|one| one.state == State::NotObserved && one.reason == "no run, and none was planned"));
    assert_eq!(control.parts.len(), 3);
    assert_eq!(control.parts[2].because, format!("{OTHER} was switched off: it is taken down"));
    assert_eq!(control.parts[2].left_out, [(OTHER.parse().unwrap(), "it is taken down".to_owned())]);
}

#[test]
fn a_pause_changes_no_scope_and_its_days_are_not_observed_with_its_reason() {
    let mut archive = begun(&one(users(Frequency::Daily)));
    archive.run(&run(1).user("alice", true));
    archive.at("2026-11-01T20:00:00Z").plan(&[(JOB, None)], "paused: moving house");
    archive.at("2026-11-03T20:00:00Z").plan(&[(JOB, Some(daily_at(6)))], "resumed");
    archive.run(&run(4).user("alice", true));
    let control = over(&mut archive, "2026-11-01", "2026-11-04", "2026-11-05");
    assert_eq!(states(&control), [State::Operated, State::NotObserved, State::NotObserved, State::Operated]);
    assert_eq!(control.occurrences[1].reason, "no run, and none was planned: paused: moving house");
    assert_eq!((control.parts.len(), control.counts.required), (1, 4));
}

#[test]
fn before_the_first_document_its_gaps_do_not_vanish_and_the_part_says_that_nothing_was_in_force() {
    let mut archive = Archive::new("2026-11-03");
    archive.plan(&[(JOB, Some(daily_at(6)))], "started");
    let first = archive.at("2026-11-03T05:00:00Z").controls(&one(users(Frequency::Daily)));
    archive.run(&run(3).user("alice", true));
    let (memory, verdict) = archive.verified("2026-11-04");
    let report = made(&memory, &verdict, days("2026-11-01", "2026-11-03"));
    let control = &report.controls[0];
    assert_eq!(states(control), [State::NotObserved, State::NotObserved, State::Operated]);
    assert_eq!(control.parts.iter().map(|part| part.document.is_some()).collect::<Vec<_>>(), [false, true]);
    assert_eq!(control.parts[1].because, "the first controls document of the log took force");
    assert_eq!(report.changes[0].entry, first);
    let says = "No controls document was in force before 2026-11-03T05:00:00Z: until then the first one is used.";
    assert!(report.not_shown.contains(&says.to_owned()), "{:?}", report.not_shown);
}

#[test]
fn without_any_document_the_starter_set_is_used_and_nothing_of_it_was_in_force() {
    let mut archive = Archive::new("2026-11-01");
    archive.plan(&[(JOB, Some(daily_at(6)))], "started");
    archive.run(&run(1).user("alice", false));
    let (memory, verdict) = archive.verified("2026-11-02");
    let report = made(&memory, &verdict, days("2026-11-01", "2026-11-01"));
    let seen: Vec<_> = report.controls.iter().filter(|control| control.counts.deviation == 1).collect();
    assert!(!seen.is_empty() && report.controls.len() == controls::starter().len());
    assert!(seen.iter().all(|control| control.parts.iter().all(|part| part.document.is_none())));
    assert!(
        report.notice.iter().any(|says| says.contains("nothing of it was in force as evidence")),
        "{:?}",
        report.notice
    );
}

#[test]
fn an_open_unit_deviates_once_a_failure_was_seen_in_it() {
    let mut archive = begun(&one(users(Frequency::Monthly)));
    archive.run(&run(1).user("alice", true));
    let control = over(&mut archive, "2026-11-01", "2026-11-30", "2026-11-02");
    assert_eq!((states(&control), control.counts.required), (vec![State::Open], 0));
    archive.run(&run(2).user("alice", false));
    // The period cuts the month.
    let control = over(&mut archive, "2026-11-01", "2026-11-02", "2026-11-20");
    assert_eq!(states(&control), [State::Deviation]);
}

#[test]
fn only_runs_up_to_a_given_instant_count() {
    let mut archive = begun(&one(users(Frequency::Daily)));
    archive.run(&run(1).user("alice", true));
    archive.run(&run(2).user("alice", false));
    let (memory, verdict) = archive.verified("");
    let asked = Asked::Period {
        from: "2026-11-01".parse().unwrap(),
        to: "2026-11-02".parse().unwrap(),
        as_of: Some(at("2026-11-02T05:00:00Z")),
    };
    let report = made(&memory, &verdict, asked);
    assert_eq!(states(&report.controls[0]), [State::Operated, State::Open]);
    assert_eq!(report.deviations, []);
}

#[test]
fn a_run_at_the_instant_in_which_the_period_ends_is_not_its_last_complete_one() {
    let mut archive = begun(&one(users(Frequency::Daily)));
    archive.run(&run(1).user("alice", true));
    archive.at("2026-11-02T00:00:00Z").run(&Run::by_hand(JOB).user("alice", true));
    let control = over(&mut archive, "2026-11-01", "2026-11-01", "2026-11-20");
    assert_eq!(control.last_complete, Some(at(&slot(1))));
    let control = over(&mut archive, "2026-11-01", "2026-11-02", "2026-11-20");
    assert_eq!(control.last_complete, Some(at("2026-11-02T00:00:00Z")));
}

#[test]
fn at_an_instant_the_last_complete_run_counts_with_its_age_and_nothing_has_operated() {
    let both = set(&[users(Frequency::Daily)], vec![scoped(JOB, USERS), scoped(OTHER, USERS)]);
    let mut archive = begun(&both);
    let failing = archive.run(&run(1).user("alice", false));
    archive.run(&run(2).failed("no answer"));
    archive.run(&run(4).user("alice", true));
    let (memory, verdict) = archive.verified("");
    let report = made(&memory, &verdict, Asked::At(at("2026-11-03T06:00:00Z")));
    let control = &report.controls[0];
    let [never, seen] = &control.observations[..] else { panic!("two jobs") };
    assert_eq!((never.job.as_str(), never.at, never.age_seconds), (OTHER, None, None));
    assert_eq!((seen.at, seen.age_seconds, seen.entry), (Some(at(&slot(1))), Some(172_800), Some(failing)));
    assert_eq!((seen.incomplete_since, seen.checks[0].rows.fail), (1, 1));
    assert_eq!((control.counts, control.occurrences.len()), (OccurrenceCounts::default(), 0));
    assert_eq!(report.deviations.len(), 1);
    let json = serde_json::to_string(&report).unwrap();
    assert!(!json.contains("\"state\":\"operated\"") && json.contains("nothing of operating effectiveness"));
    assert!(control.says.ends_with("Never in 1 job. A check failed then in 1 job."), "{}", control.says);
}

fn backup(id: &str, at: &str, ok: impl Into<serde_json::Value>) -> serde_json::Value {
    json!({"id": id, "at": at, "ok": ok.into()})
}

fn look() -> Run {
    Run { populations: BTreeMap::new(), ..Run::by_hand(BACKUPS) }.checks(BACKUP).population("backup", Population::Whole)
}

fn dated(control: Control) -> Archive {
    let mut archive = Archive::new("2026-10-31");
    archive.controls(&set(&[control], vec![scoped(BACKUPS, BACKUP)]));
    archive.plan_with(&[(BACKUPS, BACKUP, None)], &[], "by hand");
    archive
}

#[test]
fn a_periodic_control_takes_its_occurrences_from_the_records_own_dates() {
    let mut archive = dated(backups(Frequency::Weekly, 0));
    let good = look().record("backup", backup("b1", "2026-11-02T01:00:00Z", true));
    let first = archive.at("2026-11-20T06:00:00Z").run(&good);
    let bad =
        good.record("backup", backup("b2", "2026-11-09", true)).record("backup", backup("b3", "2026-11-10", false));
    let failed = archive.at("2026-11-22T06:00:00Z").run(&bad);
    let control = over(&mut archive, "2026-11-01", "2026-11-28", "2026-11-29");
    // The last week had no look after its end.
    assert_eq!(states(&control), [State::Operated, State::Deviation, State::Deviation, State::NotObserved]);
    let shown: Vec<_> = control.occurrences.iter().map(|one| (one.entry, one.record.as_deref())).collect();
    assert_eq!(shown, [(Some(first), Some("b1")), (Some(failed), Some("b3")), (Some(failed), None), (None, None)]);
    assert_eq!(control.occurrences[2].reason, "it did not occur: no record is dated within");
    assert_eq!(control.occurrences[3].reason, "no run from 2026-11-29T00:00:00Z on read the whole list of backup");
}

#[test]
fn a_list_that_was_cut_proves_no_absence_and_the_latest_state_of_a_record_counts() {
    let mut archive = dated(backups(Frequency::Weekly, 0));
    let failing = look().record("backup", backup("b1", "2026-11-02", false));
    archive.at("2026-11-03T06:00:00Z").run(&failing);
    let cut = look()
        .record("backup", backup("b1", "2026-11-02", true))
        .population("backup", Population::Cut("refused".into()));
    let fixed = archive.at("2026-11-16T06:00:00Z").run(&cut);
    let control = over(&mut archive, "2026-11-01", "2026-11-14", "2026-11-20");
    assert_eq!(states(&control), [State::Operated, State::NotObserved]);
    assert_eq!(control.occurrences[0].entry, Some(fixed));
}

#[test]
fn until_it_may_still_be_seen_to_have_come_an_occurrence_is_open() {
    let mut archive = dated(backups(Frequency::Weekly, 3));
    let early = archive.at("2026-11-09T06:00:00Z").run(&look());
    let control = over(&mut archive, "2026-11-01", "2026-11-07", "2026-11-10T23:00:00Z");
    assert_eq!(states(&control), [State::Open]);
    let control = over(&mut archive, "2026-11-01", "2026-11-07", "2026-11-11T01:00:00Z");
    assert_eq!(states(&control), [State::NotObserved]);
    let late = archive.at("2026-11-11T06:00:00Z").run(&look().record("backup", backup("old", "2026-10-01", true)));
    let control = over(&mut archive, "2026-11-01", "2026-11-07", "");
    assert_eq!((states(&control), control.occurrences[0].entry), (vec![State::Deviation], Some(late)));
    assert!(early < late);
}

#[test]
fn where_there_is_proved_to_be_nothing_and_never_was_there_is_no_occasion() {
    let mut archive = dated(backups(Frequency::Weekly, 0));
    let absent = look().population("backup", Population::Absent("no vault exists".into()));
    archive.at("2026-11-08T06:00:00Z").run(&absent);
    let control = over(&mut archive, "2026-11-01", "2026-11-07", "");
    assert_eq!(states(&control), [State::NoOccasion]);
}

#[test]
fn events_are_covered_by_the_union_of_whole_windows_and_a_gap_proves_no_absence() {
    let mut archive = dated(backups(Frequency::Daily, 0));
    let window = |from: &str, to: &str, whole| look().window(from, to, whole);
    let one =
        window("2026-11-01", "2026-11-02T06:00:00Z", true).record("backup", backup("b1", "2026-11-01T01:00:00Z", true));
    archive.at("2026-11-02T06:00:00Z").run(&one);
    archive.at("2026-11-03T06:00:00Z").run(&window("2026-11-02T05:00:00Z", "2026-11-03T06:00:00Z", true));
    archive.at("2026-11-04T06:00:00Z").run(&window("2026-11-03T05:00:00Z", "2026-11-04T06:00:00Z", false));
    archive.at("2026-11-05T06:00:00Z").run(&window("2026-11-04T05:00:00Z", "2026-11-05T06:00:00Z", true));
    let (memory, verdict) = archive.verified("");
    let report = made(&memory, &verdict, days("2026-11-01", "2026-11-04"));
    let control = &report.controls[0];
    let no = State::NotObserved;
    assert_eq!(states(control), [State::Operated, State::Deviation, no, no]);
    let gap = "no run read whole what came from 2026-11-03T06:00:00Z to 2026-11-04T00:00:00Z";
    assert_eq!(control.occurrences[2].reason, gap);
    let gaps = report.jobs[0].window_gaps.as_ref().unwrap();
    assert_eq!((gaps[0].from, gaps[0].to), (at("2026-11-03T06:00:00Z"), at("2026-11-04T05:00:00Z")));
    assert!(report.not_shown.iter().any(|says| says.starts_with("Events of aws/backup-jobs@prod from 2026-11-03T06")));
}

#[test]
fn by_event_each_record_is_an_occurrence_and_what_no_run_read_is_named() {
    let mut archive = dated(backups(Frequency::PerEvent, 0));
    let all = look()
        .window("2026-11-01", "2026-11-02T12:00:00Z", true)
        .record("backup", backup("b1", "2026-11-01T01:00:00Z", true))
        .record("backup", backup("b2", "2026-11-01T02:00:00Z", false))
        .record("backup", backup("b3", "2026-11-01T03:00:00Z", json!(null)))
        .record("backup", json!({"id": "b4", "at": "2026-11-01T04:00:00Z", "state": "off"}))
        .record("backup", backup("b5", "some day", true))
        .record("backup", backup("old", "2026-10-30", false));
    archive.at("2026-11-02T12:00:00Z").run(&all);
    let again = look().window("2026-11-01", "2026-11-02T13:00:00Z", true);
    let again = again.record("backup", backup("b3", "2026-11-01T03:00:00Z", true));
    archive.at("2026-11-02T13:00:00Z").run(&again);
    let control = over(&mut archive, "2026-11-01", "2026-11-02", "2026-11-04");
    let seen: Vec<_> = control.occurrences.iter().map(|one| (one.record.as_deref().unwrap(), one.state)).collect();
    assert_eq!(
        seen,
        [
            ("b1", State::Operated),
            ("b2", State::Deviation),
            ("b3", State::Operated),
            ("b4", State::NoOccasion),
            ("b5", State::NotObserved),
        ]
    );
    assert_eq!(control.counts, counts(4, 2, 1, 1, (1, 0)));
    assert!(
        control.says.contains("how many events fell into 2026-11-02T13:00:00Z to 2026-11-03T00:00:00Z is not known")
    );
}

#[test]
fn a_record_without_a_date_makes_unknown_what_it_may_belong_to() {
    let mut archive = dated(backups(Frequency::Daily, 0));
    let odd = look().window("2026-11-01", "2026-11-03T06:00:00Z", true).record("backup", backup("b1", "soon", true));
    archive.at("2026-11-03T06:00:00Z").run(&odd);
    let control = over(&mut archive, "2026-11-01", "2026-11-02", "");
    assert_eq!(states(&control), [State::NotObserved, State::NotObserved]);
    assert_eq!(control.occurrences[0].reason, "the date of b1 cannot be read (at), and it may lie within");
}

#[test]
fn as_needed_requires_nothing() {
    let mut archive = begun(&one(users(Frequency::AsNeeded)));
    archive.run(&run(1).user("alice", true));
    let control = over(&mut archive, "2026-11-01", "2026-11-01", "2026-11-03");
    assert_eq!((control.counts, control.occurrences.len()), (OccurrenceCounts::default(), 0));
    assert!(control.says.starts_with("It operates when it is needed"), "{}", control.says);
}

#[test]
fn the_same_archive_gives_the_same_bytes() {
    let mut archive = begun(&one(users(Frequency::Daily)));
    archive.run(&run(1).user("alice", false).user("bob", true));
    let (memory, verdict) = archive.verified("2026-11-03");
    let one = serde_json::to_vec(&made(&memory, &verdict, days("2026-11-01", "2026-11-02"))).unwrap();
    let other = serde_json::to_vec(&made(&memory, &verdict, days("2026-11-01", "2026-11-02"))).unwrap();
    assert_eq!(one, other);
}

#[test]
fn where_no_job_reads_a_control_each_time_that_it_had_to_operate_is_not_observed() {
    let off = controls::ScopedJob { off: Some("it is taken down".into()), ..scoped(JOB, USERS) };
    let both = [users(Frequency::Daily), control("D", Frequency::Weekly, "backup_protected")];
    let mut archive = begun(&set(&both, vec![scoped(JOB, USERS)]));
    archive.run(&run(1).user("alice", true));
    archive.at("2026-11-02T12:00:00Z").controls(&set(&both, vec![off]));
    let (memory, verdict) = archive.verified("2026-11-09");
    let report = made(&memory, &verdict, days("2026-11-01", "2026-11-08"));
    let [left, never] = &report.controls[..] else { panic!("two controls") };
    assert_eq!(left.counts, counts(8, 1, 0, 7, (0, 0)));
    let unread: Vec<_> = left.occurrences.iter().filter(|one| one.job.is_none()).collect();
    let why = format!("no job reads it: {JOB} was switched off: it is taken down");
    assert!(unread.len() == 6 && unread.iter().all(|one| one.reason == why && one.entry.is_none()), "{unread:?}");
    assert!(left.says.contains("6 fell into time in which no job read it"), "{}", left.says);
    assert_eq!(states(never), [State::NotObserved, State::Open]);
    assert_eq!(never.occurrences[0].reason, "no job reads it");
    assert!(never.says.starts_with("1 occurrence required: 0 operated"), "{}", never.says);
    assert!(never.says.contains("not evidenced"), "{}", never.says);
    let json = serde_json::to_value(&report).unwrap();
    assert!(json["controls"][1]["occurrences"][0]["job"].is_null());
}

#[test]
fn events_that_no_job_reads_cannot_be_counted_and_that_is_said() {
    let event = control("C", Frequency::PerEvent, "backup_protected");
    let mut archive = begun(&set(&[event], vec![scoped(JOB, USERS)]));
    let control = over(&mut archive, "2026-11-01", "2026-11-02", "2026-11-04");
    assert_eq!(control.counts, OccurrenceCounts::default());
    assert_eq!(control.says, "No job reads it, and how often it had to operate is not known: not evidenced.");
}

#[test]
fn an_operated_unit_names_what_of_its_time_was_not_read() {
    let mut archive = dated(backups(Frequency::Daily, 1));
    let one = look().window("2026-11-01", "2026-11-01T20:00:00Z", true);
    let one = one.record("backup", backup("b1", "2026-11-01T01:00:00Z", true));
    archive.at("2026-11-01T20:00:00Z").run(&one);
    let two = look().window("2026-11-01T22:00:00Z", "2026-11-04", true);
    archive.at("2026-11-04").run(&two.record("backup", backup("b2", "2026-11-02T01:00:00Z", true)));
    let control = over(&mut archive, "2026-11-01", "2026-11-02", "");
    assert_eq!(states(&control), [State::Operated, State::Operated]);
    let gap = "no run read whole what came from 2026-11-01T20:00:00Z to 2026-11-01T22:00:00Z";
    let reasons: Vec<_> = control.occurrences.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, [gap, ""]);
    assert!(control.says.contains("1 fell into time that was not read whole"), "{}", control.says);

    let mut archive = dated(backups(Frequency::Weekly, 0));
    archive.at("2026-11-03T06:00:00Z").run(&look().record("backup", backup("b1", "2026-11-02", true)));
    let control = over(&mut archive, "2026-11-01", "2026-11-07", "2026-11-09");
    assert_eq!(control.occurrences[0].state, State::Operated);
    assert_eq!(control.occurrences[0].reason, "no run from 2026-11-08T00:00:00Z on read the whole list of backup");
}

#[test]
fn every_event_is_streamed_in_order_where_the_report_lists_the_first_ones() {
    #[derive(Default)]
    struct All(Vec<(String, Occurrence)>);
    impl crate::period::Streams for All {
        fn occurrence(&mut self, control: &str, one: &Occurrence) -> Result<(), PassError> {
            self.0.push((control.to_owned(), one.clone()));
            Ok(())
        }
    }
    let mut archive = dated(backups(Frequency::PerEvent, 0));
    let mut run = look().window("2026-11-01", "2026-11-02T12:00:00Z", true);
    let most = MOST_LISTED + 5;
    for n in 0..most {
        let at = at("2026-11-01") + chrono::TimeDelta::seconds(n as i64);
        run = run.record("backup", backup(&format!("b{n}"), &signing::time::rfc3339(at), true));
    }
    archive.at("2026-11-02T12:00:00Z").run(&run);
    let (memory, verdict) = archive.verified("");
    let ledger = Ledger::new(&memory, &verdict).unwrap();
    let question = Question { asked: days("2026-11-01", "2026-11-01"), frameworks: None, program: "0.1.0".into() };
    let mut all = All::default();
    let report = report(&ledger, &question, &mut all).unwrap();
    let control = &report.controls[0];
    assert_eq!((control.occurrences.len(), control.more_occurrences), (MOST_LISTED, 5));
    assert_eq!((all.0.len(), control.counts.operated), (most, most as u64));
    assert!(all.0.windows(2).all(|pair| pair[0].1.from <= pair[1].1.from));
    assert!(all.0.iter().map(|(_, one)| one).take(MOST_LISTED).eq(&control.occurrences));
}
