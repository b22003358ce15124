"""AWS on 127.0.0.1: moto, what it lacks, its faults corrected, faults on demand, and a log of every call, in one server.

It prints `{"port": ..., "access_key": ..., "secret_key": ...}` when it listens, on a port that was free, and ends when its standard input
does: whoever started it cannot leave it behind. With `--plain` it is moto alone.

GET, DELETE /_calls    the calls made: number, call, region, account, who, status, code, faults, and the members by which its pages say
                       that there are more (`pages`: `token`, `more`; null where it has none)
GET, POST, DELETE /_faults     rules, see aws_faults.py
GET, POST /_answers    rows, see aws_standin.py
POST /_enforce         {"permissions": true}: policies are enforced for every principal that moto knows; {"trust": true}: roles too;
                       {"corrected": false}: moto's own answers, with its gaps and mistakes
POST /_grant           {"account": ..., "role": ..., "document": {...}}: the one policy that is attached to a role, from now on
POST /_age             {"account": ..., "access_key" or "user": ..., "days": 200}: that it was made so long ago
POST /_reset           nothing was ever made, asked or faulted
"""

import argparse
import contextlib
import io
import json
import logging
import os
import socket
import struct
import sys
import threading
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl, urlencode

# Before moto is imported: no images that nobody made, AWS's own policies to attach.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")

import moto.iam.models  # noqa: E402
from moto.iam.models import get_account_id_from  # noqa: E402
from moto.moto_api._internal.models import moto_api_backend  # noqa: E402
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app  # noqa: E402
from werkzeug.serving import ThreadedWSGIServer  # noqa: E402
from werkzeug.test import run_wsgi_app  # noqa: E402

import aws_enforce as enforce  # noqa: E402
import aws_faults as faults  # noqa: E402
import aws_standin as standin  # noqa: E402
import aws_wire as wire  # noqa: E402

# Of AWS's thousand policies those that something here attaches: moto copies all of them into each account, and lists them all.
OWN_POLICIES = {
    "AdministratorAccess",
    "AmazonEC2ReadOnlyAccess",
    "AmazonS3FullAccess",
    "AmazonS3ReadOnlyAccess",
    "AWSLambdaBasicExecutionRole",
    "Billing",
    "IAMFullAccess",
    "IAMReadOnlyAccess",
    "IAMUserChangePassword",
    "PowerUserAccess",
    "ReadOnlyAccess",
    "SecurityAudit",
    "ViewOnlyAccess",
}
_all = json.loads(moto.iam.models.aws_managed_policies_data)
moto.iam.models.aws_managed_policies_data = json.dumps({name: _all[name] for name in sorted(OWN_POLICIES)})

ACCESS_KEY, SECRET_KEY = "ASIAEVIDENCEDTESTS00", "for/tests+on/this/machine/only0123456789"


