"""`pipeline runs`: what the runs folder holds, and where each file of a run comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.output import json_option
from pipeline.errors import PipelineError, unknown_name
from pipeline.runs import runs_folder

if TYPE_CHECKING:
    from pipeline.report.run_list import RunSummary


@click.command(name="runs")
@click.argument("run", required=False)
@json_option
def command(run: str | None, as_json: bool) -> None:
    """List the runs and what each holds.

    With RUN, that run alone: its model, the files exported from it, and what was found of each.

    \b
    pipeline runs
    pipeline runs mobilenet_alpha0.5_160-photos-1
    """
    from pipeline.report.run_list import run_summaries, summary_as_json

    folder = runs_folder()
    summaries = run_summaries(folder)
    for summary in summaries:
        if summary.state == "damaged":
            click.echo(f"pipeline: {summary.problem}", err=True)
    if run is not None:
        summaries = [_chosen(run, summaries)]
    if as_json:
        click.echo(json.dumps([summary_as_json(summary) for summary in summaries], indent=2))
    elif run is not None:
        _show_one(summaries[0], folder)
    elif summaries:
        _show_all(summaries)
    if not summaries:
        click.echo(
            f"There is no run in {folder}/. Make the first: pipeline train mobilenet --alpha 0.25", err=True
        )


def _chosen(name: str, summaries: list[RunSummary]) -> RunSummary:
    """The run of that name or path."""
    for summary in summaries:
        if name == summary.run or Path(name).resolve() == Path(summary.path).resolve():
            return summary
    raise unknown_name("run", name, [summary.run for summary in summaries])


def _show_all(summaries: list[RunSummary]) -> None:
    from pipeline.report.run_table import runs_table
    from pipeline.report.terminal import PIPED_WIDTH, terminal_width

    width = terminal_width()
    click.echo(runs_table(summaries, width=width or PIPED_WIDTH, colour=width is not None), nl=False)


def _show_one(summary: RunSummary, folder: Path) -> None:
    from pipeline.report.run_table import run_tree
    from pipeline.report.terminal import PIPED_WIDTH, terminal_width
    from pipeline.store.folder import add_missing
    from pipeline.store.store import open_store

    if summary.state != "finished":
        state = f"the run {summary.run} is " if summary.state == "unfinished" else ""
        raise PipelineError(f"{state}{summary.problem}")
    with open_store(folder) as store:
        add_missing(store, folder)
        rows = [row for row in store.rows() if row.run == summary.run]
    width = terminal_width()
    tree = run_tree(summary, rows, width=width or PIPED_WIDTH, colour=width is not None)
    click.echo(tree, nl=False)
    if not rows:
        click.echo(f"No exported file yet: pipeline export {summary.run} --int8", err=True)
