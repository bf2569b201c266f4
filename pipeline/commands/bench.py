"""`pipeline bench`: the latency of exported files, on this machine or on phones; shown and stored."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

import click

from android_bench.settings import MatrixSettings
from android_bench.tool.runner import OURS
from pipeline.bench.settings import RUNTIMES, BenchSettings, FleetSettings, PhoneSettings
from pipeline.commands.measuring_options import (
    DEFAULTS,
    cores_option,
    count,
    max_drift_option,
    max_wait_option,
    min_secs_option,
    num_rounds_option,
    num_runs_option,
    reconnect_option,
    seconds,
    warmup_min_secs_option,
)
from pipeline.commands.newest import say_newest
from pipeline.commands.numbers import Finite
from pipeline.commands.output import json_option, print_records, say, stages, stdout_console
from pipeline.commands.phones.options import (
    DEVICE_TROUBLE,
    delegate_option,
    find_fleet,
    given,
    option_name,
    refuse_without_adb,
    serial_option,
    server_option,
    tool_option,
)
from pipeline.errors import UsageError
from pipeline.runs import runs_folder, tflite_files
from spelling import counted

if TYPE_CHECKING:
    from pipeline.bench.host import BenchResult
    from pipeline.bench.table import TableRow


def thread_counts(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """The numbers in a list such as 1,2, in order, without repeats."""
    words = [word.strip() for word in value.split(",")]
    for word in words:
        if not word.isdecimal() or int(word) < 1:
            raise click.BadParameter(
                f"'{word}' is not a number of threads. Give whole numbers from 1, such as 1,2.",
                context,
                parameter,
            )
    return tuple(dict.fromkeys(int(word) for word in words))


@click.command(
    name="bench", short_help="Measure the latency of exported files, on this machine or on phones."
)
@click.argument("targets", nargs=-1, metavar="[FILE|RUN]... [-- FLAGS]")
@click.option(
    "--num-threads",
    callback=thread_counts,
    metavar="N[,N]",
    default=",".join(map(str, BenchSettings().num_threads)),
    show_default=True,
    help="Measure with each of these, such as 1,2.",
)
@num_runs_option
@count("warmup_runs", least=0, text="Minimum number of untimed runs in each round.")
@min_secs_option
@seconds("max_secs", above_zero=True, text="Start no run of a file after this many seconds.")
@warmup_min_secs_option
@num_rounds_option
@seconds("patience_secs", above_zero=True, text="End a runtime that is late by this much.")
@max_wait_option
@click.option(
    "--runtime",
    default=DEFAULTS["runtime"],
    show_default=True,
    metavar="NAME",
    help=f"On this machine: {', '.join(RUNTIMES)}.",
)
@click.option("--adb", "on_phones", is_flag=True, help="Measure on phones, with benchmark_model over adb.")
@serial_option
@delegate_option
@cores_option
@tool_option
@seconds("max_celsius", above_zero=True, text="Let a phone cool that is warmer.", metavar="DEGREES")
@seconds("cool_secs", text="Wait so long at most for it to cool, each time.")
@reconnect_option
@max_drift_option
@click.option("--keep", is_flag=True, help="Leave the files on the phone, for the next call.")
@click.option("--again", is_flag=True, help="Repeat measurements that are in the store.")
@server_option
@click.option(
    "--sustained",
    "sustained_minutes",
    type=Finite(min=0, min_open=True),
    metavar="MINUTES",
    help="Run one file for this time, and show its latency as the phone warms up.",
)
@click.option("--op-profile", is_flag=True, help="Show the operators that cost most, two files side by side.")
@click.option(
    "--from-log",
    metavar="FILE|FOLDER|-",
    help="Read what benchmark_model printed elsewhere: a log, a cloud lab's folder. Stores nothing.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    targets: tuple[str, ...],
    *,
    on_phones: bool,
    from_log: str | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - the settings' fields
) -> int:
    """Measure the latency of exported files, on this machine or on phones.

    FILE is a .tflite file, RUN a run's folder or name; without either, the newest run's files. The files
    take turns, and each line says whether it differs by more than the noise from the float32 file of its
    model or, without one, from the file named first. Every measurement is kept in the store. Exits 1 when a
    file could not be measured.

    With --adb each round is one process of benchmark_model on a phone, several phones work at once, and the
    flags after -- are passed to benchmark_model unchanged. Exits 4 when a phone is missing or lost.

    \b
    pipeline bench
    pipeline bench mobilenet_int8.tflite densenet_int8.tflite --num-threads 1,2
    pipeline bench --adb --cores big --delegate cpu,gpu
    pipeline bench --adb -s all --num-threads 1,4 -- --use_caching=true
    pipeline bench --from-log phone.log
    """
    files_or_runs, flags = _split_flags(targets)
    if from_log is not None:
        _refuse_beside(context, "--from-log", allowed=("from_log", "as_json"))
        from pipeline.commands.from_log import show_log

        return show_log(from_log, as_json=as_json)
    bench = _settings_of(BenchSettings, options)
    if not on_phones:
        refuse_without_adb(context, PHONE_OPTIONS, flags)
        return _bench_here(files_or_runs, bench, as_json=as_json)
    for name in ("runtime", "max_wait"):
        if given(context, name):
            option = option_name(context, name)
            raise UsageError(f"{option} is for this machine; a phone runs benchmark_model. Leave it out.")
    return _bench_there(files_or_runs, flags, bench, options, as_json=as_json)


def _bench_there(
    targets: tuple[str, ...],
    flags: tuple[str, ...],
    bench: BenchSettings,
    options: dict[str, Any],
    *,
    as_json: bool,
) -> int:
    from pipeline.commands.phones.bench import bench_and_show
    from pipeline.commands.phones.profile import profile_on_phone
    from pipeline.commands.phones.sustain import sustain_on_phone

    _check_flags(flags)
    if options["op_profile"] and options["sustained_minutes"]:
        raise UsageError("--op-profile and --sustained are two things. Give one of them.")
    settings = FleetSettings(
        bench=bench,
        phone=_settings_of(PhoneSettings, {**options, "extra_flags": flags}),
        matrix=_settings_of(MatrixSettings, options),
        again=options["again"],
    )
    say_newest(targets)
    files = tflite_files(targets, runs_folder())
    fleet, num_absent = find_fleet(options["serials"], options["servers"], options["binaries"])
    if options["op_profile"]:
        return profile_on_phone(files, fleet, settings, as_json=as_json)
    if options["sustained_minutes"]:
        minutes = options["sustained_minutes"]
        return sustain_on_phone(files, fleet, settings, minutes=minutes, as_json=as_json)
    status = bench_and_show(files, fleet, settings, as_json=as_json)
    return status or (DEVICE_TROUBLE if num_absent else 0)


def _bench_here(targets: tuple[str, ...], settings: BenchSettings, *, as_json: bool) -> int:
    say_newest(targets)
    files = tflite_files(targets, runs_folder())
    from pipeline.bench.host import num_cpus
    from pipeline.steps.bench import keep, measure

    most_threads = max(settings.num_threads)
    if most_threads > num_cpus():
        say(f"{most_threads} threads on {num_cpus()} CPUs wait for one another: expect slower runs.")
    with stages() as progress:
        result = measure(files, settings, progress=progress)
    if not result.measured:
        raise click.Abort
    measurements = [each.measurement for each in result.measured]
    if as_json:
        print_records(measurements)
    else:
        _show(result, settings)
    keep(result, runs=runs_folder())  # after showing them, so that a full disk loses only the stored copy
    if not as_json:
        things = counted(len(measurements), "measurement")
        click.echo(f"stored {things} in {runs_folder()}/results.sqlite. Next: pipeline report")
    if result.stopped:
        raise click.Abort
    return 0 if all(measurement.valid for measurement in measurements) else 1


def _split_flags(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files and runs, and benchmark_model's flags from after --."""
    flags = tuple(word for word in words if word.startswith("--"))
    return tuple(word for word in words if not word.startswith("--")), flags


