//! The start, and the archive's return: what the log and the spool say, brought together. It only ever does what the running pipeline does
//! too: finish a decided append, settle what is logged, spool what is to be logged. So a start after a clean stop and one after a crash
//! are the same; and one without the archive is gone on with, once it is back, as a start would.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs, mem,
    sync::{Arc, PoisonError},
};

use chrono::TimeDelta;
use signing::{
    append::MAX_APPEND,
    digest::Digest,
    layout::{self, Job},
    log::{self, Checkpoint, Edge, LogError, MAX_CHECKPOINT},
    plan::Plan,
    statement::{Body as Said, Known, Statement},
    time::Utc,
};

use super::{
    Core, Inner, PipelineError,
    append::{Copied, Log, MAX_BATCH, Whose},
    cache::Cached,
    history::{History, is_plan, logged_plan},
    keys::stranded,
    orphans::{Orphan, orphans},
    spool::{DOCUMENT, PAYLOAD, Spool, Spooled},
    state::{State, is_due, job_of},
};
use crate::blocking::blocking;

/// What a look at the archive and the spool found.
struct Found {
    log: Log,
    history: History,
    /// By sequence.
    entries: BTreeMap<u64, Spooled>,
    orphans: Vec<Orphan>,
    /// Whether the archive has the `keys.json` in use.
    keys_uploaded: bool,
}

/// Brings log, spool and memory into agreement. Runs may be spooled meanwhile.
pub(super) async fn recover(inner: &Arc<Inner>) -> Result<Log, PipelineError> {
    let found = look(inner).await?;
    let inner = inner.clone();
    blocking(move || bring_together(&inner, found)).await
}

async fn look(inner: &Arc<Inner>) -> Result<Found, PipelineError> {
    let core = &inner.core;
    let mut log = open_log(core).await?;
    log.finish(core, Whose::Anyones).await?;
    let next = layout::append(log.edge.size());
    if !core.archive.removes() && core.archive.read(&next, MAX_APPEND).await?.is_some() {
        let place = core.archive.place();
        let detail = format!("it holds {next}, the decision of a later append: its checkpoint is an older copy");
        return Err(PipelineError::Older { place, detail });
    }
    log.tidy(core, log.edge.size().saturating_sub(MAX_BATCH as u64 + 1)).await;
    log.unsettled.clear();

    let entries = blocking({
        let inner = inner.clone();
        move || load(&inner.spool)
    })
    .await?;
    let size = log.edge.size();
    for entry in entries.values() {
        check_not_older(core, &entry.statement, size, &entry.dir.display().to_string())?;
    }
    let oldest = entries.values().map(|e| known_size(&e.statement)).min().unwrap_or(size);
    let (mut history, objects) = log.read_back(core).await?;
    log.keep(core, objects, true).await;
    let history = blocking(move || history.reach(oldest).map(|()| history)).await?;
    let pending = entries.values().filter(|entry| !history.leaves.contains(&entry.leaf)).map(|entry| entry.leaf);
    let pending = pending.collect();
    let (history, orphans) = orphans(core, history, &pending, size).await?;
    let document = Digest::of(&core.keys.now().document);
    let keys_uploaded = core.archive.digest(&layout::document("keys", document)).await? == Some(document);
    Ok(Found { log, history, entries, orphans, keys_uploaded })
}

fn bring_together(inner: &Inner, found: Found) -> Result<Log, PipelineError> {
    let Inner { core, spool, .. } = inner;
    let _one_at_a_time = inner.spooling.lock().unwrap_or_else(PoisonError::into_inner);
    let Found { mut log, history, mut entries, orphans, keys_uploaded } = found;
    // What was spooled since the look is in no log.
    for sequence in spool.pending() {
        if let Entry::Vacant(new) = entries.entry(sequence) {
            new.insert(spool.load(sequence)?);
        }
    }
    let (logged, pending): (Vec<_>, Vec<_>) =
        entries.into_values().partition(|entry| history.leaves.contains(&entry.leaf));
    log.unsettled = logged.into_iter().map(|entry| entry.leaf).collect();
    // Adopted entries come before pending ones: they were uploaded, and those are uploaded in order. The last is spooled first, so
    // that after a crash the ones that are missing again come before it.
    let mut adopted = Vec::new();
    for orphan in orphans.into_iter().rev() {
        adopted.push(orphan.respool(spool)?);
    }
    let mut state = State { known: log.known(), ..history.state };
    let mut strangers = BTreeSet::new();
    let keys = core.keys.now();
    let document = layout::document("keys", Digest::of(&keys.document));
    let waiting: Vec<Spooled> = adopted.into_iter().rev().chain(pending).collect();
    // It is uploaded before its leaf is logged; then its seal is there, too, and is adopted or waiting.
    let mut keys_logged = keys_uploaded && waiting.iter().all(|entry| entry.statement.subject[0].name != document);
    for entry in waiting {
        let plan = spooled_plan(core, &entry)?;
        let stranded = stranded(&keys, &entry, keys_logged);
        match stranded.or_else(|| unfit(&state, &entry, plan.as_ref(), &strangers)) {
            None => {
                keys_logged |= entry.statement.subject[0].name == document;
                state.enter(&entry.statement, plan);
            }
            Some(reason) => {
                strangers.extend(plan.map(|_| entry.statement.subject[0].digest.sha256));
                spool.quarantine(&entry.dir, entry.leaf, &reason)?;
            }
        }
    }
    let mut current = inner.state();
    let until = core.clock.now() + TimeDelta::days(1);
    if promised(&current, until) != promised(&state, until) {
        state.generation = current.generation + 1;
    } else {
        state.generation = current.generation;
    }
    drop(mem::replace(&mut *current, state));
    Ok(log)
}

