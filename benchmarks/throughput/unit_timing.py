"""Times a way of training in units of steps at its steady pace, plus their share of an epoch's start.

A unit continues where the last one ended, so an epoch may span several; if epochs are short, a unit is whole epochs.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import torch

from benchmarks.common.timing import Timings
from engine.diagnostics.peaks import waiter

# Steps that compile, capture and tune; later steps to compare them with; how often pace and epoch starts are timed.
FIRST_STEPS, LATER_STEPS, REPEATS = 4, 2, 3


class Contender:
    """One way of training, always ready to continue.

    kind, facts: as in epoch_rows.Measurement. open_epoch: epoch -> context of an iterator over its batches. step:
    trains on (batch, epoch, index in the epoch). batch: images per full batch; images: per epoch, None for no end.
    ahead: batches prepared in advance. threads, tunes: torch's CPU threads and cuDNN's benchmark mode in each turn.
    """

    def __init__(self, kind: str, open_epoch: Callable[[int], AbstractContextManager[Iterator]],
                 step: Callable[[object, int, int], object], *, batch: int, images: int | None, ahead: int,
                 device: torch.device, threads: int, tunes: bool, facts: dict):
        self.kind, self.open_epoch, self.step = kind, open_epoch, step
        self.batch, self.images, self.ahead = batch, images, ahead
        self.wait, self.threads, self.tunes, self.facts = waiter(device), threads, tunes, facts
        self.whole_batches = math.inf if images is None else images // batch
        self.epoch, self.opened = -1, ExitStack()
        self.steps = self.epochs = 0
        self.first_step_s = self.step_s = self.start_s = 0.0
        self.close()

    def close(self) -> None:
        """Leave the open epoch; the next step starts another."""
        self.batches, self.index = iter(()), self.whole_batches
        self.opened.close()

    def prepare(self, seconds: float) -> None:
        """Take the first steps; learn how many fill `seconds` and how long an epoch's start takes."""
        self._set_switches()
        first_s = sum(self._step_alone() for _ in range(FIRST_STEPS))
        alone_s = sum(self._step_alone() for _ in range(LATER_STEPS)) / LATER_STEPS
        self.first_step_s = max(alone_s, first_s - alone_s * (FIRST_STEPS - 1))
        self._take(self.ahead)
        count = 1
        while (took_s := self._time(count)) < seconds / 4:
            count *= 2
        # The fastest: a slow moment of the machine would make all units too short.
        self.step_s = min(took_s, *(self._time(count) for _ in range(REPEATS - 1))) / count
        self.steps = max(1, math.ceil(seconds / self.step_s))
        if self.ahead + self.steps > self.whole_batches:
            self.epochs = max(1, round(self.steps / self.whole_batches))
            self.close()
        elif self.images is not None:
            self.start_s = statistics.median([self._time_start() for _ in range(REPEATS)])

    def unit(self) -> float:
        """Train for one unit; returns the seconds that count."""
        self._set_switches()
        if self.epochs:
            start = time.perf_counter()
            for _ in range(self.epochs):
                self._start_epoch()
                for batch in self.batches:
                    self._train(batch)
                self.wait()
                self.close()
            return time.perf_counter() - start
        if self.whole_batches - self.index < self.ahead + self.steps:
            self._start_epoch()
        # First use up the batches prepared during other turns.
        self._take(self.ahead)
        took_s = self._time(self.steps)
        # Its loaders work until `ahead` batches are prepared, which would disturb the next turn.
        self._settle()
        return took_s

    def image_seconds(self, unit_s: Timings) -> Timings:
        """Seconds per unit -> seconds per image, each with its share of an epoch's start."""
        if self.epochs:
            return unit_s.map(lambda seconds: seconds / (self.epochs * self.images))
        start_s = self.start_s / self.images if self.images else 0.0
        return unit_s.map(lambda seconds: seconds / (self.steps * self.batch) + start_s)

    @property
    def timed(self) -> str:
        if self.epochs:
            return f"{self.epochs} whole epochs a time"
        share = "" if self.images is None else f", an epoch's start ({self.start_s:.3f} s) added by its share"
        return f"{self.steps} steps a time{share}"

    def _set_switches(self) -> None:
        torch.set_num_threads(self.threads)
        torch.backends.cudnn.benchmark = self.tunes

    def _start_epoch(self) -> None:
        self.close()
        self.epoch, self.index = self.epoch + 1, 0
        self.batches = self.opened.enter_context(self.open_epoch(self.epoch))

    def _next(self) -> object:
        if self.index >= self.whole_batches:
            self._start_epoch()
        return next(self.batches)

    def _train(self, batch: object) -> None:
        self.step(batch, self.epoch, self.index)
        self.index += 1

    def _take(self, steps: int) -> None:
        for _ in range(steps):
            self._train(self._next())
        self.wait()

    def _time(self, steps: int) -> float:
        start = time.perf_counter()
        self._take(steps)
        return time.perf_counter() - start

    def _step_alone(self) -> float:
        """Seconds of a step without the time that its batch took."""
        batch = self._next()
        self.wait()
        start = time.perf_counter()
        self._train(batch)
        self.wait()
        return time.perf_counter() - start

    def _time_start(self) -> float:
        """Seconds from leaving one epoch to the first batch of the next, with nothing else running."""
        self._settle()
        start = time.perf_counter()
        self._start_epoch()
        batch = self._next()
        self.wait()
        took_s = time.perf_counter() - start
        self._train(batch)
        return took_s

    def _settle(self) -> None:
        time.sleep(self.ahead * self.step_s)
