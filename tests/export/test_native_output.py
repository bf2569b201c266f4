"""What C++ and Python print is kept from the terminal and not lost."""

import logging
import os
import sys
import warnings
from pathlib import Path

import pytest

from export import native_output


def test_python_and_c_output_is_collected_and_none_printed(capfd):
    with native_output.captured() as said:
        print("from print")
        print("to stderr", file=sys.stderr)
        os.write(1, b"from C stdout\n")
        os.write(2, b"from C stderr\n")
        warnings.warn("a warning", stacklevel=1)
        logging.getLogger("absl").warning("from absl")
    assert capfd.readouterr() == ("", "")
    for words in ("from print", "to stderr", "from C stdout", "from C stderr"):
        assert words in said.text
    assert "a warning" not in said.text


def test_printing_works_again_afterwards_even_after_an_error(capfd):
    def fail():
        with native_output.captured() as said:
            os.write(2, b"the reason\n")
            collected.append(said)
            raise RuntimeError("failed")

    collected = []
    with pytest.raises(RuntimeError, match="failed"):
        fail()
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"
    assert "the reason" in collected[0].text


def test_no_descriptor_is_left_open():
    def count():
        return len(list(Path("/proc/self/fd").iterdir()))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system has no /proc to count descriptors in")
    before = count()
    for _ in range(5):
        with native_output.captured():
            pass
    assert count() == before
