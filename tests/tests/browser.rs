//! The report in Chromium, as an auditor opens it; and the page that verifies an entry: what is whole is verified, what was changed is refused
//! at the step that shows it, what is missing never passes, and nothing leaves the page.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

use serde_json::Value;
use signing::{
    digest::Digest,
    keys::{FileKey, Signer as _},
    log::{Checkpoint, OfflineProof},
};
use tests::{
    browser::{CHECKPOINT, FILES, KEYS, PLACE, SEAL, STATEMENT, SUBJECT, Visit, judged, page, quiet, visit},
    loose::{Loose, key, restated, root, spoil, swap, unpacked, zipped},
    program::files,
};

mod model {
    pub use report::model::*;
}
/// Reports by hand, the same that the crate's own tests look at.
#[allow(dead_code)]
#[path = "../../report/src/html/tests/fixture.rs"]
mod fixture;

type Change = fn(&mut Loose);

/// Name, what is changed, the verdict, the step that says so, a word of what it says.
const CASES: [(&str, Change, &str, usize, &str); 26] = [
    ("whole", |_| {}, "verified", CHECKPOINT, "signed by"),
    ("bundle-altered", |l| l.bundle[200] ^= 1, "refused", SUBJECT, "was sealed"),
    ("bundle-missing", |l| l.bundle.clear(), "open", SUBJECT, "not among the files"),
    (
        "bundle-twice",
        |l| l.others.push(("other.zip".into(), [l.bundle.as_slice(), &[0]].concat())),
        "refused",
        FILES,
        "other.zip",
    ),
    ("seal-signature", |l| spoil(&mut l.seal, "\"sig\":\""), "refused", SEAL, "not by"),
    ("seal-statement", |l| restated(&mut l.seal, "\"partial\"", "\"collected\""), "refused", SEAL, "not by"),
    ("seal-hint", |l| swap(&mut l.seal, "\"hint\":\"SHA256:4", "\"hint\":\"SHA256:5"), "refused", SEAL, "another key"),
    ("seal-missing", |l| l.seal.clear(), "open", FILES, "no seal"),
    ("seal-no-seal", |l| l.seal = b"{}".to_vec(), "refused", SEAL, "no seal"),
    (
        "seal-by-checkpoint-key",
        |l| {
            let (receipts, checkpoints) = (key("receipts"), key("checkpoints"));
            let payload = l.payload().replace(&receipts.public().fingerprint(), &checkpoints.public().fingerprint());
            l.sealed(&payload, &checkpoints);
        },
        "refused",
        SEAL,
        "for checkpoints",
    ),
    (
        "seal-by-nobody",
        |l| l.sealed(&l.payload(), &FileKey::from_seed(&[9; 32])),
        "refused",
        SEAL,
        "not among the owner",
    ),
    (
        "seal-before-its-key",
        |l| {
            let payload = l.payload().replace("\"sealed_at\":\"2026-11-22T", "\"sealed_at\":\"2025-11-22T");
            assert_ne!(payload, l.payload());
            l.sealed(&payload, &key("receipts"));
        },
        "refused",
        SEAL,
        "was not valid",
    ),
    (
        "entry-of-another-log",
        |l| {
            let payload =
                l.payload().replace("\"origin\":\"example.org/evidence\"", "\"origin\":\"example.org/another\"");
            assert_ne!(payload, l.payload());
            l.sealed(&payload, &key("receipts"));
        },
        "refused",
        STATEMENT,
        "of the log example.org/another",
    ),
    (
        "entry-of-another-kind",
        |l| {
            let payload = l.payload().replace("urn:evidenced:receipt:v1", "urn:evidenced:receipt:v2");
            l.sealed(&payload, &key("receipts"));
        },
        "open",
        STATEMENT,
        "not known",
    ),
    (
        "entry-that-was-never-logged",
        |l| {
            let payload = l.payload().replace("\"late\":false", "\"late\":true");
            assert_ne!(payload, l.payload());
            l.sealed(&payload, &key("receipts"));
        },
        "refused",
        PLACE,
        "does not lead",
    ),
    (
        "statement-altered",
        |l| {
            l.others.push(("statement.json".into(), l.payload().replace("\"partial\"", "\"collected\"").into_bytes()));
        },
        "refused",
        STATEMENT,
        "not what the seal signs",
    ),
    ("proof-hash", |l| spoil(&mut l.proof, "index 2\n"), "refused", PLACE, "does not lead"),
    ("proof-index", |l| swap(&mut l.proof, "index 2\n", "index 3\n"), "refused", PLACE, "does not lead"),
    ("proof-missing", |l| l.proof.clear(), "open", PLACE, "no proof"),
    ("checkpoint-size", |l| swap(&mut l.proof, "\n4\n", "\n7\n"), "refused", PLACE, "does not lead"),
    (
        "checkpoint-signature",
        |l| spoil(&mut l.proof, "\u{2014} example.org/evidence "),
        "refused",
        CHECKPOINT,
        "not by",
    ),
    (
        "checkpoint-beside-it",
        |l| {
            let mut note = OfflineProof::from_bytes(&l.proof).unwrap().0.checkpoint;
            spoil(&mut note, "\u{2014} example.org/evidence ");
            l.others.push(("checkpoint".into(), note));
        },
        "refused",
        CHECKPOINT,
        "not by",
    ),
    (
        "checkpoint-of-another-history",
        |l| {
            let fork = Checkpoint { origin: "example.org/evidence".into(), size: 4, root: Digest::of(b"another") };
            l.others.push(("checkpoint".into(), fork.sign(&key("checkpoints")).unwrap()));
        },
        "refused",
        CHECKPOINT,
        "two histories",
    ),
    (
        "keys-altered",
        |l| restated(&mut l.keys, "\"revision\":1", "\"revision\":2"),
        "refused",
        KEYS,
        "not signed by the root",
    ),
    ("keys-signature", |l| spoil(&mut l.keys, "\"sig\":\""), "refused", KEYS, "not signed by the root"),
    ("keys-missing", |l| l.keys.clear(), "open", KEYS, "no keys"),
];

