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
        match operation(call) {
            Some(_) => Ok(()),
            None => Err(format!("the model of {call} is not here: name it in definitions/aws/model/operations.txt, and make the models anew")),
        }
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
