//! Packages of the vectors' archive: made, verified, and altered in every object.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{collections::BTreeMap, fs, io, path::Path};

use super::*;
use crate::{
    bundle,
    log::OfflineProof,
    store::{Dir, Reader},
    verify::{self, CannotVerify, Code, EntryVerdict, Options},
};

fn vectors() -> Dir {
    Dir::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/vectors/archive"))
}

fn trust() -> String {
    let vectors = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/vectors/vectors.json")).unwrap();
    let vectors: serde_json::Value = serde_json::from_slice(&vectors).unwrap();
    vectors["keys"]["root"]["fingerprint"].as_str().unwrap().to_owned()
}

/// A package, in memory.
#[derive(Clone, Debug, PartialEq)]
struct Objects(BTreeMap<String, Vec<u8>>);

impl Reader for Objects {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn io::Read + Send + '_>>> {
        Ok(self.0.get(name).map(|bytes| Box::new(bytes.as_slice()) as _))
    }
    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        self.0.keys().filter(|name| name.starts_with(prefix)).for_each(|name| each(name));
        Ok(())
    }
}

fn made(index: u64) -> (Objects, Made) {
    let mut objects = BTreeMap::new();
    let made = make(&vectors(), index, &mut |name, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        assert!(objects.insert(name.to_owned(), bytes).is_none(), "{name} is given twice");
        Ok(())
    });
    let made = made.unwrap();
    (Objects(objects), made)
}

fn judged(objects: &Objects) -> Result<EntryVerdict, CannotVerify> {
    verify::entry(objects, &Options::trusting(trust()))
}

