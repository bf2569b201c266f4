"""`pipeline verify --adb` against the lab: what files answer on a phone, beside LiteRT run by hand here."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import fields

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score

from android_bench.phone.adb import Phone, default_server
from android_bench.phone.session import LocalFile, Session
from android_bench.tool.outputs import InputTensor, run_samples
from android_bench.tool.runner import RunRequest, prepare
from export.files import sha256_of
from pipeline.cli import run
from pipeline.records.phone_verification import PhoneVerification
from pipeline.store.store import open_store

NUM_IMAGES = 5
PRECISIONS = ("float32", "int8")


@pytest.fixture(scope="module")
def dataset(tiny_npz, tmp_path_factory):
    """The tiny data set with few test images, of which a third is called something else than it is."""
    arrays = dict(np.load(tiny_npz))
    arrays |= {name: arrays[name][:NUM_IMAGES] for name in ("x_test", "y_test")}
    arrays["y_test"][::3] = (arrays["y_test"][::3] + 1) % 3
    path = tmp_path_factory.mktemp("few") / "few.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def exported(dataset, tmp_path_factory):
    """Precision -> file, of a net that was trained and exported with the commands."""
    runs = tmp_path_factory.mktemp("verified")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_RUNS", str(runs))
        small = ["--depth", "7", "--growth-rate", "4", "--epochs", "2", "--batch-size", "32"]
        assert run(["train", "densenet", *small, "--data", str(dataset)]) == 0
        assert run(["export", *(f"--{each}" for each in PRECISIONS), "--num-calibration", "20"]) == 0
    (folder,) = runs.glob("*/export")
    return {each: next(folder.glob(f"*_{each}.tflite")) for each in PRECISIONS}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """An empty runs folder to write to, and an empty cache."""
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "runs"


@pytest.fixture
def verify(lab, phone, runs, capsys):
    """Runs `pipeline verify --adb` with the lab's tool: its exit status, stdout and stderr."""

    def call(*words, tool=None):
        tool = tool or lab.benchmark_model
        status = run(["verify", "--adb", "--benchmark-model", str(tool), *map(str, words)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def only(out):
    """The one record that --json printed."""
    (record,) = json.loads(out)
    return record


def interpreter_of(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    return interpreter


def answers_by_hand(path, images):
    """(images, classes), dequantized: a float32 file takes the bytes, an int8 file the bytes less 128."""
    interpreter = interpreter_of(path)
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = given["quantization"]
    found = []
    for image in images:
        shifted = image.astype(np.int16) - (128 if taken["dtype"] == np.int8 else 0)
        interpreter.set_tensor(taken["index"], shifted.astype(taken["dtype"])[np.newaxis])
        interpreter.invoke()
        (stored,) = interpreter.get_tensor(given["index"])
        found.append(scale * (stored.astype(np.float32) - zero_point) if scale else stored)
    return np.array(found)


def wrong_answers(path, images):
    """What the lab's wrong GPU makes of the right ones: all bytes of the output, the last one first."""
    (given,) = interpreter_of(path).get_output_details()
    scale, zero_point = given["quantization"]
    right = answers_by_hand(path, images)
    stored = np.rint(right / scale + zero_point).astype(given["dtype"]) if scale else right
    turned = [np.frombuffer(each.tobytes()[::-1], each.dtype) for each in stored]
    return np.array([scale * (each.astype(np.float32) - zero_point) if scale else each for each in turned])


def percent(right):
    return pytest.approx(100 * np.mean(right))


@contextmanager
def after_runs(phone, number, action):
    """Does something to the phone, in a thread, once it has seen so many runs of the tool."""
    over = threading.Event()

    def wait():
        while len(phone.runs()) < number and not over.is_set():
            time.sleep(0.01)
        if not over.is_set():
            action()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_top1_and_agreement_are_those_of_litert_by_hand_with_every_delegate(verify, exported, dataset):
    arrays = np.load(dataset)
    images, labels = arrays["x_test"], arrays["y_test"]
    (run_folder,) = {path.parents[1] for path in exported.values()}
    status, out, _ = verify(run_folder, "--delegate", "cpu,gpu", "--json")
    assert status == 0
    records = {(record["artifact_sha256"], record["delegate"]): record for record in json.loads(out)}
    assert len(records) == 2 * len(exported)
    for path in exported.values():
        right = answers_by_hand(path, images).argmax(axis=1) == labels
        assert 0 < right.mean() < 1  # else the labels would prove nothing
        for delegate in ("cpu", "gpu"):
            record = records[sha256_of(path), delegate]
            assert (record["valid"], record["num_samples"]) == (True, NUM_IMAGES)
            assert record["phone_top1"] == record["host_top1"] == percent(right)
            assert record["agreement"] == 100
            # the same runtime on the same machine, but another process may take other threads' order
            assert record["max_abs_difference"] < 1e-5


def test_several_sigmoids_are_judged_by_the_average_precision(verify, tmp_path, runs, capsys):
    keras.utils.set_random_seed(3)
    start = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(4, 3)]
    end = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, activation="sigmoid")]
    keras.Sequential([*start, *end]).save(tmp_path / "tags.keras")
    random = np.random.default_rng(3)
    images = random.integers(0, 256, (40, 16, 16, 3), np.uint8)
    held = random.integers(0, 2, (40, 3))
    data = tmp_path / "tags.npz"
    np.savez(data, x_train=images[:20], y_train=held[:20], x_test=images[20:28], y_test=held[20:28])
    asked = ["export", str(tmp_path / "tags.keras"), "--float32", "--data", str(data), "--out", str(tmp_path)]
    assert run(asked) == 0
    capsys.readouterr()
    (file,) = tmp_path.glob("*.tflite")
    scores = answers_by_hand(file, images[20:28])
    expected = 100 * np.mean(
        [average_precision_score(*each) for each in zip(held[20:28].T, scores.T, strict=True)]
    )
    status, out, _ = verify(file, "--data", data, "--json")
    assert status == 0
    assert only(out)["phone_average_precision"] == pytest.approx(expected, abs=0.01)
    assert only(out)["host_average_precision"] == pytest.approx(expected, abs=0.01)
    _, out, _ = verify(file, "--data", data, "--max-drop", "1")
    assert "phone mAP" in out
    assert "top-1" not in out.replace("so a top-1 says nothing", "")
    assert "one class each" not in out
    classes = tmp_path / "classes.npz"
    parts = {"x_train": images[:20], "x_test": images[20:28]}
    np.savez(classes, **parts, y_train=np.arange(20) % 3, y_test=np.arange(8) % 3)
    _, out, _ = verify(file, "--data", classes)
    assert "the images have one class each, and the outputs are several sigmoids" in out


