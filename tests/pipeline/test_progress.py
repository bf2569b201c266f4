"""How the command line shows what a step reports."""

from __future__ import annotations

import pytest

from pipeline.commands.output import stages
from pipeline.progress import Doing, Note


def test_a_log_has_a_line_for_what_is_begun_and_each_note_but_not_for_each_image(
    capsys: pytest.CaptureFixture[str],
):
    with stages() as progress:
        progress(Doing("verifying net.tflite"))
        for done in range(1, 4):
            progress(Doing("verifying net.tflite", f"{done} of 3 images", done, 3))
        progress(Note("epoch 1/2  loss 0.1"))
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["verifying net.tflite ...", "epoch 1/2  loss 0.1"]
    assert captured.out == ""


def test_a_terminal_keeps_notes_and_is_left_without_the_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "100")):
        monkeypatch.setenv(name, value)
    with stages() as progress:
        progress(Doing("training [bold]", "epoch 1/2", 5, 10))
        progress(Note("epoch 1/2  [bold] loss 0.1"))
    shown = capsys.readouterr().err
    assert "training [bold]" in shown
    assert "epoch 1/2  [bold] loss 0.1" in shown
    assert shown.rindex("\x1b[2K") > shown.rindex("training"), "the bar is wiped at the end"
