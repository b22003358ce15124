//! AWS KMS as a signer: `GetPublicKey` and `Sign` for keys of the spec `ECC_NIST_EDWARDS25519`, over JSON 1.1 (AWS KMS API Reference). It
//! needs neither the SDK's client for KMS nor any right but `kms:GetPublicKey` and `kms:Sign` on the key.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials as _, SharedCredentialsProvider},
};
use aws_runtime::auth::{
    SigV4OperationSigningConfig,
    sigv4::{SCHEME_ID, SigV4AuthScheme},
};
use aws_smithy_runtime::client::{identity::IdentityCache, orchestrator::operation::Operation};
use aws_smithy_runtime_api::client::{
    auth::{
        AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
        static_resolver::StaticAuthSchemeOptionResolver,
    },
    behavior_version::BehaviorVersion,
    identity::SharedIdentityResolver,
    orchestrator::{HttpRequest, OrchestratorError},
    result::SdkError,
    runtime_components::RuntimeComponentsBuilder,
    runtime_plugin::StaticRuntimePlugin,
};
use aws_smithy_types::{body::SdkBody, config_bag::Layer, timeout::TimeoutConfig};
use aws_types::{SdkConfig, SigningName, region::SigningRegion};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    client,
    sdk::{self, AssumedRole, Sdk},
};

/// The longest message that KMS signs as it is (`Sign`, `MessageType` RAW).
pub const MAX_MESSAGE: usize = 4_096;

/// What an Ed25519 key is called (`KeySpec`).
const KEY_SPEC: &str = "ECC_NIST_EDWARDS25519";

/// Pure Ed25519 (RFC 8032), over the message itself.
const ALGORITHM: &str = "ED25519_SHA_512";

/// Until a connection is made.
const CONNECT: Duration = Duration::from_secs(5);

/// One attempt.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The pauses before the second attempt and the third.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];

/// Credentials are asked for again so long before they expire.
const EARLY: Duration = Duration::from_secs(300);

/// A client for one region. Its connections live on the runtime that made it.
pub struct Kms {
    sdk: SdkConfig,
    url: String,
    region: String,
    credentials: Mutex<Option<Credentials>>,
}

/// Where KMS is asked, and as whom; what is not said is as the AWS SDKs find it.
#[derive(Debug, Clone, Default)]
pub struct AskAt {
    /// None: the key's, where it is an ARN.
    pub region: Option<String>,
    /// None: `AWS_ENDPOINT_URL_KMS`, `AWS_ENDPOINT_URL`, else AWS.
    pub endpoint: Option<String>,
    /// A PEM file with the certificates that are trusted instead of the public ones.
    pub ca_bundle: Option<PathBuf>,
    /// A profile of the AWS configuration files.
    pub profile: Option<String>,
    /// The role to assume.
    pub role: Option<AssumedRole>,
}

/// Why KMS did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KmsError {
    /// It does not answer, is throttled or fails, or there are no credentials now: asking again later may help.
    #[error("{0}")]
    Away(String),
    /// It refuses: another kind of key, none, or no right.
    #[error("{0}")]
    Refused(String),
}

/// Errors that may pass (`Sign`, Errors; Common Errors).
const PASSING: [&str; 9] = [
    "DependencyTimeoutException",
    "KeyUnavailableException",
    "KMSInternalException",
    "LimitExceededException",
    "RequestExpired",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ThrottlingException",
    "ExpiredTokenException",
];

