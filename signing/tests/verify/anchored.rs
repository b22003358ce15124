//! Trusted time and witnesses: what tokens and cosignatures show of an archive, and what becomes of the verdict when they are changed.

use std::sync::LazyLock;

use chrono::TimeDelta;
use signing::{
    digest::Digest,
    keys::{FileKey, Signer as _},
    layout::{self, Anchor},
    log::{
        Checkpoint,
        cosignature::{Cosignature, WitnessKey},
    },
    seal::Seal,
    statement::Anchored,
    time::Utc,
    verify::{Options, Verdict, Witnesses},
};

use super::sound::*;
use crate::tsa::{Tsa, p256};

pub fn tsa() -> &'static Tsa {
    static TSA: LazyLock<Tsa> = LazyLock::new(|| Tsa::new(p256(3)));
    &TSA
}

pub fn believing() -> Options<'static> {
    Options { timestamp_roots: tsa().roots(), ..Options::trusting(trust()) }
}

fn judge(memory: &Memory) -> Verdict {
    memory.judge_with(&believing()).unwrap()
}

pub fn minute(n: i64) -> Utc {
    at("2026-11-22T04:00:00Z") + TimeDelta::minutes(n)
}

/// Keys and a plan (entries 0 and 1) at minute 0, then four runs by hand, one every ten minutes, each appended a minute after it, and
/// anchored a minute after that. `change` comes before each run.
pub fn anchored(mut change: impl FnMut(usize, &mut Writer)) -> Memory {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path());
    writer.now = minute(0);
    writer.keys(&key_set(1));
    writer.plan(&[], "collect by hand");
    writer.append();
    writer.anchor(tsa(), minute(2));
    for n in 1..=4 {
        writer.now = minute(10 * n);
        change(n as usize, &mut writer);
        writer.run(&job("host/accounts"), None);
        writer.append();
        writer.anchor(tsa(), minute(10 * n + 2));
    }
    Memory::read(dir.path())
}

fn limits(verdict: &Verdict) -> Vec<&str> {
    verdict.limits.iter().map(|limit| limit.code).collect()
}

fn codes(verdict: &Verdict) -> Vec<&str> {
    verdict.findings_by_code.keys().map(|code| code.as_str()).collect()
}

/// The tokens and checkpoints, in order of size.
pub fn anchors(memory: &Memory, kind: Anchor) -> Vec<String> {
    let mut names = memory.names("anchor/");
    names.retain(|name| name.ends_with(kind.extension()));
    names.sort_by_key(|name| layout::parse_anchor(name).map(|(size, ..)| size));
    names
}

#[test]
fn entries_lie_between_the_tokens_that_they_name_and_those_that_cover_them() {
    let verdict = judge(&anchored(|_, _| {}));
    assert_eq!(verdict.findings, []);
    assert_eq!(limits(&verdict), ["TIME-OPEN", "TAIL-UNPINNED", "NO-OBJECT-LOCK"]);
    let time = &verdict.time;
    assert_eq!((time.checkpoint_tokens, time.seal_tokens, time.untrusted_tokens), (5, 0, 0));
    assert_eq!((time.authorities.len(), time.authorities[0].tokens), (1, 5));
    // The first two entries were there before anybody outside had seen anything.
    let entries = &time.entries;
    assert_eq!((entries.both, entries.above, entries.below, entries.none), (4, 2, 0, 0));
    // From a second before one token to a second after the next.
    let widest = entries.widest.as_ref().unwrap();
    assert_eq!((widest.index, widest.seconds), (2, 602));
    assert_eq!((verdict.as_of, verdict.as_of_from), (Some(minute(42) - TimeDelta::seconds(1)), "trusted_time"));
    let says = &verdict.sections.iter().find(|section| section.name == "time").unwrap().says;
    assert!(says.contains("5 tokens of \"Time Stamping Unit\" under"), "{says}");
    assert!(says.contains("4 of 6 entries between two trusted times, the widest 10 min (entry 2)"), "{says}");
}

#[test]
fn tokens_of_authorities_that_were_not_given_prove_nothing_and_are_no_finding() {
    let verdict = anchored(|_, _| {}).judge();
    assert_eq!(verdict.findings, []);
    assert_eq!(limits(&verdict), ["TIME-UNTRUSTED", "TAIL-UNPINNED", "NO-OBJECT-LOCK", "TIME-AUTHORITY"]);
    assert_eq!(
        (verdict.time.checkpoint_tokens, verdict.time.untrusted_tokens, verdict.as_of_from),
        (0, 5, "newest_entry")
    );
}

