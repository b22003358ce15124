//! A definition with its expressions compiled and its names checked. What is refused here could not run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use indexmap::IndexMap;
use jq::Filter;
use serde_json::Value;

use super::{
    definition::{Definition, Pages, Poll, RecordSpec, Request, RowJoin},
    system::Dialect,
    template::Template,
};
use crate::contract::{Need, NeedKind, Spec, WindowSpec};

/// A definition that is refused.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// Not YAML of the schema.
    #[error("the definition cannot be read")]
    Yaml(#[from] serde_saphyr::Error),
    /// Something is wrong in a field.
    #[error("{id}, `{field}`: {problem}")]
    Field {
        /// The definition's id.
        id: String,
        /// The field: `requests.jobs.rows`.
        field: String,
        /// What is wrong.
        problem: String,
    },
}

/// A definition, ready to run.
pub struct Compiled {
    pub(super) spec: Spec,
    /// The kinds of cells in which something is asked, or of which there are records.
    pub(super) cells: BTreeSet<String>,
    pub(super) requests: Vec<Arc<Asking>>,
    pub(super) records: IndexMap<String, Vec<Rows>>,
}

/// One of `requests`.
pub(super) struct Asking {
    pub name: String,
    pub call: String,
    pub cells: String,
    pub parameters: Template,
    pub region: Option<Template>,
    pub pages: Option<Pages>,
    pub rows: Option<Filter>,
    pub for_each: Option<Each>,
    pub absent: Vec<String>,
    pub usable: Option<Filter>,
    pub requires: Option<usize>,
    pub poll: Option<(Poll, Filter)>,
    /// Whether a later one is asked for each of its rows.
    pub is_parent: bool,
}

impl Asking {
    /// The name that its own templates use for the row that it is asked for, one by one.
    pub fn item_name(&self) -> Option<&str> {
        self.for_each.as_ref().filter(|each| each.batch.is_none()).map(|each| each.name.as_str())
    }

    /// The one of `absent` that an error is: its code, and the words that must stand in what was said.
    pub fn proves_absence(&self, code: &str, said: &str) -> Option<&str> {
        let is = |absent: &&String| match absent.split_once(": ") {
            None => absent.as_str() == code,
            Some((of, words)) => of == code && said.contains(words),
        };
        self.absent.iter().find(is).map(String::as_str)
    }
}

/// `for_each`.
pub(super) struct Each {
    pub name: String,
    pub parent: usize,
    pub key: Filter,
    pub when: Option<Filter>,
    pub batch: Option<usize>,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Of {
    /// A request's answers.
    Request(usize),
    /// The scope: one row for each cell of the kind.
    Cells(String),
}

/// How records follow from one request's rows, or from cells.
pub(super) struct Rows {
    pub of: Of,
    pub filter: Option<Filter>,
    pub id: Filter,
    pub as_of: Option<Filter>,
    /// In the order of the names, as the fields' variables are.
    pub joins: Vec<Join>,
    pub fields: Vec<(String, Filter)>,
}

/// One of a record's joins.
pub(super) struct Join {
    pub name: String,
    pub with: usize,
    /// Whether an answer is found by the key that it was asked for.
    pub by_item: bool,
    pub on: Option<Filter>,
    pub key: Option<Filter>,
    pub many: bool,
    pub keep: Option<Filter>,
}

/// What every expression over a row sees.
const VARIABLES: [&str; 3] = ["$cell", "$item", "$at"];

impl Compiled {
    /// Reads and checks a definition.
    ///
    /// # Errors
    /// [`DefinitionError`] for the first mistake.
    pub fn new(yaml: &str, dialect: &dyn Dialect) -> Result<Self, DefinitionError> {
        let definition: Definition = serde_saphyr::from_str(yaml)?;
        let compiler = Compiler { definition: &definition, dialect };
        let mut requests: Vec<Asking> = Vec::new();
        for (name, request) in &definition.requests {
            let asking = compiler.request(name, request, &requests)?;
            if let Some(each) = &asking.for_each {
                requests[each.parent].is_parent = true;
            }
            requests.push(asking);
        }
        let mut records = IndexMap::new();
        for (kind, specs) in &definition.records {
            let rows = specs.0.iter().map(|spec| compiler.rows(kind, spec, &requests));
            let rows: Vec<Rows> = rows.collect::<Result<_, _>>()?;
            if rows.len() > 1 && rows.iter().any(|rows| matches!(rows.of, Of::Cells(_))) {
                let problem = "a record for each cell cannot share its kind with others";
                return Err(compiler.refuse(&format!("records.{kind}.rows"), problem));
            }
            records.insert(kind.clone(), rows);
        }
        if records.is_empty() == definition.kinds.is_empty() {
            return Err(compiler.refuse("records", "a definition has either `records`, or `kinds` that code makes"));
        }
        let spec = compiler.spec()?;
        let of_records = records.values().flatten().filter_map(|rows: &Rows| match &rows.of {
            Of::Cells(kind) => Some(kind.clone()),
            Of::Request(_) => None,
        });
        let cells = requests.iter().map(|request| request.cells.clone()).chain(of_records).collect();
        Ok(Self { spec, cells, requests: requests.into_iter().map(Arc::new).collect(), records })
    }
}

struct Compiler<'a> {
    definition: &'a Definition,
    dialect: &'a dyn Dialect,
}