def test_a_colon_in_a_tensor_s_name_reaches_the_tool_as_it_is(verify, exported, phone):
    assert verify(*exported.values(), "--limit", "1")[0] == 0
    told = {word for each in phone.runs() for word in each.argv if word.startswith("--input_layer=")}
    names = {interpreter_of(path).get_input_details()[0]["name"] for path in exported.values()}
    assert told == {f"--input_layer={name}" for name in names}
    assert all(name.startswith("serving_default_") and name.endswith(":0") for name in names)


def test_outputs_that_are_no_numbers_are_not_valid_and_agree_with_nothing(verify, dataset, runs, tmp_path):
    """The root of less than 0, for every image."""
    image = keras.Input((*np.load(dataset)["x_test"].shape[1:3], 3))
    x = keras.ops.sqrt(keras.layers.GlobalAveragePooling2D()(image) - 300.0)
    keras.Model(image, keras.layers.Softmax()(keras.layers.Dense(3)(x))).save(tmp_path / "root.keras")
    assert run(["export", str(tmp_path / "root.keras"), "--float32", "--data", str(dataset)]) == 0
    (path,) = runs.glob("*/export/*.tflite")
    status, out, err = verify(path, "--data", dataset, "--json")
    record = json.loads(out[out.index("[") :])[0]
    assert (status, record["valid"]) == (1, False)
    assert record["reasons"] == [f"NaN or infinite values on {NUM_IMAGES} of {NUM_IMAGES} samples"]
    assert (record["agreement"], record["phone_top1"], record["host_top1"]) == (0, 0, 0)
    assert record["max_abs_difference"] is None
    assert "NaN or infinite values" in err


