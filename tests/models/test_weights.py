"""Published weights give the published outputs in our definitions; a file that does not fit is refused."""

import zipfile

import keras
import numpy as np
import pytest
import tf_keras

from models.build import build, build_without_weights
from models.errors import CheckpointError
from models.weights.catalogue import CHECKPOINTS, best_for
from models.weights.fill import load_weights

SHARED = {
    "mobilenet_1.0_224": "mobilenet_v1_1.0_224.weights.h5",
    "squeezenet_1.1": "squeezenet_v1.1_imagenet.npz",
    "densenet_bc_100_12_cifar10": "densenet_bc_100_12_cifar10.npz",
}
"""The published files that the tests have."""


def outputs(model, images):
    """The model's outputs; not predict(), whose tracing takes longer than a few images."""
    return model(images, training=False).numpy()


def test_mobilenet_gives_the_outputs_of_keras_applications_on_the_same_file(weights):
    checkpoint = CHECKPOINTS["mobilenet_1.0_224"]
    ours = build(checkpoint.family, **checkpoint.knobs)
    load_weights(ours, weights / SHARED["mobilenet_1.0_224"])
    theirs = keras.applications.MobileNet(weights=str(weights / SHARED["mobilenet_1.0_224"]))
    image = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3)).astype(np.float32)
    expected = outputs(theirs, keras.applications.mobilenet.preprocess_input(image.copy()))
    # both are float32; only the scaling of the pixels is done in another order
    np.testing.assert_allclose(outputs(ours, image), expected, atol=1e-5)
    assert expected.max() > 0.1


def test_squeezenet_gives_the_golden_outputs(weights):
    checkpoint = CHECKPOINTS["squeezenet_1.1"]
    model = build(checkpoint.family, version="1.1", scale=1.0, offset=0.0)
    load_weights(model, weights / SHARED["squeezenet_1.1"])
    scores = keras.Model(model.input, model.get_layer("logits").output)
    with np.load(weights / SHARED["squeezenet_1.1"]) as golden:
        for index in range(3):
            image = golden[f"test_data_set/{index}/input_0"].transpose(0, 2, 3, 1)
            expected = golden[f"test_data_set/{index}/output_0"]
            # scores reach 296; ten layers of float32 sums in another order
            np.testing.assert_allclose(outputs(scores, image), expected, rtol=1e-4, atol=1e-2)


@pytest.fixture(scope="module")
def densenet(weights):
    checkpoint = CHECKPOINTS["densenet_bc_100_12_cifar10"]
    model = build(checkpoint.family, **checkpoint.knobs)
    load_weights(model, weights / SHARED["densenet_bc_100_12_cifar10"])
    return model


def accuracy(model, images, labels):
    """Share of images whose most probable class is the label."""
    right = 0
    for start in range(0, len(images), 100):
        batch = slice(start, start + 100)
        right += (outputs(model, images[batch].astype(np.float32)).argmax(axis=-1) == labels[batch]).sum()
    return right / len(images)


def test_densenet_bc_recognises_cifar10(densenet, cifar10_test):
    images, labels = cifar10_test
    # 94.03% of all 10,000; the standard error of 200 is 1.7 points
    assert accuracy(densenet, images[:200], labels[:200]) >= 0.90


@pytest.mark.slow
def test_densenet_bc_reaches_its_published_accuracy_on_all_of_cifar10(densenet, cifar10_test):
    # one image, 0.01%, may fall on the other side by float32 sums in another order
    assert accuracy(densenet, *cifar10_test) == pytest.approx(0.9403, abs=1.01e-4)


@pytest.fixture(scope="module")
def keras_densenet(tmp_path_factory):
    """keras.applications.DenseNet121 with random weights and statistics, and the file that it saved."""
    model = keras.applications.DenseNet121(weights=None, input_shape=(64, 64, 3), classes=10)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            low_high = [(0.5, 1.5), (-0.3, 0.3), (-0.3, 0.3), (0.5, 2.0)]
            layer.set_weights([random.uniform(low, high, shape) for low, high in low_high])
    path = tmp_path_factory.mktemp("keras") / "densenet121.weights.h5"
    model.save_weights(path)
    return model, path


def test_densenet121_gives_the_outputs_of_keras_applications_on_the_same_file(keras_densenet):
    theirs, path = keras_densenet
    ours = build("densenet", image_size=64, stem="imagenet", num_classes=10, scale=1.0, offset=0.0)
    load_weights(ours, path)
    assert ours.count_params() == theirs.count_params()
    image = np.random.default_rng(1).normal(0, 1, (2, 64, 64, 3)).astype(np.float32)
    expected = outputs(theirs, image)
    # Keras has BatchNormalization epsilon 1.001e-5, we 1e-5 as Torch
    np.testing.assert_allclose(outputs(ours, image), expected, atol=1e-4)
    assert expected.std() > 0.01


