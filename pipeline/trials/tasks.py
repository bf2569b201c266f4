"""What an engine runs: tasks, the function that carries one out, and what is heard of them.

An engine knows nothing of trainings: a task is JSON, and the work is 'module:function', called with a task,
the runs folder and a progress callback, which returns JSON.
"""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.errors import ExportError, SettingsError
from models.errors import KnobError, ModelError
from pipeline.errors import PipelineError, lacks_memory
from pipeline.progress import Doing, Note, Progress
from pipeline.run_lock import RunInUseError

IN_USE_SECS = 120.0
"""How long a run may be in use by another process before that is a failure."""

Work = Callable[[Any, Path, Progress], Any]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task ended."""

    index: int
    """Its place among the tasks."""
    reply: Any = None
    """What the work returned; None if it failed."""
    failure: str = ""
    """Why it failed for good, in a sentence."""
    details: str = ""
    """The traceback of a bug, or the last words of a process that died."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A task has begun, perhaps again."""

    index: int
    where: str = ""
    """The node, where there are several."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a task's work reports of its progress."""

    index: int
    event: Doing | Note


Heard = Outcome | Started | Said


def find_work(name: str) -> Work:
    """The function of 'module:function'."""
    module, _, function = name.partition(":")
    found: Work = getattr(importlib.import_module(module), function)
    return found


def attempted(work: Work, task: Any, runs: Path, progress: Progress) -> dict[str, Any]:  # noqa: ANN401
    """What the work returns, as {"reply": ...}; or {"failure": ..., "details": ...} of an error.

    A run that is in use is waited for: the process of a killed call, or of a lost node, ends soon.
    """
    begun = time.monotonic()
    try:
        while True:
            try:
                return {"reply": work(task, runs, progress)}
            except RunInUseError:
                if time.monotonic() - begun > IN_USE_SECS:
                    raise
                time.sleep(1.0)
    except (PipelineError, KnobError, SettingsError, ModelError, ExportError) as error:
        return {"failure": str(error), "details": ""}
    except Exception as error:
        details = traceback.format_exc()
        if lacks_memory(error):
            return {"failure": "this machine's memory is too small for it.", "details": details}
        return {"failure": f"{type(error).__name__}: {error}", "details": details}


def event_as_json(event: Doing | Note) -> dict[str, Any]:
    """The event for a line of JSON."""
    if isinstance(event, Note):
        return {"note": event.text}
    return {"doing": [event.what, event.detail, event.done, event.total]}


def event_from_json(content: dict[str, Any]) -> Doing | Note:
    """The event from a line of JSON."""
    return Note(content["note"]) if "note" in content else Doing(*content["doing"])
