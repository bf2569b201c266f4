"""The settings of a benchmark, with benchmark_model's names and meanings. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field

from android_bench.settings import MatrixSettings
from pipeline.errors import UsageError, unknown_name

RUNTIMES = ("litert", "tflite-runtime", "tensorflow")


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How long and how often each file is run. Runs and seconds are totals over all rounds."""

    num_threads: tuple[int, ...] = (1,)
    """Every file is measured with each of these."""
    runtime: str = "litert"
    num_runs: int = 50
    """Minimum number of timed runs."""
    min_secs: float = 1.0
    """Minimum seconds of timed runs."""
    max_secs: float = 150.0
    """No run starts after this many seconds; overrides the two minimums above."""
    warmup_runs: int = 1
    """Minimum number of untimed runs in each round, since each round loads the file anew."""
    warmup_min_secs: float = 0.5
    """Minimum seconds of untimed runs: in total on the host, in each round on a phone, whose CPU clock drops
    between two processes."""
    num_rounds: int = 10
    """Number of rounds in which the files take turns; a comparison needs at least 6."""
    patience_secs: float = 120.0
    """A child is ended as hung when it exceeds its requested time by this much."""
    max_wait: float = 0.1
    """A measurement on this machine is invalid if other programs let its threads wait for a CPU for more than
    this share of the time."""

    def __post_init__(self) -> None:
        """Refuses impossible settings."""
        if self.runtime not in RUNTIMES:
            raise unknown_name("runtime", self.runtime, RUNTIMES)
        if not self.num_threads:
            raise UsageError("num_threads is empty. Give at least one number of threads, such as 1.")
        at_least_one = {
            "num_threads": min(self.num_threads),
            "num_runs": self.num_runs,
            "num_rounds": self.num_rounds,
        }
        for name, count in at_least_one.items():
            if count < 1:
                raise UsageError(f"{name} is {count}. Give 1 or more.")
        not_negative = ("min_secs", "warmup_runs", "warmup_min_secs", "max_wait")
        for name in not_negative:
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} is {getattr(self, name)}. Give 0 or more.")
        for name in ("max_secs", "patience_secs"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}. Give more than 0.")

    @property
    def rounds(self) -> int:
        """The number of rounds to run: at most num_runs, if only num_runs asks for runs."""
        return self.num_rounds if self.min_secs > 0 else min(self.num_rounds, self.num_runs)


@dataclass(frozen=True, kw_only=True)
class PhoneSettings:
    """Settings for phones, in addition to BenchSettings and android_bench's MatrixSettings."""

    delegates: tuple[str, ...] = ("cpu",)
    """Every file is measured with each of these."""
    cores: str = "all"
    """The CPUs to pin the tool to: big, little, all, or a mask in hexadecimal."""
    extra_flags: tuple[str, ...] = ()
    """Passed to benchmark_model unchanged."""
    max_drift: float = 0.10
    """A measurement whose median rises by more than this share over the rounds is invalid."""


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """All settings of a call on phones."""

    bench: BenchSettings = field(default_factory=BenchSettings)
    phone: PhoneSettings = field(default_factory=PhoneSettings)
    matrix: MatrixSettings = field(default_factory=MatrixSettings)
    again: bool = False
    """Whether to repeat measurements that are in the store."""


HOST_ONLY = ("runtime", "patience_secs", "max_wait")
"""BenchSettings that do not change what a phone measures."""


def share_of_runs(settings: BenchSettings, round_index: int) -> int:
    """This round's part of num_runs; the parts add up to num_runs."""
    rounds = settings.rounds
    return settings.num_runs * (round_index + 1) // rounds - settings.num_runs * round_index // rounds
