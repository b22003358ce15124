//! The connection to a bucket: addresses, credentials, and what a refusal means. It decides nothing about evidence.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{
    Client,
    config::{RequestChecksumCalculation, ResponseChecksumValidation, SharedCredentialsProvider},
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, SharedInterceptor, context::BeforeDeserializationInterceptorContextRef},
        orchestrator::HttpResponse,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use chrono::{DateTime, TimeDelta};
use collectors::aws::{
    errors,
    sdk::{self, AssumedRole, Sdk},
};
use signing::{layout::origin_directory, time::Utc};

use super::config::S3Config;
use crate::archive::ArchiveError;

/// Until a connection is made.
const CONNECT: Duration = Duration::from_secs(5);

/// One attempt; the parts of large bundles are sent within it, over slow lines too.
const ATTEMPT: Duration = Duration::from_secs(120);

/// What fails is asked again by the SDK, with backoff and jitter; what keeps failing waits in the spool.
const ATTEMPTS: u32 = 4;

/// The region where a store other than AWS's is asked and none is written.
const ANY_REGION: &str = "us-east-1";

/// One origin's objects in a bucket. A clone is another handle.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    client: Client,
    bucket: String,
    /// What the origin's names begin with in the bucket: `<prefix>/<origin>/`.
    root: String,
    owner: Option<String>,
    place: String,
    skew: Arc<Skew>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.0.place).finish()
    }
}

/// How an address is asked that no configuration describes; everything else is as the AWS SDKs find it.
#[derive(Debug, Clone, Default)]
pub struct AskAt {
    /// None: as the SDK finds it.
    pub region: Option<String>,
    /// Where an S3-compatible store is asked; none: `AWS_ENDPOINT_URL_S3`, else AWS.
    pub endpoint: Option<String>,
    /// A PEM file with the certificates that are trusted instead of the public ones.
    pub ca_bundle: Option<std::path::PathBuf>,
    /// Instead of the credentials that the SDK finds: for tests.
    pub own: Option<SharedCredentialsProvider>,
}

impl Store {
    /// The origin's objects in the configured bucket. Nothing is asked yet. Its connections live on the runtime that this is called on.
    ///
    /// # Errors
    /// A CA bundle that cannot be read; no region.
    pub async fn connect(
        config: &S3Config,
        origin: &str,
        own: Option<SharedCredentialsProvider>,
    ) -> Result<Self, String> {
        let sdk = Sdk {
            profile: config.profile.clone(),
            region: region(config.region.clone(), config.endpoint.is_some()),
            ca_bundle: config.ca_bundle.clone(),
            role: config.role.clone().map(|arn| AssumedRole {
                arn,
                external_id: config.external_id.clone(),
                session_name: config.session_name.clone(),
            }),
            connect: CONNECT,
            attempt: ATTEMPT,
            attempts: ATTEMPTS,
            own,
        };
        let prefix = if config.prefix().is_empty() { String::new() } else { format!("{}/", config.prefix()) };
        let root = format!("{prefix}{}/", origin_directory(origin));
        Self::open(sdk, config.endpoint.clone(), config.path_style, &config.bucket, root, config.bucket_owner.clone())
            .await
    }

    /// The objects below an address, `s3://bucket/prefix/origin`, for reading. Nothing is asked yet.
    ///
    /// # Errors
    /// Text that is no such address; no region.
    pub async fn at(address: &str, ask: &AskAt) -> Result<Self, String> {
        let (bucket, root) = split(address)?;
        let sdk = Sdk {
            profile: None,
            region: region(ask.region.clone(), ask.endpoint.is_some()),
            ca_bundle: ask.ca_bundle.clone(),
            role: None,
            connect: CONNECT,
            attempt: ATTEMPT,
            attempts: ATTEMPTS,
            own: ask.own.clone(),
        };
        Self::open(sdk, ask.endpoint.clone(), ask.endpoint.is_some(), bucket, root, None).await
    }

    async fn open(
        sdk: Sdk,
        endpoint: Option<String>,
        path_style: bool,
        bucket: &str,
        root: String,
        owner: Option<String>,
    ) -> Result<Self, String> {
        let loaded = sdk.load().await?;
        if loaded.region().is_none() {
            return Err("no region is given, and the AWS SDK finds none: write `archive.s3.region`, give --region, or set AWS_REGION".into());
        }
        let skew = Arc::new(Skew::default());
        // Every write brings its own SHA-256, and whatever is read back is checked by whoever reads it.
        let mut config = aws_sdk_s3::config::Builder::from(&loaded)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .interceptor(SharedInterceptor::permanent(Dates(skew.clone())));
        // A variable may name a store too, and that is addressed as most stores are.
        let elsewhere = endpoint.is_some();
        if let Some(endpoint) = endpoint {
            config = config.endpoint_url(endpoint);
        }
        if path_style || (!elsewhere && names_a_store()) {
            config = config.force_path_style(true);
        }
        let place = format!("s3://{bucket}/{}", root.trim_end_matches('/'));
        let client = Client::from_conf(config.build());
        Ok(Self(Arc::new(Inner { client, bucket: bucket.to_owned(), root, owner, place, skew })))
    }

