"""Trainings that learn a teacher's class scores beside the labels."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.utils.extmath import softmax

from export.files import sha256_of
from models.build import build
from models.weights.catalogue import CHECKPOINTS
from pipeline.cli import run as pipeline
from pipeline.data.dataset import Dataset
from pipeline.data.pixels import from_array
from pipeline.data.registry import load
from pipeline.data.spec import ImageShape
from pipeline.errors import PipelineError, UsageError
from pipeline.progress import Note, silent
from pipeline.records.training import TeacherConfig, TrainConfig
from pipeline.steps.settings import TeacherSettings
from pipeline.steps.teacher import MatchedTeacher, check_teaches, find_teacher, matched_teacher
from pipeline.training.distillation import distilled, soft_loss, with_scores
from pipeline.training.scorer import class_weights_of, compiled_scorer, cross_entropy
from pipeline.training.teacher import fitted_pixels, load_teacher
from pipeline.training.trainer import read_config, start_run, train

layers = keras.layers
COLOURS = ("red", "green", "blue")
RANDOM = np.random.default_rng(0)


def colour_teacher(size: int = 24, *, order: tuple[int, ...] = (0, 1, 2), end: str | None = "softmax"):
    """Knows the brightest channel of raw pixels of its own image size, without any training."""
    image = keras.Input((size, size, 3))
    pooled = layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, layers.Dense(3, activation=end, name="classes")(pooled))
    model.get_layer("classes").set_weights([0.1 * np.eye(3)[:, list(order)], np.zeros(3)])
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """colours.keras, and names.txt of its outputs."""
    made = tmp_path_factory.mktemp("teachers")
    colour_teacher().save(made / "colours.keras")
    (made / "names.txt").write_text("\n".join(COLOURS))
    return made


def taught_by(path: Path, dataset: Dataset, **settings: object) -> MatchedTeacher:
    asked = TeacherSettings(teacher=str(path), **settings)
    return matched_teacher(find_teacher(asked, runs=path.parent), dataset, asked, progress=silent)


@pytest.fixture(scope="module")
def config(tiny_config: TrainConfig, tiny: Dataset, folder: Path) -> TrainConfig:
    matched = taught_by(folder / "colours.keras", tiny, scale=(1.0,))
    return dataclasses.replace(tiny_config, teacher=matched.config, epochs=2)


@pytest.fixture(scope="module")
def first(config: TrainConfig, tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = start_run(config, tiny.spec, folder=tmp_path_factory.mktemp("taught"))
    train(config, tiny, run)
    return run


def weights_of(run: Path) -> list[np.ndarray]:
    return keras.saving.load_model(run / "model.keras").get_weights()


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_soft_loss_is_the_divergence_times_the_temperature_squared(temperature: float):
    theirs, ours = RANDOM.normal(0, 2, (2, 7, 5))
    expected = divergence(theirs / temperature, ours / temperature)
    found = soft_loss(theirs.astype("f"), ours.astype("f"), temperature=temperature)
    np.testing.assert_allclose(found, temperature**2 * expected, rtol=1e-3, atol=1e-5)


def divergence(theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """In float64, by Kullback and Leibler's definition, of scikit-learn's softmax."""
    one, other = softmax(theirs.astype("d")), softmax(ours.astype("d"))
    return (one * np.log(one / other)).sum(axis=1)


def test_loss_is_the_weighted_mean_of_both_and_of_labels_alone_the_hard_one():
    theirs, ours = RANDOM.normal(0, 2, (2, 4, 3)).astype("f")
    labels, each = np.array([0, 2, 1, 1]), np.array([2.0, 1.0, 0.5])
    hard = cross_entropy(0.1, [*each])
    loss = distilled(hard, temperature=3.0, weight=0.7, class_weights=[*each])
    soft = soft_loss(theirs, ours, temperature=3.0)
    expected = 0.3 * np.asarray(hard(labels, ours)) + 0.7 * each[labels] * np.asarray(soft)
    np.testing.assert_allclose(loss(with_scores(labels, theirs), ours), expected, rtol=1e-5)
    np.testing.assert_array_equal(loss(labels, ours), hard(labels, ours))
    np.testing.assert_array_equal(loss(labels[:, None], ours), hard(labels, ours))


def test_a_step_descends_the_loss_that_numpy_computes(config: TrainConfig, tiny: Dataset):
    """Keras's own train_on_batch gives the loss of the images that the student sees."""
    model = build("densenet", **{**config.knobs, "dropout": 0.0})
    teacher = load_teacher(config.teacher)
    config = dataclasses.replace(config, weight_decay=0.0)
    scorer = compiled_scorer(model, config, class_weights_of(config, tiny.spec), teach=teacher)
    images = RANDOM.integers(0, 256, (8, 16, 16, 3)).astype("f")
    labels = np.arange(8) % 3
    ours, theirs = np.asarray(scorer(images, training=True)), np.asarray(teacher(images))
    soft = divergence(theirs / 4, ours / 4)
    hard = -np.log(softmax(ours))[np.arange(8), labels]
    found = scorer.train_on_batch(images, labels, return_dict=True)
    np.testing.assert_allclose(found["loss"], np.mean(0.1 * hard + 0.9 * 16 * soft), rtol=1e-4)
    assert len(scorer.weights) == len(model.weights)  # the teacher is no part of what is saved
    evaluated = scorer.evaluate(images, labels, verbose=0, return_dict=True)
    ours = np.asarray(scorer(images, training=False))
    np.testing.assert_allclose(
        evaluated["loss"], -np.log(softmax(ours))[np.arange(8), labels].mean(), rtol=1e-4
    )


