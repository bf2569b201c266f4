"""`pipeline bench --from-log FOLDER`: what a cloud lab's session leaves."""

import json
import shutil

import pytest
from captured_logs import LOGS, needs_logs

from pipeline.cli import run
from pipeline.commands.from_log import show_log
from pipeline.errors import UsageError

CAPTURED = LOGS / "litert_2.1.4_x86_64"
LOGCAT = "07-14 13:14:52.097  22838  22838 I tflite  : {}\n"
OF_THE_RESULT = """\
STARTING!
Graph: [/data/local/tmp/mobilenet.tflite]
Replacing 31 out of 31 node(s) with delegate (LITERT_CL) node, yielding 1 partitions for subgraph 0.
The input model file size (MB): 16.8638
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=86 first=6320 curr=5800 min=5600 max=6320 avg=5825.23 std=90 p5=5600 median=5800 p95=6000
Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=172 first=5700 curr=5800 min=5570 max=6219 avg=5789.44 std=118 p5=5610 median=5784 p95=5999
Inference timings in us: Init: 19485, First inference: 6320, Warmup (avg): 5825.23, Inference (avg): 5789.44
"""
"""The figures of result_f32.pbtxt, as the tool prints them."""
OTHER = OF_THE_RESULT.replace("5789.44", "5799.44").replace("mobilenet", "other")


@pytest.fixture
def session(tmp_path):
    """Writes the files of a session, text or bytes by their paths in it, and returns its folder."""

    def write(files):
        home = tmp_path / "session-fff9643f"
        for name, content in files.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                shutil.copy(CAPTURED / "result_f32.pb", path)
            else:
                path.write_text(content)
        return home

    return write


def logcat(text):
    noise = "07-14 13:14:52.097  900  901 E SomeService: has nothing to do with it\n"
    return "".join(noise + LOGCAT.format(line) for line in text.splitlines())


def records(home, capsys):
    status = show_log(str(home), as_json=True)
    return status, json.loads(capsys.readouterr().out)


@needs_logs
def test_a_session_of_developer_device_platform_is_rows_of_its_phones(session, capsys):
    home = session(
        {
            "gpu-caiman-35/results.pb": None,
            "gpu-caiman-35/runtime_info.pb": "not read",
            "gpu-caiman-35/logcat.txt": logcat(OF_THE_RESULT),
            "cpu-pa3q-35/results.pb": None,
            "cpu-pa3q-35/logcat.txt": logcat(OF_THE_RESULT.splitlines(keepends=True)[0]),
        }
    )
    status, found = records(home, capsys)
    assert status == 0
    assert [(each["where"], each["accelerator"], each["valid"]) for each in found] == [
        ("pa3q-35", "cpu", True),
        ("caiman-35", "gpu", True),
    ]
    for each in found:  # of result_f32.pbtxt
        assert each["median_ms"] == pytest.approx(5.784)
        assert each["avg_ms"] == pytest.approx(5.78943586)
        assert each["num_runs"] == 172
        assert each["init_memory_bytes"] == 42724 * 1024
    assert found[1]["graph"] == "/data/local/tmp/mobilenet.tflite"
    assert show_log(str(home), as_json=False) == 0
    out = capsys.readouterr().out
    assert "caiman-35 gpu mobilenet: gpu: 31 of 31 nodes." in out
    assert "pa3q-35 cpu" in out


@needs_logs
def test_a_result_file_alone_does_not_prove_that_the_accelerator_ran(session, capsys):
    _, (cpu, gpu) = records(session({"cpu-a/results.pb": None, "gpu-a/results.pb": None}), capsys)
    assert (cpu["valid"], gpu["valid"]) == (True, False)
    assert gpu["reasons"] == ["no line says that GPU took any node"]


