"""`pipeline doctor`: what is installed, what works, how to fix the rest."""

from __future__ import annotations

import click

from pipeline.commands.output import json_option, print_records, print_table, stages, table
from pipeline.doctor import Check, examine
from pipeline.errors import MissingToolError
from pipeline.progress import Doing
from pipeline.runs import runs_folder


@click.command(name="doctor", short_help="Say what is installed, what works, and how to fix the rest.")
@json_option
def command(*, as_json: bool) -> None:
    """Say what is installed, what works, and how to fix the rest.

    Each check does the thing in its own process (trains, converts, makes an interpreter and runs it);
    all of them take about half a minute. Exit status 3 when something that is needed does not work.

    \b
    pipeline doctor
    """
    checks = []
    with stages() as progress:
        progress(Doing("checking what is installed"))
        for check in examine(runs_folder()):
            checks.append(check)
            progress(Doing("checking what is installed", f"{check.name} is done"))
    if as_json:
        print_records(checks)
    else:
        _print(checks)
    broken = [check.name for check in checks if check.needed and not check.works]
    if broken:
        raise MissingToolError(f"{', '.join(broken)} must be fixed; the last column above says how.")


def _print(checks: list[Check]) -> None:
    rows = table("what", "version", "state", "detail", "what to do")
    for check in checks:
        state = "works" if check.works else "BROKEN" if check.needed else "absent"
        rows.add_row(
            check.name, check.version if check.version is not None else "-", state, check.detail, check.fix
        )
    print_table(rows)
