//! One way to stop: no new run, a deadline, then everything that goes on is cancelled and what was read sealed; the last drain; and who
//! is late is named.

use std::time::Duration;

use signing::{errors::chain, layout::Job};
use tokio::{sync::mpsc, time::Instant};

use super::{Daemon, Mode};

/// How long cancelled runs may take to be sealed.
const LAST: Duration = Duration::from_secs(10);

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// All was done, or it was told to stop; these jobs did not stop in time, and their slots are tried again or missed.
    Done {
        /// Jobs whose runs were given up.
        late: Vec<Job>,
    },
    /// A second signal: at once, with whatever goes on.
    Quit,
}

/// A stop that goes on.
pub(super) struct Stopping {
    pub(super) deadline: Instant,
    pub(super) gave_up: bool,
}

impl Daemon {
    pub(super) fn stop(&mut self) {
        let going: Vec<String> = self.running.values().map(|start| start.job.to_string()).collect();
        if going.is_empty() {
            tracing::info!("stopping");
        } else {
            let seconds = self.settings.stop_within.as_secs();
            tracing::info!(
                running = going.join(", "),
                "stopping: runs may end within {seconds} s; another signal quits at once"
            );
        }
        self.stopping = Some(Stopping { deadline: Instant::now() + self.settings.stop_within, gave_up: false });
    }

    pub(super) fn give_up(&mut self) {
        let Some(stopping) = &mut self.stopping else { return };
        if stopping.gave_up {
            self.runs.abort_all();
            return;
        }
        stopping.gave_up = true;
        stopping.deadline = Instant::now() + LAST;
        let late: Vec<String> = self.running.values().map(|start| start.job.to_string()).collect();
        tracing::warn!(late = late.join(", "), "did not end in time: what was read is sealed, and the rest given up");
        self.give_up.cancel();
    }

    pub(super) fn is_done(&self) -> bool {
        match (&self.stopping, self.mode) {
            (Some(stopping), _)
                if self.runs.is_empty() || (stopping.gave_up && stopping.deadline <= Instant::now()) =>
            {
                true
            }
            (None, Mode::Once) => self.hands.is_empty() && self.runs.is_empty(),
            _ => false,
        }
    }

    /// The last drain, and who is late.
    pub(super) async fn finish(&mut self, signals: &mut mpsc::Receiver<()>) -> Exit {
        let late: Vec<Job> = self.running.values().map(|start| start.job.clone()).collect();
        for job in &late {
            tracing::error!(%job, "still running: it is left behind; its slot is tried again or recorded as missed at the next start");
        }
        let pipeline = self.pipeline.clone();
        let before = self.draining.take();
        let last = async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            pipeline.drain().await
        };
        let drained = tokio::select! {
            drained = tokio::time::timeout(self.settings.stop_within.max(LAST), last) => drained,
            Some(()) = signals.recv() => return Exit::Quit,
        };
        let (logged, trouble) = match drained {
            Ok(Ok(drained)) => (drained.logged, None),
            Ok(Err(error)) => (0, Some(chain(&error))),
            Err(_) => (0, Some("the store took too long".to_owned())),
        };
        if let Some(trouble) = &trouble {
            tracing::error!("what is in the spool is logged at the next start: {trouble}");
        }
        for hand in self.hands.drain(..) {
            hand.stopped(logged, trouble.as_deref());
        }
        Exit::Done { late }
    }
}
