"""Eight phones and twenty models at once; two phones are killed, one returns soon and one much later.

On the device lab (tests/device_lab; needs root and Debian): eight real adb daemons and a tool that really
runs the files, all on this machine's cores, so the latencies are those of a busy machine. It shows that all
phones work at the same time, that a lost phone loses only its own jobs, that the next call measures only what
is missing, and how long everything takes. A run that ended just before its phone was killed counts, although
its result was lost and it is repeated.

    python benchmarks/phone_matrix.py [--models 20] [--rounds 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from pipeline.bench.host import machine_name

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # behind the installed packages of the same names

from device_lab.lab import Lab
from device_lab.phone import Phone

PROFILES = (
    "pixel7",
    "galaxy_s21",
    "redmi_note_8",
    "moto_g5",
    "redmi_5_plus",
    "pixel7",
    "galaxy_s21",
    "redmi_note_8",
)
GIVEN_UP_SECS = 8.0
"""--reconnect-secs: one phone returns earlier, the other later."""
AWAY_SECS = 3.0
DIES_AT = 0.4
"""The two phones are killed after this share of their runs."""


def main() -> int:
    """Prints the result of each call; returns 1 if a measurement is missing, invalid or was made twice."""
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory() as scratch, Lab() as lab, lab.inside():
        files = _models(Path(scratch), arguments.models)
        os.environ |= {"PIPELINE_RUNS": f"{scratch}/runs", "XDG_CACHE_HOME": f"{scratch}/cache"}
        phones = [lab.phone(profile) for profile in PROFILES]
        print(f"{len(phones)} lab phones x {len(files)} models x {arguments.rounds} rounds; {machine_name()}")
        returning, lost = phones[2], phones[5]
        at = int(DIES_AT * len(files) * arguments.rounds)
        vanishing = [
            threading.Thread(target=_vanish, args=(returning, at, AWAY_SECS)),
            threading.Thread(target=_vanish, args=(lost, at, None)),
        ]
        for thread in vanishing:
            thread.start()
        first = _bench(lab, files, arguments.rounds)
        for thread in vanishing:
            thread.join()
        print(_line("two phones killed, one returns", first, phones))
        after_first = [_num_measured(phone) for phone in phones]
        lost.restart()
        second = _bench(lab, files, arguments.rounds)
        print(_line("the other returned, same command", second, phones))
        third = _bench(lab, files, arguments.rounds)
        print(_line("once more, nothing is missing", third, phones))
        return _judge(first, second, third, phones=phones, after_first=after_first, lost=lost, files=files)


def _judge(
    *calls: tuple[float, int, list[dict]],
    phones: list[Phone],
    after_first: list[int],
    lost: Phone,
    files: list[Path],
) -> int:
    (_, first_status, first), (_, second_status, second), (_, _, third) = calls
    whole = len(phones) * len(files)
    again = [
        _num_measured(phone) - before
        for phone, before in zip(phones, after_first, strict=True)
        if phone is not lost
    ]
    identical = {json.dumps(record, sort_keys=True) for record in second} == {
        json.dumps(record, sort_keys=True) for record in third
    }
    checks = {
        f"exit status {first_status} (4: a phone was lost), then {second_status}": (
            first_status,
            second_status,
        )
        == (4, 0),
        f"{len(first)} of {whole} measurements in the first call, {len(second)} after the second": len(second)
        == whole,
        f"runs that the seven other phones made again: {sum(again)}": sum(again) == 0,
        f"valid: {sum(record['valid'] for record in second)} of {whole}": all(
            record["valid"] for record in second
        ),
        "the third call shows the same figures and runs nothing": identical,
    }
    for text, good in checks.items():
        print(f"{'yes' if good else 'NO '}  {text}")
    medians = Counter(record["where"].rsplit(" ", 1)[0] for record in second)
    print("finished table:", ", ".join(f"{count} on {name}" for name, count in medians.items()))
    return 0 if all(checks.values()) else 1


def _bench(lab: Lab, files: list[Path], num_rounds: int) -> tuple[float, int, list[dict]]:
    """Seconds, exit status and records of one call."""
    settings = [
        "--num-rounds",
        str(num_rounds),
        "--num-runs",
        "10",
        "--min-secs",
        "0",
        "--warmup-min-secs",
        "0",
    ]
    patience = ["--reconnect-secs", str(GIVEN_UP_SECS), "--max-drift", "99", "--json"]
    program = "from pipeline.cli import main; main()"
    words = [
        "bench",
        "--adb",
        "-s",
        "all",
        "--benchmark-model",
        str(lab.benchmark_model),
        *settings,
        *patience,
    ]
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *words, *map(str, files)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 4):
        sys.exit(done.stderr)
    return time.monotonic() - begin, done.returncode, json.loads(done.stdout)


def _vanish(phone: Phone, at: int, away_secs: float | None) -> None:
    while _num_measured(phone) < at:
        time.sleep(0.05)
    phone.kill()
    if away_secs is not None:
        time.sleep(away_secs)
        phone.restart()


def _num_measured(phone: Phone) -> int:
    """The number of successful runs of a model."""
    return sum(each.status == 0 and not any("--help" in word for word in each.argv) for each in phone.runs())


def _line(what: str, call: tuple[float, int, list[dict]], phones: list[Phone]) -> str:
    secs, status, records = call
    runs = sum(_num_measured(phone) for phone in phones)
    return f"{what}: {secs:.1f} s, exit status {status}, {len(records)} measurements, {runs} runs so far"


def _models(folder: Path, count: int) -> list[Path]:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from export.convert import convert
    from export.precisions import Precision
    from export.settings import ExportSettings
    from models.build import build

    settings = [
        (alpha, size, precision)
        for size in (32, 64, 96, 128, 160)
        for alpha in (0.25, 0.5)
        for precision in (Precision.FLOAT32, Precision.DYNAMIC)
    ]
    files = []
    for alpha, size, precision in settings[:count]:
        file = folder / f"mobilenet_alpha{alpha}_{size}_{precision}.tflite"
        file.write_bytes(
            convert(
                build("mobilenet", alpha=alpha, image_size=size, num_classes=10), ExportSettings(precision)
            )
        )
        files.append(file)
    return files


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    return parser


if __name__ == "__main__":
    sys.exit(main())
