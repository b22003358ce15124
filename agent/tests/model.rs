//! The way from the spool into the log as a small model, gone through exhaustively: two agents that share an origin, crashes between any two
//! steps, and answers that are lost after the store did what was asked. The steps are named as in `agent/src/pipeline`.
//!
//! A store without compare-and-swap, or without create-only writes, is tried too: there the model must find the fork, or it would prove
//! nothing of the others.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Checker, Model, Property};

/// A receipt: whose, and which.
type Leaf = (u8, u8);

/// What is tried.
#[derive(Clone)]
struct Pipeline {
    agents: u8,
    /// Receipts that each agent makes.
    each: u8,
    crashes: u8,
    lost_answers: u8,
    /// Whether covered decisions are removed, as in a directory, or stay, as in a bucket.
    removes: bool,
    /// Whether `append/<old size>` is created once.
    create_only: bool,
    /// Whether the checkpoint is compared and replaced in one.
    compare_and_swap: bool,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            agents: 2,
            each: 1,
            crashes: 2,
            lost_answers: 1,
            removes: true,
            create_only: true,
            compare_and_swap: true,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// Seals and bundles: created once, by digest.
    uploaded: BTreeSet<Leaf>,
    /// `append/<old size>`.
    decisions: BTreeMap<usize, Decision>,
    /// Tiles and entry bundles, by the size of the tree that they complete.
    tiles: BTreeMap<usize, Vec<Leaf>>,
    /// The leaves under the published checkpoint.
    checkpoint: Vec<Leaf>,
    agents: Vec<Agent>,
    instances: u8,
    crashes: u8,
    lost_answers: u8,
    /// A checkpoint was replaced by one that does not continue it.
    forked: bool,
    /// A tile of another tree lies where one of the log belongs.
    blocked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Decision {
    instance: u8,
    leaves: Vec<Leaf>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Agent {
    /// What its disk holds.
    spool: BTreeMap<Leaf, Stage>,
    made: u8,
    /// Its process.
    process: Option<Process>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    Spooled,
    Sealed,
    Uploaded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Process {
    instance: u8,
    /// The log as it published, or read, it last.
    log: Vec<Leaf>,
    at: At,
    /// A second agent was seen: it appends no more.
    stopped: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    /// `drain`, between two appends.
    Drain,
    /// `Log::finish`; at the start anybody's.
    Finish { anyones: bool },
    /// `Log::append`: creates the decision.
    Decide,
    /// `Log::complete`: asks for the checkpoint …
    Check { leaves: Vec<Leaf>, starting: bool },
    /// … writes tiles …
    Tiles { leaves: Vec<Leaf>, starting: bool },
    /// … and replaces the checkpoint. Without compare-and-swap it is looked at first.
    ReplaceCheckpoint { leaves: Vec<Leaf>, starting: bool, looked: bool },
    /// `Log::tidy`.
    Tidy { starting: bool },
    /// `recover`: settles what is logged, adopts seals that have no leaf.
    Recover,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Start,
    Spool,
    Seal(Leaf),
    Upload(Leaf),
    Append,
    Settle(Leaf),
    /// What `At` says comes next.
    Next,
}

/// What is done, by whom, and whether its answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Does(u8, Step),
    LosesAnswer(u8, Step),
    Crashes(u8),
}

impl Process {
    fn batch(&self, spool: &BTreeMap<Leaf, Stage>) -> Vec<Leaf> {
        let waiting = spool.iter().filter(|(leaf, stage)| **stage == Stage::Uploaded && !self.log.contains(leaf));
        waiting.map(|(leaf, _)| *leaf).collect()
    }

    fn steps(&self, agent: &Agent, made_all: bool) -> Vec<Step> {
        if self.at != At::Drain {
            return vec![Step::Next];
        }
        let mut steps = Vec::new();
        if !made_all {
            steps.push(Step::Spool);
        }
        for (leaf, stage) in &agent.spool {
            match stage {
                Stage::Spooled => steps.push(Step::Seal(*leaf)),
                Stage::Sealed => steps.push(Step::Upload(*leaf)),
                Stage::Uploaded if self.log.contains(leaf) => steps.push(Step::Settle(*leaf)),
                Stage::Uploaded => {}
            }
        }
        if !self.stopped && !self.batch(&agent.spool).is_empty() {
            steps.push(Step::Append);
        }
        steps
    }
}

impl Pipeline {
    /// Does a step; `answered`: the agent learns of it.
    fn step(&self, state: &mut State, who: u8, step: Step, answered: bool) {
        let mut agent = std::mem::take(&mut state.agents[usize::from(who)]);
        self.step_of(state, &mut agent, who, step, answered);
        state.agents[usize::from(who)] = agent;
    }

    fn step_of(&self, state: &mut State, agent: &mut Agent, who: u8, step: Step, answered: bool) {
        let Some(process) = &mut agent.process else {
            // `open_log`.
            state.instances += 1;
            let at = At::Finish { anyones: true };
            let process = Process { instance: state.instances, log: state.checkpoint.clone(), at, stopped: false };
            agent.process = Some(process);
            return;
        };
        match step {
            Step::Start => {}
            Step::Spool => {
                agent.spool.insert((who, agent.made), Stage::Spooled);
                agent.made += 1;
            }
            Step::Seal(leaf) => {
                agent.spool.insert(leaf, Stage::Sealed);
            }
            Step::Upload(leaf) => {
                state.uploaded.insert(leaf);
                if answered {
                    agent.spool.insert(leaf, Stage::Uploaded);
                }
            }
            Step::Append => process.at = At::Finish { anyones: false },
            Step::Settle(leaf) => {
                agent.spool.remove(&leaf);
            }
            Step::Next => self.next(state, agent, answered),
        }
    }

    fn next(&self, state: &mut State, agent: &mut Agent, answered: bool) {
        let Some(process) = &mut agent.process else { return };
        let size = process.log.len();
        match process.at.clone() {
            At::Drain => {}
            At::Finish { anyones } => match state.decisions.get(&size) {
                Some(decision) if !anyones && decision.instance != process.instance => stop(process),
                Some(decision) => process.at = At::Check { leaves: decision.leaves.clone(), starting: anyones },
                None if anyones => process.at = At::Recover,
                None => process.at = At::Decide,
            },
            At::Decide => {
                let ours = Decision { instance: process.instance, leaves: process.batch(&agent.spool) };
                let found = state.decisions.get(&size).filter(|_| self.create_only).cloned();
                let is_ours = found.as_ref().is_none_or(|found| *found == ours);
                if found.is_none() {
                    state.decisions.insert(size, ours.clone());
                }
                if answered {
                    process.at = match is_ours {
                        true => At::Check { leaves: ours.leaves, starting: false },
                        false => At::Finish { anyones: false },
                    };
                }
            }
            At::Check { leaves, starting } => {
                let after: Vec<Leaf> = process.log.iter().chain(&leaves).copied().collect();
                match state.checkpoint == process.log || state.checkpoint == after {
                    true => process.at = At::Tiles { leaves, starting },
                    false => stop(process),
                }
            }
            At::Tiles { leaves, starting } => {
                let after: Vec<Leaf> = process.log.iter().chain(&leaves).copied().collect();
                let found = state.tiles.entry(after.len()).or_insert_with(|| after.clone());
                state.blocked |= *found != after;
                if answered {
                    process.at = At::ReplaceCheckpoint { leaves, starting, looked: false };
                }
            }
            At::ReplaceCheckpoint { leaves, starting, looked } => {
                let after: Vec<Leaf> = process.log.iter().chain(&leaves).copied().collect();
                let fits = state.checkpoint == process.log || state.checkpoint == after;
                if !self.compare_and_swap && !looked {
                    match fits {
                        true => process.at = At::ReplaceCheckpoint { leaves, starting, looked: true },
                        false => stop(process),
                    }
                    return;
                }
                if self.compare_and_swap && !fits {
                    return stop(process);
                }
                state.forked |= !after.starts_with(&state.checkpoint);
                state.checkpoint = after.clone();
                if answered {
                    process.log = after;
                    process.at = At::Tidy { starting };
                }
            }
            At::Tidy { starting } => {
                if self.removes {
                    state.decisions.retain(|at, _| *at >= size);
                }
                // After the one that was decided there may be another.
                process.at = if starting { At::Finish { anyones: true } } else { At::Drain };
            }
            At::Recover => {
                agent.spool.retain(|leaf, _| !process.log.contains(leaf));
                for leaf in &state.uploaded {
                    if !process.log.contains(leaf) {
                        agent.spool.insert(*leaf, Stage::Uploaded);
                    }
                }
                process.at = At::Drain;
            }
        }
    }

    fn go_through(self) -> impl Checker<Self> {
        self.checker().threads(2).spawn_bfs().join()
    }
}

fn stop(process: &mut Process) {
    process.stopped = true;
    process.at = At::Drain;
}

impl Model for Pipeline {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let agents = vec![Agent::default(); usize::from(self.agents)];
        vec![State {
            uploaded: BTreeSet::new(),
            decisions: BTreeMap::new(),
            tiles: BTreeMap::new(),
            checkpoint: Vec::new(),
            agents,
            instances: 0,
            crashes: self.crashes,
            lost_answers: self.lost_answers,
            forked: false,
            blocked: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (who, agent) in (0..).zip(&state.agents) {
            let Some(process) = &agent.process else {
                actions.push(Action::Does(who, Step::Start));
                continue;
            };
            for step in process.steps(agent, agent.made == self.each) {
                actions.push(Action::Does(who, step));
                let writes = matches!(step, Step::Upload(_))
                    || matches!(process.at, At::Decide | At::Tiles { .. } | At::ReplaceCheckpoint { .. });
                if writes && state.lost_answers > 0 {
                    actions.push(Action::LosesAnswer(who, step));
                }
            }
            if state.crashes > 0 {
                actions.push(Action::Crashes(who));
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Does(who, step) => self.step(&mut state, who, step, true),
            Action::LosesAnswer(who, step) => {
                state.lost_answers -= 1;
                self.step(&mut state, who, step, false);
            }
            Action::Crashes(who) => {
                state.crashes -= 1;
                state.agents[usize::from(who)].process = None;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no fork", |_, state: &State| !state.forked),
            Property::always("no doubled leaf", |_, state: &State| {
                state.checkpoint.iter().collect::<BTreeSet<_>>().len() == state.checkpoint.len()
            }),
            Property::always("no lost bundle", |_, state: &State| {
                let made = (0..).zip(&state.agents).flat_map(|(who, agent)| (0..agent.made).map(move |n| (who, n)));
                let mut made = made;
                made.all(|leaf| {
                    state.checkpoint.contains(&leaf) || state.agents.iter().any(|agent| agent.spool.contains_key(&leaf))
                })
            }),
            Property::always("nobody believes what is not published", |_, state: &State| {
                let mut processes = state.agents.iter().filter_map(|agent| agent.process.as_ref());
                processes.all(|process| state.checkpoint.starts_with(&process.log))
            }),
            Property::always("no tile of another tree in the log's place", |_, state: &State| {
                let mut tiles = state.tiles.iter().filter(|(size, _)| **size <= state.checkpoint.len());
                !state.blocked && tiles.all(|(_, leaves)| state.checkpoint.starts_with(leaves))
            }),
            Property::always("one agent alone never stops", |model: &Self, state: &State| {
                model.agents > 1 || !state.agents.iter().filter_map(|a| a.process.as_ref()).any(|p| p.stopped)
            }),
            Property::always("at rest nothing waits but with who stopped", |model: &Self, state: &State| {
                let mut actions = Vec::new();
                model.actions(state, &mut actions);
                let goes_on = |action: &Action| !matches!(action, Action::Crashes(_));
                let stopped = |agent: &Agent| agent.process.as_ref().is_some_and(|process| process.stopped);
                actions.iter().any(goes_on) || state.agents.iter().all(|agent| stopped(agent) || agent.spool.is_empty())
            }),
            Property::sometimes("everything is logged", |model: &Self, state: &State| {
                state.checkpoint.len() == usize::from(model.agents * model.each)
            }),
            Property::sometimes("a decision is finished by another process than made it", |_, state: &State| {
                let mut processes = state.agents.iter().filter_map(|agent| agent.process.as_ref());
                processes.any(|process| match &process.at {
                    At::ReplaceCheckpoint { starting: true, .. } => {
                        state.decisions.get(&process.log.len()).is_some_and(|d| d.instance != process.instance)
                    }
                    _ => false,
                })
            }),
        ]
    }
}

#[test]
fn two_agents_crashes_and_lost_answers_never_lose_double_or_fork_in_a_store_that_removes() {
    let checker = Pipeline::default().go_through();
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn two_agents_crashes_and_lost_answers_never_lose_double_or_fork_in_a_bucket() {
    let checker = Pipeline { removes: false, ..Pipeline::default() }.go_through();
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn one_agent_that_crashes_again_and_again_logs_everything_and_never_stops() {
    for removes in [true, false] {
        let model = Pipeline { agents: 1, each: 3, crashes: 4, lost_answers: 3, removes, ..Pipeline::default() };
        let checker = model.go_through();
        println!("{} states", checker.unique_state_count());
        checker.assert_properties();
    }
}

#[test]
fn without_what_the_start_proves_of_a_store_two_agents_fork_the_log_and_one_does_not() {
    for (create_only, compare_and_swap) in [(true, false), (false, false)] {
        let weak = Pipeline { create_only, compare_and_swap, crashes: 1, lost_answers: 0, ..Pipeline::default() };
        let checker = weak.clone().go_through();
        assert!(checker.discovery("no fork").is_some() || checker.discovery("no doubled leaf").is_some());
        // One agent is right with it: it is what the agent says at its start.
        let alone = Pipeline { agents: 1, each: 2, crashes: 3, lost_answers: 2, ..weak };
        alone.go_through().assert_properties();
    }
}

/// One entry's seal: tokens come while it waits, one by one, and it is made of those that are there, written, and uploaded.
#[derive(Clone)]
struct Sealing {
    tokens: u8,
    crashes: u8,
    lost_answers: u8,
    /// Whether the seal is written into the spool before it is uploaded, and taken from there again.
    frozen: bool,
}

type Tokens = BTreeSet<u8>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Sealed {
    /// On the disk: tokens beside the entry …
    kept: Tokens,
    /// … and the seal, as the tokens in it.
    seal: Option<Tokens>,
    /// In the archive, under its name.
    uploaded: Option<Tokens>,
    /// The process: a token that came while there was no seal …
    came: Option<u8>,
    /// … tokens that were read for the seal …
    read: Option<Tokens>,
    /// … and the seal that is being uploaded.
    sealed: Option<Tokens>,
    settled: bool,
    next: u8,
    crashes: u8,
    lost_answers: u8,
    /// The archive holds other bytes under the seal's name.
    alarm: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Toward {
    /// `Spool::keep_token` looks …
    Come,
    /// … and writes.
    Keep,
    /// `seal_entry`: takes the seal that is there, or reads the tokens …
    Read,
    /// … and writes the seal.
    Freeze,
    Upload,
    LosesAnswer,
    Crash,
}

impl Model for Sealing {
    type State = Sealed;
    type Action = Toward;

    fn init_states(&self) -> Vec<Sealed> {
        vec![Sealed { crashes: self.crashes, lost_answers: self.lost_answers, ..Sealed::default() }]
    }

    fn actions(&self, state: &Sealed, actions: &mut Vec<Toward>) {
        if state.settled {
            return;
        }
        match state.came {
            Some(_) => actions.push(Toward::Keep),
            None if state.next < self.tokens && state.seal.is_none() => actions.push(Toward::Come),
            None => {}
        }
        match (&state.sealed, &state.read) {
            (Some(_), _) => actions.push(Toward::Upload),
            (None, Some(_)) => actions.push(Toward::Freeze),
            (None, None) => actions.push(Toward::Read),
        }
        if state.sealed.is_some() && state.lost_answers > 0 {
            actions.push(Toward::LosesAnswer);
        }
        if state.crashes > 0 {
            actions.push(Toward::Crash);
        }
    }

    fn next_state(&self, before: &Sealed, action: Toward) -> Option<Sealed> {
        let mut state = before.clone();
        match action {
            Toward::Come => {
                state.came = Some(state.next);
                state.next += 1;
            }
            Toward::Keep => state.kept.extend(state.came.take()),
            Toward::Read => match &state.seal {
                Some(seal) => state.sealed = Some(seal.clone()),
                None => state.read = Some(state.kept.clone()),
            },
            Toward::Freeze => {
                state.sealed = state.read.take();
                if self.frozen {
                    state.seal.clone_from(&state.sealed);
                }
            }
            Toward::Upload | Toward::LosesAnswer => {
                let sealed = state.sealed.take()?;
                state.alarm |= *state.uploaded.get_or_insert_with(|| sealed.clone()) != sealed;
                if action == Toward::LosesAnswer {
                    state.lost_answers -= 1;
                } else {
                    state.settled = true;
                }
            }
            Toward::Crash => {
                state.crashes -= 1;
                (state.came, state.read, state.sealed) = (None, None, None);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never another seal under the same name", |_, state: &Sealed| !state.alarm),
            Property::sometimes("a seal with every token", |model: &Self, state: &Sealed| {
                state.settled && state.uploaded.as_ref().is_some_and(|tokens| tokens.len() == usize::from(model.tokens))
            }),
            Property::sometimes("a seal without any", |_, state: &Sealed| {
                state.settled && state.uploaded.as_ref().is_some_and(BTreeSet::is_empty)
            }),
        ]
    }
}

#[test]
fn tokens_come_into_a_seal_until_it_is_written_and_crashes_and_lost_answers_never_make_another() {
    let sealing = Sealing { tokens: 2, crashes: 3, lost_answers: 2, frozen: true };
    sealing.clone().checker().spawn_bfs().join().assert_properties();
    // The model would see a seal that is made anew at each try.
    let checker = Sealing { frozen: false, ..sealing }.checker().spawn_bfs().join();
    assert!(checker.discovery("never another seal under the same name").is_some());
}
