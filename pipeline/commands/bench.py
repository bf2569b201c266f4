"""`pipeline bench`: the latency of exported files on this machine, as a table and in the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from pipeline.bench.settings import RUNTIMES, BenchSettings
from pipeline.commands.output import json_option, print_records, say, stdout_console
from pipeline.runs import runs_folder, tflite_files

if TYPE_CHECKING:
    from pipeline.bench.host import BenchResult, Progress
    from pipeline.bench.table import TableRow

DEFAULTS = {field.name: field.default for field in dataclasses.fields(BenchSettings)}


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def thread_counts(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """The numbers in a list such as 1,2, each once, in their order."""
    words = [word.strip() for word in value.split(",")]
    for word in words:
        if not word.isdecimal() or int(word) < 1:
            raise click.BadParameter(
                f"'{word}' is not a number of threads. Give whole numbers from 1, such as 1,2.",
                context,
                parameter,
            )
    return tuple(dict.fromkeys(int(word) for word in words))


def _seconds(name: str, *, above_zero: bool, text: str) -> Decorator:
    kind = click.FloatRange(min=0, min_open=above_zero)
    option = f"--{name.replace('_', '-')}"
    return click.option(
        option, name, type=kind, default=DEFAULTS[name], show_default=True, metavar="SECS", help=text
    )


def _count(name: str, *, least: int, text: str) -> Decorator:
    kind = click.IntRange(min=least)
    option = f"--{name.replace('_', '-')}"
    return click.option(
        option, name, type=kind, default=DEFAULTS[name], show_default=True, metavar="N", help=text
    )


@click.command(name="bench", short_help="Measure the latency of exported files on this machine.")
@click.argument("targets", nargs=-1, metavar="[FILE|RUN]...")
@click.option(
    "--num-threads",
    callback=thread_counts,
    metavar="N[,N]",
    default=",".join(map(str, BenchSettings().num_threads)),
    show_default=True,
    help="Measure with each of these, such as 1,2.",
)
@_count("num_runs", least=1, text="At least so many timed runs of each file.")
@_count("warmup_runs", least=0, text="At least so many untimed runs in each round.")
@_seconds("min_secs", above_zero=False, text="At least so many seconds of timed runs.")
@_seconds("max_secs", above_zero=True, text="Begin no run of a file after so many seconds.")
@_seconds("warmup_min_secs", above_zero=False, text="At least so many seconds of untimed runs.")
@_count("num_rounds", least=1, text="Rounds in which the files take turns; runs and seconds are their sum.")
@click.option(
    "--runtime",
    default=DEFAULTS["runtime"],
    show_default=True,
    metavar="NAME",
    help=f"{', '.join(RUNTIMES)}.",
)
@json_option
def command(targets: tuple[str, ...], *, as_json: bool, **options: Any) -> int:  # noqa: ANN401 - BenchSettings' fields
    """Measure the latency of exported files on this machine.

    FILE is a .tflite file, RUN a run's folder or name; without either, the newest run's files. The files
    take turns, and each line says whether it differs from the line above by more than the noise. Every
    measurement is kept in the store. Exits 1 when a file could not be measured.

    \b
    pipeline bench
    pipeline bench mobilenet_int8.tflite densenet_int8.tflite --num-threads 1,2
    """
    settings = BenchSettings(**options)
    files = tflite_files(targets, runs_folder())
    from pipeline.bench.host import num_cpus, run_rounds

    most_threads = max(settings.num_threads)
    if most_threads > num_cpus():
        say(f"{most_threads} threads on {num_cpus()} CPUs wait for one another: expect slower runs.")
    with _progress() as progress:
        result = run_rounds(files, settings, progress=progress)
    if not result.measured:
        raise click.Abort
    measurements = [each.measurement for each in result.measured]
    if as_json:
        print_records(measurements)
    else:
        _show(result, settings)
    store_result(result)  # after they were shown: a full disk takes away the store alone
    if not as_json:
        things = "1 measurement" if len(measurements) == 1 else f"{len(measurements)} measurements"
        click.echo(f"stored {things} in {runs_folder()}/results.sqlite. Next: pipeline report")
    if result.stopped:
        raise click.Abort
    return 0 if all(measurement.valid for measurement in measurements) else 1


def _show(result: BenchResult, settings: BenchSettings) -> None:
    from pipeline.bench.table import latency_tables

    rows = _rows(result)
    console = stdout_console()
    for table in latency_tables(rows, width=console.width):
        console.print(table)
    for row in rows:
        for reason in row.measurement.reasons:
            click.echo(f"{row.name}, {_threads(row.measurement.num_threads)}, is not valid: {reason}.")
    measurement = rows[0].measurement
    runtime = f"{measurement.runtime} {measurement.runtime_version}, {_delegates(rows)}"
    threads = _threads(*settings.num_threads)
    click.echo(
        f"{measurement.machine}; {runtime}, {threads}; "
        f"± is half the 95% interval of the median over {settings.rounds} rounds."
    )
    if any(row.comparison is not None and not row.comparison.larger_than_noise for row in rows):
        click.echo(
            "To tell smaller differences from noise: --num-rounds 30 --min-secs 5, on a machine at rest."
        )


def _rows(result: BenchResult) -> list[TableRow]:
    from pathlib import Path

    from pipeline.bench.host import neighbours
    from pipeline.bench.table import TableRow, short_names

    measured = result.measured
    names = short_names([Path(each.measurement.path) for each in measured])
    return [
        TableRow(
            name=name,
            measurement=each.measurement,
            size_bytes=each.size_bytes,
            comparison=comparison,
        )
        for name, each, comparison in zip(names, measured, neighbours(measured), strict=True)
    ]


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on stderr, drawn only between two files' turns: drawn during one, it would be measured too."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("measuring"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    bar = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
    task = bar.add_task("", total=None)

    def show(done: int, total: int, name: str) -> None:
        bar.update(task, completed=done, total=total, description=name, refresh=True)

    if not bar.console.is_terminal:
        yield lambda done, total, name: None  # noqa: ARG005 - a bar in a log file is noise
        return
    with bar:
        yield show


def _threads(*counts: int) -> str:
    return "1 thread" if counts == (1,) else f"{', '.join(map(str, counts))} threads"


def _delegates(rows: list[TableRow]) -> str:
    return " / ".join(dict.fromkeys(row.measurement.delegate for row in rows))


def store_result(result: BenchResult) -> None:
    """Adds every measurement to the store."""
    from pipeline.store.store import open_store

    with open_store(runs_folder()) as store:
        for each in result.measured:
            store.add_measurement(each.measurement)
