#![allow(clippy::unwrap_used)]
use signing::bundle::Population;

use super::*;
use crate::testing::{Archive, Memory, Run, at, hourly, job};

const JOB: &str = "host/accounts@this";

/// What was seen of each run: its entry, and what its results come to.
#[derive(Default)]
struct Seen {
    needs: Needs,
    runs: Vec<(u64, Result<Arc<Results>, String>)>,
    rows: Vec<usize>,
    others: u64,
}

impl Listener for Seen {
    fn needs(&self, _: &RunHead<'_>) -> Needs {
        self.needs.clone()
    }

    fn run(&mut self, run: &RunRead) -> Result<(), PassError> {
        self.runs.push((run.index, run.results.clone()));
        if let Ok(records) = &run.records {
            self.rows.push(records["user"].rows()?.collect::<io::Result<Vec<_>>>()?.len());
        }
        Ok(())
    }

    fn other(&mut self, _: &Ledger<'_>, _: &Entry<'_>) -> Result<(), PassError> {
        self.others += 1;
        Ok(())
    }
}

fn three_runs() -> Archive {
    let mut archive = Archive::new("2026-11-01");
    archive.at("2026-11-01T00:10:00Z").plan(&[(JOB, Some(hourly()))], "started");
    for hour in ["01", "02", "03"] {
        archive.run(&Run::slot(JOB, &format!("2026-11-01T{hour}:00:00Z")).user("alice", true));
    }
    archive
}

fn seen(memory: &Memory, verdict: &signing::verify::Verdict, needs: Needs) -> Seen {
    let mut seen = Seen { needs, ..Seen::default() };
    let ledger = Ledger::new(memory, verdict).unwrap();
    pass(&ledger, at("2026-11-01T03:00:00Z"), &mut [&mut seen]).unwrap();
    seen
}

fn results() -> Needs {
    Needs { results: true, ..Needs::default() }
}

#[test]
fn every_run_before_the_end_comes_once_in_order_and_the_same_results_are_shared() {
    let (memory, verdict) = three_runs().verified("");
    assert_eq!(verdict.findings, []);
    let all = seen(&memory, &verdict, results());
    assert_eq!((all.runs.iter().map(|(index, _)| *index).collect::<Vec<_>>(), all.others), (vec![2, 3], 2));
    let [one, two] = [0, 1].map(|at| all.runs[at].1.clone().unwrap());
    assert!(Arc::ptr_eq(&one, &two), "the second bundle need not be opened");
    let none = seen(&memory, &verdict, Needs::default());
    assert_eq!(none.runs[0].1, Err(NOT_ASKED.to_owned()));
}

#[test]
fn a_bundle_that_is_gone_makes_the_next_one_be_opened() {
    let (mut memory, verdict) = three_runs().verified("");
    let first = memory.bundle("2026-11-01T01:00:00Z", JOB);
    memory.0.remove(&first).unwrap();
    let all = seen(&memory, &verdict, results());
    assert_eq!(all.runs[0].1, Err(format!("{first} is not in the archive")));
    assert!(all.runs[1].1.is_ok());
}

#[test]
fn what_a_finding_names_is_given_as_refused_and_never_read() {
    let mut archive = three_runs();
    let (mut memory, _) = archive.verified("");
    let first = memory.bundle("2026-11-01T01:00:00Z", JOB);
    memory.0.get_mut(&first).unwrap().push(0);
    let verdict = memory.judge("");
    let all = seen(&memory, &verdict, Needs { records: Kinds::All, ..results() });
    let why = all.runs[0].1.clone().unwrap_err();
    assert!(why.starts_with("verification refuses its entry: ") && why.contains("BUNDLE-DIGEST"), "{why}");
    assert!(all.runs[1].1.is_ok());
    assert_eq!(all.rows, [1]);
}

#[test]
fn a_slot_without_a_receipt_refuses_no_plan() {
    let (memory, verdict) = three_runs().verified("2026-11-02");
    assert_eq!(verdict.findings[0].code.as_str(), "SLOT-MISSING");
    let ledger = Ledger::new(&memory, &verdict).unwrap();
    assert_eq!(ledger.refused(verdict.findings[0].index.unwrap()), None);
    let mut entries = 0;
    ledger
        .entries::<LedgerError>(|_| {
            entries += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(entries, 5);
}

#[test]
fn records_come_with_their_digest_and_only_the_kinds_that_were_asked_for() {
    let mut archive = three_runs();
    let odd = Run::by_hand(JOB).user("bob", false).population("user", Population::Cut("denied".into()));
    archive.at("2026-11-01T02:30:00Z").run(&odd);
    let (memory, verdict) = archive.verified("");
    struct Digests(Vec<(Job, Vec<String>, Digest)>);
    impl Listener for Digests {
        fn needs(&self, _: &RunHead<'_>) -> Needs {
            Needs { records: Kinds::These(["user".to_owned()].into()), facts: true, ..Needs::default() }
        }
        fn run(&mut self, run: &RunRead) -> Result<(), PassError> {
            let records = run.records.as_ref().unwrap();
            let kinds = run.facts.as_ref().unwrap().populations.keys().cloned().collect();
            self.0.push((run.job().clone(), kinds, records["user"].digest()));
            assert_eq!(run.results.clone().unwrap_err(), NOT_ASKED);
            Ok(())
        }
    }
    let mut digests = Digests(Vec::new());
    let ledger = Ledger::new(&memory, &verdict).unwrap();
    pass(&ledger, at("2027-01-01"), &mut [&mut digests]).unwrap();
    let [one, two, _, odd] = &digests.0[..] else { panic!("four runs") };
    assert_eq!((&one.0, &one.1, one.2), (&job(JOB), &vec!["user".to_owned()], two.2));
    assert_ne!(one.2, odd.2);
}
