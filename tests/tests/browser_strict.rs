//! What readers could take in two ways, given to the page that verifies and to the verifier: odd ZIPs, keys of small order, members that
//! come twice. Both refuse, or both take the same.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    fs,
    io::{Cursor, Write as _},
    path::Path,
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use signing::{
    bundle::Bundle,
    digest::Digest,
    keys::{FileKey, KeySet, PublicKey, Signer as _},
    seal::{self, Seal},
};
use tests::{
    browser::{FILES, KEYS, SEAL, Visit, judged, page, visit},
    loose::{Loose, key, root, unpacked, zipped},
    program::{text, verifier},
};
use zip::{CompressionMethod, System, ZipWriter, write::SimpleFileOptions};

/// Small files as a bundle of the writer's own.
fn small(scratch: &Path) -> Vec<u8> {
    let from = scratch.join("small");
    fs::create_dir_all(from.join("exchanges")).unwrap();
    for (name, content) in [("run.json", "{\"a\":1}"), ("exchanges/1-read.txt", "root:x:0\n"), ("log.txt", "")] {
        fs::write(from.join(name), content).unwrap();
    }
    let to = scratch.join("small.zip");
    zipped(&from, &to);
    fs::read(to).unwrap()
}

fn plain() -> SimpleFileOptions {
    let options = SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
    options.system(System::Unix).unix_permissions(0o644)
}

