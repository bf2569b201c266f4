"""The options of a measurement, which bench and choose share. Light at import."""

from __future__ import annotations

import dataclasses

import click

from android_bench.phone.device import check_cores
from android_bench.settings import MatrixSettings
from pipeline.bench.settings import BenchSettings, PhoneSettings
from pipeline.commands.numbers import Finite
from pipeline.commands.phones.options import Decorator

DEFAULTS = {
    field.name: field.default
    for settings in (BenchSettings, PhoneSettings, MatrixSettings)
    for field in dataclasses.fields(settings)
}


def seconds(name: str, *, above_zero: bool = False, text: str, metavar: str = "SECS") -> Decorator:
    """The option of a setting of that name in seconds, or in another unit."""
    return click.option(
        _flag(name),
        name,
        type=Finite(min=0, min_open=above_zero),
        default=DEFAULTS[name],
        show_default=True,
        metavar=metavar,
        help=text,
    )


def count(name: str, *, least: int, text: str) -> Decorator:
    """The option of a setting of that name that is a whole number."""
    kind = click.IntRange(min=least)
    return click.option(
        _flag(name), name, type=kind, default=DEFAULTS[name], show_default=True, metavar="N", help=text
    )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _cores(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        return check_cores(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


num_runs_option = count("num_runs", least=1, text="Minimum number of timed runs of each file.")
min_secs_option = seconds("min_secs", text="Minimum seconds of timed runs.")
warmup_min_secs_option = seconds("warmup_min_secs", text="Minimum seconds of untimed runs.")
num_rounds_option = count(
    "num_rounds", least=1, text="Rounds in which the files take turns; runs and seconds are totals."
)
max_wait_option = seconds(
    "max_wait",
    text="On this machine: not valid if other programs let its threads wait for longer than this.",
    metavar="SHARE",
)
cores_option = click.option(
    "--cores",
    callback=_cores,
    default=DEFAULTS["cores"],
    show_default=True,
    metavar="big|little|all|MASK",
    help="On phones: pin to these cores; a mask is hexadecimal, f0 being CPUs 4 to 7.",
)
max_drift_option = seconds(
    "max_drift",
    text="On phones: not valid if the median rises by more than this over the rounds.",
    metavar="SHARE",
)
reconnect_option = seconds("reconnect_secs", text="Wait so long for a phone that vanished.")
