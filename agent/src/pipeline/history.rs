//! The newest part of the log, read back at the start: from the newest plan before which no slot is open.

use std::{collections::BTreeSet, ops::ControlFlow};

use signing::{
    digest::Digest,
    layout,
    log::{self, TILE_WIDTH},
    plan::Plan,
    slots::{Coverage, ReadBack},
    statement::{Body as Said, Statement},
    store::Reader,
    time::Utc,
};

use super::{PipelineError, state::State};
use crate::archive::SharedReader;

/// The largest plan that is read.
pub(super) const MAX_PLAN: u64 = 64 * 1024 * 1024;

/// A plan document of the archive, by its digest.
pub(super) fn logged_plan(reader: &dyn Reader, place: &str, digest: Digest) -> Result<Plan, PipelineError> {
    let name = layout::document("plan", digest);
    let damaged = |detail: String| PipelineError::Damaged { place: place.to_owned(), name: name.clone(), detail };
    let bytes = reader
        .read(&name, MAX_PLAN)
        .map_err(|e| damaged(format!("cannot read it: {e}")))?
        .ok_or_else(|| damaged("it is gone".to_owned()))?;
    if Digest::of(&bytes) != digest {
        return Err(damaged(format!("its SHA-256 is {}", Digest::of(&bytes))));
    }
    serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))
}

/// The newest part of the log: from the plan before which nothing is open.
pub(super) struct History {
    pub(super) reader: SharedReader,
    pub(super) place: String,
    size: u64,
    pub(super) state: State,
    /// The digests of the leaves from `from` on.
    pub(super) leaves: BTreeSet<Digest>,
    pub(super) from: u64,
    /// From when on seals may have no leaf.
    pub(super) since: Option<Utc>,
}

impl History {
    /// Reads back to the plan that the newest one's watermarks ask for.
    pub(super) fn read(reader: SharedReader, place: String, size: u64) -> Result<Self, PipelineError> {
        let mut history =
            Self { reader, place, size, state: State::default(), leaves: BTreeSet::new(), from: size, since: None };
        let base = history.find_base()?;
        let start = base.map_or(0, |(index, _)| index);
        let (reader, place) = (history.reader.clone(), history.place.clone());
        each(&*reader, &place, size, start, size, &mut |index, leaf| history.feed(index, leaf, base))?;
        history.from = start;
        Ok(history)
    }

    /// Knows the leaves from `oldest` on, too.
    pub(super) fn reach(&mut self, oldest: u64) -> Result<(), PipelineError> {
        if oldest < self.from {
            self.leaves.extend(digests(&*self.reader, &self.place, self.size, oldest, self.from)?);
            self.from = oldest;
        }
        Ok(())
    }

    /// The plan to resume from; `None`: the log's start.
    fn find_base(&mut self) -> Result<Option<(u64, Digest)>, PipelineError> {
        let mut search = ReadBack::default();
        let mut end = self.size;
        while end > 0 {
            let start = (end - 1) / TILE_WIDTH * TILE_WIDTH;
            let mut plans = Vec::new();
            each(&*self.reader, &self.place, self.size, start, end, &mut |index, leaf| {
                if let Some(statement) = parse(index, leaf)
                    && is_plan(&statement)
                {
                    plans.push((index, statement.subject[0].digest.sha256, statement.entry.sealed_at));
                }
                Ok(())
            })?;
            for (index, digest, sealed_at) in plans.into_iter().rev() {
                if search.is_old_enough(sealed_at) {
                    return Ok(self.found(&search));
                }
                match logged_plan(&*self.reader, &self.place, digest) {
                    Ok(plan) if search.look_at(index, digest, &plan) => return Ok(self.found(&search)),
                    Ok(_) => {}
                    // It would only have confirmed what was found.
                    Err(e) if search.found().is_some() => {
                        tracing::error!(error = %e, "an older plan cannot be read; slots that it left open are not known");
                        return Ok(self.found(&search));
                    }
                    Err(e) => return Err(e),
                }
            }
            end = start;
        }
        Ok(self.found(&search))
    }

    fn found(&mut self, search: &ReadBack) -> Option<(u64, Digest)> {
        self.since = search.needed();
        search.found()
    }

    fn feed(&mut self, index: u64, leaf: &[u8], base: Option<(u64, Digest)>) -> Result<(), PipelineError> {
        self.leaves.insert(Statement::leaf_digest(leaf));
        let Some(statement) = parse(index, leaf) else {
            self.state.next_index = index + 1;
            return Ok(());
        };
        let plan = match is_plan(&statement) {
            true => Some(logged_plan(&*self.reader, &self.place, statement.subject[0].digest.sha256)?),
            false => None,
        };
        match (plan, base) {
            (Some(plan), Some((at, digest))) if at == index => {
                self.state.coverage = Coverage::resume(index, digest, &plan);
                self.state.last_sealed = Some(statement.entry.sealed_at);
                self.state.hold(digest, plan);
                self.state.next_index = index + 1;
            }
            (plan, _) => {
                self.state.next_index = index;
                self.state.feed(&statement, plan);
            }
        }
        Ok(())
    }
}

/// The digests of the leaves from `from` up to `to`.
fn digests(reader: &dyn Reader, place: &str, size: u64, from: u64, to: u64) -> Result<BTreeSet<Digest>, PipelineError> {
    let mut found = BTreeSet::new();
    each(reader, place, size, from, to, &mut |_, leaf| {
        found.insert(Statement::leaf_digest(leaf));
        Ok(())
    })?;
    Ok(found)
}

/// What is done with a leaf.
type Each<'a> = dyn FnMut(u64, &[u8]) -> Result<(), PipelineError> + 'a;

/// Reads the leaves from `from` up to `to` of a tree of that size.
fn each(
    reader: &dyn Reader,
    place: &str,
    size: u64,
    from: u64,
    to: u64,
    each: &mut Each<'_>,
) -> Result<(), PipelineError> {
    let mut failure = None;
    log::entries(reader, from, size, &mut |index, leaf| {
        if index >= to {
            return ControlFlow::Break(());
        }
        match each(index, leaf) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                failure = Some(e);
                ControlFlow::Break(())
            }
        }
    })
    .map_err(|source| PipelineError::Log { place: place.to_owned(), source })?;
    failure.map_or(Ok(()), Err)
}

/// What a leaf says. One that cannot be read (by a newer agent, say) is passed over: `verify` names it.
fn parse(index: u64, leaf: &[u8]) -> Option<Statement> {
    match Statement::from_bytes(leaf) {
        Ok(statement) => Some(statement),
        Err(e) => {
            tracing::warn!(index, error = %e, "a leaf of the log cannot be read and is passed over");
            None
        }
    }
}

/// Whether a leaf is a plan's.
pub(super) fn is_plan(statement: &Statement) -> bool {
    matches!(&statement.body, Said::Document(document) if document.kind == "plan")
}
