"""`pipeline bench --adb --op-profile`: the slowest operators, two files side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.bench.fleet import planned_series
from pipeline.bench.phone import local_file
from pipeline.bench.phone_profile import profile_files
from pipeline.commands.output import print_records, print_table, table, working
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from android_bench.printed.profile import TypeTime
    from pipeline.bench.fleet import FleetPhone
    from pipeline.bench.phone_profile import FileProfile
    from pipeline.bench.settings import FleetSettings

MOST_TYPES = 12


def profile_on_phone(
    files: Sequence[Path],
    fleet: Sequence[FleetPhone],
    settings: FleetSettings,
    *,
    as_json: bool,
) -> int:
    """Profiles the files on one phone and shows their operators; returns 1 if a run is not valid."""
    if len(fleet) != 1:
        raise UsageError(
            f"--op-profile looks at one phone; {len(fleet)} were given. Name one with -s SERIAL."
        )
    (member,) = fleet
    models = [local_file(file) for file in files]
    series = planned_series(models, member, settings)
    with working(f"profiling on {member.info.where}"):
        found = profile_files(member, series, settings.matrix)
    if as_json:
        print_records(found)
    else:
        click.echo(f"{member.info.where}: {member.info.machine}")
        show_profiles(found)
        click.echo("Profiling slows a run: compare shares here, and milliseconds in pipeline bench --adb.")
    return 1 if any(each.reasons for each in found) else 0


def show_profiles(found: Sequence[FileProfile]) -> None:
    """Prints the operators by type, two files side by side."""
    for first in range(0, len(found), 2):
        _print(found[first : first + 2])


def _print(pair: Sequence[FileProfile]) -> None:
    numbers = [heading for each in pair for heading in _headings(each)]
    rows = table("operator", *numbers, numbers=numbers)
    for kind in _most_costly(pair):
        cells = [cell for each in pair for cell in _cells(each, kind)]
        rows.add_row(kind, *cells)
    rows.add_row(
        "all", *[cell for each in pair for cell in (f"{each.operators_ms:.3f}", "100%", _total(each))]
    )
    print_table(rows)
    for each in pair:
        left = _described(each.not_delegated, each) or "none"
        converting = _described(each.quantization, each) or "none"
        click.echo(f"{_title(each)}: not delegated: {left}; only converting numbers: {converting}.")
        if each.delegate_nodes:
            nodes = ", ".join(f"{node.node_type} x {node.count}" for node in each.delegate_nodes)
            click.echo(f"The tool does not look into {nodes}.")
        for reason in each.reasons:
            click.echo(f"{_title(each)} is not valid: {reason}.")


def _title(profile: FileProfile) -> str:
    threads = "" if profile.num_threads in (1, None) else f", {profile.num_threads} threads"
    return f"{profile.name} [{profile.delegate}{threads}]"


def _headings(profile: FileProfile) -> tuple[str, str, str]:
    return f"{_title(profile)}\nms", "\nshare", "\ncount"


def _most_costly(pair: Sequence[FileProfile]) -> list[str]:
    """The kinds of operator in both, by the longer of their two times, slowest first."""
    cost: dict[str, float] = {}
    for profile in pair:
        for kind in {_kind(each) for each in profile.types}:
            spent = sum(each.inference_ms for each in profile.types if _kind(each) == kind)
            cost[kind] = max(cost.get(kind, 0.0), spent)
    return sorted(cost, key=lambda kind: -cost[kind])[:MOST_TYPES]


def _kind(found: TypeTime) -> str:
    """The type without layout and precision: 'Convolution (NHWC, QC8) IGEMM' -> 'Convolution IGEMM'."""
    return " ".join(re.sub(r"\([^)]*\)", "", found.node_type).split())


def _cells(profile: FileProfile, kind: str) -> tuple[str, str, str]:
    found = [each for each in profile.types if _kind(each) == kind]
    if not found:
        return "-", "-", "-"
    spent, share = sum(each.inference_ms for each in found), sum(each.share_percent for each in found)
    return f"{spent:.3f}", f"{share:.1f}%", str(sum(each.count for each in found))


def _total(profile: FileProfile) -> str:
    return str(sum(each.count for each in profile.types))


def _described(types: Sequence[TypeTime], profile: FileProfile) -> str:
    """'3 operators, 0.210 ms, 4.1% (QUANTIZE x 2, MEAN x 1)'; empty without any."""
    count = sum(each.count for each in types)
    if not count:
        return ""
    spent = sum(each.inference_ms for each in types)
    share = 100 * spent / profile.operators_ms if profile.operators_ms else 0.0
    names = ", ".join(f"{each.node_type} x {each.count}" for each in types[:5])
    return f"{count} operator{'s' * (count != 1)}, {spent:.3f} ms, {share:.1f}% ({names})"
