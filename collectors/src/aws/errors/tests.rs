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
    assert_eq!(answer(500, "NoSuchBucketPolicy"), Answer::Failed);
}

#[test]
fn denied_missing_late_and_failed_are_told_apart() {
    for (answered, status, codes) in [
        (
            Answer::Denied,
            403,
            &[
                "AccessDenied",
                "AccessDeniedException",
                "KMS.AccessDeniedFault",
                "UnauthorizedOperation",
                "OptInRequired",
                "AuthorizationError",
                "HTTP 403",
            ][..],
        ),
        (
            Answer::Missing,
            404,
            &[
                "NoSuchBucketPolicy",
                "NoSuchEntity",
                "ServerSideEncryptionConfigurationNotFoundError",
                "ResourceNotFoundException",
                "InvalidSnapshot.NotFound",
                "DBInstanceNotFound",
                "QueueDoesNotExist",
                "AWS.SimpleQueueService.NonExistentQueue",
                "AWSOrganizationsNotInUseException",
            ],
        ),
        (Answer::TimedOut, 400, &["RequestTimeout"]),
        (Answer::TimedOut, 504, &["HTTP 504"]),
        (
            Answer::Failed,
            400,
            &[
                "ThrottlingException",
                "ExpiredToken",
                "InvalidClientTokenId",
                "AuthFailure",
                "ValidationException",
                "SignatureDoesNotMatch",
                "HTTP 400",
            ],
        ),
        (Answer::Failed, 503, &["SlowDown", "ServiceUnavailable", "AccessDenied", "HTTP 503"]),
    ] {
        for code in codes {
            assert_eq!(answer(status, code), answered, "{status} {code}");
        }
    }
}

#[test]
fn each_kind_of_refusal_says_what_to_do_about_it() {
    let user =
        "User: arn:aws:sts::111122223333:assumed-role/evidenced/e is not authorized to perform: backup:ListBackupJobs";
    for (code, message, words) in [
        (
            "AccessDeniedException",
            &*format!("{user} with an explicit deny in a service control policy"),
            "service control policy",
        ),
        (
            "AccessDeniedException",
            &format!("{user} because no service control policy allows the action"),
            "service control policy",
        ),
        (
            "AccessDenied",
            &format!("{user} with an explicit deny in a resource control policy"),
            "resource control policy",
        ),
        ("AccessDenied", &format!("{user} because no permissions boundary allows the action"), "permissions boundary"),
        ("AccessDenied", &format!("{user} because no session policy allows the action"), "session"),
        ("AccessDenied", &format!("{user} with an explicit deny in a VPC endpoint policy"), "VPC endpoint"),
        ("AccessDeniedException", &format!("{user} because no resource-based policy allows the action"), "own policy"),
        ("AccessDenied", &format!("{user} with an explicit deny in an identity-based policy"), "by name"),
        (
            "AccessDenied",
            "User: arn:aws:iam::111122223333:user/u is not authorized to perform: sts:AssumeRole on resource: r",
            "trust policy",
        ),
        ("AccessDenied", "Access Denied", "evidenced iam-policy"),
        ("UnauthorizedOperation", "You are not authorized to perform this operation.", "evidenced iam-policy"),
        ("OptInRequired", "", "enabled this region"),
        ("RegionDisabledException", "STS is not activated in this region", "enabled this region"),
        (
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
            "has not enabled this region",
        ),
        ("UnrecognizedClientException", "The security token included in the request is invalid.", "does not accept"),
        ("ExpiredTokenException", "The security token included in the request is expired", "expired"),
        ("InvalidSignatureException", "Signature expired: 20261122T040000Z is now earlier than", "clock"),
        ("RequestTimeTooSkewed", "", "clock"),
        ("SignatureDoesNotMatch", "The request signature we calculated does not match", "secret key"),
        ("Blocked", "This account is currently blocked", "suspended"),
        ("ThrottlingException", "Rate exceeded", "limits"),
        ("AWSOrganizationsNotInUseException", "", "no organization"),
        ("HTTP 502", "", "between"),
        ("HTTP 403", "", "proxy"),
        ("InvalidAction", "", "does not know"),
    ] {
        let explained = explain(code, message).unwrap_or_else(|| panic!("{code} is not explained"));
        assert!(explained.contains(words), "{code} {message}: {explained}");
    }
    assert_eq!(explain("NoSuchBucketPolicy", "The bucket policy does not exist"), None);
}
