"""The images of a listing after the scan, in arrays: what a million of them take must fit in memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.listing import Group, Listing
from pipeline.data.scan import scan
from pipeline.data.spec import SPLITS, LeftOut, Progress, ReadSettings
from pipeline.data.splits import NONE, in_order
from pipeline.data.tree import shown, within

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class ScannedImages:
    """Images that were read, one a row."""

    paths: Sequence[str]
    rows: npt.NDArray[np.void]
    """As scan_cache.ROW."""
    group: npt.NDArray[np.int64]
    """The place of each in `groups`."""
    groups: Sequence[Group]
    """Classes and splits; their paths are not used."""
    roots: Sequence[Path | None]
    """For each group the folder below which its paths are shown; None: whole."""

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes with an image, in the order of their names."""
        used = [self.groups[number] for number in np.unique(self.group).tolist()]
        return tuple(sorted({name for group in used for name in group.labels}))

    def shown(self, place: int) -> str:
        """An image's path for messages."""
        root, path = self.roots[self.group[place]], Path(self.paths[place])
        return within(root, path) if root else shown(path)

    def with_others(self, others: ScannedImages) -> ScannedImages:
        """These images, then the others."""
        return ScannedImages(
            paths=[*self.paths, *others.paths],
            rows=np.concatenate([self.rows, others.rows]),
            group=np.concatenate([self.group, others.group + len(self.groups)]),
            groups=[*self.groups, *others.groups],
            roots=[*self.roots, *others.roots],
        )

    def in_order(self) -> ScannedImages:
        """The images in the order of the hashes of their contents, which mixes the classes, then of paths."""
        order = in_order(self.rows["sha256"])
        digests = self.rows["sha256"][order]
        same = np.flatnonzero((digests[1:] == digests[:-1]).all(axis=1))
        for run in np.split(same, np.flatnonzero(np.diff(same) > 1) + 1) if len(same) else ():
            copies = order[run[0] : run[-1] + 2]
            copies[:] = sorted(copies.tolist(), key=self.paths.__getitem__)
        return replace(
            self,
            paths=[self.paths[place] for place in order.tolist()],
            rows=self.rows[order],
            group=self.group[order],
        )

    def numbered(
        self, class_names: Sequence[str]
    ) -> tuple[tuple[tuple[int, ...], ...], npt.NDArray[np.int64]]:
        """The sets of classes, and the place of each image's set; if all have one class, its number."""
        number_of = {name: number for number, name in enumerate(class_names)}
        used = np.unique(self.group).tolist()
        held = {each: tuple(sorted(number_of[name] for name in self.groups[each].labels)) for each in used}
        sets = sorted({*held.values(), *((number,) for number in range(len(class_names)))})
        place = {each: number for number, each in enumerate(sets)}
        of_group = np.zeros(len(self.groups), np.int64)
        for number, each in held.items():
            of_group[number] = place[each]
        return tuple(sets), of_group[self.group]

    def fixed(self, *, may_divide_train: bool) -> npt.NDArray[np.int8]:
        """The place in SPLITS of each image's split; NONE if its content decides, as of train for another."""
        free = {None, "train"} if may_divide_train else {None}
        of_group = [NONE if each.fixed in free else SPLITS.index(str(each.fixed)) for each in self.groups]
        return np.asarray(of_group, np.int8)[self.group]


def scanned_images(
    listing: Listing,
    root: Path,
    settings: ReadSettings,
    progress: Progress | None,
    *,
    source: Path | None = None,
    below: bool = True,
) -> ScannedImages:
    """The images of the listing; files that are none are listed as left out.

    `source` is the table or archive that lists them, and `below` whether they are shown as below `root`.
    """
    groups = listing.files.groups
    paths = list(itertools.chain.from_iterable(group.paths for group in groups))
    found = scan(root, paths, source=source, num_threads=settings.num_threads, progress=progress)
    group = np.repeat(np.arange(len(groups)), [len(group.paths) for group in groups])
    listing.left_out += [
        LeftOut(path=within(root, Path(paths[place])) if below else shown(paths[place]), reason=reason)
        for place, reason in found.refused.items()
    ]
    rows = found.rows
    if found.refused:
        good = np.flatnonzero(rows["is_known"])
        paths, rows, group = [paths[place] for place in good.tolist()], rows[good], group[good]
    return ScannedImages(
        paths=paths,
        rows=rows,
        group=group,
        groups=[replace(each, paths=[]) for each in groups],
        roots=[root if below else None] * len(groups),
    )
