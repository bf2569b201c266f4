"""The training's options, each of which takes several values; derived from `pipeline train`'s own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from models.registry import FAMILIES
from pipeline.commands.train import command as train

NOT_SWEPT = ("family", "resume", "as_json")
YES, NO = "yes", "no"


class ListOf(click.ParamType[Any]):
    """Values of another type between commas, or a text that is kept whole; without repeats."""

    def __init__(self, kind: click.ParamType[Any], *, is_split: bool) -> None:
        self._kind, self._is_split = kind, is_split
        self.name = kind.name

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[Any, ...]:
        """The values in their order."""
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in str(value).split(",")] if self._is_split else [str(value)]
        if "" in words:
            self.fail(
                f"'{value}' has an empty place. Give values between commas, such as 0.25,0.5.", param, ctx
            )
        return tuple(dict.fromkeys(self._kind.convert(word, param, ctx) for word in words))


class _Switch(click.ParamType[Any]):
    name = "switch"

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> bool:
        if value not in (YES, NO):
            self.fail(f"'{value}' is neither {YES} nor {NO}.", param, ctx)
        return bool(value == YES)


def swept_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds every option of a training, each of which takes several values."""
    for parameter in reversed(train.params):
        if isinstance(parameter, click.Option) and parameter.name not in NOT_SWEPT:
            function = _swept(parameter)(function)
    return function


def swept_values(options: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The training's options that were given, with their values in order; removes them from `options`."""
    found = {}
    for parameter in train.params:
        given = options.pop(str(parameter.name), None) if parameter.name not in NOT_SWEPT else None
        if given:
            found[str(parameter.name)] = tuple(dict.fromkeys(value for each in given for value in each))
    return found


def _swept(option: click.Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    name, words = str(option.name), f"{option.help or ''}"
    if option.is_flag:
        declared = [f"--{name.replace('_', '-')}"]
        return click.option(
            *declared,
            name,
            type=ListOf(_Switch(), is_split=True),
            multiple=True,
            is_flag=False,
            flag_value=YES,
            metavar=f"[{YES},{NO}]",
            help=words,
        )
    is_split = _is_split(option)
    metavar = _one_of(option)
    several = f"{metavar}[,{metavar}...]" if is_split else metavar
    return click.option(
        *option.opts,
        name,
        type=ListOf(option.type, is_split=is_split),
        multiple=True,
        metavar=several,
        help=words + ("" if is_split else "  May be repeated."),
    )


def _one_of(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    return {"integer range": "N", "integer": "N"}.get(option.type.name, "X")


def _is_split(option: click.Option) -> bool:
    """Whether commas separate values: not in paths, texts and colours."""
    knobs = [knob for family in FAMILIES.values() for knob in family.all_knobs if knob.name == option.name]
    if knobs:
        return all(knob.type is not tuple for knob in knobs)
    return isinstance(option.type, click.Choice | click.IntRange | click.FloatRange)


def option_words(names: Sequence[str]) -> str:
    """Python names as options."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)
