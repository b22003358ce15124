#![allow(clippy::unwrap_used)]

use super::*;
use crate::aws::operations::operation;

fn read(call: &str, status: u16, header: Option<&str>, body: &str) -> Refusal {
    let header = |name: &str| (name == "x-amzn-errortype").then(|| header.map(str::to_owned)).flatten();
    refusal(operation(call).unwrap(), status, &header, body.as_bytes())
}

#[test]
fn every_protocols_code_is_found() {
    for (call, header, body, code, message) in [
        (
            "iam.ListUsers",
            None,
            "<ErrorResponse xmlns='u'><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not you</Message></Error>\
             <RequestId>r</RequestId></ErrorResponse>",
            "AccessDenied",
            "not you",
        ),
        (
            "ec2.DescribeVolumes",
            None,
            "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>not you</Message></Error></Errors><RequestID>r</RequestID></Response>",
            "UnauthorizedOperation",
            "not you",
        ),
        (
            "s3.GetBucketPolicy",
            None,
            "<Error><Code>NoSuchBucketPolicy</Code><Message>none</Message><BucketName>b</BucketName></Error>",
            "NoSuchBucketPolicy",
            "none",
        ),
        (
            "kms.ListKeys",
            None,
            r#"{"__type":"com.amazonaws.kms#NotFoundException","message":"gone"}"#,
            "NotFoundException",
            "gone",
        ),
        (
            "backup.ListBackupJobs",
            Some("AccessDeniedException:http://internal.amazon.com/coral/com.amazon.coral.service/"),
            r#"{"Message":"no"}"#,
            "AccessDeniedException",
            "no",
        ),
        ("backup.ListBackupJobs", None, "<html><body>Bad gateway</body></html>", "HTTP 500", ""),
        ("kms.ListKeys", None, "", "HTTP 500", ""),
    ] {
        let found = read(call, 500, header, body);
        assert_eq!((found.code.as_str(), found.message.as_str()), (code, message), "{body}");
    }
}

#[test]
fn a_404_that_is_not_of_aws_proves_no_absence() {
    assert_eq!(answer(404, "HTTP 404"), Answer::Failed);
    assert_eq!(answer(404, "NoSuchBucketPolicy"), Answer::Missing);
    assert_eq!(answer(403, "AccessDenied"), Answer::Denied);
    assert_eq!(answer(400, "ThrottlingException"), Answer::Failed);
    assert_eq!(answer(504, "HTTP 504"), Answer::TimedOut);
}
