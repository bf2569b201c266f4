"""Errors that a user can cause, each with an exit status. Standard library only.

0 done, 1 a gate not met or a finding, 2 usage, 3 a missing tool or package, 4 the device.
"""

from __future__ import annotations

from collections.abc import Iterable

from spelling import did_you_mean


class PipelineError(Exception):
    """A finding: the message says what happened, what was expected and what to do next."""

    exit_status = 1


class UsageError(PipelineError):
    """A name, a value or a path on the command line is wrong."""

    exit_status = 2


class MissingToolError(PipelineError):
    """A package or a program is not installed."""

    exit_status = 3


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a mistyped name, with the nearest known one."""
    names = sorted(known)
    known_names = f"Known: {', '.join(names)}." if names else "There is none yet."
    return UsageError(f"unknown {kind} '{name}'. {did_you_mean(name, names)}{known_names}")


_ONEDNN = "Status: 1, message: could not create"
"""oneDNN's dnnl_out_of_memory, in TensorFlow's words."""


def lacks_memory(error: BaseException) -> bool:
    """Whether an allocation failed: in Python, in TensorFlow, or in Python code that TensorFlow calls."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    words = ("OOM when allocating", "MemoryError", "bad_alloc", "failed to allocate memory", _ONEDNN)
    return type(error).__module__.startswith("tensorflow.") and any(word in str(error) for word in words)
