//! upload → append: leaves enter the log. An append is decided once, by creating `append/<old size>`; tiles and checkpoint follow from
//! that object and the old tree alone, so whoever finishes it, whenever, writes the same bytes. The checkpoint comes last.

use std::collections::{BTreeMap, BTreeSet};

use signing::{
    append::{Decision, MAX_APPEND},
    digest::Digest,
    keys::Use,
    layout::{self, Job},
    log::{Checkpoint, Edge, MAX_CHECKPOINT, TILE_WIDTH},
    seal::{MAX_SEAL, Seal},
    statement::{Body as Said, Known, Statement, Window},
};

use super::{
    Core, PipelineError,
    again::again,
    cache::{self, Cached, Recorder},
    history::{History, MAX_PLAN, is_plan},
    keys,
    upload::Uploaded,
};
use crate::{
    archive::{ArchiveError, Body, Created},
    blocking::blocking,
};

/// The most leaves of one append: with statements of at most 3,800 bytes, an object of about 5 MB.
pub(super) const MAX_BATCH: usize = 1_000;

/// Whose unfinished append may be finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// At the start anybody's: it was decided, and its maker is gone.
    Anyones,
    /// While running our own; another's means a second agent.
    Ours,
}

/// The log as this agent published it last.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) edge: Edge,
    /// The published checkpoint's bytes.
    pub(super) checkpoint: Option<Vec<u8>>,
    /// Leaves that are in the log while their entries are still in the spool.
    pub(super) unsettled: BTreeSet<Digest>,
    /// Why this agent appends no more.
    pub(super) stopped: Option<String>,
    /// The newest `keys.json` that is known to be in the log.
    pub(super) keys: Option<Digest>,
    /// The newest window of each job that this agent logged.
    pub(super) windows: BTreeMap<Job, Window>,
    pub(super) copy: Copied,
}

/// Whether `state_dir` has the newest part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copied {
    /// It is about to be read from the archive.
    NotYet,
    /// As of the newest append.
    Kept,
    /// It could not be written.
    Lost,
}

impl Log {
    pub(super) fn known(&self) -> Option<Known> {
        self.checkpoint.as_ref().map(|_| Known { size: self.edge.size(), root: self.edge.root() })
    }

    /// Appends a batch, or finishes what an earlier try decided for this place of the log; `true` where it was the batch.
    ///
    /// # Cancel safety
    /// What is decided is found again by the next call.
    pub(super) async fn append(&mut self, core: &Core, batch: &[Uploaded]) -> Result<bool, PipelineError> {
        if self.finish(core, Whose::Ours).await? {
            return Ok(false);
        }
        let leaves: Vec<_> = batch.iter().map(|uploaded| uploaded.entry.payload.clone()).collect();
        let decision = Decision { instance: core.instance.clone(), old_size: self.edge.size(), leaves: leaves.clone() };
        let name = layout::append(self.edge.size());
        let bytes = decision.to_bytes();
        match again(|| core.archive.create(&name, Body::Bytes(bytes.clone()))).await {
            Ok(Created::New | Created::Same) => self.complete(core, leaves).await.map(|()| true),
            // Between our look and our writing somebody else decided.
            Err(ArchiveError::OtherBytes { .. }) => self.finish(core, Whose::Ours).await.map(|_| false),
            Err(e) => Err(e.into()),
        }
    }

    /// Finishes the append that has been decided at the log's end, if there is one.
    pub(super) async fn finish(&mut self, core: &Core, whose: Whose) -> Result<bool, PipelineError> {
        let name = layout::append(self.edge.size());
        let Some(bytes) = core.archive.read(&name, MAX_APPEND).await? else { return Ok(false) };
        let damaged =
            |detail: String| PipelineError::Damaged { place: core.archive.place(), name: name.clone(), detail };
        let Decision { instance, old_size, leaves } =
            Decision::from_bytes(&bytes, self.edge.size()).map_err(|e| damaged(e.to_string()))?;
        if whose == Whose::Ours && instance != core.instance {
            let detail = format!("it decided {name}, as instance {instance}");
            return Err(self.second_agent(core, detail));
        }
        // Whoever can write to the store could have put this here: only what the receipts key sealed enters the log.
        for leaf in &leaves {
            check_sealed(core, leaf)
                .await?
                .map_err(|why| damaged(format!("a leaf of it is not sealed by us: {why}")))?;
        }
        tracing::info!(size = old_size, leaves = leaves.len(), "finishing an append that was decided");
        self.complete(core, leaves).await?;
        Ok(true)
    }

