//! Against crontab(5), as Vixie cron implements it, and against instants worked out by hand.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use signing::{plan::Schedule, time::Utc};

use super::{offsets, parse};

/// `3`, `1-5`, `0-58/2`, `1,4-6`; the expected sets are written in this plainer language, which this function alone expands.
fn set(text: &str) -> BTreeSet<u8> {
    let number = |n: &str| n.parse::<u8>().unwrap();
    text.split(',')
        .flat_map(|part| {
            let (range, step) = part.split_once('/').unwrap_or((part, "1"));
            let (low, high) = range.split_once('-').unwrap_or((range, range));
            (number(low)..=number(high)).step_by(usize::from(number(step))).collect::<Vec<_>>()
        })
        .collect()
}

/// Text; then what it means: minutes, hours, days, months, weekdays; whether either day is enough; whether time is elapsed.
const TABLE: &[(&str, [&str; 5], bool, bool)] = &[
    ("* * * * *", ["0-59", "0-23", "1-31", "1-12", "0-6"], false, true),
    ("0 4 * * *", ["0", "4", "1-31", "1-12", "0-6"], false, false),
    ("05 04 * * *", ["5", "4", "1-31", "1-12", "0-6"], false, false),
    ("  0\t4  *\t*   *  ", ["0", "4", "1-31", "1-12", "0-6"], false, false),
    ("*/15 * * * *", ["0,15,30,45", "0-23", "1-31", "1-12", "0-6"], false, true),
    ("*/7 * * * *", ["0,7,14,21,28,35,42,49,56", "0-23", "1-31", "1-12", "0-6"], false, true),
    ("0 */5 * * *", ["0", "0,5,10,15,20", "1-31", "1-12", "0-6"], false, false),
    ("0 */1 * * *", ["0", "0-23", "1-31", "1-12", "0-6"], false, true),
    ("0 0-23 * * *", ["0", "0-23", "1-31", "1-12", "0-6"], false, true),
    ("10-20 8-18/2 * * *", ["10-20", "8,10,12,14,16,18", "1-31", "1-12", "0-6"], false, false),
    ("5-59/10 * * * *", ["5,15,25,35,45,55", "0-23", "1-31", "1-12", "0-6"], false, true),
    ("1,2,30-32,50-59/3 * * * *", ["1,2,30-32,50,53,56,59", "0-23", "1-31", "1-12", "0-6"], false, true),
    ("7-7 3 * * *", ["7", "3", "1-31", "1-12", "0-6"], false, false),
    ("7,7,7 3 * * *", ["7", "3", "1-31", "1-12", "0-6"], false, false),
    // Weekdays: 0 and 7 are Sunday, Monday is 1.
    ("0 0 * * 0", ["0", "0", "1-31", "1-12", "0"], false, false),
    ("0 0 * * 7", ["0", "0", "1-31", "1-12", "0"], false, false),
    ("0 0 * * 1", ["0", "0", "1-31", "1-12", "1"], false, false),
    ("0 0 * * 6", ["0", "0", "1-31", "1-12", "6"], false, false),
    ("0 0 * * 5-7", ["0", "0", "1-31", "1-12", "0,5,6"], false, false),
    ("0 0 * * 0-7", ["0", "0", "1-31", "1-12", "0-6"], false, false),
    ("0 0 * * 1-7/2", ["0", "0", "1-31", "1-12", "0,1,3,5"], false, false),
    ("0 0 * * */2", ["0", "0", "1-31", "1-12", "0,2,4,6"], false, false),
    ("0 0 * * */3", ["0", "0", "1-31", "1-12", "0,3,6"], false, false),
    ("0 0 * * SUN", ["0", "0", "1-31", "1-12", "0"], false, false),
    ("0 0 * * sat", ["0", "0", "1-31", "1-12", "6"], false, false),
    ("0 0 * * Mon-Fri", ["0", "0", "1-31", "1-12", "1-5"], false, false),
    ("0 0 * * MON,WED-FRI,7", ["0", "0", "1-31", "1-12", "0,1,3-5"], false, false),
    ("0 0 * * sun-sat/3", ["0", "0", "1-31", "1-12", "0,3,6"], false, false),
    ("0 0 * * fri-7", ["0", "0", "1-31", "1-12", "0,5,6"], false, false),
    // Months.
    ("0 0 1 JAN *", ["0", "0", "1", "1", "0-6"], false, false),
    ("0 0 1 jan,Apr,JUL,10 *", ["0", "0", "1", "1,4,7,10", "0-6"], false, false),
    ("0 0 1 */3 *", ["0", "0", "1", "1,4,7,10", "0-6"], false, false),
    ("0 0 1 NOV-DEC *", ["0", "0", "1", "11,12", "0-6"], false, false),
    ("0 0 */10 * *", ["0", "0", "1,11,21,31", "1-12", "0-6"], false, false),
    ("0 0 31 2,4,5 *", ["0", "0", "31", "2,4,5", "0-6"], false, false),
    ("0 0 29 2 *", ["0", "0", "29", "2", "0-6"], false, false),
    // Two restricted day fields: either is enough; a field that begins with a star restricts, but does not make a union.
    ("30 4 1,15 * 5", ["30", "4", "1,15", "1-12", "5"], true, false),
    ("0 0 1 * MON", ["0", "0", "1", "1-12", "1"], true, false),
    ("0 0 1-31 * MON", ["0", "0", "1-31", "1-12", "1"], true, false),
    ("0 0 1 * 0-6", ["0", "0", "1", "1-12", "0-6"], true, false),
    ("0 0 */2 * MON", ["0", "0", "1-31/2", "1-12", "1"], false, false),
    ("0 0 1-7 * */2", ["0", "0", "1-7", "1-12", "0,2,4,6"], false, false),
    ("0 0 *,13 * 5", ["0", "0", "1-31", "1-12", "5"], false, false),
    ("0 0 13,* * 5", ["0", "0", "1-31", "1-12", "5"], true, false),
    ("0 0 31 2 MON", ["0", "0", "31", "2", "1"], true, false),
    // Names.
    ("@hourly", ["0", "0-23", "1-31", "1-12", "0-6"], false, true),
    ("@daily", ["0", "0", "1-31", "1-12", "0-6"], false, false),
    ("@midnight", ["0", "0", "1-31", "1-12", "0-6"], false, false),
    ("@weekly", ["0", "0", "1-31", "1-12", "0"], false, false),
    ("@monthly", ["0", "0", "1", "1-12", "0-6"], false, false),
    ("@yearly", ["0", "0", "1", "1", "0-6"], false, false),
    ("@annually", ["0", "0", "1", "1", "0-6"], false, false),
];

