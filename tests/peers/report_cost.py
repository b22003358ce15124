#!/usr/bin/env python3
"""What verification, a report and an export cost over an archive and over one with ten times as many receipts in the same time: time in
proportion, memory flat. All are measured in one run.

    tests/peers/report_cost.py [--days 365] [--an-hour 11] [--archives DIRECTORY]
                               [--program target/release/examples/cost] [--writer target/release/examples/archive]

`cargo build --release -p report --example cost` and `cargo build --release -p signing --example archive` make the two programs; the second
writes the archives, into `--archives` where it is given (what is there is used again) and else into a directory that is gone at the end.
The default is as many receipts as the simulated year has, and ten times as many: the second takes 12 GB of disk. Every file is read once
before anything is measured. Wall time is worth something only on an idle machine.
"""

import argparse
import datetime
import os
import pathlib
import subprocess
import tempfile

from verify_cost import ORIGIN, ROOT, run

# As the archive's writer begins.
FIRST = datetime.date(2026, 11, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--an-hour", type=int, default=11)
    parser.add_argument("--archives", type=pathlib.Path)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/examples/cost")
    parser.add_argument("--writer", type=pathlib.Path, default=ROOT / "target/release/examples/archive")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(arguments, arguments.archives or pathlib.Path(scratch))


def measure(arguments, archives):
    figures = {}
    period = [str(FIRST), str(FIRST + datetime.timedelta(days=arguments.days - 1))]
    for times in (1, 10):
        an_hour = arguments.an_hour * times
        receipts = arguments.days * 24 * an_hour
        archive = archives / f"{arguments.days}-days-{an_hour}-an-hour"
        # The writer leaves it last.
        if not (archive / "receipts.pem").exists():
            subprocess.run([arguments.writer, archive, str(receipts), str(an_hour)], check=True, stdout=subprocess.DEVNULL)
        origin = archive / ORIGIN
        for path in origin.rglob("*"):
            path.is_file() and path.read_bytes()
        print(f"{receipts} receipts in {arguments.days} days, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(f"{'':12}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}")
        trust = (archive / "trust").read_text().strip()
        for name in ("verify", "report", "export"):
            figure, said = run([arguments.program.resolve(), name, origin, trust, *period])
            figures.setdefault(name, []).append(figure)
            note = said.splitlines()[-1]
            print(f"{name:12}{figure['wall_s']:>9.2f}{figure['cpu_s']:>9.2f}{figure['peak_mb']:>9.1f}  {note}", flush=True)
    for name, (once, ten) in figures.items():
        ratios = [f"{what} {ten[key] / once[key]:.2f}" for what, key in (("CPU", "cpu_s"), ("wall", "wall_s"), ("peak", "peak_mb"))]
        print(f"ten times / once, {name}: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
