//! The head: what this is and is not, whether the archive is intact, and every control in one table.

use maud::{Markup, html};

use super::{
    Context,
    calendar::shares,
    table,
    words::{anchor, category, control, count, days, frequency, instant, number, outcome, some, span, t},
};
use crate::model::{ControlReport, OccurrenceState, View};

/// Title, integrity in one glance, what it is not.
pub fn head(context: &Context<'_>) -> Markup {
    let report = context.report;
    let intact = report.integrity.intact;
    let frameworks = frameworks(context);
    html! {
        header {
            p.integrity.no[!intact].yes[intact] role="status" {
                @if intact {
                    strong { "Archive intact" }
                    " Verification found nothing wrong"
                    @if report.integrity.limits.is_empty() { "." }
                    @else { ", with " a href="#limits" { (some(report.integrity.limits.len() as u64, "limit")) } "." }
                } @else {
                    strong { "NOT INTACT" }
                    " Verification found " (some(report.integrity.findings.len() as u64, "thing"))
                    " wrong. What a finding names is not counted as evidence. "
                    a href="#findings" { "Findings" }
                }
            }
            h1 { (context.title) }
            dl.facts {
                div { dt { "Log" } dd { (t(&report.origin)) } }
                @match report.view {
                    View::Period { from, to } => { div { dt { "Period" } dd { (days(from, to)) " (UTC, both days included)" } } }
                    View::PointInTime { at } => { div { dt { "At" } dd { (instant(at)) } } }
                }
                div { dt { "Judged up to" } dd { (instant(report.as_of)) } }
                div { dt { "Frameworks" } dd { @if frameworks.is_empty() { "none" } @else { (t(&frameworks)) } } }
                div { dt { "Prepared by" } dd { "management’s tool, evidenced " (t(&report.program)) } }
            }
            div.notice {
                h2 { "Read this first" }
                ul {
                    @for line in &report.notice { li { (t(line)) } }
                    @if report.notice.is_empty() {
                        li { "Prepared by management’s tool. Not a SOC 2 report, an opinion or a HIPAA determination; mappings not \
                            reviewed by a CPA or counsel." }
                    }
                    li { a href="#not-shown" { "What this evidence does not show" } }
                }
            }
        }
    }
}

fn frameworks(context: &Context<'_>) -> String {
    let of = &context.report.frameworks;
    let mut names = Vec::new();
    if !of.soc2.is_empty() {
        let categories: Vec<&str> = of.soc2.iter().map(|one| category(*one)).collect();
        names.push(format!("SOC 2 ({})", categories.join(", ")));
    }
    if let Some(role) = &of.hipaa {
        names.push(format!("HIPAA Security Rule ({})", role.replace('_', " ")));
    }
    names.join(", ")
}

/// Every control in a line.
pub fn summary(context: &Context<'_>) -> Markup {
    let controls = &context.report.controls;
    html! {
        section #summary {
            h2 { "Controls" }
            @if controls.is_empty() { p { "No control was in force." } }
            @else if context.period.is_some() { (glance(context)) (period(controls)) }
            @else { (instant_table(controls)) }
        }
    }
}

fn glance(context: &Context<'_>) -> Markup {
    let controls = &context.report.controls;
    let with = |test: &dyn Fn(&ControlReport) -> bool| controls.iter().filter(|one| test(one)).count();
    let bad = with(&|one| one.counts.deviation > 0);
    let gaps = with(&|one| one.counts.not_observed > 0);
    let none = with(&|one| !one.counts.is_evidenced());
    let open = context.report.deviations.iter().filter(|one| one.ended.is_none()).count();
    html! {
        dl.tiles {
            div { dt { "controls" } dd { (controls.len()) } }
            div.bad[bad > 0] { dt { "with a deviation" } dd { (bad) } }
            div.gap[gaps > 0] { dt { "with times not observed" } dd { (gaps) } }
            div.gap[none > 0] { dt { "not evidenced" } dd { (none) } }
            div.bad[open > 0] { dt { "deviations open" } dd { (count(open as u64)) } }
        }
    }
}

