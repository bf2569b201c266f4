"""`pipeline explain`: times, joins and findings on real files, good ones and such as are built to be bad."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import flatbuffers
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from export.convert import convert
from export.exporter import SourceModel, export_model
from export.precisions import Precision
from export.quantization.calibrate import CalibrationImages
from export.settings import ExportSettings
from export.tflite.pack import pack
from models.build import build
from pipeline.cli import run
from pipeline.explain.accuracy import compare_with_keras
from pipeline.explain.explanation import ComparedFile, ExplainedFile, NotCompared, explained_layers
from pipeline.explain.findings import MOST, find, find_between, most_important
from pipeline.explain.join import join
from pipeline.explain.reading import Wanted, explain_files
from pipeline.explain.text import about_files
from pipeline.explain.timing import NotTimed, TimedFile, TimingSettings

# the bare converter says so of every Keras model
pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning")

QUICK = TimingSettings(num_rounds=2, operator_secs=0.0005, whole_secs=0.005)
UNTIMED = Wanted(timing=None, errors=False)
TIMED = Wanted(timing=QUICK, errors=False)
Run = Callable[..., tuple[int, str, str]]


@functools.cache
def small_net() -> keras.Model:
    """MobileNet 0.25 for 16x16 pixels and three classes, as tiny_npz has them."""
    keras.utils.set_random_seed(0)
    return build("mobilenet", alpha=0.25, image_size=32, num_classes=3)


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


def export_small(
    model: Path, path: Path, precision: Precision, pixels: np.ndarray, *, equalize: bool | None = None
) -> None:
    """Exports small_net() with a sidecar, as if `model` were its file."""
    source = SourceModel(
        path=model, model=small_net(), model_name="small", family="mobilenet", class_names=("0", "1", "2")
    )
    settings = ExportSettings(precision, equalize=equalize)
    export_model(source, path, settings, images=CalibrationImages(pixels=pixels))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> dict[str, Path]:
    """float32 and int8 of one network, with sidecars, beside the Keras model as a run has it."""
    run_folder = tmp_path_factory.mktemp("run")
    (run_folder / "export").mkdir()
    small_net().save(run_folder / "model.keras")
    made = {}
    for precision in (Precision.FLOAT32, Precision.INT8):
        made[precision.value] = run_folder / "export" / f"small_{precision.value}.tflite"
        export_small(run_folder / "model.keras", made[precision.value], precision, pixels)
    return made


@pytest.fixture(scope="session")
def timed(exported: dict[str, Path]) -> list[ExplainedFile]:
    """float32, then int8, both timed in the same rounds."""
    return explain_files(list(exported.values()), TIMED)


@pytest.fixture
def explain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command; gives back its status, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object) -> tuple[int, str, str]:
        status = run(["explain", *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def written(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / f"{name}.tflite"
    path.write_bytes(content)
    return path


def kinds(file: ExplainedFile) -> set[str]:
    return {finding.kind for finding in find(file)}


def text_of(file: ExplainedFile, kind: str) -> str:
    (finding,) = [each for each in find(file) if each.kind == kind]
    return finding.text


def only(path: Path, wanted: Wanted = UNTIMED) -> ExplainedFile:
    (file,) = explain_files([path], wanted)
    return file


def layers(*steps: Any, size: int = 8, channels: int = 3) -> keras.Model:
    """A classifier of a few layers behind raw pixels."""
    image = x = keras.Input((size, size, channels))
    for step in steps:
        x = step(x)
    x = keras.layers.GlobalAveragePooling2D(name="gap")(x)
    return keras.Model(image, keras.layers.Dense(4, name="logits")(x), name="net")


def test_every_operator_is_timed_and_the_sum_is_of_the_whole_files_size(timed: list[ExplainedFile]):
    for file in timed:
        assert isinstance(file.timing, TimedFile)
        assert all(each.ms is not None and each.ms > 0 for each in file.running)
        assert not file.timing.failed
        assert file.timing.sum_ms == pytest.approx(sum(each.ms or 0 for each in file.running))
        assert 0.1 < file.timing.sum_ms / file.timing.whole_ms < 10  # a busy machine may do much, not this
        shares = sum(each.time_share or 0 for each in file.running)
        assert shares == pytest.approx(file.timing.sum_ms / max(file.timing.sum_ms, file.timing.whole_ms))
        assert file.timing.num_rounds == QUICK.num_rounds


def test_operators_that_no_delegate_may_take_are_told_from_those_of_xnnpack(
    tmp_path: Path, pixels: np.ndarray, timed: list[ExplainedFile]
):
    """XNNPACK has no int16 convolutions; it takes every float convolution."""
    float32, _ = timed
    assert not any(each.outside_xnnpack for each in float32.running if each.layer.macs)
    net = layers(keras.layers.Conv2D(4, 3, activation="relu", name="conv"))
    content = convert(net, ExportSettings(Precision.INT16X8), pixels=pixels[:, :8, :8])
    file = only(written(tmp_path, "int16x8", content), TIMED)
    assert all(each.outside_xnnpack for each in file.running if each.layer.macs)
    assert "int16x8 has no fast kernels" in text_of(file, "outside_xnnpack")


def part_timed(file: ExplainedFile, *, share: float) -> ExplainedFile:
    """The file as it is explained where its timed operators took that share of the whole file's time."""
    assert isinstance(file.timing, TimedFile)
    timing = replace(file.timing, whole_ms=file.timing.sum_ms / share)
    layers = explained_layers(tuple(each.layer for each in file.layers), timing, file.comparison)
    return replace(file, timing=timing, layers=layers)


