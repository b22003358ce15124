#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::decode;
use crate::aws::{errors::refusal, operations::operation};

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

#[test]
fn buckets_are_a_list_whether_one_or_many() {
    let page = |buckets: &str| {
        format!(
            "<ListAllMyBucketsResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Owner><ID>o</ID></Owner>\
             <Buckets>{buckets}</Buckets><ContinuationToken>t</ContinuationToken></ListAllMyBucketsResult>"
        )
    };
    let bucket = |name: &str| {
        format!("<Bucket><Name>{name}</Name><CreationDate>2026-11-22T04:00:00.000Z</CreationDate></Bucket>")
    };
    let names = |body: &str| -> Vec<String> {
        let read = read("s3.ListBuckets", body).unwrap();
        assert_eq!(read["ContinuationToken"], "t");
        read["Buckets"].as_array().unwrap().iter().map(|b| b["Name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&page("")), [""; 0]);
    assert_eq!(names(&page(&bucket("b1"))), ["b1"]);
    assert_eq!(names(&page(&(bucket("b1") + &bucket("b2")))), ["b1", "b2"]);
}

#[test]
fn lists_without_an_element_around_them_maps_and_attributes_have_their_shape() {
    let rules = "<ServerSideEncryptionConfiguration><Rule><BucketKeyEnabled>true</BucketKeyEnabled></Rule><Rule/></ServerSideEncryptionConfiguration>";
    assert_eq!(
        read("s3.GetBucketEncryption", rules).unwrap(),
        json!({"ServerSideEncryptionConfiguration": {"Rules": [{"BucketKeyEnabled": true}, {}]}})
    );
    let summary = "<GetAccountSummaryResponse><GetAccountSummaryResult><SummaryMap>\
        <entry><key>Users</key><value>27</value></entry><entry><key>MFADevices</key><value>0</value></entry>\
        </SummaryMap></GetAccountSummaryResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetAccountSummaryResponse>";
    assert_eq!(read("iam.GetAccountSummary", summary).unwrap(), json!({"SummaryMap": {"Users": 27, "MFADevices": 0}}));
    let acl = "<AccessControlPolicy><AccessControlList><Grant><Grantee xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' \
        xsi:type='Group'><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant>\
        </AccessControlList></AccessControlPolicy>";
    assert_eq!(
        read("s3.GetBucketAcl", acl).unwrap(),
        json!({"Grants": [{"Grantee": {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AllUsers"}, "Permission": "READ"}]})
    );
}

#[test]
fn text_is_kept_as_xml_means_it() {
    let user = |name: &str| {
        let body = format!(
            "<ListUsersResponse><ListUsersResult><Users><member><UserName>{name}</UserName></member></Users></ListUsersResult></ListUsersResponse>"
        );
        read("iam.ListUsers", &body).map(|read| read["Users"][0]["UserName"].clone())
    };
    for (written, meant) in [
        ("a &amp; b &lt;c&gt; &quot;&apos;", "a & b <c> \"'"),
        ("&#228;&#xE9;&#x1F980;", "äé🦀"),
        ("<![CDATA[<raw> & ]]>done", "<raw> & done"),
        (" spaces\r\nand lines ", " spaces\nand lines "),
        ("a<!-- not text -->b", "ab"),
        ("%7B%22Version%22%3A%222012-10-17%22%7D", "%7B%22Version%22%3A%222012-10-17%22%7D"),
        ("", ""),
    ] {
        assert_eq!(user(written).unwrap(), meant, "{written}");
    }
    for wrong in ["&nbsp;", "&#0;", "a & b", "<b>bold</b>"] {
        assert!(user(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_scalar_that_is_none_is_an_error_and_an_empty_one_is_unknown() {
    let volume = |member: &str| {
        read(
            "ec2.DescribeVolumes",
            &format!("<DescribeVolumesResponse><volumeSet><item>{member}</item></volumeSet></DescribeVolumesResponse>"),
        )
        .map(|read| read["Volumes"][0].clone())
    };
    assert_eq!(volume("<encrypted/><size></size>").unwrap(), json!({"Encrypted": null, "Size": null}));
    for wrong in [
        "<encrypted>yes</encrypted>",
        "<size>8 GiB</size>",
        "<size>1e3</size>",
        "<encrypted>true</encrypted><encrypted>false</encrypted>",
        "<encrypted><value>true</value></encrypted>",
    ] {
        assert!(volume(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_answer_as_deep_as_none_is_refused_before_the_stack_ends() {
    let deep = |levels: usize| {
        let (open, close) = ("<x>".repeat(levels), "</x>".repeat(levels));
        format!("<DescribeVolumesResponse>{open}{close}</DescribeVolumesResponse>")
    };
    assert!(read("ec2.DescribeVolumes", &deep(10)).is_ok());
    assert!(read("ec2.DescribeVolumes", &deep(200_000)).is_err());
    assert!(read("kms.ListKeys", &format!(r#"{{"Keys": {}{}}}"#, "[".repeat(200_000), "]".repeat(200_000))).is_err());
}

#[test]
fn null_is_not_there_and_unknown_members_are() {
    assert_eq!(
        read("kms.ListKeys", r#"{"Keys": [], "NextMarker": null, "NewMember": 1}"#).unwrap(),
        json!({"Keys": [], "NewMember": 1})
    );
}

#[test]
fn the_home_of_a_bucket_in_the_first_region_is_null() {
    assert_eq!(read("s3.GetBucketLocation", "<LocationConstraint/>").unwrap(), json!({"LocationConstraint": null}));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_bytes_decoding_ends_with_a_value_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in 0..VOLUMES.len(),
        length in 0_usize..40,
    ) {
        // The bytes alone, and in the place of a piece of an answer.
        let mut changed = VOLUMES.as_bytes().to_vec();
        changed.splice(at..(at + length).min(VOLUMES.len()), bytes.iter().copied());
        for call in ["ec2.DescribeVolumes", "iam.ListUsers", "s3.GetBucketPolicy", "s3.GetBucketLocation", "kms.ListKeys", "guardduty.GetFindings"] {
            let operation = operation(call).unwrap();
            let _ = decode(operation, &bytes);
            let _ = decode(operation, &changed);
            let _ = refusal(operation, 500, &|_| None, &changed);
        }
    }
}
