"""What makes a file large."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.explain.explanation import ExplainedFile
from pipeline.explain.finding import WORTH_OVERHEAD_SHARE, Finding
from pipeline.explain.join import groups

WORTH_BYTES_SHARE = 0.25
WORTH_ZEROS_SHARE = 0.3


def largest_layer(file: ExplainedFile) -> Iterator[Finding]:
    """The layer with the most bytes."""
    largest = max(groups(file), key=lambda each: each.weight_bytes, default=None)
    share = largest.weight_bytes / file.size_bytes if largest else 0
    if largest is None or share < WORTH_BYTES_SHARE:
        return
    stored = file.layers[largest.indices[-1]].layer.weights_dtype
    advice = {
        "float32": "Export --int8 to store it in a quarter, --float16 in half.",
        "float16": "Export --int8 to store it in half.",
    }.get(stored, "Make it narrower, or prune it (`pipeline compress`).")
    yield Finding(
        kind="largest_layer",
        file=file.path,
        weight=share * 0.5,
        text=f"the largest layer is {largest.label}: {share:.0%} of the file, {largest.weight_bytes:,} "
        f"bytes of {file.size_bytes:,} ({stored or 'no weights'}). {advice}",
    )


def zeros(file: ExplainedFile) -> Iterator[Finding]:
    """Zeros that are stored dense."""
    share = file.zeros_share
    if share is None or share < WORTH_ZEROS_SHARE:
        return
    yield Finding(
        kind="zeros",
        file=file.path,
        weight=share * 0.5,
        text=f"{share:.0%} of the weights are zeros but stored dense: the file on disk is no smaller "
        f"for them: {file.size_bytes:,} bytes. Downloaded it is {file.downloaded_bytes:,} bytes (brotli): "
        "ship it compressed, or remove whole channels instead.",
    )


def overhead(file: ExplainedFile) -> Iterator[Finding]:
    """Bytes that are not weights."""
    extra = file.bytes.quantization + file.bytes.names + file.bytes.rest
    share = extra / file.size_bytes
    if share < WORTH_OVERHEAD_SHARE:
        return
    yield Finding(
        kind="overhead",
        file=file.path,
        weight=share * 0.5,
        text=f"{share:.0%} of the file is not weights: {file.bytes.quantization:,} bytes of scales and "
        f"zero points, {file.bytes.names:,} of tensor names, {file.bytes.rest:,} of structure. "
        "A channel's scale takes 4 bytes, its zero point 8 where equal ones are not stored once"
        + (
            "; `pipeline export` leaves names out."
            if file.bytes.names > file.bytes.quantization / 10
            else "."
        ),
    )
