//! A time zone's UTC offsets for a plan, from the IANA data that chrono-tz carries. Never reads the machine's zone or its files.

use chrono::{Days, Duration, Months, Offset as _, TimeZone};
use chrono_tz::Tz;
use signing::{plan::Offset, time::Utc};

/// How far before `from` the list begins, so that a local time that repeats or is skipped near `from` is seen whole.
const MARGIN_DAYS: u64 = 3;
/// No zone has changed its offset twice within this time and come back to the same.
const STEP: Duration = Duration::hours(12);

/// A zone that the IANA data does not name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is not a time zone of the IANA database: {advice} (a name is spelt like `Europe/Berlin`, `America/New_York` or `UTC`)"
)]
pub struct UnknownZone {
    /// As it was written.
    pub name: String,
    /// What was perhaps meant.
    pub advice: String,
}

/// The UTC offsets of `zone` from shortly before `from` until `years` after it; the last one holds on.
///
/// # Errors
/// A zone that the IANA data does not name; the error names the nearest ones.
pub fn offsets(zone: &str, from: Utc, years: u32) -> Result<Vec<Offset>, UnknownZone> {
    let tz = named(zone)?;
    let from = signing::time::from_unix(from.timestamp()).unwrap_or(from);
    let start = from.checked_sub_days(Days::new(MARGIN_DAYS)).unwrap_or(from);
    let end = from.checked_add_months(Months::new(years.saturating_mul(12))).unwrap_or(from);
    let seconds = |at: Utc| tz.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc();

    let mut list = vec![Offset { from: None, seconds: seconds(start) }];
    let (mut at, mut now) = (start, seconds(start));
    while at < end {
        let next = at + STEP;
        let then = seconds(next);
        if then != now {
            // The transition is in (low, high].
            let (mut low, mut high) = (at, next);
            while high - low > Duration::seconds(1) {
                let middle = low + Duration::seconds((high - low).num_seconds() / 2);
                if seconds(middle) == now { low = middle } else { high = middle }
            }
            list.push(Offset { from: Some(high), seconds: seconds(high) });
            (at, now) = (high, seconds(high));
        } else {
            at = next;
        }
    }
    Ok(list)
}

/// The zone of that name.
pub(super) fn named(zone: &str) -> Result<Tz, UnknownZone> {
    zone.parse().map_err(|_| UnknownZone { name: zone.to_owned(), advice: advice(zone) })
}

fn advice(zone: &str) -> String {
    let plain = |name: &str| name.to_lowercase().replace([' ', '-'], "_");
    let wanted = plain(zone);
    let city = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let mut near: Vec<(usize, &str)> = chrono_tz::TZ_VARIANTS
        .iter()
        .map(|tz| {
            let name = tz.name();
            let known = plain(name);
            (distance(&wanted, &known).min(1 + distance(&city(&wanted), &city(&known))), name)
        })
        .filter(|(far, _)| *far <= 1 + wanted.len() / 4)
        .collect();
    near.sort();
    match near.iter().take(3).map(|(_, name)| format!("`{name}`")).collect::<Vec<_>>().as_slice() {
        [] => "no name is near it".to_owned(),
        names => format!("perhaps {}", names.join(" or ")),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(text: &str) -> Utc {
        text.parse().unwrap()
    }

    #[test]
    fn utc_never_changes() {
        assert_eq!(offsets("UTC", at("2026-11-22T05:00:00Z"), 10).unwrap(), [Offset { from: None, seconds: 0 }]);
    }

    #[test]
    fn transitions_of_a_year_are_exact_to_the_second() {
        let berlin = offsets("Europe/Berlin", at("2026-11-22T05:00:00Z"), 1).unwrap();
        assert_eq!(
            berlin,
            [
                Offset { from: None, seconds: 3600 },
                Offset { from: Some(at("2027-03-28T01:00:00Z")), seconds: 7200 },
                Offset { from: Some(at("2027-10-31T01:00:00Z")), seconds: 3600 },
            ]
        );
        let lord_howe = offsets("Australia/Lord_Howe", at("2026-01-01T00:00:00Z"), 1).unwrap();
        assert_eq!(
            lord_howe,
            [
                Offset { from: None, seconds: 39_600 },
                Offset { from: Some(at("2026-04-04T15:00:00Z")), seconds: 37_800 },
                Offset { from: Some(at("2026-10-03T15:30:00Z")), seconds: 39_600 },
            ]
        );
    }

    #[test]
    fn a_transition_just_before_the_start_is_in_the_list() {
        let berlin = offsets("Europe/Berlin", at("2026-10-25T01:30:00Z"), 0).unwrap();
        assert_eq!(
            berlin,
            [Offset { from: None, seconds: 7200 }, Offset { from: Some(at("2026-10-25T01:00:00Z")), seconds: 3600 }]
        );
    }

    #[test]
    fn the_list_agrees_with_the_database_at_every_hour() {
        for zone in ["Africa/Casablanca", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "America/Godthab"] {
            let start = at("2011-06-01T00:00:00Z");
            let list = offsets(zone, start, 3).unwrap();
            let tz = named(zone).unwrap();
            for hour in 0..24 * 365 * 3 {
                let now = start + Duration::hours(hour);
                let said = list.iter().rfind(|o| o.from.is_none_or(|from| from <= now)).unwrap().seconds;
                assert_eq!(said, tz.offset_from_utc_datetime(&now.naive_utc()).fix().local_minus_utc(), "{zone} {now}");
            }
        }
    }

    #[test]
    fn an_unknown_zone_names_near_ones() {
        let said = |zone: &str| offsets(zone, at("2026-01-01T00:00:00Z"), 1).unwrap_err().to_string();
        assert!(said("Europe/Berln").contains("`Europe/Berlin`"), "{}", said("Europe/Berln"));
        assert!(said("berlin").contains("`Europe/Berlin`"), "{}", said("berlin"));
        assert!(said("america/new york").contains("`America/New_York`"), "{}", said("america/new york"));
        assert!(said("Middle-earth/Mordor-and-beyond").contains("no name is near"));
    }
}
