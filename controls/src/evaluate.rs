//! The evaluation of checks over the records of one run. Whatever cannot be shown is unknown, with the reason; nothing passes because
//! an answer was missing, an expression failed or a list was cut.
//!
//! # Memory
//! A record is held only while it is looked at, apart from the ids and reasons that `results.json` lists, and apart from joins and
//! `requires`: whether those are known shows only at the end, so the rows of such checks, and the rows that they join, are kept until then.
//! All of it is kept packed: some 15 bytes for an id, a tenth of its JSON for a row.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    panic,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use jq::{Filter, Val, val};
use serde_json::{Map, Value};

use crate::{
    catalogue,
    check::{Check, CheckError, Compiled, Join},
    kept::{self, Kept, Places},
    results::{CheckResult, Criteria, Definition, FORMAT, Outcome, Population, PopulationResult, Results, shorten},
    rows::{Fate, Rows},
};

/// Takes the records of a run one by one and gives the results of all checks.
///
/// The work is done in a thread of its own, with a stack for the deepest value that an expression can build. Dropping the evaluator
/// ends it.
#[derive(Debug)]
pub struct Evaluator {
    kinds: BTreeSet<String>,
    rows: SyncSender<Message>,
    worker: JoinHandle<Option<Results>>,
}

enum Message {
    Record(String, Value),
    Finish(BTreeMap<String, Population>),
}

/// Records on their way to the thread.
const WAITING: usize = 64;

impl Evaluator {
    /// Compiles the checks and starts. `parameters` is what the organisation set, a mapping or null; a name that a check has no default for
    /// is null in it.
    ///
    /// # Errors
    /// [`CheckError`], for a check that was not made by [`crate::parse_checks`] too.
    pub fn new(checks: &[Check], parameters: &Value) -> Result<Self, CheckError> {
        let set = match parameters {
            Value::Null => Map::new(),
            Value::Object(map) => map.clone(),
            other => return Err(CheckError::Parameters(other.clone())),
        };
        let mut kinds = BTreeSet::new();
        let mut parts = Vec::with_capacity(checks.len());
        for check in checks {
            kinds.insert(check.kind.clone());
            kinds.extend(check.join.values().map(|join| join.kind.clone()));
            parts.push((check.clone(), Compiled::new(check)?, parameters_of(check, &set)));
        }
        let (rows, messages) = sync_channel(WAITING);
        let worker = thread::Builder::new()
            .name("checks".into())
            .stack_size(jq::STACK_BYTES)
            .spawn(move || Worker::new(parts).run(&messages))
            .map_err(CheckError::Thread)?;
        Ok(Self { kinds, rows, worker })
    }

    /// Looks at one record: a row as in `records/<kind>.jsonl`, with its `id`. Kinds may come in any order; the results list rows in
    /// the order in which they came. A kind that no check asks for is passed over.
    pub fn record(&mut self, kind: &str, row: &Value) {
        if self.kinds.contains(kind) {
            // Refused only by a thread that panicked, which finish() reports.
            let _ = self.rows.send(Message::Record(kind.to_owned(), row.clone()));
        }
    }

    /// The results. A kind that `populations` does not mention is unread.
    ///
    /// # Panics
    /// With the panic of an expression's evaluation, if there was one.
    pub fn finish(self, populations: &BTreeMap<String, Population>) -> Results {
        let _ = self.rows.send(Message::Finish(populations.clone()));
        drop(self.rows);
        match self.worker.join() {
            Ok(results) => results.expect("the thread has answered Finish, or it has panicked"),
            Err(payload) => panic::resume_unwind(payload),
        }
    }
}

/// The check's defaults over the item's, and what was set over both; nothing for a check that does not look at them.
fn parameters_of(check: &Check, set: &Map<String, Value>) -> Map<String, Value> {
    let joined = check.join.values().flat_map(|join| [Some(&join.on), join.key.as_ref()]);
    let own = [Some(&check.pass), check.exempt.as_ref(), check.filter.as_ref()];
    let mut all = Map::new();
    if own.into_iter().chain(joined).flatten().any(|code| code.contains("$parameters")) {
        all.extend(catalogue::item(&check.item).map(|item| item.org_parameters.clone()).unwrap_or_default());
        all.extend(check.parameters.clone());
        all.extend(set.clone());
        all.sort_keys();
    }
    all
}

/// One check at work.
struct Running {
    check: Check,
    compiled: Compiled,
    parameters: Map<String, Value>,
    bound: Val,
    rows: Rows,
    /// One for each join.
    indexes: Vec<Index>,
}

