"""A few children at once for any number of files: the one that ran longest ago makes room for the next."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from pipeline.bench.child import Child

SHARE = 0.1
"""Of the machine's free memory, for all children together."""
RESIDENT_BYTES = {"litert": 90e6, "tflite-runtime": 90e6, "tensorflow": 600e6}
"""What a child holds between two rounds, whatever its file."""
LEAST = 4

Turn = tuple[int, Path]
"""Which of the measured things it is, counted from 0, and its file."""


def most_children(runtime: str) -> int:
    """How many children may be alive at once."""
    return max(LEAST, int(SHARE * _free_bytes() / RESIDENT_BYTES[runtime]))


class Children:
    """The children of one benchmark; a context manager that ends all of them."""

    def __init__(self, *, runtime: str, patience_secs: float, most: int | None = None) -> None:
        self._runtime = runtime
        self._patience_secs = patience_secs
        self._most = most or most_children(runtime)
        self._alive: dict[Turn, Child] = {}

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for turn in list(self._alive):
            self.end(turn)

    def ready(self, turn: Turn, *, num_threads: int) -> Child:
        """The child for a turn, started anew where it is not alive.

        MissingToolError when the runtime does not import, ChildFailedError when the child ends instead.
        """
        child = self._alive.pop(turn, None)
        if child is not None:
            self._alive[turn] = child  # now the one that ran last
            return child
        while len(self._alive) >= self._most:
            self.end(next(iter(self._alive)))
        child = Child(
            turn[1], num_threads=num_threads, runtime=self._runtime, patience_secs=self._patience_secs
        )
        self._alive[turn] = child
        child.wait_until_ready()
        return child

    def end(self, turn: Turn) -> None:
        """Ends the child of a turn, if it is alive."""
        child = self._alive.pop(turn, None)
        if child is not None:
            child.close()


def _free_bytes() -> int:
    """What programs can still take; 0 where the system does not tell."""
    found = Path("/proc/meminfo")
    lines = found.read_text().splitlines() if found.is_file() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
