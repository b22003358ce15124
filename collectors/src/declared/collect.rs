//! Asks what a definition says, cell by cell and page by page, and keeps every answer as it comes. Nothing is judged here; and nothing of an
//! answer is kept in memory beyond its page.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    pin::Pin,
    sync::Arc,
};

use chrono::SecondsFormat;
use futures_util::{Stream, StreamExt, stream};
use jq::{Filter, val};
use serde_json::{Map, Value, json};

use super::{
    compiled::{Asking, Compiled, Each},
    system::{Ask, Asked, Cell, Dialect, Session, System},
};
use crate::{
    contract::{Answer, CollectError, Context, Evidence as _, Exchange, Now, Tried, Window},
    recorder::{Draft, WorkEvidence},
};

/// What shows the end of an answer that has no pages.
const ONE_ANSWER: &str = "one answer";

/// Asks everything. What was refused is kept as an answer, and the rest goes on.
pub(super) async fn collect(
    compiled: &Compiled,
    system: &dyn System,
    context: &mut Context<'_>,
) -> Result<(), CollectError> {
    let (scope, session) = system.begin(context, &compiled.cells).await?;
    let run = Run {
        session,
        window: context.window,
        now: context.now.clone(),
        kept: context.recorder.evidence(),
        dialect: system,
    };
    let mut parents: HashMap<usize, Vec<Page>> = HashMap::new();
    let mut usable: HashSet<(usize, Cell)> = HashSet::new();
    for (number, asking) in compiled.requests.iter().enumerate() {
        let expected = scope.cells.get(&asking.cells).map(Vec::as_slice).unwrap_or_default();
        let open = |cell: &Cell| {
            asking.requires.is_none_or(|needed| usable.iter().any(|(of, at)| *of == needed && cell.is_within(at)))
        };
        let cells: Vec<Cell> = expected
            .iter()
            .filter(|expected| expected.unread.is_none() && open(&expected.cell))
            .map(|expected| expected.cell.clone())
            .collect();
        let chains: Box<dyn Iterator<Item = Chain> + Send> = match &asking.for_each {
            None => Box::new(cells.into_iter().map(|cell| run.chain(asking, cell, Map::new(), None, Vec::new()))),
            Some(each) => {
                let pages = parents.get(&each.parent).cloned().unwrap_or_default();
                let pages = pages.into_iter().filter(|page| cells.contains(&page.cell)).collect();
                let parent = &compiled.requests[each.parent];
                let (asked, ready) = (HashSet::new(), VecDeque::new());
                Box::new(FanOut { run: &run, asking, each, parent, pages, asked, ready, batch: None })
            }
        };
        let parallel = run.session.parallel().max(1);
        let mut answers = stream::iter(chains.map(Chain::answers)).flatten_unordered(parallel);
        while let Some((cell, asked)) = answers.next().await {
            if let (Some(filter), Some(decoded)) = (&asking.usable, &asked.decoded)
                && truth(filter, &[], decoded)
            {
                usable.insert((number, cell.clone()));
            } else if asking.usable.is_none() && asked.draft.answer == Answer::Ok {
                usable.insert((number, cell.clone()));
            }
            let exchange = context.recorder.record(asked.draft, asked.extension, asked.body.as_deref())?;
            if asking.is_parent && exchange.answer == Answer::Ok {
                let item = exchange.request.get("item").and_then(Value::as_str).map(str::to_owned);
                parents.entry(number).or_default().push(Page { cell, item, exchange: bare(exchange) });
            }
        }
    }
    Ok(())
}

/// The answers of a chain.
type Answers = Pin<Box<dyn Stream<Item = (Cell, Asked)> + Send>>;

/// What all chains of a run share.
struct Run<'a> {
    session: Arc<dyn Session>,
    window: Option<Window>,
    now: Now,
    kept: WorkEvidence,
    dialect: &'a dyn Dialect,
}

impl<'a> Run<'a> {
    fn chain(
        &self,
        asking: &'a Arc<Asking>,
        cell: Cell,
        mut values: Map<String, Value>,
        item: Option<String>,
        items: Vec<String>,
    ) -> Chain {
        values.insert("cell".into(), json!(cell));
        if let Some(window) = self.window {
            let text = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
            let (from, to) = (window.from, window.to);
            let window = json!({
                "from": text(from), "to": text(to), "from_epoch": from.timestamp(), "to_epoch": to.timestamp(),
            });
            values.insert("window".into(), window);
        }
        let region = asking.region.as_ref().and_then(|region| region.fill(&values).ok());
        let (parameters, refused) = match asking.parameters.fill(&values) {
            Ok(Value::Object(parameters)) => (parameters, None),
            Ok(_) => (Map::new(), Some("the parameters are no object".to_owned())),
            Err(why) => (Map::new(), Some(why)),
        };
        let ask = Ask {
            request: asking.name.clone(),
            call: asking.call.clone(),
            cell,
            region: region.and_then(|region| region.as_str().map(str::to_owned)),
            parameters,
            item,
            items,
            page: 1,
            window: self.window,
        };
        Chain {
            session: self.session.clone(),
            now: self.now.clone(),
            asking: asking.clone(),
            ask: Some(ask),
            refused,
            seen: HashSet::new(),
        }
    }
}

