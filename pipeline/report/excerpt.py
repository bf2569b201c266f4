"""The part of a large report that is drawn and listed: what is best, and a sample of the rest."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.records.report_row import ReportRow
from pipeline.store.rows import ReportRows

SEED = 0


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """The rows that are shown, in the report's order."""

    rows: Sequence[ReportRow]
    num_rows: int
    """Of the whole report."""
    num_best: int
    """Of the rows shown."""

    @property
    def is_whole(self) -> bool:
        """Whether all rows are shown."""
        return len(self.rows) == self.num_rows

    @property
    def in_words(self) -> str:
        """'2,500 of 100,000 rows: the 53 best, and 2,447 others drawn by lot'; empty if all are shown."""
        if self.is_whole:
            return ""
        others = len(self.rows) - self.num_best
        best = f"the {self.num_best:,} best, and " if self.num_best else ""
        return f"{len(self.rows):,} of {self.num_rows:,} rows: {best}{others:,} others drawn by lot"


def excerpt(rows: Sequence[ReportRow], most: int) -> Excerpt:
    """All rows if there are at most `most`, else the best and a sample of the others, always the same."""
    if len(rows) <= most:
        num_best = sum(row.pareto for row in rows)
        return Excerpt(rows=rows, num_rows=len(rows), num_best=num_best)
    rows = ReportRows.of(rows)
    best = sorted(rows.best)[:most]
    others = [place for place in range(len(rows)) if place not in rows.best]
    room = most - len(best)
    sample = random.Random(SEED).sample(others, room)  # evenly would repeat what the order repeats
    shown = [rows[place] for place in sorted((*best, *sample))]
    return Excerpt(rows=shown, num_rows=len(rows), num_best=len(best))
