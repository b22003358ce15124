#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{fs, sync::Arc};

use collectors::{
    aws::{AwsDialect, definitions, operations, scope},
    contract::{Answer, Collector},
    declared::system::{Scope, System},
    testing::system::Scripts,
};
use serde_json::json;

use super::*;

fn need(what: &str, cells: &[&str]) -> Need {
    let cells = cells.iter().map(|cells| (*cells).to_owned()).collect();
    Need { kind: NeedKind::Action, what: what.into(), why: "things".into(), cells }
}

fn needs() -> Vec<Need> {
    vec![
        need("iam:ListUsers", &["accounts"]),
        need("iam:ListOrganizationsFeatures", &["source"]),
        need("organizations:DescribeOrganization", &["source"]),
        need("rds:DescribeDBInstances", &["accounts x regions"]),
        need("tag:GetResources", &["accounts x regions", "source"]),
    ]
}

fn config(yaml: &str) -> AwsConfig {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.yaml");
    fs::write(&path, format!("sources: [{{name: prod, aws: {yaml}}}]\n")).unwrap();
    Config::load(Some(&path), []).unwrap().config.sources.remove(0).aws.unwrap()
}

const ORGANIZED: &str = "{role: 'arn:aws:iam::{account}:role/audit/read', accounts: {organization: {role: \
     'arn:aws:iam::111122223333:role/discover', management_role: 'arn:aws:iam::111122223333:role/own'}}}";

fn args(for_: For, format: Format) -> Args {
    Args { config: None, source: None, for_, format, archive: false, auditor: false, part: None }
}

fn printed(yaml: &str, for_: For, format: Format) -> anyhow::Result<Value> {
    print(&args(for_, format), &config(yaml), &needs(), "prod")
}

/// The actions of a policy, in order.
fn allowed(policy: &Value) -> Vec<String> {
    let statements = policy["Statement"].as_array().unwrap();
    statements.iter().flat_map(|s| serde_json::from_value::<Vec<String>>(s["Action"].clone()).unwrap()).collect()
}

#[test]
fn each_role_of_an_organisation_gets_what_is_asked_as_it_and_no_more() {
    let policy = |of| allowed(&printed(ORGANIZED, of, Format::Policy).unwrap());
    assert_eq!(
        policy(For::Member),
        ["ec2:DescribeRegions", "iam:ListUsers", "rds:DescribeDBInstances", "tag:GetResources"]
    );
    assert_eq!(
        policy(For::Discovery),
        [
            "iam:ListOrganizationsFeatures",
            "organizations:DescribeOrganization",
            "organizations:ListAccounts",
            "tag:GetResources"
        ]
    );
    let agent = printed(ORGANIZED, For::Agent, Format::Policy).unwrap();
    assert_eq!(
        agent["Statement"],
        json!([{"Sid": "AssumeRoles", "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": [
            "arn:aws:iam::*:role/audit/read",
            "arn:aws:iam::111122223333:role/discover",
            "arn:aws:iam::111122223333:role/own",
        ]}])
    );
}

#[test]
fn without_an_organisation_the_one_role_gets_everything() {
    let given = "{role: 'arn:aws:iam::{account}:role/read', accounts: [111122223333, 444455556666]}";
    let member = allowed(&printed(given, For::Member, Format::Policy).unwrap());
    assert_eq!(
        member,
        [
            "ec2:DescribeRegions",
            "iam:ListOrganizationsFeatures",
            "iam:ListUsers",
            "organizations:DescribeOrganization",
            "rds:DescribeDBInstances",
            "tag:GetResources"
        ]
    );
    assert_eq!(member, allowed(&printed("{}", For::Member, Format::Policy).unwrap()));
    let agent = printed(given, For::Agent, Format::Policy).unwrap();
    let roles = json!(["arn:aws:iam::111122223333:role/read", "arn:aws:iam::444455556666:role/read"]);
    assert_eq!(agent["Statement"][0]["Resource"], roles);
    let refused = printed(given, For::Discovery, Format::Policy).unwrap_err().to_string();
    assert!(refused.contains("--for member"), "{refused}");
    let refused = printed("{}", For::Agent, Format::Policy).unwrap_err().to_string();
    assert!(refused.contains("assumes no role"), "{refused}");
}

