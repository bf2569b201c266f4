"""The operators' times, as TFLite's tool prints them, or as CSV.

LiteRT's Python interpreter does not time operators. The list is real: the operators that run, their order,
and whether a delegate computes them. The times are whole runs' times, divided by each operator's arithmetic
(multiplications and additions, or else elements), so they add up to 99 % of a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from device_lab.tool.model_runtime import Model, Node
from device_lab.tool.timings import Timings

_XNNPACK_KERNEL = "TfLiteXNNPackDelegate"
_SHARED_OUT = 0.99
_LETTERS = {
    "float32": "F32",
    "float16": "F16",
    "int8": "QS8",
    "uint8": "QU8",
    "int16": "QS16",
    "int32": "S32",
}
_XNNPACK_NAMES = {
    "CONV_2D": "Convolution (NHWC, {weights}) IGEMM",
    "DEPTHWISE_CONV_2D": "Convolution (NHWC, {weights}) DWConv",
    "FULLY_CONNECTED": "Fully Connected (NC, {weights}) GEMM",
    "MEAN": "Mean (ND) Reduce2",
    "SOFTMAX": "Softmax (NC, {output})",
    "LOGISTIC": "Sigmoid (NC, {output})",
    "ADD": "Add (ND, {output})",
    "MUL": "Multiply (ND, {output})",
    "MAX_POOL_2D": "Max Pooling (NHWC, {output})",
    "AVERAGE_POOL_2D": "Average Pooling (NHWC, {output})",
    "PAD": "Constant Pad (ND, X32)",
    "RESHAPE": "Copy (NC, X32)",
    "CONCATENATION": "Copy (NC, X32)",
    "QUANTIZE": "Convert (NC, {input}, {output})",
    "DEQUANTIZE": "Convert (NC, {input}, {output})",
}
_WITH_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_MOST = 10
_RUN_ORDER = "============================== Run Order =============================="
_BY_TIME = "============================== Top by Computation Time =============================="
_BY_TYPE = "============================== Summary by node type =============================="


@dataclass(frozen=True)
class Row:
    """One operator."""

    kind: str
    name: str
    first_ms: float
    mean_ms: float
    memory_kb: float = 0.0


@dataclass(frozen=True)
class _Format:
    """The format of rows: header and row, for the table and for the summary."""

    head: str
    row: Callable[[Row, float, float], str]
    type_head: str
    type_row: Callable[[str, int, float, float, float], str]


def profile_text(sections: dict[str, tuple[list[Row], Timings]], mode: str, mark: str) -> str:
    """The text of all sections under their names; on a terminal `mark` precedes each name."""
    chosen = _CSV if mode == "csv" else _TEXT
    gap = "\n" * (2 if mode == "csv" else 3)
    texts = [f"{mark}{name}:\n{_section(*content, chosen)}" for name, content in sections.items()]
    return "".join(f"{text}{gap}" for text in texts)


def operator_rows(
    model: Model, timings: Timings, *, off_cpu: tuple[str, int] = ("", 0), coarse: bool = False
) -> list[Row]:
    """The operators in order of execution.

    A GPU or NNAPI takes the first of them as one node: `off_cpu` is its kernel and how many it takes. A
    coarse profile has XNNPACK's nodes, any other the operators in them.
    """
    nodes = model.nodes()
    costs = {node.index: _cost(model, node) for node in nodes}
    total = sum(costs.values()) or 1
    rows, places = [], {}
    kernel, num_taken = off_cpu
    whole = [nodes[:num_taken]] if num_taken else []
    rest = nodes[num_taken:]
    if coarse:
        kernels = dict.fromkeys(node.kernel for node in rest if node.kernel is not None)
        whole += [[node for node in rest if node.kernel == each] for each in kernels]
    merged = {members[0].index: (number, members) for number, members in enumerate(whole)}
    inside = {node.index for members in whole for node in members[1:]}
    for node in nodes:
        if node.index in inside:
            continue
        cost, names = costs[node.index], None
        if node.index in merged:
            number, members = merged[node.index]
            cost = sum(costs[each.index] for each in members)
            kind = kernel if number == 0 and num_taken else _XNNPACK_KERNEL
            names = kind, _node_name(model, members, len(nodes) + number)
        kind, name = names or _names(model, node, places)
        share = _SHARED_OUT * cost / total / 1000
        rows.append(Row(kind, name, timings.first * share, timings.mean * share))
    return rows


def _node_name(model: Model, members: list[Node], index: int) -> str:
    """The name of a delegate's node: its outputs and its index in the graph, as for any node."""
    inside = {node.index for node in members}
    wanted = {tensor for node in model.nodes() if node.index not in inside for tensor in node.inputs}
    wanted |= {int(details["index"]) for details in model.outputs()}
    made = [tensor for node in members for tensor in node.outputs if tensor in wanted]
    return f"[{', '.join(model.tensor_details(tensor)['name'] for tensor in made)}]:{index}"


def _names(model: Model, node: Node, places: dict[int, int]) -> tuple[str, str]:
    """Type and name: the runtime's, or XNNPACK's with the index in the delegate's kernel."""
    if node.kernel is None:
        tensors = ";".join(model.tensor_details(tensor)["name"] for tensor in node.outputs)
        return node.name, f"[{tensors}]:{node.index}"
    place = places.setdefault(node.kernel, 0)
    places[node.kernel] += 1
    kind = _xnnpack_name(model, node)
    return kind, f"Delegate/{kind}:{place}"


