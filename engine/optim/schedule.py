"""Learning-rate schedules: a step's number to (rate, momentum), pure and without torch.

A step is one update of the weights; step 0 is the first. A momentum of None leaves the optimiser's own. Each field is
the recipe's setting of the same name, in steps where the recipe counts epochs; a value out of range raises
EngineError naming it. Every rate is proportional to `lr`, so one schedule serves groups of several rates by a scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.errors import EngineError

Rates = tuple[float, float | None]


@dataclass(frozen=True)
class Constant:
    """The same rate at every step."""

    lr: float

    def __post_init__(self) -> None:
        _check_lr(self.lr)

    def at(self, step: int) -> Rates:
        """(rate, None)."""
        _check_step(step)
        return self.lr, None


@dataclass(frozen=True)
class Step:
    """`lr`, multiplied by `gamma` from each milestone on (torch's MultiStepLR)."""

    lr: float
    milestones: tuple[int, ...]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        _check_lr(self.lr)
        rising = all(a < b for a, b in zip((0, *self.milestones), self.milestones, strict=False))
        _check("milestones", self.milestones, rising and len(self.milestones) > 0, "rising steps, the first above 0")
        _check("gamma", self.gamma, 0 < self.gamma <= 1, "above 0 and at most 1")

    def at(self, step: int) -> Rates:
        """(rate, None)."""
        _check_step(step)
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
        _check_lr(self.lr)
        _check_total(self.total_steps)
        _check("warmup_steps", self.warmup_steps, 0 <= self.warmup_steps < self.total_steps,
               f"0 or more and below the {self.total_steps} steps of the run")
        _check("final_fraction", self.final_fraction, 0 <= self.final_fraction <= 1, "between 0 and 1")

    def at(self, step: int) -> Rates:
        """(rate, None); step `total_steps`, one past the end, has the last step's rate."""
        step = _within(step, self.total_steps)
        if step < self.warmup_steps:
            return self.lr * (step + 1) / (self.warmup_steps + 1), None
        fall = self.total_steps - 1 - self.warmup_steps
        return _cosine(self.lr, self.lr * self.final_fraction, (step - self.warmup_steps) / fall if fall else 0.0), None


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
        _check_lr(self.lr)
        _check_total(self.total_steps)
        _check("pct_start", self.pct_start, 0 <= self.pct_start <= 1, "between 0 and 1")
        _check("div", self.div, 1 <= self.div < math.inf, "1 or more")
        _check("final_div", self.final_div, 1 <= self.final_div < math.inf, "1 or more")
        low, high = self.momentum_low, self.momentum_high
        if (low is None) != (high is None):
            raise EngineError(
                f"schedule.momentum_low={low} and schedule.momentum_high={high} go together: set both or neither"
            )
        if low is not None:
            _check("momentum_high", high, 0 <= high < 1, "at least 0 and below 1")
            _check("momentum_low", low, 0 <= low <= high, f"between 0 and schedule.momentum_high={high}")

    def at(self, step: int) -> Rates:
        """(rate, momentum or None); step `total_steps`, one past the end, has the last step's."""
        step = _within(step, self.total_steps)
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


Schedule = Constant | Step | Cosine | OneCycle


def lr_after_epochs(schedule: Schedule, steps_per_epoch: int, epochs: int) -> list[float]:
    """The rate in force after each epoch: after epoch e (from 0), that of step (e + 1) * steps_per_epoch.

    This is what a training script logs that steps its scheduler after each batch and reads the rate at an epoch's
    end. After a schedule's last step the last rate stays.
    """
    return [schedule.at((epoch + 1) * steps_per_epoch)[0] for epoch in range(epochs)]


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (math.cos(math.pi * share) + 1)


def _within(step: int, total_steps: int) -> int:
    _check_step(step)
    if step > total_steps:
        raise EngineError(f"step {step} lies beyond schedule.total_steps={total_steps}: plan for all steps of the run")
    return min(step, total_steps - 1)


def _check_step(step: int) -> None:
    if step < 0:
        raise EngineError(f"step {step} must be 0 or more")


def _check_lr(lr: float) -> None:
    _check("lr", lr, 0 < lr < math.inf, "above 0 and finite")


def _check_total(total_steps: int) -> None:
    _check("total_steps", total_steps, total_steps >= 1, "1 or more")


def _check(setting: str, value: object, allowed: bool, range_: str) -> None:
    if not allowed:
        raise EngineError(f"schedule.{setting}={value} must be {range_}")
