"""The conditions of sections: when they hold, and how a message names them."""

import pytest
from fastargs import Section
from fastargs.config import Config

from recipes.settings.checkers import Choice, Pairs, Whole
from recipes.settings.setting import Setting, either, unless, when

SIZES = Pairs(Whole(0), Whole(8, 512))


def section(config, name, when=None, **params):
    made = Section(name, name, config_descriptor=config).params(**params)
    return made.enable_if(when) if when else made


def hold(config, held):
    config.content.update({("x", name): value for name, value in held.items()})


@pytest.fixture
def config():
    """A kind, a count, pairs, and a mode that only kind=b has."""
    made = Config()
    section(made, "x", kind=Setting(Choice("a", "b"), "a", "kind"), count=Setting(Whole(0), 0, "count"),
            pairs=Setting(SIZES, {}, "pairs"))
    section(made, "x", when("x.kind", "b"), mode=Setting(Choice("c", "d"), "c", "mode"))
    return made


@pytest.mark.parametrize(("held", "expected"), [
    ({}, True), ({"count": 2}, False), ({"pairs": {0: 8}}, False), ({"count": 2, "pairs": {0: 8}}, False)], ids=str)
def test_unless_holds_while_no_path_is_set(config, held, expected):
    hold(config, held)
    assert unless("x.count", "x.pairs")(config) is expected


@pytest.mark.parametrize(("held", "expected"), [
    ({}, False), ({"count": 1}, True), ({"kind": "b"}, True), ({"kind": "b", "mode": "d"}, False),
    # The mode was given, but where kind=a it does not count.
    ({"mode": "c"}, False), ({"kind": "b", "mode": "d", "count": 1}, True)], ids=str)
def test_either_holds_where_one_does_and_a_setting_that_is_off_decides_nothing(config, held, expected):
    hold(config, held)
    assert either(when("x.count"), when("x.mode", "c"))(config) is expected


def test_conditions_say_what_they_need():
    assert str(unless("a.b")) == "no a.b" and str(unless("a.b", "c.d")) == "no a.b and no c.d"
    assert str(either(when("a.b", "x", "y"), when("c.d"))) == "a.b=x|y or c.d above 0"
