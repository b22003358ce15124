//! Instants, always UTC and at most millisecond exact, and their spelling in names.

use chrono::{DateTime, SubsecRound, TimeZone};

/// An instant in UTC. In JSON it is RFC 3339 with `Z`.
pub type Utc = DateTime<chrono::Utc>;

/// `20261122T040000Z`: an instant for a file name, whole seconds, without colons.
pub fn compact(at: Utc) -> String {
    at.format("%Y%m%dT%H%M%SZ").to_string()
}

/// `2026-11-22T04:00:00Z`: an instant for a person, whole seconds.
pub fn rfc3339(at: Utc) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// The instant cut to whole milliseconds: what every format of this crate carries.
pub fn millis(at: Utc) -> Utc {
    at.trunc_subsecs(3)
}

/// The instant of a Unix time in seconds; `None` outside the years that chrono can hold.
pub fn from_unix(seconds: i64) -> Option<Utc> {
    chrono::Utc.timestamp_opt(seconds, 0).single()
}
