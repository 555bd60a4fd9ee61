"""Learning-rate schedules: a step's number to (rate, momentum), pure and without torch.

A step is one update of the weights; step 0 is the first. A momentum of None leaves the optimiser's own. Each field is
the recipe's setting of the same name, in steps where the recipe counts epochs; a value out of range raises
EngineError naming it. `lr` is the highest rate; a group of a lower one takes its share of each step's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.common.errors import EngineError
from engine.optim.checks import check, check_rate, check_step, check_total

Rates = tuple[float, float | None]


@dataclass(frozen=True)
class Constant:
    """The same rate at every step."""

    lr: float

    def __post_init__(self) -> None:
        check_rate("schedule.lr", self.lr)

    def at(self, step: int) -> Rates:
        """(rate, None)."""
        check_step(step)
        return self.lr, None


@dataclass(frozen=True)
class Step:
    """`lr`, multiplied by `gamma` from each milestone on (torch's MultiStepLR)."""

    lr: float
    milestones: tuple[int, ...]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_rate("schedule.lr", self.lr)
        rising = all(a < b for a, b in zip((0, *self.milestones), self.milestones, strict=False))
        check("schedule.milestones", self.milestones, rising and len(self.milestones) > 0,
              "rising steps, the first above 0")
        check("schedule.gamma", self.gamma, 0 < self.gamma <= 1, "above 0 and at most 1")

    def at(self, step: int) -> Rates:
        """(rate, None)."""
        check_step(step)
        return self.lr * self.gamma ** sum(step >= milestone for milestone in self.milestones), None


@dataclass(frozen=True)
class Cosine:
    """A linear rise to `lr` at step `warmup_steps`, then half a cosine to `lr * final_fraction` at the last step.

    Step s of the rise has lr * (s + 1) / (warmup_steps + 1): no step is spent at rate 0. Without a rise, torch's
    CosineAnnealingLR with T_max = total_steps - 1 (Loshchilov & Hutter 2017, one period).
    """

    lr: float
    total_steps: int
    warmup_steps: int = 0
    final_fraction: float = 0.0

    def __post_init__(self) -> None:
        _check_rise_and_fall(self)

    def at(self, step: int) -> Rates:
        """(rate, None); step `total_steps`, one past the end, has the last step's rate."""
        step = _last(step, self.total_steps)
        if step < self.warmup_steps:
            return _risen(self.lr, step, self.warmup_steps), None
        fall = self.total_steps - 1 - self.warmup_steps
        return _cosine(self.lr, self.lr * self.final_fraction, (step - self.warmup_steps) / fall if fall else 0.0), None


@dataclass(frozen=True)
class Linear:
    """Cosine's rise to `lr` at step `warmup_steps`, then a straight line to `lr * final_fraction` at `total_steps`.

    That is one past the last step: with a final fraction of 0 no step is spent at rate 0. Without a rise step s has
    lr * (1 - (1 - final_fraction) * s / total_steps).
    """

    lr: float
    total_steps: int
    warmup_steps: int = 0
    final_fraction: float = 0.0

    def __post_init__(self) -> None:
        _check_rise_and_fall(self)

    def at(self, step: int) -> Rates:
        """(rate, None); step `total_steps`, one past the end, has exactly lr * final_fraction."""
        check_step(step, self.total_steps)
        if step < self.warmup_steps:
            return _risen(self.lr, step, self.warmup_steps), None
        left = (self.total_steps - step) / (self.total_steps - self.warmup_steps)
        return self.lr * (self.final_fraction + (1 - self.final_fraction) * left), None


@dataclass(frozen=True)
class Exponential:
    """From `low` at step 0 to `high` at the last step, each the same multiple of the one before.

    A learning-rate range test (Smith 2017, arXiv:1506.01186) with steps spread evenly over the rate's logarithm.
    """

    low: float
    high: float
    total_steps: int

    def __post_init__(self) -> None:
        check_rate("schedule.low", self.low)
        check("schedule.high", self.high, self.low < self.high < math.inf, f"above schedule.low={self.low} and finite")
        check_total(self.total_steps, least=2)

    @property
    def lr(self) -> float:
        """The highest rate, `high`."""
        return self.high

    def at(self, step: int) -> Rates:
        """(rate, None); step `total_steps`, one past the end, has the last step's rate."""
        share = _last(step, self.total_steps) / (self.total_steps - 1)
        return self.low ** (1 - share) * self.high**share, None


@dataclass(frozen=True)
class OneCycle:
    """One cosine up from lr / div to `lr`, one down to lr / div / final_div (Smith & Topin 2018).

    torch's OneCycleLR with two cosine phases, step for step: the peak is at step pct_start * total_steps - 1, which
    need not be whole. Momentum runs the other way, from momentum_high down to momentum_low at the peak and back, or
    is left alone where both are None. Unlike torch's, it also holds where that peak falls on step 0.
    """

    lr: float
    total_steps: int
    pct_start: float = 0.3
    div: float = 25.0
    final_div: float = 1e4
    momentum_low: float | None = None
    momentum_high: float | None = None

    def __post_init__(self) -> None:
        check_rate("schedule.lr", self.lr)
        check_total(self.total_steps)
        check("schedule.pct_start", self.pct_start, 0 <= self.pct_start <= 1, "between 0 and 1")
        check("schedule.div", self.div, 1 <= self.div < math.inf, "1 or more")
        check("schedule.final_div", self.final_div, 1 <= self.final_div < math.inf, "1 or more")
        low, high = self.momentum_low, self.momentum_high
        if (low is None) != (high is None):
            raise EngineError(
                f"schedule.momentum_low={low} and schedule.momentum_high={high} go together: set both or neither"
            )
        if low is not None:
            check("schedule.momentum_high", high, 0 <= high < 1, "at least 0 and below 1")
            check("schedule.momentum_low", low, 0 <= low <= high, f"between 0 and schedule.momentum_high={high}")

    def at(self, step: int) -> Rates:
        """(rate, momentum or None); step `total_steps`, one past the end, has the last step's."""
        step = _last(step, self.total_steps)
        peak = float(self.pct_start * self.total_steps) - 1
        first = self.lr / self.div
        if step <= peak:
            share = step / peak if peak else 1.0
            rate, climb = _cosine(first, self.lr, share), share
        else:
            share = (step - peak) / (self.total_steps - 1 - peak)
            rate, climb = _cosine(self.lr, first / self.final_div, share), 1 - share
        if self.momentum_low is None:
            return rate, None
        return rate, _cosine(self.momentum_high, self.momentum_low, climb)


Schedule = Constant | Step | Cosine | Linear | Exponential | OneCycle


def lr_after_epochs(schedule: Schedule, steps_per_epoch: int, epochs: int) -> list[float]:
    """The rate in force after each epoch: after epoch e (from 0), that of step (e + 1) * steps_per_epoch.

    This is what a training script logs that steps its scheduler after each batch and reads the rate at an epoch's
    end. After a schedule's last step the last rate stays.
    """
    return [schedule.at((epoch + 1) * steps_per_epoch)[0] for epoch in range(epochs)]


def _risen(lr: float, step: int, warmup_steps: int) -> float:
    return lr * (step + 1) / (warmup_steps + 1)


def _last(step: int, total_steps: int) -> int:
    check_step(step, total_steps)
    return min(step, total_steps - 1)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (math.cos(math.pi * share) + 1)


def _check_rise_and_fall(schedule: Cosine | Linear) -> None:
    check_rate("schedule.lr", schedule.lr)
    check_total(schedule.total_steps)
    check("schedule.warmup_steps", schedule.warmup_steps, 0 <= schedule.warmup_steps < schedule.total_steps,
          f"0 or more and below the {schedule.total_steps} steps of the run")
    check("schedule.final_fraction", schedule.final_fraction, 0 <= schedule.final_fraction <= 1, "between 0 and 1")
