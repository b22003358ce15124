"""A timestamp authority for tests: HTTP in front of `openssl ts -reply`, on 127.0.0.1 alone.

    tsa.py DIRECTORY

makes roots and signing certificates in DIRECTORY (root.pem is what a client is to trust) and says `PORT` on standard output
when it listens. It ends when its standard input does. The path says what it does:

    /rsa /ecdsa                tokens as they should be
    /away                      the connection is closed without an answer
    /slow                      no answer, for as long as the client waits
    /500                       status 500
    /503                       status 503 with Retry-After: 3600
    /other-nonce               a token with another nonce
    /other-message             a token over another message
    /garbage                   bytes that are no answer
    /html                      a page, status 200
    /huge                      an answer that is too long
    /untrusted                 a token under a root of another
    /expired                   a token by a certificate that has expired
    /flaky                     /rsa, but 500 for each request while DIRECTORY/flaky is there

Each request is a line of DIRECTORY/requests: the path and the seconds since the epoch. With DIRECTORY/hold, answers wait until that file is
gone.
"""

import http.server
import os
import subprocess
import sys
import threading
import time

HOME = os.path.abspath(sys.argv[1])
CONFIG = """
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[tsa]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
POLICY = """
[tsa]
serial = {home}/{name}.serial
crypto_device = builtin
signer_cert = {home}/{name}.pem
signer_key = {home}/{name}.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
clock_precision_digits = 3
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


def openssl(*arguments, **options):
    done = subprocess.run(["openssl", *arguments], cwd=HOME, capture_output=True, check=False, **options)
    if done.returncode:
        sys.exit(f"openssl {' '.join(arguments)}: {done.stderr.decode()}")
    return done.stdout


def key(name, kind):
    options = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
    if kind == "ecdsa":
        options = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    openssl("genpkey", *options, "-out", f"{name}.key")


def root(name):
    key(name, "ecdsa")
    subject = f"/O=Tests/CN=Tests {name}"
    openssl("req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
    sign(name, None, "ca", "3650")


def sign(name, issuer, section, days, begin=None):
    by = ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"] if issuer else ["-signkey", f"{name}.key"]
    serial = str(int.from_bytes(os.urandom(8), "big") >> 1)
    if begin is None:
        openssl("x509", "-req", "-in", f"{name}.csr", *by, "-set_serial", serial, "-days", days, "-sha256", "-extfile", "x509.cnf",
                "-extensions", section, "-out", f"{name}.pem")
        return
    # Only `openssl ca` takes dates.
    with open(f"{HOME}/ca.cnf", "w", encoding="ascii") as file:
        file.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={HOME}/index.txt\nnew_certs_dir={HOME}\nserial={HOME}/ca.serial\n"
                   f"default_md=sha256\npolicy=p\nunique_subject=no\n[p]\norganizationName=optional\ncommonName=supplied\n")
    open(f"{HOME}/index.txt", "w", encoding="ascii").close()
    with open(f"{HOME}/ca.serial", "w", encoding="ascii") as file:
        file.write("1000\n")
    openssl("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", f"{issuer}.pem", "-keyfile", f"{issuer}.key", "-in", f"{name}.csr",
            "-extfile", "x509.cnf", "-extensions", section, "-startdate", begin[0], "-enddate", begin[1], "-out", f"{name}.pem")


def authority(name, issuer, kind, dates=None):
    key(name, kind)
    openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/O=Tests/CN=Tests {name}", "-out", f"{name}.csr")
    sign(name, issuer, "tsa", "365", dates)
    with open(f"{HOME}/{name}.serial", "w", encoding="ascii") as file:
        file.write("01\n")
    with open(f"{HOME}/{name}.cnf", "w", encoding="ascii") as file:
        # Without `certs`: with more certificates than the signer's OpenSSL's set is not sorted, which strict DER does not allow.
        file.write(POLICY.format(home=HOME, name=name))


def prepare():
    with open(f"{HOME}/x509.cnf", "w", encoding="ascii") as file:
        file.write(CONFIG)
    root("root")
    root("stranger")
    authority("rsa", "root", "rsa")
    authority("ecdsa", "root", "ecdsa")
    authority("untrusted", "stranger", "ecdsa")
    authority("expired", "root", "ecdsa", ("20200101000000Z", "20210101000000Z"))


LOCK = threading.Lock()


def reply(name, query):
    """A TimeStampResp over the query."""
    with LOCK:
        with open(f"{HOME}/query", "wb") as file:
            file.write(query)
        return openssl("ts", "-reply", "-config", f"{name}.cnf", "-section", "tsa", "-queryfile", "query")


class Authority(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body, status=200, media_type="application/timestamp-reply", **headers):
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        query = self.rfile.read(int(self.headers["Content-Length"]))
        with LOCK, open(f"{HOME}/requests", "a", encoding="ascii") as file:
            file.write(f"{self.path} {time.time()}\n")
        while os.path.exists(f"{HOME}/hold"):
            time.sleep(0.02)
        if self.headers["Content-Type"] != "application/timestamp-query":
            return self.answer(b"", status=415)
        path = self.path.strip("/")
        if path == "flaky":
            path = "500" if os.path.exists(f"{HOME}/flaky") else "rsa"
        match path:
            case "away":
                self.close_connection = True
            case "slow":
                time.sleep(3600)
            case "500":
                self.answer(b"out of order", status=500, media_type="text/plain")
            case "503":
                self.answer(b"too many", status=503, media_type="text/plain", Retry_After="3600")
            case "other-nonce" | "other-message":
                # The nonce comes last but for certReq, three bytes; the digest before it.
                at = len(query) - 10 if path == "other-nonce" else 30
                self.answer(reply("rsa", query[:at] + bytes([query[at] ^ 1]) + query[at + 1:]))
            case "garbage":
                self.answer(os.urandom(2000))
            case "html":
                self.answer(b"<html>please log in</html>", media_type="text/html; charset=utf-8")
            case "huge":
                self.answer(b"0" * (1 << 20))
            case "rsa" | "ecdsa" | "untrusted" | "expired":
                self.answer(reply(path, query))
            case _:
                self.answer(b"", status=404)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients go away."""


if __name__ == "__main__":
    prepare()
    server = Server(("127.0.0.1", 0), Authority)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
