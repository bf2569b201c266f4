"""Parses the protocol buffer that benchmark_model writes for --result_file_path."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from android_bench.errors import LogError
from android_bench.printed.protos import Fields, message_class, parsed
from android_bench.printed.run import BenchmarkReport
from android_bench.reasons import Reason

KIB = 1024
MIB = 1024 * KIB

_PACKAGE = "tflite.tools.benchmark"
_FIELDS: Fields = {
    "LatencyMetrics": (
        ("avg_ms", 1, "float"),
        ("min_ms", 2, "float"),
        ("max_ms", 3, "float"),
        ("stddev_ms", 4, "float"),
        ("median_ms", 5, "float"),
        ("p5_ms", 6, "float"),
        ("p95_ms", 7, "float"),
        ("init_ms", 8, "float"),
        ("first_inference_ms", 9, "float"),
        ("average_warm_up_ms", 10, "float"),
    ),
    "MemoryMetrics": (
        ("init_footprint_kb", 1, "int64"),
        ("overall_footprint_kb", 2, "int64"),
        ("peak_mem_mb", 3, "float"),
    ),
    "MiscMetrics": (
        ("model_size_mb", 1, "float"),
        ("num_runs", 2, "int32"),
        ("num_warmup_runs", 3, "int32"),
        ("model_throughput_in_mb_per_sec", 4, "float"),
    ),
    "BenchmarkResult": (
        ("name", 1, "string"),
        ("latency_metrics", 2, "LatencyMetrics"),
        ("memory_metrics", 3, "MemoryMetrics"),
        ("misc_metrics", 4, "MiscMetrics"),
    ),
}
"""benchmark_result.proto (proto2), every field optional: name, number, type."""

_RELATIVE = 1e-5
"""The text has six significant digits, the file 32-bit floats."""
_MICROSECOND = 0.0006
_HUNDREDTH = 0.0051
"""LiteRT v2's text has two decimals."""

_TIMED = ("avg_ms", "min_ms", "max_ms", "std_ms", "median_ms", "p5_ms", "p95_ms")
_WHOLE = ("init_ms", "first_ms", "init_memory_bytes", "overall_memory_bytes", "peak_memory_bytes")


@dataclass(frozen=True, kw_only=True)
class ToolResult:
    """The figures of a result file; None for a field that is not set."""

    num_runs: int
    num_warmup_runs: int | None
    avg_ms: float
    min_ms: float | None
    max_ms: float | None
    std_ms: float | None
    median_ms: float | None
    p5_ms: float | None
    p95_ms: float | None
    init_ms: float | None
    first_ms: float | None
    """The first inference of the warm-up; None without a warm-up."""
    warmup_avg_ms: float | None
    init_memory_bytes: int | None
    overall_memory_bytes: int | None
    peak_memory_bytes: int | None
    model_size_bytes: int | None
    """From a 32-bit float in MB of 1,000,000 bytes: correct to seven digits."""


def read_result(content: bytes) -> ToolResult:
    """Parses a result file. LogError if it is empty, cut, of another format, or has no inference."""
    message = parsed(_message_class(), content, "the result file")
    latency, memory, misc = message.latency_metrics, message.memory_metrics, message.misc_metrics
    num_runs, avg_ms = _count(misc, "num_runs"), _figure(latency, "avg_ms")
    if num_runs == 0:
        raise LogError("the result file says that no inference was timed (num_runs 0)")
    if num_runs is None or avg_ms is None:
        raise LogError(f"the result file's {len(content)} bytes hold no average or no run count: it is cut")
    num_warmup_runs = _count(misc, "num_warmup_runs")
    return ToolResult(
        num_runs=num_runs,
        num_warmup_runs=num_warmup_runs,
        avg_ms=avg_ms,
        min_ms=_figure(latency, "min_ms"),
        max_ms=_figure(latency, "max_ms"),
        std_ms=_figure(latency, "stddev_ms"),
        median_ms=_figure(latency, "median_ms"),
        p5_ms=_figure(latency, "p5_ms"),
        p95_ms=_figure(latency, "p95_ms"),
        init_ms=_figure(latency, "init_ms"),
        first_ms=_figure(latency, "first_inference_ms") if num_warmup_runs else None,
        warmup_avg_ms=_figure(latency, "average_warm_up_ms") if num_warmup_runs else None,
        init_memory_bytes=_bytes(_figure(memory, "init_footprint_kb"), KIB),
        overall_memory_bytes=_bytes(_figure(memory, "overall_footprint_kb"), KIB),
        peak_memory_bytes=_bytes(_figure(memory, "peak_mem_mb"), MIB),
        model_size_bytes=_bytes(_figure(misc, "model_size_mb"), 1e6),
    )


