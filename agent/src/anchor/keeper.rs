//! One authority's part: whenever the log has grown past what it anchored, and its interval has passed, it is shown the newest checkpoint.
//! Where that is set, it is shown the signatures of entries that wait in the spool too, as far as its least interval allows.

use std::{sync::Arc, time::Duration};

use signing::{
    digest::Digest,
    errors::chain,
    layout::{self, Anchor},
    statement::Anchored,
    time::{Utc, rfc3339},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    authority::{Ask, AskError, Token},
    memory::{Last, Newest},
};
use crate::{
    archive::{ArchiveError, Body},
    pipeline::{Published, jitter},
};

/// How long an authority may take, and the archive after it.
const WITHIN: Duration = Duration::from_secs(30);

/// The first wait after a failure; it doubles …
const AGAIN: Duration = Duration::from_secs(30);

/// … up to this.
const AGAIN_AT_MOST: Duration = Duration::from_secs(3600);

/// Clocks that differ by more are told.
pub const APART: Duration = Duration::from_secs(60);

/// A token whose time is later than the agent's clock by more is named by no entry: should the authority be wrong, entries would seem
/// older than their own bound.
const AHEAD: Duration = Duration::from_secs(120);

/// Why a checkpoint was not anchored.
#[derive(Debug, thiserror::Error)]
enum AnchorError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the token cannot be stored")]
    Archive(#[from] ArchiveError),
    #[error("the token cannot be stored: the archive did not answer within {} s", .0.as_secs())]
    ArchiveSlow(Duration),
}

