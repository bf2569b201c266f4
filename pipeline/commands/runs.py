"""`pipeline runs`: the runs in the runs folder, and the files of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from export.files import write_bytes
from pipeline.commands.newest import say_newest
from pipeline.commands.output import json_option, print_drawn, print_records, print_table, say, table
from pipeline.errors import PipelineError, UsageError
from pipeline.report.run_list import run_summaries, run_summary
from pipeline.runs import RECORD, foreign_exports, newest_run, runs_folder
from pipeline.shell import quoted
from pipeline.store.selection import Selection
from pipeline.store.snapshot import complete_store
from spelling import some

if TYPE_CHECKING:
    from pipeline.report.run_list import RunSummary

MOST_RUNS = 200
"""Lines of the table; a terminal scrolls no further back, and drawing thousands takes seconds."""


@click.command(name="runs")
@click.argument("runs", nargs=-1, metavar="[RUN ...]")
@click.option(
    "--curve",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw accuracy and loss of RUN, or of several, over the epochs into FILE.png or FILE.svg.",
)
@click.option("--all", "show_all", is_flag=True, help=f"List every run, not the newest {MOST_RUNS}.")
@json_option
def command(runs: tuple[str, ...], curve: Path | None, show_all: bool, as_json: bool) -> None:
    """List the runs and what each holds.

    With RUN, only that run: its model, the files exported from it, and their figures. With several, these
    side by side: the settings that differ, and what came of them.

    \b
    pipeline runs
    pipeline runs mobilenet_alpha0.5_160-photos-1
    pipeline runs mobilenet_alpha0.5_160-photos-1 --curve curve.png
    pipeline runs mobilenet_alpha0.5_160-photos-1 mobilenet_alpha0.5_160-photos-2
    """

    folder = runs_folder()
    if curve is not None:
        _draw(curve, runs, folder)
        return
    if len(runs) > 1:
        _show_side_by_side(runs, folder, as_json=as_json)
        return
    run = runs[0] if runs else None
    newest = None if show_all or as_json else MOST_RUNS
    summaries = [run_summary(run, folder)] if run else run_summaries(folder, newest=newest)
    for summary in summaries:
        if summary.state == "damaged":
            say(f"pipeline: {summary.problem}")
    if as_json:
        print_records(summaries)
    elif run is not None:
        _show_one(summaries[0], folder)
    elif summaries:
        _show_all(summaries)
    if not as_json:
        say_newest(run)
    foreign = foreign_exports(folder) if run is None else []
    if not summaries:
        say(f"There is no run in {folder}/. Make the first: pipeline train mobilenet --alpha 0.25")
    if newest is not None and len(summaries) >= newest:
        say(f"Not more than the newest {newest} are listed. All: pipeline runs --all")
    if foreign and not as_json:
        names = some(place.name for place in reversed(foreign))
        say(f"Files from models from elsewhere are in {folder}/: {names}. Their figures: pipeline report")


def _draw(target: Path, names: Sequence[str], folder: Path) -> None:
    """Writes the curves of the runs, or of the newest; they may be unfinished."""
    kind = target.suffix.lstrip(".").lower()
    if kind not in ("png", "svg"):
        raise UsageError(f"--curve {target} should end in .png or .svg.")
    from pipeline.report.curve import curve_picture

    runs = [folder / run_summary(name, folder).run for name in names] or [newest_run(folder)]
    write_bytes(target, curve_picture(runs, kind=kind))
    say(f"wrote {target}")


def _show_side_by_side(names: Sequence[str], folder: Path, *, as_json: bool) -> None:
    """Prints a column for each run."""
    summaries = [run_summary(name, folder) for name in dict.fromkeys(names)]
    for summary in summaries:
        if summary.state != "finished":
            raise PipelineError(f"the run {summary.run} is {summary.problem}")
    if as_json:
        print_records(summaries)
        return
    from pipeline.records.training import read_record
    from pipeline.report.run_compare import result_lines, setting_lines

    records = [read_record(folder / summary.run / RECORD) for summary in summaries]
    shown = table("", *(summary.run for summary in summaries))
    settings = setting_lines(records)
    for cells in (*result_lines(records), *settings):
        shown.add_row(*cells)
    print_table(shown)
    if not settings:
        say("No setting differs.")
    words = " ".join(quoted(each.run) for each in summaries)
    say(f"Their curves: pipeline runs {words} --curve curves.png")


def _show_all(summaries: list[RunSummary]) -> None:
    from pipeline.report.run_table import runs_table
    from pipeline.report.terminal import UNFOLDED, terminal_width

    width = terminal_width()
    print_drawn(runs_table(summaries, width=width or UNFOLDED, colour=width is not None))


def _show_one(summary: RunSummary, folder: Path) -> None:
    from pipeline.report.run_table import run_tree
    from pipeline.report.terminal import UNFOLDED, terminal_width

    if summary.state != "finished":
        state = f"the run {summary.run} is " if summary.state == "unfinished" else ""
        raise PipelineError(f"{state}{summary.problem}")
    with complete_store(folder) as (store, _):
        rows = store.rows(Selection(runs=(summary.run,)))
    width = terminal_width()
    tree = run_tree(summary, rows, width=width or UNFOLDED, colour=width is not None)
    print_drawn(tree)
    if not rows:
        say(f"No exported file yet: pipeline export {quoted(summary.run)} --int8")