#[test]
fn an_entry_that_is_back_dated_or_dated_ahead_is_a_finding() {
    for (hours, word) in [(-5, "not before 2026-11-22T04:11:59Z"), (5, "not after 2026-11-22T04:22:01Z")] {
        let verdict = judge(&anchored(|n, writer| {
            if n == 2 {
                writer.now += TimeDelta::hours(hours);
            }
        }));
        assert_eq!(codes(&verdict), ["SEAL-TIME"], "{:?}", verdict.findings);
        assert_eq!(verdict.findings[0].index, Some(3));
        assert!(verdict.findings[0].says.contains(word), "{:?}", verdict.findings);
    }
}

#[test]
fn a_clock_that_is_off_by_less_than_an_hour_is_a_limit() {
    let verdict = judge(&anchored(|n, writer| {
        if n == 2 {
            writer.now -= TimeDelta::minutes(30);
        }
    }));
    assert_eq!(verdict.findings, []);
    let limit = verdict.limits.iter().find(|limit| limit.code == "CLOCK-OFF").unwrap();
    assert!(limit.says.starts_with("1 entries, the first of them 3"), "{limit:?}");
}

#[test]
fn a_token_or_checkpoint_that_is_rested_on_and_gone_is_missing() {
    let sound = anchored(|_, _| {});
    for gone in &anchors(&sound, Anchor::Token)[..4] {
        let mut memory = sound.clone();
        memory.objects.remove(gone);
        assert_eq!(found(&judge(&memory)), [("ANCHOR-MISSING".to_owned(), gone.clone())].into());
    }
    let tokens = anchors(&sound, Anchor::Token);
    for (at, gone) in anchors(&sound, Anchor::Checkpoint).iter().enumerate() {
        let mut memory = sound.clone();
        memory.objects.remove(gone);
        assert_eq!(found(&judge(&memory)), [("ANCHOR-MISSING".to_owned(), tokens[at].clone())].into());
    }
}

#[test]
fn the_newest_token_that_is_gone_takes_its_time_away_and_the_verdict_says_so() {
    let mut memory = anchored(|_, _| {});
    let newest = anchors(&memory, Anchor::Token).remove(4);
    memory.objects.remove(&newest);
    let verdict = judge(&memory);
    assert_eq!(verdict.findings, []);
    assert_eq!((verdict.time.entries.both, verdict.time.entries.below), (3, 1));
    assert_eq!(verdict.time.newest, Some(minute(32) - TimeDelta::seconds(1)));
    assert_eq!((verdict.as_of, verdict.as_of_from), (verdict.newest_entry_at, "newest_entry"));
}

#[test]
fn slots_after_the_newest_token_are_judged_although_no_authority_answered_since() {
    let (anchored, last) = (at("2026-11-22T05:05:00Z"), at("2026-11-22T09:05:00Z"));
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path());
    writer.now = minute(0);
    writer.keys(&key_set(1));
    writer.plan(&["host/accounts"], "started");
    writer.now = minute(60);
    writer.run(&job("host/accounts"), Some(minute(0)));
    writer.run(&job("host/accounts"), Some(minute(60)));
    writer.append();
    writer.anchor(tsa(), anchored);
    // Four hours without a token, and with nothing but a run by hand at their end.
    writer.now = last;
    writer.run(&job("host/sshd"), None);
    writer.append();
    let verdict = judge(&Memory::read(dir.path()));
    assert_eq!(codes(&verdict), ["SLOT-MISSING"]);
    let says = &verdict.findings[0].says;
    assert!(says.contains("3 slots of host/accounts@this from 2026-11-22T06:00:00Z to 2026-11-22T08:00:00Z"), "{says}");
}

#[test]
fn a_token_that_was_altered_or_is_of_another_message_is_a_finding() {
    let sound = anchored(|_, _| {});
    let name = anchors(&sound, Anchor::Token).remove(4);
    let (size, ..) = layout::parse_anchor(&name).unwrap();
    let mut altered = sound.clone();
    let bytes = altered.objects.get_mut(&name).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(found(&judge(&altered)), [("ANCHOR-BYTES".to_owned(), name.clone())].into());
    // The same under a name that fits, and a genuine token of something else.
    let other = token(tsa(), b"another message", minute(42));
    for bytes in [altered.objects[&name].clone(), other, b"no token".to_vec()] {
        let mut memory = sound.clone();
        memory.objects.remove(&name);
        let name = layout::anchor(size, Digest::of(&bytes), Anchor::Token);
        memory.objects.insert(name.clone(), bytes);
        assert_eq!(found(&judge(&memory)), [("ANCHOR-TOKEN".to_owned(), name)].into());
    }
}

