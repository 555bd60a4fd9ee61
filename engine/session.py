"""One training session from its start, or from a checkpoint, to its summary: the run folder, the screen, signals."""

import time
from pathlib import Path

import psutil
import torch

from engine.build import Run, build
from engine.errors import EngineError
from engine.files import make_folder, write_json
from engine.summary import closing_rows, summarise
from engine.training import checkpoint, runfolder
from engine.training.history import write_history
from engine.training.loop import EpochRecord, Progress
from engine.training.screen import Screen
from engine.training.signals import Interrupted, Signals
from engine.training.trackers import open_trackers
from engine.views.curves import draw_curves
from recipes.load import Recipe, as_plain, restore


def start(recipe: Recipe) -> int:
    """Train `recipe` from the beginning in a new run folder; returns the exit status."""
    with Screen() as screen:
        run = build(recipe, on_progress=screen.writing, on_warning=screen.say)
        try:
            return begin(run, screen)
        finally:
            run.close()


def begin(run: Run, screen: Screen, go_on_with: Path | None = None, first: bool = True) -> int:
    """Train a composed run from its start in a new run folder; returns the exit status. Arguments as in Session."""
    recipe = run.recipe
    folder = runfolder.open_folder(recipe.section("run").folder, recipe.name)
    runfolder.write_start(folder, recipe.name, recipe.nested(), recipe.command(), run.device,
                          {split: beton.sha256 for split, beton in run.betons.items()})
    return Session(run, folder, screen, [], go_on_with, first).go()


def resume(run_folder: str, screen: Screen, go_on_with: Path | None = None) -> int:
    """Go on with the run in `run_folder` from its last checkpoint: its exit status. `go_on_with`: as in Session."""
    folder = Path(run_folder)
    saved = checkpoint.load(checkpoint.find(run_folder))
    recipe = restore(saved["recipe"], saved["values"])
    progress = Progress(**saved["progress"])
    # A run that was stopped between its last epoch and its summary still has that to write.
    if (folder / "summary.json").exists():
        raise EngineError(f"{run_folder} is finished ({progress.epoch} epochs): there is nothing to go on with")
    run = build(recipe, going_on=True, on_progress=screen.writing, on_warning=screen.say)
    try:
        checkpoint.load_weights(run.model, saved["model"], folder)
        run.loop.go_to(progress)
        run.step.optimizer.load_state_dict(saved["optimizer"])
        for follower, key in ((run.step.ema, "ema"), (run.step.lookahead, "lookahead")):
            if follower is not None:
                follower.load_state_dict(saved[key])
        if run.precision.scaler and saved["scaler"]:
            run.precision.scaler.load_state_dict(saved["scaler"])
        run.step.updates, run.step.updates_done = saved["updates"], saved["updates_done"]
        checkpoint.set_rng_state(saved["rng"])
        screen.say(f"going on with {folder} at epoch {progress.epoch + 1}, step {progress.step}")
        return Session(run, folder, screen, saved["history"], go_on_with, first=progress.epoch == 0).go()
    finally:
        run.close()


class Session:
    """A composed run with a folder and a screen.

    go_on_with: the folder to name for --resume where it is not the run's own; first: whether the process' first step
    is this run's, to be timed as such.
    """

    def __init__(self, run: Run, folder: Path, screen: Screen, history: list[dict], go_on_with: Path | None = None,
                 first: bool = True):
        self.go_on_with, self.untimed_steps = go_on_with or folder, 2 if first else 0
        self.run, self.folder, self.screen, self.history = run, folder, screen, history
        self.checkpoints = make_folder(folder / "checkpoints")
        settings = run.recipe.section("checkpoint")
        self.every, self.every_s = settings.every, settings.every_minutes * 60
        self.epochs, self.batch = run.loop.epochs, run.recipe.section("train").batch
        self.saved_at = time.monotonic()
        self.first_step_seconds = self.compile_seconds = None
        self.trackers = open_trackers(run.recipe.section("log").to, folder)
        run.loop.between_steps = self.between_steps

    def go(self) -> int:
        """Train to the end, or to a signal; returns the exit status."""
        run, screen = self.run, self.screen
        screen.say(f"{run.recipe.name} on {run.device}, {run.precision.name}, {run.feeds.kind} feed, "
                   f"{run.feeds.train.samples:,} training images, run folder {self.folder}")
        with Signals() as self.signals:
            try:
                screen.epoch_starts(run.loop.progress.epoch, self.epochs, len(run.feeds.train))
                for record in run.loop.run():
                    self.after_epoch(record)
                    self.signals.check()
            except Interrupted as interrupted:
                self.save("last")
                screen.say(f"stopped by {interrupted}; go on with: python -m engine.train --resume {self.go_on_with}")
                return interrupted.status
            finally:
                for tracker in self.trackers:
                    tracker.close()
        self.finish()
        return 0

    def between_steps(self, loop) -> None:
        """After each step: the bar, a checkpoint when it is time, a signal when one has come."""
        progress = loop.progress
        if self.untimed_steps:
            self._time_first_steps(progress)
        self.screen.step(progress.epoch, self.epochs, progress.step, len(loop.feed), loop.step.tally, self.batch)
        if not loop.step.updated:
            # Gradients that are still being added up are in no checkpoint.
            return
        if time.monotonic() - self.saved_at > self.every_s:
            self.save("last")
        self.signals.check()

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
        self.history.append(row)
        write_history(self.folder, self.history)
        for tracker in self.trackers:
            tracker.epoch(row)
        self.save("last")
        if record.is_best:
            self.save("best")
        if self.every and (record.epoch + 1) % self.every == 0:
            self.save(f"epoch_{record.epoch + 1:03d}")
        self.screen.epoch_row(record, self.epochs, watched)

    def save(self, name: str) -> None:
        """Write checkpoints/<name>.pt: all that the run is now."""
        run = self.run
        checkpoint.save(self.checkpoints / f"{name}.pt", {
            "recipe": run.recipe.name,
            "values": {path: as_plain(value) for path, value in run.recipe.values.items()},
            "class_names": list(run.class_names),
            "resolution": run.resolution,
            "model": run.model.state_dict(),
            "optimizer": run.step.optimizer.state_dict(),
            "scaler": run.precision.scaler.state_dict() if run.precision.scaler else {},
            "ema": run.step.ema.state_dict() if run.step.ema else None,
            "lookahead": run.step.lookahead.state_dict() if run.step.lookahead else None,
            "updates_done": run.step.updates_done,
            "updates": run.step.updates,
            "progress": run.loop.state(),
            "rng": checkpoint.rng_state(),
            "history": self.history,
        })
        self.saved_at = time.monotonic()

    def finish(self) -> None:
        """Measure the test set once, write summary.json and the plots, print the closing table."""
        run = self.run
        test = run.loop.last_watched if run.watched == "test" else None
        if test is None and run.feeds.test is not None:
            test = run.evaluate(run.feeds.test)
        summary = summarise(run, self.history, test, self.compile_seconds, self.first_step_seconds)
        write_json(self.folder / "summary.json", summary)
        if run.recipe.section("run").report:
            draw_curves(self.history, make_folder(self.folder / "plots"),
                        f"{summary['recipe']} on {summary['dataset']}, seed {summary['seed']}")
        self.screen.table(f"{summary['recipe']} on {summary['dataset']}", closing_rows(summary, self.folder))
