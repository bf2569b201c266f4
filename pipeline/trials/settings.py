"""The settings of the engine. Standard library only: the command line takes its defaults from here."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.bench.settings import BenchSettings


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How many trials run at once, and how latency is measured."""

    at_once: int | None = None
    """None: as many as cores and memory, or GPUs, allow."""
    threads: int = 1
    """Threads of each training. The weights may differ in their last bits with another number."""
    ray: str | None = None
    """HOST:PORT of a Ray cluster's head, or auto, to train on its nodes; None: on this machine."""
    gpus: float = 0.0
    """GPUs of each training on a Ray cluster; here each process takes one, if there are any."""
    bench: BenchSettings = field(default_factory=BenchSettings)