def test_a_share_of_the_time_is_of_the_whole_file_s(tmp_path: Path, pixels: np.ndarray):
    """An int16x8 convolution takes nearly all of its operators' time."""
    net = layers(keras.layers.Conv2D(4, 3, activation="relu", name="conv"))
    content = convert(net, ExportSettings(Precision.INT16X8), pixels=pixels[:, :8, :8])
    file = only(written(tmp_path, "int16x8", content), TIMED)
    whole, most, little = (part_timed(file, share=share) for share in (1.0, 0.6, 0.02))
    for each, share in ((whole, 1.0), (most, 0.6), (little, 0.02)):
        assert sum(layer.time_share or 0 for layer in each.running) == pytest.approx(share)
    told = [float(text_of(each, "outside_xnnpack").partition("%")[0]) for each in (whole, most)]
    assert told[1] == pytest.approx(0.6 * told[0], abs=1)
    assert "outside_xnnpack" not in kinds(little)  # it rests on 2% of the time
    assert "of the time" not in " ".join(finding.text for finding in find(little))
    (about,) = [line for line in about_files([little]) if "Time:" in line]
    assert "Operators timed: 2% of the whole" in " ".join(about.split())
    (about,) = [line for line in about_files([most]) if "Time:" in line]
    assert "Operators timed" not in about
    twice = part_timed(file, share=2.0)  # run alone they may take longer than together
    assert sum(layer.time_share or 0 for layer in twice.running) == pytest.approx(1)


def test_layers_that_differ_most_are_named_only_where_the_operators_explain_the_time(
    timed: list[ExplainedFile],
):
    float32, int8 = (part_timed(file, share=0.9) for file in timed)
    assert isinstance(float32.timing, TimedFile)
    assert isinstance(int8.timing, TimedFile)
    slow = replace(int8, timing=replace(int8.timing, round_medians_ms=(30.0,) * 8))
    fast = replace(float32, timing=replace(float32.timing, round_medians_ms=(3.0,) * 8))
    (told,) = [each for each in find_between(fast, slow, join(fast, slow)) if each.kind == "slower"]
    assert "The layers that differ most" in told.text
    little = replace(slow, timing=replace(int8.timing, round_medians_ms=(30.0,) * 8, whole_ms=1e6))
    (told,) = [each for each in find_between(fast, little, join(fast, little)) if each.kind == "slower"]
    assert told.text.startswith("B takes 10.00x as long as A")
    assert "differ most" not in told.text


def test_float16_weights_are_unpacked_on_loading_and_cost_no_time(tmp_path: Path):
    content = convert(layers(keras.layers.Conv2D(4, 3, name="conv")), ExportSettings(Precision.FLOAT16))
    file = only(written(tmp_path, "float16", content), TIMED)
    assert len(file.running) < len(file.layers)
    assert all(each.ms is None for each in file.layers if each.layer.on_loading)
    assert all(each.ms for each in file.running)


def test_what_one_file_of_two_is_refused_for_leaves_the_other_measured(
    tmp_path: Path, exported: dict[str, Path]
):
    unknown = written(
        tmp_path, "unknown", with_operator(exported["float32"].read_bytes(), "CONV_2D", version=99)
    )
    refused, good = explain_files([unknown, exported["float32"]], TIMED)
    assert isinstance(refused.timing, NotTimed)
    assert "CONV_2D of version 99" in refused.timing.reason
    assert isinstance(good.timing, TimedFile)


