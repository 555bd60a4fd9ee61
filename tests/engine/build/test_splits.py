"""What class folders decide: whose images are held out, what the plan counts, what a sweep adds."""

import json

import pytest

from engine import train
from engine.build.datasets import open_data
from engine.build.plan import make_plan
from engine.build.splits import fit_to_splits, settled, split_folders
from engine.common.errors import EngineError
from engine.tuning.held_out import settings_to_hold_out
from loaders.common.errors import DataError
from recipes.settings.load import load
from tests.engine.class_folders import fill


@pytest.fixture
def root(tmp_path):
    return fill(tmp_path / "data", {"Train/ant": 12, "Train/bee": 8, "Val/ant": 3, "Val/bee": 4, "test/ant": 2})


def recipe_of(root, name="quickstart", **more):
    return load(name, settings={"data.name": "folder", "data.root": str(root), "data.resolution": 16, "train.batch": 10,
                                **more})


def test_a_folder_of_validation_images_takes_the_place_of_the_recipes_share(root):
    recipe, said = recipe_of(root), []
    assert recipe.values["data.validation"] == 0.1
    fitted = settled(recipe, open_data(recipe), said.append)
    assert fitted.values["data.validation"] == 0 and "data.split_seed" not in fitted.values
    assert said == [f"{root}/Val holds the validation images: the recipe's data.validation=0.1 becomes 0"]
    # It is settled: the run's own recipe changes no more, and nothing is said again.
    assert settled(fitted, open_data(fitted), said.append) == fitted and len(said) == 1
    assert "--data.validation=0.0" in fitted.command()


def test_a_data_set_without_such_a_folder_keeps_its_share(root):
    recipe = recipe_of(root)
    assert fit_to_splits(recipe, ("train", "test")) is recipe
    assert split_folders(load("quickstart")) == {} and split_folders(recipe_of(root / "nowhere")) == {}


@pytest.mark.parametrize(("settings", "said"), [
    ({"data.validation": 0.2}, "data.validation=0.2 is for held-out training images, and .*data has a folder "),
    ({"data.split_seed": 3}, "data.split_seed=3 is for held-out training images, and .*data has a folder "),
    ({"data.validation": 0, "eval.select": "test"}, "eval.select=test chooses on the test set though .*data has "),
])
def test_settings_that_contradict_the_folder_are_refused_in_one_line(root, settings, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"--{path}={value}" for path, value in {**recipe_of(root).given, **settings}.items()]
    for more in ([], ["--plan"], ["--resume", "auto"]):
        with pytest.raises(EngineError, match=said) as caught:
            train.main(["--recipe", "quickstart", *words, *more])
        assert "\n" not in str(caught.value) and not (tmp_path / "runs").exists()


def test_a_share_of_0_contradicts_nothing(root):
    recipe = recipe_of(root, **{"data.validation": 0})
    assert fit_to_splits(recipe, split_folders(recipe)) is recipe


def test_early_stopping_needs_validation_images_from_either_place(root, tmp_path):
    patient = {"data.validation": 0, "train.patience": 2}
    recipe = recipe_of(root, **patient)
    assert fit_to_splits(recipe, split_folders(recipe)) is recipe
    alone = fill(tmp_path / "alone", {"train/ant": 12, "train/bee": 12})
    with pytest.raises(EngineError, match="train.patience=2 needs validation images: set .* into .*alone/val"):
        make_plan(recipe_of(alone, **patient))
    with pytest.raises(EngineError, match="eval.best_by=loss needs validation images: set .* into .*alone/val"):
        make_plan(recipe_of(alone, **{"data.validation": 0, "eval.best_by": "loss"}))
    assert make_plan(recipe_of(alone, **{**patient, "data.validation": 0.25}))["data"]["validation"] == 6


def test_the_plan_says_which_folder_each_split_is(root, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (root / "Train" / "ant" / "notes.txt").touch()
    words = [f"--{path}={value}" for path, value in recipe_of(root).given.items()]
    assert train.main(["--recipe", "quickstart", *words, "--plan", "--json", "plan.json"]) == 0
    plan = json.loads((tmp_path / "plan.json").read_text())
    data = plan["data"]
    assert (data["train"], data["validation"], data["test"], data["classes"]) == (20, 7, 2, 2)
    assert data["folders"] == {"train": f"{root}/Train", "validation": f"{root}/Val", "test": f"{root}/test"}
    assert data["notes"] == ["passed over, because their names are not those of images: "
                             f"{root}/Train/ant/notes.txt", f"{root}/test has no images of the classes bee"]
    assert plan["steps_per_epoch"] == 2
    shown = "".join(capsys.readouterr().out.replace("│", "").split())
    assert f"validationimages{root}/Val" in shown and "20train,7validation,2test" in shown


def test_the_plan_of_a_share_says_so(tmp_path, capsys):
    root = fill(tmp_path / "data", {"ant": 12, "bee": 8})
    words = [f"--{path}={value}" for path, value in recipe_of(root).given.items()]
    assert train.main(["--recipe", "quickstart", *words, "--plan"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "validation images a share of the training images" in shown
    plan = make_plan(recipe_of(root, **{"data.validation": 0.25}))
    assert (plan["data"]["train"], plan["data"]["validation"], plan["data"]["folders"]) == (15, 5, {"train": str(root)})
    with pytest.raises(EngineError, match="train.batch=19 is larger than the 18 training images of folder"):
        make_plan(recipe_of(root, **{"train.batch": 19}))


def test_two_folders_of_one_split_are_refused_before_anything(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (root / "valid").mkdir()
    with pytest.raises(DataError, match="Val and .*valid: both hold validation images"):
        train.main(["--recipe", "quickstart", f"--data.root={root}", "--data.name=folder"])
    assert not (tmp_path / "runs").exists()


def test_a_sweep_judges_on_the_folder_and_adds_no_share(root):
    assert settings_to_hold_out(recipe_of(root)) == {"data.validation": 0}
    assert settings_to_hold_out(recipe_of(root, "baseline")) == {}
    assert settings_to_hold_out(recipe_of(root, **{"data.validation": 0})) == {}
    with pytest.raises(EngineError, match="data.validation=0.2 is for held-out training images"):
        settings_to_hold_out(recipe_of(root, **{"data.validation": 0.2}))
    (root / "Val").rename(root / "other")
    assert settings_to_hold_out(recipe_of(root, "baseline")) == {"data.validation": 0.1}
