//! What people sign: waivers of deviations, management's responses to them, and decisions about addressable specifications of the HIPAA
//! Security Rule. Each is a DSSE envelope by an approver's key, which the owner's keys name, and becomes a document of the log.
//!
//! None of them changes what was found: they are printed beside it. Nothing here reads a clock.

use std::fmt;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    errors::chain,
    keys::{KeyEntry, KeyRefusal, KeySet, SignError, Signer, Use, is_name},
    layout::Job,
    seal::{Envelope, Opened, SealError, pae},
    time::{Utc, rfc3339},
};

/// The most bytes of a signed document.
pub const MAX_APPROVAL: u64 = 32 * 1024;
/// The most characters of a reason, a response, an alternative.
pub const MAX_TEXT: usize = 8_000;
/// The most characters of a name or id of something.
pub const MAX_ID: usize = 300;
/// The most records that one waiver names.
pub const MAX_RECORDS: usize = 500;

/// The kinds of documents that people sign, as `document/<kind>/` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// See [`Waiver`].
    Waiver,
    /// See [`Response`].
    Response,
    /// See [`Decision`].
    Decision,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Waiver, Self::Response, Self::Decision];

    /// `waiver`, `response` or `decision`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiver => "waiver",
            Self::Response => "response",
            Self::Decision => "decision",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// DSSE's payload type.
    pub fn payload_type(self) -> &'static str {
        match self {
            Self::Waiver => "application/vnd.evidenced.waiver+json",
            Self::Response => "application/vnd.evidenced.response+json",
            Self::Decision => "application/vnd.evidenced.decision+json",
        }
    }

    /// The value of the payload's `format`.
    pub fn format(self) -> &'static str {
        match self {
            Self::Waiver => "evidenced-waiver/1",
            Self::Response => "evidenced-response/1",
            Self::Decision => "evidenced-decision/1",
        }
    }

    /// How a report names a document of this kind: `W-`, `R-` or `H-` and the first 12 hex digits of its digest.
    pub fn id(self, document: Digest) -> String {
        let letter = match self {
            Self::Waiver => 'W',
            Self::Response => 'R',
            Self::Decision => 'H',
        };
        format!("{letter}-{}", &document.to_string()[..12])
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A deviation is accepted until a day. It stays a deviation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// `evidenced-waiver/1`.
    pub format: String,
    /// The log that it is for.
    pub origin: String,
    /// The approver's name, as the owner's keys have it.
    pub approver: String,
    /// By the approver's clock: it proves nothing.
    pub made_at: Utc,
    /// The control whose deviations are accepted, by id. It, `check`, or both.
    pub control: Option<String>,
    /// The check: `<collector>/<check>`, such as `aws/iam-users/mfa-enrolled`.
    pub check: Option<String>,
    /// In this job only; `None`: in all.
    pub job: Option<Job>,
    /// Of these records.
    pub records: Records,
    /// Why.
    pub reason: String,
    /// The first instant at which it no longer applies.
    pub until: Utc,
    /// The id of a control that makes up for it meanwhile, or words about one.
    pub compensating: Option<String>,
}

/// Which records a waiver is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Records {
    /// `"all"`.
    All(All),
    /// By id.
    These(Vec<String>),
}

impl Records {
    /// All of them.
    pub const ALL: Self = Self::All(All::All);

    /// Whether a record is among them.
    pub fn has(&self, record: &str) -> bool {
        match self {
            Self::All(_) => true,
            Self::These(these) => these.iter().any(|id| id == record),
        }
    }
}

/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum All {
    /// `all`.
    All,
}

/// Management's word about a deviation, or about a control's deviations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// `evidenced-response/1`.
    pub format: String,
    /// The log that it is for.
    pub origin: String,
    /// The approver's name, as the owner's keys have it.
    pub approver: String,
    /// By the approver's clock: it proves nothing.
    pub made_at: Utc,
    /// The deviation, as reports name it: `D-` and 12 hex digits. It or `control`, not both.
    pub deviation: Option<String>,
    /// The control, by id.
    pub control: Option<String>,
    /// What management says.
    pub text: String,
    /// What is done about it.
    pub remediation: Option<String>,
    /// By which day.
    pub remediation_by: Option<NaiveDate>,
}

/// What was decided about an addressable specification (45 CFR 164.306(d)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// `evidenced-decision/1`.
    pub format: String,
    /// The log that it is for.
    pub origin: String,
    /// The approver's name, as the owner's keys have it.
    pub approver: String,
    /// By the approver's clock: it proves nothing.
    pub made_at: Utc,
    /// The specification: `164.312(a)(2)(iv)`. Whether it is addressable, a catalogue tells.
    pub citation: String,
    /// What was decided.
    pub decision: Choice,
    /// Why.
    pub reason: String,
    /// What is done instead; required with [`Choice::Alternative`].
    pub alternative: Option<String>,
}

