//! The session policies of assumed roles: whatever a role may do, its sessions do no more than the collectors ask.
//!
//! A session may do what both the role's policies and its own allow, so the action of every request must be in the policy of the session
//! that makes it. All actions by name are longer than a session policy may be, so they are parted by service: each part is a session of its
//! own, and a request takes the one in which its actions are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

/// AssumeRole, Policy: the longest text that is taken.
pub const LONGEST: usize = 2048;

/// The policies of a source's sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    parts: Vec<BTreeSet<String>>,
    texts: Vec<String>,
}

impl Policies {
    /// For these actions; those of `everywhere` are in each part, for what may be needed beside a request's own.
    pub fn new(actions: &BTreeSet<String>, everywhere: &BTreeSet<String>) -> Self {
        let mut by_service: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        for action in actions.difference(everywhere) {
            by_service.entry(action.split(':').next().unwrap_or(action)).or_default().push(action);
        }
        let length = |actions: &[&String]| actions.iter().map(|action| action.len() + 3).sum::<usize>();
        let mut services: Vec<Vec<&String>> = by_service.into_values().collect();
        services.sort_by_key(|actions| std::cmp::Reverse(length(actions)));
        let room = LONGEST.saturating_sub(written(everywhere).len());
        let mut parts: Vec<Vec<&String>> = Vec::new();
        for service in services {
            match parts.iter_mut().find(|part| length(part) + length(&service) <= room) {
                Some(part) => part.extend(service),
                None => parts.push(service),
            }
        }
        let parts = parts.into_iter().map(|part| everywhere.iter().chain(part).cloned().collect::<BTreeSet<String>>());
        // What does not fit at all has no policy rather than one that takes something away.
        let parts: Vec<_> = parts.filter(|part| written(part).len() <= LONGEST).collect();
        Self { texts: parts.iter().map(written).collect(), parts }
    }

    /// The part in which all of these actions are; `None`: the request is made by a session without a policy.
    pub fn part(&self, actions: &[String]) -> Option<usize> {
        self.parts.iter().position(|part| actions.iter().all(|action| part.contains(action)))
    }

    /// A part's text.
    pub fn text(&self, part: usize) -> Option<&str> {
        self.texts.get(part).map(String::as_str)
    }
}

fn written(actions: &BTreeSet<String>) -> String {
    let statement = json!([{"Effect": "Allow", "Action": actions, "Resource": "*"}]);
    json!({"Version": "2012-10-17", "Statement": statement}).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::aws::operations;

    fn set<const N: usize>(actions: [&str; N]) -> BTreeSet<String> {
        actions.into_iter().map(str::to_owned).collect()
    }

    fn allowed(policies: &Policies, part: usize) -> Vec<String> {
        let policy: Value = serde_json::from_str(policies.text(part).unwrap()).unwrap();
        assert_eq!(policy["Statement"][0]["Effect"], "Allow");
        serde_json::from_value(policy["Statement"][0]["Action"].clone()).unwrap()
    }

    #[test]
    fn few_actions_are_one_part_by_name_and_nothing_else_is_allowed() {
        let policies = Policies::new(&set(["iam:ListUsers", "s3:ListAllMyBuckets"]), &set(["ec2:DescribeRegions"]));
        assert_eq!(policies.part(&["iam:ListUsers".into()]), Some(0));
        assert_eq!(allowed(&policies, 0), ["ec2:DescribeRegions", "iam:ListUsers", "s3:ListAllMyBuckets"]);
        assert_eq!(policies.part(&["iam:ListRoles".into()]), None);
        assert_eq!(policies.part(&[]), Some(0));
        assert!(!policies.text(0).unwrap().contains(' '));
    }

    #[test]
    fn every_call_has_a_session_whose_policy_allows_it_and_none_allows_more_than_reading() {
        let calls: Vec<&str> = include_str!("../../definitions/aws/model/operations.txt").lines().collect();
        let actions: BTreeSet<String> = calls.iter().flat_map(|call| operations::actions(call)).collect();
        let everywhere = set(["ec2:DescribeRegions", "iam:SimulatePrincipalPolicy"]);
        let policies = Policies::new(&actions, &everywhere);
        for call in calls {
            let needed = operations::actions(call);
            let part = policies.part(&needed).unwrap_or_else(|| panic!("no session is for {call}"));
            assert!(policies.text(part).unwrap().len() <= LONGEST);
            let allowed = allowed(&policies, part);
            assert!(needed.iter().chain(&everywhere).all(|action| allowed.contains(action)), "{call}");
            assert!(!allowed.iter().any(|action| action.contains('*')), "{allowed:?}");
        }
        assert!((2..8).contains(&policies.texts.len()), "{}", policies.texts.len());
    }

    #[test]
    fn what_does_not_fit_has_no_policy_rather_than_one_that_takes_away() {
        let many: BTreeSet<String> = (0..400).map(|number| format!("s3:GetNumber{number}")).collect();
        let policies = Policies::new(&many, &BTreeSet::new());
        assert_eq!((policies.part(&["s3:GetNumber1".into()]), policies.text(0)), (None, None));
        assert_eq!(Policies::new(&set(["iam:ListUsers"]), &many).part(&["iam:ListUsers".into()]), None);
    }

    proptest! {
        #[test]
        fn no_action_is_ever_taken_away(
            actions in proptest::collection::btree_set("[a-z]{2,6}:(Get|List|Describe|Lookup)[A-Z][a-z]{3,12}", 0..200),
            everywhere in proptest::collection::btree_set("[a-z]{2,6}:List[A-Z][a-z]{3,12}", 0..5),
        ) {
            let policies = Policies::new(&actions, &everywhere);
            for action in actions.iter().chain(&everywhere) {
                if let Some(part) = policies.part(std::slice::from_ref(action)) {
                    prop_assert!(policies.text(part).unwrap().len() <= LONGEST);
                    let allowed = allowed(&policies, part);
                    prop_assert!(allowed.contains(action) && everywhere.iter().all(|action| allowed.contains(action)));
                }
            }
        }
    }
}
