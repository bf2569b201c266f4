"""Folders of class/image files, with everything that stands in such folders."""

import io
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from pictures import fill, picture
from PIL import ExifTags, Image

from pipeline.data.augment import NONE
from pipeline.data.registry import load, load_pixels
from pipeline.data.scan_cache import MAX_CACHE_BYTES, ROW
from pipeline.data.spec import ReadSettings
from pipeline.errors import PipelineError

SPLITS = ("train", "validation", "test")


def reasons(dataset):
    return {item.path: item.reason for item in dataset.spec.left_out}


def all_images(dataset, image_size=32):
    """Split -> the images in their order, (n, image_size, image_size, 3)."""
    return {
        split: np.concatenate(
            [images for images, _ in dataset.batches(split, image_size=image_size, batch_size=16)]
        )
        for split in SPLITS
    }


def distinct_images(folder):
    """Split -> the bytes of its images."""
    found = all_images(load(str(folder)), image_size=40)
    return {split: {image.tobytes() for image in rows} for split, rows in found.items()}


def test_every_image_stands_in_one_split(photos):
    spec = load(str(photos)).spec
    assert spec.class_names == ("cat", "dog")
    assert (spec.image_size, spec.left_out, spec.converted) == (40, (), {})
    assert [c.train + c.validation + c.test for c in spec.class_counts] == [40, 40]
    assert spec.num_train + spec.num_validation + spec.num_test == 80


def test_labels_are_the_classes_of_the_pixels(photos):
    dataset = load(str(photos))
    for images, labels in dataset.batches("test", image_size=40, batch_size=16):
        for image, label in zip(images.numpy(), labels.numpy(), strict=True):
            folder = photos / dataset.spec.class_names[label]
            assert any((np.asarray(Image.open(file)) == image).all() for file in folder.iterdir())


def test_renaming_and_adding_files_moves_none(photos):
    before = {
        split: {image.tobytes() for image in rows} for split, rows in all_images(load(str(photos))).items()
    }
    for number, file in enumerate(sorted((photos / "cat").iterdir())):
        file.rename(file.with_name(f"renamed-{number}.png"))
    for number in range(30):
        picture([7, number]).save(photos / "dog" / f"new-{number}.png")
    after = {
        split: {image.tobytes() for image in rows} for split, rows in all_images(load(str(photos))).items()
    }
    for split in SPLITS:
        assert before[split] <= after[split]


def test_the_fingerprint_changes_with_the_data_and_with_nothing_else(photos, tmp_path):
    first = load(str(photos)).spec.fingerprint
    moved = shutil.copytree(photos, tmp_path / "elsewhere")
    (moved / "cat" / "notes.txt").write_text("not an image")
    (moved / "cat" / "0.png").rename(moved / "cat" / "zero.png")
    assert load(str(moved)).spec.fingerprint == first
    picture([9, 9]).save(moved / "cat" / "another.png")
    assert load(str(moved)).spec.fingerprint != first