def test_a_grey_oblong_file_of_one_sigmoid_answers_as_litert_here(verify, dataset, runs, tmp_path):
    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.Input((12, 8, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    net.save(tmp_path / "one.keras")
    arrays = dict(np.load(dataset))
    two = {name: np.minimum(arrays[name], 1) if name.startswith("y") else arrays[name] for name in arrays}
    np.savez(tmp_path / "two.npz", **two)
    given = ["--data", str(tmp_path / "two.npz")]
    assert run(["export", str(tmp_path / "one.keras"), "--int8", *given]) == 0
    (path,) = runs.glob("*/export/*.tflite")
    status, out, _ = verify(path, *given, "--json")
    record = json.loads(out[out.index("[") :])[0]
    assert (status, record["valid"], record["num_samples"], record["agreement"]) == (0, True, NUM_IMAGES, 100)
    box = (3, 0, 13, 16)  # the central 16 x 10 of 16 x 16, as 12 x 8
    small = [
        Image.fromarray(each).resize((8, 12), Image.Resampling.BILINEAR, box=box) for each in two["x_test"]
    ]
    seen = np.stack([np.asarray(image.convert("L"))[..., None] for image in small])
    above = answers_by_hand(path, seen)[:, 0] > 0.5
    assert record["phone_top1"] == record["host_top1"] == percent(above == two["y_test"])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_gpu_that_is_fast_and_wrong_is_found(verify, exported, dataset, phone, precision):
    arrays = np.load(dataset)
    path = exported[precision]
    phone.set_faults(gpu_wrong=True)
    status, out, err = verify(path, "--delegate", "gpu", "--json")
    assert status == 1
    record = only(out)
    right, wrong = answers_by_hand(path, arrays["x_test"]), wrong_answers(path, arrays["x_test"])
    same = right.argmax(axis=1) == wrong.argmax(axis=1)
    assert record["valid"]  # the tool did what was asked, only not rightly
    assert record["agreement"] == percent(same)
    assert record["phone_top1"] == percent(wrong.argmax(axis=1) == arrays["y_test"])
    assert f"gives the host's label on {100 * same.mean():.1f}% of {NUM_IMAGES} samples" in err
    assert "it is wrong: do not ship it." in err


def test_a_lower_agreement_can_be_allowed_and_a_drop_forbidden(verify, exported, phone):
    phone.set_faults(gpu_wrong=True)
    allowed = ("--min-agreement", "0", "--max-drop", "1")
    status, _, err = verify(exported["int8"], "--delegate", "gpu", "--limit", "3", *allowed)
    assert status == 1
    assert re.search(r"loses \d+\.\d\d points of top-1 against the host, more than --max-drop 1\.", err)
    assert "do not ship it" not in err


def test_a_gpu_that_takes_a_part_is_valid(verify, exported, phone):
    phone.set_faults(gpu_partial=True)
    status, out, _ = verify(exported["int8"], "--delegate", "gpu", "--limit", "1", "--json")
    assert (status, only(out)["valid"], only(out)["reasons"]) == (0, True, [])


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ({"gpu_none": True}, "GPU took no node"),
    ],
)
def test_a_gpu_that_takes_no_node_is_not_valid(verify, exported, phone, faults, reason):
    phone.set_faults(**faults)
    status, out, err = verify(exported["int8"], "--delegate", "gpu", "--limit", "1", "--json")
    assert status == 1
    record = only(out)
    assert not record["valid"]
    assert re.search(reason, "; ".join(record["reasons"]))
    assert re.search(f"with gpu on .* is not valid: .*{reason}", err)


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ({"segfault": True}, "segmentation fault"),
        ({"half_line": True}, "cut|no summary"),
    ],
)
def test_a_tool_that_fails_is_not_valid_and_gives_no_figure(verify, exported, phone, faults, reason):
    phone.set_faults(**faults)
    status, out, _ = verify(exported["int8"], "--json")
    assert status == 1
    record = only(out)
    assert not record["valid"]
    assert re.search(reason, "; ".join(record["reasons"]), re.IGNORECASE)
    assert (record["num_samples"], record["phone_top1"], record["agreement"]) == (0, None, None)


def test_a_tool_that_fails_in_the_middle_keeps_the_samples_before(verify, exported, phone):
    with after_runs(phone, 1 + 3, lambda: phone.set_faults(segfault=True)):  # its help is asked for first
        status, out, _ = verify(exported["int8"], "--json")
    assert status == 1
    record = only(out)
    assert not record["valid"]
    assert 1 <= record["num_samples"] < NUM_IMAGES
    assert record["agreement"] == 100


