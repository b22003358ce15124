#![allow(clippy::unwrap_used)]
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Fails the n-th step, before or after it takes effect.
struct FailAt {
    at: usize,
    persisted: bool,
    seen: AtomicUsize,
}

impl Watch for FailAt {
    fn before(&self, _: Step, _: &Path) -> Verdict {
        match self.seen.fetch_add(1, Ordering::SeqCst) == self.at {
            true if self.persisted => Verdict::FailAfter(ErrorKind::StorageFull.into()),
            true => Verdict::Fail(ErrorKind::StorageFull.into()),
            false => Verdict::Go,
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

type Operation = (&'static str, fn(&Path), fn(&Disk, &Path) -> io::Result<()>, fn(&Path));

/// Each: what was there before, the operation, and what must hold once it succeeded.
const OPERATIONS: &[Operation] = &[
    (
        "create_new",
        |_| {},
        |disk, dir| disk.create_new(&dir.join("a"), b"whole").map(|_| ()),
        |dir| assert_eq!(fs::read(dir.join("a")).unwrap(), b"whole"),
    ),
    (
        "create_new_from",
        |dir| fs::write(dir.join("source"), vec![7; 200_000]).unwrap(),
        |disk, dir| disk.create_new_from(&dir.join("a"), &dir.join("source")).map(|_| ()),
        |dir| assert_eq!(fs::read(dir.join("a")).unwrap(), vec![7; 200_000]),
    ),
    (
        "replace",
        |dir| fs::write(dir.join("a"), b"old").unwrap(),
        |disk, dir| disk.replace(&dir.join("a"), b"whole"),
        |dir| assert_eq!(fs::read(dir.join("a")).unwrap(), b"whole"),
    ),
    (
        "publish_dir",
        |_| {},
        |disk, dir| {
            if dir.join("entry").exists() {
                return disk.sync_dir(dir);
            }
            let staged = disk.stage_dir(dir)?;
            disk.stage(&staged.join("one"), |f| f.write_all(b"whole"))?;
            disk.stage(&staged.join("two"), |f| f.write_all(b"whole"))?;
            disk.publish_dir(&staged, &dir.join("entry"))
        },
        |dir| {
            for name in ["one", "two"] {
                assert_eq!(fs::read(dir.join("entry").join(name)).unwrap(), b"whole");
            }
        },
    ),
    (
        "remove_file",
        |dir| fs::write(dir.join("a"), b"old").unwrap(),
        |disk, dir| disk.remove_file(&dir.join("a")),
        |dir| assert!(!dir.join("a").exists()),
    ),
    (
        "remove_dir_all",
        |dir| {
            fs::create_dir(dir.join("entry")).unwrap();
            fs::write(dir.join("entry/one"), b"whole").unwrap();
            fs::write(dir.join("entry/two"), b"whole").unwrap();
        },
        |disk, dir| disk.remove_dir_all(&dir.join("entry")),
        |dir| assert!(!dir.join("entry").exists()),
    ),
    ("make_dirs", |_| {}, |disk, dir| disk.make_dirs(&dir.join("x/y/z")), |dir| assert!(dir.join("x/y/z").is_dir())),
];

#[test]
fn every_operation_failed_or_failed_but_persisted_is_whole_or_absent_and_succeeds_when_tried_again() {
    for (name, before, operate, holds) in OPERATIONS {
        for persisted in [false, true] {
            let mut at = 0;
            loop {
                let dir = tempfile::tempdir().unwrap();
                before(dir.path());
                let watch = Arc::new(FailAt { at, persisted, seen: AtomicUsize::new(0) });
                let disk = Disk::watched(watch.clone());
                let outcome = operate(&disk, dir.path());
                if watch.seen.load(Ordering::SeqCst) <= at {
                    outcome.unwrap();
                    assert!(at > 0, "{name} made no step");
                    break;
                }
                assert!(outcome.is_err(), "{name} hid the failure of step {at}");
                for (file, whole) in [("a", &[&b"whole"[..], b"old", &[7; 200_000]])] {
                    if let Ok(bytes) = fs::read(dir.path().join(file)) {
                        assert!(whole.contains(&bytes.as_slice()), "{name}: half an object after step {at}");
                    }
                }
                if dir.path().join("entry").exists() {
                    assert_eq!(names(&dir.path().join("entry")), ["one", "two"], "{name}: half an entry at {at}");
                }
                operate(&disk, dir.path()).unwrap();
                holds(dir.path());
                disk.sweep(dir.path()).unwrap();
                assert!(names(dir.path()).iter().all(|n| !n.starts_with(TEMPORARY)), "{name} left a temporary");
                at += 1;
            }
        }
    }
}

#[test]
fn other_bytes_under_the_name_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new();
    let path = dir.path().join("object");
    assert_eq!(disk.create_new(&path, b"first").unwrap(), Created::New);
    assert_eq!(disk.create_new(&path, b"first").unwrap(), Created::Same);
    for other in [&b"firs"[..], b"first!", b"other", b""] {
        assert_eq!(disk.create_new(&path, other).unwrap(), Created::Other);
    }
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(names(dir.path()), ["object"]);
}

#[test]
fn a_directory_left_unsynced_is_synced_by_the_next_one_who_makes_it() {
    struct Syncs(Mutex<Vec<PathBuf>>);
    impl Watch for Syncs {
        fn after(&self, step: Step, path: &Path) {
            if step == Step::SyncDir {
                self.0.lock().unwrap().push(path.to_owned());
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("made")).unwrap();
    let syncs = Arc::new(Syncs(Mutex::default()));
    let disk = Disk::watched(syncs.clone());
    disk.make_dirs(&dir.path().join("made")).unwrap();
    disk.make_dirs(&dir.path().join("made")).unwrap();
    assert_eq!(*syncs.0.lock().unwrap(), [dir.path()]);
}

#[test]
fn temporaries_can_be_kept_in_one_place() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("far")).unwrap();
    let disk = Disk::new().with_temporaries_in(dir.path());
    assert_eq!(disk.temporary(&dir.path().join("far/x")).parent(), Some(dir.path()));
    assert_eq!(disk.create_new(&dir.path().join("far/x"), b"1").unwrap(), Created::New);
    assert_eq!(names(dir.path()), ["far"]);
}
