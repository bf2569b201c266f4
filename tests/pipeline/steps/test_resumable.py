"""What a training that cannot go on says."""

import pytest
import tensorflow as tf

from pipeline.errors import PipelineError, lacks_memory
from pipeline.steps.resumable import resumable
from pipeline.training.memory import LargeBatchError


@pytest.fixture
def stopped(tmp_path):
    """A run that was started."""
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[512,32,112,112]"),
        tf.errors.UnknownError(None, None, "MemoryError: Unable to allocate 9.2 GiB\n\nTraceback ..."),
        tf.errors.AbortedError(None, None, "Status: 1, message: could not create a primitive, in file x.cc"),
        LargeBatchError(256),
        MemoryError(),
    ],
)
def test_a_batch_too_large_for_memory_is_one_line_with_a_smaller_one(stopped, error):
    with pytest.raises(PipelineError) as told, resumable(stopped, batch_size=512):
        raise error
    assert str(told.value).startswith("a batch of 512 images does not fit into this machine's memory. ")
    assert "--batch-size 256" in str(told.value)
    assert "\n" not in str(told.value)


def test_another_error_of_tensorflow_stays_what_it_is(stopped):
    with pytest.raises(tf.errors.InvalidArgumentError), resumable(stopped, batch_size=512):
        raise tf.errors.InvalidArgumentError(None, None, "a bug")


def test_a_stopped_training_says_how_to_go_on(stopped):
    words = f"Go on: pipeline train --resume {stopped.name}"
    with pytest.raises(KeyboardInterrupt, match=words), resumable(stopped, batch_size=512):
        raise KeyboardInterrupt


def test_too_little_memory_is_told_from_other_errors():
    assert lacks_memory(tf.errors.ResourceExhaustedError(None, None, "OOM"))
    assert lacks_memory(MemoryError())
    assert not lacks_memory(tf.errors.InvalidArgumentError(None, None, "a bug"))
    assert not lacks_memory(ValueError("MemoryError is a word"))
