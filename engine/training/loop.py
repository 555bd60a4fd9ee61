"""Epochs: train, evaluate, decide whether to go on. No files, no screen: what happened is yielded, epoch by epoch."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from engine.training.metrics import Result
from engine.training.stages import Stage, stage_of
from engine.training.step import TrainStep


@dataclass
class Progress:
    """Where a run is, and what it must remember to go on: all of it is in every checkpoint."""

    epoch: int = 0
    step: int = 0
    best_top1: float = -1.0
    best_epoch: int = -1
    best_loss: float = float("inf")
    epochs_without_gain: int = 0
    train_seconds: float = 0.0
    steps_done: int = 0
    stopped: str = ""
    tally: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    epoch_seconds: float = 0.0
    # (epoch, step) of batches that are passed over because their loss was no number when they were tried.
    left_out: list[list[int]] = field(default_factory=list)

    def state(self) -> dict:
        """Plain values, for a checkpoint."""
        return asdict(self)


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did. Losses are means a sample, top-1 are shares of 1, times are seconds."""

    epoch: int
    lr: float
    train_loss: float
    train_top1: float
    watched_loss: float | None
    watched_top1: float | None
    train_s: float
    feed_wait_s: float
    images_per_s: float
    is_best: bool


@dataclass(frozen=True)
class Stops:
    """When to stop early: at `top1` (0: never), after `patience` epochs without a loss better by `min_delta`."""

    top1: float = 0.0
    patience: int = 0
    min_delta: float = 0.0


class Loop:
    """Trains `stages`, one after another, on `feed` by `step`, from wherever `go_to` put it.

    `enter(stage)` makes ready what a stage needs, before its first batch and before the first one after `go_to`;
    `set_modes(stage)` puts the network into training mode before each epoch; each stage counts its epochs without gain
    anew.
    `watch()` evaluates after each epoch (None: nothing is watched); with `select` the epoch of the best watched top-1
    is remembered. `between_steps(loop)` is called after each step and may raise to leave: `progress` then is the
    position of the next batch, so that a checkpoint taken there goes on exactly. `between_batches()`, where it is set,
    is for `watch` to call, and may raise likewise. Batches in `progress.left_out` are passed over.
    """

    def __init__(self, step: TrainStep, feed, stages: Sequence[Stage], *, enter: Callable[[Stage], None],
                 set_modes: Callable[[Stage], None], watch: Callable[[], Result] | None = None,
                 select: bool = False, stops: Stops = Stops(),
                 between_steps: Callable[["Loop"], None] | None = None):
        self.step, self.feed, self.stages, self.epochs = step, feed, stages, stages[-1].end
        self.enter, self.set_modes = enter, set_modes
        self.watch, self.select, self.stops = watch, select, stops
        self.between_steps, self.between_batches = between_steps, None
        self.go_to(Progress())

    def go_to(self, progress: Progress) -> None:
        """Take up the position `progress`: its stage is entered, its optimiser state still to be loaded."""
        self.progress, self.stage = progress, stage_of(self.stages, progress.epoch)
        self.last_watched: Result | None = None
        self.enter(self.stage)

    def run(self) -> Iterator[EpochRecord]:
        """Yield a record after each epoch until the last one, or until a stop is reached.

        NotFinite comes from the step.
        """
        progress = self.progress
        while progress.epoch < self.epochs and not progress.stopped:
            rate, totals, waited, seconds = self._train_epoch()
            watched = self.watch() if self.watch else None
            # Not before: whoever leaves while it watches comes back to the end of the epoch's training.
            progress.train_seconds += seconds
            self.last_watched = watched
            is_best = self._judge(watched)
            loss, top1, images = totals
            record = EpochRecord(progress.epoch, rate, loss, top1, watched.loss if watched else None,
                                 watched.top1 if watched else None, seconds, waited, images / seconds, is_best)
            progress.epoch, progress.step = progress.epoch + 1, 0
            progress.tally, progress.epoch_seconds = [0.0, 0.0, 0.0], 0.0
            following = stage_of(self.stages, progress.epoch)
            if following is not self.stage:
                # Before the epoch is told of: a checkpoint that is taken then goes on in the stage that follows.
                self.stage = following
                self.enter(following)
                progress.epochs_without_gain = 0
            yield record

    def _train_epoch(self) -> tuple[float, tuple[float, float, int], float, float]:
        """One epoch from `progress.step` on: (last rate, (loss, top-1, images), seconds waited for data, seconds)."""
        progress, step = self.progress, self.step
        self.set_modes(self.stage)
        step.reset()
        step.tally += step.tally.new_tensor(progress.tally)
        began, waited = time.perf_counter() - progress.epoch_seconds, 0.0
        with self.feed.epoch(progress.epoch, start=progress.step) as batches:
            asked = time.perf_counter()
            for batch in batches:
                waited += time.perf_counter() - asked
                if [progress.epoch, progress.step] in progress.left_out:
                    step.leave_out(progress.step)
                else:
                    step(batch.images_bhwc, batch.labels, progress.epoch, progress.step)
                progress.step += 1
                progress.steps_done += 1
                if self.between_steps:
                    progress.epoch_seconds = time.perf_counter() - began
                    self.between_steps(self)
                asked = time.perf_counter()
        totals = step.totals()
        seconds = time.perf_counter() - began
        return step.rate, totals, waited, seconds

    def state(self) -> dict:
        """Progress as plain values, with what the unfinished epoch has counted; waits for the device."""
        if self.progress.step:
            self.progress.tally = self.step.tally.tolist()
        return self.progress.state()

    def _judge(self, watched: Result | None) -> bool:
        """Note the best epoch and whether to stop; True where this epoch is the best so far."""
        progress, stops = self.progress, self.stops
        if watched is None:
            return False
        is_best = self.select and watched.top1 > progress.best_top1
        if is_best:
            progress.best_top1, progress.best_epoch = watched.top1, progress.epoch
        if watched.loss < progress.best_loss - stops.min_delta:
            progress.best_loss, progress.epochs_without_gain = watched.loss, 0
        else:
            progress.epochs_without_gain += 1
        if stops.top1 and watched.top1 >= stops.top1:
            progress.stopped = f"reached {watched.top1:.2%} (asked for {stops.top1:.2%})"
        elif stops.patience and progress.epochs_without_gain >= stops.patience:
            progress.stopped = f"no better loss for {stops.patience} epochs"
        return is_best
