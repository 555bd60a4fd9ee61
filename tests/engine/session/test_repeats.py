"""Repeats of one recipe: the bits of single runs, resumed wherever they were stopped, and their summary."""

import json
import shutil
import statistics

import pytest

from engine import train
from engine.cli.signals import Interrupted, Signals
from engine.common.errors import EngineError
from engine.session import launch, repeats
from engine.storage.folder_lock import FolderLock
from recipes.settings.load import as_text, load

pytestmark = pytest.mark.slow("trains runs of a second")

# Averages, mixing, dropout and stages: whatever a repeat could take over from the one before it.
SMALL = {"data.train_count": 200, "data.test_count": 100, "data.resolution": 16, "train.batch": 45, "model.width": 4,
         "model.depth": 3, "model.dropout": 0.2, "mix.p": 0.5, "average.ema": 0.9, "average.lookahead": 3,
         "train.sizes": {0: 12, 1: 16}, "train.device": "cpu", "train.threads": 1, "run.report": False,
         "train.stages": [{"name": "head", "epochs": 1, "lrs": {"head": 0.05}, "frozen": ["*"]},
                          {"name": "all", "epochs": 1, "lrs": {"head": 0.02, "*": 0.01}}]}


@pytest.fixture(scope="module")
def recipe(cache):
    def of(folder, **more):
        return load("quickstart", settings={**SMALL, "data.cache": str(cache), "run.folder": str(folder),
                                            **{f"train.{key}": value for key, value in more.items()}})

    return of


def read(file):
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def three(recipe, tmp_path_factory):
    """The folder of three repeats from seed 4 on."""
    folder = tmp_path_factory.mktemp("runs") / "three"
    assert repeats.start(recipe(folder, seed=4, repeats=3)) == 0
    return folder


@pytest.fixture
def stopped(monkeypatch):
    """Let a signal come at the look for one with this number; returns what numbers to begin with."""
    looks = {"left": 0}

    def check(signals):
        looks["left"] -= 1
        if looks["left"] == 0:
            raise Interrupted(15)

    monkeypatch.setattr(Signals, "check", check)
    return looks


def weights(folder):
    return [read(folder / f"seed_{seed}" / "summary.json")["weights_sha256"] for seed in (4, 5, 6)]


def test_each_has_a_folder_with_the_bits_of_a_single_run(three, recipe, tmp_path):
    assert sorted(path.name for path in three.iterdir() if path.name.startswith("seed")) == ["seed_4", "seed_5",
                                                                                           "seed_6"]
    assert len(set(weights(three))) == 3
    assert launch.start(recipe(tmp_path / "single", seed=6)) == 0
    assert read(tmp_path / "single" / "summary.json")["weights_sha256"] == weights(three)[2]


def test_the_summary_has_mean_and_deviation_of_every_measure(three):
    summary = read(three / "summary.json")
    singles = [read(three / f"seed_{seed}" / "summary.json") for seed in (4, 5, 6)]
    assert (summary["recipe"], summary["dataset"], summary["repeats"], summary["seeds"]) == ("quickstart", "shapes", 3,
                                                                                             [4, 5, 6])
    for name in ("test_top1", "val_top1", "train_top1", "train_seconds", "wall_seconds", "epochs_per_second",
                 "images_per_second"):
        values = [single[name] for single in singles]
        assert summary[name] == {"mean": pytest.approx(statistics.mean(values)), "values": values,
                                 "sd": pytest.approx(statistics.stdev(values))}
    assert "--train.repeats=3" in summary["command"] and "--train.seed=4" in summary["command"]
    assert summary["hardware"] == singles[0]["hardware"]


