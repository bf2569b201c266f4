"""An operator of a .tflite file with its figures, and the file's bytes by kind, as records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One operator of the file."""

    index: int
    """Its number in execution order."""
    operator: str
    version: int
    layer: str
    """The Keras layer that it computes; empty if the file's names do not say."""
    fused_layers: tuple[str, ...]
    """All layers that it computes: for fused convolution, BatchNormalization and ReLU, all three."""
    output_shape: tuple[int, ...]
    dtype: str
    """Of its (first) output."""
    weights_dtype: str
    """As stored; empty if it computes with no constant."""
    weight_bytes: int
    """Of all its constants as stored, biases too; a shared constant counts for the first operator."""
    num_parameters: int
    """Values in these constants that are computed with, without axes, shapes or indices."""
    sparsity: float | None
    """The share of zeros in its weights, without biases; None without weights."""
    stored_sparse: bool
    """Whether its weights are stored as a sparse tensor."""
    num_distinct: int | None
    """The number of distinct values in its weights."""
    macs: int
    """Multiply-accumulates for one image, of convolutions and dense layers only, as papers count them."""
    per_channel: bool | None
    """Whether its integer weights have one scale per channel; None for other weights."""
    computes_in_float: bool
    on_loading: bool
    """It reads constants only, so a runtime computes it once."""
    inputs: tuple[int, ...]
    """The activations that it reads, by index in the file."""
    outputs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class FileBytes:
    """A file's bytes by kind; they add up to its size."""

    weights: int
    quantization: int
    """Scales and zero points, and the ranges that some converters leave in the file."""
    names: int
    """Of tensors."""
    rest: int
    """The graph's structure, metadata, and constants that no operator reads."""


@dataclass(frozen=True, kw_only=True)
class FileLayers:
    """The operators of a file in execution order, and its bytes by kind."""

    layers: tuple[Layer, ...]
    bytes: FileBytes
