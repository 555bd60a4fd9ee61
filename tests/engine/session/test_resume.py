"""Going on with a run: from the start, from the checkpoint before, with what may change; and what stops it, or not."""

import errno
import json

import pytest

from engine import reproduce, train
from engine.cli.signals import Interrupted
from engine.common.errors import EngineError
from engine.common.files import write_atomic
from engine.session import launch, session
from engine.storage import checkpoint, run_lookup
from engine.storage.folder_lock import FolderLock
from engine.storage.history import read_history
from engine.training.loop import Loop
from recipes.settings.load import RecipeError, load, restore
from tests.engine.poison import poisoned
from tests.engine.small_runs import resume

pytestmark = pytest.mark.slow("trains runs of a second")


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert launch.start(recipe(folder)) == 0
    return folder


def stop_after(monkeypatch, epochs):
    """Make runs end as if killed, when so many epochs are done."""
    train_epochs = Loop.run

    def run(loop):
        for record in train_epochs(loop):
            yield record
            if record.epoch + 1 == epochs:
                raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "run", run)


def stopped(monkeypatch, recipe, epochs=2):
    with monkeypatch.context() as patch:
        stop_after(patch, epochs)
        with pytest.raises(KeyboardInterrupt):
            launch.start(recipe)


def weights_hash(folder):
    return json.loads((folder / "summary.json").read_text())["weights_sha256"]


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(monkeypatch, recipe, whole, tmp_path):
    stopped(monkeypatch, recipe(tmp_path / "run", **{"checkpoint.every": 1}))
    last, said = tmp_path / "run/checkpoints/last.pt", []
    assert checkpoint.load(checkpoint.previous_of(last))["progress"]["epoch"] == 1
    last.write_bytes(last.read_bytes()[:-7])
    assert resume(tmp_path / "run", said) == 0
    assert any("warning" in line and "cut short" in line and "last.previous.pt" in line for line in said)
    # The damaged one was not kept as the one before.
    checkpoint.load(checkpoint.previous_of(last))
    assert weights_hash(tmp_path / "run") == weights_hash(whole)


def test_without_a_whole_checkpoint_the_first_problem_is_told(monkeypatch, recipe, tmp_path):
    stopped(monkeypatch, recipe(tmp_path / "run"))
    for file in (tmp_path / "run/checkpoints").glob("last*.pt"):
        file.write_bytes(b"")
    with pytest.raises(EngineError, match=r"last\.pt is cut short"):
        resume(tmp_path / "run")


def test_a_run_killed_before_its_first_checkpoint_begins_anew(monkeypatch, recipe, whole, tmp_path):
    stopped(monkeypatch, recipe(tmp_path / "run"), 1)
    for file in (tmp_path / "run/checkpoints").iterdir():
        file.unlink()
    (tmp_path / "run/checkpoints/.last.pt.1.part").write_bytes(b"half")
    assert resume(tmp_path / "run") == 0 and weights_hash(tmp_path / "run") == weights_hash(whole)
    assert not list((tmp_path / "run/checkpoints").glob(".*"))


def test_settings_that_may_change_do_and_others_are_refused_with_the_differences(monkeypatch, recipe, tmp_path):
    stopped(monkeypatch, recipe(tmp_path / "run", **{"checkpoint.every": 1}))
    with pytest.raises(EngineError, match=r"train\.batch 50 -> 25, train\.seed 0 -> 1"):
        resume(tmp_path / "run", **{"train.batch": "25", "train.seed": "1", "train.epochs": "4"})
    with pytest.raises(EngineError, match="has 2 already"):
        resume(tmp_path / "run", **{"train.epochs": "1"})
    with pytest.raises(RecipeError, match="train.epochs=x must be"):
        resume(tmp_path / "run", **{"train.epochs": "x"})
    assert resume(tmp_path / "run", **{"train.epochs": "4", "data.workers": "1"}) == 0
    assert json.loads((tmp_path / "run/summary.json").read_text())["epochs"] == 4
    assert run_lookup.read_recipe(tmp_path / "run").epochs == 4
    with pytest.raises(EngineError, match="is finished"):
        resume(tmp_path / "run")


