//! What was read, for whoever makes records of it: rows in a stream, and of every list and item whether it is whole, absent, cut or unread.

use std::io;

use jq::Val;
use serde_json::Value;

use super::{
    compiled::{Asking, Compiled},
    index::{Entry, Index},
    rows_of,
    system::{Cell, Dialect, Expected},
};
use crate::contract::{Answer, Evidence, Population, Records};

/// So many reasons are spelt out; the others are counted.
const REASONS: usize = 5;

/// A run's answers.
pub struct Reading<'a> {
    pub(super) compiled: &'a Compiled,
    dialect: &'a dyn Dialect,
    evidence: &'a dyn Evidence,
    pub(super) index: Index,
}

/// How far a list, or an item's answer, was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// To its end.
    Whole,
    /// The source says that there is none. Its words.
    Absent(String),
    /// In part. Why.
    Cut(String),
    /// Not at all. Why.
    Unread(String),
}

impl State {
    /// Why it is not known; `None` where it is.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Whole | Self::Absent(_) => None,
            Self::Cut(why) | Self::Unread(why) => Some(why),
        }
    }
}

/// A row as it was answered.
pub struct Row<'a> {
    /// The row.
    pub value: Val,
    /// The exchange that it comes from.
    pub exchange: u64,
    /// When it was asked.
    pub at: chrono::DateTime<chrono::Utc>,
    /// The key that it was asked for, in a fan-out.
    pub item: Option<&'a str>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        compiled: &'a Compiled,
        dialect: &'a dyn Dialect,
        evidence: &'a dyn Evidence,
    ) -> io::Result<Self> {
        Ok(Self { compiled, dialect, evidence, index: Index::read(compiled, evidence)? })
    }

    /// A request by its name.
    ///
    /// # Panics
    /// When there is none: the name stands in code beside the definition.
    pub fn request(&self, name: &str) -> usize {
        let found = self.compiled.requests.iter().position(|request| request.name == name);
        found.unwrap_or_else(|| panic!("{} has no request {name}", self.compiled.spec.id))
    }

    pub(super) fn asking(&self, request: usize) -> &'a Asking {
        &self.compiled.requests[request]
    }

    /// The cells in which a request must be answered.
    ///
    /// # Errors
    /// Why they are not known.
    pub fn expected(&self, request: usize) -> Result<&[Expected], &str> {
        self.cells(&self.asking(request).cells)
    }

    /// The expected cells of a kind, those too that could not be read.
    ///
    /// # Errors
    /// Why they are not known.
    pub fn cells(&self, kind: &str) -> Result<&[Expected], &str> {
        match &self.index.scope {
            Err(why) => Err(why),
            Ok(scope) => Ok(scope.cells.get(kind).map(Vec::as_slice).unwrap_or_default()),
        }
    }

    /// Whether a request that others require was answered usably in a cell.
    fn is_usable(&self, request: usize, cell: &Cell) -> io::Result<Result<(), String>> {
        let asking = self.asking(request);
        let cells = self.expected(request).unwrap_or_default().iter().map(|expected| &expected.cell);
        let Some(at) = cells.into_iter().find(|at| cell.is_within(at)) else {
            return Ok(Err(format!("{} was not asked there", asking.name)));
        };
        let state = self.chain_state(request, at, None);
        if let Some(why) = state.why() {
            return Ok(Err(why.to_owned()));
        }
        if matches!(state, State::Absent(_)) {
            return Ok(Err(format!("{} says that there is none", asking.name)));
        }
        let Some(usable) = &asking.usable else { return Ok(Ok(())) };
        for entry in self.index.chain(request, at, None) {
            if let Ok(decoded) = self.decoded(asking, entry)?
                && super::collect::truth(usable, &[], &decoded)
            {
                return Ok(Ok(()));
            }
        }
        Ok(Err(format!("the answer of {} is not usable", asking.name)))
    }

    /// The state of a list in a cell, or of a request asked once; for a fan-out, of all its items together.
    ///
    /// # Errors
    /// The store's.
    pub fn state(&self, request: usize, expected: &Expected) -> io::Result<State> {
        if let Some(why) = &expected.unread {
            return Ok(State::Unread(format!("{}: {why}", expected.cell)));
        }
        let (asking, cell) = (self.asking(request), &expected.cell);
        if let Some(needed) = asking.requires
            && let Err(why) = self.is_usable(needed, cell)?
        {
            return Ok(State::Unread(format!("{cell}: {} was not asked: {why}", asking.call)));
        }
        let Some(each) = &asking.for_each else { return Ok(self.chain_state(request, cell, None)) };
        let parent = self.state(each.parent, expected)?;
        let mut missing = Reasons::default();
        if !matches!(parent, State::Whole) {
            match &parent {
                State::Unread(_) | State::Absent(_) => return Ok(parent),
                State::Cut(why) => missing.add(why.clone()),
                State::Whole => {}
            }
        }
        let mut known = 0_u64;
        let at = jq::val(&serde_json::to_value(cell)?);
        let mut failed = None;
        let read = self.rows(each.parent, cell, &mut |row| {
            match each.key_of(&at, row.item, row.value) {
                Ok(None) => {}
                Ok(Some(key)) => match self.item_state(request, cell, &key)?.why() {
                    None => known += 1,
                    Some(why) => missing.add(why.to_owned()),
                },
                Err(why) => failed = Some(why),
            }
            Ok(())
        })?;
        if let Some(why) = failed.or(read) {
            missing.add(why);
        }
        Ok(match (missing.is_empty(), known) {
            (true, _) => State::Whole,
            (false, 0) => State::Unread(missing.text()),
            (false, _) => State::Cut(missing.text()),
        })
    }

    /// The state of one item's answer in a fan-out, or of the batch that it was asked in.
    ///
    /// # Errors
    /// The store's.
    pub fn item_state(&self, request: usize, cell: &Cell, key: &str) -> io::Result<State> {
        let asking = self.asking(request);
        if asking.for_each.as_ref().is_none_or(|each| each.batch.is_none()) {
            return Ok(self.chain_state(request, cell, Some(key)));
        }
        let all = self.index.all(request, cell);
        let asked = |entry: &&Entry| entry.items.as_ref().is_some_and(|items| items.iter().any(|item| &**item == key));
        let first = all.iter().find(asked).and_then(|entry| entry.item.as_deref());
        Ok(self.chain_state(request, cell, first.or(Some(key))))
    }

    /// As the exchanges say it: an answer whose body could not be read was not kept as a full one.
    fn chain_state(&self, request: usize, cell: &Cell, item: Option<&str>) -> State {
        let asking = self.asking(request);
        let chain = self.index.chain(request, cell, item);
        let place = || place(asking, cell, item);
        let Some(last) = chain.last() else {
            return State::Unread(format!("{}: it was not asked, or the run ended before", place()));
        };
        if let Some(gap) = (1..).zip(chain).find_map(|(page, entry)| (entry.page != page).then_some(page)) {
            return State::Cut(format!("{}: page {gap} is missing, or there twice", place()));
        }
        let said = |entry: &Entry| entry.detail.as_deref().map_or_else(String::new, |said| format!(": {said}"));
        let shown = chain.iter().filter(|entry| entry.answer == Answer::Ok).count();
        match (last.answer, &last.end) {
            (Answer::Ok, Some(_)) if shown == chain.len() => State::Whole,
            (Answer::Ok, _) => State::Cut(format!("{}: its end was not seen{}", place(), said(last))),
            (_, Some(end)) if chain.len() == 1 => State::Absent(format!("{}: {end}", place())),
            _ if shown > 0 => State::Cut(format!("{}: page {} was not read{}", place(), last.page, said(last))),
            _ => State::Unread(format!("{}{}", place(), said(last))),
        }
    }

    fn decoded(&self, asking: &Asking, entry: &Entry) -> io::Result<Result<Value, String>> {
        if entry.answer != Answer::Ok {
            return Ok(Err(format!("{} was not answered", asking.call)));
        }
        let body = self.evidence.body(&entry.exchange())?;
        let decoded = self.dialect.decode(&asking.call, &body);
        Ok(decoded.map_err(|why| format!("exchange {} cannot be read: {why}", entry.number)))
    }

    /// Gives every row that was answered in a cell, page by page; of a fan-out, item by item. Returns why some could not be read.
    ///
    /// # Errors
    /// The store's, and those of `each`.
    pub fn rows(
        &self,
        request: usize,
        cell: &Cell,
        each: &mut dyn FnMut(Row<'_>) -> io::Result<()>,
    ) -> io::Result<Option<String>> {
        self.rows_among(request, self.index.all(request, cell), each)
    }

    /// The same, for one item of a fan-out.
    ///
    /// # Errors
    /// The store's, and those of `each`.
    pub fn item_rows(
        &self,
        request: usize,
        cell: &Cell,
        item: &str,
        each: &mut dyn FnMut(Row<'_>) -> io::Result<()>,
    ) -> io::Result<Option<String>> {
        self.rows_among(request, self.index.chain(request, cell, Some(item)), each)
    }

    fn rows_among(
        &self,
        request: usize,
        entries: &[Entry],
        each: &mut dyn FnMut(Row<'_>) -> io::Result<()>,
    ) -> io::Result<Option<String>> {
        let asking = self.asking(request);
        let mut unread = None;
        for entry in entries.iter().filter(|entry| entry.answer == Answer::Ok) {
            match self.decoded(asking, entry)?.and_then(|decoded| rows_of(asking, entry.item.as_deref(), &decoded)) {
                Err(why) => unread = Some(why),
                Ok(rows) => {
                    for value in rows {
                        let item = entry.item.as_deref();
                        each(Row { value, exchange: entry.number, at: entry.at, item })?;
                    }
                }
            }
        }
        Ok(unread)
    }

    /// The first answer in a cell, whole: for a request that is asked once there, or for one item of a fan-out.
    ///
    /// # Errors
    /// The store's.
    pub fn answer(&self, request: usize, cell: &Cell, item: Option<&str>) -> io::Result<Option<(Value, u64)>> {
        let asking = self.asking(request);
        match self.index.chain(request, cell, item) {
            [entry, ..] => Ok(self.decoded(asking, entry)?.ok().map(|decoded| (decoded, entry.number))),
            [] => Ok(None),
        }
    }

    /// Whether the rows of some requests are the whole list, over all expected cells: what a kind made of them may claim.
    ///
    /// # Errors
    /// The store's.
    pub fn population(&self, requests: &[usize]) -> io::Result<Population> {
        let (mut missing, mut absent) = (Reasons::default(), Reasons::default());
        let (mut some, mut cells) = (false, 0);
        for request in requests {
            let expected = match self.expected(*request) {
                Ok(expected) => expected,
                Err(why) => return Ok(Population::Unread(why.to_owned())),
            };
            if expected.is_empty() {
                missing.add(format!("there is nowhere to ask {}", self.asking(*request).call));
            }
            for expected in expected {
                cells += 1;
                match self.state(*request, expected)? {
                    State::Whole => some = true,
                    State::Absent(why) => absent.add(why),
                    State::Unread(why) => missing.add(why),
                    State::Cut(why) => {
                        some = true;
                        missing.add(why);
                    }
                }
            }
        }
        Ok(match (missing.is_empty(), some) {
            (true, _) if cells > 0 && absent.count == cells => Population::Absent(absent.text()),
            (true, _) => Population::Whole,
            (false, true) => Population::Cut(missing.text()),
            (false, false) if absent.count > 0 => Population::Cut(missing.text()),
            (false, false) => Population::Unread(missing.text()),
        })
    }

    /// Says of every request that no list of records stands for what was not read of it.
    ///
    /// # Errors
    /// The store's.
    pub fn gaps(&self, stood_for: &[usize], out: &mut dyn Records) -> io::Result<()> {
        for request in (0..self.compiled.requests.len()).filter(|request| !stood_for.contains(request)) {
            let mut missing = Reasons::default();
            for expected in self.expected(request).unwrap_or_default() {
                if let Some(why) = self.state(request, expected)?.why() {
                    missing.add(why.to_owned());
                }
            }
            if !missing.is_empty() {
                out.gap(missing.text());
            }
        }
        Ok(())
    }
}

fn place(asking: &Asking, cell: &Cell, item: Option<&str>) -> String {
    match item {
        None => format!("{} in {cell}", asking.call),
        Some(item) => format!("{} of {item} in {cell}", asking.call),
    }
}

/// Reasons, of which the first few are spelt out.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    first: Vec<String>,
    pub count: u64,
}

impl Reasons {
    pub fn add(&mut self, reason: String) {
        if self.first.contains(&reason) {
            return;
        }
        self.count += 1;
        if self.first.len() < REASONS {
            self.first.push(reason);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn text(&self) -> String {
        let more = self.count - self.first.len() as u64;
        let text = self.first.join("; ");
        if more > 0 { format!("{text}; and {more} more") } else { text }
    }
}
