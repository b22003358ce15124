//! One record for each id. A list that changes while it is read may show a row twice: the first stands, and a second that differs is said.

use std::{
    collections::{BTreeMap, HashMap},
    io,
};

use sha2::{Digest as _, Sha256};

use crate::contract::{Population, Record, Records};

/// Lets each id of a kind through once.
pub(super) struct Once<'o> {
    out: &'o mut dyn Records,
    /// By kind: the ids of records, and what was in them, both as hashes.
    seen: BTreeMap<String, HashMap<u128, u128>>,
}

impl<'o> Once<'o> {
    pub fn new(out: &'o mut dyn Records) -> Self {
        Self { out, seen: BTreeMap::new() }
    }
}

impl Records for Once<'_> {
    fn record(&mut self, kind: &str, record: Record) -> io::Result<()> {
        let content = hash(&serde_json::to_vec(&(&record.as_of, &record.fields))?);
        let id = hash(record.id.as_bytes());
        if !self.seen.contains_key(kind) {
            self.seen.insert(kind.to_owned(), HashMap::new());
        }
        match self.seen.get_mut(kind).and_then(|seen| seen.insert(id, content)) {
            None => return self.out.record(kind, record),
            Some(before) if before == content => {}
            Some(before) => {
                self.seen.get_mut(kind).and_then(|seen| seen.insert(id, before));
                self.out.gap(format!(
                    "{kind} {} was answered twice, and not the same: the list changed while it was read; the first answer stands",
                    record.id
                ));
            }
        }
        Ok(())
    }

    fn population(&mut self, kind: &str, population: Population) {
        self.out.population(kind, population);
    }

    fn gap(&mut self, reason: String) {
        self.out.gap(reason);
    }
}

/// The first 128 bits of SHA-256.
fn hash(bytes: &[u8]) -> u128 {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest[..16].iter().fold(0, |hash, byte| hash << 8 | u128::from(*byte))
}