def test_a_finished_run_takes_more_epochs(recipe, tmp_path):
    assert launch.start(recipe(tmp_path / "run", **{"train.epochs": 1})) == 0
    assert resume(tmp_path / "run", **{"train.epochs": 2}) == 0
    assert len(read_history(tmp_path / "run/metrics.csv", [])) == 2


STAGES = [{"name": "head", "epochs": 1, "lrs": {"head": 0.05}, "frozen": ["*"]},
          {"name": "all", "epochs": 2, "lrs": {"*": 0.05}}]


def test_more_epochs_go_to_the_last_stage_and_what_was_trained_stays(monkeypatch, recipe, tmp_path):
    own = recipe(tmp_path / "run", **{"train.stages": STAGES})
    assert launch.start(own) == 0
    with pytest.raises(EngineError, match=r"is finished .3 epochs.*--train.epochs=N adds epochs"):
        resume(tmp_path / "run")
    # Killed once config.yaml names the new length and before a checkpoint does.
    with monkeypatch.context() as patch:
        patch.setattr(session.Session, "train", lambda self: 1)
        assert resume(tmp_path / "run", **{"train.epochs": "5"}) == 1
    assert resume(tmp_path / "run", **{"train.epochs": "5"}) == 0
    kept = run_lookup.read_recipe(tmp_path / "run")
    assert kept.epochs == 5 and [stage["epochs"] for stage in kept.values["train.stages"]] == [1, 4]
    assert len(read_history(tmp_path / "run/metrics.csv", [])) == 5
    with pytest.raises(EngineError, match=r"train\.sizes  -> 0:16"):
        resume(tmp_path / "run", **{"train.epochs": "6", "train.sizes": "0:16"})
    with pytest.raises(EngineError, match=r"train\.stages"):
        resume(tmp_path / "run", **{"train.stages": [{**STAGES[0], "epochs": 2}, STAGES[1]]})


def test_a_run_that_ends_within_an_epoch_and_has_a_part_that_ends_early_resumes_exactly(monkeypatch, recipe, tmp_path):
    settings = {"train.epochs": 2.5, "schedule.name": "linear", "schedule.lrs": "head:0.1,*:0.05",
                "schedule.ends": "head:60%", "average.lookahead": 2, "train.sizes": "30%:12,70%:16"}
    assert launch.start(recipe(tmp_path / "whole", **settings)) == 0
    stopped(monkeypatch, recipe(tmp_path / "run", **settings))
    assert resume(tmp_path / "run") == 0
    assert weights_hash(tmp_path / "run") == weights_hash(tmp_path / "whole")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["epochs"], summary["steps"]) == (3, 10)
    assert summary["epochs_per_second"] == pytest.approx(2.5 / summary["train_seconds"])


def test_a_new_end_before_the_position_within_the_last_epoch_is_refused(monkeypatch, recipe, tmp_path):
    """Four steps an epoch; the run is left after the second epoch's third."""
    step = Loop.run

    def leave(loop):
        def between(now):
            if now.progress.steps_done == 7:
                raise Interrupted(15)
        loop.between_steps = between
        return step(loop)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "run", leave)
        assert launch.start(recipe(tmp_path / "run")) != 0
    with pytest.raises(EngineError, match="train.epochs=1.5 ends after step 2 of epoch 2, and the run is at step 3"):
        resume(tmp_path / "run", **{"train.epochs": "1.5"})
    assert resume(tmp_path / "run", **{"train.epochs": "1.75"}) == 0
    assert json.loads((tmp_path / "run/summary.json").read_text())["steps"] == 7


