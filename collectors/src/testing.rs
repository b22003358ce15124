//! What tests of collectors stand on: evidence and records in memory. Nothing of the agent uses it.

pub mod system;

use std::{collections::BTreeMap, io, sync::Arc, time::SystemTime};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::{
    contract::{Answer, Evidence, Exchange, Now, Population, Record, Records},
    records,
};

/// Exchanges in memory.
#[derive(Debug, Clone, Default)]
pub struct FakeEvidence {
    exchanges: Vec<(Exchange, Vec<u8>)>,
}

impl FakeEvidence {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A file read to its end.
    pub fn file(self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.add("read-file", json!({"path": path}), Answer::Ok, "", None, bytes.into())
    }

    /// A file that was not read to its end.
    pub fn no_file(self, path: &str, answer: Answer, detail: &str) -> Self {
        self.add("read-file", json!({"path": path}), answer, detail, None, Vec::new())
    }

    /// A file of which only these bytes were read.
    pub fn half_file(self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.add("read-file", json!({"path": path}), Answer::CutShort, "longer than is kept", None, bytes.into())
    }

    /// A directory with these regular files.
    pub fn directory(self, path: &str, names: &[&str]) -> Self {
        let rows: Vec<Value> = names.iter().map(|name| json!({"name": name, "type": "file"})).collect();
        self.add("list-directory", json!({"path": path}), Answer::Ok, "", None, Value::from(rows).to_string().into())
    }

    /// A directory that was not listed.
    pub fn no_directory(self, path: &str, answer: Answer, detail: &str) -> Self {
        self.add("list-directory", json!({"path": path}), answer, detail, None, Vec::new())
    }

    /// A program that exited; with 0, its answer is full.
    pub fn command(self, argv: &[&str], exit_code: i32, output: impl Into<Vec<u8>>) -> Self {
        let answer = if exit_code == 0 { Answer::Ok } else { Answer::Failed };
        let detail = format!("exit status {exit_code}");
        self.add("run-command", json!({"argv": argv, "env": []}), answer, &detail, Some(exit_code), output.into())
    }

    /// A program that did not run, or not to its end.
    pub fn no_command(self, argv: &[&str], answer: Answer, detail: &str) -> Self {
        self.add("run-command", json!({"argv": argv, "env": []}), answer, detail, None, Vec::new())
    }

    /// The standard error of the exchange added last.
    pub fn stderr(mut self, text: &str) -> Self {
        if let Some((exchange, _)) = self.exchanges.last_mut() {
            exchange.stderr = text.into();
        }
        self
    }

    /// Any exchange; its number is the next, its time one second after the one before (the first: 2026-11-22T04:00:00Z).
    pub fn add(
        mut self,
        operation: &str,
        request: Value,
        answer: Answer,
        detail: &str,
        exit_code: Option<i32>,
        body: Vec<u8>,
    ) -> Self {
        let number = self.exchanges.len() as u64 + 1;
        let at = DateTime::from_timestamp(1_795_320_000 + number as i64 - 1, 0).unwrap_or_default();
        let end = (exit_code.is_some() || answer == Answer::Ok).then(|| "end".to_string());
        let kept = answer == Answer::Ok || !body.is_empty();
        let exchange = Exchange {
            number,
            operation: operation.into(),
            request,
            caller: "uid 0 (root)".into(),
            started_at: at,
            ended_at: at,
            answer,
            detail: detail.into(),
            exit_code,
            stderr: String::new(),
            status: None,
            code: None,
            tried: Vec::new(),
            request_id: None,
            page: None,
            end,
            body: kept.then(|| format!("exchanges/{number:08}-{operation}.txt")),
            bytes: body.len() as u64,
            sha256: None,
            redactions: Vec::new(),
        };
        self.exchanges.push((exchange, body));
        self
    }
}

impl Evidence for FakeEvidence {
    fn exchanges(&self) -> Box<dyn Iterator<Item = io::Result<Exchange>> + '_> {
        Box::new(self.exchanges.iter().map(|(exchange, _)| Ok(exchange.clone())))
    }

    fn body(&self, exchange: &Exchange) -> io::Result<Vec<u8>> {
        let found = self.exchanges.iter().find(|(kept, _)| kept.number == exchange.number);
        found.map(|(_, body)| body.clone()).ok_or_else(|| io::Error::other("no such exchange"))
    }
}

/// Records in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryRecords {
    /// The rows of each kind, in order.
    pub rows: BTreeMap<String, Vec<Value>>,
    /// What was said of each kind.
    pub populations: BTreeMap<String, Population>,
    /// The gaps, in order.
    pub gaps: Vec<String>,
}

impl MemoryRecords {
    /// The rows of one kind.
    pub fn of(&self, kind: &str) -> &[Value] {
        self.rows.get(kind).map_or(&[], Vec::as_slice)
    }

    /// One row by its id; `null` when there is none.
    pub fn get(&self, kind: &str, id: &str) -> Value {
        self.of(kind).iter().find(|row| row["id"] == id).cloned().unwrap_or_default()
    }
}

impl Records for MemoryRecords {
    fn record(&mut self, kind: &str, record: Record) -> io::Result<()> {
        let row = records::row(&record)?;
        let rows = self.rows.entry(kind.into()).or_default();
        if rows.iter().any(|other| other["id"] == row["id"]) {
            return Err(io::Error::other(format!("two records of the kind {kind} have the id {}", row["id"])));
        }
        rows.push(row);
        Ok(())
    }

    fn population(&mut self, kind: &str, population: Population) {
        self.populations.insert(kind.into(), population);
    }

    fn gap(&mut self, reason: String) {
        self.gaps.push(reason);
    }
}

/// The system's clock.
pub fn system_now() -> Now {
    Arc::new(|| DateTime::<Utc>::from(SystemTime::now()))
}