/// A ZIP by another writer, whatever its entries are.
fn by_another(entries: &[(&str, &[u8])], options: SimpleFileOptions, comment: &str) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.set_comment(comment).unwrap();
    for (name, bytes) in entries {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// With the sums of these entries first.
fn summed(entries: &[(&str, &[u8])], options: SimpleFileOptions) -> Vec<u8> {
    let sums: String = entries.iter().map(|(name, bytes)| format!("{}  {name}\n", Digest::of(bytes))).collect();
    let all: Vec<_> = std::iter::once(("SHA256SUMS", sums.as_bytes())).chain(entries.iter().copied()).collect();
    by_another(&all, options, "")
}

/// The same ZIP with ZIP64's end record and locator, which it does not need; `marked`: its end record points to them.
fn widened(zip: &[u8], marked: bool) -> Vec<u8> {
    let (body, end) = zip.split_at(zip.len() - 22);
    let field = |at: usize| u64::from(u32::from_le_bytes(end[at..at + 4].try_into().unwrap()));
    let (files, size, start) = (u64::from(end[10]), field(12), field(16));
    let mut wide = [b"PK\x06\x06".as_slice(), &44_u64.to_le_bytes(), &[45, 3, 45, 0], &[0; 8]].concat();
    [files, files, size, start].iter().for_each(|number| wide.extend(number.to_le_bytes()));
    wide.extend(b"PK\x06\x07\0\0\0\0");
    wide.extend((start + size).to_le_bytes());
    wide.extend(1_u32.to_le_bytes());
    let mut end = end.to_vec();
    if marked {
        end[8..20].fill(0xff);
    }
    [body, &wide, &end].concat()
}

/// Odd ZIPs, and a few that are as they must be.
fn odd(scratch: &Path) -> Vec<(String, Vec<u8>)> {
    let good = small(scratch);
    let mut all: Vec<(String, Vec<u8>)> = vec![("good".into(), good.clone()), ("empty".into(), Vec::new())];
    let mut add = |name: String, bytes: Vec<u8>| all.push((name, bytes));
    for place in 0..good.len() {
        for bit in 0..8 {
            let mut altered = good.clone();
            altered[place] ^= 1 << bit;
            add(format!("byte {place}, bit {bit}"), altered);
        }
        let mut longer = good.clone();
        longer.insert(place, 0);
        add(format!("a byte inserted at {place}"), longer);
        add(format!("cut at {place}"), good[..place].to_vec());
    }
    add("a byte after it".into(), [good.as_slice(), b"\0"].concat());
    add("twice".into(), [good.as_slice(), good.as_slice()].concat());
    add("ZIP64 without need".into(), widened(&good, true));
    add("ZIP64 beside it".into(), widened(&good, false));
    let all_ones = good.len() - 22 + 8;
    let mut lacking = good.clone();
    lacking[all_ones..all_ones + 12].fill(0xff);
    add("ZIP64 that is not there".into(), lacking);

    let x = b"x".as_slice();
    for name in [
        "a/b.txt",
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
        "coma",
        "a\nb",
        "",
        "a/",
        "a+b@c=d,e_f-g",
    ] {
        add(format!("a file named {name:?}"), summed(&[(name, x)], plain()));
    }
    add("a name of 200".into(), summed(&[("x".repeat(200).as_str(), x)], plain()));
    add("a name of 201".into(), summed(&[("x".repeat(201).as_str(), x)], plain()));
    for pair in [["A", "a"], ["a", "a/b"], ["A", "a/b"], ["a-b", "a/b"], ["SHA256SUMS2", "sha256sums"], ["b", "a"]] {
        add(format!("{pair:?}"), summed(&pair.map(|name| (name, x)), plain()));
    }
    let two = [("a", x), ("b", b"".as_slice())];
    for (name, options) in [
        ("plain", plain()),
        ("stored", plain().compression_method(CompressionMethod::Stored)),
        ("with room for ZIP64", plain().large_file(true)),
        ("executable", plain().unix_permissions(0o755)),
        ("by DOS", plain().system(System::Dos)),
        ("later", plain().last_modified_time(zip::DateTime::from_date_and_time(2026, 11, 22, 0, 0, 0).unwrap())),
    ] {
        add(name.into(), summed(&two, options));
    }
    let digest = Digest::of(x);
    for (name, sums) in [
        ("all of them", format!("{digest}  a\n{digest}  b\n")),
        ("one less", format!("{digest}  a\n")),
        ("one more", format!("{digest}  a\n{digest}  b\n{digest}  c\n")),
        ("unsorted", format!("{digest}  b\n{digest}  a\n")),
        ("doubled", format!("{digest}  a\n{digest}  a\n{digest}  b\n")),
        ("without the last line feed", format!("{digest}  a\n{digest}  b")),
        ("binary", format!("{digest} *a\n{digest}  b\n")),
        (
            "in capitals",
            format!("{digest}  a\n{digest}  b\n").to_uppercase().replace("  A", "  a").replace("  B", "  b"),
        ),
        ("of another", format!("{digest}  a\n{}  b\n", Digest::of(b"y"))),
    ] {
        add(format!("sums {name}"), by_another(&[("SHA256SUMS", sums.as_bytes()), ("a", x), ("b", x)], plain(), ""));
    }
    let sums = format!("{digest}  a\n");
    add("with a comment".into(), by_another(&[("SHA256SUMS", sums.as_bytes()), ("a", x)], plain(), "note"));
    add("sums last".into(), by_another(&[("a", x), ("SHA256SUMS", sums.as_bytes())], plain(), ""));
    add("no sums".into(), by_another(&[("a", x)], plain(), ""));
    add("no files".into(), by_another(&[], plain(), ""));
    add("sums alone".into(), by_another(&[("SHA256SUMS", b"")], plain(), ""));
    // Lengths that lie, in both headers.
    let zeros = vec![0; 1 << 20];
    let bomb = summed(&[("a", &zeros)], plain());
    let length = (1_u32 << 20).to_le_bytes();
    for lie in [100_u32, u32::MAX - 1] {
        let mut lying = bomb.clone();
        let places: Vec<_> = (0..lying.len() - 4).filter(|at| lying[*at..*at + 4] == length).collect();
        places.iter().for_each(|at| lying[*at..*at + 4].copy_from_slice(&lie.to_le_bytes()));
        add(format!("a length of {lie}"), lying);
    }
    all
}

/// What the verifier reads: the digest of names, lengths and contents; `None`, where it refuses.
fn read(zip: &[u8]) -> Option<String> {
    let mut bundle = Bundle::open(Cursor::new(zip), 1 << 30).ok()?;
    bundle.check_sums().ok()?;
    let names: Vec<_> = bundle.names().map(str::to_owned).collect();
    let mut all = Vec::new();
    for name in names {
        let content = bundle.file(&name).ok()?;
        all.extend(format!("{name}\n{}\n", content.len()).bytes());
        all.extend(content);
    }
    Some(Digest::of(&all).to_string())
}

/// Asks the page's own functions.
fn asked(scratch: &Path, zips: &[Vec<u8>], points: &[[u8; 32]]) -> Option<Value> {
    let hex = |point: &[u8; 32]| Digest(*point).to_string();
    let given = json!({
        "zips": zips.iter().map(|zip| STANDARD.encode(zip)).collect::<Vec<_>>(),
        "points": points.iter().map(hex).collect::<Vec<_>>(),
    });
    let file = scratch.join("parts.json");
    fs::write(&file, given.to_string()).unwrap();
    let told = visit(&[Visit::to(&page(scratch)).with("parts", file.to_str().unwrap())])?;
    Some(told.into_iter().next().unwrap())
}

#[test]
fn odd_zips_are_refused_where_the_verifier_refuses_them_and_others_are_read_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    let (names, zips): (Vec<_>, Vec<_>) = odd(scratch.path()).into_iter().unzip();
    let Some(told) = asked(scratch.path(), &zips, &[]) else { return };
    let told = told["zips"].as_array().unwrap();
    let (mut same, mut refused) = (0, 0);
    for ((name, zip), told) in names.iter().zip(&zips).zip(told) {
        let told = told.as_str().unwrap();
        match read(zip) {
            Some(content) => {
                assert_eq!(told, content, "{name}");
                same += 1;
            }
            // A length that is beyond what the page unpacks leaves it open.
            None => {
                assert!(told.starts_with("refused: ") || name.ends_with(&(u32::MAX - 1).to_string()), "{name}: {told}");
                assert!(told.starts_with("refused: ") || told.starts_with("open: "), "{name}: {told}");
                refused += 1;
            }
        }
    }
    assert!(same > 10 && refused > 1000, "{same} read, {refused} refused");
}

