import pytest

from pipeline.bench.settings import RUNTIMES, BenchSettings
from pipeline.errors import UsageError


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_threads": ()},
        {"num_threads": (1, 0)},
        {"num_runs": 0},
        {"num_rounds": 0},
        {"min_secs": -1.0},
        {"min_secs": float("nan")},
        {"max_secs": 0.0},
        {"warmup_runs": -1},
        {"warmup_min_secs": -0.5},
    ],
)
def test_a_setting_that_cannot_be_meant_is_named(wrong):
    with pytest.raises(UsageError, match=f"^{next(iter(wrong))} is"):
        BenchSettings(**wrong)


@pytest.mark.parametrize(
    ("mistyped", "near"),
    [("lite-rt", "litert"), ("tflite_runtime", "tflite-runtime"), ("tensorflo", "tensorflow")],
)
def test_a_mistyped_runtime_gets_the_nearest_name(mistyped, near):
    assert near in RUNTIMES
    with pytest.raises(UsageError, match=f"unknown runtime '{mistyped}'. Did you mean '{near}'"):
        BenchSettings(runtime=mistyped)


def test_there_are_never_more_rounds_than_runs_when_only_runs_are_asked():
    assert BenchSettings(num_runs=3, min_secs=0).rounds == 3
    assert BenchSettings(num_runs=3, min_secs=1).rounds == BenchSettings().num_rounds


def test_the_defaults_are_benchmark_models():
    settings = BenchSettings()
    named = ("num_runs", "min_secs", "max_secs", "warmup_runs", "warmup_min_secs")
    assert [getattr(settings, name) for name in named] == [50, 1, 150, 1, 0.5]
