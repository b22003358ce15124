//! A run's connection to AWS: where and as whom a request is made, and its answer as evidence, without the secrets that were in it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_smithy_runtime::client::retries::RetryPartition;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::{
    client::{self, Attempt, Limits, Outcome, Sending, Sent},
    config::{AwsConfig, is_region},
    credentials::{self, Issuer, Who},
    decode::decode,
    encode::{HttpAsk, encode},
    endpoint::endpoint,
    errors, only_reads,
    operations::{Operation, actions, operation},
    redact::redact,
};
use crate::{
    contract::{Answer, BoxFuture, Now, Tried},
    declared::system::{Ask, Asked, Cell, Session},
    recorder::Draft,
};

/// AWS refuses requests whose time is farther than this from its own.
pub const MOST_SKEW: TimeDelta = TimeDelta::minutes(5);

/// An error's body is kept up to this.
const ERROR_BYTES: usize = 64 << 10;

/// The coordinate of the organisation's cell, which the discovery role reads.
pub(super) const ORGANIZATION: &str = "organization";

/// How often may be asked, for all runs of a source: by account, region and service.
#[derive(Default)]
pub(super) struct Budgets(Mutex<HashMap<String, RetryPartition>>);

impl Budgets {
    fn of(&self, name: String) -> RetryPartition {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(name.clone()).or_insert_with(|| client::budget(name)).clone()
    }
}

/// What a run asks with.
pub(super) struct Connection {
    pub config: Arc<AwsConfig>,
    pub limits: Limits,
    pub now: Now,
    pub http: SharedHttpClient,
    /// Where everything is asked that `endpoints` does not name.
    pub endpoint: Option<String>,
    pub issuer: Issuer,
    pub budgets: Arc<Budgets>,
    /// The ARNs by which GetCallerIdentity named the callers.
    pub callers: Mutex<HashMap<Who, String>>,
    /// By how much this clock was ahead of AWS's at the newest answer.
    pub clock: Mutex<Option<TimeDelta>>,
}

/// The connection, or why there is none, as the engine uses it.
pub(super) struct AwsSession {
    pub connected: Result<Arc<Connection>, String>,
    pub now: Now,
}

impl Session for AwsSession {
    fn ask(&self, ask: Ask) -> BoxFuture<'static, Asked> {
        let (connected, at) = (self.connected.clone(), (self.now)());
        Box::pin(async move {
            match connected {
                Ok(connection) => connection.ask(&who(&ask.cell), &ask).await,
                Err(why) => not_asked(Draft::new(&ask.call, ask.describe(), "", at), &why),
            }
        })
    }

    fn parallel(&self) -> usize {
        self.connected.as_ref().map_or(1, |connection| usize::from(connection.config.parallel))
    }
}

/// Who reads a cell.
fn who(cell: &Cell) -> Who {
    match (cell.get(ORGANIZATION), cell.get("account")) {
        (Some(_), _) => Who::Discovery,
        (None, Some(account)) => Who::Account(account.to_owned()),
        (None, None) => Who::Itself,
    }
}

/// Where a request goes.
struct Place {
    url: String,
    signing_region: String,
    http: HttpAsk,
}

