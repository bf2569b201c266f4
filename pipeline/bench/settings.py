"""The settings of a benchmark, named and meant as benchmark_model's. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field

from android_bench.settings import MatrixSettings
from pipeline.errors import UsageError, unknown_name

RUNTIMES = ("litert", "tflite-runtime", "tensorflow")


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How long and how often each file is run. Runs and seconds hold in sum over the rounds."""

    num_threads: tuple[int, ...] = (1,)
    """Every file is measured with each of these."""
    runtime: str = "litert"
    num_runs: int = 50
    """At least so many timed runs."""
    min_secs: float = 1.0
    """At least so many seconds of timed runs."""
    max_secs: float = 150.0
    """No further run is begun after so many seconds, whatever the two above ask."""
    warmup_runs: int = 1
    """At least so many untimed runs in each round, since each round loads the file anew."""
    warmup_min_secs: float = 0.5
    """At least so many seconds of untimed runs: over all rounds here, in each round on a phone, whose clock
    falls between two processes."""
    num_rounds: int = 10
    """The files take turns in so many rounds; at least 6 are needed to tell a difference from noise."""
    patience_secs: float = 120.0
    """A child that stays silent so much longer than it was asked to run is taken for hung and ended."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot be meant."""
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
        not_negative = ("min_secs", "warmup_runs", "warmup_min_secs")
        for name in not_negative:
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} is {getattr(self, name)}. Give 0 or more.")
        for name in ("max_secs", "patience_secs"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}. Give more than 0.")

    @property
    def rounds(self) -> int:
        """The rounds that are really run: never more than runs, where only num_runs asks for some."""
        return self.num_rounds if self.min_secs > 0 else min(self.num_rounds, self.num_runs)


@dataclass(frozen=True, kw_only=True)
class PhoneSettings:
    """What is measured on phones, beside BenchSettings. How phones are treated: android_bench.matrix."""

    delegates: tuple[str, ...] = ("cpu",)
    """Every file is measured with each of these."""
    cores: str = "all"
    """The CPUs to pin the tool to: big, little, all, or a mask in hexadecimal."""
    extra_flags: tuple[str, ...] = ()
    """Given to benchmark_model as they are."""
    max_drift: float = 0.10
    """A median that rises by more than this share over the rounds makes a measurement invalid."""


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """What is measured on phones, for how long, and how the phones are treated."""

    bench: BenchSettings = field(default_factory=BenchSettings)
    phone: PhoneSettings = field(default_factory=PhoneSettings)
    matrix: MatrixSettings = field(default_factory=MatrixSettings)
    again: bool = False
    """Measure anew what is in the store already."""


def share_of_runs(settings: BenchSettings, round_index: int) -> int:
    """This round's share of num_runs, spread so that the sum is exact."""
    rounds = settings.rounds
    return settings.num_runs * (round_index + 1) // rounds - settings.num_runs * round_index // rounds
