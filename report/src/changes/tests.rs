#![allow(clippy::unwrap_used)]
use controls::{Category, EntityControl, Expectation, Frequency, Hipaa, HipaaRole, SwitchedOff};
use serde_json::json;

use super::*;
use crate::{
    Ledger,
    in_force::Pause,
    testing::{Archive, USERS, at, control, daily_at, dated_by, hourly, scoped, set},
};

const JOB: &str = "host/accounts@this";
const OTHER: &str = "host/accounts@that";
const LOGINS: &str = "host/logins@this";

/// Another text of the same check.
const STRICTER: &str =
    "[{id: is-ok, item: mfa_user_enrolled, population: user, pass: .ok == true, says: '{id} is not ok'}]";
/// The same question by another name.
const RENAMED: &str = "[{id: enrolled, item: mfa_user_enrolled, population: user, exempt: .robot == true, pass: .ok, \
                       says: '{id} is not ok', unknown: 'of {id} it is not known'}]";
/// The check, with another one beside it.
const TWO: &str = "[{id: is-ok, item: mfa_user_enrolled, population: user, pass: .ok == true, says: '{id} is not ok'}, \
                   {id: named, item: mfa_user_enrolled, population: user, pass: .name, says: '{id} has no name'}]";

fn first() -> ControlSet {
    set(&[control("C", Frequency::Daily, "mfa_user_enrolled")], vec![scoped(JOB, USERS)])
}

/// What the log tells of November 2026, and its pauses.
fn found(archive: &mut Archive) -> (Vec<ChangeEntry>, Vec<Pause>) {
    let (memory, verdict) = archive.verified("2026-12-01");
    let in_force = InForce::read(&Ledger::new(&memory, &verdict).unwrap()).unwrap();
    let plans = &verdict.coverage.as_ref().unwrap().changes;
    (changes(&in_force, plans, at("2026-11-01"), at("2026-12-01")), in_force.pauses)
}

type Told = (ChangeKind, String, String, Option<bool>);

fn told(kind: ChangeKind, subject: &str, says: &str, lowers: Option<bool>) -> Told {
    (kind, subject.to_owned(), says.to_owned(), lowers)
}

/// What a second document tells after the first. Every line has its entry, its time and its reason.
fn after(change: &dyn Fn(&mut ControlSet)) -> Vec<Told> {
    second(first(), change)
}

fn second(first: ControlSet, change: &dyn Fn(&mut ControlSet)) -> Vec<Told> {
    let mut archive = Archive::new("2026-10-30");
    archive.controls(&first);
    let mut set = first;
    set.reason = "because".into();
    change(&mut set);
    let entry = archive.at("2026-11-10T12:00:00Z").controls(&set);
    let (list, _) = found(&mut archive);
    for change in &list {
        assert_eq!((change.at, change.entry, change.reason.as_str()), (at("2026-11-10T12:00:00Z"), entry, "because"));
    }
    list.into_iter().map(|change| (change.kind, change.subject, change.says, change.lowers)).collect()
}

fn of_control(change: &dyn Fn(&mut Control)) -> Vec<Told> {
    after(&|set| change(&mut set.controls[0]))
}

#[test]
fn the_same_promise_made_again_is_no_change() {
    assert_eq!(after(&|_| ()), []);
    let mut archive = Archive::new("2026-10-30");
    archive.plan(&[(JOB, Some(daily_at(6)))], "started");
    archive.at("2026-11-02").plan(&[(JOB, Some(daily_at(6)))], "restated");
    assert_eq!(found(&mut archive).0, []);
}

