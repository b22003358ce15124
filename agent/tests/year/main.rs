//! A year of the agent, simulated: its own account of what happened against the report that is made of its archive.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod account;
#[allow(dead_code)]
#[path = "../../../signing/tests/timestamp/asn1.rs"]
mod asn1;
mod compare;
mod drive;
mod kept;
mod people;
mod promises;
mod scenario;
#[allow(dead_code)]
#[path = "../../../signing/tests/timestamp/tsa.rs"]
mod tsa;
mod world;

use std::{process::Command, sync::Arc, time::Instant};

use account::Account;
use chrono::TimeDelta;
use compare::compare;
use report::{
    Ledger,
    model::{DriftEvent, Report},
    pass::PassError,
    period::{self, Asked, Question, Streams},
};
use scenario::{DAY, HOUR, Minute, Scenario};
use signing::verify;

/// How long nobody hears of an agent that stopped, in minutes.
const SILENCE: Minute = 10 * HOUR;

/// Another seed, for more of the same: `EVIDENCED_YEAR_SEED`.
fn seed() -> u64 {
    let given = std::env::var("EVIDENCED_YEAR_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
    println!("seed {seed}");
    seed
}

/// Every event of drift.
#[derive(Default)]
struct Drifts(Vec<DriftEvent>);

impl Streams for Drifts {
    fn drift(&mut self, event: &DriftEvent) -> Result<(), PassError> {
        self.0.push(event.clone());
        Ok(())
    }
}

/// Drives it, verifies what it left, and holds the report against the account.
async fn prove(scenario: Scenario) {
    let scenario = Arc::new(scenario);
    let begun = Instant::now();
    let left = drive::drive(&scenario).await;
    println!("driven in {:?}", begun.elapsed());
    judge(&scenario, &left, 0);
    // Nobody knew that the agent was not to start again: what the plan still named is missed, and what is too new is open.
    if scenario.end() + SILENCE < scenario.days * DAY {
        judge(&scenario, &left, SILENCE);
    }
}

/// Verifies and reports what was left, so many minutes after the agent stopped, and compares.
fn judge(scenario: &Scenario, left: &drive::Left, silence: Minute) {
    let begun = Instant::now();
    let options = verify::Options {
        threads: Some(2),
        as_of: Some(left.now + TimeDelta::minutes(silence)),
        timestamp_roots: left.authority.roots(),
        ..verify::Options::trusting(left.trust.clone())
    };
    let reader = left.reader();
    let verdict = verify::verify(&reader, &options, &|_| {}).unwrap();
    println!("verified in {:?}: {} entries", begun.elapsed(), verdict.checkpoint.size);
    let found: Vec<&str> = verdict.findings_by_code.keys().map(|code| code.as_str()).collect();
    let expected: &[&str] = if silence == 0 { &[] } else { &["SLOT-MISSING"] };
    assert_eq!(found, expected, "{:#?}", verdict.findings);
    let given = left.authority.given();
    assert_eq!((verdict.time.checkpoint_tokens, verdict.time.untrusted_tokens), (given.len() as u64, 0));
    let begun = Instant::now();
    let first = scenario.zero.date_naive();
    let question = Question {
        asked: Asked::Period { from: first, to: first + TimeDelta::days(scenario.days - 1), as_of: None },
        frameworks: None,
        program: "test".into(),
    };
    let ledger = Ledger::new(&reader, &verdict).unwrap();
    let mut drift = Drifts::default();
    let report = period::report(&ledger, &question, &mut drift).unwrap();
    println!("reported in {:?}", begun.elapsed());
    let account = Account::of(scenario, silence, &left.logged, &given);
    let count = scenario.said.iter().filter(|said| account.counts(said)).count();
    let accepted = account.failing().iter().filter(|failing| !account.signed(failing).is_empty()).count();
    println!("{} tokens; {} signed, {count} count, about {accepted} deviations", given.len(), scenario.said.len());
    compare(&report, &drift.0, &account).none();
    recount(left, &report);
}

/// The same archive and report, held against each other by a program that shares nothing with us.
fn recount(left: &drive::Left, report: &Report) {
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, report).unwrap();
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peers/recount.py");
    let said = Command::new("python3").arg(program).arg(left.origin()).arg(file.path()).output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
    println!("recounted: {text}");
}

/// A month, and with `EVIDENCED_YEAR=1` a year, which takes minutes.
#[tokio::test(start_paused = true)]
async fn incidents_are_reported_as_they_happened() {
    prove(match std::env::var_os("EVIDENCED_YEAR") {
        None => Scenario::new(seed(), "2026-03-01T00:00:00Z".parse().unwrap(), 31, 12 * HOUR - 2 * DAY),
        Some(_) => Scenario::new(seed(), "2026-01-01T00:00:00Z".parse().unwrap(), 365, 4 * DAY),
    })
    .await;
}
