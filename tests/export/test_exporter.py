"""A file and its sidecar, whole or not at all."""

import hashlib
import resource
import signal

import keras
import numpy as np
import pytest

from export.artifact import Calibration, read_sidecar, sidecar_path
from export.errors import ExportError, FloatOperatorError
from export.exporter import SourceModel, export_model
from export.files import sha256_of
from export.precisions import Precision
from export.quantization.calibrate import CalibrationImages
from export.settings import ExportSettings
from export.tflite.download_size import downloaded_bytes
from export.tflite.inspect import inspect
from pipeline.steps.export_notes import normalized

CALIBRATION = Calibration(
    dataset="blocks", split="train", num_samples=100, seed=0, samples_per_class={"a": 100}, sha256="0" * 64
)


@pytest.fixture(scope="module")
def saved(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    net.save(path)
    return path


@pytest.fixture
def export(saved, net, calibration_pixels, tmp_path):
    def run(precision, *, target=tmp_path / "out" / "small.tflite", **changes):
        described = {
            "model_name": "small",
            "family": None,
            "class_names": ["a", "b", "c", "d", "e"],
            "dataset": "blocks",
            "model": net,
        }
        described |= {name: changes.pop(name) for name in list(changes) if name in described}
        pixels = changes.pop("pixels", calibration_pixels)
        if precision == Precision.INT8:
            changes.setdefault("equalize", False)  # nothing is compared, which would take its time
        return export_model(
            SourceModel(path=saved, **described),
            target,
            ExportSettings(Precision(precision), **changes),
            images=CalibrationImages(pixels=pixels, record=CALIBRATION),
        )

    return run


@pytest.mark.parametrize("precision", list(Precision))
def test_the_sidecar_describes_the_file_that_was_written(export, saved, tmp_path, precision):
    artifact = export(precision)
    path = tmp_path / "out" / "small.tflite"
    assert read_sidecar(path) == artifact
    assert artifact.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert artifact.size_bytes == path.stat().st_size
    assert artifact.parent_sha256 == sha256_of(saved)
    assert artifact.path == "small.tflite"
    assert artifact.precision is precision
    assert (artifact.calibration == CALIBRATION) == (precision in (Precision.INT8, Precision.INT16X8))
    assert artifact.versions["tensorflow"].startswith("2.")
    assert {each.name for each in path.parent.iterdir()} == {"small.tflite", "small.json"}


@pytest.mark.parametrize(
    ("io_dtype", "scale", "zero_point", "words"),
    [
        ("int8", 1 / 128, 0, "raw 0-255 RGB as int8: pixel - 128"),
        ("uint8", 1 / 128, 128, "raw 0-255 RGB as uint8: the pixel itself"),
    ],
)
def test_the_sidecar_says_what_to_feed(export, io_dtype, scale, zero_point, words):
    artifact = export("int8", io_dtype=io_dtype)
    assert (artifact.input.scale, artifact.input.zero_point) == (scale, zero_point)
    assert artifact.input.dtype == artifact.output.dtype == io_dtype
    assert artifact.pixels == words
    assert artifact.float_operators == ()


NORMALIZED = {
    "int8": "in the input's scale and zero point",
    "float32": "in float, as the model does",
    "": "",
    "valid": "in the weights and bias of the first convolution",
    "same": "in one operator, a 1x1 depthwise convolution: "
    "the zeros around what 'conv' reads stand for the grey levels 122.6, 115.9, 103.3",
}


@pytest.mark.parametrize("case", NORMALIZED)
def test_the_sidecar_says_where_pixels_are_normalized(export, nets, tmp_path, case):
    if case in ("int8", "float32"):
        artifact = export(case)
    else:
        image = x = keras.Input((32, 32, 3))
        x = keras.layers.Rescaling(**nets.PER_CHANNEL)(x) if case else x
        x = keras.layers.Conv2D(4, 3, padding=case or "same", name="conv")(x)
        model = keras.Model(image, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))
        artifact = export("int8", model=model)
    assert artifact.normalization == NORMALIZED[case]
    assert bool(normalized(artifact)) == (case == "same")


def test_the_sidecar_says_whether_tflite_runtime_loads_it(export):
    pytest.importorskip("tflite_runtime", reason="tflite-runtime has no wheel for this machine")
    artifact = export("int8")
    assert artifact.tflite_runtime_loads is True
    assert artifact.tflite_runtime_error is None


def test_an_operator_newer_than_tflite_runtime_is_recorded_with_its_words(export):
    pytest.importorskip("tflite_runtime", reason="tflite-runtime has no wheel for this machine")
    image = keras.Input((8, 8, 3))
    x = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(image))
    model = keras.Model(image, keras.layers.Dense(5)(x))
    artifact = export("dynamic", model=model)
    assert {use.name: use.version for use in artifact.operators}["FULLY_CONNECTED"] == 12
    assert artifact.tflite_runtime_loads is False
    assert "FULLY_CONNECTED" in artifact.tflite_runtime_error


