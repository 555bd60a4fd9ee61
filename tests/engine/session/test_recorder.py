"""What a run records of its epochs, on a clock of its own: wall seconds over sessions, and rows that go again."""

import math
from types import SimpleNamespace

import pytest

from engine.session import recorder, trackers
from engine.session.recorder import Recorder
from engine.storage.history import COLUMNS, read_history
from engine.training.loop import EpochRecord, Progress


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(recorder, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.fixture
def record(tmp_path, monkeypatch):
    """record(history, began, wall_seconds): a recorder of a run that watches its validation images."""
    monkeypatch.setitem(trackers.KINDS, "trackio", lambda folder: opened.append(len(rows(folder))) or (
        lambda values, epochs: None, lambda: closed.append(1)))
    monkeypatch.setattr(trackers, "refuse_missing", lambda _: None)
    opened, closed = [], []

    def make(history=(), began=1000.0, wall_seconds=0.0):
        result = SimpleNamespace(loss=0.5, top1=0.25, top5=0.75, ece=0.125)
        run = SimpleNamespace(loop=SimpleNamespace(progress=Progress(wall_seconds=wall_seconds), last_watched=result),
                              watched="validation", recipe=SimpleNamespace(section=lambda _: SimpleNamespace(
                                  to=("files", "trackio"))))
        saver = SimpleNamespace(leads=True, attempt=lambda write: write())
        made = Recorder(run, tmp_path, saver, pytest.fail, list(history), began)
        made.opened, made.closed = opened, closed
        return made

    return make


def epoch(number):
    return EpochRecord(number, 0.1, 1.5, 0.5, 0.5, 0.25, 3.0, 0.5, 100.0, True)


def rows(folder):
    return read_history(folder / "metrics.csv", [])


def test_a_row_has_every_column_and_the_wall_seconds_since_the_row_before(record, clock, tmp_path):
    # Two seconds before the session had begun, the command had.
    made = record(began=998.0)
    clock.seconds += 5
    assert made.add(epoch(0))["wall_s"] == 7 and made.wall_seconds == 7
    clock.seconds += 4
    made.add(epoch(1))
    assert [row["wall_s"] for row in made.history] == [7, 4] and made.history == rows(tmp_path)
    assert list(made.history[0]) == list(COLUMNS)
    assert [made.history[1][f"validation_{name}"] for name in ("loss", "top1", "top5", "ece")] == [.5, .25, .75, .125]
    assert made.history[1]["test_loss"] is None and made.history[1]["train_s"] == 3


def test_wall_seconds_go_on_where_the_checkpoint_was(record, clock):
    first = record()
    clock.seconds += 10
    row = first.add(epoch(0))
    # A checkpoint 3 s later; then it was killed, and resumed after an hour.
    clock.seconds += 3600
    second = record([row], began=clock.seconds, wall_seconds=13.0)
    clock.seconds += 6
    assert second.add(epoch(1))["wall_s"] == 9 and second.wall_seconds == 19


def test_wall_seconds_that_are_not_known_stay_so(record, clock):
    former = dict.fromkeys(COLUMNS) | {"epoch": 0}
    made = record([former], wall_seconds=math.nan)
    clock.seconds += 6
    assert made.add(epoch(1))["wall_s"] is None and math.isnan(made.wall_seconds)


def test_what_was_recorded_after_the_checkpoint_is_removed_and_trackers_open_after_it(record, clock, tmp_path):
    made = record()
    kept = made.add(epoch(0))
    made.add(epoch(1))
    clock.seconds += 8
    made.go_on_after([kept])
    assert [row["epoch"] for row in rows(tmp_path)] == [0] and (made.opened, made.closed) == ([0, 1], [1])
    # What the lost epochs took counts in the next one.
    assert made.add(epoch(1))["wall_s"] == 8
    made.go_on_after([])
    assert not list(tmp_path.glob("metrics.*")) and (made.opened, made.closed) == ([0, 1, 0], [1, 1])