#[test]
fn every_line_means_what_crontab_says() {
    for (text, [minutes, hours, days, months, weekdays], either_day, elapsed) in TABLE {
        let expected = Schedule {
            text: text.trim().to_owned(),
            zone: "UTC".to_owned(),
            minutes: set(minutes),
            hours: set(hours),
            days: set(days),
            months: set(months),
            weekdays: set(weekdays),
            either_day: *either_day,
            elapsed: *elapsed,
        };
        assert_eq!(parse(text, "UTC").unwrap(), expected, "{text}");
    }
}

/// Text that is refused, and what the error must say.
const REFUSED: &[(&str, &[&str])] = &[
    ("", &["0 fields", "takes five", "`30 4 * * MON-FRI`"]),
    ("0 4 * *", &["4 fields"]),
    ("0 0 4 * * *", &["6 fields", "seconds"]),
    ("0 0 4 * * * 2026", &["7 fields"]),
    ("@reboot", &["names no instants", "@hourly"]),
    ("@noon", &["no schedule has this name", "@daily"]),
    ("@", &["no schedule has this name"]),
    ("60 4 * * *", &["minute \"60\"", "out of range", "0-59", "`*/15`"]),
    ("0 24 * * *", &["hour \"24\"", "out of range", "0-23"]),
    ("0 4 0 * *", &["day of month \"0\"", "out of range", "1-31"]),
    ("0 4 32 * *", &["day of month \"32\""]),
    ("0 4 * 0 *", &["month \"0\"", "1-12, JAN-DEC"]),
    ("0 4 * 13 *", &["month \"13\""]),
    ("0 4 * * 8", &["weekday \"8\"", "0-7 (0 and 7 are Sunday)", "`MON-FRI`"]),
    ("0 4 * * 99999999999", &["out of range"]),
    ("0 4 * * monday", &["weekday \"monday\"", "no value that crontab knows"]),
    ("0 4 * MON *", &["month \"MON\""]),
    ("JAN 4 * * *", &["minute \"JAN\""]),
    ("-1 4 * * *", &["minute \"-1\"", "a value is missing"]),
    ("1- 4 * * *", &["a value is missing"]),
    ("1,,2 4 * * *", &["a value is missing"]),
    (",1 4 * * *", &["a value is missing"]),
    ("1-2-3 4 * * *", &["minute \"1-2-3\""]),
    ("+1 4 * * *", &["no value that crontab knows"]),
    ("1.5 4 * * *", &["no value that crontab knows"]),
    ("? 4 * * *", &["no value that crontab knows"]),
    ("0 4 ? * *", &["day of month \"?\""]),
    ("0 4 L * *", &["day of month \"L\""]),
    ("0 4 * * 5#2", &["weekday \"5#2\""]),
    ("0~30 4 * * *", &["minute \"0~30\""]),
    ("5/10 4 * * *", &["minute \"5/10\"", "write 5-59/10"]),
    ("0 2/4 * * *", &["write 2-23/4"]),
    ("0 4 * * 1/2", &["write 1-6/2"]),
    ("*/0 4 * * *", &["a step is a number from 1 to 59"]),
    ("*/ 4 * * *", &["a step is a number from 1 to 59"]),
    ("*/60 4 * * *", &["a step is a number from 1 to 59"]),
    ("*/5/5 4 * * *", &["a step is a number from 1 to 59"]),
    ("0 */24 * * *", &["a step is a number from 1 to 23"]),
    ("** 4 * * *", &["minute \"**\""]),
    ("50-10 4 * * *", &["ends before it begins", "write 50-59,0-10"]),
    ("0 22-4 * * *", &["write 22-23,0-4"]),
    ("0 4 * * 5-1", &["write 5-6,0-1"]),
    ("0 4 * * SAT-SUN", &["write 6-7"]),
    ("0 22-4/2 * * *", &["write out the values"]),
    ("0 4 31 2 *", &["never runs", "\"31\"", "\"2\""]),
    ("0 4 30,31 FEB *", &["never runs"]),
    ("0 4 31 4,6,9,11 *", &["never runs"]),
    ("0 4 31 2 */2", &["never runs"]),
];

