"""Messages about how to resume an interrupted training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.runs import how_to_resume


@contextmanager
def resumable(run: Path) -> Iterator[None]:
    """Wraps a training: if it is interrupted or cannot write, the error says how to resume it."""
    go_on = how_to_resume(run)  # before the training, while the run can be read
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"The finished epochs are kept. Go on: {go_on}") from stop
    except OSError as error:
        raise PipelineError(
            f"cannot write to {run} ({error.strerror or error}). The finished epochs are kept. "
            f"Fix that, such as by freeing space, then go on: {go_on}"
        ) from error
