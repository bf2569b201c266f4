"""Labels files as they come: ImageNet's, Teachable Machine's, Keras's class indices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.labels import read_labels


def read(folder: Path, text: str, num_classes: int, *, name: str = "labels.txt") -> tuple[str, ...]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_labels(path, num_classes)


@pytest.mark.parametrize("name", ["labels.txt", "labels.json"])
@pytest.mark.parametrize(
    "held",
    [
        ["tench", "sea lion", "crane"],
        {"0": "tench", "1": "sea lion", "2": "crane"},
        {"2": "crane", "0": "tench", "1": "sea lion"},
        {"tench": 0, "crane": 2, "sea lion": 1},
        {"0": ["n01440764", "tench"], "1": ["n02077923", "sea lion"], "2": ["n02012849", "crane"]},
    ],
)
def test_json_names_the_outputs_in_their_order(held: object, name: str, tmp_path: Path):
    assert read(tmp_path, json.dumps(held), 3, name=name) == ("tench", "sea lion", "crane")


def test_digits_of_keras_s_class_indices_are_names(tmp_path: Path):
    assert read(tmp_path, '{"1": 0, "0": 1}', 2) == ("1", "0")


def test_more_than_ten_numbers_are_ordered_as_numbers(tmp_path: Path):
    held = {str(number): f"class {number}" for number in sorted(range(12), key=str)}
    assert read(tmp_path, json.dumps(held), 12) == tuple(f"class {number}" for number in range(12))


@pytest.mark.parametrize(
    "text", ["0 cat\n1 sea lion\n2 2CV\n", "0: cat\r\n1: sea lion\r\n2: 2CV", "0,cat\n1,sea lion\n2,2CV"]
)
def test_teachable_machine_s_numbers_are_no_part_of_the_names(text: str, tmp_path: Path):
    assert read(tmp_path, text, 3) == ("cat", "sea lion", "2CV")


@pytest.mark.parametrize("names", [("1 euro", "2 euro"), ("0 day", "2 days"), ("0", "1"), ("[odd]", "{odd}")])
def test_names_that_only_look_numbered_or_like_json_stay(names: tuple[str, ...], tmp_path: Path):
    assert read(tmp_path, "\n".join(names), 2) == names


def test_names_may_repeat_and_a_background_class_counts(tmp_path: Path):
    names = ["background", *(f"class {number}" for number in range(998)), "crane", "crane"]
    assert read(tmp_path, "\n".join(names), 1001) == tuple(names)
    with pytest.raises(UsageError, match="which this model lacks, take it out"):
        read(tmp_path, "\n".join(names), 1000)
    with pytest.raises(UsageError, match="put the line 'background' first"):
        read(tmp_path, "\n".join(names[1:]), 1001)


@pytest.mark.parametrize(
    "text",
    [
        '{"0": "cat", "2": "dog"}',
        '{"cat": 0, "dog": 0}',
        '["cat", 1]',
        '["cat", ""]',
        '"cat"',
        "3",
        "{",
        "{}",
    ],
)
def test_json_without_names_in_an_order_is_refused(text: str, tmp_path: Path):
    with pytest.raises(UsageError, match=r"(is not JSON|holds no class names in an order).*Expected a list"):
        read(tmp_path, text, 2, name="labels.json")
