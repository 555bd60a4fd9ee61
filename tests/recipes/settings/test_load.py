"""Recipes load strictly: what is unknown, of another type, out of range or without effect is refused in one line."""

import json

import pytest

from recipes.settings.load import RecipeError, doc, load, names, read_file, restore
from recipes.settings.schema import declare


@pytest.mark.parametrize("name", names())
def test_every_recipe_loads_and_each_of_its_values_has_an_effect(name):
    import importlib

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


@pytest.mark.parametrize(("settings", "said"), [
    ({"train.epoch": "3"}, "train.epoch is unknown; did you mean train.epochs?"),
    ({"train.epochs": "3.7"}, "train.epochs=3.7 must be a whole number 1..100000"),
    ({"train.epochs": 3.7}, "must be a whole number"),
    ({"train.epochs": True}, "must be a whole number"),
    ({"train.epochs": None}, "must be a whole number"),
    ({"train.channels_last": "False "}, "train.channels_last=False  must be true or false"),
    ({"train.channels_last": 1}, "must be true or false"),
    ({"schedule.lr": "nan"}, "must be a number > 0"),
    ({"schedule.lr": "inf"}, "must be a number > 0"),
    ({"schedule.lr": 0}, "must be a number > 0"),
    ({"data.mean": "0.5,0.5"}, "data.mean=0.5,0.5 must be 3 values with commas between"),
    ({"data.name": "mnist"}, "data.name=mnist must be one of cifar10, cifar100, folder, shapes"),
    ({"run.folder": "a\nb"}, "must be one line of text"),
    ({"optim.momentum": 0.9}, "optim.momentum=0.9 has no effect here: it needs optim.name=sgd"),
    ({"mix.switch_p": 0.5}, "it needs mix.kind=both"),
    ({"schedule.pct_start": 0.5}, "it needs schedule.name=onecycle"),
    ({"train.patience": 3}, "needs a validation set"),
    ({"eval.select": "test", "data.validation": 0.1}, "chooses on the test set though"),
    ({"eval.watch": "none", "train.stop_at": 0.5}, "eval.watch=none leaves none"),
    ({"data.split_seed": 4}, "it needs data.validation above 0"),
    ({"schedule.name": "step", "schedule.milestones": "4,2"}, "schedule.milestones=4,2 must be one or more rising"),
    ({"schedule.name": "step"}, "schedule.milestones= must be one or more rising epochs below train.epochs=20"),
    ({"schedule.name": "step", "schedule.milestones": "20"}, "below train.epochs=20"),
    ({"schedule.name": "cosine", "schedule.warmup_epochs": 60}, "schedule.warmup_epochs=60 must be below"),
    ({"checkpoint.every": 50}, "checkpoint.every=50 has no effect in train.epochs=20"),
    ({"optim.decay_all": False}, "optim.decay_all=false has no effect"),
    ({"mix.p": 0.5, "mix.smooth": False}, "mix.smooth has no effect"),
    ({"optim.name": "sgd", "optim.momentum": 0}, "optim.nesterov=true needs optim.momentum above 0"),
])
def test_a_bad_setting_is_one_line(settings, said):
    with pytest.raises(RecipeError) as caught:
        load("baseline", settings=settings)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_false_is_false():
    assert load("baseline", settings={"train.channels_last": "false"}).values["train.channels_last"] is False
    assert load("baseline", settings={"train.channels_last": "False"}).values["train.channels_last"] is False


def test_a_recipes_own_value_gives_way_when_the_mode_is_changed():
    recipe = load("resnet34", settings={"schedule.name": "constant"})
    assert "schedule.pct_start" not in recipe.values
    assert recipe.values["schedule.lr"] == 0.1


def test_an_unknown_recipe_is_named_with_the_nearest():
    with pytest.raises(RecipeError, match="recipe resnet3 is unknown; did you mean resnet34"):
        load("resnet3")


