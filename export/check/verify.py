"""Compares an exported file with its Keras model on the same samples, by label and by layer."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from export.artifact import ZERO_PIXEL, ExportArtifact, check_described
from export.check.foreign import ForeignFile
from export.check.layer_errors import ComparedLayers, compare_layers
from export.check.predictions import PredictionLog
from export.check.runner import Runners, check_runs
from export.check.tally import Tally
from export.errors import ExportError
from export.graph.probabilities import ends_in, without_probabilities
from export.graph.rescaling import RAW, input_error_levels, rescaling_of
from export.pixel_conventions import PixelConvention
from export.tflite.content import FileContents
from export.tflite.inspect import inspect, named
from export.tflite.output import gives_probabilities, head_of_file
from export.verification import Verification
from spelling import counted

Batch = tuple[npt.ArrayLike, npt.ArrayLike]
Floats = npt.NDArray[np.float32]

NUM_LAYER_SAMPLES = 32
"""Number of samples on which layers are compared."""


_NO_LAYERS = ComparedLayers(all=(), of_the_network=())


class KerasOutputs:
    """Caches a Keras model's outputs for the batches that it has run on.

    Holds (batch, classes) for each batch, no images; for one model, with and without its softmax.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[bool, bytes], Floats] = {}

    def of(self, model: keras.Model, images: Floats, full: int, *, is_whole: bool) -> Floats:
        """The outputs (batch, classes); `is_whole` unless the softmax was cut off."""
        key = is_whole, hashlib.blake2b(np.ascontiguousarray(images).data, digest_size=16).digest()
        if key not in self._known:
            self._known[key] = _by_keras(model, images, full)
        return self._known[key]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Labelled images, and where they are from."""

    batches: Iterable[Batch]
    """(images (batch, height, width, channels) raw 0-255, integer labels (batch,))."""
    dataset: str
    dataset_fingerprint: str
    split: str


@dataclass(frozen=True, kw_only=True)
class NamedLayers:
    """The model whose layers a file is compared with, and the tensor names to match them by."""

    model: keras.Model | None
    """The result of export.plan.converted_model; None compares no layers."""
    tensor_names: Sequence[str] = ()
    """From the file's sidecar; empty to use those in the file."""


def verify(
    model: keras.Model,
    path: Path,
    samples: Samples,
    *,
    layers: NamedLayers | None = None,
    outputs: KerasOutputs | None = None,
    log: PredictionLog | None = None,
    progress: Callable[[int], None] | None = None,
) -> Verification:
    """Compares the file at `path`, run in LiteRT, with the model it was exported from.

    `progress` is called with the number of samples done. The file runs one image at a time, as on a phone,
    with one single-threaded interpreter per core. Layers are compared on the first 32 samples. A file without
    the softmax is compared with the model's class scores. `outputs` caches the model's outputs for its next
    file; `log` collects what both say of each image.

    Raises BadModelFileError for a damaged file and ExportError for a file of another model, or no samples.
    """
    start = time.perf_counter()
    path = Path(path)
    contents = inspect(path)
    _check_pair(model, contents, path)
    whole, model = model, as_exported(model, contents)
    check_runs(path)
    head = head_of_file(contents)
    tally = Tally(head=head)
    kept: list[Floats] = []
    known = KerasOutputs() if outputs is None else outputs
    by_keras = functools.partial(known.of, model, is_whole=model is whole)
    takes, num_classes = tuple(model.inputs[0].shape[1:]), head.num_classes
    full = 0
    with Runners(path, contents) as runners:
        for images, labels in _checked(samples.batches, takes, num_classes):
            full = max(full, len(images))
            expected, found = by_keras(images, full), runners.outputs(images)
            tally.add(expected, found, labels)
            if log is not None:
                log.add(head, expected, found, labels, are_probabilities=gives_probabilities(contents))
            if sum(len(each) for each in kept) < NUM_LAYER_SAMPLES:
                kept.append(images[:NUM_LAYER_SAMPLES])
            if progress is not None:
                progress(tally.samples)
    _check_any(tally, samples)
    compared = _NO_LAYERS
    if layers is not None and layers.model is not None:
        images = np.concatenate(kept)[:NUM_LAYER_SAMPLES]
        compared = compare_layers(layers.model, path, named(contents, layers.tensor_names), images)
    return _verification(path, contents, samples, tally, compared, time.perf_counter() - start)


