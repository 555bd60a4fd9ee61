"""After a batch whose loss was not finite or exploded: it is recorded, and the run ends or rolls back and skips it."""

from functools import partial
from pathlib import Path

from engine.build.run import Run
from engine.common.errors import EngineError
from engine.common.files import write_json
from engine.session.checkpointer import Checkpointer
from engine.session.processes import once
from engine.session.run_state import restore_state
from engine.storage import checkpoint
from engine.training.nan_guard import suspects
from loaders.common import counter_rng

MOST_ROLLBACKS = 10


class NanRecovery:
    """Records the bad batches of `run` and rolls it back. resume_folder: the folder to name after --resume."""

    def __init__(self, run: Run, folder: Path, checkpointer: Checkpointer, resume_folder: Path):
        self.run, self.folder, self.checkpointer, self.resume_folder = run, folder, checkpointer, resume_folder
        self.found: list[list[int]] = []
        self.rollbacks = 0

    def record(self, epoch: int, step: int) -> None:
        """Write which batch had the bad loss to not_finite.json; EngineError where it ends the run."""
        train = self.run.recipe.section("train")
        order = counter_rng.order(train.seed, epoch, self.run.feeds.train.indices)
        samples = order[step * train.batch:][:train.batch].tolist()
        self.rollbacks += 1
        self.found += suspects([*self.run.loop.progress.left_out, *self.found], [epoch, step],
                               len(self.run.feeds.train), train.accumulate)
        file = self.folder / "not_finite.json"
        if self.checkpointer.leads:
            self.checkpointer.attempt(partial(write_json, file, {"epoch": epoch, "step": step, "samples": samples}))
        told = (f"the loss is not finite, or exploded, at epoch {epoch + 1}, step {step} (samples "
                f"{', '.join(map(str, samples[:3]))}, ...: all in {file})")
        if train.on_nan == "rollback" and self.rollbacks <= MOST_ROLLBACKS:
            self.checkpointer.say(f"warning: {told}; rolling back to the last checkpoint and skipping this batch")
            return
        way = "lower the learning rate" if train.on_nan == "rollback" else \
            f"lower the learning rate, or skip it with --resume {self.resume_folder} --train.on_nan=rollback"
        raise EngineError(f"{told}; {self.folder}/checkpoints/last.pt is from before it: {way}")

    def roll_back(self) -> list[dict]:
        """Restore the last checkpoint and skip what was bad since; returns the checkpoint's history."""
        saved = once(self.run.process_group, lambda: checkpoint.load_newest(self.folder, self.checkpointer.say))
        restore_state(self.run, saved, self.folder)
        self.run.step.optimizer.zero_grad(set_to_none=True)
        left_out = self.run.loop.progress.left_out
        left_out += [place for place in self.found if place not in left_out]
        return saved["history"]
