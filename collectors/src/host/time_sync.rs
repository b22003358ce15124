//! `host/time-sync`: what this host's own tools say of its clock. It never asks a time server, never sets a clock, and never takes
//! "the daemon runs" for "the clock is right": only a tool that says so makes a clock synchronised.

use std::{io, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    access::{Command, Host},
    kept::{Kept, Listing, Reading, Text, record},
};
use crate::contract::{
    BoxFuture, CollectError, Collector, Context, Evidence, Need, NeedKind, Population, Records, Spec,
};

const TRACKING: [&str; 4] = ["chronyc", "-n", "-c", "tracking"];
const SOURCES: [&str; 4] = ["chronyc", "-n", "-c", "sources"];
const TIMEDATECTL: [&str; 2] = ["timedatectl", "show"];
const NTPQ: [&str; 3] = ["ntpq", "-c", "rv"];
const ADJTIMEX: [&str; 2] = ["adjtimex", "--print"];
/// Its file `synchronized` is touched by systemd-timesyncd at each synchronisation.
const TIMESYNC: &str = "/run/systemd/timesync";

/// A clock that was last compared longer ago than this is not known to be synchronised.
const STALE_HOURS: f64 = 24.0;

const CHECKS: &str = r#"
- id: clock-synchronised
  item: audit_log_integrity
  population: clock
  pass: .synchronised
  says: "{source} says that this host's clock is not synchronised: the times in its logs cannot be relied on"
  unknown: "whether the clock is synchronised is not known: {source} last compared it at {last_update}, which is too long ago or still to come"
- id: clock-offset
  item: audit_log_integrity
  population: 'clock | .offset_seconds != null'
  pass: 'if .synchronised then (.offset_seconds | if . < 0 then -. else . end) <= ($parameters.clock_max_offset_seconds // 1) else null end'
  says: "{source} measures an offset of {offset_seconds} s"
  unknown: "{source} measured an offset of {offset_seconds} s, which is worth nothing while the clock is not synchronised"
"#;

/// The state of the clock.
pub struct TimeSync {
    host: Host,
    spec: Spec,
}

impl TimeSync {
    /// Of this host.
    pub fn new(host: Host) -> Self {
        let need = |kind, what: &str, why: &str| Need { kind, what: what.into(), why: why.into(), cells: Vec::new() };
        let spec = Spec {
            id: "host/time-sync".into(),
            version: 1,
            title: "Time synchronisation".into(),
            source: "host".into(),
            schedule: "10 * * * *".into(),
            deadline: Duration::from_secs(120),
            needs: vec![
                need(
                    NeedKind::Command,
                    "chronyc, timedatectl, ntpq or adjtimex",
                    "whether the clock is synchronised: one that answers is enough",
                ),
                need(NeedKind::File, "/run/systemd/timesync", "when systemd-timesyncd last synchronised"),
            ],
            kinds: vec!["clock".into()],
            checks: CHECKS.into(),
            inputs: Vec::new(),
            window: None,
        };
        Self { host, spec }
    }
}

impl Collector for TimeSync {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn collect<'a>(&'a self, context: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(async move {
            let command =
                |argv: &[&str]| Command::new(argv.iter().copied()).timeout(Duration::from_secs(15)).limit(1 << 20);
            for argv in [&TRACKING[..], &SOURCES[..], &TIMEDATECTL[..], &NTPQ[..]] {
                self.host.run(context, command(argv)).await?;
            }
            // It exits with 5 and the like to tell the clock's state.
            self.host.run(context, command(&ADJTIMEX).accept(&[0, 1, 2, 3, 4, 5])).await?;
            self.host.list_directory(context, TIMESYNC).await?;
            Ok(())
        })
    }

    fn derive(&self, evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
        let kept = Kept::read(evidence)?;
        let mut none = Vec::new();
        let mut told = 0;
        let readers: [(&[&str], Reader); 4] =
            [(&TRACKING, chrony), (&TIMEDATECTL, timedatectl), (&NTPQ, ntpq), (&ADJTIMEX, adjtimex)];
        for (argv, reader) in readers {
            match kept.command(argv)? {
                Reading::Text(text) => match reader(&kept, &text)? {
                    Some(clock) => {
                        out.record("clock", record(clock.source, clock.as_of, text.exchange, clock.fields))?;
                        told += 1;
                    }
                    None => none.push(format!("{}: the answer is not understood", argv[0])),
                },
                Reading::Missing(why) | Reading::Unknown(why) => none.push(why),
            }
        }
        out.population(
            "clock",
            if told > 0 {
                Population::Whole
            } else {
                Population::Unread(format!("nothing on this host told of its clock: {}", none.join("; ")))
            },
        );
        Ok(())
    }
}

