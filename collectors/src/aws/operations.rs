//! The operations that definitions can call, and what is known of each: looked up in `definitions/aws/model`, one file a service, which
//! is read when it is first asked for.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use serde::Deserialize;
use serde_json::Value;

use super::shapes::{Names, Shapes, Structure, Written};

/// A service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The part before the dot of a call: botocore's name of it, but `tag`.
    pub id: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// `2010-05-08`.
    pub api_version: String,
    /// What its host names begin with.
    pub endpoint_prefix: String,
    /// The service that signatures name.
    pub signing_name: String,
    /// With [`Protocol::Json`]: `1.0` or `1.1`.
    pub json_version: Option<String>,
    /// With [`Protocol::Json`]: what stands before the operation in `x-amz-target`.
    pub target_prefix: Option<String>,
    /// Where it answers other than at `https://<prefix>.<region>.<suffix>`: by region, or by partition where all of it answers in one place.
    pub endpoints: BTreeMap<String, Place>,
}

/// Where a service answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Without a path.
    pub url: String,
    /// The region that signatures name.
    pub signed_for: String,
}

/// AWS's protocols, as botocore names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// JSON in and out, the operation in a header.
    Json,
    /// JSON out, the request spread over path, query, headers and a JSON body.
    RestJson,
    /// XML out, the request spread likewise.
    RestXml,
    /// A form in, XML out.
    Query,
    /// As `query`, with its own rules for names and lists.
    Ec2,
}

/// An operation of a service.
#[derive(Debug)]
pub struct Operation {
    /// Whose.
    pub service: Arc<Service>,
    /// `ListBackupJobs`.
    pub name: String,
    /// `GET`.
    pub method: String,
    /// With `{labels}` and fixed query parameters: `/{Bucket}?encryption`.
    pub uri: String,
    /// What AWS's own endpoints want before the host name: `{AccountId}.`.
    pub host_prefix: Option<String>,
    /// How a list goes on; none where it does not.
    pub pages: Option<Paging>,
    pub(super) input: Structure,
    pub(super) inputs: Arc<Shapes>,
    pub(super) output: Structure,
    pub(super) outputs: Arc<Shapes>,
    /// The answer's root element.
    pub(super) root: Option<String>,
    /// The element in it that holds the members.
    pub(super) wrapper: Option<String>,
    /// The member whose text the root element itself holds.
    pub(super) text_root: Option<String>,
}

impl Operation {
    /// `backup.ListBackupJobs`.
    pub fn call(&self) -> String {
        format!("{}.{}", self.service.id, self.name)
    }
}

/// botocore's facts about an operation's pages. Each is a name, or a list of names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// Members of the answer that hold the next page's tokens.
    pub token: Value,
    /// The parameters that take them.
    pub into: Value,
    /// The member that says whether there is more.
    pub more: Option<Value>,
    /// The parameter for a page's size.
    pub limit: Option<Value>,
    /// The members of the answer that are the list.
    pub rows: Option<Value>,
}

/// The operation of a call such as `backup.ListBackupJobs`.
pub fn operation(call: &str) -> Option<&'static Operation> {
    let (service, name) = call.split_once('.')?;
    let at = SERVICES.binary_search_by(|(id, _)| id.cmp(&service)).ok()?;
    let model = MODELS[at].get_or_init(|| read(SERVICES[at].1));
    model.as_ref().ok()?.get(name)
}

/// The IAM actions that a call needs: none where AWS asks for none.
pub fn actions(call: &str) -> Vec<String> {
    if let Ok(at) = ACTIONS.binary_search_by(|(exception, _)| exception.cmp(&call)) {
        return ACTIONS[at].1.iter().map(|&action| action.to_owned()).collect();
    }
    let Some(operation) = operation(call) else { return Vec::new() };
    let prefix = match operation.service.signing_name.as_str() {
        "monitoring" => "cloudwatch",
        "tagging" => "tag",
        name => name,
    };
    vec![format!("{prefix}:{}", operation.name)]
}

