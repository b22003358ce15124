"""Verifies tokens with PyPI's rfc3161-client: python tokens.py <roots> <origin directory> <trusted_root.json>

<roots> is a PEM file with the authorities' root certificates. Checked is every token in anchor/, over a checkpoint beside it, and every one
in a seal, over the seal's signature. The authorities that made them are then written to <trusted_root.json> for cosign and
@sigstore/verify: certificates that were sent with tokens, each signed by the next, and the last by or being a root of <roots>.
Prints one line for each token and exits 1 when one is refused; the file is written anyway.
"""
import base64
import hashlib
import json
import pathlib
import sys

import rfc3161_client
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

HASHES = {"2.16.840.1.101.3.4.2.1": "sha256", "2.16.840.1.101.3.4.2.2": "sha384", "2.16.840.1.101.3.4.2.3": "sha512"}
roots = x509.load_pem_x509_certificates(pathlib.Path(sys.argv[1]).read_bytes())
origin, out = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])


def tokens():
    """Each with its name and the messages that it may be over."""
    for path in sorted(origin.glob("anchor/*/*.tsr")):
        yield path, path.read_bytes(), [beside.read_bytes() for beside in sorted(path.parent.glob("*.checkpoint"))]
    for path in sorted(origin.glob("seal/**/*.sigstore.json")):
        seal = json.loads(path.read_bytes())
        stamps = seal["verificationMaterial"].get("timestampVerificationData", {}).get("rfc3161Timestamps", [])
        for stamp in stamps:
            signature = base64.b64decode(seal["dsseEnvelope"]["signatures"][0]["sig"])
            yield path, base64.b64decode(stamp["signedTimestamp"]), [signature]


def verify(token, messages):
    response = rfc3161_client.decode_timestamp_response(token)
    imprint = response.tst_info.message_imprint
    name = HASHES[imprint.hash_algorithm.dotted_string]
    over = [message for message in messages if hashlib.new(name, message).digest() == imprint.message]
    if not over:
        raise ValueError("it is over another message")
    sent = [x509.load_der_x509_certificate(der) for der in response.signed_data.certificates]
    # Only roots: the library trusts what it is given as intermediates, and takes those that were sent by itself.
    rfc3161_client.VerifierBuilder(roots=list(roots)).build().verify_message(response, over[0])
    return response, sent


def chain(response, sent):
    """The signer's certificate first."""
    signer = next(iter(response.signed_data.signer_infos))
    certificate = next(c for c in sent if (c.issuer, c.serial_number) == (signer.issuer, signer.serial_number))
    found = [certificate]
    while found[-1] not in roots:
        found.append(next(c for c in [*roots, *sent] if c not in found and issued(found[-1], c)))
    return found


def issued(certificate, issuer):
    try:
        certificate.verify_directly_issued_by(issuer)
        return True
    except Exception:  # another name, or another key
        return False


refused, authorities = 0, {}
for path, token, messages in tokens():
    try:
        response, sent = verify(token, messages)
        found = chain(response, sent)
        authorities.setdefault(found[0].public_bytes(Encoding.DER), found)
        print(f"ok {response.tst_info.gen_time:%Y-%m-%dT%H:%M:%S.%fZ} {path}: {found[0].subject.rfc4514_string()}")
    except Exception as error:  # every refusal is reported in the same way
        print(f"refused {path}: {error!r}")
        refused += 1


def authority(number, certificates):
    subject = certificates[0].subject
    return {
        "subject": {"organization": subject.rfc4514_string(), "commonName": subject.rfc4514_string()},
        "uri": f"urn:authority:{number}",
        "certChain": {"certificates": [{"rawBytes": base64.b64encode(c.public_bytes(Encoding.DER)).decode()} for c in certificates]},
        "validFor": {"start": certificates[0].not_valid_before_utc.isoformat().replace("+00:00", "Z")},
    }


out.write_text(json.dumps({
    "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "tlogs": [], "certificateAuthorities": [], "ctlogs": [],
    "timestampAuthorities": [authority(n, c) for n, c in enumerate(authorities.values(), 1)],
}), encoding="utf-8")
sys.exit(1 if refused else 0)
