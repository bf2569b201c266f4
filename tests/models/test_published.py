"""The papers' figures as data: that our models have them, and that they are found by knobs."""

import pytest

from models.registry import FAMILIES, published_for

PUBLISHED = [row for family in FAMILIES.values() for row in family.published]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.family}-{row.knobs}-{row.source}")
def test_our_model_has_the_published_parameters_and_macs(cost_of, row):
    found = cost_of(row.family, **row.knobs)
    assert found.parameters == row.parameters
    # half a unit in the last printed digit, which is 1 M where a row prints no fraction
    assert found.macs / 1e6 == pytest.approx(row.mmacs, abs=0.5 if row.mmacs == int(row.mmacs) else 0.051)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_of_their_own_family(family):
    assert {row.family for row in FAMILIES[family].published} == {family}


def test_rows_are_found_however_the_knobs_are_written():
    rows = published_for("mobilenet", {"alpha": 0.5, "rho": 0.714})
    assert [(row.top1, row.source) for row in rows] == [
        (60.2, "paper, Tables 6, 7 and 9"),
        (59.1, "TensorFlow slim, 2018-02-22"),
    ]
    assert published_for("densenet", {}) == published_for("densenet", {"variant": "121"})


@pytest.mark.parametrize(
    "knobs", [{"num_classes": 10}, {"alpha": 0.6}, {"image_size": 96}, {"stem": "small"}]
)
def test_model_that_nobody_published_has_no_row(knobs):
    assert published_for("mobilenet", knobs) == ()


def test_densenet_bc_100_12_stands_at_the_papers_cifar10_accuracy():
    (row,) = published_for("densenet", {"depth": 100, "bottleneck": True, "num_classes": 10})
    assert row.top1 == 95.49
