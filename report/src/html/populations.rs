//! Populations that were frozen: what an auditor may draw from, with a hash that the log held before anybody drew.

use maud::{Markup, html};
use signing::population::{Gap, Of};

use super::{
    Context, table,
    words::{at, between, control, days, instant, number, some, t},
};
use crate::model::FrozenPopulation;

/// The most rows in the page.
const MOST: usize = 500;

/// The most gaps of a row that are told.
const GAPS: usize = 4;

/// The populations of the period; nothing in the view of an instant.
pub fn section(context: &Context<'_>) -> Markup {
    let all = &context.report.populations;
    html! {
        @if context.range.is_some() {
            section #populations {
                h2 { "Populations to draw samples from" }
                p.note { "As they were frozen. A list whose hash the log held by a trusted time, before a sample’s seed was chosen, was not \
                    fitted to the draw. " code { "evidenced population --check" } " computes a list again and compares it; " code {
                    "evidenced sample" } " draws from it." }
                @if all.is_empty() { p { "None was frozen in the log. The agent freezes a period’s own after its end, " code {
                    "evidenced population --freeze" } " any other." } } @else {
                    (table::wide("Frozen populations", html! {
                        thead { tr {
                            th scope="col" { "Control" } th scope="col" { "Days" } th scope="col" { "Items are" } th.n scope="col" { "Items" }
                            th scope="col" { "SHA-256 of the list" } th scope="col" { "Gaps: what was not observed" }
                            th scope="col" { "In the log not after (trusted time)" } th scope="col" { "Entry" }
                        } }
                        tbody { @for one in all.iter().take(MOST) { (row(context, one)) } }
                    }))
                    (table::more(all.len(), MOST, "populations", "populations.csv"))
                }
            }
        }
    }
}

fn row(context: &Context<'_>, one: &FrozenPopulation) -> Markup {
    let of = &one.population;
    let told = context.report.controls.iter().any(|control| control.id == of.control);
    html! {
        tr {
            th scope="row" { @if told { (control(&of.control)) } @else { (t(&of.control)) } }
            td {
                (days(one.from, one.to))
                br;
                @if one.judged_up_to < one.to { strong { "judged only up to " (instant(one.judged_up_to)) } }
                @else { span.small { "judged up to " (instant(one.judged_up_to)) } }
            }
            td { (items(of.of)) @if let Some(kind) = &of.kind { br; span.small { (t(kind)) } } }
            td.n { (number(of.count)) }
            td { code { (of.sha256) } }
            td { @if of.not_observed.is_empty() { "none" } @else { (gaps(&of.not_observed)) } }
            td { @match one.not_after { Some(instant) => (at(instant)), None => "no trusted time" } }
            td.n {
                (table::entry(Some(one.entry)))
                @if !one.otherwise.is_empty() {
                    br; strong { "frozen otherwise later: " }
                    @for entry in &one.otherwise { (table::entry(Some(*entry))) " " }
                }
            }
        }
    }
}

fn items(of: Of) -> &'static str {
    match of {
        Of::Occurrences => "times it had to operate",
        Of::Items => "records at the end",
        Of::Events => "records by their own date",
    }
}

fn gaps(all: &[Gap]) -> Markup {
    html! {
        (some(all.len() as u64, "gap"))
        ul.plain { @for gap in all.iter().take(GAPS) { li {
            (t(gap.job_name())) ", from " (instant(gap.from)) ", " (between(gap.from, gap.to))
            @if !gap.reason.is_empty() { ": " (t(&gap.reason)) }
        } } }
        @if all.len() > GAPS { span.small { "all are in " (table::file("report.json")) } }
    }
}