def test_auto_goes_on_with_what_waits_and_starts_otherwise(monkeypatch, recipe, whole, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    words = [f"--{path}={value}" for path, value in recipe("").given.items() if path != "run.folder"]
    with pytest.raises(EngineError, match="no run below runs/ waits"):
        train.main(["--resume", "auto"])
    for name in ("quickstart/1", "NAME"):
        stopped(monkeypatch, recipe(tmp_path / "runs" / name))
        assert train.main(["--resume", "auto"]) == 0 and weights_hash(tmp_path / "runs" / name) == weights_hash(whole)
    again = ["--resume", "auto", "--recipe", "quickstart", "--run.folder=mine", *words]
    assert train.main(again) == 0 and weights_hash(tmp_path / "mine") == weights_hash(whole)
    capsys.readouterr()
    assert train.main(again) == 0 and "is finished" in capsys.readouterr().out
    (tmp_path / "mine/summary.json").unlink()
    with pytest.raises(EngineError, match=r"train\.seed 0 -> 5"):
        train.main([*again, "--train.seed=5"])


def test_a_folder_in_use_is_refused(monkeypatch, recipe, tmp_path):
    stopped(monkeypatch, recipe(tmp_path / "run"))
    with FolderLock(tmp_path / "run"), pytest.raises(EngineError, match=r"is in use by process \d+ on"):
        resume(tmp_path / "run")
    assert resume(tmp_path / "run") == 0


def test_a_full_disk_neither_ends_the_run_nor_changes_it(monkeypatch, recipe, whole, tmp_path, capsys):
    failures = []

    def full(path, content, *previous):
        if path.name == "last.pt" and len(failures) < 2 and path.exists():
            failures.append(path)
            raise EngineError(f"{path}: no space left on the disk")
        write_atomic(path, content, *previous)

    monkeypatch.setattr(checkpoint, "write_atomic", full)
    assert launch.start(recipe(tmp_path / "run")) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("no space left on the disk; training continues, and it is tried again") == 2
    assert weights_hash(tmp_path / "run") == weights_hash(whole)
    assert checkpoint.load(tmp_path / "run/checkpoints/last.pt")["progress"]["epoch"] == 3


def test_an_error_of_the_disk_leaves_the_checkpoints_that_were_there(monkeypatch, tmp_path):
    (tmp_path / "last.pt").write_bytes(b"old")
    monkeypatch.setattr("engine.common.files.os.fsync", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(EngineError, match="no space left"):
        write_atomic(tmp_path / "last.pt", b"new", tmp_path / "last.previous.pt")
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"] and (tmp_path / "last.pt").read_bytes() == b"old"


@pytest.fixture(name="poisoned")
def poisoned_batch(monkeypatch):
    """Make the loss of batch 2 of epoch 1 infinite, as often as it is tried."""
    call, tried = poisoned(1, 2)
    monkeypatch.setattr("engine.training.step.TrainStep.__call__", call)
    return tried


def test_a_loss_that_is_no_number_stops_the_run_naming_step_and_samples(poisoned, recipe, tmp_path):
    with pytest.raises(EngineError, match=r"epoch 2, step 2 \(samples .*last\.pt is from before it") as caught:
        launch.start(recipe(tmp_path / "run"))
    assert "\n" not in str(caught.value)
    told = json.loads((tmp_path / "run/not_finite.json").read_text())
    assert (told["epoch"], told["step"], len(told["samples"])) == (1, 2, 50)
    saved = checkpoint.load(tmp_path / "run/checkpoints/last.pt")
    assert saved["progress"]["epoch"] == 1 and all(t.isfinite().all() for t in saved["model"].values())


def test_rollback_goes_past_the_batch_and_the_rest_is_trained_on(poisoned, recipe, tmp_path, capsys):
    assert launch.start(recipe(tmp_path / "run", **{"train.on_nan": "rollback"})) == 0
    assert poisoned == [2] and "rolling back to the last checkpoint" in " ".join(capsys.readouterr().out.split())
    saved = checkpoint.load(tmp_path / "run/checkpoints/last.pt")
    assert saved["progress"]["left_out"] == [[1, 2]] and saved["updates_done"] == 11
    assert len(saved["history"]) == 3


def test_a_stopped_run_goes_on_past_the_batch_to_rollbacks_weights(poisoned, recipe, tmp_path):
    with pytest.raises(EngineError):
        launch.start(recipe(tmp_path / "run"))
    assert resume(tmp_path / "run", **{"train.on_nan": "rollback"}) == 0
    assert launch.start(recipe(tmp_path / "other", **{"train.on_nan": "rollback"})) == 0
    assert weights_hash(tmp_path / "run") == weights_hash(tmp_path / "other")


def test_skip_leaves_the_update_out_and_the_statistics_as_they_were(poisoned, recipe, tmp_path):
    assert launch.start(recipe(tmp_path / "run", **{"train.on_nan": "skip"})) == 0
    saved = checkpoint.load(tmp_path / "run/checkpoints/last.pt")
    assert saved["updates_done"] == 11 and all(t.isfinite().all() for t in saved["model"].values())


def test_skip_changes_no_bit_where_nothing_is_bad(recipe, tmp_path):
    for name, on_nan in (("plain", "stop"), ("ready", "skip")):
        own = {"mix.p": 0.7, "mix.kind": "both", "model.norm": "batch", "train.on_nan": on_nan}
        assert launch.start(recipe(tmp_path / name, **own)) == 0
    assert weights_hash(tmp_path / "plain") == weights_hash(tmp_path / "ready")


def test_data_changed_under_the_run_is_noticed(monkeypatch, recipe, tmp_path):
    own = recipe(tmp_path / "run", **{"data.cache": str(tmp_path / "cache")})
    after = session.Session.after_epoch

    def change(self, record):
        path = self.run.betons["train"].path
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        after(self, record)

    monkeypatch.setattr(session.Session, "after_epoch", change)
    with pytest.raises(EngineError, match="was changed or removed while the run read it"):
        launch.start(own)


def test_another_data_set_under_a_checkpoint_is_refused(monkeypatch, recipe, tmp_path):
    stopped(monkeypatch, recipe(tmp_path / "run"))
    last = tmp_path / "run/checkpoints/last.pt"
    saved = checkpoint.load(last)
    checkpoint.save(last, saved | {"data": {**saved["data"], "train": "0" * 64}})
    with pytest.raises(EngineError, match="was trained on another shapes"):
        resume(tmp_path / "run")


def test_a_restored_recipe_says_what_was_given_and_no_more(recipe, tmp_path):
    made = recipe(tmp_path)
    restored = restore(made.name, made.values)
    assert load(made.name, settings=restored.given).values == made.values
    assert len(restored.given) <= len(made.given)


def test_reproduce_says_the_same_and_notices_other_weights(whole, tmp_path, capsys):
    assert reproduce.main([str(whole), "--out", str(tmp_path / "again"), "--json", str(tmp_path / "said.json")]) == 0
    assert weights_hash(tmp_path / "again") == weights_hash(whole) and "not reproduced" not in capsys.readouterr().out
    said = json.loads((tmp_path / "said.json").read_text())
    assert said["same_weights"] and said["first_epoch_apart"] is None
    edited = tmp_path / "edited"
    edited.mkdir()
    for name in ("config.yaml", "metrics.csv"):
        (edited / name).write_bytes((whole / name).read_bytes())
    told = json.loads((whole / "summary.json").read_text())
    (edited / "summary.json").write_text(json.dumps({**told, "weights_sha256": "0" * 64}))
    assert reproduce.main([str(edited)]) == 1
    assert "not reproduced: other weights, and the same results in each epoch" in capsys.readouterr().out


@pytest.mark.parametrize("epochs_first", [2, 1])
def test_reproduce_gives_the_reason_after_a_change_of_epochs(monkeypatch, recipe, tmp_path, capsys, epochs_first):
    run, longer = tmp_path / "run", {"train.epochs": "3"}
    if epochs_first == 1:
        # At its end.
        assert launch.start(recipe(run, **{"train.epochs": 1})) == 0
    else:
        stopped(monkeypatch, recipe(run, **{"train.epochs": 2, "checkpoint.every": 1}), 1)
    assert resume(run, **longer) == 0
    capsys.readouterr()
    assert reproduce.main([str(run), "--json", str(tmp_path / "said.json")]) == 1
    said, shown = json.loads((tmp_path / "said.json").read_text()), capsys.readouterr().out
    assert said["verdict"] == "not reproduced: other weights, and results that differ from epoch 1 on"
    assert "more epochs after its end" in said["reasons"][0] if epochs_first == 1 else \
        "as where a run was resumed with another train.epochs" in said["reasons"][0]
    assert shown.endswith(f"{said['verdict']}\nreason: {said['reasons'][0]}\n")


@pytest.mark.parametrize("missing", ["summary.json", "metrics.csv", "config.yaml"])
def test_reproduce_refuses_what_is_no_finished_run(whole, tmp_path, missing):
    for name in {"summary.json", "metrics.csv", "config.yaml"} - {missing}:
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    with pytest.raises(EngineError, match=missing):
        reproduce.main([str(tmp_path)])
