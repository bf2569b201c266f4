"""`pipeline report`: size, latency and accuracy of every file, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.output import json_option, say
from pipeline.errors import PipelineError, UsageError, unknown_name
from pipeline.runs import find_run, finished_runs, runs_folder

if TYPE_CHECKING:
    from pipeline.records.report_row import ReportRow

FORMATS = ("table", "html", "csv", "json", "md", "png", "svg")
PICTURES = ("html", "png", "svg")
"""Formats that go into a file: report.<format> in the runs folder, unless --out says otherwise."""


@click.command(name="report")
@click.argument("runs", nargs=-1, metavar="[RUN ...]")
@click.option(
    "--format",
    "format_name",
    metavar="|".join(FORMATS),
    help="What to write. [default: what --out ends in, else table]",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write. [default: the terminal; report.FORMAT in the runs folder for html, png, svg]",
)
@json_option
def command(runs: tuple[str, ...], format_name: str | None, out: Path | None, as_json: bool) -> None:
    """Show size, latency and accuracy of every file, as a table or a page.

    Reads what `pipeline export`, `verify` and `bench` found; without RUN, of all runs. The page is one
    file that works offline.

    \b
    pipeline report --format html
    pipeline report mobilenet_alpha0.5_160-photos-1 --format csv --out figures.csv
    """
    format_name = _format(format_name, out, as_json=as_json)
    rows = rows_of(runs, runs_folder())
    if out is None and format_name in PICTURES:
        out = runs_folder() / f"report.{format_name}"
    if out is None:
        click.echo(rendered(rows, format_name, to_terminal=True), nl=False)
        _say_next(rows, format_name)
        return
    num_bytes = write_report(rows, format_name, out)
    say(f"Wrote {out}: {_counted(len(rows), 'row')}, {num_bytes / 1e6:.2f} MB.")


def write_report(rows: list[ReportRow], format_name: str, out: Path) -> int:
    """Writes the report into a file, whole or not at all; returns its size in bytes."""
    from export.files import write_bytes

    content = rendered(rows, format_name, to_terminal=False)
    content = content.encode() if isinstance(content, str) else content
    try:
        write_bytes(out, content)
    except OSError as error:
        raise PipelineError(
            f"{out} cannot be written ({error.strerror}). Write it elsewhere with --out FILE."
        ) from error
    return len(content)


def _format(name: str | None, out: Path | None, *, as_json: bool) -> str:
    """The format that the options mean together."""
    if as_json:
        if name not in (None, "json"):
            raise UsageError(f"--json and --format {name} contradict each other. Give one of them.")
        return "json"
    if name is None and out is not None:
        name = out.suffix.lstrip(".").lower() or "table"
        name = {"htm": "html", "markdown": "md", "txt": "table"}.get(name, name)
    name = name or "table"
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    return name


def rows_of(runs: Sequence[str], folder: Path) -> list[ReportRow]:
    """The rows of these runs, or of all; the store first takes in what the folder holds and it lacks."""
    from pipeline.store.snapshot import complete_store

    if not folder.is_dir():
        raise PipelineError(
            f"there is nothing to report: no folder {folder}/. Train a model first: "
            "pipeline train mobilenet --alpha 0.25"
        )
    with complete_store(folder) as (store, warnings):
        for warning in warnings:
            say(f"pipeline: {warning}")
        wanted = {_run_name(run, folder, store.runs()) for run in runs}
        rows = [row for row in store.rows() if not wanted or row.file.run in wanted]
    if not rows:
        what = f"the run {', '.join(sorted(wanted))} has" if wanted else f"{folder}/ holds"
        raise PipelineError(
            f"there is nothing to report: {what} no exported file. Export one: "
            f"pipeline export {' '.join([*sorted(wanted)[:1], '--int8'])}"
        )
    return rows


def _run_name(name: str, folder: Path, known: dict[str, str]) -> str:
    """The run's name, as the store knows it; it may be that its folder is gone."""
    if name in known:
        return name
    if not (Path(name).exists() or (folder / name).exists()):
        raise unknown_name("run", name, {*known, *(run.name for run in finished_runs(folder))})
    return find_run(name, folder).name


def rendered(rows: list[ReportRow], format_name: str, *, to_terminal: bool) -> str | bytes:
    """The report in that format; its module is imported only now."""
    if format_name in PICTURES:
        return _picture(rows, format_name)
    if format_name == "table":
        from pipeline.report.table import terminal_table
        from pipeline.report.terminal import PIPED_WIDTH, terminal_width

        width = terminal_width() if to_terminal else None
        return terminal_table(rows, width=width or PIPED_WIDTH, colour=width is not None)
    from pipeline.report import records

    writers = {"csv": records.csv_text, "json": records.json_text, "md": records.markdown_text}
    return writers[format_name](rows)


def _picture(rows: list[ReportRow], format_name: str) -> str | bytes:
    if format_name == "html":
        from pipeline.report.page import page_text

        return page_text(rows)
    from pipeline.report.picture import png_bytes, svg_text

    return png_bytes(rows) if format_name == "png" else svg_text(rows)


def _say_next(rows: list[ReportRow], format_name: str) -> None:
    """What is still missing, on stderr, after a table for people."""
    if format_name != "table":
        return
    unverified = len({row.file.sha256 for row in rows if row.accuracy.split is None})
    untested = len({row.file.sha256 for row in rows if row.accuracy.split not in (None, "test")})
    unmeasured = len({row.file.sha256 for row in rows if row.latency.valid is None})
    if unverified:
        say(f"{_counted(unverified, 'file')} without accuracy: pipeline verify RUN")
    if untested:
        say(f"{_counted(untested, 'file')} without accuracy on the test split: pipeline verify RUN")
    if unmeasured:
        say(f"{_counted(unmeasured, 'file')} without latency: pipeline bench RUN")
    if not unverified and not untested and not unmeasured:
        say("The same with charts: pipeline report --format html")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
