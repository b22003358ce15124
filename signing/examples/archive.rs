//! Writes a large archive for measuring: `archive DIRECTORY RECEIPTS [AN_HOUR]`. Receipts of two hourly jobs and of runs by hand, ten an
//! hour or so many, each with its bundle, its results and its seal; a controls document; a plan and a token over the checkpoint every day.
//! Each hour a record begins to fail or passes again. It leaves the origin's directory in DIRECTORY, and beside it `kept` (the checkpoint
//! when one in a hundred receipts was still to come), `roots.pem`, `receipts.pem` and `trust`.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{fs, path::PathBuf};

use chrono::TimeDelta;

#[path = "../tests/timestamp/asn1.rs"]
#[allow(unused_imports)]
mod asn1;
#[path = "../tests/verify/sound.rs"]
mod sound;
#[path = "../tests/timestamp/tsa.rs"]
mod tsa;

use signing::{digest::Digest, keys::Signer as _, layout::Job, statement::Counts, time::Utc};
use sound::*;
use tsa::Tsa;

fn main() {
    let mut words = std::env::args().skip(1);
    let (dir, receipts) = words.next().zip(words.next()).expect("archive DIRECTORY RECEIPTS [AN_HOUR]");
    let an_hour: i64 = words.next().map_or(10, |word| word.parse().expect("a number"));
    let (dir, receipts): (PathBuf, u64) = (dir.into(), receipts.parse().expect("a number"));
    let tsa = Tsa::new(tsa::p256(3));
    let mut writer = Writer::new(&dir.join(signing::layout::origin_directory(ORIGIN)));
    let start = writer.now;
    let jobs = ["host/accounts", "host/sshd"];
    writer.keys(&key_set(1));
    writer.now += TimeDelta::seconds(1);
    writer.plan_with(&jobs, "schedules in force", None);
    writer.document("controls", promise(&jobs).to_string().as_bytes());
    let mut made = 0;
    for hour in 1.. {
        let slot = start + TimeDelta::hours(hour);
        if hour % 24 == 0 {
            writer.now = slot;
            writer.plan_with(&jobs, "restated", Some(slot));
        }
        for run in 0..an_hour {
            writer.now = slot + TimeDelta::milliseconds(3_000_000 / an_hour * run) + TimeDelta::seconds(1);
            let name = job(jobs[run as usize % 2]);
            reads(&mut writer, &name, (run < 2).then_some(slot), hour);
        }
        made += an_hour.unsigned_abs();
        let last = made >= receipts;
        if hour % 24 == 0 || last {
            writer.append();
            writer.anchor(&tsa, writer.now + TimeDelta::seconds(10));
        }
        if made <= receipts - receipts / 100 {
            fs::copy(writer.dir.join("checkpoint"), dir.join("kept")).ok();
        }
        if last {
            break;
        }
    }
    fs::write(dir.join("roots.pem"), tsa::pem(&[&tsa.root])).unwrap();
    fs::write(dir.join("trust"), trust()).unwrap();
    let spki = serde_json::to_value(receipts_key().public()).unwrap();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", spki.as_str().unwrap());
    fs::write(dir.join("receipts.pem"), pem).unwrap();
}

/// Accounts in each list; in hour `n` the first `n` modulo 4 of them fail.
const ACCOUNTS: i64 = 12;

/// A control on both jobs.
fn promise(jobs: &[&str]) -> serde_json::Value {
    let check = serde_json::json!({"id": "is-ok", "item": "mfa_user_enrolled", "kind": "account"});
    let scope = |name: &&str| {
        let sha256 = Digest::of(b"checks");
        serde_json::json!({"job": job(name), "kind": "host", "version": 1, "checks_sha256": sha256, "checks": [check]})
    };
    let control = serde_json::json!({
        "id": "AC-01", "title": "Accounts", "owner": "security", "statement": "Accounts are in order", "frequency": "daily",
        "items": ["mfa_user_enrolled"], "soc2": {"CC6.1": "direct"}
    });
    serde_json::json!({
        "format": "evidenced-controls/1", "origin": ORIGIN, "agent": "0.1.0", "previous": null, "reason": "", "period": null,
        "frameworks": {"soc2": ["security"], "hipaa": null}, "parameters": {}, "controls": [control], "treatments": {},
        "user_entity_controls": [], "vendor_expectations": [], "scope": jobs.iter().map(scope).collect::<Vec<_>>()
    })
}

/// A run with records and results.
fn reads(writer: &mut Writer, job: &Job, slot: Option<Utc>, hour: i64) {
    let name = |n: i64| format!("account-{n:02}");
    let failing = hour % 4;
    let row = |n: i64| format!("{{\"id\":\"{}\",\"as_of\":null,\"exchange\":1,\"ok\":{}}}\n", name(n), n >= failing);
    let records: String = (0..ACCOUNTS).map(row).collect();
    let pass: Vec<String> = (failing..ACCOUNTS).map(name).collect();
    let fail: Vec<_> =
        (0..failing).map(|n| serde_json::json!({"id": name(n), "reason": format!("{} is not ok", name(n))})).collect();
    let counts = Counts { pass: pass.len() as u64, fail: fail.len() as u64, ..Counts::default() };
    let results = serde_json::json!({"format": "evidenced-results/1", "checks": [{
        "id": "is-ok", "item": "mfa_user_enrolled", "title": "MFA registered for every active human account",
        "criteria": {"soc2": {"CC6.1": "direct"}, "hipaa": {}},
        "definition": {"pass": ".ok", "says": "{id} is not ok", "parameters": {}},
        "population": {"kind": "account", "state": "whole", "size": ACCOUNTS},
        "outcome": if fail.is_empty() { "pass" } else { "fail" },
        "pass": counts.pass, "fail": counts.fail, "unknown": 0, "not_applicable": 0, "exempt": 0,
        "rows": {"pass": pass, "exempt": [], "fail": fail, "unknown": []}
    }]});
    let results = results.to_string();
    let digest = Digest::of(results.as_bytes());
    writer.before_bundling = Some(Box::new(move |work| {
        fs::write(work.join("records/account.jsonl"), &records).unwrap();
        fs::write(work.join("results.json"), &results).unwrap();
    }));
    let statement = writer.receipt(job, slot, |receipt| {
        (receipt.totals, receipt.results) = (counts, digest);
        receipt.checks = Some([("is-ok".to_owned(), counts)].into());
    });
    writer.seal(&statement);
}
