//! One request to AWS, on the SDK's own orchestrator: signing, retries at the rate that AWS allows, time limits, and every attempt with what
//! it was answered. What an answer means is decided elsewhere; only whether asking again may help is decided here.

use std::{
    error::Error,
    fmt,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_runtime::auth::{
    SigV4OperationSigningConfig,
    sigv4::{SCHEME_ID, SigV4AuthScheme},
};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime::client::{
    identity::IdentityCache,
    orchestrator::operation::Operation as Sdk,
    retries::{ClientRateLimiter, RetryPartition, TokenBucket},
};
use aws_smithy_runtime_api::client::{
    auth::{
        AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
        static_resolver::StaticAuthSchemeOptionResolver,
    },
    behavior_version::BehaviorVersion,
    http::SharedHttpClient,
    identity::SharedIdentityResolver,
    orchestrator::{HttpRequest, OrchestratorError},
    result::SdkError,
    runtime_components::RuntimeComponentsBuilder,
    runtime_plugin::StaticRuntimePlugin,
    stalled_stream_protection::StalledStreamProtectionConfig,
};
use aws_smithy_types::{
    body::SdkBody,
    config_bag::Layer,
    retry::{RetryConfig, RetrySpec},
    timeout::TimeoutConfig,
};
use aws_types::{SigningName, region::SigningRegion};
use bytes::Bytes;
use http_body::Body as _;

use self::attempts::{Again, Attempts, Refused};
pub(super) use self::attempts::{Attempt, Outcome};
use super::{encode::HttpAsk, errors, operations::Operation};
use crate::contract::Now;

mod attempts;
mod limited;

/// What every request says of who asks.
const USER_AGENT: &str = concat!("evidenced/", env!("CARGO_PKG_VERSION"));

/// How long a request may take, and how often it is made.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Until a connection is made.
    pub connect: Duration,
    /// One attempt, to the answer's last byte.
    pub attempt: Duration,
    /// All attempts with the waits between them.
    pub operation: Duration,
    /// The wait before the second attempt; it doubles.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// At most so many attempts where AWS says that it was asked too often.
    pub attempts: u32,
    /// At most so many where it failed in another way: what does not pass soon does not pass by asking.
    pub attempts_at_failures: u32,
    /// A longer answer is cut short.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            attempt: Duration::from_secs(30),
            operation: Duration::from_secs(120),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(20),
            attempts: 8,
            attempts_at_failures: 3,
            body_bytes: 64 << 20,
        }
    }
}

impl Limits {
    pub(super) fn timeouts(&self) -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(self.connect)
            .operation_attempt_timeout(self.attempt)
            .operation_timeout(self.operation)
            .build()
    }

    pub(super) fn retries(&self) -> RetryConfig {
        RetryConfig::adaptive()
            .with_max_attempts(self.attempts.max(1))
            .with_initial_backoff(self.first_wait)
            .with_max_backoff(self.longest_wait)
            .with_retry_spec(RetrySpec::v2_1().with_non_throttling_initial_backoff(self.first_wait))
    }
}

/// The HTTP client of a run: rustls with aws-lc, and the environment's proxies. Its connections live on the runtime that made them, so it must
/// not outlive the run.
///
/// # Errors
/// A file of certificates that cannot be read.
pub(super) fn http(ca_bundle: Option<&Path>) -> Result<SharedHttpClient, String> {
    let mut context = TlsContext::builder();
    if let Some(path) = ca_bundle {
        let pem = std::fs::read(path).map_err(|error| format!("ca_bundle {}: {error}", path.display()))?;
        if !has_certificates(&pem) {
            return Err(format!("ca_bundle {} holds no certificate in PEM", path.display()));
        }
        context = context.with_trust_store(TrustStore::empty().with_pem_certificate(pem));
    }
    let context = context.build().map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut builder =
            Connector::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context.clone());
        builder.set_connector_settings(settings.cloned());
        builder.set_proxy_config(Some(ProxyConfig::from_env()));
        if let Some(components) = components {
            builder.set_sleep_impl(components.sleep_impl());
        }
        builder.build()
    }))
}

/// Whether every certificate in it is base64 of what begins as DER does.
fn has_certificates(pem: &[u8]) -> bool {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = String::from_utf8_lossy(pem);
    let mut certificates = text.split("-----BEGIN CERTIFICATE-----").skip(1).peekable();
    let is_der = |part: &str| {
        let Some((inner, _)) = part.split_once("-----END CERTIFICATE-----") else { return false };
        let inner: String = inner.split_whitespace().collect();
        STANDARD.decode(inner).is_ok_and(|der| der.len() > 100 && der[0] == 0x30)
    };
    certificates.peek().is_some() && certificates.all(is_der)
}

