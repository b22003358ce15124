#![allow(clippy::unwrap_used)]

use super::*;

fn at(text: &str) -> Utc {
    text.parse().unwrap()
}

fn entry() -> Entry {
    Entry {
        origin: "localhost/7f3c".into(),
        key_id: "SHA256:abc".into(),
        plan: Some(Digest::of(b"plan")),
        sealed_at: at("2026-11-22T04:00:11.250Z"),
        checkpoint: Some(Known { size: 2, root: Digest::of(b"root") }),
        anchor: None,
        instance: "i-1".into(),
    }
}

fn subject(name: &str) -> Subject {
    Subject { name: name.into(), digest: DigestSet { sha256: Digest::of(name.as_bytes()) } }
}

fn receipt() -> Statement {
    Statement {
        subject: vec![subject("bundle/2026/11/22/x.zip"), subject(SUMS)],
        entry: entry(),
        body: Body::Receipt(Receipt {
            job: Job::new("host/accounts", "this").unwrap(),
            slot: Some(at("2026-11-22T04:00:00Z")),
            started_at: at("2026-11-22T04:00:01Z"),
            ended_at: at("2026-11-22T04:00:02Z"),
            attempts: 1,
            late: false,
            outcome: Outcome::Partial,
            reason: "shadow: permission denied".into(),
            records: 41,
            totals: Counts { pass: 38, fail: 2, unknown: 1, ..Counts::default() },
            results: Digest::of(b"results"),
            checks: Some(BTreeMap::from([("a".to_owned(), Counts::default())])),
            window: None,
        }),
    }
}

fn missed() -> Statement {
    Statement {
        subject: vec![subject("document/plan/x.json")],
        entry: entry(),
        body: Body::Missed(Missed {
            job: Job::new("host/accounts", "this").unwrap(),
            first: at("2026-11-22T04:00:00Z"),
            last: at("2026-11-22T06:00:00Z"),
            count: 3,
            cause: Cause::Down,
            detail: "no agent ran".into(),
        }),
    }
}

fn document() -> Statement {
    Statement {
        subject: vec![subject("document/keys/x.json")],
        entry: Entry { plan: None, checkpoint: None, ..entry() },
        body: Body::Document(Document { kind: "keys".into(), reason: "keys made".into() }),
    }
}

#[test]
fn every_kind_comes_back_as_it_was_written() {
    for statement in [receipt(), missed(), document()] {
        let bytes = statement.to_bytes().unwrap();
        assert_eq!(Statement::from_bytes(&bytes).unwrap(), statement);
        assert_eq!(Statement::from_bytes(&bytes).unwrap().to_bytes().unwrap(), bytes);
    }
}

#[test]
fn members_are_written_in_the_order_of_the_format() {
    let text = String::from_utf8(document().to_bytes().unwrap()).unwrap();
    assert!(
        text.starts_with(r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"document/keys/x.json","#)
    );
    let order = ["\"_type\"", "\"subject\"", "\"predicateType\"", "\"predicate\"", "\"entry\"", "\"document\""];
    let places: Vec<_> = order.iter().map(|m| text.find(m).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn unknown_members_are_refused_at_every_level() {
    for statement in [receipt(), missed(), document()] {
        let text = String::from_utf8(statement.to_bytes().unwrap()).unwrap();
        for (place, _) in text.match_indices('{') {
            if text[..place].ends_with(r#""checks":"#) {
                continue; // its members are names of checks
            }
            let mut altered = text.clone();
            altered.insert_str(place + 1, r#""zz":0,"#);
            assert!(
                matches!(Statement::from_bytes(altered.as_bytes()), Err(StatementError::Malformed(_))),
                "{altered}"
            );
        }
    }
}

#[test]
fn a_check_counted_twice_is_refused() {
    let text = String::from_utf8(receipt().to_bytes().unwrap()).unwrap();
    let counts = serde_json::to_string(&Counts::default()).unwrap();
    let altered = text.replace(r#""checks":{"#, &format!(r#""checks":{{"a":{counts},"#));
    assert_ne!(altered, text);
    assert!(matches!(Statement::from_bytes(altered.as_bytes()), Err(StatementError::Malformed(_))));
}

#[test]
fn a_predicate_of_a_later_version_is_unknown_not_malformed() {
    let text = String::from_utf8(missed().to_bytes().unwrap()).unwrap().replace(MISSED_V1, "urn:evidenced:missed:v2");
    assert!(matches!(
        Statement::from_bytes(text.as_bytes()),
        Err(StatementError::UnknownPredicate(t)) if t == "urn:evidenced:missed:v2"
    ));
}

#[test]
fn the_predicate_must_be_that_of_its_type() {
    let text = String::from_utf8(missed().to_bytes().unwrap()).unwrap().replace(MISSED_V1, DOCUMENT_V1);
    assert!(matches!(Statement::from_bytes(text.as_bytes()), Err(StatementError::Malformed(_))));
}

#[test]
fn another_statement_type_is_refused() {
    let text = String::from_utf8(missed().to_bytes().unwrap()).unwrap().replace("Statement/v1", "Statement/v0.1");
    assert!(matches!(Statement::from_bytes(text.as_bytes()), Err(StatementError::Type(_))));
}

#[test]
fn subjects_that_do_not_fit_the_kind_are_refused_both_ways() {
    let mut no_sums = receipt();
    no_sums.subject.pop();
    let mut none = missed();
    none.subject.clear();
    let mut two = document();
    two.subject.push(subject(SUMS));
    for statement in [no_sums, none, two] {
        assert!(matches!(statement.to_bytes(), Err(StatementError::Subjects { .. })));
        let good = match &statement.body {
            Body::Receipt(_) => receipt(),
            Body::Missed(_) => missed(),
            Body::Document(_) => document(),
        };
        let text = String::from_utf8(good.to_bytes().unwrap()).unwrap();
        let altered = text.replace(
            &serde_json::to_string(&good.subject).unwrap(),
            &serde_json::to_string(&statement.subject).unwrap(),
        );
        assert!(matches!(Statement::from_bytes(altered.as_bytes()), Err(StatementError::Subjects { .. })));
    }
}

#[test]
fn a_payload_of_3800_bytes_is_written_and_read_and_one_more_is_refused_both_ways() {
    let mut statement = document();
    let room = MAX_PAYLOAD - statement.to_bytes().unwrap().len();
    let Body::Document(document) = &mut statement.body else { unreachable!() };
    document.reason.push_str(&"x".repeat(room));
    let bytes = statement.to_bytes().unwrap();
    assert_eq!(bytes.len(), MAX_PAYLOAD);
    assert_eq!(Statement::from_bytes(&bytes).unwrap(), statement);
    let text = String::from_utf8(bytes).unwrap().replace("keys made", "keys made!");
    assert!(matches!(Statement::from_bytes(text.as_bytes()), Err(StatementError::TooLong(n)) if n == MAX_PAYLOAD + 1));
    let Body::Document(document) = &mut statement.body else { unreachable!() };
    document.reason.push('x');
    assert!(matches!(statement.to_bytes(), Err(StatementError::TooLong(_))));
}
