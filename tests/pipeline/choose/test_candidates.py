"""Which nets are candidates: the families' grids, narrowed."""

from __future__ import annotations

import pytest

from export.precisions import Precision
from models.errors import KnobError
from models.registry import FAMILIES, label
from pipeline.choose.candidates import OWN, candidates, grid_of
from pipeline.choose.settings import Budget, ChooseSettings
from pipeline.errors import UsageError


def names(image_size=None, **settings):
    return [net.name for net in grid_of(ChooseSettings(**settings), image_size=image_size)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_net_of_a_familys_grid_is_a_candidate(family):
    expected = [label(family, knobs) for knobs in FAMILIES[family].grid]
    assert names(families=(family,)) == expected


def test_images_of_one_small_size_take_the_place_of_the_grids_sizes():
    found = names(families=("mobilenet",), image_size=32)
    assert found == [f"mobilenet{alpha}_32" for alpha in ("_alpha0.25", "_alpha0.5", "_alpha0.75", "")]


def test_given_values_take_the_place_of_the_grids():
    knobs = {"alpha": ("0.35", "0.5"), "image_size": ("96", "128")}
    assert names(families=("mobilenet",), knobs=knobs, image_size=32) == [
        f"mobilenet_alpha{alpha}_{size}" for alpha in (0.35, 0.5) for size in (96, 128)
    ]


def test_a_knob_of_one_family_leaves_the_others_as_they_are():
    found = names(families=("mobilenet", "resnet"), knobs={"alpha": ("0.5",)}, image_size=32)
    assert found == ["mobilenet_alpha0.5_32", *(f"resnet{depth}_32" for depth in (20, 32, 44, 56, 110))]


def test_a_value_that_only_one_family_takes_leaves_out_the_other():
    found = names(families=("densenet", "resnet"), knobs={"depth": ("22",)}, image_size=32)
    assert found == ["densenet_bc22k12_32"]  # resnet's next are 20 and 26


def test_every_net_comes_in_every_precision():
    nets = grid_of(ChooseSettings(families=("resnet",)), image_size=None)
    found = [each.name for each in candidates(nets, (Precision.FLOAT16, Precision.INT8))]
    assert found[:2] == ["resnet20_32 float16", "resnet20_32 int8"]
    assert len(found) == 2 * len(nets)


def test_a_model_of_ones_own_is_entered_by_its_name(tmp_path):
    path = tmp_path / "mine.keras"
    path.touch()
    net = grid_of(ChooseSettings(families=("resnet",), also=(path,)), image_size=None)[-1]
    assert (net.name, net.family, net.path) == ("mine", OWN, path)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"families": ("mobilnet",)}, KnobError, "Did you mean 'mobilenet'"),
        (
            {"families": ("resnet",), "knobs": {"alpha": ("1",)}},
            UsageError,
            "--alpha is no setting of resnet",
        ),
        ({"families": ("mobilenet",), "knobs": {"alpha": ("wide",)}}, KnobError, "is not a number"),
        ({"families": ("resnet",), "knobs": {"depth": ("21",)}}, KnobError, "Nearest: 20 or 26"),
    ],
)
def test_a_mistake_is_named(settings, error, words):
    with pytest.raises(error, match=words):
        names(**settings)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"there is no such file"):
        names(also=(tmp_path / "mine.keras",))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"budget": Budget(max_ms=0.0)}, "--max-ms is 0"),
        ({"budget": Budget(max_mb=-1.0)}, "--max-mb is -1"),
        ({"budget": Budget(min_top1=101.0)}, "--min-top1 is 101"),
        ({"hours": float("inf")}, "--hours is inf"),
        ({"precisions": ()}, "no precision"),
    ],
)
def test_an_impossible_setting_is_refused(given, words):
    with pytest.raises(UsageError, match=words):
        ChooseSettings(**given)
