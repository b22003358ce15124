#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn every_operation_that_is_modelled_only_reads() {
    let calls = include_str!("../../definitions/aws/model/operations.txt");
    let aws = Aws::new(AwsConfig::default());
    let mut seen = 0;
    for call in calls.lines().filter(|line| !line.is_empty()) {
        assert_eq!(aws.check(call), Ok(()), "{call}");
        seen += 1;
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn what_changes_something_or_answers_with_a_secret_is_never_called() {
    for call in [
        "sts.AssumeRole",
        "sts.AssumeRoleWithWebIdentity",
        "sts.GetSessionToken",
        "iam.CreateAccessKey",
        "iam.DeleteUser",
        "kms.Decrypt",
        "kms.GenerateDataKey",
        "kms.GenerateDataKeyWithoutPlaintext",
        "secretsmanager.GetSecretValue",
        "ssm.GetParametersByPath",
        "s3.GetObject",
        "s3.PutObject",
        "ec2.GetPasswordData",
    ] {
        assert!(!only_reads(call), "{call}");
    }
    assert!(Aws::new(AwsConfig::default()).check("iam.DeleteUser").is_err());
}