#[test]
fn what_a_run_asks_to_find_its_accounts_and_regions_is_allowed() {
    let mut all = BTreeSet::new();
    for (yaml, of) in [("{}", For::Member), (ORGANIZED, For::Member), (ORGANIZED, For::Discovery)] {
        all.extend(actions(&config(yaml), &[], of).unwrap());
    }
    let asked: BTreeSet<String> = scope::CALLS.iter().flat_map(|call| operations::actions(call)).collect();
    assert_eq!(all, asked);
}

#[test]
fn the_template_has_the_same_policy_and_the_roles_own_name_and_path() {
    for (of, name, path) in [(For::Member, "read", "/audit/"), (For::Discovery, "discover", "/")] {
        let template = printed(ORGANIZED, of, Format::Cloudformation).unwrap();
        let role = &template["Resources"]["Role"]["Properties"];
        assert_eq!((&template["Parameters"]["RoleName"]["Default"], &role["Path"]), (&json!(name), &json!(path)));
        assert_eq!(role.get("Policies"), None, "no inline policy");
        let policy = &template["Resources"]["ReadPolicy"]["Properties"];
        assert_eq!(policy["Roles"], json!([{"Ref": "Role"}]));
        assert_eq!(policy["PolicyDocument"], printed(ORGANIZED, of, Format::Policy).unwrap());
    }
    let default = printed("{}", For::Member, Format::Cloudformation).unwrap();
    assert_eq!(default["Parameters"]["RoleName"]["Default"], "evidenced-read");
    assert!(printed(ORGANIZED, For::Agent, Format::Cloudformation).is_err());
}

#[test]
fn a_policy_that_is_too_long_is_never_cut_but_printed_in_parts() {
    let needs: Vec<Need> = (0..300).map(|n| need(&format!("ec2:DescribeSomething{n:03}"), &["accounts"])).collect();
    let print = |part, format| print(&Args { part, ..args(For::Member, format) }, &config("{}"), &needs, "prod");
    let refused = print(None, Format::Policy).unwrap_err().to_string();
    assert!(
        refused.starts_with("it takes 2 managed policies") && refused.contains("--part 1 to --part 2"),
        "{refused}"
    );
    let mut all = allowed(&print(Some(1), Format::Policy).unwrap());
    all.extend(allowed(&print(Some(2), Format::Policy).unwrap()));
    assert_eq!(all.len(), 302);
    assert!(print(Some(0), Format::Policy).is_err() && print(Some(3), Format::Policy).is_err());
    let template = print(None, Format::Cloudformation).unwrap();
    let resources: Vec<&String> = template["Resources"].as_object().unwrap().keys().collect();
    assert_eq!(resources, ["ReadPolicy1", "ReadPolicy2", "Role"]);
    assert!(print(Some(1), Format::Cloudformation).is_err());
}

#[test]
fn nothing_is_printed_that_could_change_something_or_give_a_secret_away() {
    let never = [
        "s3:GetObject",
        "s3:GetObjectVersion",
        "dynamodb:GetItem",
        "dynamodb:BatchGetItem",
        "secretsmanager:GetSecretValue",
        "secretsmanager:BatchGetSecretValue",
        "ssm:GetParameters",
        "kms:Decrypt",
        "kms:GenerateDataKey",
        "sts:GetSessionToken",
        "sts:AssumeRole",
        "iam:CreateUser",
        "iam:GenerateOrganizationsAccessReport",
        "s3:*",
        "s3:Get*",
        "*",
        "GetObject",
        ":ListUsers",
    ];
    for action in never {
        assert!(!only_reads(action), "{action}");
        let refused = print(&args(For::Member, Format::Policy), &config("{}"), &[need(action, &["accounts"])], "prod");
        let refused = format!("{:#}", refused.unwrap_err());
        assert!(refused.contains(action) && refused.contains("a mistake in the program"), "{refused}");
    }
    for action in ["iam:GenerateCredentialReport", "s3:GetBucketPolicy", "kms:GetKeyPolicy", "cloudtrail:LookupEvents"]
    {
        assert!(only_reads(action), "{action}");
    }
}

