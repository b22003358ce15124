//! A system in memory, for definitions: scripted answers in the wire format, read by the true dialect.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    contract::{Answer, BoxFuture, Context},
    declared::system::{Ask, Asked, Begun, Cell, Dialect, SCOPE, Scope, Session, System},
    recorder::Draft,
};

/// An answer to give, and to which questions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scripted {
    /// `s3.ListBuckets`.
    pub call: String,
    /// Only in this cell, or in those that lie in it; none: in every one.
    #[serde(default)]
    pub cell: Option<Cell>,
    /// Only for this item.
    #[serde(default)]
    pub item: Option<String>,
    /// Only for this page.
    #[serde(default)]
    pub page: Option<u64>,
    /// The HTTP status; none: 200.
    #[serde(default)]
    pub status: Option<u16>,
    /// The error's code.
    #[serde(default)]
    pub code: Option<String>,
    /// The error's message.
    #[serde(default)]
    pub message: Option<String>,
    /// As sent; or a value, sent as JSON.
    #[serde(default)]
    pub body: Value,
}

/// What goes wrong with every answer to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Refused for want of a permission.
    Denied,
    /// Refused until the attempts were used up.
    Throttled,
    /// The credentials expired.
    Expired,
    /// Half of the body came.
    Truncated,
    /// The same token again and again.
    Circle,
    /// A body that says nothing.
    Empty,
    /// No answer in time.
    Silence,
}

/// How an error is judged by the dialect: by status and code.
pub type Judge = fn(u16, &str) -> Answer;

/// A system that gives scripted answers.
pub struct Scripts<D> {
    dialect: D,
    judge: Judge,
    scope: Scope,
    shared: Arc<Shared>,
}

struct Shared {
    answers: Vec<Scripted>,
    at: DateTime<Utc>,
    fault: Option<(String, Fault)>,
    /// By call, what its answers must have to go on for ever, for [`Fault::Circle`].
    circles: Vec<(String, Map<String, Value>)>,
    asked: Mutex<Vec<Ask>>,
}

impl<D: Dialect> Scripts<D> {
    /// A system whose answers are these; the first that matches is given.
    pub fn new(dialect: D, judge: Judge, scope: Scope, answers: Vec<Scripted>, at: DateTime<Utc>) -> Self {
        let shared = Shared { answers, at, fault: None, circles: Vec::new(), asked: Mutex::default() };
        Self { dialect, judge, scope, shared: Arc::new(shared) }
    }

    /// The same with a fault. `circles` are the calls that have pages, each with the members that say that there is more.
    pub fn faulty(self, call: &str, fault: Fault, circles: Vec<(String, Map<String, Value>)>) -> Self {
        let shared = Shared {
            answers: self.shared.answers.clone(),
            at: self.shared.at,
            fault: Some((call.to_owned(), fault)),
            circles,
            asked: Mutex::default(),
        };
        Self { shared: Arc::new(shared), ..self }
    }

    /// What was asked.
    pub fn asked(&self) -> Vec<Ask> {
        self.shared.asked().clone()
    }
}

impl Shared {
    fn asked(&self) -> MutexGuard<'_, Vec<Ask>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Dialect> Dialect for Scripts<D> {
    fn check(&self, call: &str) -> Result<(), String> {
        self.dialect.check(call)
    }

    fn actions(&self, call: &str) -> Vec<String> {
        self.dialect.actions(call)
    }

    fn decode(&self, call: &str, body: &[u8]) -> Result<Value, String> {
        self.dialect.decode(call, body)
    }

    fn cells(&self) -> &'static [&'static str] {
        self.dialect.cells()
    }
}

impl<D: Dialect + Clone> System for Scripts<D> {
    fn begin<'a>(&'a self, context: &'a mut Context<'_>, _: &'a BTreeSet<String>) -> BoxFuture<'a, Begun> {
        Box::pin(async move {
            let at = self.shared.at;
            let draft =
                Draft { answer: Answer::Ok, end: Some("known".into()), ..Draft::new(SCOPE, json!({}), "test", at) };
            let body = serde_json::to_vec_pretty(&self.scope).map_err(std::io::Error::from)?;
            context.recorder.record(draft, "json", Some(&body))?;
            let session = Script { dialect: self.dialect.clone(), judge: self.judge, shared: self.shared.clone() };
            Ok((self.scope.clone(), Arc::new(session) as Arc<dyn Session>))
        })
    }
}

