#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;

fn read(value: Value) -> AwsConfig {
    serde_json::from_value(value).unwrap()
}

fn keys(value: Value) -> Vec<String> {
    read(value).problems().into_iter().map(|(key, _)| key).collect()
}

fn refused(value: Value) -> String {
    serde_json::from_value::<AwsConfig>(value).unwrap_err().to_string()
}

const ROLE: &str = "arn:aws:iam::{account}:role/evidenced-read";

#[test]
fn nothing_configured_is_the_account_of_the_credentials_in_all_its_regions() {
    let config = read(json!({}));
    assert_eq!(config, AwsConfig::default());
    assert_eq!((config.problems(), config.accounts.clone(), config.regions.clone()), (vec![], None, Regions::Enabled));
    assert_eq!(config.role_in("111122223333"), None);
}

#[test]
fn what_is_written_is_written_back_the_same() {
    for value in [
        json!({"accounts": ["111122223333", "012345678901"], "regions": ["eu-west-1"], "role": ROLE, "external_id": "x:1"}),
        json!({"accounts": {"organization": {"role": "arn:aws:iam::111122223333:role/list", "except":
            [{"account": "444455556666", "reason": "sandbox"}]}}, "regions": "enabled", "role": ROLE,
            "except_regions": [{"region": "ap-east-1", "reason": "nobody uses it"}], "endpoints": {"sts": "https://h/{region}"}}),
    ] {
        let config = read(value);
        assert_eq!(config.problems(), []);
        assert_eq!(read(serde_json::to_value(&config).unwrap()), config);
    }
}

#[test]
fn an_account_id_whose_leading_zero_is_lost_is_refused_with_what_to_write() {
    assert_eq!(
        read(json!({"accounts": [111122223333_u64]})).accounts,
        Some(Accounts::Given(vec!["111122223333".into()]))
    );
    let said = refused(json!({"accounts": [12345678901_u64]}));
    assert!(said.contains("12345678901 is no account's id") && said.contains("`\"012345678901\"`"), "{said}");
    for wrong in [json!("1111222233334"), json!("11112222333x"), json!(""), json!(-1), json!(1.5), json!(null)] {
        assert!(refused(json!({"accounts": [wrong]})).contains("12 digits"), "{wrong}");
    }
    let except = json!([{"account": 1, "reason": "x"}]);
    let said = refused(json!({"accounts": {"organization": {"role": "r", "except": except}}}));
    assert!(said.contains("12 digits"), "{said}");
}

#[test]
fn unknown_keys_and_other_shapes_are_refused() {
    for wrong in [
        json!({"acounts": []}),
        json!({"accounts": "111122223333"}),
        json!({"accounts": {"organisation": {}}}),
        json!({"accounts": {"organization": {"role": "r", "rolle": "r"}}}),
        json!({"accounts": {"organization": {}}}),
        json!({"regions": "all"}),
        json!({"retry": {"attempt": 1}}),
        json!({"secret_access_key": "x"}),
    ] {
        refused(wrong);
    }
}

#[test]
fn several_accounts_need_a_role_with_the_account_in_it() {
    let two = json!(["111122223333", "444455556666"]);
    assert_eq!(keys(json!({"accounts": two})), ["role"]);
    assert_eq!(keys(json!({"accounts": two, "role": "arn:aws:iam::111122223333:role/r"})), ["role"]);
    assert_eq!(keys(json!({"accounts": two, "role": ROLE})), [""; 0]);
    assert_eq!(keys(json!({"role": ROLE})), ["accounts"]);
    assert_eq!(keys(json!({"role": "arn:aws:iam::111122223333:role/r"})), [""; 0]);
    assert_eq!(keys(json!({"accounts": ["111122223333"]})), [""; 0]);
    let organization = json!({"organization": {"role": "arn:aws:iam::111122223333:role/list"}});
    assert_eq!(keys(json!({"accounts": organization})), ["role"]);
    assert_eq!(read(json!({"role": ROLE})).role_in("012345678901").unwrap(), ROLE.replace("{account}", "012345678901"));
}

#[test]
fn each_problem_names_its_key() {
    let value = json!({
        "accounts": {"organization": {"role": "list", "management_role": "arn:aws:iam::1:role/x",
            "except": [{"account": "444455556666", "reason": " "}, {"account": "444455556666", "reason": "x"}]}},
        "role": "arn:aws:iam::{account}:user/x", "regions": ["europe", "eu-west-1", "eu-west-1"],
        "except_regions": [{"region": "x", "reason": ""}], "external_id": "a b", "external_id_file": "id",
        "session_name": "a b", "profile": "", "endpoint": "moto:5000", "endpoints": {"sts": "https://u:p@h", "s3": "ftp://h"},
        "ca_bundle": "ca.pem", "home_region": "us", "parallel": 0, "retry": {"attempts": 0},
    });
    let expected = [
        "accounts.organization.role",
        "accounts.organization.management_role",
        "accounts.organization.except[1].account",
        "accounts.organization.except[0].reason",
        "role",
        "external_id_file",
        "external_id",
        "external_id_file",
        "home_region",
        "regions[0]",
        "regions[2]",
        "except_regions",
        "except_regions[0].region",
        "except_regions[0].reason",
        "session_name",
        "profile",
        "endpoint",
        "endpoints.s3",
        "endpoints.sts",
        "ca_bundle",
        "parallel",
        "retry.attempts",
    ];
    assert_eq!(keys(value), expected);
    assert_eq!(keys(json!({"accounts": [], "regions": []})), ["accounts", "regions"]);
    assert_eq!(keys(json!({"accounts": ["111122223333", "111122223333"], "role": ROLE})), ["accounts[1]"]);
    assert_eq!(
        keys(json!({"external_id": "xx", "external_id_file": "/x"})),
        ["external_id", "external_id_file", "external_id_file"]
    );
}

#[test]
fn regions_are_told_from_other_texts() {
    for region in ["eu-west-1", "us-gov-west-1", "us-iso-east-1", "ap-southeast-12"] {
        assert!(is_region(region), "{region}");
    }
    for wrong in ["", "eu", "eu-west", "eu-west-", "-west-1", "EU-west-1", "eu-west-1a", "{region}", "eu west 1"] {
        assert!(!is_region(wrong), "{wrong}");
    }
}
