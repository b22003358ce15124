//! The archive as Parquet, for query engines: `receipts`, `results`, `rows` and `records`, partitioned by day. docs/EXPORT.md has the columns.
//!
//! What verification refuses is in `receipts`, marked, and nowhere else. Schemas do not move with definitions: a record is JSON text.
//!
//! # Memory
//! At most [`OPEN`] files are open and about [`HELD`] bytes of rows wait to be written, however long the archive is.

mod columns;
mod file;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead as _, Write},
};

use chrono::NaiveDate;
use controls::Results;
use serde::Serialize;
use serde_json::Value;
use signing::{
    statement::{Body, Receipt, Statement},
    time::Utc,
    verify::Part,
};

use self::{columns::Table, file::Open};
use crate::{
    ledger::{Entry, Ledger, Logged},
    pass::{self, Kinds, Listener, Needs, PassError, RunHead, RunRead},
};

/// Files that are open at most.
pub const OPEN: usize = 64;
/// Bytes of rows that wait to be written, about.
pub const HELD: usize = 16 * 1024 * 1024;
/// Lines that cannot be exported of which each is named.
pub const NAMED: usize = 100;

/// What is exported.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Runs with their instant in it; `None`: all.
    pub part: Option<Part>,
    /// Kinds of records; empty: all.
    pub kinds: BTreeSet<String>,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Rows, by table.
    pub rows: BTreeMap<&'static str, u64>,
    /// Files.
    pub files: u64,
    /// Runs whose bundle is gone or damaged: they have a row in `receipts` and none elsewhere.
    pub unread: u64,
    /// Entries that verification refuses.
    pub refused: u64,
    /// Lines of records that are no JSON object: they are in no table.
    pub bad_lines: u64,
    /// Of those the first [`NAMED`], in words.
    pub bad_lines_named: Vec<String>,
}

/// Where files are made: by a name with slashes, each name once.
pub type Create<'a> = dyn FnMut(&str) -> io::Result<Box<dyn Write + Send>> + 'a;

/// Writes the tables. The same archive, verified up to the same instant, gives the same bytes.
///
/// # Errors
/// As [`pass::pass`], and those of the files.
pub fn parquet(ledger: &Ledger<'_>, wanted: &Wanted, create: &mut Create<'_>) -> Result<Exported, PassError> {
    let mut export = Export {
        wanted,
        create,
        open: BTreeMap::new(),
        turn: 0,
        made: Exported { rows: Table::ALL.iter().map(|table| (table.name(), 0)).collect(), ..Exported::default() },
    };
    let until = wanted.part.map_or(Utc::MAX_UTC, |part| part.to);
    pass::pass(ledger, until, &mut [&mut export])?;
    export.finish()
}

/// A file is of a table, a kind of records and a day.
type Place = (Table, String, NaiveDate);

struct Export<'a, 'c> {
    wanted: &'a Wanted,
    create: &'a mut Create<'c>,
    open: BTreeMap<Place, Open>,
    /// Counts rows, so that the file that was written longest ago is known.
    turn: u64,
    made: Exported,
}