#[test]
fn what_crontab_refuses_or_would_read_otherwise_is_refused_with_the_remedy() {
    for (text, says) in REFUSED {
        let error = match parse(text, "UTC") {
            Ok(schedule) => panic!("{text:?} was taken for {schedule:?}"),
            Err(error) => error.to_string(),
        };
        for part in *says {
            assert!(error.contains(part), "{text:?}: {error:?} does not say {part:?}");
        }
        assert!(error.contains(&format!("{text:?}")), "{error:?} does not repeat {text:?}");
        assert!(error.contains("e.g. `") || error.contains("@hourly"), "{error:?} gives no example");
    }
}

#[test]
fn an_unknown_zone_is_refused() {
    let error = parse("0 4 * * *", "Europe/Berlni").unwrap_err().to_string();
    assert!(error.contains("`Europe/Berlin`"), "{error}");
}

fn at(text: &str) -> Utc {
    text.parse().unwrap()
}

/// Text, zone, from, to, and the instants that crontab runs it at.
const INSTANTS: &[(&str, &str, &str, &str, &[&str])] = &[
    (
        "0 4 * * MON",
        "UTC",
        "2026-11-01T00:00:00Z",
        "2026-12-01T00:00:00Z",
        &[
            "2026-11-02T04:00:00Z",
            "2026-11-09T04:00:00Z",
            "2026-11-16T04:00:00Z",
            "2026-11-23T04:00:00Z",
            "2026-11-30T04:00:00Z",
        ],
    ),
    (
        "0 0 1,15 * 0",
        "UTC",
        "2026-11-01T00:00:00Z",
        "2026-11-17T00:00:00Z",
        &["2026-11-01T00:00:00Z", "2026-11-08T00:00:00Z", "2026-11-15T00:00:00Z"],
    ),
    ("30 9 * * *", "Asia/Kolkata", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z", &["2026-11-22T04:00:00Z"]),
    (
        "0 0 * * *",
        "America/New_York",
        "2026-10-31T00:00:00Z",
        "2026-11-03T00:00:00Z",
        &["2026-10-31T04:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"],
    ),
    (
        "30 2 * * *",
        "Europe/Berlin",
        "2026-03-28T00:00:00Z",
        "2026-03-31T00:00:00Z",
        &["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
    ),
    (
        "30 2 * * *",
        "Europe/Berlin",
        "2026-10-24T00:00:00Z",
        "2026-10-27T00:00:00Z",
        &["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
    ),
    (
        "30 * * * *",
        "Europe/Berlin",
        "2026-10-25T00:00:00Z",
        "2026-10-25T03:00:00Z",
        &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"],
    ),
    (
        "@monthly",
        "Pacific/Auckland",
        "2026-03-15T00:00:00Z",
        "2026-05-15T00:00:00Z",
        &["2026-03-31T11:00:00Z", "2026-04-30T12:00:00Z"],
    ),
    (
        "@yearly",
        "UTC",
        "2026-01-01T00:00:01Z",
        "2029-01-01T00:00:00Z",
        &["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"],
    ),
    (
        "0 12 29 2 *",
        "UTC",
        "2026-01-01T00:00:00Z",
        "2033-01-01T00:00:00Z",
        &["2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z"],
    ),
];

#[test]
fn schedules_run_at_the_instants_that_crontab_would_run_them() {
    for (text, zone, from, to, expected) in INSTANTS {
        let schedule = parse(text, zone).unwrap();
        let offsets = offsets(zone, at(from), 10).unwrap();
        let found: Vec<Utc> = schedule.slots(&offsets, at(from), at(to)).collect();
        assert_eq!(found, expected.iter().map(|t| at(t)).collect::<Vec<_>>(), "{text} {zone}");
    }
}

#[test]
fn a_year_of_a_daily_job_takes_milliseconds() {
    let schedule = parse("0 4 * * *", "Europe/Berlin").unwrap();
    let offsets = offsets("Europe/Berlin", at("2026-01-01T00:00:00Z"), 1).unwrap();
    let began = std::time::Instant::now();
    let slots = schedule.slots(&offsets, at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    assert_eq!(slots.fold(0, |n, _| n + 1), 365);
    assert!(began.elapsed() < std::time::Duration::from_millis(100), "{:?}", began.elapsed());
}
