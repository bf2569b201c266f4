"""Makes the files of the ladder, checks them on the validation split, and times them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from export.artifact import Equalization, ExportArtifact, sidecar_content, sidecar_path
from export.check.layer_errors import compare_layers
from export.check.verify import NamedLayers, Samples, verify
from export.exporter import SourceModel, export_model
from export.files import replacing
from export.graph.layer_outputs import network_steps
from export.plan import converted_model
from export.precisions import Precision
from export.quantization.calibrate import CalibrationImages
from export.quantization.float_layers import layers_around, operators_of
from export.settings import ExportSettings
from export.tflite.inspect import inspect, named
from pipeline.bench.host import run_rounds
from pipeline.bench.settings import BenchSettings
from pipeline.class_names import MatchedClasses
from pipeline.compression.compress import load_quantized
from pipeline.compression.ladder import EVERYWHERE, FEW_IMAGES, KEPT, Candidate, Rung
from pipeline.data.calibration import calibration_images
from pipeline.data.dataset import Dataset
from pipeline.data.registry import from_any_folder
from pipeline.data.spec import ImageShape
from pipeline.errors import PipelineError
from pipeline.lineage import KerasSource, load_model_of

INT8 = Precision.INT8
BATCH_SIZE = 64
_NUM_COMPARED = 32
"""Number of training images on which layers are compared, to choose those that stay in float."""

Train = Callable[[], KerasSource]
"""Trains the model quantized, and returns the new run."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The model to export as int8, and the images to check it on."""

    source: KerasSource
    model: keras.Model
    dataset: Dataset
    calibration: Dataset
    """The images to calibrate with: those of the data set, or others."""
    image_size: ImageShape
    matched: MatchedClasses
    """The model's output for each class of the data set."""
    seed: int


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Makes and checks the file of a rung; caches what later rungs need too."""

    subject: Subject
    scratch: Path
    """An empty folder for the files."""
    train: Train | None
    """For the last rung; None leaves it out."""
    calibrations: dict[tuple[int, bool], CalibrationImages] = field(default_factory=dict)
    """By number of images, and whether only typical ones are kept."""
    worst: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """sha256 of a file -> the layers around each activation, largest growth of error first."""

    def __call__(self, rung: Rung, candidates: Sequence[Candidate]) -> Candidate:
        """The file of a rung; settings that the rung leaves open are those of the best file so far."""
        subject = self.subject
        folder = self.scratch / str(len(list(self.scratch.iterdir())))
        if rung.trains:
            assert self.train is not None
            return _trained_candidate(self.train(), subject, folder)
        base = self._base(candidates)
        before = base.artifact.settings if base else ExportSettings(INT8, num_calibration=FEW_IMAGES)
        settings = ExportSettings(
            INT8,
            num_calibration=rung.num_calibration or before.num_calibration,
            seed=subject.seed,
            typical=rung.typical or before.typical,
            equalize=rung.equalize,
        )
        done = None
        if rung.num_float and base is not None:
            kept = self.layers_to_keep(base, number=rung.num_float)
            settings = dataclasses.replace(settings, equalize=before.equalize, keep_float=kept)
            done = _unmeasured(base.artifact.equalization)
        images = self.calibration(settings.num_calibration, typical=settings.typical)
        made = Made(subject.source, subject.model, equalization=done)
        return _exported(made, subject, folder, settings, images=images)

    def skips(self, rung: Rung, candidates: Sequence[Candidate]) -> bool:
        """Whether a rung would leave the same activations in float as the one before."""
        base = self._base(candidates)
        if rung.trains or not rung.num_float or base is None:
            return False
        return not self.layers_to_keep(base, number=rung.num_float)

    def _base(self, candidates: Sequence[Candidate]) -> Candidate | None:
        """The best file of integers throughout that was not trained for."""
        untrained = (each for each in candidates if each.source is self.subject.source)
        integer = (each for each in untrained if not each.artifact.float_layers)
        return min(integer, key=_loss_and_images, default=None)

    def calibration(self, num_samples: int, *, typical: bool) -> CalibrationImages:
        """The images to calibrate with, and which they are."""
        subject = self.subject
        if (num_samples, typical) not in self.calibrations:
            given = subject.source.calibration
            self.calibrations[num_samples, typical] = calibration_images(
                subject.model,
                subject.calibration,
                num_samples=num_samples,
                seed=subject.seed,
                typical=typical,
                address=from_any_folder(given) if given else None,
            )
        return self.calibrations[num_samples, typical]

    def layers_to_keep(self, base: Candidate, *, number: int) -> tuple[str, ...]:
        """The layers around the `number` activations where the error of a file grows most.

        Empty if half as many were all that there are; all layers for EVERYWHERE.
        """
        if number == EVERYWHERE:
            return _all_layers(base, self.subject.model)
        sha256 = base.artifact.sha256
        if sha256 not in self.worst:
            settings = base.artifact.settings
            images = self.calibration(settings.num_calibration, typical=settings.typical)
            self.worst[sha256] = _worst_first(base, self.subject.model, images.pixels)
        worst = self.worst[sha256]
        if number > KEPT[-1].num_float and number // 2 >= len(worst):
            return ()
        return tuple(dict.fromkeys(name for around in worst[:number] for name in around))


def put_in_place(taken: Candidate, target: Path) -> ExportArtifact:
    """Copies the file to `target`, with its sidecar, which is returned."""
    artifact = dataclasses.replace(taken.artifact, path=target.name)
    try:
        with replacing(sidecar_path(target)) as partial_sidecar, replacing(target) as partial:
            partial.write_bytes(taken.path.read_bytes())
            partial_sidecar.write_bytes(sidecar_content(artifact))
    except OSError as error:
        raise PipelineError(
            f"cannot write {target} ({error.strerror or error}). Nothing was changed there. Expected room "
            f"for {taken.artifact.size_bytes:,} bytes in a folder that you may write to."
        ) from error
    return artifact


def _trained_candidate(source: KerasSource, subject: Subject, folder: Path) -> Candidate:
    assert source.compression is not None
    model = load_model_of(source)
    quantized = load_quantized(model, source.compression, source.model_path.parent)
    settings = ExportSettings(INT8, keep_float=source.compression.kept_in_float)
    return _exported(Made(source, model, quantized), subject, folder, settings)


@dataclass(frozen=True)
class Made:
    """A loaded model to export."""

    source: KerasSource
    model: keras.Model
    quantized: Any = None
    """With its trained quantizers."""
    equalization: Equalization | None = None
    """What is done for int8; None chooses."""


def _exported(
    made: Made,
    subject: Subject,
    folder: Path,
    settings: ExportSettings,
    *,
    images: CalibrationImages | None = None,
) -> Candidate:
    """Writes the int8 file with its sidecar into `folder`, and checks it on the validation split."""
    source, model, spec = made.source, made.model, subject.dataset.spec
    path = folder / f"{source.model_name}_{settings.precision}.tflite"
    described = SourceModel(
        path=source.model_path,
        model=model,
        trained=made.quantized,
        model_name=source.model_name,
        family=source.family,
        knobs=source.knobs,
        class_names=source.class_names or spec.class_names,
        dataset=spec.name,
        data=from_any_folder(source.data) if source.data else None,
    )
    artifact = export_model(described, path, settings, images=images, equalization=made.equalization)
    samples = Samples(
        batches=subject.matched.batches(
            subject.dataset.batches("validation", image_size=subject.image_size, batch_size=BATCH_SIZE)
        ),
        dataset=spec.name,
        dataset_fingerprint=spec.fingerprint,
        split="validation",
    )
    converted = converted_model(
        model, settings, has_quantizers=made.quantized is not None, equalization=artifact.equalization
    )
    layers = NamedLayers(model=converted, tensor_names=artifact.tensor_names)
    verification = verify(model, path, samples, layers=layers)
    verification = dataclasses.replace(verification, classes_matched=subject.matched.words)
    return Candidate(path=path, artifact=artifact, verification=verification, source=source)


def _unmeasured(done: Equalization | None) -> Equalization:
    """The same for a file that its error was not measured on."""
    done = done or Equalization()
    return Equalization(factors=done.factors, corrects_biases=done.corrects_biases)


def _all_layers(base: Candidate, model: keras.Model) -> tuple[str, ...]:
    """The layers that compute in the file."""
    contents = named(inspect(base.path), base.artifact.tensor_names)
    names = [step.name for step in network_steps(model)]
    return tuple(name for name in names if operators_of(contents, model, name))


def _worst_first(
    base: Candidate, model: keras.Model, pixels: npt.NDArray[np.uint8]
) -> tuple[tuple[str, ...], ...]:
    """For each activation, largest growth of error first: the layer that writes it, and its readers.

    The writing layer alone is not enough: its float output would be quantized for its readers as before.
    """

    compared_with = converted_model(model, base.artifact.settings, equalization=base.artifact.equalization)
    assert compared_with is not None  # an int8 file
    contents = named(inspect(base.path), base.artifact.tensor_names)
    compared = compare_layers(compared_with, base.path, contents, pixels[:_NUM_COMPARED].astype(np.float32))
    worst = sorted(compared.of_the_network, key=lambda each: each.growth, reverse=True)
    if not worst:
        raise PipelineError("no layer's output was found in the file, so none can stay in float.")
    return tuple(layers_around(contents, model, each.layer) for each in worst)


def _loss_and_images(candidate: Candidate) -> tuple[float, int]:
    """Sort key: fewer images win a tie, since more images slow every later rung."""
    return -candidate.verification.tflite_score, candidate.artifact.settings.num_calibration


def time_files(paths: Sequence[Path]) -> Mapping[str, float | None]:
    """The median ms of each file by its sha256, on this machine with one thread, files in turns."""
    settings = BenchSettings(
        num_runs=30,
        min_secs=0.3,
        max_secs=10.0,
        warmup_min_secs=0.2,
        num_rounds=6,
        max_wait=1.0,  # these figures are only compared with one another
    )
    result = run_rounds(paths, settings)
    return {
        each.measurement.artifact_sha256: each.measurement.median_ms if each.measurement.valid else None
        for each in result.measured
    }