/// What may be decided about an addressable specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// As it is written.
    Implemented,
    /// Something else in its place.
    Alternative,
    /// It is not reasonable and appropriate here.
    NotReasonable,
}

impl Choice {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Implemented => "implemented",
            Self::Alternative => "alternative implemented",
            Self::NotReasonable => "not reasonable and appropriate",
        }
    }
}

/// What a person signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approval {
    /// A waiver.
    Waiver(Waiver),
    /// A response.
    Response(Response),
    /// A decision.
    Decision(Decision),
}

/// What cannot be signed, or not be believed.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    /// More than [`MAX_APPROVAL`] bytes.
    #[error("it has {0} bytes; a signed document has at most {MAX_APPROVAL}")]
    TooLong(usize),
    /// No DSSE envelope of such a document with one signature.
    #[error("it is no signed document of the kind: {0}")]
    Envelope(String),
    /// Not spelled as [`Signed::to_bytes`] spells it: the same document could be logged twice.
    #[error("its envelope is not spelled as the format spells it")]
    Spelling,
    /// Not the payload of its kind.
    #[error("what was signed is malformed: {0}")]
    Json(#[from] serde_json::Error),
    /// A member with a value that the format does not allow.
    #[error("its {member} is not allowed: {wanted}")]
    Member {
        /// The member's name.
        member: &'static str,
        /// What the format asks for.
        wanted: String,
    },
    /// For another log.
    #[error("it is for the log {found:?}, not {wanted:?}")]
    Origin {
        /// In it.
        found: String,
        /// The log at hand.
        wanted: String,
    },
    /// By no key that may sign it.
    #[error("it is by no approver's key: {0}")]
    Key(#[from] KeyRefusal),
    /// In another person's name.
    #[error("it names {found:?}, but the key {key_id} is {named}'s")]
    Name {
        /// The key that it was signed with.
        key_id: String,
        /// Whose key it is.
        named: String,
        /// Who it says signed it.
        found: String,
    },
    /// Altered, or signed by another key.
    #[error("its signature is not by the key {0}")]
    Signature(String),
    /// The approver's key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl Approval {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Waiver(_) => Kind::Waiver,
            Self::Response(_) => Kind::Response,
            Self::Decision(_) => Kind::Decision,
        }
    }

    /// The log that it is for.
    pub fn origin(&self) -> &str {
        match self {
            Self::Waiver(Waiver { origin, .. })
            | Self::Response(Response { origin, .. })
            | Self::Decision(Decision { origin, .. }) => origin,
        }
    }

    /// Who it says signed it.
    pub fn approver(&self) -> &str {
        match self {
            Self::Waiver(Waiver { approver, .. })
            | Self::Response(Response { approver, .. })
            | Self::Decision(Decision { approver, .. }) => approver,
        }
    }

    /// When, by the approver's clock.
    pub fn made_at(&self) -> Utc {
        match self {
            Self::Waiver(Waiver { made_at, .. })
            | Self::Response(Response { made_at, .. })
            | Self::Decision(Decision { made_at, .. }) => *made_at,
        }
    }

    /// What it is about, in words.
    pub fn subject(&self) -> String {
        match self {
            Self::Waiver(waiver) => {
                let mut parts = Vec::new();
                parts.extend(waiver.control.iter().map(|control| format!("control {control}")));
                parts.extend(waiver.check.iter().map(|check| format!("check {check}")));
                parts.extend(waiver.job.iter().map(|job| format!("in {job}")));
                parts.push(match &waiver.records {
                    Records::All(_) => "all records".to_owned(),
                    Records::These(these) => format!("records {}", these.join(", ")),
                });
                parts.join(", ")
            }
            Self::Response(Response { deviation: Some(deviation), .. }) => format!("deviation {deviation}"),
            Self::Response(response) => format!("control {}", response.control.as_deref().unwrap_or_default()),
            Self::Decision(decision) => decision.citation.clone(),
        }
    }

    /// What it says, in words.
    pub fn text(&self) -> String {
        match self {
            Self::Waiver(waiver) => {
                let compensating = waiver.compensating.iter().map(|by| format!(" Meanwhile: {by}")).collect::<String>();
                format!("{}{compensating}", waiver.reason)
            }
            Self::Response(response) => {
                let by = response.remediation_by.map_or(String::new(), |day| format!(" (by {day})"));
                let remediation = response.remediation.iter().map(|what| format!(" Remediation{by}: {what}"));
                format!("{}{}", response.text, remediation.collect::<String>())
            }
            Self::Decision(decision) => {
                let instead = decision.alternative.iter().map(|what| format!(" Instead: {what}")).collect::<String>();
                format!("{}: {}{instead}", decision.decision.words(), decision.reason)
            }
        }
    }

    /// Whether every member is one that the format allows.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), ApprovalError> {
        let format = match self {
            Self::Waiver(Waiver { format, .. })
            | Self::Response(Response { format, .. })
            | Self::Decision(Decision { format, .. }) => format,
        };
        let wanted = self.kind().format();
        demand("format", format == wanted, || format!("it is {format:?}, not {wanted:?}"))?;
        demand("origin", !self.origin().is_empty(), || "it names a log".to_owned())?;
        demand("approver", is_name(self.approver()), || "it is the name of a person, in plain text".to_owned())?;
        match self {
            Self::Waiver(waiver) => waiver.check(),
            Self::Response(response) => response.check(),
            Self::Decision(decision) => decision.check(),
        }
    }

    fn payload(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::Waiver(waiver) => serde_json::to_vec(waiver),
            Self::Response(response) => serde_json::to_vec(response),
            Self::Decision(decision) => serde_json::to_vec(decision),
        }
    }

    fn from_payload(kind: Kind, payload: &[u8]) -> Result<Self, ApprovalError> {
        let approval = match kind {
            Kind::Waiver => Self::Waiver(serde_json::from_slice(payload)?),
            Kind::Response => Self::Response(serde_json::from_slice(payload)?),
            Kind::Decision => Self::Decision(serde_json::from_slice(payload)?),
        };
        approval.check()?;
        Ok(approval)
    }
}

