"""Explains one or two .tflite files: reads, times and compares their operators."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.artifact import read_sidecar
from export.errors import BadModelFileError
from export.tflite.download_size import downloaded_bytes
from export.tflite.inspect import read_tflite
from export.tflite.layer import FileLayers
from export.tflite.layers import read_layers
from pipeline.explain.accuracy import compare_with_keras
from pipeline.explain.explanation import ComparedFile, ExplainedFile, NotCompared, explained_layers
from pipeline.explain.timing import FileToTime, NotTimed, TimedFile, TimingSettings, time_operators


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to measure in addition to reading the file."""

    timing: TimingSettings | None
    """None for no times."""
    errors: bool
    """Whether to compare the layers with those of the Keras model."""
    model: Path | None = None
    """The Keras model, if it is not beside the file."""
    data: str | None = None
    """The data set, if it is not that of the training."""


def explain_files(paths: Sequence[Path], wanted: Wanted) -> list[ExplainedFile]:
    """The explanation of each file, in order; their times are measured in turns.

    BadModelFileError for anything but a complete .tflite file.
    """
    contents = {path: read_tflite(path) for path in paths}
    read = {path: _layers(path, content) for path, content in contents.items()}
    times = _times(read, wanted.timing)
    return [
        _explained(path, contents[path], read[path], times[path], _compare(path, wanted)) for path in paths
    ]


def zeros_share(layers: FileLayers) -> float | None:
    """The share of zeros among the weights stored densely; None without any."""
    found = [
        (each.sparsity, each.num_parameters)
        for each in layers.layers
        if each.sparsity is not None and not each.stored_sparse
    ]
    whole = sum(count for _, count in found)
    return sum(share * count for share, count in found) / whole if whole else None


def _layers(path: Path, content: bytes) -> FileLayers:
    return read_layers(content, name=str(path), tensor_names=_names_beside(path, content))


def _names_beside(path: Path, content: bytes) -> tuple[str, ...]:
    """The tensors' names in the file's sidecar; empty without one, or if it is another file's."""
    try:
        artifact = read_sidecar(path)
    except (FileNotFoundError, BadModelFileError):
        return ()
    return artifact.tensor_names if artifact.sha256 == hashlib.sha256(content).hexdigest() else ()


def _times(read: dict[Path, FileLayers], settings: TimingSettings | None) -> dict[Path, TimedFile | NotTimed]:
    if settings is None:
        return dict.fromkeys(read, NotTimed(reason="left out with --no-time"))
    files = [FileToTime(path=path, layers=found.layers) for path, found in read.items()]
    return dict(zip(read, time_operators(files, settings), strict=True))


def _compare(path: Path, wanted: Wanted) -> ComparedFile | NotCompared:
    if not wanted.errors:
        return NotCompared(reason="left out with --no-error")
    return compare_with_keras(path, model=wanted.model, data=wanted.data)


def _explained(
    path: Path,
    content: bytes,
    found: FileLayers,
    timing: TimedFile | NotTimed,
    comparison: ComparedFile | NotCompared,
) -> ExplainedFile:
    return ExplainedFile(
        path=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        downloaded_bytes=downloaded_bytes(content),
        bytes=found.bytes,
        macs=sum(each.macs for each in found.layers),
        num_parameters=sum(each.num_parameters for each in found.layers),
        zeros_share=zeros_share(found),
        layers=explained_layers(found.layers, timing, comparison),
        timing=timing,
        comparison=comparison,
    )
