"""The runs as a table for the terminal, and one run with the lineage of its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from pipeline.records.report_row import ReportRow
from pipeline.report import figures
from pipeline.report.conditions import dataset_text, machine_text, runtime_text, threads_text
from pipeline.report.figures import DASH
from pipeline.report.run_list import ExportedFile, RunSummary
from pipeline.report.terminal import line, rendered
from spelling import counted


def runs_table(summaries: Sequence[RunSummary], *, width: int, colour: bool) -> str:
    """One line per run; below the table, what unfinished runs need."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("Run", overflow="fold")
    named = all(summary.run.startswith(summary.model_name or "") for summary in summaries)
    if not named:
        table.add_column("Model", overflow="fold")
    table.add_column("Data set", overflow="fold")
    for title in ("Val.", "Test", "Epochs", "Time"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("Exported", no_wrap=True)
    for summary in summaries:
        model = [] if named else [line(summary.model_name or DASH)]
        style = "" if summary.problem is None else "dim"
        table.add_row(line(summary.run), *model, *_cells(summary), _exports(summary), style=style)
    left = [summary for summary in summaries if summary.state == "unfinished"]
    notes = [line(f"{summary.run} is {summary.problem}") for summary in left]
    return rendered(Group(table, *notes), width=width, colour=colour)


def run_tree(summary: RunSummary, rows: Sequence[ReportRow], *, width: int, colour: bool) -> str:
    """model.keras, the files exported from it and their figures, with checksums."""
    tree = Tree(line(f"{summary.run}: {summary.model_name}, {summary.dataset}", style="bold"))
    tree.add(line(_trained_text(summary)))
    model = tree.add(line(_model_text(summary)))
    for sha256 in dict.fromkeys(row.file.sha256 for row in rows):
        found = [row for row in rows if row.file.sha256 == sha256]
        file = model.add(line(_file_text(found[0])))
        file.add(line(_verified_text(found[0])))
        for row in found:
            file.add(line(_measured_text(row)))
    return rendered(tree, width=width, colour=colour)


def _cells(summary: RunSummary) -> list[Text]:
    dataset = summary.dataset or DASH
    if summary.state != "finished":
        return [line(text) for text in (dataset, DASH, DASH, DASH, DASH)]
    figures_of = (
        figures.percent_text(summary.validation_top1),
        figures.percent_text(summary.test_top1),
        str(summary.epochs_run),
        figures.seconds_text(summary.seconds or 0),
    )
    return [line(text) for text in (dataset, *figures_of)]


def _exports(summary: RunSummary) -> Text:
    """One line per file, or the state of an unfinished run."""
    texts = [_export_text(file) for file in summary.exports]
    if summary.state != "finished":
        texts.insert(0, summary.state)
    return Text("\n").join(line(text) for text in texts) if texts else line(DASH)


def _trained_text(summary: RunSummary) -> str:
    seconds = figures.seconds_text(summary.seconds or 0)
    epochs = counted(summary.epochs_run or 0, "epoch")
    return f"trained {epochs} in {seconds}, finished {figures.utc_text(summary.finished_utc)}"


def _model_text(summary: RunSummary) -> str:
    return (
        f"model.keras {_short(summary.model_sha256)}: {figures.count_text(summary.parameters)} parameters, "
        f"top-1 {figures.percent_text(summary.test_top1)} on the test split, "
        f"{figures.percent_text(summary.validation_top1)} on the validation split"
    )


def _export_text(file: ExportedFile) -> str:
    return f"{file.precision or file.name} {figures.size_text(file.size_bytes)}"


def _file_text(row: ReportRow) -> str:
    name = Path(row.file.path).name if row.file.path else row.model.model_name
    return f"{name} {_short(row.file.sha256)}: {row.file.precision}, {figures.size_text(row.file.size_bytes)}"


def _verified_text(row: ReportRow) -> str:
    found = row.accuracy
    if found.tflite_top1 is None:
        return "accuracy not measured: pipeline verify"
    return (
        f"top-1 {figures.percent_text(found.tflite_top1)} (95% interval "
        f"{figures.interval_text(found.tflite_top1_low, found.tflite_top1_high)}, "
        f"{figures.points_text(found.drop_points)} points), "
        f"agreement {figures.percent_text(found.agreement)} on {dataset_text(row)}"
    )


def _measured_text(row: ReportRow) -> str:
    found = row.latency
    if found.valid is None:
        return "latency not measured: pipeline bench"
    conditions = f"{machine_text(row)}, {runtime_text(row)}, {threads_text(row)}"
    if not found.valid:
        return f"measurement not valid ({'; '.join(found.reasons)}): {conditions}"
    what = f"median {figures.ms_text(found.median_ms)}"
    if found.median_ms is None:
        what = f"average {figures.ms_text(found.avg_ms)}"
    return f"{what} on {conditions}, {figures.utc_text(found.measured_utc)}"


def _short(sha256: str | None) -> str:
    return (sha256 or "")[:12]
