//! How the report puts values into words. Every text that comes from outside goes through [`Shown`].

use std::fmt::Write as _;

use chrono::{Days, NaiveDate};
use controls::{Category, Frequency, Outcome, Requirement, Strength};
use maud::{Escaper, Markup, Render, html};
use signing::{
    slots::SlotCounts,
    statement::{Cause, Outcome as Run},
    time::Utc,
};

use crate::model::{ChangeKind, CriterionState, DriftKind, OccurrenceState, Treatment};

/// A text from outside: escaped, and with characters that reorder or hide others spelled out, so that what is read is what is there.
pub struct Shown<'a>(pub &'a str);

impl Render for Shown<'_> {
    fn render_to(&self, buffer: &mut String) {
        let mut rest = self.0;
        while let Some(at) = rest.find(hidden) {
            let (before, after) = rest.split_at(at);
            let _ = Escaper::new(buffer).write_str(before);
            let mut chars = after.chars();
            if let Some(found) = chars.next() {
                let _ = write!(buffer, "[U+{:04X}]", u32::from(found));
            }
            rest = chars.as_str();
        }
        let _ = Escaper::new(buffer).write_str(rest);
    }
}

/// Controls but line feed and tab, and the marks, overrides and isolates of bidirectional text (UAX #9), breaks and zero-width characters;
/// not the joiners, which scripts need.
fn hidden(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Short for [`Shown`].
pub fn t(text: &str) -> Shown<'_> {
    Shown(text)
}

/// The same, cut where it is longer than `most` characters.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The place of something in the page, from an id that may hold anything.
pub fn anchor(kind: &str, id: &str) -> String {
    id.bytes().fold(format!("{kind}-"), |mut out, b| {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => out.push(char::from(b)),
            _ => drop(write!(out, "_{b:02x}")),
        }
        out
    })
}

/// A control's id, leading to its section where there is one.
pub fn control(id: &str) -> Markup {
    html! { a href={ "#" (anchor("c", id)) } { (t(id)) } }
}

/// Several, with commas.
pub fn control_list<'a>(ids: impl IntoIterator<Item = &'a String>) -> Markup {
    html! { @for (n, id) in ids.into_iter().enumerate() { @if n > 0 { ", " } (control(id)) } }
}

/// `2026-11-22 04:00:02 UTC`.
pub fn instant(at: Utc) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// An instant in a table whose head says UTC.
pub fn at(at: Utc) -> Markup {
    html! { time { span.nw { (at.format("%Y-%m-%d")) } " " (at.format("%H:%M:%S")) } }
}

/// The day that `[.., to)` ends with.
pub fn last_day(to: Utc) -> NaiveDate {
    let day = to.date_naive();
    match to.time() == chrono::NaiveTime::MIN {
        true => day.checked_sub_days(Days::new(1)).unwrap_or(day),
        false => day,
    }
}

/// `[from, to)` in days, both included.
pub fn days(from: Utc, to: Utc) -> String {
    let (first, last) = (from.date_naive(), last_day(to).max(from.date_naive()));
    if first == last { first.to_string() } else { format!("{first} to {last}") }
}

/// `8,760`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + 4);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 run`, `3 runs`.
pub fn some(n: u64, one: &str) -> String {
    format!("{} {one}{}", count(n), if n == 1 { "" } else { "s" })
}

/// The number of a table's cell; a nought is light.
pub fn number(n: u64) -> Markup {
    html! { @if n == 0 { span.nought { "0" } } @else { (count(n)) } }
}

/// A length of time in its largest fitting unit.
pub fn span(seconds: i64) -> String {
    let seconds = seconds.max(0) as u64;
    match seconds {
        0..120 => some(seconds, "second"),
        120..7_200 => some(seconds / 60, "minute"),
        7_200..172_800 => some(seconds / 3_600, "hour"),
        _ => some(seconds / 86_400, "day"),
    }
}

/// From one instant to another.
pub fn between(from: Utc, to: Utc) -> String {
    span((to - from).num_seconds())
}

/// A frequency.
pub fn frequency(of: Frequency) -> &'static str {
    match of {
        Frequency::Automated => "automated (each day)",
        Frequency::PerEvent => "per event",
        Frequency::Daily => "daily",
        Frequency::Weekly => "weekly",
        Frequency::Monthly => "monthly",
        Frequency::Quarterly => "quarterly",
        Frequency::SemiAnnual => "twice a year",
        Frequency::Annual => "annual",
        Frequency::AsNeeded => "as needed",
    }
}

