"""train.epochs makes a recipe shorter or longer: what it counts in epochs follows, what a user counts stays."""

import json
import math
import shlex
from fractions import Fraction

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.settings.files import read_file
from recipes.settings.length import apportioned
from recipes.settings.load import load, names, restore
from recipes.settings.messages import RecipeError
from tests.recipes.settings.stages import ALL, HEAD, own


def lengths(recipe):
    return [stage["epochs"] for stage in recipe.values["train.stages"]]


@pytest.mark.parametrize(("weights", "total", "expected"), [
    ((10, 15, 75), 100, [10, 15, 75]), ((10, 15, 75), 200, [20, 30, 150]), ((10, 15, 75), 20, [2, 3, 15]),
    # Quotas 5, 7.5, 37.5: the tie goes to the earlier stage.
    ((10, 15, 75), 50, [5, 8, 37]),
    # 0.7, 1.05, 5.25: a stage keeps one epoch, and the others share the rest.
    ((10, 15, 75), 7, [1, 1, 5]), ((10, 15, 75), 3, [1, 1, 1]), ((1, 1, 98), 4, [1, 1, 2]), ((2, 3), 8, [3, 5]),
    ((6,), 1, [1]),
])
def test_epochs_are_apportioned_by_largest_remainder_with_one_for_each(weights, total, expected):
    assert apportioned(weights, total) == expected


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.integers(0, 5000))
def test_any_apportionment_is_whole_near_its_quotas_and_adds_up(weights, more):
    total = len(weights) + more
    parts = apportioned(weights, total)
    assert sum(parts) == total and min(parts) >= 1
    quotas = [Fraction(weight * total, sum(weights)) for weight in weights]
    if min(quotas) >= 1:
        assert all(math.floor(quota) <= part <= math.ceil(quota) for part, quota in zip(parts, quotas, strict=True))
    assert all(one <= other for a, one in zip(weights, parts, strict=True)
               for b, other in zip(weights, parts, strict=True) if a < b)


@pytest.mark.parametrize(("name", "epochs", "stages", "sizes", "warmup"), [
    ("pocket10", 10, [10], {0: 20, 5: 24, 7: 32}, 0.5), ("pocket10", 20, [20], {0: 20, 10: 24, 14: 32}, 1.0),
    ("pocket10", 5, [5], {0: 20, 3: 24, 4: 32}, 0.25), ("pocket10", 7, [7], {0: 20, 4: 24, 5: 32}, 0.35),
    # However short the run, its last epoch has the last size.
    ("pocket10", 2, [2], {0: 20, 1: 32}, 0.1), ("pocket10", 1, [1], {0: 32}, 0.05),
    # Shares of the run follow by themselves.
    ("sprint100", 7, [], {"0%": 20, "15%": 24, "50%": 32}, 1.75),
    ("sprint100", 17.5, [], {"0%": 20, "15%": 24, "50%": 32}, 4.375),
    ("resnet50", 50, [5, 8, 37], {}, None), ("best50", 6, [6], {}, None), ("quickstart", 3, [], {}, None),
])
def test_train_epochs_shortens_and_lengthens_a_recipe_in_proportion(name, epochs, stages, sizes, warmup):
    recipe = load(name, settings={"train.epochs": str(epochs)})
    assert (recipe.epochs, lengths(recipe), dict(recipe.values["train.sizes"])) == (epochs, stages, sizes)
    assert recipe.get("schedule.warmup_epochs") == (warmup if warmup is None else pytest.approx(warmup))
    same = {path for path, value in load(name).values.items() if recipe.values[path] == value}
    assert set(load(name).values) - same <= {"train.epochs", *recipe.scaled}
    assert recipe.command() == f"python -m engine.train --recipe {name} --train.epochs={epochs}"


@pytest.mark.parametrize("name", names())
def test_a_recipe_at_its_own_length_is_itself(name):
    recipe = load(name)
    again = load(name, settings={"train.epochs": recipe.epochs})
    assert again.values == recipe.values and not again.scaled


@pytest.mark.parametrize("name", names())
def test_every_recipe_takes_any_number_of_epochs_that_gives_each_stage_one(name):
    stages = load(name).values["train.stages"]
    for epochs in (1, 2, 3, 7, 2 * load(name).epochs):
        if epochs < len(stages):
            with pytest.raises(RecipeError, match=rf"train.epochs={epochs} is less than one epoch for each of the "
                                                  rf"{len(stages)} stages .*: give {len(stages)} or more"):
                load(name, settings={"train.epochs": epochs})
        else:
            recipe = load(name, settings={"train.epochs": epochs})
            assert recipe.epochs == epochs == (sum(lengths(recipe)) or epochs)


