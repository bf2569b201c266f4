"""`pipeline choose`: which net to ship under a budget, measured on the target before anything is trained."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from android_bench.settings import MatrixSettings
from export.precisions import Precision
from models.registry import family_of
from pipeline.bench.settings import BenchSettings, FleetSettings, PhoneSettings
from pipeline.choose.clock import SECS_PER_HOUR
from pipeline.choose.settings import HOST, Budget, ChooseSettings
from pipeline.commands.knobs import given_lists, knob_list_options
from pipeline.commands.measuring_options import (
    cores_option,
    max_drift_option,
    max_wait_option,
    min_secs_option,
    num_rounds_option,
    num_runs_option,
    reconnect_option,
    warmup_min_secs_option,
)
from pipeline.commands.numbers import Finite
from pipeline.commands.output import print_records, print_table, say, stages, table
from pipeline.commands.phones.options import DEVICE_TROUBLE, server_option, several_words, tool_option
from pipeline.commands.split_options import CHOICES, split_options, with_choice
from pipeline.data.registry import check_there
from pipeline.errors import UsageError
from pipeline.runs import runs_folder

if TYPE_CHECKING:
    from pipeline.choose.choice import Choice
    from pipeline.choose.targets import Targets

DEFAULTS = {field.name: field.default for field in dataclasses.fields(ChooseSettings)}
BENCH = ("num_runs", "min_secs", "warmup_min_secs", "num_rounds", "max_wait")
"""The settings of a measurement that are options here."""


def _families(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:  # noqa: ARG001
    names = [word.strip() for word in (value or "").split(",") if word.strip()]
    return tuple(dict.fromkeys(family_of(name).name for name in names))


@click.command(
    name="choose", short_help="Find the net to ship within a budget, measured before anything is trained."
)
@click.argument("folder", required=False, metavar="[DATA]")
@click.option("--data", metavar="NAME|FOLDER", help="The same as DATA.")
@split_options
@click.option("--max-ms", type=Finite(), metavar="MS", help="Median latency at most, on the target.")
@click.option("--max-mb", type=Finite(), metavar="MB", help="Size of the file at most, in 1,000,000 bytes.")
@click.option("--min-top1", type=Finite(), metavar="PERCENT", help="Top-1 on the test images at least.")
@click.option(
    "--on",
    multiple=True,
    metavar="host|SERIAL|all",
    help="Where latency counts: this machine, a phone (several times for several), all phones.  "
    "[default: host]",
)
@click.option("--hours", type=Finite(), metavar="H", help="Start no training that would end later than this.")
@click.option("--families", metavar="NAME[,NAME]", callback=_families, help="[default: all]")
@click.option(
    "--precisions",
    callback=several_words([str(each) for each in Precision], "precision"),
    metavar="NAME[,NAME]",
    default=",".join(str(each) for each in ChooseSettings().precisions),
    show_default=True,
)
@knob_list_options(without=("num_classes", "scale", "offset", "rho"))
@click.option(
    "--also",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="A trained .keras model of yours, which enters as it is; several times for several.",
)
@click.option(
    "--weights", metavar="imagenet|NAME|FILE", help="Start trainings from these; nets without are left out."
)
@click.option("--epochs", type=click.IntRange(min=1), help="Of a whole training.  [default: as in train]")
@click.option(
    "--finalists",
    type=click.IntRange(min=1),
    default=DEFAULTS["finalists"],
    show_default=True,
    help="Nets that are trained to the end.",
)
@click.option(
    "--max-drop",
    type=Finite(min=0),
    default=DEFAULTS["max_drop"],
    show_default=True,
    metavar="POINTS",
    help="An int8 file that loses more is made again by the ladder of compress --max-drop.",
)
@click.option(
    "--seed", type=click.IntRange(min=0, max=2**32 - 1), default=DEFAULTS["seed"], show_default=True
)
@click.option("--num-threads", type=click.IntRange(min=1), default=1, show_default=True, metavar="N")
@num_runs_option
@num_rounds_option
@min_secs_option
@warmup_min_secs_option
@max_wait_option
@server_option
@tool_option
@cores_option
@max_drift_option
@reconnect_option
@click.option(
    "--dry-run", is_flag=True, help="Print the plan and the time that each part is expected to take."
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as a JSON object.")
def command(
    folder: str | None,
    data: str | None,
    on: tuple[str, ...],
    *,
    dry_run: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Find the net to ship within a budget, measured before anything is trained.

    Latency and size depend on shapes alone: every net of the grid is exported with random weights and
    measured on the target, and what is over the budget or beaten is never trained. The others are trained in
    rungs, the better part longer, and the last few are exported, verified, measured in turns and judged. A
    command that was stopped goes on where it was. Exits 1 when nothing fits the budget.

    \b
    pipeline choose photos/ --max-ms 5 --max-mb 2 --weights imagenet
    pipeline choose photos/ --max-ms 5 --on all --hours 3
    pipeline choose photos/ --families mobilenet --alpha 0.25,0.5 --image-size 128,160 --dry-run
    """
    address = with_choice(_data(folder, data), **{name: options[name] for name in CHOICES})
    check_there(address)
    settings = _settings(options)
    runs = runs_folder()
    targets = _targets(on, settings, options)
    if dry_run:
        return _show_plan(address, settings, targets, runs, as_json=as_json)
    with stages() as progress:
        from pipeline.choose.choose import choose  # takes seconds

        choice = choose(address, settings, targets=targets, runs=runs, progress=progress)
    return _show(choice, as_json=as_json)


