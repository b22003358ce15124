"""AWS on the wire, from the server's side: which operation a request asks for, and how its answer or refusal is written in the
operation's own protocol. Everything follows from botocore's service models; nothing here knows an operation by name but S3's root elements.
"""

import base64
import calendar
import functools
import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import formatdate
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape, quoteattr

import botocore.parsers
import botocore.session
import botocore.utils
from botocore.awsrequest import HeadersDict
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

SESSION = botocore.session.get_session()

# The name in a signature, where it is not (or not only) the service's own name in botocore.
SIGNED_AS = {
    "access-analyzer": ["accessanalyzer"],
    "apigateway": ["apigateway", "apigatewayv2"],
    "elasticfilesystem": ["efs"],
    "elasticloadbalancing": ["elbv2", "elb"],
    "elasticmapreduce": ["emr"],
    "es": ["opensearch", "es"],
    "monitoring": ["cloudwatch"],
    "s3": ["s3control", "s3"],
    "sso": ["sso-admin"],
    "states": ["stepfunctions"],
    "tagging": ["tag"],
}

# Services that have a shorter name here, as in the definitions and in IAM's actions.
ALIASES = {"tag": "resourcegroupstaggingapi"}

# Operations of a service that are signed with another name.
SIGNED_OTHERWISE = {"ListDirectoryBuckets"}

# The root elements of S3's answers that are no payload: its model does not name them.
ROOTS = {
    "ListBuckets": "ListAllMyBucketsResult",
    "GetBucketLocation": "LocationConstraint",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketLifecycleConfiguration": "LifecycleConfiguration",
    "GetBucketAcl": "AccessControlPolicy",
    "GetBucketTagging": "Tagging",
    "GetBucketWebsite": "WebsiteConfiguration",
}

S3_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@functools.cache
def service(name):
    """botocore's model of a service, or None."""
    try:
        model = SESSION.get_service_model(ALIASES.get(name, name))
    except botocore.exceptions.UnknownServiceError:
        return None
    if model.protocol not in _PROTOCOLS:  # CBOR: the service takes its older protocol too, and that is what is asked here
        described = SESSION.get_component("data_loader").load_service_model(ALIASES.get(name, name), "service-2")
        described = described | {"metadata": described["metadata"] | {"protocol": "query"}}
        model = ServiceModel(described, ALIASES.get(name, name))
    return model


def operation(call):
    """The model of `backup.ListBackupJobs`."""
    name, _, what = call.partition(".")
    model = service(name)
    if model is None or what not in model.operation_names:
        raise KeyError(f"botocore knows no {call}")
    return model.operation_model(what)


@dataclass
class Call:
    """A request that was understood."""

    service: str
    operation: str
    region: str
    access_key: str
    parameters: dict
    account: str = ""
    who: str = ""

    @property
    def name(self):
        return f"{self.service}.{self.operation}"

    @property
    def model(self):
        return operation(self.name)


@dataclass
class Request:
    """A request as it came."""

    method: str
    path: str  # as sent: with its percent signs
    query: str
    headers: dict = field(default_factory=dict)  # names in lower case
    body: bytes = b""

    @property
    def scope(self):
        """The access key, region and service that the signature names, or empty texts."""
        found = re.search(r"Credential=([^/,\s]+)/\d{8}/([^/]+)/([^/]+)/aws4_request", self.headers.get("authorization", ""))
        return found.groups() if found else ("", "", "")


@dataclass
class Answer:
    """What goes back."""

    status: int
    headers: dict
    body: bytes


# --- from a request to its operation ---------------------------------------------------------------------------------------


def identify(request):
    """The call that a request makes, or None where botocore knows no such operation."""
    key, region, signed = request.scope
    if not signed:
        signed, region = "sts", "us-east-1"  # the only unsigned calls that are of use here
    for name in SIGNED_AS.get(signed, [signed]):
        model = service(name)
        if model is None:
            continue
        found = _PROTOCOLS[model.protocol](model, request)
        if found:
            return Call(name, found[0], region, key, found[1])
    return None


