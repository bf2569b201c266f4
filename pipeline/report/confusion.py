"""What a file gets wrong: computed from its predictions on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.check.paired import CHANCE_P, mcnemar_p
from export.check.predictions import Predictions, Side
from pipeline.store.predictions import KeptPredictions

Counts = npt.NDArray[np.int64]
NUM_BINS = 10
"""Of the reliability curve."""


@dataclass(frozen=True, kw_only=True)
class ClassFigures:
    """How well one class, or label, is found."""

    name: str
    count: int
    """Images that are of the class."""
    predicted: int
    """Images that are called so."""
    right: int

    @property
    def precision(self) -> float | None:
        """Percent of the images called so that are; None if none is called so."""
        return 100 * self.right / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        """Percent of the images of the class that are called so; None without such an image."""
        return 100 * self.right / self.count if self.count else None


@dataclass(frozen=True, kw_only=True)
class ConfusedPair:
    """Images of one class that are taken for another."""

    truth: int
    label: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Images whose probabilities lie in one interval."""

    low: float
    high: float
    count: int
    probability: float
    """Their mean, 0 to 1."""
    share_right: float
    """0 to 1."""


@dataclass(frozen=True, kw_only=True)
class PairedChange:
    """Two predictions on the same images, compared by McNemar's exact test."""

    num_images: int
    only_before: int
    """Images that the first alone gets right."""
    only_after: int

    @property
    def points(self) -> float:
        """Percentage points of top-1 that the second has more."""
        return 100 * (self.only_after - self.only_before) / self.num_images

    @property
    def p(self) -> float:
        """Two-sided."""
        return mcnemar_p(self.only_before, self.only_after)

    @property
    def is_distinguishable(self) -> bool:
        """Whether chance alone would rarely make them differ as much."""
        return self.p < CHANCE_P

    def against(self, other: str) -> str:
        """'loses 0.30 points against Keras: 1 of 338 images (1 lost, 0 gained; p = 1), not ...'."""
        net = self.only_after - self.only_before
        images = f"{self.num_images:,} images"
        if not self.only_after and not self.only_before:
            return f"gets the same of {images} right as {other}"
        pair = f"({self.only_before:,} lost, {self.only_after:,} gained; p = {p_text(self.p)})"
        if not net:
            return f"gets as many of {images} right as {other} {pair}, not distinguishable"
        verb, verdict = "gains" if net > 0 else "loses", "" if self.is_distinguishable else "not "
        points = f"{verb} {abs(self.points):.2f} points against {other}: {abs(net):,} of {images}"
        return f"{points} {pair}, {verdict}distinguishable"


def p_text(p: float) -> str:
    """'0.31', '0.0042' or 'below 0.0001'."""
    return "below 0.0001" if p < 0.0001 else f"{p:.2g}"


def confusion_matrix(kept: KeptPredictions) -> Counts:
    """(classes, classes + 1): true class by predicted one; the last column counts answers that are no
    number. As scikit-learn's, of classes that exclude each other.
    """
    num = len(kept.class_names)
    cells = kept.found.truth * (num + 1) + np.where(kept.found.file.label < 0, num, kept.found.file.label)
    return np.bincount(cells, minlength=num * (num + 1)).reshape(num, num + 1).astype(np.int64)


def class_figures(kept: KeptPredictions) -> tuple[ClassFigures, ...]:
    """Of each class, or of each label with its own yes or no."""
    found = kept.found
    if found.held is not None and found.file.said is not None:
        counts, said = found.held.sum(axis=0), found.file.said.sum(axis=0)
        right = (found.held & found.file.said).sum(axis=0)
    else:
        matrix = confusion_matrix(kept)
        counts, said, right = matrix.sum(axis=1), matrix.sum(axis=0)[:-1], np.diagonal(matrix)
    return tuple(
        ClassFigures(name=name, count=int(count), predicted=int(called), right=int(hits))
        for name, count, called, hits in zip(kept.class_names, counts, said, right, strict=True)
    )


