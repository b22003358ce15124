//! AWS as a source: accounts, regions, credentials, and one client for every service.

pub mod config;
pub mod decode;
pub mod definitions;
mod dialect;
pub mod encode;
pub mod endpoint;
pub mod errors;
mod iam;
pub mod operations;
pub mod redact;
mod shapes;
mod xml;

use std::sync::Arc;

use serde_json::{Value, json};

pub use dialect::{AwsDialect, CELLS, only_reads};

use self::config::{Accounts, AwsConfig, Regions};
use crate::{contract::Source, declared::system::Dialect};

/// Opens the accounts of the configuration as a source. Nothing is asked yet.
pub fn open(config: &AwsConfig, name: &str) -> Source {
    let aws = Arc::new(Aws::new(config.clone()));
    Source { name: name.into(), kind: "aws".into(), identity: aws.identity(), collectors: Vec::new(), not_run: None }
}

/// AWS, as the definitions' engine asks it.
pub struct Aws {
    config: AwsConfig,
}

impl Aws {
    /// With these settings. Nothing is asked yet.
    pub fn new(config: AwsConfig) -> Self {
        Self { config }
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
