//! What is known of a job's records of one kind, and the next list held against it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::{self, BufRead as _},
    sync::Arc,
};

use serde_json::Value;
use signing::{digest::Digest, layout::Job};

use super::{
    Earlier, Source,
    fields::{Print, differences, print, print_of, same},
    rules::{self, Record, Seen, Shape},
};
use crate::{
    model::{DriftEvent, DriftKind, FieldChange},
    pass::{Lines, PassError},
};

/// Records that are compared field by field at a time.
const CHUNK: usize = 4096;

/// A list of a kind, as a run has it.
#[derive(Clone, Copy)]
pub(super) struct List<'a> {
    pub(super) job: &'a Job,
    pub(super) kind: &'a str,
    pub(super) shape: &'a Shape,
    pub(super) source: &'a Arc<Source>,
    /// Whether its end was seen.
    pub(super) whole: bool,
    /// Whether the run read everything: then null is an answer.
    pub(super) complete: bool,
    /// None: the bundle has no record of the kind.
    pub(super) lines: Option<&'a Lines>,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    /// The newest run whose list was whole.
    whole: Option<Arc<Source>>,
    /// The digest of its file, where every record stands as it does in it.
    digest: Option<Digest>,
    /// Records by the print of their ids.
    known: HashMap<Print, Known>,
    /// What was last known of fields that turned to null, by record.
    blank: BTreeMap<String, BTreeMap<String, Blank>>,
}

#[derive(Debug, Clone)]
struct Known {
    print: Print,
    /// The run that has it so; `None`: the newest one whose list was whole.
    source: Option<Arc<Source>>,
}

#[derive(Debug)]
struct Blank {
    value: Value,
    /// Whether the turn to null was told: the run read everything.
    told: bool,
}

/// A record that is other than it was, or that is new.
struct Candidate {
    id: String,
    after: Record,
    known: Option<Known>,
}

impl Baseline {
    /// Whether records were there so far.
    pub(super) fn has<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Vec<bool> {
        ids.map(|id| self.known.contains_key(&print(id))).collect()
    }

    /// Compares a list with what is known, and remembers it.
    pub(super) fn compare(
        &mut self,
        list: &List<'_>,
        earlier: &dyn Earlier,
        put: &mut dyn FnMut(DriftEvent) -> Result<(), PassError>,
    ) -> Result<(), PassError> {
        let other_version = self.whole.as_ref().is_some_and(|whole| whole.version != list.source.version);
        let digest = list.lines.map_or_else(|| Digest::of(b""), Lines::digest);
        if list.whole && list.complete && !other_version && self.digest == Some(digest) {
            self.whole = Some(list.source.clone());
            return Ok(());
        }
        if other_version && list.whole && !self.shares_ids(list)? {
            // Another version that names records otherwise: nothing can be held against what was.
            *self = Self::default();
        }
        let mut seen = HashSet::new();
        let mut stay: HashMap<Print, Known> = HashMap::new();
        let mut candidates = Vec::new();
        each_row(list.lines, |id, after| {
            let key = print(&id);
            if !seen.insert(key) {
                return Ok(());
            }
            let known = self.known.get(&key).cloned();
            let print = print_of(&after, list.shape);
            if !other_version && known.as_ref().is_some_and(|known| known.print == print) {
                if list.whole {
                    stay.insert(key, Known { print, source: None });
                }
                return Ok(());
            }
            candidates.push(Candidate { id, after, known });
            if candidates.len() == CHUNK {
                self.judge(list, std::mem::take(&mut candidates), &mut stay, other_version, earlier, put)?;
            }
            Ok(())
        })?;
        self.judge(list, candidates, &mut stay, other_version, earlier, put)?;
        if list.whole {
            self.remove(list, &seen, earlier, put)?;
            let exact = stay.values().all(|known| known.source.is_none());
            self.digest = exact.then_some(digest);
            self.known = stay;
            self.whole = Some(list.source.clone());
        } else {
            // What stands in the newest whole list stays there.
            self.known.extend(stay);
            self.digest = None;
        }
        Ok(())
    }

