//! What verification proved of the archive, by which keys, authorities and witnesses, and what it did not.

use maud::{Markup, html};

use super::{
    Context, table,
    words::{count, t},
};

/// The most findings in the page.
const FINDINGS: usize = 200;

/// What was checked, and the limits.
pub fn section(context: &Context<'_>) -> Markup {
    let of = &context.report.integrity;
    html! {
        section #integrity {
            h2 { "Integrity of the archive" }
            p.says { (t(&of.statement)) }
            dl.facts {
                div { dt { "Root key trusted" } dd { code { (t(&of.trust)) } } }
                div { dt { "Entries of the log" } dd { (count(of.entries)) } }
                div { dt { "Root of the log" } dd { @match of.root { Some(root) => { code { (root) } }, None => { "not signed" } } } }
            }
            (table::wide("What was checked", html! {
                tbody { @for one in &of.sections { tr { th scope="row" { span.nw { (t(&one.name)) } } td { (t(&one.says)) } } } }
            }))
            h3 #limits { "Limits: what was not proved" }
            @if of.limits.is_empty() { p { "None beside those of the method." } }
            ul { @for one in &of.limits { li { strong { (one.code) } " " (t(&one.says)) } } }
        }
    }
}

/// What is not as it must be; nothing, where nothing was found.
pub fn findings(context: &Context<'_>) -> Markup {
    let findings = &context.report.integrity.findings;
    html! {
        @if !findings.is_empty() {
            section #findings {
                h2 { "Findings: " (count(findings.len() as u64)) }
                (table::wide("What is not as it must be; evidence that a finding names is not counted", html! {
                    thead { tr { th scope="col" { "Code" } th scope="col" { "Object" } th scope="col" { "Entry" } th scope="col" {
                        "What was found" } } }
                    tbody { @for one in findings.iter().take(FINDINGS) { tr {
                        th scope="row" { span.nw { (one.code.to_string()) } }
                        td { (t(&one.object)) }
                        td.n { (table::entry(one.index)) }
                        td { (t(&one.says)) br; span.small { (one.meaning) } }
                    } } }
                }))
                (table::more(findings.len(), FINDINGS, "findings", "findings.csv"))
            }
        }
    }
}
