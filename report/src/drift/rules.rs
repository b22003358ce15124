//! `report/data/drift.yaml`: what is drift of a kind's records, and which drift is notable.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::LazyLock,
};

use jq::{Filter, Val};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::{DriftKind, Notable};

/// What is read of a record.
pub(crate) type Record = Map<String, Value>;

const DATA: &str = include_str!("../../data/drift.yaml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    volatile: Vec<String>,
    kinds: BTreeMap<String, WrittenKind>,
    rules: Vec<WrittenRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenKind {
    volatile: Vec<String>,
    ordered: Vec<String>,
    turnover: bool,
    compared: bool,
}

impl Default for WrittenKind {
    fn default() -> Self {
        Self { volatile: Vec::new(), ordered: Vec::new(), turnover: false, compared: true }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    id: String,
    kinds: Vec<String>,
    on: Vec<On>,
    #[serde(default)]
    when: Option<String>,
    says: String,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum On {
    Added,
    Removed,
    Changed,
}

impl On {
    fn is(self, change: DriftKind) -> bool {
        matches!(
            (self, change),
            (Self::Added, DriftKind::Added) | (Self::Removed, DriftKind::Removed) | (Self::Changed, DriftKind::Changed)
        )
    }
}

/// How records of a kind are compared.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Fields that are no drift, with dots for fields inside them.
    pub(crate) volatile: BTreeSet<String>,
    /// Lists whose order means something.
    pub(crate) ordered: BTreeSet<String>,
    /// Whether records come and go in the ordinary course.
    pub(crate) turnover: bool,
    /// Whether they are compared at all.
    pub(crate) compared: bool,
}

struct Rule {
    id: String,
    on: Vec<On>,
    when: Option<Filter>,
    says: Filter,
}

struct Rules {
    plain: Shape,
    shapes: HashMap<String, Shape>,
    by_kind: HashMap<String, Vec<std::sync::Arc<Rule>>>,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| read(DATA).expect("a constant that the tests read"));

fn read(data: &str) -> Result<Rules, String> {
    let written: Written = serde_saphyr::from_str(data).map_err(|error| error.to_string())?;
    let shape = |kind: WrittenKind| Shape {
        volatile: written.volatile.iter().cloned().chain(kind.volatile).collect(),
        ordered: kind.ordered.into_iter().collect(),
        turnover: kind.turnover,
        compared: kind.compared,
    };
    let shapes = written.kinds.into_iter().map(|(name, kind)| (name, shape(kind))).collect();
    let mut by_kind: HashMap<String, Vec<_>> = HashMap::new();
    for rule in written.rules {
        let compile = |code: &str| {
            Filter::compile(code, &["$before", "$after", "$known"])
                .map_err(|why| format!("{}: `{code}`: {why}", rule.id))
        };
        let when = rule.when.as_deref().map(compile).transpose()?;
        let compiled = std::sync::Arc::new(Rule { says: compile(&rule.says)?, id: rule.id, on: rule.on, when });
        for kind in rule.kinds {
            by_kind.entry(kind).or_default().push(compiled.clone());
        }
    }
    Ok(Rules { plain: shape(WrittenKind::default()), shapes, by_kind })
}

fn name(collector: &str, kind: &str) -> String {
    format!("{collector}/{kind}")
}

/// How records of a collector's kind are compared. Of kinds that the data does not name, only what is volatile everywhere is left out.
pub(crate) fn shape(collector: &str, kind: &str) -> &'static Shape {
    RULES.shapes.get(&name(collector, kind)).unwrap_or(&RULES.plain)
}

/// A record before and after, as the rules see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) before: Option<&'a Record>,
    pub(crate) after: Option<&'a Record>,
    /// `before` with what was last known in place of null.
    pub(crate) known: Option<&'a Record>,
}

/// The first rule that holds. A rule that cannot be evaluated on a record does not hold.
pub(crate) fn notable(collector: &str, kind: &str, change: DriftKind, seen: Seen<'_>) -> Option<Notable> {
    let rules = RULES.by_kind.get(&name(collector, kind))?;
    let mut rules = rules.iter().filter(|rule| rule.on.iter().any(|on| on.is(change))).peekable();
    rules.peek()?;
    let value = |record: Option<&Record>| record.map_or(Val::Null, |record| jq::val(&Value::Object(record.clone())));
    let variables = [value(seen.before), value(seen.after), value(seen.known)];
    rules.find_map(|rule| {
        let holds = rule.when.as_ref().is_none_or(|when| when.one(&variables, Val::Null) == Ok(Val::Bool(true)));
        let says = holds.then(|| rule.says.one(&variables, Val::Null)).and_then(Result::ok)?;
        let Value::String(says) = jq::json(&says) else { return None };
        Some(Notable { rule: rule.id.clone(), says })
    })
}

#[cfg(test)]
mod tests;
