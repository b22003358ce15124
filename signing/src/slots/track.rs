//! One job's schedules in the order in which they were in force, and how far receipts have covered their slots.

use std::{collections::BTreeMap, sync::Arc};

use super::{report::SlotCounts, timetable::Timetable};
use crate::plan::Schedule;

/// A schedule in force for a job over `[from, until)`, under one or more plans that say the same.
#[derive(Debug, Clone)]
pub(super) struct Stint {
    pub(super) from: i64,
    pub(super) until: i64,
    pub(super) schedule: Arc<Schedule>,
    pub(super) table: Arc<Timetable>,
    /// Seconds from a slot until it is judged.
    pub(super) allowance: i64,
}

/// A job. Every slot before `cursor` is covered, except those in `holes`.
#[derive(Debug, Clone)]
pub(super) struct Track {
    pub(super) stints: Vec<Stint>,
    pub(super) cursor: i64,
    /// Half-open spans before `cursor`; each holds slots, and none of them is covered.
    holes: BTreeMap<i64, i64>,
    pub(super) last_covered: Option<i64>,
    pub(super) counts: SlotCounts,
    pub(super) by_hand: u64,
}

/// What covering a span of slots did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Covered {
    /// Slots that had no receipt, and none after them either.
    pub(super) new: u64,
    /// Slots that had no receipt while a later one had.
    pub(super) late_in_log: u64,
    /// Slots that had one already.
    pub(super) doubled: u64,
}

impl Default for Track {
    fn default() -> Self {
        Self {
            stints: Vec::new(),
            cursor: i64::MIN,
            holes: BTreeMap::new(),
            last_covered: None,
            counts: SlotCounts::default(),
            by_hand: 0,
        }
    }
}

impl Track {
    /// The stint in force at `second`.
    pub(super) fn stint(&self, second: i64) -> Option<&Stint> {
        let at = self.stints.partition_point(|s| s.from <= second).checked_sub(1)?;
        self.stints.get(at).filter(|s| second < s.until)
    }

    /// The newest stint, while it is in force.
    pub(super) fn open(&self) -> Option<&Stint> {
        self.stints.last().filter(|s| s.until == i64::MAX)
    }

    /// From `from` on, `next` is in force, or nothing.
    pub(super) fn change(&mut self, from: i64, next: Option<Stint>) {
        // Where receipts went ahead of the plan, they keep what they covered.
        let from = from.max(self.cursor);
        if let Some(open) = self.stints.last_mut().filter(|s| s.until == i64::MAX) {
            open.until = from;
            if open.from >= open.until {
                self.stints.pop();
            }
        }
        if let Some(next) = next {
            self.cursor = if self.stints.is_empty() { from } else { self.cursor };
            self.stints.push(Stint { from, until: i64::MAX, ..next });
        }
    }

    /// The stints that overlap `[from, to)`, each with its part.
    pub(super) fn parts(&self, from: i64, to: i64) -> impl Iterator<Item = (&Stint, i64, i64)> {
        let first = self.stints.partition_point(|s| s.until <= from);
        self.stints[first..]
            .iter()
            .take_while(move |s| s.from < to)
            .map(move |s| (s, s.from.max(from), s.until.min(to)))
            .filter(|(_, from, to)| from < to)
    }

    pub(super) fn is_slot(&self, second: i64) -> bool {
        self.stint(second).is_some_and(|s| s.table.contains(second))
    }

    pub(super) fn next(&self, from: i64, to: i64) -> Option<i64> {
        self.parts(from, to).find_map(|(stint, from, to)| stint.table.next(from, to))
    }

    pub(super) fn count(&self, from: i64, to: i64) -> u64 {
        if to == from + 1 {
            return u64::from(self.is_slot(from));
        }
        self.parts(from, to).map(|(stint, from, to)| stint.table.count(from, to)).sum()
    }

    /// Spans before `to` that hold every uncovered slot, ascending; a span may hold none.
    pub(super) fn uncovered(&self, to: i64) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.holes
            .iter()
            .map(|(from, to)| (*from, *to))
            .chain([(self.cursor, i64::MAX)])
            .map(move |(from, until)| (from, until.min(to)))
            .filter(|(from, to)| from < to)
    }

    /// The first uncovered slot before `to`.
    pub(super) fn first_uncovered(&self, to: i64) -> Option<i64> {
        self.uncovered(to).find_map(|(from, to)| self.next(from, to))
    }

    /// Takes every slot before `second` for covered.
    pub(super) fn trust(&mut self, second: i64) {
        self.cursor = self.cursor.max(second);
        let kept = self.holes.split_off(&second);
        let crossing = self.holes.pop_last().filter(|(_, to)| *to > second);
        self.holes = kept;
        if let Some((_, to)) = crossing {
            self.dig(second, to);
        }
    }

    /// Covers the slots of `[from, to)`.
    pub(super) fn cover(&mut self, from: i64, to: i64) -> Covered {
        let mut done = Covered::default();
        let before = to.min(self.cursor);
        if from < before {
            let crossed: Vec<(i64, i64)> = self
                .holes
                .range(..before)
                .rev()
                .map(|(from, to)| (*from, *to))
                .take_while(|(_, to)| *to > from)
                .collect();
            for (hole, end) in crossed {
                self.holes.remove(&hole);
                done.late_in_log += self.count(hole.max(from), end.min(before));
                self.dig(hole, end.min(from));
                self.dig(hole.max(before), end);
            }
            done.doubled = self.count(from, before) - done.late_in_log;
        }
        if to > self.cursor {
            let start = from.max(self.cursor);
            self.dig(self.cursor, start);
            done.new = self.count(start, to);
            self.cursor = to;
        }
        let last = to - 1;
        if done.new + done.late_in_log > 0 && self.last_covered.is_none_or(|l| l < last) {
            self.last_covered = Some(last);
        }
        done
    }

    /// Makes a hole of `[from, to)`, if there is a slot in it.
    fn dig(&mut self, from: i64, to: i64) {
        if from < to
            && let Some(first) = self.next(from, to)
        {
            self.holes.insert(first, to);
        }
    }
}