def test_the_names_that_packing_leaves_out_stand_in_the_sidecar(export, tmp_path):
    path = tmp_path / "out" / "small.tflite"
    packed = export("int8")
    nameless = inspect(path)
    kept = export("int8", keep_names=True)
    assert packed.tensor_names == kept.tensor_names == tuple(tensor.name for tensor in inspect(path).tensors)
    assert any("conv1" in name for name in packed.tensor_names)
    assert not any("conv1" in tensor.name for tensor in nameless.tensors)
    assert packed.size_bytes < kept.size_bytes


def test_the_sidecar_says_what_the_file_takes_on_its_way(export, tmp_path):
    artifact = export("float32")
    content = (tmp_path / "out" / "small.tflite").read_bytes()
    assert artifact.downloaded_bytes == downloaded_bytes(content) < artifact.size_bytes


def test_the_model_is_loaded_from_its_file_when_none_is_given(export):
    assert export("float32", model=None).sha256 == export("float32").sha256


def test_two_exports_of_one_model_are_equal(export):
    assert export("int8").sha256 == export("int8").sha256


def _with_sine():
    image = keras.Input((32, 32, 3))
    x = keras.ops.sin(keras.layers.Conv2D(4, 3)(image))
    return keras.Model(image, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))


def test_a_float_leftover_is_named_and_the_earlier_file_stays(export, tmp_path):
    export("int8")
    path = tmp_path / "out" / "small.tflite"
    before = path.read_bytes(), sidecar_path(path).read_bytes()
    with pytest.raises(
        FloatOperatorError, match=r"not fully integer: .*SIN.*softmax have integer kernels\), or"
    ):
        export("int8", model=_with_sine())
    assert (path.read_bytes(), sidecar_path(path).read_bytes()) == before
    assert {each.name for each in path.parent.iterdir()} == {"small.tflite", "small.json"}


def test_a_refused_file_is_not_there(export, tmp_path):
    with pytest.raises(FloatOperatorError):
        export("int8", model=_with_sine())
    assert list(tmp_path.glob("out/*")) == []


def test_a_full_disk_is_said_and_the_earlier_file_stays(export, tmp_path):
    export("int8")
    path = tmp_path / "out" / "small.tflite"
    before = path.read_bytes(), sidecar_path(path).read_bytes()
    image = keras.Input((32, 32, 3))
    large = keras.Model(image, keras.layers.Dense(5)(keras.layers.Dense(1000)(keras.layers.Flatten()(image))))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        with pytest.raises(ExportError, match=r"cannot write .*small\.tflite \(File too large\)"):
            export("int8", model=large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (path.read_bytes(), sidecar_path(path).read_bytes()) == before
    assert {each.name for each in path.parent.iterdir()} == {"small.tflite", "small.json"}


def test_a_folder_that_cannot_be_made_is_said(export, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="cannot write"):
        export("float32", target=tmp_path / "file" / "small.tflite")


def test_wrong_number_of_class_names_is_refused(export):
    with pytest.raises(ExportError, match="2 class names, but the model has 5 classes"):
        export("float32", class_names=["a", "b"])


def test_another_suffix_is_refused(export, tmp_path):
    with pytest.raises(ExportError, match=r"Expected a name such as small\.tflite"):
        export("float32", target=tmp_path / "small.bin")


def test_grey_images_are_exported_too(export):
    image = keras.Input((16, 16, 1))
    x = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 128, -1.0)(image))
    model = keras.Model(image, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))
    artifact = export("int8", model=model, pixels=np.arange(1024, dtype=np.uint8).reshape(4, 16, 16, 1))
    assert artifact.pixels == "raw 0-255 grey as int8: pixel - 128"


def test_a_layer_that_is_always_zero_is_named_where_the_runtime_refuses_the_file(export, tmp_path):
    image = keras.Input((32, 32, 3))
    below = keras.initializers.Constant(-1000.0)
    x = keras.layers.Conv2D(4, 3, name="dead", activation="relu", bias_initializer=below)(image)
    x = keras.layers.Conv2D(4, 3, name="next", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="gap")(x)
    model = keras.Model(image, keras.layers.Dense(5, activation="softmax", name="out")(x), name="zero")
    with pytest.raises(ExportError, match=r"'dead', 'next', 'gap'.* gave 0 .*--keep-float dead") as told:
        export("int8", model=model)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out" / "small.tflite").exists()
    assert export("int8", model=model, keep_float=("dead", "next")).float_layers == ("dead", "next")