#[test]
fn a_zip_that_the_page_is_too_small_for_is_left_open() {
    let scratch = tempfile::tempdir().unwrap();
    let many = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("exchanges/{n:08}.json")).collect();
        let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
        summed(&entries, plain().compression_method(CompressionMethod::Stored))
    };
    let zips = [many(20_000), many(65_535)];
    let Some(told) = asked(scratch.path(), &zips, &[]) else { return };
    for (zip, told) in zips.iter().zip(told["zips"].as_array().unwrap()) {
        assert!(told.as_str().unwrap().starts_with("open: "), "{told}");
        assert_eq!(zip[zip.len() - 98..].starts_with(b"PK\x06\x06"), zip == &zips[1]);
    }
}

/// The eight points of small order, by their y and the sign of x, with the spellings of some that are not reduced.
fn weak() -> Vec<[u8; 32]> {
    let parsed = |hex: &str| hex.parse::<Digest>().unwrap().0;
    let mut points = Vec::new();
    for y in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let mut point = parsed(y);
        points.push(point);
        point[31] |= 0x80;
        points.push(point);
    }
    points
}

#[test]
fn points_are_keys_to_the_page_where_they_are_to_the_verifier() {
    let scratch = tempfile::tempdir().unwrap();
    let mut points = weak();
    let refused = points.len();
    // Numbers that are not reduced, some of them of points of the whole order.
    for low in 0xed..=0xff_u8 {
        for high in [0x7f, 0xff] {
            let mut point = [0xff; 32];
            (point[0], point[31]) = (low, high);
            points.push(point);
        }
    }
    let unreduced = points.len();
    points.extend((0..=255_u8).map(|seed| Digest::of(&[seed]).0));
    points.extend((0..50_u8).map(|seed| FileKey::from_seed(&[seed; 32]).public().to_bytes()));
    let Some(told) = asked(scratch.path(), &[], &points) else { return };
    let told: Vec<bool> = told["points"].as_array().unwrap().iter().map(|told| told.as_bool().unwrap()).collect();
    for (point, told) in points.iter().zip(&told) {
        assert_eq!(PublicKey::from_bytes(point).is_ok(), *told, "{}", Digest(*point));
    }
    assert!(told[..unreduced].iter().all(|told| !told) && refused < unreduced);
    let strong = told[unreduced..].iter().filter(|told| **told).count();
    assert!((50 + 90..50 + 170).contains(&strong), "{strong}");
}

