"""What benchmark_model says at the end of a run: TFLite's summary line, LiteRT v2's block of results."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from android_bench.printed.lines import NUMBER, LogLine
from android_bench.printed.stats import Stats, equal_runs, milliseconds

Tool = Literal["tflite", "litert"]
MIB = 1024 * 1024
LITERT_BLOCK = "========== BENCHMARK RESULTS =========="
"""The first line of LiteRT v2's results."""

_NEW = re.compile(
    rf"Inference timings in us: Init: (?P<init>{NUMBER}), First inference: (?P<first>{NUMBER}), "
    rf"Warmup \(avg\): (?P<warmup>{NUMBER}), Inference \(avg\): (?P<avg>{NUMBER})"
)
_OLD = re.compile(
    rf"Average inference timings in us: Warmup: (?P<warmup>{NUMBER}), Init: (?P<init>{NUMBER}), "
    rf"[\w ]+: (?P<avg>{NUMBER})"
)
_NO_RUNS = "No inference runs were performed."
_MS = r"(?P<value>\d{1,15}\.\d\d)"
_ROWS = {
    "init": re.compile(rf"Model initialization:\s+{_MS} ms"),
    "first": re.compile(rf"(?:Warmup \(first\)|First inference):\s+{_MS} ms"),
    "warmup": re.compile(rf"Warmup \(avg\):\s+{_MS} ms \((?P<count>\d{{1,18}}) runs\)"),
    "avg": re.compile(rf"Inference \(avg\):\s+{_MS} ms \((?P<count>\d{{1,18}}) runs\)"),
    "min": re.compile(rf"Inference \(min\):\s+{_MS} ms"),
    "max": re.compile(rf"Inference \(max\):\s+{_MS} ms"),
    "std": re.compile(rf"Inference \(std\):\s+{_MS}(?: ms)?"),
    "init_memory": re.compile(rf"Init footprint:\s+{_MS} MB"),
    "overall_memory": re.compile(rf"Overall footprint:\s+{_MS} MB"),
    "peak_memory": re.compile(rf"Peak memory:\s+{_MS} MB"),
}
"""Every row ends so that a cut one is not taken for whole: with a unit, a bracket, or two decimals."""
_NEEDED = ("init", "avg", "min", "max", "std")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The end of a run."""

    tool: Tool
    init_ms: float
    first_ms: float | None
    """The first inference of the warm-up; None in TFLite's line of before 2020."""
    warmup: Stats
    timed: Stats
    init_memory_bytes: int | None = None
    overall_memory_bytes: int | None = None
    peak_memory_bytes: int | None = None
    ended: bool = True
    """False where its last number may have been cut: it is then to agree with the timed block."""

    def agrees(self, told: Stats, block: Stats) -> bool:
        """Whether a block's own line says the same as what stands here of it, to the digits printed here."""
        if told.count is not None and told.count != block.count:
            return False
        if block.avg_ms is None:
            return not told.avg_ms
        if told.avg_ms is None:
            return told.count is None
        slack = 0.0051 if self.tool == "litert" else _sixth_digit(block.avg_ms) * 0.51
        return abs(told.avg_ms - block.avg_ms) <= slack


def is_summary(text: str) -> bool:
    """Whether a line is, or begins, the end of a run; it may be cut."""
    return text.startswith(("Inference timings in us:", "Average inference timings in us:", LITERT_BLOCK))


def read_summaries(lines: Sequence[LogLine]) -> list[Summary]:
    """Every whole end of a run."""
    of_tflite = [summary for line in lines if (summary := _tflite(line)) is not None]
    begins = [index for index, line in enumerate(lines) if line.text == LITERT_BLOCK]
    ends = [*begins[1:], len(lines)][: len(begins)]
    blocks = [lines[begin:end] for begin, end in zip(begins, ends, strict=True)]
    return of_tflite + [summary for block in blocks if (summary := _litert(block)) is not None]


def _tflite(line: LogLine) -> Summary | None:
    found = _NEW.fullmatch(line.text) or _OLD.fullmatch(line.text)
    if found is None:
        return None
    first = found.groupdict().get("first")
    return Summary(
        tool="tflite",
        init_ms=milliseconds(found["init"]),
        first_ms=None if first is None else milliseconds(first),
        warmup=Stats(count=None, avg_ms=milliseconds(found["warmup"])),
        timed=Stats(count=None, avg_ms=milliseconds(found["avg"])),
        ended=line.ended,
    )


def _litert(block: Sequence[LogLine]) -> Summary | None:
    """Its times are ms with two decimals; its MB are 1024 * 1024 bytes: its source divides kB by 1024."""
    rows: dict[str, re.Match[str]] = {}
    for line in block:
        if line.text == _NO_RUNS:
            return Summary(
                tool="litert", init_ms=0.0, first_ms=None, warmup=Stats(count=0), timed=Stats(count=0)
            )
        for name, form in _ROWS.items():
            if (found := form.fullmatch(line.text)) is not None:
                rows.setdefault(name, found)
    if any(name not in rows for name in _NEEDED):
        return None
    values = {name: float(found["value"]) for name, found in rows.items()}
    return Summary(
        tool="litert",
        init_ms=values["init"],
        first_ms=values.get("first"),
        warmup=_litert_warmup(rows, values),
        timed=_litert_timed(int(rows["avg"]["count"]), values),
        init_memory_bytes=_bytes(values.get("init_memory")),
        overall_memory_bytes=_bytes(values.get("overall_memory")),
        peak_memory_bytes=_bytes(values.get("peak_memory")),
    )


def _litert_warmup(rows: dict[str, re.Match[str]], values: dict[str, float]) -> Stats:
    if "warmup" not in rows:
        return Stats(count=None)
    count = int(rows["warmup"]["count"])
    return Stats(count=count, first_ms=values.get("first"), avg_ms=values["warmup"] if count else None)


def _litert_timed(count: int, values: dict[str, float]) -> Stats:
    if count <= 1:
        return equal_runs(1, values["avg"]) if count else Stats(count=0)
    return Stats(
        count=count,
        min_ms=values["min"],
        max_ms=values["max"],
        avg_ms=values["avg"],
        std_ms=values["std"],
    )


def _bytes(mib: float | None) -> int | None:
    return None if mib is None else round(mib * MIB)


def _sixth_digit(value: float) -> float:
    """What the sixth significant digit of a number is worth."""
    return math.pow(10, math.floor(math.log10(value)) - 5) if value > 0 else 0.0
