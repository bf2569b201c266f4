"""Model files that would take far more memory than they hold are refused before they do."""

import gzip
import io
import json
import re
import resource
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from export.errors import BadModelFileError
from export.source.container import layers_of_class, open_container
from export.source.keras_file import load

MOST_GROWTH_BYTES = 300 * 2**20


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The members of a .keras file of one dense layer."""
    path = tmp_path_factory.mktemp("bounds") / "net.keras"
    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    keras.Model(image, keras.layers.Dense(3, name="scores")(x)).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def refused(tmp_path):
    """The error for a file of this content, which must not have taken much memory."""

    def error_of(content, name="net.keras"):
        path = tmp_path / name
        path.write_bytes(content)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(BadModelFileError) as caught:
            load(path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_GROWTH_BYTES // 1024
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return error_of


def archived(members, method=zipfile.ZIP_STORED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def weights(**options):
    """A file of weights of one array of zeros."""
    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        file.create_dataset("vars/0", **{"dtype": "float32", "chunks": True, "compression": "gzip"} | options)
    return made.getvalue()


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5", "metadata.json"])
def test_an_archive_that_unpacks_to_hundreds_of_times_its_size_is_refused(members, refused, member):
    bomb = archived({**members, member: bytes(300 * 2**20)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**21
    assert "unpacks to 300 MiB, more than 256 MiB, 50 times its own size" in refused(bomb)


def test_a_configuration_has_a_bound_of_its_own(members, refused):
    bomb = archived({**members, "config.json": b" " * (17 * 2**20)}, zipfile.ZIP_DEFLATED)
    assert "'config.json' unpacks to more than 16 MiB" in refused(bomb)


def test_arrays_that_claim_more_than_they_may_unpack_to_are_refused(members, refused):
    claimed = archived({**members, "model.weights.h5": weights(shape=(2**20, 2**20))})
    assert "its arrays unpack to 4,194,304 MiB, more than 256 MiB" in refused(claimed)
    assert "its arrays unpack to" in refused(weights(shape=(2**20, 2**20)), "net.h5")


def test_weights_that_lie_in_another_file_are_refused(members, refused, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(12))
    outside = weights(shape=(3,), chunks=None, compression=None, external=[(tmp_path / "secret", 0, 12)])
    assert "'0' is read from another file" in refused(archived({**members, "model.weights.h5": outside}))
    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        file["vars"] = h5py.ExternalLink("other.h5", "/vars")
    linked = archived({**members, "model.weights.h5": made.getvalue()})
    assert "'vars' is read from another file, 'other.h5'" in refused(linked)


def test_a_layer_of_a_billion_units_is_refused_before_they_are_made(members, refused):
    config = json.loads(members["config.json"])
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "Dense":
            layer["config"]["units"] = 10**9
    huge = archived({**members, "config.json": json.dumps(config).encode()})
    assert "of weights, and its layers ask for more than 64 MiB" in refused(huge)


def test_a_keras_2_layer_of_a_billion_units_is_refused_before_they_are_made(refused, tmp_path):
    path = old_net(tmp_path, ".h5")
    config = json.loads(json.dumps(configuration(path)).replace('"units": 3', '"units": 1000000000'))
    assert "its layers ask for more than 64 MiB" in refused(with_configuration(path, config), "old.h5")


def test_a_configuration_of_any_depth_ends_in_an_answer(members, refused):
    deep = b"[" * 100_000 + b"]" * 100_000
    assert "damaged" in refused(archived({**members, "config.json": deep}))
    nested = {}
    for _ in range(50_000):
        nested = {"config": nested}
    assert list(layers_of_class(nested, "Lambda")) == []


def test_models_that_call_each_other_over_and_over_are_refused_before_they_are_built(members, refused):
    config = json.loads(members["config.json"])
    innermost = json.dumps(config["config"]["layers"][1])
    for level in range(30):
        inner = json.loads(members["config.json"])
        inner["config"]["name"] = inner["name"] = f"level{level}"
        nodes = json.loads(innermost)["inbound_nodes"]
        inner["config"]["layers"][1] = {**config, "inbound_nodes": 2 * nodes}
        config = inner
    error = refused(archived({**members, "config.json": json.dumps(config).encode()}))
    assert re.search(r"calls [\d,]{13,} layers, more than 100,000", error)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("inbound", [[], [[["conv", 0, 0, {}]]], [[["scores", 0, 0, {}]]]])
def test_a_keras_2_layer_that_no_other_feeds_ends_in_an_answer(tmp_path, refused, suffix, inbound):
    """tf_keras itself tries for ever to call it."""
    path = old_net(tmp_path, suffix)
    config = configuration(path)
    conv = next(each for each in config["config"]["layers"] if each["config"]["name"] == "conv")
    conv["inbound_nodes"] = inbound
    error = refused(with_configuration(path, config), path.name)
    assert "get their input from no other, or stand in a circle" in error


def old_net(folder, suffix):
    """The file of a small model of Keras 2."""
    import tf_keras

    path = folder / f"old{suffix}"
    image = tf_keras.Input((8, 8, 3), name="image")
    x = tf_keras.layers.Conv2D(2, 3, padding="same", name="conv")(image)
    x = tf_keras.layers.GlobalAveragePooling2D()(x)
    with warnings.catch_warnings(action="ignore"):  # HDF5 is legacy
        tf_keras.Model(image, tf_keras.layers.Dense(3, name="scores")(x)).save(path)
    return path


def configuration(path):
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return json.loads(file.attrs["model_config"])
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


def with_configuration(path, config):
    """The file's content with another configuration."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = json.dumps(config)
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    return archived({**held, "config.json": json.dumps(config).encode()})


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_an_image_of_a_billion_pixels_is_refused_before_it_is_made(tmp_path, refused, suffix):
    path = old_net(tmp_path, suffix)
    content = json.dumps(configuration(path)).replace("[null, 8, 8, 3]", "[null, 32768, 32768, 3]")
    error = refused(with_configuration(path, json.loads(content)), path.name)
    assert "computes 3,221,225,472 values at once for one image, more than 67,108,864" in error


