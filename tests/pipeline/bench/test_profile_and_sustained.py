"""`pipeline bench --adb --op-profile` and `--sustained` against the lab."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import fields
from statistics import median

import pytest
from PIL import Image

from pipeline.bench.phone_profile import FileProfile
from pipeline.bench.sustained import SustainedPoint
from pipeline.cli import run

MINUTES, FEWER_MINUTES = "0.04", "0.025"
ROOM_CELSIUS, PER_RUN_CELSIUS, THRESHOLD_CELSIUS = 25.0, 2.0, 30.0
NUMBER = r"\d+(?:\.\d+)?"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A .tflite that computes in int8 between a float32 input and output."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import numpy as np
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 8))
    x = keras.layers.Conv2D(8, 3, activation="relu")(image)
    x = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, x))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    pixels = np.random.default_rng(0).random((4, 1, 16, 16, 8), np.float32)
    converter.representative_dataset = lambda: ([each] for each in pixels)
    path = tmp_path_factory.mktemp("mixed") / "mixed.tflite"
    with pytest.warns(UserWarning, match="Statistics for quantized inputs"):
        path.write_bytes(converter.convert())
    return path


def operators_of(path):
    """Operator -> how often it is in the file, as LiteRT reads it."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    return Counter(each["op_name"] for each in interpreter._get_ops_details())


def counts(types):
    return {each["node_type"]: each["count"] for each in types}


# operators


def test_two_files_stand_side_by_side_and_their_shares_sum_to_100(bench, files):
    status, out, _ = bench(files["one"], files["ten"], "--op-profile")
    assert status == 0
    heading = next(line for line in out.splitlines() if "one" in line)
    assert heading.split() == ["one", "[cpu]", "ten", "[cpu]"]
    rows = re.findall(
        rf"^ (\S.*?)  +({NUMBER}|-) +({NUMBER}%|-) +(\d+|-) +({NUMBER}|-) +({NUMBER}%|-) +(\d+|-) *$",
        out,
        re.MULTILINE,
    )
    *rows, whole = rows
    assert whole[0] == "all"
    for first, path in ((1, files["one"]), (4, files["ten"])):
        shares = [float(row[first + 1][:-1]) for row in rows if row[first + 1] != "-"]
        assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares) + 0.01)  # each rounded to 0.1
        milliseconds = [float(row[first]) for row in rows if row[first] != "-"]
        assert float(whole[first]) == pytest.approx(sum(milliseconds), abs=0.0005 * (len(rows) + 1))
        number = sum(int(row[first + 2]) for row in rows if row[first + 2] != "-")
        assert number == int(whole[first + 2]) == operators_of(path).total()


def test_the_operator_that_costs_most_stands_first(bench, files):
    _, out, _ = bench(files["ten"], "--op-profile", "--json")
    (record,) = json.loads(out)
    times = [each["inference_ms"] for each in record["types"]]
    assert times == sorted(times, reverse=True)
    # nine tenths of its arithmetic and more are ten 3x3 convolutions
    assert record["types"][0]["node_type"].startswith("Convolution")
    assert record["types"][0]["count"] == 10
    assert record["types"][0]["share_percent"] > 90


def test_json_has_the_dataclass_of_each_file_and_shares_that_sum_to_100(bench, files):
    status, out, _ = bench(files["one"], files["int8"], "--op-profile", "--num-threads", "1,2", "--json")
    assert status == 0
    records = json.loads(out)
    assert [(each["name"], each["num_threads"]) for each in records] == [
        ("one", 1),
        ("int8", 1),
        ("one", 2),
        ("int8", 2),
    ]
    for record in records:
        assert set(record) == {field.name for field in fields(FileProfile)}
        assert sum(each["share_percent"] for each in record["types"]) == pytest.approx(100)
        assert sum(each["inference_ms"] for each in record["types"]) == pytest.approx(record["operators_ms"])


def test_without_xnnpack_every_operator_of_the_file_is_named_as_not_delegated(bench, mixed):
    status, out, _ = bench(mixed, "--op-profile", "--json", "--", "--use_xnnpack=false")
    assert status == 0
    (record,) = json.loads(out)
    assert counts(record["types"]) == counts(record["not_delegated"]) == operators_of(mixed)
    assert counts(record["quantization"]) == {"QUANTIZE": 1, "DEQUANTIZE": 1}