def _check_flags(flags: tuple[str, ...]) -> None:
    for flag in flags:
        name, equals, _ = flag.removeprefix("--").partition("=")
        if not name or not equals:
            raise UsageError(f"'{flag}' is not a flag of benchmark_model. Give --NAME=VALUE after the --.")
        if name in OURS:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"--{name} is set by the pipeline. Leave it out after the --; if it has an option, such as "
                f"{option if name in DEFAULTS else '--delegate'}, give that before the --."
            )


PHONE_OPTIONS = (
    "serials", "delegates", "cores", "binaries", "max_celsius", "cool_secs", "reconnect_secs", "max_drift",
    "keep", "again", "servers", "sustained_minutes", "op_profile",
)  # fmt: skip


def _refuse_beside(context: click.Context, this: str, *, allowed: tuple[str, ...]) -> None:
    others = [name for name in context.params if name not in allowed and given(context, name)]
    if others:
        names = ", ".join(option_name(context, name) for name in others)
        raise UsageError(f"{this} only reads a log, so {names} has no meaning beside it. Leave it out.")


Settings = TypeVar("Settings")


def _settings_of(kind: type[Settings], options: dict[str, Any]) -> Settings:
    """A settings dataclass from the options that are its fields."""
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in options.items() if name in names})


def _show(result: BenchResult, settings: BenchSettings) -> None:
    from pipeline.bench.table import latency_tables, table_rows

    rows = table_rows(result.measured, {})  # all took turns in one session
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
        f"± is half the 95% interval of the median over {counted(settings.rounds, 'round')}; "
        f"{_others(rows)}."
    )
    if any(row.comparison is not None and not row.comparison.larger_than_noise for row in rows):
        click.echo(
            "To tell smaller differences from noise: --num-rounds 30 --min-secs 5, on a machine at rest."
        )


def _threads(*counts: int) -> str:
    return "1 thread" if counts == (1,) else f"{', '.join(map(str, counts))} threads"


def _others(rows: list[TableRow]) -> str:
    """How busy other programs kept the machine, the busiest file's."""
    found = [row.measurement.others_cpus for row in rows if row.measurement.others_cpus is not None]
    if not found:
        return "how busy the machine was with other programs is not known here"
    return f"other programs used {max(found):.1f} CPUs meanwhile"


def _delegates(rows: list[TableRow]) -> str:
    return " / ".join(dict.fromkeys(row.measurement.delegate for row in rows))
