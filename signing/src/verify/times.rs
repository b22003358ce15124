//! When entries were sealed, as far as trusted time tells: not before the tokens that they, or what they knew, name; not after the first
//! token over a checkpoint that has them, or over their own signature.

use std::sync::Mutex;

use serde::Serialize;

use super::{
    anchors::Authority,
    findings::{Code, Findings, Limit},
    lock,
    report::span,
};
use crate::time::{Utc, rfc3339};

/// A sealing time may lie so far outside of its trusted bounds: clocks are stepped by seconds, and that says nothing.
const TOLERANCE_SECONDS: i64 = 120;

/// Farther outside it is no clock that drifts: the entry was back-dated, or dated ahead.
const FALSE_SECONDS: i64 = 3_600;

/// By when the log had how many entries.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    /// Sizes, ascending, with the instant by which the log had so many entries; the instants ascend too.
    pub uppers: Vec<(u64, Utc)>,
    /// The newest of all trusted times.
    pub newest: Option<Utc>,
}

impl Growth {
    /// The instant by which a log of this size had been signed.
    pub fn size_by(&self, size: u64) -> Option<Utc> {
        let at = self.uppers.partition_point(|(pinned, _)| *pinned < size);
        self.uppers.get(at).map(|(_, latest)| *latest)
    }

    /// The instant by which entry `index` was in the log.
    pub fn entry_by(&self, index: u64) -> Option<Utc> {
        self.size_by(index + 1)
    }
}

/// What was sealed before a checkpoint of a size was known: the newest bound from below among so many entries. A step function, since
/// only a newer token raises it.
#[derive(Debug, Default)]
pub(crate) struct Lowers(Vec<(u64, i64)>);

impl Lowers {
    /// The bound, in milliseconds of Unix time, of whoever knew a checkpoint of this size.
    pub fn under(&self, size: u64) -> Option<i64> {
        let at = self.0.partition_point(|(entries, _)| *entries <= size);
        at.checked_sub(1).map(|at| self.0[at].1)
    }

    /// Adds the bound of the entry that makes the log `entries` long.
    pub fn add(&mut self, entries: u64, millis: i64) {
        if self.0.last().is_none_or(|(_, last)| *last < millis) {
            self.0.push((entries, millis));
        }
    }
}

/// The trusted bounds of an entry's sealing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub earliest: Option<Utc>,
    pub latest: Option<Utc>,
}

/// The entries' times, taken together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Bounded {
    /// Entries between two trusted times.
    pub both: u64,
    /// Entries with a trusted time after them only.
    pub above: u64,
    /// Entries with a trusted time before them only.
    pub below: u64,
    /// Entries without any.
    pub none: u64,
    /// The one between the widest bounds.
    pub widest: Option<Widest>,
    /// Entries whose own time lies up to an hour outside of their bounds.
    pub off: Option<Off>,
}

/// The widest bounds of all entries that have both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Widest {
    /// The entry, from 0.
    pub index: u64,
    /// Not sealed before.
    pub earliest: Utc,
    /// Not sealed after.
    pub latest: Utc,
    /// Between them.
    pub seconds: i64,
}

/// Entries whose own time is not within their bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Off {
    /// How many.
    pub entries: u64,
    /// The first of them.
    pub first: u64,
    /// The farthest outside.
    pub most_seconds: i64,
}

/// What trusted time came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TrustedTime {
    /// Whose tokens were believed.
    pub authorities: Vec<Authority>,
    /// Trusted tokens over checkpoints.
    pub checkpoint_tokens: u64,
    /// Trusted tokens over the signatures of single entries.
    pub seal_tokens: u64,
    /// Tokens that lead to none of the roots that were given.
    pub untrusted_tokens: u64,
    /// The newest trusted time over a checkpoint of this log.
    pub newest: Option<Utc>,
    /// The entries' times.
    pub entries: Bounded,
}

/// Takes entries' bounds from every thread.
#[derive(Default)]
pub(crate) struct Times(Mutex<Bounded>);

impl Times {
    /// Takes the bounds of an entry and compares its own time with them.
    pub fn take(&self, index: u64, seal: &str, sealed_at: Utc, bounds: Bounds, findings: &Findings) {
        let early = bounds.earliest.map_or(0, |earliest| (earliest - sealed_at).num_seconds());
        let late = bounds.latest.map_or(0, |latest| (sealed_at - latest).num_seconds());
        let outside = early.max(late);
        if outside > FALSE_SECONDS {
            let by = match (bounds.earliest, bounds.latest) {
                (Some(earliest), _) if early >= late => format!("not before {}", rfc3339(earliest)),
                (_, Some(latest)) => format!("not after {}", rfc3339(latest)),
                _ => String::new(),
            };
            let says = format!(
                "entry {index} says that it was sealed at {}; by trusted time that was {by}, {} away",
                rfc3339(sealed_at),
                span(outside)
            );
            findings.add(Code::SealTime, seal, Some(index), says);
        }
        let mut kept = lock(&self.0);
        if (TOLERANCE_SECONDS..=FALSE_SECONDS).contains(&outside) {
            let off = kept.off.get_or_insert(Off { entries: 0, first: index, most_seconds: 0 });
            off.entries += 1;
            off.first = off.first.min(index);
            off.most_seconds = off.most_seconds.max(outside);
        }
        match (bounds.earliest, bounds.latest) {
            (None, None) => kept.none += 1,
            (None, Some(_)) => kept.above += 1,
            (Some(_), None) => kept.below += 1,
            (Some(earliest), Some(latest)) => {
                kept.both += 1;
                let seconds = (latest - earliest).num_seconds();
                if kept.widest.as_ref().is_none_or(|widest| wider(widest, seconds, index)) {
                    kept.widest = Some(Widest { index, earliest, latest, seconds });
                }
            }
        }
    }

