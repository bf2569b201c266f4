"""The families' knobs as command line options, made from the registry. No Keras is imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from models.knobs import Knob
from models.registry import FAMILIES, spec


def knob_options(*, without: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that adds one option a knob, for every family's knobs together.

    An option that was not given is None, so that `given_knobs` can tell and the family's own default holds.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for name, users in reversed(_knobs().items()):
            if name not in without:
                function = _option(users)(function)
        return function

    return decorate


def given_knobs(family: str, options: dict[str, Any]) -> dict[str, Any]:
    """The knobs of the family among a command's options that were given, in their own types.

    Raises models.errors.KnobError for an unknown family, another family's knob, or a value out of range.
    """
    given = {name: options[name] for name in _knobs() if options.get(name) is not None}
    row = spec(family)
    return {
        name: row.knob(name).parse(value) if isinstance(value, str) else row.knob(name).check(value)
        for name, value in given.items()
    }


def _knobs() -> dict[str, dict[str, Knob]]:
    """Knob name -> family -> the knob; each family's own first, then those that all share."""
    knobs: dict[str, dict[str, Knob]] = {}
    for own in (True, False):
        for family, row in FAMILIES.items():
            for knob in row.all_knobs:
                if (knob in row.knobs) is own:
                    knobs.setdefault(knob.name, {})[family] = knob
    return knobs


def _option(users: dict[str, Knob]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    knob = next(iter(users.values()))
    flag = "--" + knob.name.replace("_", "-")
    if knob.type is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", knob.name, default=None, help=_help(users))
    metavar = "|".join(knob.choices) if knob.choices else {int: "N", float: "X", tuple: "X|R,G,B"}[knob.type]
    return click.option(flag, knob.name, metavar=metavar, help=_help(users))


def _help(users: dict[str, Knob]) -> str:
    knob = next(iter(users.values()))
    defaults = {family: each.default for family, each in users.items()}
    who = "" if len(users) == len(FAMILIES) else f"{', '.join(users)}: "
    if set(defaults.values()) == {None}:
        return who + knob.help
    if len(set(defaults.values())) == 1:
        shown = str(knob.default)
    else:
        shown = ", ".join(f"{value} {family}" for family, value in defaults.items())
    return f"{who}{knob.help}  [default: {shown}]"
