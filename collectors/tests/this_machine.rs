//! Every host collector on the machine that runs the tests: whatever is installed here, a run ends, and deriving from what it kept
//! gives the same bytes again.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;

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
        let mut context = Context { recorder: &mut recorder, now: system_now(), inputs: Vec::new() };
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
        assert_eq!((derived.clone(), bytes), derive(), "{}", spec.id);
        println!("{}: {:?} {:?} {:?}", spec.id, derived.records, derived.populations, derived.gaps);
    }
}