/// A set of keys with another payload, signed by the root.
fn rekeyed(keys: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    const TYPE: &str = "application/vnd.evidenced.keys+json";
    let mut envelope: Value = serde_json::from_slice(keys).unwrap();
    let before = text(&STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap());
    let payload = change(&before);
    assert_ne!(payload, before);
    let signature = key("root").sign(&seal::pae(TYPE, payload.as_bytes())).unwrap();
    envelope["payload"] = STANDARD.encode(payload).into();
    envelope["signatures"] = json!([{"sig": STANDARD.encode(signature), "keyid": root()}]);
    envelope.to_string().into_bytes()
}

/// The OpenSSH fingerprint of any 32 bytes, and their SubjectPublicKeyInfo.
fn of_point(point: [u8; 32]) -> (String, String) {
    let wire = [b"\0\0\0\x0bssh-ed25519\0\0\0\x20".as_slice(), &point].concat();
    let spki = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".as_slice(), &point].concat();
    (format!("SHA256:{}", STANDARD.encode(Digest::of(&wire).0).trim_end_matches('=')), STANDARD.encode(spki))
}

fn twice(bytes: &mut Vec<u8>, member: &str) {
    let text = String::from_utf8(std::mem::take(bytes)).unwrap();
    let at = text.find(member).unwrap();
    *bytes = format!("{}{member}{}", &text[..at], &text[at..]).into_bytes();
}

