"""Writes the pages of what files get wrong into a folder beside the report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from export.files import write_bytes
from export.precisions import Precision
from pipeline.records.report_row import ReportRow
from pipeline.report.mistakes_page import compared_with, mistakes_page
from pipeline.store.predictions import KeptPredictions
from pipeline.store.rows import ReportRows
from pipeline.store.snapshot import readable_store
from pipeline.store.store import Store

MOST_PAGES = 100
"""Files with a page of their own; the best of a report first."""


def write_pages(rows: ReportRows, out: Path) -> dict[str, str]:
    """Writes a page for each file whose predictions are kept; its address by the file's SHA-256."""
    folder = out.with_name(f"{out.stem}_pages")
    links: dict[str, str] = {}
    with readable_store(rows.folder) as store:
        for row, kept, float32 in _predicted(rows, store):
            name = _name(row)
            others = compared_with(kept, float32, row.file.precision)
            folder.mkdir(exist_ok=True)
            page = mistakes_page(row, kept, others, report_name=out.name)
            write_bytes(folder / name, page.encode("utf-8", "backslashreplace"))
            links[row.file.sha256] = f"{folder.name}/{name}"
    return links


def _predicted(
    rows: ReportRows, store: Store
) -> Iterator[tuple[ReportRow, KeptPredictions, KeptPredictions | None]]:
    """Each file with predictions, the best first, and those of its model's float32 file."""
    known = store.predicted()
    files = rows.column("sha256")
    places = [place for place in sorted(rows.best) if files[place] in known]
    places += [place for place, sha256 in enumerate(files) if sha256 in known and place not in rows.best]
    first = {files[place]: place for place in reversed(places)}
    chosen = list(dict.fromkeys(files[place] for place in places))[:MOST_PAGES]
    floats = {
        parent: sha256
        for parent, sha256, precision in zip(
            rows.column("parent_sha256"), files, rows.column("precision"), strict=True
        )
        if parent is not None and precision == Precision.FLOAT32 and sha256 in known
    }
    for sha256 in chosen:
        row = rows[first[sha256]]
        kept = _kept(store, row, sha256)
        if kept is None:
            continue
        of_float = floats.get(row.file.parent_sha256 or "")
        yield row, kept, None if of_float in (None, sha256) else _kept(store, row, of_float or "")


def _kept(store: Store, row: ReportRow, sha256: str) -> KeptPredictions | None:
    """The predictions on the images of the row's accuracy."""
    accuracy = row.accuracy
    if accuracy.dataset_fingerprint is None or accuracy.split is None:
        return None
    return store.predictions(sha256, dataset_fingerprint=accuracy.dataset_fingerprint, split=accuracy.split)


def _name(row: ReportRow) -> str:
    words = f"{row.model.model_name}_{row.file.precision or 'file'}"
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', words)[:80]}_{row.file.sha256[:8]}.html"
