//! Bundles: a run's files in one ZIP whose bytes follow from the files alone, and the strict reader for it.
//!
//! The reader takes the one shape that the writer makes: entries back to back, nothing before, between or after them, headers that agree,
//! names that every system can hold. So two ZIP readers cannot see different files in it. Nothing here extracts to a disk.
//!
//! # Memory
//! Files are streamed. What is held is the list of files: about 40 bytes for each, and its name.

use std::io;

use crate::digest::Digest;

mod checks;
mod facts;
mod header;
mod name;
mod read;
mod write;

pub use crate::statement::SUMS;
pub use checks::{CHECKS, CHECKS_FORMAT, ChecksDocument, ChecksError};
pub use facts::{
    Agent, Attempt, CollectorFacts, Input, MAX_RUN_FACTS, Population, RUN_FACTS, RUN_FACTS_FORMAT, RunFacts,
    SourceFacts,
};
pub use read::{Bundle, Contents, File};
pub use write::{Written, write};

/// The most files of a bundle, `SHA256SUMS` among them.
pub const MAX_FILES: usize = 2_000_000;

/// The most bytes of a bundle, and of any file in it.
pub const MAX_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// A sensible bound for the sum of a bundle's files, for [`Bundle::open`].
pub const MAX_UNPACKED: u64 = 64 * 1024 * 1024 * 1024;

/// A directory that cannot be bundled, or a bundle that cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The disk, or the archive.
    #[error("{what} could not be read or written")]
    Io {
        /// What was worked on.
        what: String,
        /// What the system answered.
        source: io::Error,
    },
    /// A name that some system cannot hold, or that leads out of the directory.
    #[error("the name {name:?} cannot be in a bundle: {why}")]
    Name {
        /// As found.
        name: String,
        /// In words.
        why: &'static str,
    },
    /// Something in the directory that is no plain file.
    #[error("{0} is no plain file")]
    NoFile(String),
    /// A file that was written to while it was bundled.
    #[error("{0} changed while it was bundled")]
    Changed(String),
    /// More files or bytes than the format, or the caller's limit, allows.
    #[error("{what} is larger than {limit} {unit}")]
    TooLarge {
        /// What.
        what: String,
        /// The bound.
        limit: u64,
        /// `bytes` or `files`.
        unit: &'static str,
    },
    /// Bytes that are no bundle of this format.
    #[error("not a bundle of this format: {0}")]
    Shape(String),
    /// A file's bytes are not what its header says.
    #[error("{name} is damaged: {what}")]
    Damaged {
        /// The file.
        name: String,
        /// In words.
        what: &'static str,
    },
    /// No such file.
    #[error("the bundle has no file {0}")]
    Missing(String),
    /// `SHA256SUMS` is not a list of names and digests in the format's spelling.
    #[error("SHA256SUMS is malformed in line {0}")]
    Sums(usize),
    /// A file that `SHA256SUMS` does not name.
    #[error("{0} is in the bundle, but not in its SHA256SUMS")]
    Unlisted(String),
    /// A file with other bytes than `SHA256SUMS` says.
    #[error("{name} has the digest {found}, but SHA256SUMS says {listed}")]
    Digest {
        /// The file.
        name: String,
        /// As computed.
        found: Digest,
        /// As listed.
        listed: Digest,
    },
}

impl BundleError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}

#[cfg(test)]
mod tests;
