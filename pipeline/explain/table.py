"""The layers of one or two files as a table that fits 80 columns; in a pipe it has more columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pipeline.explain.explanation import ExplainedFile, ExplainedLayer
from pipeline.explain.join import JoinedLayer, LayerGroup

if TYPE_CHECKING:
    from rich.table import Table

MISSING = "-"
WIDE = 120
"""At this width and above, shapes, zeros and distinct values are shown too."""
_SHORT = {
    "DEPTHWISE_CONV_2D": "DEPTHWISE",
    "FULLY_CONNECTED": "FULLY_CONN",
    "AVERAGE_POOL_2D": "AVG_POOL",
    "MAX_POOL_2D": "MAX_POOL",
    "CONCATENATION": "CONCAT",
    "TRANSPOSE_CONV": "TRANSP_CONV",
}
_SHORT_TYPES = {"float32": "fp32", "float16": "fp16"}


def layer_table(file: ExplainedFile, *, sort: str, top: int, width: int) -> Table:
    """The file's operators with type, bytes, MACs, time and error. `top` 0 shows all."""
    shown = sorted(file.running, key=_sort_key(sort))[: top or None]
    wide = width >= WIDE
    columns: list[tuple[str, Callable[[ExplainedLayer], str]]] = [
        ("type", _type),
        *([("output", lambda each: _shape(each.layer.output_shape))] if wide else []),
        ("kB", lambda each: _kilobytes(each.layer.weight_bytes)),
        *([("zeros", lambda each: _percent(each.layer.sparsity))] if wide else []),
        *([("distinct", lambda each: _count(each.layer.num_distinct))] if wide else []),
        ("M MACs", lambda each: _three_digits(each.layer.macs / 1e6) if each.layer.macs else MISSING),
        ("ms", lambda each: _three_digits(each.ms)),
        ("time", lambda each: _percent(each.time_share)),
        ("error", lambda each: _error(each.relative_error)),
    ]
    table = _empty(["layer", "operator"], [heading for heading, _ in columns])
    for each in shown:
        name = each.layer.layer or f"#{each.layer.index}"
        table.add_row(
            name, _operator(each.layer.operator, each.outside_xnnpack), *(cell(each) for _, cell in columns)
        )
    return table


def joined_table(layers: Sequence[JoinedLayer], *, sort: str, top: int) -> Table:
    """The layers of two files A and B, and the ratios B/A of bytes and time."""
    shown = sorted(layers, key=_joined_key(sort))[: top or None]
    with_errors = [
        place
        for place in ("this", "other")
        if any((group := getattr(each, place)) and group.relative_error is not None for each in layers)
    ]
    headings = ["A kB", "B kB", "B/A", "A ms", "B ms", "B/A"]
    headings += [f"{'A' if place == 'this' else 'B'} err" for place in with_errors]
    table = _empty(["layer", "operator"], headings)
    for each in shown:
        table.add_row(
            (each.this or each.other).label,  # type: ignore[union-attr]
            _operators(each),
            *(_kilobytes(group.weight_bytes) if group else MISSING for group in (each.this, each.other)),
            _ratio(each.bytes_ratio),
            *(_three_digits(group.ms) if group else MISSING for group in (each.this, each.other)),
            _ratio(each.time_ratio),
            *(_error(_error_of(getattr(each, place))) for place in with_errors),
        )
    return table


def _sort_key(sort: str) -> Callable[[ExplainedLayer], float]:
    """A key for ascending sort; missing figures come last, equal ones keep the order of execution."""
    return {
        "time": lambda each: -(each.ms or 0),
        "bytes": lambda each: -each.layer.weight_bytes,
        "error": lambda each: -(-1 if each.relative_error is None else each.relative_error),
        "order": lambda each: each.layer.index,
    }[sort]


def _joined_key(sort: str) -> Callable[[JoinedLayer], float]:
    def largest(value: Callable[[LayerGroup], float | None]) -> Callable[[JoinedLayer], float]:
        return lambda each: -max((value(group) or 0) for group in (each.this, each.other) if group)

    return {
        "time": largest(lambda group: group.ms),
        "bytes": largest(lambda group: group.weight_bytes),
        "error": largest(lambda group: group.relative_error),
        "order": lambda _: 0.0,
    }[sort]


def _empty(words: Sequence[str], numbers: Sequence[str]) -> Table:
    class PlainTable(Table):
        """A table that shows text literally, without rich's markup in brackets."""

        def add_row(self, *cells: str) -> None:  # type: ignore[override]
            """Adds a row like Table.add_row, without markup."""
            super().add_row(*map(Text, cells))

    table = PlainTable(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for word in words:
        table.add_column(Text(word), overflow="fold", min_width=9)
    for number in numbers:
        table.add_column(Text(number), justify="right", no_wrap=True)
    return table


def _type(each: ExplainedLayer) -> str:
    """'int8', followed by the weights' type if it differs."""
    types = [each.layer.dtype, *([each.layer.weights_dtype] if each.layer.weights_dtype else [])]
    return "/".join(dict.fromkeys(_SHORT_TYPES.get(name, name) for name in types))


def _operator(name: str, outside: bool | None) -> str:
    return _SHORT.get(name, name) + ("*" if outside else "")


def _operators(layer: JoinedLayer) -> str:
    """'MUL+ADD', or 'MUL+ADD | CONV_2D' if the two files differ."""
    found = [
        "+".join(dict.fromkeys(_SHORT.get(name, name) for name in group.operators))
        + "*" * group.outside_xnnpack
        for group in (layer.this, layer.other)
        if group
    ]
    return " | ".join(dict.fromkeys(found))


def _error_of(group: LayerGroup | None) -> float | None:
    return group.relative_error if group else None


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape[1:])) or MISSING


def _kilobytes(size_bytes: int) -> str:
    return _three_digits(size_bytes / 1e3) if size_bytes else MISSING


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{share:.0%}"


def _count(number: int | None) -> str:
    return MISSING if number is None else f"{number:,}"


def _error(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"


def _ratio(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _three_digits(value: float | None) -> str:
    if value is None:
        return MISSING
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}" if value >= 0.9995 else f"{value:.3f}"
