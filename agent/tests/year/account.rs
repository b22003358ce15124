//! The simulation's own account: what became of every slot, what each run read, and what follows for controls, from what was made to
//! happen and by nothing of the programs that are tested. It is written for being right, not for being quick.

use std::collections::{BTreeMap, BTreeSet};

use signing::time::Utc;

use crate::{
    scenario::{AFTER, Act, Config, DAY, DEADLINE, Do, GRACE, Minute, Reads, SETTLE, START_WITHIN, Scenario, Times},
    world::{KEPT, OVERLAP, SLOW, Thing},
};

/// By how many seconds a token may be off, as it says itself.
const ACCURACY: i64 = 1;

/// What a slot came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Collected,
    Partial,
    Failed,
    Missed(&'static str),
    /// Nothing tells what became of it, and its time is over.
    Uncovered,
    /// Its time is not over.
    Open,
}

/// What a check of a run found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    pub pass: BTreeSet<String>,
    pub fail: BTreeSet<String>,
    pub unknown: BTreeSet<String>,
    pub exempt: BTreeSet<String>,
    pub whole: bool,
    pub absent: bool,
    /// Ids of the kind, of the population or not.
    pub there: BTreeSet<String>,
}

/// What a run says for a control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    Fail,
    Unknown,
    Pass,
    Nothing,
}

impl Found {
    pub fn says(&self) -> Says {
        if !self.fail.is_empty() {
            Says::Fail
        } else if self.absent {
            Says::Nothing
        } else if !self.unknown.is_empty() || !self.whole {
            Says::Unknown
        } else if self.pass.is_empty() {
            Says::Nothing
        } else {
            Says::Pass
        }
    }
}

/// A run that was sealed.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its slot, or its start by hand: seconds since the period began.
    pub instant: i64,
    pub by_hand: bool,
    pub late: bool,
    pub checks: BTreeMap<&'static str, Found>,
    /// Of a job that reads events: from, to (seconds), whole.
    pub window: Option<(i64, i64, bool)>,
    /// The things that it read, where it read a state.
    pub things: BTreeMap<String, Thing>,
    /// What it saw of what happened: its minute, and what came of it.
    pub happened: BTreeMap<String, (Minute, Option<bool>)>,
}

/// A stretch in which no run could begin.
struct Gap {
    from: Minute,
    to: Minute,
    cause: &'static str,
    /// The agent was killed at its start.
    killed: bool,
}

pub struct Account<'a> {
    pub scenario: &'a Scenario,
    silence: Minute,
    /// Runs of each job, in order.
    pub runs: Vec<Vec<Run>>,
    /// Slots of each job.
    pub slots: Vec<BTreeMap<Minute, Fate>>,
    gaps: Vec<Gap>,
    /// From when on a configuration's schedules are in force; `None`: a pause.
    plans: Vec<(Minute, Option<usize>)>,
    /// From when on a document of controls is in force.
    promised: Vec<(Minute, usize)>,
    by_hand: Vec<(Minute, usize)>,
    /// The second from which on what people signed counts, by number: by when the first token after it was given, at the latest.
    pub from: Vec<Option<i64>>,
}

impl<'a> Account<'a> {
    /// Judged so many minutes after the agent stopped. With when the log had what people signed, by number, and the tokens that the authority gave.
    pub fn of(scenario: &'a Scenario, silence: Minute, logged: &[Utc], given: &[Utc]) -> Self {
        let jobs = scenario.jobs.len();
        let mut account = Self {
            scenario,
            silence,
            runs: vec![Vec::new(); jobs],
            slots: vec![BTreeMap::new(); jobs],
            gaps: Vec::new(),
            plans: Vec::new(),
            promised: Vec::new(),
            by_hand: Vec::new(),
            from: Vec::new(),
        };
        let seconds = |at: Utc| (at - scenario.zero).num_seconds();
        let from = |logged: &Utc| given.iter().filter(|at| logged < *at).min().map(|at| seconds(*at) + ACCURACY);
        account.from = logged.iter().map(from).collect();
        account.follow();
        for job in 0..jobs {
            account.job(job);
        }
        account
    }

    /// As of when all is judged, in minutes.
    pub fn as_of(&self) -> Minute {
        self.scenario.end() + self.silence
    }

    fn follow(&mut self) {
        let mut down: Option<(Minute, bool)> = None;
        let mut config = 0;
        for (at, what) in &self.scenario.events {
            match what {
                Do::Start(new) => {
                    if let Some((from, killed)) = down.take() {
                        self.gaps.push(Gap { from, to: *at, cause: "down", killed });
                    }
                    if self.promised.is_empty() || *new != config {
                        self.promised.push((*at, *new));
                    }
                    config = *new;
                    self.plans.push((*at, Some(config)));
                }
                Do::Stop => down = Some((*at, false)),
                Do::Kill => down = Some((*at, true)),
                Do::Pause(_) => self.plans.push((*at, None)),
                Do::Resume => self.plans.push((*at, Some(config))),
                Do::Forward(by) | Do::Wrong(by) => self.gap(*at, at + by, "clock"),
                Do::ByHand(jobs) => {
                    let has = |job: &&usize| self.scenario.configs[config].jobs.get(job).is_some_and(Result::is_ok);
                    self.by_hand.extend(jobs.iter().filter(has).map(|job| (*at, *job)));
                }
                Do::Away(_) | Do::Back(_) | Do::Sign(_) => {}
            }
        }
    }

