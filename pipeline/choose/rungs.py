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
ANCHORS = 3
"""Nets of each family that are trained first: the smallest, a middle one and the largest."""


def rung_epochs(epochs: int, *, num_nets: int, finalists: int, shrink: int) -> tuple[int, ...]:
    """The epochs that each rung trains to, the last one to the end; one rung if all nets are finalists."""
    num_rungs, left = 1, num_nets
    while left > finalists:
        num_rungs, left = num_rungs + 1, max(finalists, math.ceil(left / shrink))
    ends = [math.ceil(epochs / shrink**power) for power in range(num_rungs - 1, -1, -1)]
    return tuple(dict.fromkeys(max(1, each) for each in ends))


def anchors(nets: Sequence[Net], macs: Mapping[str, int]) -> tuple[Net, ...]:
    """The nets to train first, spread over the mult-adds of each family; all of a small family."""
    found: list[Net] = []
    for family in dict.fromkeys(net.family for net in nets):
        members = sorted((net for net in nets if net.family == family), key=lambda net: macs[net.name])
        last = len(members) - 1
        places = dict.fromkeys(round(last * place / (ANCHORS - 1)) for place in range(ANCHORS))
        found += [members[place] for place in places]
    return tuple(found)


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
