#![allow(clippy::unwrap_used)]
use controls::Frequency;
use signing::{
    approval::{Choice, Decision, Records, Response},
    verify::Verdict,
};

use super::*;
use crate::{
    model::Report,
    period::{Asked, Question, report},
    testing::{APPROVER, Archive, Memory, ORIGIN, Run, USERS, at, control, daily_at, job, scoped, set},
};

const JOB: &str = "host/accounts@this";

fn waiver() -> Waiver {
    Waiver {
        format: Kind::Waiver.format().into(),
        origin: ORIGIN.into(),
        approver: APPROVER.into(),
        made_at: at("2026-11-01"),
        control: Some("C".into()),
        check: None,
        job: None,
        records: Records::ALL,
        reason: "a key is on its way".into(),
        until: at("2026-11-10"),
        compensating: None,
    }
}

fn response(deviation: Option<&str>, control: Option<&str>) -> Said {
    Said::Response(Response {
        format: Kind::Response.format().into(),
        origin: ORIGIN.into(),
        approver: APPROVER.into(),
        made_at: at("2026-11-01"),
        deviation: deviation.map(str::to_owned),
        control: control.map(str::to_owned),
        text: "A contractor's account.".into(),
        remediation: Some("It is closed.".into()),
        remediation_by: Some("2026-12-01".parse().unwrap()),
    })
}

fn decision(citation: &str, decision: Choice, reason: &str) -> Said {
    Said::Decision(Decision {
        format: Kind::Decision.format().into(),
        origin: ORIGIN.into(),
        approver: APPROVER.into(),
        made_at: at("2026-11-01"),
        citation: citation.into(),
        decision,
        reason: reason.into(),
        alternative: (decision == Choice::Alternative).then(|| "volumes are encrypted".into()),
    })
}

/// Nine days from November 1 on: bob fails from day 3 to day 6, carol from day 2 on.
fn archive(signed: &[Said]) -> Archive {
    let mut archive = Archive::new("2026-10-31T12:00:00Z");
    archive.controls(&set(&[control("C", Frequency::Daily, "mfa_user_enrolled")], vec![scoped(JOB, USERS)]));
    archive.plan(&[(JOB, Some(daily_at(6)))], "started");
    for said in signed {
        archive.approval(said.clone());
    }
    for day in 1..10 {
        let run = Run::slot(JOB, &format!("2026-11-{day:02}T06:00:00Z"));
        archive.run(&run.user("alice", true).user("bob", !(3..7).contains(&day)).user("carol", day < 2));
    }
    archive
}

fn made(memory: &Memory, verdict: &Verdict) -> Report {
    let ledger = Ledger::new(memory, verdict).unwrap();
    let asked = Asked::Period { from: "2026-11-01".parse().unwrap(), to: "2026-11-09".parse().unwrap(), as_of: None };
    report(&ledger, &Question { asked, frameworks: None, program: "0.1.0".into() }, &mut ()).unwrap()
}

/// The report, where trusted time shows each document in the log by `from`.
fn over(signed: &[Said], from: Option<&str>) -> Report {
    let (memory, mut verdict) = archive(signed).verified("2026-11-10");
    assert!(verdict.intact, "{:?}", verdict.findings);
    verdict.documents.iter_mut().for_each(|document| document.not_after = from.map(at));
    made(&memory, &verdict)
}

fn of<'a>(report: &'a Report, record: &str) -> &'a Deviation {
    report.deviations.iter().find(|deviation| deviation.record == record).unwrap()
}

fn void(report: &Report) -> Vec<&str> {
    report.approvals.iter().map(|approval| approval.void.as_str()).collect()
}

