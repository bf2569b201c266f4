"""The conditions under which rows were measured, as text. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.records.report_row import ReportRow, answers_wrongly
from pipeline.report.figures import percent_text, utc_text
from pipeline.store.rows import ReportRows
from spelling import counted

STAR = "★"
BEST = "no comparable file is as small and, as far as noise and images tell, as fast and as accurate"
MOST_DOUBTS = 40
"""Lines below a table."""
LEGEND = f"{STAR} {BEST}"


def machine_text(row: ReportRow) -> str | None:
    """'Xeon 8481C', or 'Pixel 8 1a2b3c4d (Tensor G3, Android 14)' for a phone."""
    machine, where = row.conditions.machine, row.conditions.where
    if machine is None:
        return None
    return machine if where in (None, "host", machine) else f"{where} ({machine})"


def runtime_text(row: ReportRow) -> str | None:
    """'litert 2.3.0, cpu', with the pinned cores and the tool's additional flags, if any."""
    found = row.conditions
    if found.runtime is None:
        return None
    pinned = f" on cores {found.cores}" if found.cores not in (None, "all") else ""
    flags = f", {' '.join(found.extra_flags)}" if found.extra_flags else ""
    return f"{found.runtime} {found.runtime_version}, {found.delegate}{pinned}{flags}"


def threads_text(row: ReportRow) -> str | None:
    """'1 thread'."""
    if row.conditions.num_threads is None:
        return None
    return counted(row.conditions.num_threads, "thread")


def dataset_text(row: ReportRow) -> str | None:
    """The images of the accuracy: 'digits (3f2a91c0), 360 test images'."""
    if row.accuracy.num_samples is None:
        return None
    fingerprint = (row.accuracy.dataset_fingerprint or "")[:8]
    images = counted(row.accuracy.num_samples or 0, f"{row.accuracy.split} image")
    return f"{row.accuracy.dataset} ({fingerprint}), {images}"


def top1_text(row: ReportRow) -> str:
    """'93.90%' of the test split; '93.90% (validation)' if the file was only verified on that."""
    text, split = percent_text(row.accuracy.tflite_top1), row.accuracy.split
    return text if split in (None, "test") else f"{text} ({split})"


CONDITIONS: dict[str, Callable[[ReportRow], str | None]] = {
    "Machine": machine_text,
    "Runtime": runtime_text,
    "Threads": threads_text,
    "Data set": dataset_text,
}


def shared_conditions(rows: Sequence[ReportRow]) -> dict[str, tuple[str, ...]]:
    """Every condition's values among the rows, in order of their first appearance."""
    rows = ReportRows.of(rows)
    found = {
        name: tuple(dict.fromkeys(text for row in rows.kinds if (text := read(row)) is not None))
        for name, read in CONDITIONS.items()
    }
    times = [time for time in rows.column("measured_utc") if time is not None]
    span = (utc_text(min(times)), utc_text(max(times))) if times else ()
    found["Measured"] = (" to ".join(dict.fromkeys(span)),) if span else ()
    return found


def differing(rows: Sequence[ReportRow]) -> list[str]:
    """The conditions that differ between measured rows; each needs a column."""
    return [name for name, texts in shared_conditions(rows).items() if name in CONDITIONS and len(texts) > 1]


def doubts(rows: Sequence[ReportRow]) -> list[str]:
    """A line for each measurement that is not valid, or whose phone gives wrong labels; some of many."""
    found = []
    for row in rows:
        if row.latency.valid is False:
            found.append(f"not valid: {_title(row)}: {'; '.join(row.latency.reasons) or 'no reason given'}")
        if answers_wrongly(row):
            share = (
                f"{row.answers.phone_agreement:.0f}% of {counted(row.answers.phone_samples or 0, 'sample')}"
            )
            found.append(f"wrong: {_title(row)}: it gives the label that the host gives on {share}")
    if len(found) > MOST_DOUBTS:
        rest = f"{len(found) - MOST_DOUBTS:,} more are not valid or wrong: --where valid=false"
        found = [*found[:MOST_DOUBTS], rest]
    return found


def _title(row: ReportRow) -> str:
    precision = f" {row.file.precision}" if row.file.precision else ""
    phone = (
        f" on {row.conditions.where}, {row.conditions.delegate}"
        if row.conditions.where not in (None, "host")
        else ""
    )
    return f"{row.model.model_name}{precision}, {threads_text(row)}{phone}"
