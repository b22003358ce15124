"""Holds the declarative definitions of AWS collectors against botocore's models: calls, parameters, pages, and the members that
expressions name where they stand in the open.

    aws_lint.py DIRECTORY    says what is wrong with the definitions there
"""

import pathlib
import re
import sys

import botocore.exceptions
import yaml

import aws_model

PLACE = re.compile(r"^\{[^{}]+\}$")
SIMPLE = re.compile(r"^(\.[A-Za-z_]\w*)+$")
# A path that begins an expression and goes on with nothing that would change what it is a path of.
LEADING = re.compile(r"^(\.[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?=$|\s|\)|,)")
JOINED = re.compile(r"\$(\w+)\.row((?:\.[A-Za-z_]\w*)+)")
NAMED = re.compile(r"\.([A-Z]\w*)(?:\.([A-Z]\w*))?")
# What an expression itself makes: `{Table: .}`, `.Type = "User"`, `as {Name: $name}`.
MADE = re.compile(r"\b([A-Z]\w*)\s*:|\.([A-Z]\w*)\s*\|?=(?!=)")
# Members of policies, which answers hold as texts.
POLICY = {"AWS", "Action", "Condition", "Effect", "NotAction", "NotPrincipal", "NotResource", "Principal", "Resource", "Service", "Sid", "Statement"}
TOKENS = {"NextToken", "nextToken", "NextMarker", "Marker", "ContinuationToken", "LastEvaluatedTableName", "LastEvaluatedBackupArn"}


def faults(directory=aws_model.DEFINITIONS):
    """What is wrong with the definitions of a directory, one line each."""
    found = []
    listed = {f"{service}.{name}" for service, names in aws_model.calls().items() for name in names}
    for path in sorted(pathlib.Path(directory).glob("*.yaml")):
        definition = yaml.safe_load(path.read_text())
        found += [f"{path.name}: {fault}" for fault in Definition(definition, listed).faults()]
    return found


def gather(shape, names, maps, seen):
    """The names of the members of a shape, at every depth, and which of them are maps."""
    if shape.name in seen:
        return
    seen.add(shape.name)
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            names.add(name)
            if member.type_name == "map":
                maps.add(name)
            gather(member, names, maps, seen)
    elif shape.type_name in ("list", "map"):
        gather(shape.member if shape.type_name == "list" else shape.value, names, maps, seen)


