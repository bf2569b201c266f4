"""Folders as they are published and unpacked: which are splits, which are classes, and what is refused."""

import os
import socket
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from pictures import picture

from pipeline.data.layout import list_folder
from pipeline.data.listing import spelled_alike
from pipeline.data.registry import load
from pipeline.data.split_names import split_of_name
from pipeline.errors import PipelineError, UsageError


def touch(root, *paths):
    """Empty files: only their places count for the layout."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def images(folder, classes=("cat", "dog"), number=2, ending="jpg"):
    return [f"{folder}/{name}/{index}.{ending}" for name in classes for index in range(number)]


def places(listing, root):
    """(class, split) of each file, by its path."""
    return {str(each.path.relative_to(root)): (each.class_name, each.fixed) for each in listing.files}


LAYOUTS = {
    "plain": ([*images(".")], set()),
    "one level around": ([*images("flower_photos"), "flower_photos/LICENSE.txt"], set()),
    "two levels around": ([*images("a/b")], set()),
    "a Mac's zip": ([*images("photos"), "__MACOSX/photos/cat/._0.jpg", "photos/cat/._0.jpg"], set()),
    "images between": ([*images("images"), "annotations/cat.xml"], set()),
    "train alone": ([*images("train")], set()),
    "Hugging Face": (
        [*images("train"), *images("validation"), *images("test")],
        {"train", "validation", "test"},
    ),
    "Ultralytics": ([*images("train"), *images("val"), *images("test")], {"train", "validation", "test"}),
    "Roboflow": ([*images("train"), *images("valid"), "README.roboflow.txt"], {"train", "validation"}),
    "capitals and words": ([*images("Training_Set"), *images("Testing_Set")], {"train", "test"}),
    "Kaggle's nested": (
        [*images("dataset/training_set/training_set"), *images("dataset/test_set/test_set")],
        {"train", "test"},
    ),
    "Intel's scenes": (
        [*images("seg_train/seg_train"), *images("seg_test/seg_test"), "seg_pred/seg_pred/1.jpg"],
        {"train", "test"},
    ),
    "images in each split": ([*images("train/images"), *images("dev/images")], {"train", "validation"}),
    "Tiny ImageNet": (
        [f"train/{name}/images/{index}.JPEG" for name in ("cat", "dog") for index in range(2)]
        + ["val/images/val_0.JPEG", "test/images/test_0.JPEG", "wnids.txt"],
        {"train"},
    ),
    "traffic signs": ([*images("Train"), "Test/0.png", "Meta/0.png", "Train.csv"], {"train"}),
    "the test split beside the classes": ([*images("."), *images("test")], {"train", "test"}),
    "a list without an ending beside": ([*images("images"), "annotations/trainval"], set()),
    "annotations beside": ([*images("train"), *images("test"), "annotations/labels.json"], {"train", "test"}),
    "empty split": ([*images("train"), "test/readme.txt"], set()),
}  # fmt: skip


def write(root, files):
    """Files with a text, or None for an empty one."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_tiny_imagenets_validation_labels_are_read(tmp_path):
    root = touch(tmp_path / "root", *images("train/cat", ("images",)), *images("train/dog", ("images",)))
    touch(root, "val/images/val_0.JPEG", "val/images/val_1.JPEG", "test/images/test_0.JPEG")
    boxes = "val_0.JPEG\tdog\t0\t32\t44\t62\nval_1.JPEG\tcat\t52\t55\t57\t59\n"
    listing = list_folder(write(root, {"val/val_annotations.txt": boxes}))
    assert listing.splits == {"train", "validation"}
    found = {each.path.name: (each.class_name, each.fixed) for each in listing.files if each.fixed != "train"}
    assert found == {"val_0.JPEG": ("dog", "validation"), "val_1.JPEG": ("cat", "validation")}
    assert "the labels of val/ are those of val_annotations.txt" in listing.notes


HUGGING_FACE = {
    "in each split": {
        "train/metadata.csv": "file_name,label\n0.png,cat\n1.png,dog\n",
        "test/metadata.csv": "file_name,label\n0.png,dog\n",
    },
    "above the splits": {
        "metadata.jsonl": '{"file_name": "train/0.png", "label": "cat"}\n'
        '{"file_name": "train/1.png", "label": "dog"}\n{"file_name": "test/0.png", "label": "dog"}\n',
    },
}


