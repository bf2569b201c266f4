"""CIFAR-10 and Fashion-MNIST from files of the real formats, and .npz files of anybody's."""

import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.cifar10 import CLASS_NAMES, SafeUnpickler
from pipeline.data.registry import load
from pipeline.errors import PipelineError, UsageError

RANDOM = np.random.default_rng(0)
TRAIN = RANDOM.integers(0, 256, (500, 32, 32, 3), np.uint8)
TRAIN_LABELS = np.arange(500) % 10
TEST = RANDOM.integers(0, 256, (50, 32, 32, 3), np.uint8)
TEST_LABELS = np.arange(50) % 10


def python2_batch(images, labels):
    """A batch as Python 2.7's cPickle wrote it, protocol 2: byte strings, and an array by _reconstruct.

    The published files start with the same operators: dict, 'data', numpy.core.multiarray _reconstruct.
    """

    def text(value):
        return b"U" + bytes([len(value)]) + value

    rows = images.transpose(0, 3, 1, 2).reshape(len(images), 3072)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R("
        b"K\x01J" + struct.pack("<i", len(rows)) + b"M\x00\x0c\x86"
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", rows.size) + rows.tobytes() + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return (
        b"\x80\x02}(" + text(b"data") + array + text(b"labels") + numbers + text(b"batch_label")
        + text(b"training batch 1 of 5") + b"u."
    )  # fmt: skip


def write_batches(folder):
    folder.mkdir()
    for number in range(5):
        part = slice(number * 100, number * 100 + 100)
        batch = python2_batch(TRAIN[part], TRAIN_LABELS[part].tolist())
        (folder / f"data_batch_{number + 1}").write_bytes(batch)
    (folder / "test_batch").write_bytes(python2_batch(TEST, TEST_LABELS.tolist()))
    return folder


def write_npz(path, **changed):
    content = {"x_train": TRAIN, "y_train": TRAIN_LABELS, "x_test": TEST, "y_test": TEST_LABELS}
    np.savez(path, **{key: value for key, value in {**content, **changed}.items() if value is not None})
    return path


def test_images(dataset):
    batches = list(dataset.batches("test", image_size=dataset.spec.image_size, batch_size=20))
    return (
        np.concatenate([images for images, _ in batches]),
        np.concatenate([labels for _, labels in batches]),
    )


test_images.__test__ = False


def test_python_batches_give_the_published_test_split_in_its_order(tmp_path):
    dataset = load(str(write_batches(tmp_path / "cifar-10-batches-py")))
    images, labels = test_images(dataset)
    assert (images == TEST).all()
    assert (labels == TEST_LABELS).all()
    assert dataset.spec.name == "cifar10"
    assert dataset.spec.class_names == CLASS_NAMES
    assert dataset.spec.num_train + dataset.spec.num_validation == 500
    assert 20 < dataset.spec.num_validation < 90


def test_keras_reads_the_same_pixels_from_the_batches(tmp_path):
    from keras.src.datasets.cifar import load_batch

    folder = write_batches(tmp_path / "cifar-10-batches-py")
    rows, labels = load_batch(str(folder / "test_batch"))
    images, labels_of_ours = test_images(load(str(folder)))
    assert (rows.transpose(0, 2, 3, 1) == images).all()
    assert labels == labels_of_ours.tolist()


def test_npz_and_python_batches_of_the_same_images_have_one_fingerprint(tmp_path):
    batches = load(str(write_batches(tmp_path / "cifar-10-batches-py")))
    npz = load(str(write_npz(tmp_path / "cifar10.npz")))
    assert npz.spec.fingerprint == batches.spec.fingerprint
    changed = TRAIN.copy()
    changed[0, 0, 0, 0] ^= 1
    other = load(str(write_npz(tmp_path / "cifar10.npz", x_train=changed)))
    assert other.spec.fingerprint != npz.spec.fingerprint


@pytest.mark.parametrize("place", ["variable", "data folder"])
def test_cifar10_is_found_by_name_in_the_users_folders(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    if place == "variable":
        folder = tmp_path / "mine"
        monkeypatch.setenv("PIPELINE_DATA", str(folder))
    folder.mkdir()
    write_npz(folder / "cifar10.npz")
    assert load("cifar10").spec.num_test == 50


def test_fashion_mnist_is_grey_pictures_of_28_drawn_as_rgb(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_DATA", str(tmp_path))
    write_npz(tmp_path / "fashion_mnist.npz", x_train=TRAIN[:, :28, :28, 0], x_test=TEST[:, :28, :28, 0])
    dataset = load("fashion_mnist")
    images, _ = test_images(dataset)
    assert images.shape == (50, 28, 28, 3)
    assert (images == TEST[:, :28, :28, :1]).all()
    assert dataset.spec.class_names[9] == "Ankle boot"


def test_an_npz_of_any_name_is_a_data_set(tmp_path):
    path = write_npz(
        tmp_path / "mine.npz", y_train=TRAIN_LABELS[:, None] % 3, y_test=TEST_LABELS[:, None] % 3
    )
    spec = load(str(path)).spec
    assert (spec.name, spec.class_names, spec.licence) == ("mine", ("0", "1", "2"), "unknown")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"y_test": None}, "has no y_test"),
        ({"x_train": TRAIN.astype(np.float32)}, "float32"),
        ({"y_train": TRAIN_LABELS[:-1]}, "(499,)"),
        ({"y_train": TRAIN_LABELS - 1}, "integers 0"),
        ({"x_train": TRAIN[:, :16, :16]}, "different sizes"),
        ({"y_train": TRAIN_LABELS * 0, "y_test": TEST_LABELS * 0}, "one class"),
        ({"x_test": TEST.astype(object)}, "cannot be read"),
        ({"y_train": TRAIN_LABELS.astype(np.int64) + 2**40}, "holds the label 1,099,511,"),
    ],
)
def test_an_npz_of_another_kind_says_what_was_expected(tmp_path, changed, told):
    with pytest.raises(PipelineError) as caught:
        load(str(write_npz(tmp_path / "odd.npz", **changed))).check_trainable()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def totals(spec):
    return spec.num_train, spec.num_validation, spec.num_test


