//! Records of IAM where jq is not enough: the credential report, and who is administrator by which path.

pub mod access;
pub mod policy;
pub mod report;
