"""What a session does about bad batches, disks that fill up and data that go away."""

import json
import os
import signal
import sys
from types import SimpleNamespace

import pytest

from engine.cli.signals import Interrupted
from engine.common.errors import EngineError
from engine.common.files import write_atomic
from engine.session import launch, session
from engine.storage import checkpoint
from engine.storage.history import read_history
from engine.training.step import TrainStep
from tests.engine.poison import poisoned, spoiled
from tests.engine.small_runs import resume

pytestmark = pytest.mark.slow("trains runs of a second")


@pytest.fixture
def during(monkeypatch):
    """Use a TrainStep.__call__ from now on; several one after another see each other."""
    def use(made):
        monkeypatch.setattr("engine.training.step.TrainStep.__call__", made[0])
        return made[1]

    return use


def last(folder):
    return checkpoint.load(folder / "checkpoints/last.pt")


def interrupted(monkeypatch, recipe, after_steps):
    """Train until so many steps are done, and stop there as by SIGTERM."""
    plain = session.Session.between_steps

    def between_steps(self, loop):
        plain(self, loop)
        if loop.progress.steps_done == after_steps:
            raise Interrupted(15)

    with monkeypatch.context() as patch:
        patch.setattr(session.Session, "between_steps", between_steps)
        assert launch.start(recipe) == 143


def rows(folder):
    return read_history(folder / "metrics.csv", [])


ROLLBACK = {"train.on_nan": "rollback"}


@pytest.mark.parametrize(("step", "passed_over"), [
    (3, [[1, 3]]),
    # The weights are bad after it, which the losses of the following batches tell.
    (1, [[1, 1], [1, 2], [1, 3]])])
def test_a_gradient_that_is_no_number_is_found_and_passed_over(during, recipe, tmp_path, step, passed_over):
    tried = during(spoiled(1, step))
    assert launch.start(recipe(tmp_path / "run", **ROLLBACK)) == 0
    saved = last(tmp_path / "run")
    assert sorted(saved["progress"]["left_out"]) == passed_over and tried
    assert saved["updates_done"] == 12 - len(passed_over)


def test_the_last_batch_of_an_epoch_is_named_as_such(during, recipe, tmp_path):
    during(spoiled(1, 3))
    with pytest.raises(EngineError, match=r"at epoch 2, step 3 \(samples"):
        launch.start(recipe(tmp_path / "run"))
    assert len(json.loads((tmp_path / "run/not_finite.json").read_text())["samples"]) == 30
    assert last(tmp_path / "run")["progress"]["epoch"] == 1


@pytest.mark.parametrize("step", [2, 3])
def test_other_batches_of_an_update_are_not_lost_with_a_bad_one(during, recipe, tmp_path, step):
    during(poisoned(1, step))
    assert launch.start(recipe(tmp_path / "run", **ROLLBACK, **{"train.accumulate": 2})) == 0
    assert last(tmp_path / "run")["updates_done"] == 6


def test_a_bad_batch_is_told_of_though_the_disk_is_full(during, recipe, tmp_path, monkeypatch):
    during(poisoned(1, 2))

    def full(path, content):
        raise EngineError(f"{path}: no space left on the disk")

    monkeypatch.setattr("engine.session.nan_recovery.write_json", full)
    with pytest.raises(EngineError, match="at epoch 2, step 2"):
        launch.start(recipe(tmp_path / "run"))


def test_the_best_checkpoint_is_there_before_the_last_one_says_so_and_a_full_disk_does_not_lose_it(
        recipe, tmp_path, monkeypatch):
    written, refused = [], []

    def full(path, content, *previous):
        if path.name == "best.pt" and not refused:
            refused.append(content)
            raise EngineError(f"{path}: no space left on the disk")
        written.append(path.name)
        write_atomic(path, content, *previous)

    monkeypatch.setattr(checkpoint, "write_atomic", full)
    assert launch.start(recipe(tmp_path / "run", **{"train.epochs": 1, "checkpoint.every": 1})) == 0
    assert written == ["last.pt", "best.pt", "epoch_001.pt", "last.pt"]
    assert (tmp_path / "run/checkpoints/best.pt").read_bytes() == refused[0]


