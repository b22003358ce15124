//! What the engine asks of a kind of system (AWS today): to read kept bytes again, and, while a run goes on, to be asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    contract::{BoxFuture, CollectError, Context, Window},
    recorder::Draft,
};

/// A place in a source in which the same question is asked: `{account: 111122223333, region: eu-west-1}`. The empty one is the source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cell(pub BTreeMap<String, String>);

impl Cell {
    /// The cell of these coordinates.
    pub fn new<const N: usize>(coordinates: [(&str, &str); N]) -> Self {
        Self(coordinates.into_iter().map(|(name, at)| (name.to_owned(), at.to_owned())).collect())
    }

    /// One coordinate.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether this cell lies in the other, or is it: it has all of the other's coordinates.
    pub fn is_within(&self, other: &Cell) -> bool {
        other.0.iter().all(|(name, at)| self.0.get(name) == Some(at))
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the source");
        }
        let parts: Vec<String> = self.0.iter().map(|(name, at)| format!("{name} {at}")).collect();
        f.write_str(&parts.join(", "))
    }
}

/// Which cells there are, known before anything is read in them: the body of a run's first exchange, `scope`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Every cell that must be read, by the name of their kind (`source`, `accounts`, `accounts x regions`): the kinds that the run asks in.
    pub cells: BTreeMap<String, Vec<Expected>>,
    /// What was left out, and why: by the configuration, or because nothing can be there (a region that the account has not enabled).
    pub left_out: Vec<LeftOut>,
}

/// A cell that must be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Where.
    pub cell: Cell,
    /// Why nothing can be asked there: the role could not be assumed, the account is suspended. `None`: it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
}

/// A cell that is not read, on purpose or because nothing can be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Where.
    pub cell: Cell,
    /// Why, and who says so.
    pub why: String,
}

/// The operation of the exchange whose body is a [`Scope`].
pub const SCOPE: &str = "scope";

/// What a kind of system is like, without a connection.
pub trait Dialect: Send + Sync + 'static {
    /// Whether there is such a call (`backup.ListBackupJobs`).
    ///
    /// # Errors
    /// Why not, in words, to follow the call's name.
    fn check(&self, call: &str) -> Result<(), String>;

    /// The permissions that a call needs: IAM actions.
    fn actions(&self, call: &str) -> Vec<String>;

    /// The kept bytes of a full answer as JSON, with the names of the system's own model. It depends on nothing else.
    ///
    /// # Errors
    /// Why they cannot be read, in words.
    fn decode(&self, call: &str, body: &[u8]) -> Result<Value, String>;

    /// The kinds of cells that scopes of this system have.
    fn cells(&self) -> &'static [&'static str];
}

/// A source that can be asked.
pub trait System: Dialect {
    /// Begins a run: finds out the cells of these kinds and as whom they are read, and keeps how it found out. The first exchange is [`SCOPE`].
    ///
    /// # Errors
    /// Only where nothing at all can be asked; what was refused in one cell is [`Expected::unread`].
    fn begin<'a>(&'a self, context: &'a mut Context<'_>, kinds: &'a BTreeSet<String>) -> BoxFuture<'a, Begun>;
}

/// A run's connection.
pub trait Session: Send + Sync + 'static {
    /// Asks once, trying again what may pass, and gives the answer to keep. It never fails: a refusal is an answer.
    fn ask(&self, ask: Ask) -> BoxFuture<'static, Asked>;

    /// How many requests may be under way at the same time.
    fn parallel(&self) -> usize;
}

/// A request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Its name in the definition.
    pub request: String,
    /// `backup.ListBackupJobs`.
    pub call: String,
    /// Where.
    pub cell: Cell,
    /// Another region than the cell's, for what lies elsewhere (a bucket).
    pub region: Option<String>,
    /// Its parameters, with the page's token.
    pub parameters: Map<String, Value>,
    /// The key of the row that it is asked for, in a fan-out.
    pub item: Option<String>,
    /// The keys of the rows that it is asked for, in a batch.
    pub items: Vec<String>,
    /// From 1.
    pub page: u64,
    /// The events that are read.
    pub window: Option<Window>,
}

impl Ask {
    /// What stands in the exchange's `request`; a transport may add members (`endpoint`, `method` …).
    pub fn describe(&self) -> Value {
        let mut asked = Map::new();
        asked.insert("request".into(), self.request.clone().into());
        asked.insert("call".into(), self.call.clone().into());
        asked.insert("cell".into(), serde_json::to_value(&self.cell).unwrap_or_default());
        if let Some(region) = &self.region {
            asked.insert("region".into(), region.clone().into());
        }
        if let Some(item) = &self.item {
            asked.insert("item".into(), item.clone().into());
        }
        if !self.items.is_empty() {
            asked.insert("items".into(), self.items.clone().into());
        }
        asked.insert("parameters".into(), Value::Object(self.parameters.clone()));
        asked.into()
    }
}

/// An answer, on its way into the recorder.
#[derive(Debug)]
pub struct Asked {
    /// The exchange, complete but for `end`, which the engine sets.
    pub draft: Draft,
    /// `xml` or `json`.
    pub extension: &'static str,
    /// What is kept of the body, redacted already; `None`: there was none.
    pub body: Option<Vec<u8>>,
    /// The kept bytes decoded, for a full answer.
    pub decoded: Option<Value>,
}

/// How a run begins: its cells, and the connection; or why nothing can be asked.
pub type Begun = Result<(Scope, Arc<dyn Session>), CollectError>;
