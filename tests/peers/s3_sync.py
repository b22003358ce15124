#!/usr/bin/env python3
"""What waits in the spool, uploaded by the agent, beside `aws s3 sync` of the same files to the same server, in one run, as ratios.

    tests/peers/s3_sync.py [--bundles 10000] [--measure target/release/examples/measure] [--venvs DIRECTORY]

It installs the AWS CLI and an S3 server (ministack; PyPI, pinned) into virtual environments of its own. `cargo build --release --example
measure` makes the agent's side: it spools so many runs and drains them into the bucket, sealing, logging and settling each. What it left in
the bucket is then copied to a directory, and the CLI uploads that into another bucket, with its defaults. The agent does more: it signs, reads
back nothing that is new, and makes every object durable on disk before and after. The server is the bottleneck of both.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from prowler import ROOT, TOOLS, environment

CLI = "awscli==1.46.3"


def aws_cli(python, endpoint, *arguments):
    """A command of the CLI, and what it took."""
    begun = time.monotonic()
    process = subprocess.Popen(
        [python.parent / "aws", "--endpoint-url", endpoint, "--region", "us-east-1", "s3", *arguments], stdout=subprocess.DEVNULL,
        env=variables(),
    )
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"aws s3 {' '.join(map(str, arguments))} failed")
    return figures(time.monotonic() - begun, used)


def figures(wall, used):
    return {"wall_s": round(wall, 1), "cpu_s": round(used.ru_utime + used.ru_stime, 1), "peak_mb": round(used.ru_maxrss / 1024, 1)}


def variables():
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**inherited, "AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundles", type=int, default=10_000)
    parser.add_argument("--measure", type=pathlib.Path, default=ROOT / "target/release/examples/measure")
    parser.add_argument("--venvs", type=pathlib.Path, default=ROOT / "target/test-tools/peers")
    arguments = parser.parse_args()
    if not arguments.measure.exists():
        sys.exit(f"{arguments.measure} is not there: cargo build --release --example measure, or --measure")
    arguments.venvs.mkdir(parents=True, exist_ok=True)
    simulator = environment(arguments.venvs / "simulator", ["--no-deps", "--requirement", str(TOOLS / "requirements-aws.txt")])
    cli = environment(arguments.venvs / "aws-cli", [CLI])
    server = subprocess.Popen([simulator, TOOLS / "aws_ministack.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        endpoint = f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}"
        for bucket in ("agent", "cli"):
            aws_cli(cli, endpoint, "mb", f"s3://{bucket}")
        with tempfile.TemporaryDirectory() as scratch:
            # Its standard output tells how long the draining alone took; spooling is no upload.
            process = subprocess.Popen(
                [arguments.measure.resolve(), "upload", str(arguments.bundles), endpoint, "agent"], stdout=subprocess.PIPE, text=True,
                env=variables(),
            )
            said = process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
            if os.waitstatus_to_exitcode(status):
                sys.exit("the agent's side failed")
            print(said, end="")
            ours = figures(float(re.search(r"logged in ([0-9.]+) s", said)[1]), used)
            aws_cli(cli, endpoint, "sync", "s3://agent", scratch)
            files = sum(len(files) for _, _, files in os.walk(scratch))
            size = sum(path.stat().st_size for path in pathlib.Path(scratch).rglob("*") if path.is_file())
            theirs = aws_cli(cli, endpoint, "sync", scratch, "s3://cli")
    finally:
        server.stdin.close()
        server.wait()
    print(f"{files} objects, {size} bytes")
    print(f"{'':12}{'evidenced':>12}{'aws s3 sync':>14}{'ratio':>10}")
    for figure in ["wall_s", "cpu_s", "peak_mb"]:
        print(f"{figure:12}{ours[figure]:>12}{theirs[figure]:>14}{ours[figure] / theirs[figure]:>10.3f}")


if __name__ == "__main__":
    main()