def test_a_window_of_a_million_pixels_at_each_place_is_refused(refused, tmp_path):
    image = keras.Input((2048, 2048, 3))
    x = keras.layers.AveragePooling2D(1024, strides=1, padding="same", name="wide")(image)
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(image, x).save(tmp_path / "made.keras")
    error = refused((tmp_path / "made.keras").read_bytes())
    assert re.search(r"'wide' multiplies [\d,]+ times for one image, more than 1,000,000,000,000", error)


def test_a_file_of_more_than_four_gibibytes_is_not_opened(tmp_path):
    path = tmp_path / "net.h5"
    with path.open("wb") as file:
        file.truncate(5 * 2**30)  # no block of it is written
    with pytest.raises(BadModelFileError, match="larger than 4,096 MiB"):
        load(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_archive_is_not_unpacked_by_methods_that_no_writer_of_models_uses(members, refused, method):
    with_method = io.BytesIO()
    with zipfile.ZipFile(with_method, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert "compressed by method" in refused(with_method.getvalue())


def test_an_archive_of_a_version_to_come_is_refused(members, refused):
    content = archived(members)
    place = content.index(b"PK\x01\x02")
    assert "version" in refused(content[: place + 6] + b"\xff" + content[place + 7 :])


def test_a_graph_without_an_output_is_refused(refused, tmp_path):
    import tf_keras

    path, layers, image = tmp_path / "old.keras", tf_keras.layers, tf_keras.Input((8, 8, 3))
    inner = tf_keras.Sequential([layers.Dense(4)], name="inner")
    body = tf_keras.Sequential([layers.Conv2D(3, 3, padding="same", input_shape=(8, 8, 3))])
    pooled = layers.GlobalAveragePooling2D()
    x = layers.Concatenate()([inner(pooled(body(image))), inner(pooled(body(body(image))))])
    tf_keras.Model(image, layers.Dense(3)(x)).save(path)
    config = configuration(path)
    config["config"]["output_layers"] = [{}]
    assert "is called as Keras 3 refuses it" in refused(with_configuration(path, config))


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("key", ["input_layers", "output_layers"])
def test_a_keras_2_graph_without_an_end_ends_in_an_answer(refused, tmp_path, suffix, key):
    path = old_net(tmp_path, suffix)
    config = configuration(path)
    config["config"][key] = []
    refused(with_configuration(path, config), path.name)


def test_a_file_that_hdf5_itself_reads_for_ever_is_refused(refused):
    """A model of Keras whose heap of attributes is damaged, found by mutations."""
    content = gzip.decompress((Path(__file__).parent / "loops.h5.gz").read_bytes())
    assert "HDF5 ended with SIG" in refused(content, "net.h5")


def test_what_is_bounded_is_read_still(members, tmp_path):
    path = tmp_path / "net.keras"
    path.write_bytes(archived(members, zipfile.ZIP_DEFLATED))
    assert open_container(path).weights_bytes == 4 * (3 * 3 + 3)
    assert load(path).model.predict_on_batch(np.zeros((1, 8, 8, 3))).shape == (1, 3)
