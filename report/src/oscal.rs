//! The report as OSCAL Assessment Results (NIST, version 1.2, JSON). What stands for what, and why, is in docs/EXPORT.md.
//!
//! OSCAL knows two states of a finding's target, `satisfied` and `not-satisfied`. Whether a control is satisfied is for an assessor to say, so
//! `satisfied` is never written: a control whose occurrences deviated or were not observed has a finding, every control has observations with
//! its numbers, and a control without a finding is one of which no failure was seen, and nothing more.

mod risks;
mod text;
mod types;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use chrono::{SecondsFormat, TimeDelta};
use serde::Serialize;
use signing::{layout::Job, time::Utc};

use self::{
    text::{Id, Line, Markup, Plain, Token},
    types::*,
};
use crate::model::{Approval, ControlReport, Evidence, Occurrence, OccurrenceState, Part as Stretch, Report, View};

/// The version of OSCAL that the document names: it is valid under the schemas of 1.2.1 to 1.2.3.
pub const VERSION: &str = "1.2.1";

/// The namespace of the properties.
pub const NAMESPACE: &str = "urn:evidenced:oscal:v1";

/// The end of the id of a control's statement, after the control's.
const STATEMENT: &str = "_smt";

/// Writes the document: the same report, the same bytes.
///
/// # Errors
/// The writer's.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Maker::new(report).document())?;
    out.write_all(b"\n")?;
    out.flush()
}

struct Maker<'a> {
    report: &'a Report,
    evidence: BTreeMap<u64, &'a Evidence>,
    approvals: BTreeMap<&'a str, &'a Approval>,
    tool: Id,
}

fn time(at: Utc) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

fn prop(name: &'static str, value: impl AsRef<str>) -> Prop {
    Prop { name, ns: NAMESPACE, value: Plain::new(value.as_ref()) }
}

fn number(name: &'static str, value: u64) -> Prop {
    prop(name, value.to_string())
}

fn other(remarks: &str) -> State {
    State { state: "other", reason: None, remarks: Markup::new(remarks) }
}

impl<'a> Maker<'a> {
    fn new(report: &'a Report) -> Self {
        Self {
            report,
            evidence: report.evidence.iter().map(|of| (of.entry, of)).collect(),
            approvals: report.approvals.iter().map(|of| (of.id.as_str(), of)).collect(),
            tool: Id::of("", "tool", "evidenced"),
        }
    }

    fn id(&self, kind: &str, name: &str) -> Id {
        Id::of(&self.report.origin, kind, name)
    }

    /// Another report has another name: it differs in what it looks at, or in the log behind it.
    fn name(&self) -> String {
        let of = self.report;
        let root = of.integrity.root.map(|root| root.to_string()).unwrap_or_default();
        let what = (word(&of.view), time(of.as_of), word(&of.frameworks));
        format!("{}\n{}\n{}\n{}\n{root}", what.0, what.1, what.2, of.program)
    }

    fn document(&self) -> Document {
        let report = self.report;
        let (plan, plans) = self.plans();
        let mut resources = plans;
        resources.extend(report.evidence.iter().map(|of| self.resource(of)));
        let mut remarks = report.notice.clone();
        remarks.push(
            "The state satisfied is never written: it is an assessor's to give. A control without a finding is one of which no failure \
             was seen in the evidence, and nothing more."
                .into(),
        );
        Document {
            assessment_results: AssessmentResults {
                uuid: self.id("assessment-results", &self.name()),
                metadata: Metadata {
                    title: Line::new(&format!("Evidence of {}", report.origin)),
                    last_modified: time(report.as_of),
                    version: Plain::new(&time(report.as_of)),
                    oscal_version: VERSION,
                    props: vec![prop("program", &report.program), prop("origin", &report.origin)],
                    remarks: Markup::paragraphs(&remarks),
                },
                import_ap: Href {
                    href: plan.href(),
                    remarks: Markup::new(
                        "There is no OSCAL assessment plan: what is promised and checked stands in this document.",
                    ),
                },
                results: vec![self.result()],
                back_matter: Some(BackMatter { resources }),
            },
        }
    }

