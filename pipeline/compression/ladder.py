"""Finds the cheapest way to an int8 file within a given drop, by trying one after another.

First other calibration ranges, equalizing and a few layers in float; then training; last, ever more layers in
float, until all are. attempts.py makes and checks the files.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from export.artifact import ExportArtifact
from export.errors import ExportError
from export.verification import Verification, points_lost
from pipeline.errors import PipelineError
from spelling import counted

if TYPE_CHECKING:
    from pipeline.lineage import KerasSource

FEW_IMAGES, MANY_IMAGES = 200, 1000
_MOST_NAMED = 16

Tell = Callable[[str], None]
Attempt = Callable[["Rung", Sequence["Candidate"]], "Candidate"]
Skips = Callable[["Rung", Sequence["Candidate"]], bool]
TimeFiles = Callable[[Sequence[Path]], Mapping[str, float | None]]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One attempt. Settings that it leaves open are those of the best file so far."""

    name: str
    words: str
    """What it does."""
    num_calibration: int | None = None
    """Number of training images to calibrate with."""
    typical: bool = False
    """Leave out the images that widen the ranges most."""
    equalize: bool | None = None
    """Equalize channels and correct biases; None: where it lowers the error."""
    num_float: int = 0
    """Number of activations, where the error grows most, that stay in float with the layers around them."""
    trains: bool = False


@dataclass(frozen=True, kw_only=True)
class Try:
    """The result of a rung; None for values that are missing because no file could be made."""

    rung: str
    words: str
    holds: bool
    """Its drop is within the limit."""
    taken: bool
    drop_points: float | None
    """Top-1 of the float model minus the file's, percentage points on the validation split."""
    top1: float | None
    """Percent, of the file."""
    size_bytes: int | None
    downloaded_bytes: int | None
    median_ms: float | None
    """On this machine with one thread, all tries in turns."""
    seconds: float
    """Time to make and check it."""
    float_layers: tuple[str, ...]
    run: str
    """The run whose file it is."""
    artifact_sha256: str | None
    refused: str = ""
    """Why there is no file."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A file in the scratch folder, with its sidecar, checked on the validation split."""

    path: Path
    artifact: ExportArtifact
    verification: Verification
    source: KerasSource
    """The model that it was made from: the subject's, or the one trained quantized."""


@dataclass(frozen=True, kw_only=True)
class Climb:
    """All tries in order, and the chosen file."""

    tries: tuple[Try, ...]
    float_top1: float
    """Top-1 of the Keras model on the validation split, percent."""
    taken: Candidate
    """The first within the limit, or else the one with the smallest drop."""

    @property
    def holds(self) -> bool:
        """Whether the chosen file's drop is within the limit."""
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


def _in_float(number: int) -> Rung:
    words = f"float where the error grows most: {counted(number, 'activation')}"
    return Rung(name=f"float x{number}", words=words, num_float=number)


KEPT = tuple(map(_in_float, (1, 2, 4)))
MORE_KEPT = tuple(_in_float(2**power) for power in range(3, 11))
"""Slower and larger with each, and so after the training."""
EVERYWHERE = 2**20
ALL_KEPT = Rung(
    name="float", words="every layer in float; the input and the output stay int8", num_float=EVERYWHERE
)
QAT = Rung(name="qat", words="quantization-aware training", trains=True)


def rungs(num_train: int, *, trains: bool) -> tuple[Rung, ...]:
    """The rungs, cheapest first; the one with more images only if the training split has more."""
    more = (MORE_IMAGES,) if num_train > FEW_IMAGES else ()
    return (CALIBRATION, *more, TYPICAL, EQUALIZE, *KEPT, *((QAT,) if trains else ()), *MORE_KEPT, ALL_KEPT)


def climb(
    steps: Sequence[Rung],
    attempt: Attempt,
    time_files: TimeFiles,
    *,
    skips: Skips,
    max_drop: float,
    run: str,
    tell: Tell,
) -> Climb:
    """Tries one rung after another until a file's drop is at most `max_drop` points, then times all files.

    `attempt(rung, candidates so far)` makes and checks a file; `skips(rung, candidates so far)` says whether
    the model is too small for a rung; `time_files(paths)` returns the median ms of each by its sha256; `run`
    is the model's run. Raises ExportError if the first rung gives no file.
    """
    tries: list[Try] = []
    candidates: list[Candidate] = []
    float_top1 = 0.0
    for rung in steps:
        began = time.perf_counter()
        try:
            if skips(rung, candidates):
                continue
            tell(f"trying {rung.name}: {rung.words} ...")
            candidate = attempt(rung, candidates)
        except (ExportError, PipelineError) as error:
            if not candidates:
                raise
            tries.append(_refused(rung, run, str(error), time.perf_counter() - began))
            tell(f"{rung.name}: {error}")
            continue
        if not candidates:
            assert candidate.verification.keras_score is not None  # it is compared with its Keras model
            float_top1 = candidate.verification.keras_score
        candidates.append(candidate)
        tries.append(_tried(rung, candidate, float_top1, max_drop, time.perf_counter() - began))
        tell(f"{rung.name}: {tries[-1].drop_points:+.2f} points lost, {tries[-1].size_bytes:,} bytes")
        if tries[-1].holds:
            break
    taken = _best(candidates)
    times = time_files([candidate.path for candidate in candidates])
    timed = tuple(_with_times(tries, times, taken.artifact.sha256))
    return Climb(tries=timed, float_top1=float_top1, taken=taken)


def _loss(candidate: Candidate) -> tuple[float, int]:
    return -candidate.verification.tflite_score, candidate.artifact.size_bytes


def _best(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate with the smallest drop; of equal ones the smallest file, then the first."""
    return min(candidates, key=_loss)


def _tried(rung: Rung, candidate: Candidate, float_top1: float, max_drop: float, seconds: float) -> Try:
    artifact, top1 = candidate.artifact, candidate.verification.tflite_score
    drop = points_lost(float_top1, top1)
    layers = artifact.float_layers
    kept = ", ".join(layers) if len(layers) <= _MOST_NAMED else f"{len(layers)} layers, named in its sidecar"
    return Try(
        rung=rung.name,
        words=f"{rung.words}: {kept}" if kept else rung.words,
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


def _refused(rung: Rung, run: str, reason: str, seconds: float) -> Try:
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
        run=run,
        artifact_sha256=None,
        refused=reason,
    )


def _with_times(tries: Sequence[Try], times: Mapping[str, float | None], taken: str) -> Iterator[Try]:
    found = False
    for each in tries:
        if each.artifact_sha256 is None:
            yield each
            continue
        is_taken = each.artifact_sha256 == taken and not found  # two rungs may give one and the same file
        found = found or is_taken
        yield dataclasses.replace(each, median_ms=times.get(each.artifact_sha256), taken=is_taken)
