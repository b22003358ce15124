#!/usr/bin/env python3
"""`evidenced-verify` beside what its work is made of, each measured alone on the same files and cores, in one run: sha256sum over all
bundles, OpenSSL's Ed25519 verification times the leaves, its token verification times the tokens; and beside a shell loop of OpenSSL.

    tests/peers/verify_cost.py [--receipts 100000] [--archive DIRECTORY] [--program target/release/evidenced-verify]
                               [--writer target/release/examples/archive] [--sample 200]

`cargo build --release -p evidenced-verify` and `cargo build --release -p signing --example archive` make the two programs; the second
writes the archive unless `--archive` names one that it wrote. Every file is read once before anything is measured. The loop and OpenSSL's
tokens are measured over a sample and extrapolated. CPU is what is compared: wall time is worth something only on an idle machine.
"""

import argparse
import base64
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ORIGIN = "example.org+test"

# One seal and its bundle: the signature over the pre-authentication encoding, and the digest of the bundle.
LOOP = r"""
set -eu
cd "$1"
while read -r seal; do
  jq -j .dsseEnvelope.payload "$seal" | base64 -d > "$2/payload"
  jq -j '.dsseEnvelope.signatures[0].sig' "$seal" | base64 -d > "$2/sig"
  { printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$(wc -c < "$2/payload")"; cat "$2/payload"; } > "$2/message"
  openssl pkeyutl -verify -pubin -inkey "$2/key.pem" -rawin -in "$2/message" -sigfile "$2/sig" > "$2/said"
  jq -r '.subject[0] | .digest.sha256 + "  " + .name' "$2/payload" | sha256sum --check --status
done
"""


def run(command, **options):
    """What a command and its children took: wall and CPU seconds, and the peak of the command itself in MB; and what it said."""
    with tempfile.TemporaryFile("w+") as out:
        begun, peak = time.monotonic(), 0
        process = subprocess.Popen(command, stdout=out, text=True, **options)
        status = None
        while not status:
            # The rusage of a child counts what it shared with this process before it became the program; VmHWM does not.
            with open(f"/proc/{process.pid}/status") as facts:
                peak = max([peak, *(int(line.split()[1]) for line in facts if line.startswith("VmHWM"))])
            done, status, used = os.wait4(process.pid, os.WNOHANG)
            status = (status,) if done else None
            time.sleep(0 if status else 0.002)
        wall = time.monotonic() - begun
        out.seek(0)
        said = out.read()
    if os.waitstatus_to_exitcode(status[0]):
        sys.exit(f"{command[0]} failed: {said[-2000:]}")
    return {"wall_s": wall, "cpu_s": used.ru_utime + used.ru_stime, "peak_mb": peak / 1024}, said


def shown(name, figures, note=""):
    peak = f"{figures['peak_mb']:>9.1f}" if "peak_mb" in figures else " " * 9
    print(f"{name:44}{figures['wall_s']:>9.2f}{figures['cpu_s']:>9.2f}{peak}  {note}")


