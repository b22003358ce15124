//! `append/<old size>`: the decision of an append, unsigned. Its writer and its readers know nothing of leaves but their bytes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// The most bytes of one that are read.
pub const MAX_APPEND: u64 = 16 * 1024 * 1024;

const FORMAT: &str = "evidenced-append/1";

/// Which leaves follow the first `old_size`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The agent that decided, as in its entries.
    pub instance: String,
    /// The size of the tree that it appends to, as in its name.
    pub old_size: u64,
    /// The leaves, one or more.
    pub leaves: Vec<Vec<u8>>,
}

/// Bytes that decide no append at this place of the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// No JSON of the format's members.
    #[error("it is no decision of an append: {0}")]
    Malformed(serde_json::Error),
    /// Another format, another place, or no leaves.
    #[error("it does not decide an append to {0} entries")]
    Other(u64),
    /// A leaf that is no base64.
    #[error("a leaf in it is no base64: {0}")]
    Leaf(base64::DecodeError),
}

/// The members as they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: String,
    instance: String,
    old_size: u64,
    leaves: Vec<String>,
}

impl Decision {
    /// The object's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let written = Written {
            format: FORMAT.to_owned(),
            instance: self.instance.clone(),
            old_size: self.old_size,
            leaves: self.leaves.iter().map(|leaf| STANDARD.encode(leaf)).collect(),
        };
        serde_json::to_vec(&written).expect("strings and numbers are always JSON")
    }

    /// Reads `append/<old_size>`.
    ///
    /// # Errors
    /// What is no decision for this place.
    pub fn from_bytes(bytes: &[u8], old_size: u64) -> Result<Self, AppendError> {
        let written: Written = serde_json::from_slice(bytes).map_err(AppendError::Malformed)?;
        if written.format != FORMAT || written.old_size != old_size || written.leaves.is_empty() {
            return Err(AppendError::Other(old_size));
        }
        let leaves = written.leaves.iter().map(|leaf| STANDARD.decode(leaf));
        let leaves = leaves.collect::<Result<_, _>>().map_err(AppendError::Leaf)?;
        Ok(Self { instance: written.instance, old_size, leaves })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_decision_is_written_as_the_format_has_it_and_read_at_its_own_place_only() {
        let decision = Decision { instance: "00ff".into(), old_size: 2, leaves: vec![b"a".to_vec(), Vec::new()] };
        let bytes = decision.to_bytes();
        let text = r#"{"format":"evidenced-append/1","instance":"00ff","old_size":2,"leaves":["YQ==",""]}"#;
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), text);
        assert_eq!(Decision::from_bytes(&bytes, 2).unwrap(), decision);
        assert!(matches!(Decision::from_bytes(&bytes, 3), Err(AppendError::Other(3))));
        for (from, to) in [("append/1", "append/2"), (r#"["YQ==",""]"#, "[]")] {
            assert!(matches!(Decision::from_bytes(text.replace(from, to).as_bytes(), 2), Err(AppendError::Other(2))));
        }
        assert!(matches!(Decision::from_bytes(text.replace("YQ==", "YR==").as_bytes(), 2), Err(AppendError::Leaf(_))));
        let more = text.replace("\"old_size\"", "\"more\":1,\"old_size\"");
        assert!(matches!(Decision::from_bytes(more.as_bytes(), 2), Err(AppendError::Malformed(_))));
    }
}
