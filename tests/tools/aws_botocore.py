"""What botocore makes of the operations of operations.txt, one JSON object a line, for tests/tests/aws_model.rs to hold the client against.

    aws_botocore.py answers    answers made up from the models' output shapes (written by moto's serialisers), and what botocore reads in them
    aws_botocore.py moto       answers and errors of moto with a few resources in it, and what botocore reads in them
    aws_botocore.py asks       parameters made up from the models' input shapes, and the requests that botocore makes of them
    aws_botocore.py endpoints  where botocore sends requests, for every region it knows
    aws_botocore.py actions    of the lines on standard input, those that are no IAM action that AWS's policy generator knows (by cfn-lint's copy)
"""

import datetime
import json
import os
import pathlib
import random
import sys
import urllib.parse

import botocore.model
import botocore.parsers
import botocore.serialize

import aws_model

random.seed(3)

TEXTS = ["a", "plain text", " spaces around ", "<b>&amp; \"quotes\" 'and' ]]>", "äöü – 日本語 🦀", "two\nlines\tand a tab", "", "true", "12", "%7B%22a%22%3A1%7D"]
FULL, MIXED, BARE = range(3)


def operations():
    """Every call of the list with its model and the protocol that the client speaks to it."""
    for service, names in aws_model.calls().items():
        model = aws_model.service_model(service)
        for name in names:
            yield f"{service}.{name}", model, model.operation_model(name), aws_model.protocol(service, model)


def say(**line):
    print(json.dumps(line))


# ---- values


def value(shape, how, above=(), request=False):
    """A value of a shape; none where a shape that is within itself ends."""
    kind = shape.type_name
    if kind == "structure":
        if above.count(shape.name) > 1:
            return None
        found = {}
        if shape.is_tagged_union:
            name, member = random.choice(list(shape.members.items()))
            made = value(member, how, (*above, shape.name), request)
            return None if made is None else {name: made}
        for name, member in shape.members.items():
            needed = request and name in shape.required_members
            if not needed and (how == BARE or how == MIXED and random.random() < 0.4):
                continue
            made = value(member, how, (*above, shape.name), request)
            if made is not None:
                found[name] = made
        return found
    if kind == "list":
        if above.count(shape.name) > 1:
            return None
        length = {FULL: 1, MIXED: random.choice([0, 2, 3]), BARE: 0}[how]
        if request:
            length = max(length, 1)
        made = [value(shape.member, how, (*above, shape.name), request) for _ in range(length)]
        return [element for element in made if element is not None]
    if kind == "map":
        return {f"key {number}": value(shape.value, how, (*above, shape.name), request) for number in range(1 if how == FULL else 2)}
    if kind in ("string", "character"):
        if shape.serialization.get("hostLabel"):
            return "111122223333"
        if request:
            return random.choice(shape.enum or ["a", "b c+d/é", "111122223333"])
        return random.choice(TEXTS)
    if kind == "boolean":
        return random.choice([True, False])
    if kind in ("integer", "long"):
        return random.choice([0, 7, -1, 2**31 - 1]) if kind == "integer" else 2**53 + 1
    if kind in ("float", "double"):
        return random.choice([0.5, 1.0, -2.25, 1e21])
    if kind == "blob":
        return b"some bytes \xff"
    if kind == "timestamp":
        at = datetime.datetime(2026, 11, 22, 4, 0, random.randrange(60), tzinfo=datetime.timezone.utc)
        return at.isoformat().replace("+00:00", "Z") if request else at
    raise AssertionError(kind)


# ---- answers


def identity(text):
    return text


def parser(spoken):
    """botocore's, without its own ideas of instants and bytes: the client keeps both as they were sent."""
    factory = botocore.parsers.ResponseParserFactory()
    factory.set_parser_defaults(timestamp_parser=identity, blob_parser=identity)
    return factory.create_parser(spoken)


def read(call, operation, spoken, status, headers, body):
    response = {"status_code": status, "headers": headers, "body": body}
    parsed = parser(spoken).parse(response, operation.output_shape)
    parsed.pop("ResponseMetadata", None)
    if status < 300:
        for name, member in operation.output_shape.members.items():
            if member.serialization.get("location") in aws_model.ELSEWHERE:
                parsed.pop(name, None)
        if call in aws_model.TEXT_ROOTS:
            # botocore reads it in a handler, which takes the root's text.
            text = body.decode().rsplit("</", 1)[0].rpartition(">")[2] if b"</" in body else ""
            parsed = {aws_model.TEXT_ROOTS[call]: text or None}
    return parsed