fn period(controls: &[ControlReport]) -> Markup {
    html! {
        (table::wide("Occurrences that each control required, and what was seen of them", html! {
            thead { tr {
                th scope="col" { "Control" } th scope="col" { "Owner" } th scope="col" { "Frequency" }
                @for head in ["Required", "Operated", "Deviation", "Not observed", "No occasion", "Open"] { th.n scope="col" { (head) } }
                th scope="col" { "Share" }
                th.n scope="col" { "Records (open)" }
            } }
            tbody { @for one in controls {
                @let c = one.counts;
                tr {
                    th scope="row" { (control(&one.id)) " " (t(&one.title)) @if !c.is_evidenced() { " " strong.tag { "not \
                        evidenced" } } }
                    td { (t(&one.owner)) }
                    td { (frequency(one.frequency)) }
                    td.n { (number(c.required)) }
                    td.n { (number(c.operated)) }
                    td.n.bad[c.deviation > 0] { (number(c.deviation)) }
                    td.n.gap[c.not_observed > 0] { (number(c.not_observed)) }
                    td.n { (number(c.no_occasion)) }
                    td.n { (number(c.open)) }
                    td { (shares(&[
                        (OccurrenceState::Operated, c.operated),
                        (OccurrenceState::NotObserved, c.not_observed),
                        (OccurrenceState::Deviation, c.deviation),
                    ])) }
                    td.n { (number(one.deviations)) @if one.open_deviations > 0 { " (" (count(one.open_deviations)) ")" } }
                }
            } }
        }))
        p.note {
            "Required = operated + deviation + not observed. A deviation is an occurrence in which a failure was seen, whatever other \
                runs say. Not observed: no complete run shows it; it is not counted as operated. "
            "In the column Share: low operated, middle not observed, tall deviation."
        }
    }
}

fn instant_table(controls: &[ControlReport]) -> Markup {
    html! {
        p.note { "The last complete observation of each control, and how old it was. It says nothing of how a control worked over time." }
        (table::wide("Each control as last observed completely", html! {
            thead { tr {
                th scope="col" { "Control" } th scope="col" { "Owner" } th scope="col" { "Last complete observation" } th scope="col"
                    { "Age of the oldest" }
                th scope="col" { "Jobs observed" } th scope="col" { "What checks found" } th.n scope="col" { "Deviations open" }
            } }
            tbody { @for one in controls {
                @let seen = one.observations.iter().filter(|o| o.at.is_some()).count();
                tr {
                    th scope="row" { (control(&one.id)) " " (t(&one.title)) @if seen == 0 { " " strong.tag { "not evidenced" } } }
                    td { (t(&one.owner)) }
                    td { @match one.last_complete { Some(last) => (instant(last)), None => strong { "none" } } }
                    td { @if let Some(age) = one.observations.iter().filter_map(|o| o.age_seconds).max() { (span(age)) } }
                    td.n.gap[seen < one.observations.len()] { (seen) " of " (one.observations.len()) }
                    td { (found(one)) }
                    td.n.bad[one.open_deviations > 0] { (number(one.open_deviations)) }
                }
            } }
        }))
    }
}

fn found(one: &ControlReport) -> String {
    use ::controls::Outcome::{Fail, NotApplicable, NotTested, Pass, Unknown};
    let checks = || one.observations.iter().flat_map(|o| &o.checks);
    let parts: Vec<String> = [Fail, Unknown, Pass, NotTested, NotApplicable]
        .into_iter()
        .filter_map(|of| {
            let n = checks().filter(|check| check.outcome == of).count();
            (n > 0).then(|| format!("{n} {}", outcome(of)))
        })
        .collect();
    match () {
        () if !parts.is_empty() => parts.join(", "),
        () if one.observations.is_empty() => "no job looks at it".to_owned(),
        () => "no complete run".to_owned(),
    }
}

/// The contents.
pub fn contents(context: &Context<'_>) -> Markup {
    let report = context.report;
    let parts = [
        ("integrity", "Integrity", true),
        ("findings", "Findings", !report.integrity.findings.is_empty()),
        ("summary", "Controls", true),
        ("controls", "Each control", !report.controls.is_empty()),
        ("deviations", "Deviations", true),
        ("soc2", "SOC 2", !report.criteria.is_empty()),
        ("hipaa", "HIPAA", !report.hipaa.is_empty()),
        (
            "others",
            "What others must do",
            !report.user_entity_controls.is_empty() || !report.vendor_expectations.is_empty(),
        ),
        ("changes", "Changes", true),
        ("drift", "Drift", true),
        ("trends", "Trends", true),
        ("jobs", "Jobs", true),
        ("approvals", "What people signed", true),
        ("populations", "Populations", context.period.is_some()),
        ("not-shown", "What is not shown", true),
        ("entries", "Entries named", !report.evidence.is_empty()),
        ("verify", "Verify one entry", true),
    ];
    html! {
        nav aria-label="Contents" { ul {
            @for (place, name, there) in parts { @if there { li { a href={ "#" (place) } { (name) } } } }
        } }
    }
}

/// The controls' ids as a line of links.
pub fn control_links(controls: &[ControlReport]) -> Markup {
    html! {
        p.links { @for (n, one) in controls.iter().enumerate() { @if n > 0 { " · " } a href={ "#" (anchor("c", &one.id)) } {
            (t(&one.id)) } } }
    }
}
