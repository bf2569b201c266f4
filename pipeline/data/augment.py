"""Settings for augmenting training pixels; distort.py applies them. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, replace

SMALL_IMAGE = 96
"""Images up to this side are shifted; larger ones are cropped, as in the papers."""


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes of a training image in each epoch. The defaults change nothing."""

    shift_pixels: int = 0
    """Pad by this number of pixels and crop back: a shift by up to as many in each direction."""
    mirror: bool = False
    """Mirror left to right with probability 1/2."""
    min_crop_area: float = 1.0
    """A crop keeps at least this share of the area, at 3:4 to 4:3, and is resized back; 1 is no crop."""
    colour_jitter: float = 0.0
    """Brightness, contrast and saturation, each by a factor of 1 - jitter to 1 + jitter."""
    fill: int = 128
    """The grey level that a shift brings in; 128 is the papers' zero padding after normalisation."""

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
"""Smallest area that a crop keeps, as a share, for a model that is of none of our families."""


def preset(min_crop_area: float, *, image_size: int) -> Augment:
    """The augmentation for images of this side, for a family with this `min_crop_area`.

    Up to 96 pixels: DenseNet's C10+, a shift of an eighth (4 pixels at 32) and mirroring (Huang et al. 2017,
    section 4.1), for every family. Above: a crop and mirroring.
    """
    if image_size <= SMALL_IMAGE:
        return Augment(shift_pixels=image_size // 8, mirror=True)
    return Augment(min_crop_area=min_crop_area, mirror=True)


def suited(augment: Augment, *, mirror_keeps_labels: bool, background: int) -> Augment:
    """The same without changes that would make the labels wrong, filled with the data set's background."""
    return replace(augment, mirror=augment.mirror and mirror_keeps_labels, fill=background)
