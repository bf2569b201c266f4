"""Models that tf_keras (Keras 2) saved, in its three formats, beside tf_keras's own outputs."""

import shutil
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from export.errors import BadModelFileError
from export.source.carried_ops import OP_LAYERS
from export.source.carry_over import TOLERANCE, carry_over
from export.source.keras_file import load, load_model

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")

SIZE = 16
FORMATS = [".h5", ".keras", "_folder"]
layers = tf_keras.layers


def randomized(model, seed=0):
    """The model with random weights, the statistics of BatchNormalization included."""
    random = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, each.shape) for each in layer.get_weights()])
    return model


def with_everything():
    """What Keras 2 writes and Keras 3 does not read: groups, a/b names, hard_sigmoid, arithmetic, nesting."""
    image = tf_keras.Input((SIZE, SIZE, 3), name="photo")
    x = image / 127.5 - 1.0
    x = layers.Conv2D(8, 3, strides=2, use_bias=False, name="conv1/conv")(x)
    x = layers.BatchNormalization(axis=3, name="conv1/bn")(x)
    x = layers.Activation("hard_sigmoid", name="hard")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = tf.nn.relu6(layers.Conv2D(8, 1, activation="hard_sigmoid", name="gate")(gate) * 4.0 + 1.0)
    x = layers.LeakyReLU(alpha=0.2)(x * gate)
    x = layers.SeparableConv2D(8, 3, name="separable")(x)
    x = layers.PReLU(shared_axes=[1, 2], alpha_initializer="ones")(x)
    inner = tf_keras.Sequential([layers.Dense(6, activation="swish"), layers.Dropout(0.5)], name="inner")
    x = inner(layers.GlobalAveragePooling2D()(x), training=False)
    x = tf.concat([x, tf.reduce_mean(image, [1, 2])], -1)
    return randomized(tf_keras.Model(image, layers.Dense(4, activation="softmax", name="scores")(x)))


