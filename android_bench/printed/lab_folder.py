"""What a cloud lab's session leaves in a folder: result files and logs of several runs on several phones.

Developer Device Platform (`litert benchmark --ddp`): SESSION/ACCELERATOR-DEVICE/ with results.pb, and
logcat.txt or stdout.txt. Firebase Test Lab: MATRIX/DEVICE-API-LOCALE-ORIENTATION/ with logcat and artifacts/.
Any other folder of such files is read alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from android_bench.delegates import DELEGATES, TFLITE, delegation_reasons
from android_bench.errors import LogError
from android_bench.printed.encoding import log_text
from android_bench.printed.lines import Failure, Stats
from android_bench.printed.pasted import parse_log
from android_bench.printed.profile import Profile
from android_bench.printed.result_file import ToolResult, differences, read_result, with_result
from android_bench.printed.run import BenchmarkReport
from android_bench.reasons import Reason

NO_PROFILE = Profile(operators=(), complete=False, init_operators=())
_LOG = re.compile(r"(?:.*\.(?:txt|log|out|logcat)|.*(?:logcat|stdout|stderr)[^.]*)", re.IGNORECASE)
_RESULT = re.compile(r".*result.*\.pb", re.IGNORECASE)
_STDERR = re.compile("stderr", re.IGNORECASE)
_STDOUT = re.compile("stdout", re.IGNORECASE)
_NOT_A_PHONE = re.compile(
    r"(?:runs?|iter(?:ation)?s?|rounds?|attempts?|outputs?|artifacts?|results?|logs?|stdout|session|matrix|job)?"
    r"[-_ ]?[\da-f]*|\d{4}-\d\d-\d\d.*",
    re.IGNORECASE,
)
"""Folders that are named after a run or a time."""
_ACCELERATOR = re.compile(r"(?P<kind>cpu|gpu|npu|nnapi)-(?P<phone>.+)")


@dataclass(frozen=True, kw_only=True)
class LabRun:
    """A run on one of the lab's phones."""

    where: str | None
    """The phone, as the lab names it; None for a log that is not of a lab."""
    accelerator: str | None
    """The delegate that the lab was asked for, where its folder says so."""
    report: BenchmarkReport
    profile: Profile


@dataclass(frozen=True, kw_only=True)
class LabFailure:
    """A run that did not complete, or a file that cannot be read."""

    path: Path
    failure: Failure


@dataclass(kw_only=True)
class LabSession:
    """Everything in the folder."""

    runs: list[LabRun] = field(default_factory=list)
    failures: list[LabFailure] = field(default_factory=list)
    num_files: int = 0


def read_folder(folder: Path) -> LabSession:
    """The runs in a folder and its subfolders, in the order of their paths. OSError for an unreadable one."""
    session = LabSession()
    for home in [folder, *sorted(each for each in folder.rglob("*") if each.is_dir())]:
        where, accelerator = _phone(home, folder)
        runs = _logged(home, session)
        for result in _results(home, session):
            _take(result, runs)
        session.runs += [
            LabRun(where=where, accelerator=accelerator, report=_judged(report, accelerator), profile=profile)
            for report, profile, _ in runs
        ]
    return session


_Found = list[tuple[BenchmarkReport, Profile, bool]]
"""Each run, its profile, and whether it has its result file's figures."""


def _logged(home: Path, session: LabSession) -> _Found:
    """The runs that the folder's logs hold; one that is in logcat and on stdout is one."""
    found: _Found = []
    logs = sorted(each for each in home.iterdir() if each.is_file() and _LOG.fullmatch(each.name))
    errors = {each for each in logs if _STDERR.search(each.name)}
    paired = {_STDOUT.sub("stderr", each.name): each for each in logs if _STDOUT.search(each.name)}
    # what the tool printed comes before logcat, which repeats it
    for path in sorted(logs, key=lambda each: ("logcat" in each.name.lower(), each.name)):
        if path in errors and path.name in paired:
            continue
        session.num_files += 1
        try:
            text = log_text(path.read_bytes())
            beside = home / _STDOUT.sub("stderr", path.name)
            if beside in errors and beside != path:
                text = log_text(beside.read_bytes()) + "\n" + text
        except LogError as error:
            session.failures.append(LabFailure(path=path, failure=Failure(line=1, reason=str(error))))
            continue
        log = parse_log(text)
        known = [report.timed for report, _, _ in found]
        for report, profile in zip(log.runs, log.profiles, strict=True):
            if report.timed not in known:
                found.append((report, profile, False))
        session.failures += [LabFailure(path=path, failure=each) for each in log.failures]
    return found


