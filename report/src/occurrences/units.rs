//! The units of time in which a control has to operate once. Each begins where the one before it ended, and ends at the next boundary of the
//! frequency that is in force as it begins, on a grid that starts with the period's first day: while it is a control no time is without a
//! unit, and none has two.

use chrono::{Months, TimeDelta};
use controls::Frequency;
use signing::time::Utc;

use crate::in_force::{InForce, Put, scope};

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

/// The first boundary after `at`.
fn next(frequency: Frequency, first: Utc, at: Utc) -> Utc {
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
    (from..).map(|n| boundary(frequency, first, n)).find(|boundary| *boundary > at).unwrap_or(Utc::MAX_UTC)
}

/// The first start of a UTC day at or after `at`.
fn day(at: Utc) -> Utc {
    let start = at.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
    if start < at { start + TimeDelta::days(1) } else { start }
}

/// The units of a control within the period `[from, to)`, both at the start of a UTC day. Controls by event have days. A control that comes
/// within the period has its first unit from the next day on; a unit without any job in scope ends, at the latest, with the day in which one
/// comes.
pub fn units(in_force: &InForce, control: &str, from: Utc, to: Utc) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut at = from;
    while at < to {
        let Some(put) = in_force.place(at) else { break };
        let later = in_force.puts.iter().skip(put + 1);
        let Some(promised) = in_force.puts[put].set.controls.iter().find(|c| c.id == control) else {
            match later.map(|put| put.from).find(|changed| *changed > at) {
                Some(changed) => at = day(changed),
                None => break,
            }
            continue;
        };
        let mut end = next(promised.frequency, from, at);
        if scope(promised, &in_force.puts[put].set).is_empty() {
            let read = |put: &&Put| put.set.controls.iter().any(|c| c.id == control && !scope(c, &put.set).is_empty());
            if let Some(read) = later.filter(read).map(|put| day(put.from)).find(|read| *read > at) {
                end = end.min(read);
            }
        }
        units.push(Unit { from: at, to: end.min(to), cut: end > to, put });
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
    fn a_change_within_a_unit_counts_from_its_end_and_the_rest_until_the_new_grid_is_a_shorter_unit() {
        let sets = [(EARLY, Some(Frequency::Weekly)), ("2026-01-10T12:00:00Z", Some(Frequency::Monthly))];
        let found = days(&sets, "2026-01-01", "2026-03-01");
        assert_eq!(found, ["01-01 01-08", "01-08 01-15", "01-15 02-01", "02-01 03-01"]);
        let sets = [(EARLY, Some(Frequency::Monthly)), ("2026-01-10T12:00:00Z", Some(Frequency::Weekly))];
        let found = days(&sets, "2026-01-01", "2026-02-15");
        assert_eq!(found, ["01-01 02-01", "02-01 02-05", "02-05 02-12", "02-12 02-15 cut"]);
        let sets = [(EARLY, Some(Frequency::Daily)), ("2026-01-10T12:00:00Z", Some(Frequency::Annual))];
        assert_eq!(days(&sets, "2026-01-01", "2027-01-01").last().unwrap(), "01-11 01-01");
    }

    #[test]
    fn a_control_that_comes_within_the_period_has_a_unit_from_the_next_day_on() {
        let sets = [(EARLY, None), ("2026-02-10T12:00:00Z", Some(Frequency::Quarterly))];
        assert_eq!(days(&sets, "2026-01-01", "2026-07-01"), ["02-11 04-01", "04-01 07-01"]);
    }

    #[test]
    fn a_unit_without_a_job_ends_with_the_day_in_which_one_comes() {
        let put = |from: &str, scope: Vec<controls::ScopedJob>| {
            let control = control("C", Frequency::Annual, "mfa_user_enrolled");
            Put { from: at(from), entry: 0, document: None, set: Arc::new(set(&[control], scope)) }
        };
        let job = crate::testing::scoped("host/accounts@this", crate::testing::USERS);
        let off = controls::ScopedJob { off: Some("moved".into()), ..job.clone() };
        let puts = vec![
            put(EARLY, vec![off.clone()]),
            put("2026-02-01T06:00:00Z", Vec::new()),
            put("2026-03-01T06:00:00Z", vec![job]),
            put("2026-05-01T06:00:00Z", vec![off]),
        ];
        let in_force = InForce { puts, ..InForce::default() };
        let found = units(&in_force, "C", at("2026-01-01"), at("2027-01-01"));
        let found: Vec<_> = found.iter().map(|unit| (unit.from, unit.to, unit.put)).collect();
        assert_eq!(found, [(at("2026-01-01"), at("2026-03-02"), 0), (at("2026-03-02"), at("2027-01-01"), 2)]);
    }

    proptest::proptest! {
        #[test]
        fn while_it_is_a_control_its_units_tile_the_period(
            changes in proptest::collection::vec((0_i64..500 * 24, 0_usize..9), 1..12),
            length in 1_i64..450,
        ) {
            let all = [
                Frequency::Automated, Frequency::Daily, Frequency::Weekly, Frequency::Monthly, Frequency::Quarterly,
                Frequency::SemiAnnual, Frequency::Annual, Frequency::PerEvent,
            ];
            let mut changes = changes;
            changes.sort_unstable();
            let (from, until) = (at("2026-01-31"), at("2026-01-31") + TimeDelta::days(length));
            let put = |(hours, frequency): &(i64, usize)| {
                let controls = all.get(*frequency).map(|frequency| control("C", *frequency, "mfa_user_enrolled"));
                let set = Arc::new(set(controls.as_slice(), Vec::new()));
                Put { from: from + TimeDelta::hours(*hours), entry: 0, document: None, set }
            };
            let in_force = InForce { puts: changes.iter().map(put).collect(), ..InForce::default() };
            let is = |at: Utc| in_force.at(at).is_some_and(|put| !put.set.controls.is_empty());
            let units = units(&in_force, "C", from, until);
            let mut of = units.iter().peekable();
            let mut day = from;
            while day < until {
                let unit = of.next_if(|unit| unit.from == day);
                proptest::prop_assert_eq!(unit.is_some(), is(day), "on {}", day);
                if let Some(unit) = unit {
                    proptest::prop_assert!(unit.from < unit.to && unit.to <= until);
                    proptest::prop_assert_eq!(Some(unit.put), in_force.place(unit.from));
                    proptest::prop_assert!(!unit.cut || unit.to == until);
                }
                day = unit.map_or(day + TimeDelta::days(1), |unit| unit.to);
            }
            proptest::prop_assert!(of.next().is_none());
        }
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
