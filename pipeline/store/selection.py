"""Which rows of the store a report shows."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.store import queries


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The rows that a report shows; without any condition, all."""

    runs: tuple[str, ...] = ()
    """Their files alone, and those of `sha256s`."""
    sha256s: tuple[str, ...] = ()
    top: int | None = None
    """Only so many rows, the most accurate first."""

    def query(self) -> tuple[str, tuple[object, ...]]:
        """The SQL that selects them, and its values."""
        conditions: list[str] = []
        values: list[object] = []
        for column, chosen in (("run", self.runs), ("sha256", self.sha256s)):
            if chosen:
                conditions.append(f"{column} IN ({', '.join('?' * len(chosen))})")
                values += chosen
        where = f"WHERE {' OR '.join(conditions)}" if conditions else ""
        rows = f"SELECT * FROM ({queries.FIGURES}) {where}"
        if self.top is not None:
            rows = f"SELECT * FROM ({rows} {queries.BEST_FIRST} ?)"
            values.append(self.top)
        return f"{rows} {queries.IN_ORDER}", tuple(values)
