"""The nearest known name, in whatever case it was typed."""

from __future__ import annotations

from spelling import did_you_mean, nearest_names


def test_mistyped_name_gets_the_nearest_known_one():
    assert did_you_mean("mobilnet", ["densenet", "mobilenet"]) == "Did you mean 'mobilenet'? "


def test_word_that_is_near_to_nothing_gets_no_hint():
    assert did_you_mean("xyz", ["densenet", "mobilenet"]) == ""


def test_case_of_neither_side_matters():
    assert nearest_names("r58m12a", ["R58M12B", "emulator-5554"]) == ["R58M12B"]
    assert nearest_names("CONV1", ["conv2d_1", "Conv_1"]) == ["Conv_1"]


def test_nearest_comes_first_of_several():
    assert nearest_names("photo", ["photograph", "photos", "digits"], num=3) == ["photos", "photograph"]
