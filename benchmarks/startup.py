"""The time of `pipeline --help`, compared with a bare Python that imports click.

python benchmarks/startup.py [--num-runs 20]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

PIPELINE = Path(sys.executable).with_name("pipeline")
COMMANDS = {
    "python -c 'import click'": [sys.executable, "-P", "-c", "import click"],
    "pipeline --help": [str(PIPELINE), "--help"],
    "pipeline train --help": [str(PIPELINE), "train", "--help"],
    "pipeline bench --help": [str(PIPELINE), "bench", "--help"],
}


def main() -> None:
    """Prints the median and the range of each command, in turns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-runs", type=int, default=20)
    num_runs = parser.parse_args().num_runs
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(num_runs):
        for name, command in COMMANDS.items():
            begin = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - begin)
    for name, taken in seconds.items():
        print(f"{name:28} median {statistics.median(taken):.3f} s, {min(taken):.3f} to {max(taken):.3f}")


if __name__ == "__main__":
    main()
