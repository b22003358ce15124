//! The tables behind the controls: criteria, changes, drift, jobs, approvals.

use maud::{Markup, html};
use serde_json::Value;

use super::{
    Context,
    calendar::bars,
    control::{deviation, deviation_head},
    table,
    words::{
        anchor, at, category, change, control, control_list, count, criterion, cut, days, drift, instant, missed,
        number, requirement, strength, t, treatment,
    },
};
use crate::model::{Approval, ChangeEntry, CriterionState, DayCounts, DriftEvent, JobReport, LinkedControl};
use signing::statement::Outcome;

/// The most rows of a table in the page.
const MOST: usize = 500;

/// SOC 2.
pub fn criteria(context: &Context<'_>) -> Markup {
    let all = &context.report.criteria;
    html! {
        @if !all.is_empty() {
            section #soc2 {
                h2 { "SOC 2: Trust Services Criteria" }
                p.note { "Identifiers are the AICPA’s; the words are our paraphrase. “Evidence mapped” says that evidence was \
                    collected of controls that are mapped to it, and no more: the mapping was not reviewed by a CPA." }
                (states(all.iter().map(|c| c.state)))
                (table::wide("SOC 2 criteria and the controls mapped to them", html! {
                    (criteria_head(false))
                    @for group in all.chunk_by(|a, b| a.group == b.group) {
                        tbody {
                            tr { th.group colspan="4" scope="rowgroup" { (category(group[0].category)) ": " (t(&group[0].group)) } }
                            @for one in group { tr id=(anchor("soc2", &one.id)) {
                                th scope="row" { (t(&one.id)) br; span.small { (t(&one.paraphrase)) } }
                                td { (treatment(&one.treatment)) }
                                td { (state_of(one.state)) }
                                td { (linked(&one.controls)) }
                            } }
                        }
                    }
                }))
            }
        }
    }
}

/// HIPAA.
pub fn hipaa(context: &Context<'_>) -> Markup {
    let all = &context.report.hipaa;
    html! {
        @if !all.is_empty() {
            section #hipaa {
                h2 { "HIPAA Security Rule" @if let Some(role) = &context.report.frameworks.hipaa { ", as " (t(&role.replace('_', " \
                    "))) } }
                p.note { "45 CFR Part 164, Subpart C, in our paraphrase. Not a HIPAA determination; the mapping was not reviewed by \
                    counsel. Thresholds are the organisation’s own." }
                (states(all.iter().map(|c| c.state)))
                (table::wide("HIPAA standards and specifications and the controls mapped to them", html! {
                    (criteria_head(true))
                    tbody { @for one in all { tr id=(anchor("hipaa", &one.citation)) {
                        th scope="row" {
                            (t(&one.citation)) " " (t(&one.title))
                            @if one.proposed { " " strong { "proposed, not in effect" } }
                            br; span.small { (t(&one.paraphrase)) }
                            @if let Some(role) = one.binds { br; span.small { "for a " (role.replace('_', " ")) " alone" } }
                            @if let Some(from) = &one.effective { br; span.small { "text in effect from " (t(from)) } }
                        }
                        td { (requirement(one.requirement)) }
                        td { (treatment(&one.treatment)) }
                        td { (state_of(one.state)) }
                        td { (linked(&one.controls)) }
                        td { @if let Some(decision) = &one.decision { (t(decision)) } }
                    } } }
                }))
            }
        }
    }
}

fn criteria_head(hipaa: bool) -> Markup {
    html! {
        thead { tr {
            th scope="col" { @if hipaa { "Standard or specification" } @else { "Criterion" } }
            @if hipaa { th scope="col" { "Kind" } }
            th scope="col" { "Whose" } th scope="col" { "What it has" } th scope="col" { "Controls" }
            @if hipaa { th scope="col" { "Decision, where addressable" } }
        } }
    }
}

const CRITERION_STATES: [CriterionState; 5] = [
    CriterionState::EvidenceMapped,
    CriterionState::PartlyMapped,
    CriterionState::CarvedOut,
    CriterionState::NotApplicable,
    CriterionState::NotCovered,
];

fn states(all: impl Iterator<Item = CriterionState>) -> Markup {
    let all: Vec<CriterionState> = all.collect();
    html! {
        dl.tiles { @for of in CRITERION_STATES {
            @let n = all.iter().filter(|one| **one == of).count();
            div.gap[of == CriterionState::NotCovered && n > 0] { dt { (criterion(of)) } dd { (n) } }
        } }
    }
}

