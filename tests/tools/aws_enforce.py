"""Who asks, whether the signature is theirs, and whether they may: what moto leaves out or does only for some requests.

The principals, their keys and their policies are moto's own state, read in the process. Which IAM action an operation needs is written
down here once more, on purpose: the program's own table is held against it.
"""

import fnmatch
import hashlib
import hmac
import json
import re
from datetime import datetime, timezone
from urllib.parse import parse_qsl, quote, unquote

from moto.iam.models import get_account_id_from, iam_backends
from moto.sts.models import sts_backends

# The prefix of a service's actions, where it is not the service's name in botocore.
PREFIXES = {
    "accessanalyzer": "access-analyzer",
    "efs": "elasticfilesystem",
    "elb": "elasticloadbalancing",
    "elbv2": "elasticloadbalancing",
    "opensearch": "es",
    "resourcegroupstaggingapi": "tag",
    "s3control": "s3",
    "sso-admin": "sso",
    "stepfunctions": "states",
}

# Actions that are not named as their operation is.
ACTIONS = {
    "s3.GetBucketAccelerateConfiguration": "s3:GetAccelerateConfiguration",
    "s3.GetBucketCors": "s3:GetBucketCORS",
    "s3.GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3.GetBucketInventoryConfiguration": "s3:GetInventoryConfiguration",
    "s3.GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3.GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "s3.GetBucketReplication": "s3:GetReplicationConfiguration",
    "s3.GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "s3.GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3.HeadBucket": "s3:ListBucket",
    "s3.ListBuckets": "s3:ListAllMyBuckets",
    "s3.ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3.ListObjectVersions": "s3:ListBucketVersions",
    "s3.ListObjects": "s3:ListBucket",
    "s3.ListObjectsV2": "s3:ListBucket",
    "s3control.GetPublicAccessBlock": "s3:GetAccountPublicAccessBlock",
}


def action(call):
    """The IAM action of a call: `s3.ListBuckets` gives `s3:ListAllMyBuckets`."""
    service, _, operation = call.partition(".")
    return ACTIONS.get(call) or f"{PREFIXES.get(service, service)}:{operation}"


# --- who ------------------------------------------------------------------------------------------------------------------


class Principal:
    """The owner of an access key that moto knows."""

    def __init__(self, account, key):
        self.account = account
        self.secret = self.token = self.session_policy = None
        self.policies = []
        iam = iam_backends[account]["aws"]
        for role in sts_backends[account]["aws"].assumed_roles:
            if role.access_key_id == key:
                self.arn, self.secret, self.token = role.arn, role.secret_access_key, role.session_token
                self.session_policy, self.name = role.policy, role.role_arn.split("/")[-1]
                self.known = self.name in {r.name for r in iam.roles.values()}
                if self.known:
                    self.policies = self._role_policies(iam)
                return
        for user in iam.users.values():
            for owned in user.access_keys:
                if owned.access_key_id == key:
                    self.arn, self.secret, self.name, self.known = user.arn, owned.secret_access_key, user.name, True
                    self.policies = self._user_policies(iam, user)
                    return
        raise KeyError(key)

    def _role_policies(self, iam):
        inline = [iam.get_role_policy(self.name, policy)[1] for policy in iam.list_role_policies(self.name)]
        return [json.loads(text) for text in inline] + _documents(iam.list_attached_role_policies(self.name)[0])

    def _user_policies(self, iam, user):
        found = [json.loads(text) for text in user.policies.values()] + _documents(iam.list_attached_user_policies(user.name)[0])
        for group in iam.get_groups_for_user(user.name):
            found += [json.loads(text) for text in group.policies.values()]
            found += _documents(iam.list_attached_group_policies(group.name)[0])
        return found


def _documents(policies):
    return [json.loads(next(v.document for v in policy.versions if v.is_default)) for policy in policies]


def principal(key):
    """The principal of a key; None: a key of nobody, which is the account's administrator here."""
    try:
        return Principal(get_account_id_from(key), key)
    except KeyError:
        return None


# --- whether the signature is theirs ---------------------------------------------------------------------------------------