/// Every definition of the program, on a system that answers nothing.
fn declared() -> Source {
    let at = "2026-11-22T04:00:00Z".parse().unwrap();
    let system = Arc::new(Scripts::new(AwsDialect, |_, _| Answer::Failed, Scope::default(), Vec::new(), at));
    let collectors: Vec<Arc<dyn Collector>> = definitions::all(&(system as Arc<dyn System>));
    Source { name: "prod".into(), kind: "aws".into(), identity: Value::Null, collectors, not_run: None }
}

#[test]
fn every_collector_of_the_program_asks_for_nothing_but_reading() {
    let source = declared();
    assert!(!source.collectors.is_empty());
    for collector in &source.collectors {
        let spec = collector.spec();
        assert!(!spec.needs.is_empty(), "{}", spec.id);
        for need in &spec.needs {
            assert!(only_reads(&need.what), "{} asks for {}", spec.id, need.what);
            assert!(!need.cells.is_empty(), "{} does not say where it needs {}", spec.id, need.what);
        }
    }
    let needs = enabled(&Config::default(), &source);
    for of in [For::Member, For::Discovery] {
        let template = print(&args(of, Format::Cloudformation), &config(ORGANIZED), &needs, "prod").unwrap();
        let written = serde_json::to_string_pretty(&template).unwrap();
        assert!(written.len() < 51_200, "more cannot be sent without a bucket: {}", written.len());
    }
}

/// Runs the command on a configuration.
fn asked(yaml: &str, change: impl FnOnce(&mut Args)) -> (anyhow::Result<Value>, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.yaml");
    fs::write(&path, yaml).unwrap();
    let mut args = Args { config: Some(path), ..args(For::Member, Format::Policy) };
    change(&mut args);
    let mut notes = Vec::new();
    let printed = super::asked(&args, [], &mut notes).map(|text| serde_json::from_str(&text).unwrap());
    (printed, String::from_utf8(notes).unwrap())
}

#[test]
fn a_collector_that_is_switched_off_needs_nothing() {
    let source = declared();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.yaml");
    let off = source.collectors[0].spec().id.clone();
    fs::write(&path, format!("jobs: [{{collector: {off}, enabled: false, reason: not used here}}]\n")).unwrap();
    let config = Config::load(Some(&path), []).unwrap().config;
    let all = enabled(&Config::default(), &source).len();
    assert_eq!(enabled(&config, &source).len(), all - source.collectors[0].spec().needs.len());
}

#[test]
fn the_source_is_the_one_there_is_or_the_one_that_is_named() {
    let (printed, notes) = asked("sources: [{name: this, host: {}}]", |_| {});
    assert!(allowed(&printed.unwrap()).contains(&"ec2:DescribeRegions".to_owned()));
    assert!(notes.starts_with("The configuration has no AWS source"), "{notes}");
    let two = "sources:\n- {name: a, aws: {}}\n- {name: b, aws: {role: 'arn:aws:iam::111122223333:role/x'}}\n";
    let refused = asked(two, |_| {}).0.unwrap_err().to_string();
    assert!(refused.ends_with("name one with --source: a, b"), "{refused}");
    let named = asked(two, |args| (args.source, args.for_) = (Some("b".into()), For::Agent)).0.unwrap();
    assert_eq!(named["Statement"][0]["Resource"], json!(["arn:aws:iam::111122223333:role/x"]));
    let refused = asked(two, |args| args.source = Some("c".into())).0.unwrap_err().to_string();
    assert_eq!(refused, "there is no AWS source \"c\"; there are: a, b");
    let refused = asked("sources: [{name: a, aws: {accounts: []}}]", |_| {}).0.unwrap_err().to_string();
    assert!(refused.contains("sources[0].aws.accounts"), "{refused}");
}

#[test]
fn a_roles_path_and_name_are_told_apart() {
    assert_eq!(path_and_name("arn:aws:iam::111122223333:role/read"), ("/", "read"));
    assert_eq!(path_and_name("arn:aws-cn:iam::{account}:role/a/b/read"), ("/a/b/", "read"));
    assert_eq!(path_and_name("role/read"), ("/", "read"));
}