def tokens(origin, roots, sample):
    """OpenSSL over some of the tokens, each at its own time; and how many there are."""
    found = sorted(origin.glob("anchor/*/*.tsr"))
    chosen = found[:: max(1, len(found) // sample)][:sample]
    begun, before = time.monotonic(), os.times()
    for token in chosen:
        over = next(token.parent.glob("*.checkpoint"))
        command = ["openssl", "ts", "-verify", "-data", over, "-in", token, "-CAfile", roots, "-no_check_time"]
        if subprocess.run(command, capture_output=True).returncode:
            sys.exit(f"OpenSSL does not verify {token}")
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    times = len(found) / max(1, len(chosen))
    return {"wall_s": (time.monotonic() - begun) * times, "cpu_s": cpu * times}, len(found), len(chosen)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--receipts", type=int, default=100_000)
    parser.add_argument("--archive", type=pathlib.Path)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/evidenced-verify")
    parser.add_argument("--writer", type=pathlib.Path, default=ROOT / "target/release/examples/archive")
    parser.add_argument("--sample", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        archive = arguments.archive
        if archive is None:
            archive = pathlib.Path(scratch) / "archive"
            subprocess.run([arguments.writer, archive, str(arguments.receipts)], check=True, stdout=subprocess.DEVNULL)
        measure(archive, arguments, pathlib.Path(scratch))


def measure(archive, arguments, scratch):
    origin, cores = archive / ORIGIN, os.cpu_count()
    seals = sorted(map(str, origin.glob("seal/*/*/*/*.json")))
    bundles = sorted(map(str, origin.glob("bundle/*/*/*/*.zip")))
    size = sum(os.path.getsize(path) for path in bundles)
    for path in itertools.chain(seals, bundles):
        pathlib.Path(path).read_bytes()
    entries = int((origin / "checkpoint").read_text().splitlines()[1])
    kept = int((archive / "kept").read_text().splitlines()[1])
    print(f"{entries} entries, {len(bundles)} bundles of {size / 1e6:.1f} MB together, {cores} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':44}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}")

    names = ("\0".join(bundles) + "\0").encode()
    (scratch / "names").write_bytes(names)
    with (scratch / "names").open() as stdin:
        hashing, _ = run(["sh", "-c", f"xargs -0 -P {cores} -n 1000 sha256sum > /dev/null"], stdin=stdin)
    del hashing["peak_mb"]
    shown("sha256sum of all bundles", hashing)
    speed = subprocess.run(["openssl", "speed", "-seconds", "3", "ed25519"], capture_output=True, text=True, check=True).stdout
    each = 1 / float(re.search(r"Ed25519\).*?([0-9.]+)\s*$", speed)[1])
    signing = {"wall_s": each * entries / cores, "cpu_s": each * entries}
    shown("OpenSSL's Ed25519 speed x leaves", signing, f"{each * 1e6:.0f} us each")
    stamping, count, checked = tokens(origin, archive / "roots.pem", arguments.sample)
    shown("openssl ts -verify x tokens", stamping, f"{count} tokens, {checked} of them run")
    total = {what: hashing[what] + signing[what] + stamping[what] for what in ("wall_s", "cpu_s")}
    shown("the sum", total)

    verify = [arguments.program.resolve(), origin, "--tsa-roots", archive / "roots.pem"]
    verify += ["--trust", (archive / "trust").read_text().strip()]
    whole, said = run(verify)
    shown("evidenced-verify", whole, said.splitlines()[-1])
    new, said = run([*verify, "--since", archive / "kept"])
    shown("evidenced-verify --since", new, f"{entries - kept} new entries; {said.splitlines()[-1]}")

    chosen = seals[:: max(1, len(seals) // arguments.sample)][: arguments.sample]
    chosen = [seal for seal in chosen if b"receipt:v1" in payload(seal)]
    version = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout.split()[1]
    (scratch / "key.pem").write_text((archive / "receipts.pem").read_text())
    loop, _ = run(["sh", "-c", LOOP, "sh", origin, scratch], stdin=stdin_of(scratch, chosen))
    times = len(bundles) / len(chosen)
    loop = {what: loop[what] * times for what in ("wall_s", "cpu_s")}
    shown("a shell loop of OpenSSL, jq and sha256sum", loop, f"from {len(chosen)} receipts, extrapolated; OpenSSL {version}")
    print(f"evidenced-verify / the sum: {whole['cpu_s'] / total['cpu_s']:.2f} CPU, {whole['wall_s'] / total['wall_s']:.2f} wall")
    print(f"evidenced-verify / the loop: {whole['cpu_s'] / loop['cpu_s']:.4f} CPU")
    print(f"--since / evidenced-verify: {new['cpu_s'] / whole['cpu_s']:.4f} CPU")


def payload(seal):
    return base64.b64decode(json.loads(pathlib.Path(seal).read_bytes())["dsseEnvelope"]["payload"])


def stdin_of(scratch, lines):
    path = scratch / "seals"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path.open()


if __name__ == "__main__":
    main()
