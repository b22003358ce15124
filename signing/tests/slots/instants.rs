//! Which instants a schedule names.

use std::collections::BTreeSet;

use chrono::{Datelike, Duration, LocalResult, NaiveDateTime, Offset as _, TimeZone, Timelike};
use chrono_tz::Tz;
use proptest::prelude::*;
use signing::{
    plan::{Offset, Schedule},
    time::Utc,
};

use crate::{at, daily, hourly, set, utc};

fn offset_of(tz: Tz, at: Utc) -> i32 {
    tz.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()
}

/// The offsets of a zone, found by walking every minute.
fn offsets(zone: &str, from: Utc, to: Utc) -> Vec<Offset> {
    let tz: Tz = zone.parse().unwrap();
    let mut list = vec![Offset { from: None, seconds: offset_of(tz, from) }];
    let mut now = from;
    while now < to {
        let seconds = offset_of(tz, now);
        if seconds != list.last().unwrap().seconds {
            list.push(Offset { from: Some(now), seconds });
        }
        now += Duration::minutes(1);
    }
    list
}

fn slots(schedule: &Schedule, zone: &[Offset], from: &str, to: &str) -> Vec<String> {
    schedule.slots(zone, at(from), at(to)).map(|t| t.format("%d %H:%M").to_string()).collect()
}

#[test]
fn the_span_is_half_open_and_fractions_of_a_second_are_respected() {
    let schedule = hourly();
    let given = |from: &str, to: &str| slots(&schedule, &utc(), from, to);
    assert_eq!(given("2026-11-22T04:00:00Z", "2026-11-22T06:00:00Z"), ["22 04:00", "22 05:00"]);
    assert_eq!(given("2026-11-22T04:00:00.001Z", "2026-11-22T06:00:00.001Z"), ["22 05:00", "22 06:00"]);
    assert_eq!(given("2026-11-22T06:00:00Z", "2026-11-22T04:00:00Z"), Vec::<String>::new());
}

#[test]
fn a_skipped_local_time_runs_once_at_the_first_instant_after_the_gap() {
    // New York, 2026-03-08: 02:00 EST becomes 03:00 EDT at 07:00Z.
    let zone = offsets("America/New_York", at("2026-03-06T00:00:00Z"), at("2026-03-11T00:00:00Z"));
    let night = ("2026-03-08T05:00:00Z", "2026-03-09T05:00:00Z");
    assert_eq!(slots(&daily(&[30], &[2]), &zone, night.0, night.1), ["08 07:00"]);
    assert_eq!(slots(&daily(&[0, 15, 30], &[2]), &zone, night.0, night.1), ["08 07:00"], "several skipped: one slot");
    assert_eq!(
        slots(&daily(&[0, 30], &[2, 3]), &zone, night.0, night.1),
        ["08 07:00", "08 07:30"],
        "03:00 is the same instant"
    );
    assert_eq!(slots(&daily(&[30], &[1, 4]), &zone, night.0, night.1), ["08 06:30", "08 08:30"]);
    assert_eq!(
        slots(&daily(&[30], &[2]), &zone, "2026-03-08T07:00:00Z", night.1),
        ["08 07:00"],
        "asked from the transition on"
    );
    assert_eq!(slots(&daily(&[30], &[2]), &zone, "2026-03-08T07:00:01Z", night.1), Vec::<String>::new());
}

#[test]
fn a_repeated_local_time_runs_the_first_time_only() {
    // New York, 2026-11-01: 02:00 EDT becomes 01:00 EST at 06:00Z.
    let zone = offsets("America/New_York", at("2026-10-30T00:00:00Z"), at("2026-11-04T00:00:00Z"));
    let night = ("2026-11-01T04:00:00Z", "2026-11-02T04:59:00Z");
    assert_eq!(slots(&daily(&[30], &[1]), &zone, night.0, night.1), ["01 05:30"]);
    assert_eq!(slots(&daily(&[0], &[1, 2]), &zone, night.0, night.1), ["01 05:00", "01 07:00"]);
    assert_eq!(
        slots(&daily(&[30], &[1]), &zone, "2026-11-01T06:00:00Z", night.1),
        Vec::<String>::new(),
        "asked in the repeated hour"
    );
}

