"""Which rows of the store a report shows."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.store import queries
from pipeline.store.condition import condition_from, since_from


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The rows that a report shows; without any condition, all. Raises UsageError for a wrong condition."""

    runs: tuple[str, ...] = ()
    """The files of these runs alone."""
    sha256s: tuple[str, ...] = ()
    """These files alone, or beside those of the runs."""
    families: tuple[str, ...] = ()
    """The models of these families alone."""
    where: tuple[str, ...] = ()
    """Conditions such as 'precision=int8', 'device~Pixel', 'top1>=80'; all must hold."""
    since: str | None = None
    """Only what was measured or verified since: a day, a time, or how long ago (12h, 7d, 4w)."""
    top: int | None = None
    """Only so many rows: the most accurate, and of equal ones the fastest."""

    def __post_init__(self) -> None:
        self.query()

    @property
    def is_all(self) -> bool:
        """Whether there is no condition besides the runs and files."""
        return not self.families and not self.where and self.since is None and self.top is None

    def query(self) -> tuple[str, tuple[object, ...]]:
        """The SQL that selects them, and its values."""
        conditions: list[str] = []
        values: list[object] = []
        for columns in ((("run", self.runs), ("sha256", self.sha256s)), (("family", self.families),)):
            named = [(column, names) for column, names in columns if names]
            if named:
                either = (f"{column} IN ({', '.join('?' * len(names))})" for column, names in named)
                conditions.append(f"({' OR '.join(either)})")
                values += [name for _, names in named for name in names]
        typed = [condition_from(text) for text in self.where]
        typed += [] if self.since is None else [since_from(self.since)]
        conditions += [each.sql for each in typed]
        values += [value for each in typed for value in each.values]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        rows = f"SELECT * FROM ({queries.FIGURES}) {where}"
        if self.top is not None:
            rows = f"SELECT * FROM ({rows} {queries.BEST_FIRST} ?)"
            values.append(self.top)
        return f"{rows} {queries.IN_ORDER}", tuple(values)
