"""The results of applications.py: their records, their Markdown table, and what did not hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

from pipeline.bench.child import runtime_version
from pipeline.bench.host import machine_name

DOUBT = 0.05
"""Agreement below stock's counts where chance would show it less often than this."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One file: ours or the stock converter's."""

    agreeing: int
    rms_error: float
    size_bytes: int
    ms: float
    export_secs: float
    """CPU time."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One net in one precision."""

    net: str
    image_size: int
    norms: str
    precision: str
    parameters: int
    num_images: int
    num_best_classes: int
    """How many classes are some image's best one in the Keras model."""
    ours: Side | None
    stock: Side | None
    ours_alone: int = 0
    """Images on which ours agrees with Keras and stock does not."""
    stock_alone: int = 0
    ratio: float | None = None
    larger_than_noise: bool | None = None
    verified: str = ""
    explained: str = ""
    refused: str = ""

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What was measured."""
        return self.net, self.image_size, self.norms, self.precision


def read_results(folder: Path) -> list[Result]:
    file = folder / "results.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [_result(json.loads(line)) for line in lines]


def _result(record: dict[str, Any]) -> Result:
    sides = {name: Side(**record[name]) if record[name] else None for name in ("ours", "stock")}
    return Result(**(record | sides))


def print_table(results: Sequence[Result]) -> None:
    """A Markdown table, then what did not hold."""
    columns = "net, pixels|precision|agree: ours, stock|error: ours, stock|bytes|time|CPU s to export"
    print(f"| {columns.replace('|', ' | ')} |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for each in results:
        ours, stock = each.ours, each.stock
        if ours is None or stock is None:
            print(f"| {each.net} {each.image_size} | {each.precision} | refused: {each.refused} | | | | |")
            continue
        noise = "" if each.larger_than_noise else " (noise)"
        print(
            f"| {each.net} {each.image_size} | {each.precision} "
            f"| {ours.agreeing}, {stock.agreeing} of {each.num_images} "
            f"| {ours.rms_error:.3f}, {stock.rms_error:.3f} | {ours.size_bytes / stock.size_bytes:.3f} "
            f"| {each.ratio:.2f}{noise} | {ours.export_secs:.0f}, {stock.export_secs:.0f} |"
        )
    for line in _faults(results):
        print(f"- {line}")
    print(
        f"\n{machine_name()}; litert {runtime_version('litert')}, one thread. Bytes, time: ours by stock's."
    )


def _faults(results: Sequence[Result]) -> Iterator[str]:
    checks: tuple[tuple[str, Callable[[Result], bool]], ...] = (
        ("refused", lambda each: each.ours is None),
        ("slower than stock beyond noise", lambda each: bool(each.larger_than_noise) and each.ratio > 1.02),
        ("agrees less than stock beyond chance", _agrees_less),
        ("not verified", lambda each: each.ours is not None and ":" in each.verified),
        ("not explained", lambda each: each.ours is not None and ":" in each.explained),
    )
    for words, holds in checks:
        found = [f"{each.net} {each.precision}" for each in results if holds(each)]
        yield f"{words}: {', '.join(found) or 'none'} (of {len(results)})"


def _agrees_less(each: Result) -> bool:
    """McNemar's exact test, one-sided, on the images that one of the files gets as Keras does."""
    number, ours = each.ours_alone + each.stock_alone, each.ours_alone
    return number > 0 and sum(comb(number, k) for k in range(ours + 1)) / 2**number < DOUBT