class World:
    """Everything that a request meets."""

    def __init__(self, plain):
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.moto.debug = True
        self.plain = plain
        self.lock = threading.Lock()
        # moto looks and stores in two steps, where S3 does both in one.
        self.conditional = threading.Lock()
        self.stop = threading.Event()
        self.begin()

    def begin(self):
        """Nothing was asked yet."""
        self.standin, self.faults = standin.StandIn(), faults.Faults()
        self.calls, self.number, self.rules = [], 0, {"permissions": False, "trust": False, "signatures": True, "corrected": True}

    def backend(self, request, environ, without=()):
        """moto's own answer, asked without some of the call's parameters."""
        environ = dict(environ)
        body, query = request.body, request.query
        if without:
            query = _dropped(query, without)
            if "x-www-form-urlencoded" in environ.get("CONTENT_TYPE", ""):
                body = _dropped(body.decode(), without).encode()
            elif body.startswith(b"{"):
                body = json.dumps({k: v for k, v in json.loads(body).items() if k not in without}).encode()
            environ["QUERY_STRING"] = query
            environ["RAW_URI"] = environ["REQUEST_URI"] = request.path + (f"?{query}" if query else "")
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ.pop("wsgi.input_terminated", None)
        conditional = "HTTP_IF_MATCH" in environ or "HTTP_IF_NONE_MATCH" in environ
        try:
            with self.conditional if conditional else contextlib.nullcontext():
                pieces, status, headers = run_wsgi_app(self.moto, environ)
                content = b"".join(pieces)
        except Exception:  # what moto lacks, or got wrong: its own server answers likewise
            logging.exception("moto: %s %s", request.method, request.path)
            page = b"<!doctype html>\n<title>500 Internal Server Error</title>\n<h1>Internal Server Error</h1>\n"
            return wire.Answer(500, {"Content-Type": "text/html; charset=utf-8"}, page)
        hop = ("content-length", "transfer-encoding", "connection")
        return wire.Answer(int(status.split()[0]), {k: v for k, v in headers.items() if k.lower() not in hop}, content)

    def respond(self, request, environ, write):
        """Answers one request; False where the connection is to be reset."""
        if request.path.startswith("/_"):
            given = self.control(request)
            write(given.status, given.headers, [given.body], len(given.body))
            return True
        call = None if self.plain or request.path.startswith("/moto-api") else self.understand(request)
        if call is None:
            given = self.backend(request, environ)
            if not self.plain and not request.path.startswith("/moto-api"):
                self.note(request, None, given, [])
            write(given.status, given.headers, [given.body], len(given.body))
            return True
        rules = self.faults.matching(call)
        given = self.answer(call, rules, request, environ)
        self.note(request, call, given, rules)
        return faults.deliver(rules, call, given, write, self.stop)

    def understand(self, request):
        """The call with its account and principal."""
        call = wire.identify(request)
        if call:
            call.account = get_account_id_from(call.access_key)
            call.principal = enforce.principal(call.access_key)
            call.who = call.principal.arn if call.principal else f"arn:aws:iam::{call.account}:root"
        return call

    def answer(self, call, rules, request, environ):
        """The answer as it would be delivered by a sound connection."""
        refused = self.refused(call, request)
        for rule in rules:
            refused = refused or faults.refuse(rule, call, enforce.action(call.name))
        if refused:
            return refused
        ours = faults.our_token(rules, call)
        if ours:
            call.parameters.pop(ours)
        size = next((rule.get("size", 2) for rule in rules if rule["do"] == "pages"), None)

        def ask(*without):
            return self.backend(request, environ, [self.sent_name(call, name) for name in (*without, ours) if name])

        if not self.rules["corrected"]:
            return ask()
        try:
            given = self.standin.answer(call, size)
            if given is None:
                given = self.standin.repage(call, ask, size)
            if given is None:
                given = self.standin.amend(call, ask())
        except standin.Refused as why:
            return wire.refusal(call.model, why.status, why.code, why.message)
        for rule in rules:
            given = faults.change_pages(rule, call, given, ours)
        return given

    @staticmethod
    def sent_name(call, name):
        """A parameter's name in the request."""
        written = call.model.input_shape.members[name].serialization
        sent = written.get("name", name)
        if call.model.service_model.protocol == "ec2":
            return written.get("queryName") or sent[0].upper() + sent[1:]
        return sent

    def refused(self, call, request):
        """A refusal by signature, permission or trust, or None."""
        who = call.principal
        if self.rules["signatures"] and request.headers.get("authorization"):
            secret, token = (who.secret, who.token) if who else (SECRET_KEY, None)
            wrong = enforce.signature_problem(request, secret, token)
            if wrong:
                return wire.refusal(call.model, 403, *wrong)
        if self.rules["permissions"] and not enforce.may(call, who):
            return faults.denial(call, enforce.action(call.name))
        if call.service == "s3" and self.rules["corrected"] and call.operation not in ("CreateBucket", "GetBucketLocation", "HeadBucket"):
            lies = standin.bucket_region(call.account, call.parameters.get("Bucket"))
            if lies not in (None, call.region):
                given = wire.refusal(call.model, 301, "PermanentRedirect", "The bucket you are attempting to access must be addressed using another endpoint.")
                given.headers["x-amz-bucket-region"] = lies
                return given
        if self.rules["trust"] and call.name == "sts.AssumeRole" and not enforce.trusted(call, who):
            return faults.denial(call, "sts:AssumeRole")
        return None

    def note(self, request, call, given, rules):
        """Writes a call down."""
        code = None
        if given.status >= 300 and call:
            code = _code(given)
        with self.lock:
            self.number += 1
            self.calls.append(
                {
                    "number": self.number,
                    "call": call.name if call else None,
                    "action": enforce.action(call.name) if call else None,
                    "region": call.region if call else None,
                    "account": call.account if call else None,
                    "who": call.who if call else None,
                    "parameters": call.parameters if call else {},
                    "status": given.status,
                    "code": code,
                    "faults": [rule["do"] for rule in rules],
                    "pages": _pages(call),
                    "request": f"{request.method} {request.path}",
                    "agent": request.headers.get("user-agent", ""),
                }
            )

    def control(self, request):
        """The interface for tests."""
        what, body = (request.method, request.path), json.loads(request.body or b"null")
        try:
            if what == ("GET", "/_calls"):
                with self.lock:
                    return _json(list(self.calls))
            if what == ("DELETE", "/_calls"):
                with self.lock:
                    self.calls.clear()
                return _json({})
            if what == ("GET", "/_faults"):
                return _json(self.faults.state())
            if what == ("POST", "/_faults"):
                return _json([self.faults.add(rule) for rule in (body if isinstance(body, list) else [body])])
            if what == ("DELETE", "/_faults"):
                self.faults.clear()
                return _json({})
            if what == ("GET", "/_answers"):
                return _json([row for rows in self.standin.answers.values() for row in rows])
            if what == ("POST", "/_answers"):
                self.standin.add(body)
                return _json({})
            if what == ("POST", "/_enforce"):
                self.rules |= {name: bool(body[name]) for name in self.rules if name in body}
                return _json(self.rules)
            if what == ("POST", "/_grant"):
                _grant(**body)
                return _json({})
            if what == ("POST", "/_age"):
                _age(body)
                return _json({})
            if what == ("POST", "/_reset"):
                moto_api_backend.reset()
                self.begin()
                return _json({})
        except (KeyError, TypeError, ValueError) as wrong:
            return _json({"error": str(wrong)}, 400)
        return _json({"error": "no such control"}, 404)