def with_operator(content: bytes, name: str, *, version: int) -> bytes:
    """The file with another version of an operator than any runtime has."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for code in model.operatorCodes:
        if max(code.builtinCode, code.deprecatedBuiltinCode) == getattr(schema.BuiltinOperator, name):
            code.version = version
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_two_files_of_one_model_are_joined_layer_by_layer(timed: list[ExplainedFile]):
    float32, int8 = timed
    joined = join(float32, int8)
    assert (joined.by, joined.same_network) == ("name", True)
    rows = {each.this.label: each for each in joined.layers if each.this}
    names = [layer.name for layer in small_net().layers if isinstance(layer, keras.layers.Conv2D)]
    for name in [*names, "logits"]:
        row = rows[name]
        assert row.this is not None
        assert row.other is not None
        assert row.bytes_ratio == row.other.weight_bytes / row.this.weight_bytes < 0.5
        assert row.time_ratio == pytest.approx((row.other.ms or 0) / (row.this.ms or 1))
    assert rows["pixels"].other is None  # the int8 input's quantization does its work
    bytes_of = [sum(group.weight_bytes for each in joined.layers if (group := getattr(each, side)))
                for side in ("this", "other")]  # fmt: skip
    assert bytes_of == [float32.bytes.weights, int8.bytes.weights]


def test_files_without_names_are_joined_by_the_order_of_operators(tmp_path: Path, exported: dict[str, Path]):
    bare = {name: written(tmp_path, name, path.read_bytes()) for name, path in exported.items()}
    float32, int8 = explain_files(list(bare.values()), UNTIMED)
    assert not any(each.layer.layer for each in float32.layers)
    joined = join(float32, int8)
    assert (joined.by, joined.same_network) == ("order", True)
    pairs = [(each.this, each.other) for each in joined.layers if each.this and each.other]
    assert len(pairs) == len(int8.running)
    assert all(a.operators == b.operators and a.output_shape == b.output_shape for a, b in pairs)
    assert [a.operators for a, b in ((e.this, e.other) for e in joined.layers) if a and not b] == [
        ("MUL",),
        ("ADD",),
    ]


def test_different_networks_are_shown_and_said(tmp_path: Path, exported: dict[str, Path], explain: Run):
    other = layers(keras.layers.Conv2D(4, 3, name="first"), keras.layers.MaxPooling2D(name="second"))
    path = written(tmp_path, "other", convert(other, ExportSettings(Precision.FLOAT32)))
    status, out, _ = explain(exported["float32"], path, "--no-time", "--no-error", "--top", 0)
    assert status == 0
    assert "A and B are different networks" in out
    assert "first" in out
    assert "conv_dw_1" in out


def test_error_of_each_layer_is_measured_where_model_and_data_are_found(
    exported: dict[str, Path], tiny_npz: Path, explain: Run
):
    status, out, _ = explain(exported["int8"], "--no-time", "--data", tiny_npz, "--json")
    (found,) = json.loads(out)
    assert status == 0
    (file,) = found["files"]
    assert file["comparison"]["num_samples"] == 30  # all that its test split has
    errors = {each["layer"]["layer"]: each["relative_error"] for each in file["layers"]}
    assert all(
        errors[name] is not None and 0 < errors[name] <= 1 for name in ("conv1", "conv_pw_13", "logits")
    )


def test_error_that_cannot_be_measured_is_said_with_what_is_missing(
    tmp_path: Path, exported: dict[str, Path], explain: Run
):
    bare = written(tmp_path, "bare", exported["int8"].read_bytes())
    _, out, _ = explain(bare, "--no-time")
    assert "Error: not measured: it has no sidecar (bare.json)" in out
    _, out, _ = explain(exported["int8"], "--no-time")
    assert "Give --data NAME or FOLDER" in " ".join(out.split())


def test_the_layer_that_was_made_hard_to_quantize_is_named(tmp_path: Path, tiny_npz: Path, explain: Run):
    """Of the second convolution's channels one is 300 times as large as the rest."""
    keras.utils.set_random_seed(1)
    net = layers(
        keras.layers.Rescaling(1 / 128, -1.0, name="pixels"),
        keras.layers.Conv2D(8, 3, activation="relu", name="calm"),
        keras.layers.Conv2D(8, 3, activation="relu", name="wild"),
        keras.layers.Conv2D(8, 3, activation="relu", name="behind"),
        size=16,
    )
    kernel, bias = net.get_layer("wild").get_weights()
    kernel[..., 0] = np.abs(kernel[..., 0]) * 300
    net.get_layer("wild").set_weights([kernel, bias])
    (tmp_path / "export").mkdir()
    net.save(tmp_path / "model.keras")
    images = np.load(tiny_npz)["x_train"]
    file = tmp_path / "export" / "wild_int8.tflite"
    source = SourceModel(
        path=tmp_path / "model.keras", model_name="wild", family=None, class_names=tuple("abcd")
    )
    settings = ExportSettings(Precision.INT8, equalize=False)
    export_model(source, file, settings, images=CalibrationImages(pixels=images))
    _, out, _ = explain(file, "--no-time", "--data", tiny_npz, "--json")
    (found,) = json.loads(out)
    (worst,) = [each for each in found["findings"] if each["kind"] == "error_growth"]
    assert "grows most at wild" in worst["text"]


