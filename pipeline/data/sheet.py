"""A contact sheet: training images as a network sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.data.augment import Augment

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset

PER_CLASS = 8
MAX_CLASSES = 20
LABEL_WIDTH = 140
GAP = 4
FONT_SIZE = 14
BATCH = 64


def draw(dataset: Dataset, *, image_size: int, augment: Augment, seed: int = 0) -> Image.Image:
    """8 training images, augmented as in epoch 0 of this seed, in a row for each of the first 20 classes.

    140 + 8 * (image_size + 4) pixels wide, a row image_size + 4 high.
    """
    names = dataset.spec.class_names[:MAX_CLASSES]
    cell = image_size + GAP
    sheet = Image.new("RGB", (LABEL_WIDTH + PER_CLASS * cell, len(names) * cell + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=FONT_SIZE)
    for row, name in enumerate(names):
        pen.text((GAP, GAP + row * cell + cell // 2 - FONT_SIZE), name, fill="black", font=font)
    drawn = [0] * len(names)
    batches = dataset.training_batches(
        image_size=image_size, batch_size=BATCH, augment=augment, seed=seed, epoch=0
    )
    for images, labels in batches:
        for image, label in zip(images.numpy(), labels.numpy(), strict=True):
            for row in np.flatnonzero(label) if np.ndim(label) else [int(label)]:
                if row < len(names) and drawn[row] < PER_CLASS:
                    place = (LABEL_WIDTH + drawn[row] * cell, GAP + int(row) * cell)
                    sheet.paste(Image.fromarray(np.rint(image).astype(np.uint8)), place)
                    drawn[row] += 1
        if min(drawn) == PER_CLASS:
            break
    return sheet
