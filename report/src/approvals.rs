//! What people signed, read back: waivers of deviations, management's responses, and decisions about addressable specifications. They are
//! printed beside what was found and change none of it: no result, no state, no count.
//!
//! A waiver applies from the trusted time by which the log had it, until it expires; without a trusted time it does not apply, and says so.

use std::collections::{BTreeMap, BTreeSet};

use controls::{ControlSet, Requirement, catalogue};
use serde_json::Value;
use signing::{
    approval::{Approval as Said, Kind, Signed, Waiver},
    time::{Utc, rfc3339},
    verify::{Finding, LoggedDocument},
};

use crate::{
    criteria::NO_DECISION,
    ledger::{Ledger, LedgerError},
    model::{Approval, Deviation},
};

/// Every document that people signed, in the log's order.
#[derive(Debug, Default)]
pub struct Approvals {
    all: Vec<One>,
}

#[derive(Debug)]
struct One {
    approval: Approval,
    /// `None` where it cannot be read or believed.
    said: Option<Said>,
    /// When the log had it, by the best clock that there is.
    at: Utc,
}

/// What a waiver or response may name.
#[derive(Debug, Default)]
pub struct Exists {
    controls: BTreeSet<String>,
    /// `<collector>/<check>`.
    checks: BTreeSet<String>,
    jobs: BTreeSet<String>,
    deviations: BTreeSet<String>,
}

impl Exists {
    /// What any of the controls documents names, and what deviated.
    pub fn of<'a>(sets: impl IntoIterator<Item = &'a ControlSet>, deviations: &[Deviation]) -> Self {
        let mut exists = Self::default();
        for set in sets {
            exists.controls.extend(set.controls.iter().map(|control| control.id.clone()));
            for scoped in &set.scope {
                let collector = scoped.job.split_once('@').map_or(scoped.job.as_str(), |(collector, _)| collector);
                exists.checks.extend(scoped.checks.iter().map(|check| format!("{collector}/{}", check.id)));
                exists.jobs.insert(scoped.job.clone());
            }
        }
        for deviation in deviations {
            exists.checks.insert(full_check(deviation));
            exists.jobs.insert(deviation.job.to_string());
            exists.deviations.insert(deviation.id.clone());
        }
        exists
    }

    /// What of it is not there.
    fn lacks(&self, said: &Said) -> Vec<String> {
        let mut lacks = Vec::new();
        let mut ask = |wanted: Option<&str>, there: &BTreeSet<String>, says: &str| {
            lacks.extend(wanted.filter(|wanted| !there.contains(*wanted)).map(|wanted| format!("{says} {wanted}")));
        };
        match said {
            Said::Waiver(waiver) => {
                ask(waiver.control.as_deref(), &self.controls, "there is no control");
                ask(waiver.check.as_deref(), &self.checks, "there is no check");
                ask(waiver.job.as_ref().map(signing::layout::Job::as_str), &self.jobs, "there is no job");
            }
            Said::Response(response) => {
                ask(response.control.as_deref(), &self.controls, "there is no control");
                ask(response.deviation.as_deref(), &self.deviations, "this report lists no deviation");
            }
            Said::Decision(_) => {}
        }
        lacks
    }
}

/// `<collector>/<check>`.
fn full_check(deviation: &Deviation) -> String {
    format!("{}/{}", deviation.job.collector(), deviation.check)
}

impl Approvals {
    /// Reads them. One that a finding names is listed, and does not count.
    ///
    /// # Errors
    /// An object that cannot be read, or that changed since verification.
    pub fn read(ledger: &Ledger<'_>) -> Result<Self, LedgerError> {
        let mut all = Vec::new();
        for document in &ledger.verdict().documents {
            let Some(kind) = Kind::named(&document.kind) else { continue };
            let read = ledger.named(&document.name, document.digest)?;
            let signed = match read {
                Ok(bytes) => Signed::from_bytes(&bytes).map_err(|error| error.to_string()),
                Err(unusable) => Err(unusable.to_string()),
            };
            all.push(One::of(kind, document, signed, ledger.refused(document.index)));
        }
        Ok(Self { all })
    }

