"""`pipeline report`: size, latency and accuracy of every file, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.output import json_option, print_drawn, print_records, say, stages
from pipeline.errors import PipelineError, UsageError, unknown_name
from pipeline.runs import runs_folder
from pipeline.steps.settings import FORMATS, PICTURES
from spelling import counted

if TYPE_CHECKING:
    from pipeline.records.report_row import ReportRow
    from pipeline.store.rows import ReportRows


@click.command(name="report")
@click.argument("runs", nargs=-1, metavar="[RUN|FILE ...]")
@click.option(
    "--format",
    "format_name",
    metavar="|".join(FORMATS),
    help="What to write. [default: what --out ends in, else table]",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write. [default: the terminal; for a page or picture report.FORMAT in the runs folder]",
)
@click.option("--family", "families", multiple=True, help="Only models of this family; may be repeated.")
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Only rows with this: precision=int8, device~Pixel, 'top1>=80'; repeated, all must hold.",
)
@click.option("--since", metavar="TIME", help="Only figures since a day (2026-11-23), or for 12h, 7d, 4w.")
@click.option("--top", type=click.IntRange(min=1), help="Only so many rows, the most accurate.")
@click.option(
    "--baseline",
    metavar="FILE|RUN",
    help="Say what became better or worse: against a .tflite file, a run, or a report.json that was kept.",
)
@click.option("--gate", is_flag=True, help="With --baseline: exit 1 if anything became worse.")
@json_option
def command(
    runs: tuple[str, ...],
    format_name: str | None,
    out: Path | None,
    baseline: str | None,
    gate: bool,
    as_json: bool,
    **conditions: Any,  # noqa: ANN401 - the fields of Selection
) -> None:
    """Show size, latency and accuracy of every file, as a table or a page.

    Reads what `pipeline export`, `verify` and `bench` found; without RUN or FILE (a .tflite file), of all.
    The page is one file that works offline.

    \b
    pipeline report --format html
    pipeline report --family mobilenet --where precision=int8 --where 'median<5' --top 20
    pipeline report mobilenet_alpha0.5_160-photos-1 --format csv --out figures.csv
    pipeline report --baseline mobilenet_alpha0.5_160-photos-1 --gate
    """
    if baseline is not None:
        if format_name not in (None, "table", "json") or out is not None:
            raise UsageError(
                "--baseline prints a table, or with --json records. Leave --format and --out out."
            )
        _compare(runs, baseline, gate=gate, as_json=as_json or format_name == "json", **conditions)
        return
    if gate:
        raise UsageError("--gate needs --baseline FILE|RUN: what the files are compared with.")
    format_name = _format(format_name, out, as_json=as_json)
    from pipeline.steps.report import is_excerpt, report_rows, write_report
    from pipeline.store.selection import Selection

    with stages() as progress:
        rows = report_rows(runs, Selection(**conditions), runs=runs_folder(), progress=progress)
    if out is None and format_name in PICTURES:
        out = runs_folder() / f"report.{format_name}"
    if out is None:
        show_report(rows, format_name)
        _say_next(rows, format_name)
        return
    num_bytes = write_report(rows, format_name, out)
    all_rows = f" All rows: {out.stem}_rows.csv beside it." if is_excerpt(rows, format_name) else ""
    say(f"Wrote {out}: {counted(len(rows), 'row')}, {num_bytes / 1e6:.2f} MB.{all_rows}")


def _compare(
    names: Sequence[str],
    baseline: str,
    *,
    gate: bool,
    as_json: bool,
    **conditions: Any,  # noqa: ANN401 - the fields of Selection
) -> None:
    """Prints each file beside its baseline; with the gate, raises if anything became worse."""
    from pipeline.commands.baseline import print_changes
    from pipeline.steps.baseline import against_baseline
    from pipeline.store.selection import Selection

    with stages() as progress:
        found = against_baseline(
            names, baseline, Selection(**conditions), runs=runs_folder(), progress=progress
        )
    if as_json:
        print_records(found.changes)
    else:
        print_changes(found)
    if gate and found.worse:
        raise PipelineError(
            f"{len(found.worse)} of {counted(len(found.changes), 'comparison')} with {baseline} became worse "
            "by more than noise. Without --gate this is no error."
        )


def _format(name: str | None, out: Path | None, *, as_json: bool) -> str:
    """The format, from --format, --out and --json."""
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


def show_report(rows: Sequence[ReportRow], format_name: str) -> None:
    """Prints the report; a table is as wide as the terminal."""
    from pipeline.report.table import terminal_table
    from pipeline.report.terminal import terminal_width
    from pipeline.steps.report import report_content

    width = terminal_width()
    if format_name == "table" and width is not None:
        print_drawn(terminal_table(rows, width=width, colour=True))
        return
    click.echo(report_content(rows, format_name), nl=False)


def _say_next(rows: ReportRows, format_name: str) -> None:
    """Says on stderr, after a table, which steps are still missing."""
    if format_name != "table":
        return
    files, splits, valid = (rows.column(name) for name in ("sha256", "split", "valid"))
    split_of, is_measured = dict(zip(files, splits, strict=True)), dict(zip(files, valid, strict=True))
    unverified = sum(split is None for split in split_of.values())
    untested = sum(split not in (None, "test") for split in split_of.values())
    unmeasured = sum(value is None for value in is_measured.values())
    if unverified:
        say(f"{counted(unverified, 'file')} without accuracy: pipeline verify RUN")
    if untested:
        say(f"{counted(untested, 'file')} without accuracy on the test split: pipeline verify RUN")
    if unmeasured:
        say(f"{counted(unmeasured, 'file')} without latency: pipeline bench RUN")
    if not unverified and not untested and not unmeasured:
        say("The same with charts: pipeline report --format html")
