"""`pipeline explain`: why a file is slow, large or wrong, layer by layer; compares two files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.output import json_option, print_records, say, stages, stdout_console, working
from pipeline.commands.pixels import labels_option, pixel_options
from pipeline.errors import UsageError
from pipeline.lineage import is_keras_model
from pipeline.runs import runs_folder, tflite_files
from pipeline.shell import quoted
from pipeline.steps.settings import VerifySettings
from spelling import counted

if TYPE_CHECKING:
    from pipeline.explain.explanation import ExplainedFile
    from pipeline.explain.finding import Finding
    from pipeline.explain.join import JoinedFiles
    from pipeline.steps.answers import Answers

SORTS = ("time", "bytes", "error", "order")
TOP = 20
DISTINCT_P = 0.05
"""Below this, two files' top-1 differ by more than chance."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The JSON output: one or two files, their joined layers, and the findings."""

    files: tuple[ExplainedFile, ...]
    joined: JoinedFiles | None
    findings: tuple[Finding, ...]
    answers: Answers | None
    """On the images of --data; None without."""


@click.command(name="explain", short_help="Say why a file is slow, large or wrong, layer by layer.")
@click.argument("file", metavar="FILE|RUN")
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
@click.option(
    "--data",
    metavar="NAME|FOLDER",
    help="Labelled images: what the files answer on them.  [default for layers: that of the training]",
)
@labels_option
@pixel_options
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
    **others: Any,  # noqa: ANN401
) -> int:
    """Say why a file is slow, large or wrong, layer by layer.

    FILE is any .tflite file, also of other tools; RUN stands for its float32 and its smallest file. Shows
    each operator's type, its bytes, its time on this machine and, for int8 and int16x8 files with their
    sidecar and Keras model, how far its output is from the Keras layer's; then the findings and what to do
    about them. With OTHER, such as the float32 file of the same model, the layers of both are shown side by
    side. With --data, also what they answer on the same 200 test images. Exit status 1 when LiteRT refuses a
    file.

    \b
    pipeline explain mobilenet_int8.tflite
    pipeline explain mobilenet_float32.tflite mobilenet_int8.tflite
    pipeline explain mobilenet_alpha0.5_160-photos-1
    pipeline explain theirs.tflite --no-time --sort bytes --top 0
    pipeline explain theirs.tflite mobilenet_int8.tflite --data photos/ --labels names.txt
    """
    paths = _paths(file, other)
    answered = _answered(paths, data, others)
    explained = _explained(paths, no_time, no_error, num_threads, model, data)
    explained = dataclasses.replace(explained, answers=answered)
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
    return Explanation(files=tuple(files), joined=joined, findings=tuple(most_important(found)), answers=None)


def _answered(paths: Sequence[Path], data: str | None, others: dict[str, Any]) -> Answers | None:
    """What the files answer on the images of --data, which also --labels and --scale are for."""
    if data is None:
        given = [name for name, value in others.items() if value is not None]
        if given:
            raise UsageError(f"--{given[0]} is for the images of --data. Give --data NAME or FOLDER too.")
        return None
    from pipeline.steps.answers import answers

    with stages() as progress:
        return answers(paths, VerifySettings(data=data, **others), progress=progress)


def _paths(file: str, other: str | None) -> list[Path]:
    """The one or two files to explain; a run alone stands for its float32 and its smallest file."""
    targets = [file] if other is None else [file, other]
    for target in targets:
        if is_keras_model(target):
            raise UsageError(
                f"{target} is a Keras model; a .tflite file was expected. "
                f"Make one first: pipeline export {quoted(target)} --int8"
            )
    if other is None and not Path(file).is_file() and not file.endswith(".tflite"):
        return _files_of_run(file)
    paths = []
    for target in targets:
        (path,) = [Path(target)] if Path(target).is_file() else tflite_files((target,), runs_folder())[:1]
        paths.append(path)
    if len(paths) == 2 and paths[0].samefile(paths[1]):
        raise UsageError(f"{paths[0]} was given twice. Give two different files, or one.")
    return paths


def _about_answers(found: Answers) -> list[str]:
    """The files' top-1, how often they agree, and whether the difference may be chance."""
    letters = [f"{letter}: " for letter in "AB"] if len(found.files) > 1 else [""]
    lines = [f"On {counted(found.num_images, f'{found.split} image')} of {found.dataset}:"]
    for file, letter in zip(found.files, letters, strict=True):
        top1 = "not asked" if file.top1 is None else f"top-1 {file.top1:.2f}%"
        lines.append(f"  {letter}{top1}" + (f": {file.reason}" if file.reason else ""))
    if found.agreement is not None and found.p is not None:
        lines.append(
            f"  both name the same class on {found.agreement:.2f}%; the difference in top-1 is "
            + (f"more than chance (p = {found.p:.2g})" if found.p < DISTINCT_P else "within chance")
        )
    return lines


def _files_of_run(name: str) -> list[Path]:
    files = tflite_files((name,), runs_folder())
    smallest = min(files, key=lambda file: file.stat().st_size)
    floats = [file for file in files if file.stem.endswith("_float32") and file != smallest]
    chosen = [*floats[:1], smallest]
    if len(files) > len(chosen):
        left = ", ".join(file.name for file in files if file not in chosen)
        say(f"explaining {' and '.join(file.name for file in chosen)}; the run also has {left}")
    return chosen


def _print(explained: Explanation, sort: str, top: int) -> None:
    from pipeline.explain import text
    from pipeline.explain.table import joined_table, layer_table

    console = stdout_console()
    files, joined = explained.files, explained.joined
    click.echo("\n".join(text.about_files(files)))
    if explained.answers is not None:
        click.echo("\n".join(_about_answers(explained.answers)))
    if joined is None:
        console.print(layer_table(files[0], sort=sort, top=top, width=console.width))
    else:
        click.echo(text.about_joining(joined))
        console.print(joined_table(joined.layers, sort=sort, top=top))
    num_rows = len(files[0].running if joined is None else joined.layers)
    if top and num_rows > top:
        click.echo(f"{counted(num_rows - top, 'more row')}: --top 0 shows all.")
    click.echo("\n".join([*text.about_delegation(files), *text.about_findings(explained.findings, files)]))
