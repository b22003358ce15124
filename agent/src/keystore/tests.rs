#![allow(clippy::unwrap_used, clippy::disallowed_methods)]
use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::durable::{Step, Verdict, Watch};

const ORIGIN: &str = "localhost/test";

fn now() -> Utc {
    "2026-11-22T04:00:00Z".parse().unwrap()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn keys_are_made_once_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("keys");
    let made = make(&Disk::new(), &dir, ORIGIN, now()).unwrap();
    assert!(made.new);
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    for name in ["root.pem", "receipts.pem", "checkpoint.pem"] {
        assert_eq!(fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let again = make(&Disk::new(), &dir, ORIGIN, now()).unwrap();
    assert!(!again.new);
    assert_eq!(again.keys.document, made.keys.document);
    assert_eq!(origin(&dir).unwrap().as_deref(), Some(ORIGIN));
    assert!(!format!("{:?}", made.keys).contains("PRIVATE"));
}

#[test]
fn a_root_key_that_was_moved_away_is_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    chmod(dir.path(), 0o700);
    make(&Disk::new(), dir.path(), ORIGIN, now()).unwrap();
    fs::remove_file(dir.path().join("root.pem")).unwrap();
    assert!(!make(&Disk::new(), dir.path(), ORIGIN, now()).unwrap().new);
    assert!(!dir.path().join("root.pem").exists());
}

#[test]
fn what_cannot_be_completed_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    make(&Disk::new(), dir.path(), ORIGIN, now()).unwrap();
    fs::remove_file(dir.path().join("root.pem")).unwrap();
    let kept = fs::read(dir.path().join("keys.json")).unwrap();
    fs::remove_file(dir.path().join("keys.json")).unwrap();
    let refused = make(&Disk::new(), dir.path(), ORIGIN, now()).unwrap_err();
    assert!(matches!(&refused, KeystoreError::Incomplete { path, .. } if path.ends_with("keys.json")), "{refused}");
    fs::write(dir.path().join("keys.json"), kept).unwrap();
    fs::remove_file(dir.path().join("receipts.pem")).unwrap();
    let refused = make(&Disk::new(), dir.path(), ORIGIN, now()).unwrap_err();
    assert!(matches!(&refused, KeystoreError::Incomplete { path, .. } if path.ends_with("receipts.pem")));
}

#[test]
fn a_key_that_others_may_read_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    make(&Disk::new(), dir.path(), ORIGIN, now()).unwrap();
    chmod(&dir.path().join("receipts.pem"), 0o640);
    let refused = open(&Paths::in_dir(dir.path())).unwrap_err();
    assert!(refused.to_string().contains("0640") && refused.to_string().contains("chmod 600"), "{refused}");
}

#[test]
fn keys_of_another_origin_or_use_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    make(&Disk::new(), dir.path(), ORIGIN, now()).unwrap();
    let refused = make(&Disk::new(), dir.path(), "another/origin", now()).unwrap_err();
    assert!(matches!(refused, KeystoreError::Origin { .. }));
    let paths = Paths::in_dir(dir.path());
    let swapped = Paths { receipts: paths.checkpoint.clone(), ..paths };
    let refused = open(&swapped).unwrap_err();
    assert!(matches!(refused, KeystoreError::Refused { source: KeyRefusal::WrongUse { .. }, .. }));
}

#[test]
fn made_keys_survive_a_stop_at_any_step_and_are_completed_by_the_next_call() {
    struct StopFrom(usize, AtomicUsize);
    impl Watch for StopFrom {
        fn before(&self, _: Step, _: &Path) -> Verdict {
            // From the n-th step on nothing reaches the disk: as if the process had died there.
            if self.1.fetch_add(1, Ordering::SeqCst) < self.0 {
                Verdict::Go
            } else {
                Verdict::Fail(io::ErrorKind::BrokenPipe.into())
            }
        }
    }
    let mut stop = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("keys");
        let disk = Disk::watched(Arc::new(StopFrom(stop, AtomicUsize::new(0))));
        if make(&disk, &dir, ORIGIN, now()).is_ok() {
            break;
        }
        let there: Vec<_> = ["root.pem", "receipts.pem", "checkpoint.pem"]
            .into_iter()
            .filter_map(|name| Some((name, fs::read(dir.join(name)).ok()?)))
            .collect();
        make(&Disk::new(), &dir, ORIGIN, now()).unwrap();
        for (name, bytes) in there {
            assert_eq!(fs::read(dir.join(name)).unwrap(), bytes, "{name} was replaced after a stop at step {stop}");
        }
        stop += 1;
    }
    assert!(stop > 15, "only {stop} steps");
}
