//! Keeps what a collector derives: `records/<kind>.jsonl`, row by row. It never keeps rows or ids in memory, only that an id was seen, and
//! never orders rows: the same rows in the same order are the same bytes.

#![allow(clippy::disallowed_methods, reason = "a work directory is made durable as a whole, later")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

use serde_json::Value;

use crate::{
    contract::{Population, Record, Records},
    seen::Seen,
};

/// So many different gaps are told; of the rest, how many: they are in `run.json` and in the run's reason.
const MOST_GAPS: usize = 1000;

/// Is called with each row as it is kept: the kind and the row.
pub type EachRow<'a> = dyn FnMut(&str, &Value) + Send + 'a;

/// Records as files of a work directory.
pub struct RecordFiles<'a> {
    kinds: BTreeMap<String, Kind>,
    gaps: Vec<String>,
    /// All of them, also those that are not told.
    seen_gaps: Seen,
    each: Box<EachRow<'a>>,
}

struct Kind {
    file: BufWriter<File>,
    ids: Seen,
    population: Option<Population>,
}

/// What was derived in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// How many records of each declared kind.
    pub records: BTreeMap<String, u64>,
    /// Whether the list of each declared kind is whole; one of which nothing was said is unread.
    pub populations: BTreeMap<String, Population>,
    /// What was not read although lists may be whole.
    pub gaps: Vec<String>,
}

impl<'a> RecordFiles<'a> {
    /// Makes an empty file for each declared kind.
    ///
    /// # Errors
    /// The disk's; a file that is there already.
    pub fn new(work: &Path, kinds: &[String], each: impl FnMut(&str, &Value) + Send + 'a) -> io::Result<Self> {
        fs::create_dir_all(work.join("records"))?;
        let kinds = kinds.iter().map(|kind| {
            let file = BufWriter::new(File::create_new(work.join(format!("records/{kind}.jsonl")))?);
            Ok((kind.clone(), Kind { file, ids: Seen::default(), population: None }))
        });
        let (gaps, seen_gaps) = (Vec::new(), Seen::default());
        Ok(Self { kinds: kinds.collect::<io::Result<_>>()?, gaps, seen_gaps, each: Box::new(each) })
    }

    /// Ends the files and says what is in them.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(self) -> io::Result<Derived> {
        let mut derived = Derived { records: BTreeMap::new(), populations: BTreeMap::new(), gaps: self.gaps };
        match self.seen_gaps.count() - derived.gaps.len() as u64 {
            0 => {}
            more => derived.gaps.push(format!("and {more} more of which nothing is said here")),
        }
        for (name, mut kind) in self.kinds {
            kind.file.flush()?;
            derived.records.insert(name.clone(), kind.ids.count());
            let population =
                kind.population.unwrap_or_else(|| Population::Unread("the collector says nothing of it".into()));
            derived.populations.insert(name, population);
        }
        Ok(derived)
    }
}

impl Records for RecordFiles<'_> {
    fn record(&mut self, kind: &str, record: Record) -> io::Result<()> {
        let kept = self.kinds.get_mut(kind).ok_or_else(|| bug(format!("a record of the undeclared kind {kind}")))?;
        let row = row(&record)?;
        if kept.ids.insert(&record.id, ()).is_some() {
            return Err(bug(format!("two records of the kind {kind} have the id {}", row["id"])));
        }
        let mut line = serde_json::to_vec(&row)?;
        line.push(b'\n');
        kept.file.write_all(&line)?;
        (self.each)(kind, &row);
        Ok(())
    }

    fn population(&mut self, kind: &str, population: Population) {
        match self.kinds.get_mut(kind) {
            Some(kept) => kept.population = Some(population),
            None => self.gap(format!("the collector speaks of the undeclared kind {kind}")),
        }
    }

    fn gap(&mut self, reason: String) {
        if self.seen_gaps.insert(&reason, ()).is_none() && self.gaps.len() < MOST_GAPS {
            self.gaps.push(reason);
        }
    }
}

/// A record as one flat JSON object.
pub(crate) fn row(record: &Record) -> io::Result<Value> {
    if let Some(name) = ["id", "as_of", "exchange"].iter().find(|name| record.fields.contains_key(**name)) {
        return Err(bug(format!("the record {} has a field {name} of its own", record.id)));
    }
    Ok(serde_json::to_value(record)?)
}

fn bug(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn record(id: &str) -> Record {
        let fields = json!({"name": id, "more": null});
        Record { id: id.into(), as_of: None, exchange: 1, fields: fields.as_object().unwrap().clone() }
    }

    #[test]
    fn rows_are_flat_in_order_and_seen_by_the_evaluator() {
        let work = tempfile::tempdir().unwrap();
        let mut seen = Vec::new();
        let mut files = RecordFiles::new(work.path(), &["a".into(), "b".into()], |kind, row| {
            seen.push(format!("{kind} {}", row["id"]));
        })
        .unwrap();
        files.record("a", record("z")).unwrap();
        files.record("a", record("y")).unwrap();
        files.population("a", Population::Whole);
        files.gap("one".into());
        files.gap("one".into());
        let derived = files.finish().unwrap();
        assert_eq!(derived.records, BTreeMap::from([("a".into(), 2), ("b".into(), 0)]));
        assert_eq!(derived.populations["a"], Population::Whole);
        assert!(matches!(&derived.populations["b"], Population::Unread(_)));
        assert_eq!(derived.gaps, ["one"]);
        assert_eq!(seen, [r#"a "z""#, r#"a "y""#]);
        let text = fs::read_to_string(work.path().join("records/a.jsonl")).unwrap();
        assert_eq!(text.lines().next().unwrap(), r#"{"id":"z","as_of":null,"exchange":1,"name":"z","more":null}"#);
        assert_eq!(fs::read(work.path().join("records/b.jsonl")).unwrap(), b"");
    }

    #[test]
    fn an_undeclared_kind_a_doubled_id_and_a_hidden_id_are_refused() {
        let work = tempfile::tempdir().unwrap();
        let mut files = RecordFiles::new(work.path(), &["a".into()], |_, _| {}).unwrap();
        files.record("a", record("x")).unwrap();
        let mut hidden = record("w");
        hidden.fields.insert("id".into(), json!("other"));
        let errors = [files.record("a", record("x")), files.record("b", record("x")), files.record("a", hidden)];
        let errors = errors.map(|result| result.unwrap_err().to_string());
        assert!(
            errors[0].contains("two records") && errors[1].contains("undeclared") && errors[2].contains("of its own")
        );
        assert_eq!(files.finish().unwrap().records["a"], 1);
    }

    #[test]
    fn of_very_many_gaps_the_first_are_told_and_the_others_counted() {
        let work = tempfile::tempdir().unwrap();
        let mut files = RecordFiles::new(work.path(), &[], |_, _| {}).unwrap();
        for number in 0..2 * MOST_GAPS + 1 {
            files.gap(format!("bucket {number} was refused"));
            files.gap("the same".into());
        }
        let gaps = files.finish().unwrap().gaps;
        assert_eq!(gaps.len(), MOST_GAPS + 1);
        assert_eq!(gaps[..2], ["bucket 0 was refused", "the same"]);
        assert_eq!(gaps[MOST_GAPS], format!("and {} more of which nothing is said here", MOST_GAPS + 2));
    }
}
