//! One entry in a package: what trusted time, witnesses and newer keys show of it alone.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use signing::{
    layout::Anchor,
    package::make,
    verify::{EntryVerdict, Options, entry},
};

use super::{anchored::*, sound::*};

fn packed(archive: &Memory, index: u64) -> Memory {
    let mut objects = BTreeMap::new();
    make(archive, index, &mut |name, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        objects.insert(name.to_owned(), bytes);
        Ok(())
    })
    .unwrap();
    Memory { objects, refused: BTreeSet::new() }
}

fn judge(package: &Memory) -> EntryVerdict {
    entry(package, &believing()).unwrap()
}

fn codes(verdict: &EntryVerdict) -> Vec<&str> {
    verdict.findings_by_code.keys().map(|code| code.as_str()).collect()
}

fn limits(verdict: &EntryVerdict) -> Vec<&str> {
    verdict.limits.iter().map(|limit| limit.code).collect()
}

#[test]
fn an_entry_alone_lies_between_the_token_that_it_names_and_the_first_that_covers_it() {
    let archive = anchored(|_, _| {});
    let package = packed(&archive, 3);
    // Two checkpoints with their tokens, of the five that there are.
    assert_eq!(package.names("anchor/").len(), 4);
    let verdict = judge(&package);
    assert_eq!(verdict.findings, []);
    assert_eq!(limits(&verdict), ["ONE-ENTRY", "ONE-ENTRY-KEYS"]);
    assert_eq!(verdict.proved_in, [4, 6]);
    let widest = verdict.time.entries.widest.as_ref().unwrap();
    assert_eq!((widest.index, widest.seconds), (3, 602));
    assert_eq!(
        (widest.earliest, widest.latest),
        (minute(12) - TimeDelta::seconds(1), minute(22) + TimeDelta::seconds(1))
    );
    let unknown = entry(&package, &Options::trusting(trust())).unwrap();
    assert_eq!(limits(&unknown), ["TIME-UNTRUSTED", "TIME-AUTHORITY", "ONE-ENTRY", "ONE-ENTRY-KEYS"]);
    assert_eq!(unknown.findings, []);
}

#[test]
fn a_token_of_a_package_that_is_gone_or_altered_is_told() {
    let package = packed(&anchored(|_, _| {}), 3);
    let tokens = anchors(&package, Anchor::Token);
    for (token, above, below) in [(&tokens[0], 1, 0), (&tokens[1], 0, 1)] {
        let mut gone = package.clone();
        gone.objects.remove(token);
        let verdict = judge(&gone);
        assert_eq!((verdict.time.entries.above, verdict.time.entries.below), (above, below));
        assert_eq!(limits(&verdict), ["TIME-OPEN", "ONE-ENTRY", "ONE-ENTRY-KEYS"]);
        let mut altered = package.clone();
        altered.objects.get_mut(token).unwrap().push(0);
        assert_eq!(codes(&judge(&altered)), ["ANCHOR-BYTES"]);
    }
    let checkpoint = anchors(&package, Anchor::Checkpoint).remove(1);
    let mut gone = package.clone();
    gone.objects.remove(&checkpoint);
    assert_eq!(codes(&judge(&gone)), ["ANCHOR-MISSING"]);
}

#[test]
fn an_entry_alone_that_is_back_dated_is_a_finding() {
    let archive = anchored(|n, writer| {
        if n == 2 {
            writer.now -= TimeDelta::hours(5);
        }
    });
    assert_eq!(codes(&judge(&packed(&archive, 3))), ["SEAL-TIME"]);
}

#[test]
fn newer_keys_refuse_an_entry_alone_that_no_trusted_time_puts_before_the_compromise() {
    let package = packed(&anchored(|_, _| {}), 3);
    let since = |since| {
        let mut set = key_set(2);
        set.keys[0].compromised_since = Some(since);
        let keys = Some(set.sign(&root_key()).unwrap());
        entry(&package, &Options { keys, ..believing() }).unwrap()
    };
    assert_eq!(since(minute(25)).findings, []);
    assert_eq!(codes(&since(minute(15))), ["KEY-COMPROMISED"]);
}

#[test]
fn witnesses_that_are_asked_for_must_have_signed_a_checkpoint_that_has_the_entry() {
    let mut archive = anchored(|_, _| {});
    cosign(&mut archive, 4, 7);
    let package = packed(&archive, 3);
    let relied = entry(&package, &relying_on(&[7], None)).unwrap();
    assert_eq!(relied.findings, []);
    assert!(relied.sections.iter().any(|section| section.says.contains("witness-7.example signed")), "{relied:?}");
    let other = entry(&package, &relying_on(&[8], None)).unwrap();
    assert_eq!(codes(&other), ["WITNESS-QUORUM"]);
}
