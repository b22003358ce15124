//! What an IAM policy document grants, as far as administrators are concerned (IAM JSON policy reference: Effect, Action, NotAction, Resource,
//! NotResource, Condition). It never says that somebody may do a thing: service control policies and session policies are not in it.

use serde_json::Value;

/// Actions with which one makes oneself an administrator, where they are allowed on every resource.
const ESCALATING: [&str; 15] = [
    "iam:addusertogroup",
    "iam:attachgrouppolicy",
    "iam:attachrolepolicy",
    "iam:attachuserpolicy",
    "iam:createaccesskey",
    "iam:createloginprofile",
    "iam:createpolicyversion",
    "iam:deleterolepermissionsboundary",
    "iam:deleteuserpermissionsboundary",
    "iam:putgrouppolicy",
    "iam:putrolepolicy",
    "iam:putuserpolicy",
    "iam:setdefaultpolicyversion",
    "iam:updateassumerolepolicy",
    "iam:updateloginprofile",
];

/// Actions that have a service run what the caller gives it, as the role that the caller passes with `iam:PassRole`.
const RUNNING: [&str; 14] = [
    "cloudformation:createstack",
    "codebuild:createproject",
    "datapipeline:createpipeline",
    "ec2:requestspotinstances",
    "ec2:runinstances",
    "ecs:registertaskdefinition",
    "glue:createdevendpoint",
    "glue:createjob",
    "lambda:createfunction",
    "sagemaker:createnotebookinstance",
    "sagemaker:createprocessingjob",
    "sagemaker:createtrainingjob",
    "ssm:startautomationexecution",
    "states:createstatemachine",
];

/// What is granted, from nothing to everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// Nothing of an administrator.
    Limited,
    /// Actions with which one makes oneself an administrator.
    Escalating,
    /// Every action on every resource.
    Full,
}

impl Grant {
    /// As records say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Limited => "none",
            Self::Escalating => "escalation",
            Self::Full => "full",
        }
    }
}

/// A document's grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// The most that its statements allow together.
    pub grant: Grant,
    /// Whether that much is allowed only under conditions.
    pub conditional: bool,
    /// Whether it denies everything without condition.
    pub denies_all: bool,
    /// Whether any role may be passed to a service.
    pub passes_roles: bool,
    /// Whether a service that takes a role may be told what to run.
    pub runs_code: bool,
}

/// Reads a document as IAM answers it: JSON, URL-encoded in most places.
///
/// # Errors
/// What is not a policy, in words.
pub fn read(document: &Value) -> Result<Value, String> {
    let text = match document {
        Value::Object(_) => return Ok(document.clone()),
        Value::String(text) => text,
        _ => return Err("there is no policy document".into()),
    };
    let plain = match text.trim_start().starts_with('{') {
        true => text.clone(),
        false => percent_encoding::percent_decode_str(text).decode_utf8().map_err(|e| e.to_string())?.into_owned(),
    };
    serde_json::from_str(&plain).map_err(|e| format!("a policy document is no JSON: {e}"))
}

/// What a document grants.
///
/// # Errors
/// What is not a policy, in words.
pub fn grants(document: &Value) -> Result<Grants, String> {
    let document = read(document)?;
    let mut grants =
        Grants { grant: Grant::Limited, conditional: false, denies_all: false, passes_roles: false, runs_code: false };
    for statement in statements(&document)? {
        let conditional = statement.get("Condition").is_some_and(|c| c.as_object().is_none_or(|c| !c.is_empty()));
        let reach = reach(statement);
        match statement["Effect"].as_str() {
            Some("Allow") if reach > Reach::Some => {
                let most = if reach == Reach::All { Grant::Full } else { Grant::Escalating };
                let found = allowed(statement)?.min(most);
                // What is granted without a condition outweighs the same under one.
                if found > grants.grant || (found == grants.grant && !conditional) {
                    grants.conditional = conditional && found > Grant::Limited;
                    grants.grant = found;
                }
                grants.passes_roles |= allows(statement, &["iam:passrole"]);
                grants.runs_code |= reach == Reach::All && allows(statement, &RUNNING);
            }
            Some("Deny") => {
                grants.denies_all |= reach == Reach::All && !conditional && allowed(statement)? == Grant::Full
            }
            Some("Allow") => {}
            _ => return Err("a statement neither allows nor denies".into()),
        }
    }
    if grants.grant == Grant::Limited && grants.passes_roles && grants.runs_code {
        grants.grant = Grant::Escalating;
    }
    Ok(grants)
}

