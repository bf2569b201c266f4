"""A cloud lab's own report on a session: which phone each job had, and whether it passed.

Developer Device Platform answers a finished session with an operation, often kept as operation.json, that
holds `response.sessionReport.jobReports`; `sessions describe --full` prints the session, with
`sessionReport` and, in `sessionConfig.jobConfigs`, the requested devices.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench.printed.lines import Failure

LARGEST_REPORT_MB = 16
_PASSED = "PASSED"


@dataclass(frozen=True, kw_only=True)
class LabJob:
    """A job of a session: one run of the tool on one phone."""

    name: str
    """Its display name, such as gpu-caiman-35."""
    device: str | None
    accelerator: str | None
    folders: frozenset[str]
    """The names of the folders that its files alone are in."""
    failure: Failure | None
    """What the lab says of a job that did not pass."""


def read_jobs(path: Path) -> list[LabJob]:
    """The jobs of a session that a JSON file reports on; empty for any other file."""
    try:
        if path.stat().st_size > LARGEST_REPORT_MB * 1_000_000:
            return []
        text = path.read_text(encoding="utf-8")
        record = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return []
    session = next((each for each in (record, _at(record, "response")) if _at(each, "sessionReport")), None)
    reports = [each for each in _list(session, "sessionReport", "jobReports") if isinstance(each, dict)]
    configs = {_text(each, "displayName"): each for each in _list(session, "sessionConfig", "jobConfigs")}
    paths = [_folders_of(each) for each in reports]
    return [
        _job(report, configs.get(_text(report, "displayName")), _own(paths, number), text)
        for number, report in enumerate(reports)
    ]


def _job(report: dict[str, Any], config: Any, folders: frozenset[str], text: str) -> LabJob:  # noqa: ANN401
    name = _text(report, "displayName") or _text(report, "id") or "job"
    devices = _list(config, "allocationConfig", "deviceConfigs")
    result = _text(_at(report, "result"), "resultType")
    failure = None
    if result not in (None, _PASSED):
        line = text[: max(text.find(json.dumps(name)), 0)].count("\n") + 1
        failure = Failure(line=line, reason=f"the lab says {result} of the job {name}")
    return LabJob(
        name=name,
        device=_text(_at(devices[0], "requirement") if devices else None, "deviceId"),
        accelerator=_text(_at(config, "labels"), "accelerator"),
        folders=folders | {each for each in (name, _text(report, "id")) if each},
        failure=failure,
    )


def _folders_of(report: dict[str, Any]) -> set[str]:
    """The folders in the paths of a job's files."""
    files = [file for each in _list(report, "executionReports") for file in _list(each, "outputFiles")]
    paths = [_text(_at(file, "gcsOutputFile"), "path") for file in files]
    return {part for path in paths if path for part in path.split("/")[:-1]}


def _own(folders: Sequence[set[str]], number: int) -> frozenset[str]:
    """A job's folders without those of the others; none if there is one job, whose folders say nothing."""
    if len(folders) == 1:
        return frozenset()
    others = set().union(*(each for at, each in enumerate(folders) if at != number))
    return frozenset(folders[number] - others)


def _at(record: Any, *names: str) -> Any:  # noqa: ANN401 - what JSON holds
    for name in names:
        record = record.get(name) if isinstance(record, dict) else None
    return record


def _list(record: Any, *names: str) -> list[Any]:  # noqa: ANN401
    found = _at(record, *names)
    return found if isinstance(found, list) else []


def _text(record: Any, name: str) -> str | None:  # noqa: ANN401
    found = _at(record, name)
    return found if isinstance(found, str) and found else None


def jobs_below(folder: Path) -> Iterator[tuple[Path, LabJob]]:
    """The jobs of every report in the folder, each with its file."""
    for path in sorted(folder.rglob("*.json")):
        if path.is_file() and not path.name.startswith("._"):
            for job in read_jobs(path):
                yield path, job
