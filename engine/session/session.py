"""One training session from its start, or from a checkpoint, to its summary: the run folder, the screen, signals."""

import math
import os
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil
import torch

from engine.build.datasets import Unchanged
from engine.build.run import Run, build
from engine.cli.console import Screen
from engine.cli.signals import Interrupted, Signals
from engine.common.errors import EngineError
from engine.common.files import write_json
from engine.distributed.process_group import Agreement, ProcessGroup, unwished, wish_for
from engine.distributed.torchrun import ranks_of
from engine.session.checkpointer import Checkpointer
from engine.session.launch import leads, once
from engine.session.nan_recovery import NanRecovery
from engine.session.run_state import checksums
from engine.session.summary import closing_rows, summarise
from engine.session.trackers import open_trackers
from engine.storage import run_folder
from engine.storage.folder_lock import FolderLock
from engine.storage.history import write_history
from engine.training.loop import EpochRecord, Progress
from engine.training.nan_guard import NotFinite
from recipes.settings.load import Recipe


def start(recipe: Recipe, process_group: ProcessGroup | None = None) -> int:
    """Train `recipe` from the beginning in a new run folder; returns the exit status. `process_group`: as in build."""
    with Screen(quiet=not leads(process_group)) as screen:
        run = build(recipe, on_progress=screen.writing, on_warning=screen.say, process_group=process_group)
        try:
            return begin(run, screen)
        finally:
            run.close()


def begin(run: Run, screen: Screen, resume_folder: Path | None = None, first: bool = True) -> int:
    """Train a composed run from its start in a new run folder; returns the exit status. Arguments as in Session."""
    recipe = run.recipe

    def make() -> Path:
        folder = run_folder.open_folder(recipe.section("run").folder, recipe.name)
        locks.enter_context(FolderLock(folder))
        if (folder / "checkpoints" / "last.pt").exists():
            raise EngineError(f"{folder} was begun by another process meanwhile: choose another folder")
        return folder

    with ExitStack() as locks:
        return begin_in(once(run.process_group, make), run, screen, resume_folder, first)


def begin_in(folder: Path, run: Run, screen: Screen, resume_folder: Path | None = None, first: bool = True) -> int:
    """As `begin`, in a folder that is there and locked by the caller."""
    write_config(run, folder)
    return Session(run, folder, screen, [], resume_folder, first).go(save_first=True)


def write_config(run: Run, folder: Path) -> None:
    """What the run is, into its folder, by the process that leads."""
    if not leads(run.process_group):
        return
    ranks = ranks_of(os.environ)
    run_folder.write_start(folder, run.recipe.name, run.recipe.nested(), run.recipe.command(), run.device,
                          checksums(run), ranks.ranks if ranks else 1, ranks.launch if ranks else "")


