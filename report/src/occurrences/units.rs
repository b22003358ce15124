//! The units of time in which a control has to operate once. They follow the frequency in force where each begins, on a grid that starts
//! with the period's first day.

use chrono::{Months, TimeDelta};
use controls::Frequency;
use signing::time::Utc;

use crate::in_force::InForce;

/// A unit of time of a control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its first instant.
    pub from: Utc,
    /// The first instant after it, at most the period's end.
    pub to: Utc,
    /// Whether the period ends before it does.
    pub cut: bool,
    /// What was in force at its start, in [`InForce::puts`].
    pub put: usize,
}

/// The `n`-th boundary of a frequency's grid. Days are clamped to the month's length, each counted from the period's first day.
fn boundary(frequency: Frequency, first: Utc, n: u32) -> Utc {
    let months = |each: u32| first.checked_add_months(Months::new(each * n)).unwrap_or(Utc::MAX_UTC);
    match frequency {
        Frequency::Automated | Frequency::Daily | Frequency::PerEvent | Frequency::AsNeeded => {
            first + TimeDelta::days(i64::from(n))
        }
        Frequency::Weekly => first + TimeDelta::days(7 * i64::from(n)),
        Frequency::Monthly => months(1),
        Frequency::Quarterly => months(3),
        Frequency::SemiAnnual => months(6),
        Frequency::Annual => months(12),
    }
}

/// The place of the first boundary at or after `at`.
fn next(frequency: Frequency, first: Utc, at: Utc) -> u32 {
    let days = u32::try_from((at - first).num_days()).unwrap_or_default();
    // Below: a month has at most 31 days.
    let from = match frequency {
        Frequency::Automated | Frequency::Daily | Frequency::PerEvent | Frequency::AsNeeded => days,
        Frequency::Weekly => days / 7,
        Frequency::Monthly => days / 31,
        Frequency::Quarterly => days / 93,
        Frequency::SemiAnnual => days / 186,
        Frequency::Annual => days / 366,
    };
    (from..).find(|n| boundary(frequency, first, *n) >= at).unwrap_or(u32::MAX)
}

/// The units of a control within the period `[from, to)`, both at the start of a UTC day. Controls by event have days.
pub fn units(in_force: &InForce, control: &str, from: Utc, to: Utc) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut at = from;
    while at < to {
        let Some(put) = in_force.place(at) else { break };
        let promised = in_force.puts[put].set.controls.iter().find(|c| c.id == control);
        let Some(frequency) = promised.map(|control| control.frequency) else {
            match in_force.puts.iter().map(|put| put.from).find(|changed| *changed > at) {
                Some(changed) => at = changed,
                None => break,
            }
            continue;
        };
        let n = next(frequency, from, at);
        let start = boundary(frequency, from, n);
        if start > at {
            // What is in force there may be something else.
            at = start;
            continue;
        }
        let end = boundary(frequency, from, n + 1);
        units.push(Unit { from: start, to: end.min(to), cut: end > to, put });
        at = end;
    }
    units
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use crate::{
        in_force::Put,
        testing::{at, control, set},
    };

    fn in_force(sets: &[(&str, Option<Frequency>)]) -> InForce {
        let put = |(from, frequency): &(&str, Option<Frequency>)| {
            let controls = frequency.map(|frequency| control("C", frequency, "mfa_user_enrolled"));
            let set = set(controls.as_slice(), Vec::new());
            Put { from: at(from), entry: 0, document: None, set: Arc::new(set) }
        };
        InForce { puts: sets.iter().map(put).collect(), ..InForce::default() }
    }

    fn days(sets: &[(&str, Option<Frequency>)], from: &str, to: &str) -> Vec<String> {
        let say = |unit: Unit| {
            let cut = if unit.cut { " cut" } else { "" };
            format!("{} {}{cut}", unit.from.format("%m-%d"), unit.to.format("%m-%d"))
        };
        units(&in_force(sets), "C", at(from), at(to)).into_iter().map(say).collect()
    }

    const EARLY: &str = "2026-01-01";

    #[test]
    fn a_year_has_365_days_four_quarters_and_a_last_week_that_is_cut() {
        let count = |frequency| days(&[(EARLY, Some(frequency))], "2026-07-01", "2027-07-01").len();
        assert_eq!([Frequency::Automated, Frequency::Daily].map(count), [365, 365]);
        assert_eq!([Frequency::Quarterly, Frequency::SemiAnnual, Frequency::Annual].map(count), [4, 2, 1]);
        let weeks = days(&[(EARLY, Some(Frequency::Weekly))], "2026-07-01", "2027-07-01");
        assert_eq!((weeks.len(), weeks[52].as_str()), (53, "06-30 07-01 cut"));
        assert_eq!(days(&[(EARLY, Some(Frequency::Daily))], "2028-02-28", "2028-03-02").len(), 3);
    }

    #[test]
    fn months_from_the_31st_end_where_each_month_does_and_come_back_to_the_31st() {
        let months = days(&[(EARLY, Some(Frequency::Monthly))], "2026-10-31", "2027-03-31");
        assert_eq!(months, ["10-31 11-30", "11-30 12-31", "12-31 01-31", "01-31 02-28", "02-28 03-31"]);
    }

    #[test]
    fn a_change_within_a_unit_counts_from_the_next_boundary_of_its_own_grid() {
        let sets = [(EARLY, Some(Frequency::Weekly)), ("2026-01-10T12:00:00Z", Some(Frequency::Monthly))];
        assert_eq!(days(&sets, "2026-01-01", "2026-03-01"), ["01-01 01-08", "01-08 01-15", "02-01 03-01"]);
        let sets = [(EARLY, Some(Frequency::Monthly)), ("2026-01-10T12:00:00Z", Some(Frequency::Weekly))];
        assert_eq!(days(&sets, "2026-01-01", "2026-02-15"), ["01-01 02-01", "02-05 02-12", "02-12 02-15 cut"]);
    }

    #[test]
    fn a_control_has_no_unit_before_it_was_one_nor_begins_one_after_it_was_removed() {
        let sets = [(EARLY, None), ("2026-01-02T12:00:00Z", Some(Frequency::Daily)), ("2026-01-04T12:00:00Z", None)];
        assert_eq!(days(&sets, "2026-01-01", "2026-01-10"), ["01-03 01-04", "01-04 01-05"]);
        assert_eq!(days(&[], "2026-01-01", "2026-01-10"), Vec::<String>::new());
    }

    #[test]
    fn before_the_first_set_the_first_one_is_used() {
        let sets = [("2026-01-03T12:00:00Z", Some(Frequency::Daily))];
        assert_eq!(days(&sets, "2026-01-01", "2026-01-04").len(), 3);
    }
}
