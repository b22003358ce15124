//! One record for each id. A list that changes while it is read may show a row twice: the first stands, and a second that differs is said.

use std::{collections::BTreeMap, io};

use sha2::{Digest as _, Sha256};

use crate::{
    contract::{Population, Record, Records},
    seen::Seen,
};

/// Lets each id of a kind through once.
pub(super) struct Once<'o> {
    out: &'o mut dyn Records,
    /// By kind: the ids of records, and what was in them, both as hashes.
    seen: BTreeMap<String, Seen<u64>>,
}

impl<'o> Once<'o> {
    pub fn new(out: &'o mut dyn Records) -> Self {
        Self { out, seen: BTreeMap::new() }
    }
}

impl Records for Once<'_> {
    fn record(&mut self, kind: &str, record: Record) -> io::Result<()> {
        let content = hash(&serde_json::to_vec(&(&record.as_of, &record.fields))?);
        if !self.seen.contains_key(kind) {
            self.seen.insert(kind.to_owned(), Seen::default());
        }
        match self.seen.get_mut(kind).and_then(|seen| seen.insert(&record.id, content)) {
            None => return self.out.record(kind, record),
            Some(before) if before == content => {}
            Some(_) => {
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

/// The first 64 bits of SHA-256.
fn hash(bytes: &[u8]) -> u64 {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest[..8].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}
