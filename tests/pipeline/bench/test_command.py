import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export.files import sha256_of
from pipeline.bench.settings import BenchSettings
from pipeline.cli import run
from pipeline.records.measurement import Measurement
from pipeline.store.store import open_store

QUICK = ["--num-runs", "12", "--min-secs", "0", "--warmup-min-secs", "0", "--max-wait", "1"]
"""Other tests share the machine's cores."""


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    """An empty runs folder."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("PIPELINE_RUNS", str(folder))
    return folder


def test_json_has_the_dataclass_fields_and_nothing_else(files, capsys):
    assert run(["bench", str(files["one"]), str(files["ten"]), "--json", *QUICK]) == 0
    printed = capsys.readouterr()
    records = json.loads(printed.out)
    names = {field.name for field in dataclasses.fields(Measurement)}
    assert [set(record) for record in records] == [names, names]
    assert [record["path"] for record in records] == [str(files["one"]), str(files["ten"])]
    assert printed.err == ""


def test_every_measurement_is_stored_also_of_a_file_without_sidecar(files, runs, capsys):
    assert run(["bench", str(files["one"]), "--num-threads", "1,2", "--json", *QUICK]) == 0
    printed = json.loads(capsys.readouterr().out)
    with open_store(runs) as store:
        stored = store.measurements(sha256_of(files["one"]))
    assert sorted(each.median_ms for each in stored) == sorted(record["median_ms"] for record in printed)


def test_the_table_ends_with_what_to_run_next(files, capsys):
    assert run(["bench", str(files["one"]), str(files["ten"]), *QUICK]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert any(line.split()[0] == "ten" and line.endswith("x as long ") for line in lines if line.strip())
    assert lines[-1].startswith("stored 2 measurements in ")
    assert lines[-1].endswith("Next: pipeline report")


def test_a_truncated_file_is_one_line_and_nothing_is_stored(truncated, runs, capsys):
    assert run(["bench", str(truncated), *QUICK]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith(f"pipeline: {truncated} is truncated or damaged")
    assert not runs.exists()


@pytest.mark.parametrize("wrong", ["0", "x", "1,", "-1", "1.5", "2,0", ""])
def test_a_wrong_number_of_threads_is_a_usage_error(wrong, files, capsys):
    assert run(["bench", str(files["one"]), "--num-threads", wrong]) == 2
    assert "is not a number of threads" in capsys.readouterr().err


def test_an_unknown_runtime_gets_the_nearest_name(files, capsys):
    assert run(["bench", str(files["one"]), "--runtime", "tflite-runtme"]) == 2
    assert "Did you mean 'tflite-runtime'?" in capsys.readouterr().err


def test_a_mistyped_file_gets_the_nearest_name(files, capsys):
    assert run(["bench", str(files["one"].with_name("onne.tflite"))]) == 2
    assert "Did you mean 'one.tflite'?" in capsys.readouterr().err


def test_without_a_run_it_says_how_to_get_one(capsys):
    assert run(["bench"]) == 1
    assert "pipeline train" in capsys.readouterr().err


def test_a_file_that_could_not_be_measured_is_told_below_the_table_and_exits_1(files, capsys):
    pytest.importorskip("tflite_runtime", reason="tflite-runtime has no wheel for this machine")
    arguments = ["bench", str(files["one"]), str(files["dynamic"]), "--runtime", "tflite-runtime", *QUICK]
    assert run(arguments) == 1
    out = capsys.readouterr().out
    assert "dynamic, 1 thread, is not valid: tflite-runtime has no FULLY_CONNECTED of version" in out
    assert "stored 2 measurements" in out


def test_the_help_shows_the_defaults_of_the_settings(capsys):
    assert run(["bench", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in (
        "num_runs",
        "warmup_runs",
        "min_secs",
        "max_secs",
        "warmup_min_secs",
        "num_rounds",
        "runtime",
    ):
        option = f"--{name.replace('_', '-')}"
        shown = text.partition(f" {option} ")[2].partition("[default: ")[2]
        assert re.split(r"[];]", shown)[0] == str(getattr(BenchSettings(), name)), option


def test_the_command_is_light_to_import():
    code = "import sys, pipeline.commands.bench; print({'numpy', 'rich', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def is_loaded(path, workers):
    """Whether a child has mapped the file into its memory, which the runtime does to load it."""
    return any(str(path) in Path(f"/proc/{process}/maps").read_text() for process in workers(path))


def test_ctrl_c_exits_130_leaves_no_child_and_keeps_what_was_measured(files, runs, workers):
    code = "import sys; from pipeline.cli import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "bench", files["one"], "--min-secs", "60", "--num-rounds", "600"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not is_loaded(files["one"], workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2)  # a round takes 0.1 s
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped after" in out
    assert err.strip().splitlines()[-1] == "pipeline: stopped. What was finished is kept."
    assert "Traceback" not in err
    assert not workers(files["one"])
    with open_store(runs) as store:
        (stored,) = store.measurements(sha256_of(files["one"]))
    assert not stored.valid
    assert Path(stored.path).name == "one.tflite"


def test_a_store_that_cannot_be_written_does_not_take_the_figures_along(files, tmp_path, monkeypatch, capsys):
    (tmp_path / "results.sqlite").mkdir()  # a folder where the store's file should be
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path))
    assert run(["bench", str(files["one"]), *QUICK]) == 1
    printed = capsys.readouterr()
    assert "median" in printed.out
    assert "stored" not in printed.out
    assert "results.sqlite cannot be used" in printed.err


def test_more_threads_than_cpus_are_warned_of(files, capsys):
    num = len(os.sched_getaffinity(0)) + 1
    assert run(["bench", str(files["one"]), "--num-threads", str(num), "--json", *QUICK]) == 0
    printed = capsys.readouterr()
    assert f"{num} threads on {num - 1} CPU" in printed.err
    assert json.loads(printed.out)[0]["num_threads"] == num
