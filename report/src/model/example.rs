//! A report in which every member has a value, for the tests of what is written from it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use ::controls::{Category, Frequency, HipaaKind, Requirement, Strength};
use serde_json::{Value, json};
use signing::{
    digest::Digest,
    population::{Gap, Of},
    slots::{Range, SlotCounts, Uncovered},
    statement::{Cause, Outcome},
    time::Utc,
    verify::{Code, Finding, Limit},
};

use super::*;

pub(crate) fn at(text: &str) -> Utc {
    text.parse().unwrap()
}

fn job() -> Job {
    Job::new("aws/iam-users", "prod").unwrap()
}

fn counts() -> OccurrenceCounts {
    OccurrenceCounts { required: 3, operated: 1, deviation: 1, not_observed: 1, no_occasion: 0, open: 1 }
}

fn slots() -> SlotCounts {
    SlotCounts {
        judged: 72,
        outcomes: BTreeMap::from([(Outcome::Collected, 60), (Outcome::Partial, 2), (Outcome::Failed, 1)]),
        late: 1,
        missed: BTreeMap::from([(Cause::Down, 8)]),
        uncovered: 1,
        open: 24,
    }
}

fn occurrence(day: u32, state: OccurrenceState, entry: Option<u64>, reason: &str) -> Occurrence {
    let from = at(&format!("2026-07-{day:02}T00:00:00Z"));
    Occurrence {
        job: Some(job()),
        from,
        to: from + chrono::TimeDelta::days(1),
        state,
        part: 0,
        runs: 24,
        entry,
        record: None,
        reason: reason.into(),
    }
}

fn control() -> ControlReport {
    let mut dated = occurrence(1, OccurrenceState::Operated, Some(9), "");
    dated.record = Some("backup/1".into());
    ControlReport {
        id: "AC-01".into(),
        title: "Multi-factor authentication".into(),
        owner: "Head of security".into(),
        statement: "Every person signs in with a second factor.".into(),
        frequency: Frequency::Automated,
        items: vec!["iam-mfa".into()],
        links: vec![
            Link { framework: "soc2", criterion: "CC6.1".into(), strength: Strength::Direct },
            Link { framework: "hipaa", criterion: "164.312(d)".into(), strength: Strength::Partial },
        ],
        counts: counts(),
        slots: slots(),
        parts: vec![Part {
            from: at("2026-07-01T00:00:00Z"),
            to: at("2026-07-05T00:00:00Z"),
            because: String::new(),
            document: Some(Digest::of(b"controls")),
            statement: "Every person signs in with a second factor.".into(),
            frequency: Frequency::Automated,
            scope: vec![(job(), Digest::of(b"checks"))],
            left_out: vec![(Job::new("aws/iam-users", "dev").unwrap(), "no people in it".into())],
            counts: counts(),
        }],
        occurrences: vec![
            dated,
            occurrence(2, OccurrenceState::Deviation, Some(12), "ann has no second factor"),
            occurrence(3, OccurrenceState::NotObserved, None, "no run: the agent was down"),
            occurrence(4, OccurrenceState::Open, None, "not over"),
        ],
        more_occurrences: 2,
        observations: vec![
            Observation {
                job: job(),
                at: Some(at("2026-07-04T11:00:00Z")),
                age_seconds: Some(3600),
                entry: Some(12),
                checks: vec![ObservedCheck {
                    check: "mfa-enrolled".into(),
                    outcome: ::controls::Outcome::Fail,
                    rows: ::controls::Counts { pass: 4, fail: 1, unknown: 0, not_applicable: 0, exempt: 1 },
                }],
                incomplete_since: 1,
            },
            Observation {
                job: Job::new("aws/iam-users", "dev").unwrap(),
                at: None,
                age_seconds: None,
                entry: None,
                checks: Vec::new(),
                incomplete_since: 0,
            },
        ],
        deviations: 1,
        open_deviations: 0,
        last_complete: Some(at("2026-07-04T11:00:00Z")),
        says: "1 of 3 occurrences operated, 1 deviated, 1 was not observed".into(),
    }
}

fn deviation() -> Deviation {
    Deviation {
        id: "D-0123456789ab".into(),
        controls: vec!["AC-01".into()],
        job: job(),
        check: "mfa-enrolled".into(),
        item: "iam-mfa".into(),
        kind: "users".into(),
        record: "arn:aws:iam::111122223333:user/ann".into(),
        says: "ann has no second factor".into(),
        first_seen: at("2026-07-02T01:00:00Z"),
        last_seen: at("2026-07-02T09:00:00Z"),
        runs: 9,
        not_before: Some(at("2026-07-02T00:00:00Z")),
        ended: Some(Ended { at: at("2026-07-02T10:00:00Z"), entry: 21, how: "passes" }),
        first_entry: 12,
        last_entry: 20,
        waivers: vec!["W-00112233aabb".into()],
        responses: vec!["R-00112233aabb".into()],
    }
}