#[test]
fn elapsed_schedules_run_in_both_repeated_hours_and_skip_nothing_but_the_gap() {
    let schedule = daily(&[30], &(0..24).collect::<Vec<_>>());
    let autumn = offsets("America/New_York", at("2026-10-30T00:00:00Z"), at("2026-11-04T00:00:00Z"));
    assert_eq!(
        slots(&schedule, &autumn, "2026-11-01T04:00:00Z", "2026-11-01T08:00:00Z"),
        ["01 04:30", "01 05:30", "01 06:30", "01 07:30"]
    );
    let spring = offsets("America/New_York", at("2026-03-06T00:00:00Z"), at("2026-03-11T00:00:00Z"));
    assert_eq!(
        slots(&schedule, &spring, "2026-03-08T05:00:00Z", "2026-03-08T09:00:00Z"),
        ["08 05:30", "08 06:30", "08 07:30", "08 08:30"]
    );
}

#[test]
fn half_hour_zones_and_half_hour_saving_are_exact() {
    let kolkata = vec![Offset { from: None, seconds: 19_800 }];
    assert_eq!(slots(&daily(&[0], &[4]), &kolkata, "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"), ["22 22:30"]);
    // Lord Howe, 2026-10-04: 02:00 (+10:30) becomes 02:30 (+11) at 15:30Z of the 3rd. 2026-04-05: 02:00 (+11) becomes 01:30 at 15:00Z of the 4th.
    let spring = offsets("Australia/Lord_Howe", at("2026-10-01T00:00:00Z"), at("2026-10-06T00:00:00Z"));
    assert_eq!(slots(&daily(&[15], &[2]), &spring, "2026-10-03T12:00:00Z", "2026-10-04T12:00:00Z"), ["03 15:30"]);
    assert_eq!(slots(&daily(&[45], &[2]), &spring, "2026-10-03T12:00:00Z", "2026-10-04T12:00:00Z"), ["03 15:45"]);
    let autumn = offsets("Australia/Lord_Howe", at("2026-04-01T00:00:00Z"), at("2026-04-08T00:00:00Z"));
    assert_eq!(slots(&daily(&[45], &[1]), &autumn, "2026-04-04T12:00:00Z", "2026-04-05T12:00:00Z"), ["04 14:45"]);
}

#[test]
fn a_day_that_a_zone_skipped_runs_at_the_first_instant_after_it() {
    // Samoa had no 2011-12-30: at 10:00Z of that day the 29th (-10) became the 31st (+14).
    let zone = offsets("Pacific/Apia", at("2011-12-27T00:00:00Z"), at("2012-01-03T00:00:00Z"));
    assert_eq!(
        slots(&daily(&[0], &[4]), &zone, "2011-12-29T00:00:00Z", "2012-01-01T00:00:00Z"),
        ["29 14:00", "30 10:00", "30 14:00", "31 14:00"]
    );
}