def test_teacher_of_another_size_sees_the_students_images(folder: Path, tiny: Dataset):
    matched = taught_by(folder / "colours.keras", tiny, scale=(1.0,))
    images, labels = tiny.balanced_samples("train", image_size=16, num_samples=30, seed=0)
    scores = np.asarray(matched.teacher(images.astype("f")))
    np.testing.assert_allclose(scores, 0.1 * images.mean(axis=(1, 2)), rtol=1e-3)
    assert (scores.argmax(axis=1) == labels).all()


WHOLE = slice(None)


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [
        ((8, 8, 3), WHOLE, WHOLE),
        ((24, 24, 1), WHOLE, WHOLE),
        ((16, 16, 3), WHOLE, WHOLE),
        ((12, 24, 3), slice(4, 12), WHOLE),
        ((24, 12, 1), WHOLE, slice(4, 12)),
    ],
)
def test_pixels_are_fitted_as_pillow_fits_images(shape: tuple[int, int, int], rows: slice, columns: slice):
    image = RANDOM.integers(0, 256, (16, 16, 3)).astype("u1")
    # of the part alone: beyond a box's edges Pillow looks at the pixels outside
    expected = from_array(image[rows, columns], ImageShape(*shape)).astype(float)
    found = np.asarray(fitted_pixels(image[None].astype("f"), ImageShape(*shape)))[0]
    assert found.shape == shape
    assert np.abs(found - expected).max() <= 1.5  # Pillow rounds to whole levels, grey twice


def test_record_and_settings_name_the_teacher(first: Path, folder: Path):
    held = json.loads((first / "train.json").read_text())["config"]["teacher"]
    assert held["sha256"] == sha256_of(folder / "colours.keras")
    assert held["name"] == "colours.keras"
    assert (held["temperature"], held["weight"]) == (4.0, 0.9)
    assert read_config(first).teacher == TeacherConfig(**{**held, "outputs": tuple(held["outputs"])})


def test_a_student_learns_from_the_teacher_alone(config: TrainConfig, tiny: Dataset, tmp_path: Path):
    """A teacher that calls red green and green red: a student that heeds it alone does the same."""
    colour_teacher(order=(1, 0, 2)).save(tmp_path / "wrong.keras")
    teacher = dataclasses.replace(
        config.teacher,
        path=str(tmp_path / "wrong.keras"),
        sha256=sha256_of(tmp_path / "wrong.keras"),
        weight=1.0,
    )
    run = start_run(config, tiny.spec, folder=tmp_path)
    record = train(dataclasses.replace(config, teacher=teacher, epochs=4), tiny, run)
    assert record.test_top1 < 60  # a third is blue; chance is 33%


def test_stopped_it_goes_on_to_the_same_weights_with_the_same_teacher_alone(
    first: Path, config: TrainConfig, tiny: Dataset, folder: Path, tmp_path: Path
):
    copy = tmp_path / "copy.keras"
    shutil.copy(folder / "colours.keras", copy)
    config = dataclasses.replace(config, teacher=dataclasses.replace(config.teacher, path=str(copy)))
    run = start_run(config, tiny.spec, folder=tmp_path)
    with pytest.raises(InterruptedError):
        train(config, tiny, run, progress=stop_after("epoch 1/2"))
    colour_teacher(order=(2, 1, 0)).save(copy)
    with pytest.raises(PipelineError, match=r"teacher .* any more"):
        train(read_config(run), tiny, run)
    copy.unlink()
    with pytest.raises(PipelineError, match=r"teacher .* any more"):
        train(read_config(run), tiny, run)
    shutil.copy(folder / "colours.keras", copy)
    train(read_config(run), tiny, run)
    for left, right in zip(weights_of(first), weights_of(run), strict=True):
        np.testing.assert_array_equal(left, right)


