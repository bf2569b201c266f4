"""The explanation of one or two files, layer by layer, as records. Imports no runtime."""

from __future__ import annotations

from dataclasses import dataclass

from export.tflite.layer import FileBytes, Layer
from export.verification import LayerError
from pipeline.explain.timing import NotTimed, TimedFile

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "CAST")
_INTEGER_ACTIVATIONS = ("int8", "uint8", "int16")


@dataclass(frozen=True, kw_only=True)
class ExplainedLayer:
    """One operator and its figures; None means not measured."""

    layer: Layer
    ms: float | None
    time_share: float | None
    """0 to 1, of the whole file's time, or of the operators' sum if that is larger."""
    outside_xnnpack: bool | None
    """Whether it runs in TFLite's own kernels; None if unknown."""
    relative_error: float | None
    """0 to 1: relative difference from the Keras layer's output (export.verification.LayerError)."""
    error_growth: float | None
    """relative_error minus the error of the worst layer that feeds it."""


@dataclass(frozen=True, kw_only=True)
class ComparedFile:
    """The error of each layer on a few images."""

    errors: tuple[LayerError, ...]
    dataset: str
    split: str
    num_samples: int


@dataclass(frozen=True, kw_only=True)
class NotCompared:
    """Why the layers were not compared with the Keras model's, and how to get it."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class ExplainedFile:
    """A file with all its operators, in the order in which they run."""

    path: str
    sha256: str
    size_bytes: int
    downloaded_bytes: int
    """Compressed with brotli (export.tflite.download_size)."""
    bytes: FileBytes
    macs: int
    num_parameters: int
    zeros_share: float | None
    """Share of zeros among the weights stored densely; None without any."""
    layers: tuple[ExplainedLayer, ...]
    timing: TimedFile | NotTimed
    comparison: ComparedFile | NotCompared

    @property
    def timed(self) -> TimedFile | None:
        """The timing; None if it was not measured."""
        return self.timing if isinstance(self.timing, TimedFile) else None

    @property
    def running(self) -> tuple[ExplainedLayer, ...]:
        """The operators that run for each image, without those that a runtime runs while loading."""
        return tuple(each for each in self.layers if not each.layer.on_loading)

    @property
    def inner_conversions(self) -> tuple[ExplainedLayer, ...]:
        """Operators that only convert numbers, except those at the file's input and output."""
        read = {tensor for each in self.running for tensor in each.layer.inputs}
        made = {tensor for each in self.running for tensor in each.layer.outputs}
        return tuple(
            each
            for each in self.running
            if each.layer.operator in CONVERSIONS
            and not made.isdisjoint(each.layer.inputs)
            and not read.isdisjoint(each.layer.outputs)
        )

    @property
    def is_integer(self) -> bool:
        """Whether some operator with weights has an integer output: an int8 or int16x8 file."""
        return any(each.layer.macs and each.layer.dtype in _INTEGER_ACTIVATIONS for each in self.running)


def explained_layers(
    layers: tuple[Layer, ...], timing: TimedFile | NotTimed, comparison: ComparedFile | NotCompared
) -> tuple[ExplainedLayer, ...]:
    """Each operator with its time and its error."""
    timed = timing if isinstance(timing, TimedFile) else None
    errors = comparison.errors if isinstance(comparison, ComparedFile) else ()
    places = _places(layers, errors)
    return tuple(_explained(layer, timed, places.get(layer.index)) for layer in layers)


def _explained(layer: Layer, timed: TimedFile | None, error: LayerError | None) -> ExplainedLayer:
    ms = timed.operators_ms.get(layer.index) if timed else None
    outside = timed.outside_xnnpack if timed else None
    return ExplainedLayer(
        layer=layer,
        ms=ms,
        time_share=None if ms is None or timed is None else ms / max(timed.whole_ms, timed.sum_ms),
        outside_xnnpack=None if outside is None or ms is None else layer.index in outside,
        relative_error=error.relative_error if error else None,
        error_growth=error.growth if error else None,
    )


def _places(layers: tuple[Layer, ...], errors: tuple[LayerError, ...]) -> dict[int, LayerError]:
    """Operator -> the error of its output, which is that of the last layer fused into it."""
    running = [each for each in layers if not each.on_loading and each.dtype in _INTEGER_ACTIVATIONS]
    places: dict[int, LayerError] = {}
    for error in errors:
        found = [each.index for each in running if error.layer in each.fused_layers]
        if found:
            places[found[-1]] = error
        elif error is errors[-1] and running:  # the file's output is named after no layer
            places[running[-1].index] = error
    return places
