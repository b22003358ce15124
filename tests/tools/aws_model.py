"""Writes what the AWS client knows of each service, from botocore's models: collectors/definitions/aws/model/*.json for the calls of
operations.txt beside them. Run it from tests/tools/requirements-aws.txt after a change of either.

    aws_model.py            writes the files
    aws_model.py --check    compares them instead, and holds the definitions against the models (aws_lint.py)
"""

import json
import pathlib
import sys

import botocore.exceptions
import botocore.loaders
import botocore.model
from botocore.endpoint_provider import EndpointProvider

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFINITIONS = ROOT / "collectors/definitions/aws"
MODEL = DEFINITIONS / "model"

# Services that calls name otherwise than botocore does.
ALIASES = {"tag": "resourcegroupstaggingapi"}
# The protocols that the client speaks; the first that a service has is used. CloudWatch's JSON is younger than most that answer for it.
PROTOCOLS = ["rest-json", "json", "rest-xml", "query", "ec2"]
PROTOCOL_OF = {"cloudwatch": "query"}
# What S3 calls the root of each answer: botocore does not look at it, so its models do not say it.
ROOTS = {
    "s3.ListBuckets": "ListAllMyBucketsResult",
    "s3.GetBucketAcl": "AccessControlPolicy",
    "s3.GetBucketEncryption": "ServerSideEncryptionConfiguration",
    "s3.GetBucketLifecycleConfiguration": "LifecycleConfiguration",
    "s3.GetBucketLocation": "LocationConstraint",
    "s3.GetBucketLogging": "BucketLoggingStatus",
    "s3.GetBucketOwnershipControls": "OwnershipControls",
    "s3.GetBucketPolicyStatus": "PolicyStatus",
    "s3.GetBucketReplication": "ReplicationConfiguration",
    "s3.GetBucketVersioning": "VersioningConfiguration",
    "s3.GetObjectLockConfiguration": "ObjectLockConfiguration",
    "s3.GetPublicAccessBlock": "PublicAccessBlockConfiguration",
    "s3control.GetPublicAccessBlock": "PublicAccessBlockConfiguration",
}
# Answers whose root element is itself the text of this member.
TEXT_ROOTS = {"s3.GetBucketLocation": "LocationConstraint"}
# Answers that are a JSON document, given as text in their payload member.
JSON_PAYLOADS = {"s3.GetBucketPolicy"}

SCALARS = {
    "string": "string",
    "character": "string",
    "boolean": "boolean",
    "integer": "integer",
    "long": "integer",
    "short": "integer",
    "byte": "integer",
    "bigInteger": "integer",
    "float": "float",
    "double": "float",
    "bigDecimal": "float",
    "blob": "blob",
    "timestamp": "timestamp",
}
LOCATIONS = {"uri": "uri", "querystring": "query", "header": "header"}
ELSEWHERE = {"header", "headers", "statusCode"}

loader = botocore.loaders.Loader()


def calls():
    """The calls of operations.txt, by service."""
    lines = (MODEL / "operations.txt").read_text().split()
    if lines != sorted(set(lines)):
        raise SystemExit("operations.txt is not sorted, or names a call twice")
    found = {}
    for line in lines:
        service, operation = line.split(".")
        found.setdefault(service, []).append(operation)
    return found


def service_model(service):
    name = ALIASES.get(service, service)
    return botocore.model.ServiceModel(loader.load_service_model(name, "service-2"), name)


def paginator(service, operation):
    name = ALIASES.get(service, service)
    try:
        return loader.load_service_model(name, "paginators-1")["pagination"].get(operation)
    except botocore.exceptions.DataNotFoundError:
        return None


def protocol(service, model):
    has = model.metadata.get("protocols") or [model.metadata["protocol"]]
    return PROTOCOL_OF.get(service) or next(known for known in PROTOCOLS if known in has)


def timestamp(shape, location, spoken):
    """How a timestamp is written in a request."""
    given = shape.serialization.get("timestampFormat")
    if given:
        return given.lower()
    if location == "header":
        return "rfc822"
    if location in ("querystring", "uri") or spoken in ("query", "ec2", "rest-xml"):
        return "iso8601"
    return "unixtimestamp"


class Shapes:
    """The shapes that one direction needs, by name."""

    def __init__(self, spoken):
        self.spoken = spoken
        self.table = {}

    def of(self, shape, location=None):
        """The type of a member, an element or a value: a word, or the name of a shape with a `#`."""
        if shape.type_name in SCALARS:
            return self.scalar(shape, location)
        if shape.type_name == "structure" and shape.is_document_type:
            return "any"
        if not self.wanted(shape):
            return shape.type_name
        if shape.name not in self.table:
            self.table[shape.name] = None
            self.table[shape.name] = getattr(self, shape.type_name)(shape)
        elif self.table[shape.name] is not None and shape.type_name in ("list", "map"):
            # What stands in a member of one name must not differ from what stands in another: the table has one entry for both.
            assert self.table[shape.name] == getattr(self, shape.type_name)(shape), shape.name
        return "#" + shape.name

    def structure(self, shape):
        found = {"members": {}}
        for name, member in shape.members.items():
            if self.left_out(member):
                continue
            found["members"][name] = self.member(name, member)
        return found

    def wanted(self, shape):
        return True

    def left_out(self, member):
        return False


