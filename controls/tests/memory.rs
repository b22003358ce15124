//! What the evaluation of many records takes in memory. A binary of its own, since the measure is the process's.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, io};

use controls::{Evaluator, Population, parse_checks};
use serde_json::{Value, json};

const ROWS: u64 = 50_000;

const CHECKS: &str = r#"
- id: mfa
  item: mfa_user_enrolled
  population: user
  pass: .mfa
  says: "{name} in {account} has no second factor, although a password is set since {since}"
- id: rotated
  item: mfa_user_enrolled
  population: user
  pass: .age_days < 90
  says: "the key of {name} is {age_days} days old"
- id: reported
  item: mfa_user_enrolled
  population: user
  pass: $report.row | if . == null then false else .password_enabled end
  says: "{name} is not in the credential report"
  join:
    report: {with: report, on: .id}
"#;

/// The most that this process ever had in memory, in KiB; on other systems than Linux, none.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn user(number: u64) -> Value {
    let name = format!("user-{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let id = format!("arn:aws:iam::111122223333:user/staff/{name}");
    json!({"id": id, "as_of": "2026-11-22T04:00:00Z", "exchange": number / 100 + 1, "account": "111122223333", "name": name,
        "mfa": !number.is_multiple_of(10), "age_days": number % 100, "since": "2025-01-01T00:00:00Z", "password_enabled": true,
        "groups": ["engineering", "all-staff"], "tags": {"team": "payments", "cost-centre": "4711"}})
}

/// How long `results.json` is.
#[derive(Default)]
struct Length(u64);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn memory_grows_by_bytes_for_a_row_and_not_by_rows() {
    let evaluate = |rows: u64| {
        let mut evaluator = Evaluator::new(&parse_checks(CHECKS).unwrap(), &Value::Null).unwrap();
        for number in 0..rows {
            let row = user(number);
            evaluator.record("user", &row);
            evaluator.record("report", &row);
        }
        let whole = ["user", "report"].map(|kind| (kind.to_owned(), Population::Whole));
        let results = evaluator.finish(&BTreeMap::from(whole));
        let mut length = Length::default();
        results.write(&mut length).unwrap();
        assert_eq!(results.checks.iter().map(|check| check.pass + check.fail).collect::<Vec<_>>(), [rows; 3]);
        assert_eq!(results.checks[2].pass, rows);
        length.0
    };
    // What is there whatever the number of rows: catalogues, filters, stacks, the first blocks.
    evaluate(1000);
    let before = peak();
    let length = evaluate(ROWS);
    if let (Some(before), Some(after)) = (before, peak()) {
        let grown = after - before;
        println!("{ROWS} rows of 3 checks: {} KiB of results.json, {grown} KiB of memory", length / 1024);
        assert!(grown < ROWS / 3, "some 330 bytes for a row held twice, in three checks and a join: {grown} KiB");
    }
}
