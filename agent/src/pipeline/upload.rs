//! seal → upload: the bundle or document first, then the seal, each create-only under the name that its digest gives it. The same bytes
//! again are a success; so a try that was cut short is simply made again.

use signing::{layout, statement::Body as Said};

use super::{
    Core, PipelineError,
    again::again,
    blocking,
    seal::Sealed,
    spool::{Spool, Spooled},
};
use crate::archive::Body;

/// An entry whose seal, and what it is about, are in the archive.
#[derive(Debug)]
pub(super) struct Uploaded {
    pub(super) entry: Spooled,
}

/// Puts an entry's objects into the archive.
pub(super) async fn upload(core: &Core, spool: &Spool, sealed: Sealed) -> Result<Uploaded, PipelineError> {
    let Sealed { entry, seal } = sealed;
    let subject = &entry.statement.subject[0];
    match (&entry.statement.body, entry.object().map_err(spool.failed("look into an entry of"))?) {
        (Said::Missed(_), _) => {}
        (_, Some(path)) => {
            // What was damaged after its receipt was made never enters the archive under that receipt's name.
            let checked = entry.clone();
            blocking(move || checked.check_object()).await?;
            again(|| core.archive.create(&subject.name, Body::File(path.clone()))).await?;
        }
        // Adopted: the archive was found to hold it. That is asked again, since time has passed.
        (_, None) => {
            let found = again(|| core.archive.digest(&subject.name)).await?;
            if found != Some(subject.digest.sha256) {
                let detail = match found {
                    None => "it is gone".to_owned(),
                    Some(other) => format!("its SHA-256 is {other}, not {}", subject.digest.sha256),
                };
                return Err(PipelineError::Damaged { place: core.archive.place(), name: subject.name.clone(), detail });
            }
        }
    }
    let name = layout::seal(entry.statement.entry.sealed_at, entry.leaf);
    again(|| core.archive.create(&name, Body::Bytes(seal.clone()))).await?;
    Ok(Uploaded { entry })
}
