//! A schedule in a zone, made ready to be asked: which instants are slots, the next one, the last one, how many.
//!
//! Everything is whole seconds of Unix time. A schedule that follows the local clock names a local time once: at the first instant
//! at which the local clock reads it or has passed it. So a local time that is skipped runs at the first instant after the gap, and
//! one that repeats runs the first time. A schedule that follows elapsed time runs whenever the local clock reads one of its times.

use chrono::{Datelike, NaiveDate};

use crate::{
    plan::{Offset, Schedule},
    time::{Utc, from_unix},
};

const DAY: i64 = 86_400;
/// Slots exist between these instants only: the years that RFC 3339 spells with four digits, less a margin for offsets.
const FIRST: i64 = -62_135_596_800 + 400 * DAY;
const LAST: i64 = 253_402_300_800 - 400 * DAY;
/// No zone has ever been further from Greenwich.
pub(super) const MOST_OFFSET: i32 = 16 * 3600;

/// A schedule in a zone.
#[derive(Debug, Clone)]
pub(super) struct Timetable {
    minutes: u64,
    hours: u32,
    days: u32,
    months: u16,
    weekdays: u8,
    either_day: bool,
    elapsed: bool,
    stretches: Vec<Stretch>,
}

/// A time of one UTC offset.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    /// Its first second.
    from: i64,
    offset: i64,
    /// The local clock has read every time before this one, or passed it, when the stretch begins.
    reached: i64,
}

/// The first whole second not before `at`.
pub(super) fn ceil_second(at: Utc) -> i64 {
    at.timestamp().saturating_add(i64::from(at.timestamp_subsec_nanos() > 0))
}

/// The instant of a second that a timetable gave.
pub(super) fn instant(second: i64) -> Utc {
    from_unix(second.clamp(FIRST, LAST)).expect("chrono holds the years 1 to 9999")
}

/// What is wrong with a schedule or its zone, so that it does not mean what it seems to say.
pub(super) fn fault(schedule: &Schedule, zone: Option<&[Offset]>) -> Option<String> {
    let within = |set: &std::collections::BTreeSet<u8>, low: u8, high: u8| {
        !set.is_empty() && set.iter().all(|v| (low..=high).contains(v))
    };
    for (name, good) in [
        ("minutes", within(&schedule.minutes, 0, 59)),
        ("hours", within(&schedule.hours, 0, 23)),
        ("days", within(&schedule.days, 1, 31)),
        ("months", within(&schedule.months, 1, 12)),
        ("weekdays", within(&schedule.weekdays, 0, 6)),
    ] {
        if !good {
            return Some(format!("its set of {name} is empty or out of range"));
        }
    }
    let Some(zone) = zone else { return Some(format!("the plan has no offsets for its zone {:?}", schedule.zone)) };
    if zone.first().is_none_or(|o| o.from.is_some()) {
        return Some(format!("the offsets of {:?} have no first entry that holds from always", schedule.zone));
    }
    if zone.iter().any(|o| o.seconds.abs() > MOST_OFFSET) {
        return Some(format!("an offset of {:?} is further from Greenwich than any zone", schedule.zone));
    }
    if zone.iter().skip(1).any(|o| o.from.is_none()) || !zone.windows(2).all(|w| w[0].from < w[1].from) {
        return Some(format!("the transitions of {:?} are not in ascending order", schedule.zone));
    }
    None
}