#[test]
fn loose_files_are_verified_and_each_change_is_refused_at_its_step() {
    let scratch = tempfile::tempdir().unwrap();
    let page = page(scratch.path());
    let visits: Vec<Visit> = CASES
        .iter()
        .map(|(name, change, ..)| {
            let mut loose = Loose::new(scratch.path(), name);
            change(&mut loose);
            Visit::to(&page).verify(&loose.written(), &root())
        })
        .collect();
    let Some(told) = visit(&visits) else { return };
    for ((name, _, verdict, step, word), told) in CASES.iter().zip(&told) {
        judged(name, told, verdict, *step, word);
    }
}

#[test]
fn a_package_is_verified_whole_or_dropped_and_a_changed_one_is_not() {
    let scratch = tempfile::tempdir().unwrap();
    let page = page(scratch.path());
    let package = |name: &str, index: u64, change: &dyn Fn(&Path)| {
        let from = scratch.path().join(format!("{name}.d"));
        unpacked(index, &from);
        change(&from);
        let to = scratch.path().join(format!("{name}.zip"));
        zipped(&from, &to);
        to
    };
    let altered = |below: &'static str, at: usize| {
        move |from: &Path| {
            let path = files(&from.join(below)).remove(0);
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 1;
            fs::write(path, bytes).unwrap();
        }
    };
    let whole: Vec<PathBuf> = (0..4).map(|index| package(&format!("whole-{index}"), index, &|_| {})).collect();
    let bundle = package("bundle", 2, &altered("bundle", 100));
    let swapped = package("swapped", 2, &|from| {
        let other = scratch.path().join("other");
        unpacked(3, &other);
        fs::copy(files(&other.join("proof")).remove(0), files(&from.join("proof")).remove(0)).unwrap();
    });
    let cut = scratch.path().join("cut.zip");
    let bytes = fs::read(&whole[2]).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 40]).unwrap();
    let flipped = scratch.path().join("flipped.zip");
    let mut bytes = bytes.clone();
    bytes[600] ^= 0x55;
    fs::write(&flipped, bytes).unwrap();

    let other = format!("SHA256:{}", "A".repeat(43));
    let of = |file: &Path, trust: &str| Visit::to(&page).verify(&[file.to_owned()], trust);
    let visits = [
        of(&whole[0], &root()),
        of(&whole[1], &root()),
        of(&whole[2], &root()),
        of(&whole[3], &root()),
        of(&whole[2], &root()).with("dropped", true),
        of(&bundle, &root()),
        of(&swapped, &root()),
        of(&cut, &root()),
        of(&flipped, &root()),
        of(&whole[2], &other),
        of(&whole[2], "SHA256:short"),
        of(&whole[2], ""),
        Visit::to(&page).verify(&whole[..2], &root()),
    ];
    let Some(told) = visit(&visits) else { return };
    for told in &told[..5] {
        judged("whole", told, "verified", CHECKPOINT, "over 4 entries");
    }
    assert!(told[2]["steps"][STATEMENT]["text"].as_str().unwrap().contains("outcome partial"));
    judged("bundle", &told[5], "refused", SUBJECT, "was sealed");
    judged("swapped", &told[6], "refused", PLACE, "does not lead");
    judged("cut", &told[7], "refused", FILES, "ZIP");
    assert_eq!(told[8]["verdict"], "refused", "{}", told[8]);
    judged("another root", &told[9], "refused", KEYS, "not under the one that you trust");
    judged("no fingerprint", &told[10], "open", KEYS, "SHA256: and 43 characters");
    judged("nothing", &told[11], "open", KEYS, "missing");
    // Two entries at once: each is verified by its own proof.
    assert_eq!(told[12]["verdict"], "verified", "{}", told[12]);
    assert_eq!(told[12]["steps"].as_array().unwrap().len(), 14);
}

