//! The report for the eyes of a person: one HTML file with nothing outside it. No network, no fonts and no scripts of others; it reads
//! without JavaScript, which only the verification of an entry needs (WebCrypto).

use std::{collections::HashMap, io, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use signing::{digest::Digest, time::Utc};

use crate::model::{Approval, Report, Trend, View};

mod calendar;
mod control;
mod head;
mod integrity;
mod populations;
mod table;
mod tables;
mod trends;
mod words;

use words::{days, instant, last_day, t};

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/verify.js");
const SECTION: &str = include_str!("html/verify.html");

/// The page that verifies one entry in a browser: a bundle, its seal, its proof and the keys, with nothing sent anywhere.
pub static VERIFY_PAGE: LazyLock<String> = LazyLock::new(|| {
    let body = html! { body { main { header { h1 { "Verify one entry" } } (PreEscaped(SECTION)) } } };
    let page = html! { (opening("Verify one entry of an evidenced log")) (body) (PreEscaped("</html>\n")) };
    page.into_string()
});

/// What every section needs.
struct Context<'a> {
    report: &'a Report,
    title: String,
    /// The days of the period; `None` for the view of an instant.
    period: Option<calendar::Span>,
    range: Option<(Utc, Utc)>,
    approvals: HashMap<&'a str, &'a Approval>,
    trends: Vec<&'a Trend>,
}

impl<'a> Context<'a> {
    fn new(report: &'a Report) -> Self {
        let (title, range) = match report.view {
            View::Period { from, to } => (format!("Evidence of controls, {}", days(from, to)), Some((from, to))),
            View::PointInTime { at } => (format!("Evidence of controls at {}", instant(at)), None),
        };
        Self {
            report,
            title,
            period: range.map(|(from, to)| calendar::Span {
                first: from.date_naive(),
                last: last_day(to).max(from.date_naive()),
            }),
            range,
            approvals: report.approvals.iter().map(|one| (one.id.as_str(), one)).collect(),
            trends: trends::drawn(&report.trends),
        }
    }
}

/// Writes the report: one file, UTF-8. The same report gives the same bytes.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let context = Context::new(report);
    let mut put = |part: Markup| out.write_all(part.0.as_bytes());
    let mark = if report.integrity.intact { "" } else { "NOT INTACT: " };
    put(opening(&format!("{mark}{}, {}", context.title, report.origin)))?;
    put(PreEscaped("<body>".to_owned()))?;
    put(html! { a.skip href="#summary" { "To the controls" } })?;
    put(PreEscaped("<main>".to_owned()))?;
    put(head::head(&context))?;
    put(head::contents(&context))?;
    put(integrity::section(&context))?;
    put(integrity::findings(&context))?;
    put(head::summary(&context))?;
    if !report.controls.is_empty() {
        put(PreEscaped("<section id=\"controls\"><h2>Each control</h2>".to_owned()))?;
        put(head::control_links(&report.controls))?;
        for one in &report.controls {
            put(control::section(&context, one))?;
        }
        put(PreEscaped("</section>".to_owned()))?;
    }
    let parts: [fn(&Context<'_>) -> Markup; 12] = [
        tables::deviations,
        tables::criteria,
        tables::hipaa,
        tables::others,
        tables::changes,
        tables::drifts,
        trends::section,
        tables::jobs,
        tables::approvals,
        populations::section,
        tables::not_shown,
        tables::entries,
    ];
    for part in parts {
        put(part(&context))?;
    }
    put(PreEscaped(SECTION.to_owned()))?;
    put(PreEscaped("</main></body></html>\n".to_owned()))
}

/// From the first byte to the end of the head. The policy forbids every request; style and script are allowed by digest alone.
fn opening(title: &str) -> Markup {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Digest::of(text.as_bytes()).0));
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'none'; img-src data:; form-action 'none'; base-uri 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    html! {
        (DOCTYPE)
        (PreEscaped("<html lang=\"en\">"))
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(policy);
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="referrer" content="no-referrer";
            meta name="color-scheme" content="light dark";
            // An icon of its own, lest the browser asks for one.
            link rel="icon" href="data:,";
            title { (t(title)) }
            style { (PreEscaped(STYLE)) }
            script type="module" { (PreEscaped(SCRIPT)) }
        }
    }
}

#[cfg(test)]
mod tests;
