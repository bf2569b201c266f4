"""A shell in a lab with phones, to try things by hand: `PYTHONPATH=tests python -m device_lab.shell`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from device_lab.adb_daemon import LabUnavailable
from device_lab.lab import Lab
from device_lab.phone_facts import PROFILES


def main() -> int:
    """Runs the shell; returns its exit status, or 3 if the lab cannot run."""
    known = sorted(path.stem for path in PROFILES.glob("*.toml"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phones", nargs="*", default=["pixel7"], metavar="PHONE", help=", ".join(known))
    parser.add_argument("--command", help="run this instead of a shell")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.phones) - set(known))
    if unknown:
        parser.error(f"unknown phone '{unknown[0]}'. Known: {', '.join(known)}.")
    try:
        with Lab() as lab:
            return _shell(lab, arguments.phones, arguments.command)
    except LabUnavailable as error:
        print(f"no device lab: {error}", file=sys.stderr)
        return 3


def _shell(lab: Lab, names: list[str], command: str | None) -> int:
    phones = {name: lab.phone(name) for name in names}
    with lab.inside():
        os.environ["BENCHMARK_MODEL"] = str(lab.benchmark_model)
        os.environ["LITERT_BENCHMARK_MODEL"] = str(lab.litert_benchmark_model)
        programs = Path(sys.executable).parent  # where `pipeline` is
        os.environ["PATH"] = f"{lab.adb_path.parent}:{programs}:{os.environ['PATH']}"
        os.environ.pop("PYTHONPATH", None)  # tests/ holds folders of the packages' names
        for name, phone in phones.items():
            print(f"{phone.serial}  {name}  its files: {phone.storage}", file=sys.stderr)
        words = ["/bin/sh", "-c", command] if command else [os.environ.get("SHELL", "/bin/sh")]
        return subprocess.run(words).returncode


if __name__ == "__main__":
    sys.exit(main())
