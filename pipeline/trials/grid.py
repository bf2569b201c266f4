"""Every combination of several settings' values, in order. Standard library only."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def combinations(values: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Each combination of one value a name; the last name's values change first."""
    for chosen in itertools.product(*values.values()):
        yield dict(zip(values, chosen, strict=True))


def varied(values: Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
    """The names that have several values."""
    return tuple(name for name, each in values.items() if len(each) > 1)


def name_of(chosen: Mapping[str, Any], names: Sequence[str]) -> str:
    """A combination in words: those of its values that others have otherwise, such as 'alpha 0.5, seed 1'."""
    return ", ".join(f"{name.replace('_', '-')} {_word(chosen[name])}" for name in names)


def _word(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
