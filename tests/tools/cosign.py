"""Cosignatures by PyPI's aics-tlog, both ways; the note comes on standard input.

python cosign.py verify <vkey>                 checks the line of that witness; exits 1 when it is not there, or wrong
python cosign.py sign <name> <seed> <time>     prints the witness's vkey, then the note with its line
"""
import sys

import aics_tlog as tlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

note = sys.stdin.buffer.read()
parsed = tlog.parse_note(note)
head = tlog.parse_checkpoint(parsed.text)
if sys.argv[1] == "verify":
    key = tlog.parse_vkey(sys.argv[2])
    lines = [line for line in parsed.signatures if line.name == key.name and line.key_id == key.key_id]
    good = [
        tlog.verify_cosignature(line.signature, key.name, key.public_key, head.origin, head.size, head.root) for line in lines
    ]
    print(f"{len(lines)} lines, good: {good}")
    sys.exit(0 if good and all(good) else 1)
name, seed, time = sys.argv[2], bytes.fromhex(sys.argv[3]), int(sys.argv[4])
private = Ed25519PrivateKey.from_private_bytes(seed)
_, line = tlog.sign_cosignature(private, name, time, head.origin, head.size, head.root)
print(tlog.format_vkey(tlog.cosignature_vkey(name, private.public_key())), flush=True)
sys.stdout.buffer.write(tlog.Note(parsed.text, (*parsed.signatures, line)).to_bytes())
