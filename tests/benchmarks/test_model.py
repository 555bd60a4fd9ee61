"""The command that predicts a recipe's speed."""

import json
import math
from pathlib import Path

import pytest

from benchmarks import model
from benchmarks.common.results import label_of, recipe_of
from benchmarks.modelling.cards import CARDS
from benchmarks.modelling.predict import gpu_work, on_card
from engine.common.errors import EngineError
from recipes.settings.load import RecipeError, load, names

ROWS = {row["name"]: row for row in json.loads((Path(model.__file__).parent / "results/model.json").read_text())}
# Of quickstart's images a tenth is for validation.
IMAGES = 0.9 * load("quickstart").values["data.train_count"]
TINY = ["--model.width=4", "--model.depth=2", "--train.batch=8", "--train.epochs=2"]


def test_rows_of_two_cards(tmp_path, capsys):
    file = tmp_path / "rows.json"
    assert model.main(["--device", "h100,a100", "--recipes", "quickstart", "--json", str(file), *TINY]) == 0
    rows = json.loads(file.read_text())
    label = label_of(load("quickstart", settings=dict(word[2:].split("=") for word in TINY)))
    assert [row["name"] for row in rows] == [f"{label}, H100", f"{label}, A100"]
    for row in rows:
        steps = 2 * math.ceil(IMAGES / 8)
        assert (row["batch"], row["steps"]) == (8, steps)
        step_s = sum(row["parts_s"].values())
        assert row["step_s"]["expected"] == pytest.approx(step_s, abs=1e-6)
        assert row["run_s"]["expected"] == pytest.approx(steps * step_s, rel=0.01)
        assert row["images_per_second"]["expected"] == pytest.approx(8 / step_s, rel=0.01)
        assert row["images_per_second"]["expected"] < row["images_per_second"]["at_peak"]
        assert set(row["bounds"].values()) | {row["bound_by"]} <= {"matrix", "memory", "launches", ""}
    assert "H100" in capsys.readouterr().out


def test_each_recipe_has_a_row_for_each_card():
    assert {name for name in ROWS if not name.endswith(", cpu")} == {
        f"{name}, {card.name}" for name in names() for card in CARDS.values()}


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "quickstart" else pytest.mark.slow(
    "traces a step of each recipe, of which some have several kinds")) for name in names()])
def test_the_rows_say_what_the_model_says(name):
    recipe = load(name)
    work = gpu_work(recipe)
    for card in CARDS.values():
        new, row = model.row_of(card, recipe, *on_card(work, recipe, card)), ROWS[f"{name}, {card.name}"]
        assert new["run_s"] == pytest.approx(row["run_s"], rel=0.01) and new["bound_by"] == row["bound_by"]
        assert new["parts_s"] == pytest.approx(row["parts_s"], rel=0.01)


@pytest.mark.parametrize(("words", "message"), [
    ([], "--device= must be one or more of h200,h100,a100,cpu"),
    (["--device", "b200"], "--device=b200 must be one or more of h200,h100,a100,cpu"),
    (["--device", "h100,cpu"], "--device=h100,cpu: cpu is measured by itself: give it alone"),
    (["--device", "cpu", "--rounds", "0"], "--seconds and --rounds must be above 0"),
    (["--device", "cpu", "--seconds", "nan"], "--seconds and --rounds must be above 0"),
    (["--device", "h100", "--recipes", "nothing"], "recipe nothing is unknown"),
    (["--device", "cpu", "--recipes", "baseline", "--data.root=/nowhere"], "data.root=/nowhere is not a folder")])
def test_what_cannot_be_asked(words, message):
    with pytest.raises((EngineError, RecipeError), match=message.replace("(", r"\(")):
        model.main(words)


def test_a_rows_label_leads_back_to_its_recipe():
    recipe = load("baseline", settings={"augment.policy": "crop(pad_px=2), flip()", "train.batch": "64",
                                        "model.dropout": "0.25"})
    assert recipe_of(label_of(recipe)).values == recipe.values
    assert recipe_of("sprint10").values == load("sprint10").values


@pytest.mark.slow("trains a few steps of a small network")
def test_this_processor_predicted_and_measured(tmp_path):
    file = tmp_path / "rows.json"
    assert model.main(["--device", "cpu", "--recipes", "quickstart", "--seconds", "0.001", "--rounds", "1", "--json",
                       str(file), f"--data.cache={tmp_path / 'cache'}", "--data.train_count=200",
                       "--data.test_count=100", *TINY]) == 0
    (row,) = json.loads(file.read_text())
    assert row["device"] == "cpu" and "train.device" not in row["label"] and row["predicted_of_measured"]["n"] == 1
    predicted, measured = (row[f"{which}_epochs_per_second"]["median"] for which in ("predicted", "measured"))
    # How near they are depends on what else the machine does.
    assert predicted / measured == pytest.approx(row["predicted_of_measured"]["median"], rel=0.01)
    assert row["parts_s"]["feed"]["median"] > 0 and set(row["bounds"]) == set(row["parts_s"])
    assert all(rate > 0 for table in row["kernels"].values() for _, rate in table)
