"""The files of runs compared with a baseline: a run, a file, or a report that was kept as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.limits import RECORD_BYTES
from export.reading import read_text
from pipeline.errors import PipelineError, UsageError
from pipeline.progress import Progress, silent
from pipeline.records.report_row import ReportRow
from pipeline.report.baseline import Change, Paired, change, counterparts, rows_of_json
from pipeline.report.confusion import are_of_the_same_images, paired_change
from pipeline.runs import newest_run
from pipeline.shell import quoted
from pipeline.steps.report import report_rows
from pipeline.store.predictions import KeptPredictions
from pipeline.store.selection import Selection
from pipeline.store.snapshot import readable_store
from pipeline.store.store import Store

MOST_REPORT_BYTES = 16 * RECORD_BYTES


@dataclass(frozen=True, kw_only=True)
class AgainstBaseline:
    """The comparison of each row that has a counterpart in the baseline."""

    changes: tuple[Change, ...]
    num_alone: int
    """Rows without a counterpart."""

    @property
    def worse(self) -> tuple[Change, ...]:
        """Those of which a figure became worse by more than noise."""
        return tuple(each for each in self.changes if "worse" in each.verdicts)


def against_baseline(
    names: Sequence[str],
    baseline: str,
    selection: Selection | None = None,
    *,
    runs: Path,
    progress: Progress = silent,
) -> AgainstBaseline:
    """The selected rows of these runs and files, or of the newest run, beside those of the baseline."""
    rows = list(report_rows(names or (newest_run(runs).name,), selection, runs=runs, progress=progress))
    before = _baseline_rows(baseline, runs)
    with readable_store(runs) as store:
        spreads = store.session_spreads()
        pairs = zip(rows, counterparts(rows, before), strict=True)
        changes = tuple(
            change(row, other, spreads, lambda one, two: _paired(store, one, two))
            for row, other in pairs
            if other is not None
        )
    if not changes:
        raise PipelineError(
            f"no file has a counterpart in {baseline}: none there is of the same precision and of one model. "
            f"Name the file to compare with: pipeline report FILE.tflite --baseline OTHER.tflite"
        )
    return AgainstBaseline(changes=changes, num_alone=len(rows) - len(changes))


def _baseline_rows(baseline: str, runs: Path) -> list[ReportRow]:
    if not baseline.endswith(".json"):
        return list(report_rows((baseline,), runs=runs))
    path = Path(baseline)
    try:
        rows = rows_of_json(read_text(path, at_most=MOST_REPORT_BYTES))
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {baseline}. Check the path of --baseline.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{baseline} is no report ({error}). Write one: pipeline report --json --out {quoted(baseline)}"
        ) from error
    if not rows:
        raise UsageError(f"{baseline} holds no row. Give a report of a run with exported files.")
    return rows


def _paired(store: Store, before: ReportRow, row: ReportRow) -> Paired | None:
    """McNemar's comparison, where the predictions of both on the same images are kept."""
    one, other = _kept(store, before), _kept(store, row)
    if one is None or other is None or not are_of_the_same_images(one, other):
        return None
    return paired_change(other, one.found.file)


def _kept(store: Store, row: ReportRow) -> KeptPredictions | None:
    found = row.accuracy
    if found.dataset_fingerprint is None or found.split is None:
        return None
    return store.predictions(
        row.file.sha256, dataset_fingerprint=found.dataset_fingerprint, split=found.split
    )