#[test]
fn nothing_leaves_the_page_though_it_tries() {
    let scratch = tempfile::tempdir().unwrap();
    let page = page(scratch.path());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let Some(told) = visit(&[Visit::to(&page).with("probe", address)]) else { return };
    assert!(listener.accept().is_err(), "something came from the page");
    let reached: Vec<&str> = told[0]["reached"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(reached.iter().all(|one| *one == "beacon queued"), "{reached:?}");
    assert!(told[0]["said"].to_string().contains("Content Security Policy"), "{}", told[0]["said"]);
}

#[test]
fn a_browser_that_cannot_verify_says_so_and_verifies_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let page = page(scratch.path());
    let weak = Visit::to(&page).with("weak", true);
    let mute = Visit::to(&page).with("script", false);
    let Some(told) = visit(&[weak, mute]) else { return };
    assert_eq!(told[0]["able"], "no");
    assert!(told[0]["text"].as_str().unwrap().contains("has no Ed25519"), "{}", told[0]["text"]);
    assert_eq!(told[1]["form"], false);
    assert!(told[1]["text"].as_str().unwrap().contains("needs JavaScript"), "{}", told[1]["text"]);
    for told in &told {
        quiet("cannot", told);
        assert!(!told["text"].as_str().unwrap().contains("VERIFIED"));
    }
}

#[test]
fn the_report_opens_quietly_fits_its_window_and_verifies_an_entry() {
    let scratch = tempfile::tempdir().unwrap();
    let package = {
        let from = scratch.path().join("entry.d");
        unpacked(2, &from);
        let to = scratch.path().join("entry.zip");
        zipped(&from, &to);
        to
    };
    let mut not_intact = fixture::awkward("plain");
    not_intact.integrity.intact = false;
    let reports = [
        ("period", fixture::awkward("plain")),
        ("awkward", fixture::awkward(fixture::EVIL)),
        ("instant", fixture::at_an_instant(fixture::EVIL)),
        ("empty", fixture::empty()),
        ("not-intact", not_intact),
        ("large", fixture::large()),
    ];
    let mut visits = Vec::new();
    for (name, report) in &reports {
        let page = scratch.path().join(format!("{name}.html"));
        report::html::write(report, &mut fs::File::create(&page).unwrap()).unwrap();
        let picture = |kind: &str| scratch.path().join(format!("{name}-{kind}")).to_str().unwrap().to_owned();
        visits.push((
            *name,
            Visit::to(&page).with("screenshot", picture("1280.png")).verify(std::slice::from_ref(&package), &root()),
        ));
        if *name == "large" {
            continue;
        }
        visits.push((
            *name,
            Visit::to(&page).with("width", 800).with("dark", true).with("screenshot", picture("800.png")),
        ));
        visits.push((*name, Visit::to(&page).with("script", false).with("pdf", picture("print.pdf"))));
    }
    let Some(told) = visit(&visits.iter().map(|(_, visit)| visit.clone()).collect::<Vec<_>>()) else { return };
    for ((name, _), told) in visits.iter().zip(&told) {
        quiet(name, told);
        assert_eq!(told["overflow"], 0, "{name} is wider than its window");
        let body = told["text"].as_str().unwrap();
        let first = if *name == "not-intact" { "NOT INTACT" } else { "Archive intact" };
        assert!(
            body.trim_start().trim_start_matches("To the controls").trim_start().starts_with(first),
            "{name}: {}",
            &body[..80]
        );
    }
    let verified = told.iter().filter(|told| told["verdict"] == "verified").count();
    assert_eq!(verified, reports.len(), "each page verifies the entry");
    for file in ["period-1280.png", "period-800.png", "period-print.pdf"] {
        assert!(fs::metadata(scratch.path().join(file)).unwrap().len() > 10_000, "{file}");
    }
}
