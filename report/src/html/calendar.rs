//! The calendar picture: months as rows, days as cells; and strips, one a job. Each state has a shape of its own beside its shade.

use std::fmt::Write as _;

use chrono::{Datelike as _, Days, NaiveDate};
use maud::{Markup, PreEscaped, html};

use super::words::{cut, last_day, state, t};
use crate::model::{Occurrence, OccurrenceState};

/// Days of the picture.
#[derive(Clone, Copy)]
pub struct Span {
    /// The first.
    pub first: NaiveDate,
    /// The last.
    pub last: NaiveDate,
}

/// A day of the picture: the worst occurrence that it belongs to.
#[derive(Clone, Copy)]
struct Cell<'a> {
    of: &'a Occurrence,
    /// Where one occurrence takes several days, its first one: they are drawn as one.
    group: NaiveDate,
}

/// The states with their letters in the style sheet, the worst last.
const STATES: [(OccurrenceState, char); 5] = [
    (OccurrenceState::NoOccasion, 'x'),
    (OccurrenceState::Operated, 'o'),
    (OccurrenceState::Open, 'w'),
    (OccurrenceState::NotObserved, 'n'),
    (OccurrenceState::Deviation, 'd'),
];

const WIDTH: u32 = 24;
const HEIGHT: u32 = 20;
const LEFT: u32 = 62;
const TOP: u32 = 18;

/// The most bytes of texts over days: the table beneath the picture has them all.
const MOST_HINTS: usize = 6_000;

fn rank(of: OccurrenceState) -> usize {
    STATES.iter().position(|(state, _)| *state == of).unwrap_or(0)
}

impl Span {
    fn len(self) -> usize {
        usize::try_from((self.last - self.first).num_days() + 1).unwrap_or(0)
    }

    fn place(self, day: NaiveDate) -> usize {
        usize::try_from((day - self.first).num_days()).unwrap_or(0)
    }

    fn cells<'a>(self, occurrences: impl Iterator<Item = &'a Occurrence>) -> Vec<Option<Cell<'a>>> {
        let mut cells: Vec<Option<Cell<'a>>> = vec![None; self.len()];
        for of in occurrences {
            let (from, to) = (of.from.date_naive(), last_day(of.to).max(of.from.date_naive()));
            if to < self.first || from > self.last {
                continue;
            }
            let (from, to) = (from.max(self.first), to.min(self.last));
            for cell in &mut cells[self.place(from)..=self.place(to)] {
                if cell.is_none_or(|cell| rank(cell.of.state) < rank(of.state)) {
                    *cell = Some(Cell { of, group: from });
                }
            }
        }
        cells
    }
}

/// The picture of all `occurrences`, each day with its worst state.
pub fn picture(label: &str, span: Span, occurrences: &[Occurrence]) -> Markup {
    let cells = span.cells(occurrences.iter());
    let mut rows = String::new();
    let mut fills: [String; 5] = Default::default();
    let mut glyphs: [String; 5] = Default::default();
    let (mut blank, mut titles) = (String::new(), String::new());
    let mut y = TOP;
    let mut day = span.first;
    while day <= span.last {
        let next = next_month(day).min(span.last.checked_add_days(Days::new(1)).unwrap_or(span.last));
        let _ = write!(rows, "<text x=\"0\" y=\"{}\">{}</text>", y + 13, day.format("%Y-%m"));
        let row = &cells[span.place(day)..span.place(next.pred_opt().unwrap_or(day)) + 1];
        let first = day.day0();
        let mut from = 0;
        while from < row.len() {
            let x = LEFT + (first + from as u32) * WIDTH;
            let Some(cell) = row[from] else {
                let _ = write!(blank, "M{} {}h6", x + 8, y + 9);
                from += 1;
                continue;
            };
            let alike =
                |other: &Option<Cell<'_>>| other.is_some_and(|o| o.group == cell.group && o.of.state == cell.of.state);
            let run = row[from..].iter().take_while(|other| alike(other)).count();
            let rank = rank(cell.of.state);
            let wide = run as u32 * WIDTH - 2;
            fill(&mut fills[rank], cell.of.state, x, y, wide);
            glyph(&mut glyphs[rank], cell.of.state, x, y, wide);
            from += run;
        }
        hints(&mut titles, day, row, y);
        y += HEIGHT;
        day = next;
    }
    let heads: String = (0..31).fold(String::new(), |mut out, n| {
        let _ = write!(out, "<text class=\"h\" x=\"{}\" y=\"12\">{}</text>", LEFT + n * WIDTH + 11, n + 1);
        out
    });
    let layers = STATES.iter().enumerate().fold(String::new(), |mut out, (rank, (_, letter))| {
        if !fills[rank].is_empty() {
            let _ = write!(out, "<path class=\"f{letter}\" d=\"{}\"/>", fills[rank]);
            let _ = write!(out, "<path class=\"g{letter}\" d=\"{}\"/>", glyphs[rank]);
        }
        out
    });
    if !blank.is_empty() {
        blank = format!("<path class=\"fb\" d=\"{blank}\"/>");
    }
    let size = format!("0 0 {} {y}", LEFT + 31 * WIDTH);
    html! {
        svg.cal viewBox=(size) role="img" aria-label=(t(label)) { (PreEscaped([heads, rows, blank, layers, titles].concat())) }
    }
}

