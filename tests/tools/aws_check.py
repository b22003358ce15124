"""What the servers promise, checked with boto3: `python aws_check.py CHECK [ENDPOINT ACCESS_KEY SECRET_KEY]`. Silent where all is well."""

import json
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import boto3
import botocore.exceptions
from botocore.awsrequest import create_request_object, prepare_request_dict
from botocore.config import Config
from botocore.serialize import create_serializer

import aws_faults
import aws_standin
import aws_wire as wire
from aws_shapes import AWKWARD, example

SERVICES = (
    "iam sts s3 s3control kms ec2 rds dynamodb efs redshift opensearch backup cloudtrail config guardduty securityhub inspector2 "
    "accessanalyzer ssm organizations sso-admin identitystore acm elbv2 elb logs ecr lambda account tag "
    "cloudwatch eks sns sqs secretsmanager artifact"
).split()

# One list of each protocol, how it is called with boto3, and what gives it three rows.
LISTS = {
    "json": ("kms.ListAliases", "list_aliases", "Aliases"),
    "rest-json": ("backup.ListBackupJobs", "list_backup_jobs", "BackupJobs"),
    "query": ("iam.ListUsers", "list_users", "Users"),
    "ec2": ("ec2.DescribeVolumes", "describe_volumes", "Volumes"),
    "rest-xml": ("s3.ListBuckets", "list_buckets", "Buckets"),
}


class Here:
    """The server under test."""

    def __init__(self, endpoint, access_key, secret_key, token=None):
        self.endpoint, self.keys = endpoint, (access_key, secret_key, token)

    def client(self, service, region="us-east-1", secret=None, **more):
        session = boto3.session.Session(
            aws_access_key_id=self.keys[0], aws_secret_access_key=secret or self.keys[1], aws_session_token=self.keys[2], region_name=region
        )
        config = Config(retries={"mode": "standard", "total_max_attempts": more.pop("attempts", 1)}, read_timeout=more.pop("timeout", 20), **more)
        made = session.client(service, endpoint_url=self.endpoint, config=config)
        if service == "s3control":

            def without_prefix(request, **_):
                parts = urlsplit(request.url)
                request.url = request.url.replace(parts.netloc, urlsplit(self.endpoint).netloc)

            made.meta.events.register("before-sign", without_prefix)
        return made

    def control(self, method, path, body=None):
        data = None if body is None else json.dumps(body, default=str).encode()
        with urllib.request.urlopen(urllib.request.Request(self.endpoint + path, data=data, method=method)) as answer:
            return json.load(answer)

    def fault(self, **rule):
        self.control("DELETE", "/_faults")
        self.control("POST", "/_faults", rule)

    def calls(self):
        return self.control("GET", "/_calls")


def same(what, left, right):
    assert left == right, f"{what}: {left!r} is not {right!r}"


def refused(what, code, status, ask):
    """`ask` must be refused so."""
    try:
        ask()
    except botocore.exceptions.ClientError as error:
        same(what, (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]), (code, status))
        return error.response["Error"]["Message"]
    raise AssertionError(f"{what}: it was not refused")


# --- wire -----------------------------------------------------------------------------------------------------------------

# Members that botocore itself cannot tell apart: the old and the new form of a list have one name on the wire.
TWOFOLD = {"GetBucketNotification"}


def answers_parse_back():
    """Every answer that the wire code writes is read by botocore as what was written, for every reading operation."""
    tried = 0
    for name in SERVICES:
        model = wire.service(name)
        for what in model.operation_names:
            operation = model.operation_model(what)
            streams = operation.has_event_stream_output or operation.has_streaming_output
            if streams or what in TWOFOLD or not what.startswith(("List", "Describe", "Get", "Batch", "Lookup", "Generate")):
                continue
            output = example(operation.output_shape) if operation.output_shape else {}
            if what == "GetBucketLocation":  # read by a handler of its own
                continue
            same(f"{name}.{what}", wire.problems(operation, output), [])
            same(f"{name}.{what}", wire.read(operation, wire.answer(operation, output)), output)
            tried += 1
    assert tried > 1000, tried