/// A value of a column.
#[derive(Debug, Clone)]
enum Cell {
    Null,
    Text(String),
    Number(i64),
    Time(Utc),
    Flag(bool),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Utc> for Cell {
    fn from(at: Utc) -> Self {
        Self::Time(at)
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// An enumeration's value as the log spells it.
fn word(value: &impl Serialize) -> Cell {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => Cell::Text(word),
        _ => Cell::Null,
    }
}

impl Export<'_, '_> {
    fn has(&self, first: Utc, last: Utc) -> bool {
        self.wanted.part.is_none_or(|part| first < part.to && last >= part.from)
    }

    /// Adds a row to the file of its day.
    fn row(&mut self, table: Table, kind: &str, at: Utc, cells: Vec<Cell>) -> Result<(), PassError> {
        self.turn += 1;
        *self.made.rows.entry(table.name()).or_default() += 1;
        let place = (table, kind.to_owned(), at.date_naive());
        if !self.open.contains_key(&place) {
            if self.open.len() >= OPEN {
                let oldest = self.open.iter().min_by_key(|(_, open)| open.turn).map(|(place, _)| place.clone());
                self.close(oldest)?;
            }
            let entry = match cells.first() {
                Some(Cell::Number(entry)) => *entry,
                _ => unreachable!("the first column is the entry"),
            };
            let name = file::name(table, kind, place.2, entry);
            let open = Open::new(table, (self.create)(&name)?)?;
            self.made.files += 1;
            self.open.insert(place.clone(), open);
        }
        if let Some(open) = self.open.get_mut(&place) {
            open.turn = self.turn;
            open.push(cells)?;
        }
        if self.open.values().map(|open| open.held).sum::<usize>() > HELD
            && let Some(fullest) = self.open.values_mut().max_by_key(|open| open.held)
        {
            fullest.flush()?;
        }
        Ok(())
    }

    fn close(&mut self, place: Option<Place>) -> Result<(), PassError> {
        match place.and_then(|place| self.open.remove(&place)) {
            Some(open) => Ok(open.close()?),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<Exported, PassError> {
        for (_, open) in std::mem::take(&mut self.open) {
            open.close()?;
        }
        Ok(self.made)
    }

    fn results(&mut self, run: &RunRead, results: &Results) -> Result<(), PassError> {
        let head = || -> Vec<Cell> {
            let job = run.job();
            vec![run.index.into(), job.as_str().into(), job.collector().into(), job.source().into(), run.at.into()]
        };
        for check in &results.checks {
            let mut cells = head();
            cells.extend([
                check.id.as_str().into(),
                check.item.as_str().into(),
                check.title.as_str().into(),
                word(&check.outcome),
                check.note.as_str().into(),
                check.population.kind.as_str().into(),
                word(&check.population.state),
                Cell::from(check.population.reason.clone()),
                check.population.size.into(),
                check.pass.into(),
                check.fail.into(),
                check.unknown.into(),
                check.not_applicable.into(),
                check.exempt.into(),
                json(&check.criteria.soc2),
                json(&check.criteria.hipaa),
            ]);
            self.row(Table::Results, "", run.at, cells)?;
            let fail = check.rows.fail().map(|row| ("fail", row.id, row.reason));
            let unknown = check.rows.unknown().map(|row| ("unknown", row.id, row.reason));
            let exempt = check.rows.exempt().map(|id| ("exempt", Some(id), String::new()));
            for (fate, id, reason) in fail.chain(unknown).chain(exempt) {
                let mut cells = head();
                let of = [check.id.as_str(), check.item.as_str(), check.population.kind.as_str(), fate];
                cells.extend(of.map(Cell::from));
                cells.extend([Cell::from(id), reason.into()]);
                self.row(Table::Rows, "", run.at, cells)?;
            }
        }
        Ok(())
    }

    /// Writes the records of a kind. Gives the first line that is no JSON object.
    fn records(&mut self, run: &RunRead, kind: &str, lines: &pass::Lines) -> Result<Option<String>, PassError> {
        let (job, (bundle, digest)) = (run.job(), run.bundle());
        let mut bad = None;
        for (number, line) in (1_u64..).zip(lines.bytes()?.split(b'\n')) {
            let line = line?;
            let record = serde_json::from_slice::<serde_json::Map<String, Value>>(&line).map(Value::Object);
            let (Ok(record), Ok(line)) = (record, String::from_utf8(line)) else {
                let says = format!("records/{kind}.jsonl, line {number}, is no JSON object");
                self.made.bad_lines += 1;
                if self.made.bad_lines_named.len() < NAMED {
                    self.made.bad_lines_named.push(format!("entry {}, {bundle}: {says}", run.index));
                }
                bad.get_or_insert(says);
                continue;
            };
            let as_of = record["as_of"].as_str().and_then(|at| at.parse::<Utc>().ok());
            let cells = vec![
                run.index.into(),
                job.as_str().into(),
                job.collector().into(),
                job.source().into(),
                run.at.into(),
                digest.to_string().into(),
                record["id"].as_str().unwrap_or_default().into(),
                as_of.into(),
                Cell::from(record["exchange"].as_u64()),
                line.into(),
            ];
            self.row(Table::Records, kind, run.at, cells)?;
        }
        Ok(bad)
    }
}

impl Listener for Export<'_, '_> {
    fn needs(&self, run: &RunHead<'_>) -> Needs {
        if !self.has(run.at, run.at) {
            return Needs::default();
        }
        let records = match self.wanted.kinds.is_empty() {
            true => Kinds::All,
            false => Kinds::These(self.wanted.kinds.clone()),
        };
        Needs { results: true, facts: false, records }
    }

    fn run(&mut self, run: &RunRead) -> Result<(), PassError> {
        if !self.has(run.at, run.at) {
            return Ok(());
        }
        let mut unread = match (&run.refused, &run.results, &run.records) {
            (Some(_), ..) => None,
            (None, Err(why), _) | (None, _, Err(why)) => Some(why.clone()),
            _ => None,
        };
        self.made.refused += u64::from(run.refused.is_some());
        self.made.unread += u64::from(unread.is_some());
        for (kind, lines) in run.records.iter().filter(|_| run.refused.is_none()).flatten() {
            let bad = self.records(run, kind, lines)?;
            unread = unread.or(bad);
        }
        let logged = Logged { index: run.index, statement: run.statement.clone(), leaf: run.leaf };
        let cells = receipt(&logged, run.refused.clone(), unread);
        self.row(Table::Receipts, "", run.at, cells)?;
        if run.refused.is_some() {
            return Ok(());
        }
        if let Ok(results) = &run.results {
            self.results(run, results)?;
        }
        Ok(())
    }

    fn other(&mut self, _: &Ledger<'_>, entry: &Entry<'_>) -> Result<(), PassError> {
        let statement = &entry.logged.statement;
        let (first, last) = match &statement.body {
            Body::Missed(missed) => (missed.first, missed.last),
            Body::Receipt(receipt) => (pass::instant(receipt), pass::instant(receipt)),
            Body::Document(_) => (statement.entry.sealed_at, statement.entry.sealed_at),
        };
        if !self.has(first, last) {
            return Ok(());
        }
        self.made.refused += u64::from(entry.refused.is_some());
        let cells = receipt(&entry.logged, entry.refused.map(pass::why), None);
        self.row(Table::Receipts, "", first, cells)
    }
}

fn json(value: &impl Serialize) -> Cell {
    serde_json::to_string(value).map_or(Cell::Null, Cell::Text)
}

/// The row of an entry.
fn receipt(logged: &Logged, refused: Option<String>, unread: Option<String>) -> Vec<Cell> {
    let Statement { subject, entry, body } = &logged.statement;
    let job = match body {
        Body::Receipt(receipt) => Some(&receipt.job),
        Body::Missed(missed) => Some(&missed.job),
        Body::Document(_) => None,
    };
    let (kind, outcome) = match body {
        Body::Receipt(receipt) => ("run", word(&receipt.outcome)),
        Body::Missed(_) => ("missed", "missed".into()),
        Body::Document(_) => ("document", Cell::Null),
    };
    let run: Option<&Receipt> = if let Body::Receipt(receipt) = body { Some(receipt) } else { None };
    let missed = if let Body::Missed(missed) = body { Some(missed) } else { None };
    let document = if let Body::Document(document) = body { Some(document) } else { None };
    let slot = run.and_then(|run| run.slot).or(missed.map(|missed| missed.first));
    let slots = missed.map_or_else(|| run.map(|run| u64::from(run.slot.is_some())), |missed| Some(missed.count));
    let reason = match body {
        Body::Receipt(receipt) => &receipt.reason,
        Body::Missed(missed) => &missed.detail,
        Body::Document(document) => &document.reason,
    };
    let window = run.and_then(|run| run.window);
    let totals = run.map(|run| run.totals);
    vec![
        logged.index.into(),
        logged.leaf.to_string().into(),
        kind.into(),
        document.map(|document| document.kind.clone()).into(),
        job.map(|job| job.as_str().to_owned()).into(),
        job.map(|job| job.collector().to_owned()).into(),
        job.map(|job| job.source().to_owned()).into(),
        slot.into(),
        missed.map(|missed| missed.last).or(run.and_then(|run| run.slot)).into(),
        slots.into(),
        outcome,
        missed.map_or(Cell::Null, |missed| word(&missed.cause)),
        reason.as_str().into(),
        run.map(|run| run.started_at).into(),
        run.map(|run| run.ended_at).into(),
        run.map(|run| u64::from(run.attempts)).into(),
        run.map(|run| run.late).into(),
        run.map(|run| run.records).into(),
        totals.map(|totals| totals.pass).into(),
        totals.map(|totals| totals.fail).into(),
        totals.map(|totals| totals.unknown).into(),
        totals.map(|totals| totals.not_applicable).into(),
        totals.map(|totals| totals.exempt).into(),
        window.map(|window| window.from).into(),
        window.map(|window| window.to).into(),
        window.map(|window| window.whole).into(),
        subject[0].name.as_str().into(),
        subject[0].digest.sha256.to_string().into(),
        entry.sealed_at.into(),
        entry.key_id.as_str().into(),
        entry.plan.map(|plan| plan.to_string()).into(),
        refused.into(),
        unread.into(),
    ]
}

#[cfg(test)]
mod tests;
