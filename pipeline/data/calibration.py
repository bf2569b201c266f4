"""Images to calibrate a model with, chosen from a data set."""

from __future__ import annotations

from dataclasses import replace

import keras

from export.quantization.calibrate import CalibrationImages
from export.quantization.typical import typical_images
from pipeline.data.dataset import Dataset
from pipeline.data.spec import image_shape_of


def calibration_images(
    model: keras.Model,
    dataset: Dataset,
    *,
    num_samples: int,
    seed: int,
    typical: bool,
    address: str | None = None,
) -> CalibrationImages:
    """Images of the training split, and which they are; `typical` leaves odd ones out.

    `address` is the data set's, if it is recorded since it is not that of the training.
    """
    pixels, record = dataset.calibration_pixels(
        image_size=image_shape_of(model),
        num_samples=num_samples,
        seed=seed,
        choose=(lambda pixels: typical_images(model, pixels)) if typical else None,
    )
    return CalibrationImages(pixels=pixels, record=replace(record, data=address))