fn state_of(of: CriterionState) -> Markup {
    html! { span.nw { @match of {
        CriterionState::NotCovered => { strong { (criterion(of)) } },
        of => { (criterion(of)) },
    } } }
}

fn linked(controls: &[LinkedControl]) -> Markup {
    html! {
        @if controls.is_empty() { "no control" }
        ul.plain { @for one in controls { li {
            (control(&one.control)) " (" (strength(one.strength)) ")" @if !one.evidenced { ": not evidenced" }
        } } }
    }
}

/// What others are expected to do.
pub fn others(context: &Context<'_>) -> Markup {
    let report = context.report;
    html! {
        @if !report.user_entity_controls.is_empty() || !report.vendor_expectations.is_empty() {
            section #others {
                h2 { "What others must do" }
                @if !report.user_entity_controls.is_empty() {
                    (table::wide("Complementary user entity controls: expected of those who use the services, and not observed here",
                        html! {
                        thead { tr { th scope="col" { "Id" } th scope="col" { "Expected" } } }
                        tbody { @for one in &report.user_entity_controls { tr { th scope="row" { (t(&one.id)) } td { (t(&one.text)) }
                            } } }
                    }))
                }
                @if !report.vendor_expectations.is_empty() {
                    (table::wide("What vendors expect of the organisation", html! {
                        thead { tr { th scope="col" { "Vendor" } th scope="col" { "Expected" } th scope="col" { "Answered by" } } }
                        tbody { @for one in &report.vendor_expectations { tr {
                            th scope="row" { (t(&one.vendor)) }
                            td { (t(&one.text)) }
                            td { @if one.controls.is_empty() { strong { "no control" } } @else { (control_list(&one.controls)) } }
                        } } }
                    }))
                }
            }
        }
    }
}

/// All deviations.
pub fn deviations(context: &Context<'_>) -> Markup {
    let all = &context.report.deviations;
    let open = all.iter().filter(|one| one.ended.is_none()).count();
    html! {
        section #deviations {
            h2 { "Deviations of all jobs" }
            p.note { "A record that fails a check, from first to last sight: one that fails in 720 runs is one deviation. Those that \
                ended stay in." }
            @if all.is_empty() { p { "None was seen." } } @else {
                p { (count(all.len() as u64)) " seen, " (count(open as u64)) " of them open. In order of first sight." }
                (table::wide("All deviations", html! {
                    (deviation_head(true))
                    tbody { @for one in all.iter().take(MOST) { (deviation(context, one, true)) } }
                }))
                (table::more(all.len(), MOST, "deviations", "deviations.csv"))
            }
        }
    }
}

/// What changed of what was promised and looked at.
pub fn changes(context: &Context<'_>) -> Markup {
    let all = &context.report.changes;
    html! {
        section #changes {
            h2 { "Changes of scope, controls, checks and plans" }
            p.note { "Each part of the period is judged by what was in force then, never by what came later." }
            @if all.is_empty() { p { "None." } } @else {
                (table::wide("Changes", html! {
                    thead { tr {
                        th scope="col" { "When (UTC)" } th scope="col" { "Of what" } th scope="col" { "What changed" }
                        th scope="col" { "Looks less?" } th scope="col" { "Reason given" } th scope="col" { "Entry" }
                    } }
                    tbody { @for one in all.iter().take(MOST) { (change_row(one)) } }
                }))
                (table::more(all.len(), MOST, "changes", "changes.csv"))
            }
        }
    }
}

fn change_row(one: &ChangeEntry) -> Markup {
    html! {
        tr {
            td { (at(one.at)) }
            th scope="row" { (change(one.kind)) " " (t(&one.subject)) }
            td { (t(&one.says)) }
            td { @match one.lowers { Some(true) => strong { "yes" }, Some(false) => "no", None => "cannot be told" } }
            td { @if one.reason.is_empty() { em { "none" } } @else { (t(&one.reason)) } }
            td.n { (table::entry(Some(one.entry))) }
        }
    }
}