impl Connection {
    /// Asks as somebody; credentials that expired are renewed once, and a bucket that lies elsewhere is asked there.
    pub(super) async fn ask(&self, who: &Who, ask: &Ask) -> Asked {
        let mut draft = Draft::new(&ask.call, ask.describe(), &self.caller(who), (self.now)());
        let Some(operation) = operation(&ask.call).filter(|_| only_reads(&ask.call)) else {
            return not_asked(draft, "no call that only reads has this name");
        };
        let http = match encode(operation, &ask.parameters) {
            Ok(http) => http,
            Err(why) => return not_asked(draft, &why),
        };
        let of_cell = ask.cell.get("region").unwrap_or(&self.config.home_region);
        let mut region = ask.region.as_deref().unwrap_or(of_cell).to_owned();
        let actions = actions(&ask.call);
        let (mut renewed, mut moved) = (false, false);
        loop {
            let credentials = match self.issuer.get(who, &actions).await {
                Ok(credentials) => credentials,
                Err(none) => {
                    draft.answer = none.code.as_deref().map_or(Answer::Failed, |code| errors::answer(403, code));
                    draft.code = none.code.clone();
                    return not_asked(draft, &none.text);
                }
            };
            let place = self.place(operation, &region, &ask.parameters, &http);
            describe(&mut draft, &place, &region, of_cell);
            let account = ask.cell.get("account").unwrap_or_default();
            let sending = Sending {
                operation,
                http: place.http,
                url: place.url,
                signing_region: place.signing_region,
                credentials: credentials.clone(),
                budget: self.budgets.of(format!("{account}/{region}/{}", operation.service.id)),
            };
            let Sent { earlier, last } = client::send(sending, &self.http, &self.limits, &self.now).await;
            draft.tried.extend(earlier.iter().map(tried));
            if let Some(date) = last.date {
                *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some(last.ended_at - date);
            }
            if !renewed
                && matches!(&last.outcome, Outcome::Refused(refusal, _) if credentials::is_expired(&refusal.code))
            {
                self.issuer.forget(who, &actions, &credentials).await;
                draft.tried.push(tried(&last));
                renewed = true;
            } else if !moved && let Some(elsewhere) = elsewhere(operation, &last, &region) {
                draft.tried.push(tried(&last));
                region = elsewhere;
                moved = true;
            } else {
                return self.answered(draft, operation, last);
            }
        }
    }

    fn caller(&self, who: &Who) -> String {
        let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.get(who).cloned().unwrap_or_default()
    }

    fn place(&self, operation: &Operation, region: &str, parameters: &Map<String, Value>, http: &HttpAsk) -> Place {
        let of_service = self.config.endpoints.get(&operation.service.id);
        let own = of_service.or(self.endpoint.as_ref()).map(|url| url.replace("{region}", region));
        let place = endpoint(&operation.service, region, own.as_deref());
        let (mut url, mut http) = (place.url, http.clone());
        if own.is_none() {
            let bucket = match parameters.get("Bucket") {
                Some(Value::String(bucket)) if operation.service.id == "s3" && is_host_name(bucket) => Some(bucket),
                _ => None,
            };
            let path = bucket.and_then(|bucket| http.path_and_query.strip_prefix(&format!("/{bucket}")));
            let prefix = match (path.map(str::to_owned), bucket) {
                (Some(path), Some(bucket)) if path.is_empty() || path.starts_with(['/', '?']) => {
                    http.path_and_query = if path.starts_with('/') { path } else { format!("/{path}") };
                    format!("{bucket}.")
                }
                _ => http.host_prefix.clone().unwrap_or_default(),
            };
            url = url.replacen("://", &format!("://{prefix}"), 1);
        }
        Place { url, signing_region: place.signing_region, http }
    }