@pytest.mark.parametrize(
    ("faults", "delegate", "node"),
    [
        ({"coarse_profile": True}, "cpu", "TfLiteXNNPackDelegate"),
        ({"nnapi_takes": True}, "nnapi", "TfLiteNnapiDelegate"),
        ({}, "gpu", "TfLiteGpuDelegateV2"),
    ],
)
def test_a_node_of_the_delegate_itself_is_delegated(bench, files, phone, faults, delegate, node):
    phone.set_faults(**faults)
    status, out, _ = bench(files["ten"], "--op-profile", "--delegate", delegate)
    assert status == 0
    assert f"ten [{delegate}]: not delegated: none; only converting numbers: none." in out
    assert f"The tool does not look into {node} x 1." in out
    _, out, _ = bench(files["ten"], "--op-profile", "--delegate", delegate, "--json")
    (record,) = json.loads(out)
    assert counts(record["types"]) == {node: 1}
    assert record["not_delegated"] == []


def test_what_only_converts_numbers_is_named_also_under_xnnpack_s_names(bench, mixed):
    assert {"QUANTIZE", "DEQUANTIZE"} < set(operators_of(mixed))
    status, out, _ = bench(mixed, "--op-profile")
    assert status == 0
    (line,) = [line for line in out.splitlines() if line.startswith("mixed [cpu]")]
    assert "not delegated: none" in line
    assert re.search(
        r"only converting numbers: 2 operators, \d\.\d{3} ms, \d+\.\d% \(.*F32, QS8.*QS8, F32", line
    )


def test_what_a_gpu_leaves_is_named(bench, files, phone):
    phone.set_faults(gpu_partial=True)  # all but the last operator
    status, out, _ = bench(files["one"], "--op-profile", "--delegate", "gpu")
    assert status == 0
    rows = {line.split("  ")[0].strip(): line.split() for line in out.splitlines()}
    assert rows["TfLiteGpuDelegateV2"][-1] == rows["Fully Connected GEMM"][-1] == "1"
    assert "not valid" not in out


def test_an_operator_profile_of_several_phones_is_refused(bench, lab, files, phone):
    other = lab.phone("galaxy_s21")
    try:
        status, out, err = bench(files["one"], "--op-profile", "-s", "all")
    finally:
        other.remove()
    assert (status, out) == (2, "")
    assert "--op-profile looks at one phone; 2 were given. Name one with -s SERIAL." in err
    assert phone.runs() == []


def test_a_tool_that_fails_gives_no_profile(bench, files, phone):
    phone.set_faults(segfault=True)
    status, out, err = bench(files["one"], "--op-profile")
    assert (status, out) == (1, "")
    assert re.search(r"one, cpu, 1 thread on Google Pixel 7 \w+ failed: Segmentation fault", err)
    assert list(phone.storage.iterdir()) == []


# minutes on end


@contextmanager
def slower_with_each_run(phone):
    """A tool that takes much longer in each of its runs."""
    over = threading.Event()

    def slow_down():
        while not over.wait(0.02):
            phone.set_faults(slow=1.7 ** len(phone.runs()))

    thread = threading.Thread(target=slow_down)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def warmed(lab, files, tmp_path_factory):
    """What two sustained runs printed, as text and as JSON, on a phone that each run warms and slows."""
    folder = tmp_path_factory.mktemp("sustained")
    found = {}
    with pytest.MonkeyPatch.context() as patch, lab.inside():
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for kind, words in (("text", [MINUTES]), ("json", [FEWER_MINUTES, "--json"])):
            phone = lab.phone("pixel7")
            phone.warm_per_run(celsius=PER_RUN_CELSIUS, threshold_celsius=THRESHOLD_CELSIUS)
            patch.setenv("PIPELINE_RUNS", str(folder / kind))
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err), slower_with_each_run(phone):
                tool = ["--benchmark-model", str(lab.benchmark_model)]
                status = run(["bench", "--adb", *tool, str(files["one"]), "--sustained", *words])
            left = [*phone.storage.iterdir(), *phone.processes()]
            phone.remove()
            found[kind] = status, out.getvalue(), err.getvalue(), folder / kind / "sustained", left
    return found


