"""`pipeline bench --from-log` as it is typed: files, pipes, its options, and a log that adb just brought."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from dataclasses import fields

import pytest

from pipeline.cli import run
from pipeline.commands.from_log import LogRecord

PROGRAM = [sys.executable, "-c", "from pipeline.cli import main; main()", "bench", "--from-log"]
FOLDER = "/data/local/tmp"
COMMAND = (
    f"cd {FOLDER} && ./benchmark_model --graph={FOLDER}/ten.tflite --num_threads=2 --num_runs=25 "
    "--min_secs=0 --warmup_runs=3 --warmup_min_secs=0 --result_file_path=result.pb"
)
NOT_A_RUN = "cpu governor: schedutil\nbattery: 85%\n"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Where a runs folder would be made."""
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def from_log(runs, capsys):
    """Runs `pipeline bench --from-log`: its exit status, stdout and stderr."""

    def call(*words):
        status = run(["bench", "--from-log", *map(str, words)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.fixture
def pushed(lab, phone, files):
    """A phone with the tool and a model, put there with adb alone."""
    phone.adb("push", str(lab.benchmark_model), f"{FOLDER}/benchmark_model")
    phone.adb("push", str(files["ten"]), f"{FOLDER}/ten.tflite")
    phone.shell(f"chmod 755 {FOLDER}/benchmark_model")
    return phone


def latency_of(content):
    """Field number -> float of latency_metrics (2) in a BenchmarkResult, read without its schema."""
    from google.protobuf.empty_pb2 import Empty
    from google.protobuf.unknown_fields import UnknownFieldSet

    (inside,) = [
        field.data for field in UnknownFieldSet(Empty.FromString(content)) if field.field_number == 2
    ]
    numbers = UnknownFieldSet(Empty.FromString(inside))
    return {each.field_number: struct.unpack("<f", struct.pack("<I", each.data))[0] for each in numbers}


MEAN, LEAST, MOST, MEDIAN, P5, P95 = 1, 2, 3, 5, 6, 7
"""benchmark_result.proto, message LatencyMetrics."""


def test_a_log_that_adb_brought_has_the_figures_of_the_tool_s_own_result(pushed, from_log, tmp_path):
    log = tmp_path / "log.txt"
    log.write_text(pushed.shell(f"({COMMAND}) 2>&1").stdout)
    status, out, err = from_log(log, "--json")
    assert (status, err) == (0, "")
    (record,) = json.loads(out)
    wanted = latency_of((pushed.storage / "result.pb").read_bytes())
    # the text has whole microseconds, and six digits of the mean
    for name, number in (("median", MEDIAN), ("min", LEAST), ("max", MOST), ("p5", P5), ("p95", P95)):
        assert record[f"{name}_ms"] == pytest.approx(wanted[number], abs=0.0006)
    assert record["avg_ms"] == pytest.approx(wanted[MEAN], rel=1e-5)
    assert (record["num_threads"], record["num_runs"], record["valid"]) == (2, 25, True)
    assert record["graph"] == f"{FOLDER}/ten.tflite"
    assert record["model_size_bytes"] == pytest.approx(
        (pushed.storage / "ten.tflite").stat().st_size, rel=1e-5
    )


def test_what_adb_shell_prints_can_be_piped_in(pushed, lab, runs):
    adb = subprocess.Popen(
        [lab.adb_path, "-s", pushed.serial, "shell", f"({COMMAND}) 2>&1"], stdout=subprocess.PIPE
    )
    done = subprocess.run([*PROGRAM, "-"], stdin=adb.stdout, capture_output=True, text=True, check=False)
    adb.stdout.close()
    assert adb.wait() == 0
    assert (done.returncode, done.stderr) == (0, "")
    wanted = latency_of((pushed.storage / "result.pb").read_bytes())
    (row,) = [line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["ten"]]
    assert row[1:3] == ["2", "25"]
    # three digits in the table
    assert float(row[3]) == pytest.approx(wanted[MEDIAN], rel=0.006)
    assert "\x1b" not in done.stdout
    assert not runs.exists()


def test_two_runs_in_one_log_are_two_records_of_the_dataclass(pushed, from_log, tmp_path):
    log = tmp_path / "log.txt"
    more = COMMAND.replace("--num_threads=2", "--num_threads=1").replace("ten.tflite", "missing.tflite")
    log.write_text(pushed.shell(f"({COMMAND}; {more}; {COMMAND}) 2>&1").stdout)
    status, out, err = from_log(log, "--json")
    assert status == 0
    records = json.loads(out)
    assert [set(record) for record in records] == [{field.name for field in fields(LogRecord)}] * 2
    assert re.search(r"line \d+: a run did not complete: .*missing\.tflite", err)


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_log_without_a_completed_run_is_status_one(runs, words):
    done = subprocess.run(
        [*PROGRAM, "-", *words], input=NOT_A_RUN, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ("[]\n" if words else "")
    assert "the input holds no completed run of benchmark_model. Give all that it printed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not runs.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--adb",),
        ("--num-threads", "2"),
        ("--num-runs", "50"),  # also where it is the default: it was typed
        ("-s", "R58M"),
        ("--op-profile",),
        ("--sustained", "1"),
        ("model.tflite",),
        ("--", "--use_gpu=true"),
    ],
)
def test_another_option_beside_it_is_refused(from_log, tmp_path, words):
    log = tmp_path / "log.txt"
    log.write_text(NOT_A_RUN)
    status, out, err = from_log(log, *words)
    assert (status, out) == (2, "")
    name = {"-s": "--serial", "model.tflite": "FILE", "--": "FILE"}.get(words[0], words[0])
    assert f"--from-log only reads a log, so {name} has no meaning beside it. Leave it out." in err


def test_a_file_that_is_not_there_is_a_mistake_of_the_user(from_log, tmp_path):
    status, out, err = from_log(tmp_path / "missing.txt")
    assert (status, out) == (2, "")
    assert "No such file or directory. Give a log, a folder, or - for stdin." in err


def test_nothing_is_stored(from_log, tmp_path, runs):
    log = tmp_path / "log.txt"
    log.write_text(
        "INFO: Inference timings in us: Init: 38467, First inference: 9001, Warmup (avg): 8501, "
        "Inference (avg): 7105.25\n"
    )
    status, out, _ = from_log(log)
    assert status == 0
    assert out.splitlines()[-1].startswith("1 run. Nothing was stored")
    assert not runs.exists()
