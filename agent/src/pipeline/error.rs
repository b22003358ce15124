//! What the pipeline may fail with. Every message says what was asked and what to do next.

use std::{io, path::PathBuf};

use signing::{
    bundle::BundleError,
    keys::{KeyRefusal, SignError},
    log::LogError,
    statement::StatementError,
};

use crate::{archive::ArchiveError, durable};

/// Why the pipeline could not do what it was asked for. What had been spooled before is where it was.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The agent's own disk. After a failed `spool_…` the work is still the caller's: call again once there is room; if the entry was
    /// spooled all the same, that answers [`super::Spooled::Already`].
    #[error("cannot {action} {}; check the room and the rights there", path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The archive's answer.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The log in the archive cannot be read or continued.
    #[error("{place}: the log cannot be read; run `evidenced verify` to see what is damaged")]
    Log {
        /// The archive.
        place: String,
        /// What is wrong.
        source: LogError,
    },
    /// The new checkpoint cannot be made.
    #[error("cannot grow the log")]
    Grow(#[from] LogError),
    /// The work directory is no bundle.
    #[error("the run's work directory cannot be a bundle")]
    Bundle(#[from] BundleError),
    /// The statement cannot be written.
    #[error("cannot make the statement")]
    Statement(#[from] StatementError),
    /// The key service is away or refuses.
    #[error("cannot sign; what is spooled waits and is signed once the key answers")]
    Sign(#[from] SignError),
    /// The key may not be used.
    #[error("{entry} cannot be signed; it waits until `keys.json` allows it (evidence is not lost)")]
    Key {
        /// What was to be signed.
        entry: String,
        /// Why.
        source: KeyRefusal,
    },
    /// The entry names a key that this agent does not have.
    #[error(
        "{entry} was made for the key {key_id}, which is not here: put its file back beside the key that follows it, or name it in \
         `signing.earlier`. If it is lost, have the root's custodian say so (`evidenced keys rotate --lost`)"
    )]
    KeyGone {
        /// The entry.
        entry: String,
        /// Its key.
        key_id: String,
    },
    /// A damaged entry of the spool.
    #[error("the spool's entry {entry} is damaged")]
    Entry {
        /// The entry.
        entry: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An object of the archive is not what the log says.
    #[error("{place}: {name}: {detail}; put it back from a copy, and run `evidenced verify`")]
    Damaged {
        /// The archive.
        place: String,
        /// The object.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// Somebody else appends to this log.
    #[error(
        "{place}: a second agent appends to this log: {detail}. This one appends no more, and keeps what it has in the spool. Stop one of \
         them, then start the other again"
    )]
    SecondAgent {
        /// The archive.
        place: String,
        /// What it did.
        detail: String,
    },
    /// The archive is older than, or another than, what this agent has published.
    #[error(
        "{place}: {detail}. Going on would fork the log, which every auditor with a later checkpoint would see. Put back the newest copy of \
         the archive; if there is none, start a new origin"
    )]
    Older {
        /// The archive.
        place: String,
        /// How it is known.
        detail: String,
    },
    /// The pipeline has stopped appending.
    #[error("nothing more is appended until a restart: {0}")]
    Stopped(String),
    /// A request that does not fit the pipeline's state.
    #[error("{0}")]
    Refused(String),
}

impl PipelineError {
    /// Whether it may pass by itself, or by what an operator does elsewhere: the archive is away, or a disk has no room. Then the same
    /// call is to be made again.
    pub fn may_pass(&self) -> bool {
        self.is_away() || self.is_disk_full()
    }

    /// Whether it is the archive that does not answer, or fails; not the agent's disk.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Archive(ArchiveError::Io { .. }) | Self::Log { source: LogError::Read { .. }, .. })
    }

    /// Whether it is the agent's disk that has no room.
    pub fn is_disk_full(&self) -> bool {
        !matches!(self, Self::Archive(_)) && durable::is_full(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> io::Error {
        io::ErrorKind::StorageFull.into()
    }

    #[test]
    fn a_bundle_that_found_no_room_is_tried_again_and_one_that_cannot_be_is_not() {
        let what = || "the bundle".to_owned();
        assert!(PipelineError::Bundle(BundleError::Io { what: what(), source: full() }).is_disk_full());
        assert!(
            PipelineError::Bundle(BundleError::Io { what: what(), source: io::Error::other(full()) }).is_disk_full()
        );
        assert!(!PipelineError::Bundle(BundleError::TooLarge { what: what(), limit: 1, unit: "files" }).is_disk_full());
    }

    #[test]
    fn an_archive_without_room_is_away_but_not_the_agent_s_disk() {
        let away = ArchiveError::Io { place: "x".into(), action: "create", name: "y".into(), source: full() };
        let away = PipelineError::Archive(away);
        assert!(away.may_pass() && !away.is_disk_full());
    }
}
