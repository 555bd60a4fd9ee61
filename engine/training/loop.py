"""Epochs: train, evaluate, decide whether to stop. No files and no terminal: each epoch yields a record."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice

from engine.training.criterion import CRITERIA, Criterion
from engine.training.metrics import Result
from engine.training.stages import Stage, stage_of, updates_in
from engine.training.step import TrainStep


@dataclass
class Progress:
    """The position of a run and what it needs to resume there; every checkpoint holds all of it.

    best_value: the criterion in the best epoch; patience_value: where patience last saw a gain. NaN: there is none yet.
    """

    epoch: int = 0
    step: int = 0
    best_value: float = math.nan
    best_epoch: int = -1
    patience_value: float = math.nan
    epochs_without_gain: int = 0
    # Excludes compile_seconds, by which the first two steps of each program exceeded its third.
    train_seconds: float = 0.0
    compile_seconds: float = 0.0
    # By the clock, over all sessions; NaN: not known.
    wall_seconds: float = 0.0
    steps_done: int = 0
    stopped: str = ""
    tally: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    epoch_seconds: float = 0.0
    epoch_wait_seconds: float = 0.0
    # (epoch, step) of batches that are passed over because their loss was not finite.
    left_out: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did. Losses are means per sample, top-1 are shares of 1, times are seconds.

    lr: the rate after the epoch, of the update that would follow in its stage, as --plan gives it.
    """

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
    """When to stop early: at `top1` (0: never), or after `patience` epochs (0: never) that were not better by more than
    `min_delta`.
    """

    top1: float = 0.0
    patience: int = 0
    min_delta: float = 0.0