def test_float_operators_left_in_an_integer_file_are_named(tmp_path: Path, pixels: np.ndarray):
    """TFLite has no integer kernel for all that a LayerNormalization takes."""
    net = layers(
        keras.layers.Conv2D(4, 3, name="conv"),
        keras.layers.LayerNormalization(name="norm"),
        keras.layers.Conv2D(4, 1, name="behind"),
    )
    content = convert(net, ExportSettings(Precision.INT8), pixels=pixels[:, :8, :8])
    file = only(written(tmp_path, "leftover", content))
    text = text_of(file, "float_left")
    assert "norm" in text
    assert "float_left" not in kinds(
        only(written(tmp_path, "float", convert(net, ExportSettings(Precision.FLOAT32))))
    )


def test_batch_normalisation_that_no_convolution_takes_in_is_found(tmp_path: Path):
    norm = keras.layers.BatchNormalization
    net = layers(
        keras.layers.Rescaling(1 / 128, -1.0, name="pixels"),
        keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
        norm(name="late_bn"),
        keras.layers.ReLU(name="late_relu"),
    )
    rng = np.random.default_rng(0)
    net.get_layer("late_bn").set_weights([rng.uniform(0.5, 2, 4) for _ in range(4)])
    content = tf.lite.TFLiteConverter.from_keras_model(net).convert()
    text = text_of(only(written(tmp_path, "late", content)), "unfolded_normalization")
    assert "1 pair" in text
    assert "late_bn" in text


def test_normalisation_of_the_pixels_is_no_unfolded_batch_normalisation(timed: list[ExplainedFile]):
    float32, _ = timed
    assert [each.layer.operator for each in float32.running[:2]] == ["MUL", "ADD"]
    assert "unfolded_normalization" not in kinds(float32)


def test_zeros_that_make_the_file_no_smaller_are_told_with_the_bytes_downloaded(tmp_path: Path):
    net = layers(keras.layers.Conv2D(64, 3, name="wide"), keras.layers.Conv2D(64, 3, name="pruned"))
    dense = only(written(tmp_path, "dense", convert(net, ExportSettings(Precision.FLOAT32))))
    kernel, bias = net.get_layer("pruned").get_weights()
    kernel[np.abs(kernel) < np.quantile(np.abs(kernel), 0.75)] = 0
    net.get_layer("pruned").set_weights([kernel, bias])
    pruned = only(written(tmp_path, "pruned", convert(net, ExportSettings(Precision.FLOAT32))))
    assert "zeros" not in kinds(dense)
    share = 0.75 * kernel.size / sum(layer.count_params() for layer in net.layers)
    assert text_of(pruned, "zeros").startswith(f"{share:.0%} of the weights are zeros")
    assert f"{pruned.downloaded_bytes:,} bytes (brotli)" in text_of(pruned, "zeros")
    assert pruned.size_bytes == dense.size_bytes
    assert pruned.downloaded_bytes < 0.7 * dense.downloaded_bytes


def test_the_layer_with_most_of_the_bytes_is_named(tmp_path: Path):
    net = layers(keras.layers.Conv2D(8, 3, name="small"), keras.layers.Conv2D(256, 3, name="huge"))
    file = only(written(tmp_path, "huge", convert(net, ExportSettings(Precision.FLOAT32))))
    huge = 4 * (8 * 9 * 256 + 256)
    text = text_of(file, "largest_layer")
    assert f"huge: {huge / file.size_bytes:.0%} of the file, {huge:,} bytes" in text
    assert "--int8" in text


