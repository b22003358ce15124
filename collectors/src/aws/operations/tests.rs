#![allow(clippy::unwrap_used)]

use super::*;

const CALLS: &str = include_str!("../../../definitions/aws/model/operations.txt");

#[test]
fn every_call_of_the_list_is_known_with_its_shapes() {
    for (id, text) in SERVICES {
        read(text).unwrap_or_else(|e| panic!("{id}: {e}"));
    }
    for call in CALLS.lines() {
        assert_eq!(operation(call).unwrap_or_else(|| panic!("{call} is not known")).call(), call);
    }
    assert!(
        operation("backup.StartBackupJob").is_none() && operation("nothing.List").is_none() && operation("").is_none()
    );
}

#[test]
fn services_and_exceptions_are_sorted_so_that_they_are_found() {
    assert!(SERVICES.is_sorted_by(|(one, _), (other, _)| one < other));
    assert!(ACTIONS.is_sorted_by(|(one, _), (other, _)| one < other));
}

#[test]
fn only_reading_calls_are_known() {
    let reads = ["Get", "List", "Describe", "BatchGet", "Lookup", "Search", "Simulate"];
    // They make a report, and change nothing else.
    let reports = ["iam.GenerateCredentialReport", "iam.GenerateServiceLastAccessedDetails"];
    for call in CALLS.lines() {
        let name = call.split_once('.').unwrap().1;
        assert!(reports.contains(&call) || reads.iter().any(|verb| name.starts_with(verb)), "{call}");
    }
}

#[test]
fn the_actions_of_calls_are_told_from_others() {
    for call in CALLS.lines() {
        assert!(actions(call).iter().all(|action| is_of_a_call(action)), "{call}");
    }
    assert!(!is_of_a_call("kms:Decrypt") && !is_of_a_call("Decrypt"));
}

#[test]
fn a_call_names_the_action_that_iam_knows_it_by() {
    for (call, action) in [
        ("backup.ListBackupJobs", "backup:ListBackupJobs"),
        ("s3.ListBuckets", "s3:ListAllMyBuckets"),
        ("s3.GetPublicAccessBlock", "s3:GetBucketPublicAccessBlock"),
        ("s3control.GetPublicAccessBlock", "s3:GetAccountPublicAccessBlock"),
        ("sso-admin.ListInstances", "sso:ListInstances"),
        ("efs.DescribeFileSystems", "elasticfilesystem:DescribeFileSystems"),
        ("elbv2.DescribeListeners", "elasticloadbalancing:DescribeListeners"),
        ("opensearch.DescribeDomains", "es:DescribeDomains"),
        ("cloudwatch.DescribeAlarmsForMetric", "cloudwatch:DescribeAlarmsForMetric"),
        ("tag.GetResources", "tag:GetResources"),
        ("accessanalyzer.ListFindingsV2", "access-analyzer:ListFindings"),
    ] {
        assert_eq!(actions(call), [action], "{call}");
    }
    assert_eq!(actions("sts.GetCallerIdentity"), [""; 0]);
}
