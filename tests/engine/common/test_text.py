"""Words and numbers as tables and messages show them."""

from engine.common.text import known_names, one_line, percent


def test_a_share_is_shown_as_percent():
    assert (percent(0.9812), percent(None), percent(None, "unknown")) == ("98.12%", "-", "unknown")


def test_an_unknown_name_gets_the_nearest_and_all_known_ones():
    assert known_names("trian", ["doctor", "train"]) == "did you mean train? known: doctor, train"
    assert known_names("xyzzy", ["doctor", "train"]) == "known: doctor, train"


def test_an_error_is_one_line():
    assert (one_line(ValueError("no\n route")), one_line(KeyError())) == ("no route", "KeyError")
