"""Computes a training in bfloat16: variables, the scaled pixels and the class scores stay float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import tensorflow as tf

from keras_graph.walk import named_layers

POLICY = "mixed_bfloat16"
"""bfloat16 has float32's range, so that no loss has to be scaled."""
_CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""Linux's words for them: x86's, and ARM's."""
_AMPERE = (8, 0)
"""The compute capability of the first NVIDIA GPUs with bfloat16."""


@contextmanager
def in_bfloat16(model: keras.Model, *, head: str) -> Iterator[None]:
    """Within it, the model's layers up to `head` compute in bfloat16; afterwards as before.

    A function traced within it keeps its types. `head` and what follows compute in float32 (Micikevicius et
    al. 2018, arXiv:1710.03740, section 3.3: softmax and large sums), as do rescalings of raw pixels.
    """
    changed = [(layer, layer.dtype_policy) for layer in _before(model, head)]
    for layer, _ in changed:
        layer.dtype_policy = POLICY
    try:
        yield
    finally:
        for layer, policy in changed:
            layer.dtype_policy = policy


def _before(model: keras.Model, head: str) -> list[keras.layers.Layer]:
    layers = [layer for _, layer in named_layers(model)]
    names = [layer.name for layer in layers]
    kept = (keras.layers.InputLayer, keras.layers.Rescaling)
    return [layer for layer in layers[: names.index(head)] if not isinstance(layer, kept)]


def why_slow() -> str:
    """Why bfloat16 is slower than float32 on this machine; empty if it is not, or cannot be told."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        capability = details.get("compute_capability")
        name = details.get("device_name", gpus[0].name)
        if capability is not None and capability < _AMPERE:
            return f"{name} computes no bfloat16"
        return ""
    flags = _cpu_flags()
    return (
        "" if not flags or flags & _CPU_FLAGS else "this CPU has no instructions for bfloat16 (AVX512-BF16)"
    )


def _cpu_flags() -> set[str]:
    """What the processor can do, in Linux's words; empty where that is not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {
        flag
        for line in lines
        if line.split(":")[0].strip() in ("flags", "Features")
        for flag in line.partition(":")[2].split()
    }