def answers():
    from moto.core.model import ServiceModel
    from moto.core.serialize import get_serializer_class

    for call, model, operation, spoken in operations():
        service = call.partition(".")[0]
        name = aws_model.ALIASES.get(service, service)
        theirs = ServiceModel(aws_model.loader.load_service_model(name, "service-2"), name)
        theirs = theirs.operation_model(operation.name)
        for how in (FULL, MIXED, MIXED, MIXED, BARE):
            made = value(operation.output_shape, how)
            if call in aws_model.JSON_PAYLOADS:
                made = {operation.output_shape.serialization["payload"]: '{"Statement": [{"Sid": "ä"}]}'}
            if call in aws_model.TEXT_ROOTS:
                made = {aws_model.TEXT_ROOTS[call]: random.choice(["eu-west-1", ""])}
            serializer = get_serializer_class(name, spoken)(operation_model=theirs)
            body = serializer.serialize(made)["body"]
            body = body.encode() if isinstance(body, str) else body
            say(call=call, body=body.decode(), parsed=read(call, operation, spoken, 200, {}, body))


def moto():
    # What answers is in this process: nothing is sent.
    os.environ.update(AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", AWS_DEFAULT_REGION="eu-west-1")
    os.environ.update(MOTO_EC2_LOAD_DEFAULT_AMIS="false", AWS_EC2_METADATA_DISABLED="true")
    import boto3
    import botocore.config
    import moto as simulators

    raw = []
    parse = botocore.parsers.ResponseParser.parse

    def keep(self, response, shape):
        raw.append(response)
        return parse(self, response, shape)

    with simulators.mock_aws():
        client = lambda service: boto3.client(aws_model.ALIASES.get(service, service), config=botocore.config.Config(retries={"total_max_attempts": 1}))
        given = seed(client)
        botocore.parsers.ResponseParser.parse = keep
        for call, model, operation, spoken in operations():
            if call.startswith("cloudwatch.") or call.startswith("tag."):
                # boto3 speaks CBOR to it, which the client does not.
                continue
            parameters = dict(given.get(call, {}))
            for needed in operation.input_shape.required_members if operation.input_shape else []:
                parameters.setdefault(needed, value(operation.input_shape.members[needed], BARE, request=True))
            service, _, name = call.partition(".")
            ask = getattr(client(service), botocore.xform_name(name))
            raw.clear()
            try:
                ask(**parameters)
            except Exception as error:  # What the simulator lacks is of no interest, what it answers is.
                if not raw:
                    print(f"{call}: {error}", file=sys.stderr)
            if not raw:
                continue
            response = raw[0]
            # boto3 asks SQS for the codes of its older protocol beside the newer ones; the client does not, so that it is not told them.
            headers = {key.lower(): text for key, text in response["headers"].items() if key.lower() != "x-amzn-query-error"}
            parsed = read(call, operation, spoken, response["status_code"], headers, response["body"])
            say(call=call, status=response["status_code"], headers=headers, body=response["body"].decode(), parsed=parsed)


def seed(client):
    """A few resources, so that lists have one element and more; gives the parameters by which they are asked for."""
    document = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*", "Sid": "a<&>b"}]})
    trust = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}]})
    iam = client("iam")
    for user in ("one", "two"):
        iam.create_user(UserName=user, Tags=[{"Key": "team", "Value": "a & b"}])
    key = iam.create_access_key(UserName="one")["AccessKey"]["AccessKeyId"]
    iam.put_user_policy(UserName="one", PolicyName="inline", PolicyDocument=document)
    iam.create_group(GroupName="group")
    iam.add_user_to_group(GroupName="group", UserName="one")
    iam.create_role(RoleName="role", AssumeRolePolicyDocument=trust)
    policy = iam.create_policy(PolicyName="managed", PolicyDocument=document)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="role", PolicyArn=policy)
    iam.create_virtual_mfa_device(VirtualMFADeviceName="device")
    iam.update_account_password_policy(MinimumPasswordLength=14, RequireSymbols=True)
    iam.generate_credential_report()

    s3 = client("s3")
    s3.create_bucket(Bucket="bucket-one", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}, ObjectLockEnabledForBucket=True)
    bucket = {"Bucket": "bucket-one"}
    s3.put_bucket_policy(**bucket, Policy=document.replace('"Action"', '"Principal": "*", "Action"').replace('"*"}]', '"arn:aws:s3:::bucket-one/*"}]'))
    s3.put_public_access_block(**bucket, PublicAccessBlockConfiguration={"BlockPublicAcls": True})
    encryption = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "k"}, "BucketKeyEnabled": True}]}
    s3.put_bucket_encryption(**bucket, ServerSideEncryptionConfiguration=encryption)
    s3.put_bucket_ownership_controls(**bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
    s3.put_bucket_lifecycle_configuration(
        **bucket, LifecycleConfiguration={"Rules": [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 3}}]}
    )

    ec2 = client("ec2")
    volume = ec2.create_volume(AvailabilityZone="eu-west-1a", Size=8, Encrypted=True)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume, Description="a < b")["SnapshotId"]
    kms = client("kms")
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/one", TargetKeyId=key_id)
    kms.enable_key_rotation(KeyId=key_id)
    rds = client("rds")
    rds.create_db_instance(DBInstanceIdentifier="db", DBInstanceClass="db.t3.micro", Engine="postgres", AllocatedStorage=20)
    rds.create_db_snapshot(DBInstanceIdentifier="db", DBSnapshotIdentifier="snap")
    client("dynamodb").create_table(
        TableName="table",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    backup = client("backup")
    backup.create_backup_vault(BackupVaultName="vault")
    rule = {"RuleName": "daily", "TargetBackupVaultName": "vault", "ScheduleExpression": "cron(0 5 * * ? *)"}
    backup.create_backup_plan(BackupPlan={"BackupPlanName": "plan", "Rules": [rule]})
    client("organizations").create_organization(FeatureSet="ALL")
    client("guardduty").create_detector(Enable=True)
    client("sns").create_topic(Name="topic")
    client("sqs").create_queue(QueueName="queue")
    by_bucket = {call: bucket for call, *_ in operations() if call.startswith("s3.Get")}
    return by_bucket | {
        "ec2.DescribeSnapshotAttribute": {"SnapshotId": snapshot, "Attribute": "createVolumePermission"},
        "ec2.DescribeSnapshots": {"OwnerIds": ["self"]},
        "iam.GetAccessKeyLastUsed": {"AccessKeyId": key},
        "iam.ListAccessKeys": {"UserName": "one"},
        "iam.ListEntitiesForPolicy": {"PolicyArn": policy},
        "kms.DescribeKey": {"KeyId": key_id},
        "kms.GetKeyRotationStatus": {"KeyId": key_id},
        "kms.GetKeyPolicy": {"KeyId": key_id, "PolicyName": "default"},
        "dynamodb.DescribeTable": {"TableName": "table"},
        "dynamodb.DescribeContinuousBackups": {"TableName": "table"},
        "backup.DescribeBackupVault": {"BackupVaultName": "vault"},
        "rds.DescribeDBSnapshotAttributes": {"DBSnapshotIdentifier": "snap"},
        "organizations.ListPolicies": {"Filter": "SERVICE_CONTROL_POLICY"},
    }


# ---- requests


def asks():
    for call, model, operation, spoken in operations():
        for how in (FULL, MIXED, MIXED, BARE):
            parameters = value(operation.input_shape, how, request=True) if operation.input_shape else {}
            made = botocore.serialize.create_serializer(spoken, include_validation=False).serialize_to_request(parameters, operation)
            path, _, fixed = made["url_path"].partition("?")
            query = urllib.parse.parse_qsl(fixed, keep_blank_values=True)
            for name, given in (made["query_string"] or {}).items():
                query += [(name, text) for text in (given if isinstance(given, list) else [given])]
            body = made["body"]
            if isinstance(body, dict):
                body = {name: str(text) for name, text in body.items()}
            elif body:
                body = json.loads(body)
            headers = {name.lower(): text for name, text in made["headers"].items() if name != "x-amzn-query-mode"}
            say(
                call=call,
                parameters=parameters,
                method=made["method"],
                path=path,
                query=sorted([name, str(text)] for name, text in query),
                headers=headers,
                body=body or None,
                host_prefix=made.get("host_prefix"),
            )


# ---- endpoints and actions


def endpoints():
    for service, names in aws_model.calls().items():
        for region, where in aws_model.places(service, names):
            say(call=f"{service}.{names[0]}", region=region, **where)


def actions():
    import cfnlint.data.AdditionalSpecs as specs

    known = json.loads((pathlib.Path(specs.__file__).parent / "Policies.json").read_text())
    known = {prefix: {action.lower() for action in service["Actions"]} for prefix, service in known.items()}
    for line in sys.stdin:
        prefix, _, name = line.strip().partition(":")
        if name.lower() not in known.get(prefix, ()):
            print(line.strip())


if __name__ == "__main__":
    {"answers": answers, "moto": moto, "asks": asks, "endpoints": endpoints, "actions": actions}[sys.argv[1]]()