fn demand(member: &'static str, fits: bool, wanted: impl FnOnce() -> String) -> Result<(), ApprovalError> {
    if fits { Ok(()) } else { Err(ApprovalError::Member { member, wanted: wanted() }) }
}

/// Words of a person: not empty, no control characters but line feeds.
fn demand_text(member: &'static str, text: &str) -> Result<(), ApprovalError> {
    let plain = text.chars().all(|c| c == '\n' || !c.is_control()) && !text.trim().is_empty();
    demand(member, plain && text.chars().count() <= MAX_TEXT, || {
        format!("it is plain text of 1 to {MAX_TEXT} characters")
    })
}

/// The name or id of something.
fn demand_id(member: &'static str, id: &str) -> Result<(), ApprovalError> {
    let plain = !id.is_empty() && !id.chars().any(char::is_control);
    demand(member, plain && id.chars().count() <= MAX_ID, || format!("it is 1 to {MAX_ID} characters on one line"))
}

impl Waiver {
    fn check(&self) -> Result<(), ApprovalError> {
        demand("control", self.control.is_some() || self.check.is_some(), || {
            "a waiver names a control, a check, or both".to_owned()
        })?;
        self.control.iter().try_for_each(|id| demand_id("control", id))?;
        if let Some(check) = &self.check {
            demand_id("check", check)?;
            demand(
                "check",
                check.rsplit_once('/').is_some_and(|(collector, id)| !collector.is_empty() && !id.is_empty()),
                || "it is `<collector>/<check>`, such as `aws/iam-users/mfa-enrolled`".to_owned(),
            )?;
        }
        if let Records::These(these) = &self.records {
            demand("records", (1..=MAX_RECORDS).contains(&these.len()), || {
                format!("they are \"all\", or 1 to {MAX_RECORDS} ids")
            })?;
            these.iter().try_for_each(|id| demand_id("records", id))?;
        }
        demand_text("reason", &self.reason)?;
        self.compensating.iter().try_for_each(|text| demand_text("compensating", text))?;
        demand("until", self.until > self.made_at, || {
            format!("it is {}, and the waiver was made at {}", rfc3339(self.until), rfc3339(self.made_at))
        })
    }
}

impl Response {
    fn check(&self) -> Result<(), ApprovalError> {
        demand("deviation", self.deviation.is_some() != self.control.is_some(), || {
            "a response names a deviation or a control, not both".to_owned()
        })?;
        if let Some(id) = &self.deviation {
            let hex = id.strip_prefix("D-").filter(|hex| hex.len() == 12);
            let fits = hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
            demand("deviation", fits, || "it is `D-` and 12 hex digits, as the report names it".to_owned())?;
        }
        self.control.iter().try_for_each(|id| demand_id("control", id))?;
        demand_text("text", &self.text)?;
        self.remediation.iter().try_for_each(|text| demand_text("remediation", text))?;
        demand("remediation_by", self.remediation_by.is_none() || self.remediation.is_some(), || {
            "there is a day only with a remediation".to_owned()
        })
    }
}