def rows_of(out):
    """minute, median, p95, °C and thermal status of each line of the table."""
    return re.findall(rf"^ +({NUMBER}) +({NUMBER}) +({NUMBER}) +(\d+\.\d) +(\d) *$", out, flags=re.MULTILINE)


def points_of(warmed):
    status, out, _, _, _ = warmed["json"]
    assert status == 0
    return json.loads(out)


def skin_celsius(number):
    """How warm the skin of the lab's Pixel 7 is after so many runs: 1.5 degrees more than the battery."""
    return pytest.approx(ROOM_CELSIUS + PER_RUN_CELSIUS * number + 1.5, abs=0.06)


def test_the_temperature_of_each_point_is_the_phone_s(warmed):
    points = points_of(warmed)
    assert len(points) >= 3
    assert [point["celsius"] for point in points] == [
        skin_celsius(number) for number in range(1, len(points) + 1)
    ]
    minutes = [point["minute"] for point in points]
    assert minutes == sorted(minutes)
    assert minutes[-1] >= float(FEWER_MINUTES)
    assert minutes[-2] < float(FEWER_MINUTES)  # the last one begins within the time


def test_the_table_shows_the_points_and_tells_the_rise(warmed):
    status, out, err, _, _ = warmed["text"]
    assert status == 0
    rows = rows_of(out)
    assert [float(row[3]) for row in rows] == [skin_celsius(number) for number in range(1, len(rows) + 1)]
    medians = [float(row[1]) for row in rows]
    told = re.search(rf"the median rose from ({NUMBER}) to ({NUMBER}) ms \(({NUMBER})x\)", out)
    first, last, rise = (float(word) for word in told.groups())
    third = max(1, len(medians) // 3)
    # three digits each
    assert first == pytest.approx(median(medians[:third]), rel=0.01)
    assert last == pytest.approx(median(medians[-third:]), rel=0.01)
    assert rise == pytest.approx(last / first, rel=0.02)
    assert rise > 2
    assert len(re.findall(r"^minute .* of 0\.04: .* ms, .* °C$", err, flags=re.MULTILINE)) == len(rows)


def test_the_minute_from_which_android_throttles_is_told(warmed):
    status, out, _, _, _ = warmed["text"]
    assert status == 0
    told = re.search(r"; Android throttled from minute (\d\.\d) on\.$", out, flags=re.MULTILINE)
    assert told.group(1) == next(
        minute for minute, *_, thermal_status in rows_of(out) if thermal_status != "0"
    )
    # the lab throttles once the battery is at the threshold
    throttled = [bool(point["thermal_status"]) for point in points_of(warmed)]
    assert throttled == [
        ROOM_CELSIUS + PER_RUN_CELSIUS * number >= THRESHOLD_CELSIUS
        for number in range(1, len(throttled) + 1)
    ]
    assert {True, False} == set(throttled)


def test_the_csv_holds_what_json_holds(warmed):
    _, _, err, folder, _ = warmed["json"]
    (path,) = folder.glob("*.csv")
    assert f"wrote {path} and {path.stem}.png beside it." in err
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    points = points_of(warmed)
    assert list(rows[0]) == list(points[0]) == [field.name for field in fields(SustainedPoint)]
    assert [{name: float(value) if value else None for name, value in row.items()} for row in rows] == points


def test_the_picture_is_a_png_with_something_in_it(warmed):
    for _, _, _, folder, _ in warmed.values():
        (path,) = folder.glob("*.png")
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.width > 600
            assert picture.height > 300
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 10


def test_a_sustained_run_leaves_nothing_on_the_phone(warmed):
    assert [left for *_, left in warmed.values()] == [[], []]


def test_a_tool_without_a_median_has_its_average_called_so(bench, files, phone, tmp_path):
    phone.set_faults(no_median=True)
    status, out, _ = bench(files["one"], "--sustained", FEWER_MINUTES)
    assert status == 0
    assert re.search(r"^ *minute +average ms +p95 ms", out, flags=re.MULTILINE)
    assert "median" not in out
    (path,) = (tmp_path / "runs" / "sustained").glob("*.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert {row["median_ms"] for row in rows} == {""}
    assert all(float(row["avg_ms"]) > 0 for row in rows)


def test_a_tool_that_fails_at_once_is_a_finding_with_its_reason(bench, files, phone, tmp_path):
    phone.set_faults(segfault=True)
    status, out, err = bench(files["one"], "--sustained", MINUTES)
    assert (status, out) == (1, "")
    assert re.search(r"one, cpu, 1 thread on Google Pixel 7 \w+ is not valid: Segmentation fault", err)
    assert not (tmp_path / "runs" / "sustained").exists()


def test_a_phone_that_dies_in_the_middle_is_a_device_error_and_the_points_before_are_kept(
    bench, files, phone, tmp_path
):
    def die():
        while len(phone.runs()) < 1 + 3:  # the tool's help comes first
            time.sleep(0.01)
        phone.kill()

    phone.set_faults(slow=10.0)  # it mostly waits
    thread = threading.Thread(target=die)
    thread.start()
    start = time.monotonic()
    status, out, err = bench(files["one"], "--sustained", "0.1")
    thread.join()
    assert (status, out) == (4, "")
    assert time.monotonic() - start < 12
    assert "is gone" in err
    (path,) = (tmp_path / "runs" / "sustained").glob("*.csv")
    assert len(path.read_text().splitlines()) == 1 + 2  # its head, and the two runs that ended
    assert f"wrote {path}" in err


def test_ctrl_c_keeps_the_points_before(lab, files, phone, bench, tmp_path):
    phone.set_faults(slow=10.0)  # it mostly waits
    words = ["bench", "--adb", "--benchmark-model", str(lab.benchmark_model), str(files["one"])]
    process = subprocess.Popen(
        [sys.executable, "-c", "from pipeline.cli import main; main()", *words, "--sustained", MINUTES],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while len(phone.runs()) < 1 + 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "stopped. What was finished is kept." in err
    (path,) = (tmp_path / "runs" / "sustained").glob("*.csv")
    assert len(path.read_text().splitlines()) >= 1 + 1
    assert list(phone.storage.iterdir()) == []
    assert phone.processes() == []


def test_a_kill_loses_no_point(lab, files, phone, bench, tmp_path):
    phone.set_faults(slow=10.0)  # it mostly waits
    words = ["bench", "--adb", "--benchmark-model", str(lab.benchmark_model), str(files["one"])]
    process = subprocess.Popen(
        [sys.executable, "-c", "from pipeline.cli import main; main()", *words, "--sustained", "0.3"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline().startswith("minute ")  # a line for each point, once it is kept
    assert process.stderr.readline().startswith("minute ")
    process.kill()
    process.communicate(timeout=20)
    (path,) = (tmp_path / "runs" / "sustained").glob("*.csv")
    text = path.read_text()
    assert text.endswith("\n")
    assert len(text.splitlines()) in (1 + 2, 1 + 3)  # its head, two points, and one more before it ended


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ten"], "runs one file with one delegate and one number of threads at a time; 2 were given"),
        (["--delegate", "cpu,gpu"], "2 were given. Name one."),
        (["--num-threads", "1,2"], "2 were given. Name one."),
        (["--sustained", "0"], "--sustained: 0.0 is out of range. Give a number above 0."),
        (["--sustained", "nan"], "nan is not a finite number"),
        (["--sustained", "inf"], "inf is not a finite number"),
    ],
)
def test_more_or_less_than_one_thing_for_some_time_is_refused(bench, files, phone, words, message):
    given = [files.get(word, word) for word in words]
    status, out, err = bench(files["one"], "--sustained", MINUTES, *given)
    assert (status, out) == (2, "")
    assert message in err
    assert phone.runs() == []


def test_an_operator_s_float_and_integer_kinds_stand_in_one_row(bench, files):
    status, out, _ = bench(files["one"], files["int8"], "--op-profile")
    assert status == 0
    (row,) = [line for line in out.splitlines() if line.strip().startswith("Convolution IGEMM")]
    assert row.split().count("1") == 2  # a convolution in either file
