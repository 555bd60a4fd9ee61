"""Checks that the settings of this room share: one line that names the setting, its value and what is allowed."""

from __future__ import annotations

import math

from engine.common.errors import EngineError


def check(setting: str, value: object, allowed: bool, range_: str) -> None:
    """Raise EngineError unless `allowed`; range_ says what is."""
    if not allowed:
        raise EngineError(f"{setting}={value} must be {range_}")


def check_rate(setting: str, rate: float) -> None:
    """Raise EngineError for a rate that is not above 0 and finite."""
    check(setting, rate, 0 < rate < math.inf, "above 0 and finite")


def check_total(total_steps: int, least: int = 1) -> None:
    """Raise EngineError for a schedule of fewer than `least` steps."""
    check("schedule.total_steps", total_steps, total_steps >= least, f"{least} or more")


def check_step(step: int, total_steps: float = math.inf) -> None:
    """Raise EngineError for a step that is not between 0 and total_steps, one past the end."""
    if step < 0:
        raise EngineError(f"step {step} must be 0 or more")
    if step > total_steps:
        raise EngineError(f"step {step} lies beyond schedule.total_steps={total_steps}: plan for all steps of the run")