    /// Whether any record of the list is known by its id, or one of both is empty.
    fn shares_ids(&self, list: &List<'_>) -> Result<bool, PassError> {
        let (mut any, mut shared) = (false, false);
        each_row(list.lines, |id, _| {
            any = true;
            shared |= self.known.contains_key(&print(&id));
            Ok(())
        })?;
        Ok(shared || !any || self.known.is_empty())
    }

    /// Says what became of records, and puts into `stay` what is known of them from now on.
    fn judge(
        &mut self,
        list: &List<'_>,
        candidates: Vec<Candidate>,
        stay: &mut HashMap<Print, Known>,
        other_version: bool,
        earlier: &dyn Earlier,
        put: &mut dyn FnMut(DriftEvent) -> Result<(), PassError>,
    ) -> Result<(), PassError> {
        let wanted = candidates.iter().filter_map(|c| Some((print(&c.id), self.source_of(c.known.as_ref()?)?)));
        let mut before = fetch(wanted, list.kind, earlier)?;
        for Candidate { id, after, known } in candidates {
            let key = print(&id);
            let new = Known { print: print_of(&after, list.shape), source: (!list.whole).then(|| list.source.clone()) };
            let Some(known) = known else {
                stay.insert(key, new);
                if let Some(since) = &self.whole {
                    let seen = Seen { before: None, after: Some(&after), known: None };
                    put(event(list, since, &id, DriftKind::Added, Vec::new(), seen))?;
                }
                continue;
            };
            let source = self.source_of(&known);
            let (Some(source), Some(before)) = (source, before.remove(&key)) else {
                stay.insert(key, new);
                continue;
            };
            let mut fields = differences(&before, &after, list.shape);
            if other_version {
                fields.retain(|change| [&before, &after].into_iter().all(|row| has(row, &change.field)));
            }
            let was = self.blank.get(&id);
            fields.retain_mut(|change| told(change, was, list));
            // Null of a run that did not read everything is no answer: what was known stays known.
            if fields.is_empty() && !list.complete && blanks(&before, &after).next().is_some() {
                stay.insert(key, Known { source: Some(source), ..known });
                continue;
            }
            let mut filled = before.clone();
            for (field, blank) in was.into_iter().flatten() {
                if filled.get(field).is_none_or(Value::is_null) {
                    filled.insert(field.clone(), blank.value.clone());
                }
            }
            if !fields.is_empty() {
                let seen = Seen { before: Some(&before), after: Some(&after), known: Some(&filled) };
                put(event(list, &source, &id, DriftKind::Changed, fields, seen))?;
            }
            self.remember_blanks(&id, &before, &after, list.complete);
            stay.insert(key, new);
        }
        Ok(())
    }

    fn remember_blanks(&mut self, id: &str, before: &Record, after: &Record, complete: bool) {
        let mut blank = self.blank.remove(id).unwrap_or_default();
        blank.retain(|field, _| after.get(field).is_none_or(Value::is_null));
        for (field, value) in blanks(before, after) {
            blank.insert(field.clone(), Blank { value: value.clone(), told: complete });
        }
        if !blank.is_empty() {
            self.blank.insert(id.to_owned(), blank);
        }
    }

    /// Says what a whole list no longer has.
    fn remove(
        &mut self,
        list: &List<'_>,
        seen: &HashSet<Print>,
        earlier: &dyn Earlier,
        put: &mut dyn FnMut(DriftEvent) -> Result<(), PassError>,
    ) -> Result<(), PassError> {
        let gone: Vec<(Print, Known)> = self
            .known
            .iter()
            .filter(|(key, _)| !seen.contains(*key))
            .map(|(key, known)| (*key, known.clone()))
            .collect();
        for some in gone.chunks(CHUNK) {
            let wanted = some.iter().filter_map(|(key, known)| Some((*key, self.source_of(known)?)));
            let sources: HashMap<Print, Arc<Source>> = wanted.collect();
            let before = fetch(sources.iter().map(|(key, source)| (*key, source.clone())), list.kind, earlier)?;
            let mut rows: Vec<(String, Record, &Arc<Source>)> =
                before.into_iter().filter_map(|(key, row)| Some((id(&row)?, row, sources.get(&key)?))).collect();
            rows.sort_by(|one, other| one.0.cmp(&other.0));
            for (id, row, source) in rows {
                self.blank.remove(&id);
                let seen = Seen { before: Some(&row), after: None, known: Some(&row) };
                put(event(list, source, &id, DriftKind::Removed, Vec::new(), seen))?;
            }
        }
        Ok(())
    }

