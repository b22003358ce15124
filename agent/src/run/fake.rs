//! A collector for tests: it does what its script says, one act an attempt, then the last one again and again.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use collectors::{
    contract::{
        Answer, BoxFuture, CollectError, Collector, Context, Evidence, Input, Population, Record, Records, Source,
        Spec, WindowSpec,
    },
    recorder::Draft,
};
use serde_json::{Map, json};

/// What an attempt does.
#[derive(Debug, Clone)]
pub enum Act {
    /// Reads all.
    Good,
    /// Reads all, after so long.
    Slow(Duration),
    /// Reads a row, and says that there is more.
    Half,
    /// Reads a row, then gives up.
    HalfThenError,
    /// Gives up with nothing read.
    Error,
    /// Is refused, and says so.
    Denied,
    /// Panics with nothing read.
    Panic,
    /// Reads a row, then never goes on.
    Hang,
    /// Never goes on, with nothing read.
    HangEmpty,
    /// Reads a row, blocks its thread until released, then writes on.
    Block,
    /// Reads what makes deriving panic.
    Poison,
    /// Reads that there is nothing.
    Absent,
}

pub struct Fake {
    spec: Spec,
    script: Mutex<VecDeque<Act>>,
    pub runs: AtomicU32,
    gate: (Mutex<bool>, Condvar),
}

const CHECKS: &str = "[{id: is-ok, item: mfa_user_enrolled, population: thing, pass: .ok, says: '{id} is not ok'}]";

impl Fake {
    pub fn new(id: &str, schedule: &str, script: impl IntoIterator<Item = Act>) -> Arc<Self> {
        Self::with_inputs(id, schedule, script, Vec::new())
    }

    pub fn with_inputs(
        id: &str,
        schedule: &str,
        script: impl IntoIterator<Item = Act>,
        inputs: Vec<Input>,
    ) -> Arc<Self> {
        Arc::new(Self {
            spec: Spec {
                id: id.into(),
                version: 1,
                title: id.into(),
                source: "test".into(),
                schedule: schedule.into(),
                deadline: Duration::from_secs(60),
                needs: Vec::new(),
                kinds: vec!["thing".into()],
                checks: CHECKS.into(),
                inputs,
                window: None,
            },
            script: Mutex::new(script.into_iter().collect()),
            runs: AtomicU32::new(0),
            gate: (Mutex::new(false), Condvar::new()),
        })
    }

    /// The same with another deadline.
    pub fn with_deadline(self: Arc<Self>, deadline: Duration) -> Arc<Self> {
        let spec = Spec { deadline, ..self.spec.clone() };
        let script = Mutex::new(self.script.lock().unwrap().clone());
        Arc::new(Self { spec, script, runs: AtomicU32::new(0), gate: (Mutex::new(false), Condvar::new()) })
    }

    /// The same that reads events.
    pub fn with_window(self: Arc<Self>, window: WindowSpec) -> Arc<Self> {
        let spec = Spec { window: Some(window), ..self.spec.clone() };
        let script = Mutex::new(self.script.lock().unwrap().clone());
        Arc::new(Self { spec, script, runs: AtomicU32::new(0), gate: (Mutex::new(false), Condvar::new()) })
    }

    /// Lets blocked attempts go on.
    pub fn release(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }

    fn act(&self) -> Act {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let mut script = self.script.lock().unwrap();
        if script.len() > 1 { script.pop_front().unwrap() } else { script[0].clone() }
    }
}

/// A source of such collectors.
pub fn source(name: &str, collectors: &[Arc<Fake>]) -> Source {
    Source {
        name: name.into(),
        kind: "test".into(),
        identity: json!({"name": name}),
        collectors: collectors.iter().map(|fake| fake.clone() as Arc<dyn Collector>).collect(),
        not_run: None,
    }
}

fn read(context: &mut Context<'_>, what: &str, answer: Answer) -> Result<(), CollectError> {
    let now = (context.now)();
    let draft = Draft { answer, ended_at: now, ..Draft::new("read-file", json!({"path": what}), "uid 0 (root)", now) };
    let body = (answer == Answer::Ok).then_some(what.as_bytes());
    context.recorder.record(draft, "txt", body)?;
    Ok(())
}

impl Collector for Fake {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn collect<'a>(&'a self, context: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(async move {
            for input in context.inputs.clone() {
                let what = if input.found.is_ok() { "row" } else { "more" };
                read(context, what, Answer::Ok)?;
            }
            match self.act() {
                Act::Good => {
                    read(context, "row", Answer::Ok)?;
                    read(context, "end", Answer::Ok)
                }
                Act::Slow(by) => {
                    tokio::time::sleep(by).await;
                    read(context, "row", Answer::Ok)?;
                    read(context, "end", Answer::Ok)
                }
                Act::Half => {
                    read(context, "row", Answer::Ok)?;
                    read(context, "more", Answer::Ok)
                }
                Act::HalfThenError => {
                    read(context, "row", Answer::Ok)?;
                    Err(CollectError::Source("the source went away".into()))
                }
                Act::Error => Err(CollectError::Source("the source is away".into())),
                Act::Denied => read(context, "row", Answer::Denied),
                Act::Panic => panic!("a bug in the collector"),
                Act::Hang => {
                    read(context, "row", Answer::Ok)?;
                    std::future::pending().await
                }
                Act::HangEmpty => std::future::pending().await,
                Act::Block => {
                    read(context, "row", Answer::Ok)?;
                    drop(self.gate.1.wait_while(self.gate.0.lock().unwrap(), |open| !*open).unwrap());
                    read(context, "row-too-late", Answer::Ok)
                }
                Act::Poison => read(context, "poison", Answer::Ok),
                Act::Absent => read(context, "absent", Answer::Ok),
            }
        })
    }

    fn derive(&self, evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
        let mut rows = 0;
        let mut population = None;
        for exchange in evidence.exchanges() {
            let exchange = exchange?;
            let body = String::from_utf8(evidence.body(&exchange)?).unwrap();
            match body.as_str() {
                "poison" => panic!("a bug in deriving"),
                "absent" => population = Some(Population::Absent("there is no thing".into())),
                "end" => population = Some(Population::Whole),
                "" | "more" => {}
                row => {
                    rows += 1;
                    let fields: Map<_, _> = [("ok".to_owned(), json!(row == "row"))].into_iter().collect();
                    out.record(
                        "thing",
                        Record { id: format!("thing-{rows}"), as_of: None, exchange: exchange.number, fields },
                    )?;
                }
            }
        }
        let cut = || match rows {
            0 => Population::Unread("no thing could be read".into()),
            _ => Population::Cut("its end was not seen".into()),
        };
        out.population("thing", population.unwrap_or_else(cut));
        Ok(())
    }
}