def test_the_seeds_that_are_there_are_not_trained_again(three, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(three, tmp_path / "copy")
    (folder / "summary.json").unlink()
    monkeypatch.setattr(repeats, "build", None)
    assert repeats.resume(folder) == 0
    assert read(folder / "summary.json")["test_top1"] == read(three / "summary.json")["test_top1"]
    assert "3 runs, mean ± standard deviation" in capsys.readouterr().out


# A run looks for signals after each of its eight steps and after both epochs: in the first stage, before a summary, in
# the second run's second stage.
@pytest.mark.parametrize("look", [2, 10, 18])
def test_stopped_anywhere_they_go_on_to_the_same_weights(three, look, recipe, tmp_path, stopped, capsys):
    folder = tmp_path / "runs"
    stopped["left"] = look
    assert repeats.start(recipe(folder, seed=4, repeats=3)) == 143
    assert f"resume with: python -m engine.train --resume {folder}\n" in capsys.readouterr().out
    assert not (folder / "summary.json").exists()
    assert train.main(["--resume", str(folder)]) == 0
    assert weights(folder) == weights(three)
    assert read(folder / "summary.json")["test_top1"] == read(three / "summary.json")["test_top1"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"recipe": "quickstart", "values": {"train": 3}}', '{"values": {}}',
                                  "\x00"])
def test_a_damaged_mark_is_one_line(tmp_path, text):
    (tmp_path / repeats.REPEATS).write_text(text)
    with pytest.raises(EngineError, match=r"repeats\.json is .*damaged: start again in another folder") as caught:
        repeats.resume(tmp_path)
    assert "\n" not in str(caught.value)


def single(seed, **values):
    measured = dict.fromkeys(repeats.MEASURED) | values
    return {"seed": seed, "dataset": "d", **measured, "device": "cpu", "precision": "fp32", "versions": {},
            "hardware": {}, "commit": "c"}


def test_what_not_every_run_measured_is_left_out():
    found = repeats.summarise(load("quickstart"), [single(0, test_top1=0.5, train_seconds=3.0),
                                                   single(1, test_top1=0.7, val_top1=0.1, train_seconds=5.0)])
    assert set(found) & set(repeats.MEASURED) == {"test_top1", "train_seconds"}
    assert found["test_top1"]["mean"] == pytest.approx(0.6) and found["train_seconds"]["sd"] == pytest.approx(2**0.5)


def test_a_single_run_has_no_deviation():
    found = repeats.summarise(load("quickstart"), [single(3, test_top1=0.5)])
    assert found["test_top1"] == {"mean": 0.5, "values": [0.5], "sd": None} and found["seeds"] == [3]


def test_the_closing_table_has_shares_in_percent_and_large_numbers_whole(tmp_path):
    summary = {"test_top1": {"mean": 0.89123, "sd": 0.00234}, "train_seconds": {"mean": 123.456, "sd": 2.345},
               "images_per_second": {"mean": 27_181.8, "sd": 331.4}, "seeds": [0, 1, 2],
               "epochs_per_second": {"mean": 0.123456, "sd": None}}
    assert repeats.rows(summary, tmp_path) == [
        ("test top1", "89.12 ± 0.23%"), ("train seconds", "123.5 ± 2.3 s"), ("epochs per second", "0.1235 ± 0"),
        ("images per second", "27,182 ± 331"), ("seeds", "0 to 2"), ("folder", str(tmp_path))]


def test_two_that_begin_in_one_folder_do_not_mix(recipe, tmp_path, monkeypatch):
    folder = tmp_path / "runs"
    folder.mkdir()
    with FolderLock(folder), pytest.raises(EngineError, match="is in use by"):
        repeats.start(recipe(folder, seed=4, repeats=3))
    assert not (folder / repeats.REPEATS).exists()


def test_auto_with_other_settings_is_refused(three, recipe, tmp_path):
    folder = shutil.copytree(three, tmp_path / "copy")
    (folder / "summary.json").unlink()
    words = [f"--{path}={as_text(value)}" for path, value in recipe(folder, seed=4, repeats=3).given.items()]
    again = ["--resume", "auto", "--recipe", "quickstart", *words]
    with pytest.raises(EngineError, match="--optim.weight_decay has no effect on repeats"):
        train.main([*again, "--optim.weight_decay=0.1"])
    assert train.main(again) == 0
