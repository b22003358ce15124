//! Collectors that are declared in YAML: what is asked, in which cells, how its end is seen, and how records follow.
//!
//! [`Declared`] is such a collector on one source. Where jq is not enough, code makes the records ([`Declared::of`]); asking, paging,
//! fan-out and the reading back are the same.

mod collect;
mod compiled;
pub mod definition;
mod derive;
mod index;
mod joins;
mod once;
pub mod reading;
pub mod system;
mod template;
#[cfg(test)]
mod tests;

use std::{io, sync::Arc};

pub use compiled::{Compiled, DefinitionError};
use jq::Val;
use serde_json::Value;

use self::{
    compiled::{Asking, Each},
    once::Once,
    reading::Reading,
    system::System,
};
use crate::contract::{BoxFuture, CollectError, Collector, Context, Evidence, Records, Spec};

/// Code that makes records of what was read.
pub type Code = fn(&Reading<'_>, &mut dyn Records) -> io::Result<()>;

/// A definition on a source.
pub struct Declared {
    compiled: Arc<Compiled>,
    system: Arc<dyn System>,
    code: Option<Code>,
}

impl Declared {
    /// Records follow by the definition's own `records`.
    ///
    /// # Errors
    /// A definition that could not run.
    pub fn new(yaml: &str, system: Arc<dyn System>) -> Result<Self, DefinitionError> {
        Ok(Self::of(Arc::new(Compiled::new(yaml, system.as_ref())?), None, system))
    }

    /// The same of a definition that was read before, for a system of the same dialect. With `code`, that makes the records of its `kinds`.
    pub fn of(compiled: Arc<Compiled>, code: Option<Code>, system: Arc<dyn System>) -> Self {
        Self { compiled, system, code }
    }
}

impl Collector for Declared {
    fn spec(&self) -> &Spec {
        &self.compiled.spec
    }

    fn collect<'a>(&'a self, context: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(collect::collect(&self.compiled, self.system.as_ref(), context))
    }

    fn derive(&self, evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
        // jq builds values as deep as its steps allow, which takes more stack than a usual thread has.
        std::thread::scope(|scope| {
            let work = || {
                let reading = Reading::new(&self.compiled, self.system.as_ref(), evidence)?;
                let mut once = Once::new(out);
                match self.code {
                    None => derive::derive(&reading, &mut once),
                    Some(code) => code(&reading, &mut once),
                }
            };
            let thread = std::thread::Builder::new().name("derive".into()).stack_size(jq::STACK_BYTES);
            let thread = thread.spawn_scoped(scope, work)?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// The rows of an answer, which was asked for `item`.
fn rows_of(asking: &Asking, item: Option<&str>, decoded: &Value) -> Result<Vec<Val>, String> {
    let answer = jq::val(decoded);
    let Some(filter) = &asking.rows else { return Ok(vec![answer]) };
    let item = item.map_or(Val::Null, |item| Val::from(item.to_owned()));
    match filter.one(&[item], answer) {
        // Null too: where a system leaves an empty list out, the definition says so (`.Rows // []`).
        Ok(Val::Arr(rows)) => Ok(rows.iter().cloned().collect()),
        Ok(_) => Err(format!("the answer has no list where the rows of {} should be", asking.name)),
        Err(why) => Err(format!("the expression for the rows of {} {why}", asking.name)),
    }
}

impl Each {
    /// The key of a row; `None`: the row is not asked for. `item` is the key that the row itself was asked for.
    fn key_of(&self, cell: &Val, item: Option<&str>, row: Val) -> Result<Option<String>, String> {
        let item = item.map_or(Val::Null, |item| Val::from(item.to_owned()));
        let variables = &[cell.clone(), item];
        match self.when.as_ref().map(|when| when.one(variables, row.clone())) {
            None | Some(Ok(Val::Bool(true))) => {}
            Some(Ok(Val::Bool(false))) => return Ok(None),
            Some(Ok(_)) => return Err("whether a row is to be asked for is not known".into()),
            Some(Err(why)) => return Err(format!("the expression for which rows are asked for {why}")),
        }
        match self.key.one(variables, row) {
            Ok(Val::TStr(key)) => Ok(Some(String::from_utf8_lossy(&key).into_owned())),
            Ok(_) => Err("the key of a row is no text".into()),
            Err(why) => Err(format!("the expression for a row's key {why}")),
        }
    }
}
