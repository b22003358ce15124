//! The session policy of assumed roles: whatever a role may do, its sessions only read.
//!
//! A session may do what both the role's policies and this one allow, so it must allow every action that a collector needs: where all of them
//! do not fit by name, those of one service are joined to `backup:List*`, which allows more and never less. Services whose `Get` answers with
//! secrets, or with the data that they are there for, keep their actions by name.

use std::collections::BTreeSet;

use serde_json::json;

/// AssumeRole, Policy: the longest text that is taken.
pub const LONGEST: usize = 2048;

/// Verbs of reading that actions are joined by.
const VERBS: [&str; 3] = ["Describe", "Get", "List"];

/// Services of which some `Get`, `Describe` or `List` answers with more than settings.
const BY_NAME: [&str; 14] = [
    "cognito-idp",
    "dynamodb",
    "ecr",
    "kinesis",
    "kms",
    "lambda",
    "logs",
    "rds-data",
    "redshift-data",
    "s3",
    "secretsmanager",
    "sqs",
    "ssm",
    "sts",
];

/// The policy that allows these actions and, where they are too many, others that read; `None`: there is none that is short enough.
pub fn session_policy(actions: &BTreeSet<String>) -> Option<String> {
    let mut allowed = actions.clone();
    let mut policy = written(&allowed);
    while policy.len() > LONGEST {
        let (wildcard, _) = candidates(&allowed).into_iter().max_by_key(|(_, saved)| *saved)?;
        let start = wildcard.trim_end_matches('*');
        allowed.retain(|action| !action.starts_with(start));
        allowed.insert(wildcard);
        policy = written(&allowed);
    }
    Some(policy)
}

fn written(actions: &BTreeSet<String>) -> String {
    let statement = json!([{"Effect": "Allow", "Action": actions, "Resource": "*"}]);
    json!({"Version": "2012-10-17", "Statement": statement}).to_string()
}

/// What could stand for several of the actions, with how many bytes that saves.
fn candidates(actions: &BTreeSet<String>) -> Vec<(String, usize)> {
    let services: BTreeSet<&str> = actions.iter().filter_map(|action| Some(action.split_once(':')?.0)).collect();
    let mut candidates = Vec::new();
    for service in services.into_iter().filter(|service| !BY_NAME.contains(service)) {
        for verb in VERBS {
            let start = format!("{service}:{verb}");
            let joined: Vec<&String> = actions.iter().filter(|a| a.starts_with(&start) && !a.ends_with('*')).collect();
            let before: usize = joined.iter().map(|action| action.len() + 3).sum();
            let after = start.len() + 1 + 3;
            if joined.len() > 1 && before > after {
                candidates.push((format!("{start}*"), before - after));
            }
        }
    }
    candidates
}

/// Whether a policy's pattern allows an action.
#[cfg(test)]
fn allows(pattern: &str, action: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == action, |start| action.starts_with(start))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::aws::operations;

    fn patterns(policy: &str) -> Vec<String> {
        let policy: Value = serde_json::from_str(policy).unwrap();
        serde_json::from_value(policy["Statement"][0]["Action"].clone()).unwrap()
    }

    fn every_action() -> BTreeSet<String> {
        let calls = include_str!("../../definitions/aws/model/operations.txt");
        calls.lines().flat_map(operations::actions).collect()
    }

    #[test]
    fn few_actions_are_allowed_by_name_and_nothing_else_is() {
        let actions = BTreeSet::from(["iam:ListUsers".to_owned(), "s3:ListAllMyBuckets".to_owned()]);
        let policy = session_policy(&actions).unwrap();
        assert_eq!(patterns(&policy), ["iam:ListUsers", "s3:ListAllMyBuckets"]);
        assert!(!policy.contains(' '));
    }

    #[test]
    fn all_actions_that_any_call_needs_fit_and_each_is_allowed() {
        let actions = every_action();
        assert!(actions.len() > 100, "{}", actions.len());
        let policy = session_policy(&actions).unwrap();
        assert!(policy.len() <= LONGEST, "{}", policy.len());
        let patterns = patterns(&policy);
        for action in &actions {
            assert!(patterns.iter().any(|pattern| allows(pattern, action)), "{action} is taken away by {policy}");
        }
        for never in
            ["s3:GetObject", "secretsmanager:GetSecretValue", "ssm:GetParameter", "kms:Decrypt", "iam:CreateUser"]
        {
            assert!(!patterns.iter().any(|pattern| allows(pattern, never)), "{never} is allowed by {policy}");
        }
    }

    #[test]
    fn what_cannot_be_made_short_enough_has_no_policy_rather_than_one_that_takes_away() {
        let actions: BTreeSet<String> = (0..400).map(|number| format!("s3:GetNumber{number}")).collect();
        assert_eq!(session_policy(&actions), None);
    }

    proptest! {
        #[test]
        fn no_action_is_ever_taken_away(actions in proptest::collection::btree_set("[a-z]{2,6}:(Get|List|Describe|Lookup)[A-Z][a-z]{3,12}", 0..200)) {
            if let Some(policy) = session_policy(&actions) {
                prop_assert!(policy.len() <= LONGEST);
                let patterns = patterns(&policy);
                for action in &actions {
                    prop_assert!(patterns.iter().any(|pattern| allows(pattern, action)));
                }
            }
        }
    }
}