def signature_problem(request, secret, token, now=None):
    """What is wrong with a Signature Version 4, as a code and words; None: nothing. Reference: IAM user guide, "Create a signed request"."""
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})", request.headers.get("authorization", "")
    )
    if not found:
        return "IncompleteSignature", "the Authorization header is not of Signature Version 4"
    scope, names, claimed = found.groups()
    _, day, region, service, _ = scope.split("/")
    date = request.headers.get("x-amz-date", "")
    if not re.fullmatch(r"\d{8}T\d{6}Z", date) or not date.startswith(day):
        return "IncompleteSignature", "x-amz-date is missing, or of another day than the scope"
    when = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    if abs((when - (now or datetime.now(timezone.utc))).total_seconds()) > 900:
        return "RequestTimeTooSkewed", "the request is older than 15 minutes"
    names = names.split(";")
    if "host" not in names or names != sorted(names):
        return "SignatureDoesNotMatch", "the signed headers must be sorted and have the host"
    if any(name.startswith("x-amz-") and name not in names for name in request.headers):
        return "SignatureDoesNotMatch", "every x-amz header must be signed"
    if token is not None and request.headers.get("x-amz-security-token") != token:
        return "InvalidClientTokenId", "The security token included in the request is invalid"
    digest = hashlib.sha256(request.body).hexdigest()
    said = request.headers.get("x-amz-content-sha256", digest)
    if re.fullmatch("[0-9a-f]{64}", said) and said != digest:
        return "XAmzContentSHA256Mismatch", "x-amz-content-sha256 is not of the body"
    path = request.path or "/"
    if service != "s3":  # every other service signs the path as sent, encoded once more
        path = quote(path, safe="/-_.~")
    pairs = sorted((_encoded(k), _encoded(v)) for k, v in parse_qsl(request.query, keep_blank_values=True))
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in names)
    canonical = "\n".join(
        [request.method, path, "&".join(f"{k}={v}" for k, v in pairs), headers, ";".join(names), said]
    )
    to_sign = "\n".join(
        ["AWS4-HMAC-SHA256", date, f"{day}/{region}/{service}/aws4_request", hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    right = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(right, claimed):
        return "SignatureDoesNotMatch", f"The request signature does not match. The canonical string was:\n{canonical}"
    return None


def _encoded(text):
    return quote(text, safe="-_.~")


# --- whether they may -----------------------------------------------------------------------------------------------------


def resource(call):
    """The ARN that a call is about, where a policy may name it; else `*`."""
    parameters = call.parameters
    if call.service == "s3" and "Bucket" in parameters:
        return f"arn:aws:s3:::{parameters['Bucket']}" + (f"/{parameters['Key']}" if "Key" in parameters else "")
    if call.name == "sts.AssumeRole":
        return parameters.get("RoleArn", "*")
    if call.service == "kms" and "KeyId" in parameters:
        key = parameters["KeyId"]
        return key if key.startswith("arn:") else f"arn:aws:kms:{call.region}:{call.account}:key/{key}"
    if call.service == "iam" and "UserName" in parameters:
        return f"arn:aws:iam::{call.account}:user/{parameters['UserName']}"
    return "*"


def _as_list(value):
    return value if isinstance(value, list) else [value]


def _matches(patterns, value):
    return any(fnmatch.fnmatchcase(value.lower(), pattern.lower().replace("[", "[[]")) for pattern in _as_list(patterns))


def _holds(condition, context):
    """Whether a statement's condition holds; one that is not understood does not."""
    for operator, tests in condition.items():
        for key, wanted in tests.items():
            given = context.get(key.lower())
            wanted = [str(w) for w in _as_list(wanted)]
            if operator in ("StringEquals", "ArnEquals"):
                good = given in wanted
            elif operator in ("StringLike", "ArnLike"):
                good = given is not None and _matches(wanted, given)
            elif operator in ("StringNotEquals", "StringNotLike"):
                good = given is None or not _matches(wanted, given)
            else:
                good = False
            if not good:
                return False
    return True


def verdict(documents, wanted, target, context):
    """`allow`, `deny`, or None where no statement says anything."""
    said = None
    for document in documents:
        for statement in _as_list(document.get("Statement", [])):
            if "NotAction" in statement:
                meant = not _matches(statement["NotAction"], wanted)
            else:
                meant = _matches(statement.get("Action", []), wanted)
            if not meant or not _matches(statement.get("Resource", "*"), target):
                continue
            if not _holds(statement.get("Condition", {}), context):
                continue
            if statement.get("Effect") == "Deny":
                return "deny"
            said = "allow"
    return said


def may(call, who):
    """Whether a principal may make a call by its own policies and, within them, its session's."""
    if call.name == "sts.GetCallerIdentity" or who is None:
        return True
    wanted, target = action(call.name), resource(call)
    context = {"aws:requestedregion": call.region, "sts:externalid": call.parameters.get("ExternalId")}
    if verdict(who.policies, wanted, target, context) != "allow":
        return False
    if who.session_policy:
        return verdict([json.loads(who.session_policy)], wanted, target, context) == "allow"
    return True


def trusted(call, who):
    """Whether the role that is to be assumed exists and trusts the caller, with the external id that it wants."""
    arn = call.parameters.get("RoleArn", "")
    parts = arn.split(":")
    if len(parts) < 6:
        return False
    roles = iam_backends[parts[4]]["aws"].roles.values()
    role = next((role for role in roles if role.arn == arn), None)
    if role is None:
        return False
    caller = who.arn if who else f"arn:aws:iam::{call.account}:root"
    mine = {"*", call.account, f"arn:aws:iam::{call.account}:root", caller}
    if ":assumed-role/" in caller:
        mine.add(f"arn:aws:iam::{call.account}:role/{caller.split('/')[1]}")
    document = json.loads(unquote(role.assume_role_policy_document))
    context = {"sts:externalid": call.parameters.get("ExternalId")}
    for statement in _as_list(document.get("Statement", [])):
        named = statement.get("Principal", {})
        named = named if isinstance(named, str) else named.get("AWS", [])
        if statement.get("Effect") == "Allow" and mine & set(_as_list(named)) and _holds(statement.get("Condition", {}), context):
            return True
    return False
