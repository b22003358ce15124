//! An archive in S3, or in a store that speaks as S3 does: objects are created once (`If-None-Match`), the checkpoint is compared and
//! replaced in one (`If-Match`), and Object Lock keeps what was written. It never deletes: what is superseded is left to the bucket's
//! lifecycle rules.

mod client;
mod config;
mod probe;
mod read;
mod retention;
mod versions;
mod write;

use std::{io, path::Path, sync::Arc};

use aws_sdk_s3::config::SharedCredentialsProvider;
use collectors::contract::BoxFuture;
use signing::digest::Digest;
use tokio::runtime::Handle;

pub use client::{AskAt, Failure, Store};
pub(crate) use config::is_endpoint;
pub use config::{LockMode, ObjectLock, S3Config, TRIAL};
pub use probe::{Answer, Found, PROBE, Property};
pub use read::{Listed, Object, S3Reader};
use retention::Last;
pub use retention::Renewed;
pub use versions::VersionedReader;
use write::{Honours, Writer};

use super::{Archive, ArchiveError, Body, Created, SharedReader};
use crate::{clock::Clock, durable::Disk};

/// One origin in a bucket. A clone is another handle.
#[derive(Clone)]
pub struct S3Archive(Arc<Inner>);

struct Inner {
    store: Store,
    writer: Writer,
    runtime: Handle,
    last: Last,
}

/// What an archive in S3 is opened with.
pub struct Open<'a> {
    /// The settings.
    pub config: &'a S3Config,
    /// The log.
    pub origin: &'a str,
    /// Keeps what was found out of the store, so that a restart does not try it again.
    pub state_dir: &'a Path,
    /// How `state_dir` is written.
    pub disk: &'a Disk,
    /// Tells until when something is kept.
    pub clock: Arc<dyn Clock>,
    /// Credentials instead of those that the AWS SDKs find: for tests.
    pub own: Option<SharedCredentialsProvider>,
}

impl std::fmt::Debug for S3Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("S3Archive").field(&self.0.store).finish()
    }
}

impl S3Archive {
    /// The origin's archive in the configured bucket. Nothing is asked yet, and the store is taken to do what S3 does. It must be called on
    /// the runtime that it is used on.
    ///
    /// # Errors
    /// Settings that cannot be used: a CA bundle that cannot be read, no region.
    pub async fn connect(open: Open<'_>) -> Result<Self, ArchiveError> {
        let Open { config, origin, state_dir, disk, clock, own } = open;
        let store = Store::connect(config, origin, own).await.map_err(|why| ArchiveError::Io {
            place: config.address(),
            action: "open",
            name: String::new(),
            source: io::Error::new(io::ErrorKind::InvalidInput, why),
        })?;
        let writer = Writer::new(store.clone(), config, clock);
        let last = Last::in_dir(state_dir, disk);
        Ok(Self(Arc::new(Inner { store, writer, runtime: Handle::current(), last })))
    }

    /// As [`S3Archive::connect`], and proves what the agent relies on: what the bucket's settings say is asked each time, what writes show
    /// is tried once and remembered. What is lacking without harm is said in the log.
    ///
    /// # Errors
    /// [`ArchiveError::Unfit`] where the store lacks what the settings ask for; [`ArchiveError::Io`] while it cannot be asked, and an
    /// earlier start did not find out either.
    pub async fn open(open: Open<'_>) -> Result<Self, ArchiveError> {
        let (config, state_dir, disk) = (open.config, open.state_dir, open.disk);
        let archive = Self::connect(open).await?;
        let store = &archive.0.store;
        let (mut found, away) = probe::settings(store).await;
        let known = probe::cached(state_dir, store, config);
        // Away, or not the right bucket; what was answered and could not be read only leaves a question open.
        let away = away.filter(|failure| !failure.answered || matches!(failure.status, Some(404 | 500..)));
        if let Some(failure) = away {
            if known.is_none() || failure.status == Some(404) {
                return Err(store.failed("open", "", failure));
            }
            tracing::warn!(
                "{}: the store cannot be asked; going on with what it was found to do before: {failure}",
                store.place()
            );
            found.clear();
        }
        let tried = match known {
            Some(known) => known,
            None => {
                let tried = probe::writes(&archive.0.writer).await;
                probe::keep(state_dir, disk, store, config, &tried);
                tried
            }
        };
        found.extend(tried);
        archive.judge(config, &found)?;
        Ok(archive)
    }

    /// What the store does, as [`S3Archive::open`] finds it, tried anew unless an earlier start did. Nothing is remembered.
    pub async fn examine(&self, config: &S3Config, state_dir: &Path) -> Vec<Found> {
        let (mut found, _) = probe::settings(&self.0.store).await;
        found.extend(match probe::cached(state_dir, &self.0.store, config) {
            Some(known) => known,
            None => probe::writes(&self.0.writer).await,
        });
        found
    }

