#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::{HttpAsk, encode};
use crate::aws::operations::operation;

fn make(call: &str, parameters: Value) -> Result<HttpAsk, String> {
    encode(operation(call).unwrap(), parameters.as_object().unwrap())
}

fn body(ask: &HttpAsk) -> &str {
    std::str::from_utf8(&ask.body).unwrap()
}

#[test]
fn each_protocol_sends_its_own_bytes() {
    let json = make("kms.ListKeys", json!({"Limit": 100, "Marker": "m"})).unwrap();
    assert_eq!((json.method.as_str(), json.path_and_query.as_str()), ("POST", "/"));
    assert_eq!(body(&json), r#"{"Limit":100,"Marker":"m"}"#);
    assert!(json.headers.contains(&("x-amz-target".into(), "TrentService.ListKeys".into())));
    assert!(json.headers.contains(&("content-type".into(), "application/x-amz-json-1.1".into())));

    let query = make("iam.ListAccessKeys", json!({"UserName": "a b+c"})).unwrap();
    assert_eq!(body(&query), "Action=ListAccessKeys&Version=2010-05-08&UserName=a%20b%2Bc");

    let ec2 = make(
        "ec2.DescribeSnapshots",
        json!({"OwnerIds": ["self"], "Filters": [{"Name": "status", "Values": ["completed", "error"]}]}),
    );
    assert_eq!(
        body(&ec2.unwrap()),
        "Action=DescribeSnapshots&Version=2016-11-15&Owner.1=self&Filter.1.Name=status&Filter.1.Value.1=completed&Filter.1.Value.2=error"
    );

    let rest =
        make("backup.ListBackupJobs", json!({"ByCreatedAfter": "2026-11-22T04:00:00Z", "MaxResults": 5})).unwrap();
    assert_eq!(rest.method, "GET");
    assert_eq!(rest.path_and_query, "/backup-jobs/?createdAfter=2026-11-22T04%3A00%3A00Z&maxResults=5");
    assert!(rest.body.is_empty());

    let bucket = make("s3.GetBucketEncryption", json!({"Bucket": "b1"})).unwrap();
    assert_eq!(bucket.path_and_query, "/b1?encryption");
}

#[test]
fn what_cannot_be_sent_as_it_stands_is_an_error_that_names_it() {
    for (call, parameters, named) in [
        ("s3.GetBucketEncryption", json!({}), "Bucket"),
        ("s3.GetBucketEncryption", json!({"Bucket": ""}), "Bucket"),
        ("s3.GetBucketEncryption", json!({"Bucket": ".."}), "Bucket"),
        ("s3.GetBucketEncryption", json!({"Bucket": null}), "Bucket"),
        ("kms.ListKeys", json!({"Limit": "100"}), "Limit"),
        ("kms.ListKeys", json!({"Max": 1}), "Max"),
        ("iam.GetAccessKeyLastUsed", json!({"AccessKeyId": 1}), "AccessKeyId"),
        ("s3control.GetPublicAccessBlock", json!({"AccountId": "a/b"}), "AccountId"),
        ("s3control.GetPublicAccessBlock", json!({"AccountId": "1\r\nx-evil: 1"}), "AccountId"),
        ("ec2.DescribeVolumes", json!({"VolumeIds": []}), "VolumeIds"),
        ("backup.ListBackupJobs", json!({"ByCreatedAfter": "yesterday"}), "ByCreatedAfter"),
    ] {
        let error = make(call, parameters).expect_err(call);
        assert!(error.contains(named), "{call}: {error}");
    }
}

#[test]
fn instants_are_written_as_each_protocol_wants_them() {
    let at = json!("2026-11-22T05:00:00.250+01:00");
    let json = make("cloudtrail.LookupEvents", json!({"StartTime": at})).unwrap();
    assert_eq!(body(&json), r#"{"StartTime":1795320000.25}"#);
    let whole = make("cloudtrail.LookupEvents", json!({"StartTime": "2026-11-22T04:00:00Z"})).unwrap();
    assert_eq!(body(&whole), r#"{"StartTime":1795320000}"#);
    let seconds = make("cloudtrail.LookupEvents", json!({"StartTime": 1795320000})).unwrap();
    assert_eq!(seconds, whole);
    let query = make("backup.ListBackupJobs", json!({"ByCreatedAfter": at})).unwrap();
    assert_eq!(query.path_and_query, "/backup-jobs/?createdAfter=2026-11-22T04%3A00%3A00.250Z");
}

#[test]
fn an_account_stands_in_the_host_and_in_the_header() {
    let ask = make("s3control.GetPublicAccessBlock", json!({"AccountId": "111122223333"})).unwrap();
    assert_eq!(ask.host_prefix.as_deref(), Some("111122223333."));
    assert_eq!(ask.headers, [("x-amz-account-id".to_owned(), "111122223333".to_owned())]);
    assert_eq!(ask.path_and_query, "/v20180820/configuration/publicAccessBlock");
}

#[test]
fn nothing_in_a_label_leaves_its_place_in_the_path() {
    let ask = make("backup.DescribeBackupVault", json!({"BackupVaultName": "a/b?c#d é%"})).unwrap();
    assert_eq!(ask.path_and_query, "/backup-vaults/a%2Fb%3Fc%23d%20%C3%A9%25");
}