def test_int8_weights_behind_float_activations_are_called_dynamic_range(tmp_path: Path):
    content = convert(layers(keras.layers.Conv2D(64, 3, name="conv")), ExportSettings(Precision.DYNAMIC))
    assert "`pipeline export --int8`" in text_of(only(written(tmp_path, "dynamic", content)), "dynamic_range")


def test_weights_with_one_scale_for_all_channels_are_found(tmp_path: Path, pixels: np.ndarray):
    net = layers(keras.layers.Conv2D(8, 3, activation="relu", name="conv"))
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([each[None].astype(np.float32)] for each in pixels[:, :8, :8])
    converter._experimental_disable_per_channel = True
    file = only(written(tmp_path, "coarse", converter.convert()))
    assert "1 of 1 convolutions have one scale" in text_of(file, "scale_a_tensor")
    per_channel = convert(net, ExportSettings(Precision.INT8), pixels=pixels[:, :8, :8])
    assert "scale_a_tensor" not in kinds(only(written(tmp_path, "fine", per_channel)))


def test_what_int8_has_no_kernel_for_is_said_with_its_share_of_the_time(tmp_path: Path, pixels: np.ndarray):
    """As in NASNetMobile: a ReLU beside another reader, depthwise kernels of 7x7, an average pooling."""

    def cell(x: Any) -> Any:
        left = keras.layers.ReLU(name="relu")(x)
        left = keras.layers.DepthwiseConv2D(7, padding="same", name="seven")(left)
        right = keras.layers.AveragePooling2D(3, strides=1, padding="same", name="average")(x)
        return keras.layers.Add(name="sum")([left, right])

    wide = layers(keras.layers.Conv2D(64, 3, name="conv"), cell, size=32)
    small = layers(keras.layers.Conv2D(64, 3, activation="relu"), keras.layers.DepthwiseConv2D(5), size=32)
    stock, slow, fast = (
        written(tmp_path, name, convert(net, ExportSettings(Precision.INT8, rewrites=wanted), pixels=pixels))
        for name, net, wanted in (
            ("stock", wide, ()),
            ("slow", wide, Precision.INT8.spec.rewrites),
            ("fast", small, Precision.INT8.spec.rewrites),
        )
    )
    for wanted in (TIMED, UNTIMED):
        said = text_of(only(stock, wanted), "slow_in_int8")
        assert "RELU" in said
        assert "AVERAGE_POOL_2D" in said
        assert "depthwise kernels of more than 25 places (5x5) x 1" in said
    assert said.startswith("3 of 7 operators are such")
    assert "RELU" not in text_of(only(slow, TIMED), "slow_in_int8")
    assert "slow_in_int8" not in kinds(only(fast, TIMED))


def test_operators_that_only_convert_are_counted_inside_the_graph_alone(tmp_path: Path, pixels: np.ndarray):
    net = layers(keras.layers.Conv2D(8, 3, activation="relu", name="conv"))
    content = convert(net, ExportSettings(Precision.INT16X8), pixels=pixels[:, :8, :8])
    file = only(written(tmp_path, "borders", content))
    assert {"QUANTIZE", "DEQUANTIZE"} <= {each.layer.operator for each in file.running}
    assert file.inner_conversions == ()


def test_at_most_six_findings_are_told_the_most_important_first(timed: list[ExplainedFile]):
    found = find(timed[1]) or find(timed[0])
    many = [replace(found[0], weight=number / 10) for number in range(10)]
    told = most_important(many)
    assert [each.weight for each in told] == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert len(told) == MOST


def test_a_table_fits_80_columns_and_shows_the_costliest_first(
    exported: dict[str, Path], explain: Run, monkeypatch: pytest.MonkeyPatch
):
    from rich.console import Console

    monkeypatch.setattr("pipeline.commands.output.PIPED_WIDTH", 80)
    for files in ([exported["int8"]], list(exported.values())):
        status, out, _ = explain(*files, "--no-time", "--no-error", "--sort", "bytes", "--top", 3)
        assert status == 0
        assert max(Console(width=200).measure(line).maximum for line in out.splitlines()) <= 80
        assert out.index("conv_pw_13") < out.index("conv_pw_12")
        assert "more rows: --top 0 shows all" in out


