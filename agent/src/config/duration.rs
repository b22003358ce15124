//! Lengths of time as people write them: `30s`, `10m`, `36h`, `1h30m`, `7d`. A bare number is never taken for one.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time with its unit: `ms`, `s`, `m`, `h`, `d` (24 hours), or several of them, the larger first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

/// Text that is no length of time.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no length of time: write a number with its unit, such as `30s`, `10m`, `36h` or `7d`")]
pub struct BadDuration(String);

/// Larger first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Duration {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// As the standard library's type.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = BadDuration;

    fn from_str(text: &str) -> Result<Self, BadDuration> {
        parse(text)
            .map(|millis| Self(std::time::Duration::from_millis(millis)))
            .ok_or_else(|| BadDuration(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut smaller_than = usize::MAX;
    let mut rest = text;
    while !rest.is_empty() || smaller_than == usize::MAX {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let at = UNITS.iter().position(|(name, _)| *name == &rest[digits..unit])?;
        if smaller_than != usize::MAX && at <= smaller_than {
            return None;
        }
        smaller_than = at;
        total = total.checked_add(rest[..digits].parse::<u64>().ok()?.checked_mul(UNITS[at].1)?)?;
        rest = &rest[unit..];
    }
    Some(total)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, size) in UNITS {
            if rest >= size {
                write!(f, "{}{name}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl de::Visitor<'_> for Visit {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time with its unit, such as `30s`, `10m`, `36h` or `7d`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn units_are_read_and_written_back() {
        for (text, millis, back) in [
            ("30s", 30_000, "30s"),
            ("10m", 600_000, "10m"),
            ("36h", 129_600_000, "1d12h"),
            ("1h30m", 5_400_000, "1h30m"),
            ("7d", 604_800_000, "7d"),
            ("250ms", 250, "250ms"),
            ("0s", 0, "0s"),
            ("90s", 90_000, "1m30s"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.get().as_millis(), millis, "{text}");
            assert_eq!(duration.to_string(), back);
            assert_eq!(back.parse::<Duration>().unwrap(), duration);
        }
    }

    #[test]
    fn what_has_no_unit_or_another_is_refused() {
        for text in [
            "",
            "10",
            "m",
            "10 m",
            "10m ",
            "1.5h",
            "-1s",
            "1w",
            "10M",
            "1m1h",
            "1s1s",
            "99999999999999999999d",
            "1h 30m",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text:?}");
        }
    }
}
