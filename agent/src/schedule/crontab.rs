//! A crontab line's five fields as the sets that a plan carries. The crate cron expands each field; what it does otherwise than
//! crontab(5) (weekday numbers, the two day fields, a point with a step, its own extensions) is settled here before and after it.

use std::{collections::BTreeSet, str::FromStr};

use cron::TimeUnitSpec;
use signing::plan::Schedule;

use super::zones::{UnknownZone, named};

/// A schedule that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not five fields.
    #[error(
        "schedule {text:?} has {found} fields; it takes five, e.g. `30 4 * * MON-FRI` (minute, hour, day of month, month, weekday){hint}"
    )]
    Fields {
        /// As it was written.
        text: String,
        /// How many there are.
        found: usize,
        /// What was perhaps meant.
        hint: &'static str,
    },
    /// `@something` that names no instants.
    #[error(
        "schedule {text:?}: {reason}; allowed are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually, or five fields, e.g. `0 4 * * *`"
    )]
    Name {
        /// As it was written.
        text: String,
        /// Why not.
        reason: &'static str,
    },
    /// A value in a field.
    #[error("schedule {text:?}: {field} {value:?}: {reason}; {field} takes {allowed}, e.g. `{example}`")]
    Value {
        /// As it was written.
        text: String,
        /// `minute`, `hour`, `day of month`, `month` or `weekday`.
        field: &'static str,
        /// The part that is refused.
        value: String,
        /// Why.
        reason: String,
        /// What the field takes.
        allowed: &'static str,
        /// A good field.
        example: &'static str,
    },
    /// Dates that no calendar has.
    #[error(
        "schedule {text:?} never runs: day of month {days:?} does not come in month {months:?}; name a day that does, e.g. `0 4 28 2 *`"
    )]
    Never {
        /// As it was written.
        text: String,
        /// The field.
        days: String,
        /// The field.
        months: String,
    },
    /// See [`UnknownZone`].
    #[error(transparent)]
    Zone(#[from] UnknownZone),
}

/// What crontab(5) says of one field.
struct Field {
    name: &'static str,
    low: u8,
    high: u8,
    /// Names of the values from `first_name` on.
    names: &'static [&'static str],
    first_name: u8,
    allowed: &'static str,
    example: &'static str,
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        low: 0,
        high: 59,
        names: &[],
        first_name: 0,
        allowed: "0-59, `*`, ranges, lists and steps",
        example: "*/15",
    },
    Field {
        name: "hour",
        low: 0,
        high: 23,
        names: &[],
        first_name: 0,
        allowed: "0-23, `*`, ranges, lists and steps",
        example: "8-18/2",
    },
    Field {
        name: "day of month",
        low: 1,
        high: 31,
        names: &[],
        first_name: 0,
        allowed: "1-31, `*`, ranges, lists and steps",
        example: "1,15",
    },
    Field {
        name: "month",
        low: 1,
        high: 12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
        first_name: 1,
        allowed: "1-12, JAN-DEC, `*`, ranges, lists and steps",
        example: "JAN,JUL",
    },
    Field {
        name: "weekday",
        low: 0,
        high: 7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
        first_name: 0,
        allowed: "0-7 (0 and 7 are Sunday), SUN-SAT, `*`, ranges, lists and steps",
        example: "MON-FRI",
    },
];
const WEEKDAY: usize = 4;

/// The schedule that `text` names in `zone`, as crontab(5) understands it.
///
/// # Errors
/// Text that crontab would not take, that means one thing here and another there, or that never runs; an unknown zone.
pub fn parse(text: &str, zone: &str) -> Result<Schedule, ScheduleError> {
    let written = text.trim();
    let plain = match written.strip_prefix('@') {
        Some(name) => by_name(written, name)?,
        None => written,
    };
    let fields: Vec<&str> = plain.split_whitespace().collect();
    let five: [&str; 5] = fields.as_slice().try_into().map_err(|_| ScheduleError::Fields {
        text: written.to_owned(),
        found: fields.len(),
        hint: match fields.len() {
            6 | 7 => "; seconds, years, a user and a command have no place here",
            _ => "",
        },
    })?;

    let mut dialect = vec!["0".to_owned()];
    for (at, value) in five.iter().enumerate() {
        dialect.push(in_cron_dialect(written, at, value)?);
    }
    let expanded = cron::Schedule::from_str(&dialect.join(" ")).map_err(|error| ScheduleError::Value {
        text: written.to_owned(),
        field: FIELDS[0].name,
        value: plain.to_owned(),
        reason: error.to_string(),
        allowed: FIELDS[0].allowed,
        example: FIELDS[0].example,
    })?;
    let set = |unit: &dyn Fn(u32) -> bool, low: u8, high: u8| -> BTreeSet<u8> {
        (low..=high).filter(|v| unit(u32::from(*v))).collect()
    };
    let days = set(&|v| expanded.days_of_month().includes(v), 1, 31);
    let months = set(&|v| expanded.months().includes(v), 1, 12);
    let hours = set(&|v| expanded.hours().includes(v), 0, 23);
    // Vixie cron's DOM_STAR and DOW_STAR: the first character alone decides, so `*/2` leaves a field unrestricted.
    let either_day = !five[2].starts_with('*') && !five[WEEKDAY].starts_with('*');
    let comes = |month: &u8| {
        let longest = match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        days.iter().any(|day| *day <= longest)
    };
    if !either_day && !months.iter().any(comes) {
        return Err(ScheduleError::Never {
            text: written.to_owned(),
            days: five[2].to_owned(),
            months: five[3].to_owned(),
        });
    }
    named(zone)?;
    Ok(Schedule {
        text: written.to_owned(),
        zone: zone.to_owned(),
        minutes: set(&|v| expanded.minutes().includes(v), 0, 59),
        elapsed: hours.len() == 24,
        hours,
        days,
        months,
        weekdays: set(&|v| expanded.days_of_week().includes(v + 1), 0, 6),
        either_day,
    })
}

