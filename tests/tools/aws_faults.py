"""Faults, by rule.

A rule is `{"call": "iam.*", "who": ..., "account": ..., "region": ..., "parameters": {...}, "after": 2, "times": 3, "do": "throttle"}`, with
what its kind takes. `call` and `who` (the caller's ARN) may have wildcards, the next three are equal where named; the first `after` calls
that match pass, the next `times` (all, where not named) are faulted. Every rule that matches a call counts it; the first that refuses or
breaks it decides, changes of pages add up.

do          what happens
deny        AccessDenied in the protocol's words; `by: scp` names a service control policy, `by: boundary` a permissions boundary
error       `status`, `code`, `message`, in the protocol
throttle    the protocol's own code and status for too many requests
html        `status` (503) with a page of HTML, as load balancers answer
expired     the session's token has expired
disabled    the region is not enabled for the account
opt-in      the account is not subscribed to the service
skew        the clock is off
empty       an empty page with a token comes first, then what there is
repeat      every page has the same token, for ever
drop        pages have no token, whatever follows; what says that there is more still says so
pages       pages of `size` rows, where the answer fits in one
truncate    a part of the body (`part`, 0.5) and then the end, with the length of the whole announced
drip        the body in pieces of `bytes` (8) with `pause` seconds (0.2) between
hang        nothing for `seconds` (60), then the end
reset       the connection is reset before an answer
garbage     a body that is no answer: `body`, or the first half, with a length that is right
empty-body  no body at all, with status 200
other       the body of another operation: well-formed, but not what was asked
delay       `seconds` before an ordinary answer
"""

import fnmatch
import itertools
import threading

import aws_standin
import aws_wire as wire

KINDS = {line.split()[0] for line in __doc__.split("do          what happens\n")[1].splitlines() if line.strip()}

REFUSING = {"deny", "error", "throttle", "html", "expired", "disabled", "opt-in", "skew"}
PAGING = {"empty", "repeat", "drop", "pages"}
HTML = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"


class Faults:
    """The rules in force."""

    def __init__(self):
        self.rules = []
        self.lock = threading.Lock()
        self.numbers = itertools.count(1)

    def add(self, rule):
        """Takes a rule and gives its number."""
        if rule.get("do") not in KINDS:
            raise ValueError(f"no such fault: {rule.get('do')!r}; there are {', '.join(sorted(KINDS))}")
        of_call = {"call", "who", "account", "region", "parameters", "after", "times", "do"}
        if odd := set(rule) - of_call - {"by", "status", "code", "message", "size", "part", "bytes", "pause", "seconds", "body"}:
            raise ValueError(f"a rule has no {', '.join(sorted(odd))}")
        rule = dict(rule, number=next(self.numbers), seen=0, hit=0)
        with self.lock:
            self.rules.append(rule)
        return rule["number"]

    def clear(self):
        """No more faults."""
        with self.lock:
            self.rules.clear()

    def state(self):
        """The rules, each with how many calls it saw and faulted."""
        with self.lock:
            return [dict(rule) for rule in self.rules]

    def matching(self, call):
        """The rules that fault this call."""
        with self.lock:
            found = []
            for rule in self.rules:
                if not _fits(rule, call):
                    continue
                rule["seen"] += 1
                at = rule["seen"] - rule.get("after", 0)
                if 1 <= at <= rule.get("times", at):
                    rule["hit"] += 1
                    found.append(rule)
            return found


def _fits(rule, call):
    return (
        fnmatch.fnmatchcase(call.name, rule.get("call", "*"))
        and fnmatch.fnmatchcase(call.who, rule.get("who", "*"))
        and all(rule.get(name) in (None, getattr(call, name)) for name in ("account", "region"))
        and all(call.parameters.get(name) == value for name, value in rule.get("parameters", {}).items())
    )


# --- refusals -------------------------------------------------------------------------------------------------------------

