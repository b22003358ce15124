//! What was derived once is derived again: kept answers of a real machine give the records that were derived from them when the
//! collector had this version. Sealed bundles rest on it (`verify --deep`), so another derivation needs another version.
//!
//! `UPDATE_KEPT=1` derives anew; raise the collector's version with it, once one has been released.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use collectors::{
    contract::Collector,
    host::{self, access::Host, config::HostConfig},
    recorder::WorkEvidence,
    records::RecordFiles,
};
use serde_json::json;

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept")
}

/// Everything that is derived from the answers in `from`, as text.
fn derived(collector: &dyn Collector, from: &Path) -> String {
    let work = tempfile::tempdir().unwrap();
    let mut files = RecordFiles::new(work.path(), &collector.spec().kinds, |_, _| {}).unwrap();
    collector.derive(&WorkEvidence::new(from), &mut files).unwrap();
    let derived = files.finish().unwrap();
    let head = json!({
        "version": collector.spec().version,
        "records": derived.records,
        "populations": derived.populations,
        "gaps": derived.gaps,
    });
    let mut text = format!("{head}\n");
    for kind in &collector.spec().kinds {
        text += &fs::read_to_string(work.path().join(format!("records/{kind}.jsonl"))).unwrap();
    }
    text
}

#[test]
fn kept_answers_derive_to_the_same_bytes_while_the_version_is_the_same() {
    let config = HostConfig::default();
    let all = host::built_in(&Host::new(&config.root, None), &config);
    let mut seen = 0;
    for collector in all {
        let id = &collector.spec().id;
        let from = kept().join(id.trim_start_matches("host/"));
        if !from.is_dir() {
            continue;
        }
        seen += 1;
        let found = derived(&*collector, &from);
        let expected = from.join("derived.jsonl");
        if std::env::var_os("UPDATE_KEPT").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap();
        assert!(
            found == expected,
            "{id} derives something else from kept answers than before: raise its version, then run with UPDATE_KEPT=1\n{found}"
        );
    }
    assert_eq!(seen, fs::read_dir(kept()).unwrap().count(), "each directory of kept answers is a collector's");
}
