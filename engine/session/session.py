"""One training session from its start, or from a checkpoint, to its summary: the run folder, the console, signals."""

import math
import os
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil

from engine.build.datasets import Unchanged
from engine.build.run import Run
from engine.cli.console import Screen
from engine.cli.signals import Interrupted, Signals
from engine.common.errors import EngineError
from engine.common.files import write_atomic, write_json
from engine.common.machine_load import LoadMeter
from engine.distributed.agreement import Agreement, decode_step, encode_step
from engine.distributed.torchrun import ranks_of
from engine.session.checkpointer import Checkpointer
from engine.session.nan_recovery import NanRecovery
from engine.session.processes import leads, once
from engine.session.recorder import Recorder
from engine.session.run_state import checksums
from engine.session.summary import closing_rows, summarise
from engine.storage import run_folder
from engine.storage.folder_lock import FolderLock
from engine.training.loop import EpochRecord
from engine.training.nan_guard import NotFinite

# Where the run folder says that standard output was lost.
LOST = "output_lost.txt"


def train_new(run: Run, screen: Screen, resume_folder: Path | None = None, first: bool = True,
              began: float | None = None) -> int:
    """Train a run from its start in a new run folder, which stays locked; returns the exit status.

    Arguments as Session.
    """
    def make() -> Path:
        folder = run_folder.open_folder(run.recipe.section("run").folder, run.recipe.name)
        locks.enter_context(FolderLock(folder))
        if (folder / "checkpoints" / "last.pt").exists():
            raise EngineError(f"{folder} was started by another process meanwhile: choose another folder")
        return folder

    with ExitStack() as locks:
        return Session(run, once(run.process_group, make), screen, None, resume_folder, first, began).train()


def write_config(run: Run, folder: Path) -> None:
    """Write what the run is into its folder; for the process that leads."""
    ranks = ranks_of(os.environ)
    run_folder.write_start(folder, run.recipe.name, run.recipe.nested(), run.recipe.command(), run.device,
                           checksums(run), run.folders, ranks.ranks if ranks else 1, ranks.launch if ranks else "")