/// How often may be asked again, and at which rate: one for each account, region and service.
pub(super) fn budget(name: String) -> RetryPartition {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let bucket = TokenBucket::builder().retry_cost(14).throttling_retry_cost(5).timeout_retry_cost(14).refill_rate(1.0);
    RetryPartition::custom(name)
        .token_bucket(bucket.build())
        .client_rate_limiter(ClientRateLimiter::new(seconds))
        .build()
}

/// A request that is ready to be signed and sent.
pub(super) struct Sending {
    pub operation: &'static Operation,
    pub http: HttpAsk,
    /// Scheme and host, and a path where an operator's endpoint has one.
    pub url: String,
    pub signing_region: String,
    pub credentials: Credentials,
    pub budget: RetryPartition,
}

/// Every attempt at a request; the last one is the answer. There is at least one.
#[derive(Debug)]
pub(super) struct Sent {
    pub earlier: Vec<Attempt>,
    pub last: Attempt,
}

/// Sends a request until it is answered, or asking again is of no use.
pub(super) async fn send(sending: Sending, client: &SharedHttpClient, limits: &Limits, now: &Now) -> Sent {
    let Sending { operation, http, url, signing_region, credentials, budget } = sending;
    let attempts = Arc::new(Attempts::new(limits.clone(), now.clone()));
    let is_s3 = operation.service.signing_name == "s3";
    let mut signing = SigV4OperationSigningConfig::default();
    signing.signing_options.double_uri_encode = !is_s3;
    signing.signing_options.normalize_uri_path = !is_s3;
    signing.signing_options.content_sha256_header = is_s3;
    signing.region = Some(SigningRegion::from(aws_types::region::Region::new(signing_region)));
    signing.name = Some(SigningName::from(operation.service.signing_name.clone()));
    let mut layer = Layer::new("evidenced");
    layer.store_put(signing);
    layer.store_put(budget);
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    let identity = SharedIdentityResolver::new(SharedCredentialsProvider::new(credentials));
    let components = RuntimeComponentsBuilder::new("evidenced")
        .with_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()))
        .with_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(
            StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]),
        )))
        .with_identity_cache(Some(IdentityCache::no_cache()))
        .with_identity_resolver(SCHEME_ID, identity);
    let stalled = StalledStreamProtectionConfig::enabled().grace_period(limits.attempt / 3).build();
    let sdk = Sdk::builder()
        .service_name(operation.service.id.clone())
        .operation_name(operation.name.clone())
        .behavior_version(BehaviorVersion::latest())
        .http_client(client.clone())
        .endpoint_url(&url)
        .standard_retry(&limits.retries())
        .timeout_config(limits.timeouts())
        .stalled_stream_protection(stalled)
        .retry_classifier(Again(attempts.clone()))
        .interceptor(limited::Limit(limits.body_bytes))
        .interceptor(attempts::Watch(attempts.clone()))
        .with_connection_poisoning()
        .runtime_plugin(StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components))
        .serializer(|ask: HttpAsk| request(&ask))
        .deserializer(move |response| {
            let body = bytes_of(response.body());
            let status = response.status().as_u16();
            if response.status().is_success() {
                return Ok(body);
            }
            let header = |name: &str| response.headers().get(name).map(str::to_owned);
            let refusal = errors::refusal(operation, status, &header, &body);
            Err(OrchestratorError::operation(Refused { refusal, body }))
        })
        .build();
    let error = sdk.invoke(http).await.err();
    let timed_out = matches!(error, Some(SdkError::TimeoutError(_)));
    attempts.take(error.map(|error| chain(&error)), timed_out)
}

/// A body that is in memory, without copying it.
pub(super) fn bytes_of(body: &SdkBody) -> Bytes {
    let mut again = body.try_clone().unwrap_or_else(SdkBody::empty);
    match Pin::new(&mut again).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        _ => Bytes::copy_from_slice(body.bytes().unwrap_or_default()),
    }
}

fn request(ask: &HttpAsk) -> Result<HttpRequest, Box<dyn Error + Send + Sync>> {
    let mut request =
        http::Request::builder().method(ask.method.as_str()).uri(&ask.path_and_query).header("user-agent", USER_AGENT);
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    Ok(request.body(SdkBody::from(ask.body.clone()))?.try_into()?)
}

/// An error with its causes, each once.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refusal.message.as_str() {
            "" => f.write_str(&self.refusal.code),
            message => write!(f, "{}: {message}", self.refusal.code),
        }
    }
}

#[cfg(test)]
mod tests;