def test_a_tool_that_hangs_is_ended_on_the_phone(lab, exported, phone):
    phone.set_faults(hang=True)
    model, tool = (
        LocalFile(path=path, sha256=sha256_of(path), executable=path == lab.benchmark_model)
        for path in (exported["int8"], lab.benchmark_model)
    )
    request = RunRequest(
        model=model, size_bytes=model.path.stat().st_size, num_threads=1, delegate="cpu", mask=None,
        num_runs=1, min_secs=0.0, max_secs=30.0, warmup_runs=0, warmup_min_secs=0.0, patience_secs=1.5,
    )  # fmt: skip
    (taken,) = interpreter_of(model.path).get_input_details()
    tensor = InputTensor(name=taken["name"], shape=tuple(map(int, taken["shape"])))
    with Session(Phone(default_server(), phone.serial)) as session:
        flags = prepare(session, tool)
        session.put([model])
        samples = [bytes(taken["shape"].prod())] * 3
        found = run_samples(session, tool, flags, request, tensor=tensor, samples=samples)
    assert found.failure == "the tool hung: it was ended after 2 s"
    assert found.outputs == ()
    assert phone.processes() == []
    assert list(phone.storage.iterdir()) == []


def test_the_budget_limits_the_samples_and_their_number_is_told(verify, exported):
    status, out, _ = verify(exported["int8"], "--budget-secs", "0.001")
    assert status == 0
    (row,) = [line.split() for line in out.splitlines() if exported["int8"].name in line]
    assert row[row.index("cpu") + 1] == "1"  # never fewer than one
    assert "With 1 sample one of them is 100.0 points: raise --budget-secs for more." in out


def test_more_budget_is_not_asked_for_where_all_images_were_used(verify, exported):
    status, out, _ = verify(exported["int8"], "--limit", "2")
    assert status == 0
    assert "With 2 samples one of them is 50.0 points." in out
    assert "raise --budget-secs" not in out


def test_a_result_is_stored_as_it_is_printed(verify, exported, runs):
    status, out, _ = verify(exported["float32"], "--limit", "1", "--json")
    assert status == 0
    record = only(out)
    with open_store(runs) as store:
        (kept,) = store.phone_verifications(sha256_of(exported["float32"]))
        said = store.predictions(
            record["artifact_sha256"],
            dataset_fingerprint=record["dataset_fingerprint"],
            split=record["split"],
            where=f"{record['where']} cpu",
        )
    assert kept == PhoneVerification(**{**record, "reasons": tuple(record["reasons"])})
    assert said is not None
    assert said.found.keras is not None
    np.testing.assert_array_equal(said.found.file.label, said.found.keras.label)
    assert 100 * (said.found.file.label == said.found.truth).mean() == record["phone_top1"]
    assert said.images[0].startswith("test[")


def test_json_has_the_dataclass_and_no_serial(verify, exported, phone):
    phone.set_property("ro.serialno", "29181FDH2000TL")
    _, out, _ = verify(exported["int8"], "--limit", "1", "--json")
    assert set(only(out)) == {field.name for field in fields(PhoneVerification)}
    assert phone.serial not in out
    assert "29181FDH2000TL" not in out


def test_nothing_is_left_on_the_phone(verify, exported, phone):
    assert verify(exported["int8"], "--limit", "1")[0] == 0
    assert list(phone.storage.iterdir()) == []
    assert phone.processes() == []


def test_litert_v2s_tool_is_refused_with_why(verify, lab, exported, phone):
    status, out, err = verify(exported["int8"], tool=lab.litert_benchmark_model)
    assert (status, out) == (3, "")
    assert "takes no input files and writes no outputs (LiteRT v2's tool does not)" in err
    assert "Give TFLite's: --benchmark-model PATH" in err
    assert list(phone.storage.iterdir()) == []


def test_a_phone_that_dies_in_the_middle_is_a_device_error_in_time(verify, exported, phone, runs):
    start = time.monotonic()
    # the first file's help, first sample and rest, then some of the second file's
    with after_runs(phone, 1 + NUM_IMAGES + 2, phone.kill):
        status, out, err = verify(*exported.values())
    assert time.monotonic() - start < 20
    assert status == 4
    assert re.search(r"gave up Google Pixel 7 \w+: phone \S+ is gone", err)
    # what was done before is shown, and kept
    assert exported["float32"].name in out
    assert exported["int8"].name not in out
    with open_store(runs) as store:
        assert len(store.phone_verifications(sha256_of(exported["float32"]))) == 1
        assert store.phone_verifications(sha256_of(exported["int8"])) == []


