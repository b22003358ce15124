//! ZIP64: what is too long or too many for ZIP's own fields. Most tests lower the bounds, so that every structure is in a small bundle.

use std::io::Write as _;

use super::*;
use crate::bundle::header::{Classic, END64_LENGTH};

/// Of the files below, two are too long, some start too far in, and they are too many.
const LOW: Classic = Classic { bytes: 400, files: 4 };

/// Bytes that do not pack.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn low() -> (TempDir, Vec<u8>) {
    let long = noise(500);
    let files: [(&str, &[u8]); 5] =
        [("a.txt", b"first"), ("b/long.bin", &long), ("b/short.txt", b""), ("c.bin", &long), ("run.json", b"{}")];
    let dir = directory(&files);
    let bytes = written_as(dir.path(), LOW);
    (dir, bytes)
}

fn written_as(dir: &Path, classic: Classic) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    write::write_as(dir, &mut out, classic).unwrap();
    out.into_inner()
}

fn open_as(bytes: &[u8], classic: Classic) -> Result<Bundle<Cursor<&[u8]>>, BundleError> {
    Bundle::open_as(Cursor::new(bytes), 1 << 20, classic)
}

fn contents_as(bytes: &[u8], classic: Classic) -> Result<Vec<(String, Vec<u8>)>, BundleError> {
    let mut bundle = open_as(bytes, classic)?;
    bundle.check_sums()?;
    let names: Vec<_> = bundle.names().map(str::to_owned).collect();
    names.into_iter().map(|n| bundle.file(&n).map(|b| (n, b))).collect()
}

/// Every place of these bytes.
fn places(bytes: &[u8], of: &[u8]) -> Vec<usize> {
    (0..bytes.len().saturating_sub(of.len())).filter(|at| bytes[*at..].starts_with(of)).collect()
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn where_zips_own_fields_suffice_the_bytes_are_those_of_a_zip_without_zip64() {
    let (long, longer) = (noise(300_000), vec![b'x'; 65_536]);
    let mut names: Vec<String> = (0..2000).map(|n| format!("exchanges/{n:08}-list.json")).collect();
    names.sort();
    let mut files: Vec<(&str, &[u8])> =
        vec![("a", b""), ("b", &longer), ("c", &longer[1..]), ("d", &long), ("e", b"e")];
    files.extend(names.iter().map(|name| (name.as_str(), name.as_bytes())));
    files.push(("run.json", &long[1..]));
    let (_, bytes) = written(directory(&files).path());

    let sums: String = files.iter().map(|(n, b)| format!("{}  {n}\n", Digest::of(b))).collect();
    assert!(sums.len() > 128 * 1024, "it takes several blocks");
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default()
        .compression_level(Some(6))
        .last_modified_time(zip::DateTime::default())
        .system(zip::System::Unix)
        .unix_permissions(0o644);
    for (name, bytes) in std::iter::once((SUMS, sums.as_bytes())).chain(files) {
        zip.start_file(name, options).unwrap();
        for block in bytes.chunks(64 * 1024) {
            zip.write_all(block).unwrap();
        }
    }
    assert!(zip.finish().unwrap().into_inner() == bytes);
}

#[test]
fn what_needs_zip64_comes_back_and_what_does_not_is_spelled_without_it() {
    let (dir, bytes) = low();
    let found = contents_as(&bytes, LOW).unwrap();
    assert_eq!(found.len(), 6);
    assert_eq!(found[2], ("b/long.bin".to_owned(), fs::read(dir.path().join("b/long.bin")).unwrap()));
    assert!(contents_as(&written(dir.path()).1, LOW).is_err(), "a number that does not fit");
    assert!(contents(&bytes).is_err(), "ZIP64 where every number fits");
    // Some file has lengths in both headers, some only its place in the directory, and some neither.
    let of = |length| places(&bytes, &[1, 0, length, 0]).len();
    assert_eq!((of(8), of(16), of(24)), (2, 3, 1));
    assert_eq!(bytes[bytes.len() - END64_LENGTH..][..4], *b"PK\x06\x06");
}

#[test]
fn a_file_that_packs_to_more_than_it_was_is_written_again_with_zip64() {
    let file = noise(390);
    let dir = directory(&[("a", &file), ("b", b"after")]);
    let classic = Classic { bytes: 393, files: 100 };
    let bytes = written_as(dir.path(), classic);
    assert_eq!(places(&bytes, &[1, 0, 16, 0]).len(), 2, "its length fits, its packed length does not");
    assert_eq!(contents_as(&bytes, classic).unwrap()[1].1, file);
    assert_eq!(contents_as(&bytes, classic).unwrap()[2].1, b"after");
}

#[test]
fn every_altered_byte_of_zip64_is_an_error_or_changes_nothing() {
    let (_, bytes) = low();
    let good = contents_as(&bytes, LOW).unwrap();
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[place] ^= 1 << bit;
            if let Ok(found) = contents_as(&altered, LOW) {
                assert_eq!(found, good, "byte {place}, bit {bit}");
            }
        }
        let tail = bytes.len() - END64_LENGTH;
        let mut altered = bytes.clone();
        altered[place] ^= 0xff;
        assert!(place < tail || contents_as(&altered, LOW).is_err(), "byte {place} of the end records");
    }
}

