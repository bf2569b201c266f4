"""Size, latency and accuracy of every exported file, as rows and as a written report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from export.files import sha256_of, write_bytes
from pipeline.errors import PipelineError, unknown_name
from pipeline.lineage import is_keras_model
from pipeline.progress import Note, Progress, silent
from pipeline.records.report_row import ReportRow
from pipeline.report import records
from pipeline.report.table import terminal_table
from pipeline.report.terminal import PIPED_WIDTH
from pipeline.runs import find_run, finished_runs, foreign_exports, tflite_files
from pipeline.shell import quoted
from pipeline.steps.settings import ReportSettings
from pipeline.store.rows import ReportRows
from pipeline.store.selection import Selection
from pipeline.store.snapshot import complete_store
from pipeline.store.store import FILE_NAME
from spelling import some


def report(
    names: Sequence[str] = (),
    settings: ReportSettings | None = None,
    *,
    runs: Path,
    progress: Progress = silent,
) -> ReportRows:
    """Writes the report of these runs in the folder `runs`, or of all; returns its rows."""
    settings = settings or ReportSettings()
    rows = report_rows(names, settings.selection, runs=runs, progress=progress)
    write_report(rows, settings.format, settings.out or runs / f"report.{settings.format}")
    return rows


def report_rows(
    names: Sequence[str] = (),
    selection: Selection | None = None,
    *,
    runs: Path,
    progress: Progress = silent,
) -> ReportRows:
    """The selected rows of these runs, or of all; first adds to the store what is only in the folder."""
    selection = selection or Selection()
    if not runs.is_dir():
        raise PipelineError(
            f"there is nothing to report: no folder {runs}/. Train a model first: "
            "pipeline train mobilenet --alpha 0.25"
        )
    with complete_store(runs) as (store, warnings):
        for warning in warnings:
            progress(Note(f"pipeline: {warning}"))
        wanted = [_wanted(name, runs, store.runs()) for name in names]
        for family in selection.families:
            if family not in store.families():
                raise unknown_name("family", family, store.families())
        rows = store.rows(
            replace(
                selection,
                runs=tuple(each.run for each in wanted if each.run is not None),
                sha256s=tuple(sha256 for each in wanted for sha256 in each.sha256s),
            )
        )
    if not rows and not selection.is_all:
        raise PipelineError(
            "there is nothing to report: no row passes --family, --where and --since. Leave one of them out, "
            "or see the columns and their values: pipeline report --format csv"
        )
    if not rows:
        raise _nothing(wanted, runs)
    return rows


def write_report(rows: Sequence[ReportRow], format_name: str, out: Path) -> int:
    """Writes the report into a file atomically; returns its size in bytes.

    Beside a page that shows a part, a CSV of all rows: report_rows.csv beside report.html. Beside a page, a
    folder of pages of what each file gets wrong: report_pages.
    """
    beside = out.with_name(f"{out.stem}_rows.csv") if is_excerpt(rows, format_name) else None
    try:
        links = _pages(rows, out) if format_name == "html" else {}
        csv_name = None if beside is None else beside.name
        content = report_content(rows, format_name, csv_name=csv_name, links=links)
        content = content.encode() if isinstance(content, str) else content
        if beside is not None:
            write_bytes(beside, records.csv_text(rows).encode())
        write_bytes(out, content)
    except OSError as error:
        raise PipelineError(
            f"{out} cannot be written ({error.strerror}). Write it elsewhere with --out FILE."
        ) from error
    return len(content)


def _pages(rows: Sequence[ReportRow], out: Path) -> dict[str, str]:
    """Writes the pages of the files whose predictions the store keeps; none for rows of no store."""
    if not isinstance(rows, ReportRows) or not (rows.folder / FILE_NAME).is_file():
        return {}
    from pipeline.steps.mistakes import write_pages

    return write_pages(rows, out)


def is_excerpt(rows: Sequence[ReportRow], format_name: str) -> bool:
    """Whether the report in this format is a page that shows a part of the rows."""
    if format_name != "html":
        return False
    from pipeline.report.page import MOST_ROWS

    return len(rows) > MOST_ROWS


def report_content(
    rows: Sequence[ReportRow],
    format_name: str,
    *,
    csv_name: str | None = None,
    links: Mapping[str, str] | None = None,
) -> str | bytes:
    """The report in one of FORMATS.

    Of a page, `csv_name` is the file beside one that shows a part, and `links` are the addresses of the pages
    of files, by their SHA-256.
    """
    if format_name == "html":
        from pipeline.report.page import page_text  # with its charts' libraries, which take seconds

        return page_text(rows, csv_name=csv_name, links=links)
    if format_name in ("png", "svg", "pdf"):
        from pipeline.report import picture

        drawn: dict[str, Callable[[Sequence[ReportRow]], str | bytes]]
        drawn = {"png": picture.png_bytes, "svg": picture.svg_text, "pdf": picture.pdf_bytes}
        return drawn[format_name](rows)
    if format_name == "table":
        return terminal_table(rows, width=PIPED_WIDTH, colour=False)
    writers = {"csv": records.csv_text, "json": records.json_text, "md": records.markdown_text}
    return writers[format_name](rows)


@dataclass(frozen=True)
class _Wanted:
    """What an argument asks for: a run, or files."""

    name: str
    run: str | None = None
    sha256s: tuple[str, ...] = ()


def _wanted(name: str, runs: Path, known: dict[str, str]) -> _Wanted:
    """The run of that name, whose folder may be gone, or the files."""
    if name in known:
        return _Wanted(name, run=name)
    foreign = {place.resolve() for place in foreign_exports(runs)}
    is_foreign = foreign & {Path(name).resolve(), (runs / name).resolve()}
    if name.endswith(".tflite") or is_foreign or is_keras_model(name):
        return _Wanted(name, sha256s=tuple(map(sha256_of, tflite_files([name], runs))))
    if not (Path(name).exists() or (runs / name).exists()):
        places = {*known, *(run.name for run in finished_runs(runs)), *(place.name for place in foreign)}
        raise unknown_name("run", name, places)
    run = find_run(name, runs).name
    return _Wanted(run, run=run)


def _nothing(wanted: Sequence[_Wanted], runs: Path) -> PipelineError:
    files = [each.name for each in wanted if each.run is None]
    if files:
        return PipelineError(
            f"there is nothing to report: {some(files)} was neither verified nor measured. Do one of them: "
            f"pipeline verify {quoted(files[0])} --data FOLDER, pipeline bench {quoted(files[0])}"
        )
    names = sorted(each.name for each in wanted)
    what = f"the run {', '.join(names)} has" if names else f"{runs}/ holds"
    return PipelineError(
        f"there is nothing to report: {what} no exported file. Export one: "
        f"pipeline export {' '.join([*map(quoted, names[:1]), '--int8'])}"
    )
