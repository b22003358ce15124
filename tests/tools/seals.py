"""Verifies seals with PyPI's securesystemslib: python seals.py <keys> <seal>…

<keys> is the payload of keys.json. Prints one line for each seal and exits 1 when one is refused.
"""
import base64
import json
import sys

from cryptography.hazmat.primitives.serialization import load_der_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

keys, *seals = sys.argv[1:]
with open(keys, encoding="utf-8") as file:
    known = [
        SSlibKey.from_crypto(load_der_public_key(base64.b64decode(key["spki"])), keyid=key["key_id"])
        for key in json.load(file)["keys"]
        if key["use"] == "receipts"
    ]

refused = 0
for path in seals:
    try:
        with open(path, encoding="utf-8") as file:
            envelope = Envelope.from_dict(json.load(file)["dsseEnvelope"])
        if envelope.payload_type != "application/vnd.in-toto+json":
            raise ValueError(f"payload type {envelope.payload_type}")
        envelope.verify(known, 1)
        print(f"ok {path}")
    except Exception as error:  # every refusal is reported in the same way
        print(f"refused {path}: {error!r}")
        refused += 1
sys.exit(1 if refused or not seals else 0)
