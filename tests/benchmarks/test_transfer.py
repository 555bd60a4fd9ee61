"""The fine-tuning benchmark: what it trains from which weights, its rows, and a real run at toy size."""

import json
from types import SimpleNamespace

import pytest

from benchmarks import transfer
from benchmarks.common.results import read_rows
from engine.common.errors import EngineError
from recipes.settings import load

ARMS = ["fine-tuned in three stages", "from nothing"]


@pytest.fixture
def trained(monkeypatch):
    """Replaces training processes: lists the recipes read from their commands; the folder decides the score."""
    recipes = []

    def run(words):
        assert words[1:4] == ["-m", "engine.train", "--recipe"]
        settings = dict(word.removeprefix("--").split("=", 1) for word in words[5:])
        recipe = load.load(words[4], settings=settings)
        recipes.append(recipe)
        folder = transfer.Path(recipe.section("run").folder)
        folder.mkdir(parents=True)
        seed = recipe.section("train").seed
        top1 = (0.5 if "fine-tuned" in folder.name else 0.3) + 0.1 * seed
        summary = {"epochs": recipe.epochs, "test_top1": top1, "train_seconds": 7.0, "hardware": {}, "versions": {},
                   "commit": "c"}
        (folder / "summary.json").write_text(json.dumps(summary))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(transfer, "subprocess", SimpleNamespace(run=run))
    return recipes


def test_one_network_is_pretrained_and_both_arms_train_equally_long_on_the_same_data(trained, tmp_path, capsys):
    runs = tmp_path / "runs"
    words = ["--seeds", "2", "--runs", str(runs), "--json", str(tmp_path / "rows.json"), "--data.root=/x",
             "--train.threads=1"]
    assert transfer.main(words) == 0
    before, *after = trained
    assert (before.values["data.name"], before.values["model.weights"]) == ("cifar100", "")
    assert [recipe.values["train.seed"] for recipe in after] == [0, 0, 1, 1]
    differing = {"model.weights", "train.stages", "run.folder", "train.seed"}
    shared = {path: value for path, value in after[0].values.items() if path not in differing}
    for number, recipe in enumerate(after):
        assert {path: value for path, value in recipe.values.items() if path not in differing} == shared
        assert recipe.epochs == transfer.EPOCHS
        pretrained = str(runs / "pretrained" / "checkpoints" / "last.pt")
        assert recipe.values["model.weights"] == ("" if number % 2 else pretrained)
        assert [stage["name"] for stage in recipe.values["train.stages"]] == (
            ["all"] if number % 2 else ["head", "upper", "all"])
    assert shared["data.name"] == "cifar10" and shared["data.validation"] == 0.9 and shared["train.sizes"] == {}
    for recipe in trained:
        assert (recipe.values["data.root"], recipe.values["train.threads"]) == ("/x", 1)

    rows = read_rows(tmp_path / "rows.json")
    assert [row["name"] for row in rows] == [f"{arm} seed {seed}" for seed in (0, 1) for arm in ARMS]
    assert [row["test_top1"] for row in rows] == pytest.approx([0.5, 0.3, 0.6, 0.4])
    assert rows[0]["command"] == ("python -m benchmarks.transfer --seeds 2 --data.root=DIR --train.threads=1")
    assert rows[0]["environment"] == {"hardware": {}, "versions": {}, "commit": "c"}
    assert capsys.readouterr().out.splitlines() == [
        f"{ARMS[0]}, {transfer.EPOCHS} epochs: test top-1 55.0 ± 7.1 %, n 2",
        f"{ARMS[1]}, {transfer.EPOCHS} epochs: test top-1 35.0 ± 7.1 %, n 2"]


def test_finished_runs_are_not_repeated(trained, tmp_path):
    words = ["--runs", str(tmp_path / "runs"), "--json", str(tmp_path / "rows.json"), "--seeds"]
    transfer.main([*words, "1"])
    assert len(trained) == 3
    transfer.main([*words, "2"])
    assert len(trained) == 5 and len(read_rows(tmp_path / "rows.json")) == 4


def test_the_network_differs_from_pocket10_only_as_documented():
    values = load.load("pocket10", settings={**transfer.LITTLE, "train.stages": transfer.FROM_NOTHING}).values
    assert {path for path, value in load.load("pocket10").values.items() if values[path] != value} == {
        "data.validation", "train.batch", "train.sizes", "train.stages", "train.epochs"}


@pytest.mark.parametrize(("words", "said"), [
    (["--seeds", "0"], "--seeds 0 must be 1 or more"),
    (["--data.name=shapes"], "--data.name is set by the comparison itself"),
    (["--train.batch=64"], "--train.batch is set by the comparison itself"),
    (["--train.epochs=3"], "--train.epochs is set by the comparison itself"),
    (["--train.seed=3"], "--train.seed is set by the comparison itself"),
    (["--run.folder=x"], "--run.folder is set by the comparison itself"),
    (["--train.repeats=3"], "--train.repeats is set by the comparison itself"),
])
def test_settings_of_the_comparison_are_refused_before_any_work(words, said, trained, tmp_path):
    with pytest.raises(EngineError) as caught:
        transfer.main([*words, "--runs", str(tmp_path / "runs"), "--json", str(tmp_path / "rows.json")])
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not trained and not list(tmp_path.iterdir())


def test_a_run_that_fails_is_one_line(monkeypatch, tmp_path):
    failing = SimpleNamespace(run=lambda words: SimpleNamespace(returncode=2))
    monkeypatch.setattr(transfer, "subprocess", failing)
    with pytest.raises(EngineError, match="pretrained ended with status 2: remove the folder and run again"):
        transfer.main(["--runs", str(tmp_path), "--json", str(tmp_path / "rows.json")])
    assert not (tmp_path / "rows.json").exists()


def few(stages):
    return [{**stage, "epochs": 1} for stage in stages]


@pytest.mark.slow("trains three small runs")
def test_the_whole_comparison_on_shapes(monkeypatch, tmp_path, capsys):
    from engine import train

    shapes = {"data.name": "shapes", "data.test_count": 100, "train.batch": 25, "eval.batch": 100}
    monkeypatch.setattr(transfer, "PRETRAIN", {**transfer.PRETRAIN, **shapes, "data.classes": 20,
                                               "data.train_count": 100, "train.sizes": {0: 20},
                                               "train.stages": few(transfer.PRETRAIN["train.stages"])})
    monkeypatch.setattr(transfer, "LITTLE", {**transfer.LITTLE, **shapes, "data.train_count": 500})
    monkeypatch.setattr(transfer, "STAGES", few(transfer.STAGES))
    monkeypatch.setattr(transfer, "FROM_NOTHING", few(transfer.FROM_NOTHING))
    here = SimpleNamespace(run=lambda words: SimpleNamespace(returncode=train.main(list(words[3:]))))
    monkeypatch.setattr(transfer, "subprocess", here)
    transfer.main(["--seeds", "1", "--runs", str(tmp_path / "runs"), "--json", str(tmp_path / "rows.json"),
                   f"--data.cache={tmp_path / 'cache'}", "--train.threads=1", "--run.report=false"])
    rows = read_rows(tmp_path / "rows.json")
    assert [(row["name"], row["epochs"]) for row in rows] == [(f"{ARMS[0]} seed 0", 3), (f"{ARMS[1]} seed 0", 1)]
    assert all(0 <= row["test_top1"] <= 1 and row["train_seconds"] > 0 for row in rows)
    assert "starts from scratch" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "pretrained", "fine-tuned_in_three_stages_0", "from_nothing_0"}