#[test]
fn a_waiver_changes_nothing_but_its_own_mention() {
    let signed = [Said::Waiver(waiver()), response(None, Some("C"))];
    let (with, without) = (over(&signed, Some("2026-11-01")), over(&[], None));
    assert_eq!((of(&with, "bob").waivers.len(), of(&with, "bob").responses.len()), (1, 1));
    let (mut with, mut without) = (with, without);
    // Entries stand two places later, which is all the rest.
    for report in [&mut with, &mut without] {
        let shift = if report.approvals.is_empty() { 0 } else { 2 };
        for deviation in &mut report.deviations {
            (deviation.waivers, deviation.responses) = (Vec::new(), Vec::new());
            (deviation.first_entry, deviation.last_entry) =
                (deviation.first_entry - shift, deviation.last_entry - shift);
            deviation.ended.iter_mut().for_each(|ended| ended.entry -= shift);
            deviation.id.clear();
        }
    }
    assert_eq!(with.deviations, without.deviations);
    let counts = |report: &Report| {
        let of =
            |one: &crate::model::ControlReport| (one.counts, one.slots.clone(), one.deviations, one.open_deviations);
        report.controls.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(format!("{:?}", counts(&with)), format!("{:?}", counts(&without)));
    assert_eq!(with.controls[0].counts.deviation, 8);
}

#[test]
fn a_waiver_applies_from_its_trusted_time_until_it_expires() {
    let one = |change: &dyn Fn(&mut Waiver), from: Option<&str>| {
        let mut waiver = waiver();
        change(&mut waiver);
        over(&[Said::Waiver(waiver)], from)
    };
    let whole = one(&|_| (), Some("2026-11-01"));
    assert_eq!(accepted(&whole.approvals[0]), "accepted until 2026-11-10 by Ada Lovelace");
    assert_eq!(
        (of(&whole, "bob").waivers.as_slice(), void(&whole)),
        ([whole.approvals[0].id.clone()].as_slice(), vec![""])
    );
    // Bob had ended on day 7; carol is still open.
    let late = one(&|_| (), Some("2026-11-08"));
    assert_eq!((of(&late, "bob").waivers.len(), of(&late, "carol").waivers.len()), (0, 1));
    let short = one(&|w| w.until = at("2026-11-03"), Some("2026-11-01"));
    assert_eq!((of(&short, "bob").waivers.len(), of(&short, "carol").waivers.len()), (0, 1));
    let expired = one(&|w| w.until = at("2026-11-03"), Some("2026-11-04"));
    assert_eq!(of(&expired, "carol").waivers.len(), 0);
    assert!(void(&expired)[0].starts_with("it had expired"), "{:?}", void(&expired));
    let untimed = one(&|_| (), None);
    assert_eq!((of(&untimed, "carol").waivers.len(), untimed.approvals[0].from), (0, None));
    assert_eq!(void(&untimed), ["no trusted time shows when the log had it: it does not apply"]);
}

#[test]
fn at_an_instant_a_waiver_applies_or_not() {
    let (memory, mut verdict) = archive(&[Said::Waiver(waiver())]).verified("2026-11-10");
    verdict.documents.iter_mut().for_each(|document| document.not_after = Some(at("2026-11-04")));
    let deviation = of(&made(&memory, &verdict), "carol").clone();
    let approvals = Approvals::read(&Ledger::new(&memory, &verdict).unwrap()).unwrap();
    let applies = |control, instant: &str| approvals.applies(&deviation, control, at(instant)).count();
    assert_eq!([applies(None, "2026-11-03"), applies(None, "2026-11-04"), applies(None, "2026-11-10")], [0, 1, 0]);
    assert_eq!([applies(Some("C"), "2026-11-05"), applies(Some("D"), "2026-11-05")], [1, 0]);
}

#[test]
fn a_waiver_that_expired_stays_named_and_its_deviation_open() {
    let mut short = waiver();
    short.until = at("2026-11-03");
    let report = over(&[Said::Waiver(short)], Some("2026-11-01"));
    let carol = of(&report, "carol");
    assert_eq!((carol.ended.is_none(), carol.waivers.len()), (true, 1));
    assert_eq!(accepted(&report.approvals[0]), "accepted until 2026-11-03 by Ada Lovelace");
    assert_eq!((report.controls[0].open_deviations, report.controls[0].counts.deviation), (1, 8));
}

#[test]
fn a_waiver_is_about_what_it_names_and_nothing_else() {
    let one = |change: &dyn Fn(&mut Waiver)| {
        let mut waiver = waiver();
        change(&mut waiver);
        let report = over(&[Said::Waiver(waiver)], Some("2026-11-01"));
        (of(&report, "bob").waivers.len(), of(&report, "carol").waivers.len(), report.approvals[0].void.clone())
    };
    assert_eq!(one(&|w| w.records = Records::These(vec!["bob".into()])), (1, 0, String::new()));
    let check = |check: &str| Some(check.to_owned());
    assert_eq!(one(&|w| (w.control, w.check) = (None, check("host/accounts/is-ok"))), (1, 1, String::new()));
    assert_eq!(one(&|w| w.job = Some(job(JOB))), (1, 1, String::new()));
    let none = |says: &str| (0, 0, says.to_owned());
    assert_eq!(one(&|w| w.control = Some("X-9".into())), none("there is no control X-9"));
    assert_eq!(one(&|w| w.check = check("host/sshd/root")), none("there is no check host/sshd/root"));
    assert_eq!(one(&|w| w.job = Some(job("host/accounts@other"))), none("there is no job host/accounts@other"));
}

#[test]
fn responses_stand_beside_their_deviation_or_their_controls_deviations() {
    let first = over(&[], None);
    let report = over(&[response(Some("D-000000000000"), None), response(None, Some("C"))], None);
    assert_eq!(of(&report, "bob").responses, [report.approvals[1].id.clone()]);
    assert_eq!(void(&report), ["this report lists no deviation D-000000000000", ""]);
    assert_eq!(report.approvals[1].text, "A contractor's account. Remediation (by 2026-12-01): It is closed.");
    assert!(of(&first, "bob").responses.is_empty());
}

#[test]
fn the_newest_decision_holds_and_those_before_it_stay_in_sight() {
    let citation = "164.312(a)(2)(iv)";
    let signed = [
        decision(citation, Choice::NotReasonable, "not needed"),
        decision("164.312(d)", Choice::Implemented, "as written"),
        decision(citation, Choice::Alternative, "it was needed"),
    ];
    let (memory, mut verdict) = archive(&signed).verified("2026-11-10");
    verdict.documents.last_mut().unwrap().not_after = Some(at("2026-11-02"));
    let approvals = Approvals::read(&Ledger::new(&memory, &verdict).unwrap()).unwrap();
    let ids: Vec<String> = approvals.list().into_iter().map(|approval| approval.id).collect();
    let wanted = format!(
        "alternative implemented: it was needed Instead: volumes are encrypted (Ada Lovelace, 2026-11-02, {}) Before that: not reasonable and \
         appropriate: not needed (Ada Lovelace, 2026-10-31 by the agent's clock, {})",
        ids[2], ids[0]
    );
    assert_eq!(approvals.decisions(), [(citation.to_owned(), wanted)].into());
    assert_eq!(approvals.decision("164.308(a)(7)(ii)(D)"), NO_DECISION);
    assert_eq!(approvals.list()[1].void, "164.312(d) is required: there is nothing to decide");
}

#[test]
fn what_verification_refuses_is_listed_and_counts_for_nothing() {
    let good = Signed::new(Said::Waiver(waiver()), &signing::keys::FileKey::from_seed(&[2; 32])).unwrap();
    let mut archive = archive(&[]);
    archive.document("waiver", &good.to_bytes());
    archive.document("waiver", b"{}");
    let (memory, mut verdict) = archive.verified("2026-11-10");
    verdict.documents.iter_mut().for_each(|document| document.not_after = Some(at("2026-11-01")));
    let report = made(&memory, &verdict);
    assert!(of(&report, "carol").waivers.is_empty());
    let shown: Vec<_> = report.approvals.iter().map(|a| (a.approver.as_str(), a.subject.as_str())).collect();
    assert_eq!(shown, [("", "control C, all records"), ("", "not readable")]);
    assert!(
        void(&report)[0].contains("APPROVAL-KEY") && void(&report)[1].contains("DOCUMENT-MALFORMED"),
        "{:?}",
        void(&report)
    );
}