class Inputs(Shapes):
    """What requests are made of."""

    def scalar(self, shape, location):
        kind = SCALARS[shape.type_name]
        assert kind != "blob", f"{shape.name}: no request has a blob, and the client sends none"
        return f"timestamp:{timestamp(shape, location, self.spoken)}" if kind == "timestamp" else kind

    def structure(self, shape):
        found = super().structure(shape)
        if shape.required_members:
            found["required"] = list(shape.required_members)
        assert not shape.serialization.get("payload"), shape.name
        return found

    def name(self, shape, default):
        """The name on the wire."""
        if self.spoken == "ec2":
            if "queryName" in shape.serialization:
                return shape.serialization["queryName"]
            name = shape.serialization.get("name")
            return name[0].upper() + name[1:] if name else default
        return shape.serialization.get("name", default)

    def member(self, name, shape):
        found = {"is": None}
        wire = self.name(shape, name)
        if self.spoken == "query" and shape.type_name == "list" and shape.serialization.get("flattened"):
            wire = shape.member.serialization.get("name", wire)
        if wire != name:
            found["wire"] = wire
        location = shape.serialization.get("location")
        if location:
            found["in"] = LOCATIONS[location]
        assert not shape.serialization.get("jsonvalue"), name
        found["is"] = self.of(shape, location)
        return found["is"] if len(found) == 1 else found

    def list(self, shape):
        found = {"list": self.of(shape.member)}
        if self.spoken == "query" and not shape.serialization.get("flattened"):
            found["item"] = shape.member.serialization.get("name", "member")
        return found

    def map(self, shape):
        assert self.spoken not in ("query", "ec2"), f"{shape.name}: the client sends no map in a form"
        return {"map": self.of(shape.value)}


class Outputs(Shapes):
    """What answers are made of. JSON names its own members, so of JSON only shapes are kept whose members have other names in the model."""

    def __init__(self, spoken):
        super().__init__(spoken)
        self.xml = spoken not in ("json", "rest-json")

    def scalar(self, shape, location):
        return SCALARS[shape.type_name]

    def wanted(self, shape, above=()):
        if self.xml:
            return True
        if shape.type_name in SCALARS or shape.name in above:
            return False
        above = (*above, shape.name)
        if shape.type_name == "list":
            return self.wanted(shape.member, above)
        if shape.type_name == "map":
            return self.wanted(shape.value, above)
        return any(
            member.serialization.get("name", name) != name or self.wanted(member, above)
            for name, member in shape.members.items()
        )

    def left_out(self, member):
        return member.serialization.get("location") in ELSEWHERE

    def structure(self, shape):
        found = super().structure(shape)
        payload = shape.serialization.get("payload")
        if payload:
            assert self.xml, f"{shape.name}: the client reads no payload of JSON"
            found["payload"] = payload
        return found

    def member(self, name, shape):
        found = {"is": self.of(shape)}
        wire = shape.serialization.get("name", name)
        if self.xml and shape.type_name == "list" and shape.serialization.get("flattened"):
            wire = shape.member.serialization.get("name", wire)
        if wire != name:
            found["wire"] = wire
        if shape.serialization.get("xmlAttribute"):
            found["attribute"] = True
        return found["is"] if len(found) == 1 else found

    def list(self, shape):
        found = {"list": self.of(shape.member)}
        if self.xml and shape.serialization.get("flattened"):
            found["flat"] = True
        return found

    def map(self, shape):
        found = {"map": self.of(shape.value)}
        if self.xml:
            found["key"] = shape.key.serialization.get("name", "key")
            found["value"] = shape.value.serialization.get("name", "value")
            assert not shape.serialization.get("flattened"), f"{shape.name}: the client reads no flat map"
        return found


def pages(found):
    """botocore's facts about paging, in the words of a definition's `pages`."""
    if not found:
        return None
    names = {"token": "output_token", "into": "input_token", "more": "more_results", "limit": "limit_key", "rows": "result_key"}
    return {ours: found[theirs] for ours, theirs in names.items() if theirs in found}