fn approval(id: &str, kind: &str) -> Approval {
    Approval {
        id: id.into(),
        kind: kind.into(),
        approver: "Jo Chen".into(),
        entry: 30,
        from: Some(at("2026-07-02T05:00:00Z")),
        until: (kind == "waiver").then(|| at("2027-03-01T00:00:00Z")),
        subject: "ann in aws/iam-users@prod".into(),
        text: "Key on order.".into(),
        void: String::new(),
        document: json!({"format": "evidenced-waiver/1"}),
    }
}

fn drift() -> Vec<DriftEvent> {
    let event = |change, fields, notable| DriftEvent {
        at: at("2026-07-02T01:00:00Z"),
        since: at("2026-07-02T00:00:00Z"),
        job: job(),
        kind: "users".into(),
        record: "ann".into(),
        change,
        fields,
        notable,
        entry: 12,
    };
    let field = FieldChange { field: "mfa.active".into(), before: json!(true), after: json!(false) };
    let notable = Notable { rule: "mfa-lost".into(), says: "ann lost the second factor".into() };
    vec![event(DriftKind::Added, Vec::new(), None), event(DriftKind::Changed, vec![field], Some(notable))]
}

fn job_report() -> JobReport {
    JobReport {
        job: job(),
        slots: slots(),
        by_hand: 1,
        days: vec![DayCounts {
            day: "2026-07-01".parse().unwrap(),
            collected: 20,
            partial: 1,
            failed: 1,
            missed: 1,
            uncovered: 1,
            open: 0,
            failing: 2,
        }],
        uncovered: vec![Uncovered {
            first: at("2026-07-01T05:00:00Z"),
            last: at("2026-07-01T05:00:00Z"),
            count: 1,
            plan: Digest::of(b"plan"),
        }],
        window_gaps: Some(vec![Range { from: at("2026-07-01T05:00:00Z"), to: at("2026-07-01T06:00:00Z") }]),
        controls: vec!["AC-01".into()],
    }
}

fn evidence(entry: u64) -> Evidence {
    Evidence {
        entry,
        job: (entry != 30).then(job),
        name: format!("bundle/2026/07/02/{entry}.zip"),
        sha256: Digest::of(&entry.to_le_bytes()),
        seal: format!("seal/2026/07/02/{entry}.sigstore.json"),
        sealed_at: at("2026-07-02T01:00:05.250Z"),
    }
}