struct Script<D> {
    dialect: D,
    judge: Judge,
    shared: Arc<Shared>,
}

impl<D: Dialect> Session for Script<D> {
    fn ask(&self, ask: Ask) -> BoxFuture<'static, Asked> {
        let asked = self.answer(&ask);
        self.shared.asked().push(ask);
        Box::pin(std::future::ready(asked))
    }

    fn parallel(&self) -> usize {
        4
    }
}

impl<D: Dialect> Script<D> {
    fn answer(&self, ask: &Ask) -> Asked {
        let mut draft = Draft::new(
            &ask.call,
            ask.describe(),
            "arn:aws:sts::111122223333:assumed-role/test/evidenced",
            self.shared.at,
        );
        let fits = |answer: &&Scripted| {
            answer.call == ask.call
                && answer.cell.as_ref().is_none_or(|cell| ask.cell.is_within(cell))
                && answer.item.is_none_or_same(&ask.item)
                && answer.page.is_none_or(|page| page == ask.page)
        };
        let mut refuse = |status: u16, code: &str, message: &str, body: Option<Vec<u8>>| {
            draft.answer = if status == 0 { Answer::TimedOut } else { (self.judge)(status, code) };
            draft.status = (status > 0).then_some(status);
            draft.code = Some(code.to_owned());
            draft.detail = format!("{code}: {message}");
            Asked { draft: draft.clone(), extension: "txt", body, decoded: None }
        };
        let fault = self.shared.fault.as_ref().filter(|(call, _)| *call == ask.call).map(|(_, fault)| *fault);
        match fault {
            Some(Fault::Denied) => return refuse(403, "AccessDeniedException", "not authorised", None),
            Some(Fault::Throttled) => return refuse(400, "ThrottlingException", "Rate exceeded", None),
            Some(Fault::Expired) => return refuse(403, "ExpiredTokenException", "the token has expired", None),
            Some(Fault::Silence) => return refuse(0, "Timeout", "no answer within 30 s", None),
            Some(Fault::Truncated | Fault::Circle | Fault::Empty) | None => {}
        }
        let Some(answer) = self.shared.answers.iter().find(fits) else {
            return refuse(
                599,
                "NotScripted",
                &format!("the test has no answer to {:?}", ask.describe().to_string()),
                None,
            );
        };
        let mut body = match &answer.body {
            Value::String(text) => text.clone().into_bytes(),
            Value::Null => Vec::new(),
            other => other.to_string().into_bytes(),
        };
        if let Some(code) = &answer.code {
            return refuse(
                answer.status.unwrap_or(400),
                code,
                answer.message.as_deref().unwrap_or_default(),
                Some(body),
            );
        }
        match fault {
            Some(Fault::Truncated) => body.truncate(body.len() / 2),
            Some(Fault::Empty) => body = b"{}".to_vec(),
            _ => {}
        }
        draft.status = Some(answer.status.unwrap_or(200));
        draft.detail = "200 OK".into();
        let mut decoded = match self.dialect.decode(&ask.call, &body) {
            Ok(decoded) => {
                draft.answer = Answer::Ok;
                Some(decoded)
            }
            Err(why) => {
                draft.answer = Answer::Failed;
                draft.detail = format!("200 OK; the answer cannot be read: {why}");
                None
            }
        };
        if fault == Some(Fault::Circle)
            && let Some(Value::Object(members)) = &mut decoded
        {
            for (_, more) in self.shared.circles.iter().filter(|(call, _)| *call == ask.call) {
                members.extend(more.clone());
            }
        }
        Asked { draft, extension: "txt", body: Some(body), decoded }
    }
}

trait NoneOrSame {
    fn is_none_or_same(&self, other: &Self) -> bool;
}

impl NoneOrSame for Option<String> {
    fn is_none_or_same(&self, other: &Self) -> bool {
        self.is_none() || self == other
    }
}