def test_weights_that_our_own_model_saved_come_back(tmp_path):
    for family, knobs in [
        ("squeezenet", {"bypass": "complex"}),
        ("mobilenet", {"alpha": 0.25}),
        ("densenet", {"depth": 10, "bottleneck": True}),
    ]:
        saved, loaded = (build(family, **knobs, image_size=32, num_classes=4) for _ in range(2))
        saved.save_weights(tmp_path / f"{family}.weights.h5")
        load_weights(loaded, tmp_path / f"{family}.weights.h5")
        for ours, theirs in zip(loaded.get_weights(), saved.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "family", "knobs"),
    [
        ("MobileNet", "mobilenet", {"alpha": 0.25}),
        ("DenseNet121", "densenet", {"variant": "121", "epsilon": 1.001e-5}),
    ],
)
def test_old_keras_file_gives_the_outputs_of_old_keras(tmp_path, name, family, knobs):
    """tf_keras writes the layout of Keras's published files, <layer>/<layer>/kernel:0."""
    settings = {"alpha": 0.25} if name == "MobileNet" else {}
    theirs = getattr(tf_keras.applications, name)(
        weights=None, input_shape=(64, 64, 3), classes=1000, classifier_activation=None, **settings
    )
    random = np.random.default_rng(0)
    for layer in theirs.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            low_high = [(0.5, 1.5), (-0.3, 0.3), (-0.3, 0.3), (0.5, 2.0)]
            layer.set_weights([random.uniform(low, high, layer.gamma.shape) for low, high in low_high])
    theirs.save_weights(tmp_path / "old.h5")
    ours = build(family, image_size=64, stem="imagenet", scale=1.0, offset=0.0, **knobs)
    load_weights(ours, tmp_path / "old.h5")
    scores = keras.Model(ours.input, ours.get_layer("logits").output)
    image = random.normal(0, 1, (2, 64, 64, 3)).astype(np.float32)
    expected = theirs(image, training=False).numpy().reshape(2, -1)
    np.testing.assert_allclose(outputs(scores, image), expected, atol=1e-5 * max(1.0, np.abs(expected).max()))
    assert expected.std() > 1e-3


def test_sizes_that_are_printed_are_those_of_the_files():
    one_each = {(each.family, each.size_mb): (name, each) for name, each in CHECKPOINTS.items()}
    for name, checkpoint in one_each.values():
        model = build_without_weights(checkpoint.family, **checkpoint.knobs)
        assert checkpoint.size_mb == pytest.approx(4e-6 * model.count_params(), rel=0.06), name


def test_best_file_for_knobs_is_the_nearest_in_size():
    assert best_for("mobilenet", {"alpha": 0.5, "image_size": 160}) == "mobilenet_0.5_160"
    assert best_for("mobilenet", {"alpha": 0.5, "image_size": 96}) == "mobilenet_0.5_128"
    assert best_for("mobilenet", {}) == "mobilenetv1_100_timm"
    assert best_for("mobilenet", {"padding": "same"}) == "mobilenet_1.0_224"
    assert best_for("mobilenet", {"alpha": 0.6}) is None
    assert best_for("densenet", {"variant": "169"}) == "densenet169"
    assert best_for("squeezenet", {}) is None  # torchvision publishes pickles alone


@pytest.fixture(scope="module")
def small_model():
    return build("densenet", depth=10, growth_rate=2, bottleneck=True, num_classes=3)


@pytest.fixture(scope="module")
def small_arrays(small_model):
    """The small model's weights in PyTorch's layout, as the published DenseNet-BC file has them."""
    names = {"conv1": "conv1", "final_bn": "bn1", "logits": "fc"}
    for number in (1, 2, 3):
        names |= {
            f"block{number}_layer1_bottleneck_bn": f"block{number}.layer.0.bn1",
            f"block{number}_layer1_bottleneck": f"block{number}.layer.0.conv1",
            f"block{number}_layer1_bn": f"block{number}.layer.0.bn2",
            f"block{number}_layer1": f"block{number}.layer.0.conv2",
        }
    for number in (1, 2):
        names |= {
            f"transition{number}_bn": f"trans{number}.bn1",
            f"transition{number}": f"trans{number}.conv1",
        }
    arrays = {}
    for ours, theirs in names.items():
        values = small_model.get_layer(ours).get_weights()
        for part, value in zip(("weight", "bias", "running_mean", "running_var"), values, strict=False):
            turned = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
            arrays[f"{theirs}.{part}"] = turned + 1
        if "bn" in theirs:
            arrays[f"{theirs}.num_batches_tracked"] = np.array(7)
    return arrays


def refusal(model, path):
    """The message of the CheckpointError; the model's weights are proven unchanged."""
    before = model.get_weights()
    with pytest.raises(CheckpointError) as refused:
        load_weights(model, path)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    return str(refused.value)


def test_whole_file_fills_every_weight(small_model, small_arrays, tmp_path):
    np.savez(tmp_path / "whole.npz", **small_arrays)
    model = keras.models.clone_model(small_model)
    load_weights(model, tmp_path / "whole.npz")
    for loaded, original in zip(model.get_weights(), small_model.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, original + 1)


