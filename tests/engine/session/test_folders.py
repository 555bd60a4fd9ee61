"""Runs on class folders: whose images are validated on, and what the record, a resumed run and the report say of it."""

import json

import numpy as np
import pytest
from PIL import Image

from engine import evaluate, predict, train
from engine.build.splits import fit_to_splits, split_folders
from engine.common.errors import EngineError
from engine.inference.held_out import hold_out, open_run_data
from engine.inference.trained import open_trained
from engine.reporting.run_sections import headline
from engine.session import launch, repeats
from engine.storage.history import read_history
from engine.storage.run_lookup import differing, read_recipe
from engine.storage.run_record import read_record
from recipes.settings.load import load
from tests.engine.class_folders import fill
from tests.engine.small_runs import SMALL, resume

pytestmark = pytest.mark.slow("trains runs of a second")

TRAIN, VAL, TEST = ({f"{split}/{name}": count for name in ("ant", "bee")}
                    for split, count in (("train", 40), ("Valid", 15), ("test", 10)))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("place")


def words_of(place, root, name, *more):
    own = {path: value for path, value in SMALL.items() if not path.endswith("_count")}
    own |= {"data.name": "folder", "data.root": root, "data.cache": place / "cache", "run.folder": place / name,
            "train.batch": 20, "train.epochs": 2, "data.feed": "resident"}
    return ["--recipe", "quickstart", *[f"--{path}={value}".lower() if value is False else f"--{path}={value}"
                                        for path, value in own.items()], *more]


def train_on(place, root, name, *more):
    assert train.main(words_of(place, root, name, *more)) == 0
    return place / name


def read(file):
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def root(place):
    return fill(place / "data", {**TRAIN, **VAL})


@pytest.fixture(scope="module")
def run(place, root):
    """The folder of a run on training and validation images, without test images."""
    return train_on(place, root, "run", "--train.patience=2")


def test_validation_images_are_those_of_the_folder_and_nothing_is_taken_from_training(place, root, run, tmp_path):
    alone = fill(tmp_path / "alone", TRAIN)
    other = train_on(place, alone, "alone", "--data.validation=0")
    whole, without = read(run / "summary.json"), read(other / "summary.json")
    assert whole["weights_sha256"] == without["weights_sha256"]
    assert whole["val_top1"] is not None and without["val_top1"] is None and whole["best_epoch"]
    # The same from the files, one by one.
    predictor, files = predict.load(str(run)), sorted(root.glob("Valid/*/*.png"))
    right = [predictor(file).label == file.parent.name for file in files]
    assert len(right) == 30 and sum(right) / 30 == read_history(run / "metrics.csv", [])[-1]["validation_top1"]
    assert 0 < sum(right) and whole["val_top1"] == sum(right) / 30


def test_the_record_says_whose_images_were_held_out(run, root):
    assert read_recipe(run).values["data.validation"] == 0
    env = read(run / "env.json")
    assert env["folders"] == {"train": f"{root}/train", "validation": f"{root}/Valid"}
    assert sorted(env["data"]) == ["train", "validation"]
    rows = dict(headline(read_record(run), None, "").parts[-1].rows)
    assert rows["train images"] == f"{root}/train" and rows["validation images"] == f"{root}/Valid"


def test_the_command_of_the_record_runs_again(run, place, root):
    words = (run / "command.txt").read_text().split()[4:]
    assert words[0] == "quickstart" and "--data.validation=0.0" in words
    again = load("quickstart", settings=dict(word[2:].split("=", 1) for word in words[1:]))
    assert again.values == {**read_recipe(run).values, "run.folder": ""}


def test_evaluate_measures_the_validation_images_where_there_are_no_others(run, tmp_path, capsys):
    assert evaluate.main([str(run), "--json", str(tmp_path / "e.json"), "--out", str(tmp_path)]) == 0
    found = read(tmp_path / "e.json")
    assert found["split"] == "validation" and found["images"] == 30 and "test_top1" not in found
    assert found["validation_top1"] == read(run / "summary.json")["val_top1"]
    assert "folder'svalidationset" in "".join(capsys.readouterr().out.split())


