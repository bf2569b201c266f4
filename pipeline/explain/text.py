"""The text above and below the table, wrapped to the terminal's width."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

from pipeline.explain.explanation import ExplainedFile, NotCompared
from pipeline.explain.finding import ENOUGH_COVERAGE, Finding
from pipeline.explain.join import JoinedFiles
from pipeline.explain.timing import NotTimed
from spelling import counted

WIDEST = 100
"""Longer lines are hard to read."""


def about_files(files: Sequence[ExplainedFile]) -> list[str]:
    """A summary of each file, and how it was measured, or why not."""
    lines = []
    for file, letter in zip(files, _letters(files), strict=True):
        lines += [f"{letter}{file.path}", _size(file), _timing(file), _comparison(file)]
    return lines


def about_joining(joined: JoinedFiles) -> str:
    """How the layers of A and B were joined."""
    if not joined.same_network:
        return "A and B are different networks: most of their layers stand alone."
    if joined.by == "order":
        return "A and B share no layer names: joined by the order of their operators."
    return "A and B are joined by the names of their layers."


def about_delegation(files: Sequence[ExplainedFile]) -> list[str]:
    """For each file with operators outside XNNPACK (marked * in the table), their share."""
    lines = []
    for file, letter in zip(files, _letters(files), strict=True):
        left = [each for each in file.running if each.outside_xnnpack]
        if left:
            share = sum(each.time_share or 0 for each in left)
            line = (
                f"{letter}{len(left)} of {counted(len(file.running), 'operator')} run outside XNNPACK, in "
                "TFLite's "
                f"own kernels: {share:.1%} of the time."
            )
            lines.append(_wrapped(line, first="* ", rest="  "))
    return lines


def about_findings(findings: Sequence[Finding], files: Sequence[ExplainedFile]) -> list[str]:
    """The findings, numbered."""
    if not findings:
        return ["Nothing stands out."]
    letters = {file.path: letter for file, letter in zip(files, _letters(files), strict=True)}
    lines = ["What stands out:"]
    for number, finding in enumerate(findings, start=1):
        whose = letters[finding.file] if finding.file is not None else ""
        lines.append(_wrapped(f"{whose}{finding.text}", first=f"{number}. ", rest="   "))
    return lines


def _letters(files: Sequence[ExplainedFile]) -> list[str]:
    return ["A: ", "B: "] if len(files) > 1 else [""]


def _size(file: ExplainedFile) -> str:
    on_loading = len(file.layers) - len(file.running)
    unpacking = f" and {on_loading} that unpack constants on loading" if on_loading else ""
    stored = file.bytes
    return _wrapped(
        f"{file.size_bytes:,} bytes ({file.downloaded_bytes:,} downloaded): {stored.weights:,} weights, "
        f"{stored.quantization:,} scales and zero points, {stored.names:,} tensor names, {stored.rest:,} "
        f"other. {counted(len(file.running), 'operator')}{unpacking}, {file.macs / 1e6:,.1f} M MACs."
    )


def _timing(file: ExplainedFile) -> str:
    if isinstance(file.timing, NotTimed):
        return _wrapped(f"Time: not measured: {file.timing.reason}")
    timed = file.timing
    noise = f" ± {timed.noise_ms:.2g}" if timed.noise_ms is not None else ""
    threads = f"{timed.num_threads} thread{'s' * (timed.num_threads != 1)}"
    failed = f" {counted(len(timed.failed), 'operator')} could not be run alone." if timed.failed else ""
    little = (
        f" Operators timed: {timed.coverage:.0%} of the whole, too little to say where the time goes."
        if timed.coverage < ENOUGH_COVERAGE
        else ""
    )
    return _wrapped(
        f"Time: {timed.whole_ms:.3g}{noise} ms; its operators, each run alone, {timed.sum_ms:.3g} ms in sum "
        f"({timed.sum_ms / timed.whole_ms:.0%}). {timed.machine}; LiteRT {timed.runtime_version} with "
        f"XNNPACK, {threads}, medians of {counted(timed.num_rounds, 'round')}.{failed}{little}"
    )


def _comparison(file: ExplainedFile) -> str:
    found = file.comparison
    if isinstance(found, NotCompared):
        return _wrapped(f"Error: not measured: {found.reason}")
    return _wrapped(
        f"Error: each output compared with the Keras layer's, from 0 (equal) to 1 (all lost); "
        f"{counted(found.num_samples, f'{found.split} image')} of {found.dataset}."
    )


def _wrapped(text: str, *, first: str = "  ", rest: str = "  ") -> str:
    width = min(shutil.get_terminal_size().columns, WIDEST)
    return textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
