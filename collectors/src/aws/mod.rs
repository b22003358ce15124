//! AWS as a source: accounts, regions, credentials, and one client for every service.

pub mod config;
pub mod decode;
pub mod encode;
pub mod endpoint;
pub mod errors;
pub mod operations;
pub mod redact;
mod shapes;
mod xml;

use std::sync::Arc;

use serde_json::{Value, json};

use self::config::{Accounts, AwsConfig, Regions};
use crate::{contract::Source, declared::system::Dialect};

/// The kinds of cells: the source itself (the organisation), each account, each region of each account.
pub const CELLS: &[&str] = &["source", "accounts", "accounts x regions"];

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
        if operations::operation(call).is_none() {
            return Err("is not in the models of definitions/aws/model".into());
        }
        if !only_reads(call) {
            return Err("may change something, or answer with a secret: it is never called".into());
        }
        Ok(())
    }

    fn actions(&self, call: &str) -> Vec<String> {
        operations::actions(call)
    }

    fn decode(&self, call: &str, body: &[u8]) -> Result<Value, String> {
        let operation = operations::operation(call).ok_or("it is not in the models of definitions/aws/model")?;
        decode::decode(operation, body)
    }

    fn cells(&self) -> &'static [&'static str] {
        CELLS
    }
}

/// What the names of operations that only read begin with.
const READS: [&str; 8] = ["BatchGet", "Describe", "Get", "Head", "List", "Lookup", "Search", "Simulate"];

/// Operations that make a report to be read, and nothing else.
const REPORTS: [&str; 2] = ["GenerateCredentialReport", "GenerateServiceLastAccessedDetails"];

/// Operations that read what is not evidence: secrets, or the data that the systems are there for.
const NEVER: [&str; 12] = [
    "BatchGetItem",
    "BatchGetSecretValue",
    "GetAuthorizationToken",
    "GetFederationToken",
    "GetItem",
    "GetObject",
    "GetParameter",
    "GetParameters",
    "GetParametersByPath",
    "GetPasswordData",
    "GetSecretValue",
    "GetSessionToken",
];

/// Whether a call neither changes anything nor answers with a secret. AssumeRole, Decrypt, GenerateDataKey and whatever creates are none.
pub fn only_reads(call: &str) -> bool {
    let name = call.rsplit('.').next().unwrap_or(call);
    (READS.iter().any(|verb| name.starts_with(verb)) || REPORTS.contains(&name)) && !NEVER.contains(&name)
}

#[cfg(test)]
mod tests;
