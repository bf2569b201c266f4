"""Tables of files and labels: the forms that are read, and one line for each that cannot be."""

import json
from pathlib import Path

import numpy as np
import pytest
from pictures import picture

from pipeline.cli import run
from pipeline.data.address import DataChoice
from pipeline.data.augment import NONE
from pipeline.data.label_table import list_table
from pipeline.data.registry import load
from pipeline.data.sheet import draw
from pipeline.errors import UsageError

LABELS = ["cat", "dog", "cat", "dog"]
OBJECTS = [{"file": f"img/{number}.png", "label": label} for number, label in enumerate(LABELS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """img/0.png to img/3.png; tables are written beside img."""
    root = tmp_path_factory.mktemp("tables")
    (root / "img").mkdir()
    for number in range(4):
        picture(number, width=16, height=16).save(root / "img" / f"{number}.png")
    return root


def table(folder: Path, text: str, *, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def labels_of(listing):
    """The labels of each file by its name."""
    return {each.path.name: each.labels for each in listing.files}


def rows(delimiter: str, *, header: str = "", form: str = "img/{}.png") -> str:
    lines = [delimiter.join([form.format(number), label]) for number, label in enumerate(LABELS)]
    return "\n".join(([header] if header else []) + lines) + "\n"


FORMS = {
    "commas": ("t.csv", rows(",", header="path,label"), "utf-8"),
    "semicolons, and columns the other way": (
        "t.csv", "class;file\n" + "".join(f"{label};img/{i}.png\n" for i, label in enumerate(LABELS)), "utf-8"
    ),
    "tabs": ("t.tsv", rows("\t", header="Image Path\tClass Name"), "utf-8"),
    "a byte order mark": ("t.csv", rows(",", header="path,label"), "utf-8-sig"),
    "a spreadsheet's Unicode text": ("t.csv", rows("\t", header="path\tlabel"), "utf-16"),
    "Windows' line ends and backslashes": (
        "t.csv", rows(",", header="path,label", form="img\\{}.png").replace("\n", "\r\n"), "utf-8"
    ),
    "no header": ("t.csv", rows(","), "utf-8"),
    "Caffe's list": ("t.txt", rows(" "), "utf-8"),
    "no endings": ("t.csv", rows(",", header="id,breed", form="img/{}"), "utf-8"),
    "names that are not known": ("t.csv", rows(",", header="picture,kind"), "utf-8"),
    "other columns beside": (
        "t.csv", rows(",", header="width,file_name,label", form="9,img/{}.png"), "utf-8"
    ),
    "JSON lines": (
        "t.jsonl", "\n".join(map(json.dumps, OBJECTS)), "utf-8"
    ),
    "a JSON list": (
        "t.json", json.dumps(OBJECTS, indent=1), "utf-8"
    ),
    "one-hot columns": (
        "t.csv", "image,cat,dog\n" + "".join(f"img/{i}.png,{1 - i % 2},{i % 2}\n" for i in range(4)), "utf-8"
    ),
    "repeated rows": ("t.csv", rows(",", header="path,label") + rows(","), "utf-8"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_labels(folder, form):
    name, text, encoding = FORMS[form]
    listing = list_table(table(folder, text, name=name, encoding=encoding))
    assert labels_of(listing) == {f"{i}.png": (label,) for i, label in enumerate(LABELS)}
    assert listing.class_order == ("cat", "dog")
    assert not listing.has_several_labels


SEVERAL = {
    "a separator": ("t.csv", "path,tags\nimg/0.png,a|b\nimg/1.png,\nimg/2.png,b\n", {}),
    "semicolons in a cell": ("t.csv", "path,tags\nimg/0.png,a;b\nimg/1.png,\nimg/2.png,b\n", {}),
    "a chosen separator": (
        "t.csv", "path,tags\nimg/0.png,a b\nimg/1.png,\nimg/2.png,b\n", {"separator": "space"}
    ),
    "a column a class": ("t.csv", "path,a,b\nimg/0.png,1,1\nimg/1.png,0,0\nimg/2.png,0,1\n", {}),
    "JSON lists": (
        "t.jsonl",
        "\n".join(
            json.dumps({"file": f"img/{number}.png", "label": labels})
            for number, labels in enumerate([["a", "b"], [], ["b"]])
        ),
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", SEVERAL)
def test_an_image_can_have_several_labels_or_none(folder, form):
    name, text, choice = SEVERAL[form]
    listing = list_table(table(folder, text, name=name), DataChoice(**choice))
    assert labels_of(listing) == {"0.png": ("a", "b"), "1.png": (), "2.png": ("b",)}
    assert listing.has_several_labels
    assert listing.class_order == ("a", "b")


def test_the_batches_of_several_labels_are_ones_and_zeros(folder):
    path = table(
        folder, "path,sky,sea,split\nimg/0.png,1,1,train\nimg/1.png,0,0,train\nimg/2.png,0,1,train\n"
    )
    dataset = load(str(path))
    found = {}
    for pixels, labels in dataset.batches("all", image_size=16, batch_size=8):
        for image, label in zip(pixels.numpy(), labels.numpy(), strict=True):
            for number in range(3):
                if np.array_equal(image, np.asarray(picture(number, width=16, height=16), np.float32)):
                    found[number] = label.tolist()
    assert found == {0: [1, 1], 1: [0, 0], 2: [0, 1]}


def test_a_sheet_shows_an_image_in_the_row_of_each_of_its_labels(folder):
    path = table(folder, "path,sky,sea,split\n" + "".join(f"img/{i}.png,1,{i % 2},train\n" for i in range(4)))
    dataset = load(str(path))
    sheet = np.asarray(draw(dataset, image_size=16, augment=NONE))
    num_train = dataset.num_examples("train")
    assert num_train > 0
    rows = [sheet[4 + 20 * row : 20 + 20 * row, 140 : 140 + 20 * num_train] for row in range(2)]
    drawn = [sum(bool((row[:, 20 * i : 20 * i + 16] < 255).any()) for i in range(num_train)) for row in rows]
    counts = {count.name: count.train for count in dataset.spec.class_counts}
    assert drawn == [counts["sky"], counts["sea"]]


def test_a_class_may_hold_a_separator_if_the_address_says_so(folder):
    path = table(folder, "path,label\nimg/0.png,a;b\nimg/1.png,c\n")
    assert list_table(path, DataChoice(separator="none")).class_order == ("a;b", "c")


def test_numbers_are_in_the_order_of_their_values(folder):
    path = table(folder, "path,label\nimg/0.png,10\nimg/1.png,9\nimg/2.png,2\n")
    assert list_table(path).class_order == ("2", "9", "10")


SPLITS = {
    "a column": "path,label,split\nimg/0.png,cat,train\nimg/1.png,dog,valid\nimg/2.png,dog,TEST\n",
    "no header": "img/0.png,cat,train\nimg/1.png,dog,val\nimg/2.png,dog,test\n",
}


@pytest.mark.parametrize("form", SPLITS)
def test_a_column_gives_the_splits(folder, form):
    listing = list_table(table(folder, SPLITS[form]))
    assert [each.fixed for each in listing.files] == ["train", "validation", "test"]


def test_the_first_folders_give_the_splits_where_all_are_named_so(tmp_path):
    for number, split in enumerate(("train", "val")):
        (tmp_path / split).mkdir()
        picture(number).save(tmp_path / split / "0.png")
    listing = list_table(table(tmp_path, "path,label\ntrain/0.png,cat\nval/0.png,dog\n"))
    assert [each.fixed for each in listing.files] == ["train", "validation"]
    assert any("the splits are the first folders" in note for note in listing.notes)


WRONG = {
    "empty": ("", "has no row"),
    "a header alone": ("path,label\n", "has no row"),
    "missing files": ("path,label\nimg/0.png,cat\nimg/9.png,dog\n", "1 of 2 files .* img/9.png (line 3)"),
    "files in a folder": ("path,label\n0.png,cat\n1.png,dog\n", "?images=img"),
    "two labels": ("path,label\nimg/0.png,cat\n./img/0.png,dog\n", "'cat' (line 2) and 'dog' (line 3)"),
    "two splits": ("path,label,split\nimg/0.png,a,train\nimg/0.png,a,test\n", "two splits: 'train' (line 2)"),
    "unknown columns": ("a,b,c\nimg/0.png,cat,x\n", "?label=b"),
    "no column of files": ("label,b,c\ncat,x,y\n", "no column known to hold the file: 'label', 'b', 'c'"),
    "two columns of labels": ("path,label,class\nimg/0.png,cat,1\n", "2 columns known to hold the label"),
    "nothing known": ("a,b\nc,d\n", "is no header with a column for the file"),
    "an unknown split": ("path,label,split\nimg/0.png,cat,fold1\n", "line 2 .* the split 'fold1'"),
    "no label": ("path,label\nimg/0.png,cat\nimg/1.png,\n", "1 of 2 files no label, the first in line 3"),
    "no file": ("path,label\nimg/0.png,cat\n,dog\n", "line 3 .* names no file"),
    "too many cells": ("path,label\nimg/0.png,cat, tabby\n", "line 2 .* has 3 cells"),
    "an open quote": ('path,label\nimg/0.png,"cat\nimg/1.png,dog\n', "cannot be read"),
    "a column twice": ("path,label,label\nimg/0.png,cat,dog\n", "the column 'label' twice"),
    "web addresses": ("path,label\nhttps://x.org/0.png,cat\n", "an address and no file"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_read_is_one_line_with_exit_status_2(folder, capsys, what):
    text, told = WRONG[what]
    assert run(["data", str(table(folder, text))]) == 2
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1
    first, *rest = told.split(" .* ")
    for part in (first, *rest):
        assert part in err


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.csv", "path,label\nimg/0.png,caf\xe9\n".encode("latin-1"), "not UTF-8 (byte 24 is 0xe9)"),
        ("t.jsonl", b'{"file": "img/0.png"}\nno\n', "line 2"),
        ("t.jsonl", b"[1, 2]", "line 1 of"),
        ("t.json", b'{"images": []}', "no column known to hold the file: 'images'"),
        ("t.json", b"[" * 100_000, "is not JSON"),
        ("t.csv", b"path,label\nimg/0.png,a\0b\n", "line 2"),
    ],
)
def test_files_of_another_kind_say_so(folder, name, content, told):
    (folder / name).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        list_table(folder / name)
    assert told in str(caught.value)


def test_parts_of_an_address_that_say_nothing_of_a_table_are_refused(folder):
    path = table(folder, rows(",", header="path,label"))
    with pytest.raises(UsageError, match="classes= behind the question mark"):
        load(f"{path}?classes=leaf")
    with pytest.raises(UsageError, match="Did you mean 'label'"):
        load(f"{path}?label=labl")


def test_images_outside_of_the_tables_folder_are_read(folder, tmp_path):
    lines = [f"{folder / 'img' / f'{number}.png'},{label}" for number, label in enumerate(LABELS)]
    path = table(tmp_path, "path,label\n" + "\n".join(lines) + "\n")
    for _ in range(2):  # the second time from the remembered scan
        dataset = load(str(path))
        assert dataset.num_examples("all") == 4


def test_an_address_with_its_columns_is_read_as_it_was_written(folder):
    path = table(folder, "where,kind,b\nimg/0.png,cat,x\nimg/1.png,dog,y\n")
    spec = load(f"{path}?file=where&label=kind&split=70/15/15").spec
    assert spec.class_names == ("cat", "dog")
    assert spec.name == "t"


def test_tables_of_one_folder_keep_their_own_scans(folder):
    """One table's scan would delete what the other's knows, and both would be read again at each turn."""
    both = [
        table(folder, f"path,label\nimg/{first}.png,cat\nimg/{first + 1}.png,dog\n", name=f"{first}.csv")
        for first in (0, 2)
    ]
    known: list[int] = []
    for num_known in (0, 2):
        for path in both:
            known.clear()
            load(str(path), progress=lambda _what, done, _total: known.append(done))
            assert known[0] == num_known


def test_a_table_in_the_current_folder_says_which_folder_lacks_its_files(folder, monkeypatch):
    monkeypatch.chdir(folder)
    Path("note.txt").write_text("milk\nbread\n")
    with pytest.raises(UsageError, match=r"nor does it name a file in the current folder\. Name"):
        list_table(Path("note.txt"))
    Path("gone.csv").write_text("path,label\nimg/9.png,cat\nimg/8.png,dog\n")
    with pytest.raises(UsageError, match="are not in the current folder: "):
        list_table(Path("gone.csv"))