def _json(model, request):
    prefix, _, name = request.headers.get("x-amz-target", "").rpartition(".")
    if prefix != model.metadata.get("targetPrefix") or name not in model.operation_names:
        return None
    return name, json.loads(request.body or b"{}")


def _query(model, request):
    form = dict(parse_qsl((request.body.decode() or request.query), keep_blank_values=True))
    name = form.get("Action")
    if form.get("Version") != model.api_version or name not in model.operation_names:
        return None
    shape = model.operation_model(name).input_shape
    return name, _unflatten(shape, form, "", model.protocol == "ec2") if shape else {}


def _unflatten(shape, form, prefix, ec2):
    """The value of `shape` below `prefix` in a form, or None."""
    if shape.type_name == "structure":
        out = {}
        for key, member in shape.members.items():
            name = member.serialization.get("name", key)
            if ec2:
                name = member.serialization.get("queryName", name[:1].upper() + name[1:])
            elif member.type_name == "list" and member.serialization.get("flattened"):
                name = member.member.serialization.get("name", name)
            value = _unflatten(member, form, f"{prefix}.{name}" if prefix else name, ec2)
            if value is not None:
                out[key] = value
        return out if out or not prefix else None
    if shape.type_name in ("list", "map"):
        flat = ec2 or shape.serialization.get("flattened")
        if not flat and shape.type_name == "list":
            prefix = f"{prefix}.{shape.member.serialization.get('name', 'member')}"
        elif not flat:
            prefix = f"{prefix}.entry"
        rows = []
        while any(key == f"{prefix}.{len(rows) + 1}" or key.startswith(f"{prefix}.{len(rows) + 1}.") for key in form):
            at = f"{prefix}.{len(rows) + 1}"
            if shape.type_name == "map":
                key = form[f"{at}.{shape.key.serialization.get('name', 'key')}"]
                rows.append((key, _unflatten(shape.value, form, f"{at}.{shape.value.serialization.get('name', 'value')}", ec2)))
            else:
                rows.append(_unflatten(shape.member, form, at, ec2))
        return (dict(rows) if shape.type_name == "map" else rows) if rows else None
    return _scalar(shape, form.get(prefix))


def _scalar(shape, text):
    if text is None or not isinstance(text, str):
        return text
    if shape.type_name in ("integer", "long"):
        return int(text)
    if shape.type_name in ("float", "double"):
        return float(text)
    if shape.type_name == "boolean":
        return text.lower() == "true"
    return text


@functools.cache
def _routes(name):
    """The operations of a REST service: method, path as a regular expression, constant arguments, labels, operation."""
    routes = []
    model = service(name)
    for what in model.operation_names:
        http = model.operation_model(what).http
        path, _, query = http["requestUri"].partition("?")
        labels, pattern = [], ""
        for part in re.split(r"(\{[^}]+\})", path.rstrip("/")):
            if part.startswith("{"):
                labels.append(part.strip("{}+"))
                pattern += "(.+)" if part.endswith("+}") else "([^/]+)"
            else:
                pattern += re.escape(part)
        routes.append((http["method"], re.compile(pattern + "/?"), dict(parse_qsl(query, keep_blank_values=True)), labels, what))
    # Of two operations of one path the one that is not deprecated comes first, and stays.
    old = {what for what in model.operation_names if model.operation_model(what).deprecated or what in SIGNED_OTHERWISE}
    return sorted(routes, key=lambda route: (len(route[3]), -len(route[1].pattern), -len(route[2]), route[4] in old))