def test_the_report_measures_the_folders_images(run):
    trained = open_trained(str(run))
    data = open_run_data(trained)
    held = hold_out(trained, data)
    assert (held.split, len(held.indices), held.beton.split) == ("validation", 30, "validation")
    assert len(data.train) == 80 and not len(data.validation)


def test_a_finished_run_is_found_again_and_one_to_resume_too(run, root, place, capsys):
    recipe = load("quickstart", settings=dict(word[2:].split("=", 1) for word in
                                              words_of(place, root, "run", "--train.patience=2")[2:]))
    assert launch.resume_or_start(recipe, {}) == 0 and "is finished" in capsys.readouterr().out
    longer = load("quickstart", settings={**recipe.given, "train.epochs": 3})
    (run / "summary.json").rename(run / "summary.aside")
    try:
        assert set(differing(run, fit_to_splits(longer, split_folders(longer)))) == {"train.epochs"}
    finally:
        (run / "summary.aside").rename(run / "summary.json")


def test_repeats_record_the_same_for_every_seed_and_end_with_the_bits_of_single_runs(place, root, run):
    folder = train_on(place, root, "three", "--train.repeats=2", "--train.patience=2")
    for seed in (0, 1):
        assert read_recipe(folder / f"seed_{seed}").values["data.validation"] == 0
    assert read(folder / "seed_0/summary.json")["weights_sha256"] == read(run / "summary.json")["weights_sha256"]
    assert read(folder / "summary.json")["val_top1"]["sd"] is not None
    (folder / "seed_1" / "summary.json").unlink()
    assert repeats.resume(folder) == 0


def test_a_run_from_before_the_folder_keeps_its_own_held_out_images(place, tmp_path):
    root = fill(tmp_path / "data", {**TRAIN, **TEST})
    run = train_on(place, root, "before")
    assert read(run / "env.json")["folders"] == {"train": f"{root}/train", "test": f"{root}/test"}
    rows = dict(headline(read_record(run), None, "").parts[-1].rows)
    assert rows["validation images"] == "0.1 of the training images (data.validation)"
    fill(root, VAL)
    trained = open_trained(str(run))
    data = open_run_data(trained)
    assert len(data.train) == 72 and len(data.validation) == 8 and "validation" not in data.betons
    with pytest.raises(EngineError, match=r"then it had the splits test, train, now test, train, validation\)"):
        resume(run, **{"train.epochs": 3})


def test_a_split_that_has_gone_is_told(run, root):
    (root / "Valid").rename(root / "aside")
    try:
        with pytest.raises(EngineError, match="folder has no validation images, and the run had some: name"):
            open_run_data(open_trained(str(run)))
        with pytest.raises(EngineError, match=r"had the splits train, validation, now train\)"):
            resume(run, **{"train.epochs": 3, "train.patience": 0})
    finally:
        (root / "aside").rename(root / "Valid")


def test_white_of_floating_point_images_is_recorded_and_used_in_predictions(place, tmp_path, capsys):
    draws, root = np.random.default_rng(0), tmp_path / "data"
    for name, low in (("ant", 0), ("bee", 120)):
        (root / name).mkdir(parents=True)
        for number in range(20):
            values = draws.uniform(low, low + 120, (16, 16)).astype(np.float32)
            Image.fromarray(values).save(root / name / f"{number}.tif")
    run = train_on(place, root, "floats", "--data.validation=0.2")
    assert read_recipe(run).values["data.float_max"] == 255
    dark = tmp_path / "dark.tif"
    Image.fromarray(np.full((16, 16), 0.9, np.float32)).save(dark)
    seen = predict.load(str(run))(dark).seen_hwc
    assert seen.max() == 1
    assert predict.load(str(run))(root / "bee" / "3.tif").seen_hwc.max() > 200
    assert predict.main([str(run), str(root / "bee")]) == 0