class Loop:
    """Trains `stages`, one after another, on `feed` by `step`, from the position that `seek` set.

    start_stage(stage): prepares a stage, before its first batch and after `seek`. set_modes(stage): puts the network
    into training mode before each epoch. watch(): evaluates after each epoch; None watches nothing. select: whether
    the best watched epoch is remembered. criterion: what is best, and what `stops.patience` looks at.
    between_steps(loop): called after each step; it may raise to leave, and `progress` is then the position of the next
    batch. between_batches(): where set, `watch` calls it, and it may raise likewise. Batches in `progress.left_out` are
    passed over. open_epoch(epoch, start=batch): the feed's batches as the step takes them, by default `feed.epoch`.
    prepare(epoch): called before an epoch once the steps of the one before are issued, on which a GPU still works.
    """

    def __init__(self, step: TrainStep, feed, stages: Sequence[Stage], *, start_stage: Callable[[Stage], None],
                 set_modes: Callable[[Stage], None], watch: Callable[[], Result] | None = None,
                 select: bool = False, criterion: Criterion = CRITERIA["top1"], stops: Stops = Stops(),
                 between_steps: Callable[["Loop"], None] | None = None,
                 open_epoch: Callable | None = None, prepare: Callable[[int], None] = lambda epoch: None):
        self.step, self.feed, self.stages, self.epochs = step, feed, stages, math.ceil(stages[-1].end)
        self.start_stage, self.set_modes = start_stage, set_modes
        self.watch, self.select, self.criterion, self.stops = watch, select, criterion, stops
        self.between_steps, self.between_batches = between_steps, None
        self.open_epoch, self.prepare = open_epoch or feed.epoch, prepare
        self.seek(Progress())

    def seek(self, progress: Progress) -> None:
        """Move to `progress` and start its stage; the optimiser's state is loaded afterwards."""
        self.progress, self.stage = progress, stage_of(self.stages, progress.epoch)
        self.last_watched: Result | None = None
        self.step.clock.forget()
        self.start_stage(self.stage)

    def run(self) -> Iterator[EpochRecord]:
        """Train to the last epoch or an early stop and yield a record after each epoch. NotFinite comes from the step.
        """
        progress = self.progress
        while progress.epoch < self.epochs and not progress.stopped:
            (loss, top1, images), train_s = self._train_epoch()
            watched = self.watch() if self.watch else None
            # Not before: a signal during the evaluation returns to the end of the epoch's training.
            progress.train_seconds += train_s
            self.last_watched = watched
            is_best = self._judge(watched)
            record = EpochRecord(progress.epoch, self.step.next_rate, loss, top1, watched.loss if watched else None,
                                 watched.top1 if watched else None, train_s, progress.epoch_wait_seconds,
                                 images / train_s, is_best)
            progress.epoch, progress.step = progress.epoch + 1, 0
            progress.tally, progress.epoch_seconds, progress.epoch_wait_seconds = [0.0, 0.0, 0.0], 0.0, 0.0
            following = stage_of(self.stages, progress.epoch)
            if following is not self.stage:
                # Before the record is yielded: a checkpoint taken then resumes in the following stage.
                self.stage = following
                self.start_stage(following)
                progress.epochs_without_gain = 0
            yield record

    def steps_in(self, epoch: int) -> int:
        """The batches of an epoch: all, or in the last one those that its fraction needs for whole updates."""
        per_epoch, accumulate = len(self.feed), self.step.accumulate
        updates_per_epoch = -(-per_epoch // accumulate)
        updates = updates_in(self.stages[-1].end, updates_per_epoch) - epoch * updates_per_epoch
        return min(per_epoch, updates * accumulate)

    def _train_epoch(self) -> tuple[tuple[float, float, int], float]:
        """Train from `progress.step` to the epoch's end: (loss, top-1, images), and the epoch's seconds of training."""
        progress, step = self.progress, self.step
        self.set_modes(self.stage)
        step.reset_counts()
        step.tally += step.tally.new_tensor(progress.tally)
        began = time.perf_counter() - progress.epoch_seconds
        with self.open_epoch(progress.epoch, start=progress.step) as batches:
            asked = time.perf_counter()
            for batch in islice(batches, max(0, self.steps_in(progress.epoch) - progress.step)):
                progress.epoch_wait_seconds += time.perf_counter() - asked
                if [progress.epoch, progress.step] in progress.left_out:
                    step.leave_out(progress.step)
                else:
                    step(batch.images_bhwc, batch.labels, progress.epoch, progress.step)
                progress.step += 1
                progress.steps_done += 1
                began += self._leave_out_compiling()
                if self.between_steps:
                    progress.epoch_seconds = time.perf_counter() - began
                    self.between_steps(self)
                asked = time.perf_counter()
        if progress.epoch + 1 < self.epochs:
            self.prepare(progress.epoch + 1)
        return step.totals(), time.perf_counter() - began

    def _leave_out_compiling(self) -> float:
        """Count newly known seconds of compiling apart; returns those that lie in the present epoch."""
        in_epoch_s, earlier_s = self.step.clock.take()
        self.progress.compile_seconds += in_epoch_s + earlier_s
        self.progress.train_seconds -= earlier_s
        return in_epoch_s

    def state(self) -> dict:
        """Progress as plain values, with the counts of the unfinished epoch; waits for the device."""
        if self.progress.step:
            self.progress.tally = self.step.tally.tolist()
        return asdict(self.progress)

    def _judge(self, watched: Result | None) -> bool:
        """Update the best epoch and whether to stop; True where this epoch is the best so far."""
        progress, stops = self.progress, self.stops
        if watched is None:
            return False
        value, better = getattr(watched, self.criterion.name), self.criterion.better
        is_best = self.select and better(value, progress.best_value)
        if is_best:
            progress.best_value, progress.best_epoch = value, progress.epoch
        if better(value, progress.patience_value, stops.min_delta):
            progress.patience_value, progress.epochs_without_gain = value, 0
        else:
            progress.epochs_without_gain += 1
        if stops.top1 and watched.top1 >= stops.top1:
            progress.stopped = f"reached {watched.top1:.2%} (asked for {stops.top1:.2%})"
        elif stops.patience and progress.epochs_without_gain >= stops.patience:
            progress.stopped = f"no better {self.criterion.words} for {stops.patience} epochs"
        return is_best
