//! The tables of a report as CSV (RFC 4180): a header, CRLF, UTF-8, instants in UTC (RFC 3339), days as `2026-11-22`, lists joined by `; `,
//! and nothing where there is no value.
//!
//! A spreadsheet takes text that begins with `=`, `+`, `-`, `@`, a tab or a carriage return for a formula. Such text comes from the systems that
//! were read, so an apostrophe is put before it; `report.json` has it as it was.

mod tables;

use std::io::{self, Write};

use chrono::SecondsFormat;
use serde::Serialize;
use signing::time::Utc;

pub use self::tables::{DRIFT, OCCURRENCES, TABLES};
use crate::{
    model::{DriftEvent, Occurrence, Report},
    pass::PassError,
    period::Streams,
};

/// A table.
pub struct Table {
    /// Its name: the file is `<name>.csv`.
    pub name: &'static str,
    /// Its header. Columns may be added at the end, and none is renamed or moved.
    pub columns: &'static [&'static str],
    fill: fn(&Report, &mut Rows<'_>) -> io::Result<()>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Writes a table with its header.
///
/// # Errors
/// The writer's.
pub fn write(report: &Report, table: &Table, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = Rows::new(table, out)?;
    (table.fill)(report, &mut rows)?;
    rows.writer.flush()
}

/// [`DRIFT`] and [`OCCURRENCES`], written as the report is made: the report itself lists the first ones alone.
pub struct Sheets<'a> {
    drift: Rows<'a>,
    occurrences: Rows<'a>,
}

impl std::fmt::Debug for Sheets<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sheets")
    }
}

impl<'a> Sheets<'a> {
    /// Begins both with their headers.
    ///
    /// # Errors
    /// The writers'.
    pub fn new(drift: &'a mut dyn Write, occurrences: &'a mut dyn Write) -> io::Result<Self> {
        Ok(Self { drift: Rows::new(&DRIFT, drift)?, occurrences: Rows::new(&OCCURRENCES, occurrences)? })
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// The writers'.
    pub fn finish(mut self) -> io::Result<()> {
        self.drift.writer.flush()?;
        self.occurrences.writer.flush()
    }
}

impl Streams for Sheets<'_> {
    fn drift(&mut self, event: &DriftEvent) -> Result<(), PassError> {
        Ok(tables::drift(event, &mut self.drift)?)
    }

    fn occurrence(&mut self, control: &str, occurrence: &Occurrence) -> Result<(), PassError> {
        Ok(tables::occurrence(control, occurrence, &mut self.occurrences)?)
    }
}

struct Rows<'a> {
    writer: ::csv::Writer<&'a mut dyn Write>,
}

impl<'a> Rows<'a> {
    fn new(table: &Table, out: &'a mut dyn Write) -> io::Result<Self> {
        let mut writer = ::csv::WriterBuilder::new().terminator(::csv::Terminator::CRLF).from_writer(out);
        writer.write_record(table.columns)?;
        Ok(Self { writer })
    }

    /// As many cells as the table has columns: the writer refuses another number.
    fn row(&mut self, cells: impl IntoIterator<Item = Cell>) -> io::Result<()> {
        Ok(self.writer.write_record(cells.into_iter().map(Cell::into_text))?)
    }
}

enum Cell {
    Nothing,
    /// Somebody's words.
    Text(String),
    /// Ours.
    Plain(String),
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn list(texts: &[String]) -> Self {
        Self::Text(texts.join("; "))
    }

    fn maybe(value: Option<impl Into<Self>>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }

    fn into_text(self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Plain(text) => text,
            Self::Text(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
            Self::Text(text) => text,
        }
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Plain(number.to_string())
    }
}

impl From<Utc> for Cell {
    fn from(at: Utc) -> Self {
        Self::Plain(at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A value as `report.json` spells it.
fn word(value: &impl Serialize) -> Cell {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Cell::Text(word),
        Ok(other) => Cell::Text(other.to_string()),
        Err(_) => Cell::Nothing,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::example;

    fn table(report: &Report, name: &str) -> String {
        let table = TABLES.iter().find(|table| table.name == name).unwrap();
        let mut out = Vec::new();
        write(report, table, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_table_has_its_header_and_a_row_for_all_that_the_report_lists() {
        let report = example();
        for of in TABLES {
            let text = table(&report, of.name);
            let mut reader = ::csv::Reader::from_reader(text.as_bytes());
            assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), of.columns, "{}", of.name);
            assert!(reader.records().map(Result::unwrap).count() > 0, "{} is empty", of.name);
            assert!(text.ends_with("\r\n"), "{}", of.name);
        }
        assert_eq!(table(&report, "occurrences").lines().count(), 1 + report.controls[0].occurrences.len());
    }

    #[test]
    fn text_that_a_spreadsheet_would_compute_is_made_harmless_and_the_rest_is_as_it_was() {
        let mut report = example();
        let texts =
            ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "a=b", "a \"quoted\", text\nin two lines", "'already"];
        let one = report.deviations[0].clone();
        report.deviations = texts.map(|record| crate::model::Deviation { record: record.into(), ..one.clone() }).into();
        let text = table(&report, "deviations");
        let mut reader = ::csv::Reader::from_reader(text.as_bytes());
        let read: Vec<String> = reader.records().map(|row| row.unwrap()[6].to_owned()).collect();
        for (read, text) in read.iter().zip(texts) {
            let dangerous = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
            assert_eq!(read, &if dangerous { format!("'{text}") } else { text.to_owned() });
        }
    }

    #[test]
    fn a_control_of_which_nothing_is_known_has_empty_cells_and_never_a_zero_date() {
        let mut report = example();
        report.controls[0].last_complete = None;
        report.controls[0].occurrences[0].entry = None;
        let row = table(&report, "controls").lines().nth(1).unwrap().to_owned();
        assert!(!row.contains("1970"), "{row}");
        let row = table(&report, "occurrences").lines().nth(1).unwrap().to_owned();
        assert!(row.ends_with(",24,,backup/1,"), "{row}");
    }

    #[test]
    fn what_is_beyond_the_report_is_written_by_the_same_headers() {
        let report = example();
        let (mut drift, mut occurrences) = (Vec::new(), Vec::new());
        let mut sheets = Sheets::new(&mut drift, &mut occurrences).unwrap();
        report.drift.iter().for_each(|event| sheets.drift(event).unwrap());
        for control in &report.controls {
            control.occurrences.iter().for_each(|one| sheets.occurrence(&control.id, one).unwrap());
        }
        sheets.finish().unwrap();
        assert_eq!(String::from_utf8(drift).unwrap(), table(&report, "drift"));
        assert_eq!(String::from_utf8(occurrences).unwrap(), table(&report, "occurrences"));
    }
}
