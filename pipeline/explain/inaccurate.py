"""Where a file loses accuracy."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.explain.explanation import ComparedFile, ExplainedFile, ExplainedLayer
from pipeline.explain.finding import Finding, name_of
from spelling import counted

WORTH_GROWTH = 0.1
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")


def worst_layer(file: ExplainedFile) -> Iterator[Finding]:
    """The layer where the error grows most."""
    known = [each for each in file.running if each.error_growth is not None]
    # every file quantizes the softmax or sigmoid at its end, and that cannot be changed
    known = [each for each in known if each.layer.operator != "SOFTMAX"]
    if known and known[-1].layer.operator == "LOGISTIC" and known[-1] is _last(file):
        known.pop()
    worst = max(known, key=lambda each: each.error_growth or 0, default=None)
    if worst is None or (worst.error_growth or 0) < WORTH_GROWTH:
        return
    assert worst.error_growth is not None
    assert worst.relative_error is not None
    assert isinstance(file.comparison, ComparedFile)
    before = worst.relative_error - worst.error_growth
    yield Finding(
        kind="error_growth",
        file=file.path,
        weight=min(1.0, 0.3 + worst.error_growth),
        text=f"the error grows most at {name_of(worst)}: from {before:.2f} to {worst.relative_error:.2f} "
        "(0 is equal to Keras, 1 all lost; "
        f"{counted(file.comparison.num_samples, f'{file.comparison.split} image')}). Its "
        "channels share one scale, which suits some of them badly: try quantization-aware training "
        "(`pipeline compress --qat`), or leave this layer in float (`pipeline export --keep-float`).",
    )


def scale_a_tensor(file: ExplainedFile) -> Iterator[Finding]:
    """Convolutions with one scale for all channels."""
    convolutions = [each for each in file.running if each.layer.operator in _CONVOLUTIONS]
    coarse = [each for each in convolutions if each.layer.per_channel is False]
    coarse = [each for each in coarse if each.layer.output_shape[-1:] != (1,)]
    if not coarse:
        return
    yield Finding(
        kind="scale_a_tensor",
        file=file.path,
        weight=0.2,
        text=f"the weights of {len(coarse)} of {len(convolutions)} convolutions have one scale for all "
        f"channels (first {name_of(coarse[0])}): one wide channel costs all others their accuracy. "
        "`pipeline export --int8` writes a scale a channel.",
    )


def _last(file: ExplainedFile) -> ExplainedLayer | None:
    """The layer with the network's output, before conversions of its type; None without any."""
    own = [each for each in file.running if each.layer.operator not in ("QUANTIZE", "DEQUANTIZE")]
    return own[-1] if own else None