@needs_logs
def test_several_runs_of_one_phone_have_their_own_result_files(session, capsys):
    home = session(
        {
            "pixel/run_0/stdout.txt": OTHER,
            "pixel/run_1/stdout.txt": OF_THE_RESULT,
            "pixel/run_1/results.pb": None,
            "galaxy/stdout_0.txt": OTHER,
            "galaxy/stdout_1.txt": OF_THE_RESULT,
            "galaxy/stderr_1.txt": "ERROR: something of no weight\n",
            "galaxy/result_1.pb": None,
            "galaxy/logcat": logcat(OTHER) + logcat(OF_THE_RESULT),  # the same runs again
        }
    )
    _, found = records(home, capsys)
    assert [(each["where"], each["avg_ms"]) for each in found] == [
        ("galaxy", pytest.approx(5.79944)),
        ("galaxy", pytest.approx(5.78943586)),
        ("pixel", pytest.approx(5.79944)),
        ("pixel", pytest.approx(5.78943586)),
    ]
    assert [each["reasons"] for each in found] == [[]] * 4


@needs_logs
def test_a_result_file_that_its_log_contradicts_is_not_valid(session, capsys):
    _, (found,) = records(session({"cpu-a/stdout.txt": OTHER, "cpu-a/results.pb": None}), capsys)
    assert not found["valid"]
    assert "the text says avg 5.79944 ms, the result file 5.789436 ms" in found["reasons"]


def test_a_matrix_of_firebase_is_rows_of_its_devices(session, capsys):
    home = session(
        {
            "2026-07-14_10:10:10.123456_abcd/redfin-30-en-portrait/logcat": logcat(OF_THE_RESULT),
            "2026-07-14_10:10:10.123456_abcd/redfin-30-en-portrait/video.mp4": "no log",
            "2026-07-14_10:10:10.123456_abcd/oriole-33-en-portrait/artifacts/stdout.txt": OTHER,
            "2026-07-14_10:10:10.123456_abcd/oriole-33-en-portrait/logcat": "STARTING!\nGraph: [x]\n",
        }
    )
    status, found = records(home, capsys)
    assert (status, [each["where"] for each in found]) == (
        0,
        ["oriole-33-en-portrait", "redfin-30-en-portrait"],
    )
    show_log(str(home), as_json=False)
    assert "oriole-33-en-portrait/logcat, line 2: a run did not complete" in capsys.readouterr().err


def test_the_device_that_the_session_s_own_file_names_counts(session, capsys):
    home = session(
        {"session.json": json.dumps({"device": "Mac Studio"}), "gpu-mac/stdout.txt": OF_THE_RESULT}
    )
    assert records(home, capsys)[1][0]["where"] == "Mac Studio"


def test_one_job_s_folder_is_read_too(session, capsys):
    home = session({"gpu-caiman-35/stdout.txt": OF_THE_RESULT})
    assert records(home / "gpu-caiman-35", capsys)[1][0]["where"] == "caiman-35"


def test_a_folder_without_logs_is_refused_and_a_bad_file_in_it_is_told(session, capsys):
    with pytest.raises(UsageError, match=r"holds no log \(.*\) and no result file"):
        show_log(str(session({"cpu-a/video.mp4": ""})), as_json=False)
    home = session({"cpu-a/results.pb": "", "cpu-a/stdout.txt": OTHER, "cpu-a/model.txt": "TFL3\0\0"})
    assert run(["bench", "--from-log", str(home)]) == 0
    err = capsys.readouterr().err
    assert "results.pb, line 1: a run did not complete: the result file is empty" in err
    assert "model.txt, line 1: a run did not complete: it is not text" in err


@needs_logs
def test_stderr_beside_stdout_says_why_a_run_failed(capsys):
    show_log(str(CAPTURED), as_json=False)
    err = capsys.readouterr().err
    assert "nonexistent.stdout, line 1: a run did not complete: Could not open 'models/does_not_exist" in err
    assert "m_custom.stdout" in err
    assert "Encountered unresolved custom op: Svd (Failed to allocate tensors)" in err
