"""Which file is advised, and what is said of it."""

from __future__ import annotations

from choose_figures import final, in_turns, measurement

from pipeline.choose.settings import Budget
from pipeline.choose.verdict import Known, judge, prices
from pipeline.choose.words import paragraph


def rights(num, of=200):
    """The first `num` images right."""
    return [place < num for place in range(of)]


def verdict(files, ms, *, untrained=None, **budget):
    measured = {each.sha256: in_turns(each.sha256, ms[each.name]) for each in files}
    return judge(files, measured, untrained or {}, Budget(**budget), "host")


def test_the_smallest_of_those_that_cannot_be_told_apart_is_advised():
    files = [final("large", rights(160), size=2_000_000), final("small", rights(158), size=1_000_000)]
    found = verdict(files, {"large": 2.0, "small": 1.0})
    assert (found.winner, found.advised) == ("large", "small")
    assert "cannot be told apart (p = 0.50)" in paragraph(found)


def test_a_clearly_better_file_wins():
    files = [final("large", rights(160), size=2_000_000), final("small", rights(140), size=1_000_000)]
    found = verdict(files, {"large": 2.0, "small": 1.0})
    assert (found.winner, found.advised) == ("large", "large")
    assert found.file("small").accuracy_p < 0.001
    assert paragraph(found) == "Ship large: 80.0% (73.9 to 85.0), 2 ms on this machine, 2 MB."


def test_a_smaller_file_that_is_slower_is_not_advised():
    files = [final("large", rights(160), size=2_000_000), final("small", rights(160), size=1_000_000)]
    found = verdict(files, {"large": 1.0, "small": 2.0})
    assert found.winner == "small"  # of equal accuracy the smaller
    files = [final("large", rights(160), size=2_000_000), final("small", rights(159), size=1_000_000)]
    found = verdict(files, {"large": 1.0, "small": 2.0})
    assert (found.winner, found.advised) == ("large", "large")


def test_what_is_over_budget_cannot_win():
    files = [final("large", rights(160), size=2_000_000), final("small", rights(140), size=1_000_000)]
    found = verdict(files, {"large": 2.0, "small": 1.0}, max_ms=1.5)
    assert found.advised == "small"
    assert found.file("large").fate.why == "2 ms is over --max-ms 1.5"


def test_where_nothing_fits_the_nearest_is_named():
    files = [final("large", rights(160), size=2_000_000), final("small", rights(140), size=1_000_000)]
    found = verdict(files, {"large": 2.0, "small": 1.0}, max_ms=1.5, min_top1=78.0)
    assert (found.advised, found.nearest) == (None, "small")
    assert paragraph(found) == (
        "Nothing fits --max-ms 1.5 --min-top1 78 on this machine. The nearest is small: "
        "70.0% (63.3 to 75.9), 1 ms on this machine, 1 MB: 70.0% is below --min-top1 78."
    )


def test_a_file_without_a_valid_latency_cannot_win():
    files = [final("a", rights(160))]
    broken = in_turns("a", 1.0)
    broken = type(broken)(
        measurement=measurement(1.0, valid=False), round_medians_ms=broken.round_medians_ms, size_bytes=1
    )
    found = judge(files, {"a": broken}, {}, Budget(), "host")
    assert found.advised is None
    assert "no valid latency: the machine was busy" in found.judged[0].fate.why


def test_a_latency_that_training_changed_is_marked():
    files = [final("a", rights(160))]
    assert verdict(files, {"a": 2.0}, untrained={"a": measurement(2.05, 0.05)}).judged[0].differs is False
    assert verdict(files, {"a": 2.0}, untrained={"a": measurement(2.2, 0.05)}).judged[0].differs is True


def test_the_price_of_more():
    files = [final("best", rights(160), size=1_000_000), final("bigger", rights(170), size=1_500_000)]
    found = verdict(files, {"best": 1.0, "bigger": 1.8}, max_ms=1.5)
    known = [
        Known(name="predicted", size_bytes=4_000_000, median_ms=3.0, points=7.0, low=2.0, high=12.0),
        Known(name="worse", size_bytes=4_000_000, median_ms=1.1, points=-1.0, low=-2.0, high=0.0),
    ]
    (more,) = prices(found, known)
    assert (more.name, round(more.points, 1), round(more.more_ms, 1), more.more_mb) == (
        "bigger",
        5.0,
        0.8,
        0.5,
    )
    assert not more.is_predicted
    (predicted,) = prices(verdict([files[0]], {"best": 1.0}), known)
    assert (predicted.name, predicted.is_predicted) == ("predicted", True)


def test_what_may_be_chance_is_no_gain():
    files = [final("best", rights(160), size=1_000_000), final("bigger", rights(162), size=1_500_000)]
    found = verdict(files, {"best": 1.0, "bigger": 1.8})
    assert (found.winner, found.advised) == ("bigger", "best")
    wide = Known(name="wide", size_bytes=4_000_000, median_ms=1.3, points=5.0, low=-2.0, high=12.0)
    assert prices(found, [wide]) == ()
