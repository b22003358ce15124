//! The AWS client against a server that answers as each test says: what is kept of every way to fail.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod answers;
mod doctor;
mod scope;
mod server;

use std::{sync::Arc, time::Duration};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};

use collectors::{
    aws::{Aws, CELLS, client::Limits, config::AwsConfig},
    contract::{Context, Evidence, Exchange},
    declared::system::{Ask, Asked, Cell, Scope, Session, System},
    recorder::{Recorder, WorkEvidence},
    testing::system_now,
};
use serde_json::{Map, Value, json};
use server::{Reply, Seen, Server, error, ok};
use tempfile::TempDir;

/// Quick, so that no test waits for what production waits for.
fn limits() -> Limits {
    Limits {
        connect: Duration::from_secs(2),
        attempt: Duration::from_millis(600),
        operation: Duration::from_secs(20),
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(20),
        attempts: 4,
        attempts_at_failures: 3,
        body_bytes: 1 << 20,
    }
}

fn own() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new("AKIAOWN999999999999", "secret", None, None, "test"))
}

/// A run that has begun.
struct Run {
    scope: Scope,
    session: Arc<dyn Session>,
    work: TempDir,
}

impl Run {
    async fn begin(aws: &Aws) -> Self {
        Self::begin_in(aws, CELLS).await
    }

    /// Asking in these kinds of cells.
    async fn begin_in(aws: &Aws, kinds: &[&str]) -> Self {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let work = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(work.path()).unwrap();
        let mut context = Context { recorder: &mut recorder, now: system_now(), inputs: Vec::new(), window: None };
        let (scope, session) = aws.begin(&mut context, &kinds).await.unwrap();
        Self { scope, session, work }
    }

    fn exchanges(&self) -> Vec<Exchange> {
        WorkEvidence::new(self.work.path()).exchanges().map(Result::unwrap).collect()
    }

    fn body(&self, exchange: &Exchange) -> Vec<u8> {
        WorkEvidence::new(self.work.path()).body(exchange).unwrap()
    }

    fn cells(&self, kind: &str) -> Value {
        serde_json::to_value(&self.scope.cells[kind]).unwrap()
    }

    async fn ask(&self, call: &str, parameters: Value) -> Asked {
        self.session.ask(ask(call, parameters)).await
    }
}

fn ask(call: &str, parameters: Value) -> Ask {
    let Value::Object(parameters) = parameters else { panic!("{parameters}") };
    Ask {
        request: "rows".into(),
        call: call.into(),
        cell: Cell::new([("account", "111122223333"), ("region", "eu-west-1")]),
        region: None,
        parameters,
        item: None,
        items: Vec::new(),
        page: 1,
        window: None,
    }
}

fn config(server: &Server, more: Value) -> AwsConfig {
    let mut config = json!({
        "accounts": ["111122223333"],
        "regions": ["eu-west-1"],
        "role": "arn:aws:iam::{account}:role/evidenced-read",
        "endpoint": server.url,
    });
    let Value::Object(more) = more else { panic!("{more}") };
    config.as_object_mut().unwrap().extend(more);
    let config: AwsConfig = serde_json::from_value(config).unwrap();
    assert_eq!(config.problems(), []);
    config
}

fn aws(server: &Server, more: Value) -> Aws {
    Aws::with(config(server, more), own(), limits())
}

/// An account's role, its identity and its regions, as AWS would answer.
fn usual(seen: &Seen) -> Reply {
    match seen.call().as_str() {
        "sts.AssumeRole" => {
            let role = seen.form("RoleArn").unwrap();
            assumed(role.split(':').nth(4).unwrap(), "2036-01-01T00:00:00Z")
        }
        "sts.GetCallerIdentity" => {
            let key = seen.access_key();
            identity(&key[key.len() - 12..])
        }
        "ec2.DescribeRegions" => regions(&[("eu-west-1", "opt-in-not-required"), ("ap-east-1", "not-opted-in")]),
        "organizations.DescribeOrganization" => json_error(400, "AWSOrganizationsNotInUseException"),
        other => panic!("{other} was not expected: {seen:?}"),
    }
}

/// Credentials whose key ends with the account.
fn assumed(account: &str, expiration: &str) -> Reply {
    ok(format!(
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE{account}</AccessKeyId>\
         <SecretAccessKey>s3cr3t</SecretAccessKey><SessionToken>t0k3n</SessionToken><Expiration>{expiration}</Expiration></Credentials>\
         </AssumeRoleResult></AssumeRoleResponse>"
    ))
}

fn identity(account: &str) -> Reply {
    ok(format!(
        "<GetCallerIdentityResponse><GetCallerIdentityResult><UserId>AROA:evidenced</UserId><Account>{account}</Account>\
         <Arn>arn:aws:sts::{account}:assumed-role/evidenced-read/evidenced</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>"
    ))
}

fn regions(rows: &[(&str, &str)]) -> Reply {
    let row = |(name, status): &(&str, &str)| {
        format!("<item><regionName>{name}</regionName><optInStatus>{status}</optInStatus></item>")
    };
    let rows: String = rows.iter().map(row).collect();
    ok(format!(
        "<DescribeRegionsResponse><requestId>r</requestId><regionInfo>{rows}</regionInfo></DescribeRegionsResponse>"
    ))
}

/// An error of the JSON protocols.
fn json_error(status: u16, code: &str) -> Reply {
    Reply::Full(status, vec![("x-amzn-requestid", "id-json".into())], json!({"__type": code}).to_string().into())
}

fn nothing() -> Value {
    Value::Object(Map::new())
}
