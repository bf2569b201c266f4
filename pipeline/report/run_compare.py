"""Runs side by side: the settings that differ, and what came of them. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.records.interval import wilson_interval
from pipeline.records.training import TrainRecord
from pipeline.report import figures
from pipeline.report.figures import DASH


def differing_settings(records: Sequence[TrainRecord]) -> dict[str, tuple[Any, ...]]:
    """Each setting that differs between the runs, with its value in each; None where a run has none.

    Knobs are `knobs.alpha`, packages `versions.keras`, what a compression did `compression.sparsity`.
    """
    flat = [_settings(record) for record in records]
    names = dict.fromkeys(name for each in flat for name in each)
    found = {name: tuple(each.get(name) for each in flat) for name in names}
    return {name: values for name, values in found.items() if any(value != values[0] for value in values)}


def _settings(record: TrainRecord) -> dict[str, Any]:
    made = {
        **asdict(record.config),
        "dataset": record.dataset,
        "dataset_fingerprint": record.dataset_fingerprint[:12],
        "num_train": record.num_train,
        "parent": record.parent,
        "compression": None if record.compression is None else asdict(record.compression),
        "versions": record.versions,
    }
    return _flat(made)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def result_lines(records: Sequence[TrainRecord]) -> list[tuple[str, ...]]:
    """What came of each run: a heading, then its text for each."""
    return [
        ("validation top-1", *(figures.percent_text(each.validation_top1) for each in records)),
        ("test top-1", *(_test_text(each) for each in records)),
        ("epochs", *(f"{each.epochs_run}, best {each.best_epoch}" for each in records)),
        ("time", *(figures.seconds_text(each.seconds) for each in records)),
        ("parameters", *(figures.count_text(each.parameters) for each in records)),
        ("MACs", *(figures.count_text(each.macs) for each in records)),
    ]


def setting_lines(records: Sequence[TrainRecord]) -> list[tuple[str, ...]]:
    """The settings that differ: a name, then its text for each run."""
    return [
        (name, *(DASH if value is None else str(value) for value in values))
        for name, values in differing_settings(records).items()
    ]


def _test_text(record: TrainRecord) -> str:
    interval = wilson_interval(record.test_top1, record.num_test)
    text = figures.percent_text(record.test_top1)
    return text if interval is None else f"{text} ({figures.interval_text(*interval)})"