#[test]
fn each_change_of_a_control_is_told_by_itself() {
    use ChangeKind::Control as Kind;
    let one = |says: &str, lowers| vec![told(Kind, "C", says, lowers)];
    assert_eq!(of_control(&|c| c.frequency = Frequency::Monthly), one("monthly, before daily", Some(true)));
    assert_eq!(of_control(&|c| c.frequency = Frequency::AsNeeded), one("as needed, before daily", Some(true)));
    assert_eq!(of_control(&|c| c.frequency = Frequency::PerEvent), one("per event, before daily", None));
    assert_eq!(
        of_control(&|c| c.statement = "Less.".into()),
        one("what is promised is now: Less. Before: C is promised", None)
    );
    // A title alone is no other promise.
    assert_eq!(of_control(&|c| c.title = "New".into()), one("it is called \"New\", before \"C in one line\"", None));
    assert_eq!(
        of_control(&|c| c.owner = String::new()),
        one("nobody named answers for it, before the security lead", None)
    );
    assert_eq!(
        of_control(&|c| c.soc2 = serde_json::from_value(json!({"CC6.1": "direct"})).unwrap()),
        one("it maps to other criteria, or more or less strongly", None)
    );
    for behind in [
        (|c| c.items.clear()) as fn(&mut Control),
        |c| c.checks = vec!["a/b/c".into()],
        |c| c.only = vec!["host/accounts".into()],
        |c| c.except = vec!["host/accounts/is-ok".into()],
    ] {
        assert_eq!(of_control(&behind), one("other items or checks stand behind it", None));
    }
    assert_eq!(
        of_control(&|c| c.sources = vec!["this".into()]),
        one("it is about this, before all sources", Some(true))
    );
    assert_eq!(
        of_control(&|c| c.dated_by = dated_by("user", 3)),
        one("its occurrences are dated by something else", None)
    );
}

#[test]
fn sources_that_are_others_lower_it_unless_all_that_were_stay() {
    let mut narrow = first();
    narrow.controls[0].sources = vec!["a".into(), "b".into()];
    for (sources, lowers) in [(&["a"][..], true), (&["a", "c"], true), (&["a", "b", "c"], false), (&[], false)] {
        let all = second(narrow.clone(), &|set| {
            set.controls[0].sources = sources.iter().map(|&source| source.to_owned()).collect();
        });
        assert_eq!((all.len(), all[0].3), (1, Some(lowers)), "{all:?}");
    }
}

#[test]
fn a_control_that_is_dropped_is_told_with_the_organisations_reason() {
    use ChangeKind::Control as Kind;
    let off = SwitchedOff { id: "C".into(), title: "C in one line".into(), reason: "nobody logs in".into() };
    let all = after(&|set| {
        set.switched_off = vec![off.clone()];
        set.controls = vec![control("N", Frequency::Weekly, "mfa_user_enrolled")];
    });
    assert_eq!(
        all,
        [
            told(Kind, "C", "it is no control any more: nobody logs in", Some(true)),
            told(Kind, "N", "it became a control, weekly", Some(false))
        ]
    );
}

#[test]
fn each_change_of_scope_is_told_with_the_job() {
    use ChangeKind::Scope as Kind;
    assert_eq!(
        after(&|set| set.scope = vec![scoped(OTHER, USERS)]),
        [told(Kind, OTHER, "it came into scope", Some(false)), told(Kind, JOB, "it left the scope", Some(true))]
    );
    let off = |why: &str| ScopedJob { off: Some(why.to_owned()), ..scoped(JOB, USERS) };
    let put = |job: ScopedJob| move |set: &mut ControlSet| set.scope = vec![job.clone()];
    assert_eq!(after(&put(off("sold"))), [told(Kind, JOB, "it was switched off: sold", Some(true))]);
    let mut sold = first();
    sold.scope = vec![off("sold")];
    assert_eq!(
        second(sold.clone(), &put(scoped(JOB, USERS))),
        [told(Kind, JOB, "it is switched on again", Some(false))]
    );
    assert_eq!(
        second(sold.clone(), &put(off("burnt"))),
        [told(Kind, JOB, "it is off for another reason: burnt", Some(false))]
    );
    sold.scope.clear();
    assert_eq!(
        second(sold, &put(off("sold"))),
        [told(Kind, JOB, "it came into scope, switched off: sold", Some(false))]
    );
}