    /// The documents that were in force, the last of which stands for an assessment plan.
    fn plans(&self) -> (Id, Vec<Resource>) {
        let parts = self.report.controls.iter().flat_map(|control| &control.parts);
        let mut documents: Vec<_> =
            parts.filter_map(|part| part.document.map(|document| (part.from, document))).collect();
        documents.sort();
        let last = documents.last().map(|(_, document)| *document);
        let each: BTreeSet<_> = documents.into_iter().map(|(_, document)| document).collect();
        let of = |digest: &signing::digest::Digest| Resource {
            uuid: self.id("controls", &digest.to_string()),
            title: Line::new("Controls in force"),
            description: Markup::new(
                "What the organisation promised: controls, frequencies, scope, checks and parameters.",
            ),
            props: Vec::new(),
            rlinks: vec![Rlink {
                href: signing::layout::document("controls", *digest),
                media_type: "application/json",
                hashes: vec![Hash { algorithm: "SHA-256", value: digest.to_string() }],
            }],
        };
        match last {
            Some(last) => (self.id("controls", &last.to_string()), each.iter().map(of).collect()),
            None => {
                let uuid = self.id("controls", "none");
                let none = Resource {
                    uuid: uuid.clone(),
                    title: Line::new("No controls in force"),
                    description: Markup::new(
                        "The log holds no document of controls: what this report reads them from was not evidence.",
                    ),
                    props: Vec::new(),
                    rlinks: Vec::new(),
                };
                (uuid, vec![none])
            }
        }
    }

    fn resource(&self, of: &Evidence) -> Resource {
        let job = of.job.as_ref().map(|job| job.to_string());
        let mut props = vec![number("entry", of.entry)];
        props.extend(job.as_ref().map(|job| prop("job", job)));
        let href = |name: &str| name.split('/').map(encoded).collect::<Vec<_>>().join("/");
        Resource {
            uuid: self.id("entry", &of.entry.to_string()),
            title: Line::new(&format!("Entry {} of the log", of.entry)),
            description: Markup::new(job.as_deref().unwrap_or("A document.")),
            props,
            rlinks: vec![
                Rlink {
                    href: href(&of.name),
                    media_type: if of.name.ends_with(".zip") { "application/zip" } else { "application/json" },
                    hashes: vec![Hash { algorithm: "SHA-256", value: of.sha256.to_string() }],
                },
                Rlink {
                    href: href(&of.seal),
                    media_type: "application/vnd.dev.sigstore.bundle.v0.3+json",
                    hashes: Vec::new(),
                },
            ],
        }
    }

    fn result(&self) -> AResult {
        let report = self.report;
        let (start, end, title) = match report.view {
            View::Period { from, to } => {
                (from, to - TimeDelta::milliseconds(1), "Whether controls operated over the period")
            }
            View::PointInTime { at } => {
                (at, at, "The last complete observations at an instant: nothing is said of operating effectiveness")
            }
        };
        let integrity = &report.integrity;
        let mut props = vec![
            prop("integrity", if integrity.intact { "intact" } else { "not-intact" }),
            prop("trust", &integrity.trust),
            number("log-entries", integrity.entries),
            prop("as-of", time(report.as_of)),
        ];
        props.extend(integrity.root.map(|root| prop("log-root", root.to_string())));
        let controls = report.controls.iter();
        AResult {
            uuid: self.id("result", &self.name()),
            title: Line::new(title),
            description: Markup::paragraphs(std::iter::once(&integrity.statement).chain(&report.notice)),
            start: time(start),
            end: time(end.min(report.as_of).max(start)),
            props,
            local_definitions: self.local_definitions(),
            reviewed_controls: self.reviewed(),
            observations: controls.clone().flat_map(|of| self.observations(of)).chain(self.criteria()).collect(),
            risks: report.deviations.iter().map(|of| self.risk(of)).collect(),
            findings: controls.filter_map(|of| self.finding(of)).collect(),
            remarks: Markup::paragraphs(&report.not_shown),
        }
    }

    fn local_definitions(&self) -> LocalDefinitions {
        let tool = Component {
            uuid: self.tool.clone(),
            kind: "software",
            title: Line::new(&self.report.program),
            description: Markup::new("Reads systems, seals what they answered, and makes this report from the seals."),
            props: Vec::new(),
            status: State { state: "operational", reason: None, remarks: Markup::new("It made this report.") },
        };
        LocalDefinitions {
            components: self.subjects().into_iter().map(|job| self.component(&job)).collect(),
            assessment_assets: Assets {
                components: vec![tool],
                assessment_platforms: vec![Platform {
                    uuid: self.id("platform", ""),
                    title: Line::new(&format!("The log {}", self.report.origin)),
                    uses_components: vec![Uses { component_uuid: self.tool.clone() }],
                }],
            },
        }
    }

    fn component(&self, job: &str) -> Component {
        let (collector, source) = job.split_once('@').unwrap_or((job, ""));
        Component {
            uuid: self.id("job", job),
            kind: "service",
            title: Line::new(job),
            description: Markup::new(&format!("What {collector} reads of {source}.")),
            props: vec![prop("job", job), prop("collector", collector), prop("source", source)],
            status: other("How the system stood at each run is in the evidence."),
        }
    }