impl Decision {
    fn check(&self) -> Result<(), ApprovalError> {
        demand("citation", is_citation(&self.citation), || {
            "it is a paragraph of 45 CFR part 164, such as `164.312(a)(2)(iv)`".to_owned()
        })?;
        demand_text("reason", &self.reason)?;
        demand("alternative", (self.decision == Choice::Alternative) == self.alternative.is_some(), || {
            "it is there with the decision `alternative`, and only then".to_owned()
        })?;
        self.alternative.iter().try_for_each(|text| demand_text("alternative", text))
    }
}

/// `164.` with three digits, then paragraphs in parentheses.
fn is_citation(text: &str) -> bool {
    let Some((section, mut rest)) = text.strip_prefix("164.").and_then(|rest| rest.split_at_checked(3)) else {
        return false;
    };
    while let Some((paragraph, more)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        if !(1..=5).contains(&paragraph.len()) || !paragraph.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return false;
        }
        rest = more;
    }
    section.bytes().all(|b| b.is_ascii_digit()) && rest.is_empty()
}

/// A signed document. Reading one verifies nothing but its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What was signed.
    pub approval: Approval,
    /// The fingerprint of the key that is said to have signed.
    pub key_id: String,
    payload: Vec<u8>,
    signature: [u8; 64],
}

impl Signed {
    /// Signs a document.
    ///
    /// # Errors
    /// One that the format does not allow, or that is too long; the key's failures.
    pub fn new(approval: Approval, key: &dyn Signer) -> Result<Self, ApprovalError> {
        approval.check()?;
        let payload = approval.payload()?;
        let signature = key.sign(&pae(approval.kind().payload_type(), &payload))?;
        let signed = Self { approval, key_id: key.public().fingerprint(), payload, signature };
        match signed.to_bytes().len() {
            length if length as u64 > MAX_APPROVAL => Err(ApprovalError::TooLong(length)),
            _ => Ok(signed),
        }
    }

    /// The envelope's one spelling: the bytes of the document.
    pub fn to_bytes(&self) -> Vec<u8> {
        let kind = self.approval.kind();
        let envelope = Envelope::new(kind.payload_type(), &self.payload, &self.key_id, &self.signature);
        serde_json::to_vec(&envelope).expect("strings and lists are always JSON")
    }

    /// Reads a document of whichever kind its envelope names.
    ///
    /// # Errors
    /// Whatever is too long, malformed, not allowed, or spelled otherwise.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ApprovalError> {
        if bytes.len() as u64 > MAX_APPROVAL {
            return Err(ApprovalError::TooLong(bytes.len()));
        }
        let envelope: Envelope = serde_json::from_slice(bytes).map_err(|e| ApprovalError::Envelope(e.to_string()))?;
        let found = Kind::ALL.into_iter().find(|kind| kind.payload_type() == envelope.payload_type());
        let Some(kind) = found else {
            return Err(ApprovalError::Envelope(format!("its payload type is {:?}", envelope.payload_type())));
        };
        let malformed = |error: SealError| ApprovalError::Envelope(chain(&error));
        let Opened { payload, key_id, signature } = envelope.open(kind.payload_type()).map_err(malformed)?;
        let signed = Self { approval: Approval::from_payload(kind, &payload)?, key_id, payload, signature };
        match signed.to_bytes() == bytes {
            true => Ok(signed),
            false => Err(ApprovalError::Spelling),
        }
    }

    /// The payload as it was signed: JSON.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Whether it is for this log, and signed by this key in the name of its holder. Whether the key may sign is the caller's question.
    ///
    /// # Errors
    /// What does not agree.
    pub fn verify(&self, origin: &str, key: &KeyEntry) -> Result<(), ApprovalError> {
        if self.approval.origin() != origin {
            let found = self.approval.origin().to_owned();
            return Err(ApprovalError::Origin { found, wanted: origin.to_owned() });
        }
        let message = pae(self.approval.kind().payload_type(), &self.payload);
        if self.key_id != key.key_id || !key.spki.verify_strict(&message, &self.signature) {
            return Err(ApprovalError::Signature(key.key_id.clone()));
        }
        match &key.name {
            Some(name) if name == self.approval.approver() => Ok(()),
            name => Err(ApprovalError::Name {
                key_id: key.key_id.clone(),
                named: name.clone().unwrap_or_else(|| "nobody".to_owned()),
                found: self.approval.approver().to_owned(),
            }),
        }
    }

    /// The same by the keys of an origin, where the key may sign approvals at an instant: what an agent asks before it logs one.
    ///
    /// # Errors
    /// Why it is not to be believed.
    pub fn verify_under<'a>(&self, set: &'a KeySet, at: Utc) -> Result<&'a KeyEntry, ApprovalError> {
        set.key(&self.key_id, Use::Approvals, at)?;
        let key = set.entry(&self.key_id).ok_or_else(|| KeyRefusal::Unknown(self.key_id.clone()))?;
        self.verify(&set.origin, key).map(|()| key)
    }
}

#[cfg(test)]
mod tests;