def test_json_holds_both_files_side_by_side(exported: dict[str, Path], explain: Run):
    status, out, err = explain(*exported.values(), "--no-error", "--no-time", "--json")
    (found,) = json.loads(out)
    assert status == 0, err
    assert [Path(file["path"]).name for file in found["files"]] == [path.name for path in exported.values()]
    assert found["joined"]["same_network"] is True
    for file, path in zip(found["files"], exported.values(), strict=True):
        assert file["size_bytes"] == path.stat().st_size
        assert file["timing"] == {"reason": "left out with --no-time"}


def test_json_says_how_a_file_was_measured(exported: dict[str, Path], explain: Run):
    status, out, err = explain(exported["int8"], "--no-error", "--num-threads", 2, "--json")
    (found,) = json.loads(out)
    assert status == 0, err
    timing = found["files"][0]["timing"]
    assert (timing["runtime"], timing["num_threads"]) == ("litert", 2)
    assert timing["runtime_version"] == metadata.version("ai-edge-litert")
    assert timing["whole_ms"] > 0
    assert timing["machine"]


def test_a_file_that_litert_refuses_is_taken_apart_all_the_same(
    tmp_path: Path, exported: dict[str, Path], explain: Run
):
    content = with_operator(exported["float32"].read_bytes(), "CONV_2D", version=99)
    status, out, err = explain(written(tmp_path, "newer", content), "--no-error")
    assert status == 1
    assert "DEPTHWISE" in out
    assert "litert has no CONV_2D of version 99" in err


@pytest.mark.parametrize("content", [b"", b"\x1c\x00\x00\x00TFL3 cut off", b"PK\x03\x04" * 30])
def test_damaged_file_is_one_line_and_status_1(content: bytes, tmp_path: Path, explain: Run):
    status, out, err = explain(written(tmp_path, "damaged", content), "--no-time")
    assert (status, out) == (1, "")
    (message,) = [line for line in err.splitlines() if line.startswith("pipeline:")]
    assert "damaged.tflite" in message


def test_a_keras_file_is_refused_with_how_to_export_it(tmp_path: Path, explain: Run):
    status, out, err = explain(tmp_path / "model.keras")
    assert (status, out) == (2, "")
    assert "pipeline export" in err


def test_a_mistyped_name_is_refused_with_the_right_one(exported: dict[str, Path], explain: Run):
    status, _, err = explain(exported["int8"].with_name("smal_int8.tflite"))
    assert status == 2
    assert "small_int8.tflite" in err


def test_one_file_twice_is_refused(exported: dict[str, Path], explain: Run):
    status, _, err = explain(exported["int8"], exported["int8"])
    assert status == 2
    assert "given twice" in err


def test_a_file_with_a_loop_is_taken_apart(tmp_path: Path):
    """Operators of the loop's body stand in the list; the loop is timed as one."""

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
    def doubled(x: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(lambda y: tf.reduce_sum(y) < 4096.0, lambda y: (y + y,), (tf.abs(x) + 1.0,))[0]

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [doubled.get_concrete_function()], tf.Module()
    )
    file = only(written(tmp_path, "loop", converter.convert()), TIMED)
    assert "WHILE" in {each.layer.operator for each in file.running}
    assert isinstance(file.timing, TimedFile)
    (loop,) = [each for each in file.running if each.layer.operator == "WHILE"]
    assert loop.ms is not None
    assert loop.ms > 0


def test_the_layers_of_an_equalized_file_are_compared_with_the_equalized_model(
    exported: dict[str, Path], pixels: np.ndarray, tmp_path: Path
):
    model = exported["int8"].parents[1] / "model.keras"
    path = tmp_path / "small_int8.tflite"
    export_small(model, path, Precision.INT8, pixels, equalize=True)
    found = compare_with_keras(path, model=model, data="digits")
    plain = compare_with_keras(exported["int8"], model=model, data="digits")
    assert isinstance(found, ComparedFile)
    assert isinstance(plain, ComparedFile)
    errors = {each.layer: each.relative_error for each in plain.errors}
    assert errors
    assert {each.layer for each in found.errors} == set(errors)
    assert all(each.relative_error < errors[each.layer] + 0.1 for each in found.errors)


def test_a_packed_file_without_sidecar_is_shown_by_numbers(tmp_path: Path, explain: Run):
    content = pack(
        convert(layers(keras.layers.Conv2D(4, 3, name="conv")), ExportSettings(Precision.FLOAT32))
    ).content
    path = written(tmp_path, "packed", content)
    assert isinstance(only(path, Wanted(timing=None, errors=True)).comparison, NotCompared)
    status, out, _ = explain(path, "--no-time", "--sort", "order")
    assert status == 0
    assert "#0" in out
