//! Every host collector on the machine that runs the tests: whatever is installed here, a run ends, and deriving from what it kept
//! gives the same bytes again.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;

use controls::{Evaluator, parse_checks};

use collectors::{
    contract::Context,
    host::{access::Host, built_in, config::HostConfig},
    recorder::{Recorder, WorkEvidence},
    records::RecordFiles,
    testing::system_now,
};

#[tokio::test]
async fn each_collector_ends_here_and_derives_the_same_again() {
    let host = Host::new("/", None);
    for collector in built_in(&host, &HostConfig::default()).into_iter().filter(|c| c.spec().inputs.is_empty()) {
        let spec = collector.spec();
        let work = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(work.path()).unwrap();
        let mut context = Context { recorder: &mut recorder, now: system_now(), inputs: Vec::new(), window: None };
        collector.collect(&mut context).await.unwrap();
        let derive = || {
            let out = tempfile::tempdir().unwrap();
            let mut records = RecordFiles::new(out.path(), &spec.kinds, |_, _| {}).unwrap();
            collector.derive(&WorkEvidence::new(work.path()), &mut records).unwrap();
            let derived = records.finish().unwrap();
            let bytes: Vec<Vec<u8>> = spec
                .kinds
                .iter()
                .map(|kind| fs::read(out.path().join(format!("records/{kind}.jsonl"))).unwrap())
                .collect();
            (derived, bytes)
        };
        let (derived, bytes) = derive();
        assert_eq!((derived.clone(), bytes.clone()), derive(), "{}", spec.id);
        let mut evaluator = Evaluator::new(&parse_checks(&spec.checks).unwrap(), &serde_json::Value::Null).unwrap();
        for (kind, rows) in spec.kinds.iter().zip(&bytes) {
            for row in String::from_utf8_lossy(rows).lines() {
                evaluator.record(kind, &serde_json::from_str(row).unwrap());
            }
        }
        let populations = serde_json::to_value(&derived.populations).unwrap();
        for check in evaluator.finish(&serde_json::from_value(populations).unwrap()).checks {
            for row in check.rows.fail().chain(check.rows.unknown()) {
                println!("  {} {:?}: {}", check.id, row.id.as_deref().unwrap_or("(list)"), row.reason);
                // A person reads it: no expression, and no error of one.
                let plain = !row.reason.contains(['`', '$']) && !row.reason.contains("gave an error");
                assert!(plain, "{}: {}", check.id, row.reason);
            }
        }
        println!("{}: {:?} {:?} {:?}", spec.id, derived.records, derived.populations, derived.gaps);
    }
}