def _grant(account, role, document):
    """What takes two calls of IAM for each try: a new version of the role's policy."""
    iam = moto.iam.models.iam_backends[account]["aws"]
    (attached,), _ = iam.list_attached_role_policies(role)
    next(version for version in attached.versions if version.is_default).document = json.dumps(document)


def _age(wanted):
    """boto3 cannot make anything in the past."""
    then = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(days=wanted["days"])
    for user in moto.iam.models.iam_backends[wanted["account"]]["aws"].users.values():
        if user.name == wanted.get("user"):
            user.create_date = then
        for key in user.access_keys:
            if key.access_key_id == wanted.get("access_key"):
                key.create_date = then


def _dropped(form, names):
    return urlencode([(k, v) for k, v in parse_qsl(form, keep_blank_values=True) if k not in names])


def _json(value, status=200):
    return wire.Answer(status, {"Content-Type": "application/json"}, json.dumps(value, default=str).encode())


def _pages(call):
    how = standin.paging(call.name) if call else None
    return {"token": how["token"], "more": how["more"]} if how else None


def _code(given):
    for name, value in given.headers.items():
        if name.lower() == "x-amzn-errortype":
            return value.split(":")[0]
    text = given.body.decode(errors="replace")
    if "<Code>" in text:
        return text.split("<Code>")[1].split("</Code>")[0]
    try:
        return json.loads(text).get("__type", "").split("#")[-1] or None
    except (ValueError, AttributeError):
        return None


class Handler(MotoRequestHandler):
    """Reads a request whole, and sends what `World` says, also what no server should."""

    protocol_version = "HTTP/1.1"
    timeout = 120
    # A head and its body are two writes: without this the second waits for the client's acknowledgement of the first.
    disable_nagle_algorithm = True

    def run_wsgi(self):
        environ = self.make_environ()
        if "wsgi.input_terminated" in environ:
            body = environ["wsgi.input"].read()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = wire.Request(self.command, path, query, headers, body)
        try:
            if not self.server.world.respond(request, environ, self.send):
                self.reset()
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception:
            logging.exception("%s %s", self.command, self.path)
            failed = b"the simulator failed; see its standard error"
            self.send(599, {"Content-Type": "text/plain"}, [failed], len(failed))

    def send(self, status, headers, pieces, length):
        """The head, then each piece; a body that is shorter than announced ends the connection."""
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Date", self.date_time_string())
        bodyless = status in (204, 304) or self.command == "HEAD"
        if not bodyless or self.command == "HEAD":
            self.send_header("Content-Length", str(length))
        self.end_headers()
        sent = 0
        for piece in [] if bodyless else pieces:
            self.wfile.write(piece)
            self.wfile.flush()
            sent += len(piece)
        if not bodyless and sent != length:
            self.close_connection = True

    def reset(self):
        """A reset instead of an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.abrupt.add(self.connection)
        self.close_connection = True

    def log_request(self, *_):
        pass


class Server(ThreadedWSGIServer):
    """The listening side."""

    abrupt = set()

    def shutdown_request(self, request):
        if request in self.abrupt:
            self.abrupt.discard(request)
            request.close()
        else:
            super().shutdown_request(request)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plain", action="store_true", help="moto alone")
    parser.add_argument("--port", type=int, default=0, help="a port of your own; default: a free one")
    parser.add_argument("--stay", action="store_true", help="do not end with the standard input")
    arguments = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    world = World(arguments.plain)
    server = Server("127.0.0.1", arguments.port, world.moto, Handler)
    server.world = world
    # moto asks itself for some services.
    os.environ["MOTO_PORT"] = str(server.port)
    print(json.dumps({"port": server.port, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}), flush=True)
    if not arguments.stay:

        def end_with_input():
            sys.stdin.buffer.read()
            world.stop.set()
            server.shutdown()

        threading.Thread(target=end_with_input, daemon=True).start()
    server.serve_forever(poll_interval=0.2)


if __name__ == "__main__":
    main()
