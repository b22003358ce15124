//! What people signed: whose it is, and from when on; forged, altered, back-dated and by keys that may not.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use signing::{
    approval::{Approval, Choice, Decision, Kind, Records, Response, Signed, Waiver},
    digest::Digest,
    keys::{FileKey, KeySet, Signer as _, Use},
    layout,
    package::make,
    seal::pae,
    verify::{Options, Verdict, entry},
};

use super::{anchored::*, sound::*};

const NAME: &str = "Ada Lovelace";

fn approver() -> FileKey {
    FileKey::from_seed(&[21; 32])
}

fn with_approver(revision: u64) -> KeySet {
    let mut set = key_set(revision);
    let mut key = key_entry(&approver(), Use::Approvals);
    key.name = Some(NAME.into());
    set.keys.push(key);
    set
}

fn waiver() -> Waiver {
    Waiver {
        format: Kind::Waiver.format().into(),
        origin: ORIGIN.into(),
        approver: NAME.into(),
        made_at: at("2026-11-01T00:00:00Z"),
        control: Some("AC-01".into()),
        check: None,
        job: None,
        records: Records::ALL,
        reason: "a key is on its way".into(),
        until: at("2027-03-01T00:00:00Z"),
        compensating: None,
    }
}

fn signed(waiver: Waiver, by: &FileKey) -> Vec<u8> {
    Signed::new(Approval::Waiver(waiver), by).unwrap().to_bytes()
}

/// A small archive whose owner named an approver, with one more document of the kind.
fn holding(kind: &str, bytes: &[u8]) -> Memory {
    small(|writer| {
        writer.keys(&with_approver(2));
        writer.document(kind, bytes);
    })
}

fn name_of(kind: &str, bytes: &[u8]) -> String {
    layout::document(kind, Digest::of(bytes))
}

/// The one finding's code; it names the document.
fn code(kind: &str, bytes: &[u8]) -> String {
    let verdict = holding(kind, bytes).judge();
    let [finding] = verdict.findings.as_slice() else { panic!("{:?}", verdict.findings) };
    assert_eq!((finding.object.as_str(), finding.index), (name_of(kind, bytes).as_str(), Some(5)));
    assert_eq!(verdict.documents[0].signer, None);
    finding.code.to_string()
}

fn signers(verdict: &Verdict) -> Vec<(&str, Option<&str>)> {
    verdict.documents.iter().map(|document| (document.kind.as_str(), document.signer.as_deref())).collect()
}

#[test]
fn what_an_approver_signed_is_that_approvers_and_the_verdict_counts_it() {
    let response = Approval::Response(Response {
        format: Kind::Response.format().into(),
        origin: ORIGIN.into(),
        approver: NAME.into(),
        made_at: at("2026-11-01T00:00:00Z"),
        deviation: Some("D-0123456789ab".into()),
        control: None,
        text: "a contractor's account".into(),
        remediation: None,
        remediation_by: None,
    });
    let decision = Approval::Decision(Decision {
        format: Kind::Decision.format().into(),
        origin: ORIGIN.into(),
        approver: NAME.into(),
        made_at: at("2026-11-01T00:00:00Z"),
        citation: "164.312(a)(2)(iv)".into(),
        decision: Choice::Implemented,
        reason: "as written".into(),
        alternative: None,
    });
    let memory = small(|writer| {
        writer.keys(&with_approver(2));
        writer.document("waiver", &signed(waiver(), &approver()));
        for approval in [response, decision] {
            let kind = approval.kind().as_str();
            writer.document(kind, &Signed::new(approval, &approver()).unwrap().to_bytes());
        }
    });
    let verdict = memory.judge();
    assert_eq!(verdict.findings, []);
    let name = Some(NAME);
    assert_eq!(signers(&verdict), [("waiver", name), ("response", name), ("decision", name)]);
    assert_eq!(verdict.documents.iter().map(|d| d.index).collect::<Vec<_>>(), [5, 6, 7]);
    let says = &verdict.sections.iter().find(|section| section.name == "approvals").unwrap().says;
    assert_eq!(says, "signed by approvers whom the owner named: 1 waiver, 1 response, 1 decision");
    assert!(verdict.limits.iter().all(|limit| limit.code != "DOCUMENT-KIND"), "{:?}", verdict.limits);
    assert!(verdict.documents.iter().all(|document| document.not_after.is_none()), "nobody's time is trusted");
}

