//! The document of controls on its way into the log: written when the newest one promises something else, and only then.

use std::{
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use controls::ControlSet;
use signing::{
    digest::Digest,
    layout,
    log::{self, TILE_WIDTH},
    promise::{KIND, MAX_CONTROLS},
    statement::{Body as Said, Statement},
};

use super::{
    Inner, Pipeline, PipelineError,
    spool::{DOCUMENT, Spooled},
};
use crate::blocking::blocking;

/// The newest set of controls, by the digest of its document.
pub(super) type Newest = (Digest, ControlSet);

/// A set that waits in the spool, with its bytes where the archive does not have them yet.
type Waiting = (Digest, Option<Vec<u8>>);

/// The prefix of their names.
const PREFIX: &str = "document/controls/";

impl Pipeline {
    /// Spools a set of controls, unless the newest one, in the log or on its way there, promises the same; whether it did. Its `previous` is
    /// set here.
    ///
    /// # Errors
    /// The disk's; an archive that does not answer: what it holds is not known then, so nothing is spooled.
    ///
    /// # Cancel safety
    /// A dropped call may still finish; the next one finds what it spooled.
    pub async fn spool_controls(&self, set: ControlSet) -> Result<bool, PipelineError> {
        let mut promised = self.0.promised.lock().await;
        if promised.is_none() {
            *promised = self.0.newest_controls().await?;
        }
        if promised.as_ref().is_some_and(|(_, newest)| newest.promises_the_same(&set)) {
            return Ok(false);
        }
        let set = ControlSet { previous: promised.as_ref().map(|(digest, _)| digest.to_string()), ..set };
        let reason = if set.reason.is_empty() { REASON.to_owned() } else { set.reason.clone() };
        let digest = self.spool_document(KIND, &reason, set.to_bytes()).await?;
        *promised = Some((digest, set));
        self.0.promised_anew.store(true, Relaxed);
        Ok(true)
    }

    /// Whether this process has put a set of controls on its way into the log.
    pub fn spooled_controls(&self) -> bool {
        self.0.promised_anew.load(Relaxed)
    }
}

/// The entry's words for a set that brings none.
const REASON: &str = "no reason was given";

impl Inner {
    /// What is in the spool goes before what the archive holds.
    async fn newest_controls(self: &Arc<Self>) -> Result<Option<Newest>, PipelineError> {
        let inner = self.clone();
        let waiting = blocking(move || inner.waiting_controls()).await?;
        match waiting {
            Some((digest, Some(bytes))) => return self.read_controls(digest, &bytes).map(Some),
            Some((digest, None)) => return self.logged_controls(digest).await.map(Some),
            None => {}
        }
        if self.state().known.is_none() {
            return Ok(None);
        }
        let mut all = Vec::new();
        for name in self.core.archive.list(PREFIX).await? {
            let named = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(".json"));
            // What is not spelled so is no document; `verify` names it.
            let Some(digest) = named.and_then(|digest| digest.parse::<Digest>().ok()) else { continue };
            match self.logged_controls(digest).await {
                Ok(found) => all.push(found),
                Err(error @ PipelineError::Damaged { .. }) => {
                    tracing::error!(error = %signing::errors::chain(&error), "a set of controls in the archive cannot be used");
                }
                Err(error) => return Err(error),
            }
        }
        let followed: Vec<String> = all.iter().filter_map(|(_, set)| set.previous.clone()).collect();
        all.retain(|(digest, _)| !followed.contains(&digest.to_string()));
        if all.len() < 2 {
            return Ok(all.pop());
        }
        // Two that nobody follows: of a disk that was put back. The log tells which came last.
        let inner = self.clone();
        let last = blocking(move || inner.last_controls()).await?;
        Ok(all.into_iter().find(|(digest, _)| Some(*digest) == last))
    }

    /// The last set that waits in the spool.
    fn waiting_controls(&self) -> Result<Option<Waiting>, PipelineError> {
        for sequence in self.spool.pending().into_iter().rev() {
            let Ok(entry) = self.spool.load(sequence) else { continue };
            if let Some(digest) = controls_of(&entry.statement) {
                return bytes(&entry).map(|bytes| Some((digest, bytes)));
            }
        }
        Ok(None)
    }

    async fn logged_controls(&self, digest: Digest) -> Result<Newest, PipelineError> {
        let name = layout::document(KIND, digest);
        let bytes = self.core.archive.read(&name, MAX_CONTROLS).await?;
        let bytes = bytes.ok_or_else(|| self.damaged(&name, "it is gone".to_owned()))?;
        if Digest::of(&bytes) != digest {
            return Err(self.damaged(&name, format!("its SHA-256 is {}", Digest::of(&bytes))));
        }
        self.read_controls(digest, &bytes)
    }

    fn read_controls(&self, digest: Digest, bytes: &[u8]) -> Result<Newest, PipelineError> {
        let set = ControlSet::from_bytes(bytes).map_err(|why| self.damaged(&layout::document(KIND, digest), why))?;
        Ok((digest, set))
    }

    fn damaged(&self, name: &str, detail: String) -> PipelineError {
        PipelineError::Damaged { place: self.core.archive.place(), name: name.to_owned(), detail }
    }

    /// The set that the log names last; the whole log is gone through, from its end.
    fn last_controls(&self) -> Result<Option<Digest>, PipelineError> {
        let reader = self.core.archive.reader();
        let size = self.state().known.map_or(0, |known| known.size);
        let mut end = size;
        while end > 0 {
            let start = (end - 1) / TILE_WIDTH * TILE_WIDTH;
            let mut last = None;
            let read = log::entries(&*reader, start, size, &mut |index, leaf| {
                if index >= end {
                    return ControlFlow::Break(());
                }
                last = Statement::from_bytes(leaf).ok().and_then(|said| controls_of(&said)).or(last);
                ControlFlow::Continue(())
            });
            read.map_err(|source| PipelineError::Log { place: self.core.archive.place(), source })?;
            if last.is_some() {
                return Ok(last);
            }
            end = start;
        }
        Ok(None)
    }
}

fn controls_of(said: &Statement) -> Option<Digest> {
    matches!(&said.body, Said::Document(document) if document.kind == KIND).then(|| said.subject[0].digest.sha256)
}

fn bytes(entry: &Spooled) -> Result<Option<Vec<u8>>, PipelineError> {
    let path = entry.dir.join(DOCUMENT);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PipelineError::Disk { action: "read", path, source }),
    }
}
