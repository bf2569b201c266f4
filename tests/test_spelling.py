"""The nearest known name, in whatever case it was typed."""

from __future__ import annotations

from spelling import counted, did_you_mean, nearest_names, some


def test_mistyped_name_gets_the_nearest_known_one():
    assert did_you_mean("mobilnet", ["densenet", "mobilenet"]) == "Did you mean 'mobilenet'? "


def test_word_that_is_near_to_nothing_gets_no_hint():
    assert did_you_mean("xyz", ["densenet", "mobilenet"]) == ""


def test_case_of_neither_side_matters():
    assert nearest_names("r58m12a", ["R58M12B", "emulator-5554"]) == ["R58M12B"]
    assert nearest_names("CONV1", ["conv2d_1", "Conv_1"]) == ["Conv_1"]


def test_nearest_comes_first_of_several():
    assert nearest_names("photo", ["photograph", "photos", "digits"], num=3) == ["photos", "photograph"]


def test_a_long_list_is_cut_short_with_the_number_of_the_rest():
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some(map(str, range(1005)), most=2) == "0, 1 and 1,003 more"
    assert some(["a", "b"], most=1, quoted=True) == "'a' and 1 more"


def test_one_of_a_thing_is_no_plural():
    assert [counted(number, "epoch") for number in (0, 1, 1000)] == ["0 epochs", "1 epoch", "1,000 epochs"]
    assert [counted(number, "point") for number in (1.0, 0.5)] == ["1 point", "0.5 points"]
    assert [counted(number, "class", "classes") for number in (1, 2)] == ["1 class", "2 classes"]
