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
    ] {
        let error = make(call, parameters).expect_err(call);
        assert!(error.contains(named), "{call}: {error}");
    }
}
