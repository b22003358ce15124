#![allow(clippy::unwrap_used)]
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, Row},
};
use serde_json::json;
use signing::{
    bundle::Population,
    statement::Cause,
    verify::{Code, Verdict},
};

use super::*;
use crate::testing::{Archive, Memory, Run, at, hourly};

const JOB: &str = "host/users@here";

type Files = BTreeMap<String, Vec<u8>>;

/// Keeps what is written to it under its name once it is dropped, and counts those that are not.
struct Kept {
    name: String,
    bytes: Vec<u8>,
    files: Arc<Mutex<Files>>,
    open: Arc<AtomicUsize>,
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
        let before = self.files.lock().unwrap().insert(self.name.clone(), std::mem::take(&mut self.bytes));
        assert!(before.is_none(), "{} was made twice", self.name);
    }
}

fn exported(memory: &Memory, verdict: &Verdict, wanted: &Wanted) -> (Exported, Files, usize) {
    let (files, open, mut most) = (Arc::new(Mutex::new(Files::new())), Arc::new(AtomicUsize::new(0)), 0);
    let ledger = Ledger::new(memory, verdict).unwrap();
    let made = parquet(&ledger, wanted, &mut |name| {
        most = most.max(open.fetch_add(1, Ordering::SeqCst) + 1);
        let (files, open) = (files.clone(), open.clone());
        Ok(Box::new(Kept { name: name.into(), bytes: Vec::new(), files, open }))
    });
    let made = made.unwrap();
    let files = std::mem::take(&mut *files.lock().unwrap());
    assert_eq!(made.files, files.len() as u64);
    (made, files, most)
}

/// The rows of a table, by file.
fn rows(files: &Files, table: &str) -> Vec<Row> {
    let of = files.iter().filter(|(name, _)| name.starts_with(&format!("{table}/")));
    of.flat_map(|(_, bytes)| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        reader.get_row_iter(None).unwrap().map(Result::unwrap).collect::<Vec<_>>()
    })
    .collect()
}

fn get(row: &Row, name: &str) -> Field {
    row.get_column_iter().find(|(of, _)| *of == name).unwrap_or_else(|| panic!("no column {name}")).1.clone()
}

fn text(row: &Row, name: &str) -> String {
    match get(row, name) {
        Field::Str(text) => text,
        other => panic!("{name} is {other}"),
    }
}

/// Two days: three runs, of which one reads nothing, and missed slots.
fn archive() -> Archive {
    let mut archive = Archive::new("2026-11-01");
    archive.at("2026-11-01T00:10:00Z").plan(&[(JOB, Some(hourly()))], "started");
    archive.run(&Run::slot(JOB, "2026-11-01T01:00:00Z").user("alice", true).user("bob", false));
    archive.run(&Run::slot(JOB, "2026-11-01T02:00:00Z").failed("refused"));
    archive.missed(JOB, "2026-11-01T03:00:00Z", "2026-11-01T23:00:00Z", 21, Cause::Down);
    let robot = json!({"id": "robot", "ok": false, "robot": true, "as_of": "2026-11-01T23:59:00Z", "exchange": 7});
    archive.run(&Run::slot(JOB, "2026-11-02T00:00:00Z").user("alice", json!(null)).record("user", robot));
    archive
}