#[test]
fn weak_keys_forged_signatures_and_members_that_come_twice_are_refused_by_both() {
    let scratch = tempfile::tempdir().unwrap();
    let page = page(scratch.path());
    let (mut names, mut visits) = (Vec::new(), Vec::new());
    let mut add = |name: &'static str, step: usize, word: &'static str, change: &dyn Fn(&mut Loose)| {
        let mut loose = Loose::new(scratch.path(), name);
        change(&mut loose);
        let sealed = Seal::from_bytes(&loose.seal).and_then(|seal| seal.verify(key("receipts").public())).is_ok();
        let stated = Seal::from_bytes(&loose.seal)
            .is_ok_and(|seal| signing::statement::Statement::from_bytes(&seal.payload).is_ok());
        let keys = KeySet::open(&loose.keys, &root()).is_ok();
        assert_eq!(sealed && stated && keys, word.is_empty(), "{name}: the verifier");
        names.push((name, step, word));
        visits.push(Visit::to(&page).verify(&loose.written(), &root()));
    };
    // Under the neutral point, this signature is one of every message.
    for (name, point) in [("key-of-order-1", weak()[0]), ("key-of-order-8", weak()[6]), ("key-unreduced", weak()[12])] {
        add(name, KEYS, "small order", &|l| {
            let (id, spki) = of_point(point);
            let receipts = key("receipts").public().fingerprint();
            let own = of_point(key("receipts").public().to_bytes()).1;
            l.keys = rekeyed(&l.keys, |payload| payload.replace(&receipts, &id).replace(&own, &spki));
            let payload = l.payload().replace(&receipts, &id).replace("\"partial\"", "\"collected\"");
            let mut forged = [0; 64];
            forged[0] = 1;
            l.seal = seal::seal(payload.as_bytes(), &id, &forged);
        });
    }
    add("signature-not-reduced", SEAL, "not by", &|l| {
        // The order of the group, little-endian, added to the scalar.
        let order: Digest = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010".parse().unwrap();
        let mut seal = Seal::from_bytes(&l.seal).unwrap();
        let mut carry = 0;
        for (byte, more) in seal.signature[32..].iter_mut().zip(order.0) {
            let sum = u16::from(*byte) + u16::from(more) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        l.seal = seal.to_bytes();
    });
    add("signature-of-small-order", SEAL, "not by", &|l| {
        let mut seal = Seal::from_bytes(&l.seal).unwrap();
        seal.signature = [0; 64];
        seal.signature[0] = 1;
        l.seal = seal.to_bytes();
    });
    add("seal-member-twice", SEAL, "twice", &|l| {
        let seal = Seal::from_bytes(&l.seal).unwrap();
        twice(&mut l.seal, &format!("\"payload\":\"{}\",", STANDARD.encode(seal.payload)));
    });
    add("seal-member-twice-otherwise-spelled", SEAL, "twice", &|l| {
        let text = String::from_utf8(std::mem::take(&mut l.seal)).unwrap();
        l.seal = text.replacen("\"sig\":", "\"s\\u0069g\":\"\",\"sig\":", 1).into_bytes();
    });
    add("seal-member-more", SEAL, "does not have", &|l| {
        let text = String::from_utf8(std::mem::take(&mut l.seal)).unwrap();
        l.seal = text.replacen("\"dsseEnvelope\":{", "\"dsseEnvelope\":{\"note\":1,", 1).into_bytes();
    });
    add("statement-member-twice", SEAL, "twice", &|l| {
        let payload =
            l.payload().replacen("\"outcome\":\"partial\"", "\"outcome\":\"partial\",\"outcome\":\"partial\"", 1);
        assert_ne!(payload, l.payload());
        l.sealed(&payload, &key("receipts"));
    });
    add("keys-envelope-twice", KEYS, "twice", &|l| {
        twice(&mut l.keys, "\"payloadType\":\"application/vnd.evidenced.keys+json\",")
    });
    add("keys-member-twice", KEYS, "twice", &|l| {
        l.keys = rekeyed(&l.keys, |payload| payload.replacen("\"revision\":1,", "\"revision\":7,\"revision\":1,", 1));
    });
    add("keys-member-more", KEYS, "does not have", &|l| {
        l.keys = rekeyed(&l.keys, |payload| payload.replacen("\"revision\":1,", "\"revision\":1,\"note\":\"\",", 1));
    });
    let Some(told) = visit(&visits) else { return };
    for ((name, step, word), told) in names.iter().zip(&told) {
        judged(name, told, "refused", *step, word);
    }
}

#[test]
fn a_package_with_bytes_before_or_after_it_or_spelled_as_zip64_is_refused_by_both() {
    let scratch = tempfile::tempdir().unwrap();
    let page = page(scratch.path());
    unpacked(2, &scratch.path().join("entry"));
    let whole = scratch.path().join("whole.zip");
    zipped(&scratch.path().join("entry"), &whole);
    let bytes = fs::read(&whole).unwrap();
    let cases = [
        ("before.zip", [b"#!/bin/sh\n", bytes.as_slice()].concat()),
        ("after.zip", [bytes.as_slice(), b"\n"].concat()),
        ("zip64.zip", widened(&bytes, true)),
    ];
    let verdict = |file: &Path| {
        let output = Command::new(verifier()).arg(file).args(["--trust", &root()]).output().unwrap();
        output.status.code().unwrap()
    };
    assert_eq!(verdict(&whole), 0);
    let visits: Vec<Visit> = cases
        .iter()
        .map(|(name, bytes)| {
            let file = scratch.path().join(name);
            fs::write(&file, bytes).unwrap();
            assert_ne!(verdict(&file), 0, "{name}");
            Visit::to(&page).verify(&[file], &root())
        })
        .collect();
    let Some(told) = visit(&visits) else { return };
    for ((name, _), told) in cases.iter().zip(&told) {
        judged(name, told, "refused", FILES, "ZIP");
    }
}
