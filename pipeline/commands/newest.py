"""Says which run a command takes that was given none, where that is not plain."""

from __future__ import annotations

from pipeline.commands.output import say
from pipeline.runs import newest_doubt, runs_folder


def say_newest(given: object) -> None:
    """Prints the doubt about the newest run, unless a run or a file is given."""
    doubt = None if given else newest_doubt(runs_folder())
    if doubt:
        say(f"pipeline: {doubt}")
