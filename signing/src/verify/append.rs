//! What follows from the decision of an append that is not finished. It is unsigned: nothing rests on it but that an append is under way.

use std::collections::BTreeMap;

use super::findings::CannotVerify;
use crate::{
    errors::chain,
    layout,
    log::{Checkpoint, Edge, LogError},
    store::Reader,
};

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
            appended.map_err(|e| CannotVerify::new(layout::append(checkpoint.size), chain(&e)))?;
        }
        Err(LogError::Read { name, source }) => return Err(CannotVerify::read(&name, &source)),
        Err(_) => {}
    }
    Ok(made)
}
