"""Models that were sent as a zip archive."""

import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf

from export.errors import BadModelFileError
from export.model_format import ModelFormat, format_of
from export.source.keras_file import load_model

WEIGHTS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
IMAGES = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A SavedModel's folder."""
    folder = tmp_path_factory.mktemp("saved") / "net"
    net = tf.Module()
    net.weights = tf.Variable(WEIGHTS)
    image = tf.TensorSpec((None, 8, 8, 3), name="image")
    scores = tf.function(lambda image: tf.reduce_mean(image, (1, 2)) @ net.weights)
    tf.saved_model.save(net, str(folder), signatures=scores.get_concrete_function(image))
    return folder


@pytest.fixture
def zipped(tmp_path, saved):
    """Writes an archive of the folder below each of some paths, and of other files."""

    def write(*inside, name="net.zip", others=None):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for below in inside:
                for file in sorted(saved.rglob("*")):
                    archive.write(file, f"{below}{file.relative_to(saved)}")
            for other, content in (others or {}).items():
                archive.writestr(other, content)
        return path

    return write


@pytest.mark.parametrize("inside", ["", "net/", "converted_savedmodel/model.savedmodel/"])
def test_a_saved_model_in_an_archive_gives_what_it_gave(zipped, inside):
    path = zipped(inside, others={"labels.txt": "0 a\n1 b\n", f"__MACOSX/{inside}._saved_model.pb": "x"})
    assert format_of(path) is ModelFormat.ZIPPED
    found = load_model(path).predict(IMAGES, verbose=0)
    np.testing.assert_allclose(found, IMAGES.mean(axis=(1, 2)) @ WEIGHTS, rtol=1e-5)


def test_a_keras_file_in_an_archive_is_read(tmp_path, zipped, net):
    net.save(tmp_path / "net.keras")
    path = zipped(others={"converted/net.keras": (tmp_path / "net.keras").read_bytes()})
    found = load_model(path)
    assert [layer.name for layer in found.layers] == [layer.name for layer in net.layers]


def test_several_models_are_named(zipped):
    with pytest.raises(BadModelFileError, match=r"net\.zip holds 2 models: a, b\. Expected one"):
        load_model(zipped("a/", "b/"))


def test_what_is_wrong_in_it_is_said_of_the_archive(zipped):
    path = zipped(others={"model.h5": b"no model"})
    with pytest.raises(BadModelFileError, match=r"net\.zip \(model\.h5\) is truncated or not an HDF5 file"):
        load_model(path)
    inner = zipped(name="model.h5", others={"model.h5": b"no model"})
    outer = zipped(name="outer.zip", others={"model.h5": inner.read_bytes()})
    with pytest.raises(BadModelFileError, match="a zip archive of a model again"):
        load_model(outer)


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path, zipped):
    path = zipped("", others={"variables/more": bytes(300 * 2**20)})
    with pytest.raises(BadModelFileError, match="unpacks to"):
        load_model(path)
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_written_outside(tmp_path, zipped):
    path = zipped("a/b/", others={f"a/b/{'../' * 12}outside": "x", "/absolute-outside": "x"})
    load_model(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net.zip"]


def test_archives_of_other_files_are_no_models(zipped):
    assert format_of(zipped(others={"a/1.jpg": b"x"})) is None


def test_kinds_of_model_that_are_refused_are_refused_in_archives_too(tmp_path, zipped):
    weights = tmp_path / "weights.h5"
    with h5py.File(weights, "w") as file:
        file["w"] = WEIGHTS
    with pytest.raises(BadModelFileError, match=r"net\.zip \(weights\.h5\) holds weights without"):
        load_model(zipped(others={"weights.h5": weights.read_bytes()}))
