"""Records that somebody edited: any JSON value in any field is read, or told in one line with its file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_records import export_artifact, train_record

from export.artifact import read_sidecar_file, sidecar_content
from export.errors import ExportError
from models.errors import KnobError
from pipeline.errors import PipelineError
from pipeline.records.training import TrainConfig, read_record, record_as_json
from pipeline.report.run_list import run_summaries
from pipeline.runs import find_unfinished, newest_run
from pipeline.training.checkpoint import EpochResult
from pipeline.training.trainer import read_config, read_history

OURS = (PipelineError, ExportError, KnobError)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
EPOCH = EpochResult(
    epoch=1,
    learning_rate=0.1,
    loss=0.5,
    train_top1=50.0,
    validation_loss=0.5,
    validation_top1=50.0,
    images_per_second=1.0,
    seconds=1.0,
)
CONFIG = TrainConfig(
    family="mobilenet", knobs={"alpha": 0.25, "image_size": 32, "num_classes": 2}, data="digits"
)


def read_run(folder: Path) -> None:
    """All that the commands read of an unfinished run."""
    run_summaries(folder)
    run = find_unfinished("", folder, compressed=False)
    read_config(run)


KINDS: dict[str, tuple[str, Any, Callable[[Path], Any]]] = {
    "train.json": ("run/train.json", record_as_json(train_record()), lambda path: read_record(path)),
    "runs": ("run/train.json", record_as_json(train_record()), lambda path: run_summaries(path.parents[1])),
    "newest": ("run/train.json", record_as_json(train_record()), lambda path: newest_run(path.parents[1])),
    "sidecar": (
        "run/export/x.json",
        json.loads(sidecar_content(export_artifact())),
        lambda path: read_sidecar_file(path),
    ),
    "config.json": (
        "run/config.json",
        {"started_utc": "2026", "dataset_fingerprint": "0", "config": dataclasses.asdict(CONFIG)},
        lambda path: read_run(path.parents[1]),
    ),
    "state.json": (
        "run/state.json",
        {"history": [dataclasses.asdict(EPOCH)]},
        lambda path: read_history(path.parent),
    ),
}


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a value can be replaced: the whole, and each field in it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for name, each in inner for place in places(each, (*at, name)))]


def replaced(record: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy = json.loads(json.dumps(record))
    inside = copy
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = value
    return copy


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_in_any_field_is_read_or_is_our_error(kind: str, data: st.DataObject, tmp_path: Path):
    name, record, read = KINDS[kind]
    record = json.loads(json.dumps(record))
    place = data.draw(st.sampled_from(places(record)))
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(replaced(record, place, data.draw(JSON))))
    problem = ""
    try:
        read(path)
    except OURS as error:
        problem = str(error)
    assert "\n" not in problem


@pytest.mark.parametrize("content", ["", "[" * 100_000, "{", "\udcff", "null", "5", '"text"', "NaN"])
@pytest.mark.parametrize("kind", KINDS)
def test_file_that_holds_no_record_is_our_error(kind: str, content: str, tmp_path: Path):
    name, _, read = KINDS[kind]
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode(errors="surrogateescape"))
    if kind in ("runs", "newest"):
        read(path)
    else:
        with pytest.raises(OURS, match="run"):
            read(path)


def test_error_names_the_field_the_value_and_what_was_expected(tmp_path: Path):
    record = record_as_json(train_record())
    path = tmp_path / "train.json"
    path.write_text(json.dumps({**record, "parameters": "many"}))
    with pytest.raises(PipelineError, match=r"'parameters' is 'many', where a whole number was expected"):
        read_record(path)
