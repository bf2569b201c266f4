"""The time left, and the best so far, as trials report their progress."""

from __future__ import annotations

import dataclasses
import time

import pytest

from pipeline.progress import Doing
from pipeline.steps.settings import TrainSettings
from pipeline.trials.progress import Standing, Tally
from pipeline.trials.trial import Trial, TrialResult

TRIALS = [
    Trial(name=name, family="mobilenet", data="digits", settings=TrainSettings(epochs=9, seed=seed))
    for seed, name in enumerate("abc")
]


def done(trial: Trial, top1: float) -> TrialResult:
    return TrialResult(trial=trial, status="done", validation_top1=top1)


def test_time_left_is_that_of_the_weights_and_does_not_jump_after_the_training():
    said: list[Standing] = []
    begun = time.monotonic()
    tally = Tally(TRIALS, [1.0, 1.0, 2.0], said.append)
    tally.started(0, "")
    assert said[-1].seconds_left is None
    tally.said(0, Doing("training", "", 0, 100))
    time.sleep(0.1)
    for after in (Doing("training", "", 100, 100), Doing("converting", "", 1, 10)):
        tally.said(0, after)
        # three times as much as the one that took until now
        assert said[-1].seconds_left == pytest.approx(3 * (time.monotonic() - begun), rel=0.1, abs=0.1)
    tally.ended(0, done(TRIALS[0], 50.0))
    assert said[-1].seconds_left == pytest.approx(3 * (time.monotonic() - begun), rel=0.1, abs=0.1)


def test_trial_that_goes_on_counts_from_where_it_was_and_a_rung_as_its_own_length():
    said: list[Standing] = []
    begun = time.monotonic()
    rung = [dataclasses.replace(TRIALS[0], until=3), dataclasses.replace(TRIALS[1], until=3)]
    tally = Tally(rung, [1.0, 1.0], said.append)
    tally.said(0, Doing("training", "", 100, 900))  # epoch 1 of 3 is there already
    time.sleep(0.1)
    tally.said(0, Doing("training", "", 200, 900))
    # one epoch there, three of the other
    assert said[-1].seconds_left == pytest.approx(4 * (time.monotonic() - begun), rel=0.1, abs=0.1)


def test_best_is_the_highest_validation_and_an_earlier_one_of_equals():
    said: list[Standing] = []
    tally = Tally(TRIALS, [1.0, 1.0, 1.0], said.append)
    for trial, top1 in zip(TRIALS, (50.0, 70.0, 70.0), strict=True):
        tally.ended(TRIALS.index(trial), done(trial, top1))
    assert said[-1].best is not None
    assert said[-1].best.name == "b"
