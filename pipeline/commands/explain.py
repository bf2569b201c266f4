"""`pipeline explain`: why a file is slow, large or wrong, layer by layer; compares two files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.output import json_option, print_records, say, stdout_console, working
from pipeline.errors import UsageError, unknown_name
from pipeline.lineage import is_keras_model

if TYPE_CHECKING:
    from pipeline.explain.explanation import ExplainedFile
    from pipeline.explain.findings import Finding
    from pipeline.explain.join import JoinedFiles

SORTS = ("time", "bytes", "error", "order")
TOP = 20


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The JSON output: one or two files, their joined layers, and the findings."""

    files: tuple[ExplainedFile, ...]
    joined: JoinedFiles | None
    findings: tuple[Finding, ...]


@click.command(name="explain", short_help="Say why a file is slow, large or wrong, layer by layer.")
@click.argument("file", metavar="FILE")
@click.argument("other", required=False, metavar="[OTHER]")
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    help="[default: time; bytes with --no-time]",
)
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=TOP,
    show_default=True,
    metavar="N",
    help="Number of rows to show; 0 shows all.",
)
@click.option("--no-time", is_flag=True, help="Measure no times.")
@click.option("--no-error", is_flag=True, help="Do not compare the layers with the Keras model's.")
@click.option(
    "--num-threads", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Of LiteRT."
)
@click.option(
    "--model",
    type=click.Path(exists=True, path_type=Path),
    help="The Keras model, if it is not beside the file.",
)
@click.option("--data", metavar="NAME|FOLDER", help="[default: that of the training]")
@json_option
def command(
    *,
    file: str,
    other: str | None,
    sort: str | None,
    top: int,
    no_time: bool,
    no_error: bool,
    num_threads: int,
    model: Path | None,
    data: str | None,
    as_json: bool,
) -> int:
    """Say why a file is slow, large or wrong, layer by layer.

    FILE is any .tflite file, also of other tools. Shows each operator's type, its bytes, its time on this
    machine and, for int8 and int16x8 files with their sidecar and Keras model, how far its output is from the
    Keras layer's; then the findings and what to do about them. With OTHER, such as the float32 file of the
    same model, the layers of both are shown side by side. Exit status 1 when LiteRT refuses a file.

    \b
    pipeline explain mobilenet_int8.tflite
    pipeline explain mobilenet_float32.tflite mobilenet_int8.tflite
    pipeline explain theirs.tflite --no-time --sort bytes --top 0
    """
    paths = _paths(file, other)
    explained = _explained(paths, no_time, no_error, num_threads, model, data)
    sort = sort or ("bytes" if no_time else "time")
    if as_json:
        print_records([explained])
    else:
        _print(explained, sort, top)
    refused = [] if no_time else [each for each in explained.files if each.timed is None]
    for each in refused:
        say(f"pipeline: {Path(each.path).name}: no times: {each.timing.reason}")  # type: ignore[union-attr]
    return 1 if refused else 0


def _explained(
    paths: Sequence[Path],
    no_time: bool,
    no_error: bool,
    num_threads: int,
    model: Path | None,
    data: str | None,
) -> Explanation:
    from pipeline.explain.findings import find, find_between, most_important
    from pipeline.explain.join import join
    from pipeline.explain.reading import Wanted, explain_files
    from pipeline.explain.timing import TimingSettings

    wanted = Wanted(
        timing=None if no_time else TimingSettings(num_threads=num_threads),
        errors=not no_error,
        model=model,
        data=data,
    )
    with working(f"taking apart {' and '.join(path.name for path in paths)}"):
        files = explain_files(paths, wanted)
    joined = join(files[0], files[1]) if len(files) == 2 else None
    found = [finding for each in files for finding in find(each)]
    if joined is not None:
        found += find_between(files[0], files[1], joined)
    return Explanation(files=tuple(files), joined=joined, findings=tuple(most_important(found)))


def _paths(file: str, other: str | None) -> list[Path]:
    targets = [file] if other is None else [file, other]
    for target in targets:
        if is_keras_model(target):
            raise UsageError(
                f"{target} is a Keras model; a .tflite file was expected. "
                f"Make one first: pipeline export {target} --int8"
            )
        if not Path(target).is_file():
            near = [each.name for each in Path(target).parent.glob("*.tflite")]
            raise (
                unknown_name("file", target, near)
                if near
                else UsageError(
                    f"there is no file {target}. Give the path of a .tflite file: pipeline runs lists them."
                )
            )
    paths = [Path(target) for target in targets]
    if len(paths) == 2 and paths[0].samefile(paths[1]):
        raise UsageError(f"{paths[0]} was given twice. Give two different files, or one.")
    return paths


def _print(explained: Explanation, sort: str, top: int) -> None:
    from pipeline.explain import text
    from pipeline.explain.table import joined_table, layer_table

    console = stdout_console()
    files, joined = explained.files, explained.joined
    click.echo("\n".join(text.about_files(files)))
    if joined is None:
        console.print(layer_table(files[0], sort=sort, top=top, width=console.width))
    else:
        click.echo(text.about_joining(joined))
        console.print(joined_table(joined.layers, sort=sort, top=top))
    num_rows = len(files[0].running if joined is None else joined.layers)
    if top and num_rows > top:
        click.echo(f"{num_rows - top} more rows: --top 0 shows all.")
    click.echo("\n".join([*text.about_delegation(files), *text.about_findings(explained.findings, files)]))
