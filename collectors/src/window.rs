//! Which events a run reads, and how it is kept: the first exchange of every run of a job that reads events.

use std::{io, time::Duration};

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::json;

use crate::{
    contract::{Answer, Evidence, Exchange, Window, WindowSpec},
    recorder::{Draft, Recorder},
};

/// The operation of the exchange that says the window: its request is `{from, to, previous}`.
pub const WINDOW: &str = "window";

/// A run's window, and what it follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The events to read.
    pub window: Window,
    /// The end of the newest window that an earlier run read whole; `None`: none is known of.
    pub previous: Option<DateTime<Utc>>,
    /// How that was found out, in words.
    pub says: String,
}

/// The request of the exchange.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    previous: Option<DateTime<Utc>>,
}

impl Decided {
    /// The window of a run that begins at `now`. `found` is the end of the newest window that was read whole, or why that is not known:
    /// then everything that the source keeps is read.
    pub fn new(spec: WindowSpec, now: DateTime<Utc>, found: Result<Option<DateTime<Utc>>, String>) -> Self {
        let before = |at: DateTime<Utc>, by: Duration| {
            let by = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
            at.checked_sub_signed(by).unwrap_or(DateTime::UNIX_EPOCH).max(DateTime::UNIX_EPOCH)
        };
        // Some sources take no fractions of a second, and would round them up.
        let to = now.trunc_subsecs(0);
        let oldest = before(to, spec.retained);
        let (previous, says) = match found {
            Ok(Some(at)) => (Some(at), format!("read whole up to {} by earlier runs", spelt(at))),
            Ok(None) => (None, "no earlier run read its events whole".to_owned()),
            Err(why) => (None, format!("what earlier runs read is not known, so all that is kept is read: {why}")),
        };
        // The clock may have been set back since; a window is never empty.
        let most = before(to, Duration::from_secs(1));
        let from = previous.map_or(oldest, |at| before(at.min(to), spec.overlap).max(oldest)).min(most);
        Self { window: Window { from, to }, previous, says }
    }

    /// Keeps it, before anything is asked.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep(&self, recorder: &mut Recorder, now: DateTime<Utc>) -> io::Result<Exchange> {
        let Window { from, to } = self.window;
        let request = json!({"from": spelt(from), "to": spelt(to), "previous": self.previous.map(spelt)});
        let draft =
            Draft { answer: Answer::Ok, detail: self.says.clone(), ..Draft::new(WINDOW, request, "this agent", now) };
        recorder.record(draft, "json", None)
    }

    /// Reads it back; `None` where the first exchange is no window.
    ///
    /// # Errors
    /// The store's; a window that is malformed.
    pub fn kept(evidence: &dyn Evidence) -> io::Result<Option<Self>> {
        let Some(first) = evidence.exchanges().next().transpose()? else { return Ok(None) };
        if first.operation != WINDOW {
            return Ok(None);
        }
        let Request { from, to, previous } = serde_json::from_value(first.request)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("the window cannot be read: {e}")))?;
        Ok(Some(Self { window: Window { from, to }, previous, says: first.detail }))
    }

    /// The gap before the window, where there is one: what the source kept too short a time for any run to read it whole.
    pub fn lost(&self) -> Option<String> {
        let previous = self.previous.filter(|at| *at < self.window.from)?;
        Some(format!(
            "no run read every event from {} to {}, and the source no longer keeps them",
            spelt(previous),
            spelt(self.window.from)
        ))
    }
}

fn spelt(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::recorder::WorkEvidence;

    const HOUR: u64 = 3600;
    const SPEC: WindowSpec =
        WindowSpec { overlap: Duration::from_secs(6 * HOUR), retained: Duration::from_secs(30 * 24 * HOUR) };

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn decided(found: Result<Option<&str>, &str>) -> Decided {
        let found = found.map(|found| found.map(at)).map_err(str::to_owned);
        Decided::new(SPEC, at("2026-11-22T04:00:00.700Z"), found)
    }

    fn spelt_window(decided: &Decided) -> (String, String) {
        (spelt(decided.window.from), spelt(decided.window.to))
    }

    const TO: &str = "2026-11-22T04:00:00Z";
    const OLDEST: &str = "2026-10-23T04:00:00Z";

    #[test]
    fn it_begins_an_overlap_before_what_was_read_whole() {
        let decided = decided(Ok(Some("2026-11-21T04:00:00Z")));
        assert_eq!(spelt_window(&decided), ("2026-11-20T22:00:00Z".into(), TO.into()));
        assert_eq!(decided.lost(), None);
    }

    #[test]
    fn the_first_one_and_one_without_a_lookup_are_as_long_as_the_source_keeps_events_and_claim_no_loss() {
        for found in [Ok(None), Err("the archive is away")] {
            let decided = decided(found);
            assert_eq!(spelt_window(&decided), (OLDEST.into(), TO.into()));
            assert_eq!((decided.previous, decided.lost()), (None, None));
        }
        assert!(decided(Err("the archive is away")).says.ends_with(": the archive is away"));
    }

    #[test]
    fn events_that_the_source_kept_too_short_a_time_are_a_gap() {
        let lost = |previous| decided(Ok(Some(previous))).lost();
        assert_eq!(
            lost("2026-10-10T04:00:00Z").unwrap(),
            "no run read every event from 2026-10-10T04:00:00Z to 2026-10-23T04:00:00Z, and the source no longer keeps them"
        );
        assert_eq!(lost(OLDEST), None, "nothing lies between");
        // Within the overlap's reach: read from the oldest on, and nothing is lost.
        assert_eq!(spelt_window(&decided(Ok(Some("2026-10-23T05:00:00Z")))).0, OLDEST);
        assert_eq!(lost("2026-10-23T05:00:00Z"), None);
    }

    #[test]
    fn a_clock_that_was_set_back_gives_no_empty_window() {
        let later = decided(Ok(Some("2026-12-24T00:00:00Z")));
        assert_eq!(spelt_window(&later), ("2026-11-21T22:00:00Z".into(), TO.into()));
        let none = WindowSpec { overlap: Duration::ZERO, ..SPEC };
        let same = Decided::new(none, at(TO), Ok(Some(at(TO))));
        assert_eq!(spelt_window(&same), ("2026-11-22T03:59:59Z".into(), TO.into()));
        let long = WindowSpec { retained: Duration::MAX, ..SPEC };
        assert_eq!(Decided::new(long, at(TO), Ok(None)).window.from, DateTime::UNIX_EPOCH);
    }

    #[test]
    fn it_reads_back_from_the_first_exchange_as_it_was_kept() {
        let work = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(work.path()).unwrap();
        let decided = decided(Ok(Some("2026-10-10T04:00:00.120Z")));
        decided.keep(&mut recorder, at(TO)).unwrap();
        let evidence = WorkEvidence::new(work.path());
        assert_eq!(Decided::kept(&evidence).unwrap(), Some(decided));
        let fake = crate::testing::FakeEvidence::new();
        assert_eq!(Decided::kept(&fake).unwrap(), None);
        let fake = fake.add(WINDOW, json!({"from": "then"}), Answer::Ok, "", None, Vec::new());
        assert!(Decided::kept(&fake).is_err(), "half a window is no window");
    }
}
