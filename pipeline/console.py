"""rich's console for all that the program draws: the text in it is made printable, whoever wrote it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from pipeline.terminal import printable, unguarded


class GuardedConsole(Console):
    """A console that makes text printable and leaves rich's own escape sequences alone."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """rich's segments, the text in each without control characters, and none a link."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style and segment.style.update_link(None))


def console(*, stderr: bool = False, **options: Any) -> GuardedConsole:  # noqa: ANN401 - rich's
    """A console for stdout or stderr."""
    return GuardedConsole(file=unguarded(sys.stderr if stderr else sys.stdout), **options)
