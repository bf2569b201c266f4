"""Latency of trained files beside files of the same shape with random weights, in turns.

    python benchmarks/untrained.py RUNS [--max-wait SHARE]

RUNS is a folder of runs with exported files, such as `pipeline choose` leaves. For each exported float16 and
int8 file its net is built again with random weights, exported as `choose` does before any training, and
both are measured in interleaved rounds. Prints the ratios; writes nothing into RUNS.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from export.artifact import read_sidecar
from pipeline.bench.host import machine_name, run_rounds
from pipeline.bench.settings import BenchSettings
from pipeline.bench.statistics import compare
from pipeline.choose.candidates import Candidate, Net
from pipeline.choose.shapes import Exporter
from pipeline.data.dataset import Dataset
from pipeline.data.registry import load
from pipeline.progress import silent
from pipeline.records.training import read_record
from pipeline.runs import RECORD, exported_files, finished_runs


def main() -> None:
    """Measures every pair and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--max-wait", type=float, default=BenchSettings().max_wait)
    asked = parser.parse_args()
    settings = replace(BenchSettings(), max_wait=asked.max_wait)
    datasets: dict[str, Dataset] = {}
    num, inside = 0, 0
    print("| file | trained ms | untrained ms | ratio | 95% interval | bytes trained, untrained |")
    print("| --- | ---: | ---: | ---: | --- | ---: |")
    for run in finished_runs(asked.runs):
        record = read_record(run / RECORD)
        data = datasets.setdefault(record.config.data, load(record.config.data))
        for path in exported_files(run):
            row = _row(path, record.config.family, data, settings)
            if row is not None:
                text, is_noise = row
                print(text, flush=True)
                num, inside = num + 1, inside + is_noise
    print(f"\n{inside} of {num} within the noise. {machine_name()}, {settings.rounds} interleaved rounds.")


def _row(path: Path, family: str | None, data: Dataset, settings: BenchSettings) -> tuple[str, bool] | None:
    """The table's row, and whether the two latencies are equal within the noise; None for other files."""
    artifact = read_sidecar(path)
    if family is None:
        return None
    knobs = {name: value for name, value in artifact.knobs.items() if name != "num_classes"}
    net = Net(name=f"{artifact.model_name}_untrained", family=family, knobs=knobs)
    candidate = Candidate(net=net, precision=artifact.precision)
    with tempfile.TemporaryDirectory(prefix="untrained-") as scratch:
        exporter = Exporter(dataset=data, data="", runs=Path(scratch), progress=silent)
        twin = exporter.random(candidate, Path(scratch))
        result = run_rounds([path, twin], settings)
    trained, untrained = result.measured
    if not (trained.measurement.valid and untrained.measurement.valid):
        print(f"{path.name}: {trained.measurement.reasons or untrained.measurement.reasons}", file=sys.stderr)
        return None
    found = compare(trained.round_medians_ms, untrained.round_medians_ms)
    is_noise = not found.larger_than_noise
    text = (
        f"| {path.stem} | {trained.measurement.median_ms:.3g} | {untrained.measurement.median_ms:.3g} "
        f"| {found.ratio:.3f}{' (noise)' if is_noise else ''} | {found.low:.3f} to {found.high:.3f} "
        f"| {trained.size_bytes:,}, {untrained.size_bytes:,} |"
    )
    return text, is_noise


if __name__ == "__main__":
    main()
