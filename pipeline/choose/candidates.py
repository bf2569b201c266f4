"""The nets and precisions to choose from: every family's own grid, narrowed by options. No Keras."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.precisions import Precision
from models.errors import KnobError
from models.registry import FAMILIES, family_of, label, resolve
from pipeline.choose.settings import ChooseSettings
from pipeline.errors import UsageError
from pipeline.runs import model_name
from spelling import some

OWN = "own"
"""The family of a model of the user's own."""


@dataclass(frozen=True, kw_only=True)
class Net:
    """A net to train, or a trained one of the user's own."""

    name: str
    """Its label, such as mobilenet_alpha0.5_160."""
    family: str
    """OWN for a model of the user's own."""
    knobs: Mapping[str, Any] = field(default_factory=dict)
    """Those of the grid and the options, without the number of classes."""
    built: Mapping[str, Any] | None = None
    """Those of the net that is trained, where the weights that it starts from have their own."""
    path: Path | None = None
    """Of a model of the user's own."""

    def resolved(self, num_classes: int) -> dict[str, Any]:
        """Every knob of the net that is trained, for so many classes."""
        return resolve(self.family, {**(self.built or self.knobs), "num_classes": num_classes})

    @property
    def is_own(self) -> bool:
        """Whether it is a trained model of the user's own."""
        return self.path is not None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A net in a precision: a file that could ship."""

    net: Net
    precision: Precision

    @property
    def name(self) -> str:
        """Such as 'mobilenet_alpha0.5_160 int8'."""
        return f"{self.net.name} {self.precision}"


def grid_of(settings: ChooseSettings, *, image_size: int | None) -> tuple[Net, ...]:
    """The nets of the families' grids and the user's own, no net twice.

    `image_size` is that of images which all have one small size, and takes the place of the grid's. Raises
    UsageError for a knob that no family has, and KnobError for a value out of range.
    """
    families = [family_of(name).name for name in settings.families] or list(FAMILIES)
    _check_known(settings.knobs, families)
    nets: dict[str, Net] = {}
    refused: KnobError | None = None
    for family in families:
        try:
            narrowed = _narrowed(family, settings.knobs, image_size)
        except KnobError as error:  # a value that another family may take
            refused = error
            continue
        for knobs in narrowed:
            name = label(family, knobs)
            nets.setdefault(name, Net(name=name, family=family, knobs=knobs))
    if refused is not None and not nets:
        raise refused
    for path in settings.also:
        if not path.exists():
            raise UsageError(f"--also {path}: there is no such file. Give a .keras or .h5 file.")
        name = model_name(path)
        if name in nets:
            raise UsageError(f"--also {path}: '{name}' is the name of another candidate. Rename the file.")
        nets[name] = Net(name=name, family=OWN, path=path)
    return tuple(nets.values())


def candidates(nets: Iterable[Net], precisions: Sequence[Precision]) -> tuple[Candidate, ...]:
    """Every net in every precision."""
    return tuple(Candidate(net=net, precision=each) for net in nets for each in precisions)


def _check_known(given: Mapping[str, tuple[str, ...]], families: Sequence[str]) -> None:
    known = {knob.name for family in families for knob in family_of(family).all_knobs}
    for name in given:
        if name not in known:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} is no setting of {some(families, most=9)}. Leave it out, or add its family to "
                "--families."
            )


def _narrowed(
    family: str, given: Mapping[str, tuple[str, ...]], image_size: int | None
) -> Iterable[dict[str, Any]]:
    """The grid's knobs, with the given values instead of its own."""
    row = family_of(family)
    names = {knob.name for knob in row.all_knobs}
    axes = {
        name: [row.knob(name).parse(text) for text in texts] for name, texts in given.items() if name in names
    }
    if image_size is not None:
        axes.setdefault("image_size", [image_size])
    valid, refused = [], None
    for knobs in row.grid:
        for values in itertools.product(*axes.values()):
            asked = {**knobs, **dict(zip(axes, values, strict=True))}
            try:
                resolve(family, asked)
            except KnobError as error:  # such as variant with depth: another row of the grid takes it
                refused = error
                continue
            valid.append(asked)
    if not valid and refused is not None:
        raise refused
    return valid
