import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.commands.from_log import LogRecord, show_log
from pipeline.errors import PipelineError, UsageError

LOGS = Path(__file__).parents[4] / "shared" / "reference" / "logs"
GOOD = """\
phone:/ $ ./benchmark_model --graph=/data/local/tmp/net_int8.tflite --use_gpu=true
INFO: STARTING!
INFO: Num threads: [4]
INFO: Graph: [/data/local/tmp/net_int8.tflite]
INFO: The input model file size (MB): 2.5
INFO: Initialized session in 12.345ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 60 seconds.
INFO: count=3 first=9001 curr=8001 min=8001 max=9001 avg=8501.33 std=410 p5=8001 median=8502 p95=9001
INFO: Running benchmark for at least 20 iterations and at least 1 seconds but terminate if exceeding 60 seconds.
INFO: count=25 first=7001 curr=7202 min=6903 max=7999 avg=7105.25 std=101 p5=6950 median=7100 p95=7500
INFO: Inference timings in us: Init: 12345, First inference: 9001, Warmup (avg): 8501.33, Inference (avg): 7105.25
INFO: Memory footprint delta from the start of the tool (MB): init=4.5 overall=8.25
"""  # noqa: E501 - as printed
PARTIAL = GOOD.replace(
    "INFO: The input",
    "INFO: Use gpu: [1]\n"
    "INFO: 40 operations will run on the GPU, and the remaining 9 operations will run on the CPU.\n"
    "INFO: The input",
)
NONE_TAKEN = PARTIAL.replace("40 operations", "0 operations").replace("remaining 9", "remaining 49")
FAILED = "STARTING!\nGraph: [x.tflite]\nERROR: Could not open 'x.tflite'.\nBenchmarking failed.\n"


@pytest.fixture
def log(tmp_path):
    """Writes a log and returns its path."""

    def write(content):
        path = tmp_path / "log.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def test_a_run_is_a_line_of_the_table_and_a_failed_one_a_line_on_stderr(log, capsys):
    path = log(GOOD + FAILED)
    assert show_log(path, as_json=False) == 0
    printed = capsys.readouterr()
    row = next(line for line in printed.out.splitlines() if line.strip().startswith("net_int8"))
    assert " ".join(row.split()) == "net_int8 4 25 7.10 7.11 6.95 7.50 6.90 0.101 9.00 12.3 8.65 2.50"
    assert printed.out.splitlines()[-1].startswith("1 run, 1 that did not complete. Nothing was stored")
    assert printed.err == f"{path}, line 15: a run did not complete: Could not open 'x.tflite'.\n"


def test_a_run_that_is_not_what_was_asked_for_says_so(log, capsys):
    assert show_log(log(PARTIAL), as_json=False) == 0
    out = capsys.readouterr().out
    assert "net_int8: gpu: 40 of 49 nodes." in out
    assert "not valid" not in out
    assert show_log(log(NONE_TAKEN), as_json=False) == 0
    out = capsys.readouterr().out
    assert "net_int8: gpu: 0 of 49 nodes." in out
    assert "net_int8 is not valid: GPU took no node of 49." in out


def test_json_has_a_record_for_each_run_and_nothing_else(log, capsys):
    assert show_log(log(GOOD + NONE_TAKEN + FAILED), as_json=True) == 0
    printed = capsys.readouterr()
    records = json.loads(printed.out)
    assert [set(record) for record in records] == [
        {field.name for field in dataclasses.fields(LogRecord)}
    ] * 2
    assert [record["valid"] for record in records] == [True, False]
    assert records[0]["median_ms"] == 7.1
    assert records[0]["overall_memory_bytes"] == 8.25 * 1024**2
    assert records[1]["reasons"] == ["GPU took no node of 49"]
    assert "did not complete" in printed.err


def test_a_figure_that_was_not_printed_is_a_dash_and_null(log, capsys):
    old = "Average inference timings in us: Warmup: 83235, Init: 38467, Inference: 79760.9\n"
    assert show_log(log(old), as_json=False) == 0
    assert "run 1 - - - 79.8 - - - - - 38.5 - -" in " ".join(capsys.readouterr().out.split())
    assert show_log(log(old), as_json=True) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert (record["median_ms"], record["num_runs"], record["avg_ms"]) == (None, None, 79.7609)


PROFILE = """\
INFO: Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
[node type] [first] [avg ms] [%] [cdf%] [mem KB] [times called] [Name]
QUANTIZE 0.1 0.1 10.000% 10.000% 0.000 1 in:0
Convolution (NHWC, QC8) IGEMM 0.9 0.9 90.000% 100.000% 0.000 1 Delegate/Convolution (NHWC, QC8) IGEMM:0

Number of nodes executed: 2
"""