    /// Says of those that name what does not exist that they do.
    pub fn compare(&mut self, exists: &Exists) {
        for one in &mut self.all {
            let Some(said) = one.said.as_ref().filter(|_| one.approval.void.is_empty()) else { continue };
            one.approval.void = exists.lacks(said).join("; ");
        }
    }

    /// Every one for the report, in the log's order.
    pub fn list(&self) -> Vec<Approval> {
        self.all.iter().map(|one| one.approval.clone()).collect()
    }

    /// The waivers that accept a deviation at an instant. With a control, those that are about that control's deviations, or about a check
    /// alone.
    pub fn applies<'a>(
        &'a self,
        deviation: &'a Deviation,
        control: Option<&'a str>,
        at: Utc,
    ) -> impl Iterator<Item = &'a Approval> {
        let within = move |one: &&One| {
            let about = one.waiver().and_then(|waiver| waiver.control.as_deref());
            let (from, until) = (one.approval.from, one.approval.until);
            one.accepts(deviation)
                && control.is_none_or(|control| about.is_none_or(|about| about == control))
                && from.is_some_and(|from| from <= at)
                && until.is_some_and(|until| at < until)
        };
        self.all.iter().filter(within).map(|one| &one.approval)
    }

    /// Names in each deviation the waivers that accepted it for any part of its time, up to `as_of`, and the responses to it. Nothing else
    /// of it changes.
    pub fn fill(&self, deviations: &mut [Deviation], as_of: Utc) {
        for deviation in deviations {
            let waivers = self.all.iter().filter(|one| one.accepts(deviation) && one.overlaps(deviation, as_of));
            let waivers = waivers.map(|one| one.approval.id.clone()).collect();
            let responses = self.all.iter().filter(|one| one.answers(deviation));
            let responses = responses.map(|one| one.approval.id.clone()).collect();
            (deviation.waivers, deviation.responses) = (waivers, responses);
        }
    }

    /// The decisions that count, in words, by citation: the newest by its entry, then those that it replaced.
    pub fn decisions(&self) -> BTreeMap<String, String> {
        let counts = self.all.iter().filter(|one| one.approval.void.is_empty());
        let cited = counts.filter_map(|one| match &one.said {
            Some(Said::Decision(decision)) => Some(decision.citation.clone()),
            _ => None,
        });
        let citations: BTreeSet<String> = cited.collect();
        citations.into_iter().map(|citation| (citation.clone(), self.decision(&citation))).collect()
    }

    /// The decision about a specification in words, with those that it replaced, or [`NO_DECISION`].
    pub fn decision(&self, citation: &str) -> String {
        let mut found = self.all.iter().rev().filter(|one| {
            one.approval.void.is_empty() && matches!(&one.said, Some(Said::Decision(d)) if d.citation == citation)
        });
        let Some(newest) = found.next() else { return NO_DECISION.to_owned() };
        let when = |one: &One| match one.approval.from {
            Some(from) => rfc3339(from)[..10].to_owned(),
            None => format!("{} by the agent's clock", &rfc3339(one.at)[..10]),
        };
        let says = |one: &One| {
            let Approval { text, approver, id, .. } = &one.approval;
            format!("{text} ({approver}, {}, {id})", when(one))
        };
        let earlier: Vec<_> = found.map(says).collect();
        match earlier.is_empty() {
            true => says(newest),
            false => format!("{} Before that: {}", says(newest), earlier.join("; ")),
        }
    }
}

/// `accepted until 2027-03-01 by Ada Lovelace`: what is printed beside a failure. An instant within a day is given whole.
pub fn accepted(waiver: &Approval) -> String {
    let until = waiver.until.map_or_else(String::new, |until| {
        let text = rfc3339(until);
        format!(" until {}", text.strip_suffix("T00:00:00Z").unwrap_or(&text))
    });
    format!("accepted{until} by {}", waiver.approver)
}

