//! What somebody asks by hand: to run jobs now, to pause, to resume, to log what a person signed, to know. Jobs that read other jobs' bundles run once those are
//! logged.

use std::collections::BTreeSet;

use signing::{errors::chain, layout::Job};
use tokio::{sync::mpsc::UnboundedSender, time::Instant};

use super::{
    Daemon, Mode,
    plans::{Kind, PAUSED},
};
use crate::{
    control::{Answer, Ask, Asked, Line},
    freeze,
    room::Level,
};

/// An ask on its way.
pub struct Hand {
    waiting: BTreeSet<Job>,
    later: BTreeSet<Job>,
    /// Whether what ran was drained, or is being drained.
    ready: bool,
    /// The drain whose end it waits for.
    drain: Option<u64>,
    logged: u64,
    trouble: Option<String>,
    answers: UnboundedSender<Answer>,
}

impl Hand {
    fn new(answers: UnboundedSender<Answer>) -> Self {
        let (waiting, later) = (BTreeSet::new(), BTreeSet::new());
        Self { waiting, later, ready: false, drain: None, logged: 0, trouble: None, answers }
    }

    /// A run by hand ended.
    pub fn ran(&mut self, line: &Line) {
        if self.waiting.remove(&line.job) {
            // One who asked and went away gets what was asked all the same.
            let _ = self.answers.send(Answer::Ran(line.clone()));
        }
    }

    /// A drain ended.
    pub fn drained(&mut self, number: u64, logged: u64, trouble: Option<&str>) {
        self.logged += logged;
        if self.drain.is_some_and(|drain| drain <= number) {
            self.drain = None;
            self.trouble = trouble.map(str::to_owned);
        }
    }

    /// The agent stops.
    pub fn stopped(self, logged: u64, trouble: Option<&str>) {
        let trouble = trouble.map(str::to_owned).or(self.trouble);
        let left: Vec<&str> = self.waiting.union(&self.later).map(Job::as_str).collect();
        let _ = match left.as_slice() {
            [] => self.answers.send(Answer::Done { logged: self.logged + logged, waiting: trouble }),
            left => self.answers.send(Answer::Refused(format!("stopped before these ran: {}", left.join(", ")))),
        };
    }
}

/// Where an ask stands.
enum Stage {
    Waits,
    Drain,
    RunLater,
    Done,
}

impl Daemon {
    pub(super) async fn ask(&mut self, Asked { ask, answers }: Asked) {
        let refuse = |why: String| {
            let _ = answers.send(Answer::Refused(why));
        };
        if matches!(ask, Ask::Status) {
            let _ = answers.send(Answer::Status(Box::new(self.status())));
            return;
        }
        if let Some(why) = self.held.borrow().clone() {
            return refuse(why);
        }
        if self.scheduler.is_none() {
            return refuse("the daemon has not started yet: its plan cannot be written (see its log)".into());
        }
        let mut hand = Hand::new(answers.clone());
        let plan = match ask {
            Ask::Status => return,
            Ask::Collect { only } => {
                let chosen = match self.jobs.named(&only) {
                    Ok(chosen) => chosen,
                    Err(error) => return refuse(format!("{error:#}")),
                };
                let mut room = self.look_at_room();
                if room.level == Level::Full && self.mode == Mode::Once {
                    // Nothing else has asked the archive yet; what fails is told when the runs are drained.
                    let _ = self.pipeline.drain().await;
                    room = self.look_at_room();
                }
                if let Some(why) = room.why.filter(|_| room.level == Level::Full) {
                    return refuse(format!("no run starts, since there is no room for what it reads: {why}"));
                }
                let derived = |job: &Job| self.jobs.get(job).is_some_and(|setup| setup.is_derived());
                (hand.later, hand.waiting) = chosen.into_iter().partition(derived);
                match self.mode {
                    Mode::Once => {
                        let planned = self.plan_by_hand().await.map(|_| ());
                        if planned.is_ok() {
                            self.keep_controls().await;
                        }
                        planned
                    }
                    Mode::Daemon => Ok(()),
                }
            }
            Ask::Freeze { document } => {
                if let Err(error) = freeze::log(&self.pipeline, document.into_bytes()).await {
                    return refuse(format!("the populations are not logged: {}", chain(&error)));
                }
                Ok(())
            }
            Ask::Pause { reason } => {
                let done = self.put_in_force(Kind::Empty, format!("{PAUSED}{reason}")).await;
                if done.is_ok() {
                    self.paused = Some(reason);
                }
                done
            }
            Ask::Approve { document } => match self.pipeline.spool_approval(document.into_bytes()).await {
                Ok(true) => Ok(()),
                Ok(false) => {
                    let _ = answers.send(Answer::Done { logged: 0, waiting: None });
                    return;
                }
                Err(error) => return refuse(chain(&error)),
            },
            Ask::Resume => {
                let done = match self.paused {
                    Some(_) => self.put_in_force(Kind::Scheduled, "resumed".into()).await,
                    None => return refuse("not paused: the schedules are in force".into()),
                };
                if done.is_ok() {
                    self.paused = None;
                }
                done
            }
        };
        if let Err(error) = plan {
            return refuse(format!("the plan cannot be written: {}", chain(&error)));
        }
        self.request(&hand.waiting);
        self.hands.push(hand);
    }

    /// Moves every ask on as far as it goes.
    pub(super) fn hands_go_on(&mut self) {
        let mut at = 0;
        while at < self.hands.len() {
            let hand = &mut self.hands[at];
            let stage = match (hand.waiting.is_empty(), hand.drain) {
                (false, _) | (true, Some(_)) => Stage::Waits,
                (true, None) if !hand.ready => Stage::Drain,
                (true, None) if !hand.later.is_empty() => Stage::RunLater,
                (true, None) => Stage::Done,
            };
            match stage {
                Stage::Waits => at += 1,
                Stage::Drain => {
                    hand.ready = true;
                    // One that goes on may have passed over what came last.
                    hand.drain = Some(self.drains + 1);
                    self.drain_at = Some(Instant::now());
                    at += 1;
                }
                Stage::RunLater => {
                    hand.ready = false;
                    hand.waiting = std::mem::take(&mut hand.later);
                    let jobs = hand.waiting.clone();
                    self.request(&jobs);
                    at += 1;
                }
                Stage::Done => {
                    let hand = self.hands.remove(at);
                    let _ = hand.answers.send(Answer::Done { logged: hand.logged, waiting: hand.trouble });
                }
            }
        }
    }

    fn request(&mut self, jobs: &BTreeSet<Job>) {
        if let Some(scheduler) = &mut self.scheduler {
            jobs.iter().for_each(|job| scheduler.request(job));
        }
    }
}
