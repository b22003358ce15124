//! Documents of controls: counted, and held to what a verifier can hold them to.

use super::sound::*;

fn controls(origin: &str, format: &str) -> Vec<u8> {
    format!(r#"{{"format":"{format}","origin":"{origin}","previous":null,"controls":[],"scope":[]}}"#).into_bytes()
}

/// A small archive with this set of controls.
fn with(bytes: &[u8]) -> Memory {
    small(|writer| {
        writer.document("controls", bytes);
    })
}

fn good() -> Vec<u8> {
    controls(ORIGIN, "evidenced-controls/1")
}

fn codes(memory: &Memory) -> Vec<String> {
    memory.judge().findings_by_code.keys().map(ToString::to_string).collect()
}

#[test]
fn controls_are_counted_and_are_no_kind_that_is_not_read() {
    let verdict = with(&good()).judge();
    assert!(verdict.intact, "{:?}", verdict.findings);
    assert_eq!((verdict.numbers.controls, verdict.numbers.other_documents), (1, 0));
    assert!(verdict.limits.iter().all(|limit| limit.code != "DOCUMENT-KIND"));
}

#[test]
fn controls_for_another_log_of_another_format_or_that_are_none_are_findings() {
    for (bytes, code) in [
        (controls("localhost/other", "evidenced-controls/1"), "ORIGIN"),
        (controls(ORIGIN, "evidenced-controls/2"), "DOCUMENT-MALFORMED"),
        (b"{}".to_vec(), "DOCUMENT-MALFORMED"),
    ] {
        assert_eq!(codes(&with(&bytes)), [code]);
    }
}

#[test]
fn controls_that_are_altered_or_gone_are_findings() {
    let memory = with(&good());
    let name = memory.names("document/controls/").remove(0);
    let mut altered = Memory::clone(&memory);
    altered.objects.insert(name.clone(), controls(ORIGIN, "evidenced-controls/1 "));
    assert_eq!(codes(&altered), ["DOCUMENT-DIGEST"]);
    let mut long = memory.clone();
    long.objects.insert(name.clone(), vec![b' '; 16 * 1024 * 1024 + 1]);
    assert_eq!(codes(&long), ["DOCUMENT-DIGEST"]);
    let mut gone = memory;
    gone.objects.remove(&name);
    assert_eq!(codes(&gone), ["DOCUMENT-MISSING"]);
}
