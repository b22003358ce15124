//! An archive that has grown since the auditor kept its checkpoint: the past is proved to be the kept one, and only what is new is read.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use chrono::TimeDelta;
use signing::{
    keys::{KeySet, Use},
    log::Checkpoint,
    store::{Hold, Reader},
    verify::{Kept, Options, Verdict, verify},
};

use super::{long::long, sound::*};

/// Counts what is asked for, and remembers it.
struct Watched<'a> {
    memory: &'a Memory,
    asked: AtomicUsize,
    named: Mutex<BTreeSet<String>>,
    listed: Mutex<BTreeSet<String>>,
}

impl<'a> Watched<'a> {
    fn new(memory: &'a Memory) -> Self {
        Self { memory, asked: AtomicUsize::new(0), named: Mutex::default(), listed: Mutex::default() }
    }
}

impl Reader for Watched<'_> {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn io::Read + Send + '_>>> {
        self.asked.fetch_add(1, SeqCst);
        self.named.lock().unwrap().insert(name.to_owned());
        self.memory.open(name)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        self.asked.fetch_add(1, SeqCst);
        self.listed.lock().unwrap().insert(prefix.to_owned());
        self.memory.list(prefix, each)
    }

    fn hold(&self) -> Hold {
        self.memory.hold()
    }
}

/// The sound archive at each of its appends, with the checkpoint as it was published then.
static STATES: LazyLock<Vec<(Vec<u8>, Memory)>> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let mut states = Vec::new();
    write_watched(dir.path(), &mut |writer| {
        let memory = Memory::read(&writer.dir);
        states.push((memory.objects["checkpoint"].clone(), memory));
    });
    states
});

fn kept(bytes: &[u8]) -> Kept {
    Kept { name: "kept".into(), bytes: bytes.to_vec() }
}

fn since(memory: &Memory, bytes: &[u8]) -> Verdict {
    let options = Options { since: Some(kept(bytes)), ..Options::trusting(trust()) };
    memory.judge_with(&options).unwrap()
}

fn size(bytes: &[u8]) -> u64 {
    Checkpoint::parse_unverified(bytes).unwrap().size
}

fn newest() -> &'static Memory {
    &STATES.last().unwrap().1
}

/// The checkpoint of the append before the last but one.
fn earlier() -> &'static [u8] {
    &STATES[STATES.len() - 3].0
}

fn codes(verdict: &Verdict) -> Vec<String> {
    found(verdict).into_iter().map(|(code, _)| code).collect()
}

#[test]
fn what_is_new_since_any_kept_checkpoint_is_intact_and_counted_alone() {
    let memory = newest();
    for (checkpoint, _) in STATES.iter() {
        let old = size(checkpoint);
        let verdict = since(memory, checkpoint);
        assert_eq!(verdict.findings, [], "since {old}");
        assert_eq!((verdict.since, verdict.checkpoint.root_agrees), (Some(old), Some(true)));
        assert_eq!(verdict.numbers.seals, 265 - old, "since {old}");
        assert!(verdict.statement.starts_with(&format!("INTACT SINCE ENTRY {old}, with ")), "{}", verdict.statement);
        let codes: Vec<_> = verdict.limits.iter().map(|limit| limit.code).collect();
        assert_eq!(codes, ["TIME-UNTRUSTED", "TAIL-UNPINNED", "NO-OBJECT-LOCK", "SINCE"]);
        assert_eq!(verdict.kept[0].agrees, Some(true));
    }
}

#[test]
fn slots_that_were_open_at_the_kept_checkpoint_are_judged() {
    let states = &*STATES;
    let last = states.len() - 1;
    let verdict = since(newest(), &states[last - 2].0);
    let coverage = verdict.coverage.unwrap();
    assert_eq!(coverage.total.uncovered, 0);
    // An hour of the newest append is without its receipt.
    let mut silent = STATES[last].1.clone();
    silent.objects.insert("checkpoint".into(), silent.objects["checkpoint"].clone());
    let options = Options {
        since: Some(kept(&states[last - 2].0)),
        as_of: Some(at("2026-11-06T13:00:00Z")),
        ..Options::trusting(trust())
    };
    let verdict = silent.judge_with(&options).unwrap();
    assert_eq!(codes(&verdict), ["SLOT-MISSING", "SLOT-MISSING"], "{:?}", verdict.findings);
}

#[test]
fn a_log_that_is_smaller_now_was_rolled_back() {
    let (_, before) = &STATES[STATES.len() - 3];
    let verdict = since(before, &newest().objects["checkpoint"]);
    assert_eq!(codes(&verdict), ["LOG-ROLLED-BACK"], "{:?}", verdict.findings);
    let says = &verdict.findings[0].says;
    assert!(says.contains("kept in kept is over 265 entries") && says.contains("were taken away since"), "{says}");
    assert!(verdict.statement.starts_with("NOT INTACT"), "{}", verdict.statement);
}

