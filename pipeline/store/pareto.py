"""The Pareto front: files that no comparable file measurably beats in size, latency and accuracy."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline.records.measurement import Setting, kind_of_delegate
from pipeline.records.phone_verification import MIN_AGREEMENT
from pipeline.records.report_row import COLUMNS, ReportRow
from pipeline.sessions import SessionSpread
from pipeline.store.rows import PLACES, ReportRows

Places: TypeAlias = npt.NDArray[np.int64]
Numbers: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]

TWO_SIDED_5_PERCENT = 1.96
"""Standard errors."""
UNSTEADY = 0.25
"""Noise above this share of the latency is too wide to compare with."""


def mark_pareto(rows: Sequence[ReportRow], spreads: Mapping[Setting, SessionSpread]) -> ReportRows:
    """The rows, with `pareto` set on the undominated ones. `spreads`: Store.session_spreads().

    Comparable rows have the same data set, samples and setting. Rows without a valid latency, a size or an
    accuracy are left out, and rows whose phone gave wrong labels.

    A row dominates another if it is not larger, not measurably slower and not measurably less accurate, and
    is smaller, measurably faster or measurably more accurate.
    """
    rows = ReportRows.of(rows)
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for place, figures in enumerate(rows.figures):
        if _competes(figures):
            groups[tuple(figures[each] for each in _CONDITIONS)].append(place)
    merged: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for members in groups.values():
        setting = _setting(rows.figures[members[0]])
        merged[(*(rows.figures[members[0]][each] for each in _IMAGES), setting)].extend(members)
    sessions = rows.sessions()
    best: set[int] = set()
    for members in merged.values():
        members.sort(key=lambda place: _order(rows.figures[place]))
        spread = spreads.get(_setting(rows.figures[members[0]]))
        contest = _contest([rows.figures[place] for place in members], [sessions[place] for place in members])
        found = undominated(len(members), replace(contest, spread=spread).beats)
        best.update(members[place] for place in found)
    return ReportRows(rows.figures, folder=rows.folder, best=frozenset(best))


def undominated(num: int, beats: Callable[[Places, Places], Mask]) -> list[int]:
    """The places of things that do not dominate each other, one of which dominates each of the rest.

    Because of noise, dominance is not transitive. So the things that nothing dominates are taken first, what
    they dominate is dropped, and the rest is examined again. Never empty: of a cycle the first is taken.
    `beats(ones, others)` says for each pair whether the first dominates the second; either may be single.
    """
    kept: list[int] = []
    left = np.arange(num)
    while len(left):
        best = _unbeaten(left, beats)
        best = best if len(best) else left[:1]
        kept += best.tolist()
        left = left[~np.isin(left, best)]
        for each in best:
            left = left[~beats(np.array([each]), left)]
    return sorted(kept)


def _unbeaten(things: Places, beats: Callable[[Places, Places], Mask]) -> Places:
    """Those that none of the things beats.

    Most are beaten by one that is not beaten itself: what is left after that is tried against all.
    """
    suspects = things
    tried = 0
    while tried < len(suspects):
        beaten = beats(suspects[tried : tried + 1], suspects)
        tried += 1 - int(beaten[:tried].sum())
        suspects = suspects[~beaten]
    return suspects[[not beats(things, suspects[place : place + 1]).any() for place in range(len(suspects))]]


@dataclass(frozen=True, kw_only=True)
class _Contest:
    """The figures of comparable rows, by place; NaN where one is not known, -1 for no session or parent."""

    size: Numbers
    log_median: Numbers
    noise: Numbers
    """As a share of the median."""
    share: Numbers
    """Of the images that are right."""
    disagreement: Numbers
    """Share of the images with another label than the Keras model's."""
    session: Places
    parent: Places
    num_images: int
    spread: SessionSpread | None = None

    def beats(self, ones: Places, others: Places) -> Mask:
        """Whether each of the ones dominates its other."""
        ones, others = np.broadcast_arrays(ones, others)
        possible = self.size[ones] <= self.size[others]
        possible &= self.log_median[ones] - self.log_median[others] <= UNSTEADY
        possible &= self.share[ones] - self.share[others] >= -self._widest_chance()
        places = np.flatnonzero(possible)
        possible[places] = self._beats_close(ones[places], others[places])
        return np.asarray(possible)

    def _beats_close(self, ones: Places, others: Places) -> Mask:
        gap = self.log_median[others] - self.log_median[ones]
        noise = self._log_noise(ones, others)
        known = ~np.isnan(noise)
        faster = known & (gap > np.nan_to_num(noise))
        slower = np.where(known, -gap > np.nan_to_num(noise), gap < 0)
        chance = self._chance(ones, others)
        more = self.num_images * (self.share[ones] - self.share[others])
        better = (self.size[ones] < self.size[others]) | faster | (more - 1 > chance)
        return np.asarray(~slower & ~(-more - 1 > chance) & better)

    def _log_noise(self, ones: Places, others: Places) -> Numbers:
        """Half the 95% interval of the logarithm of the medians' ratio; NaN if it is unknown or too wide.

        For rows that were not measured in turns in one session it includes the spread between sessions.
        """
        between = math.nan if self.spread is None else self.spread.log_half_width
        in_turns = (self.session[ones] >= 0) & (self.session[ones] == self.session[others])
        whole = np.sqrt(
            self.noise[ones] ** 2 + self.noise[others] ** 2 + np.where(in_turns, 0.0, between) ** 2
        )
        return np.where(whole <= UNSTEADY, whole, math.nan)

    def _chance(self, ones: Places, others: Places) -> Numbers:
        """The difference in images that one is significantly more accurate by, but for the correction of 1.

        McNemar's test with continuity correction. The number of images on which only one row is right is not
        stored. If both rows have the same Keras model, its upper bound is the number on which either
        disagrees with the model; else independent samples are assumed.
        """
        variance = sum(self.share[each] * (1 - self.share[each]) for each in (ones, others))
        of_one_model = (self.parent[ones] >= 0) & (self.parent[ones] == self.parent[others])
        bound = np.where(of_one_model, self.disagreement[ones] + self.disagreement[others], math.nan)
        return np.asarray(TWO_SIDED_5_PERCENT * np.sqrt(self.num_images * np.fmin(variance, bound)))

    def _widest_chance(self) -> float:
        """The share of images above which any difference of accuracy is significant."""
        images = max(self.num_images, 1)
        return (1 + TWO_SIDED_5_PERCENT * math.sqrt(images / 2)) / images


