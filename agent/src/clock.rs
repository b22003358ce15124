//! The agent's clock, injected wherever an instant is needed, so that tests run a year in seconds. It never judges whether the time
//! is right; it says what the kernel says of it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use chrono::TimeDelta;
use collectors::contract::BoxFuture;
use signing::time::{Utc, millis};
use tokio::{sync::Notify, time::Instant};

/// Tells the time and waits for it.
pub trait Clock: Send + Sync {
    /// The current instant, in whole milliseconds.
    fn now(&self) -> Utc;

    /// Returns once the clock shows `at` or later. It looks at the clock at least every 30 seconds of elapsed time, so that a clock
    /// that is set forward, or a machine that was suspended, is noticed.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    fn sleep_until(&self, at: Utc) -> BoxFuture<'_, ()>;

    /// Whether the kernel holds its clock to be synchronised (NTP, PTP); `None` where it does not say.
    fn synchronised(&self) -> Option<bool>;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Utc {
        millis(chrono::DateTime::from(std::time::SystemTime::now()))
    }

    fn sleep_until(&self, at: Utc) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            while let Ok(left) = (at - self.now()).to_std()
                && !left.is_zero()
            {
                tokio::time::sleep(left.min(Duration::from_secs(30))).await;
            }
        })
    }

    fn synchronised(&self) -> Option<bool> {
        kernel_synchronised()
    }
}

/// `adjtimex(2)` in its reading mode: state `TIME_ERROR` or status `STA_UNSYNC` is a clock that nothing disciplines.
fn kernel_synchronised() -> Option<bool> {
    // SAFETY: `timex` is plain old data, for which all zeroes is a value; `modes` is 0, so the call only fills the struct, which
    // lives through it.
    #[allow(unsafe_code)]
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex.status)
    };
    match state {
        -1 => None,
        libc::TIME_ERROR => Some(false),
        _ => Some(status & libc::STA_UNSYNC == 0),
    }
}

/// A clock over tokio's (paused) time, which tests set forward and back.
#[derive(Debug)]
pub struct SimClock {
    start: Instant,
    epoch: Mutex<Utc>,
    jumped: Notify,
    synchronised: AtomicU8,
}

impl SimClock {
    /// It shows `epoch` now. To be made inside a runtime, usually one with paused time.
    pub fn new(epoch: Utc) -> Self {
        Self { start: Instant::now(), epoch: Mutex::new(epoch), jumped: Notify::new(), synchronised: AtomicU8::new(1) }
    }

    /// Sets the clock forward, or back where negative.
    pub fn jump(&self, by: TimeDelta) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) += by;
        self.jumped.notify_waiters();
    }

    /// What [`Clock::synchronised`] says from now on; `Some(true)` at the start.
    pub fn set_synchronised(&self, value: Option<bool>) {
        self.synchronised.store(value.map_or(2, u8::from), Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Utc {
        let epoch = *self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        millis(epoch + TimeDelta::from_std(self.start.elapsed()).unwrap_or(TimeDelta::MAX))
    }

    fn sleep_until(&self, at: Utc) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let jumped = self.jumped.notified();
                let Ok(left) = (at - self.now()).to_std() else { return };
                if left.is_zero() {
                    return;
                }
                // Tokio's timer is exact to a millisecond; a sleep of at least one makes progress.
                tokio::select! {
                    () = tokio::time::sleep(left.max(Duration::from_millis(1))) => {}
                    () = jumped => {}
                }
            }
        })
    }

    fn synchronised(&self) -> Option<bool> {
        match self.synchronised.load(Ordering::SeqCst) {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;

    fn epoch() -> Utc {
        "2026-11-22T04:00:00Z".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_year_passes_as_it_is_waited_for() {
        let clock = SimClock::new(epoch());
        let at = epoch() + TimeDelta::days(365);
        clock.sleep_until(at).await;
        assert_eq!(clock.now(), at);
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_forward_wakes_the_sleeper_at_once_and_a_jump_back_makes_it_wait_longer() {
        let clock = Arc::new(SimClock::new(epoch()));
        let start = Instant::now();
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(epoch() + TimeDelta::hours(10)).await }
        });
        tokio::task::yield_now().await;
        clock.jump(TimeDelta::hours(-2));
        tokio::time::sleep(Duration::from_secs(11 * 3600)).await;
        assert!(!sleeper.is_finished());
        clock.jump(TimeDelta::days(400));
        sleeper.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(11 * 3600));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_past_is_not_waited_for() {
        let start = Instant::now();
        SystemClock.sleep_until(epoch() - TimeDelta::days(4000)).await;
        SimClock::new(epoch()).sleep_until(epoch()).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[test]
    fn the_kernel_is_asked_without_changing_it() {
        // Which answer depends on the machine; that two questions get the same one shows that asking set nothing.
        assert_eq!(SystemClock.synchronised(), SystemClock.synchronised());
    }
}
