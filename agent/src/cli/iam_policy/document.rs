//! The texts that AWS takes: policies and the CloudFormation template of a role. Nothing here knows a configuration or a collector.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// The most characters of a managed policy, white space apart (IAM and AWS STS quotas).
pub const MOST_CHARACTERS: usize = 6_144;

/// The most managed policies that a role can have without asking AWS for more.
pub const MOST_POLICIES: usize = 10;

/// The policies that allow these actions: one, or as many as it takes. Each service is a statement; none is torn apart that fits into one
/// policy.
pub fn policies(actions: &BTreeSet<String>) -> Vec<Value> {
    let mut services: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for action in actions {
        services.entry(action.split(':').next().unwrap_or_default()).or_default().push(action);
    }
    let statement = |service: &str, actions: &[&str]| json!({"Sid": format!("Read{}", capital(service)), "Effect": "Allow", "Action": actions, "Resource": "*"});
    let mut done = Vec::new();
    let mut open: Vec<Value> = Vec::new();
    for (service, actions) in services {
        for part in parts(&actions, &|part| policy(&[statement(service, part)])) {
            let statement = statement(service, part);
            open.push(statement.clone());
            if characters(&policy(&open)) > MOST_CHARACTERS {
                open.pop();
                done.push(policy(&open));
                open = vec![statement];
            }
        }
    }
    if !open.is_empty() {
        done.push(policy(&open));
    }
    done
}

/// The policies that allow to assume these roles.
pub fn assume(roles: &[String]) -> Vec<Value> {
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    let make = |roles: &[&str]| {
        let statement = json!({"Sid": "AssumeRoles", "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": roles});
        policy(&[statement])
    };
    parts(&roles, &make).into_iter().map(make).collect()
}

/// As few parts of a list as fit into a policy each.
fn parts<'a, 'b>(list: &'a [&'b str], make: &dyn Fn(&[&str]) -> Value) -> Vec<&'a [&'b str]> {
    let mut parts = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        let lengths: Vec<usize> = (1..=rest.len()).collect();
        // One item always fits.
        let fits = lengths.partition_point(|n| characters(&make(&rest[..*n])) <= MOST_CHARACTERS).max(1);
        let (part, left) = rest.split_at(fits);
        parts.push(part);
        rest = left;
    }
    parts
}

/// A policy of these statements.
pub fn policy(statements: &[Value]) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// As AWS counts them. Compact JSON of a policy has no white space.
pub fn characters(policy: &Value) -> usize {
    policy.to_string().chars().count()
}

/// `access-analyzer` as `AccessAnalyzer`: a Sid has letters and digits only.
fn capital(service: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    service.split(|c: char| !c.is_ascii_alphanumeric()).map(word).collect()
}

/// A role that the template makes.
pub struct Role<'a> {
    /// Its name, unless the deployer gives another one.
    pub name: &'a str,
    /// `/`, or what stands before the name in its ARN.
    pub path: &'a str,
    /// What it is for, in a sentence.
    pub description: &'a str,
}

