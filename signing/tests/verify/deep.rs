//! Bundles that were sealed as they are, and do not hold what they say.

use std::{fs, path::Path};

use signing::{
    statement::{Outcome, Receipt, Window},
    verify::{Options, Verdict},
};

use super::sound::*;

fn judge(memory: &Memory) -> Verdict {
    memory.judge_with(&Options { deep: Some(&Lengths), ..Options::trusting(trust()) }).unwrap()
}

fn sealed(change: impl FnOnce(&mut Receipt)) -> Vec<(String, String)> {
    let memory = small(|writer| {
        let statement = writer.receipt(&job("host/sshd"), None, change);
        writer.seal(&statement);
    });
    assert!(memory.judge().intact, "only what is inside is wrong");
    judge(&memory).findings.into_iter().map(|f| (f.code.to_string(), f.says)).collect()
}

#[test]
fn a_receipt_that_tells_of_another_run_than_its_bundle_is_seen() {
    let found = sealed(|receipt| receipt.outcome = Outcome::Failed);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "DEEP-RUN");
    assert!(found[0].1.contains("outcome: run.json says Collected, the receipt Failed"), "{found:?}");
    let found = sealed(|receipt| receipt.late = true);
    assert!(found[0].1.contains("late"), "{found:?}");
    let found = sealed(|receipt| receipt.attempts = 2);
    assert!(found[0].1.contains("attempts"), "{found:?}");
}

#[test]
fn a_receipt_with_other_numbers_or_results_than_its_bundle_is_seen() {
    let found = sealed(|receipt| receipt.records = 2);
    assert_eq!(found, [("DEEP-RECORDS".to_owned(), "it has 1 records, the receipt says 2".to_owned())]);
    let found = sealed(|receipt| receipt.results = signing::digest::Digest::of(b"other"));
    assert_eq!(found[0].0, "DEEP-RESULTS");
}

/// A run whose files are changed before they are bundled and sealed.
fn bundled(change: impl Fn(&Path) + 'static) -> Vec<(String, String)> {
    let memory = small(|writer| {
        writer.before_bundling = Some(Box::new(change));
        writer.run(&job("host/sshd"), None);
    });
    assert!(memory.judge().intact, "only what is inside is wrong");
    judge(&memory).findings.into_iter().map(|f| (f.code.to_string(), f.says)).collect()
}

fn only(found: &[(String, String)], code: &str, says: &str) {
    assert!(found.len() == 1 && found[0].0 == code && found[0].1.contains(says), "wanted {code} {says:?}: {found:?}");
}

#[test]
fn records_that_do_not_follow_from_the_exchanges_are_seen() {
    let found = bundled(|dir| {
        let path = dir.join("records/accounts.jsonl");
        let text = fs::read_to_string(&path).unwrap().replace("alice", "mallory");
        fs::write(path, text).unwrap();
    });
    only(&found, "DEEP-RECORDS", "records/accounts.jsonl: line 1 differs");
}

#[test]
fn a_body_that_is_not_what_its_exchange_says_is_seen() {
    let found = bundled(|dir| fs::write(dir.join("exchanges/00000001-read-file.txt"), "bobby,1793491500\n").unwrap());
    assert_eq!(found[0].0, "DEEP-EXCHANGE", "{found:?}");
    assert!(found[0].1.contains("exchange 1: its body"), "{found:?}");
    let found = bundled(|dir| fs::remove_file(dir.join("exchanges/00000001-read-file.txt")).unwrap());
    assert!(found.iter().any(|(code, says)| code == "DEEP-EXCHANGE" && says.contains("is not in the bundle")));
}

#[test]
fn a_file_that_belongs_to_no_exchange_is_seen() {
    let found = bundled(|dir| fs::write(dir.join("exchanges/00000002-read-file.txt"), "kept").unwrap());
    only(&found, "DEEP-EXCHANGE", "exchanges/00000002-read-file.txt belongs to no exchange");
    let found = bundled(|dir| fs::write(dir.join("notes.txt"), "kept").unwrap());
    only(&found, "DEEP-EXCHANGE", "notes.txt belongs to no exchange");
}

#[test]
fn checks_that_the_plan_does_not_name_are_seen() {
    let found = bundled(|dir| fs::write(dir.join("checks.json"), "other checks").unwrap());
    only(&found, "DEEP-RUN", "its checks.json has the SHA-256");
    let found = bundled(|dir| fs::remove_file(dir.join("checks.json")).unwrap());
    only(&found, "DEEP-RUN", "it has no checks.json");
}

#[test]
fn a_run_that_calls_itself_collected_with_a_list_half_read_is_seen() {
    let found = bundled(|dir| {
        let path = dir.join("run.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace("{\"state\":\"whole\"}", "{\"state\":\"cut\",\"reason\":\"throttled\"}")).unwrap();
    });
    only(&found, "DEEP-RUN", "collected, although not everything was read");
}

