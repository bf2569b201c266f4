"""`pipeline bench --from-log FOLDER`: what a cloud lab's session leaves."""

import gzip
import json
import shutil
import subprocess
import sys
from functools import cache

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
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(content)
        return home

    return write


MAKE_INFO = """
import json, sys
from ai_edge_litert import model_runtime_info_pb2
delegates, total = json.loads(sys.argv[1])
message = model_runtime_info_pb2.ModelRuntimeDetails()
message.subgraphs.add(subgraph_id=1, subgraph_type=2).nodes.add(id=0, name="inside a delegate")
graph = message.subgraphs.add(subgraph_id=0, subgraph_type=1)
for number in range(total):
    graph.nodes.add(id=number, name="CONV_2D", type="3", inputs=[number], outputs=[number + 1])
    graph.edges.add(id=number, name=f"tensor {number}", shape=[1, 8, 8, 3])
begin = 0
for number, (name, taken) in enumerate(delegates.items(), start=total):
    node = graph.nodes.add(id=number, name=name)
    node.delegate_node_details.delegate_name = name
    node.delegate_node_details.tflite_node_ids_replaced.extend(range(begin, begin + taken))
    begin += taken
    graph.execution_plan.append(number)
graph.execution_plan.extend(range(begin, total))
sys.stdout.buffer.write(message.SerializeToString())
"""
"""Its own process: TensorFlow's messages have the same names."""


def runtime_info(delegates, *, total):
    """What the tool writes, by LiteRT's own class: each delegate takes the next nodes, by their number."""
    return made_info(json.dumps([delegates, total]))


@cache
def made_info(asked):
    return subprocess.run([sys.executable, "-c", MAKE_INFO, asked], capture_output=True, check=True).stdout


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
            "gpu-caiman-35/runtime_info.pb": runtime_info({"LITERT_CL": 31}, total=31),
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
    assert "results.pb is not read: the result file is empty.\n" in err
    assert "model.txt is not read: it is not text: it holds NUL bytes." in err


@needs_logs
def test_stderr_beside_stdout_says_why_a_run_failed(capsys):
    show_log(str(CAPTURED), as_json=False)
    err = capsys.readouterr().err
    assert "nonexistent.stdout, line 1: a run did not complete: Could not open 'models/does_not_exist" in err
    assert "m_custom.stdout" in err
    assert "Encountered unresolved custom op: Svd (Failed to allocate tensors)" in err


# --- what took the nodes ---


TOOK_NONE = "GPU took no node of 31"


@needs_logs
@pytest.mark.parametrize(
    ("delegates", "shown", "reasons"),
    [
        ({"TfLiteGpuDelegateV2": 31}, ["gpu: 31 of 31 nodes"], []),
        (
            {"LITERT_CL": 20, "TfLiteXNNPackDelegate": 9},
            ["gpu: 20 of 31 nodes", "xnnpack: 9 of 31 nodes"],
            [],
        ),
        ({"TfLiteXNNPackDelegate": 31}, ["xnnpack: 31 of 31 nodes", "gpu: 0 of 31 nodes"], [TOOK_NONE]),
        ({}, ["gpu: 0 of 31 nodes"], [TOOK_NONE]),
    ],
)
def test_the_runtime_info_proves_what_the_accelerator_took(session, capsys, delegates, shown, reasons):
    info = runtime_info(delegates, total=31)
    _, (found,) = records(session({"gpu-a/results.pb": None, "gpu-a/runtime_info.pb": info}), capsys)
    assert found["delegates"] == shown
    assert found["reasons"] == reasons


@needs_logs
def test_the_runtime_info_answers_where_the_log_is_silent_and_says_where_it_differs(session, capsys):
    asked = OF_THE_RESULT.replace("STARTING!", "STARTING!\nUse gpu: [1]")
    silent = asked.replace("Replacing", "X")
    home = session(
        {
            "a/stdout.txt": silent,
            "b/stdout.txt": silent,
            "b/runtime_info.pb": runtime_info({"LITERT_CL": 31}, total=31),
            "c/stdout.txt": asked,
            "c/runtime_info.pb": runtime_info({"LITERT_CL": 30}, total=31),
        }
    )
    _, found = records(home, capsys)
    assert [each["reasons"] for each in found] == [
        ["no line says that GPU took any node"],
        [],
        ["the text says nodes on GPU 31, the result file 30"],
    ]


