//! One control: what was promised, what was observed day by day, and what deviated.

use std::collections::BTreeMap;

use maud::{Markup, html};
use signing::layout::Job;

use super::{
    Context,
    calendar::{legend, mark, picture, strip},
    table, trends,
    words::{
        anchor, at, between, control, count, cut, days, ended, frequency, instant, number, outcome, slots, some, span,
        state, strength, t,
    },
};
use crate::model::{Approval, ControlReport, Deviation, Link, Occurrence, OccurrenceState, Part};

/// The most rows of a control's own tables; every one is in the CSV.
const MOST: usize = 60;

/// The most deviations, each of which takes several lines.
const MOST_DEVIATIONS: usize = 30;

/// A control's section.
pub fn section(context: &Context<'_>, of: &ControlReport) -> Markup {
    let observed = of.counts.is_evidenced();
    html! {
        section.control id=(anchor("c", &of.id)) {
            h3 { span.id { (t(&of.id)) } " " (t(&of.title)) }
            p.statement { (t(&of.statement)) }
            dl.facts {
                div { dt { "Owner" } dd { @if of.owner.is_empty() { "none named" } @else { (t(&of.owner)) } } }
                div { dt { "Frequency" } dd { (frequency(of.frequency)) } }
                div { dt { "Evidence items" } dd {
                    @if of.items.is_empty() { "none" } @else { (t(&of.items.join(", "))) }
                } }
                div { dt { "Supports" } dd { (links(context, of)) } }
                @if context.period.is_some() {
                    div { dt { "Last complete run" } dd {
                        @match of.last_complete { Some(last) => (instant(last)), None => "none" }
                    } }
                }
            }
            @if !of.says.is_empty() { p.says { (t(&of.says)) } }
            @if context.period.is_some() {
                (tiles(of))
                @if !observed && of.counts.required > 0 { p.warn { strong { "Not evidenced:" } " no occurrence was observed." } }
                (calendar(context, of))
                (stretches(context, of))
            } @else {
                (observations(of))
            }
            p.slots { strong { "How it was looked at: " } (slots(&of.slots)) }
            (deviations(context, of))
            (trends::of_control(context, &of.id))
            (parts(context, of))
        }
    }
}

fn links(context: &Context<'_>, of: &ControlReport) -> Markup {
    // A framework that was not asked for has no section.
    let listed = |link: &Link| match link.framework {
        "soc2" => context.report.criteria.iter().any(|one| one.id == link.criterion),
        _ => context.report.hipaa.iter().any(|one| one.citation == link.criterion),
    };
    html! {
        @if of.links.is_empty() { "nothing" }
        @for (n, link) in of.links.iter().enumerate() {
            @if n > 0 { ", " }
            @if listed(link) { a href={ "#" (anchor(link.framework, &link.criterion)) } { (t(&link.criterion)) } }
            @else { (t(&link.criterion)) }
            " (" (strength(link.strength)) ")"
        }
    }
}

fn tiles(of: &ControlReport) -> Markup {
    let c = of.counts;
    html! {
        dl.tiles {
            div { dt { "required" } dd { (count(c.required)) } }
            div { dt { "operated" } dd { (count(c.operated)) } }
            div.bad[c.deviation > 0] { dt { "deviation" } dd { (count(c.deviation)) } }
            div.gap[c.not_observed > 0] { dt { "not observed" } dd { (count(c.not_observed)) } }
            div { dt { "no occasion" } dd { (count(c.no_occasion)) } }
            div { dt { "open" } dd { (count(c.open)) } }
        }
    }
}

fn by_job(of: &ControlReport) -> BTreeMap<Option<&Job>, Vec<&Occurrence>> {
    let mut jobs: BTreeMap<Option<&Job>, Vec<&Occurrence>> = BTreeMap::new();
    for part in &of.parts {
        for (job, _) in &part.scope {
            jobs.entry(Some(job)).or_default();
        }
    }
    of.occurrences.iter().for_each(|one| jobs.entry(one.job.as_ref()).or_default().push(one));
    jobs
}

