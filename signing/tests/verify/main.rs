//! Verification of a sound archive, and of copies of it with one thing changed.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod sound;

use signing::verify::Options;
use sound::*;

#[test]
fn a_sound_archive_is_intact() {
    let dir = copy();
    let verdict = judge_with(dir.path(), &Options { deep: Some(&Lengths), ..Options::trusting(trust()) }).unwrap();
    assert_eq!(verdict.findings, []);
    assert!(verdict.intact);
}
