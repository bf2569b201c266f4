"""SavedModels of tf.saved_model.save, TensorFlow 1 and both versions of Keras, beside their functions."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from export.check.verify import Samples, verify
from export.convert import convert
from export.errors import BadModelFileError, ExportError
from export.files import sha256_of
from export.graph.probabilities import head_of_model
from export.head import HeadKind
from export.plan import converted_model
from export.precisions import Precision
from export.settings import ExportSettings
from export.source.keras_file import load, load_model
from export.source.serving import is_serving_function

SIZE = 16
TOLERANCE = 1e-5


class Net(tf.Module):
    """A convolution on 0..255, and a dense layer."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.kernel = tf.Variable(random.normal(0, 0.2, (3, 3, 3, 8)).astype(np.float32))
        self.dense = tf.Variable(random.normal(0, 0.5, (8, 5)).astype(np.float32))

    def scores(self, image):
        x = tf.nn.relu6(tf.nn.conv2d(image / 127.5 - 1, self.kernel, 2, "SAME"))
        return tf.reduce_mean(x, [1, 2]) @ self.dense


NET = Net()


def spec(batch=None, dtype="float32", size=SIZE):
    return tf.TensorSpec((batch, size, size, 3), dtype, name="image")


def signature(function, *specs):
    return tf.function(function).get_concrete_function(*(specs or (spec(),)))


def probabilities(image):
    return {"p": tf.nn.softmax(NET.scores(tf.cast(image, tf.float32)))}


def of_a_file(content):
    image = tf.map_fn(lambda each: tf.io.decode_jpeg(each, 3), content, fn_output_signature=tf.uint8)
    return probabilities(tf.reshape(image, (-1, SIZE, SIZE, 3)))


def three(image):
    scores = NET.scores(image)
    return {"logits": scores, "classes": tf.argmax(scores, -1), "likely": tf.nn.softmax(scores)}


JPEG = signature(of_a_file, tf.TensorSpec((None,), tf.string, name="jpeg"))
SIGNATURES = {
    "any batch": {"serving_default": signature(probabilities)},
    "one image": {"serving_default": signature(probabilities, spec(1))},
    "eight images": {"serving_default": signature(probabilities, spec(8))},
    "uint8": {"serving_default": signature(probabilities, spec(dtype="uint8"))},
    "three outputs": {"serving_default": signature(three)},
    "a file or an image": {"serving_default": JPEG, "image": signature(probabilities)},
    "named otherwise": {"classify": signature(probabilities)},
}
REFUSED = {
    "jpeg": ({"serving_default": JPEG}, "serving_default takes jpeg string"),
    "several": ({"a": signature(probabilities), "b": signature(probabilities)}, "several signatures.*: a, b"),
    "two answers": (
        {"serving_default": signature(lambda image: {"x": NET.scores(image), "y": NET.scores(2 * image)})},
        r"gives .*\(None, 5\).*Expected one output",
    ),
    "places": (
        {
            "serving_default": signature(
                lambda image: NET.scores(image) + tf.range(8, dtype=tf.float32)[:, tf.newaxis], spec(8)
            )
        },
        "takes exactly 8 images at once",
    ),
    "any size": ({"serving_default": signature(probabilities, spec(size=None))}, "images of any size"),
    "none": ({}, "no serving function"),
}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, (6, SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture
def saved(tmp_path):
    def save(signatures):
        tf.saved_model.save(NET, str(tmp_path / "net"), signatures=signatures or None)
        return tmp_path / "net"

    return save


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_serving_function_gives_what_it_gave(saved, images, name):
    model = load_model(saved(SIGNATURES[name]))
    assert is_serving_function(model)
    for some in (images, images[:1]):
        np.testing.assert_allclose(
            model(some, training=False), probabilities(some)["p"], rtol=0, atol=TOLERANCE
        )


@pytest.mark.parametrize("name", REFUSED)
def test_a_signature_that_classifies_no_images_is_refused_by_what_it_takes(saved, name):
    signatures, says = REFUSED[name]
    with pytest.raises(ExportError, match=says):
        load_model(saved(signatures))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_its_files_are_verified_against_it(saved, images, tmp_path, precision):
    model = load_model(saved(SIGNATURES["any batch"]))
    settings = ExportSettings(Precision(precision))
    path = tmp_path / "net.tflite"
    path.write_bytes(convert(model, settings, pixels=images.astype(np.uint8)))
    batches = [(images, np.argmax(probabilities(images)["p"], axis=1))]
    samples = Samples(batches=batches, dataset="noise", dataset_fingerprint="0", split="test")
    found = verify(model, path, samples)
    assert found.keras_top1 == 100
    assert found.max_abs_difference <= {"float32": TOLERANCE, "int8": 0.02}[precision]
    assert converted_model(model, settings) is None  # there are no layers to compare


def test_a_sigmoid_at_the_end_of_the_graph_is_known(saved, images):
    function = signature(lambda image: {"p": tf.sigmoid(NET.scores(image)[:, :1])})
    model = load_model(saved({"serving_default": function}))
    assert head_of_model(model).kind is HeadKind.BINARY
    assert head_of_model(model).threshold == 0.5
    np.testing.assert_allclose(model(images), tf.sigmoid(NET.scores(images)[:, :1]), atol=TOLERANCE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_saved_model_of_tensorflow_1_is_read(images, tmp_path):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder(tf.float32, (None, SIZE, SIZE, 3), "image")
        kernel = v1.get_variable("kernel", (3, 3, 3, 8), use_resource=False)
        dense = v1.get_variable("dense", (8, 5), use_resource=True)
        features = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(image / 255.0, kernel, 2, "SAME")), [1, 2])
        scores = tf.nn.softmax(features @ dense)
        session.run(v1.global_variables_initializer())
        expected = session.run(scores, {image: images})
        outputs = {"probabilities": scores, "classes": tf.argmax(scores, -1)}
        v1.saved_model.simple_save(session, str(tmp_path / "v1"), {"image": image}, outputs)
    np.testing.assert_allclose(load_model(tmp_path / "v1")(images), expected, rtol=0, atol=TOLERANCE)