    /// The last answer as evidence.
    fn answered(&self, mut draft: Draft, operation: &Operation, last: Attempt) -> Asked {
        draft.ended_at = last.ended_at;
        draft.status = last.status;
        draft.request_id = last.request_id.clone();
        draft.detail = last.says();
        let skew = last.date.map(|date| skew(last.ended_at, date)).unwrap_or_default();
        let (body, decoded) = match last.outcome {
            Outcome::Answered(body) => {
                let length = body.len();
                let (kept, redactions) = redact(body.into());
                match decode(operation, &kept) {
                    Ok(decoded) => {
                        draft.answer = Answer::Ok;
                        draft.redactions = redactions;
                        (Some(kept), Some(decoded))
                    }
                    // Secrets are found in what can be read. In this they may be anywhere.
                    Err(why) => {
                        draft.answer = Answer::Failed;
                        let detail =
                            format!("{}, but it cannot be read: {why}; its {length} bytes are not kept", draft.detail);
                        draft.detail = detail;
                        (None, None)
                    }
                }
            }
            Outcome::Refused(refusal, body) => {
                draft.answer = errors::answer(last.status.unwrap_or_default(), &refusal.code);
                if let Some(meaning) = errors::explain(&refusal.code, &refusal.message) {
                    draft.detail = format!("{}; {meaning}", draft.detail);
                }
                draft.detail.push_str(&skew);
                draft.code = Some(refusal.code);
                if body.len() <= ERROR_BYTES {
                    let (kept, redactions) = redact(body.into());
                    draft.redactions = redactions;
                    (Some(kept).filter(|kept| !kept.is_empty()), None)
                } else {
                    draft.detail = format!("{}; its {} bytes are not kept", draft.detail, body.len());
                    (None, None)
                }
            }
            Outcome::CutShort(_) => {
                draft.answer = Answer::CutShort;
                (None, None)
            }
            Outcome::TimedOut(_) => {
                draft.answer = Answer::TimedOut;
                (None, None)
            }
            Outcome::Failed(_) => {
                draft.answer = Answer::Failed;
                (None, None)
            }
        };
        // What is said may repeat what was sent, or what was answered.
        draft.detail = text_without_secrets(draft.detail);
        Asked { extension: extension(body.as_deref()), draft, body, decoded }
    }
}

fn not_asked(draft: Draft, why: &str) -> Asked {
    let draft = Draft { detail: text_without_secrets(format!("not asked: {why}")), ..draft };
    Asked { draft, extension: "json", body: None, decoded: None }
}

fn describe(draft: &mut Draft, place: &Place, region: &str, of_cell: &str) {
    let Some(request) = draft.request.as_object_mut() else { return };
    request.insert("method".into(), place.http.method.clone().into());
    request.insert("endpoint".into(), place.url.clone().into());
    if region != of_cell {
        request.insert("region".into(), region.into());
    }
}

fn tried(attempt: &Attempt) -> Tried {
    let request_id = attempt.request_id.clone();
    Tried {
        ended_at: attempt.ended_at,
        status: attempt.status,
        detail: text_without_secrets(attempt.says()),
        request_id,
    }
}

fn text_without_secrets(text: String) -> String {
    String::from_utf8_lossy(&redact(text.into_bytes()).0).into_owned()
}

/// What is said where this clock and AWS's are too far apart for signatures.
fn skew(here: DateTime<Utc>, there: DateTime<Utc>) -> String {
    let ahead = here - there;
    if ahead.abs() <= MOST_SKEW {
        return String::new();
    }
    let way = if ahead > TimeDelta::zero() { "ahead of" } else { "behind" };
    format!(
        "; this machine's clock is {} s {way} AWS's, which refuses more than five minutes: set it right",
        ahead.num_seconds().abs()
    )
}

/// The region in which S3 says that a bucket is, when it was asked in another one.
fn elsewhere(operation: &Operation, last: &Attempt, asked: &str) -> Option<String> {
    let Outcome::Refused(refusal, body) = &last.outcome else { return None };
    let moved = matches!(last.status, Some(301 | 307)) || refusal.code == "AuthorizationHeaderMalformed";
    if operation.service.id != "s3" || !moved {
        return None;
    }
    let in_body = || {
        let text = std::str::from_utf8(body).ok()?;
        Some(text.split_once("<Region>")?.1.split_once("</Region>")?.0.to_owned())
    };
    last.bucket_region.clone().or_else(in_body).filter(|region| is_region(region) && region != asked)
}

/// Whether a bucket's name can stand in a host name under AWS's certificates: without dots, and in small letters.
fn is_host_name(bucket: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (3..=63).contains(&bucket.len())
        && bucket.bytes().all(|byte| plain(byte) || byte == b'-')
        && !bucket.starts_with('-')
        && !bucket.ends_with('-')
}

/// By what a body looks like.
fn extension(body: Option<&[u8]>) -> &'static str {
    match body.and_then(|body| body.trim_ascii_start().first()) {
        Some(b'<') => "xml",
        Some(b'{' | b'[') | None => "json",
        Some(_) => "txt",
    }
}

#[cfg(test)]
mod tests;
