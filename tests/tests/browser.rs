//! The report in Chromium, as an auditor opens it; and the page that verifies an entry: what is whole is verified, what was changed is refused
//! at the step that shows it, what is missing never passes, and nothing leaves the page.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    fs,
    io::Read,
    net::TcpListener,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use signing::{
    digest::Digest,
    keys::{FileKey, Signer as _},
    log::{Checkpoint, OfflineProof},
    package, seal,
    store::Dir,
};
use tests::{
    browser::{Visit, visit},
    program::{files, workspace},
};

mod model {
    pub use report::model::*;
}
/// Reports by hand, the same that the crate's own tests look at.
#[allow(dead_code)]
#[path = "../../report/src/html/tests/fixture.rs"]
mod fixture;

/// The steps of the page, by number.
const FILES: usize = 0;
const KEYS: usize = 1;
const SEAL: usize = 2;
const STATEMENT: usize = 3;
const SUBJECT: usize = 4;
const PLACE: usize = 5;
const CHECKPOINT: usize = 6;

fn vectors() -> Value {
    serde_json::from_slice(&fs::read(workspace().join("docs/vectors/vectors.json")).unwrap()).unwrap()
}

fn key(name: &str) -> FileKey {
    let seed: Digest = vectors()["keys"][name]["seed"].as_str().unwrap().parse().unwrap();
    FileKey::from_seed(&seed.0)
}

fn root() -> String {
    key("root").public().fingerprint()
}

/// A package of an entry of the vectors' archive, as files.
fn unpacked(index: u64, to: &Path) {
    let archive = Dir::new(workspace().join("docs/vectors/archive"));
    package::make(&archive, index, &mut |name, content: &mut dyn Read| {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap())?;
        std::io::copy(content, &mut fs::File::create(path)?).map(drop)
    })
    .unwrap();
}

fn zipped(from: &Path, to: &Path) {
    let mut out = fs::File::options().read(true).write(true).create_new(true).open(to).unwrap();
    signing::bundle::write(from, &mut out).unwrap();
}

/// The files of an entry, one by one, each of which a case may change.
struct Loose {
    directory: PathBuf,
    bundle: Vec<u8>,
    seal: Vec<u8>,
    proof: Vec<u8>,
    keys: Vec<u8>,
    /// Others, by name.
    others: Vec<(String, Vec<u8>)>,
}

impl Loose {
    fn new(scratch: &Path, name: &str) -> Self {
        let from = scratch.join(format!("{name}.from"));
        unpacked(2, &from);
        let read = |below: &str| fs::read(files(&from.join(below)).remove(0)).unwrap();
        Self {
            directory: scratch.join(name),
            bundle: read("bundle"),
            seal: read("seal"),
            proof: read("proof"),
            keys: read("document/keys"),
            others: Vec::new(),
        }
    }

    /// Writes those that are not empty.
    fn written(&self) -> Vec<PathBuf> {
        fs::create_dir_all(&self.directory).unwrap();
        let own = [
            ("bundle.zip", &self.bundle),
            ("entry.sigstore.json", &self.seal),
            ("4.tlog-proof", &self.proof),
            ("keys.json", &self.keys),
        ];
        let all = own.into_iter().chain(self.others.iter().map(|(name, bytes)| (name.as_str(), bytes)));
        let put = |(name, bytes): (&str, &Vec<u8>)| {
            let path = self.directory.join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        all.filter(|(_, bytes)| !bytes.is_empty()).map(put).collect()
    }

    fn payload(&self) -> String {
        String::from_utf8(seal::Seal::from_bytes(&self.seal).unwrap().payload).unwrap()
    }

    /// Seals another statement, by a key of the owner.
    fn sealed(&mut self, payload: &str, by: &FileKey) {
        let signature = by.sign(&seal::pae("application/vnd.in-toto+json", payload.as_bytes())).unwrap();
        self.seal = seal::seal(payload.as_bytes(), &by.public().fingerprint(), &signature);
    }
}

/// Swaps two texts that must be there.
fn swap(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    *bytes = text.replacen(from, to, 1).into_bytes();
}

/// Changes the base64 of a member, and keeps it base64.
fn spoil(bytes: &mut [u8], after: &str) {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let at = text.find(after).unwrap() + after.len() + 20;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
}

/// A statement changed under its old signature.
fn restated(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    let inner = if value.get("dsseEnvelope").is_some() { &mut value["dsseEnvelope"] } else { &mut value };
    let mut payload = STANDARD.decode(inner["payload"].as_str().unwrap()).unwrap();
    swap(&mut payload, from, to);
    inner["payload"] = STANDARD.encode(payload).into();
    *bytes = serde_json::to_vec(&value).unwrap();
}

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

fn page(scratch: &Path) -> PathBuf {
    let page = scratch.join("verify.html");
    fs::write(&page, report::html::VERIFY_PAGE.as_bytes()).unwrap();
    page
}

fn quiet(name: &str, told: &Value) {
    for silent in ["said", "requests"] {
        assert!(told[silent].as_array().unwrap().is_empty(), "{name}: {silent}: {}", told[silent]);
    }
}

/// That the verdict is this, that it is said at this step, and that no later step passes.
fn judged(name: &str, told: &Value, verdict: &str, step: usize, word: &str) {
    quiet(name, told);
    assert_eq!(told["verdict"], verdict, "{name}: {told}");
    let steps = told["steps"].as_array().unwrap();
    let last = if verdict == "verified" { "ok" } else { verdict };
    let step = if word == "other.zip" { steps.len() - 1 } else { step };
    assert_eq!(steps[step]["state"], last, "{name}: {told}");
    assert!(steps[step]["text"].as_str().unwrap().contains(word), "{name}: {told}");
    for (n, one) in steps.iter().enumerate() {
        let wanted = match n.cmp(&step) {
            std::cmp::Ordering::Less => "ok",
            std::cmp::Ordering::Equal => last,
            std::cmp::Ordering::Greater => "not reached",
        };
        assert_eq!(one["state"], wanted, "{name}, step {n}: {told}");
    }
    assert_eq!(told["again"], false, "{name}: the verdict stays when the fingerprint is another");
}

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
