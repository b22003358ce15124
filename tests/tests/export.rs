//! What others' programs read of an archive: DuckDB queries the tables of `export --parquet`.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::{Value, json};
use tests::{
    program::{Place, files, text, workspace},
    tools,
};

fn tree(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |path: &Path| path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
    files(directory).iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

#[test]
fn duckdb_finds_in_the_tables_what_the_receipts_count_and_reads_no_other_day() {
    let place = Place::new();
    for _ in 0..2 {
        place.expect(0, ["collect", "host/accounts"]);
    }
    let root = place.root();
    let export =
        |directory: &str| ["export", "./evidence", "--trust", &root, "--parquet", directory].map(str::to_owned);
    let said = place.expect(0, export("tables"));
    assert!(said.contains("ARCHIVE INTACT"), "{said}");
    place.expect(2, export("tables"));
    place.expect(0, export("again"));
    assert_eq!(tree(&place.path().join("tables")), tree(&place.path().join("again")));

    let directory = place.path().join("tables");
    let name = files(&directory.join("records")).remove(0).to_str().unwrap().to_owned();
    let day = name.split("date=").nth(1).unwrap().split('/').next().unwrap();
    let output = Command::new(tools::report().join("bin/python"))
        .arg(tools::scripts().join("tables.py"))
        .args([&directory, &workspace().join("docs/EXPORT.md")])
        .arg(day)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["rows"]["records"], told["records_of_receipts"], "{told}");
    assert_eq!(told["sums"], told["totals"], "{told}");
    assert_eq!((&told["unmatched"], &told["same_id"]), (&json!(0), &json!(0)));
    let receipts = told["rows"]["receipts"].as_u64().unwrap();
    let shown: Value = serde_json::from_str(&place.expect(0, ["show", "./evidence", "--json"])).unwrap();
    assert_eq!(receipts, shown["size"].as_u64().unwrap());
    for (table, rows) in told["rows"].as_object().unwrap() {
        assert!(said.contains(&format!("{table} {rows}")), "{said}");
    }
    assert!(told["kinds"].as_array().unwrap().contains(&json!("account")), "{told}");
    assert_eq!((&told["files_of_day"], &told["files_of_another"]), (&json!(1), &json!(0)), "{told}");
    assert_eq!(told["columns"][4], json!(["run_at", "TIMESTAMP WITH TIME ZONE"]));
    // The accounts of one run, though two runs read them; and no slots, since both were by hand.
    let accounts = told["answers"][0].as_array().unwrap();
    assert_eq!(accounts.iter().filter(|row| row[1] == "root").count(), 1, "{told}");
    assert_eq!(told["answers"][2], json!([]), "{told}");
}

#[test]
fn an_archive_under_another_key_is_not_exported_and_one_that_was_changed_is_without_what_was() {
    let place = Place::new();
    place.expect(0, ["collect", "host/accounts"]);
    let another = format!("SHA256:{}", "A".repeat(43));
    place.expect(2, ["export", "./evidence", "--trust", &another, "--parquet", "tables"]);
    assert!(!place.path().join("tables").exists());

    let bundle = files(&place.origin().join("bundle")).remove(0);
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[100] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let said = place.expect(1, ["export", "./evidence", "--trust", &place.root(), "--parquet", "tables"]);
    assert!(said.contains("NOT INTACT") && said.contains("refused by verification"), "{said}");
    assert!(!place.path().join("tables/records").exists());
    assert_eq!(
        place
            .path()
            .read_dir()
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.'))
            .count(),
        0
    );
}
