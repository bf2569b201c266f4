"""A bounded pool of children for any number of files; the least recently used child is ended first."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from pipeline.bench.child import Child

SHARE = 0.1
"""Share of the machine's free memory that all children together may use."""
RESIDENT_BYTES = {"litert": 90e6, "tflite-runtime": 90e6, "tensorflow": 600e6}
"""Memory of a child between two rounds; it does not depend on the file."""
LEAST = 4

Turn = tuple[int, Path]
"""Index of the series, from 0, and its file."""


def most_children(runtime: str) -> int:
    """The maximum number of children at once."""
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
        """The child for a turn, started if it is not alive.

        MissingToolError if the runtime cannot be imported, ChildFailedError if the child ends at its start.
        """
        child = self._alive.pop(turn, None)
        if child is not None:
            self._alive[turn] = child  # now the most recently used
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
    """Memory available to programs, in bytes; 0 if the system does not report it."""
    found = Path("/proc/meminfo")
    lines = found.read_text().splitlines() if found.is_file() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