class Definition:
    def __init__(self, definition, listed):
        self.definition = definition
        self.listed = listed
        self.found = []

    def faults(self):
        requests = self.definition.get("requests") or {}
        self.models = {name: self.model(name, request) for name, request in requests.items()}
        self.rows = {name: self.row(name, request) for name, request in requests.items()}
        for name, request in requests.items():
            if self.models[name]:
                self.request(name, request)
        for kind, records in (self.definition.get("records") or {}).items():
            for record in records if isinstance(records, list) else [records]:
                self.record(f"records.{kind}", record)
        self.names()
        return self.found

    def names(self):
        """Names that stand deep in expressions: some answer of the definition has to have them, though it is not known which."""
        known, maps = set(POLICY), set()
        for model in self.models.values():
            if model and model.output_shape:
                gather(model.output_shape, known, maps, set())
        texts = list(self.expressions())
        for _, text in texts:
            known.update(name for pair in MADE.findall(text) for name in pair if name)
        for place, text in texts:
            for first, second in NAMED.findall(text):
                for name, above in ((first, None), (second, first)):
                    if name and name not in known and above not in maps:
                        self.fault(place, f"no answer has a member {name}")

    def expressions(self):
        """The jq of requests and records, with its places."""
        for name, request in (self.definition.get("requests") or {}).items():
            jq = {key: request.get(key) for key in ("rows", "usable")}
            jq["poll.until"] = (request.get("poll") or {}).get("until")
            jq.update({f"for_each.{key}": (request.get("for_each") or {}).get(key) for key in ("key", "when")})
            yield from ((f"requests.{name}.{key}", text) for key, text in jq.items() if isinstance(text, str))
        for kind, records in (self.definition.get("records") or {}).items():
            for record in records if isinstance(records, list) else [records]:
                jq = {key: record.get(key) for key in ("where", "id", "as_of")}
                jq.update({f"fields.{key}": text for key, text in (record.get("fields") or {}).items()})
                for join, parts in (record.get("join") or {}).items():
                    jq.update({f"join.{join}.{key}": parts.get(key) for key in ("on", "key", "keep")})
                yield from ((f"records.{kind}.{key}", text) for key, text in jq.items() if isinstance(text, str))

    def fault(self, place, what):
        self.found.append(f"{place}: {what}")

    def model(self, name, request):
        call = request["call"]
        service, _, operation = call.partition(".")
        try:
            model = aws_model.service_model(service).operation_model(operation)
        except (botocore.exceptions.UnknownServiceError, botocore.exceptions.DataNotFoundError):
            return self.fault(f"requests.{name}", f"botocore knows no service {service}")
        except botocore.model.OperationNotFoundError:
            return self.fault(f"requests.{name}", f"botocore knows no operation {call}")
        if call not in self.listed:
            self.fault(f"requests.{name}", f"operations.txt does not name {call}")
        return model

    def row(self, name, request):
        """The shape of a request's rows; none where an expression makes them something else."""
        model = self.models[name]
        if not model or not model.output_shape:
            return None
        rows = request.get("rows")
        if rows is None:
            return model.output_shape
        if not SIMPLE.match(rows):
            self.leading(f"requests.{name}.rows", rows, model.output_shape)
            return None
        shape = self.path(f"requests.{name}.rows", rows, model.output_shape)
        if shape is None:
            return None
        if shape.type_name != "list":
            return self.fault(f"requests.{name}.rows", f"{rows} is a {shape.type_name}, not a list")
        return shape.member

    def request(self, name, request):
        place, model = f"requests.{name}", self.models[name]
        given = request.get("parameters") or {}
        pages = request.get("pages")
        inputs = model.input_shape.members if model.input_shape else {}
        for parameter, value in given.items():
            if parameter not in inputs:
                self.fault(f"{place}.parameters", f"{request['call']} takes no {parameter}")
            else:
                self.value(f"{place}.parameters.{parameter}", value, inputs[parameter])
        for parameter in model.input_shape.required_members if model.input_shape else []:
            if parameter not in given:
                self.fault(f"{place}.parameters", f"{request['call']} needs {parameter}")
        self.pages(f"{place}.pages", request["call"], pages, model, inputs)
        if pages and pages.get("into") in given:
            self.fault(f"{place}.parameters", f"{pages['into']} is the page's")
        if isinstance(request.get("usable"), str):
            self.leading(f"{place}.usable", request["usable"], model.output_shape)
        until = (request.get("poll") or {}).get("until")
        if until:
            self.leading(f"{place}.poll.until", until, model.output_shape)
        each = request.get("for_each")
        if each:
            self.fan_out(place, request, each)

    def fan_out(self, place, request, each):
        names = [name for name in each if name not in ("key", "when", "batch")]
        rows = self.rows.get(each[names[0]]) if len(names) == 1 else None
        if rows is None:
            return
        for expression in ("key", "when"):
            if isinstance(each.get(expression), str):
                self.leading(f"{place}.for_each.{expression}", each[expression], rows)
        texts = re.findall(r"\{%s\.([\w.]+)\}" % re.escape(names[0]), repr([request.get("parameters"), request.get("region")]))
        for text in texts:
            if text not in ("keys", "key"):
                self.path(f"{place}.for_each", "." + text, rows)

    def pages(self, place, call, pages, model, inputs):
        service, _, operation = call.partition(".")
        known = aws_model.pages(aws_model.paginator(service, operation))
        outputs = model.output_shape.members if model.output_shape else {}
        if not pages:
            token = next((name for name in outputs if name in TOKENS and (name in inputs or "Marker" in inputs)), None)
            if known or token:
                self.fault(place, f"{call} answers in pages ({(known or {}).get('token', token)}), and none are declared")
            return
        for which, shape in (("token", model.output_shape), ("more", model.output_shape), ("into", model.input_shape)):
            if pages.get(which):
                self.path(f"{place}.{which}", "." + pages[which].lstrip("."), shape)
        if not known:
            return
        for which in ("token", "into", "more"):
            if pages.get(which) != known.get(which):
                self.fault(f"{place}.{which}", f"is {pages.get(which)}, and {known.get(which)} in botocore's paginator of {call}")

    def value(self, place, value, shape):
        kind = shape.type_name
        if isinstance(value, str):
            if PLACE.match(value):
                return
            if kind == "timestamp" or kind == "string" and "{" in value:
                return
            if kind != "string":
                return self.fault(place, f"{value!r} is not a {kind}")
            if shape.enum and value not in shape.enum:
                return self.fault(place, f"{value!r} is not one of {', '.join(shape.enum)}")
        elif isinstance(value, bool):
            if kind != "boolean":
                return self.fault(place, f"{value} is not a {kind}")
        elif isinstance(value, (int, float)):
            if kind not in ("integer", "long", "float", "double", "timestamp"):
                return self.fault(place, f"{value} is not a {kind}")
            least, most = shape.metadata.get("min"), shape.metadata.get("max")
            if least is not None and value < least or most is not None and value > most:
                return self.fault(place, f"{value} is not between {least} and {most}")
        elif isinstance(value, list):
            if kind != "list":
                return self.fault(place, f"a list is not a {kind}")
            for number, element in enumerate(value):
                self.value(f"{place}.{number}", element, shape.member)
        elif isinstance(value, dict):
            if kind == "map":
                for key, element in value.items():
                    self.value(f"{place}.{key}", element, shape.value)
            elif kind == "structure":
                for key, element in value.items():
                    if key not in shape.members:
                        self.fault(place, f"it has no member {key}")
                    else:
                        self.value(f"{place}.{key}", element, shape.members[key])
            else:
                return self.fault(place, f"an object is not a {kind}")
        else:
            return self.fault(place, f"{value!r} is not a {kind}")

    def record(self, place, record):
        rows = self.rows.get(record["rows"])
        expressions = {f"fields.{name}": text for name, text in (record.get("fields") or {}).items()}
        expressions.update({name: record[name] for name in ("where", "id", "as_of") if name in record})
        joins = record.get("join") or {}
        for name, join in joins.items():
            if join.get("on"):
                expressions[f"join.{name}.on"] = join["on"]
            if join.get("key") and self.rows.get(join["with"]) is not None:
                self.leading(f"{place}.join.{name}.key", join["key"], self.rows[join["with"]])
        for name, text in expressions.items():
            if not isinstance(text, str):
                continue
            if rows is not None:
                self.leading(f"{place}.{name}", text, rows)
            for join, path in JOINED.findall(text):
                if join not in joins:
                    continue
                other = self.rows.get(joins[join]["with"])
                if other is not None and "keep" not in joins[join]:
                    self.path(f"{place}.{name}", path, other)

    def leading(self, place, expression, shape):
        found = LEADING.match(expression.strip())
        if found and shape is not None:
            self.path(place, found.group(1), shape)

    def path(self, place, path, shape):
        """The shape at the end of a path; none where it has none, which is a fault, or where anything can be."""
        for name in path.strip(".").split("."):
            if shape.type_name == "map":
                shape = shape.value
            elif shape.type_name == "structure" and name in shape.members:
                shape = shape.members[name]
            elif shape.type_name == "structure" and shape.is_document_type:
                return None
            else:
                return self.fault(place, f"{path}: botocore's {shape.name} has no member {name}")
        return shape


if __name__ == "__main__":
    print("\n".join(faults(sys.argv[1])))
