"""The captured logs of real tools, and what a reader finds in each (expected_logs.csv)."""

import csv
from pathlib import Path

import pytest

from android_bench.printed.pasted import parse_log

LOGS = Path(__file__).parents[2] / "shared" / "reference" / "logs"
EXPECTED = [
    pytest.param(row, id=row["file"])
    for row in csv.DictReader(
        (Path(__file__).parent / "android_bench" / "expected_logs.csv").read_text().splitlines()
    )
]
needs_logs = pytest.mark.skipif(not LOGS.is_dir(), reason=f"the captured logs are not at {LOGS}")


def captured(name):
    """The text of a log, or of a capture's two streams, and the capture's exit status where it was kept."""
    path = LOGS / name
    if path.suffix == ".txt":
        return path.read_text(), None
    stdout, stderr, status = (
        path.parent / f"{path.name}{ending}" for ending in (".stdout", ".stderr", ".rc")
    )
    return stderr.read_text() + stdout.read_text(), int(status.read_text()) if status.exists() else None


def figures_of(report):
    """A run's median, average and validity as in expected_logs.csv."""

    def shown(value):
        return "-" if value is None else f"{value:.6g}"

    return shown(report.timed.median_ms), shown(report.timed.avg_ms), "no" if report.reasons else "yes"


def outcome(text):
    """What a user sees of a text: rows with their reasons and profiles, and failures."""
    log = parse_log(text)
    rows = [
        (figures_of(run), run.timed, run.graph, run.reasons, len(profile.operators), profile.complete)
        for run, profile in zip(log.runs, log.profiles, strict=True)
    ]
    return rows, [failure.reason for failure in log.failures]