    pub fn finish(self) -> Bounded {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Of equally wide ones the first entry's.
fn wider(than: &Widest, seconds: i64, index: u64) -> bool {
    (seconds, std::cmp::Reverse(index)) > (than.seconds, std::cmp::Reverse(than.index))
}

impl TrustedTime {
    /// What it does not prove.
    pub(crate) fn limits(&self) -> Vec<Limit> {
        let entries = &self.entries;
        let mut limits = Vec::new();
        if self.checkpoint_tokens + self.seal_tokens == 0 {
            let says =
                "no trusted timestamp: times rest on the agent's clock alone, and the order of the log".to_owned();
            limits.push(Limit { code: "TIME-UNTRUSTED", says });
        } else if entries.above + entries.below + entries.none > 0 {
            let says = format!(
                "of {} entries no trusted time shows when they were sealed at the earliest, of {} when at the latest: there the agent's \
                 clock stands alone",
                entries.above + entries.none,
                entries.below + entries.none
            );
            limits.push(Limit { code: "TIME-OPEN", says });
        }
        if let Some(off) = &entries.off {
            let says = format!(
                "{} entries, the first of them {}, give a time that is up to {} outside of what trusted time allows: the agent's clock was \
                 wrong",
                off.entries,
                off.first,
                span(off.most_seconds)
            );
            limits.push(Limit { code: "CLOCK-OFF", says });
        }
        limits
    }

    /// In words, for people.
    pub(crate) fn says(&self) -> String {
        let entries = &self.entries;
        let tokens = self.checkpoint_tokens + self.seal_tokens;
        if tokens == 0 {
            return "no trusted timestamp: times rest on the agent's clock alone (limit TIME-UNTRUSTED)".to_owned();
        }
        let names: Vec<_> = self.authorities.iter().map(|a| format!("{:?} under {}", a.name, a.root_name)).collect();
        let mut says = format!("{tokens} tokens of {}", names.join(" and "));
        if let Some(newest) = self.newest {
            says += &format!(", the newest over a checkpoint of {}", rfc3339(newest));
        }
        let all = entries.both + entries.above + entries.below + entries.none;
        says += &format!("; {} of {all} entries between two trusted times", entries.both);
        if let Some(widest) = &entries.widest {
            says += &format!(", the widest {} (entry {})", span(widest.seconds), widest.index);
        }
        let mut parts = Vec::new();
        for (count, what) in
            [(entries.above, "with none before"), (entries.below, "with none after"), (entries.none, "with none")]
        {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        if !parts.is_empty() {
            says += &format!("; {} (limit TIME-OPEN)", parts.join(", "));
        }
        says
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(text: &str) -> Utc {
        text.parse().unwrap()
    }

    #[test]
    fn an_entry_is_bounded_by_the_first_size_that_has_it() {
        let growth =
            Growth { uppers: vec![(3, at("2026-01-01T00:00:00Z")), (7, at("2026-01-02T00:00:00Z"))], newest: None };
        assert_eq!(growth.entry_by(2), Some(at("2026-01-01T00:00:00Z")));
        assert_eq!(growth.entry_by(3), Some(at("2026-01-02T00:00:00Z")));
        assert_eq!(growth.entry_by(6), growth.size_by(7));
        assert_eq!(growth.entry_by(7), None);
    }

    #[test]
    fn who_knew_a_checkpoint_is_bounded_by_the_newest_token_under_it() {
        let mut lowers = Lowers::default();
        lowers.add(3, 10);
        lowers.add(5, 9);
        lowers.add(6, 20);
        assert_eq!([2, 3, 5, 6, 100].map(|size| lowers.under(size)), [None, Some(10), Some(10), Some(20), Some(20)]);
    }

    #[test]
    fn a_time_outside_of_its_bounds_is_told_and_far_outside_a_finding() {
        let (earliest, latest) = (Some(at("2026-01-01T10:00:00Z")), Some(at("2026-01-01T10:10:00Z")));
        let judge = |sealed_at: &str| {
            let (times, findings) = (Times::default(), Findings::default());
            times.take(4, "seal/x", at(sealed_at), Bounds { earliest, latest }, &findings);
            (times.finish().off.map(|off| off.most_seconds), findings.finish().2)
        };
        assert_eq!(judge("2026-01-01T10:05:00Z"), (None, 0));
        assert_eq!(judge("2026-01-01T09:58:30Z"), (None, 0));
        assert_eq!(judge("2026-01-01T09:50:00Z"), (Some(600), 0));
        assert_eq!(judge("2026-01-01T10:40:00Z"), (Some(1_800), 0));
        assert_eq!(judge("2026-01-01T08:00:00Z"), (None, 1));
        assert_eq!(judge("2026-01-01T12:00:00Z"), (None, 1));
    }

    #[test]
    fn of_equally_wide_bounds_the_first_entrys_are_told() {
        let (earliest, latest) = (Some(at("2026-01-01T10:00:00Z")), Some(at("2026-01-01T10:10:00Z")));
        let times = Times::default();
        for index in [9, 4, 6] {
            times.take(index, "", at("2026-01-01T10:05:00Z"), Bounds { earliest, latest }, &Findings::default());
        }
        let found = times.finish();
        assert_eq!((found.both, found.widest.unwrap().index), (3, 4));
    }
}
