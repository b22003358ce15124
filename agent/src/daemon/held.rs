//! Whether the clock is believed: where it is not, the daemon is held, and says so again and again.

use chrono::TimeDelta;
use signing::time::{Utc, rfc3339};
use tokio::time::Instant;

use super::{Daemon, HELD};
use crate::scheduler::Look;

impl Daemon {
    /// Looks at the clock; whether it may be believed.
    pub(super) fn look(&mut self, now: Utc) -> bool {
        let first = self.scheduler.is_none();
        let agrees = self.clock.synchronised() == Some(true) || (first && self.settings.accept_clock);
        match self.watch.look(now, self.started.elapsed(), agrees) {
            Look::Held { expected, from } => {
                let why = format!(
                    "the clock shows {}, more than a day after {}, which is the least that it should show, and no second clock \
                     agrees: nothing is planned, run or recorded as missed until it is synchronised or set right. If it is right, \
                     start with --accept-clock",
                    rfc3339(now),
                    rfc3339(expected)
                );
                if self.says_clock() {
                    tracing::error!("HELD: {why}");
                }
                self.held.send_replace(Some(why));
                self.held_since.get_or_insert(from);
                return false;
            }
            Look::Jumped { from, to } => {
                tracing::warn!(from = %rfc3339(from), to = %rfc3339(to), "the clock went forward at once");
                if let Some(scheduler) = &mut self.scheduler {
                    scheduler.jumped(from, to);
                }
            }
            Look::Behind { expected } if self.says_clock() => tracing::warn!(
                now = %rfc3339(now), expected = %rfc3339(expected),
                "the clock was set back: slots that have a receipt are not run again; the next ones come when it shows them"
            ),
            Look::Behind { .. } | Look::Steady => {}
        }
        if self.is_held() {
            tracing::warn!("the clock is believed again");
            self.held.send_replace(None);
            if let (Some(since), Some(scheduler)) = (self.held_since.take(), &mut self.scheduler) {
                scheduler.held(since, now);
            }
        }
        true
    }

    /// Whether to complain of the clock again: it is looked at whenever anything happens.
    fn says_clock(&mut self) -> bool {
        let says = self.clock_said.is_none_or(|at| at.elapsed() >= HELD);
        if says {
            self.clock_said = Some(Instant::now());
        }
        says
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.borrow().is_some()
    }

    /// A run by hand is somebody's will, also under a clock that may be wrong: but it is said.
    pub(super) fn warn_of_clock(&self) {
        let now = self.clock.now();
        let Some(last) = self.pipeline.last_sealed() else { return };
        if now < last {
            tracing::warn!(now = %rfc3339(now), newest = %rfc3339(last), "the clock is behind the newest entry: set it right");
        } else if now > last + TimeDelta::days(1) && self.clock.synchronised() == Some(false) {
            tracing::warn!(
                now = %rfc3339(now), newest = %rfc3339(last),
                "nothing synchronises the clock, and it is more than a day after the newest entry: make sure that it is right"
            );
        }
    }
}
