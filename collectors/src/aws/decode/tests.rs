#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::decode;
use crate::aws::operations::operation;

fn read(call: &str, body: &str) -> Result<Value, String> {
    decode(operation(call).unwrap(), body.as_bytes())
}

const VOLUMES: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeVolumesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
    <requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE</requestId>
    <volumeSet>
        <item>
            <volumeId>vol-1</volumeId>
            <size>80</size>
            <encrypted>true</encrypted>
            <createTime>2026-11-20T04:00:00.000Z</createTime>
            <attachmentSet/>
            <newMember><a>1</a><b>x</b><b>y</b></newMember>
        </item>
    </volumeSet>
</DescribeVolumesResponse>"#;

#[test]
fn a_list_of_one_is_a_list_and_scalars_have_their_types() {
    assert_eq!(
        read("ec2.DescribeVolumes", VOLUMES).unwrap(),
        json!({"Volumes": [{
            "VolumeId": "vol-1", "Size": 80, "Encrypted": true, "CreateTime": "2026-11-20T04:00:00.000Z",
            "Attachments": [], "newMember": {"a": "1", "b": ["x", "y"]},
        }]})
    );
}

#[test]
fn every_truncation_is_an_error() {
    let bodies = [
        ("ec2.DescribeVolumes", VOLUMES),
        ("backup.ListBackupJobs", r#"{"BackupJobs": [{"State": "COMPLETED"}], "NextToken": "t"}"#),
        ("s3.GetBucketPolicy", r#"{"Version": "2012-10-17", "Statement": []}"#),
        ("s3.GetBucketLocation", r#"<LocationConstraint xmlns="u">eu-west-1</LocationConstraint>"#),
        ("s3.GetBucketVersioning", r#"<VersioningConfiguration xmlns="u"/>"#),
    ];
    for (call, body) in bodies {
        assert!(read(call, body).is_ok(), "{call}");
        for length in 0..body.len() {
            assert!(read(call, &body[..length]).is_err(), "{call} cut to {length}: {}", &body[..length]);
        }
    }
}

#[test]
fn what_is_no_answer_of_the_operation_is_an_error() {
    let page = "<!DOCTYPE html><html><body>login</body></html>";
    for (call, body) in [
        ("ec2.DescribeVolumes", page),
        ("ec2.DescribeVolumes", "<DescribeSnapshotsResponse/>"),
        ("iam.ListUsers", "<ListUsersResponse><ResponseMetadata/></ListUsersResponse>"),
        ("s3.GetBucketLogging", "<Error><Code>SlowDown</Code></Error>"),
        ("s3.GetBucketPolicy", page),
        ("backup.ListBackupJobs", page),
        ("backup.ListBackupJobs", "[]"),
        ("backup.ListBackupJobs", r#"{"error": "sign in first"}"#),
        ("backup.ListBackupJobs", r#"{"BackupJobs": {}}"#),
        ("ec2.DescribeVolumes", "<DescribeVolumesResponse/> and more"),
        ("ec2.DescribeVolumes", "<DescribeVolumesResponse>text</DescribeVolumesResponse>"),
    ] {
        let error = read(call, body).expect_err(body);
        assert!(!error.is_empty());
    }
}

#[test]
fn members_have_the_models_names_also_in_json() {
    assert_eq!(
        read("guardduty.ListDetectors", r#"{"detectorIds": ["d1"], "nextToken": "t"}"#).unwrap(),
        json!({"DetectorIds": ["d1"], "NextToken": "t"})
    );
}
