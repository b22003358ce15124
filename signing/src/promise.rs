//! The document of controls, as far as a verifier knows it: what it says of controls is for those who report on them.

use serde::{Deserialize, de::IgnoredAny};

use crate::digest::Digest;

/// Its kind.
pub const KIND: &str = "controls";

/// Its format.
pub const FORMAT: &str = "evidenced-controls/1";

/// The most bytes that it may have.
pub const MAX_CONTROLS: u64 = 16 * 1024 * 1024;

/// What every document of controls begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// The log that it is for.
    pub origin: String,
    /// The document before, by digest; `None` for the first.
    pub previous: Option<Digest>,
}

/// Bytes that are no document of controls.
#[derive(Debug, thiserror::Error)]
pub enum PromiseError {
    /// Not JSON, or without the members that every one has.
    #[error("it is no set of controls")]
    Malformed(#[from] serde_json::Error),
    /// Of a later version, or of something else.
    #[error("its format is {0:?}, not {FORMAT:?}")]
    Format(String),
}

#[derive(Deserialize)]
struct Read {
    format: String,
    origin: String,
    previous: Option<Digest>,
    #[serde(rename = "controls")]
    _controls: Vec<IgnoredAny>,
    #[serde(rename = "scope")]
    _scope: Vec<IgnoredAny>,
}

impl Promise {
    /// Reads what a document begins with.
    ///
    /// # Errors
    /// [`PromiseError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PromiseError> {
        let Read { format, origin, previous, .. } = serde_json::from_slice(bytes)?;
        match format == FORMAT {
            true => Ok(Self { origin, previous }),
            false => Err(PromiseError::Format(format)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn document(format: &str) -> String {
        format!(r#"{{"format":"{format}","origin":"localhost/x","previous":null,"controls":[],"scope":[],"more":1}}"#)
    }

    #[test]
    fn another_format_and_what_is_no_set_of_controls_are_refused_apart() {
        let found = Promise::from_bytes(document(FORMAT).as_bytes()).unwrap();
        assert_eq!(found, Promise { origin: "localhost/x".into(), previous: None });
        let other = Promise::from_bytes(document("evidenced-controls/2").as_bytes());
        assert!(matches!(other, Err(PromiseError::Format(_))));
        for bytes in ["", "[]", "{}", &document(FORMAT).replace("controls\":[", "other\":["), &document(FORMAT)[..40]] {
            assert!(matches!(Promise::from_bytes(bytes.as_bytes()), Err(PromiseError::Malformed(_))), "{bytes}");
        }
    }
}
