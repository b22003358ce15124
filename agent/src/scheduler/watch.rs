//! Watches the wall clock against elapsed time, and against the newest instant that the archive holds. It never sets a clock.

use std::time::Duration;

use chrono::TimeDelta;
use signing::time::Utc;

/// A clock further ahead than this needs a second clock that agrees.
const DAY: TimeDelta = TimeDelta::days(1);

/// Less than this is drift and waiting, not a jump.
const TOLERANCE: TimeDelta = TimeDelta::seconds(30);

/// What a look at the clock showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It went on as it should.
    Steady,
    /// It went forward at once, and may be believed.
    Jumped {
        /// Where it would be if it had gone on; after it was set back, at the least the most that it showed before.
        from: Utc,
        /// Where it is.
        to: Utc,
    },
    /// It was set back, and is still behind.
    Behind {
        /// Where it should be.
        expected: Utc,
    },
    /// It is more than a day ahead of what is known, and nothing else agrees: nothing may be planned, missed or sealed.
    Held {
        /// Where it should be at the least.
        expected: Utc,
        /// As in [`Look::Jumped`].
        from: Utc,
    },
}

/// The newest instant known, and how it goes on.
#[derive(Debug)]
pub struct ClockWatch {
    best: Utc,
    /// What it showed when it was last looked at and believed.
    seen: Utc,
    /// The most that it showed so far: what lies before had its time, whatever it was set back to since.
    most: Utc,
    at: Duration,
    first: bool,
}

impl ClockWatch {
    /// Starts from the newest instant known from the archive and the spool (`None` where there is none), at `elapsed` of a clock
    /// that nobody sets.
    pub fn new(known: Option<Utc>, now: Utc, elapsed: Duration) -> Self {
        Self { best: known.unwrap_or(now), seen: now, most: now, at: elapsed, first: true }
    }

    /// Looks at the clock; `agrees` says whether a second clock vouches for it.
    pub fn look(&mut self, now: Utc, elapsed: Duration, agrees: bool) -> Look {
        let gone = TimeDelta::from_std(elapsed.saturating_sub(self.at)).unwrap_or(TimeDelta::zero());
        let expected = self.best + gone;
        // Before the first look that is believed, the clock has shown nothing that counts.
        let from = if self.first { expected } else { (self.seen + gone).max(self.most) };
        if now > expected + DAY && !agrees {
            return Look::Held { expected, from };
        }
        let first = std::mem::take(&mut self.first);
        self.most = if first { now } else { self.most.max(now) };
        (self.best, self.seen, self.at) = (expected.max(now), now, elapsed);
        if now > from + TOLERANCE && !first {
            Look::Jumped { from, to: now }
        } else if now + TOLERANCE < expected {
            Look::Behind { expected }
        } else {
            Look::Steady
        }
    }
}
