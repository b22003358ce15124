//! AWS as a source: accounts, regions, credentials, and one client for every service.

pub mod client;
pub mod config;
mod credentials;
pub mod decode;
pub mod definitions;
mod dialect;
pub mod doctor;
pub mod encode;
pub mod endpoint;
pub mod errors;
mod iam;
pub mod kms;
pub mod operations;
pub mod policy;
pub mod redact;
pub mod scope;
pub mod sdk;
pub mod session;
mod shapes;
mod xml;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, OnceLock},
};

use aws_config::BehaviorVersion;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_types::retry::RetryConfig;
use aws_types::region::Region;
use serde_json::{Value, json};

pub use dialect::{AwsDialect, CELLS, only_reads};

use self::{
    client::Limits,
    config::{Accounts, AwsConfig, Regions},
    credentials::{Issuer, Store},
    policy::Policies,
    session::{AwsSession, Budgets, Connection},
};
use crate::{
    contract::{BoxFuture, Collector, Context, NeedKind, Now, Source},
    declared::system::{Begun, Dialect, System},
};

/// Opens the accounts of the configuration as a source. Nothing is asked yet.
pub fn open(config: &AwsConfig, name: &str) -> Source {
    let aws = Arc::new(Aws::new(config.clone()));
    let system: Arc<dyn System> = aws.clone();
    let collectors = definitions::all(&system);
    aws.limit_sessions(&collectors);
    Source { name: name.into(), kind: "aws".into(), identity: aws.identity(), collectors, not_run: None }
}

/// AWS, as the definitions' engine asks it.
pub struct Aws {
    config: Arc<AwsConfig>,
    limits: Limits,
    /// Instead of those that the AWS SDKs find.
    own: Option<SharedCredentialsProvider>,
    /// What sessions of roles are limited to.
    policies: OnceLock<Arc<Policies>>,
    store: Arc<Store>,
    budgets: Arc<Budgets>,
}

impl Aws {
    /// With these settings. Nothing is asked yet.
    pub fn new(config: AwsConfig) -> Self {
        let limits = Limits { attempts: config.retry.attempts, ..Limits::default() };
        Self {
            config: Arc::new(config),
            limits,
            own: None,
            policies: OnceLock::new(),
            store: Arc::default(),
            budgets: Arc::default(),
        }
    }

    /// With credentials at hand, and other limits than the usual ones: for tests.
    pub fn with(config: AwsConfig, own: SharedCredentialsProvider, limits: Limits) -> Self {
        Self { own: Some(own), limits, ..Self::new(config) }
    }

    /// Limits the sessions of assumed roles to what these collectors ask, and what finding out the scope does.
    pub fn limit_sessions(&self, collectors: &[Arc<dyn Collector>]) {
        let needs = collectors.iter().flat_map(|collector| &collector.spec().needs);
        let actions: BTreeSet<String> =
            needs.filter(|need| need.kind == NeedKind::Action).map(|need| need.what.clone()).collect();
        if actions.is_empty() {
            return;
        }
        let of_scope = scope::CALLS.iter().chain([&doctor::CALL]).flat_map(|call| operations::actions(call));
        // What no call names by itself may be needed beside any.
        let others = actions.iter().filter(|action| !operations::is_of_a_call(action)).cloned();
        let everywhere = of_scope.chain(others).collect();
        let _ = self.policies.set(Arc::new(Policies::new(&actions, &everywhere)));
    }

    /// What the configuration says of the source; whose credentials it has is in every run's scope.
    fn identity(&self) -> Value {
        let accounts = match &self.config.accounts {
            None => json!("the account of the credentials"),
            Some(Accounts::Given(accounts)) => json!(accounts),
            Some(Accounts::Organization(organization)) => json!({"organization": {"role": organization.role}}),
        };
        let regions = match &self.config.regions {
            Regions::Enabled => json!("enabled"),
            Regions::Given(regions) => json!(regions),
        };
        json!({"accounts": accounts, "regions": regions, "role": self.config.role})
    }

    /// What a run asks with. Its HTTP connections live on the runtime that it is called on.
    async fn connect(&self, now: Now) -> Result<Arc<Connection>, String> {
        let config = self.config.clone();
        let http = client::http(config.ca_bundle.as_deref())?;
        let external_id = external_id(&config)?;
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http.clone())
            .region(Region::new(config.home_region.clone()))
            .timeout_config(self.limits.timeouts())
            .retry_config(RetryConfig::standard().with_max_attempts(3));
        if let Some(profile) = &config.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(own) = &self.own {
            loader = loader.credentials_provider(own.clone());
        }
        let sdk = loader.load().await;
        let own = sdk.credentials_provider().ok_or("the AWS SDK has no chain of credentials")?;
        // As every SDK does: AWS_ENDPOINT_URL, or `endpoint_url` of the profile.
        let endpoint = config.endpoint.clone().or_else(|| sdk.endpoint_url().map(str::to_owned));
        let of_sts = config.endpoints.get("sts").or(endpoint.as_ref());
        let issuer = Issuer {
            sts_endpoint: of_sts.map(|url| url.replace("{region}", &config.home_region)),
            external_id,
            policies: self.policies.get().cloned().unwrap_or_default(),
            management: Mutex::default(),
            store: self.store.clone(),
            config: config.clone(),
            sdk,
            own,
        };
        Ok(Arc::new(Connection {
            config,
            limits: self.limits.clone(),
            now,
            http,
            endpoint,
            issuer,
            budgets: self.budgets.clone(),
            callers: Mutex::new(HashMap::new()),
            clock: Mutex::default(),
        }))
    }
}

/// What is written, or what its file holds.
fn external_id(config: &AwsConfig) -> Result<Option<String>, String> {
    let Some(path) = &config.external_id_file else { return Ok(config.external_id.clone()) };
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("external_id_file {}: {error}", path.display()))?;
    match config::not_an_external_id(text.trim()) {
        None => Ok(Some(text.trim().to_owned())),
        Some(why) => Err(format!("external_id_file {}: what is in it {why}", path.display())),
    }
}

impl System for Aws {
    fn begin<'a>(&'a self, context: &'a mut Context<'_>, kinds: &'a BTreeSet<String>) -> BoxFuture<'a, Begun> {
        Box::pin(async move {
            let began_at = (context.now)();
            let connected = self.connect(context.now.clone()).await;
            let found = match &connected {
                Ok(connection) => scope::find_out(connection, kinds).await,
                Err(why) => scope::unread(&self.config, kinds, why),
            };
            let scope = found.keep(context, began_at, scope::request(&self.config))?;
            Ok((scope, Arc::new(AwsSession { connected, now: context.now.clone() }) as _))
        })
    }
}

impl Dialect for Aws {
    fn check(&self, call: &str) -> Result<(), String> {
        AwsDialect.check(call)
    }

    fn actions(&self, call: &str) -> Vec<String> {
        AwsDialect.actions(call)
    }

    fn decode(&self, call: &str, body: &[u8]) -> Result<Value, String> {
        AwsDialect.decode(call, body)
    }

    fn cells(&self) -> &'static [&'static str] {
        CELLS
    }
}

#[cfg(test)]
mod tests;