def verify_alone(
    file: ForeignFile,
    samples: Samples,
    pixels: PixelConvention,
    *,
    log: PredictionLog | None = None,
    progress: Callable[[int], None] | None = None,
) -> Verification:
    """The top-1 of a file without a Keras model, fed as `pixels` says, run in LiteRT.

    Raises ExportError for no samples, or those of another data set.
    """
    start = time.perf_counter()
    tally = Tally(head=file.head)
    with Runners(file.path, file.contents, stored=lambda images: file.stored(pixels(images))) as runners:
        for images, labels in _checked(samples.batches, file.shape, file.head.num_classes):
            found = runners.outputs(images)
            tally.add(None, found, labels)
            if log is not None:
                gives = gives_probabilities(file.contents)
                log.add(file.head, None, found, labels, are_probabilities=gives)
            if progress is not None:
                progress(tally.samples)
    _check_any(tally, samples)
    alone = _verification(file.path, file.contents, samples, tally, _NO_LAYERS, time.perf_counter() - start)
    return replace(
        alone,
        keras_top1=None,
        keras_balanced=None,
        keras_average_precision=None,
        keras_all_labels=None,
        drop_points=None,
        agreement=None,
        num_only_keras_right=None,
        num_only_tflite_right=None,
    )


def _check_any(tally: Tally, samples: Samples) -> None:
    if not tally.samples:
        raise ExportError(
            f"no samples in split '{samples.split}' of {samples.dataset}. "
            "Expected at least one batch of images."
        )


def _verification(
    path: Path,
    contents: FileContents,
    samples: Samples,
    tally: Tally,
    layers: ComparedLayers,
    seconds: float,
) -> Verification:
    worst = max(layers.of_the_network, key=lambda each: each.growth, default=None)
    return Verification(
        artifact_sha256=contents.sha256,
        path=str(path),
        dataset=samples.dataset,
        dataset_fingerprint=samples.dataset_fingerprint,
        split=samples.split,
        worst_layer=worst.layer if worst else None,
        layers=layers.all,
        runtime="litert",
        runtime_version=importlib.metadata.version("ai-edge-litert"),
        seconds=seconds,
        verified_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        **tally.measured(),
    )


def as_exported(model: keras.Model, contents: FileContents) -> keras.Model:
    """The model, without its softmax or sigmoid if the file was exported without (`--logits`)."""
    gives_scores = ends_in(model) is not None and not gives_probabilities(contents)
    return without_probabilities(model) if gives_scores else model


def check_sidecar(path: Path, artifact: ExportArtifact) -> None:
    """Raises ExportError if the file is not the one that its sidecar describes."""
    check_described(path, artifact, inspect(path).sha256)


def _check_pair(model: keras.Model, contents: FileContents, path: Path) -> None:
    """Raises ExportError unless the file can be an export of the model."""
    takes, gives = tuple(model.inputs[0].shape[1:]), tuple(model.outputs[0].shape[1:])
    inputs = [each.shape[1:] for each in contents.inputs]
    outputs = [each.shape[1:] for each in contents.outputs]
    if inputs != [takes] or outputs != [gives]:
        raise ExportError(
            f"{path} takes {_shown(inputs)} and gives {_shown(outputs)}, but the Keras model takes {takes} "
            f"and gives {gives}. Expected a file that was exported from this model: export it again."
        )
    stored = contents.inputs[0]
    if stored.dtype in ZERO_PIXEL:
        own = rescaling_of(model)
        levels = min(input_error_levels(stored, each) for each in (own, own.with_one_zero, RAW))
        if levels > 0.51:  # half a grey level and float32's rounding
            raise ExportError(
                f"{path} does not take raw pixels as {stored.dtype} (scale {stored.scale:.6g}, zero point "
                f"{stored.zero_point}). Expected pixel - 128 as int8, or the pixel as uint8: export it again."
            )
    elif stored.dtype != "float32":
        raise ExportError(f"{path} takes {stored.dtype}. Expected int8, uint8 or float32: export it again.")


def _shown(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes)) or "nothing"


def _checked(
    batches: Iterable[Batch], takes: tuple[int, ...], num_classes: int
) -> Iterator[tuple[Floats, npt.NDArray[np.int64]]]:
    """Images and labels of the batches that are not empty. ExportError for those of another data set."""
    for raw, raw_labels in batches:
        images, labels = np.asarray(raw, np.float32), np.asarray(raw_labels).astype(np.int64)
        _check_batch(images, labels, takes, num_classes)
        if len(images):
            yield images, labels


def _by_keras(model: keras.Model, images: Floats, full: int) -> Floats:
    """The model's outputs; a smaller batch is padded to `full`, since each new size is traced again."""
    filled = np.zeros((full, *images.shape[1:]), np.float32)
    filled[: len(images)] = images
    return np.asarray(model.predict_on_batch(filled), np.float32)[: len(images)]


def _check_batch(
    images: Floats, labels: npt.NDArray[np.int64], takes: tuple[int, ...], num_classes: int
) -> None:
    if images.shape[1:] != takes or labels.shape not in (images.shape[:1], (len(images), num_classes)):
        raise ExportError(
            f"images of shape {images.shape} with labels of shape {labels.shape}. "
            f"Expected (batch, {', '.join(map(str, takes))}) and (batch,): "
            "resize the images to the model's size."
        )
    if labels.ndim == 1 and len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ExportError(
            f"labels from {labels.min()} to {labels.max()}, but the model has "
            f"{counted(num_classes, 'class', 'classes')}. "
            "Expected the data set that it was trained on."
        )