fn next_month(day: NaiveDate) -> NaiveDate {
    let (year, month) = if day.month() == 12 { (day.year() + 1, 1) } else { (day.year(), day.month() + 1) };
    NaiveDate::from_ymd_opt(year, month, 1).unwrap_or(NaiveDate::MAX)
}

/// A thick line is a filled cell in half the bytes; only the outlined one needs its corners.
fn fill(out: &mut String, of: OccurrenceState, x: u32, y: u32, wide: u32) {
    let _ = match of {
        OccurrenceState::Open => write!(out, "M{x} {y}h{wide}v18h-{wide}z"),
        _ => write!(out, "M{x} {}h{wide}", y + 9),
    };
}

/// What tells a state without its shade: a tick, a cross, hatching, a bar, a dot.
fn glyph(out: &mut String, of: OccurrenceState, x: u32, y: u32, wide: u32) {
    let _ = match of {
        OccurrenceState::Operated => write!(out, "M{} {}l3 3 5-6", x + 7, y + 9),
        OccurrenceState::Deviation => write!(out, "M{} {}l8 8m0-8l-8 8", x + 7, y + 5),
        OccurrenceState::NotObserved => {
            (0..wide.saturating_sub(10) / 6).try_for_each(|n| write!(out, "M{} {}l9-13", x + 3 + n * 6, y + 16))
        }
        OccurrenceState::NoOccasion => write!(out, "M{} {}h8", x + 7, y + 9),
        OccurrenceState::Open => write!(out, "M{} {}h.1", x + 11, y + 9),
    };
}

/// Texts over the days that need one: deviations and what was not observed.
fn hints(out: &mut String, first: NaiveDate, row: &[Option<Cell<'_>>], y: u32) {
    let mut from = 0;
    while from < row.len() && out.len() < MOST_HINTS {
        let Some(of) = matters(&row[from]) else {
            from += 1;
            continue;
        };
        let alike = |c: &Option<Cell<'_>>| {
            matters(c).is_some_and(|o| (o.state, &o.reason, &o.job) == (of.state, &of.reason, &of.job))
        };
        let run = row[from..].iter().take_while(|cell| alike(cell)).count();
        let day = |n: usize| first.checked_add_days(Days::new(n as u64)).unwrap_or(first);
        let when = match run {
            1 => day(from).to_string(),
            _ => format!("{} to {}", day(from), day(from + run - 1)),
        };
        let says = format!("{when}: {} in {}: {}", state(of.state), of.job_name(), cut(&of.reason, 80));
        let x = LEFT + (first.day0() + from as u32) * WIDTH;
        let title = html! { title { (t(&says)) } }.into_string();
        let _ = write!(out, "<path class=\"t\" d=\"M{x} {y}h{}v18H{x}z\">{title}</path>", run as u32 * WIDTH - 2);
        from += run;
    }
}

