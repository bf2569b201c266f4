"""Finishes a run: writes model.keras, then train.json."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from export.exporter import package_versions
from export.files import replacing, sha256_of, write_json
from export.graph.rewrite import DEPTHWISE_SUFFIX
from models.cost import cost
from pipeline.records.training import TrainRecord, record_as_json
from pipeline.runs import MODEL, RECORD, text_setting_of

if TYPE_CHECKING:
    from pipeline.data.spec import DatasetSpec


def finish_run(
    run: Path,
    model: keras.Model,
    spec: DatasetSpec,
    **measured: Any,  # noqa: ANN401
) -> TrainRecord:
    """Writes the model and the record of a run; `measured` are the record's result fields."""
    with replacing(run / MODEL) as partial:
        model.save(partial)
    parameters, macs = own_cost(model)
    record = TrainRecord(
        run=run.name,
        model_sha256=sha256_of(run / MODEL),
        dataset=spec.name,
        dataset_fingerprint=spec.fingerprint,
        class_names=spec.class_names,
        num_train=spec.num_train,
        num_validation=spec.num_validation,
        num_test=spec.num_test,
        parameters=parameters,
        macs=macs,
        versions=package_versions(),
        started_utc=text_setting_of(run, "started_utc"),
        finished_utc=now_utc(),
        **measured,
    )
    write_json(run / RECORD, record_as_json(record))
    return record


def own_cost(model: keras.Model) -> tuple[int, int]:
    """Parameters and MACs, without the depthwise convolutions that quantized training adds before norms."""
    total = cost(model)
    norms = {layer.name for layer in total.layers if layer.kind == "BatchNormalization"}
    added = [
        layer
        for layer in total.layers
        if layer.kind == "DepthwiseConv2D" and layer.name.removesuffix(DEPTHWISE_SUFFIX) in norms
    ]
    parameters = total.parameters - sum(layer.parameters for layer in added)
    return parameters, total.macs - sum(layer.macs for layer in added)


def now_utc() -> str:
    """The current UTC time, to the second, as in records."""
    return datetime.now(UTC).isoformat(timespec="seconds")