    fn gap(&mut self, from: Minute, to: Minute, cause: &'static str) {
        self.gaps.push(Gap { from, to, cause, killed: false });
    }

    fn config_at(&self, minute: Minute) -> &Config {
        &self.scenario.configs[self.scenario.config_at(minute)]
    }

    /// Its slots and runs in order.
    fn job(&mut self, job: usize) {
        let end = self.as_of();
        let mut due: Vec<(Minute, bool)> = Vec::new();
        for (place, (from, config)) in self.plans.iter().enumerate() {
            let to = self.plans.get(place + 1).map_or(end, |(to, _)| *to);
            let Some(Ok(times)) = config.and_then(|config| self.scenario.configs[config].jobs.get(&job)) else {
                continue;
            };
            let times: Times = *times;
            // What is done at a minute is done some seconds after it.
            due.extend(self.scenario.slots(times, from + 1, to + 1).into_iter().map(|slot| (slot, false)));
        }
        due.extend(self.by_hand.iter().filter(|(_, one)| *one == job).map(|(at, _)| (*at, true)));
        due.sort_unstable();
        let mut free = Minute::MIN;
        for (at, by_hand) in due {
            if by_hand {
                self.run(job, at, AFTER, None);
                continue;
            }
            let fate = match at {
                // It may begin and run for so long, and then needs so long into the log.
                at if at > self.scenario.end() && at + START_WITHIN + DEADLINE + SETTLE > end => Fate::Open,
                at if at > self.scenario.end() => Fate::Uncovered,
                at => self.slot(job, at, &mut free),
            };
            self.slots[job].insert(at, fate);
        }
    }

    fn slot(&mut self, job: usize, slot: Minute, free: &mut Minute) -> Fate {
        let gone = slot + START_WITHIN;
        // It begins at its time, unless something is in its way.
        let (start, seconds) = match self.gaps.iter().find(|gap| gap.from < slot && slot <= gap.to) {
            Some(gap) if gone < gap.to => return Fate::Missed(gap.cause),
            Some(gap) => (gap.to, AFTER),
            None if slot < *free && gone < *free => return Fate::Missed("overrun"),
            None => (slot.max(*free), 0),
        };
        if !self.config_at(start).jobs.get(&job).is_some_and(Result::is_ok) {
            return Fate::Missed("blocked");
        }
        match self.scenario.act(job, start) {
            Act::Hang => {
                let gap = self.gaps.iter().find(|gap| gap.killed && start < gap.from).expect("it is killed");
                match gone < gap.to {
                    true => Fate::Missed("crashed"),
                    false => self.run(job, gap.to, AFTER, Some(slot)),
                }
            }
            Act::Slow => {
                *free = start + SLOW;
                self.run(job, start, seconds, Some(slot))
            }
            _ => self.run(job, start, seconds, Some(slot)),
        }
    }

