"""Audits a log with PyPI's aics-tlog: python log.py <origin directory> <vkey>

Checks the checkpoint's note, every tile and entry bundle against the root, and the inclusion of each leaf by a proof built
from the tiles. Prints the tree size; exits 1 when anything is wrong.
"""
import sys

import aics_tlog as tlog

directory, vkey = sys.argv[1:]
try:
    with open(f"{directory}/checkpoint", "rb") as file:
        note = tlog.parse_note(file.read())
    verified = tlog.verify_checkpoint(note, tlog.parse_vkey(vkey))
    if not verified.ok:
        raise ValueError(f"checkpoint: {verified}")
    head = tlog.parse_checkpoint(note.text)
    reader = tlog.FileSystemTileReader(directory)
    report = tlog.audit_tiles(reader, head.size, head.root)
    root = tlog.tree_root_from_tiles(reader, head.size)
    if root != head.root:
        raise ValueError(f"the tiles hash to {root.hex()}, the checkpoint says {head.root.hex()}")
    for index in range(head.size):
        leaf = tlog.read_entry(reader, index, head.size)
        proof = tlog.inclusion_proof_from_tiles(reader, index, head.size)
        if not tlog.verify_leaf_inclusion(leaf, index, head.size, proof, root):
            raise ValueError(f"leaf {index} is not included")
    print(f"ok {head.size} {report}")
except Exception as error:  # every refusal is reported in the same way
    print(f"refused: {error!r}")
    sys.exit(1)
