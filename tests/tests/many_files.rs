//! A bundle of more files than a ZIP without ZIP64 can count, opened as an auditor would: with Info-ZIP's unzip, Python and coreutils.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    fs,
    io::{BufWriter, Write as _},
    process::Command,
};

use signing::bundle::{self, Bundle, MAX_UNPACKED};
use tests::{program::text, tools};

const FILES: usize = 66_000;

#[test]
fn tools_of_others_open_and_check_a_bundle_of_sixty_six_thousand_files() {
    let place = tempfile::tempdir().unwrap();
    let work = place.path().join("work");
    fs::create_dir_all(work.join("exchanges")).unwrap();
    for number in 1..FILES {
        let body = format!("{{\"Users\":[{{\"UserName\":\"user-{number}\"}}],\"IsTruncated\":false}}");
        fs::write(work.join(format!("exchanges/{number:08}-ListUsers.json")), body).unwrap();
    }
    fs::write(work.join("run.json"), "{}\n").unwrap();
    let path = place.path().join("many.zip");
    let mut out = BufWriter::new(fs::File::create_new(&path).unwrap());
    let written = bundle::write(&work, &mut out).unwrap();
    out.flush().unwrap();
    assert_eq!(written.files, FILES as u64);
    let mut ours = Bundle::open(fs::File::open(&path).unwrap(), MAX_UNPACKED).unwrap();
    assert_eq!(ours.check_sums().unwrap(), written.sums);

    let said = |command: &mut Command| {
        let output = command.output().unwrap();
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{command:?}: {}", said.lines().last().unwrap_or_default());
        said
    };
    if let Some(unzip) = tools::debian("unzip", "unzip") {
        assert!(said(Command::new(&unzip).arg("-tqq").arg(&path)).trim().is_empty(), "it names nothing but faults");
    }
    let listed = said(Command::new("python3").args(["-m", "zipfile", "--test"]).arg(&path));
    assert_eq!(listed.trim(), "Done testing");
    let files = place.path().join("files");
    said(Command::new("python3").args(["-m", "zipfile", "--extract"]).arg(&path).arg(&files));
    said(Command::new("sha256sum").args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(&files));
    assert_eq!(fs::read_dir(files.join("exchanges")).unwrap().count(), FILES - 1);
}