/// The pages of one question in one cell, for one row.
struct Chain {
    session: Arc<dyn Session>,
    now: Now,
    asking: Arc<Asking>,
    /// The next question; `None` after the last.
    ask: Option<Ask>,
    /// Why the question could not be put.
    refused: Option<String>,
    /// Tokens that were given.
    seen: HashSet<u64>,
}

impl Chain {
    fn answers(self) -> Answers {
        Box::pin(stream::unfold(self, |mut chain| async move { Some((chain.next().await?, chain)) }))
    }

    async fn next(&mut self) -> Option<(Cell, Asked)> {
        let ask = self.ask.take()?;
        let cell = ask.cell.clone();
        if let Some(why) = self.refused.take() {
            let at = (self.now)();
            let draft = Draft { detail: format!("not asked: {why}"), ..Draft::new(&ask.call, ask.describe(), "", at) };
            return Some((cell, Asked { draft, extension: "json", body: None, decoded: None }));
        }
        let mut asked = self.ask_until_ready(&ask).await;
        if let Some(decoded) = &asked.decoded
            && asked.draft.answer == Answer::Ok
            && let Err(why) = super::rows_of(&self.asking, ask.item.as_deref(), decoded)
        {
            asked.draft.answer = Answer::Failed;
            asked.draft.detail = format!("{}; {why}", asked.draft.detail);
        }
        if self.asking.pages.is_some() {
            asked.draft.page = Some(ask.page);
        }
        asked.draft.end = match &asked.decoded {
            Some(decoded) if asked.draft.answer == Answer::Ok => match self.go_on(decoded) {
                Ok(Next::End(shown)) => Some(shown),
                Ok(Next::Token(into, token)) => {
                    let mut next = ask;
                    next.parameters.insert(into, token);
                    next.page += 1;
                    self.ask = Some(next);
                    None
                }
                Err(why) => {
                    asked.draft.detail = format!("{}; {why}", asked.draft.detail);
                    None
                }
            },
            _ => {
                let code = asked.draft.code.as_deref();
                let absent = code.and_then(|code| self.asking.proves_absence(code, &asked.draft.detail));
                absent.map(|absent| format!("{absent}: there is none"))
            }
        };
        Some((cell, asked))
    }

    async fn ask_until_ready(&self, ask: &Ask) -> Asked {
        let mut tried: Vec<Tried> = Vec::new();
        let mut left = self.asking.poll.as_ref().map_or(1, |(poll, _)| poll.times.max(1));
        loop {
            let mut asked = self.session.ask(ask.clone()).await;
            left -= 1;
            let ready = match (&self.asking.poll, &asked.decoded) {
                (Some((_, until)), Some(decoded)) if asked.draft.answer == Answer::Ok => truth(until, &[], decoded),
                _ => true,
            };
            if !ready && left > 0 {
                tried.append(&mut asked.draft.tried);
                tried.push(Tried {
                    ended_at: asked.draft.ended_at,
                    status: asked.draft.status,
                    detail: "not ready yet".into(),
                    request_id: asked.draft.request_id.take(),
                });
                if let Some((poll, _)) = &self.asking.poll {
                    tokio::time::sleep(poll.every).await;
                }
                continue;
            }
            if !ready {
                asked.draft.answer = Answer::TimedOut;
                asked.draft.detail = format!("{}; not ready after {} questions", asked.draft.detail, tried.len() + 1);
                asked.decoded = None;
            }
            tried.append(&mut asked.draft.tried);
            asked.draft.tried = tried;
            return asked;
        }
    }