def test_a_damaged_runtime_info_is_named_and_cut_anywhere_never_raises(session, capsys):
    whole = runtime_info({"LITERT_CL": 31}, total=31)
    for end in range(0, len(whole), 41):
        home = session({"gpu-a/stdout.txt": OF_THE_RESULT, "gpu-a/runtime_info.pb": whole[:end]})
        assert records(home, capsys)[0] == 0
    show_log(str(session({"gpu-a/runtime_info.pb": b""})), as_json=False)
    assert "runtime_info.pb is not read: the runtime info is empty." in capsys.readouterr().err


# --- the layouts of others ---


@needs_logs
def test_a_session_as_it_lies_in_the_bucket_is_one_row_a_job(session, capsys):
    home = session(
        {
            "job-000/artifacts/data/local/tmp/results.pb": None,
            "job-000/artifacts/data/local/tmp/runtime_info.pb": runtime_info({"LITERT_CL": 31}, total=31),
            "job-000/logcat.txt": logcat(OF_THE_RESULT),
            "job-001/artifacts/data/local/tmp/results.pb": None,
            "job-001/logcat.txt": logcat("STARTING!\n"),
        }
    )
    _, found = records(home, capsys)
    assert [(each["where"], each["valid"], each["graph"]) for each in found] == [
        ("job-000", True, "/data/local/tmp/mobilenet.tflite"),
        ("job-001", True, None),
    ]


@needs_logs
def test_the_runs_of_a_script_keep_their_own_files(session, capsys):
    out = "gpu-caiman-35/artifacts/data/local/tmp/output/"
    home = session(
        {
            f"{out}cpu.log": OTHER.replace("LITERT_CL", "TfLiteXNNPackDelegate"),
            f"{out}runtime_info_cpu.pb": runtime_info({"TfLiteXNNPackDelegate": 31}, total=31),
            f"{out}gpu.log": OF_THE_RESULT.replace("Replacing", "X"),
            f"{out}results_gpu.pb": None,
            f"{out}runtime_info_gpu.pb": runtime_info({"LITERT_CL": 31}, total=31),
            "gpu-caiman-35/logcat.txt": logcat(OTHER) + logcat(OF_THE_RESULT),
        }
    )
    _, found = records(home, capsys)
    assert [(each["avg_ms"], each["delegates"]) for each in found] == [
        (pytest.approx(5.79944), ["xnnpack: 31 of 31 nodes", "gpu: 0 of 31 nodes"]),
        (pytest.approx(5.78943586), ["gpu: 31 of 31 nodes"]),
    ]
    assert [each["valid"] for each in found] == [False, True]


def test_strangers_names_and_files_are_rows_of_their_phones(session, capsys):
    failed = "STARTING!\nERROR: Could not open 'x.tflite'.\nBenchmarking failed.\n"
    home = session(
        {
            "Xperia 1 Ⅴ (日本)/run 1/stdout.txt": OF_THE_RESULT,
            "Xperia 1 Ⅴ (日本)/run 2/stdout.txt": OTHER,
            "a51/stdout.txt": OTHER,
            "cafe/console.log.gz": gzip.compress(OTHER.encode()),
            "Żółw-34-pl_PL-portrait/logcat": logcat(OTHER),
            "Żółw-34-pl_PL-portrait/instrumentation.results": "INSTRUMENTATION_CODE: -1\n",
            "Żółw-34-pl_PL-portrait/test_result_1.xml": "<testsuite/>",
            "Żółw-34-pl_PL-portrait/._logcat": b"\0\5\x16\7Mac OS X",
            "Żółw-34-pl_PL-portrait-rerun_1/logcat": logcat(failed),
        }
    )
    status, found = records(home, capsys)
    assert status == 0
    assert [each["where"] for each in found] == [
        "Xperia 1 Ⅴ (日本)",
        "Xperia 1 Ⅴ (日本)",
        "a51",
        "cafe",
        "Żółw-34-pl_PL-portrait",
    ]
    show_log(str(home), as_json=False)
    printed = capsys.readouterr()
    assert "Xperia 1 Ⅴ (日本) mobilenet: gpu: 31 of 31 nodes." in printed.out
    assert printed.err.count("did not complete") == 1
    assert "rerun_1/logcat, line 4: a run did not complete: Could not open 'x.tflite'" in printed.err
    assert "not read" not in printed.err


