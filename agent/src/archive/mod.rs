//! The archive: where sealed objects live, by name, for one origin. It is trusted for availability only: whatever is read back from it
//! is checked by whoever reads it. Nothing here knows what the objects mean.

mod dir;
mod later;
pub mod s3;

use std::{io, path::PathBuf, sync::Arc};

use collectors::contract::BoxFuture;
use signing::{digest::Digest, store::Reader};

pub use dir::DirArchive;
pub use later::{Later, Opener};
pub use s3::S3Archive;

/// What is stored.
#[derive(Debug, Clone)]
pub enum Body {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A file, streamed.
    File(PathBuf),
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// What a create-only write found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// Nothing: the object is there now.
    New,
    /// The same bytes: a success, whoever wrote them.
    Same,
}

/// How an archive reads back, for code that streams and blocks.
pub type SharedReader = Arc<dyn Reader + Send + Sync>;

/// A writer's view of one origin. Names are those of [`signing::layout`].
///
/// A store without create-only writes and compare-and-swap may implement this only where something else (a lock) keeps a second writer
/// away.
pub trait Archive: Send + Sync {
    /// Creates an object.
    ///
    /// MUST be durable when it returns, also where it finds the same bytes. MUST NOT replace other bytes: that is
    /// [`ArchiveError::OtherBytes`], an alarm. After any other failure the object is whole or absent, and the caller tries again.
    fn create<'a>(&'a self, name: &'a str, body: Body) -> BoxFuture<'a, Result<Created, ArchiveError>>;

    /// Reads an object of at most `limit` bytes. `None` MUST mean that the store has said that there is none; a refused or failed read
    /// is an error.
    fn read<'a>(&'a self, name: &'a str, limit: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, ArchiveError>>;

    /// The digest of an object's bytes, read to the end; `None` as for [`Archive::read`].
    fn digest<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Digest>, ArchiveError>>;

    /// The names of all objects below a prefix that ends at a `/`, in ascending order.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, ArchiveError>>;

    /// Replaces the checkpoint, if it still is `old` (`None`: if there is none), or is `new` already.
    ///
    /// MUST be durable and MUST compare and replace in one. Anything else there is [`ArchiveError::CheckpointMoved`].
    fn replace_checkpoint<'a>(
        &'a self,
        old: Option<&'a [u8]>,
        new: &'a [u8],
    ) -> BoxFuture<'a, Result<(), ArchiveError>>;

    /// Whether [`Archive::remove`] removes: where the agent has no right to delete, the store's own rules do, and nothing is to be listed
    /// for it.
    fn removes(&self) -> bool {
        true
    }

    /// Removes what may be removed: `append/…` and partial tiles. One that is not there is a success; any other name is refused, and
    /// so is every name where [`Archive::removes`] says no.
    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ArchiveError>>;

    /// Does what is to be done at a start and once a day, such as extending retention. It may run beside everything else.
    fn upkeep<'a>(&'a self) -> BoxFuture<'a, Result<(), ArchiveError>> {
        Box::pin(async { Ok(()) })
    }

    /// The same objects, for code that streams and blocks.
    fn reader(&self) -> SharedReader;

    /// Where it is, for messages: `directory /srv/evidence/localhost+7f3c`.
    fn place(&self) -> String;
}

/// What an archive may answer.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store failed or refused. Trying again later is right.
    #[error("{place}: cannot {action} {}; what waits for it stays in the spool and is tried again", or_it(name))]
    Io {
        /// The archive.
        place: String,
        /// `create`, `read` …
        action: &'static str,
        /// The object.
        name: String,
        /// What the store said.
        source: io::Error,
    },
    /// An object that is created once holds something else. Trying again does not help.
    #[error(
        "ALARM: {place}: {name:?} holds other bytes (SHA-256 {found}) than the ones to be stored ({ours}). Objects are created once and \
         never changed: somebody altered it, or a second agent writes here. Nothing was replaced; look at the archive's access log, then \
         run `evidenced verify`"
    )]
    OtherBytes {
        /// The archive.
        place: String,
        /// The object.
        name: String,
        /// The digest of what is there.
        found: Digest,
        /// The digest of what should be.
        ours: Digest,
    },
    /// The checkpoint is not the one that this agent published last.
    #[error(
        "{place}: the checkpoint is not the one that this agent published last: a second agent writes here, or the archive was restored \
         from a backup"
    )]
    CheckpointMoved {
        /// The archive.
        place: String,
    },
    /// Another process holds the archive.
    #[error(
        "{} is in use by another agent{}: one agent writes to an archive at a time. Stop the other one, or give this one an archive of \
         its own", path.display(), pid.map_or(String::new(), |p| format!(" (process {p})"))
    )]
    InUse {
        /// The origin's directory.
        path: PathBuf,
        /// The holder, where the system tells.
        pid: Option<u32>,
    },
    /// The store lacks what the settings ask for. Trying again does not help.
    #[error("{place}: the store does not do what the settings ask for: {lacks}")]
    Unfit {
        /// The archive.
        place: String,
        /// What, why it matters and what to do.
        lacks: String,
    },
    /// A name that this program never makes, or one that must not be removed.
    #[error("{place}: refused to {action} {name:?}")]
    Refused {
        /// The archive.
        place: String,
        /// `create`, `remove` …
        action: &'static str,
        /// The object.
        name: String,
    },
}

/// An object's name in a message, or the archive itself where there is none.
fn or_it(name: &str) -> String {
    if name.is_empty() { "it".to_owned() } else { format!("{name:?}") }
}

/// Whether an object may ever be removed: the decision of an append, once covered, and a partial tile, once full.
fn removable(name: &str) -> bool {
    name.starts_with("append/") || (name.starts_with("tile/") && name.contains(".p/"))
}
