"""The cheapest way to an int8 file that loses no more than so many points: one after another is tried.

Cheap are other ranges, channels brought to one range and a few layers left in float; the last is training.
Each is measured on the very file that would ship: its accuracy on the validation split, its bytes, its time.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.artifact import ExportArtifact, sidecar_path
from export.errors import ExportError
from export.files import replacing
from export.precisions import Precision
from export.settings import ExportSettings
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import keras
    import numpy as np
    import numpy.typing as npt

    from export.quantization.calibrate import CalibrationImages
    from export.verification import Verification
    from pipeline.data.dataset import Dataset
    from pipeline.lineage import KerasSource

FEW_IMAGES, MANY_IMAGES = 200, 1000
INT8 = Precision.INT8
BATCH_SIZE = 64
_NUM_COMPARED = 32
"""Training images on which the layers are compared, to choose those that stay in float."""

Tell = Callable[[str], None]
Train = Callable[[], "KerasSource"]
"""Trains the model quantized, and gives back the new run."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One thing to try. What it leaves open is that of the best file so far."""

    name: str
    words: str
    """What it does."""
    num_calibration: int | None = None
    """Training images that the ranges are read from."""
    typical: bool = False
    """Without those that widen the ranges for all the others."""
    equalize: bool = False
    num_float: int = 0
    """So many activations, where the error grows most, stay in float with the layers around them."""
    trains: bool = False


@dataclass(frozen=True, kw_only=True)
class Try:
    """What a rung gave; None for what there is not, where no file could be made."""

    rung: str
    words: str
    holds: bool
    """It loses no more than what was allowed."""
    taken: bool
    drop_points: float | None
    """Float model less file, percentage points of the validation split."""
    top1: float | None
    """Percent, of the file."""
    size_bytes: int | None
    downloaded_bytes: int | None
    median_ms: float | None
    """On this machine with one thread, all tries side by side."""
    seconds: float
    """That it took to make and to check."""
    float_layers: tuple[str, ...]
    run: str
    """The run whose file it is."""
    artifact_sha256: str | None
    refused: str = ""
    """Why there is no file."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is to become int8, and on which images that is judged."""

    source: KerasSource
    model: keras.Model
    dataset: Dataset
    image_size: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A file in the scratch folder, with its sidecar, that was checked on the validation split."""

    path: Path
    artifact: ExportArtifact
    verification: Verification
    source: KerasSource
    """The model that it was made from: the subject's, or the one that was trained quantized."""


@dataclass(frozen=True, kw_only=True)
class Climb:
    """All that was tried, in its order, and the file that was taken."""

    tries: tuple[Try, ...]
    float_top1: float
    """Percent, of the Keras model on the validation split."""
    taken: Candidate
    """The first that holds, or else the one that loses least."""

    @property
    def holds(self) -> bool:
        """Whether the file that was taken loses no more than what was allowed."""
        return any(each.taken and each.holds for each in self.tries)


CALIBRATION = Rung(
    name="calibration",
    words=f"ranges from {FEW_IMAGES} training images",
    num_calibration=FEW_IMAGES,
)
MORE_IMAGES = Rung(
    name="more images",
    words=f"ranges from {MANY_IMAGES:,} training images",
    num_calibration=MANY_IMAGES,
)
TYPICAL = Rung(
    name="typical images",
    words="ranges without the 5% of the images that widen them most",
    typical=True,
)
EQUALIZE = Rung(name="equalize", words="channels brought to one range, biases corrected", equalize=True)
KEPT = tuple(
    Rung(
        name=f"float x{number}",
        words=f"float where the error grows most: {number} activation{'s' if number > 1 else ''}",
        num_float=number,
    )
    for number in (1, 2, 4)
)
QAT = Rung(name="qat", words="quantization-aware training", trains=True)


def rungs(num_train: int, *, trains: bool) -> tuple[Rung, ...]:
    """What is tried, the cheapest first; more images only where there are more than a few."""
    more = (MORE_IMAGES,) if num_train > FEW_IMAGES else ()
    return (CALIBRATION, *more, TYPICAL, EQUALIZE, *KEPT, *((QAT,) if trains else ()))


