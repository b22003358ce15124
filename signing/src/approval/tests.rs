#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use super::*;
use crate::keys::{FORMAT, FileKey, Validity};

const ORIGIN: &str = "example.org/test";

fn at(text: &str) -> Utc {
    text.parse().unwrap()
}

fn key() -> FileKey {
    FileKey::from_seed(&[7; 32])
}

fn entry(key: &FileKey, use_: Use, name: Option<&str>) -> KeyEntry {
    KeyEntry {
        key_id: key.public().fingerprint(),
        spki: *key.public(),
        use_,
        name: name.map(str::to_owned),
        valid: Validity { from: at("2026-01-01T00:00:00Z"), until: None },
        compromised_since: None,
        superseded_by: None,
        lost: false,
    }
}

fn waiver() -> Waiver {
    Waiver {
        format: Kind::Waiver.format().into(),
        origin: ORIGIN.into(),
        approver: "Ada Lovelace".into(),
        made_at: at("2026-11-01T00:00:00Z"),
        control: Some("AC-01".into()),
        check: Some("aws/iam-users/mfa-enrolled".into()),
        job: Some("aws/iam-users@prod".parse().unwrap()),
        records: Records::These(vec!["alice".into(), "bob".into()]),
        reason: "A hardware key is on its way.\nIt comes by post.".into(),
        until: at("2027-03-01T00:00:00Z"),
        compensating: Some("AC-07".into()),
    }
}

fn response() -> Response {
    Response {
        format: Kind::Response.format().into(),
        origin: ORIGIN.into(),
        approver: "Ada Lovelace".into(),
        made_at: at("2026-11-01T00:00:00Z"),
        deviation: Some("D-0123456789ab".into()),
        control: None,
        text: "The account was a contractor's.".into(),
        remediation: Some("It is disabled at the end of a contract.".into()),
        remediation_by: NaiveDate::from_ymd_opt(2026, 12, 1),
    }
}

fn decision() -> Decision {
    Decision {
        format: Kind::Decision.format().into(),
        origin: ORIGIN.into(),
        approver: "Ada Lovelace".into(),
        made_at: at("2026-11-01T00:00:00Z"),
        citation: "164.312(a)(2)(iv)".into(),
        decision: Choice::Alternative,
        reason: "The volume is encrypted below the database.".into(),
        alternative: Some("Encryption of volumes.".into()),
    }
}

fn all() -> [Approval; 3] {
    [Approval::Waiver(waiver()), Approval::Response(response()), Approval::Decision(decision())]
}

fn set() -> KeySet {
    let (root, agent) = (FileKey::from_seed(&[1; 32]), FileKey::from_seed(&[2; 32]));
    KeySet {
        format: FORMAT.into(),
        origin: ORIGIN.into(),
        revision: 1,
        root: *root.public(),
        keys: vec![entry(&agent, Use::Receipts, None), entry(&key(), Use::Approvals, Some("Ada Lovelace"))],
        made_at: at("2026-01-01T00:00:00Z"),
        consents: BTreeSet::new(),
    }
}

#[test]
fn what_a_person_signed_comes_back_and_is_that_persons() {
    for approval in all() {
        let signed = Signed::new(approval.clone(), &key()).unwrap();
        let read = Signed::from_bytes(&signed.to_bytes()).unwrap();
        assert_eq!((&read, &read.approval), (&signed, &approval));
        assert_eq!(
            read.verify_under(&set(), at("2026-11-02T00:00:00Z")).unwrap().name.as_deref(),
            Some("Ada Lovelace")
        );
    }
}

#[test]
fn every_altered_byte_is_seen() {
    for approval in all() {
        let bytes = Signed::new(approval, &key()).unwrap().to_bytes();
        for place in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[place] ^= 1;
            let believed = Signed::from_bytes(&altered)
                .and_then(|signed| signed.verify_under(&set(), at("2026-11-02T00:00:00Z")).map(drop));
            assert!(believed.is_err(), "byte {place}");
        }
    }
}

#[test]
fn nobody_signs_for_another() {
    let now = at("2026-11-02T00:00:00Z");
    let refused = |approval: Approval, by: &FileKey, set: &KeySet, now: Utc| {
        Signed::new(approval, by).unwrap().verify_under(set, now).unwrap_err()
    };
    let agent = FileKey::from_seed(&[2; 32]);
    let error = refused(Approval::Waiver(waiver()), &agent, &set(), now);
    assert!(matches!(error, ApprovalError::Key(KeyRefusal::WrongUse { .. })), "{error}");
    let stranger = FileKey::from_seed(&[9; 32]);
    let error = refused(Approval::Waiver(waiver()), &stranger, &set(), now);
    assert!(matches!(error, ApprovalError::Key(KeyRefusal::Unknown(_))), "{error}");
    let other = Approval::Waiver(Waiver { approver: "Charles Babbage".into(), ..waiver() });
    assert!(matches!(refused(other, &key(), &set(), now), ApprovalError::Name { .. }));
    let elsewhere = Approval::Waiver(Waiver { origin: "example.org/other".into(), ..waiver() });
    assert!(matches!(refused(elsewhere, &key(), &set(), now), ApprovalError::Origin { .. }));
    let mut revoked = set();
    revoked.keys[1].compromised_since = Some(at("2026-10-01T00:00:00Z"));
    let error = refused(Approval::Waiver(waiver()), &key(), &revoked, now);
    assert!(matches!(error, ApprovalError::Key(KeyRefusal::Compromised { .. })), "{error}");
}

