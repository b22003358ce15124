//! Deviations as risks, and what OSCAL calls findings.

use std::collections::BTreeSet;

use signing::time::Utc;

use super::{
    Maker, job_of, number, part_name, prop, target,
    text::{Id, Line, Markup},
    time,
    types::*,
};
use crate::model::{ControlReport, Deviation, Occurrence, OccurrenceState, Part};

impl Maker<'_> {
    pub(super) fn risk(&self, of: &Deviation) -> Risk {
        let mut props = vec![
            prop("deviation", &of.id),
            prop("job", of.job.as_str()),
            prop("check", &of.check),
            prop("kind", &of.kind),
            prop("record", &of.record),
            prop("first-seen", time(of.first_seen)),
            prop("last-seen", time(of.last_seen)),
            number("runs", of.runs),
        ];
        props.extend(of.not_before.map(|at| prop("not-before", time(at))));
        props.extend(of.ended.as_ref().map(|ended| prop("ended", ended.how)));
        props.extend(of.waivers.iter().map(|id| prop("waiver", id)));
        props.extend(of.responses.iter().map(|id| prop("response", id)));
        let controls =
            of.controls.iter().filter_map(|id| self.report.controls.iter().find(|control| control.id == *id));
        let related: BTreeSet<Id> =
            controls.flat_map(|control| self.deviating_observations(control, Some(of.job.as_str()))).collect();
        Risk {
            uuid: self.id("deviation", &of.id),
            title: Line::new(&format!("{}: {} in {}", of.id, of.record, of.job)),
            description: Markup::new(&of.says),
            statement: Markup::new(&format!(
                "The check {} did not hold for this record from {} to {}, in {} runs. What follows from it is not assessed here.",
                of.check,
                time(of.first_seen),
                time(of.last_seen),
                of.runs
            )),
            props,
            status: if of.ended.is_some() { "closed" } else { "open" },
            origins: self.origins(),
            risk_log: RiskLog { entries: self.log(of) },
            related_observations: related
                .into_iter()
                .map(|observation_uuid| RelatedObservation { observation_uuid })
                .collect(),
        }
    }

    /// First sight, what people signed, and the end. A waiver changes no status.
    fn log(&self, of: &Deviation) -> Vec<LogEntry> {
        let entry = |name: &str, title: &str, says: &str, start: Utc, at: u64| LogEntry {
            uuid: self.id("deviation-log", &format!("{}\n{name}", of.id)),
            title: Line::new(title),
            description: Markup::new(says),
            start: time(start),
            end: None,
            links: self
                .evidence
                .get(&at)
                .map(|of| Link { href: self.id("entry", &of.entry.to_string()).href(), rel: "evidence" })
                .into_iter()
                .collect(),
            status_change: None,
        };
        let first = LogEntry {
            status_change: Some("open"),
            ..entry("first", "Seen first", &of.says, of.first_seen, of.first_entry)
        };
        let signed =
            of.waivers.iter().chain(&of.responses).filter_map(|id| self.approvals.get(id.as_str())).map(|approval| {
                let title = match (approval.kind.as_str(), approval.until) {
                    ("waiver", Some(until)) => {
                        format!("Accepted until {} by {}; the result stays", time(until), approval.approver)
                    }
                    ("waiver", None) => format!("Accepted by {}; the result stays", approval.approver),
                    _ => format!("Management's response, by {}", approval.approver),
                };
                let says = if approval.void.is_empty() {
                    approval.text.clone()
                } else {
                    format!("It does not count: {}. {}", approval.void, approval.text)
                };
                let start = approval.from.unwrap_or(of.last_seen);
                LogEntry { end: approval.until.map(time), ..entry(&approval.id, &title, &says, start, approval.entry) }
            });
        let ended = of.ended.as_ref().map(|ended| {
            let says = match ended.how {
                "passes" => "The check holds for the record.",
                "exempt" => "The check names the record as exempt.",
                "gone" => "The record is no longer there; its list was read whole.",
                _ => "The check is no longer asked of the record.",
            };
            LogEntry { status_change: Some("closed"), ..entry("end", "Seen no longer", says, ended.at, ended.entry) }
        });
        std::iter::once(first).chain(signed).chain(ended).collect()
    }

    /// The observations of a control in which it deviated or was not observed.
    fn deviating_observations(&self, control: &ControlReport, job: Option<&str>) -> Vec<Id> {
        let seen = |part: &Part| job.is_none_or(|job| part.scope.iter().any(|(of, _)| of.as_str() == job));
        let parts = control.parts.iter().enumerate().filter(|(_, part)| seen(part));
        let parts = parts.filter(|(number, _)| {
            let failing =
                |of: &&Occurrence| matches!(of.state, OccurrenceState::Deviation | OccurrenceState::NotObserved);
            control.occurrences.iter().filter(|of| of.part == *number && job_of(of) == job).find(failing).is_some()
        });
        parts.map(|(number, _)| self.id("observation", &part_name(control, number, job))).collect()
    }

    /// Where occurrences deviated, or were not observed.
    pub(super) fn finding(&self, control: &ControlReport) -> Option<Finding> {
        let counts = &control.counts;
        let (reason, remarks) = match (counts.deviation, counts.not_observed) {
            (0, 0) => return None,
            (0, _) => (
                "other",
                "No failure was seen, but some occurrences were not observed. OSCAL has no state for that: not-satisfied says here only that \
                 the evidence does not show each occurrence.",
            ),
            _ => ("fail", "Some occurrences deviated. What follows from them is for an assessor to say."),
        };
        let jobs: BTreeSet<Option<&str>> = control.occurrences.iter().map(job_of).collect();
        let observations: BTreeSet<Id> =
            jobs.into_iter().flat_map(|job| self.deviating_observations(control, job)).collect();
        let risks = self.report.deviations.iter().filter(|of| of.controls.contains(&control.id));
        Some(Finding {
            uuid: self.id("finding", &format!("{}\n{}", self.name(), control.id)),
            title: Line::new(&format!(
                "{}: {} deviated, {} not observed, of {}",
                control.id, counts.deviation, counts.not_observed, counts.required
            )),
            description: Markup::new(&control.says),
            origins: self.origins(),
            target: Target {
                kind: "statement-id",
                target_id: target(control),
                title: Line::new(&control.title),
                description: Markup::new(&control.statement),
                status: State { state: "not-satisfied", reason: Some(reason), remarks: Markup::new(remarks) },
            },
            related_observations: observations
                .into_iter()
                .map(|observation_uuid| RelatedObservation { observation_uuid })
                .collect(),
            related_risks: risks.map(|of| RelatedRisk { risk_uuid: self.id("deviation", &of.id) }).collect(),
        })
    }
}
