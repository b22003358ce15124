#!/usr/bin/env python3
"""`evidenced collect` beside Prowler, on the same simulated AWS account, in one run: requests, CPU, wall and peak memory, as ratios.

    tests/peers/prowler.py [--times 1] [--program target/release/evidenced] [--venvs DIRECTORY]

It installs Prowler and the simulator (PyPI, pinned; Prowler takes 2.3 GB) into virtual environments of its own, fills one account with 200
users, 100 buckets, 50 keys and 10 databases, or `--times` as many, and lets both read IAM, S3, KMS, RDS, EC2 and CloudTrail of one region
through the simulator, which counts the requests. Timings are worth something only beside each other. The simulator is the bottleneck of
both: compare CPU, memory and requests before wall time.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tests/tools"
PROWLER = "prowler==5.46.0"
SERVICES = ["iam", "s3", "kms", "rds", "ec2", "cloudtrail"]
# The collectors that answer the questions which Prowler asks of these services.
COLLECTORS = [
    "aws/iam-access", "aws/iam-credential-report", "aws/iam-password-policy", "aws/s3-encryption", "aws/s3-exposure", "aws/s3-protection",
    "aws/kms-keys", "aws/rds-backups", "aws/rds-encryption", "aws/rds-exposure", "aws/ebs-encryption", "aws/security-groups",
    "aws/snapshot-exposure", "aws/vpc-flow-logs", "aws/cloudtrail",
]
REGION = "us-east-1"


def environment(place, requirements):
    """A virtual environment with these requirements."""
    python = place / "bin/python"
    stamp = place / "installed"
    if not stamp.exists() or stamp.read_text() != repr(requirements):
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements], check=True)
        stamp.write_text(repr(requirements))
    return python


def control(endpoint, path, method="GET"):
    with urllib.request.urlopen(urllib.request.Request(endpoint + path, method=method)) as answer:
        text = answer.read()
    return json.loads(text) if text.strip() else None


def measure(endpoint, command, **options):
    """Runs a command; gives its figures."""
    control(endpoint, "/_calls", "DELETE")
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    return {
        "requests": len(control(endpoint, "/_calls")),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "wall_s": round(time.monotonic() - begun, 2),
        "peak_mb": round(used.ru_maxrss / 1024, 1),
        "exit": os.waitstatus_to_exitcode(status),
        "said": said[-2000:],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/evidenced")
    parser.add_argument("--venvs", type=pathlib.Path, default=ROOT / "target/test-tools/peers")
    arguments = parser.parse_args()
    if not arguments.program.exists():
        sys.exit(f"{arguments.program} is not there: cargo build --release, or --program")
    arguments.venvs.mkdir(parents=True, exist_ok=True)
    simulator = environment(arguments.venvs / "simulator", ["--no-deps", "--requirement", str(TOOLS / "requirements-aws.txt")])
    prowler = environment(arguments.venvs / "prowler", [PROWLER]).parent / "prowler"
    server = subprocess.Popen([simulator, TOOLS / "aws_world.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        world = json.loads(server.stdout.readline())
        endpoint = f"http://127.0.0.1:{world['port']}"
        sizes = {"users": 200, "buckets": 100, "keys": 50, "databases": 10}
        print(f"seeding {', '.join(f'{count * arguments.times} {what}' for what, count in sizes.items())} …", flush=True)
        subprocess.run(
            [
                simulator, TOOLS / "aws_seed.py", "--endpoint", endpoint, "--access-key", world["access_key"], "--secret-key",
                world["secret_key"], "--regions", REGION, "--size", "members=0",
                *(f"{what}={count * arguments.times}" for what, count in sizes.items()),
            ],
            check=True, stdout=subprocess.DEVNULL,
        )
        with tempfile.TemporaryDirectory() as scratch:
            ours, theirs = compare(arguments.program, prowler, endpoint, world, pathlib.Path(scratch))
    finally:
        server.stdin.close()
        server.wait()
    print(f"{'':12}{'evidenced':>12}{'Prowler':>12}{'ratio':>10}")
    for figure in ["requests", "cpu_s", "wall_s", "peak_mb"]:
        ratio = ours[figure] / theirs[figure] if theirs[figure] else float("nan")
        print(f"{figure:12}{ours[figure]:>12}{theirs[figure]:>12}{ratio:>10.3f}")
    for name, figures in [("evidenced", ours), ("Prowler", theirs)]:
        # Prowler exits with 3 where it found something to fail.
        if figures["exit"] not in (0, 3):
            sys.exit(f"{name} exited with {figures['exit']}: {figures['said']}")


def compare(program, prowler, endpoint, world, scratch):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "EVIDENCED_"))}
    variables = {
        **inherited, "AWS_ACCESS_KEY_ID": world["access_key"], "AWS_SECRET_ACCESS_KEY": world["secret_key"], "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": endpoint, "HOME": str(scratch),
    }
    settings = {"sources": [{"name": "aws", "aws": {"endpoint": endpoint, "regions": [REGION]}}]}
    (scratch / "evidenced.yaml").write_text(json.dumps(settings))
    subprocess.run([program, "keys", "init"], cwd=scratch, env=variables, check=True, stdout=subprocess.DEVNULL)
    ours = measure(endpoint, [program, "collect", *COLLECTORS], cwd=scratch, env=variables)
    command = [prowler, "aws", "--services", *SERVICES, "--region", REGION, "--output-directory", scratch / "prowler", "--no-banner"]
    return ours, measure(endpoint, command, cwd=scratch, env=variables)


if __name__ == "__main__":
    main()
