"""A stand-in for AWS KMS with Ed25519 keys, which no simulator has: GetPublicKey and Sign, as the KMS API Reference describes them, held to
botocore's model of the service.

    aws_kms.py serve DIRECTORY       prints its port; a file DIRECTORY/<alias>.pem is the key alias/<alias>. Ends with its standard input
    aws_kms.py key DIRECTORY ALIAS [p256]    makes one
    aws_kms.py check URL ALIAS       asks it with boto3, and verifies what it signs

While there is a file DIRECTORY/away, it answers 500; with DIRECTORY/throttle, that it was asked too often; with DIRECTORY/denied, that
signing is not allowed. With DIRECTORY/wrong it signs something else.
"""

import base64
import http.server
import json
import os
import pathlib
import sys
import threading

import botocore.session
from botocore.validate import ParamValidator
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

ACCOUNT = "arn:aws:kms:eu-west-1:111122223333:key/"


def model():
    return botocore.session.get_session().get_service_model("kms")


class Refused(Exception):
    def __init__(self, code, message, status=400):
        super().__init__(message)
        self.code, self.status = code, status


class Kms(http.server.BaseHTTPRequestHandler):
    directory: pathlib.Path
    service = model()
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            status, answer = 200, self.answer(body)
        except Refused as refused:
            status, answer = refused.status, {"__type": refused.code, "message": str(refused)}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("x-amzn-RequestId", "00000000-0000-0000-0000-000000000000")
        self.end_headers()
        self.wfile.write(text)

    def answer(self, body):
        if (self.directory / "away").exists():
            raise Refused("KMSInternalException", "The request was rejected because an internal exception occurred.", 500)
        if (self.directory / "throttle").exists():
            raise Refused("ThrottlingException", "You have exceeded the rate at which you may call KMS.")
        authorization = self.headers.get("authorization", "")
        if not authorization.startswith("AWS4-HMAC-SHA256 Credential=") or "/kms/aws4_request" not in authorization:
            raise Refused("MissingAuthenticationTokenException", "Request is missing Authentication Token")
        for name in ("host", "x-amz-date"):
            if name not in authorization or name not in self.headers:
                raise Refused("IncompleteSignatureException", f"{name} is not signed")
        if self.headers.get("content-type") != "application/x-amz-json-1.1":
            raise Refused("UnknownOperationException", "not JSON 1.1")
        target, _, name = self.headers.get("x-amz-target", "").partition(".")
        if target != self.service.metadata["targetPrefix"] or name not in ("GetPublicKey", "Sign"):
            raise Refused("UnknownOperationException", f"{target}.{name}")
        parameters = json.loads(body)
        shape = self.service.operation_model(name).input_shape
        unknown = set(parameters) - set(shape.members)
        if unknown:
            raise Refused("ValidationException", f"unknown parameters {unknown}")
        if "Message" in parameters:
            parameters["Message"] = base64.b64decode(parameters["Message"], validate=True)
        report = ParamValidator().validate(parameters, shape)
        if report.has_errors():
            raise Refused("ValidationException", report.generate_report())
        alias = parameters["KeyId"].removeprefix("alias/")
        key = self.directory / f"{alias}.pem"
        if not parameters["KeyId"].startswith("alias/") or not key.exists():
            raise Refused("NotFoundException", f"Alias {parameters['KeyId']} is not found.")
        key = serialization.load_pem_private_key(key.read_bytes(), None)
        edwards = isinstance(key, ed25519.Ed25519PrivateKey)
        spec = "ECC_NIST_EDWARDS25519" if edwards else "ECC_NIST_P256"
        algorithms = ["ED25519_SHA_512", "ED25519_PH_SHA_512"] if edwards else ["ECDSA_SHA_256"]
        if name == "GetPublicKey":
            public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            return {
                "KeyId": ACCOUNT + alias,
                "PublicKey": base64.b64encode(public).decode(),
                "CustomerMasterKeySpec": spec,
                "KeySpec": spec,
                "KeyUsage": "SIGN_VERIFY",
                "SigningAlgorithms": algorithms,
            }
        algorithm = parameters["SigningAlgorithm"]
        if algorithm not in algorithms or algorithm not in shape.members["SigningAlgorithm"].enum:
            raise Refused("InvalidKeyUsageException", f"{ACCOUNT}{alias} does not sign with {algorithm}")
        if algorithm != "ED25519_SHA_512" or parameters.get("MessageType", "RAW") != "RAW":
            raise Refused("ValidationException", "ED25519_SHA_512 takes the message itself: MessageType RAW")
        if not 1 <= len(parameters["Message"]) <= 4096:
            raise Refused("ValidationException", "a RAW message has 1 to 4096 bytes")
        if (self.directory / "denied").exists():
            raise Refused("AccessDeniedException", f"User is not authorized to perform: kms:Sign on resource: {ACCOUNT}{alias}")
        signature = key.sign(b"other" if (self.directory / "wrong").exists() else parameters["Message"])
        return {"KeyId": ACCOUNT + alias, "Signature": base64.b64encode(signature).decode(), "SigningAlgorithm": algorithm}


def serve(directory):
    Kms.directory = directory
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Kms)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_port}), flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


def make(directory, alias, kind="ed25519"):
    key = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / f"{alias}.pem").write_bytes(pem)


def check(url, alias):
    import boto3

    kms = boto3.client(
        "kms", endpoint_url=url, region_name="eu-west-1", aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="secret"
    )
    public = kms.get_public_key(KeyId=f"alias/{alias}")
    assert public["KeySpec"] == "ECC_NIST_EDWARDS25519" and "ED25519_SHA_512" in public["SigningAlgorithms"], public
    outputs = model().operation_model("GetPublicKey").output_shape.members
    assert set(public) - {"ResponseMetadata"} <= set(outputs), public
    message = b"x" * 4096
    answer = kms.sign(KeyId=f"alias/{alias}", Message=message, MessageType="RAW", SigningAlgorithm="ED25519_SHA_512")
    serialization.load_der_public_key(public["PublicKey"]).verify(answer["Signature"], message)
    for refused in ({"Message": message + b"x", "SigningAlgorithm": "ED25519_SHA_512"},
                    {"Message": message, "SigningAlgorithm": "ECDSA_SHA_256"}):
        try:
            kms.sign(KeyId=f"alias/{alias}", **refused)
        except kms.exceptions.ClientError:
            continue
        raise AssertionError(f"it signed {refused}")
    print("as botocore's model has it")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(pathlib.Path(sys.argv[2]))
    elif sys.argv[1] == "key":
        make(pathlib.Path(sys.argv[2]), *sys.argv[3:])
    else:
        check(sys.argv[2], sys.argv[3])