fn by_name(text: &str, name: &str) -> Result<&'static str, ScheduleError> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "hourly" => "0 * * * *",
        "daily" | "midnight" => "0 0 * * *",
        "weekly" => "0 0 * * 0",
        "monthly" => "0 0 1 * *",
        "yearly" | "annually" => "0 0 1 1 *",
        "reboot" => {
            return Err(ScheduleError::Name {
                text: text.to_owned(),
                reason: "@reboot names no instants, so nobody could tell whether a run is missing",
            });
        }
        _ => return Err(ScheduleError::Name { text: text.to_owned(), reason: "no schedule has this name" }),
    })
}

/// One field as the crate cron writes it: numbers only, weekdays from 1 (Sunday), no point with a step.
fn in_cron_dialect(text: &str, at: usize, value: &str) -> Result<String, ScheduleError> {
    let field = &FIELDS[at];
    let refuse = |part: &str, reason: String| ScheduleError::Value {
        text: text.to_owned(),
        field: field.name,
        value: part.to_owned(),
        reason,
        allowed: field.allowed,
        example: field.example,
    };
    let mut parts = Vec::new();
    for part in value.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let step = match step {
            None => None,
            Some(digits) => Some(
                number(digits)
                    .filter(|n| (1..=field.high).contains(n))
                    .ok_or_else(|| refuse(part, format!("a step is a number from 1 to {}", field.high)))?,
            ),
        };
        let point = |name: &str| field.value(name).map_err(|reason| refuse(part, reason));
        let (low, high) = match range.split_once('-') {
            // A week has seven days: `*` must not count Sunday twice.
            None if range == "*" => (field.low, if at == WEEKDAY { 6 } else { field.high }),
            None if step.is_some() => {
                let low = point(range)?;
                return Err(refuse(
                    part,
                    format!(
                        "a step follows a range or `*`; if it starts at {low}, write {low}-{}/{}",
                        if at == WEEKDAY { 6 } else { field.high },
                        step.unwrap_or(1)
                    ),
                ));
            }
            None => {
                let only = point(range)?;
                (only, only)
            }
            Some((low, high)) => {
                let (from, to) = (point(low)?, point(high)?);
                if from > to {
                    return Err(refuse(part, field.wrapped(at, from, to, step)));
                }
                (from, to)
            }
        };
        if at == WEEKDAY {
            let days = (low..=high).step_by(usize::from(step.unwrap_or(1)));
            parts.extend(days.map(|day| (day % 7 + 1).to_string()));
        } else if low == high {
            parts.push(low.to_string());
        } else {
            parts.push(format!("{low}-{high}/{}", step.unwrap_or(1)));
        }
    }
    Ok(parts.join(","))
}

impl Field {
    /// A number or a name.
    fn value(&self, text: &str) -> Result<u8, String> {
        if text.is_empty() {
            return Err("a value is missing".to_owned());
        }
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(self.first_name + at as u8);
        }
        match number(text) {
            Some(value) if (self.low..=self.high).contains(&value) => Ok(value),
            _ if text.bytes().all(|b| b.is_ascii_digit()) => Err(format!("{text} is out of range")),
            _ => Err(format!("{text:?} is no value that crontab knows here")),
        }
    }

    /// Why a range that ends before it begins is refused, and how to write it.
    fn wrapped(&self, at: usize, from: u8, to: u8, step: Option<u8>) -> String {
        let instead = match (at == WEEKDAY, to) {
            _ if step.is_some() => "write out the values".to_owned(),
            (true, 0) => format!("write {from}-7"),
            (true, _) => format!("write {from}-6,0-{to}"),
            (false, _) => format!("write {from}-{},{}-{to}", self.high, self.low),
        };
        format!("the range ends before it begins; {instead}")
    }
}

/// A decimal number of at most three digits that a byte holds.
fn number(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
