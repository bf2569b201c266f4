"""Labels of a data set as outputs of a model: by name, by number where there are no names, or refused."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from report_records import export_artifact

from pipeline.class_names import check_same_classes, match_classes, match_file
from pipeline.cli import run
from pipeline.errors import PipelineError
from pipeline.lineage import find_source
from pipeline.steps.max_drop import int8_within
from pipeline.steps.settings import MaxDropSettings

THOUSAND = [f"class {number}" for number in range(1000)]


def unnamed(number):
    return [str(each) for each in range(number)]


def test_labels_become_the_outputs_of_their_names():
    found = match_classes(["dog", "cat", "fox"], ["cat", "dog"], name="m")
    assert found.outputs == (1, 0)
    np.testing.assert_array_equal(found.labels([0, 0, 1]), [1, 1, 0])
    assert found.words == "2 of 2 classes of the data set matched by name; the model has 1 more"


def test_batches_keep_their_images():
    found = match_classes(["dog", "cat"], ["cat", "dog"], name="m")
    ((images, labels),) = found.batches([("images", [0, 1])])
    assert (images, labels.tolist()) == ("images", [1, 0])


@pytest.mark.parametrize(
    "name", ["Great White_Shark", "great white shark", "GREAT-WHITE  SHARK", " great_white_shark"]
)
def test_case_blanks_hyphens_and_underscores_do_not_count(name):
    assert match_classes(["cat", "great_white_shark"], [name, "cat"], name="m").outputs == (1, 0)


def test_names_as_written_win_over_those_that_differ_in_case():
    assert match_classes(["Turkey", "turkey"], ["turkey", "Turkey"], name="m").outputs == (1, 0)


def test_a_background_first_moves_every_label_by_one():
    found = match_classes(["background", *THOUSAND], THOUSAND, name="m")
    assert found.outputs == tuple(range(1, 1001))
    assert found.words == "1,000 of 1,000 classes of the data set matched by name; output 0 is 'background'"


@pytest.mark.parametrize(("outputs", "classes"), [(1001, 1000), (1001, 10), (10, 1001)])
def test_a_model_without_names_is_refused_for_another_number_of_classes(outputs, classes):
    names = [f"class {number}" for number in range(classes)]
    with pytest.raises(
        PipelineError, match=rf"{outputs:,} outputs without class names.* {classes:,} classes.*--labels"
    ):
        match_classes(unnamed(outputs), names, name="m")


def test_the_numbers_of_a_model_without_names_are_not_names():
    """Digits are named 0 to 9, which 10 of 1001 numbered outputs are too."""
    with pytest.raises(PipelineError, match="without class names"):
        match_classes(unnamed(1001), unnamed(10), name="m")


def test_a_model_without_names_is_matched_by_number_where_the_counts_agree():
    found = match_classes(unnamed(3), ["a", "b", "c"], name="m")
    assert (found.outputs, found.words) == ((0, 1, 2), "classes matched by number")


def test_a_class_that_the_model_does_not_have_is_named():
    with pytest.raises(
        PipelineError, match=r"2 of 3 classes matched by name, no output is wolf\. .*--data.*--labels"
    ):
        match_classes(["cat", "dog"], ["cat", "wolf", "dog"], name="m")


def test_a_name_that_stands_at_two_outputs_is_no_name():
    with pytest.raises(PipelineError, match="no output is crane"):
        match_classes(["crane", "cat", "crane"], ["cat", "crane"], name="m")
    assert match_classes(["crane", "crane"], ["crane", "crane"], name="m").outputs == (0, 1)


def test_two_classes_of_one_output_are_refused():
    with pytest.raises(PipelineError, match="one output is each of Cat, cat"):
        match_classes(["CAT", "dog"], ["Cat", "cat"], name="m")


def test_the_message_is_one_line():
    with pytest.raises(PipelineError) as error:
        match_classes(unnamed(5), THOUSAND, name="m")
    assert "\n" not in str(error.value)


def test_training_wants_the_classes_in_the_outputs_own_order():
    check_same_classes(["a", "b"], ["a", "b"], name="m")
    check_same_classes(unnamed(2), ["a", "b"], name="m")
    for names in (["b", "a"], ["a", "b", "c"]):
        with pytest.raises(PipelineError, match="has the classes"):
            check_same_classes(["a", "b"], names, name="m")


def test_the_numbers_of_a_run_s_own_data_set_are_names():
    """A run on digits is not verified on clothes, and what --labels names is found by its name."""
    plain = export_artifact(family="mobilenet", class_names=("0", "1"), dataset_class_names=None)
    with pytest.raises(PipelineError, match=r"0 of 2 classes matched by name, no output is ape, zebra\."):
        match_file(plain, ["ape", "zebra"])
    assert match_file(plain, ["0", "1"]).outputs == (0, 1)
    with pytest.raises(PipelineError, match="without class names"):
        match_file(plain, ["0"])
    shown = export_artifact(family="mobilenet", class_names=("zebra", "ape"), dataset_class_names=("0", "1"))
    assert match_file(shown, ["ape", "zebra"]).outputs == (1, 0)
    assert match_file(shown, ["0", "1"]).outputs == (0, 1)


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A model whose outputs are background, bright and dark, and a folder of images: Bright and dark."""
    monkeypatch.chdir(tmp_path)
    image = keras.Input((8, 8, 3))
    scores = keras.layers.Dense(3, name="scores")
    x = scores(keras.layers.GlobalAveragePooling2D()(image))
    model = keras.Model(image, keras.layers.Softmax()(x))
    scores.set_weights([np.array([[0, 0.01, -0.01]] * 3), np.array([-9, -3.84, 3.84])])
    model.save("brightness.keras")
    random = np.random.default_rng(0)
    for name, grey in (("Bright", 200), ("dark", 50)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(30):
            pixels = np.clip(random.normal(grey, 20, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    (tmp_path / "labels.txt").write_text("background\nbright\ndark\n")
    return tmp_path


def verified(capsys, *arguments):
    (file,) = Path("runs").glob("*/export/*.tflite")
    capsys.readouterr()
    status = run(["verify", str(file), "--data", "photos", *arguments])
    return status, capsys.readouterr()


def test_verify_counts_by_the_names_that_an_export_was_given(foreign, capsys):
    """By number every image would be wrong: class 0 is Bright, output 0 the background."""
    assert run(["export", "brightness.keras", "--float32", "--data", "photos", "--labels", "labels.txt"]) == 0
    status, printed = verified(capsys, "--json")
    record = json.loads(printed.out)[0]
    assert (status, record["keras_top1"], record["tflite_top1"]) == (0, 100, 100)
    assert record["classes_matched"] == (
        "2 of 2 classes of the data set matched by name; output 0 is 'background'"
    )
    assert "2 of 2 classes of the data set matched by name" in verified(capsys)[1].out


def test_verify_refuses_a_model_without_names_on_fewer_classes(foreign, capsys):
    assert run(["export", "brightness.keras", "--float32"]) == 0
    status, printed = verified(capsys)
    assert status == 1
    assert "has 3 outputs without class names, the data set has 2 classes" in printed.err


def test_an_int8_file_is_not_judged_on_classes_that_the_run_does_not_have(foreign):
    """Where the model's own names are numbers, as those of digits, and the data set has as many classes."""
    (foreign / "photos" / "dim").mkdir()
    for number in range(30):
        Image.new("RGB", (8, 8), (number, 100, 100)).save(foreign / "photos" / "dim" / f"{number}.png")
    source = find_source("brightness.keras", data="photos", folder=foreign / "runs")
    trained = dataclasses.replace(source, class_names=tuple(unnamed(3)))
    with pytest.raises(PipelineError, match="0 of 3 classes matched by name"):
        int8_within(trained, MaxDropSettings(max_drop=1), runs=foreign / "runs")
