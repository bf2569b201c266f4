"""Builds a data set from images, classes and splits, or says why it cannot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.data import splits
from pipeline.data.dataset import Dataset, class_counts
from pipeline.data.looks import in_other_parts
from pipeline.data.reader import Source
from pipeline.data.spec import SPLITS, ClassCount, DatasetSpec, LeftOut, ReadSettings
from spelling import counted, some


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
    examples: Sequence[splits.Example],
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
    kept = [place for place, split in enumerate(assigned.splits) if split]
    of_kept = [str(assigned.splits[place]) for place in kept]
    labels = [examples[place].label for place in kept]
    held = [(number, split) for label, split in zip(labels, of_kept, strict=True) for number in sets[label]]
    counts = class_counts(names, [number for number, _ in held], [split for _, split in held])
    totals = {split: of_kept.count(split) for split in SPLITS}
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
        fingerprint=splits.fingerprint(
            (split, set_names[label], examples[place].digest)
            for place, split, label in zip(kept, of_kept, labels, strict=True)
        ),
        mirror_keeps_labels=described.mirror_keeps_labels,
        background=described.background,
        left_out=described.left_out + assigned.left_out,
        converted=described.converted,
        hint_to_classes=described.hint_to_classes,
        notes=notes + tuple(_lopsided(counts)) + tuple(_straddling(examples, kept, of_kept)),
    )
    return Dataset(
        spec,
        source_of(kept),
        labels=labels,
        splits=of_kept,
        settings=settings,
        label_sets=described.label_sets,
    )


def _straddling(examples: Sequence[splits.Example], kept: Sequence[int], of_kept: Sequence[str]) -> list[str]:
    """What to say of groups, and of images that look alike, in two splits."""
    notes = []
    found: list[tuple[int, int]] = []
    of_class: dict[int, list[int]] = defaultdict(list)
    for number, place in enumerate(kept):
        of_class[examples[place].label].append(number)
    for numbers in of_class.values():
        looks = [examples[kept[each]].look for each in numbers]
        there = in_other_parts(looks, [of_kept[each] for each in numbers])
        found += [(numbers[one], numbers[other]) for one, other in there]
    if found:
        one, other = (examples[kept[number]].path for number in min(found))
        notes.append(
            f"{len(found)} images look like one in another split, such as {one} and "
            f"{other}: copies or frames of a scene make the accuracy too high. --group-by keeps them together"
        )
    where: dict[str, set[str]] = defaultdict(set)
    for place, split in zip(kept, of_kept, strict=True):
        if (group := examples[place].group) is not None:
            where[group].add(split)
    torn = [group.replace("\0", " ") for group, there in where.items() if len(there) > 1]
    if torn:
        notes.append(
            f"{counted(len(torn), 'group')} of --group-by in two splits by their folders: "
            f"{some(sorted(torn))}"
        )
    if where:
        alone = sum(examples[place].group is None for place in kept)
        rest = f"; it finds nothing in {alone:,} images, which are alone" if alone else ""
        notes.append(f"--group-by finds {counted(len(where), 'group')}{rest}")
    return notes


def _lopsided(counts: Sequence[ClassCount]) -> list[str]:
    return [
        f"class '{count.name}' has no {split} image"
        for count in counts
        for split in ("validation", "test")
        if not getattr(count, split)
    ]
