"""The summary at the end of a run, of either tool: its figures, and whether the run's blocks agree."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from android_bench.delegates import LITERT, TFLITE, Tool
from android_bench.printed.lines import (
    LITERT_BLOCK,
    NUMBER,
    LogLine,
    Stats,
    equal_runs,
    milliseconds,
)

MIB = 1024 * 1024

_SUMMARIES = (
    re.compile(
        rf"Inference timings in us: Init: (?P<init>{NUMBER}), First inference: (?P<first>{NUMBER}), "
        rf"Warmup \(avg\): (?P<warmup>{NUMBER}), Inference \(avg\): (?P<avg>{NUMBER})"
    ),
    re.compile(
        rf"Average inference timings in us: Warmup: (?P<warmup>{NUMBER}), Init: (?P<init>{NUMBER}), "
        rf"[\w ]+: (?P<avg>{NUMBER})"
    ),
)
_NO_RUNS = "No inference runs were performed."
_LITERT_ROWS = {
    name: re.compile(form.replace("#", r"(?P<value>\d{1,15}\.\d\d)"))
    for name, form in {
        "init": r"Model initialization:\s+# ms",
        "first": r"(?:Warmup \(first\)|First inference):\s+# ms",
        "warmup": r"Warmup \(avg\):\s+# ms \((?P<count>\d{1,18}) runs\)",
        "avg": r"Inference \(avg\):\s+# ms \((?P<count>\d{1,18}) runs\)",
        "min": r"Inference \(min\):\s+# ms",
        "max": r"Inference \(max\):\s+# ms",
        "std": r"Inference \(std\):\s+#(?: ms)?",
        "init_memory": r"Init footprint:\s+# MB",
        "overall_memory": r"Overall footprint:\s+# MB",
        "peak_memory": r"Peak memory:\s+# MB",
    }.items()
}
"""Every row ends with a unit, a bracket or two decimals, so that a cut row does not match."""
_LITERT_NEEDED = ("init", "avg", "min", "max", "std")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The summary of a run."""

    tool: Tool
    init_ms: float | None
    first_ms: float | None = None
    """The first inference of the warm-up; None in TFLite's line before 2020."""
    warmup: Stats
    timed: Stats
    memory_bytes: tuple[int | None, int | None, int | None] = (None, None, None)
    """Until the model was ready, until the end, and at the peak; only LiteRT v2 prints them here."""
    ended: bool = True
    """False if its last number may be cut: it must then agree with the timed block."""

    def agrees(self, told: Stats, block: Stats) -> bool:
        """Whether the summary agrees with the block's own line, to the digits printed in the summary."""
        if told.count is not None and told.count != block.count:
            return False
        if block.avg_ms is None:
            return not told.avg_ms
        if told.avg_ms is None:
            return told.count is None
        slack = 0.0051 if self.tool == LITERT else _sixth_digit(block.avg_ms) * 0.51
        return abs(told.avg_ms - block.avg_ms) <= slack


def summaries(lines: Sequence[LogLine]) -> list[Summary]:
    """The summaries of one run's lines: one, if it completed."""
    return [*_tflite_summaries(lines), *_litert_summaries(lines)]


def all_matches(form: re.Pattern[str], lines: Sequence[LogLine]) -> Iterator[re.Match[str]]:
    """The lines that a pattern matches whole."""
    return (found for line in lines if (found := form.fullmatch(line.text)) is not None)


def scaled(found: re.Match[str] | None, group: str, unit: float) -> int | None:
    """A printed number in units of `unit`, rounded; None without a match."""
    return None if found is None else round(float(found[group]) * unit)


def _tflite_summaries(lines: Sequence[LogLine]) -> Iterator[Summary]:
    for line in lines:
        found = next((found for form in _SUMMARIES if (found := form.fullmatch(line.text))), None)
        if found is not None:
            first = found.groupdict().get("first")
            yield Summary(
                tool=TFLITE,
                init_ms=milliseconds(found["init"]),
                first_ms=None if first is None else milliseconds(first),
                warmup=Stats(count=None, avg_ms=milliseconds(found["warmup"])),
                timed=Stats(count=None, avg_ms=milliseconds(found["avg"])),
                ended=line.ended,
            )


def _litert_summaries(lines: Sequence[LogLine]) -> Iterator[Summary]:
    """LiteRT v2's summaries: ms with two decimals, MB of 1024 * 1024 bytes (kB / 1024 in its source)."""
    begins = [index for index, line in enumerate(lines) if line.text == LITERT_BLOCK]
    for begin, end in zip(begins, [*begins[1:], len(lines)], strict=False):
        summary = _litert_summary(lines[begin:end])
        if summary is not None:
            yield summary


def _litert_summary(block: Sequence[LogLine]) -> Summary | None:
    if any(line.text == _NO_RUNS for line in block):
        return Summary(tool=LITERT, init_ms=0.0, warmup=Stats(count=0), timed=Stats(count=0))
    found = {name: next(all_matches(form, block), None) for name, form in _LITERT_ROWS.items()}
    rows = {name: row for name, row in found.items() if row is not None}
    if any(name not in rows for name in _LITERT_NEEDED):
        return None
    values = {name: float(row["value"]) for name, row in rows.items()}
    first_ms, warmup = values.get("first"), Stats(count=None)
    if "warmup" in rows:
        count = int(rows["warmup"]["count"])
        warmup = Stats(count=count, first_ms=first_ms, avg_ms=values["warmup"] if count else None)
    count = int(rows["avg"]["count"])
    if count <= 1:
        timed = equal_runs(1, values["avg"]) if count else Stats(count=0)
    else:
        timed = Stats(count=count, **{f"{name}_ms": values[name] for name in ("min", "max", "avg", "std")})
    return Summary(
        tool=LITERT,
        init_ms=values["init"],
        first_ms=first_ms,
        warmup=warmup,
        timed=timed,
        memory_bytes=(
            scaled(found["init_memory"], "value", MIB),
            scaled(found["overall_memory"], "value", MIB),
            scaled(found["peak_memory"], "value", MIB),
        ),
    )


def _sixth_digit(value: float) -> float:
    """The value of a number's sixth significant digit."""
    return math.pow(10, math.floor(math.log10(value)) - 5) if value > 0 else 0.0
