"""Several processes train what one trains: losses, weights, evaluation; and a killed one is replaced."""

import json
import os
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest
import torch

from engine.common.errors import EngineError
from engine.session import launch
from engine.storage import checkpoint
from engine.storage.history import read_history
from recipes.settings.load import RecipeError, load

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
STAGES = [{"name": "head", "epochs": 1, "lrs": {"head*": 0.2}, "frozen": ["*"]},
          {"name": "all", "epochs": 1, "lrs": {"*": 0.1}}]
# 270 images in batches of 50: a last one of 20. All that a step can hold, but for what draws or counts by process.
WORDS = ["--recipe", "quickstart", "--data.train_count=300", "--data.test_count=200", "--data.resolution=16",
         "--model.width=8", "--model.depth=3", "--model.norm=none", "--model.dropout=0", "--train.batch=50",
         "--train.accumulate=2", "--train.clip_norm=1", "--average.ema=0.8", "--mix.p=0.8", "--mix.kind=both",
         "--train.precision=fp32", "--train.threads=1", "--eval.batch=30", "--run.report=false",
         f"--train.stages={json.dumps(STAGES)}"]
pytestmark = pytest.mark.slow("trains in several processes")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


def words(place, name, *more):
    return [*WORDS, f"--data.cache={place}/cache", f"--run.folder={place}/{name}", *more]