/// A run of events: the same window in the receipt and in `run.json`, which is changed a little more.
fn with_window(window: Window, change: impl Fn(String) -> String + 'static) -> Memory {
    small(|writer| {
        writer.before_bundling = Some(Box::new(move |dir| {
            let path = dir.join("run.json");
            let json = format!("\"window\":{}", serde_json::to_string(&window).unwrap());
            fs::write(&path, change(fs::read_to_string(&path).unwrap().replace("\"window\":null", &json))).unwrap();
        }));
        let statement = writer.receipt(&job("host/sshd"), None, |receipt| receipt.window = Some(window));
        writer.seal(&statement);
    })
}

#[test]
fn windows_are_told_with_their_gaps_and_are_the_bundles_own() {
    let window =
        Window { from: at("2026-10-01T00:00:00Z"), to: at("2026-11-01T00:00:00Z"), whole: true, previous: None };
    let verdict = judge(&with_window(window, |run| run));
    assert_eq!(verdict.findings, []);
    let says = &verdict.sections.iter().find(|section| section.name == "events").unwrap().says;
    assert_eq!(says, "host/sshd@this: read whole from 2026-10-01T00:00:00Z to 2026-11-01T00:00:00Z");
    assert_eq!((verdict.events.len(), verdict.events[0].gaps.as_slice()), (1, [].as_slice()));
    let found = |memory: Memory| -> Vec<(String, String)> {
        judge(&memory).findings.into_iter().map(|f| (f.code.to_string(), f.says)).collect()
    };
    only(
        &found(with_window(window, |run| run.replace("2026-10-01", "2026-10-02"))),
        "DEEP-RUN",
        "window: run.json says",
    );
    let cut = |run: String| run.replace("{\"state\":\"whole\"}", "{\"state\":\"cut\",\"reason\":\"throttled\"}");
    let partly = found(with_window(window, cut));
    assert!(
        partly.iter().any(|(_, says)| says == "window: read whole, although not everything was read"),
        "{partly:?}"
    );
}

#[test]
fn a_receipt_that_calls_itself_collected_with_a_window_that_was_not_is_seen() {
    let half =
        Window { from: at("2026-10-01T00:00:00Z"), to: at("2026-11-01T00:00:00Z"), whole: false, previous: None };
    let verdict = with_window(half, |run| run).judge();
    assert_eq!(verdict.findings_by_code.keys().map(|code| code.as_str()).collect::<Vec<_>>(), ["LEAF-CONTENT"]);
    let backwards = Window { from: half.to, to: half.from, whole: true, ..half };
    let verdict = with_window(backwards, |run| run).judge();
    assert_eq!(verdict.findings_by_code.keys().map(|code| code.as_str()).collect::<Vec<_>>(), ["LEAF-CONTENT"]);
    assert_eq!(verdict.events, []);
}

#[test]
fn an_input_that_was_not_logged_before_is_seen() {
    let found = bundled(|dir| {
        let path = dir.join("run.json");
        let digest = signing::digest::Digest::of(b"x");
        let input =
            format!("\"inputs\":[{{\"name\":\"a\",\"bundle\":\"bundle/x-{digest}.zip\",\"sha256\":\"{digest}\"}}]");
        let text = fs::read_to_string(&path).unwrap().replace("\"inputs\":[]", &input);
        fs::write(path, text).unwrap();
    });
    only(&found, "DEEP-INPUT", "is not in the log");
}

#[test]
fn a_collector_that_this_program_does_not_have_is_a_limit_and_no_pass() {
    let memory = small(|writer| {
        writer.before_bundling = Some(Box::new(|dir| {
            let path = dir.join("run.json");
            let text = fs::read_to_string(&path).unwrap().replace("\"version\":1}", "\"version\":2}");
            fs::write(path, text).unwrap();
        }));
        writer.run(&job("host/sshd"), None);
    });
    let verdict = judge(&memory);
    let limit = verdict.limits.iter().find(|limit| limit.code == "DEEP-UNKNOWN-COLLECTOR").unwrap();
    assert!(limit.says.contains("1 bundles") && limit.says.contains("host/sshd version 2"), "{limit:?}");
    assert_eq!((verdict.numbers.opened, verdict.numbers.rederived), (3, 2));
}

#[test]
fn a_sealed_file_that_is_no_bundle_is_seen() {
    let memory = small(|writer| {
        let mut statement = writer.receipt(&job("host/sshd"), None, |_| {});
        let bytes = b"no ZIP at all";
        let digest = signing::digest::Digest::of(bytes);
        statement.subject[0].digest.sha256 = digest;
        let old = statement.subject[0].name.clone();
        statement.subject[0].name = signing::layout::bundle_by_hand(writer.now, &job("host/sshd"), digest);
        writer.put(&statement.subject[0].name, bytes);
        fs::remove_file(writer.dir.join(old)).unwrap();
        writer.seal(&statement);
    });
    assert!(memory.judge().intact);
    let found: Vec<_> = judge(&memory).findings.into_iter().map(|f| f.code.to_string()).collect();
    assert_eq!(found, ["DEEP-ZIP"]);
}
