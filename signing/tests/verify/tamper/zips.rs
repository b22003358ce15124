//! Bundles that no agent makes, validly sealed: what another reader of ZIP files would see, or choke on. They are opened with `--deep`.

use std::io::{Cursor, Write as _};

use chrono::TimeDelta;
use signing::{digest::Digest, layout, statement::Statement, verify::Options};
use zip::{ZipWriter, write::SimpleFileOptions};

use super::{Made, Row, Said, all_as_wanted, as_documented, said, spelled, trusting};
use crate::sound::*;

/// A case: what is made of a sound bundle's bytes.
struct Case {
    name: &'static str,
    zip: fn(Vec<u8>) -> Vec<u8>,
    said: Said,
}

const ZIP: Said = Said::Finds(&["DEEP-ZIP"]);

const CASES: &[Case] = &[
    Case { name: "bytes after the end", zip: |zip| [zip, b"more".to_vec()].concat(), said: ZIP },
    Case { name: "bytes before the start", zip: |zip| [b"#!/bin/sh\n".to_vec(), zip].concat(), said: ZIP },
    Case { name: "another ZIP behind it", zip: |zip| [zip.clone(), zip].concat(), said: ZIP },
    Case { name: "a comment", zip: commented, said: ZIP },
    Case { name: "a second file of one name", zip: second_of_a_name, said: ZIP },
    Case { name: "a second file of one name in other case", zip: |zip| with(&zip, "RUN.JSON"), said: ZIP },
    Case { name: "a path that leaves it", zip: |zip| with(&zip, "../../etc/cron.d/x"), said: ZIP },
    Case { name: "a path from the root", zip: |zip| with(&zip, "/etc/cron.d/x"), said: ZIP },
    Case { name: "a path of Windows", zip: |zip| with(&zip, "..\\x"), said: ZIP },
    Case { name: "a device of Windows", zip: |zip| with(&zip, "nul.txt"), said: ZIP },
    Case {
        name: "a file that is longer than its header says",
        zip: longer_than_said,
        said: Said::Finds(&["DEEP-SUMS"]),
    },
    Case { name: "a file that says that it has 70 GiB", zip: bomb, said: ZIP },
    Case { name: "one file in the place of two", zip: overlapping, said: ZIP },
];

/// The sound bundle's files with one more, in the order of the format.
fn with(zip: &[u8], name: &str) -> Vec<u8> {
    let mut old = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
    let mut new = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .last_modified_time(zip::DateTime::default())
        .system(zip::System::Unix)
        .unix_permissions(0o644);
    let mut files = Vec::new();
    for at in 0..old.len() {
        let mut file = old.by_index(at).unwrap();
        let mut bytes = Vec::new();
        std::io::copy(&mut file, &mut bytes).unwrap();
        files.push((file.name().unwrap().into_owned(), bytes));
    }
    files.push((name.to_owned(), b"x".to_vec()));
    files[1..].sort();
    for (name, bytes) in files {
        new.start_file(name, options).unwrap();
        new.write_all(&bytes).unwrap();
    }
    new.finish().unwrap().into_inner()
}

/// Another name of the same length in both headers of a file.
fn second_of_a_name(zip: Vec<u8>) -> Vec<u8> {
    renamed(with(&zip, "run.jsoo"), b"run.jsoo", b"run.json")
}

fn renamed(mut zip: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let places: Vec<usize> = (0..zip.len() - from.len()).filter(|at| &zip[*at..*at + from.len()] == from).collect();
    assert_eq!(places.len(), 2, "a local and a central header");
    for at in places {
        zip[at..at + to.len()].copy_from_slice(to);
    }
    zip
}

/// Where the central directory starts, by the end record.
fn directory(zip: &[u8]) -> usize {
    u32::from_le_bytes(zip[zip.len() - 6..zip.len() - 2].try_into().unwrap()) as usize
}

/// APPNOTE 4.3.12: the length at 24, the place of the local header at 42.
fn said_length(mut zip: Vec<u8>, length: u32) -> Vec<u8> {
    let central = directory(&zip);
    let local = u32::from_le_bytes(zip[central + 42..central + 46].try_into().unwrap()) as usize;
    zip[central + 24..central + 28].copy_from_slice(&length.to_le_bytes());
    zip[local + 22..local + 26].copy_from_slice(&length.to_le_bytes());
    zip
}

fn longer_than_said(zip: Vec<u8>) -> Vec<u8> {
    said_length(zip, 3)
}

/// Files of 4 GiB each, as their headers say: more together than may be unpacked.
fn bomb(zip: Vec<u8>) -> Vec<u8> {
    let mut zip = (0..18).fold(zip, |zip, at| with(&zip, &format!("bomb/{at:02}")));
    let mut central = directory(&zip);
    while zip[central..].starts_with(b"PK\x01\x02") {
        let local = u32::from_le_bytes(zip[central + 42..central + 46].try_into().unwrap()) as usize;
        zip[central + 24..central + 28].copy_from_slice(&(u32::MAX - 1).to_le_bytes());
        zip[local + 22..local + 26].copy_from_slice(&(u32::MAX - 1).to_le_bytes());
        central += 46 + usize::from(u16::from_le_bytes([zip[central + 28], zip[central + 29]]));
    }
    zip
}

/// The second entry's local header is the first one's.
fn overlapping(mut zip: Vec<u8>) -> Vec<u8> {
    let first = directory(&zip);
    let second = first + 46 + usize::from(u16::from_le_bytes([zip[first + 28], zip[first + 29]]));
    zip.copy_within(first + 42..first + 46, second + 42);
    zip
}

fn commented(mut zip: Vec<u8>) -> Vec<u8> {
    let at = zip.len() - 2;
    zip[at..].copy_from_slice(&2_u16.to_le_bytes());
    [zip, b"hi".to_vec()].concat()
}

/// An archive with that bundle, sealed and logged.
fn sealed(change: fn(Vec<u8>) -> Vec<u8>) -> Made {
    let name = std::cell::RefCell::new(String::new());
    let memory = small(|writer| {
        writer.now += TimeDelta::minutes(5);
        let mut statement: Statement = writer.receipt(&job("host/accounts"), None, |_| {});
        let path = writer.dir.join(&statement.subject[0].name);
        let zip = change(std::fs::read(&path).unwrap());
        std::fs::remove_file(path).unwrap();
        let digest = Digest::of(&zip);
        statement.subject[0].digest.sha256 = digest;
        statement.subject[0].name = layout::bundle_by_hand(writer.now, &job("host/accounts"), digest);
        writer.put(&statement.subject[0].name, &zip);
        writer.seal(&statement);
        name.replace(statement.subject[0].name.clone());
    });
    Made { memory, object: name.into_inner() }
}

#[test]
fn every_odd_bundle_is_refused_although_it_is_validly_sealed() {
    let row = |case: &Case| {
        let made = sealed(case.zip);
        let verdict = made.memory.judge_with(&Options { deep: Some(&Lengths), ..trusting() });
        Row { case: case.name.into(), wanted: spelled(case.said), found: said(&verdict, &made.object, case.said) }
    };
    all_as_wanted(&CASES.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn the_table_of_odd_bundles_is_documented() {
    let mut table = "| a bundle with | `--deep` |\n| --- | --- |\n".to_owned();
    for case in CASES {
        table += &format!("| {} | {} |\n", case.name, spelled(case.said));
    }
    as_documented(&table);
}
