"""What is stored, and whether it is encrypted, kept and copied: buckets, keys, volumes, databases, file systems, vaults."""

import json


def _tags(lowercase=False):
    return [{"key": "env", "value": "prod"}] if lowercase else [{"Key": "env", "Value": "prod"}]


def buckets(seed, secrets):
    """Buckets by number: 0 is all right, 1 has nothing, 2 is public, 3 has another region, 4 a lock; the rest are like 0."""
    s3, kms = seed.client("s3"), seed.client("kms")
    seed.client("s3control").put_public_access_block(
        AccountId=seed.account,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": False, "RestrictPublicBuckets": False,
        },
    )
    key = kms.create_key(Description="buckets")["KeyMetadata"]["Arn"]
    kms.enable_key_rotation(KeyId=key)
    seed.note("keys", region="us-east-1", arn=key, rotation=True, state="Enabled")
    logs = f"logs-{seed.account}"
    s3.create_bucket(Bucket=logs)
    delivery = [
        {
            "Sid": service, "Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": action,
            "Resource": f"arn:aws:s3:::{logs}{below}",
        }
        for service, action, below in (
            ("logging.s3", "s3:PutObject", "/*"), ("cloudtrail", "s3:PutObject", "/*"), ("cloudtrail", "s3:GetBucketAcl", ""),
        )
    ]
    s3.put_bucket_policy(Bucket=logs, Policy=json.dumps({"Version": "2012-10-17", "Statement": delivery}))
    seed.note("buckets", name=logs, key=None, versioning=False, public=False, region="us-east-1", lock=False, tls_only=False)
    for number in range(seed.size["buckets"]):
        _bucket(seed, key, number, secrets)


def _bucket(seed, key, number, secrets):
    name = f"data-{number:05}-{seed.account}"
    region = "eu-west-1" if number == 3 else "us-east-1"
    s3 = seed.client("s3", region)
    where = {}
    if region != "us-east-1":  # its key must lie there too
        where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        key = seed.client("kms", region).create_key(Description="buckets")["KeyMetadata"]["Arn"]
        seed.note("keys", region=region, arn=key, rotation=False, state="Enabled")
    locked = number == 4
    s3.create_bucket(Bucket=name, **where, **({"ObjectLockEnabledForBucket": True} if locked else {}))
    good = number not in (1, 2)
    if good:
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}, "BucketKeyEnabled": True}
        s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        s3.put_public_access_block(
            Bucket=name,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True,
            },
        )
        target = {"TargetBucket": f"logs-{seed.account}", "TargetPrefix": f"{name}/"}
        if region == "us-east-1":
            s3.put_bucket_logging(Bucket=name, BucketLoggingStatus={"LoggingEnabled": target})
    if good or number == 2:
        statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}
        if good:
            statement |= {
                "Effect": "Deny", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        other = {
            "Sid": "Planted", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{seed.account}:root"}, "Action": "s3:ListBucket",
            "Resource": f"arn:aws:s3:::{name}", "Condition": {"StringEquals": {"aws:Referer": secrets["bucket_policy"]}},
        }
        s3.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement, other]}))
    if locked:
        days = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}
        s3.put_object_lock_configuration(
            Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": days}
        )
    seed.note(
        "buckets", name=name, key=key if good else None, versioning=good, public=number == 2, region=region, lock=locked, tls_only=good
    )


def region(seed, region):
    """What a region has: keys, volumes, snapshots, databases and the rest."""
    _keys(seed, region)
    _volumes(seed, region)
    _databases(seed, region)
    _tables(seed, region)
    _others(seed, region)
    _vaults(seed, region)


def _keys(seed, region):
    kms = seed.client("kms", region)
    for number in range(seed.size["keys"]):
        arn = kms.create_key(Description=f"key {number}", Tags=[{"TagKey": "env", "TagValue": "prod"}])["KeyMetadata"]["Arn"]
        state, rotation = "Enabled", number != 1
        if rotation:
            kms.enable_key_rotation(KeyId=arn)
        if number == 2:
            kms.schedule_key_deletion(KeyId=arn.split("/")[1], PendingWindowInDays=7)
            state, rotation = "PendingDeletion", False
        seed.note("keys", region=region, arn=arn, rotation=rotation, state=state)
    signing = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["Arn"]
    seed.note("keys", region=region, arn=signing, rotation=None, state="Enabled")


def _volumes(seed, region):
    ec2 = seed.client("ec2", region)
    default = region == "us-east-1"
    if default:
        ec2.enable_ebs_encryption_by_default()
    seed.note("ebs_default", region=region, on=default)
    for encrypted in (True, False):
        volume = ec2.create_volume(AvailabilityZone=f"{region}a", Size=8, Encrypted=encrypted)
        # With encryption by default AWS would encrypt it all the same; moto does what it is told.
        volume, made = volume["VolumeId"], volume["Encrypted"]
        snapshot = ec2.create_snapshot(VolumeId=volume, Description="seeded")["SnapshotId"]
        public = not encrypted and not default
        if public:
            ec2.modify_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission", OperationType="add", GroupNames=["all"])
        seed.note("volumes", region=region, id=volume, encrypted=made)
        seed.note("snapshots", region=region, id=snapshot, volume=volume, encrypted=made, public=public)