def climb(
    subject: Subject,
    *,
    max_drop: float,
    scratch: Path,
    train: Train | None,
    tell: Tell,
) -> Climb:
    """Tries one rung after another until a file's drop is at most `max_drop` points; measures all at the end.

    `scratch` is an empty folder for the files; `train` is the last rung, None leaves it out; `tell` is told
    how it goes. Raises ExportError where not even the first rung gives a file.
    """
    work = _Work(subject=subject, scratch=scratch, train=train)
    tries: list[Try] = []
    candidates: list[Candidate] = []
    float_top1 = 0.0
    for rung in rungs(subject.dataset.spec.num_train, trains=train is not None):
        began = time.perf_counter()
        tell(f"trying {rung.name}: {rung.words} ...")
        try:
            candidate = _attempt(rung, work, candidates)
        except (ExportError, PipelineError) as error:
            if not candidates:
                raise
            tries.append(_refused(rung, subject, str(error), time.perf_counter() - began))
            tell(f"{rung.name}: {error}")
            continue
        float_top1 = float_top1 if candidates else candidate.verification.keras_top1
        candidates.append(candidate)
        tries.append(_tried(rung, candidate, float_top1, max_drop, time.perf_counter() - began))
        tell(f"{rung.name}: {tries[-1].drop_points:+.2f} points lost, {tries[-1].size_bytes:,} bytes")
        if tries[-1].holds:
            break
    taken = _best(candidates)
    return Climb(tries=_measured(tries, candidates, taken), float_top1=float_top1, taken=taken)


