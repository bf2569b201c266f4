"""What holds under kills, many writers, full and read-only disks, and signals beside a phone; a row each.

python benchmarks/hold.py [kills] [writers] [disks] [phone_tools] [--kills 200] [--writes 4000] [--signals 30]

Each test is a function of TESTS that takes the options and a scratch folder, and returns its row. `disks`
mounts a small tmpfs, so it runs as root on Linux; so does `phone_tools`, on tests/device_lab.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from hold_kills import kills
from hold_phones import phone_tools
from hold_row import Row
from hold_store import disks, writers

TESTS: dict[str, Callable[[argparse.Namespace, Path], Row]] = {
    "kills": kills,
    "writers": writers,
    "disks": disks,
    "phone_tools": phone_tools,
}


def main() -> None:
    """Runs the chosen tests and prints their table; exits with 1 if one does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tests", nargs="*", help=f"of {', '.join(TESTS)}; default: all")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--writes", type=int, default=4000)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--signals", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = []
    for name in options.tests or TESTS:
        with tempfile.TemporaryDirectory(prefix="hold-") as scratch:
            rows.append(TESTS[name](options, Path(scratch)))
    print("\n| test | found | must reach | holds |\n| --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row.test} | {row.found} | {row.wanted} | {'yes' if row.holds else 'NO'} |")
    sys.exit(not all(row.holds for row in rows))


if __name__ == "__main__":
    main()
