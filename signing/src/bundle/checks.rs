//! `checks.json`: the checks and parameters that a run's results came from. Nothing here evaluates one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The file's name in a bundle.
pub const CHECKS: &str = "checks.json";

/// The value of [`ChecksDocument::format`].
pub const CHECKS_FORMAT: &str = "evidenced-checks/1";

/// `checks.json`. The digest of its bytes is what a plan names as a job's `checks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChecksDocument {
    /// `evidenced-checks/1`.
    pub format: String,
    /// The YAML list of checks, as the collector carries it.
    pub checks: String,
    /// What the organisation set; null where it set nothing.
    pub parameters: Value,
}

/// Bytes that are no `checks.json`.
#[derive(Debug, thiserror::Error)]
pub enum ChecksError {
    /// No JSON of the format's members.
    #[error("it is malformed: {0}")]
    Malformed(serde_json::Error),
    /// Another format.
    #[error("its format is {0:?}, not {CHECKS_FORMAT:?}")]
    Format(String),
}

impl ChecksDocument {
    /// The checks' text with the organisation's parameters.
    pub fn new(checks: &str, parameters: Value) -> Self {
        Self { format: CHECKS_FORMAT.to_owned(), checks: checks.to_owned(), parameters }
    }

    /// The bytes of the file: compact JSON and a line feed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("strings and JSON values are always JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Everything that this version does not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChecksError> {
        let document: Self = serde_json::from_slice(bytes).map_err(ChecksError::Malformed)?;
        match document.format == CHECKS_FORMAT {
            true => Ok(document),
            false => Err(ChecksError::Format(document.format)),
        }
    }
}
