"""Epochs that need not be whole, and moments by epoch or by share of the run."""

import pytest

from recipes.settings.moments import Epochs, Moment, in_epochs


@pytest.mark.parametrize(("came", "expected"), [(8, 8), ("8", 8), (8.0, 8), ("8.75", 8.75), (0.5, 0.5), (100, 100)])
def test_epochs_are_whole_where_they_can_be(came, expected):
    found = Epochs(100).check(came)
    assert found == expected and type(found) is type(expected)
    assert Epochs(100).check(found) == found


@pytest.mark.parametrize("came", [0, -1, "0.0", 100.5, True, None, "x", "nan", "inf", "50%", [3]])
def test_what_is_no_number_of_epochs_is_refused(came):
    with pytest.raises(ValueError, match=r"a number above 0\.\.100"):
        Epochs(100).check(came)


@pytest.mark.parametrize(("came", "expected"), [
    (0, 0), ("3", 3), ("25%", "25%"), ("37.50%", "37.5%"), ("0%", "0%"), ("100%", "100%"), (" 5 %", "5%")])
def test_a_moment_is_an_epoch_or_a_share(came, expected):
    found = Moment().check(came)
    assert found == expected and type(found) is type(expected)
    assert Moment().check(found) == found


@pytest.mark.parametrize("came", [-1, 1.5, "1.5", "101%", "-1%", "%", "x%", "nan%", True, None, "", 0.5])
def test_what_is_no_moment_is_refused(came):
    with pytest.raises(ValueError, match=r"a whole epoch >= 0 or a share of the run, 0%\.\.100%"):
        Moment().check(came)


def test_a_share_moves_with_the_length_of_the_run():
    assert [in_epochs("37.5%", epochs) for epochs in (8, 16, 4)] == [3, 6, 1.5]
    assert in_epochs("15%", 8.75) == pytest.approx(1.3125)
    assert in_epochs(3, 8) == in_epochs(3, 100) == 3
