//! A package: one entry of a log with what proves it, made from an archive and verified without one
//! ([`crate::verify::entry`]). Its objects have their names in the archive; `docs/FORMAT.md`, section 12, lists the others.

mod make;
pub mod sample;
mod zipped;

pub use make::{Made, PackageError, Put, make};
pub use zipped::Zipped;

use serde::{Deserialize, Serialize};

use crate::{
    layout,
    statement::{Body, Statement},
};

/// Says what a package is about. Nothing rests on it.
pub const ABOUT: &str = "package.json";

/// For who opens a package without a program.
pub const README: &str = "README.txt";

/// The leaf's bytes.
pub const LEAF: &str = "statement.json";

/// The value of [`About::format`].
pub const FORMAT: &str = "evidenced-package/1";

/// The content of [`ABOUT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// `evidenced-package/1`.
    pub format: String,
    /// The log.
    pub origin: String,
    /// The entry, from 0.
    pub index: u64,
}

/// `proof/<tree size>.tlog-proof`.
pub fn proof(size: u64) -> String {
    format!("proof/{size}.tlog-proof")
}

/// The size of a proof's name; `None` for any other spelling.
pub fn parse_proof(name: &str) -> Option<u64> {
    let size = name.strip_prefix("proof/")?.strip_suffix(".tlog-proof")?.parse().ok()?;
    (proof(size) == name).then_some(size)
}

/// The name of the bundle or document that a statement is about, by what it says; `None` for a document of no kind.
pub(crate) fn subject(statement: &Statement) -> Option<String> {
    let digest = statement.subject[0].digest.sha256;
    Some(match &statement.body {
        Body::Receipt(receipt) => match receipt.slot {
            Some(slot) => layout::bundle_of_slot(slot, &receipt.job, digest),
            None => layout::bundle_by_hand(receipt.started_at, &receipt.job, digest),
        },
        Body::Missed(_) => layout::document("plan", digest),
        Body::Document(document) => {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if document.kind.is_empty() || !document.kind.bytes().all(plain) {
                return None;
            }
            layout::document(&document.kind, digest)
        }
    })
}

#[cfg(test)]
mod tests;
