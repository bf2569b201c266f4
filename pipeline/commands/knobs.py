"""The families' knobs as command line options, made from the registry. Imports click and the registry alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from models.registry import FAMILIES, Knob


def knob_options(*, without: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that adds one option a knob, for every family's knobs together.

    An option that was not given is None, so that `given_knobs` can tell and the family's own default holds.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for name, users in reversed(_knobs().items()):
            if name not in without:
                function = _option(name, users)(function)
        return function

    return decorate


def given_knobs(options: dict[str, Any]) -> dict[str, Any]:
    """The knobs among a command's options that were given."""
    known = _knobs()
    return {name: value for name, value in options.items() if name in known and value is not None}


def _knobs() -> dict[str, dict[str, Knob]]:
    """Knob name -> family -> the knob, in the registry's order."""
    knobs: dict[str, dict[str, Knob]] = {}
    for family, spec in FAMILIES.items():
        for knob in spec.knobs:
            knobs.setdefault(knob.name, {})[family] = knob
    return knobs