/// What a scheduler follows: the plan, and the slots that have no receipt.
fn promised(state: &State, until: Utc) -> (Option<Digest>, Vec<(Job, Digest, Utc)>) {
    (state.plan.as_ref().map(|(digest, _)| *digest), state.coverage.due(until).collect())
}

/// Why an entry of the spool cannot follow what the log holds; `None` where it can. It was made without the log, from a cache that was not
/// the newest: of a disk that was restored, or copied.
fn unfit(state: &State, entry: &Spooled, plan: Option<&Plan>, strangers: &BTreeSet<Digest>) -> Option<String> {
    let said = &entry.statement;
    if let Some(under) = said.entry.plan.filter(|under| strangers.contains(under)) {
        return Some(format!("it was made under the plan {under}, which is not logged"));
    }
    if let Some(plan) = plan {
        let newest = state.plan.as_ref().map(|(digest, _)| *digest);
        if plan.previous != newest {
            return Some("the log has a newer plan than the one that this plan follows".to_owned());
        }
        if state.last_slot.is_some_and(|slot| slot >= plan.sealed_at) {
            return Some("slots after this plan's sealing have receipts under the plan before".to_owned());
        }
    }
    let (job, slot) = (job_of(said)?, slot_of(said)?);
    let due = is_due(&state.coverage, job, slot);
    (!due).then(|| format!("the slot of {job} at {slot} has a receipt already, or no plan names it"))
}

/// What the cache and the spool say while the archive is away; the error says why nothing can be collected upon it. Nothing is removed
/// or quarantined upon the cache's word.
pub(super) fn without_archive(inner: &Inner) -> Result<State, String> {
    let Inner { core, spool, .. } = inner;
    let cached = Cached::read(&core.state_dir, &core.origin).ok_or("state_dir/cache knows nothing of the log")?;
    let history = cached.history(&core.state_dir).map_err(|e| signing::errors::chain(&e))?;
    let (size, root) = (cached.edge.size(), cached.edge.root());
    let known = (size > 0).then_some(Known { size, root });
    let mut state = State { known, windows: cached.windows, ..history.state };
    let document = Digest::of(&core.keys.now().document);
    let mut has_keys = cached.keys == Some(document);
    let keys = layout::document("keys", document);
    for entry in load(spool).map_err(|e| signing::errors::chain(&e))?.into_values() {
        if known_size(&entry.statement) > size {
            return Err("state_dir/cache is older than what is in the spool".to_owned());
        }
        if history.leaves.contains(&entry.leaf) {
            continue;
        }
        let plan = spooled_plan(core, &entry).map_err(|e| signing::errors::chain(&e))?;
        if let Some(reason) = unfit(&state, &entry, plan.as_ref(), &BTreeSet::new()) {
            return Err(format!("{} does not follow what state_dir/cache knows: {reason}", entry.dir.display()));
        }
        has_keys |= entry.statement.subject[0].name == keys;
        state.enter(&entry.statement, plan);
    }
    if !has_keys {
        return Err("keys.json is not the one that the log was known to have, and must be logged first".to_owned());
    }
    Ok(state)
}