impl Compiler<'_> {
    fn refuse(&self, field: &str, problem: impl Into<String>) -> DefinitionError {
        DefinitionError::Field { id: self.definition.id.clone(), field: field.into(), problem: problem.into() }
    }

    fn jq(&self, field: &str, code: &str, variables: &[&str]) -> Result<Filter, DefinitionError> {
        Filter::compile(code, variables).map_err(|problem| self.refuse(field, format!("`{code}`: {problem}")))
    }

    fn maybe(&self, field: &str, code: Option<&String>, variables: &[&str]) -> Result<Option<Filter>, DefinitionError> {
        code.map(|code| self.jq(field, code, variables)).transpose()
    }

    fn request(&self, name: &str, request: &Request, before: &[Asking]) -> Result<Asking, DefinitionError> {
        let at = |field: &str| format!("requests.{name}.{field}");
        self.dialect.check(&request.call).map_err(|why| self.refuse(&at("call"), why))?;
        if self.dialect.cells().contains(&name) {
            return Err(self.refuse(&at("call"), format!("{name:?} is a kind of cells: name the request otherwise")));
        }
        let cells = request.cells.as_ref().unwrap_or(&self.definition.cells);
        if !self.dialect.cells().contains(&cells.as_str()) {
            let known = self.dialect.cells().join(", ");
            return Err(self.refuse(&at("cells"), format!("there are no cells {cells:?}; there are {known}")));
        }
        let find = |field: &str, name: &str| {
            let found = before.iter().position(|other| other.name == name);
            found.ok_or_else(|| self.refuse(&at(field), format!("no request before it is named {name:?}")))
        };
        let mut names = vec!["cell"];
        if self.definition.window.is_some() {
            names.push("window");
        }
        let for_each = match &request.for_each {
            None => None,
            Some(each) => {
                names.push(&each.name);
                let parent = find("for_each", &each.rows)?;
                if before[parent].cells != *cells {
                    return Err(self.refuse(&at("for_each"), format!("{} is asked in other cells", each.rows)));
                }
                names.extend(before[parent].item_name());
                Some(Each {
                    name: each.name.clone(),
                    parent,
                    key: self.jq(&at("for_each.key"), &each.key, &VARIABLES[..2])?,
                    when: self.maybe(&at("for_each.when"), each.when.as_ref(), &VARIABLES[..2])?,
                    batch: each.batch,
                })
            }
        };
        let requires = request.requires.as_deref().map(|name| find("requires", name)).transpose()?;
        let template =
            |field: &str, value: &Value| Template::parse(value, &names).map_err(|why| self.refuse(&at(field), why));
        Ok(Asking {
            name: name.into(),
            call: request.call.clone(),
            cells: cells.clone(),
            parameters: template("parameters", &Value::Object(request.parameters.clone()))?,
            region: request.region.as_ref().map(|region| template("region", &region.clone().into())).transpose()?,
            pages: request.pages.clone(),
            rows: self.maybe(&at("rows"), request.rows.as_ref(), &["$item"])?,
            for_each,
            absent: request.absent.clone(),
            usable: self.maybe(&at("usable"), request.usable.as_ref(), &[])?,
            requires,
            poll: match &request.poll {
                None => None,
                Some(poll) => Some((poll.clone(), self.jq(&at("poll.until"), &poll.until, &[])?)),
            },
            is_parent: false,
        })
    }

    fn rows(&self, kind: &str, spec: &RecordSpec, requests: &[Asking]) -> Result<Rows, DefinitionError> {
        let at = |field: &str| format!("records.{kind}.{field}");
        let find = |field: &str, name: &str| {
            let found = requests.iter().position(|request| request.name == name);
            found.ok_or_else(|| self.refuse(&at(field), format!("there is no request {name:?}")))
        };
        let joins = spec.join.iter().map(|(name, join)| {
            let field = format!("join.{name}");
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()) {
                return Err(self.refuse(&at(&field), "a join is named by lower-case letters, digits and underscores"));
            }
            self.join(&at(&field), name, join, find(&field, &join.with)?, requests)
        });
        let joins: Vec<Join> = joins.collect::<Result<_, _>>()?;
        let named: Vec<String> = joins.iter().map(|join| format!("${}", join.name)).collect();
        let all: Vec<&str> = VARIABLES.into_iter().chain(named.iter().map(String::as_str)).collect();
        let fields = spec.fields.iter().map(|(name, code)| {
            if ["id", "as_of", "exchange", "account", "region"].contains(&name.as_str()) {
                return Err(self.refuse(&at("fields"), format!("`{name}` is a member that every record has by itself")));
            }
            Ok((name.clone(), self.jq(&at(&format!("fields.{name}")), code, &all)?))
        });
        let of = match self.dialect.cells().contains(&spec.rows.as_str()) {
            true => Of::Cells(spec.rows.clone()),
            false => Of::Request(find("rows", &spec.rows)?),
        };
        Ok(Rows {
            of,
            filter: self.maybe(&at("where"), spec.filter.as_ref(), &VARIABLES)?,
            id: self.jq(&at("id"), &spec.id, &VARIABLES)?,
            as_of: self.maybe(&at("as_of"), spec.as_of.as_ref(), &all)?,
            fields: fields.collect::<Result<_, _>>()?,
            joins,
        })
    }

    fn join(
        &self,
        at: &str,
        name: &str,
        join: &RowJoin,
        with: usize,
        requests: &[Asking],
    ) -> Result<Join, DefinitionError> {
        let other = &requests[with];
        // By the key that it was asked for; with a `key`, a fan-out is a list as any other.
        let by_item = join.on.is_some() && join.key.is_none() && other.item_name().is_some();
        match &join.on {
            None if !join.many && (other.pages.is_some() || other.for_each.is_some()) => {
                let problem = "without `on` and `many`, the other request must be asked once in a cell, in one page";
                return Err(self.refuse(at, problem));
            }
            Some(_) if !by_item && other.rows.is_none() => {
                return Err(self.refuse(at, format!("{} has no `rows` to be found by key", other.name)));
            }
            _ => {}
        }
        Ok(Join {
            name: name.into(),
            with,
            by_item,
            on: self.maybe(&format!("{at}.on"), join.on.as_ref(), &VARIABLES)?,
            key: self.maybe(&format!("{at}.key"), join.key.as_ref().or(join.on.as_ref()), &VARIABLES)?,
            many: join.many,
            keep: self.maybe(&format!("{at}.keep"), join.keep.as_ref(), &VARIABLES)?,
        })
    }

    fn spec(&self) -> Result<Spec, DefinitionError> {
        let definition = self.definition;
        let kinds: Vec<String> = definition.records.keys().chain(&definition.kinds).cloned().collect();
        // By action: the requests that need it, and the kinds of cells in which they are made.
        let mut needs: BTreeMap<String, (Vec<&str>, BTreeSet<&str>)> = BTreeMap::new();
        for (name, request) in &definition.requests {
            for action in self.dialect.actions(&request.call) {
                let (requests, cells) = needs.entry(action).or_default();
                requests.push(name);
                cells.insert(request.cells.as_deref().unwrap_or(&definition.cells));
            }
        }
        for action in &definition.needs {
            needs.entry(action.clone()).or_default().1.insert(&definition.cells);
        }
        let needs = needs.into_iter().map(|(what, (requests, cells))| {
            let why = match requests.as_slice() {
                [] => definition.title.clone(),
                requests => requests.join(", ").replace('_', " "),
            };
            let cells = cells.into_iter().map(str::to_owned).collect();
            Need { kind: NeedKind::Action, what, why, cells }
        });
        // JSON is YAML.
        let checks = serde_json::to_string_pretty(&definition.checks)
            .map_err(|problem| self.refuse("checks", problem.to_string()))?;
        Ok(Spec {
            id: definition.id.clone(),
            version: definition.version,
            title: definition.title.clone(),
            source: definition.source.clone(),
            schedule: definition.schedule.clone(),
            deadline: definition.deadline,
            needs: needs.collect(),
            kinds,
            checks,
            inputs: Vec::new(),
            window: definition
                .window
                .as_ref()
                .map(|window| WindowSpec { overlap: window.overlap, retained: window.retained }),
        })
    }
}
