"""Answers for what moto lacks, and corrections of what it gets wrong.

An answer is a row of data: `{"call": "backup.ListBackupJobs", "output": {...}}`, optionally only for an `account`, a `region` or `parameters`
(all those named must be equal), or `{"call": ..., "error": {"status": 400, "code": "...", "message": "..."}}`. The newest that fits wins.
`select` says which parameters choose among the rows: `{"parameter": "ByCreatedAfter", "member": "CreationDate", "is": "after"}`; `page` is
how many rows a page has at most. The call `root` is no operation: its `report` is the root user's line of the credential report.
Outputs are held against botocore's model when they are given, and cut into pages as the operation's paginator in botocore says.
"""

import base64
import csv
import functools
import hashlib
import io
import json
import threading
from datetime import datetime, timedelta, timezone

import botocore.exceptions
import botocore.utils
from moto.s3.models import s3_backends

import aws_wire as wire

# How many rows AWS gives where nobody says, as far as it matters here: moto gives all.
USUAL_PAGE = {"iam": 100, "kms": 100}


class Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


# --- pages ----------------------------------------------------------------------------------------------------------------


@functools.cache
def paging(call):
    """How a list goes on: names of the token's parameter and member, the size, the rows, the member that says whether there is more."""
    service, _, name = call.partition(".")
    model = wire.operation(call)
    given = model.input_shape.members if model.input_shape else {}
    back = model.output_shape.members if model.output_shape else {}
    try:
        found = wire.SESSION.get_paginator_model(wire.ALIASES.get(service, service)).get_paginator(name)
    except (botocore.exceptions.UnknownServiceError, botocore.exceptions.DataNotFoundError, ValueError):
        found = {}
    first = lambda value: value[0] if isinstance(value, list) else value
    token_in = first(found.get("input_token")) or next((n for n in ("NextToken", "nextToken", "Marker") if n in given), None)
    token_out = first(found.get("output_token")) or next((n for n in (token_in, "NextMarker") if n in back), None)
    if token_in not in given or token_out not in back:
        return None
    rows = found.get("result_key") or [name for name, shape in back.items() if shape.type_name == "list"]
    rows = [name for name in (rows if isinstance(rows, list) else [rows]) if name in back]
    size = found.get("limit_key") or next((n for n in ("MaxResults", "maxResults", "MaxItems", "MaxRecords", "Limit") if n in given), None)
    more = found.get("more_results") or next((n for n in ("IsTruncated", "Truncated") if n in back), None)
    return {"into": token_in, "token": token_out, "size": size, "rows": rows, "more": more} if rows else None


class Pages:
    """Cuts whole lists into pages. A token holds what it was made for, and is refused with other parameters."""

    def __init__(self):
        self.kept = {}
        self.lock = threading.Lock()

    def cut(self, call, how, whole, size):
        """The page of `whole()` that the call asks for."""
        asked = {k: v for k, v in call.parameters.items() if k not in (how["into"], how["size"])}
        mark = hashlib.sha256(json.dumps([call.name, call.account, call.region, asked], sort_keys=True, default=str).encode()).hexdigest()[:12]
        token = call.parameters.get(how["into"])
        begin = 0
        if token is not None:
            try:
                made, begin = json.loads(base64.urlsafe_b64decode(token.encode()))
            except ValueError:
                made = None
            if made != mark:
                raise Refused(400, "ValidationException", "The pagination token is not of this request")
        with self.lock:
            output = self.kept.get(mark) if begin else None
        if output is None:
            output = whole()
        rows = [(key, row) for key in how["rows"] for row in output.get(key) or []]
        end = begin + size
        page = {key: value for key, value in output.items() if key not in (*how["rows"], how["token"], how["more"])}
        page |= {key: [] for key in how["rows"] if key in output}
        for key, row in rows[begin:end]:
            page[key].append(row)
        left = end < len(rows)
        if left:
            page[how["token"]] = base64.urlsafe_b64encode(json.dumps([mark, end]).encode()).decode()
        if how["more"]:
            page[how["more"]] = left
        with self.lock:
            if left:
                self.kept[mark] = output
            else:
                self.kept.pop(mark, None)
        return page


# --- answers --------------------------------------------------------------------------------------------------------------