impl AnchorError {
    fn retry_after(&self) -> Duration {
        match self {
            Self::Ask(AskError::Status { retry_after, .. }) => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }
}

/// How an authority stands with the log.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    /// Its place in the status.
    index: usize,
    url: String,
    every: Duration,
    authority: Box<dyn Ask>,
    /// The size of the tree that it anchored last.
    anchored: u64,
    /// A token that the archive did not take yet.
    held: Option<(Published, Token)>,
    failures: u32,
    /// It is not asked before.
    due: Instant,
    /// Nor, for a seal or at the last anchoring of a stop, before this.
    due_at_last: Instant,
    /// Entries of the spool before this number are not looked at for tokens in seals; `None`: none are.
    stamps_from: Option<u64>,
    /// It anchors once, at the end of `collect`, which says itself what came of it.
    once: bool,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, index: usize, url: &str, every: Duration, authority: Box<dyn Ask>) -> Self {
        let size = shared.pipeline.checkpoint().map_or(0, |known| known.size);
        let last = shared.memory.kept().authorities.get(url).copied().filter(|last| last.size <= size);
        let now = shared.clock.now();
        // A clock that was set back says nothing of how long ago it was.
        let since = last.and_then(|last| (now - last.asked_at).to_std().ok());
        let left =
            |length: Duration| Instant::now() + since.map_or(Duration::ZERO, |since| length.saturating_sub(since));
        Self {
            index,
            url: url.to_owned(),
            every,
            authority,
            anchored: last.map_or(0, |last| last.size),
            held: None,
            failures: 0,
            due: left(every.max(shared.anchor_every)),
            due_at_last: left(every),
            stamps_from: shared.in_seals.then_some(0),
            once: true,
            shared,
        }
    }

    /// Anchors until `closing`, and then what is new once more. It never fails: what goes wrong is told and tried again.
    pub(super) async fn keep(mut self, closing: CancellationToken) {
        self.once = false;
        let mut published = self.shared.pipeline.published();
        let mut spooled = self.shared.pipeline.status();
        loop {
            spooled.mark_unchanged();
            let grown = published.borrow_and_update().as_ref().is_some_and(|now| now.size > self.anchored);
            let waiting = match self.stamps_from {
                Some(from) if !grown || Instant::now() < self.due => self.shared.pipeline.unsealed(from).await,
                _ => None,
            };
            let at = match (grown, &waiting) {
                (true, None) => Some(self.due),
                (true, Some(_)) => Some(self.due.min(self.due_at_last)),
                (false, Some(_)) => Some(self.due_at_last),
                (false, None) => None,
            };
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                changed = published.changed() => if changed.is_err() { return },
                changed = spooled.changed(), if self.stamps_from.is_some() => if changed.is_err() { return },
                () = until(at) => match waiting {
                    Some(sequence) if !grown || Instant::now() < self.due => self.stamp(sequence).await,
                    _ => self.anchor(WITHIN).await,
                },
            }
        }
        self.last(super::LAST).await;
    }

    /// Asks for a token over an entry's signature, for its seal. An entry whose signature cannot be made now gets none.
    async fn stamp(&mut self, sequence: u64) {
        let begun = Instant::now();
        self.stamps_from = Some(sequence + 1);
        let signature = match self.shared.pipeline.signature(sequence).await {
            Ok(signature) => signature,
            Err(error) => {
                return tracing::debug!(authority = self.url, "no token is asked for: {}", chain(&error));
            }
        };
        match self.authority.ask(&signature, WITHIN).await {
            Ok(token) => {
                self.failures = 0;
                self.shared.tell(self.index, |told| told.error = None);
                self.due_at_last = begun + self.every;
                self.due = self.due.max(self.due_at_last);
                let now = self.shared.clock.now();
                // A seal is for ever: what cannot be right is not put into it.
                if apart(token.stamp.earliest, token.stamp.latest, now).is_none()
                    && let Err(error) = self.shared.pipeline.keep_token(sequence, token.der).await
                {
                    tracing::warn!(authority = self.url, "a token for a seal is lost: {}", chain(&error));
                }
            }
            Err(error) => self.failed(&error.into()),
        }
    }

    /// The last anchoring: what is new since the one before, unless the authority was asked too short ago.
    pub(super) async fn last(&mut self, within: Duration) {
        let size = self.shared.pipeline.published().borrow().as_ref().map_or(0, |published| published.size);
        if size <= self.anchored {
            return;
        }
        if Instant::now() < self.due_at_last {
            let wait = self.due_at_last - Instant::now();
            let why = format!("not asked again for another {} s; the next start anchors", wait.as_secs() + 1);
            return self.shared.tell(self.index, |told| told.error = Some(why));
        }
        self.anchor(within).await;
    }

    async fn anchor(&mut self, within: Duration) {
        let Some(published) = self.shared.pipeline.published().borrow().clone() else { return };
        let begun = Instant::now();
        match self.try_anchor(published, within).await {
            Ok(()) => {
                self.failures = 0;
                self.due = begun + self.every.max(self.shared.anchor_every);
                self.due_at_last = begun + self.every;
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &AnchorError) {
        let doubled = AGAIN.saturating_mul(1 << self.failures.min(16)).min(AGAIN_AT_MOST);
        let least = self.every.max(error.retry_after());
        let wait = jitter(doubled).max(least);
        self.failures = self.failures.saturating_add(1);
        self.due = Instant::now() + wait;
        self.due_at_last = Instant::now() + if self.stamps_from.is_some() { wait } else { least };
        self.complain(&chain(error), wait);
    }

    async fn try_anchor(&mut self, published: Published, within: Duration) -> Result<(), AnchorError> {
        let (published, token) = match self.held.take() {
            Some(held) => held,
            None => {
                let token = self.authority.ask(&published.bytes, within).await?;
                (published, token)
            }
        };
        let stored = tokio::time::timeout(within, self.store(&published, &token)).await;
        match stored.map_err(|_| AnchorError::ArchiveSlow(within)).and_then(|stored| Ok(stored?)) {
            Ok(()) => self.done(&published, token).await,
            Err(error) => {
                self.held = Some((published, token));
                return Err(error);
            }
        }
        Ok(())
    }

    /// The checkpoint first: a token without it would be over nothing that can be found.
    async fn store(&self, published: &Published, token: &Token) -> Result<(), ArchiveError> {
        let archive = &self.shared.pipeline.options().archive;
        let name = |bytes: &[u8], kind| layout::anchor(published.size, Digest::of(bytes), kind);
        let checkpoint = Body::Bytes(published.bytes.to_vec());
        archive.create(&name(&published.bytes, Anchor::Checkpoint), checkpoint).await?;
        archive.create(&name(&token.der, Anchor::Token), Body::Bytes(token.der.clone())).await?;
        Ok(())
    }

    async fn done(&mut self, published: &Published, token: Token) {
        let (size, now, stamp) = (published.size, self.shared.clock.now(), &token.stamp);
        self.anchored = self.anchored.max(size);
        let newest = Newest { size, checkpoint: Digest::of(&published.bytes), token: token.digest() };
        let ahead = (stamp.earliest - now).to_std().is_ok_and(|ahead| ahead > AHEAD);
        let names = !ahead && self.shared.name(Anchored { size, token: newest.token }, stamp.earliest);
        let last = Last { size: self.anchored, at: stamp.at, asked_at: now };
        let (shared, url) = (self.shared.clone(), self.url.clone());
        crate::blocking::blocking(move || {
            shared.memory.change(|kept| {
                kept.authorities.insert(url, last);
                if names {
                    kept.newest = Some(newest);
                }
            });
        })
        .await;
        let apart = apart(stamp.earliest, stamp.latest, now);
        let told = self.shared.told(self.index);
        match apart {
            Some(seconds) if told.apart_seconds.is_none() => tracing::warn!(
                authority = self.url, at = %rfc3339(stamp.at), now = %rfc3339(now),
                "the authority's clock and this one are {} s apart: set this one right, or ask another authority", seconds.abs()
            ),
            None if told.apart_seconds.is_some() => {
                tracing::info!(authority = self.url, "the authority's clock and this one agree again");
            }
            _ => {}
        }
        if told.error.is_some() {
            tracing::info!(authority = self.url, "the authority answers again");
        }
        tracing::debug!(authority = self.url, size, at = %rfc3339(stamp.at), by = stamp.authority, "the log is anchored");
        let at = stamp.at;
        self.shared.tell(self.index, |told| {
            *told = crate::control::Anchor {
                authority: std::mem::take(&mut told.authority),
                size: Some(size),
                at: Some(at),
                apart_seconds: apart,
                error: None,
            };
        });
    }

    /// Says why, once for each cause.
    fn complain(&self, why: &str, wait: Duration) {
        let told = self.shared.told(self.index);
        if self.once || told.error.as_deref().map(cause) == Some(cause(why)) {
            tracing::debug!(authority = self.url, "not anchored, and tried again in {} s: {why}", wait.as_secs());
        } else {
            tracing::warn!(authority = self.url, "not anchored, and tried again in {} s: {why}", wait.as_secs());
        }
        self.shared.tell(self.index, |told| told.error = Some(why.to_owned()));
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A message without its numbers: the same trouble, seen again.
fn cause(why: &str) -> String {
    why.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// How many seconds a token's time is ahead of the clock (less than 0: behind), where that is more than a minute.
pub fn apart(earliest: Utc, latest: Utc, now: Utc) -> Option<i64> {
    let limit = i64::try_from(APART.as_secs()).unwrap_or(i64::MAX);
    let (ahead, behind) = ((earliest - now).num_seconds(), (now - latest).num_seconds());
    (ahead > limit).then_some(ahead).or((behind > limit).then_some(-behind))
}
