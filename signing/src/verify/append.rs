//! Decisions of appends, `append/<old size>`: read, and what follows from one. They are unsigned; nothing rests on them but that an
//! append is under way.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{findings::CannotVerify, order::with_source};
use crate::{
    layout,
    log::{Checkpoint, Edge, LogError},
    store::Reader,
};

/// The most bytes of one.
pub(crate) const MAX_APPEND: u64 = 16 * 1024 * 1024;

const FORMAT: &str = "evidenced-append/1";

/// The JSON of `append/<old size>`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    format: String,
    #[serde(rename = "instance")]
    _instance: String,
    old_size: u64,
    leaves: Vec<String>,
}

/// The leaves that are decided to be appended at `old`.
pub(crate) fn leaves(bytes: &[u8], old: u64) -> Result<Vec<Vec<u8>>, String> {
    let decision: Decision =
        serde_json::from_slice(bytes).map_err(|e| format!("it is no decision of an append: {e}"))?;
    if decision.format != FORMAT || decision.old_size != old || decision.leaves.is_empty() {
        return Err(format!("it does not decide an append to {old} entries"));
    }
    let leaves = decision.leaves.iter().map(|leaf| STANDARD.decode(leaf));
    leaves.collect::<Result<_, _>>().map_err(|e| format!("a leaf in it is no base64: {e}"))
}

/// The objects that appending these leaves makes, by name; none where the log's own are wrong, which is a finding already.
pub(crate) fn objects(
    reader: &dyn Reader,
    checkpoint: &Checkpoint,
    leaves: &[Vec<u8>],
) -> Result<BTreeMap<String, Vec<u8>>, CannotVerify> {
    let mut made = BTreeMap::new();
    match Edge::read(reader, checkpoint.size, checkpoint.root) {
        Ok(mut edge) => {
            let appended = edge.append(leaves, &mut |name, bytes| {
                made.insert(name, bytes);
            });
            appended.map_err(|e| CannotVerify::new(layout::append(checkpoint.size), with_source(&e)))?;
        }
        Err(LogError::Read { name, source }) => return Err(CannotVerify::read(&name, &source)),
        Err(_) => {}
    }
    Ok(made)
}
