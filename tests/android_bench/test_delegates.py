"""The table of delegates: what a row brings."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from android_bench.delegates import DELEGATES, FLAGS, TOOL_NAMES, WORDS, delegate_named, kind_of
from android_bench.tool.runner import OURS
from pipeline.commands.bench import command

DOCS = Path(__file__).parents[2] / "docs" / "devices.md"
PRINTED = {
    "xnnpack": "TfLiteXNNPackDelegate",
    "gpu": "TfLiteGpuDelegateV2",
    "nnapi": "TfLiteNnapiDelegate",
    "npu": "DispatchDelegate",
    "hexagon": "TfLiteHexagonDelegate",
}
"""What the tools call them in logs of the real ones."""


def flags_of(delegate, tool):
    """The cell of the table in the docs."""
    if tool not in delegate.flags:
        return "-"
    return ", ".join(f"`--{name}={value}`" for name, value in delegate.flags[tool].items()) or "no flag"


def test_the_docs_list_the_delegates_as_the_table_has_them():
    wanted = [
        f"| {f'`{each.word}`' if each.word else '-'} | {each.title} | "
        f"{' | '.join(flags_of(each, tool) for tool in TOOL_NAMES)} | {each.note} |"
        for each in DELEGATES
    ]
    lines = DOCS.read_text().splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("| `--delegate`"))
    assert lines[start + 2 : start + 2 + len(wanted)] == wanted
    assert not lines[start + 2 + len(wanted)].startswith("|")


@pytest.mark.parametrize("delegate", DELEGATES, ids=lambda each: each.kind)
def test_each_is_known_by_its_printed_name_and_no_other(delegate):
    assert kind_of(PRINTED[delegate.kind]) == delegate.kind
    assert [each.kind for each in DELEGATES if each.matches(PRINTED[delegate.kind])] == [delegate.kind]


def test_the_help_names_every_word_and_no_flag_of_theirs_may_be_given_twice():
    shown = CliRunner().invoke(command, ["--help"]).output
    assert ", ".join(WORDS) in " ".join(shown.split())
    assert FLAGS <= OURS
    assert [delegate_named(word).word for word in WORDS] == list(WORDS)
