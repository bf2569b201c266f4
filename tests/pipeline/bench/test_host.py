import dataclasses
import importlib.util
import itertools
import math
import shutil
import sys

import pytest

from export.errors import BadModelFileError
from export.files import sha256_of
from pipeline.bench.baselines import against_baselines, compare_measured
from pipeline.bench.host import machine_name, run_rounds
from pipeline.bench.settings import BenchSettings
from pipeline.errors import MissingToolError


def measure(files, settings):
    """The measurements of a call that was not stopped."""
    result = run_rounds(files, settings)
    assert not result.stopped
    return [each.measurement for each in result.measured]


def test_ten_times_the_work_is_a_difference_larger_than_the_noise(files, quick):
    result = run_rounds([files["one"], files["ten"]], quick)
    first, against = against_baselines(result.measured, {})
    assert first is None
    assert against.baseline is result.measured[0]
    comparison = against.comparison
    assert comparison.larger_than_noise
    # ten convolutions against one and the fixed cost of a call: nearer to ten than to one
    assert comparison.ratio > 4
    one, ten = (each.measurement for each in result.measured)
    assert ten.median_ms > one.median_ms
    assert one.valid
    assert ten.valid


def test_the_same_file_twice_is_nearly_always_noise(files, tmp_path, quick):
    copies = [tmp_path / f"copy{number}.tflite" for number in range(6)]
    for copy in copies:
        shutil.copy(files["one"], copy)

    def num_claims() -> int:
        pairs = itertools.pairwise(run_rounds(copies, quick).measured)
        return sum(compare_measured(this, before, {}).larger_than_noise for before, this in pairs)

    # each is wrong once in 20, so three of five are once in a thousand; twice, lest another program's work,
    # which comes and goes with the rounds, decides
    assert num_claims() < 3 or num_claims() < 3


def test_a_measurement_carries_its_conditions(files, quick):
    (measurement,) = measure([files["ten"]], quick)
    assert measurement.artifact_sha256 == sha256_of(files["ten"])
    assert (measurement.where, measurement.machine) == ("host", machine_name())
    assert (measurement.runtime, measurement.delegate) == ("litert", "cpu with XNNPACK")
    assert measurement.num_rounds == quick.num_rounds
    assert measurement.num_runs >= quick.num_runs
    assert measurement.warmup_runs >= quick.num_rounds
    ordered = ("min_ms", "p5_ms", "median_ms", "p95_ms", "max_ms")
    values = [getattr(measurement, name) for name in ordered]
    assert values == sorted(values)
    figures = ("avg_ms", "std_ms", "first_ms", "init_ms", "peak_memory_bytes", "noise_ms")
    assert all(getattr(measurement, name) > 0 for name in figures)


def test_the_median_is_of_the_runs_as_another_loop_times_them(files, quick):
    # a bare loop in this process; others use the machine too, so within a factor of two
    import time

    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(files["ten"]), num_threads=1)
    interpreter.allocate_tensors()
    times = []
    for _ in range(300):
        begin = time.perf_counter()
        interpreter.invoke()
        times.append((time.perf_counter() - begin) * 1e3)
    (measurement,) = measure([files["ten"]], quick)
    assert measurement.median_ms == pytest.approx(np.median(times), rel=1)
    assert measurement.min_ms == pytest.approx(min(times), rel=0.5)


def test_runs_are_spread_over_the_rounds_and_sum_up_exactly(files):
    settings = BenchSettings(num_runs=17, min_secs=0, warmup_min_secs=0, num_rounds=6)
    (measurement,) = measure([files["one"]], settings)
    assert (measurement.num_runs, measurement.num_rounds) == (17, 6)
    assert measurement.warmup_runs == 6


def test_max_secs_hold_over_all_rounds(files):
    settings = BenchSettings(num_runs=10**6, max_secs=0.3, warmup_min_secs=0, max_wait=1.0)
    (measurement,) = measure([files["one"]], settings)
    assert measurement.valid
    seconds = measurement.num_runs * measurement.avg_ms / 1e3
    # each of ten rounds may end one run late, and a run may be held up by another program
    assert seconds < 0.3 + 10 * measurement.max_ms / 1e3


def test_every_file_is_measured_with_every_number_of_threads(files, quick):
    settings = dataclasses.replace(quick, num_threads=(1, 2), num_runs=6, min_secs=0)
    measurements = measure([files["one"], files["ten"]], settings)
    assert [(each.path, each.num_threads) for each in measurements] == [
        (str(files[name]), threads) for threads in (1, 2) for name in ("one", "ten")
    ]
    assert all(each.valid for each in measurements)


@pytest.mark.parametrize("damage", ["truncated", "empty", "random"])
def test_a_file_that_is_no_model_is_an_error_before_anything_runs(damage, files, truncated, tmp_path, quick):
    contents = {"truncated": truncated.read_bytes(), "empty": b"", "random": bytes(range(256)) * 40}
    path = tmp_path / "damaged.tflite"
    path.write_bytes(contents[damage])
    turns = []
    with pytest.raises(
        BadModelFileError, match=r"damaged\.tflite is (truncated|empty|not a \.tflite file)"
    ) as caught:
        run_rounds([files["one"], path], quick, progress=lambda *turn: turns.append(turn))
    assert "\n" not in str(caught.value)
    assert not turns