    /// Every job that is named.
    fn subjects(&self) -> BTreeSet<String> {
        let jobs = self.report.jobs.iter().map(|of| of.job.to_string());
        let scope = self.report.controls.iter().flat_map(|of| of.parts.iter().flat_map(|part| &part.scope));
        let observed = self.report.controls.iter().flat_map(|of| of.observations.iter().map(|of| of.job.to_string()));
        let deviating = self.report.deviations.iter().map(|of| of.job.to_string());
        jobs.chain(scope.map(|(job, _)| job.to_string())).chain(observed).chain(deviating).collect()
    }

    fn reviewed(&self) -> Reviewed {
        let report = self.report;
        let chosen = |description: &str, each: Vec<Token>| {
            (!each.is_empty()).then(|| Selection {
                description: Markup::new(description),
                what: Selected::IncludeControls(each.into_iter().map(|control_id| Chosen { control_id }).collect()),
            })
        };
        let own = report.controls.iter().map(|of| Token::new("", &of.id)).collect();
        let soc2 = report.criteria.iter().map(|of| Token::new("", &of.id)).collect();
        let hipaa = report.hipaa.iter().map(|of| Token::new("hipaa-", &of.citation)).collect();
        let selections = [
            chosen("The organisation's controls.", own),
            chosen("SOC 2: criteria of the AICPA's Trust Services Criteria to which controls are mapped.", soc2),
            chosen("HIPAA Security Rule: standards and implementation specifications, 45 CFR Part 164.", hipaa),
        ];
        let mut control_selections: Vec<Selection> = selections.into_iter().flatten().collect();
        if control_selections.is_empty() {
            let description = Markup::new("There are no controls.");
            control_selections.push(Selection { description, what: Selected::IncludeAll(Empty {}) });
        }
        Reviewed { control_selections }
    }

    fn origins(&self) -> Vec<Origin> {
        vec![Origin { actors: vec![Actor { kind: "tool", actor_uuid: self.tool.clone() }] }]
    }

    /// What each job showed of a control: over each part of the period, or at the instant.
    fn observations(&self, control: &ControlReport) -> Vec<Observation> {
        let mut made: Vec<Observation> = Vec::new();
        for (number, part) in control.parts.iter().enumerate() {
            let mut jobs: BTreeSet<Option<&str>> = part.scope.iter().map(|(job, _)| Some(job.as_str())).collect();
            if control.occurrences.iter().any(|of| of.part == number && of.job.is_none()) {
                jobs.insert(None);
            }
            made.extend(jobs.into_iter().map(|job| self.over_part(control, number, part, job)));
        }
        made.extend(control.observations.iter().map(|of| self.at_instant(control, of)));
        made
    }

    fn over_part(&self, control: &ControlReport, part: usize, stretch: &Stretch, job: Option<&str>) -> Observation {
        let mine = || control.occurrences.iter().filter(|of| of.part == part && job_of(of) == job);
        let count = |state| mine().filter(|of| of.state == state).count() as u64;
        let (operated, deviation) = (count(OccurrenceState::Operated), count(OccurrenceState::Deviation));
        let not_observed = count(OccurrenceState::NotObserved);
        let required = operated + deviation + not_observed;
        let says = format!(
            "Of {required} occurrences {operated} operated, {deviation} deviated and {not_observed} were not observed. They were observed \
             at the times of the runs; between them nothing is claimed."
        );
        let mut paragraphs = vec![stretch.statement.clone(), says];
        if control.more_occurrences > 0 {
            paragraphs.push(format!(
                "{} further occurrences of the control are counted, and not listed here.",
                control.more_occurrences
            ));
        }
        Observation {
            uuid: self.id("observation", &part_name(control, part, job)),
            title: Line::new(&format!(
                "{} in {}, {} to {}",
                control.id,
                job.unwrap_or("no job"),
                time(stretch.from),
                time(stretch.to)
            )),
            description: Markup::paragraphs(&paragraphs),
            props: vec![
                prop("control", &control.id),
                prop("from", time(stretch.from)),
                prop("to", time(stretch.to)),
                prop("frequency", word(&stretch.frequency)),
                number("required", required),
                number("operated", operated),
                number("deviation", deviation),
                number("not-observed", not_observed),
                number("no-occasion", count(OccurrenceState::NoOccasion)),
                number("open", count(OccurrenceState::Open)),
            ],
            methods: ["EXAMINE"],
            types: ["control-objective"],
            origins: self.origins(),
            subjects: job.into_iter().map(|job| self.subject(job)).collect(),
            relevant_evidence: mine()
                .filter(|of| of.state != OccurrenceState::Open)
                .map(|of| self.relevant(of))
                .collect(),
            collected: time(stretch.to.min(self.report.as_of).max(stretch.from)),
        }
    }

