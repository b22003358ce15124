#!/usr/bin/env python3
"""What a verification and a report cost over an archive and over one with ten times as many receipts in the same time: time in proportion,
memory flat. Both are measured in one run.

    tests/peers/report_cost.py [--receipts 20000] [--program target/release/examples/cost] [--writer target/release/examples/archive]

`cargo build --release -p report --example cost` and `cargo build --release -p signing --example archive` make the two programs; the second
writes the archives. Every file is read once before anything is measured. Wall time is worth something only on an idle machine.
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
    parser.add_argument("--receipts", type=int, default=20_000)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/examples/cost")
    parser.add_argument("--writer", type=pathlib.Path, default=ROOT / "target/release/examples/archive")
    arguments = parser.parse_args()
    figures = {}
    days = arguments.receipts // 240
    with tempfile.TemporaryDirectory() as scratch:
        for times in (1, 10):
            archive = pathlib.Path(scratch) / str(times)
            receipts = days * 240 * times
            command = [arguments.writer, archive, str(receipts), str(10 * times)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            origin = archive / ORIGIN
            for path in origin.rglob("*"):
                path.is_file() and path.read_bytes()
            print(f"{receipts} receipts in {days} days, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
            print(f"{'':44}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}")
            trust = (archive / "trust").read_text().strip()
            period = [str(FIRST), str(FIRST + datetime.timedelta(days=days - 1))]
            for name in ("verify", "report"):
                figure, said = run([arguments.program.resolve(), name, origin, trust, *period])
                figures.setdefault(name, []).append(figure)
                note = said.splitlines()[-1]
                print(f"{name:44}{figure['wall_s']:>9.2f}{figure['cpu_s']:>9.2f}{figure['peak_mb']:>9.1f}  {note}")
    for name, (once, ten) in figures.items():
        ratios = [f"{what} {ten[key] / once[key]:.2f}" for what, key in (("CPU", "cpu_s"), ("wall", "wall_s"), ("peak", "peak_mb"))]
        print(f"ten times / once, {name}: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