class StandIn:
    """What is known beside moto."""

    def __init__(self):
        self.answers = {}
        self.roots = {}
        self.pages = Pages()

    def add(self, rows):
        """Takes answers; what botocore's model does not allow is refused, by name."""
        for row in rows:
            if row["call"] == "root":
                self.roots[row["account"]] = row
                continue
            model = wire.operation(row["call"])
            wrong = wire.problems(model, row["output"]) if "output" in row else []
            if wrong:
                raise ValueError(f"{row['call']}: " + "; ".join(wrong))
            self.answers.setdefault(row["call"], []).insert(0, row)

    def find(self, call):
        """The row that answers a call, or None."""
        for row in self.answers.get(call.name, []):
            same = all(row.get(name) in (None, getattr(call, name)) for name in ("account", "region"))
            if same and all(call.parameters.get(name) == value for name, value in row.get("parameters", {}).items()):
                return row
        return None

    def answer(self, call, size=None):
        """The answer of a known operation, or None; `size`: the rows of a page, whatever is asked."""
        row = self.find(call)
        if row is None:
            return None
        if "error" in row:
            raise Refused(row["error"].get("status", 400), row["error"]["code"], row["error"].get("message", ""))
        how = paging(call.name)
        output = _selected(call, row)
        if how:
            size = min(filter(None, (size, self.asked_size(call, how), row.get("page"), 1000)))
            output = self.pages.cut(call, how, lambda: _selected(call, row), size)
        return wire.answer(call.model, output)

    @staticmethod
    def asked_size(call, how):
        """How many rows the request wants at most."""
        return int(call.parameters.get(how["size"]) or 0)

    def amend(self, call, given):
        """moto's answer, as AWS would give it."""
        change = AMENDS.get(call.name)
        if change:
            given = change(self, call, given)
        return given

    def repage(self, call, ask, size=None):
        """moto's whole list in pages, where it would give all at once; `ask` asks moto. None: this operation is not cut."""
        how = paging(call.name)
        usual = USUAL_PAGE.get(call.service)
        if call.name in REPAGED:
            usual = usual or 1000
        elif size is None:
            return None
        if how is None or (usual is None and size is None):
            return None
        asked = self.asked_size(call, how)
        size = min(filter(None, (size, asked, usual)))
        token = call.parameters.get(how["into"])
        answered = {}

        def whole():
            answered["given"] = given = self.amend(call, ask(how["into"], how["size"]))
            if given.status != 200:
                raise _AsItIs(given)
            return wire.read(call.model, given)

        try:
            page = self.pages.cut(call, how, whole, size)
        except _AsItIs as failed:
            return failed.given
        if token is None and not page.get(how["token"]):
            return answered["given"]  # one page: moto's own bytes
        return wire.answer(call.model, page)


def _selected(call, row):
    """An output with those rows that the call's parameters ask for."""
    output = dict(row["output"])
    for rule in row.get("select", []):
        wanted = call.parameters.get(rule["parameter"])
        if wanted is None:
            continue
        for key, rows in output.items():
            if isinstance(rows, list):
                output[key] = [one for one in rows if _fits(rule["is"], _member(one, rule["member"]), wanted)]
    return output


def _member(row, path):
    for name in path.split("."):
        row = row.get(name) if isinstance(row, dict) else None
    return row


def _fits(how, value, wanted):
    if how == "same":
        return value == wanted
    if how == "among":
        return value in wanted
    if value is None:
        return False
    value, wanted = (botocore.utils.parse_to_aware_datetime(when) for when in (value, wanted))
    return value >= wanted if how == "after" else value < wanted


class _AsItIs(Exception):
    def __init__(self, given):
        super().__init__()
        self.given = given


# Lists that moto 5.2.5 gives in one page whatever is asked.
REPAGED = {
    "iam.GetAccountAuthorizationDetails",
    "iam.ListUsers",
    "iam.ListGroups",
    "iam.ListRoles",
    "iam.ListPolicies",
    "iam.ListMFADevices",
    "iam.ListVirtualMFADevices",
    "iam.ListAccessKeys",
    "iam.ListAttachedUserPolicies",
    "kms.ListKeys",
    "kms.ListAliases",
    "ec2.DescribeVolumes",
    "ec2.DescribeSecurityGroups",
    "ec2.DescribeSnapshots",
    "acm.ListCertificates",
    "backup.ListBackupVaults",
    "s3.ListBuckets",
}

# --- corrections ----------------------------------------------------------------------------------------------------------

# What AWS says of a bucket for which nobody set an encryption.
DEFAULT_ENCRYPTION = {
    "ServerSideEncryptionConfiguration": {
        "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]
    }
}


