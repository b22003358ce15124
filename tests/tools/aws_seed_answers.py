"""What moto lacks, made up to fit what was seeded: rows for the stand-in (aws_standin.py)."""

import uuid
from datetime import datetime, timedelta, timezone

NOW = datetime.now(timezone.utc).replace(microsecond=0)


def ago(**length):
    """An instant so long ago, as text."""
    return (NOW - timedelta(**length)).isoformat().replace("+00:00", "Z")


def _unique(seed, region, kind, number):
    """An id that is nobody else's, and the same in every run."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{seed.account}/{region}/{kind}/{number}"))


def _of(seed, kind, region=None):
    rows = [row for row in seed.made.get(kind, []) if row["account"] == seed.account]
    return [row for row in rows if region is None or row.get("region") == region]


def account(seed):
    """What an account has in no region: its root user and the features of its organization."""
    here = {"account": seed.account}
    management = seed.account == seed.made["management"]
    # The first account's root user has MFA, the second's has a key and no MFA, the third's credentials were removed.
    number = seed.made["accounts"].index(seed.account) % 3
    report = [
        {"mfa_active": "true", "password_enabled": "true"},
        {"mfa_active": "false", "access_key_1_active": "true", "access_key_1_last_rotated": ago(days=900), "password_enabled": "true"},
        {"mfa_active": "false", "password_enabled": "false", "password_last_used": "N/A"},
    ][number]
    rows = [{"call": "root", **here, "report": report}]
    seed.note("roots", mfa=report["mfa_active"] == "true", key="access_key_1_active" in report, removed=number == 2)
    if management:
        features = {"OrganizationId": "o-aa111bb222", "EnabledFeatures": ["RootCredentialsManagement"]}
        rows.append({"call": "iam.ListOrganizationsFeatures", **here, "output": features})
    used = [
        {"ServiceName": "Amazon S3", "ServiceNamespace": "s3", "LastAuthenticated": ago(days=3), "TotalAuthenticatedEntities": 1,
         "LastAuthenticatedEntity": f"arn:aws:iam::{seed.account}:user/plain", "LastAuthenticatedRegion": "us-east-1"},
        {"ServiceName": "AWS Lambda", "ServiceNamespace": "lambda", "TotalAuthenticatedEntities": 0},
    ]
    job = "11111111-2222-4333-8444-555555555555"
    details = {
        "JobStatus": "COMPLETED", "JobType": "SERVICE_LEVEL", "JobCreationDate": ago(minutes=1), "JobCompletionDate": ago(minutes=1),
        "ServicesLastAccessed": used, "IsTruncated": False,
    }
    rows += [
        {"call": "iam.GenerateServiceLastAccessedDetails", **here, "output": {"JobId": job}},
        {"call": "iam.GetServiceLastAccessedDetails", **here, "output": details},
        {"call": "account.ListRegions", **here, "output": {"Regions": _regions(seed.made["regions"])}},
    ]
    seed.control("/_answers", rows)


def _regions(enabled):
    rows = [{"RegionName": name, "RegionOptStatus": "ENABLED_BY_DEFAULT"} for name in enabled]
    return rows + [{"RegionName": "af-south-1", "RegionOptStatus": "DISABLED"}]


def region(seed, region):
    """What a region has."""
    rows = [*_backups(seed, region), *_restores(seed, region), *_patches(seed, region), *_findings(seed, region), *_settings(seed, region)]
    seed.control("/_answers", [{"account": seed.account, "region": region, **row} for row in rows])


CREATED = [
    {"parameter": "ByCreatedAfter", "member": "CreationDate", "is": "after"},
    {"parameter": "ByCreatedBefore", "member": "CreationDate", "is": "before"},
    {"parameter": "ByState", "member": "State", "is": "same"},
    {"parameter": "ByResourceArn", "member": "ResourceArn", "is": "same"},
]
JOB_STATES = ["COMPLETED", "FAILED", "PARTIAL", "COMPLETED", "RUNNING"]


def _backups(seed, region):
    plan, vault = _of(seed, "plans", region)[0], _of(seed, "vaults", region)[0]
    resources = [(row["arn"], "RDS") for row in _of(seed, "databases", region)] + [
        (row["arn"], "DynamoDB") for row in _of(seed, "tables", region) if row["point_in_time"]
    ]
    role = f"arn:aws:iam::{seed.account}:role/break-glass"
    by = {"BackupPlanId": plan["id"], "BackupPlanArn": plan["arn"], "BackupPlanVersion": "v1", "BackupRuleId": "r-1"}
    jobs, points, protected = [], [], {}
    for number in range(seed.size["jobs"]):
        arn, kind = resources[number % len(resources)]
        state = JOB_STATES[number % len(JOB_STATES)]
        point = f"arn:aws:backup:{region}:{seed.account}:recovery-point:{_unique(seed, region, 'point', number)}"
        made = ago(hours=2 + 6 * number) if number < 100 else ago(hours=600)
        job = {
            "AccountId": seed.account, "BackupJobId": _unique(seed, region, "backup", number).upper(), "BackupVaultName": vault["name"],
            "BackupVaultArn": vault["arn"], "ResourceArn": arn, "ResourceType": kind, "CreationDate": made, "State": state,
            "IamRoleArn": role, "CreatedBy": by, "PercentDone": "100.0", "BackupSizeInBytes": 1 << 30, "StartBy": made, "IsParent": False,
        }
        if state == "COMPLETED":
            job |= {"CompletionDate": made, "RecoveryPointArn": point, "IsEncrypted": True, "EncryptionKeyArn": f"{vault['arn']}/key"}
            points.append(
                {
                    "RecoveryPointArn": point, "BackupVaultName": vault["name"], "BackupVaultArn": vault["arn"], "ResourceArn": arn,
                    "ResourceType": kind, "CreatedBy": by, "IamRoleArn": role, "Status": "COMPLETED", "CreationDate": made,
                    "CompletionDate": made, "BackupSizeInBytes": 1 << 30, "IsEncrypted": number % 2 == 0,
                    "Lifecycle": {"DeleteAfterDays": 35}, "CalculatedLifecycle": {"DeleteAt": ago(days=-35)}, "VaultType": "BACKUP_VAULT",
                }
            )
            protected.setdefault(
                arn, {"ResourceArn": arn, "ResourceType": kind, "LastBackupTime": made, "LastBackupVaultArn": vault["arn"], "LastRecoveryPointArn": point}
            )
        elif state in ("FAILED", "PARTIAL"):
            job |= {"CompletionDate": made, "StatusMessage": "The snapshot could not be taken", "MessageCategory": "AGGREGATE_ALL"}
        jobs.append(job)
        seed.note("backup_jobs", region=region, id=job["BackupJobId"], resource=arn, state=state)
    for point in points:
        seed.note("recovery_points", region=region, arn=point["RecoveryPointArn"], encrypted=point["IsEncrypted"])
    for row in protected.values():
        seed.note("protected", region=region, arn=row["ResourceArn"])
    yield {"call": "backup.ListBackupJobs", "output": {"BackupJobs": jobs}, "select": CREATED}
    yield {"call": "backup.ListProtectedResources", "output": {"Results": list(protected.values())}}
    for name in [row["name"] for row in _of(seed, "vaults", region)]:
        inside = points if name == vault["name"] else []
        output = {"RecoveryPoints": inside}
        yield {
            "call": "backup.ListRecoveryPointsByBackupVault", "parameters": {"BackupVaultName": name}, "output": output, "select": CREATED[:2]
        }
    # Some resources by ARN, the rest by tag; one that should be protected is left out on purpose.
    names = ["by-arn", "by-tag"]
    chosen = {"SelectionName": names[0], "IamRoleArn": role, "Resources": [arn for arn, _ in resources[:2]]}
    tagged = {
        "SelectionName": names[1], "IamRoleArn": role, "Resources": ["*"],
        "ListOfTags": [{"ConditionType": "STRINGEQUALS", "ConditionKey": "env", "ConditionValue": "prod"}],
    }
    listed = []
    for number, selection in enumerate((chosen, tagged)):
        known = {"SelectionId": f"sel-{number}", "BackupPlanId": plan["id"], "CreationDate": ago(days=40), "CreatorRequestId": f"c-{number}"}
        listed.append({**known, "SelectionName": names[number], "IamRoleArn": role})
        yield {
            "call": "backup.GetBackupSelection", "parameters": {"BackupPlanId": plan["id"], "SelectionId": f"sel-{number}"},
            "output": {"BackupSelection": selection, **known},
        }
    yield {
        "call": "backup.ListBackupSelections", "parameters": {"BackupPlanId": plan["id"]}, "output": {"BackupSelectionsList": listed}
    }
    away = f"arn:aws:backup:us-west-2:{seed.account}:backup-vault:copies"
    copies = [
        {
            "AccountId": seed.account, "CopyJobId": _unique(seed, region, "copy", number).upper(), "SourceBackupVaultArn": vault["arn"],
            "SourceRecoveryPointArn": point["RecoveryPointArn"], "DestinationBackupVaultArn": away, "ResourceArn": point["ResourceArn"],
            "CreationDate": point["CreationDate"], "CompletionDate": point["CreationDate"], "State": "COMPLETED" if number else "FAILED",
            "ResourceType": point["ResourceType"], "IamRoleArn": role, "CreatedBy": by, "IsParent": False,
        }
        for number, point in enumerate(points)
    ]
    for copy in copies:
        seed.note("copy_jobs", region=region, id=copy["CopyJobId"], state=copy["State"])
    yield {"call": "backup.ListCopyJobs", "output": {"CopyJobs": copies}, "select": CREATED}


def _restores(seed, region):
    plan = f"arn:aws:backup:{region}:{seed.account}:restore-testing-plan:weekly-1"
    points = _of(seed, "recovery_points", region)
    jobs = []
    for number, (status, validation) in enumerate([("COMPLETED", "SUCCESSFUL"), ("FAILED", "FAILED"), ("COMPLETED", None)]):
        job = {
            "AccountId": seed.account, "RestoreJobId": _unique(seed, region, "restore", number).upper(), "Status": status,
            "RecoveryPointArn": points[number % len(points)]["arn"], "CreationDate": ago(days=number + 1), "ResourceType": "RDS",
            "CompletionDate": ago(days=number, hours=23), "IamRoleArn": f"arn:aws:iam::{seed.account}:role/break-glass", "PercentDone": "100.00%",
            "IsParent": False,
        }
        if validation:
            job |= {"CreatedBy": {"RestoreTestingPlanArn": plan}, "ValidationStatus": validation, "DeletionStatus": "SUCCESSFUL"}
        jobs.append(job)
        seed.note("restore_jobs", region=region, id=job["RestoreJobId"], status=status, validation=validation)
    yield {
        "call": "backup.ListRestoreJobs", "output": {"RestoreJobs": jobs},
        "select": [*CREATED[:2], {"parameter": "ByStatus", "member": "Status", "is": "same"},
                   {"parameter": "ByRestoreTestingPlanArn", "member": "CreatedBy.RestoreTestingPlanArn", "is": "same"}],
    }
    known = {
        "CreationTime": ago(days=100), "LastExecutionTime": ago(days=2), "RestoreTestingPlanArn": plan, "RestoreTestingPlanName": "weekly",
        "ScheduleExpression": "cron(0 5 ? * 1 *)", "ScheduleExpressionTimezone": "UTC", "StartWindowHours": 24,
    }
    select = {"Algorithm": "LATEST_WITHIN_WINDOW", "IncludeVaults": ["*"], "RecoveryPointTypes": ["SNAPSHOT"], "SelectionWindowDays": 30}
    yield {"call": "backup.ListRestoreTestingPlans", "output": {"RestoreTestingPlans": [known]}}
    whole = {"RestoreTestingPlan": {**known, "RecoveryPointSelection": select}}
    yield {"call": "backup.GetRestoreTestingPlan", "parameters": {"RestoreTestingPlanName": "weekly"}, "output": whole}
    selection = {
        "CreationTime": ago(days=100), "IamRoleArn": f"arn:aws:iam::{seed.account}:role/break-glass", "ProtectedResourceType": "RDS",
        "RestoreTestingPlanName": "weekly", "RestoreTestingSelectionName": "databases", "ValidationWindowHours": 8,
    }
    yield {
        "call": "backup.ListRestoreTestingSelections", "parameters": {"RestoreTestingPlanName": "weekly"},
        "output": {"RestoreTestingSelections": [selection]},
    }
    yield {
        "call": "backup.GetRestoreTestingSelection", "parameters": {"RestoreTestingPlanName": "weekly"},
        "output": {"RestoreTestingSelection": {**selection, "ProtectedResourceArns": ["*"]}},
    }
    yield {"call": "backup.ListProtectedResourcesByBackupVault", "output": {"Results": []}}
    yield {"call": "backup.ListFrameworks", "output": {"Frameworks": []}}
    yield {"call": "backup.DescribeRegionSettings", "output": {"ResourceTypeOptInPreference": {"RDS": True, "DynamoDB": True, "EFS": False}}}
    yield {"call": "backup.DescribeGlobalSettings", "output": {"GlobalSettings": {"isCrossAccountBackupEnabled": "false"}}}
    yield {"call": "rds.DescribeDBClusterAutomatedBackups", "output": {"DBClusterAutomatedBackups": []}}
    yield {"call": "rds.DescribeDBInstanceAutomatedBackups", "output": {"DBInstanceAutomatedBackups": list(_automated(seed, region))}}


def _automated(seed, region):
    for row in _of(seed, "databases", region):
        if row["backup_days"]:
            yield {
                "DBInstanceArn": row["arn"], "DBInstanceIdentifier": row["id"], "DbiResourceId": f"db-{_unique(seed, region, row['id'], 0)[:8].upper()}", "Region": region,
                "RestoreWindow": {"EarliestTime": ago(days=row["backup_days"]), "LatestTime": ago(minutes=5)}, "Status": "active",
                "Encrypted": row["encrypted"], "BackupRetentionPeriod": row["backup_days"], "Engine": "postgres",
            }


def _patches(seed, region):
    machines = [row["id"] for row in _of(seed, "instances", region)]
    states, information = [], []
    for number, machine in enumerate(machines):
        if number == 1:
            continue  # an instance that no agent reports
        states.append(
            {
                "InstanceId": machine, "PatchGroup": "servers", "BaselineId": "pb-0123456789abcdef0", "InstalledCount": 212, "MissingCount": 3,
                "FailedCount": 0, "InstalledPendingRebootCount": 1, "CriticalNonCompliantCount": 1, "SecurityNonCompliantCount": 2,
                "OtherNonCompliantCount": 0, "OperationStartTime": ago(days=2), "OperationEndTime": ago(days=2), "Operation": "Scan",
            }
        )
        information.append(
            {
                "InstanceId": machine, "PingStatus": "Online", "LastPingDateTime": ago(minutes=3), "AgentVersion": "3.3.551.0",
                "IsLatestVersion": True, "PlatformType": "Linux", "PlatformName": "Amazon Linux", "PlatformVersion": "2023",
                "ResourceType": "EC2Instance", "IPAddress": "10.20.0.9", "ComputerName": "one.internal",
            }
        )
        seed.note("patch_states", region=region, id=machine, missing=3)
    yield {
        "call": "ssm.DescribeInstancePatchStates", "output": {"InstancePatchStates": states},
        "select": [{"parameter": "InstanceIds", "member": "InstanceId", "is": "among"}],
    }
    yield {"call": "ssm.DescribeInstanceInformation", "output": {"InstanceInformationList": information}}
    patch = {"Title": "kernel", "KBId": "kernel.x86_64", "Classification": "Security", "Severity": "Critical", "State": "MISSING", "InstalledTime": ago(days=400)}
    yield {"call": "ssm.DescribeInstancePatches", "output": {"Patches": [patch]}}
    yield {"call": "ssm.ListComplianceItems", "output": {"ComplianceItems": []}}
    yield {"call": "ssm.ListResourceComplianceSummaries", "output": {"ResourceComplianceSummaryItems": []}}


def _findings(seed, region):
    detectors = _of(seed, "detectors", region)
    for detector in detectors:
        found = [
            {
                "AccountId": seed.account, "Arn": f"arn:aws:guardduty:{region}:{seed.account}:detector/{detector['id']}/finding/{number:032x}",
                "CreatedAt": ago(days=number * 9), "UpdatedAt": ago(days=number * 9), "Id": f"{number:032x}", "Region": region,
                "Resource": {"ResourceType": "AccessKey"}, "SchemaVersion": "2.0", "Severity": 8.0 if number else 2.0,
                "Type": "UnauthorizedAccess:IAMUser/ConsoleLogin", "Partition": "aws", "Title": f"finding {number}",
                "Service": {"Archived": False, "Count": 1, "DetectorId": detector["id"], "EventFirstSeen": ago(days=number * 9),
                            "EventLastSeen": ago(days=number * 9), "ServiceName": "guardduty"},
            }
            for number in range(3)
        ]
        where = {"parameters": {"DetectorId": detector["id"]}}
        yield {"call": "guardduty.ListFindings", **where, "output": {"FindingIds": [row["Id"] for row in found]}, "page": 2}
        yield {
            "call": "guardduty.GetFindings", **where, "output": {"Findings": found},
            "select": [{"parameter": "FindingIds", "member": "Id", "is": "among"}],
        }
        yield {"call": "guardduty.ListMembers", **where, "output": {"Members": []}}
        for row in found:
            seed.note("guardduty_findings", region=region, id=row["Id"], severity=row["Severity"])
    if _of(seed, "hubs", region):
        standard = "arn:aws:securityhub:::ruleset/cis-aws-foundations-benchmark/v/1.4.0"
        row = {
            "StandardsSubscriptionArn": f"arn:aws:securityhub:{region}:{seed.account}:subscription/cis-aws-foundations-benchmark/v/1.4.0",
            "StandardsArn": standard, "StandardsInput": {}, "StandardsStatus": "READY", "StandardsControlsUpdatable": "READY_FOR_UPDATES",
        }
        yield {"call": "securityhub.GetEnabledStandards", "output": {"StandardsSubscriptions": [row]}}
    else:
        error = {"status": 403, "code": "InvalidAccessException", "message": f"Account {seed.account} is not subscribed to AWS Security Hub"}
        for name in ("DescribeHub", "GetFindings", "GetEnabledStandards"):
            yield {"call": f"securityhub.{name}", "error": error}
    yield from _inspector(seed, region)
    analyzer = f"arn:aws:access-analyzer:{region}:{seed.account}:analyzer/external"
    yield {
        "call": "accessanalyzer.ListAnalyzers",
        "output": {"analyzers": [{"arn": analyzer, "name": "external", "type": "ACCOUNT", "createdAt": ago(days=300), "status": "ACTIVE"}]},
    }
    finding = {
        "id": f"aa-{region}", "resource": f"arn:aws:iam::{seed.account}:role/break-glass", "resourceType": "AWS::IAM::Role", "status": "ACTIVE",
        "resourceOwnerAccount": seed.account, "createdAt": ago(days=30), "analyzedAt": ago(days=1), "updatedAt": ago(days=30),
        "findingType": "ExternalAccess",
    }
    yield {"call": "accessanalyzer.ListFindingsV2", "output": {"findings": [dict(finding)]}}
    del finding["findingType"]
    finding |= {"principal": {"AWS": "999988887777"}, "action": ["sts:AssumeRole"], "isPublic": False, "condition": {}}
    yield {"call": "accessanalyzer.ListFindings", "output": {"findings": [dict(finding)]}}
    event = {
        "EventId": f"00000000-1111-4222-8333-{seed.account}", "EventName": "ConsoleLogin", "ReadOnly": "false", "EventTime": ago(hours=3),
        "EventSource": "signin.amazonaws.com", "Username": "plain", "Resources": [], "CloudTrailEvent": '{"eventVersion":"1.11"}',
    }
    yield {
        "call": "cloudtrail.LookupEvents", "output": {"Events": [event]},
        "select": [{"parameter": "StartTime", "member": "EventTime", "is": "after"}, {"parameter": "EndTime", "member": "EventTime", "is": "before"}],
    }


def _inspector(seed, region):
    machines = [row["id"] for row in _of(seed, "instances", region)]
    state = {"status": "ENABLED", "errorCode": "ALREADY_ENABLED", "errorMessage": ""}
    off = {"status": "DISABLED", "errorCode": "ALREADY_ENABLED", "errorMessage": ""}
    account = {"accountId": seed.account, "state": state, "resourceState": {"ec2": state, "ecr": off, "lambda": off}}
    yield {"call": "inspector2.BatchGetAccountStatus", "output": {"accounts": [account]}}
    covered = [
        {
            "resourceType": "AWS_EC2_INSTANCE", "resourceId": machine, "accountId": seed.account, "scanType": "PACKAGE",
            "scanStatus": {"statusCode": "INACTIVE" if number else "ACTIVE", "reason": "UNMANAGED_EC2_INSTANCE" if number else "SUCCESSFUL"},
            "lastScannedAt": ago(days=1), "scanMode": "EC2_SSM_AGENT_BASED",
        }
        for number, machine in enumerate(machines)
    ]
    yield {"call": "inspector2.ListCoverage", "output": {"coveredResources": covered}}
    arn = f"arn:aws:inspector2:{region}:{seed.account}:finding/"
    found = [
        {
            "findingArn": f"{arn}{number:032x}", "awsAccountId": seed.account, "type": "PACKAGE_VULNERABILITY", "description": "seeded",
            "title": f"CVE-2026-000{number}", "remediation": {"recommendation": {"text": "update"}}, "severity": severity, "status": "ACTIVE",
            "firstObservedAt": ago(days=40 * number), "lastObservedAt": ago(days=1), "updatedAt": ago(days=1), "fixAvailable": "YES",
            "resources": [{"type": "AWS_EC2_INSTANCE", "id": machines[0], "region": region}],
        }
        for number, severity in enumerate(["LOW", "HIGH", "CRITICAL"])
    ]
    for row in found:
        seed.note("inspector_findings", region=region, arn=row["findingArn"], severity=row["severity"])
    yield {"call": "inspector2.ListFindings", "output": {"findings": found}, "page": 2}


def _settings(seed, region):
    key = _of(seed, "keys", region)[0]["arn"]
    yield {"call": "ec2.GetEbsDefaultKmsKeyId", "output": {"KmsKeyId": key}}
    yield {
        "call": "ec2.GetSnapshotBlockPublicAccessState",
        "output": {"State": "block-all-sharing" if region == "us-east-1" else "unblocked", "ManagedBy": "account"},
    }
    rules = [
        {"ConfigRuleName": f"rule-{number}", "Compliance": {"ComplianceType": kind}}
        for number, kind in enumerate(["COMPLIANT", "NON_COMPLIANT", "INSUFFICIENT_DATA"])
    ]
    yield {"call": "config.DescribeComplianceByConfigRule", "output": {"ComplianceByConfigRules": rules}, "page": 2}
    evaluated = [{"ConfigRuleName": row["ConfigRuleName"], "LastSuccessfulEvaluationTime": ago(days=1), "FirstEvaluationStarted": True} for row in rules]
    yield {
        "call": "config.DescribeConfigRuleEvaluationStatus", "output": {"ConfigRulesEvaluationStatus": evaluated},
        "select": [{"parameter": "ConfigRuleNames", "member": "ConfigRuleName", "is": "among"}],
    }
    delivered = {"lastStatus": "Success", "lastSuccessfulTime": ago(hours=2), "lastAttemptTime": ago(hours=2)}
    yield {
        "call": "config.DescribeDeliveryChannelStatus",
        "output": {"DeliveryChannelsStatus": [{"name": "default", "configHistoryDeliveryInfo": delivered, "configStreamDeliveryInfo": {"lastStatus": "Success"}}]},
    }
    yield {"call": "config.GetComplianceDetailsByConfigRule", "output": {"EvaluationResults": []}}
    yield {"call": "efs.DescribeReplicationConfigurations", "output": {"Replications": []}}
