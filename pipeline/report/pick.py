"""The page's sliders: which file wins under limits of latency, size and accuracy. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SLIDERS = (
    ("median_ms", "Latency at most"),
    ("size_mb", "Size at most"),
    ("tflite_top1", "Top-1 at least"),
)
SETTING = ("conditions_text", "dataset_text")
"""Rows compete under one machine, runtime, number of threads and data set."""
FIELDS = (
    "agreement",
    "num_samples",
    "setting",
    "parent",
    "size_text",
    "top1_text",
    "interval_text",
    "median_text",
)
"""What pick.js reads of a row besides the figures."""


def add_contest(records: Sequence[dict[str, Any]]) -> list[str]:
    """Numbers each record's setting and Keras model in place; returns the settings' texts.

    A row that may not win (no valid latency, no size, no accuracy) has the setting -1.
    """
    settings: dict[str, int] = {}
    parents: dict[str | None, int] = {None: -1}
    for record in records:
        competes = record["drawn"] and record["tflite_top1"] is not None
        text = "; ".join(record[name] for name in SETTING)
        record["setting"] = settings.setdefault(text, len(settings)) if competes else -1
        record["parent"] = parents.setdefault(record["parent_sha256"], len(parents) - 1)
    return list(settings)


def picker_html() -> str:
    """The section, which pick.js fills and shows."""
    sliders = "".join(
        f'<div><label for="pick-{name}">{words} <output for="pick-{name}"></output></label>'
        f'<input type="range" id="pick-{name}" name="{name}" step="1"></div>'
        for name, words in SLIDERS
    )
    return (
        '<section id="pick" class="pick" aria-label="Which file?" hidden><h2>Which file?</h2>'
        '<form autocomplete="off"><div class="place"><label for="pick-setting">Measured on</label>'
        f'<select id="pick-setting" name="setting"></select></div>{sliders}</form>'
        '<div id="picked" role="status" aria-live="polite"></div></section>'
    )
