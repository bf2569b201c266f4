"""Successive halving: how long each rung trains, which nets go first, and which go on.

Jamieson and Talwalkar 2016, arXiv:1502.07943. A rung goes on from the weights of the one before.
Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from pipeline.choose.candidates import Net
from pipeline.choose.fit import Prediction

InRace = Mapping[str, Collection[str]]
"""Target -> the nets of which a file fits the budget there."""
LEAST_FREEDOM = 3
"""Degrees of freedom of the scatter around the lines; with 1 an interval is four times as wide as with 3."""


def rung_epochs(epochs: int, *, num_nets: int, finalists: int, shrink: int) -> tuple[int, ...]:
    """The epochs that each rung trains to, the last one to the end; one rung if all nets are finalists."""
    num_rungs, left = 1, num_nets
    while left > finalists:
        num_rungs, left = num_rungs + 1, max(finalists, math.ceil(left / shrink))
    ends = [math.ceil(epochs / shrink**power) for power in range(num_rungs - 1, -1, -1)]
    return tuple(dict.fromkeys(max(1, each) for each in ends))


def anchors(nets: Sequence[Net], macs: Mapping[str, int]) -> tuple[Net, ...]:
    """The nets to train first, spread over the mult-adds of each family, its smallest and largest among them.

    They are 3 of each of three families or more, 5 of a single one, so that the scatter around their lines
    has LEAST_FREEDOM; all of a small family.
    """
    families = {family: [net for net in nets if net.family == family] for family in _families(nets)}
    num_fitted = sum(len(members) > 2 for members in families.values())
    num = 2 + math.ceil(LEAST_FREEDOM / max(num_fitted, 1))
    found: list[Net] = []
    for members in families.values():
        ordered = sorted(members, key=lambda net: macs[net.name])
        places = dict.fromkeys(round((len(ordered) - 1) * place / (num - 1)) for place in range(num))
        found += [ordered[place] for place in places]
    return tuple(found)


def _families(nets: Sequence[Net]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(net.family for net in nets))


def cannot_win(
    predictions: Mapping[str, Prediction],
    trained: Mapping[str, float],
    in_race: InRace,
) -> dict[str, str]:
    """Net -> why, for those whose upper end is below the best trained net on every target they are in for.

    `trained`: net -> top-1 at this rung.
    """
    found = {}
    for name, predicted in predictions.items():
        bests = []
        for members in in_race.values():
            if name in members:
                rivals = [each for each in trained if each in members]
                bests.append(max(rivals, key=lambda each: trained[each], default=None))
        if bests and all(best is not None and predicted.high < trained[best] for best in bests):
            best = bests[0]
            assert best is not None
            found[name] = (
                f"predicted {predicted.top1:.1f}% ({predicted.low:.1f} to {predicted.high:.1f}), "
                f"below {best} with {trained[best]:.1f}%"
            )
    return found


def go_on(trained: Mapping[str, float], in_race: InRace, *, finalists: int, shrink: int) -> tuple[str, ...]:
    """The nets of the next rung: of each target the best one in `shrink`, at least the finalists."""
    kept: set[str] = set()
    for members in in_race.values():
        ranked = sorted(
            (name for name in trained if name in members), key=lambda name: (-trained[name], name)
        )
        kept.update(ranked[: max(finalists, math.ceil(len(ranked) / shrink))])
    return tuple(name for name in trained if name in kept)