#[test]
fn every_entry_check_row_and_record_is_exported_by_day_with_its_values() {
    let (memory, verdict) = archive().verified("");
    let (made, files, _) = exported(&memory, &verdict, &Wanted::default());
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "receipts/date=2026-11-01/part-000000000000.parquet",
            "receipts/date=2026-11-02/part-000000000005.parquet",
            "records/kind=user/date=2026-11-01/part-000000000002.parquet",
            "records/kind=user/date=2026-11-02/part-000000000005.parquet",
            "results/date=2026-11-01/part-000000000002.parquet",
            "results/date=2026-11-02/part-000000000005.parquet",
            "rows/date=2026-11-01/part-000000000002.parquet",
            "rows/date=2026-11-02/part-000000000005.parquet",
        ]
    );
    assert_eq!(made.rows, BTreeMap::from([("receipts", 6), ("records", 4), ("results", 3), ("rows", 4)]));
    assert_eq!((made.unread, made.refused), (0, 0));

    let receipts = rows(&files, "receipts");
    let types: Vec<String> = receipts.iter().map(|row| text(row, "type")).collect();
    assert_eq!(types, ["document", "document", "run", "run", "missed", "run"]);
    assert_eq!(get(&receipts[4], "slots"), Field::Long(21));
    assert_eq!(text(&receipts[4], "cause"), "down");
    assert_eq!(get(&receipts[2], "slot"), Field::TimestampMillis(at("2026-11-01T01:00:00Z").timestamp_millis()));
    assert_eq!(get(&receipts[0], "slot"), Field::Null);
    let said: Vec<(String, Field)> =
        rows(&files, "rows").iter().map(|row| (text(row, "result"), get(row, "record_id"))).collect();
    let id = |id: &str| Field::Str(id.into());
    let unread = ("unknown".to_owned(), Field::Null);
    assert_eq!(
        said,
        [("fail".into(), id("bob")), unread, ("unknown".into(), id("alice")), ("exempt".into(), id("robot"))]
    );
    let outcomes: Vec<String> = rows(&files, "results").iter().map(|row| text(row, "outcome")).collect();
    assert_eq!(outcomes, ["fail", "unknown", "unknown"]);
    let records = rows(&files, "records");
    let robot: Value = serde_json::from_str(&text(&records[3], "record")).unwrap();
    assert_eq!((robot["robot"].clone(), text(&records[3], "id")), (json!(true), "robot".into()));
    assert_eq!(get(&records[3], "exchange"), Field::Long(7));
    assert_eq!(get(&records[3], "as_of"), Field::TimestampMillis(at("2026-11-01T23:59:00Z").timestamp_millis()));
}

#[test]
fn the_same_archive_has_the_same_bytes() {
    let (memory, verdict) = archive().verified("");
    let all = Wanted::default();
    assert_eq!(exported(&memory, &verdict, &all).1, exported(&memory, &verdict, &all).1);
}

#[test]
fn days_and_kinds_that_were_not_asked_for_are_left_out() {
    let (memory, verdict) = archive().verified("");
    let part = Part { from: at("2026-11-02T00:00:00Z"), to: at("2026-11-03T00:00:00Z") };
    let one = Wanted { part: Some(part), kinds: BTreeSet::new() };
    let (made, files, _) = exported(&memory, &verdict, &one);
    assert!(files.keys().all(|name| name.contains("date=2026-11-02")), "{:?}", files.keys());
    assert_eq!((made.rows["receipts"], made.rows["records"]), (1, 2));
    let none = Wanted { part: None, kinds: BTreeSet::from(["device".to_owned()]) };
    let (made, ..) = exported(&memory, &verdict, &none);
    assert_eq!((made.rows["records"], made.rows["results"]), (0, 3));
}

#[test]
fn a_bundle_that_is_gone_and_an_entry_that_is_refused_leave_a_row_that_says_so_and_nothing_else() {
    let (mut memory, verdict) = archive().verified("");
    let name = memory.bundle("2026-11-01T01:00:00Z", JOB);
    memory.0.remove(&name);
    let (made, files, _) = exported(&memory, &verdict, &Wanted::default());
    assert_eq!((made.unread, made.refused, made.rows["records"], made.rows["results"]), (1, 0, 2, 2));
    assert!(text(&rows(&files, "receipts")[2], "unread").contains("is not in the archive"));

    let verdict = memory.judge("");
    assert!(verdict.findings.iter().any(|finding| finding.code == Code::BundleMissing), "{:?}", verdict.findings);
    let (made, files, _) = exported(&memory, &verdict, &Wanted::default());
    assert_eq!((made.unread, made.refused, made.rows["receipts"]), (0, 1, 6));
    assert!(text(&rows(&files, "receipts")[2], "refused").contains("BUNDLE-MISSING"));
}

