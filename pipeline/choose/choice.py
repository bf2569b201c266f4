"""The answer of `pipeline choose`, and all that led to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.bench.host import MeasuredFile
from pipeline.choose.drop import median_of
from pipeline.choose.settings import ChooseSettings
from pipeline.choose.state import PAGE, Rung
from pipeline.choose.survey import Survey
from pipeline.choose.verdict import Final, Verdict
from pipeline.choose.words import paragraph

RESULT = "choice.json"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The answer, and all that led to it."""

    folder: Path
    """With its page and JSON."""
    data: str
    dataset: str
    num_test: int
    settings: ChooseSettings
    found: Survey
    rungs: tuple[Rung, ...]
    finals: tuple[Final, ...]
    verdicts: tuple[Verdict, ...]
    measured: Mapping[str, Mapping[str, MeasuredFile]]
    """Target -> SHA-256 -> the final measurement."""
    left_out: Mapping[str, str]
    """Net -> why it was not trained."""
    lost: Mapping[str, str]
    """Target -> why it was given up."""
    spent_secs: float

    @property
    def paragraphs(self) -> tuple[str, ...]:
        """The answer in words, one paragraph a target."""
        return tuple(paragraph(each) for each in self.verdicts)

    @property
    def fits(self) -> bool:
        """Whether there is a file within the budget on every target."""
        return all(each.advised is not None for each in self.verdicts)


def choice_record(choice: Choice) -> dict[str, object]:
    """The answer as JSON: what the paragraph and the page say, with the SHA-256 of each file."""
    return {
        "page": str(choice.folder / PAGE),
        "data": choice.data,
        "budget": dataclasses.asdict(choice.settings.budget),
        "paragraphs": list(choice.paragraphs),
        "verdicts": [dataclasses.asdict(each) for each in choice.verdicts],
        "rungs": [dataclasses.asdict(each) for each in choice.rungs],
        "candidates": [
            {
                "name": each.name,
                "macs": each.macs,
                "parameters": each.parameters,
                "size_bytes": each.size_bytes,
                "median_ms": {target: median_of(each, target) for target in each.measured},
                "fates": {
                    target: dataclasses.asdict(found[each.name])
                    for target, found in choice.found.fates.items()
                },
            }
            for each in choice.found.costed
        ],
        "not_measured": dict(choice.found.not_measured),
        "without_weights": dict(choice.found.without_weights),
        "left_out": dict(choice.left_out),
        "lost": dict(choice.lost),
        "spent_secs": choice.spent_secs,
    }