fn calendar(context: &Context<'_>, of: &ControlReport) -> Markup {
    let Some(period) = context.period else { return html! {} };
    let jobs = by_job(of);
    let label = format!(
        "Calendar of {}: {} operated, {} deviation, {} not observed, {} no occasion, {} open. The table beneath names the days.",
        of.id, of.counts.operated, of.counts.deviation, of.counts.not_observed, of.counts.no_occasion, of.counts.open
    );
    html! {
        h4 { "Day by day" @if jobs.len() > 1 { ": the worst of " (some(jobs.keys().flatten().count() as u64, "job")) } }
        @if of.occurrences.is_empty() {
            p { "Nothing was required, and nothing was seen." }
        } @else {
            figure {
                (picture(&label, period, &of.occurrences))
                (legend())
            }
            @if jobs.len() > 1 {
                table.strips {
                    caption { "Each job over the period; the taller a mark, the worse the day" }
                    @for (job, occurrences) in jobs.iter().take(MOST) {
                        tr {
                            th scope="row" { (t(name(*job))) }
                            td { (strip(&strip_label(name(*job), occurrences), period, occurrences.iter().copied())) }
                            td.n { (strip_counts(occurrences)) }
                        }
                    }
                }
                (table::more(jobs.len(), MOST, "jobs", "occurrences.csv"))
            }
        }
        @if of.more_occurrences > 0 {
            p.warn { (some(of.more_occurrences, "further occurrence")) " are counted above and not drawn; " (table::file("occurrences.csv")) " has every one." }
        }
    }
}

/// A job's name, or `no job`.
fn name(job: Option<&Job>) -> &str {
    job.map_or("no job", Job::as_str)
}

fn strip_label(job: &str, of: &[&Occurrence]) -> String {
    format!("{job}: {}", strip_counts(of))
}

fn strip_counts(of: &[&Occurrence]) -> String {
    let n = |wanted| of.iter().filter(|one| one.state == wanted).count() as u64;
    let (bad, gap) = (n(OccurrenceState::Deviation), n(OccurrenceState::NotObserved));
    match (bad, gap) {
        (0, 0) => format!("{} operated", count(n(OccurrenceState::Operated))),
        (bad, 0) => some(bad, "deviation"),
        (0, gap) => format!("{} not observed", count(gap)),
        (bad, gap) => format!("{}, {} not observed", some(bad, "deviation"), count(gap)),
    }
}

/// Occurrences that follow each other and say the same.
struct Stretch<'a> {
    first: &'a Occurrence,
    last: &'a Occurrence,
    count: u64,
}

fn stretches(context: &Context<'_>, of: &ControlReport) -> Markup {
    let mut found: Vec<Stretch<'_>> = Vec::new();
    // One that operated by a record has a reason where its time was not read whole.
    for one in of.occurrences.iter().filter(|one| one.state != OccurrenceState::Operated || !one.reason.is_empty()) {
        match found.last_mut() {
            Some(last)
                if last.last.to == one.from
                    && one.from != one.to
                    && (&last.first.job, last.first.state, &last.first.reason, last.first.part)
                        == (&one.job, one.state, &one.reason, one.part) =>
            {
                last.last = one;
                last.count += 1;
            }
            _ => found.push(Stretch { first: one, last: one, count: 1 }),
        }
    }
    let all = found.len();
    // What matters most stays where there are too many.
    let rank = |stretch: &Stretch<'_>| match stretch.first.state {
        OccurrenceState::Deviation => 0,
        OccurrenceState::NotObserved => 1,
        OccurrenceState::Operated => 2,
        _ => 3,
    };
    if all > MOST {
        found.sort_by_key(rank);
        found.truncate(MOST);
    }
    let part = of.parts.len() > 1;
    html! {
        @if !found.is_empty() {
            (table::wide(&format!("Occurrences of {} that did not operate, or of which not all was read", of.id), html! {
                thead { tr {
                    th scope="col" { "Days" } th scope="col" { "Occurrences" } th scope="col" { "State" }
                    th scope="col" { "Job" } th scope="col" { "Why" } th scope="col" { "Entry" }
                    @if part { th scope="col" { "Part" } }
                } }
                tbody { @for one in &found { tr {
                    td.day { (days(one.first.from, one.last.to)) }
                    td.n { (number(one.count)) }
                    td { (mark(one.first.state)) }
                    td { (t(one.first.job_name())) }
                    td { @if let Some(record) = &one.first.record { (t(record)) ": " } (t(&one.first.reason)) }
                    td.n { (table::entry(one.first.entry)) }
                    @if part { td.n { (one.first.part + 1) } }
                } } }
            }))
            (table::more(all, MOST, "stretches", "occurrences.csv"))
        } @else if context.period.is_some() && of.counts.required > 0 {
            p { "Every required occurrence was observed and operated." }
        }
    }
}

