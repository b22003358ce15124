//! Verification of a sound archive, and of copies of it with one thing changed.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod alone;
mod anchored;
mod approvals;
#[path = "../timestamp/asn1.rs"]
mod asn1;
mod changed;
mod deep;
mod forged;
mod growing;
mod long;
mod places;
mod promises;
mod sample;
mod since;
mod sound;
mod tamper;
#[path = "../timestamp/tsa.rs"]
#[allow(dead_code)]
mod tsa;
mod unreadable;

use signing::verify::Options;
use sound::*;

#[test]
fn a_sound_archive_is_intact() {
    let memory = sound();
    let verdict = memory.judge_with(&Options { deep: Some(&Lengths), ..Options::trusting(trust()) }).unwrap();
    assert_eq!(verdict.findings, []);
    assert!(verdict.intact);
    assert_eq!(verdict.statement, "ARCHIVE INTACT, with 3 limits. This says nothing about the controls.");
    let numbers = &verdict.numbers;
    assert_eq!((numbers.entries, numbers.receipts, numbers.missed, numbers.plans, numbers.keys), (265, 261, 1, 2, 1));
    assert_eq!((numbers.seals, numbers.bundles, numbers.opened, numbers.rederived), (265, 261, 261, 261));
    let coverage = verdict.coverage.unwrap();
    assert_eq!((coverage.total.judged, coverage.total.uncovered, coverage.by_hand), (260, 0, 2));
    assert_eq!(verdict.pending.total, 0);
    assert_eq!(numbers.objects, memory.objects.len() as u64);
    let codes: Vec<_> = verdict.limits.iter().map(|limit| limit.code).collect();
    assert_eq!(codes, ["TIME-UNTRUSTED", "TAIL-UNPINNED", "NO-OBJECT-LOCK"]);
}

#[test]
fn a_verdict_is_the_same_with_one_thread_and_with_many() {
    let mut memory = sound();
    for name in memory.names("bundle/").iter().step_by(3) {
        memory.objects.get_mut(name).unwrap().push(b'X');
    }
    for name in memory.names("seal/").iter().step_by(5) {
        memory.objects.remove(name);
    }
    let judge = |threads| {
        let options = Options { threads: Some(threads), ..Options::trusting(trust()) };
        serde_json::to_string(&memory.judge_with(&options).unwrap()).unwrap()
    };
    assert_eq!(judge(1), judge(4));
}

#[test]
fn slots_are_judged_up_to_as_of_and_their_silence_is_told() {
    let as_of = at("2026-11-07T00:00:00Z");
    let verdict = sound().judge_with(&Options { as_of: Some(as_of), ..Options::trusting(trust()) }).unwrap();
    let coverage = verdict.coverage.as_ref().unwrap();
    // 12 more hours of two jobs; the slot of the last hour is still within its time.
    assert_eq!(coverage.total.uncovered, 26);
    assert!(verdict.findings.iter().all(|f| f.code.as_str() == "SLOT-MISSING"), "{:?}", verdict.findings);
    let says = &verdict.sections.iter().find(|s| s.name == "coverage").unwrap().says;
    assert!(says.contains("as of 2026-11-07T00:00:00Z") && says.contains("log silent for 13 h 57 min"), "{says}");
}

#[test]
fn a_bundle_that_is_gone_after_its_retention_is_expired_and_no_finding() {
    let mut memory = small(|_| {});
    let bundle = memory.names("bundle/").remove(0);
    memory.objects.remove(&bundle);
    let judge = |as_of| memory.judge_with(&Options { as_of: Some(at(as_of)), ..Options::trusting(trust()) }).unwrap();
    let kept = judge("2027-12-05T00:00:00Z");
    assert_eq!(found(&kept), [("BUNDLE-MISSING".to_owned(), bundle)].into());
    let expired = judge("2027-12-07T00:00:00Z");
    assert_eq!((expired.intact, expired.numbers.expired, expired.numbers.bundles), (true, 1, 1));
}