/// What is kept of the records of a kind.
#[derive(Default)]
struct Kind {
    count: u32,
    /// Of a kind that checks are asked of; empty for a row that has none.
    ids: Option<Kept>,
    /// The rows, where a check with joins or `requires` asks of them, or joins them.
    rows: Option<Kept>,
}

/// Where the rows of a joined kind are, by key.
#[derive(Default)]
struct Index {
    /// A key's hash and the row's place among those of its kind; sorted once all are there.
    places: Vec<(Hash, u32)>,
    /// Why a row could not be filed, which makes the whole join unknown.
    broken: Option<String>,
}

/// 128 bits that only this process could make two keys agree in.
type Hash = [u32; 4];

#[derive(Default)]
struct Hasher(RandomState, RandomState);

impl Hasher {
    fn of(&self, key: &Val) -> Hash {
        let key = key.to_string();
        let (first, second) = (self.0.hash_one(&key), self.1.hash_one(&key));
        [first as u32, (first >> 32) as u32, second as u32, (second >> 32) as u32]
    }
}

struct Worker {
    checks: Vec<Running>,
    kinds: BTreeMap<String, Kind>,
    hasher: Hasher,
}

impl Worker {
    fn new(parts: Vec<(Check, Compiled, Map<String, Value>)>) -> Self {
        let checks: Vec<_> =
            parts.into_iter().map(|(check, compiled, parameters)| Running::new(check, compiled, parameters)).collect();
        let mut kinds = BTreeMap::<String, Kind>::new();
        for Running { check, .. } in &checks {
            let kind = kinds.entry(check.kind.clone()).or_default();
            kind.ids.get_or_insert_default();
            if check.waits() {
                kind.rows.get_or_insert_default();
            }
            for join in check.join.values() {
                kinds.entry(join.kind.clone()).or_default().rows.get_or_insert_default();
            }
        }
        Self { checks, kinds, hasher: Hasher::default() }
    }

    fn run(mut self, messages: &Receiver<Message>) -> Option<Results> {
        loop {
            match messages.recv().ok()? {
                Message::Record(kind, row) => self.record(&kind, &row),
                Message::Finish(populations) => return Some(self.finish(&populations)),
            }
        }
    }

    fn record(&mut self, kind: &str, row: &Value) {
        let Some(kept) = self.kinds.get_mut(kind) else { return };
        let place = kept.count;
        kept.count += 1;
        if let Some(ids) = &mut kept.ids {
            ids.push(id(row).unwrap_or_default().as_bytes());
        }
        if let Some(rows) = &mut kept.rows {
            rows.push(&kept::bytes(row));
        }
        for check in &mut self.checks {
            check.index(kind, place, row, &self.hasher);
            if check.check.kind == kind && !check.check.waits() {
                check.judge(row, &BTreeMap::new(), &self.hasher, &mut []);
            }
        }
    }

    fn finish(mut self, populations: &BTreeMap<String, Population>) -> Results {
        for check in &mut self.checks {
            if check.check.waits() {
                check.judge_kept(&self.kinds, populations, &self.hasher);
            }
        }
        let ids = self.kinds.into_iter().map(|(name, kind)| (name, Arc::new(kind.ids.unwrap_or_default())));
        let ids: BTreeMap<String, Arc<Kept>> = ids.collect();
        let checks = self.checks.into_iter().map(|check| {
            let ids = &ids[&check.check.kind];
            check.finish(populations, ids)
        });
        Results { format: FORMAT.into(), checks: checks.collect() }
    }
}

fn id(row: &Value) -> Option<&str> {
    row.get("id").and_then(Value::as_str)
}

impl Running {
    fn new(check: Check, compiled: Compiled, parameters: Map<String, Value>) -> Self {
        let bound = val(&Value::Object(parameters.clone()));
        let indexes = check.join.iter().map(|_| Index::default()).collect();
        Self { check, compiled, parameters, bound, rows: Rows::default(), indexes }
    }

    /// Files a row that the check joins.
    fn index(&mut self, kind: &str, place: u32, row: &Value, hasher: &Hasher) {
        for ((join, (_, key)), index) in self.check.join.values().zip(&self.compiled.joins).zip(&mut self.indexes) {
            if join.kind == kind {
                index.add(key, &self.bound, place, row, hasher);
            }
        }
    }

    /// Judges the rows that waited until all others were there.
    fn judge_kept(
        &mut self,
        kinds: &BTreeMap<String, Kind>,
        populations: &BTreeMap<String, Population>,
        hasher: &Hasher,
    ) {
        self.indexes.iter_mut().for_each(|index| index.places.sort_unstable());
        let kept = |kind: &str| kinds[kind].rows.as_ref().expect("Worker::new said that they are kept");
        let mut joined: Vec<_> = self.check.join.values().map(|join| Places::new(kept(&join.kind))).collect();
        for row in kept(&self.check.kind).iter() {
            self.judge(&kept::value(&row), populations, hasher, &mut joined);
        }
    }

