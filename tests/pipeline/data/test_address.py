"""The user's own division of a folder: shares, a folder for the test, groups, and images that look alike."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner
from pictures import fill, picture
from PIL import Image

from pipeline.commands.data import command
from pipeline.data.address import DataChoice, address_of, read_address
from pipeline.data.looks import in_other_parts, look_of
from pipeline.data.registry import from_any_folder, load
from pipeline.errors import PipelineError, UsageError


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """30 videos of 4 frames in each of two classes."""
    root = tmp_path_factory.mktemp("frames") / "photos"
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for video in range(30):
            for frame in range(4):
                picture([label, video, frame], width=16, height=16).save(
                    root / name / f"v{video}_{frame}.png"
                )
    return root


def totals(spec):
    return spec.num_train, spec.num_validation, spec.num_test


def test_an_address_is_read_as_it_was_written():
    choice = DataChoice(split="70/15/15", group_by=r"video(\d+)&?[+ ]é/", test=None)
    assert read_address(address_of("a folder", choice)) == ("a folder", choice)
    assert read_address("photos") == ("photos", DataChoice())


def test_a_folder_with_a_question_mark_in_its_name_is_a_folder(tmp_path):
    fill(tmp_path / "which?", per_class=1)
    assert read_address(str(tmp_path / "which?")) == (str(tmp_path / "which?"), DataChoice())


def test_an_address_with_a_relative_folder_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = from_any_folder("photos?test=holdout&split=80/20")
    where, choice = read_address(found)
    assert where == str(tmp_path / "photos")
    assert choice == DataChoice(split="80/20", test=str(tmp_path / "holdout"))


def test_groups_stay_together_and_fill_the_shares(frames):
    dataset = load(address_of(str(frames), DataChoice(split="50/25/25", group_by=r"v\d+_")))
    assert totals(dataset.spec) == (120, 56, 64)  # 15, 7 and 8 of 30 groups of 8
    assert "--group-by finds 30 groups" in dataset.spec.notes


def test_an_image_without_a_group_is_alone_and_counted(frames):
    spec = load(address_of(str(frames), DataChoice(group_by=r"v([0-4])_"))).spec
    assert any(
        note == "--group-by finds 5 groups; it finds nothing in 200 images, which are alone"
        for note in spec.notes
    )


def test_another_folder_is_the_test_split(frames, tmp_path):
    fill(tmp_path / "held", per_class=5, width=20, height=20)
    spec = load(address_of(str(frames), DataChoice(split="80/20", test=str(tmp_path / "held")))).spec
    assert spec.num_test == 10
    assert spec.num_train + spec.num_validation == 240
    assert spec.num_validation == pytest.approx(48, abs=20)
    fill(tmp_path / "other", classes=("cat", "cow"), per_class=1)
    with pytest.raises(PipelineError, match="'cow'"):
        load(address_of(str(frames), DataChoice(test=str(tmp_path / "other"))))


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"split": "70/15"}, "3 numbers above 0"),
        ({"split": "70/15/0"}, "3 numbers above 0"),
        ({"split": "70/20/20"}, "add up to 100"),
        ({"split": "most"}, "such as 70/15/15"),
        ({"split": "70/15/15", "test": "t"}, "2 numbers"),
        ({"group_by": "(x"}, "no regular expression"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(choice, told):
    with pytest.raises(UsageError, match=told):
        DataChoice(**choice)


def test_what_has_splits_already_is_not_divided_again(tmp_path):
    fill(tmp_path / "p" / "train", per_class=1)
    fill(tmp_path / "p" / "test", per_class=1, width=20)
    with pytest.raises(UsageError, match="Leave it out"):
        load(f"{tmp_path / 'p'}?split=70/15/15")
    with pytest.raises(UsageError, match="Leave one out"):
        load(f"{tmp_path / 'p'}?test={tmp_path / 'p' / 'test'}")
    with pytest.raises(UsageError, match="digits has splits already"):
        load("digits?split=70/15/15")


def photo(seed):
    """A picture with as much structure as a photograph."""
    corners = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(corners).resize((160, 120), Image.Resampling.BICUBIC)


def test_a_smaller_copy_looks_alike_and_another_picture_does_not():
    looks = [look_of(photo(seed)) for seed in range(40)]
    looks += [look_of(photo(seed).resize((80, 60))) for seed in range(40)]
    assert None not in looks
    pairs = in_other_parts(np.asarray(looks, np.uint64), np.zeros(80, np.int64), np.arange(80) // 40)
    found = set(map(tuple, pairs.tolist()))
    assert found <= {(place, (place + 40) % 80) for place in range(80)}
    assert len(found) >= 72  # 95% of the photographs in docs/data.md
    assert look_of(Image.new("RGB", (64, 64), "white")) is None


def test_copies_in_two_splits_are_named(tmp_path):
    root = tmp_path / "p"
    for split, number in (("train", 6), ("test", 3)):
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for index in range(number):
                photo([number, label, index]).save(root / split / name / f"{index}.png")
    photo([6, 0, 2]).save(root / "test" / "cat" / "again.jpg", quality=80)
    [note] = [each for each in load(str(root)).spec.notes if "look like one" in each]
    assert note.startswith("2 images")
    assert "train/cat/2.png" in note
    assert "test/cat/again.jpg" in note


def test_merged_classes_are_a_new_folder_of_the_same_images(tmp_path):
    root = tmp_path / "p"
    fill(root, classes=("Red Fox", "wolf"), per_class=3)
    fill(root / "x", classes=("red_fox",), per_class=2, width=20)
    shutil.move(root / "x" / "red_fox", root / "red_fox")
    (root / "x").rmdir()
    before = sorted(path.relative_to(root) for path in root.rglob("*"))
    found = CliRunner().invoke(command, [str(root), "--merge-classes", str(tmp_path / "new")])
    assert found.exit_code == 0, found.output
    assert "'red_fox' is 'Red Fox' now" in found.output
    count = Counter(path.parent.name for path in (tmp_path / "new").rglob("*.png"))
    assert count == {"Red Fox": 5, "wolf": 3}
    assert sorted(path.relative_to(root) for path in root.rglob("*")) == before
    again = CliRunner().invoke(command, [str(root), "--merge-classes", str(tmp_path / "new")])
    assert isinstance(again.exception, UsageError)


def test_the_options_of_data_divide_as_the_address_does(frames):
    by_option = CliRunner().invoke(command, [str(frames), "--split", "60/20/20", "--json"])
    by_address = CliRunner().invoke(command, [f"{frames}?split=60/20/20", "--json"])
    assert by_option.exit_code == 0, by_option.output
    [first], [second] = json.loads(by_option.stdout), json.loads(by_address.stdout)
    assert first == second
    assert first["num_train"] == pytest.approx(144, abs=25)
