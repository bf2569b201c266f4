"""The spread between sessions: calls of `pipeline bench` on one machine. Standard library only.

Files of one session are measured in turns, so a slower machine slows all of them. Medians of different
sessions also differ by changes in between (heat, other programs, an update). Files that were measured in
several sessions show by how much.
"""

from __future__ import annotations

import math
import secrets
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
"""Two-sided 5% points of Student's t for 1 to 10 degrees of freedom; the last is used for more."""


@dataclass(frozen=True, kw_only=True)
class SessionMedian:
    """A file's median in one session."""

    file: Hashable
    session: str
    median_ms: float


@dataclass(frozen=True, kw_only=True)
class SessionSpread:
    """The spread of one file's median over sessions."""

    log_std: float
    """Standard deviation of the logarithm of a session's median."""
    num_sessions: int

    @property
    def log_half_width(self) -> float:
        """Half the 95% interval of the logarithm of the ratio of two sessions' medians."""
        return STUDENT[min(self.num_sessions - 1, len(STUDENT)) - 1] * self.log_std * math.sqrt(2)


def new_session() -> str:
    """A name for a new session."""
    return secrets.token_hex(4)


def session_of(round_sessions: Sequence[str]) -> str | None:
    """The session of all rounds of a measurement; None if they have several or none."""
    found = set(round_sessions)
    return found.pop() or None if len(found) == 1 else None


def session_spread(medians: Iterable[SessionMedian]) -> SessionSpread | None:
    """The spread over sessions, from files measured in several; None without such a file.

    All files of a session share its conditions, so the number of sessions counts, not that of files.
    """
    logarithms: dict[Hashable, dict[str, float]] = defaultdict(dict)
    for each in medians:
        if each.median_ms > 0:
            logarithms[each.file][each.session] = math.log(each.median_ms)
    several = [found for found in logarithms.values() if len(found) > 1]
    if not several:
        return None
    squares = 0.0
    for found in several:
        mean = sum(found.values()) / len(found)
        squares += sum((value - mean) ** 2 for value in found.values())
    variance = squares / sum(len(found) - 1 for found in several)
    sessions = {session for found in several for session in found}
    return SessionSpread(log_std=math.sqrt(variance), num_sessions=len(sessions))
