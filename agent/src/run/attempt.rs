//! One attempt of a collector, kept apart from the agent: its panic, its hanging and its stopping end here, as values.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use collectors::{
    contract::{CollectError, Context, Now},
    recorder::Recorder,
};
use signing::{errors::chain, layout::Job};
use tokio::{sync::oneshot, task::JoinError, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Env, Task};

/// The error of an attempt that the agent stopped because it was told to stop.
pub const STOPPED: &str = "stopped: the agent was told to stop before the run ended";

/// How long a cancelled collector may take to let go of its thread.
const LET_GO: Duration = Duration::from_secs(2);

/// A job of which so many runs were abandoned and still hold their threads is not begun again: threads are finite.
const MOST_HANGING: usize = 3;

/// Abandoned threads that did not end yet, by job.
#[derive(Debug, Clone, Default)]
pub struct Hanging(Arc<Mutex<BTreeMap<Job, usize>>>);

impl Hanging {
    fn count(&self) -> MutexGuard<'_, BTreeMap<Job, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a thread for as long as it lives.
    fn watch(&self, job: &Job, ended: oneshot::Receiver<Ended>) {
        *self.count().entry(job.clone()).or_default() += 1;
        let (this, job) = (self.clone(), job.clone());
        tokio::spawn(async move {
            let _ = ended.await;
            tracing::warn!(%job, "an abandoned thread of the collector came to its end");
            this.count().entry(job).and_modify(|hanging| *hanging = hanging.saturating_sub(1));
        });
    }
}

/// Where a collector runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On a thread and a runtime of its own: code that blocks its thread holds up nobody else.
    Own,
    /// As a task of the agent's runtime: for tests with paused time.
    Shared,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum Ended {
    /// The collector was done.
    Done,
    /// It gave up.
    Failed(CollectError),
    /// It panicked.
    Panicked(String),
    /// The run's deadline came.
    Deadline,
    /// The agent was told to stop.
    Stopped,
    /// After the deadline or the stop it did not let go of its thread, which was abandoned.
    Abandoned(Box<Ended>),
    /// It could not be started.
    NotStarted(String),
    /// It was not started: so many abandoned runs of the job hold their threads.
    Crowded(usize),
}

impl Ended {
    /// In words; `None` when it was done.
    pub fn error(&self, deadline: Duration) -> Option<String> {
        Some(match self {
            Self::Done => return None,
            Self::Failed(error) => chain(error),
            Self::Panicked(text) => format!("the collector panicked: {text}"),
            Self::Deadline => format!("the deadline of {} s came before the collector was done", deadline.as_secs()),
            Self::Stopped => STOPPED.into(),
            Self::Abandoned(why) => {
                let why = why.error(deadline).unwrap_or_default();
                format!("{why}; it did not stop when told to, and its thread was abandoned")
            }
            Self::Crowded(hanging) => {
                format!(
                    "not begun: {hanging} earlier runs of the collector hang and hold their threads; restart the agent to end them"
                )
            }
            Self::NotStarted(why) => format!("the collector could not be started: {why}"),
        })
    }

    /// Whether another attempt may do better.
    pub fn may_help(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Panicked(_) | Self::NotStarted(_))
    }

    /// Whether there is no time for another attempt.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Deadline | Self::Stopped | Self::Abandoned(_))
    }
}

/// Runs the collector once, with `dir` for its exchanges.
pub async fn attempt(env: &Env, task: &Task, dir: &Path, now: Now, end: Instant, stop: &CancellationToken) -> Ended {
    let hanging = env.hanging.count().get(&task.job).copied().unwrap_or(0);
    if hanging >= MOST_HANGING {
        return Ended::Crowded(hanging);
    }
    let cancel = CancellationToken::new();
    let (done, mut ended) = oneshot::channel();
    let (collector, dir, inputs) = (task.collector.clone(), dir.to_owned(), task.inputs.clone());
    let decided = task.window.clone();
    let work = async move {
        let mut recorder = Recorder::new(&dir)?;
        if let Some(decided) = &decided {
            decided.keep(&mut recorder, now())?;
        }
        let window = decided.map(|decided| decided.window);
        let mut context = Context { recorder: &mut recorder, now, inputs, window };
        collector.collect(&mut context).await
    };
    let supervised = {
        let cancel = cancel.clone();
        async move {
            // Nobody listens any more where the collector was abandoned.
            let _ = done.send(supervise(work, cancel).await);
        }
    };
    match env.place {
        Place::Shared => drop(tokio::spawn(supervised)),
        Place::Own => {
            if let Err(error) = on_own_thread(task.job.as_str(), supervised) {
                return Ended::NotStarted(error.to_string());
            }
        }
    }
    let why = tokio::select! {
        ended = &mut ended => return ended.unwrap_or_else(|_| Ended::Panicked("its runtime ended".into())),
        () = tokio::time::sleep_until(end) => Ended::Deadline,
        () = stop.cancelled() => Ended::Stopped,
    };
    cancel.cancel();
    match tokio::time::timeout(LET_GO, &mut ended).await {
        // It was done at the very moment.
        Ok(Ok(Ended::Done)) => Ended::Done,
        Ok(_) => why,
        Err(_) => {
            env.hanging.watch(&task.job, ended);
            tracing::error!(job = %task.job, "the collector does not stop; its thread is abandoned");
            Ended::Abandoned(Box::new(why))
        }
    }
}

/// Runs the future as a task, so that a panic is a value, and drops it when cancelled.
async fn supervise(
    work: impl Future<Output = Result<(), CollectError>> + Send + 'static,
    cancel: CancellationToken,
) -> Ended {
    let mut task = tokio::spawn(work);
    let joined = tokio::select! {
        joined = &mut task => joined,
        () = cancel.cancelled() => {
            task.abort();
            task.await
        }
    };
    match joined {
        Ok(Ok(())) => Ended::Done,
        Ok(Err(error)) => Ended::Failed(error),
        Err(error) if error.is_cancelled() => Ended::Stopped,
        Err(error) => Ended::Panicked(panic_text(error)),
    }
}

fn on_own_thread(name: &str, work: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        runtime.block_on(work);
        // Blocking calls that the collector left behind do not hold the thread.
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

/// What a panic said.
pub fn panic_text(error: JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "no panic, but cancelled".into() };
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "without words".into()
    }
}
