//! Rows of other requests, found by key, for the records of one cell. An index of a list is held while its cell is gone through; answers of
//! a fan-out are read when they are asked for.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque, hash_map::Entry},
    io,
};

use jq::{Val, val};
use serde_json::json;

use super::{
    compiled::Join,
    reading::{Reading, State},
    system::{Cell, Expected},
};

/// The joins of one kind's rows, in one cell after the other.
pub(super) struct Joins<'a, 'r> {
    reading: &'r Reading<'a>,
    joins: &'a [Join],
    lists: Vec<Option<List>>,
    /// Of each fan-out, the answers found last in this cell: those that many rows share are read once.
    found: RefCell<Vec<VecDeque<(String, Val)>>>,
}

/// So many answers of a fan-out are kept: more than there are regions.
const SHARED: usize = 40;

/// The rows of a list by key, in the cells that a row's cell goes with.
struct List {
    cells: Vec<Cell>,
    /// Why it is not known as a whole.
    why: Option<String>,
    absent: bool,
    rows: HashMap<Box<str>, Vec<Box<[u8]>>>,
}

impl<'a, 'r> Joins<'a, 'r> {
    pub fn new(reading: &'r Reading<'a>, joins: &'a [Join]) -> Self {
        let found = RefCell::new(joins.iter().map(|_| VecDeque::new()).collect());
        Self { reading, joins, lists: joins.iter().map(|_| None).collect(), found }
    }

    /// Prepares for the rows of a cell.
    ///
    /// # Errors
    /// The store's.
    pub fn enter(&mut self, cell: &Cell) -> io::Result<()> {
        self.found.get_mut().iter_mut().for_each(VecDeque::clear);
        for (join, list) in self.joins.iter().zip(&mut self.lists) {
            if join.by_item {
                continue;
            }
            let cells = matching(self.reading, join.with, cell);
            if list.as_ref().is_some_and(|list| list.cells.iter().eq(cells.iter().map(|expected| &expected.cell))) {
                continue;
            }
            *list = Some(List::read(self.reading, join, &cells)?);
        }
        Ok(())
    }

    /// The value of each join's variable for a row. `variables` are those of the row's own expressions.
    ///
    /// # Errors
    /// The store's.
    pub fn find(&self, cell: &Cell, row: &Val, variables: &[Val]) -> io::Result<Vec<Val>> {
        let found = self.joins.iter().zip(&self.lists).enumerate().map(|(at, (join, list))| match list {
            Some(list) => Ok(list.find(join, row, variables)),
            None => self.of_item(at, join, cell, row, variables),
        });
        found.collect()
    }

    /// The answer that was asked for a row's key.
    fn of_item(&self, at: usize, join: &Join, cell: &Cell, row: &Val, variables: &[Val]) -> io::Result<Val> {
        let key = match key(join, row, variables) {
            Ok(key) => key,
            Err(why) => return Ok(unknown(&why)),
        };
        if let Some((_, found)) = self.found.borrow()[at].iter().find(|(of, _)| *of == key) {
            return Ok(found.clone());
        }
        let answer = self.read_item(join, cell, &key)?;
        let mut found = self.found.borrow_mut();
        if found[at].len() == SHARED {
            found[at].pop_front();
        }
        found[at].push_back((key, answer.clone()));
        Ok(answer)
    }

    fn read_item(&self, join: &Join, cell: &Cell, key: &str) -> io::Result<Val> {
        let mut rows = Vec::new();
        let mut absent = false;
        for expected in matching(self.reading, join.with, cell) {
            match self.reading.item_state(join.with, &expected.cell, key)? {
                State::Whole => {}
                State::Absent(_) => absent = true,
                State::Cut(why) | State::Unread(why) => return Ok(unknown(&why)),
            }
            let unread = self.reading.item_rows(join.with, &expected.cell, key, &mut |found| {
                rows.push(found.value);
                Ok(())
            })?;
            if let Some(why) = unread {
                return Ok(unknown(&why));
            }
        }
        Ok(known(join, rows, absent, key))
    }
}

impl List {
    fn read(reading: &Reading<'_>, join: &Join, cells: &[Expected]) -> io::Result<Self> {
        let mut list = Self {
            cells: cells.iter().map(|expected| expected.cell.clone()).collect(),
            why: cells.is_empty().then(|| "it was asked nowhere that this row goes with".to_owned()),
            absent: !cells.is_empty(),
            rows: HashMap::new(),
        };
        for expected in cells {
            let state = reading.state(join.with, expected)?;
            list.absent &= matches!(state, State::Absent(_));
            if let Some(why) = state.why() {
                list.why.get_or_insert_with(|| why.to_owned());
            }
            let at = val(&json!(expected.cell));
            let mut broken = None;
            let unread = reading.rows(join.with, &expected.cell, &mut |row| {
                let item = row.item.map_or(Val::Null, |item| Val::from(item.to_owned()));
                let variables = [at.clone(), item, Val::from(instant(row.at))];
                match list.add(join, row.value, &variables) {
                    Ok(()) => Ok(()),
                    Err(why) => {
                        broken = Some(why);
                        Ok(())
                    }
                }
            })?;
            if let Some(why) = unread.or(broken) {
                list.why.get_or_insert(why);
            }
        }
        Ok(list)
    }

