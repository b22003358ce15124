//! A report assembled: what was in force, what the runs showed of it, and in words what neither shows.

mod words;

use std::collections::BTreeSet;

use chrono::{NaiveDate, TimeDelta};
use controls::{Category, Control, ControlSet, FrameworkSet, Hipaa, HipaaRole};
use signing::{layout::Job, slots::SlotCounts, time::Utc};

use crate::{
    approvals::{Approvals, Exists},
    changes::changes,
    criteria::{self, Given, Linked},
    days::{Days, Told, bounds},
    evidence,
    in_force::{InForce, controls_within, jobs_within},
    ledger::{Ledger, LedgerError},
    model::{
        ControlReport, Deviation, DriftEvent, FORMAT, Integrity, JobReport, Observation, Occurrence, OccurrenceCounts,
        Part, Report, SectionText, View,
    },
    occurrences::{Counted, Observations, Occurrences},
    parts::parts,
    pass::{Listener, PassError, Until, pass},
    population::frozen_about,
    sights::{Found, Sights},
};

/// Events of drift that a report lists.
const MOST_DRIFT: usize = 5_000;

/// What a report is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Of what.
    pub asked: Asked,
    /// The frameworks; `None`: those in force at the end.
    pub frameworks: Option<Wanted>,
    /// The program's version.
    pub program: String,
}

/// Which frameworks a report maps to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// SOC 2: the categories in force at the end; where none are, security.
    pub soc2: bool,
    /// The HIPAA Security Rule.
    pub hipaa: bool,
    /// In which role; `None`: the one in force at the end.
    pub role: Option<HipaaRole>,
}

impl Wanted {
    /// What is mapped to, given what is in force.
    fn of(self, in_force: &FrameworkSet) -> Result<FrameworkSet, ReportError> {
        let soc2 = match (self.soc2, in_force.soc2.as_slice()) {
            (false, _) => Vec::new(),
            (true, []) => vec![Category::Security],
            (true, categories) => categories.to_vec(),
        };
        let hipaa = match (self.hipaa, self.role, in_force.hipaa) {
            (false, ..) => None,
            (true, Some(role), before) => Some(Hipaa { role, proposals: before.is_some_and(|hipaa| hipaa.proposals) }),
            (true, None, Some(hipaa)) => Some(hipaa),
            (true, None, None) => return Err(ReportError::Role),
        };
        Ok(FrameworkSet { soc2, hipaa })
    }
}

/// A period, or an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Whether controls operated from the first of these days to the last.
    Period {
        /// The first day.
        from: NaiveDate,
        /// The last day.
        to: NaiveDate,
        /// Runs after this instant do not count; `None`: all count, and the verdict's `as_of` is up to when is judged.
        as_of: Option<Utc>,
    },
    /// What was last observed, at or before an instant.
    At(Utc),
}

/// A report that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The pass over the log.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// The archive.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// HIPAA without a role.
    #[error(
        "the controls in force name no role under HIPAA; ask for hipaa:covered_entity or hipaa:business_associate, or set `hipaa: {{role: …}}` in `controls.frameworks`"
    )]
    Role,
    /// No days at all.
    #[error("the period ends on {to}, before it begins on {from}")]
    Period {
        /// The first day.
        from: NaiveDate,
        /// The last day.
        to: NaiveDate,
    },
}

/// Takes all of what a report lists only in part.
pub trait Streams {
    /// The next event of drift, in the log's order.
    ///
    /// # Errors
    /// [`PassError`] ends the report.
    fn drift(&mut self, _event: &DriftEvent) -> Result<(), PassError> {
        Ok(())
    }

    /// The next occurrence, in the order of controls, jobs and times.
    ///
    /// # Errors
    /// [`PassError`] ends the report.
    fn occurrence(&mut self, _control: &str, _occurrence: &Occurrence) -> Result<(), PassError> {
        Ok(())
    }
}

impl Streams for () {}

/// Makes the report.
///
/// # Errors
/// A log that cannot be read, or changed since verification; a period without days; what `streams` fails with.
pub fn report(ledger: &Ledger<'_>, question: &Question, streams: &mut dyn Streams) -> Result<Report, ReportError> {
    let in_force = InForce::read(ledger)?;
    let verdict = ledger.verdict();
    let newest = verdict.as_of.or(verdict.newest_entry_at).unwrap_or(Utc::MIN_UTC);
    let mut report = match question.asked {
        Asked::Period { from, to, as_of } => {
            let (start, end) = bounds(from, to).ok_or(ReportError::Period { from, to })?;
            let known = as_of.unwrap_or(newest);
            let time = Time { from: start, to: end, as_of: known.min(end), known, until: as_of };
            period(ledger, &in_force, question, &time, streams)?
        }
        Asked::At(at) => instant(ledger, &in_force, question, at, streams)?,
    };
    report.evidence = evidence::cited(ledger, &report)?;
    Ok(report)
}