pub(crate) fn example() -> Report {
    let linked = vec![LinkedControl { control: "AC-01".into(), strength: Strength::Direct, evidenced: true }];
    let criterion = |id: &str, treatment, state| CriterionReport {
        id: id.into(),
        category: Category::Security,
        group: "CC6 logical and physical access".into(),
        paraphrase: "Access is limited to those who should have it.".into(),
        treatment,
        state,
        controls: linked.clone(),
    };
    let hosting = || "Amazon Web Services".to_owned();
    Report {
        format: FORMAT,
        program: "evidenced 0.1.0".into(),
        origin: "evidence.acme.example/prod".into(),
        view: View::Period { from: at("2026-07-01T00:00:00Z"), to: at("2026-07-05T00:00:00Z") },
        as_of: at("2026-07-04T12:00:00Z"),
        frameworks: Frameworks { soc2: vec![Category::Security], hipaa: Some("covered_entity".into()) },
        notice: vec!["Prepared by management's tool.".into()],
        integrity: Integrity {
            intact: false,
            statement: "NOT INTACT: 1 finding".into(),
            trust: format!("SHA256:{}", "A".repeat(43)),
            entries: 40,
            root: Some(Digest::of(b"root")),
            sections: vec![SectionText { name: "origin".into(), says: "evidence.acme.example/prod".into() }],
            findings: vec![Finding {
                code: Code::SlotMissing,
                object: "document/plan/1.json".into(),
                index: Some(1),
                says: "a slot has no receipt".into(),
                meaning: Code::SlotMissing.means(),
            }],
            limits: vec![Limit { code: "TIME-UNTRUSTED", says: "no token".into() }],
        },
        controls: vec![control()],
        criteria: vec![
            criterion("CC6.1", Treatment::Own, CriterionState::EvidenceMapped),
            criterion(
                "CC6.4",
                Treatment::CarvedOut { organisation: hosting(), expected: vec!["Guards its sites.".into()] },
                CriterionState::CarvedOut,
            ),
            criterion("CC6.5", Treatment::Inclusive { organisation: hosting() }, CriterionState::NotCovered),
            criterion("CC6.6", Treatment::NotApplicable { reason: "no such".into() }, CriterionState::NotApplicable),
        ],
        hipaa: vec![HipaaReport {
            citation: "164.312(d)".into(),
            kind: HipaaKind::Standard,
            requirement: Requirement::Required,
            title: "Person or entity authentication".into(),
            paraphrase: "Those who ask for records are who they say.".into(),
            proposed: false,
            effective: Some("2003-04-21".into()),
            binds: Some("covered_entity"),
            treatment: Treatment::Own,
            state: CriterionState::PartlyMapped,
            decision: Some("no decision recorded".into()),
            controls: linked.clone(),
        }],
        user_entity_controls: vec![Named { id: "CUEC-1".into(), text: "Customers guard their passwords.".into() }],
        vendor_expectations: vec![VendorExpectation {
            vendor: hosting(),
            text: "Customers set up access.".into(),
            controls: vec!["AC-01".into()],
        }],
        jobs: vec![job_report()],
        deviations: vec![deviation()],
        drift: drift(),
        more_drift: 1,
        trends: vec![Trend {
            job: job(),
            check: "mfa-enrolled".into(),
            kind: "users".into(),
            privileged: true,
            points: vec![TrendPoint { day: "2026-07-01".parse().unwrap(), size: 5, whole: true, fail: 1 }],
        }],
        changes: vec![ChangeEntry {
            at: at("2026-07-03T00:00:00Z"),
            entry: 31,
            kind: ChangeKind::Plan,
            subject: job().to_string(),
            says: "hourly before, daily now".into(),
            reason: "costs".into(),
            lowers: Some(true),
        }],
        approvals: vec![approval("W-00112233aabb", "waiver"), approval("R-00112233aabb", "response")],
        populations: vec![FrozenPopulation {
            from: at("2026-07-01T00:00:00Z"),
            to: at("2026-08-01T00:00:00Z"),
            population: Population {
                control: "AC-01".into(),
                of: Of::Occurrences,
                kind: None,
                count: 31,
                sha256: Digest::of(b"list"),
                not_observed: vec![Gap {
                    job: Some(job()),
                    from: at("2026-07-03T00:00:00Z"),
                    to: at("2026-07-04T00:00:00Z"),
                    reason: "missed: agent_down".into(),
                }],
            },
            judged_up_to: at("2026-08-02T00:00:00Z"),
            entry: 40,
            otherwise: vec![41],
            not_after: Some(at("2026-08-02T00:00:10Z")),
        }],
        not_shown: vec!["What happens between runs.".into()],
        evidence: [9, 12, 20, 21, 30, 31, 40, 41].map(evidence).into(),
    }
}

#[path = "../../../signing/tests/schema/mod.rs"]
#[allow(dead_code)]
mod schema;

fn faults(report: &Value) -> Vec<String> {
    let schema = include_str!("../../schemas/report.schema.json");
    schema::faults(&serde_json::from_str(schema).unwrap(), report)
}

/// Calls `each` with a copy of the value for every object in it, changed by `change`.
fn altered(value: &Value, change: &dyn Fn(&mut Value) -> bool, each: &mut dyn FnMut(Value, &str)) {
    fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.push(at.clone());
                members.iter().for_each(|(name, value)| pointers(value, format!("{at}/{name}"), found));
            }
            Value::Array(values) => {
                values.iter().enumerate().for_each(|(n, value)| pointers(value, format!("{at}/{n}"), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    pointers(value, String::new(), &mut found);
    for pointer in found {
        let mut copy = value.clone();
        if change(copy.pointer_mut(&pointer).unwrap()) {
            each(copy, &pointer);
        }
    }
}

#[test]
fn the_schema_has_every_member_of_a_report_and_takes_no_other() {
    let report = serde_json::to_value(example()).unwrap();
    assert_eq!(faults(&report), Vec::<String>::new());
    let mut of_an_instant = example();
    of_an_instant.view = View::PointInTime { at: at("2026-07-04T12:00:00Z") };
    assert_eq!(faults(&serde_json::to_value(of_an_instant).unwrap()), Vec::<String>::new());

    let added = |object: &mut Value| object.as_object_mut().unwrap().insert("further".into(), json!(1)).is_none();
    altered(&report, &added, &mut |report, place| {
        // What a person signed stands in the report as it was signed.
        assert!(place.ends_with("/document") || !faults(&report).is_empty(), "{place}");
    });
    let spelled = |object: &mut Value| match object.get_mut("state") {
        Some(state) => {
            *state = json!("compliant");
            true
        }
        None => false,
    };
    altered(&report, &spelled, &mut |report, place| assert!(!faults(&report).is_empty(), "{place}"));
}
