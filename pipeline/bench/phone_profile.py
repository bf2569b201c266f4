"""A file's operator profile on a phone: time by type, and the operators that no delegate took."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from android_bench.phone.session import Session
from android_bench.printed.profile import (
    Profile,
    TypeTime,
    is_delegate_node,
    is_quantization,
    parse_profile,
    summarize,
)
from android_bench.settings import MatrixSettings
from android_bench.tool.runner import RunRequest, prepare, run
from pipeline.bench.fleet import FleetPhone
from pipeline.bench.phone import PhoneSeries
from pipeline.errors import PipelineError


@dataclass(frozen=True, kw_only=True)
class FileProfile:
    """One file's operators with one delegate and one number of threads."""

    name: str
    delegate: str
    num_threads: int | None
    """None where the log of a run does not say."""
    median_ms: float | None
    """Of the profiled run, which profiling makes slower: not a latency to quote."""
    types: tuple[TypeTime, ...]
    """Slowest first."""
    operators_ms: float
    """Time of all operators in one inference."""
    not_delegated: tuple[TypeTime, ...]
    """Only the operators that the delegate (XNNPACK on the CPU) did not take, by type."""
    delegate_nodes: tuple[TypeTime, ...]
    """Delegates' own nodes, whose operators the tool does not list."""
    quantization: tuple[TypeTime, ...]
    """Types that only convert between number types."""
    reasons: tuple[str, ...]


def profile_files(member: FleetPhone, series: list[PhoneSeries], matrix: MatrixSettings) -> list[FileProfile]:
    """Profiles each file once. PipelineError if the tool fails or writes no profile."""
    found = []
    with Session(member.phone, keep=matrix.keep) as session:
        flags = prepare(session, member.tool)
        for each in series:
            request = _request(each)
            session.put([request.model])
            outcome = run(session, member.tool, flags, request)
            if outcome.report is None:
                raise PipelineError(f"{each.label} on {member.info.where} failed: {outcome.failure}.")
            profile = parse_profile(outcome.profile or "")
            if not profile.operators:
                raise PipelineError(
                    f"{each.label} on {member.info.where}: the tool wrote no operator profile. "
                    "Give another build: --benchmark-model PATH"
                )
            found.append(
                file_profile(
                    profile,
                    name=each.file.stem,
                    delegate=each.delegate,
                    num_threads=each.num_threads,
                    median_ms=outcome.report.timed.median_ms,
                    reasons=outcome.reasons,
                )
            )
    return found


def _request(series: PhoneSeries) -> RunRequest:
    """One process for all requested runs, long enough to count its threads."""
    bench, first = series.bench, series.job().rounds[0]
    return dataclasses.replace(
        first,
        num_runs=bench.num_runs,
        min_secs=max(bench.min_secs, first.min_secs),
        max_secs=bench.max_secs,
        profile=True,
    )


def file_profile(
    profile: Profile,
    *,
    name: str,
    delegate: str,
    num_threads: int | None,
    median_ms: float | None,
    reasons: tuple[str, ...],
) -> FileProfile:
    """What a profile says of a file, by type of operator."""
    types = summarize(profile)
    left = dataclasses.replace(
        profile, operators=tuple(each for each in profile.operators if not each.delegated)
    )
    return FileProfile(
        name=name,
        delegate=delegate,
        num_threads=num_threads,
        median_ms=median_ms,
        types=types,
        operators_ms=sum(each.inference_ms for each in types),
        not_delegated=summarize(left),
        delegate_nodes=tuple(each for each in types if is_delegate_node(each.node_type)),
        quantization=tuple(each for each in types if is_quantization(each.node_type)),
        reasons=reasons,
    )
