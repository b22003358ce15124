//! Sizes of populations as small lines: a day without a run is a gap in the line.

use std::fmt::Write as _;

use chrono::{Datelike as _, NaiveDate};
use maud::{Markup, PreEscaped, html};

use super::{
    Context, table,
    words::{anchor, count, number, t},
};
use crate::model::{Trend, TrendPoint};

/// The most pictures that a report draws, those of privileged accounts first.
const MOST: usize = 150;
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 70.0;

/// Those that are drawn, in the order of the page.
pub fn drawn(trends: &[Trend]) -> Vec<&Trend> {
    let mut drawn: Vec<&Trend> = trends.iter().collect();
    drawn.sort_by_key(|trend| !trend.privileged);
    drawn.truncate(MOST);
    drawn
}

fn place(of: &Trend) -> String {
    anchor("t", &format!("{}/{}/{}", of.job, of.check, of.kind))
}

/// Where a control's trends are.
pub fn of_control(context: &Context<'_>, id: &str) -> Markup {
    let jobs: Vec<_> =
        context.report.jobs.iter().filter(|j| j.controls.iter().any(|c| c == id)).map(|j| &j.job).collect();
    let own: Vec<&&Trend> = context.trends.iter().filter(|trend| jobs.contains(&&trend.job)).collect();
    html! {
        @if !own.is_empty() {
            p.slots { strong { "Trends of its jobs: " }
                @for (n, one) in own.iter().take(12).enumerate() {
                    @if n > 0 { ", " }
                    a href={ "#" (place(one)) } { (t(&one.check)) " in " (t(one.job.as_str())) }
                }
                @if own.len() > 12 { " and " (own.len() - 12) " more in " a href="#trends" { "Trends" } }
            }
        }
    }
}

/// The section.
pub fn section(context: &Context<'_>) -> Markup {
    html! {
        section #trends {
            h2 { "Trends" }
            p.note { "The last run of each day. A day without a run is a gap: nothing is filled in. Solid: rows of the population; \
                dashed: rows that fail; a tick beneath: the list was not whole, and there may be more." }
            @if context.report.trends.is_empty() { p { "No population was read." } }
            div.trends { @for one in &context.trends { (picture(one)) } }
            (table::more(context.report.trends.len(), MOST, "trends", "trends.csv"))
        }
    }
}

fn picture(of: &Trend) -> Markup {
    let (Some(first), Some(last)) = (of.points.first(), of.points.last()) else {
        return html! { article id=(place(of)) { h3 { (head(of)) } p { "No day has a run." } } };
    };
    let days = (last.day - first.day).num_days().max(1) as f64;
    let most = of.points.iter().map(|p| p.size.max(p.fail)).max().unwrap_or(0).max(1);
    let x = |day: NaiveDate| (day - first.day).num_days() as f64 / days * WIDTH;
    let y = |n: u64| HEIGHT - n as f64 / most as f64 * HEIGHT;
    let line = |of_point: &dyn Fn(&TrendPoint) -> u64| {
        let mut path = String::new();
        let mut before: Option<NaiveDate> = None;
        for point in &of.points {
            let joined = before.is_some_and(|before| before.succ_opt() == Some(point.day));
            let (x, y) = (x(point.day), y(of_point(point)));
            // A dot for a day that stands alone: a line of no length with round ends.
            let _ = if joined { write!(path, "L{x:.0} {y:.0}") } else { write!(path, "M{x:.0} {y:.0}h0") };
            before = Some(point.day);
        }
        path
    };
    let ticks = of.points.iter().filter(|p| !p.whole).fold(String::new(), |mut out, point| {
        let _ = write!(out, "M{:.0} {}v6", x(point.day), HEIGHT + 4.0);
        out
    });
    let fails = of.points.iter().any(|p| p.fail > 0);
    let label = format!(
        "{} in {}: {} on {}, {} on {}, at most {}. The table beneath has it by month.",
        of.check, of.job, first.size, first.day, last.size, last.day, most
    );
    html! {
        article id=(place(of)) {
            h3 { (head(of)) }
            svg.trend viewBox="-4 -6 400 92" role="img" aria-label=(t(&label)) {
                path.axis d="M0 0V70H360" {}
                path.size d=(PreEscaped(line(&|p| p.size))) {}
                @if fails { path.fails d=(PreEscaped(line(&|p| p.fail))) {} }
                @if !ticks.is_empty() { path.cut d=(PreEscaped(ticks)) {} }
                text x="364" y="5" { (count(most)) } text x="364" y="74" { "0" }
            }
            table {
                caption { "By month" }
                thead { tr {
                    th scope="col" { "Month" } th scope="col" { "Days run" } th scope="col" { "Smallest" } th scope="col" {
                        "Largest" }
                    th scope="col" { "Last" } th scope="col" { "Most failing" } th scope="col" { "Not whole" }
                } }
                tbody { @for month in of.points.chunk_by(|a, b| (a.day.year(), a.day.month()) == (b.day.year(), b.day.month())) { tr {
                    th.nw scope="row" { (month[0].day.format("%Y-%m")) }
                    td.n { (month.len()) }
                    td.n { (count(month.iter().map(|p| p.size).min().unwrap_or(0))) }
                    td.n { (count(month.iter().map(|p| p.size).max().unwrap_or(0))) }
                    td.n { (count(month[month.len() - 1].size)) }
                    td.n { (number(month.iter().map(|p| p.fail).max().unwrap_or(0))) }
                    td.n { (number(month.iter().filter(|p| !p.whole).count() as u64)) }
                } } }
            }
        }
    }
}

fn head(of: &Trend) -> Markup {
    html! { (t(&of.check)) span.small { " " (t(of.job.as_str())) ", records " (t(&of.kind)) @if of.privileged { ", privileged \
    accounts" } } }
}
