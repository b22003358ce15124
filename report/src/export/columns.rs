//! The tables and their columns. Columns may be added at the end; none is renamed, moved or made of another type.

/// A table of the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Every entry of the log.
    Receipts,
    /// Every check of every run.
    Results,
    /// Every row of a check that did not pass.
    Rows,
    /// Every record.
    Records,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// UTF-8.
    Text,
    /// 64 bits, signed.
    Number,
    /// Milliseconds in UTC.
    Time,
    /// True or false.
    Flag,
}

/// A column: its name, its type, and whether it is empty in some rows.
pub type Column = (&'static str, Type, bool);

use Type::{Flag, Number, Text, Time};

const NULL: bool = true;
const SET: bool = false;

impl Table {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Receipts, Self::Results, Self::Rows, Self::Records];

    /// The name of its directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Receipts => "receipts",
            Self::Results => "results",
            Self::Rows => "rows",
            Self::Records => "records",
        }
    }

    /// Its columns, apart from those that it is partitioned by: `date`, and of records `kind` before it.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Receipts => RECEIPTS,
            Self::Results => RESULTS,
            Self::Rows => ROWS,
            Self::Records => RECORDS,
        }
    }
}

const RECEIPTS: &[Column] = &[
    ("entry", Number, SET),
    ("leaf_sha256", Text, SET),
    ("type", Text, SET),
    ("document_kind", Text, NULL),
    ("job", Text, NULL),
    ("collector", Text, NULL),
    ("source", Text, NULL),
    ("slot", Time, NULL),
    ("last_slot", Time, NULL),
    ("slots", Number, NULL),
    ("outcome", Text, NULL),
    ("cause", Text, NULL),
    ("reason", Text, SET),
    ("started_at", Time, NULL),
    ("ended_at", Time, NULL),
    ("attempts", Number, NULL),
    ("late", Flag, NULL),
    ("records", Number, NULL),
    ("pass", Number, NULL),
    ("fail", Number, NULL),
    ("unknown", Number, NULL),
    ("not_applicable", Number, NULL),
    ("exempt", Number, NULL),
    ("window_from", Time, NULL),
    ("window_to", Time, NULL),
    ("window_whole", Flag, NULL),
    ("name", Text, SET),
    ("sha256", Text, SET),
    ("sealed_at", Time, SET),
    ("key_id", Text, SET),
    ("plan", Text, NULL),
    ("refused", Text, NULL),
    ("unread", Text, NULL),
];

const RESULTS: &[Column] = &[
    ("entry", Number, SET),
    ("job", Text, SET),
    ("collector", Text, SET),
    ("source", Text, SET),
    ("run_at", Time, SET),
    ("check_id", Text, SET),
    ("item", Text, SET),
    ("title", Text, SET),
    ("outcome", Text, SET),
    ("note", Text, SET),
    ("population_kind", Text, SET),
    ("population_state", Text, SET),
    ("population_reason", Text, NULL),
    ("population_size", Number, SET),
    ("pass", Number, SET),
    ("fail", Number, SET),
    ("unknown", Number, SET),
    ("not_applicable", Number, SET),
    ("exempt", Number, SET),
    ("soc2", Text, SET),
    ("hipaa", Text, SET),
];

const ROWS: &[Column] = &[
    ("entry", Number, SET),
    ("job", Text, SET),
    ("collector", Text, SET),
    ("source", Text, SET),
    ("run_at", Time, SET),
    ("check_id", Text, SET),
    ("item", Text, SET),
    ("record_kind", Text, SET),
    ("result", Text, SET),
    ("record_id", Text, NULL),
    ("reason", Text, SET),
];

const RECORDS: &[Column] = &[
    ("entry", Number, SET),
    ("job", Text, SET),
    ("collector", Text, SET),
    ("source", Text, SET),
    ("run_at", Time, SET),
    ("bundle_sha256", Text, SET),
    ("id", Text, SET),
    ("as_of", Time, NULL),
    ("exchange", Number, NULL),
    ("record", Text, SET),
];
