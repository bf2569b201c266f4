"""What a training says that is stopped, and that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.progress import Note, Progress
from pipeline.runs import how_to_resume


@contextmanager
def resumable(run: Path, progress: Progress) -> Iterator[None]:
    """Around a training: one that is interrupted, or has nowhere to write, says how to go on with it."""
    go_on = how_to_resume(run)  # now, while it can be read
    try:
        yield
    except KeyboardInterrupt:
        progress(Note(f"\nstopped. The finished epochs are kept; go on: {go_on}"))
        raise
    except OSError as error:
        raise PipelineError(
            f"cannot write to {run} ({error.strerror or error}). The finished epochs are kept. "
            f"Fix that, such as by freeing space, then go on: {go_on}"
        ) from error