@pytest.mark.parametrize("layout", HUGGING_FACE)
def test_hugging_faces_metadata_gives_labels_and_splits(tmp_path, layout):
    root = touch(tmp_path / "root", "train/0.png", "train/1.png", "train/2.png", "test/0.png")
    listing = list_folder(write(root, HUGGING_FACE[layout]))
    assert places(listing, root) == {
        "train/0.png": ("cat", "train"), "train/1.png": ("dog", "train"), "test/0.png": ("dog", "test")
    }  # fmt: skip
    assert {item.path for item in listing.left_out} == {"train/2.png"}
    assert listing.splits == {"train", "test"}


def test_metadata_beside_class_folders_gives_no_labels(tmp_path):
    root = touch(tmp_path / "root", *images("."))
    listing = list_folder(write(root, {"metadata.csv": "file_name,text\ncat/0.jpg,a cat\n"}))
    assert {each.class_name for each in listing.files} == {"cat", "dog"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts_have_the_classes_cat_and_dog(tmp_path, layout):
    paths, splits = LAYOUTS[layout]
    listing = list_folder(touch(tmp_path / "root", *paths))
    assert listing.splits == splits
    found = {each.class_name for each in listing.files}
    assert found == {"cat", "dog"}
    assert {each.fixed for each in listing.files} == (splits or {None})
    for each in listing.files:
        assert each.class_name in each.path.parts
    if splits:
        assert any("the splits are folders" in note for note in listing.notes)


def test_what_is_beside_the_splits_is_named_and_its_images_counted(tmp_path):
    root = touch(tmp_path / "root", *images("Train"), "Test/0.png", "Test/1.png", "Meta/0.png")
    listing = list_folder(root)
    assert "Meta/ left out: 1 image, not in a split's folder" in listing.notes
    assert "Test/ left out: 2 images, the test images are in no class folder" in listing.notes
    assert {item.path for item in listing.left_out} == {"Test", "Meta"}


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        ([*images("val"), *images("test")], "no folder to train on"),
        ([*images("line1"), *images("line2")], "the classes seem to lie one level deeper"),
        ([*images("train"), *images("val"), "a/0.jpg", "b/0.jpg", "c/0.jpg"], "rename train/, val/"),
        (["train/cat.0.jpg", "train/dog.0.jpg", "test1/1.jpg"], r"train look like .* is train/cat\.0\.jpg"),
        (["train/images/0.jpg", "valid/images/1.jpg", "train/labels/0.txt"], "without class folders"),
        ([*images("."), "test/0.jpg"], "test looks like a split"),
        ([*images(".", ("cat_train", "cat_test", "dog_train", "dog_test"))], "look like splits"),
    ],
    ids=["no train", "groups", "splits among classes", "Kaggle's cats", "YOLO", "flat test", "two in a name"],
)
def test_folders_whose_classes_cannot_be_told_are_refused(tmp_path, paths, told):
    with pytest.raises(PipelineError, match=told):
        list_folder(touch(tmp_path / "root", *paths))


TAXONOMY = [*images("Aves", ("wren", "robin")), *images("Mammalia/Carnivora", ("fox",))]


def test_nested_classes_are_refused_with_the_addresses_of_both_readings(tmp_path):
    root = touch(tmp_path / "root", *TAXONOMY)
    with pytest.raises(UsageError) as caught:
        list_folder(root)
    assert f"'{root}?classes=leaf'" in str(caught.value)
    assert f"'{root}?classes=top'" in str(caught.value)
    assert "the 2 outer folders or the 3 that hold the images" in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "names"), [("leaf", {"wren", "robin", "fox"}), ("top", {"Aves", "Mammalia"})]
)
@pytest.mark.parametrize("around", ["", "train/"])
def test_nested_classes_are_read_as_the_address_says(tmp_path, classes, names, around):
    paths = [f"{around}{path}" for path in TAXONOMY]
    paths += [f"val/{path}" for path in TAXONOMY] if around else []
    listing = list_folder(touch(tmp_path / "root", *paths), classes=classes)
    assert {each.class_name for each in listing.files} == names
    assert len(listing.files) == len(paths)
    assert listing.splits == ({"train", "validation"} if around else set())


def test_leaves_of_one_name_are_one_class_and_said(tmp_path):
    root = touch(tmp_path / "root", *images("line1/images"), *images("line2"))
    listing = list_folder(root, classes="leaf")
    assert Counter(each.class_name for each in listing.files) == {"cat": 4, "dog": 4}
    assert "folders at several places are one class: 'cat', 'dog'" in listing.notes