def _changed(call, given, change):
    if given.status != 200:
        return given
    output = wire.read(call.model, given)
    change(output)
    return wire.answer(call.model, output)


def _default_encryption(_, call, given):
    if given.status == 404 and b"ServerSideEncryptionConfigurationNotFoundError" in given.body:
        return wire.answer(call.model, DEFAULT_ENCRYPTION)
    return given


def _root_line(standin, call, given):
    """The report's first line is the root user, which moto leaves out, and it is not years old."""

    def change(output):
        lines = list(csv.reader(io.StringIO(output["Content"].decode())))
        root = {
            "user": "<root_account>",
            "arn": f"arn:aws:iam::{call.account}:root",
            "user_creation_time": "2019-02-11T08:21:43+00:00",
            "password_enabled": "not_supported",
            "password_last_used": "no_information",
            "password_last_changed": "not_supported",
            "password_next_rotation": "not_supported",
            "mfa_active": "true",
        }
        for slot in ("access_key_1", "access_key_2"):
            root |= {f"{slot}_active": "false", f"{slot}_last_rotated": "N/A"}
            root |= {f"{slot}_last_used_{what}": "N/A" for what in ("date", "region", "service")}
        for slot in ("cert_1", "cert_2"):
            root |= {f"{slot}_active": "false", f"{slot}_last_rotated": "N/A"}
        root |= standin.roots.get(call.account, {}).get("report", {})
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(lines[0])
        writer.writerow([root.get(column, "N/A") for column in lines[0]])
        writer.writerows(line for line in lines[1:] if line and line[0] != "<root_account>")
        output["Content"] = out.getvalue().rstrip("\n").encode()
        # moto says 2015; AWS makes one at most every four hours.
        made = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(minutes=90)
        output["GeneratedTime"] = standin.roots.get(call.account, {}).get("generated", made)

    return _changed(call, given, change)


def _summary(standin, call, given):
    """moto knows of no root user and counts no devices of it."""

    def change(output):
        report = standin.roots.get(call.account, {}).get("report", {})
        output["SummaryMap"]["AccountMFAEnabled"] = int(report.get("mfa_active", "true") == "true")
        keys = any(report.get(f"access_key_{n}_active") == "true" for n in (1, 2))
        output["SummaryMap"]["AccountAccessKeysPresent"] = int(keys)

    return _changed(call, given, change)


def _attached_only(_, call, given):
    """Of AWS's own policies the details have those that are attached; moto gives all thousand."""

    def change(output):
        own = f"arn:aws:iam::{call.account}:"
        policies = output.get("Policies", [])
        output["Policies"] = [p for p in policies if p["Arn"].startswith(own) or p.get("AttachmentCount")]

    return _changed(call, given, change)


def _rotation(_, call, given):
    """Keys that rotate say how often."""

    def change(output):
        if output.get("KeyRotationEnabled"):
            output.setdefault("RotationPeriodInDays", 365)
            output.setdefault("NextRotationDate", datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=200))

    return _changed(call, given, change)


def _versioning(_, call, given):
    """The root element has S3's name."""
    if given.status == 200:
        given.body = given.body.replace(b"GetBucketVersioningResponse", b"VersioningConfiguration")
    return given


def bucket_region(account, name):
    """Where a bucket lies, or None."""
    bucket = s3_backends[account]["aws"].buckets.get(name)
    return bucket.region_name if bucket else None


def _bucket_regions(_, call, given):
    """A list that was asked for with a parameter names each bucket's region, and can be of one region."""
    if not call.parameters.keys() & {"MaxBuckets", "BucketRegion", "Prefix", "ContinuationToken"}:
        return given

    def change(output):
        for bucket in output.get("Buckets", []):
            bucket["BucketRegion"] = bucket_region(call.account, bucket["Name"])
        wanted = call.parameters.get("BucketRegion")
        output["Buckets"] = [b for b in output.get("Buckets", []) if wanted in (None, b["BucketRegion"])]

    return _changed(call, given, change)


AMENDS = {
    "s3.ListBuckets": _bucket_regions,
    "s3.GetBucketVersioning": _versioning,
    "kms.GetKeyRotationStatus": _rotation,
    "s3.GetBucketEncryption": _default_encryption,
    "iam.GetCredentialReport": _root_line,
    "iam.GetAccountSummary": _summary,
    "iam.GetAccountAuthorizationDetails": _attached_only,
}