STEPS = own(schedule__name="step", schedule__milestones="60,120,160", train__epochs=200)


@pytest.mark.parametrize(("epochs", "milestones"), [(400, (120, 240, 320)), (20, (6, 12, 16)), (30, (9, 18, 24)),
                                                    # 2.1, 4.2, 5.6; 0.9, 1.8, 2.4; 0.6, 1.2, 1.6
                                                    (7, (2, 4, 6)), (3, (1, 2)), (2, (1,))])
def test_milestones_follow_too(tmp_path, epochs, milestones):
    file = tmp_path / "own.json"
    file.write_text(json.dumps(STEPS))
    recipe = load("quickstart", str(file), {"train.epochs": epochs})
    assert recipe.values["schedule.milestones"] == milestones and recipe.scaled == ("schedule.milestones",)
    with pytest.raises(RecipeError, match="schedule.milestones= must be one or more rising epochs below "
                                          "train.epochs=1: set others, or more epochs"):
        load("quickstart", str(file), {"train.epochs": 1})


@pytest.mark.parametrize(("epochs", "sizes", "ends"), [
    (8, {0: 16, 6: 24}, {"head": 3}), (4, {0: 16, 3: 24}, {"head": "37.5%"}), (3.5, {0: 16, 3: 24}, {"head": "37.5%"}),
    (0.5, {0: 24}, {"head": "37.5%"})])
def test_parts_end_and_sizes_change_in_proportion_and_epochs_may_be_fractions(tmp_path, epochs, sizes, ends):
    file = tmp_path / "own.json"
    file.write_text(json.dumps(own(train__epochs=8, train__sizes={"0": 16, "6": 24}, schedule__ends={"head": 3},
                                   schedule__lrs={"head": 0.1, "*": 0.2})))
    recipe = load("quickstart", str(file), {"train.epochs": epochs})
    assert (recipe.epochs, recipe.values["train.sizes"], recipe.values["schedule.ends"]) == (epochs, sizes, ends)
    shares = load("sprint10", settings={"train.epochs": 2.5})
    assert shares.values["schedule.ends"] == {"stem.bias": "37.5%"} and not shares.scaled


@pytest.mark.parametrize("name", ["pocket10", "resnet50"])
def test_stages_take_whole_epochs_only(name):
    with pytest.raises(RecipeError, match="train.epochs=20.5 must be whole: the stages of a run are"):
        load(name, settings={"train.epochs": 20.5})
    with pytest.raises(RecipeError, match="train.epochs=120.5 must be whole"):
        restore(name, load(name).values, {"train.epochs": 120.5})


def test_what_stands_beside_train_epochs_counts_as_it_is():
    recipe = load("pocket10", settings=own(train__epochs=6, train__sizes="0:16,5:24"))
    assert lengths(recipe) == [6] and recipe.values["train.sizes"] == {0: 16, 5: 24}
    assert recipe.scaled == ("train.stages", "schedule.warmup_epochs")
    assert recipe.values["schedule.warmup_epochs"] == pytest.approx(0.3)


@pytest.mark.parametrize(("in_file", "sizes"), [
    # A file for 8 epochs is scaled to the command line's 4; one without a length does not say what it counts from.
    (own(train__epochs=8, train__sizes={0: 16, 6: 24}), {0: 16, 3: 24}),
    (own(train__sizes={0: 16, 3: 24}), {0: 16, 3: 24}), (own(train__epochs=8), {}),
])
def test_the_command_lines_train_epochs_scales_a_files(tmp_path, in_file, sizes):
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(in_file))
    assert load("quickstart", str(file), {"train.epochs": "4"}).values["train.sizes"] == sizes


def test_a_files_stages_are_scaled_once_and_the_command_gives_the_same(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(own(train__stages=[{**HEAD, "epochs": 3}, {**ALL, "epochs": 5}])))
    # Quotas 1.875 and 3.125.
    recipe = load("quickstart", str(file), {"train.epochs": "5"})
    assert lengths(recipe) == [2, 3]
    words = shlex.split(recipe.command())[5:]
    again = load("quickstart", settings=dict(word.removeprefix("--").split("=", 1) for word in words))
    assert again.values == recipe.values and again.given == recipe.given


