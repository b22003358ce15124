//! What a report says in words: never more than its numbers show.

use std::collections::BTreeSet;

use controls::Frequency;
use signing::{
    slots::Range,
    time::{Utc, rfc3339},
};

use crate::{
    days::Told,
    in_force::InForce,
    ledger::Ledger,
    model::{ControlReport, JobReport, Occurrence, OccurrenceState, Report, View},
};

/// Names that a sentence lists.
const LISTED: usize = 12;

/// `1 run`, `2 runs`.
fn plural(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

fn list(names: &[String]) -> String {
    let more = names.len().saturating_sub(LISTED);
    let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn ranges(gaps: &[Range]) -> String {
    let said: Vec<String> = gaps.iter().map(|gap| format!("{} to {}", rfc3339(gap.from), rfc3339(gap.to))).collect();
    list(&said)
}

/// What a control's numbers come to over a period.
pub fn period(control: &ControlReport, jobs: &[JobReport]) -> String {
    let counts = &control.counts;
    let scope: BTreeSet<_> = control.parts.iter().flat_map(|part| part.scope.iter().map(|(job, _)| job)).collect();
    let mut says = Vec::new();
    let unread = control.occurrences.iter().filter(|one| one.job.is_none());
    let unread = unread.filter(|one| one.state == OccurrenceState::NotObserved).count() as u64;
    if scope.is_empty() && counts.required == 0 {
        let events = matches!(control.frequency, Frequency::PerEvent | Frequency::AsNeeded);
        let why = if events { ", and how often it had to operate is not known" } else { "" };
        says.push(format!("No job reads it{why}: not evidenced."));
    } else if control.frequency == Frequency::AsNeeded && counts.required == 0 {
        says.push("It operates when it is needed: no occurrence is required, and none was seen.".to_owned());
    } else if counts.required == 0 {
        says.push("No occurrence was required: not evidenced.".to_owned());
    } else {
        let required = plural(counts.required, "occurrence");
        says.push(format!(
            "{required} required: {} operated, {} with a deviation, {} not observed.",
            counts.operated, counts.deviation, counts.not_observed
        ));
        if !counts.is_evidenced() {
            says.push("None was observed: not evidenced.".to_owned());
        }
    }
    if unread > 0 {
        says.push(format!("Of those not observed, {unread} fell into time in which no job read it."));
    }
    let partly = |one: &&Occurrence| one.state == OccurrenceState::Operated && !one.reason.is_empty();
    let partly = control.occurrences.iter().filter(partly).count();
    if partly > 0 {
        says.push(format!("Of those that operated by a record, {partly} fell into time that was not read whole."));
    }
    if counts.no_occasion > 0 {
        says.push(
            format!("{} had no occasion to operate.", plural(counts.no_occasion, "more")).replace("mores", "more"),
        );
    }
    if counts.open > 0 {
        says.push(format!(
            "{} not over yet.",
            if counts.open == 1 { "1 is".into() } else { format!("{} are", counts.open) }
        ));
    }
    let by_event = control.parts.iter().any(|part| part.frequency == Frequency::PerEvent);
    for job in jobs.iter().filter(|job| by_event && scope.contains(&job.job)) {
        if let Some(gaps) = job.window_gaps.as_deref().filter(|gaps| !gaps.is_empty()) {
            says.push(format!("{}: how many events fell into {} is not known.", job.job, ranges(gaps)));
        }
    }
    if control.deviations > 0 {
        let open = match control.open_deviations {
            0 => "all ended".to_owned(),
            open => format!("{open} open at the end"),
        };
        says.push(format!("{} of records, {open}.", plural(control.deviations, "deviation")));
    }
    says.join(" ")
}

/// What was last observed of a control.
pub fn instant(control: &ControlReport) -> String {
    let all = &control.observations;
    let never = all.iter().filter(|one| one.at.is_none()).count() as u64;
    if all.is_empty() {
        return "No job reads it: not evidenced.".to_owned();
    }
    let oldest = all.iter().filter_map(|one| one.at).min();
    let Some(oldest) = oldest else { return "Never observed completely: not evidenced.".to_owned() };
    let passed = all.iter().any(|one| one.checks.iter().any(|c| c.outcome == controls::Outcome::Pass));
    let failing =
        all.iter().filter(|one| one.checks.iter().any(|c| c.outcome == controls::Outcome::Fail)).count() as u64;
    let mut says = vec![format!(
        "Last observed completely in {}, the oldest of them at {}.",
        plural(all.len() as u64 - never, "job"),
        rfc3339(oldest)
    )];
    if never > 0 {
        says.push(format!("Never in {}.", plural(never, "job")));
    }
    says.push(match failing {
        0 if !passed => "Nothing was there to test then.".to_owned(),
        0 => "No check failed then.".to_owned(),
        n => format!("A check failed then in {}.", plural(n, "job")),
    });
    says.join(" ")
}

/// What a reader must know first.
pub fn notice(report: &Report, in_force: &InForce, ledger: &Ledger<'_>) -> Vec<String> {
    let mut notice = Vec::new();
    if !report.integrity.intact {
        let n = ledger.verdict().findings_total;
        let says = format!(
            "NOT INTACT: verification has {}. Evidence that a finding names is left out.",
            plural(n, "finding")
        );
        notice.push(says);
    }
    notice.push(
        "Prepared by a tool of management's. It is not a SOC 2 report, not an opinion and not a HIPAA determination."
            .into(),
    );
    notice.push("The mapping of controls to criteria and citations was not reviewed by a CPA or by counsel.".into());
    notice.push("Observed at the times of the runs; between them nothing is claimed.".into());
    match &report.view {
        View::Period { from, to } => {
            if report.as_of < *to {
                let as_of = rfc3339(report.as_of);
                notice.push(format!(
                    "Judged up to {as_of}, before the period ends: what lies after that is open, neither operated nor missing."
                ));
            }
            notice.extend(promised(in_force, *from));
        }
        View::PointInTime { at } => {
            notice.push(format!(
                "The view of one instant, {}: what was last observed at or before it. It says nothing of operating effectiveness.",
                rfc3339(*at)
            ));
            if let Some(newest) = ledger.verdict().newest_entry_at.filter(|newest| newest < at) {
                notice.push(format!(
                    "The log's newest entry is of {}: what came after that is not known.",
                    rfc3339(newest)
                ));
            }
            notice.extend(promised(in_force, *at));
        }
    }
    notice
}

/// Where nothing, or nothing yet, was promised in the log.
fn promised(in_force: &InForce, from: Utc) -> Option<String> {
    let Some(first) = in_force.puts.first() else {
        return Some("The log has neither a controls document nor a plan: nothing was promised.".into());
    };
    if first.document.is_none() {
        return Some(
            "The log has no controls document: the program's starter set is used over the jobs of its plans, and nothing of it was in force \
             as evidence."
                .into(),
        );
    }
    (first.from > from).then(|| {
        format!("No controls document was in force before {}: until then the first one is used.", rfc3339(first.from))
    })
}

/// What the evidence does not show, but for what concerns criteria.
pub fn not_shown(report: &Report, in_force: &InForce, told: Option<&Told>) -> Vec<String> {
    let mut says = vec![
        "What happened between runs.".to_owned(),
        "What the systems that were asked did not report, and whether what they answered is true.".to_owned(),
    ];
    let start = match &report.view {
        View::Period { from, .. } => *from,
        View::PointInTime { at } => *at,
    };
    says.extend(promised(in_force, start));
    says.extend(in_force.unread.iter().cloned());
    let evidenced = |control: &ControlReport| match &report.view {
        View::Period { .. } => control.counts.is_evidenced(),
        View::PointInTime { .. } => control.last_complete.is_some(),
    };
    let without: Vec<String> = report.controls.iter().filter(|c| !evidenced(c)).map(|c| c.id.clone()).collect();
    if !without.is_empty() {
        let says_it = if without.len() == 1 { "1 control has" } else { "controls have" };
        let count = if without.len() == 1 { String::new() } else { format!("{} ", without.len()) };
        says.push(format!("{count}{says_it} no evidence: {}.", list(&without)));
    }
    let undated: Vec<String> =
        report.controls.iter().filter(|c| undated_events(c, in_force)).map(|control| control.id.clone()).collect();
    if !undated.is_empty() {
        says.push(format!(
            "Events of {}: nothing dates them, so that each day on which it was looked at counts as one occurrence.",
            list(&undated)
        ));
    }
    let alone: Vec<String> =
        report.jobs.iter().filter(|job| job.controls.is_empty()).map(|job| job.job.to_string()).collect();
    if !alone.is_empty() {
        says.push(format!("Jobs that support no control: {}.", list(&alone)));
    }
    for job in &report.jobs {
        if let Some(gaps) = job.window_gaps.as_deref().filter(|gaps| !gaps.is_empty()) {
            says.push(format!(
                "Events of {} from {}: no run read them whole, and how many there were is not known.",
                job.job,
                ranges(gaps)
            ));
        }
        let days = told.map(|told| told.without_run(&job.job, report.as_of)).unwrap_or_default();
        if !days.is_empty() {
            let named: Vec<String> = days.iter().map(ToString::to_string).collect();
            says.push(format!("{} on {} without a run: {}.", job.job, plural(days.len() as u64, "day"), list(&named)));
        }
    }
    let refused: BTreeSet<u64> = report.integrity.findings.iter().filter_map(|finding| finding.index).collect();
    if !refused.is_empty() {
        let entries: Vec<String> = refused.iter().map(ToString::to_string).collect();
        says.push(format!("What the entries show that findings of verification name: {}.", list(&entries)));
    }
    says.extend(report.integrity.limits.iter().map(|limit| format!("{} (limit {})", limit.says, limit.code)));
    says
}

/// Whether a control counts by event and nothing dates its events.
fn undated_events(control: &ControlReport, in_force: &InForce) -> bool {
    let by_event =
        control.parts.iter().rev().find(|part| part.frequency == Frequency::PerEvent && !part.scope.is_empty());
    let promised = by_event.and_then(|part| in_force.at(part.from)).and_then(|put| {
        let promised = put.set.controls.iter().find(|promised| promised.id == control.id)?;
        Some(promised.dated_by.is_none())
    });
    promised.unwrap_or(false)
}
