"""The families' knobs as command line options, from the registry. Does not import Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from models.knobs import Knob
from models.registry import FAMILIES, family_of
from pipeline.errors import UsageError


def knob_options(*, without: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that adds one option per knob, for the knobs of all families.

    An option that was not given is None: `given_knobs` then leaves it out and the family's default is used.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for name, users in reversed(_knobs().items()):
            if name not in without:
                function = _option(users)(function)
        return function

    return decorate


def knob_list_options(*, without: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that adds one option per knob, which takes several values: --alpha 0.25,0.5."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for name, users in reversed(_knobs().items()):
            if name not in without:
                flag = "--" + name.replace("_", "-")
                families = "" if len(users) == len(FAMILIES) else f"{', '.join(users)}: "
                text = f"{families}these values instead of the grid's."
                function = click.option(flag, name, metavar="V[,V]", help=text)(function)
        return function

    return decorate


def given_lists(options: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """The values, as text, of the knobs that were given with knob_list_options."""
    given = {name: options[name] for name in _knobs() if options.get(name) is not None}
    found = {name: tuple(filter(None, map(str.strip, text.split(",")))) for name, text in given.items()}
    for name, values in found.items():
        if not values:
            raise UsageError(f"--{name.replace('_', '-')} is empty. Give one or more values: 0.25,0.5.")
    return found


def given_knobs(family: str, options: dict[str, Any]) -> dict[str, Any]:
    """The family's knobs that were given among a command's options, converted to their types.

    Raises models.errors.KnobError for an unknown family, another family's knob, or a value out of range.
    """
    given = {name: options[name] for name in _knobs() if options.get(name) is not None}
    row = family_of(family)
    return {
        name: row.knob(name).parse(value) if isinstance(value, str) else row.knob(name).check(value)
        for name, value in given.items()
    }


def recipe_values(setting: str) -> str:
    """The families' recipe values of a setting, largest first, such as '1 squeezenet; 0 mobilenet'."""
    values = {name: getattr(family.recipe, setting) for name, family in FAMILIES.items()}
    ordered = dict(sorted(values.items(), key=lambda item: -item[1]))
    words = _by_family({name: f"{value:g}" for name, value in ordered.items()})
    return "; ".join(f"{value} {', '.join(names)}" for value, names in words.items())


def _knobs() -> dict[str, dict[str, Knob]]:
    """Knob name -> family -> the knob; family-specific knobs first, then shared ones."""
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
    """The knob's help, for each family with a different text, and its defaults."""
    about = _by_family({family: knob.about for family, knob in users.items()})
    if len(about) == 1:
        text = next(iter(about))
        text = text if len(users) == len(FAMILIES) else f"{', '.join(users)}: {text}"
    else:
        text = " ".join(f"{', '.join(families)}: {words}" for words, families in about.items())
    defaults = _by_family({family: words for family, knob in users.items() if (words := _default(knob))})
    if not defaults:
        return text
    if list(defaults.values()) == [list(users)]:
        shown = next(iter(defaults))
    else:
        shown = "; ".join(f"{words} {', '.join(families)}" for words, families in defaults.items())
    return f"{text}  [default: {shown}]"


def _default(knob: Knob) -> str:
    """The knob's default in words; empty without a default."""
    default = "" if knob.default is None else str(knob.default)
    return ", ".join([*(each.words for each in knob.defaults), *filter(None, [default])])


def _by_family(words: dict[str, str]) -> dict[str, list[str]]:
    """Text -> the families that have it."""
    families: dict[str, list[str]] = {}
    for family, each in words.items():
        families.setdefault(each, []).append(family)
    return families
