//! An archive that need not be there when the agent starts: the first ask that finds it opens it, and every ask before fails as one
//! that is away. It is never closed again.

use std::{
    io::{self, Read},
    sync::{Arc, OnceLock},
};

use collectors::contract::BoxFuture;
use signing::{digest::Digest, store::Reader};

use super::{Archive, ArchiveError, Body, Created, SharedReader};

type Opened = Result<Arc<dyn Archive>, ArchiveError>;

/// How an archive is opened.
pub type Opener = Box<dyn Fn() -> BoxFuture<'static, Opened> + Send + Sync>;

/// The archive, once it is there.
pub struct Later {
    place: String,
    open: Opener,
    opening: tokio::sync::Mutex<()>,
    archive: OnceLock<Arc<dyn Archive>>,
}

impl Later {
    /// One that `open` opens; `place` names it until then.
    pub fn new(place: String, open: Opener) -> Self {
        Self { place, open, opening: tokio::sync::Mutex::new(()), archive: OnceLock::new() }
    }

    async fn archive(&self) -> Result<&dyn Archive, ArchiveError> {
        if let Some(archive) = self.archive.get() {
            return Ok(&**archive);
        }
        let _one_at_a_time = self.opening.lock().await;
        if self.archive.get().is_none() {
            let opened = (self.open)().await?;
            let _ = self.archive.set(opened);
        }
        self.archive.get().map(|archive| &**archive).ok_or_else(|| ArchiveError::Io {
            place: self.place.clone(),
            action: "open",
            name: String::new(),
            source: io::ErrorKind::NotConnected.into(),
        })
    }
}

impl Archive for Later {
    fn create<'a>(&'a self, name: &'a str, body: Body) -> BoxFuture<'a, Result<Created, ArchiveError>> {
        Box::pin(async move { self.archive().await?.create(name, body).await })
    }

    fn read<'a>(&'a self, name: &'a str, limit: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, ArchiveError>> {
        Box::pin(async move { self.archive().await?.read(name, limit).await })
    }

    fn digest<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Digest>, ArchiveError>> {
        Box::pin(async move { self.archive().await?.digest(name).await })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, ArchiveError>> {
        Box::pin(async move { self.archive().await?.list(prefix).await })
    }

    fn replace_checkpoint<'a>(
        &'a self,
        old: Option<&'a [u8]>,
        new: &'a [u8],
    ) -> BoxFuture<'a, Result<(), ArchiveError>> {
        Box::pin(async move { self.archive().await?.replace_checkpoint(old, new).await })
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ArchiveError>> {
        Box::pin(async move { self.archive().await?.remove(name).await })
    }

    fn removes(&self) -> bool {
        self.archive.get().is_none_or(|archive| archive.removes())
    }

    fn upkeep<'a>(&'a self) -> BoxFuture<'a, Result<(), ArchiveError>> {
        Box::pin(async move { self.archive().await?.upkeep().await })
    }

    fn reader(&self) -> SharedReader {
        self.archive
            .get()
            .map_or_else(|| Arc::new(Away(self.place.clone())) as SharedReader, |archive| archive.reader())
    }

    fn place(&self) -> String {
        self.archive.get().map_or_else(|| self.place.clone(), |archive| archive.place())
    }
}

/// Reads nothing: an archive that was not opened yet is no empty one.
struct Away(String);

impl Away {
    fn error(&self) -> io::Error {
        io::Error::new(io::ErrorKind::NotConnected, format!("{} is away", self.0))
    }
}

impl Reader for Away {
    fn open(&self, _: &str) -> io::Result<Option<Box<dyn Read + Send + '_>>> {
        Err(self.error())
    }

    fn list(&self, _: &str, _: &mut dyn FnMut(&str)) -> io::Result<()> {
        Err(self.error())
    }
}
