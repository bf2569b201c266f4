"""A first convolution with stride 2 that reads two columns of the image as one with twice the channels.

XNNPACK's int8 convolutions pad the channels at each kernel position to 8, on some processors to 4: 7x7 on 3
channels costs as much as 7x7 on 8, which is 392 products per value. On pairs of columns it is 7x4 on 6
channels, padded to 8: 224. Forming the pairs is free, since the memory layout does not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

_FILLED_CHANNELS = 8
_WIDE_KERNEL = 5
"""From this size on pairs cost hardly more even where channels are padded to 4: 7x7 by 4 is 196."""

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Zeros (above, below), (left, right)."""


@dataclass(frozen=True, kw_only=True)
class ColumnPairs:
    """How a convolution with stride 2 reads (batch, h, w, c) as (batch, h, w / 2, 2 * c)."""

    columns_before: int
    """1 if windows began at odd columns: the kernel then gets a column of zeros before it."""
    kernel_size: tuple[int, int]
    """Rows, and pairs of columns."""
    padding: Padding
    """Around the image, in rows and pairs of columns."""
    same: bool
    """Whether the convolution's own padding "same" gives this padding."""

    @property
    def config(self) -> dict[str, Any]:
        """The changed settings of the convolution."""
        padding = "same" if self.same else "valid"
        return {"kernel_size": self.kernel_size, "strides": (2, 1), "padding": padding}

    def prepare(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """The input of the convolution with this name, from an image."""
        _, height, width, channels = x.shape
        x = keras.layers.Reshape((height, width // 2, 2 * channels), name=f"{name}_pairs")(x)
        if self.same or not np.any(self.padding):
            return x
        return keras.layers.ZeroPadding2D(self.padding, name=f"{name}_pairs_pad")(x)

    def kernel(self, kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The kernel (h, w, c, filters) for pairs of columns."""
        rows, columns, channels, filters = kernel.shape
        wide = np.zeros((rows, 2 * self.kernel_size[1], channels, filters), np.float32)
        wide[:, self.columns_before : self.columns_before + columns] = kernel
        return wide.reshape(*self.kernel_size, 2 * channels, filters)


def column_pairs(
    conv: keras.layers.Conv2D, pad: keras.layers.ZeroPadding2D | None, image: keras.KerasTensor
) -> ColumnPairs | None:
    """How a convolution, with the zero padding before it, can read an image in pairs; None if it cannot."""
    _, height, width, channels = image.shape
    if (
        None in (height, width)
        or width % 2
        or 2 * channels > _FILLED_CHANNELS
        or conv.kernel_size[1] < _WIDE_KERNEL
        or (*conv.strides, *conv.dilation_rate, conv.groups) != (2, 2, 1, 1, 1)
        or (pad is not None and conv.padding != "valid")
    ):
        return None
    rows, columns = conv.kernel_size
    above_below, (left, _) = _padding(conv, pad, height, width)
    wide, before = (columns + left % 2 + 1) // 2, (left + 1) // 2
    padded = image.shape if pad is None else pad.compute_output_shape(image.shape)
    after = conv.compute_output_shape(padded)[2] - 1 + wide - width // 2 - before
    if after < 0:  # the convolution would read pairs at the right edge that no window reached
        return None
    padding = above_below, (before, after)
    return ColumnPairs(
        columns_before=left % 2,
        kernel_size=(rows, wide),
        padding=padding,
        same=padding == (_same(height, rows, 2), _same(width // 2, wide, 1)),
    )


def _padding(
    conv: keras.layers.Conv2D, pad: keras.layers.ZeroPadding2D | None, height: int, width: int
) -> Padding:
    if conv.padding == "same":
        return _same(height, conv.kernel_size[0], 2), _same(width, conv.kernel_size[1], 2)
    if pad is None:
        return (0, 0), (0, 0)
    above_below, left_right = pad.padding
    return tuple(above_below), tuple(left_right)


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """The zeros before and after with padding "same"."""
    needed = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return needed // 2, needed - needed // 2