impl One {
    fn of(kind: Kind, document: &LoggedDocument, signed: Result<Signed, String>, refused: Option<&Finding>) -> Self {
        let (said, payload, unread) = match signed {
            Ok(signed) => {
                let payload = serde_json::from_slice(signed.payload()).unwrap_or(Value::Null);
                (Some(signed.approval), payload, None)
            }
            Err(why) => (None, Value::Null, Some(why)),
        };
        let until = match &said {
            Some(Said::Waiver(waiver)) => Some(waiver.until),
            _ => None,
        };
        let void = match (refused, unread, &document.signer) {
            (Some(finding), ..) => format!("it is not counted: {} ({})", finding.says, finding.code),
            (None, Some(why), _) => format!("it cannot be read: {why}"),
            (None, None, None) => "no approver's key is known to have signed it".to_owned(),
            (None, None, Some(_)) => {
                said.as_ref().map_or_else(String::new, |said| says_nothing(said, document.not_after))
            }
        };
        // Who signed what is not to be believed is not known, whatever it says.
        let approver = document.signer.clone().unwrap_or_default();
        let approval = Approval {
            id: kind.id(document.digest),
            kind: kind.to_string(),
            approver,
            entry: document.index,
            from: document.not_after,
            until,
            subject: said.as_ref().map_or_else(|| "not readable".to_owned(), Said::subject),
            text: said.as_ref().map(Said::text).unwrap_or_default(),
            void,
            document: payload,
        };
        Self { approval, said, at: document.not_after.unwrap_or(document.sealed_at) }
    }

    fn waiver(&self) -> Option<&Waiver> {
        match &self.said {
            Some(Said::Waiver(waiver)) if self.approval.void.is_empty() => Some(waiver),
            _ => None,
        }
    }

    /// Whether it is a waiver about this deviation, at whatever time.
    fn accepts(&self, deviation: &Deviation) -> bool {
        self.waiver().is_some_and(|waiver| {
            waiver.control.as_ref().is_none_or(|control| deviation.controls.contains(control))
                && waiver.check.as_ref().is_none_or(|check| *check == full_check(deviation))
                && waiver.job.as_ref().is_none_or(|job| *job == deviation.job)
                && waiver.records.has(&deviation.record)
        })
    }

    /// Whether it applied at any time from the deviation's first sight until its end, or `as_of`.
    fn overlaps(&self, deviation: &Deviation, as_of: Utc) -> bool {
        let (Some(from), Some(until)) = (self.approval.from, self.approval.until) else { return false };
        let begun = match &deviation.ended {
            Some(ended) => from < ended.at && from <= as_of,
            None => from <= as_of,
        };
        begun && until > deviation.first_seen
    }

    fn answers(&self, deviation: &Deviation) -> bool {
        match &self.said {
            Some(Said::Response(response)) if self.approval.void.is_empty() => {
                response.deviation.as_ref().is_some_and(|id| *id == deviation.id)
                    || response.control.as_ref().is_some_and(|control| deviation.controls.contains(control))
            }
            _ => false,
        }
    }
}

/// Why a document that verifies has no effect; empty where it has.
fn says_nothing(said: &Said, from: Option<Utc>) -> String {
    match said {
        Said::Waiver(waiver) => match from {
            None => "no trusted time shows when the log had it: it does not apply".to_owned(),
            Some(from) if from >= waiver.until => {
                format!("it had expired by the first trusted time that shows it in the log, {}", rfc3339(from))
            }
            Some(_) => String::new(),
        },
        Said::Decision(decision) => {
            let about = || catalogue().hipaa.iter().filter(|entry| entry.citation == decision.citation);
            match about().next() {
                _ if about().any(|entry| entry.requirement == Requirement::Addressable) => String::new(),
                Some(_) => format!("{} is required: there is nothing to decide", decision.citation),
                None => format!("{} is no entry of the HIPAA Security Rule", decision.citation),
            }
        }
        Said::Response(_) => String::new(),
    }
}

#[cfg(test)]
mod tests;