#[test]
fn either_day_is_the_union_and_without_it_both_must_match() {
    // 2026-11: the 13th is a Friday, Fridays are 6, 13, 20, 27.
    let mut schedule = daily(&[0], &[0]);
    (schedule.days, schedule.weekdays, schedule.either_day) = (set(&[1, 13]), set(&[5]), true);
    assert_eq!(
        slots(&schedule, &utc(), "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
        ["01 00:00", "06 00:00", "13 00:00", "20 00:00", "27 00:00"]
    );
    schedule.either_day = false;
    assert_eq!(slots(&schedule, &utc(), "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"), ["13 00:00"]);
}

#[test]
fn leap_days_come_when_the_calendar_has_them() {
    let mut schedule = daily(&[0], &[0]);
    (schedule.days, schedule.months) = (set(&[29]), set(&[2]));
    let years: Vec<i32> =
        schedule.slots(&utc(), at("2090-01-01T00:00:00Z"), at("2110-01-01T00:00:00Z")).map(|t| t.year()).collect();
    assert_eq!(years, [2092, 2096, 2104, 2108]);
}

#[test]
fn rare_schedules_are_found_without_walking_the_years() {
    let mut schedule = daily(&[0], &[0]);
    (schedule.days, schedule.months, schedule.weekdays) = (set(&[29]), set(&[2]), set(&[3]));
    let began = std::time::Instant::now();
    let first = schedule.slots(&utc(), at("2026-01-01T00:00:00Z"), at("2999-01-01T00:00:00Z")).next().unwrap();
    assert_eq!(first, at("2040-02-29T00:00:00Z"));
    schedule.days = set(&[31]);
    assert_eq!(schedule.slots(&utc(), at("0001-01-01T00:00:00Z"), at("9999-01-01T00:00:00Z")).next(), None);
    assert_eq!(hourly().slots(&utc(), at("2000-01-01T00:00:00Z"), at("3000-01-01T00:00:00Z")).count(), 8_765_832);
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn nonsense_in_a_plan_names_nothing_and_does_not_panic() {
    let mut schedule = daily(&[0, 60, 255], &[0, 24]);
    schedule.weekdays.insert(200);
    let zone = [
        Offset { from: Some(at("2026-01-01T00:00:00Z")), seconds: i32::MAX },
        Offset { from: Some(Utc::MAX_UTC), seconds: i32::MIN },
        Offset { from: Some(Utc::MIN_UTC), seconds: 0 },
        Offset { from: None, seconds: 7 },
    ];
    assert_eq!(schedule.slots(&zone, at("2026-01-01T00:00:00Z"), at("2026-01-03T00:00:00Z")).count(), 2);
    assert_eq!(schedule.slots(&[], at("2026-01-01T00:00:00Z"), at("2026-01-03T00:00:00Z")).count(), 2);
    assert_eq!(daily(&[], &[]).slots(&utc(), Utc::MIN_UTC, Utc::MAX_UTC).next(), None);
    assert!(hourly().slots(&zone, Utc::MIN_UTC, Utc::MAX_UTC).next().is_some());
}

/// Whether the fields match a local time, by the words of [`Schedule`].
fn matches(schedule: &Schedule, local: NaiveDateTime) -> bool {
    let day = schedule.days.contains(&(local.day() as u8));
    let weekday = schedule.weekdays.contains(&(local.weekday().num_days_from_sunday() as u8));
    local.second() == 0
        && schedule.minutes.contains(&(local.minute() as u8))
        && schedule.hours.contains(&(local.hour() as u8))
        && schedule.months.contains(&(local.month() as u8))
        && if schedule.either_day { day || weekday } else { day && weekday }
}

/// Every minute, asked of the time zone database.
fn oracle(schedule: &Schedule, tz: Tz, from: Utc, to: Utc) -> Vec<Utc> {
    let mut found = BTreeSet::new();
    if schedule.elapsed {
        let mut now = from;
        while now < to {
            if matches(schedule, now.with_timezone(&tz).naive_local()) {
                found.insert(now);
            }
            now += Duration::minutes(1);
        }
    } else {
        let mut local = from.naive_utc() - Duration::days(2);
        while local < to.naive_utc() + Duration::days(2) {
            if matches(schedule, local) {
                found.insert(match tz.from_local_datetime(&local) {
                    LocalResult::Single(t) | LocalResult::Ambiguous(t, _) => t.with_timezone(&chrono::Utc),
                    LocalResult::None => {
                        let mut now = local.and_utc() - Duration::days(2);
                        while now.with_timezone(&tz).naive_local() < local {
                            now += Duration::minutes(1);
                        }
                        now
                    }
                });
            }
            local += Duration::minutes(1);
        }
    }
    found.into_iter().filter(|t| (from..to).contains(t)).collect()
}

/// A zone and an instant near which something happens.
const PLACES: [(&str, &str); 12] = [
    ("America/New_York", "2026-03-08T07:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("Europe/Berlin", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "2026-10-25T01:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("Asia/Kathmandu", "2026-02-28T18:15:00Z"),
    ("Africa/Casablanca", "2026-02-15T02:00:00Z"),
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    ("America/Scoresbysund", "2024-03-31T01:00:00Z"),
    ("UTC", "2024-02-29T00:00:00Z"),
];

fn some(low: u8, high: u8) -> impl Strategy<Value = BTreeSet<u8>> {
    prop_oneof![
        Just((low..=high).collect::<BTreeSet<u8>>()),
        proptest::collection::btree_set(low..=high, 1..4),
        proptest::collection::btree_set(low..=high, 1..usize::from(high - low) + 1),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slots_agree_with_an_oracle_that_walks_every_minute(
        place in 0..PLACES.len(),
        (minutes, hours, days, months, weekdays) in (some(0, 59), some(0, 23), some(1, 31), some(1, 12), some(0, 6)),
        (either_day, elapsed) in (any::<bool>(), any::<bool>()),
        (before, after) in (0i64..2000, 0i64..2000),
    ) {
        let (zone, centre) = PLACES[place];
        let (tz, centre): (Tz, Utc) = (zone.parse().unwrap(), at(centre));
        let text = String::new();
        let schedule = Schedule { text, zone: zone.to_owned(), minutes, hours, days, months, weekdays, either_day, elapsed };
        let (from, to) = (centre - Duration::minutes(before), centre + Duration::minutes(after));
        let offsets = offsets(zone, from - Duration::days(3), to + Duration::days(3));
        let found: Vec<Utc> = schedule.slots(&offsets, from, to).collect();
        prop_assert_eq!(&found, &oracle(&schedule, tz, from, to));
        prop_assert_eq!(schedule.slots(&offsets, from, to).count(), found.len());
    }
}
