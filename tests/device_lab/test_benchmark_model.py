"""The lab's benchmark_model prints what LiteRT's own tool printed in the captured logs, and measures it."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest

FOLDER = "/data/local/tmp"
TOOL = f"{FOLDER}/benchmark_model"
MODEL = f"{FOLDER}/model.tflite"
QUICK = "--num_runs=3 --min_secs=0 --warmup_min_secs=0"
INPUT = "--input_layer=serving_default_keras_tensor:0 --input_layer_shape=1,32,32,3"

_NUMBER = re.compile(r"-?\b\d+(\.\d+)?(e[+-]\d+)?(?=ms|%|\b)")
_PATH = re.compile(
    r"(?<=[\[ '(:])(/data/local/tmp|models|logs/x86_litert214)(/[\w.]+)?(?=[\]'\s]|$)", re.MULTILINE
)
_OPERATOR = re.compile(r"\(N|[A-Z]{4}|Mean|ModifyGraph|AllocateTensors")
_PROGRAM = re.compile(r"usage: \S+")


@pytest.fixture
def ready(lab, phone, model):
    """A phone with the tool and a model on it."""
    phone.adb("push", str(lab.benchmark_model), TOOL)
    phone.adb("push", str(model), MODEL)
    return phone


@pytest.fixture
def unhurried(ready):
    """The same, with inferences that mostly wait: the real tool's flags ask for seconds of them."""
    ready.set_faults(slow=30)
    return ready


def run(phone, flags=QUICK, *, graph=MODEL, tool=TOOL):
    return phone.shell(f"{tool} --graph={graph} {flags}")


def plain(text):
    """The text with numbers, paths and shapes replaced, so that two runs compare line by line."""
    text = _PATH.sub("PATH", _PROGRAM.sub("usage: PROGRAM", text))
    return _NUMBER.sub("N", text).splitlines()


def logged(logs, name):
    """(stdout, stderr, exit status) of a captured run."""
    status = logs / f"{name}.rc"
    return (
        plain((logs / f"{name}.stdout").read_text()),
        plain((logs / f"{name}.stderr").read_text()),
        int(status.read_text()) if status.exists() else 0,
    )


def spoken(done):
    return plain(done.stdout), plain(done.stderr), done.returncode


GOOD_RUNS = {
    "default_f32": "",
    "threads2_f32": "--num_threads=2",
    "noxnn_f32": "--use_xnnpack=false",
    "xnn_true_f32": "--use_xnnpack=true",
    "runs1_f32": "--num_runs=1 --min_secs=0 --warmup_runs=1 --warmup_min_secs=0",
    "dryrun_f32": "--dry_run=true",
    "unknown_flag": "--no_such_flag=1",
    "bad_input_layer": "--input_layer=foo --input_layer_shape=1,32,32,3",
    "peakmem_f32": "--report_peak_memory_footprint=true",
}


@pytest.mark.parametrize("name", GOOD_RUNS)
def test_a_run_has_the_lines_of_the_log(unhurried, logs, name):
    assert spoken(run(unhurried, GOOD_RUNS[name])) == logged(logs, name)


def test_an_input_file_has_the_lines_of_the_log(ready, logs):
    (ready.storage / "in.bin").write_bytes(bytes(32 * 32 * 3 * 4))
    files = f"--input_layer_value_files=serving_default_keras_tensor::0:{FOLDER}/in.bin"

    done = run(ready, f"--num_runs=1 --min_secs=0 {INPUT} {files} --output_filepath={FOLDER}/out.bin")

    assert spoken(done) == logged(logs, "inputfile_f32")


