"""Verifies seals with PyPI's securesystemslib: python seals.py <key id> <public key PEM> <seal>…

Prints one line for each seal and exits 1 when one is refused.
"""
import json
import sys

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

key_id, pem, *seals = sys.argv[1:]
with open(pem, "rb") as file:
    key = SSlibKey.from_crypto(load_pem_public_key(file.read()), keyid=key_id)

refused = 0
for path in seals:
    try:
        with open(path, encoding="utf-8") as file:
            envelope = Envelope.from_dict(json.load(file)["dsseEnvelope"])
        if envelope.payload_type != "application/vnd.in-toto+json":
            raise ValueError(f"payload type {envelope.payload_type}")
        envelope.verify([key], 1)
        print(f"ok {path}")
    except Exception as error:  # every refusal is reported in the same way
        print(f"refused {path}: {error!r}")
        refused += 1
sys.exit(1 if refused else 0)
