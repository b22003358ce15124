#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use signing::log::{Edge, cosignature, witness::Submission};
use tempfile::TempDir;

use super::*;
use crate::durable::{Step, Verdict, Watch};

const ORIGIN: &str = "example.org/log";

fn log_key() -> FileKey {
    FileKey::from_seed(&[1; 32])
}

fn logs() -> Vec<Log> {
    vec![Log { origin: ORIGIN.into(), keys: vec![*log_key().public()] }]
}

fn at(second: u32) -> Utc {
    format!("2026-11-22T04:00:{second:02}Z").parse().unwrap()
}

/// The tree of `size` leaves, of which those from `fork` on are others.
fn tree(size: u64, fork: u64) -> (Checkpoint, Vec<u8>) {
    let leaves: Vec<Vec<u8>> = (0..size).map(|n| format!("leaf {n} {}", n >= fork).into_bytes()).collect();
    let mut edge = Edge::empty();
    edge.append(&leaves, &mut |_, _| {}).unwrap();
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root: edge.root() };
    let note = checkpoint.sign(&log_key()).unwrap();
    (checkpoint, note)
}

/// A body with a proof from the tiles of the tree.
fn body(old: u64, size: u64, fork: u64) -> Vec<u8> {
    let dir = TempDir::new().unwrap();
    let mut edge = Edge::empty();
    let leaves: Vec<Vec<u8>> = (0..size).map(|n| format!("leaf {n} {}", n >= fork).into_bytes()).collect();
    edge.append(&leaves, &mut |name, bytes| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    })
    .unwrap();
    let (checkpoint, note) = tree(size, fork);
    let (_, proof) = signing::log::growth(&signing::store::Dir::new(dir.path()), old, &checkpoint).unwrap();
    Submission::new(old, proof, &note).unwrap().to_bytes()
}

struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { dir: TempDir::new().unwrap() };
        init(&Disk::new(), &world.state(), &world.key(), "witness.example/w").unwrap();
        world
    }
    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }
    fn key(&self) -> PathBuf {
        self.dir.path().join("witness.pem")
    }
    fn open(&self) -> Store {
        self.open_on(Disk::new()).unwrap()
    }
    fn open_on(&self, disk: Disk) -> Result<Store, StoreError> {
        Store::open(&disk, &self.state(), &self.key(), logs())
    }
    fn kept(&self) -> Option<u64> {
        look(&self.state()).unwrap().1.first().map(|kept| kept.checkpoint.size)
    }
}