def _xnnpack_name(model: Model, node: Node) -> str:
    pattern = _XNNPACK_NAMES.get(node.name, "{plain}")
    inputs = [tensor for tensor in node.inputs if tensor >= 0]
    letters = [_letters(model, tensor) for tensor in inputs]
    weights = letters[0]
    if node.name in _WITH_WEIGHTS:
        if letters[:2] == ["F32", "QS8"]:
            weights = "QD8, F32, QC8W"
        elif letters[0] == "QS8":
            weights = "QC8"
        shape = list(model.tensor_details(inputs[1])["shape"])
        if node.name == "CONV_2D" and shape[1:3] == [1, 1]:
            pattern = _XNNPACK_NAMES["FULLY_CONNECTED"]
    return pattern.format(
        weights=weights,
        input=letters[0],
        output=_letters(model, node.outputs[0]),
        plain=node.name.replace("_", " ").title(),
    )


def _letters(model: Model, tensor: int) -> str:
    name = model.tensor_details(tensor)["dtype"].__name__
    return _LETTERS.get(name, name.upper())


def _cost(model: Model, node: Node) -> int:
    """Multiplications and additions of an operator with weights, else its elements."""
    elements = sum(_elements(model, tensor) for tensor in node.outputs)
    if node.name not in _WITH_WEIGHTS:
        return max(elements, 1)
    shape = [int(size) for size in model.tensor_details(node.inputs[1])["shape"]]
    return elements * (math.prod(shape[1:3]) if node.name == "DEPTHWISE_CONV_2D" else math.prod(shape[1:]))


def _elements(model: Model, tensor: int) -> int:
    return math.prod(int(size) for size in model.tensor_details(tensor)["shape"])


def _section(rows: list[Row], timings: Timings, chosen: _Format) -> str:
    by_time = sorted(rows, key=lambda row: -row.mean_ms)[:_MOST]
    total = sum(row.mean_ms for row in rows) or 1.0
    return "\n".join(
        [
            _table(_RUN_ORDER, rows, total, chosen),
            _table(_BY_TIME, by_time, total, chosen),
            f"Number of nodes executed: {len(rows)}",
            _summary(rows, chosen),
            f"Timings (microseconds): {timings.line(percentiles=False)}",
            "Memory (bytes): count=0",
            f"{len(rows)} nodes observed\n",
        ]
    )


def _table(title: str, rows: list[Row], total: float, chosen: _Format) -> str:
    lines, so_far = [title, chosen.head], 0.0
    for row in rows:
        so_far += row.mean_ms
        lines.append(chosen.row(row, 100 * row.mean_ms / total, 100 * so_far / total))
    return "\n".join([*lines, ""])


def _summary(rows: list[Row], chosen: _Format) -> str:
    """The summary by type; times are rounded down to whole microseconds."""
    times: dict[str, list[float]] = {}
    for row in rows:
        times.setdefault(row.kind, []).append(row.mean_ms)
    cut = {kind: math.floor(sum(each) * 1000) / 1000 for kind, each in times.items()}
    total = sum(cut.values()) or 1.0
    lines, so_far = [_BY_TYPE, chosen.type_head], 0.0
    for kind in sorted(cut, key=lambda kind: -cut[kind]):
        so_far += cut[kind]
        percents = 100 * cut[kind] / total, 100 * so_far / total
        lines.append(chosen.type_row(kind, len(times[kind]), cut[kind], *percents))
    return "\n".join([*lines, ""])


def _text_row(row: Row, percent: float, so_far: float) -> str:
    return (
        f"\t{row.kind:>40}\t{row.first_ms:9.3f}\t{row.mean_ms:9.3f}\t{percent:7.3f}%\t{so_far:7.3f}%"
        f"\t{row.memory_kb:10.3f}\t{1:9}\t{row.name}"
    )


def _text_type_row(kind: str, num: int, mean_ms: float, percent: float, so_far: float) -> str:
    return f"\t{kind:>40}\t{num:9}\t{mean_ms:10.3f}\t{percent:10.3f}%\t{so_far:10.3f}%\t{0:10.3f}\t{num:9}"


def _csv_row(row: Row, percent: float, so_far: float) -> str:
    name = row.name.replace(",", "\t")
    numbers = f"{row.first_ms:g}, {row.mean_ms:g}, {percent:g}%, {so_far:g}%, {row.memory_kb:g}"
    return f"{row.kind}, {numbers}, 1, {name}"


def _csv_type_row(kind: str, num: int, mean_ms: float, percent: float, so_far: float) -> str:
    return f"{kind}, {num}, {mean_ms:g}, {percent:g}%, {so_far:g}%, 0, {num}"


_TEXT = _Format(
    f"\t{'[node type]':>40}\t{'[first]':>9}\t{'[avg ms]':>9}\t{'[%]':>8}\t{'[cdf%]':>8}\t{'[mem KB]':>10}"
    "\t[times called]\t[Name]",
    _text_row,
    f"\t{'[Node type]':>40}\t{'[count]':>9}\t{'[avg ms]':>10}\t{'[avg %]':>11}\t{'[cdf %]':>11}"
    f"\t{'[mem KB]':>10}\t[times called]",
    _text_type_row,
)
_CSV = _Format(
    "node type, first, avg_ms, %, cdf%, mem KB, times called, name",
    _csv_row,
    "node type, count, avg_ms, avg %, cdf %, mem KB, times called",
    _csv_type_row,
)