NAMES = {
    "Keras's": {
        "train": ("x_train", "y_train"),
        "validation": ("x_val", "y_val"),
        "test": ("x_test", "y_test"),
    },
    "MedMNIST's": {
        "train": ("train_images", "train_labels"),
        "validation": ("val_images", "val_labels"),
        "test": ("test_images", "test_labels"),
    },
}


@pytest.mark.parametrize("names", NAMES)
def test_an_npz_with_three_splits_keeps_them(tmp_path, names):
    parts = {"train": (0, 300), "validation": (300, 360), "test": (360, 500)}
    arrays = {}
    for part, (first, end) in parts.items():
        images, labels = NAMES[names][part]
        arrays[images], arrays[labels] = TRAIN[first:end], TRAIN_LABELS[first:end].reshape(-1, 1)
    np.savez(tmp_path / "three.npz", **arrays)
    assert totals(load(str(tmp_path / "three.npz")).spec) == (300, 60, 140)


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels"), ("x_train", "y_train")])
def test_an_npz_of_one_part_is_divided_as_the_user_says(tmp_path, names):
    np.savez(tmp_path / "one.npz", **{names[0]: TRAIN, names[1]: TRAIN_LABELS})
    assert sum(totals(load(str(tmp_path / "one.npz")).spec)) == 500
    train, validation, test = totals(load(f"{tmp_path / 'one.npz'}?split=50/25/25").spec)
    assert train == pytest.approx(250, abs=45)  # four standard deviations
    assert validation == pytest.approx(125, abs=39)
    assert train + validation + test == 500


def test_an_npz_with_splits_is_not_divided_again(tmp_path):
    with pytest.raises(UsageError, match="has the splits train, test, so --split has nothing to divide"):
        load(f"{write_npz(tmp_path / 'mine.npz')}?split=50/25/25")
    with pytest.raises(UsageError, match="--group-by"):
        load(f"{write_npz(tmp_path / 'mine.npz')}?group-by=x")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_npz_is_one_line(tmp_path, share):
    path = write_npz(tmp_path / "cut.npz")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(PipelineError, match="get it again"):
        load(str(path))


def test_a_missing_or_truncated_batch_is_one_line(tmp_path):
    folder = write_batches(tmp_path / "cifar-10-batches-py")
    whole = (folder / "data_batch_3").read_bytes()
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        (folder / "data_batch_3").write_bytes(whole[:length])
        with pytest.raises(PipelineError, match=r"data_batch_3 cannot be read"):
            load(str(folder))
    (folder / "data_batch_3").unlink()
    with pytest.raises(PipelineError, match=r"data_batch_3 is missing"):
        load(str(folder))


class _Malicious:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_malicious_batch_runs_nothing(tmp_path):
    folder = write_batches(tmp_path / "cifar-10-batches-py")
    mark = tmp_path / "was-here"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        attack = pickle.dumps(_Malicious(f"touch {mark}"), protocol=protocol)
        (folder / "data_batch_1").write_bytes(attack)
        with pytest.raises(PipelineError, match=r"asks for posix\.system"):
            load(str(folder))
    assert not mark.exists()
    pickle.loads(attack)
    assert mark.exists(), "the attack works where nothing holds it back"


@pytest.mark.parametrize("name", ["builtins eval", "os system", "numpy load", "numpy.core.multiarray scalar"])
def test_the_unpickler_refuses_what_no_array_needs(name):
    module, _, function = name.partition(" ")
    with pytest.raises(pickle.UnpicklingError, match="no array needs"):
        SafeUnpickler(io.BytesIO(f"c{module}\n{function}\n.".encode())).load()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("cifar_10", "Did you mean 'cifar10'"),
        ("digts", "Did you mean 'digits'"),
        ("flwers", "Did you mean 'flowers'"),
        ("./flowrs", "Did you mean 'flowers'"),
        ("flowers/dasy", "Did you mean 'flowers/daisy'"),
        ("mine.npy", "Did you mean 'mine.npz'"),
        ("notes.pdf", "is not a data set"),
    ],
)
def test_a_mistyped_name_or_path_gets_the_nearest(tmp_path, monkeypatch, given, told):
    monkeypatch.chdir(tmp_path)
    Path("flowers/daisy").mkdir(parents=True)
    Path("mine.npz").touch()
    Path("notes.pdf").touch()
    with pytest.raises(UsageError, match=told) as caught:
        load(given)
    assert caught.value.exit_status == 2


@pytest.mark.skipif("PIPELINE_CIFAR10" not in os.environ, reason="PIPELINE_CIFAR10 names no cifar10.npz")
def test_the_real_cifar10_has_its_published_counts():
    dataset = load(os.environ["PIPELINE_CIFAR10"])
    assert dataset.spec.num_train + dataset.spec.num_validation == 50_000
    assert [count.test for count in dataset.spec.class_counts] == [1000] * 10
    assert dataset.spec.left_out == ()
    assert dataset.spec.num_validation == pytest.approx(5000, abs=5 * 67)
