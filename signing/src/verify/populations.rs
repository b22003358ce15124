//! Documents that freeze populations: for this log, and read from a state that it had.

use super::{
    findings::{CannotVerify, Code},
    order::Order,
};
use crate::{
    digest::Digest,
    population::{MAX_DOCUMENT, PopulationDocument},
};

impl Order<'_> {
    /// Takes the document that an entry logs. `root_at` gives the log's root at an earlier size.
    pub fn population(
        &mut self,
        name: &str,
        (index, digest): (u64, Digest),
        root_at: &mut dyn FnMut(u64) -> Option<Digest>,
    ) -> Result<(), CannotVerify> {
        self.told.populations += 1;
        let Some(bytes) = self.read_document(name, index, digest, MAX_DOCUMENT)? else { return Ok(()) };
        let findings = self.findings;
        let finding = |code, says: String| findings.add(code, name, Some(index), says);
        let document = match PopulationDocument::from_bytes(&bytes) {
            Ok(document) => document,
            Err(says) => {
                finding(Code::DocumentMalformed, says);
                return Ok(());
            }
        };
        if document.origin != self.origin() {
            let says = format!("its populations are of the log {:?}, not {:?}", document.origin, self.origin());
            finding(Code::Origin, says);
        }
        let read = document.as_of;
        if read.size > index {
            let says = format!("it was read from {} entries, but is entry {index} itself", read.size);
            finding(Code::LogOrder, says);
        } else if let Some(root) = root_at(read.size).filter(|root| *root != read.root) {
            let says = format!(
                "it was read from {} entries with root {}; this log's root at that size is {root}",
                read.size, read.root
            );
            finding(Code::LogForked, says);
        }
        Ok(())
    }
}