def _contest(rows: Sequence[tuple[object, ...]], sessions: Sequence[str | None]) -> _Contest:
    """The contest of rows of one group."""
    size, median, noise, top1, agreement = (
        np.array([row[PLACES[name]] for row in rows], np.float64)
        for name in ("size_bytes", "median_ms", "noise_ms", "tflite_top1", "agreement")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        log_median, share_of_median = np.log(median), np.where(median > 0, noise / median, noise)
    return _Contest(
        size=size,
        log_median=log_median,
        noise=share_of_median,
        share=top1 / 100,
        disagreement=1 - agreement / 100,
        session=_numbered(sessions),
        parent=_numbered([row[PLACES["parent_sha256"]] for row in rows]),
        num_images=int(rows[0][PLACES["num_samples"]] or 0),  # type: ignore[call-overload]
    )


def _numbered(names: Sequence[object]) -> Places:
    """A number for each name; -1 for None."""
    numbers: dict[object, int] = {None: -1}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)


def _competes(row: tuple[object, ...]) -> bool:
    valid, agreement = row[PLACES["valid"]], row[PLACES["phone_agreement"]]
    return (
        bool(valid)
        and all(row[each] is not None for each in _COMPARED)
        and not (isinstance(agreement, int | float) and agreement < MIN_AGREEMENT)
    )


def _order(row: tuple[object, ...]) -> tuple[object, ...]:
    """Sort key by size, latency and accuracy, which makes the result independent of the rows' order."""
    size, median, top1 = (row[each] for each in _COMPARED)
    assert isinstance(top1, int | float)
    return size, median, -top1, row[PLACES["sha256"]]


def _setting(row: tuple[object, ...]) -> Setting:
    found = dict(zip(COLUMNS, row, strict=True))
    delegate, flags = found["delegate"], json.loads(str(found["extra_flags"]))
    kind = None if delegate is None else kind_of_delegate(str(delegate))
    names = ("where", "machine", "runtime", "runtime_version", "num_threads", "cores")
    return Setting(**{name: found[name] for name in names}, delegate=kind, extra_flags=tuple(flags))  # type: ignore[arg-type]


_COMPARED = tuple(PLACES[name] for name in ("size_bytes", "median_ms", "tflite_top1"))
_IMAGES = tuple(PLACES[name] for name in ("dataset_fingerprint", "split", "num_samples"))
_CONDITIONS = (
    *_IMAGES,
    *(
        PLACES[name]
        for name in (
            "where",
            "machine",
            "runtime",
            "runtime_version",
            "delegate",
            "num_threads",
            "cores",
            "extra_flags",
        )
    ),
)