#[test]
fn a_document_of_another_kind_is_said_not_to_be_read() {
    let verdict = holding("letter", b"{}").judge();
    assert_eq!((verdict.findings.len(), signers(&verdict)), (0, vec![("letter", None)]));
    assert!(verdict.limits.iter().any(|limit| limit.code == "DOCUMENT-KIND"), "{:?}", verdict.limits);
}

#[test]
fn a_waiver_by_anybody_else_is_a_finding() {
    let stranger = FileKey::from_seed(&[99; 32]);
    for by in [&receipts_key(), &checkpoints_key(), &root_key(), &stranger] {
        assert_eq!(code("waiver", &signed(waiver(), by)), "APPROVAL-KEY", "{}", by.public());
    }
    let other = Waiver { approver: "Charles Babbage".into(), ..waiver() };
    assert_eq!(code("waiver", &signed(other, &approver())), "APPROVAL-KEY");
    let elsewhere = Waiver { origin: "example.org/other".into(), ..waiver() };
    assert_eq!(code("waiver", &signed(elsewhere, &approver())), "ORIGIN");
}

#[test]
fn a_waiver_that_is_no_waiver_or_not_what_was_signed_is_a_finding() {
    let good = signed(waiver(), &approver());
    assert_eq!(code("response", &good), "DOCUMENT-MALFORMED");
    assert_eq!(code("waiver", b"{}"), "DOCUMENT-MALFORMED");
    assert_eq!(code("waiver", &[good.clone(), b"\n".to_vec()].concat()), "DOCUMENT-MALFORMED");
    assert_eq!(code("waiver", &vec![b' '; 40_000]), "DOCUMENT-MALFORMED");
    // Another text under the same signature.
    let read: serde_json::Value = serde_json::from_slice(&good).unwrap();
    let other: serde_json::Value =
        serde_json::from_slice(&signed(Waiver { reason: "another one".into(), ..waiver() }, &approver())).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let moved = text.replace(read["payload"].as_str().unwrap(), other["payload"].as_str().unwrap());
    assert_eq!(code("waiver", moved.as_bytes()), "APPROVAL-SIGNATURE");
    let foreign = approver().sign(&pae("application/json", Signed::from_bytes(&good).unwrap().payload())).unwrap();
    let sig = serde_json::to_value(base64(&foreign)).unwrap();
    let relabelled = text.replace(read["signatures"][0]["sig"].as_str().unwrap(), sig.as_str().unwrap());
    assert_eq!(code("waiver", relabelled.as_bytes()), "APPROVAL-SIGNATURE");
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

#[test]
fn a_waiver_that_is_altered_or_taken_away_after_it_was_logged_is_a_finding() {
    let bytes = signed(waiver(), &approver());
    let (mut memory, name) = (holding("waiver", &bytes), name_of("waiver", &bytes));
    memory.objects.insert(name.clone(), signed(Waiver { until: at("2028-01-01T00:00:00Z"), ..waiver() }, &approver()));
    assert_eq!(found(&memory.judge()), [("DOCUMENT-DIGEST".to_owned(), name.clone())].into());
    memory.objects.remove(&name);
    assert_eq!(found(&memory.judge()), [("DOCUMENT-MISSING".to_owned(), name)].into());
}

#[test]
fn an_approver_signs_only_from_the_revision_on_that_names_them_and_until_another_key_follows() {
    let bytes = signed(waiver(), &approver());
    let early = small(|writer| {
        writer.document("waiver", &bytes);
        writer.keys(&with_approver(2));
    });
    let verdict = early.judge();
    assert_eq!(found(&verdict), [("APPROVAL-KEY".to_owned(), name_of("waiver", &bytes))].into());
    let late = small(|writer| {
        writer.keys(&with_approver(2));
        let mut set = with_approver(3);
        let next = FileKey::from_seed(&[22; 32]);
        let mut key = key_entry(&next, Use::Approvals);
        key.name = Some(NAME.into());
        (set.keys[2].superseded_by, set.keys[2].lost) = (Some(key.key_id.clone()), true);
        set.keys.push(key);
        writer.keys(&set);
        writer.document("waiver", &bytes);
        writer.document("waiver", &signed(waiver(), &next));
    });
    let verdict = late.judge();
    assert_eq!(found(&verdict), [("APPROVAL-KEY".to_owned(), name_of("waiver", &bytes))].into());
    assert_eq!(signers(&verdict), [("waiver", None), ("waiver", Some(NAME))]);
    let mut ended = with_approver(2);
    ended.keys[2].valid.until = Some(at("2026-11-01T00:05:00Z"));
    let memory = small(|writer| {
        writer.keys(&ended);
        writer.document("waiver", &bytes);
    });
    assert_eq!(found(&memory.judge()), [("APPROVAL-KEY".to_owned(), name_of("waiver", &bytes))].into());
}

/// Anchored at minutes 2, 12, 22, 32 and 42; the waiver is logged at minute 20, and says that it was made long before.
fn dated() -> (Memory, String) {
    let bytes = signed(Waiver { made_at: at("2026-01-01T00:00:00Z"), ..waiver() }, &approver());
    let memory = anchored(|n, writer| match n {
        1 => writer.keys(&with_approver(2)),
        2 => drop(writer.document("waiver", &bytes)),
        _ => {}
    });
    (memory, name_of("waiver", &bytes))
}

#[test]
fn a_waiver_is_dated_by_trusted_time_and_never_by_itself() {
    let (memory, name) = dated();
    let verdict = memory.judge_with(&believing()).unwrap();
    assert_eq!(verdict.findings, []);
    let [document] = verdict.documents.as_slice() else { panic!("{:?}", verdict.documents) };
    let second = TimeDelta::seconds(1);
    assert_eq!((document.not_before, document.not_after), (Some(minute(12) - second), Some(minute(22) + second)));
    assert_eq!((document.name.as_str(), document.sealed_at), (name.as_str(), minute(20)));
    let alone = memory.judge();
    assert_eq!((alone.documents[0].not_before, alone.documents[0].not_after), (None, None));
}

#[test]
fn of_a_revoked_approver_what_trusted_time_puts_before_it_stays_and_the_rest_is_refused() {
    let (memory, name) = dated();
    let judge = |since, options: Options<'static>| {
        let mut set = with_approver(3);
        set.keys[2].compromised_since = Some(since);
        let keys = Some(set.sign(&root_key()).unwrap());
        memory.judge_with(&Options { keys, ..options }).unwrap()
    };
    let before = judge(minute(25), believing());
    assert_eq!((before.findings.len(), signers(&before)), (0, vec![("waiver", Some(NAME))]));
    for (since, options) in [(minute(15), believing()), (minute(25), Options::trusting(trust()))] {
        let verdict = judge(since, options);
        assert_eq!(found(&verdict), [("KEY-COMPROMISED".to_owned(), name.clone())].into());
        assert_eq!(signers(&verdict), [("waiver", None)]);
    }
}

#[test]
fn a_waiver_in_a_package_by_itself_is_checked_too() {
    let packed = |archive: &Memory, index| {
        let mut objects = BTreeMap::new();
        make(archive, index, &mut |name, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            objects.insert(name.to_owned(), bytes);
            Ok(())
        })
        .unwrap();
        Memory { objects, refused: BTreeSet::new() }
    };
    let judge = |memory: &Memory| entry(&packed(memory, 5), &Options::trusting(trust())).unwrap();
    let verdict = judge(&holding("waiver", &signed(waiver(), &approver())));
    assert_eq!(verdict.findings, []);
    let says = &verdict.sections.iter().find(|section| section.name == "approval").unwrap().says;
    assert_eq!(says, "a waiver, signed by Ada Lovelace, whom the owner named");
    let verdict = judge(&holding("waiver", &signed(waiver(), &receipts_key())));
    let codes: Vec<_> = verdict.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["APPROVAL-KEY"]);
}