    /// How the list goes on after an answer.
    fn go_on(&mut self, decoded: &Value) -> Result<Next, String> {
        let Some(pages) = &self.asking.pages else { return Ok(Next::End(ONE_ANSWER.into())) };
        let token = member(decoded, &pages.token).filter(|token| token.as_str() != Some(""));
        let more = pages.more.as_ref().map(|more| match member(decoded, more) {
            Some(Value::Bool(more)) => *more,
            Some(Value::String(text)) => text == "true",
            _ => false,
        });
        match (token, more) {
            (None, Some(true)) => {
                let more = pages.more.as_deref().unwrap_or_default();
                Err(format!("{more} is true, but there is no {}: the rest cannot be asked for", pages.token))
            }
            (None, None) => Ok(Next::End(format!("no {}", pages.token))),
            (_, Some(false)) => Ok(Next::End(format!("{} is false", pages.more.as_deref().unwrap_or_default()))),
            (Some(token), _) => {
                let mut hasher = DefaultHasher::new();
                token.to_string().hash(&mut hasher);
                if !self.seen.insert(hasher.finish()) {
                    return Err(format!("{} is one that was given before: the list goes in circles", pages.token));
                }
                Ok(Next::Token(pages.into.clone(), token.clone()))
            }
        }
    }
}

enum Next {
    End(String),
    Token(String, Value),
}

/// Chains for the rows of another request, read back page by page.
struct FanOut<'a, 'r> {
    run: &'r Run<'a>,
    asking: &'a Arc<Asking>,
    each: &'a Each,
    parent: &'a Asking,
    pages: VecDeque<Page>,
    /// The keys that were asked for already, as hashes with their cells: rows of one key have one answer.
    asked: HashSet<u64>,
    ready: VecDeque<Chain>,
    batch: Option<Batch>,
}

/// An answer whose rows are asked for one by one.
#[derive(Clone)]
struct Page {
    cell: Cell,
    /// What it was asked for itself.
    item: Option<String>,
    exchange: Exchange,
}

/// Keys to be asked for in one request.
struct Batch {
    cell: Cell,
    /// The item whose rows they are, in a fan-out of a fan-out.
    of: Option<String>,
    keys: Vec<String>,
}

impl<'a> Iterator for FanOut<'a, '_> {
    type Item = Chain;

    fn next(&mut self) -> Option<Chain> {
        loop {
            if let Some(chain) = self.ready.pop_front() {
                return Some(chain);
            }
            let Some(page) = self.pages.pop_front() else {
                let batch = self.batch.take()?;
                return Some(self.of_batch(batch));
            };
            self.page(&page);
        }
    }
}

impl<'a> FanOut<'a, '_> {
    fn of_batch(&self, batch: Batch) -> Chain {
        let mut values = Map::from_iter([(self.each.name.clone(), json!({"keys": batch.keys}))]);
        if let (Some(name), Some(of)) = (self.parent.item_name(), batch.of) {
            values.insert(name.to_owned(), of.into());
        }
        self.run.chain(self.asking, batch.cell, values, None, batch.keys)
    }

    /// What cannot be read here makes no chain; whoever derives finds that and says so.
    fn page(&mut self, page: &Page) {
        let Page { cell, item, exchange } = page;
        let Ok(body) = self.run.kept.body(exchange) else { return };
        let Ok(decoded) = self.run.dialect.decode(&self.parent.call, &body) else { return };
        let Ok(rows) = super::rows_of(self.parent, item.as_deref(), &decoded) else { return };
        let at = val(&json!(cell));
        for row in rows {
            let Ok(Some(key)) = self.each.key_of(&at, item.as_deref(), row.clone()) else { continue };
            let mut hasher = DefaultHasher::new();
            (cell, &key).hash(&mut hasher);
            if !self.asked.insert(hasher.finish()) {
                continue;
            }
            match self.each.batch {
                None => {
                    let mut values = Map::from_iter([(self.each.name.clone(), jq::json(&row))]);
                    if let (Some(name), Some(of)) = (self.parent.item_name(), item) {
                        values.insert(name.to_owned(), of.clone().into());
                    }
                    self.ready.push_back(self.run.chain(self.asking, cell.clone(), values, Some(key), Vec::new()));
                }
                Some(size) => {
                    let fits = |batch: &Batch| batch.cell == *cell && batch.of == *item && batch.keys.len() < size;
                    if let Some(full) = self.batch.take_if(|batch| !fits(batch)) {
                        self.ready.push_back(self.of_batch(full));
                    }
                    let new = || Batch { cell: cell.clone(), of: item.clone(), keys: Vec::new() };
                    self.batch.get_or_insert_with(new).keys.push(key);
                }
            }
        }
    }
}

/// What is needed to read the body again.
fn bare(exchange: Exchange) -> Exchange {
    Exchange { request: Value::Null, detail: String::new(), tried: Vec::new(), caller: String::new(), ..exchange }
}

/// A member by its name, or by names with dots between them.
fn member<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, name| value.get(name)).filter(|value| !value.is_null())
}

/// Whether the expression gives true; anything else, and an error, is not.
pub(super) fn truth(filter: &Filter, variables: &[jq::Val], value: &Value) -> bool {
    matches!(filter.one(variables, val(value)), Ok(jq::Val::Bool(true)))
}
