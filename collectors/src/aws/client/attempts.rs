//! The attempts at a request: what each was answered, and whether another may do better.

use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{FinalizerInterceptorContextRef, InterceptorContext},
        },
        orchestrator::{HttpResponse, OrchestratorError},
        result::ConnectorError,
        retries::classifiers::{ClassifyRetry, RetryAction, RetryReason},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{config_bag::ConfigBag, retry::ErrorKind};
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{Limits, Sent, chain, limited::TooLong};
use crate::{aws::errors::Refusal, contract::Now};

/// One answer, or why there was none.
#[derive(Debug)]
pub(in crate::aws) struct Attempt {
    pub ended_at: DateTime<Utc>,
    /// `None`: no answer began.
    pub status: Option<u16>,
    /// The source's own id for it.
    pub request_id: Option<String>,
    /// The region in which S3 says that the bucket is.
    pub bucket_region: Option<String>,
    /// The time by the answer's own clock.
    pub date: Option<DateTime<Utc>>,
    pub outcome: Outcome,
}

/// How an attempt ended.
#[derive(Debug)]
pub(in crate::aws) enum Outcome {
    /// Answered in full: the body.
    Answered(Bytes),
    /// Answered with an error, and with this body.
    Refused(Refusal, Bytes),
    /// Answered, but the body ended before its end, or was longer than is read: why.
    CutShort(String),
    /// Not answered in time: what did not come.
    TimedOut(String),
    /// No answer: why.
    Failed(String),
}

/// An error that was answered, on its way through the orchestrator.
#[derive(Debug)]
pub(super) struct Refused {
    pub refusal: Refusal,
    pub body: Bytes,
}

impl Error for Refused {}

/// The attempts so far.
pub(super) struct Attempts {
    made: Mutex<Vec<Attempt>>,
    limits: Limits,
    now: Now,
}

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts").field("made", &self.made().len()).finish()
    }
}

impl Attempts {
    pub(super) fn new(limits: Limits, now: Now) -> Self {
        Self { made: Mutex::default(), limits, now }
    }

    fn made(&self) -> MutexGuard<'_, Vec<Attempt>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that was tried. `error` is how all of it ended, and whether because the time was over.
    pub(super) fn take(&self, error: Option<String>, timed_out: bool) -> Sent {
        let mut made = std::mem::take(&mut *self.made());
        let last = match made.pop() {
            // The time for all attempts may end while none is under way.
            Some(last) if !timed_out || matches!(last.outcome, Outcome::TimedOut(_)) => last,
            earlier => {
                made.extend(earlier);
                let outcome = match error {
                    Some(_) if timed_out => Outcome::TimedOut(format!("no answer within {:?}", self.limits.operation)),
                    Some(error) => Outcome::Failed(error),
                    None => Outcome::Failed("nothing was sent".into()),
                };
                let ended_at = (self.now)();
                Attempt { ended_at, status: None, request_id: None, bucket_region: None, date: None, outcome }
            }
        };
        Sent { earlier: made, last }
    }
}

/// Notes each attempt when it ended.
#[derive(Debug)]
pub(super) struct Watch(pub Arc<Attempts>);

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "Watch"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let outcome = match context.output_or_error() {
            Some(Ok(output)) => match output.downcast_ref::<Bytes>() {
                Some(body) => Outcome::Answered(body.clone()),
                None => Outcome::Failed("the answer was lost".into()),
            },
            Some(Err(error)) => self.failed(error, response.is_some()),
            None => Outcome::Failed("there was no answer".into()),
        };
        let header = |name: &str| response.and_then(|response| response.headers().get(name)).map(str::to_owned);
        self.0.made().push(Attempt {
            ended_at: (self.0.now)(),
            status: response.map(|response: &HttpResponse| response.status().as_u16()),
            request_id: request_id(&header),
            bucket_region: header("x-amz-bucket-region"),
            date: header("date").and_then(|date| DateTime::parse_from_rfc2822(&date).ok()).map(|date| date.to_utc()),
            outcome,
        });
        Ok(())
    }
}

