"""Pairs, stages and conditions of sections; a dumped recipe that has them reads back the same from every form."""

import json
import shlex

import pytest
import yaml
from fastargs import Section
from fastargs.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.settings.checkers import Choice, Number, Pairs, Stages, Text, Whole
from recipes.settings.load import RecipeError, as_plain, as_text, load, names, read_file, restore
from recipes.settings.setting import Setting, either, unless, when

RATES, SIZES = Pairs(Text(200), Number(0, above=True)), Pairs(Whole(0), Whole(8, 512))
HEAD = {"name": "head", "epochs": 2, "lrs": {"fc": 0.1}}
ALL = {"name": "all", "epochs": 3, "lrs": {"fc": 0.1, "*.bias": 2.0, "*": 1e-4}, "frozen": ["conv1", "bn?.*"],
       "moving_statistics": True}


@pytest.mark.parametrize(("checker", "came", "expected"), [
    (RATES, "head:100, *.bias : 1e-4", {"head": 100.0, "*.bias": 1e-4}),
    (RATES, {"groups.2": 1, "*": "0.5"}, {"groups.2": 1.0, "*": 0.5}),
    (RATES, "a:b:2", {"a:b": 2.0}),
    (RATES, "", {}),
    (RATES, " , ", {}),
    (RATES, {}, {}),
    (SIZES, "0:20,3:24", {0: 20, 3: 24}),
    (SIZES, {"0": 20, 3: "24"}, {0: 20, 3: 24}),
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
def test_what_is_no_pairs_is_told_what_is(checker, came):
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
def test_no_stages_are_none(came):
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
    ([HEAD, ALL, HEAD], "stages with names of their own"),
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
       st.dictionaries(st.integers(0, 10**9), st.integers(8, 512)))
def test_any_pairs_survive_the_command_line_json_and_yaml(lrs, sizes):
    for checker, drawn in ((RATES, lrs), (SIZES, sizes)):
        for back in (as_text(drawn), json.loads(json.dumps(drawn)), yaml.safe_load(yaml.safe_dump(drawn))):
            found = checker.check(back)
            assert list(found.items()) == list(drawn.items()) or isinstance(back, dict) and found == drawn


def of_command(recipe):
    """The settings that a recipe's command names."""
    words = shlex.split(recipe.command())
    assert words[:5] == ["python", "-m", "engine.train", "--recipe", recipe.name]
    return dict(word.removeprefix("--").split("=", 1) for word in words[5:])


def own(**changes):
    return {path.replace("__", "."): value for path, value in changes.items()}


DUMPED = [(name, {}) for name in names()] + [
    ("quickstart", own(train__stages=[HEAD, ALL], train__sizes={0: 16, 4: 32})),
    ("quickstart", own(schedule__lrs={"head": 0.5, "*.bias": 1e-5, "*": 0.1}, train__sizes="0:16,3:24")),
    ("sprint10", own(optim__muon_for="groups.0,groups.1", train__sizes="")),
    ("pocket10", own(train__stages="", train__epochs=9, schedule__lrs={"head": 100, "groups": 0.1})),
]


@pytest.mark.parametrize(("name", "changes"), DUMPED, ids=str)
def test_a_recipe_reads_back_the_same_from_yaml_json_and_its_command(name, changes, tmp_path):
    import importlib

    values = importlib.import_module(f"recipes.{name}").values
    recipe = load(name, settings={**values, **changes} if not changes else changes)
    as_yaml, as_json = tmp_path / "config.yaml", tmp_path / "config.json"
    as_yaml.write_text(yaml.safe_dump(recipe.nested(), sort_keys=False))
    as_json.write_text(json.dumps(recipe.nested()))
    for file in (as_yaml, as_json):
        assert load(name, str(file)).values == recipe.values
        assert restore(name, read_file(str(file))).values == recipe.values
    again = load(name, settings=of_command(recipe))
    assert (again.values, again.given) == (recipe.values, recipe.given)
    flat = {path: as_plain(value) for path, value in recipe.values.items()}
    assert restore(name, flat).values == recipe.values


def test_epochs_are_those_of_all_stages():
    assert load("quickstart").epochs == 6
    assert load("quickstart", settings=own(train__stages=[HEAD, ALL])).epochs == 5
    assert load("resnet50").epochs == 100


def test_a_changed_recipe_says_so_in_its_values_and_its_command_and_the_first_one_stays():
    recipe = load("quickstart", settings=own(train__batch=64))
    other = recipe.changed(own(train__seed=7, train__batch=32, run__folder="a b"))
    assert (other.values["train.seed"], other.values["train.batch"], recipe.values["train.batch"]) == (7, 32, 64)
    assert other.command() == ("python -m engine.train --recipe quickstart --train.batch=32 --train.seed=7 "
                               "'--run.folder=a b'")
    assert recipe.command() == "python -m engine.train --recipe quickstart --train.batch=64"
    assert load("quickstart", settings=of_command(other)).values == other.values


@pytest.mark.parametrize(("name", "changes", "said"), [
    ("quickstart", own(train__stages=[HEAD], train__epochs=3), "train.epochs=3 has no effect here: it needs no "
                                                               "train.stages"),
    ("quickstart", own(train__stages=[HEAD], schedule__lrs="*:1"), "it needs no train.stages"),
    ("quickstart", own(schedule__lrs="*:1", schedule__lr=0.1), "it needs no train.stages and no schedule.lrs"),
    ("quickstart", own(train__stages=[{**HEAD, "lr": 1}]), "stage 1 has lr"),
    ("quickstart", own(train__sizes="6:16"), "train.sizes: epoch 6 (from 0) is never reached in train.epochs=6"),
    ("quickstart", own(train__stages=[HEAD, ALL], train__sizes="5:16"), "is never reached in stages of 5 epochs"),
    ("quickstart", own(optim__beta2=0.9), "it needs optim.name=adam|adamw or optim.rest=adamw"),
    ("sprint10", own(optim__eps=1e-6), "it needs optim.name=adam|adamw or optim.rest=adamw"),
])
def test_settings_that_stages_or_other_modes_replace_are_refused(name, changes, said):
    with pytest.raises(RecipeError) as caught:
        load(name, settings=changes)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_adams_settings_count_beside_muon_too():
    changes = own(optim__name="muon", optim__muon_for="features", optim__beta2=0.9)
    assert load("quickstart", settings=changes).values["optim.beta2"] == 0.9


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
def test_unless_holds_while_none_is_set(config, held, expected):
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
