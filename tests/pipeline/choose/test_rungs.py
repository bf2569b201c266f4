"""Successive halving: how long, which first, which go on."""

from __future__ import annotations

import pytest

from pipeline.choose.candidates import Net
from pipeline.choose.fit import Point, Prediction, fit
from pipeline.choose.rungs import anchors, cannot_win, go_on, rung_epochs


@pytest.mark.parametrize(
    ("epochs", "num_nets", "expected"),
    [
        (27, 9, (9, 27)),
        (27, 27, (3, 9, 27)),
        (30, 34, (2, 4, 10, 30)),
        (8, 3, (8,)),
        (1, 20, (1,)),
    ],
)
def test_each_rung_trains_three_times_as_long_and_the_last_to_the_end(epochs, num_nets, expected):
    assert rung_epochs(epochs, num_nets=num_nets, finalists=3, shrink=3) == expected


@pytest.mark.parametrize(
    ("families", "expected"), [("a", "0 2 4 6 8"), ("ab", "0 3 5 8"), ("abc", "0 4 8"), ("abcd", "0 4 8")]
)
def test_nets_spread_over_each_family_go_first_and_tell_the_scatter(families, expected):
    nets = [Net(name=f"{family}{size}", family=family) for family in families for size in range(9)]
    macs = {net.name: 10 ** (int(net.name[1:]) + 1) for net in nets}
    found = [net.name for net in anchors(nets, macs)]
    assert found == [f"{family}{size}" for family in families for size in expected.split()]
    points = {
        family: [Point(macs=macs[name], top1=50.0) for name in found if name[0] == family]
        for family in families
    }
    assert fit(points, num_images=100).freedom >= 3


def test_all_nets_of_a_small_family_go_first():
    nets = [Net(name=f"a{size}", family="a") for size in range(9)] + [Net(name="b0", family="b")]
    macs = {net.name: int(net.name[1:]) + 1 for net in nets}
    assert [net.name for net in anchors(nets, macs)] == ["a0", "a2", "a4", "a6", "a8", "b0"]


def test_a_net_whose_upper_end_is_below_the_best_cannot_win():
    predictions = {
        "low": Prediction(top1=60.0, low=55.0, high=69.9),
        "open": Prediction(top1=60.0, low=40.0, high=70.1),
    }
    found = cannot_win(predictions, {"best": 70.0}, {"host": ("low", "open", "best")})
    assert found == {"low": "predicted 60.0% (55.0 to 69.9), below best with 70.0%"}


def test_a_net_that_may_win_on_one_phone_stays():
    predictions = {"small": Prediction(top1=50.0, low=45.0, high=55.0)}
    in_race = {"fast phone": ("small", "large"), "slow phone": ("small",)}
    assert cannot_win(predictions, {"large": 80.0}, in_race) == {}


def test_the_best_third_goes_on_and_never_fewer_than_the_finalists():
    trained = {f"n{place}": float(place) for place in range(12)}
    kept = go_on(trained, {"host": tuple(trained)}, finalists=3, shrink=3)
    assert kept == ("n8", "n9", "n10", "n11")
    assert len(go_on(trained, {"host": tuple(trained)[:4]}, finalists=3, shrink=3)) == 3


def test_each_phone_keeps_its_own_best():
    trained = {"small": 50.0, "large": 80.0}
    in_race = {"fast": ("small", "large"), "slow": ("small",)}
    assert go_on(trained, in_race, finalists=1, shrink=3) == ("small", "large")