    /// A run that is sealed.
    fn run(&mut self, job: usize, start: Minute, seconds: i64, slot: Option<Minute>) -> Fate {
        let scenario = self.scenario;
        let act = scenario.act(job, start);
        let read_at = if act == Act::Slow { start + SLOW } else { start };
        let begun = start * 60 + seconds;
        let reads = scenario.jobs[job].reads;
        let window = (reads == Reads::Events).then(|| self.window(job, begun));
        let refused = matches!(act, Act::Denied | Act::Error);
        let cut = matches!(act, Act::Half | Act::HangHalf);
        let mut checks = BTreeMap::new();
        let mut happened = BTreeMap::new();
        let mut read = BTreeMap::new();
        let mut absent = false;
        match reads {
            Reads::State if refused => {
                checks.insert("is-ok", Found::default());
                checks.insert("not-above", Found::default());
            }
            Reads::State => match scenario.systems[job].things(read_at) {
                None => {
                    absent = true;
                    checks.insert("is-ok", Found { absent, ..Found::default() });
                    checks.insert("not-above", Found { absent, ..Found::default() });
                }
                Some(things) => {
                    let seen = if cut { things.len() / 2 } else { things.len() };
                    let there: BTreeSet<String> = things.keys().take(seen).cloned().collect();
                    read = things.iter().take(seen).map(|(id, thing)| (id.clone(), thing.clone())).collect();
                    let mut ok = Found { whole: !cut, there, ..Found::default() };
                    let mut above = ok.clone();
                    let most = self.config_at(start).most_level;
                    for (id, thing) in things.iter().take(seen) {
                        let place = match thing {
                            thing if !thing.active => None,
                            thing if thing.exempt => Some(&mut ok.exempt),
                            thing if thing.ok => Some(&mut ok.pass),
                            _ => Some(&mut ok.fail),
                        };
                        if let Some(place) = place {
                            place.insert(id.clone());
                        }
                        if thing.level <= most { &mut above.pass } else { &mut above.fail }.insert(id.clone());
                    }
                    checks.insert("is-ok", ok);
                    checks.insert("not-above", above);
                }
            },
            Reads::Events | Reads::Dated if refused => drop(checks.insert("done", Found::default())),
            Reads::Events | Reads::Dated => {
                let (from, to) = window.map_or((i64::MIN, i64::MAX), |(from, to, _)| (from, to));
                let within = |at: Minute| from <= at.saturating_mul(60) && at.saturating_mul(60) < to && at <= read_at;
                let all: Vec<_> = scenario.systems[job].happenings.iter().filter(|h| within(h.at)).collect();
                let seen = if cut { all.len() / 2 } else { all.len() };
                let mut found = Found { whole: !cut, ..Found::default() };
                for one in all.into_iter().take(seen) {
                    let result = (one.decided <= read_at).then_some(one.ok);
                    happened.insert(one.id.clone(), (one.at, result));
                    found.there.insert(one.id.clone());
                    let place = match result {
                        Some(true) => &mut found.pass,
                        Some(false) => &mut found.fail,
                        None => &mut found.unknown,
                    };
                    place.insert(one.id.clone());
                }
                checks.insert("done", found);
            }
        }
        let lost = window.is_some_and(|(from, _, previous)| previous.is_some_and(|previous| previous < from));
        let fate = match act {
            _ if refused => Fate::Failed,
            Act::HangHalf => Fate::Partial,
            _ if (cut && !absent) || lost => Fate::Partial,
            _ => Fate::Collected,
        };
        self.runs[job].push(Run {
            instant: slot.map_or(begun, |slot| slot * 60),
            by_hand: slot.is_none(),
            late: slot.is_some_and(|slot| start > slot + GRACE || (start == slot + GRACE && seconds > 0)),
            checks,
            window: window.map(|(from, to, _)| (from, to, !refused && !cut)),
            things: read,
            happened,
        });
        fate
    }

    /// From, to and the end of what was read whole before.
    fn window(&self, job: usize, begun: i64) -> (i64, i64, Option<i64>) {
        let previous = self.runs[job].iter().rev().find_map(|run| run.window.filter(|(.., whole)| *whole)).map(|w| w.1);
        let oldest = begun - KEPT * 60;
        let from = previous.map_or(oldest, |previous| (previous.min(begun) - OVERLAP * 60).max(oldest));
        (from.min(begun - 1), begun, previous)
    }

    /// The configuration whose controls are in force at a minute.
    pub fn promised(&self, minute: Minute) -> &Config {
        let config = self.promised.iter().take_while(|(from, _)| *from < minute).last().or(self.promised.first());
        &self.scenario.configs[config.map_or(0, |(_, config)| *config)]
    }

    /// What changed when: of what kind, and whether it lowers what is looked at, how often or how strictly.
    pub fn changes(&self) -> Vec<(Minute, &'static str, Option<bool>)> {
        let (yes, no) = (Some(true), Some(false));
        let mut all = Vec::new();
        let mut before: Option<&Config> = None;
        for (at, config) in &self.promised {
            let config = &self.scenario.configs[*config];
            let Some(before) = before.replace(config) else {
                all.push((*at, "control", no));
                continue;
            };
            for (job, times) in &config.jobs {
                match (before.jobs.get(job), times) {
                    (None, Ok(_)) => all.extend([(*at, "scope", no), (*at, "plan", no)]),
                    (Some(Ok(_)), Err(_)) => all.extend([(*at, "scope", yes), (*at, "plan", yes)]),
                    (Some(Ok(old)), Ok(new)) if old != new => {
                        let a_day = |times: Times| self.scenario.slots(times, 0, 7 * DAY).len();
                        all.push((*at, "plan", Some(a_day(*new) < a_day(*old))));
                    }
                    _ => {}
                }
                if before.most_level != config.most_level {
                    // In the document of controls, and in the plan.
                    all.push((*at, "check", None));
                    all.extend(times.is_ok().then_some((*at, "check", None)));
                }
            }
            if before.most_level != config.most_level {
                all.push((*at, "parameter", None));
            }
            if before.weekly != config.weekly {
                all.push((*at, "control", no));
            }
            if before.text != config.text {
                all.push((*at, "control", None));
            }
        }
        for (at, what) in &self.scenario.events {
            match what {
                Do::Pause(_) => all.push((*at, "plan", yes)),
                Do::Resume => all.push((*at, "plan", no)),
                _ => {}
            }
        }
        all
    }

    /// The period's last minute, or when the agent stopped before it.
    pub fn until(&self) -> Minute {
        (self.scenario.days * DAY).min(self.as_of())
    }
}
