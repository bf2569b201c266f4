"""The hours that a choice may take."""

from __future__ import annotations

import pytest

from pipeline.choose.clock import Clock


def test_earlier_calls_count():
    assert Clock(hours=1.0, spent_before=1800.0).has_room(1700.0)
    assert not Clock(hours=1.0, spent_before=1800.0).has_room(1900.0)
    assert not Clock(hours=1.0, spent_before=1800.0).has_room(700.0, share=0.6)


def test_without_hours_there_is_always_room():
    assert Clock(hours=None).has_room(1e12)


def test_a_training_is_expected_to_take_what_its_family_took():
    clock = Clock(hours=1.0)
    assert clock.expected_secs("mobilenet", macs=100, epochs=2) is None
    clock.learn("mobilenet", macs=100, epochs=1, seconds=10.0)
    clock.learn("mobilenet", macs=200, epochs=2, seconds=40.0)
    clock.learn("squeezenet", macs=100, epochs=1, seconds=1000.0)
    assert clock.expected_secs("mobilenet", macs=300, epochs=4) == pytest.approx(120.0)


def test_a_family_that_was_not_trained_yet_takes_the_middle_of_the_others():
    clock = Clock(hours=1.0, known_rates={"a": 1.0, "b": 2.0, "c": 30.0})
    assert clock.expected_secs("d", macs=10, epochs=1) == pytest.approx(20.0)
