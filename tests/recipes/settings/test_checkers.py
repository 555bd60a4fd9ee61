"""Pairs and stages: what is one, in which forms, and what is said of what is not."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.settings.checkers import Number, Pairs, Stages, Text, Whole
from recipes.settings.messages import as_plain, as_text
from recipes.settings.moments import Moment
from tests.recipes.settings.stages import ALL, HEAD

RATES, SIZES = Pairs(Text(200), Number(0, above=True)), Pairs(Moment(), Whole(8, 512))



@pytest.mark.parametrize(("checker", "came", "expected"), [
    (RATES, "head:100, *.bias : 1e-4", {"head": 100.0, "*.bias": 1e-4}),
    (RATES, {"groups.2": 1, "*": "0.5"}, {"groups.2": 1.0, "*": 0.5}),
    (RATES, "a:b:2", {"a:b": 2.0}),
    (RATES, "", {}),
    (RATES, " , ", {}),
    (RATES, {}, {}),
    (SIZES, "0:20,3:24", {0: 20, 3: 24}),
    (SIZES, {"0": 20, 3: "24"}, {0: 20, 3: 24}),
    (SIZES, "0:20,15.0%:24,50%:32", {0: 20, "15%": 24, "50%": 32}),
])
def test_pairs_keep_their_order_and_take_text_or_a_mapping(checker, came, expected):
    found = checker.check(came)
    assert list(found.items()) == list(expected.items())
    assert all(type(a) is type(b) for a, b in zip(found.values(), expected.values(), strict=True))
    assert checker.check(found) == found


@pytest.mark.parametrize(("checker", "came"), [
    (RATES, "head"), (RATES, "head:"), (RATES, ":1"), (RATES, "head:0"), (RATES, "head:nan"), (RATES, "head:1,head:2"),
    (RATES, {"head": -1}), (RATES, {"head": True}), (RATES, {3: 1.0}), (RATES, {"head": None}), (RATES, [("a", 1)]),
    (RATES, {"head": {"a": 1}}), (RATES, None), (RATES, 3), (RATES, {"head": 10**400}),
    (SIZES, "0:20.5"), (SIZES, "-1:20"), (SIZES, "0:7"), (SIZES, "0:513"), (SIZES, "x:20"), (SIZES, {0.0: 20}),
    (SIZES, "0:20,00:24"), (SIZES, {"1": 20, 1: 24}),
])
def test_what_is_not_pairs_is_told_what_pairs_are(checker, came):
    with pytest.raises(ValueError, match="KEY:VALUE pairs with commas between, no key twice") as caught:
        checker.check(came)
    assert checker.key.help() in str(caught.value) and checker.value.help() in str(caught.value)


@pytest.mark.parametrize("came", [[HEAD, ALL], (HEAD, ALL), json.dumps([HEAD, ALL])], ids=["list", "tuple", "text"])
def test_stages_come_back_with_all_of_their_keys(came):
    head, everything = Stages().check(came)
    assert head == {**HEAD, "frozen": (), "moving_statistics": False}
    assert everything == {**ALL, "frozen": ("conv1", "bn?.*")}
    assert list(everything["lrs"]) == ["fc", "*.bias", "*"]
    assert Stages().check((head, everything)) == (head, everything)


@pytest.mark.parametrize("came", ["", "[]", [], ()], ids=repr)
def test_no_stages_are_an_empty_tuple(came):
    assert Stages().check(came) == ()


def test_the_keys_of_a_stage_may_be_text():
    (stage,) = Stages().check([{"name": "a", "epochs": "2", "lrs": "fc:0.1,*:1", "frozen": "a, b",
                                "moving_statistics": "true"}])
    assert stage == {"name": "a", "epochs": 2, "lrs": {"fc": 0.1, "*": 1.0}, "frozen": ("a", "b"),
                     "moving_statistics": True}


SHAPE = "a list of stages, each with name, epochs, lrs and perhaps frozen"


@pytest.mark.parametrize(("came", "said"), [
    ("{", SHAPE), ("{}", SHAPE), ("3", SHAPE), (HEAD, SHAPE), ("[1]", SHAPE), ([None], SHAPE), ("[" * 100_000, SHAPE),
    ('[{"name": "a", "epochs": 1, "epochs": 2, "lrs": {"*": 1}}]', SHAPE),
    ('[{"name": "a", "epochs": 1, "lrs": {"*": 1, "*": 2}}]', SHAPE),
    ([HEAD, {"name": "b", "lrs": {"*": 1}}], "stage 2 lacks epochs"),
    ([{"name": "b", "epochs": 1}], "stage 1 lacks lrs"),
    ([{**HEAD, "freeze": []}], "stage 1 has freeze"),
    ([{**HEAD, "a\nb": 1}], r"stage 1 has a\nb"),
    ([{**HEAD, "epochs": 0}], "stages whose epochs is a whole number 1..100000 (stage 1)"),
    ([HEAD, {**ALL, "lrs": {"*": 0}}], "stages whose lrs is KEY:VALUE pairs"),
    ([{**HEAD, "frozen": 3}], "stages whose frozen is any number of values"),
    ([{**HEAD, "moving_statistics": 1}], "stages whose moving_statistics is true or false"),
    ([{**HEAD, "name": "x" * 41}], "stages whose name is one line of text, at most 40"),
    ([HEAD, {**ALL, "lrs": {}}], "stages that train something (stage 2 has no lrs)"),
    ([HEAD, ALL, HEAD], "stages with different names"),
])
def test_bad_stages_are_one_line_that_names_the_stage_and_what_is_wrong(came, said):
    with pytest.raises(ValueError) as caught:
        Stages().check(came)
    assert said in str(caught.value) and "\n" not in str(caught.value)


letters = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=12)
rates = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
stage_lists = st.lists(st.fixed_dictionaries(
    {"name": letters, "epochs": st.integers(1, 100_000), "lrs": st.dictionaries(letters, rates, min_size=1)},
    optional={"frozen": st.lists(letters, max_size=3), "moving_statistics": st.booleans()},
), unique_by=lambda stage: stage["name"])


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(stage_lists)
def test_any_stages_survive_the_command_line_json_and_yaml(drawn):
    stages = Stages().check(drawn)
    assert Stages().check(as_text(stages)) == stages
    assert Stages().check(json.loads(json.dumps(as_plain(stages)))) == stages
    assert Stages().check(yaml.safe_load(yaml.safe_dump(as_plain(stages)))) == stages


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.dictionaries(st.from_regex(r"[a-z0-9.*?\[\]:_-]+", fullmatch=True), rates),
       st.dictionaries(st.integers(0, 10**9) | st.integers(0, 1000).map(lambda tenths: f"{tenths / 10:g}%"),
                       st.integers(8, 512)))
def test_any_pairs_survive_the_command_line_json_and_yaml(lrs, sizes):
    for checker, drawn in ((RATES, lrs), (SIZES, sizes)):
        for back in (as_text(drawn), json.loads(json.dumps(drawn)), yaml.safe_load(yaml.safe_dump(drawn))):
            found = checker.check(back)
            assert list(found.items()) == list(drawn.items()) or isinstance(back, dict) and found == drawn
