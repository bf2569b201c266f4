"""What the commands that train say of a run that is stopped, and that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from pipeline.commands.output import say
from pipeline.errors import PipelineError, UsageError
from pipeline.runs import how_to_resume


@contextmanager
def resumable(run: Path) -> Iterator[None]:
    """Around a training: one that is interrupted, or has nowhere to write, says how to go on with it."""
    go_on = how_to_resume(run)  # now, while it can be read
    try:
        yield
    except KeyboardInterrupt:
        say(f"\nstopped. The finished epochs are kept; go on: {go_on}")
        raise
    except OSError as error:
        raise PipelineError(
            f"cannot write to {run} ({error.strerror or error}). The finished epochs are kept. "
            f"Mend that, such as by freeing space, then go on: {go_on}"
        ) from error


def refuse_settings(context: click.Context) -> None:
    """A resumed run has its own settings: one that is given beside --resume would be passed over."""
    from click.core import ParameterSource

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
