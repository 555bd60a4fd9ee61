"""How a way of training is timed: in units of steps, at the pace that it keeps and with its epochs' starts.

A unit goes on where the last one ended, so an epoch need not fit into it; where epochs are short, a unit is some whole
ones.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch

from benchmarks.common.timing import Samples
from engine.diagnostics.peaks import waiter

# Steps in which a way of training compiles, captures and tunes, and later ones to compare them with; how often its pace
# and an epoch's start are timed.
FIRST_STEPS, LATER_STEPS, TRIES = 4, 2, 3


class Stopwatch:
    """A clock that stands still except inside `running`: what a unit does before and after is left out."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self.clock, self.seconds = clock, 0.0

    def read(self) -> float:
        """Seconds that it ran so far."""
        return self.seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let it run."""
        began = self.clock()
        yield
        self.seconds += self.clock() - began


class Contender:
    """One way of training, always ready to go on.

    open_epoch: epoch -> context of an iterator over its batches; step: trains on (batch, epoch, index in the epoch).
    batch: images of a whole batch; images: of an epoch, None where batches never end. ahead: batches that are made
    before they are asked for. threads, tunes: torch's CPU threads and cuDNN's choice by trial, set whenever it is this
    one's turn. facts: what its row says besides.
    """

    def __init__(self, open_epoch: Callable[[int], AbstractContextManager[Iterator]],
                 step: Callable[[object, int, int], object], *, batch: int, images: int | None, ahead: int,
                 device: torch.device, threads: int, tunes: bool, facts: dict):
        self.open_epoch, self.step, self.batch, self.images, self.ahead = open_epoch, step, batch, images, ahead
        self.wait, self.threads, self.tunes, self.facts = waiter(device), threads, tunes, facts
        self.whole_batches = math.inf if images is None else images // batch
        self.epoch, self.opened = -1, ExitStack()
        self.steps = self.epochs = 0
        self.first_step_s = self.step_s = self.start_s = 0.0
        self.close()

    def close(self) -> None:
        """Leave the epoch that is open; what follows begins the next one."""
        self.batches, self.index = iter(()), self.whole_batches
        self.opened.close()

    def prepare(self, seconds: float) -> None:
        """Take the first steps, learn how many fill `seconds`, and what an epoch's start costs."""
        self._set_switches()
        first_s, alone_s = self._steps_alone(FIRST_STEPS), self._steps_alone(LATER_STEPS) / LATER_STEPS
        self.first_step_s = max(alone_s, first_s - alone_s * (FIRST_STEPS - 1))
        self._take(self.ahead)
        count = 1
        while (took_s := self._time(count)) < seconds / 4:
            count *= 2
        # The fastest: a slow moment of the machine would make every unit too short.
        self.step_s = min(took_s, *(self._time(count) for _ in range(TRIES - 1))) / count
        self.steps = max(1, math.ceil(seconds / self.step_s))
        if self.ahead + self.steps > self.whole_batches:
            self.epochs = max(1, round(self.steps / self.whole_batches))
            self.close()
        elif self.images is not None:
            self.start_s = statistics.median([self._time_start() for _ in range(TRIES)])

    def unit(self, watch: Stopwatch) -> None:
        """Train for one unit, with `watch` running while what counts is done."""
        self._set_switches()
        if self.epochs:
            with watch.running():
                for _ in range(self.epochs):
                    self._take_epoch()
            return
        if self.whole_batches - self.index < self.ahead + self.steps:
            self._begin_epoch()
        # What was made ready while others had their turn is used up first.
        self._take(self.ahead)
        with watch.running():
            self._take(self.steps)
        self._settle()

    def image_seconds(self, unit_s: Samples) -> Samples:
        """Seconds a unit -> seconds an image, each with its share of an epoch's start."""
        if self.epochs:
            return Samples(tuple(value / (self.epochs * self.images) for value in unit_s.values))
        start_s = self.start_s / self.images if self.images else 0.0
        return Samples(tuple(value / (self.steps * self.batch) + start_s for value in unit_s.values))

    @property
    def timed(self) -> str:
        """What a unit was, in words."""
        if self.epochs:
            return f"{self.epochs} whole epochs a time"
        if self.images is None:
            return f"{self.steps} steps a time"
        return f"{self.steps} steps a time, an epoch's start ({self.start_s:.3f} s) added by its share"

    def _set_switches(self) -> None:
        torch.set_num_threads(self.threads)
        torch.backends.cudnn.benchmark = self.tunes

    def _begin_epoch(self) -> None:
        self.close()
        self.epoch, self.index = self.epoch + 1, 0
        self.batches = self.opened.enter_context(self.open_epoch(self.epoch))

    def _next(self) -> object:
        if self.index >= self.whole_batches:
            self._begin_epoch()
        return next(self.batches)

    def _train(self, batch: object) -> None:
        self.step(batch, self.epoch, self.index)
        self.index += 1

    def _take(self, steps: int) -> None:
        for _ in range(steps):
            self._train(self._next())
        self.wait()

    def _take_epoch(self) -> None:
        self._begin_epoch()
        for batch in self.batches:
            self._train(batch)
        self.wait()
        self.close()

    def _time(self, steps: int) -> float:
        began = time.perf_counter()
        self._take(steps)
        return time.perf_counter() - began

    def _steps_alone(self, steps: int) -> float:
        """Seconds of `steps` steps, each with its batch in hand."""
        total_s = 0.0
        for _ in range(steps):
            batch = self._next()
            self.wait()
            began = time.perf_counter()
            self._train(batch)
            self.wait()
            total_s += time.perf_counter() - began
        return total_s

    def _time_start(self) -> float:
        """Seconds from leaving one epoch to the first batch of the next, nothing else being at work."""
        self._settle()
        began = time.perf_counter()
        self._begin_epoch()
        batch = self._next()
        self.wait()
        took_s = time.perf_counter() - began
        self._train(batch)
        return took_s

    def _settle(self) -> None:
        # Its loaders go on until they are as far ahead as they may be: in someone else's turn they would be in the way.
        time.sleep(self.ahead * self.step_s)