fn observations(of: &ControlReport) -> Markup {
    html! {
        h4 { "Last complete observation" }
        @if of.observations.is_empty() {
            p { "No job was in scope." }
        } @else {
            (table::wide(&format!("Last complete observation of {} in each job", of.id), html! {
                thead { tr {
                    th scope="col" { "Job" } th scope="col" { "Observed (UTC)" } th scope="col" { "Age" }
                    th scope="col" { "What each check found" } th scope="col" { "Incomplete runs since" } th scope="col" { "Entry" }
                } }
                tbody { @for one in &of.observations { tr {
                    th scope="row" { (t(one.job.as_str())) }
                    td { @match one.at { Some(seen) => (at(seen)), None => strong { "none" } } }
                    td { @if let Some(age) = one.age_seconds { (span(age)) } }
                    td { ul.plain { @for check in &one.checks { li {
                        @if check.outcome == controls::Outcome::Fail { strong { "fail" } } @else { (outcome(check.outcome)) } " "
                            (t(&check.check)) ": "
                        (count(check.rows.pass)) " pass, " (count(check.rows.fail)) " fail, " (count(check.rows.unknown)) " unknown"
                        @if check.rows.exempt > 0 { ", " (count(check.rows.exempt)) " exempt" }
                        @if check.rows.not_applicable > 0 { ", proved absent" }
                    } } } }
                    td.n { (number(one.incomplete_since)) }
                    td.n { (table::entry(one.entry)) }
                } } }
            }))
        }
    }
}

fn deviations(context: &Context<'_>, of: &ControlReport) -> Markup {
    let mut own: Vec<&Deviation> =
        context.report.deviations.iter().filter(|one| one.controls.contains(&of.id)).collect();
    let all = own.len();
    own.sort_by_key(|one| one.ended.is_some());
    own.truncate(MOST_DEVIATIONS);
    html! {
        h4 { "Deviations: " (count(of.deviations)) @if of.deviations > 0 { ", " (count(of.open_deviations)) " of them open" } }
        @if own.is_empty() {
            p { @if of.deviations == 0 { "None was seen" @if of.last_complete.is_none() { ": no run was complete" } "." } @else { "They are in " (table::file("deviations.csv")) "." } }
        } @else {
            (table::wide(&format!("Deviations of {}, open ones first", of.id), html! {
                (deviation_head(false))
                tbody { @for one in &own { (deviation(context, one, false)) } }
            }))
            (table::more(all, MOST_DEVIATIONS, "deviations", "deviations.csv"))
        }
    }
}

/// The head of a table of deviations.
pub fn deviation_head(with_controls: bool) -> Markup {
    html! {
        thead { tr {
            th scope="col" { "Deviation" }
            @if with_controls { th scope="col" { "Controls" } }
            th scope="col" { "Record" } th scope="col" { "What the check says" }
            th scope="col" { "First seen (UTC)" } th scope="col" { "Last seen (UTC)" } th scope="col" { "How long" } th scope="col" {
                "State" }
        } }
    }
}

