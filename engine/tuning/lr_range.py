"""The learning-rate range test: train while the rate rises, and read from the losses which rate to choose.

Smith 2017 (arXiv:1506.01186): the loss stays where the rate is too small to matter, falls where it is useful, and
grows where it is too large. The smoothed curve, its steepest point and the early end follow fastai's `lr_find`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from engine.common.errors import EngineError
from engine.training.step import TrainStep

FEWEST_STEPS = 20
# The end: a smoothed loss of this many times the best one.
WORSE_TIMES = 4.0
# On a GPU losses are read, which waits for the device, after so many updates.
READ_EVERY = 20
# What a fall is measured by: standard deviations of the smoothed loss's noise, and a share of the loss. A sweep of
# nothing but independent normal noise seems to fall by the lower one about once in four times, by the higher one about
# once in thirty.
LEAST_NOISE_TIMES, CLEAR_NOISE_TIMES = 3.0, 5.0
LEAST_FALL_SHARE = 1e-3


@dataclass(frozen=True)
class Sweep:
    """An update a step: its rate, and the mean loss (a sample) of its batches, before it. `steps` were planned."""

    steps: int
    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def window_steps(self) -> int:
        """How many steps the smoothed loss averages over: a twentieth of the planned ones, at least 5."""
        return max(5, self.steps // 20)

    @property
    def smoothed(self) -> np.ndarray:
        """The losses smoothed, float64 (steps done,)."""
        return smooth(self.losses, self.window_steps)


@dataclass(frozen=True)
class Suggestion:
    """`steepest`: the rate where the loss falls fastest over the rate's logarithm; `careful`: a tenth of the rate with
    the lowest loss. `edge`: "low" where it falls fastest at the very start, "high" where it falls to the very end, and
    so the better rate may lie beyond; else "". `faint`: the loss falls by little more than its noise."""

    steepest: float
    careful: float
    edge: str
    faint: bool


def smooth(losses: Sequence[float], window_steps: int) -> np.ndarray:
    """Exponential average with weight 1 / window_steps of the newest, divided by its weights' sum so far.

    As Adam's moments are corrected: the first value is the first loss, not a share of it. It runs about `window_steps`
    steps behind the losses.
    """
    kept, averages, average = 1 - 1 / window_steps, [], 0.0
    for count, loss in enumerate(losses, 1):
        average = kept * average + (1 - kept) * loss
        averages.append(average / (1 - kept**count))
    return np.array(averages)


def steps_kept(losses: Sequence[float], window_steps: int) -> int:
    """How many of the losses belong to the test: up to the first whose smoothed loss exceeds WORSE_TIMES the best so
    far, that one included, or the first that is not finite, without it."""
    best = math.inf
    for index, average in enumerate(smooth(losses, window_steps).tolist()):
        if not math.isfinite(average):
            return index
        best = min(best, average)
        if average > WORSE_TIMES * best:
            return index + 1
    return len(losses)


def train_rising(step: TrainStep, feed, steps: int,
                 on_read: Callable[[int, float, float], None] | None = None) -> Sweep:
    """Train on `feed` for `steps` updates, over as many epochs as they take, or until the loss has left (steps_kept).

    `step` has begun with the schedule that raises the rate; its tally is used up. Losses are read every READ_EVERY
    updates; `on_read(steps done, rate, loss)` hears the last of them.
    """
    # A loss that explodes is what is looked for here.
    step.guard = None
    rates, losses, tallies = [], [], []
    window_steps = Sweep(steps, (), ()).window_steps
    for epoch in itertools.count():
        step.reset_counts()
        with feed.epoch(epoch) as batches:
            for number, batch in enumerate(batches, 1):
                step(batch.images_bhwc, batch.labels, epoch, number - 1)
                if number % step.accumulate and number < len(feed):
                    continue
                rates.append(step.rate)
                tallies.append(step.tally)
                step.reset_counts()
                if len(tallies) < READ_EVERY and len(rates) < steps:
                    continue
                loss, _, count = torch.stack(tallies).unbind(1)
                losses += (loss / count).tolist()
                tallies = []
                if on_read:
                    on_read(len(rates), rates[-1], losses[-1])
                kept = steps_kept(losses, window_steps)
                if kept < len(losses) or len(losses) == steps:
                    return Sweep(steps, tuple(rates[:kept]), tuple(losses[:kept]))


def suggest(sweep: Sweep) -> Suggestion:
    """The rates that a sweep speaks for; the first `window_steps` steps, in which the average settles, have no say.

    The fall at a step is that of the best smoothed loss so far over the 2 * window_steps steps after it: so neither a
    single batch nor the way back from a rise decides, and the average's being behind is made good. (Steps lie evenly
    over the rate's logarithm.)

    Raises EngineError where the loss left too early to tell, and where it never fell by more than its noise.
    """
    window, done = sweep.window_steps, len(sweep.losses)
    if done < 3 * window + 1:
        at = f" at rate {sweep.rates[-1]:.2g}" if done else ""
        raise EngineError(f"the loss grew out of bounds after {done} of {sweep.steps} steps{at}: lower --low, or "
                          "raise --steps")
    averages = sweep.smoothed
    lowest = window + int(np.argmin(averages[window:]))
    fall, noise = averages[window] - averages[lowest], noise_of(sweep.losses, window)
    if fall <= max(LEAST_NOISE_TIMES * noise, LEAST_FALL_SHARE * averages[window]):
        raise EngineError(f"the loss did not fall between the rates {sweep.rates[0]:.2g} and "
                          f"{sweep.rates[-1]:.2g} (by {fall:.2g}, its noise is {noise:.2g}): raise --steps, widen "
                          "--low and --high, or look at what the recipe trains")
    bests = np.minimum.accumulate(averages[window:])
    falls = bests[: -2 * window] - bests[2 * window:]
    steepest = window + int(np.argmax(falls))
    edge = "low" if steepest == window else ""
    if done == sweep.steps and lowest >= done - window:
        edge = "high"
    return Suggestion(sweep.rates[steepest], sweep.rates[lowest] / 10, edge,
                      faint=bool(fall <= CLEAR_NOISE_TIMES * noise))


def noise_of(losses: Sequence[float], window_steps: int) -> float:
    """The standard deviation of smoothed losses around their course, from the median difference of neighbours.

    For independent normal noise: median |difference| = 0.6745 * sqrt(2) * sd, and an exponential average with weight
    1 / w of the newest has sd / sqrt(2 * w - 1).
    """
    if len(losses) < 2:
        return 0.0
    deviation = np.median(np.abs(np.diff(losses))) / (0.6745 * math.sqrt(2))
    return float(deviation / math.sqrt(2 * window_steps - 1))
