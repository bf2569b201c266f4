"""The table of latencies, of this machine or of a phone. rich is imported when the table is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pipeline.bench.baselines import Against, Spreads, against_baselines
from pipeline.bench.host import MeasuredFile
from pipeline.bench.statistics import Comparison
from pipeline.console import console
from pipeline.records.measurement import Measurement, kind_of_delegate

if TYPE_CHECKING:
    from rich.table import Table

MISSING = "-"
WIDE = 1.5
"""If the interval's ends differ by more than this factor, it is shown in place of the ratio."""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A line of the table."""

    name: str
    measurement: Measurement
    size_bytes: int | None
    comparison: Comparison | None = None
    """None for a baseline and for a line that is not valid."""
    against: str = ""
    """The baseline: a file's name, or 'its float32'."""


Column = tuple[str, Callable[[TableRow], str]]

THREADS: tuple[Column, ...] = (("threads", lambda row: str(row.measurement.num_threads)),)
DELEGATE: tuple[Column, ...] = (("delegate", lambda row: kind_of_delegate(row.measurement.delegate)),)
LATENCY: tuple[Column, ...] = (
    ("median\nms", lambda row: middle(row.measurement)),
    ("±\nms", lambda row: milliseconds(row.measurement.noise_ms)),
    ("p5\nms", lambda row: milliseconds(row.measurement.p5_ms)),
    ("p95\nms", lambda row: milliseconds(row.measurement.p95_ms)),
)
REST: tuple[Column, ...] = (
    ("min\nms", lambda row: milliseconds(row.measurement.min_ms)),
    ("std\nms", lambda row: milliseconds(row.measurement.std_ms)),
    ("first\nms", lambda row: milliseconds(row.measurement.first_ms)),
    ("init\nms", lambda row: milliseconds(row.measurement.init_ms)),
    ("warm\ninit", lambda row: milliseconds(row.measurement.warm_init_ms)),
    ("peak mem\nMB", lambda row: megabytes(row.measurement.peak_memory_bytes)),
    ("size\nMB", lambda row: megabytes(row.size_bytes)),
)


def table_rows(measured: Sequence[MeasuredFile], spreads: Spreads) -> list[TableRow]:
    """A line for each measured file, compared with its baseline. `spreads`: Store.session_spreads()."""
    paths = [Path(each.measurement.path) for each in measured]
    names = dict(zip(map(id, measured), short_names(paths), strict=True))
    return [
        TableRow(
            name=names[id(each)],
            measurement=each.measurement,
            size_bytes=each.size_bytes,
            comparison=found.comparison if found else None,
            against=_baseline_name(found, names) if found else "",
        )
        for each, found in zip(measured, against_baselines(measured, spreads), strict=True)
    ]


def latency_tables(rows: Sequence[TableRow], *, width: int) -> list[Table]:
    """One table, or two with the same lines if one would be wider than `width` characters.

    Delegate and threads have a column if they differ between lines, a warm start if one was measured.
    """

    settings = DELEGATE if len({kind_of_delegate(row.measurement.delegate) for row in rows}) > 1 else ()
    settings += THREADS if len({row.measurement.num_threads for row in rows}) > 1 else ()
    warm = any(row.measurement.warm_init_ms is not None for row in rows)
    rest = tuple(column for column in REST if warm or not column[0].startswith("warm"))
    compared = (_comparing(rows),)
    whole = _table(rows, settings + LATENCY + rest + compared)
    if console(width=1000).measure(whole).maximum <= width:
        return [whole]
    return [_table(rows, settings + LATENCY + compared), _table(rows, settings + rest)]


def milliseconds(value: float | None) -> str:
    """Three significant digits, but all digits before the decimal point."""
    return _three_digits(value)


def middle(measurement: Measurement, unit: str = "") -> str:
    """The median, or '7.11 average' where the tool gave no median."""
    if measurement.median_ms is None and measurement.avg_ms is not None:
        return f"{milliseconds(measurement.avg_ms)}{unit} average"
    return f"{milliseconds(measurement.median_ms)}{unit}"


def megabytes(size_bytes: int | None) -> str:
    """Megabytes of 1,000,000 bytes, like benchmark_model's, in three significant digits."""
    return _three_digits(None if size_bytes is None else size_bytes / 1e6)


def verdict(comparison: Comparison | None) -> str:
    """A comparison in a few words: '2.31x as long', 'noise', or 'unsteady: 0.80 to 12.0x'."""
    if comparison is None:
        return MISSING
    ratio = f"{_three_digits(comparison.ratio)}x"
    if comparison.larger_than_noise is None and not comparison.in_turns:
        return "another session"
    if comparison.larger_than_noise is None:
        return f"too few rounds ({ratio})"
    low, high = comparison.low, comparison.high
    if low and high and high / low > WIDE:
        ends = f"{_three_digits(low)} to {_three_digits(high)}x"
        return f"{ends} as long" if comparison.larger_than_noise else f"unsteady: {ends}"
    return f"{ratio} as long" if comparison.larger_than_noise else "noise"


def short_names(files: Sequence[Path]) -> list[str]:
    """The files' names without .tflite; with the run's folder, or the path, where two would be equal."""
    paths = dict.fromkeys(files)
    stems = Counter(path.stem for path in paths)
    homes = Counter(f"{_home(path)}/{path.stem}" for path in paths)

    def name(file: Path) -> str:
        if stems[file.stem] == 1:
            return file.stem
        at_home = f"{_home(file)}/{file.stem}"
        return at_home if homes[at_home] == 1 else str(file.with_suffix(""))

    return [name(file) for file in files]


def _baseline_name(found: Against, names: Mapping[int, str]) -> str:
    return "its float32" if found.is_float32 else names[id(found.baseline)]


def _comparing(rows: Sequence[TableRow]) -> Column:
    """The comparison column; the baseline is in its heading, or in each line if it differs."""
    names = list(dict.fromkeys(row.against for row in rows if row.comparison is not None))
    if len(names) > 1:
        return "compared", lambda row: f"{verdict(row.comparison)}{row.against and f' ({row.against})'}"
    return "\n".join(["against", *names]), lambda row: verdict(row.comparison)


def _home(file: Path) -> str:
    folder = file.absolute().parent
    return folder.parent.name if folder.name == "export" else folder.name


def _three_digits(value: float | None) -> str:
    if value is None:
        return MISSING
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= 100:
        return f"{value:,.0f}"
    if abs(rounded) < 0.001:
        return f"{value:.2g}"
    decimals = 1 if abs(rounded) >= 10 else 2 if abs(rounded) >= 1 else 3
    return f"{value:.{decimals}f}"


def _table(rows: Sequence[TableRow], columns: Sequence[Column]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("file", overflow="fold", min_width=12)
    for heading, _ in columns:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            Text(row.name),
            *(cell(row) for _, cell in columns),
            style=None if row.measurement.valid else "dim",
        )
    return table
