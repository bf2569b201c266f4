"""An image classifier of another tool: a .tflite file without a sidecar, read for what can be verified."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.artifact import ZERO_PIXEL, TensorInfo
from export.check.runner import Floats, check_runs
from export.errors import ExportError
from export.head import Head
from export.limits import CLASSES
from export.pixel_conventions import RAW_PIXELS, PixelConvention
from export.tflite.content import FileContents
from export.tflite.inspect import inspect_bytes, read_tflite
from export.tflite.metadata_reader import AppMetadata, read_app_metadata
from export.tflite.output import head_of_file
from spelling import counted, some

_IMAGE_TYPES = ("float32", "uint8", "int8")
_SCORE_TYPES = ("float32", "uint8", "int8")
_EXPECTED = (
    "Expected an image classifier: one image of one or three channels in, one score for each class out."
)


@dataclass(frozen=True, kw_only=True)
class ForeignFile:
    """An image classifier that another tool wrote."""

    path: Path
    contents: FileContents
    shape: tuple[int, int, int]
    """Height, width, channels."""
    channels_first: bool
    """Whether its input is (1, channels, height, width)."""
    head: Head
    class_names: tuple[str, ...] | None
    """From the labels file inside it."""
    pixels: PixelConvention
    """What it is fed, unless the user says otherwise."""
    pixels_from: str
    """Where that is from, in words; empty for raw pixels as a mere assumption."""

    def stored(self, fed: Floats) -> npt.NDArray[Any]:
        """(n, height, width, channels) real values as stored in the input."""
        values = fed.transpose(0, 3, 1, 2) if self.channels_first else fed
        return _quantized(values, self.contents.inputs[0])


def read_foreign(path: Path) -> ForeignFile:
    """The file. BadModelFileError for a damaged one, ExportError for one that is no image classifier."""
    content = read_tflite(path)
    contents = inspect_bytes(content, name=str(path))
    refused = _not_a_classifier(contents.inputs, contents.outputs)
    if refused:
        raise ExportError(f"{path} {refused}. {_EXPECTED}{_other_signatures(contents)}")
    check_runs(path)
    metadata = read_app_metadata(content, name=str(path))
    shape, channels_first = _image_shape(contents.inputs[0].shape)
    pixels, pixels_from = _pixels(contents.inputs[0], metadata, num_channels=shape[2])
    head = head_of_file(contents)
    names = metadata.class_names
    return ForeignFile(
        path=path,
        contents=contents,
        shape=shape,
        channels_first=channels_first,
        head=head,
        class_names=names if names and len(names) == head.num_classes else None,
        pixels=pixels,
        pixels_from=pixels_from,
    )


def _other_signatures(contents: FileContents) -> str:
    """What to do about a file whose first graph is no classifier while other signatures are."""
    fitting = [each.name for each in contents.signatures if not _not_a_classifier(each.inputs, each.outputs)]
    if not fitting:
        return ""
    return (
        f" Of its signatures {some(fitting, quoted=True)} would be one, but a runtime that is not told a "
        "signature runs the first graph. Convert it alone: "
        f"tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=['{fitting[0]}'])"
    )


def _not_a_classifier(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> str:
    """Why a graph is no image classifier; empty if it is one."""
    if len(inputs) != 1:
        return f"takes {counted(len(inputs), 'input')} ({_shown(inputs)})"
    if len(outputs) != 1:
        return f"gives {counted(len(outputs), 'output')} ({_shown(outputs)})"
    takes, gives = inputs[0], outputs[0]
    if takes.dtype not in _IMAGE_TYPES:
        return f"takes {_shown([takes])}, whose type is none of {', '.join(_IMAGE_TYPES)}"
    if len(takes.shape) != 4 or takes.shape[0] != 1 or not {takes.shape[3], takes.shape[1]} & {1, 3}:
        return f"takes {_shown([takes])}, not one image"
    if min(_image_shape(takes.shape)[0][:2]) < 2:
        return f"takes {_shown([takes])}: the size of its images is not fixed"
    if gives.dtype not in _SCORE_TYPES:
        return f"gives {_shown([gives])}, no scores"
    num_outputs = math.prod(gives.shape)
    if max(gives.shape, default=0) != num_outputs or not num_outputs:
        return f"gives {_shown([gives])}, not one number for each class"
    if num_outputs > CLASSES:
        return f"gives {_shown([gives])}, more than {CLASSES:,} classes"
    return ""


def _image_shape(shape: tuple[int, ...]) -> tuple[tuple[int, int, int], bool]:
    """(height, width, channels) of an input, and whether it has its channels first."""
    _, one, two, three = shape
    return ((one, two, three), False) if three in (1, 3) else ((two, three, one), True)


def _pixels(stored: TensorInfo, metadata: AppMetadata, *, num_channels: int) -> tuple[PixelConvention, str]:
    """What the input is fed, and why: a byte of an integer input is the pixel, as apps store it."""
    if stored.dtype in ZERO_PIXEL:
        black = ZERO_PIXEL[stored.dtype]
        words = "the pixel" if not black else "pixel - 128"
        if not stored.scale:
            return RAW_PIXELS, f"its {stored.dtype} input takes {words}"
        convention = PixelConvention(
            name="", scale=(stored.scale,), offset=(stored.scale * (black - stored.zero_point),)
        )
        return convention.named(), f"its {stored.dtype} input takes {words}"
    mean, std = metadata.mean, metadata.std
    if not (mean and std) or {len(mean), len(std)} - {1, num_channels} or not all(std):
        return RAW_PIXELS, ""
    means, stds = np.broadcast_arrays(mean, std)
    convention = PixelConvention(
        name="", scale=tuple(map(float, 1 / stds)), offset=tuple(map(float, -means / stds))
    )
    return convention.named(), "its metadata says so"


def _quantized(values: Floats, stored: TensorInfo) -> npt.NDArray[Any]:
    if stored.dtype not in ZERO_PIXEL:
        return np.ascontiguousarray(values, np.float32)
    if stored.scale:
        scaled = np.rint(values / stored.scale) + stored.zero_point
    else:
        scaled = np.rint(values) + ZERO_PIXEL[stored.dtype]
    limits = np.iinfo(stored.dtype)
    quantized: npt.NDArray[Any] = np.clip(scaled, limits.min, limits.max).astype(stored.dtype)
    return quantized


def _shown(tensors: Any) -> str:  # noqa: ANN401
    return ", ".join(f"{each.dtype} {each.shape}" for each in tensors) or "nothing"