def _rest(model, request):
    arguments = parse_qsl(request.query, keep_blank_values=True)
    best = None
    for method, pattern, constants, labels, name in _routes(model.service_name):
        found = pattern.fullmatch(request.path) if method == request.method else None
        if not found or not constants.items() <= dict(arguments).items():
            continue
        shape = model.operation_model(name).input_shape
        # What an operation requires in its query or headers tells it from others of the same path (UploadPart from PutObject).
        needed = [shape.members[m].serialization for m in shape.required_members] if shape else []
        if any(m.get("location") == "querystring" and m.get("name") not in dict(arguments) for m in needed):
            continue
        if any(m.get("location") == "header" and m.get("name", "").lower() not in request.headers for m in needed):
            continue
        weight = (len(constants), sum(m.get("location") in ("querystring", "header") for m in needed))
        if best is None or (weight > best[0] and len(labels) <= best[3]):
            best = (weight, name, dict(zip(labels, map(unquote, found.groups()))), len(labels))
    if best is None:
        return None
    return best[1], _rest_input(model, best[1], best[2], arguments, request)


def _rest_input(model, name, labels, arguments, request):
    shape = model.operation_model(name).input_shape
    out = {}
    try:
        body = json.loads(request.body) if model.protocol == "rest-json" and request.body else {}
    except ValueError:
        body = {}
    for key, member in (shape.members if shape else {}).items():
        where, at = member.serialization.get("location"), member.serialization.get("name", key)
        if where == "uri":
            value = _scalar(member, labels.get(at))
        elif where == "querystring" and member.type_name == "list":
            value = [_scalar(member.member, v) for k, v in arguments if k == at] or None
        elif where == "querystring":
            value = _scalar(member, dict(arguments).get(at))
        elif where == "header":
            value = _scalar(member, request.headers.get(at.lower()))
        else:
            value = body.get(at) if isinstance(body, dict) else None
        if value is not None:
            out[key] = value
    return out


_PROTOCOLS = {"json": _json, "query": _query, "ec2": _query, "rest-json": _rest, "rest-xml": _rest}


# --- from an output to bytes ----------------------------------------------------------------------------------------------


def answer(model, output, request_id="0f1e2d3c-0000-4000-8000-000000000001"):
    """The answer of an operation, in its protocol."""
    shape, protocol = model.output_shape, model.service_model.protocol
    status, headers = model.http.get("responseCode", 200), {"x-amzn-RequestId": request_id}
    bound = {}
    if shape and protocol.startswith("rest"):
        for key, member in shape.members.items():
            where = member.serialization.get("location")
            if where and key in output:
                bound[key] = where
                if where == "statusCode":
                    status = output[key]
                elif where == "headers":
                    for name, value in output[key].items():
                        headers[member.serialization.get("name", "") + name] = value
                else:
                    headers[member.serialization.get("name", key)] = _header(member, output[key])
    rest = {key: value for key, value in (output or {}).items() if key not in bound}
    if protocol == "json":
        headers["Content-Type"] = f"application/x-amz-json-{model.service_model.metadata.get('jsonVersion', '1.0')}"
        body = json.dumps(_to_json(shape, rest) if shape else {}).encode()
    elif protocol == "rest-json":
        headers["Content-Type"] = "application/json"
        body = _payload(shape, rest, lambda s, v: json.dumps(_to_json(s, v)).encode())
    elif protocol == "rest-xml":
        headers["Content-Type"] = "application/xml"
        headers["x-amz-request-id"] = headers.pop("x-amzn-RequestId")[:16].upper()
        headers["x-amz-id-2"] = "b3JkaW5hcnkgaWQgb2YgYSBzdGFuZC1pbg=="
        body = _payload(shape, rest, lambda s, v: _document(model, s, v))
    else:
        headers["Content-Type"] = "text/xml;charset=UTF-8"
        body = _rpc_xml(model, shape, rest, request_id)
    return Answer(status, headers, body)


def _payload(shape, rest, write):
    if shape is None:
        return b""
    name = shape.serialization.get("payload")
    if not name:
        return write(shape, rest)
    member, value = shape.members[name], rest.get(name)
    if value is None:
        return b""
    if member.type_name in ("blob", "string"):
        return value if isinstance(value, bytes) else str(value).encode()
    return write(member, value)


