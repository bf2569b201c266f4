"""scikit-learn's digits, drawn at 32x32 RGB: embedded, no download."""

from __future__ import annotations

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from pipeline.data import arrays
from pipeline.data.assembly import Described
from pipeline.data.dataset import Dataset
from pipeline.data.spec import Progress, ReadSettings

SIDE = 32
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
"""A fifth for the test split, so that one of its few images is 0.3 points, not 0.6."""


def load(*, settings: ReadSettings, progress: Progress | None = None) -> Dataset:
    """1,797 images of 10 classes; 8x8 levels of 0-16 become 32x32 of 0-255, enlarged with a bilinear filter.

    E. Alpaydin, C. Kaynak 1998, Optical Recognition of Handwritten Digits, UCI machine learning repository.
    """
    del progress
    found = load_digits()
    levels = np.rint(found.images * (255 / 16)).astype(np.uint8)
    drawn = [Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for image in levels]
    images = np.stack([np.asarray(image.convert("RGB")) for image in drawn])
    described = Described(
        name="digits",
        source="scikit-learn",
        class_names=tuple(str(digit) for digit in range(10)),
        image_size=SIDE,
        licence="CC BY 4.0 (UCI machine learning repository)",
        mirror_keeps_labels=False,
        background=0,
    )
    return arrays.dataset(described, {"all": (images, found.target)}, shares=SHARES, settings=settings)
