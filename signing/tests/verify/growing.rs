//! An archive that its agent writes to while it is verified: what comes after the checkpoint that was read first is no finding.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use chrono::TimeDelta;
use signing::{
    store::Reader,
    verify::{Options, verify},
};

use super::sound::*;

/// The states of an append across the first full tile, in the agent's order: sealed, decided, tiles, checkpoint, tidied.
fn states() -> Vec<Memory> {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path());
    writer.keys(&key_set(1));
    writer.plan(&[], "collect by hand");
    writer.append();
    for n in 0..252 {
        writer.document("letter", format!("{n}").as_bytes());
    }
    writer.append();
    let before = Memory::read(dir.path());
    writer.now += TimeDelta::minutes(1);
    for n in 300..304 {
        writer.document("letter", format!("{n}").as_bytes());
    }
    let sealed = Memory::read(dir.path());
    let leaves: Vec<String> = {
        use base64::Engine as _;
        writer.waiting.iter().map(|leaf| base64::engine::general_purpose::STANDARD.encode(leaf)).collect()
    };
    let decision = serde_json::json!({
        "format": "evidenced-append/1", "instance": "i", "old_size": 254, "leaves": leaves,
    });
    writer.append();
    let tidied = Memory::read(dir.path());
    let mut decided = sealed.clone();
    decided.objects.insert("append/254".into(), decision.to_string().into_bytes());
    let mut tiles = decided.clone();
    for (name, bytes) in &tidied.objects {
        if name.starts_with("tile/") {
            tiles.objects.insert(name.clone(), bytes.clone());
        }
    }
    let mut published = tiles.clone();
    published.objects.insert("checkpoint".into(), tidied.objects["checkpoint"].clone());
    vec![before, sealed, decided, tiles, published, tidied]
}

/// Goes from one state to the next with the reads.
struct Growing<'a> {
    states: &'a [Memory],
    reads: AtomicUsize,
    /// The read at which the first step is made, and how many reads lie between steps.
    from: usize,
    every: usize,
}

impl Growing<'_> {
    fn state(&self) -> &Memory {
        let read = self.reads.fetch_add(1, SeqCst);
        let steps = if read < self.from { 0 } else { 1 + (read - self.from) / self.every };
        &self.states[steps.min(self.states.len() - 1)]
    }
}

impl Reader for Growing<'_> {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn io::Read + Send + '_>>> {
        self.state().open(name)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        // A listing is no instant either.
        for part in ["append/", "bundle/", "checkpoint", "document/", "seal/", "tile/0", "tile/1", "tile/entries"] {
            if part.starts_with(prefix) {
                self.state().list(part, each)?;
            }
        }
        Ok(())
    }
}

#[test]
fn every_state_of_an_append_is_intact() {
    for state in states() {
        let verdict = state.judge();
        assert!(verdict.intact, "{:?}", verdict.findings);
    }
}

#[test]
fn an_archive_that_grows_while_it_is_verified_is_intact() {
    let states = states();
    let options = Options { threads: Some(1), ..Options::trusting(trust()) };
    let judge = |from, every| {
        let growing = Growing { states: &states, reads: AtomicUsize::new(0), from, every };
        let verdict = verify(&growing, &options, &|_| {}).unwrap();
        assert!(verdict.intact, "from read {from}, every {every}: {:?}", verdict.findings);
        growing.reads.into_inner()
    };
    let reads = judge(usize::MAX, 1);
    // The first reads and the last ones, where the log and the listing are, and some between.
    let (start, end) = (0..10, reads - 20..reads + 2);
    for from in start.chain((10..reads - 20).step_by(131)).chain(end) {
        for every in [1, 3] {
            judge(from, every);
        }
    }
}