def test_a_leaf_called_images_has_the_name_around_it(tmp_path):
    root = touch(tmp_path / "root", *images("birds/wren", ("images",)), *images("birds/robin", ("images",)))
    assert {each.class_name for each in list_folder(root, classes="leaf").files} == {"wren", "robin"}


def test_a_class_called_train_beside_others_is_a_class(tmp_path):
    root = touch(tmp_path / "root", *images(".", ("bus", "car", "test tube", "train")))
    listing = list_folder(root)
    assert {each.class_name for each in listing.files} == {"bus", "car", "test tube", "train"}
    assert "train/ is read as a class, not as a split" in listing.notes
    assert listing.splits == set()


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("Training_set", "train"), ("trainset", "train"), ("seg_train", "train"),
        ("VALID", "validation"), ("dev", "validation"), ("val2017", "validation"), ("images-test", "test"),
        ("cat", None), ("strain", None), ("valley", None), ("train of the old line", None),
        ("train_test", None),
    ],
)  # fmt: skip
def test_a_folders_name_says_its_split(name, split):
    assert split_of_name(name) == split


def test_both_unicode_forms_of_a_name_are_one_class_and_said(tmp_path):
    names = {form: unicodedata.normalize(form, "café") for form in ("NFC", "NFD")}
    root = touch(
        tmp_path / "root",
        f"train/{names['NFC']}/0.jpg",
        "train/tea/0.jpg",
        f"val/{names['NFD']}/1.jpg",
        "val/tea/2.jpg",
    )
    listing = list_folder(root)
    assert listing.classes == {names["NFC"], "tea"}
    assert any("decomposed" in note and names["NFC"] in note for note in listing.notes)


def test_classes_that_differ_only_in_case_or_blanks_are_named(tmp_path):
    root = touch(tmp_path / "root", "Red Fox/0.jpg", "red_fox/1.jpg", "wolf/2.jpg")
    listing = list_folder(root)
    assert any("'Red Fox', 'red_fox' differ only in case or blanks" in note for note in listing.notes)
    assert spelled_alike(["a", "b", "B "]) == [["B ", "b"]]


def test_pipes_sockets_and_links_are_left_out_by_their_kind(tmp_path):
    root = touch(tmp_path / "r", *images("."))
    os.mkfifo(root / "cat" / "pipe.jpg")
    (root / "cat" / "lost.jpg").symlink_to("nowhere.jpg")
    (root / "cat" / "loop.jpg").symlink_to("loop.jpg")
    (root / "cat" / "up").symlink_to("..")
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(root / "cat")  # a socket's path has at most 107 characters
        try:
            one.bind("plug.jpg")
        finally:
            os.chdir(here)
        found = {item.path: item.reason for item in list_folder(root).left_out}
    assert found == {
        "cat/pipe.jpg": "a named pipe, not a file",
        "cat/lost.jpg": "a link that leads nowhere",
        "cat/loop.jpg": "a link to itself",
        "cat/plug.jpg": "a socket, not a file",
        "cat/up": "a link to a folder that was read already",
    }


def test_files_named_by_their_class_are_told_how_to_sort(tmp_path):
    folder = tmp_path / "root" / "train"
    folder.mkdir(parents=True)
    for index in range(3):
        picture(index).save(folder / f"cat.{index}.jpg")
        picture(index + 10).save(folder / f"dog.{index}.jpg")
    with pytest.raises(PipelineError, match="Its files are called cat, dog"):
        load(str(tmp_path / "root")).check_trainable()


def test_a_validation_folder_alone_is_divided_and_said(tmp_path):
    listing = list_folder(touch(tmp_path / "root", *images("val")))
    assert listing.splits == set()
    assert "val/ is the only split: content divides its images" in listing.notes


def test_a_link_is_left_out_for_its_true_reason(tmp_path):
    root = touch(tmp_path / "root", *images("."), "cat/Desktop.ini", "cat/THUMBS.DB")
    (root / "cat" / "long.jpg").symlink_to("x" * 300)
    (root / "cat" / "self.jpg").symlink_to("self.jpg")
    reasons = {item.path: item.reason for item in list_folder(root).left_out}
    assert reasons.pop("cat/long.jpg") == "cannot be read (File name too long)"
    assert reasons == {
        "cat/Desktop.ini": "hidden", "cat/THUMBS.DB": "hidden", "cat/self.jpg": "a link to itself"
    }  # fmt: skip


def test_a_folder_of_one_archive_says_to_give_it(tmp_path):
    touch(tmp_path / "root", "photos.zip")
    with pytest.raises(PipelineError, match=r"Give photos\.zip, or unpack it first"):
        load(str(tmp_path / "root"))
