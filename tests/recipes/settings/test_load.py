"""Recipes load with a precedence, change, and read back the same from every form in which a run keeps them."""

import importlib
import json
import shlex

import pytest
import yaml

from recipes.settings.files import read_file
from recipes.settings.load import doc, load, names, restore
from recipes.settings.messages import RecipeError, as_plain
from recipes.settings.schema import declare
from tests.recipes.settings.stages import ALL, HEAD, own


@pytest.mark.parametrize("name", names())
def test_every_recipe_loads_and_each_of_its_values_has_an_effect(name):
    module = importlib.import_module(f"recipes.{name}")
    recipe = load(name, settings=module.values)
    assert set(module.values) <= set(recipe.values)
    assert f"python -m engine.train --recipe {name}" in doc(name)


def test_the_known_recipes_are_the_modules_with_values():
    assert {"quickstart", "baseline", "cnn4", "resnet34"} <= set(names())
    assert not {"load", "schema", "checkers"} & set(names())


def test_precedence_is_recipe_then_file_then_command_line(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("train:\n  epochs: 7\n  batch: 64\n")
    assert load("baseline").values["train.epochs"] == 20
    recipe = load("baseline", str(file), {"train.epochs": "9"})
    assert (recipe.values["train.epochs"], recipe.values["train.batch"]) == (9, 64)
    assert recipe.command() == "python -m engine.train --recipe baseline --train.epochs=9 --train.batch=64"


def test_a_recipes_own_value_gives_way_when_the_mode_is_changed():
    recipe = load("resnet34", settings={"schedule.name": "constant"})
    assert "schedule.pct_start" not in recipe.values
    assert recipe.values["schedule.lr"] == 0.1


def test_an_unknown_recipe_is_named_with_the_nearest():
    with pytest.raises(RecipeError, match="recipe resnet3 is unknown; did you mean resnet34"):
        load("resnet3")


def test_a_dumped_recipe_is_read_back_the_same(tmp_path):
    recipe = load("resnet34", settings={"train.epochs": 3, "mix.kind": "both"})
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(recipe.nested()))
    assert load("resnet34", str(file)).values == recipe.values
    assert restore("resnet34", read_file(str(file))).values == recipe.values


def test_every_setting_has_a_meaning_and_a_default_that_its_own_checker_takes():
    config = declare()
    for path, param in config.entries.items():
        assert param.desc, path
        if param.default is not None:
            assert param.checker.check(param.default) == param.default, path


@pytest.mark.parametrize("name", names())
def test_what_a_run_writes_of_its_recipe_has_no_alias(tmp_path, name):
    recipe, file = load(name), tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(recipe.nested()))
    assert restore(name, read_file(str(file))).values == recipe.values


def test_a_change_brings_defaults_of_what_now_applies_and_drops_what_no_longer_does():
    recipe = load("resnet34", settings={"schedule.pct_start": 0.4, "train.batch": "64"})
    other = recipe.changed({"schedule.name": "cosine", "train.epochs": "9"})
    assert other.values["schedule.warmup_epochs"] == 0 and other.epochs == 9
    assert "schedule.pct_start" not in other.values and "schedule.pct_start" in recipe.values
    assert dict(other.given) == {"train.batch": 64, "schedule.name": "cosine", "train.epochs": 9}
    assert other.values == load("resnet34", settings=other.given).values
    with pytest.raises(TypeError):
        other.values["train.batch"] = 3


DUMPED = [(name, {}) for name in names()] + [
    ("quickstart", own(train__stages=[HEAD, ALL], train__sizes={0: 16, 4: 32})),
    ("quickstart", own(schedule__lrs={"head": 0.5, "*.bias": 1e-5, "*": 0.1}, train__sizes="0:16,3:24")),
    ("quickstart", own(schedule__lrs={"head": 0.5, "*": 0.1}, schedule__ends="head:37.50%", train__epochs=2.5)),
    ("sprint100", own(train__sizes="0%:16,40%:24", train__epochs=3.25)),
    ("sprint10", own(optim__muon_for="groups.0,groups.1", train__sizes="")),
    ("pocket10", own(train__stages="", train__epochs=9, schedule__lrs={"head": 100, "groups": 0.1})),
]


def of_command(recipe):
    """The settings that a recipe's command names."""
    words = shlex.split(recipe.command())
    assert words[:5] == ["python", "-m", "engine.train", "--recipe", recipe.name]
    return dict(word.removeprefix("--").split("=", 1) for word in words[5:])


@pytest.mark.parametrize(("name", "changes"), DUMPED, ids=str)
def test_a_recipe_reads_back_the_same_from_yaml_json_and_its_command(name, changes, tmp_path):
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


def test_the_best_epoch_goes_by_top1_and_by_the_loss_where_a_project_kept_its_best_by_it():
    by = {name: load(name, settings={"data.validation": 0.1, "eval.select": "auto"}).values["eval.best_by"]
          for name in names()}
    assert {name for name in by if by[name] == "loss"} == {"resnet50", "cnn"} and set(by.values()) == {"top1", "loss"}


def test_in_what_former_versions_wrote_patience_looks_at_the_loss():
    for name, by in (("resnet50", "loss"), ("quickstart", "top1"), ("baseline", None)):
        former = {path: as_plain(value) for path, value in load(name).values.items() if path != "eval.best_by"}
        assert restore(name, former).get("eval.best_by") == by
    chosen = load("quickstart", settings={"train.patience": 3, "eval.best_by": "ece"})
    assert restore("quickstart", chosen.values).values["eval.best_by"] == "ece"


def test_a_changed_recipe_says_so_in_its_values_and_its_command_and_the_first_one_stays():
    recipe = load("quickstart", settings=own(train__batch=64))
    other = recipe.changed(own(train__seed=7, train__batch=32, run__folder="a b"))
    assert (other.values["train.seed"], other.values["train.batch"], recipe.values["train.batch"]) == (7, 32, 64)
    assert other.command() == ("python -m engine.train --recipe quickstart --train.batch=32 --train.seed=7 "
                               "'--run.folder=a b'")
    assert recipe.command() == "python -m engine.train --recipe quickstart --train.batch=64"
    assert load("quickstart", settings=of_command(other)).values == other.values


def test_a_sprint_network_of_a_former_version_pools_as_it_did():
    former = {path: value for path, value in load("pocket10").values.items()
              if path not in ("model.pool", "model.norm_eps", "model.stem_bias", "optim.muon_iterations",
                              "optim.decay_per")}
    assert dict(restore("pocket10", former).values) == dict(load("pocket10").values)
    gelu = {path: value for path, value in load("sprint10").values.items() if path != "model.pool"}
    assert restore("sprint10", gelu).get("model.pool") == "max"