def _header(shape, value):
    if shape.type_name == "timestamp":
        return _time(value, shape.serialization.get("timestampFormat", "rfc822"))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _time(value, form):
    when = value if isinstance(value, datetime) else botocore.utils.parse_to_aware_datetime(value)
    when = (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    seconds, milliseconds = calendar.timegm(when.timetuple()), when.microsecond // 1000
    if form.lower() == "unixtimestamp":
        return seconds + milliseconds / 1000 if milliseconds else seconds
    if form.lower() == "rfc822":
        return formatdate(seconds, usegmt=True)
    return when.strftime("%Y-%m-%dT%H:%M:%S") + (f".{milliseconds:03}Z" if milliseconds else "Z")


def _blob(value):
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def _to_json(shape, value):
    kind = shape.type_name
    if kind == "structure" and not getattr(shape, "is_document_type", False):
        members = shape.members
        return {
            members[key].serialization.get("name", key): _to_json(members[key], inner)
            for key, inner in value.items()
            if key in members and inner is not None
        }
    if kind == "list":
        return [_to_json(shape.member, inner) for inner in value]
    if kind == "map":
        return {key: _to_json(shape.value, inner) for key, inner in value.items()}
    if kind == "timestamp":
        return _time(value, shape.serialization.get("timestampFormat", "unixtimestamp"))
    return _blob(value) if kind == "blob" else value


def _rpc_xml(model, shape, rest, request_id):
    name, space = model.name, quoteattr(model.service_model.metadata.get("xmlNamespace", ""))
    inside = "".join(_members(shape, rest)) if shape else ""
    if model.service_model.protocol == "ec2":
        return f"<{name}Response xmlns={space}><requestId>{request_id}</requestId>{inside}</{name}Response>".encode()
    wrapper = shape.serialization.get("resultWrapper", f"{name}Result") if shape else None
    inside = f"<{wrapper}>{inside}</{wrapper}>" if wrapper else ""
    return (
        f"<{name}Response xmlns={space}>{inside}<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}Response>"
    ).encode()


def _document(model, shape, value):
    root = ROOTS.get(model.name) or shape.serialization.get("name", shape.name)
    space = f" xmlns={quoteattr(S3_NAMESPACE)}" if model.service_model.service_name == "s3" else ""
    if model.name == "GetBucketLocation":  # its one member is the root's own text
        inside = escape(value.get("LocationConstraint") or "")
    else:
        inside = "".join(_members(shape, value))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}{space}>{inside}</{root}>'.encode()


def _members(shape, value):
    for key, member in shape.members.items():
        if value.get(key) is not None and not member.serialization.get("xmlAttribute"):
            yield from _element(member.serialization.get("name", key), member, value[key])


def _element(name, shape, value):
    kind = shape.type_name
    if kind == "list":
        flat = shape.serialization.get("flattened")
        inner = shape.member.serialization.get("name", name if flat else "member")
        rows = "".join(part for row in value for part in _element(inner, shape.member, row))
        yield rows if flat else f"<{name}>{rows}</{name}>"
    elif kind == "map":
        flat = shape.serialization.get("flattened")
        keys, values = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
        entry = name if flat else "entry"
        rows = "".join(
            f"<{entry}><{keys}>{escape(key)}</{keys}>{''.join(_element(values, shape.value, inner))}</{entry}>"
            for key, inner in value.items()
        )
        yield rows if flat else f"<{name}>{rows}</{name}>"
    elif kind == "structure":
        attributes = ""
        space = shape.serialization.get("xmlNamespace")
        if isinstance(space, dict) and "prefix" in space:
            attributes += f" xmlns:{space['prefix']}={quoteattr(space['uri'])}"
        for key, member in shape.members.items():
            if member.serialization.get("xmlAttribute") and value.get(key) is not None:
                attributes += f" {member.serialization['name']}={quoteattr(str(value[key]))}"
        yield f"<{name}{attributes}>{''.join(_members(shape, value))}</{name}>"
    else:
        if kind == "timestamp":
            value = _time(value, shape.serialization.get("timestampFormat", "iso8601"))
        elif kind == "boolean":
            value = "true" if value else "false"
        elif kind == "blob":
            value = _blob(value)
        yield f"<{name}>{escape(str(value))}</{name}>"


