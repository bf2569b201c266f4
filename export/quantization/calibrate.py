"""The representative data set that the converter calibrates with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.artifact import Calibration
from export.errors import ExportError
from spelling import counted

Generator = Callable[[], Iterator[list[npt.NDArray[np.float32]]]]


@dataclass(frozen=True, kw_only=True)
class CalibrationImages:
    """Images to calibrate with."""

    pixels: npt.NDArray[np.uint8]
    """(n, height, width, channels) raw 0-255."""
    record: Calibration | None = None
    """Which images they are; None if unknown."""


def check_pixels(pixels: npt.NDArray[np.uint8] | None, shape: tuple[int, ...], precision: str) -> None:
    """Raises ExportError unless the pixels are (n, height, width, channels) uint8 of the model's shape."""
    expected = (
        f"Expected uint8 (n, {', '.join(map(str, shape))}), raw 0-255, from the training split: "
        "a few hundred images show which values occur inside the model."
    )
    if pixels is None:
        raise ExportError(f"no calibration pixels for {precision}. {expected}")
    if pixels.dtype != np.uint8 or pixels.shape[1:] != shape or not len(pixels):
        raise ExportError(f"calibration pixels are {pixels.dtype} {pixels.shape}. {expected}")
    check_varied(pixels)


def check_varied(pixels: npt.NDArray[np.uint8]) -> None:
    """Raises ExportError if every image (n, height, width, channels) has a single colour."""
    if (pixels == pixels[:, :1, :1]).all():
        raise ExportError(
            f"each of the {counted(len(pixels), 'calibration image')} is of one colour, so that the "
            "ranges they give "
            "would clip any photograph. Expected images such as the model will see: `pipeline data` shows "
            "what a folder holds."
        )


def with_full_range(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The pixels, with one black and one white pixel in a corner of the first image.

    This makes the input's quantization range exactly raw 0..255.
    """
    first = pixels[:1].copy()
    first[0, 0, 0] = 0
    first[0, -1, -1] = 255
    return np.concatenate([first, pixels[1:]])


def generator(
    pixels: npt.NDArray[np.uint8],
    values: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
    progress: Callable[[int, int], None] | None = None,
) -> Generator:
    """The converter's representative_dataset: float32 (1, height, width, channels), one image at a time.

    `values` turns raw pixels into the converted graph's input; `progress` is called with (done, all).
    """

    def images() -> Iterator[list[npt.NDArray[np.float32]]]:
        for done, image in enumerate(pixels, start=1):
            yield [values(image[np.newaxis].astype(np.float32))]
            if progress is not None:
                progress(done, len(pixels))

    return images
