//! An archive in S3, or in a store that speaks as S3 does: objects are created once (`If-None-Match`), the checkpoint is compared and replaced in one
//! (`If-Match`), and Object Lock keeps what was written. It never deletes: what is superseded is left to the bucket's lifecycle rules.

mod client;
mod config;
mod read;
mod retention;
mod write;

use std::{io, sync::Arc};

use aws_sdk_s3::config::SharedCredentialsProvider;
use collectors::contract::BoxFuture;
use signing::digest::Digest;
use tokio::runtime::Handle;

pub use client::{AskAt, Failure, Store};
pub use config::{LockMode, ObjectLock, S3Config, TRIAL};
pub use read::{Listed, Object, S3Reader};
use write::Writer;

use super::{Archive, ArchiveError, Body, Created, SharedReader};
use crate::clock::Clock;

/// One origin in a bucket. A clone is another handle.
#[derive(Clone)]
pub struct S3Archive(Arc<Inner>);

struct Inner {
    store: Store,
    writer: Writer,
    runtime: Handle,
}

impl std::fmt::Debug for S3Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("S3Archive").field(&self.0.store).finish()
    }
}

impl S3Archive {
    /// The origin's archive in the configured bucket. Nothing is asked yet. It must be called on the runtime that it is used on; `own`
    /// are credentials instead of those that the AWS SDKs find, for tests.
    ///
    /// # Errors
    /// Settings that cannot be used: a CA bundle that cannot be read, no region.
    pub async fn connect(
        config: &S3Config,
        origin: &str,
        clock: Arc<dyn Clock>,
        own: Option<SharedCredentialsProvider>,
    ) -> Result<Self, ArchiveError> {
        let store = Store::connect(config, origin, own).await.map_err(|why| ArchiveError::Io {
            place: config.address(),
            action: "open",
            name: String::new(),
            source: io::Error::new(io::ErrorKind::InvalidInput, why),
        })?;
        let writer = Writer::new(store.clone(), config, clock);
        Ok(Self(Arc::new(Inner { store, writer, runtime: Handle::current() })))
    }

    /// The bucket, as it is asked.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// For a store that does not keep writers apart: from now on a look goes before each write. It is enough for one agent, and for no
    /// more.
    pub fn look_first(&self) {
        self.0.writer.look_first();
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
