"""Model files that would take far more memory than they hold are refused before they do."""

import io
import json
import resource
import zipfile

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
    bomb = archived({**members, "config.json": b" " * (65 * 2**20)}, zipfile.ZIP_DEFLATED)
    assert "'config.json' unpacks to more than 64 MiB" in refused(bomb)


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
    import tf_keras

    path = tmp_path / "old.h5"
    image = tf_keras.Input((8, 8, 3))
    x = tf_keras.layers.GlobalAveragePooling2D()(image)
    with pytest.warns(UserWarning, match="legacy"):
        tf_keras.Model(image, tf_keras.layers.Dense(3)(x)).save(path)
    with h5py.File(path, "r+") as file:
        config = file.attrs["model_config"].replace('"units": 3', '"units": 1000000000')
        file.attrs["model_config"] = config
    assert "its layers ask for more than 64 MiB" in refused(path.read_bytes(), "old.h5")


def test_a_configuration_of_any_depth_ends_in_an_answer(members, refused):
    deep = b"[" * 100_000 + b"]" * 100_000
    assert "damaged" in refused(archived({**members, "config.json": deep}))
    nested = {}
    for _ in range(50_000):
        nested = {"config": nested}
    assert list(layers_of_class(nested, "Lambda")) == []


def test_what_is_bounded_is_read_still(members, tmp_path):
    path = tmp_path / "net.keras"
    path.write_bytes(archived(members, zipfile.ZIP_DEFLATED))
    assert open_container(path).weights_bytes == 4 * (3 * 3 + 3)
    assert load(path).model.predict_on_batch(np.zeros((1, 8, 8, 3))).shape == (1, 3)