/// Whether an action is that of a call that is known here. No model is read for it.
pub fn is_of_a_call(action: &str) -> bool {
    let name = action.split_once(':').map_or(action, |(_, name)| name);
    let calls = include_str!("../../definitions/aws/model/operations.txt");
    calls.lines().any(|call| call.split_once('.').is_some_and(|(_, of_call)| of_call == name))
        || ACTIONS.iter().any(|(_, actions)| actions.contains(&action))
}

/// Calls whose IAM action is not `<signing name>:<operation>`, by call.
const ACTIONS: [(&str, &[&str]); 9] = [
    ("accessanalyzer.ListFindingsV2", &["access-analyzer:ListFindings"]),
    ("s3.GetBucketEncryption", &["s3:GetEncryptionConfiguration"]),
    ("s3.GetBucketLifecycleConfiguration", &["s3:GetLifecycleConfiguration"]),
    ("s3.GetBucketReplication", &["s3:GetReplicationConfiguration"]),
    ("s3.GetObjectLockConfiguration", &["s3:GetBucketObjectLockConfiguration"]),
    ("s3.GetPublicAccessBlock", &["s3:GetBucketPublicAccessBlock"]),
    ("s3.ListBuckets", &["s3:ListAllMyBuckets"]),
    ("s3control.GetPublicAccessBlock", &["s3:GetAccountPublicAccessBlock"]),
    ("sts.GetCallerIdentity", &[]),
];

type Model = BTreeMap<String, Operation>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    service: BTreeMap<String, Service>,
    operations: BTreeMap<String, WrittenOperation>,
    inputs: BTreeMap<String, Written>,
    outputs: BTreeMap<String, Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenOperation {
    http: String,
    host_prefix: Option<String>,
    input: Written,
    output: Written,
    root: Option<String>,
    wrapper: Option<String>,
    text_root: Option<String>,
    pages: Option<Paging>,
}

fn read(text: &str) -> Result<Model, String> {
    let file: File = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let service = Arc::new(file.service.into_values().next().ok_or("a file has a service")?);
    let (input_names, output_names) = (Names::of(&file.inputs), Names::of(&file.outputs));
    let inputs = Arc::new(input_names.shapes(file.inputs)?);
    let outputs = Arc::new(output_names.shapes(file.outputs)?);
    let mut model = Model::new();
    for (name, written) in file.operations {
        let (method, uri) = written.http.split_once(' ').ok_or("`http` is a method and a path")?;
        let operation = Operation {
            service: service.clone(),
            name: name.clone(),
            method: method.into(),
            uri: uri.into(),
            host_prefix: written.host_prefix,
            pages: written.pages,
            input: input_names.structure(written.input)?,
            inputs: inputs.clone(),
            output: output_names.structure(written.output)?,
            outputs: outputs.clone(),
            root: written.root,
            wrapper: written.wrapper,
            text_root: written.text_root,
        };
        model.insert(name, operation);
    }
    Ok(model)
}

macro_rules! services {
    ($count:literal: $($id:literal)*) => {
        /// The files, sorted by the service's id.
        const SERVICES: [(&str, &str); $count] =
            [$(($id, include_str!(concat!("../../definitions/aws/model/", $id, ".json")))),*];
        static MODELS: [OnceLock<Result<Model, String>>; $count] = [const { OnceLock::new() }; $count];
    };
}

services!(36:
    "accessanalyzer" "account" "acm" "artifact" "backup" "cloudtrail" "cloudwatch" "config" "dynamodb" "ec2" "ecr" "efs" "eks" "elb"
    "elbv2" "guardduty" "iam" "identitystore" "inspector2" "kms" "lambda" "logs" "opensearch" "organizations" "rds" "redshift" "s3"
    "s3control" "secretsmanager" "securityhub" "sns" "sqs" "ssm" "sso-admin" "sts" "tag"
);

#[cfg(test)]
mod tests;