    /// What lies below a name of this place.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        let mut inner = Inner::clone(&self.0);
        inner.root = format!("{}{name}/", inner.root);
        inner.place = format!("{}/{name}", inner.place);
        Self(Arc::new(inner))
    }

    /// The SDK's client.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.0.bucket
    }

    /// The account that must own the bucket.
    pub fn owner(&self) -> Option<String> {
        self.0.owner.clone()
    }

    /// What the names of the origin's objects begin with in the bucket: `<prefix>/<origin>/`.
    pub fn root(&self) -> &str {
        &self.0.root
    }

    /// The key of an object of the origin.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.0.root)
    }

    /// `s3://bucket/prefix/origin`.
    pub fn place(&self) -> &str {
        &self.0.place
    }

    /// By how much the store's clock is ahead of this host's, by its last answer; `None` before one.
    pub fn skew(&self) -> Option<TimeDelta> {
        *self.0.skew.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error of the archive, for a failure at an object.
    pub fn failed(&self, action: &'static str, name: &str, failure: Failure) -> ArchiveError {
        ArchiveError::Io { place: self.0.place.clone(), action, name: name.to_owned(), source: failure.into() }
    }
}

/// A store other than AWS's asks for a region too, and takes any.
fn region(written: Option<String>, elsewhere: bool) -> Option<String> {
    let variable = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let found = variable("AWS_REGION") || variable("AWS_DEFAULT_REGION");
    written.or_else(|| ((elsewhere || names_a_store()) && !found).then(|| ANY_REGION.to_owned()))
}

fn names_a_store() -> bool {
    ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].iter().any(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()))
}

/// Bucket and root of `s3://bucket/prefix/origin`.
fn split(address: &str) -> Result<(&str, String), String> {
    let wrong = || format!("{address:?} is no address of an archive in S3: write `s3://bucket/prefix/origin`");
    let rest = address.strip_prefix("s3://").ok_or_else(wrong)?;
    let (bucket, root) = rest.split_once('/').unwrap_or((rest, ""));
    let root = root.trim_matches('/');
    match (bucket, root) {
        ("", _) => Err(wrong()),
        (bucket, "") => Ok((bucket, String::new())),
        (bucket, root) => Ok((bucket, format!("{root}/"))),
    }
}

/// By how much the store's clock is ahead.
#[derive(Debug, Default)]
struct Skew(Mutex<Option<TimeDelta>>);

/// Reads the store's clock from every answer.
#[derive(Debug)]
struct Dates(Arc<Skew>);

impl Intercept for Dates {
    fn name(&self) -> &'static str {
        "Dates"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        if let Some(date) = date {
            let ahead = date.to_utc() - Utc::from(SystemTime::now());
            *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        }
        Ok(())
    }
}

/// What a request came to that did not succeed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The answer's status; `None`: no answer came, and whether the store did it is not known.
    pub status: Option<u16>,
    /// S3's code, where it gave one.
    pub code: Option<String>,
    /// Whether a delete marker hides the object.
    pub deleted: bool,
    /// Whether the store answered at all, and be it with something that nobody can read.
    pub answered: bool,
    operation: &'static str,
    text: String,
    timed_out: bool,
}