def test_odd_files_are_converted_or_left_out_and_named(photos):
    cat = photos / "cat"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture(1, width=60).save(cat / "turned.jpg", exif=exif)
    picture(2).convert("CMYK").save(cat / "press.jpg")
    picture(3).convert("RGBA").save(cat / "opaque.png")
    picture(4).quantize(16).save(cat / "few.gif")
    Image.fromarray(np.full((40, 40), 9000, np.uint16)).save(cat / "deep.png")
    picture(5).save(cat / "fine.webp")
    picture(6).save(cat / "fine.bmp")
    (cat / "empty.jpg").touch()
    (cat / "story.jpg").write_text("once upon a time")
    whole = (cat / "0.png").read_bytes()
    (cat / "half.png").write_bytes(whole[: len(whole) // 2])
    Image.new("1", (9_500, 9_500)).save(cat / "bomb.png")
    (cat / ".DS_Store").write_bytes(b"x")
    (cat / "Thumbs.db").write_bytes(b"x")
    (cat / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(cat / "pipe.png")
    (photos / "readme.txt").write_text("mine")
    (photos / "bird").mkdir()
    dataset = load(str(photos))
    assert dataset.spec.converted == {"16-bit": 1, "CMYK": 1, "EXIF-rotated": 1, "alpha": 1, "palette": 1}
    found = reasons(dataset)
    assert found.pop("cat/half.png").startswith("broken")
    assert "pixels" in found.pop("cat/bomb.png")
    assert found == {
        "bird": "a folder without an image",
        "cat/.DS_Store": "hidden",
        "cat/Thumbs.db": "hidden",
        "cat/empty.jpg": "empty",
        "cat/gone.png": "a link that leads nowhere",
        "cat/pipe.png": "a named pipe, not a file",
        "cat/story.jpg": "not an image",
        "readme.txt": "not in a class folder",
    }
    assert dataset.spec.class_names == ("cat", "dog")
    assert dataset.spec.image_size is None
    assert sum(len(rows) for rows in all_images(dataset).values()) == 80 + 7


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_left_out(photos):
    (photos / "cat" / "0.png").chmod(0)
    assert "Permission denied" in reasons(load(str(photos)))["cat/0.png"]


def test_a_loop_of_links_is_walked_once(photos):
    (photos / "cat" / "again").symlink_to(photos / "cat", target_is_directory=True)
    (photos / "cat" / "self").symlink_to("self")
    dataset = load(str(photos))
    assert sum(c.train + c.validation + c.test for c in dataset.spec.class_counts) == 80
    assert reasons(dataset) == {
        "cat/again": "a link to a folder that was read already",
        "cat/self": "a link to itself",
    }


def test_images_in_folders_below_a_class_belong_to_it(photos):
    (photos / "cat" / "kittens").mkdir()
    (photos / "cat" / "0.png").rename(photos / "cat" / "kittens" / "0.png")
    assert load(str(photos)).spec.class_counts[0].name == "cat"
    assert sum(getattr(load(str(photos)).spec.class_counts[0], split) for split in SPLITS) == 40


def test_equal_files_under_two_classes_are_named_and_left_out(photos):
    shutil.copy(photos / "cat" / "3.png", photos / "dog" / "copy.png")
    found = reasons(load(str(photos)))
    assert found == dict.fromkeys(
        ("cat/3.png", "dog/copy.png"), "the same image is in the classes 'cat' and 'dog'"
    )


def test_copies_within_a_class_are_told(photos):
    shutil.copy(photos / "cat" / "3.png", photos / "cat" / "copy.png")
    assert "1 further copy of an image" in load(str(photos)).spec.notes[0]


def test_train_validation_and_test_folders_are_honoured(tmp_path):
    root = tmp_path / "sorted"
    for seed, (name, number) in enumerate({"train": 9, "val": 4, "test": 5}.items()):
        for label, kind in enumerate(("cat", "dog")):
            (root / name / kind).mkdir(parents=True)
            for index in range(number):
                picture([seed, label, index]).save(root / name / kind / f"{index}.png")
    spec = load(str(root)).spec
    assert (spec.num_train, spec.num_validation, spec.num_test) == (18, 8, 10)
    shutil.copy(root / "test" / "cat" / "0.png", root / "train" / "cat" / "leak.png")
    leaky = load(str(root))
    assert leaky.spec.num_train == 18
    assert "is in the test split" in reasons(leaky)["train/cat/leak.png"]


def test_a_missing_validation_folder_is_made_up_from_train(tmp_path):
    fill(tmp_path / "sorted" / "train", per_class=60)
    fill(tmp_path / "sorted" / "test", per_class=5, width=44)
    spec = load(str(tmp_path / "sorted")).spec
    assert spec.num_test == 10
    assert spec.num_train + spec.num_validation == 120
    assert 0 < spec.num_validation < 30
    assert spec.notes[:2] == (
        "the splits are folders: train (train), test (test)",
        "no validation folder: a tenth of train is taken, by content",
    )


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda root: root.mkdir(), "no image in a class folder"),
        (lambda root: fill(root, classes=("cat",)), "one class, 'cat'"),
        (lambda root: fill(root / "one" / "class", classes=("cat",)), "If its folders class"),
        (lambda root: (root / "cat").mkdir(parents=True) or (root / "cat" / "a.jpg").touch(), "a.jpg: empty"),
    ],
    ids=["nothing", "one class", "one folder too high", "none readable"],
)
def test_a_folder_that_cannot_be_learned_from_says_why_in_one_line(tmp_path, make, told):
    make(tmp_path / "root")
    with pytest.raises(PipelineError) as caught:
        load(str(tmp_path / "root")).check_trainable()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 1