type Reader = fn(&Kept<'_>, &Text) -> io::Result<Option<Clock>>;

struct Clock {
    source: &'static str,
    as_of: Option<DateTime<Utc>>,
    fields: Value,
}

/// `chronyc -c tracking`: 14 values, the last in words.
fn chrony(kept: &Kept<'_>, text: &Text) -> io::Result<Option<Clock>> {
    let values: Vec<&str> = text.text.trim().split(',').collect();
    let ([id, _, stratum, reference, offset, ..], 14, true) = (&values[..], values.len(), text.text.ends_with('\n'))
    else {
        return Ok(None);
    };
    let leap = values[13];
    let synchronised = match leap {
        "Normal" | "Insert second" | "Delete second" => true,
        "Not synchronised" => false,
        _ => return Ok(None),
    };
    let (Ok(stratum), Some(offset), Some(at)) = (stratum.parse::<u8>(), number(offset), number(reference)) else {
        return Ok(None);
    };
    // Without an answer of its servers chrony goes on saying "Normal" for days.
    let age = (text.at.timestamp() as f64 - at) / 3600.0;
    let fresh = (-1.0..=STALE_HOURS).contains(&age);
    // 7F7F0101 is chrony's own local reference: synchronised with nothing but itself.
    let local = id.eq_ignore_ascii_case("7F7F0101");
    let (sources, reachable) = match kept.command(&SOURCES)? {
        Reading::Text(text) => {
            let rows: Vec<Vec<&str>> = text.text.lines().map(|line| line.split(',').collect()).collect();
            let selected: Vec<&str> =
                rows.iter().filter(|row| row.get(1) == Some(&"*")).filter_map(|row| row.get(2).copied()).collect();
            (json!(rows.iter().filter_map(|row| row.get(2).copied()).collect::<Vec<_>>()), json!(selected))
        }
        _ => (Value::Null, Value::Null),
    };
    let as_of = (at > 0.0).then(|| DateTime::from_timestamp(at as i64, 0)).flatten();
    Ok(Some(Clock {
        source: "chrony",
        as_of,
        fields: json!({
            "source": "chrony", "synchronised": if !synchronised || local { Some(false) } else { fresh.then_some(true) },
            "local_reference": local,
            "offset_seconds": synchronised.then_some(offset), "stratum": stratum,
            "last_update": as_of, "servers": sources, "selected": reachable, "detail": leap,
        }),
    }))
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// `timedatectl show`: the kernel's flag, and when timesyncd last touched its file.
fn timedatectl(kept: &Kept<'_>, text: &Text) -> io::Result<Option<Clock>> {
    let value = |name: &str| text.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let synchronised = match value("NTPSynchronized") {
        Some("yes") => true,
        Some("no") => false,
        _ => return Ok(None),
    };
    let last = match kept.directory(TIMESYNC)? {
        Listing::Entries(_, entries) => entries.iter().find(|e| e.name == "synchronized").and_then(|e| e.modified_at),
        _ => None,
    };
    Ok(Some(Clock {
        source: "systemd",
        as_of: last,
        fields: json!({
            "source": "systemd", "synchronised": synchronised, "offset_seconds": null, "stratum": null,
            "last_update": last, "enabled": value("NTP").map(|ntp| ntp == "yes"), "detail": value("Timezone"),
        }),
    }))
}

/// `ntpq -c rv`: `leap_none, sync_ntp …, stratum=3, offset=0.123` (milliseconds).
fn ntpq(_: &Kept<'_>, text: &Text) -> io::Result<Option<Clock>> {
    let words: Vec<&str> = text.text.split([',', '\n', ' ']).map(str::trim).filter(|word| !word.is_empty()).collect();
    let value = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let Some(sync) = words.iter().find_map(|word| word.strip_prefix("sync_")) else { return Ok(None) };
    let Some(stratum) = value("stratum").and_then(|s| s.parse::<u8>().ok()) else { return Ok(None) };
    // The host's own clock, by ntpd's driver for it or by its operator's watch, is nothing to be synchronised with.
    let own = ["unspec", "local", "wristwatch"].contains(&sync)
        || value("refid").is_some_and(|id| id.starts_with("LOC") || id.starts_with("127.127.1."));
    let synchronised = !own && stratum < 16 && !words.contains(&"leap_alarm");
    let offset = value("offset").and_then(number).map(|milliseconds| milliseconds / 1000.0);
    Ok(Some(Clock {
        source: "ntpd",
        as_of: None,
        fields: json!({
            "source": "ntpd", "synchronised": synchronised, "offset_seconds": offset, "stratum": stratum,
            "last_update": null, "selected": value("refid"), "detail": sync,
        }),
    }))
}

/// `adjtimex --print`: bit 64 of the kernel's status (`STA_UNSYNC`).
fn adjtimex(_: &Kept<'_>, text: &Text) -> io::Result<Option<Clock>> {
    let mut rows =
        text.text.lines().filter_map(|line| line.split_once(':').map(|(name, value)| (name.trim(), value.trim())));
    let Some(status) = rows.find(|(name, _)| *name == "status").and_then(|(_, value)| value.parse::<u32>().ok()) else {
        return Ok(None);
    };
    Ok(Some(Clock {
        source: "kernel",
        as_of: None,
        fields: json!({
            "source": "kernel", "synchronised": status & 64 == 0, "offset_seconds": null, "stratum": null,
            "last_update": null, "detail": format!("status {status}"),
        }),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        contract::Answer,
        testing::{FakeEvidence, MemoryRecords},
    };

    fn run(evidence: &FakeEvidence) -> (MemoryRecords, Population) {
        let mut out = MemoryRecords::default();
        TimeSync::new(Host::new("/", None)).derive(evidence, &mut out).unwrap();
        let population = out.populations["clock"].clone();
        (out, population)
    }

    #[test]
    fn no_tool_is_unread_with_what_each_said() {
        let evidence = FakeEvidence::new()
            .no_command(&TRACKING, Answer::Missing, "no program chronyc")
            .command(&TIMEDATECTL, 1, "")
            .stderr("System has not been booted with systemd as init system (PID 1). Can't operate.\n")
            .no_command(&NTPQ, Answer::TimedOut, "no end within 15 s");
        let (out, population) = run(&evidence);
        assert!(out.rows.is_empty());
        let Population::Unread(why) = population else { panic!("{population:?}") };
        assert!(
            why.contains("no program chronyc") && why.contains("not been booted") && why.contains("no end within 15 s")
        );
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_unread() {
        let evidence = FakeEvidence::new().command(&TRACKING, 1, include_str!("fixtures/time_sync/chrony-dead.txt"));
        assert!(matches!(run(&evidence).1, Population::Unread(why) if why.contains("Cannot talk to daemon")));
        let pretending = FakeEvidence::new().command(&TRACKING, 0, include_str!("fixtures/time_sync/chrony-dead.txt"));
        assert!(matches!(run(&pretending).1, Population::Unread(why) if why.contains("not understood")));
    }

    #[test]
    fn chrony_without_a_server_is_not_synchronised() {
        let evidence = FakeEvidence::new()
            .command(&TRACKING, 0, include_str!("fixtures/time_sync/chrony-unsync.txt"))
            .command(&SOURCES, 0, include_str!("fixtures/time_sync/chrony-unsync-sources.txt"));
        let (out, population) = run(&evidence);
        let clock = out.get("clock", "chrony");
        assert_eq!(
            (&clock["synchronised"], &clock["servers"], population),
            (&json!(false), &json!(["192.0.2.1"]), Population::Whole)
        );
        assert!(clock["offset_seconds"].is_null() && clock["as_of"].is_null());
    }

    #[test]
    fn chrony_with_only_its_own_clock_is_not_synchronised_though_it_says_normal() {
        let evidence =
            FakeEvidence::new().command(&TRACKING, 0, include_str!("fixtures/time_sync/chrony-tracking.txt"));
        let clock = run(&evidence).0.get("clock", "chrony");
        assert_eq!(
            (&clock["synchronised"], &clock["local_reference"], &clock["detail"]),
            (&json!(false), &json!(true), &json!("Normal"))
        );
    }

    #[test]
    fn chrony_with_a_server_is_synchronised() {
        let row = "A29FC87B,162.159.200.123,4,1795320000.5,-0.000123,0.00002,0.0003,-12.345,0.001,0.05,0.0123,0.0004,64.2,Normal\n";
        let evidence = FakeEvidence::new().command(&TRACKING, 0, row).command(
            &SOURCES,
            0,
            "^,*,162.159.200.123,3,6,377,30,0.1,0.1,0.1\n",
        );
        let clock = run(&evidence).0.get("clock", "chrony");
        assert_eq!(
            (&clock["synchronised"], &clock["stratum"], &clock["offset_seconds"]),
            (&json!(true), &json!(4), &json!(-0.000123))
        );
        assert_eq!(
            (&clock["as_of"], &clock["selected"]),
            (&json!("2026-11-22T04:00:00Z"), &json!(["162.159.200.123"]))
        );
        for cut in [&row[..row.len() - 1], &row[..40], "", "a,b", &row.replace("Normal", "Odd")] {
            assert!(matches!(run(&FakeEvidence::new().command(&TRACKING, 0, cut)).1, Population::Unread(_)), "{cut:?}");
        }
    }

    #[test]
    fn chrony_that_heard_of_no_server_for_days_is_not_known_to_be_synchronised() {
        for (at, synchronised) in
            [(1_795_320_000_i64, json!(true)), (1_795_060_800, Value::Null), (1_795_400_000, Value::Null)]
        {
            let row = format!("A29FC87B,192.0.2.1,4,{at}.5,-0.1,0.1,0.1,-1.0,0.1,0.1,0.1,0.1,64.2,Normal\n");
            let (out, _) = run(&FakeEvidence::new().command(&TRACKING, 0, row));
            assert_eq!(out.get("clock", "chrony")["synchronised"], synchronised);
        }
    }

    #[test]
    fn ntpd_with_only_its_own_clock_is_not_synchronised() {
        for own in ["sync_local, stratum=6, refid=LOCAL(0)", "sync_ntp, stratum=11, refid=127.127.1.0"] {
            let (out, _) = run(&FakeEvidence::new().command(&NTPQ, 0, format!("leap_none, {own}\n")));
            assert_eq!(out.get("clock", "ntpd")["synchronised"], json!(false), "{own}");
        }
    }

    #[test]
    fn the_other_tools_are_read_by_their_own_words() {
        let evidence = FakeEvidence::new()
            .command(&TIMEDATECTL, 0, "Timezone=Etc/UTC\nNTP=yes\nNTPSynchronized=no\n")
            .command(&NTPQ, 0, "associd=0 status=0615 leap_none, sync_ntp, 1 event, clock_sync,\nversion=\"ntpd\", stratum=3, refid=1.2.3.4, offset=-2.5\n")
            .command(&ADJTIMEX, 0, "         mode: 0\n       status: 64\n");
        let (out, _) = run(&evidence);
        let synchronised = |id: &str| out.get("clock", id)["synchronised"].clone();
        assert_eq!(
            [synchronised("systemd"), synchronised("ntpd"), synchronised("kernel")],
            [json!(false), json!(true), json!(false)]
        );
        assert_eq!(out.get("clock", "ntpd")["offset_seconds"], json!(-0.0025));
        let alarm = "leap_alarm, sync_unspec, stratum=16\n";
        assert_eq!(
            run(&FakeEvidence::new().command(&NTPQ, 0, alarm)).0.get("clock", "ntpd")["synchronised"],
            json!(false)
        );
        assert!(matches!(run(&FakeEvidence::new().command(&TIMEDATECTL, 0, "NTP=yes\n")).1, Population::Unread(_)));
    }
}