/// A document's statements: one, or a list.
///
/// # Errors
/// Where there are none.
pub fn statements(document: &Value) -> Result<Vec<&Value>, String> {
    match &document["Statement"] {
        Value::Array(statements) => Ok(statements.iter().collect()),
        statement @ Value::Object(_) => Ok(vec![statement]),
        _ => Err("a policy document has no statements".into()),
    }
}

/// A member that is one text or a list of them.
pub fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// How far a statement reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// Some resources.
    Some,
    /// All users, groups, roles or policies of IAM.
    Iam,
    /// All resources.
    All,
}

fn reach(statement: &Value) -> Reach {
    let one = |resource: &&str| {
        if resource.chars().all(|c| c == '*') {
            return Reach::All;
        }
        let parts: Vec<&str> = resource.splitn(6, ':').collect();
        match parts.as_slice() {
            ["arn", _, service, _, _, "*" | "user/*" | "group/*" | "role/*" | "policy/*"]
                if matches(service, "iam") =>
            {
                Reach::Iam
            }
            _ => Reach::Some,
        }
    };
    match statement.get("Resource") {
        Some(resource) => texts(resource).iter().map(one).max().unwrap_or(Reach::Some),
        // All but some.
        None if statement.get("NotResource").is_some() => Reach::All,
        None => Reach::Some,
    }
}

/// Whether a statement's actions have one of these in them.
fn allows(statement: &Value, actions: &[&str]) -> bool {
    let fits = |patterns: &[&str], action: &str| patterns.iter().any(|pattern| matches(pattern, action));
    let (some, all_but) = (texts(&statement["Action"]), texts(&statement["NotAction"]));
    actions.iter().any(|action| if some.is_empty() { !fits(&all_but, action) } else { fits(&some, action) })
}

fn allowed(statement: &Value) -> Result<Grant, String> {
    let all = |patterns: &[&str]| patterns.iter().any(|p| p.chars().all(|c| c == '*') || *p == "*:*");
    if let Some(action) = statement.get("Action") {
        let patterns = texts(action);
        return Ok(if all(&patterns) {
            Grant::Full
        } else if ESCALATING.iter().any(|action| patterns.iter().any(|pattern| matches(pattern, action))) {
            Grant::Escalating
        } else {
            Grant::Limited
        });
    }
    let Some(not) = statement.get("NotAction") else { return Err("a statement has no action".into()) };
    let patterns = texts(not);
    let left = |action: &&str| !patterns.iter().any(|pattern| matches(pattern, action));
    Ok(if all(&patterns) {
        Grant::Limited
    } else if ESCALATING.iter().all(left) {
        Grant::Full
    } else if ESCALATING.iter().any(left) {
        Grant::Escalating
    } else {
        Grant::Limited
    })
}