/// A deviation, and beneath it what people said of it.
pub fn deviation(context: &Context<'_>, of: &Deviation, with_controls: bool) -> Markup {
    let until = of.ended.as_ref().map_or(context.report.as_of, |end| end.at);
    let said: Vec<&Approval> =
        of.waivers.iter().chain(&of.responses).filter_map(|id| context.approvals.get(id.as_str()).copied()).collect();
    html! {
        tr {
            th scope="row" { span.nw.id { (t(&of.id)) } br; span.small { (t(of.job.as_str())) " / " (t(&of.check)) } }
            @if with_controls { td {
                @if of.controls.is_empty() { "none" }
                @for (n, id) in of.controls.iter().enumerate() { @if n > 0 { ", " } (control(id)) }
            } }
            td { (t(&cut(&of.record, 160))) }
            td { (t(&cut(&of.says, 400))) }
            td {
                (at(of.first_seen)) " " (table::entry(Some(of.first_entry)))
                @if let Some(before) = of.not_before { br; span.small { "not so at " (at(before)) } }
                @else { br; span.small { "so at the first look" } }
            }
            td { (at(of.last_seen)) " " (table::entry(Some(of.last_entry))) br; span.small { (some(of.runs, "run")) } }
            td.nw { (between(of.first_seen, until)) }
            td {
                @match &of.ended {
                    None => { strong { "fail, open" } },
                    Some(end) => { "closed " (at(end.at)) ": " (t(ended(end.how))) " " (table::entry(Some(end.entry))) },
                }
                @for id in &of.waivers { (accepted(context, id)) }
            }
        }
        @for one in said.iter().filter(|one| one.kind == "response") {
            tr.word { td colspan=(if with_controls { 8 } else { 7 }) {
                strong { "Management’s word" } " (" (t(&one.approver)) ", " (table::entry(Some(one.entry))) "): " (t(&one.text))
                @if !one.void.is_empty() { " " strong { "It does not count: " } (t(&one.void)) }
            } }
        }
    }
}

fn accepted(context: &Context<'_>, id: &str) -> Markup {
    html! {
        br;
        @match context.approvals.get(id) {
            Some(one) if !one.void.is_empty() => { span.small { "waiver " (t(id)) " does not apply: " (t(&one.void)) } },
            Some(one) => { span.accepted {
                "fail, accepted until " (one.until.map_or_else(|| "an open date".to_owned(), instant)) " by " (t(&one.approver))
                " (" a href={ "#" (anchor("a", id)) } { (t(id)) } ")"
            } },
            None => { span.small { "waiver " (t(id)) } },
        }
    }
}

fn parts(context: &Context<'_>, of: &ControlReport) -> Markup {
    html! {
        @if context.period.is_some() && !of.parts.is_empty() {
            h4 { @if of.parts.len() == 1 { "In force over the whole period" } @else { "What was in force: " (some(of.parts.len() as
                u64, "part")) } }
            (table::wide(&format!("What was in force for {}", of.id), html! {
                thead { tr {
                    th scope="col" { "Part" } th scope="col" { "Days" } th scope="col" { "Why it begins" } th scope="col" { "Frequency" }
                    th scope="col" { "Scope" }
                    @for of in [OccurrenceState::Operated, OccurrenceState::Deviation, OccurrenceState::NotObserved] {
                        th scope="col" { (state(of)) }
                    }
                } }
                tbody { @for (n, part) in of.parts.iter().take(MOST).enumerate() { (part_row(of, n, part)) } }
            }))
            (table::more(of.parts.len(), MOST, "parts", "parts.csv"))
        }
    }
}

fn part_row(of: &ControlReport, n: usize, part: &Part) -> Markup {
    html! {
        tr {
            th scope="row" { (n + 1) }
            td.day { (days(part.from, part.to)) }
            td {
                (t(&part.because))
                @if part.document.is_none() { " " span.small { "No controls were logged yet: the first ones that were are used." } }
                @if part.statement != of.statement { br; span.small { "Promised then: " (t(&part.statement)) } }
            }
            td { (frequency(part.frequency)) }
            td {
                ul.plain {
                    @for (job, checks) in part.scope.iter().take(12) {
                        li { (t(job.as_str())) " " code title={ "SHA-256 of its checks: " (checks) } { (cut(&checks.to_string(), 8)) } }
                    }
                    @if part.scope.len() > 12 { li { "and " (part.scope.len() - 12) " more: all in " (table::file("scope.csv")) } }
                    @for (job, why) in &part.left_out { li { "left out: " (t(job.as_str())) ": " (t(why)) } }
                }
                @if part.scope.is_empty() { strong { "no job" } }
            }
            td.n { (number(part.counts.operated)) }
            td.n { (number(part.counts.deviation)) }
            td.n { (number(part.counts.not_observed)) }
        }
    }
}