fn refusal(error: NotSigned) -> Refusal {
    match error {
        NotSigned::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_signed_is_kept_and_shown_with_both_signatures() {
    let world = World::new();
    let store = world.open();
    let signed = store.add_checkpoint(&body(0, 3, 9), at(0)).unwrap();
    let (checkpoint, _) = tree(3, 9);
    let lines = signed.to_line();
    let text = checkpoint.text();
    let found = cosignature::verify(lines.as_bytes(), text.as_bytes(), &[store.witness().clone()]).unwrap();
    assert_eq!(found, std::slice::from_ref(&signed));
    let (witness, kept) = look(&world.state()).unwrap();
    assert_eq!((&witness, kept.len(), kept[0].at), (store.witness(), 1, at(0)));
    assert_eq!(Checkpoint::open(&kept[0].note, ORIGIN, &[*log_key().public()]).unwrap().0, checkpoint);
    assert_eq!(cosignature::verify_note(&kept[0].note, &[witness]).unwrap().1, [signed]);
}

#[test]
fn a_restart_remembers_and_goes_on() {
    let world = World::new();
    world.open().add_checkpoint(&body(0, 3, 9), at(0)).unwrap();
    let store = world.open();
    assert_eq!(refusal(store.add_checkpoint(&body(0, 5, 9), at(1)).unwrap_err()), Refusal::Behind { held: 3 });
    store.add_checkpoint(&body(3, 5, 9), at(1)).unwrap();
    assert_eq!(world.kept(), Some(5));
}

#[test]
fn a_log_that_was_rewritten_or_rolled_back_is_refused_and_the_proof_of_it_kept() {
    let world = World::new();
    let store = world.open();
    store.add_checkpoint(&body(0, 5, 99), at(0)).unwrap();
    for (forged, status) in [(body(5, 5, 4), 409), (body(0, 5, 4), 409), (body(5, 8, 4), 422)] {
        assert_eq!(refusal(store.add_checkpoint(&forged, at(1)).unwrap_err()).status(), status);
    }
    // Going back to what it was is no fork, and is not signed either.
    let back = refusal(store.add_checkpoint(&body(0, 3, 99), at(1)).unwrap_err());
    assert_eq!(back, Refusal::Behind { held: 5 });
    let kept = look(&world.state()).unwrap().1.remove(0);
    assert_eq!((kept.checkpoint.size, kept.refused.len()), (5, 2), "{:?}", kept.refused);
    for path in kept.refused {
        let note = fs::read(path).unwrap();
        Checkpoint::open(&note, ORIGIN, &[*log_key().public()]).unwrap();
    }
    store.add_checkpoint(&body(5, 9, 99), at(2)).unwrap();
}

#[test]
fn of_two_histories_submitted_at_the_same_time_one_is_signed() {
    let world = World::new();
    let store = Arc::new(world.open());
    for round in 1..6_u64 {
        let old = world.kept().unwrap_or_default();
        let bodies = [body(old, old + round, 99), body(old, old + round + 1, 99), body(old, old + round, old)];
        let barrier = std::sync::Barrier::new(bodies.len());
        let signed: Vec<_> = std::thread::scope(|scope| {
            let (store, started) = (&store, &barrier);
            let threads: Vec<_> = bodies
                .iter()
                .map(|body| {
                    scope.spawn(move || {
                        started.wait();
                        store.add_checkpoint(body, at(round as u32)).is_ok()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(signed.iter().filter(|signed| **signed).count(), 1, "{signed:?} in round {round}");
        if signed[2] {
            // The forked one won: from here on it is the history. Nothing more is to be seen.
            return;
        }
    }
}

/// Fails the step with that number, before or after it took effect, and every later one.
struct FailAt {
    step: usize,
    persisted: bool,
    seen: AtomicUsize,
}

impl Watch for FailAt {
    fn before(&self, _: Step, _: &Path) -> Verdict {
        let error = || io::ErrorKind::Other.into();
        match self.seen.fetch_add(1, Ordering::SeqCst).cmp(&self.step) {
            std::cmp::Ordering::Less => Verdict::Go,
            std::cmp::Ordering::Equal if self.persisted => Verdict::FailAfter(error()),
            _ => Verdict::Fail(error()),
        }
    }
}

#[test]
fn a_failure_at_any_step_that_persisted_or_not_never_lets_it_sign_two_histories() {
    for persisted in [false, true] {
        let mut failures = 0;
        for step in 0.. {
            let world = World::new();
            world.open().add_checkpoint(&body(0, 2, 99), at(0)).unwrap();
            let watch = Arc::new(FailAt { step, persisted, seen: AtomicUsize::new(0) });
            let first = world.open_on(Disk::watched(watch)).unwrap().add_checkpoint(&body(2, 5, 99), at(1));
            let failed = first.is_err();
            failures += usize::from(failed);
            // The next start goes by what is there, and the other history is refused if the first one was given away.
            let store = world.open();
            let held = world.kept().unwrap();
            assert!(held == 5 || (failed && held == 2), "step {step}, persisted {persisted}: {held}");
            let other = store.add_checkpoint(&body(2, 5, 3), at(2));
            match held {
                5 => assert!(matches!(refusal(other.unwrap_err()), Refusal::Fork { .. }), "step {step}"),
                _ => drop(other.unwrap()),
            }
            if held == 5 {
                // Whoever got no answer gets one now.
                store.add_checkpoint(&body(5, 5, 99), at(3)).unwrap();
            }
            if !failed {
                break;
            }
        }
        assert!(failures >= 4, "only {failures} steps");
    }
}

#[test]
fn a_failure_in_one_request_is_over_with_the_next() {
    // The same process goes on after a write that failed, or seemed to.
    struct Once(AtomicUsize, bool);
    impl Watch for Once {
        fn before(&self, step: Step, _: &Path) -> Verdict {
            if step != Step::SyncDir || self.0.fetch_add(1, Ordering::SeqCst) != 0 {
                return Verdict::Go;
            }
            let error = io::ErrorKind::Other.into();
            if self.1 { Verdict::FailAfter(error) } else { Verdict::Fail(error) }
        }
    }
    for persisted in [false, true] {
        let world = World::new();
        world.open().add_checkpoint(&body(0, 2, 99), at(0)).unwrap();
        let store = world.open_on(Disk::watched(Arc::new(Once(AtomicUsize::new(0), persisted)))).unwrap();
        assert!(matches!(store.add_checkpoint(&body(2, 5, 99), at(1)).unwrap_err(), NotSigned::State(_)));
        if world.kept() == Some(5) {
            assert!(matches!(refusal(store.add_checkpoint(&body(5, 5, 3), at(1)).unwrap_err()), Refusal::Fork { .. }));
            store.add_checkpoint(&body(5, 5, 99), at(1)).unwrap();
        } else {
            store.add_checkpoint(&body(2, 5, 99), at(1)).unwrap();
        }
    }
}

#[test]
fn state_that_is_not_what_it_wrote_keeps_it_from_starting() {
    let world = World::new();
    world.open().add_checkpoint(&body(0, 5, 99), at(0)).unwrap();
    let path = directory(&world.state(), ORIGIN).join("checkpoint");
    let good = fs::read(&path).unwrap();
    let older = tree(3, 99).1;
    for bad in [Vec::new(), good[..good.len() - 1].to_vec(), older, good.iter().rev().copied().collect()] {
        fs::write(&path, bad).unwrap();
        assert!(matches!(world.open_on(Disk::new()).unwrap_err(), StoreError::Damaged { .. }));
    }
    fs::write(&path, &good).unwrap();
    let moved = world.state().join("log").join(Digest::of(b"another").to_string());
    fs::create_dir(&moved).unwrap();
    fs::rename(&path, moved.join("checkpoint")).unwrap();
    assert!(matches!(world.open_on(Disk::new()).unwrap_err(), StoreError::Damaged { .. }));
    fs::rename(moved.join("checkpoint"), &path).unwrap();
    world.open();
}

#[test]
fn state_that_is_damaged_while_it_runs_is_not_taken_for_none() {
    let world = World::new();
    let store = world.open();
    store.add_checkpoint(&body(0, 5, 99), at(0)).unwrap();
    let path = directory(&world.state(), ORIGIN).join("checkpoint");
    fs::write(&path, b"").unwrap();
    assert!(matches!(store.add_checkpoint(&body(5, 6, 99), at(1)).unwrap_err(), NotSigned::State(_)));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(store.add_checkpoint(&body(0, 6, 99), at(1)).unwrap_err(), NotSigned::State(_)));
}

#[test]
fn a_clock_that_is_behind_its_last_signature_signs_nothing() {
    let world = World::new();
    let store = world.open();
    store.add_checkpoint(&body(0, 2, 99), at(10)).unwrap();
    assert!(matches!(store.add_checkpoint(&body(2, 3, 99), at(9)).unwrap_err(), NotSigned::Clock { .. }));
    store.add_checkpoint(&body(2, 3, 99), at(10)).unwrap();
}

#[test]
fn a_key_without_its_memory_never_begins_anew() {
    let world = World::new();
    world.open().add_checkpoint(&body(0, 2, 99), at(0)).unwrap();
    let again = init(&Disk::new(), &world.state(), &world.key(), "witness.example/w").unwrap();
    assert!(!again.new);
    let moved = world.dir.path().join("moved");
    fs::rename(world.state(), &moved).unwrap();
    let refused = init(&Disk::new(), &world.state(), &world.key(), "witness.example/w").unwrap_err();
    assert!(matches!(refused, StoreError::KeyWithoutState { .. }), "{refused}");
    assert!(matches!(world.open_on(Disk::new()).unwrap_err(), StoreError::None(_)));
    fs::remove_dir_all(world.state()).unwrap();
    fs::rename(&moved, world.state()).unwrap();
    fs::rename(world.key(), world.dir.path().join("elsewhere.pem")).unwrap();
    let refused = init(&Disk::new(), &world.state(), &world.key(), "witness.example/w").unwrap_err();
    assert!(matches!(refused, StoreError::StateWithoutKey { .. }), "{refused}");
}

#[test]
fn a_making_that_is_cut_short_at_any_step_is_finished_by_the_next() {
    for step in 0.. {
        let dir = TempDir::new().unwrap();
        let (state, key) = (dir.path().join("state"), dir.path().join("key.pem"));
        let watch = Arc::new(FailAt { step, persisted: step % 2 == 0, seen: AtomicUsize::new(0) });
        let first = init(&Disk::watched(watch), &state, &key, "w");
        let made = init(&Disk::new(), &state, &key, "w").unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Store::open(&Disk::new(), &state, &key, logs()).unwrap().witness(), &made.witness);
        if let Ok(first) = first {
            assert_eq!(first.witness, made.witness);
            assert!(step > 6, "only {step} steps");
            break;
        }
    }
}

#[test]
fn names_keys_and_logs_that_do_not_fit_are_refused() {
    let world = World::new();
    let other = init(&Disk::new(), &world.state(), &world.key(), "witness.example/other").unwrap_err();
    assert!(matches!(other, StoreError::Other { .. }), "{other}");
    let dir = TempDir::new().unwrap();
    let named = init(&Disk::new(), &dir.path().join("s"), &dir.path().join("k"), "two words").unwrap_err();
    assert!(matches!(named, StoreError::Name { .. }) && !dir.path().join("k").exists(), "{named}");
    let own = world.open().witness().key().to_owned();
    let logs = vec![Log { origin: ORIGIN.into(), keys: vec![*log_key().public(), own] }];
    let refused = Store::open(&Disk::new(), &world.state(), &world.key(), logs).unwrap_err();
    assert!(matches!(refused, StoreError::SameKey(_)), "{refused}");
    let first = world.open();
    assert!(matches!(world.open_on(Disk::new()).unwrap_err(), StoreError::Busy { .. }));
    drop(first);
    fs::set_permissions(world.key(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(world.open_on(Disk::new()).unwrap_err(), StoreError::Key(_)));
}

#[test]
fn a_rotated_log_key_goes_on_from_the_same_memory() {
    let world = World::new();
    world.open().add_checkpoint(&body(0, 2, 99), at(0)).unwrap();
    let new = FileKey::from_seed(&[7; 32]);
    let (checkpoint, _) = tree(2, 99);
    let by_new = Submission::new(2, Vec::new(), &checkpoint.sign(&new).unwrap()).unwrap().to_bytes();
    let refused = world.open().add_checkpoint(&by_new, at(1)).unwrap_err();
    assert_eq!(refusal(refused).status(), 403);
    let logs = vec![Log { origin: ORIGIN.into(), keys: vec![*new.public()] }];
    let store = Store::open(&Disk::new(), &world.state(), &world.key(), logs).unwrap();
    store.add_checkpoint(&by_new, at(1)).unwrap();
}