def test_two_processes_in_a_logcat_of_the_whole_device_are_two_rows(session, capsys):
    lines = zip(OF_THE_RESULT.splitlines(), OTHER.splitlines(), strict=True)
    noise = "07-14 13:14:52.097  900  901 W art     : count=1 curr=5 | Inference (avg): 3\n"
    form = "07-14 13:14:52.097   {}   {} I tflite  : {}\n"
    mixed = "".join(noise + form.format(11, 11, one) + form.format(22, 22, two) for one, two in lines)
    _, found = records(session({"redfin-30-en-portrait/logcat": mixed}), capsys)
    assert [each["avg_ms"] for each in found] == [5.78944, 5.79944]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04" + bytes(40), "a zip archive. Unpack it and give its folder"),
        (gzip.compress(bytes(257) + b"ustar" + bytes(250)), "a tar archive. Unpack it"),
        (gzip.compress(OTHER.encode())[:200], ""),
        (gzip.compress(OTHER.encode())[:20] + bytes(50), "its gzip is cut"),
        (gzip.compress(OTHER.encode())[:60] + b"\xff" * 500, "its gzip is damaged"),
        (gzip.compress(bytes(257_000_000), 1), "it is larger than 256 MB"),
        (bytes(4) + b"TFL3" + bytes(50), "a model. Give what benchmark_model printed"),
    ],
    ids=["zip", "tar", "cut log", "cut gzip", "damaged gzip", "large", "model"],
)
def test_what_is_no_log_is_refused_by_what_it_is(tmp_path, capsys, content, said):
    path = tmp_path / "log.txt"
    path.write_bytes(content)
    assert run(["bench", "--from-log", str(path)]) == 1
    assert said in capsys.readouterr().err


def operation(*jobs):
    """What Developer Device Platform answers to a finished session, as LiteRT's command reads it."""
    reports = [
        {
            "displayName": name,
            "result": {"resultType": result},
            "executionReports": [
                {
                    "outputFiles": [
                        {"gcsOutputFile": {"path": f"gs://bucket/sessions/s-1/{job}/e-1/{file}"}}
                        for file in ("artifacts/data/local/tmp/results.pb", "logcat.txt")
                    ]
                }
            ],
        }
        for job, name, result in jobs
    ]
    return {"name": "operations/op-1", "done": True, "response": {"sessionReport": {"jobReports": reports}}}


@needs_logs
def test_the_labs_answer_names_the_phones_of_the_buckets_folders(session, capsys):
    jobs = [("job-000", "gpu-caiman-35", "PASSED"), ("job-001", "cpu-pa3q-35", "PASSED")]
    files = {
        "operation.json": json.dumps(operation(*jobs)),
        "job-000/e-1/artifacts/data/local/tmp/results.pb": None,
        "job-000/e-1/logcat.txt": logcat(OF_THE_RESULT),
        "job-001/e-1/artifacts/data/local/tmp/results.pb": None,
        "job-001/e-1/logcat.txt": logcat("STARTING!\n"),
    }
    _, found = records(session(files), capsys)
    assert [(each["where"], each["accelerator"]) for each in found] == [
        ("caiman-35", "gpu"),
        ("pa3q-35", "cpu"),
    ]


def test_the_session_as_it_was_asked_for_names_device_and_accelerator(session, capsys):
    report = operation(("j-1", "Nightly run", "PASSED"), ("j-2", "Other run", "FAILED"))["response"]
    report["sessionConfig"] = {
        "jobConfigs": [
            {
                "displayName": "Nightly run",
                "labels": {"accelerator": "gpu"},
                "allocationConfig": {"deviceConfigs": [{"requirement": {"deviceId": "caiman-35"}}]},
            }
        ]
    }
    home = session({"session.json": json.dumps(report, indent=1), "j-1/e-1/stdout.txt": OF_THE_RESULT})
    _, (found,) = records(home, capsys)
    assert (found["where"], found["accelerator"]) == ("caiman-35", "gpu")
    show_log(str(home), as_json=False)
    said = capsys.readouterr().err
    assert "session.json, line " in said
    assert "a run did not complete: the lab says FAILED of the job Other run." in said


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b'{"response": 3}', b'{"sessionReport": {"jobReports": [3, {"result": []}]}}',
     b'{"sessionReport": {"jobReports": [{"displayName": 7, "executionReports": [{"outputFiles": 1}]}]}}',
     b"[" * 100_000],
)  # fmt: skip
def test_any_other_json_changes_nothing(session, capsys, content):
    home = session({"a51/stdout.txt": OTHER, "operation.json": content, "a51/session.json": content})
    status, (found,) = records(home, capsys)
    assert (status, found["where"]) == (0, "a51")
