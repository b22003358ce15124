#![allow(clippy::unwrap_used)]
use serde_json::Value;

use super::*;
use crate::model::example;

fn written(report: &Report) -> Value {
    let mut out = Vec::new();
    write(report, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

fn each<'a>(value: &'a Value, found: &mut Vec<(&'a str, &'a Value)>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            found.push((name, value));
            each(value, found);
        }),
        Value::Array(values) => values.iter().for_each(|value| each(value, found)),
        _ => {}
    }
}

#[test]
fn the_state_satisfied_is_never_written_and_every_deviation_is_a_risk() {
    let mut report = example();
    let document = written(&report);
    let mut members = Vec::new();
    each(&document, &mut members);
    assert!(members.iter().all(|(name, value)| *name != "state" || **value != "satisfied"));
    let result = &document["assessment-results"]["results"][0];
    assert_eq!(result["risks"].as_array().unwrap().len(), report.deviations.len());
    assert_eq!(result["risks"][0]["status"], "closed");
    assert_eq!(result["findings"][0]["target"]["status"]["reason"], "fail");

    report.deviations[0].ended = None;
    report.controls[0].counts.deviation = 0;
    let result = &written(&report)["assessment-results"]["results"][0];
    assert_eq!(result["risks"][0]["status"], "open", "a waiver closes nothing");
    assert_eq!(result["findings"][0]["target"]["status"]["reason"], "other");
    assert_eq!(result["findings"][0]["target"]["status"]["state"], "not-satisfied", "a gap is not hidden");
}

#[test]
fn a_control_that_operated_each_time_has_its_numbers_and_no_finding() {
    let mut report = example();
    report.controls[0].occurrences.retain(|of| of.state == OccurrenceState::Operated);
    report.controls[0].counts = crate::model::OccurrenceCounts { required: 1, operated: 1, ..Default::default() };
    let result = &written(&report)["assessment-results"]["results"][0];
    assert!(result["findings"].is_null());
    let props = result["observations"][0]["props"].as_array().unwrap();
    let value = |name: &str| props.iter().find(|prop| prop["name"] == name).unwrap()["value"].clone();
    assert_eq!((value("required"), value("operated")), ("1".into(), "1".into()));
}

#[test]
fn the_same_report_has_the_same_bytes_and_another_has_another_name() {
    let uuid = |report: &Report| written(report)["assessment-results"]["uuid"].clone();
    let (one, mut other) = (example(), example());
    assert_eq!(written(&one), written(&example()));
    other.as_of += TimeDelta::seconds(1);
    assert_ne!(uuid(&one), uuid(&other));
    let risk = |report: &Report| written(report)["assessment-results"]["results"][0]["risks"][0]["uuid"].clone();
    assert_eq!(risk(&one), risk(&other), "a deviation is the same in every report on the log");
}

#[test]
fn no_uuid_is_given_twice_and_every_reference_leads_to_one() {
    let document = written(&example());
    let mut members = Vec::new();
    each(&document, &mut members);
    let given: Vec<&str> =
        members.iter().filter(|(name, _)| *name == "uuid").map(|(_, id)| id.as_str().unwrap()).collect();
    let known: BTreeSet<&str> = given.iter().copied().collect();
    assert_eq!(given.len(), known.len());
    for (name, value) in members {
        match value.as_str() {
            Some(id) if name.ends_with("-uuid") => assert!(known.contains(id), "{name} {id}"),
            Some(href) if name == "href" && href.starts_with('#') => assert!(known.contains(&href[1..]), "{href}"),
            _ => {}
        }
    }
}

#[test]
fn a_report_on_nothing_is_still_a_document() {
    let mut report = example();
    report.controls.clear();
    report.criteria.clear();
    report.hipaa.clear();
    report.deviations.clear();
    report.evidence.clear();
    report.view = View::PointInTime { at: report.as_of };
    let result = &written(&report)["assessment-results"]["results"][0];
    assert_eq!(result["start"], result["end"]);
    assert!(result["reviewed-controls"]["control-selections"][0]["include-all"].is_object());
    assert!(result["observations"].is_null() && result["risks"].is_null());
}

#[test]
fn names_of_objects_become_references() {
    assert_eq!(encoded("20261122T040000Z-aws.iam@prod 1.zip"), "20261122T040000Z-aws.iam@prod%201.zip");
}
