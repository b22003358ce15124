//! Which events of a job were read: the union of its windows that were read whole, and what is missing between them.

use serde::Serialize;

use crate::{
    layout::Job,
    statement::Window,
    time::{Utc, rfc3339},
};

/// `[from, to)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range {
    /// The first instant.
    pub from: Utc,
    /// The first instant after it.
    pub to: Utc,
}

/// A job's windows, added in any order. It keeps disjoint ranges only, however many windows there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Windows {
    /// What was asked for, whole or not.
    asked: Option<Range>,
    /// What was read whole: ascending, none touching the next.
    read: Vec<Range>,
}

impl Windows {
    /// Adds the window of a run. One that ends before it begins says nothing.
    pub fn add(&mut self, window: &Window) {
        let Window { from, to, whole, previous: _ } = *window;
        if from >= to {
            return;
        }
        let asked = self.asked.get_or_insert(Range { from, to });
        (asked.from, asked.to) = (asked.from.min(from), asked.to.max(to));
        if whole {
            let first = self.read.partition_point(|range| range.to < from);
            let end = self.read.partition_point(|range| range.from <= to);
            let joined = self.read[first..end].iter().fold(Range { from, to }, |joined, range| Range {
                from: joined.from.min(range.from),
                to: joined.to.max(range.to),
            });
            self.read.splice(first..end, [joined]);
        }
    }

    /// What they come to; `None` without any.
    pub fn events(&self, job: &Job) -> Option<Events> {
        let Range { from, to } = self.asked?;
        let mut gaps = Vec::new();
        let mut at = from;
        for range in &self.read {
            if at < range.from {
                gaps.push(Range { from: at, to: range.from });
            }
            at = range.to;
        }
        if at < to {
            gaps.push(Range { from: at, to });
        }
        Some(Events { job: job.clone(), from, to, gaps })
    }
}

/// Which events of a job were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Events {
    /// `<collector>@<source>`.
    pub job: Job,
    /// Where the earliest window begins.
    pub from: Utc,
    /// Where the latest one ends.
    pub to: Utc,
    /// What no run read whole in between, ascending.
    pub gaps: Vec<Range>,
}

/// Gaps that a sentence lists.
const LISTED: usize = 5;

impl Events {
    /// `aws/backup-jobs@prod: read whole from … to …, but for … to …`.
    pub fn says(&self) -> String {
        let range = |from, to| format!("{} to {}", rfc3339(from), rfc3339(to));
        let all = range(self.from, self.to);
        match self.gaps.as_slice() {
            [] => format!("{}: read whole from {all}", self.job),
            [gap] if (gap.from, gap.to) == (self.from, self.to) => format!("{}: not read whole from {all}", self.job),
            gaps => {
                let listed: Vec<_> = gaps.iter().take(LISTED).map(|gap| range(gap.from, gap.to)).collect();
                let more = gaps.len().saturating_sub(LISTED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("{}: read whole from {all}, but for {}{more}", self.job, listed.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn day(n: i64) -> Utc {
        "2026-11-01T00:00:00Z".parse::<Utc>().unwrap() + chrono::TimeDelta::days(n)
    }

    fn window(from: i64, to: i64, whole: bool) -> Window {
        Window { from: day(from), to: day(to), whole, previous: None }
    }

    /// From, to and gaps, in days.
    type Days = (i64, i64, Vec<(i64, i64)>);

    fn events(windows: &[Window]) -> Option<Days> {
        let mut all = Windows::default();
        windows.iter().for_each(|window| all.add(window));
        let days = |at: Utc| (at - day(0)).num_days();
        let events = all.events(&"aws/backup-jobs@prod".parse().unwrap())?;
        let gaps = events.gaps.iter().map(|gap| (days(gap.from), days(gap.to))).collect();
        Some((days(events.from), days(events.to), gaps))
    }

    #[test]
    fn without_windows_nothing_is_said() {
        assert_eq!(events(&[]), None);
        assert_eq!(events(&[window(3, 3, true), window(4, 3, true)]), None, "an empty window reads nothing");
    }

    #[test]
    fn windows_that_overlap_or_touch_leave_no_gap() {
        assert_eq!(events(&[window(0, 10, true), window(9, 11, true), window(11, 12, true)]), Some((0, 12, vec![])));
    }

    #[test]
    fn what_was_not_read_whole_is_a_gap_also_at_both_ends() {
        let windows = [window(0, 5, false), window(3, 10, true), window(14, 20, true), window(19, 23, false)];
        assert_eq!(events(&windows), Some((0, 23, vec![(0, 3), (10, 14), (20, 23)])));
        assert_eq!(events(&[window(0, 5, false)]), Some((0, 5, vec![(0, 5)])));
    }

    #[test]
    fn a_window_that_fills_a_gap_joins_what_is_around_it() {
        let windows = [window(0, 2, true), window(4, 6, true), window(8, 9, true), window(1, 8, true)];
        assert_eq!(events(&windows), Some((0, 9, vec![])));
    }

    #[test]
    fn the_sentence_names_the_job_and_the_gaps() {
        let says = |windows: &[Window]| {
            let mut all = Windows::default();
            windows.iter().for_each(|window| all.add(window));
            all.events(&"aws/backup-jobs@prod".parse().unwrap()).unwrap().says()
        };
        let all = "2026-11-01T00:00:00Z to 2026-11-03T00:00:00Z";
        assert_eq!(says(&[window(0, 2, true)]), format!("aws/backup-jobs@prod: read whole from {all}"));
        assert_eq!(says(&[window(0, 2, false)]), format!("aws/backup-jobs@prod: not read whole from {all}"));
        assert_eq!(
            says(&[window(0, 1, true), window(0, 2, false)]),
            format!(
                "aws/backup-jobs@prod: read whole from {all}, but for 2026-11-02T00:00:00Z to 2026-11-03T00:00:00Z"
            )
        );
        let many: Vec<_> = (0..8).map(|n| window(2 * n, 2 * n + 1, true)).collect();
        assert!(says(&many).ends_with("2026-11-11T00:00:00Z and 2 more"), "{}", says(&many));
    }

    proptest! {
        #[test]
        fn a_day_is_in_a_gap_exactly_where_no_whole_window_has_it(
            list in prop::collection::vec((0_i64..40, 0_i64..40, any::<bool>()), 0..12)
        ) {
            let windows: Vec<_> = list.iter().map(|(from, to, whole)| window(*from, *to, *whole)).collect();
            let real: Vec<_> = list.iter().filter(|(from, to, _)| from < to).collect();
            match events(&windows) {
                None => prop_assert!(real.is_empty()),
                Some((from, to, gaps)) => {
                    prop_assert_eq!(from, real.iter().map(|w| w.0).min().unwrap());
                    prop_assert_eq!(to, real.iter().map(|w| w.1).max().unwrap());
                    for day in from..to {
                        let read = real.iter().any(|(from, to, whole)| *whole && *from <= day && day < *to);
                        let gap = gaps.iter().any(|(from, to)| *from <= day && day < *to);
                        prop_assert_eq!(read, !gap, "day {}", day);
                    }
                }
            }
        }
    }
}