fn codes(objects: &Objects) -> Vec<Code> {
    judged(objects).unwrap().findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn the_package_of_every_entry_verifies_alone_and_says_what_it_cannot_show() {
    for index in 0..4 {
        let (objects, made) = made(index);
        let verdict = judged(&objects).unwrap();
        assert_eq!(verdict.findings, [], "entry {index}");
        assert_eq!((verdict.index, verdict.proved_in.as_slice()), (index, [4].as_slice()));
        assert_eq!(verdict.subject.as_deref(), Some(made.subject.as_str()));
        let limits: Vec<&str> = verdict.limits.iter().map(|limit| limit.code).collect();
        assert_eq!(limits, ["TIME-UNTRUSTED", "ONE-ENTRY", "ONE-ENTRY-KEYS"]);
        assert!(verdict.statement.starts_with("ENTRY INTACT, with 3 limits."), "{}", verdict.statement);
    }
    let error = make(&vectors(), 4, &mut |_, _| Ok(())).unwrap_err();
    assert!(crate::errors::chain(&error).contains("leaf 4"), "{error:?}");
}

#[test]
fn every_flipped_byte_is_seen_but_for_what_is_written_for_people() {
    let (objects, _) = made(2);
    for (name, bytes) in objects.0.iter().filter(|(name, _)| *name != README) {
        for at in (0..bytes.len()).step_by(bytes.len().div_ceil(40)) {
            let mut altered = objects.clone();
            altered.0.get_mut(name).unwrap()[at] ^= 0x01;
            match judged(&altered) {
                Ok(verdict) => assert!(!verdict.intact, "byte {at} of {name} was changed, and nothing was found"),
                Err(_) => assert!(name == ABOUT || name == LEAF || name.starts_with("document/keys"), "{name}"),
            }
        }
    }
}

/// Which objects.
type Which<'a> = &'a dyn Fn(&str) -> bool;

#[test]
fn what_is_missing_is_named() {
    let (objects, made) = made(2);
    let cases: [(Which<'_>, Code); 6] = [
        (&|name| name == LEAF, Code::EntriesMissing),
        (&|name| name.starts_with("seal/"), Code::SealMissing),
        (&|name| name.starts_with("proof/"), Code::ProofMissing),
        (&|name| name.starts_with("document/plan/"), Code::DocumentMissing),
        (&|name| name == made.subject, Code::BundleMissing),
        (&|name| name == README, Code::UnknownObject),
    ];
    for (which, code) in cases {
        let mut altered = objects.clone();
        altered.0.retain(|name, _| !which(name));
        assert_ne!(altered, objects);
        match code {
            // The text for people may go; something that nobody knows may not come.
            Code::UnknownObject => {
                assert_eq!(codes(&altered), []);
                altered.0.insert("bundle/other.zip".to_owned(), Vec::new());
                assert_eq!(codes(&altered), [code]);
            }
            Code::EntriesMissing => assert!(codes(&altered).contains(&code)),
            _ => assert_eq!(codes(&altered), [code]),
        }
    }
}

#[test]
fn another_entry_or_another_log_is_not_what_was_proved() {
    let (objects, _) = made(2);
    let (other, _) = made(3);
    let mut swapped = objects.clone();
    swapped.0.insert(LEAF.to_owned(), other.0[LEAF].clone());
    assert!(codes(&swapped).contains(&Code::ProofInclusion));

    let mut moved = objects.clone();
    let (read, head) = OfflineProof::from_bytes(&objects.0[&proof(4)]).unwrap();
    let elsewhere = OfflineProof { index: 3, ..read.clone() };
    moved.0.insert(proof(4), elsewhere.to_bytes());
    assert_eq!(codes(&moved), [Code::ProofInclusion]);

    // A log that somebody else signs.
    let mut forged = objects.clone();
    let key = crate::keys::FileKey::from_seed(&[77; 32]);
    forged.0.insert(proof(4), OfflineProof { checkpoint: head.sign(&key).unwrap(), ..read }.to_bytes());
    assert_eq!(codes(&forged), [Code::CheckpointSignature]);
}

#[test]
fn what_cannot_be_verified_is_never_a_verdict() {
    let (objects, _) = made(2);
    let alter = |name: &str, from: &str, to: &str| {
        let mut altered = objects.clone();
        let text = String::from_utf8(altered.0[name].clone()).unwrap();
        assert!(text.contains(from), "{text}");
        altered.0.insert(name.to_owned(), text.replace(from, to).into_bytes());
        judged(&altered)
    };
    let newer = alter(ABOUT, "package/1", "package/2").unwrap_err();
    assert!(newer.reason.contains("newer"), "{newer}");
    let unknown = alter(LEAF, "urn:evidenced:receipt:v1", "urn:evidenced:receipt:v2").unwrap_err();
    assert!(unknown.reason.contains("urn:evidenced:receipt:v2"), "{unknown}");

    assert!(judged(&Objects(BTreeMap::new())).unwrap_err().reason.contains("evidenced prove"));
    let mut without_keys = objects.clone();
    without_keys.0.retain(|name, _| !name.starts_with("document/keys/"));
    assert!(judged(&without_keys).unwrap_err().reason.contains("--keys"));
    let another = format!("SHA256:{}", "A".repeat(43));
    assert!(verify::entry(&objects, &Options::trusting(another)).is_err());
    let other_log = Options { origin: Some("example.org/other".to_owned()), ..Options::trusting(trust()) };
    assert!(verify::entry(&objects, &other_log).is_err());
}

#[test]
fn a_file_is_read_as_the_directory_that_it_was_made_of() {
    let scratch = tempfile::tempdir().unwrap();
    let (objects, _) = made(2);
    let directory = scratch.path().join("package");
    for (name, bytes) in &objects.0 {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let file = scratch.path().join("entry.zip");
    let write = |path: &Path| bundle::write(&directory, &mut fs::File::create(path).unwrap()).unwrap();
    write(&file);
    let options = Options::trusting(trust());
    let zipped = verify::entry(&Zipped::open(&file).unwrap(), &options).unwrap();
    let plain = verify::entry(&Dir::new(&directory), &options).unwrap();
    assert_eq!(zipped.findings, []);
    assert_eq!(zipped.sections, plain.sections);

    let bytes = fs::read(&file).unwrap();
    for (altered, what) in [
        ([bytes.as_slice(), b"more"].concat(), "bytes behind it"),
        (bytes[..bytes.len() - 1].to_vec(), "cut off"),
        (Vec::new(), "nothing"),
    ] {
        fs::write(&file, altered).unwrap();
        assert!(Zipped::open(&file).is_err(), "{what}");
    }
}

/// Knows no collector.
struct Nobody;

impl verify::Rederive for Nobody {
    fn rederive(
        &self,
        _: &mut bundle::Bundle<tempfile::SpooledTempFile>,
        _: &bundle::RunFacts,
        _: &crate::statement::Receipt,
    ) -> Result<verify::Derived, String> {
        Ok(verify::Derived::Unknown("nobody's".to_owned()))
    }
}

#[test]
fn the_bundle_of_a_package_is_opened_where_that_is_asked() {
    let options = Options { deep: Some(&Nobody), ..Options::trusting(trust()) };
    let verdict = verify::entry(&made(2).0, &options).unwrap();
    assert_eq!(verdict.findings, []);
    assert!(verdict.sections.iter().any(|section| section.says.starts_with("1 bundle opened")), "{verdict:?}");
    assert!(verdict.limits.iter().any(|limit| limit.code == "DEEP-UNKNOWN-COLLECTOR"), "{verdict:?}");
}
