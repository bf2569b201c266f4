"""Real files, whole and damaged, as Keras and h5py write them."""

import zipfile

import h5py
import keras
import numpy as np
import pytest

from export.errors import BadModelFileError, ExportError
from export.source.keras_file import load, load_model


@pytest.fixture
def saved(net, tmp_path):
    def save(suffix):
        path = tmp_path / f"model{suffix}"
        net.save(path)
        return path

    return save


@pytest.mark.parametrize(
    "suffix", [".keras", pytest.param(".h5", marks=pytest.mark.filterwarnings("ignore"))]
)
def test_a_saved_model_gives_the_same_outputs(net, saved, test_images, suffix):
    images = test_images[:4].astype(np.float32)
    again = load_model(saved(suffix))
    np.testing.assert_array_equal(again(images, training=False), net(images, training=False))


@pytest.mark.parametrize(
    "suffix", [".keras", pytest.param(".h5", marks=pytest.mark.filterwarnings("ignore"))]
)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused_in_one_line(saved, suffix, share):
    path = saved(suffix)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadModelFileError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_random_bytes_are_refused(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(np.random.default_rng(0).bytes(3000))
    with pytest.raises(BadModelFileError, match=r"no \.keras file|not an HDF5 file"):
        load_model(path)


def test_a_flipped_byte_in_the_weights_is_found_by_its_checksum(saved):
    path = saved(".keras")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(BadModelFileError, match="damaged"):
        load_model(path)


def test_a_tflite_file_called_keras_is_refused(exported, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(exported("int8").read_bytes())
    with pytest.raises(BadModelFileError, match=r"no \.keras file"):
        load_model(path)


def test_another_zip_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(BadModelFileError, match=r"without config\.json"):
        load_model(tmp_path / "model.keras")


def test_another_hdf5_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["numbers"] = np.arange(3)
    with pytest.raises(BadModelFileError, match="weights without a model"):
        load_model(tmp_path / "model.h5")


def test_weights_without_a_model_say_what_to_do(net, tmp_path):
    net.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(BadModelFileError, match="build the model, load these weights"):
        load_model(tmp_path / "model.weights.h5")


@pytest.mark.parametrize(
    "suffix", [".keras", pytest.param(".h5", marks=pytest.mark.filterwarnings("ignore"))]
)
def test_a_lambda_is_not_run(tmp_path, suffix):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Lambda(lambda value: value * 2, output_shape=(8, 8, 3))(image)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    model.save(tmp_path / f"model{suffix}")
    with pytest.raises(BadModelFileError, match=r"'lambda.*' is a Lambda layer, which would run code"):
        load_model(tmp_path / f"model{suffix}")


def test_a_layer_of_somebody_elses_is_named(tmp_path):
    class Strange(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    image = keras.Input((8, 8, 3))
    keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(Strange()(image)))).save(
        tmp_path / "m.keras"
    )
    with pytest.raises(BadModelFileError, match="Strange"):
        load_model(tmp_path / "m.keras")


@pytest.mark.parametrize("name", ["model.onnx", "model"])
def test_another_suffix_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(BadModelFileError, match=r"Expected a \.keras or \.h5 file"):
        load_model(tmp_path / name)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(BadModelFileError, match="No such file"):
        load_model(tmp_path / "model.keras")
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(BadModelFileError, match=r"a folder without saved_model\.pb"):
        load_model(tmp_path / "folder.keras")


def _dense(*shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    x = keras.layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))


def _of_any_size():
    image = keras.Input((None, None, 3))
    return keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(image)))


def _segmentation():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, keras.layers.Conv2D(2, 1)(image))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: _dense((8, 8, 3), (8, 8, 3)), r"2 inputs and 1 output\b"),
        (lambda: _dense((10,)), "image classifier"),
        (lambda: _dense((8, 8, 4)), "3 or 1"),
        (_segmentation, r"\(batch, classes\)"),
        (_of_any_size, "images of any size"),
    ],
)
def test_a_model_that_classifies_no_images_of_one_size_is_refused(tmp_path, build, says):
    build().save(tmp_path / "model.keras")
    with pytest.raises(ExportError, match=says):
        load_model(tmp_path / "model.keras")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_arithmetic_between_layers_is_read_from_hdf5(tmp_path):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(image / 127.5 - 1)
    scores = keras.layers.Add(name="layer")([x, keras.ops.relu(x)]) + 2 * x
    model = keras.Model(image, keras.layers.Dense(2)(scores))
    model.save(tmp_path / "model.h5")
    images = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(load_model(tmp_path / "model.h5")(images), model(images))


def _transfer(policy):
    """Augmentation, learnt normalisation, arithmetic, a nested model and a cast, under a policy."""
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        layers = keras.layers
        pixels = layers.Normalization()
        pixels.adapt(np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)))
        net = [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(6.0)]
        image = keras.Input((8, 8, 3))
        x = keras.Sequential(net, name="base")(pixels(layers.RandomFlip()(image)) / 2 + 1, training=False)
        x = keras.ops.cast(layers.GlobalAveragePooling2D()(x), layers.Dense(1).compute_dtype)
        return keras.Model(image, layers.Dense(3, activation="softmax", dtype="float32")(x))
    finally:
        keras.mixed_precision.set_dtype_policy("float32")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_computed_in_float32_by_the_same_layers(tmp_path, policy, suffix):
    mixed, plain = _transfer(policy), _transfer("float32")
    plain.set_weights(mixed.get_weights())
    mixed.save(tmp_path / f"model{suffix}")
    loaded = load(tmp_path / f"model{suffix}")
    images = np.random.default_rng(1).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
    assert loaded.dtype_policy == policy
    assert [each.name for each in loaded.model.layers] == [each.name for each in mixed.layers]
    np.testing.assert_array_equal(loaded.model(images, training=False), plain(images, training=False))


def test_nothing_is_printed(saved, capfd):
    load_model(saved(".keras"))
    assert capfd.readouterr() == ("", "")


def _classifier(pixels, inputs=None, outputs=lambda scores: scores):
    layers = keras.layers
    x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(pixels))
    scores = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(pixels if inputs is None else inputs, outputs(scores))


def _image_input(dtype="float32"):
    return keras.Input((16, 16, 3), dtype=dtype, name="image")


def _dictionary_of_one():
    return _classifier(_image_input(), outputs=lambda scores: {"class": scores})


def _lists_of_one():
    pixels = _image_input()
    return _classifier(pixels, [pixels], lambda scores: [scores])


def _uint8():
    return _classifier(_image_input("uint8"))


def _sequential_uint8():
    return keras.Sequential([_image_input("uint8"), _classifier(_image_input())])


@pytest.mark.parametrize("build", [_dictionary_of_one, _lists_of_one, _uint8, _sequential_uint8])
def test_one_tensor_in_any_structure_or_whole_number_is_read_as_a_float_tensor(tmp_path, build):
    model = build()
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    given = images.astype(model.inputs[0].dtype)
    [expected] = keras.tree.flatten(model([given] if build is _lists_of_one else given, training=False))
    again = load_model(tmp_path / "model.keras")
    assert again.inputs[0].dtype == "float32"
    np.testing.assert_allclose(again(images.astype(np.float32), training=False), expected, atol=1e-6)


def test_whole_numbers_that_overflow_are_refused(tmp_path):
    pixels = _image_input("uint8")
    _classifier(pixels + pixels, pixels).save(tmp_path / "model.keras")
    with pytest.raises(ExportError, match="uint8 pixels what it does not with floats"):
        load_model(tmp_path / "model.keras")
