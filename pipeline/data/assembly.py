"""Builds a data set from images, classes and splits, or says why it cannot."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data import splits
from pipeline.data.dataset import Dataset, class_counts
from pipeline.data.looks import in_other_parts
from pipeline.data.reader import Source
from pipeline.data.spec import SPLITS, ClassCount, DatasetSpec, LeftOut, ReadSettings
from spelling import counted, some

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Described:
    """Facts about a data set besides its images, and what was found while reading them."""

    name: str
    source: str
    class_names: tuple[str, ...]
    label_sets: tuple[tuple[int, ...], ...] | None = None
    """For images of several labels: the classes of each label of an example. None: a label is a class."""
    image_size: int | None
    smaller_side: int | None = None
    licence: str = "unknown"
    mirror_keeps_labels: bool = True
    background: int = 128
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    converted: dict[str, int] = field(default_factory=dict)
    hint_to_classes: str = ""
    """What to do about a single class, if the source tells."""


def assemble(
    described: Described,
    examples: splits.Examples,
    source_of: Callable[[Sequence[int]], Source],
    *,
    shares: Mapping[str, float],
    settings: ReadSettings,
) -> Dataset:
    """A data set of the examples; `source_of` returns the images of the kept ones, by their indices.

    Examples without a fixed split are divided by content into `shares`. Dataset.check_trainable() says
    whether there are enough classes and images to train on.
    """
    names = described.class_names
    sets = described.label_sets or tuple((number,) for number in range(len(names)))
    set_names = [" + ".join(names[number] for number in numbers) or "no label" for numbers in sets]
    assigned = splits.assign(examples, set_names, shares)
    kept = np.flatnonzero(assigned.splits != splits.NONE)
    codes, labels = assigned.splits[kept], examples.labels[kept]
    of_kept = np.asarray(SPLITS)[codes]
    if described.label_sets is None:
        counts = class_counts(names, labels, of_kept)
    else:
        held = [sets[label] for label in labels.tolist()]
        repeats = [len(numbers) for numbers in held]
        counts = class_counts(names, list(itertools.chain(*held)), np.repeat(of_kept, repeats))
    totals = dict(zip(SPLITS, np.bincount(codes, minlength=len(SPLITS)).tolist(), strict=True))
    notes = described.notes
    if assigned.num_copies:
        copies = counted(assigned.num_copies, "further copy", "further copies")
        notes += (f"{copies} of an image in its class and split",)
    spec = DatasetSpec(
        name=described.name,
        source=described.source,
        class_names=names,
        has_several_labels=described.label_sets is not None,
        image_size=described.image_size,
        smaller_side=described.smaller_side or described.image_size,
        num_train=totals["train"],
        num_validation=totals["validation"],
        num_test=totals["test"],
        class_counts=counts,
        licence=described.licence,
        fingerprint=splits.fingerprint(_parts(examples.digests[kept], codes, labels, set_names)),
        mirror_keeps_labels=described.mirror_keeps_labels,
        background=described.background,
        left_out=described.left_out + assigned.left_out,
        converted=described.converted,
        hint_to_classes=described.hint_to_classes,
        notes=notes + tuple(_lopsided(counts)) + tuple(_straddling(examples, assigned.splits)),
    )
    return Dataset(
        spec,
        source_of(kept.tolist()),
        labels=labels,
        splits=of_kept,
        settings=settings,
        label_sets=described.label_sets,
    )


def _parts(
    digests: npt.NDArray[np.uint8],
    codes: npt.NDArray[np.int8],
    labels: npt.NDArray[np.int64],
    names: Sequence[str],
) -> dict[tuple[str, str], npt.NDArray[np.uint8]]:
    """The digests of each split and class name."""
    part = labels * len(SPLITS) + codes
    order = np.argsort(part, kind="stable")
    numbers, starts = np.unique(part[order], return_index=True)
    found: dict[tuple[str, str], list[npt.NDArray[np.uint8]]] = defaultdict(list)
    ends = [*starts[1:].tolist(), len(order)]
    for number, start, end in zip(numbers.tolist(), starts.tolist(), ends[: len(numbers)], strict=True):
        label, code = divmod(number, len(SPLITS))
        found[SPLITS[code], names[label]].append(digests[order[start:end]])
    return {name: np.concatenate(each) for name, each in found.items()}


def _straddling(examples: splits.Examples, of_all: npt.NDArray[np.int8]) -> Iterator[str]:
    """What to say of groups, and of images that look alike, in two splits; `of_all` are places in SPLITS."""
    yield from _alike(examples, of_all)
    if examples.groups is None:
        return
    where: dict[str, set[int]] = defaultdict(set)
    alone = 0
    for group, code in zip(examples.groups, of_all.tolist(), strict=True):
        if code == splits.NONE:
            continue
        if group is None:
            alone += 1
        else:
            where[group].add(code)
    torn = [group.replace("\0", " ") for group, there in where.items() if len(there) > 1]
    if torn:
        yield (
            f"{counted(len(torn), 'group')} of --group-by in two splits by their folders: "
            f"{some(sorted(torn))}"
        )
    if where:
        rest = f"; it finds nothing in {alone:,} images, which are alone" if alone else ""
        yield f"--group-by finds {counted(len(where), 'group')}{rest}"


def _alike(examples: splits.Examples, of_all: npt.NDArray[np.int8]) -> Iterator[str]:
    """What to say of images of one class in two splits that look alike."""
    if examples.looks is None or examples.has_look is None:
        return
    compared = np.flatnonzero(examples.has_look & (of_all != splits.NONE))
    found = in_other_parts(examples.looks[compared], examples.labels[compared], of_all[compared])
    if len(found):
        one, other = map(examples.path, compared[found[0]].tolist())
        yield (
            f"{len(found):,} images look like one in another split, such as {one} and "
            f"{other}: copies or frames of a scene make the accuracy too high. --group-by keeps them together"
        )


def _lopsided(counts: Sequence[ClassCount]) -> list[str]:
    return [
        f"class '{count.name}' has no {split} image"
        for count in counts
        for split in ("validation", "test")
        if not getattr(count, split)
    ]
