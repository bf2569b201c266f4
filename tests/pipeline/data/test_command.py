"""`pipeline data`."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from pictures import fill
from PIL import Image

from models.registry import FAMILIES
from pipeline.commands.data import command
from pipeline.data.augment import NONE
from pipeline.data.registry import DATASETS, load
from pipeline.errors import PipelineError, UsageError


def run(*arguments):
    return CliRunner().invoke(command, list(arguments))


def records(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_without_an_argument_the_known_names_are_listed():
    listed = run()
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in DATASETS)
    assert [record["name"] for record in records()] == list(DATASETS)


def test_json_is_one_record_of_the_specs_fields(photos):
    (photos / "cat" / "notes.txt").write_text("x")
    (record,) = records(str(photos))
    assert record["class_names"] == ["cat", "dog"]
    assert record["left_out"] == [{"path": "cat/notes.txt", "reason": "not an image"}]
    assert sum(record["class_counts"][0][split] for split in ("train", "validation", "test")) == 40
    assert len(record["fingerprint"]) == 64


def test_the_table_names_classes_counts_and_what_was_left_out(photos):
    (photos / "cat" / "[b]odd.txt").write_text("x")
    Image.new("CMYK", (9, 9)).save(photos / "dog" / "press.jpg")
    shown = run(str(photos))
    assert shown.exit_code == 0
    for text in ("cat/[b]odd.txt", "not an image", "1 CMYK", "several", "2 classes"):
        assert text in shown.stdout
    assert "pipeline train" in shown.stderr
    assert "pipeline train" not in shown.stdout


def test_imbalance_and_a_small_test_split_are_told_before_a_training(tmp_path):
    folder = fill(tmp_path / "uneven", per_class=30)
    for picture in sorted((folder / "cat").iterdir())[4:]:
        picture.unlink()
    shown = " ".join(run(str(folder)).stdout.split())
    assert "a net that always says 'dog' would have a top-1 of" in shown
    assert "test images can tell an accuracy of 90% to within" in shown
    for_machines = run(str(folder), "--json")
    assert json.loads(for_machines.stdout)[0]["name"] == "uneven"
    assert "always says 'dog'" in for_machines.stderr


def test_a_set_that_training_refuses_is_not_said_to_be_trained_on_next(tmp_path):
    folder = fill(tmp_path / "few", per_class=2)
    with pytest.raises(PipelineError) as refused:
        load(str(folder)).check_trainable()
    shown = run(str(folder))
    assert shown.exit_code == 0
    assert f"Not enough to train on: {refused.value}" in shown.stderr
    assert "Next: pipeline train" not in shown.stderr


def test_a_sheet_shows_eight_training_images_a_class(photos, tmp_path):
    sheet = tmp_path / "sheet.png"
    assert run(str(photos), "--sheet", str(sheet), "--image-size", "32").exit_code == 0
    picture = Image.open(sheet)
    assert picture.size == (140 + 8 * 36, 2 * 36 + 4)
    cells = [
        picture.crop((140 + column * 36, 4 + row * 36, 172 + column * 36, 36 + row * 36))
        for row in range(2)
        for column in range(8)
    ]
    assert len({cell.tobytes() for cell in cells}) == 16
    assert all(cell.getextrema() != ((255, 255),) * 3 for cell in cells)


def sheet_of(folder, sheet, *arguments):
    """The sheet's bytes; what the command says of it."""
    result = run(str(folder), "--sheet", str(sheet), "--image-size", "128", *arguments)
    assert result.exit_code == 0, result.output
    return sheet.read_bytes(), result.stderr


def test_a_sheet_shows_the_crops_of_the_family_asked_for(photos, tmp_path):
    sheets = {
        family: sheet_of(photos, tmp_path / f"{family}.png", "--family", family)[0] for family in FAMILIES
    }
    assert len(set(sheets.values())) == len({family.min_crop_area for family in FAMILIES.values()}) > 1


def test_a_sheet_without_a_family_shows_the_images_as_they_are_verified(photos, tmp_path):
    sheet = tmp_path / "plain.png"
    _, said = sheet_of(photos, sheet)
    assert "not augmented" in said
    picture = Image.open(sheet)
    corners = [(140 + column * 132, 4 + row * 132) for row in range(2) for column in range(8)]
    cells = [np.asarray(picture.crop((left, top, left + 128, top + 128))) for left, top in corners]
    dataset = load(str(photos))
    batches = dataset.training_batches(image_size=128, batch_size=64, augment=NONE, seed=0, epoch=0)
    plain = {np.rint(image).astype(np.uint8).tobytes() for images, _ in batches for image in images.numpy()}
    assert {cell.tobytes() for cell in cells} <= plain


def test_a_mistyped_family_of_a_sheet_is_answered_with_the_nearest(photos, tmp_path):
    result = run(str(photos), "--sheet", str(tmp_path / "sheet.png"), "--family", "mobilnet")
    assert "Did you mean 'mobilenet'" in str(result.exception)


def test_a_family_without_a_sheet_is_refused(photos):
    result = run(str(photos), "--family", "mobilenet")
    assert isinstance(result.exception, UsageError)
    assert "--sheet" in str(result.exception)


def test_a_sheet_of_another_kind_is_refused_before_anything_is_read(tmp_path):
    result = run(str(tmp_path / "nowhere"), "--sheet", "sheet.docx")
    assert isinstance(result.exception, UsageError)
    assert ".png or .jpg" in str(result.exception)


@pytest.mark.parametrize(("given", "status"), [("digitss", 2), ("EMPTY", 1)])
def test_mistakes_and_findings_have_their_exit_status(tmp_path, given, status):
    if given == "EMPTY":
        given = str(tmp_path)
    result = run(given)
    assert isinstance(result.exception, PipelineError)
    assert result.exception.exit_status == status


def test_help_and_the_table_of_names_import_no_numpy():
    code = (
        "import sys; from click.testing import CliRunner; from pipeline.commands.data import command; "
        "CliRunner().invoke(command, ['--help']); CliRunner().invoke(command, ['--json']); "
        "import pipeline.data.augment; "
        "print(sorted({'numpy', 'tensorflow', 'keras', 'PIL', 'sklearn'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_showing_a_data_set_imports_no_tensorflow(photos):
    code = (
        "import sys; from pipeline.data.registry import load; "
        f"load('digits'); load({str(photos)!r}); print('tensorflow' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