def _databases(seed, region):
    rds = seed.client("rds", region)
    rds.create_db_parameter_group(DBParameterGroupName="tls", DBParameterGroupFamily="postgres16", Description="TLS only")
    forced = {"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": "pending-reboot"}
    rds.modify_db_parameter_group(DBParameterGroupName="tls", Parameters=[forced])
    rds.create_db_cluster_parameter_group(
        DBClusterParameterGroupName="aurora", DBParameterGroupFamily="aurora-postgresql16", Description="aurora"
    )
    rds.modify_db_cluster_parameter_group(DBClusterParameterGroupName="aurora", Parameters=[forced])
    for number in range(seed.size["databases"]):
        good = number != 1
        made = rds.create_db_instance(
            DBInstanceIdentifier=f"db-{number:04}", DBInstanceClass="db.t3.micro", Engine="postgres", AllocatedStorage=20,
            MasterUsername="admin_user", MasterUserPassword="Planted-database-password-1", StorageEncrypted=good,
            BackupRetentionPeriod=14 if good else 0, PubliclyAccessible=not good, DeletionProtection=good, MultiAZ=good,
            Tags=_tags(), **({"DBParameterGroupName": "tls"} if good else {}),
        )["DBInstance"]
        facts = {"encrypted": good, "backup_days": 14 if good else 0, "public": not good}
        seed.note("databases", region=region, arn=made["DBInstanceArn"], id=made["DBInstanceIdentifier"], **facts)
    cluster = rds.create_db_cluster(
        DBClusterIdentifier="aurora", Engine="aurora-postgresql", MasterUsername="admin_user",
        MasterUserPassword="Planted-database-password-2", StorageEncrypted=True, BackupRetentionPeriod=7,
        DBClusterParameterGroupName="aurora",
    )["DBCluster"]
    seed.note("clusters", region=region, arn=cluster["DBClusterArn"], encrypted=True, backup_days=7)
    bare = rds.create_db_cluster(
        DBClusterIdentifier="bare", Engine="aurora-postgresql", MasterUsername="admin_user", MasterUserPassword="Planted-database-password-4",
        StorageEncrypted=False, BackupRetentionPeriod=1, DBClusterParameterGroupName="aurora",
    )["DBCluster"]
    seed.note("clusters", region=region, arn=bare["DBClusterArn"], encrypted=False, backup_days=1)
    # By hand, of what is not encrypted: one of the region's two is for everybody.
    made = rds.create_db_snapshot(DBSnapshotIdentifier="by-hand", DBInstanceIdentifier="db-0001")["DBSnapshot"]
    rds.modify_db_snapshot_attribute(DBSnapshotIdentifier="by-hand", AttributeName="restore", ValuesToAdd=["all"])
    seed.note("db_snapshots", region=region, arn=made["DBSnapshotArn"], public=True)
    made = rds.create_db_cluster_snapshot(DBClusterSnapshotIdentifier="cluster-by-hand", DBClusterIdentifier="bare")["DBClusterSnapshot"]
    seed.note("db_snapshots", region=region, arn=made["DBClusterSnapshotArn"], public=False)


def _tables(seed, region):
    dynamodb = seed.client("dynamodb", region)
    mine = [row for row in seed.made["keys"] if row["account"] == seed.account and row["region"] == region]
    key = next(row["arn"] for row in mine if row["rotation"])
    for name, good in (("orders", True), ("scratch", False)):
        encrypted = {"SSESpecification": {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key}} if good else {}
        made = dynamodb.create_table(
            TableName=name, AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST", **encrypted,
        )["TableDescription"]["TableArn"]
        if good:
            dynamodb.update_continuous_backups(
                TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
            )
        seed.note("tables", region=region, arn=made, name=name, key=good, point_in_time=good)


def _others(seed, region):
    efs = seed.client("efs", region)
    for encrypted in (True, False):
        made = efs.create_file_system(CreationToken=f"files-{encrypted}", Encrypted=encrypted, Backup=encrypted, Tags=_tags())
        seed.note("file_systems", region=region, id=made["FileSystemId"], arn=made["FileSystemArn"], encrypted=encrypted)
    redshift = seed.client("redshift", region)
    redshift.create_cluster(
        ClusterIdentifier="warehouse", NodeType="ra3.xlplus", MasterUsername="admin_user", MasterUserPassword="Planted-password-3",
        ClusterType="single-node", Encrypted=True, PubliclyAccessible=False,
    )
    seed.note("warehouses", region=region, id="warehouse", encrypted=True)
    search = seed.client("opensearch", region)
    made = search.create_domain(
        DomainName="search", EngineVersion="OpenSearch_2.11", EncryptionAtRestOptions={"Enabled": True},
        NodeToNodeEncryptionOptions={"Enabled": False}, DomainEndpointOptions={"EnforceHTTPS": True, "TLSSecurityPolicy": "Policy-Min-TLS-1-2-PFS-2023-10"},
    )["DomainStatus"]["ARN"]
    seed.note("domains", region=region, arn=made, name="search", encrypted=True, node_to_node=False)


def _vaults(seed, region):
    backup = seed.client("backup", region)
    for name, locked in (("main", True), ("open", False)):
        arn = backup.create_backup_vault(BackupVaultName=name)["BackupVaultArn"]
        if locked:
            backup.put_backup_vault_lock_configuration(BackupVaultName=name, MinRetentionDays=7, MaxRetentionDays=365, ChangeableForDays=3)
        seed.note("vaults", region=region, arn=arn, name=name, locked=locked)
    rule = {
        "RuleName": "daily", "TargetBackupVaultName": "main", "ScheduleExpression": "cron(0 5 ? * * *)", "StartWindowMinutes": 60,
        "CompletionWindowMinutes": 180, "Lifecycle": {"DeleteAfterDays": 35},
    }
    plan = backup.create_backup_plan(BackupPlan={"BackupPlanName": "daily", "Rules": [rule]})
    seed.note("plans", region=region, id=plan["BackupPlanId"], arn=plan["BackupPlanArn"], name="daily")