#[test]
fn a_log_that_was_cut_is_seen_by_the_checkpoint_that_an_authority_saw() {
    let mut states = Vec::new();
    let mut after = anchored(|n, writer| {
        if n == 4 {
            states.push(Memory::read(&writer.dir));
        }
    });
    // Everything of the last run is taken away but what was anchored.
    after.objects.retain(|name, _| name.starts_with("anchor/"));
    let newest = anchors(&after, Anchor::Checkpoint).remove(4);
    after.objects.extend(states.remove(0).objects);
    assert_eq!(found(&judge(&after)), [("LOG-ROLLED-BACK".to_owned(), newest)].into());
}

#[test]
fn a_log_that_was_written_anew_is_seen_by_the_checkpoint_that_an_authority_saw() {
    let seen = anchored(|_, _| {});
    let mut anew = anchored(|n, writer| {
        if n == 3 {
            writer.now += TimeDelta::seconds(1);
        }
    });
    let first = anchors(&seen, Anchor::Checkpoint).remove(3);
    let second = anchors(&seen, Anchor::Checkpoint).remove(4);
    anew.objects.extend(seen.objects.into_iter().filter(|(name, _)| name.starts_with("anchor/")));
    let wanted = [first, second].map(|name| ("LOG-FORKED".to_owned(), name));
    assert_eq!(found(&judge(&anew)), wanted.into());
}

#[test]
fn a_checkpoint_that_the_owner_did_not_sign_is_no_anchor() {
    let mut memory = anchored(|_, _| {});
    for size in [4, 40] {
        let forged = Checkpoint { origin: ORIGIN.into(), size, root: Digest::of(b"forged") };
        let bytes = forged.sign(&FileKey::from_seed(&[77; 32])).unwrap();
        let name = layout::anchor(size, Digest::of(&bytes), Anchor::Checkpoint);
        memory.objects.insert(name.clone(), bytes);
        assert!(found(&judge(&memory)).contains(&("ANCHOR-CHECKPOINT".to_owned(), name)));
    }
    let verdict = judge(&memory);
    assert_eq!(codes(&verdict), ["ANCHOR-CHECKPOINT"]);
}

#[test]
fn what_trusted_time_puts_before_a_compromise_stays_valid_and_what_comes_later_is_refused() {
    let memory = anchored(|_, _| {});
    let revised = |since: Utc| {
        let mut set = key_set(2);
        set.keys[0].compromised_since = Some(since);
        set.sign(&root_key()).unwrap()
    };
    let judge = |keys, roots| {
        memory.judge_with(&Options { keys: Some(keys), timestamp_roots: roots, ..Options::trusting(trust()) }).unwrap()
    };
    // Entries 0 to 3 were in the log by minute 22.
    let verdict = judge(revised(minute(25)), tsa().roots());
    let refused: Vec<_> = verdict.findings.iter().map(|f| (f.code.as_str(), f.index)).collect();
    assert_eq!(refused, [("KEY-COMPROMISED", Some(4)), ("KEY-COMPROMISED", Some(5))]);
    // Nobody believed: nothing is shown to be older.
    let verdict = judge(revised(minute(25)), Default::default());
    assert_eq!(verdict.findings_total, 6);
}

#[test]
fn a_token_in_a_seal_bounds_its_entry_and_shows_it_older_than_a_compromise() {
    let mut memory = small(|_| {});
    let with_token = |memory: &mut Memory, name: &str, message: Option<&[u8]>, time| {
        let mut seal = Seal::from_bytes(&memory.objects[name]).unwrap();
        let message = message.map_or(seal.signature.to_vec(), <[u8]>::to_vec);
        seal.timestamps = vec![token(tsa(), &message, time)];
        memory.objects.insert(name.to_owned(), seal.to_bytes());
    };
    for name in memory.names("seal/") {
        with_token(&mut memory, &name, None, at("2026-11-22T05:00:00Z"));
    }
    let options = || Options { timestamp_roots: tsa().roots(), ..Options::trusting(trust()) };
    let verdict = memory.judge_with(&options()).unwrap();
    assert_eq!((verdict.findings_total, verdict.time.seal_tokens, verdict.time.entries.above), (0, 4, 4));
    let mut set = key_set(2);
    set.keys[0].compromised_since = Some(at("2026-11-22T06:00:00Z"));
    let keys = Some(set.sign(&root_key()).unwrap());
    assert_eq!(memory.judge_with(&Options { keys, ..options() }).unwrap().findings, []);
    let first = memory.names("seal/").remove(0);
    with_token(&mut memory, &first, Some(b"another seal's signature"), at("2026-11-22T05:00:00Z"));
    let verdict = memory.judge_with(&options()).unwrap();
    assert_eq!(found(&verdict), [("SEAL-TOKEN".to_owned(), first)].into());
}

