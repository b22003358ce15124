//! Documents beside plans and keys: when the log had them, and, of those that people sign, whose they are.

use serde::Serialize;

use super::{
    findings::{Code, Limit},
    keyring::Keyring,
    report::plural,
    times::Bounds,
};
use crate::{
    approval::{ApprovalError, Kind, Signed},
    digest::Digest,
    time::Utc,
};

/// Kinds whose contents this version reads, here or in reports.
const READ: [&str; 5] = ["controls", "population", "waiver", "response", "decision"];

/// A document that the log names, of another kind than `plan` and `keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoggedDocument {
    /// `waiver`, `controls` …
    pub kind: String,
    /// The entry that names it, from 0.
    pub index: u64,
    /// Its name below the origin.
    pub name: String,
    /// Its digest, by the entry.
    pub digest: Digest,
    /// When the entry was sealed, by the agent's clock.
    pub sealed_at: Utc,
    /// The entry was not sealed before this trusted time; `None`: none shows that.
    pub not_before: Option<Utc>,
    /// The log had the entry by this trusted time; `None`: none shows that.
    pub not_after: Option<Utc>,
    /// Of a document that people sign the approver's name, where an approver's key signed it that may. Else `None`.
    pub signer: Option<String>,
}

/// Who signed a document of entry `index`, which was sealed at `at`: the name of an approver whose key may, and has.
pub(crate) fn signer(
    kind: Kind,
    bytes: &[u8],
    origin: &str,
    keyring: &Keyring,
    (index, at, bounds): (u64, Utc, Bounds),
) -> Result<Option<String>, (Code, String)> {
    let signed = Signed::from_bytes(bytes).map_err(|e| (Code::DocumentMalformed, e.to_string()))?;
    let found = signed.approval.kind();
    if found != kind {
        return Err((Code::DocumentMalformed, format!("it is a {found}; its entry says {kind}")));
    }
    // That there are no keys at all is one finding.
    if keyring.is_empty() {
        return Ok(None);
    }
    let key = keyring.approver(index, &signed.key_id, at, bounds.latest).map_err(|r| (r.code, r.says))?;
    signed.verify(origin, key).map_err(|error| {
        let code = match error {
            ApprovalError::Origin { .. } => Code::Origin,
            ApprovalError::Name { .. } => Code::ApprovalKey,
            _ => Code::ApprovalSignature,
        };
        (code, error.to_string())
    })?;
    Ok(key.name.clone())
}

/// How many people signed, in words; `None` where there are none.
pub(crate) fn says(documents: &[LoggedDocument]) -> Option<String> {
    let count = |kind: Kind| documents.iter().filter(|d| d.kind == kind.as_str() && d.signer.is_some()).count() as u64;
    let parts: Vec<_> = Kind::ALL.into_iter().map(|kind| (count(kind), kind)).filter(|(n, _)| *n > 0).collect();
    let list: Vec<_> = parts.iter().map(|(n, kind)| plural(*n, kind.as_str())).collect();
    (!list.is_empty()).then(|| format!("signed by approvers whom the owner named: {}", list.join(", ")))
}

/// What is not read.
pub(crate) fn unread(documents: &[LoggedDocument]) -> Option<Limit> {
    let unread = documents.iter().filter(|document| !READ.contains(&&*document.kind)).count();
    let says = format!("{unread} documents are of kinds whose contents this version does not read");
    (unread > 0).then_some(Limit { code: "DOCUMENT-KIND", says })
}
