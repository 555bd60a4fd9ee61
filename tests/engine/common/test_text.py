"""Words and numbers as tables and messages show them."""

import pytest

from engine.common.text import known_names, mean_text, one_line, percent


def test_a_share_is_shown_as_percent():
    assert (percent(0.9812), percent(None), percent(None, "unknown")) == ("98.12%", "-", "unknown")


@pytest.mark.parametrize(("mean", "deviation", "text"), [
    (84.213, 0.996, "84.2 ± 1.0"), (84.213, 0.0994, "84.213 ± 0.099"), (89.123, 0.234, "89.12 ± 0.23"),
    (8.4321, 10.3, "8 ± 10"), (8.4321, 1.04, "8.4 ± 1.0"), (27_181.8, 331.4, "27,180 ± 330"),
    (27_181.8, 1_331.4, "27,200 ± 1,300"), (123.456, 9.96, "123 ± 10"),
    (-0.00012345, 0.0000067, "-0.0001234 ± 0.0000067"), (27_181.8, None, "27,182"), (0.123456, None, "0.1235"),
    (89.5, 0.0, "89.5 ± 0"), (89.5, float("nan"), "89.5 ± nan")])
def test_a_mean_and_its_deviation_have_digits_to_the_same_place(mean, deviation, text):
    assert mean_text(mean, deviation) == text


def test_an_unknown_name_gets_the_nearest_and_all_known_ones():
    assert known_names("trian", ["doctor", "train"]) == "did you mean train? known: doctor, train"
    assert known_names("xyzzy", ["doctor", "train"]) == "known: doctor, train"


def test_an_error_is_one_line():
    assert (one_line(ValueError("no\n route")), one_line(KeyError())) == ("no route", "KeyError")
