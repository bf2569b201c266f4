"""A report's rows as the store holds them: a row is built when it is read. Standard library only."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, overload

from pipeline.records.report_row import COLUMNS, ReportRow, row_as_json, row_of
from pipeline.sessions import session_of

PLACES = {name: place for place, name in enumerate(COLUMNS)}

CONDITIONS = (
    "machine", "where", "runtime", "runtime_version", "delegate", "cores", "extra_flags", "num_threads",
    "dataset", "dataset_fingerprint", "num_samples", "split",
)  # fmt: skip


class ReportRows(Sequence[ReportRow]):
    """The rows of a report, of which there may be 100,000.

    `figures` are tuples in the order of COLUMNS, with lists and knobs as JSON, paths relative to the folder
    of the runs, and the sessions of all rounds in place of the session.
    """

    def __init__(
        self, figures: Sequence[tuple[Any, ...]], *, folder: Path, best: frozenset[int] = frozenset()
    ) -> None:
        self.figures = figures
        self.folder = folder
        self._root = "" if folder == Path() else str(folder)
        self._columns: dict[str, list[Any]] = {}
        self.best = best
        """The places of the rows that are Pareto-best."""

    def with_best(self, best: Iterable[int]) -> ReportRows:
        """The same rows, of which others are the best."""
        rows = ReportRows(self.figures, folder=self.folder, best=frozenset(best))
        rows._columns = self._columns
        return rows

    @classmethod
    def of(cls, rows: Iterable[ReportRow]) -> ReportRows:
        """These rows."""
        if isinstance(rows, ReportRows):
            return rows
        rows = list(rows)
        best = frozenset(place for place, row in enumerate(rows) if row.pareto)
        return cls([_stored(row) for row in rows], folder=Path(), best=best)

    def __len__(self) -> int:
        return len(self.figures)

    @overload
    def __getitem__(self, place: int) -> ReportRow: ...
    @overload
    def __getitem__(self, place: slice) -> list[ReportRow]: ...
    def __getitem__(self, place: int | slice) -> ReportRow | list[ReportRow]:
        places = range(len(self))[place]
        return [self._row(each) for each in places] if isinstance(places, range) else self._row(places)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        raise TypeError("unhashable type: 'ReportRows'")

    def column(self, name: str) -> list[Any]:
        """One figure of every row, as stored; not to be changed."""
        if name not in self._columns:
            self._columns[name] = list(map(itemgetter(PLACES[name]), self.figures))
        return self._columns[name]

    @cached_property
    def kinds(self) -> list[ReportRow]:
        """The first row of each combination of conditions, and of rows with and without a phone's answers."""
        conditions = itemgetter(*(PLACES[name] for name in CONDITIONS))
        agreement = PLACES["phone_agreement"]
        found: dict[Any, int] = {}
        for place, figures in enumerate(self.figures):
            found.setdefault((conditions(figures), figures[agreement] is None), place)
        return [self._row(place) for place in found.values()]

    def sessions(self) -> list[str | None]:
        """The session of every row."""
        return [session_in(text) for text in self.column("session")]

    def located(self, path: str | None) -> str | None:
        """A stored path as one that can be opened."""
        # of 100,000 rows, in a tenth of Path's time
        return None if path is None else os.path.join(self._root, path)  # noqa: PTH118

    def _row(self, place: int) -> ReportRow:
        found = dict(zip(COLUMNS, self.figures[place], strict=True))
        return row_of(
            {
                **found,
                "knobs": json.loads(found["knobs"]),
                "extra_flags": tuple(json.loads(found["extra_flags"])),
                "valid": None if found["valid"] is None else bool(found["valid"]),
                "reasons": tuple(json.loads(found["reasons"])),
                "path": self.located(found["path"]),
                "session": session_in(found["session"]),
                "pareto": place in self.best,
            }
        )


@contextmanager
def uncollected() -> Iterator[None]:
    """Makes many objects without Python's search for circles among them, which takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@cache
def session_in(round_sessions: str | None) -> str | None:
    """The one session in the JSON list of all rounds' sessions."""
    return session_of(json.loads(round_sessions or "[]"))


def _stored(row: ReportRow) -> tuple[Any, ...]:
    """The row's figures as the store holds them."""
    found = row_as_json(row)
    sessions = json.dumps([] if row.latency.session is None else [row.latency.session])
    lists = {name: json.dumps(found[name]) for name in ("knobs", "extra_flags", "reasons")}
    return tuple({**found, **lists, "session": sessions}.values())
