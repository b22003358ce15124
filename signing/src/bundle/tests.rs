#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{fs, io::Cursor, path::Path};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

mod zip64;

fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

fn written(dir: &Path) -> (Written, Vec<u8>) {
    let mut out = Cursor::new(Vec::new());
    let written = write(dir, &mut out).unwrap();
    (written, out.into_inner())
}

const FILES: &[(&str, &[u8])] = &[
    ("run.json", b"{\"a\":1}"),
    ("exchanges/00000001-read-file.txt", b"root:x:0:0:root:/root:/bin/bash\n"),
    ("exchanges.jsonl", b"{}\n"),
    ("log.txt", b""),
];

fn open(bytes: &[u8]) -> Result<Bundle<Cursor<&[u8]>>, BundleError> {
    Bundle::open(Cursor::new(bytes), 1 << 20)
}

/// Everything in it, read strictly.
fn contents(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, BundleError> {
    let mut bundle = open(bytes)?;
    bundle.check_sums()?;
    let names: Vec<_> = bundle.names().map(str::to_owned).collect();
    names.into_iter().map(|n| bundle.file(&n).map(|b| (n, b))).collect()
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let mut other = FILES.to_vec();
    other.reverse();
    let (a, b) = (directory(FILES), directory(&other));
    let touched = fs::File::options().append(true).open(b.path().join("log.txt")).unwrap();
    touched.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(written(a.path()), written(b.path()));
}

#[test]
fn a_bundle_comes_back_with_its_sums_first_and_the_files_sorted() {
    let dir = directory(FILES);
    let (said, bytes) = written(dir.path());
    let mut bundle = open(&bytes).unwrap();
    let names: Vec<_> = bundle.names().map(str::to_owned).collect();
    assert_eq!(names, ["SHA256SUMS", "exchanges.jsonl", "exchanges/00000001-read-file.txt", "log.txt", "run.json"]);
    assert_eq!(bundle.check_sums().unwrap(), said.sums);
    assert_eq!(Digest::of(&bundle.file(SUMS).unwrap()), said.sums);
    assert_eq!(said.files, 4);
    for (name, wanted) in FILES {
        assert_eq!(bundle.file(name).unwrap(), *wanted);
        assert_eq!(bundle.length(name), Some(wanted.len() as u64));
    }
    assert!(matches!(bundle.file("nothing"), Err(BundleError::Missing(_))));
}

#[test]
fn every_altered_byte_is_an_error_or_changes_nothing() {
    let dir = directory(FILES);
    let (_, bytes) = written(dir.path());
    let good = contents(&bytes).unwrap();
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[place] ^= 1 << bit;
            if let Ok(found) = contents(&altered) {
                assert_eq!(found, good, "byte {place}, bit {bit}");
            }
        }
    }
}

#[test]
fn bytes_before_between_after_and_missing_are_errors() {
    let dir = directory(FILES);
    let (_, bytes) = written(dir.path());
    for place in 0..=bytes.len() {
        let mut longer = bytes.clone();
        longer.insert(place, 0);
        assert!(contents(&longer).is_err(), "a byte inserted at {place}");
        if place < bytes.len() {
            assert!(contents(&bytes[..place]).is_err(), "cut at {place}");
        }
    }
    assert!(open(&[b"X", bytes.as_slice()].concat()).is_err());
    assert!(open(&[bytes.as_slice(), bytes.as_slice()].concat()).is_err());
}

/// A ZIP by the zip crate with these entries, whatever they are.
fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::Write as _;
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = zip::write::SimpleFileOptions::default()
            .last_modified_time(zip::DateTime::default())
            .system(zip::System::Unix)
            .unix_permissions(0o644);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn with_sums(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let sums: String = entries.iter().map(|(n, b)| format!("{}  {n}\n", Digest::of(b))).collect();
    let all: Vec<_> = std::iter::once((SUMS, sums.as_bytes())).chain(entries.iter().copied()).collect();
    zipped(&all)
}

#[test]
fn names_that_some_system_reads_otherwise_are_refused() {
    assert!(contents(&with_sums(&[("a/b.txt", b"x"), ("c", b"")])).is_ok());
    for name in [
        "/a",
        "a//b",
        "../a",
        "a/../b",
        "a/.",
        ".hidden",
        "a\\b",
        "c:a",
        "a b",
        "ä",
        "a.",
        "con",
        "a/NUL.txt",
        "com1.x",
        "a\nb",
        "",
    ] {
        assert!(
            matches!(contents(&with_sums(&[(name, b"x")])), Err(BundleError::Name { .. } | BundleError::Shape(_))),
            "{name:?}"
        );
    }
    let long = "x".repeat(201);
    assert!(matches!(contents(&with_sums(&[(&long, b"x")])), Err(BundleError::Name { .. })));
}

#[test]
fn names_that_come_twice_in_any_case_or_as_a_directory_are_refused() {
    for pair in [["A", "a"], ["a", "a/b"], ["A", "a/b"], ["SHA256SUMS2", "sha256sums"]] {
        let entries = pair.map(|n| (n, b"x".as_slice()));
        assert!(matches!(contents(&with_sums(&entries)), Err(BundleError::Name { .. })), "{pair:?}");
        if pair[0].to_lowercase() != pair[1] {
            continue;
        }
        assert!(matches!(
            write(directory(&entries).path(), &mut Cursor::new(Vec::new())),
            Err(BundleError::Name { .. })
        ));
    }
}

