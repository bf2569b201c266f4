"""The BenchmarkResult protocol buffer, written by hand: proto2, floats and varints."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from device_lab.tool.timings import Timings


@dataclass(frozen=True)
class Result:
    """The tool's measurements."""

    init_us: int
    warmup: Timings
    inference: Timings
    init_kb: int
    overall_kb: int
    peak_mb: float
    """0 if it was not requested."""
    model_mb: float
    input_bytes: int

    @property
    def throughput(self) -> float:
        """Megabytes (2**20) of input per second."""
        mean = self.inference.mean
        return self.input_bytes / mean * 1e6 / 1024 / 1024 if mean else 0.0


_PERCENTILES = (5, 6, 7)


def encode(result: Result, *, mean_factor: float = 1.0, percentiles: bool = True) -> bytes:
    """The encoded message; `mean_factor` falsifies the mean."""
    runs = result.inference
    latency_us = (
        runs.mean * mean_factor,
        runs.least,
        runs.most,
        runs.deviation,
        runs.percentile(50),
        runs.percentile(5),
        runs.percentile(95),
        result.init_us,
        result.warmup.first,
        result.warmup.mean,
    )
    latency = b"".join(
        _float(number, value / 1000)
        for number, value in enumerate(latency_us, start=1)
        if percentiles or number not in _PERCENTILES
    )
    memory = _varint(1, result.init_kb) + _varint(2, result.overall_kb)
    if result.peak_mb > 0:
        memory += _float(3, result.peak_mb)
    misc = _float(1, result.model_mb) + _varint(2, runs.count) + _varint(3, result.warmup.count)
    misc += _float(4, result.throughput)
    return _message(2, latency) + _message(3, memory) + _message(4, misc)


def _float(number: int, value: float) -> bytes:
    return bytes([number << 3 | 5]) + struct.pack("<f", value)


def _varint(number: int, value: int) -> bytes:
    return bytes([number << 3]) + _raw_varint(value)


def _message(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _raw_varint(len(content)) + content


def _raw_varint(value: int) -> bytes:
    septets = []
    while value > 0x7F:
        septets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*septets, value])