def _results(home: Path, session: LabSession) -> Iterator[ToolResult]:
    for path in sorted(each for each in home.iterdir() if each.is_file() and _RESULT.fullmatch(each.name)):
        session.num_files += 1
        try:
            yield read_result(path.read_bytes())
        except LogError as error:
            session.failures.append(LabFailure(path=path, failure=Failure(line=1, reason=str(error))))


def _take(result: ToolResult, runs: _Found) -> None:
    """Puts a result file's figures into the run that they are of; without one they are a run themselves."""
    for index, (report, profile, done) in enumerate(runs):
        if not done and not differences(report, result):
            no_summary = Reason.NO_SUMMARY.text(after="")  # the file is written after it
            reasons = tuple(each for each in report.reasons if not each.startswith(no_summary))
            runs[index] = (replace(with_result(report, result), reasons=reasons), profile, True)
            return
    if len(runs) == 1 and not runs[0][2]:
        report, profile, _ = runs[0]
        reasons = (*report.reasons, *differences(report, result))
        runs[0] = (replace(report, reasons=reasons), profile, True)
        return
    runs.append((with_result(_unlogged(result), result), NO_PROFILE, True))


def _unlogged(result: ToolResult) -> BenchmarkReport:
    """The report of a run of which only the result file is there."""
    warmup = Stats(count=result.num_warmup_runs, avg_ms=result.warmup_avg_ms)
    return BenchmarkReport(
        tool=TFLITE,
        graph=None,
        num_threads=None,
        asked_delegates=(),
        asked_runs=None,
        asked_min_secs=None,
        asked_max_secs=None,
        init_ms=None,
        first_ms=None,
        warmup=warmup if result.num_warmup_runs else None,
        timed=Stats(count=result.num_runs),
        model_size_bytes=result.model_size_bytes,
        init_memory_bytes=None,
        overall_memory_bytes=None,
        peak_memory_bytes=None,
        delegations=(),
        unconsumed_flags=(),
        reasons=(),
    )


def _judged(report: BenchmarkReport, accelerator: str | None) -> BenchmarkReport:
    """The report, not valid if nothing says that the lab's accelerator took any node."""
    kinds = [each.kind for each in DELEGATES if each.word and each.word == accelerator and each.off_cpu]
    judged = {*report.asked_delegates, *(each.kind for each in report.delegations)}
    missing = [kind for kind in kinds if kind not in judged]
    return replace(report, reasons=(*report.reasons, *delegation_reasons((), missing)))


def _phone(home: Path, folder: Path) -> tuple[str, str | None]:
    """The phone's name and the accelerator, from the names of the folders, the deepest first."""
    inside = [home, *home.parents][: len(home.relative_to(folder).parts) + 1]
    named = next((each for each in inside if not _NOT_A_PHONE.fullmatch(each.absolute().name)), inside[-1])
    found = _ACCELERATOR.fullmatch(named.absolute().name)
    told = _told_device(inside)
    name = told or (found["phone"] if found else named.absolute().name)
    return name, found["kind"] if found else None


def _told_device(folders: Sequence[Path]) -> str | None:
    """The device that the session's own file names."""
    for each in folders:
        try:
            record = json.loads((each / "session.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        device = record.get("device") if isinstance(record, dict) else None
        if isinstance(device, str):
            return device
    return None
