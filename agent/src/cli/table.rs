//! `collect`'s table: one line a job. Reasons are cut to the terminal's width, and cannot steer it.

use std::io::IsTerminal as _;

use signing::statement::Outcome;

use super::plain::{cut, safe};
use crate::control::Line;

/// How wide the terminal is; `None` where the output goes elsewhere, and nothing is cut.
pub fn width() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns >= 40)
}

/// A note with less room than this beside its numbers stands below them.
const LEAST_NOTE: usize = 30;

/// A column of numbers.
type Number = fn(&Line) -> u64;

/// The table of some runs, by job. Columns for what is not applicable and for exempt rows are there when there are any.
pub fn render(lines: &[Line], width: Option<usize>) -> String {
    let mut lines: Vec<&Line> = lines.iter().collect();
    lines.sort_by(|a, b| a.job.cmp(&b.job));
    let number = |of: Number| lines.iter().map(|line| of(line).to_string()).collect::<Vec<_>>();
    let mut columns = vec![
        ("RECORDS", number(|line| line.records)),
        ("PASS", number(|line| line.totals.pass)),
        ("FAIL", number(|line| line.totals.fail)),
        ("UNKNOWN", number(|line| line.totals.unknown)),
    ];
    let optional: [(&str, Number); 2] =
        [("N/A", |line| line.totals.not_applicable), ("EXEMPT", |line| line.totals.exempt)];
    for (name, of) in optional {
        if lines.iter().any(|line| of(line) > 0) {
            columns.push((name, number(of)));
        }
    }
    let jobs = lines.iter().map(|line| line.job.as_str().len()).chain([3]).max().unwrap_or(3);
    let widest = |name: &str, cells: &[String]| cells.iter().map(String::len).chain([name.len()]).max().unwrap_or(0);
    let mut out = row("JOB", "OUTCOME", jobs, columns.iter().map(|(name, cells)| (*name, widest(name, cells))));
    out.push('\n');
    for (at, line) in lines.iter().enumerate() {
        let cells = columns.iter().map(|(name, cells)| (cells[at].as_str(), widest(name, cells)));
        let text = row(line.job.as_str(), outcome(line.outcome), jobs, cells);
        out.push_str(&text);
        if !line.note.is_empty() {
            // Numbers are never cut; where they leave no room, the note has a line of its own.
            let fits = width.is_none_or(|width| text.chars().count() + LEAST_NOTE <= width);
            let before = if fits { text.chars().count() + 3 } else { 4 };
            out.push_str(if fits { "   " } else { "\n    " });
            out.push_str(
                &width.map_or_else(|| safe(&line.note), |width| cut(&line.note, width.saturating_sub(before))),
            );
        }
        out.push('\n');
    }
    out
}

fn row<'a>(job: &str, outcome: &str, jobs: usize, cells: impl Iterator<Item = (&'a str, usize)>) -> String {
    let mut text = format!("{job:jobs$}  {outcome:9}");
    for (cell, widest) in cells {
        text.push_str(&format!("  {cell:>widest$}"));
    }
    text
}

/// An outcome in a word.
pub fn outcome(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Collected) => "collected",
        Some(Outcome::Partial) => "partial",
        Some(Outcome::Failed) => "failed",
        None => "not kept",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use signing::statement::Counts;

    use super::*;

    fn line(job: &str, outcome: Option<Outcome>, records: u64, totals: (u64, u64, u64), note: &str) -> Line {
        let (pass, fail, unknown) = totals;
        let totals = Counts { pass, fail, unknown, ..Counts::default() };
        Line { job: job.parse().unwrap(), outcome, records, totals, note: note.into() }
    }

    #[test]
    fn the_table_is_as_the_examples_show_it() {
        let lines = [
            line("host/disk-encryption@this", Some(Outcome::Collected), 3, (0, 3, 0), ""),
            line(
                "host/accounts@this",
                Some(Outcome::Partial),
                41,
                (38, 2, 1),
                "/etc/shadow: permission denied; run as root to know",
            ),
        ];
        let expected = "\
JOB                        OUTCOME    RECORDS  PASS  FAIL  UNKNOWN
host/accounts@this         partial         41    38     2        1   /etc/shadow: permission denied; run as root to know
host/disk-encryption@this  collected        3     0     3        0
";
        assert_eq!(render(&lines, None), expected);
        let narrow = render(&lines, Some(100));
        assert!(narrow.contains("        1   /etc/shadow: permission denied…\n"), "{narrow}");
        assert!(narrow.lines().all(|line| line.chars().count() <= 100));
        let narrower = render(&lines, Some(70));
        assert!(
            narrower.contains("        1\n    /etc/shadow: permission denied; run as root to know\n"),
            "{narrower}"
        );
    }

    #[test]
    fn what_is_exempt_or_not_applicable_is_shown_when_there_is_any_and_notes_cannot_steer() {
        let mut exempt = line("a/b@c", None, 1_234_567_890, (0, 0, 0), "x\u{1b}[2J\ny");
        exempt.totals.exempt = 12;
        let expected = "\
JOB    OUTCOME       RECORDS  PASS  FAIL  UNKNOWN  EXEMPT
a/b@c  not kept   1234567890     0     0        0      12   x\\u{1b}[2J\\u{a}y
";
        assert_eq!(render(&[exempt], None), expected);
    }
}
