"""The error of each layer of a file on a few images, if its Keras model and data set are found."""

from __future__ import annotations

from pathlib import Path

from export.artifact import check_described, has_sidecar, sidecar_path
from export.errors import ExportError
from export.tflite.inspect import inspect, named
from pipeline.data.registry import load
from pipeline.data.spec import image_shape_of
from pipeline.errors import PipelineError
from pipeline.explain.explanation import ComparedFile, NotCompared
from pipeline.lineage import load_model_of, source_of_file

SPLIT = "test"
NUM_SAMPLES = 32


def compare_with_keras(path: Path, *, model: Path | None, data: str | None) -> ComparedFile | NotCompared:
    """The errors of the layers that are found in the file.

    NotCompared if the sidecar, the model or the data set is missing; but if the file has a sidecar, and
    `model` or `data` was given, a missing one is the user's mistake: PipelineError or ExportError.
    """
    if not has_sidecar(path):
        return NotCompared(
            reason=f"it has no sidecar ({sidecar_path(path).name}), so the Keras model that it was made from "
            "is unknown. Files that `pipeline export` writes have one."
        )
    try:
        return _compared(path, model, data)
    except (PipelineError, ExportError) as error:
        if model is not None or data is not None:
            raise
        return NotCompared(reason=str(error))


def _compared(path: Path, model: Path | None, data: str | None) -> ComparedFile | NotCompared:
    source, artifact = source_of_file(path, model=model, data=data)
    contents = inspect(path)
    check_described(path, artifact, contents.sha256)
    if not any(tensor.dtype in ("int8", "int16") and not tensor.is_constant for tensor in contents.tensors):
        return NotCompared(reason="its activations are float: there is no quantization to compare.")
    import numpy as np

    from export.check.layer_errors import compare_layers
    from export.check.runner import check_runs
    from export.plan import converted_model
    from export.source.serving import is_serving_function

    check_runs(path)
    dataset = load(str(source.data))
    keras_model = load_model_of(source)
    if is_serving_function(keras_model):
        return NotCompared(reason="its model is a SavedModel's serving function, which shows no layers.")
    shape = image_shape_of(keras_model)
    batches = dataset.batches(SPLIT, image_size=shape, batch_size=NUM_SAMPLES, limit=NUM_SAMPLES)
    images = np.concatenate([images for images, _ in batches]).astype(np.float32)
    compared_with = converted_model(
        keras_model,
        artifact.settings,
        has_quantizers=artifact.calibration is None,
        equalization=artifact.equalization,
    )
    assert compared_with is not None  # its activations are quantized
    found = compare_layers(compared_with, path, named(contents, artifact.tensor_names), images)
    return ComparedFile(errors=found.all, dataset=dataset.spec.name, split=SPLIT, num_samples=len(images))