    /// Goes on, warns or refuses, as each weakness deserves.
    fn judge(&self, config: &S3Config, found: &[Found]) -> Result<(), ArchiveError> {
        let place = self.place();
        let locks = config.object_lock.in_force().is_some();
        let mut unfit = Vec::new();
        for Found { property, answer, says } in found {
            let without = property.without();
            match (answer, property) {
                (Answer::Holds, _) => {}
                (Answer::Lacks, Property::ObjectLock | Property::Versioning) if locks => {
                    unfit.push(format!("{property}: {says}; so {without}"));
                }
                // Accepted in the configuration, and said by `validate` and `doctor`.
                (Answer::Lacks, Property::ObjectLock) => {}
                (Answer::Lacks, _) => tracing::warn!("{place}: the store lacks {property}: {says}. So {without}"),
                (Answer::CannotTell, _) => {
                    tracing::warn!("{place}: cannot tell of {property}: {says}. Without it, {without}")
                }
            }
        }
        if !unfit.is_empty() {
            return Err(ArchiveError::Unfit { place, lacks: unfit.join("; ") });
        }
        let of =
            |property| found.iter().find(|found| found.property == property).map_or(Answer::CannotTell, |f| f.answer);
        let (create_only, compare_and_swap) = (of(Property::CreateOnly), of(Property::CompareAndSwap));
        self.0.writer.relies_on(Honours { create_only, compare_and_swap });
        Ok(())
    }

    /// Extends the retention of what newer receipts need, where that is due, and ends uploads that nobody goes on with. To be called at a
    /// start and once a day. `None`: it was not due.
    ///
    /// # Errors
    /// The store's: what was not extended is tried by the next call.
    pub async fn renew(&self) -> Result<Option<Renewed>, ArchiveError> {
        let Inner { store, writer, last, .. } = &*self.0;
        let now = writer.clock.now();
        let renewed = match &writer.retention {
            Some(retention) => retention::renew(store, retention, last, now)
                .await
                .map_err(|failure| store.failed("extend the retention in", "", failure))?,
            None => None,
        };
        if renewed.is_none() && writer.retention.is_some() {
            return Ok(None);
        }
        let aborted = match retention::abort_abandoned(store, now).await {
            Ok(aborted) => aborted,
            Err(failure) => {
                tracing::warn!("{}: unfinished uploads cannot be looked for: {failure}", store.place());
                0
            }
        };
        Ok(renewed.map(|renewed| Renewed { aborted, ..renewed }))
    }

    /// The bucket, as it is asked.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    fn refused(&self, action: &'static str, name: &str) -> ArchiveError {
        ArchiveError::Refused { place: self.place(), action, name: name.to_owned() }
    }
}

impl Archive for S3Archive {
    fn create<'a>(&'a self, name: &'a str, body: Body) -> BoxFuture<'a, Result<Created, ArchiveError>> {
        Box::pin(async move {
            let plain = |part: &str| !part.is_empty() && !part.starts_with('.');
            if !name.split('/').all(plain) || name.contains(['\\', ':', '\0']) {
                return Err(self.refused("create", name));
            }
            self.0.writer.create(name, body).await
        })
    }

    fn read<'a>(&'a self, name: &'a str, limit: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, ArchiveError>> {
        Box::pin(async move {
            let store = &self.0.store;
            let object = store.get(name).await.map_err(|failure| store.failed("read", name, failure))?;
            let Some(object) = object else { return Ok(None) };
            let bytes = object.read(name, limit).await.map_err(|source| ArchiveError::Io {
                place: self.place(),
                action: "read",
                name: name.to_owned(),
                source,
            })?;
            Ok(Some(bytes))
        })
    }

    fn digest<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Digest>, ArchiveError>> {
        Box::pin(async move {
            let store = &self.0.store;
            let failed = |failure| store.failed("read", name, failure);
            match store.get(name).await.map_err(failed)? {
                Some(object) => object.digest().await.map(Some).map_err(failed),
                None => Ok(None),
            }
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, ArchiveError>> {
        Box::pin(async move {
            let store = &self.0.store;
            let listed = store.list(prefix).await.map_err(|failure| store.failed("list", prefix, failure))?;
            Ok(listed.into_iter().map(|listed| listed.name).collect())
        })
    }

    fn replace_checkpoint<'a>(
        &'a self,
        old: Option<&'a [u8]>,
        new: &'a [u8],
    ) -> BoxFuture<'a, Result<(), ArchiveError>> {
        Box::pin(self.0.writer.replace_checkpoint(old, new))
    }

    fn upkeep<'a>(&'a self) -> BoxFuture<'a, Result<(), ArchiveError>> {
        Box::pin(async move {
            if let Some(Renewed { extended, enough, aborted }) = self.renew().await? {
                tracing::info!(extended, enough, aborted, "the retention of tiles, keys and plans was looked at");
            }
            Ok(())
        })
    }

    fn removes(&self) -> bool {
        false
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ArchiveError>> {
        Box::pin(async move { Err(self.refused("remove", name)) })
    }

    fn reader(&self) -> SharedReader {
        Arc::new(S3Reader::new(self.0.store.clone(), self.0.runtime.clone()))
    }

    fn place(&self) -> String {
        self.0.store.place().to_owned()
    }
}
