"""Small folders of real image files, made with Pillow, for the tests of any package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed, *, width=40, height=40):
    """A smooth coloured picture of its own, as photographs are, so that JPEG keeps it nearly as it is."""
    corners = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)


def fill(folder: Path, *, classes=("cat", "dog"), per_class=40, suffix="png", **size) -> Path:
    """FOLDER/CLASS/NUMBER.suffix; no two pictures are equal."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            picture([label, number], **size).save(folder / name / f"{number}.{suffix}")
    return folder