#[test]
fn bytes_before_between_after_and_missing_are_errors_with_zip64_too() {
    let (_, bytes) = low();
    for place in 0..=bytes.len() {
        for inserted in [0, 0xff] {
            let mut longer = bytes.clone();
            longer.insert(place, inserted);
            assert!(contents_as(&longer, LOW).is_err(), "{inserted} inserted at {place}");
        }
        if place < bytes.len() {
            assert!(contents_as(&bytes[..place], LOW).is_err(), "cut at {place}");
            let mut shorter = bytes.clone();
            shorter.remove(place);
            assert!(contents_as(&shorter, LOW).is_err(), "the byte at {place} removed");
        }
    }
}

#[test]
fn end_records_that_are_doubled_moved_or_lie_are_refused() {
    let (_, bytes) = low();
    let (body, ends) = bytes.split_at(bytes.len() - END64_LENGTH);
    let (end64, locator, end) = (&ends[..56], &ends[56..76], &ends[76..]);
    assert!(open_as(&[body, end64, locator, end].concat(), LOW).is_ok());
    let arranged: &[&[&[u8]]] = &[
        &[body, end],
        &[body, end64, end],
        &[body, locator, end],
        &[body, locator, end64, end],
        &[body, end64, end64, locator, end],
        &[body, end64, locator, locator, end],
        &[body, end64, locator, end64, locator, end],
        &[body, end64, locator, end, end],
        &[body, end64, locator, end, end64, locator, end],
        &[end64, locator, end],
        &[end],
    ];
    for (at, pieces) in arranged.iter().enumerate() {
        assert!(open_as(&pieces.concat(), LOW).is_err(), "arrangement {at}");
    }
    // Each number of the three records, one more, one less, and far off; two that agree with each other, and with nothing else.
    let tail = body.len();
    for field in [24, 32, 40, 48, 56 + 8] {
        for change in [|n: u64| n + 1, |n: u64| n - 1, |_| u64::MAX, |_| 0, |n: u64| n + (1 << 40)] {
            let mut altered = bytes.clone();
            let lie = change(number(&bytes, tail + field)).to_le_bytes();
            altered[tail + field..tail + field + 8].copy_from_slice(&lie);
            assert!(open_as(&altered, LOW).is_err(), "field {field}");
            if field == 24 {
                altered[tail + 32..tail + 40].copy_from_slice(&lie);
                assert!(open_as(&altered, LOW).is_err(), "both counts");
            }
        }
    }
    // ZIP's own end record must say that ZIP64 has the numbers, for exactly those that do not fit.
    for (at, value) in [(8, 6_u16), (8, 0), (10, 6)] {
        let mut altered = bytes.clone();
        altered[tail + 76 + at..tail + 76 + at + 2].copy_from_slice(&value.to_le_bytes());
        assert!(open_as(&altered, LOW).is_err(), "a count of {value}");
    }
    let start = number(&bytes, tail + 48) as u32;
    let mut altered = bytes.clone();
    altered[tail + 76 + 16..tail + 76 + 20].copy_from_slice(&start.to_le_bytes());
    assert!(open_as(&altered, LOW).is_err(), "a place that does not fit, and yet is there");
}