#[test]
fn another_version_text_or_name_of_a_check_is_told_and_what_one_digest_cannot_tell_is_said() {
    use ChangeKind::Check as Kind;
    let checks = |checks: &str| after(&|set| set.scope = vec![scoped(JOB, checks)]);
    assert_eq!(after(&|set| set.scope[0].version = 2), [told(Kind, JOB, "version 2 of its collector, before 1", None)]);
    assert_eq!(checks(STRICTER), [told(Kind, JOB, "the text or the parameters of its checks are others", None)]);
    assert_eq!(
        checks(RENAMED),
        [
            told(Kind, JOB, "it has the check enrolled now", Some(false)),
            told(Kind, JOB, "it has the check is-ok no more", Some(true))
        ]
    );
    let beside = checks(TWO);
    assert_eq!(beside[0], told(Kind, JOB, "it has the check named now", Some(false)));
    assert!(beside[1].2.starts_with("whether the text or the parameters of the checks that stayed"), "{beside:?}");
    assert_eq!((beside.len(), beside[1].3), (2, None));
}

#[test]
fn a_parameter_is_told_with_both_values_and_never_as_lower() {
    use ChangeKind::Parameter as Kind;
    let days = |days: u32| move |set: &mut ControlSet| drop(set.parameters.insert("max_days".into(), json!(days)));
    let mut set = first();
    days(90)(&mut set);
    assert_eq!(after(&days(90)), [told(Kind, "max_days", "set to 90", None)]);
    assert_eq!(second(set.clone(), &days(90)), []);
    assert_eq!(second(set.clone(), &days(120)), [told(Kind, "max_days", "120, before 90", None)]);
    assert_eq!(
        second(set, &|set| set.parameters.clear()),
        [told(Kind, "max_days", "not set any more, before 90", None)]
    );
}

#[test]
fn no_change_of_frameworks_or_treatments_reads_as_if_nothing_changed() {
    use ChangeKind::Framework as Kind;
    let one = |subject: &str, says: &str| vec![told(Kind, subject, says, None)];
    let hipaa = |proposals| Some(Hipaa { role: HipaaRole::BusinessAssociate, proposals });
    let mut before = first();
    before.frameworks.hipaa = hipaa(false);
    let role = "business associate";
    assert_eq!(
        second(before.clone(), &|set| set.frameworks.hipaa = hipaa(true)),
        one("frameworks", &format!("HIPAA as {role} with proposed rules, before HIPAA as {role}"))
    );
    assert_eq!(
        second(before, &|set| (set.frameworks.hipaa, set.frameworks.soc2) = (None, vec![Category::Security])),
        one("frameworks", &format!("SOC 2 security, before HIPAA as {role}"))
    );
    assert_eq!(
        after(&|set| set.period = Some(("2026-07-01".into(), "2027-06-30".into()))),
        one("period", "2026-07-01 to 2027-06-30, before none")
    );
    let carved = |organisation: &str| TreatmentSet::CarvedOut {
        organisation: organisation.to_owned(),
        expected: vec!["guards its doors".into()],
    };
    let treat = |treatment: TreatmentSet| {
        move |set: &mut ControlSet| drop(set.treatments.insert("CC6.4".into(), treatment.clone()))
    };
    assert_eq!(
        after(&treat(carved("AWS"))),
        one("CC6.4", "carved out to AWS, of which is expected: guards its doors, before own")
    );
    let mut before = first();
    treat(carved("AWS"))(&mut before);
    assert_eq!(
        second(before.clone(), &treat(carved("GCP"))),
        one(
            "CC6.4",
            "carved out to GCP, of which is expected: guards its doors, before carved out to AWS, of which is expected: guards its doors"
        )
    );
    assert_eq!(
        second(before, &treat(TreatmentSet::NotApplicable { reason: "no doors".into() })),
        one("CC6.4", "not applicable: no doors, before carved out to AWS, of which is expected: guards its doors")
    );
    assert_eq!(
        after(&|set| set.user_entity_controls = vec![EntityControl { id: "U-1".into(), text: "lock up".into() }]),
        one("user entity controls", "others are expected of those who use the services")
    );
    let expected = Expectation { vendor: "V".into(), text: "patch".into(), controls: Vec::new() };
    assert_eq!(
        after(&|set| set.vendor_expectations = vec![expected.clone()]),
        one("vendor expectations", "vendors expect something else")
    );
}