    /// Puts a row into its list. `populations` and the `joined` rows matter to joins and `requires` only.
    fn judge(
        &mut self,
        row: &Value,
        populations: &BTreeMap<String, Population>,
        hasher: &Hasher,
        joined: &mut [Places<'_>],
    ) {
        let (fate, reason) = match (self.verdict(row, &val(row), populations, hasher, joined), id(row)) {
            (Verdict::Outside, _) => (Fate::Outside, None),
            (Verdict::Unknown(reason), Some(_)) => (Fate::Unknown, Some(shorten(reason))),
            (Verdict::Unknown(reason), None) => (Fate::Nameless, Some(shorten(reason))),
            (Verdict::Known(_), None) => (Fate::Nameless, Some("the row has no id".into())),
            (Verdict::Known(Known::Exempt), _) => (Fate::Exempt, None),
            (Verdict::Known(Known::Pass), _) => (Fate::Pass, None),
            (Verdict::Known(Known::Fail(reason)), _) => (Fate::Fail, Some(reason)),
        };
        self.rows.push(fate, reason.as_deref());
    }

    fn verdict(
        &self,
        row: &Value,
        input: &Val,
        populations: &BTreeMap<String, Population>,
        hasher: &Hasher,
        joined: &mut [Places<'_>],
    ) -> Verdict {
        let parameters = std::slice::from_ref(&self.bound);
        if let Some(filter) = &self.compiled.filter {
            match filter.one(parameters, input.clone()) {
                Ok(Val::Bool(true)) => {}
                Ok(Val::Bool(false)) => return Verdict::Outside,
                Ok(Val::Null) => {
                    return Verdict::Unknown("whether this row is one that the check asks about is not known".into());
                }
                other => return Verdict::Unknown(format!("population {}", odd(other))),
            }
        }
        if let Some(exempt) = &self.compiled.exempt {
            match exempt.one(parameters, input.clone()) {
                Ok(Val::Bool(true)) => return Verdict::Known(Known::Exempt),
                Ok(Val::Bool(false)) => {}
                Ok(Val::Null) => return Verdict::Unknown("whether this row is exempt is not known".into()),
                other => return Verdict::Unknown(format!("exempt {}", odd(other))),
            }
        }
        for kind in &self.check.requires {
            if let Some(why) = not_whole(kind, populations) {
                return Verdict::Unknown(format!("requires `{kind}`: {why}"));
            }
        }
        let mut variables = vec![self.bound.clone()];
        let joins = self.check.join.iter().zip(&self.compiled.joins).zip(&self.indexes).zip(joined);
        for ((((name, join), (on, _)), index), rows) in joins {
            if let Some(why) = not_whole(&join.kind, populations) {
                return Verdict::Unknown(format!("join `{name}`: `{}`: {why}", join.kind));
            }
            match index.find(join, on, &self.bound, input, hasher, rows) {
                Ok(found) => variables.push(found),
                Err(why) => return Verdict::Unknown(format!("join `{name}`: {why}")),
            }
        }
        match self.compiled.pass.one(&variables, input.clone()) {
            Ok(Val::Bool(true)) => Verdict::Known(Known::Pass),
            Ok(Val::Bool(false)) => Verdict::Known(Known::Fail(self.compiled.says.fill(row))),
            Ok(Val::Null) => Verdict::Unknown(match &self.compiled.unknown {
                Some(sentence) => sentence.fill(row),
                None => format!("what the check {} asks of this row is not known", self.check.id),
            }),
            other => Verdict::Unknown(format!("pass {}", odd(other))),
        }
    }

    fn finish(mut self, populations: &BTreeMap<String, Population>, ids: &Arc<Kept>) -> CheckResult {
        let unmentioned =
            Population::Unread(format!("the collector said nothing of the records `{}`", self.check.kind));
        let population = populations.get(&self.check.kind).unwrap_or(&unmentioned);
        let [pass, fail, exempt, named, nameless] =
            [Fate::Pass, Fate::Fail, Fate::Exempt, Fate::Unknown, Fate::Nameless].map(|fate| self.rows.count(fate));
        let size = pass + fail + exempt + named + nameless;
        let mut unknown = named + nameless;
        let mut not_applicable = 0;
        let unread = match population {
            Population::Whole => None,
            Population::Cut(reason) => Some(format!("the rest of the list was not read: {reason}")),
            Population::Unread(reason) => Some(format!("the list was not read: {reason}")),
            Population::Absent(_) if size == 0 => {
                not_applicable = 1;
                None
            }
            Population::Absent(reason) => Some(format!("said to be absent ({reason}), and yet there are rows")),
        };
        if let Some(reason) = unread {
            self.rows.push(Fate::Nameless, Some(&shorten(reason)));
            unknown += 1;
        }
        let (outcome, note) = if not_applicable > 0 {
            (Outcome::NotApplicable, population.reason().unwrap_or_default().to_owned())
        } else if fail > 0 {
            (Outcome::Fail, String::new())
        } else if unknown > 0 {
            (Outcome::Unknown, String::new())
        } else if pass > 0 {
            (Outcome::Pass, String::new())
        } else if exempt > 0 {
            (Outcome::NotTested, "every row of the population is exempt".into())
        } else {
            (Outcome::NotTested, "empty population".into())
        };
        let item = catalogue::item(&self.check.item).expect("Compiled::new has looked it up");
        CheckResult {
            title: item.title.clone(),
            criteria: Criteria { soc2: item.tsc.clone(), hipaa: item.hipaa.clone() },
            population: PopulationResult {
                kind: self.check.kind,
                filter: self.check.filter,
                state: population.state(),
                reason: population.reason().map(str::to_owned),
                size,
            },
            definition: Definition {
                exempt: self.check.exempt,
                pass: self.check.pass,
                says: self.check.says,
                unknown: self.check.unknown,
                requires: self.check.requires,
                join: self.check.join,
                parameters: self.parameters,
            },
            id: self.check.id,
            item: self.check.item,
            outcome,
            note,
            pass,
            fail,
            unknown,
            not_applicable,
            exempt,
            rows: self.rows.named(ids),
        }
    }
}

enum Verdict {
    Outside,
    Known(Known),
    Unknown(String),
}

enum Known {
    Pass,
    Fail(String),
    Exempt,
}

impl Index {
    fn add(&mut self, key: &Filter, parameters: &Val, place: u32, row: &Value, hasher: &Hasher) {
        match key.one(std::slice::from_ref(parameters), val(row)) {
            Ok(Val::Null) => self.broken = Some("a row of the joined kind has no key".into()),
            Ok(key) => self.places.push((hasher.of(&key), place)),
            Err(why) => self.broken = Some(format!("the key of a row of the joined kind {why}")),
        }
    }

    /// The value of `$<name>`.
    fn find(
        &self,
        join: &Join,
        on: &Filter,
        parameters: &Val,
        row: &Val,
        hasher: &Hasher,
        joined: &mut Places<'_>,
    ) -> Result<Val, String> {
        if let Some(why) = &self.broken {
            return Err(why.clone());
        }
        let key = match on.one(std::slice::from_ref(parameters), row.clone()) {
            Ok(Val::Null) => return Err(format!("`{}` is not known", join.on)),
            Ok(key) => key,
            Err(why) => return Err(format!("`{}` {why}", join.on)),
        };
        let hash = hasher.of(&key);
        let found = &self.places[self.places.partition_point(|(other, _)| *other < hash)..];
        let found = &found[..found.partition_point(|(other, _)| *other == hash)];
        let mut row = |place: &(Hash, u32)| val(&kept::value(joined.get(place.1 as usize)));
        let (member, value) = match (join.many, found) {
            (true, rows) => ("rows", rows.iter().map(row).collect()),
            (false, []) => ("row", Val::Null),
            (false, [only]) => ("row", row(only)),
            (false, rows) => return Err(format!("{} rows of `{}` have the key {key}", rows.len(), join.kind)),
        };
        let members = [("known", Val::Bool(true)), (member, value)];
        Ok(jq::object(members))
    }
}

/// Why a kind's list is not whole; an absent one is, for it is proved to hold nothing.
fn not_whole(kind: &str, populations: &BTreeMap<String, Population>) -> Option<String> {
    match populations.get(kind) {
        Some(Population::Whole | Population::Absent(_)) => None,
        Some(Population::Cut(reason)) => Some(format!("the rest of the list was not read: {reason}")),
        Some(Population::Unread(reason)) => Some(format!("the list was not read: {reason}")),
        None => Some("the collector said nothing of these records".into()),
    }
}

/// What stands in the way, to follow the name of the expression.
fn odd(answer: Result<Val, String>) -> String {
    match answer {
        Ok(value) => format!("gave {value}, which is neither true nor false"),
        Err(why) => why,
    }
}