    async fn complete(&mut self, core: &Core, leaves: Vec<Vec<u8>>) -> Result<(), PipelineError> {
        let old = self.edge.size();
        let mut plans = BTreeMap::new();
        for leaf in leaves.iter().filter_map(|leaf| Statement::from_bytes(leaf).ok()).filter(is_plan) {
            let name = leaf.subject[0].name.clone();
            plans.extend(again(|| core.archive.read(&name, MAX_PLAN)).await?.map(|bytes| (name.clone(), bytes)));
        }
        let (edge, objects) = blocking({
            let (mut edge, leaves) = (self.edge.clone(), leaves.clone());
            move || {
                let mut objects = Vec::new();
                edge.append(&leaves, &mut |name, bytes| objects.push((name, bytes))).map(|()| (edge, objects))
            }
        })
        .await?;
        // Not before anything that it covers was sealed, should the clock have been set back.
        let sealed = leaves.iter().filter_map(|leaf| Statement::from_bytes(leaf).ok()).map(|s| s.entry.sealed_at).max();
        let at = sealed.map_or(core.clock.now(), |sealed| sealed.max(core.clock.now()));
        let checkpoint = Checkpoint { origin: core.origin.clone(), size: edge.size(), root: edge.root() };
        let bytes = blocking({
            let (core, before, leaves) = (core.clone(), self.checkpoint.clone(), leaves.clone());
            move || keys::sign(&core, before.as_deref(), &checkpoint, &leaves, at)
        })
        .await?;
        // Who decided for this place before us, and finished, may have removed that decision since: then the checkpoint tells.
        let found = again(|| core.archive.read(layout::CHECKPOINT, MAX_CHECKPOINT)).await?;
        if found != self.checkpoint && found.as_ref() != Some(&bytes) {
            let moved = ArchiveError::CheckpointMoved { place: core.archive.place() };
            return Err(self.second_agent(core, moved.to_string()));
        }
        for (name, bytes) in &objects {
            again(|| core.archive.create(name, Body::Bytes(bytes.clone()))).await?;
        }
        match again(|| core.archive.replace_checkpoint(self.checkpoint.as_deref(), &bytes)).await {
            Err(e @ ArchiveError::CheckpointMoved { .. }) => return Err(self.second_agent(core, e.to_string())),
            other => other?,
        }
        self.edge = edge;
        self.checkpoint = Some(bytes);
        self.unsettled.extend(leaves.iter().map(|leaf| Statement::leaf_digest(leaf)));
        for said in leaves.iter().filter_map(|leaf| Statement::from_bytes(leaf).ok()) {
            match &said.body {
                Said::Receipt(receipt) => {
                    self.windows.extend(receipt.window.map(|window| (receipt.job.clone(), window)))
                }
                Said::Document(document) if document.kind == "keys" => self.keys = Some(said.subject[0].digest.sha256),
                Said::Document(_) | Said::Missed(_) => {}
            }
        }
        if self.copy != Copied::NotYet {
            let planned = !plans.is_empty();
            self.cache(core, objects.into_iter().chain(plans).collect(), planned).await;
        }
        self.tidy(core, old).await;
        Ok(())
    }

    fn second_agent(&mut self, core: &Core, detail: String) -> PipelineError {
        let error = PipelineError::SecondAgent { place: core.archive.place(), detail };
        self.stopped = Some(error.to_string());
        error
    }

    /// Keeps the log's edge and newest part in `state_dir`. It may fail: then nothing is collected while the archive is away, until a
    /// later append has kept it.
    async fn cache(&mut self, core: &Core, mut objects: BTreeMap<String, Vec<u8>>, plans: bool) {
        let lost = self.copy == Copied::Lost;
        if lost {
            match self.read_back(core).await {
                Ok((_, seen)) => objects = seen,
                Err(e) => {
                    return tracing::warn!(error = %e, "the log's newest part could not be read back for state_dir/cache");
                }
            }
        }
        self.keep(core, objects, plans || lost).await;
    }