def stop_after(words: str):
    def stop(event: object) -> None:
        if words in f"{getattr(event, 'what', '')}{getattr(event, 'text', '')}":
            raise InterruptedError

    return stop


def test_a_run_teaches_by_name_and_the_head_learns_from_it_too(
    first: Path,
    tiny: Dataset,
    tiny_npz: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """--teacher with --weights and --freeze all: the head alone, from a teacher's scores computed once."""
    monkeypatch.setenv("PIPELINE_RUNS", str(first.parent))
    options = ["--weights", str(first), "--freeze", "all", "--head-epochs", "3", "--json"]
    options += ["--teacher", first.name, "--teacher-weight", "0.5"]
    assert pipeline(["train", "densenet", "--data", str(tiny_npz), *options]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["config"]["teacher"]["name"] == first.name
    assert record["config"]["teacher"]["outputs"] == [0, 1, 2]
    assert record["epochs_run"] == 0


def test_heads_and_ends_of_every_kind_teach(tiny: Dataset, tmp_path: Path):
    """A softmax as activation, as a layer and inside an unnamed operation, and plain scores: one answer."""
    images = tiny.balanced_samples("train", image_size=16, num_samples=30, seed=0)[0].astype("f")
    plain = colour_teacher(end=None)
    nets = {
        "activation": colour_teacher(),
        "layer": keras.Sequential([plain, layers.Softmax()]),
        "operation": keras.Model(plain.input, keras.ops.exp(keras.ops.log_softmax(plain.output))),
        "scores": plain,
    }
    found = {}
    for name, net in nets.items():
        net.save(tmp_path / f"{name}.keras")
        scores = taught_by(tmp_path / f"{name}.keras", tiny, scale=(1.0,)).teacher(images)
        found[name] = softmax(np.asarray(scores) / 4)
    for name in nets:
        np.testing.assert_allclose(found[name], found["scores"], atol=5e-3, err_msg=name)


def test_one_sigmoid_gives_the_scores_of_both_classes(tmp_path: Path):
    image = keras.Input((8, 8, 3))
    score = layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling2D()(image))
    model = keras.Model(image, score)
    model.save(tmp_path / "two.keras")
    found = find_teacher(TeacherSettings(teacher=str(tmp_path / "two.keras")), runs=tmp_path)
    images = RANDOM.uniform(0, 255, (5, 8, 8, 3)).astype("f")
    both = softmax(np.asarray(found.scores(images)))
    np.testing.assert_allclose(both[:, 1:], model(images), rtol=1e-5)


def test_published_file_teaches_by_its_class_names(tmp_path: Path):
    """The file of DenseNet-BC's name, with weights of our own, has CIFAR-10's classes in order."""
    checkpoint = CHECKPOINTS["densenet_bc_100_12_cifar10"]
    assert checkpoint.class_names[:3] == ("airplane", "automobile", "bird")
    (tmp_path / "squeeze.npz").write_bytes(b"PK\5\6" + bytes(18))
    with pytest.raises(UsageError, match="none of the published files"):
        find_teacher(TeacherSettings(teacher=str(tmp_path / "squeeze.npz")), runs=tmp_path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 30 photos of each of the colours, whose order is by alphabet."""
    made = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(1)
    for channel, colour in enumerate(COLOURS):
        (made / colour).mkdir()
        for number in range(30):
            image = random.integers(0, 100, (16, 16, 3), np.uint8)
            image[:, :, channel] += 120
            Image.fromarray(image).save(made / colour / f"{number}.png")
    return made


def test_names_decide_which_output_is_which_class(folder: Path, photos: Path):
    matched = taught_by(
        folder / "colours.keras", load(str(photos)), scale=(1.0,), labels=folder / "names.txt"
    )
    assert matched.config.outputs == (2, 1, 0)  # blue, green, red
    check_teaches(matched, load(str(photos)), image_size=16, progress=silent)


def test_outputs_without_names_in_another_order_are_refused(photos: Path, tmp_path: Path):
    """By number: blue, green, red; the model turned so that none is right."""
    colour_teacher(order=(0, 2, 1)).save(tmp_path / "turned.keras")
    dataset = load(str(photos))
    matched = taught_by(tmp_path / "turned.keras", dataset, scale=(1.0,))
    with pytest.raises(UsageError, match="no more than chance"):
        check_teaches(matched, dataset, image_size=16, progress=silent, at_least=1)


def test_a_teachers_answers_on_the_students_images_are_told(folder: Path, photos: Path):
    dataset, said = load(str(photos)), []
    matched = taught_by(folder / "colours.keras", dataset, scale=(1.0,), labels=folder / "names.txt")
    check_teaches(matched, dataset, image_size=16, progress=said.append)
    (note,) = said
    assert isinstance(note, Note)
    assert "right on 100.0%" in note.text


@pytest.fixture(scope="module")
def refused_teachers(folder: Path) -> Path:
    """Models that cannot teach three colours."""
    image = keras.Input((16, 16, 3))
    pooled = layers.GlobalAveragePooling2D()(image)
    keras.Model(image, layers.Dense(4, activation="softmax")(pooled)).save(folder / "four.keras")
    keras.Model(image, layers.Dense(3, activation="sigmoid")(pooled)).save(folder / "labels.keras")
    fixed = keras.Input((16, 16, 3), batch_size=8)
    keras.Model(fixed, colour_teacher(16)(fixed)).save(folder / "fixed.keras")
    keras.Model(image, layers.Conv2D(3, 1)(image)).save(folder / "map.keras")
    whole = (folder / "colours.keras").read_bytes()
    (folder / "cut.keras").write_bytes(whole[: len(whole) // 2])
    (folder / "names4.txt").write_text("a\nb\nc\nd")
    return folder


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["no-such-run"], 2, "there is no teacher 'no-such-run'"),
        (["densenet_bc_100_12_cifar1"], 2, "Did you mean 'densenet_bc_100_12_cifar10'"),
        (["four.keras"], 2, "has 4 outputs without class names, the data set has 3"),
        (["four.keras", "--teacher-labels", "names4.txt"], 2, "has the classes a, b, c, d"),
        (["labels.keras"], 2, "its own sigmoid"),
        (["fixed.keras"], 2, "batches of 8"),
        (["map.keras"], 1, "Expected an image classifier"),
        (["cut.keras"], 1, "cut.keras"),
        (["colours.keras", "--teacher-weight", "0"], 2, "0"),
        (["colours.keras", "--teacher-temperature", "inf"], 2, "finite"),
    ],
)
def test_teachers_that_cannot_teach_are_refused_in_a_line(
    options: list[str],
    status: int,
    words: str,
    refused_teachers: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(refused_teachers)
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path))
    assert pipeline(["train", "densenet", "--data", str(photos), "--teacher", *options]) == status
    assert words in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_a_teacher_of_other_pixels_is_refused_with_the_options_to_give(photos: Path, tmp_path: Path):
    """Trained on 0..1: saturated by raw pixels."""
    image = keras.Input((16, 16, 3))
    squeezed = layers.Dense(3, activation="tanh", name="squeezed")(layers.GlobalAveragePooling2D()(image))
    model = keras.Model(image, layers.Dense(3, activation="softmax", name="classes")(squeezed))
    model.get_layer("squeezed").set_weights([np.eye(3), np.zeros(3)])
    model.get_layer("classes").set_weights([20 * np.eye(3)[::-1], np.zeros(3)])
    model.save(tmp_path / "small.keras")
    dataset = load(str(photos))
    with pytest.raises(UsageError, match=r"--teacher-scale 0\.00392157 --teacher-offset 0"):
        taught_by(tmp_path / "small.keras", dataset)
    said: list[object] = []
    matched = taught_by(tmp_path / "small.keras", dataset, scale=(1 / 255,))
    assert matched.config.knobs == {"scale": 1 / 255, "offset": 0.0}
    check_teaches(matched, dataset, image_size=16, progress=said.append)
    assert "right on 100.0%" in str(said)
    again = load_teacher(matched.config)
    pixels = RANDOM.uniform(0, 255, (3, 16, 16, 3)).astype("f")
    np.testing.assert_array_equal(again(pixels), matched.teacher(pixels))


def test_a_runs_own_pixels_are_kept(first: Path, tiny: Dataset):
    with pytest.raises(UsageError, match="has its own"):
        taught_by(first, tiny, scale=(1.0,))


def test_details_without_a_teacher_are_refused(tiny_npz: Path, capsys: pytest.CaptureFixture[str]):
    assert pipeline(["train", "densenet", "--data", str(tiny_npz), "--teacher-weight", "0.5"]) == 2
    assert "Give --teacher too" in capsys.readouterr().err
