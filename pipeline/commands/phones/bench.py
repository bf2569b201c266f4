"""`pipeline bench --adb`: live progress, then a table for each phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.live import Live

from android_bench.delegates import delegate_named
from android_bench.matrix import Event, PhoneLost, RoundDone, Status
from export.files import sha256_of
from pipeline.bench.baselines import Spreads, compare_measured, same_setting
from pipeline.bench.fleet import FleetPhone, PhoneResult
from pipeline.bench.table import TableRow, latency_tables, middle, table_rows
from pipeline.commands.output import print_records, say, stdout_console, table
from pipeline.commands.phones.options import DEVICE_TROUBLE
from pipeline.console import console
from pipeline.records.measurement import part_of, setting_of
from pipeline.runs import runs_folder
from pipeline.steps.phones import bench_on_phones
from pipeline.store.store import open_store
from spelling import counted, some

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.bench.host import MeasuredFile
    from pipeline.bench.settings import BenchSettings, FleetSettings

MOST_PAIRS = 6
UNSTEADY = 0.25
"""A ± above this share of the median is reported."""


def bench_and_show(
    files: Sequence[Path],
    fleet: Sequence[FleetPhone],
    settings: FleetSettings,
    *,
    as_json: bool,
) -> int:
    """Measures the files on the phones, shows and stores the results; returns the exit status.

    1 if a measurement is not valid, 4 if a phone was lost before everything was measured.
    """

    _say_twins(files)
    with _live_table(fleet) as listen:
        result = bench_on_phones(files, fleet, settings, runs=runs_folder(), listen=listen)
    with open_store(runs_folder()) as store:
        spreads = store.session_spreads()
    measured = [each.measurement for phone in result.phones for each in phone.measured]
    if as_json:
        print_records(measured)
    else:
        for phone in result.phones:
            _show(phone, settings.bench, spreads)
    for phone in result.phones:
        _say_missing(phone, again=settings.again)
    count = len(measured) - sum(len(phone.from_store) for phone in result.phones)
    if not as_json and count:
        click.echo(
            f"stored {count} measurement{'s' * (count != 1)} in {runs_folder()}/results.sqlite. "
            "Next: pipeline report"
        )
    if result.stopped:
        raise click.Abort
    if any(phone.lost or phone.not_measured for phone in result.phones):
        return DEVICE_TROUBLE
    return 0 if all(measurement.valid for measurement in measured) else 1


def _say_twins(files: Sequence[Path]) -> None:
    """Names the files with the same content as an earlier one, which are not measured again."""

    first: dict[str, Path] = {}
    for file in files:
        known = first.setdefault(sha256_of(file), file)
        if known is not file:
            say(f"{file.name} holds the same as {known.name}, which is measured for both.")


@contextmanager
def _live_table(fleet: Sequence[FleetPhone]) -> Iterator[Callable[[Event, PhoneResult], None]]:
    """A live line per phone on stderr; without a terminal, a line per measurement."""
    drawing = console(stderr=True)
    states = {each.phone: "starting" for each in fleet}
    results: dict[Any, PhoneResult] = {}

    def take(event: Event, result: PhoneResult) -> None:
        results[event.plan.phone] = result
        if isinstance(event, Status):
            states[event.plan.phone] = event.text
        elif isinstance(event, PhoneLost):
            states[event.plan.phone] = f"lost: {event.reason}"
        elif isinstance(event, RoundDone) and event.job.key in result.complete and not drawing.is_terminal:
            _say_measured(event, result)
        if live.is_started:
            live.update(_progress_table(fleet, states, results))

    live = Live(console=drawing, transient=True, refresh_per_second=4)
    if not drawing.is_terminal:
        yield take
        return
    with live:
        live.update(_progress_table(fleet, states, results))
        yield take


def _progress_table(
    fleet: Sequence[FleetPhone], states: dict[Any, str], results: dict[Any, PhoneResult]
) -> Table:

    rows = table("phone", "°C", "measured", "now", numbers=["°C", "measured"])
    for each in fleet:
        result = results.get(each.phone)
        celsius = (result.celsius if result else None) or each.info.heat.celsius
        done = f"{len(result.complete)} of {len(result.series)}" if result else "-"
        rows.add_row(each.info.where, "-" if celsius is None else f"{celsius:.1f}", done, states[each.phone])
    return rows


def _say_measured(event: Any, result: PhoneResult) -> None:  # noqa: ANN401 - a RoundDone

    measurement = result.complete[event.job.key].measurement
    done = f"{len(result.complete)} of {len(result.series)}"
    what = middle(measurement, " ms") if measurement.valid else "not valid"
    say(f"{result.info.where}: {event.job.label}: {what} ({done})")


def _show(phone: PhoneResult, bench: BenchSettings, spreads: Spreads) -> None:
    measured = phone.measured
    if not measured:
        return
    rows = table_rows(measured, spreads)
    console = stdout_console()
    click.echo(f"{phone.info.where}: {phone.info.machine}")
    for drawn in latency_tables(rows, width=console.width):
        console.print(drawn)
    for row in rows:
        for reason in row.measurement.reasons:
            click.echo(f"{row.name}, {_setting(row)}, is not valid: {reason}.")
    first = rows[0].measurement
    pinned = "" if first.cores == "all" else f", on cores {first.cores}"
    delegates = " / ".join(dict.fromkeys(row.measurement.delegate for row in rows))
    click.echo(
        f"{first.runtime} {first.runtime_version}, {delegates}{pinned}; "
        f"± is half the 95% interval of the median over {counted(bench.rounds, 'round')}."
    )
    _show_partly_delegated(rows)
    _show_unsteady(rows)
    _show_alike(rows, measured, spreads)
    _show_sessions(rows, spreads)
    if phone.from_store:
        count = len(phone.from_store)
        click.echo(
            f"{count} of them {'was' if count == 1 else 'were'} measured before, with the same file, phone, "
            "tool and settings; --again measures anew."
        )


def _show_alike(rows: Sequence[TableRow], measured: Sequence[MeasuredFile], spreads: Spreads) -> None:
    """Shows the pairs of files, with the same delegate and threads, whose difference is noise."""
    valid = [pair for pair in zip(rows, measured, strict=True) if pair[0].measurement.valid]
    alike, told_apart, num_pairs = [], True, 0
    for (one, this), (other, that) in combinations(valid, 2):
        if not same_setting(this.measurement, that.measurement):
            continue
        found = compare_measured(that, this, spreads)
        if found is None:
            continue
        num_pairs += 1
        told_apart = told_apart and found.larger_than_noise is not None
        if found.larger_than_noise is False:
            alike.append(f"{one.name} and {other.name} ({_setting(one)})")
    if alike:
        click.echo(f"No difference larger than the noise: {some(alike, most=MOST_PAIRS)}.")
    elif told_apart and num_pairs > 1:
        click.echo("Every pair of files differs by more than the noise.")


def _show_sessions(rows: Sequence[TableRow], spreads: Spreads) -> None:
    """Shows the rows that were not measured in turns with their baseline."""
    for row in rows:
        if row.comparison is None or row.comparison.in_turns:
            continue
        spread = spreads.get(setting_of(row.measurement))
        found = (
            "no verdict. To measure them in turns: --again"
            if row.comparison.larger_than_noise is None or spread is None
            else f"the interval holds what {spread.num_sessions} sessions of this phone differ by"
        )
        click.echo(f"{row.name} and {row.against}, {_setting(row)}: measured in different sessions: {found}.")


def _show_partly_delegated(rows: Sequence[TableRow]) -> None:
    """Shows the rows whose delegate left a part of the graph to the CPU."""
    for row in rows:
        word, count = row.measurement.delegate.split()[0], row.measurement.num_threads
        if (part := part_of(row.measurement.delegate)) is not None:
            title, threads = delegate_named(word).title, f"{count} thread{'s' * (count != 1)}"
            click.echo(
                f"{row.name}, {threads}: {title} took {part}, the CPU the rest; it is ranked with other such "
                "runs alone. --op-profile names what was left."
            )


def _show_unsteady(rows: Sequence[TableRow]) -> None:
    """Shows the valid rows with a large ±."""
    for row in rows:
        measurement = row.measurement
        if not measurement.valid or not measurement.noise_ms or not measurement.median_ms:
            continue
        share = measurement.noise_ms / measurement.median_ms
        if share > UNSTEADY:
            pin = "pin it (--cores big), " if measurement.cores == "all" else ""
            click.echo(
                f"{row.name}, {_setting(row)}, is unsteady: ± is {share:.0%} of the median. "
                f"Close other apps, {pin}or take more rounds."
            )


def _setting(row: TableRow) -> str:
    count = row.measurement.num_threads
    return f"{row.measurement.delegate}, {count} thread{'s' * (count != 1)}"


def _say_missing(phone: PhoneResult, *, again: bool) -> None:
    if phone.lost:
        say(f"pipeline: gave up {phone.info.where}: {phone.lost}")
    missing = phone.not_measured
    if missing and not phone.unfit:
        kept = sum(len(each.rounds) for each in missing)
        labels = "; ".join(each.label for each in missing[:4]) + (" ..." if len(missing) > 4 else "")
        say(
            f"pipeline: {phone.info.where}: {len(missing)} not measured ({labels}). {kept} finished rounds "
            f"of them are kept: run the same command again{' without --again' if again else ''} to go on."
        )