def put_in_place(taken: Candidate) -> Path:
    """Moves the file and its sidecar into the export folder of its run; gives back the file's path there."""
    target = taken.source.export_folder / taken.artifact.path
    try:
        with replacing(sidecar_path(target)) as partial_sidecar, replacing(target) as partial:
            partial.write_bytes(taken.path.read_bytes())
            partial_sidecar.write_bytes(sidecar_path(taken.path).read_bytes())
    except OSError as error:
        raise PipelineError(
            f"cannot write {target} ({error.strerror or error}). Nothing was changed there. Expected room "
            f"for {taken.artifact.size_bytes:,} bytes in a folder that you may write to."
        ) from error
    return target


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What is tried on, and what was found that a later rung needs too."""

    subject: Subject
    scratch: Path
    train: Train | None
    calibrations: dict[tuple[int, bool], CalibrationImages] = field(default_factory=dict)
    """By the number of images, and whether only typical ones are kept."""
    worst: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """sha256 of a file -> the layers around each activation, those first where the error grows most."""

    def calibration(self, num_samples: int, *, typical: bool) -> CalibrationImages:
        """Training images that ranges are read from, and which they are."""
        from export.quantization.calibrate import CalibrationImages
        from export.quantization.typical import typical_images

        subject = self.subject
        if (num_samples, typical) not in self.calibrations:
            pixels, record = subject.dataset.calibration_pixels(
                image_size=subject.image_size,
                num_samples=num_samples,
                seed=subject.seed,
                choose=(lambda pixels: typical_images(subject.model, pixels)) if typical else None,
            )
            self.calibrations[num_samples, typical] = CalibrationImages(pixels=pixels, record=record)
        return self.calibrations[num_samples, typical]

    def layers_to_keep(
        self, base: Candidate, pixels: npt.NDArray[np.uint8], *, number: int
    ) -> tuple[str, ...]:
        """The layers around the `number` activations of a file where the error grows most."""
        sha256 = base.artifact.sha256
        if sha256 not in self.worst:
            self.worst[sha256] = _worst_first(base, self.subject.model, pixels)
        return tuple(dict.fromkeys(name for around in self.worst[sha256][:number] for name in around))


def _attempt(rung: Rung, work: _Work, candidates: Sequence[Candidate]) -> Candidate:
    subject = work.subject
    folder = work.scratch / str(len(list(work.scratch.iterdir())))
    if rung.trains:
        assert work.train is not None
        return _trained_candidate(work.train(), subject, folder)
    integer = (each for each in candidates if not each.artifact.float_layers)
    base = min(integer, key=_loss_and_images, default=None)
    before = base.artifact.settings if base else ExportSettings(INT8, num_calibration=FEW_IMAGES)
    settings = ExportSettings(
        INT8,
        num_calibration=rung.num_calibration or before.num_calibration,
        seed=subject.seed,
        typical=rung.typical or before.typical,
        equalize=rung.equalize,
    )
    images = work.calibration(settings.num_calibration, typical=settings.typical)
    if rung.num_float and base is not None:
        kept = work.layers_to_keep(base, images.pixels, number=rung.num_float)
        settings = dataclasses.replace(settings, equalize=before.equalize, keep_float=kept)
    return _exported(Made(subject.source, subject.model), subject, folder, settings, images=images)


def _trained_candidate(source: KerasSource, subject: Subject, folder: Path) -> Candidate:
    from pipeline.compression.compress import load_quantized
    from pipeline.lineage import load_model_of

    assert source.compression is not None
    model = load_model_of(source)
    quantized = load_quantized(model, source.compression, source.model_path.parent)
    settings = ExportSettings(INT8, keep_float=source.compression.skip_layers)
    return _exported(Made(source, model, quantized), subject, folder, settings)


@dataclass(frozen=True)
class Made:
    """A model that is exported, as it was loaded."""

    source: KerasSource
    model: keras.Model
    quantized: Any = None
    """With the quantizers that it was trained with."""


def _exported(
    made: Made,
    subject: Subject,
    folder: Path,
    settings: ExportSettings,
    *,
    images: CalibrationImages | None = None,
) -> Candidate:
    """Writes the int8 file with its sidecar into `folder`, and runs the validation split through it."""
    from export.check.verify import verify
    from export.exporter import SourceModel, export_model

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
        data=source.data,
    )
    artifact = export_model(described, path, settings, images=images)
    verification = verify(
        model,
        path,
        subject.dataset.batches("validation", image_size=subject.image_size, batch_size=BATCH_SIZE),
        dataset=spec.name,
        dataset_fingerprint=spec.fingerprint,
        split="validation",
        tensor_names=artifact.tensor_names,
        compares_layers=not settings.equalize,
    )
    return Candidate(path=path, artifact=artifact, verification=verification, source=source)


def _worst_first(
    base: Candidate, model: keras.Model, pixels: npt.NDArray[np.uint8]
) -> tuple[tuple[str, ...], ...]:
    """For each activation, where the error grows most first: the layer that writes it, and its readers.

    A layer alone would not do: its float output is quantized for the next one, with the same range as before.
    """
    import numpy as np

    from export.check.layer_errors import compare_layers
    from export.convert import equalized_model
    from export.quantization.float_layers import layers_around
    from export.tflite.inspect import inspect, named

    compared_with = equalized_model(model, pixels) if base.artifact.settings.equalize else model
    contents = named(inspect(base.path), base.artifact.tensor_names)
    compared = compare_layers(compared_with, base.path, contents, pixels[:_NUM_COMPARED].astype(np.float32))
    worst = sorted(compared.of_the_network, key=lambda each: each.growth, reverse=True)
    if not worst:
        raise PipelineError("no layer's output could be found in the file, so that none can be chosen.")
    return tuple(layers_around(contents, model, each.layer) for each in worst)


def _loss(candidate: Candidate) -> tuple[float, int]:
    return -candidate.verification.tflite_top1, candidate.artifact.size_bytes


def _loss_and_images(candidate: Candidate) -> tuple[float, int]:
    """More images cost every later rung time, so that they must be worth it."""
    return -candidate.verification.tflite_top1, candidate.artifact.settings.num_calibration


def _best(candidates: Sequence[Candidate]) -> Candidate:
    """The one that loses least; of those that lose as much the smallest, of these the first."""
    return min(candidates, key=_loss)


def _tried(rung: Rung, candidate: Candidate, float_top1: float, max_drop: float, seconds: float) -> Try:
    artifact, top1 = candidate.artifact, candidate.verification.tflite_top1
    drop = float_top1 - top1
    kept = f": {', '.join(artifact.float_layers)}" if artifact.float_layers else ""
    return Try(
        rung=rung.name,
        words=f"{rung.words}{kept}",
        holds=drop <= max_drop,
        taken=False,
        drop_points=drop,
        top1=top1,
        size_bytes=artifact.size_bytes,
        downloaded_bytes=artifact.downloaded_bytes,
        median_ms=None,
        seconds=seconds,
        float_layers=artifact.float_layers,
        run=candidate.source.export_folder.parent.name,
        artifact_sha256=artifact.sha256,
    )


def _refused(rung: Rung, subject: Subject, reason: str, seconds: float) -> Try:
    return Try(
        rung=rung.name,
        words=rung.words,
        holds=False,
        taken=False,
        drop_points=None,
        top1=None,
        size_bytes=None,
        downloaded_bytes=None,
        median_ms=None,
        seconds=seconds,
        float_layers=(),
        run=subject.source.export_folder.parent.name,
        artifact_sha256=None,
        refused=reason,
    )


def _measured(tries: Sequence[Try], candidates: Sequence[Candidate], taken: Candidate) -> tuple[Try, ...]:
    """The tries with what each file takes, all timed in one run, in turns."""
    from pipeline.bench.host import run_rounds
    from pipeline.bench.settings import BenchSettings

    settings = BenchSettings(num_runs=30, min_secs=0.3, max_secs=10.0, warmup_min_secs=0.2, num_rounds=6)
    result = run_rounds([candidate.path for candidate in candidates], settings)
    times = {
        each.measurement.artifact_sha256: each.measurement.median_ms if each.measurement.valid else None
        for each in result.measured
    }
    return tuple(_with_times(tries, times, taken.artifact.sha256))


def _with_times(tries: Sequence[Try], times: dict[str, float | None], taken: str) -> Iterator[Try]:
    found = False
    for each in tries:
        if each.artifact_sha256 is None:
            yield each
            continue
        is_taken = each.artifact_sha256 == taken and not found  # two rungs may give one and the same file
        found = found or is_taken
        yield dataclasses.replace(each, median_ms=times.get(each.artifact_sha256), taken=is_taken)