impl Kms {
    /// For a key by ARN, id or alias; an ARN brings its own region. Nothing is asked yet.
    ///
    /// # Errors
    /// No region; a CA bundle that cannot be read.
    pub async fn connect(key: &str, ask: &AskAt) -> Result<Self, String> {
        let named = key.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(2)).map(str::to_owned);
        let sdk = Sdk {
            profile: ask.profile.clone(),
            region: ask.region.clone().or(named),
            ca_bundle: ask.ca_bundle.clone(),
            role: ask.role.clone(),
            connect: CONNECT,
            attempt: ATTEMPT,
            attempts: 1,
            own: None,
        };
        let sdk = sdk.load().await?;
        let region = sdk
            .region()
            .map(ToString::to_string)
            .ok_or("no region for KMS: name the key by its ARN, or write its `region`")?;
        let named = || std::env::var("AWS_ENDPOINT_URL_KMS").ok().filter(|url| !url.is_empty());
        let own = ask.endpoint.clone().or_else(named);
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let url = own
            .or_else(|| sdk.endpoint_url().map(str::to_owned))
            .unwrap_or_else(|| format!("https://kms.{region}.{suffix}"));
        Ok(Self { sdk, url, region, credentials: Mutex::default() })
    }

    /// The public key: DER of its SubjectPublicKeyInfo (`GetPublicKey`).
    ///
    /// # Errors
    /// A key that is not for signing with Ed25519, and KMS's own.
    pub async fn public_key(&self, key: &str) -> Result<Vec<u8>, KmsError> {
        let answer = self.ask("GetPublicKey", &json!({"KeyId": key})).await?;
        let said = |name: &str| answer[name].as_str().unwrap_or_default();
        if said("KeySpec") != KEY_SPEC || said("KeyUsage") != "SIGN_VERIFY" {
            return Err(KmsError::Refused(format!(
                "the key has the spec {:?} and the usage {:?}: name one of the spec {KEY_SPEC} for SIGN_VERIFY",
                said("KeySpec"),
                said("KeyUsage")
            )));
        }
        bytes(&answer, "PublicKey")
    }

    /// The Ed25519 signature over a message of at most [`MAX_MESSAGE`] bytes (`Sign`).
    ///
    /// # Errors
    /// A longer message, and KMS's own.
    pub async fn sign(&self, key: &str, message: &[u8]) -> Result<Vec<u8>, KmsError> {
        if message.len() > MAX_MESSAGE {
            let says =
                format!("a message of {} bytes is too long for KMS, which signs at most {MAX_MESSAGE}", message.len());
            return Err(KmsError::Refused(says));
        }
        let parameters = json!({
            "KeyId": key,
            "Message": STANDARD.encode(message),
            "MessageType": "RAW",
            "SigningAlgorithm": ALGORITHM,
        });
        bytes(&self.ask("Sign", &parameters).await?, "Signature")
    }

    /// Asks up to three times.
    async fn ask(&self, operation: &'static str, parameters: &Value) -> Result<Value, KmsError> {
        for pause in PAUSES {
            match self.ask_once(operation, parameters).await {
                Err(KmsError::Away(_)) => tokio::time::sleep(pause).await,
                other => return other,
            }
        }
        self.ask_once(operation, parameters).await
    }

    async fn ask_once(&self, operation: &'static str, parameters: &Value) -> Result<Value, KmsError> {
        let away = |what: String| KmsError::Away(format!("kms:{operation} at {}: {what}", self.url));
        let credentials = self.credentials().await.map_err(&away)?;
        let signing = SigV4OperationSigningConfig {
            region: Some(SigningRegion::from(aws_types::region::Region::new(self.region.clone()))),
            name: Some(SigningName::from("kms")),
            ..Default::default()
        };
        let mut layer = Layer::new("kms");
        layer.store_put(signing);
        layer.store_put(AuthSchemeOptionResolverParams::new(()));
        let identity = SharedIdentityResolver::new(SharedCredentialsProvider::new(credentials));
        let components = RuntimeComponentsBuilder::new("kms")
            .with_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()))
            .with_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(
                StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]),
            )))
            .with_identity_cache(Some(IdentityCache::no_cache()))
            .with_identity_resolver(SCHEME_ID, identity);
        let http = self.sdk.http_client().ok_or_else(|| away("there is no HTTP client".to_owned()))?;
        let asking = Operation::builder()
            .service_name("KMS")
            .operation_name(operation)
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .endpoint_url(&self.url)
            .no_retry()
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(ATTEMPT).build())
            .runtime_plugin(StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components))
            .serializer(move |body: String| {
                let request = http::Request::builder()
                    .method("POST")
                    .uri("/")
                    .header("content-type", "application/x-amz-json-1.1")
                    .header("x-amz-target", format!("TrentService.{operation}"))
                    .body(SdkBody::from(body))?;
                let request: HttpRequest = request.try_into()?;
                Ok(request)
            })
            .deserializer(move |response| {
                let body = client::bytes_of(response.body());
                let status = response.status().as_u16();
                let read = serde_json::from_slice::<Value>(&body);
                match read {
                    Ok(answer) if response.status().is_success() => Ok(answer),
                    read => Err(OrchestratorError::operation(refusal(operation, status, &read.unwrap_or_default()))),
                }
            })
            .build();
        asking.invoke(parameters.to_string()).await.map_err(|error| match error {
            SdkError::ServiceError(context) => context.into_err(),
            other => away(sdk::chain(&other)),
        })
    }

    /// Credentials that last for a while.
    async fn credentials(&self) -> Result<Credentials, String> {
        let lasts = |credentials: &Credentials| credentials.expiry().is_none_or(|at| at > SystemTime::now() + EARLY);
        let held = self.credentials.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(held) = held.filter(lasts) {
            return Ok(held);
        }
        let provider = self.sdk.credentials_provider().ok_or("there are no AWS credentials")?;
        let new = tokio::time::timeout(ATTEMPT, provider.provide_credentials())
            .await
            .map_err(|_| format!("no credentials came within {} s", ATTEMPT.as_secs()))?
            .map_err(|error| sdk::chain(&error))?;
        *self.credentials.lock().unwrap_or_else(PoisonError::into_inner) = Some(new.clone());
        Ok(new)
    }
}

/// An answer that is no success (JSON 1.1: `__type`, with or without a name space, and `message`).
fn refusal(operation: &str, status: u16, answer: &Value) -> KmsError {
    let code = answer["__type"].as_str().unwrap_or_default().rsplit('#').next().unwrap_or_default();
    let message = ["message", "Message"].into_iter().find_map(|name| answer[name].as_str()).unwrap_or_default();
    let remedy = match code {
        "AccessDeniedException" => ". Allow kms:GetPublicKey and kms:Sign on this key to the agent's role",
        "DisabledException" => ". Enable the key",
        "NotFoundException" => ". Correct the key's name or the region",
        _ => "",
    };
    let says = format!("kms:{operation} answered HTTP {status} {code}: {}{remedy}", message.trim_end_matches('.'));
    match status >= 500 || status == 429 || PASSING.contains(&code) {
        true => KmsError::Away(says),
        false => KmsError::Refused(says),
    }
}

fn bytes(answer: &Value, member: &str) -> Result<Vec<u8>, KmsError> {
    let text = answer[member].as_str().unwrap_or_default();
    match STANDARD.decode(text) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(KmsError::Refused(format!("KMS answered without a {member}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        let of = |status, kind: &str| refusal("Sign", status, &json!({"__type": kind, "message": "m"}));
        for (status, kind) in [(400, "ThrottlingException"), (500, "KMSInternalException"), (503, ""), (429, "")] {
            assert!(matches!(of(status, kind), KmsError::Away(_)), "{status} {kind}");
        }
        for kind in ["NotFoundException", "AccessDeniedException", "com.amazonaws.kms#InvalidKeyUsageException"] {
            assert!(matches!(of(400, kind), KmsError::Refused(says) if !says.contains('#') && says.contains(": m")));
        }
    }
}