impl Watch {
    fn failed(
        &self,
        error: &OrchestratorError<aws_smithy_runtime_api::client::interceptors::context::Error>,
        has_response: bool,
    ) -> Outcome {
        if let Some(refused) = error.as_operation_error().and_then(|error| error.downcast_ref::<Refused>()) {
            return Outcome::Refused(refused.refusal.clone(), refused.body.clone());
        }
        if error.is_timeout_error() {
            let what = if has_response { "the whole answer did not come" } else { "no answer came" };
            return Outcome::TimedOut(format!("{what} within {:?}", self.0.limits.attempt));
        }
        let why = chain(error);
        let Some(connector) = error.as_connector_error() else {
            return if error.is_response_error() { Outcome::CutShort(why) } else { Outcome::Failed(why) };
        };
        if connector.is_timeout() {
            return Outcome::TimedOut(format!("no connection within {:?}", self.0.limits.connect));
        }
        Outcome::Failed(chain(connector))
    }
}

/// S3's ids are two; others have one.
fn request_id(header: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    match (header("x-amz-request-id"), header("x-amz-id-2")) {
        (Some(id), Some(second)) => Some(format!("{id} {second}")),
        (Some(id), None) => Some(id),
        (None, _) => header("x-amzn-requestid"),
    }
}

/// Whether something in the chain of causes is a body longer than the limit.
fn is_too_long(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<TooLong>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// Codes by which services say that they were asked too often.
const THROTTLED: [&str; 18] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "SlowDown",
    "Throttled",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "TooManyRequestsException",
];

/// Codes of failures that pass.
const PASSING: [&str; 6] = [
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "InternalServiceError",
    "RequestTimeout",
    "RequestTimeoutException",
];

/// Decides whether to ask again.
#[derive(Debug)]
pub(super) struct Again(pub Arc<Attempts>);

impl ClassifyRetry for Again {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else { return RetryAction::NoActionIndicated };
        if is_too_long(error) {
            return RetryAction::RetryForbidden;
        }
        let status = context.response().map(|response| response.status().as_u16());
        let refused = error.as_operation_error().and_then(|error| error.downcast_ref::<Refused>());
        let code = refused.map_or("", |refused| refused.refusal.code.as_str());
        if is_throttled(status, code) {
            let after = context.response().and_then(|response| response.headers().get("x-amz-retry-after"));
            let retry_after = after.and_then(|after| after.parse().ok()).map(std::time::Duration::from_millis);
            let reason = RetryReason::RetryableError { kind: ErrorKind::ThrottlingError, retry_after };
            return RetryAction::RetryIndicated(reason);
        }
        let failures = self.0.made().iter().filter(|attempt| !attempt.was_throttled()).count();
        if failures >= self.0.limits.attempts_at_failures as usize {
            return RetryAction::RetryForbidden;
        }
        let passes = match refused {
            Some(_) => PASSING.contains(&code) || matches!(status, Some(500 | 502 | 504)),
            None => {
                let never_sent = error.as_connector_error().is_some_and(ConnectorError::is_user);
                !never_sent && (error.is_timeout_error() || error.is_response_error() || error.is_connector_error())
            }
        };
        if passes { RetryAction::transient_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "Again"
    }
}

fn is_throttled(status: Option<u16>, code: &str) -> bool {
    THROTTLED.contains(&code) || matches!(status, Some(429 | 503))
}

impl Attempt {
    fn was_throttled(&self) -> bool {
        match &self.outcome {
            Outcome::Refused(refusal, _) => is_throttled(self.status, &refusal.code),
            _ => false,
        }
    }

    /// The status and what was said, for a person: `200 OK`, `503 SlowDown: …`, `connection refused`.
    pub(in crate::aws) fn says(&self) -> String {
        let status = self.status.and_then(|status| http::StatusCode::from_u16(status).ok());
        let reason = status.and_then(|status| status.canonical_reason()).unwrap_or_default();
        match &self.outcome {
            Outcome::Answered(_) => format!("{} {reason}", self.status.unwrap_or_default()).trim_end().to_owned(),
            Outcome::Refused(refusal, _) if refusal.message.is_empty() => refusal.code.clone(),
            Outcome::Refused(refusal, _) => format!("{}: {}", refusal.code, refusal.message),
            Outcome::CutShort(why) | Outcome::TimedOut(why) | Outcome::Failed(why) => why.clone(),
        }
    }
}