def test_data_that_are_removed_under_the_run_are_one_line(recipe, tmp_path, monkeypatch):
    after = session.Session.after_epoch

    def remove(self, record):
        self.run.betons["train"].path.unlink()
        after(self, record)

    monkeypatch.setattr(session.Session, "after_epoch", remove)
    with pytest.raises(EngineError, match="was changed or removed while the run read it"):
        launch.start(recipe(tmp_path / "run", **{"data.cache": str(tmp_path / "cache")}))


@pytest.mark.parametrize("after_steps", [4, 6])
def test_the_figures_of_an_epoch_that_is_stopped_are_those_of_one_that_is_not(recipe, tmp_path, monkeypatch,
                                                                             after_steps):
    assert launch.start(recipe(tmp_path / "whole")) == 0
    interrupted(monkeypatch, recipe(tmp_path / "run"), after_steps)
    assert resume(tmp_path / "run") == 0
    timed = {"train_s", "wall_s", "feed_wait_s", "images_per_s"}
    for one, other in zip(rows(tmp_path / "whole"), rows(tmp_path / "run"), strict=True):
        assert {key: one[key] for key in one.keys() - timed} == {key: other[key] for key in other.keys() - timed}


@pytest.mark.parametrize("batch", [180, 90, 60], ids="{} images a batch".format)
def test_what_the_first_step_took_more_counts_once(recipe, tmp_path, monkeypatch, batch):
    clock, plain = SimpleNamespace(now=0.0), TrainStep._train_on

    def call(self, *arguments):
        clock.now += 3.0 if clock.now else 50.0
        plain(self, *arguments)

    monkeypatch.setattr(TrainStep, "_train_on", call)
    for module in ("engine.training.loop.time", "engine.common.step_clock.time"):
        monkeypatch.setattr(module, SimpleNamespace(perf_counter=lambda: clock.now))
    assert launch.start(recipe(tmp_path / "run", **{"train.batch": batch})) == 0
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["steps"], summary["compile_seconds"]) == (3 * 180 // batch, 47)
    assert summary["train_seconds"] == 3.0 * summary["steps"]


def test_epochs_that_the_run_is_beyond_are_refused(recipe, tmp_path, monkeypatch):
    interrupted(monkeypatch, recipe(tmp_path / "run"), 6)
    with pytest.raises(EngineError, match="train.epochs=1: the run has 2 already"):
        resume(tmp_path / "run", **{"train.epochs": "1"})
    assert resume(tmp_path / "run", **{"train.epochs": "2"}) == 0


def test_a_run_that_stopped_early_goes_on_when_it_may_stop_later(recipe, tmp_path):
    patient = {"train.patience": 1, "train.min_delta": 99, "train.epochs": 4}
    assert launch.start(recipe(tmp_path / "run", **patient)) == 0
    assert len(rows(tmp_path / "run")) == 2
    with pytest.raises(EngineError, match=r"no better top-1 for 1 epochs\).*--train.patience=N"):
        resume(tmp_path / "run", **{"train.epochs": "5"})
    assert resume(tmp_path / "run", **{"train.patience": "0"}) == 0
    assert len(rows(tmp_path / "run")) == 4


def test_a_finished_run_that_goes_on_is_not_finished_until_it_is(recipe, tmp_path, monkeypatch):
    run = tmp_path / "run"
    assert launch.start(recipe(run, **{"train.epochs": 1})) == 0
    with monkeypatch.context() as patch:
        patch.setattr(session.Session, "between_steps", lambda self, loop: (_ for _ in ()).throw(Interrupted(15)))
        assert resume(run, **{"train.epochs": "2"}) == 143
    assert not (run / "summary.json").exists()
    assert json.loads((run / "summary.previous.json").read_text())["epochs"] == 1
    assert resume(run) == 0 and json.loads((run / "summary.json").read_text())["epochs"] == 2


@pytest.mark.parametrize("entry", [{"optimizer": {}}, {"optimizer": {"state": {}, "param_groups": []}},
                                   {"processes": [{"rng": {}, "tally": [0.0] * 3}]}], ids=str)
def test_entries_that_no_run_writes_are_one_line(recipe, tmp_path, monkeypatch, entry):
    interrupted(monkeypatch, recipe(tmp_path / "run"), 6)
    checkpoint.save(tmp_path / "run/checkpoints/last.pt", last(tmp_path / "run") | entry)
    with pytest.raises(EngineError, match="the last checkpoint does not fit its own recipe") as caught:
        resume(tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_run_whose_last_checkpoint_is_not_written_is_not_finished(recipe, tmp_path, monkeypatch):
    run = tmp_path / "run"

    def full(path, content, *previous):
        if path.name == "last.pt" and path.exists():
            raise EngineError(f"{path}: no space left on the disk")
        write_atomic(path, content, *previous)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomic", full)
        with pytest.raises(EngineError, match="no space left on the disk; without its last checkpoint.*--resume"):
            launch.start(recipe(run))
    assert not (run / "summary.json").exists()
    assert resume(run) == 0 and len(rows(run)) == 3


def test_an_epoch_of_which_nothing_is_left_ends_the_run(recipe, tmp_path, capsys):
    wild = {"train.on_nan": "skip", "schedule.lr": 1e12, "optim.weight_decay": 0, "model.norm": "none"}
    with pytest.raises(EngineError, match=r"no batch of epoch 2 was trained on"):
        launch.start(recipe(tmp_path / "run", **wild))
    assert last(tmp_path / "run")["progress"]["epoch"] == 1


def test_batches_that_are_left_out_are_told_of(during, recipe, tmp_path, capsys):
    during(poisoned(1, 2))
    assert launch.start(recipe(tmp_path / "run", **{"train.on_nan": "skip"})) == 0
    shown = capsys.readouterr().out
    assert shown.count("warning: epoch 2 left out 1 batches") == 1 and shown.count("left out") == 1


def test_a_signal_during_an_evaluation_does_not_wait_for_its_end(recipe, tmp_path, monkeypatch):
    from engine.training import evaluation

    small = {"eval.batch": 5}
    assert launch.start(recipe(tmp_path / "whole", **small)) == 0
    update, seen = evaluation.Metrics.update, []

    def signalled(self, logits, labels):
        seen.append(len(labels))
        if len(seen) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        update(self, logits, labels)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation.Metrics, "update", signalled)
        assert launch.start(recipe(tmp_path / "run", **small)) == 143
    # 20 held-out images are four batches: in the middle of the second epoch's evaluation.
    assert len(seen) == 6 and len(rows(tmp_path / "run")) == 1
    assert resume(tmp_path / "run") == 0
    one, other = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "run"))
    assert one["weights_sha256"] == other["weights_sha256"]
    for before, after in zip(rows(tmp_path / "whole"), rows(tmp_path / "run"), strict=True):
        assert (before["train_loss"], before["validation_loss"]) == (after["train_loss"], after["validation_loss"])


def test_a_signal_after_the_last_step_lets_the_run_end(recipe, tmp_path, monkeypatch):
    plain = session.Session._leave_if

    def late(self, noted):
        plain(self, noted)
        if self.run.loop.progress.epoch == 1:
            self.signals.noted = signal.SIGTERM

    monkeypatch.setattr(session.Session, "_leave_if", late)
    assert launch.start(recipe(tmp_path / "run", **{"train.epochs": 1})) == 0
    assert json.loads((tmp_path / "run/summary.json").read_text())["test_top1"] is not None


def test_a_run_that_nobody_listens_to_goes_on_and_says_so(recipe, tmp_path, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        assert launch.start(recipe(tmp_path / "run", **{"train.epochs": 2})) == 0
        monkeypatch.undo()
    assert "Broken pipe" in (tmp_path / "run/output_lost.txt").read_text()
    assert json.loads((tmp_path / "run/summary.json").read_text())["epochs"] == 2