impl Timetable {
    /// Never fails: values out of range and transitions out of order are passed over ([`fault`] names them).
    pub(super) fn new(schedule: &Schedule, zone: &[Offset]) -> Self {
        let bits = |set: &std::collections::BTreeSet<u8>, low: u8, high: u8| {
            set.iter().filter(|v| (low..=high).contains(v)).fold(0u64, |bits, v| bits | 1 << v)
        };
        let mut stretches: Vec<Stretch> = Vec::with_capacity(zone.len().max(1));
        for offset in zone {
            let seconds = i64::from(offset.seconds.clamp(-MOST_OFFSET, MOST_OFFSET));
            match (stretches.last(), offset.from.map(ceil_second)) {
                (None, _) => stretches.push(Stretch { from: i64::MIN, offset: seconds, reached: i64::MIN }),
                (Some(before), Some(from)) if from > before.from && from.abs() <= LAST => {
                    let reached = before.reached.max(from + before.offset);
                    stretches.push(Stretch { from, offset: seconds, reached });
                }
                (Some(_), _) => {}
            }
        }
        if stretches.is_empty() {
            stretches.push(Stretch { from: i64::MIN, offset: 0, reached: i64::MIN });
        }
        Self {
            minutes: bits(&schedule.minutes, 0, 59),
            hours: bits(&schedule.hours, 0, 23) as u32,
            days: bits(&schedule.days, 1, 31) as u32,
            months: bits(&schedule.months, 1, 12) as u16,
            weekdays: bits(&schedule.weekdays, 0, 6) as u8,
            either_day: schedule.either_day,
            elapsed: schedule.elapsed,
            stretches,
        }
    }

    /// The first slot in `[from, to)`.
    pub(super) fn next(&self, from: i64, to: i64) -> Option<i64> {
        let (mut from, to) = (from.max(FIRST), to.min(LAST));
        let first = self.stretches.partition_point(|s| s.from <= from).saturating_sub(1);
        for (at, stretch) in self.stretches.iter().enumerate().skip(first) {
            from = from.max(stretch.from);
            if from >= to {
                return None;
            }
            if from == stretch.from && self.runs_after_gap(stretch) {
                return Some(from);
            }
            let end = self.stretches.get(at + 1).map_or(to, |next| next.from.min(to));
            let local = self.not_yet_reached(stretch, from);
            if let Some(found) = self.next_local(local, end + stretch.offset) {
                return Some(found - stretch.offset);
            }
        }
        None
    }

    /// Whether the second is a slot.
    pub(super) fn contains(&self, second: i64) -> bool {
        self.next(second, second.saturating_add(1)).is_some()
    }

    /// How many slots there are in `[from, to)`; walks days, not slots.
    pub(super) fn count(&self, from: i64, to: i64) -> u64 {
        let (mut from, to) = (from.max(FIRST), to.min(LAST));
        let first = self.stretches.partition_point(|s| s.from <= from).saturating_sub(1);
        let mut count = 0;
        for (at, stretch) in self.stretches.iter().enumerate().skip(first) {
            from = from.max(stretch.from);
            if from >= to {
                break;
            }
            let after_gap = from == stretch.from && self.runs_after_gap(stretch);
            count += u64::from(after_gap);
            let end = self.stretches.get(at + 1).map_or(to, |next| next.from.min(to));
            let local = self.not_yet_reached(stretch, from + i64::from(after_gap));
            count += self.count_local(local, end + stretch.offset);
        }
        count
    }

    /// The last slot in `[from, to)`.
    pub(super) fn last(&self, from: i64, to: i64) -> Option<i64> {
        let (from, to) = (from.max(FIRST), to.min(LAST));
        // A window holds many slots only where they are dense, and then a narrower one has been enough.
        for days in [0, 1, 40, 400, 15_000, i64::MAX / DAY] {
            let start = to.saturating_sub((days * DAY).max(3600)).max(from);
            let mut last = None;
            let mut next = start;
            while let Some(found) = self.next(next, to) {
                last = Some(found);
                next = found + 1;
            }
            if last.is_some() || start <= from {
                return last;
            }
        }
        None
    }

    /// Whether a time of the schedule was skipped when the stretch began.
    fn runs_after_gap(&self, stretch: &Stretch) -> bool {
        !self.elapsed
            && stretch.from != i64::MIN
            && self.next_local(stretch.reached, stretch.from + stretch.offset).is_some()
    }

