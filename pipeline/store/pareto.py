"""The Pareto front: files that no comparable file measurably beats in size, latency and accuracy."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline.records.measurement import Setting, kind_of_delegate
from pipeline.records.phone_verification import MIN_AGREEMENT
from pipeline.records.report_row import ReportRow
from pipeline.sessions import SessionSpread
from pipeline.store.rows import ReportRows

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
    competing = _competing(rows)
    conditions = list(zip(*(rows.column(name) for name in (*_IMAGES, *_SETTING)), strict=True))
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for place in competing.tolist():
        groups[conditions[place]].append(place)
    merged: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for found, members in groups.items():
        images, setting = found[: len(_IMAGES)], _setting(found[len(_IMAGES) :])
        merged[(*images, setting)].extend(members)
    everything = _contest(rows)
    rank = np.full(len(rows), -1)
    rank[competing] = _ranks(rows, competing)
    best: set[int] = set()
    for (*_, num_samples, setting), members in merged.items():
        places = np.array(members)[np.argsort(rank[members])]
        contest = everything.of(places, num_images=int(num_samples or 0), spread=spreads.get(setting))
        best.update(places[undominated(len(places), contest.beats)].tolist())
    return rows.with_best(best)


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
    num_images: int = 0
    spread: SessionSpread | None = None

    def of(self, places: Places, *, num_images: int, spread: SessionSpread | None) -> _Contest:
        """The contest of the rows at these places."""
        arrays = {each.name: getattr(self, each.name) for each in fields(self)}
        some = {name: found[places] for name, found in arrays.items() if isinstance(found, np.ndarray)}
        return _Contest(**some, num_images=num_images, spread=spread)

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
        slower = -gap > np.where(known, noise, UNSTEADY)
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


def _contest(rows: ReportRows) -> _Contest:
    """The figures of all rows, of which those of one group compete."""
    size, median, noise, top1, agreement = (
        _numbers(rows, name) for name in ("size_bytes", "median_ms", "noise_ms", "tflite_top1", "agreement")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        log_median, share_of_median = np.log(median), np.where(median > 0, noise / median, noise)
    return _Contest(
        size=size,
        log_median=log_median,
        noise=share_of_median,
        share=top1 / 100,
        disagreement=1 - agreement / 100,
        session=_numbered(rows.sessions()),
        parent=_numbered(rows.column("parent_sha256")),
    )


def _numbers(rows: ReportRows, name: str) -> Numbers:
    return np.array(rows.column(name), np.float64)


def _numbered(names: Sequence[object]) -> Places:
    """A number for each name; -1 for None."""
    numbers: dict[object, int] = {None: -1}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)


def _competing(rows: ReportRows) -> Places:
    """The places of the rows with a valid latency, a size, an accuracy, and right labels on their phone."""
    competes = _numbers(rows, "valid") == 1
    for name in _COMPARED:
        competes &= ~np.isnan(_numbers(rows, name))
    return np.flatnonzero(competes & ~(_numbers(rows, "phone_agreement") < MIN_AGREEMENT))


def _ranks(rows: ReportRows, places: Places) -> Places:
    """Each place's rank by size, latency and accuracy, so that the rows' order does not matter."""
    files = rows.column("sha256")
    numbers = {sha256: number for number, sha256 in enumerate(sorted(set(files)))}
    size, median, top1 = (_numbers(rows, name)[places] for name in _COMPARED)
    order = np.lexsort((np.array([numbers[each] for each in files])[places], -top1, median, size))
    ranks = np.empty(len(places), np.int64)
    ranks[order] = np.arange(len(places))
    return ranks


@cache
def _setting(conditions: tuple[Any, ...]) -> Setting:
    found = dict(zip(_SETTING, conditions, strict=True))
    delegate, flags = found["delegate"], json.loads(str(found["extra_flags"]))
    kind = None if delegate is None else kind_of_delegate(str(delegate))
    return Setting(**{**found, "delegate": kind, "extra_flags": tuple(flags)})


_COMPARED = ("size_bytes", "median_ms", "tflite_top1")
_IMAGES = ("dataset_fingerprint", "split", "num_samples")
_SETTING = (
    "where",
    "machine",
    "runtime",
    "runtime_version",
    "delegate",
    "num_threads",
    "cores",
    "extra_flags",
)