def test_another_phone_s_death_takes_nothing_from_the_others(verify, lab, exported, phone):
    other = lab.phone("galaxy_s21")
    try:
        with after_runs(phone, 2, phone.kill):
            status, out, _ = verify(exported["int8"], "--limit", "2", "-s", "all", "--json")
    finally:
        other.remove()
    assert status == 4
    record = only(out)
    assert (record["where"].rsplit(" ", 1)[0], record["num_samples"]) == ("Samsung SM-G991B", 2)


def test_a_file_without_a_sidecar_is_refused_before_a_phone_is_touched(verify, exported, phone, tmp_path):
    alone = shutil.copy(exported["int8"], tmp_path / "alone.tflite")
    status, out, err = verify(alone)
    assert (status, out) == (1, "")
    assert "alone.tflite has no sidecar (alone.json)" in err
    assert phone.runs() == []


def test_a_file_that_was_changed_after_export_is_refused(verify, exported, phone, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(exported["int8"].parents[1], folder)
    changed = folder / "export" / exported["int8"].name
    changed.write_bytes(changed.read_bytes() + bytes(1))
    status, out, err = verify(changed)
    assert (status, out) == (1, "")
    assert f"{changed.name} is not the file that {changed.with_suffix('.json').name} describes" in err
    assert phone.runs() == []


def test_a_name_in_brackets_is_a_name(verify, exported, dataset, tmp_path):
    renamed = shutil.copy(exported["int8"], tmp_path / "[int8].tflite")
    shutil.copy(exported["int8"].with_suffix(".json"), renamed.with_suffix(".json"))
    status, out, _ = verify(renamed, "--data", dataset, "--limit", "1")
    assert status == 0
    assert " [int8].tflite " in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", __file__], "--model is for the host"),
        (["--budget-secs", "nan"], "--budget-secs is nan"),
        (["--budget-secs", "inf"], "--budget-secs is inf"),
        (["--delegate", "tpu"], "'tpu' is no delegate"),
    ],
)
def test_a_mistyped_option_is_one_line_and_touches_no_phone(verify, exported, phone, words, message):
    status, out, err = verify(exported["int8"], *words)
    assert (status, out) == (2, "")
    assert message in err
    assert phone.runs() == []


@pytest.mark.parametrize("words", [("--delegate", "gpu"), ("-s", "all"), ("--budget-secs", "5")])
def test_options_for_phones_without_adb_are_refused(capsys, exported, words):
    assert run(["verify", str(exported["float32"]), *words]) == 2
    assert "is for phones. Add --adb" in capsys.readouterr().err


def test_predict_says_of_images_on_the_phone_what_it_says_here(lab, exported, runs, phone, tmp_path, capsys):
    random = np.random.default_rng(0)
    for number in range(3):
        levels = random.integers(0, 256, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(levels).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")

    def predicted(*options):
        words = ["predict", str(exported["int8"]), str(tmp_path / "0.png"), str(tmp_path / "1.png")]
        capsys.readouterr()
        status = run([*words, str(tmp_path / "broken.png"), *options, "--json"])
        assert status == 1
        return json.loads(capsys.readouterr().out)

    there = predicted("--adb", "--benchmark-model", str(lab.benchmark_model))
    here = predicted()
    assert [each["classes"] for each in there] == [each["classes"] for each in here]
    assert [each["problem"] for each in there] == ["", "", "not an image"]
    assert {each["where"] for each in there} != {"host"}
    assert all(each["ms"] > 0 for each in there[:2])
    # the time is of an inference after one that warmed the process up
    timed = [each.argv for each in phone.runs() if "--num_runs=1" in each.argv]
    assert len(timed) == 2
    assert all("--warmup_runs=1" in argv for argv in timed)


def test_the_phone_s_confusion_matrix_is_printed(verify, exported):
    status, out, _ = verify(exported["int8"], "--confusion")
    assert status == 0
    assert f"{exported['int8'].name} with cpu on " in out
    assert f"{NUM_IMAGES} test images; a line is a true class" in out
