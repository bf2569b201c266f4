"""Messages about how to resume an interrupted training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from pipeline.errors import PipelineError, lacks_memory
from pipeline.runs import how_to_resume
from pipeline.training.memory import LargeBatchError
from spelling import counted


@contextmanager
def resumable(run: Path, *, batch_size: int) -> Iterator[None]:
    """Wraps a training: if it is interrupted, cannot write or lacks memory, the error says what to do."""
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
    except (MemoryError, tf.errors.OpError) as error:
        if not lacks_memory(error):
            raise
        fits = error.fits if isinstance(error, LargeBatchError) else batch_size // 2
        smaller = f"--batch-size {max(1, fits)}"
        raise PipelineError(
            f"a batch of {counted(batch_size, 'image')} does not fit into this machine's memory. "
            f"Start again with a smaller one, such as {smaller}, or with smaller images (--image-size)."
        ) from error