    fn source_of(&self, known: &Known) -> Option<Arc<Source>> {
        known.source.clone().or_else(|| self.whole.clone())
    }
}

/// Whether a difference is told. Of a field that an incomplete run left null, what was known before it is what it is held against.
fn told(change: &mut FieldChange, was: Option<&BTreeMap<String, Blank>>, list: &List<'_>) -> bool {
    if change.after.is_null() && !list.complete {
        return false;
    }
    if change.before.is_null()
        && let Some(blank) = was.and_then(|was| was.get(&change.field)).filter(|blank| !blank.told)
    {
        change.before = blank.value.clone();
        return !same(&change.before, &change.after, list.shape, &change.field);
    }
    true
}

/// Fields that turned to null, with what they were.
fn blanks<'r>(before: &'r Record, after: &'r Record) -> impl Iterator<Item = (&'r String, &'r Value)> {
    before.iter().filter(|(name, value)| !value.is_null() && after.get(*name).is_none_or(Value::is_null))
}

/// Whether a record has a field, with dots for one inside another.
fn has(row: &Record, field: &str) -> bool {
    let (name, rest) = field.split_once('.').map_or((field, None), |(name, rest)| (name, Some(rest)));
    match (row.get(name), rest) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(value), Some(rest)) => value.as_object().is_some_and(|inner| has(inner, rest)),
    }
}

fn id(row: &Record) -> Option<String> {
    row.get("id").and_then(Value::as_str).map(str::to_owned)
}

fn event(
    list: &List<'_>,
    since: &Arc<Source>,
    record: &str,
    change: DriftKind,
    fields: Vec<FieldChange>,
    seen: Seen<'_>,
) -> DriftEvent {
    DriftEvent {
        at: list.source.at,
        since: since.at,
        job: list.job.clone(),
        kind: list.kind.to_owned(),
        record: record.to_owned(),
        change,
        fields,
        notable: rules::notable(list.job.collector(), list.kind, change, seen),
        entry: list.source.entry,
    }
}

/// Every record of a list that has an id.
fn each_row(
    lines: Option<&Lines>,
    mut each: impl FnMut(String, Record) -> Result<(), PassError>,
) -> Result<(), PassError> {
    let Some(lines) = lines else { return Ok(()) };
    let mut bytes = lines.bytes()?;
    let mut line = Vec::new();
    while bytes.read_until(b'\n', &mut line)? > 0 {
        let row: Record = serde_json::from_slice(&line).map_err(io::Error::from)?;
        line.clear();
        if let Some(id) = id(&row) {
            each(id, row)?;
        }
    }
    Ok(())
}

/// Records as the runs have them that they stand in, by the print of their ids.
fn fetch(
    wanted: impl Iterator<Item = (Print, Arc<Source>)>,
    kind: &str,
    earlier: &dyn Earlier,
) -> Result<HashMap<Print, Record>, PassError> {
    let mut by_source: BTreeMap<u64, (Arc<Source>, HashSet<Print>)> = BTreeMap::new();
    for (key, source) in wanted {
        by_source.entry(source.entry).or_insert_with(|| (source, HashSet::new())).1.insert(key);
    }
    let mut rows = HashMap::new();
    for (source, keys) in by_source.into_values() {
        earlier.lines(&source, kind, &mut |line| {
            let Ok(row) = serde_json::from_slice::<Record>(line) else { return };
            let key = id(&row).map(|id| print(&id));
            if let Some(key) = key.filter(|key| keys.contains(key)) {
                rows.entry(key).or_insert(row);
            }
        })?;
    }
    Ok(rows)
}