def test_a_folder_of_one_class_calibrates_and_verifies(tmp_path):
    fill(tmp_path / "root", classes=("cat",), per_class=12)
    dataset = load(str(tmp_path / "root"))
    pixels, record = dataset.calibration_pixels(image_size=16, num_samples=5, seed=0)
    assert (len(pixels), record.samples_per_class) == (5, {"cat": 5})
    labels = [label for _, each in dataset.batches("all", image_size=16, batch_size=8) for label in each]
    assert len(labels) == 12
    assert not any(labels)


FLAT = {"flat": ["a.png", "b.png"], "nested": ["x/a.png", "y/z/b.png", "y/w/c.png"], "deep": ["q/r/a.png"]}


@pytest.mark.parametrize("layout", FLAT)
def test_any_folder_of_images_is_read_for_calibration(tmp_path, layout):
    for number, name in enumerate(FLAT[layout]):
        (tmp_path / "any" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(tmp_path / "any" / name)
    (tmp_path / "any" / "notes.txt").write_text("none")
    dataset = load_pixels(str(tmp_path / "any"))
    pixels, _ = dataset.calibration_pixels(image_size=16, num_samples=9, seed=0)
    assert dataset.num_examples("all") == len(FLAT[layout])
    assert len(pixels) == dataset.num_examples("train")
    assert "notes.txt" in {item.path for item in dataset.spec.left_out}


def test_a_second_epoch_of_a_set_that_fits_reads_no_file(photos):
    dataset = load(str(photos))
    first = all_images(dataset)
    for file in photos.glob("*/*.png"):
        file.unlink()
    second = all_images(dataset)
    for split in SPLITS:
        assert (first[split] == second[split]).all()


def test_a_set_that_does_not_fit_is_read_each_time(photos):
    dataset = load(str(photos), settings=ReadSettings(cache_fraction=0.0))
    first = all_images(dataset)
    assert (all_images(dataset)["test"] == first["test"]).all()
    for file in photos.glob("*/*.png"):
        file.unlink()
    with pytest.raises(tf.errors.OpError):
        all_images(dataset)


def test_files_that_break_after_the_scan_are_replaced_in_training_and_left_out_of_figures(photos, caplog):
    dataset = load(str(photos), settings=ReadSettings(cache_fraction=0.0))
    lost = [*sorted((photos / "cat").iterdir())[:30]]
    for file in lost[:15]:
        file.unlink()
    for file in lost[15:]:
        file.write_bytes(file.read_bytes()[:60])
    counted = sum(len(rows) for rows in all_images(dataset).values())
    assert counted == 80 - 30
    warned = {record.args[0] for record in caplog.records}
    assert warned == {str(file) for file in lost}
    assert len(caplog.records) == 30
    epoch = dataset.training_batches(image_size=40, batch_size=8, augment=NONE, seed=0, epoch=0)
    seen = list(epoch.unbatch().as_numpy_iterator())
    assert len(seen) == dataset.spec.num_train
    label_of = {
        Image.open(file).tobytes(): label
        for label, name in enumerate(("cat", "dog"))
        for file in photos.glob(f"{name}/*")
        if file not in lost
    }
    assert all(label_of[image.astype(np.uint8).tobytes()] == label for image, label in seen)


def test_when_all_images_are_gone_the_reason_is_kept(photos):
    dataset = load(str(photos), settings=ReadSettings(cache_fraction=0.0))
    shutil.rmtree(photos)
    for read in (
        lambda: list(dataset.batches("test", image_size=32, batch_size=2)),
        lambda: list(dataset.training_batches(image_size=32, batch_size=8, augment=NONE, seed=0, epoch=0)),
    ):
        with pytest.raises(tf.errors.OpError, match="the images are gone"):
            read()
        assert isinstance(dataset.failure, PipelineError)
        assert dataset.failure.exit_status == 1
    with pytest.raises(PipelineError, match="the images are gone"):
        dataset.calibration_pixels(image_size=32, num_samples=10, seed=0)


def test_a_batch_of_which_nothing_is_left_is_no_batch(photos):
    dataset = load(str(photos), settings=ReadSettings(cache_fraction=0.0))
    for file in (photos / "cat").iterdir():
        file.unlink()
    sizes = [len(labels) for _, labels in dataset.batches("test", image_size=32, batch_size=1)]
    assert sizes == [1] * dataset.spec.class_counts[1].test


def test_calibration_goes_on_with_the_images_that_are_left(photos):
    dataset = load(str(photos), settings=ReadSettings(cache_fraction=0.0))
    for file in sorted((photos / "cat").iterdir())[:30]:
        file.unlink()
    _, calibration = dataset.calibration_pixels(image_size=32, num_samples=30, seed=0)
    assert calibration.num_samples == 30
    assert 0 < calibration.samples_per_class["cat"] <= 10


def cached_scan(cache_folder):
    return next(Path(cache_folder).rglob("*.npz"))


def test_a_second_scan_reads_only_what_changed(photos, cache_folder):
    load(str(photos))
    # the cache says 99 x 99 of every file: only files that are read again say otherwise
    with np.load(cached_scan(cache_folder)) as cached:
        parts = dict(cached)
    parts["rows"].view(ROW)["width"] = parts["rows"].view(ROW)["height"] = 99
    np.savez(cached_scan(cache_folder), **parts)
    assert load(str(photos)).spec.image_size == 99
    first = min(photos.glob("*/*.png"))
    first.unlink()
    assert load(str(photos)).spec.image_size == 99
    for file in photos.glob("*/*.png"):
        os.utime(file, ns=(1, 1))
    assert load(str(photos)).spec.image_size == 40


def test_a_damaged_cached_scan_is_not_used(photos, cache_folder):
    fingerprint = load(str(photos)).spec.fingerprint
    whole = cached_scan(cache_folder).read_bytes()
    with np.load(cached_scan(cache_folder)) as cached:
        parts = dict(cached)
    fewer = io.BytesIO()
    np.savez(fewer, **{**parts, "names": parts["names"][:10]})
    other = io.BytesIO()
    np.savez(other, **{**parts, "rows": parts["rows"][:7], "version": np.zeros(3)})
    for damage in (b"", b"{", b"PK\x03\x04", whole[: len(whole) // 2], fewer.getvalue(), other.getvalue()):
        cached_scan(cache_folder).write_bytes(damage)
        assert load(str(photos)).spec.fingerprint == fingerprint


def test_an_interrupted_scan_keeps_what_it_read(photos, cache_folder):
    def interrupt(what, done, total):
        if done == 70:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(str(photos), progress=interrupt)
    seen = []
    load(str(photos), progress=lambda _, done, __: seen.append(done))
    assert seen[0] == 70


def test_a_cached_scan_is_written_again_only_if_something_changed(photos, cache_folder):
    (photos / "cat" / "broken.png").write_bytes(b"x")
    load(str(photos))
    written = cached_scan(cache_folder).stat().st_ino
    load(str(photos))
    assert cached_scan(cache_folder).stat().st_ino == written
    min(photos.glob("*/*.png")).unlink()
    load(str(photos))
    assert cached_scan(cache_folder).stat().st_ino != written


def test_scans_at_the_same_time_leave_a_whole_cache(photos, cache_folder):
    whole = load(str(photos)).spec
    cached_scan(cache_folder).unlink()
    with ThreadPoolExecutor(4) as pool:
        assert all(found.spec == whole for found in pool.map(load, [str(photos)] * 4))
    os.utime(photos / "cat", (1, 1))  # of the folder, not of a file
    seen = []
    assert load(str(photos), progress=lambda _, done, __: seen.append(done)).spec == whole
    assert seen == [80]


def test_the_cached_scans_of_all_folders_are_bounded(photos, cache_folder, tmp_path):
    load(str(photos))
    old = cached_scan(cache_folder).with_name("old.npz")
    with old.open("wb") as file:
        file.truncate(MAX_CACHE_BYTES)  # takes no space on the disk
    os.utime(old, (1, 1))
    shutil.copytree(photos, tmp_path / "more")
    load(str(tmp_path / "more"))
    assert not old.exists()
    assert len(list(Path(cache_folder).rglob("*.npz"))) == 2


def test_a_name_that_is_not_utf8_can_be_shown(photos):
    bad = os.fsencode(photos / "cat") + b"/caf\xe9.txt"
    Path(os.fsdecode(bad)).write_text("x")
    assert reasons(load(str(photos))) == {"cat/caf\\xe9.txt": "not an image"}


def test_progress_counts_every_file(photos):
    seen = []
    load(str(photos), progress=lambda what, done, total: seen.append((what, done, total)))
    assert seen[-1] == ("scanning images", 80, 80)