def requests_are_identified():
    """Every request that botocore writes is understood: the operation, and the parameters that rules and rows may name."""
    tried = 0
    plain = ("string", "integer", "long", "boolean")
    for name in SERVICES:
        model = wire.service(name)
        write = create_serializer(model.protocol, False)
        for what in model.operation_names:
            operation = model.operation_model(what)
            odd = operation.has_streaming_input or operation.has_event_stream_input or what in wire.SIGNED_OTHERWISE
            if odd or (operation.deprecated and name == "s3"):
                continue
            given = example(operation.input_shape) if operation.input_shape else {}
            if "AccountId" in given:
                given["AccountId"] = "111122223333"
            parts = write.serialize_to_request(given, operation)
            prepare_request_dict(parts, "http://127.0.0.1:1", {})
            sent = create_request_object(parts).prepare()
            url, body = urlsplit(sent.url), sent.body if isinstance(sent.body, bytes) else (sent.body or "").encode()
            headers = {k.lower(): v.decode() if isinstance(v, bytes) else str(v) for k, v in sent.headers.items()}
            headers["authorization"] = f"AWS4-HMAC-SHA256 Credential=K/20261122/us-east-1/{model.signing_name}/aws4_request, Signature=x"
            call = wire.identify(wire.Request(sent.method, url.path, url.query, headers, body))
            same(f"{name}.{what}", call and call.name, f"{name}.{what}")
            if model.protocol != "rest-xml":  # bodies of XML are writes: nobody looks into them
                for key, shape in (operation.input_shape.members if operation.input_shape else {}).items():
                    if shape.type_name in plain:
                        same(f"{name}.{what} {key}", call.parameters.get(key), given[key])
            tried += 1
    assert tried > 2500, tried


# --- the stand-in ---------------------------------------------------------------------------------------------------------


def wrong_data_is_refused(here):
    """A row that botocore's model does not know is refused and named."""
    for output, named in [
        ({"BackupJobs": [{"State": "DONE"}]}, "DONE"),
        ({"BackupJobs": [{"Stat": "COMPLETED"}]}, "Stat"),
        ({"BackupJobs": [{"IsEncrypted": "yes"}]}, "IsEncrypted"),
        ({"BackupJobs": {}}, "BackupJobs"),
    ]:
        try:
            here.control("POST", "/_answers", [{"call": "backup.ListBackupJobs", "output": output}])
        except urllib.error.HTTPError as error:
            said = json.load(error)["error"]
            assert named in said, said
        else:
            raise AssertionError(f"{output} was taken")


def pages_are_followed(here):
    """botocore's own paginators read lists of the stand-in and of moto to their end, in pages of the size asked for."""
    jobs = [{"BackupJobId": f"job-{n}", "State": "COMPLETED"} for n in range(7)]
    here.control("POST", "/_answers", [{"call": "backup.ListBackupJobs", "output": {"BackupJobs": jobs}}])
    pages = list(here.client("backup").get_paginator("list_backup_jobs").paginate(PaginationConfig={"PageSize": 3}))
    same("sizes of pages", [len(page["BackupJobs"]) for page in pages], [3, 3, 1])
    same("ids", [job["BackupJobId"] for page in pages for job in page["BackupJobs"]], [job["BackupJobId"] for job in jobs])
    iam = here.client("iam")
    for number in range(5):
        iam.create_user(UserName=f"paged-{number}")
    pages = list(iam.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 2}))
    same("moto's list in pages", [len(page["Users"]) for page in pages], [2, 2, 1])
    same("more is said", [page["IsTruncated"] for page in pages], [True, True, False])
    details = list(iam.get_paginator("get_account_authorization_details").paginate(PaginationConfig={"PageSize": 2}))
    same("users in details", sum(len(page["UserDetailList"]) for page in details), 5)
    foreign = lambda: iam.list_groups(Marker=pages[0]["Marker"])
    refused("a token of another list", "ValidationException", 400, foreign)