def _data(folder: str | None, data: str | None) -> str:
    if folder is not None and data is not None:
        raise UsageError(f"the data were given twice, as {folder} and --data {data}. Leave one out.")
    found = folder or data
    if not found or not found.strip():
        raise UsageError("which images is the net for? Give a data set's name or a folder: choose photos/")
    return found


def _settings(options: dict[str, Any]) -> ChooseSettings:
    names = ("families", "also", "weights", "epochs", "hours", "finalists", "max_drop", "seed")
    bench = BenchSettings(num_threads=(options["num_threads"],), **{name: options[name] for name in BENCH})
    return ChooseSettings(
        budget=Budget(**{name: options[name] for name in ("max_ms", "max_mb", "min_top1")}),
        knobs=given_lists(options),
        precisions=tuple(Precision(word) for word in options["precisions"]),
        bench=bench,
        **{name: options[name] for name in names},
    )


def _targets(on: tuple[str, ...], settings: ChooseSettings, options: dict[str, Any]) -> Targets:
    """This machine, or the phones, which must be ready."""
    serials = [word for word in on if word != HOST]
    if not serials:
        for name in ("servers", "binaries"):
            if options[name]:
                raise UsageError("--adb-server and --benchmark-model are for phones. Add --on SERIAL or all.")
        from pipeline.choose.targets import Targets

        return Targets(bench=settings.bench)
    if HOST in on:
        raise UsageError("--on host and --on with phones are two choices. Give one of them.")
    from pipeline.choose.targets import Targets
    from pipeline.commands.phones.options import find_fleet

    fleet, _ = find_fleet(serials, options["servers"], options["binaries"])
    phones = FleetSettings(
        bench=settings.bench,
        phone=PhoneSettings(cores=options["cores"], max_drift=options["max_drift"]),
        matrix=MatrixSettings(reconnect_secs=options["reconnect_secs"]),
    )
    return Targets(bench=settings.bench, fleet=tuple(fleet), phones=phones)


def _show_plan(data: str, settings: ChooseSettings, targets: Targets, runs: Path, *, as_json: bool) -> int:
    with stages() as progress:
        from pipeline.choose.plan import plan

        parts = plan(data, settings, targets=targets, runs=runs, progress=progress)
    if as_json:
        print_records(parts)
        return 0
    from pipeline.report.figures import seconds_text

    rows = table("part", "at most", "expected", "reckoned from", numbers=("at most", "expected"))
    for part in parts:
        rows.add_row(part.what, f"{part.count:,}", seconds_text(part.seconds), part.how)
    print_table(rows)
    total = sum(part.seconds for part in parts)
    click.echo(f"in all at most {seconds_text(total)}, before anything is dropped")
    if settings.hours is not None and total > settings.hours * SECS_PER_HOUR:
        click.echo(f"more than --hours {settings.hours:g}: what does not fit is left out, and named")
    say("nothing was trained or stored. Next: the same command without --dry-run")
    return 0


def _show(choice: Choice, *, as_json: bool) -> int:
    from pipeline.choose.choice import choice_record
    from pipeline.choose.state import PAGE
    from pipeline.choose.words import kit_command
    from pipeline.json_values import finite

    if as_json:
        click.echo(json.dumps(finite(choice_record(choice)), indent=2, allow_nan=False))
    else:
        for verdict, words in zip(choice.verdicts, choice.paragraphs, strict=True):
            click.echo(words)
            advised = verdict.file(verdict.advised)
            if advised is not None:
                click.echo(f"The file: {advised.path}")
                click.echo(f"For the app: {kit_command(advised)}")
    for name, why in choice.left_out.items():
        say(f"pipeline: {name} was not trained: {why}")
    for target, why in choice.lost.items():
        say(f"pipeline: {target} was given up: {why}")
    say(f"wrote {choice.folder / PAGE}. Open it, or compare with all other files: pipeline report")
    if choice.lost:
        return DEVICE_TROUBLE
    return 0 if choice.fits else 1
