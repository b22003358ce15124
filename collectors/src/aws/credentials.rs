//! As whom AWS is asked: the credentials that the AWS SDKs find, and those of the roles that they assume.
//!
//! Values with an expiry are kept from run to run, and renewed before they expire; what is bound to a run's runtime is made anew with it. No
//! secret is printed, logged or kept.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use aws_sdk_sts::{
    config::Region,
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_types::retry::RetryConfig;
use aws_types::SdkConfig;
use tokio::sync::Mutex as AsyncMutex;

use super::{client, config::AwsConfig, errors, policy::Policies};

/// Whose credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Who {
    /// Those that the agent has by itself.
    Itself,
    /// The role that lists the organisation's accounts.
    Discovery,
    /// The role in an account; without a role, the agent's own.
    Account(String),
}

/// Why there are no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoCredentials {
    /// AWS's code, where AWS refused.
    pub code: Option<String>,
    /// In words.
    pub text: String,
}

impl fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// They are renewed so long before they expire.
const RENEWED_BEFORE: Duration = Duration::from_secs(5 * 60);

/// Credentials that do not expire are looked up again after this: files and variables change.
const LOOKED_UP_AGAIN: Duration = Duration::from_secs(15 * 60);

/// Codes of expired credentials.
const EXPIRED: [&str; 4] = ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"];

/// Whether a code says that the credentials have expired.
pub(super) fn is_expired(code: &str) -> bool {
    EXPIRED.contains(&code)
}

struct Held {
    credentials: Credentials,
    renewed_from: SystemTime,
}

type Slot = Arc<AsyncMutex<Option<Held>>>;

/// The credentials that are held, for all runs of a source: by whose they are and which part of the policies limits them.
#[derive(Default)]
pub(super) struct Store(Mutex<BTreeMap<(Who, Option<usize>), Slot>>);

impl Store {
    fn slot(&self, who: &Who, part: Option<usize>) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry((who.clone(), part)).or_default().clone()
    }
}

/// Gives credentials to a run.
pub(super) struct Issuer {
    pub config: Arc<AwsConfig>,
    /// With the run's HTTP client.
    pub sdk: SdkConfig,
    /// The agent's own credentials.
    pub own: SharedCredentialsProvider,
    /// Where STS is asked other than at its regional endpoint.
    pub sts_endpoint: Option<String>,
    pub external_id: Option<String>,
    /// What sessions of roles are limited to.
    pub policies: Arc<Policies>,
    /// The account in which `management_role` is assumed.
    pub management: Mutex<Option<String>>,
    pub store: Arc<Store>,
}

impl Issuer {
    /// The role to assume; `None`: the agent's own credentials.
    pub(super) fn role(&self, who: &Who) -> Option<String> {
        let organization = self.config.organization();
        match who {
            Who::Itself => None,
            Who::Discovery => organization.map(|organization| organization.role.clone()),
            Who::Account(account) => {
                let management = self.management.lock().unwrap_or_else(PoisonError::into_inner);
                let special = organization
                    .and_then(|organization| organization.management_role.clone())
                    .filter(|_| management.as_ref() == Some(account));
                special.or_else(|| self.config.role_in(account))
            }
        }
    }

