"""Refuses options that a resumed run ignores."""

from __future__ import annotations

import click
from click.core import ParameterSource

from pipeline.errors import UsageError


def refuse_settings(context: click.Context) -> None:
    """UsageError for settings beside --resume: a resumed run keeps its own."""

    given = [
        parameter.opts[-1]
        for parameter in context.command.params
        if parameter.name not in ("resume", "as_json")
        and context.get_parameter_source(str(parameter.name)) is not ParameterSource.DEFAULT
    ]
    if given:
        raise UsageError(
            f"--resume goes on with the run's own settings, so {', '.join(given)} cannot be given with it. "
            "Leave it out, or start a new run."
        )
