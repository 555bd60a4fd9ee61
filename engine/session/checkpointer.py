"""The checkpoints of a run in training: when one is due, what makes it worthless, what happens on a full disk."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from engine.build.run import Run
from engine.common.errors import EngineError
from engine.common.files import make_folder, remove_parts
from engine.session.processes import leads
from engine.session.run_state import state_of
from engine.storage import checkpoint
from engine.training.nan_guard import NotFinite, finite_weights

# After a write that a full disk refused.
RETRY_S = 30.0


class Checkpointer:
    """Saves the checkpoints of `run` in folder/checkpoints. All processes call it, the leading one writes.

    every_s: seconds after which last.pt is due again. say: receives warnings. `refused`: why the last write failed;
    `unwritten`: the bytes of the checkpoints that still wait for the disk, by name.
    """

    def __init__(self, run: Run, folder: Path, every_s: float, say: Callable[[str], None]):
        self.run, self.place, self.every_s, self.say = run, folder / "checkpoints", every_s, say
        self.leads = leads(run.process_group)
        self.save_at, self.unwritten, self.refused = time.monotonic() + every_s, {}, ""
        if self.leads:
            remove_parts(make_folder(self.place))

    @property
    def due(self) -> bool:
        """Whether last.pt should be saved again."""
        return time.monotonic() > self.save_at

    def attempt(self, write: Callable[[], None]) -> bool:
        """Write something that can be written later; a failure is reported as a warning, and training continues."""
        try:
            write()
            return True
        except EngineError as error:
            self.refused = str(error)
            self.say(f"warning: {error}; training continues, and it is tried again")
            return False

    def save_first(self) -> None:
        """Write last.pt before the first step; EngineError where it cannot be written."""
        content = state_of(self.run, [])
        if self.leads:
            checkpoint.save(self.place / "last.pt", content, keep_previous=True)

    def save(self, history: list[dict], *also: str) -> bool:
        """Write last.pt, the whole state; on a full disk warn and try again later. Returns whether all is written.

        also: names of other checkpoints, written before last.pt, which records that they exist. NotFinite as
        `refuse_bad`.
        """
        self.refuse_bad()
        content = state_of(self.run, history)
        if self.leads:
            content_bytes = checkpoint.serialise(content)
            for name in (*also, "last"):
                self.unwritten[name] = content_bytes
                self.write()
        written = not self.unwritten
        self.save_at = time.monotonic() + (self.every_s if written else min(self.every_s, RETRY_S))
        return written

    def refuse_bad(self) -> None:
        """NotFinite where a loss was bad or the weights are not finite: that state is not worth a checkpoint. Waits."""
        process_group, progress = self.run.process_group, self.run.loop.progress
        bad = self.run.step.guard.known(wait=True)
        finite = finite_weights(self.run.model)
        if process_group:
            # The statistics of batch norms differ between processes.
            bad, finite = process_group.first_bad(bad), not process_group.largest(not finite)
        if bad < 0 and not finite:
            bad = (progress.step or self.run.loop.steps_in(progress.epoch - 1)) - 1
        if bad >= 0:
            raise NotFinite(bad, progress.epoch if progress.step else progress.epoch - 1)

    def write(self) -> bool:
        """Write the checkpoints that are not on the disk yet; returns whether all are now."""
        for name, content_bytes in list(self.unwritten.items()):
            if self.attempt(partial(checkpoint.write, self.place / f"{name}.pt", content_bytes, name == "last")):
                del self.unwritten[name]
        return not self.unwritten
