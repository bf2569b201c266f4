"""`pipeline bench --adb --op-profile`: the operators that cost most, two files side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.output import print_records, print_table, table, working
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from android_bench.profile import TypeTime
    from android_bench.settings import MatrixSettings
    from pipeline.bench.fleet import FleetPhone
    from pipeline.bench.phone_profile import FileProfile
    from pipeline.bench.settings import BenchSettings, PhoneSettings

MOST_TYPES = 12


def profile_on_phone(
    files: Sequence[Path],
    fleet: Sequence[FleetPhone],
    bench: BenchSettings,
    settings: PhoneSettings,
    matrix: MatrixSettings,
    *,
    as_json: bool,
) -> int:
    """Profiles the files on one phone and shows why one is slower; 1 when a run is not valid."""
    from pipeline.bench.phone import plan_series
    from pipeline.bench.phone_profile import profile_files

    if len(fleet) != 1:
        raise UsageError(
            f"--op-profile looks at one phone; {len(fleet)} were given. Name one with -s SERIAL."
        )
    (member,) = fleet
    series = plan_series(files, member.info, member.tool, bench, settings, max_celsius=matrix.max_celsius)
    with working(f"profiling on {member.info.where}"):
        found = profile_files(member, series, matrix)
    if as_json:
        print_records(found)
    else:
        click.echo(f"{member.info.where}: {member.info.machine}")
        for first in range(0, len(found), 2):
            _print(found[first : first + 2])
        click.echo("Profiling slows a run: compare shares here, and milliseconds in pipeline bench --adb.")
    return 1 if any(each.reasons for each in found) else 0


def _print(pair: Sequence[FileProfile]) -> None:
    numbers = [heading for each in pair for heading in _headings(each)]
    rows = table("operator", *numbers, numbers=numbers)
    for node_type in _most_costly(pair):
        cells = [cell for each in pair for cell in _cells(each, node_type)]
        rows.add_row(node_type, *cells)
    rows.add_row(
        "all", *[cell for each in pair for cell in (f"{each.operators_ms:.3f}", "100%", _total(each))]
    )
    print_table(rows)
    for each in pair:
        left = _told(each.not_delegated, each) or "none"
        converting = _told(each.quantization, each) or "none"
        click.echo(f"{_title(each)}: not delegated: {left}; only converting numbers: {converting}.")
        for reason in each.reasons:
            click.echo(f"{_title(each)} is not valid: {reason}.")


def _title(profile: FileProfile) -> str:
    threads = "" if profile.num_threads == 1 else f", {profile.num_threads} threads"
    return f"{profile.name} [{profile.delegate}{threads}]"


def _headings(profile: FileProfile) -> tuple[str, str, str]:
    return f"{_title(profile)}\nms", "\nshare", "\ncount"


def _most_costly(pair: Sequence[FileProfile]) -> list[str]:
    """The types of both, those first that take the most time in either."""
    cost: dict[str, float] = {}
    for profile in pair:
        for each in profile.types:
            cost[each.node_type] = max(cost.get(each.node_type, 0.0), each.inference_ms)
    return sorted(cost, key=lambda node_type: -cost[node_type])[:MOST_TYPES]


def _cells(profile: FileProfile, node_type: str) -> tuple[str, str, str]:
    found = next((each for each in profile.types if each.node_type == node_type), None)
    if found is None:
        return "-", "-", "-"
    return f"{found.inference_ms:.3f}", f"{found.share_percent:.1f}%", str(found.count)


def _total(profile: FileProfile) -> str:
    return str(sum(each.count for each in profile.types))


def _told(types: Sequence[TypeTime], profile: FileProfile) -> str:
    """'3 operators, 0.210 ms, 4.1% (QUANTIZE x 2, MEAN x 1)'; empty without any."""
    count = sum(each.count for each in types)
    if not count:
        return ""
    spent = sum(each.inference_ms for each in types)
    share = 100 * spent / profile.operators_ms if profile.operators_ms else 0.0
    names = ", ".join(f"{each.node_type} x {each.count}" for each in types[:5])
    return f"{count} operator{'s' * (count != 1)}, {spent:.3f} ms, {share:.1f}% ({names})"
