"""What holds under kills, hostile files, many writers, full disks, and signals beside a phone; a row each.

    python benchmarks/hold                                every test, in hours
    python benchmarks/hold kills writers --kills 60
    python benchmarks/hold keras h5 npz --count 1000 --seed 7
    python benchmarks/hold keras --seed 7 --only 137      one mutated file, with its traceback

Mutated files: tflite, keras, h5, npz, weights, images, logs, adb (the answers of a phone and its server).
`disks` mounts a small tmpfs, so it runs as root on Linux; so does `phone_tools`, on tests/device_lab.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from fuzz import fuzz, read_alone, work
from kills import kills
from phones import phone_tools
from readers import KINDS
from row import Row
from store import disks, writers

TESTS: dict[str, Callable[[argparse.Namespace, Path], Row]] = {
    "kills": kills,
    "writers": writers,
    "disks": disks,
    "phone_tools": phone_tools,
    **{name: functools.partial(lambda kind, options, _: fuzz(kind, options), name) for name in KINDS},
}
"""Each takes the options and a scratch folder, and gives its row."""


def main() -> None:
    """Runs the chosen tests and prints their table; exits with 1 if one does not hold."""
    options = _options()
    if options.worker:
        return work(options.tests[0], options)
    if options.only is not None:
        return read_alone(options.tests[0], options.only, options.seed, keep=options.keep)
    rows = []
    for name in options.tests or TESTS:
        with tempfile.TemporaryDirectory(prefix="hold-") as scratch:
            rows.append(TESTS[name](options, Path(scratch)))
    print("\n| test | found | must reach | holds |\n| --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row.test} | {row.found} | {row.wanted} | {'yes' if row.holds else 'NO'} |")
    return sys.exit(not all(row.holds for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hold", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tests", nargs="*", help=f"of {', '.join(TESTS)}; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--writes", type=int, default=4000)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--signals", type=int, default=30)
    parser.add_argument("--count", type=int, help="mutated files; default: as many as must be reached")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation; default: 0")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, help="this mutation alone, here, with its traceback")
    parser.add_argument("--keep", type=Path, help="with --only, also written to this file")
    parser.add_argument("--worker", nargs=3, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--sources", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := [name for name in options.tests if name not in TESTS]:
        parser.error(f"unknown test {unknown[0]!r}. Known: {', '.join(TESTS)}.")
    return options


if __name__ == "__main__":
    main()
