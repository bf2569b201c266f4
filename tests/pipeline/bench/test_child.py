import importlib.util
import os
import signal
import threading

import pytest

from pipeline.bench.child import Child, ChildFailedError, explain, runtime_version

REQUEST = {"warmup_runs": 1, "warmup_min_secs": 0, "num_runs": 3, "min_secs": 0, "max_secs": 60}
needs_tflite_runtime = pytest.mark.skipif(
    importlib.util.find_spec("tflite_runtime") is None, reason="tflite-runtime has no wheel for this machine"
)


def child(path, *, runtime="litert", patience_secs=60, num_threads=1):
    return Child(path, num_threads=num_threads, runtime=runtime, patience_secs=patience_secs)


def test_a_round_gives_its_times_and_its_memory(files):
    with child(files["one"]) as worker:
        worker.wait_until_ready()
        reply = worker.run_round(REQUEST, busy_secs=60)
    assert len(reply["samples_ns"]) == 3
    assert reply["warmup_runs"] == 1
    assert min(*reply["samples_ns"], reply["first_ns"], reply["init_ns"]) > 0
    assert reply["delegated"] is True


def test_the_memory_grows_with_the_weights(files):
    # ten times the layers are 83 kB more of float32 weights; the runtime keeps them packed as well
    grown = {}
    for name in ("one", "ten"):
        with child(files[name]) as worker:
            worker.wait_until_ready()
            grown[name] = worker.run_round(REQUEST, busy_secs=60)["peak_memory_bytes"]
    extra = files["ten"].stat().st_size - files["one"].stat().st_size
    assert grown["ten"] - grown["one"] > extra / 2
    assert 0 < grown["ten"] < 64e6


def test_a_hung_child_is_ended_and_named(files):
    with child(files["one"], patience_secs=1) as worker:
        os.kill(worker.process.pid, signal.SIGSTOP)  # at once: it must not have answered yet
        with pytest.raises(ChildFailedError, match="hung: no answer in 1 s"):
            worker.wait_until_ready()
        assert worker.process.poll() is not None


def test_a_child_that_closes_its_replies_and_stays_is_ended_and_named(files, tmp_path, monkeypatch):
    runtime = tmp_path / "ai_edge_litert"
    runtime.mkdir()
    (runtime / "__init__.py").touch()
    (runtime / "interpreter.py").write_text(
        "import os, time\n"
        "class Interpreter:\n"
        "    def __init__(self, **_):\n"
        "        os.closerange(3, 100)\n"
        "        time.sleep(600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Child(files["one"], num_threads=1, runtime="litert", patience_secs=30) as child:
        child.wait_until_ready()
        with pytest.raises(ChildFailedError, match="litert hung: no answer in 5 s"):
            child.run_round(REQUEST, busy_secs=1)
        assert child.process.wait(5) < 0


def test_a_child_killed_in_a_round_is_named(files):
    with child(files["one"]) as worker:
        worker.wait_until_ready()
        killer = threading.Timer(0.3, worker.process.kill)
        killer.start()
        with pytest.raises(
            ChildFailedError, match="crashed with this file \\(SIGKILL: most likely the memory was used up\\)"
        ):
            worker.run_round({**REQUEST, "min_secs": 30}, busy_secs=60)
        killer.join()
        with pytest.raises(ChildFailedError, match="SIGKILL"):
            worker.run_round(REQUEST, busy_secs=60)


@needs_tflite_runtime
def test_a_file_that_crashes_a_runtime_leaves_the_parent_alive(truncated):
    with child(truncated, runtime="tflite-runtime") as worker:
        worker.wait_until_ready()
        with pytest.raises(
            ChildFailedError, match=r"^tflite-runtime (crashed with this file|failed while loading)"
        ):
            worker.run_round(REQUEST, busy_secs=60)


def test_a_refused_file_says_why(truncated):
    with child(truncated) as worker:
        worker.wait_until_ready()
        with pytest.raises(
            ChildFailedError, match="litert failed while loading: The model is not a valid Flatbuffer"
        ):
            worker.run_round(REQUEST, busy_secs=60)


def test_a_newer_operator_is_told_with_its_version():
    # as tflite-runtime 2.14 words it
    message = (
        "Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'. An older version of this builtin "
        "might be supported. Are you using an old TFLite binary with a newer model?\nRegistration failed.\n"
    )
    reason = explain("tflite-runtime", "loading", message)
    assert reason == (
        "tflite-runtime has no FULLY_CONNECTED of version 12: an app with this runtime cannot load the file"
    )


def test_installed_runtimes_have_a_version():
    assert runtime_version("litert").startswith("2.")
