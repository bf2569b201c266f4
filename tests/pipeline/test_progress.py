"""How the command line shows what a step reports."""

from __future__ import annotations

import time

import pytest

from pipeline.commands import output
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


def test_a_log_has_a_line_in_time_also_while_nothing_calls_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(output, "QUIET_SECS", 0.05)
    with stages() as progress:
        progress(Doing("training", "epoch 1/2, 9 images/s", 5, 10))
        wait_for(lambda: "training: epoch 1/2, 9 images/s (50%) ...\n" in capsys.readouterr().err)
        progress(Doing("reading net.keras"))
    assert capsys.readouterr().err.splitlines()[-1] == "reading net.keras ..."
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().err == "", "nothing is said after the end"


def wait_for(happened):
    until = time.monotonic() + 5
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


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