/// A CloudFormation template of the role with these policies, for a stack or a stack set. They are managed policies: together they are too long
/// to be in the role itself.
pub fn template(role: &Role<'_>, policies: &[Value]) -> Value {
    let logical =
        |at: usize| if policies.len() == 1 { "ReadPolicy".to_owned() } else { format!("ReadPolicy{}", at + 1) };
    let mut resources: serde_json::Map<String, Value> = policies
        .iter()
        .enumerate()
        .map(|(at, policy)| {
            let properties =
                json!({"Description": role.description, "PolicyDocument": policy, "Roles": [{"Ref": "Role"}]});
            (logical(at), json!({"Type": "AWS::IAM::ManagedPolicy", "Properties": properties}))
        })
        .collect();
    let external_id = json!({"StringEquals": {"sts:ExternalId": {"Ref": "ExternalId"}}});
    let trust = json!([{
        "Effect": "Allow",
        "Principal": {"AWS": {"Ref": "TrustedPrincipalArn"}},
        "Action": "sts:AssumeRole",
        "Condition": {"Fn::If": ["HasExternalId", external_id, {"Ref": "AWS::NoValue"}]},
    }]);
    resources.insert(
        "Role".into(),
        json!({
            "Type": "AWS::IAM::Role",
            "Properties": {
                "RoleName": {"Ref": "RoleName"},
                "Path": role.path,
                "Description": role.description,
                "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": trust},
            },
        }),
    );
    json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": role.description,
        "Parameters": {
            "TrustedPrincipalArn": {
                "Type": "String",
                "Description": "The agent's own identity, which assumes the role",
                "AllowedPattern": "arn:aws[a-z-]*:iam::[0-9]{12}:(root|user/.+|role/.+)",
                "ConstraintDescription": "the ARN of a role or user, such as arn:aws:iam::111122223333:role/evidenced",
            },
            "ExternalId": {
                "Type": "String",
                "Description": "The external_id of the source in evidenced.yaml; empty for none",
                "Default": "",
                "AllowedPattern": "|[A-Za-z0-9_+=,.@:/-]{2,1224}",
                "ConstraintDescription": "2 to 1224 letters, digits or characters of _+=,.@:/-",
            },
            "RoleName": {
                "Type": "String",
                "Description": "The name in the role's ARN in evidenced.yaml",
                "Default": role.name,
                "AllowedPattern": "[A-Za-z0-9_+=,.@-]{1,64}",
            },
        },
        "Conditions": {"HasExternalId": {"Fn::Not": [{"Fn::Equals": [{"Ref": "ExternalId"}, ""]}]}},
        "Resources": resources,
        "Outputs": {
            "RoleArn": {"Description": "The role, for evidenced.yaml", "Value": {"Fn::GetAtt": ["Role", "Arn"]}},
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn set(actions: &[&str]) -> BTreeSet<String> {
        actions.iter().map(|action| (*action).to_owned()).collect()
    }

    /// Every action of every statement.
    fn allowed(policies: &[Value]) -> Vec<String> {
        let statements = policies.iter().flat_map(|policy| policy["Statement"].as_array().unwrap());
        statements.flat_map(|s| serde_json::from_value::<Vec<String>>(s["Action"].clone()).unwrap()).collect()
    }

    #[test]
    fn each_service_is_a_statement_with_a_name_that_aws_takes() {
        let policies = policies(&set(&["s3:ListAllMyBuckets", "access-analyzer:ListFindings", "s3:GetBucketPolicy"]));
        assert_eq!(
            policies,
            [json!({"Version": "2012-10-17", "Statement": [
                {"Sid": "ReadAccessAnalyzer", "Effect": "Allow", "Action": ["access-analyzer:ListFindings"], "Resource": "*"},
                {"Sid": "ReadS3", "Effect": "Allow", "Action": ["s3:GetBucketPolicy", "s3:ListAllMyBuckets"], "Resource": "*"},
            ]})]
        );
        assert_eq!(super::policies(&BTreeSet::new()), Vec::<Value>::new());
    }

    #[test]
    fn what_is_too_long_for_a_policy_becomes_several_and_no_service_is_torn_that_fits() {
        let many: BTreeSet<String> =
            (0..40).flat_map(|s| (0..10).map(move |n| format!("service{s:02}:DescribeSomething{n}"))).collect();
        let several = policies(&many);
        assert!(several.len() > 2, "{}", several.len());
        assert_eq!(allowed(&several), Vec::from_iter(many));
        let services: Vec<_> =
            several.iter().flat_map(|p| p["Statement"].as_array().unwrap()).map(|s| &s["Sid"]).collect();
        assert_eq!(services.len(), 40, "each in one statement");
        let large: BTreeSet<String> = (0..400).map(|n| format!("ec2:DescribeSomething{n:03}")).collect();
        assert!(policies(&large).len() > 1);
        assert_eq!(allowed(&policies(&large)), Vec::from_iter(large));
    }

    #[test]
    fn roles_to_assume_are_named_one_by_one() {
        let roles: Vec<String> = (0..300).map(|n| format!("arn:aws:iam::{n:012}:role/evidenced-read")).collect();
        let several = assume(&roles);
        assert!(several.len() > 1 && several.iter().all(|policy| characters(policy) <= MOST_CHARACTERS));
        let named = several.iter().flat_map(|policy| policy["Statement"][0]["Resource"].as_array().unwrap());
        assert_eq!(named.map(|role| role.as_str().unwrap()).collect::<Vec<_>>(), roles);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_action_is_allowed_once_and_every_policy_is_short_enough(
            actions in proptest::collection::btree_set("(ec2|iam|kms|rds|s3|sso):(List|Get|Describe)[A-Za-z]{1,40}", 0..300)
        ) {
            let policies = policies(&actions);
            let mut allowed = allowed(&policies);
            allowed.sort();
            prop_assert_eq!(allowed, Vec::from_iter(actions));
            for policy in &policies {
                prop_assert!(characters(policy) <= MOST_CHARACTERS);
                let sids: Vec<_> = policy["Statement"].as_array().unwrap().iter().map(|s| s["Sid"].as_str().unwrap()).collect();
                prop_assert_eq!(sids.iter().collect::<BTreeSet<_>>().len(), sids.len(), "a Sid is there once");
                prop_assert!(sids.iter().all(|sid| sid.chars().all(|c| c.is_ascii_alphanumeric())));
            }
        }
    }
}
