//! `evidenced status --prometheus`: the numbers of a status in Prometheus' text format, for node_exporter's textfile collector.

use std::io::{self, Write};

use signing::time::Utc;

use crate::{
    control::{Anchor, Status},
    room::Level,
};

/// Writes them; what is not known has no line.
pub fn print(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    let origin = escaped(&status.origin);
    let mut gauge = |name: &str, help: &str, value: Option<u64>| -> io::Result<()> {
        let Some(value) = value else { return Ok(()) };
        writeln!(out, "# HELP evidenced_{name} {help}\n# TYPE evidenced_{name} gauge")?;
        writeln!(out, "evidenced_{name}{{origin=\"{origin}\"}} {value}")
    };
    let at = |at: Option<Utc>| at.and_then(|at| u64::try_from(at.timestamp()).ok());
    let room = &status.room;
    gauge("up", "Whether a daemon answers.", Some(status.pid.is_some().into()))?;
    gauge("held", "Whether the daemon waits with everything.", Some(status.held.is_some().into()))?;
    gauge("paused", "Whether no schedule is in force.", Some(status.paused.is_some().into()))?;
    gauge("trouble", "Whether the last try to log what waits failed.", Some(status.trouble.is_some().into()))?;
    gauge("log_entries", "Entries of the log.", status.checkpoint.as_ref().map(|known| known.size))?;
    gauge("last_sealed_timestamp_seconds", "The newest sealing.", at(status.last_sealed))?;
    gauge("spool_entries", "Entries that wait in the spool.", Some(status.spooled))?;
    gauge("spool_bytes", "Bytes of the spool.", Some(room.bytes))?;
    gauge("spool_limit_bytes", "max_spool_bytes.", room.limit)?;
    gauge("spool_oldest_timestamp_seconds", "The sealing of the oldest entry that waits.", at(status.oldest))?;
    gauge("state_free_bytes", "Free bytes on the file system of state_dir.", room.free)?;
    gauge("room_near", "Whether little room is left, or none.", Some((room.level >= Level::Near).into()))?;
    gauge("room_full", "Whether no run starts for want of room.", Some((room.level == Level::Full).into()))?;
    gauge("archive_away", "Whether the archive does not answer, or fails.", Some(status.away.is_some().into()))?;
    let since = status.away.as_ref().and_then(|away| away.since);
    gauge("archive_away_since_timestamp_seconds", "Since when, as far as the daemon knows.", at(since))?;
    let mut of_each = |name: &str, help: &str, value: fn(&Anchor) -> Option<i64>| -> io::Result<()> {
        let known: Vec<(&str, i64)> =
            status.anchors.iter().filter_map(|anchor| Some((anchor.authority.as_str(), value(anchor)?))).collect();
        if !known.is_empty() {
            writeln!(out, "# HELP evidenced_{name} {help}\n# TYPE evidenced_{name} gauge")?;
        }
        known.into_iter().try_for_each(|(authority, value)| {
            writeln!(out, "evidenced_{name}{{origin=\"{origin}\",authority=\"{}\"}} {value}", escaped(authority))
        })
    };
    of_each("anchored_entries", "Entries of the log that the authority anchored last.", |anchor| {
        anchor.size.and_then(|size| i64::try_from(size).ok())
    })?;
    of_each("anchored_timestamp_seconds", "When that was, by its token.", |anchor| anchor.at.map(|at| at.timestamp()))?;
    of_each("anchor_failed", "Whether the last try to anchor failed.", |anchor| Some(anchor.error.is_some().into()))?;
    of_each("anchor_clock_apart_seconds", "How far its clock was ahead of the agent's; 0 within a minute.", |anchor| {
        Some(anchor.apart_seconds.unwrap_or(0))
    })
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{control::Away, room::Room};

    fn lines(status: &Status) -> Vec<String> {
        let mut out = Vec::new();
        print(status, &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn what_is_known_has_a_line_and_what_is_not_has_none() {
        let status = Status {
            origin: "a\"b/c".into(),
            spooled: 3,
            room: Room { level: Level::Near, bytes: 900, limit: Some(1_000), ..Room::default() },
            away: Some(Away { since: Some("2026-11-22T04:00:00Z".parse().unwrap()), why: "refused".into() }),
            anchors: vec![
                Anchor {
                    authority: "http://a".into(),
                    size: Some(7),
                    at: Some("2026-11-22T04:00:00Z".parse().unwrap()),
                    apart_seconds: Some(-90),
                    error: None,
                },
                Anchor { authority: "http://b".into(), error: Some("away".into()), ..Anchor::default() },
            ],
            ..Status::default()
        };
        let lines = lines(&status);
        for line in [
            "evidenced_up{origin=\"a\\\"b/c\"} 0",
            "evidenced_spool_entries{origin=\"a\\\"b/c\"} 3",
            "evidenced_spool_limit_bytes{origin=\"a\\\"b/c\"} 1000",
            "evidenced_room_near{origin=\"a\\\"b/c\"} 1",
            "evidenced_room_full{origin=\"a\\\"b/c\"} 0",
            "evidenced_archive_away_since_timestamp_seconds{origin=\"a\\\"b/c\"} 1795320000",
            "evidenced_anchored_entries{origin=\"a\\\"b/c\",authority=\"http://a\"} 7",
            "evidenced_anchored_timestamp_seconds{origin=\"a\\\"b/c\",authority=\"http://a\"} 1795320000",
            "evidenced_anchor_clock_apart_seconds{origin=\"a\\\"b/c\",authority=\"http://a\"} -90",
            "evidenced_anchor_failed{origin=\"a\\\"b/c\",authority=\"http://b\"} 1",
        ] {
            assert!(lines.iter().any(|found| found == line), "{line} is not in {lines:#?}");
        }
        assert!(!lines.iter().any(|line| line.contains("state_free_bytes") || line.contains("oldest")), "{lines:#?}");
    }
}
