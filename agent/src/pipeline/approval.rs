//! What people sign, on its way into the log: nothing is logged that a verifier would refuse, and nothing twice.

use std::sync::Arc;

use controls::{Requirement, catalogue};
use signing::{
    approval::{Approval, Signed},
    digest::Digest,
    errors::chain,
    layout,
    time::{Utc, rfc3339},
};

use super::{Inner, PipelineError};

/// Whether it says anything at this instant: a waiver that has not expired, a decision about an addressable specification.
///
/// # Errors
/// Why not, for the person who signs or logs it.
pub fn says_something(approval: &Approval, now: Utc) -> Result<(), String> {
    match approval {
        Approval::Waiver(waiver) if waiver.until <= now => {
            Err(format!("the waiver expired at {}", rfc3339(waiver.until)))
        }
        Approval::Decision(decision) => {
            let about = || catalogue().hipaa.iter().filter(|entry| entry.citation == decision.citation);
            if about().any(|entry| entry.requirement == Requirement::Addressable) {
                return Ok(());
            }
            Err(match about().next() {
                Some(_) => format!(
                    "{} is required (45 CFR 164.306(d)): there is nothing to decide about it",
                    decision.citation
                ),
                None => format!("{} is no entry of the HIPAA Security Rule", decision.citation),
            })
        }
        _ => Ok(()),
    }
}

impl Inner {
    /// Spools what a person signed; `false` where the log or the spool has it already.
    pub(super) async fn spool_approval(self: &Arc<Self>, bytes: Vec<u8>) -> Result<bool, PipelineError> {
        let refused = |why: String| PipelineError::Refused(format!("it is not logged: {why}"));
        let signed = Signed::from_bytes(&bytes).map_err(|e| refused(chain(&e)))?;
        // An approver may have been named just now. A drain that goes on has looked for that itself.
        if let Ok(mut link) = self.log.try_lock() {
            match self.take_keys().await {
                Ok(true) => *link = None,
                Ok(false) => {}
                Err(error) => tracing::warn!("{}", chain(&error)),
            }
        }
        let keys = self.core.keys.now();
        let now = self.now_by(&keys);
        let approver = signed.verify_under(&keys.set, now).map_err(|e| refused(chain(&e)))?;
        says_something(&signed.approval, now).map_err(refused)?;
        let kind = signed.approval.kind();
        let digest = Digest::of(&bytes);
        let name = layout::document(kind.as_str(), digest);
        if self.state().subjects.contains(&name) || self.core.archive.digest(&name).await? == Some(digest) {
            return Ok(false);
        }
        let reason = format!("{kind} by {}", approver.name.as_deref().unwrap_or_default());
        let inner = self.clone();
        crate::blocking::blocking(move || inner.spool_document(kind.as_str(), reason, &bytes)).await.map(|_| true)
    }
}
