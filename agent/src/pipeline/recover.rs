//! The start: what the log and the spool say, brought together. It only ever does what the running pipeline does too: finish a decided
//! append, settle what is logged, spool what is to be logged. So a start after a clean stop and one after a crash are the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
};

use chrono::TimeDelta;
use signing::{
    digest::Digest,
    layout,
    log::{self, Checkpoint, Edge, LogError, MAX_CHECKPOINT},
    plan::Plan,
    seal::MAX_SEAL,
    statement::{Body as Said, Statement},
    time::Utc,
};

use super::{
    Core, PipelineError,
    append::{Log, MAX_BATCH, Whose, cached_edge, open_seal},
    history::{History, digests, is_plan, logged_plan},
    spool::{DOCUMENT, PAYLOAD, SEAL, Spool, Spooled},
    state::{State, is_due, job_of},
};
use crate::blocking::blocking;

/// The most days whose seals are listed one by one; for more of them, all seals are.
const MAX_DAYS: i64 = 100;

/// Brings log, spool and memory into agreement.
pub(super) async fn recover(core: &Core, spool: Spool) -> Result<(Log, State, Spool), PipelineError> {
    let mut log = open_log(core).await?;
    log.finish(core, Whose::Anyones).await?;
    log.cache(core).await;
    log.tidy(core, log.edge.size().saturating_sub(MAX_BATCH as u64 + 1)).await;
    log.unsettled.clear();

    let (spool, entries) = blocking(move || load(&spool).map(|entries| (spool, entries))).await?;
    let size = log.edge.size();
    for entry in &entries {
        check_not_older(core, &entry.statement, size, &entry.dir.display().to_string())?;
    }
    let oldest = entries.iter().map(|e| known_size(&e.statement)).min().unwrap_or(size);
    let mut history = {
        let (reader, place) = (core.archive.reader(), core.archive.place());
        blocking(move || History::read(reader, place, size, oldest)).await?
    };

    let (logged, pending): (Vec<_>, Vec<_>) = entries.into_iter().partition(|e| history.leaves.contains(&e.leaf));
    let orphans = orphans(core, &mut history, &pending, size).await?;

    let known = log.known();
    let core = core.clone();
    blocking(move || {
        spool.settle(&logged)?;
        // Adopted entries come before pending ones: they were uploaded, and those are uploaded in order. The last is spooled first, so
        // that after a crash the ones that are missing again come before it.
        let mut adopted = Vec::new();
        for orphan in orphans.into_iter().rev() {
            adopted.push(orphan.respool(&spool)?);
        }
        let mut state = State { known, ..history.state };
        for entry in adopted.into_iter().rev().chain(pending) {
            if let (Some(job), Some(slot)) = (job_of(&entry.statement).cloned(), slot_of(&entry.statement))
                && !is_due(&state.coverage, &job, slot)
            {
                let reason = format!("the slot of {job} at {slot} has a receipt already, or no plan names it");
                spool.quarantine(&entry.dir, entry.leaf, &reason)?;
                continue;
            }
            let plan = spooled_plan(&core, &entry)?;
            state.enter(&entry.statement, plan);
        }
        Ok((log, state, spool))
    })
    .await
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

    let cached = cached_edge(&core.state_dir, &core.origin);
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
    for name in core.archive.list("append/").await? {
        let at = name.strip_prefix("append/").and_then(|n| n.parse::<u64>().ok());
        if let Some(at) = at.filter(|at| *at > published.size) {
            return Err(older(format!(
                "it holds the decision of an append to {at} leaves, but its checkpoint has {}: the checkpoint is an older copy",
                published.size
            )));
        }
    }
    Ok(Log { edge, checkpoint: bytes, unsettled: BTreeSet::new(), stopped: None })
}