#[test]
fn files_that_are_open_are_bounded_and_what_came_late_gets_a_file_of_its_own() {
    let mut archive = Archive::new("2026-01-01");
    archive.plan(&[(JOB, Some(hourly()))], "started");
    let days: Vec<Utc> = (0..90).map(|day| at("2026-01-02T05:00:00Z") + chrono::TimeDelta::days(day)).collect();
    for day in &days {
        archive.run(&Run::slot(JOB, &day.to_rfc3339()).user("alice", true));
    }
    let (memory, mut verdict) = archive.verified("");
    verdict.findings.clear();
    verdict.findings_total = 0;
    let (made, files, most) = exported(&memory, &verdict, &Wanted::default());
    assert_eq!((made.rows["records"], most), (90, OPEN));
    for bytes in files.values() {
        assert!(bytes.ends_with(b"PAR1"));
    }
}

#[test]
fn every_row_group_is_bounded_and_columns_are_what_the_document_lists() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/EXPORT.md")).unwrap();
    for table in Table::ALL {
        let section = document.split(&format!("### `{}`", table.name())).nth(1).unwrap().split("\n##").next().unwrap();
        let listed: Vec<&str> =
            section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let columns: Vec<&str> = table.columns().iter().map(|(name, ..)| *name).collect();
        assert_eq!(listed, columns, "{}", table.name());
    }
    let mut open = Open::new(Table::Rows, Box::new(io::sink())).unwrap();
    let long = "x".repeat(1024 * 1024);
    for entry in 0..20_u64 {
        let mut cells: Vec<Cell> = vec![entry.into()];
        cells.extend([long.as_str(), "", ""].map(Cell::from));
        cells.push(at("2026-11-01T00:00:00Z").into());
        cells.extend(["", "", "", "", "", ""].map(Cell::from));
        open.push(cells).unwrap();
        assert!(open.held < 9 * 1024 * 1024, "{} bytes wait", open.held);
    }
}

#[test]
fn an_unread_population_is_a_row_without_an_id() {
    let mut archive = Archive::new("2026-11-01");
    archive.at("2026-11-01T00:10:00Z").plan(&[(JOB, Some(hourly()))], "started");
    let cut =
        Run::slot(JOB, "2026-11-01T01:00:00Z").user("alice", true).population("user", Population::Cut("page 2".into()));
    archive.run(&cut);
    let (memory, verdict) = archive.verified("");
    let (_, files, _) = exported(&memory, &verdict, &Wanted::default());
    let result = &rows(&files, "results")[0];
    assert_eq!((text(result, "population_state"), text(result, "outcome")), ("cut".into(), "unknown".into()));
    assert_eq!(get(&rows(&files, "rows")[0], "record_id"), Field::Null);
}

#[test]
fn a_line_that_is_no_record_is_named_and_counted_and_the_others_are_exported() {
    let mut archive = Archive::new("2026-11-01");
    archive.at("2026-11-01T00:10:00Z").plan(&[(JOB, Some(hourly()))], "started");
    let mut run = Run::slot(JOB, "2026-11-01T01:00:00Z").user("alice", true);
    for record in [json!({"id": "d1"}), json!("no object"), json!({"id": "d2"}), json!([1])] {
        run = run.record("device", record);
    }
    let entry = archive.run(&run);
    let (memory, verdict) = archive.verified("");
    let (made, files, _) = exported(&memory, &verdict, &Wanted::default());
    assert_eq!((made.bad_lines, made.unread, made.rows["records"]), (2, 0, 3));
    let bundle = memory.bundle("2026-11-01T01:00:00Z", JOB);
    let name = |line: u32| format!("entry {entry}, {bundle}: records/device.jsonl, line {line}, is no JSON object");
    assert_eq!(made.bad_lines_named, [name(2), name(4)]);
    let receipts = rows(&files, "receipts");
    assert_eq!(text(receipts.last().unwrap(), "unread"), "records/device.jsonl, line 2, is no JSON object");
}
