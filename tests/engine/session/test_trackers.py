"""Where an epoch's numbers go besides the run folder: read back from each tracker, and none of them ends a run."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.common.errors import EngineError
from engine.session import trackers
from engine.session.trackers import Tracker, open_trackers, refuse_missing, run_id, scalars
from engine.storage.history import write_history
from recipes.settings.load import RecipeError, load

ROOT = Path(__file__).resolve().parents[3]
ROWS = [{"epoch": epoch, "lr": 0.1 / (epoch + 1), "train_loss": 2.0 - epoch, "train_top1": 0.25 * epoch,
         "validation_loss": None, "validation_top1": None, "test_loss": 1.5, "test_top1": 0.5, "is_best": True}
        for epoch in range(3)]
TAGS = {"lr", "loss/train", "top1/train", "loss/test", "top1/test"}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "runs" / "first"
    made.mkdir(parents=True)
    (made / "config.yaml").write_text("train: {epochs: 3}\nlog: {to: [files]}\n")
    return made


def track(to, folder, say=None):
    opened = open_trackers(to, folder, say)
    for row in ROWS:
        for tracker in opened:
            tracker.epoch(row)
    for tracker in opened:
        tracker.close()
    return opened


def test_an_epochs_values_are_grouped_by_measure_and_what_was_not_measured_is_left_out():
    assert scalars(ROWS[1]) == {"lr": 0.05, "loss/train": 1.0, "top1/train": 0.25, "loss/test": 1.5, "top1/test": 0.5}


def test_tensorboard_has_each_value_at_the_epochs_done(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track(("tensorboard",), folder)
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == TAGS
    assert [(event.step, event.value) for event in events.Scalars("loss/train")] == [(1, 2.0), (2, 1.0), (3, 0.0)]


def test_tensorboard_hides_epochs_that_are_trained_again(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track(("tensorboard",), folder)
    # A kill took the run back to its first epoch; the second one has another loss now.
    write_history(folder, ROWS[:1])
    tracker, = open_trackers(("tensorboard",), folder)
    tracker.epoch({**ROWS[1], "train_loss": 0.5})
    tracker.close()
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/train")] == [(1, 2.0), (2, 0.5)]


def test_wandb_stays_offline_unless_told_otherwise_and_keeps_a_runs_identity(folder, monkeypatch, capfd):
    pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    said = []
    track(("wandb",), folder, said.append)
    assert said == []
    found = list((folder / "wandb").glob(f"offline-run-*-{run_id(folder)}/*.wandb"))
    assert len(found) == 1
    content = found[0].read_bytes()
    assert all(tag.encode() in content for tag in TAGS) and b"runs-first" in content
    out, err = capfd.readouterr()
    assert out == "" and err == ""


TRACKIO = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/engine/session")
from test_trackers import ROWS, track
folder = Path(sys.argv[1])
track(("trackio",), folder)
track(("trackio",), folder)
from trackio.sqlite_storage import SQLiteStorage
from engine.session.trackers import run_id
rows = SQLiteStorage.get_logs("cadence", f"runs-first-{run_id(folder)}")
print([(row["step"], row["loss/train"]) for row in rows])
"""


@pytest.mark.slow("its finish would close other tests' standard output: it has a process")
def test_trackio_has_each_epoch_and_a_run_that_goes_on_is_the_same_one(folder, tmp_path):
    pytest.importorskip("trackio")
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", TRACKIO, folder], cwd=ROOT, capture_output=True, text=True,
                          timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    rows = ast.literal_eval(done.stdout)
    assert rows[:3] == [(1, 2.0), (2, 1.0), (3, 0.0)] and len(rows) == 6 and done.stdout.count("\n") == 1


@pytest.fixture
def installed(monkeypatch):
    """As if every tracker's package were there: stand-ins are opened."""
    monkeypatch.setattr(trackers, "refuse_missing", lambda to: None)


class Failing:
    """A tracker that fails in one of its calls and remembers all of them."""

    def __init__(self, at):
        self.at, self.calls = at, []

    def _called(self, name):
        self.calls.append(name)
        if name == self.at:
            raise ConnectionError("the server\nis gone")

    @property
    def opened(self):
        return lambda values, epochs: self._called(f"epoch {epochs - 1}"), lambda: self._called("close")


@pytest.mark.parametrize(("at", "calls"), [
    ("epoch 0", ["epoch 0"]), ("epoch 1", ["epoch 0", "epoch 1"]),
    ("close", ["epoch 0", "epoch 1", "epoch 2", "close"])])
def test_a_tracker_that_fails_is_told_of_once_and_not_asked_again(at, calls, folder, monkeypatch, installed):
    failing, other, said = Failing(at), Failing("never"), []
    monkeypatch.setattr(trackers, "KINDS", {"wandb": lambda _: failing.opened, "trackio": lambda _: other.opened})
    track(("wandb", "trackio"), folder, said.append)
    assert failing.calls == calls
    assert other.calls == ["epoch 0", "epoch 1", "epoch 2", "close"]
    assert said == ["warning: the tracker wandb failed and is left out from here on (the server is gone); the run "
                    "folder has everything"]


def test_a_tracker_that_does_not_start_is_left_out(folder, monkeypatch, capsys, installed):
    def unreachable(_):
        raise TimeoutError

    monkeypatch.setattr(trackers, "KINDS", {"wandb": unreachable})
    assert track(("wandb",), folder) == []
    assert capsys.readouterr().err.startswith("warning: the tracker wandb failed and is left out from here on (Timeout")


def test_each_is_opened_once_and_files_need_none(folder, monkeypatch, installed):
    monkeypatch.setattr(trackers, "KINDS", {"trackio": lambda _: Failing("never").opened})
    opened = open_trackers(("files", "trackio", "trackio"), folder)
    assert [type(one) for one in opened] == [Tracker] and open_trackers(("files",), folder) == []


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_missing_package_is_one_line_before_anything_is_trained(name, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    said = rf"log\.to={name} needs the {name} package: pip install 'cadence-train\["
    for refuse in (refuse_missing, lambda to: open_trackers(to, folder)):
        with pytest.raises(EngineError, match=said):
            refuse(("files", name))
    refuse_missing(("files",))


def test_an_identity_that_cannot_be_kept_ends_no_run(folder, monkeypatch, installed):
    def full(*_):
        raise EngineError("tracker_id.txt: no space left on the disk: free some, or choose another folder")

    monkeypatch.setattr(trackers, "write_atomic", full)
    monkeypatch.setattr(trackers, "KINDS", {"wandb": trackers.run_id})
    said = []
    assert open_trackers(("wandb",), folder, said.append) == []
    assert len(said) == 1 and said[0].startswith("warning: the tracker wandb failed") and "no space left" in said[0]


def test_several_may_be_chosen_and_others_are_refused():
    assert load("quickstart").values["log.to"] == ("files",)
    assert load("quickstart", settings={"log.to": "wandb,trackio"}).values["log.to"] == ("wandb", "trackio")
    with pytest.raises(RecipeError, match="each one of files, tensorboard, wandb, trackio"):
        load("quickstart", settings={"log.to": "mlflow"})
