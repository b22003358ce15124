//! Where the answers of a run lie, by request, cell, item and page. It holds no body, and of each exchange only what finds it again.

use std::{collections::HashMap, io};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    compiled::Compiled,
    system::{Cell, SCOPE, Scope},
};
use crate::contract::{Answer, Evidence, Exchange};

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    request: u16,
    cell: u32,
    /// The key that it was asked for, in a fan-out; the first of them, in a batch.
    pub item: Option<Box<str>>,
    /// The keys of a batch.
    pub items: Option<Box<[Box<str>]>>,
    pub page: u32,
    pub number: u64,
    pub at: DateTime<Utc>,
    pub answer: Answer,
    /// What shows the end.
    pub end: Option<Box<str>>,
    /// What was answered, where it was not a full answer with or without an end.
    pub detail: Option<Box<str>>,
    body: Option<(Box<str>, [u8; 32])>,
}

impl Entry {
    /// Enough of the exchange to read its body.
    pub fn exchange(&self) -> Exchange {
        Exchange {
            number: self.number,
            operation: String::new(),
            request: Value::Null,
            caller: String::new(),
            started_at: self.at,
            ended_at: self.at,
            answer: self.answer,
            detail: String::new(),
            exit_code: None,
            stderr: String::new(),
            status: None,
            code: None,
            tried: Vec::new(),
            request_id: None,
            page: None,
            end: None,
            body: self.body.as_ref().map(|(name, _)| name.to_string()),
            bytes: 0,
            sha256: self.body.as_ref().map(|(_, digest)| hex::encode(digest)),
            redactions: Vec::new(),
        }
    }
}

/// All answers of a run.
pub(super) struct Index {
    /// The expected cells; the error: why they are not known.
    pub scope: Result<Scope, String>,
    /// The exchange that says so, and its time.
    pub scope_at: (u64, DateTime<Utc>),
    cells: HashMap<Cell, u32>,
    /// By request, cell, item and page.
    entries: Vec<Entry>,
}

impl Index {
    /// Reads the lines of all exchanges once.
    ///
    /// # Errors
    /// The store's.
    pub fn read(compiled: &Compiled, evidence: &dyn Evidence) -> io::Result<Self> {
        let requests: HashMap<&str, u16> =
            compiled.requests.iter().enumerate().map(|(at, request)| (request.name.as_str(), at as u16)).collect();
        let mut index = Self {
            scope: Err("nothing was asked".into()),
            scope_at: (0, DateTime::UNIX_EPOCH),
            cells: HashMap::new(),
            entries: Vec::new(),
        };
        for exchange in evidence.exchanges() {
            let exchange = exchange?;
            if exchange.operation == SCOPE {
                index.scope_at = (exchange.number, exchange.started_at);
                index.scope = match exchange.answer {
                    Answer::Ok => serde_json::from_slice(&evidence.body(&exchange)?)
                        .map_err(|e| format!("the scope is malformed: {e}")),
                    _ => Err(exchange.detail),
                };
                continue;
            }
            let name = exchange.request.get("request").and_then(Value::as_str);
            let Some(request) = name.and_then(|name| requests.get(name)) else { continue };
            index.add(*request, exchange)?;
        }
        index.entries.sort_by(|a, b| a.place().cmp(&b.place()));
        Ok(index)
    }

    fn add(&mut self, request: u16, exchange: Exchange) -> io::Result<()> {
        let asked = &exchange.request;
        let cell: Cell = serde_json::from_value(asked["cell"].clone())?;
        let next = self.cells.len() as u32;
        let cell = *self.cells.entry(cell).or_insert(next);
        let boxed = |value: &Value| value.as_str().map(Box::from);
        let items: Option<Box<[Box<str>]>> = asked["items"].as_array().map(|i| i.iter().filter_map(boxed).collect());
        let digest = exchange.sha256.as_deref().and_then(|text| {
            let mut digest = [0; 32];
            hex::decode_to_slice(text, &mut digest).ok().map(|()| digest)
        });
        // What collecting adds to an answer in full is why its list does not go on.
        let fine = exchange.answer == Answer::Ok && (exchange.end.is_some() || !exchange.detail.contains(';'));
        self.entries.push(Entry {
            request,
            cell,
            item: boxed(&asked["item"]).or_else(|| items.as_ref().and_then(|items| items.first().cloned())),
            items,
            page: exchange.page.unwrap_or(1).try_into().unwrap_or(u32::MAX),
            number: exchange.number,
            at: exchange.started_at,
            answer: exchange.answer,
            end: exchange.end.map(Into::into),
            detail: (!fine).then(|| exchange.detail.into()),
            body: exchange.body.map(Into::into).zip(digest),
        });
        Ok(())
    }

    /// All answers of a request in a cell, by item and page.
    pub fn all(&self, request: usize, cell: &Cell) -> &[Entry] {
        let Some(cell) = self.cells.get(cell) else { return &[] };
        let at = (request as u16, *cell);
        let start = self.entries.partition_point(|entry| (entry.request, entry.cell) < at);
        let length = self.entries[start..].partition_point(|entry| (entry.request, entry.cell) == at);
        &self.entries[start..start + length]
    }

    /// The pages that were asked for one item; for `None`, those of a request that is not a fan-out.
    pub fn chain(&self, request: usize, cell: &Cell, item: Option<&str>) -> &[Entry] {
        let all = self.all(request, cell);
        let start = all.partition_point(|entry| entry.item.as_deref() < item);
        let length = all[start..].partition_point(|entry| entry.item.as_deref() == item);
        &all[start..start + length]
    }
}

impl Entry {
    fn place(&self) -> (u16, u32, Option<&str>, u32, u64) {
        (self.request, self.cell, self.item.as_deref(), self.page, self.number)
    }
}