def test_new_stages_bring_their_own_length_and_none_keeps_the_recipes():
    assert load("pocket10", settings=own(train__stages=[HEAD, ALL], train__sizes="")).epochs == 5
    assert load("resnet50", settings=own(train__stages="")).epochs == 100
    with pytest.raises(RecipeError, match="train.sizes: epoch 5 .from 0. is never reached in stages of 5 epochs"):
        load("pocket10", settings=own(train__stages=[HEAD, ALL]))


def test_new_stages_of_the_command_line_replace_a_files_with_their_length(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(own(train__stages=[HEAD, ALL])))
    assert load("quickstart", str(file)).epochs == 5
    assert load("quickstart", str(file), own(train__stages="")).epochs == 6
    assert load("quickstart", str(file), own(train__stages=[HEAD])).epochs == 2


some_stages = st.lists(st.integers(1, 9), max_size=3).map(
    lambda lengths: [{"name": str(place), "epochs": epochs, "lrs": {"*": 0.1}} for place, epochs in enumerate(lengths)])
layers = st.fixed_dictionaries({}, optional=own(
    train__epochs=st.integers(1, 30), train__stages=some_stages,
    train__sizes=st.sampled_from(["", "0:20,2:24", "0:20,3:24,12:32"]),
    schedule__warmup_epochs=st.sampled_from([0.5, 2])))


@settings(max_examples=80, deadline=None, database=None, derandomize=True)
@given(st.sampled_from(["quickstart", "pocket10", "sprint100", "resnet50"]), layers, layers)
def test_whatever_is_shortened_its_command_and_its_config_give_the_same(tmp_path_factory, name, in_file, on_line):
    file = tmp_path_factory.mktemp("own") / "own.json"
    file.write_text(json.dumps(in_file))
    try:
        recipe = load(name, str(file), own(schedule__name="linear") | on_line)
    except RecipeError:
        return
    words = [word.removeprefix("--").split("=", 1) for word in shlex.split(recipe.command())[5:]]
    assert load(name, settings=dict(words)).values == recipe.values
    restored = restore(name, recipe.values)
    assert restored.values == recipe.values == load(name, settings=restored.given).values
    assert sum(lengths(recipe)) in (0, recipe.epochs)


def test_a_shorter_recipe_reads_back_the_same_from_what_its_run_keeps(tmp_path):
    recipe, file = load("pocket10", settings={"train.epochs": 7}), tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(recipe.nested()))
    back = restore("pocket10", read_file(str(file)))
    assert back.values == recipe.values == load("pocket10", str(file)).values
    assert back.command() == recipe.command()


def test_a_run_of_former_versions_whose_stages_named_no_length_reads_back():
    values = {path: value for path, value in load("resnet50").values.items() if path != "train.epochs"}
    assert restore("resnet50", values).values == load("resnet50").values
    assert not restore("resnet50", values).given


def test_a_changed_recipe_follows_and_names_what_it_cannot_derive():
    recipe = load("resnet50", settings={"train.epochs": 7}).changed({"train.epochs": 20})
    # From 1, 1, 5 epochs: quotas 2.86, 2.86, 14.29.
    assert lengths(recipe) == [3, 3, 14] and recipe.epochs == 20
    assert load("resnet50", settings=recipe.given).values == recipe.values


def test_a_run_that_has_begun_keeps_its_past_and_its_last_stage_takes_the_difference():
    recipe = load("resnet50")
    assert lengths(restore("resnet50", recipe.values, {"train.epochs": "110"})) == [10, 15, 85]
    assert lengths(restore("resnet50", recipe.values, {"train.epochs": "26"})) == [10, 15, 1]
    with pytest.raises(RecipeError, match="train.epochs=25 must be above 25, where the last stage begins"):
        restore("resnet50", recipe.values, {"train.epochs": "25"})
    by_epochs = load("sprint100", settings={"train.sizes": "0:24,5:32"})
    assert restore("sprint100", by_epochs.values, {"train.epochs": "28"}).values["train.sizes"] == {0: 24, 5: 32}
    # Shares of twice the length: the same moments.
    longer = restore("sprint100", load("sprint100").values, {"train.epochs": "17.5"})
    assert longer.values["train.sizes"] == {"0%": 20, "7.5%": 24, "25%": 32} and longer.epochs == 17.5
    longer = restore("sprint10", load("sprint10").values, {"train.epochs": "12"})
    assert longer.values["schedule.ends"] == {"stem.bias": "25%"}
    with pytest.raises(RecipeError, match="train.epochs=2 ends before 37.5% of the 8 epochs that this run began with"):
        restore("sprint10", load("sprint10").values, {"train.epochs": "2"})
