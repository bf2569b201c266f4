"""Size, latency and accuracy of every exported file, as rows and as a written report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.files import write_bytes
from pipeline.errors import PipelineError, unknown_name
from pipeline.progress import Note, Progress, silent
from pipeline.records.report_row import ReportRow
from pipeline.report import records
from pipeline.report.table import terminal_table
from pipeline.report.terminal import PIPED_WIDTH
from pipeline.runs import find_run, finished_runs
from pipeline.shell import quoted
from pipeline.steps.settings import ReportSettings
from pipeline.store.rows import ReportRows
from pipeline.store.selection import Selection
from pipeline.store.snapshot import complete_store


def report(
    names: Sequence[str] = (),
    settings: ReportSettings | None = None,
    *,
    runs: Path,
    progress: Progress = silent,
) -> ReportRows:
    """Writes the report of these runs in the folder `runs`, or of all; returns its rows."""
    settings = settings or ReportSettings()
    rows = report_rows(names, runs=runs, progress=progress)
    write_report(rows, settings.format, settings.out or runs / f"report.{settings.format}")
    return rows


def report_rows(names: Sequence[str] = (), *, runs: Path, progress: Progress = silent) -> ReportRows:
    """The rows of these runs, or of all; first adds to the store what is only in the folder."""
    if not runs.is_dir():
        raise PipelineError(
            f"there is nothing to report: no folder {runs}/. Train a model first: "
            "pipeline train mobilenet --alpha 0.25"
        )
    with complete_store(runs) as (store, warnings):
        for warning in warnings:
            progress(Note(f"pipeline: {warning}"))
        wanted = {_run_name(name, runs, store.runs()) for name in names}
        rows = store.rows(Selection(runs=tuple(sorted(wanted))))
    if not rows:
        what = f"the run {', '.join(sorted(wanted))} has" if wanted else f"{runs}/ holds"
        raise PipelineError(
            f"there is nothing to report: {what} no exported file. Export one: "
            f"pipeline export {' '.join([*map(quoted, sorted(wanted)[:1]), '--int8'])}"
        )
    return rows


def write_report(rows: Sequence[ReportRow], format_name: str, out: Path) -> int:
    """Writes the report into a file atomically; returns its size in bytes."""
    content = report_content(rows, format_name)
    content = content.encode() if isinstance(content, str) else content
    try:
        write_bytes(out, content)
    except OSError as error:
        raise PipelineError(
            f"{out} cannot be written ({error.strerror}). Write it elsewhere with --out FILE."
        ) from error
    return len(content)


def report_content(rows: Sequence[ReportRow], format_name: str) -> str | bytes:
    """The report in one of FORMATS."""
    if format_name == "html":
        from pipeline.report.page import page_text  # with its charts' libraries, which take seconds

        return page_text(rows)
    if format_name in ("png", "svg"):
        from pipeline.report.picture import png_bytes, svg_text

        return png_bytes(rows) if format_name == "png" else svg_text(rows)
    if format_name == "table":
        return terminal_table(rows, width=PIPED_WIDTH, colour=False)
    writers = {"csv": records.csv_text, "json": records.json_text, "md": records.markdown_text}
    return writers[format_name](rows)


def _run_name(name: str, runs: Path, known: dict[str, str]) -> str:
    """The run's name in the store; its folder may be gone."""
    if name in known:
        return name
    if not (Path(name).exists() or (runs / name).exists()):
        raise unknown_name("run", name, {*known, *(run.name for run in finished_runs(runs))})
    return find_run(name, runs).name