# Status and code of each protocol. AWS is not of one mind: services of one protocol differ too, so `error` can say any.
DENIED = {
    "json": (400, "AccessDeniedException"),
    "rest-json": (403, "AccessDeniedException"),
    "query": (403, "AccessDenied"),
    "ec2": (403, "UnauthorizedOperation"),
    "rest-xml": (403, "AccessDenied"),
}
THROTTLED = {
    "json": (400, "ThrottlingException", "Rate exceeded"),
    "rest-json": (429, "TooManyRequestsException", "Rate exceeded"),
    "query": (400, "Throttling", "Rate exceeded"),
    "ec2": (503, "RequestLimitExceeded", "Request limit exceeded."),
    "rest-xml": (503, "SlowDown", "Please reduce your request rate."),
}
EXPIRED = {
    "json": (400, "ExpiredTokenException"),
    "rest-json": (403, "ExpiredTokenException"),
    "query": (403, "ExpiredToken"),
    "ec2": (400, "RequestExpired"),
    "rest-xml": (400, "ExpiredToken"),
}
DISABLED = {
    "json": (400, "UnrecognizedClientException", "The security token included in the request is invalid."),
    "rest-json": (403, "UnrecognizedClientException", "The security token included in the request is invalid."),
    "query": (403, "InvalidClientTokenId", "The security token included in the request is invalid."),
    "ec2": (401, "AuthFailure", "AWS was not able to validate the provided access credentials"),
    "rest-xml": (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."),
}
SKEWED = {
    "json": (400, "InvalidSignatureException", "Signature expired: 20261122T035000Z is now earlier than 20261122T035500Z"),
    "rest-json": (403, "InvalidSignatureException", "Signature expired: 20261122T035000Z is now earlier than 20261122T035500Z"),
    "query": (403, "SignatureDoesNotMatch", "Signature expired: 20261122T035000Z is now earlier than 20261122T035500Z"),
    "ec2": (400, "RequestExpired", "Request has expired."),
    "rest-xml": (403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."),
}
BECAUSE = {
    None: "because no identity-based policy allows the {0} action",
    "scp": "with an explicit deny in a service control policy",
    "boundary": "because no permissions boundary allows the {0} action",
}


def denial(call, action, by=None):
    """A refusal for want of permission."""
    protocol = call.model.service_model.protocol
    status, code = DENIED[protocol]
    who = call.who or f"arn:aws:sts::{call.account}:assumed-role/reader/session"
    message = f"User: {who} is not authorized to perform: {action} on resource: * {BECAUSE[by].format(action)}"
    if protocol == "ec2":
        message = f"You are not authorized to perform this operation. {message}"
    return wire.refusal(call.model, status, code, message)


def refuse(rule, call, action):
    """The refusal that a rule gives, or None for a rule of another kind."""
    protocol, kind = call.model.service_model.protocol, rule["do"]
    if kind == "deny":
        return denial(call, action, rule.get("by"))
    if kind == "error":
        return wire.refusal(call.model, rule.get("status", 400), rule["code"], rule.get("message", ""))
    if kind == "throttle":
        return wire.refusal(call.model, *THROTTLED[protocol])
    if kind == "html":
        status = rule.get("status", 503)
        return wire.Answer(status, {"Content-Type": "text/html"}, HTML.format(f"{status} Service Temporarily Unavailable").encode())
    if kind == "expired":
        return wire.refusal(call.model, *EXPIRED[protocol], "The security token included in the request is expired")
    if kind == "disabled":
        return wire.refusal(call.model, *DISABLED[protocol])
    if kind == "opt-in":
        status = 401 if protocol == "ec2" else 400
        code = "OptInRequired" if protocol in ("ec2", "query") else "SubscriptionRequiredException"
        return wire.refusal(call.model, status, code, "The AWS Access Key Id needs a subscription for the service")
    if kind == "skew":
        return wire.refusal(call.model, *SKEWED[protocol])
    return None


# --- pages ----------------------------------------------------------------------------------------------------------------

EMPTY_TOKEN, SAME_TOKEN = "ZW1wdHktcGFnZS1maXJzdA==", "c2FtZS10b2tlbi1hZ2Fpbg=="


def our_token(rules, call):
    """Takes a token that a rule made out of the call's parameters: what is asked of the backend is then the first page."""
    how = aws_standin.paging(call.name)
    if how is None:
        return None
    for rule in rules:
        ours = {"empty": EMPTY_TOKEN, "repeat": SAME_TOKEN}.get(rule["do"])
        if ours and call.parameters.get(how["into"]) == ours:
            return how["into"]
    return None


def change_pages(rule, call, given, ours):
    """An answer with its page changed; `ours`: the request came with a token of ours."""
    how = aws_standin.paging(call.name)
    if how is None or given.status != 200 or rule["do"] not in ("empty", "repeat", "drop"):
        return given
    output = wire.read(call.model, given)
    if rule["do"] == "drop":
        output.pop(how["token"], None)
    elif rule["do"] == "repeat":
        output[how["token"]] = SAME_TOKEN
    elif call.parameters.get(how["into"]) is None and not ours:
        output |= {key: [] for key in how["rows"] if key in output}
        output[how["token"]] = EMPTY_TOKEN
    else:
        return given
    if how["more"] and rule["do"] != "drop":
        output[how["more"]] = True
    return wire.answer(call.model, output)


# --- bodies and connections -----------------------------------------------------------------------------------------------


def deliver(rules, call, given, write, stop):
    """Sends an answer as the rules say: `write(status, headers, pieces, length)` sends the head and then each piece.

    Gives False where the connection is to be reset."""
    headers, body, length, pause, size = given.headers, given.body, len(given.body), 0, None
    for rule in rules:
        kind = rule["do"]
        if kind == "reset":
            return False
        if kind == "hang":
            stop.wait(rule.get("seconds", 60))
            return False
        if kind == "delay":
            stop.wait(rule.get("seconds", 1))
        elif kind == "truncate":
            body = body[: int(len(body) * rule.get("part", 0.5))]
        elif kind == "drip":
            size, pause = rule.get("bytes", 8), rule.get("pause", 0.2)
        elif kind in ("garbage", "empty-body", "other"):
            body = {"garbage": lambda: _garbage(rule, body), "empty-body": bytes, "other": lambda: _other(call)}[kind]()
            length = len(body)
            # Whatever it comes from, it does not know AWS's code for an error.
            headers = {name: value for name, value in headers.items() if name.lower() != "x-amzn-errortype"}
    pieces = [body] if size is None else (body[at : at + size] for at in range(0, len(body), size))
    write(given.status, headers, _slowly(pieces, pause, stop), length)
    return True


def _garbage(rule, body):
    return rule["body"].encode() if "body" in rule else body[: len(body) // 2]


def _other(call):
    if call.model.service_model.protocol in ("json", "rest-json"):
        return b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}'
    return b'<?xml version="1.0"?>\n<GetSomethingElseResponse><Result><Name>x</Name></Result></GetSomethingElseResponse>'


def _slowly(pieces, pause, stop):
    for piece in pieces:
        yield piece
        if pause and stop.wait(pause):
            return
