//! The evaluation of checks over the records of one run. Whatever cannot be shown is unknown, with the reason; nothing passes because
//! an answer was missing, an expression failed or a list was cut.
//!
//! # Memory
//! A record is held only while it is looked at, apart from the ids and reasons that `results.json` lists, and apart from joins and
//! `requires`: whether those are known shows only at the end, so the rows of such checks, and the rows that they join, are kept until then.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    panic,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use jq::{Filter, Val, val};
use serde_json::{Map, Value};

use crate::{
    catalogue,
    check::{Check, CheckError, Compiled, Join},
    results::{
        CheckResult, Criteria, Definition, FORMAT, Outcome, Population, PopulationResult, Results, Row, Rows, shorten,
    },
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
    size: u64,
    rows: Rows,
    /// Rows of a check with joins or `requires`.
    waiting: Vec<Value>,
    /// One for each join.
    indexes: Vec<Index>,
}

/// The rows of a joined kind, by key.
#[derive(Default)]
struct Index {
    rows: HashMap<String, Vec<Val>>,
    /// Why a row could not be filed, which makes the whole join unknown.
    broken: Option<String>,
}

struct Worker(Vec<Running>);

impl Worker {
    fn new(parts: Vec<(Check, Compiled, Map<String, Value>)>) -> Self {
        Self(parts.into_iter().map(|(check, compiled, parameters)| Running::new(check, compiled, parameters)).collect())
    }

    fn run(mut self, messages: &Receiver<Message>) -> Option<Results> {
        loop {
            match messages.recv().ok()? {
                Message::Record(kind, row) => self.0.iter_mut().for_each(|check| check.record(&kind, &row)),
                Message::Finish(populations) => {
                    let checks = self.0.into_iter().map(|check| check.finish(&populations)).collect();
                    return Some(Results { format: FORMAT.into(), checks });
                }
            }
        }
    }
}

impl Running {
    fn new(check: Check, compiled: Compiled, parameters: Map<String, Value>) -> Self {
        let bound = val(&Value::Object(parameters.clone()));
        let indexes = check.join.iter().map(|_| Index::default()).collect();
        Self { check, compiled, parameters, bound, size: 0, rows: Rows::default(), waiting: Vec::new(), indexes }
    }

    fn record(&mut self, kind: &str, row: &Value) {
        for ((join, (_, key)), index) in self.check.join.values().zip(&self.compiled.joins).zip(&mut self.indexes) {
            if join.kind == kind {
                index.add(key, &self.bound, row);
            }
        }
        if self.check.kind != kind {
            return;
        }
        if self.check.join.is_empty() && self.check.requires.is_empty() {
            self.judge(row, &BTreeMap::new());
        } else {
            self.waiting.push(row.clone());
        }
    }

    /// Puts a row into its list. `populations` matters to joins and `requires` only.
    fn judge(&mut self, row: &Value, populations: &BTreeMap<String, Population>) {
        let id = row.get("id").and_then(Value::as_str).map(str::to_owned);
        let input = val(row);
        match self.verdict(row, &input, populations) {
            Verdict::Outside => return,
            Verdict::Unknown(reason) => self.rows.unknown.push(Row { id, reason: shorten(reason) }),
            Verdict::Known(known) => match (id, known) {
                (None, _) => self.rows.unknown.push(Row { id: None, reason: "the row has no id".into() }),
                (Some(id), Known::Exempt) => self.rows.exempt.push(id),
                (Some(id), Known::Pass) => self.rows.pass.push(id),
                (Some(id), Known::Fail(reason)) => self.rows.fail.push(Row { id: Some(id), reason }),
            },
        }
        self.size += 1;
    }

    fn verdict(&self, row: &Value, input: &Val, populations: &BTreeMap<String, Population>) -> Verdict {
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
        for (((name, join), (on, _)), index) in self.check.join.iter().zip(&self.compiled.joins).zip(&self.indexes) {
            match index.find(join, on, &self.bound, input, populations) {
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

    fn finish(mut self, populations: &BTreeMap<String, Population>) -> CheckResult {
        for row in std::mem::take(&mut self.waiting) {
            self.judge(&row, populations);
        }
        let unmentioned =
            Population::Unread(format!("the collector said nothing of the records `{}`", self.check.kind));
        let population = populations.get(&self.check.kind).unwrap_or(&unmentioned);
        let mut not_applicable = 0;
        let unread = match population {
            Population::Whole => None,
            Population::Cut(reason) => Some(format!("the rest of the list was not read: {reason}")),
            Population::Unread(reason) => Some(format!("the list was not read: {reason}")),
            Population::Absent(_) if self.size == 0 => {
                not_applicable = 1;
                None
            }
            Population::Absent(reason) => Some(format!("said to be absent ({reason}), and yet there are rows")),
        };
        self.rows.unknown.extend(unread.map(|reason| Row { id: None, reason: shorten(reason) }));
        let [pass, fail, unknown, exempt] =
            [self.rows.pass.len(), self.rows.fail.len(), self.rows.unknown.len(), self.rows.exempt.len()]
                .map(|rows| rows as u64);
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
                size: self.size,
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
            rows: self.rows,
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
    fn add(&mut self, key: &Filter, parameters: &Val, row: &Value) {
        let row = val(row);
        match key.one(std::slice::from_ref(parameters), row.clone()) {
            Ok(Val::Null) => self.broken = Some("a row of the joined kind has no key".into()),
            Ok(key) => self.rows.entry(key.to_string()).or_default().push(row),
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
        populations: &BTreeMap<String, Population>,
    ) -> Result<Val, String> {
        if let Some(why) = not_whole(&join.kind, populations) {
            return Err(format!("`{}`: {why}", join.kind));
        }
        if let Some(why) = &self.broken {
            return Err(why.clone());
        }
        let key = match on.one(std::slice::from_ref(parameters), row.clone()) {
            Ok(Val::Null) => return Err(format!("`{}` is not known", join.on)),
            Ok(key) => key.to_string(),
            Err(why) => return Err(format!("`{}` {why}", join.on)),
        };
        let found = self.rows.get(&key).map(Vec::as_slice).unwrap_or_default();
        let (member, value) = match (join.many, found) {
            (true, rows) => ("rows", rows.iter().cloned().collect()),
            (false, []) => ("row", Val::Null),
            (false, [row]) => ("row", row.clone()),
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