class Session:
    """A composed run with a folder and a screen.

    resume_folder: the folder to name for --resume where it is not the run's own; first: whether the process' first step
    is this run's, to be timed as such. Of several processes each has a session; only the one that leads writes.
    """

    def __init__(self, run: Run, folder: Path, screen: Screen, history: list[dict], resume_folder: Path | None = None,
                 first: bool = True):
        self.resume_folder, self.untimed_steps = resume_folder or folder, 2 if first else 0
        self.run, self.folder, self.screen, self.history = run, folder, screen, history
        self.leads = leads(run.process_group)
        self.agreement = Agreement(3) if run.process_group else None
        settings = run.recipe.section("checkpoint")
        self.every, self.epochs = settings.every, run.loop.epochs
        self.batch = run.recipe.section("train").batch
        self.checkpointer = Checkpointer(run, folder, settings.every_minutes * 60, screen.say)
        self.nan_recovery = NanRecovery(run, folder, self.checkpointer, self.resume_folder)
        self.data = Unchanged(run.betons.values())
        self.skipped = run.step.skipped
        self.first_step_seconds = self.compile_seconds = None
        self.trackers = []
        if self.leads:
            self.trackers = open_trackers(run.recipe.section("log").to, folder, screen.say)
        run.loop.between_steps = self.between_steps

    def go(self, save_first: bool = False) -> int:
        """Train to the end, or to a signal; returns the exit status. `save_first`: there is no checkpoint yet."""
        run, screen = self.run, self.screen
        divided = f" in {run.process_group.ranks} processes" if run.process_group else ""
        screen.say(f"{run.recipe.name} on {run.device}{divided}, {run.precision.name}, {run.feeds.kind} feed, "
                   f"{run.feeds.train.samples:,} training images, run folder {self.folder}")
        with Signals() as self.signals:
            # What one process leaves in the middle, several have to agree on, which they do between steps.
            run.loop.between_batches = None if run.process_group else self.signals.check
            try:
                if save_first:
                    # Whatever stops the first steps, there is something to go on from.
                    self.checkpointer.keep_first(self.history)
                screen.epoch_starts(run.loop.progress.epoch, self.epochs, len(run.feeds.train))
                while not self._train():
                    self.history = self.nan_recovery.roll_back()
                    if self.agreement:
                        # What was sent before is known by now.
                        self.agreement.heard()
            except Interrupted as interrupted:
                try:
                    kept = self.checkpointer.keep(self.history)
                except NotFinite:
                    kept = False
                screen.say(f"stopped by {interrupted}; go on with: python -m engine.train --resume {self.resume_folder}"
                           + ("" if kept else ", from the checkpoint before"))
                return interrupted.status
            finally:
                run.loop.between_batches = None
                for tracker in self.trackers:
                    tracker.close()
        self.finish()
        return 0

    def _train(self) -> bool:
        """Train on; True at the end, False where a bad loss is to be passed over from the last checkpoint on."""
        try:
            for record in self.run.loop.run():
                self.after_epoch(record)
                self._check_signals()
            return True
        except NotFinite as bad:
            epoch = self.run.loop.progress.epoch if bad.epoch is None else bad.epoch
            self.nan_recovery.tell(epoch, bad.step)
            return False
        except RuntimeError as error:
            if "deterministic" not in str(error):
                raise
            reason = str(error).split(". ")[0]
            raise EngineError(f"train.deterministic=true: {reason}; leave it out, or train on the CPU") from None

    def between_steps(self, loop) -> None:
        """After each step: the bar, a checkpoint when it is time, a signal when one has come."""
        progress = loop.progress
        if self.untimed_steps:
            self._time_first_steps(progress)
        self.screen.step(progress.epoch, self.epochs, progress.step, len(loop.feed), loop.step.tally, self.batch)
        noted, due, bad = self.agreement.heard() if self.agreement else self._wishes()
        if bad:
            raise NotFinite(unwished(bad))
        # Gradients that are still being added up are in no checkpoint.
        if loop.step.updated:
            if due:
                self.checkpointer.keep(self.history)
            self._leave_if(noted)
            noted = due = 0
        if self.agreement:
            self.agreement.send(*map(max, self._wishes(), (noted, due, 0)))

    def _wishes(self) -> tuple[int, int, int]:
        """What this process wishes: to end by a signal (its number), to save, to do something about a bad step."""
        bad = self.run.step.guard.known() if self.agreement else -1
        return self.signals.noted, int(self.checkpointer.due), wish_for(bad)

    def _check_signals(self) -> None:
        """Raise Interrupted where a signal has come, to whichever of the processes."""
        self._leave_if(self.agreement.settle(*self._wishes())[0] if self.agreement else self.signals.noted)

    def _leave_if(self, noted: int) -> None:
        """Raise Interrupted for a signal's number that the processes agreed on; a lone one looks for itself."""
        if self.agreement is None:
            self.signals.check()
        elif noted:
            raise Interrupted(noted)

    def _time_first_steps(self, progress: Progress) -> None:
        """Note when the first step was done, and what it took beyond the second (compiling, tuning, warming up)."""
        self.untimed_steps -= 1
        if self.run.device.type == "cuda":
            # Twice a run, so that the device's work is in the figure.
            torch.cuda.synchronize(self.run.device)
        if self.first_step_seconds is None:
            self.first_step_seconds = time.time() - psutil.Process().create_time()
            self.first_s = progress.epoch_seconds
        else:
            self.compile_seconds = max(0.0, 2 * self.first_s - progress.epoch_seconds)

    def after_epoch(self, record: EpochRecord) -> None:
        """Tell and record an epoch; keep the checkpoints that are due."""
        watched = self.run.watched
        row = {"epoch": record.epoch, "lr": record.lr, "train_loss": record.train_loss, "train_top1": record.train_top1}
        for split in ("validation", "test"):
            row[f"{split}_loss"] = record.watched_loss if split == watched else None
            row[f"{split}_top1"] = record.watched_top1 if split == watched else None
        row |= {"train_s": record.train_s, "feed_wait_s": record.feed_wait_s, "images_per_s": record.images_per_s,
                "is_best": record.is_best}
        if math.isnan(record.train_loss):
            raise EngineError(f"no batch of epoch {record.epoch + 1} was trained on, the losses or gradients of all "
                              f"were no numbers: lower the learning rate; {self.folder}/checkpoints/last.pt is from "
                              "before")
        skipped, self.skipped = self.run.step.skipped - self.skipped, self.run.step.skipped
        if skipped:
            self.screen.say(f"warning: epoch {record.epoch + 1} left out {skipped:,} batches or updates that were no "
                            "numbers")
        self.data.refuse_others(f"go on from the last checkpoint with --resume {self.resume_folder}, which writes it "
                                "anew")
        self.history.append(row)
        if self.leads:
            self.checkpointer.attempt(partial(write_history, self.folder, self.history))
        for tracker in self.trackers:
            tracker.epoch(row)
        also = ["best"] if record.is_best else []
        if self.every and (record.epoch + 1) % self.every == 0:
            also.append(f"epoch_{record.epoch + 1:03d}")
        self.checkpointer.keep(self.history, *also)
        self.screen.epoch_row(record, self.epochs, watched)

    def finish(self) -> None:
        """Measure the test set once, write summary.json and the plots, print the closing table."""
        run = self.run
        test = run.loop.last_watched if run.watched == "test" else None
        if test is None and run.feeds.test is not None:
            test = run.evaluate(run.feeds.test)
        if not self.leads:
            return
        if not self.checkpointer.write():
            raise EngineError(f"{self.checkpointer.refused}; without its last checkpoint the run is not finished: mend "
                              f"that, and go on with --resume {self.resume_folder}")
        summary = summarise(run, self.history, test, self.compile_seconds, self.first_step_seconds)
        write_json(self.folder / "summary.json", summary)
        if run.recipe.section("run").report:
            self.attempt_report()
        self.screen.table(f"{summary['recipe']} on {summary['dataset']}", closing_rows(summary, self.folder))

    def attempt_report(self) -> None:
        """Write report.html; a run whose page cannot be drawn is a finished run all the same."""
        from engine.reporting.run_report import write_report

        try:
            write_report(self.folder, say=self.screen.say)
        except Exception as error:  # whatever a library for drawing trips over
            said = str(error).partition("\n")[0] or type(error).__name__
            self.screen.say(f"warning: no report: {said}; python -m engine.report {self.folder} tries again")