fn matters<'a>(cell: &Option<Cell<'a>>) -> Option<&'a Occurrence> {
    cell.map(|c| c.of).filter(|of| matches!(of.state, OccurrenceState::Deviation | OccurrenceState::NotObserved))
}

/// A strip over the whole period, for one job: the taller a mark, the worse the day.
pub fn strip<'a>(label: &str, span: Span, occurrences: impl Iterator<Item = &'a Occurrence>) -> Markup {
    let letters = span.cells(occurrences).into_iter().map(|cell| cell.map(|c| STATES[rank(c.of.state)].1));
    bars(label, letters)
}

/// The same of letters: `d` is full height, `n` two thirds, `w` and `o` a third, `x` a line.
pub fn bars(label: &str, days: impl Iterator<Item = Option<char>>) -> Markup {
    let days: Vec<Option<char>> = days.collect();
    let mut paths: Vec<(char, String)> = Vec::new();
    let mut from = 0;
    while from < days.len() {
        let run = days[from..].iter().take_while(|day| **day == days[from]).count();
        if let Some(letter) = days[from] {
            let high = match letter {
                'd' => 12,
                'n' => 8,
                'x' => 1,
                _ => 4,
            };
            let at = paths.iter().position(|(known, _)| *known == letter).unwrap_or_else(|| {
                paths.push((letter, String::new()));
                paths.len() - 1
            });
            let _ = write!(paths[at].1, "M{from} {}h{run}v{high}h-{run}z", 12 - high);
        }
        from += run;
    }
    let paths: String =
        paths.into_iter().map(|(letter, path)| format!("<path class=\"s{letter}\" d=\"{path}\"/>")).collect();
    let size = format!("0 0 {} 12", days.len().max(1));
    html! {
        svg.strip viewBox=(size) preserveAspectRatio="none" role="img" aria-label=(t(label)) { (PreEscaped(paths)) }
    }
}

/// What the picture's shapes mean.
pub fn legend() -> Markup {
    html! {
        ul.legend {
            @for (of, letter) in STATES.iter().rev() { li { (sample(*of, *letter)) (state(*of)) } }
            li { svg.k viewBox="0 0 22 18" aria-hidden="true" { path.fb d="M8 9h6" {} } "nothing required" }
        }
    }
}

fn sample(of: OccurrenceState, letter: char) -> Markup {
    let (mut cell, mut shape) = (String::new(), String::new());
    fill(&mut cell, of, 0, 0, 22);
    glyph(&mut shape, of, 0, 0, 22);
    html! {
        svg.k viewBox="0 0 22 18" aria-hidden="true" {
            path class={ "f" (letter) } d=(cell) {}
            path class={ "g" (letter) } d=(shape) {}
        }
    }
}

/// A state with its shape, for a table's cell.
pub fn mark(of: OccurrenceState) -> Markup {
    html! { span.nw { (sample(of, STATES[rank(of)].1)) (state(of)) } }
}

/// Parts of a whole beside each other; the numbers stand beside it.
pub fn shares(parts: &[(OccurrenceState, u64)]) -> Markup {
    let all: u64 = parts.iter().map(|(_, n)| n).sum();
    let mut x = 0.0;
    let mut paths = String::new();
    for (of, n) in parts {
        if *n == 0 || all == 0 {
            continue;
        }
        // What is there is seen, however little it is.
        let wide = (*n as f64 / all as f64 * 100.0).max(2.0).min(100.0 - x);
        let (letter, high) = match of {
            OccurrenceState::Deviation => ('d', 12),
            OccurrenceState::NotObserved => ('n', 8),
            _ => ('o', 4),
        };
        let _ = write!(paths, "<path class=\"s{letter}\" d=\"M{x:.1} {}h{wide:.1}v{high}h-{wide:.1}z\"/>", 12 - high);
        x += wide;
    }
    html! { svg.shares viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true" { (PreEscaped(paths)) } }
}
