//! The schemas of `signing/schemas` for what other crates write into a bundle: every member that `Exchange` and `Results` can have, and
//! what the program itself writes.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "../../signing/tests/schema/mod.rs"]
mod schema;

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use collectors::contract::{Answer, Exchange, Population, Redaction, Tried};
use controls::{Evaluator, Results, parse_checks};
use serde_json::{Value, json};
use signing::{
    bundle::{Bundle, CHECKS, ChecksDocument, MAX_UNPACKED},
    digest::Digest,
};
use tests::program::{Place, files, workspace};

fn fits(name: &str, value: &impl serde::Serialize) {
    let value = serde_json::to_value(value).unwrap();
    assert_eq!(schema::faults(&schema::load(name), &value), Vec::<String>::new());
}

fn exchange(answer: Answer) -> Exchange {
    let at = "2026-11-22T04:00:00.250Z".parse().unwrap();
    Exchange {
        number: 1,
        operation: "run-command".into(),
        request: json!({"argv": ["sshd", "-T"]}),
        caller: "uid 0 (root)".into(),
        started_at: at,
        ended_at: at,
        answer,
        detail: "exit status 0".into(),
        exit_code: Some(-1),
        stderr: "warning".into(),
        status: Some(200),
        code: Some("AccessDenied".into()),
        tried: vec![Tried {
            ended_at: at,
            status: Some(429),
            detail: "slow down".into(),
            request_id: Some("r-0".into()),
        }],
        request_id: Some("r-1".into()),
        page: Some(1),
        end: Some("exit".into()),
        body: Some("exchanges/00000001-run-command.txt".into()),
        bytes: 3,
        sha256: Some("0".repeat(64)),
        redactions: vec![Redaction { rule: "r".into(), place: "line 1".into(), count: 1 }],
    }
}

#[test]
fn exchanges_with_every_member_and_every_answer_fit_their_schema() {
    for answer in [Answer::Ok, Answer::Denied, Answer::Missing, Answer::Failed, Answer::TimedOut, Answer::CutShort] {
        fits("exchange", &exchange(answer));
    }
}

#[test]
fn populations_are_spelled_alike_in_all_crates() {
    let words = "page 2 was refused".to_owned();
    for population in [
        Population::Whole,
        Population::Cut(words.clone()),
        Population::Unread(words.clone()),
        Population::Absent(words),
    ] {
        let value = serde_json::to_value(&population).unwrap();
        let sealed: signing::bundle::Population = serde_json::from_value(value.clone()).unwrap();
        let judged: controls::Population = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(sealed).unwrap(), value);
        assert_eq!(serde_json::to_value(judged).unwrap(), value);
        let schema = schema::load("run");
        let part = json!({"$ref": "#/$defs/population", "$defs": schema["$defs"]});
        assert_eq!(schema::faults(&part, &value), Vec::<String>::new());
    }
}

#[test]
fn the_bundle_of_the_vectors_is_what_the_other_crates_read_and_write() {
    let bundle = workspace().join("docs/vectors/bundle");
    for line in fs::read_to_string(bundle.join("exchanges.jsonl")).unwrap().lines() {
        let exchange: Exchange = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&exchange).unwrap(), line);
    }
    let bytes = fs::read(bundle.join("results.json")).unwrap();
    let results = Results::from_bytes(&bytes).unwrap();
    assert_eq!(results.to_bytes(), bytes);
}

#[test]
fn the_results_of_the_vectors_follow_from_their_checks_and_records() {
    let bundle = workspace().join("docs/vectors/bundle");
    let read = |name: &str| fs::read_to_string(bundle.join(name)).unwrap();
    let document = ChecksDocument::from_bytes(read(CHECKS).as_bytes()).unwrap();
    let checks = parse_checks(&document.checks).unwrap();
    let mut evaluator = Evaluator::new(&checks, &document.parameters).unwrap();
    for line in read("records/accounts.jsonl").lines() {
        evaluator.record("accounts", &serde_json::from_str(line).unwrap());
    }
    let populations = BTreeMap::from([("accounts".to_owned(), controls::Population::Whole)]);
    let sealed = Results::from_bytes(read("results.json").as_bytes()).unwrap();
    // Titles, criteria and the words of reasons may be revised: that is no change of the format.
    let told = |results: Results| {
        let check = |check: controls::CheckResult| (check.id.clone(), check.definition.clone(), check.counts());
        results.checks.into_iter().map(check).collect::<Vec<_>>()
    };
    assert_eq!(told(evaluator.finish(&populations)), told(sealed));
}

