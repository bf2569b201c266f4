"""Candidates and measurements with given figures, for tests of what is decided from them."""

from __future__ import annotations

from export.precisions import Precision
from pipeline.bench.host import MeasuredFile
from pipeline.choose.candidates import Candidate, Net
from pipeline.choose.drop import Costed
from pipeline.choose.verdict import Final
from pipeline.records.measurement import Measurement


def measurement(median_ms, noise_ms=0.05, *, sha256="0" * 64, rounds=(), valid=True):
    """A measurement on the host; its rounds are of one session."""
    return Measurement(
        artifact_sha256=sha256,
        path="a.tflite",
        where="host",
        machine="a processor, 2 CPUs",
        runtime="litert",
        runtime_version="2.3.0",
        delegate="cpu",
        num_threads=1,
        warmup_runs=1,
        num_runs=50,
        num_rounds=len(rounds),
        median_ms=median_ms,
        avg_ms=median_ms,
        std_ms=0.0,
        min_ms=median_ms,
        max_ms=median_ms,
        p5_ms=median_ms,
        p95_ms=median_ms,
        first_ms=median_ms,
        init_ms=1.0,
        peak_memory_bytes=None,
        noise_ms=noise_ms,
        valid=valid,
        reasons=() if valid else ("the machine was busy",),
        measured_utc="2026-11-28T00:00:00+00:00",
        round_medians_ms=tuple(rounds),
        round_sessions=("one",) * len(rounds),
    )


def costed(name, *, macs, size, ms, family="mobilenet", precision=Precision.INT8, noise=0.05):
    """A candidate with its figures on the host."""
    net = Net(name=name, family=family)
    return Costed(
        candidate=Candidate(net=net, precision=precision),
        macs=macs,
        parameters=size,
        size_bytes=size,
        measured={"host": measurement(ms, noise)},
    )


def final(name, right, *, size=1_000_000):
    """A verified file; `right` says of each image whether it is right."""
    return Final(
        name=name,
        net=name,
        path=f"{name}.tflite",
        sha256=name,
        run=f"{name}-1",
        size_bytes=size,
        top1=100 * sum(right) / len(right),
        right=tuple(right),
    )


def in_turns(name, ms):
    """A file measured in ten rounds in turns with the others, each round slightly different."""
    rounds = tuple(ms * (1 + 0.001 * place) for place in range(10))
    found = measurement(ms, 0.01 * ms, sha256=name, rounds=rounds)
    return MeasuredFile(measurement=found, round_medians_ms=rounds, size_bytes=1)