@pytest.fixture(scope="module")
def trained(place):
    """Every job of this file, in one call: exit statuses by job, and what was shown."""
    jobs = {f"by_{ranks}": (ranks, words(place, f"by_{ranks}")) for ranks in (1, 2, 3)}
    jobs |= {f"measured_{ranks}": (ranks, words(place, ""), str(place / f"measured_{ranks}.json"))
             for ranks in (1, 2, 3)}
    exploding = [word.replace("0.2}", "1e30}") for word in words(place, "exploded")]
    jobs |= {"exploded": (2, exploding), "repeats": (2, words(place, "once", "--train.repeats=2"))}
    # Bad in the last process only; the batch is the first of two that share an update.
    jobs |= {f"{on_nan}_{ranks}": (ranks, words(place, f"{on_nan}_{ranks}", f"--train.on_nan={on_nan}"), None,
                                   [1, 2, str(ranks - 1), 1e30])
             for on_nan in ("skip", "rollback") for ranks in (1, 2, 3)}
    jobs["exploding"] = (2, words(place, "exploding", "--checkpoint.every_minutes=1e-5"), None, [1, 2, "1", 1e6])
    file = place / "jobs.json"
    file.write_text(json.dumps([dict(zip_longest(("ranks", "words", "measure", "poison"), job))
                                for job in jobs.values()]))
    done = subprocess.run([sys.executable, HERE.parent / "peers.py", file], cwd=place, env=ENVIRONMENT,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    statuses = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return dict(zip(jobs, statuses, strict=True)), done


def rows(folder):
    return read_history(folder / "metrics.csv", [])


@pytest.mark.parametrize("ranks", [2, 3])
def test_losses_and_weights_are_those_of_one_process(place, trained, ranks):
    statuses, done = trained
    assert statuses["by_1"] == [0] and statuses[f"by_{ranks}"] == [0] * ranks, done.stderr
    for alone, divided in zip(rows(place / "by_1"), rows(place / f"by_{ranks}"), strict=True):
        for name in ("train_loss", "train_top1", "validation_loss", "validation_top1"):
            assert divided[name] == pytest.approx(alone[name], abs=1e-5), name
    alone, divided = (checkpoint.load(place / f"by_{count}/checkpoints/last.pt") for count in (1, ranks))
    for kind in ("model", "ema"):
        first, second = ((saved["ema"] or saved)["model"] if kind == "ema" else saved["model"]
                         for saved in (alone, divided))
        for name, weights in first.items():
            torch.testing.assert_close(second[name], weights, atol=1e-5, rtol=1e-4)
    assert len(divided["processes"]) == ranks


def test_training_moved_the_weights_far_enough_for_that_to_mean_something(place, trained):
    losses = [row["train_loss"] for row in rows(place / "by_1")]
    assert losses[0] - losses[1] > 1e-3


@pytest.mark.parametrize("ranks", [2, 3])
def test_an_evaluation_is_that_of_one_process_exactly(place, trained, ranks):
    alone, divided = (json.loads((place / f"measured_{count}.json").read_text()) for count in (1, ranks))
    # Sums of float64 in another order.
    for name in ("loss", "ece", "bin_confidence"):
        assert divided.pop(name) == pytest.approx(alone.pop(name), rel=1e-12, nan_ok=True)
    assert divided.pop("bin_accuracy") == pytest.approx(alone.pop("bin_accuracy"), nan_ok=True)
    assert divided == alone
    assert alone["count"] == 200


def test_an_error_of_all_is_shown_once(trained):
    statuses, done = trained
    assert statuses["exploded"] == statuses["repeats"] == [2, 2]
    assert done.stderr.count("train.repeats=2 needs a single process") == 1, done.stderr
    assert done.stderr.count("error: the loss is not finite, or exploded, at epoch 1") == 1, done.stderr
    assert done.stderr.count("error:") == 3, "and one of the exploding job"


@pytest.mark.parametrize("on_nan", ["skip", "rollback"])
def test_a_bad_batch_of_one_is_passed_over_by_all(place, trained, on_nan):
    statuses, done = trained
    assert [statuses[f"{on_nan}_{ranks}"] for ranks in (1, 2, 3)] == [[0], [0, 0], [0, 0, 0]], done.stderr
    assert done.stdout.count("rolling back to the last checkpoint") == 3, done.stdout
    alone = checkpoint.load(place / f"{on_nan}_1/checkpoints/last.pt")
    assert alone["progress"]["left_out"] == ([[1, 2]] if on_nan == "rollback" else [])
    for ranks in (2, 3):
        divided = checkpoint.load(place / f"{on_nan}_{ranks}/checkpoints/last.pt")
        assert divided["progress"]["left_out"] == alone["progress"]["left_out"]
        assert divided["updates_done"] == alone["updates_done"]
        for name, weights in alone["model"].items():
            torch.testing.assert_close(divided["model"][name], weights, atol=1e-5, rtol=1e-4)


def test_no_checkpoint_is_written_after_a_bad_batch_of_another(place, trained):
    # The loss is large, and so are the weights then, but both are finite: only the one process knows, for a step.
    statuses, done = trained
    assert statuses["exploding"] == [2, 2] and "at epoch 2, step 2" in done.stderr, done.stderr
    saved = checkpoint.load(place / "exploding/checkpoints/last.pt")
    assert (saved["progress"]["epoch"], saved["progress"]["step"]) == (1, 2)
    assert all(weights.abs().max() < 1e3 for weights in saved["model"].values())


def test_an_error_of_any_package_reaches_all(monkeypatch):
    class ProcessGroup:
        def call_in_first(self, function):
            with pytest.raises(EngineError, match="train.seed=x") as caught:
                function()
            raise caught.value

    def read():
        raise RecipeError("train.seed=x must be a number")

    with pytest.raises(EngineError, match="train.seed=x"):
        launch.once(ProcessGroup(), read)


def test_a_launch_of_the_same_id_goes_on_with_its_run_and_with_no_other(place, trained, monkeypatch):
    folder = place / "by_1"
    recipe = load("quickstart", settings=dict(word[2:].split("=", 1) for word in words(place, "by_1")[2:]))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    assert launch.started_before(recipe) is None
    kept = (folder / "env.json").read_text()
    try:
        (folder / "env.json").write_text(json.dumps({**json.loads(kept), "launch": "mine"}))
        assert launch.started_before(recipe) == str(folder)
        with pytest.raises(EngineError, match=r"with this --rdzv-id=mine and other settings \(now train.seed=7"):
            launch.started_before(recipe.changed({"train.seed": 7}))
    finally:
        (folder / "env.json").write_text(kept)


def test_a_killed_process_is_made_up_for(place, trained):
    saved_often = "--checkpoint.every_minutes=0.00001"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1",
               str(HERE.parent / "killed.py"), *words(place, "killed", saved_often)]
    done = subprocess.run(command, cwd=place, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    undisturbed, killed = (json.loads((place / name / "summary.json").read_text()) for name in ("by_2", "killed"))
    assert killed["weights_sha256"] == undisturbed["weights_sha256"]
    assert killed["steps"] == undisturbed["steps"]
    for one, other in zip(rows(place / "by_2"), rows(place / "killed"), strict=True):
        assert one["train_loss"] == other["train_loss"]