#[test]
fn results_with_every_member_fit_their_schema() {
    let value: Value = json!({"format": "evidenced-results/1", "checks": [{
        "id": "c", "item": "i", "title": "t", "criteria": {"soc2": {"CC6.1": "direct", "CC6.2": "indirect"}, "hipaa": {}},
        "definition": {"exempt": ".a", "pass": ".b", "says": "s", "requires": ["k"],
            "join": {"j": {"with": "k", "on": ".id", "key": ".id", "many": true}}, "parameters": {"days": 30}},
        "population": {"kind": "k", "filter": ".c", "state": "cut", "reason": "page 2 was refused", "size": 2},
        "outcome": "not_tested", "note": "n", "pass": 1, "fail": 1, "unknown": 1, "not_applicable": 0, "exempt": 0,
        "rows": {"pass": ["a"], "exempt": [], "fail": [{"id": "b", "reason": "r"}], "unknown": [{"id": null, "reason": "r"}]}
    }]});
    let results: Results = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&results).unwrap(), value, "the crate writes what this test names");
    fits("results", &results);
}

/// The payload of a DSSE envelope.
fn payload(envelope: &Value) -> Value {
    serde_json::from_slice(&STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
}

/// Everything that has a schema in an archive, with the schema's name: leaves, documents, and the files of bundles.
fn written(origin: &Path) -> Vec<(String, Value)> {
    let json = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let mut written = Vec::new();
    for path in files(&origin.join("seal")) {
        let statement = payload(&json(&path)["dsseEnvelope"]);
        let kind = statement["predicateType"].as_str().unwrap().split(':').nth(2).unwrap().to_owned();
        written.push((format!("statement-{kind}"), statement));
    }
    written.extend(files(&origin.join("document/plan")).iter().map(|path| ("plan".to_owned(), json(path))));
    written.extend(files(&origin.join("document/keys")).iter().map(|path| ("keys".to_owned(), payload(&json(path)))));
    for path in files(&origin.join("bundle")) {
        let mut bundle = Bundle::open(fs::File::open(&path).unwrap(), MAX_UNPACKED).unwrap();
        for name in ["run", "checks", "results"] {
            let bytes = bundle.file(&format!("{name}.json")).unwrap();
            written.push((name.to_owned(), serde_json::from_slice(&bytes).unwrap()));
        }
        let lines = String::from_utf8(bundle.file("exchanges.jsonl").unwrap()).unwrap();
        written.extend(lines.lines().map(|line| ("exchange".to_owned(), serde_json::from_str(line).unwrap())));
    }
    written
}

#[test]
fn what_collect_writes_fits_its_schemas_and_checks_are_those_of_the_plan() {
    let place = Place::new();
    place.expect(0, ["collect"]);
    let written = written(&place.origin());
    for name in ["statement-receipt", "statement-document", "plan", "keys", "run", "checks", "results", "exchange"] {
        assert!(written.iter().any(|(n, _)| n == name), "collect wrote no {name}");
    }
    for (name, value) in &written {
        assert_eq!(schema::faults(&schema::load(name), value), Vec::<String>::new(), "{name}");
    }
    let (_, plan) = written.iter().find(|(name, _)| name == "plan").unwrap();
    for path in files(&place.origin().join("bundle")) {
        let mut bundle = Bundle::open(fs::File::open(&path).unwrap(), MAX_UNPACKED).unwrap();
        let run: Value = serde_json::from_slice(&bundle.file("run.json").unwrap()).unwrap();
        let job = plan["jobs"].as_array().unwrap().iter().find(|job| job["job"] == run["job"]).unwrap();
        assert_eq!(job["checks"], Digest::of(&bundle.file(CHECKS).unwrap()).to_string(), "{}", run["job"]);
    }
}
