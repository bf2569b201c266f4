import json
import subprocess
import sys
import time

import pytest

from pipeline.bench.child import WORKER
from pipeline.bench.worker import CHUNK, timed_runs


def test_a_run_is_timed_as_long_as_it_takes():
    times = timed_runs(lambda: time.sleep(0.01), 5, 0, 10)
    assert len(times) == 5
    # sleep() promises at least; 5 ms more is the scheduler's on a busy machine
    assert sorted(times)[2] == pytest.approx(10e6, abs=5e6)
    assert min(times) >= 10e6


def test_runs_go_on_until_both_the_number_and_the_seconds_are_reached():
    assert len(timed_runs(lambda: None, 3, 0, 10)) == 3
    begin = time.perf_counter()
    assert len(timed_runs(lambda: None, 3, 0.05, 10)) > 3
    assert time.perf_counter() - begin >= 0.05


def test_no_run_begins_after_max_secs():
    assert len(timed_runs(lambda: time.sleep(0.03), 50, 10, 0.05)) == 2


def test_nothing_asked_is_nothing_run():
    assert len(timed_runs(lambda: 1 / 0, 0, 0, 10)) == 0


def test_more_runs_than_the_buffer_holds_are_all_kept():
    assert len(timed_runs(lambda: None, 2 * CHUNK + 5, 0, 60)) == 2 * CHUNK + 5


def test_the_child_imports_numpy_and_the_runtime_alone():
    code = """
import runpy, sys
worker = runpy.run_path(sys.argv[1], run_name="worker")
worker["_import_interpreter"]("litert")
heavy = ("tensorflow", "keras", "rich", "click", "pipeline", "export", "tflite_runtime", "pandas")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, WORKER], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_child_ends_when_its_parent_does(files):
    process = subprocess.Popen(
        [sys.executable, "-P", WORKER, files["one"], "1", "litert"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert json.loads(process.stdout.readline()) == {"ready": True}
        process.stdin.close()
        assert process.wait(timeout=20) == 0