def seeded_answers_are_read(here):
    """boto3 reads every row that the seed gave to the stand-in, each through HTTP, whole, and botocore's model has nothing against it."""
    members = here.client("organizations").list_accounts()["Accounts"]
    rows = here.control("GET", "/_answers")
    assert len(rows) > 100, len(rows)
    homes = {here.client("sts").get_caller_identity()["Account"]: here}
    for member in members:
        if member["Status"] == "ACTIVE" and member["Id"] not in homes:
            role = f"arn:aws:iam::{member['Id']}:role/OrganizationAccountAccessRole"
            keys = here.client("sts").assume_role(RoleArn=role, RoleSessionName="check")["Credentials"]
            homes[member["Id"]] = Here(here.endpoint, keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    clients = {}
    for row in rows:
        service, _, name = row["call"].partition(".")
        at = (row["account"], service, row.get("region") or "us-east-1")
        if at not in clients:
            clients[at] = homes[row["account"]].client(service, at[2])
        method = getattr(clients[at], botocore.xform_name(name))
        model = wire.operation(row["call"])
        needed = {m: example(model.input_shape.members[m]) for m in model.input_shape.required_members} if model.input_shape else {}
        needed = {m: "some-value-long-enough-to-be-an-id-00000" if v == AWKWARD else v for m, v in needed.items()}
        for rule in row.get("select", []):
            if rule["parameter"] in needed:
                needed[rule["parameter"]] = [one[rule["member"]] for one in next(iter(row["output"].values()))]
        asked = needed | row.get("parameters", {})
        if "error" in row:
            refused(row["call"], row["error"]["code"], row["error"]["status"], lambda: method(**asked))
            continue
        how = aws_standin.paging(row["call"])
        if how and clients[at].can_paginate(botocore.xform_name(name)):
            got = [one for page in clients[at].get_paginator(botocore.xform_name(name)).paginate(**asked) for one in page[how["rows"][0]]]
            same(row["call"], len(got), len(row["output"][how["rows"][0]]))
            output = {how["rows"][0]: got}
        else:
            output = method(**asked)
            output.pop("ResponseMetadata")
        same(row["call"], wire.problems(model, output), [])


def gaps_of_moto_are_closed(here):
    """Where moto differs from AWS in what evidence rests on, the answer is AWS's."""
    s3, iam = here.client("s3"), here.client("iam")
    s3.create_bucket(Bucket="plain-bucket")
    rule = s3.get_bucket_encryption(Bucket="plain-bucket")["ServerSideEncryptionConfiguration"]["Rules"][0]
    same("a bucket's default", rule["ApplyServerSideEncryptionByDefault"], {"SSEAlgorithm": "AES256"})
    s3.create_bucket(Bucket="west-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    regions = {bucket["Name"]: bucket.get("BucketRegion") for bucket in s3.list_buckets(MaxBuckets=10)["Buckets"]}
    same("regions of buckets", regions, {"plain-bucket": "us-east-1", "west-bucket": "eu-west-1"})
    same("a region's buckets", [b["Name"] for b in s3.list_buckets(BucketRegion="eu-west-1")["Buckets"]], ["west-bucket"])
    here.client("s3", "eu-west-1").get_bucket_versioning(Bucket="west-bucket")
    here.control("DELETE", "/_calls")
    s3.get_bucket_versioning(Bucket="west-bucket")
    same("a bucket's own region is insisted on", [call["status"] for call in here.calls()][0], 301)
    iam.create_user(UserName="reported")
    iam.generate_credential_report()
    lines = iam.get_credential_report()["Content"].decode().splitlines()
    assert lines[1].startswith("<root_account>,arn:aws:iam::"), lines[1]
    same("columns", {line.count(",") for line in lines}, {lines[0].count(",")})
    same("no snapshot that nobody made", here.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"], [])


# --- faults ---------------------------------------------------------------------------------------------------------------


def _three_rows(here):
    """Gives each of `LISTS` three rows or more."""
    kms, iam, ec2, s3 = (here.client(name) for name in ("kms", "iam", "ec2", "s3"))
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    for number in range(3):
        kms.create_alias(AliasName=f"alias/{number}", TargetKeyId=key)
        iam.create_user(UserName=f"listed-{number}")
        ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)
        s3.create_bucket(Bucket=f"listed-{number}")
    jobs = [{"BackupJobId": f"job-{n}", "State": "COMPLETED"} for n in range(3)]
    here.control("POST", "/_answers", [{"call": "backup.ListBackupJobs", "output": {"BackupJobs": jobs}}])


def _asks(here, **config):
    """For each protocol: the call, a function that asks once, and one that reads all pages."""
    for protocol, (call, method, rows) in LISTS.items():
        client = here.client(call.split(".")[0], **config)
        yield protocol, call, getattr(client, method), lambda c=client, m=method, r=rows: [
            row for page in c.get_paginator(m).paginate() for row in page[r]
        ]


def refusals_have_their_protocols_words(here):
    """boto3 reads code, status and message of each refusal in each protocol, and retries what is throttled."""
    for protocol, call, ask, _ in _asks(here):
        denied, throttled = aws_faults.DENIED[protocol], aws_faults.THROTTLED[protocol]
        here.fault(call=call, do="deny")
        said = refused(f"{protocol} deny", denied[1], denied[0], ask)
        assert "is not authorized to perform" in said, said
        here.fault(call=call, do="deny", by="scp")
        assert "service control policy" in refused(f"{protocol} scp", denied[1], denied[0], ask)
        here.fault(call=call, do="throttle")
        refused(f"{protocol} throttle", throttled[1], throttled[0], ask)
        for kind, (status, code) in {
            "expired": aws_faults.EXPIRED[protocol], "disabled": aws_faults.DISABLED[protocol][:2], "skew": aws_faults.SKEWED[protocol][:2],
        }.items():
            here.fault(call=call, do=kind)
            refused(f"{protocol} {kind}", code, status, ask)
        here.fault(call=call, do="error", status=409, code="SomeConflict", message="a <message> & more")
        same("message", refused(f"{protocol} error", "SomeConflict", 409, ask), "a <message> & more")
        here.fault(call=call, do="html")
        refused(f"{protocol} html", "503", 503, ask)
        here.control("DELETE", "/_faults")
        ask()
    for protocol, call, ask, _ in _asks(here, attempts=3):
        here.fault(call=call, do="throttle", times=2)
        ask()
        same(f"{protocol}: throttled calls were counted", here.control("GET", "/_faults")[0]["hit"], 2)


def pages_go_wrong_as_told(here):
    """Empty pages, repeated tokens, tokens that are dropped, in each protocol."""
    for protocol, call, ask, everything in _asks(here):
        here.control("DELETE", "/_faults")
        whole = len(everything())
        assert whole >= 3, (protocol, whole)
        here.fault(call=call, do="pages", size=2)
        same(f"{protocol} pages", len(everything()), whole)
        assert here.control("GET", "/_faults")[0]["hit"] == (whole + 1) // 2
        here.fault(call=call, do="empty")
        same(f"{protocol} empty first page", len(everything()), whole)
        same(f"{protocol} empty first page, in two calls", here.control("GET", "/_faults")[0]["hit"], 2)
        here.fault(call=call, do="repeat")
        try:
            everything()
        except botocore.exceptions.PaginationError:
            pass
        else:
            raise AssertionError(f"{protocol}: botocore saw no repeated token")
        here.control("DELETE", "/_faults")
        here.control("POST", "/_faults", [{"call": call, "do": "pages", "size": 2}, {"call": call, "do": "drop"}])
        same(f"{protocol} dropped token", len(everything()), 2)


def connections_break_as_told(here):
    """Bodies that end early, come slowly or not at all, resets, and bodies that are no answers."""
    broken = (botocore.exceptions.HTTPClientError, botocore.parsers.ResponseParserError, botocore.exceptions.ConnectionError)
    for protocol, call, ask, _ in _asks(here, timeout=2):
        for rule in ({"do": "truncate"}, {"do": "reset"}, {"do": "hang", "seconds": 6}, {"do": "garbage", "body": "<html>"}):
            here.fault(call=call, times=1, **rule)
            begun = time.monotonic()
            try:
                ask()
            except (*broken, botocore.exceptions.ClientError):
                assert time.monotonic() - begun < 5, f"{protocol} {rule}"
            else:
                assert protocol in ("json", "rest-json") and rule["do"] == "garbage", f"{protocol}: {rule} went unseen"
        here.fault(call=call, times=1, do="drip", bytes=200, pause=0.01)
        ask()
        here.fault(call=call, times=1, do="delay", seconds=0.3)
        begun = time.monotonic()
        ask()
        assert time.monotonic() - begun >= 0.3
        same(f"{protocol}: afterwards all is well", ask()["ResponseMetadata"]["HTTPStatusCode"], 200)


def rules_match_what_they_name(here):
    """A rule counts and faults the calls of its operation, account, region, parameters and turn, and no others."""
    iam, west = here.client("iam"), here.client("ec2", "eu-west-1")
    here.fault(call="iam.List*", do="deny", after=1, times=1)
    iam.list_users()
    refused("the second", "AccessDenied", 403, iam.list_groups)
    iam.list_roles()
    here.fault(call="ec2.*", region="us-east-1", do="deny")
    west.describe_volumes()
    refused("the other region", "UnauthorizedOperation", 403, here.client("ec2").describe_volumes)
    here.fault(call="s3.GetBucketVersioning", parameters={"Bucket": "listed-1"}, do="deny")
    here.client("s3").get_bucket_versioning(Bucket="listed-0")
    refused("the bucket", "AccessDenied", 403, lambda: here.client("s3").get_bucket_versioning(Bucket="listed-1"))
    here.fault(account="999999999999", do="deny")
    iam.list_users()


def calls_are_logged(here):
    """The log has each call with who made it where, its status and code, and which fault met it."""
    here.control("DELETE", "/_calls")
    here.fault(call="iam.ListUsers", do="deny")
    refused("it", "AccessDenied", 403, here.client("iam").list_users)
    here.client("ec2", "eu-west-1").describe_volumes(MaxResults=5)
    first, second = here.calls()
    same("call", (first["call"], first["action"], first["status"], first["code"]), ("iam.ListUsers", "iam:ListUsers", 403, "AccessDenied"))
    same("fault", first["faults"], ["deny"])
    same("place", (second["region"], second["account"], second["parameters"]), ("eu-west-1", "123456789012", {"MaxResults": 5}))


# --- permissions ----------------------------------------------------------------------------------------------------------


def signatures_are_checked(here):
    """A signature with another secret is refused in every protocol; a right one is accepted, also of paths that need escaping."""
    for protocol, (call, method, _) in LISTS.items():
        wrong = getattr(here.client(call.split(".")[0], secret="another-secret"), method)
        refused(protocol, "SignatureDoesNotMatch", 403, wrong)
    here.client("s3").create_bucket(Bucket="signed")
    here.client("s3").put_object(Bucket="signed", Key="a b/ü+%=~.txt", Body=b"x")
    arn = "arn:aws:securityhub:us-east-1:123456789012:subscription/a b/v/1.0"
    answer = {"call": "securityhub.DescribeStandardsControls", "output": {"Controls": []}}
    here.control("POST", "/_answers", [answer])
    same("an ARN in a path", here.client("securityhub").describe_standards_controls(StandardsSubscriptionArn=arn)["Controls"], [])
    same("as it was meant", here.calls()[-1]["parameters"], {"StandardsSubscriptionArn": arn})


def permissions_are_enforced(here):
    """A user may do what its policies allow, a session what its own policy allows as well, and a role is assumed by whom it trusts."""
    iam = here.client("iam")
    here.client("s3").create_bucket(Bucket="signed")
    iam.create_user(UserName="limited")
    key = iam.create_access_key(UserName="limited")["AccessKey"]
    allow = lambda *actions: json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]})
    iam.put_user_policy(UserName="limited", PolicyName="p", PolicyDocument=allow("iam:ListUsers", "sts:AssumeRole", "s3:GetBucket*"))
    trusts = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "sts:AssumeRole"}
    trusts["Condition"] = {"StringEquals": {"sts:ExternalId": "right"}}
    role = iam.create_role(RoleName="read", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trusts]}))["Role"]["Arn"]
    iam.put_role_policy(RoleName="read", PolicyName="p", PolicyDocument=allow("iam:List*"))
    here.control("POST", "/_enforce", {"permissions": True, "trust": True})
    limited = Here(here.endpoint, key["AccessKeyId"], key["SecretAccessKey"])
    limited.client("iam").list_users()
    said = refused("an action that is not allowed", "AccessDenied", 403, limited.client("iam").list_roles)
    assert said.startswith("User: arn:aws:iam::123456789012:user/limited is not authorized to perform: iam:ListRoles"), said
    refused("S3's own names of actions", "AccessDenied", 403, limited.client("s3").list_buckets)
    limited.client("s3").get_bucket_versioning(Bucket="signed")
    refused("and of encryption", "AccessDenied", 403, lambda: limited.client("s3").get_bucket_encryption(Bucket="signed"))
    sts = limited.client("sts")
    for external in ({}, {"ExternalId": "wrong"}):
        refused("external id", "AccessDenied", 403, lambda: sts.assume_role(RoleArn=role, RoleSessionName="check", **external))
    missing = lambda: sts.assume_role(RoleArn=role + "s", RoleSessionName="check", ExternalId="right")
    refused("a role that is not there", "AccessDenied", 403, missing)

    def session(**more):
        keys = sts.assume_role(RoleArn=role, RoleSessionName="check", ExternalId="right", **more)["Credentials"]
        return Here(here.endpoint, keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])

    session().client("iam").list_roles()
    narrow = session(Policy=allow("iam:ListUsers", "ec2:*"))
    narrow.client("iam").list_users()
    refused("beyond the session's policy", "AccessDenied", 403, narrow.client("iam").list_roles)
    refused("beyond the role's policy", "UnauthorizedOperation", 403, narrow.client("ec2").describe_volumes)
    here.control("POST", "/_enforce", {"permissions": False, "trust": False})
    limited.client("iam").list_roles()


def main():
    name, arguments = sys.argv[1], sys.argv[2:]
    if not arguments:
        globals()[name]()
        return
    here = Here(*arguments)
    if name in ("refusals_have_their_protocols_words", "pages_go_wrong_as_told", "connections_break_as_told", "rules_match_what_they_name"):
        _three_rows(here)
    globals()[name](here)


if __name__ == "__main__":
    main()