# --- refusals -------------------------------------------------------------------------------------------------------------


def refusal(model, status, code, message, request_id="0f1e2d3c-0000-4000-8000-00000000000e"):
    """An error in the protocol of the operation's service."""
    protocol, metadata = model.service_model.protocol, model.service_model.metadata
    headers = {"x-amzn-RequestId": request_id}
    text, said = escape(message), escape(code)
    if protocol == "json":
        headers["Content-Type"] = f"application/x-amz-json-{metadata.get('jsonVersion', '1.0')}"
        # Version 1.0 writes the whole name of the shape; some services send also the header.
        kind = f"com.amazonaws.{metadata['endpointPrefix']}#{code}" if metadata.get("jsonVersion") == "1.0" else code
        body = json.dumps({"__type": kind, "message": message})
    elif protocol == "rest-json":
        headers |= {"Content-Type": "application/json", "x-amzn-ErrorType": f"{code}:http://internal.amazon.com/coral/com.amazon.coral/"}
        body = json.dumps({"Message" if metadata["endpointPrefix"] in ("backup", "elasticfilesystem") else "message": message})
    elif protocol == "ec2":
        headers["Content-Type"] = "text/xml;charset=UTF-8"
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Response><Errors><Error><Code>{said}</Code><Message>{text}</Message></Error></Errors><RequestID>{request_id}</RequestID></Response>"
        )
    elif metadata["endpointPrefix"] == "s3":
        headers = {"Content-Type": "application/xml", "x-amz-request-id": "EA1B2C3D4E5F6789", "x-amz-id-2": "bm90aGluZyB0byBzZWUgaGVyZQ=="}
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{said}</Code><Message>{text}</Message><RequestId>EA1B2C3D4E5F6789</RequestId><HostId>bm90aGluZw==</HostId></Error>"
        )
    else:
        headers["Content-Type"] = "text/xml"
        space = quoteattr(metadata.get("xmlNamespace", ""))
        kind = "Sender" if status < 500 else "Receiver"
        body = (
            f"<ErrorResponse xmlns={space}><Error><Type>{kind}</Type><Code>{said}</Code><Message>{text}</Message></Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    return Answer(status, headers, body.encode())


# --- from bytes back to an output, and what botocore thinks of it ----------------------------------------------------------


@functools.cache
def _parser(protocol):
    return botocore.parsers.create_parser(protocol)


def read(model, given):
    """An answer as botocore reads it, without its metadata."""
    parts = {"status_code": given.status, "headers": HeadersDict(given.headers), "body": given.body}
    output = _parser(model.service_model.protocol).parse(parts, model.output_shape)
    output.pop("ResponseMetadata", None)
    return output


def problems(model, output):
    """What botocore's model has against an output: names, types, required members, values of enumerations."""
    if model.output_shape is None:
        return [] if not output else ["the operation gives nothing back"]
    errors = ParamValidator().validate(output, model.output_shape)
    # A list or text may be shorter in an answer than in a request.
    found = [line for line in errors.generate_report().splitlines() if not line.startswith("Invalid length")]
    return found + list(_enumerations(model.output_shape, output, model.name))


def _enumerations(shape, value, at):
    if value is None:
        return
    if shape.type_name == "structure" and isinstance(value, dict):
        for key, member in shape.members.items():
            yield from _enumerations(member, value.get(key), f"{at}.{key}")
    elif shape.type_name == "list" and isinstance(value, (list, tuple)):
        for inner in value:
            yield from _enumerations(shape.member, inner, f"{at}[]")
    elif shape.type_name == "map" and isinstance(value, dict):
        for key, inner in value.items():
            yield from _enumerations(shape.value, inner, f"{at}{{{key}}}")
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{at}: {value!r} is none of {', '.join(shape.enum)}"
