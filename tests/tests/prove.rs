//! One entry, packed by `prove`, is verified alone; and both programs that verify end alike.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use signing::{
    digest::Digest,
    keys::FileKey,
    log::{Checkpoint, Edge, entries},
    statement::RECEIPT_V1,
    store::Dir,
};
use tests::program::{Place, files, text, verifier, workspace};

/// `evidenced verify` and `evidenced-verify` with these arguments: the exit code and the output, which must be the same.
fn both(place: &Place, arguments: &[&str]) -> (i32, String) {
    let own = place.run([&["verify"], arguments].concat());
    let alone = Command::new(verifier()).args(arguments).current_dir(place.path()).output().unwrap();
    assert_eq!(text(&own.stdout), text(&alone.stdout), "{}", text(&alone.stderr));
    assert_eq!(own.status.code(), alone.status.code());
    (own.status.code().unwrap(), text(&own.stdout))
}

fn vectors() -> (Value, std::path::PathBuf) {
    let directory = workspace().join("docs/vectors");
    (serde_json::from_slice(&fs::read(directory.join("vectors.json")).unwrap()).unwrap(), directory.join("archive"))
}

fn root() -> String {
    vectors().0["keys"]["root"]["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn a_packed_entry_verifies_alone_by_both_programs_and_says_what_it_does_not_show() {
    let place = Place::new();
    place.expect(0, ["collect", "host/accounts"]);
    let root = place.root();
    let shown: Value = serde_json::from_str(&place.expect(0, ["show", "./evidence", "--json"])).unwrap();
    let index = shown["size"].as_u64().unwrap() - 1;
    let said = place.expect(0, ["prove", &index.to_string(), "./evidence"]);
    let file = format!("entry-{index}.zip");
    assert!(said.contains(&format!("evidenced verify {file} --trust")), "{said}");

    fs::rename(place.path().join("evidence"), place.path().join("away")).unwrap();
    let (code, said) = both(&place, &[&file, "--trust", &root]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("(limit ONE-ENTRY)") && said.contains("ENTRY INTACT"), "{said}");
    let deep = place.expect(0, ["verify", &file, "--trust", &root, "--deep"]);
    assert!(deep.contains("1 bundle opened; of 1 the records follow again"), "{deep}");

    // As a person opens it.
    let mut zip = zip::ZipArchive::new(fs::File::open(place.path().join(&file)).unwrap()).unwrap();
    zip.extract(place.path().join("opened")).unwrap();
    assert_eq!(both(&place, &["opened", "--trust", &root]).0, 0);
    let bundle = files(&place.path().join("opened/bundle")).remove(0);
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[100] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let (code, said) = both(&place, &["opened", "--trust", &root]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("BUNDLE-DIGEST"), "{said}");

    let nobody = format!("SHA256:{}", "A".repeat(43));
    assert_eq!(both(&place, &[&file, "--trust", &nobody]).0, 2);
    assert_eq!(both(&place, &["nothing.zip", "--trust", &root]).0, 2);
    fs::write(place.path().join("other.zip"), "no package").unwrap();
    assert_eq!(both(&place, &["other.zip", "--trust", &root]).0, 2);
}

/// The vectors' archive with a fifth entry of a kind that this version does not know, under their public keys.
fn newer(to: &Path) {
    let (vectors, from) = vectors();
    for path in files(&from) {
        let name = path.strip_prefix(&from).unwrap();
        if !name.starts_with("tile") {
            fs::create_dir_all(to.join(name).parent().unwrap()).unwrap();
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
    let mut leaves = Vec::new();
    entries(&Dir::new(&from), 0, 4, &mut |_, leaf| {
        leaves.push(leaf.to_vec());
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    let newer = String::from_utf8(leaves[2].clone()).unwrap().replace(RECEIPT_V1, "urn:evidenced:receipt:v2");
    leaves.push(newer.into_bytes());
    let mut edge = Edge::empty();
    edge.append(&leaves, &mut |name, bytes| {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    })
    .unwrap();
    let seed = vectors["keys"]["checkpoints"]["seed"].as_str().unwrap();
    let seed = seed.parse::<Digest>().unwrap().0;
    let origin = vectors["origin"].as_str().unwrap().to_owned();
    let head = Checkpoint { origin, size: 5, root: edge.root() };
    fs::write(to.join("checkpoint"), head.sign(&FileKey::from_seed(&seed)).unwrap()).unwrap();
}

#[test]
fn an_entry_of_a_newer_kind_is_exit_2_by_both_programs_in_an_archive_and_alone() {
    let place = Place::new();
    newer(&place.path().join("newer"));
    let (code, said) = both(&place, &["newer", "--trust", &root()]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("CANNOT VERIFY: entry 4") && said.contains("receipt:v2"), "{said}");

    let archive = vectors().1;
    place.expect(0, ["prove", "2", archive.to_str().unwrap(), "--output", "two.zip"]);
    let mut zip = zip::ZipArchive::new(fs::File::open(place.path().join("two.zip")).unwrap()).unwrap();
    zip.extract(place.path().join("two")).unwrap();
    let leaf = place.path().join("two/statement.json");
    let changed = fs::read_to_string(&leaf).unwrap().replace(RECEIPT_V1, "urn:evidenced:receipt:v2");
    fs::write(leaf, changed).unwrap();
    let (code, said) = both(&place, &["two", "--trust", &root()]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("receipt:v2"), "{said}");
}

#[test]
fn the_program_without_network_says_so_of_a_bucket() {
    let output = Command::new(verifier()).args(["s3://bucket/prefix", "--trust", &root()]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).contains("this program has no network"), "{}", text(&output.stdout));
}