def teachable():
    """As Teachable Machine nests them: a Sequential of Sequentials, the first with a functional model."""
    image = tf_keras.Input((SIZE, SIZE, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(image))
    base = tf_keras.Model(image, layers.ReLU(6.0)(x), name="base")
    feature = tf_keras.Sequential([base, layers.GlobalAveragePooling2D()])
    head = tf_keras.Sequential([layers.Dense(5, activation="relu", input_shape=(4,)), layers.Dense(2)])
    return randomized(tf_keras.Sequential([feature, head]))


def trained():
    """Compiled and trained, so that the file holds an optimizer; pixels normalised by learnt statistics."""
    pixels = layers.Normalization(axis=-1)
    pixels.adapt(np.random.default_rng(0).uniform(0, 255, (8, SIZE, SIZE, 3)))
    augment = tf_keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)], name="augment")
    net = [layers.Input((SIZE, SIZE, 3)), augment, pixels, layers.Conv2D(4, 3, groups=1), layers.Flatten()]
    model = tf_keras.Sequential([*net, layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(np.ones((4, SIZE, SIZE, 3)), np.zeros(4), verbose=0)
    return model


def with_functions():
    """TensorFlow's functions called on a functional model's tensors; relu6 as first MobileNets had it."""
    image = tf_keras.Input((SIZE, SIZE, 3))
    x = tf_keras.applications.densenet.preprocess_input(image)  # mean and deviation of each channel
    x = layers.Activation(tf.nn.relu6)(layers.Conv2D(8, 3, activation=tf.nn.relu)(x))
    for function in FUNCTIONS:
        x = function(x)
    return tf_keras.Model(image, layers.Dense(3)(x))


FUNCTIONS = [
    tf.abs,
    tf.square,
    lambda x: tf.sqrt(x + 1.0),
    lambda x: tf.pow(x, 2.0),
    lambda x: tf.clip_by_value(x, -1.0, 1.0),
    lambda x: tf.exp(tf.maximum(x, 0.1)),
    lambda x: tf.minimum(-x, 0.5),
    tf.nn.elu,
    tf.nn.gelu,
    tf.nn.leaky_relu,
    tf.nn.swish,
    lambda x: tf.sigmoid(x) * tf.tanh(x) + x,
    lambda x: tf.transpose(x, [0, 2, 1, 3]),
    lambda x: tf.image.resize(x, (8, 8)),
    lambda x: 2.0 / (x + 3.0),
    lambda x: 1.0 - x,
    lambda x: tf.nn.softmax(x[:, 2:], axis=-1),
    lambda x: tf.squeeze(tf.expand_dims(x, 1), axis=1),
    lambda x: tf.reduce_sum(x, axis=[1], keepdims=True),
    lambda x: tf.reduce_max(x, axis=[1, 2]),
    lambda x: tf.reshape(x, [-1, 8]),
]


def with_rare_layers():
    """Layers whose settings or weights have other names or orders in Keras 3."""
    image = tf_keras.Input((SIZE, SIZE, 3))
    x = layers.TimeDistributed(layers.Dense(4))(layers.CenterCrop(12, 12)(layers.Resizing(14, 14)(image)))
    x = layers.Conv2DTranspose(4, 3, strides=2, output_padding=1)(layers.LayerNormalization()(x))
    x = layers.GroupNormalization(2)(layers.UpSampling2D(2, interpolation="bilinear")(x))
    x = layers.ThresholdedReLU(0.5)(layers.ELU(0.7)(layers.Cropping2D(1)(x)))
    x = layers.MaxPooling2D(4)(layers.GaussianNoise(0.1)(layers.Permute((2, 1, 3))(x)))
    x = layers.Reshape((-1, 4))(x)
    x = layers.MultiHeadAttention(2, 4)(x, x)
    return tf_keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


BUILDERS = (with_everything, teachable, trained, with_functions, with_rare_layers)
MODELS = {build.__name__: build for build in BUILDERS}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(name, format) -> the tf_keras model and its path, saved once."""
    made = {}

    def save(name, suffix):
        if name not in made:
            made[name] = MODELS[name](), tmp_path_factory.mktemp(name)
        model, folder = made[name]
        path = folder / f"model{suffix}"
        if not path.exists():
            model.save(path)
        return model, path

    return save


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).uniform(0, 255, (5, SIZE, SIZE, 3)).astype(np.float32)


def names_of(model):
    for layer in model.layers:
        if type(layer).__name__ not in OP_LAYERS:  # functions are no layers in Keras 3
            yield layer.name.replace("/", "_")
        if hasattr(layer, "layers"):
            yield from names_of(layer)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [*((name, suffix) for name in MODELS for suffix in FORMATS[:2]), ("with_everything", FORMATS[2])],
)
def test_a_model_of_keras_2_gives_the_outputs_and_names_of_tf_keras(saved, images, name, suffix):
    theirs, path = saved(name, suffix)
    ours = load_model(path)
    expected = theirs(images, training=False).numpy()
    found = np.asarray(ours(images, training=False))
    assert isinstance(ours, keras.Model)
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()
    unnamed = {"sequential", "input"}  # a Sequential's input layer is not among its layers
    assert {each for each in names_of(theirs) if not unnamed & set(each.split("_"))} <= set(names_of(ours))


def test_hdf5_named_keras_and_a_zip_named_h5_are_told_by_their_content(saved, images, tmp_path):
    theirs, hdf5 = saved("with_everything", ".h5")
    _, archive = saved("with_everything", ".keras")
    shutil.copy(hdf5, tmp_path / "a.keras")
    shutil.copy(archive, tmp_path / "b.h5")
    for path in tmp_path.iterdir():
        np.testing.assert_allclose(
            load_model(path)(images, training=False), theirs(images, training=False), atol=1e-6
        )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_mixed_precision_is_computed_in_float32(images, tmp_path, policy, suffix):
    def net():
        return [
            layers.Input((SIZE, SIZE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
            layers.Activation("softmax", dtype="float32"),
        ]

    tf_keras.mixed_precision.set_global_policy(policy)
    mixed = randomized(tf_keras.Sequential(net()))
    tf_keras.mixed_precision.set_global_policy("float32")
    plain = tf_keras.Sequential(net())
    plain.set_weights(mixed.get_weights())
    mixed.save(tmp_path / f"model{suffix}")
    loaded = load(tmp_path / f"model{suffix}")
    assert loaded.dtype_policy == policy
    np.testing.assert_allclose(loaded.model(images, training=False), plain(images, training=False), atol=1e-6)


@pytest.mark.parametrize("suffix", FORMATS[:2])
def test_a_lambda_is_named_and_never_run(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    inner = tf_keras.Sequential(
        [layers.Input((8, 8, 3)), layers.Lambda(lambda x: x * 2, name="doubled"), layers.Flatten()]
    )
    tf_keras.Sequential([layers.Input((8, 8, 3)), inner, layers.Dense(2)]).save(path)
    with pytest.raises(BadModelFileError, match="'doubled' is a Lambda layer, which would run code"):
        load_model(path)


class Mine(layers.Layer):
    """A layer that only its author has."""

    def call(self, inputs):
        return inputs


@pytest.mark.parametrize("suffix", FORMATS[:2])
def test_a_layer_of_somebody_elses_is_named_with_its_class(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    net = [layers.Input((8, 8, 3)), Mine(name="odd"), layers.Flatten(), layers.Dense(2)]
    tf_keras.Sequential(net).save(path)
    with pytest.raises(BadModelFileError, match="'odd' is a Mine, which is no layer of Keras's own"):
        load_model(path)


def test_a_layer_that_keras_3_lacks_is_named(tmp_path):
    image = tf_keras.Input((8, 8, 3))
    x = layers.LocallyConnected2D(2, 3, name="local")(image)
    tf_keras.Model(image, layers.Flatten()(x)).save(tmp_path / "model.h5")
    with pytest.raises(BadModelFileError, match="'local' is a LocallyConnected2D, which Keras 3 lacks"):
        load_model(tmp_path / "model.h5")


def test_an_operation_that_is_not_known_is_named(tmp_path):
    image = tf_keras.Input((8, 8, 3))
    x = tf.math.lgamma(image)
    tf_keras.Model(image, layers.Dense(2)(layers.Flatten()(x))).save(tmp_path / "model.h5")
    with pytest.raises(BadModelFileError, match=r"'tf\.math\.lgamma' computes tf\.math\.lgamma"):
        load_model(tmp_path / "model.h5")


@pytest.mark.parametrize("nested", [False, True])
def test_the_first_layer_that_differs_is_named(nested):
    odd = layers.Dense(3, name="odd")
    inner = tf_keras.Sequential([layers.Input((4,)), layers.ReLU(), odd, layers.ReLU()], name="inner")
    chain = [inner] if nested else inner.layers
    net = [layers.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), *chain]
    model = tf_keras.Sequential([*net, layers.Dense(2)])
    odd.call = lambda inputs: tf.matmul(inputs, odd.kernel) * 1.001
    with pytest.raises(BadModelFileError, match=f"the layer '{'inner/' if nested else ''}odd' computes"):
        carry_over(model)


def test_a_file_of_keras_3_is_read_without_tf_keras(net, tmp_path, monkeypatch):
    net.save(tmp_path / "model.keras")
    monkeypatch.setitem(sys.modules, "export.source.keras2", None)  # importing it raises
    load_model(tmp_path / "model.keras")


def test_a_model_that_fails_on_a_batch_of_images_is_refused():
    image = tf_keras.Input((SIZE, SIZE, 3))
    x = layers.GlobalAveragePooling2D()(image)
    joined = layers.Concatenate(name="joined")([x, tf.ones((1, 3))])
    with pytest.raises(BadModelFileError, match="cannot be run on a batch of images"):
        carry_over(tf_keras.Model(image, joined))