/// A link's strength.
pub fn strength(of: Strength) -> &'static str {
    match of {
        Strength::Direct => "direct",
        Strength::Partial => "partial",
        Strength::Indirect => "indirect",
    }
}

/// A state of an occurrence.
pub fn state(of: OccurrenceState) -> &'static str {
    match of {
        OccurrenceState::Operated => "operated",
        OccurrenceState::Deviation => "deviation",
        OccurrenceState::NotObserved => "not observed",
        OccurrenceState::NoOccasion => "no occasion",
        OccurrenceState::Open => "open",
    }
}

/// A check's outcome.
pub fn outcome(of: Outcome) -> &'static str {
    match of {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Unknown => "unknown",
        Outcome::NotApplicable => "not applicable",
        Outcome::NotTested => "not tested",
    }
}

/// A category of the Trust Services Criteria.
pub fn category(of: Category) -> &'static str {
    match of {
        Category::Security => "Security",
        Category::Availability => "Availability",
        Category::Confidentiality => "Confidentiality",
        Category::ProcessingIntegrity => "Processing integrity",
        Category::Privacy => "Privacy",
    }
}

/// Required or addressable.
pub fn requirement(of: Requirement) -> &'static str {
    match of {
        Requirement::Required => "required",
        Requirement::Addressable => "addressable",
    }
}

/// What a criterion has.
pub fn criterion(of: CriterionState) -> &'static str {
    match of {
        CriterionState::EvidenceMapped => "evidence mapped",
        CriterionState::PartlyMapped => "partly mapped",
        CriterionState::CarvedOut => "carved out",
        CriterionState::NotApplicable => "not applicable",
        CriterionState::NotCovered => "not covered",
    }
}

/// Whose a criterion is.
pub fn treatment(of: &Treatment) -> Markup {
    html! {
        @match of {
            Treatment::Own => "own",
            Treatment::CarvedOut { organisation, expected } => {
                "carved out to " (t(organisation))
                @if !expected.is_empty() { ul { @for one in expected { li { "expected of it: " (t(one)) } } } }
            }
            Treatment::Inclusive { organisation } => { "inclusive: controls of " (t(organisation)) " are covered too" }
            Treatment::NotApplicable { reason } => { "not applicable, by management’s word: " (t(reason)) }
        }
    }
}

/// What changed.
pub fn change(of: ChangeKind) -> &'static str {
    match of {
        ChangeKind::Plan => "plan",
        ChangeKind::Scope => "scope",
        ChangeKind::Control => "control",
        ChangeKind::Check => "check",
        ChangeKind::Parameter => "parameter",
        ChangeKind::Framework => "framework",
    }
}

/// What became of a record.
pub fn drift(of: DriftKind) -> &'static str {
    match of {
        DriftKind::Added => "added",
        DriftKind::Removed => "removed",
        DriftKind::Changed => "changed",
    }
}

/// Why a deviation is over.
pub fn ended(how: &str) -> &str {
    match how {
        "passes" => "the record passes",
        "exempt" => "the record is exempt",
        "gone" => "the record is gone",
        "not_in_population" => "the check no longer asks of it",
        other => other,
    }
}

/// Slots by outcome, in words.
pub fn slots(of: &SlotCounts) -> String {
    let run = |outcome| of.outcomes.get(&outcome).copied().unwrap_or(0);
    let mut says = format!(
        "{} judged: {} collected, {} partial, {} failed, {} missed, {} without a receipt",
        some(of.judged, "slot"),
        count(run(Run::Collected)),
        count(run(Run::Partial)),
        count(run(Run::Failed)),
        missed(of),
        count(of.uncovered),
    );
    if of.late > 0 {
        let _ = write!(says, "; {} late", count(of.late));
    }
    if of.open > 0 {
        let _ = write!(says, "; {} open", count(of.open));
    }
    says
}

/// Missed slots, with their causes.
pub fn missed(of: &SlotCounts) -> String {
    let all: u64 = of.missed.values().sum();
    let causes: Vec<String> = of.missed.iter().map(|(c, n)| format!("{} {}", count(*n), cause(*c))).collect();
    if causes.is_empty() { count(all) } else { format!("{} ({})", count(all), causes.join(", ")) }
}

fn cause(of: Cause) -> &'static str {
    match of {
        Cause::Down => "down",
        Cause::Overrun => "overrun",
        Cause::Crashed => "crashed",
        Cause::Clock => "clock",
        Cause::Blocked => "blocked",
    }
}