    fn add(&mut self, join: &Join, row: Val, variables: &[Val]) -> Result<(), String> {
        let key = match &join.key {
            None => Box::default(),
            Some(filter) => match filter.one(variables, row.clone()) {
                Ok(Val::TStr(key)) => String::from_utf8_lossy(&key).into(),
                // It can be found by none, and is none's.
                Ok(Val::Null) => return Ok(()),
                Ok(_) => return Err(format!("a row of the joined list {} has a key that is no text", join.name)),
                Err(why) => return Err(format!("the expression for the key of the joined list {} {why}", join.name)),
            },
        };
        let row = match &join.keep {
            None => row,
            Some(keep) => keep.one(variables, row).map_err(|why| format!("`keep` of {} {why}", join.name))?,
        };
        let bytes = serde_json::to_vec(&jq::json(&row)).map_err(|why| why.to_string())?.into();
        match self.rows.entry(key) {
            Entry::Occupied(mut rows) => rows.get_mut().push(bytes),
            Entry::Vacant(place) => drop(place.insert(vec![bytes])),
        }
        Ok(())
    }

    /// Every row that can be read, where there are no keys.
    fn all(&self) -> Vec<Val> {
        let rows = self.rows.get("").map(Vec::as_slice).unwrap_or_default();
        rows.iter().filter_map(|bytes| serde_json::from_slice(bytes).ok().map(|value| val(&value))).collect()
    }

    fn find(&self, join: &Join, row: &Val, variables: &[Val]) -> Val {
        match &self.why {
            Some(why) if join.on.is_none() && join.many => return in_part(why, self.all()),
            Some(why) => return unknown(why),
            None => {}
        }
        let key = match join.on.as_ref().map(|_| key(join, row, variables)).transpose() {
            Ok(key) => key.unwrap_or_default(),
            Err(why) => return unknown(&why),
        };
        let rows = self.rows.get(key.as_str()).map(Vec::as_slice).unwrap_or_default();
        let parsed: Result<Vec<Val>, _> =
            rows.iter().map(|bytes| serde_json::from_slice(bytes).map(|value| val(&value))).collect();
        match parsed {
            Ok(rows) => known(join, rows, self.absent, &key),
            Err(why) => unknown(&why.to_string()),
        }
    }
}

/// The cells of the joined request that go with a row's: those that it lies in, and those that lie in it. What is asked once for the whole
/// source goes with every row.
fn matching(reading: &Reading<'_>, request: usize, cell: &Cell) -> Vec<Expected> {
    let whole_source = reading.asking(request).cells == "source";
    let expected = reading.expected(request).unwrap_or_default().iter();
    let goes = |at: &Cell| whole_source || cell.is_within(at) || at.is_within(cell);
    expected.filter(|expected| goes(&expected.cell)).cloned().collect()
}

/// The key by which a row looks for others.
fn key(join: &Join, row: &Val, variables: &[Val]) -> Result<String, String> {
    match join.on.as_ref().map(|on| on.one(variables, row.clone())) {
        Some(Ok(Val::TStr(key))) => Ok(String::from_utf8_lossy(&key).into_owned()),
        Some(Ok(Val::Null)) | None => Err(format!("the row has no key for {}", join.name)),
        Some(Ok(other)) => Err(format!("the key for {} is {other}, which is no text", join.name)),
        Some(Err(why)) => Err(format!("the expression for the key of {} {why}", join.name)),
    }
}

fn unknown(why: &str) -> Val {
    not_known(why, Val::Null)
}

/// What was read of a list that is not known as a whole.
fn in_part(why: &str, rows: Vec<Val>) -> Val {
    not_known(why, rows.into_iter().collect())
}

fn not_known(why: &str, rows: Val) -> Val {
    jq::object([
        ("known", Val::Bool(false)),
        ("why", Val::from(why.to_owned())),
        ("absent", Val::Bool(false)),
        ("row", Val::Null),
        ("rows", rows),
    ])
}

fn known(join: &Join, rows: Vec<Val>, absent: bool, key: &str) -> Val {
    if !join.many && rows.len() > 1 {
        return unknown(&format!("{} rows of {} have the key {key}", rows.len(), join.name));
    }
    let (row, rows) = match join.many {
        true => (Val::Null, rows.into_iter().collect()),
        false => (rows.into_iter().next().unwrap_or(Val::Null), Val::Null),
    };
    jq::object([
        ("known", Val::Bool(true)),
        ("why", Val::Null),
        ("absent", Val::Bool(absent)),
        ("row", row),
        ("rows", rows),
    ])
}

/// As expressions see a time.
pub(super) fn instant(at: chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
