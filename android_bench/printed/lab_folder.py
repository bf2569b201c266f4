"""What a cloud lab's session leaves in a folder: result files and logs of several runs on several phones.

Developer Device Platform (`litert benchmark --ddp`): SESSION/ACCELERATOR-DEVICE/ with results.pb,
runtime_info.pb, and logcat.txt or stdout.txt; in its bucket JOB/artifacts/data/local/tmp/ holds the two .pb,
beside JOB/logcat.txt; a script's runs are output/RUN.log, results_RUN.pb and runtime_info_RUN.pb. What the
lab answered (lab_report.py) names the phones. Firebase
Test Lab: MATRIX/DEVICE-API-LOCALE-ORIENTATION/ with logcat and artifacts/. Any other folder of such files is
read alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from android_bench.delegates import DELEGATES, TFLITE, delegation_reasons
from android_bench.errors import LogError
from android_bench.printed.encoding import read_log_text
from android_bench.printed.lab_report import LabJob, jobs_below
from android_bench.printed.lines import Failure, Stats
from android_bench.printed.pasted import ParsedLog, parse_log
from android_bench.printed.profile import Profile
from android_bench.printed.result_file import ToolResult, differences, read_result, with_result
from android_bench.printed.run import BenchmarkReport
from android_bench.printed.runtime_info import RuntimeInfo, read_runtime_info, with_runtime_info
from android_bench.reasons import Reason

NO_PROFILE = Profile(operators=(), complete=False, init_operators=())
LARGEST_RESULT_MB = 64
"""The largest result file or runtime info that is read."""
_LOG = re.compile(
    r"(?!\._)(?:.*\.(?:txt|log|out|logcat)|.*(?:logcat|stdout|stderr)[^.]*)(?:\.gz)?", re.IGNORECASE
)
_RESULT = re.compile(r"(?!\._)(?!.*runtime.?info).*result.*\.pb", re.IGNORECASE)
_INFO = re.compile(r"(?!\._).*runtime.?info.*\.pb", re.IGNORECASE)
_STDERR = re.compile("stderr", re.IGNORECASE)
_STDOUT = re.compile("stdout", re.IGNORECASE)
_KIND = re.compile(
    r"(?:^|(?<=[-_. ]))(?:benchmark|results?|runtime[-_ ]?info|stdout|stderr|logcat|output|log)(?=$|[-_. ])"
)
"""The words of a file's name that say what it is, and not of which run."""
_PULLED = "artifacts"
"""The folder of what a lab pulled from the phone, with the phone's folders in it."""
_NOT_A_PHONE = re.compile(
    r"(?:runs?|iter(?:ation)?s?|rounds?|attempts?|outputs?|artifacts?|results?|logs?|stdout|session|matrix)?"
    r"[-_ ]?(?:\d*|[\da-f]{6,})|\d{4}-\d\d-\d\d.*",
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
    """A run that did not complete."""

    path: Path
    failure: Failure


@dataclass(kw_only=True)
class LabSession:
    """Everything in the folder."""

    runs: list[LabRun] = field(default_factory=list)
    failures: list[LabFailure] = field(default_factory=list)
    unread: list[tuple[Path, str]] = field(default_factory=list)
    """Files that cannot be read, and why."""
    num_files: int = 0


@dataclass(kw_only=True)
class _Run:
    """A run as read so far."""

    report: BenchmarkReport
    profile: Profile
    names: set[str]
    """What its files' names say of which run they are."""
    filed: bool = False
    """Whether it has its result file's figures."""
    info: RuntimeInfo | None = None


def read_folder(folder: Path) -> LabSession:
    """The runs in a folder and its subfolders, in the order of their paths. OSError for an unreadable one."""
    session = LabSession()
    reported = list(jobs_below(folder))
    session.failures += [LabFailure(path=path, failure=job.failure) for path, job in reported if job.failure]
    for home, files in _by_home(folder).items():
        where, accelerator = _phone(home, folder, [job for _, job in reported])
        runs = _logged([each for each in files if _LOG.fullmatch(each.name)], session)
        for path, result in _results([each for each in files if _RESULT.fullmatch(each.name)], session):
            _take(result, _name_of(path), runs)
        _inform(runs, [each for each in files if _INFO.fullmatch(each.name)], session)
        session.runs += [
            LabRun(
                where=where, accelerator=accelerator, report=_judged(run, accelerator), profile=run.profile
            )
            for run in runs
        ]
    return session


def _by_home(folder: Path) -> dict[Path, list[Path]]:
    """The files of each job: of its folder, and what was pulled into artifacts/ in it."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        parts = path.relative_to(folder).parts
        pulled = parts.index(_PULLED) if _PULLED in parts[:-1] else None
        home = path.parent if pulled is None else folder.joinpath(*parts[:pulled])
        found.setdefault(home, []).append(path)
    return dict(sorted(found.items()))


def _logged(logs: Sequence[Path], session: LabSession) -> list[_Run]:
    """The runs that the logs hold; one that is in logcat and on stdout is one."""
    found: list[_Run] = []
    errors = {each for each in logs if _STDERR.search(each.name)}
    paired = {_beside(each) for each in logs if _STDOUT.search(each.name)}
    # what the tool printed comes before logcat, which repeats it
    for path in sorted(logs, key=lambda each: ("logcat" in each.name.lower(), each)):
        if path in errors and path in paired:
            continue
        session.num_files += 1
        try:
            log = _read(path, beside=_beside(path) if _beside(path) in errors - {path} else None)
        except LogError as error:
            session.unread.append((path, str(error)))
            continue
        known = [run.report.timed for run in found]
        for report, profile in zip(log.runs, log.profiles, strict=True):
            if report.timed in known:
                found[known.index(report.timed)].names.add(_name_of(path))
            else:
                found.append(_Run(report=report, profile=profile, names={_name_of(path)}))
        session.failures += [LabFailure(path=path, failure=each) for each in log.failures]
    return found


def _read(path: Path, *, beside: Path | None) -> ParsedLog:
    """The log's runs, its standard error first where that is in another file."""
    errors = "" if beside is None else read_log_text(beside) + "\n"
    return parse_log(errors + read_log_text(path))


def _beside(path: Path) -> Path:
    """Where a log's standard error would be."""
    return path.with_name(_STDOUT.sub("stderr", path.name))


def _name_of(path: Path) -> str:
    """What a file's name says of which run it is; empty for results.pb or logcat.txt."""
    stem = re.sub(r"(?:\.(?:gz|txt|log|out|logcat|pb))+$", "", path.name.lower())
    return _KIND.sub("", stem).strip("-_. ")


def _results(paths: Iterable[Path], session: LabSession) -> Iterable[tuple[Path, ToolResult]]:
    for path in paths:
        session.num_files += 1
        try:
            yield path, read_result(_content(path))
        except LogError as error:
            session.unread.append((path, str(error)))


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(LARGEST_RESULT_MB * 1_000_000 + 1)
    if len(content) > LARGEST_RESULT_MB * 1_000_000:
        raise LogError(f"it is larger than {LARGEST_RESULT_MB} MB, which no result file is")
    return content


def _take(result: ToolResult, name: str, runs: list[_Run]) -> None:
    """Puts a result file's figures into the run that they are of; without one they are a run themselves."""
    unfiled = [run for run in runs if not run.filed]
    for run in unfiled:
        if not differences(run.report, result):
            no_summary = Reason.NO_SUMMARY.text(after="")  # the file is written after it
            reasons = tuple(each for each in run.report.reasons if not each.startswith(no_summary))
            run.report = replace(with_result(run.report, result), reasons=reasons)
            run.filed, run.names = True, run.names | {name}
            return
    if len(runs) == 1 and unfiled:
        (run,) = runs
        run.report = replace(run.report, reasons=(*run.report.reasons, *differences(run.report, result)))
        run.filed = True
        return
    report = with_result(_unlogged(result), result)
    runs.append(_Run(report=report, profile=NO_PROFILE, names={name}, filed=True))


def _inform(runs: Sequence[_Run], infos: Iterable[Path], session: LabSession) -> None:
    """Gives each run its runtime info, by the files' names where there are several runs."""
    for path in infos:
        session.num_files += 1
        try:
            info = read_runtime_info(_content(path))
        except LogError as error:
            session.unread.append((path, str(error)))
            continue
        named = [run for run in runs if _name_of(path) and _name_of(path) in run.names]
        for run in named if len(named) == 1 else runs if len(runs) == 1 else []:
            run.info = info


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


def _judged(run: _Run, accelerator: str | None) -> BenchmarkReport:
    """The report, not valid if nothing says that the lab's accelerator took any node."""
    kinds = [each.kind for each in DELEGATES if each.word and each.word == accelerator and each.off_cpu]
    if run.info is not None:
        return with_runtime_info(run.report, run.info, kinds)
    report = run.report
    judged = {*report.asked_delegates, *(each.kind for each in report.delegations)}
    missing = [kind for kind in kinds if kind not in judged]
    return replace(report, reasons=(*report.reasons, *delegation_reasons((), missing)))


def _phone(home: Path, folder: Path, jobs: Sequence[LabJob]) -> tuple[str, str | None]:
    """The phone's name and the accelerator, by the lab's report or the folders' names, the deepest first."""
    inside = [home, *home.parents][: len(home.relative_to(folder).parts) + 1]
    names = [each.absolute().name for each in inside]
    job = next((job for name in names for job in jobs if name in job.folders), None)
    named = next((name for name in names if not _NOT_A_PHONE.fullmatch(name)), names[-1])
    named = job.name if job is not None else named
    found = _ACCELERATOR.fullmatch(named)
    told = _told_device(inside) or (job.device if job is not None else None)
    kind = (job.accelerator if job is not None else None) or (found["kind"] if found else None)
    return told or (found["phone"] if found else named), kind


def _told_device(folders: Sequence[Path]) -> str | None:
    """The device that the session's own file names."""
    for each in folders:
        try:
            record = json.loads((each / "session.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        device = record.get("device") if isinstance(record, dict) else None
        if isinstance(device, str):
            return device
    return None
