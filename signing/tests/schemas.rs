//! The checked-in schemas against what is written: the archive and the bundle of `docs/vectors`, whose bytes `vectors.rs` makes again.
#![allow(missing_docs, clippy::unwrap_used)]

mod schema;

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use signing::{
    approval::{Approval, Choice, Decision, Kind, Records, Response, Signed, Waiver},
    digest::Digest,
    keys::FileKey,
    population::{AsOf, FORMAT, Gap, Of, Population, PopulationDocument},
    store::{Dir, Reader},
};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors")
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The objects of the archive below a prefix.
fn objects(prefix: &str) -> Vec<Vec<u8>> {
    let dir = Dir::new(vectors().join("archive"));
    let mut names = Vec::new();
    dir.list(prefix, &mut |name| names.push(name.to_owned())).unwrap();
    names.iter().map(|name| dir.read(name, 1 << 20).unwrap().unwrap()).collect()
}

/// The payload of a DSSE envelope.
fn payload(envelope: &Value) -> Value {
    json(&STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap())
}

fn statements() -> Vec<Value> {
    objects("seal").iter().map(|seal| payload(&json(seal)["dsseEnvelope"])).collect()
}

/// A document of controls, by hand: the vectors have none, and what the program writes is held to its schema beside the crate that does.
fn controls() -> Value {
    let control = serde_json::json!({
        "id": "AC-01", "title": "t", "owner": "", "statement": "s", "frequency": "daily", "items": ["mfa_user_enrolled"], "checks": [],
        "sources": [], "soc2": {"CC6.1": "direct"}, "hipaa": {"164.312(d)": "partial"}
    });
    let job = serde_json::json!({
        "job": "host/mfa@this", "kind": "host", "version": 1, "checks_sha256": "0".repeat(64),
        "checks": [{"id": "c", "item": "mfa_user_enrolled", "kind": "account"}]
    });
    serde_json::json!({
        "format": "evidenced-controls/1", "origin": "localhost/x", "agent": "0", "previous": null, "reason": "", "period": null,
        "frameworks": {"soc2": ["security"], "hipaa": null}, "parameters": {}, "controls": [control],
        "treatments": {"CC6.4": {"treatment": "inclusive", "organisation": "o"}}, "user_entity_controls": [{"id": "U-1", "text": "t"}],
        "vendor_expectations": [{"vendor": "v", "text": "t", "controls": ["AC-01"]}], "scope": [job]
    })
}

/// Every value with the name of its schema.
fn written() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for statement in statements() {
        let kind = statement["predicateType"].as_str().unwrap().split(':').nth(2).unwrap();
        all.push((format!("statement-{kind}"), statement));
    }
    all.extend(objects("document/plan").iter().map(|b| ("plan".to_owned(), json(b))));
    all.extend(objects("document/keys").iter().map(|b| ("keys".to_owned(), payload(&json(b)))));
    all.push(("controls".to_owned(), controls()));
    let file = |name: &str| fs::read(vectors().join("bundle").join(name)).unwrap();
    all.push(("run".to_owned(), json(&file("run.json"))));
    all.push(("checks".to_owned(), json(&file("checks.json"))));
    all.push(("results".to_owned(), json(&file("results.json"))));
    all.push(("population".to_owned(), json(&population().to_bytes())));
    let lines = String::from_utf8(file("exchanges.jsonl")).unwrap();
    all.extend(lines.lines().map(|l| ("exchange".to_owned(), json(l.as_bytes()))));
    all.extend(approvals());
    all
}

/// The vectors' archive has none.
fn population() -> PopulationDocument {
    let at = |text: &str| text.parse().unwrap();
    let (from, to) = (at("2026-07-01T00:00:00Z"), at("2026-10-01T00:00:00Z"));
    let gap = Gap { job: Some("host/accounts@this".parse().unwrap()), from, to, reason: "missed: down".into() };
    let kind = |kind: Option<&str>| Population {
        control: "AC-01".into(),
        of: if kind.is_some() { Of::Items } else { Of::Occurrences },
        kind: kind.map(str::to_owned),
        count: 92,
        sha256: Digest::of(b""),
        not_observed: vec![gap.clone()],
    };
    PopulationDocument {
        format: FORMAT.into(),
        origin: "evidence.example/prod".into(),
        from,
        to,
        as_of: AsOf { size: 3, root: Digest::of(b""), at: to },
        populations: vec![kind(None), kind(Some("accounts"))],
    }
}