#[test]
fn sums_must_be_first_and_list_every_file_once_and_no_other() {
    let digest = Digest::of(b"x");
    let sums = |text: &str| contents(&zipped(&[(SUMS, text.as_bytes()), ("a", b"x"), ("b", b"x")]));
    assert!(sums(&format!("{digest}  a\n{digest}  b\n")).is_ok());
    assert!(matches!(sums(&format!("{digest}  a\n")), Err(BundleError::Unlisted(n)) if n == "b"));
    assert!(
        matches!(sums(&format!("{digest}  a\n{digest}  b\n{digest}  c\n")), Err(BundleError::Missing(n)) if n == "c")
    );
    assert!(matches!(sums(&format!("{digest}  b\n{digest}  a\n")), Err(BundleError::Sums(2))));
    assert!(matches!(sums(&format!("{digest}  a\n{digest}  a\n{digest}  b\n")), Err(BundleError::Sums(2))));
    assert!(matches!(sums(&format!("{digest}  a\n{digest}  b")), Err(BundleError::Sums(2))));
    assert!(matches!(sums(&format!("{digest} *a\n{digest}  b\n")), Err(BundleError::Sums(1))));
    let other = Digest::of(b"y");
    assert!(
        matches!(sums(&format!("{digest}  a\n{other}  b\n")), Err(BundleError::Digest { name, .. }) if name == "b")
    );
    assert!(matches!(contents(&zipped(&[("a", b"x")])), Err(BundleError::Shape(_))));
    assert!(matches!(contents(&zipped(&[])), Err(BundleError::Shape(_))));
    let unsorted = format!("{digest}  a\n{digest}  b\n");
    assert!(matches!(
        contents(&zipped(&[(SUMS, unsorted.as_bytes()), ("b", b"x"), ("a", b"x")])),
        Err(BundleError::Shape(_))
    ));
}

#[test]
fn a_bomb_is_refused_before_it_is_unpacked() {
    let zeros = vec![0; 1 << 20];
    let bytes = with_sums(&[("a", &zeros)]);
    assert!(bytes.len() < 4096);
    assert!(matches!(Bundle::open(Cursor::new(&bytes), 1 << 20), Err(BundleError::TooLarge { .. })));
    // A header that lies about the length, in both places.
    let mut lying = bytes.clone();
    let length = (1_u32 << 20).to_le_bytes();
    let places: Vec<_> = (0..lying.len() - 4).filter(|i| lying[*i..*i + 4] == length).collect();
    for place in places {
        lying[place..place + 4].copy_from_slice(&100_u32.to_le_bytes());
    }
    let mut bundle = Bundle::open(Cursor::new(&lying), 1 << 20).unwrap();
    assert!(matches!(bundle.file("a"), Err(BundleError::Damaged { .. })));
}

#[test]
fn what_is_no_plain_file_or_is_named_like_the_sums_is_not_bundled() {
    let write = |dir: &TempDir| write(dir.path(), &mut Cursor::new(Vec::new()));
    let dir = directory(FILES);
    std::os::unix::fs::symlink("log.txt", dir.path().join("link")).unwrap();
    assert!(matches!(write(&dir), Err(BundleError::NoFile(n)) if n == "link"));
    assert!(matches!(write(&directory(&[(SUMS, b"")])), Err(BundleError::Name { .. })));
    assert!(matches!(write(&directory(&[("a b", b"")])), Err(BundleError::Name { .. })));
}

#[test]
fn run_facts_refuse_members_that_the_format_does_not_have() {
    let text = r#"{"format":"evidenced-run/1","job":"host/x@this","slot":null,"source":{"name":"this","kind":"host","identity":{}},
        "collector":{"id":"host/x","version":1},"agent":{"version":"0.1.0"},
        "plan":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","started_at":"2026-11-22T04:00:00Z",
        "ended_at":"2026-11-22T04:00:01Z","attempts":[{"started_at":"2026-11-22T04:00:00Z","ended_at":"2026-11-22T04:00:01Z",
        "error":null}],"outcome":"partial","reason":"r","late":false,"populations":{"a":{"state":"whole"},"b":{"state":"cut",
        "reason":"page 2 was refused"}},"gaps":[],"records":{"a":1,"b":0},"window":null,"inputs":[]}"#;
    let facts: RunFacts = serde_json::from_str(text).unwrap();
    assert_eq!(facts.populations["b"], Population::Cut("page 2 was refused".into()));
    assert_eq!(serde_json::from_str::<RunFacts>(&serde_json::to_string(&facts).unwrap()).unwrap(), facts);
    for (from, to) in [
        (r#""late":false"#, r#""late":false,"zz":1"#),
        (r#""version":1}"#, r#""version":1,"zz":1}"#),
        (r#"{"a":1,"b":0}"#, r#"{"a":1,"a":0}"#),
        (r#"{"state":"whole"}"#, r#"{"state":"whole","zz":1}"#),
        (r#"{"state":"whole"}"#, r#"{"state":"good"}"#),
    ] {
        let altered = text.replace(from, to);
        assert_ne!(altered, text);
        assert!(serde_json::from_str::<RunFacts>(&altered).is_err(), "{to}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_files_come_back(files in proptest::collection::btree_map("[a-z]{4,8}(/[a-z]{4,8})?", proptest::collection::vec(any::<u8>(), 0..3000), 0..8)) {
        let mut names = name::Names::default();
        files.keys().for_each(|n| names.push(n).unwrap());
        prop_assume!(names.check_together().is_ok());
        let given: Vec<_> = files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
        let dir = directory(&given);
        let (said, bytes) = written(dir.path());
        prop_assert_eq!(said.files, files.len() as u64);
        let found: std::collections::BTreeMap<_, _> = contents(&bytes).unwrap().into_iter().filter(|(n, _)| n != SUMS).collect();
        prop_assert_eq!(found, files);
    }

    #[test]
    fn random_bytes_are_no_bundle_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(contents(&bytes).is_err());
    }
}