/// What changed between runs.
pub fn drifts(context: &Context<'_>) -> Markup {
    let report = context.report;
    let notable = report.drift.iter().filter(|one| one.notable.is_some()).count();
    let all = report.drift.len() as u64 + report.more_drift;
    // Notable events first where not all can be listed, and all in order of time.
    let mut listed: Vec<&DriftEvent> = report.drift.iter().filter(|one| one.notable.is_some()).take(MOST).collect();
    listed.extend(report.drift.iter().filter(|one| one.notable.is_none()).take(MOST - listed.len()));
    listed.sort_by_key(|one| one.at);
    html! {
        section #drift {
            h2 { "Drift: what changed between runs" }
            p.note { "Records of successive runs compared. When something changed between two runs is not known; what came and went \
                between them was not seen." }
            @if all == 0 { p { "No record changed." } } @else {
                p { (count(all)) " events, " (count(notable as u64)) " of them notable." }
                (table::wide("Time line of changed records", html! {
                    thead { tr {
                        th scope="col" { "Seen (UTC)" } th scope="col" { "Run before" } th scope="col" { "Job" } th scope="col" {
                            "Record" }
                        th scope="col" { "Change" } th scope="col" { "Notable" } th scope="col" { "Entry" }
                    } }
                    tbody { @for one in &listed { (drift_row(one)) } }
                }))
                @if all > listed.len() as u64 {
                    p.more { (count(listed.len() as u64)) " of " (count(all)) " events are listed, notable ones first; all "
                        (count(all)) " are in " (table::file("drift.csv")) "." }
                }
            }
        }
    }
}

fn drift_row(one: &DriftEvent) -> Markup {
    let value = |value: &Value| match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => cut(text, 80),
        other => cut(&other.to_string(), 80),
    };
    html! {
        tr {
            td { (at(one.at)) }
            td { (at(one.since)) }
            td { (t(one.job.as_str())) }
            th scope="row" { (t(&cut(&one.record, 120))) br; span.small { (t(&one.kind)) } }
            td {
                (drift(one.change))
                ul.plain { @for field in one.fields.iter().take(4) { li {
                    code { (t(&field.field)) } ": " (t(&value(&field.before))) " → " (t(&value(&field.after)))
                } } }
                @if one.fields.len() > 4 { span.small { "and " (one.fields.len() - 4) " more fields in " (table::file("drift.csv")) } }
            }
            td { @if let Some(notable) = &one.notable { strong { (t(&notable.rule)) } br; (t(&notable.says)) } }
            td.n { (table::entry(Some(one.entry))) }
        }
    }
}

/// How it was looked at.
pub fn jobs(context: &Context<'_>) -> Markup {
    let all = &context.report.jobs;
    html! {
        section #jobs {
            h2 { "Jobs: how it was looked at" }
            p.note { "Slots are the instants that the plan named. They say how we looked, not what had to happen. In the strips a \
                tall mark is a day with a slot without a receipt, a middle one a day with missed or failed slots, a low one a day
                read whole or in part, a gap a day without slots." }
            @if all.is_empty() { p { "No job." } } @else {
                (table::wide("Jobs and their slots", html! {
                    thead { tr {
                        th scope="col" { "Job" } th scope="col" { "Period" }
                        @for head in ["Judged", "Collected", "Partial", "Failed", "Missed", "No receipt", "Late", "By hand"] { th
                            scope="col" { (head) } }
                        th scope="col" { "Controls" }
                    } }
                    tbody { @for one in all.iter().take(MOST) { (job(one)) } }
                }))
                (table::more(all.len(), MOST, "jobs", "jobs.csv"))
            }
        }
    }
}

fn job(one: &JobReport) -> Markup {
    let run = |outcome| one.slots.outcomes.get(&outcome).copied().unwrap_or(0);
    let letter = |day: &DayCounts| match day {
        _ if day.uncovered > 0 => Some('d'),
        _ if day.missed + day.failed > 0 => Some('n'),
        _ if day.partial + day.collected > 0 => Some('o'),
        _ if day.open > 0 => Some('w'),
        _ => None,
    };
    let gaps = one.window_gaps.as_deref().unwrap_or_default();
    html! {
        tr id=(anchor("j", one.job.as_str())) {
            th scope="row" { (t(one.job.as_str())) }
            td.stripcell { (bars(&format!("Days of {}", one.job), one.days.iter().map(letter))) }
            td.n { (number(one.slots.judged)) }
            td.n { (number(run(Outcome::Collected))) }
            td.n { (number(run(Outcome::Partial))) }
            td.n { (number(run(Outcome::Failed))) }
            td { (missed(&one.slots)) }
            td.n { (number(one.slots.uncovered)) }
            td.n { (number(one.slots.late)) }
            td.n { (number(one.by_hand)) }
            td { @if one.controls.is_empty() { "none" } @else { (control_list(&one.controls)) } }
        }
        @if !one.uncovered.is_empty() || !gaps.is_empty() {
            tr.word { td colspan="11" {
                @if !one.uncovered.is_empty() {
                    p { strong { "Slots without a receipt:" }
                        @for (n, gap) in one.uncovered.iter().take(20).enumerate() {
                            @if n > 0 { ";" } " " (count(gap.count)) " from " (instant(gap.first)) " to " (instant(gap.last))
                        }
                        @if one.uncovered.len() > 20 { "; and " (one.uncovered.len() - 20) " more ranges in "
                            (table::file("uncovered.csv")) }
                        "."
                    }
                }
                @if !gaps.is_empty() {
                    p { strong { "Events not read whole:" }
                        @for (n, gap) in gaps.iter().take(20).enumerate() {
                            @if n > 0 { ";" } " " (instant(gap.from)) " to " (instant(gap.to))
                        }
                        @if gaps.len() > 20 { "; and " (gaps.len() - 20) " more in " (table::file("windows.csv")) }
                        ". How many events fell there is not known."
                    }
                }
            } }
        }
    }
}