    /// Whose session it is, and which part of the policies limits it, for a request that needs these actions.
    fn session<'a>(&self, who: &'a Who, actions: &[String]) -> (&'a Who, Option<usize>) {
        match self.role(who) {
            None => (&Who::Itself, None),
            Some(_) => (who, self.policies.part(actions)),
        }
    }

    /// Credentials for a request that needs these actions, valid for some minutes.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) async fn get(&self, who: &Who, actions: &[String]) -> Result<Credentials, NoCredentials> {
        let (who, part) = self.session(who, actions);
        let slot = self.store.slot(who, part);
        // Held while they are fetched, so that requests side by side fetch them once.
        let mut held = slot.lock().await;
        let now = SystemTime::now();
        if let Some(held) = &*held
            && now < held.renewed_from
        {
            return Ok(held.credentials.clone());
        }
        match self.fetch(who, part).await {
            Ok(credentials) => {
                let renewed_from = match credentials.expiry() {
                    Some(expiry) => expiry - RENEWED_BEFORE,
                    None => now + LOOKED_UP_AGAIN,
                };
                *held = Some(Held { credentials: credentials.clone(), renewed_from });
                Ok(credentials)
            }
            // Whoever issues them may be away for less than they are still good.
            Err(refusal) => match &*held {
                Some(held) if held.credentials.expiry().is_some_and(|expiry| now < expiry) => {
                    tracing::warn!("credentials could not be renewed yet: {refusal}");
                    Ok(held.credentials.clone())
                }
                _ => Err(refusal),
            },
        }
    }

    /// Drops credentials that were refused as expired, unless newer ones are held already.
    pub(super) async fn forget(&self, who: &Who, actions: &[String], refused: &Credentials) {
        let (who, part) = self.session(who, actions);
        let slot = self.store.slot(who, part);
        let mut held = slot.lock().await;
        let same = |held: &mut Held| held.credentials.access_key_id() == refused.access_key_id();
        held.take_if(same);
    }

    async fn fetch(&self, who: &Who, part: Option<usize>) -> Result<Credentials, NoCredentials> {
        let Some(role) = self.role(who) else {
            return self.own.provide_credentials().await.map_err(|error| NoCredentials {
                code: None,
                text: format!("the agent has no credentials: {}", brief(&client::chain(&error))),
            });
        };
        let own = Box::pin(self.get(&Who::Itself, &[])).await?;
        let policy = part.and_then(|part| self.policies.text(part));
        match self.assume(&role, &own, policy).await {
            Err(Refused { code: Some(code), .. }) if is_expired(&code) => {
                self.forget(&Who::Itself, &[], &own).await;
                let own = Box::pin(self.get(&Who::Itself, &[])).await?;
                self.assume(&role, &own, policy).await
            }
            // The packed form has a limit of its own, which only AWS knows. A session without the policy reads as well.
            Err(Refused { code: Some(code), .. }) if code == "PackedPolicyTooLarge" => {
                tracing::warn!(
                    "the session policy is too large for {role}: its sessions are limited by the role's policies alone"
                );
                self.assume(&role, &own, None).await
            }
            other => other,
        }
        .map_err(|refused| refused.of_role(&role))
    }

    async fn assume(&self, role: &str, own: &Credentials, policy: Option<&str>) -> Result<Credentials, Refused> {
        let mut config = aws_sdk_sts::config::Builder::from(&self.sdk)
            .region(Region::new(self.config.home_region.clone()))
            .credentials_provider(own.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(3));
        config.set_endpoint_url(self.sts_endpoint.clone());
        let answer = aws_sdk_sts::Client::from_conf(config.build())
            .assume_role()
            .role_arn(role)
            .role_session_name(&self.config.session_name)
            .set_external_id(self.external_id.clone())
            .set_policy(policy.map(str::to_owned))
            .send()
            .await;
        let nothing = || Refused { code: None, message: "the answer has no whole credentials in it".into() };
        let credentials = match answer {
            Ok(answer) => answer.credentials.ok_or_else(nothing)?,
            Err(SdkError::ServiceError(error)) => {
                let status = error.raw().status();
                let error = error.into_err();
                let message = error.message().unwrap_or_default().to_owned();
                return Err(match error.code() {
                    Some(code) => Refused { code: Some(code.to_owned()), message },
                    None if status.is_success() => Refused { code: None, message: "the answer cannot be read".into() },
                    // Not STS's own words, but of something on the way.
                    None => Refused { code: Some(format!("HTTP {status}")), message },
                });
            }
            Err(error) => return Err(Refused { code: None, message: client::chain(&error) }),
        };
        let expiry = SystemTime::try_from(credentials.expiration).map_err(|_| nothing())?;
        // The SDK reads as much of XML as there is, and takes the epoch for an instant that is missing.
        if expiry <= SystemTime::UNIX_EPOCH {
            return Err(nothing());
        }
        Ok(Credentials::new(
            credentials.access_key_id,
            credentials.secret_access_key,
            Some(credentials.session_token),
            Some(expiry),
            "AssumeRole",
        ))
    }
}

/// What the chain of places says of each of them, in one line.
pub(super) fn brief(chain: &str) -> String {
    let plain = chain.replace("the credential provider was not enabled: ", "");
    let plain = plain.replace("the credential provider was not enabled", "not set up");
    let plain = plain.replace("no credentials found in chain. Attempted:", "they are in none of these places:");
    let lines: Vec<&str> = plain.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(", ").replace("places:,", "places:")
}

/// How STS refused a role.
struct Refused {
    code: Option<String>,
    message: String,
}

impl Refused {
    fn of_role(self, role: &str) -> NoCredentials {
        let Self { code, message } = self;
        let said = match code.as_deref() {
            Some(code) if message.is_empty() => code.to_owned(),
            Some(code) => format!("{code}: {message}"),
            None => message.clone(),
        };
        let meaning = code.as_deref().and_then(|code| errors::explain(code, &message));
        let meaning = meaning.map(|meaning| format!(" ({meaning})")).unwrap_or_default();
        NoCredentials { code, text: format!("the role {role} could not be assumed: {said}{meaning}") }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_the_chain_says_of_each_place_is_one_line() {
        let chain = "the credential provider was not enabled: no credentials found in chain. Attempted:\n  \
                     Environment: the credential provider was not enabled: environment variable not set\n  \
                     Profile: the credential provider was not enabled\n";
        let expected =
            "they are in none of these places: Environment: environment variable not set, Profile: not set up";
        assert_eq!(brief(chain), expected);
        // It is the SDK's own text that is shortened.
        let providers = aws_config::meta::credentials::CredentialsProviderChain::first_try("Environment", Nobody);
        let error = providers.provide_credentials().await.unwrap_err();
        let said = brief(&client::chain(&error));
        assert!(said.starts_with("they are in none of these places: Environment: ") && !said.contains('\n'), "{said}");
    }

    #[derive(Debug)]
    struct Nobody;

    impl ProvideCredentials for Nobody {
        fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let none =
                aws_credential_types::provider::error::CredentialsError::not_loaded("environment variable not set");
            aws_credential_types::provider::future::ProvideCredentials::ready(Err(none))
        }
    }
}
