"""A run's checkpoints while it trains: when one is due, what makes it worthless, disks that are full for a while."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from engine.build.run import Run
from engine.common.errors import EngineError
from engine.common.files import make_folder, remove_parts
from engine.session.launch import leads
from engine.session.run_state import state_of
from engine.storage import checkpoint
from engine.training.nan_guard import NotFinite, finite_weights

# Seconds until what a full disk refused is tried again.
RETRY_S = 30.0


class Checkpointer:
    """Keeps the checkpoints of `run` in folder/checkpoints; of several processes all ask, and the leading one writes.

    every_s: seconds after which the last one is due again; say: takes warnings. `refused` is why something was not
    written last, `unwritten` are the checkpoints that still wait, by name.
    """

    def __init__(self, run: Run, folder: Path, every_s: float, say: Callable[[str], None]):
        self.run, self.place, self.every_s, self.say = run, folder / "checkpoints", every_s, say
        self.leads = leads(run.process_group)
        self.save_at, self.unwritten, self.refused = time.monotonic() + every_s, {}, ""
        if self.leads:
            remove_parts(make_folder(self.place))

    @property
    def due(self) -> bool:
        """Whether it is time for the last checkpoint again."""
        return time.monotonic() > self.save_at

    def attempt(self, write: Callable[[], None]) -> bool:
        """Write something that can be written again later; where that fails it is said, and the run goes on."""
        try:
            write()
            return True
        except EngineError as error:
            self.refused = str(error)
            self.say(f"warning: {error}; the run goes on and tries again")
            return False

    def keep_first(self, history: list[dict]) -> None:
        """Write last.pt before the first step; EngineError where that cannot be done."""
        content = state_of(self.run, history)
        if self.leads:
            checkpoint.save(self.place / "last.pt", content, keep_previous=True)

    def keep(self, history: list[dict], *also: str) -> bool:
        """Write last.pt, all that the run is now, or, where the disk is full, say so and try again a little later.

        also: the names of other checkpoints, written before the last one, which says that they are there. Returns
        whether all is written. NotFinite where a loss was bad or the weights are not finite: such a run is not worth a
        checkpoint.
        """
        process_group, progress = self.run.process_group, self.run.loop.progress
        bad = self.run.step.guard.known(wait=True)
        finite = finite_weights(self.run.model)
        if process_group:
            # Statistics of batch norms differ between processes.
            bad, finite = process_group.first_bad(bad), not process_group.largest(not finite)
        if bad < 0 and not finite:
            bad = (progress.step or len(self.run.feeds.train)) - 1
        if bad >= 0:
            raise NotFinite(bad, progress.epoch if progress.step else progress.epoch - 1)
        content = state_of(self.run, history)
        if self.leads:
            sealed = checkpoint.seal(content)
            for name in (*also, "last"):
                self.unwritten[name] = sealed
                self.write()
        written = not self.unwritten
        self.save_at = time.monotonic() + (self.every_s if written else min(self.every_s, RETRY_S))
        return written

    def write(self) -> bool:
        """Write the checkpoints that are not on the disk yet; whether all are now."""
        for name, sealed in list(self.unwritten.items()):
            if self.attempt(partial(checkpoint.write, self.place / f"{name}.pt", sealed, name == "last")):
                del self.unwritten[name]
        return not self.unwritten