/// The instants of a report over a period.
struct Time {
    from: Utc,
    to: Utc,
    /// At most `to`.
    as_of: Utc,
    /// Up to when the log tells what came.
    known: Utc,
    /// The last instant whose runs count, where one is given.
    until: Option<Utc>,
}

/// Between two instants: everything is written in milliseconds.
const INSTANT: TimeDelta = TimeDelta::milliseconds(1);

fn period(
    ledger: &Ledger<'_>,
    in_force: &InForce,
    question: &Question,
    time: &Time,
    streams: &mut dyn Streams,
) -> Result<Report, ReportError> {
    let &Time { from, to, as_of, known, until } = time;
    let mut days = Days::new(from, to);
    let mut occurrences = Occurrences::new(in_force, from, to, as_of);
    let found = {
        let supported = |job: &Job, check: &controls::CheckResult, at: Utc| in_force.controls_of(at, job, &check.id);
        let mut drifts = |event: &DriftEvent| streams.drift(event);
        let mut sights = Sights::new(ledger, (from, to), MOST_DRIFT, &supported, &mut drifts);
        let mut until_end = Until { until: to, listener: &mut sights };
        let listeners: &mut [&mut dyn Listener] = &mut [&mut days, &mut occurrences, &mut until_end];
        pass(ledger, until.map_or(Utc::MAX_UTC, |until| until + INSTANT), listeners)?;
        sights.finish()
    };
    let told = days.finish(known);
    let counted = occurrences.finish(&told, known, &mut |control, one| streams.occurrence(control, one))?;
    let last = controls_within(in_force, from, to);
    let controls: Vec<ControlReport> = counted
        .into_iter()
        .filter_map(|counted| {
            let control = last.get(&counted.id)?;
            Some(of_control(control, counted, Vec::new(), &told, &found.deviations))
        })
        .collect();
    let mut jobs: BTreeSet<Job> = jobs_within(in_force, from, to);
    jobs.extend(told.jobs().filter(|job| !told.is_empty(job)).cloned());
    let jobs: Vec<JobReport> = jobs.iter().map(|job| told.report(job, as_of, supported_by(&controls, job))).collect();
    let view = View::Period { from, to };
    let mut report = common(ledger, in_force, question, view, as_of, controls, found)?;
    report.changes = changes(in_force, plan_changes(ledger), from, to);
    report.populations = frozen_about(ledger, from, to)?;
    for control in &mut report.controls {
        control.says = words::period(control, &jobs);
    }
    report.jobs = jobs;
    report.notice = words::notice(&report, in_force, ledger);
    let own = words::not_shown(&report, in_force, Some(&told));
    report.not_shown.splice(0..0, own);
    Ok(report)
}

fn instant(
    ledger: &Ledger<'_>,
    in_force: &InForce,
    question: &Question,
    at: Utc,
    streams: &mut dyn Streams,
) -> Result<Report, ReportError> {
    let mut observations = Observations::new(in_force, at);
    let found = {
        let supported = |job: &Job, check: &controls::CheckResult, at: Utc| in_force.controls_of(at, job, &check.id);
        let mut drifts = |event: &DriftEvent| streams.drift(event);
        let mut sights = Sights::new(ledger, (at, at + INSTANT), MOST_DRIFT, &supported, &mut drifts);
        pass(ledger, at + INSTANT, &mut [&mut observations, &mut sights])?;
        sights.finish()
    };
    let found = Found {
        deviations: found.deviations.into_iter().filter(|deviation| deviation.ended.is_none()).collect(),
        drift: Vec::new(),
        more_drift: 0,
        trends: Vec::new(),
    };
    let mut seen = observations.finish();
    let all: &[Control] = in_force.at(at).map_or(&[], |put| &put.set.controls);
    let controls = all.iter().map(|control| {
        let observed = seen.remove(&control.id).unwrap_or_default();
        let counted = Counted {
            id: control.id.clone(),
            parts: parts(in_force, &control.id, at, at + INSTANT),
            occurrences: Vec::new(),
            more: 0,
            counts: OccurrenceCounts::default(),
            last_complete: observed.iter().filter_map(|one| one.at).max(),
            by_events: Vec::new(),
            undated: Vec::new(),
        };
        let mut report = of_control(control, counted, observed, &Told::default(), &found.deviations);
        report.says = words::instant(&report);
        report
    });
    let mut controls: Vec<ControlReport> = controls.collect();
    controls.sort_by(|a, b| a.id.cmp(&b.id));
    let mut report = common(ledger, in_force, question, View::PointInTime { at }, at, controls, found)?;
    report.notice = words::notice(&report, in_force, ledger);
    let own = words::not_shown(&report, in_force, None);
    report.not_shown.splice(0..0, own);
    Ok(report)
}

