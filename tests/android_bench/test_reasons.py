"""The enumeration of reasons, and the docs that list them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from android_bench.reasons import Reason

DOCS = Path(__file__).parents[2] / "docs" / "devices.md"
HEADER = "| reason | what happened | what to do |"


def tables():
    """The rows of each table of reasons in the docs."""
    section = DOCS.read_text().partition("## Why a row is not valid")[2].partition("\n## ")[0]
    parts = section.split(HEADER)[1:]
    return [[line for line in part.splitlines()[2:] if line.startswith("|")] for part in parts]


@pytest.mark.parametrize(("table", "place"), [(0, "phone"), (1, "host")])
def test_the_docs_list_every_reason_with_its_advice_and_no_other(table, place):
    wanted = [each for each in Reason if each.place in (place, "both")]
    assert tables()[table] == [f"| {each.shown} | {each.happened} | {each.advice} |" for each in wanted]


def test_a_code_is_stable_words_and_no_two_sentences_are_alike():
    assert all(re.fullmatch("[a-z]+(-[a-z]+)*", each.value) for each in Reason)
    assert len({each.sentence for each in Reason}) == len(Reason)


def test_a_sentence_has_its_fields_and_asks_for_all_of_them():
    assert Reason.FEWER_RUNS.text(made=3, asked=5) == "the run count fell short: 3 of 5"
    assert Reason.FEWER_RUNS.shown == "the run count fell short: ... of ..."
    with pytest.raises(KeyError):
        Reason.FEWER_RUNS.text(made=3)


def test_no_sentence_of_a_reason_is_written_twice():
    """A reason is worded in the enumeration alone."""
    root = Path(__file__).parents[2]
    files = [path for name in ("android_bench", "pipeline/bench") for path in (root / name).rglob("*.py")]
    for each in Reason:
        start = re.split(r"[{]", each.sentence.removeprefix("{runtime} "))[0]
        if len(start) < 12 or each.sentence.startswith("{"):
            continue  # too few words to be told from other text
        begun = re.compile(f"[\"']{re.escape(start)}")
        found = [path.name for path in files if begun.search(path.read_text())]
        assert found == ["reasons.py"], (each, found)
