"""When last.pt is written: at the start, by time, with a best or a kept epoch, at the end, at a signal; and what a kill
in between costs."""

import json
from types import SimpleNamespace

import pytest

from engine.cli.signals import Interrupted
from engine.session import checkpointer, launch, session
from engine.storage import checkpoint
from engine.storage.history import read_history
from engine.training.step import TrainStep
from tests.engine.poison import poisoned
from tests.engine.small_runs import resume

pytestmark = pytest.mark.slow("trains runs of a second")

# Nothing is chosen, so no epoch is the best.
PLAIN = {"data.validation": 0}
TIMED = {"train_s", "wall_s", "feed_wait_s", "images_per_s"}


@pytest.fixture
def written(monkeypatch):
    """(name, epoch, step) of each checkpoint that is written."""
    found, write = [], checkpoint.write

    def noting(path, content_bytes, *more):
        write(path, content_bytes, *more)
        progress = checkpoint.load(path)["progress"]
        found.append((path.name, progress["epoch"], progress["step"]))

    monkeypatch.setattr(checkpoint, "write", noting)
    return found


@pytest.fixture
def stop(monkeypatch):
    """stop(recipe, after_steps, error): train until so many steps are done; by default as if killed then."""
    def train(recipe, after_steps, error=KeyboardInterrupt):
        plain = session.Session.between_steps

        def between_steps(self, loop):
            plain(self, loop)
            if loop.progress.steps_done == after_steps:
                raise error

        with monkeypatch.context() as patch:
            patch.setattr(session.Session, "between_steps", between_steps)
            return launch.start(recipe)

    return train


def rows(folder):
    return [{key: row[key] for key in row.keys() - TIMED} for row in read_history(folder / "metrics.csv", [])]


def weights_hash(folder):
    return json.loads((folder / "summary.json").read_text())["weights_sha256"]


def test_without_a_reason_it_is_written_at_the_start_and_the_end(recipe, tmp_path, written):
    assert launch.start(recipe(tmp_path / "run", **PLAIN)) == 0
    assert written == [("last.pt", 0, 0), ("last.pt", 3, 0)]


def test_a_best_epoch_and_one_to_keep_are_reasons(recipe, tmp_path, written):
    assert launch.start(recipe(tmp_path / "run", **{"checkpoint.every": 2, "eval.best_by": "loss"})) == 0
    expected, lowest = [("last.pt", 0, 0)], float("inf")
    for row in rows(tmp_path / "run"):
        also = ["best.pt"] * (row["validation_loss"] < lowest) + ["epoch_002.pt"] * (row["epoch"] == 1)
        lowest = min(lowest, row["validation_loss"])
        expected += [(name, row["epoch"] + 1, 0) for name in also + ["last.pt"] * bool(also or row["epoch"] == 2)]
    assert written == expected


def test_an_early_stop_is_an_end(recipe, tmp_path, written):
    never = {"train.patience": 1, "train.min_delta": 99, "eval.select": "none"}
    assert launch.start(recipe(tmp_path / "run", **never)) == 0
    assert written == [("last.pt", 0, 0), ("last.pt", 2, 0)]


def test_a_signal_is_a_reason(recipe, tmp_path, written, stop):
    assert stop(recipe(tmp_path / "run", **PLAIN), 6, Interrupted(15)) == 143
    assert written == [("last.pt", 0, 0), ("last.pt", 1, 2)]


def test_it_is_written_whenever_its_time_has_come(recipe, tmp_path, written, monkeypatch):
    # A step takes a minute and there are four in an epoch; nothing else takes time.
    minutes, step = [0], TrainStep.__call__

    def timed(self, *batch):
        minutes[0] += 1
        step(self, *batch)

    monkeypatch.setattr(checkpointer, "time", SimpleNamespace(monotonic=lambda: 60.0 * minutes[0]))
    monkeypatch.setattr(TrainStep, "__call__", timed)
    assert launch.start(recipe(tmp_path / "run", **PLAIN, **{"checkpoint.every_minutes": 4.5})) == 0
    assert written == [("last.pt", 0, 0), ("last.pt", 1, 1), ("last.pt", 2, 2), ("last.pt", 3, 0)]


@pytest.mark.parametrize("after_steps", [2, 7, 11])
def test_a_run_killed_long_after_its_checkpoint_ends_with_the_same_bits(recipe, tmp_path, stop, after_steps):
    assert launch.start(recipe(tmp_path / "whole", **PLAIN)) == 0
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        stop(recipe(folder, **PLAIN), after_steps)
    assert checkpoint.load(folder / "checkpoints/last.pt")["progress"]["steps_done"] == 0
    assert rows(folder) == rows(tmp_path / "whole")[:after_steps // 4], "what was recorded stays until it is resumed"
    assert resume(folder) == 0
    assert weights_hash(folder) == weights_hash(tmp_path / "whole") and rows(folder) == rows(tmp_path / "whole")


def test_epochs_that_are_trained_again_are_not_recorded_meanwhile(recipe, tmp_path, stop, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        stop(recipe(tmp_path / "run", **PLAIN), 11)
    assert len(rows(tmp_path / "run")) == 2
    with monkeypatch.context() as patch:
        patch.setattr(session.Session, "train", lambda self: 7)
        assert resume(tmp_path / "run") == 7
    assert rows(tmp_path / "run") == [] and not (tmp_path / "run/metrics.npz").exists()


def test_a_rollback_over_epochs_passes_over_the_batch_alone(recipe, tmp_path, monkeypatch):
    hashes = []
    for name, every in (("late", 10), ("often", 1e-9)):
        call, tried = poisoned(1, 2)
        with monkeypatch.context() as patch:
            patch.setattr(TrainStep, "__call__", call)
            settings = {**PLAIN, "train.on_nan": "rollback", "checkpoint.every_minutes": every}
            assert launch.start(recipe(tmp_path / name, **settings)) == 0
        assert tried == [2] and len(rows(tmp_path / name)) == 3
        saved = checkpoint.load(tmp_path / name / "checkpoints/last.pt")
        assert saved["progress"]["left_out"] == [[1, 2]]
        hashes.append(weights_hash(tmp_path / name))
    assert hashes[0] == hashes[1]


def test_new_settings_survive_a_kill_before_the_next_checkpoint(recipe, tmp_path, monkeypatch):
    assert launch.start(recipe(tmp_path / "run", **PLAIN, **{"train.epochs": 1})) == 0
    with monkeypatch.context() as patch:
        patch.setattr(session.Session, "train", lambda self: 7)
        assert resume(tmp_path / "run", **{"train.epochs": "2"}) == 7
    assert resume(tmp_path / "run") == 0 and len(rows(tmp_path / "run")) == 2


def test_training_and_wall_seconds_stand_side_by_side(recipe, tmp_path, stop, capsys):
    assert stop(recipe(tmp_path / "run", **PLAIN), 6, Interrupted(15)) == 143
    before = checkpoint.load(tmp_path / "run/checkpoints/last.pt")["progress"]["wall_seconds"]
    assert resume(tmp_path / "run") == 0
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    recorded = read_history(tmp_path / "run/metrics.csv", [])
    assert summary["wall_seconds"] > sum(row["wall_s"] for row in recorded) > before > 0
    assert all(row["wall_s"] > row["train_s"] for row in recorded)
    shown = capsys.readouterr().out
    assert "training time" in shown and f"{summary['wall_seconds']:,.1f} s" in shown
    assert f"{recorded[2]['train_s']:.1f} s (wall {recorded[2]['wall_s']:.1f} s)" in shown