    /// Keeps objects of the log that were read or written, and the edge.
    pub(super) async fn keep(&mut self, core: &Core, objects: BTreeMap<String, Vec<u8>>, prune: bool) {
        let cached = Cached::new(&core.origin, self.edge.clone(), self.keys, self.windows.clone());
        let (disk, state_dir) = (core.disk.clone(), core.state_dir.clone());
        let kept = blocking(move || {
            cached.keep(&disk, &state_dir, &objects, prune).inspect_err(|_| cache::forget(&disk, &state_dir))
        });
        self.copy = match kept.await {
            Ok(()) => Copied::Kept,
            Err(e) => {
                tracing::warn!(
                    error = %e, "the log's newest part could not be kept in state_dir/cache: should the archive be away at a start before \
                    it is, nothing is collected"
                );
                Copied::Lost
            }
        };
    }

    /// The newest part of the log, and the objects that it was read from.
    pub(super) async fn read_back(&self, core: &Core) -> Result<(History, BTreeMap<String, Vec<u8>>), PipelineError> {
        let (reader, place, size) = (Recorder::new(core.archive.reader()), core.archive.place(), self.edge.size());
        blocking(move || History::read(reader.clone(), place, size).map(|history| (history, reader.seen()))).await
    }

    /// Removes covered decisions and the partial tiles of what is full by now. What cannot be removed now is removed at a later start.
    pub(super) async fn tidy(&self, core: &Core, old: u64) {
        if !core.archive.removes() {
            return;
        }
        if let Err(e) = self.try_tidy(core, old).await {
            tracing::warn!(error = %e, "superseded objects could not be removed; a later start tries again");
        }
    }

    async fn try_tidy(&self, core: &Core, old: u64) -> Result<(), ArchiveError> {
        let size = self.edge.size();
        for name in core.archive.list("append/").await? {
            if name.strip_prefix("append/").and_then(|n| n.parse().ok()).is_some_and(|at: u64| at < size) {
                core.archive.remove(&name).await?;
            }
        }
        let (mut before, mut after, mut level) = (old, size, 0);
        while after >= TILE_WIDTH {
            // Of the tiles that became full, only the first can have been a partial one that was published.
            let index = before / TILE_WIDTH;
            if index < after / TILE_WIDTH {
                let full = [signing::log::tile_name(level, index, TILE_WIDTH)];
                let entries = (level == 0).then(|| signing::log::entry_bundle_name(index, TILE_WIDTH));
                for full in full.into_iter().chain(entries) {
                    for partial in core.archive.list(&format!("{full}.p/")).await? {
                        core.archive.remove(&partial).await?;
                    }
                }
            }
            (before, after, level) = (before / TILE_WIDTH, after / TILE_WIDTH, level + 1);
        }
        Ok(())
    }
}

/// Whether a leaf is one that our receipts key sealed for this origin; the inner error says why not.
async fn check_sealed(core: &Core, leaf: &[u8]) -> Result<Result<(), String>, PipelineError> {
    let statement = match Statement::from_bytes(leaf) {
        Ok(statement) => statement,
        Err(e) => return Ok(Err(e.to_string())),
    };
    let name = layout::seal(statement.entry.sealed_at, Statement::leaf_digest(leaf));
    let Some(bytes) = core.archive.read(&name, MAX_SEAL).await? else { return Ok(Err(format!("{name} is not there"))) };
    Ok(open_seal(core, &bytes).and_then(|(_, payload)| match payload == leaf {
        true => Ok(()),
        false => Err(format!("{name} seals something else")),
    }))
}

/// Opens a seal that a valid receipts key of ours made for this origin; the error says why it is none.
pub(super) fn open_seal(core: &Core, bytes: &[u8]) -> Result<(Statement, Vec<u8>), String> {
    let seal = Seal::from_bytes(bytes).map_err(|e| e.to_string())?;
    let statement = Statement::from_bytes(&seal.payload).map_err(|e| e.to_string())?;
    let said = &statement.entry;
    if said.origin != core.origin {
        return Err(format!("it is for the origin {:?}", said.origin));
    }
    if said.key_id != seal.key_id {
        return Err("its statement names another key".to_owned());
    }
    let key = core.keys.now().set.key(&said.key_id, Use::Receipts, said.sealed_at).map_err(|e| e.to_string())?;
    seal.verify(&key).map_err(|e| e.to_string())?;
    Ok((statement, seal.payload))
}