#[test]
fn a_log_with_another_past_is_forked() {
    let fork = |at: usize| {
        let dir = tempfile::tempdir().unwrap();
        let mut step = 0;
        write_watched(dir.path(), &mut |writer| {
            step += 1;
            if step == at {
                writer.now += TimeDelta::seconds(1);
                writer.run(&job("host/accounts"), None);
            }
        });
        Memory::read(dir.path())
    };
    let memory = fork(3);
    assert!(memory.judge().intact);
    for (checkpoint, _) in &STATES[3..] {
        let verdict = since(&memory, checkpoint);
        assert_eq!(codes(&verdict), ["LOG-FORKED"], "since {}: {:?}", size(checkpoint), verdict.findings);
        assert!(verdict.findings[0].says.contains("what was logged then was replaced since"));
    }
    let full = Options { kept: vec![kept(earlier())], ..Options::trusting(trust()) };
    assert_eq!(codes(&memory.judge_with(&full).unwrap()), ["LOG-FORKED"]);
}

#[test]
fn a_full_reading_compares_every_kept_checkpoint() {
    let all: Vec<Kept> = STATES.iter().map(|(checkpoint, _)| kept(checkpoint)).collect();
    let verdict = newest().judge_with(&Options { kept: all, ..Options::trusting(trust()) }).unwrap();
    assert!(verdict.intact, "{:?}", verdict.findings);
    assert_eq!(verdict.kept.len(), STATES.len());
    assert!(verdict.kept.iter().all(|kept| kept.agrees == Some(true)));
    assert_eq!(verdict.since, None);
    assert!(verdict.limits.iter().any(|l| l.code == "TAIL-UNPINNED" && l.says.contains("first 265 entries")));
}

#[test]
fn a_kept_checkpoint_that_is_not_the_owners_pins_nothing_and_is_no_verdict() {
    let memory = newest();
    let refused = |bytes: &[u8], reason: &str| {
        for (full, since) in [(vec![kept(bytes)], None), (vec![], Some(kept(bytes)))] {
            let error = memory.judge_with(&Options { kept: full, since, ..Options::trusting(trust()) }).unwrap_err();
            assert_eq!(error.object, "the kept checkpoint kept");
            assert!(error.reason.contains(reason), "{error}");
        }
    };
    let parsed = Checkpoint::parse_unverified(earlier()).unwrap();
    refused(&parsed.sign(&receipts_key()).unwrap(), "it pins nothing");
    refused(b"no note", "no signed note");
    let other = Checkpoint { origin: "example.org/other".into(), ..parsed };
    refused(&other.sign(&checkpoints_key()).unwrap(), "example.org/other");
    refused(&[b'x'; 100_000], "longer");
}

#[test]
fn each_change_of_what_is_new_is_found() {
    let sound = newest();
    let before: BTreeSet<&String> = STATES[STATES.len() - 3].1.objects.keys().collect();
    let mut changed = 0;
    for name in sound.objects.keys().filter(|name| !before.contains(name) && !name.starts_with("tile/")) {
        for remove in [true, false] {
            let mut memory = sound.clone();
            match remove {
                true => _ = memory.objects.remove(name),
                false => memory.objects.get_mut(name).unwrap().push(b' '),
            }
            let verdict = since(&memory, earlier());
            assert!(!verdict.intact, "{name} removed {remove}");
            assert_eq!(verdict.since, Some(size(earlier())));
        }
        changed += 1;
    }
    assert_eq!(changed, 2 * (265 - size(earlier())));
}

#[test]
fn damaged_tiles_lead_to_a_full_reading_that_names_them() {
    for name in ["tile/0/000", "tile/1/000.p/1", "tile/0/001.p/9", "tile/entries/001.p/9"] {
        for remove in [true, false] {
            let mut memory = newest().clone();
            match remove {
                true => _ = memory.objects.remove(name),
                false => memory.objects.get_mut(name).unwrap()[5] ^= 1,
            }
            let verdict = since(&memory, earlier());
            assert!(found(&verdict).iter().any(|(_, object)| object == name), "{name}: {:?}", verdict.findings);
        }
    }
}

#[test]
fn objects_of_the_new_days_that_no_entry_names_are_found() {
    let mut memory = newest().clone();
    memory.objects.insert("seal/2026/11/06/x".into(), b"x".to_vec());
    memory.objects.insert("bundle/2026/11/06/x".into(), b"x".to_vec());
    memory.objects.insert("bundle/2026/11/01/x".into(), b"x".to_vec());
    let wanted = [("UNKNOWN-OBJECT", "bundle/2026/11/06/x"), ("UNKNOWN-OBJECT", "seal/2026/11/06/x")];
    assert_eq!(found(&since(&memory, earlier())), wanted.map(|(c, o)| (c.to_owned(), o.to_owned())).into());
}

