//! Freezing populations: what samples of a period are drawn from is put into the log before anybody draws, as hashes.

use signing::population::{KIND, PopulationDocument};

use crate::pipeline::{Pipeline, PipelineError};

/// Spools a document that freezes populations.
///
/// # Errors
/// What is no such document, or of another log; the disk's.
pub async fn log(pipeline: &Pipeline, bytes: Vec<u8>) -> Result<(), PipelineError> {
    let document = PopulationDocument::from_bytes(&bytes).map_err(PipelineError::Refused)?;
    let origin = &pipeline.options().origin;
    if document.origin != *origin {
        let why = format!("its populations are of the log {:?}; this agent writes {origin:?}", document.origin);
        return Err(PipelineError::Refused(why));
    }
    pipeline.spool_document(KIND, "populations of a period, before anybody draws", bytes).await.map(drop)
}
