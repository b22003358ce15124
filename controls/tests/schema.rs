//! The document of controls against its checked-in schema, and read back as it was written.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../signing/tests/schema/mod.rs"]
mod schema;

use controls::{
    CONTROLS_FORMAT, Category, ControlSet, EntityControl, Expectation, FrameworkSet, Hipaa, HipaaRole, ScopedCheck,
    ScopedJob, SwitchedOff, TreatmentSet, starter,
};
use serde_json::json;

/// Every member, each in each of its shapes.
fn full() -> ControlSet {
    let treatments = [
        (
            "CC6.4",
            TreatmentSet::CarvedOut { organisation: "Hosting".into(), expected: vec!["Doors are locked.".into()] },
        ),
        ("CC6.5", TreatmentSet::Inclusive { organisation: "Network".into() }),
        ("164.310(b)", TreatmentSet::NotApplicable { reason: "nobody works here".into() }),
    ];
    ControlSet {
        format: CONTROLS_FORMAT.into(),
        origin: "evidence.acme.example/prod".into(),
        agent: "0.1.0".into(),
        previous: Some("ab".repeat(32)),
        reason: "the first period begins".into(),
        period: Some(("2026-07-01".into(), "2027-06-30".into())),
        frameworks: FrameworkSet {
            soc2: vec![Category::Security, Category::ProcessingIntegrity],
            hipaa: Some(Hipaa { role: HipaaRole::BusinessAssociate, proposals: true }),
        },
        parameters: json!({"rpo_hours": 24}).as_object().unwrap().clone(),
        controls: starter().to_vec(),
        switched_off: vec![SwitchedOff { id: "PI-01".into(), title: "t".into(), reason: "r".into() }],
        treatments: treatments.map(|(id, treatment)| (id.to_owned(), treatment)).into(),
        user_entity_controls: vec![EntityControl { id: "U-1".into(), text: "Keep keys.".into() }],
        vendor_expectations: vec![Expectation {
            vendor: "Cloud".into(),
            text: "Restrict access.".into(),
            controls: vec!["AC-06".into()],
        }],
        scope: vec![ScopedJob {
            job: "host/mfa@this".into(),
            kind: "host".into(),
            version: 1,
            checks_sha256: "0".repeat(64),
            checks: vec![ScopedCheck { id: "c".into(), item: "mfa_user_enrolled".into(), kind: "account".into() }],
            off: Some("not here".into()),
        }],
    }
}

#[test]
fn every_member_fits_the_schema_and_comes_back() {
    let set = full();
    let bytes = set.to_bytes();
    let value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(schema::faults(&schema::load("controls"), &value), Vec::<String>::new());
    assert_eq!(ControlSet::from_bytes(&bytes).unwrap(), set);
    let bare = ControlSet { period: None, previous: None, frameworks: FrameworkSet::default(), ..set };
    let value = serde_json::from_slice(&bare.to_bytes()).unwrap();
    assert_eq!(schema::faults(&schema::load("controls"), &value), Vec::<String>::new());
}

#[test]
fn another_format_and_unknown_members_are_refused() {
    let other = ControlSet { format: "evidenced-controls/2".into(), ..full() };
    assert!(ControlSet::from_bytes(&other.to_bytes()).unwrap_err().contains("evidenced-controls/2"));
    let mut value = serde_json::to_value(full()).unwrap();
    value.as_object_mut().unwrap().insert("more".into(), json!(1));
    assert!(ControlSet::from_bytes(value.to_string().as_bytes()).unwrap_err().contains("it is no set of controls"));
}

#[test]
fn the_same_promise_is_the_same_whoever_writes_it_and_why_and_any_other_is_not() {
    let set = full();
    let again = ControlSet { agent: "9".into(), previous: None, reason: "other".into(), ..set.clone() };
    assert!(set.promises_the_same(&again));
    let mut fewer = set.clone();
    fewer.controls.pop();
    let mut off = set.clone();
    off.scope[0].off = None;
    for other in [fewer, off, ControlSet { period: None, ..set.clone() }] {
        assert!(!set.promises_the_same(&other));
    }
}