fn plan_changes<'a>(ledger: &Ledger<'a>) -> &'a [signing::slots::PlanChange] {
    ledger.verdict().coverage.as_ref().map_or(&[], |coverage| &coverage.changes)
}

/// The jobs that any part of a control has in scope.
fn jobs_of(parts: &[Part]) -> BTreeSet<&Job> {
    parts.iter().flat_map(|part| part.scope.iter().map(|(job, _)| job)).collect()
}

fn supported_by(controls: &[ControlReport], job: &Job) -> Vec<String> {
    controls.iter().filter(|control| jobs_of(&control.parts).contains(job)).map(|control| control.id.clone()).collect()
}

fn of_control(
    control: &Control,
    counted: Counted,
    observations: Vec<Observation>,
    told: &Told,
    deviations: &[Deviation],
) -> ControlReport {
    let mut slots = SlotCounts::default();
    jobs_of(&counted.parts).into_iter().for_each(|job| slots.add(&told.slots(job)));
    let its = deviations.iter().filter(|deviation| deviation.controls.contains(&control.id));
    ControlReport {
        id: control.id.clone(),
        title: control.title.clone(),
        owner: control.owner.clone(),
        statement: control.statement.clone(),
        frequency: control.frequency,
        items: control.items.clone(),
        links: criteria::links(control),
        counts: counted.counts,
        slots,
        parts: counted.parts,
        occurrences: counted.occurrences,
        more_occurrences: counted.more,
        observations,
        deviations: its.clone().count() as u64,
        open_deviations: its.filter(|deviation| deviation.ended.is_none()).count() as u64,
        last_complete: counted.last_complete,
        says: String::new(),
    }
}

/// What reports of both kinds have.
fn common(
    ledger: &Ledger<'_>,
    in_force: &InForce,
    question: &Question,
    view: View,
    as_of: Utc,
    controls: Vec<ControlReport>,
    mut found: Found,
) -> Result<Report, ReportError> {
    let verdict = ledger.verdict();
    let end = match &view {
        View::Period { to, .. } => *to - INSTANT,
        View::PointInTime { at } => *at,
    };
    let put = in_force.at(end);
    let promised = put.map(|put| put.set.frameworks.clone()).unwrap_or_default();
    let asked = match question.frameworks {
        Some(wanted) => &wanted.of(&promised)?,
        None => &promised,
    };
    let day = end.date_naive().to_string();
    let linked: Vec<Linked<'_>> = controls.iter().map(|control| Linked::of(control, &view)).collect();
    let mut approvals = Approvals::read(ledger)?;
    approvals.compare(&Exists::of(in_force.puts.iter().map(|put| &*put.set), &found.deviations));
    approvals.fill(&mut found.deviations, as_of);
    let decisions = approvals.decisions();
    let mapped = put.map(|put| {
        let set: &ControlSet = &put.set;
        criteria::map(&Given { set, frameworks: asked, controls: &linked, decisions: &decisions, day: &day })
    });
    let mapped = mapped.unwrap_or_default();
    Ok(Report {
        format: FORMAT,
        program: question.program.clone(),
        origin: verdict.origin.clone(),
        view,
        as_of,
        frameworks: criteria::frameworks(asked),
        notice: Vec::new(),
        integrity: Integrity {
            intact: verdict.intact,
            statement: verdict.statement.clone(),
            trust: verdict.trust.clone(),
            entries: verdict.checkpoint.size,
            root: verdict.checkpoint.root,
            sections: verdict.sections.iter().map(SectionText::from).collect(),
            findings: verdict.findings.clone(),
            limits: verdict.limits.clone(),
        },
        controls,
        criteria: mapped.criteria,
        hipaa: mapped.hipaa,
        user_entity_controls: mapped.user_entity_controls,
        vendor_expectations: mapped.vendor_expectations,
        jobs: Vec::new(),
        deviations: found.deviations,
        drift: found.drift,
        more_drift: found.more_drift,
        trends: found.trends,
        changes: Vec::new(),
        approvals: approvals.list(),
        populations: Vec::new(),
        not_shown: mapped.not_shown,
        evidence: Vec::new(),
    })
}
