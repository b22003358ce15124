//! What `evidenced iam-policy` prints is what AWS takes: the template passes AWS's own linter, and deploys.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{fs, process::Command};

use serde_json::{Value, json};
use tests::{
    program::{Place, text},
    tools,
};

const CONFIGURATION: &str = "
sources:
- name: prod
  aws:
    role: arn:aws:iam::{account}:role/audit/evidenced-read
    external_id: acme-1
    accounts: {organization: {role: 'arn:aws:iam::111122223333:role/evidenced-discover'}}
";

fn configured() -> Place {
    let place = Place::new();
    fs::write(place.path().join("evidenced.yaml"), CONFIGURATION).unwrap();
    place
}

/// Runs the command without any credentials in reach.
fn printed(place: &Place, arguments: &[&str]) -> Value {
    let mut command = place.command([&["iam-policy"], arguments].concat());
    let output = command.env_clear().env("HOME", place.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The actions of a policy, sorted.
fn actions(policy: &Value) -> Vec<String> {
    let statements = policy["Statement"].as_array().unwrap();
    let of = |statement: &Value| serde_json::from_value::<Vec<String>>(statement["Action"].clone()).unwrap();
    let mut actions: Vec<String> = statements.iter().flat_map(of).collect();
    actions.sort();
    actions
}

/// The actions of all policies of a template, sorted.
fn actions_of_template(template: &Value) -> Vec<String> {
    let resources = template["Resources"].as_object().unwrap().values();
    let policies = resources.filter(|resource| resource["Type"] == "AWS::IAM::ManagedPolicy");
    let mut all: Vec<String> =
        policies.flat_map(|resource| actions(&resource["Properties"]["PolicyDocument"])).collect();
    all.sort();
    all
}

#[test]
fn the_templates_pass_the_linter_without_a_warning() {
    let place = configured();
    for of in ["member", "discovery"] {
        let template = printed(&place, &["--for", of, "--format", "cloudformation"]);
        let path = place.path().join(format!("{of}.json"));
        fs::write(&path, serde_json::to_vec_pretty(&template).unwrap()).unwrap();
        let said = Command::new(tools::aws().join("bin/cfn-lint"))
            .args(["--regions", "us-east-1", "eu-west-1", "--include-checks", "I", "W", "--"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(said.status.success(), "{of}:\n{}{}", text(&said.stdout), text(&said.stderr));
        // The linter would have said something.
        let mut wrong = template.clone();
        wrong["Resources"]["Role"]["Properties"]["ManagedPolicies"] = json!([]);
        fs::write(&path, serde_json::to_vec_pretty(&wrong).unwrap()).unwrap();
        let said = Command::new(tools::aws().join("bin/cfn-lint")).arg(&path).output().unwrap();
        assert!(!said.status.success(), "{of}: a property that there is not is not noticed");
    }
}

#[test]
fn the_templates_deploy_as_a_stack_and_as_a_stack_set_and_make_the_role_that_the_configuration_names() {
    let place = configured();
    for (of, role, external_id) in [
        ("member", "arn:aws:iam::123456789012:role/audit/evidenced-read", "acme-1"),
        ("discovery", "arn:aws:iam::123456789012:role/evidenced-discover", ""),
    ] {
        let template = printed(&place, &["--for", of, "--format", "cloudformation"]);
        let path = place.path().join(format!("{of}.json"));
        fs::write(&path, serde_json::to_vec_pretty(&template).unwrap()).unwrap();
        let output = Command::new(tools::aws().join("bin/python"))
            .arg(tools::scripts().join("aws_role.py"))
            .arg(&path)
            .arg(external_id)
            .output()
            .unwrap();
        assert!(output.status.success(), "{of}:\n{}", text(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&made["status"], &made["arn"]), (&json!("CREATE_COMPLETE"), &json!(role)));
        assert_eq!(made["inline"], json!([]));
        assert_eq!(made["actions"], json!(actions_of_template(&template)));
        let trust = &made["trust"][0];
        assert_eq!(trust["Principal"]["AWS"], "arn:aws:iam::123456789012:role/evidenced");
        assert_eq!(trust["Action"], "sts:AssumeRole");
        let condition = match external_id {
            "" => Value::Null,
            id => json!({"StringEquals": {"sts:ExternalId": id}}),
        };
        assert_eq!(trust["Condition"], condition, "{of}");
    }
}

#[test]
fn the_policies_are_the_templates_and_need_neither_credentials_nor_network() {
    let place = configured();
    for of in ["member", "discovery"] {
        let template = printed(&place, &["--for", of, "--format", "cloudformation"]);
        let parts = template["Resources"].as_object().unwrap().len() - 1;
        let mut all = Vec::new();
        for part in 1..=parts {
            let policy = printed(&place, &["--for", of, "--part", &part.to_string()]);
            assert!(policy.to_string().len() <= 6_144);
            all.extend(actions(&policy));
        }
        all.sort();
        assert_eq!(all, actions_of_template(&template), "{of}");
    }
    let agent = printed(&place, &["--for", "agent"]);
    let roles = ["arn:aws:iam::*:role/audit/evidenced-read", "arn:aws:iam::111122223333:role/evidenced-discover"];
    assert_eq!(agent["Statement"][0]["Resource"], json!(roles));
    let refused = place.run(["iam-policy", "--source", "staging"]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(text(&refused.stderr), "error: there is no AWS source \"staging\"; there are: prod\n");
}
