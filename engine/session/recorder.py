"""What a run records of its epochs: in its folder, at its trackers, and how long it takes by the clock."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from engine.build.run import Run
from engine.common.files import remove
from engine.session.checkpointer import Checkpointer
from engine.session.summary import history_row
from engine.session.trackers import open_trackers
from engine.storage.history import FILES, write_history
from engine.training.loop import EpochRecord


class Recorder:
    """The `history` of a run. Of several processes each has a recorder; only the one that leads writes.

    history: the epochs done. began: since when this session's wall seconds count, on time.monotonic's clock.
    """

    def __init__(self, run: Run, folder: Path, checkpointer: Checkpointer, say: Callable[[str], None],
                 history: list[dict], began: float):
        self.run, self.folder, self.checkpointer, self.say = run, folder, checkpointer, say
        self.wall_from, self.trackers = began - run.loop.progress.wall_seconds, []
        self.go_on_after(history)

    @property
    def wall_seconds(self) -> float:
        """By the clock, over all sessions, without what a kill lost; NaN: not known."""
        return time.monotonic() - self.wall_from

    def go_on_after(self, history: list[dict]) -> None:
        """Make these the epochs done. What was recorded of later ones, which are trained again, is removed."""
        self.history = history
        if not self.checkpointer.leads:
            return
        if history:
            self._write()
        else:
            remove(*(self.folder / name for name in FILES))
        self.close()
        self.trackers = open_trackers(self.run.recipe.section("log").to, self.folder, self.say)

    def add(self, record: EpochRecord) -> dict:
        """Record an epoch; returns its row of the history."""
        wall_s = self.wall_seconds - sum(row["wall_s"] or 0.0 for row in self.history)
        row = history_row(record, self.run.watched, self.run.loop.last_watched, wall_s)
        self.history.append(row)
        if self.checkpointer.leads:
            self._write()
        for tracker in self.trackers:
            tracker.epoch(row)
        return row

    def close(self) -> None:
        """Close the trackers."""
        for tracker in self.trackers:
            tracker.close()

    def _write(self) -> None:
        self.checkpointer.attempt(partial(write_history, self.folder, self.history))
