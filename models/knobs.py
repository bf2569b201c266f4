"""A knob of a model: its name, its range, its default, and the check of a value. Standard library only."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from models.errors import KnobError
from spelling import did_you_mean

NUM_CHANNELS = 3
TRUE_WORDS = ("1", "true", "yes", "on")
FALSE_WORDS = ("0", "false", "no", "off")

KnobValue = int | float | bool | str | tuple[float, ...] | None

GIVEN = object()
"""In Default.when: any value of that knob."""


@dataclass(frozen=True, kw_only=True)
class Default:
    """A knob's default for certain values of other knobs."""

    value: Any
    when: Mapping[str, Any]
    """Knob name -> its required value; GIVEN for any value, None for no value."""

    @property
    def words(self) -> str:
        """Such as '48 with variant 161' or '1 without bottleneck'."""
        value = {True: "on", False: "off"}[self.value] if isinstance(self.value, bool) else self.value
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        conditions = []
        for name, wanted in self.when.items():
            with_or_without = "without" if wanted is None or wanted is False else "with"
            named = "" if wanted is GIVEN or wanted is None or isinstance(wanted, bool) else f" {wanted}"
            conditions.append(f"{with_or_without} {name}{named}")
        return " ".join([shown, " and ".join(conditions)])

    def holds(self, knobs: Mapping[str, Any]) -> bool:
        """Whether the other knobs have those values."""
        return all(
            knobs.get(name) is not None if wanted is GIVEN else knobs.get(name) == wanted
            for name, wanted in self.when.items()
        )


@dataclass(frozen=True, kw_only=True)
class Alias:
    """Makes a knob another way to set a second knob."""

    knob: str
    """The name of the second."""
    value: Callable[[Any], Any]
    """From a value of the first to one of the second."""
    formula: str
    """The same in words, such as 'rho * 224'."""


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One setting of a family. A default of None means: no value unless `defaults` has one."""

    name: str
    type: type
    """int, float, bool, str, or tuple: one number, or a tuple of three numbers, one a channel of RGB."""
    default: Any
    about: str
    """Description in one or two sentences; `help` adds the defaults that depend on other knobs."""
    defaults: tuple[Default, ...] = ()
    """The first whose condition holds replaces `default`."""
    alias: Alias | None = None
    label: str = ""
    """Its part of a model's label when not at its default, such as 'alpha{:g}'; empty for none."""
    changes_cost: bool = True
    """Whether it changes parameters or MACs."""
    minimum: float | None = None
    above: float | None = None
    """Exclusive lower bound; `minimum` is inclusive."""
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    published: tuple[float, float] | None = None
    """The smallest and the largest value in the paper; others are accepted, and said to be unknown."""

    @property
    def help(self) -> str:
        """The description, and the defaults that depend on other knobs."""
        if not self.defaults:
            return self.about
        return f"{self.about} Default: {', '.join(default.words for default in self.defaults)}."

    def default_with(self, others: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """The default for these values of the other knobs."""
        return next((each.value for each in self.defaults if each.holds(others)), self.default)

    @property
    def range(self) -> str:
        """The accepted values in words, such as 'an integer from 8 to 2048'."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        kind = {
            int: "an integer",
            float: "a number",
            bool: "true or false",
            str: "a word",
            tuple: "a number, or three, one for each of R, G and B",
        }[self.type]
        bounds = [
            f"above {self.above:g}" if self.above is not None else "",
            f"from {self.minimum:g}" if self.minimum is not None else "",
            f"to {self.maximum:g}" if self.maximum is not None else "",
        ]
        return " ".join([kind, *filter(None, bounds)])

    def check(self, value: object) -> KnobValue:
        """The value in the knob's type; KnobError with the range for an invalid one."""
        if value is None and self.default is None:
            return None
        if self.choices:
            return self._check_choice(value)
        checked = self._typed(value)
        for number in checked if isinstance(checked, tuple) else (checked,):
            if isinstance(number, (int, float)) and not self._in_range(number):
                raise self._refused(value)
        return checked

    def parse(self, text: str) -> KnobValue:
        """The value of a command line argument; '1,2,3' is one number per channel."""
        if self.type is str:
            return self.check(text)
        if self.type is bool:
            word = text.strip().lower()
            if word not in TRUE_WORDS + FALSE_WORDS:
                raise self._of_another_type(text)
            return word in TRUE_WORDS
        try:
            if self.type is tuple:
                parts = [float(part) for part in text.split(",")]
                return self.check(parts[0] if len(parts) == 1 else tuple(parts))
            return self.check(self.type(text))
        except ValueError as error:
            raise self._of_another_type(text) from error

    def remark(self, value: KnobValue) -> str | None:
        """That the value is outside what the paper measured; None if it is not."""
        if self.published is None or not isinstance(value, int | float):
            return None
        low, high = self.published
        if low <= value <= high:
            return None
        published = f"{low:g} to {high:g}"
        return f"{self.name} {value:g} is outside what was published, {published}: what it gives is unknown"

    def _check_choice(self, value: object) -> str:
        word = str(value)
        if word not in self.choices:
            raise KnobError(
                f"{self.name} '{word}' is not known. {did_you_mean(word, self.choices)}"
                f"Give one of {', '.join(self.choices)}."
            )
        return word

    def _typed(self, value: object) -> KnobValue:
        if self.type is bool and isinstance(value, bool):
            return value
        if self.type is str and isinstance(value, str):
            return value
        if self.type is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
            return int(value)
        if self.type in (float, tuple) and _is_number(value):
            return float(value)
        if (
            self.type is tuple
            and isinstance(value, Sequence)
            and len(value) == NUM_CHANNELS
            and all(map(_is_number, value))
        ):
            return tuple(float(number) for number in value)
        raise self._of_another_type(value)

    def _in_range(self, number: float) -> bool:
        return (
            (self.minimum is None or number >= self.minimum)
            and (self.above is None or number > self.above)
            and (self.maximum is None or number <= self.maximum)
        )

    def _refused(self, value: object) -> KnobError:
        return KnobError(f"{self.name} {value!r} is out of range. Give {self.range}.{self._said_default}")

    def _of_another_type(self, value: object) -> KnobError:
        kinds = {int: "a whole number", bool: "true or false", str: "a word"}
        kind = kinds.get(self.type, "a number")
        return KnobError(f"{self.name} {value!r} is not {kind}. Give {self.range}.{self._said_default}")

    @property
    def _said_default(self) -> str:
        return "" if self.default is None else f" The default is {self.default}."


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
