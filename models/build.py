"""Builds a Keras model from a family's name and knobs."""

from __future__ import annotations

import keras

from models.family import function_of
from models.registry import chosen_stem, family_of, label, resolve

NOT_FOR_BUILDERS = ("image_size", "stem", "scale", "offset")


def build(family: str, **knobs: object) -> keras.Model:
    """An untrained model that takes (batch, image_size, image_size, 3) raw 0-255 RGB pixels as float32.

    Returns (batch, num_classes) probabilities. The first layer, `pixels`, is a Rescaling; its default,
    (x - 128) / 128, is exact for an int8 input with scale 1/128 and zero point 0. The layer `logits` gives
    the class scores, the last layer, `probabilities`, their softmax. Raises KnobError for an unknown knob or
    a value out of range.
    """
    resolved = resolve(family, knobs)
    builder = function_of(family_of(family).builder)
    size = resolved["image_size"]
    image = keras.Input((size, size, 3), name="image")
    pixels = keras.layers.Rescaling(resolved["scale"], resolved["offset"], name="pixels")(image)
    own = {name: value for name, value in resolved.items() if name not in NOT_FOR_BUILDERS}
    logits = builder(pixels, stem=chosen_stem(resolved), **own)
    probabilities = keras.layers.Softmax(name="probabilities")(logits)
    return keras.Model(image, probabilities, name=label(family, knobs))


def build_without_weights(family: str, **knobs: object) -> keras.Model:
    """The same layers and shapes as build(), to compute costs from; four times as fast.

    Weights have shapes but no values: the model cannot be run, trained or saved.
    """
    with keras.StatelessScope(initialize_variables=False):
        return build(family, **knobs)