def test_a_child_killed_midway_spoils_its_own_line_alone(files, quick, kill_worker):
    def kill_in_round_three(done, *_):
        if done == 5:
            kill_worker(files["ten"])

    result = run_rounds([files["one"], files["ten"]], quick, progress=kill_in_round_three)
    one, ten = (each.measurement for each in result.measured)
    assert one.valid
    assert one.num_rounds == quick.num_rounds
    assert not ten.valid
    assert ten.reasons == ("litert crashed with this file (SIGKILL: most likely the memory was used up)",)
    assert 0 < ten.num_rounds < quick.num_rounds
    assert against_baselines(result.measured, {}) == [None, None]


def test_ctrl_c_keeps_what_was_measured(files, quick, workers):
    def stop_in_round_five(done, *_):
        if done == 9:
            raise KeyboardInterrupt

    result = run_rounds([files["one"], files["ten"]], quick, progress=stop_in_round_five)
    assert result.stopped
    for each in result.measured:
        assert each.measurement.median_ms > 0
        assert not each.measurement.valid
        assert each.measurement.reasons[0].startswith("stopped after ")
    assert not workers(files["one"])
    assert not workers(files["ten"])


def test_a_file_replaced_while_it_is_measured_is_not_valid(files, tmp_path, quick):
    path = tmp_path / "model.tflite"
    shutil.copy(files["one"], path)

    def replace(done, *_):
        if done == 3:
            shutil.copy(files["ten"], tmp_path / "other")
            (tmp_path / "other").replace(path)

    (each,) = run_rounds([path], quick, progress=replace).measured
    assert each.measurement.reasons == ("the file changed while it was measured",)
    assert each.measurement.artifact_sha256 == sha256_of(files["one"])


@pytest.mark.skipif(
    importlib.util.find_spec("tflite_runtime") is None, reason="tflite-runtime has no wheel for this machine"
)
def test_an_operator_too_new_for_tflite_runtime_is_a_line_with_its_reason(files, quick):
    settings = dataclasses.replace(quick, runtime="tflite-runtime", num_runs=6, min_secs=0)
    old, new = measure([files["one"], files["dynamic"]], settings)
    assert old.valid
    assert not new.valid
    assert new.reasons[0].startswith("tflite-runtime has no FULLY_CONNECTED of version")
    assert new.median_ms is None
    assert new.num_runs == 0
    assert new.peak_memory_bytes is None


def test_a_run_of_0_microseconds_is_not_valid(files, quick, monkeypatch, tmp_path):
    """On a clock that moves once in ten seconds, as in every child from its start."""
    clock = (
        "import time\nfine = time.perf_counter_ns\ntime.perf_counter_ns = lambda: fine() // 10**10 * 10**10"
    )
    (tmp_path / "sitecustomize.py").write_text(clock)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    settings = dataclasses.replace(quick, num_runs=8, num_rounds=2, min_secs=0, warmup_min_secs=0)
    measured = run_rounds([files["one"], files["ten"]], settings).measured
    for each in measured:
        assert each.measurement.reasons == ("an inference took 0 microseconds: below the clock's resolution",)
    assert against_baselines(measured, {}) == [None, None]


def test_progress_counts_every_turn_once(files, quick):
    turns = []
    settings = dataclasses.replace(quick, num_runs=6, min_secs=0)
    run_rounds([files["one"], files["int8"]], settings, progress=lambda *turn: turns.append(turn))
    playing = [turn for turn in turns if not turn[2].startswith("starting")]
    assert [done for done, _, _ in playing] == list(range(settings.rounds * 2 + 1))
    assert [name for _, _, name in playing[:4]] == ["one", "int8", "int8", "one"]


def test_an_integer_input_is_filled(files, quick):
    settings = dataclasses.replace(quick, num_runs=6, min_secs=0)
    (measurement,) = measure([files["int8"]], settings)
    assert measurement.valid
    assert math.isfinite(measurement.median_ms)


def test_tensorflow_measures_too(files, quick):
    settings = dataclasses.replace(quick, runtime="tensorflow", num_runs=6, min_secs=0)
    (measurement,) = measure([files["one"]], settings)
    assert measurement.valid
    assert (measurement.runtime, measurement.runtime_version[:2]) == ("tensorflow", "2.")


def test_a_runtime_that_is_not_installed_says_what_to_do(files, quick, monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)  # Python's own way of hiding a package
    settings = dataclasses.replace(quick, runtime="tflite-runtime")
    with pytest.raises(
        MissingToolError, match=r"is not installed here.*--runtime litert.*pip install tflite-runtime"
    ):
        measure([files["one"]], settings)


def test_a_runtime_that_does_not_import_says_why(files, quick, monkeypatch, tmp_path):
    broken = tmp_path / "site" / "ai_edge_litert"
    broken.mkdir(parents=True)
    (broken / "__init__.py").touch()
    (broken / "interpreter.py").write_text("raise ImportError('numpy.core.multiarray failed to import')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    with pytest.raises(
        MissingToolError, match=r"does not import \(ImportError: numpy\.core.*pipeline doctor"
    ):
        measure([files["one"]], quick)