#[test]
fn a_signature_is_for_one_kind_only() {
    let signed = Signed::new(Approval::Waiver(waiver()), &key()).unwrap();
    let moved = Envelope::new(Kind::Response.payload_type(), signed.payload(), &signed.key_id, &signed.signature);
    assert!(Signed::from_bytes(&serde_json::to_vec(&moved).unwrap()).is_err());
    let keys = Envelope::new(crate::keys::PAYLOAD_TYPE, signed.payload(), &signed.key_id, &signed.signature);
    let error = Signed::from_bytes(&serde_json::to_vec(&keys).unwrap()).unwrap_err();
    assert!(matches!(error, ApprovalError::Envelope(_)), "{error}");
}

#[test]
fn a_document_has_one_spelling() {
    let bytes = Signed::new(Approval::Waiver(waiver()), &key()).unwrap().to_bytes();
    let spaced = [b" ".as_slice(), &bytes].concat();
    assert!(matches!(Signed::from_bytes(&spaced), Err(ApprovalError::Spelling)));
}

#[test]
fn what_the_format_does_not_allow_is_neither_signed_nor_read() {
    let refused = |approval: Approval, wanted: &str| {
        let error = Signed::new(approval.clone(), &key()).unwrap_err();
        assert!(matches!(&error, ApprovalError::Member { member, .. } if *member == wanted), "{wanted}: {error}");
        let payload = approval.payload().unwrap();
        let kind = approval.kind();
        let signature = key().sign(&pae(kind.payload_type(), &payload)).unwrap();
        let forged = Envelope::new(kind.payload_type(), &payload, &key().public().fingerprint(), &signature);
        assert!(Signed::from_bytes(&serde_json::to_vec(&forged).unwrap()).is_err(), "{wanted}");
    };
    let w = |change: &dyn Fn(&mut Waiver)| {
        let mut waiver = waiver();
        change(&mut waiver);
        Approval::Waiver(waiver)
    };
    refused(w(&|w| w.format = "evidenced-waiver/2".into()), "format");
    refused(w(&|w| w.origin.clear()), "origin");
    refused(w(&|w| w.approver = "Ada\u{7}".into()), "approver");
    refused(w(&|w| (w.control, w.check) = (None, None)), "control");
    refused(w(&|w| w.check = Some("mfa-enrolled".into())), "check");
    refused(w(&|w| w.records = Records::These(Vec::new())), "records");
    refused(w(&|w| w.records = Records::These(vec!["a".into(); MAX_RECORDS + 1])), "records");
    refused(w(&|w| w.reason = " \n".into()), "reason");
    refused(w(&|w| w.reason = "r".repeat(MAX_TEXT + 1)), "reason");
    refused(w(&|w| w.reason = "\u{1b}[2J".into()), "reason");
    refused(w(&|w| w.until = w.made_at), "until");
    refused(w(&|w| w.compensating = Some(String::new())), "compensating");
    let r = |change: &dyn Fn(&mut Response)| {
        let mut response = response();
        change(&mut response);
        Approval::Response(response)
    };
    refused(r(&|r| r.control = Some("AC-01".into())), "deviation");
    refused(r(&|r| r.deviation = None), "deviation");
    refused(r(&|r| r.deviation = Some("D-0123456789AB".into())), "deviation");
    refused(r(&|r| r.text.clear()), "text");
    refused(r(&|r| r.remediation = None), "remediation_by");
    let d = |change: &dyn Fn(&mut Decision)| {
        let mut decision = decision();
        change(&mut decision);
        Approval::Decision(decision)
    };
    for citation in ["", "164.312", "164.312(a)(2)(iv", "164.312(a)x", "165.312(a)", "164.3é2(a)", "164.312()"] {
        let fits = citation == "164.312";
        assert_eq!(Signed::new(d(&|d| d.citation = citation.into()), &key()).is_ok(), fits, "{citation}");
    }
    refused(d(&|d| d.alternative = None), "alternative");
    refused(d(&|d| d.decision = Choice::NotReasonable), "alternative");
}

#[test]
fn unknown_and_doubled_members_are_refused() {
    let payload = String::from_utf8(Approval::Waiver(waiver()).payload().unwrap()).unwrap();
    let kind = Kind::Waiver;
    for (from, to) in [
        ("{\"format\"", "{\"more\":1,\"format\""),
        ("{\"format\"", "{\"reason\":\"x\",\"format\""),
        ("[\"alice\",\"bob\"]", "\"some\""),
    ] {
        let payload = payload.replacen(from, to, 1);
        let signature = key().sign(&pae(kind.payload_type(), payload.as_bytes())).unwrap();
        let forged = Envelope::new(kind.payload_type(), payload.as_bytes(), &key().public().fingerprint(), &signature);
        let error = Signed::from_bytes(&serde_json::to_vec(&forged).unwrap()).unwrap_err();
        assert!(matches!(error, ApprovalError::Json(_)), "{to}: {error}");
    }
}