    /// The local time from which on the stretch may name slots, looking from `from`.
    fn not_yet_reached(&self, stretch: &Stretch, from: i64) -> i64 {
        if self.elapsed { from + stretch.offset } else { (from + stretch.offset).max(stretch.reached) }
    }

    /// The first local time of the schedule in `[from, to)`.
    fn next_local(&self, from: i64, to: i64) -> Option<i64> {
        if from >= to {
            return None;
        }
        let minute = from.div_euclid(60) + i64::from(from.rem_euclid(60) > 0);
        let (mut day, mut at) = (minute.div_euclid(1440), minute.rem_euclid(1440) as u32);
        while day * DAY < to {
            match self.day(day) {
                Ok(true) => {
                    if let Some(minute) = self.in_day(at) {
                        let found = day * DAY + i64::from(minute) * 60;
                        return (found < to).then_some(found);
                    }
                    day += 1;
                }
                Ok(false) => day += 1,
                Err(next_month) => day = next_month,
            }
            at = 0;
        }
        None
    }

    /// How many local times of the schedule there are in `[from, to)`.
    fn count_local(&self, from: i64, to: i64) -> u64 {
        let whole = u64::from(self.minutes.count_ones()) * u64::from(self.hours.count_ones());
        let (mut day, mut count) = (from.div_euclid(DAY), 0);
        while day * DAY < to {
            match self.day(day) {
                Ok(true) if day * DAY >= from && (day + 1) * DAY <= to => count += whole,
                Ok(true) => {
                    let minute = |second: i64| (second - day * DAY + 59).div_euclid(60).clamp(0, 1440) as u32;
                    count += self.count_in_day(minute(from), minute(to));
                }
                Ok(false) => {}
                Err(next_month) => {
                    day = next_month;
                    continue;
                }
            }
            day += 1;
        }
        count
    }

    /// How many minutes of a day's `[from, to)` the schedule names.
    fn count_in_day(&self, from: u32, to: u32) -> u64 {
        let hours = (0..24u32).filter(|hour| self.hours >> hour & 1 == 1);
        let in_hour = |minute: u32, hour: u32| minute.clamp(hour * 60, hour * 60 + 60) - hour * 60;
        let below = |minute: u32| self.minutes & ((1u64 << minute) - 1);
        let count =
            |hour| below(in_hour(to, hour)).count_ones().saturating_sub(below(in_hour(from, hour)).count_ones());
        hours.map(|hour| u64::from(count(hour))).sum()
    }

    /// Whether the schedule runs on the day (counted from 1970-01-01); where its month is not in it, the first day of the next one.
    fn day(&self, day: i64) -> Result<bool, i64> {
        let date = i32::try_from(day + 719_163).ok().and_then(NaiveDate::from_num_days_from_ce_opt);
        let Some(date) = date else { return Ok(false) };
        if self.months >> date.month() & 1 == 0 {
            let in_month = i64::from(date.num_days_in_month());
            return Err(day - i64::from(date.day0()) + in_month);
        }
        let of_month = self.days >> date.day() & 1 == 1;
        let of_week = self.weekdays >> date.weekday().num_days_from_sunday() & 1 == 1;
        Ok(if self.either_day { of_month || of_week } else { of_month && of_week })
    }

    /// The first minute of a day, from `at` on, that the schedule names.
    fn in_day(&self, at: u32) -> Option<u32> {
        let (hour, minute) = (at / 60, at % 60);
        let later = |bits: u64, from: u32| Some((bits >> from) << from).filter(|b| *b != 0).map(u64::trailing_zeros);
        if self.hours >> hour & 1 == 1
            && let Some(minute) = later(self.minutes, minute)
        {
            return Some(hour * 60 + minute);
        }
        Some(later(u64::from(self.hours), hour + 1)? * 60 + later(self.minutes, 0)?)
    }
}