    fn at_instant(&self, control: &ControlReport, of: &crate::model::Observation) -> Observation {
        let job = of.job.as_str();
        let checks = of.checks.iter().map(|check| {
            let rows = &check.rows;
            format!(
                "{}: {}, {} rows pass, {} fail, {} unknown",
                check.check,
                word(&check.outcome),
                rows.pass,
                rows.fail,
                rows.unknown
            )
        });
        let mut paragraphs: Vec<String> = vec![control.statement.clone()];
        paragraphs.extend(of.at.is_none().then(|| "There is no complete observation.".to_owned()));
        paragraphs.extend(checks);
        let mut props = vec![prop("control", &control.id), number("incomplete-since", of.incomplete_since)];
        props.extend(of.age_seconds.map(|age| prop("age-seconds", age.to_string())));
        let entry = of.entry.map(|entry| self.cited(entry, "The last complete observation.".to_owned()));
        Observation {
            uuid: self.id("observation-at", &format!("{}\n{}\n{job}", self.name(), control.id)),
            title: Line::new(&format!("{} in {job}, last seen whole", control.id)),
            description: Markup::paragraphs(&paragraphs),
            props,
            methods: ["EXAMINE"],
            types: ["control-objective"],
            origins: self.origins(),
            subjects: vec![self.subject(job)],
            relevant_evidence: entry.into_iter().collect(),
            collected: time(of.at.unwrap_or(self.report.as_of)),
        }
    }

    /// How evidence maps to the criteria and citations.
    fn criteria(&self) -> Vec<Observation> {
        let name = self.name();
        let of =
            |framework: &str, id: &str, treatment: String, state: String, linked: &[crate::model::LinkedControl]| {
                let controls = linked.iter().map(|of| {
                    let evidence = if of.evidenced { "has evidence" } else { "has no evidence" };
                    format!("{} ({}) {evidence}.", of.control, word(&of.strength))
                });
                let says = "The state tells whether evidence is mapped. It does not tell what an assessor concludes."
                    .to_owned();
                Observation {
                    uuid: self.id("criterion", &format!("{name}\n{framework}\n{id}")),
                    title: Line::new(&format!("{id}: {}", state.replace('_', " "))),
                    description: Markup::paragraphs(std::iter::once(says).chain(controls)),
                    props: vec![
                        prop("framework", framework),
                        prop("criterion", id),
                        prop("state", &state),
                        prop("treatment", treatment),
                    ],
                    methods: ["EXAMINE"],
                    types: ["control-objective"],
                    origins: self.origins(),
                    subjects: Vec::new(),
                    relevant_evidence: Vec::new(),
                    collected: time(self.report.as_of),
                }
            };
        let treatment = |of: &crate::model::Treatment| {
            let value = serde_json::to_value(of).unwrap_or_default();
            value["kind"].as_str().unwrap_or_default().to_owned()
        };
        let soc2 = self
            .report
            .criteria
            .iter()
            .map(|c| of("soc2", &c.id, treatment(&c.treatment), word(&c.state), &c.controls));
        let hipaa = self
            .report
            .hipaa
            .iter()
            .map(|h| of("hipaa", &h.citation, treatment(&h.treatment), word(&h.state), &h.controls));
        soc2.chain(hipaa).collect()
    }

    fn subject(&self, job: &str) -> Subject {
        Subject { subject_uuid: self.id("job", job), kind: "component", title: Line::new(job) }
    }

    fn relevant(&self, of: &Occurrence) -> Relevant {
        let state = word(&of.state).replace('_', " ");
        let mut says = format!("{} to {}: {state}", time(of.from), time(of.to));
        for more in
            [of.record.as_deref(), Some(of.reason.as_str())].into_iter().flatten().filter(|more| !more.is_empty())
        {
            says.push_str("; ");
            says.push_str(more);
        }
        match of.entry {
            Some(entry) => self.cited(entry, says),
            None => Relevant { href: None, description: Markup::new(&says), props: Vec::new() },
        }
    }

    fn cited(&self, entry: u64, says: String) -> Relevant {
        let href = self.evidence.contains_key(&entry).then(|| self.id("entry", &entry.to_string()).href());
        Relevant { href, description: Markup::new(&says), props: vec![number("entry", entry)] }
    }
}

fn target(control: &ControlReport) -> Token {
    Token::new("", &control.id).with(STATEMENT)
}

fn job_of(of: &Occurrence) -> Option<&str> {
    of.job.as_ref().map(Job::as_str)
}

fn part_name(control: &ControlReport, part: usize, job: Option<&str>) -> String {
    let (stretch, job) = (&control.parts[part], job.unwrap_or_default());
    format!("{}\n{}\n{}\n{job}", control.id, time(stretch.from), time(stretch.to))
}

/// A part of an archive's name as a part of a URI (RFC 3986).
fn encoded(part: &str) -> String {
    part.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' | b'+' | b'=' => {
                out.push(byte.into())
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests;