#[test]
fn a_tail_that_was_cut_off_again_is_seen_by_what_it_left() {
    let mut memory = newest().clone();
    let (checkpoint, _) = &STATES[STATES.len() - 2];
    memory.objects.insert("checkpoint".into(), checkpoint.clone());
    let verdict = since(&memory, earlier());
    assert!(codes(&verdict).contains(&"LOG-ROLLED-BACK".to_owned()), "{:?}", verdict.findings);
}

#[test]
fn keys_of_before_are_found_by_their_entry_and_a_superseded_one_seals_nothing_new() {
    let made = |old_key_goes_on: bool| {
        let dir = tempfile::tempdir().unwrap();
        let (mut step, mut checkpoint) = (0, Vec::new());
        write_watched(dir.path(), &mut |writer| {
            step += 1;
            if step == 3 {
                let mut set = key_set(2);
                let next = signing::keys::FileKey::from_seed(&[9; 32]);
                let id = signing::keys::Signer::public(&next).fingerprint();
                set.keys[0].superseded_by = Some(id);
                set.keys.push(key_entry(&next, Use::Receipts));
                set.made_at = writer.now;
                writer.sealer = next;
                writer.keys(&KeySet { made_at: writer.now, ..set });
            }
            if step == 12 {
                checkpoint = Memory::read(&writer.dir).objects["checkpoint"].clone();
                if old_key_goes_on {
                    writer.sealer = receipts_key();
                }
            }
        });
        (Memory::read(dir.path()), checkpoint)
    };
    let (memory, checkpoint) = made(false);
    assert_eq!(since(&memory, &checkpoint).findings, []);
    let (memory, checkpoint) = made(true);
    let verdict = since(&memory, &checkpoint);
    assert_eq!(verdict.findings_by_code.keys().map(|c| c.as_str()).collect::<Vec<_>>(), ["SEAL-KEY"]);
    assert!(verdict.findings[0].says.contains("superseded"), "{:?}", verdict.findings[0]);
}

#[test]
fn keys_that_no_entry_logs_yet_change_nothing() {
    let mut memory = newest().clone();
    let mut set = key_set(2);
    set.keys[0].valid.until = Some(at("2026-11-02T00:00:00Z"));
    let bytes = set.sign(&root_key()).unwrap();
    let name = signing::layout::document("keys", signing::digest::Digest::of(&bytes));
    memory.objects.insert(name, bytes);
    assert_eq!(since(&memory, earlier()).findings, []);
}

#[test]
fn an_old_receipt_that_is_logged_again_fills_no_slot() {
    let dir = tempfile::tempdir().unwrap();
    let (mut step, mut checkpoint) = (0, Vec::new());
    write_watched(dir.path(), &mut |writer| {
        step += 1;
        if step == 13 {
            checkpoint = Memory::read(&writer.dir).objects["checkpoint"].clone();
            writer.run(&job("host/accounts"), Some(at("2026-11-01T05:00:00Z")));
        }
    });
    let verdict = since(&Memory::read(dir.path()), &checkpoint);
    assert_eq!(verdict.findings_by_code.keys().map(|c| c.as_str()).collect::<Vec<_>>(), ["SLOT-DOUBLE"]);
}

#[test]
fn nothing_that_cannot_be_read_is_passed_over() {
    let sound = newest();
    let watched = Watched::new(sound);
    let options = Options { since: Some(kept(earlier())), ..Options::trusting(trust()) };
    verify(&watched, &options, &|_| {}).unwrap();
    let (named, listed) = (watched.named.into_inner().unwrap(), watched.listed.into_inner().unwrap());
    for name in named.iter().chain(&listed) {
        let mut memory = sound.clone();
        memory.refused.insert(name.clone());
        let judged = memory.judge_with(&options);
        assert!(judged.is_err(), "{name}: {:?}", judged.map(|verdict| verdict.statement));
    }
}

#[test]
fn the_cost_follows_what_is_new_and_not_what_is_old() {
    let cost = |old: u64| {
        let (memory, checkpoint) = long(old, 300);
        let watched = Watched::new(&memory);
        let options = Options { since: Some(kept(&checkpoint)), ..Options::trusting(trust()) };
        let verdict = verify(&watched, &options, &|_| {}).unwrap();
        assert_eq!(verdict.findings, []);
        let from = size(&checkpoint);
        assert_eq!((verdict.since, verdict.numbers.seals), (Some(from), verdict.checkpoint.size - from));
        assert!((300..310).contains(&verdict.numbers.seals) && (old..old + 10).contains(&from));
        watched.asked.into_inner()
    };
    let (small, large) = (cost(1_000), cost(100_000));
    // Tiles above level 1, and the odd entry bundle more on a boundary.
    assert!(large <= small + 20, "{small} reads over 1,000 old entries, {large} over 100,000");
    assert!(large < 700, "{large} reads for 300 new entries, each with a seal and, but for missed ones, a bundle");
}