/// Reads every entry; a damaged one is quarantined.
fn load(spool: &Spool) -> Result<Vec<Spooled>, PipelineError> {
    let mut entries = Vec::new();
    for sequence in spool.pending() {
        match spool.load(sequence).and_then(|entry| entry.check_object().map(|()| entry)) {
            Ok(entry) => entries.push(entry),
            Err(PipelineError::Entry { entry, source }) => {
                let leaf = Digest::of(&fs::read(spool.dir(sequence).join(PAYLOAD)).unwrap_or_default());
                spool.quarantine(&spool.dir(sequence), leaf, &format!("{entry} is damaged: {source}"))?;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(entries)
}

fn known_size(statement: &Statement) -> u64 {
    statement.entry.checkpoint.map_or(0, |known| known.size)
}

fn check_not_older(core: &Core, statement: &Statement, size: u64, what: &str) -> Result<(), PipelineError> {
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

fn slot_of(statement: &Statement) -> Option<Utc> {
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

/// A seal in the archive that has no leaf, and whose entry is not in the spool.
struct Orphan {
    statement: Statement,
    payload: Vec<u8>,
    seal: Vec<u8>,
}

impl Orphan {
    fn respool(self, spool: &Spool) -> Result<Spooled, PipelineError> {
        let failed = spool.failed("adopt a seal into");
        let staged = spool.stage()?;
        for (name, bytes) in [(PAYLOAD, &self.payload), (SEAL, &self.seal)] {
            spool.disk.stage(&staged.join(name), |file| file.write_all(bytes)).map_err(&failed)?;
        }
        let sequence = spool.before();
        spool.publish(&staged, sequence)?;
        tracing::warn!(seal = %Statement::leaf_digest(&self.payload), "adopted a seal that the archive holds and the log does not");
        spool.load(sequence)
    }
}

/// Finds validly signed seals without a leaf, in the order of their sealing: the spool that held their entries was lost.
async fn orphans(
    core: &Core,
    history: &mut History,
    pending: &[Spooled],
    size: u64,
) -> Result<Vec<Orphan>, PipelineError> {
    let waiting: BTreeSet<_> = pending.iter().map(|entry| entry.leaf).collect();
    let mut unknown = BTreeMap::new();
    for prefix in seal_prefixes(history.since, history.state.last_sealed, core.clock.now()) {
        for name in core.archive.list(&prefix).await? {
            let digest = name.rsplit('/').next().and_then(|file| file.strip_suffix(".sigstore.json"));
            let Some(leaf) = digest.and_then(|digest| digest.parse::<Digest>().ok()) else { continue };
            if history.leaves.contains(&leaf) || waiting.contains(&leaf) {
                continue;
            }
            let Some(bytes) = core.archive.read(&name, MAX_SEAL).await? else { continue };
            match open_seal(core, &bytes) {
                Ok((statement, payload))
                    if Statement::leaf_digest(&payload) == leaf
                        && layout::seal(statement.entry.sealed_at, leaf) == name =>
                {
                    unknown.insert(leaf, Orphan { statement, payload, seal: bytes });
                }
                Ok(_) => tracing::error!(%name, "ALARM: a seal under a name that is not its own; not adopted"),
                Err(why) => tracing::error!(%name, %why, "ALARM: a seal that is not ours; not adopted"),
            }
        }
    }
    let Some(oldest) = unknown.values().map(|orphan| known_size(&orphan.statement)).min() else {
        return Ok(Vec::new());
    };
    // A leaf comes after every leaf that its entry knew of.
    for orphan in unknown.values() {
        check_not_older(core, &orphan.statement, size, "a seal in the archive")?;
    }
    let (reader, place, from) = (history.reader.clone(), history.place.clone(), history.from);
    history.leaves.extend(blocking(move || digests(&*reader, &place, size, oldest, from)).await?);
    unknown.retain(|leaf, _| !history.leaves.contains(leaf));

    let mut orphans: Vec<_> = unknown.into_values().collect();
    let plans: BTreeSet<_> =
        orphans.iter().filter(|o| is_plan(&o.statement)).map(|o| o.statement.subject[0].digest.sha256).collect();
    // Of what was sealed at the same instant: keys, what follows a plan before it, a plan, what follows that one.
    let rank = |statement: &Statement| match &statement.body {
        Said::Document(document) if document.kind == "keys" => 0,
        Said::Document(_) if is_plan(statement) => 2,
        _ if statement.entry.plan.is_some_and(|plan| plans.contains(&plan)) => 3,
        _ => 1,
    };
    orphans.sort_by_key(|o| {
        let said = &o.statement;
        (known_size(said), said.entry.sealed_at, rank(said), slot_of(said))
    });
    let mut whole = Vec::new();
    for orphan in orphans {
        let subject = &orphan.statement.subject[0];
        if matches!(orphan.statement.body, Said::Missed(_))
            || core.archive.digest(&subject.name).await? == Some(subject.digest.sha256)
        {
            whole.push(orphan);
        } else {
            let leaf = Statement::leaf_digest(&orphan.payload);
            tracing::error!(seal = %leaf, object = %subject.name, "ALARM: a seal without a leaf, whose object is gone or altered; not adopted");
        }
    }
    Ok(whole)
}

/// The days of `seal/` that may hold seals without a leaf: from the newest plan's, and its watermarks', to now.
fn seal_prefixes(since: Option<Utc>, last_sealed: Option<Utc>, now: Utc) -> Vec<String> {
    let to = last_sealed.map_or(now, |last| last.max(now));
    match since {
        Some(since) if (to - since).num_days() <= MAX_DAYS => {
            let mut days = BTreeSet::from([layout::day(to)]);
            let mut day = since;
            while day < to {
                days.insert(layout::day(day));
                day += TimeDelta::days(1);
            }
            days.into_iter().map(|day| format!("seal/{day}/")).collect()
        }
        _ => vec!["seal/".to_owned()],
    }
}