class Session:
    """A run with a folder and a console. Of several processes each has a session; only the one that leads writes.

    history: the epochs of a run that is resumed; None for a new one, which is first written down. resume_folder: the
    folder to name after --resume where it is not the run's own. first: whether the process's first step is this run's,
    to be timed as such. began: since when its wall seconds count, on time.monotonic's clock (default: now).
    """

    def __init__(self, run: Run, folder: Path, screen: Screen, history: list[dict] | None = None,
                 resume_folder: Path | None = None, first: bool = True, began: float | None = None):
        self.run, self.folder, self.screen, self.new = run, folder, screen, history is None
        self.resume_folder, self.first = resume_folder or folder, first
        self.leads, self.agreement = leads(run.process_group), Agreement(3) if run.process_group else None
        settings = run.recipe.section("checkpoint")
        self.every, self.epochs = settings.every, run.loop.epochs
        if self.new and self.leads:
            write_config(run, folder)
        self.checkpointer = Checkpointer(run, folder, settings.every_minutes * 60, screen.say)
        self.nan_recovery = NanRecovery(run, folder, self.checkpointer, self.resume_folder)
        self.data, self.skipped = Unchanged(run.betons.values()), run.step.skipped
        # Of several processes each would take the others for other work.
        self.first_step_seconds, self.load = None, None if run.process_group else LoadMeter()
        self.recorder = Recorder(run, folder, self.checkpointer, screen.say, history or [],
                                 time.monotonic() if began is None else began)
        run.loop.between_steps = self.between_steps

    def save(self, *also: str) -> bool:
        """As Checkpointer.save."""
        self.run.loop.progress.wall_seconds = self.recorder.wall_seconds
        return self.checkpointer.save(self.recorder.history, *also)

    def train(self) -> int:
        """Train to the end, or to a signal; returns the exit status."""
        run, screen = self.run, self.screen
        divided = f" in {run.process_group.ranks} processes" if run.process_group else ""
        screen.say(f"{run.recipe.name} on {run.device}{divided}, {run.precision.name}, {run.feeds.kind} feed, "
                   f"{run.feeds.train.samples:,} training images, run folder {self.folder}")
        with Signals() as self.signals:
            # One process may leave in the middle of an evaluation; several have to agree, between steps.
            run.loop.between_batches = None if run.process_group else self.signals.check
            try:
                if self.new:
                    # Whatever stops the first steps, there is a checkpoint to resume from.
                    self.checkpointer.save_first()
                screen.starts(run.loop)
                while not self._train_epochs():
                    self.recorder.go_on_after(self.nan_recovery.roll_back())
                    if self.agreement:
                        # What was sent before is out of date.
                        self.agreement.take()
            except Interrupted as interrupted:
                try:
                    saved = self.save()
                except NotFinite:
                    saved = False
                screen.say(f"stopped by {interrupted}; resume with: python -m engine.train --resume "
                           f"{self.resume_folder}" + ("" if saved else ", from the checkpoint before"))
                return interrupted.status
            finally:
                run.loop.between_batches = None
                self.recorder.close()
                self._note_lost_output()
        self.finish()
        return 0

    def _train_epochs(self) -> bool:
        """Train on; True at the end, False if a batch must be skipped after rolling back to the last checkpoint."""
        try:
            for record in self.run.loop.run():
                self.after_epoch(record)
                self._leave_if(self.agreement.maximum_now(*self._wishes())[0] if self.agreement else 0)
            return True
        except NotFinite as bad:
            epoch = self.run.loop.progress.epoch if bad.epoch is None else bad.epoch
            self.nan_recovery.record(epoch, bad.step)
            return False
        except RuntimeError as error:
            if "deterministic" not in str(error):
                raise
            reason = str(error).split(". ")[0]
            raise EngineError(f"train.deterministic=true: {reason}; leave it out, or train on the CPU") from None

    def between_steps(self, loop) -> None:
        """After each step: move the bar, save a checkpoint when it is due, leave when a signal has come."""
        if self.first:
            # The step's clock has waited for the device.
            self.first, self.first_step_seconds = False, time.time() - psutil.Process().create_time()
        self.screen.step(loop)
        noted, due, bad = self.agreement.take() if self.agreement else self._wishes()
        if bad:
            raise NotFinite(decode_step(bad))
        # Gradients that are still being accumulated are in no checkpoint.
        if loop.step.updated:
            if due:
                self.save()
            self._leave_if(noted)
            noted = due = 0
        if self.agreement:
            self.agreement.send(*map(max, self._wishes(), (noted, due, 0)))

    def _wishes(self) -> tuple[int, int, int]:
        """What this process wants all to do: end by a signal (its number), save, recover from a bad step."""
        bad = self.run.step.guard.known() if self.agreement else -1
        return self.signals.noted, int(self.checkpointer.due), encode_step(bad)

    def _leave_if(self, noted: int) -> None:
        """Raise Interrupted for a signal received by any process."""
        if self.agreement is None:
            # A single process looks again, for a checkpoint may have been saved meanwhile.
            self.signals.check()
        elif noted:
            raise Interrupted(noted)

    def after_epoch(self, record: EpochRecord) -> None:
        """Show and record an epoch; save the checkpoints that are due, and the last one. Others are due by time."""
        number, last_pt = record.epoch + 1, f"{self.folder}/checkpoints/last.pt"
        if math.isnan(record.train_loss):
            raise EngineError(f"no batch of epoch {number} was trained on, the losses or gradients of all were not "
                              f"finite: lower the learning rate; {last_pt} is from before")
        skipped, self.skipped = self.run.step.skipped - self.skipped, self.run.step.skipped
        if skipped:
            self.screen.say(f"warning: epoch {number} left out {skipped:,} batches or updates that were not finite")
        self.data.refuse_others(f"resume from the last checkpoint with --resume {self.resume_folder}, which "
                                "rewrites it")
        self.checkpointer.refuse_bad()
        row = self.recorder.add(record)
        also = ["best"] if record.is_best else []
        if self.every and number % self.every == 0:
            also.append(f"epoch_{number:03d}")
        if also or number == self.epochs or self.run.loop.progress.stopped:
            self.save(*also)
        self.screen.epoch_row(record, self.epochs, self.run.watched, row["wall_s"])
        self._note_lost_output()

    def _note_lost_output(self) -> None:
        """Write into the run folder, once, that nothing is shown any more."""
        if self.screen.lost and self.leads and not (self.folder / LOST).exists():
            epoch, why = self.run.loop.progress.epoch, self.screen.lost
            said = f"Since epoch {epoch} or earlier nothing could be shown ({why}); the run continued.\n"
            self.checkpointer.attempt(partial(write_atomic, self.folder / LOST, said.encode()))

    def finish(self) -> None:
        """Evaluate the test set once, write summary.json, the plots and the report, print the closing table."""
        run = self.run
        test = run.loop.last_watched if run.watched == "test" else None
        if test is None and run.feeds.test is not None:
            test = run.evaluate(run.feeds.test)
        if not self.leads:
            return
        if not self.checkpointer.write():
            raise EngineError(f"{self.checkpointer.refused}; without its last checkpoint the run is not finished: "
                              f"correct that, and resume with --resume {self.resume_folder}")
        summary = summarise(run, self.recorder.history, test, self.recorder.wall_seconds,
                            self.first_step_seconds, self.load and self.load.read())
        write_json(self.folder / "summary.json", summary)
        if run.recipe.section("run").report:
            self.attempt_report()
        self.screen.table(f"{summary['recipe']} on {summary['dataset']}", closing_rows(summary, self.folder))
        self._note_lost_output()

    def attempt_report(self) -> None:
        """Write report.html; a run whose page cannot be drawn is still a finished run."""
        from engine.reporting.run_report import write_report

        try:
            write_report(self.folder, say=self.screen.say)
        except Exception as error:  # whatever a drawing library raises
            said = str(error).partition("\n")[0] or type(error).__name__
            self.screen.say(f"warning: no report: {said}; python -m engine.report {self.folder} tries again")
