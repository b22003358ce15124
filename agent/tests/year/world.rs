//! The systems that the simulated agent reads: what is in them at each minute, and how they answer. All of it follows from the seed.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use collectors::{
    contract::{
        Answer, BoxFuture, CollectError, Collector, Context, Evidence, Population, Record, Records, Spec, WindowSpec,
    },
    recorder::Draft,
};
use serde_json::{Value, json};
use signing::time::{Utc, rfc3339};

use crate::scenario::{Act, DEADLINE, JobPlan, Minute, Reads, Scenario};

/// Whole minutes of waiting that a slow answer takes.
pub const SLOW: Minute = 55;
/// What is read again of events, and for how long they are kept, in minutes.
pub const OVERLAP: Minute = 6 * 60;
pub const KEPT: Minute = 3 * 24 * 60;

/// A thing of a state, at a minute.
#[derive(Debug, Clone, PartialEq)]
pub struct Thing {
    pub ok: bool,
    pub level: i64,
    pub active: bool,
    pub exempt: bool,
    pub admin: bool,
}

/// Something that happened. It is decided only some time after it began.
#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    pub id: String,
    pub at: Minute,
    pub decided: Minute,
    pub ok: bool,
}

/// One system.
#[derive(Debug, Clone, Default)]
pub struct System {
    /// What there is from a minute on, ascending.
    pub states: Vec<(Minute, BTreeMap<String, Thing>)>,
    /// `[from, to)`: there is nothing of the kind, and the system proves it.
    pub absent: Vec<(Minute, Minute)>,
    /// Ascending by time.
    pub happenings: Vec<Happening>,
}

impl System {
    pub fn things(&self, at: Minute) -> Option<&BTreeMap<String, Thing>> {
        if self.absent.iter().any(|(from, to)| *from <= at && at < *to) {
            return None;
        }
        let place = self.states.partition_point(|(from, _)| *from <= at);
        self.states.get(place.saturating_sub(1)).map(|(_, things)| things)
    }
}

/// A collector that reads one system of the scenario.
pub struct Reader {
    spec: Spec,
    job: usize,
    scenario: Arc<Scenario>,
    attempts: Arc<Mutex<HashMap<(usize, Minute), u32>>>,
}

impl Reader {
    pub fn new(scenario: &Arc<Scenario>, job: usize, plan: &JobPlan) -> Self {
        let minutes = |n: Minute| Duration::from_secs(n as u64 * 60);
        let spec = Spec {
            id: plan.collector.into(),
            version: 1,
            title: plan.collector.into(),
            source: "test".into(),
            schedule: "@hourly".into(),
            deadline: minutes(DEADLINE),
            needs: Vec::new(),
            kinds: vec![plan.reads.kind().into()],
            checks: plan.checks(),
            inputs: Vec::new(),
            window: (plan.reads == Reads::Events)
                .then(|| WindowSpec { overlap: minutes(OVERLAP), retained: minutes(KEPT) }),
        };
        Self { spec, job, scenario: scenario.clone(), attempts: Arc::default() }
    }

    /// What the system shows at a minute: all rows, and what is said instead where there is nothing.
    fn body(&self, at: Minute, window: Option<(Minute, Minute)>) -> Value {
        let system = &self.scenario.systems[self.job];
        let instant = |minute: Minute| rfc3339(self.scenario.instant(minute));
        match self.scenario.jobs[self.job].reads {
            Reads::State => match system.things(at) {
                None => json!({"absent": true}),
                Some(things) => {
                    let row = |(id, thing): (&String, &Thing)| {
                        json!({"id": id, "ok": thing.ok, "level": thing.level, "active": thing.active, "exempt": thing.exempt,
                            "admin": thing.admin})
                    };
                    json!({"rows": things.iter().map(row).collect::<Vec<_>>()})
                }
            },
            Reads::Events | Reads::Dated => {
                let (from, to) = window.unwrap_or((Minute::MIN, at));
                let seen = system.happenings.iter().filter(|h| from <= h.at && h.at < to && h.at <= at);
                let row = |h: &Happening| {
                    let ok = (h.decided <= at).then_some(h.ok);
                    json!({"id": h.id, "at": instant(h.at), "ok": ok})
                };
                json!({"rows": seen.map(row).collect::<Vec<_>>()})
            }
        }
    }

    fn keep(&self, context: &mut Context<'_>, now: Utc, answer: Answer, body: Option<Value>) -> io::Result<()> {
        let draft = Draft { answer, ended_at: now, ..Draft::new("list", json!({"what": "all"}), "reader", now) };
        let body = body.map(|body| body.to_string());
        context.recorder.record(draft, "json", body.as_deref().map(str::as_bytes)).map(drop)
    }
}

impl Collector for Reader {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn collect<'a>(&'a self, context: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(async move {
            let minute = self.scenario.minute((context.now)());
            let attempt = {
                let mut attempts = self.attempts.lock().expect("no holder panics");
                let count = attempts.entry((self.job, minute)).or_default();
                *count += 1;
                *count
            };
            let act = self.scenario.act(self.job, minute);
            if act == Act::Slow {
                tokio::time::sleep(Duration::from_secs(SLOW as u64 * 60)).await;
            }
            let now = (context.now)();
            let window = context.window.map(|w| (self.scenario.minute_up(w.from), self.scenario.minute_up(w.to)));
            let mut body = self.body(self.scenario.minute(now), window);
            match act {
                Act::Good | Act::Slow => body["end"] = json!(true),
                Act::ErrorThenGood if attempt > 1 => body["end"] = json!(true),
                Act::Error | Act::ErrorThenGood => return Err(CollectError::Source("the system is away".into())),
                Act::Denied => return Ok(self.keep(context, now, Answer::Denied, None)?),
                Act::Half | Act::HangHalf => {
                    if let Some(rows) = body["rows"].as_array_mut() {
                        rows.truncate(rows.len() / 2);
                    }
                }
                Act::Hang => std::future::pending().await,
            }
            self.keep(context, now, Answer::Ok, Some(body))?;
            if act == Act::HangHalf {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }

    fn derive(&self, evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
        let kind = &self.spec.kinds[0];
        let mut population = Population::Unread("the list could not be read".into());
        for exchange in evidence.exchanges() {
            let exchange = exchange?;
            if exchange.operation != "list" || exchange.body.is_none() {
                continue;
            }
            let body: Value = serde_json::from_slice(&evidence.body(&exchange)?)?;
            if body["absent"] == true {
                population = Population::Absent("the system has none of them".into());
                continue;
            }
            for row in body["rows"].as_array().into_iter().flatten() {
                let mut fields = row.as_object().cloned().unwrap_or_default();
                let id = fields.remove("id").and_then(|id| id.as_str().map(str::to_owned)).unwrap_or_default();
                out.record(kind, Record { id, as_of: None, exchange: exchange.number, fields })?;
            }
            population = match body["end"] == true {
                true => Population::Whole,
                false => Population::Cut("the end of the list was not seen".into()),
            };
        }
        out.population(kind, population);
        Ok(())
    }
}