def operation(service, model, spoken, name, inputs, outputs):
    shape = model.operation_model(name)
    http = shape.http
    found = {"http": f"{http.get('method', 'POST')} {http.get('requestUri', '/')}"}
    prefix = (shape.endpoint or {}).get("hostPrefix")
    if prefix:
        found["host_prefix"] = prefix
    found["input"] = inputs.structure(shape.input_shape) if shape.input_shape else {"members": {}}
    if spoken == "rest-xml":
        assert all("in" in m for m in found["input"]["members"].values() if isinstance(m, dict)), name
        assert all(isinstance(m, dict) for m in found["input"]["members"].values()), name
    call = f"{service}.{name}"
    if spoken in ("query", "ec2"):
        found["root"] = f"{name}Response"
        wrapper = shape.output_shape.serialization.get("resultWrapper")
        if wrapper:
            found["wrapper"] = wrapper
    elif spoken == "rest-xml" and call not in JSON_PAYLOADS:
        found["root"] = ROOTS[call]
        if call in TEXT_ROOTS:
            found["text_root"] = TEXT_ROOTS[call]
    found["output"] = outputs.structure(shape.output_shape)
    paged = pages(paginator(service, name))
    if paged:
        found["pages"] = paged
    return found


PARTITIONS = loader.load_data("partitions")["partitions"]


def regions(partition):
    return [region for region in partition["regions"] if not region.endswith("-global")]


def prefix(partition):
    """What the names of a partition's regions begin with, where no other's do: none for the partition `aws`."""
    pattern = partition["regionRegex"]
    if partition["id"] == "aws":
        return ""
    found = pattern.removeprefix("^").split("\\-\\w")[0].split("(")[0].replace("\\", "")
    found = found if found.endswith("-") else found + "-"
    assert all(region.startswith(found) for region in regions(partition)), pattern
    return found


def places(service, names):
    """Where botocore sends a service's requests, and for which region it signs them: of every region."""
    model = service_model(service)
    rules = loader.load_service_model(ALIASES.get(service, service), "endpoint-rule-set-1")
    provider = EndpointProvider(rules, loader.load_data("partitions"))
    extra = {"UseGlobalEndpoint": False} if "UseGlobalEndpoint" in rules["parameters"] else {}
    for parameter in model.operation_model(names[0]).static_context_parameters:
        if rules["parameters"][parameter.name].get("required"):
            extra[parameter.name] = parameter.value
    for partition in PARTITIONS:
        for region in regions(partition):
            endpoint = provider.resolve_endpoint(Region=region, UseFIPS=False, UseDualStack=False, **extra)
            scheme = (endpoint.properties.get("authSchemes") or [{}])[0]
            yield region, {"url": endpoint.url, "signed_for": scheme.get("signingRegion") or region}


def endpoints(service, model, names):
    """Where a service answers other than at `https://<prefix>.<region>.<suffix>`, signed for the region: by partition or by region."""
    real = dict(places(service, names))
    found = {}
    for partition in PARTITIONS:
        here = {region: real[region] for region in regions(partition)}
        host = f"https://{model.metadata['endpointPrefix']}.%s.{partition['outputs']['dnsSuffix']}"
        usual = {region: {"url": host % region, "signed_for": region} for region in here}
        if here == usual:
            continue
        one = next(iter(here.values()))
        if all(where == one for where in here.values()):
            found[partition["id"]] = one
        else:
            found.update({region: where for region, where in here.items() if where != usual[region]})
    return found


def service_file(service, names):
    model = service_model(service)
    spoken = protocol(service, model)
    metadata = model.metadata
    inputs, outputs = Inputs(spoken), Outputs(spoken)
    operations = {name: operation(service, model, spoken, name, inputs, outputs) for name in names}
    head = {"id": service, "protocol": spoken, "api_version": metadata["apiVersion"], "endpoint_prefix": metadata["endpointPrefix"]}
    head["signing_name"] = metadata.get("signingName", metadata["endpointPrefix"])
    if spoken == "json":
        head["json_version"] = metadata["jsonVersion"]
        head["target_prefix"] = metadata["targetPrefix"]
    head["endpoints"] = endpoints(service, model, names)
    return lines({"service": {service: head}, "operations": operations, "inputs": inputs.table, "outputs": outputs.table})


def lines(sections):
    """One line for each entry of each section."""
    parts = []
    for title, entries in sections.items():
        rows = [f"{json.dumps(name)}: {json.dumps(entries[name])}" for name in sorted(entries)]
        body = ",\n".join(rows)
        parts.append(f"{json.dumps(title)}: {{\n{body}\n}}" if rows else f"{json.dumps(title)}: {{}}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def partitions_file():
    entries = {}
    for partition in PARTITIONS:
        outputs = partition["outputs"]
        entries[partition["id"]] = {"prefix": prefix(partition), "suffix": outputs["dnsSuffix"], "home": outputs["implicitGlobalRegion"]}
    return lines({"partitions": entries})


def files():
    made = {MODEL / f"{service}.json": service_file(service, names) for service, names in calls().items()}
    made[MODEL / "partitions.json"] = partitions_file()
    return made


def main():
    check = "--check" in sys.argv[1:]
    faults = []
    made = files()
    for path, text in made.items():
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            faults.append(f"{path.relative_to(ROOT)} is not what tests/tools/aws_model.py writes")
    for path in sorted(set(MODEL.glob("*.json")) - set(made)):
        faults.append(f"{path.relative_to(ROOT)}: operations.txt names no call of it")
    if check:
        import aws_lint

        faults += aws_lint.faults()
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
