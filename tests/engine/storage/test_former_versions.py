"""Checkpoints of former versions are read as this version would have written them."""

import math

import pytest
import torch

from engine.common.errors import EngineError
from engine.storage import checkpoint, former_versions
from engine.storage.history import COLUMNS
from engine.training.loop import Progress
from tests.engine.blank import BLANK

# As the version before eval.best_by wrote them after three epochs.
PROGRESS = {"epoch": 3, "step": 0, "best_top1": 0.75, "best_epoch": 2, "best_loss": 0.5, "epochs_without_gain": 2,
            "train_seconds": 9.0, "steps_done": 12, "stopped": "", "tally": [0.0] * 3, "epoch_seconds": 0.0,
            "left_out": []}
ROW = {"epoch": 0, "lr": 0.1, "train_loss": 1.0, "train_top1": 0.5, "validation_loss": 0.5, "validation_top1": 0.75,
       "test_loss": None, "test_top1": None, "train_s": 3.0, "feed_wait_s": 0.1, "images_per_s": 100.0, "is_best": True}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """written(values, **progress): a former checkpoint's content, read by this version."""
    def read(values, **progress):
        history = [{**ROW, "epoch": epoch, "validation_loss": loss} for epoch, loss in enumerate((0.5, 0.7, 0.6))]
        checkpoint.save(tmp_path / "a.pt", BLANK | {"values": values, "history": history,
                                                    "progress": PROGRESS | progress})
        return checkpoint.load(tmp_path / "a.pt")

    return read


def test_without_patience_the_best_top1_stays_the_best(written):
    read = written({"train.patience": 0})
    progress = Progress(**read["progress"])
    assert (progress.best_value, progress.best_epoch, progress.epoch, progress.steps_done) == (0.75, 2, 3, 12)
    assert math.isnan(progress.wall_seconds), "it was not measured"
    assert progress.epoch_wait_seconds == progress.compile_seconds == 0
    assert [set(row) for row in read["history"]] == [set(COLUMNS)] * 3
    assert read["history"][0]["validation_top1"] == 0.75 and read["history"][0]["wall_s"] is None
    assert math.isnan(Progress(**written({}, best_top1=-1.0, best_epoch=-1)["progress"]).best_value)


def test_with_patience_the_loss_counts_on(written):
    progress = Progress(**written({"train.patience": 4})["progress"])
    assert (progress.patience_value, progress.epochs_without_gain) == (0.5, 2)
    # best.pt is of the third epoch, of the best top-1; an epoch of a lower loss replaces it.
    assert (progress.best_epoch, progress.best_value) == (2, 0.6)
    first = Progress(**written({"train.patience": 4}, best_loss=math.inf, best_epoch=-1)["progress"])
    assert math.isnan(first.best_value) and math.isnan(first.patience_value)


@pytest.mark.parametrize("change", [{"best_loss": "x"}, {"best_top1": torch.zeros(2)}, {"more": 1}], ids=str)
def test_what_no_version_wrote_is_refused(written, change):
    with pytest.raises(EngineError, match="its entry progress is not what Cadence writes there"):
        written({}, **change)
    with pytest.raises(EngineError, match="is refused"):
        written({"train.patience": torch.zeros(2)}, **change)


@pytest.mark.parametrize("history", [3, [3], [ROW, 3], [{"epoch": 2}]], ids=str)
def test_a_history_that_no_version_wrote_is_refused(history, tmp_path):
    checkpoint.save(tmp_path / "a.pt", BLANK | {"values": {"train.patience": 4}, "history": history,
                                                "progress": PROGRESS})
    with pytest.raises(EngineError, match="its entry history is not what Cadence writes there"):
        checkpoint.load(tmp_path / "a.pt")


def test_what_this_version_writes_stays_as_it_is():
    content = BLANK | {"history": [dict.fromkeys(COLUMNS, 0.5)]}
    assert former_versions.up_to_date(content) == content
