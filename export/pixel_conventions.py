"""The values that models are trained on, by convention: pixel * scale + offset, as RGB or BGR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

RGB, BGR = "rgb", "bgr"
CHANNELS = (RGB, BGR)
_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class PixelConvention:
    """What a model is fed: raw 0-255 pixel * scale + offset, one number or one for each channel.

    With `channels` "bgr" the image's channels are reversed first, so that scale and offset are in the
    model's order.
    """

    name: str
    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    channels: str = RGB

    def __call__(self, pixels: Floats) -> Floats:
        """(..., channels) raw 0-255 RGB -> what the model is fed."""
        import numpy as np

        ordered = pixels[..., ::-1] if self.channels == BGR else pixels
        fed: Floats = ordered * np.asarray(self.scale, np.float32) + np.asarray(self.offset, np.float32)
        return fed

    def undone(self, fed: Floats) -> Floats:
        """(..., channels) what the model is fed -> the raw pixels, RGB, that give it."""
        import numpy as np

        pixels: Floats = (fed - np.asarray(self.offset, np.float32)) / np.asarray(self.scale, np.float32)
        return pixels[..., ::-1] if self.channels == BGR else pixels

    def __str__(self) -> str:
        return f"{self.name}, BGR" if self.channels == BGR else self.name

    @property
    def options(self) -> str:
        """The options of `pipeline export` that say so: '--scale 0.00392157 --offset 0'."""
        words = f"--scale {_shown(self.scale)} --offset {_shown(self.offset)}"
        return words + (f" --channels {BGR}" if self.channels == BGR else "")

    @property
    def exact_options(self) -> str:
        """The same with all digits, for a command that makes the same file."""
        scale, offset = (",".join(map(repr, each)) for each in (self.scale, self.offset))
        words = f"--scale {scale} --offset {offset}"
        return words + (f" --channels {BGR}" if self.channels == BGR else "")

    @property
    def knobs(self) -> dict[str, Any]:
        """What a sidecar records of it."""
        found: dict[str, Any] = {"scale": _plain(self.scale), "offset": _plain(self.offset)}
        return found | ({"channels": BGR} if self.channels == BGR else {})

    def named(self) -> PixelConvention:
        """The same, with the usual name of its numbers, or else with the numbers."""
        known = [each for each in usual_conventions(3) if each.same_values(self)]
        name = known[0].name if known else f"pixel * {_shown(self.scale)} + {_shown(self.offset)}"
        return replace(self, name=name)

    def same_values(self, other: PixelConvention) -> bool:
        """Whether the other feeds the same values, to half a grey level."""
        import numpy as np

        if len({len(each) for each in (self.scale, self.offset, other.scale, other.offset)} - {1}) > 1:
            return False
        levels = np.asarray([[0, 1, 2], [253, 254, 255]], np.float32)
        width = max(map(len, (self.scale, self.offset, other.scale, other.offset)))
        levels = levels if width > 1 or BGR in (self.channels, other.channels) else levels[:, :1]
        largest = max(map(abs, (*self.scale, *other.scale)))
        return bool(np.abs(self(levels) - other(levels)).max() <= 0.5 * largest)


RAW_PIXELS = PixelConvention(name="0..255")
_IMAGENET = PixelConvention(
    name="ImageNet's mean and deviation",
    scale=tuple(1 / (255 * each) for each in (0.229, 0.224, 0.225)),
    offset=tuple(
        -mean / each for mean, each in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
    ),
)
_CAFFE = PixelConvention(name="Caffe's means", offset=(-103.939, -116.779, -123.68), channels=BGR)
_MNIST = PixelConvention(
    name="MNIST's mean and deviation", scale=(1 / (255 * 0.3081),), offset=(-0.1307 / 0.3081,)
)
_ONE_NUMBER = (
    RAW_PIXELS,
    PixelConvention(name="0..1", scale=(1 / 255,)),
    PixelConvention(name="-1..1", scale=(1 / 127.5,), offset=(-1.0,)),
)


def usual_conventions(num_channels: int) -> tuple[PixelConvention, ...]:
    """The usual conventions for images of one or three channels; others have the one-number ones only."""
    return _ONE_NUMBER + {1: (_MNIST,), 3: (_IMAGENET, _CAFFE)}.get(num_channels, ())


def with_channels_reversed(convention: PixelConvention) -> PixelConvention:
    """The same values with the channels in the other order."""
    return PixelConvention(
        name=convention.name,
        scale=convention.scale[::-1],
        offset=convention.offset[::-1],
        channels=RGB if convention.channels == BGR else BGR,
    )


def convention_of(knobs: Mapping[str, Any]) -> PixelConvention:
    """The convention that a sidecar records; raw pixels if it records none."""
    if not knobs:
        return RAW_PIXELS
    scale, offset = _numbers(knobs["scale"]), _numbers(knobs["offset"])
    return PixelConvention(name="", scale=scale, offset=offset, channels=knobs.get("channels", RGB)).named()


def _numbers(value: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, Sequence) else (float(value),)


def _plain(value: tuple[float, ...]) -> float | list[float]:
    return value[0] if len(value) == 1 else list(value)


def _shown(value: tuple[float, ...]) -> str:
    return ",".join(f"{each:.{_DIGITS}g}" for each in value)