/// What people sign: with every member, and with none that may be null.
fn approvals() -> Vec<(String, Value)> {
    let (origin, approver) = ("example.org/log".to_owned(), "Ada Lovelace".to_owned());
    let made_at: signing::time::Utc = "2026-11-22T04:00:00.250Z".parse().unwrap();
    let waiver = Waiver {
        format: Kind::Waiver.format().into(),
        origin: origin.clone(),
        approver: approver.clone(),
        made_at,
        control: Some("AC-01".into()),
        check: Some("aws/iam-users/mfa-enrolled".into()),
        job: Some("aws/iam-users@prod".parse().unwrap()),
        records: Records::These(vec!["alice".into()]),
        reason: "a key is on its way".into(),
        until: "2027-03-01T00:00:00Z".parse().unwrap(),
        compensating: Some("AC-07".into()),
    };
    let response = Response {
        format: Kind::Response.format().into(),
        origin: origin.clone(),
        approver: approver.clone(),
        made_at,
        deviation: Some("D-0123456789ab".into()),
        control: None,
        text: "a contractor".into(),
        remediation: Some("disabled".into()),
        remediation_by: Some(made_at.date_naive()),
    };
    let decision = Decision {
        format: Kind::Decision.format().into(),
        origin,
        approver,
        made_at,
        citation: "164.312(a)(2)(iv)".into(),
        decision: Choice::Alternative,
        reason: "the volume is encrypted".into(),
        alternative: Some("encryption of volumes".into()),
    };
    let all = [
        Approval::Waiver(Waiver {
            control: None,
            job: None,
            records: Records::ALL,
            compensating: None,
            ..waiver.clone()
        }),
        Approval::Waiver(Waiver { check: None, ..waiver }),
        Approval::Response(Response {
            deviation: None,
            control: Some("AC-01".into()),
            remediation: None,
            remediation_by: None,
            ..response.clone()
        }),
        Approval::Response(response),
        Approval::Decision(Decision { decision: Choice::NotReasonable, alternative: None, ..decision.clone() }),
        Approval::Decision(decision),
    ];
    let key = FileKey::from_seed(&[7; 32]);
    let payload = |approval: Approval| {
        let kind = approval.kind().to_string();
        (kind, json(Signed::new(approval, &key).unwrap().payload()))
    };
    all.into_iter().map(payload).collect()
}

#[test]
fn everything_written_fits_its_schema() {
    let written = written();
    let names = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")).unwrap();
    for name in names.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        let name = name.strip_suffix(".schema.json").unwrap();
        assert!(written.iter().any(|(n, _)| n == name), "no value of {name} among the vectors");
    }
    for (name, value) in written {
        assert_eq!(schema::faults(&schema::load(&name), &value), Vec::<String>::new(), "{name}");
    }
}

/// Every object in a value that the format gives a fixed set of members, by JSON pointer.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            out.push(at.to_owned());
            for (name, member) in members {
                // Their members are names: of checks, zones, kinds, criteria, or whatever a source calls its own.
                if ![
                    "checks",
                    "zones",
                    "populations",
                    "records",
                    "soc2",
                    "hipaa",
                    "identity",
                    "request",
                    "parameters",
                    "treatments",
                ]
                .contains(&name.as_str())
                {
                    places(member, &format!("{at}/{}", name.replace('/', "~1")), out);
                }
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{n}"), out);
            }
        }
        _ => {}
    }
}

#[test]
fn a_member_too_many_or_too_few_does_not_fit_anywhere() {
    for (name, value) in written() {
        let schema = schema::load(&name);
        let mut pointers = Vec::new();
        places(&value, "", &mut pointers);
        for pointer in pointers {
            let mut more = value.clone();
            more.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().insert("zz".into(), Value::Null);
            assert!(!schema::faults(&schema, &more).is_empty(), "{name}: a member more at {pointer:?}");
            for member in value.pointer(&pointer).unwrap().as_object().unwrap().keys() {
                if [("statement-receipt", "checks"), ("results", "exempt")].contains(&(&name, member)) {
                    continue; // may be left out
                }
                let mut less = value.clone();
                less.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().remove(member);
                assert!(!schema::faults(&schema, &less).is_empty(), "{name}: no {member} at {pointer:?}");
            }
        }
    }
}

/// The archive of the vectors reads a state; this is what it would be with events.
#[test]
fn a_window_of_events_fits_in_receipts_and_in_run_json() {
    let window = serde_json::json!({"from": "2026-10-23T04:00:00Z", "to": "2026-11-22T04:00:00Z", "whole": false, "previous": null});
    let with = |name: &str, pointer: &str, window: &Value| {
        let (_, mut value) = written().into_iter().find(|(n, _)| n == name).unwrap();
        value.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert("window".into(), window.clone());
        value
    };
    for (name, pointer) in [("run", ""), ("statement-receipt", "/predicate/receipt")] {
        let schema = schema::load(name);
        assert_eq!(schema::faults(&schema, &with(name, pointer, &window)), Vec::<String>::new(), "{name}");
        for member in ["from", "to", "whole", "previous"] {
            let mut less = window.clone();
            less.as_object_mut().unwrap().remove(member);
            assert!(!schema::faults(&schema, &with(name, pointer, &less)).is_empty(), "{name}: no {member}");
        }
    }
    let run = with("run", "", &window);
    let facts: signing::bundle::RunFacts = serde_json::from_value(run.clone()).unwrap();
    assert_eq!(serde_json::to_value(facts).unwrap(), run);
    let receipt = with("statement-receipt", "/predicate/receipt", &window);
    let parsed = signing::statement::Statement::from_bytes(&serde_json::to_vec(&receipt).unwrap()).unwrap();
    assert_eq!(json(&parsed.to_bytes().unwrap()), receipt);
}
