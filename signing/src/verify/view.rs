//! One entry in a package of several, as the package of one that it would be.

use std::{
    collections::BTreeSet,
    io::{self, Read},
};

use crate::{
    digest::Digest,
    layout::{self, parse_anchor},
    package::{self, ABOUT, About, LEAF, sample},
    statement::Statement,
    store::Reader,
};

/// A package of one entry within one of several: its objects under the names that they have there.
pub(crate) struct View<'a> {
    reader: &'a dyn Reader,
    index: u64,
    about: Vec<u8>,
    /// By their names in a package of one.
    pub names: BTreeSet<String>,
}

impl<'a> View<'a> {
    pub fn new(
        reader: &'a dyn Reader,
        all: &BTreeSet<String>,
        (origin, index): (&str, u64),
        statement: Option<&(Statement, Digest)>,
    ) -> Self {
        let about = About { format: package::FORMAT.to_owned(), origin: origin.to_owned(), index };
        let about = serde_json::to_vec(&about).expect("strings and numbers are always JSON");
        let mut names = BTreeSet::from([ABOUT.to_owned()]);
        if all.contains(&sample::leaf(index)) {
            names.insert(LEAF.to_owned());
        }
        let mut anchors = BTreeSet::new();
        let prefix = format!("entry/{index}/");
        for name in all.range(prefix.clone()..).take_while(|name| name.starts_with(&prefix)) {
            if let Some((_, size)) = sample::parse_proof(name) {
                names.insert(package::proof(size));
                anchors.insert(size);
            }
        }
        if let Some((statement, leaf)) = statement {
            anchors.extend(statement.entry.anchor.map(|known| known.size));
            let own = [
                Some(layout::seal(statement.entry.sealed_at, *leaf)),
                package::subject(statement),
                statement.entry.plan.map(|plan| layout::document("plan", plan)),
            ];
            names.extend(own.into_iter().flatten().filter(|name| all.contains(name)));
        }
        let shared = |name: &&String| {
            name.starts_with("document/keys/") || parse_anchor(name).is_some_and(|(size, _, _)| anchors.contains(&size))
        };
        names.extend(all.iter().filter(shared).cloned());
        Self { reader, index, about, names }
    }

    /// The name in the package of several.
    pub fn outer(&self, name: &str) -> String {
        match package::parse_proof(name) {
            Some(size) => sample::proof(self.index, size),
            None if name == LEAF => sample::leaf(self.index),
            None => name.to_owned(),
        }
    }
}

impl Reader for View<'_> {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send + '_>>> {
        match name {
            _ if !self.names.contains(name) => Ok(None),
            ABOUT => Ok(Some(Box::new(self.about.as_slice()))),
            _ => self.reader.open(&self.outer(name)),
        }
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        self.names.iter().filter(|name| name.starts_with(prefix)).for_each(|name| each(name));
        Ok(())
    }
}
