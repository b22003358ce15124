//! Reports by the program over an archive that it made, opened in Chromium: nothing is asked of a network, every link leads somewhere, no
//! mark says by its colour alone what it means, and the page verifies what `prove` packed, and refuses what was altered.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{fs, path::PathBuf};

use serde_json::Value;
use tests::{
    browser::{CHECKPOINT, FILES, KEYS, SUBJECT, Visit, judged, quiet, visit},
    program::{Place, files},
};

/// What of the page is wrong, by the kind of fault.
fn faults(told: &Value) -> Vec<String> {
    let all =
        ["anchors", "headless", "mute", "ids"].into_iter().map(|kind| (kind, told["faults"][kind].as_array().unwrap()));
    all.flat_map(|(kind, faults)| faults.iter().map(move |fault| format!("{kind}: {fault}"))).collect()
}

/// The package unpacked, a file of it changed, and its files.
fn altered(place: &Place, name: &str, below: &str, change: impl Fn(&mut Vec<u8>)) -> Vec<PathBuf> {
    let zip = fs::File::open(place.path().join("entry.zip")).unwrap();
    let directory = place.path().join(name);
    zip::ZipArchive::new(zip).unwrap().extract(&directory).unwrap();
    let file = files(&directory.join(below)).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    change(&mut bytes);
    fs::write(&file, bytes).unwrap();
    let is_evidence = |path: &PathBuf| {
        let name = path.strip_prefix(&directory).unwrap();
        ["bundle", "seal", "proof", "document/keys"].iter().any(|of| name.starts_with(of))
    };
    files(&directory).into_iter().filter(is_evidence).collect()
}

#[test]
fn a_report_of_the_real_program_reads_in_a_browser_and_verifies_what_the_program_packed() {
    let place = Place::new();
    place.expect(0, ["collect", "host/accounts", "host/mfa"]);
    place.expect(0, ["collect", "host/accounts", "host/mfa"]);
    let root = place.root();
    let today = chrono::Utc::now().date_naive();
    let (from, to) = ((today - chrono::Days::new(30)).to_string(), (today + chrono::Days::new(30)).to_string());
    let report = ["report", "./evidence", "--trust", &root];
    place.expect(0, [&report, ["--from", &from, "--to", &to, "-o", "period"].as_slice()].concat());
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    place.expect(0, [&report, ["--as-of", &now, "-o", "instant"].as_slice()].concat());
    let shown: Value = serde_json::from_str(&place.expect(0, ["show", "./evidence", "--json"])).unwrap();
    let last = (shown["size"].as_u64().unwrap() - 1).to_string();
    place.expect(0, ["prove", &last, "./evidence", "-o", "entry.zip"]);

    let page = |name: &str| place.path().join(name).join("report.html");
    let package = place.path().join("entry.zip");
    let picture = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let of = |files: &[PathBuf]| Visit::to(&page("period")).verify(files, &root);
    let flip = |at: usize| move |bytes: &mut Vec<u8>| bytes[at] ^= 1;
    let bundle = altered(&place, "bundle-altered", "bundle", flip(100));
    let seal = altered(&place, "seal-cut", "seal", |bytes| bytes.truncate(40));
    let proof = altered(&place, "proof-of-another", "proof", |bytes| {
        let text = String::from_utf8(std::mem::take(bytes)).unwrap();
        *bytes = text.replacen(&format!("index {last}\n"), "index 0\n", 1).into_bytes();
    });
    let mut cut = fs::read(&package).unwrap();
    cut.truncate(cut.len() - 10);
    fs::write(place.path().join("cut.zip"), cut).unwrap();
    let another = format!("SHA256:{}", "A".repeat(43));
    let visits = [
        of(std::slice::from_ref(&package)),
        of(&bundle),
        of(&seal),
        of(&proof),
        of(&[place.path().join("cut.zip")]),
        Visit::to(&page("period")).verify(std::slice::from_ref(&package), &another),
        Visit::to(&page("instant")).verify(std::slice::from_ref(&package), &root),
        Visit::to(&page("period")).with("width", 420).with("screenshot", picture("narrow.png")),
        Visit::to(&page("instant")).with("width", 420),
        Visit::to(&page("period")).with("script", false).with("pdf", picture("print.pdf")),
    ];
    let Some(told) = visit(&visits) else { return };
    for (at, told) in told.iter().enumerate() {
        quiet(&format!("visit {at}"), told);
        assert_eq!(told["overflow"], 0, "visit {at} is wider than its window");
        assert_eq!(faults(told), [""; 0], "visit {at}");
    }
    judged("whole", &told[0], "verified", CHECKPOINT, "signed by");
    judged("bundle", &told[1], "refused", SUBJECT, "was sealed");
    assert_ne!(told[2]["verdict"], "verified", "{}", told[2]);
    assert_eq!(told[3]["verdict"], "refused", "{}", told[3]);
    judged("cut", &told[4], "refused", FILES, "ZIP");
    judged("another root", &told[5], "refused", KEYS, "not under the one that you trust");
    judged("whole, at an instant", &told[6], "verified", CHECKPOINT, "signed by");
    // A control without a job is no control without faults.
    let instant = told[6]["text"].as_str().unwrap();
    assert!(instant.contains("no job looks at it") && instant.contains("not evidenced"), "{instant}");
    assert!(told[0]["marks"].as_u64().unwrap() > 31, "the calendar has a mark for each day: {}", told[0]["marks"]);
    assert!(fs::metadata(place.path().join("print.pdf")).unwrap().len() > 10_000);
}
