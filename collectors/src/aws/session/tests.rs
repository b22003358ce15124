#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;
use crate::aws::Aws;

async fn connection(config: Value) -> Arc<Connection> {
    let own = aws_credential_types::Credentials::new("AKIA", "secret", None, None, "test");
    let config: AwsConfig = serde_json::from_value(config).unwrap();
    let aws = Aws::with(config, aws_credential_types::provider::SharedCredentialsProvider::new(own), Limits::default());
    aws.connect(crate::testing::system_now()).await.unwrap()
}

async fn place(config: Value, call: &str, region: &str, parameters: Value) -> (String, String, String) {
    let operation = operation(call).unwrap();
    let parameters = parameters.as_object().unwrap();
    let http = encode(operation, parameters).unwrap();
    let place = connection(config).await.place(operation, region, parameters, &http);
    (place.url, place.http.path_and_query, place.signing_region)
}

fn at(url: &str, path: &str, region: &str) -> (String, String, String) {
    (url.into(), path.into(), region.into())
}

#[tokio::test]
async fn buckets_are_asked_by_host_name_where_their_names_can_be_one() {
    let ask = |config, bucket: &'static str| async move {
        place(config, "s3.GetBucketVersioning", "eu-west-1", json!({"Bucket": bucket})).await
    };
    let s3 = "s3.eu-west-1.amazonaws.com";
    assert_eq!(ask(json!({}), "a-b").await, at(&format!("https://a-b.{s3}"), "/?versioning", "eu-west-1"));
    assert_eq!(ask(json!({}), "a.b").await, at(&format!("https://{s3}"), "/a.b?versioning", "eu-west-1"));
    let own = json!({"endpoints": {"s3": "http://127.0.0.1:1/x/{region}"}});
    assert_eq!(ask(own, "a-b").await, at("http://127.0.0.1:1/x/eu-west-1", "/a-b?versioning", "eu-west-1"));
    let named = place(json!({}), "s3.ListBuckets", "us-east-1", json!({})).await;
    assert_eq!((named.1.as_str(), named.2.as_str()), ("/", "us-east-1"));
}

#[tokio::test]
async fn an_endpoint_of_a_service_goes_before_that_of_all() {
    let config = json!({"endpoint": "http://127.0.0.1:1", "endpoints": {"iam": "http://127.0.0.1:2/"}});
    assert_eq!(place(config.clone(), "iam.ListUsers", "eu-west-1", json!({})).await.0, "http://127.0.0.1:2");
    assert_eq!(place(config, "kms.ListKeys", "eu-west-1", json!({})).await.0, "http://127.0.0.1:1");
}

#[tokio::test]
async fn an_account_stands_before_the_host_where_aws_wants_it() {
    let parameters = json!({"AccountId": "111122223333"});
    let asked = place(json!({}), "s3control.GetPublicAccessBlock", "eu-west-1", parameters.clone()).await;
    assert!(asked.0.starts_with("https://111122223333.s3-control.eu-west-1."), "{asked:?}");
    let own =
        place(json!({"endpoint": "http://127.0.0.1:1"}), "s3control.GetPublicAccessBlock", "eu-west-1", parameters)
            .await;
    assert_eq!(own.0, "http://127.0.0.1:1");
}

#[test]
fn the_organisations_cell_is_read_by_the_role_that_lists_it() {
    assert_eq!(who(&Cell::new([("account", "1"), ("organization", "o-1")])), Who::Discovery);
    assert_eq!(who(&Cell::new([("account", "1"), ("region", "eu-west-1")])), Who::Account("1".into()));
    assert_eq!(who(&Cell::default()), Who::Itself);
}

#[test]
fn clocks_within_five_minutes_are_no_matter() {
    let at = |seconds: i64| DateTime::from_timestamp(1_795_320_000 + seconds, 0).unwrap();
    assert_eq!(skew(at(300), at(0)), "");
    assert!(skew(at(301), at(0)).contains("301 s ahead of"));
    assert!(skew(at(0), at(400)).contains("400 s behind"));
}

#[test]
fn names_of_buckets_that_fit_a_host_name() {
    for name in ["abc", "a-1", &"a".repeat(63)] {
        assert!(is_host_name(name), "{name}");
    }
    for name in ["", "ab", "a.b", "Abc", "a_b", "-ab", "ab-", &"a".repeat(64)] {
        assert!(!is_host_name(name), "{name}");
    }
}
