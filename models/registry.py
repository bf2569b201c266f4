"""The families, and the values, labels and published figures for their knobs. Standard library only.

A family is a folder with a `family.py`, and one line of NAMES.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from models.errors import KnobError
from models.family import Family, PublishedFigure
from models.shared_knobs import LARGEST_SMALL_IMAGE
from spelling import did_you_mean

NAMES = (
    "squeezenet",
    "mobilenet",
    "densenet",
    "resnet",
)
"""The folders of models/ that are families."""
SMALLEST_IMAGENET_IMAGE = 32
"""With fewer pixels nothing is left after the stem and pooling layers of the ImageNet nets."""


def _family(name: str) -> Family:
    family: Family = importlib.import_module(f"models.{name}.family").FAMILY
    return family


FAMILIES: dict[str, Family] = {name: _family(name) for name in NAMES}


def family_of(name: str) -> Family:
    """The family with this name; KnobError with the nearest name if there is none."""
    if name not in FAMILIES:
        raise KnobError(
            f"unknown model '{name}'. {did_you_mean(name, FAMILIES)}Known: {', '.join(sorted(FAMILIES))}."
        )
    return FAMILIES[name]


def without_aliases(name: str, knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The given knobs, checked, with each alias such as MobileNet's rho replaced by its target knob.

    Raises KnobError for an unknown family or knob, a value out of range, or a knob given in two ways.
    """
    family = family_of(name)
    checked = {knob: family.knob(knob).check(value) for knob, value in knobs.items()}
    given: dict[str, Any] = {knob: value for knob, value in checked.items() if value is not None}
    for knob in family.all_knobs:
        if knob.alias is None or knob.name not in given:
            continue
        value, target = given.pop(knob.name), family.knob(knob.alias.knob)
        if target.name in given:
            raise KnobError(
                f"{knob.name} {value:g} and {target.name} {given[target.name]} are both given, and "
                f"{knob.name} means an {target.name} of {knob.alias.formula}. Give one of the two."
            )
        given[target.name] = target.check(knob.alias.value(value))
    return given


def resolve(name: str, knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Every knob of the family with its value: the given ones, checked, and defaults for the rest.

    An alias is replaced by its target knob. Resolving a result again gives the same result. Raises KnobError
    for an unknown family or knob, a value out of range, or knobs that contradict each other.
    """
    family = family_of(name)
    given = without_aliases(name, knobs)
    resolved: dict[str, Any] = {}
    for knob in family.all_knobs:
        if knob.alias is None:
            default = knob.default_with(given | resolved)
            resolved[knob.name] = given.get(knob.name, default)
    family.check(resolved)
    if resolved["stem"] == "imagenet" and resolved["image_size"] < SMALLEST_IMAGENET_IMAGE:
        raise KnobError(
            f"image_size {resolved['image_size']} is too small for the imagenet stem. "
            f"Give at least {SMALLEST_IMAGENET_IMAGE}, or stem 'small'."
        )
    return resolved


def chosen_stem(resolved: Mapping[str, Any]) -> str:
    """'imagenet' or 'small', from stem and image_size of resolved knobs."""
    if resolved["stem"] != "auto":
        return str(resolved["stem"])
    return "small" if resolved["image_size"] <= LARGEST_SMALL_IMAGE else "imagenet"


def label(name: str, knobs: Mapping[str, Any]) -> str:
    """A short name that is safe in file names, such as mobilenet_alpha0.5_160.

    Names the knobs that differ from their defaults, then the image size; not num_classes, which the data set
    decides.
    """
    family = family_of(name)
    resolved = resolve(name, knobs)
    parts = [family.short(resolved)]
    parts += [
        knob.label.format(resolved[knob.name])
        for knob in family.knobs
        if knob.label and resolved[knob.name] != knob.default
    ]
    if chosen_stem(resolved) != chosen_stem({**resolved, "stem": "auto"}):
        parts.append(f"{resolved['stem']}stem")
    parts += [knob.label for knob in family.common if knob.label and resolved[knob.name] != knob.default]
    return "_".join([*dict.fromkeys(parts), str(resolved["image_size"])])


def published_for(name: str, knobs: Mapping[str, Any]) -> tuple[PublishedFigure, ...]:
    """The published rows of exactly this model; empty if there are none.

    num_classes is compared too: a net for 10 classes is not the published one for 1000.
    """
    wanted = _compared(name, knobs)
    return tuple(row for row in family_of(name).published if _compared(name, row.knobs) == wanted)


def remarks(name: str, knobs: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence for each knob whose value is outside what its paper measured."""
    found = (knob.remark(knobs.get(knob.name)) for knob in family_of(name).all_knobs)
    return tuple(sentence for sentence in found if sentence)


def _compared(name: str, knobs: Mapping[str, Any]) -> dict[str, Any]:
    resolved = resolve(name, knobs)
    compared = {
        knob.name: resolved[knob.name]
        for knob in family_of(name).all_knobs
        if knob.changes_cost and knob.name in resolved
    }
    return compared | {"stem": chosen_stem(resolved)}