def truncated(content):
    return content[: len(content) // 2]


BAD_FILES = {
    "truncated_f32": truncated,
    "random": lambda _: bytes(range(1, 251)) * 20,
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_broken_file_has_the_lines_of_the_log(ready, logs, name):
    path = ready.storage / "model.tflite"
    path.write_bytes(BAD_FILES[name](path.read_bytes()))

    assert spoken(run(ready, "")) == logged(logs, name)


@pytest.mark.parametrize(("name", "graph"), [("nonexistent", f"{FOLDER}/no.tflite"), ("directory", FOLDER)])
def test_no_file_has_the_lines_of_the_log(ready, logs, name, graph):
    assert spoken(run(ready, "", graph=graph)) == logged(logs, name)


def test_a_custom_operator_has_the_lines_of_the_log(ready, logs, custom_model):
    ready.adb("push", str(custom_model), MODEL)

    assert spoken(run(ready, "--num_runs=5 --min_secs=0")) == logged(logs, "m_custom")


def test_a_bad_value_has_the_lines_of_the_log(ready, logs):
    """Flags, types and defaults; the descriptions are ours, and Android's tool has more flags."""
    out, err, status = spoken(run(ready, "--num_runs=abc"))
    log_out, log_err, log_status = logged(logs, "bad_value")

    def flags(lines):
        return [tuple(line.split("\t")[1:4]) for line in lines if line.startswith("\t")]

    assert (out, status) == (log_out, log_status)
    assert flags(err)[: len(flags(log_err))] == flags(log_err)
    assert [line for line in err if line[:1] != "\t"] == [line for line in log_err if line[:1] != "\t"]


def test_help_shows_the_usage_and_ends_with_1(ready):
    done = ready.shell(f"{TOOL} --help=true")

    assert done.returncode == 1
    assert done.stderr.startswith(f"ERROR: usage: {TOOL} <flags>\nFlags:\n\t--num_runs=50 ")


def test_the_first_of_two_flags_wins_and_the_second_is_left_over(ready):
    done = run(ready, f"{QUICK} --num_threads=1 --num_threads=2")

    assert (
        "WARN: Duplicate flags: num_threads\nWARN: Unconsumed cmdline flags: --num_threads=2\n" in done.stdout
    )
    assert "INFO: Num threads: [1]\n" in done.stdout


@pytest.mark.parametrize(("mode", "log"), [("stdout", "opprof_f32.stdout"), ("csv", "opprof_csv_f32.csv")])
def test_a_profile_has_the_sections_of_the_log(unhurried, logs, mode, log):
    """The two models differ in their operators, so only the lines around them are compared."""

    def frame(text):
        start = text.index("Profiling Info for Benchmark Initialization")
        lines = [re.sub(" +", " ", line) for line in plain(text[start:])]
        return [line for line in lines if not _OPERATOR.search(line)]

    flags = f"--enable_op_profiling=true --op_profiling_output_mode={mode}"
    if mode == "csv":
        run(unhurried, f"{flags} --op_profiling_output_file={FOLDER}/p.csv")
        text = (unhurried.storage / "p.csv").read_text()
    else:
        text = run(unhurried, flags).stdout

    assert frame(text) == frame((logs / log).read_text())


def test_a_profile_names_the_operators_and_who_computes_them(ready):
    text = run(ready, f"{QUICK} --enable_op_profiling=true").stdout

    operators = text[text.index("Operator-wise") : text.index("Top by", text.index("Operator-wise"))]
    names = [line.split("\t")[1].strip() for line in operators.splitlines() if line.startswith("\t")][1:]

    assert names == [
        "Convolution (NHWC, F32) IGEMM",
        "Convolution (NHWC, F32) DWConv",
        "Mean (ND) Reduce2",
        "Fully Connected (NC, F32) GEMM",
        "SHAPE",
        "STRIDED_SLICE",
        "PACK",
        "RESHAPE",
        "Softmax (NC, F32)",
    ]


def reference_output(model, pixels):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_outputs_are_litert_s_own(ready, model):
    pixels = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    (ready.storage / "in.bin").write_bytes(pixels.tobytes())
    files = f"--input_layer_value_files=serving_default_keras_tensor::0:{FOLDER}/in.bin"

    run(ready, f"{QUICK} {INPUT} {files} --output_filepath={FOLDER}/out.bin")

    assert (ready.storage / "out.bin").read_bytes() == reference_output(model, pixels).tobytes()


def test_an_input_file_of_another_size_aborts(ready):
    (ready.storage / "in.bin").write_bytes(b"short")
    files = f"--input_layer_value_files=serving_default_keras_tensor::0:{FOLDER}/in.bin"

    done = run(ready, f"{QUICK} {INPUT} {files}")

    assert done.returncode == 134
    assert f"FATAL: The size of {FOLDER}/in.bin is 5 bytes. It should be 12288 bytes.\n" in done.stderr


def decoded(content):
    """Field number -> value of a protocol buffer: floats, varints, messages."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte, at = content[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(content):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            found[number] = varint()
        elif kind == 5:
            (found[number],) = struct.unpack_from("<f", content, at)
            at += 4
        else:
            length = varint()
            found[number] = decoded(content[at : at + length])
            at += length
    return found


def fields_of(message):
    return {
        number: fields_of(value) if isinstance(value, dict) else None for number, value in message.items()
    }


def test_the_protocol_buffer_equals_the_text(ready, logs):
    done = run(ready, f"{QUICK} --result_file_path={FOLDER}/result.pb")
    content = (ready.storage / "result.pb").read_bytes()

    found = decoded(content)
    (stats,) = re.findall(r"INFO: (count=3 .*)", done.stdout)
    text = {name: float(value) for name, value in re.findall(r"(\w+)=(\S+)", stats)}
    init = float(re.search(r"Init: (\d+)", done.stdout)[1])

    assert fields_of(found) == fields_of(decoded((logs / "result_f32.pb").read_bytes()))
    names = {1: "avg", 2: "min", 3: "max", 4: "std", 5: "median", 6: "p5", 7: "p95"}
    # the text has six digits, the message 32-bit floats
    for number, name in names.items():
        assert found[2][number] == pytest.approx(text[name] / 1000, rel=1e-5)
    assert found[2][8] == pytest.approx(init / 1000)
    assert found[4][2] == 3
    assert f"INFO: Saved benchmark result to: {FOLDER}/result.pb\n" in done.stdout


@pytest.mark.parametrize("number", [1, 2, 3])
def test_threads_are_really_those_asked_for(ready, number):
    ready.set_faults(hang=True)

    counted = ready.shell(
        f"{TOOL} --graph={MODEL} {QUICK} --num_threads={number} > {FOLDER}/out &"
        f" until grep -q 'at least 3 iterations' {FOLDER}/out; do sleep 0.05; done;"
        " ls /proc/$!/task | wc -l; kill -9 $!"
    )

    assert int(counted.stdout) == number


ENDS = {"abort": 134, "killed": 137, "segfault": 139, "half_line": 0, "half_line_killed": 137}


@pytest.mark.parametrize("fault", ENDS)
def test_a_fault_ends_the_tool_before_its_summary(ready, fault):
    ready.set_faults(**{fault: True})

    done = run(ready)

    assert done.returncode == ENDS[fault]
    assert "Inference timings" not in done.stdout
    assert ready.runs()[-1].status == ENDS[fault]


def test_a_fault_can_befall_one_model_only(ready):
    ready.shell(f"cp {MODEL} {FOLDER}/other.tflite")
    ready.set_faults(abort=True, only_for="other")

    assert run(ready).returncode == 0
    assert run(ready, graph=f"{FOLDER}/other.tflite").returncode == 134


def test_a_gpu_takes_every_node(ready):
    done = run(ready, f"{QUICK} --use_gpu=true")

    assert "VERBOSE: Replacing 9 out of 9 node(s) with delegate (TfLiteGpuDelegateV2) node" in done.stderr
    assert "Explicitly applied GPU delegate, and the model graph will be completely executed" in done.stdout


def test_a_gpu_that_takes_nothing_says_so_and_ends_well(ready):
    ready.set_faults(gpu_none=True)

    done = run(ready, f"{QUICK} --use_gpu=true")

    assert done.returncode == 0
    assert "Though GPU delegate is explicitly applied, the model graph will not be executed" in done.stdout


def test_a_gpu_that_takes_a_part_fails_where_the_whole_was_asked_for(ready):
    ready.set_faults(gpu_partial=True)

    done = run(ready, f"{QUICK} --use_gpu=true --require_full_delegation=true")

    assert done.returncode == 1
    assert "SOFTMAX: Operation is not supported.\n8 operations will run on the GPU" in done.stderr
    assert done.stderr.endswith("ERROR: Disallowed CPU fallback detected.\nERROR: Benchmarking failed.\n")


def test_a_wrong_gpu_has_other_outputs(ready):
    pixels = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    (ready.storage / "in.bin").write_bytes(pixels.tobytes())
    files = f"--input_layer_value_files=serving_default_keras_tensor::0:{FOLDER}/in.bin"
    outputs = []
    for wrong in (False, True):
        ready.set_faults(gpu_wrong=wrong)
        run(ready, f"{QUICK} {INPUT} {files} --use_gpu=true --output_filepath={FOLDER}/out.bin")
        outputs.append((ready.storage / "out.bin").read_bytes())

    assert len(outputs[0]) == len(outputs[1])
    assert outputs[0] != outputs[1]


def test_a_slow_tool_is_slow_in_its_own_figures(ready):
    ready.set_faults(slow=50)

    slow = run(ready).stdout
    ready.clear_faults()
    quick = run(ready).stdout

    def least(text):
        return int(re.search(r"count=3 .* min=(\d+)", text)[1])

    # fifty times; a tenth of it is certain even on a busy machine
    assert least(slow) > 5 * least(quick)


def test_other_faults_are_visible_where_they_should_be(ready):
    ready.set_faults(fewer_runs=2, unconsumed="num_threads", threads_ignored=True, proto_differs=True)

    done = run(ready, f"{QUICK} --num_threads=2 --result_file_path={FOLDER}/result.pb")
    mean_ms = decoded((ready.storage / "result.pb").read_bytes())[2][1]

    assert "INFO: count=2 " in done.stdout
    assert "WARN: Unconsumed cmdline flags: --num_threads=2" in done.stdout
    assert ready.runs()[-1].num_threads == 1
    assert mean_ms == pytest.approx(2 * float(re.search(r"Inference \(avg\): (\S+)", done.stdout)[1]) / 1000)


def test_runs_warm_the_phone_until_it_throttles_and_time_cools_it(ready):
    ready.warm_per_run(celsius=10.0, slowdown=3.0, threshold_celsius=40.0)
    statuses = []
    for _ in range(2):
        run(ready)
        statuses.append(ready.shell("dumpsys thermalservice | grep Status:").stdout.strip())

    assert statuses == ["Thermal Status: 0", "Thermal Status: 3"]
    assert ready.temperature() == pytest.approx(45.0)

    ready.warm_per_run(celsius=10.0, threshold_celsius=40.0, cool_celsius_per_s=100.0)
    assert ready.shell("sleep 1; dumpsys battery | grep temperature").stdout.strip() == "temperature: 250"


def test_runs_are_recorded_with_their_affinity(ready):
    ready.shell(f"taskset c0 {TOOL} --graph={MODEL} {QUICK} --num_threads=2")

    (seen,) = ready.runs()

    assert seen.argv == (TOOL, f"--graph={MODEL}", *QUICK.split(), "--num_threads=2")
    assert (seen.affinity, seen.num_threads, seen.status) == ("c0", 2, 0)
    assert 0 < seen.seconds < 60


@pytest.mark.parametrize(("mask", "complaint"), [("x", "bad mask 'x'"), ("100", "Invalid argument")])
def test_taskset_refuses_what_the_phone_does_not_have(phone, mask, complaint):
    done = phone.shell(f"taskset {mask} true")

    assert done.returncode == 1
    assert complaint in done.stderr


def test_litert_s_tool_reports_in_milliseconds_on_stderr(lab, ready):
    ready.adb("push", str(lab.litert_benchmark_model), TOOL)

    done = run(ready)

    assert done.returncode == 0
    assert "========== BENCHMARK RESULTS ==========" in done.stderr
    assert re.search(r"\] Inference \(avg\):      \d+\.\d\d ms \(3 runs\)\n", done.stderr)
    assert "Inference timings in us" not in done.stdout


def test_litert_s_tool_takes_no_input_file(lab, ready):
    ready.adb("push", str(lab.litert_benchmark_model), TOOL)

    done = run(ready, f"{QUICK} --input_layer=a")

    assert "WARN: Unconsumed cmdline flags: --input_layer=a\n" in done.stdout


def test_a_binary_for_another_machine_does_not_run(lab, phone):
    phone.adb("push", str(lab.wrong_abi_binary), TOOL)

    assert phone.shell(f"{TOOL} --help=true").returncode == 126


def test_models_can_be_cut_and_the_tool_be_made_unexecutable(ready):
    assert [path.name for path in ready.truncate_models()] == ["model.tflite"]
    assert run(ready).returncode == 1
    assert [path.name for path in ready.make_tool_unexecutable()] == ["benchmark_model"]
    assert run(ready).returncode == 126