#[test]
fn lengths_and_places_of_zip64_that_lie_are_refused() {
    let (_, bytes) = low();
    let mut fields = 0;
    for length in [8_u8, 16, 24] {
        for at in places(&bytes, &[1, 0, length, 0]) {
            for number_at in (at + 4..at + 4 + usize::from(length)).step_by(8) {
                fields += 1;
                for change in
                    [|n: u64| n + 1, |n: u64| n - 1, |_| u64::MAX, |_| u64::MAX - 1, |_| 0, |n: u64| n | 1 << 63]
                {
                    let mut altered = bytes.clone();
                    let lie = change(number(&bytes, number_at)).to_le_bytes();
                    altered[number_at..number_at + 8].copy_from_slice(&lie);
                    assert!(open_as(&altered, LOW).is_err(), "the number at {number_at}");
                }
            }
            // Another tag, and a field that says to be shorter or longer.
            for (place, value) in [(at, 2), (at + 2, length - 8), (at + 2, length + 8)] {
                let mut altered = bytes.clone();
                altered[place] = value;
                assert!(open_as(&altered, LOW).is_err());
            }
        }
    }
    assert_eq!(fields, 2 + 2 * 3 + 3);
}

#[test]
fn more_files_than_a_zip_can_count_come_back_and_one_doubled_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("exchanges")).unwrap();
    let keep = |number: usize| fs::write(dir.path().join(format!("exchanges/{number:08}-ListTags.json")), [b'x'; 3]);
    (0..65_533).for_each(|number| keep(number).unwrap());
    let (_, bytes) = written(dir.path());
    assert_eq!(Bundle::open(Cursor::new(&bytes), 1 << 30).unwrap().names().count(), 65_534);
    assert!(places(&bytes[bytes.len() - 1000..], b"PK\x06\x06").is_empty(), "ZIP can count so many");
    keep(65_533).unwrap();

    let (said, bytes) = written(dir.path());
    let files = 65_535;
    assert_eq!(said.files + 1, files);
    let tail = bytes.len() - END64_LENGTH;
    assert_eq!(bytes[tail..][..4], *b"PK\x06\x06", "for ZIP this number says: see ZIP64");
    assert_eq!(number(&bytes, tail + 24), files);
    let mut bundle = Bundle::open(Cursor::new(&bytes), 1 << 30).unwrap();
    assert_eq!(bundle.names().count() as u64, files);
    assert_eq!(bundle.check_sums().unwrap(), said.sums);
    assert_eq!(bundle.file("exchanges/00065533-ListTags.json").unwrap(), b"xxx");

    for count in [files - 1, files + 1, 2_000_001] {
        let mut altered = bytes.clone();
        for field in [24, 32] {
            altered[tail + field..tail + field + 8].copy_from_slice(&count.to_le_bytes());
        }
        assert!(Bundle::open(Cursor::new(&altered), 1 << 30).is_err(), "{count} files");
    }
    // The last header twice, with end records that know of it.
    let central = 46 + "exchanges/00065533-ListTags.json".len();
    let mut doubled = bytes[..tail].to_vec();
    doubled.extend_from_within(tail - central..);
    doubled.extend(&bytes[tail..]);
    let at = doubled.len() - END64_LENGTH;
    let (size, end) = (number(&doubled, at + 40) + central as u64, number(&doubled, at + 64) + central as u64);
    for (field, value) in [(24, files + 1), (32, files + 1), (40, size), (64, end)] {
        doubled[at + field..at + field + 8].copy_from_slice(&value.to_le_bytes());
    }
    doubled[at + 76 + 12..at + 76 + 16].copy_from_slice(&(size as u32).to_le_bytes());
    let refused = Bundle::open(Cursor::new(&doubled), 1 << 30).err().unwrap();
    assert!(refused.to_string().contains("does not follow the file before it"), "{refused}");
}