#[test]
fn a_token_that_no_earlier_entry_can_have_known_is_a_finding() {
    let memory = small(|writer| {
        writer.anchor = Some(Anchored { size: 40, token: Digest::of(b"x") });
        writer.run(&job("host/sshd"), None);
    });
    assert_eq!(codes(&judge(&memory)), ["LOG-ORDER", "ANCHOR-MISSING"]);
}

pub fn witness(seed: u8) -> (WitnessKey, FileKey) {
    let key = FileKey::from_seed(&[seed; 32]);
    (WitnessKey::new(&format!("witness-{seed}.example"), *key.public()).unwrap(), key)
}

/// Adds a witness's line over the anchored checkpoint at this place.
pub fn cosign(memory: &mut Memory, place: usize, seed: u8) -> String {
    let checkpoint = anchors(memory, Anchor::Checkpoint).remove(place);
    let said = Checkpoint::parse_unverified(&memory.objects[&checkpoint]).unwrap();
    let (witness, key) = witness(seed);
    let line = Cosignature::sign(&witness, &key, said.text().as_bytes(), minute(50)).unwrap().to_line().into_bytes();
    let name = layout::anchor(said.size, Digest::of(&line), Anchor::Cosignature);
    memory.objects.insert(name.clone(), line);
    name
}

pub fn relying_on(seeds: &[u8], needed: Option<usize>) -> Options<'static> {
    let keys = seeds.iter().map(|seed| witness(*seed).0).collect();
    Options { witnesses: Witnesses { keys, needed }, ..believing() }
}

#[test]
fn enough_witnesses_pin_the_log_and_can_alone_tell_whether_it_was_longer() {
    let mut memory = anchored(|_, _| {});
    cosign(&mut memory, 4, 7);
    cosign(&mut memory, 4, 8);
    let verdict = memory.judge_with(&relying_on(&[7, 8, 9], Some(2))).unwrap();
    assert_eq!(verdict.findings, []);
    let limit = verdict.limits.iter().find(|limit| limit.code == "TAIL-UNPINNED").unwrap();
    assert!(limit.says.contains("over 6 entries") && limit.says.ends_with("ask them"), "{limit:?}");
    let head = verdict.witnessed.unwrap();
    assert_eq!((head.size, head.at), (6, Some(minute(50))));
    assert_eq!(head.witnesses, ["witness-7.example", "witness-8.example"]);
}

#[test]
fn too_few_witnesses_are_a_finding_and_those_of_nobody_count_nothing() {
    let mut memory = anchored(|_, _| {});
    cosign(&mut memory, 4, 7);
    cosign(&mut memory, 4, 10);
    for options in [relying_on(&[7, 8, 9], Some(2)), relying_on(&[7, 8], None), relying_on(&[9], None)] {
        let verdict = memory.judge_with(&options).unwrap();
        assert_eq!(codes(&verdict), ["WITNESS-QUORUM"]);
        assert!(limits(&verdict).contains(&"TAIL-UNPINNED"));
    }
}

#[test]
fn entries_after_the_last_witnessed_checkpoint_are_not_pinned() {
    let mut memory = anchored(|_, _| {});
    cosign(&mut memory, 2, 7);
    let verdict = memory.judge_with(&relying_on(&[7], None)).unwrap();
    assert_eq!(verdict.findings, []);
    let limit = verdict.limits.iter().find(|limit| limit.code == "TAIL-UNPINNED").unwrap();
    assert!(limit.says.contains("signed a checkpoint over 4 entries"), "{limit:?}");
}

#[test]
fn a_line_that_the_witness_did_not_sign_is_a_finding() {
    let mut memory = anchored(|_, _| {});
    // Over another checkpoint of the same log.
    let line = cosign(&mut memory, 2, 7);
    let bytes = memory.objects.remove(&line).unwrap();
    let name = layout::anchor(6, Digest::of(&bytes), Anchor::Cosignature);
    memory.objects.insert(name.clone(), bytes);
    let found = found(&memory.judge_with(&relying_on(&[7], None)).unwrap());
    assert!(found.contains(&("ANCHOR-COSIGNATURE".to_owned(), name)), "{found:?}");
    assert!(found.iter().any(|(code, _)| code == "WITNESS-QUORUM"), "{found:?}");
}

#[test]
fn anchors_that_cannot_be_read_leave_the_question_open() {
    for refused in ["anchor/".to_owned(), anchors(&anchored(|_, _| {}), Anchor::Token).remove(0)] {
        let mut memory = anchored(|_, _| {});
        memory.refused.insert(refused.clone());
        let error = memory.judge_with(&believing()).unwrap_err();
        assert_eq!(error.object, refused);
    }
}
