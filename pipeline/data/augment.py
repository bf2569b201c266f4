"""What is done to training pixels, as settings. Standard library only; distort.py does it."""

from __future__ import annotations

from dataclasses import dataclass, replace

SMALL_IMAGE = 96
"""Up to this side images are shifted; larger ones are cropped, as the papers did."""


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How a training image differs each time it is seen. The defaults change nothing."""

    shift_pixels: int = 0
    """Pad by so many pixels and crop back: a shift of up to so many pixels each way."""
    mirror: bool = False
    """Left to right, every second time."""
    min_crop_area: float = 1.0
    """A crop keeps this share of the area or more, at 3:4 to 4:3, and is resized back; 1 is no crop."""
    colour_jitter: float = 0.0
    """Brightness, contrast and saturation, each by a factor of 1 - jitter to 1 + jitter."""
    fill: int = 128
    """The grey level that a shift brings in; 128 is what the papers' zero padding after normalisation is."""

    def __post_init__(self) -> None:
        if self.shift_pixels < 0:
            raise ValueError(f"shift_pixels is {self.shift_pixels}; 0 or more was expected")
        if not 0 < self.min_crop_area <= 1:
            raise ValueError(f"min_crop_area is {self.min_crop_area}; more than 0, up to 1 was expected")
        if not 0 <= self.colour_jitter < 1:
            raise ValueError(f"colour_jitter is {self.colour_jitter}; 0 or more, below 1 was expected")
        if not 0 <= self.fill <= 255:
            raise ValueError(f"fill is {self.fill}; 0 to 255 was expected")


NONE = Augment()

FOREIGN_CROP_AREA = 0.5
"""The least share of the area that a crop keeps, for a model of none of our families."""


def preset(min_crop_area: float, *, image_size: int) -> Augment:
    """What is done to images of this side in the training of a family with this `min_crop_area`.

    Up to 96 pixels: DenseNet's C10+, a shift of an eighth (4 pixels at 32) and mirroring (Huang et al. 2017,
    section 4.1), for every family. Above: a crop and mirroring.
    """
    if image_size <= SMALL_IMAGE:
        return Augment(shift_pixels=image_size // 8, mirror=True)
    return Augment(min_crop_area=min_crop_area, mirror=True)


def suited(augment: Augment, *, mirror_keeps_labels: bool, background: int) -> Augment:
    """The same without what would make a data set's labels wrong, filled with its background's grey level."""
    return replace(augment, mirror=augment.mirror and mirror_keeps_labels, fill=background)
