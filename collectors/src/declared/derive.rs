//! Records by a definition's own expressions. What an expression cannot make of a row is null, and said; a row that cannot have an id is
//! missing from its list, and said.

use std::io;

use chrono::{DateTime, Utc};
use jq::{Filter, Val, val};
use serde_json::{Map, Value, json};

use super::{
    compiled::{Of, Rows},
    joins::{Joins, instant},
    reading::{Reading, Reasons, Row},
    system::Cell,
};
use crate::contract::{Population, Record, Records};

/// Makes the records of every kind.
pub(super) fn derive(reading: &Reading<'_>, out: &mut dyn Records) -> io::Result<()> {
    let mut stood_for = Vec::new();
    for (name, specs) in &reading.compiled.records {
        let mut kind = Kind { reading, name, out: &mut *out, lost: Reasons::default() };
        for rows in specs {
            kind.rows(rows)?;
        }
        let lost = std::mem::take(&mut kind.lost);
        let mut requests = Vec::new();
        let mut known = None;
        for rows in specs {
            match &rows.of {
                Of::Request(request) => requests.push(*request),
                Of::Cells(kind) => known = Some(cells(reading, kind)),
            }
        }
        let known = known.map_or_else(|| reading.population(&requests), Ok)?;
        let population = match (known, lost.is_empty()) {
            (population, true) => population,
            (Population::Cut(why), false) => Population::Cut(format!("{}; {why}", lost.text())),
            (_, false) => Population::Cut(lost.text()),
        };
        out.population(name, population);
        stood_for.extend(requests);
    }
    reading.gaps(&stood_for, out)
}

/// Which cells there are is known before anything is asked in them.
fn cells(reading: &Reading<'_>, kind: &str) -> Population {
    match reading.cells(kind) {
        Err(why) => Population::Unread(why.to_owned()),
        Ok([]) => Population::Unread(format!("the scope names no {kind}")),
        // A cell without coordinates stands for those that could not be found out.
        Ok(cells) => match cells.iter().find(|expected| is_nowhere(&expected.cell)) {
            None => Population::Whole,
            Some(nowhere) => {
                let why = nowhere.unread.clone().unwrap_or_else(|| format!("not all {kind} are known"));
                if cells.len() == 1 { Population::Unread(why) } else { Population::Cut(why) }
            }
        },
    }
}

fn is_nowhere(cell: &Cell) -> bool {
    cell.0.is_empty()
}

struct Kind<'a, 'r, 'o> {
    reading: &'r Reading<'a>,
    name: &'a str,
    out: &'o mut dyn Records,
    /// Rows that no record could be made of.
    lost: Reasons,
}

impl<'a> Kind<'a, '_, '_> {
    fn rows(&mut self, rows: &'a Rows) -> io::Result<()> {
        let reading = self.reading;
        let mut joins = Joins::new(reading, &rows.joins);
        let request = match &rows.of {
            Of::Request(request) => *request,
            Of::Cells(kind) => {
                let (exchange, asked) = reading.index.scope_at;
                for expected in reading.cells(kind).unwrap_or_default() {
                    let cell = &expected.cell;
                    if is_nowhere(cell) {
                        continue;
                    }
                    joins.enter(cell)?;
                    let at = val(&json!(cell));
                    let row = Row { value: at.clone(), exchange, at: asked, item: None };
                    self.row(rows, &joins, cell, &at, row)?;
                }
                return Ok(());
            }
        };
        for expected in reading.expected(request).unwrap_or_default() {
            let cell = &expected.cell;
            if reading.index.all(request, cell).is_empty() {
                continue;
            }
            joins.enter(cell)?;
            let at = val(&json!(cell));
            let unread = reading.rows(request, cell, &mut |row| self.row(rows, &joins, cell, &at, row))?;
            if let Some(why) = unread {
                self.lost.add(format!("{cell}: {why}"));
            }
        }
        Ok(())
    }

    fn row(&mut self, rows: &Rows, joins: &Joins<'_, '_>, cell: &Cell, at: &Val, row: Row<'_>) -> io::Result<()> {
        let item = row.item.map_or(Val::Null, |item| Val::from(item.to_owned()));
        let mut variables = vec![at.clone(), item, Val::from(instant(row.at))];
        match rows.filter.as_ref().map(|filter| filter.one(&variables, row.value.clone())) {
            None | Some(Ok(Val::Bool(true))) => {}
            Some(Ok(Val::Bool(false))) => return Ok(()),
            Some(Ok(other)) => self.lost.add(format!("{cell}: `where` gave {other} for a row")),
            Some(Err(why)) => self.lost.add(format!("{cell}: `where` {why}")),
        }
        let id = match rows.id.one(&variables, row.value.clone()) {
            Ok(Val::TStr(id)) if !id.is_empty() => String::from_utf8_lossy(&id).into_owned(),
            Ok(other) => {
                self.lost.add(format!("{cell}: a row has the id {other}, which is no text"));
                return Ok(());
            }
            Err(why) => {
                self.lost.add(format!("{cell}: the id of a row {why}"));
                return Ok(());
            }
        };
        variables.extend(joins.find(cell, &row.value, &variables)?);
        let as_of = rows.as_of.as_ref().map(|as_of| self.value(as_of, "as_of", &variables, &row.value));
        let as_of = match as_of {
            None | Some(Value::Null) => None,
            Some(value) => match time(&value) {
                Some(at) => Some(at),
                None => {
                    self.out.gap(format!("{}: {value} is no time for as_of", self.name));
                    None
                }
            },
        };
        let mut fields: Map<String, Value> = cell.0.iter().map(|(name, at)| (name.clone(), json!(at))).collect();
        for (name, filter) in &rows.fields {
            fields.insert(name.clone(), self.value(filter, name, &variables, &row.value));
        }
        let record = Record { id, as_of, exchange: row.exchange, fields };
        self.out.record(self.name, record)
    }

    /// A member's value; null where the expression fails, which is said.
    fn value(&mut self, filter: &Filter, name: &str, variables: &[Val], row: &Val) -> Value {
        match filter.one(variables, row.clone()) {
            Ok(value) => jq::json(&value),
            Err(why) => {
                self.out.gap(format!("{}: the expression for {name} {why}", self.name));
                Value::Null
            }
        }
    }
}

/// RFC 3339, or seconds since 1970.
fn time(value: &Value) -> Option<DateTime<Utc>> {
    match value {
        Value::String(text) => {
            DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).ok().or_else(|| {
                // XML of some services gives `2026-11-22 04:00:00+00:00`.
                DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%:z").map(|at| at.to_utc()).ok()
            })
        }
        Value::Number(number) => {
            let millis = number.as_f64()? * 1000.0;
            (millis.abs() < 1e15).then(|| DateTime::from_timestamp_millis(millis.round() as i64)).flatten()
        }
        _ => None,
    }
}
