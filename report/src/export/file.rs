//! One Parquet file (Apache Parquet format 2): rows are held until a row group is full, then written by columns.

use std::{
    io::{self, Write},
    sync::Arc,
};

use chrono::NaiveDate;
use parquet::{
    basic::Compression,
    column::writer::ColumnWriter,
    data_type::ByteArray,
    errors::ParquetError,
    file::{
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr},
        writer::SerializedFileWriter,
    },
    schema::{parser::parse_message_type, types::ColumnPath},
};

use super::{
    Cell,
    columns::{Column, Table, Type},
};

/// Rows of a row group at most.
const ROWS: usize = 100_000;
/// Bytes of its rows, about.
const BYTES: usize = 8 * 1024 * 1024;

/// `records/kind=users/date=2026-11-22/part-000000000012.parquet`: the number is that of the file's first entry.
pub(super) fn name(table: Table, kind: &str, day: NaiveDate, entry: i64) -> String {
    let kind = if kind.is_empty() { String::new() } else { format!("kind={}/", escaped(kind)) };
    format!("{}/{kind}date={day}/part-{entry:012}.parquet", table.name())
}

/// As Hive escapes the value of a partition. The name comes from a bundle, so nothing in it leads elsewhere.
fn escaped(kind: &str) -> String {
    kind.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

/// A file that is being written.
pub(super) struct Open {
    writer: SerializedFileWriter<Box<dyn Write + Send>>,
    columns: &'static [Column],
    rows: Vec<Vec<Cell>>,
    /// Bytes of the rows that wait, about.
    pub(super) held: usize,
    /// When a row came last.
    pub(super) turn: u64,
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}

fn properties() -> WriterPropertiesPtr {
    // A record is nearly always another one: a dictionary and its bounds are of no use.
    let record = || ColumnPath::from("record");
    let made = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by("evidenced".to_owned())
        .set_column_dictionary_enabled(record(), false)
        .set_column_statistics_enabled(record(), EnabledStatistics::None);
    Arc::new(made.build())
}

fn schema(table: Table) -> String {
    let columns = table.columns().iter().map(|(name, kind, null)| {
        let repetition = if *null { "optional" } else { "required" };
        match kind {
            Type::Text => format!("{repetition} binary {name} (STRING);"),
            Type::Number => format!("{repetition} int64 {name};"),
            Type::Time => format!("{repetition} int64 {name} (TIMESTAMP(MILLIS,true));"),
            Type::Flag => format!("{repetition} boolean {name};"),
        }
    });
    format!("message {} {{ {} }}", table.name(), columns.collect::<String>())
}

impl Open {
    pub(super) fn new(table: Table, out: Box<dyn Write + Send>) -> io::Result<Self> {
        let schema = Arc::new(parse_message_type(&schema(table)).map_err(failed)?);
        let writer = SerializedFileWriter::new(out, schema, properties()).map_err(failed)?;
        Ok(Self { writer, columns: table.columns(), rows: Vec::new(), held: 0, turn: 0 })
    }

    pub(super) fn push(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        let texts = cells.iter().map(|cell| if let Cell::Text(text) = cell { text.len() } else { 0 });
        self.held += texts.sum::<usize>() + size_of::<Cell>() * cells.len();
        self.rows.push(cells);
        if self.rows.len() >= ROWS || self.held >= BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what waits as a row group.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        self.held = 0;
        self.group(rows).map_err(failed)
    }

    fn group(&mut self, mut rows: Vec<Vec<Cell>>) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for (at, (name, _, null)) in self.columns.iter().enumerate() {
            let mut levels = Vec::with_capacity(if *null { rows.len() } else { 0 });
            let (mut texts, mut numbers, mut flags) = (Vec::new(), Vec::new(), Vec::new());
            for row in &mut rows {
                let cell = std::mem::replace(&mut row[at], Cell::Null);
                if *null {
                    levels.push(i16::from(!matches!(cell, Cell::Null)));
                }
                match cell {
                    Cell::Null => assert!(*null, "{name} has a value in every row"),
                    Cell::Text(text) => texts.push(ByteArray::from(text.into_bytes())),
                    Cell::Number(number) => numbers.push(number),
                    Cell::Time(at) => numbers.push(at.timestamp_millis()),
                    Cell::Flag(flag) => flags.push(flag),
                }
            }
            let levels = null.then_some(levels.as_slice());
            let Some(mut column) = group.next_column()? else {
                return Err(ParquetError::General(format!("{name} is not in the schema")));
            };
            match column.untyped() {
                ColumnWriter::ByteArrayColumnWriter(writer) => writer.write_batch(&texts, levels, None)?,
                ColumnWriter::Int64ColumnWriter(writer) => writer.write_batch(&numbers, levels, None)?,
                ColumnWriter::BoolColumnWriter(writer) => writer.write_batch(&flags, levels, None)?,
                _ => return Err(ParquetError::General(format!("{name} is of a type that is not written"))),
            };
            column.close()?;
        }
        group.close().map(drop)
    }

    /// Writes the rest and the footer, without which nothing can read the file.
    pub(super) fn close(mut self) -> io::Result<()> {
        self.flush()?;
        self.writer.finish().map_err(failed)?;
        self.writer.inner_mut().flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_kind_never_leads_out_of_its_directory() {
        let day = "2026-11-22".parse().unwrap();
        let at = |kind| name(Table::Records, kind, day, 12);
        assert_eq!(at("user"), "records/kind=user/date=2026-11-22/part-000000000012.parquet");
        assert_eq!(at("../../x"), "records/kind=%2E%2E%2F%2E%2E%2Fx/date=2026-11-22/part-000000000012.parquet");
    }

    #[test]
    fn a_disk_that_fails_is_told_with_its_own_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let told = Open::new(Table::Rows, Box::new(Full)).and_then(Open::close).unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::StorageFull);
    }
}
