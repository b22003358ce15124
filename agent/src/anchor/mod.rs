//! Trusted time from outside: the published checkpoint is shown to timestamp authorities (RFC 3161), and their tokens are stored beside it.
//! Each authority is asked by itself, with a checkpoint's digest and nothing else. It never holds up collecting, sealing, appending or,
//! for longer than [`LAST`], a stop; it never asks anybody who is not configured, and keeps no answer that was not verified whole.
//!
//! A checkpoint without a token, left by a crash between the two writes, claims nothing; the next anchoring writes another.

mod authority;
mod keeper;
mod memory;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use signing::{
    layout::{self, Anchor},
    log::MAX_CHECKPOINT,
    statement::Anchored,
    time::Utc,
    timestamp::MAX_RESPONSE,
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use authority::{Ask, AskError, Authority, AuthorityError, Token};
use keeper::Keeper;
pub use keeper::apart;
use memory::Memory;
pub use memory::remembered;

use crate::{clock::Clock, config::TimestampsConfig, control, http::Client, pipeline::Pipeline};

/// How long a stop, and the end of `collect`, wait for the last anchoring.
pub const LAST: Duration = Duration::from_secs(5);

/// How long a start waits for the archive to give back the newest token.
const RESTORE: Duration = Duration::from_secs(5);

/// All authorities of a log.
pub struct Anchoring {
    shared: Arc<Shared>,
    resting: Vec<Keeper>,
    tasks: JoinSet<()>,
    closing: CancellationToken,
}

/// What they share.
struct Shared {
    pipeline: Arc<Pipeline>,
    clock: Arc<dyn Clock>,
    anchor_every: Duration,
    /// Whether tokens over signatures are asked for too.
    in_seals: bool,
    memory: Memory,
    status: watch::Sender<Vec<control::Anchor>>,
    /// The earliest time of the token that entries name.
    named: Mutex<Option<Utc>>,
}

impl Shared {
    fn told(&self, index: usize) -> control::Anchor {
        self.status.borrow()[index].clone()
    }

    fn tell(&self, index: usize, change: impl FnOnce(&mut control::Anchor)) {
        self.status.send_modify(|all| change(&mut all[index]));
    }

    /// Has entries name a token from now on, unless they name a later one; whether they do.
    fn name(&self, anchored: Anchored, earliest: Utc) -> bool {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = named.is_none_or(|before| before <= earliest);
        if newer {
            *named = Some(earliest);
            self.pipeline.name_anchor(anchored);
        }
        newer
    }
}

impl Anchoring {
    /// The configured authorities; `None` where there are none. Nobody is asked yet. Entries name the newest token that is remembered,
    /// once the archive has given it back.
    ///
    /// # Errors
    /// A `ca` that cannot be read.
    pub async fn open(pipeline: Arc<Pipeline>, config: &TimestampsConfig) -> Result<Option<Self>, AuthorityError> {
        if config.authorities.is_empty() {
            return Ok(None);
        }
        let http = Client::new()?;
        let opened: Vec<Authority> = config
            .authorities
            .iter()
            .map(|authority| Authority::open(authority, http.clone()))
            .collect::<Result<_, _>>()?;
        let authorities = config.authorities.iter().zip(&opened);
        let asked = authorities.map(|(authority, opened)| {
            let ask: Box<dyn Ask> = Box::new(opened.clone());
            (authority.url.clone(), authority.every.get(), ask)
        });
        let anchoring = Self::of(pipeline, config.anchor_every.get(), config.in_seals, asked.collect());
        if tokio::time::timeout(RESTORE, anchoring.restore(&opened)).await.is_err() {
            tracing::warn!(
                "the archive did not give back the newest token in time: entries name none until the next one"
            );
        }
        Ok(Some(anchoring))
    }

    /// Authorities that are asked in a way of the caller's own, each with its address and the least time between two requests. Nobody is
    /// asked yet, and entries name no token until the next one.
    pub fn of(
        pipeline: Arc<Pipeline>,
        anchor_every: Duration,
        in_seals: bool,
        authorities: Vec<(String, Duration, Box<dyn Ask>)>,
    ) -> Self {
        let options = pipeline.options();
        let memory = Memory::open(&options.state_dir, &options.origin, &options.disk);
        let known = memory.kept().authorities;
        let told = |url: &str| {
            let last = known.get(url);
            control::Anchor {
                authority: url.to_owned(),
                size: last.map(|last| last.size),
                at: last.map(|last| last.at),
                apart_seconds: None,
                error: None,
            }
        };
        let status = watch::Sender::new(authorities.iter().map(|(url, _, _)| told(url)).collect());
        let clock = options.clock.clone();
        let named = Mutex::default();
        let shared = Arc::new(Shared { pipeline, clock, anchor_every, in_seals, memory, status, named });
        let keepers = authorities.into_iter().enumerate();
        let resting = keepers
            .map(|(index, (url, every, authority))| Keeper::new(shared.clone(), index, &url, every, authority))
            .collect();
        Self { shared, resting, tasks: JoinSet::new(), closing: CancellationToken::new() }
    }

    /// Reads the newest token that is remembered back from the archive.
    async fn restore(&self, authorities: &[Authority]) {
        let Some(newest) = self.shared.memory.kept().newest else { return };
        let archive = &self.shared.pipeline.options().archive;
        let object = |digest, kind, limit: u64| {
            let name = layout::anchor(newest.size, digest, kind);
            async move { archive.read(&name, limit).await.ok().flatten() }
        };
        let (Some(checkpoint), Some(token)) = (
            object(newest.checkpoint, Anchor::Checkpoint, MAX_CHECKPOINT).await,
            object(newest.token, Anchor::Token, MAX_RESPONSE as u64).await,
        ) else {
            return tracing::warn!(
                "the archive does not give back the newest token: entries name none until the next one"
            );
        };
        let whole = signing::digest::Digest::of(&token) == newest.token;
        let stamp = authorities.iter().find_map(|authority| authority.verifier().verify(&token, &checkpoint).ok());
        match stamp {
            Some(stamp) if whole => {
                self.shared.name(Anchored { size: newest.size, token: newest.token }, stamp.earliest);
            }
            _ => tracing::warn!(
                "the newest token that is remembered does not verify: entries name none until the next one"
            ),
        }
    }

    /// Anchors from now on, whenever the log has grown and an authority's interval has passed.
    pub fn start(&mut self) {
        for keeper in self.resting.drain(..) {
            self.tasks.spawn(keeper.keep(self.closing.clone()));
        }
    }

    /// How each authority stands, now and after each try.
    pub fn status(&self) -> watch::Receiver<Vec<control::Anchor>> {
        self.shared.status.subscribe()
    }

    /// Anchors what is new once more, and ends, after [`LAST`] at the latest. Who did not answer until then is named in the status.
    pub async fn finish(mut self) -> Vec<control::Anchor> {
        self.closing.cancel();
        for mut keeper in self.resting.drain(..) {
            self.tasks.spawn(async move { keeper.last(LAST).await });
        }
        let size = self.shared.pipeline.published().borrow().as_ref().map(|published| published.size);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST, all).await.is_err() {
            self.tasks.abort_all();
            self.shared.status.send_modify(|all| {
                let late = |told: &&mut control::Anchor| told.size < size && told.error.is_none();
                for told in all.iter_mut().filter(late) {
                    told.error = Some(format!("it did not answer within {} s, at the end", LAST.as_secs()));
                }
            });
        }
        self.shared.status.borrow().clone()
    }
}

#[cfg(test)]
mod tests;