#[test]
fn only_changes_within_the_period_are_told_in_order_and_the_first_document_is_one() {
    let mut archive = Archive::new("2026-10-30");
    archive.plan(&[(JOB, Some(daily_at(6)))], "started");
    let begun = archive.at("2026-11-05").controls(&first());
    let frequency = |frequency, reason: &str| {
        let mut set = first();
        (set.controls[0].frequency, set.reason) = (frequency, reason.to_owned());
        set
    };
    archive.at("2026-11-06").controls(&frequency(Frequency::Weekly, "less"));
    archive.at("2026-11-07").controls(&frequency(Frequency::Daily, "more"));
    archive.at("2026-12-01").controls(&frequency(Frequency::Annual, "later"));
    let (list, _) = found(&mut archive);
    let all: Vec<_> = list.iter().map(|c| (c.entry, c.says.as_str(), c.reason.as_str(), c.lowers)).collect();
    assert_eq!(
        all,
        [
            (begun, "the first controls document of the log", "", Some(false)),
            (begun + 1, "weekly, before daily", "less", Some(true)),
            (begun + 2, "daily, before weekly", "more", Some(false)),
        ]
    );
}

#[test]
fn a_plan_tells_jobs_that_came_left_and_changed_and_pauses_with_their_reasons() {
    let mut archive = Archive::new("2026-10-30");
    archive.plan_with(&[(JOB, USERS, Some(hourly())), (OTHER, USERS, Some(daily_at(6)))], &[], "started");
    let plans = [
        archive.at("2026-11-02T00:30:00Z").plan_with(
            &[(JOB, USERS, Some(daily_at(6))), (LOGINS, USERS, Some(hourly()))],
            &[(OTHER, "sold")],
            "less",
        ),
        archive.at("2026-11-03T00:30:00Z").plan_with(
            &[(JOB, STRICTER, Some(daily_at(6))), (LOGINS, USERS, Some(hourly()))],
            &[],
            "stricter",
        ),
        archive.at("2026-11-04T00:30:00Z").plan_with(&[(JOB, STRICTER, None)], &[], "paused: moving house"),
        archive.at("2026-11-05T00:30:00Z").plan_with(&[(JOB, STRICTER, Some(daily_at(6)))], &[], "resumed"),
    ];
    let (list, pauses) = found(&mut archive);
    // Without a controls document what the plans say is told once.
    let all: Vec<_> = list.iter().map(|c| (c.entry, c.kind, c.subject.as_str(), c.reason.as_str(), c.lowers)).collect();
    let [less, stricter, paused, resumed] = plans;
    use ChangeKind::{Check, Plan};
    assert_eq!(
        all,
        [
            (less, Plan, OTHER, "less", Some(true)),
            (less, Plan, JOB, "less", Some(true)),
            (less, Plan, LOGINS, "less", Some(false)),
            (stricter, Check, JOB, "stricter", None),
            (paused, Plan, "", "paused: moving house", Some(true)),
            (resumed, Plan, "", "resumed", Some(false)),
            // It was dropped under the pause.
            (resumed, Plan, LOGINS, "resumed", Some(true)),
        ]
    );
    assert!(list[0].says.starts_with("its schedule, ") && list[0].says.ends_with("is no longer in force: sold"));
    let pause = Pause {
        from: at("2026-11-04T00:30:00Z"),
        until: Some(at("2026-11-05T00:30:00Z")),
        reason: "paused: moving house".into(),
    };
    assert_eq!(pauses, [pause]);
}
