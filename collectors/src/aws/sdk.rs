//! A configuration for the AWS SDK's own clients, made as sources make theirs: for whoever else of the program asks AWS. It holds no secret
//! that the SDK did not find by itself.

use std::{path::PathBuf, time::Duration};

use aws_config::{BehaviorVersion, sts::AssumeRoleProvider};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_types::{SdkConfig, region::Region};

use super::{client, config};

/// As whom AWS is asked, and how patiently.
#[derive(Debug, Clone)]
pub struct Sdk {
    /// A profile of the AWS configuration files; none: `AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// None: as the SDK finds it, in `AWS_REGION`, the profile or the instance.
    pub region: Option<String>,
    /// A PEM file with the certificates that are trusted instead of the public ones.
    pub ca_bundle: Option<PathBuf>,
    /// The role to assume with the credentials that the SDK finds.
    pub role: Option<AssumedRole>,
    /// Until a connection is made.
    pub connect: Duration,
    /// One attempt, to the answer's last byte.
    pub attempt: Duration,
    /// At most so many attempts, the first one among them.
    pub attempts: u32,
    /// Instead of the credentials that the SDK finds: for tests.
    pub own: Option<SharedCredentialsProvider>,
}

/// A role, and what its trust policy asks for.
#[derive(Debug, Clone)]
pub struct AssumedRole {
    /// Its ARN.
    pub arn: String,
    /// `sts:ExternalId`.
    pub external_id: Option<String>,
    /// The session's name, as CloudTrail shows it.
    pub session_name: String,
}

impl Sdk {
    /// Finds credentials and region. Credentials are asked for when the first request needs them, and renewed before they expire. The
    /// connections live on the runtime that this is called on.
    ///
    /// # Errors
    /// A CA bundle that cannot be read.
    pub async fn load(&self) -> Result<SdkConfig, String> {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(self.connect).operation_attempt_timeout(self.attempt).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(client::http(self.ca_bundle.as_deref())?)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(self.attempts));
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(own) = &self.own {
            loader = loader.credentials_provider(own.clone());
        }
        let sdk = loader.load().await;
        let Some(role) = &self.role else { return Ok(sdk) };
        let mut assumed = AssumeRoleProvider::builder(&role.arn).session_name(&role.session_name).configure(&sdk);
        if let Some(external_id) = &role.external_id {
            assumed = assumed.external_id(external_id);
        }
        let assumed = match sdk.credentials_provider() {
            Some(own) => assumed.build_from_provider(own).await,
            None => assumed.build().await,
        };
        Ok(sdk.into_builder().credentials_provider(SharedCredentialsProvider::new(assumed)).build())
    }
}

/// Why a text is no external id (AssumeRole, ExternalId); `None` when it is.
pub fn not_an_external_id(id: &str) -> Option<String> {
    config::not_an_external_id(id)
}

/// Why a text is not a role's ARN; `None` when it is.
pub fn not_a_role(role: &str) -> Option<String> {
    config::not_a_role(role)
}

/// Whether it is a region's name, such as `eu-west-1`.
pub fn is_region(region: &str) -> bool {
    config::is_region(region)
}

/// Whether it may be the name of a role's session.
pub fn is_session_name(name: &str) -> bool {
    config::is_session_name(name)
}

/// An error with its causes, each once; what the SDK tried for credentials in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    super::credentials::brief(&client::chain(error))
}