/// Reads the checkpoint, which must be ours, and the edge of its tree.
async fn open_log(core: &Core) -> Result<Log, PipelineError> {
    let place = core.archive.place();
    let failed = |source| PipelineError::Log { place: place.clone(), source };
    let older = |detail: String| PipelineError::Older { place: place.clone(), detail };
    let bytes = core.archive.read(layout::CHECKPOINT, MAX_CHECKPOINT).await?;
    let published = match &bytes {
        Some(bytes) => {
            let keys: Vec<_> = core
                .keys
                .now()
                .set
                .keys
                .iter()
                .filter(|k| k.use_ == signing::keys::Use::Checkpoints)
                .map(|k| k.spki)
                .collect();
            Checkpoint::open(bytes, &core.origin, &keys).map_err(failed)?.0
        }
        None => Checkpoint { origin: core.origin.clone(), size: 0, root: Edge::empty().root() },
    };

    let (cached, keys, windows) = match Cached::read(&core.state_dir, &core.origin) {
        Some(cached) => (Some(cached.edge), cached.keys, cached.windows),
        None => (None, None, BTreeMap::new()),
    };
    if let Some(cached) = &cached {
        if cached.size() > published.size {
            return Err(older(format!(
                "its checkpoint has {} leaves, but this agent has published one with {}: the archive was restored from an older copy, or \
                 emptied",
                published.size,
                cached.size()
            )));
        }
        if cached.size() == published.size && cached.root() != published.root {
            return Err(older(format!(
                "its checkpoint has another root than the one that this agent published for {} leaves",
                published.size
            )));
        }
    }
    let edge = match cached {
        Some(cached) if cached.size() == published.size => cached,
        other => {
            let reader = core.archive.reader();
            let published = published.clone();
            let read = blocking(move || {
                if let Some(cached) = other.filter(|c| c.size() > 0) {
                    let old = Checkpoint { size: cached.size(), root: cached.root(), origin: published.origin.clone() };
                    log::consistency(&*reader, &old, &published)?;
                }
                Edge::read(&*reader, published.size, published.root)
            });
            match read.await {
                Err(e @ LogError::Inconsistent { .. }) => return Err(older(e.to_string())),
                other => other.map_err(failed)?,
            }
        }
    };
    // Where covered decisions are removed, few are left; else there is one for every append that was ever made.
    let decisions = if core.archive.removes() { core.archive.list("append/").await? } else { Vec::new() };
    for name in decisions {
        let at = name.strip_prefix("append/").and_then(|n| n.parse::<u64>().ok());
        if let Some(at) = at.filter(|at| *at > published.size) {
            return Err(older(format!(
                "it holds the decision of an append to {at} leaves, but its checkpoint has {}: the checkpoint is an older copy",
                published.size
            )));
        }
    }
    let (unsettled, copy) = (BTreeSet::new(), Copied::NotYet);
    Ok(Log { edge, checkpoint: bytes, unsettled, stopped: None, keys, windows, copy })
}

/// Reads every entry; a damaged one is quarantined.
fn load(spool: &Spool) -> Result<BTreeMap<u64, Spooled>, PipelineError> {
    let mut entries = BTreeMap::new();
    for sequence in spool.pending() {
        match spool.load(sequence).and_then(|entry| entry.check_object().map(|()| entry)) {
            Ok(entry) => drop(entries.insert(sequence, entry)),
            Err(PipelineError::Entry { entry, source }) => {
                let leaf = Digest::of(&fs::read(spool.dir(sequence).join(PAYLOAD)).unwrap_or_default());
                spool.quarantine(&spool.dir(sequence), leaf, &format!("{entry} is damaged: {source}"))?;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(entries)
}

pub(super) fn known_size(statement: &Statement) -> u64 {
    statement.entry.checkpoint.map_or(0, |known| known.size)
}

pub(super) fn check_not_older(core: &Core, statement: &Statement, size: u64, what: &str) -> Result<(), PipelineError> {
    let knew = known_size(statement);
    if knew <= size {
        return Ok(());
    }
    let place = core.archive.place();
    let detail = format!(
        "{what} was sealed after a checkpoint with {knew} leaves, but the archive's has {size}: it is an older copy"
    );
    Err(PipelineError::Older { place, detail })
}

pub(super) fn slot_of(statement: &Statement) -> Option<Utc> {
    match &statement.body {
        Said::Receipt(receipt) => receipt.slot,
        Said::Missed(missed) => Some(missed.first),
        Said::Document(_) => None,
    }
}

/// The plan that a spooled entry is about, if it is about one.
fn spooled_plan(core: &Core, entry: &Spooled) -> Result<Option<Plan>, PipelineError> {
    if !is_plan(&entry.statement) {
        return Ok(None);
    }
    let subject = &entry.statement.subject[0];
    let bytes = match fs::read(entry.dir.join(DOCUMENT)) {
        Ok(bytes) => bytes,
        // Adopted: the archive has it.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return logged_plan(&*core.archive.reader(), &core.archive.place(), subject.digest.sha256).map(Some);
        }
        Err(source) => return Err(PipelineError::Disk { action: "read", path: entry.dir.join(DOCUMENT), source }),
    };
    let plan = serde_json::from_slice(&bytes).map_err(|e| PipelineError::Entry {
        entry: entry.dir.join(DOCUMENT).display().to_string(),
        source: Box::new(e),
    })?;
    Ok(Some(plan))
}