def differences(report: BenchmarkReport, result: ToolResult) -> tuple[str, ...]:
    """The differences between a run's text and its result file beyond rounding, one sentence each."""
    return tuple(
        Reason.TEXT_AND_FILE_DIFFER.text(
            name=name, told=f"{_short(told)}{unit}", filed=f"{_short(filed)}{unit}"
        )
        for name, told, filed, unit, slack in _pairs(report, result)
        if told is not None and filed is not None and abs(told - filed) > slack
    )


def with_result(report: BenchmarkReport, result: ToolResult) -> BenchmarkReport:
    """The report with the result file's figures, which have more digits; missing fields keep the text's."""
    timed = replace(report.timed, **_filed(result, _TIMED), count=result.num_runs)
    return replace(report, timed=timed, **_filed(result, _WHOLE))


def _filed(result: ToolResult, names: Sequence[str]) -> dict[str, Any]:
    values = {name: getattr(result, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


Pair = tuple[str, float | None, float | None, str, float]
"""A figure's name, its value in the text and in the file, the unit, and the tolerance."""


def _pairs(report: BenchmarkReport, result: ToolResult) -> Iterator[Pair]:
    timed, warmup = report.timed, report.warmup
    slack_ms = _HUNDREDTH if report.tool == "litert" else _MICROSECOND
    slack_bytes = _HUNDREDTH * MIB if report.tool == "litert" else KIB / 2
    counts = (
        ("num_runs", timed.count, result.num_runs),
        ("num_warmup_runs", None if warmup is None else warmup.count, result.num_warmup_runs),
    )
    times = (
        ("avg", timed.avg_ms, result.avg_ms),
        ("min", timed.min_ms, result.min_ms),
        ("max", timed.max_ms, result.max_ms),
        ("std", timed.std_ms, result.std_ms),
        ("median", timed.median_ms, result.median_ms),
        ("p5", timed.p5_ms, result.p5_ms),
        ("p95", timed.p95_ms, result.p95_ms),
        ("init", report.init_ms, result.init_ms),
        ("first inference", report.first_ms, result.first_ms),
        ("warm-up avg", None if warmup is None else warmup.avg_ms, result.warmup_avg_ms),
    )
    sizes = (
        ("init memory", report.init_memory_bytes, result.init_memory_bytes, slack_bytes),
        ("overall memory", report.overall_memory_bytes, result.overall_memory_bytes, slack_bytes),
        ("peak memory", report.peak_memory_bytes, result.peak_memory_bytes, slack_bytes),
        ("model size", report.model_size_bytes, result.model_size_bytes, 1.0),
    )
    yield from ((name, told, filed, "", 0) for name, told, filed in counts)
    yield from ((name, told, filed, " ms", slack_ms + _digits(filed)) for name, told, filed in times)
    yield from ((name, told, filed, " bytes", slack + _digits(filed)) for name, told, filed, slack in sizes)


def _digits(value: float | None) -> float:
    return abs(value or 0) * _RELATIVE


def _short(value: float | None) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.7g}"


@functools.cache
def _message_class() -> Any:  # noqa: ANN401 - protobuf makes its classes at run time
    """The class of BenchmarkResult."""
    return message_class(_PACKAGE, _FIELDS, "BenchmarkResult")


def _figure(message: Any, name: str) -> float | None:  # noqa: ANN401 - as above
    """A field's value; None if it is not set or not a number."""
    if not message.HasField(name):
        return None
    value = getattr(message, name)
    return value if math.isfinite(value) else None


def _count(message: Any, name: str) -> int | None:  # noqa: ANN401 - as above
    value = getattr(message, name) if message.HasField(name) else None
    return None if value is None else max(int(value), 0)


def _bytes(value: float | None, unit: float) -> int | None:
    return None if value is None else round(value * unit)