def test_a_model_that_keras_3_exported_is_read(net, test_images, tmp_path):
    net.export(tmp_path / "net", verbose=False)
    some = test_images[:4].astype(np.float32)
    np.testing.assert_allclose(load_model(tmp_path / "net")(some), net(some), rtol=0, atol=TOLERANCE)


class Subclassed(tf_keras.Model):
    """A model of its own class: its call is nowhere but in Python and in the graph."""

    def __init__(self):
        super().__init__()
        self.dense = tf_keras.layers.Dense(3)

    def call(self, inputs):
        return self.dense(tf.reduce_mean(inputs, [1, 2]))


def with_a_lambda():
    layers = tf_keras.layers
    net = [layers.Input((SIZE, SIZE, 3)), layers.Lambda(lambda x: x / 255, name="odd"), layers.Flatten()]
    return tf_keras.Sequential([*net, layers.Dense(3)])


@pytest.mark.parametrize(
    ("build", "says"), [(Subclassed, "a model of its own class"), (with_a_lambda, "'odd' is a Lambda layer")]
)
def test_what_keras_cannot_read_is_exported_by_its_serving_function_with_the_reason(
    images, tmp_path, build, says
):
    model = build()
    expected = np.asarray(model(images))
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert is_serving_function(loaded.model)
    assert says in loaded.notes[0]
    assert "serving function is exported" in loaded.notes[0]
    np.testing.assert_allclose(loaded.model(images), expected, rtol=0, atol=TOLERANCE * 255)


def test_a_damaged_folder_is_refused(saved):
    folder = saved(SIGNATURES["any batch"])
    (folder / "saved_model.pb").write_bytes((folder / "saved_model.pb").read_bytes()[:1000])
    with pytest.raises(BadModelFileError, match="Copy the whole folder again"):
        load_model(folder)


def test_a_folder_without_its_variables_is_refused(saved):
    folder = saved(SIGNATURES["any batch"])
    next((folder / "variables").glob("*.index")).unlink()
    with pytest.raises(BadModelFileError, match="Copy the whole folder again"):
        load_model(folder)


def test_the_checksum_of_a_folder_is_its_contents_and_names(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "variables").mkdir(parents=True)
        (tmp_path / name / "saved_model.pb").write_bytes(b"graph")
        (tmp_path / name / "variables" / "data").write_bytes(b"weights")
    (tmp_path / "b" / ".DS_Store").write_bytes(b"a file manager's")
    before = sha256_of(tmp_path / "a")
    assert sha256_of(tmp_path / "b") == before
    (tmp_path / "b" / "variables" / "data").write_bytes(b"weight5")
    assert sha256_of(tmp_path / "b") != before
    (tmp_path / "a" / "variables" / "data").rename(tmp_path / "a" / "variables" / "other")
    assert sha256_of(tmp_path / "a") != before


def test_a_rescaling_in_front_of_a_serving_function(saved, images):
    from export.graph.rescaling import add_rescaling

    model = load_model(saved(SIGNATURES["any batch"]))
    rescaled = add_rescaling(model, 0.5, 3.0)
    assert is_serving_function(rescaled)
    np.testing.assert_allclose(
        rescaled(images, training=False), probabilities(images * 0.5 + 3)["p"], rtol=0, atol=TOLERANCE
    )
    assert isinstance(rescaled, keras.Model)


def test_a_graph_that_touches_files_is_refused_before_it_is_loaded(saved, tmp_path):
    target = tmp_path / "written"

    def writes(image):
        tf.io.write_file(str(target), "by the model")
        return probabilities(image)

    folder = saved({"serving_default": signature(writes, spec())})
    target.unlink(missing_ok=True)
    with pytest.raises(BadModelFileError, match=r"\(WriteFile\) would read or write files of this machine"):
        load_model(folder)
    assert not target.exists()


def test_a_graph_whose_functions_call_each_other_over_and_over_is_refused(saved):
    folder = saved(SIGNATURES["any batch"])
    model = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    library = model.meta_graphs[0].graph_def.library
    for level in range(40):
        function = library.function.add()
        function.signature.name = f"level{level}"
        for name in ("one", "two"):
            node = function.node_def.add(name=name, op="StatefulPartitionedCall")
            node.attr["f"].func.name = f"level{level + 1}"
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    with pytest.raises(BadModelFileError, match="its graph has more than 2,000,000 operations"):
        load_model(folder)
    function.node_def[0].attr["f"].func.name = "level0"
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    with pytest.raises(BadModelFileError, match=r"its function 'level\d+' calls itself"):
        load_model(folder)


def test_a_folder_of_more_than_four_gibibytes_is_not_loaded(saved):
    folder = saved(SIGNATURES["any batch"])
    with (folder / "assets" / "huge").open("wb") as file:
        file.truncate(5 * 2**30)  # no block of it is written
    with pytest.raises(BadModelFileError, match="more than 4,096 MiB"):
        load_model(folder)
