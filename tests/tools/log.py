"""Audits a log with PyPI's aics-tlog: python log.py <origin directory> <vkeys> [-leaf FILE]… [-kept CHECKPOINT]… [-witness VKEYS]…

<vkeys> holds one verifier key a line. Checked are the checkpoint's note, every tile and entry bundle against the root, the inclusion of
each leaf by a proof built from the tiles, that each FILE is a leaf, that each CHECKPOINT is a beginning of this log (by a consistency
proof), and that each stored cosignature of a witness in VKEYS verifies. Exits 1 when anything is wrong.
"""
import base64
import datetime
import pathlib
import sys

import aics_tlog as tlog

directory = pathlib.Path(sys.argv[1])


def vkeys(path):
    return [tlog.parse_vkey(line) for line in pathlib.Path(path).read_text(encoding="utf-8").split()]


def head(path):
    """A checkpoint that one of the log's keys signed."""
    note = tlog.parse_note(pathlib.Path(path).read_bytes())
    answers = [tlog.verify_checkpoint(note, key, expected_origin=key.name) for key in log_keys]
    if not any(answer.ok for answer in answers):
        raise ValueError(f"{path}: {answers}")
    return note, tlog.parse_checkpoint(note.text)


def cosignatures(known):
    """Every stored line of a known witness, over the checkpoint beside it."""
    for path in sorted(directory.glob("anchor/*/*.cosig")):
        notes = [head(beside) for beside in sorted(path.parent.glob("*.checkpoint"))]
        for line in path.read_text(encoding="utf-8").splitlines():
            _, name, encoded = line.split(" ")
            blob = base64.b64decode(encoded, validate=True)
            for key in [key for key in known if key.name == name and key.key_id == blob[:4]]:
                over = [c for _, c in notes if tlog.verify_cosignature(blob[4:], name, key.public_key, c.origin, c.size, c.root)]
                if not over:
                    raise ValueError(f"{path}: the line of {name} is over no checkpoint beside it")
                at = datetime.datetime.fromtimestamp(int.from_bytes(blob[4:12], "big"), datetime.timezone.utc)
                yield f"ok {path}: {name} saw {over[0].size} entries at {at:%Y-%m-%dT%H:%M:%SZ}"


try:
    log_keys = vkeys(sys.argv[2])
    options = list(zip(sys.argv[3::2], sys.argv[4::2]))
    _, now = head(directory / "checkpoint")
    reader = tlog.FileSystemTileReader(str(directory))
    report = tlog.audit_tiles(reader, now.size, now.root)
    root = tlog.tree_root_from_tiles(reader, now.size)
    if root != now.root:
        raise ValueError(f"the tiles hash to {root.hex()}, the checkpoint says {now.root.hex()}")
    leaves = {}
    for index in range(now.size):
        leaf = tlog.read_entry(reader, index, now.size)
        proof = tlog.inclusion_proof_from_tiles(reader, index, now.size)
        if not tlog.verify_leaf_inclusion(leaf, index, now.size, proof, root):
            raise ValueError(f"leaf {index} is not included")
        leaves[leaf] = index
    print(f"ok {now.size} {report}")
    for option, path in options:
        if option == "-leaf":
            print(f"ok {path}: entry {leaves[pathlib.Path(path).read_bytes()]}")
        elif option == "-kept":
            _, old = head(path)
            proof = tlog.consistency_proof_from_tiles(reader, old.size, now.size)
            if not tlog.verify_consistency(old.size, now.size, old.root, now.root, proof):
                raise ValueError(f"{path}: the log does not continue it")
            print(f"ok {path}: the log's first {old.size} entries are still there")
        elif option == "-witness":
            found = list(cosignatures(vkeys(path)))
            if not found:
                raise ValueError(f"{path}: none of these witnesses has signed")
            print("\n".join(found))
        else:
            raise ValueError(f"unknown option {option}")
except Exception as error:  # every refusal is reported in the same way
    print(f"refused: {error!r}")
    sys.exit(1)
