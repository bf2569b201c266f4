"""The options that select phones, and the phones they select. Light at import."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from android_bench.adb_words import advice
from android_bench.delegates import WORDS
from android_bench.errors import DeviceError
from android_bench.phone.adb import default_server, parse_server
from android_bench.phone.pool import ALL, list_phones, select
from android_bench.tool.binary import read_tool
from pipeline.commands.output import say
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from android_bench.phone.adb import AdbServer, ListedPhone
    from android_bench.tool.binary import Progress
    from pipeline.bench.fleet import FleetPhone

DEVICE_TROUBLE = 4
"""The exit status when a phone is missing or lost."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def several_words(known: Sequence[str], kind: str) -> Callable[..., tuple[str, ...]]:
    """A callback that parses a list such as cpu,gpu, in order, without repeats."""

    def read(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
        words = [word.strip() for word in value.split(",")]
        for word in words:
            if word not in known:
                raise click.BadParameter(
                    f"'{word}' is no {kind}. Give some of {', '.join(known)}.", context, parameter
                )
        return tuple(dict.fromkeys(words))

    return read


def _servers(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        try:
            parse_server(text)
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from error
    return value


serial_option: Decorator = click.option(
    "-s",
    "--serial",
    "serials",
    multiple=True,
    metavar="SERIAL",
    help="A phone; several times for several, all for every phone that is ready."
    " [default: $ANDROID_SERIAL, or the only one]",
)
server_option: Decorator = click.option(
    "--adb-server",
    "servers",
    multiple=True,
    metavar="HOST:PORT",
    callback=_servers,
    help="An adb server that has phones; several times for a pool. [default: this machine's]",
)
tool_option: Decorator = click.option(
    "--benchmark-model",
    "binaries",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The benchmark_model binary; several times for phones of several ABIs."
    " [default: Google's build, downloaded once]",
)
delegate_option: Decorator = click.option(
    "--delegate",
    "delegates",
    callback=several_words(WORDS, "delegate"),
    metavar="NAME[,NAME]",
    default=WORDS[0],
    show_default=True,
    help=f"Run with each of these: {', '.join(WORDS)}.",
)


def refuse_without_adb(context: click.Context, names: Sequence[str], flags: Sequence[str] = ()) -> None:
    """UsageError if options for phones, or flags for their tool, were given without --adb."""
    found = [option_name(context, name) for name in names if given(context, name)]
    if found or flags:
        raise UsageError(f"{', '.join([*found, *flags])} is for phones. Add --adb, or leave it out.")


def given(context: click.Context, name: str) -> bool:
    """Whether an option or argument was given on the command line."""
    if name == "targets":
        return bool(context.params[name])
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def option_name(context: click.Context, name: str) -> str:
    """The option's name as the user types it."""
    found = next(each for each in context.command.params if each.name == name)
    return "FILE" if name == "targets" else max(found.opts, key=len)


def adb_servers(servers: Sequence[str]) -> list[AdbServer]:
    """The servers that --adb-server names; without any, adb's default."""

    try:
        return [parse_server(text) for text in dict.fromkeys(servers)] or [default_server()]
    except (ValueError, DeviceError) as error:
        raise UsageError(str(error)) from error


def named_phones(serials: Sequence[str], servers: Sequence[str]) -> list[ListedPhone]:
    """The phones that -s and --adb-server or ANDROID_SERIAL select, else the only one."""

    listed, problems = list_phones(adb_servers(servers))
    for problem in problems:
        say(f"pipeline: {problem}")
    if ALL in serials and any(phone.state == "device" for phone in listed):
        for phone in listed:
            if phone.state != "device":
                say(f"pipeline: phone {phone.serial} is left out: {phone.state}. {advice(phone.state)}")
    from_environment = os.environ.get("ANDROID_SERIAL")
    return select(listed, serials or ([from_environment] if from_environment else []))


def find_fleet(
    serials: Sequence[str], servers: Sequence[str], binaries: Sequence[Path]
) -> tuple[list[FleetPhone], int]:
    """The selected phones that are ready, each with its binary, and how many others could not take part."""
    from pipeline.bench.fleet import gather

    tools = [read_tool(path) for path in binaries]
    with _download_bar() as progress:
        fleet, absent = gather(named_phones(serials, servers), tools, progress=progress)
    for each in absent:
        say(f"pipeline: phone {each.serial} takes no part: {each.reason}")
    return fleet, len(absent)


@contextmanager
def _download_bar() -> Iterator[Progress]:
    """A bar on stderr while benchmark_model is downloaded; a line without a terminal."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from pipeline.console import console

    columns = (
        TextColumn("downloading benchmark_model"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    bar = Bar(*columns, console=console(stderr=True), transient=True)
    tasks: list[Any] = []

    def show(done: int, total: int | None) -> None:
        if not tasks:
            tasks.append(bar.add_task("", total=total))
            if bar.console.is_terminal:
                bar.start()
            else:
                say("downloading benchmark_model ...")
        bar.update(tasks[0], completed=done, total=total)

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()