@pytest.mark.parametrize("content", ["- 1\n- 2\n", "{", "a: [1", "\x00", "train: 3", "!!python/object:os.system {}",
                                     "[" * 5000, "&a [*a]", "train: {epochs: 3, epochs: 4}",
                                     "? [a]\n: 1"])
def test_a_bad_file_is_one_line(tmp_path, content):
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(RecipeError) as caught:
        load("baseline", str(file))
    assert "\n" not in str(caught.value)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    twice = {"a.yaml": "train: {epochs: 3, epochs: 4}", "b.json": '{"train.epochs": 3, "train.epochs": 4}'}
    for name, text in twice.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(RecipeError, match="is given twice"):
            read_file(str(tmp_path / name))


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        read_file(str(tmp_path / "none.yaml"))


def test_json_and_yaml_say_the_same_nested_or_flat(tmp_path):
    nested, flat = tmp_path / "a.yaml", tmp_path / "b.json"
    nested.write_text("train: {epochs: 3, channels_last: false}\ndata: {mean: [0.1, 0.2, 0.3]}\n")
    flat.write_text(json.dumps({"train.epochs": 3, "train.channels_last": False, "data.mean": [0.1, 0.2, 0.3]}))
    assert read_file(str(nested)) == read_file(str(flat))
    assert load("baseline", str(nested)).values == load("baseline", str(flat)).values


def test_a_dumped_recipe_is_read_back_the_same(tmp_path):
    import yaml

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


@pytest.mark.parametrize(("text", "said"), [
    ("a: &a [x, x]\nb: &b [*a, *a]\ntrain: {epochs: *b}\n", "is an alias, and settings are plain values"),
    ("train:\n  epochs: " + ":".join(["59"] * 200_000), "too long for a number"),
    ("train:\n  epochs: 0x" + "f" * 900_000, "too long for a number")], ids=["alias", "sexagesimal", "digits"])
def test_a_file_that_would_take_for_ever_is_refused_at_once(tmp_path, text, said):
    file = tmp_path / "bomb.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=said) as caught:
        load("quickstart", str(file))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("name", names())
def test_what_a_run_writes_of_its_recipe_has_no_alias(tmp_path, name):
    import yaml

    recipe, file = load(name), tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(recipe.nested()))
    assert restore(name, read_file(str(file))).values == recipe.values


@pytest.mark.parametrize(("changes", "said"), [
    ({"train.batch": -5}, "train.batch=-5 must be a whole number 1..65536"),
    ({"train.batch": 2.0}, "train.batch=2.0 must be a whole number"),
    ({"train.bach": 5}, "train.bach is unknown; did you mean train.batch? (--help lists every setting)"),
    ({"optim.momentum": 0.9}, "optim.momentum=0.9 has no effect here: it needs optim.name=sgd"),
    ({"train.patience": 3}, "train.patience=3 needs a validation set"),
    ({"schedule.name": "step"}, "schedule.milestones= must be one or more rising epochs below train.epochs=20"),
    ({"checkpoint.every": 50}, "checkpoint.every=50 has no effect in train.epochs=20"),
])
def test_a_change_is_checked_as_the_command_line_is(changes, said):
    recipe = load("baseline")
    for refused in (recipe.changed, lambda settings: load("baseline", settings=settings),
                    lambda settings: restore("baseline", recipe.values, settings)):
        with pytest.raises(RecipeError) as caught:
            refused(changes)
        assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_change_brings_defaults_of_what_now_applies_and_drops_what_no_longer_does():
    recipe = load("resnet34", settings={"schedule.pct_start": 0.4, "train.batch": "64"})
    other = recipe.changed({"schedule.name": "cosine", "train.epochs": "9"})
    assert other.values["schedule.warmup_epochs"] == 0 and other.epochs == 9
    assert "schedule.pct_start" not in other.values and "schedule.pct_start" in recipe.values
    assert dict(other.given) == {"train.batch": 64, "schedule.name": "cosine", "train.epochs": 9}
    assert other.values == load("resnet34", settings=other.given).values
    with pytest.raises(TypeError):
        other.values["train.batch"] = 3