/// What people signed.
pub fn approvals(context: &Context<'_>) -> Markup {
    let all = &context.report.approvals;
    let of = |kind: &str| all.iter().filter(|one| one.kind == kind).collect::<Vec<_>>();
    let known = ["waiver", "response", "decision"];
    let other: Vec<&Approval> = all.iter().filter(|one| !known.contains(&one.kind.as_str())).collect();
    html! {
        section #approvals {
            h2 { "What people signed" }
            p.note { "Signed by named approvers’ own keys, not the agent’s. A waiver never changes a result." }
            @if all.is_empty() { p { "Nothing." } }
            (approval_table("Waivers: fail, accepted until a date", &of("waiver")))
            (approval_table("Management’s responses: management’s word, not evidence", &of("response")))
            (approval_table("Decisions about addressable specifications: management’s word", &of("decision")))
            (approval_table("Other documents", &other))
        }
    }
}

fn approval_table(caption: &str, all: &[&Approval]) -> Markup {
    html! {
        @if !all.is_empty() {
            (table::wide(caption, html! {
                thead { tr {
                    th scope="col" { "Id" } th scope="col" { "By" } th scope="col" { "About" } th scope="col" { "What was said" }
                    th scope="col" { "From (trusted time)" } th scope="col" { "Until" } th scope="col" { "Counts?" } th scope="col" {
                        "Entry" }
                } }
                tbody { @for one in all.iter().take(MOST) { tr id=(anchor("a", &one.id)) {
                    th scope="row" { span.id { (t(&one.id)) } }
                    td { (t(&one.approver)) }
                    td { (t(&one.subject)) }
                    td { (t(&one.text)) }
                    td { @match one.from { Some(from) => (at(from)), None => "none" } }
                    td { @if let Some(until) = one.until { (at(until)) } @else if one.kind == "waiver" { "open" } }
                    td { @if one.void.is_empty() { "yes" } @else { strong { "no: " } (t(&one.void)) } }
                    td.n { (table::entry(Some(one.entry))) }
                } } }
            }))
            (table::more(all.len(), MOST, "documents", "approvals.csv"))
        }
    }
}

/// The entries that the page names by number.
pub fn entries(context: &Context<'_>) -> Markup {
    let all = &context.report.evidence;
    html! {
        @if !all.is_empty() {
            section #entries {
                h2 { "Entries of the log that this report names" }
                p.note { "#N is the entry N of the log. " code { "evidenced prove N ARCHIVE" } " packs it with what proves it, and \
                    that can be verified alone, also in the last section of this page." }
                (table::wide("Entries, with what they seal", html! {
                    thead { tr {
                        th scope="col" { "Entry" } th scope="col" { "Job" } th scope="col" { "What was sealed, and its SHA-256" }
                        th scope="col" { "Sealed (UTC, the agent’s clock)" }
                    } }
                    tbody { @for one in all.iter().take(MOST) { tr {
                        th scope="row" { (table::entry(Some(one.entry))) }
                        td { @match &one.job { Some(job) => (t(job.as_str())), None => "document" } }
                        td { (t(&one.name)) br; code.small { (one.sha256) } }
                        td { (at(one.sealed_at)) }
                    } } }
                }))
                (table::more(all.len(), MOST, "entries", "evidence.csv"))
            }
        }
    }
}

/// What nothing here shows.
pub fn not_shown(context: &Context<'_>) -> Markup {
    let report = context.report;
    html! {
        section #not-shown {
            h2 { "What this evidence does not show" }
            @if !report.not_shown.is_empty() { ul { @for one in &report.not_shown { li { (t(one)) } } } }
            @if let Some((from, to)) = context.range {
                p { "Observed at the times of the runs within " (days(from, to)) "; between them nothing is claimed." }
            } @else {
                p { "Observed at the times that are named; before, between and after them nothing is claimed." }
            }
        }
    }
}