def test_file_that_leaves_a_layer_unfilled_is_refused_and_the_layer_named(
    small_model, small_arrays, tmp_path
):
    for name, layer in [
        ("block2.layer.0.conv2.weight", "block2_layer1"),
        ("bn1.running_var", "final_bn"),
        ("fc.bias", "logits"),
    ]:
        short = {key: value for key, value in small_arrays.items() if key != name}
        np.savez(tmp_path / "short.npz", **short)
        message = refusal(small_model, tmp_path / "short.npz")
        assert f"leaves 1 layer of densenet_bc10k2_32 without weights: '{layer}'" in message


def test_file_with_an_array_that_no_layer_takes_is_refused_and_the_array_named(
    small_model, small_arrays, tmp_path
):
    np.savez(tmp_path / "more.npz", **small_arrays, **{"block3.layer.1.conv1.weight": np.ones((8, 4, 1, 1))})
    message = refusal(small_model, tmp_path / "more.npz")
    assert "1 array that no layer" in message
    assert "'block3.layer.1.conv1.weight'" in message


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("fc.weight", lambda array: np.ones((10, array.shape[1])), "layer 'logits' expects (4, 3)"),
        ("conv1.weight", lambda array: array[:, :, :1, :1], "layer 'conv1' expects (3, 3, 3, 4)"),
        ("bn1.weight", lambda array: array[None], "layer 'final_bn' expects (4,)"),
        ("fc.weight", lambda array: array * np.nan, "not finite"),
        ("fc.weight", lambda array: array.astype(int), "not finite numbers (int64)"),
    ],
)
def test_array_of_the_wrong_shape_or_kind_is_refused(
    small_model, small_arrays, tmp_path, name, change, expected
):
    np.savez(tmp_path / "odd.npz", **(small_arrays | {name: change(small_arrays[name])}))
    message = refusal(small_model, tmp_path / "odd.npz")
    assert expected in message
    assert name in message


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("suffix", ["npz", "weights.h5"])
def test_truncated_file_is_refused(small_model, small_arrays, tmp_path, suffix, kept):
    whole = tmp_path / f"whole.{suffix}"
    if suffix == "npz":
        np.savez_compressed(whole, **small_arrays)
    else:
        small_model.save_weights(whole)
    content = whole.read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(content[: int(len(content) * kept)])
    message = refusal(small_model, cut)
    assert "cannot be read as weights" in message
    assert "download it again" in message


def test_damaged_byte_in_an_npz_is_refused(small_model, small_arrays, tmp_path):
    np.savez(tmp_path / "whole.npz", **small_arrays)
    content = bytearray((tmp_path / "whole.npz").read_bytes())
    content[content.index(small_arrays["fc.weight"].tobytes("A"))] ^= 0xFF
    (tmp_path / "damaged.npz").write_bytes(content)
    assert "damaged.npz" in refusal(small_model, tmp_path / "damaged.npz")


@pytest.mark.parametrize("content", [b"\x00" * 4096, b"not weights at all", bytes(range(256)) * 50])
@pytest.mark.parametrize("name", ["x.npz", "x.weights.h5"])
def test_file_that_is_no_weights_is_refused(small_model, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "cannot be read as weights" in refusal(small_model, tmp_path / name)


@pytest.mark.parametrize(
    "header", [b"{'descr'", b"{'descr': '<f4', 'fortran_order': False, 'shape': (2**62,)}", b"(("]
)
def test_header_that_lies_in_an_npz_is_refused(small_model, tmp_path, header):
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "lies.npz", "w") as archive:
        archive.writestr("fc.weight.npy", array)
        archive.writestr("readme.txt", "no array")
    assert "cannot be read as weights" in refusal(small_model, tmp_path / "lies.npz")


def test_pickled_objects_are_never_loaded(small_model, tmp_path):
    np.savez(tmp_path / "objects.npz", **{"conv1.weight": np.array([{"a": 1}], dtype=object)})
    assert "cannot be read as weights" in refusal(small_model, tmp_path / "objects.npz")
    np.save(tmp_path / "single.npy", np.ones(3))
    assert "single array" in refusal(small_model, tmp_path / "single.npy")


def test_archive_of_unknown_names_is_refused_with_what_is_known(small_model, tmp_path):
    np.savez(tmp_path / "other.npz", first=np.ones(3), second=np.ones(2))
    assert "'first', 'second'. Known: Keras" in refusal(small_model, tmp_path / "other.npz")


def test_missing_file_is_refused(small_model, tmp_path):
    assert "there is no file" in refusal(small_model, tmp_path / "absent.npz")


@pytest.mark.parametrize("name", SHARED)
def test_checkpoint_of_another_model_is_refused(small_model, weights, name):
    assert SHARED[name] in refusal(small_model, weights / SHARED[name])


def test_checkpoint_for_other_classes_is_refused_with_what_to_do(weights):
    model = build("mobilenet", num_classes=10)
    message = refusal(model, weights / SHARED["mobilenet_1.0_224"])
    assert "layer 'logits' expects (1024, 10)" in message
    assert "number of classes" in message