def confused_pairs(kept: KeptPredictions) -> tuple[ConfusedPair, ...]:
    """All pairs of classes that are confused, the most often first."""
    matrix = confusion_matrix(kept)[:, :-1].copy()
    np.fill_diagonal(matrix, 0)
    pairs = [
        ConfusedPair(truth=int(truth), label=int(label), count=int(matrix[truth, label]))
        for truth, label in np.argwhere(matrix)
    ]
    return tuple(sorted(pairs, key=lambda each: (-each.count, each.truth, each.label)))


def right_of(found: Predictions, side: Side) -> npt.NDArray[np.bool_]:
    """(n,): whether each image is given its class, or all of its labels."""
    if found.held is not None and side.said is not None:
        right: npt.NDArray[np.bool_] = (found.held == side.said).all(axis=1)
        return right
    same: npt.NDArray[np.bool_] = side.label == found.truth
    return same


def confident_mistakes(kept: KeptPredictions, most: int) -> Sequence[int]:
    """The numbers of the images that are wrong with the highest probabilities, those first."""
    found = kept.found
    wrong = np.flatnonzero(~right_of(found, found.file) & np.isfinite(found.file.probability))
    order = np.argsort(-found.file.probability[wrong], kind="stable")
    return [int(each) for each in wrong[order][:most]]


def disagreements(kept: KeptPredictions, other: Side) -> Sequence[int]:
    """The numbers of the images where the file and the other give different answers, the surest first."""
    file = kept.found.file
    if file.said is not None and other.said is not None:
        differ = (file.said != other.said).any(axis=1)
    else:
        differ = file.label != other.label
    places = np.flatnonzero(differ)
    sure = np.nan_to_num(np.maximum(file.probability, other.probability))
    return [int(each) for each in places[np.argsort(-sure[places], kind="stable")]]


def reliability(kept: KeptPredictions, num_bins: int = NUM_BINS) -> tuple[Bin, ...]:
    """The reliability curve: bins of equal width of the probability that the file gives its answer.

    Guo et al. 2017, section 2, arXiv:1706.04599. Bins without an image are left out.
    """
    file, right = kept.found.file, right_of(kept.found, kept.found.file)
    known = np.isfinite(file.probability)
    sure, right = file.probability[known].astype(np.float64), right[known]
    places = np.clip(np.ceil(sure * num_bins).astype(np.int64) - 1, 0, num_bins - 1)  # (low, high]
    found = []
    for place in np.unique(places):
        inside = places == place
        found.append(
            Bin(
                low=int(place) / num_bins,
                high=(int(place) + 1) / num_bins,
                count=int(inside.sum()),
                probability=float(sure[inside].mean()),
                share_right=float(right[inside].mean()),
            )
        )
    return tuple(found)


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """The expected calibration error, 0 to 1: the mean over the images of |share right - probability|."""
    total = sum(each.count for each in bins)
    if not total:
        return None
    return sum(each.count * abs(each.share_right - each.probability) for each in bins) / total


def paired_change(kept: KeptPredictions, other: Side) -> PairedChange | None:
    """The file after the other on the same images; None for labels, which have no top-1."""
    if kept.is_of_labels:
        return None
    before, after = (right_of(kept.found, side) for side in (other, kept.found.file))
    return PairedChange(
        num_images=len(before),
        only_before=int((before & ~after).sum()),
        only_after=int((after & ~before).sum()),
    )


def are_of_the_same_images(one: KeptPredictions, other: KeptPredictions) -> bool:
    """Whether two files were asked about the same images of the same classes."""
    return (
        (one.dataset_fingerprint, one.split, one.class_names)
        == (other.dataset_fingerprint, other.split, other.class_names)
        and one.images == other.images
        and np.array_equal(one.found.truth, other.found.truth)
    )
