"""Learning-rate schedules: pure functions from a step's number to (rate, momentum), without torch.

A step is one update of the weights, counted from 0. Momentum None keeps the optimiser's. Each field is the recipe's
setting of the same name, in steps instead of epochs; a value out of range raises EngineError naming it. `lr` is the
highest rate. Step `total_steps`, one past the end, has the last step's rate, except in Linear.
"""

import math
from dataclasses import dataclass

from engine.common.errors import EngineError, check, check_share

Rates = tuple[float, float | None]


class Schedule:
    """The checks of all schedules. A subclass has a field `lr`, may have `total_steps`, and defines `_at`(step)."""

    def __post_init__(self) -> None:
        check("schedule.lr", self.lr, 0 < self.lr < math.inf, "above 0 and finite")
        total = getattr(self, "total_steps", 1)
        check("schedule.total_steps", total, total >= 1, "1 or more")

    def at(self, step: int) -> Rates:
        """(rate, momentum or None); EngineError for a step below 0 or above `total_steps`."""
        total = getattr(self, "total_steps", math.inf)
        if step < 0:
            raise EngineError(f"step {step} must be 0 or more")
        if step > total:
            raise EngineError(f"step {step} lies beyond schedule.total_steps={total}: plan for all steps of the run")
        return self._at(step)


@dataclass(frozen=True)
class Constant(Schedule):
    lr: float

    def _at(self, step: int) -> Rates:
        return self.lr, None


@dataclass(frozen=True)
class StepDecay(Schedule):
    """`lr`, multiplied by `gamma` from each milestone on (torch's MultiStepLR)."""

    lr: float
    milestones: tuple[int, ...]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        rising = len(self.milestones) > 0 and sorted({0, *self.milestones}) == [0, *self.milestones]
        check("schedule.milestones", self.milestones, rising, "rising steps, the first above 0")
        check("schedule.gamma", self.gamma, 0 < self.gamma <= 1, "above 0 and at most 1")

    def _at(self, step: int) -> Rates:
        return self.lr * self.gamma ** sum(step >= milestone for milestone in self.milestones), None


@dataclass(frozen=True)
class WarmUp(Schedule):
    """A linear rise to `lr` at step `warmup_steps`, then a fall towards `lr * final_fraction`.

    Step s of the rise has lr * (s + 1) / (warmup_steps + 1): no step is spent at rate 0.
    """

    lr: float
    total_steps: int
    warmup_steps: int = 0
    final_fraction: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check("schedule.warmup_steps", self.warmup_steps, 0 <= self.warmup_steps < self.total_steps,
              f"0 or more and below the {self.total_steps} steps of the run")
        check("schedule.final_fraction", self.final_fraction, 0 <= self.final_fraction <= 1, "between 0 and 1")

    def _at(self, step: int) -> Rates:
        if step < self.warmup_steps:
            return self.lr * (step + 1) / (self.warmup_steps + 1), None
        return self._fall(step), None


class Cosine(WarmUp):
    """WarmUp's rise, then half a cosine to `lr * final_fraction` at the last step.

    Without warm-up: torch's CosineAnnealingLR with T_max = total_steps - 1 (Loshchilov & Hutter 2017, one period).
    """

    def _fall(self, step: int) -> float:
        steps = self.total_steps - 1 - self.warmup_steps
        share = min((step - self.warmup_steps) / steps, 1.0) if steps else 0.0
        return _cosine(self.lr, self.lr * self.final_fraction, share)


class Linear(WarmUp):
    """WarmUp's rise, then a straight line to exactly `lr * final_fraction` at `total_steps`.

    That is one past the last step, so no step has rate 0. Without warm-up step s has
    lr * (1 - (1 - final_fraction) * s / total_steps).
    """

    def _fall(self, step: int) -> float:
        left = (self.total_steps - step) / (self.total_steps - self.warmup_steps)
        return self.lr * (self.final_fraction + (1 - self.final_fraction) * left)


@dataclass(frozen=True)
class Exponential(Schedule):
    """From `low` at step 0 to `high` at the last step, each rate the same multiple of the previous one.

    A learning-rate range test (Smith 2017, arXiv:1506.01186), evenly spaced in the rate's logarithm.
    """

    low: float
    high: float
    total_steps: int

    def __post_init__(self) -> None:
        check("schedule.low", self.low, 0 < self.low < math.inf, "above 0 and finite")
        check("schedule.high", self.high, self.low < self.high < math.inf, f"above schedule.low={self.low} and finite")
        check("schedule.total_steps", self.total_steps, self.total_steps >= 2, "2 or more")

    @property
    def lr(self) -> float:
        return self.high

    def _at(self, step: int) -> Rates:
        share = min(step / (self.total_steps - 1), 1.0)
        return self.low ** (1 - share) * self.high**share, None


@dataclass(frozen=True)
class OneCycle(Schedule):
    """One cosine up from lr / div to `lr`, one down to lr / div / final_div (Smith & Topin 2018).

    torch's OneCycleLR with two cosine phases, step for step: the peak is at step pct_start * total_steps - 1, which
    need not be whole. Momentum runs the other way, from momentum_high down to momentum_low at the peak and back, or
    stays unchanged if both are None. Unlike torch's, it also works if the peak is at step 0.
    """

    lr: float
    total_steps: int
    pct_start: float = 0.3
    div: float = 25.0
    final_div: float = 1e4
    momentum_low: float | None = None
    momentum_high: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check("schedule.pct_start", self.pct_start, 0 <= self.pct_start <= 1, "between 0 and 1")
        check("schedule.div", self.div, 1 <= self.div < math.inf, "1 or more")
        check("schedule.final_div", self.final_div, 1 <= self.final_div < math.inf, "1 or more")
        low, high = self.momentum_low, self.momentum_high
        if (low is None) != (high is None):
            raise EngineError(f"schedule.momentum_low={low} and schedule.momentum_high={high} go together: set both or "
                              "neither")
        if low is not None:
            check_share("schedule.momentum_high", high)
            check("schedule.momentum_low", low, 0 <= low <= high, f"between 0 and schedule.momentum_high={high}")

    def _at(self, step: int) -> Rates:
        last, peak, first = self.total_steps - 1, float(self.pct_start * self.total_steps) - 1, self.lr / self.div
        step = min(step, last)
        if step <= peak:
            climb = step / peak if peak else 1.0
            rate = _cosine(first, self.lr, climb)
        else:
            fall = (step - peak) / (last - peak)
            rate, climb = _cosine(self.lr, first / self.final_div, fall), 1 - fall
        return rate, None if self.momentum_low is None else _cosine(self.momentum_high, self.momentum_low, climb)


def lr_after_epochs(schedule: Schedule, steps_per_epoch: int, epochs: int) -> list[float]:
    """The rate after each epoch e (from 0): that of step (e + 1) * steps_per_epoch, as a torch scheduler shows it.

    A schedule that ends within an epoch has its last rate from then on.
    """
    last = getattr(schedule, "total_steps", math.inf)
    return [schedule.at(min((epoch + 1) * steps_per_epoch, last))[0] for epoch in range(epochs)]


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (math.cos(math.pi * share) + 1)