/// Whether an action fits a pattern with `*` and `?`; letters of either case.
fn matches(pattern: &str, action: &str) -> bool {
    let pattern: Vec<char> = pattern.to_ascii_lowercase().chars().collect();
    let action: Vec<char> = action.chars().collect();
    let (mut p, mut a, mut star) = (0, 0, None);
    while a < action.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, a));
                p += 1;
            }
            Some(c) if *c == '?' || *c == action[a] => {
                p += 1;
                a += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    a = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn of(statement: Value) -> Grants {
        grants(&json!({"Version": "2012-10-17", "Statement": statement})).unwrap()
    }

    #[test]
    fn every_spelling_of_everything_is_full() {
        for action in [json!("*"), json!(["s3:Get*", "*"]), json!("*:*"), json!("**")] {
            assert_eq!(
                of(json!({"Effect": "Allow", "Action": action, "Resource": "*"})).grant,
                Grant::Full,
                "{action}"
            );
        }
        let all_but = json!({"Effect": "Allow", "NotAction": ["aws-portal:*"], "Resource": ["*"]});
        assert_eq!(of(all_but).grant, Grant::Full);
        assert_eq!(of(json!([{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::x"}])).grant, Grant::Full);
    }

    #[test]
    fn actions_that_lead_to_everything_are_seen_through_wildcards_and_case() {
        for action in ["iam:*", "IAM:Put*", "iam:attach?serPolicy", "iam:CreatePolicyVersion", "i*:*"] {
            let found = of(json!({"Effect": "Allow", "Action": [action], "Resource": "*"}));
            assert_eq!(found.grant, Grant::Escalating, "{action}");
        }
        let power_user = json!({"Effect": "Allow", "NotAction": ["iam:*", "organizations:*"], "Resource": "*"});
        assert_eq!(of(power_user).grant, Grant::Limited);
        assert_eq!(of(json!({"Effect": "Allow", "Action": "iam:Get*", "Resource": "*"})).grant, Grant::Limited);
        assert_eq!(of(json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})).grant, Grant::Limited);
        for resource in ["arn:aws:iam::*:*", "arn:aws:iam::111122223333:user/*"] {
            assert_eq!(of(json!({"Effect": "Allow", "Action": "*", "Resource": resource})).grant, Grant::Escalating);
        }
        assert_eq!(of(json!({"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::*"})).grant, Grant::Limited);
        let own = json!({"Effect": "Allow", "Action": "iam:CreateAccessKey", "Resource": "arn:aws:iam::*:user/${aws:username}"});
        assert_eq!(of(own).grant, Grant::Limited);
    }

    #[test]
    fn passing_any_role_to_what_runs_code_leads_to_everything_and_either_alone_does_not() {
        let allow = |action: &str, resource: &str| json!({"Effect": "Allow", "Action": action, "Resource": resource});
        let pass = allow("iam:PassRole", "arn:aws:iam::111122223333:role/*");
        for running in ["lambda:*", "ec2:RunInstances", "cloudformation:Create*"] {
            let run = allow(running, "*");
            assert_eq!(of(json!([pass, run])).grant, Grant::Escalating, "{running}");
            assert_eq!(of(run).grant, Grant::Limited, "{running}");
        }
        assert_eq!(of(pass).grant, Grant::Limited);
        let one = allow("iam:PassRole", "arn:aws:iam::111122223333:role/batch");
        assert_eq!(of(json!([one, allow("lambda:*", "*")])).grant, Grant::Limited);
        let power_user = json!({"Effect": "Allow", "NotAction": ["iam:*", "organizations:*"], "Resource": "*"});
        assert!(of(power_user.clone()).runs_code && !of(power_user).passes_roles);
    }

    #[test]
    fn conditions_and_denials_are_told() {
        let conditional = json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}});
        assert!(of(conditional.clone()).conditional);
        assert!(!of(json!([conditional, {"Effect": "Allow", "Action": "*", "Resource": "*"}])).conditional);
        assert!(of(json!({"Effect": "Deny", "Action": "*", "Resource": "*"})).denies_all);
        assert!(!of(json!({"Effect": "Deny", "Action": "iam:*", "Resource": "*"})).denies_all);
    }

    #[test]
    fn encoded_documents_are_read_and_what_is_none_is_refused() {
        let encoded = json!(
            "%7B%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22%2A%22%2C%22Resource%22%3A%22%2A%22%7D%7D"
        );
        assert_eq!(grants(&encoded).unwrap().grant, Grant::Full);
        for document in [json!(null), json!("%7B"), json!({}), json!({"Statement": [{"Effect": "Maybe"}]})] {
            assert!(grants(&document).is_err(), "{document}");
        }
    }
}
