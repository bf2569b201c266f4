"""The precisions of exported files, one row each, for command line, converter, checks and sidecar.

Standard library only.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal, Self

from export.rewrites import Rewrite, RewriteBounds

IoDtype = Literal["float32", "int8", "uint8"]
"""How input and output are stored."""

_IN_FLOAT = (Rewrite.FOLD_BATCH_NORM, Rewrite.DEPTHWISE_BATCH_NORM, Rewrite.DROP_IDENTITY, Rewrite.POOL_FIRST)
MAX_PLAIN_NORM_CHANNELS = 16
"""In float, without a ReLU after it: measured to help at 16; from 64 on MUL and ADD are as fast."""
MAX_FLOAT_WEIGHTS = 1023
"""Weights of one operator; the converter stores larger ones as int8 in a dynamic file, and a depthwise
convolution with int8 weights and float activations has no fast kernel."""
MAX_POOL_GROWTH = 1
"""In int8, for an average pooling that is not rewritten: it has no fast kernel, a 1x1 convolution has one."""
_NO_BOUNDS = RewriteBounds()
_FLOAT_BOUNDS = RewriteBounds(max_plain_norm_channels=MAX_PLAIN_NORM_CHANNELS)


@dataclass(frozen=True, kw_only=True)
class PrecisionSpec:
    """The properties of one precision."""

    help: str
    """For the command line."""
    aliases: tuple[str, ...] = ()
    """Other names of its flag."""
    is_default: bool = False
    """Exported when no precision is asked for."""
    is_calibrated: bool = False
    """Needs calibration images, unless it uses the model's trained quantizers."""
    takes_quantizers: bool = False
    """Uses the model's trained quantizers, if it has any."""
    is_integer: bool = False
    """Integers throughout, input and output too: a float operator left in the file is an error."""
    io_dtypes: tuple[IoDtype, ...] = ("float32",)
    """Of input and output; the first is the default."""
    options: frozenset[str] = frozenset()
    """The fields of ExportSettings that it takes besides those that every precision takes."""
    rewrites: tuple[Rewrite, ...] = _IN_FLOAT
    """Those that make its files faster, and none slower."""
    bounds: RewriteBounds = _NO_BOUNDS
    """How far they do."""
    is_optimized: bool = True
    """Whether the converter's optimizations (quantization) are on."""
    weight_types: tuple[str, ...] = ()
    """Name in tf of the type that weights are stored as, if not int8."""
    op_sets: tuple[str, ...] = ()
    """Names in tf.lite.OpsSet. With float kernels as a fallback all float operators can be reported at once;
    if there are none, the file is the same."""
    crashes_on: tuple[str, ...] = ()
    """TensorFlow operations that crash the converter."""


class Precision(enum.StrEnum):
    """How weights and activations are stored in the file; `spec` is its row."""

    spec: PrecisionSpec

    FLOAT32 = (
        "float32",
        PrecisionSpec(
            help="Weights and activations as trained.",
            aliases=("fp32",),
            is_default=True,
            options=frozenset({"sparse"}),
            bounds=_FLOAT_BOUNDS,
            is_optimized=False,
        ),
    )
    FLOAT16 = (
        "float16",
        PrecisionSpec(
            help="Weights in half the bytes.",
            aliases=("fp16",),
            bounds=_FLOAT_BOUNDS,
            weight_types=("float16",),
        ),
    )
    DYNAMIC = (
        "dynamic",
        PrecisionSpec(
            help="int8 weights, activations quantized while it runs.",
            bounds=RewriteBounds(
                max_norm_channels=MAX_FLOAT_WEIGHTS, max_plain_norm_channels=MAX_PLAIN_NORM_CHANNELS
            ),
        ),
    )
    INT8 = (
        "int8",
        PrecisionSpec(
            help="Integers throughout, in and out; calibrated.",
            is_default=True,
            is_calibrated=True,
            takes_quantizers=True,
            is_integer=True,
            io_dtypes=("int8", "uint8"),
            options=frozenset({"equalize", "keep_float", "typical"}),
            rewrites=tuple(Rewrite),
            bounds=RewriteBounds(max_pool_growth=MAX_POOL_GROWTH),
            op_sets=("TFLITE_BUILTINS_INT8", "TFLITE_BUILTINS"),
            # what becomes TFLite's EXP; TensorFlow 2.21
            crashes_on=("Exp", "Softplus", "Selu"),
        ),
    )
    INT16X8 = (
        "int16x8",
        PrecisionSpec(
            help="int16 activations, int8 weights; calibrated.",
            is_calibrated=True,
            options=frozenset({"typical"}),
            op_sets=("EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",),
        ),
    )

    def __new__(cls, name: str, *row: PrecisionSpec) -> Self:
        """A member whose value is its name; Precision(name) finds it."""
        member = str.__new__(cls, name)
        member._value_ = name
        (member.spec,) = row
        return member

    def is_calibrated(self, *, has_quantizers: bool) -> bool:
        """Whether ranges are read from images, for a model with or without trained quantizers."""
        return self.spec.is_calibrated and not (has_quantizers and self.spec.takes_quantizers)