@pytest.mark.parametrize("form", ["{}", "07-14 13:14:52.097 22838 22901 I tflite  : {}", "> {}"])
def test_the_profile_in_a_log_is_shown(log, capsys, form):
    text = "".join(form.format(line) + "\n" for line in (GOOD + PROFILE).splitlines())
    path = log(text)
    assert show_log(path, as_json=False) == 0
    out = capsys.readouterr().out
    assert re.search(r"QUANTIZE +0\.100 +10\.0% +1", out)
    assert re.search(r"Convolution IGEMM +0\.900 +90\.0% +1", out)
    assert "only converting numbers: 1 operator, 0.100 ms, 10.0% (QUANTIZE x 1)" in out
    assert "not whole" not in out
    show_log(path, as_json=True)
    (record,) = json.loads(capsys.readouterr().out)
    assert [each["node_type"] for each in record["operators"]] == [
        "QUANTIZE",
        "Convolution (NHWC, QC8) IGEMM",
    ]
    show_log(log(GOOD + PROFILE.replace("executed: 2", "executed: 3")), as_json=False)
    assert "the operators are not whole" in capsys.readouterr().out


def test_a_log_without_a_profile_shows_none(log, capsys):
    show_log(log(GOOD), as_json=False)
    assert "operator" not in capsys.readouterr().out


def test_the_captured_profiles_are_shown(capsys):
    if not LOGS.is_dir():
        pytest.skip(f"the captured logs are not at {LOGS}")
    for name in ("litert_2.1.4_x86_64/opprof_f32.stdout", "tflite_2.9_x86_64/opprof_f32.stdout"):
        show_log(str(LOGS / name), as_json=False)
        assert "only converting numbers: none" in capsys.readouterr().out


def test_runs_of_one_file_are_numbered(log, capsys):
    show_log(log(GOOD + GOOD), as_json=False)
    out = capsys.readouterr().out
    assert "run 1 net_int8" in out
    assert "run 2 net_int8" in out


def test_a_narrow_terminal_gets_two_tables_with_nothing_cut(log, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    show_log(log(GOOD), as_json=False)
    out = capsys.readouterr().out
    assert out.count("net_int8") == 2
    assert "…" not in out


@pytest.mark.parametrize("content", ["", "hello\n", FAILED])
def test_a_log_without_a_completed_run_is_status_one_and_says_what_to_give(log, capsys, content):
    path = log(content)
    assert show_log(path, as_json=False) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{path} holds no completed run of benchmark_model. Give all that it printed" in printed.err
    assert show_log(path, as_json=True) == 1
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_log_that_windows_wrote_is_read(log, capsys, encoding):
    assert show_log(log(GOOD.replace("\n", "\r\n").encode(encoding)), as_json=True) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_a_log_that_android_studio_exported_is_read(log, capsys):
    messages = [
        {
            "header": {
                "logLevel": "INFO",
                "pid": 18088,
                "tid": 18088,
                "applicationId": "org.tensorflow.lite.benchmark",
                "processName": "org.tensorflow.lite.benchmark",
                "tag": "tflite",
                "timestamp": {"seconds": 1721398210, "nanos": 844000000},
            },
            "message": line.removeprefix("INFO: "),
        }
        for line in GOOD.splitlines()
    ]
    export = json.dumps({"metadata": {"filter": "package:mine"}, "logcatMessages": messages}, indent=2)
    assert show_log(log(export), as_json=True) == 0
    assert json.loads(capsys.readouterr().out)[0]["median_ms"] == 7.1
    with pytest.raises(PipelineError, match="an export of Android Studio, but is cut"):
        show_log(log(export[:-9]), as_json=True)


def test_a_log_in_another_encoding_is_read(log, capsys):
    assert show_log(log(b"caf\xe9:/ $ ls\n" + GOOD.encode()), as_json=True) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_a_file_that_is_not_text_is_a_finding(log):
    with pytest.raises(PipelineError, match="is not text") as refusal:
        show_log(log(b"\x1c\x00\x00\x00TFL3" + bytes(40)), as_json=False)
    assert refusal.value.exit_status == 1


def test_a_path_that_cannot_be_read_is_a_usage_error(tmp_path):
    for path in (tmp_path / "missing.txt", tmp_path / "\0"):
        with pytest.raises(UsageError, match=r"Give a log, a folder") as refusal:
            show_log(str(path), as_json=False)
        assert refusal.value.exit_status == 2


def test_a_dash_is_the_standard_input():
    program = (
        "import sys; from pipeline.commands.from_log import show_log; sys.exit(show_log('-', as_json=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=GOOD + FAILED, capture_output=True, text=True, check=True
    )
    assert len(json.loads(done.stdout)) == 1
    assert done.stderr.startswith("the input, line 15: ")


def test_every_captured_log_is_shown(capsys):
    if not LOGS.is_dir():
        pytest.skip(f"the captured logs are not at {LOGS}")
    statuses = {path.name[:3].rstrip("_"): show_log(str(path), as_json=False) for path in LOGS.glob("*.txt")}
    assert {name for name, status in statuses.items() if status == 1} == {"05", "06", "07", "09"}
    assert "NNAPI took no node" in capsys.readouterr().out
