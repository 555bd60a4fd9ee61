"""Checks that several networks share: one line that names the setting, its value and what is allowed."""

from __future__ import annotations

from engine.common.errors import EngineError


def check_poolings(network: str, resolution: int, poolings: int) -> None:
    """Raise EngineError unless `resolution` can be halved `poolings` times without a remainder."""
    multiple_px = 2**poolings
    if resolution < multiple_px or resolution % multiple_px:
        raise EngineError(
            f"data.resolution={resolution} must be a multiple of {multiple_px} px: {network} halves it {poolings} times"
        )


def check_at_least(setting: str, value: int, low: int) -> None:
    """Raise EngineError if `value` is below `low`."""
    if value < low:
        raise EngineError(f"model.{setting}={value} must be {low} or more")


def check_dropout(dropout: float) -> None:
    """Raise EngineError unless 0 <= dropout < 1."""
    if not 0 <= dropout < 1:
        raise EngineError(f"model.dropout={dropout} must be at least 0 and below 1")
