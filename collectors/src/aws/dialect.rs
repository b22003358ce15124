//! AWS's wire formats, as the definitions' engine takes them.

use serde_json::Value;

use super::{
    decode::decode,
    operations::{self, operation},
};
use crate::declared::system::Dialect;

/// The kinds of cells: the source itself (the organisation), each account, each region of each account.
pub const CELLS: &[&str] = &["source", "accounts", "accounts x regions"];

/// AWS without a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct AwsDialect;

impl Dialect for AwsDialect {
    fn check(&self, call: &str) -> Result<(), String> {
        if operation(call).is_none() {
            return Err(
                "is not in the models: name it in definitions/aws/model/operations.txt, and make them anew".into()
            );
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
        match operation(call) {
            Some(operation) => decode(operation, body),
            None => Err(format!("the model of {call} is not here")),
        }
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