impl Failure {
    /// Reads what the SDK says of an operation.
    pub fn of<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let header = |name: &str| error.raw_response().and_then(|raw| raw.headers().get(name)).map(str::to_owned);
        let status = error.raw_response().map(|raw| raw.status().as_u16());
        let deleted = header("x-amz-delete-marker").as_deref() == Some("true");
        let answered = error.raw_response().is_some();
        let timed_out = matches!(error, SdkError::TimeoutError(_));
        let request = header("x-amz-request-id").map(|id| format!(", request {id}")).unwrap_or_default();
        let (code, text) = match error {
            SdkError::ServiceError(context) => {
                let meta = context.err().meta().clone();
                let code = meta.code().map(str::to_owned);
                let said = match (meta.code(), meta.message()) {
                    (Some(code), Some(message)) => format!("{code}: {message}"),
                    (Some(one), None) | (None, Some(one)) => one.to_owned(),
                    (None, None) => "no reason given".to_owned(),
                };
                let status = context.raw().status().as_u16();
                (code, format!("{operation} was answered with {status}, {said}{request}"))
            }
            other => (None, format!("{operation} failed: {}", sdk::chain(&other))),
        };
        // An answer that broke off says nothing of what was done.
        let status = status.filter(|status| code.is_some() || *status >= 300);
        Self { status, code, deleted, answered, operation, text, timed_out }
    }

    /// A failure of what was sent or read, and not of a request.
    pub fn local(operation: &'static str, text: impl Into<String>) -> Self {
        Self {
            status: None,
            code: None,
            deleted: false,
            answered: true,
            operation,
            text: text.into(),
            timed_out: false,
        }
    }

    /// Whether the store may have done it all the same.
    pub fn is_lost(&self) -> bool {
        self.status.is_none_or(|status| status >= 500)
    }

    /// Whether S3 has no such object, and says so: a missing bucket is something else.
    pub fn is_absent(&self) -> bool {
        self.status == Some(404) && self.code.as_deref() != Some("NoSuchBucket")
    }

    /// Whether a condition of the request did not hold.
    pub fn is_precondition(&self) -> bool {
        self.status == Some(412)
    }

    /// Whether another write to the object was under way (ConditionalRequestConflict, OperationAborted).
    pub fn is_conflict(&self) -> bool {
        self.status == Some(409)
    }

    /// Whether the credentials may not do it.
    pub fn is_denied(&self) -> bool {
        matches!(self.status, Some(401 | 403))
    }

    /// What to do about it, where that is known.
    fn remedy(&self) -> Option<String> {
        let code = self.code.as_deref().unwrap_or_default();
        if code == "NoSuchBucket" {
            return Some("there is no such bucket: the agent makes none; see `archive.s3.bucket`".into());
        }
        if code == "PermanentRedirect" || self.status == Some(301) {
            return Some("the bucket is in another region: see `archive.s3.region`".into());
        }
        if code == "AccessDenied" || (self.is_denied() && code.is_empty()) {
            return right(self.operation)
                .map(|right| format!("it needs {right}; `evidenced iam-policy --archive` prints the whole policy"));
        }
        errors::explain(code, &self.text).map(str::to_owned)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remedy() {
            Some(remedy) => write!(f, "{} ({remedy})", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        let kind = match failure.status {
            _ if failure.timed_out => io::ErrorKind::TimedOut,
            Some(401 | 403) => io::ErrorKind::PermissionDenied,
            Some(404) => io::ErrorKind::NotFound,
            Some(429 | 503) => io::ErrorKind::ResourceBusy,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, failure.to_string())
    }
}

/// The rights that an operation needs.
fn right(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "GetObject" => "s3:GetObject, and s3:ListBucket, without which S3 answers so for what is not there too",
        "HeadObject" => "s3:GetObject and s3:ListBucket",
        "PutObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" => {
            "s3:PutObject, for locked objects s3:PutObjectRetention, and for a legal hold s3:PutObjectLegalHold"
        }
        "ListObjectsV2" => "s3:ListBucket",
        "ListObjectVersions" => "s3:ListBucketVersions",
        "PutObjectRetention" => "s3:PutObjectRetention",
        "GetBucketVersioning" => "s3:GetBucketVersioning",
        "GetObjectLockConfiguration" => "s3:GetBucketObjectLockConfiguration",
        "ListMultipartUploads" => "s3:ListBucketMultipartUploads",
        "AbortMultipartUpload" => "s3:AbortMultipartUpload",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_names_a_bucket_and_an_origin_below_it() {
        assert_eq!(split("s3://b/p/o").unwrap(), ("b", "p/o/".to_owned()));
        assert_eq!(split("s3://b/o/").unwrap(), ("b", "o/".to_owned()));
        assert_eq!(split("s3://b").unwrap(), ("b", String::new()));
        assert_eq!(split("s3://b/").unwrap(), ("b", String::new()));
        for wrong in ["b/o", "s3://", "s3:///o", "https://b/o"] {
            assert!(split(wrong).unwrap_err().contains("s3://bucket/prefix/origin"), "{wrong}");
        }
    }

    #[test]
    fn a_refusal_is_never_an_absence_and_says_which_right_is_missing() {
        let failure = |status, code: &str| Failure {
            status: Some(status),
            code: Some(code.into()),
            deleted: false,
            answered: true,
            operation: "GetObject",
            text: "GetObject was answered with 403, AccessDenied: Access Denied".into(),
            timed_out: false,
        };
        let refused = failure(403, "AccessDenied");
        assert!(!refused.is_absent() && !refused.is_lost() && refused.is_denied());
        assert!(refused.to_string().contains("s3:ListBucket"), "{refused}");
        assert!(failure(404, "NoSuchKey").is_absent() && failure(404, "").is_absent());
        assert!(!failure(404, "NoSuchBucket").is_absent());
        assert!(failure(503, "SlowDown").is_lost() && !failure(412, "PreconditionFailed").is_lost());
    }
}
